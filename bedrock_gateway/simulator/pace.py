"""How fast a simulated model speaks. Knows arithmetic only; ``sending`` waits."""

from __future__ import annotations

import attrs

__all__ = ["INSTANT", "Pace"]


@attrs.frozen(kw_only=True)
class Pace:
    """Speed of the simulated models; the defaults do not wait at all.

    Attributes:
        first_token_ms: time from the request to the first delta.
        tokens_per_second: deltas per second after it; 0 for all at once. A delta is about a word.
        job_seconds: how long an asynchronous invocation is in progress.
    """

    first_token_ms: float = attrs.field(default=0.0, validator=attrs.validators.ge(0))
    tokens_per_second: float = attrs.field(default=0.0, validator=attrs.validators.ge(0))
    job_seconds: float = attrs.field(default=0.0, validator=attrs.validators.ge(0))

    def due(self, deltas: int) -> float:
        """Give the seconds from the request after which delta number ``deltas`` (the first is 0) leaves."""
        waited = self.first_token_ms / 1_000
        return waited + deltas / self.tokens_per_second if self.tokens_per_second else waited


INSTANT = Pace()
