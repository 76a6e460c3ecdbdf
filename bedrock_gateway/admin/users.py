"""``/user/…``: users over HTTP, with LiteLLM's paths, fields and JSON.

A user is an id that keys belong to, its role in the admin API, and what holds for all its keys together. Deleting one
deletes its keys.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from bedrock_gateway.access.callers import Caller
from bedrock_gateway.access.fields import ROLES, parse
from bedrock_gateway.access.values import Parser, boolean, choice, lifetime, list_of, name, text
from bedrock_gateway.access.virtual_keys import ID_BYTES, new_id
from bedrock_gateway.admin.answers import Page, answered, body_of, count_of, page_of, query_of, required, small_body_of
from bedrock_gateway.admin.authority import ADMIN, Admin, administrator, authority, may_read_all, reader, told
from bedrock_gateway.admin.figures import View
from bedrock_gateway.admin.key_rows import key_rows
from bedrock_gateway.admin.keys import new_key_row
from bedrock_gateway.admin.owner_rows import user_row
from bedrock_gateway.admin.teams import team_view
from bedrock_gateway.errors import AccessDenied, InvalidField
from bedrock_gateway.store.administration import change, create, need, remove_all
from bedrock_gateway.store.listing import KeyFilter, list_keys, list_subjects
from bedrock_gateway.store.members import set_teams, teams_of, user_of
from bedrock_gateway.store.subjects import get_many

__all__ = ["routes"]

_TEAMS: Mapping[str, Parser] = {"teams": list_of(name)}
#: What a new user takes beside its fields: of the key that is made with it, and whether one is.
_NEW: Mapping[str, Parser] = {**_TEAMS, "auto_create_key": boolean, "key_alias": name, "duration": lifetime}
_OF_KEY = ("key_alias", "duration")
_LIST: Mapping[str, Parser] = {
    "page": count_of,
    "page_size": count_of,
    "role": choice(*ROLES),
    "user_ids": text,
    "user_email": text,
}
#: Keys shown with a user; ``/key/list`` has all.
_MOST_KEYS = 1000


async def new(request: web.Request) -> dict[str, Any]:
    """Make a user, and a key for it unless ``auto_create_key`` is false."""
    admin, caller = request.app[ADMIN], administrator(request)
    given = parse("user", await body_of(request), also=_NEW)
    return await admin.registry.write(_new, admin, caller, given)


def _new(connection: sqlite3.Connection, admin: Admin, caller: Caller, given: dict[str, Any]) -> dict[str, Any]:
    writing = admin.writing(caller)
    of_key = {field: given.pop(field) for field in _OF_KEY if given.get(field) is not None}
    with_key = given.pop("auto_create_key", None) is not False
    if of_key and not with_key:
        raise InvalidField(next(iter(of_key)), "is of the user's key, and auto_create_key is false")
    teams = given.pop("teams", None) or []
    id_ = given.get("user_id") or new_id("user", admin.random_bytes(ID_BYTES))
    user = create(connection, "user", id_, {**given, "user_role": given.get("user_role") or "internal_user"}, writing)
    set_teams(connection, id_, teams, writing)
    key = new_key_row(connection, admin, writing, {**of_key, "user_id": id_}) if with_key else {"key": ""}
    return {**key, **user_row(user, teams_of(connection, id_), View.of(connection, admin))}


async def update(request: web.Request) -> dict[str, Any]:
    """Change what is given of a user."""
    admin, caller = request.app[ADMIN], administrator(request)
    given = parse("user", await body_of(request), also=_TEAMS)
    return await admin.registry.write(_update, admin, caller, given)


def _update(connection: sqlite3.Connection, admin: Admin, caller: Caller, given: dict[str, Any]) -> dict[str, Any]:
    writing = admin.writing(caller)
    id_ = required({"user_id": user_of(connection, given, "")}, "user_id", "the user's id, or user_email instead")
    if given.get("user_id") is None:
        given.pop("user_email")  # it says whom, and changes nothing
    teams = given.pop("teams", None)
    user = change(connection, need(connection, "user", id_, "user_id"), given, writing)
    if teams is not None:
        set_teams(connection, id_, teams, writing)
    return {"user_id": id_, "data": user_row(user, teams_of(connection, id_), View.of(connection, admin))}


async def delete(request: web.Request) -> int:
    """Take users away with their keys, all that are named or none; return how many."""
    admin, caller = request.app[ADMIN], administrator(request)
    given = await small_body_of(request, {"user_ids": list_of(name)})
    ids = required(given, "user_ids", "a list of ids")
    await admin.registry.write(remove_all, "user", ids, "user_ids", admin.writing(caller))
    return len(ids)


async def info(request: web.Request) -> dict[str, Any]:
    """Return a user with its keys and teams: the one that is named, else the caller's own."""
    admin, caller = request.app[ADMIN], authority(request)
    id_ = query_of(request, {"user_id": name}).get("user_id") or caller.user
    required({"user_id": id_ or None}, "user_id", f"key {caller.name} belongs to no user")
    if not may_read_all(caller) and (caller.role is None or id_ != caller.user):
        raise AccessDenied(f"Users are read by administrators, and by themselves with a role; {told(caller)}.")
    return await admin.registry.read(_info, admin, id_)


def _info(connection: sqlite3.Connection, admin: Admin, id_: str) -> dict[str, Any]:
    user = need(connection, "user", id_, "user_id")
    view = View.of(connection, admin)
    memberships = teams_of(connection, id_)
    keys, _ = list_keys(connection, KeyFilter(user=id_), limit=_MOST_KEYS)
    teams = get_many(connection, "team", (member.team for member in memberships))
    return {
        "user_id": id_,
        "user_info": user_row(user, memberships, view),
        "keys": key_rows(keys, view),
        "teams": [team_view(team, view) for team in teams.values()],
    }


async def alone(request: web.Request) -> dict[str, Any]:
    """Return a user without its keys and teams."""
    told_: dict[str, Any] = (await info(request))["user_info"]
    return told_


async def list_(request: web.Request) -> dict[str, Any]:
    """Return a page of users."""
    admin, _ = request.app[ADMIN], reader(request)
    given = query_of(request, _LIST)
    return await admin.registry.read(_list, admin, given, page_of(given, size="page_size", usual=25, most=1000))


def _list(connection: sqlite3.Connection, admin: Admin, given: Mapping[str, Any], page: Page) -> dict[str, Any]:
    view = View.of(connection, admin)
    ids = [id_.strip() for id_ in given["user_ids"].split(",")] if "user_ids" in given else None
    users, total = list_subjects(
        connection,
        "user",
        ids=ids,
        fields={"user_role": given["role"]} if "role" in given else {},
        name=given.get("user_email"),
        offset=page.offset,
        limit=page.size,
    )
    return {
        "users": [user_row(user, teams_of(connection, user.id), view) for user in users],
        "total": total,
        "page": page.number,
        "page_size": page.size,
        "total_pages": page.pages(total),
    }


def routes() -> list[web.RouteDef]:
    """Return the routes of users."""
    return [
        web.post("/user/new", answered(new)),
        web.post("/user/update", answered(update)),
        web.post("/user/delete", answered(delete)),
        web.get("/user/info", answered(info)),
        web.get("/v2/user/info", answered(alone)),
        web.get("/user/list", answered(list_)),
    ]
