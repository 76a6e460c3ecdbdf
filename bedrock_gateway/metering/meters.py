"""Meters: what reads usage off an answer, chosen by the answer's content type and never by its route.

Knows which meter reads which content type, and how JSON bodies are read: a small one whole and parsed once, a large
one by its outline. Must not touch, delay or hold an answer: whatever is wrong with it is a fault in the reading.

Source: media types as AWS answers with them (``application/vnd.amazon.eventstream``, ``application/json``). A small
body is parsed whole because one parse of a 1 kB Converse answer costs 4 µs, less than any search for parts of it that
is also right.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Protocol

import attrs

from bedrock_gateway.metering.families import TOP_LEVEL_KEYS, read_document, read_headers
from bedrock_gateway.metering.outline import MalformedDocument, OutlineScanner
from bedrock_gateway.metering.plain import read_plain
from bedrock_gateway.metering.streams import EventStreamMeter, MessageHeads, SseMeter
from bedrock_gateway.metering.tally import Reading, Tally
from bedrock_gateway.metering.work import GENERATED_KEYS, read_generated
from bedrock_gateway.metering.work_streams import AgentMeter, RetrievalMeter
from bedrock_gateway.wire.eventstream import Message
from bedrock_gateway.wire.headers import media_type
from bedrock_gateway.wire.operations import Kind, Operation

__all__ = ["MessageHeads", "Meter", "Reading", "open_meter", "read_body", "read_whole"]

KIBIBYTE = 1024

#: Bodies up to this are parsed whole; larger ones are outlined as they pass.
MAX_WHOLE_BODY = 64 * KIBIBYTE

#: Meters of event streams that are no model's own, by kind of operation.
_STREAMS: Mapping[Kind, type[EventStreamMeter]] = {Kind.AGENT: AgentMeter, Kind.GENERATE: RetrievalMeter}

_decode = json.JSONDecoder().decode


class Meter(Protocol):
    """Listens to one answer. Neither ``receive_data`` nor ``receive_eof`` ever raises; memory is bounded."""

    @property
    def first(self) -> Message | None:
        """Head of an event stream's first message as soon as its headers are complete; None elsewhere."""

    @property
    def fault(self) -> str | None:
        """Why the reading may be less than AWS told, or None."""

    @property
    def mid_message(self) -> bool:
        """Whether an end here would cut a message or a JSON document."""

    def receive_data(self, data: bytes) -> None:
        """Take bytes as they arrived, of any number."""

    def receive_eof(self) -> None:
        """Take note that the answer has ended."""

    def reading(self) -> Reading:
        """Give what is known by now; callable at any time."""


def open_meter(
    operation: Operation, content_type: str, headers: Mapping[str, str], heads: MessageHeads | None = None
) -> Meter:
    """Open the meter for an answer.

    ``headers``: the response's, names in lower case or of a mapping that ignores case. ``heads``: what event-stream
    meters share (``MessageHeads()``), so that a stream need not learn again what others have.
    """
    kind = media_type(content_type)
    if kind == "application/vnd.amazon.eventstream":
        return _STREAMS.get(operation.kind, EventStreamMeter)(headers, heads)
    if kind == "application/json" or kind.endswith("+json"):
        return (_GeneratedMeter if operation.kind is Kind.GENERATE else _BodyMeter)(operation, headers)
    if kind == "text/event-stream":
        return SseMeter(headers)
    return _ByteMeter(headers)


def read_body(operation: Operation, headers: Mapping[str, str], body: bytes) -> Reading:
    """Read a whole answer: one parse, no more. ``unreadable`` where the body is empty or no JSON, and the answer
    was to be JSON. An operation that has nothing to say may answer with no body at all.
    """
    content_type = headers.get("content-type")
    if content_type is not None and "json" not in content_type.lower():
        tally = Tally()
        read_headers(headers, tally)
        tally.terminal = True
        return tally.reading()
    try:
        # Decoded as AWS SDKs do; json would first guess at the encoding.
        document = _decode(body.decode())
    except (ValueError, RecursionError):
        tally = Tally()
        read_headers(headers, tally)
        if not body and (operation.says_nothing or not operation.known):
            tally.terminal = True
            return tally.reading()
        tally.fault = tally.fault or "body-unreadable"
        return tally.reading(unreadable=True)
    if operation.kind is Kind.GENERATE:
        return read_generated(document, len(body))
    counting = operation.kind is Kind.COUNT
    return (None if counting else read_plain(headers, document)) or read_whole(headers, document, counting=counting)


