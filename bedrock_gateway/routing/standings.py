"""What the gateway knows of a deployment while it runs: calls under way, how fast it answers, how it failed lately.

Mutable, unlike all else in this room; held by the ``Balancer``. A standing outlives a changed config, since it is found
by the deployment's id and model. Every moment is handed in as monotonic seconds.
"""

from __future__ import annotations

from collections import deque
from math import inf

from bedrock_gateway.access.limits import Limit
from bedrock_gateway.routing.deployments import Deployment

__all__ = ["HALF_LIFE", "Standing", "Usage"]

#: Weight of a new sample in a smoothed figure.
SMOOTHING = 0.2
#: Seconds in which what is known of an idle deployment's speed loses half its weight, so that a slow one is tried
#: again.
HALF_LIFE = 30.0
#: Failures whose reasons are kept.
REASONS = 5
#: What is left of a deployment's share when it throttles, and what it is down to at least, however often that is.
SHARE_AFTER_THROTTLE, LEAST_SHARE = 0.5, 0.15
#: Seconds in which it throttles once at most: what was under way together is refused together.
THROTTLE_SECONDS = 1.0
#: Seconds in which a share doubles again, and after which it is whole, whatever it was.
SHARE_DOUBLES, SHARE_WHOLE = 60.0, 300.0


class Usage:
    """Tokens of late, by forward decay: each counts for half after ``HALF_LIFE`` seconds.

    The weights of new tokens grow instead of those of old ones falling, so that figures of several deployments are
    compared as they stand. Source: Cormode et al., "Forward Decay" (ICDE 2009), section III.
    """

    __slots__ = ("since",)

    #: Half-lives after which figures are scaled down again: floats have room for 1,000.
    LONGEST = 500 * HALF_LIFE
    #: Half-lives that are told apart: nobody may have asked for a day.
    MOST = 1000.0

    def __init__(self) -> None:
        self.since = 0.0

    def weight(self, now: float) -> float:
        """Return what a token used at a moment counts; of one before ``since``, next to nothing."""
        return float(2.0 ** min((now - self.since) / HALF_LIFE, self.MOST))


class Standing:
    """One deployment, for one model.

    Attributes:
        deployment: as the newest config has it.
        limit: its own limits, or None; name: by what they are counted.
        in_flight: attempts under way.
        until: it is left out before this moment; cooling: the same without what only concerns its model.
        tripped: it was left out and has not answered since: one call tries it before others follow.
        probing: the call that does, until it ends; None where none does.
        trips: how often in a row it was left out, each time for longer.
        since, calls, fails: of the present minute; streak: failures in a row; well: answers in a row.
        reasons: moment and name of the last failures.
        first_byte, answer: smoothed seconds to the first byte of a stream, and for an answer by the size of it; None
            before the first.
        latencies: the last such samples, by stream or not; mean_first_byte, mean_answer: their means, 0 without.
        sampled: moment of the last sample, by stream or not.
        share: part of its calls it was taken for able to serve when it throttled last, at ``shared`` (``share_at``).
        answers, failures, throttled: since the start; what throttled has failed too.
        used: tokens of late (``Usage``); mean_tokens: of one call.
    """

    __slots__ = (
        "answer",
        "answers",
        "calls",
        "cooling",
        "deployment",
        "fails",
        "failures",
        "first_byte",
        "in_flight",
        "latencies",
        "limit",
        "mean_answer",
        "mean_first_byte",
        "mean_tokens",
        "name",
        "probing",
        "reasons",
        "sampled",
        "share",
        "shared",
        "since",
        "streak",
        "throttled",
        "tripped",
        "trips",
        "until",
        "used",
        "well",
    )

    def __init__(self, deployment: Deployment, most_parallel: int | None = None, samples: int = 10) -> None:
        # Its limits are the config entry's, whichever model a wildcard makes of it.
        self.name = f"deployment {deployment.id}"
        self.in_flight = 0
        self.until = self.cooling = 0.0
        self.tripped = False
        self.probing: object | None = None
        self.trips = 0
        self.since = 0.0
        self.calls = self.fails = self.streak = self.well = 0
        self.reasons: deque[tuple[float, str]] = deque(maxlen=REASONS)
        self.first_byte: float | None = None
        self.answer: float | None = None
        self.latencies: tuple[deque[float], ...] = (deque(maxlen=samples), deque(maxlen=samples))
        self.mean_first_byte = self.mean_answer = 0.0
        self.sampled = [0.0, 0.0]
        self.share = 1.0
        self.shared = -inf
        self.used = 0.0
        self.mean_tokens = 1000.0
        self.answers = self.failures = self.throttled = 0
        self.of(deployment, most_parallel)

    def of(self, deployment: Deployment, most_parallel: int | None) -> None:
        """Take note of how the config describes it now."""
        self.deployment = deployment
        parallel = most_parallel if deployment.max_parallel is None else deployment.max_parallel
        self.limit: Limit | None = None
        if not (deployment.rpm is None and deployment.tpm is None and parallel is None):
            self.limit = Limit(requests=deployment.rpm, tokens=deployment.tpm, parallel=parallel)

    def speed(self, stream: bool, now: float) -> float | None:
        """Return the smoothed seconds of its answers, fading with the time since the last; None while unknown."""
        figure = self.first_byte if stream else self.answer
        if figure is None:
            return None
        idle = now - self.sampled[stream]
        return figure if idle < HALF_LIFE else figure * 0.5 ** (idle / HALF_LIFE - 1)

    def share_at(self, now: float) -> float:
        """Return the part of its calls it is taken for able to serve; whole again some minutes after it throttled."""
        if self.share == 1.0:
            return 1.0
        past = now - self.shared
        return 1.0 if past >= SHARE_WHOLE else min(1.0, self.share * 2.0 ** (past / SHARE_DOUBLES))

    def throttles(self, now: float) -> None:
        """Take a throttle for a sign that it is asked for more than its share."""
        self.throttled += 1
        if now - self.shared >= THROTTLE_SECONDS:
            self.share = max(LEAST_SHARE, self.share_at(now) * SHARE_AFTER_THROTTLE)
            self.shared = now

    def answered(self, stream: bool, seconds: float, now: float) -> None:
        """Take a sample: seconds to the first byte of a stream, else seconds by the size of an answer."""
        if stream:
            known = self.first_byte
            self.first_byte = seconds if known is None else known + SMOOTHING * (seconds - known)
        else:
            known = self.answer
            self.answer = seconds if known is None else known + SMOOTHING * (seconds - known)
        self.sampled[stream] = now
        samples = self.latencies[stream]
        if samples.maxlen:
            samples.append(seconds)
            mean = sum(samples) / len(samples)
            if stream:
                self.mean_first_byte = mean
            else:
                self.mean_answer = mean

    def forget_latencies(self, stream: bool) -> None:
        """Forget the last samples: they are too old."""
        self.latencies[stream].clear()
        if stream:
            self.mean_first_byte = 0.0
        else:
            self.mean_answer = 0.0
