"""Keys over HTTP, as LiteLLM's documentation drives them."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from administered import MASTER, NOW, Api, administered, refusal

from bedrock_gateway.access.callers import Role
from bedrock_gateway.access.directory import Defaults
from bedrock_gateway.errors import Unauthenticated

DAY = 86_400_000


@pytest_asyncio.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    """Serve the admin API."""
    async with administered(tmp_path) as api:
        yield api


async def test_a_key_is_generated_as_documented(api: Api) -> None:
    """Every field that means something is answered truly, the rest as LiteLLM shows it."""
    told = await api.post(
        "/key/generate",
        {
            "key_alias": "ci",
            "duration": "30d",
            "models": ["claude", "nova-*"],
            "aliases": {"gpt-4": "claude"},
            "max_budget": 10.5,
            "soft_budget": 8,
            "budget_duration": "30d",
            "tpm_limit": 100000,
            "rpm_limit": 60,
            "max_parallel_requests": 5,
            "user_id": "u1",
            "metadata": {"owner": "platform"},
            "config": {},
            "spend": 0,
            "permissions": {},
            "send_invite_email": False,
        },
    )

    key = told["key"]
    assert key.startswith("sk-") and len(key) == 46
    sha256 = hashlib.sha256(key.encode()).hexdigest()
    assert (sha256, sha256, f"sk-...{key[-4:]}", "ci") == (
        told["token"],
        told["token_id"],
        told["key_name"],
        told["key_alias"],
    )
    assert {
        "expires": "2026-12-18T11:06:40.000Z",
        "duration": "30d",
        "user_id": "u1",
        "team_id": None,
        "models": ["claude", "nova-*"],
        "aliases": {"gpt-4": "claude"},
        "config": {},
        "spend": 0.0,
        "max_budget": 10.5,
        "soft_budget": 8,
        "budget_duration": "30d",
        "budget_reset_at": "2026-12-01T00:00:00.000Z",
        "tpm_limit": 100000,
        "rpm_limit": 60,
        "max_parallel_requests": 5,
        "metadata": {"owner": "platform"},
        "blocked": False,
        "status": "active",
        "created_by": "master",
        "created_at": "2026-11-18T11:06:40.000Z",
    }.items() <= told.items()
    caller = api.caller(key)
    assert caller is not None
    assert (told["key_id"], "ci", "u1") == (caller.id, caller.name, caller.user)


async def test_no_secret_is_kept_or_told_twice(api: Api) -> None:
    """The key stands in no table, and in no answer but the first."""
    told = await api.post("/key/generate", {"key_alias": "ci"})
    key = told["key"]

    again = [
        await api.get("/key/info", key=key),
        await api.get("/key/list", return_full_object="true"),
        await api.post("/key/update", {"key": key, "max_budget": 1}),
        await api.post("/key/block", {"key": key}),
    ]

    assert key not in repr(again)
    assert key not in repr(api.everything())
    for file in api.database.parent.iterdir():
        assert key.encode() not in file.read_bytes()


async def test_a_key_of_ones_own(api: Api) -> None:
    """A key can be brought along, once."""
    own = "sk-brought-along-0123456789"

    told = await api.post("/key/generate", {"key": own})

    assert own == told["key"]
    assert (409, "key", "key: this key is there already; choose another") == await api.refused(
        "/key/generate", {"key": own}
    )


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"key_aliass": "x"}, "key_aliass"),
        ({"max_budget": "10"}, "max_budget"),
        ({"max_budget": -1}, "max_budget"),
        ({"max_budget": True}, "max_budget"),
        ({"max_budget": 1e300}, "max_budget"),
        ({"budget_duration": "soon"}, "budget_duration"),
        ({"budget_duration": "7m"}, "budget_duration"),
        ({"duration": 30}, "duration"),
        ({"rpm_limit": 1.5}, "rpm_limit"),
        ({"rpm_limit": -1}, "rpm_limit"),
        ({"tpm_limit": 10**30}, "tpm_limit"),
        ({"models": "claude"}, "models"),
        ({"models": ["claude", 5]}, "models[1]"),
        ({"aliases": {"a": None}}, "aliases.a"),
        ({"metadata": []}, "metadata"),
        ({"tags": ["x" * 65]}, "tags[0]"),
        ({"key_alias": "x" * 257}, "key_alias"),
        ({"key_alias": "a\nb"}, "key_alias"),
        ({"key_alias": "\ud800"}, "key_alias"),
        ({"key_alias": ""}, "key_alias"),
        ({"user_id": "sk-0123456789abcdefghij"}, "user_id"),
        ({"key": "short"}, "key"),
        ({"key": "sk-with/a/slash-0123456789"}, "key"),
        ({"key_type": "admin"}, "key_type"),
        ({"guardrails": ["pii"]}, "guardrails"),
        ({"metadata": {"guardrails": ["pii"]}}, "metadata.guardrails"),
        ({"allowed_routes": ["/chat"]}, "allowed_routes"),
        ({"tpd_limit": 0}, "tpd_limit"),
        ({"spend": 5}, "spend"),
        ({"budget_limits": [{"max_budget": 5}]}, "budget_limits[0].budget_duration"),
        ({"model_max_budget": {"m": {"budget_limit": -1}}}, "model_max_budget.m.budget_limit"),
        ({"budget_timezone": "Europe/Nowhere"}, "budget_timezone"),
        ({"allowed_operations": ["a b"]}, "allowed_operations[0]"),
        ({"allowed_operations": ["Converse", "Convrese"]}, "allowed_operations[1]"),
    ],
)
async def test_wrong_fields_are_named(api: Api, body: dict[str, Any], field: str) -> None:
    """Wrong types, bounds and names are 400 with the field named, and nothing is written."""
    status, param, message = await api.refused("/key/generate", {"key_alias": "ci", **body})

    assert (400, field) == (status, param)
    assert message.startswith(f"{field}: ")


@pytest.mark.parametrize("path", ["/key/generate", "/key/update", "/key/regenerate"])
async def test_an_operation_that_nothing_is_called_is_refused(api: Api, path: str) -> None:
    """A slip in a list of operations is 400 with the name that was meant, wherever keys are written."""
    key = {} if path == "/key/generate" else {"key": (await api.post("/key/generate"))["key"]}

    assert (
        400,
        "allowed_operations[0]",
        'allowed_operations[0]: "bedrock:Invoke*" names no operation; did you mean bedrock-runtime:Invoke*?',
    ) == await api.refused(path, {**key, "allowed_operations": ["bedrock:Invoke*"]})


async def test_unknown_ids_are_404(api: Api) -> None:
    """What a key names has to be there."""
    assert (404, "team_id") == (await api.refused("/key/generate", {"team_id": "t1", "user_id": "u9"}))[:2]
    assert (404, "budget_id") == (await api.refused("/key/generate", {"budget_id": "b1"}))[:2]
    for path in ("/key/update", "/key/block", "/key/unblock", "/key/regenerate"):
        assert (404, "key") == (await api.refused(path, {"key": "sk-nobody-has-this-key-000"}))[:2]
    assert (404, "keys[0]") == (await api.refused("/key/delete", {"keys": ["key-000000000000"]}))[:2]
    assert (404, "key_aliases[0]") == (await api.refused("/key/delete", {"key_aliases": ["x"]}))[:2]


async def test_an_alias_is_taken_once(api: Api) -> None:
    """A second key of an alias is 409, made or renamed."""
    await api.post("/key/generate", {"key_alias": "ci"})
    other = await api.post("/key/generate", {"key_alias": "other"})

    assert (409, "key_alias") == (await api.refused("/key/generate", {"key_alias": "ci"}))[:2]
    assert (409, "key_alias") == (await api.refused("/key/update", {"key": other["token"], "key_alias": "ci"}))[:2]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "The body is no JSON (line 1, column 2)."),
        (b"[]", "The body must be a JSON object, not list."),
        (b'{"max_budget": NaN}', "The body is no JSON: NaN is no number there."),
        (b'{"max_budget": -Infinity}', "The body is no JSON: -Infinity is no number there."),
        (b'{"key_alias": "\xff"}', "The body is no JSON."),
        (b'{"a": ' * 100_000, "The body is nested too deeply."),
        (b'{"models": [], "models": ["x"]}', "models: is said twice"),
    ],
)
async def test_bodies_that_are_none(api: Api, body: bytes, message: str) -> None:
    """A body that is no JSON object, or says something twice, is 400."""
    status, told = await api.call("POST", "/key/generate", data=body)

    assert (400, message) == (status, refusal(status, told)[2])


async def test_a_huge_body_is_refused(api: Api) -> None:
    """A body over a mebibyte is 413."""
    status, told = await api.call("POST", "/key/generate", data=io.BytesIO(b" " * (1024 * 1024 + 1)))

    assert 413 == refusal(status, told)[0]


async def test_a_body_of_many_names_is_read_in_no_time(api: Api) -> None:
    """The name that stands twice among a hundred thousand is found at once: nobody else waits for it."""
    names = [f"k{index}" for index in range(90_000)]
    body = "{" + ",".join(f'"{name}":0' for name in (*names, names[-1])) + "}"

    async with asyncio.timeout(10):
        status, told = await api.call("POST", "/key/generate", data=body.encode())

    assert (400, "k89999") == refusal(status, told)[:2]


async def test_a_body_comes_in_time(tmp_path: Path) -> None:
    """A body that does not end is 408, and nothing of it is written later."""
    async with administered(tmp_path, body_seconds=0.05) as api:

        async def endless() -> AsyncIterator[bytes]:
            yield b'{"key_alias": "late"'
            await asyncio.Event().wait()

        status, told = await api.call("POST", "/key/generate", data=endless())

        assert (408, None) == refusal(status, told)[:2]
        assert [] == api.everything()["subjects"]


async def test_update_changes_what_is_given(api: Api) -> None:
    """Fields not given stay, null takes a field away, and the directory follows at once."""
    key = (await api.post("/key/generate", {"key_alias": "ci", "max_budget": 5, "rpm_limit": 3, "duration": "1d"}))[
        "key"
    ]

    told = await api.post(
        "/key/update", {"key": key, "max_budget": None, "tpm_limit": 7, "duration": "-1", "key_alias": "new"}
    )

    assert (None, 3, 7, None, "new") == tuple(
        told[field] for field in ("max_budget", "rpm_limit", "tpm_limit", "expires", "key_alias")
    )
    caller = api.caller(key)
    assert caller is not None
    assert ((), "new") == (caller.policy.budgets, caller.name)
    by_alias = await api.post("/key/update", {"key_alias": "new", "rpm_limit": 9})
    assert (9, "new") == (by_alias["rpm_limit"], by_alias["key_alias"])


async def test_info_by_every_name(api: Api) -> None:
    """A key is found by itself, its hash and its id; it may read itself without saying which."""
    made = await api.post("/key/generate", {"key_alias": "ci"})

    found = []
    for name in ("key", "token", "key_id"):
        status, told = await api.call("GET", "/key/info", params={"key": made[name]})
        found.append((status, told["key"], told["info"]["key_alias"]))
    own = await api.get("/key/info", key=made["key"])

    assert [(200, made["token"], "ci")] * 3 == found
    assert (made["token"], False) == (own["key"], "token" in own["info"])
    many = await api.post("/v2/key/info", {"keys": [made["token"]]})
    assert ([made["token"]], "ci") == (many["key"], many["info"][0]["key_alias"])


async def test_spend_is_of_the_window(api: Api) -> None:
    """``spend`` is the window's, ``total_spend`` all there was; models and concurrent budgets have their own."""
    made = await api.post(
        "/key/generate",
        {
            "max_budget": 5,
            "budget_duration": "30d",
            "budget_limits": [{"budget_duration": "1d", "max_budget": 1}],
            "model_max_budget": {"claude": {"budget_limit": "0.5", "time_period": "1d"}, "nova": 2},
        },
    )
    for days, nano in ((0, 10_000_000), (1, 200_000_000), (30, 3_000_000_000)):
        api.spend(f"key:{made['key_id']}", nano, NOW - days * DAY)
    api.spend(f"model:{made['key_id']}/claude", 7_000_000)

    info = (await api.get("/key/info", key=made["key"]))["info"]

    assert (0.21, 3.21, "2026-12-01T00:00:00.000Z") == (
        info["spend"],
        info["total_spend"],
        info["budget_reset_at"],
    )
    assert [
        {"budget_duration": "1d", "max_budget": 1.0, "spend": 0.01, "reset_at": "2026-11-19T00:00:00.000Z"}
    ] == info["budget_limits_usage"]
    assert {"claude": 0.007} == info["model_spend"]
    assert {
        "claude": {"budget_duration": "1d", "max_budget": 0.5, "spend": 0.007, "reset_at": "2026-11-19T00:00:00.000Z"},
        "nova": {"budget_duration": None, "max_budget": 2.0, "spend": 0.0, "reset_at": None},
    } == info["model_max_budget_usage"]


