"""What a call consumed. Knows tokens, images and units; knows no money and no transport."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import attrs

__all__ = ["Usage", "summed"]


# Nobody changes one; it is not frozen because a frozen one takes twice as long to make, once a call.
@attrs.define(kw_only=True)
class Usage:
    """Quantities one attempt consumed.

    Attributes:
        input_tokens: uncached input tokens (AWS reports input without the cached part).
        output_tokens: output tokens, reasoning included.
        cache_read_tokens: input tokens served from the prompt cache.
        cache_write_5m_tokens: input tokens written to the cache for 5 minutes (also when AWS tells no TTL).
        cache_write_1h_tokens: input tokens written to the cache for an hour.
        images: images made.
        meters: every other quantity as ``(meter, quantity)``, for example ``("guardrail.contentPolicyUnits", 2)``.
        raw: AWS's own usage JSON, compact, as seen; None where AWS told nothing in JSON.
        flags: remarks kept with the row, for example ``"cache-ttl-assumed"``.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    images: int = 0
    meters: tuple[tuple[str, int], ...] = ()
    raw: str | None = None
    flags: tuple[str, ...] = ()

    @property
    def tokens(self) -> int:
        """All tokens, cached ones included."""
        cached = self.cache_read_tokens + self.cache_write_5m_tokens + self.cache_write_1h_tokens
        return self.input_tokens + cached + self.output_tokens


def summed(usages: Iterable[Usage]) -> Usage:
    """Return what several consumed together, without what AWS told of each."""
    whole, meters = Usage(), Counter[str]()
    for one in usages:
        whole.input_tokens += one.input_tokens
        whole.output_tokens += one.output_tokens
        whole.cache_read_tokens += one.cache_read_tokens
        whole.cache_write_5m_tokens += one.cache_write_5m_tokens
        whole.cache_write_1h_tokens += one.cache_write_1h_tokens
        whole.images += one.images
        whole.flags = tuple(dict.fromkeys((*whole.flags, *one.flags)))
        meters.update(dict(one.meters))
    whole.meters = tuple(sorted(meters.items()))
    return whole
