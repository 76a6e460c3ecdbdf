"""Limits on requests, tokens and calls at once: what fits, how long the rest has to wait, and what is given back."""

from __future__ import annotations

import gc
import random
from collections import deque
from collections.abc import Sequence

import pytest

from bedrock_gateway.access.limits import Limit, Limiter, OverLimit, Taken

KEY = "key key-1"
TEAM = "team t1"
START = 5000.0  # monotonic seconds
NOTHING = Limit()


def under(
    name: str = KEY, *, requests: int | None = None, tokens: int | None = None, parallel: int | None = None
) -> tuple[tuple[str, Limit], ...]:
    """Return what ``take`` wants, for one name."""
    return ((name, Limit(requests=requests, tokens=tokens, parallel=parallel)),)


def refused(
    limiter: Limiter, wanted: Sequence[tuple[str, Limit]], tokens: int, now: float
) -> tuple[str, str, int, int, int]:
    """Return what a refusal says."""
    with pytest.raises(OverLimit) as raised:
        limiter.take(wanted, tokens, now)
    over = raised.value
    return over.name, over.kind, over.limit, over.remaining, over.retry_after


def left(taken: Taken, now: float) -> dict[str, str]:
    """Return what the headers say that is left."""
    return {name: value for name, value in taken.headers(now) if "remaining" in name}


def test_requests_are_counted_for_a_minute() -> None:
    """Three a minute: the fourth waits for the first to be a minute old, to the second."""
    limiter = Limiter()
    wanted = under(requests=3)
    for offset in (0, 10, 20):
        limiter.take(wanted, 0, START + offset)

    assert (KEY, "requests", 3, 0, 40) == refused(limiter, wanted, 0, START + 20)
    assert (KEY, "requests", 3, 0, 1) == refused(limiter, wanted, 0, START + 59.5)
    limiter.take(wanted, 0, START + 60)
    assert (KEY, "requests", 3, 0, 10) == refused(limiter, wanted, 0, START + 60)


def test_the_minute_has_no_boundary() -> None:
    """A burst at the end of one minute leaves nothing for the beginning of the next."""
    limiter = Limiter()
    wanted = under(requests=100)
    for _ in range(100):
        limiter.take(wanted, 0, START + 59.9)

    assert (KEY, "requests", 100, 0, 60) == refused(limiter, wanted, 0, START + 60.1)
    limiter.take(wanted, 0, START + 119.9)


def test_what_came_within_a_second_leaves_with_its_last() -> None:
    """Stretches of a second err to the strict side: the first waits for the last of its second."""
    limiter = Limiter()
    wanted = under(requests=2)
    limiter.take(wanted, 0, START)
    limiter.take(wanted, 0, START + 0.9)

    assert (KEY, "requests", 2, 0, 1) == refused(limiter, wanted, 0, START + 60.5)
    limiter.take(wanted, 0, START + 60.9)
    limiter.take(wanted, 0, START + 60.9)


def test_tokens_are_reserved_and_replaced() -> None:
    """An estimate counts until the real number is there; both count from the moment of admission."""
    limiter = Limiter()
    wanted = under(tokens=1000)
    first = limiter.take(wanted, 600, START)
    assert (KEY, "tokens", 1000, 400, 55) == refused(limiter, wanted, 500, START + 5)

    first.settle(100, START + 10)
    second = limiter.take(wanted, 900, START + 11)
    assert (KEY, "tokens", 1000, 0, 49) == refused(limiter, wanted, 50, START + 11)
    assert (KEY, "tokens", 1000, 0, 60) == refused(limiter, wanted, 101, START + 11)

    second.settle(1500, START + 12)
    assert (KEY, "tokens", 1000, 0, 11) == refused(limiter, wanted, 1, START + 60)
    limiter.take(wanted, 1000, START + 71)


def test_tokens_beyond_the_estimate_are_never_lost() -> None:
    """A call that is longer than a minute and used more than was reserved has the difference counted when it is known,
    though its name was forgotten; one that used less changes nothing any more.
    """
    limiter = Limiter()
    wanted = under(tokens=1000)
    long, other = limiter.take(wanted, 300, START), limiter.take(wanted, 300, START)
    for call in (long, other):
        call.leave()
    limiter.take(under(TEAM), 0, START + 200)
    assert 1 == len(limiter)

    long.settle(700, START + 200)
    other.settle(100, START + 200)
    assert (KEY, "tokens", 1000, 600, 50) == refused(limiter, wanted, 601, START + 210)
    limiter.take(wanted, 600, START + 210)


