"""Tests of the event-stream decoder: any bytes in any chunks."""

from __future__ import annotations

import tracemalloc

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_messages import frame, header, text

from bedrock_gateway.errors import EventStreamError
from bedrock_gateway.wire import eventstream
from bedrock_gateway.wire.eventstream import (
    ChecksumMismatch,
    DuplicateHeader,
    HeadersTooLong,
    HeaderValue,
    Heads,
    InvalidHeader,
    InvalidPrelude,
    Message,
    MessageDecoder,
    PayloadTooLong,
    TruncatedMessage,
    encode_event,
    encode_message,
)

MANY = settings(deadline=None, max_examples=150)

EVENT = encode_event("contentBlockDelta", b'{"contentBlockIndex":0,"delta":{"text":"Hi"},"p":"abc"}')
OTHER = encode_event("metadata", b'{"usage":{"inputTokens":1}}')
EMPTY = frame()
NO_HEADERS = frame(payload=b"payload")
NO_PAYLOAD = frame(text(b":event-type", b"ping"))

# A list of stand-ins for a stream, each with what is in it, as (headers, payload).
STREAMS = {
    "one": EVENT,
    "two": EVENT + OTHER,
    "alike": EVENT * 3,
    "empty": EMPTY,
    "empties": EMPTY * 3 + EVENT,
    "no headers": NO_HEADERS + EVENT,
    "no payload": NO_PAYLOAD * 2 + OTHER,
    "mixed": EVENT + EMPTY + OTHER + NO_PAYLOAD + EVENT + NO_HEADERS,
}

PRELUDE_OF_16 = frame()[:12]

# name, bytes after a good message, error
FAULTS = [
    ("json error body", b'{"message":"The security token is invalid."}', ChecksumMismatch),
    ("html", b"<html><body>Bad Gateway</body></html>", ChecksumMismatch),
    ("zeros", bytes(16), ChecksumMismatch),
    ("prelude crc", frame(prelude_crc=1), ChecksumMismatch),
    ("message crc", frame(payload=b"p", message_crc=1), ChecksumMismatch),
    ("message crc, known head", EVENT[:-1] + bytes([EVENT[-1] ^ 1]), ChecksumMismatch),
    ("flipped payload bit, known head", EVENT[:-6] + bytes([EVENT[-6] ^ 1]) + EVENT[-5:], ChecksumMismatch),
    ("total length 0", frame(total_length=0), InvalidPrelude),
    ("total length 12", frame(total_length=12), InvalidPrelude),
    ("total length 15", frame(total_length=15), InvalidPrelude),
    ("headers over the message", frame(total_length=20, headers_length=5), InvalidPrelude),
    ("headers too long", frame(total_length=16 + 131_073, headers_length=131_073), HeadersTooLong),
    ("payload too long", frame(total_length=16 + 25_165_825), PayloadTooLong),
    ("four gigabytes", frame(total_length=0xFFFFFFFF), PayloadTooLong),
    ("unknown value type", frame(header(b"n", 10, b"")), InvalidHeader),
    ("name over the headers", frame(b"\x09abc"), InvalidHeader),
    ("value over the headers, into the payload", frame(header(b"n", 7, b"\x00\x05abc"), b"payload"), InvalidHeader),
    ("name no UTF-8", frame(header(b"\xff", 0, b"")), InvalidHeader),
    ("value no UTF-8", frame(text(b"n", b"\xff")), InvalidHeader),
    ("same name twice", frame(text(b"n", b"a") + text(b"n", b"b")), DuplicateHeader),
    ("cut in the prelude", EVENT[:5], TruncatedMessage),
    ("cut after the prelude", EVENT[:12], TruncatedMessage),
    ("cut in the headers", EVENT[:30], TruncatedMessage),
    ("cut in the payload", EVENT[:-10], TruncatedMessage),
    ("cut before the crc", EVENT[:-4], TruncatedMessage),
    ("cut in the crc", EVENT[:-1], TruncatedMessage),
    ("one byte", b"\x00", TruncatedMessage),
]


