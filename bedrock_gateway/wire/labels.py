"""Labels of request paths: out of any of their spellings, and back into the one that goes upstream.

Clients spell one id in three ways: literal with its slashes, percent-encoded once, percent-encoded twice. A label is
decoded once, and once more where the first pass leaves escapes. What still holds one after that is refused, so a
decoded label is fully decoded: nothing in it can turn into a slash or a dot segment further on. A value that itself
contains text like ``%41`` cannot be said; no AWS identifier does.

Source: RFC 3986 sections 2.1, 2.3, 3.3, 5.2.4. Bedrock runtime's ``modelId``, ``guardrailIdentifier`` and
``invocationArn``: at most 2,048 characters (service-2.json).
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote_to_bytes

from bedrock_gateway.errors import InvalidRequest

__all__ = ["decode_label", "encode_label", "label_fault", "shown"]

#: Characters; bedrock-runtime's model says the same of every identifier it takes in a URI.
MAX_LABEL = 2048

_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
#: C0, DEL, C1, and the surrogates by which a server hands on bytes that are not UTF-8.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def decode_label(name: str, raw: str) -> str:
    """Return the value of a label out of any of its three spellings.

    Raises:
        InvalidRequest: it is none, or holds what no identifier does.
    """
    value = raw
    if "%" in raw:
        if _BROKEN_ESCAPE.search(raw) is not None:
            raise InvalidRequest(f"The label {name} holds a '%' that no two hex digits follow: {shown(raw)}.")
        value = _unescape(name, raw)
        if "%" in value and _ESCAPE.search(value) is not None:
            value = _unescape(name, value)
            if _ESCAPE.search(value) is not None:
                raise InvalidRequest(f"The label {name} is percent-encoded more than twice: {shown(raw)}.")
    fault = label_fault(value)
    if fault is not None:
        raise InvalidRequest(f"The label {name} {fault}: {shown(raw)}.")
    return value


def _unescape(name: str, text: str) -> str:
    """Undo one layer of percent-encoding."""
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise InvalidRequest(f"The label {name} is not UTF-8 once it is decoded: {shown(text)}.") from None


def label_fault(value: str) -> str | None:
    """Return what is wrong with a decoded label, or None."""
    if not value:
        return "is empty"
    if len(value) > MAX_LABEL:
        return f"is longer than {MAX_LABEL} characters"
    if not value.isprintable() and _CONTROL.search(value) is not None:
        return "holds a control character"
    # Some servers take a backslash for a slash.
    if "/" in value or "\\" in value or value in (".", ".."):
        segments = value.replace("\\", "/").split("/")
        if "." in segments or ".." in segments:
            return "holds a '.' or '..' segment"
        if "" in segments:
            return "holds an empty segment"
    return None


def shown(text: str) -> str:
    """Return a piece of a request for an error message: quoted, escaped, and cut to 120 characters."""
    return ascii(text if len(text) <= 120 else text[:117] + "...")


def encode_label(text: str) -> str:
    """Return a label as it goes upstream: every byte outside RFC 3986's unreserved set percent-encoded."""
    return quote(text, safe="")
