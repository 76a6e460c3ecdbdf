"""What is booked while much goes wrong at once: a slow ledger, callers that leave, an upstream in all its moods."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import pytest
from administering import MASTER, new_key
from aiohttp import web
from budgeted import assert_nothing_held, figures
from groups import ask, body_of, config_of, deployment
from running import Running, running
from scripted_upstream import (
    BEGINNING,
    END,
    PATIENT,
    Asked,
    Script,
    cut,
    leap,
    refusal,
    scripted,
    streaming,
    throttled,
    whole,
)

BODY = body_of(inferenceConfig={"maxTokens": 10})


@contextlib.contextmanager
def locked(database: Path) -> Iterator[None]:
    """Hold the ledger's database, so that nothing can be written to it."""
    with contextlib.closing(sqlite3.connect(database, isolation_level=None, timeout=20)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")


def soon(gateway: Any) -> None:
    """Let who is throttled wait for a moment at first."""
    gateway.snapshot = attrs.evolve(gateway.snapshot, backoff=0.01)


def spent(here: Running) -> dict[str, int]:
    """Return what keys have spent as the budgets in memory have it, by account."""
    return {account: figure[0] for account, figure in figures(here).items() if account.startswith("key:")}


def charged(here: Running) -> dict[str, int]:
    """Return what keys have spent as the ledger has it, by account."""
    sql = """
        SELECT 'key:' || calls.caller AS account, sum(coalesce(attempts.spend, spend_at_most)) AS total
        FROM attempts JOIN calls ON calls.id = attempts.call WHERE charged GROUP BY 1
    """
    return {row["account"]: row["total"] for row in here.rows(sql)}


@pytest.mark.parametrize("action", ["converse", "converse-stream"])
@pytest.mark.parametrize(
    ("params", "settings"), [("timeout: 30", ""), ("", ", total_timeout: 30")], ids=["timeout", "total_timeout"]
)
async def test_no_timeout_covers_the_booking(tmp_path: Path, params: str, settings: str, action: str) -> None:
    """An answer that came in time and waits for the ledger is an answer: told once, booked once, charged once."""

    async def script(asked: Asked) -> web.StreamResponse:
        return whole() if action == "converse" else await streaming(asked, BEGINNING, END)

    more = f"general_settings: {{master_key: {MASTER}{settings}}}\n"
    async with scripted(script) as upstream:
        config = config_of(deployment("A", url=upstream.url, params=params), more=more)
        async with running(tmp_path, config, ledger_limits=PATIENT) as here:
            key = f"Bearer {await new_key(here, max_budget=10)}"
            with locked(here.database):
                calling = asyncio.create_task(ask(here, authorization=key, action=action, body=BODY))
                await here.until(
                    lambda: any(call.attempt and call.attempt.booked is not None for call in here.gateway.calls)
                )
                leap(31)
                for _ in range(100):
                    await asyncio.sleep(0)
                waits = not calling.done()
            told = await calling
            await here.settled()

            assert (True, 200, True) == (waits, told.status, told.whole)
            assert [(200, None)] == [(row["status"], row["error_type"]) for row in here.rows("SELECT * FROM calls")]
            (row,) = here.rows("SELECT * FROM attempts")
            assert ("metered", 1, 200, None) == (row["state"], row["charged"], row["status"], row["error_type"])
            assert [row["spend"]] == list(spent(here).values())
            assert charged(here) == spent(here)
            await assert_nothing_held(here)


async def test_a_call_that_is_ended_is_answered_once_its_end_lasts(tmp_path: Path) -> None:
    """That a call took too long is told when it is on record, as everything is."""

    async def script(asked: Asked) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    more = f"general_settings: {{master_key: {MASTER}, total_timeout: 30}}\n"
    async with scripted(script) as upstream:
        config = config_of(deployment("A", url=upstream.url), more=more)
        async with running(tmp_path, config, ledger_limits=PATIENT) as here:
            key = f"Bearer {await new_key(here, max_budget=10)}"
            with locked(here.database):
                calling = asyncio.create_task(ask(here, authorization=key, body=BODY))
                await here.until(lambda: any(call.attempt and call.attempt.sent for call in here.gateway.calls))
                leap(31)
                await here.until(lambda: any(call.attempt and call.attempt.closed for call in here.gateway.calls))
                await turns(1000)
                waits = not calling.done()
            told = await calling
            await assert_nothing_held(here)

            assert (True, 424) == (waits, told.status)
            assert [("estimated", 1)] == [(row["state"], row["charged"]) for row in here.rows("SELECT * FROM attempts")]


async def test_a_caller_that_leaves_before_its_call_waits_leaves_no_line(tmp_path: Path) -> None:
    """A throttled call is put in line, and waits first until its refusal is on record: whoever leaves by then leaves
    the line too.
    """

    async def script(asked: Asked) -> web.StreamResponse:
        return throttled("1")

    more = f"general_settings: {{master_key: {MASTER}, queue: {{timeout: 30}}}}\n"
    async with scripted(script) as upstream:
        config = config_of(deployment("A", url=upstream.url), more=more)
        async with running(tmp_path, config, ledger_limits=PATIENT) as here:
            key = f"Bearer {await new_key(here, max_budget=10)}"
            with locked(here.database):
                calling = asyncio.create_task(ask(here, authorization=key, body=BODY))
                await here.until(lambda: any(call.attempt and call.attempt.closed for call in here.gateway.calls))
                in_line = here.gateway.queue.waiting
                calling.cancel()
                await here.settled()
                lines = dict(here.gateway.queue._lines)
            await assert_nothing_held(here)

            assert (1, {}) == (in_line, lines)


async def turns(count: int) -> None:
    """Let the loop turn so often: as long as that many things take to happen, on any machine."""
    for _ in range(count):
        await asyncio.sleep(0)


def moods(chance: random.Random) -> Script:
    """Return an upstream that throttles, breaks off, refuses and dawdles, and answers half of what it is asked."""

    async def script(asked: Asked) -> web.StreamResponse:
        mood = chance.random()
        if mood < 0.15:
            await turns(chance.randrange(1000))
        if mood < 0.4:
            return throttled(chance.choice([None, None, "0.1"]))
        if mood < 0.45:
            return refusal(500, "InternalServerException")
        if mood < 0.5:
            cut(asked)
        elif mood < 0.55:
            return refusal(403, "AccessDeniedException")
        return whole()

    return script


@attrs.define(eq=False)
class Crowd:
    """Callers that repeat themselves, leave at any moment, and come again at once.

    Attributes:
        told: how often each status came, None where the caller left or the answer did not come whole.
    """

    here: Running
    chance: random.Random
    keys: list[str]
    told: Counter[int | None] = attrs.field(factory=Counter)

    async def call(self, times: int) -> None:
        """Be one caller."""
        for _ in range(times):
            self.told[await self._once()] += 1

    async def _once(self) -> int | None:
        chance = self.chance
        headers = {"authorization": f"Bearer {chance.choice(self.keys)}"}
        if chance.random() < 0.5:
            headers["amz_sdk_invocation_id"] = str(chance.randrange(30))
        if chance.random() < 0.2:
            headers["amz_sdk_request"] = "attempt=2"
        calling = asyncio.create_task(ask(self.here, body=BODY, **headers))
        if chance.random() < 0.4:
            await turns(chance.randrange(1500))
            calling.cancel()
        try:
            return (await calling).status
        except (asyncio.CancelledError, aiohttp.ClientError):
            return None


@pytest.mark.parametrize("seed", range(2))
async def test_whatever_happens_everything_is_given_back(tmp_path: Path, seed: int) -> None:
    """Many callers that leave, an upstream in all its moods, a short line, short times: in the end no place is taken,
    no money held, no line and no answer open, no call charged twice, and memory has what the ledger has.
    """
    chance = random.Random(seed)
    more = (
        f"general_settings: {{master_key: {MASTER}, queue: {{timeout: 1, max_size: 20}}, keep_answers: true,\n"
        "  total_timeout: 1.5}\n"
    )
    router = "fallbacks: [{claude: [other]}], retry_after: 0, cooldown_time: 0.05"
    async with scripted(moods(chance)) as upstream:
        config = config_of(
            deployment("A", url=upstream.url, params="max_parallel_requests: 3, max_budget: 100, budget_duration: 1d"),
            deployment("B", url=upstream.url, params="rpm: 100000, tpm: 100000000"),
            deployment("C", "other", url=upstream.url),
            router=router,
            more=more,
        )
        async with running(tmp_path, config, change=soon) as here:
            limits = {"max_budget": 50, "max_parallel_requests": 50, "rpm_limit": 100_000}
            crowd = Crowd(here, chance, [await new_key(here, **limits) for _ in range(3)])
            await asyncio.gather(*(crowd.call(5) for _ in range(30)))
            await here.settled()

            assert crowd.told.keys() <= {None, 200, 400, 424, 429, 500, 503}
            assert min(crowd.told[200], crowd.told[None]) > 0
            standings = list(here.gateway.balancer.standings())
            assert [] == [one.name for one in standings if one.in_flight or one.probing]
            assert {} == here.gateway.queue._lines
            await assert_nothing_held(here)
            await here.until(lambda: not here.rows("SELECT id FROM calls WHERE ended_at IS NULL"))
            assert [] == here.rows("SELECT id FROM attempts WHERE state = 'open'")
            assert [] == here.rows("SELECT call FROM attempts GROUP BY call HAVING sum(charged) > 1")
            assert charged(here) == spent(here)
