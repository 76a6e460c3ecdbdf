"""Meters: chosen by content type, indifferent to how bytes are cut, bounded in memory, and never raising."""

from __future__ import annotations

import copy
import json
import tracemalloc
from base64 import b64encode
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded_answers import STREAMS, WHOLE, Recorded, Streamed, chunk, event, metrics

from bedrock_gateway.metering.meters import MessageHeads, Meter, Reading, open_meter, read_body
from bedrock_gateway.metering.streams import MAX_LINE, MAX_PAYLOAD
from bedrock_gateway.upstream.models import load_operations
from bedrock_gateway.wire.eventstream import encode_exception, encode_message

EVENT_STREAM = "application/vnd.amazon.eventstream"
JSON = "application/json"
SSE = "text/event-stream"

OPERATIONS = {operation.name: operation for operation in load_operations()}
CONVERSE = OPERATIONS["ConverseStream"]
INVOKE = OPERATIONS["InvokeModelWithResponseStream"]

SSE_OPENAI = (
    b'data: {"choices":[{"delta":{"content":"Hi"}}],"usage":null}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":8,"completion_tokens":3,'
    b'"prompt_tokens_details":{"cached_tokens":2}}}\n\n'
    b"data: [DONE]\n\n"
)
SSE_ANTHROPIC = (
    b"event: message_start\r\n"
    b'data: {"type":"message_start","message":{"usage":{"input_tokens":8,"output_tokens":1}}}\r\n\r\n'
    b"event: content_block_delta\r\n"
    b'data: {"type":"content_block_delta","delta":{"text":"Hi"}}\r\n\r\n'
    b'event: message_delta\r\ndata: {"type":"message_delta","usage":{"output_tokens":3}}\r\n\r\n'
    b'event: message_stop\r\ndata: {"type":"message_stop"}\r\n\r\n'
)
SSE_RESPONSES = (
    b"event: response.completed\n"
    b'data: {"type":"response.completed","response":{"usage":{"input_tokens":8,"output_tokens":3,'
    b'"input_tokens_details":{"cached_tokens":2}}}}\n\n'
    b"data: [DONE]\n\n"
)


def fed(content_type: str, pieces: list[bytes], operation: str = "InvokeModel") -> Meter:
    """A meter that received these pieces and the end."""
    meter = open_meter(OPERATIONS[operation], content_type, {})
    for piece in pieces:
        meter.receive_data(piece)
    meter.receive_eof()
    return meter