async def test_block_and_unblock(api: Api) -> None:
    """A blocked key is out at once, and in again when unblocked."""
    key = (await api.post("/key/generate"))["key"]

    blocked = await api.post("/key/block", {"key": key})

    assert (True, "blocked") == (blocked["blocked"], blocked["status"])
    with pytest.raises(Unauthenticated):
        api.caller(key)
    status, told = await api.call("GET", "/key/info", key=key)
    assert (401, "key", "Authentication Error, The key is blocked. Ask who runs the gateway.") == refusal(status, told)
    await api.post("/key/unblock", {"key": key})
    assert api.caller(key) is not None


async def test_an_expired_key_is_told_so(api: Api) -> None:
    """An expired key is 401 of LiteLLM's type."""
    key = (await api.post("/key/generate", {"duration": "1h"}))["key"]
    api.now += 3_600_000

    status, told = await api.call("GET", "/key/info", key=key)

    assert (401, "expired_key") == (status, told["error"]["type"])


async def test_regenerate_ends_the_old_key(api: Api) -> None:
    """Without grace the old key is unknown at once and the epoch is raised; id, alias and rights stay."""
    made = await api.post("/key/generate", {"key_alias": "ci", "rpm_limit": 3})

    again = await api.post(f"/key/{made['key']}/regenerate", {"max_budget": 4})

    assert made["key"] != again["key"]
    assert (made["key_id"], "ci", 3, 4, 1) == tuple(
        again[field] for field in ("key_id", "key_alias", "rpm_limit", "max_budget", "rotation_count")
    )
    assert api.caller(made["key"]) is None
    caller = api.caller(again["key"])
    assert caller is not None
    assert 1 == caller.epoch


