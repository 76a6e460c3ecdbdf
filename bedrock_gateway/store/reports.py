"""Sums out of the rollups, by one thing or another. Read-only, beside a running gateway or without one.

Knows what spend can be summed by and the SQL that names it; knows no table layout on a screen. Sums have the resolution
of the rollups, a quarter of an hour, in UTC: a period is widened to whole quarters.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from types import MappingProxyType

import attrs

from bedrock_gateway.store.names import DeploymentName, called, read_names
from bedrock_gateway.store.parties import key_names, subject_names
from bedrock_gateway.store.periods import DAY_QUARTERS, Period
from bedrock_gateway.store.rollup_rows import EVERYTHING, Only, RollupRows, Unanswerable, rollup_rows
from bedrock_gateway.store.sums import SUM_COLUMNS, Sums, grouped

__all__ = ["DIMENSIONS", "SpendLine", "spend_by"]

DIMENSIONS = MappingProxyType(
    {
        "model": "model",
        "key": "caller",
        "user": "user",
        "team": "team",
        "end-user": "label",
        "tag": "label",
        "day": f"date(quarter / {DAY_QUARTERS} * 86400, 'unixepoch')",
        "hour": f"strftime('%Y-%m-%d %H:00', quarter / {DAY_QUARTERS // 24} * 3600, 'unixepoch')",
        "caller": "caller",
        "deployment": "deployment",
        "model-group": "model_group",
        "operation": "operation",
        "state": "state",
    }
)
"""What spend can be summed by, and the SQL that names it."""

_LABELS = MappingProxyType({"tag": "tag", "end-user": "end_user"})
#: What the rollups of tags and end users can be summed by beside these.
_OF_LABELS = frozenset(["model", "key", "day", "hour", "caller", "state"])


@attrs.frozen(kw_only=True)
class SpendLine:
    """Sums of one value of a dimension.

    Attributes:
        name: the value; "" where calls have none.
        label: what people call it, where it is an id: a deployment as callers are shown it, or what led to it and the
            model ("ambient: amazon.nova-pro-v1:0") where the ledger was told no name; a key, user or team by its name.
            "" where there is nothing better than the value.
        region: of a deployment, as far as known.
        sums: calls, tokens, spend.
    """

    name: str
    label: str = ""
    region: str = ""
    sums: Sums


def spend_by(
    connection: sqlite3.Connection, dimension: str, period: Period, only: Only = EVERYTHING
) -> list[SpendLine]:
    """Return one line for each value of ``dimension`` (of ``DIMENSIONS``); times in order, others dearest first.

    A call counts with each of its tags: lines by tag add up to more than was spent, and to less where calls have none.

    Raises:
        Unanswerable: rollups have no such combination.
    """
    by_label = _LABELS.get(dimension)
    rows = rollup_rows(connection, period.quarters, only, by_label=by_label)
    if rows.labelled and by_label is None and dimension not in _OF_LABELS:
        raise Unanswerable(f"what was spent for a tag or an end user is kept by key and model, not by {dimension}")
    value = DIMENSIONS[dimension]
    found = grouped(rows.select(connection, f"{value}, {SUM_COLUMNS}", group="1, state"), 1)
    labels = _labels(connection, dimension, [name for (name,) in found], rows)
    lines = [
        SpendLine(name=name, sums=sums, label=labels[name].name, region=labels[name].region)
        if name in labels
        else SpendLine(name=name, sums=sums)
        for (name,), sums in found.items()
    ]
    if dimension in ("day", "hour"):
        return sorted(lines, key=lambda line: line.name)
    return sorted(lines, key=lambda line: (-line.sums.spend_all, -line.sums.calls, line.name))


def _labels(
    connection: sqlite3.Connection, dimension: str, ids: list[str], rows: RollupRows
) -> dict[str, DeploymentName]:
    """Return what the values of a dimension are called, where they are ids."""
    names: Iterable[tuple[str, str]] = ()
    if dimension == "deployment":
        known = read_names(connection)
        ways = rows.select(connection, "deployment, min(model_group), max(model)", group="deployment")
        return {id_: called(id_, group, model, known) for id_, group, model in ways}
    if dimension == "key":
        names = ((key.id, key.shown) for key in key_names(connection, ids).values())
    elif dimension in ("user", "team"):
        names = subject_names(connection, dimension, ids).items()
    return {id_: DeploymentName(name=name, region="") for id_, name in names}
