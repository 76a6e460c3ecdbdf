"""Records to tell a ledger, and an oracle that sums its rows without the code under test."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bedrock_gateway.metering.usage import Usage
from bedrock_gateway.store.ids import new_id
from bedrock_gateway.store.ledger import Ledger
from bedrock_gateway.store.limits import LedgerLimits
from bedrock_gateway.store.records import CallRecord, Closing, Opening, State

NOW = 1_795_000_000_000
_numbers = itertools.count(1)

_ROWS = """
WITH told AS (
    SELECT started_at / 900000 AS quarter, caller, user, team, end_user, tags, model_group, model, deployment,
        operation, state, 1 AS calls, 0 AS attempts, 0 AS input, 0 AS output, 0 AS cache_read, 0 AS cache_write_5m,
        0 AS cache_write_1h, 0 AS images, 0 AS spend, 0 AS spend_all, 0 AS at_most
    FROM calls
    UNION ALL
    SELECT calls.started_at / 900000, caller, user, team, end_user, tags, model_group, attempts.model,
        attempts.deployment, operation, attempts.state, 0, 1, input, output, cache_read, cache_write_5m,
        cache_write_1h, images,
        CASE WHEN charged THEN coalesce(attempts.spend, 0) ELSE 0 END, coalesce(attempts.spend, 0),
        CASE WHEN charged AND attempts.spend IS NULL THEN coalesce(spend_at_most, 0) ELSE 0 END
    FROM attempts JOIN calls ON calls.id = attempts.call
)
"""
_SUMS = """sum(calls), sum(attempts), sum(input), sum(output), sum(cache_read), sum(cache_write_5m),
    sum(cache_write_1h), sum(images), sum(spend), sum(spend_all), sum(at_most)"""
_OWNED = "quarter, caller, user, team, model_group, model, deployment, operation, state"
_TAGS = "told, json_each(CASE WHEN tags = '' THEN '[]' ELSE tags END) AS tag"

#: By table, what it has to hold, computed from the rows of calls and attempts alone.
SUMS = {
    "rollups": f"{_ROWS} SELECT {_OWNED}, {_SUMS} FROM told GROUP BY {_OWNED}",
    "label_rollups": f"""{_ROWS}
        SELECT quarter, 'tag', tag.value, caller, model, state, {_SUMS} FROM {_TAGS}
            GROUP BY quarter, tag.value, caller, model, state
        UNION ALL SELECT quarter, 'end_user', end_user, caller, model, state, {_SUMS} FROM told WHERE end_user <> ''
            GROUP BY quarter, end_user, caller, model, state""",
    "accounts": f"""{_ROWS}, ended AS (SELECT * FROM told WHERE state <> 'open')
        SELECT account, quarter, sum(amount) FROM (
            SELECT 'gateway' AS account, quarter, spend + at_most AS amount FROM ended
            UNION ALL SELECT 'key:' || caller, quarter, spend + at_most FROM ended
            UNION ALL SELECT 'model:' || caller || '/' || model_group, quarter, spend + at_most FROM ended
                WHERE model_group <> '' AND model_group NOT LIKE '%*%'
            UNION ALL SELECT 'model:' || caller || '/' || replace(model, 'us.', ''), quarter, spend + at_most FROM ended
                WHERE model <> '' AND replace(model, 'us.', '') <> model_group
            UNION ALL SELECT 'user:' || user, quarter, spend + at_most FROM ended WHERE user <> ''
            UNION ALL SELECT 'team:' || team, quarter, spend + at_most FROM ended WHERE team <> ''
            UNION ALL SELECT 'member:' || team || '/' || user, quarter, spend + at_most FROM ended
                WHERE user <> '' AND team <> ''
            UNION ALL SELECT 'end_user:' || end_user, quarter, spend + at_most FROM ended WHERE end_user <> ''
            UNION ALL SELECT 'tag:' || tag.value, quarter, spend + at_most FROM {_TAGS.replace("told", "ended")}
            UNION ALL SELECT 'deployment:' || deployment, quarter, spend + at_most FROM ended WHERE deployment <> ''
        ) GROUP BY account, quarter HAVING sum(amount) <> 0""",
}


def identifier(at_ms: int = NOW) -> str:
    """Return an id no other call of this returned."""
    return new_id(at_ms, (next(_numbers) << 8).to_bytes(10, "big"))


def opening(call: str | None = None, **changes: Any) -> Opening:
    """Return an opening of a new attempt."""
    values: dict[str, Any] = {
        "attempt": identifier(),
        "call": call or identifier(),
        "number": 1,
        "part": 0,
        "caller": "local",
        "dialect": "bedrock",
        "operation": "Converse",
        "model_group": "claude",
        "deployment": "abcdef012345",
        "model": "us.anthropic.claude-sonnet-4-20250514-v1:0",
        "region": "us-west-2",
        "started_at": NOW,
        "spend_at_most": 1_000,
        "admitted_at": NOW,
    }
    return Opening(**{**values, **changes})


def closing(of: Opening, **changes: Any) -> Closing:
    """Return a metered closing."""
    values: dict[str, Any] = {
        "attempt": of.attempt,
        "state": State.METERED,
        "charged": True,
        "spend": 700,
        "usage": Usage(input_tokens=10, output_tokens=20),
        "ended_at": of.started_at + 500,
        "status": 200,
        "aws_request_id": "request",
    }
    return Closing(**{**values, **changes})


def record(of: Opening, **changes: Any) -> CallRecord:
    """Return the record of a call with one attempt."""
    values: dict[str, Any] = {
        "call": of.call,
        "caller": of.caller,
        "dialect": of.dialect,
        "operation": of.operation,
        "model_group": of.model_group,
        "started_at": of.started_at,
        "ended_at": of.started_at + 600,
        "status": 200,
        "error_type": None,
        "attempts": 1,
        "party": of.party,
    }
    return CallRecord(**{**values, **changes})


async def open_ledger(path: Path, limits: LedgerLimits | None = None, durability: str = "process") -> Ledger:
    """Open a ledger with a clock that stands still."""
    return await Ledger.open(
        path, simulated=False, durability=durability, now_ms=lambda: NOW, version="1", pid=4711, limits=limits
    )


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until a condition holds, 20 s at most."""
    async with asyncio.timeout(20):
        for _ in itertools.count():
            if condition():
                return
            await asyncio.sleep(0)


def query(path: Path, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """Return the rows of a query."""
    connection = sqlite3.connect(path, timeout=10)
    try:
        return connection.execute(sql, values).fetchall()
    finally:
        connection.close()


def assert_sums(path: Path) -> None:
    """Hold the rollups of a ledger against the sums of its rows, and calls' spend against their attempts'."""
    connection = sqlite3.connect(path, timeout=10)
    try:
        assert_sums_of(connection)
        assert [("ok",)] == connection.execute("PRAGMA integrity_check").fetchall()
    finally:
        connection.close()


def assert_sums_of(connection: sqlite3.Connection) -> None:
    """Do so over an open connection."""
    for table, sums in SUMS.items():
        kept = connection.execute(f"SELECT * FROM {table}").fetchall()
        assert sorted(connection.execute(sums).fetchall()) == sorted(kept), table
    orphans = "SELECT count(*) FROM attempts WHERE call NOT IN (SELECT id FROM calls)"
    assert (0,) == connection.execute(orphans).fetchone()
    charged = connection.execute("SELECT coalesce(sum(spend), 0) FROM attempts WHERE charged").fetchone()
    assert charged == connection.execute("SELECT coalesce(sum(spend), 0) FROM calls").fetchone()
