"""Guardrails, asynchronous invocations and the control plane's reads of the simulator, through stock boto3."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError
from simulator_requests import ACCESS_KEY_ID, SECRET, SESSION_KEY_ID, SESSION_TOKEN

from bedrock_gateway.simulator import Pace, Simulator

OUTPUT = {"s3OutputDataConfig": {"s3Uri": "s3://bucket-of-tests/out"}}


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = datetime.datetime.now(datetime.UTC).timestamp()

    def __call__(self) -> float:
        return self.now


async def test_apply_guardrail(runtime: Any, call: Any) -> None:
    """ApplyGuardrail blocks its word, masks mail addresses, lets the rest pass, and counts units."""

    async def apply(text: str) -> dict[str, Any]:
        answer = await call(
            runtime.apply_guardrail,
            guardrailIdentifier="arn:aws:bedrock:us-east-1:123456789012:guardrail/abc123",
            guardrailVersion="DRAFT",
            source="INPUT",
            content=[{"text": {"text": text}}],
        )
        return dict(answer)

    fine = await apply("x" * 2_001)
    assert ("NONE", []) == (fine["action"], fine["outputs"])
    assert 3 == fine["usage"]["contentPolicyUnits"]
    blocked = await apply("This is Forbidden here")
    assert "GUARDRAIL_INTERVENED" == blocked["action"]
    assert "forbidden" == blocked["assessments"][0]["wordPolicy"]["customWords"][0]["match"]
    masked = await apply("write to a.b@example.org now")
    assert [{"text": "write to {EMAIL} now"}] == masked["outputs"]
    assert 1 == masked["usage"]["sensitiveInformationPolicyUnits"]


async def test_wrong_guardrail(runtime: Any, call: Any) -> None:
    """A guardrail that cannot exist and a request without content are refused."""
    for identifier, content in (("NOT-AN-ID", [{"text": {"text": "x"}}]), ("abc123", [])):
        with pytest.raises(runtime.exceptions.ValidationException):
            await call(
                runtime.apply_guardrail,
                guardrailIdentifier=identifier,
                guardrailVersion="1",
                source="INPUT",
                content=content,
            )


async def test_guardrail_checks(runtime: Any, call: Any) -> None:
    """InvokeGuardrailChecks answers the checks asked for, with offsets and text units."""
    answer = await call(
        runtime.invoke_guardrail_checks,
        messages=[{"role": "user", "content": [{"text": "forbidden: me@example.org"}]}],
        checks={
            "contentFilter": {"categories": [{"category": "HATE"}]},
            "sensitiveInformation": {"entities": [{"type": "EMAIL"}]},
        },
    )
    assert [{"category": "HATE", "severityScore": 0.9}] == answer["results"]["contentFilter"]["results"]
    found = answer["results"]["sensitiveInformation"]["results"][0]
    assert ("EMAIL", 11, 25) == (found["type"], found["beginOffset"], found["endOffset"])
    assert {"contentFilter": {"textUnits": 1}, "sensitiveInformation": {"textUnits": 1}} == answer["usage"]


@pytest.fixture
def clock() -> Clock:
    """Give the clock of this file's simulator."""
    return Clock()


@pytest.fixture
def simulator(clock: Clock) -> Simulator:
    """Give a simulator whose jobs take a minute of that clock."""
    credentials = {ACCESS_KEY_ID: (SECRET, None), SESSION_KEY_ID: (SECRET, SESSION_TOKEN)}
    return Simulator(credentials=credentials, pace=Pace(job_seconds=60), clock=clock)


async def test_async_invoke(runtime: Any, call: Any, clock: Clock) -> None:
    """An invocation is in progress for its time, then completed, and listed in both orders, page by page."""
    arns = []
    for number in range(3):
        started = await call(
            runtime.start_async_invoke,
            modelId="amazon.nova-reel-v1:0",
            modelInput={"taskType": "TEXT_VIDEO", "number": number},
            outputDataConfig=OUTPUT,
        )
        arns.append(started["invocationArn"])
        clock.now += 30
    assert 3 == len(set(arns))
    found = await call(runtime.get_async_invoke, invocationArn=arns[0])
    assert "Completed" == found["status"]
    assert found["modelArn"].endswith("::foundation-model/amazon.nova-reel-v1:0")
    assert OUTPUT == found["outputDataConfig"]
    assert datetime.timedelta(seconds=60) == found["endTime"] - found["submitTime"]
    assert "InProgress" == (await call(runtime.get_async_invoke, invocationArn=arns[2]))["status"]
    listed = await call(runtime.list_async_invokes, statusEquals="Completed", sortOrder="Ascending")
    assert arns[:2] == [item["invocationArn"] for item in listed["asyncInvokeSummaries"]]
    pages = await call(
        lambda: [*runtime.get_paginator("list_async_invokes").paginate(PaginationConfig={"PageSize": 2})]
    )
    assert [arns[2:0:-1], arns[:1]] == [
        [item["invocationArn"] for item in page["asyncInvokeSummaries"]] for page in pages
    ]
    after = await call(runtime.list_async_invokes, submitTimeAfter=found["submitTime"] + datetime.timedelta(seconds=1))
    assert 2 == len(after["asyncInvokeSummaries"])