async def test_regenerate_with_grace(api: Api) -> None:
    """With grace both keys work until it is over, and issued credentials live on."""
    made = await api.post("/key/generate")
    new = "sk-the-new-key-0123456789"

    again = await api.post("/key/regenerate", {"key": made["token"], "new_key": new, "grace_period": "24h"})

    assert new == again["key"]
    for key in (made["key"], new):
        caller = api.caller(key)
        assert caller is not None
        assert (made["key_id"], 0) == (caller.id, caller.epoch)
    api.now += DAY
    with pytest.raises(Unauthenticated):
        api.caller(made["key"])
    assert api.caller(new) is not None


async def test_delete_takes_all_or_none(api: Api) -> None:
    """Keys are deleted by every name; one that is not there keeps all of them."""
    one, two = await api.post("/key/generate", {"key_alias": "a"}), await api.post("/key/generate", {"key_alias": "b"})

    assert (404, "keys[1]") == (await api.refused("/key/delete", {"keys": [one["key"], "key-00"]}))[:2]
    assert {"deleted_keys": [one["token"], "b"]} == await api.post(
        "/key/delete", {"keys": [one["token"]], "key_aliases": ["b"]}
    )
    assert 0 == api.registry.directory.key_count
    assert [[], []] == [api.everything()[table] for table in ("key_digests", "members")]
    assert api.caller(two["key"]) is None


