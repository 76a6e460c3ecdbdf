"""Meters of the event streams that agents and knowledge bases answer with: usage where AWS tells it, else what passed.

An agent's stream tells usage in its trace only, once for each model that was invoked on the way; the same figures hang
on observations again and are passed over there. Must not hold more than a message, nor raise.

Source: botocore's bedrock-agent-runtime model: ``ResponseStream`` of InvokeAgent (``trace.trace.
{preProcessing,orchestration,postProcessing,routingClassifier}Trace.modelInvocation{Input,Output}``, of one ``traceId``
each) and ``RetrieveAndGenerateStreamResponseOutput`` (``output``, ``citation``, ``guardrail``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import attrs

from bedrock_gateway.metering.streams import EventStreamMeter
from bedrock_gateway.metering.tally import MAX_QUANTITY, Reading, plain
from bedrock_gateway.metering.usage import Usage
from bedrock_gateway.wire.eventstream import Heads, Message

__all__ = ["AgentMeter", "RetrievalMeter"]

_PARTS = ("preProcessingTrace", "orchestrationTrace", "postProcessingTrace", "routingClassifierTrace")
#: Models and invocations under way that are kept of one stream.
MAX_MODELS, MAX_PENDING = 32, 256
_NEEDLES = (b"modelInvocation", b"guardrailTrace")


class _WorkMeter(EventStreamMeter):
    """Meter of a stream that ends by ending: no event says that it was the last."""

    __slots__ = ("_ended",)

    def __init__(self, headers: Mapping[str, str], heads: Heads | None = None) -> None:
        super().__init__(headers, heads)
        self._ended = False

    def receive_eof(self) -> None:
        """Take note of the end: between two messages it is a proper one."""
        super().receive_eof()
        self._ended = not self.mid_message

    def reading(self) -> Reading:
        """Give what is known by now."""
        self._tally.terminal = self._ended and self._tally.exception_type is None
        return super().reading()


class AgentMeter(_WorkMeter):
    """Meter of InvokeAgent, InvokeInlineAgent, InvokeFlow and InvokeHarness."""

    __slots__ = ("_asked", "_used")

    def __init__(self, headers: Mapping[str, str], heads: Heads | None = None) -> None:
        super().__init__(headers, heads)
        # By trace id, the model that was asked; by model, tokens in and out.
        self._asked: dict[str, str] = {}
        self._used: dict[str, list[int]] = {}

    def reading(self) -> Reading:
        """Give what is known by now."""
        found = super().reading()
        if not self._used:
            return found
        by_model = tuple((model, used[0], used[1]) for model, used in self._used.items())
        told = {model: {"inputTokens": used[0], "outputTokens": used[1]} for model, used in self._used.items()}
        usage = Usage(
            input_tokens=sum(used[0] for used in self._used.values()),
            output_tokens=sum(used[1] for used in self._used.values()),
            raw=json.dumps(told, separators=(",", ":")),
            flags=() if found.usage is None else found.usage.flags,
        )
        return attrs.evolve(found, usage=usage, by_model=by_model)

    def _take(self, message: Message) -> None:
        event = message.headers.get(":event-type")
        if event == "chunk":
            self._tally.delta_bytes += message.payload_length * 3 // 4
        elif event != "trace":
            super()._take(message)
        elif message.payload is None:
            self._tally.fault = self._tally.fault or "trace-too-large"
        elif any(needle in message.payload for needle in _NEEDLES):
            self._take_trace(message.payload)

    def _take_trace(self, payload: bytes) -> None:
        try:
            document = json.loads(payload)
        except (ValueError, RecursionError):
            self._tally.fault = self._tally.fault or "event-unreadable"
            return
        trace = document.get("trace") if type(document) is dict else None
        if type(trace) is not dict:
            return
        if type(trace.get("guardrailTrace")) is dict:
            # A guardrail worked, and no unit of it is told.
            self._tally.guarded = True
        for name in _PARTS:
            part = trace.get(name)
            if type(part) is dict:
                self._take_input(part.get("modelInvocationInput"))
                self._take_output(part.get("modelInvocationOutput"))

    def _take_input(self, asked: object) -> None:
        if type(asked) is not dict:
            return
        trace, model = asked.get("traceId"), asked.get("foundationModel")
        if type(trace) is str and type(model) is str:
            if len(self._asked) >= MAX_PENDING:
                self._asked.clear()
            self._asked[trace[:128]] = plain(model, 2048)

    def _take_output(self, told: object) -> None:
        usage = _inner(told, "metadata", "usage")
        if type(usage) is not dict or type(told) is not dict:
            return
        trace = told.get("traceId")
        model = self._asked.pop(trace[:128], "") if type(trace) is str else ""
        if model not in self._used and len(self._used) >= MAX_MODELS:
            self._tally.fault = self._tally.fault or "too-many-models"
            return
        used = self._used.setdefault(model, [0, 0])
        for slot, name in enumerate(("inputTokens", "outputTokens")):
            count = usage.get(name)
            if type(count) is int and 0 <= count <= MAX_QUANTITY:
                used[slot] += count
            elif count is not None:
                self._tally.blame(name)


class RetrievalMeter(_WorkMeter):
    """Meter of RetrieveAndGenerateStream: bytes of the answer, and of what it cites."""

    __slots__ = ("_context",)

    def __init__(self, headers: Mapping[str, str], heads: Heads | None = None) -> None:
        super().__init__(headers, heads)
        self._context = 0

    def reading(self) -> Reading:
        """Give what is known by now."""
        return attrs.evolve(super().reading(), context_bytes=self._context)

    def _take(self, message: Message) -> None:
        event = message.headers.get(":event-type")
        if event == "output":
            self._tally.delta_bytes += message.payload_length
        elif event == "citation":
            self._context += message.payload_length
        elif event == "guardrail":
            self._tally.guarded = True
        else:
            super()._take(message)


def _inner(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if type(value) is dict else None
    return value
