"""Windows of budgets: which stretch of time a figure of spend covers. Pure: every moment is handed in as UTC ms.

Knows durations as LiteLLM writes them, calendars and time zones. Must not know what is spent in a window, nor by whom.

Source: LiteLLM, ``litellm_core_utils/duration_parser.py`` (units, words, what is aligned to a calendar); the IANA time
zones of the machine or of the tzdata package.

**What belongs to which window.** Spend is kept by quarter-hours of UTC, so a window is made of whole ones, and a
quarter-hour belongs to the window in which it begins (offsets have been multiples of a quarter-hour in every zone since
1980; before, a window may begin up to a quarter-hour late). By duration:

=================================== ==================================================================================
15m, 30m, 1h                        parts of the local hour. They also end where the local clock is moved: an hour
                                    lived twice is two windows, half an hour skipped (Lord Howe) shortens one
45m, 90m, 2h, 3h, ... 12h, 24h      parts of the local day, counted from midnight: what divides 24 hours
1d                                  from local midnight
7d = 1w                             from Monday's local midnight
30d = 1mo                           the calendar month
2mo, 3mo, 4mo, 6mo, 12mo            calendar months, counted from January
5mo, 7mo, 24mo and so on            calendar months, counted from the month of the anchor
2d, 5d, 2w, 45d and so on           days, counted from the local midnight before the anchor
75m, 5h, 30h, 48h and so on         elapsed time, counted from the quarter-hour of UTC that holds the anchor
=================================== ==================================================================================

Parts of the day, days and months begin at the first moment at which the local clock has reached their start. So a
midnight that is skipped is where the clock jumps over it, of one that comes twice the first counts, a day may have 23
or 25 hours, a clock put back opens no new window, and a day that a zone never had (Samoa, 30 December 2011) has none.
Windows follow each other without gap or overlap, and are the same whichever of their moments is asked for.

**Sliding** windows know neither calendar nor zone: everything within the last 30 × 24 hours, say. They overlap by their
nature.
"""

from __future__ import annotations

import difflib
import re
from bisect import bisect_left
from calendar import monthrange
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo, available_timezones

import attrs

__all__ = ["QUARTER_MS", "Duration", "Window", "after", "parse_duration", "zone"]

#: Milliseconds of the stretch spend is kept by.
QUARTER_MS = 15 * 60 * 1000

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
#: Words LiteLLM takes for durations.
WORDS = {"hourly": "1h", "daily": "1d", "weekly": "7d", "monthly": "30d"}
#: The longest duration taken, in years of 366 days: what is longer is a slip, and would leave the calendar's range.
MOST_YEARS = 100

_EPOCH = datetime(1970, 1, 1)  # where quarter-hours are counted from: a midnight
_DAY_MS = 86_400_000
_QUARTER = timedelta(milliseconds=QUARTER_MS)
_QUARTERS_AN_HOUR = 4
_QUARTERS_A_DAY = 96
_SHOWN = 64  # characters of a wrong value that its error repeats
_DURATION = re.compile(r"([0-9]{1,12})(mo|[smhdw])")


@attrs.frozen(kw_only=True)
class Duration:
    """A length of time in the unit it was given in; one field is set, the others are 0.

    Attributes:
        months: calendar months.
        days: days, of whatever length the calendar gives them.
        quarters: quarter-hours.
    """

    months: int = 0
    days: int = 0
    quarters: int = 0


def parse_duration(text: str) -> Duration:
    """Read the duration of a budget's window: a whole number and a unit, or one of LiteLLM's words.

    Raises:
        ValueError: it is none, too long, or no multiple of 15 minutes.
    """
    number, unit = _parse(text)
    if unit == "mo":
        return Duration(months=number)
    if unit in ("d", "w"):
        return Duration(days=number * 7 if unit == "w" else number)
    quarters, rest = divmod(number * SECONDS[unit] * 1000, QUARTER_MS)
    if rest:
        raise ValueError(
            f"{text!r} cannot be the window of a budget: spend is kept by quarter-hours, so a window is a multiple of "
            "15 minutes. Write 15m, 30m, 1h, 1d, 7d or 1mo, for example."
        )
    return Duration(quarters=quarters)


