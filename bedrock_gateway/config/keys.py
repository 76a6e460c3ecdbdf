"""The keys a config may hold, and what this version does with each.

Every key of LiteLLM's format is in one of four sets. A section's keys that are *honoured* are read. *Satisfied* ones
ask for what is so anyway. *Inert* ones do nothing here, which is told as a warning. *Restricting* ones would keep
somebody from something: to pass over them in silence would open what the operator closed, so they are faults unless
``general_settings.ignore`` names them.

Source: LiteLLM documentation, "Config settings", "Router settings", "AWS Bedrock"; its ``types/router.py`` and
``proxy/_types.py`` (release 1.109).
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from bedrock_gateway.config.document import Node
from bedrock_gateway.config.hints import hint, suggestion
from bedrock_gateway.config.reading import Section, nearest
from bedrock_gateway.metering.prices import LITELLM_IGNORED_KEYS

__all__ = [
    "CREDENTIAL_KEYS",
    "GENERAL",
    "LITELLM",
    "MODEL_INFO",
    "PARAMS",
    "QUEUE",
    "RETRY_POLICY",
    "ROUTER",
    "STRATEGY_ARGS",
    "TOP",
    "Keys",
    "check_keys",
    "honoured_names",
    "is_price_key",
    "restricting_names",
]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


@attrs.frozen(kw_only=True)
class Keys:
    """The keys of one section; ``extra`` allows any other, ``prices`` LiteLLM's price keys."""

    honoured: frozenset[str]
    satisfied: frozenset[str] = frozenset()
    inert: frozenset[str] = frozenset()
    restricting: frozenset[str] = frozenset()
    extra: bool = False
    prices: bool = False

    def known(self) -> frozenset[str]:
        """Return every key that may be written."""
        return self.honoured | self.satisfied | self.inert | self.restricting


#: Parameters that say which credentials sign, also in ``credential_list`` and ``general_settings.services``.
CREDENTIAL_KEYS = _words(
    """api_key aws_access_key_id aws_secret_access_key aws_session_token aws_profile_name aws_role_name
    aws_session_name aws_external_id aws_session_tags aws_web_identity_token aws_sts_endpoint"""
)

TOP = Keys(
    honoured=_words(
        "model_list router_settings litellm_settings general_settings environment_variables credential_list"
    ),
    inert=_words(
        """callback_settings files_settings finetune_settings assistant_settings mcp_servers mcp_aliases mcp_tools
        search_tools vector_store_registry prompts agent_list cache"""
    ),
    restricting=_words("guardrails policies policy_attachments include"),
)

#: Services of AWS the gateway calls, by their endpoint's name, and the parameter that gives the base URL of each.
ENDPOINT_KEYS = {
    service: f"aws_{service.replace('-', '_')}_endpoint"
    for service in (
        *("bedrock-runtime", "bedrock", "bedrock-agent-runtime", "bedrock-agent", "bedrock-data-automation"),
        *("bedrock-data-automation-runtime", "bedrock-agentcore", "bedrock-agentcore-control"),
    )
}

PARAMS = Keys(
    honoured=CREDENTIAL_KEYS
    | frozenset(ENDPOINT_KEYS.values())
    | _words(
        """model model_id custom_llm_provider aws_region_name api_base base_url
        litellm_credential_name weight rpm tpm order tags timeout stream_timeout max_retries num_retries
        guardrailConfig ssl_verify extra_headers max_budget budget_duration cooldown_time max_parallel_requests
        max_tokens max_completion_tokens temperature top_p top_k stop reasoning_effort thinking drop_betas"""
    ),
    satisfied=_words("use_in_pass_through"),
    inert=_words(
        """aws_bedrock_control_plane_endpoint aws_bedrock_project_id aws_batch_role_arn s3_bucket_name
        s3_output_bucket_name s3_region_name s3_access_key_id s3_secret_access_key s3_endpoint_url
        s3_encryption_key_id s3_bucket_owner bedrock_tags timeout_by_service_tier
        stream_timeout_by_service_tier drop_params additional_drop_params allowed_openai_params modify_params
        n seed user stream stream_options
        presence_penalty frequency_penalty logit_bias logprobs top_logprobs response_format tools tool_choice
        parallel_tool_calls dimensions encoding_format metadata extra_body
        cache_control_injection_points merge_reasoning_content_in_choices keepalive_seconds
        allow_client_keepalive_override organization api_version configurable_clientside_auth_params input_type
        truncate performanceConfig serviceTier service_tier daily_reset_time request_timeout
        supports_system_message use_litellm_proxy hf_model_name"""
    ),
    restricting=_words(
        """itpm otpm tpd rpd default_api_key_tpm_limit default_api_key_rpm_limit guardrails mock_response mock_timeout
        tag_regex"""
    ),
    prices=True,
)

MODEL_INFO = Keys(
    honoured=_words("id base_model max_output_tokens cooldown_time order model_units price_per_hour commitment"),
    inert=_words("allowed_fails allowed_fails_policy"),
    restricting=_words("blocked access_groups access_windows team_id supported_environments"),
    extra=True,
    prices=True,
)

