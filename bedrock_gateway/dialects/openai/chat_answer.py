"""Answers of Converse as OpenAI's chat completions: whole ones, and streams as server-sent events.

Knows both forms of an answer, and what of Converse's a client of OpenAI's is told, in chat or in Responses; several
completions become one with as many choices. A stream's events leave as they arrive; nothing of one is held but the
message under way.

Source: bedrock-runtime service-2.json (``ConverseResponse``, ``ConverseStreamOutput``); OpenAI API reference, "The chat
completion object", "The chat completion chunk object"; LiteLLM 1.109 for ``reasoning_content`` and ``thinking_blocks``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from json.encoder import encode_basestring_ascii as _quoted
from typing import Any

from bedrock_gateway.dialects.converse_answers import blocks_of, checked, list_, number_, object_, text_
from bedrock_gateway.dialects.fields import Block
from bedrock_gateway.dialects.openai.errors import error_object
from bedrock_gateway.dialects.speech import Fit, Whole
from bedrock_gateway.dialects.streams import Streamed

__all__ = [
    "ChatRelay",
    "ChatStream",
    "besides",
    "completion",
    "joined",
    "parts_of",
    "usage_of",
]


_REASONS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "malformed_model_output": "stop",
    "malformed_tool_use": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
    "refusal": "content_filter",
}
_DONE = "data: [DONE]\n\n"
_END = ',"logprobs":null,"finish_reason":null}]}\n\n'
_dumps = json.JSONEncoder(separators=(",", ":")).encode
#: Members of a completion that tell of its one answer.
_OF_ONE = ("trace", "additionalModelResponseFields")
#: Blocks of a stream that are no call of the caller's tools: the answer in JSON, and what nobody is told.
_ANSWER, _NOTHING = -1, -2


class ChatRelay(Whole):
    """Relay of one attempt whose answer comes whole."""

    def __init__(self, fit: Fit | None, call_id: str, now: int, model: str, json_tool: str) -> None:
        super().__init__(fit)
        self._id, self._now, self._model, self._json_tool = call_id, now, model, json_tool

    def receive_eof(self) -> bytes:
        """As ``speech.Relay``.

        Raises:
            ValueError, LookupError, TypeError: it is no answer of Converse.
        """
        answer = json.loads(self.answer)
        told = completion(answer, f"chatcmpl-{self._id}", self._now, self._model, self._json_tool)
        return _dumps(told).encode()


def completion(answer: Mapping[str, Any], id_: str, created: int, model: str, json_tool: str = "") -> Block:
    """Return a chat completion for an answer of Converse; what OpenAI has no form for is left out.

    Raises:
        ValueError, LookupError, TypeError: it is no answer of Converse.
    """
    words: list[str] = []
    thinking: list[Block] = []
    calls: list[Block] = []
    for kind, said in parts_of(answer, json_tool):
        if kind == "text":
            words.append(said)
        elif kind == "call":
            calls.append(_tool_call(*said))
        else:
            thinking.append(_thought(said))
    message: Block = {"role": "assistant", "content": "".join(words) if words else None, "refusal": None}
    if calls:
        message["tool_calls"] = calls
    if thinking:
        thoughts = "".join(block.get("thinking", "") for block in thinking)
        message |= {"reasoning_content": thoughts, "thinking_blocks": thinking}
    finish = _finish(answer.get("stopReason"), bool(calls))
    fields = answer.get("additionalModelResponseFields")
    told = {
        "id": id_,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
        "usage": usage_of(object_(answer.get("usage")), fields),
    }
    return told | besides(answer, fields)


def joined(answers: Sequence[bytes]) -> bytes:
    """Return completions that relays have written, of one request, as one.

    Its choices are theirs, in order, its usage is their sum. What AWS says besides of one answer stands in its choice.
    """
    first, *others = completions = [json.loads(answer) for answer in answers]
    choices = []
    for index, told in enumerate(completions):
        (choice,) = told["choices"]
        of_one = {name: told.pop(name) for name in _OF_ONE if name in told}
        choices.append(choice | {"index": index} | of_one)
    usage = first["usage"]
    for told in others:
        _add(usage, told["usage"])
    return _dumps(first | {"choices": choices, "usage": usage}).encode()


def _add(counts: Block, more: Mapping[str, Any]) -> None:
    """Add counts by name, those of members too."""
    for name, told in more.items():
        if isinstance(told, dict):
            _add(counts.setdefault(name, {}), told)
        else:
            counts[name] = counts.get(name, 0) + told


def parts_of(answer: Mapping[str, Any], json_tool: str) -> list[tuple[str, Any]]:
    """Return what an answer of Converse says to the caller, in order.

    ``("text", words)``, ``("call", (id, name, arguments))`` and ``("thought", reasoningContent)``; of calls of the tool
    for JSON the first, as text.

    Raises:
        ValueError, LookupError, TypeError: it is no answer of Converse.
    """
    found: list[tuple[str, Any]] = []
    for block in blocks_of(answer):
        if "text" in block:
            found.append(("text", checked(block["text"])))
        elif "toolUse" in block:
            use = block["toolUse"]
            name, given = checked(use["name"]), _dumps(use.get("input") or {})
            if json_tool and name == json_tool:
                found.append(("json", given))
            elif use.get("type") is None:
                found.append(("call", (checked(use["toolUseId"]), name, given)))
        elif "reasoningContent" in block:
            found.append(("thought", object_(block["reasoningContent"])))
        elif "citationsContent" in block:
            cited = list_(object_(block["citationsContent"]).get("content"))
            found += [("text", text_(object_(one).get("text"))) for one in cited]
    answers = [at for at, (kind, _) in enumerate(found) if kind == "json"]
    if not answers:
        return found
    # What was said beside it would make the whole no JSON.
    first = answers[0]
    return [
        ("text", told) if at == first else (kind, told)
        for at, (kind, told) in enumerate(found)
        if at == first or kind not in ("text", "json")
    ]


def _thought(told: Mapping[str, Any]) -> Block:
    if "reasoningText" not in told:
        return {"type": "redacted_thinking", "data": told.get("redactedContent")}
    said = object_(told["reasoningText"])
    return {"type": "thinking", "thinking": text_(said.get("text")), "signature": said.get("signature")}


def _finish(reason: object, calls: bool) -> str:
    """Return why an answer ends: a call of the tool for JSON is none of the caller's tools."""
    if calls and reason == "end_turn":
        return "tool_calls"
    if reason == "tool_use" and not calls:
        return "stop"
    return _REASONS.get(reason, "stop") if isinstance(reason, str) else "stop"


