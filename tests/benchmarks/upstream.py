"""An upstream that is never the limit: a raw protocol on uvloop that answers with prebuilt bytes.

It knows just enough of Bedrock to be measured behind: ``POST …/converse`` is answered with one JSON document (with
``usage``), ``POST …/converse-stream`` with real event-stream messages, one at once and the others paced; anything else
with 204. It checks nothing. A stream's length and pace travel in the request, in Converse's own ``requestMetadata``::

    {"requestMetadata": {"benchmark-messages": "100", "benchmark-interval-ms": "20"}, …}

Usage: ``upstream.py PORT``.

Source: order and shapes of the events are ConverseStreamOutput's of the bedrock-runtime service model.
"""

from __future__ import annotations

import asyncio
import functools
import json
import re
import resource
import signal
import sys
from typing import cast

import uvloop

from bedrock_gateway.wire.eventstream import encode_event

__all__ = ["CONVERSE_ANSWER", "LEAST_MESSAGES", "Upstream", "raise_descriptor_limit", "serve", "stream_messages"]

WHEEL_SLOTS = 1024  # of a millisecond each; an interval is shorter than the wheel
FIXED_MESSAGES = 4  # messageStart, contentBlockStop, messageStop, metadata
LEAST_MESSAGES = FIXED_MESSAGES + 1
MESSAGES = re.compile(rb'"benchmark-messages": ?"(\d+)"')
INTERVAL = re.compile(rb'"benchmark-interval-ms": ?"(\d+)"')
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: ?(\d+)", re.IGNORECASE)
PADDING = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
TEXT = "The tide comes in twice a day because the Moon pulls the near water more than it pulls the far"


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


_USAGE = {
    "inputTokens": 412,
    "outputTokens": 188,
    "totalTokens": 600,
    "cacheReadInputTokens": 0,
    "cacheWriteInputTokens": 0,
}
CONVERSE_ANSWER = _json(
    {
        "metrics": {"latencyMs": 1834},
        "output": {"message": {"content": [{"text": f"{TEXT}. " * 8}], "role": "assistant"}},
        "stopReason": "end_turn",
        "usage": _USAGE,
    }
)
_AWS_HEAD = (
    b"HTTP/1.1 200 OK\r\nDate: Fri, 20 Nov 2026 12:00:00 GMT\r\nContent-Type: %s\r\n"
    b"x-amzn-RequestId: 7f3c1c3e-3a0e-4a9b-9a53-0d2a4a3e6a11\r\n%s\r\n\r\n"
)
_WHOLE = _AWS_HEAD % (b"application/json", b"Content-Length: %d" % len(CONVERSE_ANSWER)) + CONVERSE_ANSWER
_STREAM_HEAD = _AWS_HEAD % (b"application/vnd.amazon.eventstream", b"Transfer-Encoding: chunked")
_EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"
_START = encode_event("messageStart", _json({"p": PADDING[:12], "role": "assistant"}))
_DELTAS = tuple(
    encode_event(
        "contentBlockDelta",
        _json({"contentBlockIndex": 0, "delta": {"text": f" {word}"}, "p": PADDING[: 7 + 5 * number % len(PADDING)]}),
    )
    for number, word in enumerate(TEXT.split())
)
_ENDING = (
    encode_event("contentBlockStop", _json({"contentBlockIndex": 0, "p": PADDING[:30]})),
    encode_event("messageStop", _json({"p": PADDING[:21], "stopReason": "end_turn"})),
    encode_event("metadata", _json({"metrics": {"latencyMs": 1834}, "p": PADDING[:44], "usage": _USAGE})),
)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


_FIRST_WRITE = _STREAM_HEAD + _chunk(_START)
_DELTA_WRITES = tuple(_chunk(message) for message in _DELTAS)
_LAST_WRITE = b"".join(_chunk(message) for message in _ENDING) + b"0\r\n\r\n"


@functools.lru_cache(maxsize=8)
def stream_messages(count: int) -> tuple[bytes, ...]:
    """Return the event-stream messages of a stream of ``count`` messages, as they are sent."""
    deltas = (_DELTAS[number % len(_DELTAS)] for number in range(count - FIXED_MESSAGES))
    return (_START, *deltas, *_ENDING)


