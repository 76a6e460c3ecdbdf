"""What an operator rules about balancing and failover, as frozen values. Knows no YAML and decides nothing.

Source: LiteLLM documentation, "Router - Load Balancing" (``routing_strategy``, ``routing_strategy_args``, affinity
checks), "Fallbacks", "Tag Based Routing"; its ``types/router.py`` (``RetryPolicy``). ``adaptive`` and ``queue`` are the
gateway's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

import attrs

__all__ = ["Affinity", "Fallbacks", "QueueRules", "RetryPolicy", "RoutingRules", "Strategy", "TagRules"]


class Strategy(StrEnum):
    """How one of several free deployments of a tier is chosen."""

    SHUFFLE = "simple-shuffle"
    LEAST_BUSY = "least-busy"
    LATENCY = "latency-based-routing"
    USAGE = "usage-based-routing"  # also what usage-based-routing-v2 is
    COST = "cost-based-routing"
    ADAPTIVE = "adaptive"


class Affinity(StrEnum):
    """By what the calls of one caller are kept on one deployment."""

    SESSION = "session_affinity"  # a header that names a session
    PREFIX = "prompt_caching"  # system prompt and tools
    CALLER = "deployment_affinity"  # nothing else


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """Further attempts by what failed; None where ``num_retries`` counts. Never more than the retry table allows.

    Attributes:
        default: for every kind that has no figure of its own.
        rate_limit: throttled, or not ready.
        unavailable: unavailable, or never reached.
        internal: an internal error; of these one is repeated at most.
        credentials: access denied, credentials refused.
        not_found: no such model there.
    """

    default: int | None = None
    rate_limit: int | None = None
    unavailable: int | None = None
    internal: int | None = None
    credentials: int | None = None
    not_found: int | None = None
    #: The largest of them, 0 without any.
    most: int = attrs.field(init=False, eq=False, repr=False)

    @most.default
    def _most(self) -> int:
        figures = (
            self.default,
            self.rate_limit,
            self.unavailable,
            self.internal,
            self.credentials,
            self.not_found,
        )
        return max((figure for figure in figures if figure is not None), default=0)


@attrs.frozen(kw_only=True)
class Fallbacks:
    """Which names are asked instead, in order, when no deployment of a group answers.

    Attributes:
        by_group: for one name; "*" is for every other model group (a raw id nothing names is in none).
        default: after those of ``by_group``, for any group.
        context_window: when the request is too long for the model; nothing else leads there.
        most: names tried for one call.
    """

    by_group: Mapping[str, tuple[str, ...]] = attrs.field(factory=lambda: MappingProxyType({}))
    default: tuple[str, ...] = ()
    context_window: Mapping[str, tuple[str, ...]] = attrs.field(factory=lambda: MappingProxyType({}))
    most: int = 5

    def __bool__(self) -> bool:
        """Tell whether anything is named at all."""
        return bool(self.by_group or self.default or self.context_window)

    def after(self, name: str) -> tuple[str, ...]:
        """Return the names to ask when a group gave no answer, without itself and each once."""
        own = self.by_group.get(name)
        if own is None:
            own = self.by_group.get("*", ())
        return tuple(dict.fromkeys(other for other in (*own, *self.default) if other != name))[: self.most]

    def longer(self, name: str) -> tuple[str, ...]:
        """Return the names to ask when a request is too long for a group."""
        own = self.context_window.get(name)
        if own is None:
            own = self.context_window.get("*", ())
        return tuple(dict.fromkeys(other for other in own if other != name))[: self.most]


@attrs.frozen(kw_only=True)
class TagRules:
    """Routing by tags (``enable_tag_filtering``).

    Attributes:
        match_any: one tag in common is enough; else a deployment must have all that were asked for.
        prefix: only tags that begin with it are for routing; it is cut off.
    """

    match_any: bool = True
    prefix: str = ""


@attrs.frozen(kw_only=True)
class QueueRules:
    """Waiting instead of an immediate 429 (``general_settings.queue``).

    Attributes:
        most: calls waiting at once.
        most_per_key: of these, calls of one key.
        seconds: a call waits at most.
    """

    most: int = 1000
    most_per_key: int = 100
    seconds: float = 30.0


@attrs.frozen(kw_only=True)
class RoutingRules:
    """``router_settings`` as far as they choose among deployments.

    Attributes:
        strategy: None where the operator names none: ``adaptive``, but ``simple-shuffle`` where weights are given.
        latency_buffer: under latency-based-routing, how much slower than the fastest still counts as fast.
        latency_samples: samples it is the mean of.
        stats_seconds: seconds after which a figure is forgotten.
        affinity: by what calls stick to a deployment, for every group.
        group_affinity: the same for one group, instead.
        affinity_seconds: for how long after the last call.
        tags: None where tags do not route.
        max_parallel: calls at once on a deployment that has no figure of its own; None for no limit.
        fallbacks: names asked instead.
        retry_policy: further attempts, by what failed.
        group_retry_policy: the same for one group, instead.
    """

    strategy: Strategy | None = None
    latency_buffer: float = 0.0
    latency_samples: int = 10
    stats_seconds: float = 3600.0
    affinity: frozenset[Affinity] = frozenset({Affinity.SESSION})
    group_affinity: Mapping[str, frozenset[Affinity]] = attrs.field(factory=lambda: MappingProxyType({}))
    affinity_seconds: float = 3600.0
    tags: TagRules | None = None
    max_parallel: int | None = None
    fallbacks: Fallbacks = attrs.field(factory=Fallbacks)
    retry_policy: RetryPolicy = attrs.field(factory=RetryPolicy)
    group_retry_policy: Mapping[str, RetryPolicy] = attrs.field(factory=lambda: MappingProxyType({}))

    def affinity_of(self, asked: str, group: str) -> frozenset[Affinity]:
        """Return by what the calls of a group stick, that was asked for by this name."""
        own = self.group_affinity
        return own[asked] if asked in own else own.get(group, self.affinity)

    def retries_of(self, asked: str, group: str) -> RetryPolicy:
        """Return the policy of a group that was asked for by this name."""
        own = self.group_retry_policy
        return own[asked] if asked in own else own.get(group, self.retry_policy)
