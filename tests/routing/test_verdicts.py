"""The retry table, row by row, as statuses, as first messages of a stream and as what never arrived."""

from __future__ import annotations

import json

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_gateway.errors import InvalidRequest, MaybeBilled, Refusal, Unavailable, UnknownOperation
from bedrock_gateway.routing import verdicts
from bedrock_gateway.routing.rules import RetryPolicy
from bedrock_gateway.routing.verdicts import (
    Cools,
    Retry,
    Verdict,
    classify,
    classify_exception,
    error_of,
    normal_type,
    of_fault,
    retry_after,
    unknown_operation,
)

ON_DEMAND = (
    "Invocation of model ID anthropic.claude-x-v1:0 with on-demand throughput isn\u2019t supported. "
    "Retry your request with the ID or ARN of an inference profile that contains this model."
)
INVALID_ID = "The provided model identifier is invalid."
TOO_LONG = (
    "Input is too long for requested model.",
    "The model returned the following errors: Input is too long for requested model.",
    "prompt is too long: 210000 tokens > 200000 maximum",
    "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
    "This request exceeds the model's maximum context length.",
    "This model's maximum context length is 8192 tokens. Please reduce the length of the prompt.",
    "Too many input tokens. Max input tokens: 8192, request input token count: 9000",
    "Input Tokens Exceeded: Number of input tokens exceeds maximum length.",
    "400 Bad Request: Too many total text bytes",
)
_DENIED = "User: arn:aws:sts::111122223333:assumed-role/gateway/i is not authorized to perform: %s on resource: %s"
#: What is denied or missing besides the model, as AWS says it.
OF_OTHERS = (
    _DENIED % ("bedrock:ApplyGuardrail", "arn:aws:bedrock:us-east-1:999999999999:guardrail/abc"),
    _DENIED % ("bedrock:RenderPrompt", "arn:aws:bedrock:us-east-1:999999999999:prompt/ABCDEFGHIJ:1"),
    _DENIED % ("s3:GetObject", "arn:aws:s3:::somebodys-bucket/document.pdf"),
    _DENIED % ("kms:Decrypt", "arn:aws:kms:us-east-1:999999999999:key/0"),
    "Access to the guardrail abc is denied.",
    "S3 location s3://somebodys-bucket/video.mp4 cannot be read.",
)
#: The same of the model itself, also where a name in it, or the caller, is called after something else.
OF_THE_MODEL = (
    *(
        _DENIED % (action, "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-x-v1:0")
        for action in (
            "bedrock:InvokeModel",
            "bedrock:InvokeModelWithResponseStream",
            "bedrock:Converse",
            "bedrock:CountTokens",
            "bedrock:CallWithBearerToken",
            "aws-marketplace:Subscribe",
        )
    ),
    (_DENIED % ("bedrock:InvokeModel", "anthropic.claude-x-v1:0")).replace("role/gateway", "role/guardrail-prompt"),
    "You don't have access to the model with the specified model ID.",
    "Model access is denied due to IAM user or service role is not authorized to perform the required AWS Marketplace "
    "actions (aws-marketplace:ViewSubscriptions, aws-marketplace:Subscribe) to enable access to this model.",
    "The model is not found.",
    "",
)
NOT_CACHED = (
    "You invoked an unsupported model or your request did not allow prompt caching. See the documentation for more "
    "information."
)
NOT_TOO_LONG = (
    "max_tokens: 9000 is more than 4096, the most this model answers with",
    "messages: roles must alternate",
    "The text field is too long.",
)


