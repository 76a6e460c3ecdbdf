"""Cohere's Command R and R+: a message, the talk before it, tools and their results.

Source: AWS user guide, "Cohere Command R and Command R+ models": a history of USER and CHATBOT; where a tool is called
``text`` is empty; results need the tools beside them; members it does not know are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bedrock_gateway.simulator.conversation import mapping, positive, strings
from bedrock_gateway.simulator.converse import Exchange
from bedrock_gateway.simulator.counting import CachePoint, Part, json_part, text_part
from bedrock_gateway.simulator.dialogue import Question, Tool
from bedrock_gateway.simulator.families.prompt import cohere_id, cohere_stop, spoken
from bedrock_gateway.simulator.families.shapes import Chunk, TextFamily, malformed, metrics, required
from bedrock_gateway.simulator.protocol import require

__all__ = ["COHERE_CHAT"]

MEMBERS = frozenset(
    {
        *("message", "chat_history", "documents", "search_queries_only", "preamble", "max_tokens", "temperature"),
        *("p", "k", "prompt_truncation", "frequency_penalty", "presence_penalty", "seed", "return_prompt", "tools"),
        *("tool_results", "stop_sequences", "raw_prompting"),
    }
)
# Types of parameters are Python's.
TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "list": "array", "dict": "object"}


def parse(body: dict[str, Any]) -> Question:
    """Read a request."""
    text = required(body, "message")
    for name in sorted(body.keys() - MEMBERS):
        # A guardrail's configuration is Bedrock's own, and never reaches the model.
        if not name.startswith("amazon-bedrock-"):
            raise malformed(f"#: extraneous key [{name}] is not permitted")
    for index, said in enumerate(_list(body, "chat_history")):
        require(mapping(said, "chat_history").get("role") in ("USER", "CHATBOT"), f"chat_history.{index}.role: unknown")
    tools = tuple(_tool(mapping(tool, "tools")) for tool in _list(body, "tools"))
    results = _list(body, "tool_results")
    require(not results or bool(tools), "tool_results: tools must be specified too")
    parts: list[Part | CachePoint] = [
        json_part(body[name])
        for name in ("tools", "preamble", "documents", "chat_history", "tool_results")
        if body.get(name)
    ]
    parts.append(text_part(text))
    return Question(
        text=text,
        parts=tuple(parts),
        max_tokens=positive(body.get("max_tokens"), "max_tokens"),
        stop_sequences=strings(body.get("stop_sequences"), "stop_sequences"),
        tools=tools,
        tool_results=tuple(
            str(mapping(output, "tool_results.outputs").get("text", output))
            for result in results
            for output in _list(mapping(result, "tool_results"), "outputs")
        ),
    )


def _list(body: dict[str, Any], name: str) -> list[Any]:
    found = body.get(name)
    require(found is None or isinstance(found, list), f"{name}: expected a list")
    return found or []


def _tool(tool: dict[str, Any]) -> Tool:
    require(isinstance(tool.get("name"), str), "tools.name: is required")
    definitions = mapping(tool.get("parameter_definitions"), "tools.parameter_definitions")
    kinds = {name: mapping(told, "tools.parameter_definitions").get("type") for name, told in definitions.items()}
    return Tool(tool["name"], {"properties": {name: {"type": TYPES.get(str(kind))} for name, kind in kinds.items()}})


def _calls(exchange: Exchange) -> list[dict[str, Any]]:
    return [{"name": block.name, "parameters": block.input} for block in exchange.reply.tool_uses]


def whole(exchange: Exchange) -> dict[str, Any]:
    """Write an answer."""
    identity, calls = cohere_id(exchange), _calls(exchange)
    text = "" if calls else exchange.reply.text
    answer: dict[str, Any] = {
        "response_id": identity,
        "text": text,
        "generation_id": identity,
        "chat_history": [
            {"role": "USER", "message": exchange.body["message"]},
            {"role": "CHATBOT", "message": text},
        ],
        "finish_reason": "COMPLETE" if calls else cohere_stop(exchange),
    }
    return {**answer, "tool_calls": calls} if calls else answer


def chunks(exchange: Exchange) -> Iterator[Chunk]:
    """Write the events of a stream."""
    answer = whole(exchange)
    yield {"event_type": "stream-start", "generation_id": answer["generation_id"], "is_finished": False}, False
    if "tool_calls" in answer:
        calls = answer["tool_calls"]
        yield {"event_type": "tool-calls-generation", "tool_calls": calls, "is_finished": False}, True
    else:
        for piece, _ in spoken(exchange):
            yield {"event_type": "text-generation", "text": piece, "is_finished": False}, True
    end = {"event_type": "stream-end", "finish_reason": answer["finish_reason"], "is_finished": True}
    yield {**end, "response": answer, **metrics(exchange)}, False


COHERE_CHAT = TextFamily(parse=parse, whole=whole, chunks=chunks)
