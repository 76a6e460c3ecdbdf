"""The ledger on real files: what it is told is in the rows, whoever waits or leaves."""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from pathlib import Path

import pytest
from ledger_samples import NOW, assert_sums, closing, identifier, open_ledger, opening, query, record, until

from bedrock_gateway.errors import NeverOnRecord, StartError, StoreError
from bedrock_gateway.metering.usage import Usage
from bedrock_gateway.store.ledger import Ledger
from bedrock_gateway.store.limits import LedgerLimits
from bedrock_gateway.store.records import State


async def test_one_call(tmp_path: Path) -> None:
    """A call with one attempt becomes one row of each kind, with usage beside it."""
    path = tmp_path / "ledger.db"
    async with await open_ledger(path) as ledger:
        first = opening()
        assert ledger.open_attempt(first) is None
        assert 1 == ledger.open_attempts
        usage = Usage(input_tokens=1, output_tokens=2, images=3, meters=(("guardrail", 4), ("guardrail", 5)), raw="{}")
        await ledger.close_attempt(closing(first, usage=usage, notes=("a note",)), record(first))
        assert 0 == ledger.open_attempts
        assert [("metered", 700, 1, 2, 3, '["a note"]')] == query(
            path, "SELECT state, spend, input, output, images, notes FROM attempts"
        )
        assert [("metered", 700, 200, 1, NOW + 600)] == query(
            path, "SELECT state, spend, status, attempts, ended_at FROM calls"
        )
        assert [(first.attempt, "guardrail", 9)] == query(path, "SELECT attempt, meter, quantity FROM usage")
    assert_sums(path)
    assert [(1, NOW)] == query(path, "SELECT clean, ended_at FROM runs")


async def test_files_are_private(tmp_path: Path) -> None:
    """Everything the ledger makes is for its user only, the folder too."""
    path = tmp_path / "new" / "ledger.db"
    async with await open_ledger(path) as ledger:
        first = opening()
        ledger.open_attempt(first)
        await ledger.close_attempt(closing(first), record(first))
        modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in path.parent.iterdir()}
    assert {0o600} == set(modes.values()), modes
    assert 7 == len(modes)
    assert 0o700 == stat.S_IMODE(path.parent.stat().st_mode)


async def test_group_commit(tmp_path: Path) -> None:
    """Closings queued together become durable together: far fewer transactions than closings."""
    path = tmp_path / "ledger.db"
    async with await open_ledger(path, LedgerLimits(tick_s=1000)) as ledger:
        before = path.with_name("ledger.db-wal").stat().st_size
        openings = [opening() for _ in range(500)]
        for one in openings:
            ledger.open_attempt(one)
        await asyncio.gather(*(ledger.close_attempt(closing(one), record(one)) for one in openings))
        pages = (path.with_name("ledger.db-wal").stat().st_size - before) // 4096
        assert [(500,)] == query(path, "SELECT count(*) FROM calls")
        assert pages < 500, "each closing had a transaction of its own"
    assert_sums(path)


async def test_wal_stays_short(tmp_path: Path) -> None:
    """Writing that never pauses does not make the WAL grow for ever: it begins anew, again and again."""
    path = tmp_path / "ledger.db"
    beginnings: set[bytes] = set()

    def begun() -> bytes:
        """Return the salts of the WAL's header, which are others each time it begins anew."""
        with path.with_name("ledger.db-wal").open("rb") as wal:
            return wal.read(24)[16:]

    async with await open_ledger(path, LedgerLimits(tick_s=0.005, wal_frames=50)) as ledger:

        async def write() -> None:
            while len(beginnings) < 5:
                one = opening()
                ledger.open_attempt(one)
                await ledger.close_attempt(closing(one), record(one))
                beginnings.add(begun())

        async with asyncio.timeout(30):
            await asyncio.gather(*(write() for _ in range(8)))
    assert_sums(path)


async def test_closing_twice(tmp_path: Path) -> None:
    """A closing told again changes nothing and waits no longer than the first, before and after the commit."""
    path = tmp_path / "ledger.db"
    async with await open_ledger(path) as ledger:
        first = opening()
        ledger.open_attempt(first)
        told = ledger.close_attempt(closing(first), record(first))
        again = ledger.close_attempt(closing(first, spend=999_999), record(first))
        await asyncio.gather(told, again)
        await ledger.close_attempt(closing(first, spend=5), record(first, status=500))
        with pytest.raises(StoreError, match="open already"):
            ledger.open_attempt(first2 := opening(attempt="same"))
            ledger.open_attempt(first2)
    assert [(700, "metered")] == query(path, "SELECT spend, state FROM calls WHERE id = ?", first.call)
    assert_sums(path)


