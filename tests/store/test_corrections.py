"""Corrections of what was booked: whatever is corrected, in any order, all sums stay those of the rows."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ledger_samples import NOW, assert_sums, assert_sums_of, closing, open_ledger, opening, query, record

from bedrock_gateway.metering.states import State
from bedrock_gateway.metering.usage import Usage
from bedrock_gateway.store.corrections import Correction, booked, calls_in, correct
from bedrock_gateway.store.records import Party
from bedrock_gateway.store.schema import connect
from bedrock_gateway.store.subjects import transaction

DAY_MS = 86_400_000

corrections = st.lists(
    st.tuples(
        st.integers(0, 899),
        st.sampled_from([State.METERED, State.ESTIMATED, State.INCOMPLETE, State.UNPRICED]),
        st.none() | st.integers(0, 5_000_000_000),
        st.none() | st.builds(Usage, input_tokens=st.integers(0, 9_000), output_tokens=st.integers(0, 9_000)),
    ),
    min_size=1,
    max_size=20,
)


@pytest.fixture
def copied(filled_path: Path, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A ledger of one's own with a month of calls."""
    path = tmp_path / "ledger.db"
    shutil.copy(filled_path, path)
    with contextlib.closing(connect(path)) as connection:
        yield connection


def sums_of(connection: sqlite3.Connection) -> dict[str, int]:
    """Return what each account holds in all."""
    return dict(connection.execute("SELECT account, sum(spend) FROM accounts GROUP BY account").fetchall())


@given(chosen=corrections, at_once=st.integers(1, 8))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_all_sums_follow(copied: sqlite3.Connection, chosen: list[Any], at_once: int) -> None:
    """Rollups, label rollups and accounts are the sums of the rows afterwards, and every account whose sum a
    transaction changes is told to gateways that run.
    """
    ids = [id_ for (id_,) in copied.execute("SELECT id FROM calls ORDER BY id")]
    for first in range(0, len(chosen), at_once):
        before = sums_of(copied)
        (last,) = copied.execute("SELECT coalesce(max(number), 0) FROM changes").fetchone()
        with transaction(copied):
            wanted = {}
            for number, state, spend, usage in chosen[first : first + at_once]:
                of = booked(copied, ids[number])[-1]
                wanted[of.attempt] = Correction(of=of, state=state, spend=spend, notes=(*of.notes, "x"), usage=usage)
            correct(copied, wanted.values(), NOW)

        after = sums_of(copied)
        told = {
            id_ for (id_,) in copied.execute("SELECT id FROM changes WHERE kind = 'account' AND number > ?", (last,))
        }
        assert {name for name in before | after if before.get(name) != after.get(name)} <= told
        for correction in wanted.values():
            (of,) = [of for of in booked(copied, correction.of.call) if of.attempt == correction.of.attempt]
            assert (correction.state, correction.spend, correction.notes) == (of.state, of.spend, of.notes)
            if correction.usage is not None:
                assert correction.usage.input_tokens == of.usage.input_tokens
    assert_sums_of(copied)


def test_a_call_has_the_worst_state_of_its_attempts(copied: sqlite3.Connection) -> None:
    """State and spend of a call follow from its attempts; one of a run that died stays interrupted, with its spend."""
    (interrupted,) = copied.execute("SELECT id FROM calls WHERE status IS NULL AND attempts = 1").fetchone()
    (unpriced,) = copied.execute("SELECT id FROM calls WHERE state = 'unpriced' AND attempts = 1").fetchone()
    with transaction(copied):
        (first,), (second,) = booked(copied, interrupted), booked(copied, unpriced)
        correct(
            copied,
            [
                Correction(of=first, state=State.ESTIMATED, spend=5, notes=()),
                Correction(of=second, state=State.METERED, spend=7, notes=("a", "b")),
            ],
            NOW,
        )

    rows = copied.execute("SELECT state, spend FROM calls WHERE id IN (?, ?) ORDER BY spend", (interrupted, unpriced))
    assert [("interrupted", 5), ("metered", 7)] == rows.fetchall()
    notes = copied.execute("SELECT notes FROM attempts WHERE call IN (?, ?)", (interrupted, unpriced)).fetchall()
    assert {(None,), (json.dumps(["a", "b"]),)} == set(notes)


def test_calls_that_may_be_corrected(copied: sqlite3.Connection) -> None:
    """Calls with attempts in some states are found from a time on, a few at a time, each once."""
    (middle,) = copied.execute("SELECT max(started_at) - 15 * ? FROM calls", (DAY_MS,)).fetchone()
    states = (State.UNPRICED, State.INTERRUPTED)
    expected = copied.execute(
        "SELECT id FROM calls WHERE started_at >= ? AND id IN (SELECT call FROM attempts WHERE state IN (?, ?)) "
        "ORDER BY id",
        (middle, *states),
    ).fetchall()
    found: list[str] = []
    while some := calls_in(copied, middle, states, after=found[-1] if found else "", limit=3):
        found += some

    assert [id_ for (id_,) in expected] == found
    assert [] == booked(copied, "nothing")


async def test_beside_a_running_gateway(tmp_path: Path) -> None:
    """What is still open can be told apart; a correction between two bookings of the gateway loses neither."""
    path = tmp_path / "ledger.db"
    party = Party(user="u", team="t", end_user="e", tags=("a", "b"))
    async with await open_ledger(path) as ledger:
        first, second = opening(party=party), opening(party=party)
        for of in (first, second):
            waiter = ledger.open_attempt(of)
            if waiter is not None:
                await waiter
        await ledger.close_attempt(closing(first, state=State.UNPRICED, spend=None), record(first))

        def settle() -> None:
            with contextlib.closing(connect(path)) as connection, transaction(connection):
                (of,) = booked(connection, first.call)
                correct(connection, [Correction(of=of, state=State.METERED, spend=900, notes=("settled",))], NOW)

        await asyncio.to_thread(settle)
        await ledger.close_attempt(closing(second), record(second))

    assert_sums(path)
    assert [(1_600,)] == query(path, "SELECT spend FROM accounts WHERE account = 'tag:a'")