def pieces_at(data: bytes, cuts: list[int]) -> list[bytes]:
    """Data cut at these places."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(places)]


@pytest.mark.parametrize("answer", STREAMS, ids=lambda answer: answer.name)
def test_streams_byte_by_byte(answer: Streamed) -> None:
    """A stream that arrives a byte at a time reads as the whole."""
    whole = fed(EVENT_STREAM, [answer.data], answer.operation)
    single = fed(EVENT_STREAM, [answer.data[at : at + 1] for at in range(len(answer.data))], answer.operation)
    assert whole.reading() == single.reading()
    assert whole.first is not None and single.first is not None
    assert whole.first.headers == single.first.headers


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(STREAMS), st.lists(st.integers(0, 1 << 20), max_size=12))
def test_streams_at_any_split(answer: Streamed, cuts: list[int]) -> None:
    """However a stream is cut, the reading is the same."""
    whole = fed(EVENT_STREAM, [answer.data], answer.operation).reading()
    assert whole == fed(EVENT_STREAM, pieces_at(answer.data, cuts), answer.operation).reading()


@settings(deadline=None, max_examples=60)
@given(st.sampled_from([SSE_OPENAI, SSE_ANTHROPIC, SSE_RESPONSES]), st.lists(st.integers(0, 1 << 20), max_size=12))
def test_sse_at_any_split(data: bytes, cuts: list[int]) -> None:
    """However server-sent events are cut, the usage is the same."""
    reading = fed(SSE, pieces_at(data, cuts)).reading()
    assert reading.usage is not None
    cached = 0 if data is SSE_ANTHROPIC else 2
    assert (8 - cached, 3, cached) == (
        reading.usage.input_tokens,
        reading.usage.output_tokens,
        reading.usage.cache_read_tokens,
    )
    assert (reading.terminal, reading.fault) == (True, None)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(WHOLE), st.lists(st.integers(0, 1 << 20), max_size=12), st.integers(0, 3))
def test_bodies_at_any_split(answer: Recorded, cuts: list[int], padding: int) -> None:
    """However a body is cut, and however large what is around the usage, the reading is that of one parse."""
    body = json.dumps({"padding": "x" * (40_000 * padding), **answer.body}).encode()
    operation = OPERATIONS[answer.operation]
    meter = open_meter(operation, JSON, answer.headers)
    for piece in pieces_at(body, cuts):
        meter.receive_data(piece)
    assert not meter.mid_message
    meter.receive_eof()
    assert read_body(operation, answer.headers, body) == meter.reading()


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from([EVENT_STREAM, JSON, SSE, "image/png", ""]),
    st.lists(st.binary(max_size=300), max_size=6),
    st.sampled_from(["Converse", "ConverseStream", "InvokeModel", "CountTokens", "ApplyGuardrail"]),
)
def test_any_bytes_never_raise(content_type: str, pieces: list[bytes], operation: str) -> None:
    """Whatever arrives, a meter gives a reading."""
    meter = fed(content_type, pieces, operation)
    assert isinstance(meter.reading(), Reading)
    assert isinstance(meter.mid_message, bool)
    assert isinstance(read_body(OPERATIONS[operation], {}, b"".join(pieces)), Reading)


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(STREAMS), st.integers(0, 1 << 20), st.integers(1, 255))
def test_a_flipped_byte_never_raises_and_is_noticed(answer: Streamed, at: int, mask: int) -> None:
    """A stream with one byte changed is a fault; nothing raises."""
    data = bytearray(answer.data)
    data[at % len(data)] ^= mask
    meter = fed(EVENT_STREAM, [bytes(data)], answer.operation)
    reading = meter.reading()
    assert meter.mid_message and reading.fault is not None and reading.fault.startswith("event-stream:")


WRONG = st.sampled_from([None, "12", -1, 1.5, True, [], {}, [1], {"a": 1}, 10**30, "\ud800", float("inf")])


def replaced(node: Any, paths: list[tuple[Any, ...]], which: int, value: Any) -> Any:
    """A copy of a document in which one of all its values is another one."""
    node = copy.deepcopy(node)
    path = paths[which % len(paths)]
    inner = node
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return node


def paths_of(node: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all values of a document."""
    steps = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    found = []
    for step, child in steps:
        found += [(*at, step), *paths_of(child, (*at, step))]
    return found


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(WHOLE), st.integers(0, 1000), WRONG)
def test_values_of_any_other_type_never_raise(answer: Recorded, which: int, value: Any) -> None:
    """A recorded answer in which one value has another type gives a reading whose counts are counts."""
    body = json.dumps(replaced(answer.body, paths_of(answer.body), which, value)).encode()
    reading = read_body(OPERATIONS[answer.operation], answer.headers, body)
    if reading.usage is not None:
        quantities = [reading.usage.input_tokens, reading.usage.output_tokens, *dict(reading.usage.meters).values()]
        assert all(type(quantity) is int and quantity >= 0 for quantity in quantities)
        repr(reading).encode()


