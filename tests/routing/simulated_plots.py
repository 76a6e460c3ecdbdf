"""Draws figures of several strategies in several scenarios as SVG, without a library."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path

__all__ = ["dots"]

WIDTH, LEFT, RIGHT, MARGIN, LANE, GAP, LEGEND = 760, 172, 60, 16, 9, 10, 150
#: One for each strategy, the last the darkest; told apart by those who see no red or no green too, and on white.
COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#cc79a7", "#8a94a6", "#0b3d91")
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#24292f}.title{font-weight:600}"
    ".small{font-size:11px;fill:#57606a}.grid{stroke:#d8dee4;fill:none}"
)


def dots(path: Path, title: str, rows: Mapping[str, Mapping[str, Sequence[float]]], *, log: bool = False) -> None:
    """Draw, for each scenario, one lane for each strategy: a dot at the mean, a line from the least to the greatest."""
    strategies = list(next(iter(rows.values())))
    values = [value for row in rows.values() for seeds in row.values() for value in seeds]
    ticks = _log_ticks(min(values), max(values)) if log else _ticks(min(values), max(values))
    place = _scale(ticks[0], ticks[-1], log)
    lines = math.ceil(len(strategies) / 4)
    top = MARGIN + 22 + 20 * lines + 14
    height = len(strategies) * LANE + GAP
    bottom = top + len(rows) * height
    parts = [f'<text x="{MARGIN}" y="{MARGIN + 12}" class="title">{escape(title)}</text>']
    for number, (strategy, colour) in enumerate(zip(strategies, COLOURS, strict=False)):
        x, y = MARGIN + 5 + number % 4 * (LEGEND + 30), MARGIN + 34 + 20 * (number // 4)
        parts.append(
            f'<circle cx="{x}" cy="{y}" r="4" fill="{colour}"/><text x="{x + 10}" y="{y + 4}">{escape(strategy)}</text>'
        )
    for tick in ticks:
        parts.append(
            f'<path d="M{place(tick):.1f} {top}V{bottom}" class="grid"/>'
            f'<text x="{place(tick):.1f}" y="{bottom + 16}" text-anchor="middle" class="small">{tick:g}</text>'
        )
    y = float(top)
    for scenario, row in rows.items():
        parts.append(f'<path d="M{MARGIN} {y:.1f}H{WIDTH - MARGIN}" class="grid"/>')
        parts.append(f'<text x="{LEFT - 14}" y="{y + height / 2 + 4:.1f}" text-anchor="end">{escape(scenario)}</text>')
        for number, (seeds, colour) in enumerate(zip(row.values(), COLOURS, strict=False)):
            middle = y + GAP / 2 + LANE * (number + 0.5)
            low, high, mean = place(min(seeds)), place(max(seeds)), place(statistics.fmean(seeds))
            parts.append(
                f'<path d="M{low:.1f} {middle:.1f}H{high:.1f}" stroke="{colour}" stroke-width="2"/>'
                f'<circle cx="{mean:.1f}" cy="{middle:.1f}" r="3.6" fill="{colour}"/>'
            )
        y += height
    parts.append(f'<path d="M{MARGIN} {bottom}H{WIDTH - MARGIN}" class="grid"/>')
    whole = bottom + 16 + MARGIN
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {whole}" width="{WIDTH}" height="{whole}" '
        f'role="img">\n<title>{escape(title)}</title><style>{STYLE}</style>'
        f'<rect width="{WIDTH}" height="{whole}" rx="6" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n",
        encoding="utf-8",
    )


def _scale(least: float, most: float, log: bool) -> Callable[[float], float]:
    """Return where on the x axis a value is."""

    def at(value: float) -> float:
        return math.log(value) if log else value

    def place(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (at(value) - at(least)) / (at(most) - at(least))

    return place


def _ticks(least: float, most: float) -> list[float]:
    """Return five to eleven round numbers around all values."""
    step = 10.0 ** math.floor(math.log10((most - least) / 5))
    step *= next(factor for factor in (1, 2, 5, 10) if (most - least) / (step * factor) <= 8)
    first, last = math.floor(least / step + 1e-9), math.ceil(most / step - 1e-9)
    return [number * step for number in range(first, last + 1)]


def _log_ticks(least: float, most: float) -> list[float]:
    """Return 1, 2 and 5 times powers of ten around all values."""
    known = [factor * 10.0**power for power in range(-3, 6) for factor in (1, 2, 5)]
    return [tick for number, tick in enumerate(known) if known[min(number + 1, len(known) - 1)] > least][
        : sum(1 for tick in known if tick < most) - sum(1 for tick in known if tick <= least) + 2
    ]
