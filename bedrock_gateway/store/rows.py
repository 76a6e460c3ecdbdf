"""Writing calls, attempts, usage and rollups: one group of records in one transaction.

Knows the SQL of writing; knows no thread, no queue and no journal. Two ways lead to the same rows:

- the *straight* way for what is surely new: one closing with its call's record, attempt and call never written
  before. Rows are inserted in bulk and the rollups take what they add;
- the *careful* way for everything else (rows written as open, calls of several attempts, repeats after a failure,
  recovery): what the rollups hold for a call is computed from its rows before and after the change, and they take the
  difference. So whatever happened before, the rollups stay the sums of the rows, and telling the same thing twice
  changes nothing.

If the straight way meets a row that is there already, or a value SQLite refuses, the group is rolled back and goes
the careful way.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from bedrock_gateway.store.inserting import inserts, write_rows
from bedrock_gateway.store.records import CallRecord, Closing, Opening, Party, State
from bedrock_gateway.store.rollups import ONE_CALL, RollupKey, Rollups, money, tags_text
from bedrock_gateway.store.schema import QUARTER_MS

__all__ = ["GREATEST", "Change", "apply_changes", "call_outcome", "interrupt_open", "write_group"]

Change: TypeAlias = "tuple[str, Opening | None, Closing | None, CallRecord | None, bool]"
"""One record to write: call id, opening, closing, call's record, and whether rows of the call may exist already.

An opening alone is an attempt to be shown as open; a closing without an opening is of an attempt whose row exists."""

GREATEST = 1 << 53
"""Bound of every quantity and amount; what lies outside is a fault of its source, kept in range and noted."""

_RANK = {str(state): rank for rank, state in enumerate(State)}
_STATES = [str(state) for state in State]
_OPEN = str(State.OPEN)
_INTERRUPTED = str(State.INTERRUPTED)

_INSERT_ATTEMPTS = inserts("attempts", 25)
_INSERT_CALLS = inserts("calls", 21)
_INSERT_ATTEMPT = _INSERT_ATTEMPTS[1]
_INSERT_CALL = _INSERT_CALLS[1]
_INSERT_USAGE = (
    "INSERT INTO usage VALUES (?, ?, ?, ?) "
    "ON CONFLICT DO UPDATE SET quantity = min(quantity + excluded.quantity, 9007199254740992)"
)
_CLOSE_ATTEMPT = """
UPDATE attempts SET state = ?, charged = ?, spend = ?, ended_at = ?, status = ?, error_type = ?, aws_request_id = ?,
    input = ?, output = ?, cache_read = ?, cache_write_5m = ?, cache_write_1h = ?, images = ?, usage_raw = ?, notes = ?
