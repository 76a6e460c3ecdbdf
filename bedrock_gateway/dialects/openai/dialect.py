"""OpenAI's dialect: what every route of it has in common.

Must not know deployments, transport or money.

Source: openai-python ``_base_client`` (repeats 408, 409, 429 and 5xx unless
``x-should-retry`` says no; a streamed ``data:`` with an ``error`` member raises).
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from bedrock_gateway.dialects.openai.chat_request import read_chat
from bedrock_gateway.dialects.openai.embeddings_request import read_embeddings
from bedrock_gateway.dialects.openai.errors import error_object
from bedrock_gateway.dialects.openai.images.request import read_edit, read_generation, read_variation
from bedrock_gateway.dialects.openai.rerank import read_rerank
from bedrock_gateway.dialects.openai.responses_request import read_responses
from bedrock_gateway.dialects.speech import Asked, Divided, Headers, Translation
from bedrock_gateway.dialects.streams import status_of
from bedrock_gateway.errors import Refusal, UnknownModel
from bedrock_gateway.wire.operations import Operation

__all__ = ["CHAT", "EMBEDDINGS", "IMAGES", "IMAGE_EDITS", "IMAGE_VARIATIONS", "RERANK", "RESPONSES", "OpenAI"]

#: Error types of keys: AWS says 403, OpenAI 401.
_KEYS = frozenset({"UnrecognizedClientException", "ExpiredTokenException", "InvalidSignatureException"})


@attrs.frozen
class OpenAI:
    """One of OpenAI's routes.

    Attributes:
        reader: reads its requests.
    """

    reader: Callable[[Asked], Translation | Divided]
    name: str = "openai"

    def read(self, asked: Asked) -> Translation | Divided:
        """As ``Dialect``."""
        return self.reader(asked)

    def error_response(self, refusal: Refusal, call_id: str, now: float) -> tuple[int, Headers, bytes]:
        """As ``Dialect``."""
        status = 401 if refusal.error_type in _KEYS else refusal.status
        headers = _headers(call_id)
        if refusal.retry_after is not None:
            headers.append(("retry-after", str(max(0, refusal.retry_after))))
        if not refusal.repeatable:
            headers.append(("x-should-retry", "false"))
        param = "model" if isinstance(refusal, UnknownModel) else refusal.param
        return status, headers, error_object(status, refusal.message, refusal.error_type, param)

    def upstream_error(
        self, status: int, error_type: str, message: str, headers: Headers
    ) -> tuple[int, Headers, bytes]:
        """As ``Dialect``. What AWS may have billed is not for an SDK to repeat."""
        if status == 200:
            status = status_of(error_type)
        kept = [(name, value) for name, value in headers if name not in ("content-type", "content-length")]
        kept.append(("content-type", "application/json"))
        if status in (408, 409, 424, 500):
            kept.append(("x-should-retry", "false"))
        return status, kept, error_object(status, message, error_type)

    def broken_off(self, operation: Operation, refusal: Refusal) -> bytes:
        """As ``Dialect``: an event that makes an SDK raise, and no ``[DONE]``."""
        return b"data: " + error_object(refusal.status, refusal.message, refusal.error_type) + b"\n\n"

    def answer_headers(self, operation: Operation, headers: Headers) -> Headers:
        """As ``Dialect``."""
        kept = [(name, value) for name, value in headers if name not in ("content-type", "content-length")]
        if operation.stream_out:
            return [*kept, ("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-cache")]
        return [*kept, ("content-type", "application/json")]


def _headers(call_id: str) -> Headers:
    return [
        ("content-type", "application/json"),
        ("x-request-id", call_id),
        ("x-bedrock-gateway-call-id", call_id),
    ]


#: ``/v1/chat/completions``.
CHAT = OpenAI(read_chat)
#: ``/v1/responses``.
RESPONSES = OpenAI(read_responses)
#: ``/v1/images/generations``, ``edits`` and ``variations``.
IMAGES, IMAGE_EDITS, IMAGE_VARIATIONS = OpenAI(read_generation), OpenAI(read_edit), OpenAI(read_variation)
#: ``/v1/embeddings``.
EMBEDDINGS = OpenAI(read_embeddings)
#: ``/v1/rerank``, whose requests and answers are Cohere's.
RERANK = OpenAI(read_rerank)
