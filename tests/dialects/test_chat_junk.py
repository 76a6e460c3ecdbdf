"""Requests of chat completions that are wrong: each is refused in words, naming the field, and nothing else happens."""

from __future__ import annotations

import json
from typing import Any

import pytest
from chatting import converse, read, request
from hypothesis import given
from hypothesis import strategies as st

from bedrock_gateway.errors import InvalidRequest

PIXEL = "data:image/png;base64,aGVsbG8="
#: A request that says everything there is.
ALL: dict[str, Any] = {
    "model": "group",
    "messages": [
        {"role": "system", "content": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]},
        {"role": "developer", "content": "In verse."},
        {
            "role": "user",
            "name": "Ann",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
                {"type": "file", "file": {"file_data": "data:application/pdf;base64,aGVsbG8=", "filename": "a.pdf"}},
                {"type": "guarded_text", "text": "Guard me."},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "thinking_blocks": [
                {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
                {"type": "redacted_thinking", "data": "aGVsbG8="},
            ],
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "A cat."}]},
        {"role": "assistant", "refusal": "No."},
        {"role": "user", "content": "Go on.", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
    ],
    "tools": [{"type": "function", "function": {"name": "look", "description": "Looks.", "parameters": {}}}],
    "tool_choice": {"type": "function", "function": {"name": "look"}},
    "max_tokens": 100,
    "max_completion_tokens": 100,
    "temperature": 0.5,
    "top_p": 0.5,
    "top_k": 5,
    "stop": ["END"],
    "stream": True,
    "stream_options": {"include_usage": True},
    "user": "someone",
    "metadata": {"tags": ["a"]},
    "service_tier": "flex",
    "reasoning_effort": "low",
    "thinking": {"type": "enabled", "budget_tokens": 2000},
    "parallel_tool_calls": False,
    "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}},
    "guardrailConfig": {"guardrailIdentifier": "abc", "guardrailVersion": "1"},
    "performanceConfig": {"latency": "standard"},
    "requestMetadata": {"a": "b"},
    "additionalModelRequestFields": {"a": 1},
    "additionalModelResponseFieldPaths": ["/a"],
    "extra_body": {"b": 1},
    "drop_params": False,
    "n": 1,
}

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
scalars |= st.sampled_from(["auto", "none", "", "user", "system", "text", "data:,", PIXEL, -1, 0, 1e308, "\ud800"])
junk = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*ALL, "type", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


def places(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to everything in a document."""
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(way for key, inner in items for way in places(inner, (*path, key)))]


@given(st.data())
def test_one_wrong_member_is_named(data: st.DataObject) -> None:
    """Whatever is put in the place of whatever, a request is read, or refused naming a field that was sent."""
    body = json.loads(json.dumps(ALL))
    for way in data.draw(st.lists(st.sampled_from(places(ALL)[1:]), min_size=1, max_size=2)):
        try:
            holder: Any = body
            for key in way[:-1]:
                holder = holder[key]
            holder[way[-1]] = data.draw(junk)
        except (TypeError, KeyError, IndexError):
            continue  # what stood there has been replaced already

    try:
        translation = read(body)
    except InvalidRequest as refusal:
        assert refusal.message.isprintable()
        assert refusal.param is None or refusal.param.partition("[")[0].partition(".")[0] in ALL
        assert refusal.param is not None or "NaN" in json.dumps(body) or "Infinity" in json.dumps(body)
        return

    sent = json.loads(translation.relay("us.amazon.nova-2-lite-v1:0", call_id="1", now=1).request(translation.body))
    assert {"messages"} <= sent.keys()


@given(st.binary() | junk.map(lambda value: json.dumps(value).encode()))
def test_junk_is_refused(body: bytes) -> None:
    """Bytes that are no request are refused, never a fault of ours."""
    try:
        read(body)
    except InvalidRequest:
        pass


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"model": 5}, "model"),
        ({"model": ""}, "model"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "robot", "content": "a"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "system", "content": [{"type": "image_url", "image_url": PIXEL}]}]}, None),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": 1.5}, "max_completion_tokens"),
        ({"temperature": 1.5}, "temperature"),
        ({"temperature": -1}, "temperature"),
        ({"top_p": 1.01}, "top_p"),
        ({"stop": ["a", 5]}, "stop[1]"),
        ({"tools": [{"type": "custom"}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        (
            {"tools": [{"type": "function", "function": {"name": "a", "parameters": "x"}}]},
            "tools[0].function.parameters",
        ),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "b"}}}, "tool_choice.function.name"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"reasoning_effort": "huge"}, "reasoning_effort"),
        ({"thinking": {"type": "enabled", "budget_tokens": 5}}, "thinking.budget_tokens"),
        ({"service_tier": "best"}, "service_tier"),
        ({"guardrailConfig": "abc"}, "guardrailConfig"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"user": 5}, "user"),
        ({"seed": 1}, "seed"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"n": "2"}, "n"),
        ({"n": 2, "stream": True}, "n"),
        ({"logprobs": True}, "logprobs"),
    ],
)
def test_the_field_is_named(members: dict[str, Any], param: str | None) -> None:
    """What is wrong is told with its field, in words that begin with it."""
    with pytest.raises(InvalidRequest) as caught:
        read(request(**members))

    assert (param or "messages[0].content") == caught.value.param


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://example.com/cat.png", "data URL"),
        ("https://10.0.0.1/cat.png", "data URL"),
        ("file:///etc/passwd", "data URL"),
        ("data:image/png;base64,???", "base64"),
        ("data:image/svg+xml;base64,aGVsbG8=", "svg"),
        ("data:image/png;base64,", "base64"),
    ],
)
def test_images_that_are_none(url: str, words: str) -> None:
    """A picture comes in the request itself; one that would have to be fetched is refused, and says what to send."""
    part = {"type": "image_url", "image_url": {"url": url}}

    with pytest.raises(InvalidRequest, match=words) as caught:
        read(request(messages=[{"role": "user", "content": [part]}]))

    assert "messages[0].content[0].image_url.url" == caught.value.param


def test_several_that_have_no_place_are_named_together() -> None:
    """All that Bedrock has no place for is told at once; with drop_params all of it is left out."""
    body = request(seed=1, logprobs=True, store=True, presence_penalty=0)

    with pytest.raises(InvalidRequest, match="seed, logprobs, store"):
        read(body)

    assert {"messages"} == converse(body, drop_params=True).keys()
    assert {"messages"} == converse(body | {"drop_params": True}).keys()
    with pytest.raises(InvalidRequest):
        read(body | {"drop_params": False}, drop_params=True)
    assert 1 == converse(request(temperature=2), drop_params=True)["inferenceConfig"]["temperature"]
