"""langchain-openai and langchain-aws as they come, on the whole chain, with a virtual key."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import openai
import pydantic
import pytest
import tiktoken
import tiktoken.registry
from administering import MASTER, new_key
from langchain_aws import BedrockEmbeddings, ChatBedrock, ChatBedrockConverse
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from running import CLAUDE, Running, running

CONFIG = f"""
model_list:
  - model_name: claude
    litellm_params: &deployment {{model: bedrock/%(claude)s, aws_region_name: us-east-1, max_retries: 0,
      aws_access_key_id: AKIDEPLOYMENTA, aws_secret_access_key: secret-A, aws_bedrock_runtime_endpoint: "%(url)s"}}
  - model_name: titan
    litellm_params: {{<<: *deployment, model: "bedrock/amazon.titan-embed-text-v2:0"}}
  - model_name: cohere
    litellm_params: {{<<: *deployment, model: bedrock/cohere.embed-english-v3}}
general_settings: {{master_key: {MASTER}}}
"""
QUESTION = "What is a gateway good for?"
#: Both of the APIs that ChatOpenAI speaks, and the options that make it do so.
APIS = pytest.mark.parametrize(
    "options", [{"stream_usage": True}, {"use_responses_api": True}], ids=["chat completions", "responses"]
)


class City(pydantic.BaseModel):
    """A place, as an answer has to describe it."""

    name: str
    people: int


@tool
def weather(city: str) -> str:
    """Tell the weather."""
    return f"There is rain in {city}."


@pytest.fixture(autouse=True)
def only_loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let nothing be traced, and nothing be asked of another machine: a try is refused, and told at the end."""
    for name in [*os.environ]:
        if name.startswith(("LANGCHAIN_", "LANGSMITH_", "OPENAI_", "AWS_")):
            monkeypatch.delenv(name)
    for name in ("LANGCHAIN_TRACING_V2", "LANGSMITH_TRACING"):
        monkeypatch.setenv(name, "false")
    strangers: list[object] = []
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def check(host: object) -> None:
        if host not in ("127.0.0.1", "localhost", None):
            strangers.append(host)
            raise OSError(f"{host} is not this machine")

    def checked_connect(self: socket.socket, address: Any) -> None:
        check(address[0])
        connect(self, address)

    def checked_look_up(host: Any, *args: Any, **options: Any) -> Any:
        check(host)
        return look_up(host, *args, **options)

    monkeypatch.setattr(socket.socket, "connect", checked_connect)
    monkeypatch.setattr(socket, "getaddrinfo", checked_look_up)
    yield
    assert [] == strangers


@contextlib.asynccontextmanager
async def locked(folder: Path) -> AsyncIterator[tuple[Running, str]]:
    """Run a locked gateway; give it and a virtual key."""
    async with running(folder, CONFIG) as here:
        yield here, await new_key(here, tags=["langchain"])


@contextlib.contextmanager
def openais(here: Running, key: str) -> Iterator[dict[str, Any]]:
    """Give what langchain-openai's classes need to know of the gateway."""
    # Of its own it keeps an HTTP client for every address for good, longer than the loops and the gateways here live.
    with openai.DefaultHttpxClient() as client:
        yield {"base_url": f"{here.url}/v1", "api_key": key, "max_retries": 0, "http_client": client}


def amazons(here: Running, key: str) -> dict[str, Any]:
    """Return what langchain-aws's classes need to know of the gateway."""
    return {
        "endpoint_url": f"{here.url}/bedrock",
        "region_name": "us-east-1",
        "aws_access_key_id": key,
        "aws_secret_access_key": "unused",
    }


def total(chunks: Iterator[Any]) -> Any:
    """Return the sum of the chunks of an answer, of which there have to be several."""
    first, second, *others = chunks
    return sum(others, first + second)


def ask_and_stream(model: Any) -> tuple[AIMessage, AIMessage]:
    """Ask the same for a whole answer and for a stream."""
    return model.invoke(QUESTION), total(model.stream(QUESTION))


def use_the_tool(model: Any) -> tuple[AIMessage, AIMessage, AIMessage]:
    """Let the tool be called, whole and streamed, and send back its result; return the three answers."""
    bound = model.bind_tools([weather], tool_choice="any")
    question = HumanMessage("What is the weather like?")
    called, streamed = bound.invoke([question]), total(bound.stream([question]))
    results = [weather.invoke(call) for call in called.tool_calls]
    return called, streamed, model.bind_tools([weather]).invoke([question, called, *results])


