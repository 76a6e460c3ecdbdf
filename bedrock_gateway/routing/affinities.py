"""Which deployments have seen a session before, so that its next call finds the prompt cache there.

Knows keys and standings only. Bounded: the sessions heard of least recently are forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

import attrs

from bedrock_gateway.routing.standings import Standing

__all__ = ["Affinities"]

#: Sessions remembered; one takes about 400 bytes.
MOST = 50_000
#: Deployments remembered of one session.
MOST_EACH = 8


@attrs.define(eq=False)
class Affinities:
    """Sessions and where they have been, the latest last.

    Attributes:
        seconds: after which a deployment's cache has nothing left of a session.
    """

    seconds: float = 3600.0
    most: int = MOST
    _seen: OrderedDict[Hashable, dict[Standing, float]] = attrs.field(factory=OrderedDict, init=False)

    def seen(self, key: Hashable, now: float) -> dict[Standing, float]:
        """Return where a session has been, with the moment of its last call there; not to be changed."""
        known = self._seen.get(key)
        if known is None:
            return {}
        since = now - self.seconds
        for standing in [standing for standing, at in known.items() if at < since]:
            del known[standing]
        return known

    def note(self, key: Hashable, standing: Standing, now: float) -> None:
        """Take note that a call of a session goes to a deployment."""
        known = self._seen.get(key)
        if known is None:
            if len(self._seen) >= self.most:
                self._seen.popitem(last=False)
            known = self._seen[key] = {}
        else:
            self._seen.move_to_end(key)
            known.pop(standing, None)
            if len(known) >= MOST_EACH:
                del known[next(iter(known))]
        known[standing] = now
