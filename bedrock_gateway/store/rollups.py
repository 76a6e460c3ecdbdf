"""Rollups: sums of calls and attempts by quarter-hour, kept by differences. Knows their SQL and what a row adds."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any, TypeAlias

from bedrock_gateway.store.schema import QUARTER_MS

__all__ = ["ONE_CALL", "RollupKey", "Rollups", "money"]

RollupKey: TypeAlias = tuple[int, str, str, str, str, str, str]
"""Quarter, caller, model group, model, deployment, operation, state."""

_SUMS = 11
ONE_CALL = (1,) + (0,) * (_SUMS - 1)
"""What a call itself adds, beside its attempts."""

_ROLLUP_SUMS = (
    "calls", "attempts", "input", "output", "cache_read", "cache_write_5m", "cache_write_1h", "images",
    "spend", "spend_all", "at_most",
)  # fmt: skip
_ADD_ROLLUP = f"INSERT INTO rollups VALUES ({', '.join('?' * (7 + _SUMS))}) ON CONFLICT DO UPDATE SET " + ", ".join(
    f"{name} = {name} + excluded.{name}" for name in _ROLLUP_SUMS
)
_DROP_ROLLUP = (
    "DELETE FROM rollups WHERE quarter = ? AND caller = ? AND model_group = ? AND model = ? AND deployment = ? "
    "AND operation = ? AND state = ? AND calls = 0 AND attempts = 0"
)


class Rollups:
    """Differences the rollups are to take at the end of a transaction."""

    __slots__ = ("_sums",)

    def __init__(self) -> None:
        self._sums: dict[RollupKey, list[int]] = {}

    def add(self, key: RollupKey, sums: Iterable[int], sign: int = 1) -> None:
        """Add ``sums`` (in the order of the columns) to ``key``, or take them off it."""
        kept = self._sums.get(key)
        if kept is None:
            self._sums[key] = [sign * value for value in sums]
        else:
            for index, value in enumerate(sums):
                kept[index] += sign * value

    def add_call(self, cursor: sqlite3.Cursor, call_id: str, sign: int) -> None:
        """Add what the rows of one call amount to, or take it off."""
        call = cursor.execute(
            "SELECT started_at, caller, model_group, model, deployment, operation, state FROM calls WHERE id = ?",
            (call_id,),
        ).fetchone()
        if call is None:
            return
        started_at, caller, group, model, deployment, operation, state = call
        quarter = started_at // QUARTER_MS
        self.add((quarter, caller, group, model, deployment, operation, state), ONE_CALL, sign)
        attempts = cursor.execute(
            "SELECT model, deployment, state, charged, spend, spend_at_most, "
            "input, output, cache_read, cache_write_5m, cache_write_1h, images FROM attempts WHERE call = ?",
            (call_id,),
        ).fetchall()
        for model, deployment, state, charged, spend, at_most, *quantities in attempts:
            self.add(
                (quarter, caller, group, model, deployment, operation, state),
                (0, 1, *quantities, *money(charged, spend, at_most)),
                sign,
            )

    def write(self, cursor: sqlite3.Cursor) -> None:
        """Write the differences; rows that count nothing any more go."""
        changed: list[tuple[Any, ...]] = [(*key, *sums) for key, sums in self._sums.items() if any(sums)]
        cursor.executemany(_ADD_ROLLUP, changed)
        lessened = [row[:7] for row in changed if row[7] < 0 or row[8] < 0]
        if lessened:
            cursor.executemany(_DROP_ROLLUP, lessened)


def money(charged: int, spend: int | None, at_most: int | None) -> tuple[int, int, int]:
    """Return what an attempt adds to spend, spend_all and at_most."""
    if spend is not None:
        return (spend if charged else 0), spend, 0
    return 0, 0, (at_most or 0) if charged else 0
