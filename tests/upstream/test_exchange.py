"""One request, one answer, one connection; and what of aiohttp this rests on."""

from __future__ import annotations

import asyncio
import inspect
import ssl
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from aiohttp.streams import EMPTY_PAYLOAD, DataQueue, StreamReader
from hypothesis import given
from hypothesis import strategies as st
from raw_upstream import (
    CHUNKED,
    LARGE,
    OK,
    SMALL,
    Wire,
    always,
    exchanged,
    failed,
    idle,
    listening,
    pool,
    unread,
    until,
)
from yarl import URL

from bedrock_gateway.upstream.exchange import MAX_FIELD_SIZE, Answer, Where, request_head
from bedrock_gateway.upstream.session import Happened, UpstreamFault

CHANGED = f"aiohttp {aiohttp.__version__} has changed what upstream/exchange.py rests on; read its docstring"


def test_head() -> None:
    """A head is the request line, the headers as given, and an empty line."""
    assert b"POST /a%3Ab?c=d HTTP/1.1\r\nhost: h\r\nx: y, z\r\n\r\n" == request_head(
        "POST", "/a%3Ab?c=d", {"host": "h", "x": "y, z"}
    )
    assert b"GET / HTTP/1.1\r\n\r\n" == request_head("GET", "/", {})


@pytest.mark.parametrize("evil", ["\r\n", "\n", "\r", "\r\nx: y", "a\r\n\r\nGET / HTTP/1.1", "a\n", "\rb"])
@pytest.mark.parametrize(
    "head",
    [
        lambda evil: ("POST" + evil, "/", {}),
        lambda evil: ("POST", "/" + evil, {}),
        lambda evil: ("POST", "/", {"x" + evil: "y"}),
        lambda evil: ("POST", "/", {"x": "y" + evil}),
        lambda evil: ("POST", "/", {"x": evil, "z": "1"}),
    ],
)
def test_no_injection(head: Callable[[str], tuple[str, str, dict[str, str]]], evil: str) -> None:
    """A line break anywhere in a head is refused: it would begin a header of somebody else's."""
    with pytest.raises(ValueError, match="line break"):
        request_head(*head(evil))


@given(st.dictionaries(st.text(), st.text(), max_size=4), st.text())
def test_lines_of_a_head(headers: dict[str, str], target: str) -> None:
    """Whatever the headers hold, a head that is made has a line for each and one empty one at its end."""
    try:
        head = request_head("POST", target, headers)
    except ValueError:  # UnicodeEncodeError, for lone surrogates, is one
        return
    assert len(headers) + 3 == len(head.split(b"\r\n"))
    assert head.endswith(b"\r\n\r\n")
    assert len(headers) + 2 == head.count(b"\n") == head.count(b"\r")


@pytest.mark.parametrize(
    ("url", "host", "port", "is_ssl"),
    [
        ("https://a.example/x?y", "a.example", 443, True),
        ("http://a.example:8080/x", "a.example", 8080, False),
        ("http://[::1]:1/", "::1", 1, False),
    ],
)
def test_where(url: str, host: str, port: int, is_ssl: bool) -> None:
    """Where a connection goes is host, port and TLS, and the way it is verified tells connections apart."""
    where, unverified = Where(URL(url), True), Where(URL(url), False)
    assert (host, port, is_ssl) == (where.host, where.port, where.is_ssl())
    assert Where(URL(url), True).connection_key == where.connection_key
    assert unverified.connection_key != where.connection_key
    assert Where(URL(url), ssl.create_default_context()).connection_key != where.connection_key


@pytest.mark.parametrize(
    ("length", "expected"), [("0", 0), ("26", 26), (None, None), ("", None), ("-1", None), ("x", None), ("1, 1", None)]
)
def test_content_length(length: str | None, expected: int | None) -> None:
    """An answer's length is what its head says, or nothing where that is no number."""
    headers = {} if length is None else {"content-length": length}
    assert expected == Answer(200, headers, EMPTY_PAYLOAD, lambda: None).content_length


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (OK, (200, b"hi")),
        (CHUNKED + b"1\r\nh\r\n1;x=y\r\ni\r\n0\r\n\r\n", (200, b"hi")),
        (CHUNKED + b"2\r\nhi\r\n0\r\nx-trailer: 1\r\n\r\n", (200, b"hi")),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", (200, b"")),
        (b"HTTP/1.1 204 No Content\r\n\r\n", (204, b"")),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", (304, b"")),
        (b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 2\r\n\r\nno", (429, b"no")),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, (200, b"hi")),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + OK, (200, b"hi")),
        (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nhi", (200, b"hi")),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nx: " + b"a" * (MAX_FIELD_SIZE - 1) + b"\r\n\r\nhi", (200, b"hi")),
    ],
)
async def test_whole_answer(answer: bytes, expected: tuple[int, bytes]) -> None:
    """After a whole answer, however its end is told, the connection carries the next call."""
    async with listening(always(answer)) as here, pool() as upstream:
        assert [expected] * 3 == [await exchanged(upstream, here.ask()) for _ in range(3)]
        assert (1, 1) == (len(here.wires), idle(upstream))


