"""A ledger as it is after a busy month of a large house: many keys, users and teams, many more calls.

Every table is consistent with every other, as the gateway would have left them: rollups, label rollups and accounts are
the sums of the rows. Some thousand keys make most of the calls, the others few or none; nothing is over its budget. The
same seed gives the same ledger.
Usage::

    filled.py PATH [--keys 100000] [--calls 1000000] [--seed 1]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bedrock_gateway.store.ids import new_id
from bedrock_gateway.store.schema import QUARTER_MS, connect, migrate, prepare_file
from bedrock_gateway.wire.model_ids import plain_model

__all__ = ["fill", "key_id", "key_text", "team_id", "user_id"]

DAY_MS = 86_400_000
DAYS = 30
KEYS_OF_USER, TEAMS = 3, 100
#: Keys that make most of the calls, the share they make, and how far apart their numbers are.
BUSY_KEYS, BUSY_SHARE, APART = 4_000, 0.9, 7_919
END_USERS, TAGS = 5_000, 50
BATCH = 20_000

#: Model group, model, deployment, region, nano-USD a thousand tokens in and out.
TARGETS = (
    ("claude", "us.anthropic.claude-sonnet-4-20250514-v1:0", "0b5c1d2e3f40", "us-west-2", 3_000_000, 15_000_000),
    ("claude", "us.anthropic.claude-3-7-sonnet-20250219-v1:0", "1b5c1d2e3f41", "us-east-2", 3_300_000, 16_500_000),
    ("haiku", "us.anthropic.claude-3-5-haiku-20241022-v1:0", "2b5c1d2e3f42", "us-west-2", 800_000, 4_000_000),
    ("nova", "amazon.nova-pro-v1:0", "3b5c1d2e3f43", "us-east-1", 800_000, 3_200_000),
    ("titan", "amazon.titan-embed-text-v2:0", "4b5c1d2e3f44", "us-east-1", 20_000, 0),
    ("", "meta.llama3-3-70b-instruct-v1:0", "5b5c1d2e3f45", "us-east-2", 720_000, 720_000),
)
#: How calls end, with the status answered, and how many of a hundred do so.
ENDS_OF_CALLS = (("metered", 200), ("estimated", 200), ("refused", 400), ("unpriced", 200), ("interrupted", None))
SHARES = (93, 2, 3, 1, 1)
#: Shares of calls: a first attempt failed over, a call with tags, one made for an end user.
FAILED_OVER, TAGGED, FOR_SOMEBODY = 0.02, 0.3, 0.2

SUMS = (
    *("calls", "attempts", "input", "output", "cache_read", "cache_write_5m", "cache_write_1h", "images"),
    *("spend", "spend_all", "at_most"),
)


def key_text(number: int, seed: int = 1) -> str:
    """Return the virtual key of a number, as its owner would send it."""
    return "sk-" + hashlib.sha256(f"key {seed} {number}".encode()).hexdigest()[:43]


def key_id(number: int) -> str:
    """Return the stable id of a key."""
    return f"key-{number:012x}"


def user_id(number: int) -> str:
    """Return the id of a user."""
    return f"user-{number:06d}"


def team_id(number: int) -> str:
    """Return the id of a team."""
    return f"team-{number:05d}"


def fill(
    path: Path, keys: int = 100_000, calls: int = 1_000_000, seed: int = 1, *, until_ms: int | None = None
) -> None:
    """Make a ledger with so many keys and calls at ``path``, where nothing may be yet.

    Args:
        until_ms: UTC ms of the last call, now by default; the first is 30 days before.
    """
    end = time.time_ns() // 1_000_000 if until_ms is None else until_ms
    prepare_file(path)
    connection = connect(path)
    try:
        migrate(connection, path, simulated=False, now_ms=end - DAYS * DAY_MS)
        for pragma in ("synchronous = OFF", "cache_size = -200000", "temp_store = MEMORY", "wal_autocheckpoint = 0"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("BEGIN IMMEDIATE")
        run = (new_id(end - DAYS * DAY_MS, bytes(10)), 1, "0", end - DAYS * DAY_MS, end, 1)
        connection.execute("INSERT INTO runs (id, pid, version, started_at, ended_at, clean) VALUES (?,?,?,?,?,?)", run)
        indexes = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql <> ''"
        ).fetchall()
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}")
        _fill_subjects(connection, keys, seed, end)
        _fill_calls(connection, keys, calls, random.Random(seed), end)
        _sum_up(connection)
        for _, sql in indexes:
            # Sorted once, and not kept sorted row by row.
            connection.execute(sql)
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()


def _owners(number: int) -> tuple[str, str]:
    """Return user and team of a key; every fifth has no user, every third no team."""
    user = number // KEYS_OF_USER
    return ("" if number % 5 == 4 else user_id(user)), ("" if number % 3 == 2 else team_id(user % TEAMS))


def _fill_subjects(connection: sqlite3.Connection, keys: int, seed: int, end: int) -> None:
    users = -(-keys // KEYS_OF_USER)
    begin = end - (DAYS + 30) * DAY_MS

    def row(kind: str, id_: str, name: str | None, user: str, team: str, number: int, document: object) -> Any:
        at = begin + number * 13
        text = json.dumps(document, separators=(",", ":"))
        return kind, id_, name, user or None, team or None, None, 0, text, at, "master", at, "master"

    def subjects() -> Iterator[Any]:
        for number in range(TEAMS):
            document: dict[str, Any] = {"max_budget": 50_000.0, "budget_duration": "30d", "tpm_limit": 50_000_000}
            yield row("team", team_id(number), f"Team {number}", "", "", number, document)
        for number in range(users):
            document = {"user_email": f"u{number}@example.com", "max_budget": 20_000.0, "budget_duration": "30d"}
            yield row("user", user_id(number), None, "", "", number, document)
        for number in range(keys):
            alias = None if number % 4 == 3 else f"service {number}"
            document = {"models": ["claude", "nova"], "max_budget": 10_000.0, "budget_duration": "30d"}
            document |= {"soft_budget": 9_000.0, "rpm_limit": 6_000, "tpm_limit": 10_000_000}
            yield row("key", key_id(number), alias, *_owners(number), number, document)

    connection.executemany(f"INSERT INTO subjects VALUES ({','.join('?' * 12)})", subjects())
    texts = ((number, key_text(number, seed)) for number in range(keys))
    connection.executemany(
        "INSERT INTO key_digests VALUES (?, ?, ?, NULL)",
        ((hashlib.sha256(text.encode()).digest(), key_id(number), text[-4:]) for number, text in texts),
    )
    connection.executemany(
        "INSERT INTO members VALUES (?, ?, ?, '{}')",
        ((team_id(number % TEAMS), user_id(number), "user" if number >= TEAMS else "admin") for number in range(users)),
    )


def _fill_calls(connection: sqlite3.Connection, keys: int, calls: int, chance: random.Random, end: int) -> None:
    connection.executemany(
        "INSERT INTO deployments VALUES (?, ?, ?, ?, ?)",
        [
            (deployment, f"{group or 'ambient'} ({region})", model, region, end)
            for group, model, deployment, region, *_ in TARGETS
        ],
    )
    insert_call = f"INSERT INTO calls VALUES ({','.join('?' * 20)}, NULL)"
    insert_attempt = f"INSERT INTO attempts VALUES ({','.join('?' * 25)})"
    for first in range(0, calls, BATCH):
        rows, attempts = [], []
        for number in range(first, min(first + BATCH, calls)):
            at = end - DAYS * DAY_MS + number * DAYS * DAY_MS // calls
            row, tried = _call(at, _caller(keys, chance), chance)
            rows.append(row)
            attempts += tried
        connection.executemany(insert_call, rows)
        connection.executemany(insert_attempt, attempts)


def _caller(keys: int, chance: random.Random) -> int:
    """Return the number of the key that makes a call: one of the busy ones, of which some are far busier, or any."""
    if chance.random() < BUSY_SHARE:
        return int(min(BUSY_KEYS, keys) * chance.random() ** 2) * APART % keys
    return int(keys * chance.random())


def _call(at: int, key: int, chance: random.Random) -> tuple[Any, list[Any]]:
    """Return the row of a call and the rows of its attempts."""
    draw = chance.random
    call = new_id(at, chance.randbytes(10))
    target = TARGETS[int(len(TARGETS) * draw())]
    group, model, deployment, region, rate_in, rate_out = target
    state, status = chance.choices(ENDS_OF_CALLS, SHARES)[0]
    known = state not in ("refused", "interrupted")
    tokens_in, tokens_out = (50 + int(8_000 * draw()), 1 + int(2_000 * draw())) if known else (0, 0)
    spend = (tokens_in * rate_in + tokens_out * rate_out) // 1_000 if known else 0
    charged = state != "refused"
    booked = None if state in ("unpriced", "interrupted") else spend
    ended = at + 300 + int(20_000 * draw())
    attempts: list[Any] = []
    if draw() < FAILED_OVER:
        attempts.append(
            (
                call, new_id(at, chance.randbytes(10)), 1, 1, 0, deployment, model, region, "refused", 0, 0, 40_000_000,
                at, at + 200, 429, "ThrottlingException", None, 0, 0, 0, 0, 0, 0, None, None,
            )
        )  # fmt: skip
    attempts.append(
        (
            call, new_id(at, chance.randbytes(10)), 1, len(attempts) + 1, 0, deployment, model, region, state,
            int(charged), booked, 40_000_000, at, ended, status, None, None, tokens_in, tokens_out, 0, 0, 0, 0,
            None, None,
        )
    )  # fmt: skip
    user, team = _owners(key)
    end_user = f"customer-{int(END_USERS * draw())}" if draw() < FOR_SOMEBODY else ""
    tags = ""
    if draw() < TAGGED:
        first = int(TAGS * draw())
        chosen = [f"project-{first}"] + ([f"project-{(first + 7) % TAGS}"] if draw() < 0.5 else [])
        tags = json.dumps(chosen, separators=(",", ":"))
    row = (
        call, 1, key_id(key), "bedrock", "Converse", group, model, deployment, state, booked, at, ended, status, None,
        len(attempts), 0, user, team, end_user, tags,
    )  # fmt: skip
    return row, attempts


def _sum_up(connection: sqlite3.Connection) -> None:
    """Fill rollups, label rollups and accounts from the rows."""
    sums = ", ".join(f"sum({name})" for name in SUMS)
    whose = "user, team, end_user, tags, model_group"
    connection.execute(
        f"""CREATE TEMP TABLE told AS
        SELECT started_at / {QUARTER_MS} AS quarter, caller, {whose}, model, deployment, operation, state,
            1 AS {SUMS[0]}, {", ".join(f"0 AS {name}" for name in SUMS[1:])} FROM calls
        UNION ALL SELECT calls.started_at / {QUARTER_MS}, caller, {whose}, attempts.model, attempts.deployment,
            operation, attempts.state, 0, 1, input, output, cache_read, cache_write_5m, cache_write_1h, images,
            iif(charged, coalesce(attempts.spend, 0), 0), coalesce(attempts.spend, 0),
            iif(charged AND attempts.spend IS NULL, coalesce(spend_at_most, 0), 0)
        FROM calls JOIN attempts ON attempts.call = calls.id"""
    )
    owned = "quarter, caller, user, team, model_group, model, deployment, operation, state"
    connection.execute(f"INSERT INTO rollups SELECT {owned}, {sums} FROM told GROUP BY {owned}")
    labelled = "quarter, label, caller, model, state"
    for kind, source in (
        ("tag", "(SELECT *, value AS label FROM told, json_each(told.tags) WHERE told.tags <> '')"),
        ("end_user", "(SELECT *, end_user AS label FROM told WHERE end_user <> '')"),
    ):
        connection.execute(
            f"INSERT INTO label_rollups SELECT quarter, '{kind}', label, caller, model, state, {sums} FROM {source} "
            f"GROUP BY {labelled}"
        )
    connection.create_function("plain_model", 1, plain_model, deterministic=True)
    for account, condition in (
        ("'gateway'", "1"),
        ("'key:' || caller", "1"),
        ("'model:' || caller || '/' || model_group", "model_group <> ''"),
        ("'model:' || caller || '/' || plain_model(model)", "model <> ''"),
        ("'user:' || user", "user <> ''"),
        ("'team:' || team", "team <> ''"),
        ("'member:' || team || '/' || user", "user <> '' AND team <> ''"),
        ("'deployment:' || deployment", "deployment <> ''"),
    ):
        connection.execute(
            f"INSERT INTO accounts SELECT {account}, quarter, sum(spend + at_most) FROM rollups WHERE {condition} "
            "GROUP BY 1, 2 HAVING sum(spend + at_most) <> 0"
        )
    connection.execute(
        "INSERT INTO accounts SELECT kind || ':' || label, quarter, sum(spend + at_most) FROM label_rollups "
        "GROUP BY 1, 2 HAVING sum(spend + at_most) <> 0"
    )
    connection.execute("DROP TABLE told")


def main() -> None:
    """Fill a ledger and say how long it took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    began = time.perf_counter()
    fill(options.path, options.keys, options.calls, options.seed)
    print(f"{options.path}: {options.path.stat().st_size / 1e6:,.0f} MB in {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main()
