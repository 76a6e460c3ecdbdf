"""Callers over HTTP/2 and the whole gateway: the ledger when they leave, refusals as over HTTP/1.1, and a stop."""

from __future__ import annotations

import asyncio
import gc
import json
import random
import sys
from collections import Counter
from pathlib import Path

import pytest
from administering import LOCKED, MASTER, new_key
from aiohttp.web import BaseRequest
from behind_a_gate import MIDDLE, MOMENTS, READING, behind_a_gate, last_rows, undisturbed
from gate import BODY
from h2.errors import ErrorCodes
from running import GROUPS, running

from bedrock_gateway.chain.call import Call
from bedrock_gateway.downstream.http2 import Http2Connection
from bedrock_gateway.downstream.http2_machine import Machine
from bedrock_gateway.downstream.http2_stream import Stream, Writer
from bedrock_gateway.downstream.limits import Limits

sys.path.append(str(Path(__file__).parents[1] / "downstream"))

from http2_client import Answer, Http2Client, connected

EVENT_STREAM = ("content-type", "application/vnd.amazon.eventstream")


def ask(client: Http2Client, action: str, *, model: str = "single", key: str | None = None) -> int:
    """Send a request; return its stream."""
    path = f"/bedrock/model/{model}/{action}"
    headers = [("content-type", "application/json"), ("content-length", str(len(BODY)))]
    headers += [] if key is None else [("authorization", f"Bearer {key}")]
    stream = client.open(*headers, end=False, method="POST", path=path)
    client.data(stream, BODY, end=True)
    return stream


def refused(answer: Answer) -> tuple[int, str, str]:
    """Return status, type and message of an error."""
    assert answer.ended
    return answer.status, answer.headers["x-amzn-errortype"], json.loads(answer.body)["message"]


# Callers that leave


@pytest.mark.parametrize("how", ["reset", "fin"])
@pytest.mark.parametrize(("action", "passing"), MOMENTS)
async def test_under_drain_the_answer_is_read_on_to_awss_own_numbers(
    tmp_path: Path, action: str, passing: int, how: str
) -> None:
    """A stream that is reset is a caller that leaves: what is booked is AWS's own numbers, as if it had stayed."""
    async with behind_a_gate(tmp_path) as (here, gate):
        tokens = await undisturbed(here, action)
        gate.passing = passing
        async with connected(here.port) as client:
            stream = ask(client, action)
            await here.until(lambda: gate.held)
            if passing == MIDDLE:
                await client.until(lambda: b"messageStart" in client.answers[stream].body)
            if how == "reset":
                client.h2.reset_stream(stream, ErrorCodes.CANCEL)
                client.flush()
            else:
                client.raw.half_close()
            await here.until(lambda: here.gateway.leaving.draining)
            gate.open.set()
            call, attempt = await last_rows(here)

        assert ("metered", 1, None) == (attempt["state"], attempt["charged"], attempt["error_type"])
        assert tokens == (attempt["input"], attempt["output"])
        assert (1, 200 if passing == MIDDLE else 0) == (call["caller_left"], call["status"])


@pytest.mark.parametrize(("action", "passing"), MOMENTS)
async def test_under_abort_upstream_is_closed_and_an_estimate_is_booked(
    tmp_path: Path, action: str, passing: int
) -> None:
    """Where the policy says so, a reset closes upstream at once; another stream of the connection is not touched."""
    async with behind_a_gate(tmp_path, "on_disconnect: abort", passing=passing) as (here, gate):
        async with connected(here.port) as client:
            leaves = ask(client, action)
            await here.until(lambda: gate.held)
            if passing == MIDDLE:
                await client.until(lambda: b"messageStart" in client.answers[leaves].body)
            client.h2.reset_stream(leaves, ErrorCodes.CANCEL)
            client.flush()
            _, attempt = await last_rows(here)
            await here.until(lambda: gate.ended)
            assert ("estimated", "caller left") == (attempt["state"], attempt["error_type"])

            gate.open.set()
            assert 200 == (await client.answer(ask(client, "converse"))).status


async def test_a_reader_that_stops_reading_has_left(tmp_path: Path) -> None:
    """A caller that gives no window back for its time is reset, and its answer is read on; its neighbour is served."""
    async with behind_a_gate(tmp_path, limits=Limits(write_seconds=0.2)) as (here, _):
        tokens = await undisturbed(here, "converse-stream")
        here.simulator.faults.add("large-body", size=4_000_000)
        async with connected(here.port, generous=False) as client:
            stream = ask(client, "converse-stream")
            answer = await client.answer(stream)
            assert (False, ErrorCodes.INTERNAL_ERROR) == (answer.ended, answer.reset)
            call, attempt = await last_rows(here)
            assert ("metered", *tokens) == (attempt["state"], attempt["input"], attempt["output"])
            assert (1, 200) == (call["caller_left"], call["status"])

            client.generous = True
            client.h2.increment_flow_control_window(100_000)
            client.flush()
            assert 200 == (await client.answer(ask(client, "converse"))).status


