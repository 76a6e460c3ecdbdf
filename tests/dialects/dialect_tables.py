"""The tables of docs/dialects.md, for the tests that hold them."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "dialects.md"


def rows(section: str) -> list[str]:
    """Return the names of the rows of a section's tables: what stands in their last column, in order."""
    _, found, text = PAGE.read_text().partition(f"\n## {section}\n")
    assert found, section
    names = []
    for line in text.partition("\n## ")[0].splitlines():
        cell = line.rstrip("| ").rpartition("|")[2].strip()
        if line.startswith("|") and cell.startswith("`"):
            names.append(cell.strip("`"))
    return names
