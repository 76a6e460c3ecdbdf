"""The spend report for people: which columns, which words, which notes. Knows sums and calls; knows no SQL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from bedrock_gateway.cli.amounts import aligned, iso, rounded
from bedrock_gateway.cli.spend_singles import UNKNOWN_NAME, print_attempts, print_calls
from bedrock_gateway.cli.terminal import BOLD, CYAN, GAP, Column, Terminal
from bedrock_gateway.store.attempt_lines import AttemptLine
from bedrock_gateway.store.call_lines import CallLine
from bedrock_gateway.store.periods import Period
from bedrock_gateway.store.reports import SpendLine
from bedrock_gateway.store.sums import INEXACT, UNKNOWN, Sums, sum_of

__all__ = ["print_report"]

_BAR_WIDTH = 20
#: Of a line that goes to a file or a pipe; only the bars are cut to it.
_PIPE_WIDTH = 120
_MEANING = {
    "open": "sent, not settled yet",
    "interrupted": "the gateway died before they ended; spend unknown",
    "unmetered": "AWS told no usage; spend unknown",
    "unpriced": "no price is known for their model",
    "estimated": "spend estimated: AWS did not tell all of it, or the stream ended early",
    "incomplete": "AWS bills more than it tells; spend is the part it told",
}
_HEADING = {"day": "day (UTC)", "hour": "hour (UTC)", "end-user": "end user"}
#: What calls without a value go by, where that does not hang on whether something was sent.
_BLANK = {
    "model-group": "(no group)",
    "caller": UNKNOWN_NAME,
    "key": UNKNOWN_NAME,
    "operation": UNKNOWN_NAME,
    "user": "(no user)",
    "team": "(no team)",
}
#: What a report by labels leaves out, or has twice.
_ABOUT = {
    "tag": "A call counts with each of its tags, so there is no total; calls without tags are not in this report.",
    "end-user": "Calls made for nobody in particular are not in this report.",
}


def print_report(
    terminal: Terminal,
    lines: Sequence[SpendLine | CallLine | AttemptLine],
    by: str,
    period: Period,
    limits: Sequence[str] = (),
    most: int | None = None,
) -> None:
    """Print the heading, the lines, and what is to be known about them.

    Args:
        limits: what the report is limited to, in words.
        most: lines shown one by one; further ones are summed up in one.
    """
    span = " ".join(
        f"{word} {str(iso(at))[:16].replace('T', ' ')}"
        for word, at in (("since", period.since), ("until", period.until))
        if at is not None
    )
    only = f" of {', '.join(limits)}" if limits else ""
    terminal.line(terminal.style(BOLD, f"Spend by {by}") + terminal.word(only) + (f" {span} UTC" if span else ""))
    terminal.line()
    sums = [line for line in lines if isinstance(line, SpendLine)]
    if not lines:
        terminal.line(
            "Nothing was booked in this time." if span else f"Nothing has been booked{only and ' of that'} yet."
        )
    elif sums:
        _print_sums(terminal, sums, by, most)
    else:
        print_calls(terminal, [line for line in lines if isinstance(line, CallLine)])
        print_attempts(terminal, [line for line in lines if isinstance(line, AttemptLine)])


def _print_sums(terminal: Terminal, lines: list[SpendLine], by: str, most: int | None) -> None:
    # Callers pay for charged attempts; AWS is paid for all that a deployment did.
    of_all = by == "deployment"
    names = _names(terminal, lines, by)
    rows = [line.sums for line in lines]
    whole = sum_of(rows)
    if most is not None and len(rows) > most:
        rows, rest = rows[:most], rows[most:]
        names = [*names[:most], f"({len(rest):,} more)"]
        rows.append(sum_of(rest))
    spends = [sums.spend_all if of_all else sums.spend for sums in rows]
    amounts, total = aligned(
        [_at_least(spend, sums) for spend, sums in zip(spends, rows, strict=True)],
        _at_least(whole.spend_all if of_all else whole.spend, whole),
    )
    totals = by != "tag"
    regions = [terminal.word(line.region) for line in lines[: len(rows)]] + [""] * (len(rows) - len(lines))
    columns = [
        Column(heading=_HEADING.get(by, by), cells=names, foot="total" if totals else "", left=True, least=16),
        Column(heading="region", cells=regions, left=True, spare=3),
        _numbers("calls", [sums.calls for sums in rows], totals, spare=1),
        _numbers("input", [sums.input for sums in rows], totals),
        _numbers("output", [sums.output for sums in rows], totals),
        _numbers("cached", [sums.cache_read + sums.cache_write for sums in rows], totals, spare=2),
        _numbers("images", [sums.images for sums in rows], totals, spare=2),
        Column(heading="USD", cells=amounts, foot=total if totals else ""),
    ]
    # What nothing can be said of needs no column.
    empty = {"region": not any(regions), "images": not whole.images}
    columns = [column for column in columns if not empty.get(column.heading)]
    if most is not None and len(lines) > most:
        spends[-1] = 0  # a bar for many together would leave nothing of those beside it
    terminal.table(columns, _bars(terminal, columns, spends))
    _print_notes(terminal, whole, by)


def _names(terminal: Terminal, lines: list[SpendLine], by: str) -> list[str]:
    """Return what each line is of; those of one name and region are told apart by their ids."""
    twins = Counter((line.label, line.region) for line in lines)
    names = []
    for line in lines:
        name = line.label or line.name
        if not line.name:
            name = _BLANK.get(by) or ("(no model)" if line.sums.attempts else "(nothing sent)")
        elif line.label and twins[line.label, line.region] > 1:
            name = f"{name} ({line.name})"
        names.append(terminal.word(name))
    return names


def _numbers(heading: str, numbers: list[int], totals: bool, spare: int = 0) -> Column:
    foot = f"{sum(numbers):,}" if totals else ""
    return Column(heading=heading, cells=[f"{number:,}" for number in numbers], foot=foot, spare=spare)


def _bars(terminal: Terminal, columns: list[Column], spends: list[int]) -> list[str]:
    """Return a bar for each spend, in the room the columns leave."""
    _, widths = terminal.fit(columns)
    room = (terminal.width or _PIPE_WIDTH) - sum(widths) - len(GAP) * len(widths)
    longest, most = min(_BAR_WIDTH, max(room, 0)), max(spends)
    piece = "█" if terminal.can("█") else "#"
    # Something that cost anything has a bar, however short.
    return [terminal.style(CYAN, piece * (-(-spend * longest // most) if most > 0 else 0)) for spend in spends]


def _print_notes(terminal: Terminal, whole: Sums, by: str) -> None:
    if by in _ABOUT:
        terminal.line()
        terminal.line(_ABOUT[by])
    counts = {str(state): f"{count:,} {state}" for state in INEXACT if (count := whole.states.get(str(state)))}
    if counts:
        terminal.line()
        terminal.line("Not exact:")
        width = max(map(len, counts.values()))
        for state, text in counts.items():
            terminal.line(f"  {text.ljust(width)}  {_MEANING[state]}")
        if whole.at_most:
            # The bound is of charged attempts, as far as one was known.
            terminal.line(f"  What is unknown (+) is at most {rounded(whole.at_most)} USD, as far as bounded.")
    uncharged = whole.spend_all - whole.spend
    if uncharged:
        of_all = by == "deployment"
        words = "of this is not charged to callers" if of_all else "more was spent upstream and not charged to callers"
        terminal.line()
        terminal.line(f"{rounded(uncharged)} USD {words} (attempts that failed over).")


def _at_least(nano: int, sums: Sums) -> str:
    """Return USD for reading, marked where more was spent than is known."""
    if not any(sums.states.get(str(state)) for state in UNKNOWN):
        return rounded(nano)
    return f"{rounded(nano)}+" if nano else "unknown"
