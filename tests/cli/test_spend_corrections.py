"""``spend settle`` and ``spend reprice``: correct what was booked, visibly, the gateway running or not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_spend import NOW, Book, _ledger, _run

from bedrock_gateway.cli import main
from bedrock_gateway.errors import StartError
from bedrock_gateway.metering.usage import Usage
from bedrock_gateway.store.ids import new_id
from bedrock_gateway.store.records import CallRecord, Closing, Opening, State

SONNET = "us.anthropic.claude-sonnet-4-20250514-v1:0"


@pytest.fixture
def ledger(filled_path: Path, tmp_path: Path) -> Path:
    """A ledger of one's own with a month of calls."""
    path = tmp_path / "ledger.db"
    shutil.copy(filled_path, path)
    return path


def rows(path: Path, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """Return rows of a ledger."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql, values).fetchall()


def assert_sums(path: Path) -> None:
    """Hold all sums against the rows."""
    (booked,) = rows(path, "SELECT coalesce(sum(iif(charged, spend, 0)), 0) FROM attempts")
    (calls,) = rows(path, "SELECT coalesce(sum(spend), 0) FROM calls")
    (rollups,) = rows(path, "SELECT sum(spend) FROM rollups")
    (bound,) = rows(path, "SELECT coalesce(sum(spend_at_most), 0) FROM attempts WHERE charged AND spend IS NULL")
    (gateway,) = rows(path, "SELECT sum(spend) FROM accounts WHERE account = 'gateway'")

    assert booked == calls == rollups
    assert (booked[0] + bound[0],) == gateway


def some_call(path: Path, state: str) -> str:
    """Return a call with one attempt in a state."""
    return str(rows(path, "SELECT id FROM calls WHERE state = ? AND attempts = 1 ORDER BY id", state)[0][0])


def run(path: Path, *arguments: str) -> int:
    """Run a correction."""
    return _run("--database", str(path), *arguments)


def test_settling_by_an_amount(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What somebody says a call cost is an estimate unless it is AWS's own figure; the row says who, when and what
    it was; everything that is summed up follows.
    """
    call = some_call(ledger, "interrupted")
    assert 0 == run(ledger, "settle", call, "--usd", "0.0123")
    out = capsys.readouterr().out
    assert "  was  interrupted, unknown\n  is   estimated, 0.012300000 USD\n" in out
    assert_sums(ledger)
    assert 0 == run(ledger, "settle", call, "--usd", "0.02", "--exact")
    assert_sums(ledger)

    ((state, spend, notes),) = rows(ledger, "SELECT state, spend, notes FROM attempts WHERE call = ?", call)
    first, second = json.loads(notes)
    assert ("metered", 20_000_000) == (state, spend)
    assert first.startswith("settled 20")
    assert first.endswith(": was interrupted, unknown")
    assert second.endswith(": was estimated, 0.012300000 USD")
    assert [("account", "gateway")] == rows(ledger, "SELECT DISTINCT kind, id FROM changes WHERE id = 'gateway'")


def test_settling_by_tokens(ledger: Path) -> None:
    """Tokens out of AWS's log are priced by today's prices, and stand in the row."""
    ((call,),) = rows(ledger, "SELECT call FROM attempts WHERE state = 'interrupted' AND model = ? LIMIT 1", SONNET)
    assert 0 == run(ledger, "settle", call, "--input", "1000", "--output", "100", "--cache-read", "10", "--exact")

    row = rows(ledger, "SELECT state, spend, input, output, cache_read FROM attempts WHERE call = ?", call)
    assert [("metered", 1_000 * 3_000 + 100 * 15_000 + 10 * 300, 1_000, 100, 10)] == row
    assert_sums(ledger)


def test_settling_by_the_bound(ledger: Path) -> None:
    """What an attempt can have cost at most may be taken for what it cost."""
    call = some_call(ledger, "interrupted")
    before = rows(ledger, "SELECT sum(spend) FROM accounts")
    assert 0 == run(ledger, "settle", call, "--at-most")

    assert [("estimated", 40_000_000)] == rows(ledger, "SELECT state, spend FROM attempts WHERE call = ?", call)
    assert before == rows(ledger, "SELECT sum(spend) FROM accounts")
    assert_sums(ledger)


def test_looking_at_a_call(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without an amount nothing is written: the attempts are shown with what is known of them."""
    call = some_call(ledger, "interrupted")
    before = ledger.read_bytes()
    assert 0 == run(ledger, "settle", call)
    told = capsys.readouterr()

    assert "interrupted, unknown, at most 0.0400 USD" in told.out
    assert "Say what it came to" in told.err
    assert before == ledger.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nothing", "--usd", "1"), "no attempt of such a call was booked"),
        (("nothing",), "no attempt of such a call was booked"),
        (("METERED", "--usd", "1"), "there is nothing to settle, it is metered"),
        (("REFUSED", "--usd", "1"), "there is nothing to settle, it is refused"),
        (("OPEN", "--usd", "1", "--attempt", "7"), "has no attempt 7, only 1"),
        (("OPEN", "--usd", "1", "--at-most"), "say one thing of the call"),
        (("OPEN", "--usd", "1", "--input", "5"), "say one thing of the call"),
        (("OPEN", "--at-most", "--exact"), "is a bound and never --exact"),
    ],
)
def test_what_cannot_be_settled(ledger: Path, arguments: tuple[str, ...], words: str) -> None:
    """Only what is not exact can be settled, by one thing said of it; else nothing is written."""
    calls = {"METERED": "metered", "REFUSED": "refused", "OPEN": "interrupted"}
    given = [some_call(ledger, calls[word]) if word in calls else word for word in arguments]
    with pytest.raises(StartError, match=words):
        run(ledger, "settle", *given)
    assert [] == rows(ledger, "SELECT 1 FROM changes")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--usd", "-1"), "must be from 0 to 1,000,000 USD"),
        (("--usd", "much"), "is no amount of USD"),
        (("--usd", "nan"), "must be from 0"),
        (("--usd", "0.0000000001"), "has more than nine decimal places"),
        (("--input", "1.5"), "must be a whole number"),
        (("--output", "-1"), "must be a whole number"),
    ],
)
def test_amounts(ledger: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], words: str) -> None:
    """Amounts are checked before anything is opened."""
    with pytest.raises(SystemExit):
        run(ledger, "settle", "call", *arguments)
    assert words in capsys.readouterr().err


def test_no_ledger_is_made(tmp_path: Path) -> None:
    """Where there is no ledger there is nothing to correct, and none is begun."""
    path = tmp_path / "none.db"
    for arguments in (
        ("settle", "call", "--usd", "1"),
        ("reprice", "--since", "1d"),
        ("reprice", "--since", "1d", "--dry-run"),
    ):
        with pytest.raises(StartError, match="no ledger here yet"):
            run(path, *arguments)
    with pytest.raises(StartError, match="--since: 'soon' is no time"):
        run(path, "reprice", "--since", "soon")
    assert [] == list(tmp_path.iterdir())


async def test_what_is_under_way(tmp_path: Path) -> None:
    """A call of a running gateway is left to it until it has ended; settled after that, the gateway goes on."""
    path = tmp_path / "ledger.db"
    async with await _ledger(path) as ledger:
        opening = Opening(
            attempt=new_id(NOW, b"attempt..."), call=new_id(NOW, b"call......"), number=1, part=0, caller="local",
            dialect="bedrock", operation="Converse", model_group="claude", deployment="d", model="m", region="r",
            started_at=NOW, spend_at_most=5,
        )  # fmt: skip
        waiter = ledger.open_attempt(opening)
        if waiter is not None:
            await waiter
        async with asyncio.timeout(20):
            while not await asyncio.to_thread(rows, path, "SELECT 1 FROM attempts"):
                pass
        with pytest.raises(StartError, match="is still under way"):
            await asyncio.to_thread(run, path, "settle", opening.call, "--usd", "1")
        closing = Closing(
            attempt=opening.attempt, state=State.UNMETERED, charged=True, spend=None, usage=None, ended_at=NOW
        )
        record = CallRecord(
            call=opening.call, caller="local", dialect="bedrock", operation="Converse", model_group="claude",
            started_at=NOW, ended_at=NOW, status=200, error_type=None, attempts=1,
        )  # fmt: skip
        await ledger.close_attempt(closing, record)
        assert 0 == await asyncio.to_thread(run, path, "settle", opening.call, "--usd", "1")
        await Book(ledger).call("sonnet", 7)
    assert [(1_000_000_007,)] == rows(path, "SELECT sum(spend) FROM rollups")
    assert_sums(path)


def test_several_attempts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of several attempts that can be settled one has to be named; one that failed over is not charged."""
    path = tmp_path / "ledger.db"

    async def fill() -> str:
        async with await _ledger(path) as ledger:
            call = new_id(NOW, b"call......")
            common = {"caller": "local", "dialect": "bedrock", "operation": "Converse", "model_group": "claude"}
            for number in (1, 2):
                attempt = new_id(NOW, b"attempt..%d" % number)
                opening = Opening(
                    attempt=attempt, call=call, number=number, part=0, deployment="d", model="m", region="r",
                    started_at=NOW, spend_at_most=None, **common,
                )  # fmt: skip
                waiter = ledger.open_attempt(opening)
                if waiter is not None:
                    await waiter
                closing = Closing(
                    attempt=attempt, state=State.UNMETERED, charged=True, spend=None, usage=Usage(), ended_at=NOW
                )
                record = CallRecord(
                    call=call, started_at=NOW, ended_at=NOW, status=200, error_type=None, attempts=2, **common
                )
                await ledger.close_attempt(closing, record if number == 2 else None)
            return call

    call = asyncio.run(fill())
    with pytest.raises(StartError, match="say which: --attempt 1, 2"):
        run(path, "settle", call, "--usd", "1")
    with pytest.raises(StartError, match="nothing bounds what it cost"):
        run(path, "settle", call, "--attempt", "1", "--at-most")
    with pytest.raises(StartError, match="no price is known for m"):
        run(path, "settle", call, "--attempt", "1", "--input", "1")
    assert 0 == run(path, "settle", call, "--attempt", "1", "--usd", "1")
    assert 0 == run(path, "settle", call, "--usd", "2")
    assert [("estimated", 3_000_000_000)] == rows(path, "SELECT state, spend FROM calls")


# --- reprice ----------------------------------------------------------------------------------------------------------


def test_pricing_what_had_no_price(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was booked without a price gets today's; the table says what changed; a second time nothing does."""
    (unpriced,) = rows(ledger, "SELECT count(*) FROM attempts WHERE state = 'unpriced'")
    before = ledger.read_bytes()
    assert 0 == run(ledger, "reprice", "--since", "2026-10-01", "--dry-run", "--json")
    planned = json.loads(capsys.readouterr().out)
    assert before == ledger.read_bytes()
    assert 0 == run(ledger, "reprice", "--since", "2026-10-01")
    out = capsys.readouterr().out

    assert unpriced == (sum(line["attempts"] for line in planned["lines"]),)
    assert [] == rows(ledger, "SELECT 1 FROM attempts WHERE state = 'unpriced'")
    assert_sums(ledger)
    total = next(line for line in out.splitlines() if line.startswith("total")).split()
    assert [str(unpriced[0]), "unknown"] == total[1:3]
    notes = rows(ledger, "SELECT notes, spend FROM attempts WHERE notes LIKE '%repriced%'")
    assert unpriced == (len(notes),)
    assert sum(line["is_nano_usd"] for line in planned["lines"]) == sum(spend for _, spend in notes)
    assert all(json.loads(text)[-1].endswith(": was unpriced, unknown") for text, _ in notes)
    assert 0 == run(ledger, "reprice", "--since", "2026-10-01")
    assert "There is nothing of the kind." in capsys.readouterr().out


def test_pricing_all_again(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --all priced rows change where today's price differs; what was settled by hand stays, and so does what
    another model or time has.
    """
    dear = "us.anthropic.claude-3-7-sonnet-20250219-v1:0"
    ((settled,),) = rows(ledger, "SELECT call FROM attempts WHERE state = 'unpriced' AND model = ? LIMIT 1", dear)
    assert 0 == run(ledger, "settle", settled, "--usd", "9")
    others = rows(ledger, "SELECT sum(spend) FROM attempts WHERE model <> ?", dear)
    (before,) = rows(ledger, "SELECT sum(spend) FROM attempts WHERE model = ?", dear)
    capsys.readouterr()
    assert 0 == run(ledger, "reprice", "--since", "2026-10-01", "--all", "--model", dear, "--json")
    (line,) = json.loads(capsys.readouterr().out)["lines"]
    (after,) = rows(ledger, "SELECT sum(spend) FROM attempts WHERE model = ?", dear)

    assert (dear, after[0] - before[0]) == (line["model"], line["difference_nano_usd"])
    assert line["difference_nano_usd"] < 0, "the ledger was filled with a tenth more than the price"
    assert others == rows(ledger, "SELECT sum(spend) FROM attempts WHERE model <> ?", dear)
    assert [(9_000_000_000,)] == rows(ledger, "SELECT spend FROM attempts WHERE call = ?", settled)
    assert_sums(ledger)
    assert 0 == run(ledger, "reprice", "--since", "2026-11-19", "--all")
    assert "There is nothing of the kind." in capsys.readouterr().out


def test_prices_of_the_config(ledger: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A deployment's own prices win, where the config is named; what nobody prices is counted and stays as it is."""
    with contextlib.closing(sqlite3.connect(ledger)) as connection, connection:
        # A model nobody knows, called through two deployments: one has prices of its own.
        for deployment, own in (("0b5c1d2e3f40", "mine"), ("1b5c1d2e3f41", "theirs")):
            connection.execute(
                "UPDATE attempts SET model = 'private.model-v1', deployment = ? "
                "WHERE state = 'unpriced' AND deployment = ?",
                (own, deployment),
            )
    (tmp_path / "config.yaml").write_text(
        "model_list:\n"
        "- model_name: claude\n"
        "  litellm_params: {model: bedrock/private.model-v1, aws_region_name: us-east-1,\n"
        "    input_cost_per_token: 0.000002, output_cost_per_token: 0.00001}\n"
        "  model_info: {id: mine}\n"
    )
    arguments = ("reprice", "--since", "2026-10-01", "--model", "private.model-v1")
    assert 0 == run(ledger, *arguments)
    assert "Prices that a config gives its deployments are known with --config." in capsys.readouterr().out
    assert 0 == run(ledger, *arguments, "--config", str(tmp_path / "config.yaml"))
    out = capsys.readouterr().out

    found = rows(ledger, "SELECT state, spend, input, output FROM attempts WHERE deployment = 'mine'")
    assert found
    assert all((state, spend) == ("metered", a * 2_000 + b * 10_000) for state, spend, a, b in found)
    (still,) = rows(ledger, "SELECT count(*) FROM attempts WHERE deployment = 'theirs' AND state = 'unpriced'")
    assert f"Still without a price:\n  {still[0]} of private.model-v1\n" in out


def test_models_added_over_the_api(ledger: Path) -> None:
    """Their own prices are known without a config: they stand in the database."""
    document = {
        "model_name": "claude",
        "litellm_params": {"model": "bedrock/private.model-v1", "input_cost_per_token": 0.000001},
        "model_info": {"id": "added", "output_cost_per_token": 0.000003},
    }
    with contextlib.closing(sqlite3.connect(ledger)) as connection, connection:
        connection.execute(
            "UPDATE attempts SET model = 'private.model-v1', deployment = 'added' WHERE state = 'unpriced'"
        )
        connection.execute(
            "INSERT INTO subjects VALUES ('model', 'added', NULL, NULL, NULL, NULL, 0, ?, 1, 'm', 1, 'm')",
            (json.dumps(document),),
        )
    assert 0 == run(ledger, "reprice", "--since", "2026-10-01")

    found = rows(ledger, "SELECT state, spend, input, output FROM attempts WHERE deployment = 'added'")
    assert all((state, spend) == ("metered", a * 1_000 + b * 3_000) for state, spend, a, b in found)


@pytest.mark.parametrize("columns", [60, 100])
def test_the_table_on_a_terminal(ledger: Path, columns: int, capsys: pytest.CaptureFixture[str]) -> None:
    """The table fits; what has no room is named."""
    from test_spend_table import on_screen

    out = on_screen(ledger, columns, "reprice", "--since", "2026-10-01", "--dry-run", NO_COLOR="1")
    table = out.partition("\n\n")[2].partition("\n\n")[0].splitlines()

    assert [] == [line for line in table if len(line) > columns]
    assert "Nothing was written (--dry-run)." in out


def test_from_the_command_line(ledger: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The database may be named before the word or after it; mistakes are one line and status 2."""
    for arguments in (
        ["spend", "--database", str(ledger), "reprice", "--since", "40d", "--dry-run"],
        ["spend", "reprice", "--database", str(ledger), "--since", "40d", "--dry-run"],
    ):
        assert 0 == main(arguments)
    capsys.readouterr()
    assert 2 == main(["spend", "settle", "nothing", "--database", str(ledger), "--usd", "1"])
    assert 1 == len(capsys.readouterr().err.splitlines())


@pytest.fixture(autouse=True)
def nobody_knows(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No database is found by the environment."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    yield
