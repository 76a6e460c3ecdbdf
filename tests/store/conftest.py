"""A ledger with a month of calls by keys of users and teams, for the tests of what is read from it."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

#: UTC ms of its last call: 2026-11-18 11:06:40.
UNTIL = 1_795_000_000_000


@pytest.fixture(scope="session")
def filled_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a ledger that tests only read, or copy."""
    from filled import fill

    path = tmp_path_factory.mktemp("filled") / "ledger.db"
    fill(path, keys=60, calls=900, seed=7, until_ms=UNTIL)
    return path


@pytest.fixture(scope="session")
def filled(filled_path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that reads it."""
    connection = sqlite3.connect(f"file:{filled_path}?mode=ro", uri=True, isolation_level=None)
    yield connection
    connection.close()
