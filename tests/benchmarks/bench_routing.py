"""What it costs to choose a deployment, by strategy: a group of 50, all of them well, and a place taken on the chosen.

``python tests/benchmarks/bench_routing.py`` prints a table; ``measure()`` returns the rounds. Microseconds of this
machine: a bar is on them, but no test.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import attrs

from bedrock_gateway.routing.balancer import Balancer
from bedrock_gateway.routing.deployments import CredentialSource, Deployment
from bedrock_gateway.routing.health import Health
from bedrock_gateway.routing.resolutions import Resolution, Via
from bedrock_gateway.routing.rules import RoutingRules, Strategy

__all__ = ["measure"]

DEPLOYMENTS = 50
UNDER_WAY = 100
CHOICES = 500
ROUNDS = 15
SEED = 20261126
PLAIN = Deployment(
    id="0",
    name="group",
    model_group="group",
    model_id="amazon.nova-pro-v1:0",
    price_model="amazon.nova-pro-v1:0",
    region="us-east-1",
    credentials=CredentialSource(),
)


def busy_group(strategy: Strategy) -> tuple[Balancer, Resolution, float]:
    """Return a balancer in the middle of its work, with a hundred calls under way, and the moment it is at."""
    deployments = tuple(attrs.evolve(PLAIN, id=str(number)) for number in range(DEPLOYMENTS))
    resolution = Resolution(model_group="group", candidates=(deployments,), via=Via.GROUP)
    balancer = Balancer(
        rules=RoutingRules(strategy=strategy),
        health=Health(),
        random=random.Random(SEED).random,
        rate=lambda deployment: int(deployment.id) % 7,
    )
    generator, now, under_way = random.Random(SEED), 1_000.0, []
    for _ in range(10 * DEPLOYMENTS):
        use = balancer.plan(resolution, now=now, stream=True).next(now)
        assert use is not None
        balancer.answered(use, generator.lognormvariate(-1, 0.5), now)
        under_way.append(use)
        if len(under_way) > UNDER_WAY:
            balancer.end(under_way.pop(generator.randrange(UNDER_WAY)), generator.randrange(5_000), now)
        now += 0.01
    return balancer, resolution, now


def measure() -> dict[Strategy, list[float]]:
    """Return microseconds a choice by strategy, round by round, sorted."""
    found = {}
    for strategy in Strategy:
        balancer, resolution, now = busy_group(strategy)
        rounds = []
        for _ in range(ROUNDS):
            began = time.thread_time()
            uses = [balancer.plan(resolution, now=now, stream=True).next(now) for _ in range(CHOICES)]
            rounds.append((time.thread_time() - began) / CHOICES * 1e6)
            for use in uses:
                assert use is not None
                balancer.end(use, 1_000, now)
        found[strategy] = sorted(rounds)
    return found


def main() -> None:
    """Print what a choice costs under each strategy."""
    print(f"microseconds to choose one of {DEPLOYMENTS}: median (lowest to highest) of {ROUNDS} rounds; bar 5")
    for strategy, rounds in measure().items():
        print(f"{strategy:24} {rounds[len(rounds) // 2]:6.2f} ({rounds[0]:.2f} to {rounds[-1]:.2f})")


if __name__ == "__main__":
    main()
