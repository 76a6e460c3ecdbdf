"""Third step: may it go on right now? Reads the body, in bounded memory; nothing is taken before all of it may be
taken.
"""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler

from bedrock_gateway.chain.booking import off_record
from bedrock_gateway.chain.call import CALL, Call
from bedrock_gateway.downstream.bodies import read_body
from bedrock_gateway.errors import Unavailable

__all__ = ["admit", "take_body"]


@web.middleware
async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what cannot be put on record; read the body."""
    call = request[CALL]
    gateway = call.gateway
    if gateway.stopping:
        raise Unavailable("The gateway is stopping. Nothing was sent.", retry_after=1)
    trouble = gateway.ledger.trouble
    if trouble is not None:
        raise off_record(trouble)
    await take_body(request, call)
    return await handler(request)


async def take_body(request: web.Request, call: Call) -> None:
    """Read the body of the request, once."""
    if call.ticket is None:
        call.ticket = call.gateway.bodies.ticket()
        call.body = await read_body(request, call.ticket, call.gateway.limits)
