"""The way of a call through its candidates, and what is learnt from how it went."""

from __future__ import annotations

from collections import Counter
from math import isfinite
from typing import Any

import pytest
from deployment_makers import balancing, first, group, make, order, rest

from bedrock_gateway.routing.balancer import MOST_POOLS, MOST_STANDINGS, SPREAD_AFTER, TOKENS_OF_NOTHING, Balancer, Use
from bedrock_gateway.routing.health import ANSWERS_TO_FORGET, FAILS_IN_A_ROW, MODEL_COOLDOWN
from bedrock_gateway.routing.resolutions import Resolution
from bedrock_gateway.routing.rules import Strategy
from bedrock_gateway.routing.standings import HALF_LIFE, Usage
from bedrock_gateway.routing.verdicts import (
    CUT,
    DENIED,
    INTERNAL,
    LOST,
    NO_CREDENTIALS,
    NOT_FOUND,
    REFUSED,
    THROTTLED,
    TOO_LONG,
    UNAVAILABLE,
    UNREACHED,
    Verdict,
)

A, B, C, D, E = (make(name) for name in "abcde")


def take(balancer: Balancer, resolution: Resolution, now: float = 0.0, **more: Any) -> Use:
    """Return the first place of a call."""
    use = balancer.plan(resolution, now=now, **{"stream": False, **more}).next(now)
    assert use is not None
    return use


def fail(
    balancer: Balancer, resolution: Resolution, verdict: Verdict, now: float, retry_after: float | None = None
) -> Use:
    """Have the first place of a call fail, and end it."""
    plan = balancer.plan(resolution, now=now, stream=False)
    use = plan.next(now)
    assert use is not None
    balancer.failed(use, verdict, plan, now, retry_after=retry_after)
    balancer.end(use, 0, now)
    return use


# Plans.


def test_each_candidate_comes_once_and_tier_by_tier() -> None:
    """A later tier only comes when the one before is used up; then there is nothing more."""
    balancer, resolution = balancing(), group((A, B), (C,), (D, E))
    for _ in range(20):
        plan = balancer.plan(resolution, now=0, stream=False)
        found = order(plan, 0)

        assert ({"a", "b"}, "c", {"d", "e"}) == (set(found[:2]), found[2], set(found[3:]))
        assert (None, None) == (plan.next(0), plan.over)


def test_what_is_left_out_is_passed_over() -> None:
    """It is not among the candidates before its time is over."""
    balancer, resolution = balancing(), group((A, B), (C,))
    rest(balancer, A, 0, 5)

    assert ["b", "c"] == order(balancer.plan(resolution, now=4, stream=False), 4)
    assert ["a", "b", "c"] == sorted(order(balancer.plan(resolution, now=5, stream=False), 5))


def test_what_is_left_out_on_the_way_is_passed_over() -> None:
    """A deployment that another call left out after the first choice is not tried."""
    balancer, resolution = balancing(), group((A,), (B,), (C,))
    plan = balancer.plan(resolution, now=0, stream=False)
    plan.next(0)
    rest(balancer, B, 0.1)

    assert ["c"] == order(plan, 0.2)


def test_if_none_is_free_the_first_to_come_free_is_given_once() -> None:
    """With everything left out, the one with the shortest wait is given alone."""
    balancer, resolution = balancing(), group((A,), (B, C))
    for one, seconds in ((A, 30), (B, 20), (C, 25)):
        rest(balancer, one, 0, seconds)

    assert ["b"] == order(balancer.plan(resolution, now=1, stream=False), 1)


def test_the_last_resort_does_not_follow_another_candidate() -> None:
    """Who was given one that was free is not given one that is left out."""
    balancer, resolution = balancing(), group((A,), (B,))
    rest(balancer, B, 0, 30)

    assert ["a"] == order(balancer.plan(resolution, now=1, stream=False), 1)


