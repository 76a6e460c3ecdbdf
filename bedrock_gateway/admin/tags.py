"""``/tag/…``: tags with budgets and limits over HTTP, with LiteLLM's paths, fields and JSON.

What is set on a tag binds calls of keys and teams that have it; tags that callers name themselves only report.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from bedrock_gateway.access.callers import Caller
from bedrock_gateway.access.fields import parse
from bedrock_gateway.access.values import list_of, tag
from bedrock_gateway.admin.answers import (
    Listed,
    Page,
    answered,
    body_of,
    required,
    small_body_of,
    whole_page_of,
)
from bedrock_gateway.admin.authority import ADMIN, Admin, administrator, reader
from bedrock_gateway.admin.figures import View
from bedrock_gateway.admin.owner_rows import tag_row
from bedrock_gateway.store.administration import change, create, need, remove
from bedrock_gateway.store.listing import list_subjects

__all__ = ["routes"]


async def new(request: web.Request) -> dict[str, Any]:
    """Set something for a tag that nothing was set for yet."""
    admin, caller = request.app[ADMIN], administrator(request)
    given = parse("tag", await body_of(request))
    name = required(given, "name")
    row = await admin.registry.write(_new, admin, caller, given)
    return {"message": f"Tag {name} created successfully", "tag": row}


def _new(connection: sqlite3.Connection, admin: Admin, caller: Caller, given: Mapping[str, Any]) -> dict[str, Any]:
    made = create(connection, "tag", given["name"], given, admin.writing(caller))
    return tag_row(made, View.of(connection, admin))


async def update(request: web.Request) -> dict[str, Any]:
    """Change what is given of a tag."""
    admin, caller = request.app[ADMIN], administrator(request)
    given = parse("tag", await body_of(request))
    name = required(given, "name")
    row = await admin.registry.write(_update, admin, caller, given)
    return {"message": f"Tag {name} updated successfully", "tag": row}


def _update(connection: sqlite3.Connection, admin: Admin, caller: Caller, given: Mapping[str, Any]) -> dict[str, Any]:
    changed = change(connection, need(connection, "tag", given["name"], "name"), given, admin.writing(caller))
    return tag_row(changed, View.of(connection, admin))


async def delete(request: web.Request) -> dict[str, Any]:
    """Take away what was set for a tag; keys and teams keep it as a mere word."""
    admin, caller = request.app[ADMIN], administrator(request)
    name = required(await small_body_of(request, {"name": tag}), "name")
    await admin.registry.write(_delete, admin, caller, name)
    return {"message": f"Tag {name} deleted successfully"}


def _delete(connection: sqlite3.Connection, admin: Admin, caller: Caller, name: str) -> None:
    remove(connection, need(connection, "tag", name, "name"), admin.writing(caller))


async def info(request: web.Request) -> dict[str, Any]:
    """Return the tags that are named."""
    admin, _ = request.app[ADMIN], reader(request)
    names = required(await small_body_of(request, {"names": list_of(tag)}), "names", "a list of tags")
    return await admin.registry.read(_info, admin, names)


def _info(connection: sqlite3.Connection, admin: Admin, names: Sequence[str]) -> dict[str, Any]:
    view = View.of(connection, admin)
    return {name: tag_row(need(connection, "tag", name, f"names[{index}]"), view) for index, name in enumerate(names)}


async def list_(request: web.Request) -> Listed:
    """Return the tags something was set for."""
    admin, _ = request.app[ADMIN], reader(request)
    return await admin.registry.read(_list, admin, whole_page_of(request))


def _list(connection: sqlite3.Connection, admin: Admin, page: Page) -> Listed:
    view = View.of(connection, admin)
    found, total = list_subjects(connection, "tag", offset=page.offset, limit=page.size)
    return Listed(entries=[tag_row(one, view) for one in found], total=total)


def routes() -> list[web.RouteDef]:
    """Return the routes of tags."""
    return [
        web.post("/tag/new", answered(new)),
        web.post("/tag/update", answered(update)),
        web.post("/tag/delete", answered(delete)),
        web.post("/tag/info", answered(info)),
        web.get("/tag/list", answered(list_)),
    ]
