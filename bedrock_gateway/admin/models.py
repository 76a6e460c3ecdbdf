"""``/model/…``: models added, changed, taken away and shown over the API.

Adding and changing takes the master key: what is added is called with the gateway's own rights. ``/model/info`` shows
everything to who may read everything, and to any other key the models it may use.

Source: LiteLLM 1.109, ``/model/{new,update,delete,info}``, ``/model/{id}/update``, ``/model/{block,unblock}``,
``/v2/model/info``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from bedrock_gateway.access.authentication import MASTER
from bedrock_gateway.access.callers import Caller
from bedrock_gateway.access.values import name, shown, text
from bedrock_gateway.admin.added_models import ADDED_MODELS, AddedModels
from bedrock_gateway.admin.answers import answered, body_of, count_of, page_of, query_of
from bedrock_gateway.admin.authority import authority, may_read_all, told
from bedrock_gateway.admin.model_lists import may_call
from bedrock_gateway.admin.model_views import info, not_served, row
from bedrock_gateway.chain.gateway import GATEWAY
from bedrock_gateway.errors import AccessDenied, InvalidField, NotFound
from bedrock_gateway.routing.resolutions import Resolution, Via

__all__ = ["routes"]

#: Entries of a page of ``/v2/model/info``.
_USUAL, _MOST = 50, 500


async def new(request: web.Request) -> dict[str, Any]:
    """Add a model."""
    caller = _master(request)
    return row(await _models(request).add(await body_of(request), by=caller.id))


async def update(request: web.Request) -> dict[str, Any]:
    """Change the model that ``model_info.id`` names."""
    caller, body = _master(request), await body_of(request)
    said = body.get("model_info")
    id_ = said.get("id") if isinstance(said, Mapping) else None
    if id_ is None:
        raise InvalidField("model_info.id", "is needed: the id of the model to change")
    return await _change(request, name("model_info.id", id_), body, caller)


async def patch(request: web.Request) -> dict[str, Any]:
    """Change the model that the path names."""
    caller = _master(request)
    return await _change(request, request.match_info["model_id"], await body_of(request), caller)


async def _change(request: web.Request, id_: str, body: Mapping[str, Any], caller: Caller) -> dict[str, Any]:
    patch = dict(body)
    blocked = patch.pop("blocked", None)
    if blocked is not None and not isinstance(blocked, bool):
        raise InvalidField("blocked", "must be true or false")
    return row(await _models(request).change(id_, patch, blocked=blocked, by=caller.id))


async def delete(request: web.Request) -> dict[str, Any]:
    """Take a model away."""
    _master(request)
    id_ = await _only_id(request)
    await _models(request).delete(id_)
    return {"message": f"Model: {id_} deleted successfully"}


async def block(request: web.Request) -> dict[str, Any]:
    """Keep a model from being called."""
    caller = _master(request)
    return row(await _models(request).change(await _only_id(request), {}, blocked=True, by=caller.id))


async def unblock(request: web.Request) -> dict[str, Any]:
    """Let a model be called again."""
    caller = _master(request)
    return row(await _models(request).change(await _only_id(request), {}, blocked=False, by=caller.id))


async def model_info(request: web.Request) -> dict[str, Any]:
    """Show every model, or the one that ``litellm_model_id`` names."""
    caller = authority(request)
    wanted = query_of(request, {"litellm_model_id": text}).get("litellm_model_id")
    entries = _entries(request, caller)
    if wanted is not None:
        entries = [entry for entry in entries if entry["model_info"]["id"] == wanted]
        if not entries:
            raise NotFound("litellm_model_id", f"There is no model with the id {shown(wanted)} that this key may see.")
    return {"data": entries}


async def model_info_pages(request: web.Request) -> dict[str, Any]:
    """Show a page of the models; ``search`` is part of a model's name."""
    caller = authority(request)
    given = query_of(request, {"page": count_of, "size": count_of, "search": text, "modelId": text})
    page = page_of(given, usual=_USUAL, most=_MOST)
    search, wanted = given.get("search", "").lower(), given.get("modelId")
    entries = [
        entry
        for entry in _entries(request, caller)
        if search in entry["model_name"].lower() and wanted in (None, entry["model_info"]["id"])
    ]
    return {
        "data": entries[page.offset : page.offset + page.size],
        "total_count": len(entries),
        "current_page": page.number,
        "total_pages": page.pages(len(entries)),
        "size": page.size,
    }


def _entries(request: web.Request, caller: Caller) -> list[dict[str, Any]]:
    """Return every model a caller may see: the config's, then those added."""
    snapshot = request.app[GATEWAY].snapshot
    added = _models(request).models
    whole = may_read_all(caller)
    entries = []
    for deployment in snapshot.routing.deployments:
        found = Resolution(model_group=deployment.model_group, candidates=((deployment,),), via=Via.GROUP)
        if whole or may_call(caller.policy, deployment.model_group, found):
            price = snapshot.price_of(deployment)
            entries.append(info(deployment, price, added=added.get(deployment.id), whole=whole))
    if whole:
        for model in added.values():
            if model.deployment is None:
                entries.append(not_served(model))
            elif model.subject.blocked:
                entries.append(info(model.deployment, snapshot.price_of(model.deployment), added=model, whole=True))
    return entries


def _models(request: web.Request) -> AddedModels:
    return request.app[ADDED_MODELS]


def _master(request: web.Request) -> Caller:
    """Return who asks, who has the master key.

    Raises:
        AccessDenied: it has another.
    """
    caller = authority(request)
    if caller.id != MASTER:
        raise AccessDenied(f"{request.path} takes the master key, whatever role another key has; {told(caller)}.")
    return caller


async def _only_id(request: web.Request) -> str:
    body = await body_of(request)
    for field in body:
        if field != "id":
            raise InvalidField(shown(field).strip('"'), "is not known; did you mean id?")
    if body.get("id") is None:
        raise InvalidField("id", "is needed: the id of a model")
    return name("id", body["id"])


def routes() -> list[web.RouteDef]:
    """Return the routes of models."""
    return [
        web.post("/model/new", answered(new)),
        web.post("/model/update", answered(update)),
        web.patch("/model/{model_id:.+}/update", answered(patch)),
        web.post("/model/delete", answered(delete)),
        web.post("/model/block", answered(block)),
        web.post("/model/unblock", answered(unblock)),
        web.get("/model/info", answered(model_info)),
        web.get("/v1/model/info", answered(model_info)),
        web.get("/v2/model/info", answered(model_info_pages)),
    ]
