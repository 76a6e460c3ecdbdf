"""The spend report, from real ledgers, beside a running gateway and without one."""

from __future__ import annotations

import argparse
import asyncio
import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bedrock_gateway.cli import spend
from bedrock_gateway.errors import StartError
from bedrock_gateway.metering.usage import Usage
from bedrock_gateway.store.ids import new_id
from bedrock_gateway.store.ledger import Ledger
from bedrock_gateway.store.periods import parse_time
from bedrock_gateway.store.records import CallRecord, Closing, Opening, State

NOW = 1_795_000_000_000  # 2026-11-18 11:06:40 UTC
DAY = 86_400_000


def _run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    spend.add_parser(parser.add_subparsers())
    args = parser.parse_args(["spend", *arguments])
    status: int = args.run(args)
    return status


class Book:
    """Books calls into an open ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.count = 0

    async def call(self, model: str, *spends: int | None, state: State = State.METERED, **changes: Any) -> str:
        """Book a call with one attempt for each spend; all but the last failed over and are not charged."""
        self.count += 1
        started = changes.get("started_at", NOW)
        call = new_id(started, (self.count << 8).to_bytes(10, "big"))
        common = {"call": call, "caller": changes.get("caller", "local"), "operation": "Converse"}
        common["dialect"] = changes.get("dialect", "bedrock")
        whole = CallRecord(
            **common,
            model_group=changes.get("group", "claude"),
            started_at=started,
            ended_at=started + 900,
            status=200 if spends else 404,
            error_type=changes.get("error_type"),
            attempts=len(spends),
        )
        if not spends:
            self.ledger.record_call(whole)
        for number, amount in enumerate(spends, start=1):
            attempt = new_id(started, ((self.count << 16) + (number << 8)).to_bytes(10, "little"))
            self.ledger.open_attempt(
                Opening(
                    **common,
                    attempt=attempt,
                    number=number,
                    part=0,
                    model_group=whole.model_group,
                    deployment=changes.get("deployment", f"deployment-{number}"),
                    model=model,
                    region="us-west-2",
                    started_at=started,
                    spend_at_most=5_000_000,
                )
            )
            last = number == len(spends)
            await self.ledger.close_attempt(
                Closing(
                    attempt=attempt,
                    state=state if last else State.REFUSED,
                    charged=last,
                    spend=amount,
                    ended_at=started + 800,
                    usage=Usage(input_tokens=1000, output_tokens=20, cache_read_tokens=3),
                    status=200,
                    notes=changes.get("notes", ()),
                ),
                whole if last else None,
            )
        return call


async def _ledger(path: Path) -> Ledger:
    return await Ledger.open(
        path, simulated=False, durability="process", now_ms=lambda: NOW, version="1", pid=os.getpid()
    )


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """A ledger with some calls in it, closed in order."""
    path = tmp_path / "ledger.db"

    async def fill() -> None:
        async with await _ledger(path) as ledger:
            book = Book(ledger)
            await book.call("sonnet", 1_234_567_891)
            await book.call("sonnet", 1, caller="=cmd()")
            await book.call("haiku", 4_000_000, 20_000_000, started_at=NOW - 2 * DAY)
            await book.call("secret-model", None, state=State.UNPRICED)
            await book.call("nova", 7_000_000, state=State.ESTIMATED)
            await book.call("", caller="\x1b[31mred", group="unknown")

    asyncio.run(fill())
    return path


def test_table(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table is aligned, has totals and bars, and names what is not exact."""
    assert 0 == _run("--database", str(database))
    expected = """\
Spend by model

model           calls  input  output  cached      USD
sonnet              2  2,000      40       6  1.2346   ████████████████████
haiku               1  2,000      40       6  0.0200   █
nova                1  1,000      20       3  0.0070   █
(nothing sent)      1      0       0       0  0.0000
secret-model        1  1,000      20       3  unknown
total               6  6,000     120      18  1.2616+

Not exact:
  1 unpriced   no price is known for their model
  1 estimated  spend estimated: AWS did not tell all of it, or the stream ended early
  What is unknown (+) is at most 0.0050 USD, as far as bounded.

0.0040 USD more was spent upstream and not charged to callers (attempts that failed over).
"""
    assert expected == capsys.readouterr().out