def pull(decoder: MessageDecoder) -> list[Message]:
    """All messages that are there."""
    messages = []
    while (message := decoder.next_message()) is not None:
        messages.append(message)
    return messages


def decode(chunks: list[bytes], decoder: MessageDecoder | None = None) -> list[Message]:
    """All messages of a whole stream, pulled after each chunk."""
    decoder = decoder or MessageDecoder()
    messages = []
    for chunk in chunks:
        decoder.receive_data(chunk)
        messages += pull(decoder)
    decoder.receive_eof()
    return messages + pull(decoder)


def single_bytes(data: bytes) -> list[bytes]:
    """One chunk a byte."""
    return [data[at : at + 1] for at in range(len(data))]


def by_botocore(data: bytes) -> list[tuple[dict[str, HeaderValue], bytes]]:
    """Headers and payloads as botocore reads them."""
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    return [(message.headers, message.payload) for message in buffer]


@pytest.mark.parametrize("data", STREAMS.values(), ids=STREAMS.keys())
def test_any_split_gives_the_same_messages(data: bytes) -> None:
    """A stream gives botocore's messages whole, byte by byte, split at every point, and with the next message begun."""
    expected = by_botocore(data)

    def found(chunks: list[bytes]) -> list[tuple[dict[str, HeaderValue], bytes | None]]:
        return [(dict(message.headers), message.payload) for message in decode(chunks)]

    assert expected == found([data])
    assert expected == found(single_bytes(data))
    for at in range(len(data) + 1):
        assert expected == found([data[:at], data[at:]])
    decoder = MessageDecoder()
    decoder.receive_data(data + EVENT[:9])
    assert expected == [(message.headers, message.payload) for message in pull(decoder)]
    assert decoder.mid_message


@pytest.mark.parametrize("data", STREAMS.values(), ids=STREAMS.keys())
def test_data_may_wait(data: bytes) -> None:
    """Chunks taken one after another without asking give the same messages as asking after each."""
    expected = decode([data])
    decoder = MessageDecoder()
    for chunk in single_bytes(data):
        decoder.receive_data(chunk)

    assert expected == pull(decoder)
    assert not decoder.mid_message


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", "chunk"]), st.binary(max_size=300)), max_size=12),
    st.lists(st.integers(1, 200), min_size=1, max_size=30),
    st.sampled_from([0, 1, 64]),
    st.booleans(),
)
@MANY
def test_any_chunks_give_what_botocore_reads(
    events: list[tuple[str, bytes]], sizes: list[int], remember: int, pull_late: bool
) -> None:
    """Any messages in chunks of any sizes come out as botocore reads them, whatever is remembered of earlier ones."""
    data = b"".join([encode_event(name, payload) for name, payload in events])
    decoder = MessageDecoder(heads=Heads(remember=remember))
    messages, at, turn = [], 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        decoder.receive_data(data[at : at + size])
        at += size
        turn += 1
        if not pull_late or turn % 3 == 0:
            messages += pull(decoder)
    messages += pull(decoder)

    assert by_botocore(data) == [(message.headers, message.payload) for message in messages]
    assert not decoder.mid_message


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_bytes_like(kind: type) -> None:
    """Bytes, bytearrays and memoryviews are taken; what the caller does to its buffer later does not matter."""
    buffer = bytearray(EVENT + OTHER)
    decoder = MessageDecoder()
    decoder.receive_data(kind(buffer[:9]))
    decoder.receive_data(kind(buffer)[9:])
    buffer[:] = bytes(len(buffer))

    assert [message.event_type for message in decode([EVENT, OTHER])] == [
        message.event_type for message in pull(decoder)
    ]


