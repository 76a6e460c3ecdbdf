"""Reading the ledger: sums out of the rollups, and single calls. Read-only, beside a running gateway or without one.

Knows the SQL of reading and how times are written; knows no table layout on a screen. Sums have the resolution of the
rollups, a quarter of an hour, in UTC: a period is widened to whole quarters.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

import attrs

from bedrock_gateway.errors import StartError
from bedrock_gateway.store.ids import lowest_id
from bedrock_gateway.store.names import DeploymentName, read_names
from bedrock_gateway.store.records import State
from bedrock_gateway.store.schema import APPLICATION_ID, MIGRATIONS, QUARTER_MS

__all__ = [
    "AMBIENT",
    "DIMENSIONS",
    "INEXACT",
    "CallLine",
    "Period",
    "SpendLine",
    "calls",
    "open_ledger",
    "parse_time",
    "spend_by",
]

_DAY_QUARTERS = 86_400_000 // QUARTER_MS
_HOUR_QUARTERS = 3_600_000 // QUARTER_MS

DIMENSIONS = MappingProxyType(
    {
        "model": "model",
        "caller": "caller",
        "day": f"date(quarter / {_DAY_QUARTERS} * 86400, 'unixepoch')",
        "hour": f"strftime('%Y-%m-%d %H:00', quarter / {_HOUR_QUARTERS} * 3600, 'unixepoch')",
        "deployment": "deployment",
        "model-group": "model_group",
        "operation": "operation",
        "state": "state",
    }
)
"""What spend can be summed by, and the SQL that names it."""

AMBIENT = "ambient"
"""What leads to a deployment that no config names, as callers are shown it."""

_NAMELESS = DeploymentName(name="", region="")

INEXACT = (
    State.OPEN,
    State.INTERRUPTED,
    State.UNMETERED,
    State.UNPRICED,
    State.ESTIMATED,
    State.INCOMPLETE,
)
"""States whose spend is not, or not all, AWS's own numbers; worst first."""

_DURATION_MS = MappingProxyType({"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000})
_HOUR_MS = 3_600_000


@attrs.frozen(kw_only=True)
class Period:
    """From ``since`` to before ``until``, UTC ms; None is open."""

    since: int | None = None
    until: int | None = None


@attrs.frozen(kw_only=True)
class SpendLine:
    """Sums of one value of a dimension.

    Attributes:
        name: the value; "" where calls have none.
        deployment_name: of a deployment, what people call it: as callers are shown it, or what led to it and the model
            ("ambient: amazon.nova-pro-v1:0") where the ledger was told no name.
        region: of a deployment, as far as known.
        calls: calls of callers.
        attempts: requests sent upstream.
        input, output, cache_read, cache_write: tokens; input without cached ones.
        images: images made.
        spend: nano-USD charged to callers.
        spend_all: nano-USD of all attempts, charged or not.
        at_most: nano-USD that attempts without known spend may have cost at most, as far as bounded.
        states: attempts by state.
    """

    name: str
    deployment_name: str
    region: str
    calls: int
    attempts: int
    input: int
    output: int
    cache_read: int
    cache_write: int
    images: int
    spend: int
    spend_all: int
    at_most: int
    states: dict[str, int]


@attrs.frozen(kw_only=True)
class CallLine:
    """One call: columns of the table ``calls``, what its deployment is called (as in ``SpendLine``), the region of its
    last attempt, the sums of its attempts' tokens. Times are UTC ms, spend is nano-USD.
    """

    call: str
    started_at: int
    ended_at: int | None
    caller: str
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


def parse_time(text: str, now_ms: int) -> int:
    """Return UTC ms of a duration before now (``90m``, ``24h``, ``7d``, ``2w``), a date or an ISO 8601 time.

    Without an offset a time is UTC.

    Raises:
        ValueError: it is none of these.
    """
    duration = re.fullmatch(r"(\d{1,9})([smhdw])", text.strip())
    if duration is not None:
        return max(now_ms - int(duration[1]) * _DURATION_MS[duration[2]], 0)
    try:
        moment = datetime.fromisoformat(text.strip())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return max(int(moment.timestamp() * 1000), 0)
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r} is no time: write a duration (90m, 24h, 7d, 2w), a date (2026-11-20) or an ISO time"
        ) from None


