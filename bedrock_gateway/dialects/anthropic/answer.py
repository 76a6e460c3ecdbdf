"""Answers of Converse as Anthropic's messages: whole ones, and streams as server-sent events.

Knows both forms of an answer. A stream's events leave as they arrive, but for the last two: Converse tells why an
answer ended and what it used in two messages, Anthropic in one event.

Source: bedrock-runtime service-2.json (``ConverseResponse``, ``ConverseStreamOutput``); Anthropic API reference,
"Create a Message", "Streaming Messages".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bedrock_gateway.dialects.anthropic.citations import cited
from bedrock_gateway.dialects.anthropic.errors import error_event
from bedrock_gateway.dialects.converse_answers import blocks_of, checked, list_, number_, object_, text_
from bedrock_gateway.dialects.fields import Block
from bedrock_gateway.dialects.speech import Fit, Whole
from bedrock_gateway.dialects.streams import Streamed

__all__ = ["MessageRelay", "MessageStream"]


_REASONS = {
    "end_turn": "end_turn",
    "stop_sequence": "stop_sequence",
    "max_tokens": "max_tokens",
    "tool_use": "tool_use",
    "model_context_window_exceeded": "model_context_window_exceeded",
    "guardrail_intervened": "refusal",
    "content_filtered": "refusal",
}
_dumps = json.JSONEncoder(separators=(",", ":")).encode


class MessageRelay(Whole):
    """Relay of one attempt whose answer comes whole; as ``speech.Relay``."""

    operation = "Converse"

    def __init__(self, call_id: str, model: str, fit: Fit | None = None) -> None:
        super().__init__(fit)
        self._call_id, self._model = call_id, model

    def receive_eof(self) -> bytes:
        """As ``speech.Relay``.

        Raises:
            ValueError, LookupError, TypeError, AttributeError: it is no answer of Converse.
        """
        return _dumps(_whole(json.loads(self.answer), self._call_id, self._model)).encode()


def _whole(answer: Mapping[str, Any], call_id: str, model: str) -> Block:
    """Return a message for an answer of Converse."""
    content = [told for block in blocks_of(answer) if (told := _content(block)) is not None]
    return _message(call_id, model, content) | _end(answer) | {"usage": _usage(answer.get("usage"))}


def _message(call_id: str, model: str, content: list[Block]) -> Block:
    return {
        "id": f"msg_{call_id}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": None,
        "stop_sequence": None,
        "usage": _usage({}),
    }


def _content(block: Mapping[str, Any]) -> Block | None:
    """Return a block of Anthropic's; None for what it has none for."""
    if "text" in block:
        return {"type": "text", "text": checked(block["text"])}
    if "citationsContent" in block:
        inner = object_(block["citationsContent"])
        words = "".join(text_(object_(part).get("text")) for part in list_(inner.get("content")))
        citations = [told for one in list_(inner.get("citations")) if (told := cited(object_(one))) is not None]
        return {"type": "text", "text": words} | ({"citations": citations} if citations else {})
    if "toolUse" in block:
        use = block["toolUse"]
        if use.get("type") is not None:
            # AWS has run it: there is nothing for the caller to do.
            return None
        id_, name = checked(use["toolUseId"]), checked(use["name"])
        return {"type": "tool_use", "id": id_, "name": name, "input": use.get("input") or {}}
    if "reasoningContent" in block:
        thought = block["reasoningContent"]
        if "reasoningText" not in thought:
            return {"type": "redacted_thinking", "data": checked(thought.get("redactedContent", ""))}
        told = thought["reasoningText"]
        words, signature = checked(told.get("text", "")), checked(told.get("signature") or "")
        return {"type": "thinking", "thinking": words, "signature": signature}
    return None


def _end(told: Mapping[str, Any]) -> Block:
    """Return why an answer ended."""
    fields = told.get("additionalModelResponseFields")
    sequence = fields.get("stop_sequence") if isinstance(fields, dict) else None
    return {
        "stop_reason": _REASONS.get(checked(told["stopReason"]), "end_turn"),
        "stop_sequence": sequence if isinstance(sequence, str) else None,
    }


def _usage(of_answer: object) -> Block:
    """Return Anthropic's usage, which counts what was cached apart as Converse does."""
    usage = object_(of_answer)
    told: Block = {
        "input_tokens": number_(usage.get("inputTokens")),
        "cache_creation_input_tokens": number_(usage.get("cacheWriteInputTokens")),
        "cache_read_input_tokens": number_(usage.get("cacheReadInputTokens")),
        "output_tokens": number_(usage.get("outputTokens")),
    }
    if details := [object_(one) for one in list_(usage.get("cacheDetails"))]:
        told["cache_creation"] = {
            f"ephemeral_{ttl}_input_tokens": sum(
                number_(one.get("inputTokens")) for one in details if one.get("ttl") == ttl
            )
            for ttl in ("5m", "1h")
        }
    return told


