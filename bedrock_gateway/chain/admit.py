"""Third step: may it go on right now? Reads the body, in bounded memory; nothing is taken before all of it may be
taken. A repeat of a call whose answer was kept ends here.
"""

from __future__ import annotations

from aiohttp import web
from aiohttp.typedefs import Handler

from bedrock_gateway.chain.bodies import take_body
from bedrock_gateway.chain.booking import off_record
from bedrock_gateway.chain.call import CALL
from bedrock_gateway.chain.following import follow
from bedrock_gateway.chain.objects import claim_objects
from bedrock_gateway.chain.party import identify_party
from bedrock_gateway.chain.reserving import reserve
from bedrock_gateway.errors import Unavailable

__all__ = ["admit"]


@web.middleware
async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what cannot be put on record, what a budget has no room for, and what is over a limit; read the body."""
    call = request[CALL]
    gateway = call.gateway
    # What has begun in parts may end.
    if gateway.stopping and not call.part:
        raise Unavailable("The gateway is stopping. Nothing was sent.", retry_after=1)
    trouble = gateway.ledger.trouble
    if trouble is not None:
        raise off_record(trouble)
    await take_body(request, call)
    end_user = await identify_party(call)
    if gateway.keeping is not None and not call.part and (kept := await follow(request, call)) is not None:
        return kept
    await reserve(call, end_user)
    if call.claimed:
        await claim_objects(call)
    return await handler(request)
