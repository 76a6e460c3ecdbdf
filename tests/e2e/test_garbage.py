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


def refused(client: Any) -> None:
    """Call a model that is not there."""
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.converse(modelId="nowhere", messages=QUESTION)


def failed(client: Any) -> None:
    """Call a model that AWS fails to answer."""
    with pytest.raises(client.exceptions.ClientError):
        client.converse(modelId="single", messages=QUESTION)


@pytest.mark.parametrize("call", [whole, streamed, refused, failed])
async def test_a_call_leaves_no_cycle(tmp_path: Path, uncollected: None, call: Callable[[Any], None]) -> None:
    """Without the collector, calls over one connection are freed as they end, all but the one it holds last."""
    async with running(tmp_path) as here:
        client = here.client()
        if call is failed:
            here.simulator.faults.add("internal", times=20)
        for _ in range(5):
            await asyncio.to_thread(call, client)
        await here.settled()
        await here.until(lambda: len(here.rows("SELECT * FROM calls")) == 5)
        assert sum(type(thing) is Call for thing in gc.get_objects()) <= 1