@pytest.mark.parametrize(
    "body, fault",
    [
        (b"", "body-unreadable"),
        (b'{"usage":{"inputTokens":1', "body-unreadable"),
        (b"<html>", "body-unreadable"),
        (b'{"usage":{}}{}', "body-unreadable"),
        (b"\xff\xfe", "body-unreadable"),
        (b"[" * 100_000, "body-unreadable"),
        (b'{"usage":{"inputTokens":' + b"9" * 5000 + b"}}", "body-unreadable"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_unreadable_bodies(body: bytes, fault: str) -> None:
    """A 200 that is no JSON document is unreadable, whole or streamed."""
    whole = read_body(OPERATIONS["Converse"], {"content-type": JSON}, body)
    meter = fed(JSON, [body], "Converse")
    streamed = meter.reading()
    for reading in (whole, streamed):
        assert (True, False, fault) == (reading.unreadable, reading.terminal, reading.fault)
    assert meter.mid_message


def test_a_body_that_is_not_json_is_not_unreadable() -> None:
    """An answer that never was to be JSON tells what its headers tell."""
    headers = {"content-type": "image/png", "x-amzn-bedrock-input-token-count": "3"}
    reading = read_body(OPERATIONS["InvokeModel"], headers, b"\x89PNG")
    assert reading.usage is not None
    assert (reading.usage.input_tokens, reading.unreadable, reading.terminal) == (3, False, True)
    meter = open_meter(OPERATIONS["InvokeModel"], "image/png", headers)
    meter.receive_data(b"\x89PNG")
    assert not meter.mid_message
    meter.receive_eof()
    assert (4, reading.usage) == (meter.reading().said_bytes, meter.reading().usage)


def test_a_large_body_is_never_held() -> None:
    """Usage and images of a 20 MB answer are found without holding it, and a cut one is noticed."""
    meter = open_meter(OPERATIONS["InvokeModel"], JSON, {})
    piece = b"A" * (1 << 16)
    tracemalloc.start()
    try:
        meter.receive_data(b'{"images":["')
        for _ in range(160):
            meter.receive_data(piece)
        meter.receive_data(b'","')
        for _ in range(160):
            meter.receive_data(piece)
        assert meter.mid_message
        meter.receive_data(b'"],"usage":{"inputTokens":12,"outputTokens":3}}')
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert not meter.mid_message
    meter.receive_eof()
    reading = meter.reading()
    assert reading.usage is not None
    assert (reading.usage.images, reading.usage.input_tokens, reading.terminal) == (2, 12, True)
    assert peak < 1024 * 1024


def test_a_small_body_under_way() -> None:
    """A small body is in mid-document until its last byte."""
    meter = open_meter(OPERATIONS["InvokeModel"], JSON, {})
    for piece in (b'{"inputTextTokenCount"', b":7"):
        assert meter.mid_message
        meter.receive_data(piece)
    assert meter.mid_message
    meter.receive_data(b"}")
    assert not meter.mid_message


def test_a_large_body_that_is_cut() -> None:
    """A large body that ends too early, or goes on after its end, is unreadable."""
    start = b'{"usage":{"inputTokens":12},"text":"' + b"x" * 100_000
    for end in (b"", b'"', b'"}}', b'"},'):
        meter = fed(JSON, [start, end])
        assert meter.reading().unreadable and meter.mid_message


def test_an_outline_over_its_bound_is_a_fault() -> None:
    """A usage object of a hundred kilobytes is told as a fault, not kept."""
    body = json.dumps({"padding": "x" * 70_000, "usage": {f"a{n}": "y" * 200 for n in range(1000)}}).encode()
    assert fed(JSON, [body]).fault == "outline-dropped:usage"


def test_memory_of_a_50_mb_message() -> None:
    """Messages of the largest size the framing allows cost a meter next to nothing."""
    payload = b'{"bytes":"' + b"QUJD" * (24 * 1024 * 1024 // 4 - 100) + b'"}'
    big = encode_message({":event-type": "chunk", ":content-type": JSON, ":message-type": "event"}, payload)
    meter = open_meter(INVOKE, EVENT_STREAM, {}, MessageHeads())
    pieces = [big[at : at + 65_536] for at in range(0, len(big), 65_536)]
    tracemalloc.start()
    try:
        for piece in pieces * 2:
            meter.receive_data(piece)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    meter.receive_data(chunk({"amazon-bedrock-invocationMetrics": {"inputTokenCount": 3, "outputTokenCount": 4}}))
    meter.receive_eof()
    reading = meter.reading()
    assert reading.usage is not None
    assert (reading.usage.input_tokens, reading.usage.output_tokens, reading.fault) == (3, 4, None)
    assert peak < 512 * 1024


def test_metadata_too_large_is_a_fault() -> None:
    """A metadata event over a megabyte is passed over, and the reading says so."""
    large = event("metadata", {"usage": {"inputTokens": 1}, "x": "y" * MAX_PAYLOAD})
    meter = fed(EVENT_STREAM, [large], "ConverseStream")
    assert (meter.fault, meter.reading().usage) == ("metadata-too-large", None)


def test_first_message_by_its_head() -> None:
    """The first message is known as soon as its headers are, before its payload."""
    data = encode_exception("throttlingException", "Too many requests")
    payload_at = data.index(b'{"message"')
    meter = open_meter(CONVERSE, EVENT_STREAM, {})
    meter.receive_data(data[: payload_at - 1])
    assert meter.first is None
    meter.receive_data(data[payload_at - 1 : payload_at])
    assert meter.first is not None
    assert (meter.first.message_type, meter.first.exception_type) == ("exception", "throttlingException")
    assert meter.reading().exception_type is None
    meter.receive_data(data[payload_at:] + event("messageStart", {"role": "assistant"}))
    assert meter.first.exception_type == "throttlingException"
    reading = meter.reading()
    assert (reading.exception_type, reading.exception_message) == ("throttlingException", "Too many requests")


@pytest.mark.parametrize(
    "headers, payload, expected",
    [
        ({":message-type": "exception", ":exception-type": "aException"}, b'{"message":"m"}', ("aException", "m")),
        ({":message-type": "exception", ":exception-type": "aException"}, b'{"Message":"m"}', ("aException", "m")),
        ({":message-type": "exception", ":exception-type": "aException"}, b"not json", ("aException", None)),
        ({":message-type": "exception", ":exception-type": "aException"}, b"[]", ("aException", None)),
        ({":message-type": "exception", ":exception-type": "aException"}, b'{"message":5}', ("aException", None)),
        ({":message-type": "exception", ":exception-type": "a\nb"}, b"", ("unknown", None)),
        ({":message-type": "error", ":error-code": "Code", ":error-message": "m"}, b"", ("Code", "m")),
        ({":message-type": "error"}, b"", ("unknown", None)),
        ({":message-type": "exception", ":exception-type": 7}, b"", ("unknown", None)),
        ({":message-type": "exception", ":exception-type": "e"}, b'{"message":"\\ud800"}', ("e", "?")),
        ({}, b"", ("unknown", None)),
    ],
)
def test_exceptions(headers: dict[str, Any], payload: bytes, expected: tuple[str, str | None]) -> None:
    """Modelled exceptions and unmodelled errors are told by type and text, whatever their payload."""
    reading = fed(EVENT_STREAM, [encode_message(headers, payload)], "ConverseStream").reading()
    assert expected == (reading.exception_type, reading.exception_message)


def test_an_exception_in_mid_stream_keeps_what_was_read() -> None:
    """Usage told before an exception stays in the reading."""
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 25, "output_tokens": 1}}}
    data = chunk(start) + encode_exception("modelStreamErrorException", "broke")
    reading = fed(EVENT_STREAM, [data], "InvokeModelWithResponseStream").reading()
    assert reading.usage is not None
    assert (
        reading.usage.input_tokens,
        reading.exception_type,
        reading.terminal,
    ) == (25, "modelStreamErrorException", False)


@pytest.mark.parametrize(
    "payload, fault",
    [
        (b"usage okenCount dXNhZ2U", "chunk-unreadable"),
        (b'{"bytes":"dXNhZ2U"}', "chunk-unreadable"),
        (b'{"bytes":"dXNh!Z2U="}', "chunk-unreadable"),
        (b'{"bytes":"!dXNhZ2U="}', "chunk-unreadable"),
        (b'{"bytes":"dXNhZ2U=', "chunk-unreadable"),
        (b'{ "bytes" : "dXNhZ2U=" }', "event-unreadable"),
        (b'{"bytes":"dXNh\\u005a2U="}', "event-unreadable"),
        (b'{"bytes":5,"p":"dXNhZ2U"}', "chunk-unreadable"),
        (b'["dXNhZ2U"]', "chunk-unreadable"),
        (b'{"bytes":"dXNhZ2U="}', "event-unreadable"),
        (b'{"bytes":"' + b64encode(b'{"text":"usage"}') + b'"}', None),
        (b'{"bytes":""}', None),
        (b"{}", None),
        (b'{"p":"abc"}', None),
    ],
)
def test_chunks_that_cannot_be_read(payload: bytes, fault: str | None) -> None:
    """A chunk that cannot be read is a fault, however its JSON is written; a document without usage is not parsed."""
    message = encode_message({":event-type": "chunk", ":message-type": "event"}, payload)
    assert fault == fed(EVENT_STREAM, [message], "InvokeModelWithResponseStream").fault


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=9), st.text(max_size=9))
def test_usage_is_found_at_every_base64_offset(before: str, after: str) -> None:
    """A chunk's usage is found wherever in its base64 it lies."""
    for counts in ({"input_tokens": 7}, {"inputTokenCount": 7}, {"prompt_token_count": 7}):
        key = next(iter(counts))
        document = {"x": before, **(counts if key.startswith("prompt") else {"usage": counts}), "y": after}
        reading = fed(EVENT_STREAM, [chunk(document)], "InvokeModelWithResponseStream").reading()
        assert reading.usage is not None
        assert reading.usage.input_tokens == 7


