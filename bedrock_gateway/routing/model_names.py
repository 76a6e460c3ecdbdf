"""What a model is called: AWS's model ids and ARNs, and the spellings LiteLLM's ``model`` allows around them.

Knows no deployment and no YAML. A geo prefix (``us.``, ``eu.``, …) is part of the id and is never taken off here.

Source: Bedrock User Guide, "Supported foundation models" (ids ``provider.model-v1:0``) and "Inference profiles" (geo
prefixes and ARNs); IAM Service Authorization Reference, "Amazon Bedrock", resource types; LiteLLM documentation, "AWS
Bedrock" (prefixes of ``model``).
"""

from __future__ import annotations

import re
from enum import StrEnum

import attrs

__all__ = [
    "REGION",
    "Arn",
    "ModelName",
    "NameKind",
    "bedrock_id",
    "is_raw_id",
    "parse_arn",
    "parse_model",
]

#: A region as AWS spells one; anything else never gets near a host name, of which it is one label (at most 63
#: characters).
REGION = re.compile(r"[a-z]{2,6}(?:-[a-z]{1,16}){1,3}-[0-9]{1,2}")

#: ``arn:partition:service:region:account:resource``. SageMaker endpoints (Bedrock Marketplace) are called by their ARN
#: too.
_ARN = re.compile(
    r"arn:(?P<partition>aws(?:-[a-z]+)*):(?P<service>[a-z0-9-]+):(?P<region>[a-z0-9-]*):(?P<account>\d*|aws):(?P<resource>\S+)"
)

#: ``provider.model``, with a geo prefix or without. The part after the provider begins with a letter, so that names
#: such as ``gpt-4.1`` or ``llama3.1`` are not taken for Bedrock's.
_DOTTED = re.compile(r"(?:(?:us-gov|[a-z]{2,6})\.)?[a-z][a-z0-9]+\.[a-z][A-Za-z0-9._:-]*")

#: Prefixes that choose one of LiteLLM's ways to call the same model id.
_ROUTES = frozenset({"async_invoke", "chat_completions", "converse", "converse_like", "invoke"})

#: Prefixes that name the body format of the custom or imported model whose ARN follows: of those that are conversed
#: with through InvokeModel, and all others.
_INVOKED = frozenset({"deepseek_r1", "llama", "moonshot", "openai", "qwen2", "qwen3"})
_FORMATS = _INVOKED | {"nova", "nova-2", "stability"}

#: Prefixes of things that are not models of bedrock-runtime.
_OTHER_SERVICES = frozenset({"agent", "agentcore", "claude_platform", "mantle"})

#: Longest model id AWS takes (bedrock-runtime API reference, ``modelId``: 2048).
_LONGEST = 2048


class NameKind(StrEnum):
    """What ``model`` turned out to be."""

    MODEL = "model"  # an id or ARN that can be called
    WILDCARD = "wildcard"  # ``*`` stands for what the caller asked
    PROVISIONED = "provisioned"  # the name of a provisioned throughput; ``model_id`` or AWS tells its ARN
    OTHER_SERVICE = "other-service"  # an agent and the like
    OTHER_PROVIDER = "other-provider"  # not Bedrock


@attrs.frozen(kw_only=True)
class ModelName:
    """One parsed ``model``.

    Attributes:
        kind: what it is.
        id: id or ARN with every prefix taken off; for another service or provider, the name of that.
        region: region written in ``bedrock/REGION/ID``, or "".
        body_format: conversations are to go through InvokeModel (``bedrock/invoke/…``): the name of the body's format
            that is written too (``bedrock/llama/ARN``), else ""; None: through Converse.
    """

    kind: NameKind
    id: str
    region: str = ""
    body_format: str | None = None


@attrs.frozen(kw_only=True)
class Arn:
    """The parts of an ARN that matter here; ``kind`` is its resource type (``provisioned-model``, …)."""

    service: str
    region: str
    kind: str
    name: str


def parse_arn(text: str) -> Arn | None:
    """Take an ARN apart, or return None where the text is none."""
    if not text.startswith("arn:"):
        return None
    match = _ARN.fullmatch(text)
    if match is None:
        return None
    kind, _, name = match["resource"].partition("/")
    return Arn(service=match["service"], region=match["region"], kind=kind, name=name)


def is_raw_id(name: str) -> bool:
    """Tell whether a name can go to AWS as it is: an ARN of Bedrock, or an id with a dot-separated provider."""
    if len(name) > _LONGEST:
        return False
    if name.startswith("arn:"):
        arn = parse_arn(name)
        return arn is not None and arn.service in ("bedrock", "sagemaker") and bool(arn.name)
    return _DOTTED.fullmatch(name) is not None


def bedrock_id(name: str) -> str:
    """Return the id prices are looked up by: that in the ARN of a foundation model or system profile, else the name."""
    arn = parse_arn(name)
    return arn.name if arn is not None and arn.kind in ("foundation-model", "inference-profile") else name


def parse_model(model: str, custom_provider: str | None = None) -> ModelName:
    """Parse LiteLLM's ``model``: ``[bedrock/][ROUTE/][REGION/][FORMAT/]ID``, in any order of route and region.

    Args:
        model: as written in the config.
        custom_provider: ``custom_llm_provider``; with ``bedrock``, no prefix is needed.
    """
    provider, slash, rest = model.partition("/")
    if slash and provider == "bedrock":
        return _parse_rest(rest)
    if custom_provider is not None:
        if custom_provider == "bedrock":
            return _parse_rest(model)
        return ModelName(kind=NameKind.OTHER_PROVIDER, id=custom_provider)
    if model == "*":
        return ModelName(kind=NameKind.WILDCARD, id="*")
    if is_raw_id(model):
        return ModelName(kind=NameKind.MODEL, id=model)
    return ModelName(kind=NameKind.OTHER_PROVIDER, id=provider if slash else model)


def _parse_rest(rest: str) -> ModelName:
    """Parse what stands after ``bedrock/``."""
    region = route = form = ""
    while True:
        # An ARN holds slashes of its own: nothing is taken off it.
        head, slash, tail = ("", "", "") if rest.startswith("arn:") else rest.partition("/")
        if slash and head in _ROUTES and not route:
            route, rest = head, tail
        elif slash and not region and REGION.fullmatch(head):
            region, rest = head, tail
        elif slash and head in _FORMATS and tail.startswith("arn:"):
            form, rest = head, tail
        elif slash and head == "provisioned":
            return ModelName(kind=NameKind.PROVISIONED, id=tail, region=region)
        elif slash and head in _OTHER_SERVICES:
            return ModelName(kind=NameKind.OTHER_SERVICE, id=head, region=region)
        else:
            invoked = route == "invoke" or (form in _INVOKED and not route)
            return ModelName(
                kind=NameKind.WILDCARD if "*" in rest else NameKind.MODEL,
                id=rest,
                region=region,
                body_format=form if invoked else None,
            )