async def test_several_attempts(tmp_path: Path) -> None:
    """A call's spend is the sum of its charged attempts, its state the worst; its record ends it."""
    path = tmp_path / "ledger.db"
    async with await open_ledger(path) as ledger:
        one = opening()
        two = opening(call=one.call, number=2, deployment="other")
        three = opening(call=one.call, number=3, part=1)
        ledger.open_attempt(one)
        await ledger.close_attempt(closing(one, charged=False, spend=100, state=State.REFUSED), None)
        assert [("open", None)] == query(path, "SELECT state, ended_at FROM calls")
        assert_sums(path)
        ledger.open_attempt(two)
        ledger.open_attempt(three)
        closings = (
            ledger.close_attempt(closing(two, state=State.ESTIMATED), None),
            ledger.close_attempt(closing(three, state=State.UNPRICED, spend=None), record(one, attempts=3)),
        )
        await asyncio.gather(*closings)
    assert [("unpriced", 700, 3)] == query(path, "SELECT state, spend, attempts FROM calls")
    assert [(700, 800, 1000)] == query(path, "SELECT sum(spend), sum(spend_all), sum(at_most) FROM rollups")
    assert_sums(path)


async def test_call_record_before_the_last_closing(tmp_path: Path) -> None:
    """An attempt that outlives its call's record keeps the call from looking settled, and settles it when it closes."""
    path = tmp_path / "ledger.db"
    async with await open_ledger(path) as ledger:
        one = opening()
        two = opening(call=one.call, number=2)
        ledger.open_attempt(one)
        ledger.open_attempt(two)
        await ledger.close_attempt(closing(one), record(one, attempts=2))
        await ledger.close_attempt(closing(two), None)
    assert [("metered", 1400, 2)] == query(path, "SELECT state, spend, attempts FROM calls")
    assert_sums(path)


@pytest.mark.parametrize(("status", "state"), [(403, "refused"), (200, "free"), (0, "refused")])
async def test_call_without_attempts(tmp_path: Path, status: int, state: str) -> None:
    """A call nothing was sent for is on record, costs nothing, and is not waited for."""
    path = tmp_path / "ledger.db"
    async with await open_ledger(path) as ledger:
        ledger.record_call(record(opening(), attempts=0, status=status))
    assert [(state, 0, 0)] == query(path, "SELECT state, spend, attempts FROM calls")
    assert_sums(path)


async def test_cancelled_waiter(tmp_path: Path) -> None:
    """Who stops waiting for a closing undoes nothing, not for himself and not for others who wait."""
    path = tmp_path / "ledger.db"
    async with await open_ledger(path) as ledger:
        first = opening()
        ledger.open_attempt(first)
        told = ledger.close_attempt(closing(first), record(first))
        again = ledger.close_attempt(closing(first), None)
        told.cancel()
        await again
        assert told.cancelled()
    assert [("metered",)] == query(path, "SELECT state FROM calls")
    assert_sums(path)


async def test_long_open_attempts_get_rows(tmp_path: Path) -> None:
    """An attempt open for more than a tick shows as open, and its closing updates that row."""
    path = tmp_path / "ledger.db"
    async with await open_ledger(path, LedgerLimits(tick_s=0.01)) as ledger:
        first = opening()
        ledger.open_attempt(first)
        await until(lambda: bool(query(path, "SELECT 1 FROM attempts")))
        assert [("open", None, None)] == query(path, "SELECT state, spend, ended_at FROM attempts")
        assert [("open", 1000)] == query(path, "SELECT state, at_most FROM rollups")
        assert_sums(path)
        await ledger.close_attempt(closing(first), record(first))
    assert [("metered", 700)] == query(path, "SELECT state, spend FROM attempts")
    assert [("metered", 0, 1, 1)] == query(path, "SELECT state, at_most, calls, attempts FROM rollups")
    assert_sums(path)


