"""A request of OpenAI's Responses as a request of Converse. Nothing is kept between requests: each brings all of its
conversation.

Knows which members a request has; what it says in the same words as a chat completion is read in ``chat_members``.
Must not know deployments.

Source: OpenAI API reference, "Create a model response"; bedrock-runtime service-2.json (``ConverseRequest``); Codex
(``codex-rs``, ``ResponsesApiRequest``) for ``client_metadata``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from bedrock_gateway.dialects.converse_blocks import cache_point
from bedrock_gateway.dialects.families.wishes import Wishes, fitting
from bedrock_gateway.dialects.fields import Block, boolean, items, mapping, written, wrong
from bedrock_gateway.dialects.openai.chat_members import (
    DROP,
    READ_ALIKE,
    add_others,
    check_supported,
    read_inference,
    read_wishes,
    tier,
)
from bedrock_gateway.dialects.openai.chat_tools import JSON_TOOL, Offer, add_tools, choice_of, function, schema_of
from bedrock_gateway.dialects.openai.json_answers import held, text_format, unheld
from bedrock_gateway.dialects.openai.members import members_of, take_labels
from bedrock_gateway.dialects.openai.responses_answer import ResponseRelay, ResponseStream
from bedrock_gateway.dialects.openai.responses_items import conversation
from bedrock_gateway.dialects.requests import model_named, read_body
from bedrock_gateway.dialects.speech import NO_DEFAULTS, Asked, Relay, Translation
from bedrock_gateway.errors import InvalidRequest

__all__ = ["ResponsesTranslation", "read_responses"]

#: Members that hold some of the conversation, which is not here. Without them something else would be answered.
_ELSEWHERE = ("previous_response_id", "conversation", "prompt")
#: Members that Bedrock has no place for, and the values of them that ask for nothing.
_UNSUPPORTED: Mapping[str, tuple[object, ...]] = {
    "background": (False,),
    "background_options": (),
    "context_management": ([],),
    "max_tool_calls": (),
    "moderation": (),
    "top_logprobs": (0,),
    "truncation": ("disabled",),
}
#: Members that are read by name, or say nothing about the answer.
_KNOWN = (
    READ_ALIKE
    | _UNSUPPORTED.keys()
    | {"input", "instructions", "max_output_tokens", "reasoning", "text", "store", "include"}
    | {"prompt_cache_options", "client_metadata"}
)
#: What an answer says again of its request, and what it says where that had nothing.
_ECHOED: Mapping[str, object] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "reasoning": {"effort": None, "summary": None},
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "user": None,
}


@attrs.frozen(kw_only=True)
class ResponsesTranslation(Translation):
    """A response in Converse's words; as ``speech.Translation``.

    Attributes:
        in_json: the answer is what the tool for JSON is called with.
        text_format: how a model is asked for that without the tool, where it may be.
        wishes: what is written in the words of the model of each attempt.
        echo: what the answer says again of the request.
    """

    in_json: bool = False
    text_format: Block | None = None
    wishes: Wishes = attrs.field(factory=Wishes)
    echo: Mapping[str, Any] = attrs.field(factory=dict)

    def relay(self, model_id: str, *, call_id: str, now: int, defaults: Mapping[str, object] = NO_DEFAULTS) -> Relay:
        """As ``speech.Translation``."""
        fit = fitting(model_id, self.wishes, defaults)
        hold = held(model_id, self.text_format, fit)
        json_tool = JSON_TOOL if self.in_json and hold is None else ""
        made = {"id": f"resp_{call_id}", "object": "response", "created_at": now, "model": self.model, **self.echo}
        kind = ResponseStream if self.operation == "ConverseStream" else ResponseRelay
        return kind(hold or fit, made, json_tool)


def read_responses(request: Asked) -> ResponsesTranslation:
    """Read a request.

    Raises:
        InvalidRequest: naming the member that is wrong, or all that there is no place for.
    """
    asked = members_of(read_body(request.body), request.path)
    model = model_named(asked)
    drop_params = boolean(asked.pop("drop_params", request.drop_params), "drop_params")
    echo = _echo(asked)
    end_user, tags = take_labels(asked)
    elsewhere = [name for name in _ELSEWHERE if name in asked]
    if elsewhere:
        raise InvalidRequest(
            f"Nothing is kept here between requests: {', '.join(elsewhere)} cannot be served. Send the whole "
            "conversation as input.",
            param=elsewhere[0],
        )
    check_supported(asked, _UNSUPPORTED, drop_params)
    messages, system = conversation(asked)
    converse: Block = {"messages": messages}
    if system:
        converse["system"] = system
    inference = read_inference(asked, "max_output_tokens", drop_params)
    effort = mapping(asked.get("reasoning", {}), "reasoning").get("effort")
    wishes = read_wishes(asked, effort, "reasoning.effort", inference, request, drop_params)
    if inference:
        converse["inferenceConfig"] = inference
    offer = _offered(asked, drop_params)
    in_json = add_tools(converse, offer, thinks=wishes.thinks, drop_params=drop_params)
    converse |= tier(asked)
    add_others(converse, asked, _KNOWN, request.headers)
    mapping(asked.get("stream_options", {}), "stream_options")
    return ResponsesTranslation(
        model=model,
        body=written(converse),
        end_user=end_user,
        tags=tags,
        operation="ConverseStream" if boolean(asked.get("stream", False), "stream") else "Converse",
        drop_params=drop_params,
        in_json=in_json,
        text_format=offer.text_format if in_json and unheld(converse) else None,
        wishes=attrs.evolve(wishes, own_choice=True) if offer.forces_json else wishes,
        echo=echo,
    )


def _echo(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what an answer says again; of metadata what is OpenAI's, strings alone."""
    told = {name: asked.get(name, usual) for name, usual in _ECHOED.items()}
    metadata = mapping(told["metadata"], "metadata")
    told["metadata"] = {name: value for name, value in metadata.items() if isinstance(value, str)}
    return told | {"truncation": "disabled"}


def _offered(asked: Mapping[str, Any], drop_params: bool) -> Offer:
    """Return what a request says of tools; those that OpenAI runs itself are left out with ``drop_params``."""
    tools: list[Block] = []
    for at, one in enumerate(items(asked.get("tools", []), "tools")):
        path = f"tools[{at}]"
        tool = mapping(one, path)
        if tool.get("type") == "function":
            tools += [function(tool, path), *cache_point(tool, path)]
        elif not drop_params:
            wrong(f"{path}.type", f"must be function: other tools are run by OpenAI, and not here{DROP.format('them')}")
    choice = asked.get("tool_choice", "auto")
    if drop_params and isinstance(choice, dict) and choice.get("type") != "function":
        choice = "auto"
    form = mapping(asked.get("text", {}), "text").get("format")
    schema = schema_of(form, "text.format")
    return Offer(
        tools=tools,
        choice=choice_of(choice),
        schema=schema,
        text_format=text_format(schema, form),
        chosen="tool_choice.name",
        form="text.format",
    )
