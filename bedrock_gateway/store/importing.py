"""Keys of a LiteLLM installation, taken in with their digests, so that handed-out keys keep working.

Reads rows of its ``/key/list?return_full_object=true`` as they are; what a field may hold is checked by the same code
as everywhere (``access.fields``). Everything happens inside one transaction of the caller's. Times are UTC ms.

Source: LiteLLM 1.109.1, ``proxy/schema.prisma`` (``LiteLLM_VerificationToken``, ``LiteLLM_BudgetTable``); its ``token``
is the SHA-256 of the key in hex.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import attrs

from bedrock_gateway.access.fields import KINDS, parse
from bedrock_gateway.access.values import money, nano, shown
from bedrock_gateway.errors import InvalidField, Refusal
from bedrock_gateway.store.administration import Writing, create
from bedrock_gateway.store.keys import Digest, create_key
from bedrock_gateway.store.schema import QUARTER_MS
from bedrock_gateway.store.subjects import get

__all__ = ["Outcome", "import_keys"]

_TOKEN = re.compile(r"[0-9a-f]{64}")
#: Of LiteLLM's own pages: keys of somebody's session there.
_DASHBOARD = "litellm-dashboard"
#: What a row says beside the fields that can be set: what it was, not what holds.
_TOLD = frozenset(
    {
        *("token", "token_id", "key_id", "key", "key_name", "spend", "total_spend", "expires", "status", "duration"),
        *("budget_reset_at", "model_spend", "soft_budget_cooldown", "litellm_budget_table", "last_active", "user"),
        *("rotation_count", "last_rotation_at", "key_rotation_at", "settings_updated_at", "team_alias", "user_email"),
        *("created_by_user", "user_alias", "litellm_organization_table", "model_max_budget_usage"),
        *("budget_limits_usage", "deleted_at", "deleted_by", "litellm_changed_by"),
    }
)
#: LiteLLM keeps a key's kind as the routes it may use.
_KINDS = {"llm_api_routes": "llm_api", "management_routes": "management", "info_routes": "read_only"}


@attrs.frozen(kw_only=True)
class Outcome:
    """What became of one row.

    Attributes:
        number: of the row, from 1.
        name: alias or last characters, for people.
        what: ``new``, ``known`` (was there already), ``session`` (left out) or ``faulty``.
        fault: what is wrong with it.
        notes: what is to be known about it.
    """

    number: int
    name: str
    what: str
    fault: str = ""
    notes: tuple[str, ...] = ()


def import_keys(
    connection: sqlite3.Connection, rows: Iterable[Any], writing: Writing, new_id: Callable[[], str]
) -> Iterator[Outcome]:
    """Write each row that is right and new; nothing of one that is not.

    Args:
        new_id: returns another id of a key every time.
    """
    for number, row in enumerate(rows, start=1):
        connection.execute("SAVEPOINT one_row")
        try:
            outcome = _import(connection, number, row, writing, new_id)
        except Refusal as refusal:
            connection.execute("ROLLBACK TO one_row")
            outcome = Outcome(number=number, name=_name(row), what="faulty", fault=refusal.message)
        connection.execute("RELEASE one_row")
        yield outcome


def _name(row: Any) -> str:
    """Return what a row is called for people, with nothing in it that steers a terminal."""
    alias, last = (row.get("key_alias"), row.get("key_name")) if isinstance(row, Mapping) else (None, None)
    if isinstance(alias, str) and alias.isprintable() and alias:
        return alias[:80]
    return f"sk-...{_tail(last)}" if _tail(last) else ""


def _tail(key_name: Any) -> str:
    """Return the last characters of a key, as far as ``sk-...abcd`` tells them."""
    last = key_name[-4:] if isinstance(key_name, str) and key_name.startswith("sk-...") else ""
    return last if last.isprintable() else ""


def _import(
    connection: sqlite3.Connection, number: int, row: Any, writing: Writing, new_id: Callable[[], str]
) -> Outcome:
    if not isinstance(row, Mapping):
        raise InvalidField("key", f"must be an object, not {shown(row)}: export with return_full_object=true")
    if row.get("team_id") == _DASHBOARD:
        return Outcome(number=number, name=_name(row), what="session")
    secret = _digest(row)
    if connection.execute("SELECT 1 FROM key_digests WHERE digest = ?", (secret.sha256,)).fetchone() is not None:
        return Outcome(number=number, name=_name(row), what="known")
    body = {field: value for field, value in row.items() if field not in _TOLD}
    kind = _KINDS.get(_only(body.get("allowed_routes")))
    if kind is not None:
        body |= {"allowed_routes": [], "key_type": kind}
    given = {field: value for field, value in parse("key", body).items() if value not in (None, [], {})}
    notes = []
    if _make_budget(connection, row, writing):
        notes.append(f"budget {row['budget_id']!r} was made with it")
    user = given.get("user_id")
    if user is not None and get(connection, "user", user) is None:
        notes.append(f"user {user!r} was made with it, without role or budget")
    id_ = new_id()
    create_key(connection, id_, secret, given, writing, expires_at=_time("expires", row.get("expires")))
    opening, note = _opening(row, writing.now_ms)
    if opening:
        connection.execute(
            "INSERT INTO accounts (account, quarter, spend) VALUES (?, ?, ?)",
            (f"key:{id_}", writing.now_ms // QUARTER_MS, opening),
        )
    return Outcome(number=number, name=_name(row), what="new", notes=(*notes, *note))


def _digest(row: Mapping[str, Any]) -> Digest:
    token = row.get("token")
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise InvalidField("token", "must be the SHA-256 of the key in hex, as LiteLLM stores it")
    return Digest(sha256=bytes.fromhex(token), tail=_tail(row.get("key_name")))


def _only(routes: Any) -> str:
    return routes[0] if isinstance(routes, list) and len(routes) == 1 and isinstance(routes[0], str) else ""


def _make_budget(connection: sqlite3.Connection, row: Mapping[str, Any], writing: Writing) -> bool:
    """Write the budget that comes with a row and that it names, unless there is one of this id."""
    id_, table = row.get("budget_id"), row.get("litellm_budget_table")
    if not isinstance(id_, str) or not isinstance(table, Mapping) or get(connection, "budget", id_) is not None:
        return False
    known = (KINDS["budget"].kept.keys() | KINDS["budget"].unenforced) - {"budget_reset_at"}
    try:
        given = parse("budget", {field: value for field, value in table.items() if field in known} | {"budget_id": id_})
    except InvalidField as error:
        raise InvalidField(f"litellm_budget_table.{error.field}", error.message.partition(": ")[2]) from None
    create(connection, "budget", id_, given, writing)
    return True


def _opening(row: Mapping[str, Any], now_ms: int) -> tuple[int, tuple[str, ...]]:
    """Return what was spent already of the current window, nano-USD, and what is to be known about it."""
    if row.get("spend") is None:
        return 0, ()
    spend = nano(money("spend", row["spend"]))
    ended = _time("budget_reset_at", row.get("budget_reset_at"))
    if spend and ended is not None and ended <= now_ms:
        return 0, ("its spend was of a window that is over, and was left behind",)
    return spend, ()


def _time(field: str, value: Any) -> int | None:
    """Return UTC ms of a time as LiteLLM writes it; without an offset it is UTC."""
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
        # In UTC it may be none that there is: of year 0, or 10000.
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).timestamp() * 1000)
    except (TypeError, ValueError, OverflowError):
        raise InvalidField(field, f"must be an ISO 8601 time, not {shown(value)}") from None
