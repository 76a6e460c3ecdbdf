"""Checks what is said of a key, user, team, … field by field, before anything of it is written.

Knows how a document is read and changed; the fields themselves stand in ``field_tables``, what each may hold in
``values``. Every fault names its field. Pure.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Mapping
from typing import Any

from bedrock_gateway.access.field_tables import KINDS, ROLES
from bedrock_gateway.access.values import LARGEST_DOCUMENT, Parser, shown
from bedrock_gateway.errors import InvalidField

__all__ = ["KINDS", "ROLES", "changed", "document_text", "parse"]

_NOTHING: Mapping[str, Parser] = {}


def parse(kind: str, body: Mapping[str, Any], *, also: Mapping[str, Parser] = _NOTHING) -> dict[str, Any]:
    """Return the fields of a body that are kept, each in its one form; None stands for a field to be cleared.

    Args:
        kind: one of ``KINDS``.
        also: further fields this one request takes.

    Raises:
        InvalidField: a field is unknown, has a wrong value, or restricts what nobody here would enforce.
    """
    table = KINDS[kind]
    given: dict[str, Any] = {}
    for field, value in body.items():
        parser = also.get(field) or table.kept.get(field)
        if parser is not None:
            given[field] = None if value is None else parser(field, value)
        elif field in table.unenforced:
            _refuse_unless_empty(field, value)
        elif field == "spend":
            if value not in (None, 0):
                raise InvalidField(field, "cannot be set: spend is what was booked")
        elif field not in table.idle:
            raise InvalidField(shown(field).strip('"') or '""', f"is not known{_nearest(field, (*table.kept, *also))}")
    metadata = given.get("metadata")
    if metadata:
        given["metadata"] = _lift(kind, metadata, given)
    return given


def _lift(kind: str, metadata: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return metadata without the fields LiteLLM keeps in it; these go where they belong, if not said there too."""
    table = KINDS[kind]
    kept = {}
    for field, value in metadata.items():
        if field in table.lifted:
            if value is not None and given.get(field) is None:
                given[field] = table.kept[field](f"metadata.{field}", value)
        elif field in table.unenforced and table.lifted:
            _refuse_unless_empty(f"metadata.{field}", value)
        else:
            kept[field] = value
    return kept


def _refuse_unless_empty(field: str, value: Any) -> None:
    # 0 is not empty: as a limit it allows nothing.
    if value is None or value is False or value in ("", [], {}):
        return
    raise InvalidField(field, "is not enforced by this gateway, so that it cannot be set; leave it out")


def _nearest(field: str, names: Collection[str]) -> str:
    found = difflib.get_close_matches(field[:64], sorted(names), n=1, cutoff=0.6)
    return f"; did you mean {found[0]}?" if found else ""


def changed(document: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document with what is given over what it said; None takes a field away."""
    merged = {**document, **given}
    return {field: value for field, value in merged.items() if value is not None}


def document_text(document: Mapping[str, Any]) -> str:
    """Return a document as it is stored.

    Raises:
        InvalidField: it is too large.
    """
    told = json.dumps(document, separators=(",", ":"), sort_keys=True)
    if len(told) > LARGEST_DOCUMENT:
        largest = max(document, key=lambda field: len(json.dumps(document[field])))
        raise InvalidField(largest, f"all that is set may take {LARGEST_DOCUMENT} bytes, this is more")
    return told
