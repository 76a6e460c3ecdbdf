"""What an operator rules: which names are asked instead, how often is tried again, by what calls stick."""

from __future__ import annotations

import pytest

from bedrock_gateway.routing.rules import Affinity, Fallbacks, RetryPolicy, RoutingRules, Strategy


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a", ("b", "c", "d")),
        ("b", ("star", "d", "c")),
        ("star", ("d", "c")),
        ("silent", ("d", "c")),
    ],
)
def test_after(name: str, expected: tuple[str, ...]) -> None:
    """A group's own names, else those of every other one, then the default ones: each once, and not itself."""
    fallbacks = Fallbacks(
        by_group={"a": ("b", "c", "a", "b"), "silent": (), "*": ("star",)},
        default=("d", "c"),
    )

    assert expected == fallbacks.after(name)


def test_at_most_so_many_names_are_tried() -> None:
    """A call goes on to so many other groups and no more, its own not counted."""
    names = tuple("abcdefgh")
    fallbacks = Fallbacks(default=names, context_window={"*": names}, most=3)

    assert (("b", "c", "d"), ("a", "c", "d")) == (fallbacks.after("a"), fallbacks.longer("b"))


def test_longer() -> None:
    """Only what is named for requests that are too long is asked for those, and for nothing else."""
    fallbacks = Fallbacks(default=("d",), context_window={"a": ("a", "wide", "wide"), "*": ("widest",)})

    assert (("wide",), ("widest",), ("d",)) == (fallbacks.longer("a"), fallbacks.longer("b"), fallbacks.after("a"))
    assert () == Fallbacks(default=("d",)).longer("a")


@pytest.mark.parametrize(
    ("fallbacks", "expected"),
    [
        (Fallbacks(), False),
        (Fallbacks(default=("a",)), True),
        (Fallbacks(by_group={"a": ("b",)}), True),
        (Fallbacks(context_window={"a": ("b",)}), True),
    ],
)
def test_whether_anything_is_named(fallbacks: Fallbacks, expected: bool) -> None:
    """Without any name there is nothing to look up."""
    assert expected is bool(fallbacks)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (RetryPolicy(), 0),
        (RetryPolicy(default=2), 2),
        (RetryPolicy(default=1, rate_limit=4, internal=0), 4),
        (RetryPolicy(not_found=3), 3),
    ],
)
def test_the_most_attempts_of_a_policy(policy: RetryPolicy, expected: int) -> None:
    """The largest figure of any kind, 0 without any."""
    assert expected == policy.most


@pytest.mark.parametrize(
    ("asked", "group", "affinity", "retries"),
    [
        ("a", "a", {Affinity.CALLER}, 5),
        ("alias", "a", {Affinity.CALLER}, 5),
        ("own", "a", {Affinity.PREFIX}, 6),
        ("none", "a", set(), 0),
        ("b", "b", {Affinity.SESSION}, 1),
    ],
)
def test_a_group_has_its_own_rules_or_those_of_all(
    asked: str, group: str, affinity: set[Affinity], retries: int
) -> None:
    """What is ruled for the name that was asked for wins, then for the group, then for all; nothing is a rule too."""
    rules = RoutingRules(
        group_affinity={"a": frozenset({Affinity.CALLER}), "own": frozenset({Affinity.PREFIX}), "none": frozenset()},
        retry_policy=RetryPolicy(default=1),
        group_retry_policy={"a": RetryPolicy(default=5), "own": RetryPolicy(default=6), "none": RetryPolicy(default=0)},
    )

    assert (affinity, retries) == (rules.affinity_of(asked, group), rules.retries_of(asked, group).default)


def test_strategies_have_the_names_of_litellm() -> None:
    """What a config of LiteLLM names is what they are called here; adaptive is the gateway's own."""
    assert {
        "simple-shuffle",
        "least-busy",
        "latency-based-routing",
        "usage-based-routing",
        "cost-based-routing",
        "adaptive",
    } == set(Strategy)