def test_an_excess_joins_what_is_counted_then() -> None:
    """What a long call used beyond its estimate counts together with what newer calls took."""
    limiter = Limiter()
    wanted = under(tokens=1000)
    long = limiter.take(wanted, 300, START)
    newer = limiter.take(wanted, 200, START + 60.5)
    long.settle(400, START + 60.75)
    newer.settle(250, START + 60.8)

    assert (KEY, "tokens", 1000, 650, 60) == refused(limiter, wanted, 651, START + 60.9)


def test_a_call_bigger_than_the_limit_runs_alone() -> None:
    """Its estimate counts as the limit: it fits while nothing else counts, and nothing fits beside it."""
    limiter = Limiter()
    wanted = under(tokens=1000)
    big = limiter.take(wanted, 50_000, START)
    assert (KEY, "tokens", 1000, 0, 60) == refused(limiter, wanted, 1, START)
    assert (KEY, "tokens", 1000, 0, 60) == refused(limiter, wanted, 50_000, START)

    big.settle(400, START + 1)
    limiter.take(wanted, 600, START + 1)
    assert (KEY, "tokens", 1000, 0, 59) == refused(limiter, wanted, 50_000, START + 2)
    limiter.take(wanted, 50_000, START + 61)


def test_a_call_bigger_than_the_limit_counts_as_the_limit() -> None:
    """Under a limit raised meanwhile there is room beside it; and what it used beyond the limit is never lost."""
    limiter = Limiter()
    big = limiter.take(under(tokens=1000), 50_000, START)
    limiter.take(under(tokens=1500), 500, START)
    big.settle(30_000, START + 60)

    assert (KEY, "tokens", 1000, 0, 60) == refused(limiter, under(tokens=1000), 1, START + 60)


def test_calls_without_tokens_pass_a_limit_on_them() -> None:
    """What needs no tokens does not wait for any."""
    limiter = Limiter()
    limiter.take(under(tokens=10), 10, START).settle(500, START)

    limiter.take(under(tokens=10), 0, START)
    limiter.take(under(tokens=0), 0, START)


@pytest.mark.parametrize(
    ("kind", "limit"),
    [("requests", Limit(requests=0)), ("tokens", Limit(tokens=0)), ("parallel", Limit(parallel=0))],
)
def test_a_limit_of_nothing_lets_nothing_pass(kind: str, limit: Limit) -> None:
    """0 is a limit, which no waiting helps against."""
    assert (KEY, kind, 0, 0, 60) == refused(Limiter(), ((KEY, limit),), 5, START)


def test_no_limit_limits_nothing() -> None:
    """None is no limit; names without any may be there all the same."""
    limiter = Limiter()
    for _ in range(1000):
        limiter.take(((KEY, NOTHING), (TEAM, NOTHING)), 10**9, START)

    assert [] == limiter.take((), 10**9, START).headers(START)


def test_calls_at_once() -> None:
    """A slot is free when its call leaves, is released or cancelled; however often, it is one slot."""
    limiter = Limiter()
    wanted = under(parallel=2)
    one, other = limiter.take(wanted, 0, START), limiter.take(wanted, 0, START)
    assert (KEY, "parallel", 2, 0, 1) == refused(limiter, wanted, 0, START + 1000)

    for _ in range(3):
        one.leave()
        one.release()
        one.cancel(START + 1000)
    limiter.take(wanted, 0, START + 1000)
    assert (KEY, "parallel", 2, 0, 1) == refused(limiter, wanted, 0, START + 1000)

    other.cancel(START + 1001)
    other.release()
    limiter.take(wanted, 0, START + 1001)
    assert (KEY, "parallel", 2, 0, 1) == refused(limiter, wanted, 0, START + 1001)


def test_a_caller_that_has_left_is_settled_all_the_same() -> None:
    """Leaving frees the slot; the tokens are replaced when the real number is known."""
    limiter = Limiter()
    wanted = under(tokens=1000, parallel=1)
    taken = limiter.take(wanted, 900, START)
    taken.leave()
    assert {"x-ratelimit-remaining-tokens": "100"} == left(taken, START)

    taken.settle(50, START + 5)
    taken.release()
    assert {"x-ratelimit-remaining-tokens": "950"} == left(taken, START + 5)


