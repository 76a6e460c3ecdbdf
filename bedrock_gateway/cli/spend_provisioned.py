"""``bedrock-gateway spend provisioned``: what provisioned throughput costs by the hour, beside what the same tokens
would have cost on demand, and from which load on it pays.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence

import attrs

from bedrock_gateway.cli.amounts import aligned, exact, iso, rounded
from bedrock_gateway.cli.configured import read_config
from bedrock_gateway.cli.databases import add_database, database_of
from bedrock_gateway.cli.terminal import BOLD, Column, Terminal
from bedrock_gateway.errors import StartError
from bedrock_gateway.metering.prices import PriceTable
from bedrock_gateway.metering.spend import spend
from bedrock_gateway.routing.deployments import Deployment
from bedrock_gateway.store.flat_sums import FlatSums, flat_sums
from bedrock_gateway.store.periods import Period, parse_time
from bedrock_gateway.store.reading import open_ledger
from bedrock_gateway.upstream.published_prices import load_prices

__all__ = ["add_parser"]

HOUR_MS = 3_600_000
_DESCRIPTION = """\
Compare provisioned throughput with on-demand: its hours at price_per_hour (USD for one model unit, in model_info, with
model_units), and what the tokens that went through it would have cost by the token. Hours and tokens count by whole
quarter hours: from that of --since, or of the first call, until --until or now. A throughput is paid whether it is used
or not."""


def add_parser(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command below ``spend``."""
    parser = actions.add_parser(
        "provisioned",
        help="what provisioned throughput costs by the hour, beside the same tokens on demand",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--since",
        metavar="TIME",
        default=argparse.SUPPRESS,
        help="90m, 24h, 7d, a date or an ISO time; counts from the quarter hour it falls in",
    )
    parser.add_argument("--until", metavar="TIME", default=argparse.SUPPRESS, help="up to, written the same way")
    parser.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="JSON, exact to the nano-dollar")
    add_database(parser, below=True)
    parser.set_defaults(run=run)


@attrs.frozen(kw_only=True)
class Compared:
    """One deployment.

    Attributes:
        since: UTC ms from which on it counts; hours: it was paid for from then on.
        units, hourly: of its throughput, nano-USD an hour for each unit.
        cost: nano-USD of these hours; on_demand: of the tokens by the token, None where their price is not known.
        tokens: all of them.
    """

    name: str
    commitment: str
    units: int
    hourly: int
    since: int
    hours: float
    cost: int
    tokens: int
    attempts: int
    on_demand: int | None

    @property
    def break_even(self) -> int | None:
        """Tokens an hour, mixed as they were, from which on by-the-hour is cheaper; None where nothing tells."""
        if not self.on_demand or not self.tokens:
            return None
        return round(self.units * self.hourly * self.tokens / self.on_demand)


def run(args: argparse.Namespace) -> int:
    """Print the comparison.

    Raises:
        StartError: no deployment says what an hour costs, or there is nothing to report from.
    """
    now_ms = time.time_ns() // 1_000_000
    if args.config is None:
        raise StartError("spend provisioned: say --config: what an hour costs stands in it (model_info.price_per_hour)")
    deployments = {one.id: one for one in read_config(args.config, os.environ).deployments if one.flat}
    if not deployments:
        raise StartError(f"{args.config}: no deployment is provisioned throughput")
    period = Period(since=_time(args, "since", now_ms), until=_time(args, "until", now_ms)).widened
    with open_ledger(database_of(args)) as connection:
        sums = {one.deployment: one for one in flat_sums(connection, period)}
    table = load_prices()
    lines = [
        _compared(one, sums.get(one.id), table, period, now_ms)
        for one in deployments.values()
        if one.hourly is not None and (one.id in sums or period.since is not None)
    ]
    silent = [one.name for one in deployments.values() if one.hourly is None]
    if args.json:
        print(json.dumps([_fields(line) for line in lines], indent=2))
    else:
        _print(Terminal.of(sys.stdout, os.environ), lines, silent, period)
    sys.stdout.flush()
    return 0


def _time(args: argparse.Namespace, option: str, now_ms: int) -> int | None:
    text = getattr(args, option)
    try:
        return None if text is None else parse_time(text, now_ms)
    except ValueError as error:
        raise StartError(f"--{option}: {error}") from None


