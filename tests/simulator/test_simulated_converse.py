"""Converse and ConverseStream of the simulator, through stock boto3."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from botocore.eventstream import EventStreamBuffer
from botocore.exceptions import ClientError
from simulator_requests import (
    ACCESS_KEY_ID,
    CLAUDE,
    NOVA,
    SECRET,
    SESSION_KEY_ID,
    SESSION_TOKEN,
    converse_body,
    exactly,
    signed_headers,
    user,
)

from bedrock_gateway.simulator import Simulator

WEATHER = {
    "tools": [
        {
            "toolSpec": {
                "name": "get_weather",
                "inputSchema": {
                    "json": {
                        "type": "object",
                        "properties": {
                            "city": {"type": "string"},
                            "unit": {"enum": ["celsius", "fahrenheit"]},
                            "days": {"type": "integer", "minimum": 3},
                        },
                    }
                },
            }
        }
    ]
}
IDS = (
    "amazon.nova-micro-v1:0",
    CLAUDE,
    "global.anthropic.claude-haiku-4-5-20251001-v1:0",
    "us-gov.anthropic.claude-3-haiku-20240307-v1:0",
    "openai.gpt-oss-120b-1:0",
    "us.xai.grok-4.6",
    "in.moonshotai.kimi-k3",
    "meta.llama3-3-70b-instruct-v1:0",
    "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0",
    "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.amazon.nova-lite-v1:0",
    "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123def456",
    "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abc123def456",
    "arn:aws:bedrock:us-east-1:123456789012:default-prompt-router/anthropic.claude:1",
)


def gather(stream: Any) -> tuple[list[tuple[str, dict[str, Any]]], str, str]:
    """Read a ConverseStream: its events, the text and the tool input put together."""
    events = [next(iter(event.items())) for event in stream]
    deltas = [payload["delta"] for name, payload in events if name == "contentBlockDelta"]
    text = "".join(delta.get("text", "") for delta in deltas)
    tool_input = "".join(delta.get("toolUse", {}).get("input", "") for delta in deltas)
    return events, text, tool_input


@pytest.mark.parametrize("model_id", IDS)
async def test_every_shape_of_model_id(runtime: Any, call: Any, simulator: Simulator, model_id: str) -> None:
    """Any id of a known provider and any ARN is served, and the log names it as asked for."""
    answer = await call(runtime.converse, modelId=model_id, messages=user("What is a glacier?"))
    assert "end_turn" == answer["stopReason"]
    assert "glacier" in answer["output"]["message"]["content"][0]["text"]
    assert model_id == simulator.received[-1].model
    assert "Converse" == simulator.received[-1].operation


async def test_stream_equals_whole(runtime: Any, call: Any) -> None:
    """Streamed or not, the same request gives the same text, stop reason and usage."""
    asked = {"modelId": CLAUDE, "messages": user("Name three rivers. Grüße, 東京!"), "system": [{"text": "Be brief."}]}
    whole = await call(runtime.converse, **asked)
    streamed = await call(lambda: gather(runtime.converse_stream(**asked)["stream"]))
    events, text, _ = streamed
    assert whole["output"]["message"]["content"] == [{"text": text}]
    assert ["messageStart", "contentBlockStop", "messageStop", "metadata"] == [
        name for name, _ in events if name != "contentBlockDelta"
    ]
    assert whole["stopReason"] == events[-2][1]["stopReason"]
    assert whole["usage"] == events[-1][1]["usage"]
    assert whole["metrics"] == events[-1][1]["metrics"]


async def test_tokens_are_a_quarter_of_the_bytes(runtime: Any, call: Any) -> None:
    """Input counts system and messages together, output the text, each a quarter of its UTF-8 bytes rounded up."""
    answer = await call(
        runtime.converse,
        modelId=NOVA,
        messages=user("é" * 9),
        system=[{"text": "abc"}],
        inferenceConfig={"maxTokens": 9},
    )
    text = answer["output"]["message"]["content"][0]["text"]
    expected = {"inputTokens": 6, "outputTokens": -(-len(text.encode()) // 4)}
    assert expected == {name: answer["usage"][name] for name in expected}
    assert answer["usage"]["outputTokens"] <= 9
    assert "max_tokens" == answer["stopReason"]


@pytest.mark.parametrize("limit", [1, 2, 7, 25])
async def test_max_tokens_bound_the_answer(runtime: Any, call: Any, limit: int) -> None:
    """An answer is cut at maxTokens, in the stream as in the whole."""
    asked = {"modelId": NOVA, "messages": user("日本語で話して"), "inferenceConfig": {"maxTokens": limit}}
    whole = await call(runtime.converse, **asked)
    events, text, _ = await call(lambda: gather(runtime.converse_stream(**asked)["stream"]))
    assert whole["output"]["message"]["content"] == [{"text": text}]
    assert 0 < whole["usage"]["outputTokens"] <= limit
    assert "max_tokens" == whole["stopReason"] == events[-2][1]["stopReason"]


async def test_length_on_demand(runtime: Any, call: Any) -> None:
    """A prompt that says how many tokens gets exactly so many."""
    answer = await call(runtime.converse, modelId=NOVA, messages=user("Tell me. [[simulate: tokens=500]]"))
    assert 500 == answer["usage"]["outputTokens"]
    assert "end_turn" == answer["stopReason"]
    assert "simulate" not in answer["output"]["message"]["content"][0]["text"]


async def test_stop_sequence(runtime: Any, call: Any) -> None:
    """The text ends before a stop sequence, which is told where it is asked for."""
    answer = await call(
        runtime.converse,
        modelId=CLAUDE,
        messages=user("one STOPHERE two"),
        inferenceConfig={"stopSequences": ["STOPHERE"]},
        additionalModelResponseFieldPaths=["/stop_sequence"],
    )
    assert "stop_sequence" == answer["stopReason"]
    assert {"stop_sequence": "STOPHERE"} == answer["additionalModelResponseFields"]
    assert answer["output"]["message"]["content"][0]["text"].endswith("one ")


async def test_tool_use_and_its_result(runtime: Any, call: Any) -> None:
    """A tool the text names is used with an input that fits its schema; its result is answered in words."""
    asked = {"modelId": CLAUDE, "messages": user("Please get weather in Lisbon"), "toolConfig": WEATHER}
    whole = await call(runtime.converse, **asked)
    events, _, tool_input = await call(lambda: gather(runtime.converse_stream(**asked)["stream"]))
    use = whole["output"]["message"]["content"][1]["toolUse"]
    assert {"city": "Lisbon", "unit": "celsius", "days": 3} == use["input"] == json.loads(tool_input)
    started = [payload["start"]["toolUse"] for name, payload in events if name == "contentBlockStart"]
    assert [{"toolUseId": use["toolUseId"], "name": "get_weather"}] == started
    assert "tool_use" == whole["stopReason"] == events[-2][1]["stopReason"]
    assert whole["usage"] == events[-1][1]["usage"]
    result = {"toolResult": {"toolUseId": use["toolUseId"], "content": [{"json": {"sky": "clear"}}]}}
    answer = await call(
        runtime.converse,
        modelId=CLAUDE,
        messages=[*asked["messages"], whole["output"]["message"], {"role": "user", "content": [result]}],
        toolConfig=WEATHER,
    )
    assert "end_turn" == answer["stopReason"]
    assert '{"sky":"clear"}' in answer["output"]["message"]["content"][0]["text"]


async def test_tools_unasked_for_are_left_alone(runtime: Any, call: Any) -> None:
    """A tool on offer is not used when the text does not ask, unless one is forced."""
    answer = await call(runtime.converse, modelId=CLAUDE, messages=user("Tell me a joke"), toolConfig=WEATHER)
    assert "end_turn" == answer["stopReason"]
    forced = {**WEATHER, "toolChoice": {"tool": {"name": "get_weather"}}}
    answer = await call(runtime.converse, modelId=CLAUDE, messages=user("Tell me a joke"), toolConfig=forced)
    assert "tool_use" == answer["stopReason"]


async def test_reasoning(runtime: Any, call: Any) -> None:
    """Asked to reason, the model reasons first, with a signature, streamed as deltas of its own."""
    asked = {
        "modelId": CLAUDE,
        "messages": user("Why is the sky blue?"),
        "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 1024}},
    }
    whole = await call(runtime.converse, **asked)
    events, text, _ = await call(lambda: gather(runtime.converse_stream(**asked)["stream"]))
    reasoning = whole["output"]["message"]["content"][0]["reasoningContent"]["reasoningText"]
    deltas = [
        payload["delta"]["reasoningContent"]
        for name, payload in events
        if name == "contentBlockDelta" and "reasoningContent" in payload["delta"]
    ]
    assert reasoning["text"] == "".join(delta.get("text", "") for delta in deltas)
    assert [reasoning["signature"]] == [delta["signature"] for delta in deltas if "signature" in delta]
    assert whole["output"]["message"]["content"][1] == {"text": text}
    assert whole["usage"] == events[-1][1]["usage"]


async def test_prompt_cache_is_written_then_read(runtime: Any, call: Any) -> None:
    """A prefix up to a cache point is written once and read afterwards; the total never changes."""
    asked = {
        "modelId": CLAUDE,
        "system": [{"text": "s" * 400}, {"cachePoint": {"type": "default", "ttl": "1h"}}],
        "messages": [
            {"role": "user", "content": [{"text": "q" * 40}, {"cachePoint": {"type": "default"}}, {"text": "tail"}]}
        ],
    }
    first = (await call(runtime.converse, **asked))["usage"]
    second = (await call(runtime.converse, **asked))["usage"]
    assert {"inputTokens": 1, "cacheReadInputTokens": 0, "cacheWriteInputTokens": 110} == {
        name: first[name] for name in ("inputTokens", "cacheReadInputTokens", "cacheWriteInputTokens")
    }
    assert [{"ttl": "1h", "inputTokens": 100}, {"ttl": "5m", "inputTokens": 10}] == first["cacheDetails"]
    assert (1, 110, 0) == tuple(
        second[name] for name in ("inputTokens", "cacheReadInputTokens", "cacheWriteInputTokens")
    )
    assert "cacheDetails" not in second
    assert first["totalTokens"] == second["totalTokens"]
    grown = {
        **asked,
        "messages": [{"role": "user", "content": [{"text": "other"}, {"cachePoint": {"type": "default"}}]}],
    }
    third = (await call(runtime.converse, **grown))["usage"]
    assert (0, 100, 2) == tuple(
        third[name] for name in ("inputTokens", "cacheReadInputTokens", "cacheWriteInputTokens")
    )


async def test_another_account_reads_nothing(base_url: str, make_client: Callable[..., Any], call: Any) -> None:
    """A cached prefix belongs to the account that wrote it."""
    asked = {
        "modelId": CLAUDE,
        "messages": [{"role": "user", "content": [{"text": "q" * 40}, {"cachePoint": {"type": "default"}}]}],
    }
    other = make_client(
        base_url,
        aws_access_key_id=SESSION_KEY_ID,
        aws_secret_access_key=SECRET,
        aws_session_token=SESSION_TOKEN,
    )
    await call(make_client(base_url).converse, **asked)
    usage = (await call(other.converse, **asked))["usage"]
    assert (0, 10) == (usage["cacheReadInputTokens"], usage["cacheWriteInputTokens"])


async def test_guardrail_in_converse(runtime: Any, call: Any) -> None:
    """A guardrail that intervenes stops the model before it is asked; its trace tells the units."""
    config = {"guardrailIdentifier": "abc123", "guardrailVersion": "1", "trace": "enabled"}
    blocked = await call(runtime.converse, modelId=CLAUDE, messages=user("a forbidden thing"), guardrailConfig=config)
    assert "guardrail_intervened" == blocked["stopReason"]
    assert 0 == blocked["usage"]["totalTokens"]
    assessment = blocked["trace"]["guardrail"]["inputAssessment"]["abc123"]
    assert 1 == assessment["invocationMetrics"]["usage"]["contentPolicyUnits"]
    assert "forbidden" == assessment["wordPolicy"]["customWords"][0]["match"]
    fine = await call(runtime.converse, modelId=CLAUDE, messages=user("a fine thing"), guardrailConfig=config)
    assert "end_turn" == fine["stopReason"]
    assert ["abc123"] == list(fine["trace"]["guardrail"]["outputAssessments"])


async def test_service_tier_and_latency_are_echoed(runtime: Any, call: Any) -> None:
    """What the request asks of speed comes back with the answer."""
    asked = {
        "modelId": NOVA,
        "messages": user("hi"),
        "serviceTier": {"type": "priority"},
        "performanceConfig": {"latency": "optimized"},
    }
    whole = await call(runtime.converse, **asked)
    events, _, _ = await call(lambda: gather(runtime.converse_stream(**asked)["stream"]))
    for told in (whole, events[-1][1]):
        assert {"type": "priority"} == told["serviceTier"]
        assert {"latency": "optimized"} == told["performanceConfig"]


async def test_images_count_by_their_size(runtime: Any, call: Any) -> None:
    """An image counts as its base64 text, at most 1,600 tokens."""

    async def tokens(size: int) -> int:
        image = {"image": {"format": "png", "source": {"bytes": b"x" * size}}}
        answer = await call(
            runtime.converse, modelId=NOVA, messages=[{"role": "user", "content": [{"text": "1234"}, image]}]
        )
        return int(answer["usage"]["inputTokens"])

    assert 1 + 25 == await tokens(75)
    assert 1 + 1_600 == await tokens(1_000_000)


@pytest.mark.parametrize(
    ("name", "model_id", "body", "message"),
    [
        ("no messages", NOVA, {}, "Value null at 'messages'"),
        ("empty messages", NOVA, {"messages": []}, "A conversation must start with a user message"),
        (
            "assistant first",
            NOVA,
            {"messages": [{"role": "assistant", "content": [{"text": "x"}]}]},
            "must start with a user",
        ),
        ("unknown role", NOVA, {"messages": [{"role": "robot", "content": [{"text": "x"}]}]}, "enum value set"),
        ("no content", NOVA, {"messages": [{"role": "user", "content": []}]}, "messages.0 is empty"),
        ("blank text", NOVA, {"messages": user(" \n")}, "messages.0.content.0 is blank"),
        ("content no list", NOVA, {"messages": [{"role": "user", "content": "x"}]}, "expected a list"),
        ("message no object", NOVA, {"messages": ["x"]}, "expected an object"),
        ("no tokens", NOVA, {"messages": user("x"), "inferenceConfig": {"maxTokens": 0}}, "greater than or equal to 1"),
        ("too hot", NOVA, {"messages": user("x"), "inferenceConfig": {"temperature": 2}}, "between 0 and 1"),
        (
            "unknown tool",
            NOVA,
            {"messages": user("x"), "toolConfig": {"tools": WEATHER["tools"], "toolChoice": {"tool": {"name": "y"}}}},
            "no tool is named y",
        ),
        (
            "five points",
            NOVA,
            {"messages": [{"role": "user", "content": [{"text": "x"}] + [{"cachePoint": {"type": "default"}}] * 5}]},
            "at most 4",
        ),
        ("unknown model", "no-such-model", {"messages": user("x")}, "The provided model identifier is invalid."),
        ("unknown provider", "acme.model-v1:0", {"messages": user("x")}, "The provided model identifier is invalid."),
        ("embedding model", "amazon.titan-embed-text-v2:0", {"messages": user("x")}, "supported text or chat model"),
    ],
)
@pytest.mark.parametrize("action", ["converse", "converse-stream"])
async def test_wrong_requests(
    base_url: str, name: str, model_id: str, body: dict[str, Any], message: str, action: str
) -> None:
    """What is plainly wrong is a 400 ValidationException that says what, before any stream begins."""
    url = f"{base_url}/model/{model_id.replace(':', '%3A')}/{action}"
    data = json.dumps(body).encode()
    async with aiohttp.ClientSession() as http:
        async with http.post(exactly(url), data=data, headers=signed_headers(url, data)) as answer:
            told = await answer.json()
    assert 400 == answer.status
    assert "ValidationException" == answer.headers["x-amzn-errortype"].partition(":")[0]
    assert message in told["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"', b"\xff\xfe", b"[" * 100_000])
async def test_bodies_that_are_no_object(base_url: str, body: bytes) -> None:
    """A body that is no JSON object is a 400, whatever it is."""
    url = f"{base_url}/model/{NOVA.replace(':', '%3A')}/converse"
    async with aiohttp.ClientSession() as http:
        async with http.post(exactly(url), data=body, headers=signed_headers(url, body)) as answer:
            told = await answer.json()
    assert 400 == answer.status
    assert "Malformed input request" in told["message"]


async def test_headers_and_padding(base_url: str) -> None:
    """A stream has AWS's content type, a request id, no length; every payload has the padding member."""
    url = f"{base_url}/model/{NOVA.replace(':', '%3A')}/converse-stream"
    body = converse_body("hello there")
    async with aiohttp.ClientSession() as http:
        async with http.post(exactly(url), data=body, headers=signed_headers(url, body)) as answer:
            data = await answer.read()
    assert "application/vnd.amazon.eventstream" == answer.headers["content-type"]
    assert 36 == len(answer.headers["x-amzn-requestid"])
    assert "true" == answer.headers["x-bedrock-gateway-simulated"]
    assert "content-length" not in answer.headers
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    messages = list(buffer)
    assert {":event-type", ":content-type", ":message-type"} == set(messages[0].headers)
    paddings = [json.loads(message.payload)["p"] for message in messages]
    assert all("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789".startswith(p) and p for p in paddings)
    assert 1 < len({len(padding) for padding in paddings})


