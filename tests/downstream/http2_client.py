"""A raw HTTP/2 client for the listener's tests: the library ``h2`` on the other side, and every frame under control."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import attrs
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    InformationalResponseReceived,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from hyperframe.frame import GoAwayFrame
from raw_connections import PATIENCE, Client, Served

CONFIG = H2Configuration(
    client_side=True,
    header_encoding="utf-8",
    validate_outbound_headers=False,
    normalize_outbound_headers=False,
)


class Machine(H2Connection):
    """A client's h2 that goes on after a GOAWAY, as clients do until their streams end."""

    def _receive_goaway_frame(self, frame: Any) -> Any:
        told = ConnectionTerminated()
        told.error_code = frame.error_code
        told.last_stream_id = frame.last_stream_id
        return [], [told]


@attrs.define
class Answer:
    """What came on one stream."""

    status: int = 0
    headers: dict[str, str] = attrs.Factory(dict)
    body: bytes = b""
    informational: list[int] = attrs.Factory(list)
    ended: bool = False
    reset: int | None = None

    @property
    def over(self) -> bool:
        """Tell whether nothing follows."""
        return self.ended or self.reset is not None


@attrs.define(eq=False)
class Http2Client:
    """One HTTP/2 connection to the listener under test.

    Attributes:
        generous: give window back for what arrives.
        goaway: error code and last stream of the GOAWAY that came; settings: the server's.
    """

    raw: Client
    h2: Machine = attrs.Factory(lambda: Machine(CONFIG))
    generous: bool = True
    answers: dict[int, Answer] = attrs.Factory(dict)
    goaway: tuple[int, int] | None = None
    settings: bool = False
    closed: bool = False

    def flush(self) -> None:
        """Send what is framed."""
        self.raw.send(self.h2.data_to_send())

    def h2_goaway(self) -> bytes:
        """Return a GOAWAY; unlike h2's own it ends nothing."""
        return GoAwayFrame(0, last_stream_id=0, error_code=0).serialize()

    def open(self, *extra: tuple[str, str], end: bool = True, **pseudo: str) -> int:
        """Send the head of a request; return its stream."""
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, [*fields(**pseudo), *extra], end_stream=end)
        self.answers[stream] = Answer()
        self.flush()
        return stream

    def data(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """Send a frame of a body."""
        self.h2.send_data(stream, data, end_stream=end)
        self.flush()

    async def upload(self, stream: int, body: bytes) -> None:
        """Send a body as the server gives window for it, to its end, or to the end of the stream."""
        sent = 0
        while sent < len(body) and not self.answers[stream].over:
            window = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
            if window <= 0:
                await self.pump()
                continue
            piece = body[sent : sent + window]
            sent += len(piece)
            self.data(stream, piece, end=sent == len(body))
            await self.raw.sent()

    async def pump(self) -> None:
        """Take in what comes next."""
        async with asyncio.timeout(PATIENCE):
            data = await self.raw.reader.read(2**20)
        if not data:
            self.closed = True
            return
        for event in self.h2.receive_data(data):
            self._happened(event)
        self.flush()

    async def until(self, condition: Callable[[], object]) -> None:
        """Take in what comes until a condition holds."""
        while not condition():
            assert not self.closed, "the connection has ended"
            await self.pump()

    async def answer(self, stream: int) -> Answer:
        """Return what came on a stream, once it is over."""
        await self.until(lambda: self.answers[stream].over)
        return self.answers[stream]

    async def end(self) -> tuple[int, int] | None:
        """Take in what comes until the end of the connection; return its GOAWAY."""
        while not self.closed:
            await self.pump()
        return self.goaway

    def _happened(self, event: Any) -> None:
        answer = self.answers.get(getattr(event, "stream_id", None) or 0, Answer())
        if isinstance(event, ResponseReceived):
            answer.headers = dict(event.headers)
            answer.status = int(answer.headers.pop(":status"))
        elif isinstance(event, InformationalResponseReceived):
            answer.informational.append(int(dict(event.headers)[":status"]))
        elif isinstance(event, DataReceived):
            answer.body += event.data
            if self.generous:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamEnded):
            answer.ended = True
        elif isinstance(event, StreamReset):
            answer.reset = event.error_code
        elif isinstance(event, RemoteSettingsChanged):
            self.settings = True
        elif isinstance(event, ConnectionTerminated):
            self.goaway = (int(event.error_code), event.last_stream_id)


def fields(
    method: str = "GET", path: str = "/", authority: str = "127.0.0.1", scheme: str = "http"
) -> list[tuple[str, str]]:
    """Return the pseudo-header fields of a request."""
    return [(":method", method), (":scheme", scheme), (":authority", authority), (":path", path)]


async def http2(server: Served, *, generous: bool = True, window: int | None = None) -> Http2Client:
    """Return a new HTTP/2 connection whose settings have been exchanged; ``window``: the client's, for each stream."""
    client = Http2Client(await server.connect(), generous=generous)
    if window is not None:
        client.h2.update_settings({4: window})
        client.h2.clear_outbound_data_buffer()
        client.h2.local_settings.acknowledge()
    return await begun(client)


@contextlib.asynccontextmanager
async def connected(port: int, *, generous: bool = True) -> AsyncIterator[Http2Client]:
    """Open a connection to what serves a port of 127.0.0.1, and close it at the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield await begun(Http2Client(Client(reader, writer), generous=generous))
    finally:
        writer.close()


async def begun(client: Http2Client) -> Http2Client:
    """Exchange settings."""
    client.h2.initiate_connection()
    client.flush()
    await client.until(lambda: client.settings)
    return client
