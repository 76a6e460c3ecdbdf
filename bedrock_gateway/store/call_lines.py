"""Single calls out of the ledger, newest first. Read-only, beside a running gateway or without one.

Knows how few rows are looked at: ids begin with the time a call was made, so a time is a range of ids; and where a
limit leaves few calls, the rollups know in which quarter-hours these are.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from bedrock_gateway.store.ids import lowest_id
from bedrock_gateway.store.names import DeploymentName, called, read_names
from bedrock_gateway.store.periods import Period
from bedrock_gateway.store.rollup_rows import EVERYTHING, Only, rollup_rows
from bedrock_gateway.store.schema import QUARTER_MS

__all__ = ["EVERY_CALL", "CallLine", "CallPage", "Section", "Wanted", "call_terms", "calls", "marks", "sections"]

#: Milliseconds by which an id may be older than what is told as its call's start.
_BEFORE_MS = QUARTER_MS

_COLUMNS = (
    "id, started_at, ended_at, caller, user, team, end_user, tags, operation, model_group, model, deployment, state, "
    "status, error_type, attempts, spend, answered_by, dialect"
)
_ATTEMPTS = """
SELECT call, region, input, output, cache_read, cache_write_5m + cache_write_1h, images FROM attempts
WHERE call IN (SELECT value FROM json_each(?)) ORDER BY call, number, part, id
"""


@attrs.frozen(kw_only=True)
class CallLine:
    """One call: columns of the table ``calls``, what its deployment is called (as in ``SpendLine.label``), the region
    of its last attempt, the sums of its attempts' tokens. Times are UTC ms, spend is nano-USD.
    """

    call: str
    started_at: int
    ended_at: int | None
    caller: str
    user: str
    team: str
    end_user: str
    tags: tuple[str, ...]
    dialect: str
    operation: str
    model_group: str
    model: str
    deployment: str
    deployment_name: str
    region: str
    state: str
    status: int | None
    error_type: str | None
    attempts: int
    input: int
    output: int
    cache_read: int
    cache_write: int
    images: int
    spend: int | None
    answered_by: str | None


@attrs.frozen(kw_only=True)
class Wanted:
    """Which calls are listed; nothing given is no limit.

    Attributes:
        only: whose.
        call: the one of this id.
        deployment: stable id of the one last used.
        succeeded: whether they were answered with a status below 400; those under way are neither.
        least, most: nano-USD of known spend.
    """

    only: Only = EVERYTHING
    call: str | None = None
    deployment: str | None = None
    succeeded: bool | None = None
    least: int | None = None
    most: int | None = None


EVERY_CALL = Wanted()
"""No limit."""


@attrs.frozen(kw_only=True)
class CallPage:
    """Some of the calls that are wanted.

    Attributes:
        lines: newest first.
        total: how many are wanted in all, as far as they were counted.
        counted: whether ``total`` is all of them; else there are more.
    """

    lines: list[CallLine]
    total: int
    counted: bool


@attrs.frozen
class Section:
    """A span of time, UTC ms; None is open.

    Attributes:
        calls: how many are wanted of it, if that is known.
        short: whether it is a quarter-hour, or less.
    """

    since: int | None
    until: int | None
    calls: int | None = None
    short: bool = True

    def ids(self) -> tuple[str, str]:
        """Return the first id, and one behind the last."""
        first = "" if self.since is None else lowest_id(self.since - _BEFORE_MS)
        # Ids are hexadecimal: "g" sorts behind them all.
        return first, "g" if self.until is None else lowest_id(self.until)


def calls(
    connection: sqlite3.Connection,
    period: Period,
    limit: int,
    wanted: Wanted = EVERY_CALL,
    *,
    skip: int = 0,
    count_to: int = 0,
) -> CallPage:
    """Return calls of a period, newest first.

    Args:
        limit: most calls returned.
        skip: newer ones left out.
        count_to: how far calls are counted that the rollups have no count of; 0: only those returned are. Not less than
            ``skip`` and ``limit`` together.
    """
    rows: list[tuple[Any, ...]] = []
    total = 0
    counted = True
    for section in sections(connection, period, wanted):
        condition, values = call_terms(section, wanted)
        of_section = f"FROM calls WHERE {condition} ORDER BY id DESC"
        found = section.calls
        if found is None and count_to:
            # A quarter-hour has few enough to be counted; of all that was ever called, only the newest are.
            most = -1 if section.short else count_to + 1
            counting = connection.execute(f"SELECT count(*) FROM (SELECT 1 {of_section} LIMIT {most})", values)
            (found,) = counting.fetchone()
            counted = section.short or found <= count_to
        offset = 0
        if found is not None and count_to:
            offset, total = max(skip - total, 0), total + found
        if len(rows) <= limit and (found is None or offset < found):
            # One more than is returned tells whether there are more.
            more = f"LIMIT {limit - len(rows) + 1} OFFSET {offset}"
            rows += connection.execute(f"SELECT {_COLUMNS} {of_section} {more}", values)
        if len(rows) > limit and not count_to:
            counted = False
            break
    told = min(len(rows), limit) if not count_to else total if counted else count_to
    return CallPage(lines=_lines(connection, rows[:limit]), total=told, counted=counted)


def sections(connection: sqlite3.Connection, period: Period, wanted: Wanted) -> Iterator[Section]:
    """Yield spans of time, newest first, that hold everything wanted."""
    only = wanted.only
    owners = Only(callers=only.callers, users=only.users, teams=only.teams)
    hint = owners if owners != EVERYTHING else Only(tags=only.tags) if only.tags else Only(end_users=only.end_users)
    if wanted.call is None and hint != EVERYTHING:
        rows = rollup_rows(connection, period.quarters, hint)
        if rows.indexed:
            # Nothing else is asked for: what the rollups count is what is wanted. A call counts with each of its tags.
            known = attrs.evolve(EVERY_CALL, only=hint) == wanted and len(hint.tags) < 2
            for quarter, count in rows.select(
                connection, "quarter, sum(calls)", group="quarter", order="quarter DESC"
            ).fetchall():
                since, until = quarter * QUARTER_MS, (quarter + 1) * QUARTER_MS
                whole = since >= (period.since or 0) and (period.until is None or until <= period.until)
                if whole:
                    yield Section(since, until, count if known else None)
                else:
                    yield Section(max(since, period.since or 0), min(until, period.until or until))
            return
    yield Section(period.since, period.until, short=False)


def call_terms(section: Section, wanted: Wanted) -> tuple[str, list[Any]]:
    """Return a condition on rows of ``calls``, and its values."""
    terms = ["id >= ?", "id < ?"]
    values: list[Any] = [*section.ids()]
    only = wanted.only
    for term, value in (
        ("id = ?", wanted.call),
        ("started_at >= ?", section.since),
        ("started_at < ?", section.until),
        ("deployment = ?", wanted.deployment),
        ("spend >= ?", wanted.least),
        ("spend <= ?", wanted.most),
    ):
        if value is not None:
            terms.append(term)
            values.append(value)
    if wanted.succeeded is not None:
        # Status 0 is of a caller that left, none of a run that died.
        good = "coalesce(status, 0) BETWEEN 1 AND 399"
        terms.append(f"ended_at IS NOT NULL AND {good if wanted.succeeded else f'NOT ({good})'}")
    for column, named in (
        ("caller", only.callers),
        ("user", only.users),
        ("team", only.teams),
        ("end_user", only.end_users),
    ):
        if named:
            terms.append(f"{column} IN ({marks(named)})")
            values += named
    if only.models:
        terms.append(f"(model IN ({marks(only.models)}) OR model_group IN ({marks(only.models)}))")
        values += only.models * 2
    if only.tags:
        terms.append(f"tags <> '' AND EXISTS (SELECT 1 FROM json_each(tags) WHERE value IN ({marks(only.tags)}))")
        values += only.tags
    return " AND ".join(terms), values


def marks(values: Sequence[str]) -> str:
    """Return a place in SQL for each of some values."""
    return ", ".join("?" for _ in values)


def _lines(connection: sqlite3.Connection, rows: list[tuple[Any, ...]]) -> list[CallLine]:
    sums: dict[str, list[Any]] = {}
    for call, region, *quantities in connection.execute(_ATTEMPTS, (json.dumps([row[0] for row in rows]),)):
        kept = sums.get(call)
        if kept is None:
            sums[call] = [region, *quantities]
        else:
            kept[0] = region
            for index, quantity in enumerate(quantities, start=1):
                kept[index] += quantity
    names = read_names(connection)
    return [_line(row, sums.get(row[0], ("", 0, 0, 0, 0, 0)), names) for row in rows]


def _line(row: tuple[Any, ...], sums: Sequence[Any], names: Mapping[str, DeploymentName]) -> CallLine:
    call, started, ended, caller, user, team, end_user, tags, operation, group, model, deployment, state = row[:13]
    region, tokens_in, tokens_out, cache_read, cache_write, images = sums
    return CallLine(
        call=call,
        started_at=started,
        ended_at=ended,
        caller=caller,
        user=user,
        team=team,
        end_user=end_user,
        tags=tuple(json.loads(tags)) if tags else (),
        dialect=row[18],
        operation=operation,
        model_group=group,
        model=model,
        deployment=deployment,
        deployment_name=called(deployment, group, model, names).name,
        region=region,
        state=state,
        status=row[13],
        error_type=row[14],
        attempts=row[15],
        input=tokens_in,
        output=tokens_out,
        cache_read=cache_read,
        cache_write=cache_write,
        images=images,
        spend=row[16],
        answered_by=row[17],
    )
