"""SQLite connections of a running ledger, over aiosqlite: each has its thread, the loop never waits in SQLite.

Knows how a connection is set up and how a group gets to the writer's thread in one hop; knows no rows.
"""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import aiosqlite

from bedrock_gateway.errors import StartError
from bedrock_gateway.store.limits import LedgerLimits
from bedrock_gateway.store.rows import Change, write_group

__all__ = ["checkpoint", "open_connection", "write_changes"]

_GROUP = "a group of changes"
"""What the writer's ``executemany`` is given in place of SQL; see ``_Connection``."""


class _Connection(sqlite3.Connection):
    """The writer's connection: its ``executemany`` takes a whole group, so that a transaction costs one thread hop."""

    run = 0

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> sqlite3.Cursor:
        if sql is not _GROUP:
            return super().executemany(sql, parameters)
        write_group(self, self.run, list(parameters))
        return self.cursor()


async def write_changes(connection: aiosqlite.Connection, changes: Sequence[Change]) -> None:
    """Write a group in one transaction; one thread hop. Cancelling the wait does not stop the transaction.

    Raises:
        sqlite3.Error: the database did not take it, nothing of it is written.
    """
    await connection.executemany(_GROUP, changes)


async def open_connection(path: Path, *, run: int, power: bool, limits: LedgerLimits) -> aiosqlite.Connection:
    """Open a connection of the running ledger.

    Raises:
        StartError: the database refused.
    """
    try:
        connection = await aiosqlite.connect(
            path,
            factory=functools.partial(_make, run),
            isolation_level=None,
            timeout=limits.busy_s,
        )
        for pragma in (f"synchronous = {'FULL' if power else 'NORMAL'}", "wal_autocheckpoint = 0"):
            async with connection.execute(f"PRAGMA {pragma}"):
                pass
    except sqlite3.Error as error:
        raise StartError(f"{path}: the ledger cannot be opened: {error}") from error
    return connection


def _make(run: int, *args: Any, **kwargs: Any) -> _Connection:
    connection = _Connection(*args, **kwargs)
    connection.run = run
    return connection


async def checkpoint(connection: aiosqlite.Connection) -> tuple[int, int]:
    """Run a passive checkpoint; return the WAL's pages and how many of them the database has."""
    async with connection.execute("PRAGMA wal_checkpoint(PASSIVE)") as cursor:
        row = await cursor.fetchone()
    return (int(row[1]), int(row[2])) if row is not None else (0, 0)
