"""Objects that calls make and name: whose they are, where they are, and what a list shows of them.

An object belongs to the key that made it: for every other it is not there. Calls that name one go where it was made.
Ids that nobody made through this gateway are AWS's business: whoever may call the operation may name them.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import attrs
from aiohttp import web

from bedrock_gateway.chain.bodies import OFF_LOOP, take_body
from bedrock_gateway.chain.call import Attempt, Call
from bedrock_gateway.dialects.named_models import named_models
from bedrock_gateway.errors import InvalidRequest, Unavailable, UnknownModel, UnknownObject
from bedrock_gateway.routing.deployments import Deployment
from bedrock_gateway.routing.resolutions import Resolution, Via
from bedrock_gateway.store.objects import MadeObject
from bedrock_gateway.wire.made_objects import ListedObjects, Used, Where, listed_by, made_by, plain_id, used_by
from bedrock_gateway.wire.model_places import ModelPlace

__all__ = ["alone", "at_place", "claim_objects", "note_made", "only_own", "sees_all", "use_objects"]

_LOG = logging.getLogger("bedrock_gateway.objects")

#: Characters of an id: no ARN of AWS's is longer.
MAX_ID = 2048
#: Half a character, which JSON may hold and nothing can keep.
_HALF = re.compile("[\ud800-\udfff]")


async def use_objects(request: web.Request, call: Call) -> Deployment | None:
    """Return where the objects are that a call names, or None where nobody knows; note those that are its own to claim.

    Raises:
        UnknownObject: one of them belongs to somebody else, or was made where nothing is configured any more.
        InvalidRequest: nobody can tell which one is named, or none is where that means those of all.
        Unavailable: whose they are cannot be read now.
    """
    assert call.target is not None
    objects = call.gateway.objects
    named: list[tuple[Used, str, str]] = []
    for used in used_by(call.target.operation):
        text = await _text_of(request, call, used)
        if text and used.within in text:
            named.append((used, text, plain_id(text, call.target.labels, used.scope, whole=used.claims)))
        elif not text and used.needed and not sees_all(call):
            raise InvalidRequest(
                f"Name one {used.kind}, as {used.name}. Without it this is about those of all keys, and for the master "
                "key alone."
            )
    # Whoever sees all looks without taking.
    looks = call.method in ("GET", "DELETE") and sees_all(call)
    place: Deployment | None = None
    for used, text, id_ in named:
        made = await objects.find(used.kind, id_)
        if made is not None:
            _check_owner(call, made, text)
            place = place or _place_of(call, made)
        elif used.claims and not looks:
            deployment = call.snapshot.routing.ambient(call.target.operation.service)
            made = _made(call, used.kind, id_, deployment, attempt="")
        if made is not None and not made.attempt:
            call.claimed = (*call.claimed, made)
    return place


async def claim_objects(call: Call) -> None:
    """Make the ids that a call may claim its caller's, durably; whoever is first has them. What is refused before this
    takes nothing.

    Raises:
        UnknownObject: somebody else was first.
        Unavailable: the database takes no records now.
    """
    for one in call.claimed:
        if one.call == call.id:
            _check_owner(call, await call.gateway.objects.add(one), one.id.rpartition("/")[2])


def _check_owner(call: Call, made: MadeObject, text: str) -> None:
    assert call.caller is not None
    if made.caller != call.caller.id and not sees_all(call):
        raise UnknownObject(f"There is no {made.kind} {text[:200]!a}.", at=f"{made.kind} of another key")


def _place_of(call: Call, made: MadeObject) -> Deployment | None:
    """Return the deployment an object was made on; None where a client's own id was claimed, and nothing answered."""
    if not made.attempt:
        return None
    deployment = call.snapshot.routing.by_id(made.deployment, made.model) or _successor(call, made)
    if deployment is None:
        raise UnknownObject(
            f"This {made.kind} was made on a deployment that the gateway's config no longer has. Whoever runs the "
            "gateway knows it by its region and id.",
            at=f"deployment {made.deployment} in {made.region} is gone",
        )
    return deployment


def _successor(call: Call, made: MadeObject) -> Deployment | None:
    """Return what took the place of a deployment, one with a new AWS access key say; None where none or several did."""
    assert call.target is not None
    routing, service = call.snapshot.routing, call.target.operation.service
    try:
        found = [one for one in routing.deployments if made.model and one.model_id == made.model]
        if not made.model or (service != "bedrock-runtime" and routing.is_given(service)):
            found = [routing.ambient(service)]
        elif not found:
            found = [*routing.resolve(made.model).deployments()]
    except UnknownModel:
        return None
    near = [one for one in found if one.region == made.region]
    return near[0] if len(near) == 1 else None


