"""Users over HTTP, as LiteLLM's documentation drives them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from administered import NOW, Api, administered, refusal

from bedrock_gateway.errors import Unauthenticated


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    """Serve the admin API."""
    async with administered(tmp_path) as api:
        yield api


async def test_a_user_is_made_with_a_key(api: Api) -> None:
    """The answer is a key object with the user's fields; the key is the user's."""
    await api.post("/team/new", {"team_id": "t1"})

    told = await api.post(
        "/user/new",
        {
            "user_id": "ishaan",
            "user_email": "ishaan@example.com",
            "user_alias": "Ishaan",
            "user_role": "internal_user",
            "teams": ["t1"],
            "models": ["claude"],
            "max_budget": 100,
            "budget_duration": "30d",
            "tpm_limit": 1000,
            "rpm_limit": 10,
            "key_alias": "ishaan-laptop",
            "duration": "30d",
            "metadata": {"floor": 3},
            "send_invite_email": False,
        },
    )

    assert {
        "user_id": "ishaan",
        "user_email": "ishaan@example.com",
        "user_alias": "Ishaan",
        "user_role": "internal_user",
        "teams": ["t1"],
        "models": ["claude"],
        "max_budget": 100,
        "budget_reset_at": "2026-12-01T00:00:00.000Z",
        "tpm_limit": 1000,
        "metadata": {"floor": 3},
        "key_alias": "ishaan-laptop",
        "expires": "2026-12-18T11:06:40.000Z",
        "spend": 0.0,
    }.items() <= told.items()
    caller = api.caller(told["key"])
    assert caller is not None
    assert ("ishaan", (("claude",),), ["user:ishaan"], ["user ishaan"]) == (
        caller.user,
        caller.policy.models,
        [charge.account for charge in caller.policy.budgets],
        [name for name, _ in caller.policy.limits],
    )


async def test_a_user_without_a_key(api: Api) -> None:
    """``auto_create_key: false`` makes none, and takes no field of one; an id is made where none is given."""
    told = await api.post("/user/new", {"auto_create_key": False})

    assert ("", "user-", "internal_user") == (told["key"], told["user_id"][:5], told["user_role"])
    assert 0 == api.registry.directory.key_count
    assert (400, "key_alias") == (await api.refused("/user/new", {"auto_create_key": False, "key_alias": "x"}))[:2]


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"user_id": "u1"}, 409, "user_id"),
        ({"user_email": "u1@example.com"}, 409, "user_email"),
        ({"teams": ["t9"]}, 404, "teams"),
        ({"teams": "t1"}, 400, "teams"),
        ({"user_role": "org_admin"}, 400, "user_role"),
        ({"user_role": None, "password": "x"}, 400, "password"),
        ({"organizations": ["o1"]}, 400, "organizations"),
        ({"max_budget": "a"}, 400, "max_budget"),
        ({"model_max_budget": {"m": 1}}, 400, "model_max_budget"),
        ({"user_rolle": "internal_user"}, 400, "user_rolle"),
        ({"budget_id": "b9"}, 404, "budget_id"),
        ({"key_alias": "taken"}, 409, "key_alias"),
    ],
)
async def test_wrong_users(api: Api, body: dict[str, Any], status: int, field: str) -> None:
    """What is wrong, not there or taken is named, and neither user nor key is written."""
    await api.post("/user/new", {"user_id": "u1", "user_email": "u1@example.com", "key_alias": "taken"})

    assert (status, field) == (await api.refused("/user/new", body))[:2]


async def test_update_by_id_and_by_address(api: Api) -> None:
    """What is given changes for all keys of the user at once; unknown users are 404."""
    key = (await api.post("/user/new", {"user_id": "u1", "user_email": "u1@example.com", "max_budget": 5}))["key"]

    told = await api.post("/user/update", {"user_id": "u1", "max_budget": None, "rpm_limit": 3, "blocked": True})

    assert ("u1", None, 3, True) == (
        told["user_id"],
        told["data"]["max_budget"],
        told["data"]["rpm_limit"],
        told["data"]["blocked"],
    )
    with pytest.raises(Unauthenticated, match="The user this key belongs to is blocked"):
        api.caller(key)
    told = await api.post("/user/update", {"user_email": "u1@example.com", "blocked": False})
    assert ("u1@example.com", False) == (told["data"]["user_email"], told["data"]["blocked"])
    assert api.caller(key) is not None
    assert (404, "user_id") == (await api.refused("/user/update", {"user_id": "u9"}))[:2]
    assert (404, "user_email") == (await api.refused("/user/update", {"user_email": "u9@example.com"}))[:2]
    assert (400, "user_id") == (await api.refused("/user/update", {"max_budget": 3}))[:2]


async def test_teams_of_a_user_are_set(api: Api) -> None:
    """``teams`` says which they are from now on."""
    for team in ("t1", "t2"):
        await api.post("/team/new", {"team_id": team})
    await api.post("/user/new", {"user_id": "u1", "teams": ["t1"]})

    told = await api.post("/user/update", {"user_id": "u1", "teams": ["t2"]})

    assert ["t2"] == told["data"]["teams"]


async def test_delete_takes_the_keys_too(api: Api) -> None:
    """A user that goes takes its keys along; all that are named or none."""
    key = (await api.post("/user/new", {"user_id": "u1"}))["key"]
    await api.post("/key/generate", {"user_id": "u1"})

    assert (404, "user_ids[1]") == (await api.refused("/user/delete", {"user_ids": ["u1", "u9"]}))[:2]
    assert 1 == await api.post("/user/delete", {"user_ids": ["u1"]})
    assert (None, 0) == (api.caller(key), api.registry.directory.key_count)
    assert [[], []] == [api.everything()[table] for table in ("subjects", "key_digests")]


async def test_info_shows_keys_and_teams(api: Api) -> None:
    """A user is read with what belongs to it; by itself too, and by nobody else."""
    await api.post("/team/new", {"team_id": "t1", "team_alias": "research"})
    key = (await api.post("/user/new", {"user_id": "u1", "teams": ["t1"], "max_budget": 5}))["key"]
    api.spend("user:u1", 1_500_000_000, NOW)
    other = (await api.post("/user/new", {"user_id": "u2"}))["key"]

    told = await api.get("/user/info", user_id="u1")

    assert ("u1", 1.5, 1, ["research"]) == (
        told["user_id"],
        told["user_info"]["spend"],
        len(told["keys"]),
        [team["team_alias"] for team in told["teams"]],
    )
    assert told == await api.get("/user/info", key=key)
    assert told["user_info"] == await api.get("/v2/user/info", user_id="u1")
    for params, asked, expected in (
        ({"user_id": "u1"}, other, (403, None)),
        ({"user_id": "u9"}, "", (404, "user_id")),
        ({}, "", (400, "user_id")),
    ):
        status, answer = await api.call("GET", "/user/info", params=params, **({"key": asked} if asked else {}))
        assert expected == refusal(status, answer)[:2]


async def test_users_are_listed_in_pages(api: Api) -> None:
    """Pages and filters; for those who may read everything."""
    for index in range(3):
        api.now += 1000
        role = "proxy_admin_viewer" if index == 2 else "internal_user"
        told = await api.post(
            "/user/new", {"user_id": f"u{index}", "user_email": f"u{index}@example.com", "user_role": role}
        )

    page = await api.get("/user/list", page="2", page_size="2", key=told["key"])

    assert (["u0"], 3, 2, 2, 2) == ([user["user_id"] for user in page["users"]], *list(page.values())[1:])
    for params, expected in (
        ({"role": "internal_user"}, ["u1", "u0"]),
        ({"user_ids": "u0, u2,u9"}, ["u2", "u0"]),
        ({"user_email": "U1@"}, ["u1"]),
    ):
        assert expected == [user["user_id"] for user in (await api.get("/user/list", **params))["users"]]


async def test_only_administrators_change_users(api: Api) -> None:
    """An internal_user makes nobody an administrator, itself least."""
    key = (await api.post("/user/new", {"user_id": "u1"}))["key"]

    for path, body in (
        ("/user/new", {"user_role": "proxy_admin"}),
        ("/user/update", {"user_id": "u1", "user_role": "proxy_admin"}),
        ("/user/delete", {"user_ids": ["u1"]}),
    ):
        assert 403 == (await api.refused(path, body, key=key))[0]
    status, told = await api.call("GET", "/user/list", key=key)
    assert 403 == refusal(status, told)[0]
