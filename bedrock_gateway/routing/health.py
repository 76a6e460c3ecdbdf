"""Which deployments are cooling, and until when. A machine without a clock: every method takes ``now`` in monotonic
seconds.

Knows ids only. Whether a failure cools, and what, is ``verdicts``' table; a client's own errors never get here.

The last deployment is never cooled: where nothing else of the candidates is free, the mark is not set. A gateway that
refuses what AWS might have answered only adds an outage of its own.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from bedrock_gateway.routing.deployments import Deployment

__all__ = ["Health"]

#: Seconds a (deployment, model) is left out after access was denied or the model was not found there.
MODEL_COOLDOWN = 300.0

#: Seconds over which failures that only count are counted.
WINDOW = 60.0

#: Longest wait upstream may ask for; a longer one is cut to it (LiteLLM takes a Retry-After of at most 60 s too).
LONGEST_RETRY_AFTER = 60.0

#: Marks held before those that have run out are dropped.
MOST_MARKS = 1024


@attrs.define(eq=False)
class Health:
    """Deadlines by deployment and by (deployment, model).

    Attributes:
        cooldown_time: seconds a deployment is left out; 0 switches cooling of deployments off.
        allowed_fails: failures within a minute that only count before they cool.
    """

    cooldown_time: float = 5.0
    allowed_fails: int = 3
    _deadlines: dict[str | tuple[str, str], float] = attrs.field(factory=dict, init=False)
    _fails: dict[str, tuple[float, int]] = attrs.field(factory=dict, init=False)

    def cool(
        self, deployment: Deployment, *, now: float, among: Iterable[Deployment], retry_after: float | None = None
    ) -> bool:
        """Leave a deployment out for the cooldown time, or for as long as upstream asked if that is longer.

        Args:
            among: the candidates of the call; unless another of them is free, nothing happens.
            retry_after: seconds upstream asked to wait.

        Returns:
            Whether it is cooling now.
        """
        if self.cooldown_time <= 0:
            return False
        seconds = max(self.cooldown_time, min(retry_after or 0.0, LONGEST_RETRY_AFTER))
        return self._mark(deployment.id, deployment, now, seconds, among)

    def mark_model(self, deployment: Deployment, *, now: float, among: Iterable[Deployment]) -> bool:
        """Leave a deployment out for its present model only, for five minutes: it may not call it, or has none of that
        name.

        Returns:
            Whether the mark is set.
        """
        return self._mark((deployment.id, deployment.model_id), deployment, now, MODEL_COOLDOWN, among)

    def count(self, deployment: Deployment, *, now: float, among: Iterable[Deployment]) -> bool:
        """Count a failure that does not cool by itself; more than ``allowed_fails`` within a minute do.

        Returns:
            Whether it is cooling now.
        """
        since, fails = self._fails.get(deployment.id, (now, 0))
        if now - since >= WINDOW:
            since, fails = now, 0
        if len(self._fails) >= MOST_MARKS:
            self._fails = {key: value for key, value in self._fails.items() if now - value[0] < WINDOW}
        self._fails[deployment.id] = (since, fails + 1)
        if fails + 1 <= self.allowed_fails:
            return False
        if self.cool(deployment, now=now, among=among):
            del self._fails[deployment.id]
            return True
        return False

    def wait(self, deployment: Deployment, now: float) -> float:
        """Return the seconds until a deployment may be asked for its model again; 0.0 where it may now."""
        if not self._deadlines:
            return 0.0
        until = max(
            self._deadlines.get(deployment.id, 0.0), self._deadlines.get((deployment.id, deployment.model_id), 0.0)
        )
        return until - now if until > now else 0.0

    def available(self, deployment: Deployment, now: float) -> bool:
        """Tell whether a deployment may be asked for its model now."""
        return not self._deadlines or self.wait(deployment, now) == 0.0

    def cooling(self, now: float) -> dict[str, float]:
        """Return the deployments that are cooling and for how many seconds more, for readiness and reports."""
        return {key: until - now for key, until in self._deadlines.items() if isinstance(key, str) and until > now}

    def _mark(
        self,
        key: str | tuple[str, str],
        deployment: Deployment,
        now: float,
        seconds: float,
        among: Iterable[Deployment],
    ) -> bool:
        if not any(other.id != deployment.id and self.available(other, now) for other in among):
            return self.wait(deployment, now) > 0.0
        if len(self._deadlines) >= MOST_MARKS:
            self._deadlines = {key: until for key, until in self._deadlines.items() if until > now}
        # A deadline is only ever put off: a second, shorter failure does not bring a deployment back early.
        self._deadlines[key] = max(self._deadlines.get(key, 0.0), now + seconds)
        return True