async def test_the_same_seed_gives_the_same_bytes(base_url: str, simulator: Simulator) -> None:
    """Two simulators of one seed answer byte for byte alike; another seed says something else."""
    body = converse_body("Tell me about tides")

    async def answer_of(url: str) -> bytes:
        target = f"{url}/model/{NOVA.replace(':', '%3A')}/converse-stream"
        async with aiohttp.ClientSession() as http:
            async with http.post(exactly(target), data=body, headers=signed_headers(target, body)) as answer:
                return await answer.read()

    credentials = {ACCESS_KEY_ID: (SECRET, None)}
    first = await answer_of(base_url)
    assert first == await answer_of(base_url)
    async with Simulator(credentials=credentials, seed=7).serve() as twin:
        assert first == await answer_of(twin)
    async with Simulator(credentials=credentials, seed=8).serve() as other:
        assert first != await answer_of(other)


async def test_count_tokens_is_what_converse_reports(runtime: Any, call: Any) -> None:
    """CountTokens tells what Converse and InvokeModel will count as input."""
    messages = user("How long is a piece of string?")
    counted = await call(runtime.count_tokens, modelId=CLAUDE, input={"converse": {"messages": messages}})
    answer = await call(runtime.converse, modelId=CLAUDE, messages=messages)
    assert answer["usage"]["inputTokens"] == counted["inputTokens"]
    inner = {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 5,
        "messages": [{"role": "user", "content": "12345"}],
    }
    body = json.dumps(inner).encode()
    counted = await call(runtime.count_tokens, modelId=CLAUDE, input={"invokeModel": {"body": body}})
    assert 2 == counted["inputTokens"]
    answer = await call(runtime.invoke_model, modelId=CLAUDE, body=body)
    assert 2 == json.loads(answer["body"].read())["usage"]["input_tokens"]


@pytest.mark.parametrize(
    "given",
    [
        {"invokeModel": {"body": "not base64!"}},
        {"invokeModel": {}},
        {"invokeModel": {"body": base64.b64encode(b"[]").decode()}},
        {},
        {"converse": {}, "invokeModel": {}},
        {"converse": 5},
    ],
)
async def test_wrong_count_tokens(base_url: str, given: dict[str, Any]) -> None:
    """CountTokens refuses what cannot be counted."""
    url = f"{base_url}/model/anthropic.claude-x/count-tokens"
    body = json.dumps({"input": given}).encode()
    async with aiohttp.ClientSession() as http:
        async with http.post(exactly(url), data=body, headers=signed_headers(url, body)) as answer:
            await answer.read()
    assert 400 == answer.status


async def test_unknown_model_as_boto3_sees_it(runtime: Any, call: Any) -> None:
    """boto3 raises its own ValidationException."""
    with pytest.raises(runtime.exceptions.ValidationException) as raised:
        await call(runtime.converse, modelId="nonsense", messages=user("hi"))
    assert isinstance(raised.value, ClientError)
    assert "The provided model identifier is invalid." == raised.value.response["Error"]["Message"]
