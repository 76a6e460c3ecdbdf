"""``/customer/…``, which is ``/end_user/…`` too: whom calls are made for, over HTTP, with LiteLLM's paths, fields and
JSON.

Any call may name an end user; only those something was set for, a budget, limits, models or a block, have a row.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from bedrock_gateway.access.callers import Caller
from bedrock_gateway.access.fields import parse
from bedrock_gateway.access.values import Parser, list_of, name
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
from bedrock_gateway.admin.figures import View
from bedrock_gateway.admin.owner_rows import end_user_row
from bedrock_gateway.store.administration import change, create, need, remove_all
from bedrock_gateway.store.listing import list_subjects
from bedrock_gateway.store.subjects import get

__all__ = ["routes"]

_IDS: Mapping[str, Parser] = {"user_ids": list_of(name)}


async def new(request: web.Request) -> dict[str, Any]:
    """Set something for an end user that nothing was set for yet."""
    admin, caller = request.app[ADMIN], administrator(request)
    given = parse("end_user", await body_of(request))
    required(given, "user_id")
    return await admin.registry.write(_new, admin, caller, given)


def _new(connection: sqlite3.Connection, admin: Admin, caller: Caller, given: Mapping[str, Any]) -> dict[str, Any]:
    end_user = create(connection, "end_user", given["user_id"], given, admin.writing(caller))
    return end_user_row(end_user, View.of(connection, admin))


async def update(request: web.Request) -> dict[str, Any]:
    """Change what is given of an end user."""
    admin, caller = request.app[ADMIN], administrator(request)
    given = parse("end_user", await body_of(request))
    required(given, "user_id")
    return await admin.registry.write(_update, admin, caller, given)


def _update(connection: sqlite3.Connection, admin: Admin, caller: Caller, given: Mapping[str, Any]) -> dict[str, Any]:
    end_user = need(connection, "end_user", given["user_id"], "user_id")
    return end_user_row(change(connection, end_user, given, admin.writing(caller)), View.of(connection, admin))


async def delete(request: web.Request) -> dict[str, Any]:
    """Take away what was set for end users, all that are named or none."""
    admin, caller = request.app[ADMIN], administrator(request)
    ids = required(await small_body_of(request, _IDS), "user_ids", "a list of ids")
    await admin.registry.write(remove_all, "end_user", ids, "user_ids", admin.writing(caller))
    return {"deleted_customers": len(ids), "message": f"Successfully deleted customers with ids: {ids}"}


async def block(request: web.Request) -> dict[str, Any]:
    """Refuse calls for end users until they are unblocked; those without a row get one."""
    return {"blocked_users": await _set_blocked(request, blocked=True)}


async def unblock(request: web.Request) -> dict[str, Any]:
    """Allow calls for blocked end users again."""
    return {"unblocked_users": await _set_blocked(request, blocked=False)}


async def _set_blocked(request: web.Request, *, blocked: bool) -> list[dict[str, Any]]:
    admin, caller = request.app[ADMIN], administrator(request)
    ids = required(await small_body_of(request, _IDS), "user_ids", "a list of ids")
    return await admin.registry.write(_block, admin, caller, ids, blocked=blocked)


def _block(
    connection: sqlite3.Connection, admin: Admin, caller: Caller, ids: Sequence[str], *, blocked: bool
) -> list[dict[str, Any]]:
    writing, view = admin.writing(caller), View.of(connection, admin)
    rows = []
    for index, id_ in enumerate(ids):
        known = get(connection, "end_user", id_)
        if known is None and blocked:
            known = create(connection, "end_user", id_, {}, writing)
        end_user = known or need(connection, "end_user", id_, f"user_ids[{index}]")
        rows.append(end_user_row(change(connection, end_user, {"blocked": blocked}, writing), view))
    return rows


async def info(request: web.Request) -> dict[str, Any]:
    """Return what was set for an end user."""
    admin, _ = request.app[ADMIN], reader(request)
    id_ = required(query_of(request, {"end_user_id": name}), "end_user_id")
    return await admin.registry.read(_info, admin, id_)


def _info(connection: sqlite3.Connection, admin: Admin, id_: str) -> dict[str, Any]:
    return end_user_row(need(connection, "end_user", id_, "end_user_id"), View.of(connection, admin))


async def list_(request: web.Request) -> Listed:
    """Return the end users something was set for."""
    admin, _ = request.app[ADMIN], reader(request)
    return await admin.registry.read(_list, admin, whole_page_of(request))


def _list(connection: sqlite3.Connection, admin: Admin, page: Page) -> Listed:
    view = View.of(connection, admin)
    found, total = list_subjects(connection, "end_user", offset=page.offset, limit=page.size)
    return Listed(entries=[end_user_row(end_user, view) for end_user in found], total=total)


def routes() -> list[web.RouteDef]:
    """Return the routes of end users, under both names."""
    return [
        route
        for prefix in ("/customer", "/end_user")
        for route in (
            web.post(f"{prefix}/new", answered(new)),
            web.post(f"{prefix}/update", answered(update)),
            web.post(f"{prefix}/delete", answered(delete)),
            web.post(f"{prefix}/block", answered(block)),
            web.post(f"{prefix}/unblock", answered(unblock)),
            web.get(f"{prefix}/info", answered(info)),
            web.get(f"{prefix}/list", answered(list_)),
        )
    ]
