"""``/user/daily/activity`` and its like: what each day was made of, newest first, in pages of days.

Source: LiteLLM 1.109.1, ``proxy/management_endpoints/common_daily_activity.py``. There a page is so many rows of a
table and may cut a day; here it is so many whole days on which anything was. Of the keys and entities of a day the
dearest thousand are told.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiohttp import web

from bedrock_gateway.access.callers import Caller
from bedrock_gateway.access.values import Parser, shown
from bedrock_gateway.admin.answers import Page, answered, count_of, page_of, query_of, usd
from bedrock_gateway.admin.authority import ADMIN, authority, reader
from bedrock_gateway.admin.spending import DAYS, Document, inexact, need_quarters, seen, wanted
from bedrock_gateway.errors import InvalidField
from bedrock_gateway.store.activity import Activity, active_days, activity
from bedrock_gateway.store.parties import KeyName, key_names, subject_names
from bedrock_gateway.store.periods import day_of
from bedrock_gateway.store.sums import Sums, sum_of

__all__ = ["routes"]

_MOST_DAYS = 1_000
_QUARTER_MINUTES = 15
#: Zones reach from 14 hours ahead to 12 behind.
_FURTHEST_MINUTES = 14 * 60


def _zone(name: str, value: str) -> int:
    """Take a zone as a browser tells it, in minutes from its own time to UTC; return quarter-hours."""
    if not re.fullmatch(r"-?\d{1,4}", value) or abs(int(value)) > _FURTHEST_MINUTES:
        raise InvalidField(name, f"must be minutes from its time to UTC, as -60 for UTC+1, not {shown(value)}")
    if int(value) % _QUARTER_MINUTES:
        raise InvalidField(name, "must be whole quarter-hours: spend is summed up by these")
    return int(value) // _QUARTER_MINUTES


_COMMON: Mapping[str, Parser] = {
    **DAYS,
    "page": count_of,
    "page_size": count_of,
    "timezone": _zone,
    **wanted("model", "api_key"),
}
#: What is beside LiteLLM's own figures.
_INEXACT = ("states", "at_most")
#: By what a report is of: its own filter.
_FILTERS = {"user": "user_id", "team": "team_ids", "tag": "tags", "end_user": "end_user_ids"}


def _daily(entity: str) -> Callable[[web.Request], Any]:
    """Return the handler of one report."""
    parsers = {**_COMMON, **wanted(_FILTERS[entity])}

    async def daily(request: web.Request) -> web.StreamResponse:
        # Tags and end users belong to nobody: who sees them sees everybody's.
        caller = authority(request) if entity in ("user", "team") else reader(request)
        given = query_of(request, parsers)
        page = page_of(given, size="page_size", usual=10, most=_MOST_DAYS)
        first, end = need_quarters(given)
        shift = given.get("timezone", 0)
        quarters = (first + shift, end + shift)
        document = await request.app[ADMIN].registry.read(_read, caller, given, entity, quarters, page)
        return document.answer()

    return daily


def _read(
    connection: sqlite3.Connection,
    caller: Caller,
    given: Mapping[str, Any],
    entity: str,
    quarters: tuple[int, int],
    page: Page,
) -> Document:
    shift = given.get("timezone", 0)
    only = seen(connection, caller, given)
    by_label = entity if entity in ("tag", "end_user") else None
    all_days = active_days(connection, quarters, only, by_label=by_label, shift=shift)
    some = (
        activity(connection, day, quarters, only, entity=entity)
        for day in all_days[page.offset : page.offset + page.size]
    )
    days = [day for day in some if day is not None]
    keys = key_names(connection, {key for day in days for key in day.keys})
    names = subject_names(connection, entity, {name for day in days for name in day.entities})
    pages = max(page.pages(len(all_days)), 1)
    results = Document.listing((_result(day, shift, keys, names) for day in days), at_once=1)
    metadata = Document.of(_metadata([day.sums for day in days], page, pages))
    return Document(content=b'{"results": %b, "metadata": %b}' % (results.content, metadata.content))


def _result(day: Activity, shift: int, keys: Mapping[str, KeyName], names: Mapping[str, str]) -> dict[str, Any]:
    return {
        "date": day_of(day.day - shift).isoformat(),
        "metrics": _metrics(day.sums),
        "breakdown": {
            "models": _parts(day.models),
            "model_groups": _parts(day.groups),
            "providers": {"bedrock": {"metrics": _metrics(day.sums), "metadata": {}}},
            "endpoints": _parts(day.operations),
            "api_keys": {
                keys[caller].api_key if caller in keys else caller: {
                    "metrics": _metrics(sums),
                    "metadata": {
                        "key_alias": keys[caller].alias if caller in keys else None,
                        "team_id": keys[caller].team if caller in keys else None,
                    },
                }
                for caller, sums in day.keys.items()
            },
            "entities": {
                name: {"metrics": _metrics(sums), "metadata": {"alias": names.get(name)}}
                for name, sums in day.entities.items()
            },
            "mcp_servers": {},
            # Of many keys or entities only the dearest are told; the metrics are of all.
            **({"left_out": True} if day.more else {}),
        },
    }


def _parts(parts: Mapping[str, Sums]) -> dict[str, Any]:
    return {name: {"metrics": _metrics(sums), "metadata": {}} for name, sums in parts.items()}


def _metrics(sums: Sums) -> dict[str, Any]:
    return {
        "spend": usd(sums.spend),
        "prompt_tokens": sums.prompt,
        "completion_tokens": sums.output,
        "cache_read_input_tokens": sums.cache_read,
        "cache_creation_input_tokens": sums.cache_write,
        "total_tokens": sums.prompt + sums.output,
        "successful_requests": sums.calls - sums.failed - sums.under_way,
        "failed_requests": sums.failed,
        "api_requests": sums.calls,
        **inexact(sums),
    }


def _metadata(sums: Sequence[Sums], page: Page, pages: int) -> dict[str, Any]:
    """Return the sums of a page's days, and which page it is."""
    metrics = _metrics(sum_of(sums))
    return {
        **{f"total_{name.removeprefix('total_')}": value for name, value in metrics.items() if name not in _INEXACT},
        **{name: metrics[name] for name in _INEXACT if name in metrics},
        "page": page.number,
        "total_pages": pages,
        "has_more": page.number < pages,
    }


def routes() -> list[web.RouteDef]:
    """Return the routes."""
    return [
        web.get("/user/daily/activity", answered(_daily("user"))),
        web.get("/team/daily/activity", answered(_daily("team"))),
        web.get("/tag/daily/activity", answered(_daily("tag"))),
        web.get("/customer/daily/activity", answered(_daily("end_user"))),
    ]
