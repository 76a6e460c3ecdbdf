"""Budgets a config gives: of the whole gateway, and of deployments; and the calendar budgets go by.

Knows LiteLLM's keys (``max_budget`` and ``budget_duration`` of ``litellm_settings`` and ``litellm_params``,
``litellm_settings.timezone``). Budgets of keys, users and teams are no business of a file.
"""

from __future__ import annotations

from datetime import UTC, tzinfo

import attrs

from bedrock_gateway.access.budgets import Budget
from bedrock_gateway.access.windows import Window, zone
from bedrock_gateway.config.reading import Section

__all__ = ["MOST_USD", "gateway_budget", "read_budget", "time_zone"]

#: Bound of an amount, USD: whole nano-USD stay exact in a double-precision number of JSON below it.
MOST_USD = 9_000_000
_NANO = 1_000_000_000


def time_zone(litellm: Section) -> tuple[str, tzinfo]:
    """Return name and zone of ``litellm_settings.timezone``, UTC where it is not there."""
    name = litellm.text("timezone")
    if name is None:
        return "UTC", UTC
    try:
        return name, zone(name)
    except ValueError as error:
        litellm.fault("timezone", f"{litellm.name('timezone')}: {error}")
        return "UTC", UTC


def gateway_budget(litellm: Section, general: Section, calendar: tzinfo) -> Budget | None:
    """Return the budget of the whole gateway, or None; as in LiteLLM a ``max_budget`` of 0 means none."""
    soft = general.number("soft_budget", least=0, most=MOST_USD)
    budget = read_budget(litellm, calendar, soft=soft)
    if budget is not None and budget.limit == 0:
        return None if soft is None else attrs.evolve(budget, limit=None)
    return budget


def read_budget(section: Section, calendar: tzinfo, *, soft: float | None = None) -> Budget | None:
    """Return the budget of a section, or None.

    Args:
        calendar: whose days and months count.
        soft: USD from which on it is said that much is spent.
    """
    limit = section.number("max_budget", least=0, most=MOST_USD)
    duration = section.text("budget_duration")
    window = None
    if duration is not None:
        try:
            window = Window(duration=duration, zone=calendar)
        except ValueError as error:
            section.fault("budget_duration", f"{section.name('budget_duration')}: {error}")
    if limit is None and soft is None:
        return None
    return Budget(limit=nano(limit), soft=nano(soft), window=window)


def nano(usd: float | None) -> int | None:
    """Return an amount in nano-USD."""
    return None if usd is None else round(usd * _NANO)
