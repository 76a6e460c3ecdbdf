"""Raw clients for the listener's tests: bytes out, bytes in, on loopback, under both event loops."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import logging
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import attrs
import pytest
import uvloop
from aiohttp import web

from bedrock_gateway.downstream.limits import Limits
from bedrock_gateway.downstream.listener import Listener, make_server
from bedrock_gateway.downstream.sockets import bind

#: Seconds after which a test counts as hung.
PATIENCE = 5.0

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def both_loops(test: Callable[..., Any]) -> Callable[..., Any]:
    """Run an async test once on asyncio's loop and once on uvloop's."""

    @functools.wraps(test)
    def run(loop_factory: Callable[[], asyncio.AbstractEventLoop], **fixtures: Any) -> None:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(test(**fixtures))

    signature = inspect.signature(test)
    factory = inspect.Parameter("loop_factory", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    run.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[factory, *signature.parameters.values()], return_annotation=None
    )
    del run.__wrapped__  # type: ignore[attr-defined]
    loops = [asyncio.new_event_loop, uvloop.new_event_loop]
    return pytest.mark.parametrize("loop_factory", loops, ids=["asyncio", "uvloop"])(run)


@attrs.define(eq=False)
class Client:
    """One connection to the listener under test."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, *parts: bytes) -> None:
        """Send bytes."""
        self.writer.write(b"".join(parts))

    async def sent(self) -> None:
        """Wait until the bytes have left this side."""
        async with asyncio.timeout(PATIENCE):
            await self.writer.drain()

    async def until(self, mark: bytes) -> bytes:
        """Return what comes up to and with ``mark``."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readuntil(mark)

    async def exactly(self, size: int) -> bytes:
        """Return the next ``size`` bytes."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readexactly(size)

    async def rest(self) -> bytes:
        """Return what comes until the end of the connection."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers (lower case) and body of one whole answer with a Content-Length."""
        head = (await self.until(b"\r\n\r\n")).decode()
        first, *lines = head.rstrip("\r\n").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        return int(first.split(" ")[1]), headers, await self.exactly(int(headers["content-length"]))

    async def silent(self, seconds: float) -> None:
        """Check that nothing comes for a while and the connection stays open."""
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.reader.readexactly(1)

    def half_close(self) -> None:
        """Say that nothing more comes (FIN)."""
        self.writer.write_eof()

    def reset(self) -> None:
        """Leave without a word (RST)."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@attrs.define(eq=False)
class Served:
    """A listener under test."""

    listener: Listener
    port: int
    _clients: contextlib.AsyncExitStack

    async def connect(self, *, window: int | None = None) -> Client:
        """Return a new connection; ``window`` makes its receive buffer small and its reading lazy."""
        sock = socket.socket()
        if window is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        sock.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        except OSError:
            sock.close()
            raise
        reader, writer = await asyncio.open_connection(sock=sock, limit=window or 2**20)
        self._clients.callback(writer.close)
        return Client(reader, writer)

    async def exchange(self, *parts: bytes) -> bytes:
        """Send bytes on a new connection and return everything that comes back."""
        client = await self.connect()
        client.send(*parts)
        return await client.rest()


@contextlib.asynccontextmanager
async def served(
    handler: Handler, limits: Limits | None = None, *, log: logging.Logger | None = None
) -> AsyncIterator[Served]:
    """Serve ``handler`` on a free port of 127.0.0.1."""
    more = {} if log is None else {"log": log}
    listener = Listener(make_server(handler), limits=limits, **more)
    sockets = bind("127.0.0.1", 0)
    port = sockets[0].getsockname()[1]
    await listener.start(sockets)
    async with contextlib.AsyncExitStack() as clients:
        try:
            yield Served(listener, port, clients)
        finally:
            await clients.aclose()
            await listener.close(PATIENCE)
            assert listener.connections == 0


def get(path: str = "/", *headers: str, version: str = "1.1", method: str = "GET") -> bytes:
    """Return the bytes of a request without a body."""
    lines = [f"{method} {path} HTTP/{version}", "Host: 127.0.0.1", *headers, "", ""]
    return "\r\n".join(lines).encode()


def post(body: bytes, *headers: str, length: int | None = None) -> bytes:
    """Return the bytes of a request with a body; ``length`` announces another length than it has."""
    announced = len(body) if length is None else length
    return get("/", f"Content-Length: {announced}", *headers, method="POST") + body
