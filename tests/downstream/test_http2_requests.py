"""Heads of HTTP/2 requests: what aiohttp gets of them, and what is refused."""

from __future__ import annotations

import re

import pytest
from h2.exceptions import ProtocolError
from h2.utilities import HeaderValidationFlags, validate_headers
from hypothesis import example, given
from hypothesis import strategies as st

from bedrock_gateway.downstream.http2_requests import HTTP2, MALFORMED, expects, message_of
from bedrock_gateway.downstream.limits import Limits
from bedrock_gateway.errors import InvalidRequest, Refusal

Fields = list[tuple[bytes, bytes]]

LIMITS = Limits()
POST = [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"gate:4000"), (b":path", b"/model/a%2Fb/x?y=1")]


def test_a_head_becomes_what_aiohttp_makes_a_request_of() -> None:
    """Method, target and headers are those of HTTP/1.1: the authority is Host, and the crumbs of a cookie are one."""
    message = message_of(
        [*POST, (b"cookie", b"a=1"), (b"x-amz-date", b"20260101T000000Z"), (b"cookie", b"b=\xc3\xa9")],
        LIMITS,
        bodiless=False,
    )

    assert ("POST", "/model/a%2Fb/x?y=1", HTTP2) == (message.method, message.path, message.version)
    assert ("/model/a%2Fb/x", "y=1") == (message.url.raw_path, message.url.raw_query_string)
    assert {"x-amz-date": "20260101T000000Z", "cookie": "a=1; b=é", "host": "gate:4000"} == dict(message.headers)
    assert (False, False, False) == (message.should_close, message.upgrade, message.chunked)


def test_a_host_header_does_for_an_authority() -> None:
    """A proxy that translates HTTP/1.1 may leave the authority out."""
    message = message_of([*POST[:2], POST[3], (b"host", b"gate")], LIMITS, bodiless=True)

    assert "gate" == message.headers["Host"]


def test_expect_is_told_apart() -> None:
    """What waits for 100 (Continue) is known, and aiohttp does not see it."""
    fields = [*POST, (b"expect", b"100-Continue")]

    assert expects(fields)
    assert not expects(POST)
    assert "Expect" not in message_of(fields, LIMITS, bodiless=False).headers


@pytest.mark.parametrize(
    ("fields", "bodiless"),
    [
        ([], True),
        (POST[1:], True),
        (POST[:1] + POST[2:], True),
        ([*POST[:1], (b":scheme", b"gopher"), *POST[2:]], True),
        ([*POST, (b":path", b"/again")], True),
        ([*POST, (b":protocol", b"websocket")], True),
        ([*POST, (b":status", b"200")], True),
        ([(b"x", b"y"), *POST], True),
        ([*POST, (b"Upper", b"case")], True),
        ([*POST, (b"", b"x")], True),
        ([*POST, (b"a b", b"x")], True),
        ([*POST, (b"x", b"a\nb")], True),
        ([*POST, (b"x", b"a\x00b")], True),
        ([*POST, (b"x", b" a")], True),
        ([*POST, (b"x", b"a\t")], True),
        ([*POST, (b"connection", b"close")], True),
        ([*POST, (b"transfer-encoding", b"chunked")], True),
        ([*POST, (b"keep-alive", b"1")], True),
        ([*POST, (b"upgrade", b"h2c")], True),
        ([*POST, (b"te", b"gzip")], True),
        ([*POST, (b"content-length", b"5")], True),
        ([*POST[:2], (b":authority", b"user@gate"), POST[3]], True),
        ([(b":method", b"PO ST"), *POST[1:]], True),
        ([(b":method", b"CONNECT"), *POST[1:]], True),
        ([(b":method", b"CONNECT")], True),
    ],
)
def test_malformed_heads_are_refused(fields: Fields, bodiless: bool) -> None:
    """What RFC 9113 calls malformed is refused, and nothing of it is quoted."""
    with pytest.raises(InvalidRequest):
        message_of(fields, LIMITS, bodiless=bodiless)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ([*POST[:3], (b":path", b"/\xc3\xa9")], "The request target is malformed."),
        ([*POST[:3], (b":path", b"")], "The request target is malformed."),
        ([*POST[:3], (b":path", b"/a b")], "The request target is malformed."),
        ([*POST[:3], (b":path", b"http://elsewhere/")], "The request target is malformed."),
        ([*POST[:3], (b":path", b"*")], "The request target is malformed."),
        ([*POST[:2], POST[3]], "The request has neither :authority nor host."),
        ([*POST, (b"host", b"other")], "The request names two hosts: :authority is one, host another."),
        ([*POST, (b"content-type", b"a"), (b"content-type", b"b")], "Duplicate 'content-type' header found."),
    ],
)
def test_what_is_wrong_with_a_target_or_a_host_is_told(fields: Fields, told: str) -> None:
    """A target or host that cannot be served says so."""
    with pytest.raises(InvalidRequest, match=f"^{re.escape(told)}$"):
        message_of(fields, LIMITS, bodiless=True)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ([*POST[:3], (b":path", b"/" + b"x" * 16_384)], "The request target or a header is larger than 16,384 bytes."),
        ([*POST, (b"x", b"x" * 16_384)], "The request target or a header is larger than 16,384 bytes."),
        (
            [*POST, *[(b"x-%d" % number, b"x" * 8_000) for number in range(9)]],
            "The request line and headers together are larger than 65,536 bytes.",
        ),
        ([*POST, *[(b"x", b"")] * 129], "The request has more than 128 headers."),
    ],
)
def test_large_heads_are_refused(fields: Fields, told: str) -> None:
    """The limits of a head are those of HTTP/1.1, in the same words."""
    with pytest.raises(Refusal, match=f"^{re.escape(told)}$") as caught:
        message_of(fields, LIMITS, bodiless=True)

    assert 431 == caught.value.status


NAMES = st.sampled_from([name for name, _ in POST]) | st.sampled_from(
    [b"host", b"te", b"connection", b"cookie", b"x-a", b"X-A", b"", b":new", b"a:b", b"content-length", b"\xff"]
)
VALUES = st.sampled_from(
    [b"POST", b"http", b"/", b"gate", b"trailers", b"", b"CONNECT", b"GET", b"0", b"a\r", b" a", b"\x01", b"*"]
)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=6) | st.permutations(POST), st.booleans())
@example([], True)
def test_nothing_passes_that_h2_refuses(extra: Fields, whole: bool) -> None:
    """Whatever h2 calls malformed is malformed here too: the check is ours for its speed and its answer only."""
    fields = [*POST, *extra] if whole else extra
    try:
        message_of(fields, LIMITS, bodiless=True)
    except Refusal as refusal:
        assert MALFORMED == refusal.message or refusal.status in (400, 431)
        return
    try:
        flags = HeaderValidationFlags(
            is_client=False, is_trailer=False, is_response_header=False, is_push_promise=False
        )
        list(validate_headers(fields, flags))
    except ProtocolError as error:
        raise AssertionError(f"h2 refuses what passed: {error}") from error
