"""The simulator as a server: its log, its limits, its pace, many streams at once, ends of all kinds."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvloop
from simulator_requests import ACCESS_KEY_ID, NOVA, SECRET, converse_body, exactly, signed_headers, user

from bedrock_gateway.simulator import SIMULATOR_CREDENTIALS, Pace, Simulator
from bedrock_gateway.simulator.received import MAX_BODY_BYTES, Received, ReceivedLog
from bedrock_gateway.wire.eventstream import MessageDecoder

PATH = f"/model/{NOVA.replace(':', '%3A')}"
BODY = converse_body("hi")


def record(sequence: int, body: bytes = b"") -> Received:
    """Make a record of a request."""
    return Received(
        sequence=sequence,
        time=0.0,
        request_id="r",
        method="POST",
        raw_path="/",
        headers=(("Authorization", "secret"), ("X-Amz-Security-Token", "secret"), ("User-Agent", "ua")),
        body=body,
        body_sha256="h",
        service="bedrock-runtime",
        operation=None,
        model=None,
        access_key_id=None,
        region=None,
        refused=None,
        fault=None,
    )


async def test_log_file(tmp_path: Path) -> None:
    """Every request is one JSON line, written before its answer, with a hash of the body and no secret."""
    path = tmp_path / "received.jsonl"
    simulator = Simulator(credentials={ACCESS_KEY_ID: (SECRET, None)}, log_path=path)
    async with simulator.serve() as base_url, aiohttp.ClientSession() as http:
        for number, target in enumerate((f"{base_url}{PATH}/converse", f"{base_url}/nowhere"), 1):
            async with http.post(exactly(target), data=BODY, headers=signed_headers(target, BODY)) as answer:
                lines = [json.loads(line) for line in path.read_bytes().splitlines()]
                assert number == len(lines)
                assert answer.headers["x-amzn-requestid"] == lines[-1]["request_id"]
        async with http.post(f"{base_url}/x", data=b"") as answer:
            assert 403 == answer.status
    first, second, third = (json.loads(line) for line in path.read_bytes().splitlines())
    assert [1, 2, 3] == [line["sequence"] for line in (first, second, third)]
    assert ("Converse", NOVA, ACCESS_KEY_ID) == (first["operation"], first["model"], first["access_key_id"])
    assert (hashlib.sha256(BODY).hexdigest(), len(BODY)) == (first["body_sha256"], first["body_bytes"])
    assert "eu-central-1" == first["region"]
    refused = ["UnknownOperationException", "MissingAuthenticationTokenException"]
    assert [None, *refused] == [line["refused"] for line in (first, second, third)]
    text = path.read_text()
    assert SECRET not in text and "Signature=" not in text and '"hi"' not in text
    assert 0o600 == stat.S_IMODE(os.stat(path).st_mode)


async def test_log_file_is_appended_to(tmp_path: Path) -> None:
    """A second simulator adds to the file of the first, and so does the first when it listens again."""
    path = tmp_path / "received.jsonl"
    first, second = (Simulator(require_signature=False, log_path=path) for _ in range(2))
    for simulator in (first, second, first):
        async with simulator.serve() as base_url, aiohttp.ClientSession() as http:
            async with http.get(f"{base_url}/foundation-models") as answer:
                assert 200 == answer.status
    assert [1, 1, 2] == [json.loads(line)["sequence"] for line in path.read_bytes().splitlines()]


def test_received_is_bounded() -> None:
    """Only the latest requests are kept, by number and by bytes; numbering goes on."""
    log = ReceivedLog(keep=3)
    for number in range(1, 6):
        log.add(record(number))
    assert [3, 4, 5] == [entry.sequence for entry in log]
    assert (3, 5, 5) == (len(log), log.total, log[-1].sequence)
    assert [4, 5] == [entry.sequence for entry in log[1:]]
    half = bytes(MAX_BODY_BYTES // 2 + 1)
    log.add(record(6, half))
    log.add(record(7, half))
    assert [7] == [entry.sequence for entry in log]
    log.clear()
    assert (0, 7) == (len(log), log.total)
    log.add(record(8, bytes(MAX_BODY_BYTES)))
    assert [8] == [entry.sequence for entry in log]


def test_no_secret_in_line_or_repr() -> None:
    """Neither the line of the file nor the repr shows what a header keeps secret."""
    entry = record(1)
    assert "secret" not in entry.line().decode() + repr(entry)
    assert {"user-agent": "ua"} == json.loads(entry.line())["headers"]


async def test_received_in_memory(simulator: Simulator, runtime: Any, call: Any) -> None:
    """``received`` holds what came, raw."""
    arn = "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abc"
    await call(runtime.converse, modelId=arn, messages=user("hi"))
    (entry,) = simulator.received
    assert ("POST", "Converse", arn, ACCESS_KEY_ID, 1) == (
        entry.method,
        entry.operation,
        entry.model,
        entry.access_key_id,
        entry.sequence,
    )
    assert entry.raw_path.endswith("provisioned-model%2Fabc/converse")
    assert user("hi") == json.loads(entry.body)["messages"]
    assert "application/json" == entry.header("content-type")


@pytest.mark.parametrize(("method", "path"), [("GET", PATH + "/converse"), ("POST", "/"), ("POST", PATH + "/convers")])
async def test_unknown_operations(base_url: str, method: str, path: str) -> None:
    """Another method or path is a 404 UnknownOperationException."""
    headers = signed_headers(base_url + path, b"", method=method)
    async with aiohttp.ClientSession() as http:
        async with http.request(method, exactly(base_url + path), headers=headers) as answer:
            error_type = answer.headers["x-amzn-errortype"].partition(":")[0]
            assert (404, "UnknownOperationException") == (answer.status, error_type)


async def test_body_of_the_largest_size(base_url: str) -> None:
    """A body of 20 MB is answered; one beyond 25 MB is refused by InvokeModel, one beyond 64 MiB by all."""
    image = {"image": {"format": "png", "source": {"bytes": "A" * 20_000_000}}}
    url = f"{base_url}{PATH}/converse"
    invoke = f"{base_url}{PATH}/invoke"
    async with aiohttp.ClientSession() as http:
        body = json.dumps({"messages": [{"role": "user", "content": [image]}]}).encode()
        async with http.post(exactly(url), data=io.BytesIO(body), headers=signed_headers(url, body)) as answer:
            assert 1_600 == (await answer.json())["usage"]["inputTokens"]
        body = bytes(25_000_001)
        async with http.post(exactly(invoke), data=io.BytesIO(body), headers=signed_headers(invoke, body)) as answer:
            assert "25000000" in (await answer.json())["message"]
        body = bytes(64 * 1024 * 1024 + 1)
        async with http.post(exactly(url), data=io.BytesIO(body), headers=signed_headers(url, body)) as answer:
            assert 413 == answer.status


async def raw_exchange(base_url: str, data: bytes) -> bytes:
    """Send bytes and read until the other side ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(base_url.rpartition(":")[2]))
    writer.write(data)
    await writer.drain()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_old_and_careful_clients() -> None:
    """HTTP/1.0 gets an unchunked stream and a close; Expect: 100-continue gets its 100."""
    async with Simulator(require_signature=False).serve() as base_url:
        head = f"POST {PATH}/converse-stream HTTP/1.0\r\nContent-Length: {len(BODY)}\r\n\r\n".encode()
        answer = await raw_exchange(base_url, head + BODY)
        _, _, stream = answer.partition(b"\r\n\r\n")
        assert b"transfer-encoding" not in answer.lower()
        decoder = MessageDecoder()
        decoder.receive_data(stream)
        decoder.receive_eof()
        assert "metadata" == [*iter(decoder.next_message, None)][-1].event_type
        head = f"POST {PATH}/converse HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nConnection: close\r\n"
        answer = await raw_exchange(base_url, f"{head}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY)
        assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")


async def test_pace(make_client: Callable[..., Any], call: Any) -> None:
    """Streamed and whole take as long as the pace says, and both report that latency."""
    pace = Pace(first_token_ms=60, tokens_per_second=100)
    async with Simulator(credentials={ACCESS_KEY_ID: (SECRET, None)}, pace=pace).serve() as base_url:
        client = make_client(base_url)
        asked = {"modelId": NOVA, "messages": user("Say something [[simulate: tokens=30]]")}

        def timed() -> tuple[list[float], list[Any]]:
            began = time.monotonic()
            moments, events = [], []
            for event in client.converse_stream(**asked)["stream"]:
                moments.append(time.monotonic() - began)
                events.append(event)
            return moments, events

        moments, events = await call(timed)
        deltas = [moment for moment, event in zip(moments, events, strict=True) if "contentBlockDelta" in event]
        expected = 60 + (len(deltas) - 1) * 10
        assert 0.06 <= deltas[0]
        assert expected / 1_000 <= deltas[-1]
        assert expected == events[-1]["metadata"]["metrics"]["latencyMs"]
        began = time.monotonic()
        whole = await call(client.converse, **asked)
        assert expected / 1_000 <= time.monotonic() - began
        assert expected == whole["metrics"]["latencyMs"]


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_thousand_open_streams(loop_factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """A thousand streams are open at once and every one ends whole."""
    descriptors = pytest.importorskip("resource")
    soft, hard = descriptors.getrlimit(descriptors.RLIMIT_NOFILE)
    descriptors.setrlimit(descriptors.RLIMIT_NOFILE, (min(hard, 4_096), hard))
    number = 1_000
    head = f"POST {PATH}/converse-stream HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    body = converse_body("[[simulate: silent-after-head after=1 seconds=1]] [[simulate: tokens=4]]")

    async def main() -> tuple[int, int]:
        simulator = Simulator(require_signature=False, keep=10)
        opened = peak = 0
        async with simulator.serve() as base_url:
            port = int(base_url.rpartition(":")[2])

            async def stream() -> bool:
                nonlocal opened, peak
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
                opened += 1
                peak = max(peak, opened)
                data = await reader.read()
                opened -= 1
                writer.close()
                await writer.wait_closed()
                return data.startswith(b"HTTP/1.1 200") and data.endswith(b"0\r\n\r\n") and b"metadata" in data

            ended = await asyncio.gather(*(stream() for _ in range(number)))
        return peak, sum(ended)

    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            peak, whole = runner.run(main())
    finally:
        descriptors.setrlimit(descriptors.RLIMIT_NOFILE, (soft, hard))
    assert number == whole
    assert number // 2 < peak


async def test_callers_who_leave(caplog: pytest.LogCaptureFixture) -> None:
    """A caller that leaves in mid-stream or in silence costs nothing: no log line, and the next is served."""
    pace = Pace(tokens_per_second=200)
    async with Simulator(require_signature=False, pace=pace).serve() as base_url:
        port = int(base_url.rpartition(":")[2])
        for text in ("[[simulate: tokens=2000]]", "[[simulate: silent]]", "[[simulate: silent-after-head]]"):
            for abort in (True, False):
                body = converse_body(text)
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                head = f"POST {PATH}/converse-stream HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
                writer.write(head.encode() + body)
                await writer.drain()
                if "silent]]" not in text:
                    assert (await reader.read(12)).startswith(b"HTTP/1.1 200")
                if abort:
                    writer.transport.abort()
                writer.close()
        head = f"POST {PATH}/converse HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(BODY)}\r\n\r\n"
        answer = await raw_exchange(base_url, head.encode() + BODY)
        assert answer.startswith(b"HTTP/1.1 200 OK")
    assert [] == [entry for entry in caplog.records if entry.name.startswith("aiohttp")]


async def test_stop_and_start_again(simulator: Simulator) -> None:
    """Stopping twice is fine, starting twice is not, and a stopped simulator may listen again."""
    await simulator.start()
    with pytest.raises(RuntimeError):
        await simulator.start()
    await simulator.stop()
    await simulator.stop()
    async with simulator.serve() as base_url:
        url = f"{base_url}{PATH}/converse"
        async with aiohttp.ClientSession() as http:
            async with http.post(exactly(url), data=BODY, headers=signed_headers(url, BODY)) as answer:
                assert 200 == answer.status


async def test_taken_port() -> None:
    """A port that is taken is an OSError, and nothing stays open."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError):
            await Simulator().start(port=taken.getsockname()[1])


async def test_default_credentials(make_client: Callable[..., Any], call: Any) -> None:
    """Without credentials of its own the simulator accepts the pair everybody knows."""
    ((access_key_id, (secret, token)),) = SIMULATOR_CREDENTIALS.items()
    async with Simulator().serve() as base_url:
        client = make_client(
            base_url, aws_access_key_id=access_key_id, aws_secret_access_key=secret, aws_session_token=token
        )
        assert "end_turn" == (await call(client.converse, modelId=NOVA, messages=user("hi")))["stopReason"]


async def test_two_hundred_boto3_streams(base_url: str, make_client: Callable[..., Any]) -> None:
    """Two hundred boto3 streams over forty threads all end whole and alike."""
    client = make_client(base_url, connections=40)
    limit = asyncio.Semaphore(40)

    def read() -> int:
        return len([*client.converse_stream(modelId=NOVA, messages=user("hi"))["stream"]])

    async def one() -> int:
        async with limit:
            return await asyncio.to_thread(read)

    counts = await asyncio.gather(*(one() for _ in range(200)))
    assert 200 == len(counts)
    assert 1 == len(set(counts))
