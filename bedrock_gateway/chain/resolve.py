"""Which operation is asked for, and where it may go. Part of the third word of the way: auth → model resolution →
signing → forward.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from bedrock_gateway.chain.admit import take_body
from bedrock_gateway.chain.call import CALL, Call
from bedrock_gateway.errors import InvalidRequest, UnknownOperation
from bedrock_gateway.routing.table import Resolution, Via
from bedrock_gateway.wire.headers import strip_query_credentials, upstream_headers

__all__ = ["resolve"]

#: Bytes above which a body is parsed off the loop.
OFF_LOOP = 262_144


@web.middleware
async def resolve(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Read operation and model out of the request target, and look the model up."""
    call = request[CALL]
    target = call.gateway.target(call.method, call.raw_target)
    if target is None:
        raise UnknownOperation("This path is none of Bedrock's.")
    call.target = target
    if target.query:
        call.query = strip_query_credentials(target.query)
    call.forward_headers = upstream_headers(call.headers.items())
    name = target.model_id
    if name is None and target.operation.model_in_body is not None:
        await take_body(request, call)
        path = target.operation.model_in_body
        large = len(call.body) > OFF_LOOP
        name = call.model_in_body = (
            await asyncio.to_thread(model_in_body, call, path) if large else model_in_body(call, path)
        )
    routing = call.snapshot.routing
    resolution = None if name is None else routing.resolve(name)
    if resolution is None or (resolution.via is Via.RAW and target.operation.service != "bedrock-runtime"):
        # What names no deployment goes where its service is configured; an id in its path stays as it was asked for.
        ambient = routing.ambient(target.operation.service)
        resolution = Resolution(model_group="", candidates=((ambient,),), via=Via.RAW)
    call.resolution = resolution
    return await handler(request)


def model_in_body(call: Call, path: tuple[str, ...]) -> str:
    """Return the model id that a JSON body names at ``path``.

    Raises:
        InvalidRequest: the body is no JSON object, or names none.
    """
    try:
        value: Any = json.loads(bytes(call.body))
    except ValueError as error:
        raise InvalidRequest(f"The body is not JSON ({error}); the model it names has to be read.") from error
    except RecursionError as error:
        raise InvalidRequest("The body is nested too deeply; the model it names has to be read.") from error
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    if not isinstance(value, str) or not value:
        raise InvalidRequest(f"The body names no model: {'.'.join(path)} must be a model id.")
    return value
