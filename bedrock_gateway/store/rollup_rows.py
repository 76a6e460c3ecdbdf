"""Which rows of the rollups a report is made of, and the way to them: a page of a report never reads them all.

Knows the keys and indexes of the tables ``rollups`` and ``label_rollups``, and what each can be limited by; knows no
report. Tags and end users stand in the second table, which has neither users nor teams.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any

import attrs

__all__ = ["EVERYTHING", "LABELS", "Only", "RollupRows", "Unanswerable", "rollup_rows"]

LABELS = ("tag", "end_user")
"""Kinds of labels."""

#: So many rows are faster found one by one through an index than among all of their time.
_MOST_BY_INDEX = 200_000

_MOST_VALUES = 1000


class Unanswerable(ValueError):
    """What is asked for is not kept: rollups have no such combination."""


@attrs.frozen(kw_only=True)
class Only:
    """Whose calls, or which, a report is limited to; nothing given is no limit, several values are alternatives.

    Attributes:
        callers, users, teams: stable ids.
        tags, end_users: as calls bear them.
        models: model ids or ARNs, or model groups; with tags or end users only the former.
    """

    callers: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    teams: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    end_users: tuple[str, ...] = ()
    models: tuple[str, ...] = ()

    def __attrs_post_init__(self) -> None:
        if any(len(values) > _MOST_VALUES for values in attrs.astuple(self)):
            raise Unanswerable(f"at most {_MOST_VALUES} of one kind can be asked for at once")

    @property
    def label(self) -> str | None:
        """The kind of label it is limited by, or None."""
        return "tag" if self.tags else "end_user" if self.end_users else None


EVERYTHING = Only()
"""No limit."""


@attrs.frozen(kw_only=True)
class RollupRows:
    """Rows of one of the two tables.

    Attributes:
        table: its name.
        condition: SQL behind WHERE, quarter-hours included.
        values: what the condition takes.
        indexed: whether they are few, and found through an index.
    """

    table: str
    condition: str
    values: tuple[Any, ...]
    indexed: bool

    @property
    def labelled(self) -> bool:
        """Whether they are of ``label_rollups``."""
        return self.table == "label_rollups"

    def select(
        self,
        connection: sqlite3.Connection,
        what: str,
        *,
        group: str = "",
        order: str = "",
        limit: int | str | None = None,
    ) -> sqlite3.Cursor:
        """Run a query over the rows. What is named is SQL of this package, never a caller's text."""
        sql = f"SELECT {what} FROM {self.table} WHERE {self.condition}"
        if group:
            sql += f" GROUP BY {group}"
        if order:
            sql += f" ORDER BY {order}"
        if limit is not None:
            sql += f" LIMIT {limit}"
        return connection.execute(sql, self.values)


def rollup_rows(
    connection: sqlite3.Connection,
    quarters: tuple[int | None, int | None],
    only: Only = EVERYTHING,
    *,
    by_label: str | None = None,
) -> RollupRows:
    """Return the rows of some quarter-hours (the first, and the first after them) that a report is made of.

    Args:
        by_label: kind of label the report lists.

    Raises:
        Unanswerable: rollups have no such combination.
    """
    kind = by_label or only.label
    way = _Way(connection, quarters)
    if kind is None:
        for column, wanted in (("caller", only.callers), ("user", only.users), ("team", only.teams)):
            # The indexes of users and teams have only rows of some user or team: SQLite wants to be told.
            some = "" if column == "caller" else f" AND {column} <> ''"
            way.limit("rollups", column, wanted, also=some)
        if only.models:
            way.add(f"({_among('model', only.models)} OR {_among('model_group', only.models)})", only.models * 2)
        return way.rows("rollups")
    if only.users or only.teams:
        owner = "a user" if only.users else "a team"
        raise Unanswerable(f"what was spent for a tag or an end user is kept by key and model, not by {owner}")
    if (only.tags and kind != "tag") or (only.end_users and kind != "end_user"):
        raise Unanswerable("what was spent for a tag is not kept by end user, nor the other way round")
    way.limit("label_rollups", "label", only.tags or only.end_users, also=f" AND kind = '{kind}'")
    if not way.indexed:
        way.add(f"+kind = '{kind}'")
    if only.callers:
        way.add(_among("caller", only.callers), only.callers)
    if only.models:
        way.add(_among("model", only.models), only.models)
    return way.rows("label_rollups")


class _Way:
    """A condition in the making. Only the first limit with few rows behind it is looked up in its index; SQLite would
    take one for many rows too, and find each of them by itself.
    """

    def __init__(self, connection: sqlite3.Connection, quarters: tuple[int | None, int | None]) -> None:
        self.terms: list[str] = []
        self.values: list[Any] = []
        self.indexed = False
        self._connection = connection
        for term, bound in zip(("quarter >= ?", "quarter < ?"), quarters, strict=True):
            if bound is not None:
                self.add(term, (bound,))
        self._times = (" AND ".join(["", *self.terms]), tuple(self.values))

    def add(self, term: str, values: tuple[Any, ...] = ()) -> None:
        self.terms.append(term)
        self.values += values

    def limit(self, table: str, column: str, wanted: tuple[str, ...], also: str) -> None:
        """Add a limit to some values of a column; ``also`` is what SQLite needs to know to use the column's index."""
        if not wanted:
            return
        if not self.indexed and "" not in wanted:
            times, bounds = self._times
            (found,) = self._connection.execute(
                f"SELECT count(*) FROM (SELECT 1 FROM {table} WHERE {_among(column, wanted)}{also}{times} "
                f"LIMIT {_MOST_BY_INDEX + 1})",
                (*wanted, *bounds),
            ).fetchone()
            if found <= _MOST_BY_INDEX:
                self.indexed = True
                self.add(_among(column, wanted) + also, wanted)
                return
        # The plus keeps SQLite from the index.
        self.add(_among(f"+{column}", wanted), wanted)

    def rows(self, table: str) -> RollupRows:
        return RollupRows(
            table=table, condition=" AND ".join(self.terms) or "1", values=tuple(self.values), indexed=self.indexed
        )


def _among(column: str, values: Iterable[str]) -> str:
    return f"{column} IN ({', '.join('?' for _ in values)})"