async def test_head_request() -> None:
    """The answer to HEAD has a length and no body."""
    async with listening(always(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")) as here, pool() as upstream:
        for _ in range(2):
            assert (200, b"") == await exchanged(upstream, here.ask(b"", "HEAD"))
        assert (1, 1) == (len(here.wires), idle(upstream))


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\n\r\nhi",
        b"HTTP/1.0 200 OK\r\n\r\nhi",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi",
    ],
)
async def test_last_answer(answer: bytes) -> None:
    """An answer that ends with its connection is whole, and the next call makes another one."""
    async with listening(always(answer, "end")) as here, pool() as upstream:
        assert [(200, b"hi")] * 2 == [await exchanged(upstream, here.ask()) for _ in range(2)]
        assert (2, 0) == (len(here.wires), idle(upstream))


@pytest.mark.parametrize(
    "answer",
    [
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x00\x05hello",
        b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nx: a\x00b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: secret-" + b"a" * MAX_FIELD_SIZE + b"\r\n\r\n",
        OK + b"secret and more",
    ],
)
async def test_malformed_head(answer: bytes) -> None:
    """A head that is none means the call is lost; the reason names the fault and quotes nothing of what came."""
    async with listening(always(answer)) as here, pool() as upstream:
        fault = await failed(upstream, here.ask())
        assert Happened.LOST == fault.happened
        assert "the head of the answer is malformed" in str(fault)
        assert "secret" not in str(fault)
        assert (1, 0) == (len(here.wires), idle(upstream))


@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("later", [False, True], ids=["with the answer", "later"])
async def test_unasked_answer(body: bytes, later: bool) -> None:
    """What upstream says while nobody asks is never taken for the answer to the next call."""
    idling = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        unasked = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 4\r\n\r\nevil"
        await wire.say(OK if later else OK + unasked)
        await idling.wait()
        if later:
            await wire.say(unasked)
        await wire.gone()

    async with listening(script) as here, pool() as upstream:
        assert (200, b"hi") == await exchanged(upstream, here.ask(body))
        assert int(later) == idle(upstream)
        idling.set()
        await until(lambda: not later or unread(upstream) == 1)
        assert (200, b"hi") == await exchanged(upstream, here.ask(body))
        assert 2 == len(here.wires)


