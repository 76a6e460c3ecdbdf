"""Start and end of a run in the database: what dead runs left is settled, the new run is entered; at the end it is
signed off.

Knows what the journal and the open rows of dead runs mean; holds no state. Everything at start is one transaction,
and the journal is emptied only after it: whoever dies in the middle leaves all as it was, or all done, and doing it
again adds nothing. May only be used by the holder of the lock.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
from pathlib import Path

import attrs

from bedrock_gateway.errors import StartError
from bedrock_gateway.store.frames import ClosingFrame, decode
from bedrock_gateway.store.journal import Journal, SegmentContents, read_segment
from bedrock_gateway.store.limits import LedgerLimits
from bedrock_gateway.store.lock import DatabaseLock
from bedrock_gateway.store.records import Opening
from bedrock_gateway.store.rollups import Rollups
from bedrock_gateway.store.rows import Change, apply_changes, interrupt_open
from bedrock_gateway.store.schema import QUARTER_MS, connect, migrate, prepare_file, start_error

__all__ = ["Recovered", "begin_run", "end_run", "start_run"]


@attrs.frozen(kw_only=True)
class Recovered:
    """What was found at start.

    Attributes:
        run: number of the new run.
        interrupted: attempts of dead runs that were open.
        folded: closings taken from the journal.
        damaged: damaged places in the journal.
        generations: of the journal's three files.
        latest: UTC ms at which the newest quarter-hour begins that anything was booked in; 0 where nothing was.
    """

    run: int
    interrupted: int
    folded: int
    damaged: int
    generations: tuple[int, int, int]
    latest: int


def begin_run(path: Path, *, run: str, simulated: bool, now_ms: int, version: str, pid: int) -> Recovered:
    """Make the database ready, settle what dead runs left, and enter the new run ``run``.

    Raises:
        StartError: the database cannot be used.
    """
    prepare_file(path)
    contents: list[SegmentContents] = []
    for file in Journal.paths(path):
        try:
            contents.append(read_segment(file))
        except OSError as error:
            raise StartError(f"{file}: cannot be read: {error.strerror}") from error
    connection = connect(path)
    try:
        migrate(connection, path, simulated=simulated, now_ms=now_ms)
        for file, content in zip(Journal.paths(path), contents, strict=True):
            if content.payloads and content.simulated not in (None, simulated):
                kind = "a simulated" if content.simulated else "a real"
                raise StartError(f"{file}: holds records of {kind} run of another ledger; move it away")
        cursor = connection.cursor()
        cursor.execute("BEGIN IMMEDIATE")
        rollups = Rollups()
        folded = _fold(cursor, contents, now_ms, rollups)
        interrupted = interrupt_open(cursor, now_ms, rollups)
        rollups.write(cursor)
        cursor.execute("UPDATE runs SET ended_at = ?, clean = 0 WHERE ended_at IS NULL", (now_ms,))
        cursor.execute(
            "INSERT INTO runs (id, pid, version, started_at) VALUES (?, ?, ?, ?)", (run, pid, version, now_ms)
        )
        number = cursor.lastrowid
        (newest,) = cursor.execute("SELECT coalesce(max(quarter), 0) FROM rollups").fetchone()
        cursor.execute("COMMIT")
    except sqlite3.Error as error:
        raise start_error(path, error) from error
    finally:
        connection.close()
    return Recovered(
        run=number or 0,
        interrupted=interrupted,
        folded=folded,
        damaged=sum(content.damaged for content in contents),
        generations=(contents[0].generation, contents[1].generation, contents[2].generation),
        latest=newest * QUARTER_MS,
    )


def _fold(cursor: sqlite3.Cursor, contents: list[SegmentContents], now_ms: int, rollups: Rollups) -> int:
    """Write what the journal holds: openings as open, then closings; return how many closings there were."""
    closings = 0
    for content in contents:
        if not content.payloads:
            continue
        run = _run_number(cursor, content.run, now_ms)
        changes: list[Change] = []
        for payload in content.payloads:
            record = decode(payload)
            if isinstance(record, Opening):
                # Nearly every opening in the journal was settled long before the end: those cost one look.
                known = cursor.execute(
                    "SELECT 1 FROM attempts WHERE call = ? AND id = ?", (record.call, record.attempt)
                ).fetchone()
                if known is None:
                    changes.append((record.call, record, None, None, True))
            elif isinstance(record, ClosingFrame):
                changes.append((record.call_id, None, record.closing, record.call, True))
                closings += 1
        apply_changes(cursor, run, changes, rollups)
    return closings


def _run_number(cursor: sqlite3.Cursor, run: str | None, now_ms: int) -> int:
    """Return the number of a run the journal names; one the database never heard of (lost with its disk) is entered."""
    if run is None:
        (latest,) = cursor.execute("SELECT coalesce(max(number), 0) FROM runs").fetchone()
        return int(latest)
    cursor.execute(
        "INSERT INTO runs (id, pid, version, started_at) VALUES (?, 0, '', ?) ON CONFLICT DO NOTHING", (run, now_ms)
    )
    (number,) = cursor.execute("SELECT number FROM runs WHERE id = ?", (run,)).fetchone()
    return int(number)


def end_run(path: Path, run: int, now_ms: int) -> int:
    """Sign a run off: what it left open is interrupted; bring the WAL into the database. Return how many attempts
    were open.

    Raises:
        StartError: the database cannot be reached.
        sqlite3.Error: it did not take it.
    """
    connection = connect(path)
    try:
        cursor = connection.cursor()
        cursor.execute("BEGIN IMMEDIATE")
        rollups = Rollups()
        interrupted = interrupt_open(cursor, now_ms, rollups)
        rollups.write(cursor)
        cursor.execute("UPDATE runs SET ended_at = ?, clean = 1 WHERE number = ?", (now_ms, run))
        cursor.execute("COMMIT")
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()
    return interrupted


def start_run(
    path: Path,
    run_id: str,
    simulated: bool,
    now_ms: int,
    version: str,
    pid: int,
    limits: LedgerLimits,
    stack: contextlib.AsyncExitStack,
) -> tuple[Path, Recovered, Journal]:
    """Lock the database, settle what dead runs left, begin the run, make its journal. Blocks: for a thread.

    Returns the database's path with links resolved, what was found, and the journal; the closing of what is open by
    then, the lock's too, is put on ``stack``.

    Raises:
        StartError: the database cannot be used.
    """
    # One file has one lock, by whatever name it is reached.
    resolved = Path(os.path.realpath(path))
    try:
        resolved.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(f"{resolved.parent}: cannot be created for the ledger: {error.strerror}") from error
    try:
        is_directory = stat.S_ISDIR(resolved.stat().st_mode)
    except FileNotFoundError:
        is_directory = False
    except OSError as error:
        raise StartError(f"{resolved}: the ledger cannot be reached: {error.strerror}") from error
    if is_directory:
        raise StartError(f"{resolved}: is a directory; the ledger is one file, for example {resolved / 'ledger.db'}")
    lock = DatabaseLock.acquire(resolved, pid)
    stack.callback(lock.release)
    recovered = begin_run(resolved, run=run_id, simulated=simulated, now_ms=now_ms, version=version, pid=pid)
    try:
        journal = Journal.create(
            resolved,
            run=run_id,
            simulated=simulated,
            openings_size=limits.openings_bytes,
            closings_size=limits.closings_bytes,
            generations=recovered.generations,
        )
    except OSError as error:
        raise StartError(f"{resolved}: no room for the ledger's journal beside it: {error.strerror}") from error
    stack.callback(journal.close)
    return resolved, recovered, journal
