"""One HTTP exchange after the other on raw connections: what the load generator and the stall probe are made of.

Knows HTTP/1.1 as far as answers with a Content-Length, chunked ones and empty ones go; knows no figures.
"""

from __future__ import annotations

import asyncio
import json
import re
import statistics
from typing import cast

__all__ = ["GRACE", "Answers", "Run", "Target", "converse_body", "quantiles"]

GRACE = 15.0  # seconds a run may take beyond what was asked; whatever is unfinished then is a failure
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: ?(\d+)", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding: ?chunked", re.IGNORECASE)


class Target:
    """Where the requests go and what they look like."""

    def __init__(self, port: int, *, model: str = "claude", key: str = "") -> None:
        self.port = port
        self._model = model
        self._key = key

    def request(self, method: str, path: str, length: int = 0) -> bytes:
        """Return the head of a request with a JSON body of ``length`` bytes."""
        key = f"Authorization: Bearer {self._key}\r\n" if self._key else ""
        body = f"Content-Type: application/json\r\nContent-Length: {length}\r\n" if length else ""
        return (
            f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nUser-Agent: load/1\r\nAccept: */*\r\n"
            f"{key}x-amzn-bedrock-trace: DISABLED\r\n{body}\r\n"
        ).encode()

    def converse(self, body: bytes, *, stream: bool = False) -> bytes:
        """Return a whole Converse or ConverseStream request."""
        operation = "converse-stream" if stream else "converse"
        return self.request("POST", f"/bedrock/model/{self._model}/{operation}", len(body)) + body

    async def connect(self, connection: Answers) -> None:
        """Open one connection for a protocol that sends on its own."""
        await asyncio.get_running_loop().create_connection(lambda: connection, "127.0.0.1", self.port)


def converse_body(metadata: dict[str, str] | None = None, *, padding: int = 0) -> bytes:
    """Return a Converse request of a few hundred bytes, or with an image of ``padding`` base64 characters."""
    content: list[object] = [
        {"text": "Why does the tide come in twice a day? Answer in a few sentences, for a child of ten."}
    ]
    if padding:
        content.append({"image": {"format": "png", "source": {"bytes": "A" * (padding // 4 * 4)}}})
    body: dict[str, object] = {
        "messages": [{"role": "user", "content": content}],
        "system": [{"text": "You are a patient teacher. You never use a word a child would have to look up."}],
        "inferenceConfig": {"maxTokens": 512, "temperature": 0.2},
    }
    if metadata:
        body["requestMetadata"] = metadata
    return json.dumps(body).encode()


class Answers(asyncio.Protocol):
    """One kept connection and the answers on it: takes heads and bodies apart, with Content-Length or chunked."""

    def __init__(self) -> None:
        self.transport: asyncio.WriteTransport | None = None
        self.status = 0
        self._rest = b""
        self._left: int | None = None  # body bytes to come; None: a head is awaited; -1: chunked

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.WriteTransport, transport)
        self.begin()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self.lost()

    def data_received(self, data: bytes) -> None:
        """Take in bytes; malformed ones close the connection, which is then lost."""
        try:
            self._take(self._rest + data if self._rest else data)
        except ValueError:
            assert self.transport is not None
            self.transport.abort()

    def _take(self, data: bytes) -> None:
        at = 0
        if self._left is None:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._rest = data
                return
            self.status = int(data[9:12])
            if length := CONTENT_LENGTH.search(data, 0, end + 2):
                self._left = int(length[1])
            elif CHUNKED.search(data, 0, end + 2):
                self._left = -1
            elif self.status in (204, 304):
                self._left = 0
            else:
                raise ValueError("an answer without a length")
            at = end + 4
        self._rest = b""
        if self._left < 0:
            self._take_chunks(data, at)
            return
        piece = data[at:]
        if len(piece) > self._left:
            raise ValueError("bytes behind an answer")
        self._left -= len(piece)
        if piece:
            self.body(piece)
        if self._left == 0:
            self._left = None
            self.end()

    def _take_chunks(self, data: bytes, at: int) -> None:
        while (line := data.find(b"\r\n", at)) >= 0:
            size = int(data[at:line], 16)
            after = line + 2 + size + 2
            if after > len(data):
                break
            if data[after - 2 : after] != b"\r\n":
                raise ValueError("a chunk without its end")
            if size == 0:
                if after != len(data):
                    raise ValueError("bytes behind an answer")
                self._left = None
                self.end()
                return
            self.body(data[line + 2 : after - 2])
            at = after
        self._rest = data[at:]

    def begin(self) -> None:
        """Send the first request."""

    def body(self, data: bytes) -> None:
        """Look at a part of an answer's body."""

    def end(self) -> None:
        """Look at a finished answer and send the next request, or close."""

    def lost(self) -> None:
        """Note that the connection has gone."""


class Run:
    """What the connections of one run share."""

    def __init__(self, connections: int) -> None:
        self.running = connections
        self.errors = 0
        self.first_error = ""
        self.finished = asyncio.Event()

    def failed(self, reason: str) -> None:
        """Count an error; the first one is told."""
        self.errors += 1
        self.first_error = self.first_error or reason

    def left(self) -> None:
        """Note that a connection will send nothing more."""
        self.running -= 1
        if self.running == 0:
            self.finished.set()

    async def wait(self, seconds: float) -> None:
        """Wait for all connections; those unfinished after ``seconds`` count as errors."""
        try:
            await asyncio.wait_for(self.finished.wait(), seconds)
        except TimeoutError:
            self.errors += self.running
            self.first_error = self.first_error or f"unfinished after {seconds:.0f} s"

    def told(self) -> dict[str, object]:
        """Return what went wrong."""
        return {"errors": self.errors, **({"first_error": self.first_error} if self.errors else {})}


def quantiles(values: list[float], name: str) -> dict[str, float]:
    """Return median and 99th percentile of seconds as milliseconds under ``name``."""
    if not values:
        return {f"{name}_median": float("nan"), f"{name}_p99": float("nan")}
    values = sorted(values)
    return {
        f"{name}_median": 1e3 * statistics.median(values),
        f"{name}_p99": 1e3 * values[min(len(values) - 1, len(values) * 99 // 100)],
    }