def test_columns_line_up(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Decimal points stand under each other, whatever the number of places."""
    _run("--database", str(database), "--by", "caller")
    lines = capsys.readouterr().out.splitlines()[3:-1]
    points = {line.rindex(".") for line in lines if line.split() and "." in line and "USD" not in line}
    assert 1 == len(points), lines
    assert any("?[31mred" in line for line in lines), "control characters reach the terminal"
    assert any("0.000000001" in line for line in lines), "a nano-dollar looks like nothing"


@pytest.mark.parametrize("by", ["model", "caller", "day", "hour", "deployment", "model-group", "operation", "state"])
def test_json_is_exact(database: Path, capsys: pytest.CaptureFixture[str], by: str) -> None:
    """Every dimension sums to the same, exact to the nano-dollar."""
    assert 0 == _run("--database", str(database), "--by", by, "--json")
    report = json.loads(capsys.readouterr().out)
    assert by == report["by"]
    assert 1_261_567_892 == sum(line["spend_nano_usd"] for line in report["lines"])
    assert 1_265_567_892 == sum(line["spend_all_nano_usd"] for line in report["lines"])
    assert 6 == sum(line["calls"] for line in report["lines"])
    assert all(by.replace("-", "_") in line for line in report["lines"])
    if by == "model":
        assert "1.234567892" == report["lines"][0]["spend_usd"]
    if by == "day":
        assert ["2026-11-16", "2026-11-18"] == [line["day"] for line in report["lines"]]
    if by == "hour":
        assert ["2026-11-16 11:00", "2026-11-18 11:00"] == [line["hour"] for line in report["lines"]]
    assert (by == "deployment") == ("deployment_name" in report["lines"][0])
    if by == "deployment":
        spends = {line["deployment"]: line["spend_all_nano_usd"] for line in report["lines"]}
        assert {"deployment-1": 1_245_567_892, "deployment-2": 20_000_000, "": 0} == spends


def test_csv(database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """CSV has the same columns with and without rows, exact spend, and no cell a spreadsheet would run."""
    assert 0 == _run("--database", str(database), "--by", "caller", "--csv")
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {"local", "'=cmd()", "\x1b[31mred"} == {row["caller"] for row in rows}
    assert "0.000000001" == next(row["spend_usd"] for row in rows if "cmd" in row["caller"])
    assert ["1", "1"] == [rows[0]["unpriced"], rows[0]["estimated"]]
    assert 0 == _run("--database", str(database), "--by", "caller", "--csv", "--since", "2030-01-01")
    assert ",".join(rows[0]) == capsys.readouterr().out.strip()


def test_period(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Since and until cut by the quarter-hour; an empty time says so."""
    _run("--database", str(database), "--json", "--since", "2026-11-18", "--until", "2026-11-18T11:07Z")
    assert 5 == sum(line["calls"] for line in json.loads(capsys.readouterr().out)["lines"])
    _run("--database", str(database), "--json", "--until", "2026-11-18T11:00Z")
    assert 1 == sum(line["calls"] for line in json.loads(capsys.readouterr().out)["lines"])
    _run("--database", str(database), "--since", "2026-11-19")
    assert "Nothing was booked in this time." in capsys.readouterr().out


def test_the_heading_says_what_is_summed_up(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Sums are of whole quarter-hours and say from which to which; single calls are cut where it was asked for."""
    times = ("--since", "2026-11-18T10:59:50", "--until", "2026-11-18T11:00:01")
    _run("--database", str(database), *times)
    assert "Spend by model since 2026-11-18 10:45 until 2026-11-18 11:15 UTC" == capsys.readouterr().out.split("\n")[0]
    _run("--database", str(database), "--json", *times)
    report = json.loads(capsys.readouterr().out)
    assert ("2026-11-18T10:45:00.000Z", "2026-11-18T11:15:00.000Z") == (report["since"], report["until"])
    _run("--database", str(database), "--by", "call", "--json", *times)
    report = json.loads(capsys.readouterr().out)
    assert ("2026-11-18T10:59:50.000Z", "2026-11-18T11:00:01.000Z") == (report["since"], report["until"])


def test_calls(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Single calls are listed newest first, with unknown spend called unknown."""
    assert 0 == _run("--database", str(database), "--by", "call", "--json", "--since", "2026-11-18")
    lines = json.loads(capsys.readouterr().out)["lines"]
    assert ["free" if not line["attempts"] else line["state"] for line in lines].count("metered") == 2
    assert [line["call"] for line in lines] == sorted((line["call"] for line in lines), reverse=True)
    assert {None, 0, 1, 7_000_000, 1_234_567_891} == {line["spend_nano_usd"] for line in lines}
    assert 0 == _run("--database", str(database), "--by", "call", "--limit", "3")
    out = capsys.readouterr().out
    assert "unknown" in out
    assert 6 == len(out.splitlines())


async def test_beside_a_running_gateway(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The report reads what is booked while the ledger is open."""
    path = tmp_path / "ledger.db"
    async with await _ledger(path) as ledger:
        await Book(ledger).call("sonnet", 5)
        assert 0 == await asyncio.to_thread(_run, "--database", f"sqlite:///{path}", "--json")
    assert 5 == json.loads(capsys.readouterr().out)["lines"][0]["spend_nano_usd"]


def test_nothing_to_report_from(tmp_path: Path) -> None:
    """Without a ledger, or with something else in its place, one clear line; and nothing is created."""
    (tmp_path / "text.db").write_text("no database, " * 20)
    (tmp_path / "empty.db").write_text("")
    table = [
        (str(tmp_path / "none.db"), "no ledger here yet"),
        (str(tmp_path / "text.db"), "is not a SQLite database"),
        (str(tmp_path / "empty.db"), "is not a ledger of bedrock-gateway"),
        (str(tmp_path), "is a directory"),
        ("postgresql://user:secret@host/db", "not supported"),
    ]
    for database, words in table:
        with pytest.raises(StartError, match=words) as caught:
            _run("--database", database)
        assert "\n" not in str(caught.value)
    with pytest.raises(StartError, match="--since: 'soon' is no time"):
        _run("--database", str(tmp_path / "none.db"), "--since", "soon")
    assert ["empty.db", "text.db"] == sorted(entry.name for entry in tmp_path.iterdir())


def test_only_simulated_runs_so_far(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks for the report after trying the simulator is told where its spend is."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    with pytest.raises(StartError, match="no ledger here yet, so nothing was booked in it"):
        _run()
    (tmp_path / "bedrock-gateway").mkdir()
    (tmp_path / "bedrock-gateway" / "ledger-simulated.db").touch()
    with pytest.raises(StartError, match="no ledger here yet; spend --simulate shows that of simulated runs"):
        _run()


def test_closed_pipe(database: Path) -> None:
    """A reader that goes away early sees no traceback."""
    child = subprocess.Popen(
        [sys.executable, "-m", "bedrock_gateway", "spend", "--database", database, "--by", "call", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.close()
    stderr = child.stderr.read()
    child.stderr.close()
    assert child.wait(30) in (0, 1)
    assert b"" == stderr


@pytest.mark.parametrize(
    ("text", "at_ms"),
    [
        ("90m", NOW - 5_400_000),
        ("24h", NOW - DAY),
        ("7d", NOW - 7 * DAY),
        ("2w", NOW - 14 * DAY),
        ("999999999w", 0),
        ("2026-11-18", 1_794_960_000_000),
        ("2026-11-18T11:06:40", NOW),
        ("2026-11-18T11:06:40Z", NOW),
        ("2026-11-18T13:06:40+02:00", NOW),
    ],
)
def test_times(text: str, at_ms: int) -> None:
    """Durations count back from now, dates and times are UTC unless they say otherwise."""
    assert at_ms == parse_time(text, NOW)
