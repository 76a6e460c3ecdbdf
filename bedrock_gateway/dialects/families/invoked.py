"""Relays of conversations that go through InvokeModel: between the relay of a dialect, which knows Converse alone, and
the words of a family.

Knows what stands beside a conversation, and that InvokeModel has headers for what Converse has members for. What was
consumed is told by the meter and by the last chunk, which are the same for all families.

Source: bedrock-runtime service-2.json (``InvokeModelRequest``, ``ConverseRequest``); Bedrock user guide, "Use the
InvokeModel API with guardrails" (``amazon-bedrock-guardrailAction``), "Apply tags to user input" (``tagSuffix``),
"Configure streaming response behavior" (``streamProcessingMode``).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bedrock_gateway.dialects.families.bodies import Body, Streaming
from bedrock_gateway.dialects.families.shared import intervened, no_place
from bedrock_gateway.dialects.fields import Block, given, items, mapping, text, written, wrong
from bedrock_gateway.dialects.speech import Counted, Headers, Relay
from bedrock_gateway.dialects.streams import Streamed, chunk
from bedrock_gateway.errors import InvalidRequest
from bedrock_gateway.wire.eventstream import Message

__all__ = ["InvokedRelay", "InvokedStream", "invoked", "members_beside"]

#: Members of Converse that InvokeModel has headers for: member, what of it, header.
_HEADERS = (
    ("guardrailConfig", "guardrailIdentifier", "x-amzn-bedrock-guardrailidentifier"),
    ("guardrailConfig", "guardrailVersion", "x-amzn-bedrock-guardrailversion"),
    ("performanceConfig", "latency", "x-amzn-bedrock-performanceconfig-latency"),
    ("serviceTier", "type", "x-amzn-bedrock-service-tier"),
)
#: What of Converse's members goes into headers, and is no header where it is of another shape.
_TOLD_BY_HEADERS = (
    ("guardrailConfig", "guardrailIdentifier", "guardrailVersion", "trace", "streamProcessingMode"),
    ("performanceConfig", "latency"),
    ("serviceTier", "type"),
)
#: How a guardrail looks at a stream, which is said in the body.
_MODES = {"sync": "SYNCHRONOUS", "async": "ASYNCHRONOUS"}
_TRACE = "x-amzn-bedrock-trace"
_METADATA = "x-amzn-bedrock-request-metadata"
#: What InvokeModel says of usage, by the names of Converse.
_METRICS = {
    "inputTokens": "inputTokenCount",
    "outputTokens": "outputTokenCount",
    "cacheReadInputTokens": "cacheReadInputTokenCount",
    "cacheWriteInputTokens": "cacheWriteInputTokenCount",
}
#: The same by the names of the meter.
_COUNTS = {
    "inputTokens": "input_tokens",
    "outputTokens": "output_tokens",
    "cacheReadInputTokens": "cache_read_tokens",
    "cacheWriteInputTokens": "cache_write_tokens",
}
#: Where Converse has the parameters that a family may refuse, by the names of the refusals.
_DROPPED = {
    **dict.fromkeys(("tools", "response_format"), ("toolConfig",)),
    "tool_choice": ("toolConfig", "toolChoice"),
    "stop": ("inferenceConfig", "stopSequences"),
    "outputConfig": ("outputConfig",),
}


def members_beside(headers: Mapping[str, str]) -> Block:
    """Return the members of Converse for the headers of an InvokeModel, names in any case: guardrail, tier, latency,
    request metadata.
    """
    given = {low: value for name, value in headers.items() if (low := name.lower()).startswith("x-amzn-bedrock-")}
    told: Block = {}
    if not given:
        return told
    for member, name, header in _HEADERS:
        if value := given.get(header):
            told.setdefault(member, {})[name] = value
    if "guardrailConfig" in told and (trace := given.get(_TRACE)):
        told["guardrailConfig"]["trace"] = trace.lower()
    with contextlib.suppress(ValueError, RecursionError):
        if isinstance(metadata := json.loads(given.get(_METADATA, "null")), dict):
            told["requestMetadata"] = metadata
    return told


def invoked(relay: Relay, body: Body, *, drop_params: bool = False) -> InvokedRelay | InvokedStream:
    """Return what stands between a relay of Converse and a model that is asked through InvokeModel.

    Args:
        drop_params: parameters that the family has no place for are left out, not refused.
    """
    if isinstance(relay, Streamed):
        return InvokedStream(relay, body, drop_params)
    return InvokedRelay(relay, body, drop_params)


class _Request:
    """What becomes of a request of Converse.

    Attributes:
        headers: that go with the body; known once it was written.
        paths: what the answer is to tell besides (``additionalModelResponseFieldPaths``).
    """

    def __init__(self, body: Body, drop_params: bool, *, streamed: bool = False) -> None:
        self._body, self._drop_params, self._streamed = body, drop_params, streamed
        self.headers: Headers = []
        self.paths: list[str] = []

    def written(self, body: bytes | bytearray) -> bytes:
        """Return the body of InvokeModel for that of Converse.

        Raises:
            InvalidRequest: the family, or InvokeModel, has no place for something of it.
        """
        converse: Block = json.loads(body)
        _check(converse)
        guard = given(converse, "guardrailConfig", {})
        self.headers = [
            (header, told)
            for member, name, header in _HEADERS
            if (told := given(converse, member, {}).get(name)) is not None
        ]
        if (trace := guard.get("trace")) is not None:
            self.headers.append((_TRACE, trace.upper()))
        if metadata := converse.pop("requestMetadata", None):
            self.headers.append((_METADATA, json.dumps(metadata, separators=(",", ":"))))
        for member, _, _ in _HEADERS:
            converse.pop(member, None)
        if converse.pop("promptVariables", None) and not self._drop_params:
            no_place("promptVariables", "InvokeModel", "promptVariables")
        self.paths = [path for path in converse.pop("additionalModelResponseFieldPaths", ()) if isinstance(path, str)]
        suffix = hashlib.sha256(body).hexdigest()[:16]
        tagged = _tag(converse, suffix if guard else "")
        told = self._told(converse)
        if self._streamed and isinstance(self._body, Streaming):
            told = self._body.streamed(told)
        config = {"tagSuffix": suffix} if tagged and guard else {}
        if (mode := guard.get("streamProcessingMode")) is not None:
            config["streamProcessingMode"] = _MODES.get(mode, mode)
        if config:
            told["amazon-bedrock-guardrailConfig"] = config
        return written(told)

    def _told(self, converse: Block) -> Block:
        while True:
            try:
                return self._body.request(converse)
            except InvalidRequest as refusal:
                if not self._drop_params or not _take_out(converse, _DROPPED.get(refusal.param or "", ())):
                    raise


class InvokedRelay(Counted):
    """Relay of one attempt whose answer comes whole; as ``speech.Relay``."""

    operation = "InvokeModel"

    def __init__(self, relay: Relay, body: Body, drop_params: bool) -> None:
        super().__init__(relay.request)
        self._relay, self._body, self._request = relay, body, _Request(body, drop_params)

    def request(self, body: bytes | bytearray) -> bytes:
        """As ``speech.Relay``."""
        told = self._request.written(super().request(body))
        self.headers = self._request.headers
        return told

    def receive_eof(self) -> bytes:
        """As ``speech.Relay``."""
        told = json.loads(self.answer)
        answer = {**self._body.answer(told), "usage": _usage(self.counts, _COUNTS)}
        if intervened(told):
            answer["stopReason"] = "guardrail_intervened"
        if fields := _fields(told, self._request.paths):
            answer["additionalModelResponseFields"] = fields
        answer |= _traced(told)
        return self._relay.receive_data(json.dumps(answer).encode()) + self._relay.receive_eof()


class InvokedStream(Streamed):
    """Relay of one attempt whose answer is streamed; as ``speech.Relay``.

    Why an answer ends is told when it has: the last chunk alone may say that a guardrail ended it, and what it used.
    """

    operation = "InvokeModelWithResponseStream"

    def __init__(self, relay: Streamed, body: Body, drop_params: bool) -> None:
        super().__init__(relay.request)
        self._relay, self._request = relay, _Request(body, drop_params, streamed=True)
        self._events = body.events()
        self._stop: Block | None = None
        self._fields: Block = {}
        self._last: Block = {}

    def request(self, body: bytes | bytearray) -> bytes:
        """As ``speech.Relay``."""
        told = self._request.written(super().request(body))
        self.headers = self._request.headers
        return told

    def receive(self, message: Message) -> bytes:
        """As ``Streamed``."""
        if message.event_type != "chunk":
            return super().receive(message)
        told = json.loads(chunk(message.payload or b"{}"))
        if self._request.paths:
            self._fields |= _fields(told, self._request.paths)
        self._note(told)
        events = self._told(self._events.read(told))
        return "".join(self._relay.say(kind, payload) for kind, payload in events).encode()

    def _note(self, told: Block) -> None:
        """Keep what stands beside the answer in a chunk."""
        if (metrics := told.get("amazon-bedrock-invocationMetrics")) is not None:
            self._last["usage"] = _usage(metrics, _METRICS)
        if intervened(told):
            self._last["intervened"] = True
        self._last |= _traced(told)

    def _told(self, events: Iterable[tuple[str, Block]]) -> Iterator[tuple[str, Block]]:
        for kind, payload in events:
            if kind == "messageStop":
                self._stop = payload
            else:
                yield kind, payload

    def say(self, kind: str, payload: Mapping[str, Any]) -> str:
        """As ``Streamed``: there is nothing else than chunks."""
        return ""

    def finish(self) -> str | None:
        """As ``Streamed``."""
        last = self._last
        if last.pop("intervened", False):
            self._stop = {"stopReason": "guardrail_intervened"}
        if self._stop is None:
            return None
        if self._fields:
            self._stop["additionalModelResponseFields"] = self._fields
        said = self._relay.say("messageStop", self._stop) + self._relay.say("metadata", {"usage": {}, **last})
        return said + (self._relay.finish() or "" if not self._relay.ended else "")

    def fail(self, status: int, words: str, error_type: str) -> str:
        """As ``Streamed``."""
        return self._relay.fail(status, words, error_type)


def _check(converse: Block) -> None:
    """Refuse members that came as the caller wrote them, and are none of Converse's.

    Raises:
        InvalidRequest: naming the member.
    """
    for member, *names in _TOLD_BY_HEADERS:
        told = mapping(given(converse, member, {}), member)
        for name in names:
            value = text(given(told, name, ""), f"{member}.{name}")
            if not (value.isascii() and value.isprintable()):
                wrong(f"{member}.{name}", "must have visible characters of ASCII alone")
    items(converse.get("additionalModelResponseFieldPaths", []), "additionalModelResponseFieldPaths")


def _take_out(converse: Block, path: tuple[str, ...]) -> bool:
    """Take out what stands at a path; tell whether anything did."""
    holder: Any = converse
    for name in path[:-1]:
        holder = holder.get(name, {})
    return bool(path) and holder.pop(path[-1], None) is not None


def _usage(told: Mapping[str, Any], names: Mapping[str, str]) -> Block:
    return {name: count for name, other in names.items() if type(count := told.get(other)) is int}


def _traced(told: Mapping[str, Any]) -> Block:
    trace = told.get("amazon-bedrock-trace")
    return {} if trace is None else {"trace": trace}


def _fields(told: Block, paths: Iterable[str]) -> Block:
    """Return what stands at JSON pointers, under the same names (bedrock-runtime API reference, ``Converse``)."""
    found: Block = {}
    for path in paths:
        names = path.split("/")[1:]
        value: Any = told
        for name in names:
            value = value.get(name) if isinstance(value, dict) else None
        if value is None or not names:
            continue
        holder = found
        for name in names[:-1]:
            holder = holder.setdefault(name, {})
        holder[names[-1]] = value
    return found


def _tag(converse: Block, suffix: str) -> bool:
    """Put text that a guardrail is to look at (``guardContent``) as InvokeModel has it: in tags; tell whether there
    was any. ``suffix``: that of the tags, "" where no guardrail is asked for, so that it is text as any other.
    """
    tagged = False
    holders = [converse.get("system", []), *(turn["content"] for turn in converse["messages"])]
    for blocks in holders:
        for at, block in enumerate(blocks):
            if "guardContent" in block:
                tagged = True
                words = block["guardContent"].get("text", {}).get("text", "")
                tag = f"amazon-bedrock-guardrails-guardContent_{suffix}"
                blocks[at] = {"text": f"<{tag}>{words}</{tag}>" if suffix else words}
    return tagged
