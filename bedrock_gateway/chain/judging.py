"""What a failure says of a deployment, told to health; and how the attempt that met it is booked.

One place for failures before the commit point (``fail_over``) and after it (``relay``).
"""

from __future__ import annotations

import time

from bedrock_gateway.chain.call import Call
from bedrock_gateway.metering.states import Outcome
from bedrock_gateway.routing.deployments import Deployment
from bedrock_gateway.routing.verdicts import UNREACHED, Cools, Verdict

__all__ = ["judge", "outcome_of"]


def judge(call: Call, deployment: Deployment, verdict: Verdict, retry_after: float | None = None) -> None:
    """Let a deployment rest, or count its failure, as the verdict says."""
    assert call.resolution is not None
    health, now, among = call.gateway.health, time.monotonic(), call.resolution.deployments()
    match verdict.cools:
        case Cools.DEPLOYMENT:
            health.cool(deployment, now=now, among=among, retry_after=retry_after)
        case Cools.MODEL:
            health.mark_model(deployment, now=now, among=among)
        case Cools.COUNTS:
            health.count(deployment, now=now, among=among)
        case Cools.NO:
            pass


def outcome_of(verdict: Verdict) -> Outcome:
    """Return how an attempt with this verdict is booked."""
    if verdict.charged:
        return Outcome.CUT
    if verdict is UNREACHED:
        return Outcome.UNREACHED
    return Outcome.INTERNAL if verdict.flagged else Outcome.REFUSED
