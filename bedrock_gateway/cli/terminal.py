"""What a terminal can show, and how columns come to fit it. Knows characters and widths; knows nothing of what is told.

Source of ``NO_COLOR``: https://no-color.org.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from typing import TextIO

import attrs

__all__ = ["BOLD", "CYAN", "DIM", "Column", "Terminal", "encodable"]

DIM, BOLD, CYAN = "\x1b[2m", "\x1b[1m", "\x1b[36m"
_PLAIN = "\x1b[0m"

#: Characters of one cell, at most, also where there is room.
LONGEST = 60
#: Between two columns.
GAP = "  "


@attrs.frozen(kw_only=True)
class Column:
    """A column of a table.

    Attributes:
        heading: its first line.
        cells: one text a row.
        foot: its last line.
        left: aligned on the left; numbers are on the right.
        least: characters it may be shortened to, in the middle of its cells; None: it is never shortened.
        most: of one that may be shortened, characters of a cell also where there is room.
        spare: 0 for what always stays; where there is no room the highest goes first.
    """

    heading: str
    cells: Sequence[str]
    foot: str = ""
    left: bool = False
    least: int | None = None
    most: int = LONGEST
    spare: int = 0

    @property
    def width(self) -> int:
        """Characters of its longest cell, as far as those may go."""
        longest = max(map(len, self.cells), default=0)
        # A heading is worth as much room as a cell, but not a longer column when that is short of it.
        return max(len(self.heading), len(self.foot), longest if self.least is None else min(longest, self.most))


def encodable(text: str, encoding: str | None) -> str:
    """Return text with what an encoding has no character for written as Python escapes."""
    encoding = encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


@attrs.frozen(kw_only=True)
class Terminal:
    """Where a table is printed.

    Attributes:
        out: takes the text.
        width: characters of a line; None for a file or a pipe, where nothing has to fit.
        colour: whether styles are shown.
    """

    out: TextIO
    width: int | None
    colour: bool

    @classmethod
    def of(cls, out: TextIO, environ: Mapping[str, str]) -> Terminal:
        """Return what a stream can show; ``NO_COLOR`` and ``TERM=dumb`` have no styles."""
        tty = out.isatty()
        return cls(
            out=out,
            width=shutil.get_terminal_size((100, 24)).columns if tty else None,
            colour=tty and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb",
        )

    def can(self, text: str) -> bool:
        """Tell whether the stream has every character of a text."""
        return encodable(text, self.out.encoding) == text

    def line(self, text: str = "") -> None:
        """Print a line."""
        print(text.rstrip(), file=self.out)

    def style(self, code: str, text: str) -> str:
        """Return text in a style, where there are styles."""
        return f"{code}{text}{_PLAIN}" if self.colour and text else text

    def word(self, text: str) -> str:
        """Return text that cannot steer the terminal and can be printed on it: names are what callers sent."""
        if "…" in text and not self.can("…"):
            text = text.replace("…", "...")
        return encodable(
            "".join(character if character.isprintable() else "?" for character in text), self.out.encoding
        )

    def shorten(self, text: str, width: int) -> str:
        """Return text of at most ``width`` characters, its beginning and its end: those tell ARNs apart."""
        if len(text) <= width:
            return text
        gap = "…" if self.can("…") else "..."
        kept = max(width - len(gap), 2)
        return f"{text[: kept // 2]}{gap}{text[len(text) - (kept - kept // 2) :]}"

    def fit(self, columns: Sequence[Column]) -> tuple[list[Column], list[int]]:
        """Return the columns that fit, and their widths: first columns are shortened, then spare ones go."""
        kept = list(columns)
        while True:
            widths = self._widths(kept)
            spare = max((column.spare for column in kept), default=0)
            if self.width is None or not spare or sum(widths) + len(GAP) * (len(widths) - 1) <= self.width:
                return kept, widths
            kept = [column for column in kept if column.spare != spare]

    def _widths(self, columns: Sequence[Column]) -> list[int]:
        """Return the columns' widths: the widest that may be shortened give way first."""
        widths = [column.width for column in columns]
        over = 0 if self.width is None else sum(widths) + len(GAP) * (len(widths) - 1) - self.width
        for _ in range(over):
            most = max(
                (
                    (width, index)
                    for index, (column, width) in enumerate(zip(columns, widths, strict=True))
                    if column.least is not None and width > max(column.least, len(column.heading), len(column.foot))
                ),
                default=None,
            )
            if most is None:
                break
            widths[most[1]] -= 1
        return widths

    def table(self, columns: Sequence[Column], ends: Sequence[str] = ()) -> None:
        """Print columns under each other's headings, with what ends each row, and their feet if there are any."""
        kept, widths = self.fit(columns)
        self.line(self.style(DIM, _row(kept, widths, [column.heading for column in kept]).rstrip()))
        for index in range(len(kept[0].cells)):
            cells = [self.shorten(column.cells[index], width) for column, width in zip(kept, widths, strict=True)]
            end = ends[index] if ends else ""
            self.line(_row(kept, widths, cells) + (GAP + end if end else ""))
        if any(column.foot for column in kept):
            self.line(self.style(BOLD, _row(kept, widths, [column.foot for column in kept]).rstrip()))
        gone = [column.heading for column in columns if column not in kept]
        if gone:
            self.line()
            self.line(self.style(DIM, f"No room for: {', '.join(gone)}. --json has everything."))


def _row(columns: Sequence[Column], widths: Sequence[int], cells: Sequence[str]) -> str:
    return GAP.join(
        cell.ljust(width) if column.left else cell.rjust(width)
        for column, width, cell in zip(columns, widths, cells, strict=True)
    )