def assert_the_same(whole: AIMessage, streamed: AIMessage) -> None:
    """Assert that a whole answer and a stream say the same, and count the same tokens."""
    assert whole.text
    assert whole.text == streamed.text
    counted, also = whole.usage_metadata, streamed.usage_metadata
    assert counted is not None and also is not None
    assert 0 < counted["input_tokens"] < counted["output_tokens"]
    assert counted["total_tokens"] == counted["input_tokens"] + counted["output_tokens"]
    assert (counted["input_tokens"], counted["output_tokens"]) == (also["input_tokens"], also["output_tokens"])


def assert_the_tool_was_used(called: AIMessage, streamed: AIMessage, after: AIMessage) -> None:
    """Assert that the tool was called the same way twice, and that its result was read."""
    (call,) = called.tool_calls
    assert ("weather", ["city"]) == (call["name"], [*call["args"]])
    assert called.tool_calls == streamed.tool_calls
    assert f"There is rain in {call['args']['city']}." in after.text


async def assert_booked(here: Running, dialect: str, *operations: str) -> None:
    """Assert that each call is booked, with the tag that the key has."""
    await here.settled()
    booked = here.rows("SELECT dialect, operation, state, tags FROM calls ORDER BY id")
    told = [(dialect, name, "metered", '["langchain"]') for name in operations]
    assert told == [tuple(row.values()) for row in booked]


@APIS
async def test_chat_openai_asks_and_streams(tmp_path: Path, options: dict[str, Any]) -> None:
    """ChatOpenAI gets the same words and the same usage whole, streamed, and asynchronously."""
    async with locked(tmp_path) as (here, key), openai.DefaultAsyncHttpxClient() as client:
        with openais(here, key) as gateway:
            model = ChatOpenAI(model="claude", http_async_client=client, **gateway, **options)
            whole, streamed = await asyncio.to_thread(ask_and_stream, model)
            later = await model.ainvoke(QUESTION)
            said = "".join([chunk.text async for chunk in model.astream(QUESTION)])

        assert_the_same(whole, streamed)
        assert (whole.text, whole.usage_metadata) == (later.text, later.usage_metadata)
        assert whole.text == said
        await assert_booked(here, "openai", *("Converse", "ConverseStream") * 2)


@APIS
async def test_chat_openai_uses_a_tool(tmp_path: Path, options: dict[str, Any]) -> None:
    """A tool bound to ChatOpenAI is called, whole and streamed, and its result goes back."""
    async with locked(tmp_path) as (here, key):
        with openais(here, key) as gateway:
            answers = await asyncio.to_thread(use_the_tool, ChatOpenAI(model="claude", **gateway, **options))

        assert_the_tool_was_used(*answers)
        await assert_booked(here, "openai", "Converse", "ConverseStream", "Converse")


@APIS
@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
async def test_chat_openai_answers_by_a_schema(tmp_path: Path, options: dict[str, Any], method: Any) -> None:
    """By each of its methods with_structured_output gives an instance of the model."""
    async with locked(tmp_path) as (here, key):
        with openais(here, key) as gateway:
            model = ChatOpenAI(model="claude", **gateway, **options).with_structured_output(City, method=method)

            assert isinstance(await asyncio.to_thread(model.invoke, "Which city?"), City)


async def test_chat_openai_sends_thought_back(tmp_path: Path) -> None:
    """With Responses the thought before a call of a tool goes back upstream, as upstream has signed it."""
    async with locked(tmp_path) as (here, key):
        with openais(here, key) as gateway:
            model = ChatOpenAI(model="claude", use_responses_api=True, reasoning={"effort": "low"}, **gateway)
            bound = model.bind_tools([weather])
            question = HumanMessage("Use the tool weather.")
            called = await asyncio.to_thread(bound.invoke, [question])
            results = [weather.invoke(call) for call in called.tool_calls]
            await asyncio.to_thread(bound.invoke, [question, called, *results])

        sent = json.loads(here.simulator.received[-1].body)["messages"]
        assert ["reasoningContent", "text", "toolUse"] == [next(iter(block)) for block in sent[1]["content"]]
        assert sent[1]["content"][0]["reasoningContent"]["reasoningText"]["signature"].startswith("sim")


@APIS
async def test_chat_openai_raises_what_openai_raises(tmp_path: Path, options: dict[str, Any]) -> None:
    """A model that is not there, and a key that is none, are the exceptions that OpenAI's SDK has for them."""
    async with locked(tmp_path) as (here, key):
        with openais(here, key) as gateway:
            with pytest.raises(openai.NotFoundError, match="no model group 'nowhere'"):
                await asyncio.to_thread(ChatOpenAI(model="nowhere", **gateway, **options).invoke, QUESTION)
        with openais(here, "sk-wrong-0123456789") as gateway:
            with pytest.raises(openai.AuthenticationError):
                await asyncio.to_thread(ChatOpenAI(model="claude", **gateway, **options).invoke, QUESTION)

        assert not here.simulator.received


