"""Opening the database to administer it: beside a running gateway, or without one.

Knows how a database comes to exist and to be up to date, and who may see to that; knows no rows.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from bedrock_gateway.errors import StartError
from bedrock_gateway.store.lock import DatabaseLock
from bedrock_gateway.store.schema import MIGRATIONS, connect, migrate, prepare_file, refuse_other_kind, start_error

__all__ = ["open_to_edit"]


@contextlib.contextmanager
def open_to_edit(path: Path, *, simulated: bool, now_ms: int) -> Iterator[sqlite3.Connection]:
    """Open the database for changes, and close it after; one that is not there yet is made.

    Raises:
        StartError: it cannot be used, or a gateway of an older version runs on it.
    """
    prepare_file(path)
    path = path.resolve()
    connection = connect(path)
    try:
        try:
            if _schema(connection) < len(MIGRATIONS):
                _bring_up_to_date(connection, path, simulated, now_ms)
            else:
                # Up to date, or of a newer version or another program, which this refuses.
                migrate(connection, path, simulated=simulated, now_ms=now_ms)
            refuse_other_kind(connection, path, simulated=simulated)
            yield connection
        except sqlite3.Error as error:
            raise start_error(path, error) from error
    finally:
        connection.close()


def _schema(connection: sqlite3.Connection) -> int:
    """Return the number of the last migration the database has had."""
    known = connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'migrations'").fetchone()[0]
    if not known:
        return 0
    return int(connection.execute("SELECT coalesce(max(number), 0) FROM migrations").fetchone()[0])


def _bring_up_to_date(connection: sqlite3.Connection, path: Path, simulated: bool, now_ms: int) -> None:
    """Migrate under the lock of a running gateway, so that none loses its tables under its feet."""
    try:
        lock = DatabaseLock.acquire(path, os.getpid())
    except StartError as error:
        raise StartError(
            f"{path}: has to be brought up to date for this version, and cannot be while it is in use: {error}"
        ) from error
    try:
        migrate(connection, path, simulated=simulated, now_ms=now_ms)
    finally:
        lock.release()
