"""The tables of docs/dialects.md, for the tests that hold them, and what most of these put into a field."""

from __future__ import annotations

import base64
from pathlib import Path

from hypothesis import strategies as st

PAGE = Path(__file__).parents[2] / "docs" / "dialects.md"

words = st.text(min_size=1, max_size=20).filter(str.strip)
data_bytes = st.binary(min_size=1, max_size=20).map(lambda data: base64.b64encode(data).decode())
names = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)
ids = st.from_regex(r"[A-Za-z0-9_.:-]{1,64}", fullmatch=True)
values = st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(max_size=5)
schemas = st.dictionaries(
    st.text(max_size=5), st.recursive(values, lambda inner: st.lists(inner, max_size=2)), max_size=3
)
points = st.sampled_from(
    [{"type": "ephemeral"}, {"type": "ephemeral", "ttl": "5m"}, {"type": "ephemeral", "ttl": "1h"}]
)


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