@contextmanager
def open_ledger(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the ledger for reading, in one consistent view, and close it after.

    Raises:
        StartError: there is none, or it cannot be read.
    """
    if path.is_dir():
        raise StartError(f"{path}: is a directory, not a ledger")
    try:
        path.stat()
    except FileNotFoundError:
        raise StartError(f"{path}: no ledger here yet, so nothing was booked in it") from None
    except OSError as error:
        raise StartError(f"{path}: the ledger cannot be reached: {error.strerror}") from error
    try:
        connection = _connect(path)
    except sqlite3.Error as error:
        raise _read_error(path, error) from error
    try:
        try:
            connection.execute("BEGIN")
            (application,) = connection.execute("PRAGMA application_id").fetchone()
            if application != APPLICATION_ID:
                raise StartError(f"{path}: is not a ledger of bedrock-gateway")
            (number,) = connection.execute("SELECT max(number) FROM migrations").fetchone()
            if number > len(MIGRATIONS):
                raise StartError(f"{path}: was written by a newer version (schema {number}); upgrade bedrock-gateway")
            yield connection
        except sqlite3.Error as error:
            raise _read_error(path, error) from error
    finally:
        connection.close()


def _connect(path: Path) -> sqlite3.Connection:
    """Open read-only; where not even SQLite's shared memory can be made (read-only folder), as a file nobody writes."""
    address = f"file:{quote(str(path.absolute()))}"
    connection = sqlite3.connect(f"{address}?mode=ro", uri=True, timeout=5, isolation_level=None)
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        wal = path.with_name(path.name + "-wal")
        if wal.exists() and wal.stat().st_size:
            raise
        connection = sqlite3.connect(f"{address}?mode=ro&immutable=1", uri=True, isolation_level=None)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _read_error(path: Path, error: sqlite3.Error) -> StartError:
    text = str(error)
    if "not a database" in text:
        return StartError(f"{path}: is not a SQLite database")
    return StartError(f"{path}: the ledger cannot be read: {text}")


def spend_by(connection: sqlite3.Connection, dimension: str, period: Period) -> list[SpendLine]:
    """Return one line for each value of ``dimension`` (of ``DIMENSIONS``); times in order, others dearest first."""
    condition, values = "1", []
    if period.since is not None:
        condition += " AND quarter >= ?"
        values.append(period.since // QUARTER_MS)
    if period.until is not None:
        condition += " AND quarter < ?"
        values.append(-(-period.until // QUARTER_MS))
    rows = connection.execute(
        f"SELECT {DIMENSIONS[dimension]} AS name, min(model_group), max(model), state, sum(calls), sum(attempts), "
        "sum(input), sum(output), sum(cache_read), sum(cache_write_5m) + sum(cache_write_1h), sum(images), "
        "sum(spend), sum(spend_all), "
        f"sum(at_most) FROM rollups WHERE {condition} GROUP BY name, state",
        values,
    )
    sums: dict[str, list[int]] = {}
    states: dict[str, dict[str, int]] = {}
    called: dict[str, DeploymentName] = {}
    names = read_names(connection) if dimension == "deployment" else {}
    for name, group, model, state, *values in rows:
        if dimension == "deployment" and (name not in called or not group):
            called[name] = _called(name, group, model, names)
        kept = sums.setdefault(name, [0] * len(values))
        for index, value in enumerate(values):
            kept[index] += value
        if values[1]:
            states.setdefault(name, {})[state] = values[1]
    lines = [_line(name, called.get(name, _NAMELESS), kept, states.get(name, {})) for name, kept in sums.items()]
    if dimension in ("day", "hour"):
        return sorted(lines, key=lambda line: line.name)
    return sorted(lines, key=lambda line: (-line.spend_all, -line.calls, line.name))


def _called(id_: str, group: str, model: str, names: Mapping[str, DeploymentName]) -> DeploymentName:
    """Return what a deployment is called. One that is made for a raw id or a wildcard's match is told by no config: it
    goes by what led to it and its model.
    """
    known = names.get(id_)
    if known is not None or not id_:
        return known or _NAMELESS
    way = group or AMBIENT
    # arn:partition:service:region:account:resource
    parts = model.split(":", 5)
    region = parts[3] if parts[0] == "arn" and len(parts) == 6 else ""
    return DeploymentName(name=f"{way}: {model}" if model else way, region=region)


def _line(name: str, called: DeploymentName, sums: list[int], states: dict[str, int]) -> SpendLine:
    calls, attempts, tokens_in, tokens_out, cache_read, cache_write, images, spend, spend_all, at_most = sums
    return SpendLine(
        name=name,
        deployment_name=called.name,
        region=called.region,
        calls=calls,
        attempts=attempts,
        input=tokens_in,
        output=tokens_out,
        cache_read=cache_read,
        cache_write=cache_write,
        images=images,
        spend=spend,
        spend_all=spend_all,
        at_most=at_most,
        states=states,
    )


def calls(connection: sqlite3.Connection, period: Period, limit: int) -> list[CallLine]:
    """Return the latest calls of a period, newest first, at most ``limit``."""
    condition, values = "1", []
    if period.since is not None:
        # Ids begin with the time they were made at, shortly before a call's start: no index on times is needed.
        condition += " AND id >= ? AND started_at >= ?"
        values += [lowest_id(period.since - _HOUR_MS), period.since]
    if period.until is not None:
        condition += " AND started_at < ?"
        values.append(period.until)
    rows = connection.execute(
        "SELECT id, started_at, ended_at, caller, operation, model_group, model, deployment, state, status, "
        "error_type, attempts, spend FROM calls "
        f"WHERE {condition} ORDER BY id DESC LIMIT ?",
        [*values, limit],
    ).fetchall()
    names = read_names(connection)
    return [_call(connection, row, names) for row in rows]


def _call(connection: sqlite3.Connection, row: tuple[Any, ...], names: Mapping[str, DeploymentName]) -> CallLine:
    last = connection.execute(
        "SELECT region FROM attempts WHERE call = ? ORDER BY number DESC, part DESC, id DESC LIMIT 1", (row[0],)
    ).fetchone()
    tokens = connection.execute(
        "SELECT coalesce(sum(input), 0), coalesce(sum(output), 0), coalesce(sum(cache_read), 0), "
        "coalesce(sum(cache_write_5m + cache_write_1h), 0), coalesce(sum(images), 0) FROM attempts WHERE call = ?",
        (row[0],),
    ).fetchone()
    return CallLine(
        call=row[0],
        started_at=row[1],
        ended_at=row[2],
        caller=row[3],
        operation=row[4],
        model_group=row[5],
        model=row[6],
        deployment=row[7],
        deployment_name=_called(row[7], row[5], row[6], names).name,
        region=last[0] if last else "",
        state=row[8],
        status=row[9],
        error_type=row[10],
        attempts=row[11],
        input=tokens[0],
        output=tokens[1],
        cache_read=tokens[2],
        cache_write=tokens[3],
        images=tokens[4],
        spend=row[12],
    )
