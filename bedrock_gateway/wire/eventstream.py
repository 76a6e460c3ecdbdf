"""Decoder of ``application/vnd.amazon.eventstream``: bytes in any chunks to messages, without any I/O.

Knows how messages follow each other in a stream. Must not know what a message means, where bytes come from or go to,
nor what is done about an error. What a message is made of stands in ``wire.messages``; its names are offered here too.

Source: Smithy, "Amazon Event Stream Specification" (smithy.io, aws/amazon-eventstream).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeVar
from zlib import crc32

from bedrock_gateway.errors import EventStreamError
from bedrock_gateway.wire.messages import (
    CRC_LENGTH,
    LENGTHS,
    MAX_HEADERS_LENGTH,
    MAX_PAYLOAD_LENGTH,
    PRELUDE_LENGTH,
    U32,
    ChecksumMismatch,
    DuplicateHeader,
    HeadersTooLong,
    HeaderValue,
    InvalidHeader,
    InvalidPrelude,
    Message,
    PayloadTooLong,
    TruncatedMessage,
    check_prelude,
    encode_event,
    encode_exception,
    encode_message,
    parse_headers,
)

__all__ = [
    "MAX_HEADERS_LENGTH",
    "MAX_PAYLOAD_LENGTH",
    "ChecksumMismatch",
    "DuplicateHeader",
    "HeaderValue",
    "HeadersTooLong",
    "Heads",
    "InvalidHeader",
    "InvalidPrelude",
    "Message",
    "MessageDecoder",
    "PayloadTooLong",
    "TruncatedMessage",
    "encode_event",
    "encode_exception",
    "encode_message",
]

# A head longer than this is not remembered: those of Bedrock's streams are around 100 bytes long.
MAX_REMEMBERED_HEAD = 1024  # bytes

# Bound once: a message a stream has many of costs well under a microsecond, of which a look-up is a visible part.
_u32_at = U32.unpack_from

# A head as remembered: the message without payload, length of prelude and headers, length of the payload, CRC-32 of
# prelude and headers, whether the payload is wanted. A plain tuple, because it is unpacked once a message.
_Known = tuple[Message, int, int, int, bool]

_V = TypeVar("_V")


class Heads:
    """Reads heads (prelude and headers), decides whose payload is kept, and remembers what it decided.

    The messages of one kind of stream differ in payload, hardly in head, so most heads are equal byte for byte to one
    seen before, and what it says is then known. One instance may serve any number of decoders. Memory is bounded by
    ``remember`` heads of at most MAX_REMEMBERED_HEAD bytes, the oldest forgotten first.

    Args:
        wants: whether to keep the payload of a message with this head (payload None); None keeps all. Asked once for
            equal heads, so it must answer by the head alone, and before the message CRC is known to be right.
        keep_at_most: bytes; a longer payload is skipped even if wanted.
        remember: how many heads.
    """

    __slots__ = ("_headers", "_keep_at_most", "_remember", "_wants", "known")

    def __init__(
        self,
        *,
        wants: Callable[[Message], bool] | None = None,
        keep_at_most: int = MAX_PAYLOAD_LENGTH,
        remember: int = 64,
    ) -> None:
        self._wants = wants
        self._keep_at_most = keep_at_most
        self._remember = remember
        # Headers by their bytes: heads that differ only in the lengths share them.
        self._headers: dict[bytes, Mapping[str, HeaderValue]] = {}
        self.known: dict[bytes, _Known] = {}

    def read(self, head: bytes) -> _Known:
        """Read a whole head whose prelude has been checked.

        Raises InvalidHeader or DuplicateHeader.
        """
        known = self.known.get(head)
        if known is None:
            total_length, _ = LENGTHS.unpack_from(head)
            block = head[PRELUDE_LENGTH:]
            headers = self._headers.get(block)
            short = len(head) <= MAX_REMEMBERED_HEAD
            if headers is None:
                headers = MappingProxyType(parse_headers(block))
                if short:
                    _remember(self._headers, block, headers, self._remember)
            payload_length = total_length - len(head) - CRC_LENGTH
            message = Message(headers, payload_length)
            wanted = payload_length <= self._keep_at_most and (self._wants is None or self._wants(message))
            known = (message, len(head), payload_length, crc32(head), wanted)
            if short:
                _remember(self.known, head, known, self._remember)
        return known


class MessageDecoder:
    """Bytes in, messages out: ``receive_data()`` stores, ``next_message()`` parses.

    Call ``next_message()`` until it returns None after each ``receive_data()``: then no more is held than the head
    under way and, if wanted, its payload so far. Every byte is looked at a fixed number of times, whatever the
    chunks. Malformed input shows only as an EventStreamError raised by ``next_message()``, after the messages before
    the fault; from then on it always raises that error.

    Args:
        wants, keep_at_most: as for Heads; not looked at where ``heads`` is given.
        heads: shared by the decoders of one kind of stream, so that each need not learn its heads anew.
    """

    __slots__ = (
        "_at",
        "_crc",
        "_data",
        "_ended",
        "_error",
        "_head_length",
        "_heads",
        "_inbox",
        "_known_heads",
        "_left",
        "_payload",
        "_pending",
        "_stirred",
        "_under_way",
    )

    def __init__(
        self,
        *,
        wants: Callable[[Message], bool] | None = None,
        keep_at_most: int = MAX_PAYLOAD_LENGTH,
        heads: Heads | None = None,
    ) -> None:
        self._heads = Heads(wants=wants, keep_at_most=keep_at_most) if heads is None else heads
        self._known_heads = self._heads.known
        # What was received and not yet read: the chunk being read from `_at` on, then the chunks after it.
        self._data = b""
        self._at = 0
        self._inbox: list[bytes] = []
        self._ended = False
        self._error: EventStreamError | None = None
        # Set when there is more to look at than `_data`: later chunks, the end, an error.
        self._stirred = False
        # The message under way: bytes of an unfinished head or message CRC; the finished head; how much of the
        # payload is left, the CRC so far, the payload so far.
        self._pending = bytearray()
        self._under_way: _Known | None = None
        self._left = 0
        self._crc = 0
        self._payload: bytearray | None = None
        # Length of the last head, which the next one probably has too; 0 in mid-message, where none can begin.
        self._head_length = 0

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes as they arrived, of any number; nothing is reported here.

        Raises RuntimeError after ``receive_eof()``.
        """
        if self._at == len(self._data) and not self._stirred:
            self._data = data if type(data) is bytes else bytes(data)
            self._at = 0
        elif self._error is not None:
            return
        elif self._ended:
            raise RuntimeError("data received after the end of the stream")
        else:
            self._inbox.append(bytes(data))
            self._stirred = True

    def use(self, heads: Heads) -> None:
        """Read the heads from the next one on with these."""
        self._heads = heads
        self._known_heads = heads.known

    def receive_eof(self) -> None:
        """Take note that the stream has ended."""
        self._ended = True
        self._stirred = True

    def next_message(self) -> Message | None:
        """Return the next whole message, or None when that needs more data (or, after the end, when there is none).

        Raises an EventStreamError: ChecksumMismatch, InvalidPrelude, HeadersTooLong, PayloadTooLong, InvalidHeader,
        DuplicateHeader, TruncatedMessage.
        """
        data = self._data
        at = self._at
        if at == len(data) and not self._stirred:
            # A chunk that has been read is not kept until the next one comes, which may be minutes.
            self._data, self._at = b"", 0
            return None
        # The short way: the whole message lies in the chunk and its head is known. Whatever it cannot do, faults
        # included, is left to the long way, which begins again at the same byte.
        known = self._known_heads.get(data[at : at + self._head_length])
        if known is not None:
            message, head_length, payload_length, crc, wanted = known
            payload_at = at + head_length
            crc_at = payload_at + payload_length
            if crc_at + CRC_LENGTH <= len(data):
                payload = data[payload_at:crc_at]
                if crc32(payload, crc) == _u32_at(data, crc_at)[0]:
                    self._at = crc_at + CRC_LENGTH
                    return Message(message.headers, payload_length, payload) if wanted else message
        return self._next_message_long_way()

    @property
    def head(self) -> Message | None:
        """Head of the message under way (payload None) once ``next_message()`` has read its headers whole, else None.

        Its message CRC is not yet known to be right.
        """
        return None if self._under_way is None else self._under_way[0]

    @property
    def mid_message(self) -> bool:
        """Whether an end now would cut a message, asked once ``next_message()`` returned None; after an error True."""
        return (
            self._error is not None
            or self._under_way is not None
            or bool(self._pending)
            or self._at < len(self._data)
            or bool(self._inbox)
        )

    def _next_message_long_way(self) -> Message | None:
        if self._error is not None:
            raise self._error.with_traceback(None)
        try:
            message = self._advance()
            if message is None and self._ended and self.mid_message:
                raise TruncatedMessage
        except EventStreamError as error:
            self._error = error
            self._stirred = True
            self._data, self._at, self._head_length = b"", 0, 0
            self._inbox.clear()
            self._pending.clear()
            self._under_way = self._payload = None
            raise
        return message

    def _advance(self) -> Message | None:
        """Read on until a message is complete or the data is used up."""
        known = self._under_way
        if known is None:
            self._head_length = 0
            if not self._gather(PRELUDE_LENGTH):
                return None
            headers_length = check_prelude(self._pending)
            if not self._gather(PRELUDE_LENGTH + headers_length):
                return None
            known = self._under_way = self._heads.read(bytes(self._pending))
            self._pending.clear()
            _, _, self._left, self._crc, wanted = known
            self._payload = bytearray() if wanted else None
        while self._left:
            piece = self._take(self._left)
            if not piece:
                return None
            self._left -= len(piece)
            self._crc = crc32(piece, self._crc)
            if self._payload is not None:
                self._payload += piece
        if not self._gather(CRC_LENGTH):
            return None
        (expected,) = U32.unpack(self._pending)
        if expected != self._crc:
            raise ChecksumMismatch("message", expected, self._crc)
        message, self._head_length, payload_length, _, _ = known
        if self._payload is not None:
            message = Message(message.headers, payload_length, bytes(self._payload))
        self._pending.clear()
        self._under_way = self._payload = None
        return message

    def _gather(self, length: int) -> bool:
        """Bring the bytes set aside up to ``length``; False when the data is used up before."""
        while len(self._pending) < length:
            piece = self._take(length - len(self._pending))
            if not piece:
                return False
            self._pending += piece
        return True

    def _take(self, most: int) -> memoryview:
        """Take at most so many bytes of what was received, without a copy; none when it is used up."""
        if self._at == len(self._data):
            # Joining what has come meanwhile copies a byte once, however small the chunks.
            self._data, self._at = b"".join(self._inbox), 0
            self._inbox.clear()
            self._stirred = self._ended
        piece = memoryview(self._data)[self._at : self._at + most]
        self._at += len(piece)
        return piece


def _remember(memory: dict[bytes, _V], key: bytes, value: _V, most: int) -> None:
    """Keep a value under a new key, forgetting the oldest where there would be more than ``most``."""
    if most:
        if len(memory) >= most:
            del memory[next(iter(memory))]
        memory[key] = value
