"""Which HTTP proxy a host is reached through, by the usual variables.

Knows what is written in ``HTTPS_PROXY`` and ``NO_PROXY``, handed in as text; reads no environment and opens nothing.
Connections to a service are tunnelled (CONNECT), so that a proxy never sees a request. Plain HTTP endpoints, which are
on this machine or in its network, are reached directly.

Source: curl(1), "Environment" (``https_proxy``, ``ALL_PROXY``; ``NO_PROXY``: ``*``, hosts with or without a leading
dot, each standing for its subdomains too, ``host:port``, addresses, CIDR blocks); RFC 9110 section 9.3.6 (CONNECT).
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from urllib.parse import unquote, urlsplit

import attrs

__all__ = ["DIRECT", "Proxies", "Proxy"]


@attrs.frozen(kw_only=True)
class Proxy:
    """One proxy; ``url`` holds no user and no password, and ``str()`` may be logged."""

    url: str
    user: str | None = attrs.field(default=None, repr=False)
    password: str | None = attrs.field(default=None, repr=False)


@attrs.frozen
class Proxies:
    """The proxy, and what goes past it."""

    _proxy: Proxy | None = None
    _past: tuple[str, ...] = ()

    @classmethod
    def read(cls, url: str | None, no_proxy: str | None) -> Proxies:
        """Return what two variables say; None where one is unset.

        Raises:
            ValueError: the first is no URL of an HTTP proxy; the text says why and never quotes it.
        """
        past = tuple(part.strip().lower() for part in (no_proxy or "").replace(" ", ",").split(",") if part.strip())
        return cls(_proxy(url) if url else None, past)

    def of(self, scheme: str, host: str, port: int | None) -> Proxy | None:
        """Return the proxy a host is reached through, or None: directly."""
        if self._proxy is None or scheme != "https":
            return None
        host = host.strip("[]").lower().rstrip(".")
        return None if _is_local(host) or any(_fits(host, port, rule) for rule in self._past) else self._proxy


#: No proxy at all.
DIRECT = Proxies()


def _proxy(text: str) -> Proxy:
    if "://" not in text:
        text = f"http://{text}"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("is not a URL (http://host:port)") from None
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"names a {parts.scheme[:20]} proxy; only HTTP proxies are supported (http://host:port)")
    if not host or any(char.isspace() or not char.isprintable() for char in text):
        raise ValueError("is not a URL (http://host:port)")
    shown = f"[{host}]" if ":" in host else host
    return Proxy(
        url=f"{parts.scheme}://{shown}:{port or (443 if parts.scheme == 'https' else 80)}",
        user=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
    )


def _is_local(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _fits(host: str, port: int | None, rule: str) -> bool:
    if rule == "*":
        return True
    if "/" in rule:
        return _in_network(host, rule)
    name, colon, number = rule.rpartition(":")
    if colon and number.isdecimal() and (":" not in name or name.endswith("]")):
        if port != int(number):
            return False
        rule = name
    rule = rule.strip("[]").removeprefix("*").lstrip(".")
    return bool(rule) and (host == rule or host.endswith(f".{rule}"))


def _in_network(host: str, block: str) -> bool:
    try:
        return ip_address(host) in ip_network(block, strict=False)
    except ValueError:
        return False
