"""How attempts end, and in which state they are booked. Knows the words of the ledger only; no money, no
transport, no store.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Outcome", "State"]


class State(StrEnum):
    """State of an attempt; a call has its worst. Order of definition is from worst to best."""

    OPEN = "open"
    INTERRUPTED = "interrupted"
    UNMETERED = "unmetered"
    UNPRICED = "unpriced"
    ESTIMATED = "estimated"
    INCOMPLETE = "incomplete"
    METERED = "metered"
    FLAT = "flat"
    FREE = "free"
    REFUSED = "refused"


class Outcome(StrEnum):
    """How the sending of one attempt ended."""

    COMPLETE = "complete"  # the answer came to its end
    LEFT = "left"  # the caller left and its policy is abort
    CUT = "cut"  # sent, then lost, cut, silent or truncated
    REFUSED = "refused"  # AWS refused it before work
    UNREACHED = "unreached"  # never sent
    INTERNAL = "internal"  # AWS's internal error: nothing was answered, work may have been billed
