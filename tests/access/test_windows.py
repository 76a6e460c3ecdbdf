"""Windows of budgets: calendars, zones, clocks that are moved, and what an oracle that reads the clock says."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Hashable, Iterable, Iterator
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bedrock_gateway.access.windows import QUARTER_MS, Duration, Window, after, parse_duration, zone

HOUR_MS = 4 * QUARTER_MS
DAY_MS = 24 * HOUR_MS
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: Zones and the years in which they did something odd.
ODD = [
    ("UTC", 2024),
    ("Europe/Berlin", 2026),
    ("Europe/Dublin", 2026),  # summer is its standard time
    ("America/New_York", 2028),
    ("Australia/Lord_Howe", 2026),  # moves its clock by half an hour
    ("Asia/Kathmandu", 2026),  # +05:45
    ("Pacific/Chatham", 2026),  # +12:45, +13:45
    ("America/Sao_Paulo", 2018),  # skipped a midnight, and put the clock back at one
    ("America/Havana", 2026),  # midnight comes twice
    ("America/St_Johns", 2010),  # moved the clock at 00:01, back over midnight
    ("Pacific/Apia", 2011),  # had no 30 December
    ("Africa/Casablanca", 2025),  # four changes a year
    ("America/Caracas", 2016),  # -04:30 to -04:00
    ("Asia/Pyongyang", 2015),  # +09:00 to +08:30, at midnight
    ("Asia/Tehran", 2021),  # skips a midnight, puts the clock back at one
    ("Antarctica/Troll", 2026),  # moves its clock by two hours
]

#: By duration: what is equal for all local times of one window, counted from the anchor's local time where it matters.
LABELS: dict[str, Callable[[datetime, datetime], Hashable]] = {
    "45m": lambda local, _: (local.date(), (local.hour * 60 + local.minute) // 45),
    "3h": lambda local, _: (local.date(), local.hour // 3),
    "12h": lambda local, _: (local.date(), local.hour // 12),
    "24h": lambda local, _: local.date(),
    "1d": lambda local, _: local.date(),
    "5d": lambda local, anchor: (local.date() - anchor.date()).days // 5,
    "2w": lambda local, anchor: (local.date() - anchor.date()).days // 14,
    "7d": lambda local, _: local.isocalendar()[:2],
    "1w": lambda local, _: local.isocalendar()[:2],
    "30d": lambda local, _: (local.year, local.month),
    "1mo": lambda local, _: (local.year, local.month),
    "3mo": lambda local, _: (local.year, (local.month - 1) // 3),
    "12mo": lambda local, _: local.year,
    "5mo": lambda local, anchor: ((local.year - anchor.year) * 12 + local.month - anchor.month) // 5,
}
PARTS_OF_HOUR = {"15m": 15, "30m": 30, "1h": 60, "hourly": 60}
ELAPSED = {"75m": 75 * 60_000, "30h": 30 * HOUR_MS, "48h": 48 * HOUR_MS}


def ms(*moment: int, name: str = "UTC", fold: int = 0) -> int:
    """Return the UTC ms of a local time."""
    local = datetime(*moment, tzinfo=ZoneInfo(name), fold=fold)  # type: ignore[arg-type, misc]
    return (local - EPOCH) // timedelta(milliseconds=1)


def shown(at_ms: int, where: tzinfo) -> datetime:
    """Return the local time of a UTC ms, without its zone."""
    return (EPOCH + timedelta(milliseconds=at_ms)).astimezone(where).replace(tzinfo=None)


def told(window: Window, at_ms: int) -> tuple[str, str]:
    """Return the bounds of the window around a moment as local times with their offsets."""
    start, end = ((EPOCH + timedelta(milliseconds=bound)).astimezone(window.zone) for bound in window.bounds(at_ms))
    return f"{start:%Y-%m-%d %H:%M%z}", f"{end:%Y-%m-%d %H:%M%z}"


def readings(where: tzinfo, first: int, last: int) -> Iterator[tuple[int, datetime, datetime]]:
    """Yield every quarter-hour between two moments, what the local clock shows, and the furthest it ever did."""
    furthest = datetime.min
    for at in range(first, last, QUARTER_MS):
        local = datetime.fromtimestamp(at // 1000, where).replace(tzinfo=None)
        furthest = max(furthest, local)
        yield at, local, furthest


Reading = tuple[int, datetime, datetime]


def begins(duration: str, read: Iterable[Reading], around: datetime, anchor: int) -> list[Reading]:
    """Return the readings at which a window begins: what they show belongs to another one than what came before.

    Args:
        around: the local time of the anchor.
    """
    found = []
    before: Hashable = None
    for reading in read:
        at, local, furthest = reading
        label: Hashable
        if duration in LABELS:
            label = LABELS[duration](furthest, around)
        elif duration in PARTS_OF_HOUR:
            label = (local.date(), (local.hour * 60 + local.minute) // PARTS_OF_HOUR[duration], at - ms_of(local))
        else:
            label = (at - (anchor - anchor % QUARTER_MS)) // ELAPSED[duration]
        if before is not None and label != before:
            found.append(reading)
        before = label
    return found


def ms_of(local: datetime) -> int:
    """Return a local time's ms since 1970 began there."""
    return (local - datetime(1970, 1, 1)) // timedelta(milliseconds=1)