def besides(answer: Mapping[str, Any], fields: object) -> Block:
    """Return what OpenAI has no form for and was asked for by name."""
    told: Block = {}
    if "trace" in answer:
        told["trace"] = answer["trace"]
    if "serviceTier" in answer:
        told["service_tier"] = object_(answer["serviceTier"]).get("type")
    if fields is not None:
        told["additionalModelResponseFields"] = fields
    return told


def _tool_call(id_: str, name: str, arguments: str) -> Block:
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


def usage_of(usage: Mapping[str, Any], fields: object = None) -> Block:
    """Return OpenAI's usage: its prompt holds what was read from a cache and written to one.

    Args:
        fields: what the model says besides: of Claude that thinks, the tokens of its thought.
    """
    read, write = number_(usage.get("cacheReadInputTokens")), number_(usage.get("cacheWriteInputTokens"))
    prompt, said = number_(usage.get("inputTokens")) + read + write, number_(usage.get("outputTokens"))
    thought = 0
    if fields is not None:
        details = object_(object_(object_(fields).get("usage")).get("output_tokens_details"))
        thought = number_(details.get("thinking_tokens", details.get("reasoning_tokens")))
    told: Block = {
        "prompt_tokens": prompt,
        "completion_tokens": said,
        "total_tokens": prompt + said,
        "prompt_tokens_details": {"cached_tokens": read, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": thought, "audio_tokens": 0},
    }
    if write:
        told["prompt_tokens_details"]["cache_creation_tokens"] = told["cache_creation_input_tokens"] = write
    if read:
        told["cache_read_input_tokens"] = read
    return told


class ChatStream(Streamed):
    """Relay of one attempt whose answer is streamed: messages of Converse's event stream in, chunks out."""

    def __init__(
        self, fit: Fit | None, call_id: str, now: int, model: str, json_tool: str, include_usage: bool
    ) -> None:
        super().__init__(fit)
        self._json_tool, self._include_usage = json_tool, include_usage
        # Up to what differs from chunk to chunk.
        head = {"id": f"chatcmpl-{call_id}", "object": "chat.completion.chunk", "created": now, "model": model}
        self._head = f"data: {_dumps(head)[:-1]},"
        self._words = f'{self._head}"choices":[{{"index":0,"delta":{{"content":'
        self._blocks: dict[int, int] = {}  # by block of Converse, the index among calls, or _ANSWER, or _NOTHING
        self._unsaid: set[int] = set()  # blocks of calls that were given no arguments so far
        self._calls = 0
        self._thoughts: dict[int, int] = {}  # by block of Converse, the index among thinking blocks
        # With a tool for JSON: what is said before it is known whether that is called.
        self._held: list[str] | None = [] if json_tool else None
        self._stopped = False
        self._fields: object = None

    def say(self, kind: str, payload: Mapping[str, Any]) -> str:
        """As ``Streamed``."""
        if kind == "contentBlockDelta":
            delta = payload["delta"]
            words = delta.get("text")
            if words is not None and self._held is None:
                return f"{self._words}{_quoted(words)}}}{_END}"
            return self._delta(payload["contentBlockIndex"], delta)
        if kind == "messageStart":
            return self._chunk({"role": "assistant", "content": ""})
        if kind == "contentBlockStart":
            return self._start(payload["contentBlockIndex"], payload["start"])
        if kind == "contentBlockStop":
            return self._close(payload["contentBlockIndex"])
        if kind == "messageStop":
            return self._stop(payload)
        return self._metadata(payload) if kind == "metadata" else ""

    def finish(self) -> str | None:
        """As ``Streamed``."""
        return _DONE if self._stopped else None

    def fail(self, status: int, words: str, error_type: str) -> str:
        """As ``Streamed``."""
        return f"data: {error_object(status, words, error_type).decode()}\n\n"

    def _chunk(self, delta: Block, finish: str | None = None) -> str:
        end = _END if finish is None else f',"logprobs":null,"finish_reason":"{finish}"}}]}}\n\n'
        return f'{self._head}"choices":[{{"index":0,"delta":{_dumps(delta)}{end}'

    def _delta(self, block: int, delta: Mapping[str, Any]) -> str:
        if "text" in delta:
            words = checked(delta["text"])
            assert self._held is not None
            self._held.append(words)
            return ""
        if "toolUse" in delta:
            return self._arguments(block, checked(delta["toolUse"].get("input", "")))
        thought = delta.get("reasoningContent")
        if thought is None:
            return ""
        told: Block = {}
        if "text" in thought:
            told = {"type": "thinking", "thinking": checked(thought["text"])}
        elif "signature" in thought:
            told = {"type": "thinking", "thinking": "", "signature": checked(thought["signature"])}
        elif "redactedContent" in thought:
            told = {"type": "redacted_thinking", "data": checked(thought["redactedContent"])}
        else:
            return ""
        # By its index the SDK puts the pieces of a block together.
        pieces = {"thinking_blocks": [{"index": self._thoughts.setdefault(block, len(self._thoughts)), **told}]}
        return self._chunk({"reasoning_content": thought["text"], **pieces} if "text" in thought else pieces)

    def _start(self, block: int, start: Mapping[str, Any]) -> str:
        use = start.get("toolUse")
        if use is None:
            return ""
        name = checked(use["name"])
        if self._json_tool and name == self._json_tool:
            # A second answer in JSON would make the whole none.
            self._blocks[block] = _NOTHING if _ANSWER in self._blocks.values() else _ANSWER
        elif use.get("type") is not None:
            self._blocks[block] = _NOTHING
        else:
            index = self._blocks[block] = self._calls
            self._calls += 1
            self._unsaid.add(block)
            call = _tool_call(checked(use["toolUseId"]), name, "")
            return self._chunk({"tool_calls": [{"index": index, **call}]})
        if self._blocks[block] == _ANSWER:
            self._unsaid.add(block)
        return ""

    def _arguments(self, block: int, words: str) -> str:
        index = self._blocks.get(block, _NOTHING)
        if index == _NOTHING or not words:
            return ""
        self._unsaid.discard(block)
        if index == _ANSWER:
            return f"{self._words}{_quoted(words)}}}{_END}"
        return self._chunk({"tool_calls": [{"index": index, "function": {"arguments": words}}]})

    def _close(self, block: int) -> str:
        """Close a block: a call without arguments is one with none."""
        return self._arguments(block, "{}") if block in self._unsaid else ""

    def _stop(self, payload: Mapping[str, Any]) -> str:
        self._stopped = True
        self._fields = payload.get("additionalModelResponseFields")
        end = self._chunk({}, _finish(checked(payload["stopReason"]), self._calls > 0))
        if self._held and _ANSWER not in self._blocks.values():
            return self._chunk({"content": "".join(self._held)}) + end
        return end

    def _metadata(self, payload: Mapping[str, Any]) -> str:
        if not self._include_usage:
            return ""
        fields = self._fields
        told = {"choices": [], "usage": usage_of(object_(payload.get("usage")), fields)} | besides(payload, fields)
        return f"{self._head}{_dumps(told)[1:]}\n\n"
