"""OpenAI's chat completions through the real SDK, on the whole chain."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import aiohttp
import anthropic
import openai
import pytest
from aiohttp import web
from running import Running, running
from scripted_upstream import Asked, scripted

QUESTION = [{"role": "user", "content": "What is a gateway good for?"}]
WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


def sdk(here: Running, **options: Any) -> openai.OpenAI:
    """Return a client of the gateway that does not repeat calls."""
    return here.closing(openai.OpenAI(base_url=f"{here.url}/v1", api_key="any-key", max_retries=0, **options))


async def test_a_whole_answer(tmp_path: Path) -> None:
    """A chat completion is a Converse call with its row, its spend and its dialect."""
    async with running(tmp_path) as here, openai.AsyncOpenAI(base_url=f"{here.url}/v1", api_key="k") as client:
        told = await client.chat.completions.with_raw_response.create(model="single", messages=QUESTION, max_tokens=9)
        answer = told.parse()
        await here.settled()

        assert ("single", "chat.completion", 1) == (answer.model, answer.object, len(answer.choices))
        assert ("assistant", "length") == (answer.choices[0].message.role, answer.choices[0].finish_reason)
        assert answer.usage is not None
        assert 9 == answer.usage.completion_tokens
        assert told.headers["x-bedrock-gateway-spend-usd"]
        assert [{"dialect": "openai", "operation": "Converse", "state": "metered"}] == here.rows(
            "SELECT dialect, operation, state FROM calls"
        )


async def test_a_stream(tmp_path: Path) -> None:
    """Chunks come as upstream says them, and their sum is the whole answer."""
    async with running(tmp_path) as here, openai.AsyncOpenAI(base_url=f"{here.url}/v1", api_key="k") as client:
        whole = await client.chat.completions.create(model="single", messages=QUESTION, max_tokens=9)
        chunks = [
            chunk
            async for chunk in await client.chat.completions.create(
                model="single", messages=QUESTION, max_tokens=9, stream=True, stream_options={"include_usage": True}
            )
        ]
        await here.settled()

        said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert whole.choices[0].message.content == said
        assert whole.usage == chunks[-1].usage
        assert ["length"] == [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason]
        assert [("ConverseStream", "metered")] == [
            (row["operation"], row["state"])
            for row in here.rows("SELECT operation, state FROM calls WHERE operation LIKE '%Stream'")
        ]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_tool_is_called(tmp_path: Path, stream: bool) -> None:
    """A call of a tool comes back with its id, name and arguments, and its result goes in again."""
    async with running(tmp_path) as here:
        client = sdk(here)

        def ask(messages: list[Any], choice: str) -> Any:
            asked: Any = {"model": "single", "messages": messages, "tools": [WEATHER], "tool_choice": choice}
            if not stream:
                return client.chat.completions.create(**asked).choices[0]
            with client.chat.completions.stream(**asked) as events:
                return events.get_final_completion().choices[0]

        choice = await asyncio.to_thread(ask, QUESTION, "required")
        (call,) = choice.message.tool_calls
        result = {"role": "tool", "tool_call_id": call.id, "content": "rain"}
        after = await asyncio.to_thread(ask, [*QUESTION, choice.message.model_dump(exclude_none=True), result], "auto")

        assert ("tool_calls", "weather") == (choice.finish_reason, call.function.name)
        assert "stop" == after.finish_reason


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("asked", "error", "param"),
    [
        ({"model": "nowhere"}, openai.NotFoundError, "model"),
        ({"messages": []}, openai.BadRequestError, "messages"),
        ({"messages": [{"role": "user", "content": 5}]}, openai.BadRequestError, "messages[0].content"),
        ({"seed": 5}, openai.BadRequestError, "seed"),
        ({"max_tokens": "many"}, openai.BadRequestError, "max_tokens"),
        ({"messages": [{"role": "user", "content": "[[simulate: throttle]]"}]}, openai.RateLimitError, None),
    ],
)
async def test_errors_are_the_sdks_own(
    tmp_path: Path, stream: bool, asked: dict[str, Any], error: type[openai.APIStatusError], param: str | None
) -> None:
    """What is wrong comes as the exception that the SDK has for it, and names the field."""
    async with running(tmp_path, GROUP) as here:
        given = {"model": "single", "messages": QUESTION, "stream": stream} | asked

        with pytest.raises(error) as caught:
            await asyncio.to_thread(call, sdk(here), given)

        assert param == caught.value.param


def call(client: openai.OpenAI, asked: dict[str, Any]) -> None:
    """Make a call and read its answer to the end."""
    answer: Any = client.chat.completions.create(**asked)
    if asked["stream"]:
        list(answer)


async def test_a_stream_that_breaks_off(tmp_path: Path) -> None:
    """After the first chunk an error is an event the SDK raises for, and the call is booked as it was."""
    async with running(tmp_path) as here:
        asked = {"model": "single", "messages": [{"role": "user", "content": "[[simulate: cut after=3]]"}]}

        with pytest.raises(openai.APIError, match="broke off"):
            await asyncio.to_thread(call, sdk(here), asked | {"stream": True})
        await here.settled()

        assert ["estimated"] == [row["state"] for row in here.rows("SELECT state FROM attempts")]


async def test_the_line_of_a_refusal_says_what_was_asked_and_which_member_is_wrong(tmp_path: Path) -> None:
    """Whoever reads the log sees which model and which member of the request it was; a long name is cut."""
    async with running(tmp_path, GROUP) as here:
        for asked in ({"max_tokens": "many"}, {"model": "nowhere"}, {"model": "n" * 2_000_000}):
            given = {"model": "single", "messages": QUESTION, "stream": False} | asked
            with pytest.raises((openai.BadRequestError, openai.NotFoundError)) as caught:
                await asyncio.to_thread(call, sdk(here), given)
        await here.settled()

        assert 1_000 > len(caught.value.message)
        field, nowhere, long = here.lines
        assert field.endswith("error=ValidationException at=max_tokens")
        assert "asked=nowhere" in nowhere
        assert 600 > len(long)


@pytest.mark.parametrize(("status", "page"), [(413, "413: Too large"), (400, ""), (400, "<html>")])
async def test_what_is_no_word_of_aws(tmp_path: Path, status: int, page: str) -> None:
    """What stands before AWS, a proxy for one, may refuse in words that are no JSON: the caller is told that much."""

    async def refuse(asked: Asked) -> web.StreamResponse:
        return web.Response(status=status, text=page)

    async with scripted(refuse) as upstream, running(tmp_path, GROUP.replace("%(url)s", upstream.url)) as here:
        with pytest.raises(openai.APIStatusError, match=rf"answered {status} and gave no reason") as told:
            await asyncio.to_thread(call, sdk(here), {"model": "single", "messages": QUESTION, "stream": False})
        claude = here.closing(anthropic.Anthropic(base_url=here.url, api_key="any-key", max_retries=0))
        with pytest.raises(anthropic.APIStatusError, match=rf"answered {status} and gave no reason"):
            await asyncio.to_thread(claude.messages.create, model="single", max_tokens=5, messages=QUESTION)

        assert status == told.value.status_code


async def test_a_wrong_key(tmp_path: Path) -> None:
    """A key that is none is 401 here, as OpenAI has it."""
    locked = GROUP + "general_settings: {master_key: sk-the-master-key-0123456789}\n"
    async with running(tmp_path, locked) as here:
        with pytest.raises(openai.AuthenticationError):
            await asyncio.to_thread(call, sdk(here), {"model": "single", "messages": QUESTION, "stream": False})


GROUP = """
model_list:
  - model_name: single
    litellm_params: {model: bedrock/%(claude)s, aws_region_name: us-east-1, max_retries: 0,
      aws_access_key_id: AKIDEPLOYMENTA, aws_secret_access_key: secret-A, aws_bedrock_runtime_endpoint: "%(url)s"}
"""


async def test_another_method(tmp_path: Path) -> None:
    """What is asked for by another method is told which one is served."""
    async with running(tmp_path) as here, aiohttp.ClientSession() as session:
        async with session.get(f"{here.url}/v1/chat/completions") as answer:
            told = await answer.json()

    assert (404, True) == (answer.status, "GET is not served under this path, POST is." in told["message"])


async def test_a_path_of_nothing(tmp_path: Path) -> None:
    """What is asked for under a path of OpenAI's that is not served is told which ones are."""
    async with running(tmp_path) as here, aiohttp.ClientSession() as session:
        async with session.post(f"{here.url}/v1/completions", json={}) as answer:
            told = (await answer.json())["message"]
        named = re.findall(r"/v1/[a-z/]*[a-z]", told)
        assert len(named) > 5
        for path in named:
            method = "GET" if path == "/v1/models" else "POST"
            async with session.request(method, f"{here.url}{path}", json={}) as answer:
                assert 404 != answer.status
