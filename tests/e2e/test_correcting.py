"""What is corrected beside a running gateway binds its budgets at once, and is what its own reports say."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest
from administering import LOCKED, administer, call, new_key
from running import Running, running

from bedrock_gateway.cli import main
from bedrock_gateway.metering.states import State
from bedrock_gateway.store.corrections import Correction, booked, correct
from bedrock_gateway.store.schema import connect
from bedrock_gateway.store.subjects import transaction


def estimate(here: Running, call_id: str) -> None:
    """Book a call as one whose caller left before AWS told its usage."""
    with contextlib.closing(connect(here.database)) as connection, transaction(connection):
        (of,) = booked(connection, call_id)
        correct(connection, [Correction(of=of, state=State.ESTIMATED, spend=of.spend, notes=of.notes)], 0)


async def answered(here: Running, key: str, status: int) -> dict[str, object]:
    """Call until the answer has a status: the gateway looks for what others wrote twice a second."""
    async with asyncio.timeout(20):
        while True:
            found, body, _ = await call(here, key)
            if found == status:
                assert isinstance(body, dict)
                return body


async def test_a_settled_call_counts_against_the_budget(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A call that is settled for more than its key has left closes the key; settled for less it opens it again. The
    report over HTTP says the same.
    """
    async with running(tmp_path, LOCKED + "litellm_settings: {max_budget: 50}\n") as here:
        key = await new_key(here, max_budget=1, key_alias="ci")
        _, _, headers = await call(here, key)
        call_id = headers["x-bedrock-gateway-call-id"]
        await here.settled()
        await asyncio.to_thread(estimate, here, call_id)
        settle = ["spend", "settle", call_id, "--database", str(here.database), "--usd"]
        assert 0 == await asyncio.to_thread(main, [*settle, "1.5"])
        refused = await answered(here, key, 400)
        assert 'key "ci"' in str(refused["message"])
        (row,) = [row for row in await administer(here, "/global/spend/keys") if row["key_alias"] == "ci"]
        assert row["total_spend"] >= 1.5
        assert {"estimated": 1} == row["states"]
        assert 50.0 == (await administer(here, "/global/spend"))["max_budget"]
        assert 0 == await asyncio.to_thread(main, [*settle, "0.000000001"])
        await answered(here, key, 200)
        assert capsys.readouterr().out.count("  was  estimated") == 2
