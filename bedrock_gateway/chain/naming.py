"""The models a request names: whether its caller may use them, what those in a body lead to, and what is written in
their place for the deployment that is called.
"""

from __future__ import annotations

import asyncio
import json

from bedrock_gateway.access.rights import check_model, may_use
from bedrock_gateway.chain.bodies import OFF_LOOP
from bedrock_gateway.chain.call import Call
from bedrock_gateway.dialects.named_models import named_models, replace_models
from bedrock_gateway.errors import AccessDenied, InvalidRequest
from bedrock_gateway.routing.deployments import Deployment
from bedrock_gateway.routing.model_names import bedrock_id
from bedrock_gateway.routing.resolutions import Resolution, Via, foundation_models
from bedrock_gateway.wire.model_ids import foundation_arn
from bedrock_gateway.wire.model_places import ModelPlace
from bedrock_gateway.wire.operations import Kind

__all__ = ["check_rights", "member_of_body", "name_models", "read_models"]

#: Kinds of operations that may let other models work beside the leading one.
_OF_SEVERAL = (Kind.AGENT, Kind.GENERATE, Kind.RETRIEVE)


def member_of_body(call: Call, name: str) -> object:
    """Return a member of the JSON object in the body; None where there is none."""
    try:
        document = json.loads(call.body)
    except (ValueError, RecursionError):
        return None
    return document.get(name) if isinstance(document, dict) else None


def check_rights(call: Call, name: str, resolution: Resolution) -> None:
    """Refuse a model the caller may not use.

    Raises:
        AccessDenied: naming it.
    """
    assert call.caller is not None
    policy, raw = call.caller.policy, resolution.via is Via.RAW
    if policy.models or (raw and not policy.raw_models):
        models = foundation_models(resolution) if policy.models else ()
        listed = bool(call.snapshot.routing.deployments)
        check_model(call.caller, name, resolution.model_group, models, raw=raw, listed=listed)


async def read_models(call: Call) -> None:
    """Fill in ``call.models``, ``leading`` and ``asked``.

    Raises:
        InvalidRequest: the body cannot be read, or does not name the model that is to do the work.
        UnknownModel: a name leads nowhere.
        AccessDenied: a model that is to have a guardrail would work without it.
    """
    assert call.target is not None and call.caller is not None
    operation, aliases = call.target.operation, call.caller.policy.aliases
    if len(call.body) > OFF_LOOP:
        found = await asyncio.to_thread(named_models, call.body, operation.models)
    else:
        found = named_models(call.body, operation.models)
    call.models = {value: _resolve(call, aliases.get(value, value), place) for place, value in found}
    unsettled = [one for named in call.models.values() if named.unsettled for one in named.deployments()]
    if unsettled and await call.gateway.forms.look_up(unsettled):
        call.snapshot = call.gateway.snapshot
        call.models = {value: _resolve(call, aliases.get(value, value), place) for place, value in found}
    if operation.leading:
        by_path = {place.path: value for place, value in reversed(found)}
        call.leading = next((by_path[path] for path in operation.leading if path in by_path), "")
        if not call.leading:
            places = " or ".join(".".join(path) for path in operation.leading)
            raise InvalidRequest(f"The body names no model: {places} must be a model id.")
        call.asked = aliases.get(call.leading, call.leading)
    if operation.kind in _OF_SEVERAL:
        for place, value in found:
            # The leading model's is forced on the whole call, collaborators of an agent excepted.
            covered = value == call.leading and place.path[0] != "collaborators"
            if not covered and any(one.guardrail is not None for one in call.models[value].deployments()):
                raise AccessDenied(
                    f"{operation.name} would let {value[:200]!a} work without the guardrail that it is configured "
                    f"with: {'.'.join(place.path)} must be a model without one.",
                    at="model beside its guardrail",
                )


def _resolve(call: Call, name: str, place: ModelPlace) -> Resolution:
    assert call.caller is not None
    routing, policy = call.snapshot.routing, call.caller.policy
    resolution = routing.resolve(name, may_see=(lambda group: may_use(policy, group)) if policy.models else None)
    if resolution.via is Via.RAW and place.wants_arn and bedrock_id(name) != name:
        # Here AWS takes ARNs alone, so this is how a model is named that the config names by its id.
        by_id = routing.resolve(bedrock_id(name))
        return resolution if by_id.via is Via.RAW else by_id
    return resolution


async def name_models(call: Call, body: bytes | bytearray, deployment: Deployment) -> bytes | bytearray:
    """Return the body with every model as this deployment's account and region know it; the same object where that is
    how the caller named them.
    """
    assert call.target is not None

    def given(place: ModelPlace, value: str) -> str:
        resolution = call.models[value]
        if value == call.leading and deployment.model_id:
            model, region = deployment.model_id, deployment.region
        else:
            near = _nearest(resolution, deployment)
            model, region = near.model_id, near.region
        if resolution.via is Via.RAW and call.speech is None:
            return value if model == value else model
        return foundation_arn(model, region) if place.wants_arn else model

    places = call.target.operation.models
    if len(body) > OFF_LOOP:
        return await asyncio.to_thread(replace_models, body, places, given)
    return replace_models(body, places, given)


def _nearest(resolution: Resolution, deployment: Deployment) -> Deployment:
    """Return the deployment of another model that can be called beside this one, or the one most like that."""
    return max(
        resolution.deployments(),
        key=lambda one: (one.region == deployment.region, one.credentials == deployment.credentials),
    )
