"""The head of an HTTP/2 request as aiohttp's HTTP/1.1 parser would have given it: read, checked, and its limits held.

``:authority`` becomes Host, and the crumbs of a cookie become one. Pure: header list in, message or refusal out.

Source: RFC 9113 sections 8.2 (fields), 8.2.2 (connection-specific fields), 8.2.3 (cookies), 8.3.1 (request
pseudo-header fields), 8.5 (CONNECT); aiohttp 3.14.5 ``http_parser`` (``RawRequestMessage``, which headers may come
once).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from aiohttp import HttpVersion
from aiohttp.http import RawRequestMessage
from aiohttp.http_parser import SINGLETON_HEADERS
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from bedrock_gateway.downstream.faults import head_too_large, line_too_large, too_many_headers
from bedrock_gateway.downstream.limits import Limits
from bedrock_gateway.errors import InvalidRequest

__all__ = ["HTTP2", "MALFORMED", "NO_MESSAGE", "expects", "message_of"]

HTTP2 = HttpVersion(2, 0)
#: What a client is told of a request that RFC 9113 calls malformed.
MALFORMED = "The request is not well-formed HTTP/2."

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch
_METHOD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_TARGET = re.compile(rb"[!-~]+").fullmatch
_ODD_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]|^[ \t]|[ \t]\Z").search
_PSEUDO = frozenset({b":method", b":scheme", b":authority", b":path"})
#: Fields that speak of a connection, which a request in HTTP/2 has none of.
_OF_A_CONNECTION = frozenset({b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"})
_ONCE = frozenset(name.encode() for name in SINGLETON_HEADERS)


def _message(method: str, path: str, url: URL, headers: CIMultiDict[str]) -> RawRequestMessage:
    return RawRequestMessage(
        method, path, HTTP2, CIMultiDictProxy(headers), (), False, None, upgrade=False, chunked=False, url=url
    )


#: Stands in for a request that is refused before it is understood.
NO_MESSAGE = _message("GET", "/", URL("/"), CIMultiDict())


def expects(fields: Iterable[tuple[bytes, bytes]]) -> bool:
    """Tell whether a client waits for 100 (Continue) before it sends its body."""
    return any(name == b"expect" and value.lower() == b"100-continue" for name, value in fields)


def message_of(fields: Iterable[tuple[bytes, bytes]], limits: Limits, *, bodiless: bool) -> RawRequestMessage:
    """Return what aiohttp makes a request of, without an Expect, which aiohttp would answer in HTTP/1.1.

    Args:
        fields: the header list as decoded, pseudo-header fields included.
        bodiless: the request ended with its head.

    Raises:
        HeadTooLarge: the whole, a field or the target is too large, or there are too many fields.
        InvalidRequest: it is malformed.
    """
    pseudo: dict[bytes, bytes] = {}
    headers: CIMultiDict[str] = CIMultiDict()
    once: set[bytes] = set()
    cookies: list[str] = []
    size = count = 0
    for name, value in fields:
        size += len(name) + len(value) + 4
        if len(name) + len(value) > limits.header:
            raise line_too_large(limits)
        if size > limits.head:
            raise head_too_large(limits)
        if _ODD_VALUE(value):
            raise InvalidRequest(MALFORMED)
        if name[:1] == b":":
            if count or name in pseudo or name not in _PSEUDO:
                raise InvalidRequest(MALFORMED)
            pseudo[name] = value
            continue
        count += 1
        if not _NAME(name) or name in _OF_A_CONNECTION or (name == b"te" and value.lower() != b"trailers"):
            raise InvalidRequest(MALFORMED)
        if name in _ONCE:
            if name in once:
                raise InvalidRequest(f"Duplicate '{name.decode()}' header found.")
            once.add(name)
        text = value.decode("utf-8", "surrogateescape")
        if name == b"cookie":
            cookies.append(text)
        elif name != b"expect":
            headers.add(name.decode(), text)
    if count > limits.headers:
        raise too_many_headers(limits)
    if cookies:
        headers.add("cookie", "; ".join(cookies))
    if bodiless and headers.get("content-length", "0").strip("0"):
        raise InvalidRequest(MALFORMED)
    _set_host(headers, pseudo.get(b":authority", b""))
    return _addressed(pseudo, headers)


def _set_host(headers: CIMultiDict[str], authority: bytes) -> None:
    """Put the authority in the place of Host."""
    if b"@" in authority:
        raise InvalidRequest(MALFORMED)
    host = authority.decode("utf-8", "surrogateescape")
    if not host:
        if not headers.get("host"):
            raise InvalidRequest("The request has neither :authority nor host.")
    elif headers.setdefault("host", host).lower() != host.lower():
        raise InvalidRequest("The request names two hosts: :authority is one, host another.")


def _addressed(pseudo: dict[bytes, bytes], headers: CIMultiDict[str]) -> RawRequestMessage:
    method = pseudo.get(b":method", b"")
    if not _METHOD(method):
        raise InvalidRequest(MALFORMED)
    if method == b"CONNECT":
        if b":path" in pseudo or b":scheme" in pseudo or b":authority" not in pseudo:
            raise InvalidRequest(MALFORMED)
        return _message("CONNECT", headers["host"], URL("/"), headers)
    path = pseudo.get(b":path", b"")
    if pseudo.get(b":scheme", b"").lower() not in (b"http", b"https"):
        raise InvalidRequest(MALFORMED)
    if not _TARGET(path) or not (path.startswith(b"/") or (path == b"*" and method == b"OPTIONS")):
        raise InvalidRequest("The request target is malformed.")
    target = path.decode()
    plain, _, fragment = target.partition("#")
    plain, _, query = plain.partition("?")
    url = URL.build(path=plain, query_string=query, fragment=fragment, encoded=True)
    return _message(method.decode(), target, url, headers)
