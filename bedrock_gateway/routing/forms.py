"""Model forms whose id does not tell which foundation model is behind it: which they are, what AWS is asked about each,
and what its answer says.

Knows ARNs and the shapes of AWS's answers. Asks nobody (``upstream.forms`` does) and keeps nothing.

Source: Amazon Bedrock API reference, GetProvisionedModelThroughput, GetInferenceProfile, GetPromptRouter,
GetCustomModel, GetCustomModelDeployment; Agents for Amazon Bedrock, GetPrompt.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Any

import attrs

from bedrock_gateway.routing.deployments import CredentialSource, Deployment
from bedrock_gateway.routing.model_names import bedrock_id, is_raw_id, parse_arn
from bedrock_gateway.wire.model_ids import plain_model

__all__ = ["Form", "FormKey", "Known", "Question", "form_of", "key_of", "question", "read_answer", "settled"]

#: What tells one id from another: the id, the region and whose account.
FormKey = tuple[str, str, CredentialSource]


class Form(StrEnum):
    """What an id that does not tell its model is."""

    PROVISIONED = "provisioned throughput"
    PROFILE = "application inference profile"
    ROUTER = "prompt router"
    CUSTOM = "custom model"
    CUSTOM_DEPLOYMENT = "deployment of a custom model"
    PROMPT = "prompt"


#: By resource type of the ARN. An imported model has no foundation model behind it that anybody could be told.
_FORMS = {
    "provisioned-model": Form.PROVISIONED,
    "application-inference-profile": Form.PROFILE,
    "prompt-router": Form.ROUTER,
    "default-prompt-router": Form.ROUTER,
    "custom-model": Form.CUSTOM,
    "custom-model-deployment": Form.CUSTOM_DEPLOYMENT,
    "prompt": Form.PROMPT,
}
_ASKED = {
    Form.PROVISIONED: ("bedrock:GetProvisionedModelThroughput", "provisionedModelId"),
    Form.PROFILE: ("bedrock:GetInferenceProfile", "inferenceProfileIdentifier"),
    Form.ROUTER: ("bedrock:GetPromptRouter", "promptRouterArn"),
    Form.CUSTOM: ("bedrock:GetCustomModel", "modelIdentifier"),
    Form.CUSTOM_DEPLOYMENT: ("bedrock:GetCustomModelDeployment", "customModelDeploymentIdentifier"),
    Form.PROMPT: ("bedrock-agent:GetPrompt", "promptIdentifier"),
}
#: Geo prefixes by how all the regions of a profile begin.
_GEOS = (("us-gov-", "us-gov"), ("us-", "us"), ("eu-", "eu"), ("ap-", "apac"))


@attrs.frozen(kw_only=True)
class Question:
    """One read operation: its IAM-like name, its only label with the value, its query."""

    operation: str
    labels: Mapping[str, str]
    query: str = ""


@attrs.frozen(kw_only=True)
class Known:
    """What AWS says of an id.

    Attributes:
        arn: what is called.
        models: ids of the foundation models that may answer, the usual one first; geo prefixes are off.
        price_model: id its prices are looked up by; "" where it has none of its own: a custom model costs what its
            owner is billed, not what its base does.
        units: model units of a provisioned throughput; commitment: AWS's word for its term ("" for none).
    """

    arn: str
    models: tuple[str, ...]
    price_model: str = ""
    units: int | None = None
    commitment: str = ""


def form_of(deployment: Deployment) -> Form | None:
    """Return what has to be looked up of a deployment; None where its id or its ``base_model`` tells everything."""
    if deployment.behind:
        return None
    if deployment.flat and not (deployment.model_id.startswith("arn:") and is_raw_id(deployment.price_model)):
        return Form.PROVISIONED  # the name of one, or one whose model nobody gave
    arn = parse_arn(deployment.price_model)
    return None if arn is None else _FORMS.get(arn.kind)


def key_of(deployment: Deployment) -> FormKey:
    """Return what a deployment's form is known by."""
    return deployment.model_id, deployment.region, deployment.credentials


