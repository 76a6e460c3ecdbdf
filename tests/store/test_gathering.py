"""When the writer waits for more: only while calls come thick and fast, never for long, never for a lone call."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from ledger_samples import assert_sums, closing, open_ledger, opening, query, record

from bedrock_gateway.store.gathering import BUSY, ENOUGH, Gathering
from bedrock_gateway.store.limits import LedgerLimits

#: Seconds nobody in these tests would live to see the end of.
FOR_EVER = 86_400.0


@pytest.mark.parametrize(
    ("written", "queued", "under_way", "seconds"),
    [
        (BUSY - 1, 1, 5, FOR_EVER),
        (BUSY, 1, 0, FOR_EVER),
        (BUSY, ENOUGH, 5, FOR_EVER),
        (BUSY, 1, 5, 0.0),
    ],
    ids=["not busy", "nothing under way", "enough", "no time"],
)
async def test_no_wait(written: int, queued: int, under_way: int, seconds: float) -> None:
    """Nothing is waited for where nothing more is likely to come, or enough is there."""
    gathering = Gathering(seconds)
    gathering.wrote(written)
    with pytest.raises(StopIteration):
        gathering.wait(queued, under_way).send(None)


async def test_waits_cease_after_a_burst() -> None:
    """A small group after large ones is no sign of quiet yet; a few of them are."""
    gathering = Gathering(FOR_EVER)
    gathering.wrote(32)
    waits = []
    for _ in range(5):
        waiting = asyncio.create_task(gathering.wait(1, 1))
        await asyncio.sleep(0)
        waits.append(not waiting.done())
        gathering.complete()
        await waiting
        gathering.wrote(1)
    assert [True, True, True, True, False] == waits


async def test_wait_ends_when_complete() -> None:
    """A wait for what is under way ends as soon as nothing more is expected, told once or twice."""
    gathering = Gathering(FOR_EVER)
    gathering.wrote(BUSY)
    waiting = asyncio.create_task(gathering.wait(1, 1))
    await asyncio.sleep(0)
    assert not waiting.done()
    gathering.complete()
    gathering.complete()
    await waiting
    gathering.complete()


async def test_wait_ends_in_time() -> None:
    """A wait for what does not come ends by itself."""
    gathering = Gathering(0.001)
    gathering.wrote(BUSY)
    async with asyncio.timeout(30):
        await gathering.wait(1, 1)


async def test_cancelled_wait() -> None:
    """A wait that is cancelled leaves nothing behind that could disturb the next one."""
    gathering = Gathering(FOR_EVER)
    gathering.wrote(BUSY)
    waiting = asyncio.create_task(gathering.wait(1, 1))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gathering.complete()
    again = asyncio.create_task(gathering.wait(1, 1))
    await asyncio.sleep(0)
    assert not again.done()
    gathering.complete()
    await again


async def test_last_of_a_group_ends_the_wait(tmp_path: Path) -> None:
    """After a group of several the writer waits, and is told by the closing of the last attempt under way."""
    path = tmp_path / "ledger.db"
    async with await open_ledger(path, LedgerLimits(tick_s=1000, gather_s=FOR_EVER)) as ledger:
        openings = [opening() for _ in range(3 * BUSY)]
        for first in openings[:BUSY]:
            ledger.open_attempt(first)
        await asyncio.gather(*(ledger.close_attempt(closing(first), record(first)) for first in openings[:BUSY]))
        for first in openings[BUSY:]:
            ledger.open_attempt(first)
        early = [ledger.close_attempt(closing(first), record(first)) for first in openings[BUSY:-1]]
        # Longer than any way to the database and back: the connection that checkpoints has its own.
        await ledger._parts.checkpoints.run(None)
        assert [BUSY] == [row[0] for row in query(path, "SELECT count(*) FROM attempts")]
        assert not any(future.done() for future in early)
        await ledger.close_attempt(closing(openings[-1]), record(openings[-1]))
        assert all(future.done() for future in early)
    assert_sums(path)


async def test_lone_call_after_a_group(tmp_path: Path) -> None:
    """A caller alone never waits for others, even right after a busy moment."""
    path = tmp_path / "ledger.db"
    async with await open_ledger(path, LedgerLimits(tick_s=1000, gather_s=FOR_EVER)) as ledger:
        openings = [opening() for _ in range(BUSY + 3)]
        for first in openings[:BUSY]:
            ledger.open_attempt(first)
        await asyncio.gather(*(ledger.close_attempt(closing(first), record(first)) for first in openings[:BUSY]))
        for first in openings[BUSY:]:
            ledger.open_attempt(first)
            await ledger.close_attempt(closing(first), record(first))
    assert_sums(path)


async def test_close_does_not_wait(tmp_path: Path) -> None:
    """Closing the ledger ends a wait for attempts that are still open."""
    path = tmp_path / "ledger.db"
    ledger = await open_ledger(path, LedgerLimits(tick_s=1000, gather_s=FOR_EVER))
    openings = [opening() for _ in range(BUSY + 2)]
    for first in openings:
        ledger.open_attempt(first)
    await asyncio.gather(*(ledger.close_attempt(closing(first), record(first)) for first in openings[:BUSY]))
    last = ledger.close_attempt(closing(openings[BUSY]), record(openings[BUSY]))
    await asyncio.sleep(0)
    await ledger.close()
    assert last.done()
    assert [("interrupted", 1), ("metered", BUSY + 1)] == query(
        path, "SELECT state, count(*) FROM attempts GROUP BY state ORDER BY state"
    )
    assert_sums(path)
