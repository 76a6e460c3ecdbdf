"""Which headers go upstream, which come back downstream, and which of them are signed: three allow-lists.

Allow-lists and not deny-lists, because what is signed must be what arrives: proxies on the way add and change headers
nobody here has heard of. Must not know credentials, deployments or the body.

Upstream. ``content-type``, ``accept``, ``anthropic-beta`` and every ``x-amzn-bedrock-*`` carry meaning for Bedrock
(guardrail, trace, latency, service tier, request metadata, the ``accept`` of InvokeModelWithResponseStream).
``x-amzn-trace-id`` goes on so that a trace does not end here, unsigned: botocore never signs it, since X-Ray-aware hops
rewrite it. ``anthropic-version`` stays behind: Bedrock takes the version in the body, and the header of Anthropic's own
API means nothing there. All else is the caller's business with this gateway (``authorization``, ``x-amz-*`` of its
signature, ``amz-sdk-*``, ``x-litellm-*``, ``x-bedrock-gateway-*``), with this connection (hop-by-hop), or is computed
afresh (``host``, ``content-length``). ``accept-encoding`` is always ``identity``: a compressed answer could not be
metered as it passes.

Downstream. AWS's own (``x-amzn-*``, ``x-amz-*``), ``content-type``, ``retry-after``, ``cache-control``. Usage, request
id and error type of an answer travel in headers that no service model names, hence the prefixes. Length, framing, date
and server are this side's own.

Source: botocore ``bedrock-runtime`` service-2.json (header members); ``botocore.auth.SIGNED_HEADERS_BLACKLIST``; RFC
9110 sections 5.5 (field values), 5.3 (repeated fields), 7.6.1 (Connection); SigV4 query authentication: parameters
``X-Amz-Algorithm`` to ``X-Amz-Security-Token``.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import lru_cache
from urllib.parse import unquote

from bedrock_gateway.errors import InvalidRequest, MaybeBilled

__all__ = [
    "IDENTITY",
    "content_coding",
    "downstream_headers",
    "is_signed",
    "media_type",
    "strip_query_credentials",
    "upstream_headers",
]

#: What every upstream request says of compression.
IDENTITY = ("accept-encoding", "identity")

_NONE: frozenset[str] = frozenset()
_UP = frozenset({"content-type", "accept", "anthropic-beta", "x-amzn-trace-id"})
_UP_PREFIX = "x-amzn-bedrock-"
#: Headers whose value is a list, so that several lines mean the same as one (RFC 9110 section 5.3).
_LISTS = frozenset({"accept", "anthropic-beta"})

_DOWN = frozenset({"content-type", "retry-after", "cache-control", "x-bedrock-gateway-simulated"})
_DOWN_PREFIXES = ("x-amzn-", "x-amz-")

_SIGNED = frozenset({"host", "content-type"})
_SIGNED_PREFIXES = ("x-amz-", "x-amzn-")
_UNSIGNED = "x-amzn-trace-id"

#: CR, LF, NUL and the other controls but the tab; and surrogates, by which a server hands on bytes that are not UTF-8.
_NOT_IN_VALUE = re.compile("[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
#: RFC 9110 section 5.6.2, lower case.
_NOT_IN_NAME = re.compile(r"[^!#$%&'*+\-.^_`|~0-9a-z]")


def upstream_headers(items: Iterable[tuple[str, str]], more: Collection[str] = _NONE) -> list[tuple[str, str]]:
    """Return what goes upstream of a request's headers: ``(lower-case name, value)``, each name once.

    ``more``: lower-case names that are members of the operation's input. Several lines of a list header become one;
    equal lines of another become one.

    Raises:
        InvalidRequest: a header that would go upstream holds CR, LF, NUL or bytes that are not UTF-8, or comes twice
            with different values.
    """
    kept: dict[str, str] = {}
    hops: str = ""
    for name, value in items:
        name = name.lower()
        if name not in _UP:
            if name == "connection":
                hops = f"{hops},{value}"
                continue
            if not (name.startswith(_UP_PREFIX) or name in more):
                continue
            if _NOT_IN_NAME.search(name) is not None:
                raise InvalidRequest(
                    "The name of an X-Amzn-Bedrock header holds a character that no header name may hold."
                )
        # Printable ASCII, which nearly all are, needs no search.
        if not (value.isascii() and value.isprintable()) and _NOT_IN_VALUE.search(value) is not None:
            raise InvalidRequest(f"The header {name} holds a control character or bytes that are not UTF-8.")
        if name not in kept or kept[name] == value:
            kept[name] = value
        elif name in _LISTS:
            kept[name] = f"{kept[name]}, {value}"
        else:
            raise InvalidRequest(f"The header {name} comes twice with different values.")
    if hops:
        # What Connection names belongs to this connection alone, whatever it is called.
        for hop in hops.lower().split(","):
            kept.pop(hop.strip(), None)
    return [*kept.items(), IDENTITY]


def downstream_headers(items: Iterable[tuple[str, str]], more: Collection[str] = _NONE) -> list[tuple[str, str]]:
    """Return what goes downstream of an answer's headers: ``(lower-case name, value)``, repeated lines kept.

    ``more``: lower-case names that are members of the operation's output.

    A value that cannot be written as a header again is left out: an answer is not lost over a header.

    Raises:
        MaybeBilled: the body is compressed although identity was asked for. Such an answer can neither be metered nor,
            its encoding being nothing the caller agreed to, be passed on. (A last guard: ``content_coding`` tells
            before.)
    """
    kept: list[tuple[str, str]] = []
    hops: str = ""
    for name, value in items:
        name = name.lower()
        if name in _DOWN or name.startswith(_DOWN_PREFIXES) or name in more:
            clean = (value.isascii() and value.isprintable()) or _NOT_IN_VALUE.search(value) is None
            if clean and _NOT_IN_NAME.search(name) is None:
                kept.append((name, value))
        elif name == "connection":
            hops = f"{hops},{value}"
        elif name == "content-encoding" and content_coding(value) is not None:
            raise MaybeBilled(
                "AWS answered with a compressed body although none was asked for, so its answer cannot be passed on. "
                "The call may have been billed; it was not repeated.",
                at=f"content-encoding {value[:40]!a}",
            )
    if hops and hops.lower() not in (",keep-alive", ",close"):
        named = {hop.strip() for hop in hops.lower().split(",")}
        kept = [item for item in kept if item[0] not in named]
    return kept


@lru_cache(maxsize=512)
def is_signed(name: str) -> bool:
    """Tell whether a signature covers a header (lower case): host, content-type, ``x-amz-*``, ``x-amzn-*``.

    Everything else may be changed by a hop that AWS never hears of.
    """
    return name in _SIGNED or (name.startswith(_SIGNED_PREFIXES) and name != _UNSIGNED)


def media_type(content_type: str) -> str:
    """Return the media type of a ``content-type``, without parameters, in lower case (RFC 9110, 8.3.1)."""
    return content_type.partition(";")[0].strip().lower()


def content_coding(value: str | None) -> str | None:
    """Return the coding that a ``Content-Encoding`` value names, lower case, or None where the body is plain.

    To be looked at before anything is made of an answer: a coded one is unreadable.
    """
    coding = value.strip().lower() if value else ""
    return None if coding in ("", "identity") else coding


def strip_query_credentials(raw_query: str) -> str:
    """Return a raw query without a signature's parameters (``X-Amz-*``, any spelling), the rest byte for byte."""
    # Any spelling of the name begins with an x or an escape of it, and holds a z or an escape.
    if not raw_query or ("%" not in raw_query and "amz" not in raw_query.lower()):
        return raw_query
    return "&".join(pair for pair in raw_query.split("&") if not _is_credential(pair.partition("=")[0]))


def _is_credential(raw_name: str) -> bool:
    """Tell whether a query parameter's name is one of a signature's, plain or percent-encoded once or twice.

    AWS decodes once; the second pass is for what another hop may have encoded again.
    """
    name = unquote(unquote(raw_name)) if "%" in raw_name else raw_name
    return name.strip().lower().startswith("x-amz-")
