"""Which of several free deployments is asked. Pure: chance and time are passed in; nothing is remembered here.

Each strategy is a function over a pool (the deployments of one tier, laid out once) and those of them that are free.
Ties are broken by chance everywhere.

Source: LiteLLM documentation, "Router - Load Balancing", for the names and what they promise; its faults are not
copied: a deployment without a figure gets the mean of the others, not nothing, ties do not always go to the first, and
a deployment without a sample is tried by one call at a time. ``adaptive``: Mitzenmacher, "The Power of Two Choices in
Randomized Load Balancing" (IEEE TPDS 2001).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from math import inf

from bedrock_gateway.routing.deployments import Deployment
from bedrock_gateway.routing.rules import RoutingRules, Strategy
from bedrock_gateway.routing.standings import HALF_LIFE, Standing

__all__ = ["PICKS", "Pick", "Pool", "shares", "strategy_of"]

#: Deployments that are all compared under adaptive, and how many are taken by chance where there are more.
MOST_COMPARED, COMPARED = 8, 5
#: Times up to this factor of the least count as alike: else the deployment that was luckiest gets all calls that come
#: one at a time, and nobody learns how the others are.
NEARLY = 1.25


class Pool:
    """The deployments of one tier.

    Attributes:
        members: their standings; deployments: by standing, as this table has them.
        shares: by standing, its part of the calls under simple-shuffle; even: all alike.
        rates: by standing, what its tokens cost, infinite where not known; cheapest: those that cost least. Both only
            for the strategy that asks.
        stale: by stream or not, the moment before which no sample is too old.
    """

    __slots__ = (
        "cheapest",
        "cumulative",
        "deployments",
        "even",
        "limited",
        "members",
        "pick",
        "rates",
        "rules",
        "shares",
        "stale",
    )

    def __init__(
        self,
        deployments: Sequence[Deployment],
        standings: Sequence[Standing],
        rules: RoutingRules,
        rate: Callable[[Deployment], float | None],
    ) -> None:
        self.members = tuple(standings)
        self.deployments: Mapping[Standing, Deployment] = dict(zip(standings, deployments, strict=True))
        parts = shares(deployments)
        self.shares: Mapping[Standing, float] = dict(zip(standings, parts, strict=True))
        self.even = len(set(parts)) <= 1
        self.cumulative = list(accumulate(parts))
        self.limited = any(standing.limit is not None for standing in standings)
        self.rules = rules
        strategy = strategy_of(rules.strategy, deployments)
        self.pick = PICKS[strategy]
        self.rates: dict[Standing, float] = {}
        if strategy is Strategy.COST:
            for standing, deployment in self.deployments.items():
                found = 0.0 if deployment.flat else rate(deployment)
                self.rates[standing] = inf if found is None else found
        least = min(self.rates.values(), default=0.0)
        self.cheapest = [standing for standing, found in self.rates.items() if found == least]
        self.stale = [0.0, 0.0]

    def forget_latencies(self, stream: bool, now: float) -> None:
        """Forget what is known of members by samples that are too old to tell: they are tried again."""
        oldest, seconds = now, self.rules.stats_seconds
        for one in self.members:
            if one.latencies[stream]:
                if one.sampled[stream] + seconds <= now:
                    one.forget_latencies(stream)
                else:
                    oldest = min(oldest, one.sampled[stream])
        self.stale[stream] = oldest + seconds


#: Gives a number in [0, 1).
Chance = Callable[[], float]
#: Chooses among free members of a pool, of which there are at least two, for a call that streams or not, at a moment.
Pick = Callable[[Pool, Sequence[Standing], bool, float, Chance], Standing]


def strategy_of(given: Strategy | None, deployments: Sequence[Deployment]) -> Strategy:
    """Return the strategy of a tier: the one given, else by what it has."""
    if given is not None:
        return given
    # Who gives weights says how calls are to be shared out; LiteLLM's default does so.
    weighted = any(deployment.weight is not None for deployment in deployments)
    return Strategy.SHUFFLE if weighted else Strategy.ADAPTIVE


def shares(deployments: Sequence[Deployment]) -> list[float]:
    """Return the share of each deployment under simple-shuffle.

    By ``weight`` if any has one, else ``rpm``, else ``tpm``, else all alike. One without the figure gets the mean of
    the others: giving a limit to one deployment must not take all traffic from the rest. ``weight: 0`` means last
    resort, whatever else is set.
    """
    for metric in ("weight", "rpm", "tpm"):
        figures = [getattr(deployment, metric) for deployment in deployments]
        given = [figure for figure in figures if figure]
        if given:
            mean = sum(given) / len(given)
            return [
                0.0 if deployment.weight == 0 else float(figure or mean)
                for deployment, figure in zip(deployments, figures, strict=True)
            ]
    return [0.0 if deployment.weight == 0 else 1.0 for deployment in deployments]


def simple_shuffle(pool: Pool, free: Sequence[Standing], stream: bool, now: float, random: Chance) -> Standing:
    """By chance, in proportion to the shares."""
    return _drawn(pool, free, 1, random)[0]


def least_busy(pool: Pool, free: Sequence[Standing], stream: bool, now: float, random: Chance) -> Standing:
    """The one with the fewest calls under way."""
    return _least(free, [one.in_flight for one in free], random)


def latency_based(pool: Pool, free: Sequence[Standing], stream: bool, now: float, random: Chance) -> Standing:
    """One of the fastest, by the mean of the last samples; one without a sample first, as long as nothing is under way
    there and none has failed just now.
    """
    if pool.stale[stream] <= now:
        pool.forget_latencies(stream, now)
    figures = [one.mean_first_byte for one in free] if stream else [one.mean_answer for one in free]
    least = min(figures)
    if not least:
        untried = [
            one
            for one, figure in zip(free, figures, strict=True)
            if not figure and not one.in_flight and not (one.streak and now < one.reasons[-1][0] + HALF_LIFE)
        ]
        if untried:
            return _any(untried, random)
        free = [one for one, figure in zip(free, figures, strict=True) if figure] or free
        figures = [figure for figure in figures if figure] or figures
        least = min(figures)
    if not pool.rules.latency_buffer:
        return _least(free, figures, random)
    most = least * (1 + pool.rules.latency_buffer)
    return _any([one for one, figure in zip(free, figures, strict=True) if figure <= most], random)


def usage_based(pool: Pool, free: Sequence[Standing], stream: bool, now: float, random: Chance) -> Standing:
    """The one with the fewest tokens of late; what is under way counts as usual calls."""
    return _least(free, [one.used for one in free], random)


def cost_based(pool: Pool, free: Sequence[Standing], stream: bool, now: float, random: Chance) -> Standing:
    """The one whose tokens cost least; what is paid by the hour costs nothing, what has no price comes last."""
    rates = pool.rates
    if free is pool.members:
        return _any(pool.cheapest, random)
    return _least(free, [rates[one] for one in free], random)


def adaptive(pool: Pool, free: Sequence[Standing], stream: bool, now: float, random: Chance) -> Standing:
    """The least burdened of some taken by chance, of all where they are few: by calls under way, speed, and how much it
    throttled lately.
    """
    if len(free) > MOST_COMPARED:
        free = _drawn(pool, free, COMPARED, random)
    samples = [one.first_byte for one in free] if stream else [one.answer for one in free]
    known = [sample for sample in samples if sample is not None]
    # Unknown counts as as fast as the fastest: it is asked as soon as nothing is under way there, and not flooded.
    least = min(known) if known else 1.0
    nearly = least * NEARLY
    burdens = []
    for one, sample in zip(free, samples, strict=True):
        pace = least if sample is None else sample
        if sample is not None and now - one.sampled[stream] >= HALF_LIFE:
            # What has faded counts as as fast as the fastest at most: else a burst of calls would all go there.
            pace = max(least, one.speed(stream, now) or 0.0)
        if pace <= nearly:
            pace = least
        if one.share != 1.0:
            pace /= one.share_at(now)
        # Squared, since calls under way alone keep a deployment of three times the latency at a third of the calls.
        burdens.append((one.in_flight + 1) * pace * pace)
    if not pool.even:
        burdens = [burden / pool.shares[one] for one, burden in zip(free, burdens, strict=True)]
    return _least(free, burdens, random)


def _drawn(pool: Pool, free: Sequence[Standing], times: int, random: Chance) -> list[Standing]:
    """Return so many by chance, in proportion to the shares; perhaps one of them more than once."""
    count = len(free)
    if pool.even:
        return [free[int(random() * count)] for _ in range(times)]
    cumulative = pool.cumulative if free is pool.members else list(accumulate([pool.shares[one] for one in free]))
    total, last = cumulative[-1], count - 1
    # Rounding may run past the end.
    return [free[min(bisect_right(cumulative, random() * total), last)] for _ in range(times)]


def _least(free: Sequence[Standing], figures: Sequence[float], random: Chance) -> Standing:
    """Return the one with the least figure, any of them where several have it."""
    least = min(figures)
    times = figures.count(least)
    if times == 1:
        return free[figures.index(least)]
    if times == len(free):
        return _any(free, random)
    at = figures.index(least)
    for _ in range(int(random() * times)):
        at = figures.index(least, at + 1)
    return free[at]


def _any(choices: Sequence[Standing], random: Callable[[], float]) -> Standing:
    return choices[0] if len(choices) == 1 else choices[int(random() * len(choices))]


PICKS: Mapping[Strategy, Pick] = {
    Strategy.SHUFFLE: simple_shuffle,
    Strategy.LEAST_BUSY: least_busy,
    Strategy.LATENCY: latency_based,
    Strategy.USAGE: usage_based,
    Strategy.COST: cost_based,
    Strategy.ADAPTIVE: adaptive,
}
