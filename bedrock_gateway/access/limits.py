"""Limits on requests and tokens a minute and on calls at once. Pure: every moment is handed in as monotonic seconds.

Knows names and what was taken under each within the last minute. Must not know whose names they are, nor what a call
does. Nothing here waits, so between looking and taking nobody else takes: a call takes under all of its names, or
under none.

**The minute slides**: what is taken at ``t`` counts at every moment before ``t + 60``. It is kept by stretches of a
second, of which a name has at most 61, and a stretch counts until the last moment in it has: there is never more than
the limit within any 60 seconds, and something is free up to a second later than it might be.

**Tokens belong to the minute in which a call was admitted.** There its estimate is reserved, and there the real number
takes the estimate's place as soon as it is known. Where that minute is over by then, what was used beyond the estimate
counts from that moment on, so that it is not lost, and what was reserved too much has stopped to count anyway. Real
numbers count in full, be they over the limit; then nothing more fits until enough has left the minute. An estimate
above the limit reserves the limit, so that a big call can be made while nothing else counts.

Names are forgotten a minute or two after the last call under them, when somebody takes something.

Source: LiteLLM for what is limited and for the headers by name (``parallel_request_limiter_v3.py``); OpenAI's API
reference for ``x-ratelimit-*`` (its resets are written ``12s``); Amazon Bedrock user guide for tokens, which are
reserved when a request begins and replaced when it ends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from math import inf
from typing import Literal

import attrs

__all__ = ["Kind", "Limit", "Limiter", "OverLimit", "Taken"]

Kind = Literal["requests", "tokens", "parallel"]

#: Seconds for which something taken counts.
WINDOW = 60.0
#: Seconds of what is kept as one.
STRETCH = 1.0
#: Seconds after which it is looked whether anything is left of a name.
LOOK_AFTER = WINDOW + STRETCH
_RESET = f"{WINDOW:.0f}s"
#: Names looked at by one call at most: none is to wait for many.
MOST_LOOKED_AT = 64

#: What LiteLLM's headers call a name, by how it begins; others by their first word (user, team, end_user, tag).
_DESCRIPTORS = {"key ": "api_key", "member ": "team_member", "model team ": "model_per_team", "model ": "model_per_key"}


@attrs.frozen(kw_only=True)
class Limit:
    """What may be taken under a name; None where nothing limits it, 0 where nothing may.

    Attributes:
        requests: calls a minute.
        tokens: tokens a minute.
        parallel: calls at once.
    """

    requests: int | None = None
    tokens: int | None = None
    parallel: int | None = None


class OverLimit(Exception):
    """A limit is reached and nothing was taken. Of several, the one that has to be waited for the longest is told.

    Attributes:
        name, kind, limit: which limit.
        remaining: what is free now, less than the call needs.
        retry_after: the smallest number of whole seconds after which the same would be taken, if nothing else is until
            then. For calls at once it is 1, and where the limit is 0 it is 60, though waiting does not help.
    """

    def __init__(self, name: str, kind: Kind, *, limit: int, remaining: int, retry_after: int) -> None:
        super().__init__(f"{name}: {limit} {kind}, {remaining} free, retry after {retry_after} s")
        self.name = name
        self.kind: Kind = kind
        self.limit = limit
        self.remaining = remaining
        self.retry_after = retry_after


class _Stretch:
    """What was taken under one name within a second."""

    __slots__ = ("expires", "following", "requests", "tokens")

    def __init__(self) -> None:
        self.expires = 0.0  # when the latest of it stops to count
        self.following: _Stretch | None = None
        self.requests = 0
        self.tokens = 0


class _State:
    """What counts under one name: sums, and the stretches they are the sums of, from the oldest to the newest."""

    __slots__ = ("expires", "look", "name", "newest", "oldest", "parallel", "requests", "tokens", "until")

    def __init__(self, name: str) -> None:
        self.name = name
        self.requests = 0
        self.tokens = 0
        self.parallel = 0
        self.oldest: _Stretch | None = None
        self.newest: _Stretch | None = None
        self.expires = inf  # before this moment no stretch stops to count
        self.until = 0.0  # from this moment on the newest stretch takes nothing more
        self.look = inf  # when to look whether anything is left

    def expire(self, now: float) -> None:
        """Drop what has stopped to count."""
        stretch = self.oldest
        while stretch is not None and stretch.expires <= now:
            self.requests -= stretch.requests
            self.tokens -= stretch.tokens
            # A call that goes on for hours holds on to its stretch, and is not to hold all that followed it.
            stretch.following, stretch = None, stretch.following
        self.oldest = stretch
        if stretch is None:
            self.newest = None
        self.expires = inf if stretch is None else stretch.expires

    def stretch(self, now: float) -> _Stretch:
        """Return the stretch that takes what is taken now, a new one where there is none."""
        newest = self.newest
        if newest is not None and now < self.until:
            return newest
        stretch = _Stretch()
        if newest is None:
            self.oldest = stretch
            self.expires = now + WINDOW
        else:
            newest.following = stretch
        self.newest = stretch
        self.until = now + STRETCH
        return stretch

    def reset(self, now: float) -> str:
        """Return when everything taken so far has stopped to count, as OpenAI writes it (``12s``)."""
        if self.newest is None:
            return "0s"
        # Nearly always asked right after something was taken.
        return _RESET if now == self.newest.expires - WINDOW else f"{_whole_seconds(now, self.newest.expires)}s"

    def over(self, kind: Kind, limit: int, wanted: int, now: float, other: OverLimit | None) -> OverLimit:
        """Return what is to be said where so much does not fit; what else was found, where it takes as long."""
        taken = self.requests if kind == "requests" else self.tokens if kind == "tokens" else self.parallel
        wait = 1
        if not limit:
            wait = int(WINDOW)
        elif kind != "parallel":
            room, expires, stretch = taken + wanted - limit, now, self.oldest
            while room > 0 and stretch is not None:
                room -= stretch.requests if kind == "requests" else stretch.tokens
                expires, stretch = stretch.expires, stretch.following
            wait = _whole_seconds(now, expires)
        if other is not None and limit and other.retry_after >= wait:
            return other
        return OverLimit(self.name, kind, limit=limit, remaining=max(0, limit - taken), retry_after=wait)


class Taken:
    """What one call has taken.

    It is settled or cancelled once; its slots of calls at once are freed once, by whatever comes first. What comes
    again changes nothing.
    """

    __slots__ = ("_expires", "_held", "_in_slots", "_limiter", "_open", "_wanted")

    def __init__(
        self,
        limiter: Limiter,
        wanted: Sequence[tuple[str, Limit]],
        held: list[tuple[_State, _Stretch, int]],
        expires: float,
    ) -> None:
        self._limiter = limiter
        self._wanted = wanted
        self._held = held
        self._expires = expires  # until then every stretch held is still there
        self._in_slots = True
        self._open = True  # neither settled nor cancelled

    def settle(self, tokens: int, now: float) -> None:
        """Put the real number of tokens, which is never negative, in the place of the estimate."""
        if not self._open:
            return
        self._open = False
        now = self._limiter.at(now)
        if now < self._expires:
            for state, stretch, reserved in self._held:
                stretch.tokens += tokens - reserved
                state.tokens += tokens - reserved
            return
        for state, _, reserved in self._held:
            if tokens > reserved:
                self._limiter.count(state.name, tokens - reserved, now)

    def cancel(self, now: float) -> None:
        """Give everything back, as if nothing had been taken: nothing was sent."""
        self.leave()
        if not self._open:
            return
        self._open = False
        if self._limiter.at(now) < self._expires:
            for state, stretch, reserved in self._held:
                stretch.requests -= 1
                stretch.tokens -= reserved
                state.requests -= 1
                state.tokens -= reserved

    def leave(self) -> None:
        """Free the slots: the caller has gone. Its call may go on and be settled."""
        if self._in_slots:
            self._in_slots = False
            for state, _, _ in self._held:
                state.parallel -= 1

    def release(self) -> None:
        """End it: the slots are free, and what has not been settled by now stays as it was estimated."""
        if self._in_slots:
            self.leave()
        self._open = False

    def headers(self, now: float) -> list[tuple[str, str]]:
        """Return the ``x-ratelimit-*`` headers, as OpenAI's, for the limits on requests and tokens with the least left.

        The reset is when all of it is free again if nothing else is taken, at the latest.
        """
        now = self._limiter.at(now)
        requests: _State | None = None
        tokens: _State | None = None
        most_requests = most_tokens = requests_left = tokens_left = 0
        for (_, limit), (state, _, _) in zip(self._wanted, self._held, strict=True):
            if state.expires <= now:
                state.expire(now)
            most = limit.requests
            if most is not None and (requests is None or most - state.requests < requests_left):
                requests, most_requests, requests_left = state, most, most - state.requests
            most = limit.tokens
            if most is not None and (tokens is None or most - state.tokens < tokens_left):
                tokens, most_tokens, tokens_left = state, most, most - state.tokens
        found = []
        if requests is not None:
            found += [
                ("x-ratelimit-limit-requests", str(most_requests)),
                ("x-ratelimit-remaining-requests", str(requests_left) if requests_left > 0 else "0"),
                ("x-ratelimit-reset-requests", requests.reset(now)),
            ]
        if tokens is not None:
            found += [
                ("x-ratelimit-limit-tokens", str(most_tokens)),
                ("x-ratelimit-remaining-tokens", str(tokens_left) if tokens_left > 0 else "0"),
                ("x-ratelimit-reset-tokens", found[2][1] if tokens is requests else tokens.reset(now)),
            ]
        return found

    def litellm_headers(self, now: float) -> list[tuple[str, str]]:
        """Return the ``x-ratelimit-<descriptor>-*`` headers, as LiteLLM's, of every limit; where several have the same
        descriptor, as tags have, of the one with the least left.
        """
        now = self._limiter.at(now)
        found: dict[str, tuple[int, int]] = {}
        for name, limit in self._wanted:
            state = self._limiter.state(name, now)
            head = f"x-ratelimit-{_descriptor(name)}"
            for kind, most, taken in (
                ("requests", limit.requests, state.requests),
                ("tokens", limit.tokens, state.tokens),
                ("max_parallel_requests", limit.parallel, state.parallel),
            ):
                if most is not None:
                    key = f"{head}-%s-{kind}"
                    found[key] = min(found.get(key, (most, most)), (max(0, most - taken), most))
        pairs = [((key % "limit", str(most)), (key % "remaining", str(left))) for key, (left, most) in found.items()]
        return [header for pair in pairs for header in pair]


class Limiter:
    """What counts under every name. Limits are told with each call; when they change, what counts stays."""

    __slots__ = ("_look", "_now", "_queue", "_states")

    def __init__(self) -> None:
        self._states: dict[str, _State] = {}
        self._queue: deque[_State] = deque()  # in the order in which to look at them
        self._look = inf  # when to look at the first
        self._now = -inf

    def __len__(self) -> int:
        """Return how many names are remembered."""
        return len(self._states)

    def take(self, wanted: Sequence[tuple[str, Limit]], tokens: int, now: float) -> Taken:
        """Take a request, the tokens it is estimated at and a slot under every name, or nothing at all.

        Args:
            wanted: names, each once, and what may be taken under it; not to be changed afterwards.
            tokens: 0 or more; with 0 no limit on tokens matters.

        Raises:
            OverLimit: it does not fit under one of them.
        """
        if now < self._now:
            now = self._now
        self._now = now
        if self._look <= now:
            self._forget(now)
        states = self._states
        over: OverLimit | None = None
        fitting: list[tuple[_State, int]] = []
        for name, limit in wanted:
            state = states.get(name)
            if state is None:
                state = self._remember(name, now)
            elif state.expires <= now:
                state.expire(now)
            most = limit.requests
            if most is not None and state.requests >= most:
                over = state.over("requests", most, 1, now, over)
            most = limit.tokens
            reserved = tokens
            if most is not None and state.tokens + tokens > most and tokens:
                reserved = min(tokens, most)
                if state.tokens or not most:
                    over = state.over("tokens", most, reserved, now, over)
            most = limit.parallel
            if most is not None and state.parallel >= most:
                over = state.over("parallel", most, 1, now, over)
            fitting.append((state, reserved))
        if over is not None:
            raise over
        expires = now + WINDOW
        held: list[tuple[_State, _Stretch, int]] = []
        for state, reserved in fitting:
            # As in ``stretch``: this is on the way of every call.
            stretch = state.newest
            if stretch is None or now >= state.until:
                stretch = state.stretch(now)
            stretch.expires = expires
            stretch.requests += 1
            stretch.tokens += reserved
            state.requests += 1
            state.tokens += reserved
            state.parallel += 1
            held.append((state, stretch, reserved))
        return Taken(self, wanted, held, expires)

    def at(self, now: float) -> float:
        """Return a moment, or the latest one heard of where that is later."""
        if now < self._now:
            return self._now
        self._now = now
        return now

    def state(self, name: str, now: float) -> _State:
        """Return what counts under a name."""
        state = self._states.get(name)
        if state is None:
            return _State(name)
        if state.expires <= now:
            state.expire(now)
        return state

    def count(self, name: str, tokens: int, now: float) -> None:
        """Count tokens that were used without having been reserved."""
        state = self._states.get(name)
        if state is None:
            state = self._remember(name, now)
        stretch = state.stretch(now)
        stretch.expires = now + WINDOW
        stretch.tokens += tokens
        state.tokens += tokens

    def _remember(self, name: str, now: float) -> _State:
        state = self._states[name] = _State(name)
        state.look = now + LOOK_AFTER
        self._queue.append(state)
        self._look = min(self._look, state.look)
        return state

    def _forget(self, now: float) -> None:
        """Forget the names of which nothing is left, among those that are due."""
        queue = self._queue
        for _ in range(MOST_LOOKED_AT):
            if not queue or queue[0].look > now:
                break
            state = queue.popleft()
            state.expire(now)
            if state.oldest is None and not state.parallel:
                del self._states[state.name]
            else:
                state.look = now + LOOK_AFTER
                queue.append(state)
        self._look = queue[0].look if queue else inf


def _descriptor(name: str) -> str:
    for begin, descriptor in _DESCRIPTORS.items():
        if name.startswith(begin):
            return descriptor
    return name.partition(" ")[0]


def _whole_seconds(now: float, then: float) -> int:
    """Return the smallest number of whole seconds after which it is ``then``."""
    seconds = int(then - now)
    # A difference of floats is rounded; what counts is how the sum compares.
    while now + seconds < then:
        seconds += 1
    return seconds
