"""Counting tokens and remembering prefixes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bedrock_gateway.simulator.counting import (
    MAX_PREFIXES,
    CachePoint,
    Part,
    PromptCache,
    count,
    json_part,
    media_part,
    text_part,
)

PART = st.text(max_size=50).map(text_part) | st.dictionaries(st.text(max_size=5), st.integers()).map(json_part)
SEQUENCE = st.lists(PART | st.sampled_from(["5m", "1h"]).map(CachePoint), max_size=12)


def test_prefixes_expire_and_are_renewed() -> None:
    """A 5m prefix lives five minutes from its last read, a 1h prefix an hour."""
    for ttl, lifetime in (("5m", 300.0), ("1h", 3_600.0)):
        cache = PromptCache()
        parts = [text_part("x" * 40), CachePoint(ttl)]
        assert (0, ((ttl, 10),)) == seen(cache, parts, 0.0)
        assert (10, ()) == seen(cache, parts, lifetime - 1)
        assert (10, ()) == seen(cache, parts, 2 * lifetime - 2)
        assert (0, ((ttl, 10),)) == seen(cache, parts, 3 * lifetime)


def seen(cache: PromptCache, parts: list[Part | CachePoint], now: float) -> tuple[int, tuple[tuple[str, int], ...]]:
    """Give what one request reads and writes."""
    counts = cache.account("scope", parts, now)
    return counts.cache_read, counts.cache_writes


def test_prefixes_are_bounded() -> None:
    """The prefix used longest ago is forgotten first."""
    cache = PromptCache()
    for number in range(MAX_PREFIXES + 1):
        seen(cache, [text_part(f"{number:08}"), CachePoint()], 0.0)
    assert (2, ()) == seen(cache, [text_part(f"{MAX_PREFIXES:08}"), CachePoint()], 1.0)
    assert (0, (("5m", 2),)) == seen(cache, [text_part(f"{0:08}"), CachePoint()], 1.0)


@given(parts=SEQUENCE, again=SEQUENCE)
def test_the_total_never_depends_on_the_cache(parts: list[Part | CachePoint], again: list[Part | CachePoint]) -> None:
    """Read, written and uncached tokens add up to the plain count; the same request again writes nothing."""
    cache = PromptCache()
    for asked in (parts, again, parts):
        counts = cache.account("scope", asked, 0.0)
        assert count(asked) == counts.total
        assert min(counts.input, counts.cache_read, counts.cache_write) >= 0
    assert () == counts.cache_writes


def test_media_given_by_location_counts_the_most() -> None:
    """What the request's bytes do not bound counts as the largest."""
    located = {"format": "png", "source": {"s3Location": {"uri": "s3://b/k"}}}
    assert 1_600 == media_part(located).other_tokens
    assert 8_000 == media_part(located, most=8_000).other_tokens
