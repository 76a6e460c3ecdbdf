"""A ledger with a month of calls by keys of users and teams, for the tests of what is answered of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))


@pytest.fixture(scope="session")
def filled_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a ledger that tests only read, or copy; its last call is of 2026-11-18 11:06:40 UTC."""
    from filled import fill

    path = tmp_path_factory.mktemp("filled") / "ledger.db"
    fill(path, keys=60, calls=900, seed=7, until_ms=1_795_000_000_000)
    return path
