"""The real command as a process of its own, for the tests of this folder: started in a clean environment, listened to
line by line, never left behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import attrs

from bedrock_gateway.wire.model_ids import plain_model

ROOT = Path(__file__).resolve().parents[2]
#: Seconds after which a process that says or does nothing counts as hung.
PATIENCE = 20.0

#: Credentials and region by the environment; a simulator has to know them.
AMBIENT = {"AWS_ACCESS_KEY_ID": "AKIDEPLOYMENTA", "AWS_SECRET_ACCESS_KEY": "secret-A", "AWS_REGION": "us-east-1"}

#: Runs a Python command without the rights that make root's life different from other users'.
UNPRIVILEGED = """
import ctypes, os, sys
PR_CAPBSET_DROP, DAC_OVERRIDE, DAC_READ_SEARCH, NET_BIND_SERVICE = 24, 1, 2, 10
libc = ctypes.CDLL(None)
for capability in (DAC_OVERRIDE, DAC_READ_SEARCH, NET_BIND_SERVICE):
    libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
os.execv(sys.executable, [sys.executable, "-m", "bedrock_gateway", *sys.argv[1:]])
"""


def environment(home: Path, more: Mapping[str, str]) -> dict[str, str]:
    """Return a clean environment: nothing of the developer's own, no metadata service, warnings are errors."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "error",
        "AWS_EC2_METADATA_DISABLED": "true",
        **more,
    }


