"""In which order the candidates of a call are tried. Pure: chance and time are passed in.

Source: LiteLLM documentation, "Router - Load Balancing", simple-shuffle (``weight``, else ``rpm``, else ``tpm``, else
uniform) and ``order``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from bedrock_gateway.routing.deployments import Deployment
from bedrock_gateway.routing.health import Health

__all__ = ["order", "weights"]


def order(
    tiers: Sequence[Sequence[Deployment]], random: Callable[[], float], health: Health, now: float
) -> Iterator[Deployment]:
    """Yield every candidate that is free, each once: the tiers in their order, a weighted shuffle within each.

    Where none at all is free, the one that comes free first is yielded alone; ``health.wait`` tells how long that
    takes. Lazy: the first deployment costs one draw, the rest only what is asked for, and what cooled in between is
        left out.

    Args:
        tiers: candidates, first choice first.
        random: gives a number in [0, 1).
        health: what is cooling.
        now: monotonic seconds.
    """
    found = False
    for tier in tiers:
        free = [deployment for deployment in tier if health.available(deployment, now)]
        if len(free) == 1:
            found = True
            yield free[0]
            continue
        shares = weights(free)
        while free:
            chosen = _pick(shares, random())
            shares.pop(chosen)
            deployment = free.pop(chosen)
            if health.available(deployment, now):
                found = True
                yield deployment
    if not found:
        candidates = [deployment for tier in tiers for deployment in tier]
        if candidates:
            yield min(candidates, key=lambda deployment: health.wait(deployment, now))


def weights(deployments: Sequence[Deployment]) -> list[float]:
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


def _pick(shares: Sequence[float], chance: float) -> int:
    """Return the index a chance in [0, 1) falls on; where every share is 0, all are alike."""
    total = sum(shares)
    if total <= 0:
        return min(int(chance * len(shares)), len(shares) - 1)
    point = chance * total
    last = 0
    for index, share in enumerate(shares):
        if share > 0:
            if point < share:
                return index
            point -= share
            last = index
    return last  # rounding ran past the end
