"""The fields of keys, users, teams, members, end users, tags and budgets, under LiteLLM's names: what is honoured, what
restricts and is not enforced here, and what may be said without any effect.

Tables only; how they are applied is for ``fields``. Pure.

Source: LiteLLM 1.109.1, ``proxy/_types.py`` (``GenerateKeyRequest``, ``NewUserRequest``, ``NewTeamRequest``,
``TeamMemberAddRequest``, ``NewCustomerRequest``, ``BudgetNewRequest``, ``TagNewRequest``).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import attrs

from bedrock_gateway.access.values import (
    Parser,
    boolean,
    budget_duration,
    budget_windows,
    choice,
    count,
    json_object,
    list_of,
    mapping_of,
    model_budgets,
    money,
    name,
    operation_glob,
    tag,
    team_identifier,
    text,
    timezone,
)

__all__ = ["KINDS", "ROLES", "Table"]

ROLES = ("proxy_admin", "proxy_admin_viewer", "internal_user", "internal_user_viewer")
"""Values of ``user_role``."""

_MOST_TAGS = 10


@attrs.frozen(kw_only=True)
class Table:
    """The fields of one kind.

    Attributes:
        kept: what is honoured, with its parser.
        unenforced: what restricts and nobody would enforce: refused unless empty.
        idle: what may be given and changes nothing.
        lifted: of ``kept``, what LiteLLM also takes from within ``metadata``.
    """

    kept: Mapping[str, Parser]
    unenforced: frozenset[str] = frozenset()
    idle: frozenset[str] = frozenset()
    lifted: frozenset[str] = frozenset()


_NAMES = list_of(name)
_TAGS = list_of(tag, most=_MOST_TAGS)
_COUNTS = mapping_of(count)

_BUDGET: dict[str, Parser] = {
    "max_budget": money,
    "soft_budget": money,
    "budget_duration": budget_duration,
    "budget_timezone": timezone,
    "budget_sliding": boolean,
}
_LIMITS: dict[str, Parser] = {"tpm_limit": count, "rpm_limit": count, "max_parallel_requests": count}
_MODEL_LIMITS: dict[str, Parser] = {"model_rpm_limit": _COUNTS, "model_tpm_limit": _COUNTS}

#: Restrict calls or their content in LiteLLM, whatever they are set on.
_RESTRICTING = frozenset(
    {
        *(
            "access_group_ids",
            "agent_id",
            "allowed_cache_controls",
            "allowed_model_region",
            "allowed_passthrough_routes",
        ),
        *("allowed_routes", "allowed_vector_store_indexes", "auto_rotate", "budget_fallbacks", "default_model"),
        *("denied_passthrough_routes", "disable_global_guardrails", "end_user_budget_id", "enforced_params"),
        *("guardrails", "mcp_rpm_limit", "mcp_tool_permissions", "object_permission", "object_permission_id"),
        *("organization_id", "organizations", "permissions", "policies", "project_id", "prompts", "rotation_interval"),
        *("rpm_limit_type", "router_settings", "tag_rpm_limit", "tag_tpm_limit", "temp_budget_expiry"),
        *(
            "temp_budget_increase",
            "throttle_on_budget_exceeded",
            "tpd_limit",
            "tpm_limit_type",
            "default_estimated_output_tokens",
        ),
        *("default_estimated_output_tokens_per_model", "enable_prompt_caching", "secret_manager_settings", "logging"),
    }
)
#: Say nothing that matters here, or are LiteLLM's own answers sent back.
_IDLE = frozenset({"config", "send_invite_email", "created_by", "updated_by", "created_at", "updated_at"})

_KEY: dict[str, Parser] = {
    **_BUDGET,
    **_LIMITS,
    **_MODEL_LIMITS,
    "key_alias": name,
    "user_id": name,
    "team_id": team_identifier,
    "budget_id": name,
    "models": _NAMES,
    "aliases": mapping_of(name),
    "budget_limits": budget_windows,
    "model_max_budget": model_budgets,
    "metadata": json_object,
    "tags": _TAGS,
    "blocked": boolean,
    "key_type": choice("default", "llm_api", "management", "read_only"),
    "allowed_operations": list_of(operation_glob),
    "on_budget": choice("refuse", "clamp"),
    "allow_unbounded": boolean,
    "on_disconnect": choice("drain", "abort"),
    "max_drains": count,
    "pass_through_all_models": boolean,
}

_USER: dict[str, Parser] = {
    **_BUDGET,
    **_LIMITS,
    "user_id": name,
    "user_email": name,
    "user_alias": name,
    "user_role": choice(*ROLES),
    "budget_id": name,
    "budget_limits": budget_windows,
    "models": _NAMES,
    "metadata": json_object,
    "blocked": boolean,
    "sso_user_id": name,
}

_TEAM: dict[str, Parser] = {
    **_BUDGET,
    **_LIMITS,
    **_MODEL_LIMITS,
    "team_id": team_identifier,
    "team_alias": name,
    "budget_id": name,
    "budget_limits": budget_windows,
    "models": _NAMES,
    "model_aliases": mapping_of(name),
    "metadata": json_object,
    "tags": _TAGS,
    "blocked": boolean,
    "team_member_budget": money,
    "team_member_budget_duration": budget_duration,
    "team_member_rpm_limit": count,
    "team_member_tpm_limit": count,
}

_MEMBER: dict[str, Parser] = {
    **_LIMITS,
    "max_budget_in_team": money,
    "budget_duration": budget_duration,
    "budget_timezone": timezone,
    "budget_sliding": boolean,
    "role": choice("admin", "user"),
}

_END_USER: dict[str, Parser] = {
    **_BUDGET,
    **_LIMITS,
    "user_id": name,
    "alias": name,
    "budget_id": name,
    "models": _NAMES,
    "metadata": json_object,
    "blocked": boolean,
}

_TAG: dict[str, Parser] = {**_BUDGET, **_LIMITS, "name": tag, "description": text, "budget_id": name}

_TEMPLATE: dict[str, Parser] = {
    **_BUDGET,
    **_LIMITS,
    "budget_id": name,
    "model_max_budget": model_budgets,
}

_LIFTED = frozenset({"tags", "model_rpm_limit", "model_tpm_limit"})

KINDS: Mapping[str, Table] = MappingProxyType(
    {
        "key": Table(kept=_KEY, unenforced=_RESTRICTING, idle=_IDLE, lifted=_LIFTED),
        "user": Table(
            kept=_USER,
            unenforced=_RESTRICTING
            | {"model_max_budget", "model_rpm_limit", "model_tpm_limit", "aliases", "password", "allowed_operations"},
            idle=_IDLE,
        ),
        "team": Table(
            kept=_TEAM,
            unenforced=_RESTRICTING
            | {"model_max_budget", "team_member_key_duration", "team_member_permissions", "members", "admins"},
            idle=_IDLE,
            lifted=_LIFTED,
        ),
        "member": Table(kept=_MEMBER, unenforced=frozenset({"allowed_models", "budget_id"})),
        "end_user": Table(kept=_END_USER, unenforced=_RESTRICTING | {"model_max_budget"}, idle=_IDLE),
        "tag": Table(kept=_TAG, unenforced=_RESTRICTING | {"models", "model_max_budget"}, idle=_IDLE),
        "budget": Table(kept=_TEMPLATE, unenforced=_RESTRICTING | {"allowed_models", "budget_reset_at"}, idle=_IDLE),
    }
)
"""Every kind with its fields; ``member`` is a user within a team, ``budget`` a template named by ``budget_id``."""
