"""Sizes and times of a ledger. Knows numbers only."""

from __future__ import annotations

import attrs

__all__ = ["LedgerLimits"]


@attrs.frozen(kw_only=True)
class LedgerLimits:
    """Sizes and times of a ledger; other values than these are for tests.

    Attributes:
        openings_bytes: size of each of the two opening segments (an opening takes about 250 bytes).
        closings_bytes: size of the closing segment; bounds the attempts open at once to one per ``CLOSING_ROOM``.
        commit_within_s: after that the database counts as in trouble and the journal takes over.
        gather_s: how long the writer waits for more to write while calls come thick and fast.
        busy_s: how long SQLite waits for a lock another process holds; below ``commit_within_s``, so that the cause
        is known.
        tick_s: how often open attempts get their rows and the WAL is brought into the database.
        retry_s: first and longest pause between tries while in trouble.
        group: most changes of one transaction.
        unsent_calls: calls without attempts kept in memory while in trouble; older ones are dropped and counted.
        wal_frames: length of the WAL, in pages, from which the writer itself finishes a checkpoint.
    """

    openings_bytes: int = 4 * 1024 * 1024
    closings_bytes: int = 8 * 1024 * 1024
    commit_within_s: float = 1.0
    gather_s: float = 0.002
    busy_s: float = 0.8
    tick_s: float = 1.0
    retry_s: tuple[float, float] = (0.1, 2.0)
    group: int = 2000
    unsent_calls: int = 10_000
    wal_frames: int = 4000
