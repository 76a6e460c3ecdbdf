"""The ledger: takes openings and closings on the event loop and makes them last.

Knows queues, deadlines and what counts as durable; knows no SQL (``rows``, ``recovery``) and no bytes (``journal``,
``frames``).

- An *opening* is durable after one append to the journal: no await, no thread. Attempts open for a while get a row as
  well, so that reports show them and the journal can be emptied.
- A *closing* is durable when its transaction has committed. There is one writer; what is queued while it commits goes
  into the next transaction together.
- If the database does not take a group in time, its closings go to the journal's closing segment and are durable
  there; openings are refused until the database takes records again (``trouble`` says why). Every open attempt has
  room there from the start. The same holds while the ledger's files are not where they were opened.

Nothing here is undone by a waiter that is cancelled: a closing is queued before its future is returned.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from bedrock_gateway.errors import NeverOnRecord, StartError, StoreError
from bedrock_gateway.store.asides import Asides, Spends
from bedrock_gateway.store.attempts import Attempt, Queued, journal_closings, resolve, waiting
from bedrock_gateway.store.connections import UNWRITABLE, write_changes
from bedrock_gateway.store.frames import CLOSING_ROOM, encode_opening
from bedrock_gateway.store.gathering import Gathering
from bedrock_gateway.store.limits import LedgerLimits
from bedrock_gateway.store.parts import LedgerParts
from bedrock_gateway.store.records import CallRecord, Closing, Opening
from bedrock_gateway.store.recovery import end_run

__all__ = ["Ledger", "LedgerLimits"]

LOG = logging.getLogger("bedrock_gateway.store")


class Ledger:
    """The open ledger of one run. Made by ``Ledger.open``; everything is called on the event loop it was opened on.

    Attributes:
        run_id: id of this run.
        path: the database file, links resolved.
        latest: UTC ms at which the newest quarter-hour begins that an earlier run booked anything in.
        trouble: why the database takes no records, or None. While it is set openings are refused.
    """

    def __init__(self, parts: LedgerParts, now_ms: Callable[[], int], limits: LedgerLimits) -> None:
        self.path, self.run_id, self.latest = parts.path, parts.run_id, parts.latest
        self.trouble: str | None = None
        self._parts = parts
        self._journal = parts.journal
        self._sync = parts.sync
        self._now_ms = now_ms
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._attempts: dict[str, Attempt] = {}
        self._open = 0
        self._room = limits.closings_bytes // CLOSING_ROOM - 1
        self._tick = 0
        self._queue: list[Queued] = []
        self._writing: list[Queued] = []
        self._settled = 0
        self._asides = Asides()
        self._calls_waiting = 0
        self._calls_dropped = 0
        self._wake: asyncio.Future[None] | None = None
        self._ending = asyncio.Event()
        self._closed = False
        self._gone = False
        self._one_by_one = 0
        self._gathering = Gathering(limits.gather_s)
        self._write_task = self._loop.create_task(self._write(), name="ledger writer")
        self._tick_task = self._loop.create_task(self._keep_house(), name="ledger housekeeping")

    # --- opening and closing the ledger ---------------------------------------------------------------------------

    @classmethod
    async def open(
        cls,
        path: Path | str,
        *,
        simulated: bool,
        durability: str,
        now_ms: Callable[[], int],
        version: str,
        pid: int,
        limits: LedgerLimits | None = None,
    ) -> Ledger:
        """Open the ledger at ``path``: lock it, bring its schema up to date, settle what dead runs left, begin a run.

        ``now_ms`` is the wall clock in UTC ms. ``durability``: what a record outlives, ``process`` or a ``power`` cut.

        Raises:
            StartError: another process runs on it, or it cannot be used.
        """
        if durability not in ("process", "power"):
            raise ValueError(f"durability {durability!r} is neither process nor power")
        limits = limits or LedgerLimits()
        parts = await LedgerParts.open(
            Path(path),
            simulated=simulated,
            power=durability == "power",
            now_ms=now_ms(),
            version=version,
            pid=pid,
            limits=limits,
        )
        return cls(parts, now_ms, limits)

    async def __aenter__(self) -> Ledger:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Write what is queued, mark what is still open as interrupted, end the run, let go of everything.

        If the database takes nothing even now, the journal keeps what is missing for the next start. Calling it twice
        is harmless.
        """
        if self._closed:
            return
        self._closed = True
        for attempt in self._attempts.values():
            self._queue_row(attempt)
        self._ending.set()
        self._wake_writer()
        self._gathering.stop()
        try:
            await self._tick_task
            await self._write_task
            with contextlib.suppress(StoreError):
                while self._sync.running:
                    await self._sync.wait()
        finally:
            await self._let_go()

    async def _let_go(self) -> None:
        for task in (self._tick_task, self._write_task):
            task.cancel()
        await asyncio.gather(self._tick_task, self._write_task, return_exceptions=True)
        self._gone = True
        if self._writing:
            # Cancelled in the middle of a group: whether it was written is not known, telling it twice is harmless.
            self._begin_trouble("the ledger was closed while it wrote")
        try:
            await self._parts.connections.aclose()
            if not self._queue and not self._writing:
                await self._loop.run_in_executor(self._parts.thread, self._sign_off)
        finally:
            self._asides.fail("it is closed")
            for waiter in waiting(self._writing + self._queue):
                waiter.set_exception(StoreError(self.trouble or "the ledger is closed"))
            await self._parts.rest.aclose()

    def _sign_off(self) -> None:
        try:
            end_run(self.path, self._parts.run, self._now_ms())
            self._journal.empty()
        except (StartError, sqlite3.Error, OSError) as error:
            LOG.warning("the ledger could not sign its run off, the next start will: %s", error)

    # --- what the chain calls -------------------------------------------------------------------------------------

    @property
    def open_attempts(self) -> int:
        """Attempts opened and not closed yet."""
        return self._open

    @property
    def queued(self) -> int:
        """Changes the database does not have yet."""
        return len(self._queue) + len(self._writing)

    def open_attempt(self, opening: Opening) -> Awaitable[None] | None:
        """Put an attempt on record before it is sent. Returns None when that already lasts, else what to await first.

        Whoever got either has to close the attempt, also if the wait fails or is cancelled.

        Raises:
            StoreError: it could not be put on record, with the true cause; nothing may be sent then.
        """
        if self.trouble is not None or self._closed:
            raise StoreError(self.trouble or "the ledger is closed")
        attempts = self._attempts
        if len(attempts) + self._journal.closings.frames >= self._room:
            raise StoreError(f"{len(attempts)} attempts are open at once: the journal has room for no more")
        if opening.attempt in attempts:
            raise StoreError(f"attempt {opening.attempt} is open already")
        full = self._journal.current
        segment = self._journal.append_opening(encode_opening(opening))
        if segment is not full:
            # What only the full segment knows goes to the database now, so that it is empty when its turn comes.
            for attempt in attempts.values():
                if attempt.segment is full:
                    self._queue_row(attempt)
        attempts[opening.attempt] = Attempt(opening, segment, self._tick)
        self._open += 1
        return self._sync.wait() if self._parts.power else None

    def close_attempt(self, closing: Closing, call: CallRecord | None) -> asyncio.Future[None]:
        """Book how an attempt ended, with its call's record if it was the last. The future resolves when that lasts.

        A closing told twice changes nothing: the second future resolves with the first. The future fails with
        ``StoreError`` only where neither database nor journal took the closing.
        """
        future: asyncio.Future[None] = self._loop.create_future()
        if self._gone:
            future.set_exception(StoreError("the ledger is closed"))
            return future
        attempt = self._attempts.get(closing.attempt)
        if attempt is None or attempt.waiters is not None:
            if call is not None:
                self.record_call(call)
            if attempt is None or attempt.waiters is None or attempt.journaled:
                future.set_result(None)
            else:
                attempt.waiters.append(future)
            return future
        attempt.waiters = [future]
        self._open -= 1
        opening = attempt.opening
        self._queue.append((attempt, (opening.call, opening, closing, call, attempt.row_queued)))
        if self.trouble is not None:
            self._journal_closings(self._queue[-1:])
        if self._wake is not None:
            self._wake_writer()
        elif not self._open:
            self._gathering.complete()
        return future

    def record_call(self, call: CallRecord) -> None:
        """Book a call nothing was sent for; it is written with the next group."""
        if self._gone or self._calls_waiting >= self._limits.unsent_calls:
            self._calls_dropped += 1
            return
        self._calls_waiting += 1
        self._queue.append((None, (call.call, None, None, call, False)))
        self._wake_writer()

    def name_deployments(self, deployments: Iterable[tuple[str, str, str, str]]) -> None:
        """Tell what deployments are called, as (id, name, model, region), for reports; the writer writes it soon."""
        self._asides.name((*told, self._now_ms()) for told in deployments)
        self._wake_writer()

    def ask_spends(self, account: str, since: int) -> asyncio.Future[Spends]:
        """Return a future of what an account has spent from a quarter-hour on: all that was told before this call, and
        nothing of what is told after it. It fails with ``StoreError`` where the ledger is in trouble.
        """
        answer = self._asides.ask(account, since, self._settled + self.queued)
        if self.trouble is not None or self._closed:
            self._asides.fail(self.trouble or "the ledger is closed")
        self._wake_writer()
        return answer

    # --- the writer -----------------------------------------------------------------------------------------------

    def _wake_writer(self) -> None:
        if self._wake is not None:
            self._wake.set_result(None)
            self._wake = None

    def _queue_row(self, attempt: Attempt) -> None:
        """Queue an open attempt's row, once."""
        if attempt.waiters is None and not attempt.row_queued:
            attempt.row_queued = True
            self._queue.append((attempt, (attempt.opening.call, attempt.opening, None, None, True)))
            self._wake_writer()

    async def _write(self) -> None:
        """Write group after group until the ledger ends and the queue is empty, or nothing more can be written."""
        pause, longest = self._limits.retry_s
        while True:
            if self._asides.waiting(self._settled):
                await self._do_asides()
            if not self._queue:
                if self._ending.is_set():
                    return
                self._wake = self._loop.create_future()
                await self._wake
                continue
            await self._gathering.wait(len(self._queue), self._open)
            limit = self._asides.room(self._settled, 1 if self._one_by_one else self._limits.group)
            if not limit:
                continue
            self._writing, self._queue = self._queue[:limit], self._queue[limit:]
            overdue = self._loop.call_later(self._limits.commit_within_s, self._overdue)
            try:
                await write_changes(self._parts.writer, [change for _, change in self._writing])
            except UNWRITABLE as error:
                self._discard(error)
            except sqlite3.Error as error:
                self._queue[:0] = self._writing
                self._writing = []
                self._begin_trouble(str(error))
                if self._ending.is_set():
                    return
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._ending.wait(), pause)
                pause = min(pause * 2, longest)
            else:
                pause = self._limits.retry_s[0]
                self._one_by_one = max(self._one_by_one - 1, 0)
                self._gathering.wrote(len(self._writing))
                self._settle(self._writing)
                self._writing = []
                if self.trouble is not None or self._journal.closings.frames:
                    self._end_trouble()
            finally:
                overdue.cancel()

    async def _do_asides(self) -> None:
        # Closings queued meanwhile wait behind this: the same deadline holds.
        overdue = self._loop.call_later(self._limits.commit_within_s, self._overdue)
        try:
            await self._asides.do(self._parts.writer, self._settled)
        finally:
            overdue.cancel()

    def _discard(self, error: Exception) -> None:
        """Single out the record no database could take from the group just refused, so that the rest is written."""
        group, self._writing = self._writing, []
        if len(group) > 1:
            self._queue[:0] = group
            self._one_by_one = len(group)
            return
        self._one_by_one = max(self._one_by_one - 1, 0)
        ((attempt, change),) = group
        LOG.error("call %s: a record of it cannot be written: %r", change[0], error)
        for waiter in waiting(group):
            waiter.set_exception(NeverOnRecord(f"the closing cannot be written: {error!r}"))
        self._settle(group)
        if attempt is not None and change[2] is not None:
            # Its row stays open and is interrupted at the end: not exact, and says so.
            self._queue.append((None, (change[0], change[1], None, None, True)))
            self._calls_waiting += 1

    def _settle(self, group: list[Queued]) -> None:
        """Note that the database has a group."""
        attempts = self._attempts
        self._settled += len(group)
        for attempt, change in group:
            if attempt is None:
                self._calls_waiting -= 1
                continue
            if attempt.segment is not None:
                attempt.segment.pending -= 1
                attempt.segment = None
            if change[2] is not None:
                del attempts[attempt.opening.attempt]
                resolve(attempt.waiters or ())

    # --- trouble --------------------------------------------------------------------------------------------------

    def _overdue(self) -> None:
        self._begin_trouble(f"the database took no record for {self._limits.commit_within_s:g} s")

    def _begin_trouble(self, cause: str) -> None:
        """Stop openings and make every closing the database does not have durable in the journal."""
        if self.trouble is None:
            LOG.error("the ledger takes no records, no call is admitted: %s: %s", self.path, cause)
        self.trouble = cause
        self._asides.fail(cause)
        self._journal_closings(self._writing)
        self._journal_closings(self._queue)

    def _journal_closings(self, group: Iterable[Queued]) -> None:
        """Append the closings of a group to the journal and resolve their waiters when they last there."""
        durable = journal_closings(self._journal, group, self.trouble or "")
        if not durable:
            return
        if self._parts.power:
            self._sync.wait().add_done_callback(lambda done: resolve(durable, done.exception()))
        else:
            resolve(durable)

    def _end_trouble(self) -> None:
        """Go back to work once the database is in its place and has everything the journal's closing segment holds."""
        if self._parts.presence.fault is not None or any(
            attempt is not None and attempt.journaled for attempt, _ in self._queue
        ):
            return
        if self._journal.closings.frames:
            try:
                self._journal.empty_closings()
            except OSError as error:
                self.trouble = f"{self._journal.closings.path}: {error.strerror or error}"
                return
        if self.trouble is None:
            return
        self.trouble = None
        dropped, self._calls_dropped = self._calls_dropped, 0
        lost = f"; {dropped} calls that were refused meanwhile are not on record" if dropped else ""
        LOG.warning("the ledger takes records again: %s%s", self.path, lost)

    # --- housekeeping ---------------------------------------------------------------------------------------------

    async def _keep_house(self) -> None:
        """Once a tick: give attempts that have been open for a tick their rows, and bring the WAL into the database."""
        while not self._ending.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), self._limits.tick_s)
            for attempt in self._attempts.values():
                if attempt.tick >= self._tick:
                    break
                self._queue_row(attempt)
            self._tick += 1
            if absent := await self._loop.run_in_executor(self._parts.thread, self._parts.presence.look):
                self._begin_trouble(absent)
            if self.trouble is None and self._asides.retry_names():
                self._wake_writer()
            if self.trouble is not None and not self.queued:
                self._end_trouble()
            await self._parts.checkpoints.run(self._parts.writer if self.trouble is None else None)
