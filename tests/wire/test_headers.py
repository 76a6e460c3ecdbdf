"""What goes up, what comes down, what is signed, and what can never get through."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bedrock_gateway.errors import InvalidRequest, MaybeBilled
from bedrock_gateway.wire.headers import (
    IDENTITY,
    content_coding,
    downstream_headers,
    is_signed,
    strip_query_credentials,
    upstream_headers,
)


@pytest.mark.parametrize(
    "name",
    [
        "Content-Type",
        "Accept",
        "anthropic-beta",
        "X-Amzn-Trace-Id",
        "X-Amzn-Bedrock-Accept",
        "X-Amzn-Bedrock-Trace",
        "X-Amzn-Bedrock-GuardrailIdentifier",
        "X-Amzn-Bedrock-GuardrailVersion",
        "X-Amzn-Bedrock-PerformanceConfig-Latency",
        "X-Amzn-Bedrock-Service-Tier",
        "X-Amzn-Bedrock-Request-Metadata",
        "x-amzn-bedrock-something-new",
    ],
)
def test_goes_up(name: str) -> None:
    """Headers that carry meaning for Bedrock go up under their name in lower case."""
    assert [(name.lower(), "v, w"), IDENTITY] == upstream_headers([(name, "v, w")])


@pytest.mark.parametrize(
    "name",
    [
        "Authorization",
        "X-Amz-Date",
        "X-Amz-Content-Sha256",
        "X-Amz-Security-Token",
        "X-Amz-User-Agent",
        "x-amz-source-arn",
        "amz-sdk-invocation-id",
        "amz-sdk-request",
        "Host",
        "User-Agent",
        "x-api-key",
        "api-key",
        "x-litellm-api-key",
        "x-litellm-tags",
        "x-bedrock-gateway-key",
        "x-bedrock-gateway-tags",
        "anthropic-version",
        "Connection",
        "Keep-Alive",
        "Proxy-Authorization",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
        "Expect",
        "Accept-Encoding",
        "Content-Encoding",
        "Content-Length",
        "Cookie",
        "Origin",
        "X-Forwarded-For",
        "X-Real-Ip",
        "x-stainless-lang",
        "x-amzn-bedroc",
        "x-amzn-requestid",
    ],
)
def test_stays_here(name: str) -> None:
    """Credentials, this connection's own and everything unheard of stay behind; identity is always asked for."""
    assert [IDENTITY] == upstream_headers([(name, "gzip")])


@pytest.mark.parametrize(
    ("name", "items", "expected"),
    [
        (
            "named by Connection",
            [("X-Amzn-Bedrock-Trace", "ENABLED"), ("Connection", "close, X-AMZN-Bedrock-Trace")],
            [],
        ),
        ("named before", [("Connection", "accept"), ("Accept", "*/*")], []),
        ("named in a second line", [("Connection", "close"), ("Connection", "accept"), ("Accept", "*/*")], []),
        ("equal lines", [("Content-Type", "a/b"), ("content-type", "a/b")], [("content-type", "a/b")]),
        ("list in lines", [("anthropic-beta", "x"), ("Anthropic-Beta", "y")], [("anthropic-beta", "x, y")]),
        ("order", [("Accept", "b"), ("Content-Type", "a")], [("accept", "b"), ("content-type", "a")]),
        (
            "utf-8",
            [("X-Amzn-Bedrock-Request-Metadata", '{"a":"\u00e9\t"}')],
            [("x-amzn-bedrock-request-metadata", '{"a":"\u00e9\t"}')],
        ),
        ("nothing", [], []),
    ],
)
def test_upstream(name: str, items: list[tuple[str, str]], expected: list[tuple[str, str]]) -> None:
    """Repeated headers become one, and what Connection names is gone."""
    assert [*expected, IDENTITY] == upstream_headers(items), name


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([("Content-Type", "a/b"), ("Content-Type", "a/c")], "content-type comes twice with different values"),
        (
            [("X-Amzn-Bedrock-GuardrailVersion", "1"), ("x-amzn-bedrock-guardrailversion", "2")],
            "x-amzn-bedrock-guardrailversion comes twice",
        ),
        ([("Accept", "a\r\nx-evil: b")], "accept holds a control character"),
        ([("Accept", "a\nb")], "accept holds a control character"),
        ([("Accept", "a\x00")], "accept holds a control character"),
        ([("Accept", "a\x7f")], "accept holds a control character"),
        ([("Accept", "\u00e9\r")], "accept holds a control character"),
        ([("Accept", "\udcff")], "accept holds a control character or bytes that are not UTF-8"),
        ([("X-Amzn-Bedrock-\r\nHost", "a")], "The name of an X-Amzn-Bedrock header"),
    ],
)
def test_upstream_refuses(items: list[tuple[str, str]], expected: str) -> None:
    """Ambiguous headers and values that would break out of their line are a 400."""
    with pytest.raises(InvalidRequest) as caught:
        upstream_headers(items)
    assert expected in caught.value.message


