"""Tests of one event-stream message: headers, prelude, limits, encoding."""

from __future__ import annotations

import json

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_messages import frame, header, text

from bedrock_gateway.errors import EventStreamError
from bedrock_gateway.wire.messages import (
    MAX_HEADERS_LENGTH,
    MAX_PAYLOAD_LENGTH,
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

MANY = settings(deadline=None, max_examples=1_000)

names = st.text(min_size=1, max_size=30)
values: st.SearchStrategy[HeaderValue] = st.one_of(
    st.booleans(),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.integers(-(1 << 31), (1 << 31) - 1),
    st.binary(max_size=40),
    st.text(max_size=40),
)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (header(b"n", 0, b""), True),
        (header(b"n", 1, b""), False),
        (header(b"n", 2, b"\xff"), -1),
        (header(b"n", 3, b"\x80\x00"), -32768),
        (header(b"n", 4, b"\x00\x00\xa0\x0c"), 40972),
        (header(b"n", 5, b"\x7f" + b"\xff" * 7), (1 << 63) - 1),
        (header(b"n", 6, b"\x00\x02\x00\xff"), b"\x00\xff"),
        (header(b"n", 6, b"\x00\x00"), b""),
        (header(b"n", 7, b"\x00\x04\xf0\x9f\x8c\x8d"), "🌍"),
        (header(b"n", 8, b"\x00\x00\x00\x00\x00\x00\x03\xe8"), 1000),
        (header(b"n", 9, bytes(range(16))), bytes(range(16))),
    ],
)
def test_value_types(raw: bytes, expected: HeaderValue) -> None:
    """Each value type gives its Python value, and of the documented class."""
    (value,) = parse_headers(raw).values()

    assert (type(expected), expected) == (type(value), value)


def test_headers_keep_their_order() -> None:
    """Headers come out in the order of the wire, the longest name and a value over the sent limit included."""
    block = text(b"z" * 255, b"v" * 65_535) + header(b"", 0, b"") + text(b"a", b"")

    assert [("z" * 255, "v" * 65_535), ("", True), ("a", "")] == list(parse_headers(block).items())


@pytest.mark.parametrize(
    ("block", "offset", "reason"),
    [
        (b"\x05", 0, "its name runs over the end of the headers"),
        (b"\x05abc", 0, "its name runs over the end of the headers"),
        (b"\x03abc", 0, "its name runs over the end of the headers"),
        (b"\x00", 0, "its name runs over the end of the headers"),
        (text(b"a", b"b") + b"\x09", 6, "its name runs over the end of the headers"),
        (header(b"n", 2, b""), 0, "its value runs over the end of the headers"),
        (header(b"n", 3, b"\x00"), 0, "its value runs over the end of the headers"),
        (header(b"n", 4, b"\x00" * 3), 0, "its value runs over the end of the headers"),
        (header(b"n", 5, b"\x00" * 7), 0, "its value runs over the end of the headers"),
        (header(b"n", 8, b"\x00" * 7), 0, "its value runs over the end of the headers"),
        (header(b"n", 9, b"\x00" * 15), 0, "its value runs over the end of the headers"),
        (header(b"n", 6, b""), 0, "its value runs over the end of the headers"),
        (header(b"n", 6, b"\x00"), 0, "its value runs over the end of the headers"),
        (header(b"n", 7, b"\x00\x03ab"), 0, "its value runs over the end of the headers"),
        (header(b"n", 7, b"\xff\xffab"), 0, "its value runs over the end of the headers"),
        (header(b"n", 10, b""), 0, "unknown value type 10"),
        (header(b"n", 255, b""), 0, "unknown value type 255"),
        (header(b"\xff", 0, b""), 0, "its name is not UTF-8"),
        (text(b"a", b"b") + text(b"n", b"\xc3"), 6, "its value is not UTF-8"),
        (text(b"n", b"\xed\xa0\x80"), 0, "its value is not UTF-8"),
    ],
)
def test_invalid_headers(block: bytes, offset: int, reason: str) -> None:
    """A header that cannot be read is an InvalidHeader that says where and why."""
    with pytest.raises(InvalidHeader) as caught:
        parse_headers(block)

    assert (offset, reason) == (caught.value.offset, caught.value.reason)
    assert f"header at byte {offset} of the headers: {reason}" == str(caught.value)


