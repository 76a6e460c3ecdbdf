"""What was spent of budgets, and when they begin anew, for rows as they are shown. Runs in the reader's thread, on one
state of the database.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

import attrs

from bedrock_gateway.access.accounts import model_account
from bedrock_gateway.access.budgets import Budget
from bedrock_gateway.access.directory import Defaults
from bedrock_gateway.access.policies import Entry, budgets_of, model_budgets_of
from bedrock_gateway.access.windows import QUARTER_MS, Window
from bedrock_gateway.admin.answers import iso, usd
from bedrock_gateway.admin.authority import Admin
from bedrock_gateway.store.spends import model_spends, spend_since
from bedrock_gateway.store.subjects import Subject, get

__all__ = ["Figures", "View"]


@attrs.frozen(kw_only=True)
class Figures:
    """Money of one account; nano-USD.

    Attributes:
        spend: in the window of its budget; in all where that has none.
        total: in all.
        resets_at: UTC ms of the window's end.
    """

    spend: int
    total: int
    resets_at: int | None


@attrs.define(eq=False)
class View:
    """Reads figures for rows as they are shown.

    Attributes:
        now_ms: UTC ms of the question.
    """

    connection: sqlite3.Connection
    defaults: Defaults
    now_ms: int
    _templates: dict[str, Subject | None] = attrs.field(factory=dict)

    @classmethod
    def of(cls, connection: sqlite3.Connection, admin: Admin) -> View:
        """Return a view of what a connection sees, now."""
        return cls(connection, admin.registry.directory.defaults, admin.now_ms())

    def template(self, document: Mapping[str, Any]) -> Subject | None:
        """Return the budget that a document names."""
        id_ = document.get("budget_id")
        if id_ is None:
            return None
        if id_ not in self._templates:
            self._templates[id_] = get(self.connection, "budget", id_)
        return self._templates[id_]

    def figures(self, account: str, subject: Subject) -> Figures:
        """Return what an account has spent."""
        own, _ = budgets_of(entry_of(subject), self._documents(subject), self.defaults)
        return self.of_budget(account, own)

    def of_budget(self, account: str, budget: Budget | None) -> Figures:
        """Return what an account has spent in the window of a budget."""
        total = spend_since(self.connection, account, 0)
        if budget is None or budget.window is None:
            return Figures(spend=total, total=total, resets_at=None)
        spend, resets_at = self._spent(account, budget.window)
        return Figures(spend=spend, total=total, resets_at=resets_at)

    def windows(self, account: str, subject: Subject) -> list[dict[str, Any]]:
        """Return the concurrent budgets with what was spent of each."""
        _, concurrent = budgets_of(entry_of(subject), self._documents(subject), self.defaults)
        return [self._usage(account, budget) for budget in concurrent]

    def models(self, key: Subject) -> dict[str, dict[str, Any]]:
        """Return the budgets of models within a key with what was spent of each."""
        budgets = model_budgets_of(entry_of(key), self._documents(key), self.defaults)
        return {
            model: self._usage(model_account(key.id, model), budget)
            for model, (budget, *_) in budgets.items()
            if model != "*"  # each model it stands for has a budget of its own
        }

    def model_spend(self, key: Subject) -> dict[str, float | None]:
        """Return what a key has spent in all, by model group; USD."""
        return {model: usd(spend) for model, spend in model_spends(self.connection, key.id).items()}

    def _usage(self, account: str, budget: Budget) -> dict[str, Any]:
        figures = self.of_budget(account, budget)
        return {
            "budget_duration": None if budget.window is None else budget.window.duration,
            "max_budget": usd(budget.limit),
            "spend": usd(figures.spend),
            "reset_at": iso(figures.resets_at),
        }

    def _spent(self, account: str, window: Window) -> tuple[int, int]:
        start, end = window.bounds(self.now_ms)
        return spend_since(self.connection, account, start // QUARTER_MS), end

    def _documents(self, subject: Subject) -> dict[str, Mapping[str, Any]]:
        template = self.template(subject.document)
        return {} if template is None else {template.id: template.document}


def entry_of(subject: Subject) -> Entry:
    """Return a row as policies are made of it."""
    return Entry(
        id=subject.id,
        name=subject.name or "",
        blocked=subject.blocked,
        created_at=subject.created_at,
        document=subject.document,
    )
