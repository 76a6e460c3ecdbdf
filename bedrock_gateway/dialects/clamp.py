"""The clamp: a request's longest answer made shorter, at byte offsets, for a budget that has no room for the whole of
it.

Knows which member of a native body limits the output and when a model takes no smaller figure. Must not know money, nor
how short an answer is still of use.

Source: as ``dialects.output_limits``; Anthropic, extended thinking (``budget_tokens`` is smaller than ``max_tokens``);
Amazon Nova 2 user guide, extended thinking (at high effort ``maxTokens`` must not be set).
"""

from __future__ import annotations

from typing import Any

from bedrock_gateway.dialects.edits import set_at
from bedrock_gateway.dialects.output_limits import ADDITIONAL, CONVERSE_MAX_TOKENS, Path, at, family, places
from bedrock_gateway.wire.operations import Kind, Operation

__all__ = ["clamp"]

#: Where models are told how much they may think, in tokens of the answer.
_THINKING = ("thinking", "reasoning_config")
_NOVA_EFFORT = ("reasoningConfig", "maxReasoningEffort")


def clamp(
    operation: Operation, model_id: str, body: bytes | bytearray, document: dict[str, Any], limit: int
) -> tuple[bytes | bytearray, str | None] | None:
    """Let no answer to a request have more than ``limit`` tokens: ``(body, note for the row)``, or None where that
    cannot be done; every byte but the figures stays. A body that allows no more comes back as it is, with no note.

    Args:
        model_id: of the model or, where an ARN tells no family, of the model behind it.
        document: the body as ``dialects.requests.read_body`` gives it.
        limit: tokens for each of the answers that are asked for at once.

    Raises:
        InvalidRequest: the body is not a JSON object in UTF-8.
    """
    if limit < 1 or not _may_be_shortened(operation, model_id, document, limit):
        return None
    paths = _to_set(operation, model_id, document, limit)
    if paths is None:
        return None
    for path in paths:
        body, _ = set_at(body, path, str(limit).encode())
    return body, f"clamp:{paths[0][-1]}={limit}" if paths else None


def _to_set(operation: Operation, model_id: str, document: dict[str, Any], limit: int) -> list[Path] | None:
    """Return the members that have to be set, the one that limits the answer first; None where nothing limits it."""
    known = places(operation, model_id)
    if not known:
        return None
    there = [path for path in known if at(document, path) is not None]
    if operation.kind is Kind.CONVERSE and CONVERSE_MAX_TOKENS not in there:
        there.insert(0, CONVERSE_MAX_TOKENS)
    elif not there:
        # The older of Anthropic's two bodies has a name of its own.
        old = "prompt" in document and "messages" not in document
        there.append(next((path for path in known if old and path == ("max_tokens_to_sample",)), known[0]))
    for path in there:
        parent = at(document, path[:-1])
        if parent is not None and type(parent) is not dict:
            return None
    return [path for path in there if not _within(at(document, path), limit)]


def _within(value: object, limit: int) -> bool:
    return type(value) is int and 1 <= value <= limit


def _may_be_shortened(operation: Operation, model_id: str, document: dict[str, Any], limit: int) -> bool:
    """Tell whether the model takes a longest answer of ``limit`` with this request."""
    settings = at(document, (ADDITIONAL,)) if operation.kind is Kind.CONVERSE else document
    for name in _THINKING:
        thinking = at(settings, (name,))
        budget = at(thinking, ("budget_tokens",))
        if type(budget) is int and budget >= limit and at(thinking, ("type",)) != "disabled":
            return False
    if family(model_id) == "amazon.nova":
        efforts = (at(settings, _NOVA_EFFORT), at(settings, ("inferenceConfig", *_NOVA_EFFORT)))
        return "high" not in efforts
    return True
