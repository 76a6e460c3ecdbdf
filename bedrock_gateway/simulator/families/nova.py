"""Amazon Nova's own messages, as InvokeModel carries them: Converse's shape with other names for the cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bedrock_gateway.simulator.conversation import parse_conversation
from bedrock_gateway.simulator.converse import Exchange, bare_events, content_block
from bedrock_gateway.simulator.counting import Counts
from bedrock_gateway.simulator.dialogue import Question, Stop
from bedrock_gateway.simulator.families.shapes import Chunk, TextFamily, malformed, metrics

__all__ = ["NOVA"]


def parse(body: dict[str, Any]) -> Question:
    """Read a Nova request."""
    if body.get("messages") is None:
        raise malformed("#: required key [messages] not found")
    return parse_conversation(body, max_tokens_names=("maxTokens", "max_new_tokens"))


def usage(counts: Counts) -> dict[str, int]:
    """Give ``usage`` with Nova's names of the cache members."""
    return {
        "inputTokens": counts.input,
        "outputTokens": counts.output,
        "totalTokens": counts.total,
        "cacheReadInputTokenCount": counts.cache_read,
        "cacheWriteInputTokenCount": counts.cache_write,
    }


def whole(exchange: Exchange) -> dict[str, Any]:
    """Write an answer."""
    stop = exchange.reply.stop
    return {
        "output": {
            "message": {"content": [content_block(block) for block in exchange.reply.blocks], "role": "assistant"}
        },
        "stopReason": Stop.END_TURN.value if stop is Stop.GUARDRAIL else stop.value,
        "usage": usage(exchange.counts),
    }


def chunks(exchange: Exchange) -> Iterator[Chunk]:
    """Write the chunks of an answer: Converse's events, each under its name."""
    for event in bare_events(exchange, {"usage": usage(exchange.counts), "metrics": {}, "trace": {}}):
        last = metrics(exchange) if event.type == "metadata" else {}
        yield {event.type: event.payload, **last}, event.paced


NOVA = TextFamily(parse=parse, whole=whole, chunks=chunks)
