"""What becomes of a call when upstream, or somebody on this side, does not do its part."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import aiohttp
import pytest
from raw_upstream import (
    CHUNKED,
    LARGE,
    OK,
    SMALL,
    RawUpstream,
    Script,
    Wire,
    always,
    black_hole,
    exchanged,
    failed,
    idle,
    listening,
    looks,
    nothing_left,
    pool,
    turns,
    until,
)
from yarl import URL

from bedrock_gateway.upstream import session
from bedrock_gateway.upstream.session import MAX_PLACES, PIECE, Happened, Upstream, UpstreamFault, fault_of

BODIES = pytest.mark.parametrize("body", [SMALL, LARGE], ids=["small", "large"])
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"


# What is sent


@BODIES
async def test_bytes_sent(body: bytes) -> None:
    """Exactly the signed request goes out: target, headers and body as given, a length, and nothing of aiohttp's."""
    async with listening(recording(OK)) as here, pool() as upstream:
        assert (200, b"hi") == await exchanged(upstream, here.ask(body))
        head, sent = here.requests[0]
        expected = (
            "POST /model/a%3A0/converse?x=%2F HTTP/1.1\r\n"
            f"host: 127.0.0.1:{here.port}\r\nuser-agent: test\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        assert expected.encode() == head
        assert body == sent


@pytest.mark.parametrize(
    ("method", "length"),
    [
        ("POST", b"content-length: 0"),
        ("PUT", b"content-length: 0"),
        ("DELETE", b"content-length: 0"),
        ("GET", None),
        ("HEAD", None),
    ],
)
async def test_no_body(method: str, length: bytes | None) -> None:
    """A request without a body says so where its method may have one, and says nothing where it may not."""
    async with listening(recording(b"HTTP/1.1 204 No Content\r\n\r\n")) as here, pool() as upstream:
        assert (204, b"") == await exchanged(upstream, here.ask(b"", method))
        lengths = [line for line in here.requests[0][0].split(b"\r\n") if line.lower().startswith(b"content-length")]
        assert ([] if length is None else [length]) == lengths


@pytest.mark.parametrize("body", [bytearray(SMALL), bytearray(LARGE)], ids=["small", "large"])
async def test_body_as_received(body: bytearray) -> None:
    """A body goes out of the very buffer it was received in, which stays as it is."""
    before = bytes(body)
    async with listening(recording(OK)) as here, pool() as upstream:
        assert (200, b"hi") == await exchanged(upstream, here.ask(body))
        assert before == here.requests[0][1] == body


@pytest.mark.parametrize("size", [PIECE + 1, 3 * PIECE - 1, 3 * PIECE])
async def test_pieces(size: int) -> None:
    """A large body is cut into pieces that hold the loop for a moment each, without a copy and without a loss."""
    request = RawUpstream(1).ask(bytes(size))
    pieces = [piece async for piece in session._pieces(request)]
    assert [PIECE] * (len(pieces) - 1) == [len(piece) for piece in pieces[:-1]]
    assert size == sum(map(len, pieces))
    assert {id(request.body)} == {id(piece.obj) for piece in pieces}


@BODIES
@pytest.mark.parametrize("evil", ["a\r\nx: y", "a\nx: y", "a\rb"])
async def test_no_injection(body: bytes, evil: str) -> None:
    """A header with a line break in it is not sent, nor anything else of its request; the pool is as before."""
    async with listening(recording(OK)) as here, pool() as upstream:
        for name, value in (("x", evil), (evil, "x")):
            request = here.ask(body)
            request.headers[name] = value
            with pytest.raises(ValueError, match=r"line break|injection"):
                await upstream.send(request)
            nothing_left(upstream)
        assert (200, b"hi") == await exchanged(upstream, here.ask(body))
        assert 1 == len(here.requests)


# Connections


@BODIES
async def test_connections_are_kept(body: bytes) -> None:
    """Calls one after the other share a connection; calls at once do not wait for each other."""
    meeting = asyncio.Barrier(5)

    async def script(wire: Wire) -> None:
        while True:
            await wire.request()
            if together:
                await meeting.wait()
            await wire.say(OK)

    together = False
    async with listening(script) as here, pool() as upstream:
        for _ in range(5):
            assert (200, b"hi") == await exchanged(upstream, here.ask(body))
        assert 1 == len(here.wires)
        together = True
        found = await asyncio.gather(*(exchanged(upstream, here.ask(body)) for _ in range(5)))
        assert [(200, b"hi")] * 5 == found
        assert (5, 5) == (len(here.wires), idle(upstream))


@BODIES
async def test_refused(body: bytes) -> None:
    """Where nobody listens nothing was sent."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with pool() as upstream:
            request = RawUpstream(taken.getsockname()[1]).ask(body)
            fault = await failed(upstream, request)
            assert (Happened.NEVER_REACHED, False) == (fault.happened, request.sent)
            assert "no connection to 127.0.0.1:" in str(fault)


@BODIES
async def test_no_such_host(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a name has no address nothing was sent."""

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    async with pool() as upstream:
        request = RawUpstream(1).ask(body)
        request.url = URL("http://nobody.invalid/", encoded=True)
        fault = await failed(upstream, request)
        assert (Happened.NEVER_REACHED, False) == (fault.happened, request.sent)
        assert str(fault).endswith(": Name or service not known")


@BODIES
@pytest.mark.parametrize("host", ["a" * 64 + ".invalid", "a..invalid"])
async def test_no_name_of_a_host(body: bytes, host: str) -> None:
    """What cannot be a host's name has no address either."""
    async with pool() as upstream:
        request = RawUpstream(1).ask(body)
        request.url = URL(f"http://{host}/", encoded=True)
        assert Happened.NEVER_REACHED == (await failed(upstream, request)).happened


@BODIES
async def test_no_connection_in_time(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is neither made nor refused is given up, and nothing was sent."""
    monkeypatch.setattr(session, "CONNECT_TIMEOUT", 0.1)
    with black_hole() as there:
        async with pool() as upstream:
            request = there.ask(body)
            fault = await failed(upstream, request)
            assert (Happened.NEVER_REACHED, False) == (fault.happened, request.sent)
            assert "no connection within 0.1 s" == str(fault)


async def test_places_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts without end do not fill the memory."""
    monkeypatch.setattr(session, "MAX_PLACES", 3)
    async with contextlib.AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(pool())
        for _ in range(5):
            here = await stack.enter_async_context(listening(always(OK)))
            assert (200, b"hi") == await exchanged(upstream, here.ask())
            assert len(upstream._places) <= 3
        assert 2 == len(upstream._places)
    assert 1024 == MAX_PLACES


async def test_socket_options() -> None:
    """A connection probes a peer that is silent, so that a dead one is noticed."""
    async with listening(always(OK)) as here, pool() as upstream:
        answer = await upstream.send(here.ask())
        assert answer.protocol is not None and answer.protocol.transport is not None
        sock = answer.protocol.transport.get_extra_info("socket")
        assert 1 == sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert 45 == sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
        assert 0 != sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        upstream.give_up(answer)


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with a certificate for 127.0.0.1 that nobody has signed, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    command = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout key.pem -out cert.pem"
    names = ["-subj", "/CN=somebody", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([openssl, *command.split(), *names], cwd=folder, check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_text((folder / "cert.pem").read_text() + (folder / "key.pem").read_text())
    return both


@contextlib.asynccontextmanager
async def tls(certificate: Path, script: Script) -> AsyncIterator[RawUpstream]:
    """Serve a script over TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    async with listening(script, context) as here:
        yield here


@BODIES
async def test_unknown_certificate(certificate: Path, body: bytes) -> None:
    """A certificate that nobody has signed is refused before anything is sent."""
    async with tls(certificate, recording(OK)) as here, pool() as upstream:
        request = here.ask(body)
        fault = await failed(upstream, request)
        assert (Happened.NEVER_REACHED, False, []) == (fault.happened, request.sent, here.requests)
        assert "CERTIFICATE_VERIFY_FAILED" in str(fault)


@BODIES
async def test_certificate_of_another_host(certificate: Path, body: bytes) -> None:
    """A known certificate for another name is refused before anything is sent."""
    async with tls(certificate, recording(OK)) as here, pool() as upstream:
        request = here.ask(body, ssl_verify=str(certificate))
        request.url = URL(str(request.url).replace("127.0.0.1", "localhost"), encoded=True)
        fault = await failed(upstream, request)
        assert (Happened.NEVER_REACHED, False, []) == (fault.happened, request.sent, here.requests)


@BODIES
async def test_known_certificate(certificate: Path, body: bytes) -> None:
    """With a bundle that holds the certificate, or unverified, calls go through, each way over its own connection."""
    async with tls(certificate, recording(OK)) as here, pool() as upstream:
        for verify in (str(certificate), False, str(certificate), False):
            assert (200, b"hi") == await exchanged(upstream, here.ask(body, ssl_verify=verify))
        assert Happened.NEVER_REACHED == (await failed(upstream, here.ask(body))).happened
        assert [body] * 4 == [sent for _, sent in here.requests]
        assert 2 == idle(upstream)


@BODIES
async def test_bundle_that_is_gone(tmp_path: Path, body: bytes) -> None:
    """Where a bundle cannot be read nothing is sent."""
    async with pool() as upstream:
        here = RawUpstream(1, "https")
        for name in ("gone.pem", "empty.pem"):
            (tmp_path / "empty.pem").touch()
            fault = await failed(upstream, here.ask(body, ssl_verify=str(tmp_path / name)))
            assert Happened.NEVER_REACHED == fault.happened


# Calls that go wrong


def then_end(data: bytes) -> Script:
    """Answer with these bytes and a proper end."""
    return always(data, "end")


def then_reset(data: bytes) -> Script:
    """Answer with these bytes and a reset."""
    return always(data, "reset")


def then_nothing(data: bytes) -> Script:
    """Answer with these bytes and then with silence."""

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.say(data)
        await wire.gone()

    return script


def unread(end: Callable[[Wire], None]) -> Script:
    """End the connection before the body has been read."""

    async def script(wire: Wire) -> None:
        await wire.reader.readuntil(b"\r\n\r\n")
        end(wire)

    return script


LOST = {
    "end before the head": then_end(b""),
    "reset before the head": then_reset(b""),
    "half a status line": then_end(b"HTTP/1."),
    "half a head": then_end(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "reset in the head": then_reset(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "only interim answers": then_end(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a malformed head": then_nothing(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"),
    "end in the request": unread(Wire.end),
    "reset in the request": unread(Wire.reset),
}
CUT = {
    "short": then_end(HEAD + b"half"),
    "short, reset": then_reset(HEAD + b"half"),
    "end in a chunk": then_end(CHUNKED + b"4\r\nhalf\r\n5\r\nab"),
    "end between chunks": then_end(CHUNKED + b"4\r\nhalf\r\n"),
    "reset between chunks": then_reset(CHUNKED + b"4\r\nhalf\r\n"),
    "end before the last line": then_end(CHUNKED + b"4\r\nhalf\r\n0\r\n"),
}
SILENT = {
    "no head": then_nothing(b""),
    "half a head": then_nothing(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "only interim answers": then_nothing(b"HTTP/1.1 100 Continue\r\n\r\n"),
}
SILENT_BODY = {
    "no body": then_nothing(HEAD),
    "half a body": then_nothing(HEAD + b"half"),
    "half a chunk": then_nothing(CHUNKED + b"9\r\nhalf"),
    "no end": then_nothing(b"HTTP/1.1 200 OK\r\n\r\nhalf"),
}


@BODIES
@pytest.mark.parametrize("script", LOST.values(), ids=LOST)
async def test_lost(script: Script, body: bytes) -> None:
    """A connection that goes before a whole head is there loses the call, which may have been accepted."""
    async with listening(script) as here, pool() as upstream:
        request = here.ask(body)
        assert (Happened.LOST, True) == ((await failed(upstream, request)).happened, request.sent)
        assert (1, 0) == (len(here.wires), idle(upstream))


@BODIES
@pytest.mark.parametrize("script", CUT.values(), ids=CUT)
async def test_cut(script: Script, body: bytes) -> None:
    """A body that breaks off is told from one that ends, after what came of it."""
    async with listening(script) as here, pool() as upstream:
        answer = await upstream.send(here.ask(body))
        came = b""
        with pytest.raises(UpstreamFault) as caught:
            while data := await upstream.read(answer):
                came += data
        assert Happened.CUT == caught.value.happened
        assert b"half".startswith(came[:4])
        upstream.give_up(answer)
        assert (1, 0) == (len(here.wires), idle(upstream))


@BODIES
@pytest.mark.parametrize("waits", [True, False], ids=["waiting", "away"])
async def test_malformed_body(body: bytes, waits: bool) -> None:
    """A malformed piece of a body cuts it, for one who waits for more and for one who comes for it later."""
    come = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.say(CHUNKED + b"4\r\nhalf\r\n")
        await come.wait()
        await wire.say(b"what?\r\n")
        await wire.gone()

    async with listening(script) as here, pool(idle_timeout=4.0) as upstream:
        answer = await upstream.send(here.ask(body))
        assert b"half" == await upstream.read(answer)
        if waits:
            asyncio.get_running_loop().call_soon(come.set)
        else:
            come.set()
            await until(lambda: answer.protocol is not None and not answer.protocol.connected)
        with pytest.raises(UpstreamFault) as caught:
            await upstream.read(answer)
        assert Happened.CUT == caught.value.happened
        upstream.give_up(answer)


@BODIES
@pytest.mark.parametrize("script", SILENT.values(), ids=SILENT)
async def test_silent_head(script: Script, body: bytes) -> None:
    """An upstream that says no whole head for the idle time is silent, and its connection is closed."""
    async with listening(script) as here, pool(idle_timeout=0.05) as upstream:
        request = here.ask(body)
        assert (Happened.SILENT, True) == ((await failed(upstream, request)).happened, request.sent)
        assert (1, 0) == (len(here.wires), idle(upstream))


@BODIES
@pytest.mark.parametrize("script", SILENT_BODY.values(), ids=SILENT_BODY)
async def test_silent_body(script: Script, body: bytes) -> None:
    """An upstream that goes silent in a body is silent from its last byte on."""
    async with listening(script) as here, pool(idle_timeout=0.05) as upstream:
        assert Happened.SILENT == (await failed(upstream, here.ask(body))).happened
        assert (1, 0) == (len(here.wires), idle(upstream))


async def test_upload_that_nobody_takes() -> None:
    """An upstream that takes nothing more of a body is silent."""

    async def script(wire: Wire) -> None:
        await wire.reader.readuntil(b"\r\n\r\n")
        await released.wait()

    released = asyncio.Event()
    async with listening(script) as here, pool(idle_timeout=0.1) as upstream:
        assert Happened.SILENT == (await failed(upstream, here.ask(LARGE * 40))).happened
        released.set()


@BODIES
async def test_slow_reader(body: bytes) -> None:
    """A caller that is slow is not a silent upstream: only time spent waiting for upstream counts."""
    size = 2_000_000
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"a" * size
    async with listening(always(answer)) as here, pool(idle_timeout=0.05) as upstream:
        got = await upstream.send(here.ask(body))
        read = 0
        while data := await upstream.read(got):
            read += len(data)
            if read < 300_000:
                await looks(upstream, 20)
        assert size == read
        assert 1 == idle(upstream)


async def test_slow_upstream() -> None:
    """Silences shorter than the idle time add up to nothing."""
    hurry = asyncio.Semaphore(0)

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")
        for _ in range(10):
            await hurry.acquire()
            await wire.say(b"a")
        await wire.gone()

    async with listening(script) as here, pool(idle_timeout=0.4) as upstream:
        answer = await upstream.send(here.ask())
        for _ in range(10):
            reading = asyncio.ensure_future(upstream.read(answer))
            await looks(upstream, 2)
            hurry.release()
            assert b"a" == await reading
        assert b"" == await upstream.read(answer)


# Large bodies and early answers


@pytest.mark.parametrize("closing", [b"", b"Connection: close\r\n"], ids=["kept", "closed"])
@pytest.mark.parametrize("reads_on", [False, True])
async def test_early_answer(closing: bytes, reads_on: bool) -> None:
    """An upstream that answers before it has read a large body is heard; that connection is not used again."""
    refusal = b"HTTP/1.1 413 Content Too Large\r\n" + closing + b"Content-Length: 2\r\n\r\nno"

    async def script(wire: Wire) -> None:
        await wire.reader.readuntil(b"\r\n\r\n")
        await wire.say(refusal)
        if reads_on:
            await wire.gone()
        else:
            await released.wait()

    released = asyncio.Event()
    async with listening(script) as here, pool() as upstream:
        for number in (1, 2):
            assert (413, b"no") == await exchanged(upstream, here.ask(LARGE * 20))
            await until(functools.partial(is_quiet, upstream))
            assert number == len(here.wires)
        released.set()


def is_quiet(upstream: Upstream) -> bool:
    """Tell whether a pool holds no connection and no task that sends a body is left."""
    names = {task.get_coro().__qualname__ for task in asyncio.all_tasks()}  # type: ignore[union-attr]
    return idle(upstream) == 0 and not any("write_bytes" in name for name in names)


async def test_large_body_shares_the_loop() -> None:
    """While a large body goes out other calls are answered."""

    async def script(wire: Wire) -> None:
        head, _ = await wire.request()
        if b"content-length: 2\r\n" in head:
            small.set()
        await wire.say(OK)

    async def patient(wire: Wire) -> None:
        await wire.reader.readuntil(b"\r\n\r\n")
        await small.wait()
        await wire.reader.readexactly(len(LARGE) * 20)
        await wire.say(OK)

    small = asyncio.Event()
    async with listening(script) as here, listening(patient) as there, pool() as upstream:
        large = asyncio.ensure_future(exchanged(upstream, there.ask(LARGE * 20)))
        await until(lambda: bool(there.wires))
        assert (200, b"hi") == await exchanged(upstream, here.ask())
        assert (200, b"hi") == await large


# Calls that are cancelled


STAGES: dict[str, Script] = {
    "head": then_nothing(b""),
    "rest of the head": then_nothing(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 2"),
    "body": then_nothing(HEAD),
    "rest of the body": then_nothing(HEAD + b"half"),
}


@BODIES
@pytest.mark.parametrize("stage", STAGES)
async def test_cancelled_waiting(stage: str, body: bytes) -> None:
    """A call cancelled while it waits for head or body leaves no connection and no trace."""
    gone = asyncio.Event()

    async def script(wire: Wire) -> None:
        await STAGES[stage](wire)
        gone.set()

    async with listening(script) as here, pool() as upstream:
        call = asyncio.ensure_future(exchanged(upstream, here.ask(body)))
        if "body" in stage:
            await until(lambda: any(answer.waiting_since for answer in upstream._answers))
        else:
            await until(lambda: bool(here.wires) and bool(upstream._heads or body is LARGE))
        await turns(20)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        nothing_left(upstream)
        assert 0 == idle(upstream)
        await gone.wait()


@BODIES
async def test_cancelled_connecting(body: bytes) -> None:
    """A call cancelled while its connection is made leaves none."""
    with black_hole() as there:
        async with pool() as upstream:
            request = there.ask(body)
            call = asyncio.ensure_future(upstream.send(request))
            await until(lambda: bool(upstream._connector._acquired))
            await turns(20)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            nothing_left(upstream)
            assert not request.sent


async def test_cancelled_sending() -> None:
    """A call cancelled while its large body goes out leaves no connection and nobody who sends."""
    gone = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.reader.readuntil(b"\r\n\r\n")
        started.set()
        await gone.wait()

    started = asyncio.Event()
    async with listening(script) as here, pool() as upstream:
        call = asyncio.ensure_future(upstream.send(here.ask(LARGE * 40)))
        await started.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        nothing_left(upstream)
        await until(functools.partial(is_quiet, upstream))
        gone.set()


@BODIES
async def test_cancelled_anywhere(body: bytes) -> None:
    """Wherever a call is cancelled the pool is whole afterwards, and the next call goes through."""
    async with listening(always(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)) as here, pool() as upstream:
        ended = 0
        for steps in range(40):
            call = asyncio.ensure_future(exchanged(upstream, here.ask(body)))
            await turns(steps)
            call.cancel()
            found = (await asyncio.gather(call, return_exceptions=True))[0]
            ended += found == (200, b"hi")
            assert found == (200, b"hi") or isinstance(found, asyncio.CancelledError)
            nothing_left(upstream)
            assert (200, b"hi") == await exchanged(upstream, here.ask(body))
        assert ended < 40


async def test_cancelled_read_goes_on() -> None:
    """A reader that is cancelled may read on, and the time in between is not upstream's silence."""
    come = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.say(HEAD + b"half")
        await come.wait()
        await wire.say(b" more")
        await wire.gone()

    async with listening(script) as here, pool(idle_timeout=0.05) as upstream:
        answer = await upstream.send(here.ask())
        assert b"half" == await upstream.read(answer)
        reading = asyncio.ensure_future(upstream.read(answer))
        await until(lambda: answer.waiting_since > 0.0)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await looks(upstream, 20)
        come.set()
        assert b" more" == await upstream.read(answer)
        assert b"" == await upstream.read(answer)


# The end


@BODIES
@pytest.mark.parametrize(("said", "expected"), [(b"", Happened.LOST), (HEAD + b"half", Happened.CUT)])
async def test_close(said: bytes, expected: Happened, body: bytes) -> None:
    """Closing the pool ends every call under way: nobody waits for what can never come."""
    async with listening(then_nothing(said)) as here:
        upstream = Upstream.open(user_agent="test", idle_timeout=60.0)
        call = asyncio.ensure_future(failed(upstream, here.ask(body)))
        if said:
            await until(lambda: any(answer.waiting_since for answer in upstream._answers))
        else:
            await until(lambda: bool(here.wires) and bool(upstream._heads or body is LARGE))
            await turns(20)
        await upstream.close()
        assert expected == (await call).happened
        nothing_left(upstream)


async def test_closed() -> None:
    """A closed pool sends nothing."""
    async with listening(always(OK)) as here:
        upstream = Upstream.open(user_agent="test", idle_timeout=60.0)
        assert (200, b"hi") == await exchanged(upstream, here.ask())
        await upstream.close()
        await upstream.close()
        request = here.ask()
        with pytest.raises(UpstreamFault) as caught:
            await upstream.send(request)
        assert (Happened.NEVER_REACHED, False) == (caught.value.happened, request.sent)


@pytest.mark.parametrize(
    ("error", "sent", "head_seen", "expected"),
    [
        (aiohttp.ServerDisconnectedError(), True, False, Happened.LOST),
        (aiohttp.ServerDisconnectedError(), False, False, Happened.NEVER_REACHED),
        (aiohttp.ClientOSError(104, "reset"), True, False, Happened.LOST),
        (aiohttp.ClientPayloadError("short"), True, True, Happened.CUT),
        (aiohttp.SocketTimeoutError("silent"), True, False, Happened.SILENT),
        (aiohttp.SocketTimeoutError("silent"), True, True, Happened.SILENT),
        (aiohttp.ConnectionTimeoutError("slow"), True, False, Happened.NEVER_REACHED),
        (TimeoutError(), True, False, Happened.SILENT),
        (TimeoutError(), False, False, Happened.NEVER_REACHED),
        (OSError(24, "Too many open files"), False, False, Happened.NEVER_REACHED),
        (ConnectionResetError(), True, True, Happened.CUT),
        (UnicodeError("label too long"), False, False, Happened.NEVER_REACHED),
    ],
)
def test_fault_of(error: Exception, sent: bool, head_seen: bool, expected: Happened) -> None:
    """What is billed follows from how far a call had come; there is always a reason for the log."""
    fault = fault_of(error, sent=sent, head_seen=head_seen)
    assert expected == fault.happened
    assert str(fault)


def test_reason_is_bounded() -> None:
    """However much an error quotes, the reason for the log is short."""
    fault = fault_of(aiohttp.ServerDisconnectedError("head " * 20_000), head_seen=False)
    assert len(str(fault)) <= 300


# Scripts


def recording(answer: bytes) -> Script:
    """Answer every request, and keep it with the upstream it came to."""

    async def script(wire: Wire) -> None:
        here = wire.upstream
        while True:
            here.requests.append(await wire.request())
            await wire.say(answer)

    return script


@pytest.fixture(autouse=True)
def quiet_descriptors() -> Iterator[None]:
    """Hold that a test leaves no socket open."""

    def sockets() -> int:
        folder = Path("/proc/self/fd")
        return sum(os.readlink(entry).startswith("socket:") for entry in folder.iterdir() if entry.is_symlink())

    if not Path("/proc/self/fd").exists():
        yield
        return
    before = sockets()
    yield
    assert before >= sockets()
