"""Budgets, tags and end users over HTTP, as LiteLLM's documentation drives them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from administered import Api, administered, refusal

from bedrock_gateway.access.limits import Limit

USD = 1_000_000_000


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    """Serve the admin API."""
    async with administered(tmp_path) as api:
        yield api


async def test_a_budget_is_followed_live(api: Api) -> None:
    """Whoever names a budget has what it says where it says nothing itself, and follows every change of it."""
    made = await api.post(
        "/budget/new", {"budget_id": "b1", "max_budget": 5, "budget_duration": "1d", "rpm_limit": 3, "tpm_limit": 9}
    )
    told = await api.post("/key/generate", {"budget_id": "b1", "tpm_limit": 7})
    api.spend(f"key:{told['key_id']}", USD)

    assert ("b1", 5, "1d", 3) == (made["budget_id"], made["max_budget"], made["budget_duration"], made["rpm_limit"])
    caller = api.caller(told["key"])
    assert caller is not None
    assert [5 * USD] == [charge.budget.limit for charge in caller.policy.budgets]
    assert (Limit(requests=3, tokens=7, parallel=None),) == tuple(limit for _, limit in caller.policy.limits)
    info = (await api.get("/key/info", key=told["key"]))["info"]
    assert ("b1", 1.0, "2026-11-19T00:00:00.000Z", 5) == (
        info["budget_id"],
        info["spend"],
        info["budget_reset_at"],
        info["litellm_budget_table"]["max_budget"],
    )
    await api.post("/budget/update", {"budget_id": "b1", "max_budget": 8, "rpm_limit": None})
    caller = api.caller(told["key"])
    assert caller is not None
    assert [8 * USD] == [charge.budget.limit for charge in caller.policy.budgets]
    assert (Limit(requests=None, tokens=7, parallel=None),) == tuple(limit for _, limit in caller.policy.limits)


async def test_a_budget_in_use_stays(api: Api) -> None:
    """A budget that something names is not deleted: its limits would be gone with it."""
    await api.post("/budget/new", {"budget_id": "b1", "max_budget": 5})
    await api.post("/key/generate", {"metadata": {"note": '"budget_id":"b1"'}})
    key = await api.post("/key/generate", {"budget_id": "b1"})

    status, field, message = await api.refused("/budget/delete", {"id": "b1"})

    assert (409, "id", f"id: budget 'b1' is in use by key '{key['key_id']}'; give that another budget first") == (
        status,
        field,
        message,
    )
    await api.post("/key/update", {"key": key["key"], "budget_id": None})
    assert "b1" == (await api.post("/budget/delete", {"id": "b1"}))["budget_id"]
    assert [] == await api.get("/budget/list")


async def test_budgets_are_read(api: Api) -> None:
    """By id, as a list, field by field."""
    made = [await api.post("/budget/new", {"max_budget": index}) for index in range(2)]

    assert made[0]["budget_id"].startswith("budget-")
    assert made == await api.post("/budget/info", {"budgets": [budget["budget_id"] for budget in made]})
    assert made[::-1] == await api.get("/budget/list")
    settings = await api.get("/budget/settings", budget_id=made[1]["budget_id"])
    assert {"max_budget": 1, "rpm_limit": None} == {
        setting["field_name"]: setting["field_value"]
        for setting in settings
        if setting["field_name"] in ("max_budget", "rpm_limit")
    }


async def test_end_users(api: Api) -> None:
    """Both names of the routes; what is set is there for calls at once."""
    made = await api.post(
        "/customer/new",
        {"user_id": "acme", "alias": "Acme", "max_budget": 5, "budget_duration": "1d", "rpm_limit": 3, "models": ["m"]},
    )
    api.spend("end_user:acme", USD)

    end_user = api.registry.directory.end_user("acme")
    assert end_user is not None
    assert (False, ("m",), [("end_user:acme", 'end user "acme"', 5 * USD)]) == (
        end_user.blocked,
        end_user.models,
        [(charge.account, charge.name, charge.budget.limit) for charge in end_user.charges],
    )
    assert (("end_user acme", Limit(requests=3, tokens=None, parallel=None)),) == end_user.limits
    assert ("acme", "Acme", 5, 5) == (
        made["user_id"],
        made["alias"],
        made["max_budget"],
        made["litellm_budget_table"]["max_budget"],
    )
    told = await api.get("/end_user/info", end_user_id="acme")
    assert (1.0, False) == (told["spend"], told["blocked"])
    await api.post("/end_user/update", {"user_id": "acme", "max_budget": 9, "alias": None})
    (row,) = await api.get("/customer/list")
    assert (9, None) == (row["max_budget"], row["alias"])
    blocked = await api.post("/customer/block", {"user_ids": ["acme", "unheard-of"]})
    assert [True, True] == [row["blocked"] for row in blocked["blocked_users"]]
    for name in ("acme", "unheard-of"):
        end_user = api.registry.directory.end_user(name)
        assert end_user is not None
        assert end_user.blocked
    await api.post("/customer/unblock", {"user_ids": ["acme"]})
    assert 2 == (await api.post("/customer/delete", {"user_ids": ["acme", "unheard-of"]}))["deleted_customers"]
    assert api.registry.directory.end_user("acme") is None


async def test_tags_bind_keys_that_have_them(api: Api) -> None:
    """A tag with a budget is a budget of every key that has the tag."""
    key = (await api.post("/key/generate", {"tags": ["prod", "free"]}))["key"]
    made = await api.post(
        "/tag/new", {"name": "prod", "description": "in production", "max_budget": 5, "budget_duration": "30d"}
    )
    api.spend("tag:prod", USD)

    caller = api.caller(key)
    assert caller is not None
    assert [("tag:prod", 'tag "prod"', 5 * USD)] == [
        (charge.account, charge.name, charge.budget.limit) for charge in caller.policy.budgets
    ]
    assert ("Tag prod created successfully", "in production") == (made["message"], made["tag"]["description"])
    told = await api.post("/tag/info", {"names": ["prod"]})
    assert (["prod"], 1.0) == (list(told), told["prod"]["spend"])
    assert 7 == (await api.post("/tag/update", {"name": "prod", "max_budget": 7}))["tag"]["max_budget"]
    assert ["prod"] == [tag["name"] for tag in await api.get("/tag/list")]
    await api.post("/tag/delete", {"name": "prod"})
    caller = api.caller(key)
    assert caller is not None
    assert ((), ("prod", "free")) == (caller.policy.budgets, caller.tags)


@pytest.mark.parametrize(
    ("path", "body", "status", "field"),
    [
        ("/budget/new", {"budget_id": "b1"}, 409, "budget_id"),
        ("/budget/new", {"max_budget": "5"}, 400, "max_budget"),
        ("/budget/new", {"budget_reset_at": "2026-01-01"}, 400, "budget_reset_at"),
        ("/budget/new", {"maxbudget": 5}, 400, "maxbudget"),
        ("/budget/update", {"budget_id": "b9"}, 404, "budget_id"),
        ("/budget/update", {}, 400, "budget_id"),
        ("/budget/info", {"budgets": ["b9"]}, 404, "budgets[0]"),
        ("/budget/info", {}, 400, "budgets"),
        ("/budget/delete", {"id": "b9"}, 404, "id"),
        ("/budget/delete", {"budget_id": "b1"}, 400, "budget_id"),
        ("/customer/new", {"user_id": "acme"}, 409, "user_id"),
        ("/customer/new", {}, 400, "user_id"),
        ("/customer/new", {"user_id": "x", "allowed_model_region": "eu"}, 400, "allowed_model_region"),
        ("/customer/new", {"user_id": "x", "budget_id": "b9"}, 404, "budget_id"),
        ("/customer/update", {"user_id": "x"}, 404, "user_id"),
        ("/customer/delete", {"user_ids": ["acme", "x"]}, 404, "user_ids[1]"),
        ("/customer/unblock", {"user_ids": ["x"]}, 404, "user_ids[0]"),
        ("/customer/block", {"user_ids": "acme"}, 400, "user_ids"),
        ("/tag/new", {"name": "prod"}, 409, "name"),
        ("/tag/new", {"name": "x" * 65}, 400, "name"),
        ("/tag/new", {}, 400, "name"),
        ("/tag/new", {"name": "x", "models": ["m"]}, 400, "models"),
        ("/tag/update", {"name": "x"}, 404, "name"),
        ("/tag/info", {"names": ["prod", "x"]}, 404, "names[1]"),
        ("/tag/delete", {"name": "x"}, 404, "name"),
    ],
)
async def test_wrong_ones(api: Api, path: str, body: dict[str, Any], status: int, field: str) -> None:
    """What is wrong, not there or taken is named, and nothing is written."""
    await api.post("/budget/new", {"budget_id": "b1"})
    await api.post("/customer/new", {"user_id": "acme"})
    await api.post("/tag/new", {"name": "prod"})

    assert (status, field) == (await api.refused(path, body))[:2]


async def test_only_administrators(api: Api) -> None:
    """Others neither change nor read budgets, tags and end users."""
    key = (await api.post("/user/new", {"user_id": "u1"}))["key"]

    for path in (
        *("/budget/new", "/budget/update", "/budget/delete", "/budget/info", "/customer/new", "/customer/update"),
        *("/customer/delete", "/customer/block", "/customer/unblock", "/tag/new", "/tag/update", "/tag/delete"),
        "/tag/info",
    ):
        assert 403 == (await api.refused(path, {}, key=key))[0]
    for path in ("/budget/list", "/budget/settings", "/customer/info", "/customer/list", "/tag/list"):
        status, told = await api.call("GET", path, key=key)
        assert 403 == refusal(status, told)[0]
