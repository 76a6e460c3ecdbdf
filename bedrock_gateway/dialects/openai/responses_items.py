"""The input of OpenAI's Responses as messages of Converse: system prompts apart, roles in turn, items as blocks.

Knows both forms of an item; parts, documents, calls of tools and their results are those of chat (``chat_messages``).

A thought comes back from an answer as ``encrypted_content``, text and signature together: Bedrock refuses a call of a
tool whose thought was changed. Must not know the rest of a request.

Source: OpenAI API reference, "Create a model response" (``input``); bedrock-runtime service-2.json (``Message``,
``ContentBlock``); LiteLLM 1.109 for ``cache_control``.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from typing import Any

from bedrock_gateway.dialects.converse_blocks import (
    cache_point,
    contents,
    document,
    image,
    in_turn,
    is_base64,
    only_text,
    said,
    tool_result,
    tool_use,
    tool_use_id,
    worded,
)
from bedrock_gateway.dialects.fields import Block, given, items, mapping, one_of, text, wrong

__all__ = ["conversation", "sealed"]

_dumps = json.JSONEncoder(separators=(",", ":")).encode


def conversation(asked: Mapping[str, Any]) -> tuple[list[Block], list[Block]]:
    """Return ``(messages, system)`` of Converse.

    Raises:
        InvalidRequest: naming the member that is wrong.
    """
    instructions = said(text(asked["instructions"], "instructions")) if "instructions" in asked else []
    told = asked.get("input", [])
    if isinstance(told, str):
        told = [{"role": "user", "content": told}]
    turns, system = in_turn(_spoken(items(told, "input")))
    if not turns:
        wrong("input", "must say something")
    return turns, instructions + system


def _spoken(told: list[Any]) -> Iterator[tuple[str, list[Block]]]:
    for at, one in enumerate(told):
        path = f"input[{at}]"
        item = mapping(one, path)
        speaker, blocks = _item(item, path)
        yield speaker, blocks + (cache_point(item, path) if blocks else [])


def _item(item: Mapping[str, Any], path: str) -> tuple[str, list[Block]]:
    kind = given(item, "type", "message")
    if kind == "message":
        role = one_of(item.get("role"), f"{path}.role", ("user", "assistant", "system", "developer"))
        blocks = contents(item.get("content"), f"{path}.content", _part)
        return ("system", only_text(blocks, f"{path}.content")) if role in ("system", "developer") else (role, blocks)
    if kind == "function_call":
        return "assistant", [tool_use(item, path, tool_use_id(item.get("call_id"), f"{path}.call_id"))]
    if kind == "function_call_output":
        blocks = contents(item.get("output"), f"{path}.output", _part)
        return "user", tool_result(tool_use_id(item.get("call_id"), f"{path}.call_id"), blocks)
    if kind == "reasoning":
        return "assistant", _thought(item, path)
    wrong(f"{path}.type", "must be one of message, function_call, function_call_output, reasoning")


def _part(part: Any, path: str) -> list[Block]:
    kind = part.get("type")
    if kind == "input_image":
        if part.get("image_url") is None:
            wrong(f"{path}.image_url", "must be a data URL; files are not kept here")
        return [image(text(part["image_url"], f"{path}.image_url"), f"{path}.image_url")]
    if kind == "input_file":
        return [document(part, path)]
    words = worded(part, path, "text" if kind in ("input_text", "output_text") else kind)
    if words is None:
        known = "input_text, output_text, input_image, input_file, refusal, guarded_text"
        wrong(f"{path}.type", f"must be one of {known}")
    return words


def sealed(thought: Mapping[str, Any]) -> str:
    """Return a thought of Converse as ``encrypted_content``."""
    return base64.b64encode(_dumps(thought).encode()).decode()


def _thought(item: Mapping[str, Any], path: str) -> list[Block]:
    """Return a thought of an earlier answer; none of another maker's, which no model here could read."""
    told = item.get("encrypted_content")
    if told is None:
        return []
    try:
        thought = json.loads(base64.b64decode(text(told, f"{path}.encrypted_content"), validate=True))
    except (binascii.Error, ValueError, RecursionError):
        return []
    return [{"reasoningContent": thought}] if _is_thought(thought) else []


def _is_thought(told: object) -> bool:
    if not isinstance(told, dict):
        return False
    if told.keys() == {"redactedContent"}:
        data = told["redactedContent"]
        return isinstance(data, str) and is_base64(data)
    words = told.get("reasoningText")
    if told.keys() != {"reasoningText"} or not isinstance(words, dict):
        return False
    return {"text"} <= words.keys() <= {"text", "signature"} and all(isinstance(one, str) for one in words.values())
