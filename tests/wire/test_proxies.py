"""Which hosts go through a proxy, by what people write into HTTPS_PROXY and NO_PROXY."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedrock_gateway.wire.proxies import DIRECT, Proxies

HOST = "bedrock-runtime.us-east-1.amazonaws.com"


def proxied(no_proxy: str, host: str = HOST, port: int = 443) -> bool:
    """Tell whether a host goes through the proxy."""
    return Proxies.read("http://proxy:3128", no_proxy).of("https", host, port) is not None


@pytest.mark.parametrize(
    ("no_proxy", "expected"),
    [
        ("", True),
        ("*", False),
        (HOST, False),
        (HOST.upper(), False),
        ("amazonaws.com", False),
        (".amazonaws.com", False),
        ("*.amazonaws.com", False),
        ("onaws.com", True),
        ("example.com, us-east-1.amazonaws.com", False),
        ("example.com us-east-1.amazonaws.com", False),
        ("amazonaws.com:443", False),
        ("amazonaws.com:8443", True),
        (",,", True),
        (".", True),
    ],
)
def test_names(no_proxy: str, expected: bool) -> None:
    """A name stands for itself and what is below it, with or without a dot, a star or a port."""
    assert expected == proxied(no_proxy)


@pytest.mark.parametrize(
    ("no_proxy", "host", "expected"),
    [
        ("10.0.0.0/8", "10.1.2.3", False),
        ("10.0.0.0/8", "11.1.2.3", True),
        ("10.0.0.0/8", HOST, True),
        ("10.1.2.3", "10.1.2.3", False),
        ("fd00::/8", "[fd00::1]", False),
        ("[fd00::1]:443", "fd00::1", False),
        ("nonsense/8", "10.1.2.3", True),
        ("", "127.0.0.1", False),
        ("", "localhost", False),
        ("", "[::1]", False),
        ("", "x.localhost", False),
    ],
)
def test_addresses(no_proxy: str, host: str, expected: bool) -> None:
    """Addresses and blocks of them; what is on this machine never leaves it."""
    assert expected == proxied(no_proxy, host)


def test_plain_http_goes_directly() -> None:
    """No proxy ever sees a request."""
    assert Proxies.read("http://proxy:3128", "").of("http", HOST, 80) is None
    assert DIRECT.of("https", HOST, 443) is None


@pytest.mark.parametrize(
    ("text", "url", "user", "password"),
    [
        ("http://proxy:3128", "http://proxy:3128", None, None),
        ("proxy:3128", "http://proxy:3128", None, None),
        ("http://proxy", "http://proxy:80", None, None),
        ("https://proxy/", "https://proxy:443", None, None),
        ("http://me:p%40ss@proxy:1", "http://proxy:1", "me", "p@ss"),
        ("http://[fd00::1]:3128", "http://[fd00::1]:3128", None, None),
    ],
)
def test_urls(text: str, url: str, user: str | None, password: str | None) -> None:
    """A port is assumed, a user and a password are taken apart and never shown."""
    proxy = Proxies.read(text, None).of("https", HOST, 443)
    assert proxy is not None
    assert (url, user, password) == (proxy.url, proxy.user, proxy.password)
    assert password is None or password not in repr(proxy)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("socks5://proxy:1080", "names a socks5 proxy"),
        ("http://", "is not a URL"),
        ("http://proxy:port", "is not a URL"),
        ("http://pro xy", "is not a URL"),
        ("http://[broken", "is not a URL"),
    ],
)
def test_no_urls(text: str, message: str) -> None:
    """What is no proxy's URL says why, and is not quoted: it may hold a password."""
    with pytest.raises(ValueError, match=message):
        Proxies.read(text, None)


@given(st.text(max_size=30), st.text(max_size=30), st.text(max_size=20), st.none() | st.integers(0, 70000))
def test_anything(url: str, no_proxy: str, host: str, port: int | None) -> None:
    """Whatever stands in the variables and is asked for, there is an answer or a reason."""
    try:
        Proxies.read(url, no_proxy).of("https", host, port)
    except ValueError as error:
        assert "URL" in str(error) or "proxy" in str(error)
