"""Anthropic's dialect: what its routes have in common.

Must not know deployments, transport or money.

Source: anthropic-python ``_base_client`` (repeats 408, 409, 429 and 5xx unless ``x-should-retry`` says no; tells the
``request-id`` of an answer) and ``_streaming`` (an event ``error`` raises).
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from bedrock_gateway.dialects.anthropic.errors import error_event, error_object
from bedrock_gateway.dialects.anthropic.request import read_count, read_messages
from bedrock_gateway.dialects.speech import Asked, Headers, Translation
from bedrock_gateway.dialects.streams import status_of
from bedrock_gateway.errors import Refusal
from bedrock_gateway.wire.operations import Operation

__all__ = ["COUNT_TOKENS", "MESSAGES", "Anthropic"]

#: Error types of keys: AWS says 403, Anthropic 401.
_KEYS = frozenset({"UnrecognizedClientException", "ExpiredTokenException", "InvalidSignatureException"})
#: Statuses of what AWS may have billed, which is not for an SDK to repeat.
_MAYBE_BILLED = frozenset({408, 409, 424, 500})


@attrs.frozen
class Anthropic:
    """One of Anthropic's routes.

    Attributes:
        reader: reads its requests.
    """

    reader: Callable[[Asked], Translation]
    name: str = "anthropic"

    def read(self, asked: Asked) -> Translation:
        """As ``Dialect``."""
        return self.reader(asked)

    def error_response(self, refusal: Refusal, call_id: str, now: float) -> tuple[int, Headers, bytes]:
        """As ``Dialect``."""
        status = 401 if refusal.error_type in _KEYS else refusal.status
        headers = [
            ("content-type", "application/json"),
            ("request-id", call_id),
            ("x-bedrock-gateway-call-id", call_id),
        ]
        if refusal.retry_after is not None:
            headers.append(("retry-after", str(max(0, refusal.retry_after))))
        if not refusal.repeatable:
            headers.append(("x-should-retry", "false"))
        return status, headers, error_object(status, refusal.message, call_id)

    def upstream_error(
        self, status: int, error_type: str, message: str, headers: Headers
    ) -> tuple[int, Headers, bytes]:
        """As ``Dialect``."""
        if status == 200:
            status = status_of(error_type)
        kept = [*_own(headers), ("content-type", "application/json")]
        if status in _MAYBE_BILLED:
            kept.append(("x-should-retry", "false"))
        return status, kept, error_object(status, message, dict(kept).get("request-id"))

    def broken_off(self, operation: Operation, refusal: Refusal) -> bytes:
        """As ``Dialect``."""
        return error_event(refusal.status, refusal.message)

    def answer_headers(self, operation: Operation, headers: Headers) -> Headers:
        """As ``Dialect``."""
        if operation.stream_out:
            return [
                *_own(headers),
                ("content-type", "text/event-stream; charset=utf-8"),
                ("cache-control", "no-cache"),
            ]
        return [*_own(headers), ("content-type", "application/json")]


def _own(headers: Headers) -> Headers:
    """Return headers of AWS's, its request's id also under the name that Anthropic has for one."""
    left_out = ("content-type", "content-length", "x-amzn-bedrock-content-type", "request-id", "cache-control")
    kept = [(name, value) for name, value in headers if name not in left_out]
    ids = [("request-id", value) for name, value in headers if name == "x-amzn-requestid"]
    return kept + ids[:1]


#: ``/v1/messages``.
MESSAGES = Anthropic(read_messages)
#: ``/v1/messages/count_tokens``.
COUNT_TOKENS = Anthropic(read_count)
