"""A load generator that is never the limit: raw protocols on uvloop, kept connections, prebuilt request bytes.

Every answer is checked: its status and each byte of its body (a stream by length and CRC-32) against what the upstream
sends; a connection that is lost is an error and is not opened again. Each run prints one JSON object. Usage::

    load.py calls PORT --connections 32 --seconds 3    one Converse after the other on each connection
    load.py calls PORT --keys FILE                     the same, each with the next of many virtual keys
    load.py streams PORT --streams 200 --seconds 4     one ConverseStream after the other, until the time is up
    load.py probe PORT --uploads 3                     a small GET every millisecond, alone and beside uploads

Times are milliseconds.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import statistics
import time
import zlib
from collections.abc import Sequence
from pathlib import Path

import upstream
import uvloop
from exchange import GRACE, Answers, Run, Target, converse_body, quantiles
from stall import probe

__all__ = ["run_calls", "run_streams"]


class Caller(Answers):
    """A connection that sends one Converse after the other."""

    def __init__(self, run: CallRun) -> None:
        super().__init__()
        self._run = run
        self._sent = 0.0
        self._body = b""
        self._done = False

    def begin(self) -> None:
        self._body = b""
        self._sent = time.perf_counter()
        assert self.transport is not None
        self.transport.write(next(self._run.requests))

    def body(self, data: bytes) -> None:
        self._body += data

    def end(self) -> None:
        now = time.perf_counter()
        if self.status != 200 or self._body != upstream.CONVERSE_ANSWER:
            self._run.failed(f"{self.status}: {self._body[:200].decode('latin-1')}")
        self._run.latencies.append(now - self._sent)
        if now < self._run.until:
            self.begin()
        else:
            self._done = True
            assert self.transport is not None
            self.transport.close()

    def lost(self) -> None:
        if not self._done:
            self._run.failed("the connection was closed before the answer was whole")
        self._run.left()


class CallRun(Run):
    def __init__(self, requests: Sequence[bytes], connections: int, until: float) -> None:
        super().__init__(connections)
        self.requests = itertools.cycle(requests)
        self.until = until
        self.latencies: list[float] = []


async def run_calls(
    target: Target, *, connections: int, seconds: float, warmup: float = 0.3, keys: Sequence[str] = ()
) -> dict[str, object]:
    """Send Converse calls on all connections for ``seconds``, after a warm-up that is not counted.

    Args:
        keys: virtual keys taken in turn, instead of the target's own.
    """
    targets = [Target(target.port, key=key) for key in keys] or [target]
    requests = [target.converse(converse_body()) for target in targets]
    began = time.perf_counter() + warmup
    run = CallRun(requests, connections, began + seconds)
    for _ in range(connections):
        await target.connect(Caller(run))
    await asyncio.sleep(max(0.0, began - time.perf_counter()))
    began, warm = time.perf_counter(), len(run.latencies)
    await run.wait(seconds + GRACE)
    counted = run.latencies[warm:]
    return {
        "calls": len(run.latencies),
        "calls_per_second": len(counted) / (time.perf_counter() - began),
        **quantiles(counted, "latency"),
        **run.told(),
    }


class Streamer(Answers):
    """A connection that reads one ConverseStream after the other."""

    def __init__(self, run: StreamRun) -> None:
        super().__init__()
        self._run = run
        self._sent = 0.0
        self._size = 0
        self._crc = 0
        self._done = False

    def begin(self) -> None:
        self._size = self._crc = 0
        self._sent = time.perf_counter()
        assert self.transport is not None
        self.transport.write(self._run.request)

    def body(self, data: bytes) -> None:
        if self._size == 0:
            self._run.first_bytes.append(time.perf_counter() - self._sent)
            self._run.opened(1)
        self._size += len(data)
        self._crc = zlib.crc32(data, self._crc)

    def end(self) -> None:
        run, now = self._run, time.perf_counter()
        if self._size:
            run.opened(-1)
        if (self.status, self._size, self._crc) == (200, run.size, run.crc):
            run.durations.append(now - self._sent)
        else:
            run.failed(f"{self.status}: {self._size} of {run.size} bytes")
        self._size = 0
        if now < run.until:
            self.begin()
        else:
            self._done = True
            assert self.transport is not None
            self.transport.close()

    def lost(self) -> None:
        if not self._done:
            if self._size:
                self._run.opened(-1)
            self._run.failed(f"the connection was closed after {self._size} of {self._run.size} bytes")
        self._run.left()


class StreamRun(Run):
    def __init__(self, request: bytes, connections: int, messages: int) -> None:
        super().__init__(connections)
        self.request = request
        self.until = 0.0
        whole = b"".join(upstream.stream_messages(messages))
        self.size, self.crc = len(whole), zlib.crc32(whole)
        self.first_bytes: list[float] = []
        self.durations: list[float] = []
        self.open = 0
        self.open_at_once = 0

    def opened(self, change: int) -> None:
        """Keep count of the streams that have begun and not ended."""
        self.open += change
        self.open_at_once = max(self.open, self.open_at_once)


async def run_streams(
    target: Target, *, streams: int, messages: int, interval_ms: int, seconds: float, ramp: float
) -> dict[str, object]:
    """Read streams on all connections, opened evenly over ``ramp`` seconds, until ``seconds`` are over."""
    metadata = {"benchmark-messages": str(messages), "benchmark-interval-ms": str(interval_ms)}
    run = StreamRun(target.converse(converse_body(metadata), stream=True), streams, messages)
    began = time.perf_counter()
    run.until = began + seconds
    for number in range(streams):
        await asyncio.sleep(max(0.0, began + ramp * number / streams - time.perf_counter()))
        await target.connect(Streamer(run))
    length = (messages - upstream.FIXED_MESSAGES + 1) * interval_ms / 1000
    await run.wait(seconds + length + GRACE)
    return {
        "streams": len(run.durations),
        "messages": len(run.durations) * messages,
        "messages_per_second_and_stream": messages / statistics.median(run.durations) if run.durations else 0.0,
        "paced_at": messages / length,
        "open_at_once": run.open_at_once,
        **quantiles(run.first_bytes, "first_byte"),
        **run.told(),
    }


def main() -> None:
    """Run what the command line asks for and print the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("what", choices=["calls", "streams", "probe"])
    parser.add_argument("port", type=int)
    parser.add_argument(
        "--key", default=os.environ.get("LOAD_KEY", ""), help="virtual key or master key; default $LOAD_KEY"
    )
    parser.add_argument("--keys", type=Path, metavar="FILE", help="virtual keys, one a line, to be taken in turn")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--messages", type=int, default=100, help="of each stream")
    parser.add_argument("--interval-ms", type=int, default=20, help="between two messages of a stream")
    parser.add_argument("--ramp", type=float, default=1.0, help="seconds over which the streams are opened")
    parser.add_argument("--uploads", type=int, default=3)
    parser.add_argument("--upload-bytes", type=int, default=20_000_000)
    options = parser.parse_args()
    upstream.raise_descriptor_limit()
    target = Target(options.port, key=options.key)
    if options.what == "calls":
        keys = options.keys.read_text().split() if options.keys else ()
        work = run_calls(target, connections=options.connections, seconds=options.seconds, keys=keys)
    elif options.what == "streams":
        work = run_streams(
            target,
            streams=options.streams,
            messages=max(options.messages, upstream.LEAST_MESSAGES),
            interval_ms=options.interval_ms,
            seconds=options.seconds,
            ramp=options.ramp,
        )
    else:
        work = probe(target, uploads=options.uploads, upload_bytes=options.upload_bytes)
    print(json.dumps(uvloop.run(work)))


if __name__ == "__main__":
    main()
