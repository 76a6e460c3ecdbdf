"""One stream of an HTTP/2 connection: a request, its handler and its answer, behind a flow control of their own.

To aiohttp it is the protocol of a request and the writer of its answer; what an answer says in HTTP/1.1's words leaves
as frames. Knows nothing of other streams (``http2`` does).

Source: RFC 9113 sections 5.2 (flow control), 8.1 (an answer before the end of its request), 8.2.2 (fields that speak
of a connection); aiohttp 3.14.5 ``abc.AbstractStreamWriter``, ``streams.StreamReader`` (what it asks of its protocol).
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, cast

from aiohttp import hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from h2.errors import ErrorCodes
from multidict import CIMultiDict

from bedrock_gateway.downstream.answers import refusal_answer
from bedrock_gateway.downstream.connection import CallerSide, Stall, give_up_stalled
from bedrock_gateway.downstream.faults import FAILED, log_fault, well_shaped
from bedrock_gateway.downstream.limits import Limits
from bedrock_gateway.errors import InternalFault, InvalidRequest, Refusal

if TYPE_CHECKING:
    from bedrock_gateway.downstream.http2 import Http2Connection

__all__ = ["Handler", "Stream", "Writer"]

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
#: Bytes of a body that may wait before anybody reads it; twice as many close the stream's window.
_READ_AHEAD = 64 * 1024
#: Bytes of an answer that may wait for the caller's window; its handler waits until they are down to a quarter.
_WRITE_AHEAD = 64 * 1024
_OF_A_CONNECTION = frozenset({"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"})
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]").search


class Stream(CallerSide):
    """The caller's side of one request.

    Attributes:
        content: the request's body.
        pending: bytes of the answer that wait for the caller's windows.
        ending: nothing follows ``pending``.
        sent: bytes of the answer that were framed.
        writing_paused: so much waits that its writer should too.
        request_ended: nothing of the request is to come.
        over: nothing can be sent any more: the answer has ended, or the stream was reset.
    """

    __slots__ = (
        *("_connection", "_expected", "_log", "_loop", "_mark", "_owed", "_paused", "_waiter"),
        *("content", "deaf", "ending", "id", "last_request", "limits", "loss_told", "on_left", "over", "peername"),
        *("pending", "request_ended", "sent", "sockname", "ssl_context", "task", "writing_paused"),
    )

    def __init__(
        self,
        connection: Http2Connection,
        stream_id: int,
        limits: Limits,
        loop: asyncio.AbstractEventLoop,
        log: logging.Logger,
    ) -> None:
        self._connection = connection
        self._loop = loop
        self._log = log
        self.id = stream_id
        self.limits = limits
        self.last_request = False
        self.loss_told = False
        self.deaf = False
        self.on_left: Callable[[], None] | None = None
        self.ssl_context = connection.ssl_context
        self.peername = connection.peername
        self.sockname = connection.sockname
        self.task: asyncio.Task[None] | None = None
        # The request's body: its length if it was told, bytes that arrived but are not credited.
        self.content: StreamReader = EMPTY_PAYLOAD
        self.request_ended = True
        self._expected: int | None = None
        self._owed = 0
        self._paused = False
        self.pending = bytearray()
        self.ending = False
        self.sent = 0
        self._mark = 0
        self.over = False
        self.writing_paused = False
        self._waiter: asyncio.Future[None] | None = None

    def expect_body(self, length: int | None) -> None:
        """Note that a body follows; ``length`` if it was told."""
        self.content = StreamReader(cast(Any, self), _READ_AHEAD, loop=self._loop)
        self.request_ended = False
        self._expected = length

    # What aiohttp asks of a protocol

    @property
    def transport(self) -> asyncio.Transport | None:
        """The connection's transport, to be asked and not to be written to; None once the stream is over."""
        return None if self.over else self._connection.transport

    @property
    def connected(self) -> bool:
        """Tell whether more of the request may come."""
        return self.transport is not None

    def pause_reading(self) -> None:
        """Give no more window back for a while."""
        self._paused = True

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Give the window back that was held."""
        if self._paused:
            self._paused = False
            self.settle()
            self._connection.outflow.flush()

    # The request

    def receive_data(self, data: bytes, size: int) -> None:
        """Take a piece of the body; ``size`` with its padding."""
        self._owed += size
        if not self.deaf and data:
            self.content.feed_data(data)
        if not self._paused:
            self.settle()

    def receive_end(self) -> None:
        """Take the end of the request."""
        self.request_ended = True
        if self.deaf or self.content.is_eof():
            return
        if self._expected not in (None, self.content.total_bytes):
            self.malformed()
        else:
            self.content.feed_eof()

    def malformed(self) -> None:
        """Give up the body: it is not what its head said."""
        if not self.content.is_eof():
            self.drop_body(self.content, InvalidRequest("The body of the request is malformed."))

    def settle(self) -> None:
        """Give back the window of everything that arrived."""
        if self._owed:
            owed, self._owed = self._owed, 0
            self._connection.credit(self, owed)

    def drop_body(self, content: StreamReader, fault: Exception) -> None:
        """Give up a body under way: its reader gets ``fault``, what still comes is dropped."""
        self.deaf = True
        self._paused = False
        content.set_exception(fault)
        content.feed_eof()

    # How a stream ends

    def leave(self) -> None:
        """Tell whoever serves the request that the caller has gone: by its callback, else by a cancellation."""
        if self.over:
            return
        self.end()
        if not self.content.is_eof():
            self.content.set_exception(ConnectionResetError("the caller left"))
        told, self.on_left = self.on_left, None
        if self.loss_told:
            return
        if told is not None:
            told()
        elif self.task is not None:
            self.task.cancel()

    def end(self) -> None:
        """Note that nothing can be sent any more."""
        self.over = True
        self.pending.clear()
        self.writing_paused = False
        self._wake()

    def break_off(self, *, framed: bool = True) -> None:
        """Reset the stream, so that nobody can take its answer for a whole one. The connection lives on."""
        self.loss_told = True
        if not self.over:
            self._connection.reset(self, ErrorCodes.INTERNAL_ERROR)

    def stall(self) -> Stall:
        """Return what tells when the caller has taken no byte for ``limits.write_seconds``."""
        return Stall(lambda: -self.sent - self._connection.outflow.taken(self._mark), self.limits.write_seconds)

    # The answer

    def send(self, data: bytes | bytearray | memoryview, *, end: bool = False) -> None:
        """Send bytes as far as the caller takes them; the rest waits.

        Raises:
            ConnectionResetError: the stream is over.
        """
        if self.ending and not data:
            return
        if self.over or self.ending:
            raise ConnectionResetError("the stream has ended")
        self.pending += data
        self.ending = end
        self._connection.outflow.push(self)
        if len(self.pending) > _WRITE_AHEAD:
            self.writing_paused = True

    def moved(self, size: int, mark: int) -> None:
        """Note that ``size`` bytes were framed; ``mark``: where in the connection's bytes they end."""
        self.sent += size
        self._mark = mark
        if self.writing_paused and len(self.pending) <= _WRITE_AHEAD // 4:
            self.writing_paused = False
            self._wake()

    async def drained(self) -> None:
        """Wait until little is left, or the stream is over."""
        if self.writing_paused:
            if self._waiter is None or self._waiter.done():
                self._waiter = self._loop.create_future()
            await self._waiter

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    async def serve(self, handler: Handler, request: web.BaseRequest) -> None:
        """Answer the request. Whatever happens, the stream ends: by an answer or by a reset."""
        try:
            answer = await self._answer_of(handler, request)
            writer = cast(Writer, request.writer)
            if writer.output_size and not answer.prepared:
                # Another answer has begun: none may follow it.
                return
            await answer.prepare(request)
            await answer.write_eof()
            writer.set_eof()
        except ConnectionError:
            pass
        except Exception as error:
            log_fault(self._log, error)
        finally:
            # Nobody reads any more; a stream and its body that knew each other would wait for the collector of cycles.
            self.deaf = True
            self._paused = False
            self.content = EMPTY_PAYLOAD
            self.settle()
            if not self.ending:
                self.break_off()
            elif not self.over:
                give_up_stalled(self._loop, self.stall(), lambda: self.over, self.break_off)

    async def _answer_of(self, handler: Handler, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return well_shaped(await handler(request), self._log)
        except web.HTTPException as error:
            return well_shaped(error, self._log)
        except Refusal as refusal:
            return refusal_answer(refusal)
        except Exception as error:
            if isinstance(error, ConnectionError) and self.over:
                raise
            log_fault(self._log, error)
            return refusal_answer(InternalFault(FAILED))


class Writer(AbstractStreamWriter):
    """Writes the answer of a stream. A head waits for the first bytes behind it, and leaves together with them."""

    __slots__ = ("_bodiless", "_connection", "_head", "_left", "_stream", "output_size")

    def __init__(self, stream: Stream, connection: Http2Connection, *, bodiless: bool) -> None:
        self._stream = stream
        self._bodiless = bodiless
        self._connection = connection
        self._head: list[tuple[str, str]] | None = None
        # Bytes up to the end that the Content-Length tells.
        self._left: int | None = None
        self.output_size = 0

    async def write_headers(self, status_line: str, headers: CIMultiDict[str]) -> None:
        """Take the head of the answer."""
        head = [(":status", status_line.split(" ", 2)[1])]
        for name, value in headers.items():
            name = name.lower()
            if name in _OF_A_CONNECTION:
                continue
            if _CONTROL(value) is not None or _CONTROL(name) is not None:
                raise ValueError("a control character in a header")
            head.append((name, value))
        self._head = head
        length = headers.get(hdrs.CONTENT_LENGTH)
        self._left = None if length is None else int(length)

    def send_headers(self) -> None:
        """Send the head now, if it was not sent."""
        self._send_head(end=False)
        self._connection.outflow.flush()

    async def write(
        self, chunk: bytes | bytearray | memoryview, *, drain: bool = True, LIMIT: int = _WRITE_AHEAD
    ) -> None:
        """Write a piece of the body.

        Raises:
            ConnectionResetError: the caller has gone, or the answer has ended.
        """
        stream = self._stream
        end = False
        if self._left is not None:
            self._left -= len(chunk)
            end = self._left == 0
        if not chunk or self._bodiless:
            return
        self._send_head(end=False)
        self.output_size += len(chunk)
        stream.send(chunk, end=end)
        if drain and stream.writing_paused:
            await stream.drained()

    async def write_eof(self, chunk: bytes = b"") -> None:
        """Write the last piece of the body."""
        await self.write(chunk, drain=False)
        self.set_eof()
        await self.drain()

    def set_eof(self) -> None:
        """End the answer.

        Raises:
            ConnectionResetError: the caller has gone.
        """
        if self._head is not None:
            self._send_head(end=True)
            self._connection.outflow.flush()
        else:
            self._stream.send(b"", end=True)

    async def drain(self) -> None:
        """Wait until the caller has taken most of what was written."""
        await self._stream.drained()

    def enable_chunking(self) -> None:
        """Do nothing: frames need no chunks."""

    def enable_compression(self, encoding: str = "deflate", strategy: int | None = None) -> None:
        """Refuse: no answer here is compressed."""
        raise NotImplementedError

    def _send_head(self, *, end: bool) -> None:
        head, self._head = self._head, None
        if head is None:
            return
        stream = self._stream
        if stream.over:
            raise ConnectionResetError("the stream has ended")
        self.output_size += 1
        stream.ending = end
        self._connection.send_head(stream, head, end=end)
