"""What the ledger's writer does between two groups of records: names of deployments, and questions about accounts.

A question is answered with exactly what was told to the ledger before it was asked: whoever counts on from there counts
nothing twice. Knows the writer's connection; knows no record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import aiosqlite
import attrs

from bedrock_gateway.errors import StoreError
from bedrock_gateway.store.connections import Spends, read_spends, write_deployments
from bedrock_gateway.store.names import NameRow

__all__ = ["Asides", "Spends"]


@attrs.frozen(eq=False)
class _Question:
    """What an account has spent from a quarter-hour on, once so many changes are written."""

    account: str
    since: int
    position: int
    answer: asyncio.Future[Spends]


@attrs.define(eq=False)
class Asides:
    """Names and questions that wait for the writer."""

    _names: list[NameRow] = attrs.field(factory=list)
    _untaken: list[NameRow] = attrs.field(factory=list)
    _questions: list[_Question] = attrs.field(factory=list)

    def name(self, rows: Iterable[NameRow]) -> None:
        """Take names of deployments."""
        self._names += rows

    def retry_names(self) -> bool:
        """Take up again what the database did not take; tell whether there is any."""
        self._names[:0] = self._untaken
        self._untaken.clear()
        return bool(self._names)

    def ask(self, account: str, since: int, position: int) -> asyncio.Future[Spends]:
        """Return a future of what an account has spent; ``position``: changes to be written before.

        It fails with ``StoreError`` where the database cannot be read now.
        """
        question = _Question(account, since, position, asyncio.get_running_loop().create_future())
        self._questions.append(question)
        return question.answer

    def waiting(self, written: int) -> bool:
        """Tell whether there is anything to do after ``written`` changes."""
        return bool(self._names) or (bool(self._questions) and self._questions[0].position <= written)

    def room(self, written: int, most: int) -> int:
        """Return how many changes may be written before the next question has to be answered, at most ``most``."""
        return min(most, self._questions[0].position - written) if self._questions else most

    async def do(self, connection: aiosqlite.Connection, written: int) -> None:
        """Write the names, answer the questions that are due."""
        if self._names:
            names, self._names = self._names, []
            self._untaken += await write_deployments(connection, names)
        due = next((at for at, one in enumerate(self._questions) if one.position > written), len(self._questions))
        if not due:
            return
        # A key that calls for the first time asks for all its accounts at once: one thread hop for them all.
        asked = self._questions[:due]
        answers = await read_spends(connection, [(question.account, question.since) for question in asked])
        # Not before: whoever waits is told where the ledger is closed, or in trouble, meanwhile.
        if self._questions and self._questions[0] is asked[0]:
            del self._questions[:due]
        for question, answer in zip(asked, answers, strict=True):
            if isinstance(answer, Exception):
                _fail(question, str(answer))
            elif not question.answer.done():
                question.answer.set_result(answer)

    def fail(self, cause: str) -> None:
        """Answer no question that is open: the database takes nothing."""
        questions, self._questions = self._questions, []
        for question in questions:
            _fail(question, cause)


def _fail(question: _Question, cause: str) -> None:
    if not question.answer.done():
        question.answer.set_exception(StoreError(f"the ledger cannot be asked what was spent: {cause}"))
