"""The spend report as people see it: names of deployments, calls, unknown spend, empty ledgers, real terminals."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import fcntl
import io
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest
from test_spend import NOW, Book, _ledger, _run

from bedrock_gateway.cli import main
from bedrock_gateway.errors import ConfigError, StartError
from bedrock_gateway.store.ids import new_id
from bedrock_gateway.store.records import Opening, State

SONNET = "us.anthropic.claude-sonnet-4-20250514-v1:0"
PROFILE = "arn:aws:bedrock:us-west-2:123456789012:application-inference-profile/abcdefghijkl0123456789"
NAMES = [
    ("deployment-1", "claude", SONNET, "us-east-1"),
    ("deployment-2", "claude#2", SONNET, "us-west-2"),
    ("deployment-3", "claude#3", SONNET, "eu-west-1"),
]


def ledger_of(path: Path, *calls: tuple[tuple[Any, ...], dict[str, Any]], names: list[Any] | None = None) -> Path:
    """Return a ledger with calls in it, as ``Book.call`` takes them."""

    async def fill() -> None:
        async with await _ledger(path) as ledger:
            book = Book(ledger)
            ledger.name_deployments(NAMES if names is None else names)
            for arguments, options in calls:
                await book.call(*arguments, **options)

    asyncio.run(fill())
    return path


def lines_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    """Return the lines of the report as JSON."""
    assert 0 == _run(*arguments, "--json")
    lines: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["lines"]
    return lines


def on_screen(database: Path, columns: int, *arguments: str, **environ: str) -> str:
    """Return what a real terminal of so many columns is sent."""
    master, slave = pty.openpty()
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, master)
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
        try:
            run = subprocess.run(
                [sys.executable, "-m", "bedrock_gateway", "spend", "--database", database, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=slave,
                stderr=subprocess.PIPE,
                cwd=Path(__file__).parents[2],
                env={**kept, "TERM": "xterm", "PYTHONIOENCODING": "utf-8", **environ},
                check=False,
                timeout=30,
            )
        finally:
            os.close(slave)
        assert (0, b"") == (run.returncode, run.stderr)
        sent = b""
        # The other end is closed: what it left is read up to the error that says so.
        with contextlib.suppress(OSError):
            while piece := os.read(master, 65_536):
                sent += piece
    return sent.decode().replace("\r\n", "\n")


@pytest.fixture
def group(tmp_path: Path) -> Path:
    """A ledger of a group of three deployments, a raw id, an ARN, a wildcard's match, and a call refused."""
    return ledger_of(
        tmp_path / "ledger.db",
        ((SONNET, 7_000_000, 20_000_000, 40_000_000), {}),
        ((SONNET, 30_000_000), {}),
        (("amazon.nova-pro-v1:0", 5_000_000), {"group": "", "deployment": "0123456789ab"}),
        ((PROFILE, None), {"group": "", "deployment": "ba9876543210", "state": State.UNPRICED}),
        (("us.amazon.nova-lite-v1:0", 1_000_000), {"group": "nova-*", "deployment": "aaaabbbbcccc"}),
        (("",), {"group": "", "error_type": "ResourceNotFoundException"}),
    )


