"""Requests of nothing but text: seen at a glance, and never where there is anything else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_gateway.dialects.contents import only_text
from bedrock_gateway.dialects.requests import extent, plain_extent
from bedrock_gateway.upstream.models import load_operations

OPERATIONS = {operation.name: operation for operation in load_operations()}
CONVERSE, INVOKE = OPERATIONS["Converse"], OPERATIONS["InvokeModel"]
CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"

TEXT = st.builds(lambda text: {"text": text}, st.text(max_size=5))
IMAGE = {"image": {"format": "png", "source": {"bytes": "QUJD" * 100}}}
ODD: st.SearchStrategy[Any] = st.sampled_from(
    [
        *(IMAGE, {"text": "a", **IMAGE}, {"toolResult": {"content": [IMAGE]}}, {"guardContent": IMAGE}, "text", "t", 5),
        *(None, [], ["text"], [["text", "a"]], {}, {"text": IMAGE}, {"document": {"source": {"text": "a"}}}),
    ]
)
BLOCKS = st.lists(TEXT, max_size=3) | st.lists(TEXT | ODD, max_size=3) | ODD
MESSAGES = st.lists(
    st.builds(lambda blocks: {"role": "user", "content": blocks}, BLOCKS)
    | st.sampled_from([{}, {"role": "user"}, None, "content", ["content"], {"content": "text"}]),
    max_size=3,
)
LIMITS = st.sampled_from([5, 0, -1, 5.0, "5", None, True])
MORE: dict[str, st.SearchStrategy[Any]] = {
    "system": BLOCKS,
    "inferenceConfig": st.builds(lambda most: {"maxTokens": most}, LIMITS)
    | st.sampled_from([None, {}, [], "maxTokens"]),
    "toolConfig": st.sampled_from([{"tools": [{"systemTool": {"name": "x"}}]}, {"tools": []}]),
    "additionalModelRequestFields": st.sampled_from([{"n": 3}, {"max_tokens": 9}, None]),
    "promptVariables": st.just({"a": {"text": "b"}}),
    "requestMetadata": st.just({"a": "b"}),
    "guardrailConfig": st.just({"guardrailIdentifier": "g"}),
}


@settings(deadline=None, max_examples=200)
@given(st.fixed_dictionaries({}, optional={"messages": MESSAGES | ODD, **MORE}))
def test_what_is_plain_has_nothing_to_find(body: dict[str, Any]) -> None:
    """Where a request is taken for plain, the way every other one goes finds the same."""
    found = plain_extent(CONVERSE, body, body_bytes=1000)

    if found is not None:
        assert found.plain
        assert found == extent(CONVERSE, CLAUDE, body, body_bytes=1000)


@pytest.mark.parametrize(
    ("body", "plain"),
    [
        ({"messages": [{"role": "user", "content": [{"text": "a"}]}]}, True),
        ({"messages": [], "system": [{"text": "a"}], "inferenceConfig": {"maxTokens": 5, "topP": 0.5}}, True),
        ({"messages": [{"role": "user", "content": [{"text": "a"}, IMAGE]}]}, False),
        ({"messages": [{"role": "user", "content": [{"text": "a", **IMAGE}]}]}, False),
        ({"messages": [], "system": [{"cachePoint": {}}]}, False),
        ({"messages": [], "system": None}, False),
        ({"messages": [], "toolConfig": {}}, False),
        ({"system": []}, False),
    ],
)
def test_plain_requests(body: dict[str, Any], plain: bool) -> None:
    """Messages and a system prompt of nothing but text are plain."""
    assert plain is only_text(body)
    assert plain is (plain_extent(CONVERSE, body, body_bytes=1000) is not None)


def test_bodies_of_invoke_model_are_not_plain() -> None:
    """What a native body hands in depends on the model."""
    assert None is plain_extent(INVOKE, {"messages": []}, body_bytes=1000)
