"""``/health``: how each deployment is, and why. Learnt from callers' own calls; nothing is ever called for it.

Source: LiteLLM documentation, "Health checks", for path and shape (``healthy_endpoints``, ``unhealthy_endpoints``).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from bedrock_gateway.access.values import name
from bedrock_gateway.admin.answers import answered, query_of
from bedrock_gateway.admin.watching import check_watcher
from bedrock_gateway.chain.booking import usd
from bedrock_gateway.chain.gateway import GATEWAY, Gateway
from bedrock_gateway.chain.reserving import charge_of
from bedrock_gateway.routing.deployments import Deployment
from bedrock_gateway.routing.health import WINDOW
from bedrock_gateway.routing.standings import Standing

__all__ = ["routes"]


async def health(request: web.Request) -> dict[str, Any]:
    """Return every deployment, those that may be asked apart from those that are left out; ``?model=`` a group,
    ``?model_id=`` a deployment.

    Raises:
        Unauthenticated, AccessDenied: as ``check_watcher``.
    """
    check_watcher(request)
    query = query_of(request, {"model": name, "model_id": name})
    gateway = request.app[GATEWAY]
    group, id_ = query.get("model"), query.get("model_id")
    healthy: list[dict[str, Any]] = []
    unhealthy: list[dict[str, Any]] = []
    for deployment, standing in _standings(gateway):
        if group in (None, deployment.model_group) and id_ in (None, deployment.id):
            trouble = gateway.credentials.trouble_of(deployment.credentials)
            told = _told(gateway, deployment, standing, trouble, time.monotonic())
            (healthy if told["state"] == "healthy" else unhealthy).append(told)
    return {
        "healthy_endpoints": healthy,
        "unhealthy_endpoints": unhealthy,
        "healthy_count": len(healthy),
        "unhealthy_count": len(unhealthy),
        "calls_waiting": 0 if gateway.queue is None else gateway.queue.waiting,
    }


def _standings(gateway: Gateway) -> Iterator[tuple[Deployment, Standing | None]]:
    """Yield the deployments of the table, then those that were made for a raw id or a wildcard; with what is known."""
    known = {(one.deployment.id, one.deployment.model_id): one for one in gateway.balancer.standings()}
    for deployment in gateway.snapshot.routing.deployments:
        yield deployment, known.pop((deployment.id, deployment.model_id), None)
    for standing in known.values():
        group = standing.deployment.model_group
        # Others were in the table once and are not any more.
        if not group or "*" in group:
            yield standing.deployment, standing


def _told(
    gateway: Gateway, deployment: Deployment, standing: Standing | None, trouble: str, now: float
) -> dict[str, Any]:
    told: dict[str, Any] = {
        "model_name": deployment.model_group,
        "deployment": deployment.name,
        "model_id": deployment.id,
        "model": f"bedrock/{deployment.model_id}",
        "custom_llm_provider": "bedrock",
        "aws_region_name": deployment.region,
        "state": "healthy",
    }
    if standing is not None:
        told |= _figures(standing, now)
        if standing.limit is not None:
            told["limits"] = _limits(gateway, standing, now)
    if deployment.budget is not None:
        told["spent_usd"] = usd(gateway.budgets.spent(charge_of(deployment, deployment.budget)))
        told["max_budget_usd"] = usd(deployment.budget.limit or 0)
    if trouble:
        told |= {"state": "no-credentials", "error": trouble}
    return told


def _figures(standing: Standing, now: float) -> dict[str, Any]:
    this_minute = now - standing.since < WINDOW
    told: dict[str, Any] = {
        "calls_under_way": standing.in_flight,
        "answered": standing.answers,
        "calls_this_minute": standing.calls if this_minute else 0,
        "failed_this_minute": standing.fails if this_minute else 0,
        "share": round(standing.share_at(now), 2),
        "first_byte_ms": None if standing.first_byte is None else round(standing.first_byte * 1000),
        "last_failures": [
            {"seconds_ago": round(now - at), "reason": reason} for at, reason in reversed(standing.reasons)
        ],
    }
    if standing.until > now:
        told["state"] = "cooling" if standing.cooling > now else "model-refused"
        told["seconds_left"] = round(standing.until - now, 1)
    elif standing.tripped:
        # Its time is over; the next call tries it, or one does just now.
        told["state"] = "trying"
        told["seconds_left"] = 0.0
    if "state" in told:
        told["error"] = f"left out after: {standing.reasons[-1][1]}" if standing.reasons else "left out"
    return told


def _limits(gateway: Gateway, standing: Standing, now: float) -> dict[str, dict[str, int]]:
    """Return the limits a deployment has, with what counts under each."""
    assert standing.limit is not None
    counted = gateway.balancer.limiter.state(standing.name, now)
    found = {
        "rpm": (standing.limit.requests, counted.requests),
        "tpm": (standing.limit.tokens, counted.tokens),
        "max_parallel_requests": (standing.limit.parallel, counted.parallel),
    }
    return {name: {"limit": most, "taken": taken} for name, (most, taken) in found.items() if most is not None}


def routes() -> list[web.RouteDef]:
    """Return the route."""
    return [web.get("/health", answered(health))]
