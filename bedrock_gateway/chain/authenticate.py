"""Second step: who is calling."""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler

from bedrock_gateway.chain.call import CALL

__all__ = ["authenticate"]


@web.middleware
async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Find the caller; without one nothing of the request is looked at any further."""
    call = request[CALL]
    call.caller = call.snapshot.callers.find(call.headers)
    return await handler(request)
