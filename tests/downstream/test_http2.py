"""HTTP/2 on real sockets: requests, answers, bodies and flow control, against h2 as a raw client."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import subprocess
import sys

import pytest
from aiohttp import web
from h2.errors import ErrorCodes
from http2_client import Answer, fields, http2
from raw_connections import both_loops, get, served

from bedrock_gateway.downstream.answers import CallerLeft, StreamedAnswer, WholeAnswer
from bedrock_gateway.downstream.bodies import BodyBudget, read_body
from bedrock_gateway.downstream.limits import Limits
from bedrock_gateway.downstream.listener import Listener
from bedrock_gateway.downstream.sockets import bind
from bedrock_gateway.errors import InvalidRequest

SECRET = "sk-do-not-tell-0123456789"
#: What a fresh client may be sent on one stream, and in all.
WINDOW = 65_535


async def echo(request: web.BaseRequest) -> web.StreamResponse:
    """Answer with what was asked."""
    with BodyBudget().ticket() as ticket:
        body = await read_body(request, ticket, Limits())
    told = {"method": request.method, "target": request.raw_path, "headers": dict(request.headers)}
    told |= {"size": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    return WholeAnswer(200, [("Content-Type", "application/json"), ("Connection", "close")], json.dumps(told).encode())


def streaming(*pieces: bytes, finish: bool = True):  # type: ignore[no-untyped-def]
    """Return a handler that streams pieces."""

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        answer = StreamedAnswer(200, [("Content-Type", "application/vnd.amazon.eventstream")])
        await answer.start(request)
        for piece in pieces:
            await answer.write(piece)
        if finish:
            await answer.finish()
        return answer

    return handler


def assert_refused(answer: Answer, status: int, error_type: str) -> str:
    """Check that an answer is an error in AWS's shape, whole; return its message."""
    assert (status, error_type) == (answer.status, answer.headers.get("x-amzn-errortype"))
    assert answer.ended
    told = json.loads(answer.body)
    assert ["message"] == list(told)
    return str(told["message"])


# Requests and answers


@both_loops
async def test_a_request_is_answered_as_in_http1() -> None:
    """A handler sees method, target, Host and headers as in HTTP/1.1; its answer names nothing of a connection."""
    async with served(echo) as server:
        client = await http2(server)
        stream = client.open(
            ("x-amz-date", "now"), ("content-length", "5"), end=False, method="POST", path="/a%2Fb?c=d"
        )
        client.data(stream, b"hello", end=True)
        answer = await client.answer(stream)

    told = json.loads(answer.body)
    assert ("POST", "/a%2Fb?c=d", 5) == (told["method"], told["target"], told["size"])
    assert {"host": "127.0.0.1", "x-amz-date": "now", "content-length": "5"}.items() <= told["headers"].items()
    assert (200, {"content-type": "application/json", "content-length": str(len(answer.body))}) == (
        answer.status,
        answer.headers,
    )
    assert (True, None) == (answer.ended, answer.reset)


@both_loops
async def test_http1_and_http2_share_the_port() -> None:
    """One port serves both, whatever comes first, in pieces of a byte too."""
    async with served(echo) as server:
        client = await http2(server)
        assert b"HTTP/1.1 200" in await server.exchange(get("/", "Connection: close"))
        slow = await server.connect()
        for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00":
            slow.send(bytes([byte]))
            await slow.sent()
        assert b"\x04" == (await slow.exactly(9))[3:4]
        assert 200 == (await client.answer(client.open())).status


@both_loops
async def test_many_streams_at_once() -> None:
    """As many requests as are announced are served at once on one connection, each with its own answer."""
    arrived, all_there = 0, asyncio.Event()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal arrived
        arrived += 1
        if arrived == 100:
            all_there.set()
        await all_there.wait()
        return WholeAnswer(200, [], request.raw_path.encode())

    async with served(handler) as server:
        client = await http2(server)
        assert 100 == client.h2.remote_settings.max_concurrent_streams
        streams = [client.open(path=f"/{number}") for number in range(100)]
        answers = [await client.answer(stream) for stream in streams]

    assert [f"/{number}".encode() for number in range(100)] == [answer.body for answer in answers]


