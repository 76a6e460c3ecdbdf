"""What happens to keys, users, teams, end users, tags and budgets, as rows: made, changed, taken away, all of it inside
one transaction of the caller's.

Knows which field is a column, what has to be there already, and what goes with what. What a field may hold was checked
before (``access.fields``), who may do it too (``admin.authority``). Used by the admin API and the command line.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from bedrock_gateway.access.fields import changed
from bedrock_gateway.errors import Conflict, InvalidField, NotFound
from bedrock_gateway.store.subjects import Subject, delete, get, insert, update

__all__ = ["Writing", "change", "create", "ensure_user", "need", "remove", "remove_all"]

#: Of each kind, the fields that are columns: its id, its name.
_ID = {"user": "user_id", "team": "team_id", "end_user": "user_id", "tag": "name", "budget": "budget_id"}
_NAME = {"key": "key_alias", "user": "user_email", "team": "team_alias"}
_WORD = {"end_user": "customer"}


@attrs.frozen(kw_only=True)
class Writing:
    """When something is written, and by whom.

    Attributes:
        now_ms: UTC ms.
        by: id of a caller, or ``command-line``.
    """

    now_ms: int
    by: str


def need(connection: sqlite3.Connection, kind: str, id_: str, field: str) -> Subject:
    """Return the row of an id that was given in a field.

    Raises:
        NotFound: there is none.
    """
    subject = get(connection, kind, id_)
    if subject is None:
        raise NotFound(field, f"{field}: there is no {_WORD.get(kind, kind)} {id_!r}")
    return subject


def create(
    connection: sqlite3.Connection,
    kind: str,
    id_: str,
    given: Mapping[str, Any],
    writing: Writing,
    *,
    expires_at: int | None = None,
) -> Subject:
    """Write something new.

    Args:
        given: fields as ``access.fields.parse`` returns them.
        expires_at: of a key, UTC ms.

    Raises:
        Conflict: its id or name is taken.
        NotFound: a team or budget it names is not there.
    """
    blank = Subject(
        kind=kind,
        id=id_,
        expires_at=expires_at,
        created_at=writing.now_ms,
        created_by=writing.by,
        updated_at=writing.now_ms,
        updated_by=writing.by,
    )
    subject = _with(connection, blank, given, writing)
    insert(connection, subject)
    return subject


def change(
    connection: sqlite3.Connection, subject: Subject, given: Mapping[str, Any], writing: Writing, **columns: Any
) -> Subject:
    """Change what is given of something, and leave the rest as it is; None takes a field away.

    Args:
        columns: of ``Subject``, set as they are.

    Raises:
        Conflict: its new name is taken.
        NotFound: a team or budget it names is not there.
    """
    told = attrs.evolve(subject, updated_at=writing.now_ms, updated_by=writing.by, **columns)
    told = _with(connection, told, given, writing)
    update(connection, told)
    return told


def remove(connection: sqlite3.Connection, subject: Subject, writing: Writing) -> None:
    """Take something away. The keys of a user or team go with it, as in LiteLLM.

    Raises:
        Conflict: it is a budget that others name: their limits would be gone with it.
    """
    if subject.kind in ("user", "team"):
        keys = connection.execute(
            f"SELECT id FROM subjects WHERE {subject.kind} = ? AND kind = 'key'", (subject.id,)
        ).fetchall()
        for (key,) in keys:
            delete(connection, "key", key, writing.now_ms)
    elif subject.kind == "budget":
        user = _user_of_budget(connection, subject.id)
        if user is not None:
            raise Conflict("id", f"id: budget {subject.id!r} is in use by {user}; give that another budget first")
    delete(connection, subject.kind, subject.id, writing.now_ms)


def remove_all(connection: sqlite3.Connection, kind: str, ids: Sequence[str], field: str, writing: Writing) -> None:
    """Take away every row of a list of ids that was given in a field, or none of them.

    Raises:
        NotFound: there is none of one of the ids.
        Conflict: see `remove`.
    """
    for subject in [need(connection, kind, id_, f"{field}[{index}]") for index, id_ in enumerate(ids)]:
        remove(connection, subject, writing)


def ensure_user(connection: sqlite3.Connection, id_: str, writing: Writing) -> None:
    """Write a user that a key was made for before the user was, as LiteLLM does: with nothing set and no role."""
    if get(connection, "user", id_) is None:
        create(connection, "user", id_, {}, writing)


def _with(connection: sqlite3.Connection, subject: Subject, given: Mapping[str, Any], writing: Writing) -> Subject:
    """Return a row with fields set, each where it belongs."""
    kind = subject.kind
    columns: dict[str, Any] = {}
    rest = {}
    for field, value in given.items():
        if field == _NAME.get(kind):
            columns["name"] = value
        elif field == "blocked":
            columns["blocked"] = bool(value)
        elif kind == "key" and field == "user_id":
            columns["user"] = value
        elif kind == "key" and field == "team_id":
            columns["team"] = value
        elif field != _ID.get(kind):
            rest[field] = value
    if columns.get("user") is not None:
        ensure_user(connection, columns["user"], writing)
    if columns.get("team") is not None:
        need(connection, "team", columns["team"], "team_id")
    if rest.get("budget_id") is not None:
        need(connection, "budget", rest["budget_id"], "budget_id")
    document = changed(subject.document, rest)
    _check(kind, document)
    return attrs.evolve(subject, document=document, **columns)


def _check(kind: str, document: Mapping[str, Any]) -> None:
    """Refuse fields that have no meaning without others."""
    if document.get("budget_sliding") and not any(
        document.get(field) for field in ("budget_duration", "budget_limits", "model_max_budget", "budget_id")
    ):
        raise InvalidField("budget_sliding", "needs a budget_duration: without one a budget has no window")


def _user_of_budget(connection: sqlite3.Connection, budget: str) -> str | None:
    """Return what names a budget as its template, in words."""
    rows = connection.execute(
        "SELECT kind, id, document FROM subjects WHERE instr(document, ?)", (f'"budget_id":{json.dumps(budget)}',)
    )
    for kind, id_, document in rows:
        # The text may stand in metadata.
        if json.loads(document).get("budget_id") == budget:
            return f"{_WORD.get(kind, kind)} {id_!r}"
    return None