@pytest.mark.parametrize("name, fault, error", FAULTS, ids=[name for name, _, _ in FAULTS])
def test_faults(name: str, fault: bytes, error: type[EventStreamError]) -> None:
    """A fault is one error of the family, after the messages before it, however they are split, and always that one."""
    data = EVENT + fault
    for chunks in ([data], single_bytes(data), [EVENT, fault], [data[:7], data[7:]]):
        decoder = MessageDecoder()
        for chunk in chunks:
            decoder.receive_data(chunk)
        decoder.receive_eof()
        first = decoder.next_message()
        with pytest.raises(error) as caught:
            decoder.next_message()
        with pytest.raises(error) as again:
            decoder.next_message()

        assert "contentBlockDelta" == first.event_type
        assert error is type(caught.value)
        assert caught.value is again.value
        assert decoder.mid_message
        assert decoder.head is None


def test_lengths_are_checked_on_the_prelude() -> None:
    """An error body in JSON is refused on its first 12 bytes, not waited for as a message of two gigabytes."""
    decoder = MessageDecoder()
    decoder.receive_data(b'{"message":"')

    with pytest.raises(ChecksumMismatch):
        decoder.next_message()


def test_nothing_is_taken_after_an_error() -> None:
    """Data after an error is dropped, also after the end, and the error stays."""
    decoder = MessageDecoder()
    decoder.receive_data(frame(prelude_crc=1))
    decoder.receive_data(EVENT)
    with pytest.raises(ChecksumMismatch) as caught:
        decoder.next_message()
    assert ([], b"") == (decoder._inbox, decoder._data)
    decoder.receive_data(EVENT)
    decoder.receive_eof()
    decoder.receive_data(EVENT)

    with pytest.raises(ChecksumMismatch) as again:
        decoder.next_message()
    assert caught.value is again.value


def test_clean_end() -> None:
    """After the end between two messages there is no message and no error, however often one asks."""
    decoder = MessageDecoder()
    decoder.receive_data(EVENT)
    decoder.receive_eof()

    assert ["contentBlockDelta"] == [message.event_type for message in pull(decoder)]
    assert [] == pull(decoder) + pull(decoder)
    assert not decoder.mid_message


def test_empty_stream() -> None:
    """A stream without a byte, or with empty chunks only, ends cleanly."""
    decoder = MessageDecoder()
    decoder.receive_data(b"")
    decoder.receive_data(b"")

    assert None is decoder.next_message()
    assert not decoder.mid_message
    decoder.receive_eof()
    assert None is decoder.next_message()


@pytest.mark.parametrize("asked", [0, 1, 2])
def test_data_after_the_end_is_the_callers_fault(asked: int) -> None:
    """Data after the end is no fault of the stream, so it is no EventStreamError; asking between changes nothing."""
    decoder = MessageDecoder()
    decoder.receive_eof()
    for _ in range(asked):
        assert None is decoder.next_message()

    with pytest.raises(RuntimeError, match="data received after the end of the stream"):
        decoder.receive_data(EVENT)


def test_head_is_there_before_the_payload() -> None:
    """The head of the message under way is there with the last byte of its headers, and gone with the message."""
    decoder = MessageDecoder()
    payload_at = len(EVENT) - 4 - 55
    heads = []
    for chunk in single_bytes(EVENT):
        decoder.receive_data(chunk)
        message = decoder.next_message()
        heads.append(decoder.head)

    assert [None] * (payload_at - 1) == heads[: payload_at - 1]
    assert [Message(message.headers, 55)] * (len(EVENT) - payload_at) == heads[payload_at - 1 : -1]
    assert None is heads[-1]
    assert 55 == message.payload_length == len(message.payload)


def test_unread_bytes_are_mid_message() -> None:
    """Bytes nobody has asked for yet are no clean end, be they of this chunk or of one behind it."""
    decoder = MessageDecoder()
    decoder.receive_data(EVENT)
    assert decoder.mid_message
    decoder.receive_data(EVENT)
    decoder.next_message()
    assert decoder.mid_message
    decoder.next_message()
    assert not decoder.mid_message


def test_a_message_inside_a_payload() -> None:
    """A payload that is itself a known message is a payload, wherever the chunks begin."""
    outer = frame(text(b":event-type", b"chunk"), EVENT * 2)
    for at in range(len(outer) + 1):
        messages = decode([EVENT, outer[:at], outer[at:], EVENT])

        assert [None, EVENT * 2, None] == [m.payload if m.event_type == "chunk" else None for m in messages]


