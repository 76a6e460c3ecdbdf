"""Lists of operations: what names one, and what is said of what names none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedrock_gateway.access.callers import Policy
from bedrock_gateway.access.operation_names import OperationNames
from bedrock_gateway.access.rights import DEFAULT_OPERATIONS, may_operate
from bedrock_gateway.errors import InvalidField
from bedrock_gateway.upstream.models import load_operations
from bedrock_gateway.wire.operations import Operation

OPERATIONS = load_operations()
NAMES = OperationNames(OPERATIONS)


@pytest.mark.parametrize(
    "glob",
    [
        *("*", "Converse", "Converse*", "*AsyncInvoke", "*:*", "bedrock-*:Invoke*", "bedrock:List*"),
        *("bedrock-agentcore:*", "bedrock-runtime:Converse", "bedrock:InvokeModel", "bedrock-agentcore:CreateMemory"),
        *("bedrock-agent-runtime:POST /flows/*/newthing", "bedrock-*:POST /flows/new", "GET /flows/a:b", "POST*"),
        *sorted(DEFAULT_OPERATIONS),
    ],
)
def test_what_names_an_operation(glob: str) -> None:
    """Names alone, with a service, as IAM has them, globs, and method and path of what has no name yet are taken."""
    assert glob == NAMES.parse("allowed_operations[0]", glob)


@pytest.mark.parametrize(
    ("glob", "told"),
    [
        ("Convrese", "; did you mean Converse?"),
        ("converse", "; did you mean Converse?"),
        ("Convers?", "; did you mean Converse?"),
        ("bedrock-runtime:InvokeModle", "; did you mean bedrock-runtime:InvokeModel?"),
        ("bedrok:Converse", "; did you mean bedrock:Converse?"),
        ("bedrock-agent-runtime:Converse", "; did you mean bedrock-runtime:Converse?"),
        ("bedrock:Invoke*", "; did you mean bedrock-runtime:Invoke*?"),
        ("bedrock-agent-runtme:*", "; did you mean bedrock-agent-runtime:*?"),
        (
            "bedrock-agnt-runtime:POST /flows/*/newthing",
            "; did you mean bedrock-agent-runtime:POST /flows/*/newthing?",
        ),
        ("bedrock:CallWithBearerToken", ": docs/operations.md lists them"),
        ("zzz*", ": docs/operations.md lists them"),
    ],
)
def test_what_names_none_is_refused(glob: str, told: str) -> None:
    """A name or glob that no operation has is refused with what was most likely meant, which does name one."""
    with pytest.raises(InvalidField) as caught:
        NAMES.parse("allowed_operations[0]", glob)

    said = caught.value.message
    assert said.startswith("allowed_operations[0]: ")
    assert said.endswith(f" names no operation{told}")
    meant = told.removeprefix("; did you mean ").removesuffix("?")
    assert meant == told or NAMES.has(meant)


@given(st.sampled_from(OPERATIONS), st.integers(0, 40), st.integers(0, 40), st.sampled_from(["", "service", "iam"]))
def test_a_glob_is_taken_where_it_allows_something(operation: Operation, first: int, last: int, how: str) -> None:
    """What rights let through by a list of one glob, and nothing else, is what that glob is taken for."""
    name = operation.name[:first] + "*" + operation.name[last:]
    prefix = {"": "", "service": f"{operation.service}:", "iam": f"{operation.signing_name}:"}[how]
    glob = prefix + name
    allowed = any(may_operate(Policy(operations=(glob,)), one, one.name) for one in OPERATIONS)

    assert allowed == NAMES.has(glob)
