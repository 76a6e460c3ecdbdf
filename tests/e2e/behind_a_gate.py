"""A gateway behind whose upstream a gate stands, and what the ledger says of its calls; nothing of any may be left."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from gate import Gate, calling, gated
from running import GROUPS, Running, running

from bedrock_gateway.chain.gateway import Gateway
from bedrock_gateway.downstream.limits import Limits

__all__ = ["HEAD", "MIDDLE", "MOMENTS", "READING", "SILENT", "behind_a_gate", "last_rows", "undisturbed"]

#: Bytes of an answer that pass before the gate holds it: none; its head; head and the first messages of a stream.
SILENT, HEAD, MIDDLE = 0, 420, 1_100
#: Name of the tasks of a test's own.
READING = "reading"
#: Operation and where its answer is held.
MOMENTS = [
    pytest.param("converse", SILENT, id="whole-silent"),
    pytest.param("converse", HEAD, id="whole-middle"),
    pytest.param("converse-stream", SILENT, id="stream-silent"),
    pytest.param("converse-stream", MIDDLE, id="stream-middle"),
]


@contextlib.asynccontextmanager
async def behind_a_gate(
    folder: Path,
    general: str = "",
    *,
    passing: int | None = None,
    config: str = GROUPS,
    change: Callable[[Gateway], None] | None = None,
    limits: Limits | None = None,
) -> AsyncIterator[tuple[Running, Gate]]:
    """Run a gateway whose upstream is behind a gate; at the end nothing may be left of any call."""
    tasks = asyncio.all_tasks()
    async with gated() as gate:
        text = config.replace("%(url)s", gate.url) + f"general_settings: {{{general}}}\n"
        async with running(folder, text, change=change, limits=limits) as here:
            gate.port = int(here.upstream.rpartition(":")[2])
            gate.passing = passing
            yield here, gate
    assert tasks == {task for task in asyncio.all_tasks() if task.get_name() != READING}
    assert set() == here.gateway.calls
    assert 0 == here.gateway.leaving.draining
    assert 0 == here.gateway.bodies.held
    assert [] == here.rows("SELECT id FROM attempts WHERE state = 'open'")
    assert [] == here.rows("SELECT id FROM calls WHERE ended_at IS NULL")
    assert [{"clean": 1}] == here.rows("SELECT clean FROM runs")


async def undisturbed(here: Running, action: str) -> tuple[int, int]:
    """Return AWS's own token counts of a call; they are a function of the request."""
    caller = await calling(here.port, action)
    await caller.rest()
    await caller.leave()
    await here.settled()
    (row,) = here.rows("SELECT input, output FROM attempts ORDER BY started_at DESC, id DESC LIMIT 1")
    return row["input"], row["output"]


async def last_rows(here: Running) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the latest call and its last attempt, once both are closed."""
    await here.settled()
    # A call that came to nothing is written a moment after its line.
    await here.until(lambda: len(here.lines) == len(here.rows("SELECT id FROM calls WHERE ended_at IS NOT NULL")))
    call = here.rows("SELECT * FROM calls ORDER BY id DESC LIMIT 1")[0]
    attempt = here.rows("SELECT * FROM attempts WHERE call = ? ORDER BY number DESC LIMIT 1", call["id"])
    return call, attempt[0] if attempt else {}
