"""Names a config may send a call to: model groups, aliases, what a wildcard group takes, and raw model ids.

Knows no deployment: whether a group is served is for the routing table, which matches wildcards as it is done here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import attrs

from bedrock_gateway.config.document import Node
from bedrock_gateway.config.reading import from_environment, nearest, quoted
from bedrock_gateway.routing.model_names import is_raw_id

__all__ = ["Names"]


def _pattern(groups: Iterable[str]) -> re.Pattern[str] | None:
    wildcards = [".*".join(map(re.escape, group.split("*"))) for group in sorted(groups) if "*" in group]
    return re.compile("|".join(wildcards), re.DOTALL) if wildcards else None


@attrs.frozen
class Names:
    """Every name that leads somewhere; ``in`` tells whether one does.

    Attributes:
        groups: model groups, those not served included.
        aliases: names of ``model_group_alias``.
    """

    groups: frozenset[str]
    aliases: frozenset[str] = frozenset()
    _wildcards: re.Pattern[str] | None = attrs.field(
        init=False, eq=False, repr=False, default=attrs.Factory(lambda self: _pattern(self.groups), takes_self=True)
    )

    def __contains__(self, name: str) -> bool:
        if name in self.groups or name in self.aliases:
            return True
        bare = name.removeprefix("bedrock/")
        if is_raw_id(bare):
            return True
        return self._wildcards is not None and self._wildcards.fullmatch(name) is not None

    def nearest(self, name: str, *, without: str = "") -> str:
        """Return ``; did you mean 'x'?`` for the name most like an unknown one, or nothing.

        Args:
            without: a name that would not do either.
        """
        return nearest(name, (self.groups | self.aliases) - {without})

    def unknown(self, name: str, node: Node, *, without: str = "") -> str:
        """Return an unknown name and what it is, as messages tell it."""
        near = "" if from_environment(node) else self.nearest(name, without=without)
        return f"{quoted(name, node)}, which is no model group{near}"
