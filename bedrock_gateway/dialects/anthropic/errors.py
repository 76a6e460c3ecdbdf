"""Anthropic's error object, for what the gateway says itself and for what AWS says.

Source: Anthropic API reference, "Errors"; anthropic-python (an exception class by status, which tells the ``type``).
"""

from __future__ import annotations

import json

__all__ = ["error_event", "error_object"]

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
