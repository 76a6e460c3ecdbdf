"""``/budget/…``: budgets that keys, users, teams, end users and tags can name by ``budget_id``, over HTTP, with
LiteLLM's paths, fields and JSON.

Each that names one has an account of its own; a change holds for all of them at once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from bedrock_gateway.access.callers import Caller
from bedrock_gateway.access.fields import parse
from bedrock_gateway.access.values import list_of, name
from bedrock_gateway.access.virtual_keys import ID_BYTES, new_id
from bedrock_gateway.admin.answers import (
    Listed,
    Page,
    answered,
    body_of,
    query_of,
    required,
    small_body_of,
    whole_page_of,
)
from bedrock_gateway.admin.authority import ADMIN, Admin, administrator, reader
from bedrock_gateway.admin.owner_rows import template_row
from bedrock_gateway.store.administration import change, create, need, remove
from bedrock_gateway.store.listing import list_subjects

__all__ = ["routes"]

#: Fields as ``/budget/settings`` tells them: type and meaning.
_SETTINGS: Mapping[str, tuple[str, str]] = {
    "max_budget": ("Float", "USD that may be spent in a window"),
    "soft_budget": ("Float", "USD from which on it is said how much was spent"),
    "budget_duration": ("String", "length of a window: 1d, 7d, 30d, 1mo, …"),
    "budget_timezone": ("String", "IANA name of the zone whose calendar windows follow"),
    "budget_sliding": ("Boolean", "whether a window ends now instead of lying in the calendar"),
    "max_parallel_requests": ("Integer", "calls at once"),
    "tpm_limit": ("Integer", "tokens a minute"),
    "rpm_limit": ("Integer", "requests a minute"),
    "model_max_budget": ("Object", "a budget for each model"),
}


async def new(request: web.Request) -> dict[str, Any]:
    """Make a budget."""
    admin, caller = request.app[ADMIN], administrator(request)
    given = parse("budget", await body_of(request))
    return await admin.registry.write(_new, admin, caller, given)


def _new(connection: sqlite3.Connection, admin: Admin, caller: Caller, given: Mapping[str, Any]) -> dict[str, Any]:
    id_ = given.get("budget_id") or new_id("budget", admin.random_bytes(ID_BYTES))
    return template_row(create(connection, "budget", id_, given, admin.writing(caller)))


async def update(request: web.Request) -> dict[str, Any]:
    """Change what is given of a budget."""
    admin, caller = request.app[ADMIN], administrator(request)
    given = parse("budget", await body_of(request))
    required(given, "budget_id")
    return await admin.registry.write(_update, admin, caller, given)


def _update(connection: sqlite3.Connection, admin: Admin, caller: Caller, given: Mapping[str, Any]) -> dict[str, Any]:
    budget = need(connection, "budget", given["budget_id"], "budget_id")
    return template_row(change(connection, budget, given, admin.writing(caller)))


async def delete(request: web.Request) -> dict[str, Any]:
    """Take a budget away that nothing names."""
    admin, caller = request.app[ADMIN], administrator(request)
    id_ = required(await small_body_of(request, {"id": name}), "id", "the budget's id")
    return await admin.registry.write(_delete, admin, caller, id_)


def _delete(connection: sqlite3.Connection, admin: Admin, caller: Caller, id_: str) -> dict[str, Any]:
    budget = need(connection, "budget", id_, "id")
    remove(connection, budget, admin.writing(caller))
    return template_row(budget)


async def info(request: web.Request) -> list[dict[str, Any]]:
    """Return the budgets that are named."""
    admin, _ = request.app[ADMIN], reader(request)
    ids = required(await small_body_of(request, {"budgets": list_of(name)}), "budgets", "a list of ids")
    return await admin.registry.read(_info, ids)


def _info(connection: sqlite3.Connection, ids: Sequence[str]) -> list[dict[str, Any]]:
    return [template_row(need(connection, "budget", id_, f"budgets[{index}]")) for index, id_ in enumerate(ids)]


async def list_(request: web.Request) -> Listed:
    """Return the budgets there are."""
    admin, _ = request.app[ADMIN], reader(request)
    return await admin.registry.read(_list, whole_page_of(request))


def _list(connection: sqlite3.Connection, page: Page) -> Listed:
    found, total = list_subjects(connection, "budget", offset=page.offset, limit=page.size)
    return Listed(entries=[template_row(budget) for budget in found], total=total)


async def settings(request: web.Request) -> list[dict[str, Any]]:
    """Return what can be set of a budget, each with its value."""
    admin, _ = request.app[ADMIN], reader(request)
    id_ = required(query_of(request, {"budget_id": name}), "budget_id")
    (row,) = await admin.registry.read(_info, [id_])
    return [
        {
            "field_name": field,
            "field_type": type_,
            "field_description": meaning,
            "field_value": row[field],
            "stored_in_db": row[field] not in (None, False, {}),
            "field_default_value": None,
        }
        for field, (type_, meaning) in _SETTINGS.items()
    ]


def routes() -> list[web.RouteDef]:
    """Return the routes of budgets."""
    return [
        web.post("/budget/new", answered(new)),
        web.post("/budget/update", answered(update)),
        web.post("/budget/delete", answered(delete)),
        web.post("/budget/info", answered(info)),
        web.get("/budget/list", answered(list_)),
        web.get("/budget/settings", answered(settings)),
    ]
