"""Which deployments are left out, and until when."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from deployment_makers import make
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_gateway.routing.health import (
    ANSWERS_TO_FORGET,
    FAILS_IN_A_ROW,
    FORGOTTEN_AFTER,
    LEAST_CALLS,
    LONGEST_COOLDOWN,
    LONGEST_RETRY_AFTER,
    MODEL_COOLDOWN,
    WINDOW,
    Health,
)
from bedrock_gateway.routing.standings import REASONS, Standing


def standing(name: str = "a", cooldown_time: float | None = None) -> Standing:
    """Make a standing of which nothing is known."""
    return Standing(make(name, cooldown_time=cooldown_time))


def fail(
    health: Health, one: Standing, now: float, *, others: Callable[[], bool] = lambda: True, **more: object
) -> bool:
    """Count a failure while others are free."""
    return health.failed(one, "lost", now, others=others, **more)  # type: ignore[arg-type]


def test_one_that_breaks_off_every_answer_is_left_out() -> None:
    """A first byte ends no row of failures when the answer broke off after it, however seldom calls come."""
    health, one = Health(), Standing(make("a"))
    found = []
    for now in (0, 100, 200):
        found.append(fail(health, one, now + 1, row=health.well(one, now)))

    assert [False, False, True] == found


def test_answers_that_break_off_at_the_same_time_count_each() -> None:
    """Two at a time are left out as one at a time; an answer that another call got ends the row for all."""
    health, one = Health(), Standing(make("a"))
    found = []
    for now in (0, 100):
        rows = [health.well(one, now), health.well(one, now)]
        found += [fail(health, one, now + 1, row=row) for row in rows]
    assert [False, False, True, True] == found

    health, one = Health(), Standing(make("a"))
    row = health.well(one, 0)
    assert [False, False] == [fail(health, one, 1), fail(health, one, 1)]
    health.well(one, 2)
    assert not fail(health, one, 3, row=row)


def test_failures_in_a_row_tell_enough() -> None:
    """So many leave it out until the cooldown time is over; it is free at the deadline."""
    health, one = Health(cooldown_time=5), standing()

    assert [False, False, True] == [fail(health, one, now) for now in range(FAILS_IN_A_ROW)]
    assert (False, True) == (health.available(one, 6.9), health.available(one, 7))
    assert (1.0, 0.0) == (health.wait(one, 6), health.wait(one, 7))
    assert {one} == health.troubled


def test_an_answer_in_between_begins_the_row_anew() -> None:
    """Failures with answers in between are no row."""
    health, one = Health(), standing()
    found = []
    for now in range(3):
        found += [fail(health, one, now), fail(health, one, now)]
        health.well(one, now)

    assert [False] * 6 == found
    assert set() == health.troubled


def test_half_of_a_minutes_calls_tell_enough() -> None:
    """Never two in a row: the tenth call of which half failed leaves it out, and none before that."""
    health, one = Health(), standing()
    found = []
    for now in range(LEAST_CALLS // 2):
        health.well(one, now)
        found.append(fail(health, one, now))

    assert [False] * (LEAST_CALLS // 2 - 1) + [True] == found


def test_less_than_half_of_a_minutes_calls_do_not() -> None:
    """One in three may fail, however many there are."""
    health, one = Health(), standing()
    for number in range(300):
        health.well(one, number / 10)
        health.well(one, number / 10)

        assert not fail(health, one, number / 10)


def test_calls_of_another_minute_do_not_count() -> None:
    """Once a minute is over its calls and failures are forgotten."""
    health, one = Health(), standing()
    for _ in range(LEAST_CALLS // 2 - 1):
        health.well(one, 0)
        fail(health, one, 0)
    health.well(one, 0)

    assert not fail(health, one, WINDOW)
    health.well(one, WINDOW)
    assert (2, 1) == (one.calls, one.fails)


@pytest.mark.parametrize("allowed", [0, 1, 4])
def test_allowed_fails_are_the_sample_where_an_operator_names_them(allowed: int) -> None:
    """More than so many in a minute leave it out, whatever else was answered; fewer in a row do not."""
    health, one, slow = Health(allowed_fails=allowed), standing(), standing()
    for _ in range(100):
        health.well(one, 0)

    assert [False] * allowed + [True] == [fail(health, one, 1) for _ in range(allowed + 1)]
    assert {allowed == 0} == {fail(health, slow, number * WINDOW) for number in range(10)}


def test_what_is_certain_to_fail_again_is_left_out_at_once() -> None:
    """One failure is enough where the next call would fail too."""
    health, one = Health(cooldown_time=7), standing()

    assert fail(health, one, 1, certain=True)
    assert 7 == health.wait(one, 1)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [(20, 20), (0.5, 0.5), (LONGEST_RETRY_AFTER, 60), (86_400, 60), (0, 0), (None, 0)],
)
def test_retry_after_is_honoured_and_cut(asked: float | None, expected: float) -> None:
    """Upstream is asked again when it said so, be that sooner than the cooldown time, but not after hours."""
    health, one = Health(cooldown_time=5), standing()

    assert (expected > 0) is fail(health, one, 0, retry_after=asked)
    assert expected == health.wait(one, 0)


def test_the_time_grows_with_every_failure_of_the_call_that_tries() -> None:
    """Each time it is over and the deployment fails again it doubles, up to a minute."""
    health, one = Health(cooldown_time=5), standing()
    fail(health, one, 0, certain=True)
    found = []
    for _ in range(9):
        now = one.until
        assert fail(health, one, now)
        found.append(one.until - now)

    assert [10, 20, 40, *[LONGEST_COOLDOWN] * 6] == found


def test_the_time_grows_to_the_cooldown_time_at_least() -> None:
    """An operator's own time that is longer than that stays what it is."""
    health, one = Health(cooldown_time=1000), standing()
    for now in (0, 1000, 2000):
        fail(health, one, now, certain=True)

        assert now + 1000 == one.until


