"""Where a request says how long its answer may be, family by family.

Knows the members of native bodies that limit the output or ask for several answers. Must not know money, nor how a body
is read or changed (``dialects.requests``, ``dialects.clamp``). What is read here is a bound: a member that the model
may pass over does not lower it.

Source: bedrock-runtime service-2.json (``inferenceConfig.maxTokens``); Bedrock user guide, "Inference request
parameters and response fields for foundation models", one page a family.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from bedrock_gateway.wire.operations import Kind, Operation

__all__ = [
    "ADDITIONAL",
    "CONVERSE_MAX_TOKENS",
    "Path",
    "answers",
    "at",
    "family",
    "max_tokens",
    "max_tokens_each",
    "places",
]

Path = tuple[str, ...]

#: Member of a Converse request that holds a model's own parameters.
ADDITIONAL = "additionalModelRequestFields"
CONVERSE_MAX_TOKENS: Path = ("inferenceConfig", "maxTokens")
#: Where a model family's own body says how many tokens it may answer, by provider as it stands in a model id; the
#: member a request without any is given comes first.
_MAX_TOKENS: Mapping[str, tuple[Path, ...]] = {
    "anthropic": (("max_tokens",), ("max_tokens_to_sample",)),
    "amazon.nova": (("inferenceConfig", "maxTokens"), ("inferenceConfig", "max_new_tokens")),
    "amazon.titan": (("textGenerationConfig", "maxTokenCount"),),
    "ai21.j2": (("maxTokens",),),
    "ai21.jamba": (("max_tokens",),),
    "openai": (("max_completion_tokens",), ("max_tokens",)),
    "meta": (("max_gen_len",),),
    **dict.fromkeys(("cohere", "deepseek", "mistral", "writer"), (("max_tokens",),)),
    **dict.fromkeys(
        ("google", "minimax", "moonshot", "moonshotai", "nvidia", "qwen", "xai", "zai"),
        (("max_tokens",), ("max_completion_tokens",)),
    ),
}
#: A model's own parameters go round inferenceConfig; which of two AWS obeys is the model's business.
_CONVERSE_PLACES = (
    CONVERSE_MAX_TOKENS,
    *((ADDITIONAL, *path) for path in sorted({path for paths in _MAX_TOKENS.values() for path in paths})),
)
#: How many answers are asked for at once, each up to the maximum.
_ANSWERS = ("n", "num_generations", "numResults")
#: Providers whose families speak differently; ids go on ``amazon.nova-…``, ``ai21.jamba-…``.
_DIVIDED = ("amazon", "ai21")


def max_tokens(operation: Operation, model_id: str, parsed_body: object) -> int | None:
    """Return how many tokens a request lets its answer have at most, or None where it does not say.

    Of several answers asked for at once the tokens of all are meant.

    ``model_id`` tells the family of an InvokeModel body: an id, a geo-prefixed id, or an ARN that ends in one; an ARN
    that does not (provisioned, application inference profile) takes the id of the model behind it. None also where the
    body says it in a way that cannot be read or the family is not known: the result is a bound, and then only the
    model's own maximum is one.
    """
    each = max_tokens_each(operation, model_id, parsed_body)
    number = answers(operation, parsed_body)
    return None if each is None or number is None else each * number


def max_tokens_each(operation: Operation, model_id: str, parsed_body: object) -> int | None:
    """Return how many tokens each answer may have at most, or None; arguments as of ``max_tokens``."""
    if operation.kind is not Kind.CONVERSE:
        return _greatest(parsed_body, places(operation, model_id))
    told = at(parsed_body, CONVERSE_MAX_TOKENS)
    if told is None or (isinstance(parsed_body, dict) and parsed_body.get(ADDITIONAL) is not None):
        # A parameter among the additional ones may be none of this model's: it can raise the bound and not set it.
        return None if told is None else _greatest(parsed_body, _CONVERSE_PLACES)
    return told if type(told) is int and told >= 1 else None


def answers(operation: Operation, parsed_body: object) -> int | None:
    """Return how many answers are asked for at once; None where that cannot be read."""
    asking = parsed_body
    if operation.kind is Kind.CONVERSE and isinstance(parsed_body, dict):
        asking = parsed_body.get(ADDITIONAL)
    if not isinstance(asking, dict):
        return 1
    asked = [name for name in _ANSWERS if asking.get(name) is not None]
    return _greatest(asking, tuple((name,) for name in asked)) if asked else 1


def places(operation: Operation, model_id: str) -> tuple[Path, ...]:
    """Return every member that may limit the output of such a request; none for families that are not known."""
    if operation.kind is Kind.CONVERSE:
        return _CONVERSE_PLACES
    return _MAX_TOKENS.get(family(model_id), ()) if operation.kind is Kind.INVOKE else ()


@lru_cache(maxsize=1024)
def family(model_id: str) -> str:
    """Return the model family a model id names (``anthropic``, ``amazon.nova``), or "" for one that is not known.

    ``us.anthropic.claude-…``, ``anthropic.claude-…`` and ``arn:…:foundation-model/anthropic.claude-…`` are all
    ``anthropic``.
    """
    parts = model_id.rpartition("/")[2].split(".")
    for index, part in enumerate(parts[:2]):
        if part in _MAX_TOKENS:
            return part
        if part in _DIVIDED and index + 1 < len(parts):
            return f"{part}.{parts[index + 1].partition('-')[0]}"
    return ""


def at(document: object, path: Path) -> object:
    """Return what stands at a path of JSON objects, None where nothing does."""
    for name in path:
        if not isinstance(document, dict):
            return None
        document = document.get(name)
    return document


def _greatest(document: object, paths: tuple[Path, ...]) -> int | None:
    """Return the greatest of the positive integers at the paths, or None where there is none or anything else."""
    greatest: int | None = None
    for path in paths:
        value = at(document, path)
        if value is None:
            continue
        if type(value) is not int or value < 1:
            return None
        greatest = value if greatest is None else max(greatest, value)
    return greatest
