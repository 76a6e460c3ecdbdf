"""Single calls are found by whatever they are limited to, in pages that are whole and have an end."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_gateway.store import rollup_rows as ways
from bedrock_gateway.store.call_lines import EVERY_CALL, Wanted, calls
from bedrock_gateway.store.periods import Period
from bedrock_gateway.store.rollup_rows import Only

UNTIL = 1_795_000_000_000
DAY_MS = 86_400_000

SOME: tuple[tuple[Wanted, str], ...] = (
    (EVERY_CALL, "1"),
    (
        Wanted(only=Only(callers=("key-000000000001", "key-000000000004"))),
        "caller IN ('key-000000000001', 'key-000000000004')",
    ),
    (Wanted(only=Only(users=("user-000000",))), "user = 'user-000000'"),
    (Wanted(only=Only(teams=("team-00000",), models=("claude",))), "team = 'team-00000' AND model_group = 'claude'"),
    (Wanted(only=Only(teams=("",))), "team = ''"),
    (Wanted(only=Only(tags=("project-1",))), "tags LIKE '%\"project-1\"%'"),
    (
        Wanted(only=Only(tags=("project-1", "project-8"))),
        "(tags LIKE '%\"project-1\"%' OR tags LIKE '%\"project-8\"%')",
    ),
    (
        Wanted(only=Only(tags=("project-2",), users=("user-000000",), end_users=("customer-1",))),
        "tags LIKE '%\"project-2\"%' AND user = 'user-000000' AND end_user = 'customer-1'",
    ),
    (Wanted(only=Only(end_users=("customer-3", "customer-1700"))), "end_user IN ('customer-3', 'customer-1700')"),
    (Wanted(only=Only(models=("amazon.nova-pro-v1:0",))), "model = 'amazon.nova-pro-v1:0'"),
    (Wanted(deployment="2b5c1d2e3f42", succeeded=True), "deployment = '2b5c1d2e3f42' AND status = 200"),
    (Wanted(succeeded=False), "(status = 400 OR status IS NULL)"),
    (
        Wanted(only=Only(users=("user-000000",)), least=10_000_000, most=30_000_000),
        "user = 'user-000000' AND spend BETWEEN 10000000 AND 30000000",
    ),
)
PERIODS = (Period(), Period(since=UNTIL - 20 * DAY_MS + 123_456, until=UNTIL - 2 * DAY_MS + 654_321))


def of_rows(connection: sqlite3.Connection, condition: str, period: Period) -> list[str]:
    """Return the ids of calls, newest first, from the rows."""
    rows = connection.execute(
        f"SELECT id FROM calls WHERE {condition} AND started_at >= ? AND started_at < ? ORDER BY id DESC",
        (period.since or 0, period.until or 1 << 60),
    )
    return [id_ for (id_,) in rows]


@pytest.mark.parametrize("period", PERIODS)
@pytest.mark.parametrize("few", [0, 1_000_000])
@pytest.mark.parametrize(("wanted", "condition"), SOME, ids=range(len(SOME)))
def test_pages_are_whole(
    filled: sqlite3.Connection,
    monkeypatch: pytest.MonkeyPatch,
    wanted: Wanted,
    condition: str,
    few: int,
    period: Period,
) -> None:
    """Page after page gives every call once, newest first, and each page knows how many there are in all."""
    monkeypatch.setattr(ways, "_MOST_BY_INDEX", few)
    expected = of_rows(filled, condition, period)
    found: list[str] = []
    for skip in range(0, len(expected) + 30, 30):
        page = calls(filled, period, 30, wanted, skip=skip, count_to=10_000)
        assert (len(expected), True) == (page.total, page.counted)
        found += [line.call for line in page.lines]

    assert expected == found


@given(limit=st.integers(1, 1_000), which=st.integers(0, len(SOME) - 1))
@settings(max_examples=40, deadline=None)
def test_the_newest(filled: sqlite3.Connection, limit: int, which: int) -> None:
    """Without pages the newest come, and whether there are more."""
    wanted, condition = SOME[which]
    expected = of_rows(filled, condition, Period())

    page = calls(filled, Period(), limit, wanted)

    assert expected[:limit] == [line.call for line in page.lines]
    assert (min(limit, len(expected)), len(expected) <= limit) == (page.total, page.counted)


def test_counting_has_an_end(filled: sqlite3.Connection) -> None:
    """Of many calls no more are counted than asked for; the page is whole all the same."""
    expected = of_rows(filled, "1", Period())

    page = calls(filled, Period(), 10, skip=40, count_to=50)

    assert expected[40:50] == [line.call for line in page.lines]
    assert (50, False) == (page.total, page.counted)


def test_one_call(filled: sqlite3.Connection) -> None:
    """A call is found by its id; it has everything of its row, and the sums of its attempts."""
    columns = "id, caller, user, team, end_user, tags, state, spend, status, attempts, started_at, ended_at"
    row = filled.execute(f"SELECT {columns} FROM calls WHERE attempts = 2 AND tags <> '' AND user <> ''").fetchone()
    sums = filled.execute(
        "SELECT sum(input), sum(output), max(region) FROM attempts WHERE call = ?", row[:1]
    ).fetchone()

    (line,) = calls(filled, Period(), 5, Wanted(call=row[0])).lines

    told: tuple[Any, ...] = (line.call, line.caller, line.user, line.team, line.end_user, line.tags, line.state)
    told += (line.spend, line.status, line.attempts, line.started_at, line.ended_at)
    assert (*row[:5], tuple(json.loads(row[5])), *row[6:]) == told
    assert sums == (line.input, line.output, line.region)
    assert line.deployment_name.endswith(f"({line.region})")
    assert [] == calls(filled, Period(), 5, Wanted(call=row[0][:-1])).lines
    assert [] == calls(filled, Period(since=line.started_at + 1), 5, Wanted(call=row[0])).lines
