"""Hard budgets hold whatever comes at once, and what is left of them is exact to the nano-dollar."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest
from administering import LOCKED, call, new_key
from budgeted import (
    Each,
    assert_nothing_held,
    behind_a_gate,
    figures,
    keys_of_every_level,
    price,
    refusal,
    usd,
    with_dear,
)
from running import running


@pytest.fixture(scope="module")
def each(tmp_path_factory: pytest.TempPathFactory) -> Each:
    """Return what one call reserves and spends."""
    return price(tmp_path_factory.mktemp("price"))


VIDEO = {
    "modelInput": {"taskType": "TEXT_VIDEO"},
    "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://videos-of-ours/x"}},
}


@pytest.mark.parametrize(
    ("model", "status", "at_most"), [("amazon.nova-reel-v1:1", 200, 480_000_000), ("amazon.nova-lite-v1:0", 403, None)]
)
@pytest.mark.parametrize("budget", [{"max_budget": 1}, {}])
async def test_what_only_the_request_tells(
    tmp_path: Path, model: str, status: int, at_most: int | None, budget: dict[str, int]
) -> None:
    """A video is held for by its seconds; of a model without a price for them nothing is held, so it does not run."""
    async with running(tmp_path, LOCKED, all_of_aws=True) as here:
        key = await new_key(here, pass_through_all_models=True, allowed_operations=["StartAsyncInvoke"], **budget)
        async with aiohttp.ClientSession(headers={"authorization": f"Bearer {key}"}) as session:
            body = VIDEO | {"modelId": model}
            async with session.post(f"{here.url}/bedrock/async-invoke", json=body) as answer:
                told = await answer.text()
        assert (status if budget else 200) == answer.status, told
        assert ("its price is not known" in told) == (answer.status == 403)
        if at_most is not None:
            assert [{"spend_at_most": at_most}] == here.rows("SELECT spend_at_most FROM attempts")
        await assert_nothing_held(here)


@pytest.mark.parametrize(
    "level", ["key", "user", "team", "member", "tag", "end_user", "model", "deployment", "gateway"]
)
async def test_as_many_run_as_the_budget_has_room_for(tmp_path: Path, each: Each, level: str) -> None:
    """Of 500 calls at once, upstream held until all are decided, 37 run where there is room for 37; after that what
    remains is the budget less what was spent, to the nano.
    """
    limit = 37 * each.reserved + each.reserved // 2
    config = with_dear(LOCKED, limit)
    if level == "gateway":
        config = f"{LOCKED}litellm_settings: {{max_budget: {usd(limit)!r}}}\n"
    async with behind_a_gate(tmp_path, config) as (here, gate):
        account, key, more = "gateway", "", {}
        if level == "gateway":
            key = await new_key(here)
        else:
            levels = await keys_of_every_level(here, limit)
            ((account, (key, more)),) = ((name, of) for name, of in levels.items() if name.startswith(f"{level}:"))
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            calls = [asyncio.create_task(call(here, key, session=session, **more)) for _ in range(500)]
            await here.until(lambda: gate.held + sum(task.done() for task in calls) == 500)
            gate.open.set()
            answers = await asyncio.gather(*calls)
        await assert_nothing_held(here)
        refused = [refusal(answer) for answer in answers if answer[0] != 200]
        (row,) = here.rows("SELECT sum(spend) AS spend FROM attempts WHERE charged")

        assert (463, {(400, "ServiceQuotaExceededException")}) == (len(refused), {told[:2] for told in refused})
        assert f"of {usd(limit):.9f}".rstrip("0") in refused[0][2]
        assert {account: (row["spend"], 0)} == figures(here)
        assert 37 * each.spent == row["spend"]
