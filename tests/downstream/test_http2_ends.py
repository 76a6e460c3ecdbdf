"""How streams and connections of HTTP/2 end: callers that leave, floods, time-outs, GOAWAY both ways, and garbage."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import cast

import pytest
from aiohttp import web
from h2.errors import ErrorCodes
from http2_client import Http2Client, fields, http2
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    ExtensionFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_connections import PATIENCE, Served, both_loops, get, served

from bedrock_gateway.downstream.answers import StreamedAnswer, WholeAnswer
from bedrock_gateway.downstream.bodies import BodyBudget, read_body
from bedrock_gateway.downstream.connection import CallerSide
from bedrock_gateway.downstream.http2_machine import PlainEncoder
from bedrock_gateway.downstream.limits import Limits

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
CALM = ErrorCodes.ENHANCE_YOUR_CALM


async def hello(request: web.BaseRequest) -> web.StreamResponse:
    """Answer every request."""
    return WholeAnswer(200, [], b"hello")


class Held:
    """A handler that waits for its release, and tells what became of it."""

    def __init__(self, *, watching: bool = False) -> None:
        self.watching = watching
        self.arrived = asyncio.Event()
        self.release = asyncio.Event()
        self.left = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.served = 0

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Serve ``/hello`` at once, everything else when released."""
        if request.raw_path == "/hello":
            return await hello(request)
        self.served += 1
        self.arrived.set()
        if self.watching:
            cast(CallerSide, request.protocol).on_left = self.left.set
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return WholeAnswer(200, [], b"held")


async def soon(event: asyncio.Event) -> None:
    """Wait for what has to happen."""
    async with asyncio.timeout(PATIENCE):
        await event.wait()


async def emptied(server: Served) -> None:
    """Wait until the listener has no connection."""
    async with asyncio.timeout(PATIENCE):
        while server.listener.connections:  # noqa: ASYNC110 (nobody tells of it)
            await asyncio.sleep(0)


# Callers that leave


@pytest.mark.parametrize("how", ["reset", "fin", "rst"])
@pytest.mark.parametrize("watching", [True, False])
@both_loops
async def test_a_caller_that_leaves_is_told_of(how: str, watching: bool) -> None:
    """A reset of the stream and the loss of the connection tell whoever watches; else the handler is cancelled."""
    held = Held(watching=watching)
    async with served(held) as server:
        client = await http2(server)
        stream = client.open()
        await soon(held.arrived)
        if how == "reset":
            client.h2.reset_stream(stream, ErrorCodes.CANCEL)
            client.flush()
        elif how == "fin":
            client.raw.half_close()
        else:
            client.raw.reset()
        await soon(held.left if watching else held.cancelled)
        assert watching is not held.cancelled.is_set()
        if how == "reset":
            assert 200 == (await client.answer(client.open(path="/hello"))).status
        held.release.set()


@both_loops
async def test_one_caller_that_leaves_takes_nobody_along() -> None:
    """Of two streams of one connection the one that was reset is over; the other gets its answer."""
    held = Held(watching=True)
    async with served(held) as server:
        client = await http2(server)
        gone, stays = client.open(), client.open()
        await soon(held.arrived)
        client.h2.reset_stream(gone, ErrorCodes.CANCEL)
        client.flush()
        await soon(held.left)
        held.release.set()
        assert b"held" == (await client.answer(stays)).body
        assert not client.answers[gone].over


@both_loops
async def test_a_caller_that_leaves_in_its_body_ends_the_reading() -> None:
    """A reset in the middle of a body ends its reading, and gives back what was held for it."""
    budget, reading, ended = BodyBudget(), asyncio.Event(), asyncio.Event()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        if request.raw_path == "/hello":
            return await hello(request)
        with budget.ticket() as ticket:
            reading.set()
            try:
                await read_body(request, ticket, Limits())
            finally:
                ended.set()
        raise AssertionError("the body has no end")

    async with served(handler) as server:
        client = await http2(server)
        stream = client.open(("content-length", "1000000"), end=False, method="POST")
        client.data(stream, bytes(10_000))
        await soon(reading)
        client.h2.reset_stream(stream, ErrorCodes.CANCEL)
        client.flush()
        await soon(ended)
        assert 200 == (await client.answer(client.open(path="/hello"))).status
        assert 0 == budget.held


