"""What each strategy does with a few thousand calls in virtual time: a short form of ``make simulation``."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from random import Random
from xml.etree import ElementTree

import pytest
from simulated_plots import dots
from simulated_scenarios import SCENARIOS, Scenario
from simulated_upstream import CACHE_SECONDS, Asked, Region, Upstream
from simulation import Figures, simulate

from bedrock_gateway.routing.rules import Strategy
from bedrock_gateway.routing.verdicts import THROTTLED

NAMED = {scenario.name: scenario for scenario in SCENARIOS}
CALLS = 2500
ADAPTIVE, SHUFFLE = Strategy.ADAPTIVE, Strategy.SHUFFLE


@cache
def run(name: str, strategy: Strategy, seed: int = 1, calls: int = CALLS) -> Figures:
    """Run a scenario in its short form."""
    return simulate(NAMED[name], strategy, seed, calls=calls)


def parts(figures: Figures) -> list[float]:
    """Return the part of the attempts each deployment had, the least first."""
    return sorted(count / figures.attempts.total() for count in figures.attempts.values())


@pytest.mark.parametrize("strategy", Strategy)
def test_below_capacity_every_call_succeeds(strategy: Strategy) -> None:
    """With equal deployments and room enough nothing fails and next to nothing is tried twice."""
    figures = run("equal", strategy)

    assert 1.0 == figures.share
    assert figures.attempts_a_call <= 1.1


@pytest.mark.parametrize("strategy", Strategy)
def test_equal_deployments_are_all_used(strategy: Strategy) -> None:
    """No strategy has a favourite where there is none: least-busy does not always take the first."""
    found = parts(run("equal", strategy))

    assert 3 == len(found)
    assert found[0] >= (0.15 if strategy in (Strategy.LATENCY, Strategy.USAGE) else 0.28)


def test_adaptive_throttles_less_where_quotas_differ() -> None:
    """What the config does not tell is learnt from throttling."""
    adaptive, shuffled, busy = (run("unequal", strategy) for strategy in (ADAPTIVE, SHUFFLE, Strategy.LEAST_BUSY))

    assert adaptive.throttled_share <= 0.9 * min(shuffled.throttled_share, busy.throttled_share)
    assert adaptive.share >= max(shuffled.share, busy.share) - 0.005


@pytest.mark.parametrize("strategy", Strategy)
def test_limits_that_are_told_are_kept(strategy: Strategy) -> None:
    """Where the config names the quotas, next to nothing is throttled upstream, whatever the strategy."""
    assert run("unequal, told", strategy).throttled_share < 0.05


def test_adaptive_goes_round_a_slow_region() -> None:
    """The slowest of the first bytes come sooner than under strategies that do not look at time."""
    adaptive = run("slow region", ADAPTIVE)

    assert adaptive.first_byte(0.99) < 0.5 * run("slow region", SHUFFLE).first_byte(0.99)
    assert adaptive.first_byte(0.99) < run("slow region", Strategy.LEAST_BUSY).first_byte(0.99)
    assert adaptive.attempts["d0"] > 20  # it is looked at again all the same


@pytest.mark.parametrize("strategy", Strategy)
def test_above_all_quotas_they_are_used_up(strategy: Strategy) -> None:
    """Under overload no strategy serves much less than there are quotas for."""
    quotas = sum(region.requests for region in NAMED["overload"].regions(0.0))

    assert run("overload", strategy).goodput >= 0.9 * quotas


@pytest.mark.parametrize("strategy", Strategy)
def test_two_of_three_failing_are_hidden(strategy: Strategy) -> None:
    """With two of three deployments failing 30 % of what they are asked, callers notice nothing."""
    figures = run("two failing", strategy, calls=4000)

    assert figures.share >= 0.999
    assert figures.attempts_a_call <= 1.6


@pytest.mark.parametrize("strategy", Strategy)
def test_an_outage_is_hidden_and_ends(strategy: Strategy) -> None:
    """While a region is out the others serve, and when it is back it is asked again."""
    figures = run("outage", strategy, calls=4000)

    assert figures.share >= (0.995 if strategy is Strategy.USAGE else 0.999)
    assert figures.attempts_a_call <= 1.1
    assert figures.attempts["d0"] >= 0.1 * figures.calls


@pytest.mark.parametrize("strategy", Strategy)
def test_affinity_keeps_cache_hits(strategy: Strategy) -> None:
    """With affinity sessions find nearly all of what is cached, and cost less than without."""
    kept, lost = run("sessions", strategy), run("sessions, no affinity", strategy)

    assert kept.kept >= 0.97
    assert lost.kept <= kept.kept - 0.03
    assert kept.price < 0.85 * lost.price


def test_cost_based_is_cheap() -> None:
    """It takes the cheap one as long as that answers, and the dear one rather than none."""
    figures = run("cheap and dear", Strategy.COST)

    assert 1.0 == figures.share
    assert figures.price < 0.8 * run("cheap and dear", SHUFFLE).price


@pytest.mark.parametrize("strategy", Strategy)
def test_rpm_of_one_deployment_takes_nothing_from_the_others(strategy: Strategy) -> None:
    """Where the config names the limit of one deployment only, calls do not all go there."""
    scenario = Scenario(
        name="one told", told="", load=0.4, regions=lambda seconds: (Region(told=True), Region(), Region())
    )
    found = parts(simulate(scenario, strategy, 1, calls=CALLS))

    assert 3 == len(found)
    assert found[0] > 0.05
    assert found[-1] < 0.8


@pytest.mark.parametrize("strategy", [one for one in Strategy if one is not ADAPTIVE])
def test_adaptive_is_best_among_many(strategy: Strategy) -> None:
    """With fifty deployments as they come, no other strategy serves more, sooner or with fewer refusals."""
    adaptive, other = run("fifty", ADAPTIVE, calls=4000), run("fifty", strategy, calls=4000)

    assert adaptive.share >= other.share - 0.001
    assert adaptive.first_byte(0.99) < 1.05 * other.first_byte(0.99)
    assert adaptive.throttled_share < other.throttled_share


def test_the_same_seed_gives_the_same_figures() -> None:
    """Nothing but the seed decides."""
    first, again, other = (simulate(NAMED["two failing"], ADAPTIVE, seed, calls=500) for seed in (1, 1, 2))

    assert first == again != other


def test_a_simulated_quota_refills() -> None:
    """A burst is served up to a quarter of a minute's requests, then what has come back since."""
    upstream = Upstream(Region(requests=60, tokens=1e9), Random(1))
    asked = Asked(session=None, stream=True, tokens_in=10, tokens_out=10, most_out=10)

    def served(count: int, now: float) -> int:
        return sum(upstream.ask(asked, now).verdict is not THROTTLED for _ in range(count))

    assert [15, 0, 2, 15] == [served(20, 100), served(1, 100.5), served(5, 102.5), served(20, 200)]