def after(text: str, at_ms: int) -> int:
    """Return when something ends that begins at ``at_ms`` (UTC ms) and lasts that long; here any length is taken.

    A month ends at the same time of the same day of a later month in UTC, or of that month's last day where it is
    shorter; a day has 24 hours.

    Raises:
        ValueError: ``text`` is no duration, or too long a one.
    """
    number, unit = _parse(text)
    if unit != "mo":
        return at_ms + number * SECONDS[unit] * 1000
    begin = _EPOCH + timedelta(milliseconds=at_ms)
    first = _begin_of_month(_month(begin) + number)
    day = min(begin.day, monthrange(first.year, first.month)[1])
    return at_ms + (first.replace(day=day) - datetime(begin.year, begin.month, begin.day)) // timedelta(milliseconds=1)


def zone(name: str) -> tzinfo:
    """Return the time zone of an IANA name (``Europe/Berlin``, ``UTC``).

    Raises:
        ValueError: there is none of that name; says which come near.
    """
    try:
        return ZoneInfo(name)
    # Names that are folders, files of another kind or paths fail each in its own way.
    except (KeyError, ValueError, OSError) as error:
        spelt = {known.lower(): known for known in sorted(available_timezones())}
        wanted = name[:_SHOWN].lower().replace(" ", "_")
        near = [known for lower, known in spelt.items() if lower == wanted or lower.endswith(f"/{wanted}")]
        near = near or [spelt[lower] for lower in difflib.get_close_matches(wanted, spelt, n=3, cutoff=0.7)]
        hint = f" Near it: {', '.join(near[:3])}." if near else " Write an IANA name: UTC, Europe/Berlin, Asia/Kolkata."
        raise ValueError(f"There is no time zone {name[:_SHOWN]!r}.{hint}") from error


