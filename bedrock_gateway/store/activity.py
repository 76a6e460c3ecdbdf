"""What days were made of, newest first, and who spent most. Read-only.

Knows how days with calls are found without reading them, and how the dearest of many keys are found without summing up
all of them.
"""

from __future__ import annotations

import json
import sqlite3

import attrs

from bedrock_gateway.store.days import Entries, Quarters
from bedrock_gateway.store.periods import DAY_QUARTERS
from bedrock_gateway.store.rollup_rows import EVERYTHING, Only, RollupRows, rollup_rows
from bedrock_gateway.store.sums import SUM_COLUMNS, Sums, grouped, sum_of

__all__ = ["Activity", "active_days", "activity", "dearest_callers"]

#: Keys and other parties told of one day; the dearest.
_MOST_OF_A_DAY = 1_000

#: Callers that are summed up at once while the dearest are looked for.
_AT_ONCE = 100


@attrs.frozen(kw_only=True)
class Activity:
    """One day, or the part of it that is asked for.

    Attributes:
        day: its first quarter-hour.
        sums: of all of it.
        models, groups, operations: by name; without groups and operations where it is of tags or end users.
        keys: by caller, the dearest.
        entities: by user, team, tag or end user, the dearest.
        more: whether there were more keys or entities than are told.
    """

    day: int
    sums: Sums
    models: dict[str, Sums]
    groups: dict[str, Sums]
    operations: dict[str, Sums]
    keys: dict[str, Sums]
    entities: dict[str, Sums]
    more: bool


def active_days(
    connection: sqlite3.Connection,
    quarters: tuple[int, int],
    only: Only = EVERYTHING,
    *,
    by_label: str | None = None,
    shift: int = 0,
) -> list[int]:
    """Return the days on which anything was, newest first, each as its first quarter-hour. Some may have had only calls
    that are not asked for.

    Args:
        shift: quarter-hours from a day's beginning in UTC to that of the days asked for.

    Raises:
        Unanswerable: rollups have no such combination.
    """
    rows = rollup_rows(connection, quarters, only, by_label=by_label)
    if rows.indexed:
        days = {(quarter - shift) // DAY_QUARTERS for (quarter,) in rows.select(connection, "DISTINCT quarter")}
        return [day * DAY_QUARTERS + shift for day in sorted(days, reverse=True)]
    # From day to day, with one step each.
    found: list[int] = []
    first, end = quarters
    while True:
        (newest,) = connection.execute(
            f"SELECT max(quarter) FROM {rows.table} WHERE quarter >= ? AND quarter < ?", (first, end)
        ).fetchone()
        if newest is None:
            return found
        end = newest - (newest - shift) % DAY_QUARTERS
        found.append(end)


def activity(
    connection: sqlite3.Connection,
    day: int,
    quarters: tuple[int, int],
    only: Only,
    *,
    entity: str,
    most: int = _MOST_OF_A_DAY,
) -> Activity | None:
    """Return what a day was made of, or None where nothing was.

    Args:
        day: its first quarter-hour.
        quarters: what the day is cut to.
        entity: ``user``, ``team``, ``tag`` or ``end_user``.
        most: keys, and entities, that are told; the dearest.

    Raises:
        Unanswerable: rollups have no such combination.
    """
    span = (max(day, quarters[0]), min(day + DAY_QUARTERS, quarters[1]))
    by_label = entity if entity in ("tag", "end_user") else None
    rows = rollup_rows(connection, span, only, by_label=by_label)
    by = "model, '', ''" if by_label else "model, model_group, operation"
    parts = grouped(rows.select(connection, f"{by}, {SUM_COLUMNS}", group="1, 2, 3, state"), 3)
    if not parts:
        return None
    keys, more_keys = _dearest(connection, rows, "caller", most)
    entities, more_entities = _dearest(connection, rows, "label" if by_label else entity, most)
    return Activity(
        day=day,
        sums=sum_of(list(parts.values())),
        models=_by(parts, 0),
        groups=_by(parts, 1),
        operations=_by(parts, 2),
        keys=keys,
        entities=entities,
        more=more_keys or more_entities,
    )


def _dearest(connection: sqlite3.Connection, rows: RollupRows, column: str, most: int) -> tuple[dict[str, Sums], bool]:
    """Return sums by the dearest values of a column, and whether there are more values."""
    found = rows.select(connection, column, group=column, order="sum(spend) DESC", limit=most + 1).fetchall()
    names = [name for (name,) in found if name]
    if len(found) > most:
        rows = attrs.evolve(
            rows,
            condition=f"{rows.condition} AND +{column} IN (SELECT value FROM json_each(?))",
            values=(*rows.values, json.dumps(names[:most])),
        )
    sums = grouped(rows.select(connection, f"{column}, {SUM_COLUMNS}", group=f"{column}, state"), 1)
    return {name: sums[name,] for name in names[:most]}, len(found) > most


def _by(parts: Entries, index: int) -> dict[str, Sums]:
    """Return the sums by one of their names; "" names nothing."""
    groups: dict[str, list[Sums]] = {}
    for names, sums in parts.items():
        if names[index]:
            groups.setdefault(names[index], []).append(sums)
    return {name: sum_of(found) for name, found in groups.items()}


def dearest_callers(connection: sqlite3.Connection, quarters: Quarters, most: int) -> list[tuple[str, Sums]]:
    """Return the callers that spent most, dearest first, and their sums.

    What an account holds bounds what was spent, as it holds more where the spend is not known. So callers are summed up
    in the order of their accounts, until nobody further down can have spent more.
    """
    since, until = quarters
    bounds = connection.execute(
        # ";" is the character behind ":".
        "SELECT substr(account, 5), sum(spend) FROM accounts WHERE account >= 'key:' AND account < 'key;' "
        "AND quarter >= ? AND quarter < ? GROUP BY account ORDER BY 2 DESC",
        (since if since is not None else 0, until if until is not None else 1 << 62),
    )
    found: list[tuple[str, Sums]] = []
    while True:
        chunk = bounds.fetchmany(_AT_ONCE)
        enough = len(found) >= most and (not chunk or chunk[0][1] <= found[most - 1][1].spend)
        if enough or not chunk:
            return found[:most]
        rows = rollup_rows(connection, quarters, Only(callers=tuple(caller for caller, _ in chunk)))
        sums = grouped(rows.select(connection, f"caller, {SUM_COLUMNS}", group="caller, state"), 1)
        found += [(caller, told) for (caller,), told in sums.items()]
        found.sort(key=lambda entry: (-entry[1].spend, entry[0]))
