"""Purses: what is spent and held of one budget, window by window, and what a call holds in all of them.

Knows how windows follow each other. Must not know whether there is room for a call (``budgets``). Pure; amounts are
nano-USD, times UTC ms.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import attrs

from bedrock_gateway.access.windows import QUARTER_MS, Window

__all__ = ["NEVER", "Account", "Budget", "Charge", "Purse", "Reservation", "Term"]

#: A sliding window never ends: what was told of it is told again after so long.
DAY_MS = 86_400_000


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


#: UTC ms beyond every moment.
NEVER = 1 << 62


@attrs.define(eq=False)
class Term:
    """What is spent and what is held in one window.

    Attributes:
        start, end: UTC ms; of all time 0 and ``NEVER``.
    """

    start: int
    end: int
    spent: int = 0
    reserved: int = 0


class Reservation:
    """What one call holds.

    Attributes:
        amount: nano-USD it holds in each account; at: UTC ms of the admission.
        left: nano-USD that were neither spent nor held beside it in the budget with the least.
    """

    __slots__ = ("_accounts", "_terms", "amount", "at", "left")

    def __init__(self, amount: int, at: int, left: int) -> None:
        self.amount = amount
        self.at = at
        self.left = left
        self._accounts: list[Account] = []
        self._terms: list[Term] = []

    def spent(self, spend: int) -> None:
        """Hold that much less: it is counted as spent now."""
        amount = max(self.amount - spend, 0)
        for term in self._terms:
            term.reserved -= self.amount - amount
        self.amount = amount

    def release(self) -> None:
        """Give everything back; doing so twice is harmless."""
        for term in self._terms:
            term.reserved -= self.amount
        for account in self._accounts:
            del account.held[self]
        self._terms.clear()
        self._accounts.clear()

    def enter(self, accounts: Iterable[Account]) -> None:
        """Hold the amount in every budget of some accounts, each once."""
        at, terms = self.at, self._terms
        for account in accounts:
            self._accounts.append(account)
            account.held[self] = None
            for purse in account.purses:
                # As in ``Purse.find``: this is on the way of every call.
                term: Term | None = purse.term
                if not purse.term.start <= at < purse.term.end:
                    term = purse.find(at)
                if term is not None:
                    term.reserved += self.amount
                    terms.append(term)

    def fill(self, term: Term) -> None:
        """Hold the amount in one window."""
        term.reserved += self.amount
        self._terms.append(term)


@attrs.define(eq=False)
class Purse:
    """One budget of an account: the window it has got to, and the one before.

    Attributes:
        held: what calls under way hold in its account.
        sliding: whether its window slides.
        term: the newest window any call was admitted in; before: an earlier one, for calls that are late.
        quarters: of a sliding window, [quarter, spend], oldest first.
        asked: the first quarter-hour of the question that is open; booked: (quarter, spend) since then.
        forgotten: the answer to the question that is open will be out of date.
        charge: as last seen, for what is told.
        booked_until: where the newest quarter-hour ends that anything was booked in beyond the window; 0 for none. So
            it is where the clock was ahead, or the ledger was asked for a call that is late.
        told: 0 nothing, 1 the soft limit, 2 the hard one; told_at: when, UTC ms.
    """

    window: Window | None
    charge: Charge
    held: Collection[Reservation]
    sliding: bool = attrs.field(init=False)
    term: Term = attrs.field(init=False)
    before: Term | None = None
    known: bool = False
    booked_until: int = 0
    # No deque: an empty one takes as much as all the rest of a purse.
    quarters: list[list[int]] = attrs.field(factory=list)
    asked: int | None = None
    booked: list[tuple[int, int]] = attrs.field(factory=list)
    forgotten: bool = False
    told: int = 0
    told_at: int = 0

    def __attrs_post_init__(self) -> None:
        self.sliding = self.window is not None and self.window.sliding

    def begin(self, at: int) -> Term:
        """Return the window that holds ``at``, with what is held in it and nothing spent."""
        term = Term(0, NEVER) if self.window is None else Term(*self.window.bounds(at))
        for reservation in self.held:
            if self.window is None or self.window.sliding or term.start <= reservation.at < term.end:
                reservation.fill(term)
        return term

    def turn(self, at: int) -> None:
        """Go on to the window that holds ``at``."""
        window, term = self.window, self.term
        if window is None or at < term.end:
            return
        if window.sliding:
            term.start, term.end = window.bounds(at)
            while self.quarters and self.quarters[0][0] < term.start // QUARTER_MS:
                term.spent -= self.quarters.pop(0)[1]
            return
        # What calls of the window before hold or will have spent counts there.
        self.before, self.term, self.told = term, self.begin(at), 0
        if self.term.start < self.booked_until:
            self.known = False

    def tells(self, reached: int, at: int) -> bool:
        """Tell whether that so much is reached (as ``told``) is news, and take it for told."""
        if self.sliding and at - self.told_at >= DAY_MS:
            self.told = 0
        if reached <= self.told:
            return False
        self.told, self.told_at = reached, at
        return True

    def turn_back(self, now: int) -> None:
        """Go back to the window that holds ``now``: the clock was wrong."""
        self.before, self.term, self.told = None, self.begin(now), 0
        self.known = False

    def ahead(self, now: int) -> bool:
        """Tell whether it has got to a window that has not begun yet."""
        if self.window is None:
            return False
        return now < (self.term.end - QUARTER_MS if self.window.sliding else self.term.start)

    def over(self, at: int) -> bool:
        """Tell whether the window is over, and nobody has gone on to the next one yet."""
        return self.window is not None and not self.window.sliding and at >= self.term.end

    def unread(self, at: int) -> bool:
        """Tell whether anything is spent or held in the window that holds ``at``, although nobody has gone on to it."""
        beyond = any(reservation.at >= self.term.end for reservation in self.held)
        return beyond or (
            self.window is not None and bool(self.booked_until) and self.window.bounds(at)[0] < self.booked_until
        )

    def find(self, at: int) -> Term | None:
        """Return the window a call admitted at ``at`` belongs to; None where nothing is known of it any more."""
        if self.window is None or self.window.sliding:
            return self.term
        for term in (self.term, self.before):
            if term is not None and term.start <= at < term.end:
                return term
        return None

    def add(self, quarter: int, spend: int) -> None:
        """Count spend of a quarter-hour, if that is in a window that counts."""
        begin = quarter * QUARTER_MS
        term = self.find(begin)
        if term is None and begin >= self.term.end:
            self.booked_until = max(self.booked_until, begin + QUARTER_MS)
        if term is None or (self.sliding and quarter < term.start // QUARTER_MS):
            return
        term.spent += spend
        if self.sliding:
            # Nearly always the last one; a call admitted a while ago has one of those before.
            place = len(self.quarters)
            while place and self.quarters[place - 1][0] > quarter:
                place -= 1
            if place and self.quarters[place - 1][0] == quarter:
                self.quarters[place - 1][1] += spend
            else:
                self.quarters.insert(place, [quarter, spend])

    def resets_at(self, term: Term, wanted: int = 0) -> int | None:
        """Return when a window ends (UTC ms), or of a sliding one when so much has left it that ``wanted`` fits; None
        for all time.
        """
        window = self.window
        if window is None or not window.sliding:
            return None if window is None else term.end
        room = (self.charge.budget.limit or 0) - term.spent - wanted
        end = term.end
        for quarter, spend in self.quarters:
            end = window.leaves(quarter * QUARTER_MS)
            room += spend
            if room >= 0:
                break
        return end


@attrs.define(eq=False)
class Account:
    """Whose money it is.

    Attributes:
        purses: its budgets, also such as are no more.
        held: reservations of calls under way.
        guarded: every call under way that counts here holds something.
    """

    purses: list[Purse] = attrs.field(factory=list)
    held: dict[Reservation, None] = attrs.field(factory=dict)
    guarded: bool = False

    def find(self, window: Window | None) -> Purse | None:
        for purse in self.purses:
            if purse.window is window or purse.window == window:
                return purse
        return None
