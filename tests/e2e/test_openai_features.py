"""What the OpenAI SDK can ask of chat completions, sync and async, on the whole chain."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pydantic
import pytest
from administering import LOCKED, new_key
from running import Running, running

QUESTION: list[Any] = [{"role": "user", "content": "What is a gateway good for?"}]
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAE="


class City(pydantic.BaseModel):
    """A place, as an answer has to describe it."""

    name: str
    people: int


class Look(pydantic.BaseModel):
    """Arguments of a tool."""

    place: str


def sdk(here: Running, **options: Any) -> openai.AsyncOpenAI:
    """Return an asynchronous client of the gateway that does not repeat calls."""
    return here.closing(openai.AsyncOpenAI(base_url=f"{here.url}/v1", api_key="k", max_retries=0, **options))


def received(here: Running) -> Any:
    """Return the body of the last request upstream was sent."""
    return json.loads(here.simulator.received[-1].body)


async def test_an_answer_is_parsed(tmp_path: Path) -> None:
    """A pydantic model as response_format comes back as an instance of it, whole and streamed, sync and async."""
    async with running(tmp_path) as here, sdk(here) as client:

        def ask() -> openai.types.chat.ParsedChatCompletion[City]:
            with openai.OpenAI(base_url=f"{here.url}/v1", api_key="k", max_retries=0) as sync:
                return sync.chat.completions.parse(model="single", messages=QUESTION, response_format=City)

        whole = await client.chat.completions.parse(model="single", messages=QUESTION, response_format=City)
        sync = await asyncio.to_thread(ask)
        async with client.chat.completions.stream(model="single", messages=QUESTION, response_format=City) as events:
            streamed = await events.get_final_completion()

        for told in (whole, sync, streamed):
            (choice,) = told.choices
            assert isinstance(choice.message.parsed, City)
            assert ("stop", None) == (choice.finish_reason, choice.message.tool_calls)
        assert whole.choices[0].message.parsed == streamed.choices[0].message.parsed


@pytest.mark.parametrize("effort", [{}, {"reasoning_effort": "low"}])
async def test_json_and_tools_and_thought(tmp_path: Path, effort: dict[str, Any]) -> None:
    """With tools beside it, and with thought, an answer in JSON is asked for all the same."""
    tool = openai.pydantic_function_tool(Look)
    async with running(tmp_path) as here, sdk(here) as client:
        told = await client.chat.completions.create(
            model="single", messages=QUESTION, tools=[tool], response_format={"type": "json_object"}, **effort
        )

        assert ["Look", "json_tool_call"] == [one["toolSpec"]["name"] for one in received(here)["toolConfig"]["tools"]]
        assert told.choices[0].finish_reason in ("tool_calls", "stop")


async def test_tools_are_streamed_and_parsed(tmp_path: Path) -> None:
    """The SDK's own helper puts the pieces of a call together, and reads its arguments into the tool's model."""
    async with running(tmp_path) as here, sdk(here) as client:
        async with client.chat.completions.stream(
            model="single",
            messages=QUESTION,
            tools=[openai.pydantic_function_tool(Look)],
            tool_choice="required",
            parallel_tool_calls=False,
        ) as events:
            kinds = {event.type async for event in events}
            final = await events.get_final_completion()

        (call,) = final.choices[0].message.tool_calls or ()
        assert {"name", "inputSchema", "description"} == received(here)["toolConfig"]["tools"][0]["toolSpec"].keys()
        assert "tool_calls.function.arguments.done" in kinds
        assert isinstance(call.function.parsed_arguments, Look)
        assert {"type": "any", "disable_parallel_tool_use": True} == received(here)["additionalModelRequestFields"][
            "tool_choice"
        ]


@pytest.mark.parametrize("stream", [False, True, "summed"])
async def test_thought_goes_there_and_back(tmp_path: Path, stream: bool | str) -> None:
    """Thought comes with its signature, whole, in pieces or added up by the SDK, and goes back as it was signed."""
    async with running(tmp_path) as here, sdk(here) as client:
        asked: dict[str, Any] = {"model": "single", "reasoning_effort": "high", "max_tokens": 5000}
        blocks: list[Any] = []
        if stream == "summed":
            async with client.chat.completions.stream(**asked, messages=QUESTION) as events:
                message = (await events.get_final_completion()).choices[0].message
            blocks = message.thinking_blocks  # type: ignore[attr-defined]
            assert message.content and message.reasoning_content  # type: ignore[attr-defined]
            assert [("thinking", message.reasoning_content)] == [(b["type"], b["thinking"]) for b in blocks]  # type: ignore[attr-defined]
        elif stream:
            async for chunk in await client.chat.completions.create(**asked, messages=QUESTION, stream=True):
                for choice in chunk.choices:
                    blocks += getattr(choice.delta, "thinking_blocks", ())
        else:
            told = await client.chat.completions.create(**asked, messages=QUESTION)
            blocks = told.choices[0].message.thinking_blocks  # type: ignore[attr-defined]
            assert told.choices[0].message.reasoning_content  # type: ignore[attr-defined]
            assert told.usage is not None and told.usage.completion_tokens_details is not None
            assert told.usage.completion_tokens > told.usage.completion_tokens_details.reasoning_tokens > 0
        sent = received(here)
        before: Any = {"role": "assistant", "content": "So.", "thinking_blocks": blocks}
        await client.chat.completions.create(**asked, messages=[*QUESTION, before, *QUESTION])

        (thought,) = [b for b in received(here)["messages"][1]["content"] if "reasoningContent" in b]
        assert {"type": "enabled", "budget_tokens": 4096} == sent["additionalModelRequestFields"]["thinking"]
        assert thought["reasoningContent"]["reasoningText"]["signature"].startswith("sim")
        assert "The question is about" in thought["reasoningContent"]["reasoningText"]["text"]


async def test_pictures_documents_and_results_that_show_them(tmp_path: Path) -> None:
    """Images, files and a tool's picture go in as blocks; an address on the net is refused, naming the part."""
    picture: Any = {"type": "image_url", "image_url": {"url": PIXEL}}
    file: Any = {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0xLjc=", "filename": "a.pdf"}}
    call: Any = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}
    messages: Any = [
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind."}]},
        {"role": "user", "name": "ann", "content": [{"type": "text", "text": "What is it?"}, picture, file]},
        {"role": "assistant", "content": None, "tool_calls": [call, call | {"id": "c2"}]},
        {"role": "tool", "tool_call_id": "c1", "content": "dark"},
        {"role": "tool", "tool_call_id": "c2", "content": [picture]},
    ]
    async with running(tmp_path) as here, sdk(here) as client:
        await client.chat.completions.create(model="single", messages=messages)
        sent = received(here)
        picture["image_url"]["url"] = "https://example.com/cat.png"
        with pytest.raises(openai.BadRequestError, match="data URL") as caught:
            await client.chat.completions.create(model="single", messages=messages)

        assert [{"text": "Be brief."}, {"text": "Be kind."}] == sent["system"]
        assert ["text", "image", "document"] == [next(iter(block)) for block in sent["messages"][0]["content"]]
        assert ["c1", "c2"] == [block["toolResult"]["toolUseId"] for block in sent["messages"][2]["content"]]
        assert "image" in sent["messages"][2]["content"][1]["toolResult"]["content"][0]
        assert "messages[1].content[1].image_url.url" == caught.value.param


