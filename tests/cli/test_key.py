"""``bedrock-gateway key``, on real databases, beside a registry that follows and without one."""

from __future__ import annotations

import argparse
import contextlib
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bedrock_gateway.access.directory import Directory
from bedrock_gateway.access.issued_credentials import issue
from bedrock_gateway.access.keys import digest
from bedrock_gateway.cli import key, main
from bedrock_gateway.errors import StartError, Unauthenticated
from bedrock_gateway.store.lock import DatabaseLock
from bedrock_gateway.store.registry import Registry
from bedrock_gateway.store.root_secret import read_root_secret
from bedrock_gateway.store.schema import MIGRATIONS, connect, migrate

LATER = 10**15
TABLES = ("subjects", "key_digests", "members", "changes")


class Keys:
    """Runs the command on one database."""

    def __init__(self, database: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.database = database
        self._capture = capture

    def run(self, *arguments: str) -> tuple[str, str]:
        """Run an action; return what went to the output and to the error output."""
        parser = argparse.ArgumentParser()
        key.add_parser(parser.add_subparsers())
        args = parser.parse_args(["key", *arguments, "--database", str(self.database)])
        assert 0 == args.run(args)
        told = self._capture.readouterr()
        return told.out, told.err

    def create(self, *options: str) -> str:
        """Make a key and return it."""
        return self.run("create", *options)[0].strip()

    def show(self, named: str) -> dict[str, Any]:
        """Return all there is to know of a key."""
        told: dict[str, Any] = json.loads(self.run("show", named, "--json")[0])
        return told

    def everything(self) -> list[list[tuple[Any, ...]]]:
        """Return every row of what is administered."""
        if not self.database.exists():
            return []
        with contextlib.closing(sqlite3.connect(self.database)) as connection:
            return [connection.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES]


@pytest.fixture
def keys(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Keys]:
    """Run the command on a database that is not there yet."""
    for name in ("DATABASE_URL", "BEDROCK_GATEWAY_SECRET", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    yield Keys(tmp_path / "state" / "ledger.db", capsys)


def test_a_key_is_made_where_there_is_no_database(keys: Keys) -> None:
    """The database comes into being, 0600; the key stands alone on the output and nowhere in the files."""
    out, err = keys.run("create", "--alias", "ci")

    made = out.strip()
    assert (46, f"{made}\n") == (len(made), out)
    assert "Key 'ci' (key-" in err and "shown this once" in err and "locked" in err
    assert made not in err
    assert 0o600 == keys.database.stat().st_mode & 0o777
    assert all(made.encode() not in file.read_bytes() for file in keys.database.parent.iterdir())
    assert digest(made).hex() == keys.show("ci")["token"]


def test_every_option_sets_its_field(keys: Keys) -> None:
    """Options come to the fields of the API."""
    keys.create("--alias", "base")
    made = keys.create(
        *("--alias", "ci", "--user", "u1", "--models", "claude,nova-*", "--models", "titan", "--max-budget", "10.5"),
        *("--budget-duration", "30d", "--soft-budget", "8", "--rpm", "60", "--tpm", "100000", "--parallel", "4"),
        *("--duration", "30d", "--tag", "prod", "--tag", "batch", "--allowed-operations", "Converse,bedrock:List*"),
        *("--metadata", "owner=platform", "--metadata", "ticket=7=8", "--on-budget", "clamp"),
        *("--on-disconnect", "abort", "--key-type", "llm_api", "--set", 'model_max_budget={"claude": 5}'),
    )

    told = keys.show(made)

    assert {
        "key_alias": "ci",
        "user_id": "u1",
        "models": ["claude", "nova-*", "titan"],
        "max_budget": 10.5,
        "budget_duration": "30d",
        "soft_budget": 8,
        "rpm_limit": 60,
        "tpm_limit": 100000,
        "max_parallel_requests": 4,
        "duration": "30d",
        "tags": ["prod", "batch"],
        "allowed_operations": ["Converse", "bedrock:List*"],
        "metadata": {"owner": "platform", "ticket": "7=8", "tags": ["prod", "batch"]},
        "on_budget": "clamp",
        "on_disconnect": "abort",
        "key_type": "llm_api",
        "model_max_budget": {"claude": {"max_budget": 5}},
        "created_by": "command-line",
    }.items() <= told.items()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--max-budget", "ten"), "--max-budget: must be a number, not 'ten'"),
        (("--max-budget", "-1"), "--max-budget: must be 0 or more USD, not -1"),
        (("--max-budget", "NaN"), "--max-budget: must be a number, not 'NaN'"),
        (("--rpm", "1.5"), "--rpm: must be a whole number, not 1.5"),
        (("--budget-duration", "often"), "--budget-duration: 'often' is no duration"),
        (("--duration", "long"), "--duration: 'long' is no duration"),
        (("--on-budget", "cry"), '--on-budget: must be refuse or clamp, not "cry"'),
        (("--tag", "x" * 65), "--tag: a tag is longer than 64 characters"),
        (("--team", "t1"), "--team: there is no team 't1'"),
        (("--alias", "ci"), "--alias: there is a key 'ci' already"),
        (("--metadata", "owner"), "--metadata owner: write NAME=VALUE"),
        (("--allowed-operations", "Converse,Convrese"), '--allowed-operations: "Convrese" names no operation; did you'),
        (("--set", "nothing"), "--set nothing: write FIELD=JSON"),
        (("--set", "models=claude"), "--set models: "),
        (("--set", 'modls=["x"]'), "modls: is not known; did you mean models?"),
        (("--set", 'guardrails=["x"]'), "guardrails: is not enforced by this gateway"),
    ],
)
def test_wrong_options_are_named(keys: Keys, options: tuple[str, ...], message: str) -> None:
    """What is wrong is said under the option's name, and nothing is written."""
    keys.create("--alias", "ci")
    before = keys.everything()

    with pytest.raises(StartError) as caught:
        keys.run("create", "--user", "u1", *options)

    assert str(caught.value).startswith(message)
    assert before == keys.everything()


