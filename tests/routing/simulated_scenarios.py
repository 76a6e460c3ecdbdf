"""The worlds the strategies are compared in. Fixed before any strategy was tuned; none is there to please one."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from simulated_upstream import Region

__all__ = ["SCENARIOS", "Scenario"]

SLOW, FAILING = 3.0, 0.3


@attrs.frozen(kw_only=True)
class Scenario:
    """Deployments and who calls them.

    Attributes:
        name: in tables.
        told: what it is, for the docs.
        load: mean calls a minute, as a part of all quotas on requests.
        regions: the deployments, by the scenario's length in seconds.
        calls: about how many are made.
        agents: share of the calls that are turns of sessions.
        affinity: whether a session sticks to a deployment.
        beside: the scenario whose spend its own is told by; None for itself.
    """

    name: str
    told: str
    load: float
    regions: Callable[[float], tuple[Region, ...]]
    calls: int = 12_000
    agents: float = 0.2
    affinity: bool = True
    beside: str | None = None

    def seconds(self, calls: int) -> float:
        """Return how long so many calls take to arrive."""
        return calls / (self.load * sum(region.requests for region in self.regions(0.0)) / 60)


def _always(*regions: Region) -> Callable[[float], tuple[Region, ...]]:
    return lambda seconds: regions


def _out(seconds: float) -> tuple[Region, ...]:
    """Return three regions, one of them out for five minutes about noon; for less where the whole is short."""
    begin = 0.4 * seconds
    return (Region(outages=((begin, begin + min(300.0, 0.25 * seconds)),)), Region(), Region())


def _fifty() -> tuple[Region, ...]:
    """Return fifty accounts and regions as they come: quotas from 20 to 100, two slow, two failing."""
    return tuple(
        Region(
            requests=20.0 + 20 * (number % 5),
            tokens=(20.0 + 20 * (number % 5)) * 3000,
            slowness=SLOW if number in (7, 31) else 0.8 + 0.1 * (number % 4),
            failing=FAILING if number in (13, 44) else 0.0,
        )
        for number in range(50)
    )


def _unequal(*, told: bool) -> tuple[Region, ...]:
    return tuple(Region(requests=size, tokens=3000 * size, told=told) for size in (400.0, 200.0, 50.0))


SCENARIOS = (
    Scenario(
        name="equal",
        told="three equal deployments, calls for 45 % of their quotas",
        load=0.45,
        regions=_always(Region(), Region(), Region()),
    ),
    Scenario(
        name="unequal",
        told="quotas of 400, 200 and 50 requests a minute that the config does not name, calls for 75 % of them",
        load=0.75,
        regions=_always(*_unequal(told=False)),
    ),
    Scenario(
        name="unequal, told",
        told="the same, with `rpm` in the config",
        load=0.75,
        regions=_always(*_unequal(told=True)),
    ),
    Scenario(
        name="slow region",
        told="one of three deployments takes three times as long for everything; 45 %",
        load=0.45,
        regions=_always(Region(slowness=SLOW), Region(), Region()),
    ),
    Scenario(
        name="overload",
        told="three equal deployments, calls for 140 % of their quotas",
        load=1.4,
        regions=_always(Region(), Region(), Region()),
    ),
    Scenario(
        name="one failing",
        told="one of three fails 30 % of what it is asked; 40 %",
        load=0.4,
        regions=_always(Region(failing=FAILING), Region(), Region()),
    ),
    Scenario(
        name="two failing",
        told="two of three fail 30 % of what they are asked; 25 %",
        load=0.25,
        regions=_always(Region(failing=FAILING), Region(failing=FAILING), Region()),
    ),
    Scenario(
        name="outage",
        told="one of three is out for five minutes, then back; 45 %",
        load=0.45,
        regions=_out,
    ),
    Scenario(
        name="sessions",
        told="four equal deployments, nine of ten calls are turns of agents with a prompt cache; 40 %",
        load=0.4,
        agents=0.9,
        regions=_always(Region(), Region(), Region(), Region()),
    ),
    Scenario(
        name="sessions, no affinity",
        told="the same without affinity",
        load=0.4,
        agents=0.9,
        affinity=False,
        beside="sessions",
        regions=_always(Region(), Region(), Region(), Region()),
    ),
    Scenario(
        name="cheap and dear",
        told="two deployments of equal quotas, one at three times the price; 40 %",
        load=0.4,
        regions=_always(Region(), Region(price=3.0)),
    ),
    Scenario(
        name="fifty",
        told="fifty deployments with quotas of 20 to 100 requests a minute, two of them slow, two failing 30 %; 60 %",
        load=0.6,
        calls=20_000,
        regions=_always(*_fifty()),
    ),
)
