"""What to do about an answer that is no success: one table for statuses, exception messages and what never arrived.

Knows AWS's error types and statuses. Must not know which deployments there are, what time it is or how often was tried:
the chain asks for a verdict and acts on it within its own bounds.

The table (what happened: then; what rests; may be billed):

    throttled, not ready, unavailable, never reached   next deployment, the same again when none is left; counts; no
    internal error                                     next deployment, once; counts; flagged
    access denied, not found, unknown operation,
    model not offered there                            next deployment; (deployment, model) for 5 minutes; no
    the same of something else a caller named          next deployment; nothing; no
    the gateway's credentials refused, or none at all  next deployment; deployment; no
    no cache in the model, or no place in its words    next deployment; nothing; no
    longer than the model reads                        another group, where one is named for it; nothing; no
    any other refusal                                  to the caller as it is; nothing; no
    sent and lost, cut, silent, unreadable             to the caller as 424; counts; yes

What counts puts the deployment to rest as soon as enough calls have failed to tell, or upstream asked for it.

An error's type decides before its status: a throttle may come as a 400, and inside a 200 stream there is no status at
all. Untyped 502 and 504 come from a front that sent the request on and lost sight of it, so they are "sent and lost",
not "unavailable".

Source: bedrock-runtime service-2.json (``error.httpStatusCode`` of each exception); AWS REST-JSON protocol, section
"Operation error serialization" (``x-amzn-errortype``, ``__type``, ``code``; cut at ``:`` and ``#``); Bedrock user
guide, "Troubleshooting API error codes".
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from enum import StrEnum

import attrs

from bedrock_gateway.errors import InvalidRequest, MaybeBilled, Refusal, Unavailable, UnknownOperation

__all__ = [
    "CUT",
    "DENIED",
    "DENIED_OTHER",
    "EXPIRED",
    "INTERNAL",
    "LOST",
    "NOT_CACHED",
    "NOT_FOUND",
    "NOT_FOUND_OTHER",
    "NOT_LOOKED_UP",
    "NOT_OFFERED",
    "NO_CREDENTIALS",
    "NO_PLACE",
    "NO_SIGNER",
    "REFUSED",
    "SILENT",
    "THROTTLED",
    "TOO_LONG",
    "UNAUTHENTICATED",
    "UNAVAILABLE",
    "UNKNOWN_OPERATION",
    "UNREACHED",
    "UNREADABLE",
    "Cools",
    "Retry",
    "Verdict",
    "classify",
    "classify_exception",
    "error_of",
    "normal_type",
    "of_fault",
    "retry_after",
    "unknown_operation",
]


class Retry(StrEnum):
    """Whether another attempt may follow."""

    NEXT = "next"  # on the next deployment, as often as there is one
    NEXT_ONCE = "next_once"  # on the next deployment, one time in a call
    NEVER = "never"


class Cools(StrEnum):
    """What rests after it."""

    AT_ONCE = "at_once"  # the deployment, for the cooldown time: the next call would fail too
    DEPLOYMENT = "deployment"  # the same, as soon as enough calls have failed to tell (``health``)
    MODEL = "model"  # this model on this deployment, for 5 minutes
    NO = "no"


@attrs.frozen(kw_only=True)
class Verdict:
    """What follows from how an attempt failed.

    Attributes:
        name: for logs, metrics and reports.
        kind: the member of ``rules.RetryPolicy`` that says how often it is repeated.
        retry: whether another attempt may follow.
        same_again: when no other deployment is left, the same may be tried again if the wait fits.
        cools: what rests after it.
        charged: AWS may bill it and says nothing of it, so it is booked as an estimate.
        flagged: most likely not billed; the row says that it might be.
        refusal: what the caller is answered when no attempt follows; None where AWS's own answer is relayed as it is.
    """

    name: str
    kind: str = "default"
    retry: Retry
    same_again: bool = False
    cools: Cools
    charged: bool = False
    flagged: bool = False
    refusal: type[Refusal] | None = None

    @property
    def relay(self) -> bool:
        """Whether AWS's answer goes to the caller as it is when no attempt follows."""
        return self.refusal is None


