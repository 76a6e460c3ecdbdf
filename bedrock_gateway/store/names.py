"""What deployments are called: their ids in the ledger outlive the config, so it is told names. Knows one table."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from typing import TypeAlias

import attrs

__all__ = ["AMBIENT", "DeploymentName", "NameRow", "called", "read_names", "write_names"]

NameRow: TypeAlias = "tuple[str, str, str, str, int]"
"""Id, name, model, region, UTC ms: a row of the table ``deployments``."""

AMBIENT = "ambient"
"""What leads to a deployment that no config names, as callers are shown it."""

_NAME = (
    "INSERT INTO deployments (id, name, model, region, seen_at) VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
    "name = excluded.name, model = excluded.model, region = excluded.region, seen_at = excluded.seen_at"
)


@attrs.frozen(kw_only=True)
class DeploymentName:
    """What a deployment was called when a run last named it.

    Attributes:
        name: what callers are shown.
        region: AWS region; "" where it has none of its own.
    """

    name: str
    region: str


def write_names(connection: sqlite3.Connection, rows: Iterable[NameRow]) -> None:
    """Write names over what was known of the same ids, in one transaction of its own: all or none.

    Raises:
        sqlite3.Error: the database did not take them.
    """
    cursor = connection.cursor()
    cursor.execute("BEGIN IMMEDIATE")
    try:
        cursor.executemany(_NAME, rows)
        cursor.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            cursor.execute("ROLLBACK")
        raise
    finally:
        cursor.close()


def read_names(connection: sqlite3.Connection) -> dict[str, DeploymentName]:
    """Return what is known of deployments, by id."""
    rows = connection.execute("SELECT id, name, region FROM deployments").fetchall()
    return {id_: DeploymentName(name=name, region=region) for id_, name, region in rows}


def called(id_: str, group: str, model: str, names: Mapping[str, DeploymentName]) -> DeploymentName:
    """Return what a deployment is called. One that is made for a raw id or a wildcard's match is told by no config: it
    goes by what led to it (``group``, or nothing) and its model.
    """
    known = names.get(id_)
    if known is not None or not id_:
        return known or DeploymentName(name="", region="")
    way = group or AMBIENT
    # arn:partition:service:region:account:resource
    parts = model.split(":", 5)
    region = parts[3] if parts[0] == "arn" and len(parts) == 6 else ""
    return DeploymentName(name=f"{way}: {model}" if model else way, region=region)