def test_what_was_never_settled_stays_as_estimated() -> None:
    """A call that ends without its tokens being known counts as it was reserved; settling it later is too late."""
    limiter = Limiter()
    taken = limiter.take(under(tokens=1000), 900, START)
    taken.release()
    taken.settle(0, START)

    assert {"x-ratelimit-remaining-tokens": "100"} == left(taken, START)


def test_the_first_number_counts() -> None:
    """Settling twice, or cancelling what is settled, changes no tokens."""
    limiter = Limiter()
    taken = limiter.take(under(requests=10, tokens=1000), 900, START)
    taken.settle(300, START)
    taken.settle(500, START)
    taken.cancel(START)

    assert {"x-ratelimit-remaining-requests": "9", "x-ratelimit-remaining-tokens": "700"} == left(taken, START)


def test_cancelling_gives_everything_back() -> None:
    """A call that a later step refuses leaves no trace: no request, no tokens, no slot; settling it counts nothing."""
    limiter = Limiter()
    wanted = under(requests=1, tokens=1000, parallel=1)
    for _ in range(5):
        taken = limiter.take(wanted, 5000, START)
        taken.cancel(START + 0.5)
        taken.settle(800, START + 0.5)

    assert {"x-ratelimit-remaining-requests": "1", "x-ratelimit-remaining-tokens": "1000"} == left(taken, START + 1)


def test_cancelling_after_the_minute_takes_nothing_from_others() -> None:
    """What has stopped to count is not given back a second time."""
    limiter = Limiter()
    wanted = under(requests=2, tokens=1000)
    old = limiter.take(wanted, 500, START)
    limiter.take(wanted, 400, START + 60)
    old.cancel(START + 60)

    assert {"x-ratelimit-remaining-requests": "1", "x-ratelimit-remaining-tokens": "600"} == left(old, START + 60)


def test_all_names_are_looked_at_before_anything_is_taken() -> None:
    """A refusal by the last name leaves the others as they were."""
    limiter = Limiter()
    wanted = (*under(requests=5, tokens=100, parallel=1), *under(TEAM, requests=1))
    limiter.take(under(TEAM), 0, START)

    for _ in range(20):
        assert (TEAM, "requests", 1, 0, 60) == refused(limiter, wanted, 100, START)
    taken = limiter.take(under(requests=5, tokens=100, parallel=1), 100, START)
    assert {"x-ratelimit-remaining-requests": "4", "x-ratelimit-remaining-tokens": "0"} == left(taken, START)


def test_the_longest_wait_is_told() -> None:
    """Of several limits reached, the one that opens last: before that, the call would be refused again."""
    limiter = Limiter()
    limiter.take(under(KEY), 100, START)
    limiter.take(under(TEAM), 100, START + 20)
    key, team = under(requests=1, parallel=1), under(TEAM, tokens=150)

    assert (TEAM, "tokens", 150, 50, 50) == refused(limiter, key + team, 100, START + 30)
    assert (TEAM, "tokens", 150, 50, 50) == refused(limiter, team + key, 100, START + 30)
    assert (KEY, "requests", 1, 0, 30) == refused(limiter, key + team, 50, START + 30)
    assert (KEY, "parallel", 1, 0, 1) == refused(limiter, key + team, 50, START + 75)


def test_a_limit_of_nothing_is_told_before_any_other() -> None:
    """Where waiting helps against one limit but not against the other, it is the other that is told."""
    limiter = Limiter()
    limiter.take(under(KEY), 0, START)
    key, team = under(requests=1), under(TEAM, requests=0)

    assert TEAM == refused(limiter, key + team, 0, START)[0]
    assert TEAM == refused(limiter, team + key, 0, START)[0]


def test_a_refusal_says_what_it_is_about() -> None:
    """The exception's own text is fit for a log."""
    with pytest.raises(OverLimit) as raised:
        Limiter().take(under(requests=0), 0, START)

    assert "key key-1: 0 requests, 0 free, retry after 60 s" == str(raised.value)


def test_limits_may_change_between_calls() -> None:
    """What counts stays: a lower limit refuses at once, a higher one has room at once, a new one knows the past."""
    limiter = Limiter()
    taken = [limiter.take(under(requests=10), 100, START + offset) for offset in range(5)]

    assert (KEY, "requests", 3, 0, 58) == refused(limiter, under(requests=3), 0, START + 4)
    assert (KEY, "tokens", 550, 50, 56) == refused(limiter, under(tokens=550), 100, START + 4)
    assert (KEY, "parallel", 5, 0, 1) == refused(limiter, under(parallel=5), 0, START + 4)
    limiter.take(under(requests=6), 0, START + 4)
    for each in taken:
        each.release()
    limiter.take(under(parallel=2), 0, START + 4)