async def test_lists_page_and_filter(api: Api) -> None:
    """Pages, filters, order: as hashes and as whole objects."""
    await api.post("/user/new", {"user_id": "u1", "auto_create_key": False})
    made = []
    for index in range(5):
        api.now += 1000
        body = {"key_alias": f"alias-{index}", "user_id": "u1" if index % 2 else "u2", "blocked": index == 0}
        made.append(await api.post("/key/generate", body))

    first = await api.get("/key/list", page="1", size="2")
    assert ([made[4]["token"], made[3]["token"]], 5, 1, 3) == tuple(first.values())
    last = await api.get("/key/list", page="3", size="2", sort_order="asc", return_full_object="true")
    assert ["alias-4"] == [key["key_alias"] for key in last["keys"]]
    for params, expected in (
        ({"user_id": "u1"}, [3, 1]),
        ({"key_alias": "alias-2"}, [2]),
        ({"key_alias": "ias-2"}, []),
        ({"key_alias": "ias-2", "substring_matching": "true"}, [2]),
        ({"search": "LIAS"}, [4, 3, 2, 1, 0]),
        ({"key_hash": made[1]["token"]}, [1]),
        ({"key_hash": made[1]["key"]}, [1]),
        ({"status": "blocked"}, [0]),
        ({"status": "active", "sort_by": "key_alias", "sort_order": "asc"}, [1, 2, 3, 4]),
        ({"status": "deleted"}, []),
        ({"team_id": "t1"}, []),
    ):
        told = await api.get("/key/list", **params)
        assert [made[index]["token"] for index in expected] == told["keys"], params
    names = await api.get("/key/aliases", size="2", page="2")
    assert (["alias-2", "alias-3"], 5, 2, 3, 2) == tuple(names.values())


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"page": "0"}, "page"),
        ({"page": "x"}, "page"),
        ({"size": "1001"}, "size"),
        ({"sort_by": "secret"}, "sort_by"),
        ({"return_full_object": "maybe"}, "return_full_object"),
        ({"organization_id": "o"}, "organization_id"),
        ({"status": "lost"}, "status"),
    ],
)
async def test_wrong_parameters_are_named(api: Api, params: dict[str, str], field: str) -> None:
    """A parameter that is wrong or filters nothing is 400, named."""
    status, told = await api.call("GET", "/key/list", params=params)

    assert (400, field) == refusal(status, told)[:2]


