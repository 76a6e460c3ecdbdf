"""HTTP/2 of one connection: bytes to streams and back, its limits, and its end. Streams are known to ``http2_stream``.

Loaded when the first client speaks HTTP/2. Against floods streams under way are counted, those included whose handler
goes on after a reset; and resets, and frames that carry nothing, are allowed only so often.

Source: RFC 9113 sections 5.1.2 (concurrency), 6.8 (GOAWAY), 8.1 (an answer before the end of its request), 10.5
(denial of service); CVE-2019-9511 to 9518, CVE-2023-44487, CVE-2025-8671 (floods).
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Any, cast

from aiohttp import web
from aiohttp.http import RawRequestMessage
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import DenialOfServiceError, ProtocolError

from bedrock_gateway.downstream.connection import see_off
from bedrock_gateway.downstream.faults import log_fault
from bedrock_gateway.downstream.http2_intake import Allowance, Intake
from bedrock_gateway.downstream.http2_machine import STREAMS, MalformedRequest, WrongLength, machine
from bedrock_gateway.downstream.http2_outflow import Outflow
from bedrock_gateway.downstream.http2_requests import MALFORMED, NO_MESSAGE, expects, message_of
from bedrock_gateway.downstream.http2_stream import Handler, Stream, Writer
from bedrock_gateway.downstream.limits import Limits
from bedrock_gateway.errors import InvalidRequest, Refusal

__all__ = ["Http2Connection"]

#: Requests of one connection that may be served at once, those included whose stream was reset.
_SERVED = 2 * STREAMS
#: Resets, and frames that carry nothing: how many at once, and how many more a second.
_RESETS = (200, 20.0)
_IDLE_FRAMES = (2_000, 200.0)
#: Frames that carry nothing which a request, or a frame of an answer, makes a client send.
_PER_REQUEST = 10
_PER_FRAME = 3
#: Bytes of a DATA frame that count as something.
_SOMETHING = 16


class Http2Connection(asyncio.Protocol):
    """One connection that speaks HTTP/2.

    Args:
        server: whose handler answers.
        limits: what the connection may cost.
        log: where faults of our own are reported; never sees a byte of a request.
        since: loop time the connection was made.
        forget: called once, when the connection has ended and its last handler with it.
        complain: told the kind and the text of what is wrong with a client.
    """

    def __init__(
        self,
        server: web.Server,
        limits: Limits,
        *,
        log: logging.Logger,
        since: float,
        forget: Callable[[Http2Connection], None],
        complain: Callable[[str, str], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._server = server
        self._limits = limits
        self._log = log
        self._forget = forget
        self._complain = complain
        self._loop = loop
        self._machine = machine(limits)
        self.transport: asyncio.Transport | None = None
        self.ssl_context: Any = None
        self.peername: Any = None
        self.sockname: Any = None
        self._streams: dict[int, Stream] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._intake = Intake(self._machine, self._take, loop)
        self.outflow = Outflow(self._machine, self._ended)
        # No request is under way since then; how long that may last.
        self._quiet_since = since
        self._patience = limits.head_seconds
        self._watch: asyncio.TimerHandle | None = None
        self._head_watch: asyncio.TimerHandle | None = None
        self._resets = Allowance(*_RESETS, since)
        self._idle_frames = Allowance(*_IDLE_FRAMES, since)
        # GOAWAY was sent, so no more is begun; it was sent or received, so the connection ends with its last stream.
        self._retiring = False
        self._no_more = False
        self._cut_short = False  # an answer ended before its request: the client may still be sending
        self._deaf = False
        self._closing: asyncio.TimerHandle | None = None

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = cast(asyncio.Transport, transport)
        self.outflow.transport = self._intake.transport = self.transport
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.ssl_context = transport.get_extra_info("sslcontext")
        self.peername = transport.get_extra_info("peername")
        self.sockname = transport.get_extra_info("sockname")
        self._watch = self._loop.call_at(self._quiet_since + self._patience, self._look)
        self.outflow.flush()

    def data_received(self, data: bytes) -> None:
        """Take bytes in, in batches."""
        if not self._deaf:
            self._intake.receive(data)

    def pause_writing(self) -> None:
        """Frame no more of any answer."""
        self.outflow.full = True

    def resume_writing(self) -> None:
        """Send what has waited."""
        self.outflow.full = False
        self.outflow.push_all()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tell all handlers, and the listener once the last of them has ended."""
        self.transport = self.outflow.transport = self._intake.transport = None
        self._deaf = True
        for timer in (self._watch, self._head_watch, self._closing):
            if timer is not None:
                timer.cancel()
        self._intake.drop()
        self._leave_all()
        self._forget_if_over()

    # What the listener calls

    def retire(self) -> None:
        """End the connection as soon as no request is under way; take no new one."""
        if not self._retiring:
            self._retiring = self._no_more = True
            self.outflow.write(self._machine.goaway())
        self._end_if_done()

    def cut(self) -> None:
        """End the connection now and cancel whoever serves it, also when the connection has ended before."""
        if self.transport is not None:
            self.transport.abort()
        for task in list(self._tasks):
            task.cancel()

    # How bytes become requests

    def _take(self, data: bytes) -> bool:
        """Take bytes in; tell whether the connection goes on."""
        before, useful = self._machine.frames - _PER_FRAME * self.outflow.frames, 0
        try:
            for event in self._machine.receive_data(data):
                useful += self._happened(event)
            self.outflow.push_all()
        except ProtocolError as error:
            self._end_badly(ErrorCodes(error.error_code))
            return False
        except Exception as error:
            log_fault(self._log, error)
            self._end_badly(ErrorCodes.INTERNAL_ERROR)
            return False
        # Frames of answers make a client say that it has room for more.
        idle = self._machine.frames - _PER_FRAME * self.outflow.frames - before - useful
        if idle and not self._idle_frames.take(idle, self._loop.time()):
            self._end_badly(ErrorCodes.ENHANCE_YOUR_CALM)
            return False
        self.outflow.flush()
        self._watch_head()
        return not self._deaf and self.transport is not None

    def _happened(self, event: Event) -> int:
        """Act upon an event; return how many frames, of those that carry nothing, it makes up for."""
        kind = type(event)
        if kind is DataReceived:
            return self._data(cast(DataReceived, event))
        if kind is RequestReceived:
            return self._request(cast(RequestReceived, event))
        if kind is WindowUpdated or kind is RemoteSettingsChanged:
            return 0
        if kind is StreamEnded:
            stream = self._streams.get(cast(StreamEnded, event).stream_id)
            if stream is not None:
                stream.receive_end()
        elif kind is StreamReset:
            self._reset_by_client(cast(StreamReset, event).stream_id)
        elif kind is MalformedRequest:
            malformed = cast(MalformedRequest, event)
            self._begin(malformed.stream_id, NO_MESSAGE, _refusing(InvalidRequest(MALFORMED)), malformed.ended)
        elif kind is WrongLength:
            stream = self._streams.get(cast(WrongLength, event).stream_id)
            if stream is not None:
                stream.malformed()
        elif kind is ConnectionTerminated:
            self._no_more = True
            self._end_if_done()
        return 0

    def _request(self, event: RequestReceived) -> int:
        ended = event.stream_ended is not None
        fields = event.headers
        message: RawRequestMessage = NO_MESSAGE
        handler: Handler = self._server.request_handler
        try:
            message = message_of(fields, self._limits, bodiless=ended)
        except Refusal as refusal:
            handler = _refusing(refusal)
        if not ended and expects(fields) and self._machine.is_open(event.stream_id):
            self._machine.send_headers(event.stream_id, [(":status", "100")])
        self._begin(event.stream_id, message, handler, ended)
        return _PER_REQUEST

    def _begin(self, stream_id: int, message: RawRequestMessage, handler: Handler, ended: bool) -> None:
        """Serve a request, unless what came after it has ended it already."""
        if not self._machine.is_open(stream_id):
            return
        if self._retiring or len(self._tasks) >= _SERVED:
            # Nothing was done, so a client may repeat it anywhere.
            self._machine.reset_stream(stream_id, ErrorCodes.REFUSED_STREAM)
            return
        stream = Stream(self, stream_id, self._limits, self._loop, self._log)
        if not ended:
            length = message.headers.get("content-length")
            stream.expect_body(None if length is None else int(length))
        self._streams[stream_id] = stream
        self._server.requests_count += 1
        writer = Writer(stream, self, bodiless=message.method == "HEAD")
        request = self._server.request_factory(message, stream.content, cast(Any, stream), writer, cast(Any, None))
        stream.task = task = self._loop.create_task(stream.serve(handler, request))
        self._tasks.add(task)
        task.add_done_callback(self._served)

    def _data(self, event: DataReceived) -> int:
        stream = self._streams.get(event.stream_id)
        size = event.flow_controlled_length or 0
        if stream is None:
            self._machine.acknowledge_received_data(size, event.stream_id)
        else:
            stream.receive_data(event.data or b"", size)
        return int(len(event.data or b"") >= _SOMETHING or event.stream_ended is not None)

    def _reset_by_client(self, stream_id: int) -> None:
        """Tell a handler that its caller has gone. What a client makes us reset counts as well."""
        stream = self._streams.get(stream_id)
        if not self._resets.take(1, self._loop.time()):
            raise DenialOfServiceError
        if stream is not None:
            self._release(stream)
            stream.leave()

    # What streams ask for

    def send_head(self, stream: Stream, head: list[tuple[str, str]], *, end: bool) -> None:
        """Frame a head; it leaves with what follows it, or by ``flush``."""
        self._machine.send_headers(stream.id, head, end_stream=end)
        if end:
            self._ended(stream)

    def credit(self, stream: Stream, size: int) -> None:
        """Let the caller send so many bytes more of a body."""
        self._machine.acknowledge_received_data(size, stream.id)

    def reset(self, stream: Stream, error: ErrorCodes) -> None:
        """End a stream at once."""
        if stream.id in self._streams:
            self._machine.reset_stream(stream.id, error)
            self._release(stream)
        stream.end()
        self.outflow.flush()

    # How streams end

    def _ended(self, stream: Stream) -> None:
        """See to what follows a whole answer."""
        stream.end()
        if not stream.request_ended:
            self._cut_short = True
            self._machine.reset_stream(stream.id, ErrorCodes.NO_ERROR)
        self._release(stream)

    def _release(self, stream: Stream) -> None:
        """Forget a stream that is over, or about to be."""
        del self._streams[stream.id]
        self.outflow.forget(stream)
        stream.settle()
        if not self._streams:
            self._quiet_since = self._loop.time()
            self._patience = self._limits.idle_seconds
            if self._no_more:
                self._loop.call_soon(self._end_if_done)

    def _served(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._forget_if_over()

    def _leave_all(self) -> None:
        streams = list(self._streams.values())
        self._streams.clear()
        for stream in streams:
            self.outflow.forget(stream)
            stream.leave()

    # How the connection ends

    def _look(self) -> None:
        """End a connection without a request."""
        now = self._loop.time()
        due = now + self._limits.idle_seconds if self._streams else self._quiet_since + self._patience
        if now < due:
            self._watch = self._loop.call_at(due, self._look)
        else:
            self.retire()

    def _watch_head(self) -> None:
        """Give a head its time."""
        if not self._machine.mid_head:
            if self._head_watch is not None:
                self._head_watch.cancel()
                self._head_watch = None
        elif self._head_watch is None:
            self._head_watch = self._loop.call_later(
                self._limits.head_seconds, self._end_badly, ErrorCodes.ENHANCE_YOUR_CALM
            )

    def _end_if_done(self) -> None:
        """End the connection if no request is under way and none may come."""
        transport = self.transport
        if not self._no_more or self._streams or transport is None or transport.is_closing() or self._deaf:
            return
        self.outflow.flush()
        if self._cut_short:
            # The client closes when it has seen this; TLS has no other way to say it while what still comes is read.
            self.outflow.write(self._machine.goaway())
            self._linger()
        else:
            transport.close()
            see_off(self._loop, transport, self._limits.write_seconds)

    def _forget_if_over(self) -> None:
        """Tell the listener once the connection is lost and nobody is served any more."""
        if self.transport is None and not self._tasks:
            self._forget(self)
            # Parts that know the whole would wait for the collector of cycles, which seldom comes.
            self._machine.close()
            del self._machine, self._intake, self.outflow

    def _end_badly(self, error: ErrorCodes) -> None:
        """Say what was wrong, and end the connection."""
        if self._deaf:
            return
        self._complain(
            f"http2 {error.name}", f"A client's HTTP/2 connection was ended: {_REASONS.get(error, 'a protocol error')}"
        )
        self._machine.clear_outbound_data_buffer()
        self.outflow.write(self._machine.goaway(error))
        self._deaf = True
        self._leave_all()
        self._linger()

    def _linger(self) -> None:
        """Read and drop what a client still sends: to close at once would be a reset, which loses what was sent."""
        transport = self.transport
        if transport is None or self._closing is not None:
            return
        self._deaf = True
        self.outflow.transport = None
        if transport.can_write_eof():
            transport.write_eof()
        self._intake.drop()
        self._closing = self._loop.call_later(self._limits.linger_seconds, transport.abort)


#: What the log says of the ends that are no plain violation of the protocol.
_REASONS = {
    ErrorCodes.INTERNAL_ERROR: "the gateway failed",
    ErrorCodes.ENHANCE_YOUR_CALM: "too many resets or empty frames, headers that are too large, or a head that took "
    "too long",
}


def _refusing(refusal: Refusal) -> Handler:
    async def refuse(request: web.BaseRequest) -> web.StreamResponse:
        raise refusal

    return refuse
