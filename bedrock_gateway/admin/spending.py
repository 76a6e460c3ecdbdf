"""What the endpoints of spend share: whose spend somebody may see, spans of days, and how sums and long answers are
written.

Times are UTC; dates include both ends. Where a sum is not exact its answer has ``states`` (attempts by state) beside
LiteLLM's fields, and where something of it is unknown ``at_most`` (USD that this may come to, as far as bounded). Long
answers are written in the reader's thread, piece by piece.
"""

from __future__ import annotations

import itertools
import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Self

import attrs
from aiohttp import web

from bedrock_gateway.access.callers import Caller
from bedrock_gateway.access.values import Parser, name, shown, tag, text
from bedrock_gateway.admin.answers import usd
from bedrock_gateway.admin.authority import may_read_all, may_read_own, told
from bedrock_gateway.downstream.answers import WholeAnswer
from bedrock_gateway.errors import AccessDenied, InvalidField, NotFound
from bedrock_gateway.store.members import find_member
from bedrock_gateway.store.parties import find_caller, find_owner
from bedrock_gateway.store.periods import DAY_QUARTERS, day_of, first_quarter
from bedrock_gateway.store.rollup_rows import Only
from bedrock_gateway.store.schema import QUARTER_MS
from bedrock_gateway.store.subjects import get
from bedrock_gateway.store.sums import UNKNOWN, Sums

__all__ = [
    "DAYS",
    "Document",
    "day_of_query",
    "inexact",
    "need_quarters",
    "next_page",
    "quarters_of",
    "seen",
    "wanted",
]

NEXT_START = "x-bedrock-gateway-next-start-date"

_LONGEST_LIST = 100
#: Entries that are written at once.
_AT_ONCE = 50


def day_of_query(name: str, value: str) -> date:
    """Take a date."""
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise InvalidField(name, f"must be a date as 2026-11-20, not {shown(value)}") from None


def _start(name: str, value: str) -> int:
    """Take a date, or a time at a quarter-hour as the header of a page before tells it; return the quarter-hour."""
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise InvalidField(name, f"must be a date as 2026-11-20, not {shown(value)}") from None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    if moment.minute % 15 or moment.second or moment.microsecond:
        raise InvalidField(name, "must be a whole quarter-hour: spend is summed up by these")
    return int(moment.timestamp()) * 1000 // QUARTER_MS


DAYS: Mapping[str, Parser] = {"start_date": _start, "end_date": day_of_query}
"""Query parameters of a span of days."""


