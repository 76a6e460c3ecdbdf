"""Conversations with models that take a prompt (``bedrock/invoke/…``, ``bedrock/llama/ARN``): the real SDK against
them.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import openai
import pytest
from invoked_groups import entry, sdk, sent
from running import running

QUESTION: list[Any] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is a gateway good for?"},
]
IMPORTED = "arn:aws:bedrock:us-east-1:123456789012:imported-model/abc"
#: Models as a config writes them, by model group.
MODELS = {
    "llama": "bedrock/invoke/us.meta.llama3-3-70b-instruct-v1:0",
    "mistral": "bedrock/invoke/mistral.mistral-large-2402-v1:0",
    "there": "bedrock/us-east-1/invoke/mistral.mistral-7b-instruct-v0:2",
    "deepseek": "bedrock/invoke/us.deepseek.r1-v1:0",
    "titan": "bedrock/invoke/amazon.titan-text-express-v1",
    "command": "bedrock/invoke/cohere.command-text-v14",
    "imported": f"bedrock/llama/{IMPORTED}",
    "thinking": f"bedrock/deepseek_r1/{IMPORTED}",
    "qwen": f"bedrock/qwen3/{IMPORTED}",
}
GROUPS = "model_list:\n" + "".join(entry(group, f'"{model}"') for group, model in MODELS.items())


@pytest.mark.parametrize("group", MODELS)
async def test_a_whole_answer_and_a_stream(tmp_path: Path, group: str) -> None:
    """A chat completion is sent as a prompt, metered and booked; a stream adds up to the same answer and usage."""
    async with running(tmp_path, GROUPS) as here:
        asked: dict[str, Any] = {"model": group, "messages": QUESTION, "max_tokens": 9}

        def ask() -> tuple[Any, list[Any]]:
            usage = {"include_usage": True}
            with sdk(here) as client:
                create = client.chat.completions.create
                return create(**asked), list(create(**asked, stream=True, stream_options=usage))

        whole, chunks = await asyncio.to_thread(ask)
        await here.settled()

        said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert said and whole.choices[0].message.content == said
        assert whole.usage == chunks[-1].usage
        assert (9, "length") == (whole.usage.completion_tokens, whole.choices[0].finish_reason)
        # AWS bills imported models by the minute: nobody has a price a token for them.
        state = "unpriced" if IMPORTED in MODELS[group] else "metered"
        assert [(state, "InvokeModel"), (state, "InvokeModelWithResponseStream")] == sent(here)
        assert [(whole.usage.prompt_tokens, 9)] * 2 == [
            (row["input"], row["output"]) for row in here.rows("SELECT input, output FROM attempts")
        ]
        for call in here.simulator.received:
            body = json.loads(call.body)
            assert "gateway good for?" in body.get("prompt", body.get("inputText"))


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("group", MODELS)
async def test_tools_are_refused(tmp_path: Path, group: str, stream: bool) -> None:
    """What a prompt has no place for is refused by name, and nothing is sent."""
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    async with running(tmp_path, GROUPS) as here:
        asked: Any = {"model": group, "messages": QUESTION, "tools": [tool], "stream": stream}

        with sdk(here) as client, pytest.raises(openai.BadRequestError) as caught:
            await asyncio.to_thread(lambda: client.chat.completions.create(**asked))

        assert ("tools", True) == (caught.value.param, "no place for tools" in caught.value.message)
        assert not here.simulator.received
