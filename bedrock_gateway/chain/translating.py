"""Calls in another dialect than Bedrock's own: which paths are such, and what they ask for in Bedrock's words.

From here on the call is one of Bedrock's: rights, budgets, limits, signing and metering see nothing else. Only its
answer and its errors are written in the dialect again, behind the relay of each attempt.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import TypeVar
from urllib.parse import quote

from aiohttp import web

from bedrock_gateway.access.rights import may_use
from bedrock_gateway.chain.bodies import OFF_LOOP, hash_of, take_body
from bedrock_gateway.chain.call import Call
from bedrock_gateway.chain.naming import check_rights, member_of_body
from bedrock_gateway.dialects.anthropic.dialect import COUNT_TOKENS, MESSAGES
from bedrock_gateway.dialects.openai.dialect import (
    CHAT,
    EMBEDDINGS,
    IMAGE_EDITS,
    IMAGE_VARIATIONS,
    IMAGES,
    RERANK,
    RESPONSES,
)
from bedrock_gateway.dialects.openai.images.urls import images_named, with_images
from bedrock_gateway.dialects.openai.members import DEPLOYED
from bedrock_gateway.dialects.speech import Asked, Dialect, Divided, Translation
from bedrock_gateway.errors import InvalidRequest
from bedrock_gateway.routing.resolutions import Resolution
from bedrock_gateway.wire.headers import upstream_headers
from bedrock_gateway.wire.labels import shown
from bedrock_gateway.wire.operations import Operation
from bedrock_gateway.wire.targets import Target

__all__ = ["operation_named", "read_request", "speech_of", "translate"]

_A = TypeVar("_A")
_R = TypeVar("_R")

#: Dialects by path.
_SPEECHES: dict[str, Dialect] = {
    "/v1/chat/completions": CHAT,
    "/chat/completions": CHAT,
    "/v1/responses": RESPONSES,
    "/responses": RESPONSES,
    "/v1/embeddings": EMBEDDINGS,
    "/embeddings": EMBEDDINGS,
    "/v1/images/generations": IMAGES,
    "/images/generations": IMAGES,
    "/v1/images/edits": IMAGE_EDITS,
    "/images/edits": IMAGE_EDITS,
    "/v1/images/variations": IMAGE_VARIATIONS,
    "/images/variations": IMAGE_VARIATIONS,
    "/v1/rerank": RERANK,
    "/v2/rerank": RERANK,
    "/rerank": RERANK,
    "/v1/messages": MESSAGES,
    "/v1/messages/count_tokens": COUNT_TOKENS,
}
#: The same by what follows the model, where the path names that.
_DEPLOYMENTS: dict[str, Dialect] = {
    "chat/completions": CHAT,
    "embeddings": EMBEDDINGS,
    "images/generations": IMAGES,
    "images/edits": IMAGE_EDITS,
}
#: Bedrock's paths by operation.
_PATHS = {
    "Converse": "/bedrock/model/{}/converse",
    "ConverseStream": "/bedrock/model/{}/converse-stream",
    "InvokeModel": "/bedrock/model/{}/invoke",
    "InvokeModelWithResponseStream": "/bedrock/model/{}/invoke-with-response-stream",
    "CountTokens": "/bedrock/model/{}/count-tokens",
    "Rerank": "/bedrock/rerank",
}


def speech_of(method: str, raw_target: str) -> Dialect | None:
    """Return the dialect that a path is of, or None where it is no call in another dialect."""
    if method != "POST":
        return None
    path = raw_target.partition("?")[0]
    if path.startswith(DEPLOYED):
        return _DEPLOYMENTS.get(path[len(DEPLOYED) :].partition("/")[2])
    return _SPEECHES.get(path)


async def read_request(request: web.Request, call: Call, speech: Dialect) -> Translation | Divided:
    """Return what a call asks for, in Bedrock's words.

    Raises:
        InvalidRequest: it cannot be read.
        UnknownModel: what it asks for depends on the family of a model that is not known.
        Unavailable: its pictures find no room beside all other bodies.
    """
    await take_body(request, call)
    if call.gateway.keeping is not None:
        call.spoken = await hash_of(call, call.body)
    try:
        return await _read(request, call, speech, settled=False)
    except _Unsettled as unsettled:
        if await call.gateway.forms.look_up(unsettled.resolution.deployments()):
            call.snapshot = call.gateway.snapshot
        return await _read(request, call, speech, settled=True)


def translate(call: Call, told: Translation) -> Target:
    """Put Bedrock's request in place of the caller's; return what it asks for.

    Raises:
        InvalidRequest: it names no model.
    """
    call.translation = told
    call.body, call.body_hash = told.body, ""
    try:
        target = call.gateway.target(
            "POST", _PATHS[told.operation].format(quote(told.model, safe="", errors="replace"))
        )
    except InvalidRequest:
        raise InvalidRequest(f"model: {shown(told.model)} names none.", param="model") from None
    assert target is not None
    # Of what the caller sent only what is Bedrock's own goes on: guardrails, tiers, traces.
    own = upstream_headers(call.headers.items(), target.operation.headers_in)
    kept = [(name, value) for name, value in own if name.startswith("x-amzn-")]
    call.forward_headers = [*kept, ("content-type", "application/json"), ("accept", "*/*")]
    return target


def operation_named(call: Call, name: str) -> Operation:
    """Return an operation that attempts ask for, by its name."""
    target = call.gateway.target("POST", _PATHS[name].format("model"))
    assert target is not None
    return target.operation


async def _off_loop(call: Call, read: Callable[[_A], _R], what: _A) -> _R:
    """Read something of the body, off the loop where it is large."""
    return await asyncio.to_thread(read, what) if len(call.body) > OFF_LOOP else read(what)


def _is_form(call: Call) -> bool:
    return call.headers.get("content-type", "").lower().startswith("multipart/")


class _Unsettled(Exception):
    """AWS has not been asked yet which model is behind a name."""

    def __init__(self, resolution: Resolution) -> None:
        super().__init__()
        self.resolution = resolution


async def _read(request: web.Request, call: Call, speech: Dialect, *, settled: bool) -> Translation | Divided:
    """Read the call's body. ``settled``: what AWS would say of the model was asked for."""
    await _show(call, settled)

    def keep(content: bytes, content_type: str) -> str:
        host = call.headers.get("host")
        return call.gateway.files.keep(f"{request.scheme}://{host}" if host else "", content, content_type)

    asked = Asked(
        path=call.raw_target.partition("?")[0],
        headers=call.headers,
        body=call.body,
        drop_params=call.snapshot.drop_params,
        model_of=functools.partial(_model_of, call, settled),
        keep=keep,
    )
    # A small form may hold a picture that is large once it is unpacked.
    return await asyncio.to_thread(speech.read, asked) if _is_form(call) else await _off_loop(call, speech.read, asked)


