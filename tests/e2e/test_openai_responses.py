"""OpenAI's Responses through the real SDK, on the whole chain."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import openai
import pydantic
import pytest
from running import Running, running

WEATHER = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def sdk(here: Running) -> openai.OpenAI:
    """Return a client of the gateway that does not repeat calls."""
    return here.closing(openai.OpenAI(base_url=f"{here.url}/v1", api_key="any-key", max_retries=0))


async def respond(here: Running, **asked: Any) -> Any:
    """Return a whole response."""
    asked = {"model": "single", "input": "What is a gateway good for?"} | asked

    def by_sdk() -> Any:
        with sdk(here) as client:
            told = client.responses.create(**asked)
            return list(told) if "stream" in asked else told

    return await asyncio.to_thread(by_sdk)


async def streamed(here: Running, **asked: Any) -> list[Any]:
    """Return the events of a streamed response."""
    events: list[Any] = await respond(here, stream=True, **asked)
    return events


async def test_a_whole_answer(tmp_path: Path) -> None:
    """A response is a Converse call with its row; it says why it is not whole, and what was asked for."""
    async with running(tmp_path) as here:
        told = await respond(here, instructions="Be brief.", max_output_tokens=9)
        await here.settled()

        assert ("response", "single", "incomplete") == (told.object, told.model, told.status)
        assert ("max_output_tokens", "Be brief.") == (told.incomplete_details.reason, told.instructions)
        assert (9, told.usage.input_tokens + 9) == (told.usage.output_tokens, told.usage.total_tokens)
        assert [{"dialect": "openai", "operation": "Converse", "state": "metered"}] == here.rows(
            "SELECT dialect, operation, state FROM calls"
        )


@pytest.mark.parametrize("asked", [{}, {"max_output_tokens": 5}, {"tools": [WEATHER], "tool_choice": "required"}])
async def test_a_stream_is_the_whole_answer_in_pieces(tmp_path: Path, asked: dict[str, Any]) -> None:
    """The last event says what the whole answer says, the pieces add up to it, the SDK's numbers too."""
    async with running(tmp_path) as here:
        whole = await respond(here, **asked)
        events = await streamed(here, **asked)
        final = events[-1].response
        assert list(range(len(events))) == [event.sequence_number for event in events]
        assert f"response.{whole.status}" == events[-1].type
        assert ("response.created", "response.in_progress") == (events[0].type, events[1].type)
        assert whole.output_text == final.output_text
        assert whole.output_text == "".join(e.delta for e in events if e.type == "response.output_text.delta")
        assert whole.usage == final.usage
        assert [strip(item) for item in whole.output] == [strip(item) for item in final.output]


def strip(item: Any) -> dict[str, Any]:
    """Return an item without its id, which is of the call."""
    told: dict[str, Any] = item.model_dump()
    return {name: value for name, value in told.items() if name != "id"}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_tool_is_called_and_answered(tmp_path: Path, stream: bool) -> None:
    """A call of a tool is an item of its own; put into the next request with its output, the conversation goes on."""
    async with running(tmp_path) as here:
        asked: dict[str, Any] = {"tools": [WEATHER], "tool_choice": "required"}
        if stream:
            told = (await streamed(here, **asked))[-1].response
        else:
            told = await respond(here, **asked)
        (call,) = [item for item in told.output if item.type == "function_call"]
        conversation = [{"role": "user", "content": "How is the weather?"}, *told.output]
        conversation.append({"type": "function_call_output", "call_id": call.call_id, "output": "rain"})
        after = await respond(here, input=conversation, tools=[WEATHER])

        assert ("weather", "completed") == (call.name, call.status)
        assert "completed" == after.status
        assert after.output_text


@pytest.mark.parametrize("stream", [False, True])
async def test_thought_is_told_and_sent_back(tmp_path: Path, stream: bool) -> None:
    """A thought is an item of its own; put into the next request it is upstream's again, with its signature."""
    async with running(tmp_path) as here:
        asked: dict[str, Any] = {"reasoning": {"effort": "high"}, "max_output_tokens": 5000}
        if stream:
            told = (await streamed(here, **asked))[-1].response
        else:
            told = await respond(here, **asked)
        await respond(here, input=[{"role": "user", "content": "Why?"}, *told.output, {"role": "user", "content": "?"}])
        sent = json.loads(here.simulator.received[-1].body)["messages"][1]["content"]

        assert ["reasoning", "message"] == [item.type for item in told.output]
        assert told.usage.output_tokens > told.usage.output_tokens_details.reasoning_tokens > 0
        thought, text = sent[0]["reasoningContent"]["reasoningText"], sent[1]["text"]
        assert (told.output[0].content[0].text, told.output_text) == (thought["text"], text)
        assert thought["signature"]


class Place(pydantic.BaseModel):
    """What an answer in JSON has to look like."""

    city: str


async def test_an_answer_in_json(tmp_path: Path) -> None:
    """The SDK parses an answer by a schema, whole or streamed."""
    async with running(tmp_path) as here:
        asked: Any = {"model": "single", "input": "Where?", "text_format": Place}

        def by_sdk() -> tuple[Any, Any]:
            with sdk(here) as client:
                whole = client.responses.parse(**asked)
                with client.responses.stream(**asked) as stream:
                    return whole.output_parsed, stream.get_final_response().output_parsed

        whole, final = await asyncio.to_thread(by_sdk)

        assert isinstance(whole, Place)
        assert whole == final


@pytest.mark.parametrize(
    ("asked", "error", "param"),
    [
        ({"model": "nowhere"}, openai.NotFoundError, "model"),
        ({"input": []}, openai.BadRequestError, "input"),
        ({"input": [{"role": "user", "content": 5}]}, openai.BadRequestError, "input[0].content"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, openai.BadRequestError, "input[0].type"),
        ({"previous_response_id": "resp_1"}, openai.BadRequestError, "previous_response_id"),
        ({"tools": [{"type": "web_search"}]}, openai.BadRequestError, "tools[0].type"),
        ({"reasoning": {"effort": "some"}}, openai.BadRequestError, "reasoning.effort"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, openai.BadRequestError, "text.format.schema"),
    ],
)
async def test_what_is_wrong_is_named(
    tmp_path: Path, asked: dict[str, Any], error: type[openai.APIStatusError], param: str
) -> None:
    """What cannot be served is the exception that the SDK has for it, and names the field."""
    async with running(tmp_path) as here:
        with pytest.raises(error) as caught:
            await respond(here, **asked)

        assert param == caught.value.param
        assert 0 == here.simulator.received.total


async def test_a_stream_that_breaks_off(tmp_path: Path) -> None:
    """After its first event an error is an event that the SDK raises for."""
    async with running(tmp_path) as here:
        with pytest.raises(openai.APIError, match="broke off"):
            await streamed(here, input="[[simulate: cut after=3]]")