def test_a_retry_after_does_not_shorten_what_has_grown() -> None:
    """The call that tries is told to come back in a second: the longer time counts."""
    health, one = Health(cooldown_time=5), standing()
    fail(health, one, 0, certain=True)
    fail(health, one, 5, retry_after=1)

    assert 15 == one.until
    fail(health, one, 15, retry_after=50)
    assert 65 == one.until


def test_many_trips_do_not_overflow() -> None:
    """Who fails for weeks is tried every five minutes."""
    health, one = Health(), standing()
    for _ in range(5000):
        fail(health, one, one.until, certain=True)

    assert (5000, LONGEST_COOLDOWN) == (one.trips, health.wait(one, one.until - LONGEST_COOLDOWN))


def test_answers_in_a_row_let_it_begin_small_again() -> None:
    """After enough answers the time does not go on growing; those to calls from before it was left out are none."""
    health, one, late = Health(cooldown_time=5), standing(), standing()
    for each in (one, late):
        fail(health, each, 0, certain=True)
        fail(health, each, 5)
    for _ in range(ANSWERS_TO_FORGET):
        health.well(one, 15)
        health.well(late, 14)
    fail(health, one, 20, certain=True)
    fail(health, late, 20, certain=True)

    assert (5, 20) == (health.wait(one, 20), health.wait(late, 20))


def test_a_deadline_is_only_put_off() -> None:
    """A shorter reason after a longer one does not bring a deployment back early."""
    health, one = Health(cooldown_time=5), standing()
    fail(health, one, 0, retry_after=30)
    fail(health, one, 1, retry_after=2)

    assert 30 == one.until
    health.mark_model(one, "access-denied", 2, others=lambda: True)
    fail(health, one, 3, retry_after=60)
    assert 2 + MODEL_COOLDOWN == one.until


def test_calls_that_were_under_way_when_it_was_left_out_tell_nothing_new() -> None:
    """A hundred calls that fail together leave it out once, for the time of one."""
    health, one = Health(cooldown_time=5), standing()
    for _ in range(100):
        fail(health, one, 0)
    fail(health, one, 1, certain=True)

    assert (1, 5) == (one.trips, one.until)


def test_an_answer_brings_back_what_was_left_out_but_not_before_its_time() -> None:
    """An answer of a call under way does not shorten what upstream asked for; one after the deadline ends it."""
    health, one = Health(cooldown_time=5), standing()
    fail(health, one, 0, certain=True)
    health.well(one, 1)

    assert (5, {one}, True) == (one.until, health.troubled, one.tripped)
    health.well(one, 5)
    assert (set(), False) == (health.troubled, one.tripped)


def test_one_failure_of_what_was_left_out_is_enough() -> None:
    """The call that tries is the sample; once one was answered, the usual sample is needed again."""
    health, one, two = Health(cooldown_time=5), standing(), standing()
    for each in (one, two):
        fail(health, each, 0, certain=True)
    health.well(two, 5)

    assert (True, False) == (fail(health, one, 5), fail(health, two, 5))


def test_nobody_else_is_to_ask_while_one_call_tries() -> None:
    """When the time is over it is free for one, and for nobody while that is under way."""
    health, one = Health(cooldown_time=5), standing()
    fail(health, one, 0, certain=True)

    assert (False, True) == (health.available(one, 4), health.available(one, 5))
    one.probing = object()
    assert not health.available(one, 5)
    health.well(one, 6)
    assert (True, None) == (health.available(one, 6), one.probing)


def test_a_cooldown_time_of_0_switches_it_off() -> None:
    """Neither failures, nor certain ones, nor upstream leave a deployment out; a model that cannot be called is."""
    health, one = Health(cooldown_time=0, allowed_fails=0), standing()

    assert not any(
        fail(health, one, now, certain=certain, retry_after=asked)
        for now in range(20)
        for certain in (False, True)
        for asked in (None, 30)
    )
    assert health.mark_model(one, "not-found", 20, others=lambda: True)


