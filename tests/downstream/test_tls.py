"""TLS on the listener: who comes through, who is told why not, and what ends a connection."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import os
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from http2_client import Http2Client, begun
from raw_connections import PATIENCE, Client, Handler, both_loops, get

from bedrock_gateway.downstream.answers import CallerLeft, StreamedAnswer, WholeAnswer
from bedrock_gateway.downstream.certificates import LocalFiles, local_certificate
from bedrock_gateway.downstream.connection import reset
from bedrock_gateway.downstream.limits import Limits
from bedrock_gateway.downstream.listener import Listener, make_server
from bedrock_gateway.downstream.sockets import bind
from bedrock_gateway.downstream.tls import TlsFiles, server_context
from bedrock_gateway.errors import StartError

NOW = datetime.datetime.now(datetime.UTC)
NAMES = ("localhost", "127.0.0.1", "::1")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> LocalFiles:
    """Return a certificate for this machine."""
    return local_certificate(tmp_path_factory.mktemp("tls"), NAMES, NOW)


def trusting(files: LocalFiles) -> ssl.SSLContext:
    """Return the context of a client that trusts the authority, as strictly as any does."""
    context = ssl.create_default_context(cafile=files.authority)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    return context


@contextlib.asynccontextmanager
async def served(
    handler: Handler, files: LocalFiles, *, host: str = "127.0.0.1", limits: Limits | None = None
) -> AsyncIterator[int]:
    """Serve ``handler`` with TLS on a free port; gives the port."""
    listener = Listener(make_server(handler), limits=limits)
    sockets = bind(host, 0)
    port = sockets[0].getsockname()[1]
    await listener.start(sockets, TlsFiles(files.certificate, files.key).context)
    try:
        yield port
    finally:
        await listener.close(PATIENCE)
        assert listener.connections == 0


async def connect(port: int, context: ssl.SSLContext | None, name: str = "127.0.0.1") -> Client:
    """Return a connection to the listener."""
    more = {} if context is None else {"ssl": context, "server_hostname": name}
    return Client(*await asyncio.open_connection("127.0.0.1", port, **more))


async def hello(request: web.BaseRequest) -> web.StreamResponse:
    """Answer with what came."""
    body = await request.read()
    return web.Response(text=f"{request.method} {len(body)}")


@both_loops
async def test_requests_are_served(files: LocalFiles) -> None:
    """One connection serves one request after another, with large bodies too."""
    async with served(hello, files) as port:
        client = await connect(port, trusting(files))
        for size in (0, 1_000_000, 1):
            client.send(get("/", f"Content-Length: {size}", method="POST"), b"x" * size)
            status, _, body = await client.answer()
            assert (200, f"POST {size}".encode()) == (status, body)
        protocol = client.writer.get_extra_info("ssl_object")
        assert protocol.version() == "TLSv1.3"
        client.writer.close()


@both_loops
async def test_every_name_of_this_machine_is_trusted(files: LocalFiles) -> None:
    """Clients may call it localhost, or by its addresses, and by no other name."""
    async with served(hello, files) as port:
        for name in NAMES:
            client = await connect(port, trusting(files), name)
            client.send(get())
            assert 200 == (await client.answer())[0]
            client.writer.close()
        with pytest.raises(ssl.SSLCertVerificationError):
            await connect(port, trusting(files), "bedrock-runtime.us-east-1.amazonaws.com")


@both_loops
async def test_plain_http_is_taken_beside_tls_on_loopback(files: LocalFiles) -> None:
    """What cannot be overheard needs no TLS: one port takes both, so that no client has to change."""
    async with served(hello, files) as port:
        client = await connect(port, None)
        client.send(get())
        assert 200 == (await client.answer())[0]
        client.writer.close()


@both_loops
async def test_plain_http_is_refused_elsewhere(files: LocalFiles, caplog: pytest.LogCaptureFixture) -> None:
    """Where others can listen, a client without TLS is told what to use, before its key is read; and so is the log."""
    async with served(hello, files, host="0.0.0.0") as port:
        client = await connect(port, None)
        client.send(get("/", "Authorization: Bearer sk-secret"))
        assert b"use https://" in await client.rest()
        client.writer.close()
    assert "plain HTTP" in caplog.text
    assert "secret" not in caplog.text


@both_loops
async def test_a_client_that_does_not_trust_is_told_of(files: LocalFiles, caplog: pytest.LogCaptureFixture) -> None:
    """One line with the remedy, however many such clients there are; no traceback."""
    caplog.set_level(logging.WARNING)
    async with served(hello, files) as port:
        for _ in range(3):
            with pytest.raises(ssl.SSLCertVerificationError):
                await connect(port, ssl.create_default_context())
        client = await connect(port, trusting(files))
        client.send(get())
        await client.answer()
        client.writer.close()
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert 1 == len(lines), lines
    assert "AWS_CA_BUNDLE" in lines[0]


@both_loops
async def test_a_silent_client_is_let_go(files: LocalFiles) -> None:
    """Who says nothing, and who begins a handshake and stops, is closed in time."""
    async with served(hello, files, limits=Limits(head_seconds=0.2)) as port:
        for first in (b"", b"\x16\x03\x01"):
            client = await connect(port, None)
            client.send(first)
            assert b"" == await client.rest()
            client.writer.close()


@both_loops
async def test_garbage_behind_a_handshakes_first_byte(files: LocalFiles) -> None:
    """Bytes that only begin like TLS end the connection, and nothing else."""
    async with served(hello, files) as port:
        client = await connect(port, None)
        client.send(b"\x16" + b"GARBAGE" * 100)
        await client.rest()
        client.writer.close()
        client = await connect(port, trusting(files))
        client.send(get())
        assert 200 == (await client.answer())[0]
        client.writer.close()


@both_loops
async def test_a_cut_answer_is_seen_as_cut(files: LocalFiles) -> None:
    """An abort ends without TLS's word of goodbye, so that no client takes what it has for the whole."""

    async def cut(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        reset(request.transport)  # type: ignore[arg-type]
        return response

    async with served(cut, files) as port:
        client = await connect(port, trusting(files))
        client.send(get())
        with pytest.raises((ConnectionError, ssl.SSLError, asyncio.IncompleteReadError)):
            await client.until(b"\r\n0\r\n\r\n")
        client.writer.transport.abort()


@both_loops
async def test_a_leaving_caller_is_noticed(files: LocalFiles) -> None:
    """A handler whose caller goes is cancelled, as without TLS."""
    begun, left = asyncio.Event(), asyncio.Event()

    async def wait(request: web.BaseRequest) -> web.StreamResponse:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            left.set()
            raise
        return web.Response()

    async with served(wait, files) as port:
        client = await connect(port, trusting(files))
        client.send(get())
        await begun.wait()
        client.writer.transport.abort()
        async with asyncio.timeout(PATIENCE):
            await left.wait()


@both_loops
async def test_stopping_lets_requests_end(files: LocalFiles) -> None:
    """A request under way is answered; nobody new gets in, and who is in the middle of a handshake is let go."""
    begun, go = asyncio.Event(), asyncio.Event()

    async def wait(request: web.BaseRequest) -> web.StreamResponse:
        begun.set()
        await go.wait()
        return WholeAnswer(200, [], b"done")

    listener = Listener(make_server(wait))
    sockets = bind("127.0.0.1", 0)
    port = sockets[0].getsockname()[1]
    await listener.start(sockets, TlsFiles(files.certificate, files.key).context)
    client, half = await connect(port, trusting(files)), await connect(port, None)
    client.send(get())
    await begun.wait()
    await listener.stop_accepting()
    assert b"" == await half.rest()
    half.writer.close()
    go.set()
    status, headers, _ = await client.answer()
    assert (200, "close") == (status, headers["connection"])
    client.writer.close()
    await listener.close(PATIENCE)
    with pytest.raises(OSError):
        await connect(port, None)


def write_key(path: Path, encryption: serialization.KeySerializationEncryption) -> None:
    """Write a new private key."""
    key = ec.generate_private_key(ec.SECP256R1())
    form = serialization.PrivateFormat.PKCS8
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, encryption))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "cert.pem").unlink(), "cert.pem: the TLS certificate cannot be read: No such file"),
        (lambda folder: (folder / "key.pem").unlink(), "key.pem: the TLS key cannot be read: No such file"),
        (lambda folder: (folder / "cert.pem").write_text("x"), "no TLS certificate and key in PEM"),
        (lambda folder: (folder / "key.pem").write_text(""), "no TLS certificate and key in PEM"),
        (
            lambda folder: write_key(folder / "key.pem", serialization.NoEncryption()),
            "this key does not belong to the certificate",
        ),
        (
            lambda folder: write_key(folder / "key.pem", serialization.BestAvailableEncryption(b"secret")),
            "the TLS key is encrypted; give it without a passphrase",
        ),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, files: LocalFiles, change: object, message: str) -> None:
    """A file that is missing, broken, locked or of another pair is named, with what is wrong and what to do."""
    (tmp_path / "cert.pem").write_bytes(files.certificate.read_bytes())
    (tmp_path / "key.pem").write_bytes(files.key.read_bytes())
    assert callable(change)
    change(tmp_path)
    with pytest.raises(StartError, match=message):
        TlsFiles(tmp_path / "cert.pem", tmp_path / "key.pem")


