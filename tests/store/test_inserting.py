"""Many rows in few statements: any number of them is written, once each, in order."""

from __future__ import annotations

import contextlib
import sqlite3

import pytest

from bedrock_gateway.store.inserting import inserts, write_rows


@pytest.mark.parametrize("number", [*range(1, 20), 31, 32, 33, 39, 40, 47, 48, 49, 64, 65, 100, 257])
def test_every_row_is_written_once(number: int) -> None:
    """Whatever their number, all rows are there afterwards, in the order given, and counted."""
    rows = [(at, f"row {at}") for at in range(number)]
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE told (at INTEGER PRIMARY KEY, name TEXT)")
        cursor = connection.cursor()

        changed = write_rows(cursor, inserts("told", 2), rows)

        assert number == changed
        assert rows == cursor.execute("SELECT * FROM told ORDER BY at").fetchall()
        assert 0 == write_rows(cursor, inserts("told", 2), rows)


def test_what_is_there_can_be_added_to() -> None:
    """Rows that are there already are changed as was asked for, the others inserted."""
    statements = inserts("sums", 2, "UPDATE SET sum = sum + excluded.sum")
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE sums (name TEXT PRIMARY KEY, sum INTEGER)")
        cursor = connection.cursor()
        write_rows(cursor, statements, [("a", 1), ("b", 2)])

        changed = write_rows(cursor, statements, [("b", 5), ("c", 3), ("a", -1)])

        assert 3 == changed
        assert {"a": 0, "b": 7, "c": 3} == dict(cursor.execute("SELECT * FROM sums").fetchall())


def test_nothing_is_written_of_nothing() -> None:
    """No rows, no statement."""
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        assert 0 == write_rows(connection.cursor(), inserts("nowhere", 2), [])
