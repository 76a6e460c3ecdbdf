"""``kill -9``, rivals, a locked database and a full disk, against the real command under load: no request goes out that
is not on record, no answer arrives whole that is not booked, nothing hangs, nothing is there twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import resource
import signal
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from callers import Callers, assert_all_received_are_on_record, assert_booked
from killing import STREAMS, killed_under_load, simulator_process
from process import AMBIENT, Command, rows, run

from bedrock_gateway.simulator import Pace, Simulator


async def kill_under_load(folder: Path, *, kills: int, seed: int) -> None:
    """Kill a gateway under load so many times; nothing is missing then, and nothing is there twice."""
    chance = random.Random(seed)
    callers = Callers(chance)
    await killed_under_load(folder, callers, kills=kills, chance=chance)
    states = dict(rows(folder / "ledger.db", "SELECT state, count(*) FROM attempts GROUP BY state"))
    assert states["metered"] >= len(callers.whole) / 2


async def test_killed_at_random_moments(tmp_path: Path) -> None:
    """After every ``kill -9`` each request that went out has its row and each answer that arrived whole is closed."""
    await kill_under_load(tmp_path, kills=6, seed=1)


@pytest.mark.soak
async def test_killed_at_200_random_moments(tmp_path: Path) -> None:
    """The same, 200 times over one ledger."""
    await kill_under_load(tmp_path, kills=200, seed=2)


async def test_rivals_change_nothing(tmp_path: Path) -> None:
    """A second gateway on the same database or port, or both, while the first one is under load: it is refused, and
    not one row is other than without it.
    """
    database = tmp_path / "ledger.db"
    callers = Callers(random.Random(3))
    everything = (
        "SELECT * FROM attempts WHERE ended_at IS NOT NULL ORDER BY call, id",
        "SELECT * FROM calls WHERE ended_at IS NOT NULL ORDER BY id",
        "SELECT * FROM runs",
    )
    with simulator_process(tmp_path) as (simulator, environ):
        arguments = ("--database", str(database))
        with Command.start(tmp_path, "--port", "0", *arguments, environ=environ) as gateway:
            url = await asyncio.to_thread(gateway.url)
            port = url.rpartition(":")[2]
            calling = asyncio.create_task(callers.call_on(url, STREAMS))
            enough = asyncio.Event()
            callers.on_seen = lambda: enough.set() if len(callers.whole) > 50 else None
            async with asyncio.timeout(20):
                await enough.wait()
            before = [rows(database, sql) for sql in everything]
            for rival in (
                ("--port", "0", *arguments),
                ("--port", port, *arguments),
                ("--port", port, "--database", str(tmp_path / "another.db")),
            ):
                ended = await asyncio.to_thread(run, tmp_path, *rival, environ=environ)
                assert (2, "") == (ended.returncode, ended.stdout), ended
            after = [set(rows(database, sql)) for sql in everything]
            callers.over = True
            await calling
            gateway.process.terminate()
            assert 0 == await asyncio.to_thread(gateway.ended)
        simulator.process.terminate()
        assert 0 == await asyncio.to_thread(simulator.ended)
    assert len(before[0]) > 50
    assert [set(), set(), set()] == [set(had) - has for had, has in zip(before, after, strict=True)]
    assert not (tmp_path / "another.db").exists()
    assert [] == rows(database, "SELECT * FROM attempts WHERE state = 'interrupted'")
    assert [(1, 1)] == rows(database, "SELECT count(*), sum(clean) FROM runs")
    assert_booked(database, callers)
    assert_all_received_are_on_record(database, tmp_path / "received.jsonl")


# --- a ledger in trouble --------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def in_front_of_a_simulator(folder: Path) -> AsyncIterator[tuple[dict[str, str], Simulator]]:
    """Run a simulator in this process; gives the variables a gateway in front of it needs."""
    pace = Pace(first_token_ms=5, tokens_per_second=10)
    simulator = Simulator(
        credentials={"AKIDEPLOYMENTA": ("secret-A", None)}, pace=pace, log_path=folder / "received.jsonl"
    )
    async with simulator.serve() as base_url:
        yield {**AMBIENT, "AWS_BEDROCK_RUNTIME_ENDPOINT": base_url}, simulator


@pytest.mark.parametrize("end", ["recovers", "stopped", "killed"])
@pytest.mark.parametrize("trouble", ["locked", "full"])
async def test_ledger_in_trouble(tmp_path: Path, trouble: str, end: str) -> None:
    """While another process keeps the database locked, or no file can grow: streams under way arrive whole and are
    booked, new calls are refused with 503 and nothing of them goes out, the log has the reason; when the trouble is
    over the gateway goes on by itself, and if it is stopped or killed first, its successor knows everything.
    """
    database = tmp_path / "ledger.db"
    callers = Callers(random.Random(4), only="stream")
    arguments = ("--port", "0", "--database", str(database))
    async with in_front_of_a_simulator(tmp_path) as (environ, simulator):
        with Command.start(tmp_path, *arguments, environ=environ) as gateway:
            url = await asyncio.to_thread(gateway.url)
            async with aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=30)
            ) as session:
                with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as other:
                    if trouble == "locked":
                        other.execute("BEGIN EXCLUSIVE")
                    else:
                        # A reader keeps the WAL from starting anew, so that it has to grow.
                        other.execute("BEGIN")
                        other.execute("SELECT count(*) FROM calls").fetchone()
                        resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, (1024 * 1024, resource.RLIM_INFINITY))
                    streams = [asyncio.create_task(callers.call(session, url)) for _ in range(40)]
                    await until_status(callers, session, url, 503)
                    refused_from = len(simulator.received)
                    async with session.get(f"{url}/health/readiness") as answer:
                        (reason,) = (await answer.json())["reasons"]
                        assert 503 == answer.status
                    assert {200} == set(await asyncio.gather(*streams))
                    assert 503 == await callers.call(session, url)
                    assert refused_from == len(simulator.received)
                    await asyncio.to_thread(gateway.until, " status=503 ")
                    if end == "recovers":
                        resource.prlimit(
                            gateway.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
                        )
                        other.execute("ROLLBACK")
                        await until_status(callers, session, url, 200)
                        gateway.process.terminate()
                        assert 0 == await asyncio.to_thread(gateway.ended)
                    elif end == "stopped":
                        gateway.process.terminate()
                        assert 0 == await asyncio.to_thread(gateway.ended)
                    else:
                        gateway.process.kill()
                        assert -signal.SIGKILL == await asyncio.to_thread(gateway.ended)
        if end != "recovers":
            # The calls that were refused were in the memory of the one that ended only.
            callers.whole = [whole for whole in callers.whole if whole.status == 200]
            with Command.start(tmp_path, *arguments, environ=environ) as successor:
                await asyncio.to_thread(successor.url)
                successor.process.terminate()
                assert 0 == await asyncio.to_thread(successor.ended)
    causes = {"locked": ["database is locked"], "full": ["database or disk is full", "disk I/O error"]}[trouble]
    # What a machine that is slow itself finds out first.
    causes.append("the database took no record for 1 s")
    assert reason.removeprefix("ledger: ") in causes
    assert 1 == sum("the ledger takes no records, no call is admitted" in line for line in gateway.err)
    assert (1 if end == "recovers" else 0) == sum("the ledger takes records again" in line for line in gateway.err)
    refused = [line for line in gateway.err if " status=503 " in line]
    assert refused
    assert [] == [line for line in refused if "attempts=0" not in line or not any(cause in line for cause in causes)]
    assert_booked(database, callers)
    assert_all_received_are_on_record(database, tmp_path / "received.jsonl")


async def until_status(callers: Callers, session: aiohttp.ClientSession, url: str, status: int) -> None:
    """Call, ten at a time, until one call is answered with this status."""
    async with asyncio.timeout(25):
        while status not in await asyncio.gather(*(callers.call(session, url) for _ in range(10))):
            pass
