"""The two kinds of answers, and the one place that writes to a caller.

A whole answer leaves in one write, behind a Content-Length. A streamed one is always chunked, because boto3 takes a
cut body behind a Content-Length for success. Knows HTTP/1.1, whose words the streams of HTTP/2 translate; knows
nothing of AWS but the shape of the gateway's own refusals.

Source: RFC 9112 sections 6 and 9.3 (framing, persistence), RFC 9110 section 6.4.1 (answers without a body); aiohttp
3.14.5 ``abc.AbstractStreamWriter`` and ``http_writer.StreamWriter``.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import cast

from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import HttpVersion11, StreamWriter
from multidict import CIMultiDict, istr

from bedrock_gateway.downstream.connection import CallerSide
from bedrock_gateway.errors import GatewayError, Refusal

__all__ = ["CallerLeft", "StreamedAnswer", "WholeAnswer", "refusal_answer", "refusal_bytes"]

_ACCEL_BUFFERING = istr("X-Accel-Buffering")
_BODILESS = frozenset({204, 304})
#: Bytes up to which a chunk is framed here, in one piece.
SMALL = 16_384


class CallerLeft(GatewayError, ConnectionError):
    """The caller has gone, or has taken no byte for too long. Whatever else is written to it goes nowhere."""


class WholeAnswer(web.StreamResponse):
    """An answer that is complete when it is made: head and body leave in one write.

    The headers are sent as given, in order; Content-Length, Transfer-Encoding and Connection are this class's own.
    """

    def __init__(
        self, status: int, headers: Iterable[tuple[str, str]], body: bytes | bytearray = b"", *, close: bool = False
    ) -> None:
        super().__init__(status=status, headers=headers)
        self._content = body
        self._kept = not close
        self._request: web.BaseRequest | None = None
        self._written = False

    @property
    def prepared(self) -> bool:
        """Tell whether this answer has been promised."""
        return self._request is not None

    @property
    def keep_alive(self) -> bool:
        """Tell whether the connection can take another request after this answer."""
        return self._kept and self._written

    @property
    def body(self) -> bytes | bytearray:
        """The body as it is sent."""
        return self._content

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Compose the head; it leaves with the body."""
        if self._request is not None:
            return request.writer
        self._request = request
        headers = self.headers
        status = self.status
        if hdrs.TRANSFER_ENCODING in headers:
            del headers[hdrs.TRANSFER_ENCODING]
        if status in _BODILESS:
            headers.popall(hdrs.CONTENT_LENGTH, None)
            self._content = b""
        else:
            headers[hdrs.CONTENT_LENGTH] = str(len(self._content))
        self._kept = _connection_header(request, headers, self._kept)
        await request.writer.write_headers(f"HTTP/1.1 {status} {self.reason}", headers)
        return request.writer

    async def write_eof(self, data: bytes = b"") -> None:
        """Send head and body.

        Raises:
            CallerLeft: the caller had gone, or went while it took the answer.
        """
        request = self._request
        if request is None or self._written:
            return
        content = b"" if request.method == "HEAD" else self._content
        try:
            await cast(StreamWriter, request.writer).write(content, drain=False)
        except ConnectionError as error:
            raise CallerLeft("the caller left before its answer") from error
        if request.protocol.writing_paused:
            await _taken(request)
        self._written = True