async def test_a_client_that_provokes_resets_is_told_of_as_one_that_resets() -> None:
    """Frames that make the gateway reset a stream end its handler as the client's own reset does."""
    held = Held()
    async with served(held) as server:
        client = await http2(server)
        stream = client.open()
        await soon(held.arrived)
        client.raw.send(WindowUpdateFrame(stream, window_increment=2**31 - 1).serialize())
        await soon(held.cancelled)
        assert ErrorCodes.FLOW_CONTROL_ERROR == (await client.answer(stream)).reset


# Floods


@both_loops
async def test_rapid_resets_end_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    """Requests that are reset as soon as they are sent are taken so often, not more."""
    held = Held()
    async with served(held) as server:
        client = await http2(server)
        for _ in range(400):
            stream = client.open()
            client.h2.reset_stream(stream, ErrorCodes.CANCEL)
            client.flush()
        goaway = await client.end()

    assert goaway is not None
    assert CALM == goaway[0]
    assert held.served <= 201
    assert [
        "A client's HTTP/2 connection was ended: too many resets or empty frames, headers that are too large, or a "
        "head that took too long"
    ] == [record.getMessage() for record in caplog.records]


def _unknown() -> Frame:
    frame = ExtensionFrame(type=0x42, stream_id=0)
    frame.body = b""
    return frame


FLOODS: dict[str, Callable[[int], Frame]] = {
    "PING": lambda stream: PingFrame(0, opaque_data=bytes(8)),
    "SETTINGS": lambda stream: SettingsFrame(0),
    "PRIORITY": lambda stream: PriorityFrame(stream, depends_on=0, stream_weight=1),
    "empty DATA": lambda stream: DataFrame(stream),
    "one byte of DATA": lambda stream: DataFrame(stream, b"x"),
    "padding": lambda stream: DataFrame(stream, b"", pad_length=1, flags=["PADDED"]),
    "WINDOW_UPDATE of one byte": lambda stream: WindowUpdateFrame(stream, window_increment=1),
    "WINDOW_UPDATE of a stream that is no more": lambda stream: WindowUpdateFrame(1, window_increment=1),
    "unknown": lambda stream: _unknown(),
}


@pytest.mark.parametrize("kind", FLOODS)
async def test_floods_end_the_connection(kind: str) -> None:
    """Frames that carry nothing are taken so often, not more; the client is told why."""
    held = Held()
    async with served(held) as server:
        client = await http2(server)
        assert b"hello" == (await client.answer(client.open(path="/hello"))).body
        stream = client.open(end=False, method="POST")
        flood = FLOODS[kind](stream).serialize() * 4_000
        client.raw.send(flood)
        goaway = await client.end()

    assert goaway is not None
    assert CALM == goaway[0]


@both_loops
async def test_a_busy_connection_is_no_flood() -> None:
    """A client that gives window back for every frame, as simple ones do, may do so for as long as it is answered."""

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        answer = StreamedAnswer(200, [])
        await answer.start(request)
        for _ in range(3_000):
            await answer.write(b"x" * 20)
        await answer.finish()
        return answer

    async with served(handler) as server:
        client = await http2(server, generous=False)
        stream = client.open()
        taken = 0
        while not client.answers[stream].over:
            await client.pump()
            while taken + 20 <= len(client.answers[stream].body) and not client.answers[stream].over:
                taken += 20
                client.h2.increment_flow_control_window(20)
                client.h2.increment_flow_control_window(20, stream)
            client.flush()
        assert 60_000 == len(client.answers[stream].body)
        assert client.goaway is None


