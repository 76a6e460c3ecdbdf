"""Answers in JSON to which a model is held by Converse itself: for which schemas, which models, which requests."""

from __future__ import annotations

import json
from typing import Any, Literal

import openai
import pydantic
import pytest
from chatting import CLAUDE, NOW, answered, converse, events_of, read, request, summed
from dialect_tables import schemas
from hypothesis import given
from hypothesis import strategies as st

from bedrock_gateway.dialects.openai.json_answers import text_format

SONNET = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
CITY = {
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
    "additionalProperties": False,
}
#: Models that are held.
HELD = [
    SONNET,
    "anthropic.claude-opus-4-5-20251101-v1:0",
    "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-sonnet-4-5-20250929-v1:0",
    "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "deepseek.v3-v1:0",
    "minimax.minimax-m2",
    "moonshot.kimi-k2-thinking",
    "mistral.ministral-3-8b-instruct",
    "mistral.mistral-large-3-675b-instruct",
    "mistral.voxtral-small-24b-2507",
    "nvidia.nemotron-nano-3-30b",
    "qwen.qwen3-235b-a22b-2507-v1:0",
    "qwen.qwen3-32b-v1:0",
    "qwen.qwen3-next-80b-a3b",
]
#: Models that are not, or of which that is not known for certain.
NOT_HELD = [
    CLAUDE,
    "anthropic.claude-opus-4-1-20250805-v1:0",
    "global.anthropic.claude-haiku-4-5-20251001-v1:0",
    "anthropic.claude-opus-4-6-v1",
    "anthropic.claude-sonnet-4-6",
    "anthropic.claude-opus-4-7",
    "anthropic.claude-sonnet-5",
    "us.amazon.nova-pro-v1:0",
    "us.meta.llama3-3-70b-instruct-v1:0",
    "openai.gpt-oss-120b-1:0",
    "minimax.minimax-m2.1",
    "minimax.minimax-m20",
    "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123def456",
    "group",
]


def wanted(schema: object = CITY, **more: Any) -> dict[str, Any]:
    """Return a request for JSON, strictly, and other members."""
    form = {"name": "city", "strict": True, "schema": schema}
    return request(response_format={"type": "json_schema", "json_schema": form}) | more


def of_parts(part: object, **more: Any) -> dict[str, Any]:
    """Return a schema with one property."""
    return CITY | {"properties": {"name": part}} | more


class Street(pydantic.BaseModel):
    """A street."""

    name: str = pydantic.Field(description="As on its sign.")
    house: int | None
    kind: Literal["lane", "road"]


@pytest.mark.parametrize("model", HELD)
def test_a_model_that_can_is_held(model: str) -> None:
    """Its request says the schema, its name and description, and has no tool."""
    body = wanted()
    body["response_format"]["json_schema"]["description"] = "A city."

    sent = converse(body, model=model)

    form = sent["outputConfig"]["textFormat"]
    told = form["structure"]["jsonSchema"]
    assert ("json_schema", CITY) == (form["type"], json.loads(told["schema"]))
    assert ("city", "A city.") == (told["name"], told["description"])
    assert "toolConfig" not in sent


@pytest.mark.parametrize("model", NOT_HELD)
def test_a_model_of_which_that_is_not_known_is_given_a_tool(model: str) -> None:
    """Where AWS might refuse it, the tool that always worked is used."""
    sent = converse(wanted(), model=model)

    (tool,) = sent["toolConfig"]["tools"]
    assert "json_tool_call" == tool["toolSpec"]["name"]
    assert "outputConfig" not in sent


@pytest.mark.parametrize(
    "more",
    [
        {"tools": [{"type": "function", "function": {"name": "look"}}]},
        {
            "messages": [
                {"role": "user", "content": "a"},
                {
                    "role": "assistant",
                    "tool_calls": [{"id": "1", "type": "function", "function": {"name": "a", "arguments": "{}"}}],
                },
                {"role": "tool", "tool_call_id": "1", "content": "b"},
            ]
        },
        {"outputConfig": {"effort": "low"}},
        {"output_config": {"effort": "low"}},
        {"additionalModelRequestFields": {"output_format": {}}},
        {"response_format": {"type": "json_object"}},
        {"response_format": {"type": "json_object", "json_schema": {"strict": True, "schema": CITY}}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": CITY}}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": CITY, "strict": False}}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "strict": True}}},
    ],
)
def test_a_request_that_says_more_is_given_a_tool(more: dict[str, Any]) -> None:
    """With tools beside it, with other words on the answer, and where strictness is not asked for, nothing changes."""
    sent = converse(wanted(**more), model=SONNET)

    assert "json_tool_call" == sent["toolConfig"]["tools"][-1]["toolSpec"]["name"]
    assert "textFormat" not in sent.get("outputConfig", {})