@both_loops
async def test_a_streamed_answer_comes_piece_by_piece() -> None:
    """What a handler writes leaves at once; the end of the stream is the end of the answer."""
    go_on = asyncio.Event()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        answer = StreamedAnswer(200, [])
        await answer.start(request)
        await answer.write(b"first")
        await go_on.wait()
        assert not answer.write_at_once(b"never raw")
        await answer.write(b"second")
        await answer.finish()
        return answer

    async with served(handler) as server:
        client = await http2(server)
        stream = client.open()
        await client.until(lambda: client.answers[stream].body)
        assert (b"first", False) == (client.answers[stream].body, client.answers[stream].ended)
        go_on.set()
        answer = await client.answer(stream)

    assert (b"firstsecond", {"x-accel-buffering": "no"}, True) == (answer.body, answer.headers, answer.ended)


@pytest.mark.parametrize(
    ("status", "method", "length"), [(200, "HEAD", "4"), (204, "GET", None), (304, "GET", None), (200, "GET", "4")]
)
async def test_answers_without_a_body_end_with_their_head(status: int, method: str, length: str | None) -> None:
    """HEAD, 204 and 304 have no DATA frames, and their streams end all the same."""

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        return WholeAnswer(status, [], b"body")

    async with served(handler) as server:
        client = await http2(server)
        answer = await client.answer(client.open(method=method))

    assert (status, length, True) == (answer.status, answer.headers.get("content-length"), answer.ended)
    assert (b"body" if (status, method) == (200, "GET") else b"") == answer.body


