"""Correcting what was booked, visibly and with everything that hangs on it: rollups, label rollups and accounts follow
by differences in the same transaction, each row keeps a note, and a running gateway is told which accounts changed.

Knows rows and sums; knows no price. Every function runs inside a transaction of its caller's.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import attrs

from bedrock_gateway.access.accounts import accounts_of
from bedrock_gateway.metering.states import State
from bedrock_gateway.metering.usage import Usage
from bedrock_gateway.store.ids import lowest_id
from bedrock_gateway.store.rollups import Rollups
from bedrock_gateway.store.rows import call_outcome
from bedrock_gateway.store.schema import QUARTER_MS
from bedrock_gateway.store.subjects import touch

__all__ = ["ACCOUNT", "Booked", "Correction", "booked", "calls_in", "correct"]

ACCOUNT = "account"
"""Kind in ``changes`` of an account whose spend was corrected; its id is the account's name."""

_COLUMNS = (
    "attempts.call, attempts.id, attempts.number, attempts.part, attempts.deployment, attempts.model, "
    "attempts.region, attempts.state, charged, attempts.spend, spend_at_most, attempts.started_at, attempts.ended_at, "
    "input, output, cache_read, cache_write_5m, cache_write_1h, images, usage_raw, notes, operation, model_group, "
    "calls.ended_at"
)
_BOOKED = f"SELECT {_COLUMNS} FROM attempts JOIN calls ON calls.id = attempts.call"


@attrs.frozen(kw_only=True)
class Booked:
    """An attempt as it stands in the ledger; times are UTC ms, money is nano-USD.

    Attributes:
        call, attempt: ids; number, part: which of the call's it is.
        usage: as far as it was told; the raw JSON is not in it.
        notes: remarks kept with the row.
        under_way: whether it, or its call, has not ended.
    """

    call: str
    attempt: str
    number: int
    part: int
    operation: str
    model_group: str
    deployment: str
    model: str
    region: str
    state: State
    charged: bool
    spend: int | None
    at_most: int | None
    started_at: int
    usage: Usage
    notes: tuple[str, ...]
    under_way: bool


@attrs.frozen(kw_only=True)
class Correction:
    """What a row is to say.

    Attributes:
        of: the row as it was read in this transaction.
        state, spend: in place of the old ones.
        notes: all remarks, the old ones that still hold among them.
        usage: tokens and images in place of the old ones; None leaves these.
    """

    of: Booked
    state: State
    spend: int | None
    notes: tuple[str, ...]
    usage: Usage | None = None


def booked(connection: sqlite3.Connection, call: str) -> list[Booked]:
    """Return the attempts of a call, in order."""
    rows = connection.execute(f"{_BOOKED} WHERE attempts.call = ? ORDER BY number, part, attempts.id", (call,))
    return [_attempt(connection, row) for row in rows.fetchall()]


def calls_in(
    connection: sqlite3.Connection, since_ms: int, states: Sequence[State], *, after: str = "", limit: int
) -> list[str]:
    """Return ids of calls admitted at a time or later that have an attempt in one of some states; in order, some of
    them.

    Args:
        after: only later ids, to go on from.
        limit: most ids.
    """
    marks = ", ".join("?" for _ in states)
    # An id is made shortly before its call starts.
    first = max(after, lowest_id(since_ms - QUARTER_MS))
    rows = connection.execute(
        "SELECT DISTINCT call FROM attempts JOIN calls ON calls.id = call "
        f"WHERE call > ? AND attempts.state IN ({marks}) AND calls.started_at >= ? ORDER BY call LIMIT {limit}",
        (first, *map(str, states), since_ms),
    )
    return [call for (call,) in rows]


