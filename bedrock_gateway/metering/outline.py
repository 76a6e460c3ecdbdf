"""The outline of a large JSON document, made while it streams past: what a meter reads of it, in bounded memory.

A 20 MB answer is one base64 string, or an array of a million numbers, and a usage object somewhere. The scanner
checks the whole grammar, keeps the members of the top-level object it was told to keep (long strings cut, runs of
numbers dropped) and forgets the rest. Strings and runs of numbers are passed over by one regular expression each, so
a megabyte of them costs a few milliseconds. Knows JSON (RFC 8259) and nothing of what the members mean.

Memory: ``MAX_OUTLINE`` bytes of outline, ``MAX_DEPTH`` bytes of nesting, one unfinished token of at most
``MAX_TOKEN`` bytes.
"""

from __future__ import annotations

import codecs
import json
import re
from typing import Any

__all__ = ["MalformedDocument", "OutlineScanner"]

KIBIBYTE = 1024

#: Outline kept, in bytes. A member that would exceed it is dropped, and named in ``dropped``.
MAX_OUTLINE = 48 * KIBIBYTE
#: Nesting; json.loads gives up at about a thousand levels too.
MAX_DEPTH = 500
#: Longest string kept as it is; longer ones become a mark that is as true as they were.
MAX_STRING = 256
#: Longest number or word that may lie across two chunks.
MAX_TOKEN = 1024

_MARK = b'"~"'
_SPACE = re.compile(rb"[ \t\n\r]*")
# Possessive: nothing is kept to back up to, so a string of 20 MB takes no memory to match.
_STRING_RUN = re.compile(rb'(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*+')
_NUMBER = rb"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][-+]?[0-9]++)?"
_SCALAR = re.compile(rb"(?:" + _NUMBER + rb"|true|false|null)(?=[ \t\n\r,\]}])")
_NUMBER_RUN = re.compile(rb"(?:" + _NUMBER + rb"[ \t\n\r]*+,[ \t\n\r]*+)*+")
_WORD = re.compile(rb"[-+.0-9a-zA-Z]*")

# What may come next.
_VALUE, _FIRST_VALUE, _KEY, _FIRST_KEY, _COLON, _AFTER, _DONE = range(7)


class MalformedDocument(ValueError):
    """The bytes are no JSON document."""