ROUTER = Keys(
    honoured=_words(
        """routing_strategy routing_strategy_args num_retries retry_after retry_policy model_group_retry_policy
        cooldown_time disable_cooldowns allowed_fails timeout stream_timeout model_group_alias
        fallbacks default_fallbacks context_window_fallbacks max_fallbacks
        enable_tag_filtering tag_filtering_match_any tag_routing_prefix
        optional_pre_call_checks model_group_affinity_config deployment_affinity_ttl_seconds
        default_max_parallel_requests"""
    ),
    satisfied=_words("enable_weighted_failover ignore_invalid_deployments router_general_settings"),
    inert=_words(
        """routing_groups allowed_fails_policy content_policy_fallbacks enable_pre_call_checks default_priority
        default_litellm_params redis_host redis_port redis_password redis_url redis_db redis_username redis_ssl
        cache_responses cache_kwargs caching_groups client_ttl polling_interval enable_health_check_routing
        health_check_staleness_threshold enable_mid_stream_fallback_continuation fallback_on_unsupported_params
        set_verbose debug_level max_retries assistants_config alerting_config
        num_retries_per_request"""
    ),
    restricting=_words("provider_budget_config guardrail_list"),
)

LITELLM = Keys(
    honoured=_words(
        """drop_params num_retries request_timeout allowed_fails max_budget budget_duration timezone
        fallbacks default_fallbacks context_window_fallbacks max_fallbacks"""
    ),
    satisfied=_words(
        """turn_off_message_logging redact_messages_in_exceptions redact_user_api_key_info suppress_startup_output
        disable_aiohttp_transport"""
    ),
    inert=_words(
        """modify_params content_policy_fallbacks set_verbose json_logs callbacks success_callback
        failure_callback service_callback audit_log_callbacks log_raw_request_response disable_streaming_logging
        cache cache_params budget_exceeded_status_code budget_exceeded_throttle_percentage budget_rollover
        default_soft_budget
        cost_discount_config cost_margin_config include_cost_in_streaming_usage bedrock_request_metadata_fields
        bedrock_neutralize_orphaned_tool_blocks enable_anthropic_prompt_caching anthropic_prompt_caching_ttl
        disable_end_user_cost_tracking extra_spend_tag_headers disable_add_user_agent_to_request_tags
        model_group_settings forward_traceparent_to_llm_provider add_user_information_to_llm_headers ssl_verify
        aiohttp_trust_env sse_keepalive_ping_interval_seconds anthropic_sse_ping_interval_seconds
        prometheus_metrics_config prometheus_initialize_budget_metrics custom_prometheus_metadata_labels
        require_auth_for_metrics_endpoint cooldown_time telemetry public_model_groups langfuse_default_tags
        default_internal_user_params s3_callback_params datadog_params num_workers default_team_params
        model_alias_map ssl_certificate force_ipv4 store_audit_logs enable_preview_features
        return_response_headers key_generation_settings priority_reservation_settings return_all_litellm_params"""
    ),
    restricting=_words(
        """guardrails max_end_user_budget max_end_user_budget_id tag_budget_config
        max_internal_user_budget internal_user_budget_duration max_ui_session_budget default_team_settings
        default_key_generate_params upperbound_key_generate_params block_requests_for_models_without_pricing
        priority_reservation blocked_user_list banned_keywords_list"""
    ),
)

GENERAL = Keys(
    honoured=_words(
        """master_key database_url base_url allowed_hosts allowed_origins allowed_regions services
        on_disconnect cancel_on_disconnect ledger_durability
        max_request_size_mb max_request_memory_mb idle_timeout total_timeout drain_timeout shutdown_timeout max_drains
        queue keep_answers fetch_images
        default_allowed_operations pass_through_all_models litellm_headers request_metadata soft_budget
        accept_key_as_access_key_id api_settable_params allowed_endpoints alerting alert_to_webhook_url ignore"""
    ),
    satisfied=_words(
        """fail_closed_budget_enforcement fail_closed_rate_limit_enforcement
        disable_bedrock_agent_runtime_passthrough enforce_fallback_model_access disable_master_key_return
        apply_user_budget_to_team_keys store_model_in_db"""
    ),
    inert=_words(
        """database_connection_pool_limit database_connection_timeout
        proxy_config_reload_interval_seconds proxy_batch_write_at use_redis_transaction_buffer
        disable_spend_logs disable_spend_updates disable_budget_reservation allow_requests_on_db_unavailable
        user_api_key_cache_ttl admission_queue_timeout_seconds background_health_checks health_check_interval
        health_check_details enable_health_check_routing model_list_healthy_only alerting_threshold
        alert_types alerting_args litellm_key_header_name public_routes use_x_forwarded_for
        trusted_proxy_ranges user_header_name user_header_mappings allow_client_side_credentials
        forward_client_headers_to_llm_api forward_openai_org_id infer_model_from_keys pass_through_endpoints
        pass_through_request_timeout ui_access_mode self_serve_budget_policy store_prompts_in_spend_logs
        maximum_spend_logs_retention_period maximum_spend_logs_retention_interval
        maximum_spend_logs_cleanup_cron key_management_system key_management_settings coordination_redis
        completion_model expose_fallback_errors_to_caller enable_drain_endpoint include_call_id_in_error_body
        missing_session_id custom_key_generate custom_sso dangerously_permit_weak_or_unset_master_key
        always_include_stream_usage otel disable_retry_on_max_parallel_request_limit_error disable_reset_budget
        disable_adding_master_key_hash_to_db disable_prisma_schema_update disable_responses_id_security
        disable_error_logs service_account_settings image_generation_model moderation_model
        custom_ui_sso_sign_in_handler token_rate_limit_type embedding_model"""
    ),
    restricting=_words(
        """allowed_ips custom_auth custom_auth_settings enable_jwt_auth litellm_jwtauth enable_oauth2_auth
        enable_oauth2_proxy_auth allowed_routes admin_only_routes max_parallel_requests
        global_max_parallel_requests max_response_size_mb max_in_flight_requests_per_worker
        max_queued_requests_per_worker enforce_user_param enforced_params
        reject_clientside_metadata_tags disable_custom_api_keys service_account_settings_enforced_params
        role_permissions user_id_upsert_restriction"""
    ),
)

