"""When a group is worth waiting for: a transaction and its two changes of thread cost as much as a dozen rows.

Knows how busy the writer has just been and for how long it may wait; knows no record. Where calls come one at a time
nothing waits at all.
"""

from __future__ import annotations

import asyncio

import attrs

__all__ = ["Gathering"]

#: Changes in a group just written from which on more are expected to come at once.
BUSY = 4
#: Changes that are not kept waiting: more of them make a change no cheaper.
ENOUGH = 64


@attrs.define(eq=False)
class Gathering:
    """Holds the writer back for a moment while what is under way may still join its group.

    Attributes:
        seconds: longest wait.
    """

    seconds: float
    _written: int = attrs.field(default=0, init=False)
    _waiting: asyncio.Future[None] | None = attrs.field(default=None, init=False)

    async def wait(self, queued: int, under_way: int) -> None:
        """Wait until ``complete`` is called or the time is over; not at all unless groups have been of several.

        Args:
            queued: changes that wait to be written.
            under_way: attempts whose closings are still to come.
        """
        if self._written < BUSY or not under_way or queued >= ENOUGH or self.seconds <= 0:
            return
        loop = asyncio.get_running_loop()
        self._waiting = loop.create_future()
        timer = loop.call_later(self.seconds, self.complete)
        try:
            await self._waiting
        finally:
            timer.cancel()
            self._waiting = None

    def complete(self) -> None:
        """End the wait: nothing more is expected."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def stop(self) -> None:
        """End the wait, and let there be no other."""
        self.seconds = 0.0
        self.complete()

    def wrote(self, changes: int) -> None:
        """Note how many changes the group just written had."""
        # One small group between large ones ends nothing; after a burst of 32 the fourth small one does.
        self._written = max(changes, self._written // 2)
