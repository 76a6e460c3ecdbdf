"""Streams of chat completions as the events of Converse: blocks that follow each other.

A chunk says of several calls at once whatever it likes; Converse tells one block after the other. What belongs to a
later block waits until the one before it is over: a call is, once its arguments are a whole object.

Source: OpenAI API reference, "The chat completion chunk object"; Bedrock user guide, "Mistral AI chat completion"
(``stop_reason``); bedrock-runtime service-2.json (``ConverseStreamOutput``, ``StopReason``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import attrs

from bedrock_gateway.dialects.families.chat_words import arguments_of, chosen, said
from bedrock_gateway.dialects.families.shared import made_id
from bedrock_gateway.dialects.families.thought import TEXT, Splitter
from bedrock_gateway.dialects.fields import Block

__all__ = ["ChatEvents", "reason_of"]

_REASONS = {
    "length": "max_tokens",
    "model_length": "max_tokens",
    "content_filter": "content_filtered",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
}
Event = tuple[str, Block]


def reason_of(choice: Block, calls: int, whole: int) -> str:
    """Return why an answer ends, as Converse has it.

    Args:
        calls: how many there are in it; whole: those of them whose arguments are an object.
    """
    # Beside finish_reason, stop_reason may be the token at which a model stopped.
    told = choice.get("finish_reason") or choice.get("stop_reason")
    reason = _REASONS.get(told, "end_turn") if isinstance(told, str) else "end_turn"
    if calls and reason in ("end_turn", "tool_use"):
        # Of a call that was forced OpenAI says "stop".
        return "tool_use" if calls == whole else "malformed_tool_use"
    return reason


@attrs.define(eq=False)
class _Call:
    """A call of a tool so far: ``waiting`` was not told yet; ``closed``: no more of it can be."""

    id: str
    name: str
    closed: bool = False
    arguments: list[str] = attrs.field(factory=list)
    waiting: list[str] = attrs.field(factory=list)

    @property
    def given(self) -> Block | None:
        return arguments_of("".join(self.arguments))

    @property
    def over(self) -> bool:
        """Nothing more of its arguments can come."""
        last = self.arguments[-1] if self.arguments else ""
        return last.rstrip().endswith("}") and self.given is not None


class ChatEvents:
    """As ``bodies.Events``."""

    def __init__(self) -> None:
        self._splitter = Splitter()
        self._started = False
        self._block = -1  # the last that was opened
        self._open: str | _Call | None = None  # a kind of words, or a call
        self._calls: dict[object, _Call] = {}
        self._line: list[_Call] = []  # calls whose block is not opened yet

    def read(self, chunk: Block) -> Iterable[Event]:
        """As ``bodies.Events``."""
        for choice in chosen(chunk):
            if not self._started:
                self._started = True
                yield "messageStart", {"role": "assistant"}
            delta = choice.get("delta") or {}
            for kind, words in said(delta):
                yield from self._words(self._splitter.feed(words) if kind == TEXT else [(kind, words)])
            for piece in delta.get("tool_calls") or ():
                yield from self._piece(piece, chunk.get("id"))
            if choice.get("finish_reason") or choice.get("stop_reason"):
                yield from self._finish(choice)

    def _words(self, told: Iterable[tuple[str, str]]) -> Iterator[Event]:
        for kind, words in told:
            if self._open != kind:
                yield from self._close(all_calls=True)
                self._block += 1
                self._open = kind
            yield self._delta({"text": words} if kind == TEXT else {"reasoningContent": {"text": words}})

    def _piece(self, piece: Block, seed: object) -> Iterator[Event]:
        """Read a piece of a call."""
        function = piece.get("function") or {}
        key = piece.get("index")
        if not isinstance(key, int):
            # Who tells no index tells a call whole, or one after the other.
            key = piece.get("id") or next(reversed(self._calls), 0)
        call = self._calls.get(key)
        if call is None:
            yield from self._words(self._splitter.end())
            id_ = piece.get("id") or made_id(seed, len(self._calls), function["name"])
            call = self._calls[key] = _Call(id_, _word(function["name"]))
            self._line.append(call)
        arguments = function.get("arguments")
        if arguments:
            words = json.dumps(arguments) if isinstance(arguments, dict) else _word(arguments)
            if call.closed and words.strip():
                raise ValueError("arguments of a call after its end")
            call.arguments.append(words)
            call.waiting.append(words)
        yield from self._advance()

    def _advance(self) -> Iterator[Event]:
        """Tell what can be told of calls now."""
        while True:
            call = self._open
            if isinstance(call, _Call):
                for words in call.waiting:
                    yield self._delta({"toolUse": {"input": words}})
                call.waiting.clear()
                if not self._line or not call.over:
                    return
            if not self._line:
                return
            yield from self._close()
            self._block += 1
            call = self._open = self._line.pop(0)
            start = {"toolUse": {"toolUseId": call.id, "name": call.name}}
            yield "contentBlockStart", {"contentBlockIndex": self._block, "start": start}

    def _close(self, *, all_calls: bool = False) -> Iterator[Event]:
        """Close the block that is open; ``all_calls``: those too that wait for it, each after the other."""
        if self._open is not None:
            yield "contentBlockStop", {"contentBlockIndex": self._block}
            if isinstance(self._open, _Call):
                self._open.closed = True
            self._open = None
        while all_calls and self._line:
            yield from self._advance()
            yield from self._close()

    def _finish(self, choice: Block) -> Iterator[Event]:
        yield from self._words(self._splitter.end())
        yield from self._close(all_calls=True)
        whole = sum(call.given is not None for call in self._calls.values())
        yield "messageStop", {"stopReason": reason_of(choice, len(self._calls), whole)}

    def _delta(self, delta: Block) -> Event:
        return "contentBlockDelta", {"contentBlockIndex": self._block, "delta": delta}


def _word(words: Any) -> str:
    if not isinstance(words, str):
        raise TypeError
    return words
