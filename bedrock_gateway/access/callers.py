"""Who calls, and what a caller may do: records only. Pure; how a caller is found is for ``authentication``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from types import MappingProxyType
from typing import TypeVar

import attrs

from bedrock_gateway.access.accounts import model_account
from bedrock_gateway.access.budgets import Budget, Charge
from bedrock_gateway.access.limits import Limit
from bedrock_gateway.access.restraints import Restraints

__all__ = ["Caller", "OnBudget", "OnLeave", "Policy", "Role"]

_T = TypeVar("_T")

#: Restraints kept ready of one caller: those of so many models that have their own.
_MOST_READY = 64


class OnLeave(StrEnum):
    """What happens to the upstream side when a caller leaves before the end."""

    DRAIN = "drain"  # read on, so that AWS's own usage is booked
    ABORT = "abort"  # close, and book an estimate


class OnBudget(StrEnum):
    """What happens when the most a call can cost does not fit into a budget, but a shorter answer would."""

    REFUSE = "refuse"
    CLAMP = "clamp"  # lower the most tokens the answer may have until it fits


class Role(StrEnum):
    """What somebody may do in the admin API; LiteLLM's words."""

    ADMIN = "proxy_admin"  # everything
    VIEWER = "proxy_admin_viewer"  # read everything
    USER = "internal_user"  # manage its own keys
    USER_VIEWER = "internal_user_viewer"  # read its own


@attrs.frozen(kw_only=True)
class Policy:
    """What a caller may do and how it is treated.

    Attributes:
        raw_models: whether model ids that no config names may be called.
        control_plane_changes: whether operations that change the control plane may be called.
        on_leave: what happens upstream when this caller leaves early.
        max_drains: upstream answers read on at once for callers that left.
        operations: globs of operations (``service:Operation`` or ``Operation``); None for the default set.
        models: lists of model groups, raw ids and globs (of the key, its user, its team); each has to match.
        aliases: names the caller asks for, and the model groups they stand for.
        budgets: what every call counts against.
        model_budgets: by model group or plain id of a foundation model, its budgets within the key; ``*`` for each
            that is not named.
        limits: names and limits on requests, tokens and parallel calls.
        model_limits: as ``model_budgets``; the name of a ``*`` ends in ``*``.
        on_budget: what happens when a budget is too small for the most a call can cost.
        allow_unbounded: whether calls whose spend nothing bounds are let through under a hard budget.
    """

    raw_models: bool = True
    control_plane_changes: bool = True
    on_leave: OnLeave = OnLeave.DRAIN
    max_drains: int = 8
    operations: tuple[str, ...] | None = ("*",)
    models: tuple[tuple[str, ...], ...] = ()
    aliases: Mapping[str, str] = MappingProxyType({})
    budgets: tuple[Charge, ...] = ()
    model_budgets: Mapping[str, tuple[Budget, ...]] = MappingProxyType({})
    limits: tuple[tuple[str, Limit], ...] = ()
    model_limits: Mapping[str, tuple[tuple[str, Limit], ...]] = MappingProxyType({})
    on_budget: OnBudget = OnBudget.REFUSE
    allow_unbounded: bool = False


@attrs.frozen(kw_only=True)
class Caller:
    """Somebody who calls, and its policy.

    Attributes:
        id: stable; goes into the ledger and is never derived from a secret.
        name: for people, without a secret: an alias, or ``sk-…`` and four characters.
        user, team: ids of those its key belongs to; "" for none.
        tags: of its key and team; they are bound by budgets.
        role: what it may do in the admin API beside reading itself.
        epoch: credentials issued for an earlier one are void.
    """

    id: str
    policy: Policy
    name: str = ""
    user: str = ""
    team: str = ""
    tags: tuple[str, ...] = ()
    role: Role | None = None
    epoch: int = 0
    _restraints: dict[tuple[Sequence[str], tuple[Charge, ...]], Restraints] = attrs.field(
        factory=dict, init=False, eq=False, repr=False
    )

    def restraints(self, models: tuple[str, ...] = (), whole: tuple[Charge, ...] = ()) -> Restraints:
        """Return what binds a call of this caller.

        Args:
            models: as in ``charges``.
            whole: budgets of the whole gateway.
        """
        found = self._restraints.get((models, whole))
        if found is None:
            if len(self._restraints) >= _MOST_READY:
                self._restraints.clear()
            found = Restraints(charges=whole + self.charges(models), limits=self.limits(models))
            self._restraints[models, whole] = found
        return found

    def charges(self, models: Sequence[str]) -> tuple[Charge, ...]:
        """Return every budget a call of this caller counts against.

        Args:
            models: the model group, and the plain ids of the foundation models behind it; the first stands for all
                where none of them is named.
        """
        policy = self.policy
        if not policy.model_budgets or not models:
            return policy.budgets
        return policy.budgets + tuple(
            Charge(account=model_account(self.id, model), name=f'model "{model}" of key {self.name}', budget=budget)
            for model, budgets in _of_models(policy.model_budgets, models)
            for budget in budgets
        )

    def limits(self, models: Sequence[str]) -> tuple[tuple[str, Limit], ...]:
        """Return every limit a call of this caller counts against; ``models`` as in ``charges``."""
        policy = self.policy
        if not policy.model_limits or not models:
            return policy.limits
        return policy.limits + tuple(
            (f"{name.removesuffix('*')}{model}" if name.endswith("/*") else name, limit)
            for model, limits in _of_models(policy.model_limits, models)
            for name, limit in limits
        )


def _of_models(told: Mapping[str, _T], models: Sequence[str]) -> list[tuple[str, _T]]:
    """Return what is told of each model; where nothing is, what is told of every other one."""
    found = [(model, told[model]) for model in models if model in told]
    if not found and "*" in told:
        found.append((models[0], told["*"]))
    return found