def chain(window: Window, first: int, last: int) -> list[int]:
    """Return where windows begin between two moments, stepping from each to the next."""
    found = []
    at = window.bounds(first)[1]
    while at < last:
        found.append(at)
        start, end = window.bounds(at)
        assert start == at
        at = end
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("15m", Duration(quarters=1)),
        ("30m", Duration(quarters=2)),
        ("900s", Duration(quarters=1)),
        ("3600s", Duration(quarters=4)),
        ("75m", Duration(quarters=5)),
        ("1h", Duration(quarters=4)),
        ("24h", Duration(quarters=96)),
        ("1d", Duration(days=1)),
        ("7d", Duration(days=7)),
        ("1w", Duration(days=7)),
        ("2w", Duration(days=14)),
        ("30d", Duration(days=30)),
        ("1mo", Duration(months=1)),
        ("12mo", Duration(months=12)),
        ("1200mo", Duration(months=1200)),
        ("36600d", Duration(days=36_600)),
        ("hourly", Duration(quarters=4)),
        ("daily", Duration(days=1)),
        ("weekly", Duration(days=7)),
        (" Monthly ", Duration(days=30)),
        (" 01d ", Duration(days=1)),
    ],
)
def test_durations_are_read_as_litellm_writes_them(text: str, expected: Duration) -> None:
    """A number and a unit, or one of LiteLLM's words."""
    assert expected == parse_duration(text)


