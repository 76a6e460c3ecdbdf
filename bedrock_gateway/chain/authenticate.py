"""Second step: who is calling."""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler

from bedrock_gateway.chain.bodies import hash_of, take_body
from bedrock_gateway.chain.call import CALL

__all__ = ["authenticate"]


@web.middleware
async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Find the caller; without one nothing of the request is looked at any further.

    A signature by issued credentials covers the body, which is read for it; until it is verified the call has no
    caller.
    """
    call = request[CALL]
    callers = call.gateway.callers
    caller, claim = callers.identify(call.headers, call.raw_target, call.gateway.clock.now_ms())
    if claim is not None:
        assert callers.verifier is not None
        await take_body(request, call)
        body_sha256 = await hash_of(call, call.body)
        callers.verifier.verify(
            claim, method=call.method, raw_target=call.raw_target, body_sha256=body_sha256, epoch=caller.epoch
        )
    call.caller = caller
    return await handler(request)
