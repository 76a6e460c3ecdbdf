"""The two kinds of answers as bytes on a raw socket, and what becomes of them when the caller does not take them."""

from __future__ import annotations

import asyncio
import logging

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_connections import PATIENCE, Client, both_loops, get, post, served

from bedrock_gateway.downstream.answers import CallerLeft, StreamedAnswer, WholeAnswer, refusal_answer, refusal_bytes
from bedrock_gateway.downstream.limits import Limits
from bedrock_gateway.errors import InvalidRequest, Unavailable

LAST = b"0\r\n\r\n"


def always(*arguments: object):  # type: ignore[no-untyped-def]
    """Return a handler that gives the same whole answer to every request."""

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        return WholeAnswer(*arguments)  # type: ignore[arg-type]

    return handler


def streams(*parts: bytes):  # type: ignore[no-untyped-def]
    """Return a handler that streams ``parts`` and finishes."""

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        answer = StreamedAnswer(200, [("Content-Type", "application/vnd.amazon.eventstream")])
        await answer.start(request)
        for part in parts:
            await answer.write(part)
        await answer.finish()
        return answer

    return handler


async def dechunked(client: Client) -> bytes:
    """Return the body of a chunked answer whose head was read."""
    body = b""
    while True:
        size = int((await client.until(b"\r\n")).rstrip(), 16)
        body += (await client.exactly(size + 2))[:-2]
        if not size:
            return body


# Whole answers


@both_loops
async def test_whole_answer_is_these_bytes() -> None:
    """Status, given headers in order, length and body, and nothing else."""
    async with served(always(200, [("x-amzn-requestid", "1"), ("Content-Type", "text/plain")], b"hello")) as server:
        client = await server.connect()
        for _ in range(3):
            client.send(get())
            assert (
                b"HTTP/1.1 200 OK\r\nx-amzn-requestid: 1\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
                == await client.until(b"hello")
            )


@pytest.mark.parametrize("size", [0, 10, 3000, 1_000_000])
async def test_whole_answer_leaves_in_one_write(size: int) -> None:
    """Head and body are given to the transport together."""
    writes: list[int] = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        transport = request.transport
        assert transport is not None
        write, writelines = transport.write, transport.writelines
        transport.write = lambda data: (writes.append(len(data)), write(data))[1]  # type: ignore[method-assign]
        transport.writelines = lambda parts: (writes.append(-1), writelines(parts))[1]  # type: ignore[method-assign]
        return WholeAnswer(200, [], b"x" * size)

    async with served(handler) as server:
        client = await server.connect()
        client.send(get())
        assert size == len((await client.answer())[2])
    # Python 3.12 hands parts to writelines, which may join them in write.
    assert 1 == len(writes) or writes[0] == -1