def test_update_changes_and_takes_away(keys: Keys) -> None:
    """What is given changes, what is unset goes, the rest stays."""
    keys.create("--alias", "ci", "--max-budget", "5", "--rpm", "3", "--duration", "1d", "--metadata", "a=b")

    _, err = keys.run("update", "ci", "--tpm", "7", "--unset", "max-budget", "--unset", "metadata", "--duration", "-1")

    told = keys.show("ci")
    assert (None, 3, 7, None, {}) == tuple(
        told[field] for field in ("max_budget", "rpm_limit", "tpm_limit", "expires", "metadata")
    )
    assert "was changed: " in err
    with pytest.raises(StartError, match="nothing to change"):
        keys.run("update", "ci")
    with pytest.raises(StartError, match="--unset colour: there is no such option"):
        keys.run("update", "ci", "--unset", "colour")


def test_a_key_goes_by_every_name(keys: Keys) -> None:
    """Alias, id, hash and the key itself lead to it; a key that is none is not repeated."""
    made = keys.create("--alias", "ci")
    told = keys.show("ci")

    assert {told["key_id"]} == {keys.show(name)["key_id"] for name in (made, told["token"], told["key_id"])}
    with pytest.raises(StartError) as caught:
        keys.show("sk-not-a-key-of-this-database")
    assert "there is no key sk-...base; bedrock-gateway key list shows those there are" == str(caught.value)


