"""Spend over HTTP, as LiteLLM's documentation drives it: shapes, sums equal to the rows, who may see what, mistakes."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from administered import MASTER, Api, administered, refusal

from bedrock_gateway.admin import spend, spend_reports

MONTH = {"start_date": "2026-10-19", "end_date": "2026-11-18"}
DAYS = "start_date=2026-10-19&end_date=2026-11-18"
BILLION = 10**9

#: Everything there is to ask, with parameters that are right.
PATHS = (
    f"/global/spend/report?{DAYS}",
    f"/global/spend/report?{DAYS}&group_by=customer",
    f"/global/spend/report?{DAYS}&group_by=api_key",
    "/global/spend",
    "/global/spend/keys",
    "/global/spend/teams",
    "/global/spend/models",
    f"/global/spend/tags?{DAYS}",
    "/global/spend/end_users",
    f"/spend/logs?{DAYS}",
    "/spend/logs",
    "/spend/logs/v2",
    "/spend/keys",
    "/spend/users",
    "/spend/teams",
    "/spend/tags",
    "/spend/models",
    f"/user/daily/activity?{DAYS}",
    f"/team/daily/activity?{DAYS}",
    f"/tag/daily/activity?{DAYS}",
    f"/customer/daily/activity?{DAYS}",
)


@pytest_asyncio.fixture
async def api(tmp_path: Path, filled_path: Path) -> AsyncIterator[Api]:
    """Serve the admin API on a ledger with a month of calls."""
    shutil.copy(filled_path, tmp_path / "ledger.db")
    async with administered(tmp_path) as api:
        yield api


def rows(api: Api, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """Return rows of the ledger."""
    with closing(sqlite3.connect(api.database)) as connection:
        return connection.execute(sql, values).fetchall()


def nano(usd: Any) -> int:
    """Return a JSON number of USD in nano-USD; it has to be the one that says exactly so much."""
    amount = round(Fraction(usd) * BILLION)
    assert amount / BILLION == usd
    return amount


async def fetch(api: Api, path: str, key: str = MASTER, **params: str) -> tuple[Any, dict[str, str]]:
    """Return the JSON and the headers of an answer that has to be 200."""
    headers = {"Authorization": f"Bearer {key}"}
    async with api.session.get(api.url + path, params=params, headers=headers) as answer:
        told = json.loads(await answer.read())
        assert (200, told) == (answer.status, told)
        return told, dict(answer.headers)


def key_of(number: int) -> str:
    """Return a virtual key of the ledger."""
    from filled import key_text

    return key_text(number, 7)


def hash_of(api: Api, caller: str) -> str:
    """Return the SHA-256 of a virtual key."""
    ((digest,),) = rows(api, "SELECT lower(hex(digest)) FROM key_digests WHERE key = ?", caller)
    return str(digest)


def spends(api: Api, by: str, condition: str = "1") -> dict[Any, int]:
    """Return spend by a column, from the rows of calls."""
    return dict(rows(api, f"SELECT {by}, sum(coalesce(spend, 0)) FROM calls WHERE {condition} GROUP BY 1"))


# --- reports ----------------------------------------------------------------------------------------------------------


async def test_the_report_by_team(api: Api) -> None:
    """Days, within them teams with their totals, within these keys and models; all of it is the rows' sums."""
    told, headers = await fetch(api, "/global/spend/report", **MONTH)
    days: dict[str, dict[str, int]] = {}
    details: dict[tuple[str, str], int] = {}
    tokens = 0
    for day in told:
        assert {"group_by_day", "teams"} == set(day)
        for team in day["teams"]:
            assert sum(nano(part["spend"]) for part in team["metadata"]) == nano(team["total_spend"])
            days.setdefault(day["group_by_day"][:10], {})[team["team_name"]] = nano(team["total_spend"])
            for part in team["metadata"]:
                assert {"model", "api_key", "spend", "total_tokens"} <= set(part)
                details[part["api_key"], part["model"]] = details.get((part["api_key"], part["model"]), 0) + nano(
                    part["spend"]
                )
                tokens += part["total_tokens"]

    names = dict(rows(api, "SELECT id, name FROM subjects WHERE kind = 'team'")) | {"": "Unassigned Team"}
    expected: dict[str, dict[str, int]] = {}
    for day_, team_, spend_ in rows(
        api, "SELECT date(started_at / 1000, 'unixepoch'), team, sum(coalesce(spend, 0)) FROM calls GROUP BY 1, 2"
    ):
        expected.setdefault(day_, {})[names[team_]] = spend_
    assert expected == days
    by_key = rows(
        api,
        "SELECT lower(hex(digest)), model, sum(coalesce(spend, 0)) FROM calls JOIN key_digests ON key = caller "
        "GROUP BY 1, 2",
    )
    assert {(key, model): amount for key, model, amount in by_key} == details
    assert [(tokens,)] == rows(api, "SELECT sum(input + output) FROM attempts")
    assert "x-bedrock-gateway-next-start-date" not in headers


