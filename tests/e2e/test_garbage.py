"""A call that has ended is gone: nothing of it waits for the collector of cycles."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from running import running

from bedrock_gateway.chain.call import Call

QUESTION = [{"role": "user", "content": [{"text": "What is a gateway good for?"}]}]


@pytest.fixture
def uncollected() -> Iterator[None]:
    """Keep the collector of cycles away."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def whole(client: Any) -> None:
    """Call a model."""
    client.converse(modelId="claude", messages=QUESTION)


def streamed(client: Any) -> None:
    """Call a model that streams its answer."""
    list(client.converse_stream(modelId="claude", messages=QUESTION)["stream"])


@pytest.mark.parametrize("call", [whole, streamed])
async def test_a_call_leaves_no_cycle(tmp_path: Path, uncollected: None, call: Callable[[Any], None]) -> None:
    """Without the collector, calls over one connection are freed as they end, all but the one it holds last."""
    async with running(tmp_path) as here:
        client = here.client()
        for _ in range(5):
            await asyncio.to_thread(call, client)
        await here.settled()
        assert 5 == len(here.rows("SELECT * FROM calls"))
        assert sum(type(thing) is Call for thing in gc.get_objects()) <= 1
