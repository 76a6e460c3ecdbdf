"""Request metadata: who a call is made for, written where AWS's model invocation logs keep it, so that they can be
joined with the ledger.

Knows where each kind of operation has it and what AWS allows in it. What the caller wrote there stays; only names that
are the gateway's own are written over. Must not know who calls.

Source: bedrock-runtime service-2.json: ``requestMetadata`` of Converse and ConverseStream, header
``X-Amzn-Bedrock-Request-Metadata`` of InvokeModel and InvokeModelWithResponseStream; ``RequestMetadata`` (at most 16
entries), ``RequestMetadata{Key,Value}String`` (at most 256 characters of a set), ``RequestMetadataJson`` (8,500
characters).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from bedrock_gateway.dialects.edits import set_at, set_member
from bedrock_gateway.errors import InvalidRequest
from bedrock_gateway.wire.operations import Kind, Operation

__all__ = ["MEMBER", "stamp"]

MEMBER = "requestMetadata"
HEADER = "x-amzn-bedrock-request-metadata"
MOST_ENTRIES, MOST_CHARACTERS, MOST_HEADER = 16, 256, 8500
_NOT_ALLOWED = re.compile(r"[^a-zA-Z0-9\s:_@$#=/+,.-]")


def stamp(
    operation: Operation, body: bytes | bytearray, headers: list[tuple[str, str]], ours: Mapping[str, str]
) -> tuple[bytes | bytearray, list[tuple[str, str]], str | None]:
    """Write metadata into a request: ``(body, headers, note for the row)``.

    Operations without a place for it stay as they are, with no note; so does a request whose own metadata is nothing
    AWS would take. Where it would become too much, the last of ours are left out, which the note says.

    Args:
        headers: lower-case names.
        ours: names and values, the one that matters most first; what AWS does not allow in a value becomes ``_``.

    Raises:
        InvalidRequest: a Converse body is not a JSON object in UTF-8.
    """
    fitting = {name: _NOT_ALLOWED.sub("_", value)[:MOST_CHARACTERS] for name, value in ours.items() if value}
    if operation.kind is Kind.CONVERSE:
        return _stamp_body(body, headers, fitting)
    if operation.kind is Kind.INVOKE:
        return _stamp_header(body, headers, fitting)
    return body, headers, None


def _stamp_body(
    body: bytes | bytearray, headers: list[tuple[str, str]], ours: dict[str, str]
) -> tuple[bytes | bytearray, list[tuple[str, str]], str | None]:
    # A name can also be written with escapes.
    if b"\\" not in body and MEMBER.encode() not in body:
        new = json.dumps(ours, separators=(",", ":")).encode()
        return set_member(body, MEMBER, new)[0], headers, _note(ours, ours)
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidRequest("The body is not a JSON object in UTF-8.") from None
    theirs = document.get(MEMBER) if isinstance(document, dict) else None
    if theirs is not None and not isinstance(theirs, dict):
        return body, headers, None
    kept = _with_room(theirs or {}, ours)
    if theirs is None:
        return set_at(body, (MEMBER,), json.dumps(kept).encode())[0], headers, _note(kept, ours)
    for name, value in kept.items():
        body, _ = set_at(body, (MEMBER, name), json.dumps(value).encode())
    return body, headers, _note(kept, ours)


def _stamp_header(
    body: bytes | bytearray, headers: list[tuple[str, str]], ours: dict[str, str]
) -> tuple[bytes | bytearray, list[tuple[str, str]], str | None]:
    given = next((value for name, value in headers if name == HEADER), None)
    try:
        theirs = {} if given is None else json.loads(given)
    except (ValueError, RecursionError):
        return body, headers, None
    if not isinstance(theirs, dict):
        return body, headers, None
    kept = _with_room(theirs, ours)
    # Both sides of a header are ASCII: what is not is written with escapes.
    while len(text := json.dumps({**theirs, **kept}, separators=(",", ":"))) > MOST_HEADER and kept:
        kept.popitem()
    if not kept:
        return body, headers, _note(kept, ours)
    return body, [*(item for item in headers if item[0] != HEADER), (HEADER, text)], _note(kept, ours)


def _with_room(theirs: Mapping[str, object], ours: Mapping[str, str]) -> dict[str, str]:
    """Return as many of ours as AWS takes beside what the caller wrote."""
    kept: dict[str, str] = {}
    for name, value in ours.items():
        if len({*theirs, *kept, name}) <= MOST_ENTRIES:
            kept[name] = value
    return kept


def _note(kept: Mapping[str, str], ours: Mapping[str, str]) -> str:
    left = [name for name in ours if name not in kept]
    return f"edit:metadata without {','.join(left)}" if left else "edit:metadata"