WHERE call = ? AND id = ? AND state = 'open'
"""
_END_CALL = """
UPDATE calls SET started_at = ?, ended_at = ?, status = ?, error_type = ?, attempts = ?, caller_left = ?
WHERE id = ? AND ended_at IS NULL
"""
_DERIVE_CALL = "UPDATE calls SET model = ?, deployment = ?, state = ?, spend = ?, attempts = ? WHERE id = ?"
_NO_USAGE = (0, 0, 0, 0, 0, 0)

_Row: TypeAlias = Sequence[Any]


def call_outcome(
    attempts: Iterable[tuple[str, int, int | None]], status: int | None, ended: bool
) -> tuple[str, int | None]:
    """Return state and spend of a call from its attempts, given as (state, charged, spend).

    Spend is the sum of what is known of the charged ones; None when something was charged and nothing of it is known.
    A call nothing was sent for is ``refused`` if it was answered with an error, else ``free``. ``status`` None and
    ``ended`` says that the run died before it answered.
    """
    rank = len(_STATES)
    spend: int | None = None
    any_charged = False
    for state, charged, attempt_spend in attempts:
        rank = min(rank, _RANK.get(state, 0))
        if charged:
            any_charged = True
            if attempt_spend is not None:
                spend = (spend or 0) + attempt_spend
    if not any_charged:
        spend = 0
    if not ended:
        return _OPEN, spend
    if status is None:
        rank = min(rank, _RANK[_INTERRUPTED])
    if rank == len(_STATES):
        return (str(State.REFUSED) if status is not None and not 200 <= status < 400 else str(State.FREE)), spend
    return _STATES[rank], spend


# --- the straight way ---------------------------------------------------------------------------------------------


def write_group(connection: sqlite3.Connection, run: int, changes: Sequence[Change]) -> None:
    """Write a group of changes in one transaction of its own; nothing is written if it raises.

    Raises:
        sqlite3.Error: the database did not take it.
    """
    cursor = connection.cursor()
    cursor.execute("BEGIN IMMEDIATE")
    try:
        if not _write_straight(cursor, run, changes):
            cursor.execute("ROLLBACK")
            cursor.execute("BEGIN IMMEDIATE")
            rollups = Rollups()
            apply_changes(cursor, run, changes, rollups)
            rollups.write(cursor)
        cursor.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            cursor.execute("ROLLBACK")
        raise
    finally:
        cursor.close()


def _write_straight(cursor: sqlite3.Cursor, run: int, changes: Sequence[Change]) -> bool:
    """Write what is new in bulk, the rest carefully; False when something said to be new is not, or does not fit."""
    attempts: list[_Row] = []
    calls: list[_Row] = []
    meters: list[_Row] = []
    careful: list[Change] = []
    rollups = Rollups()
    for change in changes:
        call_id, opening, closing, call, known = change
        if known or call is None:
            careful.append(change)
        elif closing is None:
            if opening is not None or call.attempts:
                careful.append(change)
                continue
            row = _call_row(run, call, None, None)
            calls.append(row)
            rollups.add(_key(call, "", "", row[8]), call.party, ONE_CALL)
        elif opening is None or call.attempts != 1:
            careful.append(change)
        else:
            attempt = _attempt_row(run, opening, closing)
            row = _call_row(run, call, opening, attempt)
            attempts.append(attempt)
            calls.append(row)
            if closing.usage is not None and closing.usage.meters:
                meters.extend(_meter_rows(call_id, closing))
            rollups.add(
                _key(call, attempt[6], attempt[5], attempt[8]),
                call.party,
                (1, 1, *attempt[17:23], *money(attempt[9], attempt[10], attempt[11])),
            )
    try:
        for statements, new in ((_INSERT_ATTEMPTS, attempts), (_INSERT_CALLS, calls)):
            if write_rows(cursor, statements, new) < len(new):
                return False
        if meters:
            cursor.executemany(_INSERT_USAGE, meters)
        if careful:
            apply_changes(cursor, run, careful, rollups)
        rollups.write(cursor)
    except (ValueError, OverflowError, sqlite3.ProgrammingError, sqlite3.InterfaceError):
        # Text that is no Unicode, an integer beyond 64 bits: the careful way cleans each value.
        return False
    return True


def _key(call: CallRecord, model: str, deployment: str, state: str) -> RollupKey:
    party = call.party
    quarter = call.started_at // QUARTER_MS
    return (quarter, call.caller, party.user, party.team, call.model_group, model, deployment, call.operation, state)


def _attempt_row(run: int, opening: Opening, closing: Closing | None) -> tuple[Any, ...]:
    """Return the row of an attempt, open while there is no closing."""
    head = (
        opening.call,
        opening.attempt,
        run,
        opening.number,
        opening.part,
        opening.deployment,
        opening.model,
        opening.region,
    )
    at_most = opening.spend_at_most
    if at_most is not None and not 0 <= at_most <= GREATEST:
        at_most = _in_range(at_most)
    if closing is None:
        return (*head, _OPEN, 1, None, at_most, opening.started_at, None, None, None, None, *_NO_USAGE, None, None)
    quantities, spend, raw, notes = _consumed(closing)
    return (
        *head,
        str(closing.state),
        1 if closing.charged else 0,
        spend,
        at_most,
        opening.started_at,
        closing.ended_at,
        closing.status,
        closing.error_type,
        closing.aws_request_id,
        *quantities,
        raw,
        notes,
    )


def _consumed(closing: Closing) -> tuple[tuple[int, ...], int | None, str | None, str | None]:
    """Return quantities, spend, raw usage and notes of a closing, each within range."""
    usage = closing.usage
    spend = closing.spend
    notes = closing.notes
    raw = None
    quantities = _NO_USAGE
    if usage is not None:
        quantities = (
            usage.input_tokens,
            usage.output_tokens,
            usage.cache_read_tokens,
            usage.cache_write_5m_tokens,
            usage.cache_write_1h_tokens,
            usage.images,
        )
        raw = usage.raw
        if usage.flags:
            notes = notes + usage.flags
        if min(quantities) < 0 or max(quantities) > GREATEST:
            quantities = tuple(_in_range(quantity) for quantity in quantities)  # type: ignore[assignment]
            notes = (*notes, "quantity out of range")
    if spend is not None and not 0 <= spend <= GREATEST:
        spend = _in_range(spend)
        notes = (*notes, "spend out of range")
    return quantities, spend, raw, json.dumps(notes) if notes else None


def _in_range(value: int) -> int:
    return min(max(value, 0), GREATEST)


def _call_row(run: int, call: CallRecord, opening: Opening | None, attempt: _Row | None) -> tuple[Any, ...]:
    """Return the row of a call that has ended, with its one attempt or none."""
    state, spend = call_outcome(() if attempt is None else ((attempt[8], attempt[9], attempt[10]),), call.status, True)
    return (
        call.call,
        run,
        call.caller,
        call.dialect,
        call.operation,
        call.model_group,
        "" if opening is None else opening.model,
        "" if opening is None else opening.deployment,
        state,
        spend,
        call.started_at,
        call.ended_at,
        call.status,
        call.error_type,
        call.attempts,
        1 if call.caller_left else 0,
        *_party(call.party),
        call.answered_by,
    )


def _party(party: Party) -> tuple[str, str, str, str]:
    return party.user, party.team, party.end_user, tags_text(party.tags)


def _meter_rows(call_id: str, closing: Closing) -> list[tuple[Any, ...]]:
    if closing.usage is None:
        return []
    return [(call_id, closing.attempt, meter, _in_range(quantity)) for meter, quantity in closing.usage.meters]


# --- the careful way ----------------------------------------------------------------------------------------------


def apply_changes(cursor: sqlite3.Cursor, run: int, changes: Iterable[Change], rollups: Rollups) -> None:
    """Write changes whatever exists already, inside the transaction under way; the differences go to ``rollups``.

    ``run`` is the number of the run the rows belong to.
    """
    by_call: dict[str, list[Change]] = {}
    for change in changes:
        by_call.setdefault(_text(change[0]), []).append(change)
    for call_id, of_call in by_call.items():
        rollups.add_call(cursor, call_id, -1)
        for change in of_call:
            _apply(cursor, run, call_id, change)
        _derive(cursor, call_id)
        rollups.add_call(cursor, call_id, 1)


def _apply(cursor: sqlite3.Cursor, run: int, call_id: str, change: Change) -> None:
    _, opening, closing, call, _ = change
    if opening is not None:
        cursor.execute(
            _INSERT_CALL,
            _clean(
                (
                    call_id, run, opening.caller, opening.dialect, opening.operation, opening.model_group,
                    opening.model, opening.deployment, _OPEN, 0,
                    opening.started_at if opening.admitted_at is None else opening.admitted_at,
                    None, None, None, 0, 0, *_party(opening.party), None,
                )
            ),
        )  # fmt: skip
        cursor.execute(_INSERT_ATTEMPT, _clean(_attempt_row(run, opening, None)))
    if closing is not None:
        quantities, spend, raw, notes = _consumed(closing)
        cursor.execute(
            _CLOSE_ATTEMPT,
            _clean(
                (
                    str(closing.state), 1 if closing.charged else 0, spend, closing.ended_at, closing.status,
                    closing.error_type, closing.aws_request_id, *quantities, raw, notes, call_id, closing.attempt,
                )
            ),
        )  # fmt: skip
        if cursor.rowcount == 1:
            for row in _meter_rows(call_id, closing):
                cursor.execute(_INSERT_USAGE, _clean(row))
    if call is not None:
        if closing is None and opening is None:
            cursor.execute(
                _INSERT_CALL,
                _clean(
                    (
                        call_id, run, call.caller, call.dialect, call.operation, call.model_group, "", "", _OPEN, 0,
                        call.started_at, None, None, None, 0, 0, *_party(call.party), call.answered_by,
                    )
                ),
            )  # fmt: skip
        cursor.execute(
            _END_CALL,
            _clean(
                (
                    call.started_at, call.ended_at, call.status, call.error_type, call.attempts,
                    1 if call.caller_left else 0, call_id,
                )
            ),
        )  # fmt: skip


def _derive(cursor: sqlite3.Cursor, call_id: str) -> None:
    """Bring what a call's row says of its attempts up to date."""
    call = cursor.execute("SELECT status, ended_at, attempts FROM calls WHERE id = ?", (call_id,)).fetchone()
    if call is None:
        return
    status, ended_at, told = call
    attempts = cursor.execute(
        "SELECT state, charged, spend, model, deployment FROM attempts WHERE call = ? ORDER BY number, part, id",
        (call_id,),
    ).fetchall()
    state, spend = call_outcome((row[:3] for row in attempts), status, ended_at is not None)
    model, deployment = attempts[-1][3:] if attempts else ("", "")
    cursor.execute(_DERIVE_CALL, (model, deployment, state, spend, max(told, len(attempts)), call_id))


