"""Claude's words: Anthropic's messages.

Source: Bedrock user guide, "Anthropic Claude Messages API"; Anthropic API reference, "Create a Message", "Streaming
Messages"; bedrock-runtime service-2.json (``ConverseRequest``, ``ConverseResponse``, ``ConverseStreamOutput``).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from typing import Any

from bedrock_gateway.dialects.families.shared import (
    added,
    intervened,
    media_type,
    no_place,
    schema_of,
    source_of,
    stopped,
)
from bedrock_gateway.dialects.families.wishes import ANSWER
from bedrock_gateway.dialects.fields import Block, mapping

__all__ = ["CLAUDE"]

_VERSION = "bedrock-2023-05-31"
_OURS = "Claude's own body"
_INFERENCE = {"temperature": "temperature", "topP": "top_p", "stopSequences": "stop_sequences"}
#: Documents that Claude reads as text.
_TEXTS = frozenset({"txt", "md", "csv", "html"})
#: Why a message ended, where Converse has another word for it.
_REASONS = {"pause_turn": "end_turn", "refusal": "content_filtered"}


class Claude:
    """As ``bodies.Body``."""

    def request(self, converse: Block) -> Block:
        """As ``bodies.Body``: Claude takes no request that does not say how long its answer may be."""
        inference = converse.get("inferenceConfig", {})
        told: Block = {"anthropic_version": _VERSION, "max_tokens": inference.get("maxTokens", ANSWER)}
        if "system" in converse:
            told["system"] = _blocks(converse["system"])
        told["messages"] = [
            {"role": turn["role"], "content": _blocks(turn["content"])} for turn in converse["messages"]
        ]
        told |= {name: inference[ours] for ours, name in _INFERENCE.items() if ours in inference}
        if "toolConfig" in converse:
            told |= _tools(converse["toolConfig"])
        more = dict(converse.get("additionalModelRequestFields", {}))
        if form := schema_of(converse):
            config = {"format": {"type": "json_schema", "schema": form[1]}}
            more["output_config"] = {**mapping(more.get("output_config", {}), "output_config"), **config}
        return added(told, more)

    def answer(self, told: Block) -> Block:
        """As ``bodies.Body``."""
        content = [block for one in told["content"] if (block := _block(one)) is not None]
        return stopped(content, _reason(told), told=told.get("stop_reason") or intervened(told))

    def events(self) -> _Events:
        """As ``bodies.Body``."""
        return _Events()


class _Events:
    """As ``bodies.Events``."""

    def read(self, chunk: Block) -> Iterable[tuple[str, Block]]:
        """As ``bodies.Events``."""
        kind = chunk.get("type")
        if kind == "content_block_delta":
            delta = _delta(chunk["delta"])
            return [] if delta is None else [_at(chunk, "contentBlockDelta", {"delta": delta})]
        if kind == "message_start":
            return [("messageStart", {"role": "assistant"})]
        if kind == "content_block_start":
            return _begun(chunk)
        if kind == "content_block_stop":
            return [_at(chunk, "contentBlockStop", {})]
        if kind == "message_delta":
            return [("messageStop", {"stopReason": _reason(chunk["delta"])})]
        return []


def _reason(told: Block) -> str:
    reason = told.get("stop_reason") or "end_turn"
    return _REASONS.get(reason, reason)


def _blocks(blocks: Iterable[Block]) -> list[Block]:
    """Return what Claude is told for blocks of Converse: a cache point is a mark of what stands before it."""
    told: list[Block] = []
    for block in blocks:
        if "cachePoint" in block:
            if told:
                _mark(told[-1], block["cachePoint"])
        else:
            told.append(_content(block))
    return told


def _mark(block: Block, point: Block) -> None:
    block["cache_control"] = {"type": "ephemeral"} | ({"ttl": point["ttl"]} if "ttl" in point else {})


def _content(block: Block) -> Block:
    if "text" in block:
        return {"type": "text", "text": block["text"]}
    if "image" in block:
        inner = block["image"]
        return {"type": "image", "source": _base64(media_type(inner["format"]), source_of(inner, _OURS))}
    if "document" in block:
        return _document(block["document"])
    if "toolUse" in block:
        use = block["toolUse"]
        return {"type": "tool_use", "id": use["toolUseId"], "name": use["name"], "input": use["input"]}
    if "toolResult" in block:
        result = block["toolResult"]
        content = [_result(one) for one in result["content"]]
        told: Block = {"type": "tool_result", "tool_use_id": result["toolUseId"], "content": content}
        return told | ({"is_error": True} if result.get("status") == "error" else {})
    if "reasoningContent" in block:
        return _thought(block["reasoningContent"])
    no_place(f"{next(iter(block), 'empty')} blocks", _OURS)


def _base64(kind: str, data: str) -> Block:
    return {"type": "base64", "media_type": kind, "data": data}


def _document(document: Block) -> Block:
    form, data = document["format"], source_of(document, _OURS)
    if form == "pdf":
        source = _base64("application/pdf", data)
    elif form in _TEXTS:
        words = base64.b64decode(data).decode(errors="replace")
        source = {"type": "text", "media_type": "text/plain", "data": words}
    else:
        no_place(f"documents of {form}", _OURS)
    return {"type": "document", "source": source, "title": document["name"]}


def _result(block: Block) -> Block:
    if "json" in block:
        # No longer than what a budget has counted.
        return {"type": "text", "text": json.dumps(block["json"], ensure_ascii=False, separators=(",", ":"))}
    return _content(block)


def _thought(thought: Block) -> Block:
    if "redactedContent" in thought:
        return {"type": "redacted_thinking", "data": thought["redactedContent"]}
    said = thought["reasoningText"]
    return {"type": "thinking", "thinking": said["text"], "signature": said.get("signature", "")}


def _tools(config: Block) -> Block:
    tools: list[Block] = []
    for one in config["tools"]:
        if "cachePoint" in one:
            if tools:
                _mark(tools[-1], one["cachePoint"])
            continue
        spec = one["toolSpec"]
        tool = {"name": spec["name"], "input_schema": spec["inputSchema"]["json"]}
        tools.append(tool | {name: spec[name] for name in ("description", "strict") if name in spec})
    told: Block = {"tools": tools}
    for kind, choice in config.get("toolChoice", {}).items():
        told["tool_choice"] = {"type": kind} | ({"name": choice["name"]} if kind == "tool" else {})
    return told


def _block(told: Block) -> Block | None:
    """Return the block of Converse for what Claude says; None for what Converse has none for."""
    kind = told["type"]
    if kind == "text":
        return {"text": told["text"]}
    if kind == "tool_use":
        return {"toolUse": {"toolUseId": told["id"], "name": told["name"], "input": told["input"]}}
    if kind == "thinking":
        said = {"text": told["thinking"], "signature": told.get("signature", "")}
        return {"reasoningContent": {"reasoningText": said}}
    return {"reasoningContent": {"redactedContent": told["data"]}} if kind == "redacted_thinking" else None


def _begun(chunk: Block) -> Iterator[tuple[str, Block]]:
    """Return the beginning of a block, and what it says already: most begin empty."""
    block = chunk["content_block"]
    kind = block["type"]
    if kind == "tool_use":
        start = {"toolUse": {"toolUseId": block["id"], "name": block["name"]}}
        yield _at(chunk, "contentBlockStart", {"start": start})
    elif kind == "redacted_thinking":
        yield _at(chunk, "contentBlockDelta", {"delta": {"reasoningContent": {"redactedContent": block["data"]}}})
    elif kind == "thinking":
        for name, ours in (("thinking", "text"), ("signature", "signature")):
            if block.get(name):
                yield _at(chunk, "contentBlockDelta", {"delta": {"reasoningContent": {ours: block[name]}}})
    elif block.get("text"):
        yield _at(chunk, "contentBlockDelta", {"delta": {"text": block["text"]}})


def _at(chunk: Block, kind: str, told: Block) -> tuple[str, Block]:
    return kind, {"contentBlockIndex": chunk["index"], **told}


def _delta(delta: Block) -> dict[str, Any] | None:
    kind = delta["type"]
    if kind == "text_delta":
        return {"text": delta["text"]}
    if kind == "input_json_delta":
        return {"toolUse": {"input": delta["partial_json"]}}
    if kind == "thinking_delta":
        return {"reasoningContent": {"text": delta["thinking"]}}
    return {"reasoningContent": {"signature": delta["signature"]}} if kind == "signature_delta" else None


CLAUDE = Claude()
