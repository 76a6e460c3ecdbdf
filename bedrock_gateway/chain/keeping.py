"""Answers kept for a repeat of the call they were paid for: bounded, in memory only, for a short time.

Knows bytes, sizes and times; which call may be given which answer is for ``following``, which makes the keys.

An answer belongs to whoever kept it until that one says how it *ended*: whole, lost (it may have been billed, and there
is no whole answer), or forgotten (as if it had never been kept). Followers read it while it grows. Each answer and all
together are bounded by bytes; ended answers also by time, with one timer for all of them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from enum import StrEnum

import attrs

__all__ = ["End", "Keeping", "KeptAnswer"]

#: Bytes of one answer's body, and of all answers together.
MOST_OF_ONE, MOST = 1_048_576, 67_108_864
#: Seconds an answer is kept after its end.
SECONDS = 120.0
#: Bytes an answer counts beside its body: its head and what keeps it.
WEIGHT = 4_096


class End(StrEnum):
    """How a kept answer ended."""

    WHOLE = "whole"  # all of it is there
    LOST = "lost"  # it may have been billed, and is not whole
    FORGOTTEN = "forgotten"  # nothing was billed, or there was no room for it: a repeat is a call of its own


@attrs.define(eq=False)
class KeptAnswer:
    """One answer, growing or ended.

    Attributes:
        call: id of the call it answers.
        status: 0 before its head is known.
        headers: upstream's, as they may go downstream.
        deployment: name of the one that gives it.
        streamed: whether it is passed on as it comes; else it is there only once it is whole.
        body: what there is of it so far.
        end: how it ended, or None.
        followers: how many read it right now.
    """

    call: str
    _keeping: Keeping
    _key: bytes
    status: int = 0
    headers: Sequence[tuple[str, str]] = ()
    deployment: str = ""
    streamed: bool = False
    body: bytearray = attrs.field(factory=bytearray, repr=False)
    end: End | None = None
    followers: int = 0
    _ended_at: float = 0.0
    _weight: int = 0
    _waiters: list[asyncio.Future[None]] = attrs.field(factory=list, init=False, repr=False)

    def whole(self, status: int, headers: Sequence[tuple[str, str]], deployment: str, body: bytes | bytearray) -> None:
        """Take an answer that is complete."""
        self.begin(status, headers, deployment, streamed=False)
        self.write(body)
        self.finish()

    def begin(self, status: int, headers: Sequence[tuple[str, str]], deployment: str, *, streamed: bool = True) -> None:
        """Take its head."""
        if self.end is None:
            self.status, self.headers, self.deployment, self.streamed = status, headers, deployment, streamed

    def write(self, data: bytes | bytearray) -> None:
        """Take more of its body; one that becomes too large, or for which there is no room, is forgotten."""
        if self.end is None:
            self.body += data
            if len(self.body) > self._keeping.most_of_one:
                self.forget()
            else:
                self._keeping.weigh(self, len(data))
                self._tell()

    def finish(self, *, keep: bool = True) -> None:
        """Note that it is whole.

        Args:
            keep: for further repeats too; else only for those that read it already.
        """
        self._end(End.WHOLE)
        if not keep:
            self._keeping.drop(self)

    def lose(self) -> None:
        """Note that it may have been billed and will never be whole; harmless after its end."""
        self._end(End.LOST)

    def forget(self) -> None:
        """Give it up, at once; harmless after its end."""
        if self.end is None:
            self.end = End.FORGOTTEN
            self._keeping.drop(self, at_once=True)
            self._tell()

    async def change(self) -> None:
        """Wait until there is more of it, or it has ended."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    def let_go(self) -> None:
        """Note that one follower reads it no more."""
        self.followers -= 1
        self._keeping.release(self)

    def _end(self, how: End) -> None:
        if self.end is None:
            self.end = how
            self._keeping.ended(self)
            self._tell()

    def _tell(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


@attrs.define(eq=False, kw_only=True)
class Keeping:
    """All kept answers.

    Attributes:
        now: monotonic seconds.
        held: bytes they count, those included that only their followers still read.
    """

    most_of_one: int = MOST_OF_ONE
    most: int = MOST
    seconds: float = SECONDS
    now: Callable[[], float] = time.monotonic
    held: int = attrs.field(default=0, init=False)
    _kept: dict[bytes, KeptAnswer] = attrs.field(factory=dict, init=False)
    #: Those of ``_kept`` that have ended, oldest first.
    _ended: dict[KeptAnswer, None] = attrs.field(factory=dict, init=False)
    _timer: asyncio.TimerHandle | None = attrs.field(default=None, init=False)

    def __len__(self) -> int:
        """Return how many answers a repeat can find."""
        return len(self._kept)

    def begin(self, key: bytes, call: str) -> KeptAnswer | None:
        """Keep what will be written of a call's answer; None where one is kept for such calls already, or there is no
        room.
        """
        if self.find(key) is not None:
            return None
        kept = KeptAnswer(call, self, key)
        self._kept[key] = kept
        self.weigh(kept, WEIGHT)
        return kept if kept.end is None else None

    def find(self, key: bytes) -> KeptAnswer | None:
        """Return the answer that is kept for calls with this key."""
        kept = self._kept.get(key)
        if kept is not None and kept in self._ended and self._left(kept) <= 0:
            self.drop(kept)
            return None
        return kept

    def close(self) -> None:
        """Give everything up."""
        for kept in list(self._kept.values()):
            kept.end = None
            kept.forget()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # --- what kept answers tell ---------------------------------------------------------------------------------------

    def weigh(self, kept: KeptAnswer, more: int) -> None:
        """Count more bytes; for want of room the oldest ended answers go that nobody reads, then this one."""
        kept._weight += more
        self.held += more
        while self.held > self.most:
            oldest = next((other for other in self._ended if not other.followers), None)
            if oldest is None:
                kept.forget()
                return
            self.drop(oldest)

    def ended(self, kept: KeptAnswer) -> None:
        """Keep an answer that has ended for its time."""
        if kept.end is End.LOST:
            # What there is of it is of no use to anybody.
            self.held -= kept._weight - WEIGHT
            kept._weight, kept.body = WEIGHT, bytearray()
        kept._ended_at = self.now()
        self._ended[kept] = None
        self._set_timer()

    def drop(self, kept: KeptAnswer, *, at_once: bool = False) -> None:
        """Let nobody find an answer any more; its bytes go with its last follower, or at once."""
        if self._kept.get(kept._key) is kept:
            del self._kept[kept._key]
        self._ended.pop(kept, None)
        self.release(kept, at_once=at_once)

    def release(self, kept: KeptAnswer, *, at_once: bool = False) -> None:
        """Free the bytes of an answer that nobody can find and nobody reads."""
        if at_once or (not kept.followers and self._kept.get(kept._key) is not kept):
            self.held -= kept._weight
            # Not emptied: an answer on its way out may be made of it.
            kept._weight, kept.body = 0, bytearray()

    def _left(self, kept: KeptAnswer) -> float:
        return kept._ended_at + self.seconds - self.now()

    def _set_timer(self) -> None:
        if self._timer is None and self._ended:
            left = self._left(next(iter(self._ended)))
            self._timer = asyncio.get_running_loop().call_later(max(0.0, left), self._sweep)

    def _sweep(self) -> None:
        self._timer = None
        for kept in [kept for kept in self._ended if self._left(kept) <= 0]:
            self.drop(kept)
        self._set_timer()
