"""A request of OpenAI's Responses as a request of Converse. Nothing is kept between requests: each brings all of its
conversation.

Knows the members of both. A thought comes back from an answer as ``encrypted_content``, text and signature together:
Bedrock refuses a call of a tool whose thought was changed. Must not know deployments.

Source: OpenAI API reference, "Create a model response"; bedrock-runtime service-2.json (``ConverseRequest``).
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import attrs

from bedrock_gateway.dialects.chat_families import Wishes, fitting
from bedrock_gateway.dialects.chat_messages import Block, document, image, said, tools_used
from bedrock_gateway.dialects.chat_tools import JSON_TOOL, spec
from bedrock_gateway.dialects.fields import boolean, integer, items, mapping, number, one_of, text, written, wrong
from bedrock_gateway.dialects.requests import read_body
from bedrock_gateway.dialects.responses_answer import ResponseRelay, ResponseStream
from bedrock_gateway.dialects.speech import NO_DEFAULTS, Asked, Relay
from bedrock_gateway.errors import InvalidRequest

__all__ = ["ResponsesTranslation", "read_responses"]

#: Members that need something kept here, or somebody else's service.
_UNSUPPORTED: Mapping[str, tuple[object, ...]] = {
    "previous_response_id": (),
    "conversation": (),
    "prompt": (),
    "background": (False,),
    "max_tool_calls": (),
    "top_logprobs": (0,),
}
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
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
    "truncation": "disabled",
    "user": None,
}


@attrs.frozen(kw_only=True)
class ResponsesTranslation:
    """A response in Converse's words; as ``speech.Translation``.

    Attributes:
        stream: it is streamed; in_json: the answer is what the tool for JSON is called with.
        wishes: what is written in the words of the model of each attempt.
        echo: what the answer says again of the request.
    """

    model: str
    body: bytes
    end_user: str = ""
    tags: tuple[str, ...] = ()
    stream: bool = False
    in_json: bool = False
    wishes: Wishes = attrs.field(factory=Wishes)
    echo: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def operation(self) -> str:
        """As ``speech.Translation``."""
        return "ConverseStream" if self.stream else "Converse"

    def relay(self, model_id: str, *, call_id: str, now: int, defaults: Mapping[str, object] = NO_DEFAULTS) -> Relay:
        """As ``speech.Translation``."""
        think = fitting(model_id, self.wishes, defaults)
        made = {"id": f"resp_{call_id}", "object": "response", "created_at": now, "model": self.model, **self.echo}
        kind = ResponseStream if self.stream else ResponseRelay
        return kind(think, made, JSON_TOOL if self.in_json else "")


def read_responses(request: Asked) -> ResponsesTranslation:
    """Read a request.

    Raises:
        InvalidRequest: naming the member that is wrong, or all that there is no place for.
    """
    asked = {name: value for name, value in read_body(request.body).items() if value is not None}
    model = text(asked.get("model"), "model")
    if not model:
        wrong("model", "must name a model")
    found = [name for name, idle in _UNSUPPORTED.items() if name in asked and asked[name] not in idle]
    if found and not request.drop_params:
        raise InvalidRequest(
            f"Nothing is kept here between requests, nor done by others: {', '.join(found)} cannot be served. Send the "
            "whole conversation as input.",
            param=found[0],
        )
    messages, system = _conversation(asked)
    converse: Block = {"messages": messages}
    if system:
        converse["system"] = system
    if inference := _inference(asked):
        converse["inferenceConfig"] = inference
    effort = mapping(asked.get("reasoning", {}), "reasoning").get("effort")
    wishes = Wishes(
        effort="" if effort is None else one_of(effort, "reasoning.effort", _EFFORTS),
        one_tool=asked.get("parallel_tool_calls") is False,
        open_ended="maxTokens" not in inference,
    )
    in_json = _add_tools(converse, asked, drop_params=request.drop_params)
    if "service_tier" in asked:
        tier = one_of(asked["service_tier"], "service_tier", ("auto", "default", "flex", "priority"))
        converse["serviceTier"] = {"type": "default" if tier == "auto" else tier}
    return ResponsesTranslation(
        model=model,
        body=written(converse),
        end_user=text(asked.get("user", asked.get("safety_identifier", "")), "user"),
        stream=boolean(asked.get("stream", False), "stream"),
        in_json=in_json,
        wishes=wishes,
        echo={name: asked.get(name, usual) for name, usual in _ECHOED.items()},
    )


def _inference(asked: Mapping[str, Any]) -> Block:
    found: Block = {}
    if "max_output_tokens" in asked:
        found["maxTokens"] = integer(asked["max_output_tokens"], "max_output_tokens", 1)
    if "temperature" in asked:
        found["temperature"] = number(asked["temperature"], "temperature")
    if "top_p" in asked:
        found["topP"] = number(asked["top_p"], "top_p")
    return found


def _conversation(asked: Mapping[str, Any]) -> tuple[list[Block], list[Block]]:
    """Return messages of Converse, and its system prompt."""
    system = said(text(asked["instructions"], "instructions")) if "instructions" in asked else []
    told = asked.get("input", [])
    if isinstance(told, str):
        told = [{"role": "user", "content": told}]
    turns: list[Block] = []
    for at, one in enumerate(items(told, "input")):
        path = f"input[{at}]"
        for speaker, blocks in _item(mapping(one, path), path):
            if speaker == "system":
                system += blocks
            elif blocks and turns and turns[-1]["role"] == speaker:
                turns[-1]["content"] += blocks
            elif blocks:
                turns.append({"role": speaker, "content": blocks})
    if not turns:
        wrong("input", "must say something")
    return turns, system


def _item(item: Mapping[str, Any], path: str) -> Iterator[tuple[str, list[Block]]]:
    kind = item.get("type", "message")
    if kind == "message":
        role = one_of(item.get("role"), f"{path}.role", ("user", "assistant", "system", "developer"))
        content = item.get("content")
        if isinstance(content, str):
            blocks = said(content)
        else:
            parts = enumerate(items(content, f"{path}.content"))
            blocks = [block for at, one in parts for block in _part(one, f"{path}.content[{at}]")]
        yield "system" if role == "developer" else role, blocks
    elif kind == "function_call":
        yield "assistant", [_tool_use(item, path)]
    elif kind == "function_call_output":
        yield "user", [_tool_result(item, path)]
    elif kind == "reasoning":
        yield "assistant", _thought(item, path)
    else:
        wrong(f"{path}.type", "must be one of message, function_call, function_call_output, reasoning")


def _part(told: object, path: str) -> list[Block]:
    part = mapping(told, path)
    kind = part.get("type")
    if kind in ("input_text", "output_text", "text"):
        return said(text(part.get("text"), f"{path}.text"))
    if kind == "refusal":
        return said(text(part.get("refusal"), f"{path}.refusal"))
    if kind == "input_image":
        if part.get("image_url") is None:
            wrong(f"{path}.image_url", "must be a data URL; files are not kept here")
        return [image(text(part["image_url"], f"{path}.image_url"), f"{path}.image_url")]
    if kind == "input_file":
        return [document(part, path)]
    wrong(f"{path}.type", "must be one of input_text, output_text, input_image, input_file, refusal")


def _tool_use(item: Mapping[str, Any], path: str) -> Block:
    try:
        given = json.loads(text(item.get("arguments"), f"{path}.arguments") or "{}")
    except (ValueError, RecursionError):
        wrong(f"{path}.arguments", "must be JSON")
    return {
        "toolUse": {
            "toolUseId": text(item.get("call_id"), f"{path}.call_id"),
            "name": text(item.get("name"), f"{path}.name"),
            "input": mapping(given, f"{path}.arguments"),
        }
    }


def _tool_result(item: Mapping[str, Any], path: str) -> Block:
    output = item.get("output")
    if isinstance(output, str):
        content = said(output)
    else:
        parts = enumerate(items(output, f"{path}.output"))
        content = [block for at, one in parts for block in _part(one, f"{path}.output[{at}]")]
    call_id = text(item.get("call_id"), f"{path}.call_id")
    return {"toolResult": {"toolUseId": call_id, "content": content or [{"text": "(nothing)"}]}}


def _thought(item: Mapping[str, Any], path: str) -> list[Block]:
    """Return a thought of an earlier answer; none of another maker's, which no model here could read."""
    sealed = item.get("encrypted_content")
    if sealed is None:
        return []
    try:
        thought = json.loads(base64.b64decode(text(sealed, f"{path}.encrypted_content"), validate=True))
    except (binascii.Error, ValueError, RecursionError):
        return []
    return [{"reasoningContent": thought}] if isinstance(thought, dict) else []


