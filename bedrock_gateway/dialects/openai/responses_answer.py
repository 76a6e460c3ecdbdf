"""Answers of Converse as OpenAI's Responses: whole ones, and streams as server-sent events.

Knows both forms of an answer: text blocks become messages, calls of tools function calls, thoughts reasoning items. The
end of a stream says all of it again, so an answer is held as long as it lasts.

What of Converse's is told at all is as in chat (``chat_answer``).

Source: bedrock-runtime service-2.json (``ConverseResponse``, ``ConverseStreamOutput``); OpenAI API reference, "The
response object", "Streaming events".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bedrock_gateway.dialects.converse_answers import checked, object_, text_
from bedrock_gateway.dialects.fields import Block
from bedrock_gateway.dialects.openai.chat_answer import (
    besides,
    parts_of,
    usage_of,
)
from bedrock_gateway.dialects.openai.errors import error_object
from bedrock_gateway.dialects.openai.responses_items import sealed
from bedrock_gateway.dialects.speech import Fit, Whole
from bedrock_gateway.dialects.streams import Streamed

__all__ = ["ResponseRelay", "ResponseStream"]


#: Why an answer is not whole, by Converse's reason of its end.
_INCOMPLETE = {
    "max_tokens": "max_output_tokens",
    "model_context_window_exceeded": "max_output_tokens",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
    "refusal": "content_filter",
}
_dumps = json.JSONEncoder(separators=(",", ":")).encode


class ResponseRelay(Whole):
    """Relay of one attempt whose answer comes whole. ``made``: id, times, model and what the request said."""

    def __init__(self, fit: Fit | None, made: Mapping[str, Any], json_tool: str) -> None:
        super().__init__(fit)
        self._made, self._json_tool = made, json_tool

    def receive_eof(self) -> bytes:
        """As ``speech.Relay``.

        Raises:
            ValueError, LookupError, TypeError: it is no answer of Converse.
        """
        answer = json.loads(self.answer)
        output: list[Block] = []
        for kind, told in parts_of(answer, self._json_tool):
            _put_out(kind, told, output, self._made["id"])
        return _dumps(_response(self._made, output, answer, answer.get("additionalModelResponseFields"))).encode()


def _put_out(kind: str, told: Any, output: list[Block], id_: str) -> None:
    """Add a part of an answer to the items it puts out: neighbouring texts are one message, nothing is no item."""
    if kind == "call":
        output.append(_call(id_, len(output), *told[:2], arguments=told[2]))
    elif kind == "thought":
        if thought := _kept(told):
            output.append(_thought(id_, len(output), thought))
    elif told and output and output[-1]["type"] == "message":
        output[-1]["content"][0]["text"] += told
    elif told:
        output.append(_message(id_, len(output), told))


def _kept(thought: Mapping[str, Any]) -> Block:
    """Return what is kept of a thought: its text and signature, or what nobody can read; empty where it has nothing."""
    if "reasoningText" not in thought:
        data = text_(thought.get("redactedContent"))
        return {"redactedContent": data} if data else {}
    said = object_(thought["reasoningText"])
    words, signature = text_(said.get("text")), text_(said.get("signature"))
    if not words and not signature:
        return {}
    return {"reasoningText": {"text": words} | ({"signature": signature} if signature else {})}


def _message(id_: str, at: int, words: str, status: str = "completed") -> Block:
    return {
        "id": f"msg_{id_[5:]}_{at}",
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": [_text(words)],
    }


def _text(words: str) -> Block:
    return {"type": "output_text", "text": words, "annotations": [], "logprobs": []}


def _call(id_: str, at: int, call_id: str, name: str, *, arguments: str = "", status: str = "completed") -> Block:
    return {
        "id": f"fc_{id_[5:]}_{at}",
        "type": "function_call",
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
        "status": status,
    }


def _thought(id_: str, at: int, thought: Mapping[str, Any]) -> Block:
    words = (thought.get("reasoningText") or {}).get("text", "")
    return {
        "id": f"rs_{id_[5:]}_{at}",
        "type": "reasoning",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": words}] if words else [],
        "encrypted_content": sealed(thought),
        "status": "completed",
    }


def _response(made: Mapping[str, Any], output: list[Block], answer: Mapping[str, Any], fields: object) -> Block:
    """Return the response.

    Args:
        answer: of Converse, whole or what its stream says last: ``stopReason``, ``usage``, …
        fields: what the model says besides.
    """
    reason = answer.get("stopReason")
    incomplete = _INCOMPLETE.get(reason) if isinstance(reason, str) else None
    if incomplete and output and "status" in output[-1]:
        output[-1] = {**output[-1], "status": "incomplete"}
    told = {
        **made,
        "status": "incomplete" if incomplete else "completed",
        "error": None,
        "incomplete_details": {"reason": incomplete} if incomplete else None,
        "output": output,
        "usage": _usage(object_(answer.get("usage")), fields),
    }
    return told | besides(answer, fields)


def _usage(usage: Mapping[str, Any], fields: object) -> Block:
    told = usage_of(usage, fields)
    prompt, said = told["prompt_tokens_details"], told["completion_tokens_details"]
    return {
        "input_tokens": told["prompt_tokens"],
        "input_tokens_details": {
            "cached_tokens": prompt["cached_tokens"],
            "cache_write_tokens": prompt.get("cache_creation_tokens", 0),
        },
        "output_tokens": told["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": said["reasoning_tokens"]},
        "total_tokens": told["total_tokens"],
    }


class ResponseStream(Streamed):
    """Relay of one attempt whose answer is streamed: messages of Converse's event stream in, events out."""

    def __init__(self, fit: Fit | None, made: Mapping[str, Any], json_tool: str) -> None:
        super().__init__(fit)
        self._made, self._json_tool = made, json_tool
        self._number = 0
        self._output: list[Block] = []
        self._kind = ""  # of the item under way: message, function_call, reasoning
        self._item: Block = {}
        self._words: list[str] = []
        self._thought: Block = {}
        self._call = ""  # whose arguments come: of a "tool", of the one for JSON ("answer"), or of no concern
        self._last: Block = {}  # what comes last: why it ends, usage, …
        # What is said beside the tool for JSON: an answer only where that is never called.
        self._aside: list[str] = []
        self._in_json = False
        self._begun = self._stopped = False

    def say(self, kind: str, payload: Mapping[str, Any]) -> str:
        """As ``Streamed``."""
        told: list[str] = []
        if not self._begun:
            self._begun = True
            begun = {**self._made, "status": "in_progress", "error": None, "incomplete_details": None, "output": []}
            self._say(told, "response.created", response=begun | {"usage": None})
            self._say(told, "response.in_progress", response=begun | {"usage": None})
        if kind == "contentBlockDelta":
            self._delta(payload["delta"], told)
        elif kind == "contentBlockStart" and "toolUse" in payload["start"]:
            self._begin_tool(payload["start"]["toolUse"], told)
        elif kind == "contentBlockStop":
            self._end_block(told)
        elif kind == "messageStop":
            checked(payload["stopReason"])
            self._last |= payload
            self._stopped = True
        elif kind == "metadata":
            self._last |= payload
        return "".join(told)

    def finish(self) -> str | None:
        """As ``Streamed``: the whole response once more."""
        if not self._stopped:
            return None
        told: list[str] = []
        if self._aside and not self._in_json:
            self._text("".join(self._aside), told)
        self._end_item(told)
        response = _response(self._made, self._output, self._last, self._last.get("additionalModelResponseFields"))
        self._say(told, f"response.{response['status']}", response=response)
        return "".join(told)

    def fail(self, status: int, words: str, error_type: str) -> str:
        """As ``Streamed``: the member ``error`` is what an SDK raises for."""
        told: list[str] = []
        error = json.loads(error_object(status, words, error_type))["error"]
        self._say(told, "error", code=error["code"], message=error["message"], param=None, error=error)
        return "".join(told)

    def _delta(self, delta: Mapping[str, Any], told: list[str]) -> None:
        if "text" in delta:
            words = checked(delta["text"])
            if self._json_tool:
                self._aside.append(words)
            else:
                self._text(words, told)
        elif "toolUse" in delta:
            arguments = checked(delta["toolUse"].get("input", ""))
            if self._call == "answer":
                self._text(arguments, told)
            elif self._call == "tool" and arguments:
                self._words.append(arguments)
                self._say_of_item(told, "response.function_call_arguments.delta", delta=arguments)
        elif "reasoningContent" in delta:
            self._think_on(delta["reasoningContent"], told)

    def _text(self, words: str, told: list[str]) -> None:
        if not words:
            return
        if self._kind != "message":
            item = _message(self._made["id"], self._next, "", "in_progress")
            self._begin("message", {**item, "content": []}, told)
            self._say_of_item(told, "response.content_part.added", content_index=0, part=_text(""))
        self._words.append(words)
        self._say_of_item(told, "response.output_text.delta", content_index=0, delta=words, logprobs=[])

    def _begin_tool(self, use: Mapping[str, Any], told: list[str]) -> None:
        name = checked(use["name"])
        if self._json_tool and name == self._json_tool:
            # A second answer in JSON would make the whole none.
            self._call = "" if self._in_json else "answer"
            self._in_json = True
        elif use.get("type") is not None:
            self._call = ""
        else:
            self._call = "tool"
            call = _call(self._made["id"], self._next, checked(use["toolUseId"]), name, status="in_progress")
            self._begin("function_call", call, told)

    def _end_block(self, told: list[str]) -> None:
        """End what is under way; text goes on where more of it follows."""
        if self._call == "answer" and self._kind != "message":
            # A call without arguments is one with none.
            self._text("{}", told)
        self._call = ""
        if self._kind != "message":
            self._end_item(told)

    def _think_on(self, thought: Mapping[str, Any], told: list[str]) -> None:
        if thought.keys().isdisjoint(("text", "signature", "redactedContent")):
            return
        if self._kind != "reasoning":
            item = _thought(self._made["id"], self._next, {}) | {"status": "in_progress", "encrypted_content": None}
            self._begin("reasoning", item, told)
            self._thought = {}
        if "redactedContent" in thought:
            self._thought = {"redactedContent": checked(thought["redactedContent"])}
        elif "signature" in thought:
            self._thought = {"reasoningText": {"signature": checked(thought["signature"])}}
        elif words := checked(thought["text"]):
            self._words.append(words)
            self._say_of_item(told, "response.reasoning_text.delta", content_index=0, delta=words)

    @property
    def _next(self) -> int:
        """Index of the next item among those put out."""
        return len(self._output) + (1 if self._kind else 0)

    def _begin(self, kind: str, item: Block, told: list[str]) -> None:
        self._end_item(told)
        self._kind, self._words = kind, []
        self._item = item
        self._say(told, "response.output_item.added", output_index=len(self._output), item=item)

    def _end_item(self, told: list[str]) -> None:
        """Say again all of the item under way."""
        if not self._kind:
            return
        words, item = "".join(self._words), self._item
        if self._kind == "message":
            part = _text(words)
            self._say_of_item(told, "response.output_text.done", content_index=0, text=words, logprobs=[])
            self._say_of_item(told, "response.content_part.done", content_index=0, part=part)
            item = {**item, "content": [part], "status": "completed"}
        elif self._kind == "function_call":
            self._say_of_item(told, "response.function_call_arguments.done", arguments=words or "{}", name=item["name"])
            item = {**item, "arguments": words or "{}", "status": "completed"}
        else:
            if words:
                self._say_of_item(told, "response.reasoning_text.done", content_index=0, text=words)
            if "redactedContent" not in self._thought:
                self._thought = {"reasoningText": {"text": words} | self._thought.get("reasoningText", {})}
            item = _thought(self._made["id"], len(self._output), _kept(self._thought))
        self._say(told, "response.output_item.done", output_index=len(self._output), item=item)
        self._output.append(item)
        self._kind = ""

    def _say_of_item(self, told: list[str], kind: str, **more: object) -> None:
        self._say(told, kind, item_id=self._item["id"], output_index=len(self._output), **more)

    def _say(self, told: list[str], kind: str, **more: object) -> None:
        event = {"type": kind, "sequence_number": self._number, **more}
        self._number += 1
        told.append(f"event: {kind}\ndata: {_dumps(event)}\n\n")
