"""A real gateway under load, in front of a real simulator, killed by ``kill -9`` at random moments."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from callers import Callers, assert_all_received_are_on_record, assert_booked
from process import AMBIENT, Command, rows

from bedrock_gateway.simulator import SIMULATOR_CREDENTIALS

__all__ = ["STREAMS", "killed_under_load", "simulator_process"]

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


async def killed_under_load(
    folder: Path,
    callers: Callers,
    *arguments: str,
    kills: int,
    chance: random.Random,
    started: Callable[[str], Awaitable[None]] | None = None,
    ended: Callable[[str], Awaitable[None]] | None = None,
) -> None:
    """Start the gateway, put it under load and kill it at a random moment, so many times; then hold its ledger
    (``ledger.db``) against what the simulator received and what the callers saw.

    Args:
        arguments: for the gateway, beside port and database.
        started: called with the URL of each gateway that got so far, before the load; ended: with that of the last one,
            that has no load.
    """
    database = folder / "ledger.db"
    loop = asyncio.get_running_loop()
    with simulator_process(folder) as (simulator, environ):

        def start() -> Command:
            return Command.start(folder, "--port", "0", "--database", str(database), *arguments, environ=environ)

        reached = 0
        for kill in range(kills):
            with start() as gateway:
                if kill and chance.random() < 0.15:
                    # In the middle of its start, or of settling what the one before left.
                    loop.call_later(chance.random() * 0.8, gateway.process.kill)
                else:
                    url = await asyncio.to_thread(gateway.url)
                    reached += 1
                    if started is not None:
                        await started(url)
                    last = callers.seen + chance.randrange(1, 1500)
                    pause = chance.random() * 0.03

                    def look(gateway: Command = gateway, last: int = last, pause: float = pause) -> None:
                        if callers.seen == last:
                            loop.call_later(pause, gateway.process.kill)

                    callers.on_seen = look
                    await callers.call_on(url, STREAMS)
                assert -signal.SIGKILL == await asyncio.to_thread(gateway.ended)
        callers.on_seen = lambda: None
        with start() as gateway:
            url = await asyncio.to_thread(gateway.url)
            if ended is not None:
                await ended(url)
            gateway.process.terminate()
            assert 0 == await asyncio.to_thread(gateway.ended)
        simulator.process.terminate()
        assert 0 == await asyncio.to_thread(simulator.ended)
    assert_booked(database, callers)
    assert_all_received_are_on_record(database, folder / "received.jsonl")
    # A gateway killed before it got to its ledger has no run; all others died, the last one ended in order.
    ((runs, clean),) = rows(database, "SELECT count(ended_at), sum(clean) FROM runs")
    assert reached < runs <= kills + 1
    assert 1 == clean
    # It was killed in the middle of work, not beside it.
    assert len(callers.whole) > kills
    states = dict(rows(database, "SELECT state, count(*) FROM attempts GROUP BY state"))
    assert states["interrupted"] > 10 * kills
