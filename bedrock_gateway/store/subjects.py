"""Keys, users, teams, end users, tags and budgets as rows, and the changes a running gateway keeps up by.

The SQL of what is administered, on a plain connection, for the gateway (in a thread) and for the command line alike.
Whoever writes opens a ``transaction`` around all that belongs together; each write leaves its row in ``changes``. Knows
rows; knows nothing of what a document says. Times are UTC ms.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

from bedrock_gateway.access.directory import Change, Contents
from bedrock_gateway.access.fields import document_text
from bedrock_gateway.errors import Conflict

__all__ = [
    "KEPT_CHANGES",
    "Subject",
    "delete",
    "find",
    "get",
    "get_many",
    "insert",
    "read_all",
    "read_changes",
    "select",
    "touch",
    "transaction",
    "update",
]

KEPT_CHANGES = 10_000
"""Changes kept; a gateway that is further behind reads everything anew."""

#: Changes applied one by one; of more, everything is read anew.
_MOST_SINGLE = 1_000

_COLUMNS = "kind, id, name, user, team, expires_at, blocked, document, created_at, created_by, updated_at, updated_by"
_FOR_CALLS = "kind, id, name, user, team, expires_at, blocked, document, created_at"

#: What a name is called where it is given, for messages.
_NAME_FIELDS = {"key": "key_alias", "user": "user_email", "team": "team_alias"}
_ID_FIELDS = {"key": "key", "user": "user_id", "team": "team_id", "end_user": "user_id", "tag": "name"}


@attrs.frozen(kw_only=True)
class Subject:
    """One row of ``subjects``.

    Attributes:
        kind: key, user, team, end_user, tag, budget, model.
        name: alias; no two of a kind have the same.
        user, team: of a key, whose it is.
        expires_at: None for never.
        document: everything else that was set, under LiteLLM's field names.
        created_by, updated_by: id of a caller, or ``command-line``.
    """

    kind: str
    id: str
    name: str | None = None
    user: str | None = None
    team: str | None = None
    expires_at: int | None = None
    blocked: bool = False
    document: Mapping[str, Any] = attrs.field(factory=dict)
    created_at: int
    created_by: str
    updated_at: int
    updated_by: str


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Write everything of the block or nothing.

    Raises:
        sqlite3.Error: the database does not take it.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def insert(connection: sqlite3.Connection, subject: Subject) -> None:
    """Write a new row.

    Raises:
        Conflict: its id or name is taken.
    """
    if get(connection, subject.kind, subject.id) is not None:
        field = _ID_FIELDS.get(subject.kind, f"{subject.kind}_id")
        raise Conflict(field, f"{field}: there is a {_word(subject.kind)} {subject.id!r} already")
    _refuse_taken_name(connection, subject)
    connection.execute(f"INSERT INTO subjects ({_COLUMNS}) VALUES ({', '.join('?' * 12)})", _values(subject))
    touch(connection, subject.kind, subject.id, subject.updated_at)


def update(connection: sqlite3.Connection, subject: Subject) -> None:
    """Write a row that is there already.

    Raises:
        Conflict: its name is taken.
    """
    _refuse_taken_name(connection, subject)
    kind, id_, *values = _values(subject)
    names = ", ".join(f"{column} = ?" for column in _COLUMNS.split(", ")[2:])
    connection.execute(f"UPDATE subjects SET {names} WHERE kind = ? AND id = ?", (*values, kind, id_))
    touch(connection, subject.kind, subject.id, subject.updated_at)


def delete(connection: sqlite3.Connection, kind: str, id_: str, now_ms: int) -> None:
    """Take a row away, with the digests of a key and the members of a team or user."""
    connection.execute("DELETE FROM subjects WHERE kind = ? AND id = ?", (kind, id_))
    if kind == "key":
        connection.execute("DELETE FROM key_digests WHERE key = ?", (id_,))
    elif kind in ("user", "team"):
        for team, user in connection.execute(f"SELECT team, user FROM members WHERE {kind} = ?", (id_,)).fetchall():
            connection.execute("DELETE FROM members WHERE team = ? AND user = ?", (team, user))
            touch(connection, "member", f"{team}/{user}", now_ms)
    touch(connection, kind, id_, now_ms)


def touch(connection: sqlite3.Connection, kind: str, id_: str, now_ms: int) -> None:
    """Note that something was written, for gateways that run; of a member the id is TEAM/USER."""
    number = connection.execute("INSERT INTO changes (kind, id, at) VALUES (?, ?, ?)", (kind, id_, now_ms)).lastrowid
    connection.execute("DELETE FROM changes WHERE number <= ?", ((number or 0) - KEPT_CHANGES,))


def get(connection: sqlite3.Connection, kind: str, id_: str) -> Subject | None:
    """Return the row of an id."""
    row = connection.execute(f"SELECT {_COLUMNS} FROM subjects WHERE kind = ? AND id = ?", (kind, id_)).fetchone()
    return None if row is None else _subject(row)


def find(connection: sqlite3.Connection, kind: str, name: str) -> Subject | None:
    """Return the row of a name."""
    row = connection.execute(f"SELECT {_COLUMNS} FROM subjects WHERE kind = ? AND name = ?", (kind, name)).fetchone()
    return None if row is None else _subject(row)


def get_many(connection: sqlite3.Connection, kind: str, ids: Iterable[str]) -> dict[str, Subject]:
    """Return the rows there are of some ids."""
    found = {}
    for id_ in dict.fromkeys(ids):
        subject = get(connection, kind, id_)
        if subject is not None:
            found[id_] = subject
    return found


def select(connection: sqlite3.Connection, where: str, values: Iterable[Any]) -> list[Subject]:
    """Return the rows that a condition, written in this package, holds for."""
    rows = connection.execute(f"SELECT {_COLUMNS} FROM subjects WHERE {where}", tuple(values)).fetchall()
    return [_subject(row) for row in rows]


def _refuse_taken_name(connection: sqlite3.Connection, subject: Subject) -> None:
    if subject.name is None:
        return
    other = find(connection, subject.kind, subject.name)
    if other is not None and other.id != subject.id:
        field = _NAME_FIELDS.get(subject.kind, "name")
        raise Conflict(field, f"{field}: there is a {_word(subject.kind)} {subject.name!r} already")


def _word(kind: str) -> str:
    return kind.replace("_", " ")


def _values(subject: Subject) -> tuple[Any, ...]:
    return (
        subject.kind,
        subject.id,
        subject.name,
        subject.user,
        subject.team,
        subject.expires_at,
        int(subject.blocked),
        document_text(subject.document),
        subject.created_at,
        subject.created_by,
        subject.updated_at,
        subject.updated_by,
    )


def _subject(row: tuple[Any, ...]) -> Subject:
    kind, id_, name, user, team, expires_at, blocked, document, created_at, created_by, updated_at, updated_by = row
    return Subject(
        kind=kind,
        id=id_,
        name=name,
        user=user,
        team=team,
        expires_at=expires_at,
        blocked=bool(blocked),
        document=json.loads(document),
        created_at=created_at,
        created_by=created_by,
        updated_at=updated_at,
        updated_by=updated_by,
    )


# --- for the directory of a running gateway ---------------------------------------------------------------------------


def read_all(connection: sqlite3.Connection) -> tuple[Contents, int]:
    """Return everything that is administered, and the number of the last change in it."""
    connection.execute("BEGIN")
    try:
        # The sequence outlives the rows: changes are pruned.
        row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'changes'").fetchone()
        contents = Contents(
            connection.execute(f"SELECT {_FOR_CALLS} FROM subjects"),
            connection.execute("SELECT digest, key, tail, until FROM key_digests"),
            connection.execute("SELECT team, user, role, document FROM members"),
        )
    finally:
        connection.execute("ROLLBACK")
    return contents, 0 if row is None else row[0]


def read_changes(connection: sqlite3.Connection, after: int) -> tuple[list[Change] | Contents, int] | None:
    """Return what was written after a change, each as it is now, and the number of the last one; None for nothing.

    Whoever is too far behind is given everything there is.
    """
    connection.execute("BEGIN")
    try:
        rows = connection.execute(
            "SELECT number, kind, id FROM changes WHERE number > ? ORDER BY number LIMIT ?", (after, _MOST_SINGLE + 1)
        ).fetchall()
        if not rows:
            return None
        if rows[0][0] == after + 1 and len(rows) <= _MOST_SINGLE:
            told = dict.fromkeys((kind, id_) for _, kind, id_ in rows)
            return [_change(connection, kind, id_) for kind, id_ in told], rows[-1][0]
    finally:
        connection.execute("ROLLBACK")
    return read_all(connection)


def _change(connection: sqlite3.Connection, kind: str, id_: str) -> Change:
    if kind == "member":
        team, _, user = id_.partition("/")
        member = connection.execute(
            "SELECT team, user, role, document FROM members WHERE team = ? AND user = ?", (team, user)
        ).fetchone()
        return Change(kind=kind, id=id_, member=member)
    subject = connection.execute(f"SELECT {_FOR_CALLS} FROM subjects WHERE kind = ? AND id = ?", (kind, id_)).fetchone()
    digests = ()
    if kind == "key":
        digests = tuple(
            connection.execute("SELECT digest, key, tail, until FROM key_digests WHERE key = ?", (id_,)).fetchall()
        )
    return Change(kind=kind, id=id_, subject=subject, digests=digests)
