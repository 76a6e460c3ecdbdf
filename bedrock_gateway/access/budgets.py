"""Budgets: money allowed for a window of time, and the reservations that keep parallel calls from overshooting it.

A call reserves the most it can cost before anything is sent, in every account that has a budget, all or none; when it
is booked its real spend takes the place of the reservation. A call belongs to the window of its admission, for good.
Pure and never waiting, so that between looking and taking nobody else looks; amounts are nano-USD, times UTC ms.

What was spent before is read from the ledger once an account (``unknown``, ``ask``, ``answer``). What is booked between
the question and its answer is kept apart and added, so that nothing is counted twice and nothing is lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import attrs

from bedrock_gateway.access.accounts import owners_of
from bedrock_gateway.access.purses import NEVER, Account, Budget, Charge, Purse, Reservation, Term
from bedrock_gateway.access.windows import QUARTER_MS

__all__ = ["Budget", "Budgets", "Charge", "OverBudget", "Reservation", "Warned"]


#: Sets of charges whose purses are kept at hand.
_MOST_LOOKED_UP = 4096


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
    """A budget whose soft limit was just reached, or that had no room for a call: told once a window, of a sliding
    one once a day.

    Attributes:
        spent: nano-USD; hard: whether it was the hard limit.
    """

    charge: Charge
    spent: int
    hard: bool
    resets_at: int | None


class Budgets:
    """Every account that has a budget, as far as calls have asked for it.

    Attributes:
        overruns: calls that cost more than they had reserved; each is a fault of a bound.
    """

    def __init__(self) -> None:
        self._accounts: dict[str, Account] = {}
        self._purses: list[Purse] = []
        # By whom their budgets may have been given.
        self._given: dict[str, list[Account]] = {}
        # Account and purse of each charge, by the identity of the tuple they are in: all calls of a caller hand in the
        # same one, and hashing what is in it takes longer than all the rest.
        self._looked_up: dict[int, tuple[tuple[Charge, ...], tuple[tuple[Charge, Account, Purse], ...]]] = {}
        self.overruns = 0

    @property
    def counting(self) -> bool:
        """Whether any account has a budget."""
        return bool(self._accounts)

    # --- what was spent before ------------------------------------------------------------------------------------

    def unknown(self, charges: Iterable[Charge], at: int, now: int) -> list[Charge]:
        """Return the charges whose spend the ledger has to be asked for first.

        Args:
            at: UTC ms of the call's admission.
            now: that of a call that was admitted now. Where a window that calls were admitted in has not begun by
                then, the clock was wrong before.
        """
        missing = []
        for charge, _, purse in self._look_up(charges, at):
            purse.turn(at)
            if purse.ahead(now):
                purse.turn_back(now)
            if not purse.known or purse.find(at) is None or self.unguarded(charge):
                missing.append(charge)
        return missing

    def ready(self, charges: tuple[Charge, ...], at: int) -> bool:
        """Tell at a glance whether nothing is unknown for a call admitted at ``at``, which is now. False where it takes
        a closer look.
        """
        known = self._looked_up.get(id(charges))
        if known is None or known[0] is not charges:
            return False
        for charge, account, purse in known[1]:
            term = purse.term
            if purse.sliding or not (purse.known and term.start <= at < term.end):
                return False
            if not account.guarded and charge.budget.limit is not None:
                return False
        return True

    def unguarded(self, charge: Charge) -> bool:
        """Tell whether calls may be under way that hold nothing in an account, because it had no hard budget when they
        were admitted. Each is to be given to ``adopt`` now: from the next question on all are taken to hold something.
        """
        account = self._accounts.get(charge.account)
        return charge.budget.limit is not None and (account is None or not account.guarded)

    def unguard(self, owner: str) -> None:
        """Note that somebody ("": everybody) may have been given another budget, or had none for a while.

        Args:
            owner: its account.
        """
        for account in self._given.get(owner, ()) if owner else self._accounts.values():
            account.guarded = False

    def adopt(self, charge: Charge, amount: int, at: int, holds: Iterable[Reservation]) -> Reservation | None:
        """Hold, for a call that is under way already, what it can cost at most, be there room for it or not.

        Args:
            holds: what it holds; where that is in this account, nothing is added.
        """
        self._purse(charge, at)
        account = self._accounts[charge.account]
        if any(reservation in account.held for reservation in holds):
            return None
        reservation = Reservation(amount, at, 0)
        reservation.enter([account])
        return reservation

    def cover(
        self, accounts: Iterable[str], amount: int, at: int, holds: Iterable[Reservation | None]
    ) -> Reservation | None:
        """As ``adopt``, for a call that goes on its way now: in every account that ``adopt`` was asked about since it
        was admitted.
        """
        bare = []
        for name in accounts:
            account = self._accounts.get(name)
            if account is not None and account.guarded:
                held = account.held
                for reservation in holds:
                    if reservation in held:
                        break
                else:
                    bare.append(account)
        if not bare:
            return None
        reservation = Reservation(amount, at, 0)
        reservation.enter(bare)
        return reservation

    def ask(self, charge: Charge, at: int) -> int:
        """Begin to find out what was spent: return the first quarter-hour that counts. What is booked from this moment
        on must not be part of the answer.
        """
        purse = self._purse(charge, at)
        if charge.budget.limit is not None:
            self._accounts[charge.account].guarded = True
        purse.turn(at)
        if purse.find(at) is None:
            purse.before = purse.begin(at)
        purse.booked.clear()
        purse.forgotten = False
        term = purse.find(at)
        assert term is not None
        purse.asked = term.start // QUARTER_MS
        return purse.asked

    def answer(self, charge: Charge, at: int, spends: Iterable[tuple[int, int]]) -> None:
        """Take the answer: (quarter, nano-USD) pairs in order of time."""
        purse = self._purse(charge, at)
        purse.turn(at)
        asked = purse.asked or 0
        if purse.before is not None and purse.before.start // QUARTER_MS < asked:
            # Nobody counted there while nothing was known.
            purse.before = None
        for term in (purse.term, purse.before):
            if term is not None and (purse.sliding or term.start // QUARTER_MS >= asked):
                term.spent = 0
        purse.quarters.clear()
        for quarter, spend in (*spends, *purse.booked):
            purse.add(quarter, spend)
        purse.known = not purse.forgotten
        self.unanswered(charge)

    def unanswered(self, charge: Charge) -> None:
        """Note that no answer will come."""
        purse = self._purse(charge, 0)
        purse.asked = None
        purse.booked.clear()

    def drop(self, account: str) -> None:
        """Let go of an account nobody asks for any more, unless calls under way hold something in it."""
        known = self._accounts.get(account)
        if known is not None and not known.held:
            del self._accounts[account]
            for owner in owners_of(account):
                self._given[owner].remove(known)
            self._looked_up.clear()
            gone = set(map(id, known.purses))
            self._purses = [purse for purse in self._purses if id(purse) not in gone]

    def forget(self, account: str) -> None:
        """Have what an account ("": every one) has spent read again: somebody else wrote to the ledger. What is held
        stays held.
        """
        known = self._accounts.get(account)
        for purse in (() if known is None else known.purses) if account else self._purses:
            purse.known = False
            purse.forgotten = True
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
        accounts: list[Account] = []
        worst: tuple[int, Charge, Purse, Term] | None = None
        least = NEVER
        # With nothing left not even a call without a bound is let through.
        wanted = max(amount, 1)
        for charge, account, purse in self._look_up(charges, at):
            if account not in accounts:
                accounts.append(account)
                for one in account.purses:
                    if at >= one.term.end:
                        one.turn(at)
            purse.charge = charge
            limit = charge.budget.limit
            if limit is not None:
                term = purse.term
                if not term.start <= at < term.end:
                    term = purse.find(at) or term
                left = limit - term.spent - term.reserved
                if left < least:
                    least = left
                    if left < wanted:
                        worst = (left, charge, purse, term)
        if worst is not None:
            _, charge, purse, term = worst
            # A call that is too large for what is left crosses nothing, and what others hold mostly comes back.
            crossed = purse.term.spent >= (charge.budget.limit or 0)
            warned = _warned(purse, hard=True) if crossed and purse.tells(2, at) else None
            raise OverBudget(
                charge,
                spent=term.spent,
                reserved=term.reserved,
                wanted=amount,
                resets_at=purse.resets_at(term, amount),
                warned=warned,
            )
        reservation = Reservation(amount, at, least - amount)
        reservation.enter(accounts)
        return reservation

    def book(self, accounts: Iterable[str], at: int, spend: int) -> list[Warned]:
        """Count what a call admitted at ``at`` has spent in all its accounts; return what is to be told of it."""
        if not self._accounts or not spend:
            return []
        quarter = at // QUARTER_MS
        warned = []
        for name in accounts:
            account = self._accounts.get(name)
            for purse in () if account is None else account.purses:
                if purse.asked is not None:
                    purse.booked.append((quarter, spend))
                if not purse.known:
                    continue
                term = purse.term
                if term.start <= at < term.end and not purse.sliding:
                    term.spent += spend
                else:
                    purse.turn(at)
                    purse.add(quarter, spend)
                budget, spent = purse.charge.budget, purse.term.spent
                hard = budget.limit is not None and spent >= budget.limit
                reached = hard or (budget.soft is not None and spent >= budget.soft)
                if reached and purse.tells(2 if hard else 1, at):
                    warned.append(_warned(purse, hard=hard))
        return warned

    def soft(self, charges: Iterable[Charge]) -> list[tuple[Charge, int]]:
        """Return the charges whose soft limit is reached, with what is spent: for a header of the answer."""
        found = []
        for charge, _, purse in self._look_up(charges, 0):
            soft = charge.budget.soft
            if soft is not None and purse.term.spent >= soft:
                found.append((charge, purse.term.spent))
        return found

    def spent(self, charge: Charge) -> int:
        """Return the nano-USD spent in a charge's window, as far as known."""
        term = self._term(charge)
        return 0 if term is None else term.spent

    def left(self, charges: Iterable[Charge]) -> tuple[Charge, int] | None:
        """Return the hard budget with the least left, and how much: nano-USD neither spent nor reserved."""
        least: tuple[Charge, int] | None = None
        for charge, _, purse in self._look_up(charges, 0):
            limit = charge.budget.limit
            if limit is not None:
                left = limit - purse.term.spent - purse.term.reserved
                if least is None or left < least[1]:
                    least = charge, left
        return least

    def figures(self, at: int) -> Iterator[tuple[Charge, int, int]]:
        """Yield (charge, spent, reserved) of every account asked for so far, for metrics at ``at``. There may be very
        many: whoever reads them may do something else in between.
        """
        for purse in list(self._purses):
            # After a window that is over the next one has nothing yet; turning all of them now would take too long at
            # midnight.
            over = purse.over(at)
            if purse.known and not purse.ahead(at) and not (over and purse.unread(at)):
                yield purse.charge, 0 if over else purse.term.spent, 0 if over else purse.term.reserved

    def _term(self, charge: Charge) -> Term | None:
        account = self._accounts.get(charge.account)
        purse = None if account is None else account.find(charge.budget.window)
        return None if purse is None else purse.term

    def _look_up(self, charges: Iterable[Charge], at: int) -> tuple[tuple[Charge, Account, Purse], ...]:
        """Return accounts and purses of charges; new ones begin with the window that holds ``at``."""
        charges = tuple(charges)
        known = self._looked_up.get(id(charges))
        if known is not None and known[0] is charges:
            return known[1]
        if len(self._looked_up) >= _MOST_LOOKED_UP:
            self._looked_up.clear()
        purses = [self._purse(charge, at) for charge in charges]
        accounts = [self._accounts[charge.account] for charge in charges]
        found = tuple(zip(charges, accounts, purses, strict=True))
        self._looked_up[id(charges)] = charges, found
        return found

    def _purse(self, charge: Charge, at: int) -> Purse:
        """Return a charge's purse; a new one begins with the window that holds ``at``, and with what is held."""
        account = self._accounts.get(charge.account)
        if account is None:
            account = self._accounts[charge.account] = Account()
            for owner in owners_of(charge.account):
                self._given.setdefault(owner, []).append(account)
        window = charge.budget.window
        purse = account.find(window)
        if purse is None:
            purse = Purse(window=window, charge=charge, held=account.held)
            purse.term = purse.begin(at)
            account.purses.append(purse)
            self._purses.append(purse)
        return purse


def _warned(purse: Purse, *, hard: bool) -> Warned:
    term = purse.term
    return Warned(charge=purse.charge, spent=term.spent, hard=hard, resets_at=purse.resets_at(term))
