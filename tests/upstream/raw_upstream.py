"""A raw upstream for tests: bytes in, bytes out, on loopback, as a script says; and what must hold after each call."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import attrs
from yarl import URL

from bedrock_gateway.upstream.session import Upstream, UpstreamFault, UpstreamRequest

#: Seconds after which a test counts as hung.
PATIENCE = 10.0

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
#: Bodies below and above what goes out in one write.
SMALL, LARGE = b"{}", bytes(range(256)) * 2048


@attrs.define(eq=False)
class Wire:
    """One connection, seen from upstream."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    upstream: RawUpstream

    async def request(self) -> tuple[bytes, bytes]:
        """Return head and body of the next request."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: *(\d+)", head, re.IGNORECASE)
        return head, await self.reader.readexactly(int(length[1]) if length else 0)

    async def say(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)
        await self.writer.drain()

    def end(self) -> None:
        """Close properly (FIN)."""
        self.writer.close()

    def reset(self) -> None:
        """Close with a reset."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def gone(self) -> None:
        """Return when the other side has closed."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65_536):
                pass


Script = Callable[[Wire], Awaitable[None]]


@attrs.define(eq=False)
class RawUpstream:
    """A listening upstream and what came to it."""

    port: int
    scheme: str = "http"
    wires: list[Wire] = attrs.field(factory=list)
    requests: list[tuple[bytes, bytes]] = attrs.field(factory=list)

    def ask(self, body: bytes = SMALL, method: str = "POST", **more: object) -> UpstreamRequest:
        """Return a request to it."""
        host = f"127.0.0.1:{self.port}"
        target = "/model/a%3A0/converse?x=%2F"
        url = URL(f"{self.scheme}://{host}{target}", encoded=True)
        headers = {"host": host, "user-agent": "test", "content-type": "application/json"}
        return UpstreamRequest(method, url, target, headers, body, **more)  # type: ignore[arg-type]


def always(answer: bytes, then: str = "keep") -> Script:
    """Return a script that gives every request one answer, then keeps, ends or resets the connection."""

    async def script(wire: Wire) -> None:
        while True:
            await wire.request()
            await wire.say(answer)
            if then == "end":
                return wire.end()
            if then == "reset":
                return wire.reset()

    return script


@contextlib.asynccontextmanager
async def listening(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[RawUpstream]:
    """Serve a script on loopback; what goes wrong in it fails the test, but for connections that end."""
    tasks: list[asyncio.Task[None]] = []
    here = RawUpstream(0, "http" if tls is None else "https")

    async def run(wire: Wire) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            await script(wire)

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(reader, writer, here)
        here.wires.append(wire)
        tasks.append(asyncio.get_running_loop().create_task(run(wire), name="raw upstream"))

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    here.port = server.sockets[0].getsockname()[1]
    try:
        async with asyncio.timeout(PATIENCE):
            yield here
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        for wire in here.wires:
            wire.writer.transport.abort()
        await turns(3)
    assert [] == [end for end in ends if isinstance(end, Exception)]


@contextlib.asynccontextmanager
async def pool(idle_timeout: float = 60.0) -> AsyncIterator[Upstream]:
    """Open what is tested; afterwards nothing of it may be left."""
    upstream = Upstream.open(user_agent="test", idle_timeout=idle_timeout)
    gc.freeze()  # what was there before need not be looked at
    try:
        yield upstream
        nothing_left(upstream)
    finally:
        await upstream.close()
        await turns(3)
    names = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert [] == [name for name in names if name != "raw upstream"]
    gc.collect()  # what was not closed warns now
    gc.unfreeze()


def nothing_left(upstream: Upstream) -> None:
    """Hold that no call of a pool is under way."""
    assert ({}, set(), set()) == (upstream._heads, upstream._answers, upstream._connector._acquired)


def idle(upstream: Upstream) -> int:
    """Return how many idle connections a pool would still use."""
    return sum(
        protocol.is_connected() for connections in upstream._connector._conns.values() for protocol, _ in connections
    )


def unread(upstream: Upstream) -> int:
    """Return how many answers came over idle connections."""
    return sum(len(protocol) for connections in upstream._connector._conns.values() for protocol, _ in connections)


async def exchanged(upstream: Upstream, request: UpstreamRequest) -> tuple[int, bytes]:
    """Return status and whole body of one call."""
    answer = await upstream.send(request)
    try:
        parts = []
        while data := await upstream.read(answer):
            parts.append(data)
        return answer.status, b"".join(parts)
    finally:
        upstream.give_up(answer)


async def failed(upstream: Upstream, request: UpstreamRequest) -> UpstreamFault:
    """Return the fault of one call that has to fail."""
    try:
        found = await exchanged(upstream, request)
    except UpstreamFault as fault:
        return fault
    raise AssertionError(f"no fault, but {found}")


async def turns(count: int) -> None:
    """Let the loop turn."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 (what is waited for is inside aiohttp and tells nobody)
            await asyncio.sleep(0)


async def looks(upstream: Upstream, count: int) -> None:
    """Return when a pool has looked ``count`` times for who waits for too long; eight are an idle time."""
    for _ in range(count):
        timer = upstream._timer
        await until(lambda timer=timer: upstream._timer is not timer)  # type: ignore[misc]


@contextlib.contextmanager
def black_hole() -> Iterator[RawUpstream]:
    """Yield an upstream whose queue is full: connections to it are neither made nor refused."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield RawUpstream(listener.getsockname()[1])
