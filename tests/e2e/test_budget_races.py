"""What may come at the same moment as a call that counts against a budget: its caller leaves, its key goes, others ask
for the same account, the ledger is in trouble, somebody corrects what was booked. Afterwards nothing is held any more,
and what is spent is what the rows say.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from administering import BODY, LOCKED, administer, call, new_key
from budgeted import (
    Each,
    assert_nothing_held,
    begin,
    behind_a_gate,
    figures,
    keys_of_every_level,
    price,
    refusal,
    usd,
    with_dear,
)
from gate import calling
from running import Running, running

from bedrock_gateway.metering.states import State
from bedrock_gateway.store.corrections import Correction, booked, correct
from bedrock_gateway.store.limits import LedgerLimits
from bedrock_gateway.store.schema import connect
from bedrock_gateway.store.subjects import transaction

#: A ledger that waits for others for long, and one that hardly does.
PATIENT = LedgerLimits(commit_within_s=20, busy_s=15)
QUICK = LedgerLimits(commit_within_s=0.3, busy_s=0.1, retry_s=(0.01, 0.05), tick_s=0.05)
SAID = json.dumps(BODY).encode()
OF_KEY = "SELECT attempts FROM calls WHERE caller = ?"
#: Limits beside the budget, so that places under them are held too.
LIMITS = {"max_parallel_requests": 100, "rpm_limit": 1000, "tpm_limit": 10**9}


@pytest.fixture(scope="module")
def each(tmp_path_factory: pytest.TempPathFactory) -> Each:
    """Return what one call reserves and spends."""
    return price(tmp_path_factory.mktemp("price"))


@contextlib.contextmanager
def locked(here: Running) -> Iterator[None]:
    """Keep anybody else from writing to the ledger."""
    with contextlib.closing(sqlite3.connect(here.database, isolation_level=None, timeout=10)) as other:
        other.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            other.execute("ROLLBACK")


def spent(here: Running, account: str) -> int:
    """Return what the ledger has of an account."""
    (row,) = here.rows("SELECT coalesce(sum(spend), 0) AS spend FROM accounts WHERE account = ?", account)
    return int(row["spend"])


@contextlib.asynccontextmanager
async def unanswered(here: Running) -> AsyncIterator[None]:
    """Keep the ledger from answering what was spent: it writes first what it was told before, and cannot."""
    key = await new_key(here)
    with locked(here):
        # Nothing is sent for it, so it waits for no row; but there is one to be written.
        status, _, _ = await call(here, key, model="unheard-of")
        assert 404 == status
        yield


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
async def test_a_caller_leaves_while_its_budget_is_asked_for(tmp_path: Path, each: Each, reset: bool) -> None:
    """Its call ends at once and holds nothing; who waits for the same answer gets it."""
    async with running(tmp_path, LOCKED, ledger_limits=PATIENT) as here:
        made = await administer(here, "/key/generate", {"max_budget": usd(each.reserved), **LIMITS})
        async with unanswered(here):
            leaving = await calling(here.port, "converse", body=SAID, key=made["key"])
            await here.until(lambda: here.gateway.ledger._asides._questions)
            await leaving.leave(reset=reset)
            await here.settled()
            staying = [asyncio.create_task(call(here, made["key"])) for _ in range(2)]
            await here.until(lambda: len(here.gateway.calls) == 2)
            assert 1 == len(here.gateway.ledger._asides._questions)
        answers = sorted([status for status, *_ in await asyncio.gather(*staying)])
        await assert_nothing_held(here, [f"key {made['key_id']}"])

        assert [200, 400] == answers
        assert {f"key:{made['key_id']}": (each.spent, 0)} == figures(here)
        assert [0, 0, 1] == sorted(row["attempts"] for row in here.rows(OF_KEY, made["key_id"]))


async def test_everybody_asks_at_once_for_the_first_time(tmp_path: Path, each: Each) -> None:
    """Fifty first calls of a key after a start put one question for each account, and 20 run where 20 fit."""
    limit = 20 * each.reserved + each.reserved // 2
    async with running(tmp_path, LOCKED) as here:
        made = await administer(here, "/key/generate", {"max_budget": usd(limit), "soft_budget": 1, **LIMITS})
        await administer(here, "/team/new", {"team_id": "t1", "max_budget": 100, "budget_duration": "1d"})
        await administer(here, "/key/update", {"key": made["key"], "team_id": "t1"})
        await call(here, made["key"])
    async with behind_a_gate(tmp_path, ledger_limits=PATIENT) as (here, gate):
        key, accounts = made["key"], {f"key:{made['key_id']}", "team:t1"}
        async with unanswered(here):
            calls = [asyncio.create_task(call(here, key)) for _ in range(50)]
            await here.until(lambda: len(here.gateway.calls) == 50)
            await here.until(lambda: len(here.gateway.ledger._asides._questions) >= 2)
            questions = [question.account for question in here.gateway.ledger._asides._questions]
        await here.until(lambda: gate.held + sum(one.done() for one in calls) == 50)
        gate.open.set()
        answers = await asyncio.gather(*calls)
        await assert_nothing_held(here, [f"key {made['key_id']}"])

        assert sorted(accounts) == sorted(questions)
        assert 20 == sum(status == 200 for status, *_ in answers)
        assert dict.fromkeys(accounts, (21 * each.spent, 0)) == figures(here)


@pytest.mark.parametrize("change", ["deleted", "blocked", "rotated", "team deleted", "user blocked"])
async def test_a_key_that_goes_while_its_calls_are_under_way(tmp_path: Path, each: Each, change: str) -> None:
    """Calls under way are answered and booked as they would have been; only the next one finds the key gone."""
    async with behind_a_gate(tmp_path) as (here, gate):
        await administer(here, "/team/new", {"team_id": "t1", "max_budget": 100})
        await administer(here, "/user/new", {"user_id": "u1", "max_budget": 100, "auto_create_key": False})
        owners = {"team_id": "t1", "user_id": "u1"}
        made = await administer(here, "/key/generate", {"max_budget": 100, **LIMITS, **owners})
        key, key_id = made["key"], made["key_id"]
        under_way = [await begin(here, gate, key) for _ in range(3)]
        path, fields = {
            "deleted": ("/key/delete", {"keys": [key]}),
            "blocked": ("/key/block", {"key": key}),
            "rotated": ("/key/regenerate", {"key": key}),
            "team deleted": ("/team/delete", {"team_ids": ["t1"]}),
            "user blocked": ("/user/update", {"user_id": "u1", "blocked": True}),
        }[change]
        await administer(here, path, fields)
        _, error_type, _ = refusal(await call(here, key))
        gate.open.set()
        answers = await asyncio.gather(*under_way)
        await assert_nothing_held(here, [f"key {key_id}"])

        assert "UnrecognizedClientException" == error_type
        assert {200} == {status for status, *_ in answers}
        assert [{"user": "u1", "team": "t1", "spend": each.spent}] * 3 == here.rows(
            "SELECT user, team, spend FROM calls WHERE caller = ?", key_id
        )
        for account in (f"key:{key_id}", "user:u1", "team:t1", "member:t1/u1", "gateway"):
            assert 3 * each.spent == spent(here, account)


async def test_a_ledger_in_trouble_between_admission_and_booking(tmp_path: Path, each: Each) -> None:
    """Calls that were admitted are answered and count at once, though their rows wait; new ones are refused, asked for
    before or not; afterwards, and after a restart, what is left is exact.
    """
    limit = 10 * each.reserved
    config = with_dear(LOCKED, limit)
    async with behind_a_gate(tmp_path, config, ledger_limits=QUICK) as (here, gate):
        levels = await keys_of_every_level(here, limit)
        fresh = await administer(here, "/key/generate", {"max_budget": usd(limit)})
        under_way = [await begin(here, gate, key, **more) for key, more in levels.values() for _ in range(3)]
        with locked(here):
            gate.open.set()
            answers = await asyncio.gather(*under_way)
            keys = [key for key, _ in levels.values()]
            refused = [refusal(await call(here, key))[:2] for key in (*keys, fresh["key"])]
            await assert_nothing_held(here)

            assert {200} == {status for status, *_ in answers}
            assert {(503, "ServiceUnavailableException")} == set(refused)
            assert dict.fromkeys(levels, (3 * each.spent, 0)) == figures(here)
            assert [0] * len(levels) == [spent(here, account) for account in levels]
        await here.until(lambda: here.gateway.ledger.trouble is None)

        assert [3 * each.spent] * len(levels) == [spent(here, account) for account in levels]
        assert 200 == (await call(here, fresh["key"]))[0]
        await assert_nothing_held(here)
    async with running(tmp_path, config) as here:
        answers = [await call(here, key, **more) for key, more in levels.values()]
        await assert_nothing_held(here)

        assert dict.fromkeys(levels, (4 * each.spent, 0)) == figures(here)


async def test_room_is_free_once_the_end_of_a_call_is_on_record(tmp_path: Path, each: Each) -> None:
    """What a call held is nobody else's before its end lasts: were the gateway killed by then, the call would count
    with all it may have cost, and the other call too.
    """
    limit = each.reserved + 5 * each.spent
    async with behind_a_gate(tmp_path, with_dear(LOCKED, limit), ledger_limits=PATIENT) as (here, gate):
        levels = await keys_of_every_level(here, limit)
        under_way = [await begin(here, gate, key, **more) for key, more in levels.values()]
        with locked(here):
            gate.open.set()
            await here.until(lambda: {each.spent} == {spent for spent, _ in figures(here).values()})
            refused = [refusal(await call(here, key, **more))[:2] for key, more in levels.values()]
        answers = await asyncio.gather(*under_way)
        after = [await call(here, key, **more) for key, more in levels.values()]
        await assert_nothing_held(here)

        assert {(400, "ServiceQuotaExceededException")} == set(refused)
        assert {200} == {status for status, *_ in (*answers, *after)}
        assert dict.fromkeys(levels, (2 * each.spent, 0)) == figures(here)


async def test_a_call_that_has_ended_takes_no_more_room_than_it_may_have_cost(tmp_path: Path, each: Each) -> None:
    """Until the end of a call lasts, its spend and the rest of what it held make up what it held before: a budget with
    room for two such calls has room for the second.
    """
    limit = 2 * each.reserved
    async with behind_a_gate(tmp_path, with_dear(LOCKED, limit), ledger_limits=PATIENT) as (here, gate):
        levels = await keys_of_every_level(here, limit)
        under_way = [await begin(here, gate, key, **more) for key, more in levels.values()]
        with locked(here):
            gate.open.set()
            await here.until(lambda: {each.spent} == {spent for spent, _ in figures(here).values()})
            first = figures(here)
            under_way += [asyncio.create_task(call(here, key, **more)) for key, more in levels.values()]
            await here.until(lambda: {2 * each.spent} == {spent for spent, _ in figures(here).values()})
            both = figures(here)
        answers = await asyncio.gather(*under_way)
        await assert_nothing_held(here)

        rest = each.reserved - each.spent
        assert dict.fromkeys(levels, (each.spent, rest)) == first
        assert dict.fromkeys(levels, (2 * each.spent, 2 * rest)) == both
        assert {200} == {status for status, *_ in answers}
        assert dict.fromkeys(levels, (2 * each.spent, 0)) == figures(here)


async def test_a_call_ended_while_its_end_is_written_frees_nothing_early(tmp_path: Path, each: Each) -> None:
    """A caller leaves, its answer is read on for as long as that may be, and the ledger is slow: what the call held is
    held until its end lasts, whatever becomes of the task that waits for it.
    """
    limit = each.reserved + 5 * each.spent
    async with behind_a_gate(tmp_path, with_dear(LOCKED, limit), ledger_limits=PATIENT) as (here, gate):
        levels = await keys_of_every_level(here, limit)
        leaving = [await begin(here, gate, key, **more) for key, more in levels.values()]
        calls = list(here.gateway.calls)
        for caller in leaving:
            caller.cancel()
        await here.until(lambda: here.gateway.leaving.draining == len(calls))
        with locked(here):
            gate.open.set()
            await here.until(lambda: {each.spent} == {spent for spent, _ in figures(here).values()})
            for one in calls:
                here.gateway.leaving.abandon(one, "read on for too long")
            await here.settled()
            held = figures(here)
        await assert_nothing_held(here)

        assert dict.fromkeys(levels, (each.spent, each.reserved - each.spent)) == held
        assert dict.fromkeys(levels, (each.spent, 0)) == figures(here)


async def test_a_ledger_that_cannot_be_asked(tmp_path: Path, each: Each) -> None:
    """A first call that comes when the ledger is about to be in trouble waits no longer than until that is known; once
    it is over the account is asked for again.
    """
    async with running(tmp_path, LOCKED, ledger_limits=QUICK) as here:
        made = await administer(here, "/key/generate", {"max_budget": usd(each.reserved), **LIMITS})
        async with unanswered(here):
            _, error_type, _ = refusal(await call(here, made["key"]))
            await assert_nothing_held(here, [f"key {made['key_id']}"])
        await here.until(lambda: here.gateway.ledger.trouble is None)
        statuses = [(await call(here, made["key"]))[0] for _ in range(2)]
        await assert_nothing_held(here, [f"key {made['key_id']}"])

        assert "ServiceUnavailableException" == error_type
        assert [200, 400] == statuses
        assert {f"key:{made['key_id']}": (each.spent, 0)} == figures(here)


def rewrite(here: Running, spend: int, calls: int) -> None:
    """Correct what the last calls spent, as another process does."""
    with contextlib.closing(connect(here.database)) as connection, transaction(connection):
        last = connection.execute(
            "SELECT call FROM attempts WHERE ended_at IS NOT NULL ORDER BY call DESC LIMIT ?", (calls,)
        )
        rows = [of for (id_,) in last.fetchall() for of in booked(connection, id_)]
        correct(
            connection, [Correction(of=of, state=State.ESTIMATED, spend=spend, notes=("settled",)) for of in rows], 0
        )


async def test_corrections_while_calls_are_under_way(tmp_path: Path, each: Each) -> None:
    """Somebody else makes what was booked more or less while calls hold money, are booked, and ask anew, time after
    time: what is held stays held, what is booked counts once, and the rest is what the ledger says.
    """
    limit = 1000 * each.reserved
    async with behind_a_gate(tmp_path, with_dear(LOCKED, limit)) as (here, gate):
        levels = await keys_of_every_level(here, limit)
        for round_ in range(6):
            gate.open.clear()
            under_way = [await begin(here, gate, key, **more) for key, more in levels.values() for _ in range(2)]
            await asyncio.to_thread(rewrite, here, round_ * 1_000_003, 5 * len(levels))
            await here.gateway.registry.refresh()
            more_under_way = [asyncio.create_task(call(here, key, **more)) for key, more in levels.values()]
            if round_ % 2:
                # Some ask anew while the others are booked.
                gate.open.set()
            await here.until(lambda: not here.gateway.asking._open)
            gate.open.set()
            answers = await asyncio.gather(*under_way, *more_under_way)
            await assert_nothing_held(here)

            assert {200} == {status for status, *_ in answers}
            assert {account: (spent(here, account), 0) for account in levels} == figures(here)
        assert 18 == len(here.rows("SELECT id FROM attempts WHERE deployment = 'dear'"))
