"""``bedrock-gateway import litellm``: keys of a LiteLLM installation, so that handed-out keys keep working.

    curl "$LITELLM/key/list?return_full_object=true&size=100" -H "Authorization: Bearer $MASTER" > keys.json
    bedrock-gateway import litellm --keys keys.json

Knows files and words; what a row comes to is for ``store.importing``. All or nothing: where one row is faulty none is
written, unless told otherwise. A second run finds everything there and changes nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bedrock_gateway.access.virtual_keys import ID_BYTES, new_id
from bedrock_gateway.cli.databases import add_database, database_of, editing
from bedrock_gateway.cli.key_actions import BY
from bedrock_gateway.errors import StartError
from bedrock_gateway.store.administration import Writing
from bedrock_gateway.store.importing import Outcome, import_keys
from bedrock_gateway.store.reading import is_there
from bedrock_gateway.store.schema import migrate
from bedrock_gateway.store.subjects import transaction

__all__ = ["add_parser"]

#: Faulty rows that are told one by one.
_MOST_TOLD = 50


class _Undone(Exception):
    """Nothing is to be written after all."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser("import", help="take over keys of another gateway (litellm)")
    sources = parser.add_subparsers(title="sources", dest="source", metavar="SOURCE", required=True)
    litellm = sources.add_parser(
        "litellm",
        help="keys of a LiteLLM installation",
        description="Take over keys of a LiteLLM installation, with limits, budgets and what was spent of them; the "
        "keys themselves are not needed. All or nothing; a second run changes nothing. A gateway that runs follows "
        "within a second; while more than some thousand keys are written it takes no calls.",
        epilog="Users, teams and budgets stay: make teams first (POST /team/new with LiteLLM's team_id).",
    )
    litellm.add_argument(
        "--keys",
        metavar="FILE",
        required=True,
        help="answer of LiteLLM's /key/list?return_full_object=true, or a list of its keys",
    )
    litellm.add_argument("--dry-run", action="store_true", help="look at everything, write nothing")
    litellm.add_argument("--skip-faulty", action="store_true", help="take what is right, leave out what is not")
    add_database(litellm)
    litellm.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Take keys over.

    Raises:
        StartError: the file or the database cannot be used, or a row is faulty; nothing is written then.
    """
    rows = _read(args.keys)
    now_ms = time.time_ns() // 1_000_000
    outcomes: list[Outcome] = []
    with contextlib.suppress(_Undone), _database(args, now_ms) as connection, transaction(connection):
        outcomes += import_keys(
            connection, rows, Writing(now_ms=now_ms, by=BY), lambda: new_id("key", os.urandom(ID_BYTES))
        )
        if args.dry_run or not (args.skip_faulty or all(outcome.what != "faulty" for outcome in outcomes)):
            raise _Undone
    faults = [outcome for outcome in outcomes if outcome.what == "faulty"]
    told = [f"{args.keys}: key {fault.number}{_named(fault)}: {fault.fault}" for fault in faults[:_MOST_TOLD]]
    if len(faults) > _MOST_TOLD:
        told.append(f"{args.keys}: and {len(faults) - _MOST_TOLD} more")
    if faults and not args.skip_faulty:
        told.append("nothing was imported; --skip-faulty takes those that are right")
        raise StartError("\n".join(told))
    for line in told:
        print(f"bedrock-gateway: {line}", file=sys.stderr)
    _report(outcomes, dry_run=args.dry_run)
    return 0


def _named(outcome: Outcome) -> str:
    return f" ({outcome.name})" if outcome.name else ""


@contextlib.contextmanager
def _database(args: argparse.Namespace, now_ms: int) -> Iterator[sqlite3.Connection]:
    """Open the database; to look only, one that is not there yet is not made."""
    if not args.dry_run or is_there(database_of(args)):
        with editing(args, now_ms, create=True) as connection:
            yield connection
        return
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, Path(":memory:"), simulated=args.simulate, now_ms=now_ms)
        yield connection


def _read(path: str) -> list[Any]:
    """Return the rows of a file.

    Raises:
        StartError: it cannot be read, or holds something else.
    """
    try:
        told = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise StartError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError):
        raise StartError(f"{path}: is no JSON") from None
    rows = told.get("keys") if isinstance(told, dict) else told
    if not isinstance(rows, list):
        raise StartError(f"{path}: holds no keys: it takes LiteLLM's answer to /key/list?return_full_object=true")
    if isinstance(told, dict) and isinstance(told.get("total_pages"), int) and told["total_pages"] > 1:
        page = f"page {told.get('current_page')} of {told['total_pages']}"
        print(f"bedrock-gateway: {path}: is {page}: import the others, too", file=sys.stderr)
    return rows


def _report(outcomes: Sequence[Outcome], *, dry_run: bool) -> None:
    counts = Counter(outcome.what for outcome in outcomes)
    for outcome in outcomes:
        for note in outcome.notes:
            print(f"key {outcome.number}{_named(outcome)}: {note}")
    parts = [f"{counts['new']} {_keys(counts['new'])} {_verb(counts['new'], dry_run)} imported"]
    if counts["known"]:
        parts.append(f"{counts['known']} {_verb(counts['known'], False)} there already")
    if counts["session"]:
        parts.append(
            f"{counts['session']} of sessions of LiteLLM's own pages {_verb(counts['session'], dry_run)} left out"
        )
    if counts["faulty"]:
        parts.append(f"{counts['faulty']} faulty {_verb(counts['faulty'], dry_run)} left out")
    print(f"{', '.join(parts)}.{'' if counts['new'] else ' Nothing was changed.'}")


def _keys(count: int) -> str:
    return "key" if count == 1 else "keys"


def _verb(count: int, dry_run: bool) -> str:
    if dry_run:
        return "would be"
    return "was" if count == 1 else "were"
