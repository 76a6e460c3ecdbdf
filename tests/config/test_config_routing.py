"""What of ``router_settings`` chooses among deployments, fallbacks, and the queue."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_gateway.config import Config, load_config
from bedrock_gateway.config.fallbacks import SHOWN_OF_CIRCLE
from bedrock_gateway.config.names import Names
from bedrock_gateway.config.reading import MOST_FAULTS
from bedrock_gateway.errors import ConfigError
from bedrock_gateway.routing.rules import (
    Affinity,
    Fallbacks,
    QueueRules,
    RetryPolicy,
    RoutingRules,
    Strategy,
    TagRules,
)

PARAMS = "litellm_params: {model: bedrock/amazon.nova-pro-v1:0, aws_region_name: us-east-1}"
GROUPS = ("a", "b", "c", "d", "x-*")
MODELS = "model_list:\n" + "".join(f"  - {{model_name: {group}, {PARAMS}}}\n" for group in GROUPS)

#: Lines of ``MODELS``, and the line ``router_settings`` follow in.
LINE = len(GROUPS) + 2


def load(
    router: str = "{}", *, litellm: str = "{}", general: str = "{}", environ: dict[str, str] | None = None
) -> Config:
    """Load a config with settings in flow style."""
    text = f"{MODELS}router_settings: {router}\nlitellm_settings: {litellm}\ngeneral_settings: {general}\n"
    return load_config(text, environ=environ or {})


def rules(router: str, *, litellm: str = "{}") -> RoutingRules:
    """Load rules that nothing is warned of."""
    config = load(router, litellm=litellm)
    assert () == config.warnings
    return config.rules


def warnings(router: str) -> list[str]:
    """Load rules and return what is warned of."""
    found = load(router).warnings
    assert all(warning.line == LINE for warning in found)
    return [warning.message for warning in found]


def faults(router: str, *, litellm: str = "{}", environ: dict[str, str] | None = None) -> list[str]:
    """Return the faults of settings."""
    with pytest.raises(ConfigError) as caught:
        load(router, litellm=litellm, environ=environ)
    return [fault.message for fault in caught.value.faults]


def test_defaults() -> None:
    """A config that says nothing has every rule's default, and no queue."""
    config = load()

    assert (RoutingRules(), None) == (config.rules, config.general.queue)
    assert (None, None, None) == (
        config.rules.strategy,
        config.router.allowed_fails,
        config.general.limits.total_timeout,
    )


@pytest.mark.parametrize(
    ("written", "expected"),
    [*((strategy.value, strategy) for strategy in Strategy), ("usage-based-routing-v2", Strategy.USAGE)],
)
def test_strategies(written: str, expected: Strategy) -> None:
    """Every strategy of LiteLLM's, and adaptive, is served under its name."""
    assert expected is rules(f"{{routing_strategy: {written}}}").strategy


def test_a_strategy_of_budgets_is_a_warning() -> None:
    """Budgets are kept whatever the strategy, so that naming them as one chooses none."""
    config = load("{routing_strategy: provider-budget-routing}")

    assert None is config.rules.strategy
    assert [
        f"config.yaml:{LINE}:37: router_settings.routing_strategy: provider-budget-routing does nothing here, budgets "
        "of deployments are always kept; the default strategy is used"
    ] == [str(warning) for warning in config.warnings]


def test_arguments_of_strategies() -> None:
    """routing_strategy_args arrive, each on its own."""
    latency, by = Strategy.LATENCY, "routing_strategy: latency-based-routing"
    args = "routing_strategy_args: {ttl: 60, lowest_latency_buffer: 0.5, max_latency_list_size: 3}"
    found = rules(f"{{{by}, {args}}}")

    assert RoutingRules(strategy=latency, stats_seconds=60, latency_buffer=0.5, latency_samples=3) == found
    found = rules(f"{{{by}, routing_strategy_args: {{max_latency_list_size: 1000}}}}")
    assert RoutingRules(strategy=latency, latency_samples=1000) == found
    assert ["router_settings.routing_strategy_args.ttft_percentile does nothing here"] == warnings(
        "{routing_strategy_args: {ttft_percentile: 95}}"
    )


@pytest.mark.parametrize("strategy", ["", "routing_strategy: adaptive, ", "routing_strategy: least-busy, "])
def test_arguments_of_another_strategy(strategy: str) -> None:
    """Arguments of a strategy that is not the one set are warned of, each at its place."""
    args = "router_settings.routing_strategy_args"

    assert [
        f"{args}.lowest_latency_buffer does nothing without routing_strategy: latency-based-routing",
        f"{args}.ttl does nothing without routing_strategy: latency-based-routing",
    ] == warnings(f"{{{strategy}routing_strategy_args: {{lowest_latency_buffer: 0.5, ttl: 60}}}}")


