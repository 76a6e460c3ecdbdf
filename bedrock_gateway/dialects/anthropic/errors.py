"""Anthropic's error object, for what the gateway says itself and for what AWS says.

Source: Anthropic API reference, "Errors"; anthropic-python (an exception class by status, which tells the ``type``).
"""

from __future__ import annotations

import json

from bedrock_gateway.dialects.openai.errors import status_of
from bedrock_gateway.wire.eventstream import Message

__all__ = ["error_event", "error_object", "failure"]

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def error_object(status: int, message: str, request_id: str | None = None) -> bytes:
    """Return an error as JSON.

    Args:
        request_id: by which it is found again in the logs of who said it.
    """
    error = {"type": _TYPES.get(status, "api_error"), "message": message}
    return json.dumps({"type": "error", "error": error, "request_id": request_id}).encode()


def error_event(status: int, message: str, request_id: str | None = None) -> bytes:
    """Return an error as the event that ends a stream."""
    return b"event: error\ndata: " + error_object(status, message, request_id) + b"\n\n"


def failure(message: Message, call_id: str) -> bytes:
    """Return the event for an exception in an event stream."""
    kind = message.exception_type or message.error_code or "error"
    try:
        payload = json.loads(message.payload or b"{}")
    except ValueError:
        payload = {}
    told = payload.get("message") or payload.get("Message") if isinstance(payload, dict) else None
    return error_event(status_of(kind), str(told or message.headers.get(":error-message") or kind), call_id)
