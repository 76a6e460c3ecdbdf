"""Calls over virtual time through the real ``Balancer``, against deployments that only exist in figures.

A queue of moments, no clock and no waiting: the same seed gives the same figures. What follows a failure is what
``bedrock_gateway.chain.fail_over`` does with it, and in the same order: judged, the next place taken, the old one
given back. ``simulated_report`` is what ``make simulation`` runs.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from functools import partial
from random import Random

import attrs
from simulated_callers import Turn, arrivals
from simulated_scenarios import Scenario
from simulated_upstream import CACHE_SECONDS, Answer, Upstream

from bedrock_gateway.routing.balancer import Balancer, Plan, Use
from bedrock_gateway.routing.deployments import CredentialSource, Deployment
from bedrock_gateway.routing.health import Health
from bedrock_gateway.routing.resolutions import Resolution, Via
from bedrock_gateway.routing.rules import RoutingRules, Strategy
from bedrock_gateway.routing.verdicts import THROTTLED, Retry

__all__ = ["Figures", "simulate"]

#: As the gateway has it where the config says nothing: further attempts, and seconds before the same is asked again.
RETRIES, BACKOFF, MOST_WAIT = 2, 0.5, 5.0


@attrs.define(kw_only=True)
class Figures:
    """What came of a scenario.

    Attributes:
        minutes: over which calls arrived.
        calls, succeeded: in all; succeeded_in_time: of these, within ``minutes``.
        attempts, throttled: by deployment.
        first_bytes: seconds from a stream's arrival to its first byte, attempts and waits included, in order.
        readable, read: tokens that were in some deployment's prompt cache, and those that were found.
        spend: in prices of a token of input.
    """

    minutes: float
    calls: int = 0
    succeeded: int = 0
    succeeded_in_time: int = 0
    attempts: Counter[str] = attrs.field(factory=Counter)
    throttled: Counter[str] = attrs.field(factory=Counter)
    first_bytes: list[float] = attrs.field(factory=list)
    readable: int = 0
    read: int = 0
    spend: float = 0.0

    @property
    def goodput(self) -> float:
        """Successful calls a minute."""
        return self.succeeded_in_time / self.minutes

    @property
    def share(self) -> float:
        """The share of calls that succeeded."""
        return self.succeeded / self.calls

    @property
    def attempts_a_call(self) -> float:
        """Attempts by calls."""
        return self.attempts.total() / self.calls

    @property
    def throttled_share(self) -> float:
        """The share of attempts that were throttled."""
        return self.throttled.total() / max(1, self.attempts.total())

    @property
    def kept(self) -> float:
        """The share of what could be read from prompt caches that was."""
        return self.read / max(1, self.readable)

    @property
    def price(self) -> float:
        """Spend by successful calls."""
        return self.spend / max(1, self.succeeded)

    def first_byte(self, part: float) -> float:
        """Return the seconds within which so large a part of the answered streams had their first byte."""
        return self.first_bytes[min(len(self.first_bytes) - 1, int(part * len(self.first_bytes)))]


@attrs.define(eq=False, kw_only=True)
class _Call:
    """One call on its way."""

    turn: Turn
    began: float
    plan: Plan
    attempts: int = 0
    internal_errors: int = 0


def simulate(scenario: Scenario, strategy: Strategy, seed: int, *, calls: int | None = None) -> Figures:
    """Run a scenario with about so many calls (as many as it says itself) and return what came of it."""
    return _Simulation(scenario, strategy, seed, calls or scenario.calls).run()


class _Simulation:
    def __init__(self, scenario: Scenario, strategy: Strategy, seed: int, calls: int) -> None:
        seconds = scenario.seconds(calls)
        regions = scenario.regions(seconds)
        deployments = tuple(
            Deployment(
                id=f"d{number}",
                name=f"d{number}",
                model_group="g",
                model_id="m",
                price_model="m",
                region="us-east-1",
                credentials=CredentialSource(),
                rpm=int(region.requests) if region.told else None,
            )
            for number, region in enumerate(regions)
        )
        self.upstreams = {
            deployment: Upstream(region, Random(f"{seed} {deployment.id}"))
            for deployment, region in zip(deployments, regions, strict=True)
        }
        self.random = Random(f"{seed} gateway").random
        self.balancer = Balancer(
            rules=RoutingRules(strategy=strategy),
            health=Health(),
            random=self.random,
            rate=lambda deployment: self.upstreams[deployment].region.price,
        )
        self.resolution = Resolution(model_group="g", candidates=(deployments,), via=Via.GROUP)
        self.figures = Figures(minutes=seconds / 60)
        self.affinity = scenario.affinity
        self.sent: dict[object, tuple[float, int]] = {}  # by session: when its last prompt was cached, and its tokens
        self.now = 0.0
        self.moments: list[tuple[float, int, Callable[[], None]]] = []
        self.number = 0
        for turn in arrivals(calls, seconds, scenario.agents, Random(f"{seed} callers")):
            self.at(turn.wait, partial(self.arrive, turn))

    def at(self, moment: float, what: Callable[[], None]) -> None:
        self.number += 1
        heapq.heappush(self.moments, (moment, self.number, what))

    def run(self) -> Figures:
        while self.moments:
            self.now, _, what = heapq.heappop(self.moments)
            what()
        assert all(not standing.in_flight for standing in self.balancer.standings())
        self.figures.first_bytes.sort()
        return self.figures

    def arrive(self, turn: Turn) -> None:
        asked = turn.asked
        self.figures.calls += 1
        at, tokens = self.sent.get(asked.session, (-CACHE_SECONDS, 0))
        if self.now - at < CACHE_SECONDS:
            self.figures.readable += tokens
        plan = self.balancer.plan(
            self.resolution,
            now=self.now,
            stream=asked.stream,
            tokens=asked.tokens_in + asked.most_out if self.resolution.limits_tokens else 0,
            session=asked.session if self.affinity else None,
        )
        call = _Call(turn=turn, began=self.now, plan=plan)
        use = plan.next(self.now)
        if use is None:
            self.ended(call)
        else:
            self.ask(call, use)

    def ask(self, call: _Call, use: Use) -> None:
        call.attempts += 1
        name = use.deployment.name
        self.figures.attempts[name] += 1
        upstream = self.upstreams[use.deployment]
        answer = upstream.ask(call.turn.asked, self.now)
        if answer.verdict is None:
            self.at(self.now + answer.whole, lambda: self.answered(call, use, answer))
            if call.turn.asked.stream:
                self.at(self.now + answer.first, lambda: self.begun(call, use, answer))
        else:
            self.figures.throttled[name] += answer.verdict is THROTTLED
            self.at(self.now + answer.first, lambda: self.failed(call, use, answer))

    def begun(self, call: _Call, use: Use, answer: Answer) -> None:
        self.figures.first_bytes.append(self.now - call.began)
        self.balancer.answered(use, answer.first, self.now)

    def answered(self, call: _Call, use: Use, answer: Answer) -> None:
        asked = call.turn.asked
        self.upstreams[use.deployment].end(answer, self.now)
        if not asked.stream:
            self.balancer.answered(use, answer.whole, self.now, tokens=asked.tokens_out)
        self.balancer.end(use, asked.tokens_in + asked.tokens_out, self.now)
        figures = self.figures
        figures.succeeded += 1
        figures.succeeded_in_time += self.now < figures.minutes * 60
        figures.read += answer.read
        figures.spend += answer.spend
        if asked.session is not None:
            self.sent[asked.session] = self.now - answer.whole + answer.first, asked.tokens_in
        self.ended(call)

    def failed(self, call: _Call, use: Use, answer: Answer) -> None:
        """Do as ``fail_over`` does after a failure."""
        verdict, plan, balancer = answer.verdict, call.plan, self.balancer
        assert verdict is not None
        self.upstreams[use.deployment].end(answer, self.now)
        call.internal_errors += verdict.retry is Retry.NEXT_ONCE
        goes_on = verdict.retry is Retry.NEXT or (verdict.retry is Retry.NEXT_ONCE and call.internal_errors == 1)
        balancer.failed(use, verdict, plan, self.now)
        following: Use | None = None
        wait = 0.0
        if goes_on and call.attempts <= RETRIES:
            following = plan.next(self.now)
            if following is None and verdict.same_again:
                wait = BACKOFF * 2 ** (call.attempts - 1)
                if wait <= MOST_WAIT:
                    balancer.end(use, 0, self.now)
                    following = plan.again(use, self.now)
        balancer.end(use, 0, self.now)
        if following is None:
            self.ended(call)
        elif wait:
            again = following
            self.at(self.now + wait * (1 + self.random() / 4), lambda: self.ask(call, again))
        else:
            self.ask(call, following)

    def ended(self, call: _Call) -> None:
        """Let a session go on, be it with an answer or without."""
        following = call.turn.following
        if following is not None:
            self.at(self.now + following.wait, lambda: self.arrive(following))