def test_parallel_calls_and_affinity_seconds() -> None:
    """Figures of the router arrive."""
    found = rules("{default_max_parallel_requests: 7, deployment_affinity_ttl_seconds: 90}")

    assert RoutingRules(max_parallel=7, affinity_seconds=90) == found


def test_what_a_deployment_says_of_itself() -> None:
    """max_parallel_requests and cooldown_time arrive; model_info may say the latter, litellm_params win."""
    text = (
        MODELS.replace("us-east-1}", "us-east-1, max_parallel_requests: 3, cooldown_time: 9}", 1)
        .replace("us-east-1}}", "us-east-1}, model_info: {cooldown_time: 0.5}}")
        .replace("cooldown_time: 9}}", "cooldown_time: 9}, model_info: {cooldown_time: 1}}")
    )
    first, second, *_ = load_config(text, environ={}).deployments

    assert (3, 9) == (first.max_parallel, first.cooldown_time)
    assert (None, 0.5) == (second.max_parallel, second.cooldown_time)


def test_allowed_fails() -> None:
    """The router's figure wins over LiteLLM's; 0 is one."""
    assert 0 == load("{allowed_fails: 0}", litellm="{allowed_fails: 4}").router.allowed_fails
    assert 4 == load(litellm="{allowed_fails: 4}").router.allowed_fails


POLICY = (
    "{DefaultRetries: 1, RateLimitErrorRetries: 2, ServiceUnavailableErrorRetries: 3, InternalServerErrorRetries: 0, "
    "AuthenticationErrorRetries: 5, NotFoundErrorRetries: 100, BadRequestErrorRetries: 0, TimeoutErrorRetries: null, "
    "ContentPolicyViolationErrorRetries: 0}"
)


def test_retry_policies() -> None:
    """Every kind of failure has its figure, for all groups and for one, wildcards and aliases being groups too."""
    policy = RetryPolicy(default=1, rate_limit=2, unavailable=3, internal=0, credentials=5, not_found=100)
    groups = f"{{a: {POLICY}, alias: {{DefaultRetries: 0}}, x-1: {{RateLimitErrorRetries: 9}}, b: null}}"
    found = rules(f"{{retry_policy: {POLICY}, model_group_retry_policy: {groups}, model_group_alias: {{alias: b}}}}")

    assert policy == found.retry_policy
    assert {"a": policy, "alias": RetryPolicy(default=0), "x-1": RetryPolicy(rate_limit=9)} == found.group_retry_policy
    assert policy == found.retries_of("b", "b")


def test_retries_that_are_never_made() -> None:
    """A policy that would repeat what may be billed twice, or was refused, says that it does not."""
    policy = (
        "{BadRequestErrorRetries: 1, TimeoutErrorRetries: 2, ContentPolicyViolationErrorRetries: 3, "
        "InternalServerErrorRetries: 2}"
    )
    path = "router_settings.model_group_retry_policy.a"

    assert [
        f"{path}.BadRequestErrorRetries does nothing here: what was refused as such is not repeated",
        f"{path}.TimeoutErrorRetries does nothing here: what was sent and lost is never sent again, since it may be "
        "billed twice",
        f"{path}.ContentPolicyViolationErrorRetries does nothing here: what was refused as such is not repeated",
        f"{path}.InternalServerErrorRetries: such an answer may be billed, so that it is repeated once at most",
    ] == warnings(f"{{model_group_retry_policy: {{a: {policy}}}}}")
    assert [] == warnings("{retry_policy: {InternalServerErrorRetries: 1}}")


def test_fallbacks() -> None:
    """Every list arrives; a single text counts as one of one, a mapping as its model."""
    found = rules(
        "{fallbacks: [{a: [b, x-7]}, {b: c}, {'*': [us.amazon.nova-lite-v1:0]}, {alias: []}, "
        "{bedrock/amazon.nova-pro-v1:0: [{model: d}]}], model_group_alias: {alias: a}, "
        "default_fallbacks: [d, alias], context_window_fallbacks: [{b: a}, {a: [c]}], max_fallbacks: 2}"
    ).fallbacks

    assert (
        Fallbacks(
            by_group={
                "a": ("b", "x-7"),
                "b": ("c",),
                "*": ("us.amazon.nova-lite-v1:0",),
                "alias": (),
                "bedrock/amazon.nova-pro-v1:0": ("d",),
            },
            default=("d", "alias"),
            context_window={"b": ("a",), "a": ("c",)},
            most=2,
        )
        == found
    )


