"""Attempts on their way into the database, and who waits for them. Knows futures; knows no file and no SQL."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TypeAlias

import attrs

from bedrock_gateway.store.journal import Segment
from bedrock_gateway.store.records import Opening
from bedrock_gateway.store.rows import Change

__all__ = ["Attempt", "Queued", "resolve", "waiting"]


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


def resolve(waiters: Iterable[asyncio.Future[None]]) -> None:
    """Tell those who still wait that what they wait for lasts."""
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)
