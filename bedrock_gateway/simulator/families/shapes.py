"""What a family of InvokeModel is: how its body is read, how its answer is written.

Source of all shapes in this folder: AWS user guide, inference request parameters and response fields, by provider;
public captures for ``amazon-bedrock-invocationMetrics`` (in the last chunk of every stream).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import attrs

from bedrock_gateway.simulator.converse import Exchange
from bedrock_gateway.simulator.dialogue import Question, Stop
from bedrock_gateway.simulator.models import Model
from bedrock_gateway.simulator.protocol import invalid

__all__ = ["Chunk", "PlainFamily", "TextFamily", "malformed", "metrics", "required", "stop_word"]

# One chunk of a stream: its JSON, and whether it is a delta.
Chunk = tuple[dict[str, Any], bool]


@attrs.frozen(kw_only=True)
class TextFamily:
    """A family that answers with text: body to question, exchange to body, exchange to chunks."""

    parse: Callable[[dict[str, Any]], Question]
    whole: Callable[[Exchange], dict[str, Any]]
    chunks: Callable[[Exchange], Iterator[Chunk]]


@attrs.frozen(kw_only=True)
class PlainFamily:
    """A family that answers with vectors, scores or pictures: (model, body, seed) to (body, input tokens or None)."""

    answer: Callable[[Model, dict[str, Any], int], tuple[dict[str, Any], int | None]]


def metrics(exchange: Exchange) -> dict[str, Any]:
    """Give the member that ends every invoke stream."""
    counts = exchange.counts
    found: dict[str, Any] = {
        "inputTokenCount": counts.input,
        "outputTokenCount": counts.output,
        "invocationLatency": exchange.latency_ms,
        "firstByteLatency": exchange.first_byte_ms,
    }
    if counts.cache_read or counts.cache_write:
        found["cacheReadInputTokenCount"] = counts.cache_read
        found["cacheWriteInputTokenCount"] = counts.cache_write
    return {"amazon-bedrock-invocationMetrics": found}


def malformed(detail: str) -> Exception:
    """Make the 400 most families answer to a body that does not fit their schema."""
    return invalid(f"Malformed input request: {detail}, please reformat your input and try again.")


def required(body: dict[str, Any], name: str) -> str:
    """Take a required string out of a body."""
    value = body.get(name)
    if value is None:
        raise malformed(f"#: required key [{name}] not found")
    if not isinstance(value, str):
        raise malformed(f"#/{name}: expected type: String")
    if not value:
        raise malformed(f"#/{name}: expected minLength: 1, actual: 0")
    return value


def stop_word(stop: Stop, *, end: str, length: str, tools: str = "tool_calls") -> str:
    """Spell a stop reason in a family's words."""
    if stop is Stop.MAX_TOKENS:
        return length
    return tools if stop is Stop.TOOL_USE else end