def test_mid_message() -> None:
    """Every end but one between two messages is in mid-message."""
    decoder = MessageDecoder()
    found = []
    for chunk in single_bytes(EVENT + EMPTY):
        decoder.receive_data(chunk)
        pull(decoder)
        found.append(decoder.mid_message)

    assert [True] * (len(EVENT) - 1) + [False] + [True] * 15 + [False] == found


@pytest.mark.parametrize("chunks", [[EVENT * 2 + OTHER * 2], single_bytes(EVENT * 2 + OTHER * 2)])
def test_unwanted_payloads_are_skipped(chunks: list[bytes]) -> None:
    """A message that is not wanted comes without its payload but with its length; equal heads are asked about once."""
    asked = []

    def wants(head: Message) -> bool:
        asked.append((head.event_type, head.payload_length, head.payload))
        return head.event_type == "metadata"

    messages = decode(chunks, MessageDecoder(wants=wants))

    assert [(None, 55), (None, 55)] == [(message.payload, message.payload_length) for message in messages[:2]]
    assert [b'{"usage":{"inputTokens":1}}'] * 2 == [message.payload for message in messages[2:]]
    assert [("contentBlockDelta", 55, None), ("metadata", 27, None)] == asked


@pytest.mark.parametrize("length, kept", [(10, True), (11, False)])
def test_long_payloads_are_skipped_even_if_wanted(length: int, kept: bool) -> None:
    """A wanted payload over the bound is skipped."""
    (message,) = decode([frame(payload=b"x" * length)], MessageDecoder(wants=lambda head: True, keep_at_most=10))

    assert (b"x" * length if kept else None, length) == (message.payload, message.payload_length)


def test_skipped_payloads_are_checked() -> None:
    """The message CRC covers payloads nobody wanted, in one chunk or in many."""
    data = EVENT[:-10] + b"?" + EVENT[-9:]
    for chunks in ([EVENT, data], [data], single_bytes(data)):
        with pytest.raises(ChecksumMismatch, match="message CRC"):
            decode(chunks, MessageDecoder(wants=lambda head: False))


def test_headers_are_read_only() -> None:
    """Messages with equal headers share them, so nobody can change them."""
    one, two = decode([EVENT * 2])

    assert one.headers is two.headers
    with pytest.raises(TypeError):
        one.headers[":event-type"] = "x"


def test_shared_heads() -> None:
    """Decoders with the same heads ask what is wanted once between them."""
    asked = []
    heads = Heads(wants=lambda head: asked.append(head.event_type) or False)
    for _ in range(3):
        (message,) = decode([EVENT], MessageDecoder(heads=heads))
        assert None is message.payload

    assert ["contentBlockDelta"] == asked


def test_a_head_remembered_at_the_end_of_a_chunk() -> None:
    """A chunk that ends with a shorter head which is known too is no reason to read past its end."""
    decoder = MessageDecoder()
    short = NO_PAYLOAD
    assert 2 == len(decode([short + EVENT], decoder=(other := MessageDecoder(heads=decoder._heads))))
    assert not other.mid_message

    assert 3 == len(decode([EVENT + short[:-4], short[-4:] + EVENT], decoder))


def test_heads_are_bounded() -> None:
    """No more heads are remembered than allowed, the oldest going first, and long ones never."""
    heads = Heads(remember=2)
    lengths = [1, 2, 3]
    decode([b"".join([frame(text(b"n", b"v"), bytes(n)) for n in lengths])], MessageDecoder(heads=heads))
    assert [2, 3] == [message.payload_length for message, *_ in heads.known.values()]

    decode([frame(text(b"n", b"v" * eventstream.MAX_REMEMBERED_HEAD))], MessageDecoder(heads=heads))
    decode([frame(text(b"other", b"v"))] * 2, MessageDecoder(heads=Heads(remember=0)))
    assert [2, 3] == [message.payload_length for message, *_ in heads.known.values()]


