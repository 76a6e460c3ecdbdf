"""The registry: what is administered, written and read for a running gateway, and its directory kept up to date.

Knows three connections, each in a thread of its own, and the order in which changes reach the directory; knows no SQL
(``subjects``). What the command line writes beside the gateway arrives within ``POLL_S``; what is written here, before
``write`` returns.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from bedrock_gateway.access.directory import Change, Contents, Directory
from bedrock_gateway.errors import StartError, Unavailable
from bedrock_gateway.store.schema import start_error
from bedrock_gateway.store.subjects import read_all, read_changes, transaction

__all__ = ["POLL_S", "Registry"]

LOG = logging.getLogger("bedrock_gateway.store")

POLL_S = 0.5
"""Seconds between two looks for what others wrote."""

#: Seconds a write waits for a lock: others hold it for milliseconds.
_BUSY_S = 2.0
#: Seconds a write waits for those before it: while none gets its lock, those behind are not kept waiting for each.
_QUEUED_S = 5.0

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Registry:
    """Writes and reads what is administered. Made by ``Registry.open``; used on the event loop it was opened on.

    Attributes:
        directory: what is kept up to date.
        on_change: called with kind and id of everything that was written, once the directory has it; with "" and ""
            where so much was that the directory was read anew.
    """

    def __init__(self, path: Path, directory: Directory, queued_s: float) -> None:
        self.directory = directory
        self.on_change: list[Callable[[str, str], None]] = []
        self._path = path
        self._queued_s = queued_s
        self._seen = 0
        self._trouble: str | None = None
        self._writer = _Thread(path, query_only=False)
        self._reader = _Thread(path, query_only=True)
        # A report may take seconds; what others wrote is seen meanwhile.
        self._watcher = _Thread(path, query_only=True)
        self._polling: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, path: Path, *, directory: Directory, queued_s: float = _QUEUED_S) -> Registry:
        """Fill the directory from a database whose schema is up to date, and keep it up to date from now on.

        Args:
            queued_s: seconds a write waits for those before it.

        Raises:
            StartError: the database cannot be read.
        """
        registry = cls(path, directory, queued_s)
        try:
            await registry._writer.open()
            await registry._reader.open()
            await registry._watcher.open()
            contents, registry._seen = await registry._reader.run(read_all)
        except sqlite3.Error as error:
            await registry.aclose()
            raise start_error(path, error) from error
        except BaseException:
            await registry.aclose()
            raise
        directory.load(contents)
        registry._polling = asyncio.create_task(registry._poll(), name="registry poll")
        return registry

    async def __aenter__(self) -> Registry:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Let go of everything; doing so twice is harmless."""
        if self._polling is not None:
            self._polling.cancel()
            await asyncio.gather(self._polling, return_exceptions=True)
            self._polling = None
        await self._writer.close()
        await self._reader.close()
        await self._watcher.close()

    async def write(
        self, function: Callable[Concatenate[sqlite3.Connection, _P], _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        """Run a function in one transaction; what it changed is in the directory when this returns.

        Cancelling the wait does not stop the transaction.

        Raises:
            Refusal: the function's own; nothing is written then.
            Unavailable: the database takes no records now.
        """
        until = time.monotonic() + self._queued_s
        try:
            result, news = await self._writer.run(
                _write, until, self._seen, lambda connection: function(connection, *args, **kwargs)
            )
        except sqlite3.OperationalError as error:
            if _is_ours(error):
                raise
            raise Unavailable(
                f"Nothing was written: the database does not take it now ({error}).", retry_after=1
            ) from error
        self._take(news)
        return result

    async def read(
        self, function: Callable[Concatenate[sqlite3.Connection, _P], _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        """Run a function that only reads.

        Raises:
            Refusal: the function's own.
            Unavailable: the database cannot be read now.
        """
        try:
            return await self._reader.run(_snapshot, lambda connection: function(connection, *args, **kwargs))
        except sqlite3.OperationalError as error:
            if _is_ours(error):
                raise
            raise Unavailable(f"The database cannot be read now ({error}).", retry_after=1) from error

    async def refresh(self) -> None:
        """Take over what others wrote, now instead of at the next look.

        Raises:
            sqlite3.Error: the database cannot be read.
        """
        self._take(await self._watcher.run(read_changes, self._seen))

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(POLL_S)
            try:
                await self.refresh()
            except sqlite3.Error as error:
                # Calls go on with what is known; admission has its own look at the database.
                if self._trouble is None:
                    LOG.error("keys, users and teams stay as they are, %s cannot be read: %s", self._path, error)
                self._trouble = str(error)
            except Exception:
                # Whatever one change brings to light, those after it have to be followed.
                LOG.exception("a change of keys, users or teams could not be taken over")
            else:
                if self._trouble is not None:
                    LOG.warning("keys, users and teams are read again from %s", self._path)
                self._trouble = None

    def _take(self, news: tuple[list[Change] | Contents, int] | None) -> None:
        """Hand news to the directory, unless what it has is newer: two threads read."""
        if news is None or news[1] <= self._seen:
            return
        told, self._seen = news
        if isinstance(told, Contents):
            self.directory.load(told)
            names = [("", "")]
        else:
            self.directory.apply(told)
            names = [(change.kind, change.id) for change in told]
        for kind, id_ in names:
            for listener in self.on_change:
                listener(kind, id_)


def _write(
    connection: sqlite3.Connection, until: float, seen: int, function: Callable[[sqlite3.Connection], _T]
) -> tuple[_T, tuple[list[Change] | Contents, int] | None]:
    if time.monotonic() > until:
        raise Unavailable("Nothing was written: too many writes wait for the database.", retry_after=1)
    with transaction(connection):
        result = function(connection)
    try:
        return result, read_changes(connection, seen)
    except sqlite3.Error:
        return result, None  # it is written all the same; the next look finds it


def _is_ours(error: sqlite3.OperationalError) -> bool:
    """Tell whether a statement is wrong, and not the database locked, full, damaged or out of reach."""
    return error.sqlite_errorcode == sqlite3.SQLITE_ERROR


def _snapshot(connection: sqlite3.Connection, function: Callable[[sqlite3.Connection], _T]) -> _T:
    """Run a function on one state of the database: several statements do not see different ones."""
    connection.execute("BEGIN")
    try:
        return function(connection)
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


class _Thread:
    """A connection and the only thread that touches it."""

    def __init__(self, path: Path, *, query_only: bool) -> None:
        self._path = path
        self._query_only = query_only
        self._connection: sqlite3.Connection | None = None
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="registry")

    async def open(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._pool, self._connect)

    def _connect(self) -> None:
        connection = sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None)
        # The ledger copies the WAL; here only records are waited for.
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        if self._query_only:
            connection.execute("PRAGMA query_only = 1")
        self._connection = connection

    async def run(
        self, function: Callable[Concatenate[sqlite3.Connection, _P], _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        connection = self._connection
        if connection is None:
            raise StartError(f"{self._path}: the registry is closed")
        call = functools.partial(function, connection, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        with contextlib.suppress(RuntimeError):
            if connection is not None:
                await asyncio.get_running_loop().run_in_executor(self._pool, connection.close)
        self._pool.shutdown(wait=False)
