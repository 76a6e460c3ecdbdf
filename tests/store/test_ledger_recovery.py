"""What a killed process leaves: nothing promised is lost, nothing is there twice, the rollups are the sums."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from ledger_samples import NOW, assert_sums, closing, identifier, open_ledger, opening, query, record

from bedrock_gateway.store.frames import encode_closing, encode_opening
from bedrock_gateway.store.journal import Journal, read_segment
from bedrock_gateway.store.records import State
from bedrock_gateway.store.recovery import begin_run

HERE = Path(__file__).parent


def _kill_at(process: subprocess.Popen[bytes], lines: int, extra_s: float) -> list[str]:
    """Read what the child was promised, kill it ``extra_s`` after it said ``lines`` lines, return all it said."""
    assert process.stdout is not None
    said = bytearray()
    while said.count(b"\n") < lines:
        data = os.read(process.stdout.fileno(), 65536)
        assert data, "the child ended by itself"
        said += data
    timer = threading.Timer(extra_s, process.kill)
    timer.start()
    while data := os.read(process.stdout.fileno(), 65536):
        said += data
    timer.join()
    assert -9 == process.wait(10)
    process.stdout.close()
    return said.decode().split("\n")[:-1]


def test_killed_at_random_moments(tmp_path: Path) -> None:
    """After each ``kill -9`` under load: openings promised are there, closings promised are closed, none twice."""
    path = tmp_path / "ledger.db"
    chance = random.Random(11)
    opened: set[str] = set()
    closed: set[str] = set()
    kills = 30
    begun = time.monotonic()
    for _ in range(kills):
        child = subprocess.Popen([sys.executable, HERE / "ledger_child.py", path, "16"], stdout=subprocess.PIPE)
        for line in _kill_at(child, chance.randrange(1, 400), chance.random() * 0.02):
            (opened if line[0] == "O" else closed).add(line[2:])
        if time.monotonic() - begun > 40:
            pytest.fail("the machine is too slow for this many kills")
    begin_run(path, run=identifier(), simulated=False, now_ms=NOW, version="1", pid=1)
    states = dict(query(path, "SELECT id, state FROM attempts"))
    assert len(closed) > kills
    assert set() == opened - set(states)
    assert set() == {attempt for attempt in closed if states[attempt] not in ("metered", "refused")}
    assert {"metered", "refused", "interrupted"} == set(states.values())
    assert [(len(states),)] == query(path, "SELECT count(DISTINCT id) FROM attempts")
    assert [(0,)] == query(path, "SELECT count(*) FROM calls WHERE ended_at IS NULL")
    assert [(kills, 0)] == query(path, "SELECT count(clean), sum(clean) FROM runs")
    assert_sums(path)


async def _left_behind(folder: Path) -> tuple[Path, dict[str, str]]:
    """Make the files of a run that died with work under way; return the database and the states expected."""
    path = folder / "made" / "ledger.db"
    ledger = await open_ledger(path)
    done, held, told, told_in_part = opening(), opening(), opening(), opening()
    second = opening(call=told_in_part.call, number=2)
    for one in (done, held, told, told_in_part, second):
        ledger.open_attempt(one)
    await ledger.close_attempt(closing(done), record(done))
    await ledger.close_attempt(closing(told_in_part, state=State.REFUSED, charged=False, spend=None), None)
    journal = ledger._journal
    assert journal.append_closing(encode_closing(told.call, closing(told, notes=("kept",)), record(told)))
    copy = folder / "copy"
    shutil.copytree(path.parent, copy)
    await ledger.close()
    return copy / "ledger.db", {
        done.attempt: "metered",
        held.attempt: "interrupted",
        told.attempt: "metered",
        told_in_part.attempt: "refused",
        second.attempt: "interrupted",
    }


async def test_journal_is_folded(tmp_path: Path) -> None:
    """Openings without a closing become interrupted, closings of the journal are booked as told."""
    path, expected = await _left_behind(tmp_path)
    async with await open_ledger(path):
        assert expected == dict(query(path, "SELECT id, state FROM attempts"))
        assert [("interrupted", None, 2), ("interrupted", None, 1), ("metered", 200, 1), ("metered", 200, 1)] == sorted(
            query(path, "SELECT state, status, attempts FROM calls"), key=lambda row: (row[0], -row[2])
        )
        assert_sums(path)
    assert_sums(path)


async def test_recovery_repeated(tmp_path: Path) -> None:
    """Recovery that is done again because its end was not noted adds nothing."""
    path, expected = await _left_behind(tmp_path)
    for _ in range(3):
        begin_run(path, run=identifier(), simulated=False, now_ms=NOW, version="1", pid=1)
        assert expected == dict(query(path, "SELECT id, state FROM attempts"))
        assert_sums(path)


async def test_recovery_killed_half_way(tmp_path: Path) -> None:
    """Recovery that dies at any write leaves a database from which the next recovery makes the same rows."""
    path, expected = await _left_behind(tmp_path)
    for writes in range(1, 200, 4):
        attempt = tmp_path / f"try-{writes}"
        shutil.copytree(path.parent, attempt)
        child = await asyncio.create_subprocess_exec(
            sys.executable, HERE / "recovery_child.py", attempt / "ledger.db", str(writes)
        )
        assert await child.wait() in (0, -9)
        begin_run(attempt / "ledger.db", run=identifier(), simulated=False, now_ms=NOW, version="1", pid=1)
        assert expected == dict(query(attempt / "ledger.db", "SELECT id, state FROM attempts")), writes
        assert_sums(attempt / "ledger.db")
        if child.returncode == 0:
            break
        shutil.rmtree(attempt)
    else:
        pytest.fail("recovery never came to its end")
    assert writes > 20


async def test_damaged_journal(tmp_path: Path) -> None:
    """Whatever bytes the journal's files hold, the gateway starts and keeps what is sound in them."""
    path, expected = await _left_behind(tmp_path)
    chance = random.Random(3)
    for turn in range(15):
        attempt = tmp_path / "try"
        shutil.copytree(path.parent, attempt)
        for file in Journal.paths(attempt / "ledger.db"):
            data = bytearray(file.read_bytes())
            for _ in range(chance.randrange(1, 8)):
                data[chance.randrange(0, 1500)] = chance.randrange(256)
            if turn % 4 == 0:
                del data[chance.randrange(len(data)) :]
            file.write_bytes(data)
        found = begin_run(attempt / "ledger.db", run=identifier(), simulated=False, now_ms=NOW, version="1", pid=1)
        states = dict(query(attempt / "ledger.db", "SELECT id, state FROM attempts"))
        assert found.run == 2 or found.run == 3
        for attempt_id, state in states.items():
            assert expected[attempt_id] in (state, "metered")
        assert_sums(attempt / "ledger.db")
        shutil.rmtree(attempt)