@attrs.frozen(kw_only=True)
class Window:
    """The windows of one budget, of which each moment lies in one.

    Attributes:
        duration: as ``parse_duration`` takes it.
        zone: whose calendar counts.
        anchor: UTC ms from which windows that no calendar aligns are counted, forwards and backwards.
        sliding: whether the window ends now, instead of lying fixed in the calendar.
    """

    duration: str
    zone: tzinfo
    anchor: int = 0
    sliding: bool = False
    _length: Duration = attrs.field(init=False, repr=False, eq=False)

    @_length.default
    def _parsed(self) -> Duration:
        return parse_duration(self.duration)

    def bounds(self, at_ms: int) -> tuple[int, int]:
        """Return the window that holds a moment: its first ms, and the first ms after it, both whole quarter-hours.

        Of a sliding window: the begin of the oldest quarter-hour that still counts (in full, though part of it may be
        longer ago than the duration), and the moment from which it may no longer do.

        What is asked for every call is better kept until the window is over: this takes some ten microseconds.
        """
        quarter = at_ms - at_ms % QUARTER_MS
        length = self._length
        if self.sliding:
            return self._back(quarter), quarter + QUARTER_MS
        if length.months or length.days == 30:
            step = length.months or 1
            return self._aligned(quarter, step, 0 if 12 % step == 0 else None, _month, _begin_of_month)
        if length.days:
            # Day 1 of the calendar, 1 January of year 1, was a Monday.
            base = 1 if length.days in (1, 7) else None
            return self._aligned(quarter, length.days, base, datetime.toordinal, datetime.fromordinal)
        if _QUARTERS_AN_HOUR % length.quarters == 0:
            return self._part_of_hour(quarter, length.quarters)
        if _QUARTERS_A_DAY % length.quarters == 0:
            return self._aligned(quarter, length.quarters, 0, _quarter, _begin_of_quarter)
        elapsed = length.quarters * QUARTER_MS
        start = quarter - (quarter - self.anchor // QUARTER_MS * QUARTER_MS) % elapsed
        return start, start + elapsed

    def leaves(self, quarter: int) -> int:
        """Return when a quarter-hour (its first ms) stops to count in a sliding window: the first ms it does not."""
        # Months are of 31 days at most.
        most = self._length.days * _DAY_MS + self._length.months * 31 * _DAY_MS + self._length.quarters * QUARTER_MS
        later = range(quarter, quarter + most + QUARTER_MS, QUARTER_MS)
        return quarter + QUARTER_MS * bisect_left(later, True, key=lambda at: self._back(at) > quarter)

    def _back(self, quarter: int) -> int:
        """Return where a sliding window begins that ends within this quarter-hour."""
        length = self._length
        if not length.months:
            return quarter - length.days * _DAY_MS - length.quarters * QUARTER_MS
        end = _EPOCH + timedelta(milliseconds=quarter)
        first = _begin_of_month(_month(end) - length.months)
        # A day the earlier month lacks stands for that month's end, the midnight after its last day. Were it to stand
        # for that last day, at the same time, the window would begin earlier again day by day: at 09:00 of 30 March
        # before where it began at 10:00 of 29 March.
        within = end - datetime(end.year, end.month, 1)
        return _ms(first + min(within, timedelta(days=monthrange(first.year, first.month)[1])))

    def _aligned(
        self,
        quarter: int,
        step: int,
        base: int | None,
        number: Callable[[datetime], int],
        begin: Callable[[int], datetime],
    ) -> tuple[int, int]:
        """Return the window that holds a quarter-hour, of those that begin where a unit of the local calendar does.

        Args:
            step: units a window is long.
            base: number of a unit that one begins with; None for the one that holds the anchor.
            number, begin: which unit a local time lies in, and when a unit begins.
        """
        if base is None:
            base = number(self._local(self.anchor))
        index = number(self._local(quarter))
        index -= (index - base) % step
        start, end = self._reached(begin(index)), self._reached(begin(index + step))
        # Put back over the end of a window, the local clock tells of one that is over.
        while end <= quarter:
            index += step
            start, end = end, self._reached(begin(index + step))
        return start, end

    def _part_of_hour(self, quarter: int, step: int) -> tuple[int, int]:
        def begins(at: int) -> bool:
            local = self._local(at)
            return _quarter(local) % step == 0 or local - self._local(at - QUARTER_MS) != _QUARTER

        start, end = quarter, quarter + QUARTER_MS
        while not begins(start):
            start -= QUARTER_MS
        while not begins(end):
            end += QUARTER_MS
        return start, end

    def _local(self, at_ms: int) -> datetime:
        """Return what the local clock shows."""
        zone = self.zone
        return zone.fromutc((_EPOCH + timedelta(milliseconds=at_ms)).replace(tzinfo=zone)).replace(tzinfo=None)

    def _reached(self, local: datetime) -> int:
        """Return the first quarter-hour at whose begin the local clock had reached a time, be it since put back."""
        first, other = self._at(local, fold=0), self._at(local, fold=1)
        if first <= other:
            return first  # Once, or twice.
        # Never: the clock jumped over it, somewhere between what the offsets before and after the jump make of it.
        skipped = range(other, first, QUARTER_MS)
        return other + QUARTER_MS * bisect_left(skipped, True, key=lambda at: self._local(at) >= local)

    def _at(self, local: datetime, *, fold: int) -> int:
        """Return the first quarter-hour that begins when the local clock shows a time, or later.

        Args:
            fold: for a time shown twice, 0 is the first and 1 the second; for one never shown, 0 has the offset before
                the jump over it, 1 the one after, which makes it the earlier.
        """
        offset = self.zone.utcoffset(local.replace(tzinfo=self.zone, fold=fold)) or timedelta(0)
        at_ms = _ms(local - offset)
        return at_ms + -at_ms % QUARTER_MS


def _parse(text: str) -> tuple[int, str]:
    """Return number and unit of a duration."""
    found = _DURATION.fullmatch(WORDS.get(text.strip().lower(), text.strip()))
    if found is None:
        raise ValueError(
            f"{text[:_SHOWN]!r} is no duration: write a whole number and a unit of s, m, h, d, w or mo (30m, 12h, 7d, "
            "1mo; a year is 12mo)."
        )
    number, unit = int(found[1]), found[2]
    if not number:
        raise ValueError(f"{text!r} is no duration: it has to be longer than nothing.")
    if number > (MOST_YEARS * 12 if unit == "mo" else MOST_YEARS * 366 * SECONDS["d"] // SECONDS[unit]):
        raise ValueError(f"{text!r} is too long a duration: the longest is {MOST_YEARS} years.")
    return number, unit


def _month(moment: datetime) -> int:
    """Return which month since January of year 0 a moment lies in."""
    return moment.year * 12 + moment.month - 1


def _begin_of_month(number: int) -> datetime:
    return datetime(number // 12, number % 12 + 1, 1)


def _quarter(moment: datetime) -> int:
    """Return which quarter-hour since 1970 a moment lies in."""
    return (moment - _EPOCH) // _QUARTER


def _begin_of_quarter(number: int) -> datetime:
    return _EPOCH + number * _QUARTER


def _ms(moment: datetime) -> int:
    """Return the UTC ms of a moment in UTC, a fraction rounded up."""
    return -((_EPOCH - moment) // timedelta(milliseconds=1))