@pytest.mark.parametrize(("model", "calls"), [("titan", 2), ("cohere", 1)])
async def test_openai_embeddings_sends_texts(tmp_path: Path, model: str, calls: int) -> None:
    """OpenAIEmbeddings gets a vector for each text, in their order, when it is told to send text."""
    async with locked(tmp_path) as (here, key):
        with openais(here, key) as gateway:
            embeddings = OpenAIEmbeddings(model=model, check_embedding_ctx_length=False, **gateway)
            both = await asyncio.to_thread(embeddings.embed_documents, ["one", "two"])
            second = await asyncio.to_thread(embeddings.embed_query, "two")

        assert [1024, 1024] == [len(vector) for vector in both]
        assert pytest.approx(second) == both[1] != both[0]
        await assert_booked(here, "openai", *["InvokeModel"] * (calls + 1))


async def test_openai_embeddings_that_sends_tokens_is_told_how_to_send_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left as it is OpenAIEmbeddings sends the numbers of OpenAI's tokens; the refusal names the option against it."""
    # The real vocabulary is on the net; one that has a token for each byte makes numbers just as well.
    bytewise = tiktoken.Encoding(
        "cl100k_base", pat_str=".", mergeable_ranks={bytes([rank]): rank for rank in range(256)}, special_tokens={}
    )
    monkeypatch.setitem(tiktoken.registry.ENCODINGS, "cl100k_base", bytewise)
    async with locked(tmp_path) as (here, key):
        with openais(here, key) as gateway:
            with pytest.raises(openai.BadRequestError, match="check_embedding_ctx_length=False"):
                await asyncio.to_thread(OpenAIEmbeddings(model="titan", **gateway).embed_documents, ["one", "two"])

        assert not here.simulator.received


@pytest.mark.parametrize(
    "options",
    [{"model": CLAUDE}, {"model": "claude", "base_model_id": CLAUDE, "provider": "anthropic"}],
    ids=["by model id", "by name"],
)
async def test_chat_bedrock_converse_asks_and_uses_a_tool(tmp_path: Path, options: dict[str, Any]) -> None:
    """ChatBedrockConverse asks, streams, uses a tool and answers by a schema; of a name in the config it has to be told
    which model that is, or it does not stream.
    """
    async with locked(tmp_path) as (here, key):
        model = ChatBedrockConverse(**options, **amazons(here, key))
        structured = model.with_structured_output(City)
        whole, streamed = await asyncio.to_thread(ask_and_stream, model)
        answers = await asyncio.to_thread(use_the_tool, model)
        city = await asyncio.to_thread(structured.invoke, "Which city?")

        assert_the_same(whole, streamed)
        assert_the_tool_was_used(*answers)
        assert isinstance(city, City)
        await assert_booked(here, "bedrock", *("Converse", "ConverseStream") * 2, "Converse", "Converse")


async def test_chat_bedrock_invokes_a_model(tmp_path: Path) -> None:
    """ChatBedrock asks by InvokeModel, and streams by it, by a name in the config."""
    async with locked(tmp_path) as (here, key):
        model = ChatBedrock(model="claude", provider="anthropic", **amazons(here, key))

        assert_the_same(*await asyncio.to_thread(ask_and_stream, model))
        await assert_booked(here, "bedrock", "InvokeModel", "InvokeModelWithResponseStream")


@pytest.mark.parametrize(("model", "provider", "calls"), [("titan", "amazon", 2), ("cohere", "cohere", 1)])
async def test_bedrock_embeddings_embeds_texts(tmp_path: Path, model: str, provider: str, calls: int) -> None:
    """BedrockEmbeddings gets a vector for each text, in their order."""
    async with locked(tmp_path) as (here, key):
        embeddings = BedrockEmbeddings(model_id=model, provider=provider, **amazons(here, key))
        both = await asyncio.to_thread(embeddings.embed_documents, ["one", "two"])
        second = await asyncio.to_thread(embeddings.embed_query, "two")

        assert [1024, 1024] == [len(vector) for vector in both]
        assert pytest.approx(second) == both[1] != both[0]
        await assert_booked(here, "bedrock", *["InvokeModel"] * (calls + 1))
