"""``router_settings`` as far as they choose among deployments, and ``general_settings.queue``, to the values of
``routing.rules``.

Knows the keys' names and bounds; what each rule means is for ``routing``.

Source: LiteLLM documentation, "Router - Load Balancing", "Tag Based Routing"; its ``types/router.py``
(``RoutingStrategy``, ``RetryPolicy``, ``OptionalPreCallChecks``). ``adaptive`` and ``queue`` are the gateway's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import MappingProxyType
from typing import TypeVar

from bedrock_gateway.config.document import Node
from bedrock_gateway.config.fallbacks import fallbacks
from bedrock_gateway.config.keys import QUEUE, RETRY_POLICY, STRATEGY_ARGS, check_keys
from bedrock_gateway.config.names import Names
from bedrock_gateway.config.reading import Section, from_environment, nearest, quoted
from bedrock_gateway.routing.rules import Affinity, QueueRules, RetryPolicy, RoutingRules, Strategy, TagRules

__all__ = ["queue_rules", "routing_rules"]

_T = TypeVar("_T")

_USAGE_V2 = "usage-based-routing-v2"
_BUDGETS = "provider-budget-routing"

#: LiteLLM's words for strategies, and our own.
_STRATEGIES = (*(strategy.value for strategy in Strategy), _USAGE_V2, _BUDGETS)

#: Fields of a policy by LiteLLM's keys.
_RETRIES = {
    "DefaultRetries": "default",
    "RateLimitErrorRetries": "rate_limit",
    "ServiceUnavailableErrorRetries": "unavailable",
    "InternalServerErrorRetries": "internal",
    "AuthenticationErrorRetries": "credentials",
    "NotFoundErrorRetries": "not_found",
}
_INTERNAL = "InternalServerErrorRetries"
_REFUSED = "what was refused as such is not repeated"

#: Keys that would repeat what is never repeated, with the reason.
_NEVER = {
    "BadRequestErrorRetries": _REFUSED,
    "ContentPolicyViolationErrorRetries": _REFUSED,
    "TimeoutErrorRetries": "what was sent and lost is never sent again, since it may be billed twice",
}

_MOST_RETRIES = 100

_AFFINITIES = {affinity.value: affinity for affinity in Affinity}

#: Checks that ask for what is so anyway: limits and budgets of deployments are always kept.
_SATISFIED_CHECKS = frozenset({"enforce_model_rate_limits", "router_budget_limiting"})
_INERT_CHECKS = frozenset(
    {"responses_api_deployment_check", "encrypted_content_affinity", "forward_client_headers_by_model_group"}
)
_CHECKS = sorted(_AFFINITIES.keys() | _SATISFIED_CHECKS | _INERT_CHECKS)

_MOST_WAITING = 100_000


def routing_rules(router: Section, litellm: Section, names: Names) -> RoutingRules:
    """Read the rules; fallbacks that are not there are taken from ``litellm_settings``, as LiteLLM does."""
    default = RoutingRules()
    args = router.section("routing_strategy_args")
    check_keys(args, STRATEGY_ARGS, ignored=frozenset())
    strategy = _strategy(router)
    if strategy is not Strategy.LATENCY:
        for key in sorted(STRATEGY_ARGS.honoured):
            if key in args:
                args.warn(key, f"{args.name(key)} does nothing without routing_strategy: {Strategy.LATENCY.value}")
    return RoutingRules(
        strategy=strategy,
        latency_buffer=_or(args.number("lowest_latency_buffer", least=0, most=1e6), default.latency_buffer),
        latency_samples=_or(args.integer("max_latency_list_size", least=1, most=1000), default.latency_samples),
        stats_seconds=_or(args.seconds("ttl"), default.stats_seconds),
        # A caller that names its session is obeyed, also where nothing else sticks.
        affinity=_checks(router, "optional_pre_call_checks") | default.affinity,
        group_affinity=MappingProxyType(
            {
                group: _checks(section, group)
                for section, group in _groups(router.section("model_group_affinity_config"), names)
            }
        ),
        affinity_seconds=_or(router.seconds("deployment_affinity_ttl_seconds"), default.affinity_seconds),
        tags=_tags(router),
        max_parallel=router.integer("default_max_parallel_requests", least=1),
        fallbacks=fallbacks(router, litellm, names),
        retry_policy=_retry_policy(router.section("retry_policy")),
        group_retry_policy=MappingProxyType(
            {
                group: _retry_policy(section.section(group))
                for section, group in _groups(router.section("model_group_retry_policy"), names)
            }
        ),
    )


def queue_rules(general: Section) -> QueueRules | None:
    """Read ``general_settings.queue``: true, or a mapping of what differs from the defaults."""
    node = general.find("queue")
    if node is None:
        return None
    if isinstance(node.value, bool | str):
        return QueueRules() if general.boolean("queue") else None
    if not isinstance(node.value, dict):
        message = (
            f"{general.name('queue')} must be true, or a mapping (max_size, max_per_key, timeout), not {node.kind}"
        )
        general.fault("queue", message)
        return None
    queue, default = general.section("queue"), QueueRules()
    check_keys(queue, QUEUE, ignored=frozenset())
    found = QueueRules(
        most=_or(queue.integer("max_size", least=1, most=_MOST_WAITING), default.most),
        most_per_key=_or(queue.integer("max_per_key", least=1, most=_MOST_WAITING), default.most_per_key),
        seconds=_or(queue.seconds("timeout"), default.seconds),
    )
    if "max_per_key" in queue and found.most_per_key > found.most:
        message = f"{queue.name('max_per_key')} is above max_size: one key may take all {found.most} places"
        queue.warn("max_per_key", message)
    return found


def _strategy(router: Section) -> Strategy | None:
    word = router.choice("routing_strategy", _STRATEGIES)
    if word == _BUDGETS:
        router.warn(
            "routing_strategy",
            f"{router.name('routing_strategy')}: {_BUDGETS} does nothing here, budgets of deployments are always kept; "
            "the default strategy is used",
        )
        return None
    if word == _USAGE_V2:
        return Strategy.USAGE
    return None if word is None else Strategy(word)


def _retry_policy(policy: Section) -> RetryPolicy:
    check_keys(policy, RETRY_POLICY, ignored=frozenset())
    for key, reason in _NEVER.items():
        if policy.integer(key, most=_MOST_RETRIES):
            policy.warn(key, f"{policy.name(key)} does nothing here: {reason}")
    figures = {field: policy.integer(key, most=_MOST_RETRIES) for key, field in _RETRIES.items()}
    if (figures["internal"] or 0) > 1:
        policy.warn(
            _INTERNAL,
            f"{policy.name(_INTERNAL)}: such an answer may be billed, so that it is repeated once at most",
        )
    return RetryPolicy(**figures)


def _groups(section: Section, names: Names) -> Iterator[tuple[Section, str]]:
    """Yield the groups a mapping has something for, and it; one that leads nowhere is a fault too."""
    for group, entry in section:
        if section.reader.full:
            return
        if group not in names:
            message = f"{section.name(group)} is no model group{names.nearest(group)}"
            section.reader.fault(entry.line, entry.column, message)
        if group in section:
            yield section, group


def _checks(section: Section, key: str) -> frozenset[Affinity]:
    """Return by what calls stick, out of a list of LiteLLM's checks before a call."""
    reader, path = section.reader, section.name(key)
    found: set[Affinity] = set()
    for word, place in reader.words(path, section.find(key) or Node(None, section.line, section.column)):
        if reader.full:
            break
        if word in _AFFINITIES:
            found.add(_AFFINITIES[word])
        elif word in _INERT_CHECKS:
            reader.warn(place.line, place.column, f"{path}: {word} does nothing here")
        elif word not in _SATISFIED_CHECKS:
            near = "" if from_environment(place) else nearest(word, _CHECKS)
            reader.fault(place.line, place.column, f"{path}: {quoted(word, place)} is no check{near}")
    return frozenset(found)


def _tags(router: Section) -> TagRules | None:
    on = router.boolean("enable_tag_filtering")
    match_any = router.boolean("tag_filtering_match_any")
    node = router.find("tag_routing_prefix")
    prefix = None if node is None or node.value == "" else router.text("tag_routing_prefix")
    if on:
        return TagRules(match_any=_or(match_any, TagRules().match_any), prefix=prefix or "")
    for key in ("tag_filtering_match_any", "tag_routing_prefix"):
        if key in router and on is None:
            router.warn(key, f"{router.name(key)} does nothing without enable_tag_filtering")
    return None


def _or(value: _T | None, default: _T) -> _T:
    return default if value is None else value
