"""One message of ``application/vnd.amazon.eventstream``: layout, limits, headers, checksums, and how to encode one.

Knows what the bytes of a message are. Must not know what a message means, nor that messages arrive in pieces
(``wire.eventstream``): it takes and returns whole parts.

A message, all numbers big-endian and unsigned::

     0  total_length    u32   whole message, these four bytes and the message CRC included; 16 at least
     4  headers_length  u32
     8  prelude CRC     u32   CRC-32 of bytes 0 to 8
    12  headers               headers_length bytes
     …  payload               total_length - headers_length - 16 bytes
    -4  message CRC     u32   CRC-32 of everything before it, prelude CRC included

A header is ``name length u8 · name (UTF-8) · value type u8 · value``; a name may occur once, the order is free.

==== ========================= ===========================
type value on the wire          value in ``Message.headers``
==== ========================= ===========================
0, 1 nothing                    True, False
2–5  i8, i16, i32, i64          int
6    u16 length, bytes          bytes
7    u16 length, UTF-8          str
8    i64, ms since 1970 UTC     int (a datetime could not hold every one)
9    16 bytes                   bytes (a UUID)
==== ========================= ===========================

Source: Smithy, "Amazon Event Stream Specification" (smithy.io, aws/amazon-eventstream). Limits: botocore's
``eventstream.py`` takes payloads up to 24 MiB and headers up to 128 KiB, smithy-python payloads up to 16 MiB; the
larger ones hold here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from struct import Struct
from zlib import crc32

import attrs

from bedrock_gateway.errors import EventStreamError

__all__ = [
    "CRC_LENGTH",
    "LENGTHS",
    "MAX_HEADERS_LENGTH",
    "MAX_PAYLOAD_LENGTH",
    "PRELUDE_LENGTH",
    "U32",
    "ChecksumMismatch",
    "DuplicateHeader",
    "HeaderValue",
    "HeadersTooLong",
    "InvalidHeader",
    "InvalidPrelude",
    "Message",
    "PayloadTooLong",
    "TruncatedMessage",
    "check_prelude",
    "encode_event",
    "encode_exception",
    "encode_message",
    "parse_headers",
]

KIBIBYTE = 1024
MEBIBYTE = 1024 * KIBIBYTE

MAX_PAYLOAD_LENGTH = 24 * MEBIBYTE
MAX_HEADERS_LENGTH = 128 * KIBIBYTE
# What is sent keeps to the narrowest reader: aws-c-event-stream takes names up to 127 bytes and values up to 32,767.
MAX_SENT_NAME_LENGTH = 127
MAX_SENT_VALUE_LENGTH = 32_767

PRELUDE_LENGTH = 12
CRC_LENGTH = 4
OVERHEAD = PRELUDE_LENGTH + CRC_LENGTH

LENGTHS = Struct("!II")
_PRELUDE = Struct("!III")
_U16 = Struct("!H")
U32 = Struct("!I")
_I32 = Struct("!i")
_I64 = Struct("!q")
_FIXED = {2: Struct("!b"), 3: Struct("!h"), 4: _I32, 5: _I64, 8: _I64, 9: Struct("!16s")}

HeaderValue = bool | int | bytes | str


class InvalidPrelude(EventStreamError):
    """Lengths that contradict each other: a message shorter than 16 bytes or than its own headers."""

    def __init__(self, total_length: int, headers_length: int) -> None:
        super().__init__(f"a message of {total_length} bytes cannot hold {headers_length} bytes of headers")
        self.total_length = total_length
        self.headers_length = headers_length


class HeadersTooLong(EventStreamError):
    """Headers longer than MAX_HEADERS_LENGTH."""

    def __init__(self, length: int) -> None:
        super().__init__(f"headers of {length} bytes are longer than {MAX_HEADERS_LENGTH}")
        self.length = length


class PayloadTooLong(EventStreamError):
    """A payload longer than MAX_PAYLOAD_LENGTH."""

    def __init__(self, length: int) -> None:
        super().__init__(f"a payload of {length} bytes is longer than {MAX_PAYLOAD_LENGTH}")
        self.length = length


class ChecksumMismatch(EventStreamError):
    """The CRC of a prelude or of a message is not that of its bytes."""

    def __init__(self, part: str, expected: int, calculated: int) -> None:
        super().__init__(f"{part} CRC: expected 0x{expected:08x}, calculated 0x{calculated:08x}")
        self.part = part
        self.expected = expected
        self.calculated = calculated


class InvalidHeader(EventStreamError):
    """A header that cannot be read. ``offset`` is where it begins, in bytes from the first header."""

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(f"header at byte {offset} of the headers: {reason}")
        self.offset = offset
        self.reason = reason


class DuplicateHeader(EventStreamError):
    """A header name that occurs twice in one message."""

    def __init__(self, name: str) -> None:
        super().__init__(f"header {name!r} occurs twice")
        self.name = name


class TruncatedMessage(EventStreamError):
    """The stream ended in the middle of a message."""

    def __init__(self) -> None:
        super().__init__("the stream ended in the middle of a message")


@attrs.frozen
class Message:
    """One message, or the head of one under way.

    Attributes:
        headers: name to value, read-only; types as in the table above.
        payload_length: bytes, also where the payload was skipped.
        payload: the payload, or None where it was skipped or is still to come.
    """

    headers: Mapping[str, HeaderValue]
    payload_length: int
    payload: bytes | None = None

    @property
    def message_type(self) -> str | None:
        """``event``, ``exception`` or ``error``."""
        return self._text(":message-type")

    @property
    def event_type(self) -> str | None:
        """Which event, for example ``contentBlockDelta``."""
        return self._text(":event-type")

    @property
    def exception_type(self) -> str | None:
        """Which modelled exception, in lower camel case: ``throttlingException``."""
        return self._text(":exception-type")

    @property
    def error_code(self) -> str | None:
        """Code of an error that is not modelled (message type ``error``)."""
        return self._text(":error-code")

    def _text(self, name: str) -> str | None:
        value = self.headers.get(name)
        return value if isinstance(value, str) else None


def encode_message(headers: Mapping[str, HeaderValue], payload: bytes = b"") -> bytes:
    """Encode one message.

    A str is sent as type 7, bytes as 6, a bool as 0 or 1, an int as 4, or 5 where 32 bits do not hold it.

    Raises ValueError for what no reader need accept: an empty name or one over 127 bytes, a value over 32,767 bytes or
    64 bits, headers or a payload over the limits.
    """
    block = b"".join([_encode_header(name, value) for name, value in headers.items()])
    if len(block) > MAX_HEADERS_LENGTH:
        raise ValueError(f"headers of {len(block)} bytes are longer than {MAX_HEADERS_LENGTH}")
    if len(payload) > MAX_PAYLOAD_LENGTH:
        raise ValueError(f"a payload of {len(payload)} bytes is longer than {MAX_PAYLOAD_LENGTH}")
    lengths = LENGTHS.pack(OVERHEAD + len(block) + len(payload), len(block))
    head = b"".join((lengths, U32.pack(crc32(lengths)), block))
    return b"".join((head, payload, U32.pack(crc32(payload, crc32(head)))))


def encode_event(event_type: str, payload: bytes, content_type: str = "application/json") -> bytes:
    """Encode an event with the headers AWS gives it, in AWS's order."""
    return encode_message(
        {":event-type": event_type, ":content-type": content_type, ":message-type": "event"},
        payload,
    )


