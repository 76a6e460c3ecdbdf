"""The outline of a JSON document: the same members as a whole parse, bounded memory, and nothing malformed let
through."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_gateway.metering.outline import MAX_OUTLINE, MalformedDocument, OutlineScanner

KEEP = frozenset(["usage", "images", "results", "q"])

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=40),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4),
    max_leaves=20,
)


def outline(data: bytes, step: int = 1 << 20) -> Any:
    """Outline a whole document handed over in pieces of ``step`` bytes."""
    scanner = OutlineScanner(KEEP)
    for at in range(0, len(data), step):
        scanner.receive_data(data[at : at + step])
    return scanner.document()


def without_number_runs(value: Any) -> Any:
    """What an outline keeps of a value: of numbers in a row in an array only the last."""
    if isinstance(value, dict):
        return {key: without_number_runs(child) for key, child in value.items()}
    if not isinstance(value, list):
        return value
    kept = []
    for index, child in enumerate(value):
        number = type(child) in (int, float)
        if number and index + 1 < len(value):
            continue
        kept.append(without_number_runs(child))
    return kept


@settings(deadline=None, max_examples=150)
@given(
    st.dictionaries(st.sampled_from(["usage", "images", "q", "other", "more"]), values, max_size=5),
    st.integers(1, 40),
    st.sampled_from([None, 1]),
    st.booleans(),
)
def test_same_members_as_a_whole_parse(
    document: dict[str, Any], step: int, indent: int | None, ascii_only: bool
) -> None:
    """However a document is cut and written, the kept members come out as json.loads reads them."""
    data = json.dumps(document, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    try:
        data.decode()
    except UnicodeDecodeError:
        with pytest.raises(MalformedDocument):
            outline(data, step)
        return
    expected = {key: without_number_runs(value) for key, value in document.items() if key in KEEP}
    assert expected == outline(data, step)


@settings(deadline=None, max_examples=200)
@given(values, st.integers(0, 200), st.binary(min_size=1, max_size=3), st.integers(1, 9))
def test_agrees_with_json_on_what_is_malformed(value: Any, at: int, junk: bytes, step: int) -> None:
    """A document with bytes put into it is taken exactly when json.loads takes it."""
    data = json.dumps({"q": value}).encode()
    at = min(at, len(data))
    data = data[:at] + junk + data[at:]
    try:
        json.loads(data.decode(), parse_constant=_refuse)
        expected = True
    except (ValueError, RecursionError):
        expected = False
    try:
        outline(data, step)
        taken = True
    except MalformedDocument:
        taken = False
    assert expected == taken


def _refuse(word: str) -> None:
    raise ValueError(word)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"   ",
        b'{"a":1',
        b'{"a":1}x',
        b'{"a":1}}',
        b'{"a":1,}',
        b"[1,2,]",
        b"[1,2,,3]",
        b'["a" "b"]',
        b'{"a" 1}',
        b'{"a":}',
        b"{a:1}",
        b"{1:1}",
        b'{"a":01}',
        b'{"a":.5}',
        b'{"a":1.}',
        b'{"a":1e}',
        b'{"a":nul}',
        b'{"a":NaN}',
        b'{"a":"\\x"}',
        b'{"a":"\\u12g4"}',
        b'{"a":"\n"}',
        b'{"a":"\xff"}',
        b'{"a":"\xc3"}',
        b'{"a":[}',
        b'{"a":[1}',
        b"]",
        b",",
        b":",
        b"\x00",
        b"[" * 600 + b"]" * 600,
        b'{"a":' + b"1" * 3000,
    ],
)
@pytest.mark.parametrize("step", [1, 3, 1 << 20])
def test_malformed_and_cut_documents(data: bytes, step: int) -> None:
    """Everything that is no JSON document, or only the beginning of one, is noticed at every way of cutting it."""
    with pytest.raises(MalformedDocument):
        outline(data, step)


@pytest.mark.parametrize(
    "data, expected",
    [
        (b'{"usage":{"a":1},"x":2}', {"usage": {"a": 1}}),
        (b' { "x" : [ { } , [ ] , "y" ] , "usage" : { "a" : [ ] } } ', {"usage": {"a": []}}),
        (b'{"usage":1,"usage":2}', {"usage": 2}),
        (b'{"x":{"usage":1}}', {}),
        (b'{"us\\u0061ge":1}', {}),
        (b"[1,2,3]", {}),
        (b'"text"', {}),
        (b"true ", {}),
        (b'{"usage":[1,2,3]}', {"usage": [3]}),
        (b'{"usage":[1,2,"x",3]}', {"usage": ["x", 3]}),
        (b'{"usage":"' + b"x" * 300 + b'"}', {"usage": "~"}),
        (b'{"usage":{"' + b"x" * 300 + b'":1}}', {"usage": {"~": 1}}),
        (b'{"usage":"\\"\\\\\\u00e9"}', {"usage": '"\\é'}),
        (b'{"' + b"k" * 300 + b'":1,"usage":1}', {"usage": 1}),
    ],
)
@pytest.mark.parametrize("step", [1, 2, 1 << 20])
def test_what_is_kept(data: bytes, expected: Any, step: int) -> None:
    """Only members of the top-level object are kept; long strings are marked, runs of numbers dropped."""
    assert expected == outline(data, step)


def test_a_member_too_large_is_dropped_and_named() -> None:
    """A member whose outline is over the bound is dropped; those before and after it are kept."""
    many = [{"tokenCount": "x"}] * (MAX_OUTLINE // 10)
    data = json.dumps({"usage": {"a": 1}, "results": many, "q": 5}).encode()
    scanner = OutlineScanner(KEEP)
    scanner.receive_data(data)
    assert (scanner.document(), scanner.dropped) == ({"usage": {"a": 1}, "q": 5}, ["results"])


def test_an_integer_nobody_converts() -> None:
    """An integer of thousands of digits is taken where it is not kept, and never an unknown error where it is."""
    digits = b"9" * 5000
    assert outline(b'{"x":' + digits + b"}") == {}
    assert outline(b'{"usage":' + digits + b"}") == {"usage": None}


def test_numbers_across_a_cut() -> None:
    """A number cut in two is one number, in a run of numbers and alone."""
    scanner = OutlineScanner(KEEP)
    for piece in (b'{"usage":[12', b"34,5", b'6],"q":7'):
        scanner.receive_data(piece)
    assert not scanner.complete
    scanner.receive_data(b"8}")
    expected = {"usage": [56], "q": 78}
    assert expected == scanner.document()


def test_memory_is_bounded() -> None:
    """Scanning 13 MB of one string and of numbers takes no more memory than a chunk and the outline."""
    piece = b"A" * (1 << 16)
    numbers = b"0.1234567,-8.9e-05," * 3500
    scanner = OutlineScanner(KEEP)
    scanner.receive_data(b'{"images":["')
    tracemalloc.start()
    try:
        for _ in range(100):
            scanner.receive_data(piece)
        scanner.receive_data(b'"],"embedding":[')
        for _ in range(100):
            scanner.receive_data(numbers)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    scanner.receive_data(b'1],"usage":{"a":7}}')
    assert scanner.document() == {"images": ["~"], "usage": {"a": 7}}
    assert peak < 512 * 1024
