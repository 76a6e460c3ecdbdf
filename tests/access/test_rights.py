"""Globs of models and operations: what fits them, and that no glob costs more than a look."""

from __future__ import annotations

import fnmatch
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedrock_gateway.access.callers import Policy
from bedrock_gateway.access.rights import may_operate, may_use
from bedrock_gateway.access.values import operation_glob
from bedrock_gateway.errors import InvalidField
from bedrock_gateway.upstream.models import load_operations

OPERATIONS = {operation.name: operation for operation in load_operations(["bedrock-runtime", "bedrock-agent-runtime"])}


@given(st.text("ab*", min_size=1, max_size=8), st.text("ab", max_size=12))
def test_a_glob_fits_what_its_stars_can_stand_for(glob: str, name: str) -> None:
    """A star stands for any text, none included; everything else stands for itself."""
    expected = name == glob or re.fullmatch(fnmatch.translate(glob), name) is not None

    assert expected == may_use(Policy(models=((glob,),)), "", [name])


def test_a_glob_of_many_stars_costs_nothing() -> None:
    """Stars in a key's lists, of which its maker may write hundreds, do not multiply each other's work."""
    begun = time.process_time()

    assert not may_use(Policy(models=(("*a" * 120 + "b",),)), "", ["anthropic." + "a" * 2000])
    operation = OPERATIONS["InvokeModelWithResponseStream"]
    assert not may_operate(Policy(operations=("*" * 250 + "x",)), operation, operation.name)
    assert time.process_time() - begun < 1


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        ("InvokeAgent", True),
        ("bedrock-agent-runtime:InvokeAgent", True),
        ("bedrock:InvokeAgent", True),
        ("bedrock-agent-runtime:*", True),
        ("bedrock:*", False),
        ("bedrock-runtime:InvokeAgent", False),
    ],
)
def test_an_operation_has_botocores_name_and_iams(listed: str, expected: bool) -> None:
    """IAM's name of an operation is good for that one; a glob goes by the service alone."""
    operation = OPERATIONS["InvokeAgent"]

    assert expected == may_operate(Policy(operations=(listed,)), operation, operation.name)
    assert expected == may_operate(Policy(operations=None), operation, operation.name, [listed])


@pytest.mark.parametrize("glob", ["bedrock-agent-runtime:POST /flows/*/newthing", "GET /flows/*", "Converse", "*"])
def test_operations_that_can_be_named(glob: str) -> None:
    """An operation that has no name yet goes by method and path."""
    assert glob == operation_glob("allowed_operations", glob)


@pytest.mark.parametrize("glob", ["a b", "bedrock-agent-runtime:LOOK /flows", "POST flows", "POST /a b", ""])
def test_what_is_no_operation(glob: str) -> None:
    """What can be no operation's name is refused."""
    with pytest.raises(InvalidField):
        operation_glob("allowed_operations", glob)
