"""Where sessions have been."""

from __future__ import annotations

from deployment_makers import make
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_gateway.routing.affinities import MOST_EACH, Affinities
from bedrock_gateway.routing.standings import Standing

STANDINGS = [Standing(make(str(number))) for number in range(12)]
A, B, C = STANDINGS[:3]


def test_a_session_is_known_where_it_has_been() -> None:
    """The latest place comes last, with its moment; another session is somebody else."""
    affinities = Affinities()
    for standing, now in ((A, 1), (B, 2), (A, 3)):
        affinities.note("s", standing, now)

    assert [(B, 2), (A, 3)] == list(affinities.seen("s", 4).items())
    assert {} == affinities.seen("other", 4)


def test_a_place_expires_by_itself() -> None:
    """A cache that was not read for so long has nothing left; places asked since then have."""
    affinities = Affinities(seconds=100)
    affinities.note("s", A, 0)
    affinities.note("s", B, 50)

    assert [[A, B], [B], []] == [list(affinities.seen("s", now)) for now in (100, 101, 151)]
    affinities.note("s", C, 151)
    assert [C] == list(affinities.seen("s", 151))


def test_a_call_puts_off_when_a_place_expires() -> None:
    """What counts is the last call there."""
    affinities = Affinities(seconds=100)
    affinities.note("s", A, 0)
    affinities.note("s", A, 90)

    assert [A] == list(affinities.seen("s", 190))


def test_sessions_heard_of_least_recently_are_forgotten_first() -> None:
    """There are so many sessions and no more; who calls is not forgotten."""
    affinities = Affinities(most=3)
    for key in ("a", "b", "c", "a", "d"):
        affinities.note(key, A, 0)

    assert ["a", "c", "d"] == [key for key in "abcd" if affinities.seen(key, 0)]


def test_places_of_a_session_are_bounded() -> None:
    """Only the last places are remembered."""
    affinities = Affinities()
    for now, standing in enumerate(STANDINGS):
        affinities.note("s", standing, now)

    assert STANDINGS[-MOST_EACH:] == list(affinities.seen("s", 12))


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.sampled_from(STANDINGS), st.sampled_from([0, 1, 30, 60]), st.booleans()),
        max_size=60,
    )
)
def test_the_latest_place_is_always_known(steps: list[tuple[int, Standing, int, bool]]) -> None:
    """Whoever calls whatever, a session's latest place comes last, and nothing grows beyond its bounds."""
    affinities = Affinities(seconds=60, most=4)
    now = 0
    for key, standing, pause, looks in steps:
        now += pause
        affinities.note(key, standing, now)
        if looks:
            affinities.seen(key - 1, now)

        seen = affinities.seen(key, now)
        assert (standing, now) == list(seen.items())[-1]
        assert list(seen.values()) == sorted(seen.values())
        assert now - 60 <= min(seen.values())
        assert len(seen) <= MOST_EACH
        assert len(affinities._seen) <= 4