async def test_the_report_by_key(api: Api) -> None:
    """Keys by their SHA-256, dearest first, with their models; limits of key and user give the same shape."""
    told, _ = await fetch(api, "/global/spend/report", **MONTH, group_by="api_key")
    costs = [nano(entry["total_cost"]) for entry in told]

    assert {hash_of(api, caller): spend for caller, spend in spends(api, "caller").items()} == {
        entry["api_key"]: nano(entry["total_cost"]) for entry in told
    }
    assert sorted(costs, reverse=True) == costs
    for entry in told:
        assert {"api_key", "total_cost", "total_input_tokens", "total_output_tokens", "model_details"} <= set(entry)
        assert nano(entry["total_cost"]) == sum(nano(part["total_cost"]) for part in entry["model_details"])
        assert entry["total_input_tokens"] == sum(part["total_input_tokens"] for part in entry["model_details"])
    (of_key,), _ = await fetch(api, "/global/spend/report", **MONTH, api_key=key_of(1))
    of_user, _ = await fetch(api, "/global/spend/report", **MONTH, internal_user_id="user-000000")
    assert of_key == next(entry for entry in told if entry["api_key"] == of_key["api_key"])
    assert spends(api, "user")["user-000000"] == sum(nano(entry["total_cost"]) for entry in of_user)
    of_team, _ = await fetch(api, "/global/spend/report", **MONTH, team_id="Team 0")
    assert {"Team 0"} == {team["team_name"] for day in of_team for team in day["teams"]}


async def test_the_report_by_customer(api: Api) -> None:
    """End users by day; calls made for nobody are not in it."""
    told, _ = await fetch(api, "/global/spend/report", **MONTH, group_by="customer")
    found: dict[str, int] = {}
    for day in told:
        for part in day["customers"]:
            found[part["customer"]] = found.get(part["customer"], 0) + nano(part["total_spend"])

    assert spends(api, "end_user", "end_user <> ''") == found
    name = max(found)
    (one,), _ = await fetch(api, "/global/spend/report", **MONTH, customer_id=name)
    assert [name] == [part["customer"] for part in one["customers"]]