def test_where_other_groups_can_be_asked_there_is_no_last_resort() -> None:
    """They are asked instead of one that is left out, and even the last deployment of a group may be."""
    balancer, resolution = balancing(), group((A,))
    plan = balancer.plan(resolution, now=0, stream=False, more=True)
    use = plan.next(0)
    assert use is not None
    balancer.failed(use, NO_CREDENTIALS, plan, 0)

    assert [] == order(balancer.plan(resolution, now=1, stream=False, more=True), 1)
    assert ["a"] == order(balancer.plan(resolution, now=1, stream=False), 1)


def test_the_last_resort_is_none_at_its_own_limit() -> None:
    """Of those left out, one at its limit is passed over too."""
    limited = make("a", max_parallel=1)
    balancer, resolution = balancing(), group((limited, B))
    take(balancer, group((limited,)))
    rest(balancer, limited, 0, 10)
    rest(balancer, B, 0, 20)

    assert ["b"] == order(balancer.plan(resolution, now=1, stream=False), 1)


def test_others() -> None:
    """Somebody else can be asked where another candidate is free, or other groups are named."""
    balancer, resolution = balancing(), group((A,), (B,))
    standing = rest(balancer, B, 0, 30)
    plan = balancer.plan(resolution, now=1, stream=False)

    assert (False, True) == (plan.others(balancer.standing(A), 1), plan.others(standing, 1))
    assert plan.others(balancer.standing(A), 30)
    assert balancer.plan(resolution, now=1, stream=False, more=True).others(balancer.standing(A), 1)


def test_again() -> None:
    """The same deployment is given once more, with a place of its own, and not where it is at a limit."""
    limited = make("a", max_parallel=1)
    balancer = balancing()
    plan = balancer.plan(group((limited,)), now=0, stream=True)
    use = plan.next(0)
    assert use is not None

    assert None is plan.again(use, 0)
    balancer.end(use, 0, 1)
    again = plan.again(use, 1)
    assert again is not None
    assert (limited, True, 1, None) == (again.deployment, again.stream, use.standing.in_flight, plan.next(1))


def test_a_deployment_of_two_groups_has_one_standing() -> None:
    """What is learnt under one name is known under the other."""
    balancer = balancing()
    use = take(balancer, group((A,)))

    assert use.standing is take(balancer, group((A,), (B,))).standing
    assert 2 == use.standing.in_flight
    assert [use.standing, balancer.standing(B)] == list(balancer.standings())


def test_a_changed_config_keeps_what_is_known() -> None:
    """A deployment with the same id and model has the same standing, and the limits it has now."""
    balancer = balancing(max_parallel=3)
    use = take(balancer, group((make("a", max_parallel=1),)))
    changed = make("a", max_parallel=2)
    again = take(balancer, group((changed,)))

    assert (use.standing, changed, changed) == (again.standing, again.deployment, again.standing.deployment)
    assert None is balancer.plan(group((changed,)), now=0, stream=False).next(0)
    assert 3 == len([take(balancer, group((make("b"),))) for _ in range(3)])
    assert None is balancer.plan(group((make("b"),)), now=0, stream=False).next(0)


def test_a_call_keeps_the_config_it_began_with() -> None:
    """What is given to it is the deployment its own group names, whatever came since."""
    balancer, (old, new) = balancing(), (make("a", timeout=1), make("a", timeout=2))
    plan = balancer.plan(group((old,)), now=0, stream=False)

    assert new is take(balancer, group((new,))).deployment
    use = plan.next(0)
    assert use is not None
    assert (old, new) == (use.deployment, use.standing.deployment)


def test_another_model_of_a_deployment_stands_for_itself() -> None:
    """Deployments made by a wildcard share an id; each model has its own standing."""
    balancer = balancing()
    one, other = make("w", model_id="m1"), make("w", model_id="m2")
    for _ in range(2):
        fail(balancer, group((one,), (A,)), DENIED, 0)

    assert ["w"] == order(balancer.plan(group((other,)), now=1, stream=False), 1)
    assert ["a"] == order(balancer.plan(group((one,), (A,)), now=1, stream=False), 1)


# Limits of a deployment's own.