@lru_cache(maxsize=2048)
def alone(deployment: Deployment) -> Resolution:
    """Return the resolution of a call that asks no model for anything where an object is, the same one each time.

    It is none of the model's calls, so neither that model's limits nor a deployment's own are for it.
    """
    place = attrs.evolve(
        deployment, model_group="", model_id="", weight=None, rpm=None, tpm=None, max_parallel=None, budget=None
    )
    # One object for each: what is known of a deployment is kept by it.
    place = deployment if place == deployment else place
    return Resolution(model_group="", candidates=((place,),), via=Via.DEPLOYMENT)


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
    """Return the id a request names, or "".

    Raises:
        InvalidRequest: AWS might read another one than the gateway does, or it is no id.
    """
    assert call.target is not None
    if used.where is Where.LABEL:
        found = [call.target.labels.get(used.name, "")]
    elif used.where is Where.HEADER:
        # What goes upstream: a name comes once there.
        found = [value for name, value in call.forward_headers if name == used.name]
    elif used.where is Where.QUERY:
        found = _in_query(call.query, used.name)
    else:
        await take_body(request, call)
        places = (ModelPlace((used.name,)),)
        large = len(call.body) > OFF_LOOP
        told = await asyncio.to_thread(named_models, call.body, places) if large else named_models(call.body, places)
        found = [value for _, value in told]
    if len(found) > 1:
        raise InvalidRequest(f"The request has {used.name!r} twice. Nobody can tell which one AWS obeys: send it once.")
    text = found[0] if found else ""
    if not _is_id(text):
        raise InvalidRequest(
            f"{used.name} is longer than {MAX_ID} characters, or holds half a character: that is the id of no "
            f"{used.kind}."
        )
    return text


def _in_query(query: str, name: str) -> list[str]:
    """Return the values of a parameter as AWS reads them: a plus sign is one."""
    pairs = [part.partition("=") for part in query.split("&")]
    try:
        return [unquote(value, errors="strict") for key, _, value in pairs if unquote(key) == name]
    except UnicodeDecodeError:
        raise InvalidRequest(f"{name} in the query is not UTF-8 once it is decoded.") from None


def _is_id(text: str) -> bool:
    return len(text) <= MAX_ID and _HALF.search(text) is None


def sees_all(call: Call) -> bool:
    """Tell whether objects of all keys are there for a caller."""
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
    """Remember the objects that an answer names, before the caller hears of them; done to its end once begun.

    ``body``: of a whole answer; None where it streams. An object that cannot be remembered is nobody's; the answer is
    not lost over it.
    """
    assert call.target is not None and call.resolution is not None
    found = []
    for made in made_by(call.target.operation):
        value: object = headers.get(made.name) if made.where is Where.HEADER else _member(body or b"", made.name)
        if isinstance(value, str) and value and _is_id(value):
            id_ = plain_id(value, call.target.labels, made.scope, whole=bool(made.scope))
            found.append(_made(call, made.kind, id_, attempt.deployment, attempt=attempt.id))
    # Where else it could have gone, what began here stays here.
    begun = call.claimed if len(call.resolution.deployments()) > 1 else ()
    found += [_made(call, one.kind, one.id, attempt.deployment, attempt=attempt.id) for one in begun]
    if found:
        await asyncio.shield(_remember(call, found))


async def _remember(call: Call, found: list[MadeObject]) -> None:
    for one in found:
        try:
            known = await call.gateway.objects.find(one.kind, one.id)
            if known is None:
                await call.gateway.objects.add(one)
            elif not known.attempt:
                await call.gateway.objects.settle(one)
        except Unavailable as refusal:
            _LOG.error("call=%s: whose %s %a is cannot be kept: %s", call.id, one.kind, one.id, refusal.message)


def _member(body: bytes, path: str) -> object:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


async def only_own(call: Call, attempt: Attempt, body: bytes) -> bytes:
    """Return the body of a list without the objects of other keys; the same object where there are none in it."""
    assert call.target is not None and call.caller is not None
    listed = listed_by(call.target.operation)
    if listed is None or sees_all(call):
        return body
    try:
        document: Any = await asyncio.to_thread(json.loads, body) if len(body) > OFF_LOOP else json.loads(body)
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
    return plain_id(value, {}) if isinstance(value, str) and _is_id(value) else ""
