"""Spend by day, in answers of bounded length: whole days as far as there is room, and where a single day is too much,
whole quarter-hours of it. So pages of a report add up to the whole.

Read-only; knows how an answer is cut, and no JSON.
"""

from __future__ import annotations

import sqlite3
from typing import Any, TypeAlias

import attrs

from bedrock_gateway.store.periods import DAY_QUARTERS
from bedrock_gateway.store.rollup_rows import EVERYTHING, Only, rollup_rows
from bedrock_gateway.store.sums import COLUMNS, SUM_COLUMNS, Sums, grouped

__all__ = ["MOST_ENTRIES", "Entries", "Quarters", "entries_by_day", "sums_by", "total"]

MOST_ENTRIES = 10_000
"""Entries of an answer, as long as whole quarter-hours allow."""

Quarters: TypeAlias = "tuple[int | None, int | None]"
"""A span of time: its first quarter-hour, and the first one after it; None is open."""

Entries: TypeAlias = "dict[tuple[str, ...], Sums]"
"""Sums by one or several values."""


def sums_by(
    connection: sqlite3.Connection, by: str, quarters: Quarters, only: Only = EVERYTHING, *, by_label: str | None = None
) -> Entries:
    """Return sums by one or several columns (SQL of this package: ``model, caller``).

    Raises:
        Unanswerable: rollups have no such combination.
    """
    rows = rollup_rows(connection, quarters, only, by_label=by_label)
    return grouped(rows.select(connection, f"{by}, {SUM_COLUMNS}", group=f"{by}, state"), by.count(",") + 1)


def total(connection: sqlite3.Connection, quarters: Quarters, only: Only = EVERYTHING) -> Sums:
    """Return the sums of everything.

    Raises:
        Unanswerable: rollups have no such combination.
    """
    rows = rollup_rows(connection, quarters, only)
    sums = Sums()
    # Nearly all are metered: what SQLite need not sort it sums up much faster.
    whole = rows.select(connection, f"'metered', {SUM_COLUMNS.partition(', ')[2]}").fetchone()
    if whole[1] is None:
        return sums
    sums.add(whole)
    others = attrs.evolve(rows, condition=f"{rows.condition} AND state <> 'metered'")
    for state, calls, attempts in others.select(connection, "state, sum(calls), sum(attempts)", group="state"):
        sums.move("metered", state, calls, attempts)
    return sums


def entries_by_day(
    connection: sqlite3.Connection,
    by: str,
    quarters: tuple[int, int],
    only: Only = EVERYTHING,
    *,
    by_label: str | None = None,
    most: int = MOST_ENTRIES,
) -> tuple[dict[int, Entries], int | None]:
    """Return the entries of each day in order (days since the epoch), and the quarter-hour to go on from where these
    are not all.

    Rows are read once, in order of time, and no further than the answer goes.

    Raises:
        Unanswerable: rollups have no such combination.
    """
    names = by.count(",") + 1
    days: dict[int, Entries] = {}
    room = most
    quarter = day = -1
    entries: Entries = {}
    rows = rollup_rows(connection, quarters, only, by_label=by_label)
    for row in rows.select(connection, f"quarter, {by}, {COLUMNS}", order="quarter"):
        if row[0] != quarter:
            # Only here, between two quarter-hours, may an answer end; a day that can wait for the next page does.
            if len(entries) > room and len(days) > 1:
                del days[day]
                return days, day * DAY_QUARTERS
            quarter = row[0]
            if quarter // DAY_QUARTERS != day:
                room -= len(entries)
                if days and room <= 0:
                    return days, quarter - quarter % DAY_QUARTERS
                day = quarter // DAY_QUARTERS
                entries = days[day] = {}
            elif len(entries) > room:
                return days, quarter
        _add(entries, row, names)
    if len(days) > 1 and len(entries) > room:
        del days[day]
        return days, day * DAY_QUARTERS
    return days, None


def _add(entries: Entries, row: tuple[Any, ...], names: int) -> None:
    name = row[1 : names + 1]
    sums = entries.get(name)
    if sums is None:
        sums = entries[name] = Sums()
    sums.add(row[names + 1 :])
