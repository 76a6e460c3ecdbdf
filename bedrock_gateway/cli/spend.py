"""``bedrock-gateway spend``: what was spent, as a table, JSON or CSV. Knows options and the forms for machines; sums
come from the store.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from bedrock_gateway.cli.amounts import exact, iso
from bedrock_gateway.cli.configured import read_database_url
from bedrock_gateway.cli.spend_table import print_report
from bedrock_gateway.cli.terminal import Terminal, encodable
from bedrock_gateway.errors import StartError
from bedrock_gateway.store.location import default_database, resolve_database
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
    parser.add_argument("--database", metavar="URL", help="sqlite:////path or a path; wins over --config")
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="the gateway's config.yaml: reads the database it names (default: DATABASE_URL, else the default file)",
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
    named = args.database
    if not named and args.config is not None:
        named = read_database_url(args.config, os.environ)
    path = resolve_database(named, os.environ, Path.home(), simulated=args.simulate)
    if not named and not args.simulate and not path.exists():
        other = default_database(os.environ, Path.home(), simulated=True)
        if other.exists():
            raise StartError(f"{path}: no ledger here yet; spend --simulate shows that of simulated runs")
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
        report = {
            "by": args.by,
            "since": iso(period.since),
            "until": iso(period.until),
            "lines": [_fields(line, args.by) for line in lines],
        }
        print(json.dumps(report, indent=2))
    elif args.csv:
        _print_csv(lines, args.by)
    else:
        print_report(Terminal.of(sys.stdout, os.environ), lines, args.by, period)


def _print_csv(lines: Sequence[SpendLine | CallLine], by: str) -> None:
    rows = [_flat(_fields(line, by)) for line in lines]
    kind: Any = CallLine if by == "call" else SpendLine
    # The header is the same when nothing was booked.
    blank = kind(**{field.name: {} if field.name == "states" else None for field in attrs.fields(kind)})
    names = list(_flat(_fields(blank, by)))
    table = io.StringIO()
    writer = csv.DictWriter(table, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    sys.stdout.write(encodable(table.getvalue(), sys.stdout.encoding))


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
            fields[f"{name}_usd"] = None if value is None else exact(value)
        elif name in ("started_at", "ended_at"):
            fields[name] = iso(value)
        elif name in ("deployment_name", "region") and by not in ("deployment", "call"):
            continue
        else:
            fields[by.replace("-", "_") if name == "name" else name] = value
    return fields