def test_said_bytes_are_those_of_the_words() -> None:
    """Of an event that carries the answer its words count: no names, no padding, no base64."""
    delta = event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hello"}})
    data = event("messageStart", {"role": "assistant"}) + delta + delta + event("contentBlockStop", {})
    assert 10 == fed(EVENT_STREAM, [data], "ConverseStream").reading().said_bytes
    one = chunk({"type": "content_block_delta", "delta": {"text": "Hello"}})
    assert 5 == fed(EVENT_STREAM, [one], "InvokeModelWithResponseStream").reading().said_bytes
    assert 5 == fed(SSE, [b'data: {"choices":[{"index":0,"delta":{"content":"Hello"}}]}\n\n']).reading().said_bytes


def test_a_chunk_that_cannot_be_read_before_the_end() -> None:
    """What the end of a stream tells is of all of it: no chunk before makes that an estimate."""
    junk = encode_message({":event-type": "chunk", ":message-type": "event"}, b"{")
    reading = fed(EVENT_STREAM, [junk, chunk({"x": 1, **metrics(3, 4)})], "InvokeModelWithResponseStream").reading()
    assert reading.usage is not None
    assert (None, True, 3) == (reading.fault, reading.terminal, reading.usage.input_tokens)


@pytest.mark.parametrize(
    "line", [b"data: " + b"x" * 2 * MAX_LINE, b": " + b"x" * 2 * MAX_LINE], ids=["data", "comment"]
)
@pytest.mark.parametrize("size", [999, MAX_LINE - 1, MAX_LINE, MAX_LINE + 1, 3 * MAX_LINE])
def test_long_lines_are_the_same_however_they_are_cut(line: bytes, size: int) -> None:
    """How much was said does not hang on the pieces it came in."""
    data = b"data: {}\n" + line + b"\ndata: {}\n\n"
    pieces = [data[:40], *(data[at : at + size] for at in range(40, len(data), size))]
    said = 2 * MAX_LINE if line.startswith(b"data") else 0
    assert said == fed(SSE, pieces).reading().said_bytes


