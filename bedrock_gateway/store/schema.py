"""The tables, and how a database file becomes a ledger: numbered migrations, each in one transaction with its record.

Knows the schema and SQLite's own faults; knows no rows. Times are UTC ms, money is nano-USD, ids are UUIDv7 text.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path

from bedrock_gateway.errors import StartError
from bedrock_gateway.store.migrations import APPLICATION_ID, MIGRATIONS

__all__ = [
    "APPLICATION_ID",
    "MIGRATIONS",
    "QUARTER_MS",
    "connect",
    "migrate",
    "prepare_file",
    "refuse_other_kind",
    "start_error",
]

QUARTER_MS = 900_000
"""Milliseconds of the quarter-hours rollups are kept by."""

_BUSY_AT_START_S = 5.0

_RECORDS = """
CREATE TABLE IF NOT EXISTS migrations (
    number      INTEGER PRIMARY KEY,  -- from 1
    title       TEXT NOT NULL,        -- what it brought
    applied_at  INTEGER NOT NULL      -- UTC ms
)
"""


def prepare_file(path: Path) -> None:
    """See to it that ``path`` is a file this process can read and write; create it with mode 0600.

    Raises:
        StartError: it is something else, or cannot be read, written or created.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(f"{path.parent}: cannot be created for the ledger: {error.strerror}") from error
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            return  # made by another process this moment; the lock decides between the two
        except OSError as error:
            raise StartError(f"{path}: the ledger cannot be created: {error.strerror}") from error
        return
    except OSError as error:
        raise StartError(f"{path}: the ledger cannot be reached: {error.strerror}") from error
    if stat.S_ISDIR(mode):
        raise StartError(f"{path}: is a directory; the ledger is one file, for example {path / 'ledger.db'}")
    if not stat.S_ISREG(mode):
        raise StartError(f"{path}: is not a regular file; the ledger is a SQLite database file")
    for right, word in ((os.R_OK, "readable"), (os.W_OK, "writable")):
        if not os.access(path, right):
            raise StartError(f"{path}: the ledger is not {word} for this user")
    if not os.access(path.parent, os.W_OK):
        raise StartError(f"{path.parent}: not writable for this user; the ledger needs files beside it")


def connect(path: Path) -> sqlite3.Connection:
    """Open the database in WAL mode, for the time before and after serving.

    Raises:
        StartError: it is no SQLite database, damaged, locked, or on a file system without WAL.
    """
    connection = sqlite3.connect(path, timeout=_BUSY_AT_START_S, isolation_level=None)
    try:
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not tables:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # only a database without tables takes it
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StartError(f"{path}: its file system does not support SQLite's WAL mode")
    except sqlite3.Error as error:
        connection.close()
        raise start_error(path, error) from error
    except StartError:
        connection.close()
        raise
    return connection


def start_error(path: Path, error: sqlite3.Error) -> StartError:
    """Return the one line a user sees for a fault of SQLite at start."""
    text = str(error)
    if "not a database" in text:
        return StartError(f"{path}: is not a SQLite database; name another file with --database")
    if "malformed" in text:
        return StartError(f"{path}: the database is damaged ({text}); restore it, or name another with --database")
    if "locked" in text or "busy" in text:
        return StartError(f"{path}: another process keeps the database locked; close it and start again")
    if "full" in text:
        return StartError(f"{path}: the disk is full")
    return StartError(f"{path}: the ledger cannot be opened: {text}")


def migrate(
    connection: sqlite3.Connection,
    path: Path,
    *,
    simulated: bool,
    now_ms: int,
    migrations: tuple[tuple[str, str], ...] = MIGRATIONS,
) -> None:
    """Bring the database to this version's schema; ``path`` is for messages.

    Raises:
        StartError: the database is of a newer version, of another program, or of the other kind (simulated or real).
    """
    try:
        _migrate(connection, path, simulated, now_ms, migrations)
    except sqlite3.Error as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise start_error(path, error) from error


def _migrate(
    connection: sqlite3.Connection, path: Path, simulated: bool, now_ms: int, migrations: tuple[tuple[str, str], ...]
) -> None:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION_ID and (application != 0 or tables):
        raise StartError(f"{path}: is a database of another program; name another file with --database")
    done = 0
    if "migrations" in tables:
        (done,) = connection.execute("SELECT coalesce(max(number), 0) FROM migrations").fetchone()
    if done > len(migrations):
        raise StartError(
            f"{path}: was written by a newer version (schema {done}, this one knows {len(migrations)}); "
            "upgrade bedrock-gateway or name another file with --database"
        )
    for number, (title, script) in enumerate(migrations[done:], start=done + 1):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(_RECORDS)
        for statement in _statements(script):
            connection.execute(statement)
        if number == 1:
            connection.execute("INSERT INTO ledger VALUES (?, ?)", (simulated, now_ms))
        connection.execute("INSERT INTO migrations VALUES (?, ?, ?)", (number, title, now_ms))
        connection.execute("COMMIT")
    refuse_other_kind(connection, path, simulated=simulated)


def refuse_other_kind(connection: sqlite3.Connection, path: Path, *, simulated: bool) -> None:
    """Refuse a simulated ledger to a real run and a real one to a simulated run.

    Raises:
        StartError: the ledger is of the other kind.
    """
    (kept,) = connection.execute("SELECT simulated FROM ledger").fetchone()
    if kept and not simulated:
        raise StartError(f"{path}: is of simulated runs; add --simulate, or name another file with --database")
    if simulated and not kept:
        raise StartError(f"{path}: is of real runs; leave out --simulate, or name another file with --database")


def _statements(script: str) -> list[str]:
    """Return the statements of a script: ``executescript`` would commit the transaction under way."""
    statements: list[str] = []
    pending = ""
    for piece in script.split(";")[:-1]:
        pending += piece + ";"
        # A semicolon in a text or a comment ends nothing.
        if sqlite3.complete_statement(pending):
            statements.append(pending)
            pending = ""
    return statements
