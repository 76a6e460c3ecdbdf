"""Model ids: what shape they have, which family answers for them.

Knows AWS's spelling of ids and ARNs; any id of a known provider is served, whether AWS has that model or not. What
an opaque ARN (provisioned model, application inference profile, custom model, prompt router …) stands for is told by
the request's body.
Source: botocore service model of bedrock-runtime, pattern of ``modelId``; AWS user guide, inference profiles (geo
prefixes).
"""

from __future__ import annotations

import re
from typing import Any

import attrs

from bedrock_gateway.simulator.protocol import SimulatedError, invalid

__all__ = ["Model", "family_of", "parse_model"]

GEO_PREFIXES = ("us", "eu", "apac", "au", "in", "jp", "global", "us-gov", "ca", "sa", "uk")
CHAT = "chat"
PROVIDERS = {
    "ai21": CHAT,
    "amazon": "nova",
    "anthropic": "anthropic",
    "cohere": "cohere-chat",
    "deepseek": "deepseek",
    "google": CHAT,
    "luma": "async-only",
    "meta": "llama",
    "minimax": CHAT,
    "mistral": "mistral",
    "moonshot": CHAT,
    "moonshotai": CHAT,
    "nvidia": CHAT,
    "openai": CHAT,
    "qwen": CHAT,
    "stability": "stability",
    "twelvelabs": "async-only",
    "writer": CHAT,
    "xai": CHAT,
    "zai": CHAT,
}
_ID = re.compile(rf"(?:(?P<geo>{'|'.join(GEO_PREFIXES)})\.)?(?P<provider>[a-z0-9]+)\.(?P<name>[a-zA-Z0-9][\w.:-]*)")
_ARN = re.compile(
    r"arn:aws[a-z-]*:(?P<service>bedrock|sagemaker):(?P<region>[a-z0-9-]*):\d*:(?P<kind>[a-z-]+)/(?P<rest>.+)"
)
_OPAQUE = frozenset(
    {
        "application-inference-profile",
        "custom-model",
        "custom-model-deployment",
        "default-prompt-router",
        "endpoint",
        "imported-model",
        "prompt",
        "prompt-router",
        "provisioned-model",
    }
)
# More telling parts of a name than its provider, in the order tried.
_FAMILIES = (
    ("amazon", "rerank", "rerank"),
    ("amazon", "titan-embed-image", "titan-embed"),
    ("amazon", "titan-embed", "titan-embed"),
    ("amazon", "titan-image", "canvas"),
    ("amazon", "titan", "titan"),
    ("amazon", "nova-canvas", "canvas"),
    ("amazon", "nova-reel", "async-only"),
    ("amazon", "sonic", "async-only"),
    ("amazon", "multimodal-embeddings", "nova-embed"),
    ("cohere", "embed", "cohere-embed"),
    ("cohere", "rerank", "rerank"),
    ("cohere", "command-text", "cohere-prompt"),
    ("cohere", "command-light", "cohere-prompt"),
)
NOT_CHAT = frozenset(
    {"async-only", "canvas", "cohere-embed", "nova-embed", "rerank", "stability", "titan-embed", "cohere-prompt"}
)


@attrs.frozen(kw_only=True)
class Model:
    """A model as asked for.

    Attributes:
        asked: the id or ARN, decoded.
        name: the part after the provider, or "" behind an opaque ARN.
        provider: "" behind an opaque ARN.
        family: which part of the simulator speaks for it; None where the body must tell.
    """

    asked: str
    name: str
    provider: str
    family: str | None


def parse_model(asked: str) -> Model:
    """Recognise a model id or ARN.

    Raises:
        SimulatedError: 400 ``ValidationException``, in AWS's words.
    """
    plain = asked
    arn = _ARN.fullmatch(asked)
    if arn is not None:
        if arn["kind"] in _OPAQUE and len(asked) <= 2_048:
            return Model(asked=asked, name="", provider="", family=None)
        plain = arn["rest"] if arn["kind"] in ("foundation-model", "inference-profile") else ""
    found = _ID.fullmatch(plain)
    if found is None or found["provider"] not in PROVIDERS or len(asked) > 2_048:
        raise invalid_model()
    provider, name = found["provider"], found["name"]
    family = next(
        (family for owner, part, family in _FAMILIES if owner == provider and part in name), PROVIDERS[provider]
    )
    return Model(asked=asked, name=name, provider=provider, family=family)


def invalid_model() -> SimulatedError:
    """Make AWS's answer to an id it does not know."""
    return invalid("The provided model identifier is invalid.")


def family_of(model: Model, body: dict[str, Any]) -> str:
    """Tell which family answers an InvokeModel request: by the id where that tells, else by the body."""
    family = model.family
    if family in ("mistral", "deepseek"):
        return CHAT if "messages" in body else f"{family}-prompt"
    if family == "llama" and "messages" in body and "prompt" not in body:
        return CHAT
    if family is not None:
        return family
    if "anthropic_version" in body:
        return "anthropic"
    if "taskType" in body:
        return "canvas"
    if "texts" in body or "input_type" in body:
        return "cohere-embed"
    if "query" in body and "documents" in body:
        return "rerank"
    if "inputText" in body:
        return "titan-embed" if "dimensions" in body or "embeddingTypes" in body else "titan"
    if "inferenceConfig" in body or "schemaVersion" in body or _has_bare_blocks(body.get("messages")):
        return "nova"
    if "messages" in body:
        return CHAT
    if "message" in body:
        return "cohere-chat"
    return "llama"


def _has_bare_blocks(messages: Any) -> bool:
    """Tell Nova's ``content: [{"text": ...}]`` from the typed blocks of other shapes."""
    if not isinstance(messages, list) or not messages or not isinstance(messages[0], dict):
        return False
    content = messages[0].get("content")
    return isinstance(content, list) and all(isinstance(block, dict) and "type" not in block for block in content)
