"""The deployments of a config as two tables: what is called, and how calls come to be shared among them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal

import attrs

from bedrock_gateway.access.budgets import Budget
from bedrock_gateway.cli.terminal import BOLD, Column, Terminal
from bedrock_gateway.config import Config
from bedrock_gateway.metering.prices import Price, PriceTable
from bedrock_gateway.routing.deployments import CredentialKind, CredentialSource, Deployment
from bedrock_gateway.routing.rules import Strategy
from bedrock_gateway.routing.strategies import shares, strategy_of
from bedrock_gateway.routing.table import tiers

__all__ = ["print_balancing", "print_deployments"]

#: Nano-USD in a USD.
NANO = 10**9
#: What a column has nothing for.
NOTHING = "-"
#: Characters of a cell where nothing has to fit: nothing is cut.
_WHOLE = 100_000


def print_deployments(terminal: Terminal, config: Config, prices: PriceTable) -> None:
    """Print what every deployment calls, with what credentials, at what price."""
    ambient = [deployment for _, deployment in config.ambient[:1] if deployment.region]
    deployments = (*config.deployments, *ambient)
    rates = [_prices(deployment, prices) for deployment in deployments]
    named = [one.name if one.model_group else f"{one.name} (raw ids)" for one in deployments]

    def text(heading: str, cells: Sequence[str], least: int | None = None) -> Column:
        words = [terminal.word(cell) for cell in cells]
        return Column(heading=heading, cells=words, left=True, least=least, most=_WHOLE)

    columns = [
        text("DEPLOYMENT", named, 16),
        text("REGION", [one.region or NOTHING for one in deployments]),
        text("CREDENTIALS", [_credentials(one.credentials) for one in deployments], 12),
        Column(heading="USD/M IN", cells=[rate for rate, _ in rates]),
        Column(heading="USD/M OUT", cells=[rate for _, rate in rates]),
        # ARNs are long: they stand last, so that the others stay under each other on a narrow terminal.
        text("MODEL ID", [one.model_id or "any" for one in deployments], 24),
    ]
    terminal.table(columns)
    own = [(name, url) for name, one in zip(named, deployments, strict=True) for url in one.endpoints.values()]
    if own:
        width = max(len(name) for name, _ in own)
        terminal.line()
        terminal.line(terminal.style(BOLD, "Endpoints"))
        for name, endpoint in own:
            terminal.line(terminal.word(f"  {name:<{width}}  {endpoint}"))


def print_balancing(terminal: Terminal, config: Config) -> None:
    """Print what says how calls are shared out, of the deployments that have any of it; nothing where none has."""
    figures = _figures(config)
    lines = [line for line in figures if any(cell != NOTHING for cell in line.cells.values())]
    if not lines:
        return
    headings = [heading for heading in lines[0].cells if any(line.cells[heading] != NOTHING for line in lines)]
    columns = [
        Column(
            heading="DEPLOYMENT",
            cells=[terminal.word(line.deployment.name) for line in lines],
            left=True,
            least=16,
            most=_WHOLE,
        )
    ]
    for heading in headings:
        cells = [terminal.word(line.cells[heading]) for line in lines]
        tags = heading == "TAGS"
        columns.append(Column(heading=heading, cells=cells, left=tags, least=8 if tags else None, most=_WHOLE))
    terminal.line()
    terminal.line(terminal.style(BOLD, "Balancing"))
    terminal.table(columns)
    if any("(" in line.cells["WEIGHT"] for line in lines):
        terminal.line("A weight in brackets is not given: the mean of those that are.")


@attrs.frozen
class _Line:
    """The figures of a deployment, by column."""

    deployment: Deployment
    cells: dict[str, str]


def _figures(config: Config) -> list[_Line]:
    groups: dict[str, list[Deployment]] = {}
    for deployment in config.deployments:
        groups.setdefault(deployment.model_group, []).append(deployment)
    parts: dict[int, tuple[str, str]] = {}
    for members in groups.values():
        for tier in tiers(members):
            for deployment, cells in zip(tier, _parts(tier, config.rules.strategy), strict=True):
                parts[id(deployment)] = cells
    ordered = {group for group, members in groups.items() if any(one.order is not None for one in members)}
    router = config.router

    def unlike(figure: float | None, usual: float | None) -> str:
        return NOTHING if figure == usual else "none" if figure is None else f"{figure:g} s"

    return [
        _Line(
            one,
            {
                "ORDER": _or(one.order, str) if one.model_group not in ordered else _or(one.order, str, "last"),
                "WEIGHT": parts[id(one)][0],
                "SHARE": parts[id(one)][1],
                "RPM": _or(one.rpm, _thousands),
                "TPM": _or(one.tpm, _thousands),
                "PARALLEL": _or(one.max_parallel, _thousands),
                "BUDGET": _or(one.budget, _budget),
                "RETRIES": _or(one.max_retries, str),
                "COOLDOWN": _or(one.cooldown_time, "{:g} s".format),
                "ANSWER": unlike(one.timeout, router.timeout),
                "FIRST BYTE": unlike(one.stream_timeout, router.stream_timeout),
                "TAGS": ", ".join(one.tags) or NOTHING,
            },
        )
        for one in config.deployments
    ]


def _parts(tier: Sequence[Deployment], given: Strategy | None) -> list[tuple[str, str]]:
    """Return weight and share of each deployment of a tier."""
    strategy = strategy_of(given, tier)
    figures = shares(tier)
    counts = strategy in (Strategy.SHUFFLE, Strategy.ADAPTIVE)  # whether anybody goes by weights
    weighted = any(one.weight for one in tier)
    whole = sum(figures)
    shared = strategy is Strategy.SHUFFLE and len(set(figures)) > 1
    found = []
    for one, figure in zip(tier, figures, strict=True):
        weight = _or(one.weight, "{:g}".format, f"({figure:g})" if weighted and counts else NOTHING)
        found.append((weight, f"{figure / whole:.0%}" if shared else NOTHING))
    return found


def _or(value: object, write: Callable[..., str], nothing: str = NOTHING) -> str:
    return nothing if value is None else write(value)


def _thousands(number: int) -> str:
    return f"{number:,}"


def _budget(budget: Budget) -> str:
    limit = "" if budget.limit is None else f"{Decimal(budget.limit) / NANO:f} USD"
    return limit if budget.window is None else f"{limit} a {budget.window.duration}"


def _prices(deployment: Deployment, prices: PriceTable) -> tuple[str, str]:
    if deployment.flat:
        return "flat", "flat"
    if "*" in deployment.model_id or not deployment.model_id:
        return "by model", "by model"
    found = prices.find(deployment.price_model, deployment.region)
    return _rates(deployment.prices.over(found) if deployment.prices is not None else found)


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
    rates = price.rates("default", "standard", 0).rates[:2] if price.sets else (None, None)
    if not any(rates) and (price.images or price.meters):
        return "by unit", "by unit"
    return (_usd(rates[0]), _usd(rates[1])) if price.sets else ("no price", "no price")


def _usd(nano: int | None) -> str:
    if nano is None:
        return NOTHING
    figure = f"{Decimal(nano) / NANO:f}"
    whole, _, fraction = figure.partition(".")
    return f"{whole}.{fraction.rstrip('0').ljust(2, '0')}"
