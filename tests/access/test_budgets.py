"""Reservations: parallel calls never pass a budget, whatever is asked, answered, booked and given back in any order."""

from __future__ import annotations

from datetime import UTC

import pytest

from bedrock_gateway.access.budgets import Budget, Budgets, Charge, OverBudget
from bedrock_gateway.access.windows import Window, zone

QUARTER = 900_000
#: 2026-11-20, a Friday, 12:00 UTC.
NOON = 1_795_176_000_000
DAY = 86_400_000


def charge(limit: int | None = 1000, soft: int | None = None, account: str = "key:a", **window: object) -> Charge:
    """Return a charge; with ``duration`` of a window."""
    made = Window(**{"zone": UTC, **window}) if window else None  # type: ignore[arg-type]
    return Charge(account=account, name=f"budget of {account}", budget=Budget(limit=limit, soft=soft, window=made))


def known(*charges: Charge, at: int = NOON, spent: int = 0) -> Budgets:
    """Return budgets that know what was spent before."""
    budgets = Budgets()
    for one in charges:
        budgets.ask(one, at)
        budgets.answer(one, at, [(at // QUARTER, spent)] if spent else [])
    return budgets


def test_as_many_as_fit() -> None:
    """Of 500 calls that come at once as many are let through as the budget has room for, and what is left is exact."""
    one = charge(37 * 27)
    budgets = known(one)
    held = []
    refused = 0
    for _ in range(500):
        try:
            held.append(budgets.reserve([one], 27, NOON))
        except OverBudget:
            refused += 1

    assert (37, 463) == (len(held), refused)
    for number, reservation in enumerate(held):
        budgets.book(["key:a"], NOON, number % 27)
        reservation.release()
        reservation.release()
    assert (one, 37 * 27 - sum(number % 27 for number in range(37))) == budgets.left([one])


def test_all_or_none() -> None:
    """A call that one of its accounts has no room for holds nothing in the others; the tightest one is told."""
    key, team, user = charge(100), charge(50, account="team:t"), charge(40, account="user:u")
    budgets = known(key, team, user)
    with pytest.raises(OverBudget) as caught:
        budgets.reserve([key, team, user], 60, NOON)

    over = caught.value
    assert (user, 0, 0, 60, 40, None) == (
        over.charge, over.spent, over.reserved, over.wanted, over.available, over.resets_at,
    )  # fmt: skip
    assert [(key, 0, 0), (team, 0, 0), (user, 0, 0)] == list(budgets.figures(NOON))
    budgets.reserve([key, team, user], 40, NOON)


def test_exactly_the_limit_fits() -> None:
    """What is left may be taken to the last nano; then not even a call without a bound goes through."""
    one = charge(10)
    budgets = known(one)
    budgets.reserve([one], 10, NOON)

    for amount in (0, 1):
        with pytest.raises(OverBudget):
            budgets.reserve([one], amount, NOON)
    with pytest.raises(OverBudget):
        known(charge(0)).reserve([charge(0)], 0, NOON)


def test_a_call_belongs_to_the_window_of_its_admission() -> None:
    """What is held and spent by calls admitted before midnight counts nothing in the day after."""
    one = charge(100, duration="1d")
    midnight = NOON + DAY // 2
    budgets = known(one)
    before = budgets.reserve([one], 70, midnight - 1)
    with pytest.raises(OverBudget) as caught:
        budgets.reserve([one], 70, midnight - 1)
    assert midnight == caught.value.resets_at
    after = budgets.reserve([one], 70, midnight)
    budgets.book(["key:a"], midnight - 1, 65)
    before.release()

    assert (one, 30) == budgets.left([one])
    after.release()
    assert (one, 100) == budgets.left([one])


def test_clock_set_back_opens_no_window() -> None:
    """A clock that goes back an hour over midnight leaves the new day's budget as it is."""
    one = charge(100, duration="1d")
    midnight = NOON + DAY // 2
    budgets = known(one, at=midnight)
    budgets.reserve([one], 90, midnight)

    with pytest.raises(OverBudget):
        budgets.reserve([one], 20, midnight - 3_600_000)


def test_sliding_window() -> None:
    """A sliding window gives back what was spent as it leaves the window, quarter by quarter."""
    one = charge(100, duration="1h", sliding=True)
    budgets = known(one)
    for step in range(3):
        at = NOON + step * QUARTER
        budgets.reserve([one], 30, at).release()
        budgets.book(["key:a"], at, 30)
    assert (one, 10) == budgets.left([one])
    held = budgets.reserve([one], 40, NOON + 5 * QUARTER)
    assert (one, 0) == budgets.left([one])
    held.release()
    # A call admitted two quarters ago is booked only now.
    budgets.book(["key:a"], NOON + 3 * QUARTER, 5)
    budgets.reserve([one], 65, NOON + 6 * QUARTER).release()

    assert (one, 65) == budgets.left([one])
    budgets.reserve([one], 95, NOON + 7 * QUARTER).release()
    budgets.reserve([one], 100, NOON + 8 * QUARTER).release()


def test_budget_in_another_time_zone() -> None:
    """The day of +05:45 begins at 18:15 UTC."""
    one = charge(100, duration="1d", zone=zone("Asia/Kathmandu"))
    budgets = known(one)
    budgets.book(["key:a"], NOON, 100)
    edge = NOON + 6 * 3_600_000 + QUARTER

    with pytest.raises(OverBudget) as caught:
        budgets.reserve([one], 1, edge - 1)
    assert edge == caught.value.resets_at
    budgets.reserve([one], 100, edge)


def test_concurrent_windows_of_one_account() -> None:
    """A key with a budget a day and one a month counts in both; the day's reset leaves the month's as it is."""
    day, month = charge(50, duration="1d"), charge(120, duration="30d")
    budgets = known(day, month)
    for passed in range(2):
        budgets.reserve([day, month], 50, NOON + passed * DAY).release()
        budgets.book(["key:a"], NOON + passed * DAY, 50)
    with pytest.raises(OverBudget) as caught:
        budgets.reserve([day, month], 30, NOON + 2 * DAY)

    assert month == caught.value.charge


def test_what_is_booked_between_question_and_answer_counts_once() -> None:
    """What the ledger was told after it was asked is added to its answer."""
    one = charge(100)
    budgets = Budgets()
    assert [one] == budgets.unknown([one], NOON, NOON)
    assert 0 == budgets.ask(one, NOON)
    budgets.book(["key:a", "gateway"], NOON, 30)
    budgets.answer(one, NOON, [(5, 60)])

    assert [] == budgets.unknown([one], NOON, NOON)
    assert (one, 10) == budgets.left([one])


def test_what_somebody_else_wrote_is_asked_for_again() -> None:
    """Forgetting an account has its spend read again; what calls under way hold stays held."""
    one = charge(100)
    budgets = known(one, spent=50)
    held = budgets.reserve([one], 30, NOON)
    budgets.forget("key:a")
    assert [one] == budgets.unknown([one], NOON, NOON)
    budgets.ask(one, NOON)
    budgets.answer(one, NOON, [(NOON // QUARTER, 20)])
    assert (one, 50) == budgets.left([one])
    held.release()

    assert (one, 80) == budgets.left([one])
    budgets.forget("key:unheard-of")


def test_question_without_an_answer() -> None:
    """An account whose question failed is still unknown, and can be asked for again."""
    one = charge(100)
    budgets = Budgets()
    budgets.ask(one, NOON)
    budgets.book(["key:a"], NOON, 30)
    budgets.unanswered(one)
    assert [one] == budgets.unknown([one], NOON, NOON)
    budgets.ask(one, NOON)
    budgets.answer(one, NOON, [(NOON // QUARTER, 30)])

    assert (one, 70) == budgets.left([one])


def test_soft_limit() -> None:
    """The soft limit refuses nothing and is told once a window, the hard one too."""
    one = charge(100, soft=60, duration="1d")
    budgets = known(one)
    assert [] == budgets.soft([one])
    assert [] == budgets.book(["key:a"], NOON, 59)
    (soft,) = budgets.book(["key:a"], NOON, 1)
    assert [(one, 60)] == budgets.soft([one])
    assert [] == budgets.book(["key:a"], NOON, 1)
    (hard,) = budgets.book(["key:a"], NOON, 39)
    assert [] == budgets.book(["key:a"], NOON, 1)
    (again,) = budgets.book(["key:a"], NOON + DAY, 61)

    assert [(60, False), (100, True), (61, False)] == [(told.spent, told.hard) for told in (soft, hard, again)]
    only_soft = charge(None, soft=10)
    budgets = known(only_soft)
    budgets.reserve([only_soft], 10**15, NOON)
    assert None is budgets.left([only_soft])
    assert [False] == [told.hard for told in budgets.book(["key:a"], NOON, 10)]


def test_figures_are_those_of_the_moment() -> None:
    """A window that is over has no figures, although no call has begun the next one; an unasked account has none."""
    day, ever = charge(100, duration="1d"), charge(100, account="team:t")
    budgets = known(day, ever, spent=30)
    budgets.reserve([day, ever], 20, NOON)
    budgets.unknown([charge(account="user:u")], NOON, NOON)

    assert [(day, 30, 20), (ever, 30, 20)] == list(budgets.figures(NOON + DAY // 2 - 1))
    assert [(day, 0, 0), (ever, 30, 20)] == list(budgets.figures(NOON + DAY // 2))
    assert (day, 50) == budgets.left([day])


def test_a_refusal_tells_only_of_what_is_spent() -> None:
    """A call that is too large, or finds the rest held by others, has crossed nothing and uses up no alert; what was
    spent before anybody counted is told by the first refusal, once a window.
    """
    one = charge(100, duration="1d")
    budgets = known(one, spent=60)
    held = budgets.reserve([one], 40, NOON)
    told = []
    for amount in (101, 1):
        with pytest.raises(OverBudget) as caught:
            budgets.reserve([one], amount, NOON)
        told.append(caught.value.warned)
    held.release()
    told += budgets.book(["key:a"], NOON, 40)
    spent_before = known(one, spent=100)
    for at in (NOON, NOON):
        with pytest.raises(OverBudget) as caught:
            spent_before.reserve([one], 1, at)
        told.append(caught.value.warned)

    assert [None, None, (100, True), (100, True), None] == [warned and (warned.spent, warned.hard) for warned in told]


def test_a_late_call_is_checked_in_its_own_window() -> None:
    """An attempt made after midnight for a call admitted before it takes what the day before has left."""
    one = charge(100, duration="1d")
    midnight = NOON + DAY // 2
    budgets = known(one, spent=60)
    budgets.reserve([one], 90, midnight)
    late = budgets.reserve([one], 30, midnight - 1)
    with pytest.raises(OverBudget) as caught:
        budgets.reserve([one], 11, midnight - 1)
    budgets.book(["key:a"], midnight - 1, 25)
    late.release()

    assert (60, 30, midnight) == (caught.value.spent, caught.value.reserved, caught.value.resets_at)
    assert (one, 10) == budgets.left([one])
    with pytest.raises(OverBudget):
        budgets.reserve([one], 16, midnight - 1)
    budgets.reserve([one], 15, midnight - 1)


def test_a_late_call_of_a_window_nobody_asked_for() -> None:
    """The ledger is asked for the window of a call that is late, and what is known of later ones stays."""
    one = charge(100, duration="1d")
    midnight = NOON + DAY // 2
    budgets = known(one, at=midnight, spent=5)
    assert [one] == budgets.unknown([one], NOON, midnight)
    since = budgets.ask(one, NOON)
    budgets.book(["key:a"], midnight, 1)
    budgets.answer(one, NOON, [(NOON // QUARTER, 80), (midnight // QUARTER, 5)])

    assert (NOON - DAY // 2) // QUARTER == since
    assert [] == budgets.unknown([one], NOON, midnight)
    assert (one, 94) == budgets.left([one])
    with pytest.raises(OverBudget):
        budgets.reserve([one], 21, NOON)


def test_what_is_forgotten_while_it_is_asked_for() -> None:
    """An answer that was read before somebody else wrote is not taken for what is known."""
    one = charge(100)
    budgets = Budgets()
    budgets.ask(one, NOON)
    budgets.forget("key:a")
    budgets.answer(one, NOON, [(NOON // QUARTER, 20)])

    assert [one] == budgets.unknown([one], NOON, NOON)


def test_a_budget_that_is_moved_to_another_window() -> None:
    """What calls under way hold counts in the new window too, if they were admitted in it."""
    day, hour = charge(100, duration="1d"), charge(100, duration="1h")
    budgets = known(day)
    before, held = budgets.reserve([day], 20, NOON - 1), budgets.reserve([day], 30, NOON)
    budgets.ask(hour, NOON)
    budgets.answer(hour, NOON, [])
    more = budgets.reserve([hour], 10, NOON)

    assert ((hour, 60), (day, 40)) == (budgets.left([hour]), budgets.left([day]))
    for reservation in (before, held, more):
        reservation.release()
    assert ((hour, 100), (day, 100)) == (budgets.left([hour]), budgets.left([day]))


def test_a_first_budget_while_calls_are_under_way() -> None:
    """Calls that hold nothing, because there was no hard budget, are asked for once, and hold from then on."""
    soft, hard = charge(None, soft=50), charge(100)
    budgets = known(soft)
    assert not budgets.unguarded(soft)
    assert [hard] == budgets.unknown([hard], NOON, NOON)
    assert budgets.unguarded(hard)
    adopted = budgets.adopt(hard, 150, NOON, [])
    assert adopted is not None
    budgets.ask(hard, NOON)
    budgets.answer(hard, NOON, [])

    assert not budgets.unguarded(hard)
    assert [] == budgets.unknown([hard], NOON, NOON)
    assert (hard, -50) == budgets.left([hard])
    budgets.unguard("key:a")
    assert [hard] == budgets.unknown([hard], NOON, NOON)
    assert None is budgets.adopt(hard, 150, NOON, [adopted])
    adopted.release()
    assert (hard, 100) == budgets.left([hard])


def test_a_clock_that_was_ahead() -> None:
    """Where no window has begun that calls were admitted in, it is begun anew; what was booked in the future counts
    again when that comes.
    """
    one = charge(100, duration="1d")
    budgets = known(one, at=NOON + 5 * DAY, spent=90)
    assert [one] == budgets.unknown([one], NOON, NOON)
    budgets.ask(one, NOON)
    budgets.answer(one, NOON, [((NOON + 5 * DAY) // QUARTER, 90)])
    budgets.reserve([one], 100, NOON).release()
    assert [(one, 0, 0)] == list(budgets.figures(NOON + DAY * 6))
    assert [] == list(budgets.figures(NOON + DAY * 5))
    assert [one] == budgets.unknown([one], NOON + 5 * DAY, NOON + 5 * DAY)

    sliding = charge(100, duration="1h", sliding=True)
    budgets = known(sliding, at=NOON + 5 * DAY, spent=90)
    held = budgets.reserve([sliding], 10, NOON + 5 * DAY)
    assert [sliding] == budgets.unknown([sliding], NOON, NOON)
    budgets.ask(sliding, NOON)
    budgets.answer(sliding, NOON, [(NOON // QUARTER, 20)])
    assert (sliding, 70) == budgets.left([sliding])
    held.release()
    assert (sliding, 80) == budgets.left([sliding])


def test_when_a_sliding_window_has_room_again() -> None:
    """A refusal names when enough has left the window, or all of it where even that would not do."""
    one = charge(100, duration="1h", sliding=True)
    budgets = known(one)
    for step in range(3):
        budgets.book(["key:a"], NOON + step * QUARTER, 30)
    resets = []
    for amount in (11, 40, 41, 71, 101):
        with pytest.raises(OverBudget) as caught:
            budgets.reserve([one], amount, NOON + 2 * QUARTER)
        resets.append(caught.value.resets_at)
    full = known(one)
    full.reserve([one], 100, NOON)
    with pytest.raises(OverBudget) as caught:
        full.reserve([one], 1, NOON)

    assert [NOON + (5 + step) * QUARTER for step in (0, 0, 1, 2, 2)] == resets
    assert NOON + QUARTER == caught.value.resets_at


@pytest.mark.parametrize("sliding", [False, True])
def test_refusals_are_told_once_a_window(sliding: bool) -> None:
    """However often calls are refused and others booked in between, it is told once a day."""
    one = charge(100, duration="1d", sliding=sliding)
    budgets = known(one)
    told = []
    for number in range(10):
        told += budgets.book(["key:a"], NOON + number, 20)
        with pytest.raises(OverBudget) as caught:
            budgets.reserve([one], 101, NOON + number)
        told += [caught.value.warned] * (caught.value.warned is not None)

    assert [100] == [warned.spent for warned in told]
    assert [True] == [warned.hard for warned in budgets.book(["key:a"], NOON + DAY + 10 * QUARTER, 100)]


def test_account_of_a_key_that_is_gone() -> None:
    """It is let go of, unless a call under way still holds something in it; asked for again it begins anew."""
    one, other = charge(100), charge(100, account="key:b")
    budgets = known(one, other, spent=5)
    held = budgets.reserve([one], 10, NOON)
    budgets.drop("key:a")
    budgets.drop("key:b")
    budgets.drop("key:never")
    assert [one] == [found for found, _, _ in budgets.figures(NOON)]
    held.release()
    budgets.drop("key:a")

    assert [] == list(budgets.figures(NOON))
    assert not budgets.counting


def test_what_a_late_call_finds_after_a_correction() -> None:
    """What was known of the window before is forgotten with the rest, and asked for again when a late call needs it."""
    one = charge(100, duration="1d")
    midnight = NOON + DAY // 2
    budgets = known(one, spent=20)
    budgets.reserve([one], 10, midnight)
    budgets.forget("key:a")
    budgets.ask(one, midnight)
    budgets.book(["key:a"], NOON, 7)
    budgets.answer(one, midnight, [])

    assert [] == budgets.unknown([one], midnight, midnight)
    assert [one] == budgets.unknown([one], NOON, midnight)
    budgets.ask(one, NOON)
    budgets.answer(one, NOON, [(NOON // QUARTER, 90)])
    with pytest.raises(OverBudget) as caught:
        budgets.reserve([one], 11, NOON)
    assert (90, 0) == (caught.value.spent, caught.value.reserved)
    assert (one, 90) == budgets.left([one])