def test_no_alias_stands_in_front_of_another_key(keys: Keys) -> None:
    """An alias that looks like the id or the hash of another key is not taken for it."""
    keys.create("--alias", "first")
    first = keys.show("first")
    for name in (first["key_id"], first["token"]):
        keys.create("--alias", name)

    assert ["first", "first"] == [keys.show(name)["key_alias"] for name in (first["key_id"], first["token"])]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "\udcff"), "KEY: has control characters"),
        (("list", "--user", "\udcff"), "--user: has control characters"),
        (("list", "--team", "\udcff"), "--team: has control characters"),
        (("list", "--search", "\udcff"), "--search: has control characters"),
        (("create", "--set", "metadata=5", "--metadata", "a=b"), "--set metadata: must be an object"),
        (("create", "--set", f"metadata={'[' * 100_000}"), "--set metadata: the value is no JSON"),
        (("create", "--rpm", "[" * 100_000), "--rpm: must be a number"),
        (("create", "--models", ""), "--models: names nothing"),
        (("create", "--allowed-operations", " ,"), "--allowed-operations: names nothing"),
        (("rotate", "ci", "--grace=-1"), "--grace: must be a duration such as 24h"),
    ],
    ids=range(10),
)
def test_odd_arguments_are_told(keys: Keys, arguments: tuple[str, ...], message: str) -> None:
    """What is no text, no JSON or nothing at all is one line that names it, and changes nothing."""
    keys.create("--alias", "ci")
    before = keys.everything()

    with pytest.raises(StartError) as caught:
        keys.run(*arguments)

    assert message == str(caught.value)[: len(message)]
    assert before == keys.everything()


def test_taking_the_last_key_away_is_told(keys: Keys) -> None:
    """Without any key the gateway is open again, which nobody should learn from its callers."""
    keys.create("--alias", "one")
    keys.create("--alias", "two")

    told = [keys.run("delete", name)[1] for name in ("one", "two")]

    assert [False, True] == ["open again" in err for err in told]


def test_block_rotate_delete(keys: Keys) -> None:
    """A key is kept out and let in, gets a new secret with and without grace, and goes for good."""
    old = keys.create("--alias", "ci")
    keys.run("block", "ci")
    assert "blocked" == keys.show("ci")["status"]
    keys.run("unblock", "ci")
    assert "active" == keys.show("ci")["status"]

    new = keys.run("rotate", "ci", "--grace", "24h")[0].strip()
    assert old != new
    assert keys.show(old)["token"] == keys.show(new)["token"] == digest(new).hex()
    newest = keys.run("rotate", "ci")[0].strip()
    assert 2 == keys.show(newest)["rotation_count"]
    for gone in (old, new):
        with pytest.raises(StartError):
            keys.show(gone)

    with pytest.raises(StartError):
        keys.run("delete", "ci", "other")
    keys.run("delete", "ci")
    assert [[], []] == keys.everything()[:2]
    with pytest.raises(StartError, match="--grace: 'soon' is no duration"):
        keys.run("rotate", "ci", "--grace", "soon")


def test_lists(keys: Keys) -> None:
    """The table has who, what and how much; JSON has all; filters choose."""
    with pytest.raises(StartError, match="there is no database here yet"):
        keys.run("list")
    assert not keys.database.exists()
    keys.create("--alias", "ci", "--max-budget", "5", "--budget-duration", "30d", "--user", "u1")
    assert "There are no such keys" in keys.run("list", "--status", "blocked")[0]
    keys.create("--alias", "\x1b[31mred".replace("\x1b", "E"), "--models", "claude")
    keys.run("block", "ci")

    table = keys.run("list")[0]

    assert ["alias", "key", "id", "user", "models", "spend", "USD", "budget", "USD", "expires", "status"] == (
        table.splitlines()[0].split()
    )
    (line,) = [line.split() for line in table.splitlines() if line.startswith("ci")]
    assert ["u1", "all", "0.0000", "5/30d", "never", "blocked"] == line[3:]
    assert {"ci"} == {row["key_alias"] for row in json.loads(keys.run("list", "--json", "--status", "blocked")[0])}
    assert ["ci"] == [row["key_alias"] for row in json.loads(keys.run("list", "--json", "--user", "u1")[0])]