def quarters_of(given: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Return the span that ``DAYS`` name: its first quarter-hour, and the first one after it; None is open.

    Raises:
        InvalidField: the end is before the start.
    """
    first, last = given.get("start_date"), given.get("end_date")
    end = None if last is None else first_quarter(last) + DAY_QUARTERS
    if first is not None and end is not None and end <= first:
        raise InvalidField("end_date", "is before start_date")
    return first, end


def need_quarters(given: Mapping[str, Any]) -> tuple[int, int]:
    """Return the span that ``DAYS`` name, both of which are needed.

    Raises:
        InvalidField: one is missing, or the end is before the start.
    """
    for field in DAYS:
        if field not in given:
            raise InvalidField(field, "is needed: start_date and end_date, both as 2026-11-20")
    first, end = quarters_of(given)
    assert first is not None and end is not None
    return first, end


def _several(parser: Parser) -> Parser:
    """Return a parser of values parted by commas."""

    def parse(name: str, value: str) -> tuple[str, ...]:
        values = [part.strip() for part in value.split(",") if part.strip()]
        if len(values) > _LONGEST_LIST:
            raise InvalidField(name, f"names more than {_LONGEST_LIST}")
        return tuple(parser(name, part) for part in dict.fromkeys(values))

    return parse


@attrs.frozen(kw_only=True)
class _Parameter:
    """What a query parameter limits."""

    limits: str
    parser: Parser


_PARAMETERS: Mapping[str, _Parameter] = {
    "api_key": _Parameter(limits="callers", parser=text),
    "user_id": _Parameter(limits="users", parser=name),
    "internal_user_id": _Parameter(limits="users", parser=name),
    "team_id": _Parameter(limits="teams", parser=name),
    "team_ids": _Parameter(limits="teams", parser=_several(name)),
    "customer_id": _Parameter(limits="end_users", parser=name),
    "end_user": _Parameter(limits="end_users", parser=name),
    "end_user_ids": _Parameter(limits="end_users", parser=_several(name)),
    "tags": _Parameter(limits="tags", parser=_several(tag)),
    "model": _Parameter(limits="models", parser=text),
}


def wanted(*names: str) -> dict[str, Parser]:
    """Return the parsers of some of LiteLLM's filters, as ``seen`` takes them."""
    return {name: _PARAMETERS[name].parser for name in names}


def seen(connection: sqlite3.Connection, caller: Caller, given: Mapping[str, Any]) -> Only:
    """Return what a report is limited to: what is asked for, and what its caller may see.

    Raises:
        AccessDenied: it asks for somebody else's.
        InvalidField: too much is asked for at once.
        NotFound: it asks for a key, user or team that never was.
    """
    limits: dict[str, tuple[str, ...]] = {}
    for field, value in given.items():
        parameter = _PARAMETERS.get(field)
        if parameter is None:
            continue
        values = value if isinstance(value, tuple) else (value,)
        if parameter.limits == "callers":
            values = tuple(_caller(connection, caller, key, field) for key in values)
        elif parameter.limits in ("users", "teams") and may_read_all(caller):
            kind = parameter.limits[:-1]
            values = tuple(_owner(connection, kind, id_, field) for id_ in values)
        limits[parameter.limits] = values
    only = Only(**limits)
    return only if may_read_all(caller) else _own(connection, caller, only)


def _own(connection: sqlite3.Connection, caller: Caller, only: Only) -> Only:
    """Return limits within what is a caller's own: its key, with a role also its user's keys, and teams it heads."""
    rights = may_read_own(caller)
    for key in only.callers:
        subject = get(connection, "key", key) if rights and key != caller.id else None
        if key != caller.id and (subject is None or subject.user != caller.user):
            raise AccessDenied(f"api_key: only your own spend is shown; {told(caller)}.")
    if only.users and not (rights and only.users == (caller.user,)):
        raise AccessDenied(f"user_id: only your own spend is shown; {told(caller)}.")
    for team in only.teams:
        member = find_member(connection, team, caller.user) if rights else None
        if not only.users and not only.callers and (member is None or member.role != "admin"):
            raise AccessDenied(
                f"team_id: a team's spend is shown to administrators and its own admins; {told(caller)}."
            )
    if only.callers or only.users or only.teams:
        return only
    return attrs.evolve(only, users=(caller.user,)) if rights else attrs.evolve(only, callers=(caller.id,))


def _caller(connection: sqlite3.Connection, asking: Caller, value: str, field: str) -> str:
    """Return the id of the caller that a key, its SHA-256, its alias or its id means."""
    found = find_caller(connection, value)
    if found is None and may_read_all(asking):
        raise NotFound(field, f"{field}: there is no key {shown(value)}, and no call was booked to one")
    # To others an unknown key is like any that is not theirs.
    return found or ""


def _owner(connection: sqlite3.Connection, kind: str, value: str, field: str) -> str:
    """Return the id of the user or team (``kind``) that an id or a name means."""
    found = find_owner(connection, kind, value)
    if found is None:
        raise NotFound(field, f"{field}: there is no {kind} {shown(value)}, and no call was booked to one")
    return found


# --- what is written --------------------------------------------------------------------------------------------------


def inexact(sums: Sums) -> dict[str, Any]:
    """Return what is to be known of sums that are not exact; nothing where they are."""
    states = sums.inexact
    if not states:
        return {}
    unknown = any(str(state) in states for state in UNKNOWN)
    return {"states": states, **({"at_most": usd(sums.at_most)} if unknown else {})}


@attrs.frozen(kw_only=True)
class Document:
    """A JSON document that is written already, and its headers."""

    content: bytes
    headers: Sequence[tuple[str, str]] = ()

    @classmethod
    def of(cls, value: Any, headers: Sequence[tuple[str, str]] = ()) -> Self:
        """Write a value as a whole."""
        return cls(content=json.dumps(value).encode(), headers=headers)

    @classmethod
    def listing(
        cls, entries: Iterable[Any], headers: Sequence[tuple[str, str]] = (), *, at_once: int = _AT_ONCE
    ) -> Self:
        """Write a list, some entries at a time: a long one as a whole would keep every other thread waiting."""
        parts = []
        rest = iter(entries)
        while some := list(itertools.islice(rest, at_once)):
            parts.append(json.dumps(some)[1:-1])
        return cls(content=f"[{', '.join(parts)}]".encode(), headers=headers)

    def answer(self) -> web.StreamResponse:
        """Return it as an answer."""
        usual = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))
        return WholeAnswer(200, (*usual, *self.headers), self.content)


def next_page(quarter: int | None) -> list[tuple[str, str]]:
    """Return the header that says where a report goes on; a date where that is a whole day."""
    if quarter is None:
        return []
    start = day_of(quarter).isoformat()
    if quarter % DAY_QUARTERS:
        moment = datetime.fromtimestamp(quarter * QUARTER_MS / 1000, UTC)
        start = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    return [(NEXT_START, start)]
