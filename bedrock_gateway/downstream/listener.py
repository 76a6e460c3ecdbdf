"""The listener: accepts connections, looks at their first bytes, and ends them when the gateway stops.

HTTP/1.1 goes to ``http1``, HTTP/2 with prior knowledge (the AWS SDK for JavaScript's default) to ``http2``. The log
says so where a client begins with TLS, which cannot be served on this port. Knows nothing of requests.

Source: RFC 9113 section 3.4 (connection preface); RFC 8446 section 5.1 (record type 22 = handshake).
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, cast

from aiohttp import web

from bedrock_gateway.downstream.answers import refusal_bytes
from bedrock_gateway.downstream.faults import head_timeout
from bedrock_gateway.downstream.http1 import Http1Connection
from bedrock_gateway.downstream.limits import Limits
from bedrock_gateway.downstream.sockets import is_loopback
from bedrock_gateway.downstream.tls import TlsAcceptor

if TYPE_CHECKING:
    from bedrock_gateway.downstream.http2 import Http2Connection

__all__ = ["Listener", "make_server"]

_LOG = logging.getLogger("bedrock_gateway.downstream")

_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_TLS_HANDSHAKE = 0x16
#: Seconds between two log lines of one kind, whatever clients do.
_LOG_EVERY = 60.0
#: Seconds handlers have to end after they were told to.
_GRACE = 2.0
_BACKLOG = 1024


def make_server(handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]) -> web.Server:
    """Return a server for a plain handler (``AppRunner(app, access_log=None).server`` serves as well).

    Needs a running loop. Limits, time-outs and the shape of errors come from the listener, not from here.
    """
    return web.Server(handler, handler_cancellation=True)


class Listener:
    """Accepts connections for a server.

    Args:
        server: ``make_server(handler)`` or an ``AppRunner``'s ``server``.
        limits: what one connection may cost.
        log: never sees a byte of a request.
    """

    def __init__(self, server: web.Server, *, limits: Limits | None = None, log: logging.Logger = _LOG) -> None:
        # A caller that leaves while upstream is silent is noticed by a cancellation only.
        server.handler_cancellation = True
        self._server = server
        self._limits = limits if limits is not None else Limits()
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._servers: list[asyncio.AbstractServer | TlsAcceptor] = []
        self._paths: list[tuple[str, int]] = []
        self._greeted: set[_Greeting] = set()
        self._connections: set[Http1Connection | Http2Connection] = set()
        self._empty = asyncio.Event()
        self._stopping = False
        self._logged: dict[str, float] = {}

    @property
    def connections(self) -> int:
        """Connections open now, and those that are closed but whose request is still being served."""
        return len(self._connections) + len(self._greeted)

    async def start(self, sockets: Sequence[socket.socket], tls: ssl.SSLContext | None = None) -> None:
        """Accept connections on bound sockets (``sockets.bind``), which belong to the listener from here on.

        ``tls``: their context; plain HTTP is then taken where only this machine can connect.
        """
        plain_too = all(sock.family == socket.AF_UNIX or is_loopback(sock.getsockname()[0]) for sock in sockets)
        for sock in sockets:
            sock.setblocking(False)
            if sock.family == socket.AF_UNIX:
                path = sock.getsockname()
                self._paths.append((path, os.stat(path).st_ino))
                server: asyncio.AbstractServer | TlsAcceptor = await self._loop.create_unix_server(
                    self._greet, sock=sock, backlog=_BACKLOG
                )
            elif tls is None:
                server = await self._loop.create_server(self._greet, sock=sock, backlog=_BACKLOG)
            else:
                server = TlsAcceptor(
                    sock,
                    tls,
                    self._greet,
                    plain_too=plain_too,
                    seconds=self._limits.head_seconds,
                    log_seldom=self._log_seldom,
                )
            self._servers.append(server)

    async def stop_accepting(self) -> None:
        """Refuse new connections and end idle ones; requests under way go on, each the last of its connection."""
        self._stopping = True
        for server in self._servers:
            server.close()
        self._servers.clear()
        while self._paths:
            path, inode = self._paths.pop()
            try:
                if os.stat(path).st_ino == inode:
                    os.unlink(path)
            except FileNotFoundError:
                pass
        for greeting in list(self._greeted):
            greeting.close()
        for connection in list(self._connections):
            connection.retire()

    async def close(self, seconds: float) -> None:
        """Stop accepting; let requests under way end for so long, then cut them and cancel their handlers."""
        await self.stop_accepting()
        if await self._emptied(seconds):
            return
        self._log.warning("%d connections did not end within %g s and are cut", self.connections, seconds)
        # The first cancellation may be taken for a caller that left, and upstream be read on.
        for _ in range(2):
            for greeting in list(self._greeted):
                greeting.abort()
            for connection in list(self._connections):
                connection.cut()
            if await self._emptied(_GRACE):
                return
        self._log.error("%d requests did not end when they were cancelled", self.connections)

    async def _emptied(self, seconds: float) -> bool:
        if not self.connections:
            return True
        self._empty.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        except TimeoutError:
            return False
        return True

    def _greet(self) -> asyncio.Protocol:
        return _Greeting(self)

    def _forget(self, connection: Http1Connection | Http2Connection) -> None:
        self._connections.discard(connection)
        self._check_empty()

    def _check_empty(self) -> None:
        if not self._connections and not self._greeted:
            self._empty.set()

    def _log_seldom(self, kind: str, text: str) -> None:
        now = self._loop.time()
        if now - self._logged.get(kind, float("-inf")) >= _LOG_EVERY:
            self._logged[kind] = now
            self._log.warning("%s", text)


class _Greeting(asyncio.Protocol):
    """A connection until its first bytes tell what it speaks."""

    __slots__ = ("_first", "_listener", "_over", "_since", "_timer", "_transport")

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._transport: asyncio.Transport | None = None
        self._first = b""
        self._over = False
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first bytes, for as long as a head may take."""
        listener = self._listener
        self._transport = cast(asyncio.Transport, transport)
        if listener._stopping:
            transport.close()
            return
        listener._greeted.add(self)
        self._since = listener._loop.time()
        self._timer = listener._loop.call_later(listener._limits.head_seconds, self._too_late)

    def data_received(self, data: bytes) -> None:
        """Decide as soon as the bytes allow it; for HTTP/1.1 that is the second byte at the latest."""
        if self._over:
            return
        first = self._first + data if self._first else data
        if first[0] == _TLS_HANDSHAKE:
            self._listener._log_seldom(
                "tls", "A client speaks TLS to this port, which is plain HTTP: use http:// there"
            )
            self._end(b"")
        elif first[:24] == _HTTP2_PREFACE:
            self._hand_over(self._http2(), first)
        elif _HTTP2_PREFACE.startswith(first):
            self._first = first
        else:
            self._hand_over(self._http1(), first)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget the connection."""
        self._leave()

    def close(self) -> None:
        """End the connection; bytes written before are still sent."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """End the connection now."""
        if self._transport is not None:
            self._transport.abort()

    def _http1(self) -> Http1Connection:
        listener = self._listener
        return Http1Connection(
            listener._server,
            listener._limits,
            log=listener._log,
            since=self._since,
            forget=listener._forget,
            loop=listener._loop,
        )

    def _http2(self) -> Http2Connection:
        # Loaded when the first client asks for it: most gateways never need it.
        from bedrock_gateway.downstream.http2 import Http2Connection

        listener = self._listener
        return Http2Connection(
            listener._server,
            listener._limits,
            log=listener._log,
            since=self._since,
            forget=listener._forget,
            complain=listener._log_seldom,
            loop=listener._loop,
        )

    def _hand_over(self, connection: Http1Connection | Http2Connection, first: bytes) -> None:
        listener, transport = self._listener, self._transport
        assert transport is not None
        listener._connections.add(connection)
        self._leave()
        transport.set_protocol(connection)
        connection.connection_made(transport)
        connection.data_received(first)

    def _too_late(self) -> None:
        self._end(refusal_bytes(head_timeout(self._listener._limits)))

    def _end(self, answer: bytes) -> None:
        """Say ``answer``, then drop what still comes for a while, so that a reset does not take the answer away."""
        transport = self._transport
        assert transport is not None and self._timer is not None
        self._over = True
        self._timer.cancel()
        if not answer:
            transport.close()
            return
        transport.write(answer)
        if transport.can_write_eof():
            transport.write_eof()
        self._timer = self._listener._loop.call_later(self._listener._limits.linger_seconds, transport.abort)

    def _leave(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._listener._greeted.discard(self)
        self._listener._check_empty()
