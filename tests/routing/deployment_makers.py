"""Deployments, groups of them and balancers, as tests of routing need them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from bedrock_gateway.routing.balancer import Balancer, Plan
from bedrock_gateway.routing.deployments import CredentialSource, Deployment
from bedrock_gateway.routing.health import Health
from bedrock_gateway.routing.resolutions import Resolution, Via
from bedrock_gateway.routing.rules import RoutingRules
from bedrock_gateway.routing.standings import Standing

PLAIN = Deployment(
    id="plain",
    name="plain",
    model_group="g",
    model_id="m",
    price_model="m",
    region="us-east-1",
    credentials=CredentialSource(),
)


def make(name: str, **figures: Any) -> Deployment:
    """Make a deployment."""
    return attrs.evolve(PLAIN, id=name, name=name, **figures)


def group(*tiers: Sequence[Deployment]) -> Resolution:
    """Make a group of tiers."""
    return Resolution(model_group="g", candidates=tuple(tuple(tier) for tier in tiers), via=Via.GROUP)


def balancing(
    chance: Callable[[], float] | None = None,
    *,
    rate: Callable[[Deployment], float | None] = lambda deployment: None,
    cooldown_time: float = 5.0,
    allowed_fails: int | None = None,
    **rules: Any,
) -> Balancer:
    """Make a balancer, with a chance that is the same each time."""
    return Balancer(
        rules=RoutingRules(**rules),
        health=Health(cooldown_time=cooldown_time, allowed_fails=allowed_fails),
        random=random.Random(7).random if chance is None else chance,
        rate=rate,
    )


def rest(balancer: Balancer, deployment: Deployment, now: float, seconds: float = 5.0) -> Standing:
    """Leave a deployment out for so many seconds, as upstream may ask for."""
    standing = balancer.standing(deployment)
    balancer.health.failed(standing, "throttled", now, others=lambda: True, retry_after=seconds)
    return standing


def order(plan: Plan, now: float) -> list[str]:
    """Return the names of all candidates a plan gives, all under way at once."""
    found = []
    while (use := plan.next(now)) is not None:
        found.append(use.deployment.name)
    return found


def first(balancer: Balancer, resolution: Resolution, now: float = 0.0, **more: Any) -> str:
    """Return the name of the first choice, whose place is given back at once."""
    use = balancer.plan(resolution, now=now, **{"stream": False, **more}).next(now)
    assert use is not None
    balancer.end(use, 0, now, sent=False)
    return use.deployment.name


def sample(balancer: Balancer, deployment: Deployment, seconds: float, now: float, *, stream: bool = True) -> None:
    """Have a deployment answer once after so many seconds."""
    balancer.standing(deployment).answered(stream, seconds, now)