async def test_given_up_answer() -> None:
    """The connection of an answer that was not read to its end is closed, and never used again."""

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.say(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        await wire.gone()

    async with listening(script) as here, pool() as upstream:
        for number in (1, 2):
            answer = await upstream.send(here.ask())
            assert b"ab" == await upstream.read(answer)
            upstream.give_up(answer)
            assert (number, 0) == (len(here.wires), idle(upstream))


async def test_giving_up_a_whole_answer() -> None:
    """Giving up what has come whole, read or not, leaves the connection to the next call."""
    async with listening(always(OK)) as here, pool() as upstream:
        for _ in range(3):
            answer = await upstream.send(here.ask())
            await until(lambda answer=answer: answer.content.is_eof())  # type: ignore[misc]
            upstream.give_up(answer)
            answer.close()
        assert (1, 1) == (len(here.wires), idle(upstream))


async def test_slow_reader_gets_all() -> None:
    """A body larger than what is read ahead comes whole to somebody who is slow, though upstream has closed."""
    size = 3_000_000
    answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % size + b"a" * size
    async with listening(always(answer, "end")) as here, pool() as upstream:
        got = await upstream.send(here.ask())
        await until(lambda: got.protocol is not None and got.protocol._reading_paused)
        read = 0
        while data := await upstream.read(got):
            read += len(data)
        assert size == read
        assert got.ended


async def test_idle_connection_closed_by_upstream() -> None:
    """A connection that upstream closed while it was idle is passed over: the next call makes another one."""
    async with listening(always(OK, "end")) as here, pool() as upstream:
        for number in range(1, 4):
            assert (200, b"hi") == await exchanged(upstream, here.ask())
            await until(lambda: idle(upstream) == 0)
            assert number == len(here.wires)


async def test_idle_connection_closed_as_we_send() -> None:
    """A close that crosses a request loses it or comes before it; nothing is sent twice to find out."""
    seen = 0

    async def script(wire: Wire) -> None:
        nonlocal seen
        await wire.request()
        seen += 1
        await wire.say(OK)
        wire.end()

    async with listening(script) as here, pool() as upstream:
        answered = 0
        for _ in range(30):
            try:
                assert (200, b"hi") == await exchanged(upstream, here.ask())
                answered += 1
            except UpstreamFault as fault:
                assert Happened.LOST == fault.happened
        assert answered == seen == len(here.wires)
        assert answered >= 15


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        (aiohttp.TCPConnector.connect, ["self", "req", "traces", "timeout"]),
        (DataQueue.read, ["self"]),
        (DataQueue.set_exception, ["self", "exc", "exc_cause"]),
        (StreamReader.readany, ["self"]),
        (StreamReader.at_eof, ["self"]),
        (StreamReader.on_eof, ["self", "callback"]),
        (StreamReader.set_exception, ["self", "exc", "exc_cause"]),
        (Connection.close, ["self"]),
        (Connection.release, ["self"]),
    ],
)
def test_methods_of_aiohttp(what: Callable[..., Any], expected: list[str]) -> None:
    """The methods of aiohttp that are called have the parameters they are called with."""
    assert expected == list(inspect.signature(what).parameters), CHANGED


def test_response_params_of_aiohttp() -> None:
    """What a connection is told of its answer is what aiohttp takes, and no limit of it has gone."""
    parameters = set(inspect.signature(ResponseHandler.set_response_params).parameters)
    used = {"skip_payload", "read_until_eof", "auto_decompress", "read_bufsize", "max_line_size", "max_field_size"}
    assert used <= parameters, CHANGED
    known = {"self", "timer", "read_timeout", "timeout_ceil_threshold", "max_headers"}
    assert set() == parameters - used - known, CHANGED


def test_connection_of_aiohttp() -> None:
    """Connections are told apart by what ours are told apart by, and say of themselves what is asked of them."""
    fields = ("host", "port", "is_ssl", "ssl", "proxy", "proxy_auth", "proxy_headers_hash", "server_hostname")
    assert fields == ConnectionKey._fields, CHANGED
    assert isinstance(ResponseHandler.connected, property), CHANGED
    assert issubclass(ResponseHandler, DataQueue), CHANGED
    assert "__len__" in vars(DataQueue), CHANGED


class Spy:
    """Stands before something and notes what is asked of it."""

    def __init__(self, what: object, asked: set[str]) -> None:
        self.__dict__.update(_what=what, _asked=asked)

    def __getattr__(self, name: str) -> object:
        self._asked.add(name)
        return getattr(self._what, name)


async def test_requests_of_aiohttp(monkeypatch: pytest.MonkeyPatch) -> None:
    """aiohttp's connector asks of a request for a connection only what ``Where`` has."""
    asked: set[str] = set()
    real = aiohttp.TCPConnector.connect

    async def connect(self: Any, req: Any, traces: Any, timeout: Any) -> Connection:  # noqa: ASYNC109
        return await real(self, Spy(req, asked), traces, timeout)  # type: ignore[arg-type]

    async def no_tls(wire: Wire) -> None:
        await wire.reader.read(1)
        await wire.say(b"what?")

    monkeypatch.setattr(aiohttp.TCPConnector, "connect", connect)
    async with listening(always(OK)) as here, listening(no_tls) as there, pool() as upstream:
        there.scheme = "https"
        assert (200, b"hi") == await exchanged(upstream, here.ask())
        assert Happened.NEVER_REACHED == (await failed(upstream, there.ask())).happened
    has = {name for name in dir(Where(URL("https://a.example"), True)) if not name.startswith("_")}
    assert asked <= has, CHANGED
    assert {"connection_key", "proxy", "is_ssl", "ssl", "server_hostname", "url", "port"} <= asked
