"""Who calls when, and for what: drawn beforehand, so that every strategy is asked the same.

Calls of nobody in particular arrive one by one, by chance (Poisson), more about noon than at night, with a burst in the
afternoon; a scenario's length is one day. Sessions begin likewise; an agent's next turn follows some seconds after the
answer to the last one and repeats all of it before what is new.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import cos, pi
from random import Random

import attrs
from simulated_upstream import Asked

__all__ = ["Turn", "arrivals"]

#: How much more than the mean arrives at noon (and less at night), and how much more in the burst, a minute long.
SWING, BURST = 0.4, 1.5
BURST_AT, BURST_SECONDS = 0.7, 60.0
#: Sessions begin within this part of the time, so that most end in it.
BEGINNING = 0.85
#: Median and scatter (sigma of a log-normal) of tokens in and out of a call of nobody in particular.
IN, IN_SCATTER, OUT, OUT_SCATTER = 800, 0.8, 180, 0.7
MOST_IN, MOST_OUT = 20_000, 1024
#: Share of calls that want a stream.
STREAMS = 0.6
#: An agent: turns (mean), tokens of system prompt and tools, median new tokens a turn, median seconds between turns.
TURNS, SYSTEM, NEW, THINKING = 15, 6000, 500, 4.0
MOST_TURNS = 60


@attrs.frozen(kw_only=True)
class Turn:
    """One call.

    Attributes:
        wait: seconds after the beginning of the simulation; of a later turn of a session: after the end of the last.
        following: the next turn of its session.
    """

    wait: float
    asked: Asked
    following: Turn | None = None


def arrivals(calls: int, seconds: float, agents: float, chance: Random) -> list[Turn]:
    """Return the calls and first turns of about so many calls, by time.

    Args:
        agents: share of the calls that are turns of sessions.
    """
    alone = [Turn(wait=at, asked=_call(chance)) for at in _moments(calls * (1 - agents), seconds, seconds, chance)]
    sessions = _moments(calls * agents / TURNS, seconds, seconds * BEGINNING, chance)
    return sorted(
        [*alone, *(_session(number, at, chance) for number, at in enumerate(sessions))], key=lambda turn: turn.wait
    )


def _moments(expected: float, seconds: float, until: float, chance: Random) -> Iterator[float]:
    """Yield moments of a Poisson process whose rate goes with the time of day (by thinning)."""
    most = expected / until * (1 + SWING) * BURST
    now = 0.0
    while most > 0:
        now += chance.expovariate(most)
        if now >= until:
            return
        rate = 1 - SWING * cos(2 * pi * now / seconds)
        if BURST_AT * seconds <= now < BURST_AT * seconds + BURST_SECONDS:
            rate *= BURST
        if chance.random() * (1 + SWING) * BURST < rate:
            yield now


def _call(chance: Random) -> Asked:
    return Asked(
        session=None,
        stream=chance.random() < STREAMS,
        tokens_in=min(MOST_IN, round(IN * chance.lognormvariate(0, IN_SCATTER)) + 1),
        tokens_out=min(MOST_OUT, round(OUT * chance.lognormvariate(0, OUT_SCATTER)) + 1),
        most_out=MOST_OUT,
    )


def _session(number: int, at: float, chance: Random) -> Turn:
    count = min(MOST_TURNS, 1 + int(chance.expovariate(1 / (TURNS - 0.5))))
    tokens = SYSTEM
    turns = []
    for place in range(count):
        tokens += round(NEW * chance.lognormvariate(0, 0.6)) + 1
        answer = min(MOST_OUT, round(OUT * chance.lognormvariate(0, OUT_SCATTER)) + 1)
        asked = Asked(session=number, stream=True, tokens_in=tokens, tokens_out=answer, most_out=MOST_OUT)
        turns.append(Turn(wait=at if not place else THINKING * chance.lognormvariate(0, 0.8), asked=asked))
        tokens += answer
    first: Turn | None = None
    for turn in reversed(turns):
        first = attrs.evolve(turn, following=first)
    assert first is not None
    return first
