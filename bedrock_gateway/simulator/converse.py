"""Converse and ConverseStream: replies in the shape of Converse, whole and as events.

Source: botocore service model of bedrock-runtime (``ConverseResponse``, ``ConverseStreamOutput``); order of events
as AWS sends them: messageStart, per block start (tools only), deltas and stop, messageStop, metadata. Every payload
carries the padding member ``p``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

from bedrock_gateway.simulator import guardrails
from bedrock_gateway.simulator.conversation import mapping
from bedrock_gateway.simulator.counting import Counts, encode, tokens_of
from bedrock_gateway.simulator.dialogue import Block, Reasoning, Reply, Text, ToolUse, input_pieces, pieces
from bedrock_gateway.simulator.protocol import Event, padded, require

__all__ = ["Exchange", "answer_whole", "bare_events", "content_block", "events", "guard", "usage_of"]


@attrs.frozen(kw_only=True)
class Exchange:
    """One question answered: what every family needs to write its answer.

    Attributes:
        model: the id as asked for.
        reply: what the model says.
        counts: tokens.
        digest: hex digest of the request's body, from which ids in the answer are made.
        latency_ms, first_byte_ms: what the pace makes of the reply.
        body: the request's JSON.
    """

    model: str
    reply: Reply
    counts: Counts
    digest: str
    latency_ms: int
    first_byte_ms: int
    body: dict[str, Any]


def usage_of(counts: Counts) -> dict[str, Any]:
    """Give ``usage``; cache members are always there, ``cacheDetails`` only with writes."""
    usage: dict[str, Any] = {
        "inputTokens": counts.input,
        "outputTokens": counts.output,
        "totalTokens": counts.total,
        "cacheReadInputTokens": counts.cache_read,
        "cacheWriteInputTokens": counts.cache_write,
    }
    if counts.cache_writes:
        usage["cacheDetails"] = [{"ttl": ttl, "inputTokens": tokens} for ttl, tokens in counts.cache_writes]
    return usage


def guard(body: dict[str, Any], text: str) -> guardrails.Verdict | None:
    """Let the guardrail a request names look at its text; None where it names none."""
    config = mapping(body.get("guardrailConfig"), "guardrailConfig")
    if not config:
        return None
    guardrails.check_identity(config.get("guardrailIdentifier"), config.get("guardrailVersion"))
    return guardrails.check(text)


def extras(exchange: Exchange) -> dict[str, Any]:
    """Give what the answer echoes or traces: performanceConfig, serviceTier, guardrail trace."""
    body, found = exchange.body, {}
    latency = mapping(body.get("performanceConfig"), "performanceConfig").get("latency")
    if latency is not None:
        require(latency in ("standard", "optimized"), "performanceConfig.latency: must be standard or optimized.")
        found["performanceConfig"] = {"latency": latency}
    tier = mapping(body.get("serviceTier"), "serviceTier").get("type")
    if tier is not None:
        require(tier in ("priority", "default", "flex", "reserved"), "serviceTier.type: unknown service tier.")
        found["serviceTier"] = {"type": tier}
    config = mapping(body.get("guardrailConfig"), "guardrailConfig")
    if config.get("trace") in ("enabled", "enabled_full"):
        identity = str(config["guardrailIdentifier"])
        verdict = guardrails.check(question_text(exchange.body))
        trace: dict[str, Any] = {"inputAssessment": {identity: guardrails.invocation_assessment(verdict)}}
        if not verdict.intervened:
            said = guardrails.check(exchange.reply.text)
            trace["modelOutput"] = [exchange.reply.text]
            trace["outputAssessments"] = {identity: [guardrails.invocation_assessment(said)]}
        found["trace"] = {"guardrail": trace}
    return found


def question_text(body: dict[str, Any]) -> str:
    """Join the texts of the last user message of a checked request."""
    for message in reversed(body["messages"]):
        if message["role"] == "user":
            return "\n".join(block["text"] for block in message["content"] if isinstance(block.get("text"), str))
    return ""


def content_block(block: Block) -> dict[str, Any]:
    """Write a block as a ``ContentBlock``."""
    match block:
        case Text(text):
            return {"text": text}
        case Reasoning(text, signature):
            return {"reasoningContent": {"reasoningText": {"text": text, "signature": signature}}}
        case ToolUse(identity, name, tool_input):
            return {"toolUse": {"toolUseId": identity, "name": name, "input": tool_input}}


def answer_whole(exchange: Exchange) -> dict[str, Any]:
    """Write the body of a Converse answer."""
    return {
        "metrics": {"latencyMs": exchange.latency_ms},
        "output": {
            "message": {"content": [content_block(block) for block in exchange.reply.blocks], "role": "assistant"}
        },
        "stopReason": exchange.reply.stop.value,
        **_stop_fields(exchange),
        **extras(exchange),
        "usage": usage_of(exchange.counts),
    }


def _stop_fields(exchange: Exchange) -> dict[str, Any]:
    paths, found = exchange.body.get("additionalModelResponseFieldPaths"), dict[str, Any]()
    if not isinstance(paths, list):
        return {}
    if "/stop_sequence" in paths and exchange.reply.stop_sequence is not None:
        found["stop_sequence"] = exchange.reply.stop_sequence
    thought = sum(tokens_of(len(encode(block.text))) for block in exchange.reply.blocks if isinstance(block, Reasoning))
    if "/usage/output_tokens_details" in paths and thought:
        found["usage"] = {"output_tokens_details": {"thinking_tokens": thought}}
    return {"additionalModelResponseFields": found} if found else {}


def events(exchange: Exchange) -> Iterator[Event]:
    """Give the events of a ConverseStream answer; what can be refused is checked before the first."""
    metadata = {
        "usage": usage_of(exchange.counts),
        "metrics": {"latencyMs": exchange.latency_ms},
        **extras(exchange),
    }
    return (
        Event(type=event.type, payload=padded(event.payload), paced=event.paced)
        for event in bare_events(exchange, metadata)
    )


def bare_events(exchange: Exchange, metadata: dict[str, Any]) -> Iterator[Event]:
    """Give the events without padding; ``metadata`` is the payload of the last."""
    yield Event(type="messageStart", payload={"role": "assistant"})
    for index, block in enumerate(exchange.reply.blocks):
        if isinstance(block, ToolUse):
            start = {"toolUse": {"toolUseId": block.id, "name": block.name}}
            yield Event(type="contentBlockStart", payload={"contentBlockIndex": index, "start": start})
        for delta in block_deltas(block):
            payload = {"contentBlockIndex": index, "delta": delta}
            yield Event(type="contentBlockDelta", payload=payload, paced=True)
        if isinstance(block, Reasoning):
            signature = {"reasoningContent": {"signature": block.signature}}
            yield Event(type="contentBlockDelta", payload={"contentBlockIndex": index, "delta": signature})
        yield Event(type="contentBlockStop", payload={"contentBlockIndex": index})
    yield Event(type="messageStop", payload={"stopReason": exchange.reply.stop.value, **_stop_fields(exchange)})
    yield Event(type="metadata", payload=metadata)


def block_deltas(block: Block) -> Iterator[dict[str, Any]]:
    """Give a block's deltas, the signature of reasoning left out."""
    match block:
        case Text(text):
            yield from ({"text": piece} for piece in pieces(text))
        case Reasoning(text, _):
            yield from ({"reasoningContent": {"text": piece}} for piece in pieces(text))
        case ToolUse():
            yield from ({"toolUse": {"input": piece}} for piece in input_pieces(block.input_json))