def raise_descriptor_limit() -> None:
    """Raise the soft limit of open descriptors to the hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Wheel:
    """One timer for all streams: a slot a millisecond, each with the streams that send next in it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._slots: list[list[Upstream]] = [[] for _ in range(WHEEL_SLOTS)]
        self._now = 0  # slot number since the beginning, ms
        self._origin = loop.time()
        self._waiting = 0

    def add(self, stream: Upstream, after_ms: int) -> None:
        """Have ``stream.send_next()`` called in ``after_ms`` milliseconds (less than the wheel has slots)."""
        if self._waiting == 0:  # it stood still: nothing was due in between
            self._now = int((self._loop.time() - self._origin) * 1000)
            self._loop.call_later(0.001, self._turn)
        self._waiting += 1
        self._slots[(self._now + after_ms) % WHEEL_SLOTS].append(stream)

    def _turn(self) -> None:
        until = int((self._loop.time() - self._origin) * 1000)
        while self._now < until:
            self._now += 1
            slot = self._now % WHEEL_SLOTS
            due, self._slots[slot] = self._slots[slot], []
            for stream in due:
                self._waiting -= 1
                if (again := stream.send_next()) > 0:
                    self._waiting += 1
                    self._slots[(self._now + again) % WHEEL_SLOTS].append(stream)
        if self._waiting:
            self._loop.call_later(0.001, self._turn)


class Upstream(asyncio.Protocol):
    """One connection. Bodies are counted; only those of streaming requests are kept until they are read."""

    def __init__(self, wheel: Wheel) -> None:
        self._wheel = wheel
        self._transport: asyncio.WriteTransport | None = None
        self._buffer = b""
        self._body_left = 0  # of a large body that is only counted
        self._answer = b""
        self._deltas_sent = 0
        self._deltas = 0
        self._interval = 20

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete. Requests of one connection come one after the other."""
        assert self._transport is not None
        if self._body_left:
            self._body_left -= len(data)
            if self._body_left == 0:
                self._transport.write(self._answer)
            return
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        head_end = data.find(b"\r\n\r\n") + 4
        if head_end < 4:
            self._buffer = data
            return
        length = CONTENT_LENGTH.search(data, 0, head_end)
        missing = head_end + (int(length[1]) if length else 0) - len(data)
        path = data[: data.find(b"\r\n")].split(b" ")[1]
        if path.endswith(b"/converse-stream"):
            if missing > 0:
                self._buffer = data
                return
            self._begin_stream(data[head_end:])
            return
        self._answer = _WHOLE if path.endswith(b"/converse") else _EMPTY
        if missing > 0:
            self._body_left = missing
        else:
            self._transport.write(self._answer)

    def _begin_stream(self, body: bytes) -> None:
        assert self._transport is not None
        count, interval = MESSAGES.search(body), INTERVAL.search(body)
        self._deltas = max(int(count[1]) - FIXED_MESSAGES, 1) if count else 100
        self._interval = min(int(interval[1]), WHEEL_SLOTS - 1) if interval else 20
        self._deltas_sent = 0
        self._transport.write(_FIRST_WRITE)
        self._wheel.add(self, self._interval)

    def send_next(self) -> int:
        """Write the next message and return the milliseconds to the one after it, or 0 at the end."""
        if self._transport is None:
            return 0
        if self._deltas_sent < self._deltas:
            self._transport.write(_DELTA_WRITES[self._deltas_sent % len(_DELTA_WRITES)])
            self._deltas_sent += 1
            return self._interval
        self._transport.write(_LAST_WRITE)
        return 0


async def serve(port: int) -> asyncio.Server:
    """Listen on a loopback port (0: any free one)."""
    loop = asyncio.get_running_loop()
    wheel = Wheel(loop)
    return await loop.create_server(lambda: Upstream(wheel), "127.0.0.1", port, backlog=2048)


async def main() -> None:
    """Serve until told to stop."""
    raise_descriptor_limit()
    server = await serve(int(sys.argv[1]))
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    server.close()


if __name__ == "__main__":
    uvloop.run(main())
