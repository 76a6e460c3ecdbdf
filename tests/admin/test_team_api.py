"""Teams and their members over HTTP, as LiteLLM's documentation drives them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from administered import Api, administered, refusal

from bedrock_gateway.errors import Unauthenticated

USD = 1_000_000_000


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    """Serve the admin API."""
    async with administered(tmp_path) as api:
        yield api


async def test_a_team_is_made_with_members(api: Api) -> None:
    """The answer is the team's row; what is set on it holds for its keys."""
    told = await api.post(
        "/team/new",
        {
            "team_id": "t1",
            "team_alias": "research",
            "members_with_roles": [{"role": "admin", "user_id": "u1"}, {"role": "user", "user_email": "x@example.com"}],
            "models": ["claude", "nova"],
            "model_aliases": {"gpt-4": "claude"},
            "max_budget": 100,
            "budget_duration": "7d",
            "tpm_limit": 1000,
            "rpm_limit": 10,
            "model_rpm_limit": {"claude": 5},
            "tags": ["lab"],
            "metadata": {"cost_center": 4},
            "team_member_budget": 3,
            "team_member_budget_duration": "1d",
            "team_member_rpm_limit": 2,
        },
    )
    key = (await api.post("/key/generate", {"team_id": "t1", "user_id": "u1", "models": ["all-team-models"]}))["key"]

    assert {
        "team_id": "t1",
        "team_alias": "research",
        "models": ["claude", "nova"],
        "max_budget": 100,
        "budget_reset_at": "2026-11-23T00:00:00.000Z",
        "admins": ["u1"],
        "spend": 0.0,
        "litellm_model_table": {"model_aliases": {"gpt-4": "claude"}},
        "team_member_budget": 3,
        "blocked": False,
    }.items() <= told.items()
    assert [("admin", "u1", None), ("user", "user-", "x@example.com")] == [
        (member["role"], member["user_id"][:5], member["user_email"]) for member in told["members_with_roles"]
    ]
    caller = api.caller(key)
    assert caller is not None
    policy = caller.policy
    assert ("t1", ("lab",), (("claude", "nova"),), {"gpt-4": "claude"}) == (
        caller.team,
        caller.tags,
        policy.models,
        policy.aliases,
    )
    assert [("team:t1", 100 * USD), ("member:t1/u1", 3 * USD)] == [
        (charge.account, charge.budget.limit) for charge in policy.budgets
    ]
    assert ["team t1", "member t1/u1"] == [name for name, _ in policy.limits]
    assert ["model team t1/claude"] == [name for name, _ in policy.model_limits["claude"]]


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"team_id": "t1"}, 409, "team_id"),
        ({"team_alias": "research"}, 409, "team_alias"),
        ({"team_id": "a/b"}, 400, "team_id"),
        ({"members_with_roles": [{"role": "boss", "user_id": "u"}]}, 400, "members_with_roles[0].role"),
        ({"members_with_roles": [{"role": "user"}]}, 400, "members_with_roles[0].user_id"),
        ({"members_with_roles": [{"user_id": "u"}, {"user_id": "u"}]}, 409, "user_id"),
        ({"members_with_roles": ["u"]}, 400, "members_with_roles[0]"),
        ({"guardrails": ["x"]}, 400, "guardrails"),
        ({"max_budget": -1}, 400, "max_budget"),
        ({"model_aliases": {"a": 1}}, 400, "model_aliases.a"),
        ({"budget_id": "b9"}, 404, "budget_id"),
        ({"members": ["u"]}, 400, "members"),
    ],
)
async def test_wrong_teams(api: Api, body: dict[str, Any], status: int, field: str) -> None:
    """What is wrong, not there or taken is named, and nothing is written, no member either."""
    await api.post("/team/new", {"team_id": "t1", "team_alias": "research"})

    assert (status, field) == (await api.refused("/team/new", body))[:2]


