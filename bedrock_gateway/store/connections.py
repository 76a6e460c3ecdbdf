"""SQLite connections of a running ledger, over aiosqlite: each has its thread, the loop never waits in SQLite.

Knows how a connection is set up and how a group gets to the writer's thread in one hop; knows no rows.
"""

from __future__ import annotations

import functools
import logging
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import aiosqlite

from bedrock_gateway.errors import StartError
from bedrock_gateway.store.limits import LedgerLimits
from bedrock_gateway.store.names import NameRow, write_names
from bedrock_gateway.store.rows import Change, write_group

__all__ = [
    "UNWRITABLE",
    "Checkpoints",
    "Spends",
    "open_connection",
    "read_spends",
    "write_changes",
    "write_deployments",
]

LOG = logging.getLogger("bedrock_gateway.store")

UNWRITABLE = (TypeError, AttributeError, ValueError, OverflowError, sqlite3.IntegrityError, sqlite3.ProgrammingError)
"""What a record raises that is itself at fault; everything else of SQLite is the database's trouble."""

_GROUP = "a group of changes"
_NAMES = "names of deployments"
_QUESTIONS = "what accounts have spent"
"""What the writer's ``executemany`` is given in place of SQL; see ``_Connection``."""

_SPENDS = "SELECT quarter, spend FROM accounts WHERE account = ? AND quarter >= ? ORDER BY quarter"

Spends: TypeAlias = list[tuple[int, int]]
"""Quarter-hours and what was spent in each, nano-USD, in order of time."""


class _Connection(sqlite3.Connection):
    """The writer's connection: its ``executemany`` takes a whole group, so that a transaction costs one thread hop."""

    run = 0

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> sqlite3.Cursor:
        if sql is _GROUP:
            write_group(self, self.run, list(parameters))
        elif sql is _NAMES:
            write_names(self, parameters)
        elif sql is _QUESTIONS:
            for account, since, told in parameters:
                told.append(_spends(self, account, since))
        else:
            return super().executemany(sql, parameters)
        return self.cursor()


async def write_changes(connection: aiosqlite.Connection, changes: Sequence[Change]) -> None:
    """Write a group in one transaction; one thread hop. Cancelling the wait does not stop the transaction.

    Raises:
        sqlite3.Error: the database did not take it, nothing of it is written.
    """
    await connection.executemany(_GROUP, changes)


async def write_deployments(connection: aiosqlite.Connection, rows: list[NameRow]) -> list[NameRow]:
    """Write what deployments are called in one transaction; return what to try again: all where the database is locked
    or full, else nothing.
    """
    try:
        await connection.executemany(_NAMES, rows)
    except sqlite3.OperationalError:
        return rows
    except (TypeError, ValueError, sqlite3.Error) as error:
        LOG.error("reports will show ids of deployments, their names cannot be written: %r", error)
    return []


async def read_spends(
    connection: aiosqlite.Connection, questions: Iterable[tuple[str, int]]
) -> list[Spends | Exception]:
    """Return what each of some accounts has spent from a quarter-hour on, or why it cannot be read; one thread hop."""
    told: list[Spends | Exception] = []
    await connection.executemany(_QUESTIONS, [(account, since, told) for account, since in questions])
    return told


def _spends(connection: sqlite3.Connection, account: str, since: int) -> Spends | Exception:
    try:
        return connection.execute(_SPENDS, (account, since)).fetchall()
    except (sqlite3.Error, ValueError) as error:
        # ValueError: an account whose name is no Unicode. The writer has to go on.
        return error


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


class Checkpoints:
    """Copies the WAL into the database off the loop and off the writer, so that commits do not wait for it."""

    def __init__(self, path: Path, connection: aiosqlite.Connection, wal_frames: int) -> None:
        self._path = path
        self._connection = connection
        self._wal_frames = wal_frames
        self._failing = False

    async def run(self, writer: aiosqlite.Connection | None) -> None:
        """Copy what can be copied; ``writer`` finishes the copy where the WAL grows too long (None: not now)."""
        try:
            pages = await _checkpoint(self._connection)
            if pages > self._wal_frames and writer is not None:
                # Under steady writing the copy never catches up, and the WAL would only grow: what was copied is all
                # there was when the copy began. The writer itself copies the short rest between two groups; then its
                # next commit starts the WAL anew.
                await _checkpoint(writer)
        except sqlite3.Error as error:
            if not self._failing:
                LOG.error("the ledger's WAL cannot be brought into the database: %s: %s", self._path, error)
            self._failing = True
        else:
            self._failing = False


async def _checkpoint(connection: aiosqlite.Connection) -> int:
    """Run a passive checkpoint, in one hop: a statement left open would be in the way of the writer's next commit.
    Return the pages the WAL had when it began.
    """
    rows = [*await connection.execute_fetchall("PRAGMA wal_checkpoint(PASSIVE)")]
    return int(rows[0][1])
