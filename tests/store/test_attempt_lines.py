"""Single attempts are found by whatever their calls are limited to, the newest of them, in order."""

from __future__ import annotations

import sqlite3

import pytest
from test_call_lines import DAY_MS, PERIODS, SOME, UNTIL

from bedrock_gateway.store import rollup_rows as ways
from bedrock_gateway.store.attempt_lines import attempts
from bedrock_gateway.store.call_lines import EVERY_CALL, Wanted
from bedrock_gateway.store.periods import Period
from bedrock_gateway.store.rollup_rows import Only


def of_rows(connection: sqlite3.Connection, condition: str, period: Period) -> list[str]:
    """Return the ids of attempts of calls, by the time of these, from the rows."""
    rows = connection.execute(
        f"SELECT id FROM attempts WHERE call IN (SELECT id FROM calls WHERE {condition} AND started_at >= ? "
        "AND started_at < ?)",
        (period.since or 0, period.until or 1 << 60),
    )
    return sorted(id_ for (id_,) in rows)


@pytest.mark.parametrize("period", PERIODS)
@pytest.mark.parametrize("few", [0, 1_000_000])
@pytest.mark.parametrize(
    ("wanted", "condition"), [one for one in SOME if not one[0].only.models], ids=lambda value: None
)
def test_all_of_them(
    filled: sqlite3.Connection,
    monkeypatch: pytest.MonkeyPatch,
    wanted: Wanted,
    condition: str,
    few: int,
    period: Period,
) -> None:
    """Every attempt of the calls that are wanted comes once, whichever way they are found."""
    monkeypatch.setattr(ways, "_MOST_BY_INDEX", few)
    found = attempts(filled, period, 100_000, wanted)

    assert of_rows(filled, condition, period) == sorted(line.attempt for line in found)
    assert found == sorted(found, key=lambda line: (line.started_at, line.call, line.number, line.part), reverse=True)


def test_the_newest(filled: sqlite3.Connection) -> None:
    """No more than asked for come: those of the newest calls."""
    every = attempts(filled, Period(), 100_000)
    calls = list(dict.fromkeys(line.call for line in sorted(every, key=lambda line: line.call, reverse=True)))

    for limit in (1, 2, 50):
        found = attempts(filled, Period(), limit)
        assert limit == len(found)
        assert {line.call for line in found} == set(calls[: len({line.call for line in found})])
    assert every == attempts(filled, Period(), 100_000, EVERY_CALL)


def test_a_model_is_looked_for_in_each(filled: sqlite3.Connection) -> None:
    """Of a model: what was sent to it, also by a call that ended elsewhere. Of a group: all its calls sent."""
    period = Period(since=UNTIL - 20 * DAY_MS)
    (model, group) = filled.execute(
        "SELECT attempts.model, model_group FROM attempts JOIN calls ON calls.id = call WHERE model_group <> '' "
        "AND calls.attempts > 1 LIMIT 1"
    ).fetchone()
    for name in (model, group, "nothing-of-the-kind"):
        rows = filled.execute(
            "SELECT attempts.id FROM attempts JOIN calls ON calls.id = call WHERE calls.started_at >= ? "
            "AND (attempts.model = ? OR model_group = ?) ORDER BY attempts.id",
            (period.since, name, name),
        )
        found = attempts(filled, period, 100_000, Wanted(only=Only(models=(name,))))

        assert [id_ for (id_,) in rows] == sorted(line.attempt for line in found)
