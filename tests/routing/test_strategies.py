"""Which of several free deployments is asked, by strategy."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from deployment_makers import balancing, first, group, make, order, sample
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_gateway.routing.balancer import Balancer
from bedrock_gateway.routing.resolutions import Resolution
from bedrock_gateway.routing.rules import RoutingRules, Strategy
from bedrock_gateway.routing.standings import HALF_LIFE, Standing
from bedrock_gateway.routing.strategies import PICKS, Pool, shares
from bedrock_gateway.routing.verdicts import REFUSED, THROTTLED

EVERY = pytest.mark.parametrize("strategy", [None, *Strategy])
A, B, C = make("a"), make("b"), make("c")


def firsts(balancer: Balancer, resolution: Resolution, times: int, now: float = 0.0, **more: Any) -> Counter[str]:
    """Count the first choices of many calls, none of which is under way when the next is made."""
    return Counter(first(balancer, resolution, now, **more) for _ in range(times))


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ([{}, {}], [1, 1]),
        ([{"weight": 3}, {"weight": 1}], [3, 1]),
        ([{"weight": 3}, {"weight": 1}, {}], [3, 1, 2]),
        ([{"rpm": 100}, {}], [100, 100]),
        ([{"rpm": 100, "tpm": 1}, {"rpm": 300, "tpm": 9}], [100, 300]),
        ([{"tpm": 10}, {"tpm": 30}, {}], [10, 30, 20]),
        ([{"weight": 0.5}, {"rpm": 100}], [0.5, 0.5]),
        ([{"weight": 0}, {}], [0, 1]),
        ([{"weight": 0}, {"weight": 4}, {}], [0, 4, 4]),
        ([{"weight": 0, "rpm": 100}, {"rpm": 50}], [0, 50]),
        ([{"weight": 0}, {"weight": 0}], [0, 0]),
    ],
)
def test_shares(figures: list[dict[str, Any]], expected: list[float]) -> None:
    """weight, else rpm, else tpm, else alike; who lacks the figure gets the mean of the others, and 0 means last."""
    deployments = [make(str(number), **figure) for number, figure in enumerate(figures)]

    assert expected == shares(deployments)


@pytest.mark.parametrize("metric", ["weight", "rpm", "tpm"])
def test_calls_are_shared_out(metric: str) -> None:
    """Over many calls the first choice falls as the figures say, and one without has the mean of the others."""
    tier = (make("a", **{metric: 30_000}), make("b", **{metric: 10_000}), make("c"))
    found = firsts(balancing(strategy=Strategy.SHUFFLE), group(tier), 6000)

    assert 2850 < found["a"] < 3150
    assert 850 < found["b"] < 1150
    assert 1850 < found["c"] < 2150


def test_what_is_left_is_shared_out_as_well() -> None:
    """Among those that are still free, the second choice falls by the weights too."""
    balancer = balancing()
    tier = group((make("a", weight=1000), make("b", weight=3), make("c", weight=1)))
    found = Counter(order(balancer.plan(tier, now=0, stream=False), 0)[1] for _ in range(4000))

    assert 2850 < found["b"] < 3150


@EVERY
def test_a_weight_of_0_is_the_last_resort(strategy: Strategy | None) -> None:
    """Under every strategy it comes after every other of its tier and before the next tier."""
    balancer = balancing(strategy=strategy)
    resolution = group((make("a", weight=0), make("b"), make("c")), (make("d"),))
    for _ in range(30):
        found = order(balancer.plan(resolution, now=0, stream=False), 0)

        assert ({"b", "c"}, ["a", "d"]) == (set(found[:2]), found[2:])


@EVERY
@pytest.mark.parametrize("stream", [False, True])
def test_ties_are_broken_by_chance(strategy: Strategy | None, stream: bool) -> None:
    """Under every strategy deployments that are alike get about as many calls, whether anything is known of them."""
    balancer, tier = balancing(strategy=strategy), (A, B, C)
    untried = firsts(balancer, group(tier), 300, stream=stream)
    for one in tier:
        sample(balancer, one, 1.0, 0, stream=stream)
    known = firsts(balancer, group(tier), 300, stream=stream)

    assert {True} == {70 < found[name] < 130 for found in (untried, known) for name in "abc"}


@pytest.mark.parametrize(
    ("figures", "strategy", "expected"),
    [
        ([{}, {}], None, Strategy.ADAPTIVE),
        ([{"rpm": 5}, {}], None, Strategy.ADAPTIVE),
        ([{"weight": 1}, {}], None, Strategy.SHUFFLE),
        ([{"weight": 1}, {}], Strategy.USAGE, Strategy.USAGE),
    ],
)
def test_without_a_strategy_weights_decide(
    figures: list[dict[str, Any]], strategy: Strategy | None, expected: Strategy
) -> None:
    """Who names none and gives weights has calls shared out by them; else it is adaptive."""
    deployments = [make(str(number), **figure) for number, figure in enumerate(figures)]
    standings = [Standing(deployment) for deployment in deployments]
    pool = Pool(deployments, standings, RoutingRules(strategy=strategy), lambda deployment: None)

    assert PICKS[expected] is pool.pick


def test_least_busy() -> None:
    """The one with the fewest calls under way is asked, until it has as many as the others."""
    balancer, resolution = balancing(strategy=Strategy.LEAST_BUSY), group((A, B, C))
    for count, one in ((2, A), (1, B), (3, C)):
        balancer.standing(one).in_flight = count
    found = []
    for _ in range(3):
        use = balancer.plan(resolution, now=0, stream=True).next(0)
        assert use is not None
        found.append(use.deployment.name)

    assert ("b", {"a", "b"}) == (found[0], set(found[1:]))


@pytest.mark.parametrize("strategy", [Strategy.LEAST_BUSY, Strategy.ADAPTIVE, Strategy.USAGE])
def test_ties_of_some_are_broken_by_chance(strategy: Strategy) -> None:
    """Those that are better than the others get about as many calls each."""
    busy = [make("busy"), make("too")]
    balancer, resolution = balancing(strategy=strategy), group((busy[0], A, B, busy[1], C))
    for one in busy:
        balancer.standing(one).in_flight = 50
        balancer.standing(one).used = 1e6
    found = firsts(balancer, resolution, 300)

    assert ({"a", "b", "c"}, True) == (set(found), all(70 < times < 130 for times in found.values()))


def test_latency_prefers_the_fastest() -> None:
    """The mean of the last samples decides, of streams by the first byte and of others by the answer."""
    balancer, resolution = balancing(strategy=Strategy.LATENCY, latency_samples=2), group((A, B))
    for seconds in (100.0, 1.0, 2.0):
        sample(balancer, A, seconds, 0)
    sample(balancer, B, 2.0, 0)
    sample(balancer, A, 5.0, 0, stream=False)
    sample(balancer, B, 4.0, 0, stream=False)

    assert {"a": 20} == firsts(balancer, resolution, 20, stream=True)
    assert {"b": 20} == firsts(balancer, resolution, 20, stream=False)


def test_a_latency_buffer_lets_others_count_as_fast() -> None:
    """With a buffer of a half, all within half as much again of the fastest get calls alike."""
    balancer = balancing(strategy=Strategy.LATENCY, latency_buffer=0.5)
    for one, seconds in ((A, 1.0), (B, 1.5), (C, 1.6)):
        sample(balancer, one, seconds, 0)
    found = firsts(balancer, group((A, B, C)), 200, stream=True)

    assert ({"a", "b"}, True) == (set(found), 70 < found["a"] < 130)


def test_under_latency_an_untried_deployment_is_tried_by_one_call_at_a_time() -> None:
    """It gets the next call at once and none more while that is under way."""
    balancer, resolution = balancing(strategy=Strategy.LATENCY), group((A, B))
    sample(balancer, A, 1.0, 0)
    trying = balancer.plan(resolution, now=0, stream=True).next(0)
    assert trying is not None

    assert "b" == trying.deployment.name
    assert {"a": 20} == firsts(balancer, resolution, 20, stream=True)
    balancer.end(trying, 0, 1)
    assert {"b": 20} == firsts(balancer, resolution, 20, 1, stream=True)
    sample(balancer, B, 2.0, 1)
    assert {"a": 20} == firsts(balancer, resolution, 20, 1, stream=True)


def test_under_latency_an_untried_deployment_that_failed_is_tried_again_later() -> None:
    """One failure before the first sample neither draws every call to it, nor keeps them away for good."""
    balancer, resolution = balancing(strategy=Strategy.LATENCY), group((A, B))
    sample(balancer, A, 1.0, 0)
    plan = balancer.plan(resolution, now=0, stream=True)
    use = plan.next(0)
    assert use is not None
    balancer.failed(use, THROTTLED, plan, 0)
    balancer.end(use, 0, 0)

    assert {"a": 20} == firsts(balancer, resolution, 20, 1, stream=True)
    assert {"b": 20} == firsts(balancer, resolution, 20, HALF_LIFE, stream=True)


@pytest.mark.parametrize("other_kind", [False, True])
def test_under_latency_a_slow_deployment_is_tried_again_when_its_samples_are_old(other_kind: bool) -> None:
    """A figure is forgotten after its time, though the deployment is not chosen and calls of the other kind go on."""
    balancer, resolution = balancing(strategy=Strategy.LATENCY, stats_seconds=100), group((A, B))
    sample(balancer, B, 9.0, 0)
    found = {}
    for now in range(50, 200, 10):
        sample(balancer, A, 1.0, now)
        if other_kind:
            sample(balancer, B, 9.0, now, stream=False)
        found[now] = first(balancer, resolution, now, stream=True)

    assert {now: "a" if now < 100 else "b" for now in found} == found


def test_usage_counts_what_is_under_way() -> None:
    """Calls under way count as usual ones do, so that calls that come together do not all go to one."""
    balancer, resolution = balancing(strategy=Strategy.USAGE), group((A, B, C))
    uses = [balancer.plan(resolution, now=0, stream=False).next(0) for _ in range(30)]

    assert {"a": 10, "b": 10, "c": 10} == Counter(use.deployment.name for use in uses if use)


def test_usage_prefers_the_fewest_tokens_of_late() -> None:
    """What was used counts for what it came to, old tokens for less than new ones."""
    balancer, resolution = balancing(strategy=Strategy.USAGE), group((A, B))
    plan = balancer.plan(resolution, now=0, stream=False)
    for _ in range(2):
        use = plan.next(0)
        assert use is not None
        balancer.end(use, 10_000 if use.deployment is A else 1_000, 0)

    assert "b" == first(balancer, resolution, 1)
    use = balancer.plan(resolution, now=100 * HALF_LIFE, stream=False).next(100 * HALF_LIFE)
    assert use is not None and use.deployment is B
    balancer.end(use, 10, 100 * HALF_LIFE)
    assert "a" == first(balancer, resolution, 100 * HALF_LIFE)


def test_cost_prefers_flat_then_cheap_and_what_has_no_price_comes_last() -> None:
    """What is paid by the hour costs nothing more; an unknown price is no bargain."""
    rates = {"cheap": 1.0, "dear": 2.0, "flat": 100.0}
    tier = [make(name, flat=name == "flat") for name in ("unknown", "dear", "cheap", "flat")]
    balancer = balancing(strategy=Strategy.COST, rate=lambda deployment: rates.get(deployment.name))
    for _ in range(5):
        assert ["flat", "cheap", "dear", "unknown"] == order(balancer.plan(group(tier), now=0, stream=False), 0)


def test_adaptive_prefers_the_less_busy() -> None:
    """Of two that answer as fast, the one with fewer calls under way gets the next."""
    balancer, resolution = balancing(), group((A, B))
    balancer.standing(A).in_flight = 3

    assert {"b": 20} == firsts(balancer, resolution, 20)


@pytest.mark.parametrize("stream", [False, True])
def test_adaptive_prefers_the_faster_as_far_as_it_is_not_busier(stream: bool) -> None:
    """One that takes thrice as long gets a third as many at most, but some."""
    balancer, resolution = balancing(), group((A, B))
    sample(balancer, A, 1.0, 0, stream=stream)
    sample(balancer, B, 3.0, 0, stream=stream)
    uses = [balancer.plan(resolution, now=0, stream=stream).next(0) for _ in range(40)]

    found = Counter(use.deployment.name for use in uses if use)
    assert 1 <= found["b"] <= found["a"] / 3


def test_adaptive_heeds_shares() -> None:
    """Where it is asked for beside weights, calls under way are shared out by them."""
    balancer = balancing(strategy=Strategy.ADAPTIVE)
    resolution = group((make("a", weight=3), make("b", weight=1)))
    uses = [balancer.plan(resolution, now=0, stream=True).next(0) for _ in range(80)]
    found = Counter(use.deployment.name for use in uses if use)

    assert 2 * found["b"] < found["a"] < 4 * found["b"]


@pytest.mark.parametrize("count", [2, 8, 9, 50])
def test_adaptive_shares_out_over_many(count: int) -> None:
    """However many deployments there are, about as many calls are under way on each."""
    balancer, resolution = balancing(), group([make(str(number)) for number in range(count)])
    uses = [balancer.plan(resolution, now=0, stream=True).next(0) for _ in range(20 * count)]
    found = Counter(use.deployment.name for use in uses if use)

    assert (count, True) == (len(found), all(15 <= times <= 25 for times in found.values()))


def test_adaptive_asks_all_alike_when_calls_come_one_at_a_time() -> None:
    """Nearly equal times are taken for equal: nobody is left alone because another was luckier once."""
    balancer, resolution, chance = balancing(), group((A, B, C)), random.Random(3)
    found: Counter[str] = Counter()
    for now in range(300):
        use = balancer.plan(resolution, now=now, stream=True).next(now)
        assert use is not None
        found[use.deployment.name] += 1
        balancer.answered(use, chance.uniform(0.95, 1.05), now)
        balancer.end(use, 0, now)

    assert all(70 <= found[name] <= 130 for name in "abc")


def test_adaptive_neither_floods_nor_starves_the_untried() -> None:
    """One of which nothing is known has as many calls under way as one that is known."""
    balancer, resolution = balancing(), group((A, B))
    sample(balancer, A, 0.001, 0)
    uses = [balancer.plan(resolution, now=0, stream=True).next(0) for _ in range(40)]

    assert {"a": 20, "b": 20} == Counter(use.deployment.name for use in uses if use)


@pytest.mark.parametrize("other_kind", [False, True])
def test_under_adaptive_a_slow_deployment_is_tried_again(other_kind: bool) -> None:
    """A slow figure fades while none of its kind is taken, so that one slow answer does not last forever."""
    balancer, resolution = balancing(), group((A, B))
    sample(balancer, B, 8.0, 0)
    found = {}
    for now in range(0, 241, 10):
        sample(balancer, A, 1.0, now)
        if other_kind:
            sample(balancer, B, 8.0, now, stream=False)
        found[now] = first(balancer, resolution, now, stream=True)

    assert {"a"} == {found[now] for now in found if now < 4 * HALF_LIFE}
    assert "b" in {found[now] for now in found if now > 4 * HALF_LIFE}


def test_under_adaptive_what_nobody_tried_for_long_is_not_flooded() -> None:
    """Nothing known of late is no proof of speed: many calls at once go there as often as to the fast ones."""
    balancer, resolution = balancing(), group((A, B))
    sample(balancer, B, 8.0, 0)
    sample(balancer, A, 1.0, 100 * HALF_LIFE)
    uses = [balancer.plan(resolution, now=100 * HALF_LIFE, stream=True).next(100 * HALF_LIFE) for _ in range(40)]

    assert {"a": 20, "b": 20} == Counter(use.deployment.name for use in uses if use)


def throttle(balancer: Balancer, times: int) -> None:
    """Have the first deployment throttle so often, each time some seconds after the last, and then refuse once."""
    for number in range(times + 1):
        plan = balancer.plan(group((A,)), now=2 * number, stream=False)
        use = plan.next(2 * number)
        assert use is not None
        balancer.failed(use, THROTTLED if number < times else REFUSED, plan, 2 * number)
        balancer.end(use, 0, 2 * number)


def test_under_adaptive_one_that_throttles_gets_fewer_calls_for_a_while() -> None:
    """Throttling takes from a deployment's share of calls under way; long after that it has as many as others."""
    balancer, resolution = balancing(cooldown_time=0), group((A, B))
    throttle(balancer, 3)
    for now, least, most in ((6, 0, 10), (1000, 30, 30)):
        uses = [balancer.plan(resolution, now=now, stream=False).next(now) for _ in range(60)]
        found = Counter(use.deployment.name for use in uses if use)
        for use in uses:
            assert use is not None
            balancer.answered(use, 1.0, now)
            balancer.end(use, 0, now)

        assert least <= found["a"] <= most
    assert 3 == balancer.standing(A).throttled


