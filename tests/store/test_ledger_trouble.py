"""A full disk and a locked database: no hang, nothing lost, admission stops first and comes back."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ledger_samples import assert_sums, closing, open_ledger, opening, query, record, until

from bedrock_gateway.errors import StoreError
from bedrock_gateway.store.limits import LedgerLimits

HERE = Path(__file__).parent
QUICK = LedgerLimits(commit_within_s=0.3, busy_s=0.1, retry_s=(0.01, 0.05), tick_s=0.05)


class Locker:
    """Another process that keeps the database locked."""

    def __init__(self, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, HERE / "ledger_locker.py", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert "locked\n" == self.process.stdout.readline()

    def release(self) -> None:
        """Let the database go, and wait until it is free."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        assert "free\n" == self.process.stdout.readline()

    def end(self) -> None:
        """End the process."""
        self.process.communicate("\n\n", timeout=10)


async def test_database_locked_by_another_process(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Closings last in the journal, openings are refused with the true cause, and all is well when the lock goes."""
    path = tmp_path / "ledger.db"
    caplog.set_level(logging.INFO, "bedrock_gateway.store")
    async with await open_ledger(path, QUICK) as ledger:
        openings = [opening() for _ in range(20)]
        for one in openings:
            ledger.open_attempt(one)
        locker = Locker(path)
        try:
            async with asyncio.timeout(10):
                await asyncio.gather(*(ledger.close_attempt(closing(one), record(one)) for one in openings[:10]))
                await until(lambda: ledger.trouble == "database is locked")
                # In trouble a closing does not even wait for the database's refusal.
                late = [ledger.close_attempt(closing(one), record(one)) for one in openings[10:]]
                assert all(future.done() for future in late)
                again = ledger.close_attempt(closing(openings[0]), None)
                assert again.done()
                with pytest.raises(StoreError, match=r"^database is locked$"):
                    ledger.open_attempt(opening())
                ledger.record_call(record(opening(), attempts=0, status=503))
                assert [(0,)] == query(path, "SELECT count(*) FROM attempts WHERE state = 'metered'")
                locker.release()
                await until(lambda: ledger.trouble is None)
        finally:
            locker.end()
        assert [(20,)] == query(path, "SELECT count(*) FROM attempts WHERE state = 'metered'")
        one = opening()
        ledger.open_attempt(one)
        await ledger.close_attempt(closing(one), record(one))
    assert [(22,)] == query(path, "SELECT count(*) FROM calls")
    assert_sums(path)
    lines = [entry.getMessage() for entry in caplog.records]
    assert 1 == sum("takes no records, no call is admitted" in line for line in lines), lines
    assert 1 == sum("takes records again" in line for line in lines), lines


@pytest.mark.parametrize("name", ["ledger.db", "ledger.db.lock"])
async def test_files_taken_away(tmp_path: Path, name: str) -> None:
    """Records of a file that was removed would be gone with the process: none is promised until it is back."""
    path = tmp_path / "ledger.db"
    async with await open_ledger(path, QUICK) as ledger:
        one = opening()
        ledger.open_attempt(one)
        (tmp_path / name).rename(tmp_path / "away")
        await until(lambda: ledger.trouble is not None)
        with pytest.raises(StoreError, match=rf"/{name} was taken away \(No such file or directory\); put it back, or"):
            ledger.open_attempt(opening())
        await ledger.close_attempt(closing(one), record(one))
        await until(lambda: not ledger.queued)
        assert ledger.trouble is not None, "a record written to a file nobody can find ended the trouble"
        (tmp_path / name).write_bytes((tmp_path / "away").read_bytes())
        await until(lambda: "was replaced by another file; start the gateway again" in str(ledger.trouble))
        (tmp_path / "away").rename(tmp_path / name)
        await until(lambda: ledger.trouble is None)
    assert [("metered", 700)] == query(path, "SELECT state, spend FROM attempts")
    assert_sums(path)


async def test_locked_until_the_end(tmp_path: Path) -> None:
    """A ledger that has to close while the database is locked does so in time; the next start books what it owed."""
    path = tmp_path / "ledger.db"
    ledger = await open_ledger(path, QUICK)
    one, held = opening(), opening()
    ledger.open_attempt(one)
    ledger.open_attempt(held)
    locker = Locker(path)
    try:
        async with asyncio.timeout(10):
            await ledger.close_attempt(closing(one), record(one))
            await ledger.close()
    finally:
        locker.end()
    assert [(0,)] == query(path, "SELECT count(*) FROM attempts WHERE state = 'metered'")
    async with await open_ledger(path):
        assert [("metered", 700)] == query(path, "SELECT state, spend FROM attempts WHERE id = ?", one.attempt)
        assert [("interrupted",)] == query(path, "SELECT state FROM attempts WHERE id = ?", held.attempt)
    assert_sums(path)


async def test_closing_room_spent(tmp_path: Path) -> None:
    """The room kept for closings suffices for every attempt that may be open, with whatever they have to say."""
    path = tmp_path / "ledger.db"
    limits = LedgerLimits(
        openings_bytes=1024 * 1024, closings_bytes=64 * 1024, commit_within_s=0.3, busy_s=0.1, retry_s=(0.01, 0.05)
    )
    async with await open_ledger(path, limits) as ledger:
        openings = []
        while True:
            one = opening()
            try:
                ledger.open_attempt(one)
            except StoreError:
                break
            openings.append(one)
        locker = Locker(path)
        try:
            async with asyncio.timeout(10):
                await asyncio.gather(
                    *(
                        ledger.close_attempt(
                            closing(one, error_type="é" * 5000, notes=("n" * 400,) * 9),
                            record(one, error_type="ü" * 999),
                        )
                        for one in openings
                    )
                )
        finally:
            locker.end()
    assert [(len(openings),)] == query(path, "SELECT count(*) FROM attempts WHERE state = 'metered'")
    assert_sums(path)


async def test_a_journal_that_cannot_be_synced(tmp_path: Path) -> None:
    """With durability ``power`` a closing that the database does not take lasts only where the disk has it: whoever
    waits for it is told otherwise, and it is written as soon as the database takes it.
    """
    path = tmp_path / "ledger.db"
    async with await open_ledger(path, QUICK, durability="power") as ledger:
        first = opening()
        opened = ledger.open_attempt(first)
        assert opened is not None
        await opened
        segment = ledger._journal.other.descriptor
        kept, (out, into) = os.dup(segment), os.pipe()
        locker = Locker(path)
        try:
            os.dup2(into, segment)  # a pipe is no disk
            with pytest.raises(StoreError, match="cannot be synced"):
                await ledger.close_attempt(closing(first), record(first))
        finally:
            os.dup2(kept, segment)
            for descriptor in (kept, out, into):
                os.close(descriptor)
            locker.release()
            locker.end()
        await until(lambda: ledger.trouble is None)
        assert [("metered",)] == query(path, "SELECT state FROM attempts")
    assert_sums(path)


@pytest.mark.parametrize("how", ["recover", "close", "die"])
def test_disk_full(tmp_path: Path, how: str) -> None:
    """When files can grow no more, every closing promised is booked: at once, at the end, or at the next start."""
    path = tmp_path / "ledger.db"
    child = subprocess.run(
        [sys.executable, HERE / "ledger_full.py", path, how], capture_output=True, text=True, timeout=50, check=False
    )
    lines = child.stdout.splitlines()
    assert (-9 if how == "die" else 0) == child.returncode, child.stderr
    causes = [line[2:] for line in lines if line.startswith("T ")]
    assert 1 == len(causes)
    assert "full" in causes[0] or "disk I/O error" in causes[0], causes
    assert ("R" in lines) == (how == "recover")
    assert 1 == child.stderr.count("takes no records"), child.stderr

    async def start() -> None:
        async with await open_ledger(path):
            pass

    asyncio.run(start())
    promised = {line[2:] for line in lines if line.startswith("C ")}
    assert len(promised) > 20
    assert promised == {row[0] for row in query(path, "SELECT id FROM attempts WHERE state = 'metered'")}
    assert_sums(path)
