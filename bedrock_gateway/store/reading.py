"""Opening the ledger to read it: beside a running gateway or without one, in one consistent view.

Knows how a database is opened without writing to it and what can be wrong with the file; knows no rows.
"""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from bedrock_gateway.errors import StartError
from bedrock_gateway.store.schema import APPLICATION_ID, MIGRATIONS

__all__ = ["is_there", "need_ledger", "open_ledger"]


def is_there(path: Path) -> bool:
    """Tell whether there is a file where a ledger is looked for.

    Raises:
        StartError: there is a directory, or its folder does not let us look.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StartError(f"{path}: the ledger cannot be reached: {error.strerror}") from error
    if stat.S_ISDIR(mode):
        raise StartError(f"{path}: is a directory, not a ledger")
    return True


def need_ledger(path: Path) -> Path:
    """Return a path where a ledger can be: nothing is made where none is.

    Raises:
        StartError: there is no file.
    """
    if not is_there(path):
        raise StartError(f"{path}: no ledger here yet, so nothing was booked in it")
    return path


@contextmanager
def open_ledger(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the ledger for reading, in one consistent view, and close it after.

    Raises:
        StartError: there is none, or it cannot be read.
    """
    need_ledger(path)
    try:
        connection = _connect(path)
    except sqlite3.Error as error:
        raise _read_error(path, error) from error
    try:
        try:
            connection.execute("BEGIN")
            (application,) = connection.execute("PRAGMA application_id").fetchone()
            if application != APPLICATION_ID:
                raise StartError(f"{path}: is not a ledger of bedrock-gateway")
            (number,) = connection.execute("SELECT max(number) FROM migrations").fetchone()
            if number > len(MIGRATIONS):
                raise StartError(f"{path}: was written by a newer version (schema {number}); upgrade bedrock-gateway")
            if number < len(MIGRATIONS):
                raise StartError(
                    f"{path}: was written by an older version (schema {number}); start the gateway on it once, which "
                    "brings it up to date"
                )
            yield connection
        except sqlite3.Error as error:
            raise _read_error(path, error) from error
    finally:
        connection.close()


def _connect(path: Path) -> sqlite3.Connection:
    """Open read-only; where not even SQLite's shared memory can be made (read-only folder), as a file nobody writes."""
    address = f"file:{quote(str(path.absolute()))}"
    connection = sqlite3.connect(f"{address}?mode=ro", uri=True, timeout=5, isolation_level=None)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        wal = path.with_name(path.name + "-wal")
        if wal.exists() and wal.stat().st_size:
            raise
        connection = sqlite3.connect(f"{address}?mode=ro&immutable=1", uri=True, isolation_level=None)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _read_error(path: Path, error: sqlite3.Error) -> StartError:
    text = str(error)
    if "not a database" in text:
        return StartError(f"{path}: is not a SQLite database")
    return StartError(f"{path}: the ledger cannot be read: {text}")