async def test_members_of_bedrock(tmp_path: Path) -> None:
    """Guardrail, tier, metadata and the model's own members reach AWS; what it answers of them comes back."""
    async with running(tmp_path) as here, sdk(here) as client:
        told = await client.chat.completions.create(
            model="single",
            messages=QUESTION,
            service_tier="flex",
            user="ann",
            metadata={"k": "v"},
            extra_body={
                "guardrailConfig": {"guardrailIdentifier": "gr123", "guardrailVersion": "1", "trace": "enabled"},
                "top_k": 5,
                "anthropic_beta": ["a-b"],
                "metadata": {"tags": ["desk", "night"]},
            },
        )
        await here.settled()

        sent = received(here)
        assert {"top_k": 5, "anthropic_beta": ["a-b"]} == sent["additionalModelRequestFields"]
        assert {"type": "flex"} == sent["serviceTier"]
        assert "gr123" == sent["guardrailConfig"]["guardrailIdentifier"]
        assert ("flex", True) == (told.service_tier, "guardrail" in told.trace)  # type: ignore[attr-defined]
        assert [("ann", ["desk", "night"])] == [
            (row["end_user"], json.loads(row["tags"])) for row in here.rows("SELECT end_user, tags FROM calls")
        ]


async def test_a_cached_prompt_is_told(tmp_path: Path) -> None:
    """Tokens a cache was written with, and read from it, stand in the usage and add up with the rest."""
    long = "Bedrock gateways keep keys, budgets and routes. " * 200
    system: Any = {
        "role": "system",
        "content": [{"type": "text", "text": long, "cache_control": {"type": "ephemeral"}}],
    }
    async with running(tmp_path) as here, sdk(here) as client:
        first, second = [
            (await client.chat.completions.create(model="single", messages=[system, *QUESTION])).usage for _ in "ab"
        ]

        assert first is not None and second is not None
        assert second.prompt_tokens_details is not None
        assert first.cache_creation_input_tokens == second.prompt_tokens_details.cached_tokens  # type: ignore[attr-defined]
        assert first.prompt_tokens == second.prompt_tokens > 1000


