"""Budgets: money allowed for a window of time, and the reservations that keep parallel calls from overshooting it.

A call reserves the most it can cost before anything is sent, in every account that has a budget, all or none; when it
is booked its real spend takes the place of the reservation. A call belongs to the window of its admission, for good.
Pure and never waiting, so that between looking and taking nobody else looks; amounts are nano-USD, times UTC ms.

What was spent before is read from the ledger once an account (``unknown``, ``ask``, ``answer``). What is booked between
the question and its answer is kept apart and added, so that nothing is counted twice and nothing is lost.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import attrs

from bedrock_gateway.access.windows import Window

__all__ = ["Budget", "Budgets", "Charge", "OverBudget", "Reservation", "Warned"]

#: Milliseconds of the quarter-hours that spend is kept by.
QUARTER_MS = 900_000


@attrs.frozen(kw_only=True)
class Budget:
    """Money allowed.

    Attributes:
        limit: nano-USD no call may pass; None where only ``soft`` is told.
        soft: nano-USD from which on it is said that much is spent; nothing is refused.
        window: None for all time.
    """

    limit: int | None
    soft: int | None = None
    window: Window | None = None


@attrs.frozen(kw_only=True)
class Charge:
    """One budget a call counts against.

    Attributes:
        account: whose spend counts (``access.accounts``).
        name: for people (``key "ci" (sk-…abcd)``).
    """

    account: str
    name: str
    budget: Budget


class OverBudget(Exception):
    """A budget has not enough left.

    Attributes:
        charge: which.
        spent: nano-USD spent in the window; reserved: held by calls under way; wanted: what this call can cost at most.
        resets_at: UTC ms of the window's end; None for a budget that never resets.
        warned: what is to be told of it, the first time in a window; else None.
    """

    def __init__(
        self,
        charge: Charge,
        *,
        spent: int,
        reserved: int,
        wanted: int,
        resets_at: int | None,
        warned: Warned | None = None,
    ) -> None:
        super().__init__(charge.name)
        self.charge = charge
        self.spent = spent
        self.reserved = reserved
        self.wanted = wanted
        self.resets_at = resets_at
        self.warned = warned

    @property
    def available(self) -> int:
        """Nano-USD that are neither spent nor reserved."""
        return max(0, (self.charge.budget.limit or 0) - self.spent - self.reserved)


@attrs.frozen(kw_only=True)
class Warned:
    """A budget whose soft limit was just reached, or that had no room for a call: told once a window.

    Attributes:
        spent: nano-USD; hard: whether it was the hard limit.
    """

    charge: Charge
    spent: int
    hard: bool
    resets_at: int | None


@attrs.define(eq=False)
class _Purse:
    """One account in one window: what is spent and what is held.

    Attributes:
        start, end: of the window; None and None for all time.
        quarters: of a sliding window, [quarter, spend], oldest first.
        booked: (quarter, spend) since the ledger was asked; None while no question is open.
        charge: as last seen, for what is told.
        told: 0 nothing, 1 the soft limit, 2 the hard one.
    """

    window: Window | None
    charge: Charge
    start: int | None = None
    end: int | None = None
    spent: int = 0
    reserved: int = 0
    known: bool = False
    quarters: deque[list[int]] = attrs.field(factory=deque)
    booked: list[tuple[int, int]] | None = None
    told: int = 0

    def turn(self, at: int) -> None:
        """Go on to the window that holds ``at``. A clock that was set back opens no window."""
        window = self.window
        if window is None or (self.end is not None and at < self.end):
            return
        self.start, self.end = window.bounds(at)
        if window.sliding:
            first = self.start // QUARTER_MS
            while self.quarters and self.quarters[0][0] < first:
                self.spent -= self.quarters.popleft()[1]
        else:
            # What calls of the window before hold or will have spent counts there.
            self.spent = self.reserved = self.told = 0

    def over(self, at: int) -> bool:
        """Tell whether the window is over, and nobody has gone on to the next one yet."""
        return self.end is not None and at >= self.end and self.window is not None and not self.window.sliding

    def add(self, quarter: int, spend: int) -> None:
        """Count spend of a quarter-hour, if that is in the window."""
        if self.start is not None and quarter < self.start // QUARTER_MS:
            return
        self.spent += spend
        if self.window is not None and self.window.sliding:
            if self.quarters and self.quarters[-1][0] == quarter:
                self.quarters[-1][1] += spend
            else:
                # A call admitted a while ago: its quarter is one of the last few.
                place = len(self.quarters)
                while place and self.quarters[place - 1][0] > quarter:
                    place -= 1
                if place and self.quarters[place - 1][0] == quarter:
                    self.quarters[place - 1][1] += spend
                else:
                    self.quarters.insert(place, [quarter, spend])


@attrs.define(eq=False)
class Reservation:
    """What one call holds.

    Attributes:
        amount: nano-USD in each account.
    """

    amount: int
    _parts: list[tuple[_Purse, int | None]]

    def release(self) -> None:
        """Give everything back; doing so twice is harmless."""
        for purse, start in self._parts:
            if purse.start == start or (purse.window is not None and purse.window.sliding):
                purse.reserved -= self.amount
        self._parts.clear()


class Budgets:
    """Every account that has a budget, as far as calls have asked for it.

    Attributes:
        overruns: calls that cost more than they had reserved; each is a fault of a bound.
    """

    def __init__(self) -> None:
        self._purses: dict[tuple[str, Window | None], _Purse] = {}
        self._of: dict[str, list[_Purse]] = {}
        self.overruns = 0

    @property
    def counting(self) -> bool:
        """Whether any account has a budget."""
        return bool(self._of)

    # --- what was spent before ------------------------------------------------------------------------------------

    def unknown(self, charges: Iterable[Charge]) -> list[Charge]:
        """Return the charges whose spend the ledger has to be asked for first."""
        purses = self._purses
        missing = []
        for charge in charges:
            purse = purses.get((charge.account, charge.budget.window))
            if purse is None or not purse.known:
                missing.append(charge)
        return missing

    def ask(self, charge: Charge, at: int) -> int:
        """Begin to find out what was spent: return the first quarter-hour that counts. What is booked from this moment
        on must not be part of the answer.
        """
        purse = self._purse(charge)
        purse.booked = []
        window = charge.budget.window
        return 0 if window is None else window.bounds(max(at, purse.start or at))[0] // QUARTER_MS

    def answer(self, charge: Charge, at: int, spends: Iterable[tuple[int, int]]) -> None:
        """Take the answer: (quarter, nano-USD) pairs in order of time."""
        purse = self._purse(charge)
        booked, purse.booked = purse.booked or [], None
        purse.turn(max(at, purse.start or at))
        purse.spent = 0
        purse.quarters.clear()
        for quarter, spend in (*spends, *booked):
            purse.add(quarter, spend)
        purse.known = True

    def unanswered(self, charge: Charge) -> None:
        """Note that no answer will come."""
        self._purse(charge).booked = None

    def forget(self, account: str) -> None:
        """Have what an account ("": every one) has spent read again: somebody else wrote to the ledger. What is held
        stays held.
        """
        for purse in self._of.get(account, ()) if account else self._purses.values():
            purse.known = False
            purse.told = 0

    # --- the way of a call ----------------------------------------------------------------------------------------

    def reserve(self, charges: Sequence[Charge], amount: int, at: int) -> Reservation:
        """Hold ``amount`` in every account, or in none.

        Args:
            charges: all of them known.
            at: UTC ms of the call's admission.

        Raises:
            OverBudget: the one with the least left has not enough.
        """
        purses: list[tuple[Charge, _Purse]] = []
        worst: tuple[int, Charge, _Purse] | None = None
        for charge in charges:
            purse = self._purse(charge)
            purse.turn(at)
            purse.charge = charge
            purses.append((charge, purse))
            limit = charge.budget.limit
            if limit is not None:
                left = limit - purse.spent - purse.reserved
                # With nothing left not even a call without a bound is let through.
                if left < max(amount, 1) and (worst is None or left < worst[0]):
                    worst = (left, charge, purse)
        if worst is not None:
            _, charge, purse = worst
            warned = None if purse.told == 2 else _warned(purse, hard=True)
            purse.told = 2
            raise OverBudget(
                charge,
                spent=purse.spent,
                reserved=purse.reserved,
                wanted=amount,
                resets_at=_resets(purse),
                warned=warned,
            )
        parts = []
        for _, purse in purses:
            purse.reserved += amount
            parts.append((purse, purse.start))
        return Reservation(amount, parts)

    def book(self, accounts: Iterable[str], at: int, spend: int) -> list[Warned]:
        """Count what a call admitted at ``at`` has spent in all its accounts; return what is to be told of it."""
        if not self._of or not spend:
            return []
        quarter = at // QUARTER_MS
        warned = []
        for account in accounts:
            for purse in self._of.get(account, ()):
                if purse.booked is not None:
                    purse.booked.append((quarter, spend))
                if not purse.known:
                    continue
                purse.turn(at)
                purse.add(quarter, spend)
                reached = _reached(purse)
                if reached > purse.told:
                    purse.told = reached
                    warned.append(_warned(purse, hard=reached == 2))
                elif not reached:
                    # What slid out of the window may come again.
                    purse.told = 0
        return warned

    def soft(self, charges: Iterable[Charge]) -> list[tuple[Charge, int]]:
        """Return the charges whose soft limit is reached, with what is spent: for a header of the answer."""
        found = []
        for charge in charges:
            soft = charge.budget.soft
            if soft is not None:
                purse = self._purses.get((charge.account, charge.budget.window))
                if purse is not None and purse.spent >= soft:
                    found.append((charge, purse.spent))
        return found

    def spent(self, charge: Charge) -> int:
        """Return the nano-USD spent in a charge's window, as far as known."""
        purse = self._purses.get((charge.account, charge.budget.window))
        return 0 if purse is None else purse.spent

    def left(self, charges: Iterable[Charge]) -> tuple[Charge, int] | None:
        """Return the hard budget with the least left, and how much: nano-USD neither spent nor reserved."""
        least: tuple[Charge, int] | None = None
        for charge in charges:
            limit = charge.budget.limit
            if limit is None:
                continue
            purse = self._purses.get((charge.account, charge.budget.window))
            left = limit if purse is None else limit - purse.spent - purse.reserved
            if least is None or left < least[1]:
                least = charge, left
        return least

    def figures(self, at: int) -> Iterator[tuple[Charge, int, int]]:
        """Yield (charge, spent, reserved) of every account asked for so far, for metrics at ``at``. There may be very
        many: whoever reads them may do something else in between.
        """
        for purse in list(self._purses.values()):
            if purse.known:
                # A window that is over has nothing yet; turning all of them now would take too long at midnight.
                yield (purse.charge, 0, 0) if purse.over(at) else (purse.charge, purse.spent, purse.reserved)

    def _purse(self, charge: Charge) -> _Purse:
        key = charge.account, charge.budget.window
        purse = self._purses.get(key)
        if purse is None:
            purse = self._purses[key] = _Purse(window=charge.budget.window, charge=charge)
            self._of.setdefault(charge.account, []).append(purse)
        return purse


def _reached(purse: _Purse) -> int:
    budget = purse.charge.budget
    if budget.limit is not None and purse.spent >= budget.limit:
        return 2
    return 1 if budget.soft is not None and purse.spent >= budget.soft else 0


def _warned(purse: _Purse, *, hard: bool) -> Warned:
    return Warned(charge=purse.charge, spent=purse.spent, hard=hard, resets_at=_resets(purse))


def _resets(purse: _Purse) -> int | None:
    return None if purse.window is None else purse.end
