"""Limits against an oracle that remembers every event: any order of taking, settling, leaving, cancelling, waiting."""

from __future__ import annotations

import copy
from math import inf
from typing import Any

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bedrock_gateway.access.limits import Limit, Limiter, OverLimit, Taken

NAMES = ("key k", "team t", "model team t/m")
DESCRIPTORS = {"key k": "api_key", "team t": "team", "model team t/m": "model_per_team"}
#: What the limiter may be stricter by, seconds: it keeps stretches of a second. And what rounding may add.
STRICTER = 1.0 + 1e-6

limits = st.builds(
    Limit,
    requests=st.sampled_from([None, 0, 1, 2, 3, 5]),
    tokens=st.sampled_from([None, 0, 1, 50, 100, 300]),
    parallel=st.sampled_from([None, 0, 1, 2, 4]),
)
waits = st.one_of(
    st.sampled_from([0.001, 0.25, 0.5, 0.999, 1.0, 3.0, 20.0, 58.9, 59.0, 59.999, 60.0, 60.001, 61.0, 130.0]),
    st.floats(0.0, 70.0),
)
counts = st.integers(0, 150) | st.sampled_from([0, 1, 100, 1000])
earlier = st.sampled_from([0.0, 0.0, 0.0, 0.5, 30.0, 1000.0])


@attrs.define(eq=False)
class Event:
    """Something that counts under a name from a moment on."""

    at: float
    requests: int
    tokens: int


@attrs.define(eq=False)
class Call:
    """One call as the oracle sees it."""

    taken: Taken
    at: float
    events: dict[str, Event]
    in_slots: bool = True
    open: bool = True