class StreamedAnswer(web.StreamResponse):
    """An answer that is sent as it comes, always chunked (until the end of the connection for an HTTP/1.0 client).

    ``start`` is the commit point; the head leaves with the first bytes of the body. An answer that is given back to
    aiohttp without ``finish`` is aborted: an end that nobody meant must never look like one.
    """

    def __init__(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        super().__init__(status=status, headers=headers)
        self._request: web.BaseRequest | None = None
        self._bodiless = False
        self._chunked = False
        self._framed = False  # the head has left: what follows are chunks and nothing else
        self._kept = True
        self._finished = False
        self._aborted = False

    @property
    def prepared(self) -> bool:
        """Tell whether the commit point has passed."""
        return self._request is not None

    @property
    def keep_alive(self) -> bool:
        """Tell whether the connection can take another request after this answer."""
        return self._kept and self._finished

    async def start(self, request: web.BaseRequest) -> None:
        """Promise this answer to the caller.

        Raises:
            CallerLeft: the caller has gone.
        """
        if self._request is not None:
            return
        self._request = request
        headers = self.headers
        headers.popall(hdrs.CONTENT_LENGTH, None)
        headers.popall(hdrs.TRANSFER_ENCODING, None)
        headers[_ACCEL_BUFFERING] = "no"
        self._bodiless = request.method == "HEAD" or self.status in _BODILESS
        # From HTTP/2 on a body is framed by itself.
        if not self._bodiless and request.version.major == 1:
            if request.version >= HttpVersion11:
                request.writer.enable_chunking()
                self._chunked = True
                headers[hdrs.TRANSFER_ENCODING] = "chunked"
            else:
                self._kept = False
        self._kept = _connection_header(request, headers, self._kept)
        if request.transport is None:
            raise CallerLeft("the caller left before its answer")
        await request.writer.write_headers(f"HTTP/1.1 {self.status} {self.reason}", headers)

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Pass bytes on, and wait while the caller is behind in taking them.

        Raises:
            CallerLeft: the caller has gone, or has taken no byte for ``Limits.write_seconds``.
        """
        request = self._request
        if request is None or self._finished or self._aborted:
            raise CallerLeft("this answer has ended, or has not begun")
        if not data or self._bodiless:
            return
        try:
            await cast(StreamWriter, request.writer).write(data, drain=False)
        except ConnectionError as error:
            raise CallerLeft("the caller left in the middle of its answer") from error
        # The head has left with these bytes.
        self._framed = self._chunked
        if request.protocol.writing_paused:
            await _taken(request)

    def write_at_once(self, data: bytes | bytearray | memoryview) -> bool:
        """Pass a few bytes on, as a chunk, if that takes no waiting; tell whether they were. Saves a handful of calls
        for each message of a stream.

        Raises:
            CallerLeft: the caller has gone.
        """
        request = self._request
        if not self._framed or not data or len(data) > SMALL or request is None or self._finished or self._aborted:
            return False
        protocol = request.protocol
        transport = protocol.transport
        if transport is None or transport.is_closing():
            raise CallerLeft("the caller left in the middle of its answer")
        if protocol.writing_paused:
            return False
        transport.write(b"".join((b"%x\r\n" % len(data), data, b"\r\n")))
        return True

    async def finish(self) -> None:
        """End the answer properly.

        Raises:
            CallerLeft: the caller has gone.
        """
        request = self._request
        if request is None or self._aborted:
            raise CallerLeft("this answer has been aborted, or has not begun")
        if self._finished:
            return
        if request.protocol.writing_paused:
            # The last bytes went without waiting: a caller that takes none of them has left.
            await _taken(request)
        try:
            cast(StreamWriter, request.writer).set_eof()
        except ConnectionError as error:
            raise CallerLeft("the caller left before the end of its answer") from error
        self._finished = True

    def abort(self) -> None:
        """Cut the connection, so that nobody can take this answer for a whole one. Safe at any time; cancels nobody."""
        if self._finished or self._aborted:
            return
        self._aborted = True
        if self._request is not None:
            _cut(self._request)

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Take back an answer from a handler; aiohttp calls this."""
        if self._request is None:
            self._request = request
            if self._aborted:
                _cut(request)
        return request.writer

    async def write_eof(self, data: bytes = b"") -> None:
        """Cut the connection if the answer was never finished; aiohttp calls this."""
        self.abort()


def refusal_answer(refusal: Refusal, *, close: bool = True) -> WholeAnswer:
    """Return a refusal as AWS's REST-JSON services would answer it; for faults before a dialect is known."""
    headers, body = _refusal_parts(refusal)
    return WholeAnswer(refusal.status, headers, body, close=close)


def refusal_bytes(refusal: Refusal) -> bytes:
    """Return a whole HTTP/1.1 answer with ``Connection: close``, for a connection that has no request yet."""
    headers, body = _refusal_parts(refusal)
    reason = web.Response(status=refusal.status).reason
    lines = [f"HTTP/1.1 {refusal.status} {reason}", *(f"{name}: {value}" for name, value in headers)]
    lines += [f"Content-Length: {len(body)}", "Connection: close", "", ""]
    return "\r\n".join(lines).encode() + body


def _refusal_parts(refusal: Refusal) -> tuple[list[tuple[str, str]], bytes]:
    headers = [("Content-Type", "application/json"), ("x-amzn-errortype", refusal.error_type)]
    if refusal.retry_after is not None:
        headers.append(("Retry-After", str(refusal.retry_after)))
    if not refusal.repeatable:
        headers.append(("x-should-retry", "false"))
    return headers, json.dumps({"message": refusal.message}).encode()


def _connection_header(request: web.BaseRequest, headers: CIMultiDict[str], keep: bool) -> bool:
    """Set the Connection header where the default of the HTTP version does not hold; tell whether it stays open."""
    protocol = request.protocol
    # A whole answer may be given through a plain server of aiohttp's, too.
    keep = keep and request.keep_alive and not (isinstance(protocol, CallerSide) and protocol.last_request)
    if not keep:
        headers[hdrs.CONNECTION] = "close"
    elif request.version >= HttpVersion11:
        headers.popall(hdrs.CONNECTION, None)
    else:
        headers[hdrs.CONNECTION] = "keep-alive"
    return keep


def _side(request: web.BaseRequest) -> CallerSide:
    return cast(CallerSide, request.protocol)


def _cut(request: web.BaseRequest) -> None:
    # Without chunks the end of the connection is the end of the answer: only a reset says that it is not.
    _side(request).break_off(framed=request.version >= HttpVersion11)


async def _taken(request: web.BaseRequest) -> None:
    """Wait until the caller has taken what is buffered for it.

    Raises:
        CallerLeft: it went, or took no byte for ``Limits.write_seconds``.
    """
    protocol = request.protocol
    if protocol.transport is None:
        raise CallerLeft("the caller left in the middle of its answer")
    loop = asyncio.get_running_loop()
    stall = _side(request).stall()
    stalled = False
    timer: asyncio.TimerHandle

    def look() -> None:
        nonlocal stalled, timer
        stalled = stall.look()
        if stalled:
            _cut(request)
        else:
            timer = loop.call_later(stall.pause, look)

    timer = loop.call_later(stall.pause, look)
    try:
        await request.writer.drain()
    except ConnectionError as error:
        raise CallerLeft("the caller left in the middle of its answer") from error
    finally:
        timer.cancel()
    if stalled:
        raise CallerLeft(f"the caller took no byte for {stall.seconds:g} s")
    if protocol.transport is None:
        raise CallerLeft("the caller left in the middle of its answer")