def test_requests_a_minute() -> None:
    """So many calls and no more within any minute; the plan says when there is room again."""
    balancer, resolution = balancing(), group((make("a", rpm=2),), (B,))
    found = [first(balancer, group((B,)), 0)]
    for now in (0, 30, 31, 59, 61, 62):
        use = take(balancer, resolution, now)
        balancer.end(use, 10, now)
        found.append(use.deployment.name)

    assert ["b", "a", "a", "b", "b", "a", "b"] == found
    plan = balancer.plan(group((make("a", rpm=2),)), now=70, stream=False)
    assert None is plan.next(70)
    assert plan.over is not None
    assert ("requests", 2, 20) == (plan.over.kind, plan.over.limit, plan.over.retry_after)


def test_tokens_a_minute() -> None:
    """What a call is estimated at is reserved, and what it came to takes its place."""
    balancer, resolution = balancing(), group((make("a", tpm=100),), (B,))
    use = take(balancer, resolution, 0, tokens=80)

    assert ("a", "b") == (use.deployment.name, first(balancer, resolution, 1, tokens=30))
    balancer.end(use, 50, 2)
    assert ("a", "b") == (first(balancer, resolution, 3, tokens=50), first(balancer, resolution, 3, tokens=51))


def test_calls_at_once() -> None:
    """A place is free when its call ends, once, be it ended twice."""
    balancer, resolution = balancing(), group((make("a", max_parallel=2),), (B,))
    one, other = take(balancer, resolution), take(balancer, resolution)

    assert ("a", "a", "b") == (one.deployment.name, other.deployment.name, take(balancer, resolution).deployment.name)
    balancer.end(one, 5, 1)
    balancer.end(one, 5, 1)
    assert 1 == one.standing.in_flight
    assert ["a", "b"] == [take(balancer, resolution, 1).deployment.name for _ in range(2)]


def test_what_was_not_sent_does_not_count() -> None:
    """Requests and tokens of an attempt that never left are given back."""
    balancer, resolution = balancing(), group((make("a", rpm=1, tpm=100, max_parallel=1),))
    for _ in range(5):
        assert "a" == first(balancer, resolution, tokens=100)
    use = take(balancer, resolution, tokens=100)
    balancer.end(use, 0, 0)

    assert None is balancer.plan(resolution, now=1, stream=False).next(1)


@pytest.mark.parametrize("strategy", [None, *Strategy])
def test_one_at_its_limit_is_passed_over_under_every_strategy(strategy: Strategy | None) -> None:
    """Whichever is preferred, the next one is asked, and of several limits the one with room first is told."""
    tier = (make("a", max_parallel=1), make("b", rpm=1), make("c", rpm=1))
    balancer = balancing(strategy=strategy)
    resolution = group(tier)

    assert {"a", "b", "c"} == {take(balancer, resolution, number * 10).deployment.name for number in range(3)}
    plan = balancer.plan(resolution, now=40, stream=False)
    assert None is plan.next(40)
    assert plan.over is not None
    assert ("parallel", 1) == (plan.over.kind, plan.over.retry_after)


# Leaving out.


@pytest.mark.parametrize("verdict", [THROTTLED, UNAVAILABLE, UNREACHED, INTERNAL, LOST, CUT])
def test_a_few_failures_leave_a_deployment_out(verdict: Verdict) -> None:
    """One says nothing; so many in a row do."""
    balancer, resolution = balancing(), group((A,), (B,))

    assert ["a", "a", "a", "b"] == [
        fail(balancer, resolution, verdict, now).deployment.name for now in range(FAILS_IN_A_ROW + 1)
    ]
    assert {verdict.name} == {reason for _, reason in balancer.standing(A).reasons}


def test_credentials_that_fail_leave_it_out_at_once() -> None:
    """The next call would fail too."""
    balancer, resolution = balancing(), group((A,), (B,))

    assert ["a", "b"] == [fail(balancer, resolution, NO_CREDENTIALS, now).deployment.name for now in (0, 1)]


@pytest.mark.parametrize("verdict", [DENIED, NOT_FOUND])
def test_a_model_that_cannot_be_called_leaves_it_out_at_once(verdict: Verdict) -> None:
    """For that model, and for five minutes."""
    balancer, resolution = balancing(), group((A,), (B,))
    fail(balancer, resolution, verdict, 0)

    assert ("b", "a") == (
        first(balancer, resolution, MODEL_COOLDOWN - 1),
        first(balancer, resolution, MODEL_COOLDOWN),
    )


