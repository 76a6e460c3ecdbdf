"""``bedrock-gateway spend``: what was spent, as a table, JSON or CSV. Knows options and the forms for machines; sums
come from the store.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import attrs

from bedrock_gateway.cli import spend_provisioned, spend_reprice, spend_settle
from bedrock_gateway.cli.amounts import exact, iso
from bedrock_gateway.cli.databases import add_database, database_of
from bedrock_gateway.cli.spend_table import print_report
from bedrock_gateway.cli.terminal import Terminal, encodable
from bedrock_gateway.errors import StartError
from bedrock_gateway.store.attempt_lines import AttemptLine, attempts
from bedrock_gateway.store.call_lines import CallLine, Wanted, calls
from bedrock_gateway.store.location import default_database
from bedrock_gateway.store.parties import find_caller, find_owner
from bedrock_gateway.store.periods import Period, parse_time
from bedrock_gateway.store.reading import is_there, open_ledger
from bedrock_gateway.store.reports import DIMENSIONS, SpendLine, spend_by
from bedrock_gateway.store.rollup_rows import Only, Unanswerable
from bedrock_gateway.store.sums import INEXACT, Sums

__all__ = ["add_parser", "run"]

#: What is not summed up but told one by one, and the class of its lines.
_SINGLE: Mapping[str, type[CallLine | AttemptLine]] = MappingProxyType({"call": CallLine, "attempt": AttemptLine})
#: Most of these, where nothing is said.
_MOST_SINGLE = 50

#: Dimensions whose values have names beside their ids.
_NAMED = ("deployment", "key", "user", "team")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser("spend", help="what was spent, by model, key, team, day and more; corrections")
    parser.add_argument(
        "--by", choices=[*DIMENSIONS, *_SINGLE], default="model", help="what to sum by (default: model)"
    )
    parser.add_argument(
        "--since",
        metavar="TIME",
        help="from: 90m, 24h, 7d, 2w ago, a date, or an ISO time (UTC); sums go by whole quarter hours, from the one "
        "it falls in",
    )
    parser.add_argument("--until", metavar="TIME", help="up to, written the same way")
    only = parser.add_argument_group("only some calls", "each may be said several times")
    only.add_argument("--key", action="append", metavar="KEY", help="of a key: itself, its alias, or its id")
    only.add_argument("--user", action="append", metavar="USER", help="of a user's keys")
    only.add_argument("--team", action="append", metavar="TEAM", help="of a team's keys")
    only.add_argument("--end-user", action="append", metavar="ID", help="made for somebody")
    only.add_argument("--tag", action="append", metavar="TAG", help="with a tag")
    only.add_argument("--model", action="append", metavar="MODEL", help="of a model group or model id")
    parser.add_argument(
        "--limit",
        type=_positive,
        help=f"most lines; a table sums up the others (default: all, or {_MOST_SINGLE} with --by call or attempt)",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="JSON, exact to the nano-dollar")
    form.add_argument("--csv", action="store_true", help="CSV, exact to the nano-dollar")
    add_database(parser)
    actions = parser.add_subparsers(title="more", dest="action", metavar="ACTION")
    spend_provisioned.add_parser(actions)
    spend_settle.add_parser(actions)
    spend_reprice.add_parser(actions)
    parser.set_defaults(run=run)


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError("must be a whole number, 1 or more")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Print the report.

    Raises:
        StartError: there is nothing to report from, or a time is none.
        BrokenPipeError: whoever read the report has gone.
    """
    now_ms = time.time_ns() // 1_000_000
    period = Period(since=_time(args.since, "--since", now_ms), until=_time(args.until, "--until", now_ms))
    path = database_of(args)
    if path == default_database(os.environ, Path.home()) and not is_there(path):
        other = default_database(os.environ, Path.home(), simulated=True)
        if is_there(other):
            raise StartError(f"{path}: no ledger here yet; spend --simulate shows that of simulated runs")
    lines: Sequence[SpendLine | CallLine | AttemptLine]
    with open_ledger(path) as connection:
        only = _only(connection, args)
        try:
            if args.by == "call":
                lines = calls(connection, period, args.limit or _MOST_SINGLE, Wanted(only=only)).lines
            elif args.by == "attempt":
                lines = attempts(connection, period, args.limit or _MOST_SINGLE, Wanted(only=only))
            else:
                lines = spend_by(connection, args.by, period, only)
        except Unanswerable as error:
            raise StartError(f"spend --by {args.by}: {error}") from None
    _print(args, lines, period if args.by in _SINGLE else period.widened)
    # Here and not at exit: a pipe closed early is the caller's to handle.
    sys.stdout.flush()
    return 0