class Limits(RuleBasedStateMachine):
    """A limiter, and every event there ever was."""

    @initialize(begin=st.sampled_from([0.0, 0.1, 4711.7, 9_999_999.3]), first=st.tuples(limits, limits, limits))
    def begin(self, begin: float, first: tuple[Limit, Limit, Limit]) -> None:
        """Begin with nothing taken, at any reading of a clock."""
        self.limiter = Limiter()
        self.now = begin
        self.heard = -inf
        self.limits = dict(zip(NAMES, first, strict=True))
        self.events: dict[str, list[Event]] = {name: [] for name in NAMES}
        self.calls: list[Call] = []

    def told(self, before: float) -> float:
        """Return the moment the limiter is told, and remember the latest one it was."""
        told = self.now - before
        self.heard = max(self.heard, told)
        return told

    def counting(self, name: str, kind: str, now: float, seconds: float = 60.0) -> int:
        """Return what of the last so many seconds counts."""
        if kind == "parallel":
            return sum(call.in_slots and name in call.events for call in self.calls)
        return sum(getattr(event, kind) for event in self.events[name] if event.at + seconds > now)

    def over(self, names: tuple[str, ...], tokens: int, now: float, seconds: float) -> set[tuple[str, str]]:
        """Return the limits that a call does not fit under, where what is taken counts for so many seconds."""
        found = set()
        for name in names:
            limit = self.limits[name]
            for kind, most, wanted in (
                ("requests", limit.requests, 1),
                ("tokens", limit.tokens, tokens),
                ("parallel", limit.parallel, 1),
            ):
                if most is None or wanted == 0:
                    continue
                if most == 0 or self.counting(name, kind, now, seconds) + min(wanted, most) > most:
                    found.add((name, kind))
        return found

    @rule(seconds=waits)
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    @rule(name=st.sampled_from(NAMES), limit=limits)
    def change(self, name: str, limit: Limit) -> None:
        """Change what may be taken under a name."""
        self.limits[name] = limit

    @rule(
        names=st.lists(st.sampled_from(NAMES), unique=True, min_size=1).map(tuple),
        tokens=counts,
        before=earlier,
        times=st.integers(1, 4),
    )
    def take(self, names: tuple[str, ...], tokens: int, before: float, times: int) -> None:
        """Take once or several times: what fits is let through, what does not is told how long to wait."""
        wanted = tuple((name, self.limits[name]) for name in names)
        for _ in range(times):
            told = self.told(before)
            surely = self.over(names, tokens, self.heard, 60.0)
            perhaps = self.over(names, tokens, self.heard, 60.0 + STRICTER)
            try:
                taken = self.limiter.take(wanted, tokens, told)
            except OverLimit as over:
                assert (over.name, over.kind) in perhaps
                assert over.limit == getattr(self.limits[over.name], over.kind)
                self.check_wait(over, wanted, tokens, perhaps)
                continue

            assert set() == surely
            events = {}
            for name in names:
                most = self.limits[name].tokens
                reserved = tokens if most is None else min(tokens, most)
                events[name] = Event(self.heard, 1, reserved)
                self.events[name].append(events[name])
            self.calls.append(Call(taken, self.heard, events))

    def check_wait(self, over: OverLimit, wanted: Any, tokens: int, perhaps: set[tuple[str, str]]) -> None:
        """Check that the same is refused a second before the time that was told, and fits at that time."""
        assert 1 <= over.retry_after <= 60
        if over.kind == "parallel" or over.limit == 0:
            assert over.retry_after == (60 if over.limit == 0 else 1)
            return
        if over.retry_after > 1:
            try:
                copy.deepcopy(self.limiter).take(wanted, tokens, self.heard + (over.retry_after - 1))
            except OverLimit:
                pass
            else:
                raise AssertionError(f"{over} fits a second earlier")
        if not any(kind == "parallel" for _, kind in perhaps):
            copy.deepcopy(self.limiter).take(wanted, tokens, self.heard + over.retry_after)

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), tokens=counts, before=earlier)
    def settle(self, data: st.DataObject, tokens: int, before: float) -> None:
        """Settle any call there ever was, again perhaps."""
        call = data.draw(st.sampled_from(self.calls))
        told = self.told(before) if call.open else self.now
        call.taken.settle(tokens, told)
        if not call.open:
            return
        call.open = False
        for name, event in call.events.items():
            if event.at + 60.0 > self.heard:
                event.tokens = tokens
            elif tokens > event.tokens:
                self.events[name].append(Event(self.heard, 0, tokens - event.tokens))

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), before=earlier)
    def cancel(self, data: st.DataObject, before: float) -> None:
        """Cancel any call there ever was."""
        call = data.draw(st.sampled_from(self.calls))
        told = self.told(before) if call.open else self.now
        call.taken.cancel(told)
        call.in_slots = False
        if call.open:
            call.open = False
            for event in call.events.values():
                if event.at + 60.0 > self.heard:
                    event.requests = event.tokens = 0

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """Have the caller of any call leave."""
        call = data.draw(st.sampled_from(self.calls))
        call.taken.leave()
        call.in_slots = False

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        """End any call."""
        call = data.draw(st.sampled_from(self.calls))
        call.taken.release()
        call.in_slots = call.open = False

    @invariant()
    def headers_agree(self) -> None:
        """What headers say is left lies between what is left of 60 seconds, and of a second more; never below 0."""
        if not self.calls:
            return
        call = self.calls[-1]
        self.heard = max(self.heard, self.now)
        headers = dict(call.taken.litellm_headers(self.now))
        for name in call.events:
            for kind, word in (("requests", "requests"), ("tokens", "tokens"), ("parallel", "max_parallel_requests")):
                key = f"x-ratelimit-{DESCRIPTORS[name]}"
                if f"{key}-limit-{word}" not in headers:
                    continue
                most, left = int(headers[f"{key}-limit-{word}"]), int(headers[f"{key}-remaining-{word}"])
                least = max(0, most - self.counting(name, kind, self.now, 60.0 + STRICTER))

                assert least <= left <= max(0, most - self.counting(name, kind, self.now))
                assert left <= most

    def teardown(self) -> None:
        """End every call: a minute later nothing is left, every slot is free, and every name is forgotten."""
        if not hasattr(self, "limiter"):
            return
        for call in self.calls:
            call.taken.release()
        later = max(self.now, self.heard) + 200.0
        alone = Limit(requests=1, tokens=1, parallel=1)
        last = self.limiter.take(tuple((name, alone) for name in NAMES), 1, later)
        last.cancel(later)
        self.limiter.take((("other", alone),), 0, later + 200.0)

        assert 1 == len(self.limiter)


TestLimits = Limits.TestCase
TestLimits.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
