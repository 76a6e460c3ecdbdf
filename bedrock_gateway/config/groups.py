"""What is to be said of a whole model group once all its entries are read: figures that only some of them have."""

from __future__ import annotations

from collections.abc import Iterable

from bedrock_gateway.config.entries import Listed
from bedrock_gateway.config.reading import Reader
from bedrock_gateway.routing.deployments import Deployment
from bedrock_gateway.routing.rules import Strategy
from bedrock_gateway.routing.strategies import shares
from bedrock_gateway.routing.table import tiers

__all__ = ["warn_of_groups"]

#: Strategies under which weights count.
_WEIGHTED = (None, Strategy.SHUFFLE, Strategy.ADAPTIVE)


def warn_of_groups(reader: Reader, listed: Listed, strategy: Strategy | None) -> None:
    """Warn of every group of which some entries have an order, or a weight, and others have none."""
    groups: dict[str, list[Deployment]] = {}
    places = {id(deployment): place for deployment, place in zip(listed.deployments, listed.places, strict=True)}
    for deployment in listed.deployments:
        groups.setdefault(deployment.model_group, []).append(deployment)

    def warn(group: str, without: list[Deployment], figure: str, one: str, several: str) -> None:
        line, column = places[id(without[0])]
        more = len(without) - 1
        who, so = ("this entry has", one) if not more else (f"this entry and {more} more have", several)
        reader.warn(line, column, f"model group {group!r}: {who} no {figure} and others have one; {so}")

    for group, members in groups.items():
        unordered = [one for one in members if one.order is None]
        if 0 < len(unordered) < len(members):
            warn(group, unordered, "order", "it comes last", "they come last")
        for tier in tiers(members) if strategy in _WEIGHTED else ():
            light = [one for one in tier if one.weight is None]
            if light and any(one.weight for one in tier):
                mean = _share(light[0], tier)
                warn(
                    group, light, "weight", f"it counts as their mean, {mean:g}", f"each counts as their mean, {mean:g}"
                )


def _share(deployment: Deployment, tier: Iterable[Deployment]) -> float:
    members = list(tier)
    return shares(members)[members.index(deployment)]
