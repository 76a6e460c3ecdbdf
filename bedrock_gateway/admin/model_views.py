"""What is shown of models, in LiteLLM's, OpenAI's and Anthropic's shapes. No secret is in any of it, and no ARN in what
keys without a role are shown: account ids are the operator's business.

Source: LiteLLM 1.109, ``/model/new``, ``/model/info``, ``/v1/models``; OpenAI API reference, "Models"; Anthropic API
reference, "Get a Model"; anthropic-python 2.14, ``types/model_info.py`` (the members it requires).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bedrock_gateway.admin.added_models import Added
from bedrock_gateway.admin.answers import iso
from bedrock_gateway.metering.litellm_prices import litellm_prices, mode_of
from bedrock_gateway.metering.prices import Price
from bedrock_gateway.routing.deployments import Deployment
from bedrock_gateway.store.sealing import is_sealed

__all__ = ["anthropic_view", "info", "listed", "not_served", "row"]

#: What LiteLLM tells of every model; clients tell OpenAI's models from Ollama's by the owner.
_CREATED, _OWNER = 1677610602, "openai"
#: What Anthropic tells of a model whose day of release is not known.
_UNKNOWN_DAY = "1970-01-01T00:00:00Z"


def row(added: Added) -> dict[str, Any]:
    """Return a model added over the API as what was written of it."""
    subject = added.subject
    return {
        "model_id": subject.id,
        "model_name": subject.document["model_name"],
        "litellm_params": _shown(subject.document["litellm_params"]),
        "model_info": {**subject.document["model_info"], "db_model": True},
        "blocked": subject.blocked,
        "created_at": iso(subject.created_at),
        "created_by": subject.created_by,
        "updated_at": iso(subject.updated_at),
        "updated_by": subject.updated_by,
    }


def info(deployment: Deployment, price: Price | None, *, added: Added | None = None, whole: bool) -> dict[str, Any]:
    """Return a deployment, and what its model costs and can do.

    Args:
        added: what was written of it, where it was added over the API.
        whole: with its parameters and what its ``model_info`` says; else only what any caller may know.
    """
    said = deployment.model_info
    most = said.get("max_output_tokens") or (price.max_output_tokens if price is not None else None)
    told: dict[str, Any] = {
        **(said if whole else {}),
        **litellm_prices(price),
        "id": deployment.id,
        "db_model": added is not None,
        "key": price.model if price is not None and price.model else None,
        "mode": said.get("mode") or mode_of(price),
        "region": deployment.region,
        "max_tokens": most,
        "max_input_tokens": said.get("max_input_tokens") or (price.max_input_tokens if price is not None else None),
        "max_output_tokens": most,
        "litellm_provider": "bedrock",
    }
    if whole and added is not None:
        told["blocked"] = added.subject.blocked
    model = deployment.price_model if not deployment.price_model.startswith("arn:") else deployment.model_group
    params: Mapping[str, Any] = {"model": model}
    if whole:
        params = _shown(added.subject.document["litellm_params"]) if added is not None else _params(deployment)
    return {"model_name": deployment.model_group, "litellm_params": params, "model_info": told}


def not_served(added: Added) -> dict[str, Any]:
    """Return a model that was added over the API and cannot be served, with the reason; its row may be damaged."""
    subject = added.subject
    params, said = subject.document.get("litellm_params"), subject.document.get("model_info")
    return {
        "model_name": str(subject.document.get("model_name", "")),
        "litellm_params": _shown(params) if isinstance(params, Mapping) else {},
        "model_info": {
            **(said if isinstance(said, Mapping) else {}),
            "id": subject.id,
            "db_model": True,
            "blocked": subject.blocked,
            "not_served": added.trouble,
        },
    }


def listed(name: str, deployment: Deployment, price: Price | None) -> dict[str, Any]:
    """Return a name callers may ask for as an entry of OpenAI's list of models, with what it costs (USD).

    Args:
        deployment: the first that would be called.
    """
    told = info(deployment, price, whole=False)["model_info"]
    costs = {key: rate for key, rate in litellm_prices(price).items() if rate is not None}
    return {
        "id": name,
        "object": "model",
        "created": _CREATED,
        "owned_by": _OWNER,
        "mode": told["mode"],
        "max_input_tokens": told["max_input_tokens"],
        "max_output_tokens": told["max_output_tokens"],
        **costs,
    }


def anthropic_view(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry of OpenAI's list of models as one of Anthropic's; what nobody knows of it is null."""
    return {
        "type": "model",
        "id": entry["id"],
        "display_name": entry["id"],
        "created_at": _UNKNOWN_DAY,
        "lifecycle": "active",
        "max_input_tokens": entry["max_input_tokens"],
        "max_tokens": entry["max_output_tokens"],
        "capabilities": None,
    }


def _shown(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters without those that hold secrets."""
    return {key: value for key, value in params.items() if not is_sealed(value)}


def _params(deployment: Deployment) -> dict[str, Any]:
    """Return the parameters of a deployment of the config, as far as they are nobody's secret."""
    source, words = deployment.credentials, deployment.body_format
    way = "" if words is None else f"{words or 'invoke'}/"
    params = {
        "model": f"bedrock/{way}{deployment.model_id}",
        "aws_region_name": deployment.region,
        "api_base": deployment.endpoints.get("bedrock-runtime"),
        "aws_role_name": source.role_arn,
        "aws_profile_name": source.profile,
        "weight": deployment.weight,
        "rpm": deployment.rpm,
        "tpm": deployment.tpm,
        "order": deployment.order,
        "tags": list(deployment.tags) or None,
        "timeout": deployment.timeout,
        "stream_timeout": deployment.stream_timeout,
        "max_retries": deployment.max_retries,
        **{name: _plain(value) for name, value in deployment.defaults.items()},
    }
    return {key: value for key, value in params.items() if value is not None}


def _plain(value: object) -> object:
    """Return a value of a config as JSON has it."""
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value
