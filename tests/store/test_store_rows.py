"""Whatever is told in whatever order and grouping, rollups are the sums of the rows and every way leads to the same
rows.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_samples import NOW, assert_sums, assert_sums_of, closing, identifier, opening, query, record

from bedrock_gateway.metering.usage import Usage
from bedrock_gateway.store.records import Party, State
from bedrock_gateway.store.recovery import begin_run
from bedrock_gateway.store.rollups import Rollups
from bedrock_gateway.store.rows import Change, apply_changes, call_outcome, interrupt_open, write_group
from bedrock_gateway.store.schema import migrate

QUARTER = 900_000
CLOSED = [state for state in State if state is not State.OPEN]


@st.composite
def stories(draw: st.DrawFn) -> list[Change]:
    """Draw what a few calls tell: rows while open, closings, records, each perhaps told twice, in any order."""
    told: list[Change] = []
    for _ in range(draw(st.integers(1, 4))):
        call = identifier()
        count = draw(st.integers(0, 3))
        common = {
            "caller": draw(st.sampled_from(["a", "b"])),
            "model_group": draw(st.sampled_from(["x", "y"])),
            "started_at": NOW + draw(st.integers(0, 3)) * QUARTER,
            "admitted_at": draw(st.none() | st.just(NOW)),
            "party": Party(
                user=draw(st.sampled_from(["", "u"])),
                team=draw(st.sampled_from(["", "t"])),
                end_user=draw(st.sampled_from(["", "e"])),
                tags=draw(st.sampled_from([(), ("one",), ("one", "two 'ö'")])),
            ),
        }
        attempts = [
            opening(
                call=call,
                number=number + 1,
                deployment=draw(st.sampled_from(["d", "e"])),
                spend_at_most=draw(st.none() | st.integers(0, 100)),
                **common,
            )
            for number in range(count)
        ]
        whole = record(
            attempts[-1] if attempts else opening(call=call, **common),
            attempts=count,
            status=draw(st.sampled_from([0, 200, 503])),
            started_at=NOW + draw(st.integers(0, 3)) * QUARTER,
        )
        for number, one in enumerate(attempts):
            end = closing(
                one,
                state=draw(st.sampled_from(CLOSED)),
                charged=draw(st.booleans()),
                spend=draw(st.none() | st.integers(0, 1000)),
                usage=draw(st.none() | st.builds(Usage, input_tokens=st.integers(0, 9), images=st.integers(0, 2))),
            )
            last = number == count - 1
            if draw(st.booleans()):
                told.append((call, one, None, None, True))
            if draw(st.integers(0, 4)):
                repeats = draw(st.integers(1, 2))
                told += [(call, one, end, whole if last else None, draw(st.booleans()))] * repeats
        if not attempts:
            told.append((call, None, None, whole, False))
    return draw(st.permutations(told))


@settings(deadline=None, max_examples=150)
@given(stories(), st.data())
def test_rollups_are_sums(changes: list[Change], data: st.DataObject) -> None:
    """Any story in any grouping keeps the sums; told once more it changes nothing; interrupted it has nothing open."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection, Path("memory"), simulated=False, now_ms=NOW)
    rest = list(changes)
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        write_group(connection, 1, rest[:size])
        rest = rest[size:]
        assert_sums_of(connection)
    rows = connection.execute("SELECT * FROM attempts ORDER BY id").fetchall()
    spent = connection.execute("SELECT id, state, spend FROM calls ORDER BY id").fetchall()
    write_group(connection, 1, changes)
    assert rows == connection.execute("SELECT * FROM attempts ORDER BY id").fetchall()
    assert spent == connection.execute("SELECT id, state, spend FROM calls ORDER BY id").fetchall()
    assert_sums_of(connection)
    cursor = connection.cursor()
    cursor.execute("BEGIN")
    rollups = Rollups()
    interrupt_open(cursor, NOW, rollups)
    rollups.write(cursor)
    cursor.execute("COMMIT")
    assert (0,) == connection.execute("SELECT count(*) FROM rollups WHERE state = 'open'").fetchone()
    assert_sums_of(connection)
    connection.close()