async def test_a_report_that_goes_on(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report that would be huge ends with whole days, and says where the next one begins; together they are all."""
    monkeypatch.setattr(spend_reports, "MOST_ENTRIES", 30)
    for group_by, what, amount in (("team", "teams", "total_spend"), ("api_key", "model_details", "total_cost")):
        total, pages, params = 0, 0, {**MONTH, "group_by": group_by}
        while True:
            told, headers = await fetch(api, "/global/spend/report", **params)
            pages += 1
            for entry in told:
                total += sum(nano(part[amount]) for part in entry[what])
            if "x-bedrock-gateway-next-start-date" not in headers:
                break
            params["start_date"] = headers["x-bedrock-gateway-next-start-date"]

        assert pages > 5
        assert total == sum(spends(api, "1").values())


async def test_what_is_not_exact_is_told(api: Api) -> None:
    """Where spend is unknown or estimated, attempts are counted by state, with what the unknown may come to."""
    states = dict(
        rows(
            api,
            "SELECT state, count(*) FROM attempts WHERE state IN ('estimated', 'unpriced', 'interrupted') GROUP BY 1",
        )
    )
    ((bound,),) = rows(api, "SELECT sum(spend_at_most) FROM attempts WHERE charged AND spend IS NULL")
    whole = await api.get("/global/spend")
    models, _ = await fetch(api, "/spend/models")
    report, _ = await fetch(api, "/global/spend/report", **MONTH)

    assert (sum(spends(api, "1").values()), bound) == (nano(whole["spend"]), nano(whole["at_most"]))
    assert states == whole["states"]
    for parts in (models, [team for day in report for team in day["teams"]]):
        counted: dict[str, int] = {}
        for part in parts:
            for state, count in part.get("states", {}).items():
                counted[state] = counted.get(state, 0) + count
        assert states == counted


async def test_the_other_sums(api: Api) -> None:
    """Models, tags, end users, keys and teams, each with LiteLLM's fields and the rows' sums."""
    models, _ = await fetch(api, "/spend/models")
    assert spends(api, "model") == {entry["model"]: nano(entry["total_spend"]) for entry in models}
    assert models[:2] == (await fetch(api, "/global/spend/models", limit="2"))[0]
    by_tag = dict(
        rows(
            api,
            "SELECT value, sum(coalesce(spend, 0)) FROM calls, json_each(iif(tags = '', '[]', tags)) GROUP BY 1",
        )
    )
    tags, headers = await fetch(api, "/spend/tags")
    assert by_tag == {entry["individual_request_tag"]: nano(entry["total_spend"]) for entry in tags}
    assert str(len(by_tag)) == headers["x-bedrock-gateway-total"]
    assert tags[2:4] == (await fetch(api, "/spend/tags", page="2", page_size="2"))[0]
    two = sorted(by_tag)[:2]
    assert set(two) == {
        entry["individual_request_tag"]
        for entry in (await fetch(api, "/global/spend/tags", tags=",".join(two), **MONTH))[0]
    }
    end_users, _ = await fetch(api, "/global/spend/end_users")
    by_end_user = spends(api, "end_user", "end_user <> ''")
    assert sorted(by_end_user.values(), reverse=True)[:100] == [nano(entry["total_spend"]) for entry in end_users]
    posted = await api.post("/global/spend/end_users", {"startTime": "2026-11-17 00:00:00", "api_key": "service 0"})
    condition = "end_user <> '' AND caller = 'key-000000000000' AND started_at >= 1794873600000"
    assert spends(api, "end_user", condition) == {entry["end_user"]: nano(entry["total_spend"]) for entry in posted}
    keys, _ = await fetch(api, "/global/spend/keys", limit="3")
    dearest = sorted(spends(api, "caller").items(), key=lambda entry: -entry[1])[:3]
    assert [(hash_of(api, caller), spend) for caller, spend in dearest] == [
        (entry["api_key"], nano(entry["total_spend"])) for entry in keys
    ]
    assert {"api_key", "key_alias", "key_name", "total_spend"} <= set(keys[0])
    teams, _ = await fetch(api, "/global/spend/teams", **MONTH)
    assert {"daily_spend", "teams", "total_spend_per_team"} <= set(teams)
    assert spends(api, "team")[""] == next(
        nano(entry["total_spend"]) for entry in teams["total_spend_per_team"] if entry["team_id"] == "Unassigned"
    )


# --- logs -------------------------------------------------------------------------------------------------------------


async def test_logs_by_day(api: Api) -> None:
    """With dates the log is summed up by day: spend, and of it each key's, user's and model's."""
    told, _ = await fetch(api, "/spend/logs", **MONTH)
    by_day = spends(api, "date(started_at / 1000, 'unixepoch')")

    assert by_day == {day["startTime"]: nano(day["spend"]) for day in told}
    for day in told:
        keys = [value for name, value in day.items() if len(name) == 64]
        for parts in (keys, day["users"].values(), day["models"].values()):
            assert nano(day["spend"]) == sum(map(nano, parts))
    of_user, _ = await fetch(api, "/spend/logs", **MONTH, user_id="user-000001")
    assert spends(api, "user")["user-000001"] == sum(nano(day["spend"]) for day in of_user)


async def test_rows_of_the_log(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without dates, or where no summary is wanted, the newest calls come as LiteLLM's rows."""
    told, headers = await fetch(api, "/spend/logs")
    expected = rows(api, "SELECT id, spend, state FROM calls ORDER BY id DESC")
    assert expected == [
        (row["request_id"], None if row["spend"] is None else nano(row["spend"]), row["state"]) for row in told
    ]
    assert "x-litellm-spend-logs-truncated" not in headers
    names = (
        "request_id call_type api_key spend total_tokens prompt_tokens completion_tokens startTime endTime model "
        "model_id model_group custom_llm_provider api_base user metadata cache_hit cache_key request_tags team_id "
        "end_user status"
    )
    assert set(names.split()) <= set(told[0])
    assert {"success", "failure"} == {row["status"] for row in told}
    monkeypatch.setattr(spend, "_MOST_ROWS", 10)
    some, headers = await fetch(api, "/spend/logs", **MONTH, summarize="false")
    assert (told[:10], "true") == (some, headers["x-litellm-spend-logs-truncated"])
    (one,), _ = await fetch(api, "/spend/logs", request_id=told[3]["request_id"])
    assert told[3] == one
    assert [] == (await fetch(api, "/spend/logs", request_id="nothing"))[0]
    of_key, _ = await fetch(api, "/spend/logs", api_key="service 0")
    assert {hash_of(api, "key-000000000000")} == {row["api_key"] for row in of_key}
    assert "service 0" == of_key[0]["metadata"]["user_api_key_alias"]


@pytest.mark.parametrize(
    ("params", "condition"),
    [
        ({}, "1"),
        ({"user_id": "user-000000"}, "user = 'user-000000'"),
        ({"team_id": "team-00000", "model": "claude"}, "team = 'team-00000' AND model_group = 'claude'"),
        ({"key_alias": "service 0"}, "caller = 'key-000000000000'"),
        ({"model_id": "2b5c1d2e3f42", "status_filter": "success"}, "deployment = '2b5c1d2e3f42' AND status = 200"),
        ({"status_filter": "failure"}, "(status = 400 OR status IS NULL)"),
        ({"min_spend": "0.01", "max_spend": "0.02"}, "spend BETWEEN 10000000 AND 20000000"),
        ({"start_date": "2026-11-01", "end_date": "2026-11-02"}, "started_at / 86400000 IN (20758, 20759)"),
        (
            {"start_date": "2026-11-01 06:00:00", "end_date": "2026-11-01 11:59:59"},
            "started_at / 1000 BETWEEN 1793512800 AND 1793534399",
        ),
    ],
)
async def test_pages_of_the_log(api: Api, params: dict[str, str], condition: str) -> None:
    """Pages give every call once, newest first, with how many there are in all."""
    expected = [id_ for (id_,) in rows(api, f"SELECT id FROM calls WHERE {condition} ORDER BY id DESC")]
    found: list[str] = []
    for page in range(1, len(expected) // 100 + 2):
        told, _ = await fetch(api, "/spend/logs/v2", **params, page=str(page), page_size="100")
        assert (len(expected), page, 100, -(-len(expected) // 100)) == (
            told["total"],
            told["page"],
            told["page_size"],
            told["total_pages"],
        )
        found += [row["request_id"] for row in told["data"]]

    assert expected == found


# --- keys, users, teams -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "kind", "column", "id_"),
    [
        ("/spend/keys", "key", "caller", "key_id"),
        ("/spend/users", "user", "user", "user_id"),
        ("/spend/teams", "team", "team", "team_id"),
    ],
)
async def test_owners_with_what_they_spent(api: Api, path: str, kind: str, column: str, id_: str) -> None:
    """Rows as their own lists have them, with what was booked to each; pages by age, on each the dearest first."""
    told, headers = await fetch(api, path)
    booked = spends(api, column)
    ((count,),) = rows(api, "SELECT count(*) FROM subjects WHERE kind = ?", kind)

    assert str(count) == headers["x-bedrock-gateway-total"]
    assert count == len(told)
    assert {entry[id_]: booked.get(entry[id_], 0) for entry in told} == {
        entry[id_]: nano(entry["spend"]) for entry in told
    }
    amounts = [entry["spend"] for entry in told]
    assert sorted(amounts, reverse=True) == amounts
    page, _ = await fetch(api, path, page="2", page_size="1")
    newest = rows(
        api, "SELECT id FROM subjects WHERE kind = ? ORDER BY created_at DESC, id DESC LIMIT 1 OFFSET 1", kind
    )
    assert newest == [(entry[id_],) for entry in page]
    day, _ = await fetch(api, path, start_date="2026-11-05", end_date="2026-11-05")
    of_day = spends(api, column, "started_at / 86400000 = 20762")
    assert sum(of_day.get(entry[id_], 0) for entry in told) == sum(nano(entry["spend"]) for entry in day)


# --- activity ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "column", "filtering", "value"),
    [
        ("/user/daily/activity", "user", "user_id", "user-000000"),
        ("/team/daily/activity", "team", "team_ids", "team-00000"),
        ("/customer/daily/activity", "end_user", "end_user_ids", ""),
        ("/tag/daily/activity", "tag", "tags", ""),
    ],
)
async def test_daily_activity(api: Api, path: str, column: str, filtering: str, value: str) -> None:
    """Days newest first, in pages; metrics, models, keys and entities of each are the rows' sums."""
    results: list[dict[str, Any]] = []
    total = 0
    page = 1
    while True:
        told, _ = await fetch(api, path, **MONTH, page=str(page), page_size="7")
        results += told["results"]
        assert nano(told["metadata"]["total_spend"]) == sum(nano(day["metrics"]["spend"]) for day in told["results"])
        assert (page, page < told["metadata"]["total_pages"]) == (
            told["metadata"]["page"],
            told["metadata"]["has_more"],
        )
        total += told["metadata"]["total_api_requests"]
        if not told["metadata"]["has_more"]:
            break
        page += 1
    dates = [day["date"] for day in results]
    assert sorted(dates, reverse=True) == dates
    source = "calls, json_each(iif(tags = '', '[]', tags)) AS tag" if column == "tag" else "calls"
    named = "tag.value" if column == "tag" else column
    condition = f"{named} <> ''" if column in ("tag", "end_user") else "1"
    expected = rows(
        api,
        "SELECT date(started_at / 1000, 'unixepoch'), sum(coalesce(spend, 0)), count(*), "
        "sum(calls.state IN ('refused', 'interrupted')) "
        f"FROM {source} WHERE {condition} GROUP BY 1 ORDER BY 1 DESC",
    )
    assert expected == [
        (day["date"], nano(day["metrics"]["spend"]), day["metrics"]["api_requests"], day["metrics"]["failed_requests"])
        for day in results
    ]
    assert total == sum(count for _, _, count, _ in expected)
    for day in results:
        breakdown, metrics = day["breakdown"], day["metrics"]
        assert metrics["api_requests"] == metrics["successful_requests"] + metrics["failed_requests"]
        for part in ("models", "providers", "api_keys"):
            assert nano(metrics["spend"]) == sum(nano(entry["metrics"]["spend"]) for entry in breakdown[part].values())
    entities: dict[str, int] = {}
    for day in results:
        for name, entry in day["breakdown"]["entities"].items():
            entities[name] = entities.get(name, 0) + nano(entry["metrics"]["spend"])
    of_rows = rows(api, f"SELECT {named}, sum(coalesce(spend, 0)) FROM {source} WHERE {named} <> '' GROUP BY 1")
    assert dict(of_rows) == entities
    one = value or max(entities, key=lambda name: entities[name])
    told, _ = await fetch(api, path, **MONTH, page_size="100", **{filtering: one})
    assert entities[one] == nano(told["metadata"]["total_spend"])


async def test_days_of_another_zone(api: Api) -> None:
    """A zone, as a browser tells it, moves the days' ends; keys, models and zones can be asked for together."""
    params = {"timezone": "-330", "model": "claude", "api_key": "service 0", "page_size": "100"}
    told, _ = await fetch(api, "/user/daily/activity", **MONTH, **params)
    expected = rows(
        api,
        "SELECT date(started_at / 1000 + 19800, 'unixepoch'), sum(coalesce(spend, 0)) FROM calls "
        "WHERE model_group = 'claude' AND caller = 'key-000000000000' GROUP BY 1 ORDER BY 1 DESC",
    )

    assert expected == [(day["date"], nano(day["metrics"]["spend"])) for day in told["results"]]


# --- who may see what -------------------------------------------------------------------------------------------------

ALL_SEEN = [
    path for path in PATHS if path.startswith(("/global/spend/tags", "/global/spend/keys", "/global/spend/teams"))
] + [
    "/global/spend", "/global/spend/models", "/global/spend/end_users", "/spend/teams", "/spend/tags",
    f"/tag/daily/activity?{DAYS}", f"/customer/daily/activity?{DAYS}",
]  # fmt: skip


async def test_administrators_and_viewers_see_everything(api: Api) -> None:
    """The master key and keys of users with either role are answered everywhere, with the same."""
    for user, role in (("user-000000", "proxy_admin"), ("user-000001", "proxy_admin_viewer")):
        await api.post("/user/update", {"user_id": user, "user_role": role})
    for path in PATHS:
        told = await fetch(api, path)
        for key in (key_of(0), key_of(3)):
            assert told[0] == (await fetch(api, path, key))[0], path


async def test_a_key_without_a_role_sees_itself(api: Api) -> None:
    """What is asked for without limits is limited to the key; anybody else's is refused, and what is everybody's."""
    key, own = key_of(1), "key-000000000001"
    expected = sum(spends(api, "caller", f"caller = '{own}'").values())
    report, _ = await fetch(api, "/global/spend/report", key, **MONTH, group_by="api_key")
    assert [(hash_of(api, own), expected)] == [(entry["api_key"], nano(entry["total_cost"])) for entry in report]
    for path in ("/spend/logs", "/spend/logs/v2?page_size=1000"):
        told, _ = await fetch(api, path, key)
        found = told if isinstance(told, list) else told["data"]
        assert {hash_of(api, own)} == {row["api_key"] for row in found}
    models, _ = await fetch(api, "/spend/models", key)
    assert expected == sum(nano(entry["total_spend"]) for entry in models)
    activity, _ = await fetch(api, "/user/daily/activity", key, **MONTH, page_size="100")
    assert expected == nano(activity["metadata"]["total_spend"])
    assert expected == sum(
        nano(day["spend"]) for day in (await fetch(api, "/spend/logs", key, **MONTH, api_key=key))[0]
    )
    for path in (
        *ALL_SEEN, "/spend/keys", "/spend/users",
        "/spend/logs?api_key=key-000000000000", "/spend/logs?api_key=service 0", "/spend/logs?api_key=sk-nobodys",
        "/spend/logs/v2?key_alias=nobody",
        "/spend/logs?user_id=user-000000", "/spend/logs/v2?team_id=team-00000", "/spend/logs/v2?key_alias=service 0",
        f"/global/spend/report?{DAYS}&internal_user_id=user-000000", f"/team/daily/activity?{DAYS}&team_ids=team-00000",
    ):  # fmt: skip
        status, told = await api.call("GET", path, key=key)
        assert 403 == refusal(status, told)[0], path


async def test_a_user_with_a_role_sees_its_keys_and_the_teams_it_heads(api: Api) -> None:
    """A key of an internal user sees all keys of the user, and whole teams only where the user is their admin."""
    await api.post("/user/update", {"user_id": "user-000000", "user_role": "internal_user"})
    key = key_of(0)
    expected = spends(api, "user")["user-000000"]
    for path in (f"/spend/logs?{DAYS}", f"/spend/logs?{DAYS}&user_id=user-000000"):
        assert expected == sum(nano(day["spend"]) for day in (await fetch(api, path, key))[0])
    other = "key-000000000001"
    assert ("user-000000",) == rows(api, "SELECT user FROM subjects WHERE id = ?", other)[0]
    assert {hash_of(api, other)} == {row["api_key"] for row in (await fetch(api, "/spend/logs", key, api_key=other))[0]}
    keys, _ = await fetch(api, "/spend/keys", key)
    assert {"user-000000"} == {entry["user_id"] for entry in keys}
    users, _ = await fetch(api, "/spend/users", key)
    assert [("user-000000", expected)] == [(entry["user_id"], nano(entry["spend"])) for entry in users]
    # The one who heads a team sees all of it.
    assert [("admin",)] == rows(api, "SELECT role FROM members WHERE user = 'user-000000' AND team = 'team-00000'")
    team, _ = await fetch(api, "/team/daily/activity", key, **MONTH, team_ids="team-00000", page_size="100")
    assert spends(api, "team")["team-00000"] == nano(team["metadata"]["total_spend"])
    await api.post("/user/update", {"user_id": "user-000001", "user_role": "internal_user"})
    for path in (
        *ALL_SEEN, "/spend/logs?user_id=user-000001", "/spend/keys?user_id=user-000001",
        "/spend/users?user_id=user-000001", "/spend/logs?api_key=key-000000000005",
    ):  # fmt: skip
        assert 403 == refusal(*await api.call("GET", path, key=key))[0], path
    path = f"/team/daily/activity?{DAYS}&team_ids=team-00000"
    assert 403 == refusal(*await api.call("GET", path, key=key_of(3)))[0]


async def test_without_a_key(api: Api) -> None:
    """Nobody is told anything."""
    for path in PATHS:
        for key in (None, "sk-unknown"):
            assert 401 == refusal(*await api.call("GET", path, key=key))[0], path


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/global/spend/report", "start_date"),
        ("/global/spend/report?start_date=2026-11-01", "end_date"),
        ("/global/spend/report?start_date=yesterday&end_date=2026-11-01", "start_date"),
        ("/global/spend/report?start_date=2026-11-01&end_date=2026-13-01", "end_date"),
        ("/global/spend/report?start_date=2026-11-01T00:07&end_date=2026-11-02", "start_date"),
        ("/global/spend/report?start_date=2026-11-02&end_date=2026-11-01", "end_date"),
        (f"/global/spend/report?{DAYS}&group_by=nothing", "group_by"),
        (f"/global/spend/report?{DAYS}&team_id=team-00000&customer_id=customer-1", "customer_id"),
        (f"/global/spend/report?{DAYS}&group_by=team&customer_id=customer-1", "group_by"),
        (f"/global/spend/report?{DAYS}&group_by=customer&team_id=team-00000", "group_by"),
        (f"/global/spend/report?{DAYS}&groupby=team", "groupby"),
        ("/global/spend?x=1", "x"),
        ("/global/spend/keys?limit=0", "limit"),
        ("/global/spend/keys?limit=100000", "limit"),
        ("/global/spend/teams?start_date=2026-11-02&end_date=2026-11-01", "end_date"),
        ("/global/spend/tags?tags=" + "x" * 65, "tags"),
        ("/spend/tags?page=0", "page"),
        ("/spend/tags?page_size=1000000000", "page_size"),
        ("/spend/models?limit=many", "limit"),
        ("/spend/keys?page=0", "page"),
        ("/spend/keys?page_size=1000000000", "page_size"),
        ("/spend/keys?page_size=1001", "page_size"),
        ("/spend/users?page=-1", "page"),
        ("/spend/teams?page=1.5", "page"),
        ("/spend/keys?start_date=2026-11-02&end_date=2026-11-01", "end_date"),
        ("/spend/logs?start_date=2026-11-01", "end_date"),
        ("/spend/logs?end_date=2026-11-01", "start_date"),
        ("/spend/logs?start_date=2026-11-02&end_date=2026-11-01", "end_date"),
        ("/spend/logs?start_date=2026-11-02&end_date=then", "end_date"),
        ("/spend/logs?summarize=perhaps", "summarize"),
        ("/spend/logs?api_key=a&api_key=b", "api_key"),
        ("/spend/logs/v2?page=0", "page"),
        ("/spend/logs/v2?page_size=1000000000", "page_size"),
        ("/spend/logs/v2?page=1000000", "page"),
        ("/spend/logs/v2?start_date=2026-11-01 25:00:00", "start_date"),
        ("/spend/logs/v2?min_spend=much", "min_spend"),
        ("/spend/logs/v2?max_spend=-1", "max_spend"),
        ("/spend/logs/v2?max_spend=1e300", "max_spend"),
        ("/spend/logs/v2?status_filter=odd", "status_filter"),
        ("/spend/logs/v2?error_code=500", "error_code"),
        ("/spend/logs/v2?key_alias=service 0&api_key=service 1", "key_alias"),
        ("/user/daily/activity", "start_date"),
        ("/user/daily/activity?start_date=2026-11-01", "end_date"),
        ("/user/daily/activity?start_date=2026-11-02&end_date=2026-11-01", "end_date"),
        (f"/user/daily/activity?{DAYS}&page=0", "page"),
        (f"/user/daily/activity?{DAYS}&page_size=1000000000", "page_size"),
        (f"/user/daily/activity?{DAYS}&timezone=7", "timezone"),
        (f"/user/daily/activity?{DAYS}&timezone=100000", "timezone"),
        (f"/team/daily/activity?{DAYS}&team_ids=" + ",".join(map(str, range(101))), "team_ids"),
        (f"/tag/daily/activity?{DAYS}&tags=sk-1", "tags"),
        (f"/tag/daily/activity?{DAYS}&user_id=user-000000", "user_id"),
    ],
)  # fmt: skip
async def test_parameters_that_are_wrong(api: Api, path: str, field: str) -> None:
    """What is missing, unknown, impossible or too much is 400, with the parameter named."""
    status, told = await api.call("GET", path)

    assert (400, field) == refusal(status, told)[:2]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        (f"/global/spend/report?{DAYS}&api_key=sk-nobodys", "api_key"),
        (f"/global/spend/report?{DAYS}&team_id=nobody", "team_id"),
        (f"/global/spend/report?{DAYS}&internal_user_id=nobody", "internal_user_id"),
        ("/spend/logs?user_id=nobody", "user_id"),
        ("/spend/logs/v2?key_alias=nobody", "key_alias"),
        ("/spend/users?user_id=nobody", "user_id"),
        ("/spend/teams?team_id=nobody", "team_id"),
        (f"/user/daily/activity?{DAYS}&user_id=nobody", "user_id"),
    ],
)
async def test_who_never_was(api: Api, path: str, field: str) -> None:
    """A key, user or team that never was is 404 and no zero; the answer repeats no key."""
    status, told = await api.call("GET", path)

    assert (404, field) == refusal(status, told)[:2]
    assert "sk-nobodys" not in json.dumps(told)


@pytest.mark.parametrize(
    "body", [{"startTime": 5}, {"startTime": "then"}, {"from": "2026-11-01"}, {"api_key": "nobody"}]
)
async def test_bodies_that_are_wrong(api: Api, body: dict[str, Any]) -> None:
    """The one report that takes a body names what is wrong with it."""
    status, told = await api.call("POST", "/global/spend/end_users", json=body)

    assert (404 if "api_key" in body else 400) == refusal(status, told)[0]


async def test_an_empty_ledger(tmp_path: Path) -> None:
    """Where nothing was booked every answer is empty, and none is an error."""
    async with administered(tmp_path) as api:
        for path in PATHS:
            told, _ = await fetch(api, path)
            assert [] == told or not any(told.get(name) for name in ("data", "results", "daily_spend", "spend")), path


async def test_answers_are_not_kept(api: Api) -> None:
    """No cache on the way keeps what was spent."""
    async with api.session.get(f"{api.url}/spend/models", headers={"Authorization": f"Bearer {MASTER}"}) as answer:
        assert isinstance(answer, aiohttp.ClientResponse)
        assert ("application/json", "no-store") == (answer.content_type, answer.headers["Cache-Control"])