async def _show(call: Call, settled: bool) -> None:
    """Put what pictures show in place of the URLs that name them, where the config lets them be fetched."""
    pictures = call.gateway.pictures
    if pictures is None or b'"http' not in call.body or _is_form(call):
        return
    urls = await _off_loop(call, images_named, call.body)
    if not urls:
        return
    model = await _off_loop(call, functools.partial(member_of_body, call), "model")
    if isinstance(model, str):
        # Nobody has anything fetched for a model that is not theirs to use.
        _model_of(call, settled, model)
    assert call.ticket is not None
    held = call.ticket.held
    shown = await pictures.fetch(urls, call.ticket.take)
    body = await asyncio.to_thread(with_images, call.body, shown)
    call.ticket.take(max(0, len(body) - len(call.body) - (call.ticket.held - held)))
    call.body = body


def _model_of(call: Call, settled: bool, name: str) -> str:
    """Return the model that a name leads to.

    Raises:
        UnknownModel: it leads nowhere.
        AccessDenied: the caller may not use it.
    """
    assert call.caller is not None
    policy = call.caller.policy
    name = call.asked = policy.aliases.get(name, name)
    may_see = functools.partial(may_use, policy) if policy.models else None
    resolution = call.snapshot.routing.resolve(name, may_see=may_see)
    if resolution.unsettled and not settled:
        raise _Unsettled(resolution)
    # Before a word is said about what the model can do.
    check_rights(call, name, resolution)
    return resolution.candidates[0][0].foundation or name