@pytest.mark.parametrize("drop", [False, True])
async def test_what_has_no_place(tmp_path: Path, drop: bool) -> None:
    """Members Bedrock does not know are refused by name, or left out where the config says so."""
    config = GROUP + f"litellm_settings: {{drop_params: {str(drop).lower()}}}\n"
    asked: dict[str, Any] = {"model": "single", "messages": QUESTION, "seed": 1, "logprobs": True}
    async with running(tmp_path, config) as here, sdk(here) as client:
        if drop:
            await client.chat.completions.create(**asked)
            assert {"messages"} == received(here).keys()
            return
        with pytest.raises(openai.BadRequestError, match="logprobs, seed"):
            await client.chat.completions.create(**asked)
        assert [] == here.rows("SELECT * FROM attempts")


async def test_azures_sdk(tmp_path: Path) -> None:
    """Azure's SDK writes the model into the path and its key into a header of its own."""
    locked = GROUP + "general_settings: {master_key: sk-the-master-key-0123456789}\n"
    async with running(tmp_path, locked) as here:
        client = openai.AsyncAzureOpenAI(
            azure_endpoint=here.url, api_key="sk-the-master-key-0123456789", api_version="2024-10-21", max_retries=0
        )
        async with client:
            told = await client.chat.completions.create(model="single", messages=QUESTION, max_tokens=5)
            stream = await client.chat.completions.create(model="single", messages=QUESTION, stream=True)
            last = [chunk async for chunk in stream][-1]
            with pytest.raises(openai.NotFoundError):
                await client.chat.completions.create(model="nowhere", messages=QUESTION)
            with pytest.raises(openai.AuthenticationError):
                await client.copy(api_key="sk-another").chat.completions.create(model="single", messages=QUESTION)

        assert ("single", "length") == (told.model, told.choices[0].finish_reason)
        assert "stop" == last.choices[0].finish_reason


async def test_an_sdk_that_repeats_is_given_one_attempt(tmp_path: Path) -> None:
    """Repeats of the SDK and of the gateway do not multiply: each further call of the SDK is one attempt."""
    async with running(tmp_path) as here:
        here.simulator.faults.add("unavailable", times=None)
        client = openai.AsyncOpenAI(base_url=f"{here.url}/v1", api_key="k", max_retries=1)
        async with client:
            with pytest.raises(openai.InternalServerError):
                await client.chat.completions.create(model="claude", messages=QUESTION)
        await here.settled()

        assert [3, 1] == [row["attempts"] for row in here.rows("SELECT attempts FROM calls ORDER BY started_at")]


