"""Grouped ``fdatasync``: those who wait share one. Knows a thread and what to run there; knows no journal."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from concurrent.futures import Executor

from bedrock_gateway.errors import StoreError

__all__ = ["GroupedSync"]


class GroupedSync:
    """Runs ``sync`` in ``thread``, one at a time, for whoever waits."""

    def __init__(self, thread: Executor, sync: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = thread
        self._sync = sync
        self._waiters: list[asyncio.Future[None]] = []
        self.running = False

    def wait(self) -> asyncio.Future[None]:
        """Return a future of the next sync that *begins* from now on; it fails with ``StoreError`` if the disk does."""
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters.append(waiter)
        if not self.running:
            self._begin()
        return waiter

    def _begin(self) -> None:
        waiters, self._waiters = self._waiters, []
        self.running = True
        done = self._loop.run_in_executor(self._thread, self._sync)
        done.add_done_callback(functools.partial(self._end, waiters))

    def _end(self, waiters: list[asyncio.Future[None]], done: asyncio.Future[None]) -> None:
        self.running = False
        error = done.exception()
        if self._waiters:
            self._begin()
        for waiter in waiters:
            if waiter.done():
                continue
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(StoreError(f"the journal cannot be synced: {error}"))
