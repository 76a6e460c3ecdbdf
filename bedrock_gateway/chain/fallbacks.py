"""Which groups may be asked instead of the one a caller asked for: those an operator named, as far as the caller may
use them and the request means the same to their models.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from bedrock_gateway.access.callers import Caller
from bedrock_gateway.access.rights import may_use
from bedrock_gateway.chain.call import Call
from bedrock_gateway.errors import UnknownModel
from bedrock_gateway.routing.resolutions import Resolution, budget_names, foundation_models, kinds, of_kind
from bedrock_gateway.routing.rules import Fallbacks
from bedrock_gateway.wire.operations import Kind

__all__ = ["find_fallbacks"]

_LOG = logging.getLogger("bedrock_gateway.deployments")


def find_fallbacks(call: Call, fallbacks: Fallbacks, resolution: Resolution) -> None:
    """Fill in ``call.fallbacks`` and ``call.longer``."""
    assert call.target is not None
    if call.target.operation.kind not in (Kind.CONVERSE, Kind.INVOKE):
        # Another model counts other tokens, and a guardrail is none.
        return
    group = resolution.model_group
    name = call.asked if call.asked in fallbacks.by_group else group
    call.fallbacks = _allowed(call, fallbacks.after(name), resolution) if name else ()
    name = call.asked if call.asked in fallbacks.context_window else group
    call.longer = _allowed(call, fallbacks.longer(name), resolution) if name else ()


def _allowed(call: Call, names: Sequence[str], first: Resolution) -> tuple[Resolution, ...]:
    assert call.caller is not None and call.target is not None
    found = []
    for name in names:
        try:
            resolution = call.snapshot.routing.resolve(name)
        except UnknownModel as error:
            # Checked when the config was read; a model added over the API may have been taken away since.
            _LOG.warning("call=%s: fallback %r leads nowhere: %s", call.id, name, error.message)
            continue
        if not _may_use(call.caller, name, resolution, first):
            continue
        # In the words of one family, and nothing is translated.
        fitting = of_kind(resolution, kinds(first)[0]) if call.words_of_one else resolution
        if fitting is not None:
            found.append(fitting)
    return tuple(found)


def _may_use(caller: Caller, name: str, resolution: Resolution, first: Resolution) -> bool:
    """Tell whether a caller may use a model it did not ask for: as if it had, and not round a budget of its own."""
    policy = caller.policy
    if policy.models and not all(
        may_use(policy, resolution.model_group, ids, asked=name) for ids in foundation_models(resolution)
    ):
        return False
    if policy.model_budgets or policy.model_limits:
        names, others = budget_names(resolution)
        further = {*names, *others}.difference(budget_names(first)[0])
        # A budget for each model ("*") is one of its own for every further one.
        return not further or not (policy.model_budgets.keys() | policy.model_limits.keys()) & {*further, "*"}
    return True