@pytest.mark.parametrize(
    "schema",
    [
        of_parts({"type": "integer"}),
        of_parts({"type": ["string", "null"], "title": "Name", "description": "As on the sign."}),
        of_parts({"enum": ["a", 1, 1.5, True, None]}),
        of_parts({"type": "string", "const": "a"}),
        of_parts({"type": "string", "format": "date-time"}),
        of_parts({"type": "array", "items": {"type": "number"}}),
        of_parts({"anyOf": [{"type": "integer"}, {"type": "null"}], "title": "Or nothing"}),
        of_parts({"type": "object", "properties": {}, "required": [], "additionalProperties": False}),
        of_parts({"$ref": "#/$defs/Name"}, **{"$defs": {"Name": {"type": "string"}}}),
        of_parts({"$ref": "#/definitions/A"}, definitions={"A": {"$ref": "#/definitions/B"}, "B": {"type": "null"}}),
        of_parts({"anyOf": [{"type": "string"}] * 16}),
        openai.pydantic_function_tool(Street)["function"]["parameters"],
    ],
)
def test_a_schema_that_aws_takes(schema: Any) -> None:
    """Types, enumerations, unions, arrays, closed objects and references are taken, as the SDK writes them too."""
    form = text_format(schema, {"strict": True})

    assert form is not None
    assert schema == json.loads(form["structure"]["jsonSchema"]["schema"])


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array", "items": {"type": "string"}},
        {"anyOf": [CITY]},
        CITY | {"additionalProperties": True},
        {name: told for name, told in CITY.items() if name != "additionalProperties"},
        CITY | {"required": []},
        CITY | {"required": ["name", "other"]},
        CITY | {"required": [1]},
        CITY | {"required": "name"},
        CITY | {"properties": ["name"]},
        CITY | {"oneOf": []},
        CITY | {"title": 1},
        CITY | {"properties": {"na me": {"type": "string"}}, "required": ["na me"]},
        CITY | {"$defs": []},
        of_parts({}),
        of_parts(True),
        of_parts({"type": "string", "minLength": 1}),
        of_parts({"type": "string", "pattern": "a"}),
        of_parts({"type": "string", "format": "regex"}),
        of_parts({"type": "integer", "format": "date"}),
        of_parts({"type": "integer", "minimum": 1}),
        of_parts({"type": "array"}),
        of_parts({"type": "array", "items": {"type": "string"}, "maxItems": 3}),
        of_parts({"type": ["object", "null"]}),
        of_parts({"type": "any"}),
        of_parts({"type": 5}),
        of_parts({"enum": []}),
        of_parts({"enum": "a"}),
        of_parts({"enum": [{"a": 1}]}),
        of_parts({"enum": ["a"], "const": "a"}),
        of_parts({"const": ["a"]}),
        of_parts({"anyOf": []}),
        of_parts({"anyOf": [{"type": "string"}], "type": "string"}),
        of_parts({"anyOf": [{"type": "string"}] * 2, "$defs": {}}),
        of_parts({"$ref": "#"}),
        of_parts({"$ref": 5}),
        of_parts({"$ref": "#/$defs/Gone"}),
        of_parts({"$ref": "https://example.com/schema"}),
        of_parts({"$ref": "#/$defs/A", "description": "a"}, **{"$defs": {"A": {"type": "string"}}}),
        of_parts({"$ref": "#/$defs/A"}, **{"$defs": {"A": of_parts({"$ref": "#/$defs/A"})}}),
        of_parts({"$ref": "#/$defs/A"}, **{"$defs": {"A": {"minimum": 1}}}),
        CITY
        | {
            "properties": {f"a{at}": {"type": ["string", "null"]} for at in range(17)},
            "required": [f"a{at}" for at in range(17)],
        },
        of_parts({"type": "string", "description": "long " * 2000}),
    ],
)
def test_a_schema_that_aws_may_refuse(schema: Any) -> None:
    """Open objects, members that may be missing, bounds, recursion and what is too large are for the tool."""
    assert text_format(schema, {"strict": True}) is None


def test_a_deep_schema_is_for_the_tool() -> None:
    """However deep a schema is, reading it comes to an end."""
    schema: Any = {"type": "string"}
    for _ in range(5000):
        schema = {"type": "array", "items": schema}

    assert text_format(of_parts(schema), {"strict": True}) is None


@given(schemas, st.dictionaries(st.text(max_size=3), schemas, max_size=2))
def test_any_schema_is_read(schema: Any, parts: Any) -> None:
    """Whatever stands in a schema, it is taken or not, and no fault of ours."""
    text_format(schema, {"strict": True})
    text_format(CITY | {"properties": parts, "required": [*parts]} | schema, {"strict": True})


def test_the_answer_is_the_text() -> None:
    """What the model says is the content, whole and in pieces as they come; a thought stands beside it."""
    thought = {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "c2ln"}}}
    answer = answered([thought, {"text": '{"name":"Rome"}'}])
    relay = read(wanted(), model=SONNET).relay(SONNET, call_id="1", now=NOW)
    relay.receive_data(json.dumps(answer).encode())
    stream = read(wanted(stream=True), model=SONNET).relay(SONNET, call_id="1", now=NOW)
    *events, stop, metadata = events_of(answer)
    begun = stream.receive_data(b"".join(events))

    (choice,) = json.loads(relay.receive_eof())["choices"]
    streamed = summed(begun + stream.receive_data(stop + metadata) + stream.receive_eof())
    assert (b'{\\"n' in begun, '{"name":"Rome"}') == (True, choice["message"]["content"])
    assert ("stop", "Hm.") == (choice["finish_reason"], choice["message"]["reasoning_content"])
    assert (choice["message"]["content"], ["stop"]) == (streamed["message"]["content"], streamed["finish"])


def test_a_model_that_is_held_may_think() -> None:
    """Thought, and what else is said in the model's words, goes together with the schema."""
    sent = converse(wanted(reasoning_effort="low", top_k=5, parallel_tool_calls=False), model=SONNET)

    assert {"type": "enabled", "budget_tokens": 1024} == sent["additionalModelRequestFields"]["thinking"]
    assert "tool_choice" not in sent["additionalModelRequestFields"]
    assert "textFormat" in sent["outputConfig"]


def test_each_attempt_is_asked_in_its_own_way() -> None:
    """One request goes to a model that can be held and to one that cannot, each as it takes it."""
    translation = read(wanted(), model=SONNET)
    first, second = (translation.relay(model, call_id="1", now=NOW) for model in (SONNET, CLAUDE))

    assert b"textFormat" in first.request(translation.body)
    assert b"json_tool_call" in second.request(translation.body)
