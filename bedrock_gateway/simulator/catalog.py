"""The control plane's reads: foundation models and inference profiles. A small catalogue, real in shape; the list is
not AWS's.

Source: botocore service model of bedrock (``FoundationModelSummary``, ``InferenceProfileSummary``, patterns and
limits).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from bedrock_gateway.simulator.models import parse_model
from bedrock_gateway.simulator.protocol import SimulatedError, Whole, compact, require

__all__ = ["ACCOUNT", "Catalog"]

ACCOUNT = "000000000000"
CREATED = "2025-01-01T00:00:00Z"
REGIONS = {"us": ("us-east-1", "us-east-2", "us-west-2"), "eu": ("eu-central-1", "eu-west-1", "eu-west-3")}


@attrs.frozen
class Entry:
    """One model: id, name, provider, what goes in and comes out, whether it streams, geo prefixes of its profiles."""

    id: str
    name: str
    provider: str
    inputs: tuple[str, ...] = ("TEXT",)
    outputs: tuple[str, ...] = ("TEXT",)
    streams: bool = True
    profiles: tuple[str, ...] = ()


#: What every application inference profile stands for.
PROFILED = "anthropic.claude-sonnet-4-20250514-v1:0"
_SEEN = ("TEXT", "IMAGE")
ENTRIES = (
    Entry("anthropic.claude-3-haiku-20240307-v1:0", "Claude 3 Haiku", "Anthropic", _SEEN),
    Entry("anthropic.claude-sonnet-4-20250514-v1:0", "Claude Sonnet 4", "Anthropic", _SEEN, profiles=("us", "eu")),
    Entry("anthropic.claude-sonnet-4-5-20250929-v1:0", "Claude Sonnet 4.5", "Anthropic", _SEEN, profiles=("us", "eu")),
    Entry("anthropic.claude-haiku-4-5-20251001-v1:0", "Claude Haiku 4.5", "Anthropic", _SEEN, profiles=("us", "eu")),
    Entry("amazon.nova-micro-v1:0", "Nova Micro", "Amazon", profiles=("us", "eu")),
    Entry("amazon.nova-lite-v1:0", "Nova Lite", "Amazon", _SEEN, profiles=("us", "eu")),
    Entry("amazon.nova-pro-v1:0", "Nova Pro", "Amazon", _SEEN, profiles=("us", "eu")),
    Entry("amazon.nova-canvas-v1:0", "Nova Canvas", "Amazon", _SEEN, ("IMAGE",), streams=False),
    Entry("amazon.nova-reel-v1:0", "Nova Reel", "Amazon", _SEEN, ("VIDEO",), streams=False),
    Entry("amazon.titan-embed-text-v1", "Titan Embeddings", "Amazon", outputs=("EMBEDDING",), streams=False),
    Entry("amazon.titan-embed-text-v2:0", "Titan Embeddings V2", "Amazon", outputs=("EMBEDDING",), streams=False),
    Entry("amazon.titan-image-generator-v2:0", "Titan Image V2", "Amazon", _SEEN, ("IMAGE",), streams=False),
    Entry("amazon.titan-text-express-v1", "Titan Text Express", "Amazon"),
    Entry("ai21.jamba-1-5-large-v1:0", "Jamba 1.5 Large", "AI21 Labs"),
    Entry("cohere.command-r-plus-v1:0", "Command R+", "Cohere"),
    Entry("cohere.embed-english-v3", "Embed English", "Cohere", outputs=("EMBEDDING",), streams=False),
    Entry("cohere.rerank-v3-5:0", "Rerank 3.5", "Cohere", streams=False),
    Entry("deepseek.r1-v1:0", "DeepSeek-R1", "DeepSeek", profiles=("us",)),
    Entry("meta.llama3-3-70b-instruct-v1:0", "Llama 3.3 70B", "Meta", profiles=("us",)),
    Entry("mistral.mistral-large-2402-v1:0", "Mistral Large", "Mistral AI"),
    Entry("openai.gpt-oss-120b-1:0", "gpt-oss-120b", "OpenAI"),
    Entry("qwen.qwen3-32b-v1:0", "Qwen3 32B", "Qwen"),
    Entry("stability.sd3-5-large-v1:0", "SD3.5 Large", "Stability AI", _SEEN, ("IMAGE",), streams=False),
)


def model_arn(model_id: str, region: str) -> str:
    """Spell a foundation model's ARN."""
    return f"arn:aws:bedrock:{region}::foundation-model/{model_id}"


def page(items: list[Any], query: Mapping[str, str], default: int) -> tuple[list[Any], dict[str, str]]:
    """Cut one page out of a list by ``maxResults`` and ``nextToken``; the token is where the next page begins."""
    most, token = query.get("maxResults", str(default)), query.get("nextToken", "0")
    require(most.isascii() and most.isdigit() and 1 <= int(most) <= 1_000, "maxResults: must be from 1 to 1000.")
    require(token.isascii() and token.isdigit() and len(token) < 10, "nextToken: is not valid.")
    start, end = int(token), int(token) + int(most)
    return items[start:end], {"nextToken": str(end)} if end < len(items) else {}