def encode_exception(exception_type: str, message: str) -> bytes:
    """Encode a modelled exception: the one way to tell a client of a fault once a stream has begun.

    ``exception_type`` in lower camel case, as the operation models it (``throttlingException``); the payload is
    ``{"message": message}``.
    """
    return encode_message(
        {":exception-type": exception_type, ":content-type": "application/json", ":message-type": "exception"},
        json.dumps({"message": message}).encode(),
    )


def check_prelude(prelude: bytearray) -> int:
    """Check lengths and CRC of the prelude that ``prelude`` begins with; return the length of the headers."""
    total_length, headers_length, expected = _PRELUDE.unpack_from(prelude)
    # The CRC first: text read as a prelude (an error body in JSON) fails here, before its lengths mean anything.
    calculated = crc32(prelude[: LENGTHS.size])
    if expected != calculated:
        raise ChecksumMismatch("prelude", expected, calculated)
    payload_length = total_length - OVERHEAD - headers_length
    # botocore lets a total length of 12 pass.
    if payload_length < 0:
        raise InvalidPrelude(total_length, headers_length)
    if headers_length > MAX_HEADERS_LENGTH:
        raise HeadersTooLong(headers_length)
    if payload_length > MAX_PAYLOAD_LENGTH:
        raise PayloadTooLong(payload_length)
    return int(headers_length)


