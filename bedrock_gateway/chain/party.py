"""For whom a call is made: its key's user, team and tags, and what the caller says itself: an end user, more tags."""

from __future__ import annotations

import asyncio
import json
from functools import lru_cache
from typing import Any

from bedrock_gateway.access.directory import EndUser
from bedrock_gateway.access.labels import MOST_TOLD, OTHER
from bedrock_gateway.access.rights import in_lists
from bedrock_gateway.access.values import LONGEST_NAME
from bedrock_gateway.chain.bodies import OFF_LOOP
from bedrock_gateway.chain.call import Call
from bedrock_gateway.errors import AccessDenied, Unauthenticated
from bedrock_gateway.routing.resolutions import Resolution, foundation_models
from bedrock_gateway.store.records import Party
from bedrock_gateway.wire.operations import Kind

__all__ = ["identify_party"]

#: Headers that name the end user, LiteLLM's two, and tags.
_END_USER, _CUSTOMER = "x-litellm-end-user-id", "x-litellm-customer-id"
_TAGS = "x-litellm-tags"
#: Characters of them that are looked at for choosing a deployment.
LONGEST_TAGS = 2048


async def identify_party(call: Call) -> EndUser | None:
    """Fill in ``call.party``; return what was set for its end user, or None.

    Raises:
        Unauthenticated: the end user is blocked.
        AccessDenied: the end user may not use the model.
    """
    caller, headers = call.caller, call.headers
    assert caller is not None
    told = headers.get(_END_USER) or headers.get(_CUSTOMER) or ""
    more = headers.get(_TAGS)
    if call.translation is not None:
        told = told or call.translation.end_user
        more = ",".join(filter(None, (more, *call.translation.tags[:MOST_TOLD]))) or None
    elif not told and call.target is not None and call.target.operation.kind is Kind.INVOKE:
        told = await _in_body(call)
    tags = caller.tags
    if call.gateway.balancer.rules.tags is not None:
        # As they were told, not as they are booked: where a call goes must not hang on how many labels there were.
        told_tags = [tag.strip() for tag in (more or "")[:LONGEST_TAGS].split(",")]
        call.tags = tuple(dict.fromkeys((*tags, *filter(None, told_tags))))
    labels = call.gateway.labels
    if more is not None:
        directory = call.gateway.callers.directory
        # A budget binds the keys and teams its tag was set on: nobody else is to spend it by naming the tag.
        claimed = (
            OTHER if name not in caller.tags and directory.has_budget(name) else name
            for name in labels.tags(caller.id, more)
        )
        tags = tuple(dict.fromkeys((*tags, *claimed)))
    if not (told or tags or caller.user or caller.team):
        return None
    known: EndUser | None = None
    end_user = ""
    if told:
        known = call.gateway.callers.directory.end_user(told.strip()) if len(told) <= LONGEST_NAME else None
        end_user = labels.end_user(caller.id, told) if known is None else known.id
    call.party = _party(caller.user, caller.team, end_user, tags)
    if known is not None:
        _check(call, known)
    return known


@lru_cache(maxsize=4096)
def _party(user: str, team: str, end_user: str, tags: tuple[str, ...]) -> Party:
    return Party(user=user, team=team, end_user=end_user, tags=tags)


def _check(call: Call, end_user: EndUser) -> None:
    if end_user.blocked:
        raise Unauthenticated("The end user this call is made for is blocked.", at="blocked end user")
    resolution = call.resolution
    if end_user.models and resolution is not None and call.asked:
        for ids in foundation_models(resolution):
            if not in_lists((end_user.models,), resolution.model_group, ids, asked=call.asked):
                raise AccessDenied("The end user this call is made for may not use this model.", at="end user's models")
        if call.fallbacks or call.longer:
            call.fallbacks = _allowed(call.fallbacks, end_user)
            call.longer = _allowed(call.longer, end_user)


def _allowed(resolutions: tuple[Resolution, ...], end_user: EndUser) -> tuple[Resolution, ...]:
    """Return the groups an end user may use that the caller did not ask for."""
    return tuple(
        other
        for other in resolutions
        if all(
            in_lists((end_user.models,), other.model_group, ids, asked=other.model_group)
            for ids in foundation_models(other)
        )
    )


async def _in_body(call: Call) -> str:
    """Return the end user that an InvokeModel body names: Anthropic's ``metadata.user_id``, OpenAI's ``user``."""
    body = call.body
    anthropic = b'"user_id"' in body and b'"metadata"' in body
    if not anthropic and not _speaks_openai(call):
        return ""
    document: Any
    try:
        document = json.loads(body) if len(body) <= OFF_LOOP else await asyncio.to_thread(json.loads, body)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(document, dict):
        return ""
    metadata = document.get("metadata")
    told = metadata.get("user_id") if anthropic and isinstance(metadata, dict) else document.get("user")
    return told if isinstance(told, str) else ""


def _speaks_openai(call: Call) -> bool:
    assert call.resolution is not None
    return any("openai." in deployment.price_model for tier in call.resolution.candidates for deployment in tier)
