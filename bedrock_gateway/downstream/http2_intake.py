"""What comes in on an HTTP/2 connection, in batches: where frames are small, with a turn of the loop between them. And
how often something may come.

Source: CVE-2019-9511, CVE-2019-9518 (what small frames cost).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from bedrock_gateway.downstream.http2_machine import Machine

__all__ = ["Allowance", "Intake"]

#: Bytes taken in at once: while frames are large, and while they are small (one costs some 30 µs).
_BATCH = 16 * 1024
_SMALL_BATCH = 4 * 1024
#: Frames in a batch that make the next one a small one.
_DENSE = 64


class Intake:
    """The way in.

    Args:
        machine: counts the frames that were taken.
        take: takes a batch; tells whether the connection goes on.
    """

    __slots__ = ("_batch", "_held", "_input", "_loop", "_machine", "_take", "transport")

    def __init__(self, machine: Machine, take: Callable[[bytes], bool], loop: asyncio.AbstractEventLoop) -> None:
        self._machine = machine
        self._take = take
        self._loop = loop
        self._input = bytearray()
        self._batch = _BATCH
        self._held = False
        self.transport: asyncio.Transport | None = None

    def receive(self, data: bytes) -> None:
        """Take what arrived, or let it wait for its turn."""
        if not self._input and not self._held and len(data) <= self._batch:
            self._take_batch(data)
            return
        waiting = bool(self._input)
        self._input += data
        if not waiting:
            self._take_batches()

    def drop(self) -> None:
        """Drop what waits; what still comes is read, for whoever drops it."""
        self._input.clear()

    def _take_batches(self) -> None:
        while self._input and not self._held:
            batch = bytes(memoryview(self._input)[: self._batch])
            del self._input[: len(batch)]
            self._take_batch(batch)
            if self._batch == _SMALL_BATCH and self._input:
                self._hold()
                self._loop.call_soon(self._resume)

    def _take_batch(self, batch: bytes) -> None:
        before = self._machine.frames
        if not self._take(batch):
            self._input.clear()
        self._batch = _SMALL_BATCH if self._machine.frames - before > _DENSE else _BATCH

    def _hold(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self._held = True
            self.transport.pause_reading()

    def _resume(self) -> None:
        if self._held:
            self._held = False
            self._take_batches()
            if not self._held and self.transport is not None and not self.transport.is_closing():
                self.transport.resume_reading()


class Allowance:
    """So many at once, and so many more a second."""

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, burst: int, rate: float, now: float) -> None:
        self._burst = burst
        self._rate = rate
        self._left = float(burst)
        self._at = now

    def take(self, count: int, now: float) -> bool:
        """Take; tell whether there was so much."""
        self._left = min(self._burst, self._left + (now - self._at) * self._rate) - count
        self._at = now
        return self._left >= 0
