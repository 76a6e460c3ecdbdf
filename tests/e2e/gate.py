"""A gate between the gateway and its upstream that holds answers back at a chosen byte, and callers over raw sockets.

With both a test decides what happens first, instead of hoping for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator

import attrs

__all__ = ["Gate", "RawCaller", "calling", "gated"]

BODY = json.dumps({"messages": [{"role": "user", "content": [{"text": "What is a gateway good for?"}]}]}).encode()


@attrs.define(eq=False)
class Gate:
    """Hands bytes on in both directions.

    Attributes:
        url: of the gate; port: of what is behind it, to be set before the first request.
        passing: bytes of each connection's answers that pass while the gate is shut; None for all.
        open: set while everything passes.
        held: connections whose answers wait right now.
        ended: connections that the side of the gateway has ended.
    """

    url: str = ""
    port: int = 0
    passing: int | None = None
    open: asyncio.Event = attrs.field(factory=asyncio.Event)
    held: int = 0
    ended: int = 0

    async def hand_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection of the gateway."""
        behind, answering = await asyncio.open_connection("127.0.0.1", self.port)
        left = self.passing

        async def answers() -> None:
            nonlocal left
            with contextlib.suppress(ConnectionError):
                while data := await behind.read(65_536):
                    if left is not None and len(data) > left and not self.open.is_set():
                        writer.write(data[:left])
                        data = data[left:]
                        self.held += 1
                        try:
                            await self.open.wait()
                        finally:
                            self.held -= 1
                    elif left is not None:
                        left -= min(left, len(data))
                    writer.write(data)
                    await writer.drain()
            writer.close()

        back = asyncio.create_task(answers())
        try:
            with contextlib.suppress(ConnectionError):
                while data := await reader.read(65_536):
                    left = self.passing
                    answering.write(data)
            self.ended += 1
        finally:
            back.cancel()
            await asyncio.gather(back, return_exceptions=True)
            for one in (writer, answering):
                one.transport.abort()


@contextlib.asynccontextmanager
async def gated() -> AsyncIterator[Gate]:
    """Open a gate that lets everything pass until ``passing`` is set."""
    gate = Gate()
    serving: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(gate.hand_on(reader, writer))
        serving.add(task)
        task.add_done_callback(serving.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    gate.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield gate
    finally:
        server.close()
        tasks = list(serving)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@attrs.define(eq=False)
class RawCaller:
    """One connection to the gateway, with a request sent over it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def leave(self, *, reset: bool = False) -> None:
        """End the connection, by a FIN or by a RST."""
        if reset:
            peer = self.writer.get_extra_info("socket")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort() if reset else self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

    async def rest(self) -> bytes:
        """Read what comes until the connection ends."""
        with contextlib.suppress(ConnectionError):
            return await self.reader.read()
        return b""


async def calling(
    port: int,
    action: str,
    *,
    model: str = "single",
    body: bytes = BODY,
    length: int | None = None,
    buffer: int | None = None,
    key: str | None = None,
) -> RawCaller:
    """Connect and send a request.

    Args:
        action: last part of the path, such as ``converse``.
        key: the virtual key, where the gateway asks for one.
        length: announced instead of the body's own.
        buffer: bytes the caller's kernel takes in while nobody reads; None for the usual many.
    """
    peer = socket.socket()
    if buffer is not None:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    peer.setblocking(False)
    await asyncio.get_running_loop().sock_connect(peer, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=peer, limit=1 if buffer is not None else 65_536)
    head = (
        f"POST /bedrock/model/{model}/{action} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body) if length is None else length}\r\n"
        f"{'' if key is None else f'Authorization: Bearer {key}' + chr(13) + chr(10)}Connection: close\r\n\r\n"
    )
    writer.write(head.encode() + body)
    await writer.drain()
    return RawCaller(reader, writer)
