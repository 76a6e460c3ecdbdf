"""``/health/liveliness`` and ``/health/readiness``: is the process alive, and can it take calls? No health check ever
calls a model.
"""

from __future__ import annotations

from aiohttp import web

from bedrock_gateway._version import VERSION
from bedrock_gateway.admin.added_models import ADDED_MODELS
from bedrock_gateway.admin.peers import from_this_machine
from bedrock_gateway.chain.gateway import GATEWAY

__all__ = ["routes"]


async def liveliness(request: web.Request) -> web.Response:
    """Answer that the loop turns."""
    return web.json_response({"status": "alive"})


async def readiness(request: web.Request) -> web.Response:
    """Answer 200 when a call would be taken, else 503 with every reason why not. Details only to callers on this
    machine.
    """
    gateway = request.app[GATEWAY]
    reasons: list[str] = []
    if gateway.stopping:
        reasons.append("stopping")
    if gateway.ledger.trouble is not None:
        reasons.append(f"ledger: {gateway.ledger.trouble}")
    reasons += [f"credentials: {trouble}" for trouble in gateway.credentials.troubles().values()]
    reasons += [f"credentials: not fetched yet ({name})" for name in gateway.credentials.pending()]
    if ADDED_MODELS in request.app:
        reasons += [f"model {id_}: {trouble}" for id_, trouble in request.app[ADDED_MODELS].troubles().items()]
    details = {"version": VERSION, "calls": len(gateway.calls), "read_on": gateway.leaving.draining}
    body: dict[str, object] = {"status": "not ready" if reasons else "ready"}
    if from_this_machine(request):  # the reasons name profiles and paths
        body |= {"reasons": reasons, **details}
    return web.json_response(body, status=503 if reasons else 200)


def routes() -> list[web.RouteDef]:
    """Return the health routes; ``liveness`` is the other spelling in use."""
    return [
        web.get("/health/liveliness", liveliness),
        web.get("/health/liveness", liveliness),
        web.get("/health/readiness", readiness),
    ]
