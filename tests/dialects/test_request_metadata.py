"""Request metadata: ours beside the caller's, never above AWS's limits, every other byte as it was."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedrock_gateway.dialects.request_metadata import HEADER, stamp
from bedrock_gateway.errors import InvalidRequest
from bedrock_gateway.upstream.models import load_operations

OPERATIONS = {operation.name: operation for operation in load_operations(["bedrock-runtime"])}
OURS = {"gateway_call": "01a2", "gateway_key": "key-1", "gateway_user": "", "gateway_team": "red"}
TOLD = {"gateway_call": "01a2", "gateway_key": "key-1", "gateway_team": "red"}


def body_of(body: bytes, ours: dict[str, str] = OURS) -> tuple[bytes, str | None]:
    """Return a Converse body with metadata, and the note."""
    stamped, _, note = stamp(OPERATIONS["Converse"], body, [], ours)
    return bytes(stamped), note


def header_of(given: str | None, ours: dict[str, str] = OURS) -> tuple[Any, str | None]:
    """Return the metadata in an InvokeModel's header, and the note."""
    headers = [("accept", "x")] + ([] if given is None else [(HEADER, given)])
    body, headers, note = stamp(OPERATIONS["InvokeModel"], b"raw", headers, ours)
    assert b"raw" == body
    assert ("accept", "x") in headers
    text = dict(headers).get(HEADER)
    return (None if text is None else json.loads(text)), note


def test_a_body_without_metadata() -> None:
    """Ours go first, and all that was there follows as it was; what nobody is has no entry."""
    stamped, note = body_of(b'{ "messages" : [1.50,"\xc3\xa9"] }')
    assert stamped.endswith(b'"messages" : [1.50,"\xc3\xa9"] }')
    assert {"requestMetadata": TOLD, "messages": [1.5, "é"]} == json.loads(stamped)
    assert "edit:metadata" == note


def test_a_body_with_metadata_of_its_own() -> None:
    """The caller's stay, but under names of ours; a name in escapes is the same name."""
    for name in ("requestMetadata", "request\\u004detadata"):
        body = f'{{"{name}": {{"mine":  "x", "gateway_key": "forged"}}, "a": 1}}'.encode()
        stamped, _ = body_of(body)
        found = json.loads(stamped)
        assert {"mine": "x", **TOLD} == found["requestMetadata"]
        assert b'"mine":  "x"' in stamped
        assert 1 == stamped.count(b"gateway_key")


def test_a_header() -> None:
    """InvokeModel has it in a header, beside the caller's own."""
    assert (TOLD, "edit:metadata") == header_of(None)
    assert ({"mine": "é", **TOLD}, "edit:metadata") == header_of('{"mine": "é", "gateway_key": "forged"}')


@pytest.mark.parametrize("given", ["nonsense", "[]", '"x"'])
def test_metadata_that_aws_will_refuse_stays(given: str) -> None:
    """What is none is AWS's to refuse, as the caller sent it."""
    _, headers, note = stamp(OPERATIONS["InvokeModel"], b"", [(HEADER, given)], OURS)
    assert ([(HEADER, given)], None) == (headers, note)
    body = b'{"requestMetadata": %s}' % (b"7" if given == "nonsense" else given.encode())
    assert (body, None) == body_of(body)


@pytest.mark.parametrize("body", [b"", b"[]", b"nonsense", b'{"requestMetadata": {'])
def test_a_body_that_is_none(body: bytes) -> None:
    """A body that cannot be written into is refused before it is sent."""
    with pytest.raises(InvalidRequest):
        body_of(body)


def test_what_is_too_much_is_left_out() -> None:
    """Sixteen entries, 256 characters and 8,500 of a header are the most there can be; ours give way, last first."""
    theirs = {f"n{index}": "x" for index in range(14)}
    stamped, note = body_of(json.dumps({"requestMetadata": theirs}).encode())
    found = json.loads(stamped)["requestMetadata"]
    assert 16 == len(found)
    assert {"gateway_call", "gateway_key"} == found.keys() - theirs.keys()
    assert "edit:metadata without gateway_team" == note
    found, note = header_of(json.dumps({f"n{index}": "x" * 1408 for index in range(6)}))
    assert "edit:metadata without gateway_call,gateway_key,gateway_team" == note
    assert "gateway_call" not in found


def test_operations_without_a_place() -> None:
    """Where AWS keeps no metadata, nothing is written."""
    for name in ("CountTokens", "ApplyGuardrail", "StartAsyncInvoke"):
        assert (b"{}", [], None) == stamp(OPERATIONS[name], b"{}", [], OURS)


NAMES = st.text(max_size=6)
VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=5,
)


@given(
    st.dictionaries(NAMES | st.just("requestMetadata"), VALUES, max_size=4),
    st.dictionaries(st.sampled_from(["gateway_call", "gateway_key"]), st.text(max_size=300)),
    st.booleans(),
)
def test_any_body(document: dict[str, Any], ours: dict[str, str], ascii_only: bool) -> None:
    """Without ours the document is the one it was, and ours are what AWS takes."""
    body = json.dumps(document, ensure_ascii=ascii_only).encode("utf-8", "replace")
    stamped, note = body_of(body, ours)
    found = json.loads(stamped)
    if note is None:
        assert json.loads(body) == found
        return
    written = found["requestMetadata"]
    for name in ours:
        value = written.pop(name, "")
        assert re.fullmatch(r"[a-zA-Z0-9\s:_@$#=/+,.-]{0,256}", value)
    before = json.loads(body)
    for name in ours:
        (before.get("requestMetadata") or {}).pop(name, None)
    assert (before.get("requestMetadata") or {}) == written
    assert {name: before[name] for name in before if name != "requestMetadata"} == {
        name: found[name] for name in found if name != "requestMetadata"
    }