async def test_a_caller_that_leaves_in_its_request_costs_nothing(tmp_path: Path) -> None:
    """Half a body is no call: nothing is sent, and its memory is given back."""
    async with behind_a_gate(tmp_path) as (here, _):
        async with connected(here.port) as client:
            path = "/bedrock/model/single/converse"
            stream = client.open(("content-length", "1000000"), end=False, method="POST", path=path)
            client.data(stream, bytes(1_000))
            await here.until(lambda: here.gateway.bodies.held)
            client.h2.reset_stream(stream, ErrorCodes.CANCEL)
            client.flush()
            call, _ = await last_rows(here)

        assert 0 == len(here.simulator.received)
        assert ("refused", 0, 0, 1) == tuple(call[name] for name in ("state", "spend", "status", "caller_left"))


async def test_many_callers_leave_at_all_moments(tmp_path: Path) -> None:
    """Whenever streams are reset, every request that was sent has one closed row, and nothing is held afterwards."""
    chance = random.Random(7)
    async with behind_a_gate(tmp_path, "max_drains: 100") as (here, _):

        async def come_and_go(number: int) -> None:
            async with connected(here.port) as client:
                streams = [ask(client, "converse-stream", model="claude") for _ in range(6)]
                for stream in streams[::2]:
                    wanted = chance.choice([0, 0, 1, 200, 900])
                    await client.until(
                        lambda stream=stream, wanted=wanted: (
                            len(client.answers[stream].body) >= wanted or client.answers[stream].over
                        )
                    )
                    if not client.answers[stream].over:
                        client.h2.reset_stream(stream, ErrorCodes.CANCEL)
                        client.flush()
                if number % 2:
                    for stream in streams[1::2]:
                        assert (await client.answer(stream)).ended

        await asyncio.gather(*map(come_and_go, range(8)))
        await here.settled()

        states = [row["state"] for row in here.rows("SELECT state FROM attempts")]
        assert len(here.simulator.received) == states.count("metered")
        assert {"metered"} == {*states} - {"refused"}
        assert 12 <= states.count("metered")


@pytest.mark.parametrize(("action", "passing"), MOMENTS)
async def test_a_stopping_gateway_lets_answers_finish(tmp_path: Path, action: str, passing: int) -> None:
    """Answers under way come to their end, and the client is told not to ask again."""
    async with behind_a_gate(tmp_path, passing=passing) as (here, gate):
        opened = connected(here.port)
        client = await opened.__aenter__()
        stream = ask(client, action)
        await here.until(lambda: gate.held)

        async def open_once_it_stops() -> None:
            await here.until(lambda: here.gateway.stopping)
            gate.open.set()

        # The gateway stops at the end of this block.
        opening = asyncio.create_task(open_once_it_stops(), name=READING)
        reading = asyncio.create_task(client.end(), name=READING)
    await opening
    assert (ErrorCodes.NO_ERROR, stream) == await reading
    assert (200, True) == (client.answers[stream].status, client.answers[stream].ended)
    await opened.__aexit__(None, None, None)
    assert ["metered"] == [row["state"] for row in here.rows("SELECT state FROM attempts")]


# Refusals


@pytest.mark.parametrize(
    ("pseudo", "headers", "status", "error_type", "told"),
    [
        ({"method": "CONNECT"}, [], 400, "ValidationException", "CONNECT is not served"),
        ({"method": "TRACE"}, [], 400, "ValidationException", "TRACE is not served"),
        ({"method": "OPTIONS", "path": "*"}, [], 403, "AccessDeniedException", "OPTIONS is not answered"),
        ({"authority": "evil.example"}, [], 403, "AccessDeniedException", "the request's Host is none of them"),
        ({}, [("origin", "https://evil.example")], 403, "AccessDeniedException", "comes from a web page"),
        ({}, [("sec-fetch-site", "cross-site")], 403, "AccessDeniedException", "a page of another site"),
        ({}, [("content-encoding", "gzip")], 400, "ValidationException", "Encoded request bodies"),
        ({"path": "/nowhere"}, [], 404, "UnknownOperationException", ""),
        ({"path": "/bedrock/model/singel/converse"}, [], 404, "ResourceNotFoundException", "Nearest: single"),
        ({"path": "/bedrock/model/..%2F..%2Fx/converse"}, [], 400, "ValidationException", ""),
    ],
)
async def test_refusals_are_those_of_http1(
    tmp_path: Path, pseudo: dict[str, str], headers: list[tuple[str, str]], status: int, error_type: str, told: str
) -> None:
    """What is refused before a call is refused over HTTP/2 too: methods, hosts, web pages, odd paths."""
    async with running(tmp_path) as here, connected(here.port) as client:
        pseudo = {"method": "POST", "path": "/bedrock/model/single/converse"} | pseudo
        if pseudo["method"] == "CONNECT":
            stream = client.h2.get_next_available_stream_id()
            client.answers[stream] = Answer()
            client.h2.send_headers(stream, [(":method", "CONNECT"), (":authority", "127.0.0.1")], end_stream=True)
            client.flush()
        else:
            stream = client.open(*headers, **pseudo)
        answer = refused(await client.answer(stream))

        assert (status, error_type) == answer[:2]
        assert told in answer[2]
        assert 200 == (await client.answer(ask(client, "converse"))).status


