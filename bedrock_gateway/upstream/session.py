"""The HTTP client side: one session, one request at a time, aiohttp's errors turned into what they mean for a call.

Every default of aiohttp that hurts here is overridden: 100 connections, 300 s in all, 8190-byte headers, decompression,
re-quoting of URLs, cookies. Nothing here retries: a repeat may be billed twice, so only ``chain.fail_over`` decides
about one.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterable
from enum import StrEnum
from typing import Any

import aiohttp
import attrs
from yarl import URL

from bedrock_gateway.upstream.exchange import (
    MAX_FIELD_SIZE,
    READ_AHEAD,
    Answer,
    Pool,
    Where,
    exchange,
    proxy_of,
    request_head,
)
from bedrock_gateway.wire.proxies import DIRECT, Proxies, Proxy

__all__ = ["Happened", "Upstream", "UpstreamFault", "UpstreamRequest", "fault_of"]

#: Seconds to a TCP (and TLS) connection.
CONNECT_TIMEOUT = 10.0
#: Seconds an idle connection is kept: below the 60 s after which AWS's front ends close, so that a closing one is
#: rarely met.
KEEPALIVE_TIMEOUT = 25.0
#: Bytes above which a body goes out in pieces, so that one write never holds the loop for long.
PIECE = 262_144
#: Methods that come without a body, and without saying so.
BODILESS = frozenset({"GET", "HEAD", "OPTIONS"})
#: Characters of a reason for the log.
MAX_REASON = 300
#: Hosts kept at hand.
MAX_PLACES = 1024
#: Seconds between two looks for exchanges that wait for too long.
LOOK_EVERY = 5.0
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
    """One signed request: exactly these bytes go out.

    Attributes:
        url: where to, never quoted again; target: path and query of it, as signed.
        headers: lower-case names; neither Content-Length nor anything of the connection is among them.
        ssl_verify: True, False, or the path of a CA bundle.
        sent: whether any of it may have gone out; before that there was no connection, whatever went wrong.
    """

    method: str
    url: URL
    target: str
    headers: dict[str, str]
    body: bytes | bytearray
    ssl_verify: bool | str = True
    sent: bool = False


_NEVER_REACHED = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientProxyConnectionError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ClientSSLError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
)


def fault_of(error: Exception, *, sent: bool = True, head_seen: bool) -> UpstreamFault:
    """Return what an error of aiohttp's client means for the call.

    Args:
        error: what was raised while connecting, sending or reading.
        sent: whether any of the request may have gone out.
        head_seen: whether the head of the answer had arrived.
    """
    name = type(error).__name__
    # Half a head is quoted in full.
    reason = f"{name}: {error}"[:MAX_REASON] if str(error) else name
    if isinstance(error, aiohttp.ClientConnectorError):
        # aiohttp's own text holds the repr of a TLS context.
        why = error.certificate_error if isinstance(error, aiohttp.ClientConnectorCertificateError) else error.strerror
        reason = f"no connection to {error.host}:{error.port}: {why or error.os_error}"[:MAX_REASON]
    if not sent and isinstance(error, TimeoutError):
        reason = f"no connection within {CONNECT_TIMEOUT:g} s"
    if not sent or isinstance(error, _NEVER_REACHED):
        return UpstreamFault(Happened.NEVER_REACHED, reason)
    if isinstance(error, TimeoutError):  # aiohttp's SocketTimeoutError is one
        return UpstreamFault(Happened.SILENT, reason)
    return UpstreamFault(Happened.CUT if head_seen else Happened.LOST, reason)


@attrs.define(eq=False)
class Upstream:
    """The client side of every call: one pool of connections, and one look now and then at who waits for too long."""

    user_agent: str
    _idle_timeout: float
    _connector: aiohttp.TCPConnector
    _session: aiohttp.ClientSession
    _connect_timeout: aiohttp.ClientTimeout
    _proxies: Proxies
    _places: dict[tuple[str, str | None, int | None, bool | str], Where] = attrs.field(factory=dict, init=False)
    _contexts: dict[bool | str, ssl.SSLContext | bool] = attrs.field(factory=dict, init=False, repr=False)
    _heads: dict[Any, float] = attrs.field(factory=dict, init=False, repr=False)
    _answers: set[Answer] = attrs.field(factory=set, init=False, repr=False)
    _timer: asyncio.TimerHandle | None = attrs.field(default=None, init=False, repr=False)
    _loop: asyncio.AbstractEventLoop = attrs.field(factory=asyncio.get_running_loop, init=False, repr=False)

    @classmethod
    def open(cls, *, user_agent: str, idle_timeout: float, proxies: Proxies = DIRECT) -> Upstream:
        """Return a pool ready to send; must run inside the loop.

        Args:
            user_agent: sent with every request; carries the instance id by which a loop is noticed.
            idle_timeout: seconds of silence after which an exchange counts as silent.
            proxies: through which hosts are reached.
        """
        connector = Pool(limit=0, keepalive_timeout=KEEPALIVE_TIMEOUT, socket_factory=_socket)
        timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT, sock_connect=CONNECT_TIMEOUT)
        session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=timeout,
            auto_decompress=False,
            # What was signed goes out, and nothing of aiohttp's own.
            skip_auto_headers=("accept", "accept-encoding", "content-type", "user-agent"),
            read_bufsize=READ_AHEAD,
            max_line_size=MAX_FIELD_SIZE,
            max_field_size=MAX_FIELD_SIZE,
        )
        upstream = cls(user_agent, idle_timeout, connector, session, timeout, proxies)
        upstream._look()
        return upstream

    async def send(self, request: UpstreamRequest) -> Answer:
        """Send a request and return the answer once its head is there; its body is still to be read.

        Raises:
            UpstreamFault: there is no answer; ``happened`` tells whether the request may have been accepted.
        """
        try:
            if len(request.body) > PIECE:
                answer = await self._send_large(request)
            else:
                answer = await self._send_small(request)
        except (aiohttp.ClientError, TimeoutError, OSError, UnicodeError) as error:  # UnicodeError: no name of a host
            raise fault_of(error, sent=request.sent, head_seen=False) from error
        self._answers.add(answer)
        return answer

    async def read(self, answer: Answer) -> bytes:
        """Return what has arrived of a body since; empty at its end.

        Raises:
            UpstreamFault: it broke off, or nothing came for the idle time.
        """
        content = answer.content
        try:
            if not content.at_eof():
                answer.waiting_since = self._loop.time()
                data = await content.readany()
                if data:
                    return data
        # aiohttp's RuntimeError: the connection went after a malformed piece of the body.
        except (aiohttp.ClientError, TimeoutError, OSError, RuntimeError) as error:
            self._answers.discard(answer)
            raise fault_of(error, head_seen=True) from error
        finally:
            answer.waiting_since = 0.0
        self._answers.discard(answer)
        return b""

    def give_up(self, answer: Answer) -> None:
        """Close the connection of an answer that is not read to its end."""
        self._answers.discard(answer)
        if not answer.ended:
            answer.close()

    async def close(self) -> None:
        """Close every connection; whoever waits for something of one is told."""
        if self._timer is not None:
            self._timer.cancel()
        for answer in self._answers:
            if answer.waiting_since > 0.0:
                answer.content.set_exception(aiohttp.ClientConnectionError("closed on this side"))
        await self._session.close()

    async def _send_small(self, request: UpstreamRequest) -> Answer:
        url, headers = request.url, request.headers
        key = (url.scheme, url.raw_host, url.port, request.ssl_verify)
        where = self._places.get(key)
        if where is None:
            if len(self._places) >= MAX_PLACES:
                self._places.clear()
            verify = True if url.scheme == "http" else self._context(request.ssl_verify)
            where = self._places[key] = Where(url, verify, self._proxy(url))
        if request.body or request.method not in BODILESS:
            headers["content-length"] = str(len(request.body))
        head = request_head(request.method, request.target, headers)
        heads = self._heads
        waiting: list[Any] = []

        def watch(protocol: Any) -> None:
            request.sent = True
            heads[protocol] = self._loop.time()
            waiting.append(protocol)

        try:
            return await exchange(
                self._connector, where, head, request.body, connect_timeout=self._connect_timeout, watch=watch
            )
        finally:
            for protocol in waiting:
                heads.pop(protocol, None)

    async def _send_large(self, request: UpstreamRequest) -> Answer:
        """Send a large body in pieces, through the session: upstream may answer before it has read it all."""
        proxy, proxy_headers = proxy_of(self._proxy(request.url))
        async with asyncio.timeout(self._idle_timeout):
            response = await self._session.request(
                request.method,
                request.url,
                data=_pieces(request),
                headers={**request.headers, "content-length": str(len(request.body))},
                allow_redirects=False,
                proxy=proxy,
                proxy_headers=proxy_headers,
                ssl=True if request.url.scheme == "http" else self._context(request.ssl_verify),
            )
        connection = response.connection
        protocol = None if connection is None else connection.protocol
        return Answer(response.status, response.headers, response.content, response.close, protocol)

    def _look(self) -> None:
        """Fail every exchange that has waited for too long. One timer for all of them: a timer each would cost as much
        as parsing.
        """
        since = self._loop.time() - self._idle_timeout
        for protocol, begun in list(self._heads.items()):
            if begun < since:
                protocol.set_exception(_silence())
        for answer in list(self._answers):
            if answer.waiting_since == 0.0:
                continue  # its reader is busy otherwise
            if answer.waiting_since < since:
                answer.content.set_exception(_silence())
            elif answer.protocol is not None and not answer.protocol.connected:
                # aiohttp closes the connection after a malformed piece of a body and does not tell who waits for more.
                answer.content.set_exception(aiohttp.ClientPayloadError("the body of the answer is malformed"))
        self._timer = self._loop.call_later(min(self._idle_timeout / 8, LOOK_EVERY), self._look)

    def _proxy(self, url: URL) -> Proxy | None:
        return self._proxies.of(url.scheme, url.raw_host or "", url.port)

    async def prepare(self, verifies: Iterable[bool | str]) -> None:
        """Make the TLS contexts for these ``ssl_verify``, off the loop: each takes some tens of milliseconds.

        Raises:
            OSError: a CA bundle cannot be read.
        """
        for verify in verifies:
            if verify not in self._contexts:
                context = await asyncio.to_thread(_make_context, verify)
                self._contexts.setdefault(verify, context)

    def _context(self, verify: bool | str) -> ssl.SSLContext | bool:
        """Return the TLS context for a deployment's ``ssl_verify``; each is made once."""
        if verify not in self._contexts:
            self._contexts[verify] = _make_context(verify)
        return self._contexts[verify]


def _make_context(verify: bool | str) -> ssl.SSLContext | bool:
    if not isinstance(verify, str):
        return verify and ssl.create_default_context()
    try:
        return ssl.create_default_context(cafile=verify)
    except OSError as error:
        # Python's does not name the file.
        raise OSError(f"the CA bundle {verify} cannot be used: {error.strerror or error}") from error


def _silence() -> aiohttp.SocketTimeoutError:
    return aiohttp.SocketTimeoutError("upstream was silent for longer than the idle time")


async def _pieces(request: UpstreamRequest) -> AsyncIterator[memoryview]:
    """Yield a large body in pieces; the writer, which first asks once there is a connection, waits for the socket
    between them.
    """
    request.sent = True
    view = memoryview(request.body)
    for start in range(0, len(view), PIECE):
        yield view[start : start + PIECE]
        # The writer only waits when the socket is full: let the other calls have their turn in any case.
        await asyncio.sleep(0)


def _socket(address: tuple[Any, ...]) -> socket.socket:
    """Make a client socket that notices a dead peer: a model that thinks sends nothing for minutes."""
    family, kind, proto, *_ = address
    sock = socket.socket(family, kind, proto)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)
    return sock
