"""What was spent before: the ledger is asked once an account, however many calls wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import attrs

from bedrock_gateway.access.budgets import Budgets, Charge
from bedrock_gateway.errors import StoreError
from bedrock_gateway.store.ledger import Ledger

__all__ = ["Asking"]


@attrs.define(eq=False)
class Asking:
    """Questions under way, by account and window."""

    budgets: Budgets
    ledger: Ledger
    _open: dict[object, asyncio.Future[None]] = attrs.field(factory=dict)

    async def know(self, charges: Sequence[Charge], at: int) -> None:
        """Return once the spend of every account is known; that is at once but for the first call of each.

        Args:
            at: UTC ms of the admission.

        Raises:
            StoreError: the ledger cannot be asked now.
        """
        while missing := self.budgets.unknown(charges):
            await asyncio.gather(*[self._ask(charge, at) for charge in missing])

    def _ask(self, charge: Charge, at: int) -> asyncio.Future[None]:
        key = charge.account, charge.budget.window
        known = self._open.get(key)
        if known is None:
            # A task of its own: whoever began to ask may leave, others wait for the same answer.
            known = self._open[key] = asyncio.ensure_future(self._answer(charge, at))
            known.add_done_callback(lambda done: self._done(key, done))
        return asyncio.shield(known)

    async def _answer(self, charge: Charge, at: int) -> None:
        # What is booked from this line on is not in the answer: nothing is awaited between the two.
        since = self.budgets.ask(charge, at)
        answer = self.ledger.ask_spends(charge.account, since)
        try:
            spends = await answer
        except StoreError:
            self.budgets.unanswered(charge)
            raise
        self.budgets.answer(charge, at, spends)

    def _done(self, key: object, done: asyncio.Future[None]) -> None:
        del self._open[key]
        if not done.cancelled():
            done.exception()  # told to whoever waits; nobody may be left