def test_both_ways_make_the_same_rows(tmp_path: Path) -> None:
    """The straight way and the careful way write the same calls, attempts, usage and rollups."""
    changes: list[Change] = []
    for state in CLOSED:
        one = opening()
        usage = Usage(input_tokens=1, output_tokens=2, cache_read_tokens=3, meters=(("m", 4),), raw="{}", flags=("f",))
        end = closing(one, state=state, spend=None if state is State.UNPRICED else 5, usage=usage, notes=("n",))
        changes.append((one.call, one, end, record(one, caller_left=True), False))
    repeat = opening()
    changes.append((repeat.call, None, None, record(repeat, attempts=0, answered_by=changes[0][0]), False))
    dumps = []
    for careful in (False, True):
        path = tmp_path / f"{careful}.db"
        begin_run(path, run=identifier(), simulated=False, now_ms=NOW, version="1", pid=1)
        connection = sqlite3.connect(path, isolation_level=None)
        if careful:
            cursor = connection.cursor()
            cursor.execute("BEGIN")
            rollups = Rollups()
            apply_changes(cursor, 1, changes, rollups)
            rollups.write(cursor)
            cursor.execute("COMMIT")
        else:
            write_group(connection, 1, changes)
        dumps.append(
            [
                connection.execute(f"SELECT * FROM {table}").fetchall()
                for table in ("calls", "attempts", "usage", "rollups")
            ]
        )
        connection.close()
        assert_sums(path)
    assert dumps[0] == dumps[1]
    assert len(changes) == len(dumps[0][0])


@pytest.mark.parametrize("size", [1, 2, 3, 31, 32, 33, 63, 64, 100])
def test_groups_of_any_size(tmp_path: Path, size: int) -> None:
    """A group of any size is written whole, in few statements; one row that is there already changes the way only."""
    path = tmp_path / "ledger.db"
    begin_run(path, run=identifier(), simulated=False, now_ms=NOW, version="1", pid=1)
    connection = sqlite3.connect(path, isolation_level=None)
    openings = [opening() for _ in range(size)]
    group: list[Change] = [(one.call, one, closing(one), record(one), False) for one in openings]
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    write_group(connection, 1, group)
    connection.set_trace_callback(None)
    assert len([text for text in statements if text.startswith("INSERT INTO attempts")]) <= size // 32 + 5
    written = sorted(one.attempt for one in openings)
    assert written == [row[0] for row in query(path, "SELECT id FROM attempts ORDER BY id")]
    assert sorted(one.call for one in openings) == [row[0] for row in query(path, "SELECT id FROM calls ORDER BY id")]
    another = opening()
    write_group(connection, 1, [*group, (another.call, another, closing(another), record(another), False)])
    assert sorted([*written, another.attempt]) == [row[0] for row in query(path, "SELECT id FROM attempts ORDER BY id")]
    connection.close()
    assert_sums(path)


def test_failed_group_leaves_nothing(tmp_path: Path) -> None:
    """A group with one record that cannot be written writes nothing at all, and the connection goes on."""
    path = tmp_path / "ledger.db"
    begin_run(path, run=identifier(), simulated=False, now_ms=NOW, version="1", pid=1)
    connection = sqlite3.connect(path, isolation_level=None)
    good, bad = opening(), opening(region=None)
    group: list[Change] = [(one.call, one, closing(one), record(one), False) for one in (good, bad)]
    try:
        write_group(connection, 1, group)
    except sqlite3.IntegrityError:
        pass
    else:
        raise AssertionError("a row without a region was written")
    assert [(0,)] == query(path, "SELECT count(*) FROM calls")
    write_group(connection, 1, group[:1])
    connection.close()
    assert_sums(path)


def test_outcome_of_a_call() -> None:
    """State and spend of a call follow from its attempts as the table says."""
    table = [
        ([("metered", 1, 5)], 200, True, ("metered", 5)),
        ([("refused", 0, None), ("metered", 1, 5)], 200, True, ("metered", 5)),
        ([("refused", 0, None)], 429, True, ("refused", 0)),
        ([("unpriced", 1, None)], 200, True, ("unpriced", None)),
        ([("unpriced", 1, None), ("metered", 1, 5)], 200, True, ("unpriced", 5)),
        ([("metered", 1, 5)], None, False, ("open", 5)),
        ([("metered", 1, 5)], None, True, ("interrupted", 5)),
        ([("open", 1, None)], 200, True, ("open", None)),
        ([], 403, True, ("refused", 0)),
        ([], 200, True, ("free", 0)),
        ([], None, True, ("interrupted", 0)),
    ]
    assert [expected for *_, expected in table] == [
        call_outcome(attempts, status, ended) for attempts, status, ended, _ in table
    ]