def test_parameters_of_a_fallback_do_nothing() -> None:
    """LiteLLM lets a fallback bring parameters; a gateway that passes requests through says that it takes none."""
    assert ["router_settings.fallbacks[0].a[1].temperature does nothing here"] == warnings(
        "{fallbacks: [{a: [b, {model: c, temperature: 1}]}]}"
    )


def test_litellm_settings_fill_the_routers_gaps() -> None:
    """Each kind of fallback is taken from litellm_settings where router_settings has none of it."""
    litellm = "{fallbacks: [{a: [b]}], default_fallbacks: [c], context_window_fallbacks: [{a: [d]}], max_fallbacks: 0}"

    assert (
        Fallbacks(by_group={"a": ("b",)}, default=("c",), context_window={"a": ("d",)}, most=0)
        == rules("{fallbacks: []}", litellm=litellm).fallbacks
    )
    assert (
        Fallbacks(by_group={"b": ("a",)}, default=("d",), context_window={"a": ("d",)}, most=3)
        == rules("{fallbacks: [{b: [a]}], default_fallbacks: [d], max_fallbacks: 3}", litellm=litellm).fallbacks
    )


def test_lists_of_names_in_a_variable() -> None:
    """A variable holds one text; several names in it are separated by commas, and none is ever quoted."""
    router = "{fallbacks: [{a: os.environ/NAMES}]}"

    assert {"a": ("b", "c")} == load(router, environ={"NAMES": "b, c"}).rules.fallbacks.by_group
    assert [
        "router_settings.fallbacks[0].a leads to a value out of the environment, which is no model group",
    ] == faults(router, environ={"NAMES": "b, sk-secret"})


def test_kinds_of_fallbacks_have_circles_of_their_own() -> None:
    """What falls back one way may do so the other way for another reason; default ones are asked once, by everybody."""
    found = rules(
        "{fallbacks: [{a: [b]}, {'*': [b]}, {b: [c]}], context_window_fallbacks: [{b: [a]}], "
        "default_fallbacks: [a, b, c]}"
    ).fallbacks

    assert (("b", "c"), ("c", "a"), ("a",)) == (found.after("a"), found.after("b"), found.longer("b"))


def test_a_long_circle_is_told_by_its_ends() -> None:
    """A message stays readable however many names a circle has, and however many circles there are."""
    count = 500
    names = "".join(f"  - {{model_name: n{number}, {PARAMS}}}\n" for number in range(count))
    ring = "".join(f"    - n{number}: [n{(number + 1) % count}, n0]\n" for number in range(count - 1)) + (
        f"    - n{count - 1}: n0\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_config(f"model_list:\n{names}router_settings:\n  fallbacks:\n{ring}", environ={})

    way = " -> ".join(f"n{number}" for number in range(SHOWN_OF_CIRCLE))
    end = " -> ".join(f"n{number}" for number in range(count - SHOWN_OF_CIRCLE + 1, count))
    messages = [fault.message for fault in caught.value.faults]
    assert 1 < len(messages)
    assert (
        f"router_settings.fallbacks[0].n0 goes in a circle: {way} -> … -> {end} -> n0; take one of these fallbacks out"
        in messages
    )


def test_what_cannot_be_read_is_told_once() -> None:
    """A tag nobody understands is one fault, and the names around it are looked at all the same."""
    assert [
        "the tag !x is not understood; remove it",
        "the tag !y is not understood; remove it",
        "router_settings.fallbacks[2].b leads to itself; name another model group",
    ] == faults("{fallbacks: [!x 1, {a: !y 1}, {b: b}]}")


@pytest.mark.parametrize(
    "written",
    [
        "fallbacks: [{%s}]",
        "fallbacks: [{a: [%s]}]",
        "optional_pre_call_checks: [%s]",
        "model_group_retry_policy: {%s}",
    ],
)
def test_faults_are_bounded(written: str) -> None:
    """Thousands of names that lead nowhere end after a bounded number of faults, and soon."""
    many = ", ".join(f"'{number}'" + (": [a]" if "{%s}" in written else "") for number in range(2000))

    assert MOST_FAULTS == len(faults("{" + written % many + "}"))


LISTS = st.dictionaries(st.sampled_from("abcd"), st.lists(st.sampled_from("abcd"), max_size=3), max_size=4)


@settings(deadline=None)
@given(LISTS)
def test_circles_and_nothing_else_are_refused(lists: dict[str, list[str]]) -> None:
    """Fallbacks are taken exactly where the names can be put in an order in which each only leads forwards."""
    router = "{fallbacks: [" + ", ".join(f"{{{name}: [{', '.join(others)}]}}" for name, others in lists.items()) + "]}"
    try:
        TopologicalSorter(lists).prepare()
    except CycleError:
        for fault in faults(router):
            _, circle, way = fault.partition(" goes in a circle: ")
            if circle:
                steps = way.partition(";")[0].split(" -> ")
                assert steps[0] == steps[-1]
                assert all(after in lists[before] for before, after in pairwise(steps))
            else:
                assert "leads to itself" in fault
    else:
        assert {name: tuple(others) for name, others in lists.items()} == dict(load(router).rules.fallbacks.by_group)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{enable_tag_filtering: true}", TagRules()),
        ("{enable_tag_filtering: true, tag_routing_prefix: ''}", TagRules()),
        (
            "{enable_tag_filtering: true, tag_filtering_match_any: false, tag_routing_prefix: 'route:'}",
            TagRules(match_any=False, prefix="route:"),
        ),
        ("{enable_tag_filtering: false, tag_filtering_match_any: false}", None),
        ("{tag_routing_prefix: null}", None),
    ],
)
def test_tags(written: str, expected: TagRules | None) -> None:
    """Tags route only where that is switched on."""
    assert expected == rules(written).tags


