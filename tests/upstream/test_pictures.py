"""Pictures fetched from the web: never from the operator's own network, never without bounds."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest
from aiohttp import web

from bedrock_gateway.errors import InvalidRequest
from bedrock_gateway.upstream.pictures import MOST_BYTES, Pictures, is_public

PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)


@contextlib.asynccontextmanager
async def site(handler: Callable[[web.Request], object]) -> AsyncIterator[str]:
    """Serve on loopback; give the base URL."""
    app = web.Application()
    app.router.add_get("/{tail:.*}", handler)  # type: ignore[arg-type]
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


def free(size: int) -> None:
    """Have room for everything."""


async def fetched(url: str, **options: object) -> tuple[str, str]:
    """Fetch one picture, from loopback too."""
    pictures = Pictures(allowed=lambda address: True, **options)  # type: ignore[arg-type]
    try:
        return (await pictures.fetch([url], free))[url]
    finally:
        await pictures.close()


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
        ),
        *("::1", "::", "fe80::1%eth0", "fc00::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "ff02::1"),
        *("255.255.255.255", "198.18.0.1", "fd00:ec2::254", "no address"),
        *("64:ff9b:1::7f00:1", "fec0::1", "::7f00:1", "::ffff:0:7f00:1", "4000::1"),
    ],
)
def test_addresses_that_are_nobodys_business(address: str) -> None:
    """Private, local, special and wrapped addresses are not connected to."""
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "64:ff9b::808:808"])
def test_addresses_of_the_internet(address: str) -> None:
    """Public ones are."""
    assert is_public(address)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "2130706433", "0x7f.1", "[::1]", "[::ffff:127.0.0.1]"])
async def test_nothing_of_ones_own_is_fetched(host: str) -> None:
    """However loopback is spelt, nothing is connected to."""
    asked: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(body=PNG)

    async with site(handler) as base:
        port = base.rpartition(":")[2]
        pictures = Pictures()
        with pytest.raises(InvalidRequest) as caught:
            await pictures.fetch([f"http://{host}:{port}/picture.png"], free)
        await pictures.close()

    assert [] == asked
    assert "image_url" == caught.value.param


async def test_a_picture(tmp_path: object) -> None:
    """What it is, is told by its first bytes."""

    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=PNG, content_type="text/plain")

    async with site(handler) as base:
        kind, data = await fetched(f"{base}/picture")

    assert ("image/png", PNG) == (kind, base64.b64decode(data))


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("redirect", "it answers 302"),
        ("missing", "it answers 404"),
        ("text", "no PNG, JPEG, GIF or WebP"),
        ("large", "20 MB in all"),
        ("endless", "20 MB in all"),
        ("slow", "longer than 0.2 s"),
    ],
)
async def test_what_is_not_taken(path: str, told: str) -> None:
    """Redirects, errors, other things than pictures, and what is too large or too slow are refused in words."""

    async def handler(request: web.Request) -> web.StreamResponse:
        if path == "redirect":
            raise web.HTTPFound("/picture")
        if path == "missing":
            raise web.HTTPNotFound
        if path == "text":
            return web.Response(text="hello")
        answer = web.StreamResponse()
        if path == "large":
            answer.content_length = MOST_BYTES + 1
        await answer.prepare(request)
        if path == "endless":
            with contextlib.suppress(ConnectionError):
                while True:
                    await answer.write(PNG * 20_000)
        if path == "slow":
            await answer.write(PNG)
            await asyncio.Event().wait()
        return answer

    async with site(handler) as base:
        with pytest.raises(InvalidRequest, match=told):
            await fetched(f"{base}/{path}", **({"seconds": 0.2} if path == "slow" else {}))


@pytest.mark.parametrize("url", ["http://", "http://user:secret@example.com/x", "http://exa mple/", "http://[::1"])
async def test_what_is_no_url(url: str) -> None:
    """A URL that cannot be, or that carries a password, is refused."""
    with pytest.raises(InvalidRequest):
        await fetched(url)


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "a..example", "...."])
async def test_a_host_that_no_resolver_can_spell(host: str) -> None:
    """Is a fault of the request, as any other host that is not there."""
    with pytest.raises(InvalidRequest, match="cannot be asked"):
        await fetched(f"http://{host}/cat.png")
