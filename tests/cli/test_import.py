"""``bedrock-gateway import litellm``: rows of LiteLLM's /key/list, whole and broken."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from bedrock_gateway.access.directory import Directory
from bedrock_gateway.cli import importing, key
from bedrock_gateway.errors import StartError
from bedrock_gateway.store.registry import Registry


def row(secret: str, **changes: Any) -> dict[str, Any]:
    """Return a row as LiteLLM 1.109.1 answers it for a key that was made with little."""
    return {
        "token": hashlib.sha256(secret.encode()).hexdigest(),
        "key_name": f"sk-...{secret[-4:]}",
        "key_alias": None,
        "soft_budget_cooldown": False,
        "spend": 0.0,
        "expires": None,
        "models": [],
        "aliases": {},
        "config": {},
        "router_settings": {},
        "user_id": "default_user_id",
        "team_id": None,
        "agent_id": None,
        "project_id": None,
        "permissions": {},
        "max_parallel_requests": None,
        "metadata": {},
        "blocked": None,
        "tpm_limit": None,
        "rpm_limit": None,
        "tpd_limit": None,
        "max_budget": None,
        "budget_duration": None,
        "budget_reset_at": None,
        "allowed_cache_controls": [],
        "allowed_routes": [],
        "policies": [],
        "access_group_ids": [],
        "model_spend": {},
        "model_max_budget": {},
        "budget_fallbacks": {},
        "budget_limits": None,
        "budget_id": None,
        "organization_id": None,
        "object_permission_id": None,
        "object_permission": None,
        "litellm_budget_table": None,
        "created_at": "2026-01-01T00:00:00Z",
        "created_by": "default_user_id",
        "updated_at": "2026-01-01T00:00:00Z",
        "updated_by": "default_user_id",
        "last_active": None,
        "rotation_count": 0,
        "auto_rotate": False,
        "rotation_interval": None,
        "last_rotation_at": None,
        "key_rotation_at": None,
        **changes,
    }


class Importer:
    """Runs the command on one database and one file."""

    def __init__(self, folder: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.database = folder / "ledger.db"
        self.file = folder / "keys.json"
        self._capture = capture

    def run(self, told: Any, *options: str) -> str:
        """Import what a file says; return the output."""
        self.file.write_text(told if isinstance(told, str) else json.dumps(told))
        parser = argparse.ArgumentParser()
        importing.add_parser(parser.add_subparsers())
        args = ["import", "litellm", "--keys", str(self.file), "--database", str(self.database), *options]
        parsed = parser.parse_args(args)
        assert 0 == parsed.run(parsed)
        return self._capture.readouterr().out

    def show(self, named: str) -> dict[str, Any]:
        """Return all there is to know of a key."""
        parser = argparse.ArgumentParser()
        key.add_parser(parser.add_subparsers())
        parsed = parser.parse_args(["key", "show", named, "--json", "--database", str(self.database)])
        assert 0 == parsed.run(parsed)
        told: dict[str, Any] = json.loads(self._capture.readouterr().out)
        return told

    def count(self, table: str = "subjects WHERE kind = 'key'") -> int:
        """Count rows."""
        if not self.database.exists():
            return 0
        with contextlib.closing(sqlite3.connect(self.database)) as connection:
            return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


@pytest.fixture
def importer(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Importer:
    """Import into a database that is not there yet."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    return Importer(tmp_path, capsys)


