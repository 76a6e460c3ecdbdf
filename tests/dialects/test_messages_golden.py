"""Golden pairs of messages, one file a family: request → what is sent, Bedrock's answer → message."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anthropic
import pytest
from aiohttp import test_utils, web
from anthropic.types import Message
from chatting import events_of
from messaging import chunks_of, read, sent, streamed, summed, whole

PAIRS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text()) for path in (Path(__file__).parent / "messages").glob("*.json")
}
each_pair = pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS.keys())


@each_pair
def test_a_golden_pair(pair: dict[str, Any]) -> None:
    """A request becomes this of Bedrock's, its answer this message; a stream of the same answer adds up to it."""
    native = pair["operation"] == "InvokeModel"
    stream = b"".join((chunks_of if native else events_of)(pair["answer"]))

    assert pair["operation"] == read(pair["request"], model=pair["model"]).operation
    assert pair["sent"] == sent(pair["request"], model=pair["model"])
    assert pair["message"] == whole(pair["answer"], model=pair["model"])
    assert pair["message"] == summed(streamed(stream, model=pair["model"]))
    Message.model_validate(pair["message"], strict=True)


@each_pair
async def test_the_sdk_adds_a_stream_up_to_it(pair: dict[str, Any]) -> None:
    """Anthropic's own client makes of the events what the whole answer is, citations and signatures too."""
    frames = (chunks_of if pair["operation"] == "InvokeModel" else events_of)(pair["answer"])
    relay = read(pair["request"] | {"stream": True}, model=pair["model"]).relay(pair["model"], call_id="1", now=0)
    body = relay.receive_data(b"".join(frames)) + relay.receive_eof()

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="text/event-stream")

    app = web.Application()
    app.router.add_post("/v1/messages", answer)
    question = [{"role": "user", "content": "Why?"}]
    async with test_utils.TestServer(app) as server:
        url = str(server.make_url(""))
        async with (
            anthropic.AsyncAnthropic(api_key="any-key", base_url=url, max_retries=0) as client,
            client.messages.stream(model="group", max_tokens=9, messages=question) as stream,
        ):
            message = (await stream.get_final_message()).to_dict()

    assert pair["message"] == {name: message[name] for name in pair["message"]}


@each_pair
def test_an_answer_goes_into_the_next_request(pair: dict[str, Any]) -> None:
    """What a model has said comes to it again in its own blocks."""
    asked = pair["request"]
    said = {"role": "assistant", "content": pair["message"]["content"]}
    answer = pair["answer"] if pair["operation"] == "InvokeModel" else pair["answer"]["output"]["message"]

    again = sent(asked | {"messages": [*asked["messages"], said]}, model=pair["model"])

    assert [*pair["sent"]["messages"], {"role": "assistant", "content": answer["content"]}] == again["messages"]


def test_the_families_are_there() -> None:
    """Claude, a profile that hides one, Nova, Llama and gpt-oss each have their pair."""
    assert {"claude", "gpt-oss", "llama", "nova", "profile"} == PAIRS.keys()
