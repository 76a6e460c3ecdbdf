"""``/team/…``: teams over HTTP, with LiteLLM's paths, fields and JSON; their members are for ``team_members``.

What is set on a team holds for all its keys together. Deleting a team deletes its keys.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from bedrock_gateway.access.callers import Caller
from bedrock_gateway.access.fields import parse
from bedrock_gateway.access.values import Parser, list_of, name, team_identifier
from bedrock_gateway.access.virtual_keys import ID_BYTES, new_id
from bedrock_gateway.admin.answers import (
    Listed,
    Page,
    answered,
    body_of,
    count_of,
    page_of,
    query_of,
    required,
    small_body_of,
)
from bedrock_gateway.admin.authority import ADMIN, Admin, administrator, authority, may_read_all, told
from bedrock_gateway.admin.figures import View
from bedrock_gateway.admin.key_rows import key_rows
from bedrock_gateway.admin.owner_rows import membership_row, team_row
from bedrock_gateway.admin.team_members import add_members, members_given
from bedrock_gateway.errors import AccessDenied
from bedrock_gateway.store.administration import change, create, need, remove_all
from bedrock_gateway.store.listing import KeyFilter, list_keys, list_subjects
from bedrock_gateway.store.members import find_member, members_of, teams_of
from bedrock_gateway.store.subjects import Subject, get_many

__all__ = ["routes", "team_view"]

_NEW: Mapping[str, Parser] = {"members_with_roles": members_given}
_LIST: Mapping[str, Parser] = {
    "page": count_of,
    "page_size": count_of,
    "user_id": name,
    "team_id": team_identifier,
    "team_alias": name,
}
#: Keys shown with a team; ``/key/list`` has all.
_MOST_KEYS = 1000


def team_view(team: Subject, view: View) -> dict[str, Any]:
    """Return a team with its members as LiteLLM shows it."""
    members = members_of(view.connection, team.id)
    users = get_many(view.connection, "user", (member.user for member in members))
    return team_row(team, members, {id_: user.name for id_, user in users.items()}, view)


async def new(request: web.Request) -> dict[str, Any]:
    """Make a team with its members."""
    admin, caller = request.app[ADMIN], administrator(request)
    given = parse("team", await body_of(request), also=_NEW)
    return await admin.registry.write(_new, admin, caller, given)


def _new(connection: sqlite3.Connection, admin: Admin, caller: Caller, given: dict[str, Any]) -> dict[str, Any]:
    writing = admin.writing(caller)
    members = given.pop("members_with_roles", None) or []
    id_ = given.get("team_id") or new_id("team", admin.random_bytes(ID_BYTES))
    team = create(connection, "team", id_, given, writing)
    add_members(connection, admin, id_, members, {}, writing, "members_with_roles")
    return team_view(team, View.of(connection, admin))


async def update(request: web.Request) -> dict[str, Any]:
    """Change what is given of a team."""
    admin, caller = request.app[ADMIN], administrator(request)
    given = parse("team", await body_of(request))
    required(given, "team_id")
    return await admin.registry.write(_update, admin, caller, given)


def _update(connection: sqlite3.Connection, admin: Admin, caller: Caller, given: Mapping[str, Any]) -> dict[str, Any]:
    team = need(connection, "team", given["team_id"], "team_id")
    team = change(connection, team, given, admin.writing(caller))
    return {"team_id": team.id, "data": team_view(team, View.of(connection, admin))}


async def delete(request: web.Request) -> dict[str, Any]:
    """Take teams away with their keys, all that are named or none."""
    admin, caller = request.app[ADMIN], administrator(request)
    given = await small_body_of(request, {"team_ids": list_of(team_identifier)})
    ids = required(given, "team_ids", "a list of ids")
    await admin.registry.write(remove_all, "team", ids, "team_ids", admin.writing(caller))
    return {"deleted_teams": ids}


async def block(request: web.Request) -> dict[str, Any]:
    """Keep all keys of a team out until it is unblocked."""
    return await _set_blocked(request, blocked=True)


async def unblock(request: web.Request) -> dict[str, Any]:
    """Let the keys of a blocked team in again."""
    return await _set_blocked(request, blocked=False)


async def _set_blocked(request: web.Request, *, blocked: bool) -> dict[str, Any]:
    admin, caller = request.app[ADMIN], administrator(request)
    id_ = required(await small_body_of(request, {"team_id": team_identifier}), "team_id")
    told_ = await admin.registry.write(_update, admin, caller, {"team_id": id_, "blocked": blocked})
    row: dict[str, Any] = told_["data"]
    return row


async def info(request: web.Request) -> dict[str, Any]:
    """Return a team with its keys and members; members of it may read it too."""
    admin, caller = request.app[ADMIN], authority(request)
    id_ = required(query_of(request, {"team_id": team_identifier}), "team_id")
    return await admin.registry.read(_info, admin, caller, id_)


def _info(connection: sqlite3.Connection, admin: Admin, caller: Caller, id_: str) -> dict[str, Any]:
    own = caller.role is not None and find_member(connection, id_, caller.user) is not None
    if not may_read_all(caller) and not own:
        raise AccessDenied(f"Teams are read by administrators, and by members with a role; {told(caller)}.")
    team = need(connection, "team", id_, "team_id")
    view = View.of(connection, admin)
    # Members see the team, and of its keys their own.
    shown = KeyFilter(team=id_) if may_read_all(caller) else KeyFilter(team=id_, user=caller.user)
    keys, _ = list_keys(connection, shown, limit=_MOST_KEYS)
    return {
        "team_id": id_,
        "team_info": team_view(team, view),
        "keys": key_rows(keys, view),
        "team_memberships": [membership_row(team, member, view) for member in members_of(connection, id_)],
    }


async def list_(request: web.Request) -> Listed:
    """Return teams as a bare list."""
    told_, _ = await _listed(request, usual=1000)
    return Listed(entries=told_["teams"], total=told_["total"])


async def paged(request: web.Request) -> dict[str, Any]:
    """Return a page of teams."""
    told_, page = await _listed(request, usual=10)
    return {**told_, "page": page.number, "page_size": page.size, "total_pages": page.pages(told_["total"])}


async def _listed(request: web.Request, usual: int) -> tuple[dict[str, Any], Page]:
    admin, caller = request.app[ADMIN], authority(request)
    given = query_of(request, _LIST)
    page = page_of(given, size="page_size", usual=usual, most=1000)
    return await admin.registry.read(_list, admin, caller, given, page), page


def _list(
    connection: sqlite3.Connection, admin: Admin, caller: Caller, given: Mapping[str, Any], page: Page
) -> dict[str, Any]:
    user = given.get("user_id")
    if not may_read_all(caller):
        if caller.role is None or user not in (None, caller.user):
            raise AccessDenied(f"Teams are listed by administrators, by users with a role their own; {told(caller)}.")
        user = caller.user
    ids = [given["team_id"]] if "team_id" in given else None
    if user is not None:
        own = [member.team for member in teams_of(connection, user)]
        ids = own if ids is None else [id_ for id_ in ids if id_ in own]
    teams, total = list_subjects(
        connection, "team", ids=ids, name=given.get("team_alias"), offset=page.offset, limit=page.size
    )
    view = View.of(connection, admin)
    return {"teams": [team_view(team, view) for team in teams], "total": total}


def routes() -> list[web.RouteDef]:
    """Return the routes of teams."""
    return [
        web.post("/team/new", answered(new)),
        web.post("/team/update", answered(update)),
        web.post("/team/delete", answered(delete)),
        web.post("/team/block", answered(block)),
        web.post("/team/unblock", answered(unblock)),
        web.get("/team/info", answered(info)),
        web.get("/team/list", answered(list_)),
        web.get("/v2/team/list", answered(paged)),
    ]