async def test_handed_out_keys_keep_working(importer: Importer) -> None:
    """A key is known by the hash LiteLLM kept of it, with what it may do and what it has spent."""
    secret = "sk-Qw_handed_out_g4Aw"
    later = "2099-01-01T00:00:00Z"
    importer.run(
        {
            "keys": [
                row(
                    secret,
                    key_alias="ci",
                    spend=3.25,
                    expires="2099-12-31T00:00:00+00:00",
                    models=["claude"],
                    max_budget=10.0,
                    budget_duration="30d",
                    budget_reset_at=later,
                    rpm_limit=60,
                    metadata={"tags": ["prod"], "model_rpm_limit": {"claude": 5}, "owner": "x"},
                    model_max_budget={"claude": {"budget_limit": 5.0, "time_period": "1d"}},
                    allowed_routes=["llm_api_routes"],
                )
            ],
            "total_count": 1,
            "current_page": 1,
            "total_pages": 1,
        }
    )

    async with await Registry.open(importer.database, directory=Directory()) as registry:
        caller = registry.directory.find(hashlib.sha256(secret.encode()).digest(), time.time_ns() // 1_000_000)
    assert caller is not None
    assert ("ci", "default_user_id", ("prod",), (("claude",),)) == (
        caller.name,
        caller.user,
        caller.tags,
        caller.policy.models,
    )
    told = importer.show("ci")
    assert {
        "key_name": "sk-...g4Aw",
        "spend": 3.25,
        "expires": "2099-12-31T00:00:00.000Z",
        "max_budget": 10,
        "budget_duration": "30d",
        "rpm_limit": 60,
        "key_type": "llm_api",
        "tags": ["prod"],
        "created_by": "command-line",
    }.items() <= told.items()


def test_a_second_run_changes_nothing(importer: Importer) -> None:
    """What is there already stays as it is, whatever the file says, and the command says so."""
    rows = [row("sk-one-0123456789", spend=1), row("sk-two-0123456789", key_alias="two")]

    first = importer.run(rows)
    again = importer.run([*rows, row("sk-one-0123456789", max_budget=3)])

    assert first.endswith("2 keys were imported.\n")
    assert "0 keys were imported, 3 were there already. Nothing was changed.\n" == again
    assert (2, 1) == (importer.count(), importer.count("accounts"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"guardrails": ["pii"]},
            "guardrails: is not enforced by this gateway, so that it cannot be set",
        ),
        ({"metadata": {"guardrails": ["pii"]}}, "metadata.guardrails: is not enforced by this gateway"),
        ({"allowed_routes": ["/chat/completions"]}, "allowed_routes: is not enforced by this gateway"),
        ({"organization_id": "o1"}, "organization_id: is not enforced by this gateway"),
        ({"team_id": "t1"}, "team_id: there is no team 't1'"),
        ({"budget_id": "b1"}, "budget_id: there is no budget 'b1'"),
        ({"max_budget": "10"}, 'max_budget: must be a number of USD, not "10"'),
        ({"spend": -1}, "spend: must be 0 or more USD, not -1"),
        ({"expires": "tomorrow"}, 'expires: must be an ISO 8601 time, not "tomorrow"'),
        ({"expires": "0001-01-01T00:00:00+01:00"}, "expires: must be an ISO 8601 time"),
        ({"expires": "9999-12-31T23:59:59-01:00"}, "expires: must be an ISO 8601 time"),
        ({"token": "sk-in-the-clear-000"}, "token: must be the SHA-256 of the key in hex"),
        ({"colour": "red"}, "colour: is not known"),
        ({"key_alias": "taken"}, "key_alias: there is a key 'taken' already"),
        (
            {"budget_id": "b1", "litellm_budget_table": {"max_budget": -1}},
            "litellm_budget_table.max_budget: must be 0 or more USD",
        ),
    ],
)
def test_one_faulty_row_stops_all(importer: Importer, changes: dict[str, Any], message: str) -> None:
    """Every fault is told with its row; nothing is written, unless the faulty may be left out."""
    rows = [row("sk-taken-0123456789", key_alias="taken"), row("sk-bad-0123456789", **changes)]

    with pytest.raises(StartError) as caught:
        importer.run(rows)

    lines = str(caught.value).splitlines()
    assert [f"{importer.file}: key 2", "nothing was imported; --skip-faulty takes those that are right"] == [
        lines[0].partition(" (")[0],
        lines[-1],
    ]
    assert message in lines[0]
    assert (0, 0) == (importer.count(), importer.count("subjects") if importer.database.exists() else 0)
    assert importer.run(rows, "--skip-faulty").endswith("1 key was imported, 1 faulty was left out.\n")
    assert 1 == importer.count()


@pytest.mark.parametrize("last", ["\ud800abc", "\x1b[2J"])
def test_odd_last_characters_are_left_out(importer: Importer, last: str) -> None:
    """What is no text, or steers a terminal, is neither kept of a key nor shown."""
    importer.run([row("sk-odd-0123456789", key_alias="odd", key_name=f"sk-...{last}")])

    assert "sk-..." == importer.show("odd")["key_name"]


def test_a_dry_run_writes_nothing(importer: Importer) -> None:
    """It says what would be, and does not even make a database."""
    told = importer.run([row("sk-one-0123456789", user_id="u1")], "--dry-run")

    assert "key 1 (sk-...6789): user 'u1' was made with it, without role or budget" in told
    assert told.endswith("1 key would be imported.\n")
    assert not importer.database.exists()


def test_budgets_come_along(importer: Importer) -> None:
    """A budget a key names is made from the row, once."""
    table = {"budget_id": "b1", "max_budget": 7.0, "soft_budget": 5.0, "budget_reset_at": "2026-01-01T00:00:00Z"}
    rows = [row(f"sk-{n}-0123456789", budget_id="b1", litellm_budget_table=table, key_alias=n) for n in ("a", "b")]

    importer.run(rows)

    told = importer.show("b")["litellm_budget_table"]
    assert ("b1", 7, 5) == (told["budget_id"], told["max_budget"], told["soft_budget"])


def test_spend_of_a_window_that_is_over_stays_behind(importer: Importer) -> None:
    """An old export does not charge today's budget for last month's calls."""
    told = importer.run(
        [row("sk-one-0123456789", spend=3, budget_duration="1d", budget_reset_at="2020-01-01T00:00:00Z")]
    )

    assert "its spend was of a window that is over, and was left behind" in told
    assert 0 == importer.count("accounts")


def test_sessions_of_the_dashboard_are_left_out(importer: Importer) -> None:
    """Keys of LiteLLM's own pages are no handed-out keys."""
    told = importer.run([row("sk-one-0123456789", team_id="litellm-dashboard")])

    assert "0 keys were imported, 1 of sessions of LiteLLM's own pages was left out. Nothing was changed.\n" == told


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ("{", "is no JSON"),
        ({"data": []}, "holds no keys"),
        (["0123"], "must be an object"),
    ],
)
def test_other_files_are_refused(importer: Importer, told: Any, message: str) -> None:
    """What is no answer of /key/list with whole objects is refused."""
    with pytest.raises(StartError, match=message):
        importer.run(told)


def test_a_missing_file(importer: Importer) -> None:
    """A file that is not there is said to be so."""
    with pytest.raises(StartError, match="cannot be read: No such file"):
        importer.run([], "--keys", "/nowhere/keys.json")
