"""Where ids of sessions, jobs and memories stand: held against AWS's models."""

from __future__ import annotations

from typing import Any

import pytest

from bedrock_gateway.upstream.botocore_data import read_service
from bedrock_gateway.upstream.models import SERVED, load_operations
from bedrock_gateway.wire.made_objects import Where, listed_by, made_by, plain_id, used_by

OPERATIONS = load_operations()
MODELS = {service: read_service(service, "service-2") for service in SERVED}
LOCATIONS = {"uri": Where.LABEL, "querystring": Where.QUERY, "header": Where.HEADER, None: Where.BODY}


def members(service: str, operation: str, side: str) -> dict[tuple[Where, str], Any]:
    """Return the members of an operation's input or output by where they stand and their name there."""
    model = MODELS[service]
    reference = model["operations"][operation].get(side)
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
    }


def test_every_place_is_one_of_awss_models() -> None:
    """A member that AWS renames, or that was never there, is noticed."""
    counted = 0
    for operation in OPERATIONS:
        for used in used_by(operation):
            assert (used.where, used.name) in members(operation.service, operation.name, "input"), operation.name
            assert set(used.scope) <= set(operation.labels), operation.name
            counted += 1
        made = made_by(operation)
        if made is not None:
            assert (made.where, made.name) in members(operation.service, operation.name, "output"), operation.name
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
    ["invocationArn", "sessionIdentifier", "executionIdentifier", "memoryId", "jobIdentifier"],
)
def test_no_operation_names_one_unseen(name: str) -> None:
    """Every operation of these services whose path or query holds such an id is known to use it."""
    control = {"CreateInvocation", "GetModelInvocationJob", "StopModelInvocationJob"}
    for operation in OPERATIONS:
        if operation.service not in ("bedrock-runtime", "bedrock-agent-runtime") and operation.name not in control:
            continue
        found = members(operation.service, operation.name, "input")
        if (Where.LABEL, name) in found or (Where.QUERY, name) in found:
            assert name in {used.name for used in used_by(operation)}, operation.name


def test_an_arn_and_its_last_part_are_one() -> None:
    """What AWS takes as an ARN or as an id is kept under the id, behind what it is only good within."""
    arn = "arn:aws:bedrock:us-east-1:111122223333:session/abc"
    assert "abc" == plain_id("session", arn, {}) == plain_id("session", "abc", {})
    assert "A/B/abc" == plain_id("agent session", "abc", {"agentId": "A", "x": "B"}, ("agentId", "x"))
    browser = {"browserIdentifier": "arn:aws:bedrock-agentcore:us-east-1:1:browser/b1"}
    assert "b1/abc" == plain_id("browser session", "abc", browser)