async def test_a_running_gateway_follows(keys: Keys) -> None:
    """What the command line writes is in the directory at the next look."""
    made = keys.create("--alias", "ci")
    async with await Registry.open(keys.database, directory=Directory()) as registry:
        find = registry.directory.find

        assert find(digest(made), 0) is not None
        keys.run("block", "ci")
        await registry.refresh()
        with pytest.raises(Unauthenticated):
            find(digest(made), 0)
        second = keys.create("--alias", "second", "--duration", "1h")
        keys.run("delete", "ci")
        await registry.refresh()
        assert (None, 1) == (find(digest(made), 0), registry.directory.key_count)
        assert find(digest(second), 0) is not None
        with pytest.raises(Unauthenticated):
            find(digest(second), LATER)


def test_an_older_gateway_keeps_its_tables(keys: Keys) -> None:
    """While a gateway of an older version runs the database is not migrated under it; afterwards it is."""
    keys.database.parent.mkdir()
    keys.database.touch(0o600)
    connection = connect(keys.database)
    migrate(connection, keys.database, simulated=False, now_ms=1, migrations=MIGRATIONS[:1])
    lock = DatabaseLock.acquire(keys.database, 4711)

    with pytest.raises(StartError) as caught:
        keys.run("create")

    assert "has to be brought up to date for this version, and cannot be while it is in use" in str(caught.value)
    assert "(pid 4711)" in str(caught.value)
    assert [(1,)] == connection.execute("SELECT max(number) FROM migrations").fetchall()
    lock.release()
    assert keys.create().startswith("sk-")
    connection.close()


def test_simulated_and_real_stay_apart(keys: Keys) -> None:
    """A database of simulated runs takes keys only with --simulate."""
    keys.run("create", "--simulate")

    with pytest.raises(StartError, match="is of simulated runs; add --simulate"):
        keys.run("create")


def test_a_key_alone_is_no_spend(keys: Keys) -> None:
    """A database that a key was made in, and no call booked, is told by whom it is for, not by what it holds."""
    keys.run("create")

    with pytest.raises(StartError) as caught:
        keys.run("list", "--simulate")
    told = "is of real runs; leave out --simulate, or name another file with --database"
    assert f"{keys.database}: {told}" == str(caught.value)


def test_other_files_are_left_alone(keys: Keys) -> None:
    """A file that is no database, and one of another program, are refused."""
    keys.database.parent.mkdir()
    keys.database.write_text("hello" * 1000)
    with pytest.raises(StartError, match="is not a SQLite database"):
        keys.run("create")
    keys.database.unlink()
    with contextlib.closing(sqlite3.connect(keys.database)) as connection, connection:
        connection.execute("CREATE TABLE t (x)")
    with pytest.raises(StartError, match="is a database of another program"):
        keys.run("list")


def test_credentials_stand_for_the_key(keys: Keys) -> None:
    """They follow from the root secret beside the database; JSON is what AWS's credential_process wants."""
    keys.create("--alias", "ci")

    out, err = keys.run("credentials", "ci")
    told = json.loads(keys.run("credentials", "ci", "--duration", "1h", "--json")[0])

    root = read_root_secret({}, keys.database.resolve(), create=False)
    assert root is not None
    issued = issue(root, keys.show("ci")["key_id"], 0, expires_at_ms=None)
    assert f"AWS_ACCESS_KEY_ID={issued.access_key_id}\nAWS_SECRET_ACCESS_KEY={issued.secret_access_key}\n" == out
    assert issued.secret_access_key not in err
    assert {"Version", "AccessKeyId", "SecretAccessKey", "Expiration"} == set(told)
    keys.run("block", "ci")
    with pytest.raises(StartError, match="is blocked: credentials for it would be, too"):
        keys.run("credentials", "ci")


def test_the_command_itself(keys: Keys, capsys: pytest.CaptureFixture[str]) -> None:
    """``bedrock-gateway key`` ends with 2 and one line for what is wrong, and with 0 for what is right."""
    database = ("--database", str(keys.database))

    assert 2 == main(["key", "create", "--max-budget=-1", *database])
    assert ("", "bedrock-gateway: --max-budget: must be 0 or more USD, not -1\n") == capsys.readouterr()
    assert not keys.database.exists()
    assert 0 == main(["key", "create", "--json", *database])
    assert json.loads(capsys.readouterr().out)["key"].startswith("sk-")
