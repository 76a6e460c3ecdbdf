"""Event-stream bytes laid out by hand, right or wrong in any part, without the encoder under test."""

from __future__ import annotations

from struct import pack
from zlib import crc32


def header(name: bytes, value_type: int, value: bytes) -> bytes:
    """One header; ``value`` as on the wire, its length included where it has one."""
    return pack("!B", len(name)) + name + pack("!B", value_type) + value


def text(name: bytes, value: bytes) -> bytes:
    """One header of type 7."""
    return header(name, 7, pack("!H", len(value)) + value)


def frame(
    headers: bytes = b"",
    payload: bytes = b"",
    *,
    total_length: int | None = None,
    headers_length: int | None = None,
    prelude_crc: int | None = None,
    message_crc: int | None = None,
) -> bytes:
    """A message whose lengths and checksums are right unless given."""
    lengths = pack(
        "!II",
        16 + len(headers) + len(payload) if total_length is None else total_length,
        len(headers) if headers_length is None else headers_length,
    )
    body = lengths + pack("!I", crc32(lengths) if prelude_crc is None else prelude_crc) + headers + payload
    return body + pack("!I", crc32(body) if message_crc is None else message_crc)