def test_deployments_have_names(group: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A configured deployment goes by its name and region, any other by what led to it and its model."""
    assert 0 == _run("--database", str(group), "--by", "deployment")
    expected = """\
Spend by deployment

deployment                                                    region     calls  input  output  cached      USD
claude#3                                                      eu-west-1      1  1,000      20       3  0.0400   ████████
claude                                                        us-east-1      1  2,000      40       6  0.0370   ████████
claude#2                                                      us-west-2      0  1,000      20       3  0.0200   ████
ambient: amazon.nova-pro-v1:0                                                1  1,000      20       3  0.0050   █
nova-*: us.amazon.nova-lite-v1:0                                             1  1,000      20       3  0.0010   █
(nothing sent)                                                               1      0       0       0  0.0000
ambient: arn:aws:bedrock:us-w…profile/abcdefghijkl0123456789  us-west-2      1  1,000      20       3  unknown
total                                                                        6  7,000     140      21  0.1030+
"""
    assert expected == capsys.readouterr().out.partition("\nNot exact:")[0]


def test_deployments_for_machines(group: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON and CSV have id, name and region of every deployment, in full."""
    lines = lines_of(capsys, "--database", str(group), "--by", "deployment")
    expected = {
        ("deployment-1", "claude", "us-east-1"),
        ("deployment-2", "claude#2", "us-west-2"),
        ("deployment-3", "claude#3", "eu-west-1"),
        ("0123456789ab", "ambient: amazon.nova-pro-v1:0", ""),
        ("ba9876543210", f"ambient: {PROFILE}", "us-west-2"),
        ("aaaabbbbcccc", "nova-*: us.amazon.nova-lite-v1:0", ""),
        ("", "", ""),
    }
    assert expected == {(line["deployment"], line["deployment_name"], line["region"]) for line in lines}
    assert 0 == _run("--database", str(group), "--by", "deployment", "--csv")
    rows = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert expected == {(row["deployment"], row["deployment_name"], row["region"]) for row in rows}


def test_deployments_of_one_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two deployments that were called the same in the same region are told apart by their ids."""
    names = [("deployment-1", "claude", SONNET, "us-east-1"), ("deployment-2", "claude", SONNET, "us-east-1")]
    path = ledger_of(tmp_path / "ledger.db", ((SONNET, 7, 8), {}), names=names)
    assert 0 == _run("--database", str(path), "--by", "deployment")
    rows = [line.split()[:2] for line in capsys.readouterr().out.splitlines()[3:5]]
    assert [["claude", "(deployment-2)"], ["claude", "(deployment-1)"]] == rows


def test_a_ledger_that_was_told_no_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where no region is known there is no column for it; a group's deployment goes by group and model."""
    path = ledger_of(tmp_path / "ledger.db", ((SONNET, 7), {}), (("", 0), {"group": "", "deployment": "e"}), names=[])
    assert 0 == _run("--database", str(path), "--by", "deployment")
    out = capsys.readouterr().out
    assert ["ambient", f"claude: {SONNET}"] == sorted(line.partition("  ")[0] for line in out.splitlines()[3:5])
    assert "region" not in out


def test_calls_by_name(group: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A call shows the group it asked for, else its model, the deployment by name, and the error it was answered."""
    assert 0 == _run("--database", str(group), "--by", "call")
    rows = [
        [cell.strip() for cell in line.split("  ") if cell.strip()][3:7]
        for line in capsys.readouterr().out.splitlines()[3:]
    ]
    expected = [
        ["(nothing sent)", "-", "refused", "404 ResourceNotFoundException"],
        ["nova-*", "nova-*: us.amazon.nova-lite-v1:0", "metered", "200"],
        ["arn:aws:bedrock:us-west-2:123…profile/abcdefghijkl0123456789", "ambient", "unpriced", "200"],
        ["amazon.nova-pro-v1:0", "ambient", "metered", "200"],
        ["claude", "claude", "metered", "200"],
        ["claude", "claude#3", "metered", "200"],
    ]
    assert expected == rows


def test_calls_of_one_attempt_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """How many attempts a call took is told where one took more than one, or none."""
    path = ledger_of(tmp_path / "one.db", ((SONNET, 1_000), {}), ((SONNET, 2_000), {}))
    assert 0 == _run("--database", str(path), "--by", "call")
    assert "attempts" not in capsys.readouterr().out
    path = ledger_of(tmp_path / "two.db", ((SONNET, 1_000), {}), ((SONNET, 2_000, 3_000), {}))
    assert 0 == _run("--database", str(path), "--by", "call")
    heading, *rows = capsys.readouterr().out.splitlines()[2:]
    assert "attempts" == heading.split()[-4]
    assert ["2", "1"] == [row.split()[-4] for row in rows]


def test_calls_in_other_dialects(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Calls name their dialect, and attempts what they were sent as, where that is not Bedrock's own for all."""
    invoked = {"dialect": "openai", "notes": ("sent as InvokeModel", "edit:model"), "started_at": NOW + 1_000}
    database = ledger_of(tmp_path / "ledger.db", ((SONNET, 1), {}), ((SONNET, 2), invoked))

    assert 0 == _run("--database", str(database), "--by", "call")
    assert 0 == _run("--database", str(database), "--by", "attempt")
    heading, newer, older, *of_attempts = [line for line in capsys.readouterr().out.splitlines() if "  " in line]
    assert ["dialect", "openai", "bedrock"] == [line.split()[4] for line in (heading, newer, older)]
    for line, told in zip(of_attempts, ("sent as", "InvokeModel ", "Converse "), strict=True):
        assert told in line
    assert ["openai", "bedrock"] == [
        one["dialect"] for one in lines_of(capsys, "--database", str(database), "--by", "call")
    ]
    assert [["sent as InvokeModel", "edit:model"], []] == [
        one["notes"] for one in lines_of(capsys, "--database", str(database), "--by", "attempt")
    ]
    assert 0 == _run("--database", str(database), "--by", "call", "--csv")
    assert ["", ""] == [row["tags"] for row in csv.DictReader(io.StringIO(capsys.readouterr().out))]


def test_attempts(group: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every request sent has its line, newest first as calls are; those of one call have its id, and are numbered."""
    assert 0 == _run("--database", str(group), "--by", "attempt")
    heading, *rows = capsys.readouterr().out.splitlines()[2:]
    headings = "time (UTC) call no model group deployment model state status error input output USD"
    assert headings == " ".join(heading.split())
    table = [[cell.strip() for cell in row.split("  ") if cell.strip()] for row in reversed(rows)]
    assert [
        ["1", "claude", "claude", SONNET, "refused", "200", "-", "1,003", "20", "0.0070"],
        ["2", "claude", "claude#2", SONNET, "refused", "200", "-", "1,003", "20", "0.0200"],
    ] == [row[2:] for row in table[:2]]
    assert 1 == len({row[1] for row in table[:3]})
    assert ["1", "(no group)", "ambient: amazon.nova-pro-v1:0", "amazon.nova-pro-v1:0"] == table[4][2:6]
    assert ["unpriced", "200", "-", "1,003", "20", "unknown"] == table[5][-6:]
    assert 7 == len(table)


def test_attempts_for_machines(group: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON and CSV have everything of an attempt; what is asked for limits them as it does calls."""
    lines = lines_of(capsys, "--database", str(group), "--by", "attempt")
    assert [True, False, False] == [line["charged"] for line in lines[-3:]]
    assert [1, 1, 1, 1, 3, 2, 1] == [line["number"] for line in lines]
    assert ["deployment-3", "claude#3", SONNET, 40_000_000, "0.040000000"] == [
        lines[-3][name] for name in ("deployment", "deployment_name", "model", "spend_nano_usd", "spend_usd")
    ]
    arguments = ("--database", str(group), "--by", "attempt")
    assert lines[:2] == lines_of(capsys, *arguments, "--limit", "2")
    assert lines[2:3] == lines_of(capsys, *arguments, "--model", "amazon.nova-pro-v1:0")
    assert lines[3:] == lines_of(capsys, *arguments, "--model", "claude")
    assert [] == lines_of(capsys, *arguments, "--until", "2026-11-18T11:00Z")
    assert 0 == _run(*arguments, "--csv")
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert list(lines[0]) == list(rows[0])
    assert [line["attempt"] for line in lines] == [row["attempt"] for row in rows]


def test_calls_for_machines(group: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON has id, name and region of a call's deployment, and the whole ARN."""
    lines = lines_of(capsys, "--database", str(group), "--by", "call")
    assert ["", "", "ResourceNotFoundException"] == [
        lines[0][name] for name in ("deployment_name", "region", "error_type")
    ]
    assert ["ba9876543210", f"ambient: {PROFILE}", "us-west-2", PROFILE] == [
        lines[2][name] for name in ("deployment", "deployment_name", "region", "model")
    ]
    assert ["deployment-3", "claude#3", "us-west-2"] == [
        lines[5][name] for name in ("deployment", "deployment_name", "region")
    ]


@pytest.mark.parametrize("by", ["model", "deployment", "model-group", "caller", "hour", "state", "call", "attempt"])
@pytest.mark.parametrize("columns", [80, 132])
def test_terminals(group: Path, by: str, columns: int) -> None:
    """On a terminal no line of the table is longer than it is wide, and what has no room is named."""
    out = on_screen(group, columns, "--by", by, NO_COLOR="1")
    assert "\x1b" not in out
    table = out.partition("\n\n")[2].partition("\n\n")[0].splitlines()
    assert [] == [line for line in table if len(line) > columns]
    assert len(table) >= 3
    dropped = by == "call" or (by == "attempt" and columns == 80)
    assert dropped == ("No room for: " in out), out


def test_a_terminal_of_few_characters(group: Path) -> None:
    """Where the encoding has neither bars nor ellipses, ASCII takes their place."""
    out = on_screen(group, 100, "--by", "deployment", NO_COLOR="1", PYTHONIOENCODING="ascii")
    assert out.isascii()
    assert "..." in out
    assert "#" in on_screen(group, 132, "--by", "model-group", NO_COLOR="1", PYTHONIOENCODING="ascii")


def test_colours(group: Path) -> None:
    """A terminal has styles, each ended on its line; a dumb one has none."""
    out = on_screen(group, 100, "--by", "model-group")
    assert "\x1b[36m█" in out
    assert [] == [line for line in out.splitlines() if line.count("\x1b[0m") * 2 != line.count("\x1b[")]
    assert "\x1b" not in on_screen(group, 100, TERM="dumb")


@pytest.mark.parametrize("by", ["model", "deployment", "call", "attempt"])
def test_empty_ledger(tmp_path: Path, capsys: pytest.CaptureFixture[str], by: str) -> None:
    """A ledger without calls says so, in every form."""
    path = ledger_of(tmp_path / "ledger.db")
    assert 0 == _run("--database", str(path), "--by", by)
    assert f"Spend by {by}\n\nNothing has been booked yet.\n" == capsys.readouterr().out
    assert [] == lines_of(capsys, "--database", str(path), "--by", by)
    assert 0 == _run("--database", str(path), "--by", by, "--csv")
    assert 1 == len(capsys.readouterr().out.splitlines())


async def test_what_is_not_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Attempts that are open, interrupted, unpriced or unmetered are never a zero: marked, counted, explained."""
    path = tmp_path / "ledger.db"

    def opened(at: int, model: str) -> Opening:
        return Opening(
            attempt=new_id(at, b"attempt..."),
            call=new_id(at, b"call......"),
            number=1,
            part=0,
            caller="local",
            dialect="bedrock",
            operation="Converse",
            model_group="claude",
            deployment="deployment-3",
            model=model,
            region="eu-west-1",
            started_at=at,
            spend_at_most=9_000_000,
        )

    async with await _ledger(path) as ledger:
        book = Book(ledger)
        await book.call("sonnet", 20_000_000)
        await book.call("sonnet", None, state=State.UNPRICED)
        await book.call("titan", None, state=State.UNMETERED)
        ledger.open_attempt(opened(NOW + 1, "haiku"))
    async with await _ledger(path) as ledger:
        ledger.open_attempt(opened(NOW + 2, "nova"))
        # An attempt has a row of its own once it has been open for a tick.
        async with asyncio.timeout(20):
            while True:
                await asyncio.to_thread(_run, "--database", str(path))
                out = capsys.readouterr().out
                if "nova" in out:
                    break
        assert 0 == await asyncio.to_thread(_run, "--database", str(path), "--by", "call")
        calls = capsys.readouterr().out
    expected = """\
Spend by model

model   calls  input  output  cached      USD
sonnet      2  2,000      40       6  0.0200+  ████████████████████
haiku       1      0       0       0  unknown
nova        1      0       0       0  unknown
titan       1  1,000      20       3  unknown
total       5  3,000      60       9  0.0200+

Not exact:
  1 open         sent, not settled yet
  1 interrupted  the gateway died before they ended; spend unknown
  1 unmetered    AWS told no usage; spend unknown
  1 unpriced     no price is known for their model
  What is unknown (+) is at most 0.0280 USD, as far as bounded.
"""
    assert expected == out
    states = [line.split() for line in calls.splitlines()[3:]]
    assert [["open", "-"], ["interrupted", "-"]] == [words[-5:-3] for words in states[:2]]
    assert ["unknown"] * 4 + ["0.0200"] == [words[-1] for words in states]


@pytest.fixture
def three(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with four ledgers, each with a model named after what leads to it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    (tmp_path / "state" / "bedrock-gateway").mkdir(parents=True)
    for model, place in (
        ("option", "option.db"),
        ("config", "config.db"),
        ("environ", "environ.db"),
        ("default", "state/bedrock-gateway/ledger.db"),
    ):
        ledger_of(tmp_path / place, ((model, 1), {}))
    (tmp_path / "config.yaml").write_text(
        "general_settings:\n"
        "  master_key: os.environ/NOT_SET_IN_THIS_SHELL\n"
        f"  database_url: sqlite:///{tmp_path / 'config.db'}\n"
    )
    (tmp_path / "silent.yaml").write_text("general_settings: {master_key: os.environ/NOT_SET_IN_THIS_SHELL}\n")
    return tmp_path


def test_which_database(three: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """--database wins over --config, that over DATABASE_URL, that over the default; no other setting is looked at."""

    def found(*arguments: str) -> str:
        (line,) = lines_of(capsys, *arguments)
        return str(line["model"])

    silent, config, option = str(three / "silent.yaml"), str(three / "config.yaml"), str(three / "option.db")
    assert ["default", "default"] == [found(), found("--config", silent)]
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{three / 'environ.db'}")
    assert ["environ", "environ"] == [found(), found("--config", silent)]
    assert "config" == found("--config", config)
    assert "option" == found("--config", config, "--database", option)


def test_configs_that_lead_nowhere(three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A config that is not there, or wrong about its database, is one clear line and exit status 2."""
    (three / "bad.yaml").write_text("general_settings: {database_url: os.environ/NOT_SET_IN_THIS_SHELL}\n")
    with pytest.raises(ConfigError, match=r"bad\.yaml:1:34: environment variable 'NOT_SET_IN_THIS_SHELL' is not set"):
        _run("--config", str(three / "bad.yaml"))
    with pytest.raises(StartError, match="there is no such file"):
        _run("--config", str(three / "none.yaml"))
    assert 2 == main(["spend", "--config", str(three / "bad.yaml")])
    assert 1 == len(capsys.readouterr().err.splitlines())