def test_upstream_may_ask_for_a_rest() -> None:
    """A Retry-After leaves a deployment out at the first failure, for as long as it says."""
    balancer, resolution = balancing(), group((A,), (B,))
    fail(balancer, resolution, THROTTLED, 0, retry_after=17)

    assert ["b", "a"] == [first(balancer, resolution, now) for now in (16, 17)]


@pytest.mark.parametrize("verdict", [REFUSED, TOO_LONG])
def test_what_is_the_callers_fault_never_counts(verdict: Verdict) -> None:
    """A refusal is an answer: however many there are, they leave nothing out, and break a row of failures."""
    balancer, resolution = balancing(allowed_fails=None), group((A,), (B,))
    for number in range(100):
        fail(balancer, resolution, verdict, number, retry_after=30)
    for number in range(30):
        fail(balancer, resolution, LOST if number % 3 else verdict, 200 + 30 * number)

    standing = balancer.standing(A)
    assert (110, set(), 0) == (standing.answers, balancer.health.troubled, balancer.standing(B).answers)


def test_an_answer_counts_once() -> None:
    """Who says twice that a deployment answers says it once; one that fails after its first byte has failed."""
    balancer, resolution = balancing(), group((A,), (B,))
    plan = balancer.plan(resolution, now=0, stream=True)
    use = plan.next(0)
    assert use is not None
    balancer.answered(use, 0.5, 1)
    balancer.well(use, 2)
    balancer.failed(use, REFUSED, plan, 2)

    assert (1, 1, 0) == (use.standing.answers, use.standing.well, use.standing.fails)
    balancer.failed(use, CUT, plan, 3)
    assert (1, 0, 1) == (use.standing.answers, use.standing.well, use.standing.fails)


def test_the_last_one_of_a_call_is_not_left_out() -> None:
    """Which others there are is a matter of the call's own candidates."""
    balancer = balancing()
    for now in range(10):
        fail(balancer, group((A,)), NO_CREDENTIALS, now)
        fail(balancer, group((A,)), NOT_FOUND, now)

    assert set() == balancer.health.troubled
    fail(balancer, group((A,), (B,)), NO_CREDENTIALS, 10)
    fail(balancer, group((A,), (B,)), NO_CREDENTIALS, 10)
    assert {balancer.standing(A)} == balancer.health.troubled


# The call that tries.


def test_one_call_tries_what_was_left_out() -> None:
    """When the time is over one call gets it, the others go elsewhere until that was answered."""
    balancer, resolution = balancing(), group((A,), (B,))
    rest(balancer, A, 0, 5)
    trying = take(balancer, resolution, 5)

    assert ["a", "b", "b"] == [trying.deployment.name, *(take(balancer, resolution, 6).deployment.name for _ in "xy")]
    balancer.answered(trying, 1.0, 7)
    assert ["a", "a"] == [take(balancer, resolution, 7).deployment.name for _ in "xy"]
    balancer.end(trying, 0, 8)
    assert ("a", set()) == (first(balancer, resolution, 8), balancer.health.troubled)


def test_a_call_that_tries_and_fails_leaves_it_out_for_longer() -> None:
    """One failure is enough, and the next call that tries comes after twice the time."""
    balancer, resolution = balancing(), group((A,), (B,))
    fail(balancer, resolution, NO_CREDENTIALS, 0)

    assert "a" == fail(balancer, resolution, LOST, 5).deployment.name
    assert ["b", "a"] == [first(balancer, resolution, now) for now in (14, 15)]


@pytest.mark.parametrize("sent", [False, True])
def test_a_call_that_tries_and_ends_without_an_outcome_lets_the_next_one_try(sent: bool) -> None:
    """Whether it was given up before or after it was sent: nothing was learnt, and nobody is kept away."""
    balancer, resolution = balancing(), group((A,), (B,))
    rest(balancer, A, 0, 5)
    for now in (5, 6, 7):
        trying = take(balancer, resolution, now)

        assert ("a", "b") == (trying.deployment.name, first(balancer, resolution, now))
        balancer.end(trying, 0, now, sent=sent)


