"""Where ids of sessions, jobs and memories stand: held against AWS's models."""

from __future__ import annotations

from typing import Any

import pytest

from bedrock_gateway.upstream.botocore_data import read_service
from bedrock_gateway.upstream.models import SERVED, load_operations
from bedrock_gateway.wire.made_objects import Where, listed_by, made_by, plain_id, used_by

OPERATIONS = load_operations()
MODELS = {service: read_service(service, "service-2") for service in SERVED}
#: Control planes that make no such objects, and names that are those of something else.
ELSEWHERE = ("bedrock-agent", "bedrock-agentcore-control", "bedrock-data-automation")
OTHERS = {("bedrock-agentcore", "memoryId")}
LOCATIONS = {"uri": Where.LABEL, "querystring": Where.QUERY, "header": Where.HEADER, None: Where.BODY}
#: Where no id stands.
NOWHERE = ("statusCode", "headers")


def members(service: str, operation: str, side: str) -> dict[tuple[Where, str], Any]:
    """Return the members of an operation's input or output by where they stand and their name there."""
    model = MODELS[service]
    # Operations that only newer models have hold none of these.
    reference = model["operations"].get(operation, {}).get(side)
    if reference is None:
        return {}
    found = model["shapes"][reference["shape"]].get("members", {})
    return {
        (
            LOCATIONS[told.get("location")],
            told.get("locationName", name).lower()
            if told.get("location") == "header"
            else told.get("locationName", name),
        ): told
        for name, told in found.items()
        if told.get("location") not in NOWHERE
    }


def test_every_place_is_one_of_awss_models() -> None:
    """A member that AWS renames, or that was never there, is noticed."""
    counted = 0
    for operation in OPERATIONS:
        for used in used_by(operation):
            assert (used.where, used.name) in members(operation.service, operation.name, "input"), operation.name
            assert set(used.scope) <= set(operation.labels), operation.name
            counted += 1
        for made in made_by(operation):
            first, *inner = made.name.split(".")
            found = members(operation.service, operation.name, "output")[made.where, first]
            for name in inner:
                found = MODELS[operation.service]["shapes"][found["shape"]]["members"][name]
            assert set(made.scope) <= set(operation.labels), operation.name
            counted += 1
        listed = listed_by(operation)
        if listed is not None:
            shapes = MODELS[operation.service]["shapes"]
            items = members(operation.service, operation.name, "output")[Where.BODY, listed.items]
            item = shapes[shapes[items["shape"]]["member"]["shape"]]
            assert listed.name in item["members"], operation.name
            counted += 1
    assert counted > 40


@pytest.mark.parametrize(
    "name",
    [
        *("invocationArn", "sessionIdentifier", "executionIdentifier", "memoryId", "jobIdentifier"),
        *("resourceARN", "x-amzn-bedrock-agentcore-runtime-session-id", "mcp-session-id"),
        *("paymentSessionId", "x-amzn-browser-session-id", "x-amzn-code-interpreter-session-id"),
    ],
)
def test_no_operation_names_one_unseen(name: str) -> None:
    """Every operation that is told such an id, in its path, its query, a header or its body, is known to use it."""
    for operation in OPERATIONS:
        if operation.service in ELSEWHERE or (operation.service, name) in OTHERS or "Job" in operation.name:
            continue
        places = {place for place, called in members(operation.service, operation.name, "input") if called == name}
        assert places <= {used.where for used in used_by(operation) if used.name == name}, operation.name


def test_an_arn_and_its_last_part_are_one() -> None:
    """What AWS takes as an ARN or as an id is kept under the id, behind what it is only good within."""
    arn = "arn:aws:bedrock:us-east-1:111122223333:session/abc"
    assert "abc" == plain_id(arn, {}) == plain_id("abc", {})
    runtime = {"agentRuntimeArn": "arn:aws:bedrock-agentcore:us-east-1:1:runtime/r1"}
    assert "r1/a/b" == plain_id("a/b", runtime, ("agentRuntimeArn",), whole=True)
    assert "r1/b" == plain_id("a/b", {"agentRuntimeArn": "r1"}, ("agentRuntimeArn",))
