"""Fetches pictures from the web for requests that name them by URL; only where the config allows it.

A URL of a caller's must not lead into the operator's own network, so only public addresses are connected to, and the
address that was looked at is the one that is connected to: the check is part of the connection's own name resolution.
No redirects, no proxies, no cookies, no credentials. What comes back must be an image by its first bytes, whatever its
header says.

Source: RFC 6890 (special-purpose addresses), RFC 6052 section 2.1 (``64:ff9b::/96``), RFC 8215 (``64:ff9b:1::/48``),
RFC 4291 section 2.4 with IANA's registry (``2000::/3`` is global unicast), RFC 9110 section 8.3.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import socket
from collections.abc import Callable

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from bedrock_gateway.errors import InvalidRequest

__all__ = ["MOST_BYTES", "Pictures", "is_public"]

#: Bytes of one picture, and of all those of one request.
MOST_BYTES = 20_971_520
#: Seconds for one picture.
SECONDS = 10.0
#: Pictures fetched for one request at most.
MOST = 20
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_UNICAST = ipaddress.ip_network("2000::/3")
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)


def is_public(address: str) -> bool:
    """Tell whether an IP address is one of the public internet's."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        if found in _NAT64:
            found = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        elif (inner := found.ipv4_mapped or found.sixtofour) is not None:
            found = inner
    # Of IPv6 what is no global unicast either: site-local, compatible and translated forms of IPv4.
    return found.is_global and not found.is_multicast and (found.version == 4 or found in _UNICAST)


class _Public(AbstractResolver):
    """Name resolution that knows allowed addresses alone."""

    def __init__(self, allowed: Callable[[str], bool]) -> None:
        self._inner = aiohttp.ThreadedResolver()
        self._allowed = allowed

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the allowed addresses of a host.

        Raises:
            OSError: it has none.
        """
        found = [one for one in await self._inner.resolve(host, port, family) if self._allowed(one["host"])]
        if not found:
            raise OSError(None, f"{host} has no public address")
        return found

    async def close(self) -> None:
        """Close the resolver inside."""
        await self._inner.close()


class Pictures:
    """What fetches pictures. Nothing is opened before the first one.

    Args:
        allowed: tells whether an IP address may be connected to.
        seconds: for one picture.
    """

    def __init__(self, *, allowed: Callable[[str], bool] = is_public, seconds: float = SECONDS) -> None:
        self._allowed = allowed
        self._timeout = aiohttp.ClientTimeout(total=seconds)
        self._session: aiohttp.ClientSession | None = None

    async def fetch(self, urls: list[str], hold: Callable[[int], None]) -> dict[str, tuple[str, str]]:
        """Return media type and base64 of pictures, by URL.

        Args:
            hold: told of bytes as they come; what it raises ends the fetching.

        Raises:
            InvalidRequest: one of them cannot be had, with the reason.
        """
        if len(urls) > MOST:
            raise InvalidRequest(f"A request may name {MOST} pictures by URL, not {len(urls)}.")
        found: dict[str, tuple[str, str]] = {}
        size = 0
        for url in urls:
            data = await self._get(url, MOST_BYTES - size, hold)
            size += len(data)
            kind = _kind(data)
            if kind is None:
                raise _cannot(url, "what is there is no PNG, JPEG, GIF or WebP")
            found[url] = kind, (await asyncio.to_thread(base64.b64encode, data)).decode()
        return found

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    async def _get(self, told: str, most: int, hold: Callable[[int], None]) -> bytes:
        try:
            url = URL(told)
            host = url.host
        except ValueError:
            raise _cannot(told, "it is no URL") from None
        if not host or url.user is not None or url.password is not None:
            raise _cannot(told, "it needs a host and may have no user or password")
        if _is_address(host) and not self._allowed(host):
            # An address is connected to as it is, without a resolver.
            raise _cannot(told, f"{host} is no public address")
        try:
            async with self._opened().get(url, allow_redirects=False, timeout=self._timeout) as answer:
                if answer.status != 200:
                    raise _cannot(told, f"it answers {answer.status}")
                if (answer.content_length or 0) > most:
                    raise _cannot(told, f"pictures may have {MOST_BYTES >> 20} MB in all")
                data = bytearray()
                async for piece in answer.content.iter_any():
                    hold(len(piece))
                    data += piece
                    if len(data) > most:
                        raise _cannot(told, f"pictures may have {MOST_BYTES >> 20} MB in all")
                return bytes(data)
        except TimeoutError:
            raise _cannot(told, f"it took longer than {self._timeout.total:g} s") from None
        except (aiohttp.ClientError, OSError, UnicodeError) as error:
            # The last is what a host raises that no resolver can spell: a label that is empty or too long.
            raise _cannot(told, f"{host} cannot be asked ({type(error).__name__})") from error

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(resolver=_Public(self._allowed), use_dns_cache=False, force_close=True)
            self._session = aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
            )
        return self._session


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _kind(data: bytes) -> str | None:
    """Return the media type of a picture by its first bytes."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for magic, kind in _MAGIC if data.startswith(magic)), None)


def _cannot(url: str, reason: str) -> InvalidRequest:
    shown = url if len(url) <= 200 else f"{url[:200]}…"
    return InvalidRequest(f"The picture {shown!a} cannot be fetched: {reason}.", param="image_url")
