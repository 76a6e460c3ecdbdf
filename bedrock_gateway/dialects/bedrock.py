"""The native dialect: AWS's REST-JSON, relayed byte for byte.

Knows how AWS shapes an error, before and inside a stream, and where a Bedrock request says how much it may answer.
Native operations are never converted into one another; the only edits of a body are in ``dialects.edits``. Must not
know deployments, transport or money.

Source: AWS REST-JSON protocol ("Operation error serialization": ``x-amzn-errortype``, ``{"message": …}``);
bedrock-runtime service-2.json (``inferenceConfig.maxTokens``); Bedrock user guide, "Inference request parameters and
response fields for foundation models", one page a family.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from email.utils import formatdate

import attrs

from bedrock_gateway.dialects.edits import add_guardrail, set_member
from bedrock_gateway.errors import Refusal
from bedrock_gateway.wire.eventstream import encode_exception
from bedrock_gateway.wire.operations import Kind, Operation

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

    def request(self, body: bytes | bytearray) -> bytes | bytearray:
        """Return the body to send for a caller's body."""
        return body

    def receive_data(self, data: bytes) -> bytes:
        """Return what goes downstream for bytes from upstream."""
        return data

    def receive_eof(self) -> bytes:
        """Return what is still to go downstream once upstream has ended."""
        return b""


def error_response(refusal: Refusal, call_id: str, now: float) -> tuple[int, list[tuple[str, str]], bytes]:
    """Shape a refusal: ``(status, headers, body)``, header names in lower case.

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
    return refusal.status, headers, json.dumps({"message": refusal.message}).encode()


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


#: Where a model family's own body says how many tokens it may answer, by provider as it stands in a model id.
_MAX_TOKENS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "anthropic": (("max_tokens",), ("max_tokens_to_sample",)),
    "amazon.nova": (("inferenceConfig", "maxTokens"), ("inferenceConfig", "max_new_tokens")),
    "amazon.titan": (("textGenerationConfig", "maxTokenCount"),),
    "ai21": (("max_tokens",), ("maxTokens",)),
    "cohere": (("max_tokens",),),
    "deepseek": (("max_tokens",),),
    "meta": (("max_gen_len",),),
    "mistral": (("max_tokens",),),
    "writer": (("max_tokens",),),
    **dict.fromkeys(
        ("google", "minimax", "moonshot", "moonshotai", "nvidia", "openai", "qwen", "xai", "zai"),
        (("max_tokens",), ("max_completion_tokens",)),
    ),
}
_CONVERSE_MAX_TOKENS = (
    ("inferenceConfig", "maxTokens"),
    # A model's own parameter goes round inferenceConfig; which of two AWS obeys is the model's business.
    *(
        ("additionalModelRequestFields", *path)
        for path in sorted({path for paths in _MAX_TOKENS.values() for path in paths})
    ),
)
#: How many answers are asked for at once, each up to the maximum.
_ANSWERS = (("n",), ("num_generations",))


def max_tokens(operation: Operation, model_id: str, parsed_body: object) -> int | None:
    """Return how many tokens a request lets its answer have at most, or None where it does not say.

    Of several answers asked for at once the tokens of all are meant.

    ``model_id`` tells the family of an InvokeModel body: an id, a geo-prefixed id, or an ARN that ends in one; an ARN
    that does not (provisioned, application inference profile) takes the id of the model behind it. None also where the
    body says it in a way that cannot be read or the family is not known: the result is a bound, and then only the
    model's own maximum is one.
    """
    if operation.kind is Kind.CONVERSE:
        return _greatest(parsed_body, _CONVERSE_MAX_TOKENS)
    if operation.kind is not Kind.INVOKE:
        return None
    most = _greatest(parsed_body, _MAX_TOKENS.get(_family(model_id), ()))
    if most is None or not any(_at(parsed_body, path) is not None for path in _ANSWERS):
        return most
    answers = _greatest(parsed_body, _ANSWERS)
    return None if answers is None else most * answers


def _greatest(document: object, paths: tuple[tuple[str, ...], ...]) -> int | None:
    """Return the greatest of the positive integers at the paths, or None where there is none or anything else."""
    greatest: int | None = None
    for path in paths:
        value = _at(document, path)
        if value is None:
            continue
        if type(value) is not int or value < 1:
            return None
        greatest = value if greatest is None else max(greatest, value)
    return greatest


def _at(document: object, path: tuple[str, ...]) -> object:
    """Return what stands at a path of JSON objects, None where nothing does."""
    for name in path:
        if not isinstance(document, dict):
            return None
        document = document.get(name)
    return document


def _family(model_id: str) -> str:
    """Return the key of ``_MAX_TOKENS`` for a model id, "" where it names no provider that is known.

    ``us.anthropic.claude-…``, ``anthropic.claude-…`` and ``arn:…:foundation-model/anthropic.claude-…`` are all
    ``anthropic``.
    """
    parts = model_id.rpartition("/")[2].split(".")
    for index, part in enumerate(parts[:2]):
        if part in _MAX_TOKENS:
            return part
        if part == "amazon" and index + 1 < len(parts):
            return f"amazon.{parts[index + 1].partition('-')[0]}"
    return ""
