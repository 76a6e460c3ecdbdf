"""Pages of what is administered. Knows filters and orders; ids are found first, by index where there is one, and rows
read only for the page.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import attrs

from bedrock_gateway.store.subjects import Subject, get

__all__ = ["KEY_ORDERS", "KEY_STATES", "KeyFilter", "list_aliases", "list_keys", "list_subjects"]

KEY_ORDERS = MappingProxyType(
    {
        "created_at": "created_at",
        "updated_at": "updated_at",
        "key_alias": "name",
        "expires": "expires_at",
        "user_id": "user",
        "team_id": "team",
    }
)
"""What keys can be sorted by, and its column."""

KEY_STATES = ("active", "expired", "blocked", "revoked", "deleted")
"""What keys can be filtered by; ``revoked`` is LiteLLM's word for blocked, and nothing is kept of deleted ones."""


@attrs.frozen(kw_only=True)
class KeyFilter:
    """Which keys are asked for; None for all.

    Attributes:
        ids: these only.
        user: keys of a user; with ``user_teams`` also those of these teams.
        alias: this one only; with ``part`` those that have it in them.
        search: part of an alias.
        state: one of ``KEY_STATES``, at ``now_ms`` (UTC ms).
    """

    ids: Sequence[str] | None = None
    user: str | None = None
    user_teams: Sequence[str] = ()
    team: str | None = None
    alias: str | None = None
    part: bool = False
    search: str | None = None
    state: str | None = None
    now_ms: int = 0

    def conditions(self) -> tuple[list[str], list[Any]]:
        """Return SQL conditions, all of which must hold, and their values."""
        conditions, values = ["kind = 'key'"], list[Any]()

        def add(condition: str, *more: Any) -> None:
            conditions.append(condition)
            values.extend(more)

        if self.ids is not None:
            add(f"id IN ({_marks(self.ids)})", *self.ids)
        if self.user is not None and self.user_teams:
            add(f"(user = ? OR team IN ({_marks(self.user_teams)}))", self.user, *self.user_teams)
        elif self.user is not None:
            add("user = ?", self.user)
        if self.team is not None:
            add("team = ?", self.team)
        if self.alias is not None and not self.part:
            add("name = ?", self.alias)
        for text in (self.alias if self.part else None, self.search):
            if text is not None:
                add("name IS NOT NULL AND instr(lower(name), lower(?))", text)
        if self.state == "active":
            add("blocked = 0 AND (expires_at IS NULL OR expires_at > ?)", self.now_ms)
        elif self.state == "expired":
            add("expires_at <= ?", self.now_ms)
        elif self.state in ("blocked", "revoked"):
            add("blocked = 1")
        elif self.state == "deleted":
            add("0")
        return conditions, values


def list_keys(
    connection: sqlite3.Connection,
    wanted: KeyFilter,
    *,
    order: str = "created_at",
    descending: bool = True,
    offset: int = 0,
    limit: int = 100,
) -> tuple[list[Subject], int]:
    """Return a page of keys, and how many there are in all.

    Args:
        order: one of ``KEY_ORDERS``.
    """
    conditions, values = wanted.conditions()
    direction = "DESC" if descending else "ASC"
    return _page(
        connection, "key", conditions, values, f"{KEY_ORDERS[order]} {direction}, id {direction}", offset, limit
    )


def list_aliases(
    connection: sqlite3.Connection, wanted: KeyFilter, *, offset: int, limit: int
) -> tuple[list[str], int]:
    """Return a page of keys' aliases in alphabetical order, and how many there are in all."""
    conditions, values = wanted.conditions()
    where = " AND ".join((*conditions, "name IS NOT NULL"))
    (total,) = connection.execute(f"SELECT count(*) FROM subjects WHERE {where}", values).fetchone()
    rows = connection.execute(
        f"SELECT name FROM subjects WHERE {where} ORDER BY name LIMIT ? OFFSET ?", (*values, limit, offset)
    ).fetchall()
    return [name for (name,) in rows], total


def list_subjects(
    connection: sqlite3.Connection,
    kind: str,
    *,
    ids: Iterable[str] | None = None,
    fields: Mapping[str, Any] = MappingProxyType({}),
    name: str | None = None,
    offset: int = 0,
    limit: int = 100,
) -> tuple[list[Subject], int]:
    """Return a page of users, teams, …, the newest first, and how many there are in all.

    Args:
        ids: these only.
        fields: values that fields of the document must have.
        name: part of the name.
    """
    conditions, values = ["kind = ?"], [kind]
    if ids is not None:
        told = list(ids)
        conditions.append(f"id IN ({_marks(told)})")
        values += told
    if name is not None:
        conditions.append("name IS NOT NULL AND instr(lower(name), lower(?))")
        values.append(name)
    for field, value in fields.items():
        conditions.append(f"json_extract(document, '$.{field}') = ?")
        values.append(value)
    return _page(connection, kind, conditions, values, "created_at DESC, id DESC", offset, limit)


def _page(
    connection: sqlite3.Connection,
    kind: str,
    conditions: Sequence[str],
    values: Sequence[Any],
    order: str,
    offset: int,
    limit: int,
) -> tuple[list[Subject], int]:
    where = " AND ".join(conditions)
    (total,) = connection.execute(f"SELECT count(*) FROM subjects WHERE {where}", values).fetchone()
    rows = connection.execute(
        f"SELECT id FROM subjects WHERE {where} ORDER BY {order} LIMIT ? OFFSET ?", (*values, limit, offset)
    ).fetchall()
    return [subject for (id_,) in rows if (subject := get(connection, kind, id_)) is not None], total


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))
