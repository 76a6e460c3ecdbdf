"""Users within teams, as rows. Everything happens inside one transaction of the caller's."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from bedrock_gateway.access.fields import changed, document_text
from bedrock_gateway.errors import Conflict, NotFound
from bedrock_gateway.store.administration import Writing, ensure_user, need
from bedrock_gateway.store.subjects import find, touch

__all__ = [
    "Member",
    "add_member",
    "change_member",
    "find_member",
    "members_of",
    "remove_member",
    "set_teams",
    "teams_of",
    "user_of",
]


@attrs.frozen(kw_only=True)
class Member:
    """A user within a team.

    Attributes:
        team, user: their ids.
        role: admin or user.
        document: budget and limits within the team.
    """

    team: str
    user: str
    role: str
    document: Mapping[str, Any]


def members_of(connection: sqlite3.Connection, team: str) -> list[Member]:
    """Return the members of a team, by user."""
    rows = connection.execute("SELECT team, user, role, document FROM members WHERE team = ? ORDER BY user", (team,))
    return [_member(row) for row in rows.fetchall()]


def teams_of(connection: sqlite3.Connection, user: str) -> list[Member]:
    """Return the memberships of a user, by team."""
    rows = connection.execute("SELECT team, user, role, document FROM members WHERE user = ? ORDER BY team", (user,))
    return [_member(row) for row in rows.fetchall()]


def find_member(connection: sqlite3.Connection, team: str, user: str) -> Member | None:
    """Return a user's membership of a team."""
    row = connection.execute(
        "SELECT team, user, role, document FROM members WHERE team = ? AND user = ?", (team, user)
    ).fetchone()
    return None if row is None else _member(row)


def user_of(connection: sqlite3.Connection, given: Mapping[str, Any], field: str) -> str | None:
    """Return the id of the user that ``user_id`` or ``user_email`` names; None where neither is given.

    Raises:
        NotFound: nobody has this address.
    """
    if given.get("user_id") is not None:
        return str(given["user_id"])
    if given.get("user_email") is None:
        return None
    user = find(connection, "user", given["user_email"])
    if user is None:
        raise NotFound(f"{field}user_email", f"{field}user_email: there is no user {given['user_email']!r}")
    return user.id


def add_member(
    connection: sqlite3.Connection, team: str, user: str, given: Mapping[str, Any], writing: Writing
) -> Member:
    """Make a user a member of a team; a user nobody wrote before is written.

    Raises:
        NotFound: there is no such team.
        Conflict: the user is a member already.
    """
    need(connection, "team", team, "team_id")
    ensure_user(connection, user, writing)
    if find_member(connection, team, user) is not None:
        raise Conflict("user_id", f"user_id: {user!r} is a member of team {team!r} already")
    return _put(connection, Member(team=team, user=user, role="user", document={}), given, writing)


def change_member(
    connection: sqlite3.Connection, team: str, user: str, given: Mapping[str, Any], writing: Writing
) -> Member:
    """Change what is given of a membership.

    Raises:
        NotFound: there is no such team, or the user is no member.
    """
    need(connection, "team", team, "team_id")
    member = find_member(connection, team, user)
    if member is None:
        raise NotFound("user_id", f"user_id: {user!r} is no member of team {team!r}")
    return _put(connection, member, given, writing)


def remove_member(connection: sqlite3.Connection, team: str, user: str, writing: Writing) -> None:
    """Take a user out of a team.

    Raises:
        NotFound: there is no such team, or the user is no member.
    """
    need(connection, "team", team, "team_id")
    if find_member(connection, team, user) is None:
        raise NotFound("user_id", f"user_id: {user!r} is no member of team {team!r}")
    connection.execute("DELETE FROM members WHERE team = ? AND user = ?", (team, user))
    touch(connection, "member", f"{team}/{user}", writing.now_ms)


def set_teams(connection: sqlite3.Connection, user: str, teams: Iterable[str], writing: Writing) -> None:
    """Make a user a member of these teams and of no others; where it is one already nothing changes.

    Raises:
        NotFound: there is no such team.
    """
    wanted = dict.fromkeys(teams)
    known = {member.team for member in teams_of(connection, user)}
    for team in wanted:
        need(connection, "team", team, "teams")
        if team not in known:
            add_member(connection, team, user, {}, writing)
    for team in known - wanted.keys():
        remove_member(connection, team, user, writing)


def _put(connection: sqlite3.Connection, member: Member, given: Mapping[str, Any], writing: Writing) -> Member:
    rest = {field: value for field, value in given.items() if field != "role"}
    told = Member(
        team=member.team,
        user=member.user,
        role=given.get("role") or member.role,
        document=changed(member.document, rest),
    )
    connection.execute(
        "INSERT INTO members (team, user, role, document) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (team, user) DO UPDATE SET role = excluded.role, document = excluded.document",
        (told.team, told.user, told.role, document_text(told.document)),
    )
    touch(connection, "member", f"{told.team}/{told.user}", writing.now_ms)
    return told


def _member(row: tuple[str, str, str, str]) -> Member:
    return Member(team=row[0], user=row[1], role=row[2], document=json.loads(row[3]))
