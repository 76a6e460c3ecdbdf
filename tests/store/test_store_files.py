"""Ids, places, lock, frames and schema: the small parts the ledger stands on."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_samples import NOW, assert_sums, closing, identifier, open_ledger, opening, query, record

from bedrock_gateway.errors import StartError
from bedrock_gateway.metering.usage import Usage
from bedrock_gateway.store.frames import CLOSING_ROOM, ClosingFrame, decode, encode_closing, encode_opening
from bedrock_gateway.store.ids import ID_RANDOM_BYTES, lowest_id, new_id
from bedrock_gateway.store.journal import Journal, Segment, read_segment
from bedrock_gateway.store.location import default_database, parse_database_url, resolve_database
from bedrock_gateway.store.lock import DatabaseLock
from bedrock_gateway.store.records import Opening, Party
from bedrock_gateway.store.recovery import begin_run
from bedrock_gateway.store.schema import MIGRATIONS, connect, migrate


@settings(deadline=None)
@given(st.integers(0, (1 << 48) - 1), st.binary(min_size=ID_RANDOM_BYTES, max_size=ID_RANDOM_BYTES))
def test_id(now_ms: int, random_bytes: bytes) -> None:
    """An id is a UUID of version 7 that carries its time and sorts by it."""
    text = new_id(now_ms, random_bytes)
    parsed = uuid.UUID(text)
    assert text == str(parsed)
    assert (7, uuid.RFC_4122, now_ms) == (parsed.version, parsed.variant, parsed.int >> 80)
    assert lowest_id(now_ms) <= text
    assert now_ms == 0 or lowest_id(now_ms) > new_id(now_ms - 1, b"\xff" * 10)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///ledger.db", "ledger.db"),
        ("sqlite:////var/lib/ledger.db", "/var/lib/ledger.db"),
        ("sqlite:////var/my%20ledger.db", "/var/my ledger.db"),
        ("ledger.db", "ledger.db"),
        ("/var/lib/a%20b.db", "/var/lib/a%20b.db"),
    ],
)
def test_database_url(url: str, path: str) -> None:
    """Database URLs name paths as they do elsewhere; a plain path is itself."""
    assert Path(path) == parse_database_url(url)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://user:secret@host/db", "postgresql:// databases are not supported"),
        ("mysql://user:secret@host/db", "mysql:// is not a database this gateway knows"),
        ("sqlite://host/ledger.db", "three slashes"),
        ("sqlite:///", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:///a.db?mode=ro", "no parameters"),
        ("sqlite:ledger.db", "is not a database URL"),
        ("", "has no path"),
        ("a\0b", "has no path"),
    ],
)
def test_database_url_refused(url: str, words: str) -> None:
    """What names no SQLite file is refused with what to write instead, and never with the password."""
    with pytest.raises(StartError, match=words) as caught:
        parse_database_url(url)
    assert "secret" not in str(caught.value)


def test_default_database() -> None:
    """The default lies in the state folder of the XDG specification; simulated spend has its own file."""
    home = Path("/home/someone")
    assert home / ".local/state/bedrock-gateway/ledger.db" == default_database({}, home)
    assert home / ".local/state/bedrock-gateway/ledger.db" == default_database({"XDG_STATE_HOME": "relative"}, home)
    assert Path("/s/bedrock-gateway/ledger.db") == default_database({"XDG_STATE_HOME": "/s"}, home)
    assert "ledger-simulated.db" == default_database({}, home, simulated=True).name
    environ = {"DATABASE_URL": "sqlite:////x.db"}
    assert Path("/x.db") == resolve_database(None, environ, home)
    assert Path("/y.db") == resolve_database("/y.db", environ, home)
    assert "ledger-simulated.db" == resolve_database(None, environ, home, simulated=True).name


def test_lock_ends_with_its_process(tmp_path: Path) -> None:
    """A lock is refused while its process lives, naming it, and free as soon as that is killed."""
    database = tmp_path / "ledger.db"
    code = (
        "import os, sys; from pathlib import Path; from bedrock_gateway.store.lock import DatabaseLock\n"
        "lock = DatabaseLock.acquire(Path(sys.argv[1]), os.getpid()); print('held', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, database],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert child.stdout is not None
    assert b"held\n" == child.stdout.readline()
    with pytest.raises(StartError, match=rf"pid {child.pid}\)"):
        DatabaseLock.acquire(database, 1)
    child.kill()
    child.communicate(timeout=10)
    lock = DatabaseLock.acquire(database, 123456)
    assert b"123456\n" == lock.path.read_bytes()
    lock.release()
    lock.release()


@settings(deadline=None)
@given(st.text(), st.text(), st.none() | st.integers())
def test_opening_frame(model: str, caller: str, at_most: int | None) -> None:
    """An opening comes out of its frame as it went in, whatever text it holds."""
    one = opening(model=model, caller=caller, spend_at_most=at_most)
    payload = encode_opening(one)
    assert payload.isascii()
    assert one == decode(payload)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, b"P"),
        ({"model_group": "", "region": ""}, b"P"),
        ({"spend_at_most": None}, b"P"),
        ({"spend_at_most": -(1 << 90)}, b"P"),
        ({"model": 'a "quoted", {braced} \\ one'}, b"P"),
        ({"model": "two\x1fparts"}, b"O"),
        ({"caller": "caf\xe9"}, b"O"),
        ({"caller": "\ud800"}, b"O"),
        ({"region": None}, b"O"),
        ({"admitted_at": None, "party": Party(user="u1", team="t1", end_user="e")}, b"P"),
        ({"party": Party(end_user="caf\xe9")}, b"O"),
        ({"party": Party(tags=("one", "two"))}, b"O"),
    ],
)
def test_kinds_of_opening_frames(changes: dict[str, Any], kind: bytes) -> None:
    """An opening of plain texts is written as they are, any other as JSON; both are read alike."""
    one = opening(**changes)
    payload = encode_opening(one)
    assert kind == payload[:1]
    assert one == decode(payload)


def test_old_opening_frame() -> None:
    """Openings that an earlier version wrote, as JSON or plain, are still read: they have no party."""
    one = opening(admitted_at=None)
    fields = [getattr(one, field.name) for field in attrs.fields(Opening)][:-2]
    assert one == decode(b"O" + json.dumps(fields).encode())
    assert one == decode(b"P" + "\x1f".join(map(str, fields)).encode())


@settings(deadline=None)
@given(st.text(), st.lists(st.text()), st.none() | st.text(), st.none() | st.integers(0, 1 << 60))
def test_closing_frame(error_type: str, notes: list[str], raw: str | None, spend: int | None) -> None:
    """A closing keeps state, spend and quantities in its frame whatever else it holds, and always fits."""
    one = opening()
    usage = Usage(input_tokens=3, raw=raw, meters=(("m", 2),), flags=("f",))
    told = closing(one, error_type=error_type, notes=tuple(notes), usage=usage, spend=spend)
    payload = encode_closing(one.call, told, record(one, caller_left=True))
    assert len(payload) + 16 <= CLOSING_ROOM
    frame = decode(payload)
    assert isinstance(frame, ClosingFrame)
    assert (one.call, told.state, spend) == (frame.call_id, frame.closing.state, frame.closing.spend)
    assert frame.closing.usage is not None
    assert 3 == frame.closing.usage.input_tokens
    assert frame.call is not None
    assert (True, 200) == (frame.call.caller_left, frame.call.status)


@pytest.mark.parametrize(
    "payload", [b"", b"O", b"O[]", b"C{}", b"C[1,2]", b"Z[]", b"O\xff", b"Onull", b"P", b"P\xff", b"P" + b"\x1f" * 12]
)
def test_unknown_frame(payload: bytes) -> None:
    """A payload of another version is nothing, not a crash."""
    assert decode(payload) is None


def test_segment_reused(tmp_path: Path) -> None:
    """An emptied segment shows only what was written since, although the old bytes are still there."""
    segment = Segment.create(tmp_path / "segment", 4096, 0)
    segment.empty(identifier(), False)
    while segment.append(b"old" * 20):
        pass
    segment.empty(identifier(), True)
    assert segment.append(b"new")
    contents = read_segment(segment.path)
    assert ((b"new",), True, 0) == (contents.payloads, contents.simulated, contents.damaged)
    assert 4096 == segment.path.stat().st_size
    segment.close()


def test_bad_databases(tmp_path: Path) -> None:
    """What is no ledger is refused in one clear line."""

    def begin(path: Path, *, simulated: bool = False) -> None:
        begin_run(path, run=identifier(), simulated=simulated, now_ms=NOW, version="1", pid=1)

    text = tmp_path / "text.db"
    text.write_text("this is a text of more than a hundred bytes, " * 5)
    foreign = tmp_path / "foreign.db"
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE recipes (name)")
    connection.close()
    real, simulated = tmp_path / "real.db", tmp_path / "simulated.db"
    begin(real)
    begin(simulated, simulated=True)
    newer = tmp_path / "newer.db"
    begin(newer)
    with sqlite3.connect(newer) as connection:
        connection.execute("INSERT INTO migrations VALUES (99, 'later', 0)")
    connection.close()
    pipe = tmp_path / "pipe.db"
    os.mkfifo(pipe)
    (tmp_path / "file").write_text("")
    table = [
        (text, False, "is not a SQLite database"),
        (foreign, False, "is a database of another program"),
        (real, True, "is of real runs; leave out --simulate, or name another file with --database"),
        (simulated, False, "is of simulated runs; add --simulate, or name another file with --database"),
        (newer, False, "newer version"),
        (tmp_path, False, "is a directory"),
        (pipe, False, "not a regular file"),
        (tmp_path / "file" / "ledger.db", False, "cannot be"),
    ]
    for path, kind, words in table:
        with pytest.raises(StartError, match=words) as caught:
            begin(path, simulated=kind)
        assert "\n" not in str(caught.value)
    assert [("recipes",)] == query(foreign, "SELECT name FROM sqlite_master")


async def test_unusable_path_names_the_lock_or_the_ledger(tmp_path: Path) -> None:
    """A ledger below a file, or that is a folder, is one clear line also through ``Ledger.open``; nothing stays
    locked.
    """
    (tmp_path / "file").write_text("")
    for path, words in ((tmp_path / "file" / "ledger.db", "cannot be created"), (tmp_path, "is a directory")):
        with pytest.raises(StartError, match=words):
            await open_ledger(path)
    bad = tmp_path / "bad.db"
    bad.write_text("x" * 200)
    for _ in range(2):
        with pytest.raises(StartError, match="is not a SQLite database"):
            await open_ledger(bad)


def test_rights(tmp_path: Path) -> None:
    """A ledger without rights is refused in one line (as a user without privileges: root may do all)."""
    path = tmp_path / "ledger.db"
    begin_run(path, run=identifier(), simulated=False, now_ms=NOW, version="1", pid=1)
    path.chmod(0o400)
    code = (
        "import os, sys; from pathlib import Path; from bedrock_gateway.store.schema import prepare_file\n"
        "from bedrock_gateway.errors import StartError\n"
        "os.getuid() or os.setuid(65534)\n"
        "try: prepare_file(Path(sys.argv[1]))\n"
        "except StartError as error: print(error)\n"
    )
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o055)
    run = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False
    )
    assert ("able for this user" in run.stdout or "cannot be reached" in run.stdout) and 1 == run.stdout.count("\n"), (
        run
    )


def test_migrations(tmp_path: Path) -> None:
    """A later migration is applied to an older ledger once, with its record; one that fails leaves nothing."""
    path = tmp_path / "ledger.db"
    begin_run(path, run=identifier(), simulated=False, now_ms=NOW, version="1", pid=1)
    later = (
        *MIGRATIONS,
        ("a table; and 'quotes'", "CREATE TABLE one (a); INSERT INTO one VALUES (';');\nCREATE TABLE two (b);\n"),
    )
    broken = (*later, ("broken", "CREATE TABLE three (c);\nCREATE TABLE three (c);\n"))
    connection = connect(path)
    for _ in range(2):
        migrate(connection, path, simulated=False, now_ms=NOW + 1, migrations=later)
    with pytest.raises(StartError, match="already exists"):
        migrate(connection, path, simulated=False, now_ms=NOW + 2, migrations=broken)
    connection.close()
    applied = [(number, NOW) for number in range(1, len(MIGRATIONS) + 1)] + [(len(later), NOW + 1)]
    assert applied == query(path, "SELECT number, applied_at FROM migrations")
    assert [("one",), ("two",)] == query(path, "SELECT name FROM sqlite_master WHERE name IN ('one', 'two', 'three')")


def test_ledger_of_the_first_version(tmp_path: Path) -> None:
    """What the first version booked is kept: its rollups belong to nobody, and accounts know what was spent."""
    path = tmp_path / "ledger.db"
    path.touch()
    connection = connect(path)
    migrate(connection, path, simulated=False, now_ms=NOW, migrations=MIGRATIONS[:1])
    call = ("c1", 1, "master", "bedrock", "Converse", "claude", "m", "d", "metered", 7, NOW, NOW, 200, None, 1, 0)
    attempt = ("c1", "a1", 1, 1, 0, "d", "m", "r", "metered", 1, 7, 9, NOW, NOW, 200, None, None, 1, 2, 0, 0, 0, 0)
    connection.execute(f"INSERT INTO calls VALUES ({', '.join('?' * 16)})", call)
    connection.execute(f"INSERT INTO attempts VALUES ({', '.join('?' * 25)})", (*attempt, None, None))
    quarter = NOW // 900_000
    sums = (quarter, "master", "claude", "m", "d", "Converse", "metered", 1, 1, 1, 2, 0, 0, 0, 0, 7, 7, 0)
    connection.execute(f"INSERT INTO rollups VALUES ({', '.join('?' * 18)})", sums)
    connection.close()

    begin_run(path, run=identifier(), simulated=False, now_ms=NOW, version="2", pid=1)

    assert_sums(path)
    assert [("key:master", quarter, 7)] == query(path, "SELECT * FROM accounts WHERE account LIKE 'key:%'")


def test_columns_are_explained() -> None:
    """Every column of every table has a comment."""
    tables = [
        text for _, script in MIGRATIONS for text in script.split(";") if text.lstrip().startswith("CREATE TABLE")
    ]
    explained = set()
    for line in (line for text in tables for line in text.splitlines()):
        name = line.strip().partition(" ")[0]
        if line.startswith("    ") and name != "PRIMARY":
            # A table that repeats the columns of another explains those that are new.
            assert "-- " in line or name in explained, line
            explained.add(name)


def test_journal_of_another_kind(tmp_path: Path) -> None:
    """A simulated run's journal is not booked into a real ledger."""
    path = tmp_path / "ledger.db"
    sizes = {"openings_size": 4096, "closings_size": 4096}
    journal = Journal.create(path, run=identifier(), simulated=True, generations=(0, 0, 0), **sizes)
    journal.append_opening(encode_opening(opening()))
    journal.close()
    with pytest.raises(StartError, match="records of a simulated run"):
        begin_run(path, run=identifier(), simulated=False, now_ms=NOW, version="1", pid=1)
