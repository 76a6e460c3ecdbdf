"""Blocks of Converse, as they are made from what callers write."""

from __future__ import annotations

import pytest

from bedrock_gateway.dialects.converse_blocks import tell_apart, tool_use
from bedrock_gateway.dialects.fields import Block
from bedrock_gateway.errors import InvalidRequest


def documents(*names: str) -> list[Block]:
    """Return a turn with documents of these names."""
    return [{"role": "user", "content": [{"document": {"name": name}} for name in names]}]


def told(turns: list[Block]) -> list[str]:
    """Return the names in a turn."""
    return [block["document"]["name"] for block in turns[0]["content"]]


def test_documents_of_one_name_are_told_apart() -> None:
    """Each has a name of its own, also where a name that would be given is another's; the first keeps what it has."""
    turns = documents("a", "a 2", "a", "b", "a", "a 2")

    tell_apart(turns)

    assert ["a", "a 2", "a 3", "b", "a 4", "a 2 2"] == told(turns)


def test_long_names_that_begin_alike() -> None:
    """What is cut to make room for a number stays one name a document."""
    turns = documents(*["x" * 199 + end for end in "abab"])

    tell_apart(turns)

    assert ["x" * 199 + "a", "x" * 199 + "b", "x" * 190 + " 2", "x" * 190 + " 3"] == told(turns)


def test_a_long_name_cut_at_a_blank() -> None:
    """Bedrock takes no two blanks in a row in a name."""
    turns = documents(*["x" * 189 + " " + "y" * 10] * 2)

    tell_apart(turns)

    assert "x" * 189 + " 2" == told(turns)[1]


def test_many_documents_of_one_name_take_no_longer_than_others() -> None:
    """To count anew for each of them would take longer than a test may."""
    turns = documents(*["a.pdf"] * 100_000)

    tell_apart(turns)

    assert 100_000 == len(set(told(turns)))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "[-1e999]"])
def test_arguments_with_numbers_that_json_has_not(number: str) -> None:
    """Arguments are JSON inside of JSON: what is wrong in there is told of there."""
    with pytest.raises(InvalidRequest, match="must be JSON") as caught:
        tool_use({"name": "weather", "arguments": f'{{"a": {number}}}'}, "tool_calls[0].function", "t1")

    assert "tool_calls[0].function.arguments" == caught.value.param