def _attempt(connection: sqlite3.Connection, row: Sequence[Any]) -> Booked:
    call, attempt, number, part, deployment, model, region, state, charged, spend, at_most, started, ended = row[:13]
    tokens_in, tokens_out, read, written_5m, written_1h, images, raw, notes, operation, group, call_ended = row[13:]
    meters = connection.execute(
        "SELECT meter, quantity FROM usage WHERE call = ? AND attempt = ? ORDER BY meter", (call, attempt)
    )
    return Booked(
        call=call,
        attempt=attempt,
        number=number,
        part=part,
        operation=operation,
        model_group=group,
        deployment=deployment,
        model=model,
        region=region,
        state=State(state),
        charged=bool(charged),
        spend=spend,
        at_most=at_most,
        started_at=started,
        usage=Usage(
            input_tokens=tokens_in,
            output_tokens=tokens_out,
            cache_read_tokens=read,
            cache_write_5m_tokens=written_5m,
            cache_write_1h_tokens=written_1h,
            images=images,
            meters=tuple(meters.fetchall()),
            raw=raw,
        ),
        notes=tuple(json.loads(notes)) if notes else (),
        under_way=ended is None or call_ended is None,
    )


def correct(connection: sqlite3.Connection, corrections: Iterable[Correction], now_ms: int) -> None:
    """Write corrections, and all that follows from them; a running gateway counts the accounts anew."""
    by_call: dict[str, list[Correction]] = {}
    for correction in corrections:
        by_call.setdefault(correction.of.call, []).append(correction)
    cursor = connection.cursor()
    rollups = Rollups()
    accounts: dict[str, None] = {}
    for call, of_call in by_call.items():
        rollups.add_call(cursor, call, -1)
        for correction in of_call:
            _write(cursor, correction)
        _derive(cursor, call)
        rollups.add_call(cursor, call, 1)
        accounts.update(dict.fromkeys(_accounts(cursor, call, of_call)))
    rollups.write(cursor)
    for account in accounts:
        touch(connection, ACCOUNT, account, now_ms)


def _write(cursor: sqlite3.Cursor, correction: Correction) -> None:
    of = correction.of
    cursor.execute(
        "UPDATE attempts SET state = ?, spend = ?, notes = ? WHERE call = ? AND id = ?",
        (
            str(correction.state),
            correction.spend,
            json.dumps(correction.notes) if correction.notes else None,
            of.call,
            of.attempt,
        ),
    )
    if correction.usage is not None:
        usage = correction.usage
        cursor.execute(
            "UPDATE attempts SET input = ?, output = ?, cache_read = ?, cache_write_5m = ?, cache_write_1h = ?, "
            "images = ? WHERE call = ? AND id = ?",
            (
                usage.input_tokens,
                usage.output_tokens,
                usage.cache_read_tokens,
                usage.cache_write_5m_tokens,
                usage.cache_write_1h_tokens,
                usage.images,
                of.call,
                of.attempt,
            ),
        )


def _derive(cursor: sqlite3.Cursor, call: str) -> None:
    """Bring state and spend of a call up to date with its attempts."""
    status, ended_at = cursor.execute("SELECT status, ended_at FROM calls WHERE id = ?", (call,)).fetchone()
    attempts = cursor.execute("SELECT state, charged, spend FROM attempts WHERE call = ?", (call,)).fetchall()
    state, spend = call_outcome(attempts, status, ended_at is not None)
    cursor.execute("UPDATE calls SET state = ?, spend = ? WHERE id = ?", (state, spend, call))


def _accounts(cursor: sqlite3.Cursor, call: str, corrections: Sequence[Correction]) -> Iterator[str]:
    """Yield the accounts whose sums corrections of a call may change; some twice."""
    caller, user, team, end_user, tags, group = cursor.execute(
        "SELECT caller, user, team, end_user, tags, model_group FROM calls WHERE id = ?", (call,)
    ).fetchone()
    for correction in corrections:
        if correction.of.charged:
            labels = tuple(json.loads(tags)) if tags else ()
            of = correction.of
            yield from accounts_of(caller, user, team, end_user, labels, group, of.model, of.deployment)