def parse_headers(block: bytes) -> dict[str, HeaderValue]:
    """Parse all headers of a message.

    Raises InvalidHeader (unknown value type, text that is not UTF-8, anything that runs over the end) or
    DuplicateHeader. botocore takes a string that runs over the end for a shorter one and lets KeyError,
    UnicodeDecodeError and struct.error out for the rest.
    """
    headers: dict[str, HeaderValue] = {}
    at = 0
    while at < len(block):
        start = at
        name_end = at + 1 + block[at]
        if name_end >= len(block):
            raise InvalidHeader(start, "its name runs over the end of the headers")
        name = _decode_text(block[at + 1 : name_end], start, "name")
        value_type = block[name_end]
        at = name_end + 1
        value: HeaderValue
        if value_type <= 1:
            value = value_type == 0
        elif (fixed := _FIXED.get(value_type)) is not None:
            if at + fixed.size > len(block):
                raise InvalidHeader(start, "its value runs over the end of the headers")
            (value,) = fixed.unpack_from(block, at)
            at += fixed.size
        elif value_type in (6, 7):
            # Two bytes of length that are not all there read as a value that is not all there.
            value_at = at + _U16.size
            value_end = value_at + int.from_bytes(block[at:value_at])
            if value_end > len(block):
                raise InvalidHeader(start, "its value runs over the end of the headers")
            value = block[value_at:value_end]
            if value_type == 7:
                value = _decode_text(value, start, "value")
            at = value_end
        else:
            raise InvalidHeader(start, f"unknown value type {value_type}")
        if name in headers:
            raise DuplicateHeader(name)
        headers[name] = value
    return headers


def _decode_text(data: bytes, offset: int, what: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidHeader(offset, f"its {what} is not UTF-8") from error


def _encode_header(name: str, value: HeaderValue) -> bytes:
    name_bytes = name.encode()
    if not 1 <= len(name_bytes) <= MAX_SENT_NAME_LENGTH:
        raise ValueError(f"a header name of {len(name_bytes)} bytes; 1 to {MAX_SENT_NAME_LENGTH} are possible")
    if isinstance(value, bool):
        encoded = b"\x00" if value else b"\x01"
    elif isinstance(value, int):
        if -(1 << 31) <= value < 1 << 31:
            encoded = b"\x04" + _I32.pack(value)
        elif -(1 << 63) <= value < 1 << 63:
            encoded = b"\x05" + _I64.pack(value)
        else:
            raise ValueError(f"header {name!r}: the number needs more than 64 bits")
    else:
        value_bytes = value.encode() if isinstance(value, str) else value
        if len(value_bytes) > MAX_SENT_VALUE_LENGTH:
            raise ValueError(f"header {name!r}: a value of {len(value_bytes)} bytes is over {MAX_SENT_VALUE_LENGTH}")
        encoded = (b"\x07" if isinstance(value, str) else b"\x06") + _U16.pack(len(value_bytes)) + value_bytes
    return bytes((len(name_bytes),)) + name_bytes + encoded
