"""What deployments are called: written when told, kept over config changes, never in the way of a call."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import pytest
from ledger_samples import NOW, closing, open_ledger, opening, query, record, until
from test_ledger_trouble import QUICK, Locker

from bedrock_gateway.store.names import DeploymentName, read_names, write_names
from bedrock_gateway.store.schema import migrate

ROWS = "SELECT id, name, model, region, seen_at FROM deployments ORDER BY id"


async def test_names_are_written_soon(tmp_path: Path) -> None:
    """Names told are in the database without anything being awaited; the latest told of an id wins."""
    path = tmp_path / "ledger.db"
    async with await open_ledger(path) as ledger:
        ledger.name_deployments([("a", "claude", "m", "us-east-1"), ("b", "claude#2", "m", "")])
        ledger.name_deployments(iter([("b", "größe", "m2", "eu-west-1")]))
        ledger.name_deployments([])
        async with asyncio.timeout(10):
            await until(lambda: len(query(path, ROWS)) == 2)
    expected = [("a", "claude", "m", "us-east-1", NOW), ("b", "größe", "m2", "eu-west-1", NOW)]
    assert expected == query(path, ROWS)


async def test_names_of_the_last_moment(tmp_path: Path) -> None:
    """A ledger closed at once has the names; those of an earlier run stay, and give way where told anew."""
    path = tmp_path / "ledger.db"
    async with await open_ledger(path) as ledger:
        ledger.name_deployments([("a", "old", "m", "us-east-1"), ("b", "gone", "m", "us-east-1")])
    async with await open_ledger(path) as ledger:
        ledger.name_deployments([("a", "new", "m", "us-west-2")])
    with contextlib.closing(sqlite3.connect(path)) as connection:
        names = read_names(connection)
    expected = {
        "a": DeploymentName(name="new", region="us-west-2"),
        "b": DeploymentName(name="gone", region="us-east-1"),
    }
    assert expected == names


async def test_names_wait_for_a_locked_database(tmp_path: Path) -> None:
    """While another process holds the database closings do not wait longer for names; both are there in the end."""
    path = tmp_path / "ledger.db"
    async with await open_ledger(path, QUICK) as ledger:
        locker = Locker(path)
        try:
            async with asyncio.timeout(20):
                ledger.name_deployments([("a", "claude", "m", "us-east-1")])
                one = opening()
                ledger.open_attempt(one)
                await ledger.close_attempt(closing(one), record(one))
                assert [] == query(path, ROWS)
                locker.release()
                await until(lambda: ledger.trouble is None and query(path, ROWS) != [])
        finally:
            locker.end()
    assert [("a", "claude", "m", "us-east-1", NOW)] == query(path, ROWS)
    assert [(1,)] == query(path, "SELECT count(*) FROM calls WHERE state = 'metered'")


async def test_a_name_no_database_takes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A name that is no Unicode is told in the log and stops nothing."""
    path = tmp_path / "ledger.db"
    async with await open_ledger(path) as ledger:
        ledger.name_deployments([("a", "\ud800", "m", "us-east-1")])
        one = opening()
        ledger.open_attempt(one)
        async with asyncio.timeout(10):
            await ledger.close_attempt(closing(one), record(one))
    assert 1 == sum("names cannot be written" in entry.getMessage() for entry in caplog.records)
    assert [(1,)] == query(path, "SELECT count(*) FROM calls WHERE state = 'metered'")


def test_all_names_or_none() -> None:
    """One bad row leaves the database as it was, with no transaction open."""
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        migrate(connection, Path("memory"), simulated=False, now_ms=NOW)
        with pytest.raises(sqlite3.IntegrityError):
            write_names(connection, [("a", "x", "m", "r", 1), ("b", None, "m", "r", 1)])  # type: ignore[list-item]
        assert not connection.in_transaction
        assert {} == read_names(connection)
