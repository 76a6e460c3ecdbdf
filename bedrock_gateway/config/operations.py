"""``general_settings.default_allowed_operations``: what virtual keys may call beside the built-in set."""

from __future__ import annotations

from bedrock_gateway.config.reading import Section, from_environment, quoted
from bedrock_gateway.config.surroundings import Surroundings

__all__ = ["allowed_operations"]

_KEY = "default_allowed_operations"


def allowed_operations(general: Section, around: Surroundings) -> tuple[str, ...]:
    """Return the names and globs as they are written; what names no operation is warned of at its place.

    No fault: which operations have a name differs from one version of botocore to the next.
    """
    node = general.find(_KEY)
    if node is None:
        return ()
    listed = list(general.reader.words(general.name(_KEY), node))
    known = around.operations() if listed else None
    for word, item in listed:
        if known is None or known.has(word):
            continue
        told = "names no operation" if from_environment(item) else known.unknown(word)
        general.reader.warn(item.line, item.column, f"{general.name(_KEY)}: {quoted(word, item)} {told}")
    return tuple(word for word, _ in listed)
