"""Conversations through InvokeModel (``bedrock/invoke/…``): the real SDK against chat bodies and Command R."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import openai
import pytest
from invoked_groups import entry, sdk, sent
from running import running

QUESTION: list[Any] = [{"role": "user", "content": "What is the weather in Rome?"}]
WEATHER: Any = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
IMAGE: Any = {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGVsbG8="}}
MODELS = {
    "gpt": "openai.gpt-oss-120b-1:0",
    "mistral": "mistral.mistral-large-2407-v1:0",
    "command": "cohere.command-r-v1:0",
}
#: No list of prices has Command R any more.
PRICED = {"command": "input_cost_per_token: 0.0000005, output_cost_per_token: 0.0000015,"}
GROUPS = "model_list:\n" + "".join(
    entry(group, f"bedrock/invoke/{model}", PRICED.get(group, "")) for group, model in MODELS.items()
)
#: Where a body says how long the answer may be.
BOUND = {"gpt": "max_completion_tokens"}

pytestmark = pytest.mark.parametrize("model", MODELS)


async def test_a_whole_answer_and_a_stream(tmp_path: Path, model: str) -> None:
    """A chat completion is a call of InvokeModel with its row and its spend; a stream adds up to the same answer."""
    async with running(tmp_path, GROUPS) as here:
        asked: dict[str, Any] = {"model": model, "messages": QUESTION, "max_tokens": 9}

        def ask() -> tuple[Any, list[Any]]:
            usage = {"include_usage": True}
            with sdk(here) as client:
                return (
                    client.chat.completions.create(**asked),
                    list(client.chat.completions.create(**asked, stream=True, stream_options=usage)),
                )

        whole, chunks = await asyncio.to_thread(ask)
        await here.settled()

        said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert (whole.choices[0].message.content, whole.usage) == (said, chunks[-1].usage)
        assert (9, "length") == (whole.usage.completion_tokens, whole.choices[0].finish_reason)
        assert [("metered", "InvokeModel"), ("metered", "InvokeModelWithResponseStream")] == sent(here)
        spends = [row["spend"] for row in here.rows("SELECT spend FROM attempts")]
        assert spends[0] == spends[1] > 0
        assert {9} == {json.loads(call.body)[BOUND.get(model, "max_tokens")] for call in here.simulator.received}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_tool_is_called(tmp_path: Path, model: str, stream: bool) -> None:
    """A call of a tool comes back with its id, name and arguments, and its result goes in again."""
    async with running(tmp_path, GROUPS) as here:

        def ask(messages: list[Any], choice: str) -> Any:
            asked: Any = {"model": model, "messages": messages, "tools": [WEATHER], "tool_choice": choice}
            with sdk(here) as client:
                if not stream:
                    return client.chat.completions.create(**asked).choices[0]
                with client.chat.completions.stream(**asked) as events:
                    return events.get_final_completion().choices[0]

        choice = await asyncio.to_thread(ask, QUESTION, "auto" if model == "command" else "required")
        (call,) = choice.message.tool_calls
        result = {"role": "tool", "tool_call_id": call.id, "content": "rain"}
        after = await asyncio.to_thread(ask, [*QUESTION, choice.message.model_dump(exclude_none=True), result], "auto")

        assert ("tool_calls", "weather", "stop") == (choice.finish_reason, call.function.name, after.finish_reason)
        assert {"city": "Rome"} == json.loads(call.function.arguments)
        assert "rain" in after.message.content


@pytest.mark.parametrize("stream", [False, True])
async def test_what_has_no_place_is_refused(tmp_path: Path, model: str, stream: bool) -> None:
    """A picture for a model that reads text alone is refused by the gateway, and nothing is sent."""
    async with running(tmp_path, GROUPS) as here:
        messages: list[Any] = [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, IMAGE]}]

        with sdk(here) as client, pytest.raises(openai.BadRequestError, match="no place for images") as caught:
            await asyncio.to_thread(
                lambda: client.chat.completions.create(model=model, messages=messages, stream=stream)
            )

        assert "messages" == caught.value.param
        assert [] == list(here.simulator.received)


async def test_members_of_the_models_own(tmp_path: Path, model: str) -> None:
    """What Converse has no member for reaches the model as it is; the thought of gpt-oss is no part of its text."""
    async with running(tmp_path, GROUPS) as here:
        more: dict[str, Any] = {"additionalModelRequestFields": {"seed": 7}}
        if model == "gpt":
            more["reasoning_effort"] = "low"

        def ask() -> tuple[Any, str]:
            asked: Any = {"model": model, "messages": QUESTION, "extra_body": more}
            with sdk(here) as client:
                deltas = [chunk.choices[0].delta for chunk in client.chat.completions.create(**asked, stream=True)]
                thought = "".join(getattr(delta, "reasoning_content", "") for delta in deltas)
                return client.chat.completions.create(**asked).choices[0].message, thought

        message, thought = await asyncio.to_thread(ask)

        assert thought == getattr(message, "reasoning_content", "")
        assert (model == "gpt") == bool(thought)
        assert "<reasoning>" not in message.content
        assert [7, 7] == [json.loads(call.body)["seed"] for call in here.simulator.received]