@both_loops
async def test_small_frames_hold_nobody_up() -> None:
    """Thousands of small frames are taken in batches, and the loop turns between them."""
    turns = 0

    async def turning() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        with BodyBudget().ticket() as ticket:
            body = await read_body(request, ticket, Limits())
        return WholeAnswer(200, [], str(len(body)).encode())

    async with served(handler) as server:
        client = await http2(server)
        stream = client.open(end=False, method="POST")
        frames = DataFrame(stream, b"x" * 16).serialize() * 5_000 + DataFrame(stream, flags=["END_STREAM"]).serialize()
        client.raw.send(frames)
        await client.raw.sent()
        task = asyncio.create_task(turning())
        answer = await client.answer(stream)
        task.cancel()

    assert b"80000" == answer.body
    # 125 kB of frames are 30 small batches.
    assert 25 <= turns


async def test_more_requests_than_announced_end_the_connection() -> None:
    """A client that opens more streams than it was told it may breaks the protocol."""
    held = Held()
    async with served(held) as server:
        client = await http2(server)
        client.h2.remote_settings.update({3: 1000})
        client.h2.remote_settings.acknowledge()
        for _ in range(101):
            client.open()
        goaway = await client.end()

    assert goaway is not None
    assert ErrorCodes.PROTOCOL_ERROR == goaway[0]
    assert held.served <= 100


async def test_handlers_that_outlive_their_streams_are_bounded() -> None:
    """Requests are refused, to be sent elsewhere, while too many of the connection's are still read on."""
    held = Held(watching=True)
    async with served(held) as server:
        client = await http2(server)
        for number in range(200):
            stream = client.open()
            held.left.clear()
            await held_for(client, held, number)
            client.h2.reset_stream(stream, ErrorCodes.CANCEL)
            client.flush()
        await soon(held.left)
        assert ErrorCodes.REFUSED_STREAM == (await client.answer(client.open())).reset
        held.release.set()
        assert 200 == held.served


async def held_for(client: Http2Client, held: Held, number: int) -> None:
    """Wait until so many requests were taken."""
    client.flush()
    async with asyncio.timeout(PATIENCE):
        while held.served <= number:  # noqa: ASYNC110 (nobody tells of it)
            await asyncio.sleep(0)


async def test_a_head_in_endless_pieces_ends_the_connection() -> None:
    """CONTINUATION frames without an end are not collected for ever."""
    async with served(hello) as server:
        client = await http2(server)
        head = HeadersFrame(1, b"\x82").serialize() + ContinuationFrame(1, b"").serialize() * 1_000
        client.raw.send(head)
        goaway = await client.end()

    assert goaway is not None
    assert ErrorCodes.PROTOCOL_ERROR == goaway[0]


async def test_a_head_of_many_frames_is_not_unpacked() -> None:
    """Frames of a head are collected up to twice its limit: unpacking costs most of what a head costs."""
    async with served(hello) as server:
        client = await http2(server)
        client.raw.send(HeadersFrame(1, bytes(16_384)).serialize())
        client.raw.send(ContinuationFrame(1, bytes(16_384)).serialize() * 12)
        goaway = await client.end()

    assert goaway is not None
    assert CALM == goaway[0]


async def test_a_header_bomb_ends_the_connection() -> None:
    """A small head that stands for a large one by references into the compression table is not written out."""
    async with served(hello) as server:
        client = await http2(server)
        stream = client.h2.get_next_available_stream_id()
        client.h2.send_headers(stream, [*fields(), ("x-bomb", "x" * 3_000)])
        client.h2.clear_outbound_data_buffer()
        bomb = client.h2.encoder.encode([*fields(), *[("x-bomb", "x" * 3_000)] * 4_000])
        client.raw.send(HeadersFrame(stream, bomb, flags=["END_HEADERS", "END_STREAM"]).serialize())
        goaway = await client.end()

    assert goaway is not None
    assert goaway[0] in (CALM, ErrorCodes.PROTOCOL_ERROR)