async def test_segments_alternate(tmp_path: Path) -> None:
    """Attempts that stay open over many turns of the journal keep their place: they move to rows, nothing is lost."""
    path = tmp_path / "ledger.db"
    limits = LedgerLimits(openings_bytes=8 * 1024, tick_s=1000)
    async with await open_ledger(path, limits) as ledger:
        held = [opening() for _ in range(5)]
        for one in held:
            ledger.open_attempt(one)
        for _ in range(300):
            one = opening()
            ledger.open_attempt(one)
            await ledger.close_attempt(closing(one), record(one))
        assert {"open"} == {
            state for one in held for (state,) in query(path, "SELECT state FROM attempts WHERE id = ?", one.attempt)
        }
        for one in held:
            await ledger.close_attempt(closing(one), record(one))
    assert [(305,)] == query(path, "SELECT count(*) FROM attempts WHERE state = 'metered'")
    assert_sums(path)


async def test_full_journal_refuses(tmp_path: Path) -> None:
    """Openings nobody has written yet never overwrite each other: when both segments are full the next is refused."""
    path = tmp_path / "ledger.db"
    async with await open_ledger(path, LedgerLimits(openings_bytes=2 * 1024, tick_s=1000)) as ledger:
        opened = []
        with pytest.raises(StoreError, match="journal is full"):
            while True:
                one = opening()
                ledger.open_attempt(one)
                opened.append(one)
        assert len(opened) > 5
        assert len(opened) == ledger.open_attempts
        await asyncio.gather(*(ledger.close_attempt(closing(one), record(one)) for one in opened))
        one = opening()
        ledger.open_attempt(one)
        await ledger.close_attempt(closing(one), record(one))
    assert [(len(opened) + 1,)] == query(path, "SELECT count(*) FROM attempts")
    assert_sums(path)


async def test_room_for_every_closing(tmp_path: Path) -> None:
    """No more attempts may be open than the journal could take closings of."""
    async with await open_ledger(tmp_path / "ledger.db", LedgerLimits(closings_bytes=8 * 1024)) as ledger:
        for _ in range(7):
            ledger.open_attempt(opening())
        with pytest.raises(StoreError, match="7 attempts are open at once"):
            ledger.open_attempt(opening())


async def test_power(tmp_path: Path) -> None:
    """With durability ``power`` an opening is waited for; many waits share a sync."""
    path = tmp_path / "ledger.db"
    async with await open_ledger(path, durability="power") as ledger:
        openings = [opening() for _ in range(50)]
        waits = [ledger.open_attempt(one) for one in openings]
        assert all(wait is not None for wait in waits)
        await asyncio.gather(*(wait for wait in waits if wait is not None))
        await asyncio.gather(*(ledger.close_attempt(closing(one), record(one)) for one in openings))
    assert [(50,)] == query(path, "SELECT count(*) FROM calls WHERE state = 'metered'")


async def test_a_closing_no_database_takes(tmp_path: Path) -> None:
    """Whoever waits for it is told that it never lasts; what was written with it lasts."""
    path = tmp_path / "ledger.db"
    async with await open_ledger(path) as ledger:
        first, second = opening(), opening()
        ledger.open_attempt(first)
        ledger.open_attempt(second)
        never = ledger.close_attempt(closing(first, error_type=["no text"]), record(first))
        await ledger.close_attempt(closing(second), record(second))
        with pytest.raises(NeverOnRecord, match="not supported"):
            await never
    assert [("interrupted",), ("metered",)] == query(path, "SELECT state FROM attempts ORDER BY state")


async def test_close_interrupts_what_is_open(tmp_path: Path) -> None:
    """What is still open when the ledger closes is interrupted, not forgotten; nothing may be told to it any more."""
    path = tmp_path / "ledger.db"
    ledger = await open_ledger(path)
    first = opening()
    ledger.open_attempt(first)
    await ledger.close()
    await ledger.close()
    assert [("interrupted", None, NOW)] == query(path, "SELECT state, spend, ended_at FROM attempts")
    assert [("interrupted", None)] == query(path, "SELECT state, status FROM calls")
    assert_sums(path)
    with pytest.raises(StoreError, match="closed"):
        ledger.open_attempt(opening())
    with pytest.raises(StoreError, match="closed"):
        await ledger.close_attempt(closing(first), None)
    ledger.record_call(record(first, attempts=0))
    assert 1 == threading.active_count()