@both_loops
async def test_a_renewed_certificate_is_taken_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Files that change are loaded while the gateway serves; broken ones leave what is at hand."""
    old = local_certificate(tmp_path, NAMES, NOW - datetime.timedelta(days=390))
    tls = TlsFiles(old.certificate, old.key)
    listener = Listener(make_server(hello))
    sockets = bind("127.0.0.1", 0)
    port = sockets[0].getsockname()[1]
    await listener.start(sockets, tls.context)

    async def serial() -> int:
        client = await connect(port, trusting(old))
        found: str = client.writer.get_extra_info("peercert")["serialNumber"]
        client.writer.close()
        return int(found, 16)

    first = await serial()
    assert not tls.reload()
    new = local_certificate(tmp_path, NAMES, NOW)
    assert not new.made
    assert tls.reload()
    assert first != await serial()
    second = await serial()
    new.key.write_text("broken")
    assert not tls.reload()
    assert "the TLS certificate stays as it was" in caplog.text
    assert second == await serial()
    await listener.close(PATIENCE)


@both_loops
async def test_http2_by_alpn(files: LocalFiles) -> None:
    """A client that offers h2 gets it: bodies both ways, an answer before its request's end, and an orderly close."""
    context = trusting(files)
    context.set_alpn_protocols(["h2", "http/1.1"])

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        if request.raw_path == "/early":
            return WholeAnswer(403, [], b"no")
        assert request.secure
        answer = StreamedAnswer(200, [])
        await answer.start(request)
        async for data in request.content.iter_any():
            await answer.write(data)
        await answer.finish()
        return answer

    async with served(handler, files) as port:
        client = await begun(Http2Client(await connect(port, context)))
        assert "h2" == client.raw.writer.get_extra_info("ssl_object").selected_alpn_protocol()
        stream = client.open(end=False, method="POST", scheme="https")
        await client.upload(stream, bytes(3_000_000))
        early = client.open(end=False, method="POST", path="/early", scheme="https")
        client.data(early, bytes(10_000))
        assert 3_000_000 == len((await client.answer(stream)).body)
        assert (403, b"no") == ((await client.answer(early)).status, client.answers[early].body)
        client.raw.send(client.h2_goaway())
        await client.until(lambda: client.goaway)
        client.raw.writer.close()


