"""Sums out of the rollups equal those of the rows, by everything they can be asked by, whichever way they are found."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_samples import assert_sums_of

from bedrock_gateway.store import rollup_rows as ways
from bedrock_gateway.store.activity import active_days, activity, dearest_callers
from bedrock_gateway.store.days import entries_by_day, sums_by, total
from bedrock_gateway.store.periods import DAY_QUARTERS, Period
from bedrock_gateway.store.reports import DIMENSIONS, spend_by
from bedrock_gateway.store.rollup_rows import EVERYTHING, Only, Unanswerable, rollup_rows
from bedrock_gateway.store.schema import QUARTER_MS
from bedrock_gateway.store.sums import Sums

DAY_MS = DAY_QUARTERS * QUARTER_MS
UNTIL = 1_795_000_000_000
FIRST = (UNTIL - 30 * DAY_MS) // QUARTER_MS
END = UNTIL // QUARTER_MS + 1

#: Calls and attempts, each with what it can be summed by; computed from the rows alone.
TOLD = """
WITH told AS (
    SELECT started_at, caller, user, team, end_user, tags, model_group, model, deployment, operation, state, 1 AS calls,
        0 AS attempts, 0 AS input, 0 AS output, 0 AS spend, 0 AS spend_all, 0 AS at_most FROM calls
    UNION ALL
    SELECT calls.started_at, caller, user, team, end_user, tags, model_group, attempts.model, attempts.deployment,
        operation, attempts.state, 0, 1, input, output, iif(charged, coalesce(attempts.spend, 0), 0),
        coalesce(attempts.spend, 0), iif(charged AND attempts.spend IS NULL, coalesce(spend_at_most, 0), 0)
    FROM attempts JOIN calls ON calls.id = attempts.call
)
"""
VALUES = {
    "model": "model",
    "key": "caller",
    "user": "user",
    "team": "team",
    "end-user": "end_user",
    "tag": "tag.value",
    "day": "date(started_at / 1000, 'unixepoch')",
    "hour": "strftime('%Y-%m-%d %H:00', started_at / 1000, 'unixepoch')",
    "caller": "caller",
    "deployment": "deployment",
    "model-group": "model_group",
    "operation": "operation",
    "state": "state",
}
SOME = (
    EVERYTHING,
    Only(callers=("key-000000000000",)),
    Only(callers=("key-000000000001", "key-000000000005")),
    Only(users=("user-000000",)),
    Only(teams=("team-00000",)),
    Only(teams=("",)),
    Only(users=("user-000000", "user-000002"), teams=("team-00000",), models=("claude",)),
    Only(models=("amazon.nova-pro-v1:0",)),
    Only(tags=("project-1",)),
    Only(tags=("project-3",), callers=("key-000000000000",)),
    Only(end_users=("customer-17", "customer-4")),
)


def of_rows(connection: sqlite3.Connection, by: str, only: Only, period: Period) -> dict[str, tuple[int, ...]]:
    """Return calls, attempts, tokens and money by a dimension, from the rows."""
    terms, values = ["1"], list[Any]()
    for column, wanted in (
        ("caller", only.callers),
        ("user", only.users),
        ("team", only.teams),
        ("end_user", only.end_users),
    ):
        if wanted:
            terms.append(f"{column} IN ({', '.join('?' * len(wanted))})")
            values += wanted
    if only.models:
        terms.append("(model = ? OR model_group = ?)")
        values += only.models * 2
    if only.tags:
        terms.append("EXISTS (SELECT 1 FROM json_each(iif(tags = '', '[]', tags)) WHERE value = ?)")
        values += only.tags
    for term, bound in (("started_at >= ?", period.since), ("started_at < ?", period.until)):
        if bound is not None:
            terms.append(term)
            values.append(bound)
    source = "told, json_each(iif(tags = '', '[]', tags)) AS tag" if by == "tag" else "told"
    if by == "end-user":
        terms.append("end_user <> ''")
    rows = connection.execute(
        f"{TOLD} SELECT {VALUES[by]}, sum(calls), sum(attempts), sum(input), sum(output), sum(spend), sum(spend_all), "
        f"sum(at_most) FROM {source} WHERE {' AND '.join(terms)} GROUP BY 1",
        values,
    )
    return {name: tuple(sums) for name, *sums in rows}


def seven(sums: Sums) -> tuple[int, ...]:
    """Return what ``of_rows`` returns of one value."""
    return sums.calls, sums.attempts, sums.input, sums.output, sums.spend, sums.spend_all, sums.at_most


def test_a_filled_ledger_is_consistent(filled: sqlite3.Connection) -> None:
    """Rollups, label rollups and accounts of the ledger that measurements are made on are the sums of its rows."""
    assert_sums_of(filled)


@pytest.mark.parametrize("by", DIMENSIONS)
@pytest.mark.parametrize("only", SOME, ids=range(len(SOME)))
@pytest.mark.parametrize("period", [Period(), Period(since=UNTIL - 9 * DAY_MS - 400_000, until=UNTIL - 3 * DAY_MS)])
def test_sums_equal_the_rows(filled: sqlite3.Connection, by: str, only: Only, period: Period) -> None:
    """Every dimension under every limit sums up to the rows, to the nano, or says that it cannot be asked for."""
    labelled = by in ("tag", "end-user")
    owners = bool(only.users or only.teams)
    kind = {"tag": "tag", "end-user": "end_user"}.get(by)
    only_of_rollups = by in ("user", "team", "deployment", "model-group", "operation")
    if (labelled and owners) or (kind and only.label not in (None, kind)) or (only.label and only_of_rollups):
        with pytest.raises(Unanswerable):
            spend_by(filled, by, period, only)
        return
    aligned = Period(
        since=None if period.since is None else period.since // QUARTER_MS * QUARTER_MS,
        until=None if period.until is None else -(-period.until // QUARTER_MS) * QUARTER_MS,
    )
    # A call counts with each of its tags: where a tag is asked for, the others of its calls are not told.
    expected = {
        name: sums
        for name, sums in of_rows(filled, by, only, aligned).items()
        if by not in ("tag", "end-user") or not only.label or name in (*only.tags, *only.end_users)
    }

    lines = spend_by(filled, by, period, only)

    assert expected == {line.name: seven(line.sums) for line in lines}
    if by not in ("day", "hour"):
        assert sorted(lines, key=lambda line: -line.sums.spend_all) == lines


def test_names(filled: sqlite3.Connection) -> None:
    """Keys go by alias or last characters, users and teams by their names, where they have any."""
    keys = {line.name: line.label for line in spend_by(filled, "key", Period())}
    teams = {line.name: line.label for line in spend_by(filled, "team", Period())}
    (tail,) = filled.execute("SELECT tail FROM key_digests WHERE key = 'key-000000000003'").fetchone()

    assert ("service 0", f"sk-…{tail}") == (keys["key-000000000000"], keys["key-000000000003"])
    assert {"": "", "team-00000": "Team 0"} == {name: teams[name] for name in ("", "team-00000")}


@pytest.mark.parametrize("few", [0, 1_000_000])
def test_both_ways_to_the_rows(filled: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch, few: int) -> None:
    """Few rows are found through the index of what they are limited by, many by reading all of their time; the sums
    are the same.
    """
    indexes = {
        "rollups_by_caller": Only(callers=("key-000000000000",)),
        "rollups_by_user": Only(users=("user-000000",)),
        "rollups_by_team": Only(teams=("team-00000",)),
        "label_rollups_by_label": Only(tags=("project-1",)),
    }
    monkeypatch.setattr(ways, "_MOST_BY_INDEX", few)

    for index, only in indexes.items():
        rows = rollup_rows(filled, (FIRST, END), only)
        sql = f"EXPLAIN QUERY PLAN SELECT sum(spend) FROM {rows.table} WHERE {rows.condition}"
        plan = " ".join(row[3] for row in filled.execute(sql, rows.values))
        expected = f"USING INDEX {index}" if few else "USING PRIMARY KEY (quarter>? AND quarter<?)"

        assert expected in plan
        assert bool(few) == rows.indexed
        (row,) = of_rows(filled, "operation", only, Period()).values()
        assert row == seven(total(filled, (None, None), only))


@given(most=st.integers(1, 400), by=st.sampled_from(["team, model, caller", "caller, model", "label, model, caller"]))
@settings(max_examples=40, deadline=None)
def test_pages_of_days_add_up(filled: sqlite3.Connection, most: int, by: str) -> None:
    """However long an answer may be, following it to its end gives every entry once; a day is cut only where it alone
    is too long, and only between quarter-hours.
    """
    by_label = "end_user" if by.startswith("label") else None
    whole, rest = entries_by_day(filled, by, (FIRST, END), by_label=by_label, most=1_000_000)
    assert rest is None
    found: dict[tuple[int, tuple[str, ...]], list[Sums]] = {}
    start: int | None = FIRST
    while start is not None:
        days, following = entries_by_day(filled, by, (start, END), by_label=by_label, most=most)
        assert days
        if len(days) > 1:
            assert sum(map(len, days.values())) <= most
            assert following is None or following % DAY_QUARTERS == 0
        for day, entries in days.items():
            for name, sums in entries.items():
                found.setdefault((day, name), []).append(sums)
        assert following is None or following > start
        start = following

    expected = {(day, name): seven(sums) for day, entries in whole.items() for name, sums in entries.items()}
    assert expected == {key: tuple(map(sum, zip(*map(seven, parts), strict=True))) for key, parts in found.items()}


def test_a_day_is_cut_by_the_quarter(filled: sqlite3.Connection) -> None:
    """A first day that is too long ends after the first quarter-hour that makes it so."""
    days, following = entries_by_day(filled, "caller, model", (FIRST, END), most=3)
    (entries,) = days.values()
    (latest,) = filled.execute("SELECT max(quarter) FROM rollups WHERE quarter < ?", (following,)).fetchone()
    without, _ = entries_by_day(filled, "caller, model", (FIRST, latest), most=1_000)

    assert following is not None
    assert following % DAY_QUARTERS
    assert len(entries) > 3 >= sum(len(part) for part in without.values())


def test_sums_by_columns(filled: sqlite3.Connection) -> None:
    """Sums by a column, and over everything, are those of the rows; states count attempts."""
    by_model = {name: seven(sums) for (name,), sums in sums_by(filled, "model", (None, None)).items()}
    states = dict(filled.execute("SELECT state, count(*) FROM attempts GROUP BY state").fetchall())
    (failed,) = filled.execute("SELECT count(*) FROM calls WHERE state IN ('refused', 'interrupted')").fetchone()
    whole = total(filled, (None, None))

    assert of_rows(filled, "model", EVERYTHING, Period()) == by_model
    assert tuple(map(sum, zip(*by_model.values(), strict=True))) == seven(whole)
    assert (states, failed, 0) == (whole.states, whole.failed, whole.under_way)
    assert Sums() == total(filled, (5, 6))


@pytest.mark.parametrize("entity", ["user", "team", "tag", "end_user"])
@pytest.mark.parametrize("shift", [0, -4, 23])
def test_days_and_what_they_were_made_of(filled: sqlite3.Connection, entity: str, shift: int) -> None:
    """Days with calls are found newest first, in any zone; models, keys and entities of a day add up to it."""
    by_label = entity if entity in ("tag", "end_user") else None
    quarters = (FIRST, END)
    days = active_days(filled, quarters, by_label=by_label, shift=shift)
    anything = "tags <> '' OR end_user <> ''" if by_label else "1"
    expected = {
        (at // QUARTER_MS - shift) // DAY_QUARTERS * DAY_QUARTERS + shift
        for (at,) in filled.execute(f"SELECT started_at FROM calls WHERE {anything}")
    }

    assert sorted(expected, reverse=True) == days
    found = [activity(filled, day, quarters, EVERYTHING, entity=entity) for day in days]
    whole = [part for part in found if part is not None]
    for part in whole:
        span = (max(part.day, FIRST), min(part.day + DAY_QUARTERS, END))
        if by_label is None:
            assert len(whole) == len(days)
            assert seven(total(filled, span)) == seven(part.sums)
        for parts in (part.models, part.keys):
            named = [sums.spend for name, sums in parts.items() if name]
            assert part.sums.spend == sum(named)
    if by_label:
        spends: dict[str, int] = {}
        for part in whole:
            for name, sums in part.entities.items():
                spends[name] = spends.get(name, 0) + sums.spend
        rows = of_rows(filled, entity.replace("_", "-"), EVERYTHING, Period())
        assert {name: row[4] for name, row in rows.items()} == spends


def test_days_of_somebody(filled: sqlite3.Connection) -> None:
    """Days are those of whom the report is limited to; nobody has none."""
    only = Only(callers=("key-000000000031",))
    rows = filled.execute("SELECT DISTINCT started_at / ? FROM calls WHERE caller = ?", (DAY_MS, only.callers[0]))
    expected = sorted((day * DAY_QUARTERS for (day,) in rows), reverse=True)

    assert expected == active_days(filled, (FIRST, END), only)
    assert [] == active_days(filled, (FIRST, END), Only(users=("nobody",)))
    assert activity(filled, FIRST // DAY_QUARTERS * DAY_QUARTERS - 960, (0, END), EVERYTHING, entity="user") is None


def test_many_keys_of_a_day(filled: sqlite3.Connection) -> None:
    """Of many keys the dearest are told, and that there are more; the sums of the day are of all."""
    day = (FIRST // DAY_QUARTERS + 5) * DAY_QUARTERS
    found = activity(filled, day, (FIRST, END), EVERYTHING, entity="team", most=4)
    spends = sorted(sums.spend for sums in sums_by(filled, "caller", (day, day + DAY_QUARTERS)).values())

    assert found is not None
    assert (True, spends[-4:][::-1]) == (found.more, [sums.spend for sums in found.keys.values()])
    assert sum(spends) == found.sums.spend


@given(most=st.integers(1, 70), back=st.integers(0, 31 * DAY_QUARTERS))
@settings(max_examples=30, deadline=None)
def test_who_spent_most(filled: sqlite3.Connection, most: int, back: int) -> None:
    """The dearest callers are found without summing up all of them, in any time, and exactly."""
    quarters = (END - back, None)
    spends = sorted((sums.spend for sums in sums_by(filled, "caller", quarters).values()), reverse=True)

    found = dearest_callers(filled, quarters, most)

    assert [spend for spend in spends[:most] if spend] == [sums.spend for _, sums in found if sums.spend]


def test_limits_have_an_end() -> None:
    """So many values that SQLite would not take them are refused before."""
    with pytest.raises(Unanswerable, match="at most 1000 of one kind"):
        Only(users=tuple(map(str, range(1_001))))


def test_what_is_under_way() -> None:
    """Calls under way have neither failed nor succeeded; what is moved to another state leaves the one it was in."""
    sums = Sums()
    for state in ("metered", "open", "refused"):
        sums.add((state, 3, 2, 0, 0, 0, 0, 0, 0, 0, 0))
    sums.move("metered", "open", 1, 1)
    sums.move("metered", "refused", 1, 1)

    assert (9, 4, 4) == (sums.calls, sums.failed, sums.under_way)
    assert ({"open": 3, "refused": 3}, {"open": 3}) == (sums.states, sums.inexact)
