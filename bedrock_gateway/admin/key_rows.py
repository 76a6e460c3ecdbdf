"""Keys as LiteLLM shows them: its fields, those of the gateway's own, and what has no meaning here as null or empty.

Source: LiteLLM 1.109.1, ``proxy/_types.py`` (``GenerateKeyResponse``, ``LiteLLM_VerificationToken``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bedrock_gateway.access.virtual_keys import key_name
from bedrock_gateway.admin.answers import iso, usd
from bedrock_gateway.admin.figures import View
from bedrock_gateway.admin.owner_rows import template_row
from bedrock_gateway.store.keys import VirtualKey, read_digests
from bedrock_gateway.store.subjects import Subject

__all__ = ["key_row", "key_rows", "key_state", "key_usage"]

#: What LiteLLM shows of a key and has no meaning here.
_WITHOUT_MEANING: Mapping[str, Any] = {
    "config": {},
    "router_settings": {},
    "organization_id": None,
    "project_id": None,
    "agent_id": None,
    "permissions": {},
    "tpd_limit": None,
    "budget_fallbacks": {},
    "allowed_cache_controls": [],
    "allowed_routes": [],
    "policies": [],
    "access_group_ids": [],
    "guardrails": None,
    "object_permission_id": None,
    "object_permission": None,
    "auto_rotate": False,
    "rotation_interval": None,
    "key_rotation_at": None,
    "last_active": None,
    "soft_budget_cooldown": False,
}
#: Fields of the document that are shown as they are, and what stands for those not set.
_SHOWN: Mapping[str, Any] = {
    "duration": None,
    "models": [],
    "aliases": {},
    "max_budget": None,
    "soft_budget": None,
    "budget_duration": None,
    "budget_id": None,
    "budget_limits": None,
    "model_max_budget": {},
    "tpm_limit": None,
    "rpm_limit": None,
    "max_parallel_requests": None,
    "model_rpm_limit": None,
    "model_tpm_limit": None,
    "tags": None,
    "key_type": "default",
    "rotation_count": 0,
    # The gateway's own:
    "allowed_operations": None,
    "on_budget": "refuse",
    "allow_unbounded": False,
    "on_disconnect": None,
    "max_drains": None,
    "budget_timezone": None,
    "budget_sliding": False,
    "pass_through_all_models": False,
}
#: Kept by LiteLLM within the metadata, and looked for there by what reads its answers.
_IN_METADATA = ("tags", "model_rpm_limit", "model_tpm_limit")


def key_row(key: VirtualKey, view: View) -> dict[str, Any]:
    """Return a key as a whole object."""
    subject, document = key.subject, key.subject.document
    figures = view.figures(f"key:{subject.id}", subject)
    template = view.template(document)
    token = key.digest.sha256.hex()
    return {
        "token": token,
        "token_id": token,
        "key_id": subject.id,
        "key_name": key_name(key.digest.tail),
        "key_alias": subject.name,
        "user_id": subject.user,
        "team_id": subject.team,
        "spend": usd(figures.spend),
        "total_spend": usd(figures.total),
        "expires": iso(subject.expires_at),
        "blocked": subject.blocked,
        "status": key_state(subject, view.now_ms),
        **{field: document.get(field, usual) for field, usual in _SHOWN.items()},
        "metadata": {
            **document.get("metadata", {}),
            **{field: document[field] for field in _IN_METADATA if field in document},
        },
        "budget_reset_at": iso(figures.resets_at),
        "last_rotation_at": iso(document.get("last_rotation_at")),
        "litellm_budget_table": None if template is None else template_row(template),
        "created_at": iso(subject.created_at),
        "created_by": subject.created_by,
        "updated_at": iso(subject.updated_at),
        "updated_by": subject.updated_by,
        "settings_updated_at": iso(subject.updated_at),
        **_WITHOUT_MEANING,
    }


def key_rows(keys: Sequence[Subject], view: View) -> list[dict[str, Any]]:
    """Return keys as whole objects."""
    digests = read_digests(view.connection, [key.id for key in keys])
    return [key_row(VirtualKey(subject=key, digest=digests[key.id]), view) for key in keys]


def key_usage(key: VirtualKey, view: View) -> dict[str, Any]:
    """Return what ``/key/info`` tells beside the row: spend by model, and of budgets within the key."""
    told: dict[str, Any] = {"model_spend": view.model_spend(key.subject)}
    windows = view.windows(f"key:{key.subject.id}", key.subject)
    if windows:
        told["budget_limits_usage"] = windows
    models = view.models(key.subject)
    if models:
        told["model_max_budget_usage"] = models
    return told


def key_state(key: Subject, now_ms: int) -> str:
    """Return whether a key can be used, in one word."""
    if key.blocked:
        return "blocked"
    return "expired" if key.expires_at is not None and now_ms >= key.expires_at else "active"
