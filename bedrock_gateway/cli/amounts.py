"""Money and times as text: nano-USD to USD, exact or for reading; UTC ms to ISO 8601."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

__all__ = ["aligned", "exact", "iso", "rounded"]

_NANO = 1_000_000_000


def exact(nano: int) -> str:
    """Return USD with all nine places."""
    sign = "-" if nano < 0 else ""
    return f"{sign}{abs(nano) // _NANO}.{abs(nano) % _NANO:09d}"


def rounded(nano: int) -> str:
    """Return USD for reading: four places from a cent on, below it as many as there are, never a zero for something."""
    if nano >= _NANO // 100:
        tenths = (nano + 50_000) // 100_000
        return f"{tenths // 10_000:,}.{tenths % 10_000:04d}"
    if nano == 0:
        return "0.0000"
    text = exact(nano).rstrip("0")
    return text.ljust(6, "0")


def aligned(amounts: Sequence[str], total: str = "") -> tuple[list[str], str]:
    """Bring the decimal points of amounts under each other."""
    places = max((len(text.partition(".")[2]) for text in (*amounts, total) if "." in text), default=0)
    padded = [
        text + " " * (places - len(text.partition(".")[2])) if "." in text else text for text in (*amounts, total)
    ]
    return padded[:-1], padded[-1]


def iso(at_ms: int | None) -> str | None:
    """Return UTC ms as an ISO 8601 time; what no calendar holds stays a number."""
    if at_ms is None:
        return None
    try:
        return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return str(at_ms)
