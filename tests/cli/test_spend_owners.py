"""The spend report by key, user, team, end user and tag, and of some of them alone."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from test_spend import _run
from test_spend_table import on_screen

from bedrock_gateway.errors import StartError


def report(capsys: pytest.CaptureFixture[str], database: Path, *arguments: str) -> dict[str, Any]:
    """Return a report as JSON."""
    assert 0 == _run("--database", str(database), *arguments, "--json")
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


def rows_of(database: Path, sql: str) -> list[tuple[Any, ...]]:
    """Return rows of a ledger."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        rows = connection.execute(sql).fetchall()
    connection.close()
    return rows


def test_who_spent_what(filled_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every kind of owner adds up to the rows, and has its name beside its id where it has one."""
    for by, column in (("key", "caller"), ("user", "user"), ("team", "team"), ("end-user", "end_user")):
        expected = rows_of(
            filled_path,
            f"SELECT {column}, sum(coalesce(spend, 0)) FROM calls WHERE '{by}' <> 'end-user' OR end_user <> '' "
            "GROUP BY 1",
        )
        lines = report(capsys, filled_path, "--by", by)["lines"]

        assert dict(expected) == {line[by.replace("-", "_")]: line["spend_nano_usd"] for line in lines}
        assert (by != "end-user") == any(f"{by}_name" in line for line in lines)
    keys = {line["key"]: line["key_name"] for line in report(capsys, filled_path, "--by", "key")["lines"]}
    assert "service 0" == keys["key-000000000000"]
    assert keys["key-000000000003"].startswith("sk-…")


def test_only_some(filled_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Limits go together, may be said several times, take names, and are named in the report."""
    told = report(capsys, filled_path, "--by", "day", "--team", "Team 0", "--key", "service 1", "--key", "service 0")
    (expected,) = rows_of(
        filled_path,
        "SELECT sum(spend) FROM calls WHERE team = 'team-00000' AND caller IN ('key-000000000000', 'key-000000000001')",
    )

    assert expected == (sum(line["spend_nano_usd"] for line in told["lines"]),)
    assert ["key service 1", "key service 0", "team Team 0"] == told["only"]
    assert 0 == _run("--database", str(filled_path), "--by", "key", "--user", "user-000000", "--since", "2026-11-01")
    assert "Spend by key of user user-000000 since 2026-11-01 00:00 UTC\n" in capsys.readouterr().out
    ((tags,), *_) = rows_of(filled_path, "SELECT tags FROM calls WHERE user = 'user-000000' AND tags <> ''")
    (tag, *_) = json.loads(tags)
    calls = report(capsys, filled_path, "--by", "call", "--tag", tag, "--user", "user-000000")["lines"]
    rows = rows_of(filled_path, f"SELECT id FROM calls WHERE tags LIKE '%{tag}\"%' AND user = 'user-000000'")
    assert {"user-000000"} == {line["user"] for line in calls}
    assert all(tag in line["tags"] for line in calls)
    assert {id_ for (id_,) in rows} == {line["call"] for line in calls}


def test_what_cannot_be_asked_for(filled_path: Path) -> None:
    """An owner that never was is no zero, and neither is what no rollup holds; no message repeats a key."""
    database = str(filled_path)
    for arguments, words in (
        (("--team", "nobody"), "--team nobody: there is no such team"),
        (("--key", "sk-secretsecret"), "--key sk-…cret: there is no such key"),
        (("--by", "tag", "--user", "user-000000"), "kept by key and model, not by a user"),
        (("--by", "team", "--tag", "project-1"), "kept by key and model, not by team"),
        (("--by", "tag", "--end-user", "customer-1"), "not kept by end user"),
    ):
        with pytest.raises(StartError, match=words):
            _run("--database", database, *arguments)


def test_the_rest(filled_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table of the dearest sums up the others in one line without a bar; its total is of all."""
    assert 0 == _run("--database", str(filled_path), "--by", "key", "--limit", "2")
    lines = capsys.readouterr().out.splitlines()
    everything = report(capsys, filled_path, "--by", "key")["lines"]

    assert f"({len(everything) - 2} more)" == " ".join(lines[5].split()[:2])
    assert ["█" in line for line in lines[3:7]] == [True, True, False, False]
    assert sum(line["calls"] for line in everything) == int(lines[6].split()[1].replace(",", ""))
    assert 2 == len(report(capsys, filled_path, "--by", "key", "--limit", "2")["lines"])
    assert 0 == _run("--database", str(filled_path), "--by", "key", "--limit", "2", "--csv")
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [line["key_name"] for line in everything[:2]] == [row["key_name"] for row in rows]


def test_labels_say_what_they_leave_out(filled_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A call counts with each of its tags, so there is no total of them; both kinds say what is not in them."""
    assert 0 == _run("--database", str(filled_path), "--by", "tag")
    out = capsys.readouterr().out
    assert "\ntotal" not in out
    assert "A call counts with each of its tags" in out
    assert 0 == _run("--database", str(filled_path), "--by", "end-user")
    out = capsys.readouterr().out
    assert "\ntotal" in out
    assert "Calls made for nobody in particular are not in this report." in out


@pytest.mark.parametrize("columns", [60, 132])
@pytest.mark.parametrize("by", ["key", "tag"])
def test_terminals_of_owners(filled_path: Path, by: str, columns: int) -> None:
    """No line of the table is longer than the terminal is wide."""
    out = on_screen(filled_path, columns, "--by", by, "--limit", "5", NO_COLOR="1")
    table = out.partition("\n\n")[2].partition("\n\n")[0].splitlines()

    assert [] == [line for line in table if len(line) > columns]
    assert len(table) >= 3


def test_keys_on_a_terminal_of_few_characters(filled_path: Path) -> None:
    """Where there is no ellipsis, three points take its place."""
    out = on_screen(filled_path, 100, "--by", "key", NO_COLOR="1", PYTHONIOENCODING="ascii")

    assert out.isascii()
    assert "sk-..." in out


def test_options_that_are_wrong(filled_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A limit is a number; so many owners that nobody could have meant them are refused."""
    for limit in ("0", "many", "1.5"):
        with pytest.raises(SystemExit):
            _run("--database", str(filled_path), "--limit", limit)
        assert "must be a whole number, 1 or more" in capsys.readouterr().err
    tags = [word for number in range(1_001) for word in ("--tag", str(number))]
    with pytest.raises(StartError, match="at most 1000 of one kind"):
        _run("--database", str(filled_path), *tags)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("DELETE FROM migrations WHERE number > 1", "older version .schema 1.; start the gateway on it once"),
        ("INSERT INTO migrations VALUES (99, 'later', 0)", "newer version .schema 99.; upgrade"),
    ],
)
def test_ledgers_of_other_versions(filled_path: Path, tmp_path: Path, change: str, words: str) -> None:
    """A ledger that is older or newer than this version is not read as if it were of this one."""
    path = tmp_path / "ledger.db"
    path.write_bytes(filled_path.read_bytes())
    with sqlite3.connect(path) as connection:
        connection.execute(change)
    connection.close()

    with pytest.raises(StartError, match=words):
        _run("--database", str(path))