async def test_defaults_of_a_deployment(tmp_path: Path) -> None:
    """Model parameters of a deployment stand in where a request in this dialect says nothing, never in a native one."""
    config = GROUP.replace("max_retries: 0,", "max_retries: 0, max_tokens: 7, temperature: 0.5, top_k: 4, stop: [END],")
    async with running(tmp_path, config) as here, sdk(here) as client:
        told = await client.chat.completions.create(model="single", messages=QUESTION)
        sent = received(here)
        await client.chat.completions.create(model="single", messages=QUESTION, max_tokens=9, temperature=0)
        own = received(here)
        native = here.client()
        await asyncio.to_thread(
            native.converse, modelId="single", messages=[{"role": "user", "content": [{"text": "Why?"}]}]
        )
        native.close()

        assert {"maxTokens": 7, "temperature": 0.5, "stopSequences": ["END"]} == sent["inferenceConfig"]
        assert {"top_k": 4} == sent["additionalModelRequestFields"]
        assert {"maxTokens": 9, "temperature": 0, "stopSequences": ["END"]} == own["inferenceConfig"]
        assert {"messages"} == received(here).keys()
        assert "length" == told.choices[0].finish_reason


async def test_a_budget_bounds_what_defaults_make_of_a_call(tmp_path: Path) -> None:
    """Shortened for a budget, an answer is no longer than its deployment says either, and thought finds room in it."""
    config = LOCKED.replace(
        "- model_name: single\n    litellm_params: {", "- model_name: single\n    litellm_params: {%s"
    )
    for default, length in (("max_tokens: 50,", 50), ("reasoning_effort: max,", None)):
        (folder := tmp_path / str(length)).mkdir()
        async with running(folder, config.replace("%s", default)) as here:
            key = await new_key(here, max_budget=0.05, on_budget="clamp")
            async with sdk(here) as client:
                told = await client.copy(api_key=key).chat.completions.create(model="single", messages=QUESTION)
            await here.settled()

            sent = received(here)
            most = sent["inferenceConfig"]["maxTokens"]
            assert most == length or (length is None and 1024 < most < 3000)
            thinking = sent.get("additionalModelRequestFields", {}).get("thinking", {"budget_tokens": 0})
            assert thinking["budget_tokens"] in (0, most - 1)
            assert told.usage is not None and told.usage.completion_tokens <= most
            (row,) = here.rows("SELECT spend, spend_at_most FROM attempts")
            assert row["spend"] <= row["spend_at_most"] <= 50_000_000


@pytest.mark.parametrize("fault", ["wrong-crc after=3", "cut after=3", "cut-clean after=3", "exception after=3"])
async def test_a_stream_that_fails_is_not_done(tmp_path: Path, fault: str) -> None:
    """However a stream fails, it ends with an error event and without [DONE], and its row says what was paid."""
    asked = {"model": "single", "stream": True, "messages": [{"role": "user", "content": f"[[simulate: {fault}]]"}]}
    async with running(tmp_path, GROUP) as here, aiohttp.ClientSession() as client:
        answer = await client.post(f"{here.url}/v1/chat/completions", json=asked)
        text = await answer.text()
        await here.settled()

        *chunks, last = [json.loads(line[6:]) for line in text.split("\n\n") if line]
        assert "error" in last and last["error"]["message"]
        assert chunks and not any("error" in chunk for chunk in chunks)
        assert ["estimated"] == [row["state"] for row in here.rows("SELECT state FROM attempts")]


@pytest.mark.parametrize("name", ["..", "\ud800", "a\x00b", "%2e%2e", "x" * 5000, "?", "a/b", "arn:aws:bedrock"])
async def test_names_that_are_none(tmp_path: Path, name: str) -> None:
    """Whatever stands in the place of a model, the answer is the SDK's own not found or bad request."""
    async with running(tmp_path, GROUP) as here, aiohttp.ClientSession() as client:
        body = json.dumps({"model": name, "messages": QUESTION}).encode()
        answer = await client.post(f"{here.url}/v1/chat/completions", data=body)

        assert answer.status in (400, 404)
        assert "model" == (await answer.json())["error"]["param"]


GROUP = """
model_list:
  - model_name: single
    litellm_params: {model: bedrock/%(claude)s, aws_region_name: us-east-1, max_retries: 0,
      aws_access_key_id: AKIDEPLOYMENTA, aws_secret_access_key: secret-A, aws_bedrock_runtime_endpoint: "%(url)s"}
"""
