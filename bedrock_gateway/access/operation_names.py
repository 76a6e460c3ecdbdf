"""Whether a name or glob in a list of operations names any, and what was meant where it names none. Pure.

A list that names nothing allows nothing, and its calls are refused one by one, far from where the slip was made. What
fits what is for ``rights`` to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from bedrock_gateway.access.rights import is_named, names_of
from bedrock_gateway.access.values import operation_glob, shown
from bedrock_gateway.errors import InvalidField
from bedrock_gateway.wire.operations import Operation

__all__ = ["OperationNames"]

#: How begins what an operation goes by that has no name yet: method and path, or a star for more than the method.
_UNNAMED = re.compile(r"(?:GET|HEAD|POST|PUT|PATCH|DELETE)(?: /|\*)")
#: How much alike services and operations have to be, up to 1, for one to be meant by the other: the names of services
#: are much of them the same word, and some are the beginning of others.
_ALIKE_SERVICES = 0.5
_ALIKE = 0.7
#: Characters of a glob that is likened to names.
_LONGEST = 100


class OperationNames:
    """What the operations that are routed can be called in a list."""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self._operations = tuple(operations)
        self._services = {operation.service: operation for operation in self._operations}
        # Most lists hold no globs.
        self._names = frozenset(name for operation in self._operations for name in names_of(operation, operation.name))

    def has(self, glob: str) -> bool:
        """Tell whether a list of this glob alone could allow an operation.

        What is named by method and path could be one of any service that is routed.
        """
        service, name = _parts(glob)
        if _UNNAMED.match(name):
            return not service or any(is_named(one, name, (glob,)) for one in self._services.values())
        if "*" not in glob:
            return glob in self._names
        return any(is_named(one, one.name, (glob,)) for one in self._operations)

    def parse(self, field: str, value: Any) -> str:
        """Take a glob of operations that names one, in the forms of ``values.operation_glob``.

        Raises:
            InvalidField: it is no glob of operations, or names none; with the nearest that does.
        """
        glob = operation_glob(field, value)
        if not self.has(glob):
            raise InvalidField(field, f"{shown(glob)} {self.unknown(glob)}")
        return glob

    def unknown(self, glob: str) -> str:
        """Return what is wrong with a glob that names no operation, with the nearest that does."""
        near = self._nearest(glob[:_LONGEST])
        return f"names no operation{f'; did you mean {near}?' if near else ': docs/operations.md lists them'}"

    def _nearest(self, glob: str) -> str:
        """Return what was most likely meant, or "": the same of another service, else an operation that is spelt much
        like it.
        """
        service, name = _parts(glob)
        if service:
            services = {*self._services, *(one.signing_name for one in self._operations)}
            for alike in get_close_matches(service, sorted(services), n=len(services), cutoff=_ALIKE_SERVICES):
                if self.has(f"{alike}:{name}"):
                    return f"{alike}:{name}"
        known = {one.name.lower(): f"{one.service}:{one.name}" if service else one.name for one in self._operations}
        return next((known[one] for one in get_close_matches(name.lower(), sorted(known), n=1, cutoff=_ALIKE)), "")


def _parts(glob: str) -> tuple[str, str]:
    """Return service and name of a glob; "" for the service where it has none."""
    service, separator, name = glob.partition(":")
    # A path may have colons of its own.
    return (service, name) if separator and "/" not in service else ("", glob)