def test_time_does_not_go_back() -> None:
    """A moment before the latest one counts as the latest: nothing is counted that has left, nothing leaves early."""
    limiter = Limiter()
    wanted = under(requests=2, tokens=100)
    old = limiter.take(wanted, 100, START)
    limiter.take(wanted, 100, START + 100)
    old.settle(0, START + 1)
    old.cancel(START + 1)

    assert (KEY, "tokens", 100, 0, 60) == refused(limiter, wanted, 1, START + 50)
    assert (KEY, "tokens", 100, 0, 1) == refused(limiter, wanted, 1, START + 159)


@pytest.mark.parametrize("begin", [0.0, 0.1, 1e-9, 1 / 3, 4711.1, 123_456_789.123456, 2.0**40 + 0.3])
def test_a_wait_is_exact_in_floats(begin: float) -> None:
    """However the sums are rounded: a second earlier it is refused, and at the second it fits."""
    for step in (0.1, 0.2, 0.7, 1 / 3, 0.999999):
        limiter = Limiter()
        wanted = under(requests=1)
        limiter.take(wanted, 0, begin)
        now = begin + step
        *_, wait = refused(limiter, wanted, 0, now)

        assert 1 <= wait <= 60
        refused(limiter, wanted, 0, now + (wait - 1))
        limiter.take(wanted, 0, now + wait)


def test_headers_tell_of_the_tightest() -> None:
    """For requests and tokens each, of the limit with the least left: it, what is left, and when it is free again."""
    limiter = Limiter()
    wanted = (
        (KEY, Limit(requests=60, tokens=100_000, parallel=5)),
        (TEAM, Limit(requests=50)),
        ("model key-1/claude", Limit(tokens=90_000)),
    )
    limiter.take(under(TEAM), 0, START)
    taken = limiter.take(wanted, 5000, START + 10.5)

    assert [
        ("x-ratelimit-limit-requests", "50"),
        ("x-ratelimit-remaining-requests", "48"),
        ("x-ratelimit-reset-requests", "60s"),
        ("x-ratelimit-limit-tokens", "90000"),
        ("x-ratelimit-remaining-tokens", "85000"),
        ("x-ratelimit-reset-tokens", "60s"),
    ] == taken.headers(START + 10.5)
    assert [
        ("x-ratelimit-limit-requests", "50"),
        ("x-ratelimit-remaining-requests", "49"),
        ("x-ratelimit-reset-requests", "6s"),
        ("x-ratelimit-limit-tokens", "90000"),
        ("x-ratelimit-remaining-tokens", "85000"),
        ("x-ratelimit-reset-tokens", "6s"),
    ] == taken.headers(START + 65)
    assert [
        ("x-ratelimit-limit-requests", "50"),
        ("x-ratelimit-remaining-requests", "50"),
        ("x-ratelimit-reset-requests", "0s"),
        ("x-ratelimit-limit-tokens", "90000"),
        ("x-ratelimit-remaining-tokens", "90000"),
        ("x-ratelimit-reset-tokens", "0s"),
    ] == taken.headers(START + 90)


def test_the_tightest_is_what_has_the_least_left() -> None:
    """That is not always the lowest limit."""
    limiter = Limiter()
    for _ in range(58):
        limiter.take(under(KEY), 1000, START)
    wanted = ((TEAM, Limit(requests=50, tokens=50_000)), (KEY, Limit(requests=60, tokens=60_000)))
    taken = limiter.take(wanted, 1000, START)

    assert {"x-ratelimit-remaining-requests": "1", "x-ratelimit-remaining-tokens": "1000"} == left(taken, START)
    assert {"60", "60000"} == {value for name, value in taken.headers(START) if "-limit-" in name}


def test_headers_never_tell_of_less_than_nothing() -> None:
    """What was used beyond the limit leaves nothing, not less."""
    taken = Limiter().take(under(tokens=100), 50, START)
    taken.settle(500, START)

    assert {"x-ratelimit-remaining-tokens": "0"} == left(taken, START)


def test_headers_tell_of_what_is_limited_only() -> None:
    """Without a limit on tokens there is no header about them."""
    taken = Limiter().take(under(requests=3, parallel=3), 50, START)

    assert {"x-ratelimit-remaining-requests": "2"} == left(taken, START)