def test_a_call_that_tries_and_fails_without_leaving_it_out_lets_the_next_one_try() -> None:
    """Where cooldowns are off, a model's mark is over and the call that tries fails: the next one may."""
    balancer, resolution = balancing(cooldown_time=0), group((A,), (B,))
    fail(balancer, resolution, NOT_FOUND, 0)

    assert ["a", "a"] == [fail(balancer, resolution, LOST, MODEL_COOLDOWN).deployment.name for _ in "xy"]


def test_a_call_that_tried_before_does_not_let_two_others_try() -> None:
    """It ends long after the deployment was left out anew: the call that tries by then keeps its place."""
    balancer, resolution = balancing(), group((A,), (B,))
    plan = balancer.plan(resolution, now=0, stream=False)
    late = plan.next(0)
    assert late is not None
    rest(balancer, A, 0, 5)
    before = take(balancer, resolution, 5)
    balancer.failed(late, LOST, plan, 6)
    now = balancer.standing(A).until
    trying = take(balancer, resolution, now)

    assert ("a", "a") == (before.deployment.name, trying.deployment.name)
    balancer.end(before, 0, now)
    assert "b" == first(balancer, resolution, now)
    balancer.end(trying, 0, now)
    assert "a" == first(balancer, resolution, now)


def test_a_call_that_has_nowhere_else_to_go_does_not_take_the_others_place() -> None:
    """It is given what is being tried, and its end is not that of the call that tries."""
    balancer, resolution = balancing(), group((A,), (B,))
    rest(balancer, A, 0, 5)
    trying = take(balancer, resolution, 5)

    assert ("a", "a", "b") == (
        trying.deployment.name,
        first(balancer, group((A,)), 5),
        first(balancer, resolution, 5),
    )
    assert trying is trying.standing.probing


def test_a_refusal_of_the_callers_own_ends_the_trying() -> None:
    """What is answered with a refusal is there again."""
    balancer, resolution = balancing(), group((A,), (B,))
    rest(balancer, A, 0, 5)
    fail(balancer, resolution, REFUSED, 5)

    assert ({"a"}, set()) == (
        {take(balancer, resolution, 5).deployment.name for _ in range(3)},
        balancer.health.troubled,
    )


def test_the_same_deployment_again_is_the_call_that_tries() -> None:
    """Tried with other credentials, it is the one that others wait for."""
    balancer, resolution = balancing(), group((A,), (B,))
    rest(balancer, A, 0, 5)
    plan = balancer.plan(resolution, now=5, stream=False)
    use = plan.next(5)
    assert use is not None
    balancer.end(use, 0, 5)
    again = plan.again(use, 5)

    assert again is not None and again is again.standing.probing
    assert "b" == first(balancer, resolution, 5)


# Sessions.


def test_a_session_stays_where_it_was() -> None:
    """Its calls go to one deployment, whatever the strategy would choose; others are spread."""
    balancer, resolution = balancing(), group((A, B, C))
    found = {key: {first(balancer, resolution, session=key) for _ in range(20)} for key in range(30)}

    assert {1} == {len(names) for names in found.values()}
    assert {"a", "b", "c"} == set().union(*found.values())


def test_a_session_moves_when_its_deployment_is_left_out_and_comes_back() -> None:
    """It sticks to the other one meanwhile, and has both to choose from afterwards."""
    balancer, resolution = balancing(), group((A, B, C))
    where = take(balancer, resolution, session="s")
    balancer.end(where, 0, 0)
    rest(balancer, where.deployment, 0, 30)
    others = {first(balancer, resolution, now, session="s") for now in range(1, 30)}

    assert 1 == len(others)
    assert where.deployment.name not in others
    balancer.health.well(where.standing, 30)
    found = {first(balancer, resolution, 30, session="s") for _ in range(20)}
    assert found < {where.deployment.name, *others}


