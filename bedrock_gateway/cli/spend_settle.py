"""``bedrock-gateway spend settle``: says what a call came to whose spend is not known, or not exactly. Works while the
gateway runs.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
import time
from decimal import Decimal, InvalidOperation

import attrs

from bedrock_gateway.cli.amounts import iso, rounded
from bedrock_gateway.cli.correcting import corrector, price_finder, told
from bedrock_gateway.cli.databases import add_database, database_of
from bedrock_gateway.errors import StartError
from bedrock_gateway.metering.repricing import reprice
from bedrock_gateway.metering.states import State
from bedrock_gateway.metering.usage import Usage
from bedrock_gateway.store.corrections import Booked, Correction, booked, correct
from bedrock_gateway.store.editing import open_to_edit
from bedrock_gateway.store.reading import need_ledger
from bedrock_gateway.store.subjects import transaction
from bedrock_gateway.store.sums import INEXACT, UNKNOWN

__all__ = ["add_parser"]

#: Nothing is dearer; a figure beyond is a slip.
_MOST_USD = 1_000_000
_MOST_TOKENS = 1_000_000_000
_DESCRIPTION = """\
Say what a call came to whose spend is unknown or estimated: interrupted, unmetered, unpriced, estimated, incomplete.
The row keeps a note of who settled it, when, and what it said before; reports and budgets follow at once, also while
the gateway runs. Without an amount, the attempts of the call are listed."""


def add_parser(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command below ``spend``."""
    parser = actions.add_parser(
        "settle",
        help="say what a call came to whose spend is unknown",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("call", metavar="CALL-ID", help="as in spend --by call, and in the header of the answer")
    parser.add_argument("--attempt", type=int, metavar="N", help="which of the call's attempts, where several are open")
    parser.add_argument("--usd", type=_usd, metavar="N", help="what it cost")
    parser.add_argument("--at-most", action="store_true", help="what it can have cost at most")
    tokens = parser.add_argument_group("tokens", "as AWS's invocation log tells them; priced by today's prices")
    tokens.add_argument("--input", type=_count, metavar="N", help="without cached ones")
    tokens.add_argument("--output", type=_count, metavar="N")
    tokens.add_argument("--cache-read", type=_count, metavar="N")
    tokens.add_argument("--cache-write", type=_count, metavar="N", help="for five minutes")
    parser.add_argument(
        "--exact", action="store_true", help="these are AWS's own figures: book as metered, not as estimated"
    )
    add_database(parser, below=True)
    parser.set_defaults(run=run)


def _usd(text: str) -> int:
    """Return USD as nano-USD."""
    try:
        nano = Decimal(text) * 1_000_000_000
    except InvalidOperation:
        raise argparse.ArgumentTypeError(f"{text!r} is no amount of USD") from None
    if not nano.is_finite() or not 0 <= nano <= _MOST_USD * 1_000_000_000:
        raise argparse.ArgumentTypeError(f"must be from 0 to {_MOST_USD:,} USD")
    if nano != nano.to_integral_value():
        raise argparse.ArgumentTypeError("has more than nine decimal places")
    return int(nano)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= _MOST_TOKENS):
        raise argparse.ArgumentTypeError(f"must be a whole number up to {_MOST_TOKENS:,}")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Settle one attempt.

    Raises:
        StartError: there is no such call, or what is said of it does not go together.
    """
    tokens = any(value is not None for value in (args.input, args.output, args.cache_read, args.cache_write))
    if (args.usd is not None) + args.at_most + tokens > 1:
        raise StartError("spend settle: say one thing of the call: --usd, --at-most, or its tokens")
    if args.exact and args.at_most:
        raise StartError("spend settle: --at-most is a bound and never --exact")
    now_ms = time.time_ns() // 1_000_000
    path = need_ledger(database_of(args))
    with open_to_edit(path, simulated=args.simulate, now_ms=now_ms) as connection:
        if args.usd is None and not args.at_most and not tokens:
            _list(booked(connection, args.call), args.call)
            return 0
        with transaction(connection):
            of = _chosen(booked(connection, args.call), args.call, args.attempt)
            correction = _correction(connection, of, args)
            note = f"settled {iso(now_ms)} by {corrector()}: was {told(of.state, of.spend)}"
            correct(connection, [attrs.evolve(correction, notes=(*correction.notes, note))], now_ms)
    print(f"Call {of.call}, attempt {of.number}, {of.model or 'no model'}:")
    print(f"  was  {told(of.state, of.spend)}")
    print(f"  is   {told(correction.state, correction.spend)}")
    return 0


def _chosen(attempts: list[Booked], call: str, number: int | None) -> Booked:
    """Return the attempt that is meant: the one of a number, else the only one whose spend is unknown, or not exact."""
    if not attempts:
        raise StartError(f"{call}: no attempt of such a call was booked; spend --by call lists calls")
    meant = [of for of in attempts if number in (None, of.number)]
    if not meant:
        raise StartError(f"{call}: has no attempt {number}, only {', '.join(str(of.number) for of in attempts)}")
    if any(of.under_way for of in meant):
        raise StartError(f"{call}: is still under way; it can be settled once it has ended")
    open_ = [of for of in meant if of.state in UNKNOWN] or [of for of in meant if of.state in INEXACT]
    if not open_:
        states = ", ".join(sorted({of.state for of in meant}))
        raise StartError(f"{call}: there is nothing to settle, it is {states}")
    if len(open_) > 1:
        numbers = ", ".join(str(of.number) for of in open_)
        raise StartError(f"{call}: several attempts can be settled; say which: --attempt {numbers}")
    return open_[0]


def _correction(connection: sqlite3.Connection, of: Booked, args: argparse.Namespace) -> Correction:
    state = State.METERED if args.exact else State.ESTIMATED
    if args.usd is not None:
        return Correction(of=of, state=state, spend=args.usd, notes=of.notes)
    if args.at_most:
        if of.at_most is None:
            raise StartError(f"{of.call}: nothing bounds what it cost; say --usd N")
        return Correction(of=of, state=state, spend=of.at_most, notes=of.notes)
    told_usage = Usage(
        input_tokens=args.input or 0,
        output_tokens=args.output or 0,
        cache_read_tokens=args.cache_read or 0,
        cache_write_5m_tokens=args.cache_write or 0,
        images=of.usage.images,
        meters=of.usage.meters,
    )
    repriced = reprice(told_usage, state, of.notes, price_finder(connection, args)(of))
    if repriced is None or repriced.spend is None:
        raise StartError(f"{of.call}: no price is known for {of.model}; say what it cost: --usd N")
    return Correction(of=of, state=repriced.state, spend=repriced.spend, notes=repriced.notes, usage=told_usage)


def _list(attempts: list[Booked], call: str) -> None:
    if not attempts:
        raise StartError(f"{call}: no attempt of such a call was booked; spend --by call lists calls")
    print(f"Call {call}:")
    for of in attempts:
        bound = "" if of.at_most is None or of.spend is not None else f", at most {rounded(of.at_most)} USD"
        charged = "" if of.charged else ", not charged"
        state = "under way" if of.under_way else told(of.state, of.spend)
        print(f"  attempt {of.number}  {iso(of.started_at)}  {of.model or '(no model)'}  {state}{bound}{charged}")
        for note in of.notes:
            print(f"             {note}")
    if any(of.state in INEXACT and not of.under_way for of in attempts):
        print("Say what it came to: --usd N, --input N --output N, or --at-most.", file=sys.stderr)