def run(
    home: Path,
    *arguments: str,
    environ: Mapping[str, str] = AMBIENT,
    cwd: Path | None = None,
    program: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run the command to its end.

    Args:
        home: ``HOME``, and the working directory where none is given.
        environ: variables beside the clean environment.
        program: Python text to run in place of ``-m bedrock_gateway``.
    """
    command = ["-m", "bedrock_gateway"] if program is None else ["-c", program]
    return subprocess.run(
        [sys.executable, *command, *arguments],
        env=environment(home, environ),
        cwd=cwd or home,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@attrs.define(eq=False)
class Command:
    """A running command. Use as a context manager: at its end nothing of it is left.

    Attributes:
        process: the process; out, err: what it has said so far, line by line.
    """

    process: subprocess.Popen[str]
    out: list[str] = attrs.field(factory=list, init=False)
    err: list[str] = attrs.field(factory=list, init=False)
    _heard: threading.Condition = attrs.field(factory=threading.Condition, init=False)
    _readers: list[threading.Thread] = attrs.field(factory=list, init=False)
    _silent: int = attrs.field(default=0, init=False)

    @classmethod
    def start(cls, home: Path, *arguments: str, environ: Mapping[str, str] = AMBIENT) -> Command:
        """Start the command; ``until`` tells when it is ready."""
        process = subprocess.Popen(
            [sys.executable, "-m", "bedrock_gateway", *arguments],
            env=environment(home, environ),
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        command = cls(process)
        assert process.stdout is not None and process.stderr is not None
        for stream, lines in ((process.stdout, command.out), (process.stderr, command.err)):
            command._readers.append(threading.Thread(target=command._read, args=(stream, lines), daemon=True))
        for reader in command._readers:
            reader.start()
        return command

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.ended()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def until(self, pattern: str, *, seconds: float = PATIENCE) -> re.Match[str]:
        """Wait until it says a line with this pattern, and return the match."""

        def found() -> re.Match[str] | None:
            for line in (*self.out, *self.err):
                match = re.search(pattern, line)
                if match is not None:
                    return match
            return None

        with self._heard:
            self._heard.wait_for(lambda: found() or self._silent == len(self._readers), seconds)
            match = found()
        assert match is not None, f"it never said {pattern!r}, but:\n" + "\n".join((*self.out, *self.err)[-30:])
        return match

    def url(self) -> str:
        """Wait until it listens, and return ``http://127.0.0.1:PORT``."""
        return self.until(r" (?:at|on) (http://127\.0\.0\.1:\d+)")[1]

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def ended(self, *, seconds: float = PATIENCE) -> int:
        """Wait until it has ended and all it said was read; return its exit status."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError("it did not end, and said:\n" + "\n".join((*self.out, *self.err)[-30:])) from None
        for reader in self._readers:
            reader.join(seconds)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        return status

    def _read(self, stream: IO[str], lines: list[str]) -> None:
        for line in stream:
            with self._heard:
                lines.append(line.rstrip("\n"))
                self._heard.notify_all()
        with self._heard:
            self._silent += 1
            self._heard.notify_all()


@contextlib.contextmanager
def reading(database: Path) -> Iterator[sqlite3.Connection]:
    """Open a ledger for reading only, as any other program might."""
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)) as connection:
        yield connection


def rows(database: Path, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """Return rows of a ledger."""
    with reading(database) as connection:
        return connection.execute(sql, values).fetchall()


def assert_rollups_are_sums(database: Path) -> None:
    """Assert that rollups, label rollups and accounts are the sums of the rows, added up here from scratch."""
    calls = """
        SELECT end_user, tags, started_at / 900000, caller, user, team, model_group, model, deployment, operation,
               state, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 FROM calls"""
    attempts = """
        SELECT calls.end_user, calls.tags, calls.started_at / 900000, calls.caller, calls.user, calls.team,
               calls.model_group, attempts.model, attempts.deployment, calls.operation, attempts.state, 0, 1,
               attempts.input, attempts.output, attempts.cache_read, attempts.cache_write_5m, attempts.cache_write_1h,
               attempts.images, CASE WHEN attempts.charged THEN coalesce(attempts.spend, 0) ELSE 0 END,
               coalesce(attempts.spend, 0),
               CASE WHEN attempts.charged AND attempts.spend IS NULL THEN coalesce(attempts.spend_at_most, 0) ELSE 0 END
        FROM attempts JOIN calls ON calls.id = attempts.call"""
    sums: dict[tuple[Any, ...], list[int]] = {}
    label_sums: dict[tuple[Any, ...], list[int]] = {}
    account_sums: dict[tuple[str, int], int] = {}
    with reading(database) as connection:
        for end_user, tags, *row in connection.execute(f"{calls} UNION ALL {attempts}"):
            key, values = tuple(row[:9]), row[9:]
            quarter, caller, user, team, group, model, deployment, _, state = key
            labels = [("tag", tag) for tag in json.loads(tags or "[]")] + [("end_user", end_user)] * bool(end_user)
            _add(sums, key, values)
            for kind, label in labels:
                _add(label_sums, (quarter, kind, label, caller, model, state), values)
            if state == "open":
                continue
            accounts = ["gateway", f"key:{caller}", *(f"{kind}:{label}" for kind, label in labels)]
            accounts += [f"deployment:{deployment}"] * bool(deployment)
            names = {group, plain_model(model)} - {""}
            accounts += [f"model:{caller}/{name}" for name in names if name != group or "*" not in name]
            accounts += [f"user:{user}"] * bool(user) + [f"team:{team}"] * bool(team)
            accounts += [f"member:{team}/{user}"] * bool(user and team)
            for account in accounts:
                account_sums[account, quarter] = account_sums.get((account, quarter), 0) + values[8] + values[10]
        rollups = {row[:9]: list(row[9:]) for row in connection.execute("SELECT * FROM rollups")}
        labelled = {row[:6]: list(row[6:]) for row in connection.execute("SELECT * FROM label_rollups")}
        booked = {(account, quarter): spend for account, quarter, spend in connection.execute("SELECT * FROM accounts")}

    assert sums == rollups
    assert label_sums == labelled
    assert {account: spend for account, spend in account_sums.items() if spend} == booked


def _add(sums: dict[tuple[Any, ...], list[int]], key: tuple[Any, ...], values: list[int]) -> None:
    kept = sums.setdefault(key, [0] * len(values))
    for index, value in enumerate(values):
        kept[index] += value
