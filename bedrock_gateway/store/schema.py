"""The tables, and how a database file becomes a ledger: numbered migrations, each in one transaction with its record.

Knows the schema and SQLite's own faults; knows no rows. Times are UTC ms, money is nano-USD, ids are UUIDv7 text.
"""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path

from bedrock_gateway.errors import StartError

__all__ = [
    "APPLICATION_ID",
    "MIGRATIONS",
    "QUARTER_MS",
    "connect",
    "migrate",
    "prepare_file",
    "refuse_other_kind",
    "start_error",
]

APPLICATION_ID = 0x42475731
"""``PRAGMA application_id`` of a ledger: "BGW1"."""

QUARTER_MS = 900_000
"""Milliseconds of the quarter-hours rollups are kept by."""

_BUSY_AT_START_S = 5.0

_FIRST = f"""
PRAGMA application_id = {APPLICATION_ID};

CREATE TABLE ledger (
    simulated   INTEGER NOT NULL,   -- 1: filled by simulated runs, never beside real ones
    created_at  INTEGER NOT NULL    -- UTC ms
);

CREATE TABLE runs (
    number      INTEGER PRIMARY KEY,  -- short name of the run, used by the other tables
    id          TEXT NOT NULL UNIQUE, -- UUIDv7
    pid         INTEGER NOT NULL,     -- process id
    version     TEXT NOT NULL,        -- version of bedrock_gateway
    started_at  INTEGER NOT NULL,     -- UTC ms
    ended_at    INTEGER,              -- UTC ms; of a run that died: when that was noticed; null while it lives
    clean       INTEGER               -- 1: ended in order, 0: died; null while it lives
);

CREATE TABLE calls (
    id           TEXT PRIMARY KEY,  -- UUIDv7
    run          INTEGER NOT NULL,  -- runs.number
    caller       TEXT NOT NULL,     -- stable id
    dialect      TEXT NOT NULL,     -- bedrock, openai, anthropic
    operation    TEXT NOT NULL,     -- as AWS spells it
    model_group  TEXT NOT NULL,     -- as the caller asked
    model        TEXT NOT NULL,     -- of the last attempt; '' without attempts
    deployment   TEXT NOT NULL,     -- stable id, of the last attempt; '' without attempts
    state        TEXT NOT NULL,     -- the worst of its attempts; open until the call has ended
    spend        INTEGER,           -- nano-USD, sum of its charged attempts as far as known; null: none is known
    started_at   INTEGER NOT NULL,  -- UTC ms of admission; says which quarter-hour call and attempts count in
    ended_at     INTEGER,           -- UTC ms; null while it is under way
    status       INTEGER,           -- HTTP status answered; 0: the caller left before; null: the run died before
    error_type   TEXT,              -- error type answered
    attempts     INTEGER NOT NULL,  -- requests sent upstream
    caller_left  INTEGER NOT NULL   -- 1: the caller left before the end
) WITHOUT ROWID;

CREATE INDEX calls_under_way ON calls (run) WHERE ended_at IS NULL;

CREATE TABLE attempts (
    call            TEXT NOT NULL,     -- calls.id
    id              TEXT NOT NULL,     -- UUIDv7
    run             INTEGER NOT NULL,  -- runs.number
    number          INTEGER NOT NULL,  -- 1 for the first of the call
    part            INTEGER NOT NULL,  -- of a call that fans out; else 0
    deployment      TEXT NOT NULL,     -- stable id
    model           TEXT NOT NULL,     -- model id or ARN
    region          TEXT NOT NULL,     -- AWS region
    state           TEXT NOT NULL,     -- one of records.State
    charged         INTEGER NOT NULL,  -- 1: counts in the call's spend
    spend           INTEGER,           -- nano-USD; null where the state says so
    spend_at_most   INTEGER,           -- nano-USD; null where nothing bounds it
    started_at      INTEGER NOT NULL,  -- UTC ms
    ended_at        INTEGER,           -- UTC ms; null while open
    status          INTEGER,           -- upstream's HTTP status; null where none arrived
    error_type      TEXT,              -- AWS error or exception type, or our name of the fault
    aws_request_id  TEXT,              -- x-amzn-requestid
    input           INTEGER NOT NULL,  -- tokens, without cached ones
    output          INTEGER NOT NULL,  -- tokens
    cache_read      INTEGER NOT NULL,  -- tokens
    cache_write_5m  INTEGER NOT NULL,  -- tokens
    cache_write_1h  INTEGER NOT NULL,  -- tokens
    images          INTEGER NOT NULL,  -- images made
    usage_raw       TEXT,              -- AWS's own usage JSON
    notes           TEXT,              -- JSON array of remarks
    PRIMARY KEY (call, id)
) WITHOUT ROWID;

CREATE INDEX attempts_open ON attempts (run) WHERE state = 'open';

CREATE TABLE usage (
    call      TEXT NOT NULL,     -- attempts.call
    attempt   TEXT NOT NULL,     -- attempts.id
    meter     TEXT NOT NULL,     -- what was counted, where no column of attempts is for it
    quantity  INTEGER NOT NULL,  -- units of the meter
    PRIMARY KEY (call, attempt, meter)
) WITHOUT ROWID;

CREATE TABLE deployments (
    id       TEXT PRIMARY KEY,  -- stable id, as in calls and attempts
    name     TEXT NOT NULL,     -- what callers are shown
    model    TEXT NOT NULL,     -- model id or ARN it calls; '' where each call names one
    region   TEXT NOT NULL,     -- AWS region; '' where it has none of its own
    seen_at  INTEGER NOT NULL   -- UTC ms; when a run last named it
) WITHOUT ROWID;

CREATE TABLE rollups (
    quarter         INTEGER NOT NULL,  -- calls.started_at in whole quarter-hours since the epoch, UTC
    caller          TEXT NOT NULL,     -- as in calls
    model_group     TEXT NOT NULL,     -- as in calls
    model           TEXT NOT NULL,     -- as in attempts
    deployment      TEXT NOT NULL,     -- as in attempts
    operation       TEXT NOT NULL,     -- as in calls
    state           TEXT NOT NULL,     -- of the attempt; for the column calls: of the call
    calls           INTEGER NOT NULL,  -- calls with this model, deployment (of their last attempt) and state
    attempts        INTEGER NOT NULL,  -- attempts; all columns below are sums over them
    input           INTEGER NOT NULL,  -- tokens, without cached ones
    output          INTEGER NOT NULL,  -- tokens
    cache_read      INTEGER NOT NULL,  -- tokens
    cache_write_5m  INTEGER NOT NULL,  -- tokens
    cache_write_1h  INTEGER NOT NULL,  -- tokens
    images          INTEGER NOT NULL,  -- images made
    spend           INTEGER NOT NULL,  -- nano-USD of charged attempts
    spend_all       INTEGER NOT NULL,  -- nano-USD of all attempts
    at_most         INTEGER NOT NULL,  -- nano-USD: spend_at_most of charged attempts whose spend is null
    PRIMARY KEY (quarter, caller, model_group, model, deployment, operation, state)
) WITHOUT ROWID;
"""