@pytest.mark.parametrize(
    ("verdict", "kind", "retry", "same_again", "cools", "charged", "flagged", "refusal"),
    [
        (verdicts.THROTTLED, "rate_limit", Retry.NEXT, True, Cools.DEPLOYMENT, False, False, None),
        (verdicts.UNAVAILABLE, "unavailable", Retry.NEXT, True, Cools.DEPLOYMENT, False, False, None),
        (verdicts.UNREACHED, "unavailable", Retry.NEXT, True, Cools.DEPLOYMENT, False, False, Unavailable),
        (verdicts.INTERNAL, "internal", Retry.NEXT_ONCE, False, Cools.DEPLOYMENT, False, True, None),
        (verdicts.DENIED, "credentials", Retry.NEXT, False, Cools.MODEL, False, False, Unavailable),
        (verdicts.DENIED_OTHER, "credentials", Retry.NEXT, False, Cools.NO, False, False, Unavailable),
        (verdicts.NOT_FOUND_OTHER, "not_found", Retry.NEXT, False, Cools.NO, False, False, None),
        (verdicts.UNAUTHENTICATED, "credentials", Retry.NEXT, False, Cools.AT_ONCE, False, False, Unavailable),
        (verdicts.EXPIRED, "credentials", Retry.NEXT, False, Cools.AT_ONCE, False, False, Unavailable),
        (verdicts.NO_CREDENTIALS, "credentials", Retry.NEXT, False, Cools.AT_ONCE, False, False, Unavailable),
        (verdicts.NO_PLACE, "default", Retry.NEXT, False, Cools.NO, False, False, InvalidRequest),
        (verdicts.NOT_CACHED, "not_found", Retry.NEXT, False, Cools.NO, False, False, None),
        (verdicts.NOT_FOUND, "not_found", Retry.NEXT, False, Cools.MODEL, False, False, None),
        (verdicts.NOT_OFFERED, "not_found", Retry.NEXT, False, Cools.MODEL, False, False, None),
        (verdicts.UNKNOWN_OPERATION, "not_found", Retry.NEXT, False, Cools.MODEL, False, False, UnknownOperation),
        (verdicts.REFUSED, "default", Retry.NEVER, False, Cools.NO, False, False, None),
        (verdicts.TOO_LONG, "default", Retry.NEVER, False, Cools.NO, False, False, None),
        (verdicts.LOST, "default", Retry.NEVER, False, Cools.DEPLOYMENT, True, False, MaybeBilled),
        (verdicts.CUT, "default", Retry.NEVER, False, Cools.DEPLOYMENT, True, False, MaybeBilled),
        (verdicts.SILENT, "default", Retry.NEVER, False, Cools.DEPLOYMENT, True, False, MaybeBilled),
        (verdicts.UNREADABLE, "default", Retry.NEVER, False, Cools.DEPLOYMENT, True, False, MaybeBilled),
    ],
)
def test_rows(
    verdict: Verdict,
    kind: str,
    retry: Retry,
    same_again: bool,
    cools: Cools,
    charged: bool,
    flagged: bool,
    refusal: type[Refusal] | None,
) -> None:
    """Each row of the table says what the design says."""
    assert (kind, retry, same_again, cools) == (verdict.kind, verdict.retry, verdict.same_again, verdict.cools)
    assert (charged, flagged, refusal) == (verdict.charged, verdict.flagged, verdict.refusal)
    assert (refusal is None) == verdict.relay


def test_every_kind_is_one_an_operator_can_rule() -> None:
    """A verdict's kind is a member of the retry policy, and what is never repeated has none of its own."""
    found = [value for value in vars(verdicts).values() if isinstance(value, Verdict)]

    assert {field.name for field in attrs.fields(RetryPolicy)} - {"most"} == {verdict.kind for verdict in found}
    assert {"default"} == {verdict.kind for verdict in found if verdict.retry is Retry.NEVER}
    assert len(found) == len({verdict.name for verdict in found})


