"""What is refused before routing: web pages, rebound names, our own requests coming back, encoded bodies.

Pure: method, target and headers in, a refusal or nothing out. Knows nothing of keys, operations or the transport.
Every check is one look-up, for this runs before every call.

Source: WHATWG Fetch (Origin), W3C Fetch Metadata (Sec-Fetch-Site), RFC 9112 sections 3.2 (target forms, Host) and 6.1
(Transfer-Encoding), RFC 9110 section 8.4 (Content-Encoding). A page that rebinds its own name to 127.0.0.1 is
same-origin to the browser; only Host tells it apart.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs
from aiohttp import hdrs
from multidict import CIMultiDict, CIMultiDictProxy, istr

from bedrock_gateway.errors import AccessDenied, InvalidRequest

__all__ = ["EntryPolicy", "HostPolicy", "check_request", "instance_mark"]

_SEC_FETCH_SITE = istr("Sec-Fetch-Site")
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]", "0.0.0.0"})
_OWN_SITES = frozenset({"none", "same-origin"})
_NO_METHODS = frozenset({"CONNECT", "TRACE"})


def _lower(values: Iterable[str]) -> frozenset[str]:
    return frozenset(value.strip().lower() for value in values)


@attrs.frozen(kw_only=True)
class HostPolicy:
    """Which names the gateway answers to.

    Attributes:
        open_mode: any key is accepted, so only requests that name this machine are.
        allowed_hosts: further names for open mode, each with a port or for every port
        (``general_settings.allowed_hosts``).
    """

    open_mode: bool
    allowed_hosts: frozenset[str] = attrs.field(default=frozenset(), converter=_lower)

    def allows(self, host: str) -> bool:
        """Tell whether a Host value is this machine's or allowed; the port is free unless the allowed name has one."""
        host = host.lower()
        if host in self.allowed_hosts:
            return True
        if host.startswith("["):
            name, bracket, port = host.partition("]")
            name += bracket
            if port and not port.startswith(":"):
                return False
            port = port[1:]
        else:
            name, _, port = host.partition(":")
        if port and not (port.isascii() and port.isdigit()):
            return False
        return name in _LOOPBACK or name in self.allowed_hosts


@attrs.frozen(kw_only=True)
class EntryPolicy:
    """What is let in. A snapshot: made anew when one of its parts changes.

    Attributes:
        hosts: which names are answered to.
        allowed_origins: origins of pages that may call, as browsers write them (``https://chat.example``).
        mark: what our own requests upstream carry in User-Agent (``instance_mark``).
    """

    hosts: HostPolicy
    allowed_origins: frozenset[str] = attrs.field(default=frozenset(), converter=_lower)
    mark: str = attrs.field(validator=attrs.validators.min_len(8))


def instance_mark(version: str, instance: str) -> str:
    """Return what User-Agent of our requests upstream contains."""
    return f"bedrock-gateway/{version} (instance {instance})"


def check_request(
    method: str,
    target: str,
    headers: CIMultiDictProxy[str] | CIMultiDict[str],
    policy: EntryPolicy,
    *,
    linked: bool = False,
) -> None:
    """Let a request pass, or say why not.

    An allowed Origin settles where a request comes from; Sec-Fetch-Site, always foreign then, is not looked at.

    Args:
        target: request target as received.
        linked: any page may show or link to it; its path is all the secret there is.

    Raises:
        AccessDenied: it comes from a web page that is not allowed, asks for OPTIONS, or in open mode names another
        host. InvalidRequest: it has come from this gateway, has an encoded body, or is framed or addressed oddly.
    """
    if linked:
        pass
    elif hdrs.ORIGIN in headers:
        for origin in headers.getall(hdrs.ORIGIN):
            if origin.lower() not in policy.allowed_origins:
                raise AccessDenied(
                    "The request comes from a web page (Origin) that may not use this gateway; "
                    "general_settings.allowed_origins names those that may."
                )
    elif _SEC_FETCH_SITE in headers:
        for site in headers.getall(_SEC_FETCH_SITE):
            if site.lower() not in _OWN_SITES:
                raise AccessDenied("The request comes from a page of another site (Sec-Fetch-Site).")
    if method == "OPTIONS":
        raise AccessDenied("OPTIONS is not answered: web pages of other origins may not use this gateway.")
    if method in _NO_METHODS:
        raise InvalidRequest(f"{method} is not served: this is no proxy.")
    names = headers.getall(hdrs.HOST, ())
    if len(names) > 1:
        raise InvalidRequest("The request has more than one Host header.")
    _check_target(target, policy)
    if policy.hosts.open_mode and not (names and policy.hosts.allows(names[0])):
        raise _foreign_host()
    if policy.mark in headers.get(hdrs.USER_AGENT, ""):
        raise InvalidRequest(
            "The request has come from this gateway itself: an endpoint of its config points back at it.", at="loop"
        )
    if hdrs.CONTENT_ENCODING in headers:
        for encoding in headers.getall(hdrs.CONTENT_ENCODING):
            if encoding.strip().lower() != "identity":
                raise InvalidRequest(
                    "Encoded request bodies (Content-Encoding) are not accepted; send the body as it is."
                )
    if hdrs.TRANSFER_ENCODING in headers:
        encodings = headers.getall(hdrs.TRANSFER_ENCODING)
        if len(encodings) > 1 or encodings[0].strip().lower() != "chunked":
            raise InvalidRequest("The only Transfer-Encoding accepted is chunked.")
        if hdrs.CONTENT_LENGTH in headers:
            raise InvalidRequest("The request has both Transfer-Encoding and Content-Length.")


def _check_target(target: str, policy: EntryPolicy) -> None:
    """Check the host of an absolute-form target, which takes the place of Host (RFC 9112 section 3.2.2)."""
    if target.startswith("/"):
        return
    scheme, separator, rest = target.partition("://")
    if not separator or scheme.lower() not in ("http", "https"):
        raise InvalidRequest("The request target must begin with one /.")
    for end in "/?#":
        rest = rest.partition(end)[0]
    if not rest or "@" in rest:
        raise InvalidRequest("The request target names no host, or a user.")
    if policy.hosts.open_mode and not policy.hosts.allows(rest):
        raise _foreign_host()


def _foreign_host() -> AccessDenied:
    return AccessDenied(
        "In open mode the gateway answers only to 127.0.0.1, localhost, [::1], 0.0.0.0 and the names in "
        "general_settings.allowed_hosts; the request's Host is none of them. With a master key every Host is fine."
    )
