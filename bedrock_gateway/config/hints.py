"""What to do instead of keys of LiteLLM's that do nothing here, or are no keys at all: what its users reach for."""

from __future__ import annotations

from types import MappingProxyType

from bedrock_gateway.config.reading import nearest

__all__ = ["HINTS", "hint", "suggestion"]

_ONE_PROCESS = "cooldowns, limits and affinity are kept in this one process"
_CONTENT = "Bedrock tells it by a stop reason in an answer, which is passed on; fallbacks are for failures"
_ALLOWED_FAILS = "write router_settings.allowed_fails, which is for every deployment and every kind of failure"

#: By ``section.key``; ``router_settings.redis_…`` are too many to name.
HINTS = MappingProxyType(
    {
        "litellm_params.request_timeout": "write timeout",
        "litellm_params.timeout_by_service_tier": "write timeout",
        "litellm_params.stream_timeout_by_service_tier": "write stream_timeout",
        "litellm_params.drop_params": "write it under litellm_settings, for all; or callers say it in the request",
        "litellm_params.additional_drop_params": "litellm_settings.drop_params leaves out whatever has no place",
        "litellm_params.cache_control_injection_points": "callers mark what is cached: cache_control, cachePoint",
        "litellm_params.tag_regex": "deployments are chosen by tags, which are compared as they are written",
        "litellm_params.mock_response": "bedrock-gateway serve --simulate answers without AWS",
        "litellm_params.mock_timeout": "bedrock-gateway serve --simulate answers without AWS",
        "model_info.allowed_fails": _ALLOWED_FAILS,
        "model_info.allowed_fails_policy": _ALLOWED_FAILS,
        "router_settings.routing_groups": "routing_strategy is for every group; where it is left out, groups with "
        "weights go by these",
        "router_settings.allowed_fails_policy": "write allowed_fails, which is for every kind of failure",
        "router_settings.content_policy_fallbacks": _CONTENT,
        "router_settings.enable_pre_call_checks": "rpm and tpm are always kept; write context_window_fallbacks for "
        "what is too long, general_settings.allowed_regions for regions",
        "router_settings.default_litellm_params": "write them with each entry; a YAML anchor (&) saves repeating them",
        "router_settings.max_retries": "write num_retries",
        "router_settings.num_retries_per_request": "write num_retries",
        "router_settings.cache_responses": "write general_settings.keep_answers for repeats by SDKs that timed out",
        "router_settings.enable_health_check_routing": "a failing deployment is left out for cooldown_time",
        "litellm_settings.cooldown_time": "write router_settings.cooldown_time",
        "litellm_settings.content_policy_fallbacks": _CONTENT,
        "litellm_settings.callbacks": "the log has a line for each call, the ledger a row, /metrics the sums",
        "litellm_settings.cache": "write general_settings.keep_answers for repeats by SDKs that timed out",
        "general_settings.enable_health_check_routing": "a failing deployment is left out for "
        "router_settings.cooldown_time",
        "general_settings.admission_queue_timeout_seconds": "write queue: {timeout: …}",
        "general_settings.pass_through_request_timeout": "write router_settings.timeout, or total_timeout",
        "general_settings.coordination_redis": _ONE_PROCESS,
        "general_settings.use_redis_transaction_buffer": _ONE_PROCESS,
    }
)

#: Words that are no keys of a section, and what is meant.
_MEANT = MappingProxyType({"litellm_params.rpm_limit": "rpm", "litellm_params.tpm_limit": "tpm"})


def hint(name: str) -> str:
    """Return ``; …`` with what to do instead of a key (``section.key``), or nothing."""
    found = _ONE_PROCESS if name.startswith("router_settings.redis_") else HINTS.get(name)
    return f"; {found}" if found else ""


def suggestion(name: str, known: frozenset[str]) -> str:
    """Return ``; did you mean 'x'?`` for a key (``section.key``) that is none, or nothing."""
    meant = _MEANT.get(name)
    return f"; did you mean {meant!r}?" if meant else nearest(name.rpartition(".")[2], known)
