"""``bedrock-gateway spend``: what was spent, as a table, JSON or CSV. Knows layout and options; sums come from the
store.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import attrs

from bedrock_gateway.errors import StartError
from bedrock_gateway.store.location import resolve_database
from bedrock_gateway.store.reports import (
    DIMENSIONS,
    INEXACT,
    CallLine,
    Period,
    SpendLine,
    calls,
    open_ledger,
    parse_time,
    spend_by,
)

__all__ = ["add_parser", "run"]

_NANO = 1_000_000_000
_BAR_WIDTH = 20
_NAME_WIDTH = 60
_DIM, _BOLD, _CYAN, _PLAIN = "\x1b[2m", "\x1b[1m", "\x1b[36m", "\x1b[0m"
_UNKNOWN = ("open", "interrupted", "unmetered", "unpriced")
_MEANING = {
    "open": "sent, not settled yet",
    "interrupted": "the gateway died before they ended; spend unknown",
    "unmetered": "AWS told no usage; spend unknown",
    "unpriced": "no price is known for their model",
    "estimated": "spend estimated: the stream ended early",
    "incomplete": "AWS bills more than it tells; spend is the part it told",
}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser("spend", help="what was spent, by model, caller, day and more")
    parser.add_argument("--by", choices=[*DIMENSIONS, "call"], default="model", help="what to sum by (default: model)")
    parser.add_argument("--since", metavar="TIME", help="from: 90m, 24h, 7d, 2w ago, a date, or an ISO time (UTC)")
    parser.add_argument("--until", metavar="TIME", help="up to, written the same way")
    parser.add_argument("--limit", type=_positive, default=50, help="most calls shown with --by call (default: 50)")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="JSON, exact to the nano-dollar")
    form.add_argument("--csv", action="store_true", help="CSV, exact to the nano-dollar")
    parser.add_argument(
        "--database", metavar="URL", help="sqlite:////path or a path (default: DATABASE_URL, else the default)"
    )
    parser.add_argument("--simulate", action="store_true", help="the ledger of simulated runs")
    parser.set_defaults(run=run)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


def run(args: argparse.Namespace) -> int:
    """Print the report.

    Raises:
        StartError: there is nothing to report from, or a time is none.
        BrokenPipeError: whoever read the report has gone.
    """
    now_ms = time.time_ns() // 1_000_000
    period = Period(since=_time(args.since, "--since", now_ms), until=_time(args.until, "--until", now_ms))
    path = resolve_database(args.database, os.environ, Path.home(), simulated=args.simulate)
    with open_ledger(path) as connection:
        lines: Sequence[SpendLine | CallLine]
        lines = calls(connection, period, args.limit) if args.by == "call" else spend_by(connection, args.by, period)
    _print(args, lines, period)
    # Here and not at exit: a pipe closed early is the caller's to handle.
    sys.stdout.flush()
    return 0


def _time(text: str | None, option: str, now_ms: int) -> int | None:
    try:
        return None if text is None else parse_time(text, now_ms)
    except ValueError as error:
        raise StartError(f"{option}: {error}") from None


def _print(args: argparse.Namespace, lines: Sequence[SpendLine | CallLine], period: Period) -> None:
    if args.json:
        print(json.dumps({"by": args.by, "since": _iso(period.since), "until": _iso(period.until),
                          "lines": [_fields(line, args.by) for line in lines]}, indent=2))  # fmt: skip
    elif args.csv:
        _print_csv(lines, args.by)
    else:
        _Table(sys.stdout).print(lines, args.by, period)


def _print_csv(lines: Sequence[SpendLine | CallLine], by: str) -> None:
    rows = [_flat(_fields(line, by)) for line in lines]
    kind: Any = CallLine if by == "call" else SpendLine
    # The header is the same when nothing was booked.
    blank = kind(**{field.name: {} if field.name == "states" else None for field in attrs.fields(kind)})
    names = list(_flat(_fields(blank, by)))
    writer = csv.DictWriter(sys.stdout, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _flat(fields: dict[str, Any]) -> dict[str, Any]:
    states = fields.pop("states", None)
    if states is not None:
        fields.update({str(state): states.get(str(state), 0) for state in INEXACT})
    # A cell that begins like a formula would be run by a spreadsheet; names come from callers.
    return {
        name: f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
        for name, value in fields.items()
    }


def _fields(line: SpendLine | CallLine, by: str) -> dict[str, Any]:
    """Return a line for machines: spend in nano-USD and, exact as text, in USD."""
    fields: dict[str, Any] = {}
    for name, value in attrs.asdict(line).items():
        if name in ("spend", "spend_all", "at_most"):
            fields[f"{name}_nano_usd"] = value
            fields[f"{name}_usd"] = None if value is None else _exact(value)
        elif name in ("started_at", "ended_at"):
            fields[name] = _iso(value)
        else:
            fields[by.replace("-", "_") if name == "name" else name] = value
    return fields


def _iso(at_ms: int | None) -> str | None:
    if at_ms is None:
        return None
    try:
        return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return str(at_ms)


def _exact(nano: int) -> str:
    """Return USD with all nine places."""
    sign = "-" if nano < 0 else ""
    return f"{sign}{abs(nano) // _NANO}.{abs(nano) % _NANO:09d}"


def _rounded(nano: int) -> str:
    """Return USD for reading: four places from a cent on, below it as many as there are, never a zero for something."""
    if nano >= _NANO // 100:
        rounded = (nano + 50_000) // 100_000
        return f"{rounded // 10_000:,}.{rounded % 10_000:04d}"
    if nano == 0:
        return "0.0000"
    text = _exact(nano).rstrip("0")
    return text.ljust(6, "0")


def _at_least(nano: int, *lines: SpendLine) -> str:
    """Return USD for reading, marked where more was spent than is known."""
    if not any(line.states.get(state) for line in lines for state in _UNKNOWN):
        return _rounded(nano)
    return f"{_rounded(nano)}+" if nano else "unknown"


class _Table:
    """A table for people: aligned, with bars; colours only on a terminal that wants them."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        tty = out.isatty()
        self._colour = tty and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self._width = shutil.get_terminal_size((100, 24)).columns if tty else 120
        self._bar = "█" if "utf" in (out.encoding or "").lower() else "#"

    def print(self, lines: Sequence[SpendLine | CallLine], by: str, period: Period) -> None:
        """Print the heading, the lines, and what is to be known about them."""
        span = " ".join(
            f"{word} {str(_iso(at))[:16].replace('T', ' ')}"
            for word, at in (("since", period.since), ("until", period.until))
            if at is not None
        )
        print(self._style(_BOLD, f"Spend by {by}") + (f" {span} UTC" if span else ""), file=self._out)
        if not lines:
            print("\nNothing was booked in this time.", file=self._out)
            return
        print(file=self._out)
        sums = [line for line in lines if isinstance(line, SpendLine)]
        if sums:
            self._print_sums(sums, by)
        else:
            self._print_calls([line for line in lines if isinstance(line, CallLine)])

    def _print_sums(self, lines: list[SpendLine], by: str) -> None:
        # Callers pay for charged attempts; AWS is paid for all that a deployment did.
        of_all = by == "deployment"
        spends = [line.spend_all if of_all else line.spend for line in lines]
        images = any(line.images for line in lines)
        header = [by, "calls", "input", "output", "cached", *(["images"] if images else []), "USD"]
        rows = [
            [
                _name(line.name),
                *(
                    f"{number:,}"
                    for number in (line.calls, line.input, line.output, line.cache_read + line.cache_write)
                ),
                *([f"{line.images:,}"] if images else []),
                _at_least(spend, line),
            ]
            for line, spend in zip(lines, spends, strict=True)
        ]
        total = ["total"] + [
            f"{sum(numbers):,}"
            for numbers in (
                [line.calls for line in lines],
                [line.input for line in lines],
                [line.output for line in lines],
                [line.cache_read + line.cache_write for line in lines],
                *([[line.images for line in lines]] if images else []),
            )
        ]
        total.append(_at_least(sum(spends), *lines))
        self._print_rows(header, rows, total, spends)
        self._print_notes(lines, of_all)

    def _print_rows(self, header: list[str], rows: list[list[str]], total: list[str], spends: list[int]) -> None:
        widths = [max(len(row[index]) for row in (header, total, *rows)) for index in range(len(header))]
        _align(rows, total, widths)
        room = self._width - sum(widths) - 2 * len(widths)
        most = max(spends)
        print(self._style(_DIM, _join(header, widths)), file=self._out)
        for row, spend in zip(rows, spends, strict=True):
            # Something that cost anything has a bar, however short.
            length = -(-spend * min(_BAR_WIDTH, max(room, 0)) // most) if most > 0 else 0
            bar = self._style(_CYAN, self._bar * length)
            print(f"{_join(row, widths)}  {bar}".rstrip(), file=self._out)
        print(self._style(_BOLD, _join(total, widths).rstrip()), file=self._out)

    def _print_notes(self, lines: list[SpendLine], of_all: bool) -> None:
        states: dict[str, int] = {}
        for line in lines:
            for state, number in line.states.items():
                states[state] = states.get(state, 0) + number
        inexact = [str(state) for state in INEXACT if states.get(str(state))]
        if inexact:
            print("\nNot exact:", file=self._out)
            width = max(len(f"{states[state]:,} {state}") for state in inexact)
            for state in inexact:
                count = f"{states[state]:,} {state}"
                print(f"  {count.ljust(width)}  {_MEANING[state]}", file=self._out)
            at_most = sum(line.at_most for line in lines)
            if at_most:
                # The bound is of charged attempts, as far as one was known.
                print(
                    f"  What is unknown (+) is at most {_rounded(at_most)} USD, as far as bounded.",
                    file=self._out,
                )
        uncharged = sum(line.spend_all - line.spend for line in lines)
        if uncharged:
            words = (
                "of this is not charged to callers" if of_all else "more was spent upstream and not charged to callers"
            )
            print(f"\n{_rounded(uncharged)} USD {words} (attempts that failed over).", file=self._out)

    def _print_calls(self, lines: list[CallLine]) -> None:
        header = ["time (UTC)", "call", "caller", "model group", "state", "status", "input", "output", "USD"]
        rows = [
            [
                str(_iso(line.started_at))[:19].replace("T", " "),
                line.call,
                _name(line.caller),
                _name(line.model_group),
                line.state,
                "-" if line.status is None else str(line.status),
                f"{line.input + line.cache_read + line.cache_write:,}",
                f"{line.output:,}",
                "unknown" if line.spend is None else _rounded(line.spend),
            ]
            for line in lines
        ]
        widths = [max(len(row[index]) for row in (header, *rows)) for index in range(len(header))]
        _align(rows, [""] * len(header), widths)
        print(self._style(_DIM, _join(header, widths, left=6)), file=self._out)
        for row in rows:
            print(_join(row, widths, left=6).rstrip(), file=self._out)

    def _style(self, code: str, text: str) -> str:
        return f"{code}{text}{_PLAIN}" if self._colour and text else text


def _name(name: str) -> str:
    """Return a name that fits and cannot steer a terminal: names are what callers sent."""
    text = "".join(character if character.isprintable() else "?" for character in name) or "(nothing sent)"
    return text if len(text) <= _NAME_WIDTH else f"{text[: _NAME_WIDTH // 2 - 1]}…{text[-_NAME_WIDTH // 2 :]}"


def _align(rows: list[list[str]], total: list[str], widths: list[int]) -> None:
    """Bring the decimal points of the last column under each other."""
    amounts = [row[-1] for row in (*rows, total)]
    places = max((len(text.partition(".")[2]) for text in amounts if "." in text), default=0)
    for row in (*rows, total):
        if "." in row[-1]:
            row[-1] += " " * (places - len(row[-1].partition(".")[2]))
    widths[-1] = max(widths[-1], *(len(row[-1]) for row in (*rows, total)))


def _join(cells: list[str], widths: list[int], left: int = 1) -> str:
    return "  ".join(
        cell.ljust(width) if index < left else cell.rjust(width)
        for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
