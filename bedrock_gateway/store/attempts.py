"""Attempts on their way into the database or the journal, and who waits for them. Knows futures; knows no SQL."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TypeAlias

import attrs

from bedrock_gateway.errors import StoreError
from bedrock_gateway.store.frames import encode_closing
from bedrock_gateway.store.journal import Journal, Segment
from bedrock_gateway.store.records import Opening
from bedrock_gateway.store.rows import Change

__all__ = ["Attempt", "Queued", "journal_closings", "resolve", "waiting"]


@attrs.define(eq=False)
class Attempt:
    """An attempt from its opening until the database has its closing.

    Attributes:
        opening: as told.
        segment: the journal segment that holds the only lasting record of it, or None once the database has a row.
        tick: number of the tick it was opened in.
        row_queued: whether a row of it was queued or written, so that its closing has to look for one.
        waiters: futures that wait for its closing; None while it is open.
        journaled: whether its closing is in the journal.
    """

    opening: Opening
    segment: Segment | None
    tick: int
    row_queued: bool = False
    waiters: list[asyncio.Future[None]] | None = None
    journaled: bool = False


Queued: TypeAlias = "tuple[Attempt | None, Change]"
"""A change on its way to the database, with its attempt; None for a call nothing was sent for."""


def waiting(group: Iterable[Queued]) -> list[asyncio.Future[None]]:
    """Return the futures that still wait for closings of a group."""
    return [
        waiter
        for attempt, change in group
        if attempt is not None and change[2] is not None
        for waiter in attempt.waiters or ()
        if not waiter.done()
    ]


def journal_closings(journal: Journal, group: Iterable[Queued], trouble: str) -> list[asyncio.Future[None]]:
    """Append the closings of a group to the journal; return who waits for those that are there now.

    Who waits for one the journal has no room for is told that it is lost; ``trouble`` says why the database did not
    take it.
    """
    durable: list[asyncio.Future[None]] = []
    for attempt, (call_id, _, closing, call, _) in group:
        if attempt is None or closing is None or attempt.journaled:
            continue
        # The opening is in a segment or in a row: a segment with a pending attempt is never emptied.
        if journal.append_closing(encode_closing(call_id, closing, call)):
            attempt.journaled = True
            durable.extend(attempt.waiters or ())
        else:
            for waiter in attempt.waiters or ():
                if not waiter.done():
                    waiter.set_exception(StoreError(f"neither database nor journal took a closing: {trouble}"))
    return durable


def resolve(waiters: Iterable[asyncio.Future[None]], error: BaseException | None = None) -> None:
    """Tell those who still wait that what they wait for lasts, or why it does not."""
    for waiter in waiters:
        if waiter.done():
            continue
        if error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(error)