def _summary(entry: Entry, region: str) -> dict[str, Any]:
    return {
        "modelArn": model_arn(entry.id, region),
        "modelId": entry.id,
        "modelName": entry.name,
        "providerName": entry.provider,
        "inputModalities": list(entry.inputs),
        "outputModalities": list(entry.outputs),
        "responseStreamingSupported": entry.streams,
        "customizationsSupported": [],
        "inferenceTypesSupported": ["ON_DEMAND", "INFERENCE_PROFILE"] if entry.profiles else ["ON_DEMAND"],
        "modelLifecycle": {"status": "ACTIVE"},
    }


def _profile(entry: Entry, geo: str, region: str) -> dict[str, Any]:
    regions = REGIONS[geo] if region in REGIONS[geo] else (*REGIONS[geo], region)
    return {
        "inferenceProfileName": f"{geo.upper()} {entry.name}".replace(".", "-"),
        "description": f"Routes requests to {entry.name} in {geo.upper()} regions".replace(".", ":"),
        "createdAt": CREATED,
        "updatedAt": CREATED,
        "inferenceProfileArn": f"arn:aws:bedrock:{region}:{ACCOUNT}:inference-profile/{geo}.{entry.id}",
        "models": [{"modelArn": model_arn(entry.id, name)} for name in regions],
        "inferenceProfileId": f"{geo}.{entry.id}",
        "status": "ACTIVE",
        "type": "SYSTEM_DEFINED",
    }


def _application_profile(identity: str, region: str) -> dict[str, Any]:
    return {
        "inferenceProfileName": "simulated",
        "createdAt": CREATED,
        "updatedAt": CREATED,
        "inferenceProfileArn": f"arn:aws:bedrock:{region}:{ACCOUNT}:application-inference-profile/{identity}",
        "models": [{"modelArn": model_arn(PROFILED, region)}],
        "inferenceProfileId": identity,
        "status": "ACTIVE",
        "type": "APPLICATION",
    }


class Catalog:
    """Answers the four reads; ``query`` is the decoded query string."""

    @staticmethod
    def list_models(region: str, query: Mapping[str, str]) -> Whole:
        """Answer ListFoundationModels."""
        found = [_summary(entry, region) for entry in ENTRIES]
        filters: dict[str, Callable[[dict[str, Any], str], bool]] = {
            "byProvider": lambda item, wanted: item["providerName"].lower() == wanted.lower(),
            "byOutputModality": lambda item, wanted: wanted in item["outputModalities"],
            "byInferenceType": lambda item, wanted: wanted in item["inferenceTypesSupported"],
            "byCustomizationType": lambda item, wanted: wanted in item["customizationsSupported"],
        }
        for name, matches in filters.items():
            if name in query:
                found = [item for item in found if matches(item, query[name])]
        return Whole(body=compact({"modelSummaries": found}))

    @staticmethod
    def get_model(region: str, identifier: str) -> Whole:
        """Answer GetFoundationModel."""
        wanted = identifier.rpartition("/")[2]
        for entry in ENTRIES:
            if entry.id == wanted:
                return Whole(body=compact({"modelDetails": _summary(entry, region)}))
        parse_model(identifier)
        raise SimulatedError(
            404, "ResourceNotFoundException", "Could not resolve the foundation model from the model identifier."
        )

    @staticmethod
    def _profiles(region: str) -> list[dict[str, Any]]:
        """Give those of AWS's own; an account has none, until it is asked for one."""
        return [_profile(entry, geo, region) for entry in ENTRIES for geo in entry.profiles]

    def list_profiles(self, region: str, query: Mapping[str, str]) -> Whole:
        """Answer ListInferenceProfiles."""
        wanted = query.get("type", "SYSTEM_DEFINED")
        require(wanted in ("SYSTEM_DEFINED", "APPLICATION"), "type: must be SYSTEM_DEFINED or APPLICATION.")
        found = [profile for profile in self._profiles(region) if profile["type"] == wanted]
        shown, token = page(found, query, 100)
        return Whole(body=compact({"inferenceProfileSummaries": shown, **token}))

    def get_profile(self, region: str, identifier: str) -> Whole:
        """Answer GetInferenceProfile, by id or ARN."""
        wanted = identifier.rpartition("/")[2]
        for profile in self._profiles(region):
            if profile["inferenceProfileId"] == wanted:
                return Whole(body=compact(profile))
        if ":application-inference-profile/" in identifier and wanted:
            return Whole(body=compact(_application_profile(wanted, region)))
        raise SimulatedError(404, "ResourceNotFoundException", "Inference profile not found.")
