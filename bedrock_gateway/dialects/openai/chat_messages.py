"""Messages of OpenAI's chat as Converse has them: system prompts apart, roles in turn, everything else as blocks.

Knows the form of a message. Must not know the rest of a request.

Source: OpenAI API reference, "Create chat completion" (``messages``); LiteLLM 1.109 for ``thinking_blocks`` and
``reasoning_content``, which OpenAI has no form of its own for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bedrock_gateway.dialects.converse_blocks import (
    cache_point,
    contents,
    document,
    encoded,
    image,
    in_turn,
    only_text,
    said,
    tool_result,
    tool_use,
    tool_use_id,
    worded,
)
from bedrock_gateway.dialects.fields import Block, given, items, mapping, one_of, text, wrong

__all__ = ["converse_messages"]

_ROLES = ("system", "developer", "user", "assistant", "tool", "function")


def converse_messages(messages: object) -> tuple[list[Block], list[Block]]:
    """Return ``(messages, system)`` of Converse.

    Raises:
        InvalidRequest: naming the member that is wrong.
    """
    told = items(messages, "messages")
    if not told:
        wrong("messages", "must hold a message at least")
    turns, system = in_turn(_spoken(told))
    if not turns:
        wrong("messages", "must hold a message of a user that says something")
    return turns, system


def _spoken(told: list[Any]) -> Iterator[tuple[str, list[Block]]]:
    for at, one in enumerate(told):
        path = f"messages[{at}]"
        message = mapping(one, path)
        role = one_of(message.get("role"), f"{path}.role", _ROLES)
        if role in ("system", "developer"):
            yield "system", only_text(_parts(message, path), f"{path}.content")
        elif role in ("tool", "function"):
            yield "user", _tool_result(message, path)
        elif role == "assistant":
            yield "assistant", _assistant(message, path)
        else:
            yield "user", _parts(message, path)


def _parts(message: Any, path: str) -> list[Block]:
    blocks = contents(message.get("content"), f"{path}.content", _part)
    return blocks + (cache_point(message, path) if blocks else [])


def _part(part: Any, path: str) -> list[Block]:
    kind = part.get("type")
    if (words := worded(part, path, kind)) is not None:
        return words
    if kind == "image_url":
        told = part.get("image_url")
        if isinstance(told, str):
            return [image(told, f"{path}.image_url")]
        return [
            image(text(mapping(told, f"{path}.image_url").get("url"), f"{path}.image_url.url"), f"{path}.image_url.url")
        ]
    if kind == "file":
        return [document(mapping(part.get("file"), f"{path}.file"), f"{path}.file")]
    wrong(f"{path}.type", "must be one of text, image_url, file, refusal, guarded_text")


def _tool_result(message: Any, path: str) -> list[Block]:
    # Of a function of OpenAI's older form its name is all that tells which call is meant.
    name = "tool_call_id" if message["role"] == "tool" else "name"
    blocks = [] if message.get("content") is None else _parts({"content": message["content"]}, path)
    return [*tool_result(tool_use_id(message.get(name), f"{path}.{name}"), blocks), *cache_point(message, path)]


def _assistant(message: Any, path: str) -> list[Block]:
    blocks = _thoughts(message.get("thinking_blocks"), f"{path}.thinking_blocks")
    if message.get("content") is not None:
        blocks += _parts(message, path)
    elif (refusal := message.get("refusal")) is not None:
        blocks += said(text(refusal, f"{path}.refusal"))
    calls = message.get("tool_calls")
    for at, one in enumerate(items(calls, f"{path}.tool_calls") if calls is not None else ()):
        where = f"{path}.tool_calls[{at}]"
        call = mapping(one, where)
        one_of(given(call, "type", "function"), f"{where}.type", ("function",))
        blocks.append(tool_use(call.get("function"), f"{where}.function", tool_use_id(call.get("id"), f"{where}.id")))
    if (older := message.get("function_call")) is not None:
        name = mapping(older, f"{path}.function_call").get("name")
        blocks.append(tool_use(older, f"{path}.function_call", tool_use_id(name, f"{path}.function_call.name")))
    return blocks


def _thoughts(told: object, path: str) -> list[Block]:
    """Return thoughts as they were signed: one that came in the pieces of a stream is put together again."""
    thoughts: list[Block] = []
    for at, one in enumerate(items(told, path) if told is not None else ()):
        thought = _thought(one, f"{path}[{at}]")
        words, last = thought["reasoningContent"], thoughts[-1]["reasoningContent"] if thoughts else {}
        if "reasoningText" in words and "reasoningText" in last and "signature" not in last["reasoningText"]:
            so_far = last["reasoningText"]["text"]
            last["reasoningText"] = words["reasoningText"] | {"text": so_far + words["reasoningText"]["text"]}
        else:
            thoughts.append(thought)
    return thoughts


def _thought(told: object, path: str) -> Block:
    """Return a thought with its signature, as it was given: AWS refuses one that was changed."""
    block = mapping(told, path)
    if one_of(block.get("type"), f"{path}.type", ("thinking", "redacted_thinking")) == "redacted_thinking":
        return {"reasoningContent": {"redactedContent": encoded(block.get("data"), f"{path}.data")}}
    thought = {"text": text(block.get("thinking"), f"{path}.thinking")}
    if block.get("signature"):
        thought["signature"] = text(block["signature"], f"{path}.signature")
    return {"reasoningContent": {"reasoningText": thought}}
