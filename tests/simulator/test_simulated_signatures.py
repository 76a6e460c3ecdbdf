"""Signatures and API keys: what is right passes, whatever is wrong is refused in AWS's words."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from simulator_requests import (
    ACCESS_KEY_ID,
    API_KEY,
    NOVA,
    SECRET,
    SESSION_KEY_ID,
    SESSION_TOKEN,
    converse_body,
    exactly,
    signed_headers,
    user,
)

from bedrock_gateway.simulator import Simulator

BODY = converse_body("hi")
PATH = f"/model/{NOVA.replace(':', '%3A')}/converse"
NOW = datetime.datetime.now(datetime.UTC)
Change = Callable[[dict[str, str]], None]


async def post(url: str, headers: dict[str, str], body: bytes = BODY) -> tuple[int, str, dict[str, Any]]:
    """Send a request as it is; give status, error type and body."""
    async with aiohttp.ClientSession() as http:
        async with http.post(exactly(url), data=body, headers=headers) as answer:
            told = await answer.json()
    return answer.status, answer.headers.get("x-amzn-errortype", ""), told


def edit(name: str, old: str, new: str) -> Change:
    """Make a change of one header."""

    def change(headers: dict[str, str]) -> None:
        assert old in headers[name]
        headers[name] = headers[name].replace(old, new, 1)

    return change


@pytest.mark.parametrize(
    ("signing", "change", "error_type", "message"),
    [
        ({"secret": "wrong"}, None, "InvalidSignatureException", "The request signature we calculated does not match"),
        (
            {"access_key_id": "AKIANOBODY"},
            None,
            "UnrecognizedClientException",
            "security token included in the request",
        ),
        ({"service": "s3"}, None, "InvalidSignatureException", "correct service: 'bedrock'"),
        ({"region": "nowhere"}, None, "InvalidSignatureException", "valid region"),
        ({"when": NOW - datetime.timedelta(hours=1)}, None, "InvalidSignatureException", "Signature expired"),
        ({"when": NOW + datetime.timedelta(hours=1)}, None, "InvalidSignatureException", "Signature not yet current"),
        ({"token": "unasked"}, None, "UnrecognizedClientException", "security token"),
        ({"access_key_id": SESSION_KEY_ID}, None, "UnrecognizedClientException", "security token"),
        ({"access_key_id": SESSION_KEY_ID, "token": "wrong"}, None, "UnrecognizedClientException", "security token"),
        ({}, edit("Authorization", "Signature=", "Signature=0"), "InvalidSignatureException", "does not match"),
        ({}, edit("Authorization", "host;", ""), "InvalidSignatureException", "does not match"),
        (
            {},
            edit("Authorization", "SignedHeaders=", "SignedHeaders=nonsense;"),
            "InvalidSignatureException",
            "does not match",
        ),
        ({}, edit("Authorization", "Signature=", "Sig="), "IncompleteSignatureException", "'Signature'"),
        ({}, edit("Authorization", "/aws4_request", ""), "IncompleteSignatureException", "5 slash-separated"),
        ({}, edit("Authorization", "AWS4-HMAC-SHA256", "Basic"), "MissingAuthenticationTokenException", "Missing"),
        ({}, edit("content-type", "json", "jsonx"), "InvalidSignatureException", "does not match"),
        ({}, lambda headers: headers.pop("Authorization"), "MissingAuthenticationTokenException", "Missing"),
        ({}, lambda headers: headers.pop("X-Amz-Date"), "IncompleteSignatureException", "X-Amz-Date"),
        ({}, edit("X-Amz-Date", "T", "X"), "IncompleteSignatureException", "basic format"),
        (
            {"headers": {"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"}},
            None,
            "InvalidSignatureException",
            "x-amz-content-sha256",
        ),
    ],
)
async def test_wrong_signatures(
    base_url: str, simulator: Simulator, signing: dict[str, Any], change: Change | None, error_type: str, message: str
) -> None:
    """Each way to be wrong is a 403 of its own, and the log says so."""
    headers = signed_headers(base_url + PATH, BODY, **signing)
    if change is not None:
        change(headers)
    status, told_type, told = await post(base_url + PATH, headers)
    assert (403, error_type) == (status, told_type)
    assert message in told["message"]
    assert error_type == simulator.received[-1].refused
    assert simulator.received[-1].access_key_id is None


async def test_scope_date_must_be_the_date(base_url: str) -> None:
    """A credential scope of another day is refused."""
    headers = signed_headers(base_url + PATH, BODY)
    day = headers["X-Amz-Date"][:8]
    headers["Authorization"] = headers["Authorization"].replace(f"/{day}/", "/20200101/")
    status, error_type, told = await post(base_url + PATH, headers)
    assert (403, "InvalidSignatureException") == (status, error_type)
    assert "Date in Credential scope" in told["message"]


@pytest.mark.parametrize("changed", ["body", "path", "query", "host"])
async def test_what_is_signed_cannot_be_changed(base_url: str, changed: str) -> None:
    """Another body, path, query or host than signed is refused."""
    headers = signed_headers(base_url + PATH, BODY)
    url, body = base_url + PATH, BODY
    if changed == "body":
        body = BODY + b" "
    elif changed == "path":
        url = base_url + PATH.replace("%3A", ":")
    elif changed == "query":
        url += "?a=b"
    else:
        headers["Host"] = "elsewhere"
    status, error_type, _ = await post(url, headers, body)
    assert (403, "InvalidSignatureException") == (status, error_type)


@pytest.mark.parametrize(
    "label",
    [
        "amazon.nova-lite-v1:0",
        "amazon.nova-lite-v1%3A0",
        "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Aprovisioned-model%2Fabc",
        "arn:aws:bedrock:us-east-1:123456789012:provisioned-model%2Fabc",
    ],
)
async def test_right_signatures(base_url: str, label: str) -> None:
    """Every spelling of a model id that is signed as sent passes, with a session token, a query and odd spaces too."""
    url = f"{base_url}/model/{label}/converse?b=2&a=1&a=0"
    headers = signed_headers(
        url,
        BODY,
        access_key_id=SESSION_KEY_ID,
        token=SESSION_TOKEN,
        headers={"x-amzn-bedrock-trace": "a   b", "accept": "*/*"},
    )
    status, _, told = await post(url, headers)
    assert 200 == status, told


async def test_session_credentials_of_boto3(base_url: str, make_client: Callable[..., Any], call: Any) -> None:
    """boto3 with temporary credentials passes."""
    client = make_client(
        base_url,
        aws_access_key_id=SESSION_KEY_ID,
        aws_secret_access_key=SECRET,
        aws_session_token=SESSION_TOKEN,
    )
    answer = await call(client.converse, modelId=NOVA, messages=user("hi"))
    assert "end_turn" == answer["stopReason"]


async def test_wrong_secret_as_boto3_sees_it(base_url: str, make_client: Callable[..., Any], call: Any) -> None:
    """boto3 reports the code AWS would give."""
    client = make_client(base_url, aws_access_key_id=ACCESS_KEY_ID, aws_secret_access_key="wrong")
    with pytest.raises(client.exceptions.ClientError) as raised:
        await call(client.converse, modelId=NOVA, messages=user("hi"))
    assert "InvalidSignatureException" == raised.value.response["Error"]["Code"]
    assert 403 == raised.value.response["ResponseMetadata"]["HTTPStatusCode"]


async def test_api_keys(base_url: str) -> None:
    """A known API key passes; an unknown one is refused with AWS's capital M."""
    headers = {"content-type": "application/json"}
    status, _, _ = await post(base_url + PATH, {**headers, "Authorization": f"Bearer {API_KEY}"})
    assert 200 == status
    status, _, told = await post(base_url + PATH, {**headers, "Authorization": "Bearer guess"})
    assert (403, {"Message": "Authentication failed: Please make sure your API Key is valid."}) == (status, told)


async def test_signatures_may_be_waived() -> None:
    """With ``require_signature=False`` anything passes, and the claimed key id is believed for faults."""
    simulator = Simulator(require_signature=False)
    async with simulator.serve() as base_url:
        status, _, _ = await post(base_url + PATH, {})
        assert 200 == status
        headers = signed_headers(base_url + PATH, BODY, access_key_id="AKIANOBODY", secret="any")
        status, _, _ = await post(base_url + PATH, headers)
        assert 200 == status
    assert [None, "AKIANOBODY"] == [record.access_key_id for record in simulator.received]


async def test_skew_follows_the_given_clock() -> None:
    """The simulator's clock, not the machine's, decides what is expired."""
    then = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)
    simulator = Simulator(credentials={ACCESS_KEY_ID: (SECRET, None)}, clock=then.timestamp)
    async with simulator.serve() as base_url:
        url = base_url + PATH
        for minutes, expected in ((0, 200), (-5, 200), (5, 200), (-6, 403), (6, 403)):
            when = then + datetime.timedelta(minutes=minutes)
            status, _, _ = await post(url, signed_headers(url, BODY, when=when))
            assert expected == status, minutes
