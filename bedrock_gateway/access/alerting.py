"""What is told of a budget whose soft or hard limit was reached: an event in the shape LiteLLM's webhooks have. Pure;
whom it is told is for ``upstream.alerts``.

An event says whom its budget is of, never a secret: ``token``, LiteLLM's hash of a key, stays null.

Source: LiteLLM 1.109, ``proxy/_types.py`` (``CallInfo``, ``WebhookEvent``, ``Litellm_EntityType``); documentation,
"Alerting / Webhooks". ``account``, ``budget_duration`` and ``budget_reset_at`` are the gateway's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any

from bedrock_gateway.access.budgets import Warned
from bedrock_gateway.access.callers import Caller

__all__ = ["BUDGET_CROSSED", "SOFT_BUDGET_CROSSED", "webhook_event"]

BUDGET_CROSSED, SOFT_BUDGET_CROSSED = "budget_crossed", "soft_budget_crossed"

#: By kind of account: LiteLLM's ``event_group``, and what its message begins with. It has no groups for the last two.
_GROUPS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "gateway": ("proxy", "Proxy Budget"),
        "key": ("key", "Key Budget"),
        "user": ("user", "User Budget"),
        "team": ("team", "Team Budget"),
        "member": ("team_member", "Team Member Budget"),
        "end_user": ("end_user", "Customer Budget"),
        "tag": ("tag", "Tag Budget"),
        "model": ("model", "Model Budget"),
        "deployment": ("deployment", "Deployment Budget"),
    }
)
_NANO = 1_000_000_000


def webhook_event(warned: Warned, caller: Caller | None = None) -> dict[str, Any]:
    """Return the event that tells of a budget, ready to become JSON; money in USD.

    Args:
        caller: whose call reached the limit; of a key's budget it tells alias, user and team.
    """
    charge, budget = warned.charge, warned.charge.budget
    kind, _, rest = charge.account.partition(":")
    first, _, second = rest.partition("/")
    group, title = _GROUPS[kind]
    whose: dict[str, str | None] = dict.fromkeys(("customer_id", "user_id", "team_id", "key_alias"))
    if kind == "end_user":
        whose["customer_id"] = rest
    elif kind in ("user", "team"):
        whose[f"{kind}_id"] = rest
    elif kind == "member":
        whose["team_id"], whose["user_id"] = first, second
    elif kind in ("key", "model") and caller is not None:
        whose["user_id"], whose["team_id"] = caller.user or None, caller.team or None
        # Without an alias a key's name is what is shown of its secret.
        whose["key_alias"] = None if caller.name.startswith("sk-") else caller.name
    return {
        "spend": warned.spent / _NANO,
        "max_budget": None if budget.limit is None else budget.limit / _NANO,
        "soft_budget": None if budget.soft is None else budget.soft / _NANO,
        "token": None,
        **whose,
        "team_alias": None,
        "organization_id": None,
        "user_email": None,
        "projected_exceeded_date": None,
        "projected_spend": None,
        "event": BUDGET_CROSSED if warned.hard else SOFT_BUDGET_CROSSED,
        "event_group": group,
        "event_message": f"{title}: {_message(warned)}",
        "account": charge.account,
        "budget_duration": None if budget.window is None else budget.window.duration,
        "budget_reset_at": None if warned.resets_at is None else _iso(warned.resets_at),
    }


def _message(warned: Warned) -> str:
    budget = warned.charge.budget
    told = f"{warned.charge.name} has spent {_usd(warned.spent)} USD"
    if warned.hard:
        told = f"Budget Crossed: {told} of {_usd(budget.limit or 0)} USD"
    else:
        told = f"Soft Budget Crossed: {told}; its soft budget is {_usd(budget.soft or 0)} USD"
        if budget.limit is not None:
            told += f", its budget {_usd(budget.limit)} USD"
    if budget.window is None or warned.resets_at is None:
        return f"{told}. It never resets."
    if budget.window.sliding:
        return f"{told}. What counts is the last {budget.window.duration}."
    return f"{told}. It resets at {_iso(warned.resets_at)}."


def _usd(nano: int) -> str:
    """Return nano-USD as USD, exact, without zeros at the end."""
    return f"{Decimal(nano).scaleb(-9).normalize():f}"


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
