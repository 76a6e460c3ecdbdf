"""OpenAI's error object, for what the gateway says itself and for what AWS says.

Source: OpenAI API reference, "Errors"; openai-python (an exception class by status).
"""

from __future__ import annotations

import json

__all__ = ["error_object"]

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}
_CODES = {
    "unrecognizedclientexception": "invalid_api_key",
    "expiredtokenexception": "expired_api_key",
    "resourcenotfoundexception": "model_not_found",
    "servicequotaexceededexception": "budget_exceeded",
    "throttlingexception": "rate_limit_exceeded",
    "contentpolicyviolation": "content_policy_violation",
    "serviceunavailableexception": "service_unavailable",
}
#: How AWS says that a prompt does not fit.
_TOO_LONG = ("too long", "maximum context length", "too many input tokens", "exceeds the maximum number of tokens")


def error_object(status: int, message: str, error_type: str, param: str | None = None) -> bytes:
    """Return an error as JSON.

    Args:
        error_type: AWS's, in any case.
        param: field of the request it is about.
    """
    code = _CODES.get(error_type.lower())
    if status == 400 and any(words in message.lower() for words in _TOO_LONG):
        code = "context_length_exceeded"
    kind = _TYPES.get(status, "server_error")
    return json.dumps({"error": {"message": message, "type": kind, "param": param, "code": code}}).encode()
