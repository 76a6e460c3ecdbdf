"""What is refused before routing, as tables."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from bedrock_gateway.downstream.guard import EntryPolicy, HostPolicy, check_request, instance_mark
from bedrock_gateway.errors import AccessDenied, InvalidRequest, Refusal

MARK = instance_mark("0.1.0", "0198c0de")
OPEN = EntryPolicy(
    hosts=HostPolicy(open_mode=True, allowed_hosts=frozenset({"Gateway.lan", "only.lan:4000"})),
    allowed_origins=frozenset({"https://chat.example"}),
    mark=MARK,
)
LOCKED = EntryPolicy(hosts=HostPolicy(open_mode=False), mark=MARK)


def refusal(
    headers: list[tuple[str, str]],
    *,
    policy: EntryPolicy = LOCKED,
    method: str = "POST",
    target: str = "/model/x/converse",
) -> type[Refusal] | None:
    """Return the kind of refusal a request gets, or None."""
    if not any(name.lower() == "host" for name, _ in headers):
        headers = [("Host", "127.0.0.1:4000"), *headers]
    try:
        check_request(method, target, CIMultiDict(headers), policy)
    except Refusal as found:
        return type(found)
    return None


@pytest.mark.parametrize(
    ("host", "open_mode"),
    [
        ("127.0.0.1", None),
        ("127.0.0.1:4000", None),
        ("localhost:1", None),
        ("LOCALHOST", None),
        ("[::1]:4000", None),
        ("[::1]", None),
        ("0.0.0.0:4000", None),
        ("gateway.lan", None),
        ("GATEWAY.lan:99", None),
        ("only.lan:4000", None),
        ("only.lan", AccessDenied),
        ("only.lan:4001", AccessDenied),
        ("", AccessDenied),
        ("evil.example", AccessDenied),
        ("127.0.0.1.evil.example", AccessDenied),
        ("localhost.evil.example:4000", AccessDenied),
        ("evil.example:80@127.0.0.1", AccessDenied),
        ("127.0.0.1:4000@evil.example", AccessDenied),
        ("localhost:evil", AccessDenied),
        ("[::1]evil.example", AccessDenied),
        ("[::1", AccessDenied),
        ("[::2]:4000", AccessDenied),
        ("127.0.0.2", AccessDenied),
        ("localhost:٤", AccessDenied),
        ("localhost, evil.example", AccessDenied),
    ],
)
def test_hosts(host: str, open_mode: type[Refusal] | None) -> None:
    """Open mode answers only to this machine's names and the allowed ones; with keys any name is fine."""
    assert open_mode == refusal([("Host", host)], policy=OPEN)
    assert None is refusal([("Host", host)], policy=LOCKED)


def test_host_is_needed_in_open_mode() -> None:
    """HTTP/1.0 may leave Host out; open mode does not take that."""
    with pytest.raises(AccessDenied):
        check_request("GET", "/", CIMultiDict(), OPEN)
    check_request("GET", "/", CIMultiDict(), LOCKED)


def test_two_hosts_are_refused() -> None:
    """Two Host headers cannot both be meant."""
    assert InvalidRequest is refusal([("Host", "localhost"), ("host", "localhost")])


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], None),
        ([("Origin", "https://chat.example")], None),
        ([("Origin", "HTTPS://Chat.example")], None),
        ([("Origin", "https://chat.example"), ("Sec-Fetch-Site", "cross-site")], None),
        ([("Origin", "https://evil.example")], AccessDenied),
        ([("Origin", "https://chat.example.evil.example")], AccessDenied),
        ([("Origin", "http://127.0.0.1:4000")], AccessDenied),
        ([("Origin", "null")], AccessDenied),
        ([("Origin", "")], AccessDenied),
        ([("Origin", "https://chat.example"), ("Origin", "https://evil.example")], AccessDenied),
        ([("Sec-Fetch-Site", "none")], None),
        ([("sec-fetch-site", "Same-Origin")], None),
        ([("Sec-Fetch-Site", "cross-site")], AccessDenied),
        ([("Sec-Fetch-Site", "same-site")], AccessDenied),
        ([("Sec-Fetch-Site", "none"), ("Sec-Fetch-Site", "cross-site")], AccessDenied),
        ([("Sec-Fetch-Mode", "cors")], None),
    ],
)
def test_origins(headers: list[tuple[str, str]], expected: type[Refusal] | None) -> None:
    """Web pages are kept out unless their origin is allowed; undici's lone Sec-Fetch-Mode is no page."""
    assert expected == refusal(headers, policy=OPEN)


