"""Cooldowns: deadlines, the last deployment, and what only counts."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_gateway.routing.deployments import CredentialSource, Deployment
from bedrock_gateway.routing.health import LONGEST_RETRY_AFTER, MODEL_COOLDOWN, MOST_MARKS, WINDOW, Health


def deployment(name: str, model_id: str = "amazon.nova-pro-v1:0") -> Deployment:
    """Make a deployment whose id is its name."""
    return Deployment(
        id=name,
        name=name,
        model_group="g",
        model_id=model_id,
        price_model=model_id,
        region="us-east-1",
        credentials=CredentialSource(),
    )


A, B, C = deployment("a"), deployment("b"), deployment("c")
ALL = (A, B, C)


def test_a_cooled_deployment_comes_back_after_the_cooldown_time() -> None:
    """Out until the deadline, free at it."""
    health = Health(cooldown_time=5)

    assert health.cool(A, now=100, among=ALL)
    assert (False, True) == (health.available(A, 104.9), health.available(B, 104.9))
    assert (1.0, 0.0) == (health.wait(A, 104), health.wait(A, 105))
    assert health.available(A, 105)


def test_retry_after_lengthens_and_is_bounded() -> None:
    """Upstream may ask for longer than the cooldown time, but not for hours; shorter changes nothing."""
    health = Health(cooldown_time=5)
    health.cool(A, now=0, among=ALL, retry_after=20)
    health.cool(B, now=0, among=ALL, retry_after=1)

    assert (20, 5) == (health.wait(A, 0), health.wait(B, 0))
    health = Health(cooldown_time=5)
    health.cool(A, now=0, among=ALL, retry_after=86_400)
    assert LONGEST_RETRY_AFTER == health.wait(A, 0)


def test_a_deadline_is_only_put_off() -> None:
    """A shorter failure after a longer one does not bring a deployment back early."""
    health = Health(cooldown_time=5)
    health.cool(A, now=0, among=ALL, retry_after=30)
    health.cool(A, now=1, among=ALL)

    assert 30 == health.wait(A, 0)


def test_the_last_free_deployment_is_never_cooled() -> None:
    """Where no other candidate is free, the mark is not set."""
    health = Health(cooldown_time=5)

    assert not health.cool(A, now=0, among=(A,))
    assert health.cool(A, now=0, among=(A, B))
    assert not health.cool(B, now=0, among=(A, B))
    assert (False, True) == (health.available(A, 1), health.available(B, 1))
    assert health.cool(B, now=5, among=(A, B))


def test_a_model_mark_is_for_that_model_and_five_minutes() -> None:
    """Access denied to one model leaves the deployment's other models alone (wildcards keep one id)."""
    health = Health(cooldown_time=5)
    other = deployment("a", "amazon.nova-lite-v1:0")

    assert health.mark_model(A, now=0, among=ALL)
    assert (False, True) == (health.available(A, 299.9), health.available(other, 1))
    assert health.available(A, MODEL_COOLDOWN)
    assert {} == health.cooling(1)


def test_failures_that_count_cool_when_there_are_too_many() -> None:
    """More than the allowed failures within a minute cool; older ones are forgotten."""
    health = Health(cooldown_time=5, allowed_fails=2)

    assert [False, False, True] == [health.count(A, now=second, among=ALL) for second in (0, 1, 2)]
    assert [False, False, False] == [health.count(B, now=second, among=ALL) for second in (0, 1, WINDOW)]
    assert {"a": 4.0} == health.cooling(3)


def test_no_cooldown_time_means_no_cooling() -> None:
    """With cooldown_time 0 nothing but a model that cannot be called is left out."""
    health = Health(cooldown_time=0, allowed_fails=0)

    assert (False, False) == (health.cool(A, now=0, among=ALL), health.count(A, now=0, among=ALL))
    assert health.mark_model(A, now=0, among=ALL)


def test_marks_do_not_grow_without_end() -> None:
    """Marks that have run out are dropped."""
    health = Health(cooldown_time=1)
    for number in range(4 * MOST_MARKS):
        health.cool(deployment(f"d{number}"), now=number * 2, among=ALL)
        health.count(deployment(f"d{number}"), now=number * 2, among=ALL)

    assert len(health._deadlines) <= MOST_MARKS
    assert len(health._fails) <= MOST_MARKS


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(ALL),
            st.sampled_from(["cool", "mark", "count"]),
            st.floats(0, 20),
            st.none() | st.floats(0, 100),
        ),
        max_size=40,
    )
)
def test_one_candidate_is_always_free(steps: list[tuple[Deployment, str, float, float | None]]) -> None:
    """Whatever fails in whatever order, one candidate stays free, and no wait gets shorter."""
    health = Health(cooldown_time=5, allowed_fails=1)
    now = 0.0
    for failed, kind, pause, retry_after in steps:
        now += pause
        before = {item.id: health.wait(item, now) for item in ALL}
        if kind == "cool":
            health.cool(failed, now=now, among=ALL, retry_after=retry_after)
        elif kind == "mark":
            health.mark_model(failed, now=now, among=ALL)
        else:
            health.count(failed, now=now, among=ALL)
        assert any(health.available(item, now) for item in ALL)
        assert all(health.wait(item, now) >= before[item.id] for item in ALL)
