"""How much of an answer was words, for the estimate of one that was cut. Pure.

An event of a stream is mostly names, quotes and padding around a word or two, so its length says little. What is in
it is looked at in the first events, in all long ones, and now and then in others: to read each would cost more than
everything else that is done for one, and small events that follow each other are alike. Where nothing that is looked
at can be read, or none of many holds words, the lengths stand, which is never too little.
"""

from __future__ import annotations

import json

__all__ = ["LONG", "Said", "words_in"]

#: Bytes from which on every event is looked at, or twice as many as the first ones had on average.
LONG = 256
#: Events that are looked at first; then one whenever there are twice as many bytes, or so many more, some forty events.
_FIRST = 8
_EACH = 4_096
#: Longer events are not looked at: words are what fills one.
_MOST_LOOKED_AT = 65_536
#: Members that hold what a model says: text, thought, and the arguments of tools, in every family. What thought is
#: signed with is not made of tokens.
_WORDS = frozenset(
    [
        *("text", "content", "generation", "outputText", "completion", "message", "delta", "refusal"),
        *("thinking", "reasoning", "reasoning_content", "data", "redactedContent", "tool_plan"),
        *("partial_json", "arguments", "input"),
    ]
)
#: Members that hold what others have said.
_OTHERS = frozenset(["citation", "citations"])
_MOST_DEPTH = 16


class Said:
    """Words of one answer.

    Attributes:
        bytes: length of the events that carry it, without the long ones; until: up to which they need not be looked
            at, only added; long: from how many bytes on one is.
    """

    __slots__ = ("_from", "_long", "_read", "_times", "_words", "bytes", "long", "until")

    def __init__(self) -> None:
        self.bytes = 0
        self.until = 0
        self.long = LONG
        self._from = 0
        self._times = 0
        self._read = False
        #: Words in what was looked at and in all that it stands for; length of long events, and words in them.
        self._words = 0
        self._long = [0, 0]

    def hear(self, length: int, document: bytes | bytearray | None) -> bool:
        """Take an event of so many bytes; return whether the next one is to be looked at, however short it is.

        Args:
            document: its JSON, where that is at hand.
        """
        if length > self.long:
            words = self._look(document)
            self._long[0] += length
            self._long[1] += length if words is None else words
            return self.bytes >= self.until
        self.bytes += length
        if self.bytes > self.until and document is not None:
            # It stands for all since the one that was looked at before.
            self._words += (self.bytes - self._from) * (self._look(document) or 0) // (length or 1)
            self._from = self.bytes
            self._times += 1
            if self._times == _FIRST:
                self.long = max(LONG, 2 * self.bytes // _FIRST)
            if self._times >= _FIRST:
                self.until = self.bytes + min(self.bytes, _EACH)
        return self.bytes >= self.until

    def pass_over(self, length: int) -> None:
        """Take so many bytes for words as they are."""
        self._long[0] += length
        self._long[1] += length

    def words(self) -> int:
        """Return about how many bytes of words there were."""
        length, words = self._long
        if not self._words and not words and (self._times >= _FIRST or not self._read):
            return self.bytes + length
        rest = self.bytes - self._from
        return words + self._words + (-(-rest * self._words // self._from) if self._from else rest)

    def _look(self, document: bytes | bytearray | None) -> int | None:
        """Return the bytes of words in an event; None where nobody can tell."""
        if document is None or len(document) > _MOST_LOOKED_AT:
            return None
        try:
            words = words_in(json.loads(document))
        except (ValueError, RecursionError):
            return None
        self._read = True
        return words


def words_in(document: object, depth: int = _MOST_DEPTH) -> int:
    """Return the bytes of words in a document."""
    found = 0
    if not depth:
        return 0
    if isinstance(document, dict):
        for name, value in document.items():
            if isinstance(value, str):
                if name in _WORDS and not (name == "reasoning" and "reasoning_content" in document):
                    found += len(value.encode("utf-8", "replace"))
            elif name == "parameters" and value:
                # Arguments of Command R's tools, which others have as text.
                found += len(json.dumps(value))
            elif name not in _OTHERS:
                found += words_in(value, depth - 1)
    elif isinstance(document, list):
        for value in document:
            found += words_in(value, depth - 1)
    return found