@pytest.mark.parametrize(
    ("own", "everyones", "expected"), [(None, 5, 5), (60, 5, 60), (0, 5, 0), (7, 0, 7), (0.5, 5, 0.5)]
)
def test_a_deployment_may_have_its_own_cooldown_time(own: float | None, everyones: float, expected: float) -> None:
    """Its own figure counts instead of everyone's, 0 too."""
    health, one = Health(cooldown_time=everyones), standing(cooldown_time=own)
    fail(health, one, 0, certain=True)

    assert expected == health.wait(one, 0)


def test_the_last_one_is_never_left_out() -> None:
    """Where no other is free, no mark is set, for whatever reason."""
    health, one = Health(cooldown_time=5), standing()
    for now in range(20):
        assert not fail(health, one, now, others=lambda: False, certain=True, retry_after=30)
        assert not health.mark_model(one, "not-found", now, others=lambda: False)

    assert (True, set(), 0) == (health.available(one, 20), health.troubled, one.trips)


def test_what_failed_while_it_was_tried_is_free_where_no_other_is() -> None:
    """The others are gone by the time: what was left out serves as the last one does, to all calls."""
    health, one = Health(cooldown_time=5), standing()
    fail(health, one, 0, certain=True)
    one.probing = object()

    assert not fail(health, one, 5, others=lambda: False)
    assert (True, None, set()) == (health.available(one, 5), one.probing, health.troubled)


def test_what_is_left_out_stays_so_when_the_others_are_gone() -> None:
    """A late failure finds no other free: the deadline stands, and it is known to everybody."""
    health, one = Health(cooldown_time=5), standing()
    fail(health, one, 0, retry_after=30)

    assert fail(health, one, 1, others=lambda: False, retry_after=40)
    assert health.mark_model(one, "not-found", 1, others=lambda: False)
    assert (30, {one}, False) == (one.until, health.troubled, health.available(one, 29))


def test_a_model_that_cannot_be_called_is_left_out_for_five_minutes() -> None:
    """The mark comes at the first failure, does not grow, and is no cooldown of the deployment."""
    health, one = Health(cooldown_time=5), standing()
    for now in (0, 300, 600):
        assert health.mark_model(one, "access-denied", now, others=lambda: True)
        assert (False, True) == (health.available(one, now + 299.9), health.available(one, now + MODEL_COOLDOWN))

    assert (0.0, 0) == (one.cooling, one.trips)
    fail(health, one, 900)
    assert (905, 905) == (one.until, one.cooling)


def test_what_nobody_asks_for_any_more_is_taken_for_well() -> None:
    """Long after its time was over it counts as well again, unless a call is under way that will tell."""
    health, one, asked = Health(cooldown_time=5), standing(), standing()
    asked.in_flight = 1
    for _ in range(FAILS_IN_A_ROW):
        for each in (one, asked):
            fail(health, each, 0)
    health.tidy(5 + FORGOTTEN_AFTER)

    assert {one, asked} == health.troubled
    health.tidy(6 + FORGOTTEN_AFTER)
    assert ({asked}, False, None) == (health.troubled, one.tripped, one.probing)
    assert not fail(health, one, 990)
    fail(health, one, 1000, certain=True)
    assert ({one, asked}, None) == (health.troubled, one.probing)


def test_the_last_reasons_are_kept() -> None:
    """What failed of late is told with its moment; older reasons are dropped."""
    health, one = Health(), standing()
    for now in range(10):
        health.failed(one, "throttled", now, others=lambda: True)
    health.mark_model(one, "not-found", 10, others=lambda: True)

    assert REASONS == len(one.reasons)
    assert [(9, "throttled"), (10, "not-found")] == list(one.reasons)[-2:]


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.sampled_from(["fail", "certain", "mark", "well"]),
            st.sampled_from([0, 0.5, 4, 5, 10, 40, 70, 301]),
            st.none() | st.sampled_from([0, 0.5, 1, 5, 20, 59, 60, 100]),
        ),
        max_size=40,
    ),
    st.none() | st.integers(0, 3),
)
def test_one_of_several_is_always_free(
    steps: list[tuple[int, str, float, float | None]], allowed_fails: int | None
) -> None:
    """Whatever fails in whatever order, one stays free, no wait gets shorter, and who is left out is known."""
    health, all_of_them = Health(cooldown_time=5, allowed_fails=allowed_fails), [standing(name) for name in "abc"]
    now = 0.0
    for number, kind, pause, retry_after in steps:
        now += pause
        one = all_of_them[number]
        before = [health.wait(each, now) for each in all_of_them]

        def others(one: Standing = one, now: float = now) -> bool:
            return any(each is not one and health.available(each, now) for each in all_of_them)

        if kind == "well":
            health.well(one, now)
        elif kind == "mark":
            health.mark_model(one, "not-found", now, others=others)
        else:
            out = fail(health, one, now, others=others, certain=kind == "certain", retry_after=retry_after)
            assert out is (one.until > now)

        assert any(health.available(each, now) for each in all_of_them)
        assert all(health.wait(each, now) >= wait for each, wait in zip(all_of_them, before, strict=True))
        assert {each for each in all_of_them if each.tripped} == health.troubled
        assert {each for each in all_of_them if each.until > now} <= health.troubled
