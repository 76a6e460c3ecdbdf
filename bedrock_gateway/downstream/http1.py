"""HTTP/1.1 of one connection: aiohttp's own protocol, with our limits and our words for everything that goes wrong.

Adds to aiohttp: a limit for the whole head and for the time it takes, refusals in AWS's REST-JSON shape, and silence
about the bytes of a request (aiohttp quotes the raw head, keys included, in its answers and its log). Knows nothing
of what a request asks for.

Source: aiohttp 3.14.5 ``web_protocol.RequestHandler`` (its message queue and error records are used here and only
here; the dependency is pinned to 3.14) and ``_http_parser.pyx`` (which faults there are); RFC 9112 section 9.6 (how
to close).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, InvalidURLError, LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import _ErrInfo

from bedrock_gateway.downstream.answers import WholeAnswer, refusal_answer
from bedrock_gateway.downstream.connection import Connection, see_off
from bedrock_gateway.downstream.faults import (
    FAILED,
    head_timeout,
    head_too_large,
    line_too_large,
    log_fault,
    too_many_headers,
    well_shaped,
)
from bedrock_gateway.downstream.limits import Limits
from bedrock_gateway.errors import InternalFault, InvalidRequest, Refusal

__all__ = ["Http1Connection"]

#: Bytes of a body that may wait before anybody reads it; reading pauses at twice as many.
_READ_AHEAD = 64 * 1024


class Http1Connection(Connection):
    """One connection that speaks HTTP/1.1.

    Args:
        server: whose handler answers.
        limits: what the connection may cost.
        log: where faults of our own are reported; never sees a byte of a request.
        since: loop time the connection was made.
        forget: called once, when the connection has ended and its last handler with it.
    """

    __slots__ = ("_body", "_forget", "_head_bytes", "_head_since", "_in_body", "_lingering", "_log", "_task", "_watch")

    def __init__(
        self,
        server: web.Server,
        limits: Limits,
        *,
        log: logging.Logger,
        since: float,
        forget: Callable[[Http1Connection], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(
            server,
            limits,
            loop=loop,
            keepalive_timeout=limits.idle_seconds,
            lingering_time=limits.drop_seconds,
            logger=log,
            access_log=None,
            max_line_size=limits.line,
            max_field_size=limits.header,
            max_headers=limits.headers,
            read_bufsize=_READ_AHEAD,
            auto_decompress=False,
        )
        self._log = log
        self._forget = forget
        # A head under way: when it began (0.0: none is), and its bytes so far, counted from the second piece on.
        self._head_since = since
        self._head_bytes = 0
        self._watch: asyncio.TimerHandle | None = None
        # The last request's body, and whether it was still coming after the last bytes.
        self._body: StreamReader = EMPTY_PAYLOAD
        self._in_body = False
        self._lingering: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None

    # How bytes become requests

    def data_received(self, data: bytes) -> None:
        """Take bytes in; what aiohttp's parser says of them is looked at here before any handler sees it."""
        if self.deaf:
            return
        before = self._request_count
        super().data_received(data)
        arrived = self._request_count - before
        if not arrived:
            if self._in_body:
                self._after_body()
            elif data:
                self._in_between(data)
            return
        message, payload = self._messages[-1]
        if isinstance(message, _ErrInfo):
            self._malformed()
            return
        if self._head_bytes or len(data) > self.limits.head:
            payload = self._measure_heads(arrived)
        if self._upgraded:
            # No protocol is ever switched to; what follows such a head cannot be told from a request.
            self.last_request = True
        self._body = payload
        self._in_body = not payload.is_eof()
        self._head_since = 0.0
        self._head_bytes = 0

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Read on after a pause. aiohttp asks for it with every piece of a body, where mostly nothing was paused."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def _in_between(self, data: bytes) -> None:
        """Take note of bytes between two requests that completed no head: it is watched from here on."""
        if not self._head_since:
            if not data.strip(b"\r\n"):
                return  # empty lines before a request line mean nothing (RFC 9112 section 2.2)
            self._head_since = self._loop.time()
        self._head_bytes += len(data)
        if self._head_bytes > self.limits.head:
            self._refuse(head_too_large(self.limits))
        elif self._watch is None:
            self._watch = self._loop.call_at(self._head_since + self.limits.head_seconds, self._look)

    def _after_body(self) -> None:
        """See whether the body has ended; also by bytes that had waited in the parser while reading was paused.

        The piece that ends a body may begin the next head, whose time is counted from its next piece.
        """
        self._in_body = not self._body.is_eof()
        if self.last_request and not self._in_body:
            self.close()

    def _look(self) -> None:
        """Refuse a head that has not come in time."""
        self._watch = None
        if not self._head_since or self.transport is None:
            return
        now = self._loop.time()
        if not self._idle:
            # Nobody reads the next request while one is being answered: its time begins anew.
            self._head_since = now
        due = self._head_since + self.limits.head_seconds
        if now < due:
            self._watch = self._loop.call_at(due, self._look)
        else:
            self._refuse(head_timeout(self.limits))

    def _measure_heads(self, arrived: int) -> StreamReader:
        """Refuse the first new request whose head is too large, and all after it; return the last one's body."""
        messages = self._messages
        for index in range(len(messages) - arrived, len(messages)):
            message, _ = messages[index]
            if isinstance(message, _ErrInfo):
                continue
            size = len(message.path) + sum(len(name) + len(value) + 4 for name, value in message.raw_headers)
            if size > self.limits.head:
                while len(messages) > index:
                    messages.pop()
                self._refuse(head_too_large(self.limits))
                break
        return messages[-1][1]

    def _malformed(self) -> None:
        """Stop listening: nothing can be understood after a parse error. aiohttp's record of it is answered in turn."""
        self._head_since = 0.0
        self._in_body = False
        if not self._body.is_eof():
            # A fault inside a body: aiohttp would leave its reader waiting.
            self.drop_body(self._body, InvalidRequest("The body of the request is malformed."))
        self.deaf = True

    def _refuse(self, refusal: Refusal) -> None:
        """Answer ``refusal`` after the requests that came before it, then end the connection."""
        self.deaf = True
        self._head_since = 0.0
        self._messages.append((_ErrInfo(status=refusal.status, exc=refusal, message=""), EMPTY_PAYLOAD))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # How faults become answers

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer a fault in AWS's shape. Called by aiohttp for what its parser or a handler raised."""
        unread = isinstance(exc, HttpProcessingError) or self.deaf
        if isinstance(exc, HttpProcessingError):
            refusal = self._parse_refusal(exc)
        elif isinstance(exc, Refusal):
            refusal = exc
        elif isinstance(exc, ConnectionError) and (self.transport is None or self.transport.is_closing()):
            raise ConnectionError("the caller left") from None
        else:
            self.log_exception("A handler failed", exc_info=exc)
            refusal = InternalFault(FAILED)
        self._nothing_sent(request)
        return _LastAnswer(self, refusal) if unread else refusal_answer(refusal)

    def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> Coroutine[Any, Any, tuple[web.StreamResponse, bool]]:
        """Send a handler's answer; aiohttp's own error pages are put into AWS's shape first."""
        resp = well_shaped(resp, self._log)
        if request.writer.output_size and not resp.prepared:
            self._nothing_sent(request)
        return super().finish_response(request, resp, start_time)

    def log_exception(self, *args: Any, **settings: Any) -> None:
        """Report a fault of ours by its kind and place. Its text, which may quote a request, is left out."""
        error = settings.get("exc_info")
        if not isinstance(error, BaseException):
            self._log.error("%s", args[0] if args else "A fault without an exception")
        else:
            log_fault(self._log, error)

    def log_debug(self, *args: Any, **settings: Any) -> None:
        """Say nothing: aiohttp's remarks of this level are about callers that leave."""

    def _parse_refusal(self, error: HttpProcessingError) -> Refusal:
        """Say what is wrong with a request without quoting it; aiohttp's own texts quote it."""
        limits = self.limits
        if isinstance(error, LineTooLong):
            return line_too_large(limits)
        if error.message == "Too many headers received":
            return too_many_headers(limits)
        if isinstance(error, InvalidURLError):
            return InvalidRequest("The request target is malformed.")
        if error.message.startswith(("Missing 'Host'", "Duplicate '")):
            return InvalidRequest(error.message)
        return InvalidRequest("The request is not well-formed HTTP/1.1.")

    def _nothing_sent(self, request: web.BaseRequest) -> None:
        """Make sure that no second answer follows the beginning of a first one.

        Raises:
            ConnectionError: one has begun; the connection is cut.
        """
        if request.writer.output_size:
            self.loss_told = True
            if self.transport is not None:
                self.transport.abort()
            raise ConnectionError("an answer has already begun")

    # How a connection ends

    @property
    def _idle(self) -> bool:
        return self._waiter is not None and not self._waiter.done() and not self._messages

    def retire(self) -> None:
        """End the connection as soon as no request is under way."""
        self.last_request = True
        if self._idle:
            self.force_close()
        elif not self._in_body:
            # An answer may have left already that said nothing of an end; it must not leave an idle connection behind.
            # (A body under way is still taken in, which a closing connection of aiohttp's would not do.)
            self.close()

    def cut(self) -> None:
        """End the connection now and cancel whoever serves it, also when the connection has ended before."""
        task = self._task
        if self.transport is not None:
            self.transport.abort()
        if task is not None:
            task.cancel()

    async def start(self) -> None:
        """Serve the connection; then see that what is left to send is taken or given up."""
        self._task = asyncio.current_task()
        transport = self.transport
        await super().start()
        if transport is not None and transport.is_closing():
            see_off(self._loop, transport, self.limits.write_seconds)

    def force_close(self) -> None:
        """Close the connection; what is on its way to the caller is still sent while the caller takes it."""
        transport = self.transport
        super().force_close()
        if transport is not None:
            see_off(self._loop, transport, self.limits.write_seconds)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tell the handler, and the listener once the handler has ended too."""
        task = self._task_handler
        super().connection_lost(exc)
        if self._watch is not None:
            self._watch.cancel()
        if self._lingering is not None and not self._lingering.done():
            self._lingering.set_result(None)
        if task is None or task.done():
            self._forget(self)
        else:
            task.add_done_callback(lambda _: self._forget(self))

    async def linger(self) -> None:
        """Read and drop what a refused client still sends: closing at once would reset the connection."""
        transport = self.transport
        self.deaf = True
        if transport is None or not transport.can_write_eof():
            return
        transport.write_eof()
        self._lingering = self._loop.create_future()
        timer = self._loop.call_later(self.limits.linger_seconds, _wake, self._lingering)
        try:
            await self._lingering
        finally:
            timer.cancel()

    def _process_keepalive(self) -> None:
        """Close an idle connection; a head under way has its own time."""
        if self._head_since and self._watch is not None:
            self._keepalive_handle = None
            return
        super()._process_keepalive()


class _LastAnswer(WholeAnswer):
    """A refusal of a request that could not be read to its end."""

    def __init__(self, connection: Http1Connection, refusal: Refusal) -> None:
        answer = refusal_answer(refusal)
        super().__init__(answer.status, answer.headers.items(), answer.body, close=True)
        self._connection = connection

    async def write_eof(self, data: bytes = b"") -> None:
        """Send the answer, then give the client time to see it."""
        await super().write_eof(data)
        await self._connection.linger()


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
