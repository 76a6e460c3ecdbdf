"""``bedrock-gateway spend reprice``: prices booked usage again, with the prices known today. Works while the gateway
runs: a few calls at a time, so that it never waits long.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Iterator

import attrs

from bedrock_gateway.cli.amounts import aligned, exact, iso, rounded
from bedrock_gateway.cli.correcting import PriceOf, corrector, price_finder, told
from bedrock_gateway.cli.databases import add_database, database_of
from bedrock_gateway.cli.terminal import BOLD, Column, Terminal
from bedrock_gateway.errors import StartError
from bedrock_gateway.metering.repricing import PRICED, Repriced, reprice
from bedrock_gateway.metering.states import State
from bedrock_gateway.store.corrections import Booked, Correction, booked, calls_in, correct
from bedrock_gateway.store.editing import open_to_edit
from bedrock_gateway.store.periods import parse_time
from bedrock_gateway.store.reading import need_ledger, open_ledger
from bedrock_gateway.store.subjects import transaction

__all__ = ["add_parser"]

#: Calls of one transaction: it takes some milliseconds, and the gateway's writer waits for it.
_AT_ONCE = 100

_DESCRIPTION = """\
Price again what was booked: the usage as it stands in the rows, at the prices this version knows, and with --config at
those of its deployments. Only attempts without a price, unless --all is said; what was settled by hand stays as it is.
Each row keeps a note; reports and budgets follow at once, also while the gateway runs."""


def add_parser(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command below ``spend``."""
    parser = actions.add_parser(
        "reprice",
        help="price again what was booked without a price, or all of it",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--since", metavar="TIME", required=True, help="from: 90m, 24h, 7d, 2w ago, a date, or an ISO time (UTC)"
    )
    parser.add_argument("--model", action="append", metavar="MODEL", help="only of a model group or model id")
    parser.add_argument("--all", action="store_true", help="what has a price already, too")
    parser.add_argument("--dry-run", action="store_true", help="write nothing, only show what would change")
    parser.add_argument("--json", action="store_true", help="JSON, exact to the nano-dollar")
    add_database(parser, below=True)
    parser.set_defaults(run=run)


@attrs.define(kw_only=True)
class _Change:
    """What changed of one model; money is nano-USD, of all attempts, charged or not.

    Attributes:
        attempts: how many changed.
        was, now: what they cost; unknown: how many of them had no spend before.
        states: how many of each state, or change of state.
        still: attempts without a price, then as now.
    """

    attempts: int = 0
    was: int = 0
    now: int = 0
    unknown: int = 0
    states: Counter[str] = attrs.field(factory=Counter)
    still: int = 0


