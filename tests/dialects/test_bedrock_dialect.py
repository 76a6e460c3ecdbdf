"""The native dialect, as botocore reads it."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
from botocore.eventstream import EventStreamBuffer
from botocore.parsers import RestJSONParser
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_gateway.dialects.bedrock import NativeRelay, error_response, exception_message, max_tokens
from bedrock_gateway.errors import (
    AccessDenied,
    InternalFault,
    InvalidRequest,
    MaybeBilled,
    Refusal,
    RequestTimeout,
    RequestTooLarge,
    Unauthenticated,
    Unavailable,
    UnknownModel,
    UnknownOperation,
)
from bedrock_gateway.upstream.models import load_operations

OPERATIONS = {operation.name: operation for operation in load_operations()}
NOW = 1_795_255_200.9  # 2026-11-21 10:00:00.9 UTC
CALL = "019aa0de-0000-7000-8000-000000000000"


@pytest.mark.parametrize(
    ("refusal", "status", "code", "more"),
    [
        (Unauthenticated("m"), 403, "UnrecognizedClientException", {"x-should-retry": "false"}),
        (
            Unauthenticated("m", error_type="ExpiredTokenException"),
            403,
            "ExpiredTokenException",
            {"x-should-retry": "false"},
        ),
        (
            Unauthenticated("m", error_type="InvalidSignatureException"),
            403,
            "InvalidSignatureException",
            {"x-should-retry": "false", "date": "Sat, 21 Nov 2026 10:00:00 GMT"},
        ),
        (AccessDenied("m"), 403, "AccessDeniedException", {"x-should-retry": "false"}),
        (UnknownModel("m"), 404, "ResourceNotFoundException", {"x-should-retry": "false"}),
        (UnknownOperation("m"), 404, "UnknownOperationException", {"x-should-retry": "false"}),
        (InvalidRequest("m"), 400, "ValidationException", {"x-should-retry": "false"}),
        (RequestTooLarge("m"), 413, "ValidationException", {"x-should-retry": "false"}),
        (RequestTimeout("m"), 408, "RequestTimeoutException", {"x-should-retry": "false"}),
        (MaybeBilled("m"), 424, "ModelErrorException", {"x-should-retry": "false"}),
        (InternalFault("m"), 500, "InternalServerException", {"x-should-retry": "false"}),
        (Unavailable("m"), 503, "ServiceUnavailableException", {}),
        (Unavailable("m", retry_after=7), 503, "ServiceUnavailableException", {"retry-after": "7"}),
        (Unavailable("m", retry_after=-1), 503, "ServiceUnavailableException", {"retry-after": "0"}),
    ],
)
def test_error_response(refusal: Refusal, status: int, code: str, more: dict[str, str]) -> None:
    """Each refusal has its status, its type and exactly the headers that go with it."""
    assert (
        status,
        [
            ("content-type", "application/json"),
            ("x-amzn-errortype", code),
            ("x-amzn-requestid", CALL),
            ("x-bedrock-gateway-call-id", CALL),
            *more.items(),
        ],
        b'{"message": "m"}',
    ) == error_response(refusal, CALL, NOW)


@settings(deadline=None, max_examples=100)
@given(message=st.text(max_size=60))
def test_error_as_botocore_reads_it(message: str) -> None:
    """Botocore finds code, message and request id, whatever the message holds."""
    status, headers, body = error_response(AccessDenied(message), CALL, NOW)
    seen: dict[str, Any] = RestJSONParser().parse(  # type: ignore[no-untyped-call]
        {"status_code": status, "headers": dict(headers), "body": body}, None
    )
    assert ("AccessDeniedException", CALL) == (seen["Error"]["Code"], seen["ResponseMetadata"]["RequestId"])
    assert message == seen["Error"]["Message"] == json.loads(body)["message"]


@pytest.mark.parametrize(
    ("operation", "refusal", "expected"),
    [
        ("ConverseStream", MaybeBilled("m"), "modelStreamErrorException"),
        ("ConverseStream", Unavailable("m"), "serviceUnavailableException"),
        ("ConverseStream", InternalFault("m"), "internalServerException"),
        ("ConverseStream", InvalidRequest("m"), "validationException"),
        ("ConverseStream", AccessDenied("m"), "validationException"),
        ("ConverseStream", RequestTimeout("m"), "modelStreamErrorException"),
        ("ConverseStream", Refusal("m", error_type="ThrottlingException"), "throttlingException"),
        ("InvokeModelWithResponseStream", RequestTimeout("m"), "modelTimeoutException"),
        ("InvokeModelWithResponseStream", MaybeBilled("m"), "modelStreamErrorException"),
    ],
)
def test_exception_message(operation: str, refusal: Refusal, expected: str) -> None:
    """A refusal inside a stream is a message botocore accepts, of a type modelled for the operation."""
    buffer = EventStreamBuffer()  # type: ignore[no-untyped-call]
    buffer.add_data(exception_message(OPERATIONS[operation], refusal))  # type: ignore[no-untyped-call]
    (seen,) = list(buffer)
    assert ("exception", expected) == (seen.headers[":message-type"], seen.headers[":exception-type"])
    assert expected in OPERATIONS[operation].exceptions
    assert {"message": "m"} == json.loads(seen.payload)


def test_exception_message_of_a_strange_model() -> None:
    """Where nothing fits, the first exception that is modelled is taken."""
    operation = attrs.evolve(OPERATIONS["ConverseStream"], exceptions=("oddException",))
    assert b"oddException" in exception_message(operation, MaybeBilled("m"))


def test_exception_message_without_a_stream() -> None:
    """An operation that answers no stream has no exception messages."""
    with pytest.raises(ValueError, match="Converse answers no event stream"):
        exception_message(OPERATIONS["Converse"], MaybeBilled("m"))


def test_relay() -> None:
    """The native relay hands on the very objects it is given, and adds nothing at the end."""
    relay, body, data = NativeRelay(), bytearray(b'{"a": 1}'), b"\x00\xff"
    assert body is relay.request(body)
    assert data is relay.receive_data(data)
    assert b"" == relay.receive_eof()


CLAUDE, NOVA = "us.anthropic.claude-sonnet-4-v1:0", "amazon.nova-lite-v1:0"


@pytest.mark.parametrize(
    ("operation", "model_id", "body", "expected"),
    [
        ("Converse", "anything", {"inferenceConfig": {"maxTokens": 5}}, 5),
        ("ConverseStream", "anything", {"inferenceConfig": {"maxTokens": 5}}, 5),
        ("Converse", "anything", {"messages": []}, None),
        ("Converse", "anything", {"inferenceConfig": None}, None),
        # A parameter that is none of the model's limits nothing, so it may raise the bound and not set it.
        ("Converse", "anything", {"additionalModelRequestFields": {"max_tokens": 9}}, None),
        (
            "Converse",
            "anything",
            {"inferenceConfig": {"maxTokens": 5}, "additionalModelRequestFields": {"num_generations": 3}},
            15,
        ),
        (
            "Converse",
            "anything",
            {"inferenceConfig": {"maxTokens": 5}, "additionalModelRequestFields": {"max_gen_len": 9}},
            9,
        ),
        (
            "Converse",
            "anything",
            {"inferenceConfig": {"maxTokens": 5}, "additionalModelRequestFields": {"max_tokens": "9"}},
            None,
        ),
        ("Converse", "anything", {"max_tokens": 5}, None),
        ("Converse", "anything", [], None),
        ("Converse", "anything", None, None),
        ("InvokeModel", CLAUDE, {"max_tokens": 5}, 5),
        ("InvokeModelWithResponseStream", CLAUDE, {"max_tokens": 5}, 5),
        ("InvokeModel", "anthropic.claude-v2:1", {"max_tokens_to_sample": 6}, 6),
        ("InvokeModel", CLAUDE, {"max_tokens": 5.0}, None),
        ("InvokeModel", CLAUDE, {"max_tokens": True}, None),
        ("InvokeModel", CLAUDE, {"max_tokens": 0}, None),
        ("InvokeModel", CLAUDE, {"max_tokens": -5}, None),
        ("InvokeModel", CLAUDE, {"max_gen_len": 5}, None),
        ("InvokeModel", NOVA, {"inferenceConfig": {"maxTokens": 5}}, 5),
        ("InvokeModel", "us.amazon.nova-pro-v1:0", {"inferenceConfig": {"max_new_tokens": 5}}, 5),
        (
            "InvokeModel",
            "global.amazon.nova-2-lite-v1:0",
            {"inferenceConfig": {"maxTokens": 3, "max_new_tokens": 5}},
            5,
        ),
        ("InvokeModel", "amazon.titan-text-express-v1", {"textGenerationConfig": {"maxTokenCount": 5}}, 5),
        ("InvokeModel", "amazon.titan-embed-text-v2:0", {"inputText": "x"}, None),
        ("InvokeModel", "amazon.rerank-v1:0", {"max_tokens": 5}, None),
        ("InvokeModel", "amazon", {"max_tokens": 5}, None),
        ("InvokeModel", "us.meta.llama3-3-70b-instruct-v1:0", {"max_gen_len": 5}, 5),
        ("InvokeModel", "meta.llama3-8b-instruct-v1:0", {"max_tokens": 5}, None),
        ("InvokeModel", "mistral.mistral-large-2407-v1:0", {"max_tokens": 5}, 5),
        ("InvokeModel", "cohere.command-r-v1:0", {"max_tokens": 5}, 5),
        ("InvokeModel", "cohere.command-text-v14", {"max_tokens": 5, "num_generations": 3}, 15),
        ("InvokeModel", "cohere.command-text-v14", {"max_tokens": 5, "num_generations": "3"}, None),
        ("InvokeModel", "ai21.jamba-1-5-large-v1:0", {"max_tokens": 5, "n": 2}, 10),
        ("InvokeModel", "ai21.j2-ultra-v1", {"maxTokens": 5}, 5),
        ("InvokeModel", "ai21.j2-ultra-v1", {"maxTokens": 5, "numResults": 2}, 10),
        ("InvokeModel", "ai21.jamba-1-5-large-v1:0", {"maxTokens": 5}, None),
        ("InvokeModel", "ai21", {"max_tokens": 5}, None),
        ("InvokeModel", "us.deepseek.r1-v1:0", {"max_tokens": 5}, 5),
        ("InvokeModel", "us.writer.palmyra-x5-v1:0", {"max_tokens": 5}, 5),
        ("InvokeModel", "openai.gpt-oss-120b-1:0", {"max_completion_tokens": 7, "max_tokens": 5, "n": 1}, 7),
        ("InvokeModel", "qwen.qwen3-32b-v1:0", {"max_tokens": 5}, 5),
        ("InvokeModel", "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-v2", {"max_tokens": 5}, 5),
        (
            "InvokeModel",
            "arn:aws:bedrock:us-east-1:1:inference-profile/us-gov.anthropic.claude-v2",
            {"max_tokens": 5},
            5,
        ),
        ("InvokeModel", "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc", {"max_tokens": 5}, None),
        ("InvokeModel", "claude", {"max_tokens": 5}, None),
        ("InvokeModel", "", {"max_tokens": 5}, None),
        ("CountTokens", CLAUDE, {"max_tokens": 5}, None),
        ("ApplyGuardrail", "", {"inferenceConfig": {"maxTokens": 5}}, None),
    ],
)
def test_max_tokens(operation: str, model_id: str, body: object, expected: int | None) -> None:
    """The maximum is read where the family has it; anything that cannot be a bound is None."""
    assert expected == max_tokens(OPERATIONS[operation], model_id, body)


@settings(deadline=None, max_examples=200)
@given(
    operation=st.sampled_from(sorted(OPERATIONS)),
    model_id=st.sampled_from([CLAUDE, NOVA, "meta.x", "cohere.x"]) | st.text(max_size=10),
    body=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(
                st.sampled_from(["inferenceConfig", "maxTokens", "max_tokens", "n", "additionalModelRequestFields"]),
                inner,
            )
        ),
    ),
)
def test_max_tokens_of_anything(operation: str, model_id: str, body: object) -> None:
    """No body of any shape is a fault, and what comes out is a positive number of tokens or None."""
    most = max_tokens(OPERATIONS[operation], model_id, body)
    assert most is None or (type(most) is int and most >= 1)
