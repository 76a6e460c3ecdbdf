"""Whether the files of a running ledger are still where it opened them.

SQLite, like every process, goes on writing to a file that was removed: each record would seem to last and be gone with
the process, and another gateway could begin a ledger of the same name. Blocks: for a thread.
"""

from __future__ import annotations

from pathlib import Path

import attrs

__all__ = ["Presence"]


@attrs.define(eq=False)
class Presence:
    """Files with the device and inode they had when they were opened.

    Attributes:
        fault: what had become of them at the last look, or None.
    """

    _files: tuple[tuple[Path, int, int], ...]
    fault: str | None = attrs.field(default=None, init=False)

    @classmethod
    def of(cls, *paths: Path) -> Presence:
        """Remember what the paths name now.

        Raises:
            OSError: one of them names nothing.
        """
        return cls(tuple((path, found.st_dev, found.st_ino) for path in paths for found in [path.stat()]))

    def look(self) -> str | None:
        """Look for the files; return the fault."""
        self.fault = self._find()
        return self.fault

    def _find(self) -> str | None:
        for path, device, inode in self._files:
            try:
                found = path.stat()
            except OSError as error:
                return f"{path} was taken away ({error.strerror}); put it back, or start the gateway again"
            if (found.st_dev, found.st_ino) != (device, inode):
                return f"{path} was replaced by another file; start the gateway again"
        return None