def test_duplicate_header() -> None:
    """A name that occurs twice is refused, even with the same value."""
    with pytest.raises(DuplicateHeader) as caught:
        parse_headers(text(b":a", b"b") * 2)

    assert ":a" == caught.value.name
    assert "header ':a' occurs twice" == str(caught.value)


@given(st.binary(max_size=60))
@MANY
def test_any_block_gives_headers_or_an_error_of_the_family(block: bytes) -> None:
    """No bytes make the header parser fail in any other way."""
    try:
        headers = parse_headers(block)
    except EventStreamError:
        return
    assert len(block) >= 2 * len(headers)


@pytest.mark.parametrize(
    ("total_length", "headers_length", "expected"),
    [
        (16, 0, 0),
        (20, 4, 4),
        (16 + MAX_HEADERS_LENGTH + MAX_PAYLOAD_LENGTH, MAX_HEADERS_LENGTH, MAX_HEADERS_LENGTH),
        (16 + MAX_PAYLOAD_LENGTH, 0, 0),
    ],
)
def test_prelude(total_length: int, headers_length: int, expected: int) -> None:
    """A prelude within the limits gives the length of its headers."""
    prelude = frame(total_length=total_length, headers_length=headers_length)[:12]

    assert expected == check_prelude(bytearray(prelude))


@pytest.mark.parametrize(
    ("total_length", "headers_length", "error", "said"),
    [
        (0, 0, InvalidPrelude, "a message of 0 bytes cannot hold 0 bytes of headers"),
        (12, 0, InvalidPrelude, "a message of 12 bytes cannot hold 0 bytes of headers"),
        (15, 0, InvalidPrelude, "a message of 15 bytes cannot hold 0 bytes of headers"),
        (20, 5, InvalidPrelude, "a message of 20 bytes cannot hold 5 bytes of headers"),
        (16, 0xFFFFFFFF, InvalidPrelude, "a message of 16 bytes cannot hold 4294967295 bytes of headers"),
        (16 + 131_073, 131_073, HeadersTooLong, "headers of 131073 bytes are longer than 131072"),
        (16 + 25_165_825, 0, PayloadTooLong, "a payload of 25165825 bytes is longer than 25165824"),
        (0xFFFFFFFF, 0, PayloadTooLong, "a payload of 4294967279 bytes is longer than 25165824"),
    ],
)
def test_invalid_preludes(total_length: int, headers_length: int, error: type[EventStreamError], said: str) -> None:
    """Lengths that contradict each other or the limits are refused on the prelude alone."""
    prelude = frame(total_length=total_length, headers_length=headers_length)[:12]

    with pytest.raises(error) as caught:
        check_prelude(bytearray(prelude))

    assert said == str(caught.value)


def test_invalid_prelude_keeps_its_lengths() -> None:
    """The errors of a prelude hold the lengths they are about."""
    errors = (InvalidPrelude(12, 3), HeadersTooLong(131_073), PayloadTooLong(25_165_825))

    assert (12, 3, 131_073, 25_165_825) == (
        errors[0].total_length,
        errors[0].headers_length,
        errors[1].length,
        errors[2].length,
    )


def test_truncated_message_says_so() -> None:
    """The error of a cut stream says what was cut."""
    assert "the stream ended in the middle of a message" == str(TruncatedMessage())


def test_prelude_checksum() -> None:
    """A wrong prelude CRC is reported with both values, in hex."""
    with pytest.raises(ChecksumMismatch) as caught:
        check_prelude(bytearray(frame(prelude_crc=0xAB)))

    # CRC-32 of 00 00 00 10 00 00 00 00, as smithy's and botocore's vectors for the empty message have it.
    assert ("prelude", 0xAB, 0x05C248EB) == (caught.value.part, caught.value.expected, caught.value.calculated)
    assert "prelude CRC: expected 0x000000ab, calculated 0x05c248eb" == str(caught.value)


def test_empty_message() -> None:
    """The smallest message is the one of botocore's test vectors ("empty_message")."""
    vector = bytes.fromhex("00000010 00000000 05c248eb 7d98c8ff")

    assert vector == encode_message({})


def test_event() -> None:
    """An event carries the headers AWS gives it."""
    expected = frame(
        text(b":event-type", b"metadata") + text(b":content-type", b"text/plain") + text(b":message-type", b"event"),
        b"payload",
    )

    assert expected == encode_event("metadata", b"payload", "text/plain")
    assert b"application/json" in encode_event("metadata", b"{}")


