"""``/health/liveliness`` and ``/health/readiness``: is the process alive, and can it take calls? No health check ever
calls a model.
"""

from __future__ import annotations

from aiohttp import web

from bedrock_gateway._version import VERSION
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
    details = {"version": VERSION, "calls": len(gateway.calls), "read_on": gateway.leaving.draining}
    body: dict[str, object] = {"status": "not ready" if reasons else "ready"}
    if _from_this_machine(request):
        body |= {"reasons": reasons, **details}
    return web.json_response(body, status=503 if reasons else 200)


def _from_this_machine(request: web.Request) -> bool:
    """Tell whether the connection comes from loopback or over the unix socket; the reasons name profiles and paths."""
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    return not isinstance(peer, tuple) or peer[0].startswith("127.") or peer[0] in ("::1", "::ffff:127.0.0.1")


def routes() -> list[web.RouteDef]:
    """Return the health routes; ``liveness`` is the other spelling in use."""
    return [
        web.get("/health/liveliness", liveliness),
        web.get("/health/liveness", liveliness),
        web.get("/health/readiness", readiness),
    ]