def run(args: argparse.Namespace) -> int:
    """Price again and print what changed.

    Raises:
        StartError: there is no ledger, a time is none, or the config cannot be read.
    """
    now_ms = time.time_ns() // 1_000_000
    try:
        since_ms = parse_time(args.since, now_ms)
    except ValueError as error:
        raise StartError(f"--since: {error}") from None
    path = need_ledger(database_of(args))
    changes: dict[str, _Change] = {}
    if args.dry_run:
        with open_ledger(path) as connection:
            price_of = price_finder(connection, args)
            for calls in _batches(connection, since_ms, args):
                _corrections(connection, calls, args, price_of, changes)
    else:
        by = f"repriced {iso(now_ms)} by {corrector()}"
        with open_to_edit(path, simulated=args.simulate, now_ms=now_ms) as connection:
            price_of = price_finder(connection, args)
            for calls in _batches(connection, since_ms, args):
                with transaction(connection):
                    corrections = _corrections(connection, calls, args, price_of, changes)
                    noted = (_noted(correction, by) for correction in corrections)
                    correct(connection, noted, time.time_ns() // 1_000_000)
    if args.json:
        print(json.dumps(_report(changes, since_ms, args.dry_run), indent=2))
    else:
        _print(Terminal.of(sys.stdout, os.environ), changes, since_ms, args)
    sys.stdout.flush()
    return 0


def _batches(connection: sqlite3.Connection, since_ms: int, args: argparse.Namespace) -> Iterator[list[str]]:
    """Yield ids of calls that may have something to price; found outside of any transaction that writes."""
    states = PRICED if args.all else (State.UNPRICED,)
    calls = calls_in(connection, since_ms, states, limit=_AT_ONCE)
    while calls:
        yield calls
        calls = calls_in(connection, since_ms, states, after=calls[-1], limit=_AT_ONCE)


def _corrections(
    connection: sqlite3.Connection,
    calls: list[str],
    args: argparse.Namespace,
    price_of: PriceOf,
    changes: dict[str, _Change],
) -> list[Correction]:
    """Return the corrections of some calls, and count them."""
    corrections = []
    for call in calls:
        for of in booked(connection, call):
            if not _meant(of, args):
                continue
            change = changes.setdefault(of.model, _Change())
            repriced = reprice(of.usage, of.state, of.notes, price_of(of))
            if repriced is None or repriced.spend is None:
                change.still += of.state is State.UNPRICED
            elif (repriced.state, repriced.spend) != (of.state, of.spend):
                corrections.append(_counted(of, repriced, change))
    return corrections


def _meant(of: Booked, args: argparse.Namespace) -> bool:
    if of.under_way or of.state not in (PRICED if args.all else (State.UNPRICED,)):
        return False
    if args.model and of.model not in args.model and of.model_group not in args.model:
        return False
    return not any(note.startswith("settled ") for note in of.notes)


def _counted(of: Booked, repriced: Repriced, change: _Change) -> Correction:
    assert repriced.spend is not None
    change.attempts += 1
    change.was += of.spend or 0
    change.unknown += of.spend is None
    change.now += repriced.spend
    change.states[str(of.state) if of.state is repriced.state else f"{of.state} -> {repriced.state}"] += 1
    return Correction(of=of, state=repriced.state, spend=repriced.spend, notes=repriced.notes)


def _noted(correction: Correction, by: str) -> Correction:
    of = correction.of
    return attrs.evolve(correction, notes=(*correction.notes, f"{by}: was {told(of.state, of.spend)}"))


def _report(changes: dict[str, _Change], since_ms: int, dry_run: bool) -> dict[str, object]:
    return {
        "since": iso(since_ms),
        "dry_run": dry_run,
        "lines": [
            {
                "model": model,
                "attempts": change.attempts,
                "was_nano_usd": change.was,
                "was_usd": exact(change.was),
                "was_unknown": change.unknown,
                "is_nano_usd": change.now,
                "is_usd": exact(change.now),
                "difference_nano_usd": change.now - change.was,
                "difference_usd": exact(change.now - change.was),
                "states": dict(change.states),
                "still_unpriced": change.still,
            }
            for model, change in _ordered(changes)
        ],
    }


def _ordered(changes: dict[str, _Change]) -> list[tuple[str, _Change]]:
    """Return what changed, the largest difference first."""
    return sorted(changes.items(), key=lambda entry: (-abs(entry[1].now - entry[1].was), entry[0]))


def _print(terminal: Terminal, changes: dict[str, _Change], since_ms: int, args: argparse.Namespace) -> None:
    since = str(iso(since_ms))[:16].replace("T", " ")
    changed = [(model, change) for model, change in _ordered(changes) if change.attempts]
    what = "Everything booked" if args.all else "What was booked without a price"
    terminal.line(terminal.style(BOLD, f"{what} since {since} UTC, at today's prices"))
    terminal.line()
    if changed:
        _print_table(terminal, changed)
    else:
        terminal.line("Nothing changes." if changes else "There is nothing of the kind.")
    still = [(model, change.still) for model, change in _ordered(changes) if change.still]
    if still:
        terminal.line()
        terminal.line("Still without a price:")
        for model, count in still:
            terminal.line(f"  {count:,} of {terminal.word(model)}")
        if args.config is None:
            terminal.line("Prices that a config gives its deployments are known with --config.")
    if args.dry_run and changed:
        terminal.line()
        terminal.line("Nothing was written (--dry-run).")


def _print_table(terminal: Terminal, changed: list[tuple[str, _Change]]) -> None:
    changes = [change for _, change in changed]
    whole = _Change(
        attempts=sum(change.attempts for change in changes),
        was=sum(change.was for change in changes),
        now=sum(change.now for change in changes),
        unknown=sum(change.unknown for change in changes),
    )
    was, was_whole = aligned([_was(change) for change in changes], _was(whole))
    now, now_whole = aligned([rounded(change.now) for change in changes], rounded(whole.now))
    more, more_whole = aligned([_signed(change.now - change.was) for change in changes], _signed(whole.now - whole.was))
    states = [", ".join(f"{count:,} {state}" for state, count in change.states.items()) for change in changes]
    terminal.table(
        [
            Column(
                heading="model", cells=[terminal.word(model) for model, _ in changed], foot="total", left=True, least=16
            ),
            Column(
                heading="attempts", cells=[f"{change.attempts:,}" for change in changes], foot=f"{whole.attempts:,}"
            ),
            Column(heading="state", cells=states, left=True, least=12, spare=2),
            Column(heading="was USD", cells=was, foot=was_whole, spare=1),
            Column(heading="is USD", cells=now, foot=now_whole, spare=1),
            Column(heading="difference", cells=more, foot=more_whole),
        ]
    )


def _was(change: _Change) -> str:
    """Return what was booked, marked where it was not known."""
    if not change.unknown:
        return rounded(change.was)
    return f"{rounded(change.was)}+" if change.was else "unknown"


def _signed(nano: int) -> str:
    """Return a difference in USD for reading."""
    return f"{'-' if nano < 0 else '+' if nano else ''}{rounded(abs(nano))}"