async def test_damage_in_the_middle_is_skipped(tmp_path: Path) -> None:
    """One damaged record costs one record: reading goes on behind it, and the damage is counted. A damaged head costs
    none.
    """
    path, _ = await _left_behind(tmp_path)
    file = Journal.paths(path)[0]
    data = bytearray(file.read_bytes())
    before = read_segment(file)
    second = 64 + 16 + len(before.payloads[0])
    data[second + 40] ^= 0xFF
    file.write_bytes(data)
    after = read_segment(file)
    assert before.payloads[:1] + before.payloads[2:] == after.payloads
    assert 1 == after.damaged
    data[20] ^= 0xFF
    file.write_bytes(data)
    headless = read_segment(file)
    assert after.payloads == headless.payloads
    assert (None, None) == (headless.run, headless.simulated)


async def test_torn_last_record(tmp_path: Path) -> None:
    """A record the process died in the middle of is ignored, at whatever byte it is torn."""
    path = tmp_path / "ledger.db"
    async with await open_ledger(path) as ledger:
        one, two = opening(), opening()
        ledger.open_attempt(one)
        ledger.open_attempt(two)
        file = Journal.paths(path)[0]
        data = file.read_bytes()
    last = len(encode_opening(two)) + 16
    end = 64 + last + len(encode_opening(one)) + 16
    torn = tmp_path / "torn"
    for length in range(last):
        torn.write_bytes(data[: end - last + length] + bytes(200))
        contents = read_segment(torn)
        assert ((encode_opening(one),), 0) == (contents.payloads, contents.damaged)


async def test_database_lost_journal_kept(tmp_path: Path) -> None:
    """A journal whose database is gone still tells what was sent."""
    path, expected = await _left_behind(tmp_path)
    for file in path.parent.iterdir():
        if file.name in ("ledger.db", "ledger.db-wal", "ledger.db-shm"):
            file.unlink()
    async with await open_ledger(path):
        states = dict(query(path, "SELECT id, state FROM attempts"))
    assert expected.keys() == states.keys()
    assert 1 == list(states.values()).count("metered")
    assert_sums(path)


def test_many_openings_are_settled_in_time(tmp_path: Path) -> None:
    """A whole journal of settled openings costs one look each, in one transaction."""
    path = tmp_path / "ledger.db"
    begin_run(path, run=identifier(), simulated=False, now_ms=NOW, version="1", pid=1)
    sizes = {"openings_size": 1 << 20, "closings_size": 1 << 16}
    journal = Journal.create(path, run=identifier(), simulated=False, generations=(0, 0, 0), **sizes)
    openings = [opening() for _ in range(3000)]
    for one in openings:
        journal.append_opening(encode_opening(one))
    journal.close()
    assert 3000 == begin_run(path, run=identifier(), simulated=False, now_ms=NOW, version="1", pid=1).interrupted
    assert 0 == begin_run(path, run=identifier(), simulated=False, now_ms=NOW, version="1", pid=1).interrupted
    with sqlite3.connect(path) as connection:
        assert (3000,) == connection.execute("SELECT count(*) FROM attempts").fetchone()
    connection.close()
    assert_sums(path)