def test_exception() -> None:
    """An exception carries its type and a message in JSON, whatever characters that has."""
    (message,) = botocore_messages(encode_exception("throttlingException", 'slow "down" \u00fc\ud800'))

    assert {
        ":exception-type": "throttlingException",
        ":content-type": "application/json",
        ":message-type": "exception",
    } == message.headers
    assert {"message": 'slow "down" \u00fc\ud800'} == json.loads(message.payload)


@pytest.mark.parametrize(
    ("value", "raw"),
    [
        (True, header(b"n", 0, b"")),
        (False, header(b"n", 1, b"")),
        (-(1 << 31), header(b"n", 4, b"\x80\x00\x00\x00")),
        ((1 << 31) - 1, header(b"n", 4, b"\x7f\xff\xff\xff")),
        (1 << 31, header(b"n", 5, b"\x00\x00\x00\x00\x80\x00\x00\x00")),
        (-(1 << 63), header(b"n", 5, b"\x80" + b"\x00" * 7)),
        (b"\x00", header(b"n", 6, b"\x00\x01\x00")),
        ("é", header(b"n", 7, b"\x00\x02\xc3\xa9")),
        ("v" * 32_767, header(b"n", 7, b"\x7f\xff" + b"v" * 32_767)),
    ],
)
def test_encoded_values(value: HeaderValue, raw: bytes) -> None:
    """Each Python value is sent as the documented value type."""
    assert frame(raw) == encode_message({"n": value})


@pytest.mark.parametrize(
    ("headers", "payload", "said"),
    [
        ({"": "v"}, b"", "a header name of 0 bytes; 1 to 127 are possible"),
        ({"é" * 64: "v"}, b"", "a header name of 128 bytes; 1 to 127 are possible"),
        ({"n": "v" * 32_768}, b"", "header 'n': a value of 32768 bytes is over 32767"),
        ({"n": b"v" * 32_768}, b"", "header 'n': a value of 32768 bytes is over 32767"),
        ({"n": 1 << 63}, b"", "header 'n': the number needs more than 64 bits"),
        ({"n": -(1 << 63) - 1}, b"", "header 'n': the number needs more than 64 bits"),
        ({str(n): "v" * 32_767 for n in range(4)}, b"", "headers of 131088 bytes are longer than 131072"),
        ({}, bytes(MAX_PAYLOAD_LENGTH + 1), "a payload of 25165825 bytes is longer than 25165824"),
    ],
)
def test_what_cannot_be_sent(headers: dict[str, HeaderValue], payload: bytes, said: str) -> None:
    """What a reader would refuse is not encoded."""
    with pytest.raises(ValueError) as caught:
        encode_message(headers, payload)

    assert said == str(caught.value)


@given(st.dictionaries(names, values, max_size=6), st.binary(max_size=200))
@MANY
def test_botocore_reads_what_is_encoded(headers: dict[str, HeaderValue], payload: bytes) -> None:
    """botocore accepts every encoded message and reads the same headers and payload out of it."""
    (message,) = botocore_messages(encode_message(headers, payload))

    assert headers == message.headers
    assert [type(value) for value in headers.values()] == [type(value) for value in message.headers.values()]
    assert payload == message.payload


@given(st.dictionaries(names, values, max_size=6))
@MANY
def test_headers_agree_with_botocore(headers: dict[str, HeaderValue]) -> None:
    """Headers are parsed as botocore parses them."""
    raw = encode_message(headers)

    assert headers == parse_headers(raw[12:-4])
    assert botocore_messages(raw)[0].headers == parse_headers(raw[12:-4])


def test_shorthands() -> None:
    """The shorthands of a message are its headers of these names."""
    message = Message(
        {":message-type": "m", ":event-type": "e", ":exception-type": "x", ":error-code": "c"}, payload_length=0
    )

    assert ("m", "e", "x", "c") == (
        message.message_type,
        message.event_type,
        message.exception_type,
        message.error_code,
    )


def test_shorthands_are_text_or_none() -> None:
    """A header that is absent or no text is None, so that nobody compares a number with a name."""
    message = Message({":message-type": 7, ":event-type": b"e"}, payload_length=0)

    assert (None, None, None) == (message.message_type, message.event_type, message.error_code)


def botocore_messages(data: bytes) -> list:
    """All messages botocore's decoder finds."""
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    return list(buffer)