async def test_async_invoke_tokens(runtime: Any, call: Any) -> None:
    """A client token gives the same invocation again; with another request it is a conflict."""
    asked = {"modelId": "amazon.nova-reel-v1:0", "modelInput": {"a": 1}, "outputDataConfig": OUTPUT}
    first = await call(runtime.start_async_invoke, clientRequestToken="once", **asked)
    again = await call(runtime.start_async_invoke, clientRequestToken="once", **asked)
    assert first["invocationArn"] == again["invocationArn"]
    with pytest.raises(runtime.exceptions.ConflictException):
        await call(runtime.start_async_invoke, clientRequestToken="once", **{**asked, "modelInput": {"a": 2}})


async def test_async_invokes_have_owners(
    base_url: str, runtime: Any, call: Any, make_client: Callable[..., Any]
) -> None:
    """Another account neither sees nor lists an invocation."""
    other = make_client(
        base_url,
        aws_access_key_id=SESSION_KEY_ID,
        aws_secret_access_key=SECRET,
        aws_session_token=SESSION_TOKEN,
    )
    started = await call(
        runtime.start_async_invoke, modelId="amazon.nova-reel-v1:0", modelInput={}, outputDataConfig=OUTPUT
    )
    assert [] == (await call(other.list_async_invokes))["asyncInvokeSummaries"]
    with pytest.raises(other.exceptions.ValidationException):
        await call(other.get_async_invoke, invocationArn=started["invocationArn"])


async def test_foundation_models(base_url: str, call: Any, make_client: Callable[..., Any]) -> None:
    """Models are listed by filter and got by id or ARN, in the region of the signature."""
    control = make_client(base_url, "bedrock")
    everything = (await call(control.list_foundation_models))["modelSummaries"]
    ours = (await call(control.list_foundation_models, byProvider="Anthropic", byOutputModality="TEXT"))[
        "modelSummaries"
    ]
    assert {"Anthropic"} == {model["providerName"] for model in ours}
    assert 0 < len(ours) < len(everything)
    for model in ours:
        for identifier in (model["modelId"], model["modelArn"]):
            got = await call(control.get_foundation_model, modelIdentifier=identifier)
            assert model == got["modelDetails"]
    assert ours[0]["modelArn"].startswith("arn:aws:bedrock:eu-central-1::foundation-model/")
    with pytest.raises(control.exceptions.ResourceNotFoundException):
        await call(control.get_foundation_model, modelIdentifier="anthropic.claude-99")


async def test_inference_profiles(base_url: str, call: Any, make_client: Callable[..., Any]) -> None:
    """Profiles are listed page by page and got by id or ARN."""
    control = make_client(base_url, "bedrock")
    pages = await call(
        lambda: [*control.get_paginator("list_inference_profiles").paginate(PaginationConfig={"PageSize": 4})]
    )
    profiles = [profile for page in pages for profile in page["inferenceProfileSummaries"]]
    assert 1 < len(pages) == -(-len(profiles) // 4)
    assert len(profiles) == len({profile["inferenceProfileId"] for profile in profiles})
    for identifier in (profiles[0]["inferenceProfileId"], profiles[0]["inferenceProfileArn"]):
        got = await call(control.get_inference_profile, inferenceProfileIdentifier=identifier)
        assert profiles[0]["inferenceProfileArn"] == got["inferenceProfileArn"]
    assert [] == (await call(control.list_inference_profiles, typeEquals="APPLICATION"))["inferenceProfileSummaries"]
    with pytest.raises(ClientError) as raised:
        await call(control.get_inference_profile, inferenceProfileIdentifier="us.acme.model")
    assert "ResourceNotFoundException" == raised.value.response["Error"]["Code"]