async def test_update_and_block(api: Api) -> None:
    """A change acts on the team's keys at once."""
    await api.post("/team/new", {"team_id": "t1", "max_budget": 5})
    key = (await api.post("/key/generate", {"team_id": "t1"}))["key"]

    told = await api.post("/team/update", {"team_id": "t1", "max_budget": 7, "team_alias": "new"})
    caller = api.caller(key)

    assert ("t1", 7, "new") == (told["team_id"], told["data"]["max_budget"], told["data"]["team_alias"])
    assert caller is not None
    assert [7 * USD] == [charge.budget.limit for charge in caller.policy.budgets]
    assert (await api.post("/team/block", {"team_id": "t1"}))["blocked"]
    with pytest.raises(Unauthenticated, match="The team this key belongs to is blocked"):
        api.caller(key)
    assert not (await api.post("/team/unblock", {"team_id": "t1"}))["blocked"]
    assert api.caller(key) is not None
    for path in ("/team/update", "/team/block", "/team/unblock"):
        assert (404, "team_id") == (await api.refused(path, {"team_id": "t9"}))[:2]
        assert (400, "team_id") == (await api.refused(path, {}))[:2]


async def test_delete_takes_keys_and_members(api: Api) -> None:
    """A team that goes takes its keys along; its users stay."""
    await api.post("/team/new", {"team_id": "t1", "members_with_roles": [{"role": "user", "user_id": "u1"}]})
    key = (await api.post("/key/generate", {"team_id": "t1"}))["key"]

    assert (404, "team_ids[1]") == (await api.refused("/team/delete", {"team_ids": ["t1", "t9"]}))[:2]
    assert {"deleted_teams": ["t1"]} == await api.post("/team/delete", {"team_ids": ["t1"]})
    everything = api.everything()
    assert ([("user", "u1")], [], []) == (
        [row[:2] for row in everything["subjects"]],
        everything["members"],
        everything["key_digests"],
    )
    assert api.caller(key) is None


async def test_members(api: Api) -> None:
    """Members come, are given a budget and limits, and go with their keys of the team."""
    await api.post("/team/new", {"team_id": "t1", "team_alias": "research"})
    added = await api.post(
        "/team/member_add",
        {"team_id": "t1", "member": {"role": "user", "user_id": "u1"}, "max_budget_in_team": 2, "rpm_limit": 4},
    )
    many = await api.post("/team/member_add", {"team_id": "t1", "member": [{"user_id": "u2"}, {"user_id": "u3"}]})
    key = (await api.post("/key/generate", {"team_id": "t1", "user_id": "u1"}))["key"]
    own = (await api.post("/key/generate", {"user_id": "u1"}))["key"]
    api.spend("member:t1/u1", 3 * USD)

    assert (["u1"], ["u1"], ["u2", "u3"]) == (
        added["members"],
        [user["user_id"] for user in added["updated_users"]],
        [membership["user_id"] for membership in many["updated_team_memberships"]],
    )
    info = await api.get("/team/info", team_id="t1")
    assert ["u1", "u2", "u3"] == info["team_info"]["members"]
    membership = info["team_memberships"][0]
    assert ("u1", "t1", 3.0, 2.0, 4) == (
        membership["user_id"],
        membership["team_id"],
        membership["spend"],
        membership["litellm_budget_table"]["max_budget"],
        membership["litellm_budget_table"]["rpm_limit"],
    )
    told = await api.post(
        "/team/member_update", {"team_id": "t1", "user_id": "u1", "role": "admin", "max_budget_in_team": 9}
    )
    assert ("admin", 9, 4) == (told["role"], told["max_budget_in_team"], told["rpm_limit"])
    caller = api.caller(key)
    assert caller is not None
    assert [("member:t1/u1", 'member "u1" of team "research"', 9 * USD)] == [
        (charge.account, charge.name, charge.budget.limit) for charge in caller.policy.budgets
    ]
    left = await api.post("/team/member_delete", {"team_id": "t1", "user_id": "u1"})
    assert ["u2", "u3"] == left["members"]
    assert api.caller(key) is None
    assert api.caller(own) is not None


