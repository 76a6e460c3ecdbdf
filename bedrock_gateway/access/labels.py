"""Labels that callers put on their calls: tags, and for whom a call is made. They are for reports only, unless the
operator knows them. Pure.

A label makes rows in the ledger's rollups, so a key that makes up a new one for every call must not make them grow
without end: each key has so many, after them everything is ``other``.
"""

from __future__ import annotations

from itertools import islice

import attrs

__all__ = ["MOST_TOLD", "OTHER", "Labels"]

OTHER = "other"
#: Tags of one call, characters of a label, different labels of one key.
MOST_TAGS, LONGEST, MOST_LABELS = 10, 64, 1000
#: Tags of one call that are looked at: a list of a million is not to hold up other calls.
MOST_TOLD = 100


@attrs.define(eq=False)
class Labels:
    """The labels each key has used since the gateway started."""

    _of: dict[str, set[str]] = attrs.field(factory=dict)

    def tags(self, caller: str, told: str) -> tuple[str, ...]:
        """Return the tags of a list with commas, each once, at most ``MOST_TAGS`` of the first ``MOST_TOLD``."""
        parts = told.split(",", MOST_TOLD)[:MOST_TOLD]
        names = dict.fromkeys(name for part in parts if (name := part.strip()))
        # Those beyond are not to use up the labels of the calls to come.
        return tuple(dict.fromkeys(self._label(caller, "tag", name) for name in islice(names, MOST_TAGS)))

    def end_user(self, caller: str, told: str) -> str:
        """Return the end user a caller named; "" where it named none."""
        told = told.strip()
        return self._label(caller, "end_user", told) if told else ""

    def _label(self, caller: str, kind: str, name: str) -> str:
        if not name.isprintable():
            return OTHER
        name = name[:LONGEST]
        used = self._of.setdefault(f"{kind} {caller}", set())
        if name not in used:
            if len(used) >= MOST_LABELS:
                return OTHER
            used.add(name)
        return name
