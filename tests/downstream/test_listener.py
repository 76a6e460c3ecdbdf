"""The listener seen from a raw socket: limits, sniffing, faults, and how connections end."""

from __future__ import annotations

import asyncio
import json
import logging
import tempfile
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_connections import PATIENCE, both_loops, get, post, served

from bedrock_gateway.downstream.answers import StreamedAnswer, WholeAnswer
from bedrock_gateway.downstream.bodies import BodyBudget, read_body
from bedrock_gateway.downstream.limits import Limits
from bedrock_gateway.downstream.listener import Listener, make_server
from bedrock_gateway.downstream.sockets import bind
from bedrock_gateway.errors import InvalidRequest

SECRET = "sk-Hush0Hush0Hush0Hush0"


async def echo(request: web.BaseRequest) -> web.StreamResponse:
    """Answer with method, target and body."""
    with BodyBudget().ticket() as ticket:
        body = await read_body(request, ticket, Limits())
    text = f"{request.method} {request.raw_path if isinstance(request, web.Request) else request.path_qs} "
    return WholeAnswer(200, [("Content-Type", "text/plain")], text.encode() + body)


def parse(raw: bytes) -> tuple[int, dict[str, str], dict[str, str]]:
    """Return status, headers and JSON of one answer, and check that nothing follows it."""
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    assert int(headers["content-length"]) == len(body)
    return int(first.split(" ")[1]), headers, json.loads(body)


def assert_refused(raw: bytes, status: int, error_type: str) -> str:
    """Check that an answer is a refusal in AWS's REST-JSON shape and ends the connection; return its message."""
    got, headers, body = parse(raw)
    assert status == got
    assert error_type.lower() == headers["x-amzn-errortype"]
    assert "application/json" == headers["content-type"]
    assert "close" == headers["connection"]
    assert ["message"] == list(body)
    return body["message"]


# Heads