#: ``routing_strategy_args``.
STRATEGY_ARGS = Keys(
    honoured=_words("ttl lowest_latency_buffer max_latency_list_size"), inert=_words("ttft_percentile")
)

#: ``retry_policy``, and that of each group in ``model_group_retry_policy``.
RETRY_POLICY = Keys(
    honoured=_words(
        """DefaultRetries RateLimitErrorRetries ServiceUnavailableErrorRetries InternalServerErrorRetries
        AuthenticationErrorRetries NotFoundErrorRetries"""
    ),
    # Above 0 each does nothing, for a reason of its own.
    satisfied=_words("BadRequestErrorRetries TimeoutErrorRetries ContentPolicyViolationErrorRetries"),
)

#: ``general_settings.queue``.
QUEUE = Keys(honoured=_words("max_size max_per_key timeout"))


#: How much alike a key and a known one are where any other is allowed too, so that the one must be the other, misspelt:
#: price_per_hour_usd is (0.875), max_input_tokens is not max_output_tokens (0.85).
_MISSPELT = 0.87


def is_price_key(key: str) -> bool:
    """Tell whether a key is one of LiteLLM's prices (USD per single token, image, query, …)."""
    return "cost_per_" in key or "_token_cost" in key or key == "tiered_pricing"


def restricting_names() -> frozenset[str]:
    """Return every name ``general_settings.ignore`` may hold: ``key`` or ``section.key``."""
    return _names(lambda keys: keys.restricting)


def honoured_names() -> frozenset[str]:
    """Return every ``key`` and ``section.key`` that is read."""
    return _names(lambda keys: keys.honoured)


def _names(chosen: Callable[[Keys], frozenset[str]]) -> frozenset[str]:
    names: set[str] = set()
    for section, keys in (
        ("", TOP),
        ("litellm_params", PARAMS),
        ("model_info", MODEL_INFO),
        ("router_settings", ROUTER),
        ("litellm_settings", LITELLM),
        ("general_settings", GENERAL),
    ):
        names.update(chosen(keys))
        names.update(f"{section}.{key}" for key in chosen(keys) if section)
    return frozenset(names)


def check_keys(section: Section, keys: Keys, *, ignored: frozenset[str]) -> None:
    """Report the keys of a section that are unknown, do nothing, or restrict and are not honoured.

    Args:
        ignored: what ``general_settings.ignore`` names.
    """
    owner = section.path.rpartition(".")[2].partition("[")[0]
    for key, entry in section:
        if section.reader.full:
            return
        name, plain = section.name(key), f"{owner}.{key}"
        if (
            key in keys.honoured
            or key in keys.satisfied
            or (keys.prices and is_price_key(key) and key not in LITELLM_IGNORED_KEYS)
        ):
            continue
        if key in keys.restricting:
            if not _restricts(entry.node):
                continue
            if key in ignored or plain in ignored:
                section.reader.warn(
                    entry.line, entry.column, f"{name} is not enforced; general_settings.ignore says so"
                )
                continue
            section.reader.fault(
                entry.line,
                entry.column,
                f"{name} restricts and is not enforced by this version{hint(plain)}; "
                f"remove it, or add {key!r} to general_settings.ignore",
            )
        elif key in keys.inert or key in LITELLM_IGNORED_KEYS:
            section.reader.warn(entry.line, entry.column, f"{name} does nothing here{hint(plain)}")
        elif not keys.extra:
            message = f"{name} is not a known key{suggestion(plain, keys.known())}"
            section.reader.fault(entry.line, entry.column, message)
        elif meant := nearest(key, keys.honoured, alike=_MISSPELT):
            section.reader.warn(entry.line, entry.column, f"{name} does nothing here{meant}")


def _restricts(node: Node) -> bool:
    """Tell whether the value of a restricting key keeps anybody from anything: false, null and empty lists do not."""
    return not (node.value is None or node.value is False or node.value in ("", [], {}))
