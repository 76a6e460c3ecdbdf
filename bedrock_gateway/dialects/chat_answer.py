"""Answers of Converse as OpenAI's chat completions: whole ones, and streams as server-sent events.

Knows both forms of an answer. A stream's events leave as they arrive; nothing of one is held but the message under way.

Source: bedrock-runtime service-2.json (``ConverseResponse``, ``ConverseStreamOutput``); OpenAI API reference, "The chat
completion object", "The chat completion chunk object"; LiteLLM 1.109 for ``reasoning_content`` and ``thinking_blocks``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from bedrock_gateway.dialects.openai_errors import error_object, status_of
from bedrock_gateway.errors import EventStreamError
from bedrock_gateway.wire.eventstream import Message, MessageDecoder

__all__ = ["ChatRelay", "ChatStream", "Think", "completion", "thoughtful", "usage_of"]

Block = dict[str, Any]
Think = Callable[[Block], None]

_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
    "refusal": "content_filter",
}
_DONE = b"data: [DONE]\n\n"
_dumps = json.JSONEncoder(separators=(",", ":")).encode


class ChatRelay:
    """Relay of one attempt whose answer comes whole."""

    def __init__(self, think: Think | None, call_id: str, now: int, model: str, json_tool: str) -> None:
        self._think, self._id, self._now, self._model, self._json_tool = think, call_id, now, model, json_tool
        self._parts: list[bytes] = []

    def request(self, body: bytes | bytearray) -> bytes | bytearray:
        """As ``speech.Relay``."""
        return thoughtful(body, self._think)

    def receive_data(self, data: bytes) -> bytes:
        """As ``speech.Relay``: nothing can be told before all of it is there."""
        self._parts.append(data)
        return b""

    def receive_eof(self) -> bytes:
        """As ``speech.Relay``."""
        answer = json.loads(b"".join(self._parts))
        told = completion(answer, f"chatcmpl-{self._id}", self._now, self._model, self._json_tool)
        return _dumps(told).encode()


def thoughtful(body: bytes | bytearray, think: Think | None) -> bytes | bytearray:
    """Return a request with its effort of reasoning in it."""
    if think is None:
        return body
    request = json.loads(body)
    think(request)
    return json.dumps(request, separators=(",", ":")).encode()


def completion(answer: Mapping[str, Any], id_: str, created: int, model: str, json_tool: str = "") -> Block:
    """Return a chat completion for an answer of Converse."""
    reason = answer.get("stopReason", "end_turn")
    blocks = (answer.get("output") or {}).get("message", {}).get("content", [])
    words: list[str] = []
    thoughts: list[str] = []
    thinking: list[Block] = []
    calls: list[Block] = []
    for block in blocks:
        if "text" in block:
            words.append(block["text"])
        elif "toolUse" in block:
            use = block["toolUse"]
            if json_tool and use["name"] == json_tool:
                words, reason = [_dumps(use["input"])], "end_turn" if reason == "tool_use" else reason
            else:
                calls.append(_tool_call(use["toolUseId"], use["name"], _dumps(use["input"])))
        elif "reasoningContent" in block:
            thought = block["reasoningContent"]
            if "reasoningText" in thought:
                told = thought["reasoningText"]
                thoughts.append(told["text"])
                thinking.append({"type": "thinking", "thinking": told["text"], "signature": told.get("signature")})
            else:
                thinking.append({"type": "redacted_thinking", "data": thought.get("redactedContent")})
    message: Block = {"role": "assistant", "content": "".join(words) if words else None, "refusal": None}
    if calls:
        message["tool_calls"] = calls
    if thinking:
        message |= {"reasoning_content": "".join(thoughts), "thinking_blocks": thinking}
    finish = "tool_calls" if calls and reason == "end_turn" else _REASONS.get(reason, "stop")
    told = {
        "id": id_,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
        "usage": usage_of(answer.get("usage") or {}),
    }
    return told | _besides(answer)


def _besides(answer: Mapping[str, Any]) -> Block:
    told: Block = {}
    if "trace" in answer:
        told["trace"] = answer["trace"]
    if isinstance(tier := answer.get("serviceTier"), dict):
        told["service_tier"] = tier.get("type")
    return told


def _tool_call(id_: str, name: str, arguments: str) -> Block:
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


def usage_of(usage: Mapping[str, Any]) -> Block:
    """Return OpenAI's usage: its prompt holds what was read from a cache and written to one."""
    read, write = usage.get("cacheReadInputTokens") or 0, usage.get("cacheWriteInputTokens") or 0
    prompt, said = (usage.get("inputTokens") or 0) + read + write, usage.get("outputTokens") or 0
    told: Block = {
        "prompt_tokens": prompt,
        "completion_tokens": said,
        "total_tokens": prompt + said,
        "prompt_tokens_details": {"cached_tokens": read, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }
    if write:
        told["cache_creation_input_tokens"] = write
    if read:
        told["cache_read_input_tokens"] = read
    return told


class ChatStream:
    """Relay of one attempt whose answer is streamed: messages of Converse's event stream in, chunks out."""

    def __init__(
        self, think: Think | None, call_id: str, now: int, model: str, json_tool: str, include_usage: bool
    ) -> None:
        self._think, self._json_tool, self._include_usage = think, json_tool, include_usage
        self._decoder = MessageDecoder()
        # Up to what differs from chunk to chunk.
        head = {"id": f"chatcmpl-{call_id}", "object": "chat.completion.chunk", "created": now, "model": model}
        self._head = f"data: {_dumps(head)[:-1]},"
        self._tools: dict[int, int] = {}  # by block of Converse, the index among calls; -1 of the tool for JSON
        self._calls = 0
        self._reason = ""
        self._failed = False
        self._usage: Mapping[str, Any] = {}

    def request(self, body: bytes | bytearray) -> bytes | bytearray:
        """As ``speech.Relay``."""
        return thoughtful(body, self._think)

    def receive_data(self, data: bytes) -> bytes:
        """As ``speech.Relay``: the chunks of the messages that are whole now."""
        decoder = self._decoder
        decoder.receive_data(data)
        told: list[str] = []
        try:
            while (message := decoder.next_message()) is not None:
                told.append(self._message(message))
        except EventStreamError:
            # The meter tells of it; an SDK sees that the stream did not end.
            self._failed = True
        except (ValueError, KeyError, TypeError, AttributeError):
            self._failed = True
            told.append(_event(error_object(424, "A message of upstream's stream cannot be read.", "")))
        return "".join(told).encode()

    def receive_eof(self) -> bytes:
        """As ``speech.Relay``: the end, where there was no error."""
        return b"" if self._failed else _DONE

    def _message(self, message: Message) -> str:
        payload = json.loads(message.payload or b"{}")
        kind = message.event_type
        if kind == "contentBlockDelta":
            return self._delta(payload)
        if kind == "messageStart":
            return self._chunk({"role": "assistant", "content": ""})
        if kind == "contentBlockStart":
            return self._start(payload)
        if kind == "messageStop":
            return self._stop(payload.get("stopReason", "end_turn"))
        if kind == "metadata":
            return self._metadata(payload)
        if message.message_type in ("exception", "error"):
            self._failed = True
            return _failure(message, payload)
        return ""

    def _chunk(self, delta: Block, finish: str | None = None) -> str:
        end = "null}]}\n\n" if finish is None else f'"{finish}"}}]}}\n\n'
        return f'{self._head}"choices":[{{"index":0,"delta":{_dumps(delta)},"logprobs":null,"finish_reason":{end}'

    def _delta(self, payload: Mapping[str, Any]) -> str:
        delta = payload["delta"]
        words = delta.get("text")
        if words is not None:
            return self._chunk({"content": words})
        if "toolUse" in delta:
            index = self._tools.get(payload["contentBlockIndex"], 0)
            arguments = delta["toolUse"].get("input", "")
            if index < 0:
                return self._chunk({"content": arguments})
            return self._chunk({"tool_calls": [{"index": index, "function": {"arguments": arguments}}]})
        thought = delta.get("reasoningContent")
        if thought is None:
            return ""
        if "text" in thought:
            block = {"type": "thinking", "thinking": thought["text"]}
            return self._chunk({"reasoning_content": thought["text"], "thinking_blocks": [block]})
        if "signature" in thought:
            block = {"type": "thinking", "thinking": "", "signature": thought["signature"]}
        else:
            block = {"type": "redacted_thinking", "data": thought.get("redactedContent")}
        return self._chunk({"thinking_blocks": [block]})

    def _start(self, payload: Mapping[str, Any]) -> str:
        use = payload.get("start", {}).get("toolUse")
        if use is None:
            return ""
        if self._json_tool and use["name"] == self._json_tool:
            self._tools[payload["contentBlockIndex"]] = -1
            return ""
        index = self._tools[payload["contentBlockIndex"]] = self._calls
        self._calls += 1
        return self._chunk({"tool_calls": [{"index": index, **_tool_call(use["toolUseId"], use["name"], "")}]})

    def _stop(self, reason: str) -> str:
        if reason == "tool_use" and not self._calls:
            reason = "end_turn"  # what was called is the tool for JSON
        return self._chunk({}, _REASONS.get(reason, "stop"))

    def _metadata(self, payload: Mapping[str, Any]) -> str:
        if not self._include_usage:
            return ""
        told = {"choices": [], "usage": usage_of(payload.get("usage") or {})} | _besides(payload)
        return f"{self._head}{_dumps(told)[1:]}\n\n"


def _failure(message: Message, payload: Mapping[str, Any]) -> str:
    kind = message.exception_type or message.error_code or "error"
    told = payload.get("message") or payload.get("Message") or message.headers.get(":error-message") or kind
    return _event(error_object(status_of(kind), str(told), kind))


def _event(data: bytes) -> str:
    return f"data: {data.decode()}\n\n"
