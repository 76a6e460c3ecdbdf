"""Answers in JSON to which a model is held by AWS itself, through the real SDK, on the whole chain."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import openai
import pydantic
import pytest
from running import Running, running

QUESTION: list[Any] = [{"role": "user", "content": "Which city is it?"}]
DEPLOYMENT = """
  - model_name: {}
    litellm_params: {{model: "bedrock/{}", aws_region_name: {}, order: {},
      aws_access_key_id: AKIDEPLOYMENT{}, aws_secret_access_key: secret-{}, aws_bedrock_runtime_endpoint: "%(url)s"}}
"""
SONNET = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
CONFIG = (
    "model_list:\n"
    + DEPLOYMENT.format("sonnet", SONNET, "us-east-1", 1, "A", "A")
    + DEPLOYMENT.format("qwen", "qwen.qwen3-32b-v1:0", "us-east-1", 1, "A", "A")
    + DEPLOYMENT.format("mixed", SONNET, "us-east-1", 1, "A", "A")
    + DEPLOYMENT.format("mixed", "us.amazon.nova-pro-v1:0", "us-west-2", 2, "B", "B")
)


class Mayor(pydantic.BaseModel):
    """Who governs a place."""

    name: str
    since: int | None


class City(pydantic.BaseModel):
    """A place, as an answer has to describe it."""

    name: str = pydantic.Field(description="As it is written there.")
    size: Literal["large", "small"]
    mayors: list[Mayor]


class Bounded(pydantic.BaseModel):
    """What has a bound, which AWS does not compile."""

    people: int = pydantic.Field(ge=3)


def sdk(here: Running) -> openai.AsyncOpenAI:
    """Return a client of the gateway that does not repeat calls."""
    return here.closing(openai.AsyncOpenAI(base_url=f"{here.url}/v1", api_key="k", max_retries=0))


def received(here: Running) -> Any:
    """Return the body of the last request upstream was sent."""
    return json.loads(here.simulator.received[-1].body)


@pytest.mark.parametrize("model", ["sonnet", "qwen"])
async def test_a_model_is_held(tmp_path: Path, model: str) -> None:
    """A pydantic model as response_format is sent as the schema of the answer, and comes back as an instance of it."""
    async with running(tmp_path, CONFIG) as here, sdk(here) as client:
        whole = await client.chat.completions.parse(model=model, messages=QUESTION, response_format=City)
        sent = received(here)
        async with client.chat.completions.stream(model=model, messages=QUESTION, response_format=City) as events:
            streamed = await events.get_final_completion()
        await here.settled()

        assert "toolConfig" not in sent
        assert "City" == sent["outputConfig"]["textFormat"]["structure"]["jsonSchema"]["name"]
        for told in (whole, streamed):
            assert isinstance(told.choices[0].message.parsed, City)
            assert "stop" == told.choices[0].finish_reason
        assert whole.choices[0].message.parsed == streamed.choices[0].message.parsed
        assert ["metered"] * 2 == [row["state"] for row in here.rows("SELECT state FROM attempts")]


async def test_responses_are_held_too(tmp_path: Path) -> None:
    """A response in JSON is asked for in the same way."""
    async with running(tmp_path, CONFIG) as here, sdk(here) as client:
        told = await client.responses.parse(model="sonnet", input="Which city is it?", text_format=City)

        assert isinstance(told.output_parsed, City)
        assert "textFormat" in received(here)["outputConfig"]


async def test_thought_and_several_choices(tmp_path: Path) -> None:
    """A model that is held may think before, and each of several choices is held."""
    async with running(tmp_path, CONFIG) as here, sdk(here) as client:
        told = await client.chat.completions.parse(
            model="sonnet", messages=QUESTION, response_format=City, reasoning_effort="low", n=2
        )

        assert [True, True] == [isinstance(one.message.parsed, City) for one in told.choices]
        assert all(one.message.reasoning_content for one in told.choices)  # type: ignore[attr-defined]
        assert {"thinking"} == received(here)["additionalModelRequestFields"].keys()


async def test_a_schema_that_aws_does_not_compile(tmp_path: Path) -> None:
    """A bound in a schema is refused by nobody: the model is given the tool instead."""
    async with running(tmp_path, CONFIG) as here, sdk(here) as client:
        told = await client.chat.completions.parse(model="sonnet", messages=QUESTION, response_format=Bounded)

        assert isinstance(told.choices[0].message.parsed, Bounded)
        assert "json_tool_call" == received(here)["toolConfig"]["toolChoice"]["tool"]["name"]


async def test_a_group_of_several_families(tmp_path: Path) -> None:
    """An attempt that follows on a model that cannot be held is given the tool; the caller sees no difference."""
    async with running(tmp_path, CONFIG) as here, sdk(here) as client:
        here.simulator.faults.add("unavailable", times=1)
        told = await client.chat.completions.parse(model="mixed", messages=QUESTION, response_format=City)
        first, second = [json.loads(one.body) for one in here.simulator.received]

        assert isinstance(told.choices[0].message.parsed, City)
        assert ("outputConfig" in first, "toolConfig" in first) == (True, False)
        assert ("outputConfig" in second, "toolConfig" in second) == (False, True)


async def test_claudes_own_words(tmp_path: Path) -> None:
    """A deployment that is asked through InvokeModel is told the schema in Claude's words."""
    config = CONFIG.replace(f"bedrock/{SONNET}", f"bedrock/invoke/{SONNET}", 1)
    async with running(tmp_path, config) as here, sdk(here) as client:
        told = await client.chat.completions.parse(model="sonnet", messages=QUESTION, response_format=City)

        assert isinstance(told.choices[0].message.parsed, City)
        assert "json_schema" == received(here)["output_config"]["format"]["type"]
