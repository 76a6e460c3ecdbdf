"""Groups whose name holds ``*``: what their deployments are for a name that was asked for."""

from __future__ import annotations

import re

import attrs

from bedrock_gateway.routing.deployments import Deployment
from bedrock_gateway.routing.model_names import REGION, bedrock_id, is_raw_id, parse_arn

__all__ = ["Wildcard", "filled"]


@attrs.frozen
class Wildcard:
    """A group whose name holds ``*``, compiled."""

    group: str
    pattern: re.Pattern[str]
    deployments: tuple[Deployment, ...]


def filled(wildcard: Wildcard, asked: str, may_region: frozenset[str]) -> list[Deployment]:
    """Return a wildcard's deployments with what the stars of the group stand for put into their model ids.

    One whose model id would not be Bedrock's, or whose ARN is of a region that may not be used, is left out.
    """
    stars = re.compile("(.*)".join(map(re.escape, wildcard.group.split("*"))), re.DOTALL).fullmatch(asked)
    parts = list(stars.groups()) if stars else []
    members: list[Deployment] = []
    for deployment in wildcard.deployments:
        model_id = deployment.model_id
        if "*" in model_id:
            texts = model_id.split("*")
            # A lone star takes all that was asked for: model_name "*" with model "bedrock/*" passes ids through.
            filling = parts if len(parts) == len(texts) - 1 else ["*".join(parts)] * (len(texts) - 1)
            model_id = "".join(text + part for text, part in zip(texts, [*filling, ""], strict=True)).removeprefix(
                "bedrock/"
            )
            if not is_raw_id(model_id):
                # "*" of another provider's model, or a typing error: AWS would only say that the id is invalid.
                continue
        arn = parse_arn(model_id)
        region = arn.region if arn is not None and arn.region else deployment.region
        if region != deployment.region and (not REGION.fullmatch(region) or (may_region and region not in may_region)):
            continue
        price_model = deployment.price_model if "*" not in deployment.price_model else bedrock_id(model_id)
        members.append(
            attrs.evolve(
                deployment,
                model_id=model_id,
                price_model=price_model,
                flat=deployment.flat or (arn is not None and arn.kind == "provisioned-model"),
                region=region,
            )
        )
    return members
