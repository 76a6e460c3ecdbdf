"""What went through provisioned throughput: tokens by deployment, out of the rollups. Read-only."""

from __future__ import annotations

import sqlite3

import attrs

from bedrock_gateway.metering.usage import Usage
from bedrock_gateway.store.periods import Period
from bedrock_gateway.store.records import State
from bedrock_gateway.store.rollup_rows import EVERYTHING, rollup_rows
from bedrock_gateway.store.schema import QUARTER_MS

__all__ = ["FlatSums", "flat_sums"]


@attrs.frozen(kw_only=True)
class FlatSums:
    """Sums of one deployment.

    Attributes:
        deployment: its id.
        since: UTC ms of the first quarter-hour with a call.
        attempts: requests sent; usage: what they consumed.
    """

    deployment: str
    since: int
    attempts: int
    usage: Usage


def flat_sums(connection: sqlite3.Connection, period: Period) -> list[FlatSums]:
    """Return what each deployment did that was paid by the hour."""
    rows = rollup_rows(connection, period.quarters, EVERYTHING).select(
        connection,
        "deployment, state, min(quarter), sum(attempts), sum(input), sum(output), sum(cache_read), "
        "sum(cache_write_5m), sum(cache_write_1h)",
        group="deployment, state",
    )
    return [
        FlatSums(
            deployment=deployment,
            since=quarter * QUARTER_MS,
            attempts=attempts,
            usage=Usage(
                input_tokens=told[0],
                output_tokens=told[1],
                cache_read_tokens=told[2],
                cache_write_5m_tokens=told[3],
                cache_write_1h_tokens=told[4],
            ),
        )
        for deployment, state, quarter, attempts, *told in rows
        if state == State.FLAT and attempts
    ]