def test_headers_by_name_are_litellms() -> None:
    """Every limit has its pair, under LiteLLM's word for whose it is; of several tags the tightest is told."""
    limiter = Limiter()
    wanted = (
        (KEY, Limit(requests=60, tokens=1000, parallel=5)),
        ("user u1", Limit(requests=10)),
        (TEAM, Limit(requests=50)),
        ("member t1/u1", Limit(requests=9)),
        ("end_user e1", Limit(requests=8)),
        ("tag a", Limit(requests=7)),
        ("tag b", Limit(requests=6)),
        ("tag c", Limit(requests=8)),
        ("model key-1/claude", Limit(tokens=900)),
        ("model team t1/claude", Limit(tokens=800)),
    )
    taken = limiter.take(wanted, 100, START)

    assert [
        ("x-ratelimit-api_key-limit-requests", "60"),
        ("x-ratelimit-api_key-remaining-requests", "59"),
        ("x-ratelimit-api_key-limit-tokens", "1000"),
        ("x-ratelimit-api_key-remaining-tokens", "900"),
        ("x-ratelimit-api_key-limit-max_parallel_requests", "5"),
        ("x-ratelimit-api_key-remaining-max_parallel_requests", "4"),
        ("x-ratelimit-user-limit-requests", "10"),
        ("x-ratelimit-user-remaining-requests", "9"),
        ("x-ratelimit-team-limit-requests", "50"),
        ("x-ratelimit-team-remaining-requests", "49"),
        ("x-ratelimit-team_member-limit-requests", "9"),
        ("x-ratelimit-team_member-remaining-requests", "8"),
        ("x-ratelimit-end_user-limit-requests", "8"),
        ("x-ratelimit-end_user-remaining-requests", "7"),
        ("x-ratelimit-tag-limit-requests", "6"),
        ("x-ratelimit-tag-remaining-requests", "5"),
        ("x-ratelimit-model_per_key-limit-tokens", "900"),
        ("x-ratelimit-model_per_key-remaining-tokens", "800"),
        ("x-ratelimit-model_per_team-limit-tokens", "800"),
        ("x-ratelimit-model_per_team-remaining-tokens", "700"),
    ] == taken.litellm_headers(START)


def test_names_are_forgotten() -> None:
    """A hundred thousand names that nothing is left of go, a few with each call; those with a call in a slot stay."""
    limiter = Limiter()
    for number in range(100_000):
        limiter.take(under(f"key {number}", requests=5, parallel=2), 10, START + number / 10_000).leave()
    busy = limiter.take(under("key busy", parallel=1), 10, START + 10)
    assert 100_001 == len(limiter)

    for number in range(2000):
        limiter.take(under(), 10, START + 200 + number / 1000).leave()
    assert 2 == len(limiter)
    assert "parallel" == refused(limiter, under("key busy", parallel=1), 0, START + 202)[1]

    busy.release()
    limiter.take(under(TEAM), 0, START + 400)
    assert 1 == len(limiter)


def test_memory_of_a_name_is_bounded() -> None:
    """However many calls, and however long one goes on: a name keeps at most 61 stretches, one a second."""

    def stretches() -> int:
        return sum(type(each).__name__ == "_Stretch" for each in gc.get_objects())

    limiter = Limiter()
    before = stretches()
    long = limiter.take(under(parallel=2), 10, START)
    for number in range(20_000):
        limiter.take(under(parallel=2), 10, START + number * 0.05).release()

    assert stretches() - before <= 61 + 1  # that of the long call
    long.release()


@pytest.mark.parametrize(("seed", "pace"), [(1, 0.02), (2, 0.4), (3, 1.3)])
def test_no_minute_has_more_than_the_limit(seed: int, pace: float) -> None:
    """Of everything let through under pressure, no 60 seconds hold more than the limit; nearly all of it is used."""
    chance = random.Random(seed)
    limiter = Limiter()
    wanted = under(requests=40, tokens=2000)
    now = START
    minute: deque[tuple[float, int]] = deque()
    taken = 0
    for _ in range(20_000):
        now += chance.expovariate(1 / pace)
        tokens = chance.randrange(100)
        try:
            limiter.take(wanted, tokens, now)
        except OverLimit:
            continue
        taken += 1
        minute.append((now, tokens))
        while minute[0][0] + 60 <= now:
            minute.popleft()

        assert len(minute) <= 40
        assert sum(each for _, each in minute) <= 2000
    possible = min(20_000, 40 * (now - START) / 60)

    assert taken >= 0.85 * possible
