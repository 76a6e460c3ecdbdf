"""``bedrock-gateway doctor``: looks at every deployment without a call that is paid for, and says what mends it."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

import attrs

from bedrock_gateway._version import VERSION
from bedrock_gateway.cli.configured import read_config
from bedrock_gateway.cli.terminal import BOLD, DIM, Terminal
from bedrock_gateway.config import Config
from bedrock_gateway.routing.deployments import Deployment
from bedrock_gateway.upstream.addresses import Addresses
from bedrock_gateway.upstream.control_plane import ControlPlane
from bedrock_gateway.upstream.credentials import CredentialStore, describe
from bedrock_gateway.upstream.endpoints import Endpoints
from bedrock_gateway.upstream.examining import Finding, Level, examine, skew
from bedrock_gateway.upstream.forms import Forms
from bedrock_gateway.upstream.models import load_operations
from bedrock_gateway.upstream.published_prices import load_prices
from bedrock_gateway.upstream.session import Upstream
from bedrock_gateway.wire.sigv4 import Signer

__all__ = ["add_parser"]

_SIGNS = {Level.FINE: ("✓", "+"), Level.WARNING: ("!", "!"), Level.WRONG: ("✗", "x")}
_IDLE = 10.0


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser(
        "doctor",
        help="ask AWS whether every deployment can be called, for nothing",
        description="Look at every deployment: whose credentials it has, whether its model may be called there, "
        "whether its guardrail is there, whether its price is known, whether the clock is right. No call is made that "
        "is paid for. Exit status 0: nothing is wrong. 1: something is. 2: the config cannot be read.",
    )
    parser.add_argument(
        "--config", metavar="FILE", help="config.yaml; without one, what the environment alone comes to"
    )
    parser.add_argument("--json", action="store_true", help="JSON for machines")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Look, and print what was found.

    Raises:
        StartError: the config cannot be read.
    """
    # What is wrong is told in its place, not twice.
    logging.getLogger("bedrock_gateway").setLevel(logging.CRITICAL)
    config = read_config(args.config, os.environ)
    deployments = list(config.deployments) or [deployment for _, deployment in config.ambient[:1]]
    sts = os.environ.get("AWS_ENDPOINT_URL_STS") or os.environ.get("AWS_STS_ENDPOINT")
    if sts:
        deployments = [attrs.evolve(one, endpoints={**one.endpoints, "sts": sts.rstrip("/")}) for one in deployments]
    found, clock = asyncio.run(_look(config, deployments))
    if args.json:
        print(json.dumps(_document(config, deployments, found, clock), indent=2))
    else:
        _print(Terminal.of(sys.stdout, os.environ), config, deployments, found, clock)
    sys.stdout.flush()
    every = [finding for findings in found for finding in findings] + ([clock] if clock else [])
    return int(any(finding.level is Level.WRONG for finding in every))


async def _look(config: Config, deployments: Sequence[Deployment]) -> tuple[list[list[Finding]], Finding | None]:
    upstream = Upstream.open(user_agent=f"bedrock-gateway/{VERSION} doctor", idle_timeout=_IDLE, proxies=config.proxies)
    credentials = CredentialStore()
    control = ControlPlane.of(
        load_operations(["bedrock", "bedrock-agent"]),
        upstream=upstream,
        addresses=Addresses(Endpoints.load(fips=config.fips, dual_stack=config.dual_stack)),
        credentials=credentials,
        signer=Signer(),
        amz_date=lambda: datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ"),
    )
    forms = Forms(control)
    table = load_prices()

    def is_priced(deployment: Deployment) -> bool:
        return deployment.prices is not None or table.find(deployment.price_model, deployment.region) is not None

    try:
        found = await examine(deployments, control, forms, is_priced)
        return found, skew(control.dates, datetime.now(UTC))
    finally:
        await forms.aclose()
        await credentials.close()
        await upstream.close()


def _document(
    config: Config, deployments: Sequence[Deployment], found: list[list[Finding]], clock: Finding | None
) -> dict[str, object]:
    def told(finding: Finding) -> dict[str, str]:
        return {"level": str(finding.level), "what": finding.what, "told": finding.told}

    return {
        "deployments": [
            {
                "name": deployment.name,
                "model": deployment.model_id,
                "region": deployment.region,
                "credentials": describe(deployment.credentials),
                "findings": [told(finding) for finding in findings],
            }
            for deployment, findings in zip(deployments, found, strict=True)
        ],
        "clock": None if clock is None else told(clock),
        "warnings": [str(warning) for warning in config.warnings],
    }


def _print(
    terminal: Terminal,
    config: Config,
    deployments: Sequence[Deployment],
    found: list[list[Finding]],
    clock: Finding | None,
) -> None:
    for deployment, findings in zip(deployments, found, strict=True):
        where = "  ".join(
            part for part in (deployment.model_id, deployment.region, describe(deployment.credentials)) if part
        )
        terminal.line(
            terminal.style(BOLD, terminal.word(deployment.name)) + terminal.style(DIM, terminal.word(f"  {where}"))
        )
        for finding in findings:
            _line(terminal, finding)
        terminal.line()
    if clock is not None:
        _line(terminal, clock)
    for warning in config.warnings:
        _line(terminal, Finding(Level.WARNING, "config", str(warning)))
    every = [finding for findings in found for finding in findings] + ([clock] if clock else [])
    wrong = sum(finding.level is Level.WRONG for finding in every)
    warned = sum(finding.level is Level.WARNING for finding in every) + len(config.warnings)
    told = f"{len(deployments)} deployment{'' if len(deployments) == 1 else 's'}: "
    told += f"{wrong} wrong" if wrong else "nothing is wrong"
    terminal.line(told + (f", {warned} to look at" if warned else ""))


def _line(terminal: Terminal, finding: Finding) -> None:
    best, plain = _SIGNS[finding.level]
    terminal.line(f"  {best if terminal.can(best) else plain} {finding.what:<10} {terminal.word(finding.told)}")