MIGRATIONS: tuple[tuple[str, str], ...] = (("runs, calls, attempts, usage, deployments, rollups", _FIRST),)
"""Title and SQL of every migration; number 1 is the first. Never changed once released, only added to."""

_RECORDS = """
CREATE TABLE IF NOT EXISTS migrations (
    number      INTEGER PRIMARY KEY,  -- from 1
    title       TEXT NOT NULL,        -- what it brought
    applied_at  INTEGER NOT NULL      -- UTC ms
)
"""


def prepare_file(path: Path) -> None:
    """See to it that ``path`` is a file this process can read and write; create it with mode 0600.

    Raises:
        StartError: it is something else, or cannot be read, written or created.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(f"{path.parent}: cannot be created for the ledger: {error.strerror}") from error
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            return  # made by another process this moment; the lock decides between the two
        except OSError as error:
            raise StartError(f"{path}: the ledger cannot be created: {error.strerror}") from error
        return
    except OSError as error:
        raise StartError(f"{path}: the ledger cannot be reached: {error.strerror}") from error
    if stat.S_ISDIR(mode):
        raise StartError(f"{path}: is a directory; the ledger is one file, for example {path / 'ledger.db'}")
    if not stat.S_ISREG(mode):
        raise StartError(f"{path}: is not a regular file; the ledger is a SQLite database file")
    for right, word in ((os.R_OK, "readable"), (os.W_OK, "writable")):
        if not os.access(path, right):
            raise StartError(f"{path}: the ledger is not {word} for this user")
    if not os.access(path.parent, os.W_OK):
        raise StartError(f"{path.parent}: not writable for this user; the ledger needs files beside it")


def connect(path: Path) -> sqlite3.Connection:
    """Open the database in WAL mode, for the time before and after serving.

    Raises:
        StartError: it is no SQLite database, damaged, locked, or on a file system without WAL.
    """
    connection = sqlite3.connect(path, timeout=_BUSY_AT_START_S, isolation_level=None)
    try:
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if not tables:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # only a database without tables takes it
        (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StartError(f"{path}: its file system does not support SQLite's WAL mode")
    except sqlite3.Error as error:
        connection.close()
        raise start_error(path, error) from error
    except StartError:
        connection.close()
        raise
    return connection


def start_error(path: Path, error: sqlite3.Error) -> StartError:
    """Return the one line a user sees for a fault of SQLite at start."""
    text = str(error)
    if "not a database" in text:
        return StartError(f"{path}: is not a SQLite database; name another file with --database")
    if "malformed" in text:
        return StartError(f"{path}: the database is damaged ({text}); restore it, or name another with --database")
    if "locked" in text or "busy" in text:
        return StartError(f"{path}: another process keeps the database locked; close it and start again")
    if "full" in text:
        return StartError(f"{path}: the disk is full")
    return StartError(f"{path}: the ledger cannot be opened: {text}")


def migrate(
    connection: sqlite3.Connection,
    path: Path,
    *,
    simulated: bool,
    now_ms: int,
    migrations: tuple[tuple[str, str], ...] = MIGRATIONS,
) -> None:
    """Bring the database to this version's schema; ``path`` is for messages.

    Raises:
        StartError: the database is of a newer version, of another program, or of the other kind (simulated or real).
    """
    try:
        _migrate(connection, path, simulated, now_ms, migrations)
    except sqlite3.Error as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise start_error(path, error) from error


def _migrate(
    connection: sqlite3.Connection, path: Path, simulated: bool, now_ms: int, migrations: tuple[tuple[str, str], ...]
) -> None:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION_ID and (application != 0 or tables):
        raise StartError(f"{path}: is a database of another program; name another file with --database")
    done = 0
    if "migrations" in tables:
        (done,) = connection.execute("SELECT coalesce(max(number), 0) FROM migrations").fetchone()
    if done > len(migrations):
        raise StartError(
            f"{path}: was written by a newer version (schema {done}, this one knows {len(migrations)}); "
            "upgrade bedrock-gateway or name another file with --database"
        )
    for number, (title, script) in enumerate(migrations[done:], start=done + 1):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(_RECORDS)
        for statement in _statements(script):
            connection.execute(statement)
        if number == 1:
            connection.execute("INSERT INTO ledger VALUES (?, ?)", (simulated, now_ms))
        connection.execute("INSERT INTO migrations VALUES (?, ?, ?)", (number, title, now_ms))
        connection.execute("COMMIT")
    refuse_other_kind(connection, path, simulated=simulated)


def refuse_other_kind(connection: sqlite3.Connection, path: Path, *, simulated: bool) -> None:
    """Refuse a simulated ledger to a real run and a real one to a simulated run.

    Raises:
        StartError: the ledger is of the other kind.
    """
    (kept,) = connection.execute("SELECT simulated FROM ledger").fetchone()
    if kept and not simulated:
        raise StartError(f"{path}: holds simulated spend; a real run needs another file, name it with --database")
    if simulated and not kept:
        raise StartError(f"{path}: holds real spend; a simulated run needs another file, name it with --database")


def _statements(script: str) -> list[str]:
    """Return the statements of a script: ``executescript`` would commit the transaction under way."""
    statements: list[str] = []
    pending = ""
    for piece in script.split(";")[:-1]:
        pending += piece + ";"
        # A semicolon in a text or a comment ends nothing.
        if sqlite3.complete_statement(pending):
            statements.append(pending)
            pending = ""
    return statements
