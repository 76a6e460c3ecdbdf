"""What an answer or a failure says of a deployment, told to the balancer; and how the attempt is booked.

One place for failures before the commit point (``fail_over``) and after it (``relay``).
"""

from __future__ import annotations

import logging
import time

from bedrock_gateway.chain.call import Attempt, Call
from bedrock_gateway.metering.states import Outcome
from bedrock_gateway.routing.verdicts import UNREACHED, Verdict

__all__ = ["answered", "judge", "outcome_of"]

_LOG = logging.getLogger("bedrock_gateway.deployments")


def judge(call: Call, attempt: Attempt, verdict: Verdict, retry_after: float | None = None) -> None:
    """Let a deployment rest, or count its failure, as the verdict says."""
    standing, now = attempt.use.standing, time.monotonic()
    until = standing.until
    call.gateway.balancer.failed(attempt.use, verdict, attempt.plan, now, retry_after=retry_after)
    if standing.until > max(until, now):
        _LOG.warning(
            "deployment %s is left out for %.0f s: %s", attempt.deployment.name, standing.until - now, verdict.name
        )


def answered(call: Call, attempt: Attempt, *, tokens: int = 0) -> None:
    """Note that a deployment has answered, now: a stream's first byte, or a whole answer of so many tokens."""
    now = time.monotonic()
    if call.place is not None:
        call.place.decided(answered=True)
    standing = attempt.use.standing
    tripped = standing.tripped
    call.gateway.balancer.answered(attempt.use, now - attempt.sent_at, now, tokens=tokens)
    if tripped and not standing.tripped:
        _LOG.warning("deployment %s answers again", attempt.deployment.name)


def outcome_of(verdict: Verdict) -> Outcome:
    """Return how an attempt with this verdict is booked."""
    if verdict.charged:
        return Outcome.CUT
    if verdict is UNREACHED:
        return Outcome.UNREACHED
    return Outcome.INTERNAL if verdict.flagged else Outcome.REFUSED
