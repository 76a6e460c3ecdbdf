"""Sums of rollups as one record, and the SQL that makes them. Knows the columns both rollup tables share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from bedrock_gateway.store.records import State

__all__ = ["COLUMNS", "FAILED", "INEXACT", "SUM_COLUMNS", "UNKNOWN", "Sums", "grouped", "sum_of"]

UNKNOWN = (State.OPEN, State.INTERRUPTED, State.UNMETERED, State.UNPRICED)
"""States whose spend is not known; worst first."""

INEXACT = (*UNKNOWN, State.ESTIMATED, State.INCOMPLETE)
"""States whose spend is not, or not all, AWS's own numbers; worst first."""

FAILED = (State.REFUSED, State.INTERRUPTED)
"""States of calls that came to nothing; those still open neither failed nor succeeded."""

_COUNTED = (
    *("calls", "attempts", "input", "output", "cache_read", "cache_write_5m + cache_write_1h", "images"),
    *("spend", "spend_all", "at_most"),
)

COLUMNS = ", ".join(("state", *_COUNTED))
"""What ``Sums.add`` takes, of each row."""

SUM_COLUMNS = ", ".join(("state", *(f"sum({column})" for column in _COUNTED)))
"""The same of many rows, grouped by ``state`` and whatever else."""

_INEXACT, _FAILED, _OPEN = frozenset(map(str, INEXACT)), frozenset(map(str, FAILED)), str(State.OPEN)


@attrs.define(kw_only=True)
class Sums:
    """Sums over some calls and their attempts.

    Attributes:
        calls: calls of callers; of them, failed: ended without an answer of a model; under_way: not ended.
        attempts: requests sent upstream.
        input, output, cache_read, cache_write: tokens; input without cached ones.
        images: images made.
        spend: nano-USD charged to callers.
        spend_all: nano-USD of all attempts, charged or not.
        at_most: nano-USD that attempts without known spend may have cost at most, as far as bounded.
        states: attempts by state.
    """

    calls: int = 0
    failed: int = 0
    under_way: int = 0
    attempts: int = 0
    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    images: int = 0
    spend: int = 0
    spend_all: int = 0
    at_most: int = 0
    states: dict[str, int] = attrs.field(factory=dict)

    def add(self, row: Sequence[Any]) -> None:
        """Add a row of ``COLUMNS`` or ``SUM_COLUMNS``."""
        state, calls, attempts, tokens_in, tokens_out, read, written, images, spend, spend_all, at_most = row
        self.calls += calls
        self.attempts += attempts
        self.input += tokens_in
        self.output += tokens_out
        self.cache_read += read
        self.cache_write += written
        self.images += images
        self.spend += spend
        self.spend_all += spend_all
        self.at_most += at_most
        if attempts:
            self.states[state] = self.states.get(state, 0) + attempts
        if state in _FAILED:
            self.failed += calls
        elif state == _OPEN:
            self.under_way += calls

    def move(self, state: str, other: str, calls: int, attempts: int) -> None:
        """Say that some of what was added as of one state is of another."""
        for name, count in ((state, -attempts), (other, attempts)):
            self.states[name] = self.states.get(name, 0) + count
            if not self.states[name]:
                del self.states[name]
        if other in _FAILED:
            self.failed += calls
        elif other == _OPEN:
            self.under_way += calls

    def include(self, other: Sums) -> None:
        """Add other sums."""
        self.calls += other.calls
        self.failed += other.failed
        self.under_way += other.under_way
        self.attempts += other.attempts
        self.input += other.input
        self.output += other.output
        self.cache_read += other.cache_read
        self.cache_write += other.cache_write
        self.images += other.images
        self.spend += other.spend
        self.spend_all += other.spend_all
        self.at_most += other.at_most
        for state, count in other.states.items():
            self.states[state] = self.states.get(state, 0) + count

    @property
    def prompt(self) -> int:
        """Tokens of input, cached ones included."""
        return self.input + self.cache_read + self.cache_write

    @property
    def inexact(self) -> dict[str, int]:
        """Attempts that are not exact, by state."""
        return {state: count for state, count in self.states.items() if state in _INEXACT}


def grouped(rows: Iterable[tuple[Any, ...]], names: int) -> dict[tuple[Any, ...], Sums]:
    """Return sums by the first columns of rows, of which ``names`` come before those of ``Sums.add``."""
    found: dict[tuple[Any, ...], Sums] = {}
    for row in rows:
        name = row[:names]
        sums = found.get(name)
        if sums is None:
            sums = found[name] = Sums()
        sums.add(row[names:])
    return found


def sum_of(parts: Iterable[Sums]) -> Sums:
    """Return the sums of sums."""
    whole = Sums()
    for part in parts:
        whole.include(part)
    return whole
