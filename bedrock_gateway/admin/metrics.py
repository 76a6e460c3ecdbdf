"""``/metrics`` for Prometheus: to callers on this machine, and to whoever may read everything in the admin API.

Budgets are named here, and who has them: behind a reverse proxy the peer says nothing of the caller, and a key is
asked for.
"""

from __future__ import annotations

import asyncio
import importlib

from aiohttp import web

from bedrock_gateway.admin.answers import answered
from bedrock_gateway.admin.gauges import gauges_of
from bedrock_gateway.admin.watching import check_watcher
from bedrock_gateway.chain.gateway import GATEWAY
from bedrock_gateway.downstream.answers import WholeAnswer

__all__ = ["routes"]

#: The module that writes metrics: prometheus_client comes with it.
EXPOSITION = "bedrock_gateway.admin.exposition"


async def metrics(request: web.Request) -> web.StreamResponse:
    """Answer with the figures of this moment; they are read on the loop and written in a thread.

    Raises:
        Unauthenticated, AccessDenied: as ``check_watcher``.
    """
    check_watcher(request)
    exposition = await asyncio.to_thread(importlib.import_module, EXPOSITION)
    body = await asyncio.to_thread(exposition.exposition, await gauges_of(request.app[GATEWAY]))
    return WholeAnswer(200, [("Content-Type", exposition.CONTENT_TYPE), ("Cache-Control", "no-store")], body)


def routes() -> list[web.RouteDef]:
    """Return the route."""
    return [web.get("/metrics", answered(metrics))]
