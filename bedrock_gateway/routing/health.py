"""Which deployments are left out, and until when. A machine without a clock: every method takes ``now`` in monotonic
seconds.

Whether a failure counts, and for what, is ``verdicts``' table; a client's own errors never get here. A deployment is
left out when upstream asks for it (``Retry-After``), when it is certain to fail again (no credentials), or when enough
calls have failed to tell: so many in a row, or half of a minute's calls. The time grows each time, and a deadline is
only ever put off. When it is over, one call of somebody tries the deployment; others follow when that was answered.

The last deployment is never left out: where nothing else of the candidates is free, the mark is not set. A gateway that
refuses what AWS might have answered only adds an outage of its own.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from bedrock_gateway.routing.standings import Standing

__all__ = ["Health"]

#: Seconds a (deployment, model) is left out after access was denied or the model was not found there.
MODEL_COOLDOWN = 300.0
#: Seconds over which calls and failures are counted.
WINDOW = 60.0
#: Failures in a row that tell enough.
FAILS_IN_A_ROW = 3
#: Calls of a minute of which half have failed; of ten, half fail by chance too often where three in ten do.
LEAST_CALLS = 20
#: Longest wait upstream may ask for; a longer one is cut to it (LiteLLM takes a Retry-After of at most 60 s too).
LONGEST_RETRY_AFTER = 60.0
#: Seconds after which one that could be tried, and is not, is taken for well.
FORGOTTEN_AFTER = 900.0
#: Seconds a growing cooldown grows to at most, and answers in a row after it with which it begins small again:
#: one that fails three times in ten is not to stay out for minutes, with the others throttling.
LONGEST_COOLDOWN = 60.0
ANSWERS_TO_FORGET = 1


@attrs.define(eq=False)
class Health:
    """The rules of leaving out, over standings.

    Attributes:
        cooldown_time: seconds a deployment is left out the first time; 0 switches that off.
        allowed_fails: failures a minute that do not lead to it, instead of the usual sample; None for the usual one.
    """

    cooldown_time: float = 5.0
    allowed_fails: int | None = None
    #: Those that are left out, or were and have not answered since.
    troubled: set[Standing] = attrs.field(factory=set, init=False)

    def available(self, standing: Standing, now: float) -> bool:
        """Tell whether a deployment may be asked now: it is not left out, and no other call is trying it."""
        return standing.until <= now and not (standing.tripped and standing.probing)

    def wait(self, standing: Standing, now: float) -> float:
        """Return the seconds a deployment is still left out; 0.0 where it is not."""
        return standing.until - now if standing.until > now else 0.0

    def well(self, standing: Standing, now: float) -> int:
        """Count an answer, be it a refusal of what the caller asked for: the deployment is there.

        Returns:
            How many failures in a row it ended.
        """
        self._count(standing, now)
        ended, standing.streak = standing.streak, 0
        standing.well += 1
        if standing.tripped and standing.until <= now:
            standing.tripped = False
            standing.probing = None
            self.troubled.discard(standing)
        if standing.trips and not standing.tripped and standing.well >= ANSWERS_TO_FORGET:
            standing.trips = 0
        return ended

    def failed(
        self,
        standing: Standing,
        reason: str,
        now: float,
        *,
        others: Callable[[], bool],
        certain: bool = False,
        retry_after: float | None = None,
        row: int | None = None,
    ) -> bool:
        """Count a failure, and leave the deployment out where that, or what came before, tells enough.

        Args:
            others: tells whether another candidate of the call is free; without one nothing is left out.
            certain: the next call would fail too.
            retry_after: seconds upstream asked to wait.
            row: the same call was counted as answered before it broke off, which ended a row of so many failures; None
                where it was not.

        Returns:
            Whether it is left out now.
        """
        if row is not None:
            standing.streak = max(standing.streak, row)
        if row is None or standing.fails >= standing.calls or now - standing.since >= WINDOW:
            # Not counted yet, or in a minute that is over.
            self._count(standing, now)
        standing.fails += 1
        standing.streak += 1
        standing.well = 0
        standing.reasons.append((now, reason))
        deployment = standing.deployment
        base = self.cooldown_time if deployment.cooldown_time is None else deployment.cooldown_time
        asked = min(retry_after or 0.0, LONGEST_RETRY_AFTER)
        probed = standing.tripped and standing.until <= now
        if base > 0 and (asked or certain or probed or self._tells_enough(standing)):
            if standing.until > now and not asked:
                # It was sent before the deployment was left out: nothing new.
                return True
            grown = base * 2 ** min(standing.trips, 16)
            seconds = max(asked, 0.0 if asked and not probed else min(grown, max(base, LONGEST_COOLDOWN)))
            return self._leave_out(standing, now, seconds, others, cools=True)
        return standing.until > now

    def mark_model(self, standing: Standing, reason: str, now: float, *, others: Callable[[], bool]) -> bool:
        """Leave a deployment out for its present model only, for five minutes: it may not call it, or has none of that
        name.

        Returns:
            Whether the mark is set.
        """
        self._count(standing, now)
        standing.fails += 1
        standing.reasons.append((now, reason))
        return self._leave_out(standing, now, MODEL_COOLDOWN, others, cools=False)

    def tidy(self, now: float) -> None:
        """Take those for well again that nobody has asked for long since their time was over: they may be gone."""
        for standing in [one for one in self.troubled if one.until + FORGOTTEN_AFTER < now and not one.in_flight]:
            standing.tripped = False
            standing.probing = None
            self.troubled.discard(standing)

    def _tells_enough(self, standing: Standing) -> bool:
        if self.allowed_fails is not None:
            return standing.fails > self.allowed_fails
        if standing.streak >= FAILS_IN_A_ROW:
            return True
        return standing.calls >= LEAST_CALLS and standing.fails * 2 >= standing.calls

    def _leave_out(
        self, standing: Standing, now: float, seconds: float, others: Callable[[], bool], *, cools: bool
    ) -> bool:
        # Not probed any more, whatever comes of it: the call that tried it has its answer.
        standing.probing = None
        if not others():
            if standing.until > now:
                return True
            standing.tripped = False
            self.troubled.discard(standing)
            return False
        if cools:
            standing.trips += 1
            standing.cooling = max(standing.cooling, now + seconds)
        standing.until = max(standing.until, now + seconds)
        standing.tripped = True
        standing.streak = 0
        self.troubled.add(standing)
        return True

    def _count(self, standing: Standing, now: float) -> None:
        if now - standing.since >= WINDOW:
            standing.since = now
            standing.calls = standing.fails = 0
        standing.calls += 1
