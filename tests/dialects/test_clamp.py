"""The clamp: the longest answer is the one given, and every other byte is the caller's."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_gateway.dialects.clamp import clamp
from bedrock_gateway.dialects.edits import set_at
from bedrock_gateway.dialects.output_limits import answers, max_tokens
from bedrock_gateway.dialects.requests import read_body
from bedrock_gateway.errors import InvalidRequest
from bedrock_gateway.upstream.models import load_operations

OPERATIONS = {operation.name: operation for operation in load_operations()}
CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
NOVA = "us.amazon.nova-2-lite-v1:0"


def clamped(operation: str, model_id: str, body: bytes, limit: int) -> tuple[bytes | bytearray, str | None] | None:
    """What the clamp makes of a body."""
    return clamp(OPERATIONS[operation], model_id, body, read_body(body), limit)


TITAN, JAMBA, J2 = "amazon.titan-text-express-v1", "ai21.jamba-1-5-mini-v1:0", "ai21.j2-mid-v1"
LLAMA, GPT, QWEN = "us.meta.llama3-3-70b-instruct-v1:0", "openai.gpt-oss-20b-1:0", "qwen.qwen3-32b-v1:0"
TABLE = [
    ("Converse", CLAUDE, '{"inferenceConfig":{"maxTokens":500}}', '{"inferenceConfig":{"maxTokens":99}}', "maxTokens"),
    (
        "ConverseStream",
        CLAUDE,
        ' { "a":1, "inferenceConfig" : { "topP":0.5 , "maxTokens" : 500 } } ',
        ' { "a":1, "inferenceConfig" : { "topP":0.5 , "maxTokens" : 99 } } ',
        "maxTokens",
    ),
    ("Converse", CLAUDE, "{}", '{"inferenceConfig":{"maxTokens":99}}', "maxTokens"),
    ("Converse", CLAUDE, '{"messages":[]}', '{"inferenceConfig":{"maxTokens":99},"messages":[]}', "maxTokens"),
    (
        "Converse",
        CLAUDE,
        '{"inferenceConfig":{"topP":0.5}}',
        '{"inferenceConfig":{"maxTokens":99,"topP":0.5}}',
        "maxTokens",
    ),
    ("Converse", CLAUDE, '{"inferenceConfig":{}}', '{"inferenceConfig":{"maxTokens":99}}', "maxTokens"),
    ("Converse", CLAUDE, '{"inferenceConfig":null}', '{"inferenceConfig":{"maxTokens":99}}', "maxTokens"),
    (
        "Converse",
        CLAUDE,
        '{"inferenceConfig":{"maxTokens":null}}',
        '{"inferenceConfig":{"maxTokens":99}}',
        "maxTokens",
    ),
    (
        "Converse",
        CLAUDE,
        '{"inferenceConfig":{"max\\u0054okens":500}}',
        '{"inferenceConfig":{"max\\u0054okens":99}}',
        "maxTokens",
    ),
    (
        "Converse",
        CLAUDE,
        '{"additionalModelRequestFields":{"max_tokens":500,"max_gen_len":5},"x":"\u00e9"}',
        '{"inferenceConfig":{"maxTokens":99},"additionalModelRequestFields":{"max_tokens":99,"max_gen_len":5},"x":"\u00e9"}',
        "maxTokens",
    ),
    (
        "Converse",
        CLAUDE,
        '{"inferenceConfig":{"maxTokens":5},"additionalModelRequestFields":{"max_tokens":"500"}}',
        '{"inferenceConfig":{"maxTokens":5},"additionalModelRequestFields":{"max_tokens":99}}',
        "max_tokens",
    ),
    ("Converse", CLAUDE, '{"inferenceConfig":{"maxTokens":99}}', '{"inferenceConfig":{"maxTokens":99}}', None),
    ("Converse", CLAUDE, '{"inferenceConfig":{"maxTokens":5}}', '{"inferenceConfig":{"maxTokens":5}}', None),
    (
        "Converse",
        "anything",
        '{"inferenceConfig":{"maxTokens":500}}',
        '{"inferenceConfig":{"maxTokens":99}}',
        "maxTokens",
    ),
    ("InvokeModel", CLAUDE, '{"max_tokens":500,"messages":[]}', '{"max_tokens":99,"messages":[]}', "max_tokens"),
    ("InvokeModel", CLAUDE, '{"max_tokens":1e3}', '{"max_tokens":99}', "max_tokens"),
    ("InvokeModel", CLAUDE, '{"messages":[]}', '{"max_tokens":99,"messages":[]}', "max_tokens"),
    (
        "InvokeModel",
        "anthropic.claude-v2:1",
        '{"prompt":"x","max_tokens_to_sample":500}',
        '{"prompt":"x","max_tokens_to_sample":99}',
        "max_tokens_to_sample",
    ),
    (
        "InvokeModel",
        "anthropic.claude-v2:1",
        '{"prompt":"x"}',
        '{"max_tokens_to_sample":99,"prompt":"x"}',
        "max_tokens_to_sample",
    ),
    (
        "InvokeModelWithResponseStream",
        NOVA,
        '{"inferenceConfig":{"max_new_tokens":500}}',
        '{"inferenceConfig":{"max_new_tokens":99}}',
        "max_new_tokens",
    ),
    ("InvokeModel", NOVA, '{"messages":[]}', '{"inferenceConfig":{"maxTokens":99},"messages":[]}', "maxTokens"),
    (
        "InvokeModel",
        TITAN,
        '{"textGenerationConfig":{"maxTokenCount":500}}',
        '{"textGenerationConfig":{"maxTokenCount":99}}',
        "maxTokenCount",
    ),
    ("InvokeModel", TITAN, "{}", '{"textGenerationConfig":{"maxTokenCount":99}}', "maxTokenCount"),
    ("InvokeModel", JAMBA, '{"n":2,"max_tokens":500}', '{"n":2,"max_tokens":99}', "max_tokens"),
    ("InvokeModel", J2, '{"prompt":"x"}', '{"maxTokens":99,"prompt":"x"}', "maxTokens"),
    ("InvokeModel", LLAMA, '{"max_gen_len":500}', '{"max_gen_len":99}', "max_gen_len"),
    (
        "InvokeModel",
        "cohere.command-text-v14",
        '{"num_generations":3}',
        '{"max_tokens":99,"num_generations":3}',
        "max_tokens",
    ),
    ("InvokeModel", GPT, '{"messages":[]}', '{"max_completion_tokens":99,"messages":[]}', "max_completion_tokens"),
    (
        "InvokeModel",
        GPT,
        '{"max_tokens":500,"max_completion_tokens":600}',
        '{"max_tokens":99,"max_completion_tokens":99}',
        "max_completion_tokens",
    ),
    ("InvokeModel", GPT, '{"max_tokens":500}', '{"max_tokens":99}', "max_tokens"),
    ("InvokeModel", QWEN, '{"max_tokens":null}', '{"max_tokens":99}', "max_tokens"),
    ("InvokeModel", "us.deepseek.r1-v1:0", '{"prompt":"x"}', '{"max_tokens":99,"prompt":"x"}', "max_tokens"),
    ("InvokeModel", "mistral.mistral-large-2407-v1:0", '{"max_tokens":500}', '{"max_tokens":99}', "max_tokens"),
    ("InvokeModel", "us.writer.palmyra-x5-v1:0", '{"max_tokens":500}', '{"max_tokens":99}', "max_tokens"),
]


@pytest.mark.parametrize(("operation", "model_id", "body", "expected", "name"), TABLE)
def test_each_family(operation: str, model_id: str, body: str, expected: str, name: str | None) -> None:
    """The member that limits the answer is set where it stands, made where there is none, and named in the note."""
    made = clamped(operation, model_id, body.encode(), 99)

    assert made == (expected.encode(), None if name is None else f"clamp:{name}=99")
    assert made is not None and clamped(operation, model_id, bytes(made[0]), 99) == (expected.encode(), None)


@pytest.mark.parametrize(
    ("operation", "model_id", "body", "limit"),
    [
        ("Converse", CLAUDE, {}, 0),
        ("Converse", CLAUDE, {"inferenceConfig": "x"}, 99),
        (
            "Converse",
            CLAUDE,
            {"additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 99}}},
            99,
        ),
        ("Converse", CLAUDE, {"additionalModelRequestFields": {"reasoning_config": {"budget_tokens": 1024}}}, 99),
        (
            "Converse",
            NOVA,
            {"additionalModelRequestFields": {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"}}},
            99,
        ),
        ("InvokeModel", CLAUDE, {"max_tokens": 5000, "thinking": {"type": "enabled", "budget_tokens": 1024}}, 1024),
        ("InvokeModel", NOVA, {"inferenceConfig": {"reasoningConfig": {"maxReasoningEffort": "high"}}}, 99),
        ("InvokeModel", "arn:aws:bedrock:us-east-1:1:imported-model/abc", {"max_tokens": 500}, 99),
        ("InvokeModel", "amazon.titan-embed-text-v2:0", {"textGenerationConfig": []}, 99),
        ("ApplyGuardrail", CLAUDE, {"max_tokens": 500}, 99),
    ],
)
def test_what_cannot_be_clamped(operation: str, model_id: str, body: dict[str, Any], limit: int) -> None:
    """A model that has to think longer, a family nobody knows or a body of another shape is left for a refusal."""
    assert None is clamped(operation, model_id, json.dumps(body).encode(), limit)


def test_room_to_think() -> None:
    """A limit above the tokens for thinking, or thinking that is off, is no hindrance."""
    body = b'{"max_tokens":5000,"thinking":{"type":"enabled","budget_tokens":1024}}'
    off = b'{"max_tokens":5000,"thinking":{"type":"disabled","budget_tokens":1024}}'

    assert clamped("InvokeModel", CLAUDE, body, 1025) == (body.replace(b"5000", b"1025"), "clamp:max_tokens=1025")
    assert clamped("InvokeModel", CLAUDE, off, 99) == (off.replace(b"5000", b"99"), "clamp:max_tokens=99")


values = st.none() | st.integers(-5, 10_000) | st.floats(0, 5000) | st.sampled_from(["500", True])
limits = st.dictionaries(
    st.sampled_from(["maxTokens", "max_tokens", "max_new_tokens", "max_gen_len", "max_completion_tokens", "topP"]),
    values,
)
more = st.dictionaries(st.text(max_size=3).map(lambda name: f"~{name}"), st.text(max_size=5), max_size=2)


@settings(deadline=None, max_examples=200)
@given(
    model=st.sampled_from(
        [("Converse", CLAUDE), *(("InvokeModel", name) for name in (CLAUDE, NOVA, LLAMA, GPT, JAMBA))]
    ),
    top=limits,
    inner=limits,
    around=more,
    layout=st.sampled_from([(None, True), (2, False), (0, True)]),
    number=st.none() | st.integers(1, 4),
    limit=st.integers(1, 6000),
)
def test_only_the_limits_change(
    model: tuple[str, str],
    top: dict[str, Any],
    inner: dict[str, Any],
    around: dict[str, Any],
    layout: tuple[int | None, bool],
    number: int | None,
    limit: int,
) -> None:
    """Read back, a clamped request is the same but for its limits, which then hold; once is as good as twice."""
    operation, model_id = model
    document: dict[str, Any] = {**around, **top, "inferenceConfig": inner, "additionalModelRequestFields": {**inner}}
    if number is not None:
        document["n"] = number
        document["additionalModelRequestFields"]["n"] = number
    body = json.dumps(document, indent=layout[0], ensure_ascii=layout[1]).encode()
    made = clamped(operation, model_id, body, limit)
    assert made is not None
    edited = read_body(made[0])
    most = max_tokens(OPERATIONS[operation], model_id, edited)

    assert most is not None and most <= limit * (answers(OPERATIONS[operation], edited) or 0)
    assert without_limits(document) == without_limits(edited)
    assert clamped(operation, model_id, bytes(made[0]), limit) == (made[0], None)


def without_limits(value: Any) -> Any:
    """A document without any member that limits its answer."""
    if not isinstance(value, dict):
        return value
    return {name: without_limits(child) for name, child in value.items() if not name.startswith("max")}


@pytest.mark.parametrize(
    ("body", "path", "expected", "there"),
    [
        (b'{"a":{"b":1}}', ("a", "b"), b'{"a":{"b":0}}', True),
        (b'{"a":{"c":1}}', ("a", "b"), b'{"a":{"b":0,"c":1}}', False),
        (b'{"a": { } }', ("a", "b"), b'{"a": { "b":0} }', False),
        (b"{}", ("a", "b", "c"), b'{"a":{"b":{"c":0}}}', False),
        (b'{"a":[1]}', ("a", "b"), b'{"a":{"b":0}}', False),
        (b'{"a":{"b":1},"x":{"a":{"b":1}}}', ("a", "b"), b'{"a":{"b":0},"x":{"a":{"b":1}}}', True),
        (b'{"a":{"b":1},"a":{}}', ("a", "b"), b'{"a":{"b":0},"a":{"b":0}}', True),
        (
            '{"\u00e9":"\U0001f600","a":{"b":1,"b":2}}'.encode(),
            ("a", "b"),
            '{"\u00e9":"\U0001f600","a":{"b":0,"b":0}}'.encode(),
            True,
        ),
    ],
)
def test_set_at(body: bytes, path: tuple[str, ...], expected: bytes, there: bool) -> None:
    """What stands at a path is set, every time it is there; what is missing on the way is made."""
    assert (expected, there) == set_at(body, path, b"0")


@pytest.mark.parametrize("body", [b"", b"[]", b'{"a":{"b":1}', b'{"a":{"b":1,}}', b'{"a":{}}x', b'{"a":"\xff"}'])
def test_set_at_of_no_object(body: bytes) -> None:
    """A body that cannot be read is refused."""
    with pytest.raises(InvalidRequest):
        set_at(body, ("a", "b"), b"0")
