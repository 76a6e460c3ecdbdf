"""Calls that count against budgets, at moments a test decides: a wall clock that stands, upstream held by a gate."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import attrs
from administering import BODY, LOCKED, administer, call, new_key
from gate import Gate, gated
from running import Running, running

from bedrock_gateway.access.limits import Limit
from bedrock_gateway.chain.gateway import Clock

__all__ = [
    "Answer",
    "Each",
    "Wall",
    "as_many_as_fit",
    "assert_nothing_held",
    "begin",
    "behind_a_gate",
    "figures",
    "keys_of_every_level",
    "ms",
    "price",
    "refusal",
    "usd",
    "with_dear",
]

NANO = 1_000_000_000
DEAR = """
  - model_name: dear
    litellm_params: {model: bedrock/%%(claude)s, aws_region_name: us-east-1, max_budget: %r, budget_duration: %s,
      aws_access_key_id: AKIDEPLOYMENTA, aws_secret_access_key: secret-A, aws_bedrock_runtime_endpoint: "%%(url)s"}
    model_info: {id: dear}
"""
Answer = tuple[int, Any, dict[str, str]]


@attrs.frozen
class Each:
    """What the one call all these tests make reserves, and what it spends, in nano-USD."""

    reserved: int
    spent: int


@attrs.define
class Wall:
    """A wall clock that stands until it is put forward or back; UTC ms."""

    now: int

    def clock(self) -> Clock:
        """Return a gateway's clock that shows it."""
        return Clock(read=lambda: self.now * 1_000_000)


def ms(text: str) -> int:
    """Return a moment as UTC ms."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def usd(nano: int) -> float:
    """Return nano-USD as the JSON number that says exactly as much."""
    return nano / NANO


def price(folder: Path, body: Any = BODY) -> Each:
    """Find out what one call reserves and spends; not to be used where a loop runs."""

    async def made() -> Each:
        async with running(folder, LOCKED) as here:
            await call(here, await new_key(here, max_budget=100), body=body)
            (row,) = here.rows("SELECT spend_at_most, spend FROM attempts")
            return Each(row["spend_at_most"], row["spend"])

    return asyncio.run(made())


@contextlib.asynccontextmanager
async def behind_a_gate(folder: Path, config: str = LOCKED, **more: Any) -> AsyncIterator[tuple[Running, Gate]]:
    """Run a gateway whose every answer from upstream waits until the gate is opened."""
    async with gated() as gate, running(folder, config.replace("%(url)s", gate.url), **more) as here:
        gate.port = int(here.upstream.rpartition(":")[2])
        gate.passing = 0
        yield here, gate


async def begin(here: Running, gate: Gate, key: str, **more: Any) -> asyncio.Task[Answer]:
    """Begin a call; return once it waits for its answer, or has one."""
    before = gate.held
    task = asyncio.create_task(call(here, key, **more))
    await here.until(lambda: gate.held > before or task.done())
    return task


async def as_many_as_fit(
    here: Running, gate: Gate, key: str, **more: Any
) -> tuple[list[asyncio.Task[Answer]], tuple[int, str, str]]:
    """Make calls one after the other, without any being answered, until one is refused; return those under way and
    the refusal.
    """
    under_way: list[asyncio.Task[Answer]] = []
    while not (task := await begin(here, gate, key, **more)).done():
        under_way.append(task)
    return under_way, refusal(await task)


def refusal(answer: Answer) -> tuple[int, str, str]:
    """Return status, error type and message of a refusal."""
    status, body, headers = answer
    return status, headers.get("x-amzn-errortype", ""), body.get("message", "")


async def keys_of_every_level(
    here: Running, limit: int, duration: str | None = None, zone: str = "UTC"
) -> dict[str, tuple[str, dict[str, Any]]]:
    """Make a key for each level that can have a budget beside the whole gateway, with one on that level alone; return
    account, key and what its calls have to say. The deployment's is that of ``with_dear``.

    Args:
        limit: nano-USD.
    """
    window = {"budget_duration": duration, "budget_timezone": zone}
    budget = {"max_budget": usd(limit), **window}
    await administer(here, "/user/new", {"user_id": "u1", "auto_create_key": False, **budget})
    await administer(here, "/team/new", {"team_id": "t1", **budget})
    await administer(here, "/user/new", {"user_id": "u2", "auto_create_key": False})
    member = {"team_member_budget": usd(limit), "team_member_budget_duration": duration}
    await administer(here, "/team/new", {"team_id": "t2", "budget_timezone": zone, **member})
    await administer(here, "/team/member_add", {"team_id": "t2", "member": {"role": "user", "user_id": "u2"}})
    await administer(here, "/tag/new", {"name": "night", **budget})
    await administer(here, "/customer/new", {"user_id": "c1", **budget})
    model = {"single": {"budget_limit": usd(limit), "time_period": duration}}
    own = await administer(here, "/key/generate", budget)
    for_model = await administer(here, "/key/generate", {"model_max_budget": model, "budget_timezone": zone})
    return {
        f"key:{own['key_id']}": (own["key"], {}),
        "user:u1": (await new_key(here, user_id="u1"), {}),
        "team:t1": (await new_key(here, team_id="t1"), {}),
        "member:t2/u2": (await new_key(here, team_id="t2", user_id="u2"), {}),
        "tag:night": (await new_key(here, tags=["night"]), {}),
        "end_user:c1": (await new_key(here), {"x_litellm_end_user_id": "c1"}),
        f"model:{for_model['key_id']}/single": (for_model["key"], {}),
        "deployment:dear": (await new_key(here), {"model": "dear"}),
    }


def with_dear(config: str, limit: int, duration: str = "null") -> str:
    """Return a config with a further group, ``dear``, whose only deployment has a budget, in nano-USD."""
    return config.replace("general_settings:", DEAR % (usd(limit), duration) + "general_settings:")


def figures(here: Running) -> dict[str, tuple[int, int]]:
    """Return what is spent and what is held now in every account that has a hard budget."""
    gateway = here.gateway
    return {
        charge.account: (spent, reserved)
        for charge, spent, reserved in gateway.budgets.figures(gateway.clock.admitted_ms())
        if charge.budget.limit is not None
    }


async def assert_nothing_held(here: Running, names: Sequence[str] = ()) -> None:
    """Assert, once no call is under way, that no money is held, in no window, that no call cost more than it had
    reserved, and that no place under the limits of these names is taken.
    """
    await here.settled()
    budgets, limiter, now = here.gateway.budgets, here.gateway.limiter, time.monotonic()
    accounts = budgets._accounts.items()
    # The end of a call whose caller has left may still be on its way to the ledger.
    await here.until(lambda: not any(account.held for account in budgets._accounts.values()))

    terms = {name: (purse.term, purse.before) for name, account in accounts for purse in account.purses}
    assert [] == [name for name, several in terms.items() if any(term.reserved for term in several if term)]
    assert 0 == budgets.overruns
    for name in names:
        limiter.take([(name, Limit(parallel=1))], 0, now).cancel(now)