def question(model_id: str, form: Form) -> Question:
    """Return what AWS is asked about an id."""
    operation, label = _ASKED[form]
    if form is not Form.PROMPT:
        return Question(operation=operation, labels={label: model_id})
    # arn:aws:bedrock:REGION:ACCOUNT:prompt/ID:VERSION
    arn = parse_arn(model_id)
    name, _, version = (arn.name if arn is not None else model_id).partition(":")
    return Question(operation=operation, labels={label: name}, query=f"promptVersion={version}" if version else "")


def read_answer(model_id: str, form: Form, answer: Mapping[str, Any]) -> Known | tuple[str, Form]:
    """Return what an answer says of an id: what is known now, or the id and form that are to be asked about next.

    Raises:
        ValueError: it names no model.
    """
    if form is Form.PROVISIONED:
        arn = _text(answer, "provisionedModelArn")
        model = bedrock_id(_text(answer, "foundationModelArn"))
        units = answer.get("modelUnits")
        return Known(
            arn=arn or model_id,
            models=(plain_model(model),),
            price_model=model,
            units=units if type(units) is int and units > 0 else None,
            commitment=answer["commitmentDuration"] if isinstance(answer.get("commitmentDuration"), str) else "",
        )
    if form is Form.PROFILE:
        arns = _texts(answer.get("models"), "modelArn")
        models = _plain(arns)
        return Known(arn=model_id, models=models, price_model=_geo(arns) + models[0])
    if form is Form.ROUTER:
        fallback = answer.get("fallbackModel")
        first = _texts([fallback], "modelArn") if fallback else []
        arns = [*first, *_texts(answer.get("models"), "modelArn")]
        return Known(arn=model_id, models=_plain(arns), price_model=bedrock_id(arns[0]))
    if form is Form.PROMPT:
        named = _texts(answer.get("variants"), "modelId")
        return Known(arn=model_id, models=_plain(named), price_model=bedrock_id(named[0]))
    if form is Form.CUSTOM_DEPLOYMENT:
        return _text(answer, "modelArn"), Form.CUSTOM
    return Known(arn=model_id, models=_plain([_text(answer, "baseModelArn")]))


@lru_cache(maxsize=4096)
def settled(deployment: Deployment, known: Known) -> Deployment:
    """Return a deployment with what is known of its form; the same one each time, for what is counted of it."""
    own = deployment.price_model.startswith("arn:") or not is_raw_id(deployment.price_model)
    return attrs.evolve(
        deployment,
        model_id=known.arn if deployment.flat else deployment.model_id,
        price_model=known.price_model or deployment.price_model if own else deployment.price_model,
        behind=known.models,
        units=deployment.units if deployment.units is not None else known.units,
        commitment=deployment.commitment or known.commitment,
    )


def _text(answer: Mapping[str, Any], name: str) -> str:
    value = answer.get(name)
    if not isinstance(value, str) or not value:
        raise ValueError(f"the answer has no {name}")
    return value


def _texts(items: object, name: str) -> list[str]:
    found = [item.get(name) for item in items if isinstance(item, dict)] if isinstance(items, list) else []
    texts = [text for text in found if isinstance(text, str) and text]
    if not texts:
        raise ValueError(f"the answer names no {name}")
    return texts


def _plain(models: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(plain_model(bedrock_id(model)) for model in models))


def _geo(arns: Iterable[str]) -> str:
    """Return the geo prefix under which AWS bills a profile that leads to models in these regions, "" for one region.

    A profile says which regions it leads to, and not of which system profile it is a copy.
    """
    regions = {arn.region for arn in map(parse_arn, arns) if arn is not None}
    if len(regions) == 1 and "" not in regions:
        return ""
    for start, geo in _GEOS:
        if all(region.startswith(start) for region in regions):
            return f"{geo}."
    return "global."
