"""What is told of a budget: LiteLLM's webhook event, filled in from the account the budget is of."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedrock_gateway.access.accounts import accounts_of
from bedrock_gateway.access.alerting import webhook_event
from bedrock_gateway.access.budgets import Budget, Charge, Warned
from bedrock_gateway.access.callers import Caller, Policy
from bedrock_gateway.access.windows import Window, zone

USD = 1_000_000_000
DAY = Window(duration="1d", zone=zone("UTC"))
MIDNIGHT = 1_790_812_800_000  # 2026-10-01T00:00:00Z
KEY = Caller(id="key-0123456789ab", name="ci", user="u1", team="t1", policy=Policy())


def warned(
    account: str = f"key:{KEY.id}",
    *,
    name: str = 'key "ci" (sk-…abcd)',
    budget: Budget | None = None,
    spent: int = 8_100_000_001,
    hard: bool = False,
    resets_at: int | None = MIDNIGHT,
) -> Warned:
    """Return what a budget of 10 USD a day, 8 of them soft, would tell."""
    budget = budget or Budget(limit=10 * USD, soft=8 * USD, window=DAY)
    return Warned(charge=Charge(account=account, name=name, budget=budget), spent=spent, hard=hard, resets_at=resets_at)


def test_a_soft_budget_is_told_as_litellm_tells_it() -> None:
    """The event has every field of LiteLLM's webhook events, money in USD, and three of the gateway's own."""
    expected: dict[str, Any] = {
        "spend": 8.100000001,
        "max_budget": 10.0,
        "soft_budget": 8.0,
        "token": None,
        "customer_id": None,
        "user_id": "u1",
        "team_id": "t1",
        "key_alias": "ci",
        "team_alias": None,
        "organization_id": None,
        "user_email": None,
        "projected_exceeded_date": None,
        "projected_spend": None,
        "event": "soft_budget_crossed",
        "event_group": "key",
        "event_message": 'Key Budget: Soft Budget Crossed: key "ci" (sk-…abcd) has spent 8.100000001 USD; its soft '
        "budget is 8 USD, its budget 10 USD. It resets at 2026-10-01T00:00:00Z.",
        "account": "key:key-0123456789ab",
        "budget_duration": "1d",
        "budget_reset_at": "2026-10-01T00:00:00Z",
    }

    assert expected == webhook_event(warned(), KEY)


def test_a_hard_budget_is_told_as_crossed() -> None:
    """Where the hard limit was reached the event is budget_crossed, and the message names both figures."""
    event = webhook_event(warned("team:t1", name='team "research"', spent=10 * USD, hard=True), KEY)

    assert ("budget_crossed", "team", "t1", None) == (
        event["event"],
        event["event_group"],
        event["team_id"],
        event["user_id"],
    )
    assert (
        'Team Budget: Budget Crossed: team "research" has spent 10 USD of 10 USD. It resets at 2026-10-01T00:00:00Z.'
        == event["event_message"]
    )


@pytest.mark.parametrize(
    ("account", "group", "whose"),
    [
        ("gateway", "proxy", {}),
        (f"key:{KEY.id}", "key", {"user_id": "u1", "team_id": "t1", "key_alias": "ci"}),
        (f"model:{KEY.id}/claude", "model", {"user_id": "u1", "team_id": "t1", "key_alias": "ci"}),
        ("user:u1", "user", {"user_id": "u1"}),
        ("team:t1", "team", {"team_id": "t1"}),
        ("member:t1/u1", "team_member", {"team_id": "t1", "user_id": "u1"}),
        ("end_user:x/y:z", "end_user", {"customer_id": "x/y:z"}),
        ("tag:a", "tag", {}),
        ("deployment:0123", "deployment", {}),
    ],
)
def test_the_account_tells_whose_budget_it_is(account: str, group: str, whose: dict[str, str]) -> None:
    """Each kind of account has its event_group and fills in the ids it is made of, and no others."""
    event = webhook_event(warned(account), KEY)
    ids = ("customer_id", "user_id", "team_id", "key_alias")

    assert (group, whose) == (event["event_group"], {name: event[name] for name in ids if event[name] is not None})


def test_every_account_of_a_call_can_be_told() -> None:
    """There is no account a call counts in that an event could not be made of."""
    accounts = accounts_of("master", user="u", team="t", end_user="e", tags=("a",), model_group="m", deployment="d")

    assert len(accounts) == len({webhook_event(warned(account))["event_group"] for account in accounts})


def test_the_end_of_a_secret_is_no_alias() -> None:
    """A key without an alias has none in the event, though people are shown its last characters as its name."""
    caller = Caller(id=KEY.id, name="sk-…abcd", policy=Policy())

    assert (None, None, None) == tuple(
        webhook_event(warned(), caller)[name] for name in ("key_alias", "user_id", "team_id")
    )


def test_nothing_of_a_caller_nobody_knows() -> None:
    """Without the caller the account is all there is to tell."""
    event = webhook_event(warned())

    assert (None, f"key:{KEY.id}") == (event["key_alias"], event["account"])


@pytest.mark.parametrize(
    ("budget", "resets_at", "end", "duration"),
    [
        (Budget(limit=None, soft=USD), None, "its soft budget is 1 USD. It never resets.", None),
        (
            Budget(limit=None, soft=USD, window=Window(duration="7d", zone=zone("UTC"), sliding=True)),
            MIDNIGHT,
            "its soft budget is 1 USD. What counts is the last 7d.",
            "7d",
        ),
    ],
)
def test_when_a_budget_begins_anew_is_told(
    budget: Budget, resets_at: int | None, end: str, duration: str | None
) -> None:
    """A budget that never resets says so; of a sliding one the message tells what counts."""
    event = webhook_event(warned(budget=budget, resets_at=resets_at))

    assert event["event_message"].endswith(end)
    assert (None, duration) == (event["max_budget"], event["budget_duration"])


@given(st.integers(min_value=0, max_value=10**21))
def test_money_in_a_message_is_exact(spent: int) -> None:
    """What is written of an amount is that amount to the nano, without an exponent."""
    text = webhook_event(warned(spent=spent))["event_message"].partition(" has spent ")[2].partition(" USD")[0]
    whole, _, fraction = text.partition(".")

    assert spent == int(whole) * USD + int((fraction + "000000000")[:9])


@given(st.text(), st.text())
def test_any_name_makes_an_event(name: str, owner: str) -> None:
    """Whatever things are called, the event becomes JSON that reads back as it was."""
    event = webhook_event(warned(f"member:{owner}", name=name))

    assert event == json.loads(json.dumps(event).encode())
