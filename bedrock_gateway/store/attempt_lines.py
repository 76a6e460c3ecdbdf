"""Single attempts out of the ledger: every request that was sent upstream, also those that failed over. Read-only,
beside a running gateway or without one.
"""

from __future__ import annotations

import json
import sqlite3
from typing import Any

import attrs

from bedrock_gateway.store.call_lines import EVERY_CALL, Wanted, call_terms, marks, sections
from bedrock_gateway.store.names import called, read_names
from bedrock_gateway.store.periods import Period

__all__ = ["AttemptLine", "attempts"]

_COLUMNS = (
    "a.id, a.call, a.number, a.part, a.started_at, a.ended_at, c.caller, c.operation, c.model_group, a.deployment, "
    "a.model, a.region, a.state, a.charged, a.status, a.error_type, a.aws_request_id, a.input, a.output, a.cache_read, "
    "a.cache_write_5m + a.cache_write_1h, a.images, a.spend, a.notes"
)


@attrs.frozen(kw_only=True)
class AttemptLine:
    """One attempt: columns of the table ``attempts``, of its call who made it and what was asked for, and what its
    deployment is called (as in ``SpendLine.label``). Times are UTC ms, spend is nano-USD.
    """

    attempt: str
    call: str
    number: int
    part: int
    started_at: int
    ended_at: int | None
    caller: str
    operation: str
    model_group: str
    deployment: str
    deployment_name: str
    model: str
    region: str
    state: str
    charged: bool
    status: int | None
    error_type: str | None
    aws_request_id: str | None
    input: int
    output: int
    cache_read: int
    cache_write: int
    images: int
    spend: int | None
    notes: tuple[str, ...]


def attempts(
    connection: sqlite3.Connection, period: Period, limit: int, wanted: Wanted = EVERY_CALL
) -> list[AttemptLine]:
    """Return the newest attempts of the calls of a period, newest first.

    Args:
        wanted: of which calls. A model is looked for in each attempt: those that went elsewhere, before or after one
            that is wanted, are not.
    """
    models = wanted.only.models
    wanted = attrs.evolve(wanted, only=attrs.evolve(wanted.only, models=()))
    listed = marks(models)
    of_models = f"WHERE a.model IN ({listed}) OR c.model_group IN ({listed})" if models else ""
    rows: list[tuple[Any, ...]] = []
    for section in sections(connection, period, wanted):
        condition, values = call_terms(section, wanted)
        rows += connection.execute(
            f"SELECT {_COLUMNS} FROM (SELECT * FROM calls WHERE {condition}) AS c CROSS JOIN attempts AS a "
            f"ON a.call = c.id {of_models} ORDER BY c.id DESC, a.number DESC, a.part DESC, a.id DESC LIMIT ?",
            [*values, *models, *models, limit - len(rows)],
        )
        if len(rows) >= limit:
            break
    names = read_names(connection)
    lines = []
    for row in rows:
        fields = dict(zip(_FIELDS, row, strict=True))
        name = called(fields["deployment"], fields["model_group"], fields["model"], names).name
        notes = tuple(json.loads(fields["notes"] or "[]"))
        told = {**fields, "charged": bool(fields["charged"]), "notes": notes}
        lines.append(AttemptLine(**told, deployment_name=name))
    return sorted(lines, key=lambda line: (line.started_at, line.call, line.number, line.part), reverse=True)


#: Of ``AttemptLine``, in the order of ``_COLUMNS``.
_FIELDS = [field.name for field in attrs.fields(AttemptLine) if field.name != "deployment_name"]
