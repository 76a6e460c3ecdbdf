"""Signatures of real clients: boto3's as it would send them, and recorded ones of the newest boto3, Anthropic's clients
and the JavaScript SDK.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import boto3
import pytest
from botocore.awsrequest import AWSPreparedRequest
from signed_requests import CREDENTIALS, EPOCH, HOST, KEY_ID, ROOT, SERVICES, Request, judged, ms, recorded, refusal

from bedrock_gateway.access.issued_credentials import issue
from bedrock_gateway.access.signatures import Verifier

FILES = ("js_signed_requests.json", "python_signed_requests.json")
MODELS = (
    "us.anthropic.claude-sonnet-4-20250514-v1:0",
    "arn:aws:bedrock:us-west-2:123456789012:application-inference-profile/abc123",
)
MESSAGES = [{"role": "user", "content": [{"text": "hé"}]}]
#: What boto3 sends goes nowhere: nothing listens on port 1.
ENDPOINT = "http://127.0.0.1:1/bedrock"


class Stopped(Exception):
    """A request was complete."""


@pytest.fixture(autouse=True)
def _no_credentials_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_BEARER_TOKEN_BEDROCK", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)


def complete(call: Callable[[Any], object], service: str = "bedrock-runtime", **credentials: Any) -> Request:
    """Return what an unmodified boto3 would put on the wire for a call."""
    sent: list[Request] = []

    def before_send(request: AWSPreparedRequest, **_: object) -> None:
        headers = [
            (name, value.decode("ascii") if isinstance(value, bytes) else value)
            for name, value in request.headers.items()
        ]
        body = request.body or b""
        sent.append(
            Request(
                method=request.method,
                target="/" + request.url.split("/", 3)[3],
                # http.client adds Host where there is none, as it stands in the URL.
                headers=(("Host", "127.0.0.1:1"), *headers),
                body=body if isinstance(body, bytes) else body.encode(),
            )
        )
        raise Stopped

    given = {"aws_access_key_id": CREDENTIALS.access_key_id, "aws_secret_access_key": CREDENTIALS.secret_access_key}
    session = boto3.Session(region_name="us-east-1", **(given | credentials))
    client = session.client(service, endpoint_url=ENDPOINT)
    client.meta.events.register("before-send", before_send)
    with pytest.raises(Stopped):
        call(client)
    return sent[0]


def calls() -> Iterator[tuple[str, str, Callable[[Any], object]]]:
    """Yield a name, a service and a call of each kind."""
    for model in MODELS:
        yield f"Converse {model}", "bedrock-runtime", lambda at, m=model: at.converse(modelId=m, messages=MESSAGES)
        yield (
            f"ConverseStream {model}",
            "bedrock-runtime",
            lambda at, m=model: at.converse_stream(modelId=m, messages=MESSAGES),
        )
        yield f"InvokeModel {model}", "bedrock-runtime", lambda at, m=model: at.invoke_model(modelId=m, body=b"{}")
        yield (
            f"InvokeModelWithResponseStream {model}",
            "bedrock-runtime",
            lambda at, m=model: at.invoke_model_with_response_stream(
                modelId=m, body=b"{}", trace="ENABLED", guardrailIdentifier="abc", guardrailVersion="1"
            ),
        )
    yield "ListAsyncInvokes", "bedrock-runtime", lambda at: at.list_async_invokes(nextToken="a b/c+d=", maxResults=5)
    yield "ListFoundationModels", "bedrock", lambda at: at.list_foundation_models(byProvider="a&b/c")
    yield (
        "ListEvents",
        "bedrock-agentcore",
        lambda at: at.list_events(memoryId="memory-0123456789", sessionId="s", actorId="a/b"),
    )
    yield (
        "Retrieve",
        "bedrock-agent-runtime",
        lambda at: at.retrieve(knowledgeBaseId="ABCDEFGHIJ", retrievalQuery={"text": "x"}),
    )


@pytest.mark.parametrize(("service", "call"), [pytest.param(*rest, id=name) for name, *rest in calls()])
def test_boto3_is_accepted(service: str, call: Callable[[Any], object]) -> None:
    """Whatever an unmodified boto3 signs with issued credentials is accepted, and refused with another body."""
    request = complete(call, service)
    now_ms = ms(request.header("x-amz-date"))
    claim = judged(Verifier(ROOT, services=SERVICES), request, now_ms=now_ms)

    assert claim is not None
    assert KEY_ID == claim.key_id
    assert "x-amz-content-sha256" not in request.signed_headers
    assert refusal(attrs.evolve(request, body=request.body + b" "), now_ms=now_ms) is not None


@pytest.mark.parametrize("model", MODELS)
def test_boto3_signs_the_path_as_it_sends_it(model: str) -> None:
    """Path and prefix are signed in the spelling that arrives: decoded, or without its prefix, a path is refused."""
    request = complete(lambda client: client.converse(modelId=model, messages=MESSAGES))
    now_ms = ms(request.header("x-amz-date"))

    assert "%3A" in request.target
    for target in (request.target.replace("%3A", ":"), request.target.removeprefix("/bedrock")):
        assert refusal(attrs.evolve(request, target=target), now_ms=now_ms) is not None


@pytest.mark.parametrize("token", ["", None, "a/token+of=the environment"])
def test_boto3_with_a_session_token(token: str | None) -> None:
    """An empty session token is not sent, any other is sent and signed; both are fine."""
    request = complete(lambda client: client.invoke_model(modelId="m", body=b""), aws_session_token=token)

    assert bool(token) == ("x-amz-security-token" in request.signed_headers)
    assert refusal(request, now_ms=ms(request.header("x-amz-date"))) is None


def test_boto3_with_short_lived_credentials() -> None:
    """Short-lived credentials sign as all others do."""
    issued = issue(ROOT, KEY_ID, EPOCH, expires_at_ms=4_000_000_000_000)
    request = complete(
        lambda client: client.invoke_model(modelId="m", body=b"{}"),
        aws_access_key_id=issued.access_key_id,
        aws_secret_access_key=issued.secret_access_key,
    )

    assert refusal(request, now_ms=ms(request.header("x-amz-date"))) is None


@pytest.mark.parametrize("name", FILES)
def test_recorded_requests_are_accepted(name: str) -> None:
    """Every recorded request is accepted, and with another body, path or host refused."""
    wrong = []
    for source, request in recorded(name):
        now_ms = ms(request.header("x-amz-date"))
        tampered = [
            attrs.evolve(request, body=request.body + b" "),
            attrs.evolve(request, target="/z" + request.target),
            request.with_header("host", "127.0.0.1:4001"),
            request.without_header("host"),
        ]
        if refusal(request, now_ms=now_ms) is not None or None in [refusal(one, now_ms=now_ms) for one in tampered]:
            wrong.append((source, request))

    assert [] == wrong


def test_what_is_recorded() -> None:
    """The recorded requests are of every client, some of them over HTTP/2, some with two slashes in front."""
    requests = [(source.split()[0], request) for name in FILES for source, request in recorded(name)]
    sources = Counter(source for source, _ in requests)
    aws_sdk = [request for source, request in requests if source == "aws-sdk"]

    assert 250 < len(requests)
    assert {"signer", "aws-sdk", "@anthropic-ai/bedrock-sdk", "@ai-sdk/amazon-bedrock", "boto3", "anthropic"} == {
        *sources
    }
    assert any(":authority" in request.signed_headers for request in aws_sdk)
    assert any(request.target.startswith("/bedrock//model/") for request in aws_sdk)
    assert {HOST} == {request.header("host") for source, request in requests if source != "signer"}


def test_every_signed_header_of_recorded_requests_is_held_to() -> None:
    """Each header that a real client signs cannot be changed, removed or doubled."""
    accepted = []
    for source, request in [*[*recorded(FILES[0])][-30:], *recorded(FILES[1])]:
        now_ms = ms(request.header("x-amz-date"))
        for name in request.signed_headers:
            name = "host" if name == ":authority" else name
            value = request.header(name)
            tampered = [
                request.with_header(name, f"{value}0"),
                request.without_header(name),
                request.and_header(name, value),
            ]
            accepted += [(source, name, one) for one in tampered if refusal(one, now_ms=now_ms) is None]

    assert [] == accepted
