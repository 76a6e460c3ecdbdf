"""Budgets across time: a window lets through as much as fits and no more, the next one as much again; calls that last
longer than their window, clocks that are set back and restarts change nothing about that.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

import attrs
import pytest
from administering import BODY, LOCKED, MASTER, administer, call
from budgeted import (
    Each,
    Wall,
    as_many_as_fit,
    assert_nothing_held,
    behind_a_gate,
    figures,
    keys_of_every_level,
    ms,
    price,
    refusal,
    usd,
    with_dear,
)
from gate import calling
from running import Running, running

#: What a call of these tests says.
SLOW = json.dumps(BODY).encode()
HOUR = 3_600_000
QUARTER = 900_000


@attrs.frozen
class Case:
    """A window and where it ends.

    Attributes:
        made: when keys, teams and so on are made; ends: when the window of the first calls ends, and when the next one
            does.
    """

    duration: str
    zone: str
    made: str
    ends: tuple[str, str]

    def __str__(self) -> str:
        return f"{self.duration}-{self.zone}-{self.ends[0][:10]}"


CASES = [
    Case("15m", "UTC", "2026-03-01T12:00Z", ("2026-03-01T12:15Z", "2026-03-01T12:30Z")),
    Case("1h", "UTC", "2026-03-01T12:00Z", ("2026-03-01T13:00Z", "2026-03-01T14:00Z")),
    # Days of 23 and of 25 hours.
    Case("1d", "UTC", "2026-03-28T12:00Z", ("2026-03-29T00:00Z", "2026-03-30T00:00Z")),
    Case("1d", "Europe/Berlin", "2026-03-28T23:00Z", ("2026-03-29T22:00Z", "2026-03-30T22:00Z")),
    Case("1d", "Europe/Berlin", "2026-10-24T22:00Z", ("2026-10-25T23:00Z", "2026-10-26T23:00Z")),
    # 02:00 to 03:00 is left out, and lived twice.
    Case("1h", "Europe/Berlin", "2026-03-29T00:00Z", ("2026-03-29T01:00Z", "2026-03-29T02:00Z")),
    Case("1h", "Europe/Berlin", "2026-10-25T00:00Z", ("2026-10-25T01:00Z", "2026-10-25T02:00Z")),
    Case("7d", "Europe/Berlin", "2026-03-22T23:00Z", ("2026-03-29T22:00Z", "2026-04-05T22:00Z")),
    Case("7d", "UTC", "2026-03-23T00:00Z", ("2026-03-30T00:00Z", "2026-04-06T00:00Z")),
    Case("30d", "Europe/Berlin", "2026-03-01T00:00Z", ("2026-03-31T22:00Z", "2026-04-30T22:00Z")),
    Case("30d", "UTC", "2026-02-01T00:00Z", ("2026-03-01T00:00Z", "2026-04-01T00:00Z")),
    # Counted from the day something was made, in a config from 1970 on; 28 March is one of the latter too.
    Case("5d", "Europe/Berlin", "2026-03-28T12:00Z", ("2026-04-01T22:00Z", "2026-04-06T22:00Z")),
    Case("5d", "UTC", "2026-03-28T12:00Z", ("2026-04-02T00:00Z", "2026-04-07T00:00Z")),
    # A quarter to six ahead of UTC.
    Case("1h", "Asia/Kathmandu", "2026-03-01T12:15Z", ("2026-03-01T13:15Z", "2026-03-01T14:15Z")),
    Case("1d", "Asia/Kathmandu", "2026-02-28T18:15Z", ("2026-03-01T18:15Z", "2026-03-02T18:15Z")),
    Case("30d", "Asia/Kathmandu", "2026-02-28T18:15Z", ("2026-03-31T18:15Z", "2026-04-30T18:15Z")),
    # The clock is moved by half an hour: 01:30 to 02:00 is lived twice, 02:00 to 02:30 left out.
    Case("1h", "Australia/Lord_Howe", "2026-04-04T14:00Z", ("2026-04-04T15:00Z", "2026-04-04T15:30Z")),
    Case("1h", "Australia/Lord_Howe", "2026-10-03T15:00Z", ("2026-10-03T15:30Z", "2026-10-03T16:00Z")),
    Case("1d", "Australia/Lord_Howe", "2026-04-04T13:00Z", ("2026-04-05T13:30Z", "2026-04-06T13:30Z")),
]


@pytest.fixture(scope="module")
def each(tmp_path_factory: pytest.TempPathFactory) -> Each:
    """Return what one call reserves and spends."""
    return price(tmp_path_factory.mktemp("price"))


def spends(here: Running, account: str) -> list[int]:
    """Return what the ledger has of an account, by quarter-hour, in order of time."""
    rows = here.rows("SELECT spend FROM accounts WHERE account = ? ORDER BY quarter", account)
    return [row["spend"] for row in rows]


def told_as(text: str) -> str:
    """Return a moment as refusals write it."""
    return f"It resets at {text.removesuffix('Z')}:00Z."


@pytest.mark.parametrize("whole", [False, True], ids=["levels", "gateway"])
@pytest.mark.parametrize("case", CASES, ids=str)
async def test_a_window_and_the_next_one(tmp_path: Path, each: Each, case: Case, whole: bool) -> None:
    """As many calls as fit run up to the last millisecond of a window, and as many again from its end on, although the
    first ones are still under way; each is booked where it was admitted, and refusals name the true end. Set back by an
    hour, before or after a restart, the clock opens no window, and what is left is the same to the nano.
    """
    limit = 3 * each.reserved + each.reserved // 2
    settings = f"litellm_settings: {{timezone: {case.zone}"
    settings += f", max_budget: {usd(limit)!r}, budget_duration: {case.duration}}}\n" if whole else "}\n"
    config = (LOCKED if whole else with_dear(LOCKED, limit, case.duration)) + settings
    wall = Wall(ms(case.made))
    boundary = ms(case.ends[0])
    async with behind_a_gate(tmp_path, config, clock=wall.clock()) as (here, gate):
        levels = (
            {"gateway": (MASTER, {})} if whole else await keys_of_every_level(here, limit, case.duration, case.zone)
        )
        # What a deployment has left is nothing for callers.
        told = [account for account in levels if account != "deployment:dear"]
        calls = []
        for moment, end in ((boundary - 1, case.ends[0]), (boundary, case.ends[1])):
            wall.now = moment
            for key, more in levels.values():
                under_way, refused = await as_many_as_fit(here, gate, key, **more)
                calls += under_way

                assert 3 == len(under_way)
                assert (400, "ServiceQuotaExceededException") == refused[:2]
                assert f": 0 of {usd(limit):.9f}".rstrip("0") in refused[2]
                assert f"{usd(3 * each.reserved):.9f}".rstrip("0") + " USD held" in refused[2]
                assert refused[2].endswith(told_as(end))
        gate.open.set()
        answers = await asyncio.gather(*calls)
        await assert_nothing_held(here)

        assert {200} == {status for status, *_ in answers}
        assert dict.fromkeys(levels, (3 * each.spent, 0)) == figures(here)
        assert [[3 * each.spent, 3 * each.spent]] * len(levels) == [spends(here, account) for account in levels]
        wall.now = boundary - HOUR
        left = {account: await remaining(here, *of_level) for account, of_level in levels.items()}
        await here.settled()

        assert dict.fromkeys(told, limit - 3 * each.spent - each.reserved) == {name: left[name] for name in told}
    wall.now = boundary - HOUR + 60_000
    async with behind_a_gate(tmp_path, config, clock=wall.clock()) as (here, gate):
        gate.open.set()
        left = {account: await remaining(here, *of_level) for account, of_level in levels.items()}
        await assert_nothing_held(here)

        assert dict.fromkeys(told, limit - 4 * each.spent - each.reserved) == {name: left[name] for name in told}
        assert dict.fromkeys(levels, (5 * each.spent, 0)) == figures(here)
        assert [[3 * each.spent, 5 * each.spent]] * len(levels) == [spends(here, account) for account in levels]


async def remaining(here: Running, key: str, more: dict[str, Any]) -> int | None:
    """Make a call; return what its answer says is left of the tightest budget, in nano-USD, itself taken off; None
    where it says nothing.
    """
    status, _, headers = await call(here, key, **more)
    told = headers.get("x-bedrock-gateway-budget-remaining-usd")

    assert 200 == status
    return None if told is None else round(float(told) * 1_000_000_000)


async def test_a_request_that_arrives_slowly_over_the_end_of_a_window(tmp_path: Path, each: Each) -> None:
    """A call belongs to the window in which it is admitted, be its head from the one before: there it is checked, and
    there it is booked.
    """
    limit = each.reserved + 2 * each.spent
    wall = Wall(ms("2026-03-01T12:14Z"))
    async with behind_a_gate(tmp_path, clock=wall.clock()) as (here, gate):
        gate.open.set()
        made = await administer(here, "/key/generate", {"max_budget": usd(limit), "budget_duration": "15m"})
        account, key = f"key:{made['key_id']}", made["key"]
        statuses = [(await call(here, key))[0] for _ in range(4)]
        slow = await calling(here.port, "converse", body=b"", length=len(SLOW), key=key)
        await here.until(lambda: len(here.gateway.calls) == 1)
        wall.now += 2 * 60_000
        statuses.append((await call(here, key))[0])
        slow.writer.write(SLOW)
        head = await slow.rest()
        await slow.leave()
        await assert_nothing_held(here)

        assert [200, 200, 200, 400, 200] == statuses
        assert head.startswith(b"HTTP/1.1 200 ")
        assert [3 * each.spent, 2 * each.spent] == spends(here, account)
        assert {account: (2 * each.spent, 0)} == figures(here)


async def test_a_budget_without_a_window(tmp_path: Path, each: Each) -> None:
    """What is spent of it is spent for good, at every level, after years and after a restart too."""
    limit = each.reserved + 2 * each.spent
    config = with_dear(LOCKED, limit)
    wall = Wall(ms("2026-03-01T12:00Z"))
    async with running(tmp_path, config, clock=wall.clock()) as here:
        levels = await keys_of_every_level(here, limit)
        statuses = {
            (account): [(await call(here, key, **more))[0] for _ in range(4)] for account, (key, more) in levels.items()
        }
        await assert_nothing_held(here)

        assert {account: [200, 200, 200, 400] for account in levels} == statuses
        assert dict.fromkeys(levels, (3 * each.spent, 0)) == figures(here)
    wall.now = ms("2031-03-01T12:00Z")
    async with running(tmp_path, config, clock=wall.clock()) as here:
        answers = {account: refusal(await call(here, key, **more)) for account, (key, more) in levels.items()}

        assert {"ServiceQuotaExceededException"} == {error_type for _, error_type, _ in answers.values()}
        assert all("USD. It never resets." in text for _, _, text in answers.values())
        assert dict.fromkeys(levels, (3 * each.spent, 0)) == figures(here)


async def test_a_sliding_hour(tmp_path: Path, each: Each) -> None:
    """What was spent leaves the window by quarter-hours, an hour after each has ended, whatever the clock on the wall
    says meanwhile; refusals name the moment from which the call fits, and then it does.
    """
    limit = each.reserved + 3 * each.spent
    sliding = {"max_budget": usd(limit), "budget_duration": "1h", "budget_sliding": True}
    wall = Wall(ms("2026-03-29T00:50Z"))
    async with running(tmp_path, LOCKED, clock=wall.clock()) as here:
        made = await administer(here, "/key/generate", {**sliding, "budget_timezone": "Europe/Berlin"})
        account, key = f"key:{made['key_id']}", made["key"]
        statuses = [(await call(here, key))[0] for _ in range(2)]
        wall.now = ms("2026-03-29T01:20Z")
        statuses += [(await call(here, key))[0] for _ in range(2)]
        _, _, full = refusal(await call(here, key))
        # Two calls more than there is room for wait for what was spent half an hour later.
        wall.now = ms("2026-03-29T01:59:59.999Z")
        statuses.append((await call(here, key))[0])
        wall.now += 1
        statuses += [(await call(here, key))[0] for _ in range(3)]
        _, _, again = refusal(await call(here, key))
    wall.now = ms("2026-03-29T02:29:59.999Z")
    async with running(tmp_path, LOCKED, clock=wall.clock()) as here:
        statuses.append((await call(here, key))[0])

        assert {account: (4 * each.spent, 0)} == figures(here)
        wall.now += 1
        statuses += [(await call(here, key))[0] for _ in range(3)]
        await assert_nothing_held(here)

    assert [200, 200, 200, 200, 400, 200, 200, 400, 400, 200, 200, 400] == statuses
    assert "there is room again from 2026-03-29T02:00:00Z on." in full
    assert "there is room again from 2026-03-29T02:30:00Z on." in again


@pytest.mark.parametrize("restart", [False, True], ids=["running", "restarted"])
async def test_a_clock_that_was_days_ahead(tmp_path: Path, each: Each, restart: bool) -> None:
    """A clock that turns out to have been days ahead is believed: the budget of the day it is counts, from nothing on,
    and that of the day it was thought to be again once that day comes.
    """
    limit = each.reserved + 2 * each.spent
    wrong, right = ms("2026-03-06T12:00Z"), ms("2026-03-01T12:00Z")
    wall = Wall(wrong)
    statuses = []
    async with contextlib.AsyncExitStack() as stack:
        here = await stack.enter_async_context(running(tmp_path, LOCKED, clock=wall.clock()))
        made = await administer(here, "/key/generate", {"max_budget": usd(limit), "budget_duration": "1d"})
        account, key = f"key:{made['key_id']}", made["key"]
        statuses += [(await call(here, key))[0] for _ in range(2)]
        await here.settled()
        for moment in (right, right + 24 * HOUR, wrong + 60_000):
            wall.now = moment
            if restart:
                await stack.aclose()
                here = await stack.enter_async_context(running(tmp_path, LOCKED, clock=wall.clock()))
            statuses += [(await call(here, key))[0] for _ in range(4)]
            await assert_nothing_held(here)

            assert {account: (3 * each.spent, 0)} == figures(here)
        assert [3 * each.spent] * 3 == spends(here, account)
    assert [200, 200, *(200, 200, 200, 400) * 2, 200, 400, 400, 400] == statuses