@pytest.mark.parametrize(
    ("path", "body", "status", "field"),
    [
        ("add", {"team_id": "t9", "member": {"user_id": "u2"}}, 404, "team_id"),
        ("add", {"team_id": "t1", "member": {"user_id": "u1"}}, 409, "user_id"),
        ("add", {"team_id": "t1"}, 400, "member"),
        ("add", {"member": {"user_id": "u2"}}, 400, "team_id"),
        ("add", {"team_id": "t1", "member": [{"user_id": "u2"}, {"user_id": "u1"}]}, 409, "user_id"),
        ("add", {"team_id": "t1", "member": {"user_id": "u2"}, "max_budget_in_team": "1"}, 400, "max_budget_in_team"),
        ("add", {"team_id": "t1", "member": {"user_id": "u2", "rôle": "x"}}, 400, "member.r\\u00f4le"),
        ("update", {"team_id": "t1", "user_id": "u9"}, 404, "user_id"),
        ("update", {"team_id": "t1"}, 400, "user_id"),
        ("update", {"team_id": "t1", "user_id": "u1", "role": "boss"}, 400, "role"),
        ("delete", {"team_id": "t1", "user_id": "u9"}, 404, "user_id"),
        ("delete", {"team_id": "t1", "user_email": "u9@example.com"}, 404, "user_email"),
        ("delete", {"team_id": "t1", "user": "u1"}, 400, "user"),
    ],
)
async def test_wrong_members(api: Api, path: str, body: dict[str, Any], status: int, field: str) -> None:
    """What is wrong, not there or there already is named; of several members all come or none."""
    await api.post("/team/new", {"team_id": "t1", "members_with_roles": [{"role": "user", "user_id": "u1"}]})

    assert (status, field) == (await api.refused(f"/team/member_{path}", body))[:2]


async def test_who_reads_a_team(api: Api) -> None:
    """Administrators, and members with a role; these see of its keys their own."""
    await api.post("/team/new", {"team_id": "t1", "members_with_roles": [{"role": "user", "user_id": "u1"}]})
    await api.post("/team/new", {"team_id": "t2", "team_alias": "other"})
    await api.post("/user/update", {"user_id": "u1", "user_role": "internal_user_viewer"})
    own = (await api.post("/key/generate", {"team_id": "t1", "user_id": "u1"}))["key"]
    nobody = (await api.post("/key/generate", {"team_id": "t1"}))["key"]

    assert [2, 1] == [len((await api.get("/team/info", team_id="t1", **who))["keys"]) for who in ({}, {"key": own})]
    assert ["t1"] == [team["team_id"] for team in await api.get("/team/list", key=own)]
    for key, path, params in (
        (own, "/team/info", {"team_id": "t2"}),
        (nobody, "/team/info", {"team_id": "t1"}),
        (nobody, "/team/list", {}),
        (own, "/team/list", {"user_id": "u2"}),
    ):
        status, told = await api.call("GET", path, key=key, params=params)
        assert 403 == refusal(status, told)[0]
    for path in ("new", "update", "delete", "block", "unblock", "member_add", "member_update", "member_delete"):
        assert 403 == (await api.refused(f"/team/{path}", {"team_id": "t1"}, key=own))[0]


async def test_teams_are_listed(api: Api) -> None:
    """As a bare list, whose header tells how many there are, and in pages."""
    for index in range(3):
        api.now += 1000
        await api.post("/team/new", {"team_id": f"t{index}", "team_alias": f"team {index}"})

    assert ["t2", "t1", "t0"] == [team["team_id"] for team in await api.get("/team/list")]
    page = await api.get("/v2/team/list", page="2", page_size="2")
    assert (["t0"], 3, 2, 2, 2) == ([team["team_id"] for team in page["teams"]], *list(page.values())[1:])
    found = await api.get("/v2/team/list", team_alias="TEAM 1")
    assert ["t1"] == [team["team_id"] for team in found["teams"]]
    status, told = await api.call("GET", "/team/info", params={"team_id": "t9"})
    assert (404, "team_id") == refusal(status, told)[:2]