async def test_tags_and_model_limits_in_metadata(api: Api) -> None:
    """What LiteLLM keeps within the metadata is honoured there, and shown there too."""
    told = await api.post(
        "/key/generate", {"metadata": {"tags": ["prod"], "model_rpm_limit": {"claude": 5}, "owner": "x"}}
    )

    assert (["prod"], {"claude": 5}) == (told["tags"], told["model_rpm_limit"])
    assert {"tags": ["prod"], "model_rpm_limit": {"claude": 5}, "owner": "x"} == told["metadata"]
    caller = api.caller(told["key"])
    assert caller is not None
    assert (("prod",), ["claude"]) == (caller.tags, list(caller.policy.model_limits))


async def test_nobody_without_a_key(tmp_path: Path) -> None:
    """No key, an unknown one, and open mode: 401 and 403 that say what to do."""
    async with administered(tmp_path) as api:
        status, told = await api.call("GET", "/key/list", key=None)
        assert (401, "key") == refusal(status, told)[:2]
        status, told = await api.call("GET", "/key/list", key="sk-nobody-has-this-one")
        assert (401, "key") == refusal(status, told)[:2]
    (tmp_path / "open").mkdir()
    async with administered(tmp_path / "open", master_key=None) as api:
        status, told = await api.call("POST", "/key/generate", key=None, json={})
        assert 403 == status
        assert "set a master key" in told["error"]["message"]


async def _user(api: Api, role: str, name: str = "", **fields: Any) -> str:
    told = await api.post("/user/new", {"user_id": name or role, "user_role": role, **fields})
    return str(told["key"])


