"""The HTTP client side: one session, one request at a time, aiohttp's errors turned into what they mean for a call.

Every default of aiohttp that hurts here is overridden: 100 connections, 300 s in all, 8190-byte headers, decompression, re-quoting of
URLs, cookies. Nothing here retries: a repeat may be billed twice, so only ``chain.fail_over`` decides about one.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from enum import StrEnum
from typing import Any

import aiohttp
import attrs
from multidict import CIMultiDict
from yarl import URL

__all__ = ["Happened", "Upstream", "UpstreamFault", "UpstreamRequest", "fault_of"]

#: Seconds to a TCP (and TLS) connection.
CONNECT_TIMEOUT = 10.0
#: Seconds an idle connection is kept: below the 60 s after which AWS's front ends close, so that a closing one is rarely met.
KEEPALIVE_TIMEOUT = 25.0
#: Bytes of one response header, and of the status line; Bedrock's own request metadata alone may be 8,500.
MAX_FIELD_SIZE = 65_536
#: Bytes above which a body goes out in pieces, so that one write never holds the loop for long.
PIECE = 262_144
#: TCP keep-alive: first probe after this many seconds of silence, below the 4-5 minutes after which NATs forget.
KEEPALIVE_IDLE = 45


class Happened(StrEnum):
    """What went wrong with an exchange, as far as billing is concerned."""

    NEVER_REACHED = "never-reached"  # no connection: certainly not accepted
    LOST = "lost"  # sent, and the connection went before a whole head came back
    CUT = "cut"  # the answer's body broke off
    SILENT = "silent"  # nothing for longer than the idle limit


class UpstreamFault(Exception):
    """An exchange that ended without a whole answer. ``str()`` is for the log."""

    def __init__(self, happened: Happened, reason: str) -> None:
        super().__init__(reason)
        self.happened = happened


@attrs.define(eq=False)
class UpstreamRequest:
    """One signed request: exactly these bytes go out."""

    method: str
    url: URL
    headers: CIMultiDict[str]
    body: bytes | bytearray
    ssl_verify: bool | str = True


_NEVER_REACHED = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientProxyConnectionError,
    aiohttp.ClientSSLError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
)


def fault_of(error: Exception, *, head_seen: bool) -> UpstreamFault:
    """Return what an error of aiohttp's client means for the call.

    Args:
        error: what was raised while connecting, sending or reading.
        head_seen: whether the head of the answer had arrived.
    """
    name = type(error).__name__
    reason = f"{name}: {error}" if str(error) else name
    if isinstance(error, _NEVER_REACHED):
        return UpstreamFault(Happened.NEVER_REACHED, reason)
    if isinstance(error, TimeoutError):  # aiohttp's SocketTimeoutError is one
        return UpstreamFault(Happened.SILENT, reason)
    return UpstreamFault(Happened.CUT if head_seen else Happened.LOST, reason)


@attrs.define(eq=False)
class Upstream:
    """The one client session. Use as ``async with Upstream.open(...)``."""

    _session: aiohttp.ClientSession
    user_agent: str
    _contexts: dict[bool | str, ssl.SSLContext | bool] = attrs.field(factory=dict, init=False, repr=False)

    @classmethod
    def open(cls, *, user_agent: str, idle_timeout: float) -> Upstream:
        """Return a session ready to send; must run inside the loop.

        Args:
            user_agent: sent with every request; carries the instance id by which a loop is noticed.
            idle_timeout: seconds of silence after which an exchange counts as silent.
        """
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_TIMEOUT, socket_factory=_socket)
        session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT, sock_read=idle_timeout),
            auto_decompress=False,
            max_line_size=MAX_FIELD_SIZE,
            max_field_size=MAX_FIELD_SIZE,
        )
        return cls(session, user_agent)

    async def send(self, request: UpstreamRequest) -> aiohttp.ClientResponse:
        """Send a request and return the answer once its head is there; its body is still to be read.

        Raises:
            UpstreamFault: there is no answer; ``happened`` tells whether the request may have been accepted.
        """
        body: Any = request.body
        if len(request.body) > PIECE:
            body = _pieces(request.body)
        try:
            return await self._session.request(
                request.method,
                request.url,
                data=body or None,
                headers=request.headers,
                allow_redirects=False,
                ssl=True if request.url.scheme == "http" else self._context(request.ssl_verify),
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise fault_of(error, head_seen=False) from error

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    def _context(self, verify: bool | str) -> ssl.SSLContext | bool:
        """Return the TLS context for a deployment's ``ssl_verify``; each is made once."""
        if verify not in self._contexts:
            if verify is False:
                self._contexts[verify] = False
            else:
                self._contexts[verify] = ssl.create_default_context(cafile=verify if isinstance(verify, str) else None)
        return self._contexts[verify]


async def _pieces(body: bytes | bytearray) -> AsyncIterator[memoryview]:
    """Yield a large body in pieces; the writer waits for the socket between them."""
    view = memoryview(body)
    for start in range(0, len(view), PIECE):
        yield view[start : start + PIECE]
        # The writer only waits when the socket is full: let the other calls have their turn in any case.
        await asyncio.sleep(0)


def _socket(address: tuple[Any, ...]) -> socket.socket:
    """Make a client socket that notices a dead peer during long silences (a thinking model sends nothing for minutes)."""
    family, kind, proto, *_ = address
    sock = socket.socket(family, kind, proto)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)
    return sock
