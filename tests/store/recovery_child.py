"""A process that recovers a ledger and is killed at its n-th statement that is not a SELECT."""

from __future__ import annotations

import itertools
import os
import sqlite3
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from ledger_samples import NOW, identifier

from bedrock_gateway.store.recovery import begin_run


def main(path: Path, last: int) -> None:
    """Recover, with every connection traced."""
    writes = itertools.count(1)

    def trace(statement: str) -> None:
        if not statement.startswith("SELECT") and next(writes) >= last:
            os.kill(os.getpid(), 9)

    connect = sqlite3.connect

    def traced(*args: object, **kwargs: object) -> sqlite3.Connection:
        connection = connect(*args, **kwargs)
        connection.set_trace_callback(trace)
        return connection

    sqlite3.connect = traced
    begin_run(path, run=identifier(), simulated=False, now_ms=NOW, version="1", pid=1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
