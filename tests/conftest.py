"""What the tests have to tell besides passing: lines that they leave with their reports, printed at the end."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says something about the machine and nothing about the code; where CI is set, hypothesis
# has settings of its own that do the same.
settings.register_profile("here", deadline=None, suppress_health_check=[HealthCheck.too_slow])
if not os.environ.get("CI"):
    settings.load_profile("here")


def pytest_collection_finish() -> None:
    """Leave what is imported by now out of every collection of garbage: there is a lot of it, and it stays."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def nothing_left_open() -> Iterator[None]:
    """Collect what the tests of a file left behind, so that a warning of it fails that file and not the next."""
    yield
    gc.collect()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the lines that tests recorded as ``summary`` (``record_property``), from whichever process they ran in."""
    for report in terminalreporter.getreports("passed"):
        for name, line in report.user_properties:
            if name == "summary":
                terminalreporter.write_line(str(line))
