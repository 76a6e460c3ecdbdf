"""What the requests of one conversation have in common."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_gateway.dialects.prefixes import prefix_of

SYSTEM = [{"text": "You are a pirate."}]
TOOLS = {"tools": [{"toolSpec": {"name": "plunder"}}]}
HELLO = {"role": "user", "content": "Hello"}
BYE = {"role": "user", "content": "Bye"}
ORDERS = {"role": "system", "content": "You are a pirate."}

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"system": SYSTEM, "messages": [HELLO]}, {"system": SYSTEM, "messages": [HELLO, BYE]}),
        ({"system": "Ahoy", "messages": [HELLO]}, {"messages": [BYE], "system": "Ahoy", "max_tokens": 5}),
        ({"toolConfig": TOOLS, "messages": [HELLO]}, {"toolConfig": TOOLS, "messages": [BYE]}),
        ({"tools": [TOOLS]}, {"tools": [TOOLS], "temperature": 1}),
        ({"messages": [ORDERS, HELLO]}, {"messages": [ORDERS, BYE, HELLO]}),
        ({"system": SYSTEM, "tools": []}, {"system": SYSTEM, "tools": None}),
    ],
)
def test_requests_of_one_conversation(one: dict[str, Any], other: dict[str, Any]) -> None:
    """The same system prompt and tools give the same number, whatever follows them."""
    assert prefix_of(one) is not None
    assert prefix_of(one) == prefix_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"system": SYSTEM}, {"system": [{"text": "You are a parrot."}]}),
        ({"system": SYSTEM}, {"system": SYSTEM, "toolConfig": TOOLS}),
        ({"system": SYSTEM, "toolConfig": TOOLS}, {"system": SYSTEM, "toolConfig": {"tools": []}}),
        ({"messages": [ORDERS]}, {"messages": [{"role": "developer", "content": "You are a pirate."}]}),
        ({"messages": [ORDERS]}, {"messages": [ORDERS], "tools": [TOOLS]}),
    ],
)
def test_requests_of_different_conversations(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Another system prompt, or other tools, give another number."""
    assert None not in (prefix_of(one), prefix_of(other))
    assert prefix_of(one) != prefix_of(other)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"messages": [HELLO, ORDERS]},
        {"system": "", "tools": [], "toolConfig": None},
        {"messages": []},
        {"messages": {}},
        {"messages": ["system"]},
        {"messages": [{"role": ["system"]}]},
        {"inputText": "Hello"},
    ],
)
def test_requests_without_a_common_beginning(document: dict[str, Any]) -> None:
    """Without system prompt and tools nothing is in common, however odd the rest is."""
    assert None is prefix_of(document)


def test_what_is_nested_too_deep_has_none() -> None:
    """What can hardly be read is the caller's affair and no fault of the gateway."""
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]

    assert None is prefix_of({"system": deep})


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["system", "tools", "toolConfig", "messages", "x"]), values, max_size=5))
def test_any_document_has_a_number_or_none(document: dict[str, Any]) -> None:
    """Whatever a body holds, it is told the same each time it is read."""
    again = json.loads(json.dumps(document))

    assert prefix_of(document) == prefix_of(again)