def test_no_origin_is_allowed_by_default() -> None:
    """Nothing is allowed that was not named, in locked mode as in open mode."""
    assert AccessDenied is refusal([("Origin", "https://chat.example")], policy=LOCKED)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("GET", None),
        ("POST", None),
        ("DELETE", None),
        ("OPTIONS", AccessDenied),
        ("CONNECT", InvalidRequest),
        ("TRACE", InvalidRequest),
    ],
)
def test_methods(method: str, expected: type[Refusal] | None) -> None:
    """Preflights get no; a proxy's methods are not served; the rest is for routing to say."""
    assert expected == refusal([], method=method)


@pytest.mark.parametrize(
    ("target", "open_mode", "locked"),
    [
        ("/", None, None),
        ("//x", None, None),
        ("/http://evil.example/", None, None),
        ("http://127.0.0.1:4000/model/x", None, None),
        ("HTTP://localhost", None, None),
        ("https://gateway.lan?x=1", None, None),
        ("http://evil.example/", AccessDenied, None),
        ("http://evil.example?/127.0.0.1/", AccessDenied, None),
        ("http://evil.example#127.0.0.1", AccessDenied, None),
        ("http://127.0.0.1@evil.example/", InvalidRequest, InvalidRequest),
        ("http:///x", InvalidRequest, InvalidRequest),
        ("ftp://127.0.0.1/", InvalidRequest, InvalidRequest),
        ("127.0.0.1:4000", InvalidRequest, InvalidRequest),
        ("*", InvalidRequest, InvalidRequest),
        ("", InvalidRequest, InvalidRequest),
    ],
)
def test_targets(target: str, open_mode: type[Refusal] | None, locked: type[Refusal] | None) -> None:
    """The host of an absolute-form target counts like Host."""
    assert open_mode == refusal([], target=target, policy=OPEN)
    assert locked == refusal([], target=target, policy=LOCKED)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([("User-Agent", "Boto3/1.43 md/Botocore#1.43")], None),
        ([("User-Agent", instance_mark("0.1.0", "ffffffff"))], None),
        ([("User-Agent", MARK)], InvalidRequest),
        ([("User-Agent", f"Boto3/1.43 {MARK} tail")], InvalidRequest),
        ([("Content-Encoding", "identity")], None),
        ([("Content-Encoding", " Identity ")], None),
        ([("Content-Encoding", "gzip")], InvalidRequest),
        ([("Content-Encoding", "identity, gzip")], InvalidRequest),
        ([("Content-Encoding", "identity"), ("Content-Encoding", "br")], InvalidRequest),
        ([("Transfer-Encoding", "chunked")], None),
        ([("Transfer-Encoding", "Chunked")], None),
        ([("Transfer-Encoding", "gzip, chunked")], InvalidRequest),
        ([("Transfer-Encoding", "identity")], InvalidRequest),
        ([("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "chunked")], InvalidRequest),
        ([("Transfer-Encoding", "chunked"), ("Content-Length", "3")], InvalidRequest),
        ([("Content-Length", "3")], None),
    ],
)
def test_bodies_and_loops(headers: list[tuple[str, str]], expected: type[Refusal] | None) -> None:
    """Encoded or oddly framed bodies, and requests this very gateway sent, are refused."""
    assert expected == refusal(headers)


def test_refusals_quote_nothing() -> None:
    """No refusal repeats what the request said."""
    secret = "sk-Hush0Hush0"
    for headers in (
        [("Host", secret)],
        [("Origin", secret)],
        [("Content-Encoding", secret)],
        [("Transfer-Encoding", secret)],
    ):
        if headers[0][0] != "Host":
            headers = [("Host", "localhost"), *headers]
        with pytest.raises(Refusal) as found:
            check_request("POST", "/", CIMultiDict(headers), OPEN)
        assert secret not in found.value.message
        assert secret not in found.value.at


def test_what_any_page_may_show() -> None:
    """What is found by a secret path may be linked to from anywhere; whose name it is still counts."""
    foreign = CIMultiDict([("Host", "127.0.0.1"), ("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site")])
    check_request("GET", "/secret", foreign, OPEN, linked=True)

    foreign["Host"] = "rebound.example"
    with pytest.raises(AccessDenied, match="open mode"):
        check_request("GET", "/secret", foreign, OPEN, linked=True)
