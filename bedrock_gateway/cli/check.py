"""``bedrock-gateway check``: load a config and print what it comes to, without any secret."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bedrock_gateway.cli.check_settings import settings_lines
from bedrock_gateway.cli.check_tables import print_balancing, print_deployments
from bedrock_gateway.cli.configured import read_config
from bedrock_gateway.cli.preconditions import doubts, obstacles
from bedrock_gateway.cli.terminal import Terminal
from bedrock_gateway.config import Config
from bedrock_gateway.errors import ConfigError, StartError
from bedrock_gateway.metering.prices import PriceTable
from bedrock_gateway.routing.rules import Fallbacks
from bedrock_gateway.routing.table import Alias
from bedrock_gateway.upstream.published_prices import load_prices

if TYPE_CHECKING:
    from argparse import _SubParsersAction

__all__ = ["add_parser", "report", "run"]


def add_parser(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "check",
        help="check a config and print what it comes to",
        description="Check a config and print every deployment it comes to. Exit status 0: fine. 2: it has faults, all "
        "of them printed as FILE:LINE:COLUMN: message. What of it this machine does not have is warned of.",
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
        for warning in error.warnings:
            print(f"warning: {warning}", file=sys.stderr)
        count = len(error.faults)
        print(f"{count} fault{'s' if count != 1 else ''}", file=sys.stderr)
        return 2
    except StartError as error:
        print(error, file=sys.stderr)
        return 2
    here = [
        *(f"serve does not start here: {one}" for one in obstacles(config, os.environ)),
        *doubts(config, os.environ),
    ]
    report(Terminal.of(sys.stdout, os.environ), config, load_prices(), here)
    return 0


def report(terminal: Terminal, config: Config, prices: PriceTable, here: Sequence[str] = ()) -> None:
    """Print what a config comes to: deployments, aliases, fallbacks, settings, and the warnings.

    Args:
        here: further warnings, of this machine.
    """
    print_deployments(terminal, config, prices)
    print_balancing(terminal, config)
    lines = _aliases(config.aliases) + _fallbacks(config.rules.fallbacks)
    if config.unserved:
        lines += ["", "Not served (404)"]
        lines += [f"  {group}: {reason}" for group, reason in config.unserved]
    lines += ["", *settings_lines(config)]
    if config.warnings or here:
        lines += ["", *(f"warning: {warning}" for warning in (*config.warnings, *here))]
    for line in lines:
        terminal.line(terminal.word(line))


def _aliases(aliases: Sequence[Alias]) -> list[str]:
    """Return the lines that say what aliases lead to; nothing where there is none."""
    width = max((len(alias.name) for alias in aliases), default=0)
    lines = []
    for alias in aliases:
        joined = (" + " if alias.balance else ", then ").join(alias.targets)
        lines.append(f"  {alias.name:<{width}}  -> {joined}{'  (hidden)' if alias.hidden else ''}")
    return ["", "Aliases", *lines] if lines else []


def _fallbacks(fallbacks: Fallbacks) -> list[str]:
    """Return the lines that say what is asked instead, in the file's order; nothing where nothing is."""
    rows = [(group, names, "") for group, names in fallbacks.by_group.items()]
    if fallbacks.default:
        rows.append(("(default)", fallbacks.default, ""))
    rows += [(group, names, "  (request too long)") for group, names in fallbacks.context_window.items()]
    width = max((len(group) for group, _, _ in rows), default=0)
    lines = [f"  {group:<{width}}  -> {', then '.join(names) or 'nothing'}{when}" for group, names, when in rows]
    return ["", f"Fallbacks ({fallbacks.most} at most for a call)", *lines] if lines else []
