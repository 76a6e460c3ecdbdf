"""Budgets that are given, raised, lowered, moved and taken away while calls are under way: the next call finds what
holds from then on, and nothing that is held or spent is lost or counted twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from administering import LOCKED, administer, call, new_key
from budgeted import (
    Answer,
    Each,
    Wall,
    as_many_as_fit,
    assert_nothing_held,
    begin,
    behind_a_gate,
    figures,
    ms,
    price,
    usd,
)
from gate import Gate
from running import Running
from scripted_upstream import PATIENT
from test_booking_edges import locked


@pytest.fixture(scope="module")
def each(tmp_path_factory: pytest.TempPathFactory) -> Each:
    """Return what one call reserves and spends."""
    return price(tmp_path_factory.mktemp("price"))


async def open_gate(here: Running, gate: Gate, under_way: Sequence[asyncio.Task[Answer]]) -> None:
    """Let every call under way end; all are answered, and nothing is held any more."""
    gate.open.set()
    answers = await asyncio.gather(*under_way)
    await assert_nothing_held(here)

    assert {200} == {status for status, *_ in answers}


async def hold(here: Running, gate: Gate, key: str, number: int) -> list[asyncio.Task[Answer]]:
    """Make so many calls that wait for their answers."""
    return [await begin(here, gate, key) for _ in range(number)]


def held_of(text: str) -> str:
    """Return what a refusal says is held by calls under way, in USD."""
    return text.partition(" USD held by calls under way")[0].rpartition(", ")[2]


def shown(nano: int) -> str:
    """Return nano-USD as refusals write it."""
    return f"{usd(nano):.9f}".rstrip("0").rstrip(".")


@pytest.mark.parametrize("level", ["key", "team", "user", "tag", "model"])
async def test_a_budget_given_while_calls_are_under_way(tmp_path: Path, each: Each, level: str) -> None:
    """Calls admitted while there was no budget count against it with the most they can cost, until they are booked
    with what they cost.
    """
    async with behind_a_gate(tmp_path) as (here, gate):
        await administer(here, "/team/new", {"team_id": "t1"})
        await administer(here, "/user/new", {"user_id": "u1", "auto_create_key": False})
        made = await administer(here, "/key/generate", {"team_id": "t1", "user_id": "u1", "tags": ["night"]})
        gate.open.set()
        await call(here, made["key"])
        await here.settled()
        gate.open.clear()
        (row,) = here.rows("SELECT spend_at_most FROM attempts")
        limit = each.spent + 2 * row["spend_at_most"] + 2 * each.reserved + each.reserved // 2
        under_way = await hold(here, gate, made["key"], 2)
        path, account, fields = {
            "key": ("/key/update", f"key:{made['key_id']}", {"key": made["key"], "max_budget": usd(limit)}),
            "team": ("/team/update", "team:t1", {"team_id": "t1", "max_budget": usd(limit)}),
            "user": ("/user/update", "user:u1", {"user_id": "u1", "max_budget": usd(limit)}),
            "tag": ("/tag/new", "tag:night", {"name": "night", "max_budget": usd(limit)}),
            "model": (
                "/key/update",
                f"model:{made['key_id']}/single",
                {"key": made["key"], "model_max_budget": {"single": {"budget_limit": usd(limit)}}},
            ),
        }[level]
        await administer(here, path, fields)
        more, (status, _, text) = await as_many_as_fit(here, gate, made["key"])

        assert (2, 400) == (len(more), status)
        assert shown(2 * row["spend_at_most"] + 2 * each.reserved) == held_of(text)
        await open_gate(here, gate, under_way + more)
        assert {account: (5 * each.spent, 0)} == figures(here)


async def test_a_budget_given_between_two_attempts(tmp_path: Path, each: Each) -> None:
    """A call that waits for its second attempt, of which nothing is under way, counts against a budget given meanwhile
    as soon as it is sent again.
    """
    config = LOCKED + "router_settings: {num_retries: 2, retry_after: 5}\n"
    async with behind_a_gate(tmp_path, config) as (here, gate):
        made = await administer(here, "/key/generate", {})
        here.simulator.faults.add("throttle", times=1)
        gate.open.set()
        throttled = asyncio.create_task(call(here, made["key"]))
        await here.until(lambda: any(one.attempt is not None and one.attempt.closed for one in here.gateway.calls))
        gate.open.clear()
        limit = each.reserved + each.reserved // 2
        await administer(here, "/key/update", {"key": made["key"], "max_budget": usd(limit)})
        under_way = await hold(here, gate, made["key"], 1)
        alone = figures(here)
        await here.until(lambda: gate.held > 1)
        (row,) = here.rows("SELECT max(spend_at_most) AS most FROM attempts")
        ((_, both),) = figures(here).values()
        status, _, _ = await call(here, made["key"])

        assert {f"key:{made['key_id']}": (0, each.reserved)} == alone
        assert each.reserved + row["most"] == both
        assert 400 == status
        await open_gate(here, gate, [throttled, *under_way])
        assert {f"key:{made['key_id']}": (2 * each.spent, 0)} == figures(here)


async def test_a_budget_given_to_a_call_that_ends_slowly(tmp_path: Path, each: Each) -> None:
    """What a call holds of a budget it was not admitted under gets less by what it spent, and goes when its end
    lasts.
    """
    async with behind_a_gate(tmp_path, ledger_limits=PATIENT) as (here, gate):
        made = await administer(here, "/key/generate", {})
        under_way = await hold(here, gate, made["key"], 1)
        await administer(here, "/key/update", {"key": made["key"], "max_budget": 1000})
        under_way += await hold(here, gate, made["key"], 1)
        ((_, held),) = figures(here).values()
        with locked(here.database):
            gate.open.set()
            await here.until(lambda: [2 * each.spent] == [spent for spent, _ in figures(here).values()])
            ((_, rest),) = figures(here).values()

        assert held - 2 * each.spent == rest
        await open_gate(here, gate, under_way)
        assert {f"key:{made['key_id']}": (2 * each.spent, 0)} == figures(here)


async def test_a_soft_budget_that_becomes_a_hard_one(tmp_path: Path, each: Each) -> None:
    """Calls under a budget that only warned hold nothing; once it is hard they do."""
    async with behind_a_gate(tmp_path) as (here, gate):
        made = await administer(here, "/key/generate", {"soft_budget": 0.001})
        under_way = await hold(here, gate, made["key"], 2)
        await administer(here, "/key/update", {"key": made["key"], "max_budget": usd(2 * each.reserved)})
        more, (status, _, text) = await as_many_as_fit(here, gate, made["key"])

        assert ([], 400) == (more, status)
        assert "USD held by calls under way" in text
        await open_gate(here, gate, under_way)
        assert {f"key:{made['key_id']}": (2 * each.spent, 0)} == figures(here)


async def test_raised_lowered_and_taken_away(tmp_path: Path, each: Each) -> None:
    """A raised budget has room at once, a lowered one none, and without one anything goes; what is held stays held."""
    half = each.reserved // 2
    async with behind_a_gate(tmp_path) as (here, gate):
        made = await administer(here, "/key/generate", {"max_budget": usd(2 * each.reserved + half)})
        key, account = made["key"], f"key:{made['key_id']}"
        under_way, _ = await as_many_as_fit(here, gate, key)
        assert 2 == len(under_way)
        await administer(here, "/key/update", {"key": key, "max_budget": usd(5 * each.reserved + half)})
        more, _ = await as_many_as_fit(here, gate, key)
        assert 3 == len(more)
        await administer(here, "/key/update", {"key": key, "max_budget": usd(each.reserved)})
        none, (_, _, text) = await as_many_as_fit(here, gate, key)
        assert [] == none
        assert f"of {shown(each.reserved)} USD spent, {shown(5 * each.reserved)} USD held" in text
        await administer(here, "/key/update", {"key": key, "max_budget": None})
        free = await hold(here, gate, key, 4)
        await open_gate(here, gate, under_way + more + free)
        await administer(here, "/key/update", {"key": key, "max_budget": usd(9 * each.spent + each.reserved)})
        gate.open.clear()
        last, _ = await as_many_as_fit(here, gate, key)

        assert {account: (9 * each.spent, each.reserved)} == figures(here)
        await open_gate(here, gate, last)
        assert 1 == len(last)
        assert {account: (10 * each.spent, 0)} == figures(here)


async def test_moved_to_another_window(tmp_path: Path, each: Each) -> None:
    """In a new window counts what was admitted in it, be it spent or held; back in the old one all of it does."""
    limit = 3 * each.reserved + each.reserved // 2
    wall = Wall(ms("2026-03-28T22:30Z"))
    async with behind_a_gate(tmp_path, clock=wall.clock()) as (here, gate):
        window = {"budget_duration": "30d", "budget_timezone": "Europe/Berlin"}
        made = await administer(here, "/key/generate", {"max_budget": usd(limit), **window})
        key = made["key"]
        yesterday = await hold(here, gate, key, 1)
        wall.now = ms("2026-03-28T23:00Z")
        under_way, refused = await as_many_as_fit(here, gate, key)
        assert (2, "It resets at 2026-03-31T22:00:00Z.") == (len(under_way), refused[2][-34:])
        await administer(here, "/key/update", {"key": key, "budget_duration": "1d"})
        more, refused = await as_many_as_fit(here, gate, key)
        assert (1, "It resets at 2026-03-29T22:00:00Z.") == (len(more), refused[2][-34:])
        await administer(here, "/key/update", {"key": key, "budget_duration": "1h", "budget_sliding": True})
        none, _ = await as_many_as_fit(here, gate, key)
        assert [] == none
        await administer(here, "/key/update", {"key": key, "budget_duration": "30d", "budget_sliding": None})
        none, (_, _, text) = await as_many_as_fit(here, gate, key)
        assert ([], shown(4 * each.reserved)) == (none, held_of(text))
        await open_gate(here, gate, yesterday + under_way + more)
        spent = {
            (charge.budget.window.duration, charge.budget.window.sliding): spent
            for charge, spent, _ in here.gateway.budgets.figures(wall.now)
            if charge.budget.window is not None
        }

        assert {
            ("30d", False): 4 * each.spent,
            ("1d", False): 3 * each.spent,
            ("1h", True): 4 * each.spent,
        } == spent


async def test_keys_follow_their_template(tmp_path: Path, each: Each) -> None:
    """A template is no common purse: each key that names it has its budget to itself, and follows its changes."""
    half = each.reserved // 2
    async with behind_a_gate(tmp_path) as (here, gate):
        await administer(here, "/budget/new", {"budget_id": "small", "max_budget": usd(each.reserved + half)})
        keys = [await new_key(here, budget_id="small") for _ in range(2)]
        own = await new_key(here, budget_id="small", max_budget=usd(2 * each.reserved + half))
        counts, under_way = [], []
        for limit in (None, 3 * each.reserved + half, half):
            if limit is not None:
                await administer(here, "/budget/update", {"budget_id": "small", "max_budget": usd(limit)})
            for key in (*keys, own):
                more, (status, _, _) = await as_many_as_fit(here, gate, key)
                under_way += more
                counts.append(len(more))
                assert 400 == status

        assert [1, 1, 2, 2, 2, 0, 0, 0, 0] == counts
        await open_gate(here, gate, under_way)
        assert [(2 * each.spent, 0), (3 * each.spent, 0), (3 * each.spent, 0)] == sorted(figures(here).values())


async def test_a_key_that_changes_its_team(tmp_path: Path, each: Each) -> None:
    """A call counts in the team its key had when it was admitted."""
    async with behind_a_gate(tmp_path) as (here, gate):
        for team in ("old", "new"):
            await administer(here, "/team/new", {"team_id": team, "max_budget": usd(2 * each.reserved)})
        key = await new_key(here, team_id="old")
        under_way = await hold(here, gate, key, 2)
        await administer(here, "/key/update", {"key": key, "team_id": "new"})
        more, _ = await as_many_as_fit(here, gate, key)

        assert 2 == len(more)
        await open_gate(here, gate, under_way + more)
        assert {f"team:{team}": (2 * each.spent, 0) for team in ("old", "new")} == figures(here)


@pytest.mark.parametrize("level", ["key", "team", "member", "model", "template", "tag", "end_user"])
async def test_taken_away_and_given_again(tmp_path: Path, each: Each, level: str) -> None:
    """Calls that were admitted while there was no budget for a while count against the one that is given again, and
    those from before no more than once.
    """
    async with behind_a_gate(tmp_path) as (here, gate):
        await administer(here, "/team/new", {"team_id": "t1"})
        await administer(here, "/user/new", {"user_id": "u1", "auto_create_key": False})
        await administer(here, "/team/member_add", {"team_id": "t1", "member": {"role": "user", "user_id": "u1"}})
        await administer(here, "/tag/new", {"name": "night"})
        await administer(here, "/customer/new", {"user_id": "c1"})
        await administer(here, "/budget/new", {"budget_id": "small", "max_budget": 100})
        owners = {"team_id": "t1", "user_id": "u1", "tags": ["night"]}
        made = await administer(here, "/key/generate", owners)
        key, whom = made["key"], {"x_litellm_end_user_id": "c1"}
        gate.open.set()
        await call(here, key, **whom)
        await here.settled()
        gate.open.clear()
        (row,) = here.rows("SELECT spend_at_most FROM attempts")

        async def give(limit: int | None) -> None:
            amount = None if limit is None else usd(limit)
            path, fields = {
                "key": ("/key/update", {"key": key, "max_budget": amount}),
                "team": ("/team/update", {"team_id": "t1", "max_budget": amount}),
                "member": ("/team/update", {"team_id": "t1", "team_member_budget": amount}),
                "model": ("/key/update", {"key": key, "model_max_budget": {"single": {"budget_limit": amount}}}),
                "template": ("/key/update", {"key": key, "budget_id": None if limit is None else "small"}),
                "tag": ("/tag/update", {"name": "night", "max_budget": amount}),
                "end_user": ("/customer/update", {"user_id": "c1", "max_budget": amount}),
            }[level]
            if level == "model" and limit is None:
                fields["model_max_budget"] = {}
            await administer(here, path, fields)
            if level == "template" and limit is not None:
                await administer(here, "/budget/update", {"budget_id": "small", "max_budget": amount})

        limit = 2 * row["spend_at_most"] + 5 * each.reserved
        await give(limit)
        under_way = [await begin(here, gate, key, **whom)]
        await give(None)
        under_way += [await begin(here, gate, key, **whom) for _ in range(2)]
        await give(limit)
        more, (status, _, text) = await as_many_as_fit(here, gate, key, **whom)

        assert (3, 400) == (len(more), status)
        assert shown(2 * row["spend_at_most"] + 4 * each.reserved) == held_of(text)
        await open_gate(here, gate, under_way + more)
        assert [(7 * each.spent, 0)] == [*figures(here).values()]