@pytest.mark.parametrize(
    ("name", "items", "expected"),
    [
        ("request id", [("x-amzn-RequestId", "1")], [("x-amzn-requestid", "1")]),
        ("error type", [("x-amzn-ErrorType", "A:http://b/")], [("x-amzn-errortype", "A:http://b/")]),
        ("tokens", [("X-Amzn-Bedrock-Input-Token-Count", "3")], [("x-amzn-bedrock-input-token-count", "3")]),
        ("agents", [("x-amz-bedrock-flow-execution-id", "f")], [("x-amz-bedrock-flow-execution-id", "f")]),
        ("type", [("Content-Type", "application/json")], [("content-type", "application/json")]),
        ("wait", [("Retry-After", "3")], [("retry-after", "3")]),
        ("simulated", [("x-bedrock-gateway-simulated", "true")], [("x-bedrock-gateway-simulated", "true")]),
        ("another gateway's", [("x-bedrock-gateway-spend-usd", "1")], []),
        ("length", [("Content-Length", "0")], []),
        ("chunked", [("Transfer-Encoding", "chunked")], []),
        ("connection", [("Connection", "keep-alive"), ("Keep-Alive", "5")], []),
        ("named", [("Connection", "close, X-Amzn-A"), ("x-amzn-a", "1"), ("x-amzn-b", "2")], [("x-amzn-b", "2")]),
        ("date, server, cookie", [("Date", "d"), ("Server", "s"), ("Set-Cookie", "c=1")], []),
        ("location", [("Location", "http://x/"), ("Access-Control-Allow-Origin", "*")], []),
        ("identity", [("Content-Encoding", "Identity")], []),
        ("repeated", [("x-amzn-a", "1"), ("x-amzn-a", "2")], [("x-amzn-a", "1"), ("x-amzn-a", "2")]),
        ("line feed", [("x-amzn-a", "1\nSet-Cookie: x"), ("x-amzn-b", "2")], [("x-amzn-b", "2")]),
        ("not utf-8", [("x-amzn-a", "\udce9")], []),
        ("bad name", [("x-amzn-a b", "1")], []),
    ],
)
def test_downstream(name: str, items: list[tuple[str, str]], expected: list[tuple[str, str]]) -> None:
    """AWS's own headers come down, framing and hosts do not."""
    assert expected == downstream_headers(items), name


def test_compressed_answer() -> None:
    """A body nobody can read is never passed on as if it were plain."""
    with pytest.raises(MaybeBilled, match="compressed body although none was asked for") as caught:
        downstream_headers([("Content-Type", "application/json"), ("Content-Encoding", "gzip")])
    assert "content-encoding 'gzip'" == caught.value.at


@pytest.mark.parametrize(
    ("value", "expected"), [(None, None), ("", None), (" Identity ", None), ("GZIP", "gzip"), ("br, gzip", "br, gzip")]
)
def test_content_coding(value: str | None, expected: str | None) -> None:
    """Identity, said or not, is no coding."""
    assert expected == content_coding(value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("host", True),
        ("content-type", True),
        ("x-amz-date", True),
        ("x-amz-security-token", True),
        ("x-amzn-bedrock-trace", True),
        ("x-amzn-trace-id", False),
        ("accept", False),
        ("accept-encoding", False),
        ("anthropic-beta", False),
        ("user-agent", False),
        ("content-length", False),
        ("connection", False),
    ],
)
def test_is_signed(name: str, expected: bool) -> None:
    """Only what no hop may change is signed."""
    assert expected == is_signed(name)


@pytest.mark.parametrize(
    ("raw_query", "expected"),
    [
        ("", ""),
        ("a=1&b=%2f&&c", "a=1&b=%2f&&c"),
        ("gizmo=1&amz=2", "gizmo=1&amz=2"),
        ("X-Amz-Signature=s", ""),
        ("a=1&X-Amz-Credential=k%2F2026&b=2", "a=1&b=2"),
        ("x-amz-security-token=t&maxResults=5&X-AMZ-DATE", "maxResults=5"),
        ("X%2DAmz%2dDate=1&n=%20", "n=%20"),
        ("X%252DAmz-Date=1&n", "n"),
        ("%58-Amz-Date=1", ""),
        ("a=X-Amz-Date=1&ax-amz-date=2", "a=X-Amz-Date=1&ax-amz-date=2"),
    ],
)
def test_strip_query_credentials(raw_query: str, expected: str) -> None:
    """A signature in the query goes, in whatever spelling; every other byte stays."""
    assert expected == strip_query_credentials(raw_query)


NAMES = st.sampled_from(
    ["Accept", "content-type", "X-Amzn-Bedrock-Trace", "x-amzn-a", "Connection", "x-y", "Retry-After"]
)
ITEMS = st.lists(st.tuples(NAMES | st.text(max_size=8).map("x-amzn-bedrock-".__add__), st.text(max_size=8)), max_size=6)


@settings(deadline=None, max_examples=150)
@given(items=ITEMS)
@example(items=[("Accept", "\r")])
def test_nothing_breaks_out(items: list[tuple[str, str]]) -> None:
    """Whatever comes in, no control character and nothing unencodable comes out, in either direction."""
    out = downstream_headers(items)
    try:
        out += upstream_headers(items)
    except InvalidRequest:
        pass
    for name, value in out:
        line = f"{name}: {value}".encode()
        assert not {0, 10, 13} & set(line)
        assert name == name.lower() and name.isascii()
