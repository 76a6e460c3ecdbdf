"""Hard budgets hold whatever comes at once, and what is left of them is exact to the nano-dollar."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest
from administering import BODY, LOCKED, MASTER, administer, call, new_key
from gate import gated
from running import running


NANO = 1_000_000_000


async def reservation(folder: Path) -> int:
    """Return what one call reserves, in nano-USD."""
    async with running(folder, LOCKED) as here:
        key = await new_key(here, max_budget=100)
        await call(here, key)
        (row,) = here.rows("SELECT spend_at_most FROM attempts")
        return int(row["spend_at_most"])


@pytest.mark.parametrize("level", ["key", "user", "team", "member", "tag", "end_user", "model", "gateway", "deployment"])
async def test_as_many_run_as_the_budget_has_room_for(tmp_path: Path, level: str) -> None:
    """Of 500 calls at once, upstream held until all are decided, 37 run where there is room for 37; after that what
    remains is the budget less what was spent, to the nano.
    """
    (tmp_path / "first").mkdir()
    each = await reservation(tmp_path / "first")
    budget = 37 * each + each // 2
    usd = budget / NANO
    whole = f"litellm_settings: {{max_budget: {usd!r}}}\n" if level == "gateway" else ""
    config = LOCKED + whole
    if level == "deployment":
        config = config.replace("model_name: single\n    litellm_params: {", f"model_name: single\n    litellm_params: {{max_budget: {usd!r}, ")
    async with gated() as gate:
        async with running(tmp_path, config.replace("%(url)s", gate.url)) as here:
            gate.port = int(here.upstream.rpartition(":")[2])
            gate.passing = 0
            fields: dict[str, object] = {}
            headers = {}
            if level == "key":
                fields = {"max_budget": usd}
            elif level == "model":
                fields = {"model_max_budget": {"single": {"budget_limit": usd, "time_period": "30d"}}}
            elif level == "user":
                await administer(here, "/user/new", {"user_id": "u1", "max_budget": usd, "auto_create_key": False})
                fields = {"user_id": "u1"}
            elif level == "team":
                await administer(here, "/team/new", {"team_id": "t1", "max_budget": usd})
                fields = {"team_id": "t1"}
            elif level == "member":
                await administer(here, "/team/new", {"team_id": "t1"})
                await administer(here, "/user/new", {"user_id": "u1", "auto_create_key": False})
                member = {"role": "user", "user_id": "u1"}
                told = {"team_id": "t1", "member": member, "max_budget_in_team": usd}
                await administer(here, "/team/member_add", told)
                fields = {"team_id": "t1", "user_id": "u1"}
            elif level == "tag":
                await administer(here, "/tag/new", {"name": "night", "max_budget": usd})
                fields = {"tags": ["night"]}
            elif level == "end_user":
                await administer(here, "/customer/new", {"user_id": "c1", "max_budget": usd})
                headers = {"x_litellm_end_user_id": "c1"}
            key = await new_key(here, **fields)
            connector = aiohttp.TCPConnector(limit=0)
            async with aiohttp.ClientSession(connector=connector) as session:
                calls = [
                    asyncio.create_task(call(here, key, session=session, **headers)) for _ in range(500)
                ]
                await here.until(lambda: gate.held + sum(task.done() for task in calls) == 500)
                gate.open.set()
                answers = await asyncio.gather(*calls)
            await here.settled()
            refused = [body for status, body, _ in answers if status == 400]

            assert (37, 463) == (sum(status == 200 for status, *_ in answers), len(refused))
            assert f"of {usd:.9f}".rstrip("0") in refused[0]["message"]
            assert 0 == here.gateway.budgets.overruns
            (spent,) = here.rows("SELECT sum(spend) AS spend FROM attempts WHERE charged")
            remaining = [
                charge.budget.limit - spent_ - reserved
                for charge, spent_, reserved in here.gateway.budgets.figures(here.gateway.clock.now_ms())
                if charge.budget.limit is not None
            ]
            assert [budget - spent["spend"]] == remaining