async def test_nothing_is_remembered_for_a_client() -> None:
    """Headers of answers are literals, of every length, whatever table a client offers, or takes back."""
    values = ["", "x", "x" * 126, "x" * 127, "x" * 254, "x" * 255, "x" * 20_000, "Grüße"]

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        return WholeAnswer(200, [("x-value", values[int(request.raw_path[1:])])])

    async with served(handler) as server:
        client = await http2(server)
        answers = []
        for number in range(len(values)):
            client.h2.update_settings({1: [2**20, 0, 4096][number % 3]})
            client.flush()
            answers.append(await client.answer(client.open(path=f"/{number}")))

    assert values == [answer.headers["x-value"] for answer in answers]
    assert not client.h2.decoder.header_table.dynamic_entries


# Time-outs


@both_loops
async def test_a_connection_without_a_request_ends() -> None:
    """A client that says hello and asks nothing is told to go, after the time of a head; PINGs do not change it."""
    async with served(hello, Limits(head_seconds=0.1)) as server:
        client = await http2(server)
        client.h2.ping(bytes(8))
        client.flush()
        assert (ErrorCodes.NO_ERROR, 0) == await client.end()


@both_loops
async def test_an_idle_connection_ends() -> None:
    """From its last answer on a connection may be idle for its time, not for that of a head."""
    held = Held()
    async with served(held, Limits(head_seconds=0.3, idle_seconds=0.4)) as server:
        client = await http2(server)
        assert 200 == (await client.answer(client.open(path="/hello"))).status
        stream = client.open()
        await soon(held.arrived)
        # A request under way takes what it takes: only what comes after it counts.
        await asyncio.sleep(0.15)
        began = asyncio.get_running_loop().time()
        held.release.set()
        assert b"held" == (await client.answer(stream)).body
        assert (ErrorCodes.NO_ERROR, 3) == await client.end()
        # uvloop's clock goes in milliseconds.
        assert 0.39 < asyncio.get_running_loop().time() - began


async def test_a_connection_with_a_request_is_not_idle() -> None:
    """An answer may take longer than a connection may be idle."""
    held = Held()
    async with served(held, Limits(head_seconds=0.3, idle_seconds=0.05)) as server:
        client = await http2(server)
        stream = client.open()
        await soon(held.arrived)
        # It is looked at first when the time of a head is over.
        await asyncio.sleep(0.4)
        held.release.set()
        assert b"held" == (await client.answer(stream)).body
        assert client.goaway is None


@pytest.mark.parametrize("part", ["frame", "block"])
@both_loops
async def test_half_a_head_is_not_waited_for(part: str) -> None:
    """A head that stops coming ends the connection after its time, while another request is under way too."""
    held = Held()
    async with served(held, Limits(head_seconds=0.3)) as server:
        client = await http2(server)
        client.open()
        head = HeadersFrame(3, client.h2.encoder.encode(fields()))
        if part == "frame":
            head.flags.add("END_HEADERS")
        client.raw.send(head.serialize()[: -3 if part == "frame" else None])
        goaway = await client.end()

    assert goaway is not None
    assert CALM == goaway[0]
    assert held.cancelled.is_set()


@both_loops
async def test_half_a_body_is_not_waited_for() -> None:
    """A body that stops coming is answered 408 on its stream; the connection goes on."""

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "GET":
            return await hello(request)
        with BodyBudget().ticket() as ticket:
            await read_body(request, ticket, Limits(body_seconds=0.1))
        raise AssertionError("the body has no end")

    async with served(handler) as server:
        client = await http2(server)
        stream = client.open(("content-length", "10"), end=False, method="POST")
        client.data(stream, b"half")
        await client.until(lambda: client.answers[stream].reset is not None)
        answer = client.answers[stream]
        client.h2.streams.pop(stream, None)
        assert (408, "RequestTimeoutException") == (answer.status, answer.headers["x-amzn-errortype"])
        assert (True, ErrorCodes.NO_ERROR) == (answer.ended, answer.reset)
        assert 200 == (await client.answer(client.open())).status