def _only(connection: sqlite3.Connection, args: argparse.Namespace) -> Only:
    """Return what the report is limited to; a key, user or team that never was is a typing error, and not a zero."""

    def ids(option: str, find: Callable[[str], str | None]) -> tuple[str, ...]:
        found = []
        for text in getattr(args, option) or ():
            id_ = find(text)
            if id_ is None:
                shown = f"sk-…{text[-4:]}" if text.startswith("sk-") else text
                raise StartError(f"--{option} {shown}: there is no such {option}, and no call was booked to one")
            found.append(id_)
        return tuple(found)

    try:
        return Only(
            callers=ids("key", lambda text: find_caller(connection, text)),
            users=ids("user", lambda text: find_owner(connection, "user", text)),
            teams=ids("team", lambda text: find_owner(connection, "team", text)),
            tags=tuple(args.tag or ()),
            end_users=tuple(args.end_user or ()),
            models=tuple(args.model or ()),
        )
    except Unanswerable as error:
        raise StartError(f"spend: {error}") from None


def _limits(args: argparse.Namespace) -> list[str]:
    """Return what the report is limited to, in words."""
    limits = []
    for option in ("key", "user", "team", "end_user", "tag", "model"):
        for text in getattr(args, option) or ():
            shown = f"sk-…{text[-4:]}" if option == "key" and text.startswith("sk-") else text
            limits.append(f"{option.replace('_', ' ')} {shown}")
    return limits


def _time(text: str | None, option: str, now_ms: int) -> int | None:
    try:
        return None if text is None else parse_time(text, now_ms)
    except ValueError as error:
        raise StartError(f"{option}: {error}") from None


def _print(args: argparse.Namespace, lines: Sequence[SpendLine | CallLine | AttemptLine], period: Period) -> None:
    if args.limit and (args.json or args.csv):
        lines = lines[: args.limit]
    if args.json:
        report = {
            "by": args.by,
            "since": iso(period.since),
            "until": iso(period.until),
            "only": _limits(args),
            "lines": [_fields(line, args.by) for line in lines],
        }
        print(json.dumps(report, indent=2))
    elif args.csv:
        _print_csv(lines, args.by)
    else:
        print_report(Terminal.of(sys.stdout, os.environ), lines, args.by, period, _limits(args), args.limit)


def _print_csv(lines: Sequence[SpendLine | CallLine | AttemptLine], by: str) -> None:
    rows = [_flat(_fields(line, by)) for line in lines]
    # The header is the same when nothing was booked.
    single = _SINGLE.get(by)
    nothing: dict[str, Any] = {} if single is None else dict.fromkeys(field.name for field in attrs.fields(single))
    blank = SpendLine(name="", sums=Sums()) if single is None else single(**nothing)
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
    for name in ("tags", "notes"):
        if name in fields:
            fields[name] = json.dumps(fields[name]) if fields[name] else ""
    # A cell that begins like a formula would be run by a spreadsheet; names come from callers.
    return {
        name: f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
        for name, value in fields.items()
    }


def _fields(line: SpendLine | CallLine | AttemptLine, by: str) -> dict[str, Any]:
    """Return a line for machines: spend in nano-USD and, exact as text, in USD."""
    fields: dict[str, Any] = {}
    if isinstance(line, SpendLine):
        column = by.replace("-", "_")
        fields[column] = line.name
        if by in _NAMED:
            fields[f"{column}_name"] = line.label
        if by == "deployment":
            fields["region"] = line.region
    for name, value in attrs.asdict(line.sums if isinstance(line, SpendLine) else line).items():
        if name in ("spend", "spend_all", "at_most"):
            fields[f"{name}_nano_usd"] = value
            fields[f"{name}_usd"] = None if value is None else exact(value)
        elif name in ("started_at", "ended_at"):
            fields[name] = iso(value)
        else:
            fields[name] = value
    return fields