def interrupt_open(cursor: sqlite3.Cursor, now_ms: int, rollups: Rollups) -> int:
    """Close everything still open as ``interrupted``, inside the transaction under way; return how many attempts were.

    Only for who knows that every run before is dead: the holder of the lock.
    """
    calls = cursor.execute(
        "SELECT call FROM attempts WHERE state = 'open' UNION SELECT id FROM calls WHERE ended_at IS NULL"
    ).fetchall()
    interrupted = 0
    for (call_id,) in calls:
        rollups.add_call(cursor, call_id, -1)
        cursor.execute(
            "UPDATE attempts SET state = 'interrupted', ended_at = ? WHERE call = ? AND state = 'open'",
            (now_ms, call_id),
        )
        interrupted += cursor.rowcount
        cursor.execute("UPDATE calls SET ended_at = ? WHERE id = ? AND ended_at IS NULL", (now_ms, call_id))
        _derive(cursor, call_id)
        rollups.add_call(cursor, call_id, 1)
    return interrupted


def _clean(values: Sequence[Any]) -> list[Any]:
    """Return values SQLite takes: Unicode text, 64-bit integers."""
    return [
        value
        if value is None
        else min(max(value, -GREATEST), GREATEST)
        if isinstance(value, int)
        else _text(value)
        if isinstance(value, str)
        else value
        for value in values
    ]


def _text(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
