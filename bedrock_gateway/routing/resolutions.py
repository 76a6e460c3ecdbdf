"""Where a name leads: the deployments a call may go to, and what they are called where somebody's rights, budgets and
limits are looked at.
"""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache

import attrs

from bedrock_gateway.dialects.output_limits import family
from bedrock_gateway.routing.deployments import Deployment
from bedrock_gateway.routing.forms import form_of
from bedrock_gateway.routing.model_names import is_raw_id
from bedrock_gateway.wire.model_ids import plain_model

__all__ = ["READY", "Resolution", "Via", "budget_names", "foundation_models", "kinds", "of_kind"]

#: Raw ids and wildcard matches kept ready; each costs some microseconds to make.
READY = 2048


class Via(StrEnum):
    """How a name was found."""

    GROUP = "group"
    ALIAS = "alias"
    DEPLOYMENT = "deployment"  # a raw id that a deployment names
    WILDCARD = "wildcard"
    RAW = "raw"  # a raw id nothing names: the ambient deployment


@attrs.frozen(kw_only=True, eq=False)
class Resolution:
    """Where a call may go. One that is made once is what others are kept by, so it is equal to itself only.

    Attributes:
        model_group: public name it is booked under; "" for a raw id nothing names.
        candidates: deployments in tiers, first choice first; no tier is empty.
        via: how the name was found.
        lone: there is one deployment only.
        unsettled: AWS has not said yet which model is behind one of them.
        limits_tokens: one of them has a limit on tokens; budgeted: one has a budget of its own.
    """

    model_group: str
    candidates: tuple[tuple[Deployment, ...], ...]
    via: Via
    lone: bool = attrs.field(init=False)
    unsettled: bool = attrs.field(init=False)
    limits_tokens: bool = attrs.field(init=False)
    budgeted: bool = attrs.field(init=False)

    @lone.default
    def _lone(self) -> bool:
        return len(self.candidates) == 1 and len(self.candidates[0]) == 1

    @unsettled.default
    def _unsettled(self) -> bool:
        return any(form_of(deployment) is not None for deployment in self.deployments())

    @limits_tokens.default
    def _limits_tokens(self) -> bool:
        return any(deployment.tpm is not None for deployment in self.deployments())

    @budgeted.default
    def _budgeted(self) -> bool:
        return any(deployment.budget is not None for deployment in self.deployments())

    def deployments(self) -> tuple[Deployment, ...]:
        """Return every candidate, tier after tier."""
        return tuple(deployment for tier in self.candidates for deployment in tier)


@lru_cache(maxsize=READY)
def foundation_models(resolution: Resolution) -> tuple[tuple[str, ...], ...]:
    """Return the ids of each foundation model a call may end at: as it is called, and without its geo prefix.

    One whose ARN does not tell (provisioned, application profile, router), whose ``base_model`` nobody gave, and of
    which AWS has not told, has none.
    """
    found: dict[tuple[str, ...], None] = {}
    for deployment in resolution.deployments():
        model = deployment.price_model
        if deployment.behind:
            # A router may choose any of them.
            found.update(dict.fromkeys((one,) for one in deployment.behind))
        elif is_raw_id(model) and not model.startswith("arn:"):
            found[tuple(dict.fromkeys((model, plain_model(model))))] = None
        else:
            found[()] = None
    return tuple(found)


@lru_cache(maxsize=READY)
def kinds(resolution: Resolution) -> tuple[str, ...]:
    """Return whose words the body of an InvokeModel has to be in, by deployment: a model family, or the plain id of a
    model of none that is known.
    """
    models = [deployment.foundation for deployment in resolution.deployments()]
    return tuple(family(model) or plain_model(model) for model in models)


@lru_cache(maxsize=READY)
def of_kind(resolution: Resolution, kind: str) -> Resolution | None:
    """Return what of a resolution takes the body of an InvokeModel in these words; None where nothing does."""
    its = dict(zip(resolution.deployments(), kinds(resolution), strict=True))
    if set(its.values()) == {kind}:
        return resolution
    tiers = [tuple(one for one in tier if its[one] == kind) for tier in resolution.candidates]
    found = tuple(tier for tier in tiers if tier)
    return Resolution(model_group=resolution.model_group, candidates=found, via=resolution.via) if found else None


@lru_cache(maxsize=READY)
def budget_names(resolution: Resolution) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names by which a call counts in budgets and limits of models, as ``access.accounts`` books them: the
    group, and the plain id of each model it may end at. Second, the groups of its deployments that it does not count
    in, because an alias leads to several.
    """
    group, deployments = resolution.model_group, resolution.deployments()
    named = [group] if group and "*" not in group else []
    names = dict.fromkeys([*named, *(plain_model(deployment.model_id) for deployment in deployments)])
    others = dict.fromkeys(deployment.model_group for deployment in deployments if deployment.model_group != group)
    return tuple(name for name in names if name), tuple(other for other in others if other)