def test_a_guardrail_that_intervened_in_a_stream() -> None:
    """A stop reason of guardrail_intervened without a trace is a guardrail nobody told the units of."""
    data = event("messageStop", {"stopReason": "guardrail_intervened"})
    data += event("metadata", {"usage": {"inputTokens": 1}})
    assert fed(EVENT_STREAM, [data], "ConverseStream").reading().guardrail_unpriced


def test_cut_streams() -> None:
    """A stream cut in mid-message is a fault and mid-message; one cut between messages is not terminal."""
    answer = STREAMS[0]
    meter = fed(EVENT_STREAM, [answer.data[:-1]], "ConverseStream")
    assert (meter.mid_message, meter.fault, meter.reading().terminal) == (True, "event-stream:TruncatedMessage", False)
    meter = fed(EVENT_STREAM, [b"".join(answer.messages[:-1])], "ConverseStream")
    assert (meter.mid_message, meter.fault, meter.reading().terminal) == (False, None, False)
    meter = fed(EVENT_STREAM, [], "ConverseStream")
    assert (meter.mid_message, meter.first, meter.reading().usage) == (False, None, None)


def test_a_broken_stream_stays_broken_and_quiet() -> None:
    """After malformed bytes nothing more is read, nothing is held, nothing raises."""
    meter = open_meter(CONVERSE, EVENT_STREAM, {})
    meter.receive_data(b'{"message":"not an event stream at all"}')
    meter.receive_data(STREAMS[0].data)
    meter.receive_eof()
    assert (meter.mid_message, meter.fault, meter.reading().usage) == (True, "event-stream:ChecksumMismatch", None)


