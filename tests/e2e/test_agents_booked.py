"""What agents and knowledge bases do for a call, as it is booked through the whole gateway."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from running import Running, running

CONFIG = """
model_list:
  - model_name: nova
    litellm_params: {model: bedrock/amazon.nova-lite-v1:0, aws_region_name: us-east-1, input_cost_per_token: 0.001,
      output_cost_per_token: 0.002}
"""
AGENT = {
    "foundationModel": "nova",
    "instruction": "Be of help to whoever asks.",
    "inputText": "Hi?",
    "enableTrace": True,
}


async def ask(here: Running, path: str, body: Any) -> bytes:
    """Make one call; return what it answers."""
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{here.url}/bedrock{path}", json=body) as answer:
            told = await answer.read()
            assert 200 == answer.status, told
            return told


@pytest.mark.parametrize(
    ("more", "state"),
    [
        ({}, "metered"),
        ({"guardrailConfiguration": {"guardrailIdentifier": "gr1", "guardrailVersion": "1"}}, "incomplete"),
    ],
)
async def test_an_inline_agent_of_a_model_with_prices_of_its_own(
    tmp_path: Path, more: dict[str, Any], state: str
) -> None:
    """The model that was asked for costs what its deployment says, though the trace tells of it by its id."""
    async with running(tmp_path, CONFIG, all_of_aws=True) as here:
        await ask(here, "/agents/session1", AGENT | more)
        await here.settled()
        (row,) = here.rows("SELECT * FROM attempts")
        assert (state, True) == (row["state"], row["input"] > 0)
        assert row["input"] * 1_000_000 + row["output"] * 2_000_000 == row["spend"]
        assert ("guardrail-unpriced" in json.loads(row["notes"])) == (state == "incomplete")
