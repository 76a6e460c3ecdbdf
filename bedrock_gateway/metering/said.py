"""How much of an answer was words, for the estimate of one that was cut. Pure.

An event of a stream is mostly names, quotes and padding around a word or two, so its length says little. What is in
it is looked at in the first events and now and then after those: to read each would cost more than everything else
that is done for one, and the events of one answer are alike. Where nothing that is looked at holds words, the lengths
stand, which is never too little.
"""

from __future__ import annotations

import json

__all__ = ["Said", "words_in"]

#: Events that are looked at first; then one after each so many bytes, some hundred events.
_FIRST = 8
_EACH = 8_192
#: Longer events are not looked at: words are what fills one.
_MOST_LOOKED_AT = 65_536
#: Members that hold what a model says: text, thought, and the arguments of tools, in every family. What thought is
#: signed with is not made of tokens.
_WORDS = frozenset(
    [
        *("text", "content", "generation", "outputText", "completion"),
        *("thinking", "reasoning", "reasoning_content", "data", "redactedContent"),
        *("partial_json", "arguments", "input"),
    ]
)
_MOST_DEPTH = 16


class Said:
    """Words of one answer.

    Attributes:
        bytes: length of the events that carry it; whole: of what is taken for words as it is.
        until: ``bytes`` up to which events need not be looked at, only added.
    """

    __slots__ = ("_looked", "_times", "_words", "bytes", "until", "whole")

    def __init__(self) -> None:
        self.bytes = 0
        self.until = 0
        self.whole = 0
        self._times = 0
        self._looked = 0
        self._words = 0

    def hear(self, length: int, document: bytes | bytearray | None) -> bool:
        """Take an event of so many bytes; return whether the next one is to be looked at.

        Args:
            document: its JSON, where that is at hand.
        """
        if length > _MOST_LOOKED_AT:
            self.whole += length
        else:
            self.bytes += length
            if self.bytes > self.until and document is not None:
                self._look(length, document)
                self._times += 1
                if self._times >= _FIRST:
                    self.until = self.bytes + _EACH
        return self.bytes >= self.until

    def words(self) -> int:
        """Return about how many bytes of words there were."""
        return self.whole + (-(-self.bytes * self._words // self._looked) if self._looked else self.bytes)

    def _look(self, length: int, document: bytes | bytearray) -> None:
        try:
            words = words_in(json.loads(document))
        except (ValueError, RecursionError):
            return
        if words:
            # One without words begins or ends something: of those there are few, and most of them are first.
            self._looked += length
            self._words += words


def words_in(document: object, depth: int = _MOST_DEPTH) -> int:
    """Return the bytes of words in a document."""
    found = 0
    if not depth:
        return 0
    if type(document) is dict:
        for name, value in document.items():
            if type(value) is str:
                found += len(value.encode("utf-8", "replace")) if name in _WORDS else 0
            elif value.__class__ in (dict, list):
                found += words_in(value, depth - 1)
    elif type(document) is list:
        for value in document:
            found += words_in(value, depth - 1)
    return found