async def test_roles(api: Api) -> None:
    """Each role may what it may: writing, reading everything, one's own, oneself."""
    admin, viewer = await _user(api, "proxy_admin"), await _user(api, "proxy_admin_viewer")
    user, watcher = await _user(api, "internal_user"), await _user(api, "internal_user_viewer")
    nobody = (await api.post("/key/generate"))["key"]
    caller = api.caller(admin)
    assert caller is not None
    assert Role.ADMIN is caller.role

    await api.post("/key/generate", {"max_budget": 3, "user_id": "someone"}, key=admin)
    for key in (viewer, watcher, nobody):
        assert 403 == (await api.refused("/key/generate", {}, key=key))[0]
    assert 6 == (await api.get("/key/list", key=viewer))["total_count"]
    assert 1 == (await api.get("/key/list", key=user))["total_count"]
    assert 1 == (await api.get("/key/list", key=watcher))["total_count"]
    for key, params in ((nobody, {}), (user, {"user_id": "someone"})):
        status, told = await api.call("GET", "/key/list", key=key, params=params)
        assert 403 == refusal(status, told)[0]
    for key in (admin, viewer, user, watcher, nobody):
        assert 200 == (await api.call("GET", "/key/info", key=key))[0]
    status, _ = await api.call("GET", "/key/info", key=user, params={"key": nobody})
    assert 403 == status


async def test_an_internal_user_gives_no_more_than_it_has(api: Api) -> None:
    """Its keys are its own, in its teams, and open nothing; what it was given it cannot widen."""
    await api.post("/team/new", {"team_id": "t1"})
    user = await _user(api, "internal_user")

    made = await api.post("/key/generate", {"key_alias": "mine", "max_budget": 2}, key=user)

    assert "internal_user" == made["user_id"]
    for body, field in (
        ({"user_id": "someone"}, "user_id"),
        ({"team_id": "t1"}, "team_id"),
        ({"allowed_operations": ["*"]}, "allowed_operations"),
        ({"pass_through_all_models": True}, "pass_through_all_models"),
        ({"allow_unbounded": True}, "allow_unbounded"),
    ):
        status, _, message = await api.refused("/key/generate", body, key=user)
        assert (403, True) == (status, message.startswith(f"{field}: "))
    # A key that is bound itself makes none that is not.
    assert 403 == (await api.refused("/key/generate", {}, key=made["key"]))[0]
    changes: list[dict[str, Any]] = [{"max_budget": 9}, {"duration": "-1"}, {"models": []}, {"blocked": False}]
    for change in changes:
        assert 403 == (await api.refused("/key/update", {"key": made["key"], **change}, key=user))[0]
    await api.post("/key/update", {"key": made["key"], "key_alias": "still-mine"}, key=user)
    await api.post("/key/block", {"key": made["key"]}, key=user)
    assert 403 == (await api.refused("/key/unblock", {"key": made["key"]}, key=user))[0]
    await api.post("/key/delete", {"key_aliases": ["still-mine"]}, key=user)
    other = await api.post("/key/generate")
    for path in ("/key/block", "/key/regenerate", "/key/update"):
        assert 403 == (await api.refused(path, {"key": other["key"]}, key=user))[0]


@pytest.mark.parametrize(
    "bound",
    [{"max_budget": 0}, {"rpm_limit": 0}, {"allowed_operations": []}, {"allowed_operations": ["CountTokens"]}],
    ids=lambda bound: "-".join(f"{field}={value}" for field, value in bound.items()),
)
async def test_a_key_that_may_little_makes_none_that_may_more(api: Api, bound: dict[str, Any]) -> None:
    """A limit of 0 binds, and so does a list of operations: such a key neither makes others nor gets their secrets."""
    user = await _user(api, "internal_user")
    key = (await api.post("/key/generate", {"user_id": "internal_user", **bound}))["key"]

    made = await api.refused("/key/generate", {}, key=key)
    rotated = await api.refused("/key/regenerate", {"key": user}, key=key)

    assert (403, 403) == (made[0], rotated[0])
    assert next(iter(bound)) in made[2]
    assert next(iter(bound)) in rotated[2]
    # Itself it rotates: what binds it stays.
    assert bound.items() <= (await api.post("/key/regenerate", key=key)).items()


async def test_a_key_of_a_team_rotates_none_outside_it(api: Api) -> None:
    """The team's budgets and models would not hold for what another key's secret can do."""
    user = await _user(api, "internal_user")
    await api.post("/team/new", {"team_id": "t1", "members_with_roles": [{"role": "user", "user_id": "internal_user"}]})
    of_team = (await api.post("/key/generate", {"team_id": "t1"}, key=user))["key"]

    status, _, message = await api.refused("/key/regenerate", {"key": user}, key=of_team)

    assert (403, True) == (status, "belongs to team 't1'" in message)
    await api.post("/key/regenerate", {"key": of_team}, key=user)


