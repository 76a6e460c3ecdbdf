"""Stopping the real command: what is under way finishes within a bound, every row is closed, the exit status is 0."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import attrs
import pytest
from botocore.eventstream import EventStreamBuffer
from process import AMBIENT, Command, assert_rollups_are_sums, rows
from running import running

from bedrock_gateway.simulator import INSTANT, Pace, Simulator

CLAUDE = "us.anthropic.claude-sonnet-4-20250514-v1:0"
#: Answers that take about a second, so that a signal comes into the middle of them.
UNHURRIED = Pace(first_token_ms=5, tokens_per_second=20)
NEVER = "[[simulate: silent-after-head]] Wait for it."


@attrs.define(eq=False)
class Stopping:
    """A gateway in front of a simulator, about to be stopped.

    Attributes:
        gateway: the process; url: where it listens; session: keeps no connection that has answered.
    """

    gateway: Command
    url: str
    database: Path
    simulator: Simulator
    session: aiohttp.ClientSession

    async def ask(self, operation: str = "converse-stream", text: str = "[[simulate: tokens=20]] Tell me.") -> Asked:
        """Begin a call and return its answer once its head is there."""
        body = {"messages": [{"role": "user", "content": [{"text": text}]}]}
        answer = await self.session.post(f"{self.url}/bedrock/model/{CLAUDE}/{operation}", json=body)
        return Asked(answer)

    async def stopped(self) -> int:
        """Wait for its end; return its exit status."""
        return await asyncio.to_thread(self.gateway.ended)

    async def says(self, pattern: str) -> None:
        """Wait until it says something."""
        await asyncio.to_thread(self.gateway.until, pattern)

    async def received(self, number: int) -> None:
        """Let the loop turn until the simulator has received so many requests."""
        async with asyncio.timeout(20):
            while len(self.simulator.received) < number:  # noqa: ASYNC110
                await asyncio.sleep(0)


@attrs.define(eq=False)
class Asked:
    """A call under way."""

    answer: aiohttp.ClientResponse

    async def first(self) -> bytes:
        """Return the first bytes."""
        return await self.answer.content.readany()

    async def events(self, begun: bytes = b"") -> list[str]:
        """Return the types of all events of a stream that ends properly."""
        buffer = EventStreamBuffer()
        buffer.add_data(begun + await self.answer.read())
        return [event.headers.get(":event-type") or event.headers[":exception-type"] for event in buffer]


@contextlib.asynccontextmanager
async def stopping(folder: Path, pace: Pace, **settings: object) -> AsyncIterator[Stopping]:
    """Run a gateway with these ``general_settings``."""
    database, config = folder / "ledger.db", folder / "config.yaml"
    config.write_text(f"general_settings: {settings}\n")
    simulator = Simulator(credentials={"AKIDEPLOYMENTA": ("secret-A", None)}, pace=pace, seed=7)
    async with simulator.serve() as base_url:
        arguments = ("--port", "0", "--config", str(config), "--database", str(database))
        environ = {**AMBIENT, "AWS_BEDROCK_RUNTIME_ENDPOINT": base_url}
        async with aiohttp.ClientSession(
            headers={"authorization": "Bearer any-key"}, connector=aiohttp.TCPConnector(limit=0, force_close=True)
        ) as session:
            with Command.start(folder, *arguments, environ=environ) as gateway:
                url = await asyncio.to_thread(gateway.url)
                yield Stopping(gateway, url, database, simulator, session)


def assert_closed(database: Path) -> None:
    """Assert that the run ended in order and left nothing open."""
    assert [(1, 1)] == rows(database, "SELECT count(*), sum(clean) FROM runs WHERE ended_at IS NOT NULL")
    assert [(0,)] == rows(database, "SELECT count(*) FROM calls WHERE ended_at IS NULL OR state = 'open'")
    assert [(0,)] == rows(database, "SELECT count(*) FROM attempts WHERE ended_at IS NULL OR state = 'open'")
    assert_rollups_are_sums(database)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_what_is_under_way_finishes(tmp_path: Path, number: signal.Signals) -> None:
    """After SIGTERM or Ctrl-C streams and answers under way arrive whole, one whose caller left is read on, all are
    metered; nobody new gets in.
    """
    async with stopping(tmp_path, UNHURRIED) as here:
        streams = [await here.ask() for _ in range(5)]
        begun = [await stream.first() for stream in streams]
        small = asyncio.create_task(here.ask("converse"))
        await here.received(6)
        left = await here.ask()
        await left.first()
        left.answer.close()
        here.gateway.signal(number)
        await here.says(r"^stopping: [67] calls under way are waited for, at most 30 s; Ctrl-C again ends them now$")
        with pytest.raises(aiohttp.ClientOSError):
            await here.ask()
        ends = [(await stream.events(data))[-1] for stream, data in zip(streams, begun, strict=True)]
        answer = await (await small).answer.json()

        assert 0 == await here.stopped()
    assert ["metadata"] * 5 == ends
    assert "end_turn" == answer["stopReason"]
    assert 7 == len(here.simulator.received)
    assert [("metered", 200, 7)] == rows(
        here.database, "SELECT state, status, count(*) FROM attempts GROUP BY state, status"
    )
    assert [("metered", 0, 6), ("metered", 1, 1)] == rows(
        here.database, "SELECT state, caller_left, count(*) FROM calls GROUP BY state, caller_left ORDER BY 2"
    )
    assert_closed(here.database)


async def test_over_the_bound(tmp_path: Path) -> None:
    """What has not finished within the bound is ended, told so, booked as an estimate, and the exit status is 0."""
    async with stopping(tmp_path, INSTANT, shutdown_timeout=0.2) as here:
        stream = await here.ask(text=NEVER)
        begun = await stream.first()
        small = asyncio.create_task(here.ask("converse", NEVER))
        await here.received(2)
        here.gateway.signal(signal.SIGTERM)
        ended = await stream.events(begun)
        refused = (await small).answer

        assert 424 == refused.status
        assert "ModelErrorException" == refused.headers["x-amzn-errortype"]
        assert "modelStreamErrorException" == ended[-1]
        assert 0 == await here.stopped()
    assert [("estimated", 1, 2)] == rows(
        here.database, "SELECT state, charged, count(*) FROM attempts GROUP BY state, charged"
    )
    assert [(2,)] == rows(here.database, "SELECT count(*) FROM attempts WHERE error_type LIKE '%the gateway stopped%'")
    assert_closed(here.database)


@pytest.mark.parametrize("told", ["after-it-said-so", "both-at-once"])
async def test_second_signal(tmp_path: Path, told: str) -> None:
    """A second signal ends at once what the first one would wait for; the rows are closed all the same."""
    async with stopping(tmp_path, INSTANT, shutdown_timeout=3600) as here:
        streams = [await here.ask(text=NEVER) for _ in range(3)]
        begun = [await stream.first() for stream in streams]
        here.gateway.signal(signal.SIGTERM)
        if told == "after-it-said-so":
            await here.says("^stopping: 3 calls under way are waited for, at most 3600 s")
        here.gateway.signal(signal.SIGINT)

        assert 0 == await here.stopped()
        ends = [(await stream.events(data))[-1] for stream, data in zip(streams, begun, strict=True)]
    assert ["modelStreamErrorException"] * 3 == ends
    assert [("estimated", 3)] == rows(here.database, "SELECT state, count(*) FROM attempts GROUP BY state")
    assert_closed(here.database)


async def test_one_call_and_none(tmp_path: Path) -> None:
    """One call that is waited for is told of in the singular, and of no call nothing is said."""
    async with stopping(tmp_path, INSTANT, shutdown_timeout=0.2) as here:
        stream = await here.ask(text=NEVER)
        begun = await stream.first()
        here.gateway.signal(signal.SIGINT)
        await here.says(r"^stopping: 1 call under way is waited for, at most 0\.2 s; Ctrl-C again ends it now$")
        await stream.events(begun)

        assert 0 == await here.stopped()
    async with stopping(tmp_path, INSTANT) as here:
        here.gateway.signal(signal.SIGINT)

        assert 0 == await here.stopped()
        assert [] == [line for line in here.gateway.out if line.startswith("stopping")]


async def test_idle_connections_do_not_delay_the_end(tmp_path: Path) -> None:
    """Connections that never asked, that asked before, or that stopped in the middle of a head are just closed."""
    async with stopping(tmp_path, INSTANT, shutdown_timeout=3600) as here:
        port = int(here.url.rpartition(":")[2])
        alive = b"GET /health/liveliness HTTP/1.1\r\nHost: localhost\r\n\r\n"
        idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        for begun in (b"", alive, alive + alive[:20]):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(begun)
            if begun:
                assert b"HTTP/1.1 200 OK\r\n" == await reader.readline()
                await reader.readuntil(b"alive" + b'"}')
            idle.append((reader, writer))
        here.gateway.signal(signal.SIGTERM)

        assert 0 == await here.stopped()
        assert [b"", b"", b""] == [await reader.read() for reader, _ in idle]
        for _, writer in idle:
            writer.close()
    assert [] == [line for line in here.gateway.err if "did not end" in line]
    assert_closed(here.database)


async def test_next_request_on_a_busy_connection(tmp_path: Path) -> None:
    """A request that waits behind a stream when the gateway stops is not served: the connection ends after the
    stream, and nothing of it was sent upstream.
    """
    async with stopping(tmp_path, UNHURRIED) as here:
        body = b'{"messages":[{"role":"user","content":[{"text":"[[simulate: tokens=10]] Hi"}]}]}'
        request = (
            f"POST /bedrock/model/{CLAUDE}/converse-stream HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: Bearer any-key\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body
        reader, writer = await asyncio.open_connection("127.0.0.1", int(here.url.rpartition(":")[2]))
        writer.write(request)
        begun = await reader.readuntil(b"messageStart")
        writer.write(request)
        here.gateway.signal(signal.SIGTERM)
        whole = begun + await reader.read()
        writer.close()

        assert 0 == await here.stopped()
    assert 1 == whole.count(b"HTTP/1.1 ")
    assert whole.endswith(b"0\r\n\r\n")
    assert 1 == len(here.simulator.received)
    assert [("metered", 1)] == rows(here.database, "SELECT state, count(*) FROM calls GROUP BY state")
    assert_closed(here.database)


async def test_a_call_that_comes_while_stopping(tmp_path: Path) -> None:
    """On a connection that is still open a new call is refused, with the time after which another process may be up."""
    async with running(tmp_path) as here, aiohttp.ClientSession(headers={"authorization": "Bearer any-key"}) as session:
        here.gateway.stopping = True
        for path in ("claude/converse", "claude/converse-stream"):
            async with session.post(f"{here.url}/bedrock/model/{path}", json={"messages": []}) as answer:
                assert (503, "ServiceUnavailableException", "1") == (
                    answer.status,
                    answer.headers["x-amzn-errortype"],
                    answer.headers["retry-after"],
                )
        async with session.get(f"{here.url}/health/readiness") as answer:
            assert (503, ["stopping"]) == (answer.status, (await answer.json())["reasons"])
        assert 0 == len(here.simulator.received)
