"""Meters of streams: usage out of event-stream messages and server-sent events, while somebody else relays the bytes.

Know which events of Bedrock's streams carry usage and what ends a stream properly. Must not touch the bytes, hold
them longer than a message, or raise: a fault is kept and the stream goes on without being metered.

Source: botocore's bedrock-runtime model (ConverseStream, InvokeModelWithResponseStream); AWS user guide, "Inference
request parameters" (``chunk`` payload ``{"bytes": base64 of the model's own JSON}``,
``amazon-bedrock-invocationMetrics`` in the last one); WHATWG HTML, 9.2.6 (server-sent events).
"""

from __future__ import annotations

import json
from base64 import b64decode
from binascii import a2b_base64
from collections.abc import Mapping

import attrs

from bedrock_gateway.errors import EventStreamError
from bedrock_gateway.metering.families import read_document, read_headers
from bedrock_gateway.metering.said import LONG
from bedrock_gateway.metering.tally import MAX_TEXT, Reading, Tally, is_name, plain
from bedrock_gateway.wire.eventstream import Heads, Message, MessageDecoder

__all__ = ["MAX_PAYLOAD", "EventStreamMeter", "MessageHeads", "SseMeter"]

KIBIBYTE = 1024
MEBIBYTE = 1024 * KIBIBYTE

#: Payloads above this are passed over: no usage is told in one, and no stream may cost a meter more memory.
MAX_PAYLOAD = 1 * MEBIBYTE
#: Heads remembered over all streams that share them: some ten events in some hundred lengths.
_HEADS_REMEMBERED = 2048
#: Longest line of server-sent events that is looked into.
MAX_LINE = 256 * KIBIBYTE
#: How AWS begins a chunk.
_BEFORE = b'{"bytes":"'
#: Events whose payload is read. Exceptions and errors are too.
_WANTED = frozenset(["metadata", "messageStop", "chunk", "trace", "flowTraceEvent"])


def _tells(document: bytes) -> bool:
    """Tell whether a document may hold a usage object, a token count, or a sign of a guardrail."""
    # Written out, because it is asked of every chunk.
    return (
        b"usage" in document
        or b"okenCount" in document
        or b"oken_count" in document
        or b"message_stop" in document
        or b"billed_units" in document
        or b"guardrail" in document
    )


def _wants(head: Message) -> bool:
    headers = head.headers
    event = headers.get(":event-type")
    if event == "contentBlockDelta":
        return head.payload_length > LONG
    return event in _WANTED or headers.get(":message-type") != "event"


def _looks(head: Message) -> bool:
    return head.headers.get(":event-type") == "contentBlockDelta" or _wants(head)


@attrs.frozen(eq=False)
class MessageHeads:
    """What all event-stream meters of a process may share: what they know of message heads (bounded).

    Attributes:
        passing: of those that pass over words, but for long events; looking: of those that look at all for now.
    """

    passing: Heads = attrs.field(
        factory=lambda: Heads(wants=_wants, keep_at_most=MAX_PAYLOAD, remember=_HEADS_REMEMBERED)
    )
    looking: Heads = attrs.field(
        factory=lambda: Heads(wants=_looks, keep_at_most=MAX_PAYLOAD, remember=_HEADS_REMEMBERED)
    )


def _inner(payload: bytes) -> bytes:
    """Return the document in a chunk, ``{"bytes":"…","p":"…"}``.

    Raises ValueError, TypeError or RecursionError.
    """
    if payload.startswith(_BEFORE):
        # As AWS writes it; to parse it takes several times as long, and there are very many.
        try:
            return a2b_base64(payload[len(_BEFORE) : payload.index(b'"', len(_BEFORE))], strict_mode=True)
        except ValueError:
            pass
    told = json.loads(payload)
    if not isinstance(told, dict):
        raise TypeError("no object")
    # It need not be there.
    return b64decode(told.get("bytes") or "", validate=True)