def test_sse_lines_that_are_too_long_or_cut() -> None:
    """A line over the bound is passed over without being held; a cut line is a fault."""
    meter = open_meter(INVOKE, SSE, {})
    meter.receive_data(b"data: {")
    tracemalloc.start()
    try:
        for _ in range(400):
            meter.receive_data(b"x" * 65_536)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * MAX_LINE and meter.mid_message
    meter.receive_data(b"\n" + SSE_OPENAI)
    meter.receive_eof()
    reading = meter.reading()
    assert reading.usage is not None and reading.terminal
    assert reading.usage.input_tokens == 6
    assert reading.said_bytes > 400 * 65_536
    cut = fed(SSE, [SSE_OPENAI[:-20]])
    assert (cut.mid_message, cut.fault, cut.reading().terminal) == (True, "sse:cut", False)
    assert fed(SSE, [b'data: {"usage":\n\n']).fault == "event-unreadable"


def test_shared_heads_change_nothing() -> None:
    """Meters that share what they know of heads read the same as meters alone."""
    heads = MessageHeads()
    for answer in STREAMS * 2:
        meter = open_meter(OPERATIONS[answer.operation], EVENT_STREAM, {}, heads)
        meter.receive_data(answer.data)
        assert fed(EVENT_STREAM, [answer.data], answer.operation).reading() == meter.reading()


@pytest.mark.parametrize(
    "content_type",
    [EVENT_STREAM, "APPLICATION/VND.AMAZON.EVENTSTREAM; x=y", f" {EVENT_STREAM} "],
)
def test_the_tap_is_chosen_by_content_type(content_type: str) -> None:
    """An event stream is metered as one whatever operation it answers, and whatever the spelling of its type."""
    assert fed(content_type, [STREAMS[0].data], "InvokeModel").reading().usage is not None


@pytest.mark.parametrize("content_type", [EVENT_STREAM, JSON, SSE, "text/plain"])
def test_a_fault_of_the_meter_itself_is_kept(content_type: str) -> None:
    """Even data of a wrong type, a mistake of ours, leaves as a fault and not as an exception."""
    meter = open_meter(OPERATIONS["Converse"], content_type, {})
    if content_type == "text/plain":
        assert meter.fault is None
    else:
        meter.receive_data(None)  # type: ignore[arg-type]
        assert meter.fault is not None and meter.fault.startswith("meter:")
    if content_type == EVENT_STREAM:
        assert meter.mid_message
    meter.receive_data(b"{}")
    meter.receive_eof()
    assert isinstance(meter.reading(), Reading)