async def test_an_internal_user_opens_no_raw_models(api: Api) -> None:
    """Patterns and ids in a key's models open what no deployment names, so only administrators write them."""
    user = await _user(api, "internal_user")
    api.registry.directory.defaults = Defaults(raw_models=False)

    for named in ("*", "claude-*", "amazon.nova-pro-v1:0", "bedrock/us.amazon.nova-pro-v1:0"):
        status, _, message = await api.refused("/key/generate", {"models": ["claude", named]}, key=user)
        assert (403, True) == (status, message.startswith("models: "))
    await api.post("/key/generate", {"models": ["claude", "gpt-4.1", "all-team-models"]}, key=user)
    await api.post("/key/generate", {"models": ["*"]})
    api.registry.directory.defaults = Defaults(raw_models=True)
    await api.post("/key/generate", {"models": ["amazon.nova-*"]}, key=user)


async def test_an_internal_user_spends_no_budget_of_a_tag(api: Api) -> None:
    """A tag with a budget is given by administrators; any other word may be a tag."""
    user = await _user(api, "internal_user")
    await api.post("/tag/new", {"name": "prod", "max_budget": 5})

    for body in ({"tags": ["prod"]}, {"metadata": {"tags": ["prod"]}}):
        status, _, message = await api.refused("/key/generate", body, key=user)
        assert (403, True) == (status, message.startswith("tags: "))
    await api.post("/key/generate", {"tags": ["mine"]}, key=user)


async def test_nobody_is_told_of_keys_that_are_not_its_own(api: Api) -> None:
    """Whether an id, a hash or an alias is taken is answered to those only who may read or change any key."""
    user, nobody = await _user(api, "internal_user"), (await api.post("/key/generate"))["key"]
    other = await api.post("/key/generate", {"key_alias": "theirs"})

    for key in (user, nobody):
        told = [await api.refused("/key/update", {"key_alias": alias}, key=key) for alias in ("theirs", "nobodys")]
        told += [
            await api.refused(path, {field: [named] if field == "keys" else named}, key=key)
            for path, field in (("/key/block", "key"), ("/key/delete", "keys"), ("/key/regenerate", "key"))
            for named in (other["key_id"], "key-000000000000")
        ]
        assert 1 == len(set(told))
        read = [
            refusal(*await api.call("GET", "/key/info", key=key, params={"key": named}))
            for named in (other["token"], "0" * 64)
        ]
        assert 403 == read[0][0]
        assert read[0] == read[1]


async def test_kinds_of_keys(api: Api) -> None:
    """``llm_api`` keys have no role, ``read_only`` ones only read, ``management`` ones call no model."""
    await api.post("/user/new", {"user_id": "boss", "user_role": "proxy_admin", "auto_create_key": False})
    keys = {
        kind: (await api.post("/key/generate", {"user_id": "boss", "key_type": kind}))["key"]
        for kind in ("default", "llm_api", "management", "read_only")
    }

    seen = {}
    for kind, key in keys.items():
        caller = api.caller(key)
        assert caller is not None
        seen[kind] = (caller.role, caller.policy.operations)

    assert {
        "default": (Role.ADMIN, None),
        "llm_api": (None, None),
        "management": (Role.ADMIN, ()),
        "read_only": (Role.VIEWER, ()),
    } == seen


async def test_the_master_key_is_no_virtual_key(api: Api) -> None:
    """It cannot be made one, for it would outlive its own change, and asked for itself it says so."""
    made = await api.post("/key/generate", {"key_alias": "ci"})
    answers = [
        await api.refused("/key/generate", {"key": MASTER}),
        await api.refused("/key/regenerate", {"key": made["key"], "new_key": MASTER}),
        await api.refused("/key/regenerate", {}),
        refusal(*await api.call("GET", "/key/info")),
    ]

    assert [(400, "key"), (400, "new_key"), (400, "key"), (400, "key")] == [answer[:2] for answer in answers]
    assert all("master key" in answer[2] for answer in answers)