def test_a_simulated_answer_gives_tokens_back() -> None:
    """The most a call may answer is taken at first; what it did not use comes back with its end."""
    upstream = Upstream(Region(requests=1e6, tokens=4 * 1000), Random(1))
    asked = Asked(session=None, stream=True, tokens_in=100, tokens_out=100, most_out=800)
    answer = upstream.ask(asked, 0.0)
    refused = upstream.ask(asked, 0.0)
    upstream.end(answer, 0.0)
    upstream.end(refused, 0.0)

    assert (None, THROTTLED, 0) == (answer.verdict, refused.verdict, upstream.in_flight)
    assert [THROTTLED, None] == [upstream.ask(asked, now).verdict for now in (0.0, 100 / (4000 / 60) + 0.01)]


def test_a_simulated_prompt_cache() -> None:
    """A prompt is found for five minutes after its last use: sooner answered, and cheaper."""
    upstream = Upstream(Region(), Random(1))
    asked = Asked(session="s", stream=True, tokens_in=20_000, tokens_out=10, most_out=10)
    cold, warm, late = (upstream.ask(asked, now) for now in (0.0, 100.0, 110.0 + CACHE_SECONDS))

    assert [0, 20_000, 0] == [cold.read, warm.read, late.read]
    assert warm.first < cold.first
    assert warm.spend < 0.2 * cold.spend


def test_plots_are_well_formed(tmp_path: Path) -> None:
    """What is drawn is XML, with a dot for each figure and one in the legend for each strategy."""
    rows = {"a & b": {"x": [1.0, 3.0], "y": [2.0]}, "c": {"x": [0.5], "y": [40.0, 60.0]}}
    for log in (False, True):
        dots(tmp_path / "plot.svg", "of <all>", rows, log=log)
        tree = ElementTree.parse(tmp_path / "plot.svg")

        assert 2 + 4 == len(tree.findall("{http://www.w3.org/2000/svg}circle"))
