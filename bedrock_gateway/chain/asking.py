"""What was spent before: the ledger is asked once an account, however many calls wait for it.

What is under way has spent nothing yet, as far as the ledger can say, and holds nothing where there was no budget when
it was admitted. So before an account is asked for, the first time under a hard budget and after each time somebody may
have been given another one, the calls under way are gone through.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence

import attrs

from bedrock_gateway.access.budgets import Budgets, Charge
from bedrock_gateway.chain.booking import accounts_of_attempt
from bedrock_gateway.chain.call import Call
from bedrock_gateway.errors import StoreError
from bedrock_gateway.store.ledger import Ledger

__all__ = ["Asking"]


@attrs.define(eq=False)
class Asking:
    """Questions under way, by account and window.

    Attributes:
        calls: those under way.
        admitted_ms: tells the time of an admission, UTC ms.
    """

    budgets: Budgets
    ledger: Ledger
    calls: Collection[Call]
    admitted_ms: Callable[[], int]
    _open: dict[object, asyncio.Future[None]] = attrs.field(factory=dict)

    async def know(self, charges: Sequence[Charge], at: int) -> None:
        """Return once the spend of every account is known; that is at once but for the first call of each.

        Args:
            at: UTC ms of the admission.

        Raises:
            StoreError: the ledger cannot be asked now.
        """
        # A call that was admitted while the clock was ahead is taken for one that comes now.
        while missing := self.budgets.unknown(charges, min(at, now := self.admitted_ms()), now):
            await asyncio.gather(*[self._ask(charge, min(at, now)) for charge in missing])

    def _ask(self, charge: Charge, at: int) -> asyncio.Future[None]:
        key = charge.account, charge.budget.window
        known = self._open.get(key)
        if known is None:
            # A task of its own: whoever began to ask may leave, others wait for the same answer.
            known = self._open[key] = asyncio.ensure_future(self._answer(charge, at))
            known.add_done_callback(lambda done: self._done(key, done))
        return asyncio.shield(known)

    async def _answer(self, charge: Charge, at: int) -> None:
        # What is booked from this line on is not in the answer: nothing is awaited until the question is put.
        if self.budgets.unguarded(charge):
            self._adopt(charge)
        since = self.budgets.ask(charge, at)
        answer = self.ledger.ask_spends(charge.account, since)
        try:
            spends = await answer
        except StoreError:
            self.budgets.unanswered(charge)
            raise
        self.budgets.answer(charge, at, spends)

    def _adopt(self, charge: Charge) -> None:
        """Have calls under way hold what they can cost at most, if they hold nothing in an account they count in."""
        for call in self.calls:
            attempt = call.attempt
            if attempt is None or not attempt.opened or attempt.closed or not attempt.at_most:
                continue
            if charge.account in accounts_of_attempt(call, attempt):
                admitted = None if call.admission is None else call.admission.reservation
                holds = [held for held in (admitted, attempt.reservation, *call.adopted) if held is not None]
                adopted = self.budgets.adopt(charge, attempt.at_most, call.started_at, holds)
                call.adopted += () if adopted is None else (adopted,)

    def _done(self, key: object, done: asyncio.Future[None]) -> None:
        del self._open[key]
        if not done.cancelled():
            done.exception()  # told to whoever waits; nobody may be left