def test_rules_for_tags_without_the_switch() -> None:
    """How tags would be matched does nothing where nobody said that they are."""
    assert [
        "router_settings.tag_filtering_match_any does nothing without enable_tag_filtering",
        "router_settings.tag_routing_prefix does nothing without enable_tag_filtering",
    ] == warnings("{tag_filtering_match_any: true, tag_routing_prefix: x}")


def test_affinity() -> None:
    """Checks that choose are honoured, those that limit are kept anyway; a session's header always counts."""
    router = "{optional_pre_call_checks: [prompt_caching, enforce_model_rate_limits, router_budget_limiting]}"

    assert {Affinity.PREFIX, Affinity.SESSION} == rules(router).affinity
    assert {Affinity.CALLER, Affinity.SESSION} == rules("{optional_pre_call_checks: deployment_affinity}").affinity
    assert {Affinity.SESSION} == rules("{optional_pre_call_checks: []}").affinity


def test_affinity_of_groups() -> None:
    """A group's own list is all there is for it; an empty one means no affinity at all."""
    found = rules(
        "{optional_pre_call_checks: [deployment_affinity], "
        "model_group_affinity_config: {a: [], x-1: [prompt_caching], b: null}}"
    )

    assert {"a": frozenset(), "x-1": frozenset({Affinity.PREFIX})} == found.group_affinity
    assert found.affinity == found.affinity_of("b", "b")


def test_checks_that_do_nothing() -> None:
    """Checks about what this gateway does not have are warned of."""
    words = ("responses_api_deployment_check", "encrypted_content_affinity", "forward_client_headers_by_model_group")
    path = "router_settings.optional_pre_call_checks"

    assert [f"{path}: {word} does nothing here" for word in words] == warnings(
        f"{{optional_pre_call_checks: [{', '.join(words)}]}}"
    )


def test_routing_groups_do_nothing() -> None:
    """What is not served yet is warned of."""
    assert [
        "router_settings.routing_groups does nothing here; routing_strategy is for every group; where it is left out, "
        "groups with weights go by these",
        "router_settings.allowed_fails_policy does nothing here; write allowed_fails, which is for every kind of "
        "failure",
        "router_settings.content_policy_fallbacks does nothing here; Bedrock tells it by a stop reason in an answer, "
        "which is passed on; fallbacks are for failures",
    ] == warnings("{routing_groups: [], allowed_fails_policy: {}, content_policy_fallbacks: []}")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("true", QueueRules()),
        ("'yes'", QueueRules()),
        ("false", None),
        ("null", None),
        ("{}", QueueRules()),
        ("{max_size: 5}", QueueRules(most=5)),
        ("{max_size: 100000, max_per_key: 1, timeout: 0.5}", QueueRules(most=100_000, most_per_key=1, seconds=0.5)),
    ],
)
def test_the_queue(written: str, expected: QueueRules | None) -> None:
    """A queue is asked for by true, or by what differs."""
    assert expected == load(general=f"{{queue: {written}}}").general.queue


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("claude", True),
        ("sonnet", True),
        ("gpt-4", True),
        ("bedrock/*", True),
        ("us.amazon.nova-pro-v1:0", True),
        ("bedrock/us.amazon.nova-pro-v1:0", True),
        ("arn:aws:bedrock:us-east-1:1:inference-profile/us.amazon.nova-pro-v1:0", True),
        ("bedrock/anything", True),
        ("claud", False),
        ("gpt", False),
        ("*", False),
        ("", False),
    ],
)
def test_names(name: str, there: bool) -> None:
    """Groups, aliases, what a wildcard takes and raw ids lead somewhere; nothing else does."""
    assert there == (name in Names(frozenset({"claude", "gpt-*", "bedrock/*"}), frozenset({"sonnet"})))
