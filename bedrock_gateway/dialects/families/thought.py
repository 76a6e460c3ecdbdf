"""Thought that a model says as part of its text, between tags at the beginning of it.

Knows the tags. Must not know whose words they are, nor how a stream is cut: a tag may come in pieces.

Source: public reports of openai.gpt-oss through InvokeModel (``<reasoning>``: promptfoo, pull request 9587); chat
templates of Qwen3, DeepSeek and Magistral (``<think>``).
"""

from __future__ import annotations

__all__ = ["CLOSING", "TEXT", "THOUGHT", "Splitter"]

TEXT, THOUGHT = "text", "thought"
_TAGS = {"<reasoning>": "</reasoning>", "<think>": "</think>"}
#: The tags of a thought that a prompt may open already.
_OPENING, CLOSING = "<think>", _TAGS["<think>"]


class Splitter:
    """Tells thought and text of one answer apart.

    No more is held back than what may still become a tag, and the white space before one.
    """

    def __init__(self, *, opened: bool = False) -> None:
        """``opened``: the prompt ends with the tag that begins a thought; the answer may repeat it."""
        self._held = ""
        self._opened = opened
        self._begins = True  # no text was said so far
        self._closing = ""  # tag at which the thought under way ends
        self._thought = False  # some was said

    def feed(self, words: str) -> list[tuple[str, str]]:
        """Return what is known to be thought or text now, in order: ``(THOUGHT | TEXT, words)``, never empty words."""
        told: list[tuple[str, str]] = []
        self._held += words
        while self._held:
            if self._opened:
                if not self._go_on():
                    break
            elif self._closing:
                if not self._think(told):
                    break
            elif self._begins:
                if not self._begin():
                    break
            else:
                told.append((TEXT, self._held))
                self._held = ""
        return told

    def end(self) -> list[tuple[str, str]]:
        """Return what was held back, now that nothing more comes."""
        held, self._held = self._held, ""
        return [(THOUGHT if self._closing or self._opened else TEXT, held)] if held else []

    def _go_on(self) -> bool:
        """Find out whether a thought that is open already is opened again; tell whether that is known."""
        head = self._held.lstrip()
        if head.startswith(_OPENING):
            self._held = head[len(_OPENING) :]
        elif _OPENING.startswith(head):
            return False
        self._closing, self._opened = CLOSING, False
        return True

    def _think(self, told: list[tuple[str, str]]) -> bool:
        """Take thought from what is held; tell whether it has ended."""
        at = self._held.find(self._closing)
        over = at >= 0
        if not over:
            at = len(self._held) - _overlap(self._held, self._closing)
        if at:
            told.append((THOUGHT, self._held[:at]))
        self._held = self._held[at:]
        if over:
            self._held = self._held[len(self._closing) :]
            self._closing, self._thought = "", True
        return over

    def _begin(self) -> bool:
        """Find out what comes first; tell whether that is known."""
        if self._thought:
            # What stands between thought and text is no part of either.
            self._held = self._held.lstrip("\r\n")
        head = self._held.lstrip()
        for opening, closing in _TAGS.items():
            if head.startswith(opening):
                self._held, self._closing = head[len(opening) :], closing
                return True
            if opening.startswith(head):
                return False
        self._begins = False
        return True


def _overlap(words: str, tag: str) -> int:
    """Return how much of the end of some words may be the beginning of a tag."""
    return next((size for size in range(min(len(tag) - 1, len(words)), 0, -1) if words.endswith(tag[:size])), 0)
