"""What a caller may do: which operations, and which models. Pure.

Operations are named ``service:Operation``, by botocore's name of the service, and one by one also as IAM names them,
where all but AgentCore's are ``bedrock:``. A glob goes by the service: ``bedrock:*`` is the control plane. A virtual
key without a list of its own may use the default set and nothing else, so that a new operation is never allowed by its
name alone. Lists of models are held against the *resolved* foundation model: a profile, router or provisioned model
whose model is not known fits no pattern, only its own name.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from bedrock_gateway.access.callers import Caller, Policy
from bedrock_gateway.errors import AccessDenied
from bedrock_gateway.wire.operations import Kind, Operation

__all__ = [
    "DEFAULT_OPERATIONS",
    "check_model",
    "check_operation",
    "in_lists",
    "is_named",
    "may_operate",
    "may_use",
    "names_of",
]

#: What a virtual key may use unless it or the config says more: calling models, and the reads that SDKs and coding
#: agents need.
DEFAULT_OPERATIONS = frozenset(
    {
        "bedrock-runtime:Converse",
        "bedrock-runtime:ConverseStream",
        "bedrock-runtime:InvokeModel",
        "bedrock-runtime:InvokeModelWithResponseStream",
        "bedrock-runtime:CountTokens",
        "bedrock-runtime:ApplyGuardrail",
        "bedrock-runtime:InvokeGuardrailChecks",
        "bedrock-agent-runtime:Rerank",
        "bedrock:ListFoundationModels",
        "bedrock:GetFoundationModel",
        "bedrock:ListInferenceProfiles",
        "bedrock:GetInferenceProfile",
    }
)


def _fits(name: str, globs: Iterable[str]) -> bool:
    return any(name == glob or ("*" in glob and _matches(name, glob)) for glob in globs)


def _matches(name: str, glob: str) -> bool:
    """Tell whether a name fits a glob, in a time that its stars do not multiply: who may make keys writes the globs,
    and a regular expression of many stars would stop everything.
    """
    first, *middle, last = glob.split("*")
    if len(name) < len(first) + len(last) or not name.startswith(first) or not name.endswith(last):
        return False
    at, end = len(first), len(name) - len(last)
    for part in middle:
        # The first place a part is found at leaves the most for those behind it.
        at = name.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True


def may_operate(policy: Policy, operation: Operation, name: str, more: Iterable[str] = ()) -> bool:
    """Tell whether a policy allows an operation.

    Args:
        name: it goes by; method and path where AWS's own name is not known.
        more: globs the config adds to the default set.
    """
    if policy.operations is None and f"{operation.service}:{name}" in DEFAULT_OPERATIONS:
        return True
    if policy.operations == ("*",):
        return True
    return is_named(operation, name, tuple(more) if policy.operations is None else policy.operations)


def is_named(operation: Operation, name: str, globs: Collection[str]) -> bool:
    """Tell whether a list of names and globs has an operation; ``name`` as in ``may_operate``."""
    full, bare, in_iam = names_of(operation, name)
    return _fits(full, globs) or _fits(bare, globs) or in_iam in globs


def names_of(operation: Operation, name: str) -> tuple[str, str, str]:
    """Return what lists may call an operation: with its service, by its name alone, and as IAM does."""
    return f"{operation.service}:{name}", name, _in_iam(operation, name)


def _in_iam(operation: Operation, name: str) -> str:
    """Return the name IAM has for an operation."""
    return f"{operation.signing_name}:{name}"


def check_operation(caller: Caller, operation: Operation, name: str, more: Iterable[str] = ()) -> None:
    """Refuse an operation a caller may not use.

    Args:
        name: it goes by; method and path where AWS's own name is not known.
        more: as in ``may_operate``.

    Raises:
        AccessDenied: naming it as IAM would.
    """
    policy = caller.policy
    if not may_operate(policy, operation, name, more):
        unknown = "" if operation.known else " (an operation that this gateway's botocore does not know yet)"
        raise AccessDenied(
            f"Key {caller.name} is not authorized to perform {_in_iam(operation, name)}{unknown}: its "
            "allowed_operations do not name it.",
            at="operation",
        )
    changes = (operation.control and operation.kind is not Kind.READ) or not operation.known
    if changes and not policy.control_plane_changes:
        raise AccessDenied(
            f"An open gateway takes no {_in_iam(operation, name)}: it changes what there is in the account. Give the "
            "gateway a master key (LITELLM_MASTER_KEY), and call with that or with a key that may.",
            at="operation",
        )


def may_use(policy: Policy, model_group: str, model_ids: Iterable[str] = (), *, asked: str = "") -> bool:
    """Tell whether a policy lets a caller use a model.

    Args:
        model_group: the group it is in; "" for a raw id nothing names.
        model_ids: ids of the foundation models behind the name, with and without geo prefix; none where they are not
            known.
        asked: the name as it was asked for; fits only itself, unless it is one of ``model_ids``.
    """
    return not policy.models or in_lists(policy.models, model_group, model_ids, asked=asked)


def in_lists(
    lists: Iterable[tuple[str, ...]], model_group: str, model_ids: Iterable[str] = (), *, asked: str = ""
) -> bool:
    """Tell whether every list allows a model; arguments as of ``may_use``."""
    ids = tuple(model_ids)
    return all(
        asked in allowed or (model_group and _fits(model_group, allowed)) or any(_fits(name, allowed) for name in ids)
        for allowed in lists
    )


def check_model(
    caller: Caller, asked: str, model_group: str, models: Iterable[tuple[str, ...]], *, raw: bool, listed: bool
) -> None:
    """Refuse a model a caller may not use.

    Args:
        models: of each deployment that may be called, the ids of its foundation model, as ``may_use`` takes them.
        raw: nothing in the config names it.
        listed: the config has a list of models, so that raw ids are not for everybody.

    Raises:
        AccessDenied: naming the model as it was asked for.
    """
    policy = caller.policy
    if raw and listed and not policy.raw_models and not policy.models:
        raise AccessDenied(
            f"Key {caller.name} may not call model ids that the gateway's config does not name: {asked!a}. Ask for a "
            "model group, or have the key's models name this id.",
            at="raw model id",
        )
    if policy.models and not all(may_use(policy, model_group, ids, asked=asked) for ids in models):
        raise AccessDenied(f"Key {caller.name} may not use the model {asked!a}: its models do not name it.", at="model")