class OutlineScanner:
    """Bytes in, outline out. ``receive_data`` raises MalformedDocument once, at the first byte that cannot be.

    Attributes:
        dropped: members that were to be kept, and were too large.
        cut_bytes: length of all strings in kept members that only a mark is left of.
    """

    def __init__(self, keep: frozenset[str]) -> None:
        self._keep = {key.encode() for key in keep}
        self._state = _VALUE
        self._stack = bytearray()
        self._rest = b""
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        # The string under way: whether it is a key, and its bytes so far (None once they are too many to matter).
        self._in_string = False
        self._string: bytearray | None = None
        self._string_is_key = False
        self._length = 0
        self._outline = bytearray()
        # Where the member being kept began, or -1 between kept members.
        self._member_at = -1
        self._member = b""
        self.dropped: list[str] = []
        self.cut_bytes = 0

    @property
    def complete(self) -> bool:
        """Whether the document has come to its end."""
        return self._state == _DONE and not self._rest

    def receive_data(self, data: bytes) -> None:
        """Scan on.

        Raises:
            MalformedDocument: these bytes cannot continue the document.
        """
        try:
            self._decoder.decode(data)
        except UnicodeDecodeError:
            raise MalformedDocument("is not UTF-8") from None
        if self._rest:
            data = self._rest + data
            self._rest = b""
        at = 0
        end = len(data)
        while at < end:
            at = self._scan_string(data, at) if self._in_string else self._scan(data, at)
            if at < 0:
                break

    def document(self) -> Any:
        """Give the kept members as an object, once the document is complete.

        Raises:
            MalformedDocument: it is not complete.
        """
        if not self.complete:
            raise MalformedDocument("is cut")
        # Cannot fail: the grammar was checked, and a number kept has fewer digits than Python refuses to convert.
        return json.loads(b"{" + bytes(self._outline).rstrip(b",") + b"}")

    def _scan(self, data: bytes, at: int) -> int:
        """Scan one token at ``at``; give where the next begins, -1 when that needs more data."""
        space = _SPACE.match(data, at)
        at = space.end() if space else at
        if at == len(data):
            return -1
        char = data[at]
        state = self._state
        if state <= _FIRST_VALUE:
            return self._scan_value(data, at, char)
        if state <= _FIRST_KEY:
            if char == 0x22:
                return self._begin_string(at, is_key=True)
            if char == 0x7D and state == _FIRST_KEY:
                return self._close(at, char)
        elif state == _COLON:
            if char == 0x3A:
                self._emit(b":")
                self._state = _VALUE
                return at + 1
        elif state == _AFTER:
            if char == 0x2C:
                self._state = _KEY if self._stack[-1] == 0x7B else _VALUE
                if len(self._stack) > 1:
                    self._emit(b",")
                return at + 1
            if char in (0x7D, 0x5D):
                return self._close(at, char)
        raise MalformedDocument("is no JSON")

    def _scan_value(self, data: bytes, at: int, char: int) -> int:
        if char == 0x22:
            return self._begin_string(at, is_key=False)
        if char in (0x7B, 0x5B):
            if len(self._stack) >= MAX_DEPTH:
                raise MalformedDocument("is nested too deep")
            self._stack.append(char)
            if len(self._stack) > 1:
                self._emit(b"{" if char == 0x7B else b"[")
            self._state = _FIRST_KEY if char == 0x7B else _FIRST_VALUE
            return at + 1
        if char == 0x5D and self._state == _FIRST_VALUE:
            return self._close(at, char)
        if self._stack and self._stack[-1] == 0x5B:
            run = _NUMBER_RUN.match(data, at)
            if run and run.end() > at:
                # Numbers of an array are embeddings: nothing reads them one by one. The last one of a run is left to
                # be kept.
                self._state = _VALUE
                return run.end()
        scalar = _SCALAR.match(data, at)
        if scalar:
            self._emit(scalar[0] if len(scalar[0]) <= MAX_TOKEN else b"null")
            self._after_value()
            return scalar.end()
        word = _WORD.match(data, at)
        if word and word.end() == len(data) and len(data) - at <= MAX_TOKEN:
            self._rest = data[at:]
            return -1
        raise MalformedDocument("is no JSON")

    def _begin_string(self, at: int, *, is_key: bool) -> int:
        self._in_string = True
        self._string_is_key = is_key
        self._string = bytearray()
        self._length = 0
        return at + 1

    def _scan_string(self, data: bytes, at: int) -> int:
        run = _STRING_RUN.match(data, at)
        stop = run.end() if run else at
        self._length += stop - at
        if self._string is not None:
            if len(self._string) + stop - at <= MAX_STRING:
                self._string += data[at:stop]
            else:
                self._string = None
        if stop == len(data):
            return -1
        char = data[stop]
        if char == 0x22:
            self._in_string = False
            self._end_string()
            return stop + 1
        if char == 0x5C and len(data) - stop < 6:
            self._rest = data[stop:]
            if not re.fullmatch(rb"\\(?:u[0-9a-fA-F]{0,3})?", self._rest):
                raise MalformedDocument("holds an escape that is none")
            return -1
        raise MalformedDocument("holds a control character or an escape that is none")

    def _end_string(self) -> None:
        text = self._string
        self._string = None
        if not self._string_is_key:
            if text is None and self._member_at >= 0:
                self.cut_bytes += self._length
            self._emit(_MARK if text is None else b'"' + text + b'"')
            self._after_value()
            return
        self._state = _COLON
        if len(self._stack) == 1 and text is not None and bytes(text) in self._keep:
            self._member_at = len(self._outline)
            self._member = bytes(text)
        if self._member_at >= 0:
            self._emit(_MARK if text is None else b'"' + text + b'"')

    def _close(self, at: int, char: int) -> int:
        # "{" is 0x7B and "}" 0x7D, "[" 0x5B and "]" 0x5D.
        if not self._stack or self._stack[-1] != char - 2:
            raise MalformedDocument("closes what is not open")
        if len(self._stack) > 1:
            self._emit(b"}" if char == 0x7D else b"]")
        self._stack.pop()
        self._after_value()
        return at + 1

    def _after_value(self) -> None:
        depth = len(self._stack)
        self._state = _AFTER if depth else _DONE
        if depth == 1 and self._member_at >= 0:
            self._outline += b","
            self._member_at = -1

    def _emit(self, piece: bytes | bytearray) -> None:
        if self._member_at < 0:
            return
        self._outline += piece
        if len(self._outline) > MAX_OUTLINE:
            del self._outline[self._member_at :]
            self._member_at = -1
            self.dropped.append(self._member.decode())
