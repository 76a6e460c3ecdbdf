"""How faults become answers, the same in every version of HTTP: in AWS's shape, silent about the bytes of a request.

Source: aiohttp 3.14.5 ``web_exceptions`` (its own error pages), RFC 6585 section 5 (431), RFC 9110 section 15.5.9
(408).
"""

from __future__ import annotations

import logging
import traceback

from aiohttp import web

from bedrock_gateway.downstream.answers import StreamedAnswer, WholeAnswer, refusal_answer
from bedrock_gateway.downstream.limits import Limits
from bedrock_gateway.errors import InternalFault, Refusal, RequestTimeout

__all__ = [
    "FAILED",
    "HeadTooLarge",
    "head_timeout",
    "head_too_large",
    "line_too_large",
    "log_fault",
    "too_many_headers",
    "well_shaped",
]

#: What a caller is told of a fault of ours.
FAILED = "The gateway failed; its log has the details."
#: AWS error types of the few statuses aiohttp answers by itself; every other 4xx is a ValidationException.
_TYPES = {403: "AccessDeniedException", 404: "ResourceNotFoundException", 429: "ThrottlingException"}


class HeadTooLarge(Refusal):
    """Request line and headers are larger than the listener takes."""

    status = 431
    error_type = "ValidationException"


def head_timeout(limits: Limits) -> RequestTimeout:
    """Return the refusal of a head that did not come in time."""
    return RequestTimeout(f"The request line and headers did not arrive within {limits.head_seconds:g} s.")


def head_too_large(limits: Limits) -> HeadTooLarge:
    """Return the refusal of a head that is too large as a whole."""
    return HeadTooLarge(f"The request line and headers together are larger than {limits.head:,} bytes.")


def line_too_large(limits: Limits) -> HeadTooLarge:
    """Return the refusal of a head with one part that is too large."""
    return HeadTooLarge(f"The request target or a header is larger than {min(limits.line, limits.header):,} bytes.")


def too_many_headers(limits: Limits) -> HeadTooLarge:
    """Return the refusal of a head of too many parts."""
    return HeadTooLarge(f"The request has more than {limits.headers} headers.")


def well_shaped(answer: object, log: logging.Logger) -> web.StreamResponse:
    """Return what a handler returned or raised as an answer; aiohttp's own error pages are put into AWS's shape.

    What they say is their reason, which tells what happened and quotes nothing.
    """
    if isinstance(answer, WholeAnswer | StreamedAnswer):
        return answer
    if not isinstance(answer, web.StreamResponse):
        log.error("A handler returned no answer")
        return refusal_answer(InternalFault(FAILED))
    if not isinstance(answer, web.HTTPException) or answer.status < 400:
        return answer
    types = _TYPES if answer.status < 500 else {}
    error_type = types.get(answer.status, "ValidationException" if types else None)
    refused = refusal_answer(Refusal(f"{answer.reason}.", error_type=error_type))
    return WholeAnswer(answer.status, refused.headers.items(), refused.body, close=True)


def log_fault(log: logging.Logger, error: BaseException) -> None:
    """Report a fault of ours by its kind and place. Its text, which may quote a request, is left out."""
    if isinstance(error, Refusal | ConnectionError):
        return
    places = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
    log.error("A handler failed with %s at %s", type(error).__name__, " < ".join(reversed(places)) or "no place")
