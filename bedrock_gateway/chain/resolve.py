"""Which operation is asked for, and where it may go. Part of the third word of the way: auth → model resolution →
signing → forward.
"""

from __future__ import annotations

import functools

from aiohttp import web
from aiohttp.typedefs import Handler

from bedrock_gateway.access.rights import check_operation, may_use
from bedrock_gateway.chain.bodies import take_body
from bedrock_gateway.chain.call import CALL, Call
from bedrock_gateway.chain.dividing import divide
from bedrock_gateway.chain.fallbacks import find_fallbacks
from bedrock_gateway.chain.naming import check_rights, member_of_body, read_models
from bedrock_gateway.chain.objects import alone, at_place, use_objects
from bedrock_gateway.chain.translating import read_request, translate
from bedrock_gateway.dialects.speech import Divided
from bedrock_gateway.errors import UnknownOperation
from bedrock_gateway.routing.resolutions import Resolution, Via
from bedrock_gateway.wire.headers import strip_query_credentials, upstream_headers
from bedrock_gateway.wire.made_objects import used_by
from bedrock_gateway.wire.operations import Kind
from bedrock_gateway.wire.rivals import needs_body, tell_apart
from bedrock_gateway.wire.targets import Target

__all__ = ["resolve"]

#: What is done where an agent or a knowledge base is, whichever model it is done by.
_PLACED = (Kind.GENERATE, Kind.RETRIEVE, Kind.AGENT)


@web.middleware
async def resolve(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Read operation and model out of the request, look the model up, and refuse what the caller may not use."""
    call = request[CALL]
    caller, snapshot = call.caller, call.snapshot
    assert caller is not None
    divided: Divided | None = None
    if call.speech is not None:
        told = call.translation or await read_request(request, call, call.speech)
        if isinstance(told, Divided):
            # What its parts may not do is refused once, by the first of them.
            divided, told = told, told.parts[0]
        target: Target | None = translate(call, told)
    else:
        target = call.gateway.target(call.method, call.raw_target)
    if target is None:
        raise UnknownOperation("This path is none of Bedrock's.")
    if target.rivals:
        target = await _tell_apart(request, call, target)
    call.target = target
    operation = target.operation
    check_operation(caller, operation, target.name, snapshot.default_operations)
    if target.query:
        call.query = strip_query_credentials(target.query)
    if call.translation is None:
        call.forward_headers = upstream_headers(call.headers.items(), operation.headers_in)
    name = target.model_id
    resolution: Resolution | None = None
    if name is not None:
        resolution = call.resolution = await _of_path(call, name)
    elif operation.models:
        await take_body(request, call)
        await read_models(call)
        resolution = call.resolution = _of_body(call)
    if not operation.of_model and used_by(operation) and (place := await use_objects(request, call)) is not None:
        resolution = call.resolution = alone(place) if resolution is None else at_place(resolution, place)
    if resolution is None:
        resolution = call.resolution = snapshot.routing.ambient_resolution(operation.service)
    elif fallbacks := call.gateway.balancer.rules.fallbacks:
        find_fallbacks(call, fallbacks, resolution)
    if divided is not None:
        return await divide(request, call, divided, functools.partial(resolve, handler=handler))
    return await handler(request)


async def _tell_apart(request: web.Request, call: Call, target: Target) -> Target:
    if needs_body(target):
        await take_body(request, call)
    return tell_apart(target, call.headers, functools.partial(member_of_body, call))


async def _of_path(call: Call, name: str) -> Resolution | None:
    """Return where the model of the path leads; None where the service's ambient deployment is asked."""
    assert call.caller is not None and call.target is not None
    policy, routing = call.caller.policy, call.snapshot.routing
    name = call.asked = policy.aliases.get(name, name)
    may_see = functools.partial(may_use, policy) if policy.models else None
    resolution = routing.resolve(name, may_see=may_see)
    if resolution.unsettled and await call.gateway.forms.look_up(resolution.deployments()):
        call.snapshot = call.gateway.snapshot
        resolution = call.snapshot.routing.resolve(name, may_see=may_see)
    if resolution.via is Via.RAW and call.target.operation.service != "bedrock-runtime":
        # What names no deployment goes where its service is configured; an id in its path stays as it was asked for.
        return None
    check_rights(call, name, resolution)
    return resolution


def _of_body(call: Call) -> Resolution | None:
    """Return where the leading model of the body leads; None where there is none."""
    assert call.target is not None
    operation, routing = call.target.operation, call.snapshot.routing
    for name, resolution in call.models.items():
        check_rights(call, name, resolution)
    leading = call.models.get(call.leading)
    if leading is None:
        return None
    if operation.service != "bedrock-runtime" and (
        leading.via is Via.RAW or (operation.kind in _PLACED and routing.is_given(operation.service))
    ):
        return routing.at_service(operation.service, leading)
    return leading
