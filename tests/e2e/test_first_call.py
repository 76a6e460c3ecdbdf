"""The shortest way through: one call by a stock client, answered, streamed and booked."""

from __future__ import annotations

import asyncio
from pathlib import Path

from running import running

QUESTION = [{"role": "user", "content": [{"text": "What is a gateway good for?"}]}]


async def test_a_call_by_a_config_name_is_answered_and_booked(tmp_path: Path) -> None:
    """An unmodified boto3 calls a model by its name in the config and reads on the next line what it spent."""
    async with running(tmp_path) as here:
        answer = await asyncio.to_thread(here.client().converse, modelId="claude", messages=QUESTION)

        headers = answer["ResponseMetadata"]["HTTPHeaders"]
        usage = answer["usage"]
        # Claude Sonnet 4: USD 3 a million tokens in, 15 out.
        spend = usage["inputTokens"] * 3_000 + usage["outputTokens"] * 15_000
        (row,) = here.rows("SELECT * FROM calls")
        assert "claude" == headers["x-bedrock-gateway-deployment"]
        assert f"{spend / 1e9:.9f}" == headers["x-bedrock-gateway-spend-usd"]
        assert headers["x-bedrock-gateway-call-id"] == row["id"]
        assert "metered" == row["state"]


async def test_a_stream_arrives_whole_and_is_booked(tmp_path: Path) -> None:
    """The event stream is accepted by botocore, ends with its metadata, and its row holds the same tokens."""
    async with running(tmp_path) as here:
        answer = await asyncio.to_thread(here.client().converse_stream, modelId="claude", messages=QUESTION)
        events = await asyncio.to_thread(list, answer["stream"])

        usage = events[-1]["metadata"]["usage"]
        (row,) = here.rows("SELECT * FROM attempts")
        assert "messageStart" in events[0]
        assert "metered" == row["state"]
        assert (usage["inputTokens"], usage["outputTokens"]) == (row["input"], row["output"])
