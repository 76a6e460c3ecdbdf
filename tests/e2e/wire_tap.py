"""What goes over the wire between a client and the gateway, byte for byte: a tap that copies, and its reading."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import io
from collections.abc import AsyncIterator
from http.client import HTTPMessage

import attrs

__all__ = ["Exchange", "Tap", "tapped"]


@attrs.frozen(kw_only=True)
class Exchange:
    """One request and its answer as they were on the wire; bodies without their transfer encoding."""

    method: str
    target: str
    headers: HTTPMessage
    body: bytes
    status: int
    answer_headers: HTTPMessage
    answer_body: bytes


@attrs.define(eq=False)
class Tap:
    """Hands bytes on in both directions and keeps them.

    Attributes:
        url: of the tap, to be used in place of the gateway's.
    """

    url: str
    _copies: list[tuple[bytearray, bytearray]] = attrs.field(factory=list)

    def exchanges(self) -> list[Exchange]:
        """Return every exchange that has ended, in order of the connections."""
        return [exchange for up, down in self._copies for exchange in _exchanges(up, down)]


@contextlib.asynccontextmanager
async def tapped(port: int) -> AsyncIterator[Tap]:
    """Listen in front of what listens on ``port`` of 127.0.0.1."""
    copies: list[tuple[bytearray, bytearray]] = []
    open_ends: set[asyncio.StreamWriter] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up, down = bytearray(), bytearray()
        copies.append((up, down))
        other_reader, other_writer = await asyncio.open_connection("127.0.0.1", port)
        open_ends.update((writer, other_writer))
        await asyncio.gather(_copy(reader, other_writer, up), _copy(other_reader, writer, down))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield Tap(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", copies)
    finally:
        server.close()
        for writer in open_ends:
            writer.close()
        for writer in open_ends:
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, kept: bytearray) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            # Kept before it is handed on: what a client has seen can be looked up.
            kept += data
            writer.write(data)
            await writer.drain()
    writer.close()


def _exchanges(up: bytearray, down: bytearray) -> list[Exchange]:
    asked, answered = io.BytesIO(bytes(up)), io.BytesIO(bytes(down))
    found = []
    while first := asked.readline().decode("latin-1"):
        method, target, _ = first.split(" ")
        headers, body = _rest(asked)
        status = 100
        while status < 200:
            status = int(answered.readline().split(b" ")[1])
            answer_headers, answer_body = _rest(answered)
        found.append(
            Exchange(
                method=method,
                target=target,
                headers=headers,
                body=body,
                status=status,
                answer_headers=answer_headers,
                answer_body=answer_body,
            )
        )
    return found


def _rest(stream: io.BytesIO) -> tuple[HTTPMessage, bytes]:
    """Read headers and body of a request or an answer."""
    headers = http.client.parse_headers(stream)
    if headers.get("Transfer-Encoding") == "chunked":
        body = bytearray()
        while size := int(stream.readline(), 16):
            chunk = stream.read(size)
            assert size == len(chunk)
            assert b"\r\n" == stream.read(2)
            body += chunk
        assert b"\r\n" == stream.readline()
        return headers, bytes(body)
    length = int(headers.get("Content-Length", "0"))
    body = bytearray(stream.read(length))
    assert length == len(body)
    return headers, bytes(body)