@both_loops
async def test_an_http2_caller_that_takes_nothing_has_left(files: LocalFiles) -> None:
    """Behind TLS a reader that stops is noticed too, by its window and by its socket."""
    context = trusting(files)
    context.set_alpn_protocols(["h2"])
    left = asyncio.Event()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        answer = StreamedAnswer(200, [])
        await answer.start(request)
        try:
            while True:
                await answer.write(bytes(100_000))
        except CallerLeft:
            left.set()
            raise

    async with served(handler, files, limits=Limits(write_seconds=0.1, linger_seconds=0.1)) as port:
        for window in (65_535, 2**31 - 1):
            client = await begun(Http2Client(await connect(port, context), generous=False))
            stream = client.open(scheme="https")
            if window > 65_535:
                client.h2.increment_flow_control_window(window - 65_535)
                client.h2.increment_flow_control_window(window - 65_535, stream)
                client.flush()
            async with asyncio.timeout(PATIENCE):
                await left.wait()
            left.clear()
            client.raw.writer.transport.abort()


def test_the_context_is_a_modern_one() -> None:
    """Nothing older than TLS 1.2, and nobody renegotiates."""
    context = server_context()
    assert ssl.TLSVersion.TLSv1_2 == context.minimum_version
    assert not context.options & ssl.OP_ALL & ~context.options
    assert context.options & ssl.OP_NO_RENEGOTIATION


def test_sockets_are_closed_in_the_end(files: LocalFiles) -> None:
    """Neither handshakes that fail nor clients that go leave a descriptor behind."""

    async def many() -> None:
        async with served(hello, files) as port:
            for index in range(30):
                sock = socket.create_connection(("127.0.0.1", port))
                if index % 3:
                    sock.send(b"\x16\x03\x01\x00" if index % 2 else b"GET")
                sock.close()
                client = await connect(port, trusting(files))
                client.send(get())
                await client.answer()
                client.writer.close()

    before = len(os.listdir("/proc/self/fd"))
    asyncio.run(many())
    assert before == len(os.listdir("/proc/self/fd"))