def _add_tools(converse: Block, asked: Mapping[str, Any], *, drop_params: bool) -> bool:
    """Add ``toolConfig``; tell whether the answer comes as a call of the tool for JSON."""
    tools = []
    for at, one in enumerate(items(asked.get("tools", []), "tools")):
        path = f"tools[{at}]"
        tool = mapping(one, path)
        if tool.get("type") == "function":
            tools.append(_function(tool, path))
        elif not drop_params:
            _not_here(f"{path}.type")
    own, used = bool(tools), tools_used(converse["messages"])
    choice = _choice(asked.get("tool_choice", "auto"))
    if choice is None:
        if used and not drop_params:
            wrong("tool_choice", "cannot be none after tools were used: Bedrock has no such choice")
        tools = tools if used else []
    known = {tool["toolSpec"]["name"] for tool in tools}
    tools += [spec(name, {"type": "object"}) for name in used if name not in known]
    schema = _schema(asked)
    if schema is not None:
        tools.append(spec(JSON_TOOL, schema, "Give your answer by calling this tool, once and for all of it."))
        choice = {"any": {}} if own else {"tool": {"name": JSON_TOOL}}
    if tools:
        converse["toolConfig"] = {"tools": tools}
        if choice and choice != {"auto": {}}:
            converse["toolConfig"]["toolChoice"] = choice
    return schema is not None


def _not_here(path: str) -> NoReturn:
    wrong(path, "must be function: other tools are run by OpenAI, and not here")


def _function(tool: Mapping[str, Any], path: str) -> Block:
    name = text(tool.get("name"), f"{path}.name")
    if not name:
        wrong(f"{path}.name", "must not be empty")
    description = tool.get("description")
    schema = mapping(tool.get("parameters") or {"type": "object"}, f"{path}.parameters")
    return spec(name, schema, None if description is None else text(description, f"{path}.description"))


def _choice(told: object) -> Block | None:
    if isinstance(told, str):
        found: dict[str, Block | None] = {"auto": {"auto": {}}, "required": {"any": {}}, "none": None}
        if told not in found:
            wrong("tool_choice", "must be auto, none, required, or an object that names a function")
        return found[told]
    named = mapping(told, "tool_choice")
    one_of(named.get("type"), "tool_choice.type", ("function",))
    return {"tool": {"name": text(named.get("name"), "tool_choice.name")}}


def _schema(asked: Mapping[str, Any]) -> Mapping[str, Any] | None:
    told = mapping(asked.get("text", {}), "text").get("format")
    if told is None:
        return None
    wanted = mapping(told, "text.format")
    kind = one_of(wanted.get("type"), "text.format.type", ("text", "json_object", "json_schema"))
    if kind == "text":
        return None
    return {"type": "object"} if kind == "json_object" else mapping(wanted.get("schema"), "text.format.schema")