async def test_second_server_is_refused(tmp_path: Path) -> None:
    """One database, one server, also by another name of the file; the refusal names the pid and changes no row."""
    path = tmp_path / "ledger.db"
    link = tmp_path / "link.db"
    async with await open_ledger(path) as ledger:
        link.symlink_to(path)
        ledger.open_attempt(opening())
        for name in (path, link):
            with pytest.raises(StartError, match=r"another bedrock-gateway \(pid 4711\) runs on this database"):
                await open_ledger(name)
        assert [(1, None)] == query(path, "SELECT count(*), max(ended_at) FROM runs")
    async with await open_ledger(link):
        pass


async def test_records_at_fault(tmp_path: Path) -> None:
    """Values out of range and text that is no Unicode are kept in range and noted; they hold up nobody."""
    path = tmp_path / "ledger.db"
    async with await open_ledger(path) as ledger:
        odd = opening(model="caf\udce9", caller="x" * 100_000, spend_at_most=1 << 80)
        huge = opening()
        negative = opening()
        fine = opening()
        for one in (odd, huge, negative, fine):
            ledger.open_attempt(one)
        await asyncio.gather(
            ledger.close_attempt(closing(odd, error_type="\udcff"), record(odd)),
            ledger.close_attempt(closing(huge, spend=1 << 90, usage=Usage(input_tokens=1 << 70)), record(huge)),
            ledger.close_attempt(closing(negative, usage=Usage(output_tokens=-5)), record(negative)),
            ledger.close_attempt(closing(fine), record(fine)),
        )
    assert [(4,)] == query(path, "SELECT count(*) FROM calls WHERE state = 'metered'")
    assert [("caf?",)] == query(path, "SELECT model FROM attempts WHERE id = ?", odd.attempt)
    assert [(1 << 53, 1 << 53, '["quantity out of range", "spend out of range"]')] == query(
        path, "SELECT spend, input, notes FROM attempts WHERE id = ?", huge.attempt
    )
    assert_sums(path)


async def test_unwritable_record_holds_up_nobody(tmp_path: Path) -> None:
    """A record no database could take fails alone: its neighbours are booked, its attempt stays visibly unsettled."""
    path = tmp_path / "ledger.db"
    async with await open_ledger(path) as ledger:
        bad, good = opening(), opening()
        ledger.open_attempt(bad)
        ledger.open_attempt(good)
        broken = closing(bad, usage=Usage(input_tokens=None))  # type: ignore[arg-type]
        results = await asyncio.gather(
            ledger.close_attempt(broken, record(bad)),
            ledger.close_attempt(closing(good), record(good)),
            return_exceptions=True,
        )
        assert isinstance(results[0], StoreError)
        assert results[1] is None
        assert ledger.trouble is None
    assert [("metered",)] == query(path, "SELECT state FROM calls WHERE id = ?", good.call)
    assert [("interrupted",)] == query(path, "SELECT state FROM calls WHERE id = ?", bad.call)
    assert_sums(path)


async def test_clock_set_back(tmp_path: Path) -> None:
    """A wall clock that goes back between opening and closing, or between runs, loses no row and no sum."""
    path = tmp_path / "ledger.db"
    times = iter(range(NOW, 0, -3_600_000))
    ledger = await Ledger.open(
        path, simulated=False, durability="process", now_ms=lambda: next(times), version="1", pid=os.getpid()
    )
    first = opening(started_at=NOW, attempt=identifier(NOW))
    ledger.open_attempt(first)
    await ledger.close_attempt(closing(first, ended_at=NOW - 7_200_000), record(first, started_at=NOW - 3_600_000))
    ledger.open_attempt(opening(started_at=NOW - 9_000_000))
    await ledger.close()
    async with await open_ledger(path):
        pass
    assert [(2,)] == query(path, "SELECT count(*) FROM calls")
    assert_sums(path)


async def test_start_cancelled(tmp_path: Path) -> None:
    """A start that is cancelled half way leaves nothing locked, nothing running and a ledger the next start takes."""
    path = tmp_path / "ledger.db"
    for turns in range(6):
        starting = asyncio.create_task(open_ledger(path))
        for _ in range(turns):
            await asyncio.sleep(0)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
    async with await open_ledger(path):
        pass
    assert 1 == threading.active_count()
    assert [(1,)] == query(path, "SELECT count(*) FROM runs WHERE clean")