@pytest.mark.parametrize(
    ("status", "error_type", "message", "expected"),
    [
        (429, "ThrottlingException", "", verdicts.THROTTLED),
        (429, "ThrottlingException:http://internal.amazon.com/coral/com.amazon.bedrock/", "", verdicts.THROTTLED),
        (400, "ThrottlingException", "", verdicts.THROTTLED),
        (403, "ThrottlingException", "", verdicts.THROTTLED),
        (429, None, "", verdicts.THROTTLED),
        (429, "SomethingNew", "", verdicts.THROTTLED),
        (429, "ModelNotReadyException", "", verdicts.THROTTLED),
        (424, "ModelNotReadyException", "", verdicts.THROTTLED),
        (503, "ServiceUnavailableException", "", verdicts.UNAVAILABLE),
        (503, "ServiceUnavailable", "", verdicts.UNAVAILABLE),
        (503, "SomethingNew", "", verdicts.UNAVAILABLE),
        (503, None, "", verdicts.UNAVAILABLE),
        (500, "InternalServerException", "", verdicts.INTERNAL),
        (500, None, "", verdicts.INTERNAL),
        (529, "", "", verdicts.INTERNAL),
        (502, None, "", verdicts.LOST),
        (504, None, "", verdicts.LOST),
        (403, "AccessDeniedException", "You don't have access to the model.", verdicts.DENIED),
        (403, None, "", verdicts.DENIED),
        (403, "SomethingNew", "", verdicts.DENIED),
        (403, "ValidationException", "", verdicts.DENIED),
        (403, None, "Authentication failed: Please make sure your API Key is valid.", verdicts.UNAUTHENTICATED),
        (403, "AccessDeniedException", "Authentication failed: Please make sure", verdicts.UNAUTHENTICATED),
        (403, "UnrecognizedClientException", "", verdicts.UNAUTHENTICATED),
        (403, "InvalidSignatureException", "", verdicts.UNAUTHENTICATED),
        (403, "MissingAuthenticationTokenException", "", verdicts.UNAUTHENTICATED),
        (401, None, "", verdicts.UNAUTHENTICATED),
        (403, "ExpiredTokenException", "", verdicts.EXPIRED),
        (404, "ResourceNotFoundException", "", verdicts.NOT_FOUND),
        (404, None, "", verdicts.NOT_FOUND),
        (404, "UnknownOperationException", "", verdicts.UNKNOWN_OPERATION),
        (200, "com.amazon.coral.service#UnknownOperationException", "", verdicts.UNKNOWN_OPERATION),
        (400, "ValidationException", ON_DEMAND, verdicts.NOT_OFFERED),
        (400, "ValidationException", ON_DEMAND.replace("\u2019", "'"), verdicts.NOT_OFFERED),
        (400, "ValidationException", "on-demand throughput isn't supported", verdicts.NOT_OFFERED),
        (400, "ValidationException", INVALID_ID, verdicts.NOT_OFFERED),
        (400, "ValidationException", f"messages.0 is wrong: {INVALID_ID}", verdicts.REFUSED),
        (400, "ValidationException", "", verdicts.REFUSED),
        *((400, "ValidationException", message, verdicts.TOO_LONG) for message in TOO_LONG),
        *((400, "ValidationException", message, verdicts.REFUSED) for message in NOT_TOO_LONG),
        (400, "ValidationException", f"{INVALID_ID} {TOO_LONG[0]}", verdicts.NOT_OFFERED),
        (400, "ServiceQuotaExceededException", TOO_LONG[0], verdicts.REFUSED),
        (400, None, TOO_LONG[0], verdicts.REFUSED),
        (401, "ValidationException", TOO_LONG[0], verdicts.UNAUTHENTICATED),
        (403, "ValidationException", TOO_LONG[0], verdicts.DENIED),
        (400, "ServiceQuotaExceededException", "", verdicts.REFUSED),
        (400, "ConflictException", "", verdicts.REFUSED),
        (408, "ModelTimeoutException", "", verdicts.REFUSED),
        (408, None, "", verdicts.REFUSED),
        (424, "ModelErrorException", "", verdicts.REFUSED),
        (424, None, "", verdicts.REFUSED),
        (413, None, "", verdicts.REFUSED),
        (301, None, "", verdicts.UNREADABLE),
    ],
)
def test_classify(status: int, error_type: str | None, message: str, expected: Verdict) -> None:
    """The type decides, then the status; what callers can put into a message decides nothing."""
    assert expected == classify(status, error_type, message)


@pytest.mark.parametrize(
    ("message", "denied", "missing"),
    [
        *((message, verdicts.DENIED_OTHER, verdicts.NOT_FOUND_OTHER) for message in OF_OTHERS),
        *((message, verdicts.DENIED, verdicts.NOT_FOUND) for message in OF_THE_MODEL),
        (NOT_CACHED, verdicts.NOT_CACHED, verdicts.NOT_FOUND_OTHER),
    ],
)
def test_only_what_is_said_of_the_model_lets_it_rest(message: str, denied: Verdict, missing: Verdict) -> None:
    """What else a request names may be denied or missing, in an answer or a stream, and says nothing of the model."""
    assert denied == classify(403, "AccessDeniedException", message)
    assert denied == classify_exception("accessDeniedException", message)
    assert missing == classify(404, "ResourceNotFoundException", message)
    assert missing == classify_exception("resourceNotFoundException", message)


@pytest.mark.parametrize(
    ("exception_type", "message", "expected"),
    [
        ("throttlingException", "", verdicts.THROTTLED),
        ("serviceUnavailableException", "", verdicts.UNAVAILABLE),
        ("modelNotReadyException", "", verdicts.THROTTLED),
        ("internalServerException", "", verdicts.INTERNAL),
        ("InternalError", "", verdicts.INTERNAL),
        ("accessDeniedException", "", verdicts.DENIED),
        ("resourceNotFoundException", "", verdicts.NOT_FOUND),
        ("validationException", "", verdicts.REFUSED),
        ("validationException", INVALID_ID, verdicts.NOT_OFFERED),
        ("validationException", TOO_LONG[0], verdicts.TOO_LONG),
        ("modelStreamErrorException", "", verdicts.REFUSED),
        ("modelTimeoutException", "", verdicts.REFUSED),
        ("somethingNew", "", verdicts.REFUSED),
        ("", "", verdicts.REFUSED),
    ],
)
def test_classify_exception(exception_type: str, message: str, expected: Verdict) -> None:
    """A first message of a stream is judged as the same error with a status would be."""
    assert expected == classify_exception(exception_type, message)


@pytest.mark.parametrize(
    ("happened", "expected"),
    [
        ("never-reached", verdicts.UNREACHED),
        ("lost", verdicts.LOST),
        ("cut", verdicts.CUT),
        ("silent", verdicts.SILENT),
        ("unreadable", verdicts.UNREADABLE),
    ],
)
def test_of_fault(happened: str, expected: Verdict) -> None:
    """What never came to a whole answer has its verdict by name."""
    assert expected == of_fault(happened)


