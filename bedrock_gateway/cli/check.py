"""``bedrock-gateway check``: load a config and print what it comes to, without any secret."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from decimal import Decimal
from importlib.resources import files
from typing import TYPE_CHECKING

from bedrock_gateway.cli.configured import read_config
from bedrock_gateway.config import Config
from bedrock_gateway.errors import ConfigError, StartError
from bedrock_gateway.metering.prices import Price, PriceTable
from bedrock_gateway.routing.deployments import CredentialKind, CredentialSource, Deployment
from bedrock_gateway.routing.rules import Fallbacks

if TYPE_CHECKING:
    from argparse import _SubParsersAction

__all__ = ["add_parser", "report", "run"]

#: Nano-USD in a USD.
NANO = 10**9

#: The long columns stand last, so that the others stay under each other on a narrow terminal.
_HEADINGS = ("GROUP", "DEPLOYMENT", "REGION", "CREDENTIALS", "USD/M IN", "USD/M OUT", "WEIGHT", "MODEL ID", "ENDPOINT")
#: Columns of numbers, which are aligned on the right.
_NUMBERS = frozenset({4, 5, 6})


def add_parser(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "check",
        help="check a config and print what it comes to",
        description="Check a config and print every deployment it comes to. Exit status 0: fine. 2: it has faults, all "
        "of them printed as FILE:LINE:COLUMN: message.",
    )
    parser.add_argument(
        "--config", metavar="FILE", help="config.yaml; without one, what the environment alone comes to"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check the config named on the command line."""
    try:
        config = read_config(args.config, os.environ)
    except ConfigError as error:
        # One fault a line in the shape editors and CI understand, so nothing is put in front.
        print(error, file=sys.stderr)
        count = len(error.faults)
        print(f"{count} fault{'s' if count != 1 else ''}", file=sys.stderr)
        return 2
    except StartError as error:
        print(error, file=sys.stderr)
        return 2
    text = files("bedrock_gateway.metering").joinpath("prices.yaml").read_text(encoding="utf-8")
    encoding = sys.stdout.encoding or "utf-8"
    for line in report(config, PriceTable.from_text(text)):
        # A terminal that cannot show a group's name still gets the table.
        print(line.encode(encoding, "backslashreplace").decode(encoding))
    return 0


def report(config: Config, prices: PriceTable) -> list[str]:
    """Return the lines that describe a config: deployments, aliases, fallbacks, settings, and the warnings."""
    ambient = [deployment for _, deployment in config.ambient[:1] if deployment.region]
    rows = [_row(deployment, prices) for deployment in (*config.deployments, *ambient)]
    lines = _table([_HEADINGS, *rows])
    if config.aliases:
        lines += ["", "Aliases"]
        width = max(len(alias.name) for alias in config.aliases)
        for alias in config.aliases:
            joined = (" + " if alias.balance else ", then ").join(alias.targets)
            lines.append(f"  {alias.name:<{width}}  -> {joined}{'  (hidden)' if alias.hidden else ''}")
    lines += _fallbacks(config.rules.fallbacks)
    if config.unserved:
        lines += ["", "Not served (404)"]
        lines += [f"  {group}: {reason}" for group, reason in config.unserved]
    general, strategy, queue = config.general, config.rules.strategy, config.general.queue
    lines += [
        "",
        f"Access     {'locked by a master key' if general.master_key else 'open: loopback only, any key is accepted'}",
        f"Ledger     {general.ledger_durability}; on disconnect {general.on_disconnect.value}",
        f"Retries    {config.router.num_retries}; a failing deployment cools {config.router.cooldown_time:g} s",
    ]
    if strategy is not None:
        lines.append(f"Routing    {strategy.value}")
    if queue is not None:
        lines.append(
            f"Queue      {queue.most} calls, {queue.most_per_key} of one key; each waits {queue.seconds:g} s at most"
        )
    if config.warnings:
        lines += ["", *(f"warning: {warning}" for warning in config.warnings)]
    return lines


def _fallbacks(fallbacks: Fallbacks) -> list[str]:
    """Return the lines that say what is asked instead, in the file's order; nothing where nothing is."""
    rows = [(group, names, "") for group, names in fallbacks.by_group.items()]
    if fallbacks.default:
        rows.append(("(default)", fallbacks.default, ""))
    rows += [(group, names, "  (request too long)") for group, names in fallbacks.context_window.items()]
    width = max((len(group) for group, _, _ in rows), default=0)
    lines = [f"  {group:<{width}}  -> {', then '.join(names) or 'nothing'}{when}" for group, names, when in rows]
    return ["", f"Fallbacks ({fallbacks.most} at most for a call)", *lines] if lines else []


def _row(deployment: Deployment, prices: PriceTable) -> tuple[str, ...]:
    if deployment.flat:
        rates = ("flat", "flat")
    elif "*" in deployment.model_id or not deployment.model_id:
        rates = ("by model", "by model")
    else:
        found = prices.find(deployment.price_model, deployment.region)
        rates = _rates(deployment.prices.over(found) if deployment.prices is not None else found)
    weight = deployment.weight
    share = "-" if weight is None else f"{weight:g}"
    if weight is None and deployment.rpm is not None:
        share = f"{deployment.rpm} rpm"
    elif weight is None and deployment.tpm is not None:
        share = f"{deployment.tpm} tpm"
    return (
        deployment.model_group or "(raw ids)",
        deployment.name,
        deployment.region or "-",
        _credentials(deployment.credentials),
        *rates,
        share,
        deployment.model_id or "any",
        deployment.endpoint or "AWS",
    )


def _credentials(source: CredentialSource) -> str:
    """Return how credentials are had, with the names an operator gave them; access key ids count as secrets here."""
    if source.kind in (CredentialKind.ROLE, CredentialKind.WEB_IDENTITY) and source.role_arn:
        return f"{source.kind.value} {source.role_arn.rpartition('/')[2]}"
    if source.kind is CredentialKind.PROFILE:
        return f"profile {source.profile}"
    return source.kind.value


def _rates(price: Price | None) -> tuple[str, str]:
    """Return USD per million tokens in and out; what is paid by the image or unit says so."""
    if price is None:
        return "no price", "no price"
    if not price.sets:
        return ("by unit", "by unit") if price.images or price.meters else ("no price", "no price")
    rates = price.rates("default", "standard", 0).rates
    return _usd(rates[0]), _usd(rates[1])


def _usd(nano: int | None) -> str:
    if nano is None:
        return "-"
    figure = f"{Decimal(nano) / NANO:f}"
    whole, _, fraction = figure.partition(".")
    return f"{whole}.{fraction.rstrip('0').ljust(2, '0')}"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Align columns, two spaces apart."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(_cells(row, widths)).rstrip() for row in rows]


def _cells(row: Sequence[str], widths: Sequence[int]) -> Iterable[str]:
    for column, (cell, width) in enumerate(zip(row, widths, strict=True)):
        yield cell.rjust(width) if column in _NUMBERS else cell.ljust(width)