async def test_routes_of_an_application_are_served() -> None:
    """An AppRunner's server answers over HTTP/2 too, with aiohttp's own kinds of answers."""

    async def stream(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(b"a" * 100)
        await answer.write_eof(b"b")
        return answer

    async def told(request: web.Request) -> web.StreamResponse:
        return web.json_response({"body": await request.text(), "host": request.host, "scheme": request.scheme})

    app = web.Application()
    app.router.add_get("/stream", stream)
    app.router.add_post("/told", told)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    assert runner.server is not None
    sockets = bind("127.0.0.1", 0)
    listener = Listener(runner.server)
    await listener.start(sockets)
    try:
        async with served(echo) as server:
            server.port = sockets[0].getsockname()[1]
            client = await http2(server)
            streamed = await client.answer(client.open(path="/stream"))
            post = client.open(("expect", "100-continue"), end=False, method="POST", path="/told")
            client.data(post, b"text", end=True)
            answer = await client.answer(post)
            missing = await client.answer(client.open(path="/nowhere"))
            empty = await client.answer(client.open(method="HEAD", path="/stream"))
            client.raw.writer.close()
    finally:
        await listener.close(1)
        await runner.cleanup()

    assert (200, b"a" * 100 + b"b", True) == (streamed.status, streamed.body, streamed.ended)
    assert {"body": "text", "host": "127.0.0.1", "scheme": "http"} == json.loads(answer.body)
    assert [100] == answer.informational
    assert_refused(missing, 404, "ResourceNotFoundException")
    assert (200, b"", True) == (empty.status, empty.body, empty.ended)


async def test_trailers_are_ignored() -> None:
    """Fields behind a body end it, and are not looked at."""
    async with served(echo) as server:
        client = await http2(server)
        stream = client.open(end=False, method="POST")
        client.data(stream, b"body")
        client.h2.send_headers(stream, [("x-checksum", "1")], end_stream=True)
        client.flush()
        assert 4 == json.loads((await client.answer(stream)).body)["size"]


def test_h2_is_loaded_for_the_first_client_only() -> None:
    """A gateway that nobody speaks HTTP/2 to does not pay for it."""
    code = "import sys, bedrock_gateway.cli.serve, bedrock_gateway.app; print('h2' in sys.modules)"

    assert "False\n" == subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout


# Faults


@pytest.mark.parametrize(
    ("fault", "status", "error_type"),
    [
        (RuntimeError(SECRET), 500, "InternalServerException"),
        (TimeoutError(SECRET), 500, "InternalServerException"),
        (None, 500, "InternalServerException"),
        (web.HTTPNotFound(text=SECRET), 404, "ResourceNotFoundException"),
        (InvalidRequest("The body is no JSON document."), 400, "ValidationException"),
    ],
)
async def test_faults_of_handlers_leave_in_aws_shape(
    fault: BaseException | None, status: int, error_type: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A handler that fails is answered in AWS's shape on its own stream; neither answer nor log quotes the fault."""

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        if fault is not None:
            raise fault
        return None  # type: ignore[return-value]

    async with served(handler) as server:
        client = await http2(server)
        answers = [await client.answer(client.open()) for _ in range(2)]

    for answer in answers:
        assert_refused(answer, status, error_type)
        assert SECRET.encode() not in answer.body
    assert SECRET not in caplog.text


@pytest.mark.parametrize("how", ["unfinished", "fails", "another"])
@both_loops
async def test_an_answer_without_its_end_is_reset(how: str) -> None:
    """An answer nobody finished ends in a reset, never in a clean end; the connection serves the next request."""

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        if request.raw_path == "/next":
            return WholeAnswer(200, [], b"next")
        answer = await streaming(b"half", finish=False)(request)
        if how == "fails":
            raise RuntimeError
        return answer if how == "unfinished" else WholeAnswer(200, [], b"another")

    async with served(handler) as server:
        client = await http2(server)
        broken = await client.answer(client.open())
        whole = await client.answer(client.open(path="/next"))

    assert (200, b"half", False, ErrorCodes.INTERNAL_ERROR) == (broken.status, broken.body, broken.ended, broken.reset)
    assert b"next" == whole.body


@pytest.mark.parametrize(
    ("head", "end", "status"),
    [
        ([*fields(), ("Upper", "case")], True, 400),
        ([*fields(), ("connection", "close")], True, 400),
        ([*fields(), ("transfer-encoding", "chunked")], True, 400),
        ([*fields(), ("content-length", "x")], True, 400),
        ([*fields(method="POST"), ("content-length", "5")], True, 400),
        ([*fields(method="POST"), ("content-length", "5"), ("content-length", "6")], False, 400),
        ([(":method", "GET")], True, 400),
        ([*fields(path="nowhere")], True, 400),
        ([*fields(), ("x", SECRET + "x" * 20_000)], True, 431),
        ([*fields(), *[("x", SECRET)] * 200], True, 431),
        ([*fields(path="/" + "x" * 20_000)], False, 431),
        ([*fields(), *[(f"x-{number}", "x" * 10_000) for number in range(8)]], True, 431),
    ],
)
async def test_bad_heads_are_refused_on_their_stream(
    head: list[tuple[str, str]], end: bool, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A malformed or too large head is answered in AWS's shape, without a word of it; other requests go on."""
    async with served(echo) as server:
        client = await http2(server)
        stream = client.h2.get_next_available_stream_id()
        client.answers[stream] = Answer()
        client.h2.send_headers(stream, head, end_stream=end)
        client.flush()
        answer = await client.answer(stream)
        good = await client.answer(client.open())

    message = assert_refused(answer, status, "ValidationException")
    assert SECRET not in message
    assert 200 == good.status
    assert "" == caplog.text


# Bodies


@both_loops
async def test_a_large_body_comes_whole() -> None:
    """A body of the largest size goes through, window by window."""
    body = bytes(range(256)) * 101_562
    async with served(echo) as server:
        client = await http2(server)
        stream = client.open(("content-length", str(len(body))), end=False, method="POST")
        await client.upload(stream, body)
        told = json.loads((await client.answer(stream)).body)

    assert (len(body), hashlib.sha256(body).hexdigest()) == (told["size"], told["sha256"])


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_too_large_is_refused_early(announced: bool) -> None:
    """It is refused when it says its size, or passes it; then NO_ERROR says that the rest is not wanted."""

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        with BodyBudget().ticket() as ticket:
            return WholeAnswer(200, [], await read_body(request, ticket, Limits(body=300_000)))

    length = [("content-length", "400000")] if announced else []
    async with served(handler) as server:
        client = await http2(server)
        stream = client.open(*length, end=False, method="POST")
        for _ in range(20):
            client.data(stream, bytes(16_000))
        await client.until(lambda: client.answers[stream].reset is not None)
        answer = client.answers[stream]
        again = client.open(("content-length", "3"), end=False, method="POST")
        client.data(again, b"abc", end=True)
        assert b"abc" == (await client.answer(again)).body

    assert "300,000 bytes" in assert_refused(answer, 413, "ValidationException")
    assert ErrorCodes.NO_ERROR == answer.reset


@pytest.mark.parametrize("size", [2, 7])
async def test_a_body_of_another_length_than_told_is_malformed(size: int) -> None:
    """A body shorter or longer than its Content-Length is refused; the connection goes on."""
    async with served(echo) as server:
        client = await http2(server)
        stream = client.open(("content-length", "5"), end=False, method="POST")
        client.data(stream, bytes(size), end=True)
        answer = await client.answer(stream)
        trailed = client.open(("content-length", "5"), end=False, method="POST")
        client.data(trailed, bytes(4))
        client.h2.send_headers(trailed, [("x-checksum", "1")], end_stream=True)
        client.flush()
        also = await client.answer(trailed)
        good = await client.answer(client.open())

    assert "The body of the request is malformed." == assert_refused(answer, 400, "ValidationException")
    assert "The body of the request is malformed." == assert_refused(also, 400, "ValidationException")
    assert 200 == good.status


@both_loops
async def test_a_body_nobody_reads_stops_at_its_window() -> None:
    """A client cannot make the gateway hold more than a window of a body nobody reads; other streams go on."""
    read, body = asyncio.Event(), bytes(3_000_000)

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        if request.raw_path == "/late":
            await read.wait()
        return await echo(request)

    async with served(handler) as server:
        client = await http2(server)
        late = client.open(("content-length", str(len(body))), end=False, method="POST", path="/late")
        sent = 0
        while window := min(client.h2.local_flow_control_window(late), client.h2.max_outbound_frame_size):
            client.data(late, body[:window])
            await client.raw.sent()
            sent += window
        # All that the gateway would give back is there once it answers something else.
        other = client.open(("content-length", "500000"), end=False, method="POST")
        await client.upload(other, bytes(500_000))
        assert 500_000 == json.loads((await client.answer(other)).body)["size"]
        while window := min(client.h2.local_flow_control_window(late), client.h2.max_outbound_frame_size):
            client.data(late, body[:window])
            sent += window
        assert 1024 * 1024 <= sent <= 1024 * 1024 + 256 * 1024
        read.set()
        await client.upload(late, body[sent:])
        assert len(body) == json.loads((await client.answer(late)).body)["size"]


async def test_an_answer_before_the_end_of_its_request_says_so() -> None:
    """A handler that reads no body answers at once; then NO_ERROR ends the stream, and what still comes is dropped."""

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        return WholeAnswer(403, [], b"no")

    async with served(handler) as server:
        client = await http2(server)
        streams = []
        for _ in range(5):
            stream = client.open(end=False, method="POST")
            streams.append(stream)
            for _ in range(30):  # together more than the window of the connection
                client.data(stream, bytes(16_000))
            await client.until(lambda: client.answers[streams[-1]].reset is not None)
        assert [(403, b"no", True, ErrorCodes.NO_ERROR)] * 5 == [
            (answer.status, answer.body, answer.ended, answer.reset)
            for answer in map(client.answers.get, streams)
            if answer
        ]


async def test_expect_gets_its_continue() -> None:
    """A client that waits with its body is told to go on."""
    async with served(echo) as server:
        client = await http2(server)
        stream = client.open(("expect", "100-continue"), ("content-length", "4"), end=False, method="POST")
        await client.until(lambda: client.answers[stream].informational)
        client.data(stream, b"body", end=True)
        assert 4 == json.loads((await client.answer(stream)).body)["size"]


# Flow control of answers


@both_loops
async def test_a_slow_reader_holds_up_its_own_stream_only() -> None:
    """A stream whose window is used up waits, its writer with it; the next stream is served."""
    wrote = 0

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal wrote
        answer = StreamedAnswer(200, [])
        await answer.start(request)
        if request.raw_path == "/large":
            for _ in range(100):
                await answer.write(bytes(10_000))
                wrote += 10_000
        await answer.write(b"end")
        await answer.finish()
        return answer

    async with served(handler) as server:
        client = await http2(server, generous=False, window=20_000)
        large = client.open(path="/large")
        await client.until(lambda: len(client.answers[large].body) == 20_000)
        small = await client.answer(client.open(path="/small"))
        assert b"end" == small.body
        assert wrote <= 20_000 + 64 * 1024 + 10_000
        client.generous = True
        client.h2.increment_flow_control_window(20_003)
        client.h2.increment_flow_control_window(20_000, large)
        client.flush()
        answer = await client.answer(large)

    assert (1_000_003, b"end") == (len(answer.body), answer.body[-3:])


@both_loops
async def test_streams_share_the_window_of_the_connection() -> None:
    """When the connection's window opens again, every stream that waits gets its part."""
    async with served(streaming(bytes(60_000))) as server:
        client = await http2(server, generous=False)
        streams = [client.open() for _ in range(4)]
        await client.until(lambda: sum(len(client.answers[stream].body) for stream in streams) == WINDOW)
        client.h2.increment_flow_control_window(64_000)
        client.flush()
        before = [len(client.answers[stream].body) for stream in streams]
        await client.until(lambda: sum(len(client.answers[stream].body) for stream in streams) == WINDOW + 64_000)
        gained = [len(client.answers[stream].body) - had for stream, had in zip(streams, before, strict=True)]
        assert 3 <= sum(1 for bytes_more in gained if bytes_more)
        client.h2.increment_flow_control_window(200_000)
        client.flush()
        assert [60_000] * 4 == [len((await client.answer(stream)).body) for stream in streams]


@both_loops
async def test_a_window_that_shrinks_below_nothing_is_waited_for() -> None:
    """A client may take window back by its settings; nothing is sent until it is positive again."""
    async with served(streaming(bytes(50_000), bytes(50_000))) as server:
        client = await http2(server, generous=False, window=30_000)
        stream = client.open()
        await client.until(lambda: len(client.answers[stream].body) == 30_000)
        client.h2.update_settings({4: 10_000})
        client.flush()
        await client.until(lambda: client.h2.local_settings.initial_window_size == 10_000)
        client.h2.increment_flow_control_window(200_000, stream)
        client.h2.increment_flow_control_window(200_000)
        client.flush()
        assert 100_000 == len((await client.answer(stream)).body)


@both_loops
async def test_a_caller_that_takes_nothing_for_too_long_has_left() -> None:
    """A stream whose window stays shut is reset after the time for it, and its handler is told; others live on."""
    told: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        if request.raw_path == "/other":
            return WholeAnswer(200, [], b"other")
        answer = StreamedAnswer(200, [])
        await answer.start(request)
        try:
            while True:
                await answer.write(bytes(10_000))
        except CallerLeft as error:
            told.set_result(str(error))
            raise

    async with served(handler, Limits(write_seconds=0.1)) as server:
        client = await http2(server, generous=False)
        answer = await client.answer(client.open())
        assert "the caller took no byte for 0.1 s" == await told
        assert ErrorCodes.INTERNAL_ERROR == answer.reset
        client.h2.increment_flow_control_window(1_000)
        client.flush()
        assert b"other" == (await client.answer(client.open(path="/other"))).body


@both_loops
async def test_the_end_of_an_answer_nobody_takes_is_given_up() -> None:
    """What is left of an answer when its handler ends waits for the caller, but not for ever."""
    async with served(streaming(bytes(WINDOW + 1_000)), Limits(write_seconds=0.1)) as server:
        client = await http2(server, generous=False)
        answer = await client.answer(client.open())

    assert (WINDOW, False, ErrorCodes.INTERNAL_ERROR) == (len(answer.body), answer.ended, answer.reset)


@both_loops
async def test_a_slow_caller_that_takes_something_has_not_left() -> None:
    """A caller that takes a little now and then gets it all, however long it takes."""
    async with served(streaming(bytes(WINDOW), bytes(120_000)), Limits(write_seconds=0.4)) as server:
        client = await http2(server, generous=False)
        stream = client.open()
        began = asyncio.get_running_loop().time()
        for taken in range(12):
            await client.until(lambda: len(client.answers[stream].body) == WINDOW + 10_000 * taken)  # noqa: B023
            # A tenth of the limit, so that a machine that stands still between two bytes does not pass for the caller.
            await asyncio.sleep(0.04)
            client.h2.increment_flow_control_window(10_000)
            client.h2.increment_flow_control_window(10_000, stream)
            client.flush()
        assert WINDOW + 120_000 == len((await client.answer(stream)).body)
        assert 0.4 < asyncio.get_running_loop().time() - began


async def test_no_byte_of_a_request_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """With every logger at DEBUG, nothing a client sends is in the log, whatever is wrong with it."""
    caplog.set_level(logging.DEBUG)

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        raise ValueError(f"{request.headers.get('authorization')} {request.path_qs}")

    async with served(handler) as server:
        client = await http2(server)
        await client.answer(client.open(("authorization", SECRET), path=f"/{SECRET}"))
        client.raw.send(b"\x00\x00\x20\x01\x05\x00\x00\x00\x09" + SECRET.encode() + b"\xff" * 20)
        assert await client.end()

    assert SECRET not in caplog.text
