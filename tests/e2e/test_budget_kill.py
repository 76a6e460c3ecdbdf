"""Hard budgets across ``kill -9``: whatever a gateway was in the middle of, what was spent and what may have been spent
together never pass a budget, and the next gateway lets through exactly what fits into the rest.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import aiohttp
import attrs
import pytest
from administering import MASTER
from budgeted import Each, price, usd
from callers import Callers, target_of
from killing import killed_under_load
from process import rows
from yarl import URL

from bedrock_gateway.access.windows import Window

#: A call that is answered at once.
QUICK = {
    "messages": [{"role": "user", "content": [{"text": "[[simulate: tokens=1]] What is a gateway good for?"}]}],
    "inferenceConfig": {"maxTokens": 100},
}
#: What the whole gateway may spend, nano-USD.
PLENTY = 10**15
#: A little more than nothing: a few of these calls, nano-USD.
LITTLE = 200_000


@attrs.frozen
class Held:
    """A hard budget.

    Attributes:
        counts: an SQL condition on calls: those that count against it.
        limit: nano-USD; window: None for all time.
    """

    counts: str
    limit: int
    window: Window | None


@attrs.define(eq=False)
class House:
    """Keys under budgets of every kind, some that are soon used up and some that never are.

    Attributes:
        reserved: nano-USD that one call of ``use_up`` reserves; kills: how often they happen, and so often some
            budgets have room for what is under way.
        keys: by name; budgets: by the name of the key whose calls come to its limit.
    """

    database: Path
    reserved: int
    kills: int
    callers: Callers
    keys: dict[str, str] = attrs.field(factory=dict)
    budgets: dict[str, list[Held]] = attrs.field(factory=dict)

    async def administer(self, url: str, path: str, body: Mapping[str, Any]) -> Any:
        """Call the admin API."""
        async with aiohttp.ClientSession(headers={"authorization": f"Bearer {MASTER}"}) as session:
            async with session.post(f"{url}{path}", json=body) as answer:
                told = await answer.json()
                assert 200 == answer.status, told
                return told

    async def furnish(self, url: str) -> None:
        """Make keys and all they belong to, once; later on hold the ledger against the budgets."""
        if self.keys:
            self.assert_held()
            return
        unit = self.reserved * self.kills
        hour = Window(duration="1h", zone=ZoneInfo("Asia/Kathmandu"))
        quarter = Window(duration="15m", zone=ZoneInfo("UTC"))
        sliding = Window(duration="2h", zone=ZoneInfo("UTC"), sliding=True)
        two = {"max_budget": usd(8 * unit), "budget_limits": [{"max_budget": usd(3 * unit), "budget_duration": "15m"}]}
        user = {"user_id": "u1", "auto_create_key": False, "max_budget": usd(4 * unit)}
        team = {"team_id": "t1", "max_budget": usd(5 * unit), "budget_duration": "1h"}
        tag = {"name": "night", "max_budget": usd(6 * unit), "budget_duration": "2h", "budget_sliding": True}
        await self.administer(url, "/user/new", user)
        await self.administer(url, "/team/new", {**team, "budget_timezone": "Asia/Kathmandu"})
        await self.administer(url, "/tag/new", tag)
        for name, fields, counts, held in (
            ("key", two, "caller = '{}'", [(3, quarter), (8, None)]),
            ("user", {"user_id": "u1"}, "user = 'u1'", [(4, None)]),
            ("team", {"team_id": "t1"}, "team = 't1'", [(5, hour)]),
            ("tag", {"tags": ["night"]}, "tags = '[\"night\"]'", [(6, sliding)]),
            ("plenty", {"max_budget": usd(10**5 * unit)}, "caller = '{}'", [(10**5, None)]),
        ):
            made = await self.administer(url, "/key/generate", fields)
            self.keys[name] = made["key"]
            self.budgets[name] = [Held(counts.format(made["key_id"]), limit * unit, window) for limit, window in held]
        self.budgets["gateway"] = [Held("1", PLENTY, None)]

    def key(self, marker: int) -> str:
        """Return whose turn it is: once their budgets are used up, the others only make refusals."""
        names = [*self.keys]
        return self.keys[names[marker // 10 % 10] if marker // 10 % 10 < 4 else "plenty"]

    def spends(self, held: Held) -> list[tuple[int, int]]:
        """Return when each attempt under a budget was admitted, and what it spent or may have spent: from the rows."""
        return rows(
            self.database,
            "SELECT calls.started_at, coalesce(attempts.spend, attempts.spend_at_most) FROM attempts "
            f"JOIN calls ON calls.id = attempts.call WHERE attempts.charged AND {held.counts}",
        )

    def spent(self, held: Held, at: int) -> int:
        """Return what was spent, or may have been, in the window that holds a moment."""
        start, end = (0, 1 << 62) if held.window is None else held.window.bounds(at)
        return sum(spend for moment, spend in self.spends(held) if start <= moment - moment % 900_000 < end)

    def assert_held(self) -> None:
        """Assert that no budget was passed in any of its windows (of a sliding one: in any that ends when a call was
        admitted).
        """
        for name, several in self.budgets.items():
            for held in several:
                spends = self.spends(held)
                bounds = {(0, 1 << 62) if held.window is None else held.window.bounds(at) for at, _ in spends}
                sums = [sum(spend for at, spend in spends if start <= at - at % 900_000 < end) for start, end in bounds]

                assert held.limit >= max(sums, default=0), (name, held)

    async def use_up(self, url: str) -> None:
        """Call once with each key: what is left then is what the rows leave. Then give each a little more than that,
        and call until there is a refusal.
        """
        self.assert_held()
        for name in ("key", "user", "team", "tag"):
            await self.call(url, name)
        for name, path, fields in (
            ("key", "/key/update", {"key": self.keys["key"], "budget_limits": []}),
            ("user", "/user/update", {"user_id": "u1"}),
            ("team", "/team/update", {"team_id": "t1"}),
            ("tag", "/tag/update", {"name": "night"}),
        ):
            held = self.budgets[name][-1]
            limit = self.spent(held, now_ms()) + self.reserved + LITTLE
            self.budgets[name] = [attrs.evolve(held, limit=limit)]
            await self.administer(url, path, {**fields, "max_budget": usd(limit)})
            ran = 0
            while await self.call(url, name):
                ran += 1
            assert 1 < ran

    async def call(self, url: str, name: str) -> bool:
        """Make a call with a key; tell whether it ran. It does if what the rows leave is enough for it, and then its
        answer says what is left, to the nano.
        """
        while True:
            begun = now_ms()
            left = min(held.limit - self.spent(held, begun) for held in self.budgets[name]) - self.reserved
            headers = {"authorization": f"Bearer {self.keys[name]}"}
            async with aiohttp.ClientSession(headers=headers) as session:
                target = URL(url + target_of(self.callers.next(), "converse"), encoded=True)
                async with session.post(target, json=QUICK) as answer:
                    await answer.read()
            # Where a window has ended meanwhile, nothing is said.
            if begun // 900_000 == now_ms() // 900_000:
                break
        if left < 0:
            assert 400 == answer.status
            return False
        assert 200 == answer.status
        assert left == round(float(answer.headers["x-bedrock-gateway-budget-remaining-usd"]) * 10**9)
        return True


def now_ms() -> int:
    """Return UTC ms."""
    return round(time.time() * 1000)


async def spend_and_be_killed(folder: Path, each: Each, *, kills: int, seed: int) -> None:
    """Kill a gateway so many times while its keys use up their budgets."""
    chance = random.Random(seed)
    config = folder / "config.yaml"
    config.write_text(f"general_settings: {{master_key: {MASTER}}}\nlitellm_settings: {{max_budget: {usd(PLENTY)}}}\n")
    callers = Callers(chance)
    house = House(folder / "ledger.db", each.reserved, kills, callers)
    callers.keys = house.key
    await killed_under_load(
        folder,
        callers,
        *("--config", str(config)),
        kills=kills,
        chance=chance,
        started=house.furnish,
        ended=house.use_up,
    )
    house.assert_held()
    refused = rows(house.database, "SELECT count(*) FROM calls WHERE status = 400 AND error_type LIKE 'ServiceQuota%'")
    # How many depends on the machine; that there are any says that the budgets were used up.
    assert refused > [(0,)]


@pytest.fixture(scope="module")
def each(tmp_path_factory: pytest.TempPathFactory) -> Each:
    """Return what one call reserves and spends."""
    return price(tmp_path_factory.mktemp("price"), QUICK)


async def test_budgets_of_a_killed_gateway(tmp_path: Path, each: Each) -> None:
    """After each of four kills every budget holds, and after the last one what is left of it is exact."""
    await spend_and_be_killed(tmp_path, each, kills=4, seed=1)


@pytest.mark.soak
async def test_budgets_of_a_gateway_killed_often(tmp_path: Path, each: Each) -> None:
    """The same, 80 times over one ledger."""
    await spend_and_be_killed(tmp_path, each, kills=80, seed=2)