def _compared(
    deployment: Deployment, sums: FlatSums | None, table: PriceTable, period: Period, now_ms: int
) -> Compared:
    begin = period.since if period.since is not None else 0 if sums is None else sums.since
    end = min(now_ms if period.until is None else period.until, now_ms)
    hours = max(end - begin, 0) / HOUR_MS
    units, hourly = deployment.units or 1, deployment.hourly or 0
    public = table.find(deployment.price_model, deployment.region)
    price = public if deployment.prices is None else deployment.prices.over(public)
    return Compared(
        name=deployment.name,
        commitment=deployment.commitment,
        units=units,
        hourly=hourly,
        since=begin,
        hours=hours,
        cost=round(units * hourly * hours),
        tokens=0 if sums is None else sums.usage.tokens,
        attempts=0 if sums is None else sums.attempts,
        on_demand=None if price is None else 0 if sums is None else spend(sums.usage, price),
    )


def _fields(line: Compared) -> dict[str, object]:
    return {
        "deployment": line.name,
        "commitment": line.commitment,
        "model_units": line.units,
        "price_per_hour_usd": exact(line.hourly),
        "since": iso(line.since),
        "hours": round(line.hours, 3),
        "cost_nano_usd": line.cost,
        "cost_usd": exact(line.cost),
        "attempts": line.attempts,
        "tokens": line.tokens,
        "on_demand_nano_usd": line.on_demand,
        "on_demand_usd": None if line.on_demand is None else exact(line.on_demand),
        "break_even_tokens_an_hour": line.break_even,
    }


def _print(terminal: Terminal, lines: list[Compared], silent: list[str], period: Period) -> None:
    span = " ".join(
        f"{word} {str(iso(at))[:16].replace('T', ' ')}"
        for word, at in (("since", period.since), ("until", period.until))
        if at is not None
    )
    heading = terminal.style(BOLD, "Provisioned throughput beside on-demand")
    terminal.line(f"{heading} {span} UTC" if span else heading)
    terminal.line()
    if lines:
        cost, all_cost = aligned([rounded(line.cost) for line in lines], rounded(sum(line.cost for line in lines)))
        demand, all_demand = aligned(
            ["unknown" if line.on_demand is None else rounded(line.on_demand) for line in lines], _total(lines)
        )
        terminal.table(
            [
                Column(
                    heading="deployment", cells=[terminal.word(line.name) for line in lines], foot="total", left=True
                ),
                Column(heading="term", cells=[terminal.word(line.commitment) for line in lines], left=True, spare=2),
                Column(heading="units", cells=[str(line.units) for line in lines], spare=1),
                Column(
                    heading="since (UTC)",
                    cells=[str(iso(line.since))[:16].replace("T", " ") for line in lines],
                    left=True,
                    spare=3,
                ),
                Column(heading="hours", cells=[f"{line.hours:,.1f}" for line in lines]),
                Column(heading="USD by the hour", cells=cost, foot=all_cost),
                Column(heading="tokens", cells=[f"{line.tokens:,}" for line in lines]),
                Column(heading="USD on demand", cells=demand, foot=all_demand),
                Column(heading="pays from tokens/h", cells=[_pays(line) for line in lines]),
            ]
        )
        terminal.line()
    else:
        terminal.line("Nothing went through one in this time." if span else "Nothing has gone through one yet.")
    for name in silent:
        terminal.line(terminal.word(f"{name}: give model_info.price_per_hour (and model_units) to see it here."))
    if any(line.on_demand is None for line in lines):
        terminal.line("unknown (+): give base_model in model_info, so that the on-demand price can be looked up.")


def _total(lines: Sequence[Compared]) -> str:
    """Return USD of the tokens of all on demand, marked where more would have been spent than is known."""
    known = [line.on_demand for line in lines if line.on_demand is not None]
    if len(known) == len(lines):
        return rounded(sum(known))
    return f"{rounded(sum(known))}+" if sum(known) else "unknown"


def _pays(line: Compared) -> str:
    return "" if line.break_even is None else f"{line.break_even:,}"
