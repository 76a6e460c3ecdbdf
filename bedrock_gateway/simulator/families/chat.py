"""OpenAI-shaped chat: OpenAI, Qwen, Mistral's newer models, AI21 Jamba, DeepSeek V3 and others.

Source, beside that of this folder: public reports of gpt-oss through InvokeModel, whose reasoning is no member of its
own but stands in tags before the text.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bedrock_gateway.simulator.conversation import compiled, mapping, positive
from bedrock_gateway.simulator.converse import Exchange
from bedrock_gateway.simulator.counting import CachePoint, Counts, Part, json_part, media_part, text_part
from bedrock_gateway.simulator.dialogue import Question, Reasoning, Text, Tool, ToolUse, input_pieces, pieces
from bedrock_gateway.simulator.families.shapes import Chunk, TextFamily, malformed, metrics, stop_word
from bedrock_gateway.simulator.protocol import require

__all__ = ["CHAT"]

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
# Answers are a function of the request, so their time of creation is one moment for ever (2026-01-01T00:00:00Z).
CREATED = 1_767_225_600


def parse(body: dict[str, Any]) -> Question:
    """Read a chat completion request."""
    messages = body.get("messages")
    if messages is None:
        raise malformed("#: required key [messages] not found")
    require(isinstance(messages, list) and bool(messages), "messages: at least one message is required")
    parts: list[Part | CachePoint] = []
    tools: list[Tool] = []
    given = body.get("tools")
    require(given is None or isinstance(given, list), "tools: expected a list")
    for item in given or ():
        tool = mapping(item, "tools")
        parts.append(json_part(tool))
        function = mapping(tool.get("function"), "tools.function")
        require(isinstance(function.get("name"), str), "tools.function.name: is required")
        tools.append(Tool(function["name"], mapping(function.get("parameters"), "tools.function.parameters")))
    text = ""
    results: list[str] = []
    for index, item in enumerate(messages or ()):
        message = mapping(item, f"messages.{index}")
        role = message.get("role")
        require(role in ROLES, f"messages.{index}.role: unknown role")
        spoken = _read(message.get("content"), f"messages.{index}.content", parts)
        if message.get("tool_calls"):
            parts.append(json_part(message["tool_calls"]))
        if role == "user":
            text, results = spoken, []
        elif role in ("tool", "function"):
            results.append(spoken)
    choice = body.get("tool_choice")
    forced = "*" if choice in ("required", "any") and tools else None
    if isinstance(choice, dict):
        forced = str(mapping(choice.get("function"), "tool_choice.function").get("name"))
        require(any(tool.name == forced for tool in tools), f"tool_choice: no tool is named {forced}")
    bound = body.get("max_completion_tokens")
    stop = body.get("stop")
    stops = (stop,) if isinstance(stop, str) else tuple(stop or ()) if isinstance(stop, list | None) else (None,)
    require(all(isinstance(end, str) for end in stops), "stop: must be strings")
    return Question(
        text=text,
        schema=_schema(body, parts),
        parts=tuple(parts),
        max_tokens=positive(body.get("max_tokens") if bound is None else bound, "max_tokens"),
        stop_sequences=stops,
        tools=() if choice == "none" else tuple(tools),
        forced_tool=forced,
        tool_results=tuple(results),
        reasoning=body.get("reasoning_effort") in ("low", "medium", "high"),
    )


def _schema(body: dict[str, Any], parts: list[Part | CachePoint]) -> dict[str, Any] | None:
    """Return the schema that the answer has to follow, or None."""
    form = mapping(body.get("response_format"), "response_format")
    if form.get("type") != "json_schema":
        return None
    parts.append(json_part(form))
    return compiled(mapping(form.get("json_schema"), "response_format.json_schema").get("schema"))


def _read(content: Any, place: str, parts: list[Part | CachePoint]) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        parts.append(text_part(content))
        return content
    require(isinstance(content, list), f"{place}: expected a string or a list")
    spoken: list[str] = []
    for item in content:
        block = mapping(item, place)
        if isinstance(block.get("text"), str):
            parts.append(text_part(block["text"]))
            spoken.append(block["text"])
        elif block.get("type") in ("image_url", "input_audio", "file"):
            parts.append(media_part(block))
        else:
            parts.append(json_part(block))
    return "\n".join(spoken)


def usage(counts: Counts) -> dict[str, int]:
    """Give ``usage`` in OpenAI's names."""
    return {"prompt_tokens": counts.input, "completion_tokens": counts.output, "total_tokens": counts.total}


def _head(exchange: Exchange, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{exchange.digest[:24]}", "object": kind, "created": CREATED, "model": exchange.model}


def _tags(exchange: Exchange) -> bool:
    return "openai.gpt-oss" in exchange.model


def _call(block: ToolUse, arguments: str) -> dict[str, Any]:
    return {"id": block.id, "type": "function", "function": {"name": block.name, "arguments": arguments}}


def whole(exchange: Exchange) -> dict[str, Any]:
    """Write a chat completion."""
    reply = exchange.reply
    message: dict[str, Any] = {"role": "assistant", "content": reply.text}
    if reply.reasoning and _tags(exchange):
        message["content"] = f"<reasoning>{reply.reasoning}</reasoning>{reply.text}"
    elif reply.reasoning:
        message["reasoning_content"] = reply.reasoning
    if reply.tool_uses:
        message["tool_calls"] = [_call(block, block.input_json) for block in reply.tool_uses]
    finish = stop_word(reply.stop, end="stop", length="length")
    return {
        **_head(exchange, "chat.completion"),
        "choices": [{"index": 0, "message": message, "finish_reason": finish, "stop_reason": finish}],
        "usage": usage(exchange.counts),
    }


def chunks(exchange: Exchange) -> Iterator[Chunk]:
    """Write the chunks of a chat completion, usage and metrics in the last."""
    head = _head(exchange, "chat.completion.chunk")

    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    yield chunk({"role": "assistant", "content": ""}), False
    number = 0
    for block in exchange.reply.blocks:
        match block:
            case Text(text):
                for piece in pieces(text):
                    yield chunk({"content": piece}), True
            case Reasoning(text, _) if _tags(exchange):
                for piece in pieces(f"<reasoning>{text}</reasoning>"):
                    yield chunk({"content": piece}), True
            case Reasoning(text, _):
                for piece in pieces(text):
                    yield chunk({"reasoning_content": piece}), True
            case ToolUse():
                yield chunk({"tool_calls": [{"index": number, **_call(block, "")}]}), False
                for piece in input_pieces(block.input_json):
                    yield chunk({"tool_calls": [{"index": number, "function": {"arguments": piece}}]}), True
                number += 1
    yield chunk({}, stop_word(exchange.reply.stop, end="stop", length="length")), False
    yield {**head, "choices": [], "usage": usage(exchange.counts), **metrics(exchange)}, False


CHAT = TextFamily(parse=parse, whole=whole, chunks=chunks)
