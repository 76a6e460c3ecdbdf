"""When what was held for a call is free."""

from __future__ import annotations

import asyncio

import pytest

from bedrock_gateway.access.budgets import Budget, Budgets, Charge
from bedrock_gateway.chain.booking import free
from bedrock_gateway.errors import NeverOnRecord, StoreError

CHARGE = Charge(account="key:a", name="a", budget=Budget(limit=1000))


@pytest.mark.parametrize(
    ("error", "held"),
    [(None, 0), (StoreError("neither database nor journal took it"), 0), (NeverOnRecord("no database takes it"), 700)],
    ids=["lasts", "will last", "never lasts"],
)
async def test_what_was_held(error: StoreError | None, held: int) -> None:
    """It is free once the end of what it was held for is settled, before or after it is given back; where that never
    gets on record, the next run counts all of it, and so does this one.
    """
    budgets = Budgets()
    budgets.answer(CHARGE, budgets.ask(CHARGE, 1), [])
    early, late = (budgets.reserve([CHARGE], amount, 1) for amount in (300, 400))
    booked: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    free(early, booked)
    before = budgets.left([CHARGE])
    if error is None:
        booked.set_result(None)
    else:
        booked.set_exception(error)
    await asyncio.wait([booked])
    free(late, booked)

    assert (CHARGE, 300) == before
    assert (CHARGE, 1000 - held) == budgets.left([CHARGE])


async def test_what_was_held_for_nothing() -> None:
    """Where nothing was sent, it is free at once."""
    budgets = Budgets()
    budgets.answer(CHARGE, budgets.ask(CHARGE, 1), [])

    free(budgets.reserve([CHARGE], 700, 1), None)

    assert (CHARGE, 1000) == budgets.left([CHARGE])
