"""The spend report for people: which columns, which words, which notes. Knows sums and calls; knows no SQL."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from bedrock_gateway.cli.amounts import iso, rounded
from bedrock_gateway.cli.terminal import BOLD, CYAN, GAP, Column, Terminal
from bedrock_gateway.store.reports import AMBIENT, INEXACT, CallLine, Period, SpendLine

__all__ = ["print_report"]

_BAR_WIDTH = 20
#: Of a line that goes to a file or a pipe; only the bars are cut to it.
_PIPE_WIDTH = 120
_UNKNOWN = ("open", "interrupted", "unmetered", "unpriced")
_MEANING = {
    "open": "sent, not settled yet",
    "interrupted": "the gateway died before they ended; spend unknown",
    "unmetered": "AWS told no usage; spend unknown",
    "unpriced": "no price is known for their model",
    "estimated": "spend estimated: the stream ended early",
    "incomplete": "AWS bills more than it tells; spend is the part it told",
}
_HEADING = {"day": "day (UTC)", "hour": "hour (UTC)"}
#: What calls without a value go by, where that does not hang on whether something was sent.
_BLANK = {"model-group": "(no group)", "caller": "(unknown)", "operation": "(unknown)"}


def print_report(terminal: Terminal, lines: Sequence[SpendLine | CallLine], by: str, period: Period) -> None:
    """Print the heading, the lines, and what is to be known about them."""
    span = " ".join(
        f"{word} {str(iso(at))[:16].replace('T', ' ')}"
        for word, at in (("since", period.since), ("until", period.until))
        if at is not None
    )
    terminal.line(terminal.style(BOLD, f"Spend by {by}") + (f" {span} UTC" if span else ""))
    terminal.line()
    sums = [line for line in lines if isinstance(line, SpendLine)]
    if not lines:
        terminal.line("Nothing was booked in this time." if span else "Nothing has been booked yet.")
    elif sums:
        _print_sums(terminal, sums, by)
    else:
        _print_calls(terminal, [line for line in lines if isinstance(line, CallLine)])


def _print_sums(terminal: Terminal, lines: list[SpendLine], by: str) -> None:
    # Callers pay for charged attempts; AWS is paid for all that a deployment did.
    of_all = by == "deployment"
    spends = [line.spend_all if of_all else line.spend for line in lines]
    amounts, total = _aligned(
        [_at_least(spend, line) for spend, line in zip(spends, lines, strict=True)], _at_least(sum(spends), *lines)
    )
    columns = [
        Column(heading=_HEADING.get(by, by), cells=_names(terminal, lines, by), foot="total", left=True, least=16),
        Column(heading="region", cells=[terminal.word(line.region) for line in lines], left=True, spare=3),
        _numbers("calls", [line.calls for line in lines], spare=1),
        _numbers("input", [line.input for line in lines]),
        _numbers("output", [line.output for line in lines]),
        _numbers("cached", [line.cache_read + line.cache_write for line in lines], spare=2),
        _numbers("images", [line.images for line in lines], spare=2),
        Column(heading="USD", cells=amounts, foot=total),
    ]
    # What nothing can be said of needs no column.
    empty = {"region": not any(line.region for line in lines), "images": not any(line.images for line in lines)}
    columns = [column for column in columns if not empty.get(column.heading)]
    terminal.table(columns, _bars(terminal, columns, spends))
    _print_notes(terminal, lines, of_all)


def _names(terminal: Terminal, lines: list[SpendLine], by: str) -> list[str]:
    """Return what each line is of; deployments of one name and region are told apart by their ids."""
    twins = Counter((line.deployment_name, line.region) for line in lines)
    names = []
    for line in lines:
        name = line.deployment_name or line.name
        if not line.name:
            name = _BLANK.get(by) or ("(no model)" if line.attempts else "(nothing sent)")
        elif line.deployment_name and twins[line.deployment_name, line.region] > 1:
            name = f"{name} ({line.name})"
        names.append(terminal.word(name))
    return names


def _numbers(heading: str, numbers: list[int], spare: int = 0) -> Column:
    return Column(heading=heading, cells=[f"{number:,}" for number in numbers], foot=f"{sum(numbers):,}", spare=spare)


def _bars(terminal: Terminal, columns: list[Column], spends: list[int]) -> list[str]:
    """Return a bar for each spend, in the room the columns leave."""
    _, widths = terminal.fit(columns)
    room = (terminal.width or _PIPE_WIDTH) - sum(widths) - len(GAP) * len(widths)
    longest, most = min(_BAR_WIDTH, max(room, 0)), max(spends)
    piece = "█" if terminal.can("█") else "#"
    # Something that cost anything has a bar, however short.
    return [terminal.style(CYAN, piece * (-(-spend * longest // most) if most > 0 else 0)) for spend in spends]


def _print_notes(terminal: Terminal, lines: list[SpendLine], of_all: bool) -> None:
    states: Counter[str] = Counter()
    for line in lines:
        states.update(line.states)
    counts = {str(state): f"{states[str(state)]:,} {state}" for state in INEXACT if states[str(state)]}
    if counts:
        terminal.line()
        terminal.line("Not exact:")
        width = max(map(len, counts.values()))
        for state, count in counts.items():
            terminal.line(f"  {count.ljust(width)}  {_MEANING[state]}")
        at_most = sum(line.at_most for line in lines)
        if at_most:
            # The bound is of charged attempts, as far as one was known.
            terminal.line(f"  What is unknown (+) is at most {rounded(at_most)} USD, as far as bounded.")
    uncharged = sum(line.spend_all - line.spend for line in lines)
    if uncharged:
        words = "of this is not charged to callers" if of_all else "more was spent upstream and not charged to callers"
        terminal.line()
        terminal.line(f"{rounded(uncharged)} USD {words} (attempts that failed over).")


def _print_calls(terminal: Terminal, lines: list[CallLine]) -> None:
    times = [str(iso(line.started_at))[:19].replace("T", " ") for line in lines]
    if len({time[:4] for time in times}) == 1:
        times = [time[5:] for time in times]
    amounts, _ = _aligned(["unknown" if line.spend is None else rounded(line.spend) for line in lines])
    terminal.table(
        [
            Column(heading="time (UTC)", cells=times, left=True),
            Column(heading="call", cells=[line.call for line in lines], left=True, spare=4),
            Column(
                heading="caller",
                cells=[terminal.word(line.caller) or _BLANK["caller"] for line in lines],
                left=True,
                least=8,
                spare=2,
            ),
            Column(heading="model", cells=[_model(terminal, line) for line in lines], left=True, least=14),
            Column(
                heading="deployment",
                cells=[_deployment(terminal, line) for line in lines],
                left=True,
                least=12,
                spare=3,
            ),
            Column(heading="state", cells=[line.state for line in lines], left=True),
            Column(heading="answer", cells=[_answer(terminal, line) for line in lines], left=True, least=12),
            _tokens("input", [line.input + line.cache_read + line.cache_write for line in lines]),
            _tokens("output", [line.output for line in lines]),
            Column(heading="USD", cells=amounts),
        ]
    )


def _tokens(heading: str, numbers: list[int]) -> Column:
    return Column(heading=heading, cells=[f"{number:,}" for number in numbers], spare=1)


def _model(terminal: Terminal, line: CallLine) -> str:
    """Return the name that was asked for: the model group, for a raw id the model."""
    return terminal.word(line.model_group or line.model) or ("(no model)" if line.attempts else "(nothing sent)")


def _deployment(terminal: Terminal, line: CallLine) -> str:
    """Return what the deployment is called; the model of an ambient one stands beside it already."""
    name = line.deployment_name
    return terminal.word(AMBIENT if not line.model_group and name == f"{AMBIENT}: {line.model}" else name) or "-"


def _answer(terminal: Terminal, line: CallLine) -> str:
    """Return what the caller was answered: the status, with the error where there was one."""
    status = "-" if line.status is None else "left" if line.status == 0 else str(line.status)
    return f"{status} {terminal.word(line.error_type)}" if line.error_type else status


def _at_least(nano: int, *lines: SpendLine) -> str:
    """Return USD for reading, marked where more was spent than is known."""
    if not any(line.states.get(state) for line in lines for state in _UNKNOWN):
        return rounded(nano)
    return f"{rounded(nano)}+" if nano else "unknown"


def _aligned(amounts: list[str], total: str = "") -> tuple[list[str], str]:
    """Bring the decimal points of amounts under each other."""
    places = max((len(text.partition(".")[2]) for text in (*amounts, total) if "." in text), default=0)
    padded = [
        text + " " * (places - len(text.partition(".")[2])) if "." in text else text for text in (*amounts, total)
    ]
    return padded[:-1], padded[-1]
