"""Which database a command works on: the options that name it, and how it is opened for changes."""

from __future__ import annotations

import argparse
import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from bedrock_gateway.cli.configured import read_database_url
from bedrock_gateway.errors import StartError
from bedrock_gateway.store.editing import open_to_edit
from bedrock_gateway.store.location import resolve_database
from bedrock_gateway.store.reading import is_there

__all__ = ["add_database", "database_of", "editing"]


def add_database(parser: argparse.ArgumentParser, *, below: bool = False) -> None:
    """Add the options that name a database.

    Args:
        below: to a command below one that has them too: what was said there stands.
    """
    unsaid = argparse.SUPPRESS if below else None
    parser.add_argument(
        "--database", metavar="URL", default=unsaid, help="sqlite:////path or a path; wins over --config"
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        default=unsaid,
        help="the gateway's config.yaml: the database it names (default: DATABASE_URL, else the default file)",
    )
    parser.add_argument(
        "--simulate",
        action="store_true",
        default=argparse.SUPPRESS if below else False,
        help="the database of simulated runs",
    )


def database_of(args: argparse.Namespace) -> Path:
    """Return the path of the database that options and environment name.

    Raises:
        StartError: the config cannot be read, or names no SQLite database.
    """
    named = args.database
    if not named and args.config is not None:
        named = read_database_url(args.config, os.environ)
    return resolve_database(named, os.environ, Path.home(), simulated=args.simulate)


@contextlib.contextmanager
def editing(args: argparse.Namespace, now_ms: int, *, create: bool = False) -> Iterator[sqlite3.Connection]:
    """Open the database for changes; the gateway may run or not.

    Args:
        create: make it where there is none.

    Raises:
        StartError: it cannot be used.
    """
    path = database_of(args)
    if not create and not is_there(path):
        hint = "" if args.simulate else "; --simulate is for that of simulated runs"
        raise StartError(f"{path}: there is no database here yet, and so no key{hint}")
    with open_to_edit(path, simulated=args.simulate, now_ms=now_ms) as connection:
        yield connection
