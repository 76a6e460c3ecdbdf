"""The native dialect: AWS's REST-JSON, relayed byte for byte.

Knows how AWS shapes an error, before and inside a stream. Native operations are never converted into one another; the
only edits of a body are in ``dialects.edits`` and ``dialects.clamp``. Must not know deployments, transport or money.

Source: AWS REST-JSON and JSON 1.1 protocols ("Operation error serialization": ``x-amzn-errortype`` or ``__type``,
``{"message": …}``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from email.utils import formatdate
from typing import ClassVar

import attrs

from bedrock_gateway.dialects.edits import add_guardrail, set_member
from bedrock_gateway.dialects.output_limits import max_tokens
from bedrock_gateway.errors import Refusal
from bedrock_gateway.wire.eventstream import encode_exception
from bedrock_gateway.wire.operations import Operation

__all__ = [
    "NativeRelay",
    "add_guardrail",
    "error_response",
    "exception_message",
    "max_tokens",
    "set_member",
]


@attrs.define(eq=False)
class NativeRelay:
    """Relay of one attempt that hands on what it is given: the same bytes, both ways."""

    operation: ClassVar[str] = ""
    headers: ClassVar[tuple[tuple[str, str], ...]] = ()

    def request(self, body: bytes | bytearray) -> bytes | bytearray:
        """Return the body to send for a caller's body."""
        return body

    def receive_data(self, data: bytes) -> bytes:
        """Return what goes downstream for bytes from upstream."""
        return data

    def receive_eof(self) -> bytes:
        """Return what is still to go downstream once upstream has ended."""
        return b""


def error_response(
    refusal: Refusal, call_id: str, now: float, *, by_target: bool = False
) -> tuple[int, list[tuple[str, str]], bytes]:
    """Shape a refusal: ``(status, headers, body)``, header names in lower case.

    ``by_target``: the request has an ``X-Amz-Target``, so that its SDK looks for the type in the body.

    ``now``: UTC seconds since the epoch. The call id stands in for AWS's request id too, because that is what SDKs
    print with an error. ``date`` comes only with a refused signature: SDKs correct their clock by it and sign anew.
    """
    headers = [
        ("content-type", "application/json"),
        ("x-amzn-errortype", refusal.error_type),
        ("x-amzn-requestid", call_id),
        ("x-bedrock-gateway-call-id", call_id),
    ]
    if refusal.retry_after is not None:
        headers.append(("retry-after", str(max(0, refusal.retry_after))))
    if not refusal.repeatable:
        headers.append(("x-should-retry", "false"))
    if refusal.error_type == "InvalidSignatureException":
        headers.append(("date", formatdate(now, usegmt=True)))
    told = {"__type": refusal.error_type} if by_target else {}
    return refusal.status, headers, json.dumps({**told, "message": refusal.message}).encode()


#: Exception a refusal becomes inside a stream, by its status, best first: one that is not modelled for the operation
#: reaches boto3 with an empty code and message.
_IN_STREAM: Mapping[int, tuple[str, ...]] = {
    408: ("modelTimeoutException", "modelStreamErrorException"),
    424: ("modelStreamErrorException",),
    429: ("throttlingException",),
    500: ("internalServerException",),
    503: ("serviceUnavailableException",),
}
#: For all that have none there: what is said about a request, and about anything else.
_OURS = ("internalServerException",)
_THEIRS = ("validationException",)


def exception_message(operation: Operation, refusal: Refusal) -> bytes:
    """Shape a refusal as the exception message that ends a stream under way, of a type modelled for that operation.

    Raises:
        ValueError: the operation's answer is no event stream with exceptions in it.
    """
    if not operation.exceptions:
        raise ValueError(f"{operation.name} answers no event stream")
    own = refusal.error_type[:1].lower() + refusal.error_type[1:]
    wanted = (own, *_IN_STREAM.get(refusal.status, ()), *(_THEIRS if 400 <= refusal.status < 500 else ()), *_OURS)
    exception_type = next((name for name in wanted if name in operation.exceptions), operation.exceptions[0])
    return encode_exception(exception_type, refusal.message)
