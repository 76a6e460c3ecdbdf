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
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
from callers import Callers, assert_all_received_are_on_record, assert_booked
from process import AMBIENT, Command, rows, run

from bedrock_gateway.simulator import SIMULATOR_CREDENTIALS, Pace, Simulator

STREAMS = 100


@contextlib.contextmanager
def simulator_process(folder: Path) -> Iterator[tuple[Command, dict[str, str]]]:
    """Run ``simulate``, logging to ``received.jsonl``; gives it and the variables a gateway in front of it needs."""
    arguments = ("--port", "0", "--tokens-per-second", "30", "--first-token-ms", "5")
    with Command.start(folder, "simulate", *arguments, "--log", str(folder / "received.jsonl")) as simulator:
        ((key_id, (secret, _)),) = SIMULATOR_CREDENTIALS.items()
        yield (
            simulator,
            {
                **AMBIENT,
                "AWS_ACCESS_KEY_ID": key_id,
                "AWS_SECRET_ACCESS_KEY": secret,
                "AWS_BEDROCK_RUNTIME_ENDPOINT": simulator.url(),
            },
        )


async def kill_under_load(folder: Path, *, kills: int, seed: int) -> None:
    """Start the gateway, put it under load and kill it at a random moment, so many times; then hold its ledger against
    what the simulator received and what the callers saw.
    """
    chance = random.Random(seed)
    callers = Callers(chance)
    database = folder / "ledger.db"
    loop = asyncio.get_running_loop()
    with simulator_process(folder) as (simulator, environ):

        def start() -> Command:
            return Command.start(folder, "--port", "0", "--database", str(database), environ=environ)

        for _ in range(kills):
            with start() as gateway:
                if chance.random() < 0.15:
                    # In the middle of its start, or of settling what the one before left.
                    loop.call_later(chance.random() * 0.8, gateway.process.kill)
                else:
                    url = await asyncio.to_thread(gateway.url)
                    last = callers.seen + chance.randrange(1, 1500)
                    pause = chance.random() * 0.03

                    def look(gateway: Command = gateway, last: int = last, pause: float = pause) -> None:
                        if callers.seen == last:
                            loop.call_later(pause, gateway.process.kill)

                    callers.on_seen = look
                    await callers.call_on(url, STREAMS)
                assert -signal.SIGKILL == await asyncio.to_thread(gateway.ended)
        with start() as gateway:
            await asyncio.to_thread(gateway.url)
            gateway.process.terminate()
            assert 0 == await asyncio.to_thread(gateway.ended)
        simulator.process.terminate()
        assert 0 == await asyncio.to_thread(simulator.ended)
    assert_booked(database, callers)
    assert_all_received_are_on_record(database, folder / "received.jsonl")
    # A gateway killed before it got to its ledger has no run; all others died, the last one ended in order.
    ((ended, clean),) = rows(database, "SELECT count(ended_at), sum(clean) FROM runs")
    assert kills / 2 < ended <= kills + 1
    assert 1 == clean
    # It was killed in the middle of work, not beside it.
    assert len(callers.whole) > kills
    states = dict(rows(database, "SELECT state, count(*) FROM attempts GROUP BY state"))
    assert states["interrupted"] > 10 * kills
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