THROTTLED = Verdict(name="throttled", kind="rate_limit", retry=Retry.NEXT, same_again=True, cools=Cools.DEPLOYMENT)
UNAVAILABLE = Verdict(name="unavailable", kind="unavailable", retry=Retry.NEXT, same_again=True, cools=Cools.DEPLOYMENT)
UNREACHED = Verdict(
    name="never-reached",
    kind="unavailable",
    retry=Retry.NEXT,
    same_again=True,
    cools=Cools.DEPLOYMENT,
    refusal=Unavailable,
)
INTERNAL = Verdict(name="internal-error", kind="internal", retry=Retry.NEXT_ONCE, cools=Cools.DEPLOYMENT, flagged=True)
# AWS's text names the gateway's account and role, and the caller's own rights are not what was refused: never relayed.
DENIED = Verdict(name="access-denied", kind="credentials", retry=Retry.NEXT, cools=Cools.MODEL, refusal=Unavailable)
# What was denied or not found is not the model, but something else the caller named: a guardrail, a prompt, an object
# in S3. Another account may have it, and nothing rests: no caller may put a deployment to rest by what it sends.
DENIED_OTHER = Verdict(
    name="other-access-denied", kind="credentials", retry=Retry.NEXT, cools=Cools.NO, refusal=Unavailable
)
# A model that reads no cache was told of one, in the request: as above, and AWS's words say it.
NOT_CACHED = Verdict(name="not-cached", kind="not_found", retry=Retry.NEXT, cools=Cools.NO)
NOT_FOUND_OTHER = Verdict(name="other-not-found", kind="not_found", retry=Retry.NEXT, cools=Cools.NO)
# Not only this model is out of reach with credentials that AWS does not take.
UNAUTHENTICATED = Verdict(
    name="credentials-refused", kind="credentials", retry=Retry.NEXT, cools=Cools.AT_ONCE, refusal=Unavailable
)
# The same, but reading the credentials again may mend it.
EXPIRED = Verdict(
    name="credentials-expired", kind="credentials", retry=Retry.NEXT, cools=Cools.AT_ONCE, refusal=Unavailable
)
# There are none to sign with, so nothing was sent.
NO_CREDENTIALS = Verdict(
    name="no-credentials", kind="credentials", retry=Retry.NEXT, cools=Cools.AT_ONCE, refusal=Unavailable
)
# The same, because the service takes none of their kind; others of the deployment are as good as before.
NO_SIGNER = Verdict(name="no-signer", kind="credentials", retry=Retry.NEXT, cools=Cools.NO, refusal=Unavailable)
# AWS has not said which throughput a name stands for, so nothing was sent.
NOT_LOOKED_UP = Verdict(name="not-looked-up", kind="unavailable", retry=Retry.NEXT, cools=Cools.NO, refusal=Unavailable)
# The words of its model have no place for something of the request, so nothing was sent; another may have one.
NO_PLACE = Verdict(name="no-place", retry=Retry.NEXT, cools=Cools.NO, refusal=InvalidRequest)
NOT_FOUND = Verdict(name="not-found", kind="not_found", retry=Retry.NEXT, cools=Cools.MODEL)
NOT_OFFERED = Verdict(name="model-not-offered", kind="not_found", retry=Retry.NEXT, cools=Cools.MODEL)
# It comes with status 200, which must not reach the caller.
UNKNOWN_OPERATION = Verdict(
    name="unknown-operation", kind="not_found", retry=Retry.NEXT, cools=Cools.MODEL, refusal=UnknownOperation
)
REFUSED = Verdict(name="refused", retry=Retry.NEVER, cools=Cools.NO)
# A refusal of the caller's request as well; a group may name another one for it (``context_window_fallbacks``).
TOO_LONG = Verdict(name="too-long", retry=Retry.NEVER, cools=Cools.NO)
LOST = Verdict(name="lost", retry=Retry.NEVER, cools=Cools.DEPLOYMENT, charged=True, refusal=MaybeBilled)
CUT = Verdict(name="cut", retry=Retry.NEVER, cools=Cools.DEPLOYMENT, charged=True, refusal=MaybeBilled)
SILENT = Verdict(name="silent", retry=Retry.NEVER, cools=Cools.DEPLOYMENT, charged=True, refusal=MaybeBilled)
UNREADABLE = Verdict(name="unreadable", retry=Retry.NEVER, cools=Cools.DEPLOYMENT, charged=True, refusal=MaybeBilled)

#: What became of an exchange that ended without a whole answer.
_BY_FAULT: Mapping[str, Verdict] = {verdict.name: verdict for verdict in (UNREACHED, LOST, CUT, SILENT, UNREADABLE)}

