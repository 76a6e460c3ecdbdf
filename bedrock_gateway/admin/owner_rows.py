"""Users, teams, members, end users, tags and budgets as LiteLLM shows them.

Source: LiteLLM 1.109.1, ``proxy/_types.py`` (``LiteLLM_UserTable``, ``LiteLLM_TeamTable``, ``LiteLLM_TeamMembership``,
``LiteLLM_EndUserTable``, ``LiteLLM_BudgetTable``, ``TagConfig``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bedrock_gateway.access.policies import member_budget
from bedrock_gateway.admin.answers import iso, usd
from bedrock_gateway.admin.figures import View, entry_of
from bedrock_gateway.store.members import Member
from bedrock_gateway.store.subjects import Subject

__all__ = ["end_user_row", "membership_row", "tag_row", "team_row", "template_row", "user_row"]

_BUDGET: Mapping[str, Any] = {
    "max_budget": None,
    "soft_budget": None,
    "budget_duration": None,
    "budget_timezone": None,
    "budget_sliding": False,
}
_LIMITS: Mapping[str, Any] = {"tpm_limit": None, "rpm_limit": None, "max_parallel_requests": None, "tpd_limit": None}
_TEAM: Mapping[str, Any] = {
    "models": [],
    "model_aliases": {},
    "model_rpm_limit": None,
    "model_tpm_limit": None,
    "tags": None,
    "budget_id": None,
    "budget_limits": None,
    "team_member_budget": None,
    "team_member_budget_duration": None,
    "team_member_rpm_limit": None,
    "team_member_tpm_limit": None,
}


def _from(document: Mapping[str, Any], *tables: Mapping[str, Any]) -> dict[str, Any]:
    return {field: document.get(field, usual) for table in tables for field, usual in table.items()}


def _history(subject: Subject) -> dict[str, Any]:
    return {
        "created_at": iso(subject.created_at),
        "created_by": subject.created_by,
        "updated_at": iso(subject.updated_at),
        "updated_by": subject.updated_by,
    }


def _money(account: str, subject: Subject, view: View) -> dict[str, Any]:
    figures = view.figures(account, subject)
    return {
        "spend": usd(figures.spend),
        "total_spend": usd(figures.total),
        "budget_reset_at": iso(figures.resets_at),
    }


def _table(subject: Subject, view: View) -> dict[str, Any] | None:
    template = view.template(subject.document)
    return None if template is None else template_row(template)


def template_row(budget: Subject) -> dict[str, Any]:
    """Return a budget others name."""
    document = budget.document
    return {
        "budget_id": budget.id,
        **_from(document, _BUDGET, _LIMITS),
        "model_max_budget": document.get("model_max_budget", {}),
        "budget_reset_at": None,  # each that names it has its own account
        **_history(budget),
    }


def user_row(user: Subject, teams: Sequence[Member], view: View) -> dict[str, Any]:
    """Return a user."""
    document = user.document
    return {
        "user_id": user.id,
        "user_email": user.name,
        "user_alias": document.get("user_alias"),
        "user_role": document.get("user_role"),
        "teams": [member.team for member in teams],
        "models": document.get("models", []),
        "blocked": user.blocked,
        **_money(f"user:{user.id}", user, view),
        **_from(document, _BUDGET, _LIMITS),
        "budget_id": document.get("budget_id"),
        "budget_limits": document.get("budget_limits"),
        "model_spend": {},
        "model_max_budget": {},
        "metadata": document.get("metadata", {}),
        "sso_user_id": document.get("sso_user_id"),
        "organization_id": None,
        "organization_memberships": None,
        "object_permission": None,
        "litellm_budget_table": _table(user, view),
        **_history(user),
    }


def team_row(team: Subject, members: Sequence[Member], emails: Mapping[str, str | None], view: View) -> dict[str, Any]:
    """Return a team.

    Args:
        emails: addresses of its members, by user.
    """
    document = team.document
    return {
        "team_id": team.id,
        "team_alias": team.name,
        "organization_id": None,
        "members_with_roles": [
            {"role": member.role, "user_id": member.user, "user_email": emails.get(member.user)} for member in members
        ],
        "members": [member.user for member in members],
        "admins": [member.user for member in members if member.role == "admin"],
        "blocked": team.blocked,
        **_money(f"team:{team.id}", team, view),
        **_from(document, _BUDGET, _LIMITS, _TEAM),
        "model_spend": {},
        "model_max_budget": {},
        "metadata": document.get("metadata", {}),
        "router_settings": {},
        "object_permission": None,
        "litellm_model_table": {"model_aliases": document["model_aliases"]} if "model_aliases" in document else None,
        "litellm_budget_table": _table(team, view),
        **_history(team),
    }


def membership_row(team: Subject, member: Member, view: View) -> dict[str, Any]:
    """Return a user within a team, with the budget and the limits that hold for it there."""
    document = member.document
    budget = member_budget(entry_of(team), document, view.defaults)
    figures = view.of_budget(f"member:{team.id}/{member.user}", budget)
    return {
        "user_id": member.user,
        "team_id": team.id,
        "role": member.role,
        "budget_id": None,
        "spend": usd(figures.spend),
        "total_spend": usd(figures.total),
        "budget_reset_at": iso(figures.resets_at),
        "litellm_budget_table": {
            "max_budget": None if budget is None else usd(budget.limit),
            "budget_duration": None if budget is None or budget.window is None else budget.window.duration,
            "tpm_limit": document.get("tpm_limit", team.document.get("team_member_tpm_limit")),
            "rpm_limit": document.get("rpm_limit", team.document.get("team_member_rpm_limit")),
            "max_parallel_requests": document.get("max_parallel_requests"),
        },
    }


def end_user_row(end_user: Subject, view: View) -> dict[str, Any]:
    """Return an end user."""
    document = end_user.document
    money = _money(f"end_user:{end_user.id}", end_user, view)
    own = _from(document, _BUDGET, _LIMITS)
    table = _table(end_user, view)
    if table is None and any(own.values()):
        # LiteLLM makes a budget for each that has one of its own, and shows it nowhere else.
        table = {"budget_id": None, **own, "budget_reset_at": money["budget_reset_at"]}
    return {
        "user_id": end_user.id,
        "alias": document.get("alias"),
        "blocked": end_user.blocked,
        **money,
        **own,
        "budget_id": document.get("budget_id"),
        "models": document.get("models", []),
        "metadata": document.get("metadata", {}),
        "allowed_model_region": None,
        "default_model": None,
        "object_permission": None,
        "litellm_budget_table": table,
        **_history(end_user),
    }


def tag_row(tag: Subject, view: View) -> dict[str, Any]:
    """Return a tag."""
    document = tag.document
    return {
        "name": tag.id,
        "description": document.get("description"),
        "models": [],
        **_money(f"tag:{tag.id}", tag, view),
        **_from(document, _BUDGET, _LIMITS),
        "budget_id": document.get("budget_id"),
        "litellm_budget_table": _table(tag, view),
        **_history(tag),
    }
