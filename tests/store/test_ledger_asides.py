"""Questions about what an account has spent: answered with all that was told before, and nothing of what came after."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from pathlib import Path

import pytest
from ledger_samples import NOW, closing, open_ledger, opening, record, until

from bedrock_gateway.errors import StoreError
from bedrock_gateway.store.ledger import Ledger

QUARTER = NOW // 900_000


def book(ledger: Ledger, spend: int) -> asyncio.Future[None]:
    """Open and close one attempt."""
    one = opening()
    ledger.open_attempt(one)
    return ledger.close_attempt(closing(one, spend=spend), record(one))


async def test_answer_stands_between_what_was_told_before_and_after(tmp_path: Path) -> None:
    """Whatever is queued around it, the sum of a question's answer is the sum told before the question."""
    chance = random.Random(5)
    async with await open_ledger(tmp_path / "ledger.db") as ledger:
        told, asked, booked = 0, [], []
        for _ in range(400):
            if chance.random() < 0.2:
                asked.append((told, ledger.ask_spends("key:local", 0)))
            else:
                spend = chance.randrange(1, 1000)
                booked.append(book(ledger, spend))
                told += spend
            if chance.random() < 0.1:
                await asyncio.sleep(0)
        await asyncio.gather(*booked)
        answers = [(before, await answer) for before, answer in asked]

    assert [before for before, _ in answers] == [sum(spend for _, spend in spends) for _, spends in answers]


async def test_answer_by_quarter(tmp_path: Path) -> None:
    """Only quarter-hours from the one asked for on are answered, in order; an account nobody used has none."""
    async with await open_ledger(tmp_path / "ledger.db") as ledger:
        for back in (3, 0, 2, 2):
            one = opening(started_at=NOW - back * 900_000)
            ledger.open_attempt(one)
            await ledger.close_attempt(closing(one, spend=10 + back), record(one))

        assert [(QUARTER - 2, 24), (QUARTER, 10)] == await ledger.ask_spends("gateway", QUARTER - 2)
        assert [] == await ledger.ask_spends("key:nobody", 0)


async def test_what_is_under_way_is_no_spend(tmp_path: Path) -> None:
    """An attempt that is open counts nothing, also when it has a row; once it is interrupted its bound counts."""
    path = tmp_path / "ledger.db"
    async with await open_ledger(path) as ledger:
        one = opening(spend_at_most=77)
        ledger.open_attempt(one)
        ledger._queue_row(ledger._attempts[one.attempt])

        assert [] == await ledger.ask_spends("key:local", 0)
    async with await open_ledger(path) as ledger:
        assert [(QUARTER, 77)] == await ledger.ask_spends("key:local", 0)


async def test_an_account_that_cannot_be_asked_for(tmp_path: Path) -> None:
    """A question about a name that is no Unicode fails, and the ledger goes on."""
    async with await open_ledger(tmp_path / "ledger.db") as ledger:
        with pytest.raises(StoreError, match="surrogates"):
            await ledger.ask_spends("deployment:\ud800", 0)
        await book(ledger, 7)

        assert [(QUARTER, 7)] == await ledger.ask_spends("gateway", 0)


async def test_no_answer_in_trouble(tmp_path: Path) -> None:
    """While the database takes nothing a question fails at once, also one asked before the trouble began."""
    path = tmp_path / "ledger.db"
    async with await open_ledger(path) as ledger:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        booked = book(ledger, 5)
        early = ledger.ask_spends("key:local", 0)
        await until(lambda: ledger.trouble is not None)
        late = ledger.ask_spends("key:local", 0)
        for question in (early, late):
            with pytest.raises(StoreError, match="cannot be asked"):
                await question
        other.close()
        await booked
        await until(lambda: ledger.trouble is None)

        assert [(QUARTER, 5)] == await ledger.ask_spends("key:local", 0)
    with pytest.raises(StoreError, match="closed"):
        await ledger.ask_spends("key:local", 0)