def peak_of(decoder: MessageDecoder, chunks: list[bytes]) -> int:
    """Most memory held while decoding, in bytes beyond the chunks."""
    tracemalloc.start()
    try:
        for chunk in chunks:
            decoder.receive_data(chunk)
            pull(decoder)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_of_a_large_skipped_message() -> None:
    """The largest message there may be is skipped within a few kilobytes."""
    payload = bytes(24 * 1024 * 1024)
    data = encode_message({"n": "v"}, payload)
    chunks = [data[at : at + 65_536] for at in range(0, len(data), 65_536)]

    assert peak_of(MessageDecoder(wants=lambda head: False), chunks) < 32_768


def test_largest_wanted_message() -> None:
    """The largest payload there may be comes out whole, in one chunk or in many."""
    payload = b"0123456789abcdef" * (24 * 1024 * 64)
    data = encode_message({"n": "v"}, payload)
    for chunks in ([data], [data[at : at + 65_536] for at in range(0, len(data), 65_536)]):
        (message,) = decode(chunks)

        assert payload == message.payload


def test_memory_after_a_chunk() -> None:
    """A chunk that has been read is not held until the next one."""
    decoder = MessageDecoder()
    decode([EVENT], MessageDecoder(heads=decoder._heads))
    decoder.receive_data(EVENT * 1_000)
    pull(decoder)

    assert b"" == decoder._data


def test_work_grows_with_the_bytes_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte goes through the checksum a fixed number of times, whether in small chunks or in one large one."""
    counted = 0
    crc32 = eventstream.crc32

    def counting(data: bytes, start: int = 0) -> int:
        nonlocal counted
        counted += len(data)
        return crc32(data, start)

    monkeypatch.setattr(eventstream, "crc32", counting)
    data = EVENT * 2_000 + encode_message({"n": "v"}, bytes(300_000))
    for chunks in ([data], single_bytes(data), [data[at : at + 1_000] for at in range(0, len(data), 1_000)]):
        counted = 0
        assert 2_001 == len(decode(chunks, MessageDecoder(wants=lambda head: False)))
        assert counted <= 2 * len(data)


@given(st.binary(max_size=200), st.lists(st.integers(1, 40), min_size=1, max_size=5))
@MANY
def test_any_bytes_at_all(data: bytes, sizes: list[int]) -> None:
    """Any bytes give messages or one error of the family, nothing else."""
    survive(data, sizes)


@given(st.binary(max_size=80), st.binary(max_size=80), st.lists(st.integers(1, 40), min_size=1, max_size=5))
@MANY
def test_any_headers_behind_right_checksums(headers: bytes, payload: bytes, sizes: list[int]) -> None:
    """Bytes that pass both checksums but are no headers give an error of the family, nothing else."""
    survive(EVENT + frame(headers, payload) + EVENT, sizes)


@given(st.integers(0, 2 * len(EVENT) - 1), st.integers(0, 7), st.lists(st.integers(1, 90), min_size=1, max_size=5))
@MANY
def test_any_flipped_bit_is_noticed(at: int, bit: int, sizes: list[int]) -> None:
    """A stream with one bit flipped gives an error, or a message less."""
    data = bytearray(EVENT * 2)
    data[at] ^= 1 << bit

    with pytest.raises(EventStreamError):
        decode_in_sizes(bytes(data), sizes)


def decode_in_sizes(data: bytes, sizes: list[int]) -> list[Message]:
    """Decode in chunks of the given sizes, over and over."""
    chunks, at, turn = [], 0, 0
    while at < len(data):
        chunks.append(data[at : at + sizes[turn % len(sizes)]])
        at += len(chunks[-1])
        turn += 1
    return decode(chunks)


def survive(data: bytes, sizes: list[int]) -> None:
    """Decode in one chunk and in many: the same messages or the same error, of the family."""

    def outcome(chunk_sizes: list[int]) -> object:
        try:
            return decode_in_sizes(data, chunk_sizes)
        except EventStreamError as error:
            return type(error), str(error)

    assert outcome([max(1, len(data))]) == outcome(sizes)
