"""The log of calls: one line each, written in batches, so that logging costs a call next to nothing."""

from __future__ import annotations

import asyncio
import time
from typing import TextIO

import attrs

__all__ = ["CallLog"]

#: Seconds a line waits for others at most.
DELAY = 0.05


@attrs.define(eq=False)
class CallLog:
    """Collects lines and writes them together. Lines of the last 50 ms are lost by kill -9; the ledger is not."""

    _stream: TextIO
    _lines: list[str] = attrs.field(factory=list, init=False)
    _timer: asyncio.TimerHandle | None = attrs.field(default=None, init=False)

    def __call__(self, line: str) -> None:
        """Log one line, given without its time."""
        self._lines.append(line)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(DELAY, self.flush)

    def flush(self) -> None:
        """Write what has been collected; a reader that has gone away is no reason to stop serving."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self._lines = self._lines, []
        if not lines:
            return
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ ", time.gmtime())
        try:
            self._stream.write("".join(f"{stamp}{line}\n" for line in lines))
            self._stream.flush()
        except (OSError, ValueError):
            pass
