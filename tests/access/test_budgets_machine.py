"""Ten thousand steps of a gateway's life with money: reserving, settling, cancelling, crashing, resetting, repricing.

Beside the budgets a plain list of calls is kept, and everything is added up from it anew after each step.
"""

from __future__ import annotations

from datetime import UTC

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bedrock_gateway.access.budgets import Budget, Budgets, Charge, OverBudget, Reservation
from bedrock_gateway.access.limits import Limit, Limiter, OverLimit, Taken
from bedrock_gateway.access.windows import Window, zone

QUARTER = 900_000
#: 2026-03-28, 20:00 UTC: the night in which clocks go forward in Europe.
EVENING = 1_774_728_000_000
WINDOWS = (
    None,
    Window(duration="1h", zone=UTC),
    Window(duration="1d", zone=zone("Europe/Berlin")),
    Window(duration="1d", zone=zone("Asia/Kathmandu")),
    Window(duration="30d", zone=UTC),
    Window(duration="2h", zone=UTC, sliding=True),
)
#: One account may have several budgets.
CHARGES = tuple(
    Charge(account=account, name=account, budget=Budget(limit=limit, soft=limit // 2, window=window))
    for account, limit, window in (
        ("key:a", 1000, WINDOWS[0]),
        ("key:a", 300, WINDOWS[1]),
        ("user:u", 500, WINDOWS[2]),
        ("team:t", 700, WINDOWS[3]),
        ("team:t", 2000, WINDOWS[4]),
        ("gateway", 400, WINDOWS[5]),
    )
)
#: Given only after a while: calls admitted before hold nothing in it.
GIVEN = Charge(account="tag:n", name="tag:n", budget=Budget(limit=600, window=WINDOWS[2]))
DAY = 86_400_000
LIMITS = (("key a", Limit(parallel=5)), ("team t", Limit(parallel=3)))


@attrs.define(eq=False)
class Made:
    """A call: when it was admitted, in which accounts it counts, what it may and did spend; None while under way."""

    at: int
    accounts: tuple[str, ...]
    bound: int
    held: Reservation | None
    taken: Taken | None
    spend: int | None = None
    cancelled: bool = False
    left: bool = False
    adopted: list[Reservation] = attrs.field(factory=list)

    def give_back(self) -> None:
        for reservation in self.adopted if self.held is None else (self.held, *self.adopted):
            reservation.release()


class Money(RuleBasedStateMachine):
    """A gateway that never spends more than it may."""

    @initialize()
    def begin(self) -> None:
        self.clock = self.admission = EVENING
        self.calls: list[Made] = []
        self.asked: list[tuple[Charge, int, list[tuple[int, int]]]] = []
        self.charges = CHARGES
        self.start()

    def start(self) -> None:
        self.budgets = Budgets()
        self.limiter = Limiter()
        self.asked = []

    def booked(self, account: str, since: int) -> list[tuple[int, int]]:
        """Return what the ledger has for an account, by quarter-hour."""
        sums: dict[int, int] = {}
        for call in self.calls:
            if call.spend is not None and account in call.accounts and call.at // QUARTER >= since:
                sums[call.at // QUARTER] = sums.get(call.at // QUARTER, 0) + call.spend
        return sorted(sums.items())

    def now(self) -> int:
        """Return the time of an admission: it goes back by days only."""
        if self.admission - self.clock >= DAY:
            self.admission = self.clock
            for call in self.under_way():
                self.book(call, call.bound)
            self.budgets.unknown(self.charges, self.clock, self.clock)
        self.admission = max(self.admission, self.clock)
        return self.admission

    @rule(minutes=st.sampled_from([1, 5, 15, 50, 60, 24 * 60, 31 * 24 * 60]))
    def time_passes(self, minutes: int) -> None:
        self.clock += minutes * 60_000

    @rule(minutes=st.integers(1, 60) | st.sampled_from([2 * 24 * 60, 40 * 24 * 60]))
    def clock_is_set_back(self, minutes: int) -> None:
        self.clock -= minutes * 60_000

    @rule()
    def budget_is_given_or_taken_away(self) -> None:
        self.charges = CHARGES if GIVEN in self.charges else (*CHARGES, GIVEN)
        self.budgets.unguard(GIVEN.account)

    @rule(data=st.data())
    def ledger_is_asked(self, data: st.DataObject) -> None:
        charge = data.draw(st.sampled_from(self.charges))
        at = self.now()
        if self.budgets.unknown([charge], at, at) and all(charge != asked for asked, *_ in self.asked):
            self.ask(charge, at)

    def ask(self, charge: Charge, at: int) -> None:
        if self.budgets.unguarded(charge):
            for call in self.under_way():
                if charge.account in call.accounts:
                    holds = call.adopted if call.held is None else [call.held, *call.adopted]
                    adopted = self.budgets.adopt(charge, call.bound, call.at, holds)
                    if adopted is not None:
                        assert charge is GIVEN
                        call.adopted.append(adopted)
        since = self.budgets.ask(charge, at)
        self.asked.append((charge, at, self.booked(charge.account, since)))

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def ledger_answers(self, data: st.DataObject) -> None:
        self.budgets.answer(*self.asked.pop(data.draw(st.integers(0, len(self.asked) - 1))))

    @rule(data=st.data(), bound=st.integers(1, 150), late=st.booleans())
    def call_comes(self, data: st.DataObject, bound: int, late: bool) -> None:
        names = sorted({charge.account for charge in (*CHARGES, GIVEN)})
        accounts = tuple(data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True)))
        at = now = self.now()
        if late and self.under_way():
            # An attempt that follows another one, on a deployment with a budget of its own.
            at = min(now, self.under_way()[0].at)
            accounts = tuple(account for account in accounts if account != "gateway") or ("team:t",)
        # What counts in an account counts against all its budgets.
        charges = [charge for charge in self.charges if charge.account in accounts]
        while missing := self.budgets.unknown(charges, at, now):
            for charge in missing:
                if all(charge != asked for asked, *_ in self.asked):
                    self.ask(charge, at)
            while self.asked:
                self.budgets.answer(*self.asked.pop(0))
        room = [self.left(charge, at) for charge in charges]
        try:
            held = self.budgets.reserve(charges, bound, at) if charges else None
        except OverBudget as over:
            assert min(room) < bound
            assert over.available < bound
            return
        assert not room or bound <= min(room)
        try:
            taken = self.limiter.take(LIMITS, 0, self.clock / 1000)
        except OverLimit:
            if held is not None:
                held.release()
            assert self.slots() >= 3
            return
        assert self.slots() < 3
        self.calls.append(Made(at=at, accounts=accounts, bound=bound, held=held, taken=taken))

    def under_way(self) -> list[Made]:
        return [call for call in self.calls if call.spend is None and not call.cancelled]

    def slots(self) -> int:
        return sum(not call.left for call in self.under_way())

    def left(self, charge: Charge, at: int, *, ahead: bool = True) -> int:
        """Return what a budget has left, added up from the list of calls.

        While the clock was wrong calls were admitted later than now. In a sliding window they count until they have
        slid out, so that they are not forgotten; that may be more than the window ever had (``ahead``).
        """
        window = charge.budget.window
        start, end = (0, 1 << 62) if window is None else window.bounds(at)
        if window is not None and window.sliding and ahead:
            end = 1 << 62
        spent = sum(
            (call.bound if call.spend is None else call.spend)
            for call in self.calls
            if charge.account in call.accounts
            and not call.cancelled
            and (start <= call.at // QUARTER * QUARTER < end or (call.spend is None and window and window.sliding))
        )
        assert charge.budget.limit is not None
        return charge.budget.limit - spent

    def draw(self, data: st.DataObject) -> Made | None:
        calls = self.under_way()
        return data.draw(st.sampled_from(calls)) if calls else None

    @rule(data=st.data(), share=st.integers(0, 100))
    def call_is_booked(self, data: st.DataObject, share: int) -> None:
        call = self.draw(data)
        if call is not None:
            self.book(call, call.bound * share // 100)

    def book(self, call: Made, spend: int) -> None:
        call.spend = spend
        self.budgets.book(call.accounts, call.at, spend)
        call.give_back()
        assert call.taken is not None
        call.taken.release()

    @rule(data=st.data())
    def call_is_cancelled(self, data: st.DataObject) -> None:
        call = self.draw(data)
        if call is not None:
            call.cancelled = True
            call.give_back()
            call.give_back()
            assert call.taken is not None
            call.taken.cancel(self.clock / 1000)

    @rule(data=st.data())
    def caller_leaves(self, data: st.DataObject) -> None:
        call = self.draw(data)
        if call is not None:
            call.left = True
            assert call.taken is not None
            call.taken.leave()

    @rule()
    def process_is_killed(self) -> None:
        """What was under way counts with the most it can have cost."""
        for call in self.under_way():
            call.spend = call.bound
        self.start()

    @rule(data=st.data(), share=st.integers(0, 100))
    def spend_is_corrected(self, data: st.DataObject, share: int) -> None:
        """Somebody else writes another, smaller spend into the ledger."""
        booked = [call for call in self.calls if call.spend]
        if booked:
            call = data.draw(st.sampled_from(booked))
            assert call.spend is not None
            call.spend = call.spend * share // 100
            for account in call.accounts:
                self.budgets.forget(account)

    @invariant()
    def nothing_is_overspent(self) -> None:
        for charge in CHARGES:
            assert self.left(charge, self.admission, ahead=False) >= 0

    @invariant()
    def figures_are_those_of_the_list(self) -> None:
        for charge, spent, reserved in self.budgets.figures(self.admission):
            assert charge.budget.limit is not None
            if self.budgets.unguarded(charge):
                # The next call finds who holds nothing.
                continue
            left = charge.budget.limit - spent - reserved
            if charge.budget.window is not None and charge.budget.window.sliding:
                # What has slid out of the window is taken off when the next call comes.
                assert self.left(charge, self.admission) >= left, charge
            else:
                assert self.left(charge, self.admission) == left, charge


Money.TestCase.settings = settings(max_examples=100, stateful_step_count=100, deadline=None)
TestMoney = Money.TestCase
