"""One request and its answer over a pooled connection of aiohttp's, without the parts of its client session that a
signed call does not need: redirects, cookies, authentication, URL building, a task for the body. Saves a third of a
call's CPU.

This is the one file that uses undocumented parts of aiohttp's client: ``TCPConnector.connect`` with a request of our
own kind, and of its ``ResponseHandler`` ``set_response_params``, ``read``, ``len()``, ``transport`` and ``connected``.
The dependency is pinned to 3.14, and tests hold what is used. The pool, TLS, name look-ups and the parser stay
aiohttp's. Nothing here retries.

Source: aiohttp 3.14.5 ``client.ClientSession._request``, ``client_reqrep.ClientResponse.start``,
``client_proto.ResponseHandler``.
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import Callable, Mapping
from typing import Any, cast

import aiohttp
import attrs
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest, ConnectionKey
from aiohttp.connector import Connection
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from bedrock_gateway.wire.proxies import Proxy

__all__ = ["Answer", "Pool", "Where", "exchange", "proxy_of", "request_head"]

#: Bytes read ahead of a slow caller; up to three times as many are held.
READ_AHEAD = 65_536
#: Bytes of the status line and of one header of an answer; Bedrock's own request metadata alone may be 8,500.
MAX_FIELD_SIZE = 65_536


class Where:
    """Where a connection goes: what the connector asks of a request. One for each host and way of verifying it, made
    once.
    """

    def __init__(self, url: URL, verify: ssl.SSLContext | bool, proxy: Proxy | None = None) -> None:
        self.url = url.origin()
        self.host = url.raw_host or ""
        self.port = url.port
        self.ssl = verify
        self.proxy, self.proxy_headers = proxy_of(proxy)
        self.proxy_auth = self.server_hostname = None
        # For errors of a connection through a proxy, which name a request.
        self.request_info = aiohttp.RequestInfo(self.url, "CONNECT", CIMultiDictProxy(CIMultiDict()), self.url)
        # What a proxy is told of; nothing else of a request ever gets to one.
        self.headers: Mapping[str, str] = {"Host": f"{self.url.host_subcomponent}:{self.port}"}
        told = None if self.proxy_headers is None else hash(tuple(self.proxy_headers.items()))
        self.connection_key = ConnectionKey(self.host, self.port, self.is_ssl(), verify, self.proxy, None, told)

    def is_ssl(self) -> bool:
        """Tell whether the connection is TLS."""
        return self.url.scheme == "https"


def proxy_of(proxy: Proxy | None) -> tuple[URL | None, CIMultiDict[str] | None]:
    """Return URL and headers of a proxy as aiohttp takes them."""
    if proxy is None:
        return None, None
    if proxy.user is None:
        return URL(proxy.url), None
    told = base64.b64encode(f"{proxy.user}:{proxy.password or ''}".encode()).decode()
    return URL(proxy.url), CIMultiDict({"Proxy-Authorization": f"Basic {told}"})


class Pool(aiohttp.TCPConnector):
    """aiohttp's pool, without the connections over which something came that nobody had asked for."""

    async def connect(
        self,
        req: ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 (aiohttp's own name)
    ) -> Connection:
        """Return a connection that was just made, or one that has been silent since its last answer.

        What an idle one said since (a 408 for being idle, say) would be taken for the answer to the next request.
        """
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            assert protocol is not None
            if len(protocol) == 0:  # answers that nobody has read
                return connection
            connection.close()


@attrs.define(eq=False)
class Answer:
    """An answer whose head has arrived.

    Attributes:
        status: HTTP status; headers: looked up without regard to case.
        content: its body, still arriving.
        protocol: the connection it arrives on, or None where all of it had come with its head.
        waiting_since: loop time since which somebody waits for bytes; 0.0 while nobody does.
    """

    status: int
    headers: Mapping[str, str]
    content: StreamReader
    _close: Callable[[], None]
    protocol: ResponseHandler | None = attrs.field(default=None, repr=False)
    waiting_since: float = 0.0

    @property
    def content_length(self) -> int | None:
        """Return the length the head announces, or None."""
        length = self.headers.get("content-length")
        return int(length) if length is not None and length.isdecimal() else None

    @property
    def ended(self) -> bool:
        """Tell whether all of the body has been read; the connection is then back in the pool."""
        return self.content.at_eof()

    def close(self) -> None:
        """Give the answer up, and with it the connection; nothing happens to one that has been read to its end."""
        self._close()


def request_head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """Return request line and headers.

    Raises:
        ValueError: one of them holds a line break, which would begin a header of somebody else's.
    """
    lines = [f"{method} {target} HTTP/1.1", *[f"{name}: {value}" for name, value in headers.items()], "\r\n"]
    head = "\r\n".join(lines)
    if head.count("\n") != len(lines) or head.count("\r") != len(lines):
        raise ValueError("a header or the request target holds a line break")
    return head.encode()


async def exchange(
    connector: aiohttp.BaseConnector,
    where: Where,
    head: bytes,
    body: bytes | bytearray,
    *,
    connect_timeout: aiohttp.ClientTimeout,
    watch: Callable[[Any], None],
) -> Answer:
    """Send one request in one write and return the answer once its head is there.

    Args:
        watch: given the protocol that waits for the head; it fails that protocol when upstream is silent for too long.

    Raises:
        aiohttp.ClientError, OSError, TimeoutError: as the client session would.
    """
    connection = await connector.connect(cast(ClientRequest, where), [], connect_timeout)
    protocol = connection.protocol
    assert protocol is not None
    try:
        protocol.set_response_params(
            skip_payload=head.startswith(b"HEAD "),
            read_until_eof=True,
            auto_decompress=False,
            read_bufsize=READ_AHEAD,
            max_line_size=MAX_FIELD_SIZE,
            max_field_size=MAX_FIELD_SIZE,
        )
        transport = protocol.transport
        if transport is None:
            raise aiohttp.ServerDisconnectedError
        transport.write(head + body if body else head)
        watch(protocol)
        while True:
            message, content = await protocol.read()
            # Interim answers (100 Continue, 103 Early Hints) come before the one that counts.
            if message.code >= 200:
                break
    except aiohttp.http_exceptions.HttpProcessingError as error:
        connection.close()
        # The error's own text quotes what came, which is nobody's to log.
        what = type(error.__cause__ or error).__name__
        raise aiohttp.ClientPayloadError(f"the head of the answer is malformed: {what}") from error
    except BaseException:
        connection.close()
        raise
    if content is EMPTY_PAYLOAD:
        connection.release()
    else:
        content.on_eof(connection.release)
    return Answer(message.code, message.headers, content, connection.close, protocol)