#: By normal error type. Types of the SigV4 front are those of AWS's "Common errors"; the short ones come from older
#: fronts.
_BY_TYPE: Mapping[str, Verdict] = {
    "ThrottlingException": THROTTLED,
    "Throttling": THROTTLED,
    "ThrottledException": THROTTLED,
    "TooManyRequestsException": THROTTLED,
    "RequestLimitExceeded": THROTTLED,
    "ModelNotReadyException": THROTTLED,
    "ServiceUnavailableException": UNAVAILABLE,
    "ServiceUnavailable": UNAVAILABLE,
    "InternalServerException": INTERNAL,
    "InternalServerError": INTERNAL,
    "InternalFailure": INTERNAL,
    "InternalError": INTERNAL,
    "InternalServiceException": INTERNAL,
    "AccessDeniedException": DENIED,
    "AccessDenied": DENIED,
    "NotAuthorized": DENIED,
    "OptInRequired": DENIED,
    "UnrecognizedClientException": UNAUTHENTICATED,
    "InvalidClientTokenId": UNAUTHENTICATED,
    "InvalidSignatureException": UNAUTHENTICATED,
    "SignatureDoesNotMatch": UNAUTHENTICATED,
    "IncompleteSignature": UNAUTHENTICATED,
    "IncompleteSignatureException": UNAUTHENTICATED,
    "MissingAuthenticationToken": UNAUTHENTICATED,
    "MissingAuthenticationTokenException": UNAUTHENTICATED,
    "ExpiredTokenException": EXPIRED,
    "ExpiredToken": EXPIRED,
    "RequestExpired": EXPIRED,
    "ResourceNotFoundException": NOT_FOUND,
    "UnknownOperationException": UNKNOWN_OPERATION,
    "ServiceQuotaExceededException": REFUSED,
    "ConflictException": REFUSED,
    "ModelTimeoutException": REFUSED,
    "ModelErrorException": REFUSED,
    "ModelStreamErrorException": REFUSED,
}

#: By status, for an error whose type is unknown or missing.
_BY_STATUS: Mapping[int, Verdict] = {
    401: UNAUTHENTICATED,
    403: DENIED,
    404: NOT_FOUND,
    429: THROTTLED,
    502: LOST,
    503: UNAVAILABLE,
    504: LOST,
}

#: Anchored: AWS quotes callers in other validation messages, and no caller may put a deployment's model to rest by what
#: it sends.
_NOT_OFFERED = re.compile(
    r"(?:Invocation of model ID \S+ with )?on-demand throughput isn['\u2019]t supported"
    r"|The provided model identifier is invalid",
    re.IGNORECASE,
)
#: What else a request may name: where an answer without an action speaks of it, it is not about the model.
_OTHER_THINGS = re.compile(r"guardrail|prompt|\bs3\b|bucket|\bkms\b|knowledge base|\bagent\b", re.IGNORECASE)
_ACTION = re.compile(r"not authorized to perform: ([\w-]+:\w+)")
#: Rights without which no call of a model is possible (one of the Marketplace has to be subscribed to first); others
#: are for what a caller adds.
_CALLING = re.compile(
    r"bedrock:(?:InvokeModel|Converse|CallWithBearerToken|CountTokens)|aws-marketplace:|sagemaker:InvokeEndpoint"
)
#: How models say that a request is longer than they can read. Not anchored: nothing rests after it, and only what an
#: operator named for it is asked instead.
_TOO_LONG = re.compile(
    r"input is too long|prompt is too long|exceeds? (?:the )?(?:model's )?(?:maximum )?context (?:limit|length|window)"
    r"|maximum context length|too many (?:input )?tokens|input tokens exceeded|too many total text bytes",
    re.IGNORECASE,
)
#: How AWS begins its answer to a Bedrock API key it does not take: a 403 whose type, if it has one, is that of a
#: missing right.
_BAD_API_KEY = "Authentication failed"
_SECONDS = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")
#: Seconds. No answer puts a deployment to rest for longer than that.
_MAX_RETRY_AFTER = 900.0
#: What AWS says of cache points to a model that has none, as a 403.
_CACHING = "your request did not allow prompt caching"
#: Bytes of an error body that are looked at; AWS's are some hundred.
_MAX_ERROR_BODY = 64 * 1024
#: Bytes of the longest 200 body that can be an UnknownOperationException; AWS's has 86.
_MAX_UNKNOWN_BODY = 1024