def read_whole(headers: Mapping[str, str], document: object, *, counting: bool = False) -> Reading:
    """Read headers and document of a whole answer, whatever its shape. ``counting``: as ``read_document``."""
    tally = Tally()
    read_headers(headers, tally)
    read_document(document, tally, counting=counting)
    tally.terminal = True
    return tally.reading()


class _BodyMeter:
    """Meter of a JSON body that streams past."""

    __slots__ = ("_body", "_counting", "_ended", "_parsed", "_scanner", "_tally", "_unreadable", "first")
    _KEEP = TOP_LEVEL_KEYS

    def __init__(self, operation: Operation, headers: Mapping[str, str]) -> None:
        self._tally = Tally()
        self._counting = operation.kind is Kind.COUNT
        self._body = bytearray()
        self._scanner: OutlineScanner | None = None
        self._ended = False
        self._parsed = False
        self._unreadable = False
        self.first: Message | None = None
        read_headers(headers, self._tally)

    @property
    def fault(self) -> str | None:
        """Why the reading may be less than AWS told, or None."""
        return self._tally.fault

    @property
    def mid_message(self) -> bool:
        """Whether an end here would cut the document; parses what there is of a small one."""
        if self._unreadable:
            return True
        if self._scanner is not None:
            return not self._scanner.complete
        return not self._parsed and not _parses(self._body)

    def receive_data(self, data: bytes) -> None:
        """Take bytes as they arrived."""
        if self._unreadable:
            return
        try:
            if self._scanner is None:
                self._body += data
                if len(self._body) <= MAX_WHOLE_BODY:
                    return
                self._scanner = OutlineScanner(self._KEEP)
                data = bytes(self._body)
                self._body = bytearray()
            self._scanner.receive_data(data)
        except Exception as error:  # a fault of the meter must never reach the answer
            self._give_up(error)

    def receive_eof(self) -> None:
        """Take note of the end: a document that is not whole by now is unreadable."""
        if self._ended or self._unreadable:
            return
        self._ended = True
        try:
            cut_bytes = 0
            if self._scanner is None:
                document = json.loads(self._body)
            else:
                document, cut_bytes = self._scanner.document(), self._scanner.cut_bytes
                if self._scanner.dropped:
                    self._tally.fault = "outline-dropped:" + self._scanner.dropped[0]
            self._body = bytearray()
            self._parsed = True
            self._read(document, cut_bytes)
            self._tally.terminal = True
        except Exception as error:  # see above
            self._give_up(error)

    def reading(self) -> Reading:
        """Give what is known by now; of a body only its end tells anything."""
        return self._tally.reading(unreadable=self._unreadable)

    def _read(self, document: object, cut_bytes: int) -> None:
        read_document(document, self._tally, counting=self._counting)

    def _give_up(self, error: Exception) -> None:
        expected = isinstance(error, (MalformedDocument, ValueError, RecursionError))
        self._tally.fault = self._tally.fault or ("body-unreadable" if expected else f"meter:{type(error).__name__}")
        self._unreadable = True
        self._body = bytearray()


class _GeneratedMeter(_BodyMeter):
    """Meter of an answer of RetrieveAndGenerate that streams past: AWS tells no usage in it, so it is measured."""

    __slots__ = ("_bytes", "_found")
    _KEEP = GENERATED_KEYS

    def __init__(self, operation: Operation, headers: Mapping[str, str]) -> None:
        super().__init__(operation, headers)
        self._bytes = 0
        self._found: Reading | None = None

    def receive_data(self, data: bytes) -> None:
        """Take bytes as they arrived."""
        self._bytes += len(data)
        super().receive_data(data)

    def reading(self) -> Reading:
        """Give what is known by now; of an answer that broke off, most was read and not said by the model."""
        told = super().reading()
        if self._found is None:
            told.context_bytes = self._bytes
            return told
        return attrs.evolve(self._found, fault=told.fault)

    def _read(self, document: object, cut_bytes: int) -> None:
        self._found = read_generated(document, self._bytes, cut_bytes)


class _ByteMeter:
    """Meter of anything else: only the headers tell."""

    __slots__ = ("_tally", "first")

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._tally = Tally()
        self.first: Message | None = None
        read_headers(headers, self._tally)

    @property
    def fault(self) -> str | None:
        """Why the reading may be less than AWS told, or None."""
        return self._tally.fault

    @property
    def mid_message(self) -> bool:
        """Nothing is known of where such an answer ends."""
        return False

    def receive_data(self, data: bytes) -> None:
        """Count the bytes."""
        self._tally.said.pass_over(len(data))

    def receive_eof(self) -> None:
        """Take note of the end."""
        self._tally.terminal = True

    def reading(self) -> Reading:
        """Give what is known by now."""
        return self._tally.reading()


def _parses(body: bytearray) -> bool:
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        return False
    return True
