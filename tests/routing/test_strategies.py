"""The order in which candidates are tried."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_gateway.routing.deployments import CredentialSource, Deployment
from bedrock_gateway.routing.health import Health
from bedrock_gateway.routing.strategies import order, weights

PLAIN = Deployment(
    id="plain",
    name="plain",
    model_group="g",
    model_id="m",
    price_model="m",
    region="us-east-1",
    credentials=CredentialSource(),
)


def make(name: str, **figures: Any) -> Deployment:
    """Make a deployment with weights or limits."""
    return attrs.evolve(PLAIN, id=name, name=name, **figures)


def names(found: Any) -> list[str]:
    """Return the names of deployments."""
    return [deployment.name for deployment in found]


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ([{}, {}], [1, 1]),
        ([{"weight": 3}, {"weight": 1}], [3, 1]),
        ([{"weight": 3}, {"weight": 1}, {}], [3, 1, 2]),
        ([{"rpm": 100}, {}], [100, 100]),
        ([{"rpm": 100, "tpm": 1}, {"rpm": 300, "tpm": 9}], [100, 300]),
        ([{"tpm": 10}, {"tpm": 30}, {}], [10, 30, 20]),
        ([{"weight": 0.5}, {"rpm": 100}], [0.5, 0.5]),
        ([{"weight": 0}, {}], [0, 1]),
        ([{"weight": 0}, {"weight": 4}, {}], [0, 4, 4]),
        ([{"weight": 0, "rpm": 100}, {"rpm": 50}], [0, 50]),
        ([{"weight": 0}, {"weight": 0}], [0, 0]),
    ],
)
def test_shares(figures: list[dict[str, Any]], expected: list[float]) -> None:
    """weight, else rpm, else tpm, else alike; who lacks the figure gets the mean of the others, and 0 means last."""
    deployments = [make(str(number), **figure) for number, figure in enumerate(figures)]

    assert expected == weights(deployments)


def test_calls_are_shared_by_weight() -> None:
    """Over many calls the first choice falls as the weights say."""
    tier = (make("a", weight=3), make("b", weight=1), make("c", weight=0))
    chance = random.Random(7).random
    firsts = Counter(next(order([tier], chance, Health(), 0)).name for _ in range(4000))

    assert {"a", "b"} == set(firsts)
    assert 2850 < firsts["a"] < 3150


def test_weight_zero_is_the_last_resort() -> None:
    """A deployment of weight 0 comes after every other of its tier."""
    tier = (make("a", weight=0), make("b", weight=1), make("c", weight=1))
    chance = random.Random(7).random

    assert {"a"} == {names(order([tier], chance, Health(), 0))[-1] for _ in range(50)}


def test_tiers_are_tried_one_after_another() -> None:
    """A later tier only comes when the one before is used up."""
    tiers = [(make("a"), make("b")), (make("c"),), (make("d"), make("e"))]
    chance = random.Random(1).random
    for _ in range(20):
        found = names(order(tiers, chance, Health(), 0))

        assert ({"a", "b"}, "c", {"d", "e"}) == (set(found[:2]), found[2], set(found[3:]))


def test_what_is_cooling_is_left_out() -> None:
    """A cooling deployment is not among the candidates."""
    a, b, c = make("a"), make("b"), make("c")
    health = Health(cooldown_time=5)
    health.cool(a, now=0, among=(a, b, c))

    assert ["b", "c"] == sorted(names(order([(a, b), (c,)], lambda: 0.0, health, 1)))


def test_what_cools_on_the_way_is_left_out() -> None:
    """A deployment that another call cooled after the first choice is not tried."""
    a, b, c = make("a", weight=2), make("b"), make("c")
    health = Health(cooldown_time=5)
    candidates = order([(a, b, c)], lambda: 0.0, health, 0)

    assert "a" == next(candidates).name
    health.cool(b, now=0.1, among=(a, b, c))
    assert ["c"] == names(candidates)


def test_if_none_is_free_the_first_to_come_free_is_given() -> None:
    """With everything cooling, the one with the shortest wait is yielded alone."""
    a, b, spare = make("a"), make("b"), make("spare")
    health = Health(cooldown_time=5)
    health.cool(a, now=0, among=(a, b, spare), retry_after=30)
    health.cool(b, now=0, among=(a, b, spare), retry_after=20)
    (only,) = order([(a,), (b,)], lambda: 0.0, health, 1)

    assert ("b", 19) == (only.name, health.wait(only, 1))


def test_no_candidates_give_nothing() -> None:
    """Nothing comes from nothing."""
    assert [] == list(order([], lambda: 0.0, Health(), 0))


@settings(deadline=None)
@given(
    st.lists(
        st.lists(
            st.fixed_dictionaries(
                {}, optional={"weight": st.floats(0, 1e9), "rpm": st.integers(1, 10**9), "tpm": st.integers(1, 10**9)}
            ),
            min_size=1,
            max_size=4,
        ),
        max_size=4,
    ),
    st.lists(st.floats(0, 1, exclude_max=True), min_size=1),
)
def test_each_candidate_comes_once(figures: list[list[dict[str, Any]]], chances: list[float]) -> None:
    """Whatever the weights and the chances, every candidate comes exactly once and tier by tier."""
    tiers = [
        tuple(make(f"{number}/{place}", **figure) for place, figure in enumerate(tier))
        for number, tier in enumerate(figures)
    ]
    numbers = iter(chances * 20)
    found = names(order(tiers, lambda: next(numbers), Health(), 0))

    assert sorted(found) == sorted(names(deployment for tier in tiers for deployment in tier))
    assert [name.split("/")[0] for name in found] == sorted((name.split("/")[0] for name in found), key=int)
