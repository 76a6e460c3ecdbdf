"""``/v1/models``: the names a caller may ask for, as OpenAI's clients read them, or Anthropic's, which say which
version of its API they speak.

Anybody who may call may ask, in open mode too. Names that hold a star are left out unless they are asked for: nobody
can call them as they stand.

Source: OpenAI API reference, "Models"; LiteLLM 1.109, ``/v1/models`` (``return_wildcard_routes``); Anthropic API
reference, "List Models", "Get a Model".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from aiohttp import web

from bedrock_gateway.access.callers import Caller, Policy
from bedrock_gateway.access.rights import may_use
from bedrock_gateway.admin.answers import Answer, answered, flag_of
from bedrock_gateway.admin.authority import ADMIN
from bedrock_gateway.admin.model_views import anthropic_view, listed
from bedrock_gateway.chain.gateway import GATEWAY, Snapshot
from bedrock_gateway.dialects.anthropic.errors import error_object
from bedrock_gateway.errors import UnknownModel
from bedrock_gateway.routing.resolutions import Resolution, Via, foundation_models

__all__ = ["may_call", "routes"]


async def models(request: web.Request) -> dict[str, Any]:
    """List the names the caller may ask for."""
    return {"data": _entries(request), "object": "list"}


async def anthropic_models(request: web.Request) -> dict[str, Any]:
    """List the same names for Anthropic's clients: all of them at once, however many are asked for."""
    data = [anthropic_view(entry) for entry in _entries(request)]
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return {"data": data, "has_more": False, "first_id": first, "last_id": last}


async def anthropic_model(request: web.Request) -> dict[str, Any]:
    """Return the same name for Anthropic's clients."""
    return anthropic_view(await model(request))


async def model(request: web.Request) -> dict[str, Any]:
    """Return one name the caller may ask for; a model id is one where the caller may call it."""
    caller, snapshot = _caller(request), request.app[GATEWAY].snapshot
    policy, routing = caller.policy, snapshot.routing
    name = request.match_info["model"]
    asked = policy.aliases.get(name, name)
    resolution = routing.resolve(asked, may_see=lambda seen: may_use(policy, seen))
    raw = resolution.via is Via.RAW
    if not may_call(caller.policy, asked, resolution) or (
        raw and routing.deployments and not policy.raw_models and not policy.models
    ):
        raise UnknownModel("There is no model of this name that this key may use.")
    return _entry(name, resolution, snapshot)


def _entries(request: web.Request) -> list[dict[str, Any]]:
    caller, snapshot = _caller(request), request.app[GATEWAY].snapshot
    # Clients send parameters of their own; one that is not known changes nothing here.
    wildcards = flag_of("return_wildcard_routes", request.query.get("return_wildcard_routes") or "false")
    return [_entry(name, resolution, snapshot) for name, resolution in _names(caller, snapshot, wildcards=wildcards)]


def _caller(request: web.Request) -> Caller:
    admin = request.app[ADMIN]
    return admin.find(request.headers, admin.now_ms())


def _names(caller: Caller, snapshot: Snapshot, *, wildcards: bool) -> Iterator[tuple[str, Resolution]]:
    """Yield every name a caller may ask for, and where it leads."""
    routing, own = snapshot.routing, caller.policy.aliases
    for name in routing.names():
        resolution = routing.resolve(name)
        if name not in own and may_call(caller.policy, name, resolution):
            yield name, resolution
    for name, target in own.items():
        try:
            resolution = routing.resolve(target)
        except UnknownModel:
            continue
        if may_call(caller.policy, target, resolution):
            yield name, resolution
    if wildcards:
        for group in dict.fromkeys(deployment.model_group for deployment in routing.deployments):
            members = tuple(deployment for deployment in routing.deployments if deployment.model_group == group)
            if "*" in group and may_use(caller.policy, group):
                yield group, Resolution(model_group=group, candidates=(members,), via=Via.WILDCARD)


def may_call(policy: Policy, name: str, resolution: Resolution) -> bool:
    """Tell whether a policy lets a caller ask for a name, wherever of where it leads a call ends."""
    return all(may_use(policy, resolution.model_group, ids, asked=name) for ids in foundation_models(resolution))


def _entry(name: str, resolution: Resolution, snapshot: Snapshot) -> dict[str, Any]:
    deployment = resolution.candidates[0][0]
    return listed(name, deployment, snapshot.price_of(deployment))


def _answered(openai: Answer, anthropic: Answer) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Return a handler that answers each kind of client in its own shape, refusals included."""
    usual = answered(openai)
    other = answered(anthropic, lambda status, refusal: error_object(status, refusal.message))

    async def answer(request: web.Request) -> web.StreamResponse:
        return await (other if "anthropic-version" in request.headers else usual)(request)

    return answer


def routes() -> list[web.RouteDef]:
    """Return the routes of lists of models."""
    every, one = _answered(models, anthropic_models), _answered(model, anthropic_model)
    return [
        web.get("/v1/models", every),
        web.get("/models", every),
        web.get("/v1/models/{model:.+}", one),
        web.get("/models/{model:.+}", one),
    ]
