"""Many rows in few statements. Knows no table.

Between two statements the loop takes the interpreter back from the writer's thread, and each change of hands costs more
than a row.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

__all__ = ["inserts", "write_rows"]

#: Rows of one statement at most; 32 of the widest table stay below SQLite's 999 parameters.
_MOST = 32
#: Up to so many rows go into one statement whatever their number: what a single call writes.
_FEW = 8


def inserts(table: str, columns: int, conflict: str = "NOTHING") -> Mapping[int, str]:
    """Return the statements that insert 1 to 8, 16 and 32 rows, by that number.

    Args:
        conflict: what is done where a row is there already, as SQL says it behind ``ON CONFLICT DO``.
    """
    row = f"({', '.join('?' * columns)})"
    return {
        size: f"INSERT INTO {table} VALUES {', '.join([row] * size)} ON CONFLICT DO {conflict}"
        for size in (*range(1, _FEW + 1), 2 * _FEW, _MOST)
    }


def write_rows(cursor: sqlite3.Cursor, statements: Mapping[int, str], rows: Sequence[Sequence[Any]]) -> int:
    """Write rows by ``inserts``; return how many were inserted or changed."""
    left = len(rows)
    if left == 1:
        cursor.execute(statements[1], rows[0])
        return cursor.rowcount
    changed = 0
    while left:
        size = left if left <= _FEW else _MOST if left >= _MOST else 2 * _FEW if left >= 2 * _FEW else _FEW
        cursor.execute(statements[size], list(chain.from_iterable(rows[-left : size - left or None])))
        changed += cursor.rowcount
        left -= size
    return changed
