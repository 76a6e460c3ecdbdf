"""The benchmark's own instruments: the load sees every fault, the upstream is sound, bars are judged right."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import load
import pytest
import stall
import upstream
from botocore.eventstream import EventStreamBuffer
from exchange import Answers, Target
from machine import cpu_of
from report import Figure

WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(upstream.CONVERSE_ANSWER) + upstream.CONVERSE_ANSWER
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n"


def test_the_cpu_of_another_process() -> None:
    """What a process that does nothing has used, all its threads, is read to the nanosecond and does not shrink."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        first = cpu_of(process.pid)
        second = cpu_of(process.pid)
        process.communicate(b"\n")

    assert 0 <= first <= second < 60


@asynccontextmanager
async def listening(protocol: Callable[[], asyncio.BaseProtocol]) -> AsyncIterator[Target]:
    """Serve a protocol on a free loopback port."""
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    async with server:
        yield Target(server.sockets[0].getsockname()[1])


@asynccontextmanager
async def upstream_listening() -> AsyncIterator[Target]:
    """Serve the benchmark's upstream."""
    server = await upstream.serve(0)
    async with server:
        yield Target(server.sockets[0].getsockname()[1])


class Scripted(asyncio.Protocol):
    """Answers every request with the same bytes, then closes if told to."""

    def __init__(self, answer: bytes, *, close: bool = False) -> None:
        self._answer = answer
        self._close = close

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(self._answer)
        if self._close:
            self._transport.close()


