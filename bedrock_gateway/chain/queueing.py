"""Waiting in line for a deployment that has room, instead of an immediate 429 (``general_settings.queue``).

Each model group has a line of its own, made when it is needed. Keys take turns in it; the calls of one key keep their
order. Who is let go tries; a deployment at a limit of its own lets the next one go as soon as something ends, AWS's
throttling as soon as the time it asked for has passed: one call at first, twice as many each time one was answered.
"""

from __future__ import annotations

import asyncio
import math
from bisect import insort
from collections import OrderedDict, deque
from collections.abc import Callable

import attrs

from bedrock_gateway.chain.call import Call
from bedrock_gateway.errors import Throttled
from bedrock_gateway.routing.resolutions import Resolution
from bedrock_gateway.routing.rules import QueueRules

__all__ = ["Place", "Queue"]

#: Calls let go at once that nobody has answered yet.
WIDEST = 64


@attrs.define(eq=False)
class Place:
    """A call's place in a line, and then its turn."""

    line: _Line
    key: str
    until: float
    go: asyncio.Future[None]
    turn: int = 0  # the how manieth of its line; 0 before the first
    in_turn: bool = False

    def decided(self, *, answered: bool) -> None:
        """Say that the call was answered, or was throttled once more; the second time this does nothing."""
        if self.in_turn:
            self.in_turn = False
            self.line.decided(answered=answered)


@attrs.define(eq=False)
class _Line:
    """Those who wait for one group.

    Attributes:
        waiting: by key, in the order of their turns; returned: those who had a turn and were throttled, by its number:
            they go before all others.
        count: all of them; turn: number of the last turn.
        opens_at: nobody is let go before (loop time).
        local: what is waited for is a limit of our own: whatever ends may make room.
        turns: let go and not decided yet; width: how many may be.
        forget: called when nobody is left.
    """

    forget: Callable[[_Line], None]
    waiting: OrderedDict[str, deque[Place]] = attrs.field(factory=OrderedDict)
    returned: list[tuple[int, Place]] = attrs.field(factory=list)
    count: int = 0
    turn: int = 0
    opens_at: float = 0.0
    local: bool = False
    turns: int = 0
    width: int = 1
    timer: asyncio.TimerHandle | None = None

    def add(self, place: Place) -> None:
        """Put a call into the line: behind those of its key, or with others who had their turn already."""
        if place.turn:
            insort(self.returned, (place.turn, place))
        else:
            self.waiting.setdefault(place.key, deque()).append(place)
        self.count += 1

    def remove(self, place: Place) -> None:
        """Take out a call that does not wait any more."""
        own = self.waiting.get(place.key)
        if (place.turn, place) in self.returned:
            self.returned.remove((place.turn, place))
            self.count -= 1
        elif own is not None and place in own:
            own.remove(place)
            self.count -= 1
            if not own:
                del self.waiting[place.key]

    def decided(self, *, answered: bool) -> None:
        """Let more go after an answer, one by one after a refusal, and where each that goes knows at once."""
        self.turns -= 1
        self.width = min(self.width * 2, WIDEST) if answered and not self.local else 1
        self.pump()

    def _take(self) -> Place:
        """Take out the next one."""
        self.count -= 1
        if self.returned:
            return self.returned.pop(0)[1]
        key, own = next(iter(self.waiting.items()))
        place = own.popleft()
        if own:
            self.waiting.move_to_end(key)
        else:
            del self.waiting[key]
        return place

    def pump(self) -> None:
        """Let go who may."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self.count and self.turns < self.width and now >= self.opens_at:
            place = self._take()
            if not place.go.done():
                self.turns += 1
                if not place.turn:
                    self.turn += 1
                    place.turn = self.turn
                place.in_turn = True
                place.go.set_result(None)
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.count and self.turns < self.width:
            self.timer = loop.call_at(self.opens_at, self.pump)
        elif not self.count and not self.turns:
            self.forget(self)


@attrs.define(eq=False)
class Queue:
    """The lines of all groups."""

    rules: QueueRules
    _lines: dict[Resolution, _Line] = attrs.field(factory=dict)

    @property
    def waiting(self) -> int:
        """Calls that wait."""
        return sum(line.count for line in self._lines.values())

    def busy(self, resolution: Resolution) -> bool:
        """Tell whether anybody waits for a group, or was just let go: who comes now does not overtake them."""
        return resolution in self._lines

    def enter(
        self, call: Call, resolution: Resolution, seconds: float = 0.0, *, local: bool | None = None
    ) -> Place | None:
        """Return a place in the line of a group; None where there is no room, or it would take too long.

        Args:
            seconds: nobody need try before.
            local: what is waited for is a limit of our own; None where nothing new is known of that.
        """
        assert call.caller is not None
        loop = asyncio.get_running_loop()
        now, before = loop.time(), call.place
        until = now + self.rules.seconds if before is None else before.until
        line = self._lines.get(resolution)
        opens_at = now + seconds
        if line is not None and line.count:
            opens_at = max(opens_at, line.opens_at)
        if opens_at > until:
            return None
        key = call.caller.id
        if before is None:
            own = () if line is None else line.waiting.get(key, ())
            if self.waiting >= self.rules.most or len(own) >= self.rules.most_per_key:
                return None
        if line is None:
            line = self._lines[resolution] = _Line(lambda line: self._forget(resolution, line))
        line.opens_at = opens_at
        if local is not None:
            line.local = local
        place = call.place = Place(line, key, until, loop.create_future())
        if before is not None and before.line is line:
            place.turn = before.turn
        line.add(place)
        if before is not None:
            before.decided(answered=False)
        return place

    async def wait(self, call: Call, resolution: Resolution, place: Place) -> None:
        """Return when it is the call's turn.

        Raises:
            Throttled: its time is over.
        """
        line, loop = place.line, asyncio.get_running_loop()
        began = loop.time()
        line.pump()
        try:
            async with asyncio.timeout_at(place.until):
                await place.go
        except BaseException as error:
            line.remove(place)
            # It may have been let go in the same moment: the turn is somebody else's then.
            place.decided(answered=False)
            line.pump()
            if isinstance(error, TimeoutError):
                call.queued += loop.time() - began
                raise self.full(call, resolution) from None
            raise
        finally:
            call.waiting += loop.time() - began
        call.queued += loop.time() - began

    def freed(self) -> None:
        """Let those try who are next and wait for a limit of our own: something has ended."""
        for line in list(self._lines.values()):
            if line.local:
                line.opens_at = 0.0
                line.pump()

    def full(self, call: Call, resolution: Resolution) -> Throttled:
        """Return what is told to a call that cannot wait, or has waited for as long as it may."""
        line = self._lines.get(resolution)
        left = 1.0 if line is None else line.opens_at - asyncio.get_running_loop().time()
        waited = f" It waited {call.queued:.1f} s in line." if call.queued else ""
        return Throttled(
            f"No deployment of {call.asked!a} has room, and {line.count if line else 0} calls wait for it.{waited}",
            retry_after=max(1, math.ceil(left)),
            at="queue",
        )

    def _forget(self, resolution: Resolution, line: _Line) -> None:
        if self._lines.get(resolution) is line:
            del self._lines[resolution]