# GOAWAY


@both_loops
async def test_a_stop_lets_requests_end() -> None:
    """When the listener stops, clients are told; requests under way get their answers, new ones are refused."""
    held = Held()
    async with served(held) as server:
        client, idle = await http2(server), await http2(server)
        stream = client.open()
        await soon(held.arrived)
        await server.listener.stop_accepting()
        assert (ErrorCodes.NO_ERROR, 0) == await idle.end()
        late = client.open()
        assert ErrorCodes.REFUSED_STREAM == (await client.answer(late)).reset
        assert (ErrorCodes.NO_ERROR, stream) == client.goaway
        held.release.set()
        assert b"held" == (await client.answer(stream)).body
        await client.end()
        await emptied(server)


@both_loops
async def test_what_does_not_end_is_cut() -> None:
    """After its time a stop cuts connections and cancels their handlers, those that watch for the caller too."""
    for watching in (False, True):
        held = Held(watching=watching)
        async with served(held) as server:
            client = await http2(server)
            client.open()
            await soon(held.arrived)
            await server.listener.close(0.05)
            assert held.cancelled.is_set()
            assert 0 == server.listener.connections


@both_loops
async def test_a_clients_goaway_ends_nothing_under_way() -> None:
    """A client may say that it goes as soon as it has asked, as the JavaScript SDK does; the end comes later."""
    held = Held()
    async with served(held) as server:
        client = await http2(server)
        stream = client.open()
        client.raw.send(client.h2_goaway())
        await soon(held.arrived)
        held.release.set()
        assert b"held" == (await client.answer(stream)).body
        await client.end()
        await emptied(server)


@both_loops
async def test_an_unread_end_is_given_up() -> None:
    """A connection that ends while its client reads nothing does not stay."""
    async with served(hello, Limits(write_seconds=0.1, linger_seconds=0.1)) as server:
        client = await http2(server)
        client.open(end=False, method="POST")
        client.raw.send(client.h2_goaway())
        await emptied(server)


# Garbage


@pytest.mark.parametrize(
    "junk",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x00" * 100,
        b"\xff" * 100,
        b"\x00\x00\x01\x00\x00\x00\x00\x00\x00x",
        DataFrame(9, b"x").serialize(),
        HeadersFrame(2, b"\x82", flags=["END_HEADERS"]).serialize(),
        HeadersFrame(1, b"\xff\xff\xff\xff\xff\xff", flags=["END_HEADERS"]).serialize(),
        ContinuationFrame(1, b"x").serialize(),
        WindowUpdateFrame(0, window_increment=2**31 - 1).serialize(),
        b"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00",
        b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x01",
        b"\x00\x00\x05\x06\x00\x00\x00\x00\x00hello",
        b"\xff\xff\xff\x00\x00\x00\x00\x00\x01",
    ],
)
async def test_frames_that_break_the_protocol_end_the_connection(junk: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """The client is told by a GOAWAY, the log by a line without a byte of it, and who was served is told too."""
    caplog.set_level(logging.DEBUG, logger="bedrock_gateway")
    held = Held()
    async with served(held) as server:
        client = await http2(server)
        if junk[3] != HeadersFrame.type and junk[3] != ContinuationFrame.type:
            client.open()
            await soon(held.arrived)
        client.raw.send(junk)
        goaway = await client.end()

    assert goaway is not None
    assert goaway[0] not in (ErrorCodes.NO_ERROR, ErrorCodes.INTERNAL_ERROR)
    (record,) = caplog.records
    assert record.getMessage().startswith("A client's HTTP/2 connection was ended: ")


PIECES = st.lists(
    st.binary(max_size=40)
    | st.builds(
        lambda kind, flags, stream, body: (
            len(body).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + body
        ),
        st.integers(0, 10),
        st.integers(0, 255),
        st.sampled_from([0, 1, 1, 2, 3, 5, 2**31 - 1]),
        st.binary(max_size=30) | st.sampled_from([b"\x82\x86\x84\x41\x01x", bytes(4), bytes(6), bytes(8)]),
    ),
    max_size=12,
).map(b"".join)


@given(PIECES)
@settings(max_examples=60, deadline=None)
def test_no_garbage_does_harm(junk: bytes) -> None:
    """Whatever follows the preface, the connection ends, no fault of ours is met, and the next client is served."""
    faults: list[str] = []

    async def scenario() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(str(context)))
        async with served(hello) as server:
            client = await server.connect()
            client.send(PREFACE, SettingsFrame(0).serialize(), junk)
            client.half_close()
            raw = await client.rest()
            goaway = raw.find(b"\x00\x00\x08\x07\x00\x00\x00\x00\x00")
            # An internal error would be ours.
            assert goaway < 0 or ErrorCodes.INTERNAL_ERROR != raw[goaway + 16]
            assert b"hello" in await server.exchange(get("/", "Connection: close"))

    asyncio.run(scenario())
    assert [] == faults


