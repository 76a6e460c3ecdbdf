"""``/global/spend/…`` and the sums of ``/spend/…``: who spent how much on what, with LiteLLM's paths and JSON.

Source: LiteLLM 1.109.1, ``proxy/spend_tracking/spend_management_endpoints.py``. A report that would be huge is answered
in whole days until some ten thousand entries are reached; ``x-bedrock-gateway-next-start-date`` says where to go on.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web

from bedrock_gateway.access.callers import Caller
from bedrock_gateway.access.values import Parser, choice
from bedrock_gateway.access.virtual_keys import key_name
from bedrock_gateway.admin.answers import answered, body_of, count_of, page_of, query_of, usd
from bedrock_gateway.admin.authority import ADMIN, authority, reader
from bedrock_gateway.admin.spending import (
    DAYS,
    Document,
    inexact,
    need_quarters,
    next_page,
    quarters_of,
    seen,
    wanted,
)
from bedrock_gateway.chain.gateway import GATEWAY
from bedrock_gateway.errors import InvalidField
from bedrock_gateway.store.activity import dearest_callers
from bedrock_gateway.store.days import MOST_ENTRIES, Entries, entries_by_day, sums_by, total
from bedrock_gateway.store.parties import key_digests, key_names, subject_names
from bedrock_gateway.store.periods import DAY_QUARTERS, day_of, first_quarter
from bedrock_gateway.store.rollup_rows import Unanswerable
from bedrock_gateway.store.sums import Sums, sum_of

__all__ = ["routes"]

_LAST_DAYS = 30
_MOST = 1_000

_REPORT: Mapping[str, Parser] = {
    **DAYS,
    **wanted("api_key", "internal_user_id", "team_id", "customer_id"),
    "group_by": choice("team", "customer", "api_key"),
}
_TAGS: Mapping[str, Parser] = {**DAYS, **wanted("tags"), "page": count_of, "page_size": count_of}
_MODELS: Mapping[str, Parser] = {**DAYS, **wanted("api_key", "user_id", "team_id"), "limit": count_of}


async def report(request: web.Request) -> web.StreamResponse:
    """Answer spend by day and team, by day and customer, or by key; within each by model."""
    caller = authority(request)
    given = query_of(request, _REPORT)
    document = await request.app[ADMIN].registry.read(_report, caller, given)
    return document.answer()


def _report(connection: sqlite3.Connection, caller: Caller, given: Mapping[str, Any]) -> Document:
    quarters = need_quarters(given)
    by_key = "api_key" in given or "internal_user_id" in given
    group_by = given.get("group_by", "api_key" if by_key else "customer" if "customer_id" in given else "team")
    only = seen(connection, caller, given)
    if only.end_users and group_by == "team":
        raise InvalidField("group_by", "must be customer or api_key where customer_id is given")
    by, by_label = {
        "team": ("team, model, caller", None),
        "customer": ("label, model, caller", "end_user"),
        "api_key": ("caller, model", None),
    }[group_by]
    try:
        # A key is an entry beside those of its models.
        most = MOST_ENTRIES * 2 // 3 if group_by == "api_key" else MOST_ENTRIES
        days, next_quarter = entries_by_day(connection, by, quarters, only, by_label=by_label, most=most)
    except Unanswerable as error:
        field = "customer_id" if only.end_users else "group_by"
        raise InvalidField(field, f"cannot be asked for so: {error}") from None
    headers = next_page(next_quarter)
    if group_by == "api_key":
        return Document.listing(_keys(connection, days.values()), headers)
    return Document.listing(_days(connection, days, group_by), headers)


def _days(connection: sqlite3.Connection, days: Mapping[int, Entries], group_by: str) -> Iterable[dict[str, Any]]:
    """Yield the entries of each day by team or customer."""
    digests = key_digests(connection, {caller for entries in days.values() for _, _, caller in entries})
    teams: dict[str, str] = {}
    if group_by == "team":
        teams = subject_names(connection, "team", {team for entries in days.values() for team, _, _ in entries})
    for day, entries in days.items():
        groups: dict[str, list[tuple[str, str, Sums]]] = {}
        for (name, model, caller), sums in entries.items():
            groups.setdefault(name, []).append((model, caller, sums))
        parts = []
        for name, found in groups.items():
            whole = sum_of(sums for _, _, sums in found)
            named = (
                {"team_name": teams.get(name) or name or "Unassigned Team", "team_id": name or None}
                if group_by == "team"
                else {"customer": name}
            )
            details = [
                {
                    "model": model,
                    "api_key": digests.get(caller, caller),
                    "spend": usd(sums.spend),
                    "total_tokens": sums.prompt + sums.output,
                    **inexact(sums),
                }
                for model, caller, sums in sorted(found, key=lambda part: -part[2].spend)
            ]
            parts.append(
                (whole.spend, {**named, "total_spend": usd(whole.spend), **inexact(whole), "metadata": details})
            )
        parts.sort(key=lambda part: -part[0])
        yield {
            "group_by_day": f"{_date(day)}T00:00:00+00:00",
            "teams" if group_by == "team" else "customers": [part for _, part in parts],
        }


def _date(day: int) -> str:
    return day_of(day * DAY_QUARTERS).isoformat()


def _keys(connection: sqlite3.Connection, days: Iterable[Entries]) -> list[dict[str, Any]]:
    """Return sums by key, over all the days, dearest first."""
    found: dict[str, dict[str, Sums]] = {}
    for entries in days:
        for (caller, model), sums in entries.items():
            models = found.setdefault(caller, {})
            if model in models:
                models[model].include(sums)
            else:
                models[model] = sums
    digests = key_digests(connection, found)
    aliases = subject_names(connection, "key", found)
    told = []
    for caller, models in found.items():
        details = sorted(models.items(), key=lambda entry: -entry[1].spend)
        whole = sum_of(models.values())
        told.append(
            (
                whole.spend,
                {
                    "api_key": digests.get(caller, caller),
                    "key_alias": aliases.get(caller),
                    **_costs(whole),
                    "model_details": [{"model": model, **_costs(sums)} for model, sums in details],
                },
            )
        )
    told.sort(key=lambda entry: -entry[0])
    return [entry for _, entry in told]


def _costs(sums: Sums) -> dict[str, Any]:
    return {
        "total_cost": usd(sums.spend),
        "total_input_tokens": sums.prompt,
        "total_output_tokens": sums.output,
        **inexact(sums),
    }


async def tags(request: web.Request) -> web.StreamResponse:
    """Answer spend by tag, dearest first, in pages. A call counts with each of its tags."""
    caller = reader(request)
    given = query_of(request, _TAGS)
    page = page_of(given, size="page_size", usual=_MOST, most=_MOST)

    def read(connection: sqlite3.Connection) -> Document:
        only = seen(connection, caller, given)
        found = _dearest(sums_by(connection, "label", quarters_of(given), only, by_label="tag"))
        return Document.listing(
            (
                {
                    "individual_request_tag": tag,
                    "log_count": sums.calls,
                    "total_spend": usd(sums.spend),
                    **inexact(sums),
                }
                for tag, sums in found[page.offset : page.offset + page.size]
            ),
            [("x-bedrock-gateway-total", str(len(found)))],
        )

    return (await request.app[ADMIN].registry.read(read)).answer()


async def models(request: web.Request) -> web.StreamResponse:
    """Answer spend by model, dearest first; a key without the right to see all has its own."""
    return await _models(request, authority(request), query_of(request, _MODELS), needed_days=None)


async def last_models(request: web.Request) -> web.StreamResponse:
    """Answer the dearest models of the last 30 days."""
    return await _models(request, reader(request), {"limit": 10, **query_of(request, _MODELS)}, needed_days=_LAST_DAYS)


async def _models(
    request: web.Request, caller: Caller, given: Mapping[str, Any], *, needed_days: int | None
) -> web.StreamResponse:
    quarters = quarters_of(given)
    if needed_days is not None and quarters == (None, None):
        quarters = _last(request)

    def read(connection: sqlite3.Connection) -> Document:
        found = _dearest(sums_by(connection, "model", quarters, seen(connection, caller, given)))
        return Document.listing(
            {
                "model": model,
                "total_spend": usd(sums.spend),
                "total_tokens": sums.prompt + sums.output,
                "log_count": sums.calls,
                **inexact(sums),
            }
            for model, sums in found[: given.get("limit")]
            if model  # without one nothing was sent
        )

    return (await request.app[ADMIN].registry.read(read)).answer()


def _dearest(entries: Entries) -> list[tuple[str, Sums]]:
    found = [(name, sums) for (name,), sums in entries.items()]
    return sorted(found, key=lambda entry: (-entry[1].spend, -entry[1].calls, entry[0]))


def _last(request: web.Request) -> tuple[int, int | None]:
    """Return the last 30 days, today among them."""
    today = datetime.fromtimestamp(request.app[ADMIN].now_ms() / 1000, UTC).date()
    return first_quarter(today - timedelta(days=_LAST_DAYS)), None


async def whole(request: web.Request) -> dict[str, Any]:
    """Answer what was spent in all, and the budget of the whole gateway."""
    reader(request)
    query_of(request, {})
    sums = await request.app[ADMIN].registry.read(total, (None, None))
    gateway = request.app.get(GATEWAY)
    budgets = () if gateway is None else gateway.snapshot.budgets
    limit = next((charge.budget.limit for charge in budgets), None)
    return {"spend": usd(sums.spend), "max_budget": usd(limit), **inexact(sums)}


async def last_keys(request: web.Request) -> list[dict[str, Any]]:
    """Answer the keys that spent most in the last 30 days."""
    reader(request)
    limit = query_of(request, {"limit": count_of}).get("limit", 100)
    if limit > _MOST:
        raise InvalidField("limit", f"may be {_MOST} at most")
    quarters = _last(request)

    def read(connection: sqlite3.Connection) -> list[dict[str, Any]]:
        found = dearest_callers(connection, quarters, limit)
        keys = key_names(connection, [caller for caller, _ in found])
        return [
            {
                "api_key": keys[caller].api_key if caller in keys else caller,
                "key_alias": keys[caller].alias if caller in keys else None,
                "key_name": key_name(keys[caller].tail) if caller in keys else caller,
                "total_spend": usd(sums.spend),
                **inexact(sums),
            }
            for caller, sums in found
        ]

    return await request.app[ADMIN].registry.read(read)


async def last_teams(request: web.Request) -> web.StreamResponse:
    """Answer spend by day and team of the last 30 days, or of the days asked for."""
    reader(request)
    given = query_of(request, DAYS)
    first, end = quarters_of(given) if given else _last(request)
    quarters = (first or 0, end if end is not None else 1 << 40)

    def read(connection: sqlite3.Connection) -> Document:
        days, next_quarter = entries_by_day(connection, "team", quarters)
        names = subject_names(connection, "team", {team for entries in days.values() for (team,) in entries})
        totals: dict[str, int] = {}
        daily = []
        for day, entries in days.items():
            told: dict[str, Any] = {"date": _date(day)}
            for (team,), sums in entries.items():
                name = names.get(team) or team or "Unassigned"
                told[name] = usd(sums.spend)
                totals[name] = totals.get(name, 0) + sums.spend
            daily.append(told)
        dearest = sorted(totals.items(), key=lambda entry: -entry[1])
        answer = {
            "daily_spend": daily,
            "teams": list(totals),
            "total_spend_per_team": [{"team_id": name, "total_spend": usd(spend)} for name, spend in dearest[:10]],
            **inexact(sum_of([sums for entries in days.values() for sums in entries.values()])),
        }
        return Document.of(answer, next_page(next_quarter))

    return (await request.app[ADMIN].registry.read(read)).answer()


async def last_end_users(request: web.Request) -> web.StreamResponse:
    """Answer the end users that most was spent for in the last 30 days, or between the times asked for."""
    caller = reader(request)
    body = await body_of(request) if request.can_read_body else {}
    for field, value in body.items():
        if field not in ("startTime", "endTime", "api_key"):
            raise InvalidField(field, "is not known")
        if value is not None and not isinstance(value, str):
            raise InvalidField(field, "must be a text")
    given = {
        name: parse(field, body[field][:10] if field != "api_key" else body[field])
        for field, name, parse in (
            ("startTime", "start_date", DAYS["start_date"]),
            ("endTime", "end_date", DAYS["end_date"]),
            ("api_key", "api_key", wanted("api_key")["api_key"]),
        )
        if body.get(field)
    }
    quarters = quarters_of(given)
    if quarters[0] is None:
        quarters = (_last(request)[0], quarters[1])

    def read(connection: sqlite3.Connection) -> Document:
        found = _dearest(sums_by(connection, "label", quarters, seen(connection, caller, given), by_label="end_user"))
        return Document.listing(
            {"end_user": name, "total_count": sums.calls, "total_spend": usd(sums.spend), **inexact(sums)}
            for name, sums in found[:100]
        )

    return (await request.app[ADMIN].registry.read(read)).answer()


def routes() -> list[web.RouteDef]:
    """Return the routes."""
    return [
        web.get("/global/spend/report", answered(report)),
        web.get("/global/spend", answered(whole)),
        web.get("/global/spend/keys", answered(last_keys)),
        web.get("/global/spend/teams", answered(last_teams)),
        web.get("/global/spend/models", answered(last_models)),
        web.get("/global/spend/tags", answered(tags)),
        web.get("/global/spend/end_users", answered(last_end_users)),
        web.post("/global/spend/end_users", answered(last_end_users)),
        web.get("/spend/tags", answered(tags)),
        web.get("/spend/models", answered(models)),
    ]
