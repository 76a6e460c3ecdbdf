"""What the benchmark prints and writes: the table of figures, JSON, and a drawing for the README."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import attrs

__all__ = ["Bars", "Figure", "draw", "table", "write_json"]

#: Rounds from which on some are always disturbed by something else on the machine.
MANY = 8


@attrs.frozen(kw_only=True)
class Figure:
    """One measured figure.

    Attributes:
        name: what was measured.
        value: the figure: a ratio of medians, a median, or the worst where ``worst`` says so.
        rounds: the same figure of each round: how far it moves on this machine.
        unit: printed behind the value.
        digits: digits after the point.
        least, most: the bar; None for figures that only inform.
    """

    name: str
    value: float
    rounds: Sequence[float] = ()
    unit: str = ""
    digits: int = 2
    least: float | None = None
    most: float | None = None

    @classmethod
    def median(cls, name: str, rounds: Sequence[float], **more: object) -> Figure:
        """Make a figure that is the median of its rounds."""
        return cls(name=name, value=statistics.median(rounds), rounds=rounds, **more)  # type: ignore[arg-type]

    @classmethod
    def worst(cls, name: str, rounds: Sequence[float], **more: object) -> Figure:
        """Make a figure that is the largest of its rounds."""
        return cls(name=name, value=max(rounds), rounds=rounds, **more)  # type: ignore[arg-type]

    @classmethod
    def ratio(cls, name: str, over: Sequence[float], under: Sequence[float], **more: object) -> Figure:
        """Make a ratio of medians; its rounds are the ratios of each round."""
        rounds = [a / b for a, b in zip(over, under, strict=True)]
        return cls(name=name, value=statistics.median(over) / statistics.median(under), rounds=rounds, **more)  # type: ignore[arg-type]

    @classmethod
    def added(cls, name: str, over: Sequence[float], under: Sequence[float], **more: object) -> Figure:
        """Make a difference of medians; its rounds are the differences of each round."""
        rounds = [a - b for a, b in zip(over, under, strict=True)]
        return cls(name=name, value=statistics.median(over) - statistics.median(under), rounds=rounds, **more)  # type: ignore[arg-type]

    @classmethod
    def paired(cls, name: str, over: Sequence[float], under: Sequence[float], **more: object) -> Figure:
        """Make the median of the differences within each round: what changes from round to round is in neither."""
        return cls.median(name, [a - b for a, b in zip(over, under, strict=True)], **more)

    @property
    def ok(self) -> bool | None:
        """Whether the bar is met; None without one. NaN meets none."""
        if self.least is not None:
            return self.value >= self.least
        return self.value <= self.most if self.most is not None else None

    @property
    def bar(self) -> str:
        """The bar as text."""
        if self.least is not None:
            return f"≥ {self.least:g}{self.unit}"
        return f"≤ {self.most:g}{self.unit}" if self.most is not None else ""

    @property
    def spread(self) -> tuple[float, float]:
        """The least and the greatest round; of many rounds, what the middle half of them lies between."""
        if len(self.rounds) >= MANY:
            low, _, high = statistics.quantiles(self.rounds, n=4)
            return low, high
        return min(self.rounds, default=math.nan), max(self.rounds, default=math.nan)

    def cells(self) -> tuple[str, str, str, str, str]:
        """Return the row of the table."""
        low, high = self.spread
        spread = f"{low:,.{self.digits}f}..{high:,.{self.digits}f}" if self.rounds else ""
        return (
            self.name,
            self.bar,
            f"{self.value:,.{self.digits}f}{self.unit}",
            spread,
            {None: "", True: "yes", False: "NO"}[self.ok],
        )


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as an aligned table."""
    rows = [("figure", "bar", "measured", "spread over rounds", "ok"), *(figure.cells() for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    rows.insert(1, tuple("-" * width for width in widths))  # type: ignore[arg-type]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in (0, 4) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def write_json(path: Path, figures: Sequence[Figure], more: Mapping[str, object]) -> None:
    """Write everything that was measured; a figure that could not be is null."""
    told = [
        {
            "name": figure.name,
            "bar": figure.bar or None,
            "value": figure.value if math.isfinite(figure.value) else None,
            "unit": figure.unit.strip() or None,
            "rounds": [value if math.isfinite(value) else None for value in figure.rounds],
            "ok": figure.ok,
        }
        for figure in figures
    ]
    path.write_text(json.dumps({**more, "figures": told}, indent=2) + "\n")


@attrs.frozen(kw_only=True)
class Bars:
    """One panel of the drawing: a title and, for each server, the figures of its rounds."""

    title: str
    unit: str
    servers: Mapping[str, Sequence[float]]
    digits: int = 0


WIDTH, LEFT, RIGHT, BAR, GAP, TITLE, MARGIN = 720, 170, 150, 22, 10, 40, 16
COLOURS = ("#8a94a6", "#4c8bd6", "#1a5fb4")


def draw(path: Path, panels: Sequence[Bars], caption: str) -> None:
    """Draw each panel as horizontal bars (median) with a whisker from the least to the greatest round, as SVG."""
    parts: list[str] = []
    y = MARGIN
    for panel in panels:
        parts.append(f'<text x="{MARGIN}" y="{y + 16}" class="title">{escape(panel.title)}</text>')
        y += TITLE - GAP
        scale = (WIDTH - LEFT - RIGHT) / max(max(rounds) for rounds in panel.servers.values())
        for colour, (name, rounds) in zip(COLOURS, panel.servers.items(), strict=False):
            value, low, high = statistics.median(rounds), LEFT + min(rounds) * scale, LEFT + max(rounds) * scale
            middle = y + BAR / 2
            whisker = f"M{low:.1f} {middle}H{high:.1f}M{low:.1f} {middle - 4}v8M{high:.1f} {middle - 4}v8"
            parts.append(
                f'<text x="{LEFT - 8}" y="{middle + 4:.1f}" text-anchor="end">{escape(name)}</text>'
                f'<rect x="{LEFT}" y="{y}" width="{value * scale:.1f}" height="{BAR}" rx="2" fill="{colour}"/>'
                f'<path d="{whisker}" class="whisker"/>'
                f'<text x="{max(high, LEFT + value * scale) + 8:.1f}" y="{middle + 4:.1f}">'
                f"{value:,.{panel.digits}f} {escape(panel.unit)}</text>"
            )
            y += BAR + 6
        y += GAP
    parts.append(f'<text x="{MARGIN}" y="{y + 14}" class="caption">{escape(caption)}</text>')
    y += 14 + MARGIN
    style = (
        "text{font:13px system-ui,sans-serif;fill:#24292f}.title{font-weight:600}.caption{font-size:11px;fill:#6a737d}"
        ".whisker{stroke:#24292f;fill:none}"
    )
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" height="{y}" role="img">\n'
        f"<title>{escape(caption)}</title><style>{style}</style>"
        f'<rect width="{WIDTH}" height="{y}" rx="6" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )
