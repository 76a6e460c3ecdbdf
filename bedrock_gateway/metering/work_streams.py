"""Meters of the event streams that agents and knowledge bases answer with: usage where AWS tells it, else what passed.

The stream of an agent or a flow tells usage in its trace only, once for each model that was invoked on the way; the
same figures hang on observations again and are passed over there. Must not hold more than a message and a bounded
number of invocations, nor raise.

Source: botocore's bedrock-agent-runtime model: ``ResponseStream`` of InvokeAgent (``trace.trace.
{preProcessing,orchestration,postProcessing,routingClassifier}Trace.modelInvocation{Input,Output}``, of one ``traceId``
each), ``FlowResponseStream`` of InvokeFlow (``flowTraceEvent.trace``: ``nodeDependencyTrace.traceElements.
agentTraces`` are what an agent's stream has in ``trace``, ``nodeActionTrace`` is one call of a service) and
``RetrieveAndGenerateStreamResponseOutput`` (``output``, ``citation``, ``guardrail``). Traces of flows as recorded: of a
prompt node ``operationName`` is "Converse", ``serviceName`` "bedrock", ``operationRequest`` has ``modelId``, and
``operationResponse`` is what Converse answers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import attrs

from bedrock_gateway.metering.families import read_document
from bedrock_gateway.metering.streams import EventStreamMeter, MessageHeads
from bedrock_gateway.metering.tally import MAX_RAW, Invocation, Reading, Tally, plain
from bedrock_gateway.metering.usage import summed
from bedrock_gateway.wire.eventstream import Message

__all__ = ["AgentMeter", "RetrievalMeter"]

_PARTS = ("preProcessingTrace", "orchestrationTrace", "postProcessingTrace", "routingClassifierTrace")
#: Of one stream: models, invocations under way, and invocations that are kept one by one; those beyond are summed up
#: by model.
MAX_MODELS, MAX_PENDING, MAX_INVOCATIONS = 32, 256, 512
_NEEDLES = (b"modelInvocation", b"guardrailTrace", b"nodeActionTrace")


class _WorkMeter(EventStreamMeter):
    """Meter of a stream that ends by ending: no event says that it was the last."""

    __slots__ = ("_ended",)

    def __init__(self, headers: Mapping[str, str], heads: MessageHeads | None = None) -> None:
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

    __slots__ = ("_agents_called", "_agents_traced", "_asked", "_each", "_models", "_rest", "_untold")

    def __init__(self, headers: Mapping[str, str], heads: MessageHeads | None = None) -> None:
        super().__init__(headers, heads)
        # By trace id, the model that was asked.
        self._asked: dict[str, str] = {}
        self._models: dict[str, str] = {}
        self._each: list[Invocation] = []
        self._rest: dict[str, Invocation] = {}
        # Whether agents of a flow worked, and whether a trace says at what.
        self._agents_called = self._agents_traced = False
        self._untold = False

    def reading(self) -> Reading:
        """Give what is known by now."""
        found = super().reading()
        invocations = (*self._each, *self._rest.values())
        found.untold = self._untold or (self._agents_called and not self._agents_traced)
        if not invocations:
            return found
        usage = summed(one.usage for one in invocations)
        told = {model: [0, 0] for model in self._models}
        for one in invocations:
            told[one.model][0] += one.usage.input_tokens
            told[one.model][1] += one.usage.output_tokens
        raw = {model: {"inputTokens": given, "outputTokens": made} for model, (given, made) in told.items()}
        usage.raw = json.dumps(raw, separators=(",", ":"))
        if len(usage.raw) > MAX_RAW:
            usage.raw, usage.flags = None, (*usage.flags, "raw-usage-dropped")
        return attrs.evolve(found, usage=usage, invocations=invocations)

    def _take(self, message: Message) -> None:
        event = message.headers.get(":event-type")
        if event == "chunk":
            self._tally.said.pass_over(message.payload_length * 3 // 4)
        elif event not in ("trace", "flowTraceEvent"):
            super()._take(message)
        elif message.payload is None:
            self._tally.fault = self._tally.fault or "trace-too-large"
        elif any(needle in message.payload for needle in _NEEDLES):
            try:
                document = json.loads(message.payload)
            except (ValueError, RecursionError):
                self._tally.fault = self._tally.fault or "event-unreadable"
                return
            self._take_trace(_inner(document, "trace"))

    def _take_trace(self, trace: object) -> None:
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
        self._take_action(trace.get("nodeActionTrace"))
        parts = _inner(trace, "nodeDependencyTrace", "traceElements", "agentTraces")
        for part in parts if type(parts) is list else ():
            self._agents_traced = True
            # One level down and no further: what an agent does is no flow.
            inner = _inner(part, "trace")
            if type(inner) is dict and "nodeDependencyTrace" not in inner:
                self._take_trace(inner)

    def _take_input(self, asked: object) -> None:
        if type(asked) is not dict:
            return
        trace, model = asked.get("traceId"), asked.get("foundationModel")
        if type(trace) is str and type(model) is str:
            if len(self._asked) >= MAX_PENDING:
                del self._asked[next(iter(self._asked))]
            self._asked[trace[:128]] = plain(model, 2048)

    def _take_output(self, told: object) -> None:
        usage = _inner(told, "metadata", "usage")
        if type(usage) is dict:
            trace = _inner(told, "traceId")
            model = self._asked.pop(trace[:128], "") if type(trace) is str else ""
            self._take_usage(model, {"usage": usage})

    def _take_action(self, action: object) -> None:
        """Take what one node of a flow called; which is no model's work where it is a Lambda function."""
        service, answer = _inner(action, "serviceName"), _inner(action, "operationResponse")
        if type(_inner(answer, "usage")) is dict:
            model = _inner(action, "operationRequest", "modelId")
            self._take_usage(plain(model, 2048) if type(model) is str else "", answer)
        elif _inner(action, "operationName") == "InvokeAgent":
            self._agents_called = True
        elif type(service) is str and service.lower().startswith("bedrock"):
            self._untold = True

    def _take_usage(self, model: str, document: object) -> None:
        if model not in self._models and len(self._models) >= MAX_MODELS:
            self._tally.fault = self._tally.fault or "too-many-models"
            return
        tally = Tally()
        read_document(document, tally)
        told = tally.reading()
        self._tally.fault = self._tally.fault or told.fault
        self._tally.guarded = self._tally.guarded or told.guardrail_unpriced
        if told.usage is None:
            return
        model = self._models.setdefault(model, model)
        one = Invocation(
            model=model,
            usage=attrs.evolve(told.usage, raw=None),
            service_tier=told.service_tier,
            latency_mode=told.latency_mode,
        )
        if len(self._each) < MAX_INVOCATIONS:
            self._each.append(one)
            return
        rest = self._rest.get(model)
        if rest is not None:
            one = attrs.evolve(one, usage=summed((rest.usage, one.usage)), times=rest.times + 1)
        self._rest[model] = one


class RetrievalMeter(_WorkMeter):
    """Meter of RetrieveAndGenerateStream: bytes of the answer, and of what it cites."""

    __slots__ = ("_context",)

    def __init__(self, headers: Mapping[str, str], heads: MessageHeads | None = None) -> None:
        super().__init__(headers, heads)
        self._context = 0

    def reading(self) -> Reading:
        """Give what is known by now."""
        return attrs.evolve(super().reading(), context_bytes=self._context)

    def _take(self, message: Message) -> None:
        event = message.headers.get(":event-type")
        if event == "output":
            self._tally.said.pass_over(message.payload_length)
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
