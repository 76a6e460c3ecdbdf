"""Answers in JSON that follow a schema, in Converse and in the words of models; what cannot be compiled is refused."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest
from simulator_requests import CLAUDE, exactly, signed_headers, user

QWEN = "qwen.qwen3-32b-v1:0"
CITY: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "size": {"enum": ["large", "small"]},
        "people": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "mayors": {"type": "array", "items": {"$ref": "#/$defs/Mayor"}},
    },
    "required": ["name", "size", "people", "mayors"],
    "additionalProperties": False,
    "$defs": {
        "Mayor": {"type": "object", "properties": {"at": {"$ref": "#/$defs/Year"}}, "additionalProperties": False},
        "Year": {"type": "integer"},
    },
}
TOLD = {"name": "Rome", "size": "large", "people": 1, "mayors": [{"at": 1}]}


def format_of(schema: object) -> dict[str, Any]:
    """Return the members of a request that hold a model to a schema."""
    structure = {"jsonSchema": {"schema": schema if isinstance(schema, str) else json.dumps(schema)}}
    return {"outputConfig": {"textFormat": {"type": "json_schema", "structure": structure}}}


async def test_converse_follows_a_schema(runtime: Any, call: Any) -> None:
    """The text is JSON that fits, the same in a stream, cut where it may be no longer, and its schema was read."""
    asked = {"modelId": CLAUDE, "messages": user("About Rome")}
    bare, whole, short = [
        await call(runtime.converse, **asked, **more)
        for more in ({}, format_of(CITY), format_of(CITY) | {"inferenceConfig": {"maxTokens": 2}})
    ]
    stream = await call(lambda: [*runtime.converse_stream(**asked, **format_of(CITY))["stream"]])

    text = whole["output"]["message"]["content"][0]["text"]
    assert TOLD == json.loads(text)
    deltas = [event["contentBlockDelta"]["delta"] for event in stream if "contentBlockDelta" in event]
    assert text == "".join(delta["text"] for delta in deltas)
    assert ("end_turn", "max_tokens") == (whole["stopReason"], short["stopReason"])
    assert bare["usage"]["inputTokens"] < whole["usage"]["inputTokens"]


async def test_claudes_own_words_follow_a_schema(runtime: Any, call: Any) -> None:
    """``output_config.format`` of InvokeModel means the same."""
    body: dict[str, Any] = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 99}
    body["messages"] = [{"role": "user", "content": "About Rome"}]
    body["output_config"] = {"format": {"type": "json_schema", "schema": CITY}}
    answer = await call(lambda: json.load(runtime.invoke_model(modelId=CLAUDE, body=json.dumps(body))["body"]))

    assert TOLD == json.loads(answer["content"][0]["text"])


async def test_chat_bodies_follow_a_schema(runtime: Any, call: Any) -> None:
    """``response_format`` of a chat completion in InvokeModel means the same; without one the answer is prose."""
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "About Rome"}]}
    form = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY, "strict": True}}
    held, free = [
        await call(
            lambda said=body | more: json.load(runtime.invoke_model(modelId=QWEN, body=json.dumps(said))["body"])
        )
        for more in ({"response_format": form}, {"response_format": {"type": "text"}})
    ]

    assert TOLD == json.loads(held["choices"][0]["message"]["content"])
    assert "{" not in free["choices"][0]["message"]["content"]
    assert held["usage"]["prompt_tokens"] > free["usage"]["prompt_tokens"]


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ("{", "is no JSON"),
        ([], "valid schema"),
        ({"type": "object"}, "must be explicitly set to false"),
        (CITY | {"properties": {"a": {"type": "array", "items": {}, "maxItems": 3}}}, "'maxItems' is not supported"),
        (CITY | {"properties": {"a": {"anyOf": [{"type": "string", "pattern": "a"}]}}}, "'pattern' is not supported"),
        (CITY | {"properties": {"a": {"anyOf": {}}}}, "anyOf should be a list"),
        (CITY | {"$defs": {"A": {"type": "integer", "minimum": 1}}}, "'minimum' is not supported"),
    ],
)
async def test_what_cannot_be_compiled(base_url: str, schema: object, message: str) -> None:
    """A schema that is none, an open object or a bound is a 400 that says so."""
    url = f"{base_url}/model/{CLAUDE.replace(':', '%3A')}/converse"
    data = json.dumps({"messages": user("a")} | format_of(schema)).encode()
    async with aiohttp.ClientSession() as http:
        async with http.post(exactly(url), data=data, headers=signed_headers(url, data)) as answer:
            told = await answer.json()

    assert (400, True) == (answer.status, message in told["message"])