class EventStreamMeter:
    """Meter of ``application/vnd.amazon.eventstream``, whatever the operation: the events say themselves what they are.

    A chunk that cannot be read is a fault where nothing after it told what all of them came to.

    Attributes:
        fault: why the reading may be less than AWS told, or None.
        first: head of the first message once its headers are complete, else None.
    """

    __slots__ = ("_broken", "_decoder", "_heads", "_looking", "_metadata", "_stopped", "_tally", "_unreadable", "first")

    def __init__(self, headers: Mapping[str, str], heads: MessageHeads | None = None) -> None:
        self._tally = Tally()
        self._heads = MessageHeads() if heads is None else heads
        self._looking = True
        self._decoder = MessageDecoder(heads=self._heads.looking)
        self._broken = False
        self._stopped = False
        self._metadata = False
        self._unreadable = False
        self.first: Message | None = None
        read_headers(headers, self._tally)

    @property
    def fault(self) -> str | None:
        """Why the reading may be less than AWS told, or None."""
        tally = self._tally
        return tally.fault or ("chunk-unreadable" if self._unreadable and not tally.terminal else None)

    @property
    def mid_message(self) -> bool:
        """Whether an end here would cut a message; True also where the framing was broken."""
        return self._broken or self._decoder.mid_message

    def receive_data(self, data: bytes) -> None:
        """Take bytes as they arrived."""
        if self._broken:
            return
        decoder, said = self._decoder, self._tally.said
        try:
            decoder.receive_data(data)
            while (message := decoder.next_message()) is not None:
                if self.first is None:
                    self.first = message
                headers = message.headers
                if headers.get(":event-type") == "contentBlockDelta":
                    length = message.payload_length
                    passed = said.bytes + length
                    if passed < said.until and length <= said.long and not self._looking:
                        said.bytes = passed
                    else:
                        self._look(message)
                else:
                    self._take(message)
            if self.first is None:
                self.first = decoder.head
        except EventStreamError as error:
            self._break(f"event-stream:{type(error).__name__}")
        except Exception as error:  # a fault of the meter must never reach the stream
            self._break(f"meter:{type(error).__name__}")

    def receive_eof(self) -> None:
        """Take note of the end."""
        if not self._broken and self._decoder.mid_message:
            self._tally.fault = self._tally.fault or "event-stream:TruncatedMessage"

    def reading(self) -> Reading:
        """Give what is known by now."""
        self._tally.terminal = self._tally.terminal or (self._stopped and self._metadata)
        reading = self._tally.reading()
        reading.fault = self.fault
        return reading

    def _look(self, message: Message) -> None:
        """Take words, and have what the next ones say kept where that is to be looked at."""
        looking = self._tally.said.hear(message.payload_length, message.payload)
        if looking is not self._looking:
            self._looking = looking
            self._decoder.use(self._heads.looking if looking else self._heads.passing)

    def _break(self, fault: str) -> None:
        self._broken = True
        self._tally.fault = self._tally.fault or fault

    def _take(self, message: Message) -> None:
        event = message.headers.get(":event-type")
        payload = message.payload
        if event == "chunk":
            # Three bytes of answer in four of base64.
            self._take_chunk(message.payload_length * 3 // 4, payload)
        elif event == "metadata":
            if payload is None:
                self._tally.fault = self._tally.fault or "metadata-too-large"
                return
            self._metadata = True
            self._read(payload)
        elif event == "messageStop":
            self._stopped = True
            if payload is not None and b"guardrail_intervened" in payload:
                self._tally.guarded = True
        elif message.headers.get(":message-type") != "event":
            self._take_exception(message)

    def _take_chunk(self, length: int, payload: bytes | None) -> None:
        try:
            inner = None if payload is None else _inner(payload)
        except (ValueError, TypeError, RecursionError):
            inner = None
            self._unreadable = True
        self._tally.said.hear(length, inner)
        if inner is not None and _tells(inner):
            self._read(inner)

    def _read(self, document: bytes) -> None:
        try:
            parsed = json.loads(document)
        except (ValueError, RecursionError):
            self._tally.fault = self._tally.fault or "event-unreadable"
            return
        read_document(parsed, self._tally)

    def _take_exception(self, message: Message) -> None:
        tally = self._tally
        kind = message.exception_type or message.error_code or "unknown"
        tally.exception_type = plain(kind, 80) if is_name(kind) else "unknown"
        text = message.headers.get(":error-message")
        if message.payload:
            try:
                body = json.loads(message.payload)
            except (ValueError, RecursionError):
                body = None
            if type(body) is dict:
                text = body.get("message") or body.get("Message") or text
        if isinstance(text, str):
            tally.exception_message = plain(text, MAX_TEXT)


class SseMeter:
    """Meter of ``text/event-stream`` in OpenAI's or Anthropic's shape.

    A line is looked into only when it holds a needle; of a line under way at most ``MAX_LINE`` bytes are held.
    """

    __slots__ = ("_line", "_says", "_skipping", "_tally", "first")

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._tally = Tally()
        self._line = bytearray()
        self._skipping = False
        self._says = False
        self.first: Message | None = None
        read_headers(headers, self._tally)

    @property
    def fault(self) -> str | None:
        """Why the reading may be less than AWS told, or None."""
        return self._tally.fault

    @property
    def mid_message(self) -> bool:
        """Whether an end here would cut a line."""
        return self._skipping or bool(self._line)

    def receive_data(self, data: bytes) -> None:
        """Take bytes as they arrived."""
        try:
            self._receive(data)
        except Exception as error:  # a fault of the meter must never reach the stream
            self._tally.fault = self._tally.fault or f"meter:{type(error).__name__}"
            self._line.clear()

    def receive_eof(self) -> None:
        """Take note of the end."""
        if self.mid_message:
            self._tally.fault = self._tally.fault or "sse:cut"

    def reading(self) -> Reading:
        """Give what is known by now."""
        return self._tally.reading()

    def _receive(self, data: bytes) -> None:
        # A carriage return ends a line too (alone or before a line feed); the empty lines this makes mean nothing here.
        lines = data.replace(b"\r", b"\n").split(b"\n")
        for piece in lines[:-1]:
            if not self._skipping:
                if self._line:
                    piece = bytes(self._line) + piece
                    self._line.clear()
                if len(piece) <= MAX_LINE:
                    if piece:
                        self._take(piece)
                    continue
            self._pass_over(piece)
            self._skipping = False
        last = lines[-1]
        if self._skipping:
            self._pass_over(last)
        elif len(self._line) + len(last) > MAX_LINE:
            self._pass_over(bytes(self._line) + last)
            self._line.clear()
        else:
            self._line += last

    def _pass_over(self, piece: bytes) -> None:
        """Take a piece of a line that is too long: nobody looks into it."""
        length = len(piece)
        if not self._skipping:
            self._skipping, self._says = True, piece.startswith(b"data:")
            length -= len(b"data: ")
        if self._says:
            self._tally.said.pass_over(length)

    def _take(self, line: bytes) -> None:
        if not line.startswith(b"data:"):
            return
        value = line[5:].strip()
        if value == b"[DONE]":
            self._tally.terminal = True
            return
        self._tally.said.hear(len(value), value)
        if _tells(value):
            try:
                document = json.loads(value)
            except (ValueError, RecursionError):
                self._tally.fault = self._tally.fault or "event-unreadable"
                return
            if type(document) is dict and type(document.get("response")) is dict:
                document = document["response"]  # OpenAI's Responses shape: response.completed
            read_document(document, self._tally)
