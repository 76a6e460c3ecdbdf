"""What leaves an HTTP/2 connection: the frames of its streams, in turns, as far as windows and the socket take them.

Source: RFC 9113 section 5.2 (flow control).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from bedrock_gateway.downstream.connection import untaken
from bedrock_gateway.downstream.http2_machine import Machine

if TYPE_CHECKING:
    from bedrock_gateway.downstream.http2_stream import Stream

__all__ = ["Outflow"]

#: Bytes framed before they are written.
_WRITE = 64 * 1024


class Outflow:
    """The way out.

    Args:
        machine: frames; what it has to send leaves here.
        ended: called when the last frame of a stream has been framed.

    Attributes:
        transport: None before the connection is made, and once it is lost or nothing may be sent any more.
        full: the socket takes no more for now.
        frames: DATA frames sent so far.
    """

    __slots__ = ("_ended", "_machine", "_waiting", "_written", "frames", "full", "transport")

    def __init__(self, machine: Machine, ended: Callable[[Stream], None]) -> None:
        self._machine = machine
        self._ended = ended
        # Streams with something that waits for a window or for the socket, longest waiting first.
        self._waiting: dict[Stream, None] = {}
        self._written = 0
        self.transport: asyncio.Transport | None = None
        self.full = False
        self.frames = 0

    def write(self, data: bytes) -> None:
        """Send bytes behind all that was sent before."""
        if self.transport is not None and not self.transport.is_closing():
            self._written += len(data)
            self.transport.write(data)

    def flush(self) -> None:
        """Send what is framed."""
        data = self._machine.data_to_send()
        if data:
            self.write(data)

    def push(self, stream: Stream) -> None:
        """Send what waits in a stream, as far as may be; the rest has its turn later."""
        self._waiting[stream] = None
        while not self.full and self._frame(stream):
            if self._machine.unsent >= _WRITE:
                self.flush()
        self.flush()

    def push_all(self) -> None:
        """Send what waits in all streams, a frame of each in turn."""
        more = True
        while more and self._waiting and not self.full:
            more = False
            for stream in list(self._waiting):
                more |= self._frame(stream)
            if self._machine.unsent >= _WRITE:
                self.flush()
        self.flush()

    def forget(self, stream: Stream) -> None:
        """Send nothing more of a stream."""
        self._waiting.pop(stream, None)

    def taken(self, mark: int) -> int:
        """Return how much of the first ``mark`` bytes written to the connection the other side has acknowledged."""
        return mark if self.transport is None else min(mark, self._written - untaken(self.transport))

    def _frame(self, stream: Stream) -> bool:
        """Put one frame of a stream among what is to be sent; tell whether more may follow."""
        machine, pending = self._machine, stream.pending
        size = len(pending)
        if size:
            window = min(machine.local_flow_control_window(stream.id), machine.max_outbound_frame_size)
            if window <= 0:
                return False
            data = bytes(memoryview(pending)[:window])
            del pending[: len(data)]
            size -= len(data)
            machine.send_data(stream.id, data, end_stream=stream.ending and not size)
            self.frames += 1
            stream.moved(len(data), self._written + machine.unsent)
        elif stream.ending:
            machine.end_stream(stream.id)
        if size:
            return True
        del self._waiting[stream]
        if stream.ending:
            self._ended(stream)
        return False
