"""Rollups: sums of calls and attempts by quarter-hour, kept by differences. Knows their SQL and what a row adds.

Three tables hold them: ``rollups`` by caller, owner, model, deployment, operation and state; ``label_rollups`` by tag
and by end user, of which a call has any number; ``accounts`` by whose money it is, for budgets.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from bedrock_gateway.access.accounts import accounts_of
from bedrock_gateway.store.inserting import inserts, write_rows
from bedrock_gateway.store.records import Party, State
from bedrock_gateway.store.schema import QUARTER_MS

__all__ = ["ONE_CALL", "RollupKey", "Rollups", "money", "tags_text"]

RollupKey: TypeAlias = tuple[int, str, str, str, str, str, str, str, str]
"""Quarter, caller, user, team, model group, model, deployment, operation, state."""

_SUMS = 11
ONE_CALL = (1,) + (0,) * (_SUMS - 1)
"""What a call itself adds, beside its attempts."""

_ROLLUP_SUMS = (
    "calls", "attempts", "input", "output", "cache_read", "cache_write_5m", "cache_write_1h", "images",
    "spend", "spend_all", "at_most",
)  # fmt: skip
_OPEN = str(State.OPEN)
_ADDED = ", ".join(f"{name} = {name} + excluded.{name}" for name in _ROLLUP_SUMS)


_KEYS, _LABEL_KEYS = 9, 6
_ADD_ROLLUPS = inserts("rollups", _KEYS + _SUMS, f"UPDATE SET {_ADDED}")
_ADD_LABELS = inserts("label_rollups", _LABEL_KEYS + _SUMS, f"UPDATE SET {_ADDED}")
_ADD_ACCOUNTS = inserts("accounts", 3, "UPDATE SET spend = spend + excluded.spend")
_DROP_ROLLUP = (
    "DELETE FROM rollups WHERE quarter = ? AND caller = ? AND user = ? AND team = ? AND model_group = ? AND model = ? "
    "AND deployment = ? AND operation = ? AND state = ? AND calls = 0 AND attempts = 0"
)
_DROP_LABEL = (
    "DELETE FROM label_rollups WHERE quarter = ? AND kind = ? AND label = ? AND caller = ? AND model = ? AND state = ? "
    "AND calls = 0 AND attempts = 0"
)
_DROP_ACCOUNT = "DELETE FROM accounts WHERE account = ? AND quarter = ? AND spend = 0"


class Rollups:
    """Differences the rollups are to take at the end of a transaction."""

    __slots__ = ("_added",)

    def __init__(self) -> None:
        # By rollup key, end user and tags: what is to be added, row by row.
        self._added: dict[tuple[RollupKey, str, tuple[str, ...]], list[Sequence[int]]] = {}

    def add(self, key: RollupKey, party: Party, sums: Sequence[int], sign: int = 1) -> None:
        """Add ``sums`` (in the order of the columns) to ``key`` and to the labels and accounts of ``party``, or take
        them off.
        """
        added = self._added.setdefault((key, party.end_user, party.tags), [])
        added.append(sums if sign > 0 else [-value for value in sums])

    def add_call(self, cursor: sqlite3.Cursor, call_id: str, sign: int) -> None:
        """Add what the rows of one call amount to, or take it off."""
        call = cursor.execute(
            "SELECT started_at, caller, model_group, model, deployment, operation, state, user, team, end_user, tags "
            "FROM calls WHERE id = ?",
            (call_id,),
        ).fetchone()
        if call is None:
            return
        started_at, caller, group, model, deployment, operation, state, user, team, end_user, tags = call
        party = Party(user=user, team=team, end_user=end_user, tags=tuple(json.loads(tags)) if tags else ())
        quarter = started_at // QUARTER_MS
        self.add((quarter, caller, user, team, group, model, deployment, operation, state), party, ONE_CALL, sign)
        attempts = cursor.execute(
            "SELECT model, deployment, state, charged, spend, spend_at_most, "
            "input, output, cache_read, cache_write_5m, cache_write_1h, images FROM attempts WHERE call = ?",
            (call_id,),
        ).fetchall()
        for model, deployment, state, charged, spend, at_most, *quantities in attempts:
            self.add(
                (quarter, caller, user, team, group, model, deployment, operation, state),
                party,
                (0, 1, *quantities, *money(charged, spend, at_most)),
                sign,
            )

    def write(self, cursor: sqlite3.Cursor) -> None:
        """Write the differences; rows that count nothing any more go."""
        rollups: dict[RollupKey, Sequence[int]] = {}
        labels: dict[tuple[Any, ...], Sequence[int]] = {}
        accounts: dict[tuple[str, int], int] = {}
        for (key, end_user, tags), added in self._added.items():
            sums = added[0] if len(added) == 1 else [sum(values) for values in zip(*added, strict=True)]
            _merge(rollups, key, sums)
            quarter, caller, user, team, group, model, deployment, _, state = key
            for tag in tags:
                _merge(labels, (quarter, "tag", tag, caller, model, state), sums)
            if end_user:
                _merge(labels, (quarter, "end_user", end_user, caller, model, state), sums)
            spend = sums[8] + sums[10]
            # What is under way is held by the running gateway's reservations, not by what was spent.
            if spend and state != _OPEN:
                names = accounts_of(caller, user, team, end_user, tags, group, model, deployment)
                for name in names:
                    account = name, quarter
                    accounts[account] = accounts.get(account, 0) + spend
        _write(cursor, rollups, _ADD_ROLLUPS, _DROP_ROLLUP)
        if labels:
            _write(cursor, labels, _ADD_LABELS, _DROP_LABEL)
        changed = [(*account, spend) for account, spend in accounts.items() if spend]
        if changed:
            write_rows(cursor, _ADD_ACCOUNTS, changed)
            lessened = [row[:2] for row in changed if row[2] < 0]
            if lessened:
                cursor.executemany(_DROP_ACCOUNT, lessened)


def _merge(kept: dict[Any, Sequence[int]], key: tuple[Any, ...], sums: Sequence[int]) -> None:
    found = kept.get(key)
    kept[key] = sums if found is None else [one + more for one, more in zip(found, sums, strict=True)]


def _write(cursor: sqlite3.Cursor, kept: Mapping[Any, Sequence[int]], statements: Mapping[int, str], drop: str) -> None:
    write_rows(cursor, statements, [(*key, *sums) for key, sums in kept.items() if any(sums)])
    lessened = [key for key, sums in kept.items() if sums[0] < 0 or sums[1] < 0]
    if lessened:
        cursor.executemany(drop, lessened)


def money(charged: int, spend: int | None, at_most: int | None) -> tuple[int, int, int]:
    """Return what an attempt adds to spend, spend_all and at_most."""
    if spend is not None:
        return (spend if charged else 0), spend, 0
    return 0, 0, (at_most or 0) if charged else 0


def tags_text(tags: Iterable[str]) -> str:
    """Return tags as the column ``calls.tags`` holds them: a JSON array, "" for none."""
    return json.dumps(list(tags), ensure_ascii=False, separators=(",", ":")) if tags else ""
