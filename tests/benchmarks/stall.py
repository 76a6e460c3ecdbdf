"""How long the other side's loop stands still: a small GET every millisecond, alone and beside large uploads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import ClassVar

import upstream
from exchange import GRACE, Answers, Run, Target, converse_body

__all__ = ["probe"]

PIECE = 64 * 1024  # bytes of an upload written at once


class Prober(Answers):
    """A small GET every millisecond; ``longest`` is the longest wait for one since it was last set to 0 (seconds)."""

    INTERVAL: ClassVar[float] = 0.001

    def __init__(self, request: bytes, run: Run) -> None:
        super().__init__()
        self._request = request
        self._run = run
        self._sent = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.longest = 0.0
        self.answers = 0
        self.done = False

    def begin(self) -> None:
        self._sent = time.perf_counter()
        assert self.transport is not None
        self.transport.write(self._request)

    def end(self) -> None:
        self.longest = max(self.longest, self.waiting())
        self.answers += 1
        if not 200 <= self.status < 300:
            self._run.failed(f"probe answered {self.status}")
        self._sent = 0.0
        self._timer = asyncio.get_running_loop().call_later(self.INTERVAL, self.begin)

    def waiting(self) -> float:
        """Return for how long the probe under way has waited, seconds; 0 without one."""
        return time.perf_counter() - self._sent if self._sent else 0.0

    def take_longest(self) -> float:
        """Return the longest wait since the last time, the one under way included, as milliseconds."""
        longest = max(self.longest, self.waiting())
        self.longest = 0.0
        return 1e3 * longest

    def lost(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self.done:
            self._run.failed("the probe's connection was closed")


class Uploader(Answers):
    """One large Converse, written in pieces as the transport takes them, so that the prober is not held up."""

    def __init__(self, request: bytes, on_end: Callable[[str], None]) -> None:
        super().__init__()
        self._request = memoryview(request)
        self._on_end = on_end
        self._at = 0
        self._paused = False
        self._body = b""

    def begin(self) -> None:
        assert self.transport is not None
        self.transport.set_write_buffer_limits(high=PIECE // 2)
        self._write()

    def _write(self) -> None:
        assert self.transport is not None
        while not self._paused and self._at < len(self._request):
            piece = self._request[self._at : self._at + PIECE]
            self._at += len(piece)
            self.transport.write(piece)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._write()

    def body(self, data: bytes) -> None:
        self._body += data

    def end(self) -> None:
        good = self.status == 200 and self._body == upstream.CONVERSE_ANSWER
        self._finish("" if good else f"{self.status}: {self._body[:200].decode('latin-1')}")
        if self.transport is not None:
            self.transport.close()

    def lost(self) -> None:
        self._finish("the connection was closed during the upload")

    def _finish(self, problem: str) -> None:
        on_end, self._on_end = self._on_end, lambda problem: None
        on_end(problem)


async def probe(
    target: Target, *, uploads: int, upload_bytes: int, path: str = "/health/liveliness"
) -> dict[str, object]:
    """Measure the longest wait for a small answer, alone and beside each of several uploads (one after the other)."""
    run = Run(uploads)
    request = target.converse(converse_body(padding=upload_bytes))
    prober = Prober(target.request("GET", path), run)
    await target.connect(prober)
    await asyncio.sleep(0.2)  # the first answers find caches cold
    prober.take_longest()
    alone = []
    for _ in range(uploads):
        await asyncio.sleep(0.2)
        alone.append(prober.take_longest())
    beside, took = [], []
    for _ in range(uploads):
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        prober.take_longest()
        began = time.perf_counter()
        await target.connect(Uploader(request, ended.set_result))
        try:
            problem = await asyncio.wait_for(ended, GRACE)
        except TimeoutError:
            problem = "the upload was not answered"
        took.append(1e3 * (time.perf_counter() - began))
        beside.append(prober.take_longest())
        if problem:
            run.failed(problem)
    prober.done = True
    if prober.transport is not None:
        prober.transport.close()
    return {"probes": prober.answers, "longest_alone": alone, "longest": beside, "upload": took, **run.told()}
