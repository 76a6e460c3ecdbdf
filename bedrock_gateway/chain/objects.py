"""Objects that calls make and name: whose they are, where they are, and what a list shows of them.

An object belongs to the key that made it: for every other it is not there. Calls that name one go where it was made.
Ids that nobody made through this gateway are AWS's business: whoever may call the operation may name them.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qs

from aiohttp import web

from bedrock_gateway.chain.bodies import take_body
from bedrock_gateway.chain.call import Attempt, Call
from bedrock_gateway.chain.naming import member_of_body
from bedrock_gateway.errors import Unavailable, UnknownObject
from bedrock_gateway.routing.deployments import Deployment
from bedrock_gateway.routing.resolutions import Resolution, Via
from bedrock_gateway.store.objects import MadeObject
from bedrock_gateway.wire.made_objects import ListedObjects, Used, Where, listed_by, made_by, plain_id, used_by

__all__ = ["alone", "at_place", "note_made", "only_own", "use_objects"]

_LOG = logging.getLogger("bedrock_gateway.objects")


async def use_objects(request: web.Request, call: Call) -> Deployment | None:
    """Return where the objects are that a call names, or None where nobody knows; claim those that are its own to name.

    Raises:
        UnknownObject: one of them belongs to somebody else, or was made where nothing is configured any more.
        Unavailable: whose they are cannot be read now.
    """
    assert call.target is not None
    place: Deployment | None = None
    for used in used_by(call.target.operation):
        text = await _text_of(request, call, used)
        if text:
            place = await _use(call, used, text, place)
    return place


async def _use(call: Call, used: Used, text: str, place: Deployment | None) -> Deployment | None:
    assert call.target is not None and call.caller is not None
    id_ = plain_id(used.kind, text, call.target.labels, used.scope)
    objects = call.gateway.objects
    found = await objects.find(used.kind, id_)
    if found is None and used.claims:
        deployment = call.snapshot.routing.ambient(call.target.operation.service)
        found = await objects.add(_made(call, used.kind, id_, deployment, attempt=""))
    if found is None:
        return place
    if found.caller != call.caller.id and not _sees_all(call):
        raise UnknownObject(f"There is no {used.kind} {text[:200]!a}.", at=f"{used.kind} of another key")
    return place or _place_of(call, found)


def _place_of(call: Call, made: MadeObject) -> Deployment | None:
    """Return the deployment an object was made on; None where a client's own id was claimed on the ambient one."""
    assert call.target is not None
    routing = call.snapshot.routing
    if not made.attempt:
        return None
    deployment = routing.by_id(made.deployment, made.model)
    if deployment is None:
        raise UnknownObject(
            f"This {made.kind} was made on a deployment that the gateway's config no longer has. Whoever runs the "
            "gateway knows it by its region and id.",
            at=f"deployment {made.deployment} in {made.region} is gone",
        )
    return deployment


@lru_cache(maxsize=2048)
def alone(deployment: Deployment) -> Resolution:
    """Return the resolution of a single deployment, the same one each time."""
    return Resolution(model_group=deployment.model_group, candidates=((deployment,),), via=Via.DEPLOYMENT)


def at_place(resolution: Resolution, place: Deployment) -> Resolution:
    """Return what of a resolution is where an object is; all of it where nothing is: another model may be asked for."""
    near = tuple(
        one
        for one in resolution.deployments()
        if (one.id, one.region) == (place.id, place.region)
        or (one.region, one.credentials) == (place.region, place.credentials)
    )
    if not near or len(near) == len(resolution.deployments()):
        return resolution
    return Resolution(model_group=resolution.model_group, candidates=(near,), via=resolution.via)


async def _text_of(request: web.Request, call: Call, used: Used) -> str:
    """Return the id a request names, or ""."""
    assert call.target is not None
    value: object = None
    if used.where is Where.LABEL:
        value = call.target.labels.get(used.name)
    elif used.where is Where.HEADER:
        value = call.headers.get(used.name)
    elif used.where is Where.QUERY:
        value = parse_qs(call.query).get(used.name, [""])[-1]
    else:
        await take_body(request, call)
        value = member_of_body(call, used.name)
    return value if isinstance(value, str) else ""


def _sees_all(call: Call) -> bool:
    return call.caller in (call.gateway.callers.master, call.gateway.callers.local)


def _made(call: Call, kind: str, id_: str, deployment: Deployment, *, attempt: str) -> MadeObject:
    assert call.caller is not None
    return MadeObject(
        kind=kind,
        id=id_,
        caller=call.caller.id,
        deployment=deployment.id,
        model=deployment.model_id,
        region=deployment.region,
        call=call.id,
        attempt=attempt,
        made_at=call.gateway.clock.now_ms(),
    )


async def note_made(call: Call, attempt: Attempt, headers: Mapping[str, str], body: bytes | None) -> None:
    """Remember the object that an answer names, before the caller hears of it.

    ``body``: of a whole answer; None where it streams. An object that cannot be remembered is nobody's; the answer is
    not lost over it.
    """
    assert call.target is not None
    made = made_by(call.target.operation)
    if made is None:
        return
    value: object = None
    if made.where is Where.HEADER:
        value = headers.get(made.name)
    elif body:
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            return
        value = document.get(made.name) if isinstance(document, dict) else None
    if not isinstance(value, str) or not value:
        return
    id_ = plain_id(made.kind, value, call.target.labels)
    known = await _known(call, made.kind, id_)
    if known is None:
        try:
            await asyncio.shield(
                call.gateway.objects.add(_made(call, made.kind, id_, attempt.deployment, attempt=attempt.id))
            )
        except Unavailable as refusal:
            _LOG.error("call=%s: %s %s is nobody's now: %s", call.id, made.kind, id_, refusal.message)


async def _known(call: Call, kind: str, id_: str) -> MadeObject | None:
    try:
        return await call.gateway.objects.find(kind, id_)
    except Unavailable:
        return None


async def only_own(call: Call, attempt: Attempt, body: bytes) -> bytes:
    """Return the body of a list without the objects of other keys; the same object where there are none in it."""
    assert call.target is not None and call.caller is not None
    listed = listed_by(call.target.operation)
    if listed is None or _sees_all(call):
        return body
    try:
        document: Any = json.loads(body)
    except (ValueError, RecursionError):
        return body
    items = document.get(listed.items) if isinstance(document, dict) else None
    if not isinstance(items, list) or not items:
        return body
    ids = [_id_of(item, listed) for item in items]
    owners = await call.gateway.objects.owners(listed.kind, [id_ for id_ in ids if id_])
    own = [item for item, id_ in zip(items, ids, strict=True) if owners.get(id_, call.caller.id) == call.caller.id]
    if len(own) == len(items):
        return body
    attempt.notes.append("edit:list")
    return json.dumps({**document, listed.items: own}, separators=(",", ":")).encode()


def _id_of(item: object, listed: ListedObjects) -> str:
    value = item.get(listed.name) if isinstance(item, dict) else None
    return plain_id(listed.kind, value, {}) if isinstance(value, str) else ""