class MessageStream(Streamed):
    """Relay of one attempt whose answer is streamed; as ``speech.Relay``."""

    operation = "ConverseStream"

    def __init__(self, call_id: str, model: str, fit: Fit | None = None) -> None:
        super().__init__(fit)
        self._call_id, self._model = call_id, model
        self._indexes: dict[int, int] = {}  # by block of Converse, its index among those that were told
        self._open: set[int] = set()
        self._last: Block | None = None  # why it ended
        self._begun = False

    def say(self, kind: str, payload: Mapping[str, Any]) -> str:
        """As ``Streamed``: whatever comes first begins the message, as an SDK takes nothing before that."""
        if self._begun:
            return self._said(kind, payload)
        self._begun = True
        begun = _event("message_start", {"message": _message(self._call_id, self._model, [])})
        return begun + self._said(kind, payload)

    def _said(self, kind: str, payload: Mapping[str, Any]) -> str:
        if kind == "contentBlockDelta":
            return self._delta(payload["contentBlockIndex"], payload["delta"])
        if kind == "contentBlockStart":
            return self._start(payload)
        if kind == "contentBlockStop":
            return self._stop(payload["contentBlockIndex"])
        if kind == "messageStop":
            self._last = _end(payload)
        elif kind == "metadata" and self._last is not None:
            return self._finish(payload.get("usage"))
        return ""

    def finish(self) -> str | None:
        """As ``Streamed``."""
        return None if self._last is None else self._finish({})

    def fail(self, status: int, words: str, error_type: str) -> str:
        """As ``Streamed``."""
        return error_event(status, words, self._call_id).decode()

    def _delta(self, at: int, delta: Mapping[str, Any]) -> str:
        if "text" in delta:
            words = checked(delta["text"])
            begun = self._begin(at, {"type": "text", "text": ""})
            return begun + self._told(at, "text_delta", "text", words)
        if "toolUse" in delta:
            if at not in self._indexes:
                # It is of a tool that AWS runs.
                return ""
            return self._told(at, "input_json_delta", "partial_json", checked(delta["toolUse"].get("input", "")))
        if "citation" in delta:
            return self._cite(at, object_(delta["citation"]))
        thought = delta.get("reasoningContent")
        if thought is None:
            return ""
        if "redactedContent" in thought:
            return self._begin(at, {"type": "redacted_thinking", "data": checked(thought["redactedContent"])})
        if "text" not in thought and "signature" not in thought:
            return ""
        begun = self._begin(at, {"type": "thinking", "thinking": "", "signature": ""})
        if "text" in thought:
            return begun + self._told(at, "thinking_delta", "thinking", checked(thought["text"]))
        return begun + self._told(at, "signature_delta", "signature", checked(thought["signature"]))

    def _cite(self, at: int, citation: Mapping[str, Any]) -> str:
        told = cited(citation)
        if told is None:
            return ""
        begun = self._begin(at, {"type": "text", "text": ""})
        delta = {"type": "citations_delta", "citation": told}
        return begun + _event("content_block_delta", {"index": self._indexes[at], "delta": delta})

    def _start(self, payload: Mapping[str, Any]) -> str:
        use = payload.get("start", {}).get("toolUse")
        if use is None or use.get("type") is not None:
            return ""
        block = {"type": "tool_use", "id": checked(use["toolUseId"]), "name": checked(use["name"]), "input": {}}
        return self._begin(payload["contentBlockIndex"], block)

    def _begin(self, at: int, block: Block) -> str:
        """Return the beginning of a block, where it was not told yet: only that of a tool's use has one in Converse."""
        if at in self._indexes:
            return ""
        index = self._indexes[at] = len(self._indexes)
        self._open.add(at)
        return _event("content_block_start", {"index": index, "content_block": block})

    def _told(self, at: int, kind: str, name: str, value: str) -> str:
        return (
            'event: content_block_delta\ndata: {"type":"content_block_delta","index":'
            f'{self._indexes[at]},"delta":{{"type":"{kind}","{name}":{_dumps(value)}}}}}\n\n'
        )

    def _stop(self, at: int) -> str:
        if at not in self._open:
            return ""
        self._open.remove(at)
        return _event("content_block_stop", {"index": self._indexes[at]})

    def _finish(self, usage: object) -> str:
        self.ended = True
        return _event("message_delta", {"delta": self._last, "usage": _usage(usage)}) + _event("message_stop", {})


def _event(kind: str, members: Block) -> str:
    return f"event: {kind}\ndata: {_dumps({'type': kind, **members})}\n\n"
