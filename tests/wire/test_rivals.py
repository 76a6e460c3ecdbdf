"""Several services under one path: what tells them apart, and where an operation goes that nobody has heard of."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from bedrock_gateway.errors import InvalidRequest, UnknownOperation
from bedrock_gateway.upstream.models import load_operations
from bedrock_gateway.wire.rivals import needs_body, tell_apart
from bedrock_gateway.wire.targets import RouteTable, Target, upstream_path

TABLE = RouteTable(load_operations())
AUTOMATION = "AmazonBedrockKeystoneRuntimeService"
TAGS = "/bedrock/tags/arn%3Aaws%3A{}"


def target_of(method: str, path: str) -> Target:
    """Return what a path asks for."""
    target = TABLE.parse(method, path)
    assert target is not None
    return target


def meant(
    method: str, path: str, headers: Mapping[str, str] | None = None, body: Mapping[str, object] | None = None
) -> str:
    """Return service and operation that a request means."""
    target = target_of(method, path)
    if target.rivals:
        target = tell_apart(target, headers or {}, (body or {}).get)
    assert not target.rivals
    return f"{target.operation.service}:{target.name}"


def signed_for(service: str) -> dict[str, str]:
    """Return the headers of a request that is signed for a service."""
    scope = f"AKIA/20261126/us-east-1/{service}/aws4_request"
    return {"authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"}


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "expected"),
    [
        ("POST", "/bedrock/agents/A1/", {}, {}, "bedrock-agent:PrepareAgent"),
        ("POST", "/bedrock/agents/A1", {}, {}, "bedrock-agent-runtime:InvokeInlineAgent"),
        ("POST", "/bedrock/flows/F1/", {}, {}, "bedrock-agent:PrepareFlow"),
        ("POST", "/bedrock/flows/validate-definition", {}, {}, "bedrock-agent:ValidateFlowDefinition"),
        ("GET", "/bedrock/flows/F1", {}, {}, "bedrock-agent:GetFlow"),
        (
            "GET",
            TAGS.format("bedrock%3Aus-east-1%3A1%3Aagent%2FA"),
            {},
            {},
            "bedrock-agent:ListTagsForResource",
        ),
        (
            "POST",
            TAGS.format("bedrock%3Aus-east-1%3A1%3Asession%2FS"),
            {},
            {},
            "bedrock-agent-runtime:TagResource",
        ),
        (
            "DELETE",
            TAGS.format("bedrock-agentcore%3Aus-east-1%3A1%3Aruntime%2FR"),
            {},
            {},
            "bedrock-agentcore-control:UntagResource",
        ),
        (
            "GET",
            "/bedrock/tags/nothing",
            signed_for("bedrock-agentcore"),
            {},
            "bedrock-agentcore-control:ListTagsForResource",
        ),
        (
            "GET",
            "/bedrock/tags/nothing",
            {"x-amz-user-agent": "aws-sdk-js/3 api/bedrock-agent#3.1 m/E"},
            {},
            "bedrock-agent:ListTagsForResource",
        ),
        (
            "PUT",
            "/bedrock/resourcepolicy/arn:aws:bedrock-agentcore:us-east-1:1:gateway/g",
            {},
            {},
            "bedrock-agentcore-control:PutResourcePolicy",
        ),
        (
            "POST",
            "/bedrock/tagResource",
            {},
            {"resourceARN": "arn:aws:bedrock:us-east-1:1:blueprint/b"},
            "bedrock-data-automation:TagResource",
        ),
        (
            "POST",
            "/bedrock/tagResource",
            {},
            {"resourceARN": "arn:aws:bedrock:us-east-1:1:guardrail/g"},
            "bedrock:TagResource",
        ),
        ("POST", "/bedrock/tagResource", {}, {}, "bedrock:TagResource"),
        (
            "POST",
            "/bedrock",
            {"x-amz-target": f"{AUTOMATION}.InvokeDataAutomationAsync"},
            {},
            "bedrock-data-automation-runtime:InvokeDataAutomationAsync",
        ),
        (
            "POST",
            "/bedrock/",
            {"x-amz-target": f"{AUTOMATION}.BrandNew"},
            {},
            "bedrock-data-automation-runtime:BrandNew",
        ),
    ],
)
def test_told_apart(
    method: str, path: str, headers: Mapping[str, str], body: Mapping[str, object], expected: str
) -> None:
    """A slash, an ARN, a signature's service, an SDK's name or a target header says which service is meant."""
    assert expected == meant(method, path, headers, body)


def test_the_body_is_read_only_where_nothing_else_tells() -> None:
    """Where the path names what is worked on, or a header the operation, nobody waits for the body."""
    paths = {"/bedrock/tagResource": True, "/bedrock": False, TAGS.format("x"): False, "/model/m/converse": False}
    assert paths == {path: needs_body(target_of("POST", path)) for path in paths}


@pytest.mark.parametrize(
    ("headers", "error", "message"),
    [
        ({}, InvalidRequest, "name one in the header X-Amz-Target"),
        ({"x-amz-target": "Other.Thing"}, UnknownOperation, "'Other.Thing' is not the name of an operation"),
        ({"x-amz-target": f"{AUTOMATION}.a b"}, UnknownOperation, "is not the name of an operation"),
        ({"x-amz-target": f"{AUTOMATION}."}, UnknownOperation, "is not the name of an operation"),
    ],
)
def test_a_json_service_has_to_be_told(headers: Mapping[str, str], error: type[Exception], message: str) -> None:
    """A request to the path of a JSON service names one of its operations."""
    with pytest.raises(error, match=message):
        meant("POST", "/bedrock", headers)


@pytest.mark.parametrize(
    ("method", "path", "expected", "upstream"),
    [
        (
            "POST",
            "/bedrock/knowledgebases/K%2F1/ponder",
            "bedrock-agent-runtime:POST /knowledgebases/K/1/ponder",
            "/knowledgebases/K%2F1/ponder",
        ),
        ("PATCH", "/bedrock/guardrails/x/more", "bedrock:PATCH /guardrails/x/more", "/guardrails/x/more"),
        ("PUT", "/bedrock/prompts/P/thing/", "bedrock-agent:PUT /prompts/P/thing", "/prompts/P/thing/"),
        ("POST", "/bedrock/runtimes/r/x?y=%2F", "bedrock-agentcore:POST /runtimes/r/x", "/runtimes/r/x"),
        ("POST", "/guardrail-checks/again", "bedrock-runtime:POST /guardrail-checks/again", "/guardrail-checks/again"),
    ],
)
def test_an_unheard_of_operation(method: str, path: str, expected: str, upstream: str) -> None:
    """A path under one of AWS's first segments is an operation that is not known, named by method and path."""
    target = target_of(method, path)
    assert (expected, False) == (f"{target.operation.service}:{target.name}", target.operation.known)
    assert upstream == upstream_path(target.operation, target.labels)
    assert path.split("/")[2 if path.startswith("/bedrock") else 1] in target.operation.name


@pytest.mark.parametrize(
    "path",
    [
        "/bedrock/model/m/ponder",
        "/bedrock/knowledgebases/../x",
        "/bedrock/knowledgebases/%2e%2e/x",
        "/bedrock/knowledgebases//x",
        "/bedrock/knowledgebases/K/retrieve/",
        "/bedrock/knowledgebases/a%00b/x",
    ],
)
def test_nothing_passes_that_cannot_be_said(path: str) -> None:
    """Under /model nothing passes unknown, and no path with empty, dot or broken segments does."""
    with pytest.raises((InvalidRequest, UnknownOperation)):
        TABLE.parse("POST", path)


def test_methods_nobody_has() -> None:
    """A method that no operation of AWS has makes none: it would be a name of its own in every count."""
    with pytest.raises(UnknownOperation):
        TABLE.parse("BREW", "/bedrock/guardrails/x/more")
