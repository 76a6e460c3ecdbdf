"""The one line that is logged for a call: what stands in it, and that the README shows it as it is."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from running import CLAUDE, GROUPS, running

ROOT = Path(__file__).parents[2]
QUESTION = [{"role": "user", "content": [{"text": "What is a gateway good for?"}]}]


def keys(line: str) -> list[str]:
    """Return the names of a line's pairs, in order."""
    return re.findall(r"(\w+)=", line)


@pytest.mark.parametrize(
    ("model", "config", "told"),
    [("claude", GROUPS, "model_group=claude deployment=claude"), (CLAUDE, None, f"model={CLAUDE} deployment=ambient")],
)
async def test_line_of_a_call(tmp_path: Path, model: str, config: str | None, told: str) -> None:
    """A line names what was asked for, a group or the model itself, and what it came to."""
    async with running(tmp_path, config, all_of_aws=config is None) as here:
        answer = await asyncio.to_thread(here.client().converse_stream, modelId=model, messages=QUESTION)
        usage = (await asyncio.to_thread(list, answer["stream"]))[-1]["metadata"]["usage"]
        await here.settled()

        (line,) = here.lines
    spend = usage["inputTokens"] * 3_000 + usage["outputTokens"] * 15_000
    assert f" {told} state=metered in={usage['inputTokens']} out={usage['outputTokens']} " in line
    assert line.endswith(f" spend_usd={spend / 1e9:.9f}")


async def test_the_readme_shows_the_line(tmp_path: Path) -> None:
    """What the README prints has the pairs of a real line, in their order."""
    shown = re.search(r"^\S+Z (call=.*)$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert shown is not None
    async with running(tmp_path, None, all_of_aws=True) as here:
        answer = await asyncio.to_thread(here.client().converse_stream, modelId=CLAUDE, messages=QUESTION)
        await asyncio.to_thread(list, answer["stream"])
        await here.settled()

        (line,) = here.lines
    assert keys(shown[1]) == keys(line)
