"""Images that are given to callers as URLs: kept in memory for a while, under names nobody can guess.

Whoever has the name may have the image; there is no list. Of what is over the bound the oldest go first. Called from
threads too.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable

import attrs

__all__ = ["FILES_PATH", "Files", "KeptFile"]

#: Where they are served, before the name.
FILES_PATH = "/v1/images/files/"
#: Bytes of all of them together.
MOST_BYTES = 64 * 1024 * 1024
LIFETIME_MS = 600_000
#: Random bytes of a name: 256 bits.
NAME_BYTES = 32


@attrs.frozen
class KeptFile:
    """One image: its bytes, their type, and UTC ms until when it is served."""

    content: bytes = attrs.field(repr=False)
    content_type: str
    until: int


@attrs.define(eq=False)
class Files:
    """All of them.

    Attributes:
        now_ms: tells UTC ms; random_bytes: gives so many of them.
        later: has something done on the loop after so many seconds; may be called in any thread.
        base_url: what URLs begin with, where the caller's own view is not right; else "".
        size: bytes of all of them.
    """

    now_ms: Callable[[], int]
    random_bytes: Callable[[int], bytes]
    later: Callable[[float, Callable[[], None]], object]
    base_url: str = ""
    size: int = 0
    _kept: dict[str, KeptFile] = attrs.field(factory=dict, repr=False)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, repr=False)
    _waits: bool = False

    def keep(self, asked_at: str, content: bytes, content_type: str) -> str:
        """Keep an image and return its URL. ``asked_at``: scheme and host under which the caller came."""
        name = base64.urlsafe_b64encode(self.random_bytes(NAME_BYTES)).rstrip(b"=").decode()
        with self._lock:
            self._drop_over()
            self._kept[name] = KeptFile(content, content_type, self.now_ms() + LIFETIME_MS)
            self.size += len(content)
            while self.size > MOST_BYTES:
                self._drop(next(iter(self._kept)))
            if not self._waits:
                self._waits = True
                self.later(LIFETIME_MS / 1000, self.sweep)
        return f"{self.base_url or asked_at}{FILES_PATH}{name}"

    def get(self, name: str) -> KeptFile | None:
        """Return an image, or None where there is none of this name any more."""
        with self._lock:
            self._drop_over()
            found = self._kept.get(name)
            # Behind one that was kept when the clock was ahead it may be over and there.
            return None if found is None or found.until <= self.now_ms() else found

    def sweep(self) -> None:
        """Drop what is over, so that it takes no memory until somebody asks."""
        with self._lock:
            self._drop_over()
            self._waits = bool(self._kept)
            if self._waits:
                oldest = next(iter(self._kept.values()))
                self.later(max(1.0, (oldest.until - self.now_ms()) / 1000), self.sweep)

    def _drop_over(self) -> None:
        now = self.now_ms()
        while self._kept and next(iter(self._kept.values())).until <= now:
            self._drop(next(iter(self._kept)))

    def _drop(self, name: str) -> None:
        self.size -= len(self._kept.pop(name).content)