def test_however_often_it_throttles_a_deployment_is_tried() -> None:
    """A share does not fall to nothing: where the others are very busy it is asked."""
    balancer, resolution = balancing(cooldown_time=0), group((A, B))
    throttle(balancer, 100)

    assert {"b": 10} == firsts(balancer, resolution, 10, 201)
    balancer.standing(B).in_flight = 10_000
    assert {"a": 10} == firsts(balancer, resolution, 10, 201)


@settings(deadline=None)
@given(
    strategy=st.sampled_from(Strategy),
    figures=st.lists(
        st.fixed_dictionaries({}, optional={"weight": st.floats(0.001, 1e9), "rpm": st.integers(1, 10**9)}),
        min_size=2,
        max_size=5,
    ),
    known=st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e6), st.booleans()), max_size=8),
    left=st.sets(st.integers(0, 4)),
    chances=st.lists(st.floats(0, 1, exclude_max=True), min_size=2, max_size=2),
    now=st.floats(0, 1e7),
    stream=st.booleans(),
)
def test_one_of_the_free_is_chosen(
    strategy: Strategy,
    figures: list[dict[str, Any]],
    known: list[tuple[float, float, bool]],
    left: set[int],
    chances: list[float],
    now: float,
    stream: bool,
) -> None:
    """Whatever the strategy, the figures, the samples and the chances, what is chosen is free."""
    deployments = [make(str(number), **figure) for number, figure in enumerate(figures)]
    standings = [Standing(deployment) for deployment in deployments]
    for number, (seconds, at, of_stream) in enumerate(known):
        standings[number % len(standings)].answered(of_stream, seconds, at)
    pool = Pool(deployments, standings, RoutingRules(strategy=strategy), lambda deployment: None)
    free = [one for number, one in enumerate(standings) if number not in left]
    if len(free) < 2:
        free = standings
    numbers = iter(chances)

    assert pool.pick(pool, pool.members if free == standings else free, stream, now, lambda: next(numbers)) in free