def test_a_session_spreads_when_its_deployment_is_much_busier() -> None:
    """It leaves one with more than twice the calls, and some, of the one that would be chosen, and not before."""
    balancer, resolution = balancing(strategy=Strategy.LEAST_BUSY), group((A, B))
    where = take(balancer, resolution, session="s").standing
    other = balancer.standing(B if where.deployment is A else A)
    for mine, theirs, expected in (
        (SPREAD_AFTER, 0, where),
        (SPREAD_AFTER + 2 * 3, 3, where),
        (SPREAD_AFTER + 2 * 3 + 1, 3, other),
    ):
        where.in_flight, other.in_flight = mine, theirs

        assert expected.deployment.name == first(balancer, resolution, session="s")


def test_a_session_goes_to_the_less_busy_of_those_that_know_it() -> None:
    """Where several have seen it, their caches are as good."""
    balancer, resolution = balancing(), group((A, B, C))
    for one in (A, B):
        take(balancer, group((one,)), session="s")
    balancer.standing(A).in_flight = 2

    assert {"b"} == {first(balancer, resolution, session="s") for _ in range(20)}


def test_a_session_does_not_reach_into_a_later_tier() -> None:
    """What comes first in the operator's order comes first, though it does not know the session."""
    balancer = balancing()
    take(balancer, group((C,)), session="s")

    assert {"a", "b"} >= {first(balancer, group((A, B), (C,)), session="s") for _ in range(20)}


def test_a_session_ends_after_its_time() -> None:
    """When nothing is left in the cache, the strategy chooses again."""
    balancer, resolution = balancing(affinity_seconds=100), group((A, B, C))
    found = {first(balancer, resolution, now, session="s") for now in range(0, 6060, 101)}

    assert {"a", "b", "c"} == found


# What is learnt.


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [(THROTTLED, 1), (UNAVAILABLE, 1), (UNREACHED, 1), (INTERNAL, 0), (LOST, 0), (DENIED, 0), (REFUSED, 0)],
)
def test_what_counts_as_a_throttle(verdict: Verdict, expected: int) -> None:
    """What the same may be asked again after is a sign that it was asked for too much."""
    balancer = balancing()
    use = fail(balancer, group((A,), (B,)), verdict, 0)

    assert (expected, expected == 1) == (use.standing.throttled, use.standing.share < 1)


def test_what_an_answer_tells() -> None:
    """Streams are as fast as their first byte, other answers as their seconds by their size."""
    balancer, resolution = balancing(), group((A,))
    for stream, seconds, tokens in ((True, 2.0, 0), (False, 3.0, 100)):
        use = take(balancer, resolution, stream=stream)
        balancer.answered(use, seconds, 1, tokens=tokens)
        balancer.end(use, tokens, 1)

    assert (2.0, 3.0 / (TOKENS_OF_NOTHING + 100)) == (use.standing.first_byte, use.standing.answer)
    assert (2, 2) == (use.standing.answers, use.standing.well)


def test_answers_let_a_cooldown_begin_small_again() -> None:
    """After enough answers in a row the time does not go on growing."""
    balancer, resolution = balancing(), group((A,), (B,))
    fail(balancer, resolution, NO_CREDENTIALS, 0)
    for _ in range(ANSWERS_TO_FORGET):
        use = take(balancer, resolution, 5)
        balancer.answered(use, 1.0, 5)
        balancer.end(use, 0, 5)
    fail(balancer, resolution, NO_CREDENTIALS, 6)

    assert 11 == balancer.standing(A).until


def test_tokens_count_for_half_after_the_half_life() -> None:
    """What was used a while ago counts less than the same now."""
    balancer = balancing(strategy=Strategy.USAGE)
    for one, tokens, now in ((A, 1000, 0.0), (B, 499, HALF_LIFE), (C, 501, HALF_LIFE)):
        balancer.end(take(balancer, group((one,)), now), tokens, now)

    assert ["b", "a", "c"] == order(balancer.plan(group((A, B, C)), now=HALF_LIFE, stream=False), HALF_LIFE)


