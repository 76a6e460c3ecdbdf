"""Reading request bodies: one at a time bounded, all together bounded, and no caller can hold one open for ever.

A small body has mostly come with its head: then nothing is awaited, and neither a timer nor a task is made. Knows
sizes and times; looks at no byte of a body.

Source: RFC 9110 section 10.1.1 (Expect); ``Limits``.
"""

from __future__ import annotations

import asyncio
import io
from types import TracebackType
from typing import cast

from aiohttp import StreamReader, hdrs, web

from bedrock_gateway.downstream.answers import CallerLeft
from bedrock_gateway.downstream.connection import CallerSide
from bedrock_gateway.downstream.limits import Limits
from bedrock_gateway.errors import InvalidRequest, Refusal, RequestTimeout, RequestTooLarge, Unavailable

__all__ = ["BodyBudget", "Ticket", "read_body"]

#: Bytes of all bodies in memory together.
TOTAL = 256 * 1024 * 1024
#: Bytes the connection may read ahead of a large body; more makes fewer pauses, less makes less memory.
_AHEAD = 256 * 1024
#: Pieces smaller than this are read one a turn of the loop.
_CRUMBS = 16 * 1024
#: Seconds after which a place in the budget is likely to be free: what a long answer takes.
_RETRY_AFTER = 2


class BodyBudget:
    """What all request bodies in memory together may take.

    Attributes:
        total: bytes.
        held: bytes held by tickets now.
    """

    __slots__ = ("held", "total")

    def __init__(self, total: int = TOTAL) -> None:
        self.total = total
        self.held = 0

    def ticket(self) -> Ticket:
        """Return an empty ticket; whoever asks for it releases it when its body is no longer needed."""
        return Ticket(self)


class Ticket:
    """What one call holds of a body budget, until the end of a ``with`` or until ``release``."""

    __slots__ = ("_budget", "held")

    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget
        self.held = 0

    def take(self, size: int) -> None:
        """Hold ``size`` more bytes.

        Raises:
            Unavailable: the budget has not that much left.
        """
        budget = self._budget
        if budget.held + size > budget.total:
            raise Unavailable(
                "The gateway holds as many request bodies as it may; nothing was sent upstream, so please repeat.",
                retry_after=_RETRY_AFTER,
                at="body budget",
            )
        budget.held += size
        self.held += size

    def release(self) -> None:
        """Give everything back. May be called more than once."""
        self._budget.held -= self.held
        self.held = 0

    def __enter__(self) -> Ticket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


async def read_body(request: web.BaseRequest, ticket: Ticket, limits: Limits) -> bytes:
    """Read the body of a request to its end, once.

    Raises:
        RequestTooLarge: it is announced as, or has become, larger than ``limits.body``.
        RequestTimeout: no byte of it came for ``limits.body_seconds``; the rest is dropped, and the answer is the
            last of an HTTP/1.1 connection.
        InvalidRequest: its chunked encoding is malformed; the connection closes after the answer.
        Unavailable: all bodies together would pass their budget.
        CallerLeft: the caller went before the end (mostly seen as a cancellation instead).
    """
    content = request.content
    if content.is_eof():
        try:
            body = content.read_nowait()
        except Refusal:
            raise
        except Exception as error:
            raise CallerLeft("the caller left in the middle of its request") from error
        if len(body) > limits.body:
            raise _too_large(limits)
        ticket.take(len(body))
        return body
    return await _read_rest(request, content, ticket, limits)


async def _read_rest(request: web.BaseRequest, content: StreamReader, ticket: Ticket, limits: Limits) -> bytes:
    length = request.content_length
    if length is not None:
        if length > limits.body:
            raise _too_large(limits)
        ticket.take(length)
    transport = request.transport
    if transport is None:
        raise CallerLeft("the caller left in the middle of its request")
    if content.total_bytes == 0 and request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
        transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    content.set_read_chunk_size(_AHEAD)
    # Joining 20 MB of parts at the end would stall the loop for 10 to 40 ms; a BytesIO grows by remapping and
    # gives its bytes away uncopied.
    parts = io.BytesIO()
    watch = _Watch(request, content, limits)
    try:
        while True:
            try:
                data = await content.readany()
            except Refusal:
                raise
            except web.RequestPayloadError as error:
                raise InvalidRequest("The body of the request is malformed.") from error
            except (ConnectionError, RuntimeError) as error:
                raise CallerLeft("the caller left in the middle of its request") from error
            if not data:
                return parts.getvalue()
            watch.progress()
            if length is None:
                if parts.tell() + len(data) > limits.body:
                    raise _too_large(limits)
                ticket.take(len(data))
            if parts.tell() and len(data) < _CRUMBS:
                # A body in chunks of a few bytes costs a thousand times its size to parse: let others have their turn.
                await asyncio.sleep(0)
            parts.write(data)
    finally:
        watch.stop()


def _too_large(limits: Limits) -> RequestTooLarge:
    return RequestTooLarge(f"The body of the request is larger than {limits.body:,} bytes.")


class _Watch:
    """Gives up a body that makes no progress; one timer for the whole body, moved only when it fires."""

    __slots__ = ("_content", "_last", "_limits", "_loop", "_request", "_timer")

    def __init__(self, request: web.BaseRequest, content: StreamReader, limits: Limits) -> None:
        self._request = request
        self._content = content
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._timer = self._loop.call_at(self._last + limits.body_seconds, self._look)

    def progress(self) -> None:
        """Note that bytes have come."""
        self._last = self._loop.time()

    def stop(self) -> None:
        """Watch no longer."""
        self._timer.cancel()

    def _look(self) -> None:
        due = self._last + self._limits.body_seconds
        if self._loop.time() < due:
            self._timer = self._loop.call_at(due, self._look)
            return
        fault = RequestTimeout(
            f"No byte of the request's body came for {self._limits.body_seconds:g} s; the request is given up."
        )
        cast(CallerSide, self._request.protocol).drop_body(self._content, fault)