class Told(logging.Handler):
    """Keeps what was logged."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self.lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self.lines.append(record.getMessage())


STREAMS = st.sampled_from([1, 3, 5])
FLAGS = st.sampled_from([[], [], ["END_STREAM"]])
HEAD = PlainEncoder().encode([(name.encode(), value.encode()) for name, value in fields(method="POST")])
#: Frames of requests that are well-formed by themselves, in any order.
FRAMES = st.one_of(
    st.builds(lambda stream, flags: HeadersFrame(stream, HEAD, flags=[*flags, "END_HEADERS"]), STREAMS, FLAGS),
    st.builds(
        lambda stream, flags, size: DataFrame(stream, bytes(size), flags=flags), STREAMS, FLAGS, st.integers(0, 9_000)
    ),
    st.builds(lambda stream: RstStreamFrame(stream, error_code=8), STREAMS),
    st.builds(
        lambda stream, size: WindowUpdateFrame(stream, window_increment=size), STREAMS, st.integers(1, 2**31 - 1)
    ),
    st.builds(lambda size: SettingsFrame(0, settings={4: size}), st.integers(0, 100_000)),
    st.just(GoAwayFrame(0, last_stream_id=0)),
    st.just(PingFrame(0, opaque_data=bytes(8))),
)


@given(st.lists(st.lists(FRAMES, max_size=6), max_size=6), st.booleans())
@settings(max_examples=60, deadline=None)
def test_no_order_of_frames_does_harm(turns: list[list[Frame]], polite: bool) -> None:
    """Requests, bodies, resets and windows in any order, in any pieces, meet no fault of ours; all handlers end."""
    faults: list[str] = []
    under_way = 0
    budget = BodyBudget()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal under_way
        under_way += 1
        try:
            with budget.ticket() as ticket:
                body = await read_body(request, ticket, Limits())
                answer = StreamedAnswer(200, [])
                await answer.start(request)
                await answer.write(body + bytes(70_000))
                await answer.finish()
                return answer
        finally:
            under_way -= 1

    log = logging.Logger("frames", logging.ERROR)
    log.addHandler(Told(faults))

    async def scenario() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(str(context)))
        async with served(handler, log=log) as server:
            client = await server.connect()
            client.send(PREFACE, SettingsFrame(0).serialize())
            for turn in turns:
                client.send(*(frame.serialize() for frame in turn))
                await asyncio.sleep(0)
            with contextlib.suppress(OSError):  # the gateway may have ended the connection first
                client.half_close() if polite else client.reset()
                await client.rest()

    asyncio.run(scenario())
    assert ([], 0, 0) == (faults, under_way, budget.held)