@both_loops
async def test_half_a_head_is_answered_408() -> None:
    """A head that stops coming is refused after its time, and the connection ends."""
    async with served(echo, Limits(head_seconds=0.05)) as server:
        raw = await server.exchange(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthoriz")
        assert_refused(raw, 408, "RequestTimeoutException")


@both_loops
async def test_silent_connection_is_answered_408() -> None:
    """A connection that never says anything does not stay open."""
    async with served(echo, Limits(head_seconds=0.05)) as server:
        assert_refused(await server.exchange(), 408, "RequestTimeoutException")


async def test_head_time_of_a_kept_connection_begins_with_its_first_byte() -> None:
    """On a kept connection the time of a head runs from its first byte, and only then."""
    async with served(echo, Limits(head_seconds=0.1)) as server:
        client = await server.connect()
        client.send(get("/a"))
        assert 200 == (await client.answer())[0]
        await client.silent(0.25)
        client.send(b"GET /b HTTP/1.1\r\n")
        assert_refused(await client.rest(), 408, "RequestTimeoutException")


async def test_body_in_pieces_starts_no_head_clock() -> None:
    """The last piece of a body, and empty lines after it, are not taken for the beginning of another head."""
    async with served(echo, Limits(head_seconds=0.1)) as server:
        client = await server.connect()
        client.send(post(b"x" * 10, length=500_000))
        await client.sent()
        client.send(b"y" * 499_990, b"\r\n")
        assert 500_000 + len("POST / ") == len((await client.answer())[2])
        client.send(b"\r\n")
        await client.silent(0.25)
        client.send(get("/again"))
        assert b"GET /again " == (await client.answer())[2]


async def test_head_in_single_bytes_is_served() -> None:
    """A head may come byte by byte while its time lasts."""
    async with served(echo) as server:
        client = await server.connect()
        for byte in get("/slow"):
            client.send(bytes([byte]))
            await client.sent()
        assert b"GET /slow " == (await client.answer())[2]


async def test_idle_connection_is_closed_without_a_word() -> None:
    """A kept connection without a next request is closed after its time; nothing is said that could answer one."""
    async with served(echo, Limits(idle_seconds=0.05)) as server:
        client = await server.connect()
        client.send(get())
        assert 200 == (await client.answer())[0]
        assert b"" == await client.rest()


@pytest.mark.parametrize(
    ("name", "request_bytes"),
    [
        ("a header of 100 KB", get("/", f"Authorization: Bearer {SECRET}{'x' * 100_000}")),
        ("200 headers", get("/", *(f"X-{number}: {SECRET}" for number in range(200)))),
        ("a target of 17 KB", get("/" + "a" * 17_000)),
        ("five headers of 15 KB at once", get("/", *(f"X-{number}: {'x' * 15_000}" for number in range(5)))),
        ("a target of 100 KB without an end", b"GET /" + b"a" * 100_000),
    ],
)
async def test_too_large_heads_are_431(name: str, request_bytes: bytes) -> None:
    """Whatever makes a head too large, the refusal says so and quotes nothing of it."""
    async with served(echo) as server:
        message = assert_refused(await server.exchange(request_bytes), 431, "ValidationException")
        assert SECRET not in message


async def test_too_large_head_in_pieces_is_431() -> None:
    """A head that grows over the limit piece by piece is refused before it ends."""
    async with served(echo) as server:
        client = await server.connect()
        client.send(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        for number in range(5):
            client.send(f"X-{number}: {'x' * 15_000}\r\n".encode())
            await client.sent()
        assert_refused(await client.rest(), 431, "ValidationException")


@both_loops
async def test_refused_client_that_goes_on_sending_sees_the_answer() -> None:
    """The answer to too large a head is not lost to a reset while the client is still sending."""
    async with served(echo) as server:
        client = await server.connect()
        client.send(b"GET / HTTP/1.1\r\nX: ")
        for _ in range(40):
            client.send(b"x" * 100_000)
            await client.sent()
        assert_refused(await client.rest(), 431, "ValidationException")


async def test_large_heads_within_the_limits_are_served() -> None:
    """Heads Bedrock itself takes pass: 8,500 characters in a header, 9,000 in a target, 60 KB in all."""
    headers = [f"X-{number}: {'x' * 15_000}" for number in range(3)]
    async with served(echo) as server:
        client = await server.connect()
        for _ in range(2):
            client.send(get("/" + "a" * 9_000, f"X-Amzn-Bedrock-Request-Metadata: {'m' * 8_500}", *headers))
            assert 200 == (await client.answer())[0]


async def test_large_body_in_the_same_piece_does_not_count_as_head() -> None:
    """Only the head is measured, whatever arrives together with it."""
    async with served(echo) as server:
        client = await server.connect()
        request = post(b"z" * 200_000)
        client.send(request[:10])
        await client.sent()
        client.send(request[10:])
        assert 200_000 + len("POST / ") == len((await client.answer())[2])


async def test_too_large_head_behind_a_good_request() -> None:
    """Pipelined requests before the one with too large a head are answered first."""
    async with served(echo) as server:
        client = await server.connect()
        client.send(get("/good"), get("/", *(f"X-{number}: {'x' * 15_000}" for number in range(5))))
        assert b"GET /good " == (await client.answer())[2]
        assert_refused(await client.rest(), 431, "ValidationException")


# Malformed requests


@pytest.mark.parametrize(
    ("request_bytes", "says"),
    [
        (b"\x00\x01\x02\x03\r\n\r\n", "well-formed"),
        (b"NOT HTTP AT ALL\r\n\r\n", "well-formed"),
        (b"GET / HTTP/9.9\r\nHost: a\r\n\r\n", "well-formed"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nbad header\r\n\r\n", "well-formed"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n", "well-formed"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", "well-formed"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 4\r\n\r\n", "well-formed"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", "well-formed"),
        (b"GET / HTTP/1.1\r\n\r\n", "Missing 'Host'"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "Duplicate 'Host'"),
        (b"GET http:// HTTP/1.1\r\nHost: a\r\n\r\n", "target"),
        (b"PRI * HTTP/1.1\r\nHost: a\r\n\r\n", "well-formed"),
    ],
)
@both_loops
async def test_malformed_requests_are_400(request_bytes: bytes, says: str) -> None:
    """What is no HTTP/1.1 request is refused in AWS's shape."""
    async with served(echo) as server:
        message = assert_refused(await server.exchange(request_bytes), 400, "ValidationException")
        assert says in message


async def test_garbage_behind_a_good_request() -> None:
    """A fault in a later request leaves the answer of an earlier one whole."""
    async with served(echo) as server:
        client = await server.connect()
        client.send(get("/good"))
        assert b"GET /good " == (await client.answer())[2]
        client.send(b"\x00garbage\r\n\r\n")
        assert_refused(await client.rest(), 400, "ValidationException")


@both_loops
async def test_malformed_chunk_reaches_the_reader_of_the_body() -> None:
    """A fault inside a chunked body is told to whoever reads it, at once, and ends the connection after the answer."""
    faults: list[InvalidRequest] = []
    begun = asyncio.Event()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        begun.set()
        with BodyBudget().ticket() as ticket:
            try:
                await read_body(request, ticket, Limits())
            except InvalidRequest as fault:
                faults.append(fault)
                return WholeAnswer(400, [])
        return WholeAnswer(200, [])

    async with served(handler) as server:
        client = await server.connect()
        client.send(get("/", "Transfer-Encoding: chunked", method="POST"), b"3\r\nabc\r\n")
        async with asyncio.timeout(PATIENCE):
            await begun.wait()
        client.send(b"zzz\r\n")
        status, headers, _ = await client.answer()
        assert (400, "close") == (status, headers["connection"])
        assert b"" == await client.rest()
        assert 1 == len(faults)


async def test_absolute_form_reaches_the_handler() -> None:
    """A target in absolute form is parsed; whether its host is allowed is the guard's matter."""
    async with served(echo) as server:
        client = await server.connect()
        client.send(get("http://elsewhere.example/model/x"))
        assert 200 == (await client.answer())[0]


@both_loops
async def test_pipelined_requests_are_answered_in_order() -> None:
    """Requests sent without waiting are answered one after the other on the same connection."""
    async with served(echo) as server:
        client = await server.connect()
        client.send(*(get(f"/{number}") for number in range(100)))
        answers = [(await client.answer())[2] for _ in range(100)]
        assert [f"GET /{number} ".encode() for number in range(100)] == answers


async def test_upgrade_is_declined_and_ends_the_connection() -> None:
    """Nothing is ever upgraded; what follows such a request is not served."""
    async with served(echo) as server:
        client = await server.connect()
        client.send(get("/", "Upgrade: websocket", "Connection: Upgrade"), get("/smuggled"))
        status, headers, body = await client.answer()
        assert (200, "close", b"GET / ") == (status, headers["connection"], body)
        assert b"" == await client.rest()


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_split_of_pipelined_requests_gives_the_same_answers(data: st.DataObject) -> None:
    """However the bytes of three requests are cut into pieces, the three answers are the same."""
    whole = (
        get("/one") + post(b"hello") + get("/", "Transfer-Encoding: chunked", method="PUT") + b"2\r\nab\r\n0\r\n\r\n"
    )
    cuts = sorted(data.draw(st.sets(st.integers(1, len(whole) - 1), max_size=12)))
    pieces = [whole[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]

    async def scenario() -> list[bytes]:
        async with served(echo) as server:
            client = await server.connect()
            for piece in pieces:
                client.send(piece)
                await client.sent()
                await asyncio.sleep(0)
            return [(await client.answer())[2] for _ in range(3)]

    assert [b"GET /one ", b"POST / hello", b"PUT / ab"] == asyncio.run(scenario())


@settings(deadline=None, max_examples=150)
@given(st.binary(min_size=1, max_size=400))
def test_any_bytes_get_a_refusal_or_nothing(junk: bytes) -> None:
    """No bytes whatever make the listener fail, and what it says is always a whole answer."""

    async def scenario() -> bytes:
        async with served(echo, Limits(head_seconds=0.02)) as server:
            return await server.exchange(junk)

    raw = asyncio.run(scenario())
    if raw and junk[:1] != b"P":
        assert parse(raw)[0] in (400, 408, 431)


# Other protocols


@both_loops
async def test_tls_on_the_plain_port_is_closed_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A TLS handshake is closed at once, and the log says what is wrong."""
    caplog.clear()
    async with served(echo) as server:
        assert b"" == await server.exchange(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64)
    assert ["A client speaks TLS to this port, which is plain HTTP: use http:// there"] == [
        record.getMessage() for record in caplog.records if record.name.startswith("bedrock_gateway")
    ]


# Faults of handlers


def after(answer: StreamedAnswer | None, fault: BaseException | web.StreamResponse | None):  # type: ignore[no-untyped-def]
    """Return a handler that streams a bit (if ``answer`` is given), then raises or returns ``fault``."""

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        if answer is not None:
            await answer.start(request)
            await answer.write(b"first")
        if isinstance(fault, BaseException):
            raise fault
        return fault  # type: ignore[return-value]

    return handler


@pytest.mark.parametrize(
    ("fault", "status", "error_type"),
    [
        (RuntimeError(SECRET), 500, "InternalServerException"),
        (TimeoutError(SECRET), 500, "InternalServerException"),
        (None, 500, "InternalServerException"),
        (web.HTTPNotFound(text=SECRET), 404, "ResourceNotFoundException"),
        (web.HTTPExpectationFailed(text=SECRET), 417, "ValidationException"),
        (web.HTTPBadGateway(text=SECRET), 502, "InternalServerException"),
        (InvalidRequest("The body is no JSON document."), 400, "ValidationException"),
    ],
)
async def test_faults_of_handlers_leave_in_aws_shape(
    fault: BaseException | None, status: int, error_type: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A handler that fails is answered in AWS's shape, and neither answer nor log quotes the fault."""
    async with served(after(None, fault)) as server:
        raw = await server.exchange(get("/" + SECRET))
    assert_refused(raw, status, error_type)
    assert SECRET.encode() not in raw
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    "fault", [RuntimeError("x"), web.HTTPBadGateway(), WholeAnswer(500, []), web.Response(text="x"), None]
)
async def test_no_second_head_after_a_started_answer(fault: BaseException | web.StreamResponse | None) -> None:
    """Whatever a handler raises or returns after the commit point, the started answer is cut and no other follows."""
    async with served(after(StreamedAnswer(200, []), fault)) as server:
        raw = await server.exchange(get())
    assert 1 == raw.count(b"HTTP/1.1")
    assert not raw.endswith(b"0\r\n\r\n")


async def test_fault_of_a_handler_is_logged_with_its_place(caplog: pytest.LogCaptureFixture) -> None:
    """The log names the kind and the place of a fault, so that it can be found without its text."""
    async with served(after(None, RuntimeError(SECRET))) as server:
        await server.exchange(get())
    (line,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert "RuntimeError" in line
    assert "test_listener.py" in line


# What is logged


@both_loops
async def test_no_byte_of_a_request_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """With every logger at DEBUG, no fault of any kind puts a secret of the request into the log or into the answer."""
    caplog.set_level(logging.DEBUG)
    for name in ("aiohttp", "aiohttp.server", "aiohttp.internal", "aiohttp.web", "asyncio", "bedrock_gateway"):
        caplog.set_level(logging.DEBUG, logger=name)
    asyncio.get_running_loop().set_debug(True)
    authorization = f"Authorization: Bearer {SECRET}"
    requests = [
        get("/", authorization)[:-3],
        get("/", authorization + "x" * 100_000),
        get("/", *[authorization] * 200),
        get("/", authorization, "bad header"),
        get("/", f"{SECRET}\x00: 1"),
        get("/" + SECRET, authorization, version="7.7"),
        get("http://" + SECRET + ":bad:port/", authorization),
        f"{SECRET} / HTTP/1.1\r\n\r\n".encode(),
        f"{SECRET}".encode(),
        b"\x16\x03\x01" + SECRET.encode(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SECRET.encode(),
        post(SECRET.encode(), authorization, length=5000),
        get("/", "Transfer-Encoding: chunked", authorization, method="POST") + f"{SECRET}\r\n".encode(),
        get("/", "Upgrade: websocket", "Connection: Upgrade", authorization) + SECRET.encode(),
    ]

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        with BodyBudget().ticket() as ticket:
            await read_body(request, ticket, Limits(body_seconds=0.1))
        raise ValueError(f"{request.headers.get('Authorization')} {request.path_qs}")

    async with served(handler, Limits(head_seconds=0.1)) as server:
        for request in requests:
            assert SECRET.encode() not in await server.exchange(request)
    assert SECRET not in caplog.text
    assert SECRET not in "".join(repr(record.__dict__) for record in caplog.records)


# Callers that leave


@pytest.mark.parametrize("how", ["fin", "rst"])
@both_loops
async def test_leaving_caller_cancels_the_handler_quietly(how: str, caplog: pytest.LogCaptureFixture) -> None:
    """A caller that leaves while its request is served is told to the handler once, and nothing is logged."""
    caplog.clear()
    begun, left = asyncio.Event(), asyncio.Event()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            assert request.transport is None
            left.set()
            raise
        return WholeAnswer(200, [])

    async with served(handler) as server:
        client = await server.connect()
        client.send(get())
        async with asyncio.timeout(PATIENCE):
            await begun.wait()
            client.reset() if how == "rst" else client.writer.close()
            await left.wait()
    assert [] == [record for record in caplog.records if record.levelno >= logging.INFO]


# Stopping


@both_loops
async def test_stopping_lets_requests_end_and_says_close() -> None:
    """While the gateway stops, a request under way ends properly with Connection: close, and idle connections end."""
    begun, go = asyncio.Event(), asyncio.Event()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        if request.path_qs == "/slow":
            begun.set()
            await go.wait()
        return WholeAnswer(200, [], b"whole")

    async with served(handler) as server:
        idle, busy, fresh = await server.connect(), await server.connect(), await server.connect()
        idle.send(get())
        assert 200 == (await idle.answer())[0]
        busy.send(get("/slow"))
        async with asyncio.timeout(PATIENCE):
            await begun.wait()
        await server.listener.stop_accepting()
        assert b"" == await idle.rest()
        assert b"" == await fresh.rest()
        with pytest.raises(OSError):
            await server.connect()
        go.set()
        await server.listener.close(PATIENCE)
        status, headers, body = await busy.answer()
        assert (200, "close", b"whole") == (status, headers["connection"], body)
        assert b"" == await busy.rest()


async def test_stopping_does_not_lose_an_upload_under_way() -> None:
    """A body that is still arriving when the gateway stops is read to its end."""
    begun = asyncio.Event()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        begun.set()
        return await echo(request)

    async with served(handler) as server:
        client = await server.connect()
        client.send(post(b"a" * 10, length=20))
        async with asyncio.timeout(PATIENCE):
            await begun.wait()
        await server.listener.stop_accepting()
        client.send(b"b" * 10)
        assert b"POST / " + b"a" * 10 + b"b" * 10 == (await client.answer())[2]


@both_loops
async def test_close_cancels_what_does_not_end() -> None:
    """Handlers that do not end in time are cancelled, even one that takes the first time for a caller that left."""
    begun = asyncio.Event()
    cancelled: list[str] = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append("first")
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append("second")
        return WholeAnswer(200, [])

    async with served(handler) as server:
        client = await server.connect()
        client.send(get())
        async with asyncio.timeout(PATIENCE):
            await begun.wait()
            await server.listener.close(0.01)
        assert ["first", "second"] == cancelled
        assert 0 == server.listener.connections


async def test_close_waits_for_a_handler_whose_caller_left() -> None:
    """A handler that reads upstream on after its caller left is waited for like any other."""
    begun, left, go = asyncio.Event(), asyncio.Event(), asyncio.Event()
    booked: list[str] = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()
        left.set()
        await go.wait()
        booked.append("yes")
        return WholeAnswer(200, [])

    async with served(handler) as server:
        client = await server.connect()
        client.send(get())
        async with asyncio.timeout(PATIENCE):
            await begun.wait()
            client.writer.close()
            await left.wait()
            closing = asyncio.create_task(server.listener.close(PATIENCE))
            await asyncio.sleep(0)
            go.set()
            await closing
        assert ["yes"] == booked


# Other ways to be served


@both_loops
async def test_a_connection_between_answer_and_idleness_ends_too() -> None:
    """A stop in the moment after an answer was written, before its connection counts as idle, ends that connection."""

    class LastMoment(WholeAnswer):
        async def write_eof(self, data: bytes = b"") -> None:
            await super().write_eof(data)
            await server.listener.stop_accepting()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        return LastMoment(200, [], b"whole")

    async with served(handler) as server:
        client = await server.connect()
        client.send(get())
        assert (200, b"whole") == (await client.answer())[::2]
        assert b"" == await client.rest()


@both_loops
async def test_a_connection_whose_body_nobody_wanted_ends_too() -> None:
    """A stop while the rest of a body is read and dropped after its answer ends the connection with that body."""

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        return WholeAnswer(200, [], b"whole")

    async with served(handler) as server:
        client = await server.connect()
        client.send(post(b"a" * 10, length=2_000_000))
        assert (200, b"whole") == (await client.answer())[::2]
        await server.listener.stop_accepting()
        client.send(b"a" * 1_999_990)
        assert b"" == await client.rest()


@both_loops
async def test_unix_socket_is_served_and_removed() -> None:
    """The listener serves a Unix socket as well, and takes its file away when it stops."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "gateway.sock"
        listener = Listener(make_server(echo))
        await listener.start(bind("", 0, path))
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(get("/unix", "Connection: close"))
        async with asyncio.timeout(PATIENCE):
            assert (await reader.read()).endswith(b"GET /unix ")
            writer.close()
            await listener.close(PATIENCE)
        assert not path.exists()


async def test_runner_of_an_application_is_served() -> None:
    """The server of an AppRunner works as well; its own error pages leave in AWS's shape."""
    app = web.Application()
    app.router.add_post("/here", echo)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    assert runner.server is not None
    listener = Listener(runner.server)
    sockets = bind("127.0.0.1", 0)
    port = sockets[0].getsockname()[1]
    await listener.start(sockets)
    answers = []
    for path in ("/here", "/nowhere"):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(get(path, "Connection: close", "Content-Length: 2", method="POST") + b"ok")
        async with asyncio.timeout(PATIENCE):
            answers.append(await reader.read())
        writer.close()
    assert answers[0].endswith(b"POST /here ok")
    assert_refused(answers[1], 404, "ResourceNotFoundException")
    await listener.close(PATIENCE)
    await runner.cleanup()