def classify(status: int, error_type: str | None, message: str = "") -> Verdict:
    """Return the verdict on an HTTP answer that is an error, or a 200 that is one in disguise.

    ``error_type`` in any of AWS's spellings; None where the answer has none.
    """
    kind = normal_type(error_type)
    verdict = None if kind is None else _by_type(kind, message)
    if verdict is None or (verdict in (REFUSED, TOO_LONG) and status in (401, 403)):
        # Whatever its type: the caller sent AWS no credentials, so a 401 or 403 is about the gateway's and is not
        # relayed.
        verdict = _BY_STATUS.get(status)
    if verdict is None:
        # AWS redirects no call: an answer below 400 that is no success is from nobody that was asked.
        verdict = INTERNAL if status >= 500 else REFUSED if status >= 400 else UNREADABLE
    if verdict is DENIED and _CACHING in message:
        return NOT_CACHED
    if verdict is DENIED:
        if message.startswith(_BAD_API_KEY):
            return UNAUTHENTICATED
        return DENIED_OTHER if _is_of_another_thing(message) else DENIED
    return NOT_FOUND_OTHER if verdict is NOT_FOUND and _is_of_another_thing(message) else verdict


def classify_exception(exception_type: str, message: str = "") -> Verdict:
    """Return the verdict on an exception (or error) message that comes first in an event stream.

    ``exception_type`` is the value of ``:exception-type`` or ``:error-code``. A type nobody knows goes to the caller.
    """
    kind = normal_type(exception_type)
    verdict = None if kind is None else _by_type(kind, message)
    if verdict is DENIED and _CACHING in message:
        return NOT_CACHED
    if verdict in (DENIED, NOT_FOUND) and _is_of_another_thing(message):
        return DENIED_OTHER if verdict is DENIED else NOT_FOUND_OTHER
    return REFUSED if verdict is None else verdict


def _is_of_another_thing(message: str) -> bool:
    """Tell whether a refusal is about something else than the model that was called."""
    action = _ACTION.search(message)
    if action is not None and _CALLING.match(action[1]) is None:
        return True
    return action is None and _OTHER_THINGS.search(message) is not None


def of_fault(happened: str) -> Verdict:
    """Return the verdict on an exchange that ended without a whole answer.

    ``happened``: ``never-reached`` (certainly not accepted), ``lost`` (sent, no whole head came back), ``cut``,
    ``silent`` or ``unreadable``.
    """
    return _BY_FAULT[happened]


def retry_after(header: str | None) -> float | None:
    """Return the seconds a ``Retry-After`` header asks to wait, at most 900.

    None without one, and for a date, which takes a clock to read.
    """
    text = header.strip() if header else ""
    if not _SECONDS.fullmatch(text):
        return None
    return min(float(text), _MAX_RETRY_AFTER)


def _by_type(kind: str, message: str) -> Verdict | None:
    """Return the verdict on a normal error type, or None where only a status can tell."""
    if kind == "ValidationException":
        if _NOT_OFFERED.match(message) is not None:
            return NOT_OFFERED
        return REFUSED if _TOO_LONG.search(message) is None else TOO_LONG
    return _BY_TYPE.get(kind)


def normal_type(error_type: str | None) -> str | None:
    """Return an error type as AWS's models spell it, without namespace and URL, or None where nothing is left.

    ``com.amazon.coral.service#ThrottlingException:http://…`` and ``throttlingException`` are both
    ``ThrottlingException``.
    """
    if not error_type:
        return None
    name = error_type.partition(":")[0].rpartition("#")[2].strip()
    return name[0].upper() + name[1:] if name else None


def error_of(header: str | None, body: bytes) -> tuple[str | None, str]:
    """Return the normal type and the message of an error answer.

    Type from ``header`` (``x-amzn-errortype``), else from the body's ``__type`` or ``code``; message from its
    ``message`` or ``Message``. A body that is no such JSON gives an empty message.
    """
    kind = normal_type(header)
    document = _object(body) if len(body) <= _MAX_ERROR_BODY else {}
    if kind is None:
        for name in ("__type", "code"):
            value = document.get(name)
            if isinstance(value, str) and normal_type(value) is not None:
                kind = normal_type(value)
                break
    for name in ("message", "Message"):
        value = document.get(name)
        if isinstance(value, str):
            return kind, value
    return kind, ""


def unknown_operation(body: bytes) -> bool:
    """Tell whether the body of a 200 is AWS's ``{"Output":{"__type":"…#UnknownOperationException"},…}``.

    Costs a length and, for a small body, a search: only a body that holds the name is parsed, since a model may write
    it too.
    """
    if len(body) > _MAX_UNKNOWN_BODY or b"UnknownOperationException" not in body:
        return False
    document = _object(body)
    output = document.get("Output", document)
    kind = output.get("__type") if isinstance(output, dict) else None
    return isinstance(kind, str) and normal_type(kind) == "UnknownOperationException"


def _object(body: bytes) -> dict[str, object]:
    """Return the JSON object in a body, or an empty one where there is none."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
