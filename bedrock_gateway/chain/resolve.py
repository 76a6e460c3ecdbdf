"""Which operation is asked for, and where it may go. Part of the third word of the way: auth → model resolution →
signing → forward.
"""

from __future__ import annotations

import asyncio
import functools
import json
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

from bedrock_gateway.access.rights import check_model, check_operation, may_use
from bedrock_gateway.chain.bodies import OFF_LOOP, take_body
from bedrock_gateway.chain.call import CALL, Call
from bedrock_gateway.chain.fallbacks import find_fallbacks
from bedrock_gateway.errors import InvalidRequest, UnknownOperation
from bedrock_gateway.routing.resolutions import Resolution, Via, foundation_models
from bedrock_gateway.wire.headers import strip_query_credentials, upstream_headers

__all__ = ["resolve"]


@web.middleware
async def resolve(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Read operation and model out of the request target, look the model up, and refuse what the caller may not use."""
    call = request[CALL]
    caller, snapshot = call.caller, call.snapshot
    assert caller is not None
    target = call.gateway.target(call.method, call.raw_target)
    if target is None:
        raise UnknownOperation("This path is none of Bedrock's.")
    call.target = target
    operation, policy = target.operation, caller.policy
    check_operation(caller, operation.service, operation.name, snapshot.default_operations)
    if target.query:
        call.query = strip_query_credentials(target.query)
    call.forward_headers = upstream_headers(call.headers.items())
    name = target.model_id
    if name is None and operation.model_in_body is not None:
        await take_body(request, call)
        path = operation.model_in_body
        large = len(call.body) > OFF_LOOP
        name = call.model_in_body = (
            await asyncio.to_thread(model_in_body, call, path) if large else model_in_body(call, path)
        )
    routing = snapshot.routing
    resolution: Resolution | None = None
    if name is not None:
        name = call.asked = policy.aliases.get(name, name)
        may_see = functools.partial(may_use, policy) if policy.models else None
        resolution = routing.resolve(name, may_see=may_see)
    if resolution is None or (resolution.via is Via.RAW and operation.service != "bedrock-runtime"):
        # What names no deployment goes where its service is configured; an id in its path stays as it was asked for.
        resolution = routing.ambient_resolution(operation.service)
    elif name is not None and (policy.models or (resolution.via is Via.RAW and not policy.raw_models)):
        raw = resolution.via is Via.RAW
        models = foundation_models(resolution) if policy.models else ()
        check_model(caller, name, resolution.model_group, models, raw=raw, listed=bool(routing.deployments))
    call.resolution = resolution
    if fallbacks := call.gateway.balancer.rules.fallbacks:
        find_fallbacks(call, fallbacks, resolution)
    return await handler(request)


def model_in_body(call: Call, path: tuple[str, ...]) -> str:
    """Return the model id that a JSON body names at ``path``.

    Raises:
        InvalidRequest: the body is no JSON object, or names none, or more than one.
    """
    try:
        # Objects as tuples of their members: a name that is there twice is seen.
        value: Any = json.loads(bytes(call.body), object_pairs_hook=tuple)
    except ValueError as error:
        raise InvalidRequest(f"The body is not JSON ({error}); the model it names has to be read.") from error
    except RecursionError as error:
        raise InvalidRequest("The body is nested too deeply; the model it names has to be read.") from error
    for key in path:
        found = [child for name, child in value if name == key] if isinstance(value, tuple) else []
        if len(found) > 1:
            raise InvalidRequest(f"The body has {key!r} twice. Nobody can tell which one AWS obeys: send it once.")
        value = found[0] if found else None
    if not isinstance(value, str) or not value:
        raise InvalidRequest(f"The body names no model: {'.'.join(path)} must be a model id.")
    return value
