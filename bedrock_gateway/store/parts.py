"""What an open ledger stands on, opened together and let go of together: lock, journal, connections, a thread.

Knows the order of opening and letting go; knows no record.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aiosqlite
import attrs

from bedrock_gateway.store.connections import Checkpoints, open_connection
from bedrock_gateway.store.ids import ID_RANDOM_BYTES, new_id
from bedrock_gateway.store.journal import Journal
from bedrock_gateway.store.limits import LedgerLimits
from bedrock_gateway.store.lock import lock_of
from bedrock_gateway.store.presence import Presence
from bedrock_gateway.store.recovery import start_run
from bedrock_gateway.store.syncing import GroupedSync

__all__ = ["LedgerParts"]

LOG = logging.getLogger("bedrock_gateway.store")


@attrs.frozen(kw_only=True, eq=False)
class LedgerParts:
    """The parts of an open ledger.

    Attributes:
        path: the database, links resolved.
        run_id: id of this run.
        run: its number in the database.
        latest: UTC ms, as in ``Recovered``.
        power: whether records are to outlive a power cut.
        journal: where openings last, and closings the database did not take in time.
        sync: brings the journal to the disk.
        thread: for what blocks.
        presence: tells whether the files are still there.
        writer: the connection that writes groups.
        checkpoints: copies the WAL, over a connection of its own.
        connections: closes the connections.
        rest: closes the journal, releases the lock, ends the thread, in this order.
    """

    path: Path
    run_id: str
    run: int
    latest: int
    power: bool
    journal: Journal
    sync: GroupedSync
    thread: ThreadPoolExecutor
    presence: Presence
    writer: aiosqlite.Connection
    checkpoints: Checkpoints
    connections: contextlib.AsyncExitStack
    rest: contextlib.AsyncExitStack

    @classmethod
    async def open(
        cls, path: Path, *, simulated: bool, power: bool, now_ms: int, version: str, pid: int, limits: LedgerLimits
    ) -> LedgerParts:
        """Lock the database, settle what dead runs left, begin a run, connect.

        Raises:
            StartError: another process runs on it, or it cannot be used.
        """
        run_id = new_id(now_ms, os.urandom(ID_RANDOM_BYTES))
        async with contextlib.AsyncExitStack() as rest, contextlib.AsyncExitStack() as connections:
            thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger")
            rest.callback(thread.shutdown)
            start = functools.partial(start_run, path, run_id, simulated, now_ms, version, pid, limits, rest)
            try:
                resolved, recovered, journal = await asyncio.get_running_loop().run_in_executor(thread, start)
            except asyncio.CancelledError:
                # The thread works on: the lock may not go before the work it guards is done.
                thread.shutdown()
                raise
            writer = await open_connection(resolved, run=recovered.run, power=power, limits=limits)
            connections.push_async_callback(writer.close)
            checkpointer = await open_connection(resolved, run=0, power=power, limits=limits)
            connections.push_async_callback(checkpointer.close)
            parts = cls(
                path=resolved,
                run_id=run_id,
                run=recovered.run,
                latest=recovered.latest,
                power=power,
                journal=journal,
                sync=GroupedSync(thread, journal.sync),
                thread=thread,
                presence=Presence.of(resolved, lock_of(resolved)),
                writer=writer,
                checkpoints=Checkpoints(resolved, checkpointer, limits.wal_frames),
                connections=connections.pop_all(),
                rest=rest.pop_all(),
            )
        if recovered.damaged:
            LOG.warning("the ledger's journal has %d damaged places: records there are lost", recovered.damaged)
        if recovered.interrupted or recovered.folded:
            LOG.warning(
                "an earlier run died: %d attempts interrupted, %d closings taken from the journal",
                recovered.interrupted,
                recovered.folded,
            )
        return parts
