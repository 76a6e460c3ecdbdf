"""``/team/member_…``: users within teams over HTTP, with LiteLLM's paths, fields and JSON.

A member has a role, and may have a budget and limits of its own within the team. A user that is taken out of a team
loses its keys of that team, as in LiteLLM: they would go on spending the team's money.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from bedrock_gateway.access.callers import Caller
from bedrock_gateway.access.fields import parse
from bedrock_gateway.access.values import Parser, choice, name, shown, team_identifier
from bedrock_gateway.access.virtual_keys import ID_BYTES, new_id
from bedrock_gateway.admin.answers import answered, body_of, required, small_body_of
from bedrock_gateway.admin.authority import ADMIN, Admin, administrator
from bedrock_gateway.admin.figures import View
from bedrock_gateway.admin.owner_rows import membership_row, team_row, user_row
from bedrock_gateway.errors import InvalidField
from bedrock_gateway.store.administration import Writing, create, need, remove
from bedrock_gateway.store.listing import KeyFilter, list_keys
from bedrock_gateway.store.members import (
    Member,
    add_member,
    change_member,
    members_of,
    remove_member,
    teams_of,
    user_of,
)
from bedrock_gateway.store.subjects import find, get, get_many

__all__ = ["add_members", "members_given", "routes"]

_MEMBER: Mapping[str, Parser] = {"role": choice("admin", "user"), "user_id": name, "user_email": name}
_WHO: Mapping[str, Parser] = {"team_id": team_identifier, "user_id": name, "user_email": name}
_MOST_MEMBERS = 1000
_MOST_KEYS = 100_000


def members_given(field: str, value: Any) -> list[dict[str, Any]]:
    """Take members as LiteLLM writes them: ``{"role": "user", "user_id": "u1"}``, one or a list of them."""
    told = value if isinstance(value, list) else [value]
    if len(told) > _MOST_MEMBERS:
        raise InvalidField(field, f"has more than {_MOST_MEMBERS} entries")
    return [
        _member(f"{field}[{index}]" if isinstance(value, list) else field, member) for index, member in enumerate(told)
    ]


def _member(field: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidField(field, f"must be an object with role and user_id or user_email, not {shown(value)}")
    given = {}
    for key, item in value.items():
        if key not in _MEMBER:
            named = shown(key).strip('"')
            raise InvalidField(f"{field}.{named}", "is not known; known are role, user_email, user_id")
        if item is not None:
            given[key] = _MEMBER[key](f"{field}.{key}", item)
    if not ("user_id" in given or "user_email" in given):
        raise InvalidField(f"{field}.user_id", "is missing: the user's id, or user_email instead")
    return given


def add_members(
    connection: sqlite3.Connection,
    admin: Admin,
    team: str,
    members: Sequence[Mapping[str, Any]],
    given: Mapping[str, Any],
    writing: Writing,
    field: str,
) -> list[Member]:
    """Make users members of a team; users that nobody wrote before are written.

    Args:
        members: as ``members_given`` returns them.
        given: what is set on each of them.
        field: where they were given.

    Raises:
        Conflict: one is a member already.
    """
    added = []
    for member in members:
        email = member.get("user_email")
        if "user_id" not in member and find(connection, "user", email or "") is None:
            user = new_id("user", admin.random_bytes(ID_BYTES))
            create(connection, "user", user, {"user_email": email}, writing)
        else:
            user = str(user_of(connection, member, f"{field}."))
        added.append(add_member(connection, team, user, {**given, "role": member.get("role")}, writing))
    return added


async def add(request: web.Request) -> dict[str, Any]:
    """Make one or more users members of a team."""
    admin, caller = request.app[ADMIN], administrator(request)
    given = parse("member", await body_of(request), also={"team_id": team_identifier, "member": members_given})
    required(given, "team_id")
    required(given, "member", 'an object such as {"role": "user", "user_id": "u1"}')
    return await admin.registry.write(_add, admin, caller, given)


def _add(connection: sqlite3.Connection, admin: Admin, caller: Caller, given: dict[str, Any]) -> dict[str, Any]:
    id_, members = given.pop("team_id"), given.pop("member")
    given.pop("role", None)
    added = add_members(connection, admin, id_, members, given, admin.writing(caller), "member")
    view = View.of(connection, admin)
    team = need(connection, "team", id_, "team_id")
    users = get_many(connection, "user", (member.user for member in added))
    return {
        **_team(view, id_),
        "updated_users": [user_row(user, teams_of(connection, user.id), view) for user in users.values()],
        "updated_team_memberships": [membership_row(team, member, view) for member in added],
    }


def _team(view: View, id_: str) -> dict[str, Any]:
    team = need(view.connection, "team", id_, "team_id")
    members = members_of(view.connection, id_)
    users = get_many(view.connection, "user", (member.user for member in members))
    return team_row(team, members, {user.id: user.name for user in users.values()}, view)


async def update(request: web.Request) -> dict[str, Any]:
    """Change what is given of a membership."""
    admin, caller = request.app[ADMIN], administrator(request)
    given = parse("member", await body_of(request), also=_WHO)
    required(given, "team_id")
    return await admin.registry.write(_update, admin, caller, given)


def _update(connection: sqlite3.Connection, admin: Admin, caller: Caller, given: dict[str, Any]) -> dict[str, Any]:
    team, user = _who(connection, given)
    changes = {field: value for field, value in given.items() if field not in _WHO}
    member = change_member(connection, team, user, changes, admin.writing(caller))
    known = get(connection, "user", user)
    return {
        "team_id": team,
        "user_id": user,
        "user_email": None if known is None else known.name,
        "role": member.role,
        "max_budget_in_team": member.document.get("max_budget_in_team"),
        "budget_duration": member.document.get("budget_duration"),
        "tpm_limit": member.document.get("tpm_limit"),
        "rpm_limit": member.document.get("rpm_limit"),
        "max_parallel_requests": member.document.get("max_parallel_requests"),
    }


def _who(connection: sqlite3.Connection, given: Mapping[str, Any]) -> tuple[str, str]:
    user = required({"user_id": user_of(connection, given, "")}, "user_id", "the user's id, or user_email instead")
    return given["team_id"], user


async def delete(request: web.Request) -> dict[str, Any]:
    """Take a user out of a team, and its keys of that team away."""
    admin, caller = request.app[ADMIN], administrator(request)
    given = await small_body_of(request, _WHO)
    required(given, "team_id")
    return await admin.registry.write(_delete, admin, caller, given)


def _delete(connection: sqlite3.Connection, admin: Admin, caller: Caller, given: Mapping[str, Any]) -> dict[str, Any]:
    team, user = _who(connection, given)
    writing = admin.writing(caller)
    remove_member(connection, team, user, writing)
    keys, _ = list_keys(connection, KeyFilter(team=team, user=user), limit=_MOST_KEYS)
    for key in keys:
        remove(connection, key, writing)
    return _team(View.of(connection, admin), team)


def routes() -> list[web.RouteDef]:
    """Return the routes of members."""
    return [
        web.post("/team/member_add", answered(add)),
        web.post("/team/member_update", answered(update)),
        web.post("/team/member_delete", answered(delete)),
    ]