@pytest.mark.parametrize("text", ["", "d", "30", "1y", "1M", "1D", "1.5h", "-1d", "1 d", "1d2h", "1mon", "1d\n2", "٣d"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """Other units, no unit, signs, fractions and combinations are errors that say what to write."""
    with pytest.raises(ValueError, match="is no duration: write a whole number and a unit of s, m, h, d, w or mo"):
        parse_duration(text)
    with pytest.raises(ValueError, match="is no duration: write a whole number and a unit of s, m, h, d, w or mo"):
        after(text, 0)


@pytest.mark.parametrize("text", ["0d", "0mo", "000m"])
def test_nothing_is_no_duration(text: str) -> None:
    """A window or a life of no length would never hold anything."""
    with pytest.raises(ValueError, match="has to be longer than nothing"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["1201mo", "36601d", "999999999999s", "5229w"])
def test_durations_end_at_a_hundred_years(text: str) -> None:
    """A longer one is a slip of the pen, and no calendar reaches that far."""
    with pytest.raises(ValueError, match="is too long a duration: the longest is 100 years"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["30s", "10m", "1m", "20m", "901s"])
def test_windows_are_multiples_of_a_quarter_hour(text: str) -> None:
    """A window shorter than spend is kept by, or no multiple of it, is refused with the reason."""
    with pytest.raises(ValueError, match=rf"'{text}' cannot be the window of a budget: .* a multiple of 15 minutes"):
        Window(duration=text, zone=UTC)


@pytest.mark.parametrize(
    ("duration", "start", "end"),
    [
        ("15m", (2026, 8, 12, 17, 30), (2026, 8, 12, 17, 45)),
        ("30m", (2026, 8, 12, 17, 30), (2026, 8, 12, 18)),
        ("45m", (2026, 8, 12, 17, 15), (2026, 8, 12, 18)),
        ("1h", (2026, 8, 12, 17), (2026, 8, 12, 18)),
        ("12h", (2026, 8, 12, 12), (2026, 8, 13)),
        ("24h", (2026, 8, 12), (2026, 8, 13)),
        ("1d", (2026, 8, 12), (2026, 8, 13)),
        ("7d", (2026, 8, 10), (2026, 8, 17)),
        ("1w", (2026, 8, 10), (2026, 8, 17)),
        ("30d", (2026, 8, 1), (2026, 9, 1)),
        ("1mo", (2026, 8, 1), (2026, 9, 1)),
        ("2mo", (2026, 7, 1), (2026, 9, 1)),
        ("3mo", (2026, 7, 1), (2026, 10, 1)),
        ("6mo", (2026, 7, 1), (2027, 1, 1)),
        ("12mo", (2026, 1, 1), (2027, 1, 1)),
        # From here on counted from the anchor, 10 August 2026, 20:05.
        ("5mo", (2026, 8, 1), (2027, 1, 1)),
        ("2d", (2026, 8, 12), (2026, 8, 14)),
        ("5d", (2026, 8, 10), (2026, 8, 15)),
        ("2w", (2026, 8, 10), (2026, 8, 24)),
        ("45d", (2026, 8, 10), (2026, 9, 24)),
        ("30h", (2026, 8, 12, 2), (2026, 8, 13, 8)),
        ("48h", (2026, 8, 10, 20), (2026, 8, 12, 20)),
        ("75m", (2026, 8, 12, 17), (2026, 8, 12, 18, 15)),
    ],
)
def test_windows_in_utc(duration: str, start: tuple[int, ...], end: tuple[int, ...]) -> None:
    """The table of the module's docstring, for Wednesday 12 August 2026, 17:35, in a zone whose clock nobody moves."""
    window = Window(duration=duration, zone=UTC, anchor=ms(2026, 8, 10, 20, 5))

    assert (ms(*start), ms(*end)) == window.bounds(ms(2026, 8, 12, 17, 35, 59, 999_000))


@pytest.mark.parametrize(
    ("name", "duration", "at", "start", "end"),
    [
        ("Europe/Berlin", "1d", (2026, 3, 29, 12), "2026-03-29 00:00+0100", "2026-03-30 00:00+0200"),
        ("Europe/Berlin", "1d", (2026, 10, 25, 12), "2026-10-25 00:00+0200", "2026-10-26 00:00+0100"),
        ("Europe/Berlin", "7d", (2026, 10, 25, 23, 59), "2026-10-19 00:00+0200", "2026-10-26 00:00+0100"),
        ("Europe/Berlin", "1mo", (2026, 3, 31, 23, 59), "2026-03-01 00:00+0100", "2026-04-01 00:00+0200"),
        ("Europe/Berlin", "12h", (2026, 10, 25, 1), "2026-10-25 00:00+0200", "2026-10-25 12:00+0100"),
        ("Europe/Berlin", "1h", (2026, 10, 25, 2, 40), "2026-10-25 02:00+0200", "2026-10-25 02:00+0100"),
        ("Europe/Berlin", "1h", (2026, 3, 29, 1, 59), "2026-03-29 01:00+0100", "2026-03-29 03:00+0200"),
        ("America/Sao_Paulo", "1d", (2018, 11, 4, 12), "2018-11-04 01:00-0200", "2018-11-05 00:00-0200"),
        ("America/Sao_Paulo", "1d", (2018, 2, 17, 23, 30), "2018-02-17 00:00-0200", "2018-02-18 00:00-0300"),
        ("America/Havana", "1d", (2026, 11, 1, 0, 30), "2026-11-01 00:00-0400", "2026-11-02 00:00-0500"),
        ("America/Havana", "1mo", (2026, 11, 9), "2026-11-01 00:00-0400", "2026-12-01 00:00-0500"),
        ("Pacific/Apia", "1d", (2011, 12, 29, 12), "2011-12-29 00:00-1000", "2011-12-31 00:00+1400"),
        ("Pacific/Apia", "1d", (2011, 12, 31, 12), "2011-12-31 00:00+1400", "2012-01-01 00:00+1400"),
        ("Australia/Lord_Howe", "1h", (2026, 10, 4, 2, 40), "2026-10-04 02:30+1100", "2026-10-04 03:00+1100"),
        ("Australia/Lord_Howe", "1h", (2026, 4, 5, 1, 40), "2026-04-05 01:00+1100", "2026-04-05 01:30+1030"),
        ("Australia/Lord_Howe", "1d", (2026, 4, 5, 12), "2026-04-05 00:00+1100", "2026-04-06 00:00+1030"),
        ("Asia/Kathmandu", "1h", (2026, 4, 5, 1, 40), "2026-04-05 01:00+0545", "2026-04-05 02:00+0545"),
        ("Asia/Kathmandu", "1mo", (2026, 4, 5, 1, 40), "2026-04-01 00:00+0545", "2026-05-01 00:00+0545"),
        ("America/New_York", "12mo", (2026, 6, 1), "2026-01-01 00:00-0500", "2027-01-01 00:00-0500"),
    ],
)
def test_windows_of_clocks_that_are_moved(name: str, duration: str, at: tuple[int, ...], start: str, end: str) -> None:
    """Days of 23 and 25 hours, midnights that come never or twice, a day that never was, half hours, odd offsets."""
    window = Window(duration=duration, zone=zone(name))

    assert (start, end) == told(window, ms(*at, name=name))


def test_both_halves_of_a_day_lived_partly_twice_are_one_window() -> None:
    """In St. John's the clock went back at 00:01 to 23:01: the new day's window had begun, and no other one opens."""
    window = Window(duration="1d", zone=zone("America/St_Johns"))
    again = ms(2010, 11, 6, 23, 30, name="America/St_Johns", fold=1)

    assert datetime(2010, 11, 6, 23, 30) == shown(again, window.zone)
    assert ("2010-11-07 00:00-0230", "2010-11-08 00:00-0330") == told(window, again)


def test_days_counted_from_the_anchor_follow_the_local_midnight() -> None:
    """Over the change to summer time five days are 119 hours, and the anchor's own day begins at its midnight."""
    window = Window(duration="5d", zone=zone("Europe/Berlin"), anchor=ms(2026, 3, 26, 15, name="Europe/Berlin"))

    assert ("2026-03-26 00:00+0100", "2026-03-31 00:00+0200") == told(window, window.anchor)
    assert ("2026-03-21 00:00+0100", "2026-03-26 00:00+0100") == told(window, ms(2026, 3, 25, 22))


def test_fixed_offsets_are_zones_too() -> None:
    """A zone need not have a name."""
    window = Window(duration="1d", zone=timezone(timedelta(hours=-3, minutes=-30)))

    assert (ms(2026, 1, 1, 3, 30), ms(2026, 1, 2, 3, 30)) == window.bounds(ms(2026, 1, 2))


def test_an_odd_offset_of_the_past_rounds_up_to_a_quarter_hour() -> None:
    """In 1890 Berlin was 53 minutes and 28 seconds ahead; midnight lay within a quarter-hour, which is not divided."""
    window = Window(duration="1d", zone=zone("Europe/Berlin"))
    noon = ms(1890, 6, 1, 12)

    assert (ms(1890, 5, 31, 23, 15), ms(1890, 6, 1, 23, 15)) == window.bounds(noon)


@pytest.mark.parametrize(("name", "year"), ODD)
def test_a_year_of_windows_agrees_with_the_clock(name: str, year: int) -> None:
    """Each window of the year begins where the local clock, read every quarter-hour, first shows the next one."""
    first, last, anchor = ms(year, 1, 1), ms(year + 1, 1, 1) + 2 * DAY_MS, ms(year, 5, 5, 5, 5)
    where = zone(name)
    parts = begins("3h", readings(where, first, last), shown(anchor, where), anchor)
    for duration in ("3h", "12h", "1d", "5d", "7d", "1mo", "3mo", "5mo"):
        # Longer windows begin where a part of a day does.
        found = begins(duration, parts, shown(anchor, where), anchor)
        window = Window(duration=duration, zone=where, anchor=anchor)

        assert [at for at, _, _ in found] == chain(window, parts[0][0], last)


@pytest.mark.parametrize(("name", "year"), ODD)
def test_hours_around_a_moved_clock_agree_with_it(name: str, year: int) -> None:
    """Parts of the hour end where the clock shows it, and where it is moved."""
    where = zone(name)
    days = range(ms(year, 1, 1), ms(year + 1, 1, 1), DAY_MS)
    moved = [day for day in days if ms_of(shown(day + DAY_MS, where)) - ms_of(shown(day, where)) != DAY_MS]
    for day in moved or [days[0]]:
        for duration in ("15m", "30m", "1h"):
            found = begins(duration, readings(where, day - DAY_MS, day + 2 * DAY_MS), datetime.min, 0)
            window = Window(duration=duration, zone=where)

            assert [at for at, _, _ in found] == chain(window, day - DAY_MS, day + 2 * DAY_MS)


ZONES = st.one_of(st.sampled_from([name for name, _ in ODD]), st.sampled_from(sorted(available_timezones()))).map(zone)
INSTANTS = st.integers(ms(2000, 1, 1), ms(2040, 1, 1))
DURATIONS = st.sampled_from([*LABELS, *PARTS_OF_HOUR, *ELAPSED])
LENGTH_DAYS = {"5mo": 160, "12mo": 370, "3mo": 95, "30d": 33, "1mo": 33, "2w": 16}


@settings(deadline=None)
@given(DURATIONS, ZONES, INSTANTS, INSTANTS)
def test_any_window_agrees_with_the_clock(duration: str, where: tzinfo, at: int, anchor: int) -> None:
    """In any zone, a window lies between the begins around it that reading the local clock finds."""
    reach = LENGTH_DAYS.get(duration, 10) * DAY_MS
    quarter = at - at % QUARTER_MS
    read = readings(where, quarter - reach, quarter + reach)
    found = [begin for begin, _, _ in begins(duration, read, shown(anchor, where), anchor)]

    start, end = Window(duration=duration, zone=where, anchor=anchor).bounds(at)

    assert max(begin for begin in found if begin <= at) == start
    assert min(begin for begin in found if begin > at) == end


@settings(deadline=None)
@given(
    st.sampled_from([*LABELS, *PARTS_OF_HOUR, *ELAPSED, "1200mo", "36525d", "7mo", "5h"]),
    ZONES,
    st.integers(ms(1850, 1, 1), ms(9000, 1, 1)),
    st.integers(ms(1850, 1, 1), ms(9000, 1, 1)),
)
@example("1d", ZoneInfo("Pacific/Kwajalein"), ms(1969, 9, 30, 12), 0)  # lived a day twice
@example("1d", ZoneInfo("America/Juneau"), ms(1867, 10, 19), 0)  # so did it, when it was sold
@example("7d", ZoneInfo("Asia/Manila"), ms(1844, 12, 31, 20), 0)  # had no 31 December 1844
def test_windows_follow_each_other(duration: str, where: tzinfo, at: int, anchor: int) -> None:
    """Whatever the zone, the century and the anchor: a window holds its moment, is made of whole quarter-hours, is the
    same from its first to its last ms, and begins where the one before ends.
    """
    window = Window(duration=duration, zone=where, anchor=anchor)
    start, end = window.bounds(at)

    assert start <= at < end
    assert (0, 0) == (start % QUARTER_MS, end % QUARTER_MS)
    assert [(start, end)] * 2 == [window.bounds(start), window.bounds(end - 1)]
    assert start == window.bounds(start - 1)[1]
    assert end == window.bounds(end)[0]


@settings(deadline=None)
@given(st.sampled_from(["1d", "5d", "7d", "1mo", "12h", "1h"]), ZONES, st.integers(ms(1980, 2, 1), ms(2040, 1, 1)))
def test_windows_begin_on_the_local_clock(duration: str, where: tzinfo, at: int) -> None:
    """Since 1980, unless the clock is moved just then, a window begins at a full local hour, a day at its midnight."""
    start, _ = Window(duration=duration, zone=where, anchor=ms(2026, 1, 1)).bounds(at)
    local, before = shown(start, where), shown(start - QUARTER_MS, where)
    if local - before == timedelta(minutes=15):
        assert 0 == local.minute
        assert "h" in duration or 0 == local.hour


@pytest.mark.parametrize(
    ("duration", "at", "start"),
    [
        ("15m", (2026, 8, 12, 17, 35), (2026, 8, 12, 17, 15)),
        ("30h", (2026, 8, 12, 17, 35), (2026, 8, 11, 11, 30)),
        ("1d", (2026, 8, 12, 17, 35), (2026, 8, 11, 17, 30)),
        ("1d", (2026, 8, 12, 17, 30), (2026, 8, 11, 17, 30)),
        ("7d", (2026, 8, 12, 17, 35), (2026, 8, 5, 17, 30)),
        ("30d", (2026, 8, 12, 17, 35), (2026, 7, 13, 17, 30)),
        ("1mo", (2026, 8, 12, 17, 35), (2026, 7, 12, 17, 30)),
        ("3mo", (2026, 2, 12, 17, 35), (2025, 11, 12, 17, 30)),
        ("12mo", (2026, 2, 12, 17, 35), (2025, 2, 12, 17, 30)),
        ("1mo", (2026, 3, 28, 10, 7), (2026, 2, 28, 10)),
        ("1mo", (2026, 3, 29, 10, 7), (2026, 3, 1)),
        ("1mo", (2026, 3, 31, 23, 59), (2026, 3, 1)),
        ("1mo", (2026, 4, 1, 0, 14), (2026, 3, 1)),
        ("12mo", (2028, 2, 29, 12), (2027, 3, 1)),
    ],
)
def test_sliding_windows(duration: str, at: tuple[int, ...], start: tuple[int, ...]) -> None:
    """They reach back by the duration from the running quarter-hour; what day a month lacks stands for its end."""
    window = Window(duration=duration, zone=zone("Asia/Kathmandu"), sliding=True)
    moment = ms(*at)

    assert (ms(*start), moment - moment % QUARTER_MS + QUARTER_MS) == window.bounds(moment)


@settings(deadline=None)
@given(st.sampled_from(["15m", "1h", "12h", "5d", "30d", "1mo", "3mo", "5mo"]), INSTANTS, st.integers(0, 40 * DAY_MS))
def test_sliding_windows_only_move_on(duration: str, at: int, later: int) -> None:
    """A quarter-hour counts until all of it is longer ago than the duration; once out, it never counts again."""
    window = Window(duration=duration, zone=UTC, sliding=True)
    start, end = window.bounds(at)

    assert (0, 0, True) == (start % QUARTER_MS, end % QUARTER_MS, start <= at < end)
    assert (start, end) == window.bounds(end - 1)
    assert end + QUARTER_MS == window.bounds(end)[1]
    assert (start, end) <= window.bounds(at + later)
    assert start <= window.bounds(at + later)[0]
    if duration not in ("1mo", "3mo", "5mo"):
        length = after(duration, 0)

        assert start <= at - length < start + QUARTER_MS


@pytest.mark.parametrize(
    ("text", "begin", "end"),
    [
        ("30s", (2026, 1, 31, 10, 20, 30), (2026, 1, 31, 10, 21)),
        ("10m", (2026, 1, 31, 10, 20, 30), (2026, 1, 31, 10, 30, 30)),
        ("30h", (2026, 1, 31, 10), (2026, 2, 1, 16)),
        ("30d", (2026, 1, 31, 10), (2026, 3, 2, 10)),
        ("2w", (2026, 1, 31, 10), (2026, 2, 14, 10)),
        ("1mo", (2026, 1, 15, 10, 20, 30), (2026, 2, 15, 10, 20, 30)),
        ("1mo", (2026, 1, 31, 10), (2026, 2, 28, 10)),
        ("1mo", (2024, 1, 31, 10), (2024, 2, 29, 10)),
        ("1mo", (2026, 12, 31), (2027, 1, 31)),
        ("12mo", (2024, 2, 29), (2025, 2, 28)),
        ("13mo", (2026, 11, 30, 1), (2027, 12, 30, 1)),
        ("daily", (2026, 1, 31), (2026, 2, 1)),
        ("monthly", (2026, 1, 31), (2026, 3, 2)),
    ],
)
def test_lifetimes(text: str, begin: tuple[int, ...], end: tuple[int, ...]) -> None:
    """A key lives for any length of time; months are the calendar's, days have 24 hours."""
    assert ms(*end) == after(text, ms(*begin))
    assert ms(*end) + 7 == after(text, ms(*begin) + 7)


@settings(deadline=None)
@given(st.integers(1, 1200), st.integers(1, 1200), INSTANTS)
def test_a_longer_life_ends_later(months: int, more: int, begin: int) -> None:
    """Each month more puts the end off, by 27 days at least, and keeps the time of day."""
    end = after(f"{months}mo", begin)

    assert 27 * DAY_MS * more < after(f"{months + more}mo", begin) - end if months + more <= 1200 else True
    assert begin % DAY_MS == end % DAY_MS


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("Europe/Berlinn", "Near it: Europe/Berlin,"),
        ("europe/berlin", "Near it: Europe/Berlin."),
        ("berlin", "Near it: Europe/Berlin."),
        ("new york", "Near it: America/New_York."),
        ("Asia/Calcuta", "Near it: Asia/Calcutta"),
        ("America", "Near it: America/"),
        ("nowhere at all", "Write an IANA name: UTC, Europe/Berlin"),
        ("", "Write an IANA name"),
        ("../../etc/passwd", "Write an IANA name"),
        ("/etc/hosts", "Write an IANA name"),
        ("zone.tab", "Write an IANA name"),
        ("a\0b", "Write an IANA name"),
        ("\udc80", "Write an IANA name"),
        ("x" * 10_000, "Write an IANA name"),
    ],
)
def test_an_unknown_zone_is_named_with_its_neighbours(name: str, near: str) -> None:
    """Misspelt names, cities alone, folders, paths and long texts: always one error, which says what to write."""
    with pytest.raises(ValueError, match="There is no time zone") as raised:
        zone(name)

    assert near in str(raised.value)
    assert len(str(raised.value)) < 300


def test_zones_need_none_of_the_machine() -> None:
    """Where the machine has no zone files, as slim images have none, the tzdata package has them."""
    code = "from bedrock_gateway.access.windows import zone; print(zone('Europe/Berlin'))"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONTZPATH": ""}, capture_output=True, text=True, timeout=30
    )

    assert ("Europe/Berlin\n", "", 0) == (done.stdout, done.stderr, done.returncode)


@pytest.mark.parametrize("duration", ["15m", "1h", "36h", "1d", "5d", "30d", "1mo", "3mo"])
@settings(deadline=None)
@given(quarter=st.integers(1_500_000, 2_100_000))
def test_when_a_quarter_hour_leaves_a_sliding_window(duration: str, quarter: int) -> None:
    """It counts up to the last millisecond before, and never again."""
    window = Window(duration=duration, zone=UTC, sliding=True)
    begin = quarter * QUARTER_MS
    leaves = window.leaves(begin)

    assert 0 == leaves % QUARTER_MS
    assert window.bounds(leaves - 1)[0] <= begin < window.bounds(leaves)[0]
