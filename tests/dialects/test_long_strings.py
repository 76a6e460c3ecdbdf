"""JSON with long strings in it comes to the same, whether they are cut out before it is parsed or not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_gateway.dialects.long_strings import check_text, cut, put_back
from bedrock_gateway.dialects.requests import read_body
from bedrock_gateway.errors import InvalidRequest

LONG = 66_000
long_texts = st.builds(
    lambda text, more: text * (LONG // len(text) + more), st.text(min_size=1, max_size=3), st.just(1)
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | long_texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | long_texts, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=100, deadline=None)
@given(value=values, ascii_=st.booleans(), space=st.sampled_from([None, 1]))
def test_what_was_cut_out_is_put_back(value: Any, ascii_: bool, space: int | None) -> None:
    """Whatever a document holds, it is the same again; long strings without escapes were not before the parser."""
    body = json.dumps(value, ensure_ascii=ascii_, indent=space).encode("utf-8", "surrogatepass")

    short, found = cut(body)

    assert value == put_back(json.loads(short), found)
    assert len(short) + sum(len(text.encode("utf-8", "surrogatepass")) - 70 for text in found.values()) <= len(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": "%s", "b": "%s\\n"}' % (b"A" * LONG, b"B" * LONG),
        b'{"%s": "%s"}' % (b"k" * LONG, b"v" * LONG),
        b'{"%s" : ["%s", "\\"%s", "c\\\\"]}' % (b"k" * LONG, b"v" * LONG, b"w" * LONG),
        b'["\\\\", "%s", "\\\\\\""]' % (b"A" * LONG),
        b"[%s]" % b",".join([b"1"] * LONG),
    ],
)
def test_escapes_keys_and_numbers(body: bytes) -> None:
    """A string with escapes, a name and what stands between two strings are left where they are."""
    short, found = cut(body)

    assert json.loads(body) == put_back(json.loads(short), found)


@settings(max_examples=50, deadline=None)
@given(
    before=st.binary(max_size=5), bad=st.binary(min_size=1, max_size=4), ends=st.sampled_from([0, 1, 2, 3, 1_048_574])
)
def test_text_is_checked_as_if_all_of_it_was_decoded(before: bytes, bad: bytes, ends: int) -> None:
    """The first byte that is no UTF-8 is named, wherever it stands, also across the pieces that are looked at."""
    body = before + b"a" * (1_048_576 - len(before) - 2 + ends % 4) + bad + b"b" * ends
    try:
        body.decode()
        wanted = None
    except UnicodeDecodeError as error:
        wanted = error.start

    try:
        check_text(body)
        found = None
    except UnicodeDecodeError as error:
        found = error.start

    assert wanted == found


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"a": "%s", "b": }', "line 1, column"),
        (b'{"a": "%s", "a": "%s"', "line 1, column"),
        (b'{"messages": "%s", "messages": "%s"}', "'messages' twice"),
        (b'["%s"]', "another kind of value"),
        (b'{"a": "%s\xff"}', "is no UTF-8"),
        (b'{"a": "%s", "b": NaN}', "NaN is no JSON"),
    ],
)
def test_what_is_wrong_with_a_large_body_is_told_as_of_a_small_one(body: bytes, told: str) -> None:
    """Places and words are those of the body as it came."""
    large = b"A" * 1_100_000
    small, body = body.replace(b"%s", b"A"), body.replace(b"%s", large)

    with pytest.raises(InvalidRequest) as of_small:
        read_body(small)
    with pytest.raises(InvalidRequest) as of_large:
        read_body(body)

    assert told in of_large.value.message
    digits = str.maketrans("", "", "0123456789")
    assert of_small.value.message.translate(digits) == of_large.value.message.translate(digits)


@pytest.mark.parametrize("blanks", [0, 63, 64, 200])
def test_a_long_name_is_never_another(blanks: int) -> None:
    """However far its colon is, a name is read as it stands, and twice is told."""
    name, text = "k" * LONG, "A" * 1_100_000
    body = f'{{"a":"{text}","x":{{"{name}"{" " * blanks}:1}}}}'

    assert {"a": text, "x": {name: 1}} == read_body(body.encode())
    with pytest.raises(InvalidRequest, match="twice"):
        read_body(f'{{"a":"{text}","{name}"{" " * blanks}:1,"{name}"{" " * blanks}:2}}'.encode())


@pytest.mark.parametrize("escape", [b'\\"', b"\\\\", b'\\n\\"'])
def test_strings_of_escapes_are_left_to_the_parser(escape: bytes) -> None:
    """What is full of escapes is not searched through, and comes to the same."""
    body = b'{"a":"' + escape * 600_000 + b'","b":"' + b"A" * LONG + b'"}'

    assert ({}, json.loads(body)) == (cut(body)[1], read_body(body))


def test_a_large_body_is_read() -> None:
    """A picture of megabytes is read as it is, beside the rest."""
    document = {"messages": [{"role": "user", "content": [{"image": {"source": {"bytes": "QUJD" * 500_000}}}]}]}

    assert document == read_body(json.dumps(document).encode())
    assert document == read_body(bytearray(json.dumps(document, indent=1).encode()))
