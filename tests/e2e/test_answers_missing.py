"""Successes of upstream that hold no answer, or not all of one, as SDKs of OpenAI and Anthropic are told them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from aiohttp import web
from running import Running, running
from scripted_upstream import BEGINNING, Asked, scripted, streaming

from bedrock_gateway.wire.eventstream import encode_event

QUESTION: Any = [{"role": "user", "content": "What is a gateway good for?"}]
GROUP = """
model_list:
  - model_name: nova
    litellm_params: {model: bedrock/us.amazon.nova-pro-v1:0, aws_region_name: us-east-1,
      aws_access_key_id: AKIDEPLOYMENTA, aws_secret_access_key: secret-A, aws_bedrock_runtime_endpoint: "%(url)s"}
  - model_name: command
    litellm_params: {model: bedrock/invoke/cohere.command-r-v1:0, aws_region_name: us-east-1,
      aws_access_key_id: AKIDEPLOYMENTA, aws_secret_access_key: secret-A, aws_bedrock_runtime_endpoint: "%(url)s"}
"""
WORDS = encode_event("contentBlockDelta", b'{"contentBlockIndex":0,"delta":{"text":"To"}}')
STOP = encode_event("contentBlockStop", b'{"contentBlockIndex":0}')
USED = encode_event("metadata", b'{"usage":{"inputTokens":5,"outputTokens":1,"totalTokens":6}}')


def chat(here: Running, model: str, stream: bool) -> list[Any]:
    """Return what a client of chat completions reads, in pieces."""
    client = here.closing(openai.OpenAI(base_url=f"{here.url}/v1", api_key="any-key", max_retries=2))
    told = client.chat.completions.create(model=model, messages=QUESTION, stream=stream)
    return [*told] if stream else [told]


def response(here: Running, model: str, stream: bool) -> list[Any]:
    """Return what a client of Responses reads, in pieces."""
    client = here.closing(openai.OpenAI(base_url=f"{here.url}/v1", api_key="any-key", max_retries=2))
    told = client.responses.create(model=model, input="What is a gateway good for?", stream=stream)
    return [*told] if stream else [told]


def message(here: Running, model: str, stream: bool) -> list[Any]:
    """Return what a client of messages reads, in pieces."""
    client = here.closing(anthropic.Anthropic(base_url=here.url, api_key="any-key", max_retries=2))
    told = client.messages.create(model=model, max_tokens=9, messages=QUESTION, stream=stream)
    return [*told] if stream else [told]


Call = Callable[[Running, str, bool], list[Any]]
CALLS = pytest.mark.parametrize("call", [chat, response, message])
ERRORS = (openai.APIError, anthropic.APIError)


@CALLS
@pytest.mark.parametrize("model", ["nova", "command"])
@pytest.mark.parametrize("body", ["[]", "null", "{}", '{"output": null}', '"text"'])
async def test_a_success_that_holds_no_answer(tmp_path: Path, call: Call, model: str, body: str) -> None:
    """It is an error that says so, asked for once whatever an SDK repeats, and is on record as told."""

    async def answer(asked: Asked) -> web.StreamResponse:
        return web.Response(text=body, content_type="application/json")

    async with scripted(answer) as upstream, running(tmp_path, GROUP.replace("%(url)s", upstream.url)) as here:
        with pytest.raises(ERRORS, match="cannot be written in this dialect; it may have been billed") as told:
            await asyncio.to_thread(call, here, model, False)
        await here.settled()

        assert 424 == told.value.status_code
        assert 1 == len(upstream.asked)
        assert [{"status": 424}] == here.rows("SELECT status FROM calls")


@CALLS
@pytest.mark.parametrize("type_", ["text/html", "text/plain"])
async def test_a_page_is_no_answer(tmp_path: Path, call: Call, type_: str) -> None:
    """A page that something on the way puts in the place of an answer is an error too."""

    async def answer(asked: Asked) -> web.StreamResponse:
        return web.Response(text="<html>Please log in to the network.</html>", content_type=type_)

    async with scripted(answer) as upstream, running(tmp_path, GROUP.replace("%(url)s", upstream.url)) as here:
        with pytest.raises(ERRORS, match="may have been billed"):
            await asyncio.to_thread(call, here, "nova", False)


@CALLS
@pytest.mark.parametrize(
    "messages",
    [[BEGINNING], [BEGINNING, WORDS], [BEGINNING, WORDS, STOP], [BEGINNING, WORDS, STOP, USED], [USED]],
    ids=["begun", "in a block", "after a block", "all but the reason", "usage alone"],
)
async def test_a_stream_that_does_not_say_that_it_ended(tmp_path: Path, call: Call, messages: list[bytes]) -> None:
    """A stream that closes well between two messages, without a reason to stop, makes an SDK raise."""

    async def answer(asked: Asked) -> web.StreamResponse:
        return await streaming(asked, *messages)

    async with scripted(answer) as upstream, running(tmp_path, GROUP.replace("%(url)s", upstream.url)) as here:
        with pytest.raises(ERRORS, match="ended before the answer did"):
            await asyncio.to_thread(call, here, "nova", True)


@CALLS
async def test_a_stream_that_does_not_say_why_it_ended(tmp_path: Path, call: Call) -> None:
    """A reason to stop is not made up."""

    async def answer(asked: Asked) -> web.StreamResponse:
        return await streaming(asked, BEGINNING, WORDS, STOP, encode_event("messageStop", b"{}"), USED)

    async with scripted(answer) as upstream, running(tmp_path, GROUP.replace("%(url)s", upstream.url)) as here:
        with pytest.raises(ERRORS, match="cannot be read"):
            await asyncio.to_thread(call, here, "nova", True)


@CALLS
@pytest.mark.parametrize(
    ("body", "type_"),
    [
        ("{}", "application/json"),
        ('{"output": {"message": {"role": "assistant", "content": []}}, "stopReason": "end_turn"}', "application/json"),
        ("<html>Please log in to the network.</html>", "text/html"),
    ],
    ids=["an object", "an answer", "a page"],
)
async def test_what_is_no_stream(tmp_path: Path, call: Call, body: str, type_: str) -> None:
    """Something else in the place of a stream is an error, and no stream without events."""

    async def answer(asked: Asked) -> web.StreamResponse:
        return web.Response(text=body, content_type=type_)

    async with scripted(answer) as upstream, running(tmp_path, GROUP.replace("%(url)s", upstream.url)) as here:
        with pytest.raises(ERRORS, match="may have been billed"):
            await asyncio.to_thread(call, here, "nova", True)
        await here.settled()

        assert 1 == len(upstream.asked)