def test_a_call_under_way_counts_as_a_usual_one() -> None:
    """How much a call comes to is learnt from those before; what was estimated goes when it ends."""
    balancer = balancing(strategy=Strategy.USAGE)
    use = take(balancer, group((A,)))
    assert use.standing.mean_tokens == use.standing.used

    balancer.end(use, 2000, 0)
    assert (2000, 1100) == (use.standing.used, pytest.approx(use.standing.mean_tokens))
    balancer.end(take(balancer, group((A,))), 0, 0)
    assert (2000, 1100) == (pytest.approx(use.standing.used), pytest.approx(use.standing.mean_tokens))


@pytest.mark.parametrize("begin", [0.0, 1e6, 1e9])
@pytest.mark.parametrize("pause", [Usage.LONGEST + 1, 3 * Usage.LONGEST, 100 * Usage.LONGEST])
def test_usage_outlives_long_times(begin: float, pause: float) -> None:
    """Weights stay numbers on a machine that runs for long and after a long silence; who uses more stays so."""
    balancer, resolution = balancing(strategy=Strategy.USAGE), group((A, B))
    now = begin
    for _ in range(4):
        for one, tokens in ((A, 2000), (B, 1000)):
            balancer.end(take(balancer, group((one,)), now), tokens, now)
        used = [balancer.standing(one).used for one in (A, B)]

        assert all(isfinite(figure) for figure in used)
        assert 2.0 == pytest.approx(used[0] / used[1])
        assert "b" == first(balancer, resolution, now)
        now += pause


def test_calls_under_way_are_counted_right_over_a_change_of_scale() -> None:
    """A call that was begun before figures were scaled down takes away what is left of its estimate, and no more."""
    balancer, resolution = balancing(strategy=Strategy.USAGE), group((A, B))
    use = take(balancer, group((A,)), 0.9 * Usage.LONGEST)
    later = 1.1 * Usage.LONGEST
    balancer.end(take(balancer, group((B,)), later), 100, later)
    balancer.end(use, 200, later)
    used = [balancer.standing(one).used for one in (A, B)]

    assert later == balancer.usage.since
    assert [200, 100] == pytest.approx(used)
    assert "b" == first(balancer, resolution, later)


# Memory.


def test_deployments_without_end_are_forgotten() -> None:
    """Callers may name ever new models: standings and pools are bounded, and calls under way are kept."""
    balancer = balancing()
    kept = take(balancer, group((A,)))
    for number in range(MOST_STANDINGS + 1000):
        use = take(balancer, group((make("w", model_id=str(number)),)), number)
        balancer.end(use, 1, number)

        assert len(balancer._standings) <= MOST_STANDINGS
        assert len(balancer._pools) <= MOST_POOLS
    assert kept.standing is take(balancer, group((A,)), number).standing


def test_models_that_are_nowhere_found_are_forgotten() -> None:
    """Each leaves a mark behind that nobody asks for again; they do not push out what is known of real ones."""
    balancer, real = balancing(), group((A,), (B,))
    fail(balancer, real, NO_CREDENTIALS, 0)
    for number in range(MOST_STANDINGS + 100):
        bogus = group((make("v", model_id=str(number)),), (make("w", model_id=str(number)),))
        assert "v" == fail(balancer, bogus, NOT_FOUND, 1 + number / MOST_STANDINGS).deployment.name

        assert len(balancer._standings) <= MOST_STANDINGS
        assert len(balancer.health.troubled) <= MOST_STANDINGS
    assert ["b", "a"] == [first(balancer, real, now) for now in (4, 5)]


def test_pools_are_bounded() -> None:
    """Groups of the same deployments, as tags or reloads make them, do not pile up."""
    balancer = balancing()
    for _ in range(MOST_POOLS + 10):
        take(balancer, group((A, B)))

        assert len(balancer._pools) <= MOST_POOLS
    assert 2 == len(balancer._standings)


def test_calls_are_shared_out_over_many_deployments() -> None:
    """A thousand calls at once go evenly to ten deployments, whichever have their calls under way."""
    tier = [make(str(number)) for number in range(10)]
    balancer = balancing()
    resolution = group(tier)
    found = Counter(take(balancer, resolution).deployment.name for _ in range(1000))

    assert (10, True) == (len(found), max(found.values()) - min(found.values()) < 10)