class Recorded(Answers):
    """Keeps the bodies of the answers fed to it."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[bytes] = []
        self._body = b""

    def body(self, data: bytes) -> None:
        self._body += data

    def end(self) -> None:
        self.bodies.append(self._body)
        self._body = b""


@pytest.mark.parametrize(("answer", "body"), [(WHOLE, upstream.CONVERSE_ANSWER), (CHUNKED, b"abc0123456789abcdef")])
def test_answers_are_read_whole_however_they_arrive(answer: bytes, body: bytes) -> None:
    """An answer cut in two at any place, or into single bytes, is the same answer."""
    for cut in range(1, len(answer)):
        answers = Recorded()
        answers.data_received(answer[:cut])
        answers.data_received(answer[cut:])
        assert [body] == answers.bodies

    answers = Recorded()
    for at in range(len(answer)):
        answers.data_received(answer[at : at + 1])
    assert [body] == answers.bodies


async def test_calls_are_counted() -> None:
    """Calls to a sound upstream are counted without an error."""
    async with upstream_listening() as target:
        result = await load.run_calls(target, connections=4, seconds=0.05, warmup=0)

    assert 0 == result["errors"]
    assert int(str(result["calls"])) >= 4


class Asked(asyncio.Protocol):
    """Answers every request and keeps which key it came with."""

    def __init__(self, keys: list[bytes]) -> None:
        self._keys = keys

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._keys.append(data.partition(b"Bearer ")[2].partition(b"\r\n")[0])
        self._transport.write(WHOLE)


async def test_many_keys_are_taken_in_turn() -> None:
    """Each call has the next of the keys, and after the last one the first again."""
    asked: list[bytes] = []
    async with listening(lambda: Asked(asked)) as target:
        result = await load.run_calls(target, connections=1, seconds=0.05, warmup=0, keys=["sk-a", "sk-b", "sk-c"])

    assert (0, len(asked)) == (result["errors"], result["calls"])
    assert [b"sk-a", b"sk-b", b"sk-c", b"sk-a"] == asked[:4]


@pytest.mark.parametrize(
    ("answer", "close", "reason"),
    [
        (WHOLE.replace(b"200 OK", b"503 No"), False, "503"),
        (WHOLE.replace(b"tide", b"time", 1), False, "200"),
        (WHOLE[:-1], True, "closed before"),
        (b"HTTP/1.1 200 OK\r\n\r\n", False, "closed before"),
        (WHOLE + b"x", False, "closed before"),
        (b"", True, "closed before"),
    ],
)
async def test_bad_answers_are_errors(answer: bytes, close: bool, reason: str) -> None:
    """A wrong status, a wrong byte, a cut answer, one without a length and one with bytes behind it all count."""
    async with listening(lambda: Scripted(answer, close=close)) as target:
        result = await load.run_calls(target, connections=1, seconds=0.01, warmup=0)

    assert int(str(result["errors"])) >= 1
    assert reason in str(result["first_error"])


async def test_streams_are_read_to_their_end() -> None:
    """All streams are open at once, every one is whole, and the pace is near what was asked for."""
    async with upstream_listening() as target:
        result = await load.run_streams(target, streams=5, messages=20, interval_ms=10, seconds=0, ramp=0.01)

    assert (5, 100, 5, 0) == tuple(result[name] for name in ("streams", "messages", "open_at_once", "errors"))


STREAM = b"".join(upstream.stream_messages(6))
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(STREAM)


@pytest.mark.parametrize(
    ("answer", "close", "errors"),
    [
        (STREAM_HEAD + STREAM + b"\r\n0\r\n\r\n", False, 0),
        (STREAM_HEAD + STREAM[:-1] + b"x\r\n0\r\n\r\n", False, 1),
        (STREAM_HEAD + STREAM + b"\r\n", True, 1),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", False, 1),
    ],
)
async def test_bad_streams_are_errors(answer: bytes, close: bool, errors: int) -> None:
    """A stream with a wrong byte, one that is cut behind its last message, and an empty one are failures."""
    async with listening(lambda: Scripted(answer, close=close)) as target:
        result = await load.run_streams(target, streams=1, messages=6, interval_ms=1, seconds=0, ramp=0)

    assert errors == result["errors"]


async def test_the_probe_sees_uploads_answered() -> None:
    """Uploads larger than any buffer are sent whole and answered, while small requests go on being answered."""
    async with upstream_listening() as target:
        result = await stall.probe(target, uploads=2, upload_bytes=3_000_000)

    assert 0 == result["errors"]
    assert (2, 2) == (len(result["longest"]), len(result["upload"]))  # type: ignore[arg-type]
    assert all(longest > 0 for longest in result["longest"])  # type: ignore[attr-defined]


def test_the_upstream_speaks_event_stream() -> None:
    """botocore takes every message of a stream, and there are as many as were asked for."""
    buffer = EventStreamBuffer()
    buffer.add_data(b"".join(upstream.stream_messages(30)))

    types = [event.headers[":event-type"] for event in buffer]

    assert ["messageStart", *["contentBlockDelta"] * 26, "contentBlockStop", "messageStop", "metadata"] == types


@pytest.mark.parametrize(
    ("rounds", "spread"),
    [([3.0, 1.0, 2.0], (1.0, 3.0)), ([1.0] * 4 + [2.0] * 4 + [-90.0, 90.0], (1.0, 2.0)), ([2.0], (2.0, 2.0))],
)
def test_the_spread_of_rounds(rounds: list[float], spread: tuple[float, float]) -> None:
    """Few rounds are told by their ends, many by their middle half: a disturbed one says nothing of them."""
    assert spread == Figure.median("", rounds).spread


@pytest.mark.parametrize(
    ("figure", "ok"),
    [
        (Figure(name="", value=0.8, least=0.8), True),
        (Figure(name="", value=0.79, least=0.8), False),
        (Figure(name="", value=15.1, most=15), False),
        (Figure(name="", value=0, most=0), True),
        (Figure(name="", value=math.nan, most=1), False),
        (Figure(name="", value=1), None),
        (Figure.ratio("", [4.0, 9.0, 6.0], [2.0, 3.0, 3.0], least=2.1), False),
        (Figure.added("", [4.0, 9.0, 6.0], [2.0, 3.0, 3.0], most=3), True),
        # Two of three rounds differ by one, however slow the third was for both.
        (Figure.paired("", [4.0, 90.0, 6.0], [3.0, 89.0, 2.0], most=1), True),
    ],
)
def test_bars_are_judged(figure: Figure, ok: bool | None) -> None:
    """A figure meets its bar, misses it, or has none; what could not be measured misses it."""
    assert ok is figure.ok
