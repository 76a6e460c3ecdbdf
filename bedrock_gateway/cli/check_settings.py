"""The settings of a config in words: how a deployment is chosen, what is repeated, what waits and for how long."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from bedrock_gateway.config import Config
from bedrock_gateway.routing.deployments import Deployment
from bedrock_gateway.routing.rules import Affinity, RetryPolicy, RoutingRules, Strategy
from bedrock_gateway.routing.strategies import strategy_of
from bedrock_gateway.routing.table import tiers

__all__ = ["settings_lines"]

#: Columns of a line, and those its first word takes.
_WIDTH, _INDENT = 120, 11


def settings_lines(config: Config) -> list[str]:
    """Return the lines that describe the settings."""
    return [
        line
        for name, text in _settings(config)
        for line in textwrap.wrap(
            text,
            _WIDTH,
            initial_indent=name.ljust(_INDENT),
            subsequent_indent=" " * _INDENT,
            break_long_words=False,
            break_on_hyphens=False,
        )
    ]


def _settings(config: Config) -> Iterator[tuple[str, str]]:
    """Yield what is set, and its name; "" continues the one before."""
    general, rules, router = config.general, config.rules, config.router
    yield "Access", "locked by a master key" if general.master_key else "open: loopback only, any key is accepted"
    yield "Ledger", f"{general.ledger_durability}; on disconnect {general.on_disconnect.value}"
    services = _services(config)
    if services:
        yield "Services", services
    if general.request_metadata:
        yield "Metadata", f"{', '.join(general.request_metadata)}: written into the request metadata of calls"
    yield "Routing", _strategy(rules)
    weighted = [] if rules.strategy is not None else _weighted(config.deployments)
    if weighted:
        yield "", f"{', '.join(weighted)}: {Strategy.SHUFFLE.value} (weights are given)"
    if rules.tags is not None:
        prefix = f"; only tags that begin with {rules.tags.prefix!r}" if rules.tags.prefix else ""
        yield "Tags", f"{'one in common is enough' if rules.tags.match_any else 'all have to be there'}{prefix}"
    elif any(deployment.tags for deployment in config.deployments):
        yield "Tags", "do not count: enable_tag_filtering is not set"
    yield "Affinity", f"{_affinity(rules.affinity)}; for {rules.affinity_seconds:g} s"
    for group, affinity in rules.group_affinity.items():
        yield "", f"{group}: {_affinity(affinity)}"
    wait = f"{router.retry_after:g} s at least before the same deployment is asked again" if router.retry_after else ""
    yield "Retries", f"{router.num_retries}{wait and '; '}{wait}"
    if rules.retry_policy != RetryPolicy():
        yield "", _policy(rules.retry_policy)
    for group, policy in rules.group_retry_policy.items():
        yield "", f"{group}: {_policy(policy) or 'as num_retries'}"
    yield "Cooldown", _cooldown(config)
    limits = general.limits
    yield (
        "Timeouts",
        (
            f"answer: {_seconds(router.timeout)}; first byte of a stream: {_seconds(router.stream_timeout)}; "
            f"AWS silent: {limits.idle_timeout:g} s; whole call (total_timeout): {_seconds(limits.total_timeout)}"
        ),
    )
    if rules.max_parallel is not None:
        yield "Parallel", f"{rules.max_parallel:,} calls at once on a deployment without a figure of its own"
    queue = general.queue
    yield (
        "Queue",
        (
            "none: no free deployment is an immediate 429"
            if queue is None
            else f"{queue.most:,} calls, {min(queue.most_per_key, queue.most):,} of one key; "
            f"each waits {queue.seconds:g} s at most"
        ),
    )
    yield (
        "Answers",
        f"{'kept' if general.keep_answers else 'not kept'} for repeats of SDKs that timed out (keep_answers)",
    )
    yield (
        "Dialects",
        (
            f"what Bedrock has no place for is {'left out' if general.drop_params else 'refused'} (drop_params); "
            f"pictures named by URL are {'fetched' if general.fetch_images else 'refused'} (fetch_images)"
        ),
    )
    invoked = [deployment.name for deployment in config.deployments if deployment.body_format is not None]
    if invoked:
        yield "", f"by InvokeModel, in the model's own words: {', '.join(invoked)}"


def _services(config: Config) -> str:
    """Return where what no deployment names goes to, where that is not the same for every service."""
    regions: dict[str, list[str]] = {}
    for service, deployment in config.ambient:
        regions.setdefault(deployment.region or "no region", []).append(service)
    usual = max(regions, key=lambda region: len(regions[region]))
    if len(regions) == 1 and not config.given:
        return ""
    others = (f"{', '.join(services)}: {region}" for region, services in regions.items() if region != usual)
    return "; ".join((f"{usual}, but for their own", *others) if len(regions) > 1 else (usual,))


def _strategy(rules: RoutingRules) -> str:
    if rules.strategy is None:
        return f"{Strategy.ADAPTIVE.value} (default)"
    if rules.strategy is not Strategy.LATENCY:
        return rules.strategy.value
    return (
        f"{rules.strategy.value} (the mean of {rules.latency_samples}, up to {rules.latency_buffer:.0%} slower counts "
        f"as fast, forgotten after {rules.stats_seconds:g} s)"
    )


def _weighted(deployments: Iterable[Deployment]) -> list[str]:
    """Return the groups that go by weights although no strategy is set."""
    groups: dict[str, list[Deployment]] = {}
    for deployment in deployments:
        groups.setdefault(deployment.model_group, []).append(deployment)
    return [
        group
        for group, members in groups.items()
        if any(strategy_of(None, tier) is Strategy.SHUFFLE for tier in tiers(members) if len(members) > 1)
    ]


def _affinity(affinity: Iterable[Affinity]) -> str:
    return ", ".join(sorted(one.value for one in affinity)) or "none"


def _policy(policy: RetryPolicy) -> str:
    figures = {
        "throttled": policy.rate_limit,
        "unavailable": policy.unavailable,
        "internal error": policy.internal,
        "access denied": policy.credentials,
        "no such model": policy.not_found,
        "anything else": policy.default,
    }
    return ", ".join(f"{kind} {figure}" for kind, figure in figures.items() if figure is not None)


def _cooldown(config: Config) -> str:
    router = config.router
    if not router.cooldown_time:
        own = any(deployment.cooldown_time for deployment in config.deployments)
        return "none, but for deployments with a time of their own" if own else "none"
    after = "" if router.allowed_fails is None else f", after more than {router.allowed_fails} failures a minute"
    return f"{router.cooldown_time:g} s{after}; longer each time it happens again"


def _seconds(value: float | None) -> str:
    return "no limit" if value is None else f"{value:g} s"
