"""Anthropic's messages, as InvokeModel carries them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bedrock_gateway.simulator.conversation import (
    MAX_CACHE_POINTS,
    asks_for_reasoning,
    compiled,
    mapping,
    positive,
    strings,
)
from bedrock_gateway.simulator.converse import Exchange
from bedrock_gateway.simulator.counting import (
    DOCUMENT_TOKENS,
    CachePoint,
    Counts,
    Part,
    json_part,
    media_part,
    text_part,
)
from bedrock_gateway.simulator.dialogue import (
    Block,
    Question,
    Reasoning,
    Stop,
    Text,
    Tool,
    ToolUse,
    input_pieces,
    pieces,
)
from bedrock_gateway.simulator.families.shapes import Chunk, TextFamily, metrics
from bedrock_gateway.simulator.protocol import require

__all__ = ["ANTHROPIC"]


def parse(body: dict[str, Any]) -> Question:
    """Read a messages request."""
    require(isinstance(body.get("anthropic_version"), str), "anthropic_version: Field required")
    require(body.get("max_tokens") is not None, "max_tokens: Field required")
    messages = body.get("messages")
    require(messages is not None, "messages: Field required")
    require(isinstance(messages, list), "messages: Input should be a valid list")
    require(bool(messages), "messages: at least one message is required")
    parts: list[Part | CachePoint] = []
    tools: list[Tool] = []
    given = body.get("tools")
    require(given is None or isinstance(given, list), "tools: Input should be a valid list")
    for index, item in enumerate(given or ()):
        tool = mapping(item, f"tools.{index}")
        name = tool.get("name")
        require(isinstance(name, str) and bool(name), f"tools.{index}.name: Field required")
        parts.append(json_part(_without_cache(tool)))
        _cached(tool, parts)
        if "input_schema" in tool:
            tools.append(Tool(str(name), mapping(tool["input_schema"], f"tools.{index}.input_schema")))
    system = body.get("system")
    for index, block in enumerate(_blocks(system, "system") if system else ()):
        _read(block, f"system.{index}", parts)
    text = ""
    results: tuple[str, ...] = ()
    for index, item in enumerate(messages or ()):
        message = mapping(item, f"messages.{index}")
        role = message.get("role")
        require(
            role in ("user", "assistant", "system"), f"messages.{index}.role: Input should be 'user' or 'assistant'"
        )
        require("content" in message, f"messages.{index}.content: Field required")
        blocks = _blocks(message["content"], f"messages.{index}.content")
        require(bool(blocks) or role == "assistant", f"messages.{index}: user messages must have non-empty content")
        said = [_read(block, f"messages.{index}.content.{place}", parts) for place, block in enumerate(blocks)]
        if role == "user":
            text = "\n".join(spoken for spoken, _ in said if spoken)
            results = tuple(result for _, result in said if result is not None)
    require(
        sum(isinstance(part, CachePoint) for part in parts) <= MAX_CACHE_POINTS,
        "A maximum of 4 blocks with cache_control may be provided.",
    )
    form = mapping(mapping(body.get("output_config"), "output_config").get("format"), "output_config.format")
    choice = mapping(body.get("tool_choice"), "tool_choice")
    forced = {"any": "*", "tool": str(choice.get("name"))}.get(str(choice.get("type")))
    require(
        forced in (None, "*") or any(tool.name == forced for tool in tools),
        f"Tool '{forced}' not found in provided tools",
    )
    return Question(
        text=text,
        schema=compiled(form.get("schema")) if form else None,
        parts=tuple(parts),
        max_tokens=positive(body["max_tokens"], "max_tokens"),
        stop_sequences=strings(body.get("stop_sequences"), "stop_sequences"),
        tools=() if choice.get("type") == "none" else tuple(tools),
        forced_tool=forced if tools else None,
        tool_results=results,
        reasoning=asks_for_reasoning(body),
    )


def _blocks(value: Any, place: str) -> list[Any]:
    if isinstance(value, str):
        return [{"type": "text", "text": value}] if value else []
    require(isinstance(value, list), f"{place}: Input should be a valid list")
    return list(value)


def _without_cache(block: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in block.items() if name != "cache_control"}


def _cached(block: dict[str, Any], parts: list[Part | CachePoint]) -> None:
    control = mapping(block.get("cache_control"), "cache_control")
    if control:
        ttl = control.get("ttl") or "5m"
        require(ttl in ("5m", "1h"), "cache_control.ephemeral.ttl: Input should be '5m' or '1h'")
        parts.append(CachePoint(str(ttl)))


def _read(item: Any, place: str, parts: list[Part | CachePoint]) -> tuple[str, str | None]:
    block = mapping(item, place)
    kind = block.get("type")
    spoken, result = "", None
    if kind == "text":
        text = block.get("text")
        require(isinstance(text, str), f"{place}.text: Field required")
        require(bool(str(text).strip()), f"{place}: text content blocks must be non-empty")
        spoken = str(text)
        parts.append(text_part(spoken))
    elif kind in ("image", "document"):
        require(isinstance(block.get("source"), dict), f"{place}.{kind}.source: Field required")
        parts.append(media_part(block["source"], **({"most": DOCUMENT_TOKENS} if kind == "document" else {})))
    elif kind == "tool_result":
        require(bool(block.get("tool_use_id")), f"{place}.tool_result.tool_use_id: Field required")
        inner: list[Part | CachePoint] = []
        said = [_read(part, place, inner)[0] for part in _blocks(block.get("content") or "", f"{place}.content")]
        parts.extend(inner)
        result = " ".join(said)
    else:
        require(isinstance(kind, str), f"{place}.type: Field required")
        parts.append(json_part(_without_cache(block)))
    _cached(block, parts)
    return spoken, result


def usage(counts: Counts) -> dict[str, Any]:
    """Give ``usage`` with its cache members."""
    writes = dict(counts.cache_writes)
    return {
        "input_tokens": counts.input,
        "cache_creation_input_tokens": counts.cache_write,
        "cache_read_input_tokens": counts.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": writes.get("5m", 0),
            "ephemeral_1h_input_tokens": writes.get("1h", 0),
        },
        "output_tokens": counts.output,
    }


def _content(block: Block) -> dict[str, Any]:
    match block:
        case Text(text):
            return {"type": "text", "text": text}
        case Reasoning(text, signature):
            return {"type": "thinking", "thinking": text, "signature": signature}
        case ToolUse(_, name, tool_input):
            return {"type": "tool_use", "id": _tool_id(block), "name": name, "input": tool_input}


def _tool_id(block: ToolUse) -> str:
    return "toolu_bdrk_01" + block.id.removeprefix("tooluse_")


def _message(exchange: Exchange, content: list[dict[str, Any]], spent: dict[str, Any]) -> dict[str, Any]:
    return {
        "model": exchange.model,
        "id": f"msg_bdrk_01{exchange.digest[:22]}",
        "type": "message",
        "role": "assistant",
        "content": content,
        "stop_reason": None,
        "stop_sequence": None,
        "usage": spent,
    }


def _stop(exchange: Exchange) -> dict[str, Any]:
    stop = exchange.reply.stop
    return {
        "stop_reason": Stop.END_TURN.value if stop is Stop.GUARDRAIL else stop.value,
        "stop_sequence": exchange.reply.stop_sequence,
    }


def whole(exchange: Exchange) -> dict[str, Any]:
    """Write a message."""
    content = [_content(block) for block in exchange.reply.blocks]
    return {**_message(exchange, content, usage(exchange.counts)), **_stop(exchange)}


def chunks(exchange: Exchange) -> Iterator[Chunk]:
    """Write the events of a message, metrics in the last."""
    # The output tokens of message_start are a placeholder; those of message_delta are the truth.
    placeholder = {**usage(exchange.counts), "output_tokens": min(1, exchange.counts.output)}
    yield {"type": "message_start", "message": _message(exchange, [], placeholder)}, False
    for index, block in enumerate(exchange.reply.blocks):
        empty: dict[str, Any]
        deltas: list[dict[str, Any]]
        match block:
            case Text(text):
                empty = {"type": "text", "text": ""}
                deltas = [{"type": "text_delta", "text": piece} for piece in pieces(text)]
            case Reasoning(text, signature):
                empty = {"type": "thinking", "thinking": "", "signature": ""}
                deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(text)]
                deltas.append({"type": "signature_delta", "signature": signature})
            case ToolUse(_, name, _):
                empty = {"type": "tool_use", "id": _tool_id(block), "name": name, "input": {}}
                deltas = [
                    {"type": "input_json_delta", "partial_json": piece}
                    for piece in ["", *input_pieces(block.input_json)]
                ]
        yield {"type": "content_block_start", "index": index, "content_block": empty}, False
        if index == 0:
            yield {"type": "ping"}, False
        for delta in deltas:
            counted = delta["type"] != "signature_delta" and delta.get("partial_json") != ""
            yield {"type": "content_block_delta", "index": index, "delta": delta}, counted
        yield {"type": "content_block_stop", "index": index}, False
    spent = {"output_tokens": exchange.counts.output}
    yield {"type": "message_delta", "delta": _stop(exchange), "usage": spent}, False
    yield {"type": "message_stop", **metrics(exchange)}, False


ANTHROPIC = TextFamily(parse=parse, whole=whole, chunks=chunks)
