"""Several choices of one chat completion, through the real SDK, on the whole chain: each is a call by itself."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import weakref
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pydantic
import pytest
from administering import MASTER, new_key
from aiohttp import web
from behind_a_gate import behind_a_gate
from budgeted import assert_nothing_held
from running import GROUPS, Running, running
from scripted_upstream import WHOLE, Asked, scripted

from bedrock_gateway.chain.call import Call

QUESTION: list[Any] = [{"role": "user", "content": "What is a gateway good for?"}]
LOCKED = GROUPS + f"general_settings: {{master_key: {MASTER}}}\n"


class City(pydantic.BaseModel):
    """A place, as an answer has to describe it."""

    name: str


def sdk(here: Running, key: str = "any-key") -> openai.AsyncOpenAI:
    """Return a client of the gateway that does not repeat calls."""
    return here.closing(openai.AsyncOpenAI(base_url=f"{here.url}/v1", api_key=key, max_retries=0))


async def test_several_choices(tmp_path: Path) -> None:
    """Three choices are three calls of Converse, told as one completion whose usage and spend are the sum of theirs."""
    async with running(tmp_path) as here, sdk(here) as client:
        told = await client.chat.completions.with_raw_response.create(
            model="single",
            messages=QUESTION,
            n=3,
            max_tokens=9,
            user="ada",
            extra_body={"metadata": {"tags": ["desk"]}},
            extra_headers={"x-bedrock-gateway-session": "s"},
        )
        await here.settled()
        rows = here.rows(
            "SELECT calls.id, operation, dialect, calls.state, end_user, tags, input, output, calls.spend "
            "FROM attempts JOIN calls ON calls.id = call ORDER BY calls.id"
        )

    answer = told.parse()
    assert [(0, "length"), (1, "length"), (2, "length")] == [(one.index, one.finish_reason) for one in answer.choices]
    assert all(one.message.content for one in answer.choices)
    assert answer.usage is not None
    assert sum(row["input"] for row in rows) == answer.usage.prompt_tokens > 0
    assert sum(row["output"] for row in rows) == answer.usage.completion_tokens == 27
    assert [("Converse", "openai", "metered", "ada", '["desk"]')] * 3 == [
        (row["operation"], row["dialect"], row["state"], row["end_user"], row["tags"]) for row in rows
    ]
    assert f"chatcmpl-{told.headers['x-bedrock-gateway-call-id']}" == answer.id
    assert told.headers["x-bedrock-gateway-call-id"] in {row["id"] for row in rows}
    assert ("3", "3") == (told.headers["x-bedrock-gateway-parts"], told.headers["x-bedrock-gateway-attempts"])
    assert sum(row["spend"] for row in rows) == round(float(told.headers["x-bedrock-gateway-spend-usd"]) * 1e9) > 0


async def test_each_choice_is_parsed(tmp_path: Path) -> None:
    """The SDK reads JSON and calls of tools out of every choice."""
    async with running(tmp_path) as here, sdk(here) as client:
        cities = await client.chat.completions.parse(model="single", messages=QUESTION, n=2, response_format=City)
        called = await client.chat.completions.parse(
            model="single", messages=QUESTION, n=2, tool_choice="required", tools=[openai.pydantic_function_tool(City)]
        )

    assert [True, True] == [isinstance(one.message.parsed, City) for one in cities.choices]
    assert [1, 1] == [len(one.message.tool_calls or ()) for one in called.choices]


async def test_a_trace_stands_in_its_choice(tmp_path: Path) -> None:
    """What a guardrail found is told of each choice."""
    guardrail = {"guardrailIdentifier": "gr123", "guardrailVersion": "1", "trace": "enabled"}
    async with running(tmp_path) as here, sdk(here) as client:
        told = await client.chat.completions.create(
            model="single", messages=QUESTION, n=2, extra_body={"guardrailConfig": guardrail}
        )

    assert [True, True] == ["guardrail" in one.trace for one in told.choices]  # type: ignore[attr-defined]


@pytest.mark.parametrize("count", [0, 129, "two", 1.5])
async def test_how_many_there_may_be(tmp_path: Path, count: Any) -> None:
    """Fewer than one, more than 128, and what is no whole number are refused by name before anything is sent."""
    async with running(tmp_path) as here, sdk(here) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(model="single", messages=QUESTION, n=count)

        assert "n" == caught.value.param
        assert [] == here.rows("SELECT * FROM attempts")


async def test_choices_are_not_streamed(tmp_path: Path) -> None:
    """Several choices of a stream are refused by name; with ``drop_params`` there is one."""
    async with running(tmp_path) as here, sdk(here) as client:
        asked: dict[str, Any] = {"model": "single", "messages": QUESTION, "n": 2, "stream": True}
        with pytest.raises(openai.BadRequestError, match="cannot be streamed") as caught:
            await client.chat.completions.create(**asked)
        stream = await client.chat.completions.create(**asked, extra_body={"drop_params": True})
        indexes = {choice.index async for chunk in stream for choice in chunk.choices}

    assert ("n", {0}) == (caught.value.param, indexes)


async def test_each_choice_has_its_own_attempts(tmp_path: Path) -> None:
    """A choice whose deployment is not there goes to another one, and the rest stay where they are."""
    async with running(tmp_path) as here, sdk(here) as client:
        here.simulator.faults.add("unavailable", times=1)
        told = await client.chat.completions.with_raw_response.create(model="claude", messages=QUESTION, n=3)
        await here.settled()

        assert 3 == len(told.parse().choices)
        assert "4" == told.headers["x-bedrock-gateway-attempts"]
        assert [1, 1, 2] == sorted(row["attempts"] for row in here.rows("SELECT attempts FROM calls"))


async def test_a_choice_that_fails(tmp_path: Path) -> None:
    """The first refusal is the answer to the request; what was billed by then is booked, and not to be repeated."""
    seen: list[bytes] = []

    async def answers(asked: Asked) -> web.StreamResponse:
        seen.append(asked.body)
        if len(seen) == 2:
            headers = {"x-amzn-errortype": "ValidationException"}
            return web.json_response({"message": "No."}, status=400, headers=headers)
        return web.json_response(WHOLE)

    async with scripted(answers) as upstream, running(tmp_path, LOCKED.replace("%(url)s", upstream.url)) as here:
        async with sdk(here, await new_key(here, max_parallel_requests=1)) as client:
            with pytest.raises(openai.BadRequestError, match=r"No\.") as caught:
                await client.chat.completions.create(model="single", messages=QUESTION, n=4)
        await here.settled()
        rows = here.rows("SELECT status FROM calls ORDER BY id")

    assert "false" == caught.value.response.headers["x-should-retry"]
    assert [200, 400] == [row["status"] for row in rows]


async def test_a_budget_that_ends_choices_half_way(tmp_path: Path) -> None:
    """Each choice counts against the budget: the first it has no room for is the answer, and nothing stays held."""
    async with running(tmp_path, LOCKED) as here:
        key = await new_key(here, max_budget=0.05, max_parallel_requests=1)
        async with sdk(here, key) as client:
            with pytest.raises(openai.BadRequestError, match="budget of key") as caught:
                await client.chat.completions.create(model="single", messages=QUESTION, n=128, max_tokens=200)
        await here.settled()
        await assert_nothing_held(here)
        rows = here.rows("SELECT status, spend FROM calls ORDER BY id")

    sent = [row for row in rows if row["status"] == 200]
    assert "budget_exceeded" == caught.value.code
    assert 0 < len(sent) < 128
    assert sum(row["spend"] for row in sent) <= 50_000_000


async def test_a_limit_counts_each_choice(tmp_path: Path) -> None:
    """A key that may make three calls a minute gets two choices, and has to wait for two more."""
    async with running(tmp_path, LOCKED) as here, sdk(here, await new_key(here, rpm_limit=3)) as client:
        told = await client.chat.completions.create(model="single", messages=QUESTION, n=2)
        with pytest.raises(openai.RateLimitError):
            await client.chat.completions.create(model="single", messages=QUESTION, n=2)

        assert 2 == len(told.choices)


async def test_more_choices_than_a_limit_ever_allows(tmp_path: Path) -> None:
    """Of a key that may make two calls a minute, three choices are refused before one is billed: one call, one line."""
    async with running(tmp_path, LOCKED) as here, sdk(here, await new_key(here, rpm_limit=2)) as client:
        with pytest.raises(openai.BadRequestError, match=r"takes 3 calls, and key .* may make 2 a minute") as caught:
            await client.chat.completions.create(model="single", messages=QUESTION, n=3)
        await here.settled()

        assert "n" == caught.value.param
        assert [] == here.rows("SELECT * FROM attempts")
        assert re.search(r"status=400 .*error=ValidationException at='key key-\w+: requests'$", here.lines[-1])
        await here.until(lambda: [400] == [row["status"] for row in here.rows("SELECT status FROM calls")])
        await client.chat.completions.create(model="single", messages=QUESTION, n=2)


async def test_more_choices_than_a_limit_of_the_model_ever_allows(tmp_path: Path) -> None:
    """The same of a limit that a key has for one model: with others it has none."""
    async with (
        running(tmp_path, LOCKED) as here,
        sdk(here, await new_key(here, model_rpm_limit={"single": 2})) as client,
    ):
        with pytest.raises(
            openai.BadRequestError, match=r"takes 3 calls, and .*single.* may make 2 a minute"
        ) as caught:
            await client.chat.completions.create(model="single", messages=QUESTION, n=3)
        told = await client.chat.completions.create(model="claude", messages=QUESTION, n=3)

        assert "n" == caught.value.param
        assert 3 == len(told.choices)


async def test_a_caller_that_leaves_choices(tmp_path: Path) -> None:
    """Choices under way are read to their end and booked as AWS bills them; no other begins."""
    async with behind_a_gate(tmp_path, passing=0) as (here, gate):
        async with aiohttp.ClientSession() as session:
            body = {"model": "single", "messages": QUESTION, "n": 20}
            asking = asyncio.create_task(session.post(f"{here.url}/v1/chat/completions", json=body))
            await here.until(lambda: gate.held == 8)
            asking.cancel()
        await here.until(lambda: here.gateway.leaving.draining == 8)
        gate.open.set()
        await here.settled()
        left = [{"caller_left": 1, "state": "metered"}] * 8
        await here.until(lambda: left == here.rows("SELECT caller_left, state FROM calls"))


async def test_choices_of_a_large_request(tmp_path: Path) -> None:
    """Each call may be a copy of the whole request, so of a large one fewer are under way at once."""
    async with behind_a_gate(tmp_path, passing=0) as (here, gate), sdk(here) as client:
        picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{'iVBORw0K' * 1_250_000}"}}
        messages: list[Any] = [{"role": "user", "content": [picture]}]
        asking = asyncio.create_task(client.chat.completions.create(model="single", messages=messages, n=5))
        await here.until(lambda: gate.held == 3)
        assert 3 == len([call for call in here.gateway.calls if call.part])
        gate.open.set()

        assert 5 == len((await asking).choices)


async def test_what_a_choice_held_is_let_go(tmp_path: Path) -> None:
    """While further choices are under way, nothing is kept of the calls that have ended."""
    parts: weakref.WeakSet[Call] = weakref.WeakSet()
    kept: list[int] = []

    async def answers(asked: Asked) -> web.StreamResponse:
        parts.update(call for call in here.gateway.calls if call.part)
        gc.collect()
        kept.append(len(parts))
        return web.json_response(WHOLE)

    async with scripted(answers) as upstream, running(tmp_path, LOCKED.replace("%(url)s", upstream.url)) as here:
        async with sdk(here, await new_key(here, max_parallel_requests=1)) as client:
            await client.chat.completions.create(model="single", messages=QUESTION, n=8)

    assert 8 == len(kept) and max(kept) < 4


async def test_azures_path(tmp_path: Path) -> None:
    """Azure's SDK is given its choices too."""
    async with running(tmp_path) as here:
        client = openai.AsyncAzureOpenAI(azure_endpoint=here.url, api_key="k", api_version="1", max_retries=0)
        async with client:
            told = await client.chat.completions.create(model="single", messages=QUESTION, n=2)

        assert 2 == len(told.choices)
        assert {"messages"} == json.loads(here.simulator.received[-1].body).keys()
