"""A request of Anthropic's messages: natively for Claude, through Converse for every other model.

Knows which of both a model is asked by, and what of a request says nothing to the model. Must not know deployments.

Source: Anthropic API reference, "Create a Message", "Count tokens in a Message"; bedrock-runtime service-2.json
(``CountTokensRequest``).
"""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from bedrock_gateway.dialects.anthropic.answer import MessageRelay, MessageStream
from bedrock_gateway.dialects.anthropic.claude import (
    ClaudeRelay,
    ClaudeStream,
    claude_body,
    claude_counted,
    counted_with_defaults,
    with_defaults,
)
from bedrock_gateway.dialects.anthropic.converse import converse_request, counted
from bedrock_gateway.dialects.anthropic.count import CountRelay
from bedrock_gateway.dialects.families.invoked import members_beside
from bedrock_gateway.dialects.families.wishes import Wishes, fitting
from bedrock_gateway.dialects.fields import Block, boolean, given, mapping, written
from bedrock_gateway.dialects.requests import model_named, read_body
from bedrock_gateway.dialects.speech import NO_DEFAULTS, Asked, Fit, Relay, Translation

__all__ = ["MessagesTranslation", "read_count", "read_messages"]

#: In the id of every model that speaks this dialect itself.
_CLAUDE = "anthropic.claude"
_RELAYS: Mapping[str, Callable[[str, str, Fit | None], Relay]] = {
    "InvokeModel": ClaudeRelay,
    "InvokeModelWithResponseStream": ClaudeStream,
    "Converse": MessageRelay,
    "ConverseStream": MessageStream,
}


#: What other models than Claude are asked by.
_FOR_OTHERS = {"InvokeModel": "Converse", "InvokeModelWithResponseStream": "ConverseStream"}


@attrs.frozen(kw_only=True)
class MessagesTranslation(Translation):
    """A message that is asked for, in Bedrock's words; as ``speech.Translation``.

    Attributes:
        wishes: what Converse is told in the words of the model of each attempt; None where Claude is asked itself.
        beside: what Converse has as members and Claude is told by headers.
    """

    wishes: Wishes | None = None
    beside: Mapping[str, Any] = attrs.field(factory=dict)

    def relay(self, model_id: str, *, call_id: str, now: int, defaults: Mapping[str, object] = NO_DEFAULTS) -> Relay:
        """As ``speech.Translation``."""
        if self.operation == "CountTokens":
            return CountRelay(functools.partial(counted_with_defaults, defaults=defaults) if defaults else None)
        operation, fit = self.operation, None
        if self.wishes is not None:
            fit = fitting(model_id, self.wishes, defaults)
        elif _CLAUDE not in model_id:
            operation = _FOR_OTHERS[operation]
            fit = functools.partial(_as_converse, model_id=model_id, defaults=defaults, beside=self.beside)
        elif defaults:
            fit = functools.partial(with_defaults, defaults=defaults)
        return _RELAYS[operation](call_id, self.model, fit)


def read_messages(request: Asked) -> MessagesTranslation:
    """Read a request for a message.

    Raises:
        InvalidRequest: naming the member that is wrong.
        UnknownModel: what it names leads nowhere.
    """
    asked = read_body(request.body)
    model = model_named(asked)
    stream = boolean(given(asked, "stream", False), "stream")
    model_id = request.model_of(model)
    wishes: Wishes | None = None
    if _CLAUDE in model_id:
        operation = "InvokeModelWithResponseStream" if stream else "InvokeModel"
        body = claude_body(request, asked)
    else:
        operation = "ConverseStream" if stream else "Converse"
        converse, wishes = converse_request(request, asked, model_id)
        body = written(converse)
    metadata = asked.get("metadata")
    user = metadata.get("user_id") if isinstance(metadata, dict) else None
    own = mapping(given(asked, "litellm_metadata", {}), "litellm_metadata").get("tags")
    return MessagesTranslation(
        model=model,
        operation=operation,
        body=body,
        end_user=user if isinstance(user, str) else "",
        drop_params=request.drop_params,
        words=model_id if wishes is None else "",
        beside=members_beside(request.headers) if wishes is None else {},
        tags=tuple(tag for tag in own if isinstance(tag, str)) if isinstance(own, list) else (),
        wishes=wishes,
    )


def read_count(request: Asked) -> MessagesTranslation:
    """Read a request to count the tokens of a message.

    Raises:
        InvalidRequest: naming the member that is wrong.
        UnknownModel: what it names leads nowhere.
    """
    asked = read_body(request.body)
    model = model_named(asked)
    model_id = request.model_of(model)
    if _CLAUDE in model_id:
        body = base64.b64encode(claude_counted(request, asked)).decode()
        told: dict[str, Any] = {"invokeModel": {"body": body}}
    else:
        told = {"converse": counted(request, asked, model_id)}
    return MessagesTranslation(model=model, operation="CountTokens", body=written({"input": told}))


def _as_converse(
    body: bytes | bytearray, *, model_id: str, defaults: Mapping[str, object], beside: Mapping[str, Any]
) -> bytes | bytearray:
    """Return a request of Claude's as one of Converse, for a model that stands in; what only Claude has something for
    is left out.

    Raises:
        InvalidRequest: there is something else that Converse has no place for.
    """
    # Its betas are in the body by now.
    asked = Asked(path="", headers={}, body=body, drop_params=True, model_of=str)
    claudes = json.loads(body)
    claudes.pop("amazon-bedrock-guardrailConfig", None)
    converse, wishes = converse_request(asked, claudes, model_id)
    converse["messages"] = _without_thought(converse["messages"])
    told, fit = written({**converse, **beside}), fitting(model_id, wishes, defaults)
    return told if fit is None else fit(told)


def _without_thought(turns: list[Block]) -> list[Block]:
    """Return turns without Claude's thoughts: signed, they are nothing to other models, and AWS refuses them there."""
    told: list[Block] = []
    for turn in turns:
        content = [block for block in turn["content"] if "reasoningContent" not in block]
        if content and told and told[-1]["role"] == turn["role"]:
            told[-1]["content"] += content
        elif content:
            told.append({"role": turn["role"], "content": content})
    return told