@pytest.mark.parametrize(
    ("error_type", "expected"),
    [
        (None, None),
        ("", None),
        (":", None),
        ("#", None),
        (" # : ", None),
        ("throttlingException", "ThrottlingException"),
        ("ThrottlingException", "ThrottlingException"),
        ("com.amazon.coral.service#UnknownOperationException", "UnknownOperationException"),
        ("ValidationException:http://internal.amazon.com/coral/com.amazon.bedrock/", "ValidationException"),
        ("aws.x#FooError:http://h/#frag", "FooError"),
        (" FooError ", "FooError"),
    ],
)
def test_normal_type(error_type: str | None, expected: str | None) -> None:
    """Namespace, URL and lower camel case are taken off."""
    assert expected == normal_type(error_type)


@pytest.mark.parametrize(
    ("header", "body", "expected"),
    [
        ("A:http://b/", b'{"message":"m"}', ("A", "m")),
        (None, b'{"Message":"m"}', (None, "m")),
        (None, b'{"__type":"x#B","message":"m"}', ("B", "m")),
        (None, b'{"code":"c","message":"m"}', ("C", "m")),
        (None, b'{"__type":"","code":"C"}', ("C", "")),
        ("A", b'{"__type":"B"}', ("A", "")),
        (None, b'{"__type":7,"code":[],"message":{}}', (None, "")),
        (None, b'{"message":null,"Message":"m"}', (None, "m")),
        (None, b"<html>502</html>", (None, "")),
        (None, b"[1]", (None, "")),
        (None, b"", (None, "")),
        (None, b"\xff\xfe\x00", (None, "")),
        (None, b"[" * 60_000, (None, "")),
        (None, b'{"message":"' + b"m" * 70_000 + b'"}', (None, "")),
    ],
)
def test_error_of(header: str | None, body: bytes, expected: tuple[str | None, str]) -> None:
    """Type and message are found where SDKs find them, and a strange body is no fault."""
    assert expected == error_of(header, body)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"Output":{"__type":"com.amazon.coral.service#UnknownOperationException"},"Version":"1.0"}', True),
        (b'{"__type":"com.amazon.coral.service#UnknownOperationException"}', True),
        (b'{"Output":{"__type":"UnknownOperationException"}}', True),
        (b'{"output":{"message":"UnknownOperationException"}}', False),
        (b'{"Output":"UnknownOperationException"}', False),
        (b'{"Output":{"__type":["UnknownOperationException"]}}', False),
        (b'{"Output":{"text":"__type UnknownOperationException"}}', False),
        (b'["UnknownOperationException"]', False),
        (b'{"UnknownOperationException', False),
        (b'{"Output":{"__type":"UnknownOperationException"},"x":"' + b"x" * 1024 + b'"}', False),
        (b"", False),
    ],
)
def test_unknown_operation(body: bytes, expected: bool) -> None:
    """Only AWS's own shape is one; a model that writes the word is not."""
    assert expected == unknown_operation(body)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("", None),
        ("3", 3.0),
        (" 0.5 ", 0.5),
        ("86400", 900.0),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("1e3", None),
        ("9" * 400, None),
        ("Fri, 20 Nov 2026 10:00:00 GMT", None),
    ],
)
def test_retry_after(header: str | None, expected: float | None) -> None:
    """Seconds are taken, bounded; anything else is as if nothing had been said."""
    assert expected == retry_after(header)


@settings(deadline=None, max_examples=150)
@given(
    status=st.sampled_from([400, 401, 403]) | st.integers(300, 599),
    error_type=st.none() | st.sampled_from([*verdicts._BY_TYPE, "ValidationException"]) | st.text(max_size=20),
    message=st.text(max_size=20) | st.sampled_from([ON_DEMAND, INVALID_ID, *TOO_LONG]),
    body=st.binary(max_size=40)
    | st.recursive(
        st.text(max_size=3),
        lambda inner: st.dictionaries(
            st.sampled_from(["__type", "code", "message", "Message", "Output"]), inner, max_size=3
        ),
    ).map(lambda d: json.dumps(d).encode()),
)
def test_always_a_verdict(status: int, error_type: str | None, message: str, body: bytes) -> None:
    """Any answer has a verdict; none repeats what may be billed; no plain 401 or 403 of AWS is relayed."""
    kind, told = error_of(error_type, body)
    verdict = classify(status, kind, message or told)
    assert not (verdict.charged and verdict.retry is not Retry.NEVER)
    assert not (verdict.charged and verdict.relay)
    if status in (401, 403):
        assert verdict not in (verdicts.REFUSED, verdicts.TOO_LONG, verdicts.UNREADABLE)
    unknown_operation(body)
