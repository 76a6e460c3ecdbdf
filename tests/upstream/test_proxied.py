"""AWS through a proxy and by a bundle of one's own, on real sockets: what a proxy is asked, and what it never sees."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import attrs
import pytest
from yarl import URL

from bedrock_gateway.downstream.certificates import LocalFiles, local_certificate
from bedrock_gateway.upstream.session import Happened, Upstream, UpstreamFault, UpstreamRequest
from bedrock_gateway.wire.proxies import Proxies

HOST = "bedrock-runtime.us-east-1.amazonaws.com"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> LocalFiles:
    """Return a certificate for AWS's host, of an authority nobody else trusts."""
    return local_certificate(tmp_path_factory.mktemp("aws"), [HOST], datetime.datetime.now(datetime.UTC))


@attrs.define
class Tunnels:
    """A proxy on loopback that leads everywhere to one server, and what it was asked."""

    port: int = 0
    heads: list[str] = attrs.field(factory=list)
    answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n"


@contextlib.asynccontextmanager
async def tunnels(files: LocalFiles) -> AsyncIterator[Tunnels]:
    """Run the proxy, and behind it a TLS server that answers every request with 200."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.key)
    tasks: set[asyncio.Task[None]] = set()
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = head.partition("content-length: ")[2].partition("\r\n")[0]
                await reader.readexactly(int(length or 0))
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        here.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(here.answer)
        if b" 200 " not in here.answer:
            writer.close()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        writers.append(far_writer)
        for pair in ((reader, far_writer), (far_reader, writer)):
            task = asyncio.ensure_future(copy(*pair))
            tasks.add(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    proxy = await asyncio.start_server(connect, "127.0.0.1", 0)
    here = Tunnels(proxy.sockets[0].getsockname()[1])
    try:
        yield here
    finally:
        proxy.close()
        server.close()
        for writer in writers:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for writer in writers), *tasks, return_exceptions=True)


def request(verify: bool | str, body: bytes = b"{}") -> UpstreamRequest:
    """Return a request to AWS."""
    url = URL(f"https://{HOST}/model/m/converse", encoded=True)
    headers = {"host": HOST, "authorization": "AWS4-HMAC-SHA256 secret-signature", "content-type": "application/json"}
    return UpstreamRequest("POST", url, "/model/m/converse", headers, body, verify)


@contextlib.asynccontextmanager
async def opened(proxy: str, no_proxy: str = "") -> AsyncIterator[Upstream]:
    """Open an upstream behind a proxy."""
    upstream = Upstream.open(user_agent="test", idle_timeout=5, proxies=Proxies.read(proxy, no_proxy))
    try:
        yield upstream
    finally:
        await upstream.close()


async def ask(upstream: Upstream, verify: bool | str, body: bytes = b"{}") -> int:
    """Send one request and read its answer; return the status."""
    answer = await upstream.send(request(verify, body))
    while await upstream.read(answer):
        pass
    return answer.status


async def test_one_tunnel_for_many_calls(files: LocalFiles) -> None:
    """A tunnel is made once and kept; the proxy is told host and port and sees nothing of a request."""
    async with tunnels(files) as here, opened(f"http://127.0.0.1:{here.port}") as upstream:
        assert [200, 200, 200] == [await ask(upstream, str(files.authority)) for _ in range(3)]
        (head,) = here.heads
        assert head.startswith(f"CONNECT {HOST}:443 HTTP/1.1\r\n")
        assert "secret-signature" not in head
        assert "proxy-authorization" not in head.lower()


async def test_large_bodies_go_through_it_too(files: LocalFiles) -> None:
    """What is sent in pieces takes the same way."""
    async with tunnels(files) as here, opened(f"http://127.0.0.1:{here.port}") as upstream:
        assert 200 == await ask(upstream, str(files.authority), b"x" * 1_000_000)
        assert here.heads[0].startswith(f"CONNECT {HOST}:443 HTTP/1.1\r\n")


async def test_the_proxys_own_password(files: LocalFiles) -> None:
    """User and password go to the proxy, and to nobody else."""
    async with tunnels(files) as here, opened(f"http://me:p%40ss@127.0.0.1:{here.port}") as upstream:
        assert 200 == await ask(upstream, str(files.authority))
        told = base64.b64encode(b"me:p@ss").decode()
        assert f"proxy-authorization: basic {told}".lower() in here.heads[0].lower()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 403 Forbidden\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"",
    ],
)
async def test_a_proxy_that_leads_nowhere(files: LocalFiles, answer: bytes) -> None:
    """Nothing was sent to AWS where the proxy refuses, so that another deployment may be asked."""
    async with tunnels(files) as here, opened(f"http://me:secret@127.0.0.1:{here.port}") as upstream:
        here.answer = answer
        with pytest.raises(UpstreamFault) as caught:
            await ask(upstream, str(files.authority))
        assert Happened.NEVER_REACHED is caught.value.happened
        assert "secret" not in str(caught.value)


async def test_a_proxy_that_is_not_there(files: LocalFiles) -> None:
    """A proxy that is down is a connection that was never made."""
    async with tunnels(files) as here:
        port = here.port
    async with opened(f"http://127.0.0.1:{port}") as upstream:
        with pytest.raises(UpstreamFault) as caught:
            await ask(upstream, str(files.authority))
        assert Happened.NEVER_REACHED is caught.value.happened


async def test_certificates_are_verified_through_it(files: LocalFiles) -> None:
    """A server that the bundle does not vouch for is not spoken to; without verification it is."""
    async with tunnels(files) as here, opened(f"http://127.0.0.1:{here.port}") as upstream:
        with pytest.raises(UpstreamFault) as caught:
            await ask(upstream, True)
        assert Happened.NEVER_REACHED is caught.value.happened
        assert 200 == await ask(upstream, False)


async def test_contexts_are_made_ahead(files: LocalFiles, tmp_path: Path) -> None:
    """A bundle is read once, before the first call; one that is none says so."""
    async with opened("", "") as upstream:
        bundle = tmp_path / "bundle.pem"
        bundle.write_bytes(files.authority.read_bytes())
        await upstream.prepare([True, False, str(bundle)])
        bundle.unlink()
        await upstream.prepare([str(bundle)])
        with pytest.raises(OSError):
            await upstream.prepare([str(tmp_path / "none.pem")])
