"""The state machine of an HTTP/2 connection: the library ``h2``, which knows the protocol, with a few differences.

A GOAWAY of the client ends nothing that is under way (the AWS SDK for JavaScript sends one right after an answer's
head; h2 would end the connection). A malformed request is a matter of its stream, not of the connection. Headers of
answers are not compressed. Frames and heads that are too large are refused before they are there. Frames are
counted. And whether a head has begun and not ended can be asked. The differences are overrides of undocumented
methods, which is why the dependency is pinned to 4.4. Does no I/O.

Source: h2 4.4.1 ``connection`` and ``frame_buffer``; RFC 9113 sections 6.5.2 (SETTINGS), 6.8 (GOAWAY), 8.1.1
(malformed messages).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, Event
from h2.exceptions import (
    DenialOfServiceError,
    FrameTooLargeError,
    InvalidBodyLengthError,
    ProtocolError,
    StreamClosedError,
    StreamIDTooLowError,
    TooManyStreamsError,
)
from h2.settings import SettingCodes, Settings
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, HeadersFrame

from bedrock_gateway.downstream.limits import Limits

if TYPE_CHECKING:
    from h2._typing import Buffer

__all__ = ["STREAMS", "MalformedRequest", "WrongLength", "machine"]

#: Requests that may be under way on one connection.
STREAMS = 100
#: Bytes of one body, and of all bodies of a connection together, that may be on their way before anybody reads them.
STREAM_WINDOW = 1024 * 1024
CONNECTION_WINDOW = 2 * STREAM_WINDOW
#: Header lists larger than so many times the limit end the connection; those between are refused with an answer.
_MUCH_TOO_LARGE = 2
#: What HTTP/2 adds to each header when it counts them.
_PER_HEADER = 32
_CONFIG = H2Configuration(
    client_side=False,
    header_encoding=None,
    validate_inbound_headers=False,  # http2_requests does, so that the answer has our shape
    normalize_inbound_headers=False,
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
)
_OF_THE_CONNECTION = (DenialOfServiceError, StreamClosedError, StreamIDTooLowError, TooManyStreamsError)


# Its DEBUG records quote every header.
logging.getLogger("hpack").setLevel(logging.WARNING)


class MalformedRequest(Event):
    """The head of a new request is malformed. ``ended``: it has no body."""

    def __init__(self, stream_id: int, *, ended: bool) -> None:
        self.stream_id = stream_id
        self.ended = ended


class WrongLength(Event):
    """A body is not as long as its Content-Length says."""

    def __init__(self, stream_id: int) -> None:
        self.stream_id = stream_id


class PlainEncoder:
    """Writes header lists as they are: every field a literal, nothing compressed, nothing remembered.

    Most of our headers differ in every answer, so that hpack's own encoder costs 40 µs to save little, and remembers as
    much as a client likes. (RFC 7541 sections 4.2, 5.1, 5.2, 6.2.2, 6.3)
    """

    def __init__(self) -> None:
        self.header_table_size = 0  # set by h2, to what the client would remember
        self._begun = False

    def encode(self, headers: Iterable[tuple[bytes, bytes]], huffman: bool = False) -> bytes:
        """Return a header block."""
        # The first one says that nothing has to be remembered.
        parts = [b"" if self._begun else b"\x20"]
        self._begun = True
        for name, value in headers:
            parts += (b"\x00", _length(name), name, _length(value), value)
        return b"".join(parts)


def _length(text: bytes) -> bytes:
    """Return a length as an integer with a prefix of 7 bits."""
    size = len(text)
    if size < 0x7F:
        return size.to_bytes(1, "big")
    size -= 0x7F
    parts = bytearray(b"\x7f")
    while size >= 0x80:
        parts.append(size & 0x7F | 0x80)
        size >>= 7
    parts.append(size)
    return bytes(parts)


class Machine(H2Connection):
    """Bytes in, events and bytes out.

    Attributes:
        frames: frames received so far.
    """

    #: Ended streams it remembers, to tell a late frame from a wrong one.
    MAX_CLOSED_STREAMS = 1024

    def __init__(self, limits: Limits) -> None:
        super().__init__(_CONFIG)
        self.frames = 0
        largest = limits.head + _PER_HEADER * limits.headers
        self.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: STREAMS,
                SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
                SettingCodes.MAX_HEADER_LIST_SIZE: largest,
            },
        )
        self.encoder = cast(Any, PlainEncoder())
        self.decoder.max_header_list_size = _MUCH_TOO_LARGE * largest

    def close(self) -> None:
        """Let go of itself; nothing may be asked of it any more."""
        self._frame_dispatch_table.clear()

    @property
    def mid_head(self) -> bool:
        """Tell whether a head has begun and not ended."""
        buffer = self.incoming_buffer
        return bool(buffer._headers_buffer) or (len(buffer._data) > 3 and buffer._data[3] in _HEADS)

    @property
    def unsent(self) -> int:
        """Bytes framed and not yet taken by ``data_to_send``."""
        return len(self._data_to_send)

    def is_open(self, stream_id: int) -> bool:
        """Tell whether a stream has neither ended nor been reset by anything received so far."""
        stream = self.streams.get(stream_id)
        return stream is not None and not stream.closed

    def receive_data(self, data: Buffer) -> list[Event]:
        """Take bytes in.

        A frame that is too large is refused by its head, of which h2 would collect 16 MiB first; and a head of frames
        that are too many by what has come of it, where h2 would unpack a megabyte (0.4 s) before it looks.
        """
        events = super().receive_data(data)
        buffer = self.incoming_buffer
        if len(buffer._data) >= 3 and int.from_bytes(buffer._data[:3], "big") > self.max_inbound_frame_size:
            raise FrameTooLargeError
        if buffer._headers_buffer:
            size = sum(len(frame.data) for frame in buffer._headers_buffer)
            if size > self.decoder.max_header_list_size:
                raise DenialOfServiceError
        return events

    def goaway(self, error: ErrorCodes = ErrorCodes.NO_ERROR) -> bytes:
        """Return a GOAWAY frame. Unlike ``close_connection`` it ends nothing that is under way."""
        last = self.highest_inbound_stream_id
        return GoAwayFrame(0, last_stream_id=last, error_code=error).serialize()

    def _receive_frame(self, frame: Frame) -> list[Event]:
        self.frames += 1
        return super()._receive_frame(frame)

    def _receive_headers_frame(self, frame: HeadersFrame) -> tuple[list[Frame], list[Event]]:
        new = frame.stream_id not in self.streams
        try:
            return super()._receive_headers_frame(frame)
        except _OF_THE_CONNECTION:
            raise
        except ProtocolError:
            if not new or frame.stream_id not in self.streams:
                # Trailers, or bytes that cannot be decoded: the compression of all that follows hangs on them.
                raise
            return [], [MalformedRequest(frame.stream_id, ended="END_STREAM" in frame.flags)]

    def _receive_data_frame(self, frame: DataFrame) -> tuple[list[Frame], list[Event]]:
        try:
            return super()._receive_data_frame(frame)
        except InvalidBodyLengthError:
            self.acknowledge_received_data(frame.flow_controlled_length, frame.stream_id)
            return [], [WrongLength(frame.stream_id)]

    def _receive_goaway_frame(self, frame: GoAwayFrame) -> tuple[list[Frame], list[Event]]:
        return [], [ConnectionTerminated()]


#: Frame types of which a head is made: HEADERS, CONTINUATION.
_HEADS = (0x1, 0x9)


def machine(limits: Limits) -> Machine:
    """Return the machine of a new connection; its first bytes to send are waiting in it."""
    made = Machine(limits)
    made.initiate_connection()
    made.increment_flow_control_window(CONNECTION_WINDOW - made.inbound_flow_control_window)
    return made
