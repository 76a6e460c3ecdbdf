"""Waiting in line for a deployment that has room, instead of an immediate 429 (``general_settings.queue``).

Calls that may go to the same deployments share a line, made when it is needed. Keys take turns in it; the calls of one
key keep their order. Who is let go tries; where a limit of our own was waited for, the next one goes as soon as
something ends, where AWS throttles, as soon as the time it asked for has passed: one call at first, twice as many each
time one was not throttled. A throttle comes at once, so a turn is over after a moment, whether an answer is there or
not.
"""

from __future__ import annotations

import asyncio
import math
from bisect import insort
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable

import attrs

from bedrock_gateway.chain.call import Call
from bedrock_gateway.errors import Throttled
from bedrock_gateway.routing.rules import QueueRules

__all__ = ["Place", "Queue"]

#: Calls let go at once that nobody has answered yet.
WIDEST = 64
#: Seconds after which a call that was let go and not throttled by then counts as answered.
TURN_SECONDS = 0.25


@attrs.define(eq=False)
class Place:
    """A call's place in a line, and then its turn."""

    line: _Line
    key: str
    until: float
    go: asyncio.Future[None]
    turn: int = 0  # the how manieth of its line; 0 before the first
    in_turn: bool = False
    _over: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Let it go."""
        self.in_turn = True
        self._over = asyncio.get_running_loop().call_later(TURN_SECONDS, self._end, True)
        self.go.set_result(None)

    def decided(self, *, answered: bool) -> None:
        """Say that the call was answered, or was throttled once more; the second time this does nothing."""
        if self._over is not None:
            self._over.cancel()
        self._end(answered)

    def drop(self) -> None:
        """Give up the place or the turn: its call has ended. Nobody may be left in the line then."""
        self.line.remove(self)
        self.decided(answered=False)
        self.line.pump()

    def _end(self, answered: bool) -> None:
        if self.in_turn:
            self.in_turn = False
            self.line.decided(answered=answered)


@attrs.define(eq=False)
class _Line:
    """Those who wait for the same deployments.

    Attributes:
        forget: called when nobody is left.
        waiting: by key, in the order of their turns; returned: those who had a turn and were throttled, by its number:
            they go before all others.
        count: all of them; turn: number of the last turn.
        asked_at: AWS asked not to be tried before (loop time); opens_at: nobody is let go before.
        turns: let go and not decided yet; width: how many may be.
    """

    forget: Callable[[_Line], None]
    waiting: OrderedDict[str, deque[Place]] = attrs.field(factory=OrderedDict)
    returned: list[tuple[int, Place]] = attrs.field(factory=list)
    count: int = 0
    turn: int = 0
    asked_at: float = 0.0
    opens_at: float = 0.0
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
        """Take out a call that does not wait any more; harmless where it does not."""
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
        """Let more go after an answer, one by one after a refusal."""
        self.turns -= 1
        self.width = min(self.width * 2, WIDEST) if answered else 1
        self.pump()

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
                place.begin()
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        if self.count and self.turns < self.width:
            self.timer = loop.call_at(self.opens_at, self.pump)
        elif not self.count and not self.turns:
            self.forget(self)

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


@attrs.define(eq=False)
class Queue:
    """All lines, by what tells whom their calls may go to."""

    rules: QueueRules
    _lines: dict[Hashable, _Line] = attrs.field(factory=dict)

    @property
    def waiting(self) -> int:
        """Calls that wait."""
        return sum(line.count for line in self._lines.values())

    def busy(self, whom: Hashable) -> bool:
        """Tell whether anybody waits for the same, or was just let go: who comes now does not overtake them."""
        return whom in self._lines

    def enter(self, call: Call, whom: Hashable, seconds: float = 0.0, *, asked: bool = False) -> Place | None:
        """Return a place in a line; None where there is no room, or it would take too long.

        Args:
            seconds: nobody need try before.
            asked: because AWS throttled; else something that ends may make room earlier.
        """
        assert call.caller is not None
        loop = asyncio.get_running_loop()
        now, before = loop.time(), call.place
        until = now + self.rules.seconds if before is None else before.until
        line = self._lines.get(whom)
        opens_at = now + seconds
        if line is not None and line.count:
            opens_at = max(opens_at, line.opens_at)
        if opens_at > until:
            if asked or now >= until:
                return None
            # What ends may make room before its time is over.
            opens_at = until
        key = call.caller.id
        if before is None and (self.waiting >= self.rules.most or _own(line, key) >= self.rules.most_per_key):
            return None
        if line is None:
            line = self._lines[whom] = _Line(lambda line: self._forget(whom, line))
        line.opens_at = opens_at
        if asked:
            line.asked_at = max(line.asked_at, now + seconds)
        place = call.place = Place(line, key, until, loop.create_future())
        if before is not None and before.line is line:
            place.turn = before.turn
        line.add(place)
        if before is not None:
            before.decided(answered=False)
        return place

    async def wait(self, call: Call, place: Place) -> None:
        """Return when it is the call's turn.

        Raises:
            Throttled: its time is over.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        place.line.pump()
        try:
            async with asyncio.timeout_at(place.until):
                await place.go
        except TimeoutError:
            raise self.full(call, place.line, loop.time() - began) from None
        finally:
            if not place.in_turn:
                # It may have been let go in the moment it gave up: then the turn is somebody else's.
                place.drop()
            waited = loop.time() - began
            call.waiting += waited
            call.queued += waited

    def freed(self) -> None:
        """Let those try who are next, unless AWS asked not to be: something has ended."""
        for line in list(self._lines.values()):
            if line.count and line.opens_at > line.asked_at:
                line.opens_at = line.asked_at
                line.pump()

    def line(self, whom: Hashable) -> _Line | None:
        """Return the line for somebody, or None where nobody waits."""
        return self._lines.get(whom)

    def full(self, call: Call, line: _Line | None, waited: float = 0.0) -> Throttled:
        """Return what is told to a call that cannot wait, or has waited for as long as it may."""
        assert call.caller is not None
        seconds = call.queued + waited
        left = 0.0 if line is None else line.opens_at - asyncio.get_running_loop().time()
        own = _own(line, call.caller.id)
        if seconds:
            told = f"It waited {seconds:.1f} s in line"
        elif own >= self.rules.most_per_key:
            told = f"{own} calls of its key wait in line, as many as may"
        elif self.waiting >= self.rules.most:
            told = f"{self.waiting} calls wait in line, as many as may"
        else:
            told = f"AWS asks for more time than a call may wait in line, {self.rules.seconds:g} s"
        return Throttled(
            f"No deployment of {call.asked!a} has room. {told}.",
            retry_after=max(1, math.ceil(left)),
            at="queue",
        )

    def _forget(self, whom: Hashable, line: _Line) -> None:
        if self._lines.get(whom) is line:
            del self._lines[whom]


def _own(line: _Line | None, key: str) -> int:
    return 0 if line is None else len(line.waiting.get(key, ()))