async def test_a_wrong_key_is_refused_before_the_body(tmp_path: Path) -> None:
    """Nothing of a body is waited for from who may not send one; the rest of it is not wanted."""
    async with running(tmp_path, LOCKED) as here, connected(here.port) as client:
        stream = client.open(
            *(("authorization", "Bearer sk-wrong"), ("content-length", "25000000")),
            end=False,
            method="POST",
            path="/bedrock/model/single/converse",
        )
        await client.until(lambda: client.answers[stream].reset is not None)

        assert (403, "UnrecognizedClientException") == refused(client.answers[stream])[:2]
        assert ErrorCodes.NO_ERROR == client.answers[stream].reset
        assert 200 == (await client.answer(ask(client, "converse", key=await new_key(here)))).status


@pytest.mark.parametrize("locked", [True, False])
async def test_a_stream_both_ways_is_refused_at_once(tmp_path: Path, locked: bool) -> None:
    """InvokeModelWithBidirectionalStream is refused with its body still open; then NO_ERROR ends the stream."""
    async with running(tmp_path, LOCKED if locked else GROUPS) as here, connected(here.port) as client:
        key = [("authorization", f"Bearer {MASTER}")] if locked else []
        path = "/bedrock/model/single/invoke-with-bidirectional-stream"
        stream = client.open(EVENT_STREAM, *key, end=False, method="POST", path=path)
        client.data(stream, b"\x00" * 16)
        await client.until(lambda: client.answers[stream].reset is not None)
        status, error_type, message = refused(client.answers[stream])

        assert (400, "ValidationException") == (status, error_type)
        assert "InvokeModelWithBidirectionalStream is not served here" in message
        assert ErrorCodes.NO_ERROR == client.answers[stream].reset


async def test_upgrading_http1_is_not_served(tmp_path: Path) -> None:
    """A client that offers to upgrade a connection to HTTP/2 is answered in HTTP/1.1."""
    async with running(tmp_path) as here:
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
        writer.write(
            b"GET /health/liveliness HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade, HTTP2-Settings\r\n"
            b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
        )
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()


async def test_the_gateways_own_routes(tmp_path: Path) -> None:
    """Keys, metrics and the rest are served over HTTP/2 as well."""
    master = ("authorization", f"Bearer {MASTER}")
    async with running(tmp_path, LOCKED) as here, connected(here.port) as client:
        stream = client.open(master, end=False, method="POST", path="/key/generate")
        client.data(stream, b'{"key_alias": "over-http2"}', end=True)
        made = json.loads((await client.answer(stream)).body)
        told = await client.answer(client.open(master, path=f"/key/info?key={made['key']}"))
        metrics = await client.answer(client.open(master, path="/metrics"))

        assert "over-http2" == json.loads(told.body)["info"]["key_alias"]
        assert b"# HELP" in metrics.body


def kept() -> Counter[type]:
    """Return what is left in memory of calls and of the gateway's side of connections."""
    kinds = (Call, BaseRequest, Http2Connection, Stream, Writer, Machine)
    return Counter(type(thing) for thing in gc.get_objects() if type(thing) in kinds)


async def test_calls_and_connections_leave_no_cycle(tmp_path: Path) -> None:
    """Without the collector of cycles, which seldom comes, calls and connections are freed as they end."""
    async with running(tmp_path) as here:
        gc.collect()
        before = kept()
        gc.disable()
        try:
            for _ in range(3):
                async with connected(here.port) as client:
                    for action in ("converse", "converse-stream", "converse"):
                        stream = client.open(end=False, method="POST", path=f"/bedrock/model/single/{action}")
                        await client.raw.sent()
                        client.data(stream, BODY, end=True)
                        assert (await client.answer(stream)).ended
                    await here.settled()
                    # Somebody always holds the last one.
                    more = kept() - before - Counter([Call, BaseRequest, Stream, Writer])
                    assert {Http2Connection: 1, Machine: 1} == more
                await here.until(lambda: kept()[Http2Connection] <= before[Http2Connection])
            assert not kept() - before - Counter([Call, BaseRequest, Stream, Writer])
        finally:
            gc.enable()