@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        (get(method="HEAD"), (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")),
        (get("/", "Connection: close"), b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody"),
        (get(version="1.0"), b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody"),
        (
            get("/", "Connection: keep-alive", version="1.0"),
            b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: keep-alive\r\n\r\nbody",
        ),
    ],
)
async def test_whole_answer_honours_method_and_connection(request_bytes: bytes, expected: bytes) -> None:
    """HEAD gets no body; the connection stays or ends as the request asked."""
    async with served(always(200, [], b"body")) as server:
        client = await server.connect()
        client.send(request_bytes)
        assert expected == await client.exactly(len(expected))
        if b"close" in expected:
            assert b"" == await client.rest()
        else:
            client.send(get("/", "Connection: close"))
            assert (await client.rest()).endswith(b"body")


async def test_answer_without_content_has_no_length() -> None:
    """A 204 has neither body nor length (RFC 9110 section 8.6)."""
    async with served(always(204, [("Content-Length", "3")], b"abc")) as server:
        assert b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n" == await server.exchange(
            get("/", "Connection: close")
        )


async def test_framing_headers_of_upstream_are_replaced() -> None:
    """Whatever length or coding the given headers name, the ones sent are true."""
    headers = [
        ("Content-Length", "99"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "close"),
        ("content-length", "98"),
    ]
    async with served(always(200, headers, b"abc")) as server:
        client = await server.connect()
        client.send(get())
        assert b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc" == await client.until(b"abc")


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\x00b"])
async def test_control_characters_never_reach_a_head(value: str) -> None:
    """A value that would split the head is never sent; the caller gets a 500."""
    async with served(always(200, [("X-Given", value)], b"abc")) as server:
        raw = await server.exchange(get())
    assert b"Evil" not in raw
    assert raw == b"" or raw.startswith(b"HTTP/1.1 500")


async def test_large_answer_to_a_reader_that_stops_ends() -> None:
    """A caller that takes nothing of a whole answer does not hold the connection for ever."""
    done = asyncio.Event()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        answer = WholeAnswer(200, [], b"x" * 30_000_000)
        await answer.prepare(request)
        try:
            await answer.write_eof()
        except CallerLeft:
            done.set()
        return answer

    async with served(handler, Limits(write_seconds=0.1)) as server:
        client = await server.connect(window=4096)
        client.send(get())
        async with asyncio.timeout(PATIENCE):
            await done.wait()


# Streamed answers


@both_loops
async def test_a_reader_that_stops_at_the_end_of_a_stream_has_left() -> None:
    """What went without waiting is waited for before the end is written: nobody takes it, so nobody is there."""
    left = asyncio.Event()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        answer = StreamedAnswer(200, [])
        await answer.start(request)
        await answer.write(b"y")
        while not request.protocol.writing_paused:
            assert answer.write_at_once(b"x" * 16_384)
        assert not answer.write_at_once(b"x")
        try:
            await answer.finish()
        except CallerLeft:
            left.set()
        return answer

    async with served(handler, Limits(write_seconds=0.1)) as server:
        client = await server.connect(window=4096)
        client.send(get())
        async with asyncio.timeout(PATIENCE):
            await left.wait()


@both_loops
async def test_small_and_large_messages_keep_their_order() -> None:
    """Chunks framed here and chunks framed by aiohttp come out as one stream, whatever their sizes."""
    sizes = [16_384, 16_385, 1, 16_383, 70_000, 16_384]
    wanted = b"".join(bytes([65 + number]) * size for number, size in enumerate(sizes))

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        answer = StreamedAnswer(200, [])
        await answer.start(request)
        for number, size in enumerate(sizes):
            data = bytes([65 + number]) * size
            if not answer.write_at_once(data):
                await answer.write(data)
        await answer.finish()
        return answer

    async with served(handler) as server:
        client = await server.connect()
        client.send(get())
        raw = (await client.until(LAST)).partition(b"\r\n\r\n")[2]
    found = b""
    while raw:
        length, _, raw = raw.partition(b"\r\n")
        found, raw = found + raw[: int(length, 16)], raw[int(length, 16) + 2 :]

    assert wanted == found


@both_loops
async def test_streamed_answer_is_chunked_and_keeps_the_connection() -> None:
    """Every write is a chunk, the first one leaves with the head, and another request follows on the connection."""
    async with served(streams(b"one", b"", b"three")) as server:
        client = await server.connect()
        for _ in range(2):
            client.send(get())
            assert (
                b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.amazon.eventstream\r\nX-Accel-Buffering: no\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n5\r\nthree\r\n0\r\n\r\n" == await client.until(LAST)
            )


async def test_head_leaves_with_the_first_bytes() -> None:
    """Nothing is written at the commit point itself; head and first bytes are one write."""
    sizes: list[int] = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        answer = StreamedAnswer(200, [])
        await answer.start(request)
        sizes.append(request.writer.output_size)
        assert answer.prepared
        await answer.write(b"first")
        sizes.append(request.writer.output_size)
        await answer.finish()
        return answer

    async with served(handler) as server:
        client = await server.connect()
        client.send(get())
        raw = await client.until(LAST)
    assert [0, len(raw) - len(LAST)] == sizes


async def test_empty_stream_is_a_whole_answer() -> None:
    """A stream without a byte is a head and a last chunk."""
    async with served(streams()) as server:
        client = await server.connect()
        client.send(get())
        assert (await client.until(LAST)).endswith(b"chunked\r\n\r\n0\r\n\r\n")


async def test_stream_to_http_1_0_ends_with_the_connection() -> None:
    """HTTP/1.0 knows no chunks: the bytes come as they are, and the end of the connection is the end of the answer."""
    async with served(streams(b"one", b"two")) as server:
        raw = await server.exchange(get("/", "Connection: keep-alive", version="1.0"))
    assert b"chunked" not in raw
    assert b"\r\nConnection: close\r\n\r\nonetwo" in raw


async def test_head_request_for_a_stream_gets_the_head() -> None:
    """HEAD gets the head of a stream and the connection stays."""
    async with served(streams(b"one")) as server:
        client = await server.connect()
        for _ in range(2):
            client.send(get(method="HEAD"))
            assert (await client.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
        client.send(get("/", "Connection: close"))
        assert (await client.rest()).endswith(b"3\r\none\r\n0\r\n\r\n")


@settings(deadline=None, max_examples=40)
@given(st.lists(st.binary(max_size=3000), max_size=20))
def test_streamed_bytes_arrive_unchanged(parts: list[bytes]) -> None:
    """Whatever is written arrives as it is."""

    async def scenario() -> bytes:
        async with served(streams(*parts)) as server:
            client = await server.connect()
            client.send(get())
            await client.until(b"\r\n\r\n")
            return await dechunked(client)

    assert b"".join(parts) == asyncio.run(scenario())


def leaves_unfinished(how: str):  # type: ignore[no-untyped-def]
    """Return a handler whose streamed answer does not end properly."""

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        answer = StreamedAnswer(200, [])
        if how == "abort before start":
            answer.abort()
            return answer
        await answer.start(request)
        if how != "abort before a byte":
            await answer.write(b"one")
        if how.startswith("abort"):
            answer.abort()
            answer.abort()
        return answer

    return handler


@pytest.mark.parametrize("how", ["abort", "return", "abort before a byte", "abort before start"])
@pytest.mark.parametrize("version", ["1.1", "1.0"])
@both_loops
async def test_unfinished_stream_never_looks_whole(how: str, version: str, caplog: pytest.LogCaptureFixture) -> None:
    """An answer aborted, or given back unfinished, ends without its last chunk (HTTP/1.0: by a reset), unlogged."""
    caplog.clear()
    async with served(leaves_unfinished(how)) as server:
        client = await server.connect()
        client.send(get(version=version))
        raw = b""
        if version == "1.0":
            with pytest.raises(ConnectionResetError):
                raw = await client.rest()
        else:
            raw = await client.rest()
        assert not raw.endswith(LAST)
    assert [] == [record for record in caplog.records if record.levelno >= logging.INFO]


async def test_abort_cancels_nobody() -> None:
    """What a handler awaits after an abort of its own is not cancelled."""
    reached = asyncio.Event()
    go = asyncio.Event()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        answer = StreamedAnswer(200, [])
        await answer.start(request)
        await answer.write(b"one")
        answer.abort()
        await go.wait()
        reached.set()
        answer.abort()
        with pytest.raises(CallerLeft):
            await answer.write(b"two")
        with pytest.raises(CallerLeft):
            await answer.finish()
        return answer

    async with served(handler) as server:
        client = await server.connect()
        client.send(get())
        assert b"one" in await client.rest()
        go.set()
        async with asyncio.timeout(PATIENCE):
            await reached.wait()


async def test_abort_after_the_end_does_nothing() -> None:
    """A finished answer stays whole and its connection stays open, whatever is called afterwards."""

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        answer = StreamedAnswer(200, [])
        await answer.start(request)
        await answer.write(b"one")
        await answer.finish()
        await answer.finish()
        answer.abort()
        return answer

    async with served(handler) as server:
        client = await server.connect()
        for _ in range(2):
            client.send(get())
            assert (await client.until(LAST)).endswith(b"3\r\none\r\n0\r\n\r\n")


@pytest.mark.parametrize("how", ["fin", "half", "rst"])
@both_loops
async def test_caller_that_leaves_in_mid_stream_is_told_to_the_writer(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """After a caller left, writing says so once cancelled awaits are over; nothing is logged and nothing hangs."""
    caplog.clear()
    seen: list[str] = []
    done = asyncio.Event()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        answer = StreamedAnswer(200, [])
        await answer.start(request)
        await answer.write(b"one")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()
        for call in (answer.write(b"two"), answer.finish()):
            try:
                await call
            except CallerLeft:
                seen.append("left")
        answer.abort()
        done.set()
        return answer

    async with served(handler) as server:
        client = await server.connect()
        client.send(get())
        await client.until(b"one\r\n")
        if how == "rst":
            client.reset()
        elif how == "half":
            client.half_close()
        else:
            client.writer.close()
        async with asyncio.timeout(PATIENCE):
            await done.wait()
    assert ["cancelled", "left", "left"] == seen
    assert [] == [record for record in caplog.records if record.levelno >= logging.INFO]


@both_loops
async def test_reader_that_stops_has_left() -> None:
    """A caller that takes no byte for its time counts as gone, and nothing awaited afterwards is cancelled."""
    booked = asyncio.Event()
    go = asyncio.Event()
    written: list[int] = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        answer = StreamedAnswer(200, [])
        await answer.start(request)
        try:
            while True:
                await answer.write(b"x" * 100_000)
                written.append(100_000)
        except CallerLeft:
            go.set()
        await go.wait()
        await asyncio.sleep(0)
        booked.set()
        return answer

    async with served(handler, Limits(write_seconds=0.1)) as server:
        client = await server.connect(window=4096)
        client.send(get())
        async with asyncio.timeout(PATIENCE):
            await booked.wait()
    assert sum(written) < 50_000_000


async def test_reader_that_is_slow_has_not_left() -> None:
    """A caller that takes its time but takes bytes is never cut, however much longer than the limit it needs in all."""
    parts = 60

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        answer = StreamedAnswer(200, [])
        await answer.start(request)
        for _ in range(parts):
            await answer.write(b"x" * 100_000)
        await answer.finish()
        return answer

    async with served(handler, Limits(write_seconds=0.4)) as server:
        client = await server.connect(window=4096)
        client.send(get())
        await client.until(b"\r\n\r\n")
        size = 0
        begun = asyncio.get_running_loop().time()
        async with asyncio.timeout(PATIENCE * 2):
            while data := await client.reader.read(60_000):
                size += len(data)
                # Nothing is taken for a tenth of the limit between two reads.
                if asyncio.get_running_loop().time() - begun < 1.0:
                    await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=0.04)
                if data.endswith(LAST):
                    break
        assert size > parts * 100_000


@both_loops
async def test_connection_with_bytes_nobody_takes_ends() -> None:
    """A finished answer that is never read does not keep its connection open after the request."""
    finished = asyncio.Event()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        transport = request.transport
        assert transport is not None
        transport.set_write_buffer_limits(high=100_000_000)
        answer = StreamedAnswer(200, [])
        await answer.start(request)
        await answer.write(b"x" * 30_000_000)
        await answer.finish()
        finished.set()
        return answer

    async with served(handler, Limits(write_seconds=0.05, idle_seconds=0.05)) as server:
        for headers in ((), ("Connection: close",)):
            client = await server.connect(window=4096)
            client.send(get("/", *headers))
        async with asyncio.timeout(PATIENCE):
            await finished.wait()
            while server.listener.connections:
                await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=0.01)


# Refusals


def test_refusal_as_bytes_is_a_whole_answer() -> None:
    """A refusal for a connection without a request is complete HTTP/1.1 and closes."""
    raw = refusal_bytes(Unavailable("Full.", retry_after=3))
    assert (
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
        b"x-amzn-errortype: ServiceUnavailableException\r\nRetry-After: 3\r\nContent-Length: 20\r\n"
        b'Connection: close\r\n\r\n{"message": "Full."}' == raw
    )


def test_refusal_that_must_not_be_repeated_says_so() -> None:
    """SDKs that look at x-should-retry are told where a repeat is useless."""
    answer = refusal_answer(InvalidRequest("No."))
    assert (400, "false", b'{"message": "No."}') == (
        answer.status,
        answer.headers["x-should-retry"],
        bytes(answer.body),
    )


async def test_unread_body_does_not_spoil_the_next_request() -> None:
    """An answer given before the body was read leaves the connection usable once the rest has come."""
    async with served(always(403, [], b"no")) as server:
        client = await server.connect()
        client.send(post(b"a" * 10, length=400_000))
        assert 403 == (await client.answer())[0]
        client.send(b"b" * 399_990, get("/", "Connection: close"))
        assert 1 == (await client.rest()).count(b"HTTP/1.1 403")
