"""Spans of time that reports are made of, and how people write them. All of it is UTC; a sum has the resolution of the
rollups, a quarter of an hour. Knows no SQL.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType

import attrs

from bedrock_gateway.store.schema import QUARTER_MS

__all__ = ["DAY_QUARTERS", "Period", "day_of", "first_quarter", "parse_time"]

DAY_QUARTERS = 86_400_000 // QUARTER_MS
"""Quarter-hours of a day."""

_DURATION_MS = MappingProxyType({"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000})
_EPOCH = date(1970, 1, 1)


@attrs.frozen(kw_only=True)
class Period:
    """From ``since`` to before ``until``, UTC ms; None is open."""

    since: int | None = None
    until: int | None = None

    @property
    def quarters(self) -> tuple[int | None, int | None]:
        """The quarter-hours it touches: the first of them, and the first one after it."""
        return (
            None if self.since is None else self.since // QUARTER_MS,
            None if self.until is None else -(-self.until // QUARTER_MS),
        )

    @property
    def widened(self) -> Period:
        """The time that sums of it are of: all of the quarter-hours it touches."""
        since, until = self.quarters
        return Period(
            since=None if since is None else since * QUARTER_MS, until=None if until is None else until * QUARTER_MS
        )


def parse_time(text: str, now_ms: int) -> int:
    """Return UTC ms of a duration before now (``90m``, ``24h``, ``7d``, ``2w``), a date or an ISO 8601 time.

    Without an offset a time is UTC.

    Raises:
        ValueError: it is none of these.
    """
    duration = re.fullmatch(r"(\d{1,9})([smhdw])", text.strip())
    if duration is not None:
        return max(now_ms - int(duration[1]) * _DURATION_MS[duration[2]], 0)
    try:
        moment = datetime.fromisoformat(text.strip())
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return max(int(moment.timestamp() * 1000), 0)
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text!r} is no time: write a duration (90m, 24h, 7d, 2w), a date (2026-11-20) or an ISO time"
        ) from None


def first_quarter(day: date) -> int:
    """Return the quarter-hour a day begins with."""
    return (day - _EPOCH).days * DAY_QUARTERS


def day_of(quarter: int) -> date:
    """Return the day of a quarter-hour."""
    return _EPOCH + timedelta(days=quarter // DAY_QUARTERS)
