"""What provisioned throughput costs by the hour, beside the same tokens on demand."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import pytest

from bedrock_gateway.cli import spend
from bedrock_gateway.config import load_config
from bedrock_gateway.errors import StartError
from bedrock_gateway.metering.usage import Usage
from bedrock_gateway.store.records import State

sys.path.append(str(Path(__file__).parents[1] / "store"))

from ledger_samples import NOW, closing, opening, record
from ledger_samples import open_ledger as opened

HOUR = 3_600_000
CONFIG = """
model_list:
  - model_name: haiku
    litellm_params: {model: bedrock/provisioned/mine, aws_region_name: us-east-1}
    model_info: {model_units: 2, price_per_hour: 20.5, commitment: SixMonths, base_model: amazon.nova-lite-v1:0}
  - model_name: other
    litellm_params: {model: bedrock/provisioned/unpriced, aws_region_name: us-east-1}
  - model_name: nova
    litellm_params: {model: bedrock/amazon.nova-lite-v1:0, aws_region_name: us-east-1}
"""


def run(*arguments: str) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser()
    spend.add_parser(parser.add_subparsers())
    args = parser.parse_args(["spend", "provisioned", *arguments])
    status: int = args.run(args)
    return status


@pytest.fixture
async def files(tmp_path: Path) -> tuple[str, str]:
    """Return config and database after 10 million tokens in and one million out within four hours."""
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG)
    deployments = {one.name: one.id for one in load_config(CONFIG.encode(), environ={}).deployments}
    path = tmp_path / "ledger.db"
    ledger = await opened(path)
    async with ledger:
        for hours, usage in ((3, Usage(input_tokens=10_000_000)), (1, Usage(output_tokens=1_000_000))):
            begun = opening(
                deployment=deployments["haiku"],
                model_group="haiku",
                model="arn:aws:bedrock:us-east-1:1:provisioned-model/m",
                started_at=NOW - hours * HOUR,
                admitted_at=NOW - hours * HOUR,
            )
            ledger.open_attempt(begun)
            await ledger.close_attempt(closing(begun, state=State.FLAT, spend=0, usage=usage), record(begun))
    return str(config), str(path)


def test_compared(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """Hours times units times price, the tokens by the token, and the load from which on it pays, exactly."""
    config, database = files
    since, until = "2026-11-18T06:00", "2026-11-18T11:00"

    assert 0 == run("--config", config, "--database", database, "--since", since, "--until", until, "--json")

    (line,) = json.loads(capsys.readouterr().out)
    assert ("haiku", "SixMonths", 2, 5.0, 2) == (
        line["deployment"],
        line["commitment"],
        line["model_units"],
        line["hours"],
        line["attempts"],
    )
    assert "205.000000000" == line["cost_usd"]
    # 10 million input tokens at 0.06 USD a million, 1 million output tokens at 0.24.
    assert (11_000_000, "0.840000000") == (line["tokens"], line["on_demand_usd"])
    assert round(11_000_000 * 41 / 0.84) == line["break_even_tokens_an_hour"]


def test_table(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """The table names the deployment, its hours and both amounts; who has no price is told what to give."""
    config, database = files

    assert 0 == run(
        "--config", config, "--database", database, "--since", "2026-11-18T06:00", "--until", "2026-11-18T11:00"
    )

    told = capsys.readouterr().out
    assert "pays from tokens/h" in told
    (line,) = (line for line in told.splitlines() if line.startswith("haiku"))
    assert [
        "haiku",
        "SixMonths",
        "2",
        "2026-11-18",
        "06:00",
        "5.0",
        "205.0000",
        "11,000,000",
        "0.8400",
        "536,904,762",
    ] == line.split()
    assert "other: give model_info.price_per_hour" in told


@pytest.mark.parametrize(("priced", "total"), [("", "unknown"), ("base_model: amazon.nova-lite-v1:0", "0.8400+")])
def test_a_total_with_something_unknown(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str], priced: str, total: str
) -> None:
    """Where the price of one is not known the total is not either, or is marked: it never says zero for that."""
    config, database = files
    text = Path(config).read_text().replace("base_model: amazon.nova-lite-v1:0", priced or "x: y")
    text = text.replace(
        "bedrock/provisioned/unpriced, aws_region_name: us-east-1}",
        "bedrock/provisioned/unpriced, aws_region_name: us-east-1}\n    model_info: {price_per_hour: 1}",
    )
    Path(config).write_text(text)

    assert 0 == run("--config", config, "--database", database, "--since", "2026-11-18T06:00")

    told = capsys.readouterr().out
    (line,) = (line for line in told.splitlines() if line.startswith("total"))
    assert total == line.split()[-1]
    assert "unknown (+): give base_model" in told


def test_it_counts_from_the_first_call(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """Without --since the hours begin with the quarter-hour of the first call."""
    config, database = files

    run("--config", config, "--database", database, "--until", "2026-11-18T12:00", "--json")

    (line,) = json.loads(capsys.readouterr().out)
    assert ("2026-11-18T08:00:00.000Z", 4.0) == (line["since"], line["hours"])


def test_hours_are_those_that_tokens_are_of(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """Tokens are summed by the quarter-hour, and so the hours begin and end with one, as the heading says."""
    config, database = files
    times = ("--since", "2026-11-18T07:59:50", "--until", "2026-11-18T11:00:01")

    run("--config", config, "--database", database, *times)

    heading, _, _, line, *_ = capsys.readouterr().out.splitlines()
    assert heading.endswith("since 2026-11-18 07:45 until 2026-11-18 11:15 UTC")
    assert ["2026-11-18", "07:45", "3.5"] == line.split()[3:6]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "say --config"),
        (
            "model_list: [{model_name: n, litellm_params: {model: bedrock/amazon.nova-lite-v1:0, "
            "aws_region_name: us-east-1}}]",
            "no deployment is provisioned throughput",
        ),
    ],
)
def test_nothing_to_compare(tmp_path: Path, text: str | None, message: str) -> None:
    """Without a config, or a provisioned deployment in it, there is one clear line."""
    arguments = ["--database", str(tmp_path / "none.db")]
    if text is not None:
        (tmp_path / "config.yaml").write_text(text)
        arguments += ["--config", str(tmp_path / "config.yaml")]
    with pytest.raises(StartError, match=message):
        run(*arguments)
