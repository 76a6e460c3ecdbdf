"""JSON with a very long string in it, as a picture or a document is: read without holding up everybody else.

Python's parser reads a string in one go and lets no other thread run meanwhile, which for 20 MB is the time of a
hundred calls. So long strings that stand there as they are (no escapes: base64 has none) are cut out first, by searches
that take a tenth of that, and put back into what the parser made of the rest.

Must not know what a document means.

Source: RFC 8259, section 7.
"""

from __future__ import annotations

import codecs
import hashlib
from collections.abc import Mapping
from typing import Any

__all__ = ["check_text", "cut", "put_back"]

#: Bytes from which a string is long; bytes that are looked at in one go.
_LONG, _PIECE = 65_536, 1_048_576
#: Strings looked at before the rest is left as it is: what is long for other reasons has many.
_MOST_STRINGS = 16_384
#: Quotes with an escape in one string, and backslashes in a row, from which nothing more is cut out.
_MOST_ESCAPES = 64


def check_text(body: bytes | bytearray) -> None:
    """See that a body is UTF-8, a piece at a time.

    Raises:
        UnicodeDecodeError: as if all of it had been decoded.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    with memoryview(body) as view:
        for begin in range(0, len(view), _PIECE):
            held = len(decoder.getstate()[0])
            try:
                decoder.decode(view[begin : begin + _PIECE], final=begin + _PIECE >= len(view))
            except UnicodeDecodeError as error:
                at = begin - held + error.start
                raise UnicodeDecodeError("utf-8", b"", at, at + 1, error.reason) from None


def cut(body: bytes | bytearray) -> tuple[bytes, Mapping[str, str]]:
    """Return JSON without its long strings, each of which has another in its place, and the long ones by those.

    What is no JSON stays none. ``body``: in UTF-8.
    """
    marker = ""
    pieces: list[bytes | bytearray] = []
    found: dict[str, str] = {}
    copied = at = 0
    for _ in range(_MOST_STRINGS):
        begin = body.find(b'"', at)
        if begin < 0:
            break
        end = _end_of(body, begin + 1)
        if end < 0:
            break
        at = end + 1
        if end - begin > _LONG and body.find(b"\\", begin, end) < 0 and body[at : at + 64].lstrip()[:1] != b":":
            # Of nothing that could stand in it.
            marker = marker or hashlib.sha256(body).hexdigest()
            name = f"{marker}-{len(found)}"
            with memoryview(body) as view:
                found[name] = str(view[begin + 1 : end], "utf-8")
            pieces += [body[copied : begin + 1], name.encode()]
            copied = end
    pieces.append(body[copied:])
    return b"".join(pieces), found


def _end_of(body: bytes | bytearray, at: int) -> int:
    """Return where a string ends that begins before ``at``; -1 where it does not, or has too many escapes to tell."""
    for _ in range(_MOST_ESCAPES):
        end = body.find(b'"', at)
        if end < 0:
            break
        before = bytes(body[max(0, end - _MOST_ESCAPES) : end])
        escapes = len(before) - len(before.rstrip(b"\\"))
        if escapes == _MOST_ESCAPES:
            break
        if escapes % 2 == 0:
            return end
        at = end + 1
    return -1


def put_back(document: Any, found: Mapping[str, str]) -> Any:
    """Return a document with the long strings that were cut out of it.

    Raises:
        LookupError: one of them is no value there.
    """
    holder = [document]
    pending: list[Any] = [holder]
    left = len(found)
    while pending and left:
        inner = pending.pop()
        for name, value in inner.items() if isinstance(inner, dict) else enumerate(inner):
            if isinstance(value, dict | list):
                pending.append(value)
            elif isinstance(value, str) and value in found:
                inner[name] = found[value]
                left -= 1
    if left:
        raise LookupError
    return holder[0]
