"""Successes of upstream that hold no answer, or not all of one, as SDKs of OpenAI and Anthropic are told them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
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
#: More than is read whole of what does not stream.
LONG = '{"message": "%s"}' % ("So it goes. " * 100_000)
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
async def test_a_long_page_without_a_length(tmp_path: Path, call: Call) -> None:
    """A page that goes on for ever in the place of a stream is not read to its end."""

    async def answer(asked: Asked) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/html"})
        await response.prepare(asked.request)
        await response.write(LONG.encode())
        await asyncio.get_running_loop().create_future()
        return response

    async with scripted(answer) as upstream, running(tmp_path, GROUP.replace("%(url)s", upstream.url)) as here:
        with pytest.raises(ERRORS, match="may have been billed"):
            await asyncio.wait_for(asyncio.to_thread(call, here, "nova", True), 20)


async def test_what_is_no_stream_is_not_held_back(tmp_path: Path) -> None:
    """Bedrock's own dialect passes on what is no stream of AWS's, and not only once all of it is there."""
    read = asyncio.Event()

    async def answer(asked: Asked) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(asked.request)
        await response.write(b"data: {}\n\n")
        await read.wait()
        return response

    config = GROUP.replace("model_name: command", "model_name: nova")
    async with scripted(answer) as upstream, running(tmp_path, config.replace("%(url)s", upstream.url)) as here:
        url = f"{here.url}/bedrock/model/nova/converse-stream"
        body = {"messages": [{"role": "user", "content": [{"text": "What is a gateway good for?"}]}]}
        async with asyncio.timeout(20), aiohttp.ClientSession() as client, client.post(url, json=body) as response:
            assert b"data: {}" == await response.content.readexactly(8)
            read.set()
            assert b"\n\n" == await response.read()


@CALLS
@pytest.mark.parametrize(
    ("body", "type_"),
    [
        ("{}", "application/json"),
        ('{"output": {"message": {"role": "assistant", "content": []}}, "stopReason": "end_turn"}', "application/json"),
        ("<html>Please log in to the network.</html>", "text/html"),
        (LONG, "application/json"),
        (f"<html>{LONG}</html>", "text/html"),
        ('data: {"choices":[{"index":0,"delta":{"content":"To"}}]}\n\n', "text/event-stream"),
        ('data: {"choices":[{"index":0,"delta":{"content":"To"}}]}\n\ndata: [DONE]\n\n', "text/event-stream"),
    ],
    ids=["an object", "an answer", "a page", "a long object", "a long page", "events", "events that end"],
)
async def test_what_is_no_stream(tmp_path: Path, call: Call, body: str, type_: str) -> None:
    """Something else in the place of a stream, however long, is an error, and no stream without events."""

    async def answer(asked: Asked) -> web.StreamResponse:
        return web.Response(text=body, content_type=type_)

    async with scripted(answer) as upstream, running(tmp_path, GROUP.replace("%(url)s", upstream.url)) as here:
        with pytest.raises(ERRORS, match="may have been billed"):
            await asyncio.to_thread(call, here, "nova", True)
        await here.settled()

        assert 1 == len(upstream.asked)
