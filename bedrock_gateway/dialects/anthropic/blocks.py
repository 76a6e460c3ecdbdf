"""Messages, system prompts and tools of Anthropic's as Converse has them.

Knows both forms of each. Must not know the rest of a request. What Converse has no form of is refused by its path.

Source: Anthropic API reference, "Create a Message" (``messages``, ``system``, ``tools``, ``tool_choice``);
bedrock-runtime service-2.json (``Message``, ``ContentBlock``, ``ToolResultContentBlock``, ``ToolConfiguration``).
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from bedrock_gateway.dialects.anthropic.citations import citing
from bedrock_gateway.dialects.converse_blocks import (
    cache_point,
    document,
    encoded,
    image,
    said,
    tell_apart,
    tool_name,
    tool_use_id,
    tools_used,
)
from bedrock_gateway.dialects.fields import Block, boolean, given, items, mapping, one_of, text, wrong

__all__ = ["conversation", "system_blocks", "tool_config"]

_BLOCKS = (
    *("text", "image", "document", "search_result", "thinking", "redacted_thinking"),
    *("tool_use", "tool_result"),
)
#: What a tool's result may hold.
_RESULTS = ("text", "image", "document", "search_result")


def conversation(messages: object) -> tuple[list[Block], list[Block]]:
    """Return ``(messages, system)`` of Converse, the latter of messages that are the system's.

    Neighbours of one role become one message, as Converse wants them in turn.

    Raises:
        InvalidRequest: naming the member that is wrong.
    """
    told = items(messages, "messages")
    if not told:
        wrong("messages", "must hold a message at least")
    turns: list[Block] = []
    system: list[Block] = []
    for at, one in enumerate(told):
        path = f"messages.{at}"
        message = mapping(one, path)
        role = one_of(message.get("role"), f"{path}.role", ("user", "assistant", "system"))
        content = message.get("content")
        if role == "system":
            system += system_blocks(content, f"{path}.content")
            continue
        if isinstance(content, str):
            blocks = said(content)
        else:
            blocks = _blocks(content, f"{path}.content", _BLOCKS, cites=role == "assistant")
        if not blocks:
            continue
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": role, "content": blocks})
    if not turns:
        wrong("messages", "must hold a message of a user that says something")
    tell_apart(turns)
    return turns, system


def system_blocks(told: object, path: str = "system") -> list[Block]:
    """Return ``system`` of Converse: of a string, or of blocks of text.

    Raises:
        InvalidRequest: naming the member that is wrong.
    """
    return said(told) if isinstance(told, str) else _blocks(told, path, ("text",))


def _blocks(told: object, path: str, allowed: tuple[str, ...], *, cites: bool = False) -> list[Block]:
    blocks: list[Block] = []
    for at, one in enumerate(items(told, path)):
        where = f"{path}.{at}"
        block = mapping(one, where)
        kind = block.get("type")
        if kind not in allowed:
            wrong(f"{where}.type", f"must be one of {', '.join(allowed)}; this model is not asked by Anthropic's API")
        found = _block(kind, block, where)
        if cites and kind == "text" and found and block.get("citations"):
            found = [citing(block["text"], block["citations"], where)]
        # A point after nothing would be one after what stands before it.
        points = cache_point(block, where) if found and "cachePoint" not in found[-1] else []
        blocks += [*found, *points]
    return blocks


def _block(kind: str, block: Mapping[str, Any], path: str) -> list[Block]:
    if kind == "text":
        return said(text(block.get("text"), f"{path}.text"))
    if kind == "image":
        media_type, data = _data(block, path)
        return [image(f"data:{media_type};base64,{data}", f"{path}.source")]
    if kind == "document":
        return [_document(block, path)]
    if kind == "search_result":
        return [_search_result(block, path)]
    if kind == "tool_use":
        use = {
            "toolUseId": tool_use_id(block.get("id"), f"{path}.id"),
            "name": tool_name(block.get("name"), f"{path}.name"),
            "input": mapping(block.get("input"), f"{path}.input"),
        }
        return [{"toolUse": use}]
    if kind == "tool_result":
        return _tool_result(block, path)
    if kind == "redacted_thinking":
        return [{"reasoningContent": {"redactedContent": encoded(block.get("data"), f"{path}.data")}}]
    # With its signature, as it was given: AWS refuses a thought that was changed.
    thought = {"text": text(block.get("thinking"), f"{path}.thinking")}
    if block.get("signature"):
        thought["signature"] = text(block["signature"], f"{path}.signature")
    return [{"reasoningContent": {"reasoningText": thought}}]


def _data(block: Mapping[str, Any], path: str) -> tuple[str, str]:
    """Return the media type and the base64 of a source."""
    source = mapping(block.get("source"), f"{path}.source")
    if source.get("type") == "url":
        wrong(f"{path}.source.url", "is not fetched here (general_settings.fetch_images allows it); send it as base64")
    if source.get("type") != "base64":
        wrong(f"{path}.source.type", "must be base64: files are not kept here")
    data = encoded(source.get("data"), f"{path}.source.data")
    return text(source.get("media_type"), f"{path}.source.media_type"), data


def _document(block: Mapping[str, Any], path: str) -> Block:
    source = mapping(block.get("source"), f"{path}.source")
    kind = source.get("type")
    if kind == "text":
        media_type, data = "text/plain", _in_base64(text(source.get("data"), f"{path}.source.data"))
    elif kind == "content":
        content = source.get("content")
        parts = said(content) if isinstance(content, str) else _blocks(content, f"{path}.source.content", ("text",))
        words = "\n".join(part["text"] for part in parts if "text" in part)
        media_type, data = "text/plain", _in_base64(words)
    else:
        media_type, data = _data(block, path)
    title = block.get("title")
    name = "document" if title is None else text(title, f"{path}.title")
    # An extension is taken off a file's name; a title has none.
    found = document({"file_data": f"data:{media_type};base64,{data}", "filename": f"{name}."}, f"{path}.source")
    inner = found.get("document")
    if inner is not None:
        if block.get("context") is not None:
            inner["context"] = text(block["context"], f"{path}.context")
        if _cited(block, path):
            inner["citations"] = {"enabled": True}
    return found


def _in_base64(words: str) -> str:
    if not words.strip():
        words = "(nothing)"
    return base64.b64encode(words.encode("utf-8", "replace")).decode()


def _search_result(block: Mapping[str, Any], path: str) -> Block:
    found: Block = {
        "source": text(block.get("source"), f"{path}.source"),
        "title": text(block.get("title"), f"{path}.title"),
        "content": [
            part for part in _blocks(block.get("content"), f"{path}.content", ("text",)) if "cachePoint" not in part
        ],
    }
    if _cited(block, path):
        found["citations"] = {"enabled": True}
    return {"searchResult": found}


def _cited(block: Mapping[str, Any], path: str) -> bool:
    told = block.get("citations")
    if told is None:
        return False
    return boolean(given(mapping(told, f"{path}.citations"), "enabled", False), f"{path}.citations.enabled")


def _tool_result(block: Mapping[str, Any], path: str) -> list[Block]:
    told = block.get("content") or ""
    blocks = said(told) if isinstance(told, str) else _blocks(told, f"{path}.content", _RESULTS)
    points = [one for one in blocks if "cachePoint" in one]
    content = [one for one in blocks if "cachePoint" not in one] or [{"text": "(nothing)"}]
    result: Block = {"toolUseId": tool_use_id(block.get("tool_use_id"), f"{path}.tool_use_id"), "content": content}
    if boolean(block.get("is_error") or False, f"{path}.is_error"):
        result["status"] = "error"
    # Inside of a result Converse has no place for cache points.
    return [{"toolResult": result}, *points[:1]]


def tool_config(
    tools: object, choice: Mapping[str, Any], messages: list[Block], drop_params: bool, *, may_force: bool
) -> Block | None:
    """Return ``toolConfig``, or None where there is no tool.

    Args:
        choice: ``tool_choice``; may_force: a model can be made to call a tool, which one that thinks cannot.

    Raises:
        InvalidRequest: naming the member that is wrong.
    """
    specs: list[Block] = []
    for at, one in enumerate(items(tools, "tools")):
        specs += _tool(mapping(one, f"tools.{at}"), f"tools.{at}", drop_params)
    kind = one_of(given(choice, "type", "auto"), "tool_choice.type", ("auto", "any", "tool", "none"))
    used = tools_used(messages)
    if kind == "none":
        if used and not drop_params:
            wrong("tool_choice", "cannot be none after messages in which tools were used: Bedrock has no such choice")
        specs = specs if used else []
    known = {spec["toolSpec"]["name"] for spec in specs if "toolSpec" in spec}
    # Bedrock wants every tool that was used to be declared.
    specs += [
        {"toolSpec": {"name": name, "inputSchema": {"json": {"type": "object"}}}} for name in used if name not in known
    ]
    if not specs:
        return None
    config: Block = {"tools": specs}
    if kind == "any" and may_force:
        config["toolChoice"] = {"any": {}}
    elif kind == "tool":
        name = text(choice.get("name"), "tool_choice.name")
        if may_force:
            config["toolChoice"] = {"tool": {"name": name}}
    return config


def _tool(tool: Mapping[str, Any], path: str, drop_params: bool) -> list[Block]:
    kind = tool.get("type")
    if kind not in (None, "custom"):
        if drop_params:
            return []
        wrong(
            f"{path}.type",
            "must be custom: tools of Anthropic's own are none of this model's (drop_params: true under "
            "litellm_settings leaves them out)",
        )
    name = tool_name(tool.get("name"), f"{path}.name")
    spec: Block = {"name": name, "inputSchema": {"json": mapping(tool.get("input_schema"), f"{path}.input_schema")}}
    if tool.get("description"):
        spec["description"] = text(tool["description"], f"{path}.description")
    if boolean(tool.get("strict") or False, f"{path}.strict"):
        spec["strict"] = True
    return [{"toolSpec": spec}, *cache_point(tool, path)]
