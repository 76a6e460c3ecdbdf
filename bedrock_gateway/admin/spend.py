"""``/spend/logs`` and the spend of keys, users and teams, with LiteLLM's paths and JSON.

Source: LiteLLM 1.109.1, ``proxy/spend_tracking/spend_management_endpoints.py`` and ``proxy/_types.py``
(``LiteLLM_SpendLogs``). A row's ``spend`` is null where it is not known, and ``state`` says why.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from aiohttp import web

from bedrock_gateway.access.callers import Caller
from bedrock_gateway.access.values import Parser, choice, name, shown, text
from bedrock_gateway.admin.answers import Listed, Page, answered, count_of, flag_of, iso, page_of, query_of, usd
from bedrock_gateway.admin.authority import ADMIN, authority, may_read_all, may_read_own, reader, told
from bedrock_gateway.admin.figures import View
from bedrock_gateway.admin.key_rows import key_rows
from bedrock_gateway.admin.owner_rows import user_row
from bedrock_gateway.admin.spending import (
    DAYS,
    Document,
    day_of_query,
    inexact,
    next_page,
    quarters_of,
    seen,
    wanted,
)
from bedrock_gateway.admin.teams import team_view
from bedrock_gateway.errors import AccessDenied, InvalidField, NotFound
from bedrock_gateway.store.call_lines import CallLine, Wanted, calls
from bedrock_gateway.store.days import Entries, entries_by_day, sums_by
from bedrock_gateway.store.listing import KeyFilter, list_keys, list_subjects
from bedrock_gateway.store.members import teams_of
from bedrock_gateway.store.parties import find_alias, key_digests, key_names, subject_names
from bedrock_gateway.store.periods import DAY_QUARTERS, Period, day_of, first_quarter
from bedrock_gateway.store.rollup_rows import Only
from bedrock_gateway.store.schema import QUARTER_MS
from bedrock_gateway.store.sums import Sums, sum_of

__all__ = ["routes"]

_MOST_ROWS = 10_000
#: Calls of a list that are counted, and can be reached by pages; older ones by an earlier end_date.
_COUNTED = 100_000
_MOST_OF_PAGE = 1_000

_PAGE: Mapping[str, Parser] = {"page": count_of, "page_size": count_of}


def _moment(name: str, value: str) -> int | date:
    """Take a date, or a time as LiteLLM writes it (2026-11-20 15:00:00, UTC); return the date, or UTC ms."""
    if len(value) <= len("2026-11-20"):
        return day_of_query(name, value)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise InvalidField(name, f"must be a date or a time as 2026-11-20 15:00:00, not {shown(value)}") from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return int(moment.timestamp() * 1000)


def _nano(name: str, value: str) -> int:
    try:
        nano = Decimal(value) * 1_000_000_000
        if nano.is_finite() and 0 <= nano < 1 << 62:
            return int(nano)
    except InvalidOperation:
        pass
    raise InvalidField(name, f"must be a number of USD, 0 or more, not {shown(value)}")


_TIMES: Mapping[str, Parser] = {"start_date": _moment, "end_date": _moment}
_LOGS: Mapping[str, Parser] = {
    **_TIMES,
    **wanted("api_key", "user_id"),
    "request_id": text,
    "summarize": flag_of,
}
_PAGED: Mapping[str, Parser] = {
    **_TIMES,
    **_PAGE,
    **wanted("api_key", "user_id", "team_id", "end_user", "tags", "model"),
    "request_id": text,
    "model_id": text,
    "key_alias": text,
    "status_filter": choice("success", "failure"),
    "min_spend": _nano,
    "max_spend": _nano,
}
_OWNERS: Mapping[str, Parser] = {**DAYS, **_PAGE}


def _period(given: Mapping[str, Any]) -> Period:
    """Return the time asked for; a date at its end is all of that day, a time all of that second."""
    start, end = given.get("start_date"), given.get("end_date")
    since = _midnight(start) if isinstance(start, date) else start
    until = _midnight(end) + DAY_QUARTERS * QUARTER_MS if isinstance(end, date) else None if end is None else end + 1000
    if since is not None and until is not None and until <= since:
        raise InvalidField("end_date", "is before start_date")
    return Period(since=since, until=until)


def _midnight(day: date) -> int:
    return first_quarter(day) * QUARTER_MS


async def logs(request: web.Request) -> web.StreamResponse:
    """Answer sums by day where dates are given, unless they are not wanted; else calls, the newest first."""
    caller = authority(request)
    given = query_of(request, _LOGS)
    dated = [name for name in _TIMES if name in given]
    if len(dated) == 1:
        missing = next(name for name in _TIMES if name not in given)
        raise InvalidField(missing, f"is needed beside {dated[0]}")
    period = _period(given)
    summarized = bool(dated) and given.get("summarize", True) and "request_id" not in given
    registry = request.app[ADMIN].registry
    document = await registry.read(_summary if summarized else _rows, caller, given, period)
    return document.answer()


def _summary(connection: sqlite3.Connection, caller: Caller, given: Mapping[str, Any], period: Period) -> Document:
    first, end = period.quarters
    assert first is not None and end is not None
    days, next_quarter = entries_by_day(
        connection, "caller, user, model", (first, end), seen(connection, caller, given)
    )
    digests = key_digests(connection, {key for entries in days.values() for key, _, _ in entries})
    return Document.listing((_day(day, entries, digests) for day, entries in days.items()), next_page(next_quarter))


def _day(day: int, entries: Entries, digests: Mapping[str, str]) -> dict[str, Any]:
    told: list[dict[str, int]] = [{}, {}, {}]
    for names, sums in entries.items():
        for whose, spends in zip(names, told, strict=True):
            spends[whose] = spends.get(whose, 0) + sums.spend
    callers, users, models = told
    whole = sum_of(entries.values())
    return {
        "startTime": day_of(day * DAY_QUARTERS).isoformat(),
        "spend": usd(whole.spend),
        **{digests.get(caller, caller): usd(spend) for caller, spend in callers.items()},
        "users": {user: usd(spend) for user, spend in users.items()},
        "models": {model: usd(spend) for model, spend in models.items() if model},
        **inexact(whole),
    }


def _rows(connection: sqlite3.Connection, caller: Caller, given: Mapping[str, Any], period: Period) -> Document:
    only = seen(connection, caller, given)
    page = calls(connection, period, _MOST_ROWS, Wanted(only=only, call=given.get("request_id")))
    headers = [] if page.counted else [("x-litellm-spend-logs-truncated", "true")]
    return Document.listing(_log_rows(connection, page.lines), headers)


async def paged_logs(request: web.Request) -> web.StreamResponse:
    """Answer a page of calls, the newest first."""
    caller = authority(request)
    given = query_of(request, _PAGED)
    page = page_of(given, size="page_size", usual=50, most=_MOST_OF_PAGE)
    if page.offset + page.size > _COUNTED:
        raise InvalidField("page", f"only {_COUNTED} calls can be paged through; ask for an earlier end_date")
    period = _period(given)
    document = await request.app[ADMIN].registry.read(_paged_logs, caller, given, period, page)
    return document.answer()


def _paged_logs(
    connection: sqlite3.Connection, caller: Caller, given: Mapping[str, Any], period: Period, page: Page
) -> Document:
    if "key_alias" in given:
        if "api_key" in given:
            raise InvalidField("key_alias", "names a key as api_key does; give one of them")
        key = find_alias(connection, given["key_alias"])
        if key is None and may_read_all(caller):
            raise NotFound("key_alias", f"key_alias: there is no key with the alias {shown(given['key_alias'])}")
        # To others an unknown one is like any that is not theirs.
        given = {**given, "api_key": key or ""}
    only = seen(connection, caller, given)
    status = given.get("status_filter")
    found = calls(
        connection,
        period,
        page.size,
        Wanted(
            only=only,
            call=given.get("request_id"),
            deployment=given.get("model_id"),
            succeeded=None if status is None else status == "success",
            least=given.get("min_spend"),
            most=given.get("max_spend"),
        ),
        skip=page.offset,
        count_to=_COUNTED,
    )
    return Document.of(
        {
            "data": list(_log_rows(connection, found.lines)),
            "total": found.total,
            "page": page.number,
            "page_size": page.size,
            "total_pages": page.pages(found.total),
            # Beyond so many calls nobody counts on.
            **({} if found.counted else {"total_is_at_least": True}),
        }
    )


def _log_rows(connection: sqlite3.Connection, lines: list[CallLine]) -> Iterable[dict[str, Any]]:
    keys = key_names(connection, {line.caller for line in lines})
    teams = subject_names(connection, "team", {line.team for line in lines if line.team})
    for line in lines:
        key = keys.get(line.caller)
        api_key = line.caller if key is None else key.api_key
        prompt = line.input + line.cache_read + line.cache_write
        status = None if line.ended_at is None else "success" if 0 < (line.status or 0) < 400 else "failure"
        yield {
            "request_id": line.call,
            "litellm_call_id": line.call,
            "call_type": line.operation,
            "api_key": api_key,
            "spend": usd(line.spend),
            "state": line.state,
            "total_tokens": prompt + line.output,
            "prompt_tokens": prompt,
            "completion_tokens": line.output,
            "startTime": iso(line.started_at),
            "endTime": iso(line.ended_at),
            "completionStartTime": None,
            "request_duration_ms": None if line.ended_at is None else line.ended_at - line.started_at,
            "model": line.model,
            "model_id": line.deployment,
            "model_group": line.model_group,
            "custom_llm_provider": "bedrock",
            "api_base": None,
            "region": line.region,
            "user": line.user,
            "metadata": {
                "user_api_key": api_key,
                "user_api_key_alias": None if key is None else key.alias,
                "user_api_key_user_id": line.user or None,
                "user_api_key_team_id": line.team or None,
                "user_api_key_team_alias": teams.get(line.team),
                "status": status,
                "attempted_retries": max(line.attempts - 1, 0),
                "additional_usage_values": {
                    "cache_read_input_tokens": line.cache_read,
                    "cache_creation_input_tokens": line.cache_write,
                },
                "error_information": None
                if line.error_type is None
                else {"error_code": str(line.status or ""), "error_class": line.error_type},
            },
            "cache_hit": "False",
            "cache_key": "",
            "request_tags": list(line.tags),
            "team_id": line.team or None,
            "organization_id": None,
            "end_user": line.end_user,
            "requester_ip_address": None,
            "messages": {},
            "response": {},
            "session_id": None,
            "status": status,
        }


# --- keys, users, teams -----------------------------------------------------------------------------------------------


async def keys(request: web.Request) -> Listed:
    """Answer a page of keys, the newest first; on it the dearest first. Users with a role have their own."""
    admin, caller = request.app[ADMIN], authority(request)
    given = query_of(request, {**_OWNERS, **wanted("user_id", "team_id")})
    page = page_of(given, size="page_size", usual=100, most=_MOST_OF_PAGE)
    user = given.get("user_id")
    if not may_read_all(caller):
        if not may_read_own(caller) or user not in (None, caller.user):
            raise AccessDenied(
                f"Keys are listed with what they spent by administrators, by users their own; {told(caller)}."
            )
        user = caller.user

    def read(connection: sqlite3.Connection) -> Listed:
        found, total = list_keys(
            connection, KeyFilter(user=user, team=given.get("team_id")), offset=page.offset, limit=page.size
        )
        rows = key_rows(found, View.of(connection, admin))
        return _with_spend(connection, given, "caller", [key.id for key in found], rows, total)

    return await admin.registry.read(read)


async def users(request: web.Request) -> Listed:
    """Answer a page of users, the newest first; on it the dearest first. A user with a role has itself."""
    admin, caller = request.app[ADMIN], authority(request)
    given = query_of(request, {**_OWNERS, "user_id": name})
    page = page_of(given, size="page_size", usual=100, most=_MOST_OF_PAGE)
    wanted_ids = [given["user_id"]] if "user_id" in given else None
    if not may_read_all(caller):
        if not may_read_own(caller) or wanted_ids not in (None, [caller.user]):
            raise AccessDenied(
                f"Users are listed with what they spent by administrators, by users themselves; {told(caller)}."
            )
        wanted_ids = [caller.user]

    def read(connection: sqlite3.Connection) -> Listed:
        found, total = list_subjects(connection, "user", ids=wanted_ids, offset=page.offset, limit=page.size)
        if "user_id" in given and not found:
            raise NotFound("user_id", f"user_id: there is no user {given['user_id']!r}")
        view = View.of(connection, admin)
        rows = [user_row(user, teams_of(connection, user.id), view) for user in found]
        return _with_spend(connection, given, "user", [user.id for user in found], rows, total)

    return await admin.registry.read(read)


async def teams(request: web.Request) -> Listed:
    """Answer a page of teams, the newest first; on it the dearest first."""
    admin = request.app[ADMIN]
    reader(request)
    given = query_of(request, {**_OWNERS, "team_id": name})
    page = page_of(given, size="page_size", usual=100, most=_MOST_OF_PAGE)
    ids = [given["team_id"]] if "team_id" in given else None

    def read(connection: sqlite3.Connection) -> Listed:
        found, total = list_subjects(connection, "team", ids=ids, offset=page.offset, limit=page.size)
        if ids and not found:
            raise NotFound("team_id", f"team_id: there is no team {ids[0]!r}")
        view = View.of(connection, admin)
        rows = [team_view(team, view) for team in found]
        return _with_spend(connection, given, "team", [team.id for team in found], rows, total)

    return await admin.registry.read(read)


def _with_spend(
    connection: sqlite3.Connection,
    given: Mapping[str, Any],
    column: str,
    ids: list[str],
    rows: list[dict[str, Any]],
    total: int,
) -> Listed:
    """Return rows with what was booked to each in the days asked for, or ever, the dearest first."""
    only = Only(**{f"{column}s": tuple(ids)})
    sums = sums_by(connection, column, quarters_of(given), only) if ids else {}
    spent = []
    for id_, row in zip(ids, rows, strict=True):
        of_row = sums.get((id_,)) or Sums()
        spent.append((of_row.spend, {**row, "spend": usd(of_row.spend), **inexact(of_row)}))
    spent.sort(key=lambda entry: -entry[0])
    return Listed(entries=[row for _, row in spent], total=total)


def routes() -> list[web.RouteDef]:
    """Return the routes."""
    return [
        web.get("/spend/logs", answered(logs)),
        web.get("/spend/logs/v2", answered(paged_logs)),
        web.get("/spend/keys", answered(keys)),
        web.get("/spend/users", answered(users)),
        web.get("/spend/teams", answered(teams)),
    ]
