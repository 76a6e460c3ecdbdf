"""A deployment that only exists in figures: quotas, waiting times, faults and a prompt cache, all by a virtual clock.

Knows nothing of strategies and of who asks. What it does is drawn from the chance handed in; it is asked in the order
of time. The figures are of the size people see with mid-sized models on Bedrock; none is a measurement of AWS.

Source: Amazon Bedrock user guide, "Quotas" and "How tokens are counted": a request takes its input and ``max_tokens``
out of the tokens a minute when it begins and gets back at its end what it did not use; tokens read from the prompt
cache count for neither; "Prompt caching": five minutes after the last use.
"""

from __future__ import annotations

from collections.abc import Hashable
from random import Random

import attrs

from bedrock_gateway.routing.verdicts import INTERNAL, THROTTLED, UNAVAILABLE, UNREACHED, Verdict

__all__ = ["CACHE_SECONDS", "Answer", "Asked", "Region", "Upstream"]

#: Seconds a prompt is kept after its last use.
CACHE_SECONDS = 300.0
#: Seconds' worth of a quota that can be taken at once.
BURST = 15.0
#: Seconds of the way there and back, of a throttle's answer, of an unavailable one, and until an internal error is out.
NETWORK, THROTTLE, FAULT, CRASH = 0.02, 0.03, 0.15, 0.8
#: Median seconds to a first byte beside reading the prompt, and how far it scatters (sigma of the log-normal).
FIRST_BYTE, SCATTER = 0.5, 0.4
#: Tokens a second: a prompt is read, an answer is written.
READING, WRITING = 8000.0, 70.0
#: Calls at once at which everything takes twice as long, by requests a minute; and the most it is slowed down by.
CROWD, MOST_CROWD = 0.2, 4.0
#: Of what fails: share that is an internal error, share that is a connection refused; the rest is unavailable.
CRASHES, REFUSED = 0.1, 0.2
#: What a token costs beside one of input: written to the cache, read from it, of output.
WRITTEN, READ, OUTPUT = 1.25, 0.1, 5.0


@attrs.frozen(kw_only=True)
class Asked:
    """What one call asks for.

    Attributes:
        session: whose prompt cache it may find; None for a call that caches nothing.
        tokens_in: of its prompt; tokens_out: of its answer; most_out: the most it asks for.
    """

    session: Hashable | None
    stream: bool
    tokens_in: int
    tokens_out: int
    most_out: int


@attrs.frozen(kw_only=True)
class Region:
    """How one deployment behaves.

    Attributes:
        requests, tokens: quotas a minute; told: the config names that on requests too.
        slowness: factor on every time.
        failing: share of what is asked that fails.
        outages: begin and end in seconds; everything fails in between.
        price: of a token of input, beside the other deployments'.
    """

    requests: float = 200.0
    tokens: float = 600_000.0
    told: bool = False
    slowness: float = 1.0
    failing: float = 0.0
    outages: tuple[tuple[float, float], ...] = ()
    price: float = 1.0


@attrs.frozen(kw_only=True)
class Answer:
    """What becomes of an attempt.

    Attributes:
        verdict: how it failed; None where it is answered.
        first: seconds until the failure or the first byte are there; whole: until the last byte.
        read: tokens out of the prompt cache.
        spend: in prices of a token of input.
        returned: tokens of the quota that come back at the end.
    """

    verdict: Verdict | None = None
    first: float
    whole: float = 0.0
    read: int = 0
    spend: float = 0.0
    returned: float = 0.0


class _Bucket:
    """A quota a minute that refills steadily."""

    def __init__(self, a_minute: float) -> None:
        self.rate = a_minute / 60
        self.most = self.left = self.rate * BURST
        self.at = 0.0

    def refill(self, now: float) -> float:
        """Return what is left now."""
        self.left = min(self.most, self.left + (now - self.at) * self.rate)
        self.at = now
        return self.left


class Upstream:
    """One deployment at work.

    Attributes:
        in_flight: attempts it is working on.
    """

    def __init__(self, region: Region, chance: Random) -> None:
        self.region = region
        self.in_flight = 0
        self._chance = chance
        self._requests = _Bucket(region.requests)
        self._tokens = _Bucket(region.tokens)
        self._cache: dict[Hashable, tuple[float, int]] = {}

    def ask(self, asked: Asked, now: float) -> Answer:
        """Begin an attempt; it holds its place until ``end``."""
        self.in_flight += 1
        region, chance = self.region, self._chance
        way = NETWORK * (0.5 + chance.random())
        fails = chance.random() < region.failing
        if any(begin <= now < end for begin, end in region.outages) or fails:
            kind = chance.random()
            if kind < REFUSED:
                return Answer(verdict=UNREACHED, first=way)
            if kind < REFUSED + CRASHES:
                return Answer(verdict=INTERNAL, first=way + CRASH * region.slowness)
            return Answer(verdict=UNAVAILABLE, first=way + FAULT * region.slowness)
        read = self._read(asked, now)
        fresh = asked.tokens_in - read
        # More than fits at once is taken for what fits: AWS serves a large request too, when nothing else was taken.
        wanted = min(fresh + asked.most_out, self._tokens.most)
        if self._requests.refill(now) < 1 or self._tokens.refill(now) < wanted:
            return Answer(verdict=THROTTLED, first=way + THROTTLE)
        self._requests.left -= 1
        self._tokens.left -= wanted
        crowd = region.slowness * min(MOST_CROWD, 1 + (self.in_flight / (CROWD * region.requests)) ** 2)
        first = way + crowd * (FIRST_BYTE * chance.lognormvariate(0, SCATTER) + fresh / READING)
        written = 1.0
        if asked.session is not None:
            self._cache[asked.session] = now + first, asked.tokens_in
            written = WRITTEN
        return Answer(
            first=first,
            whole=first + crowd * asked.tokens_out / WRITING,
            read=read,
            spend=region.price * (written * fresh + READ * read + OUTPUT * asked.tokens_out),
            returned=max(0.0, wanted - fresh - asked.tokens_out),
        )

    def end(self, answer: Answer, now: float) -> None:
        """End an attempt: its place is free, and what it did not use of the tokens comes back."""
        self.in_flight -= 1
        if answer.verdict is None:
            self._tokens.left = min(self._tokens.most, self._tokens.refill(now) + answer.returned)

    def _read(self, asked: Asked, now: float) -> int:
        """Return the tokens of a prompt that are in the cache."""
        at, tokens = self._cache.get(asked.session, (-CACHE_SECONDS, 0))
        return min(tokens, asked.tokens_in) if asked.session is not None and now - at < CACHE_SECONDS else 0
