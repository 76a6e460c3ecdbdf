"""Rows of what is administered: written whole or not at all, and each write leaves its change."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bedrock_gateway.access.directory import Change, Contents, Directory
from bedrock_gateway.errors import Conflict, InvalidField, NotFound
from bedrock_gateway.store import subjects
from bedrock_gateway.store.administration import Writing, change, create, need, remove
from bedrock_gateway.store.keys import Digest, create_key, find_key, need_key, rotate_key, with_digest
from bedrock_gateway.store.listing import KeyFilter, list_keys
from bedrock_gateway.store.members import add_member, change_member, members_of, remove_member, set_teams, teams_of
from bedrock_gateway.store.schema import connect, migrate
from bedrock_gateway.store.spends import model_spends, spend_since

NOW = 1_795_000_000_000
BY = Writing(now_ms=NOW, by="master")


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Open an empty database."""
    path = tmp_path / "ledger.db"
    opened = connect(path)
    migrate(opened, path, simulated=False, now_ms=NOW)
    yield opened
    opened.close()


def changes(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """Return what was noted as changed, in order."""
    return connection.execute("SELECT kind, id FROM changes ORDER BY number").fetchall()


def key(connection: sqlite3.Connection, id_: str, secret: str, **given: Any) -> None:
    """Write a key."""
    create_key(connection, id_, Digest.of(secret), given, BY)


def test_columns_and_document(connection: sqlite3.Connection) -> None:
    """What is looked for stands in columns, everything else in the document, and comes back as it was."""
    create(connection, "team", "t1", {"team_id": "t1", "team_alias": "research", "max_budget": 5, "blocked": True}, BY)
    made = create_key(
        connection,
        "key-1",
        Digest.of("sk-one-abcd"),
        {"key_alias": "ci", "user_id": "u1", "team_id": "t1", "blocked": None, "models": ["m"], "tags": None},
        BY,
        expires_at=NOW + 1,
    )

    team = subjects.get(connection, "team", "t1")
    assert team is not None
    assert ("research", True, {"max_budget": 5}, "master") == (team.name, team.blocked, team.document, team.created_by)
    assert made.subject == subjects.get(connection, "key", "key-1") == subjects.find(connection, "key", "ci")
    assert ("ci", "u1", "t1", NOW + 1, False, {"models": ["m"]}) == (
        made.subject.name,
        made.subject.user,
        made.subject.team,
        made.subject.expires_at,
        made.subject.blocked,
        made.subject.document,
    )
    assert [("team", "t1"), ("user", "u1"), ("key", "key-1")] == changes(connection)


def test_a_transaction_is_whole(connection: sqlite3.Connection) -> None:
    """What fails in the middle leaves neither rows nor changes."""
    with pytest.raises(NotFound), subjects.transaction(connection):
        create(connection, "user", "u1", {}, BY)
        key(connection, "key-1", "sk-one", user_id="u2", team_id="t9")

    assert [] == changes(connection)
    for table in ("subjects", "key_digests"):
        assert [(0,)] == connection.execute(f"SELECT count(*) FROM {table}").fetchall()


def test_names_and_ids_are_taken_once(connection: sqlite3.Connection) -> None:
    """An id or a name of a kind is one's own; of another kind it is free."""
    create(connection, "user", "u1", {"user_email": "x@example.com"}, BY)
    create(connection, "team", "u1", {"team_alias": "x@example.com"}, BY)
    key(connection, "key-1", "sk-one", key_alias="x@example.com")

    for kind, id_, given, field in (
        ("user", "u1", {}, "user_id"),
        ("user", "u2", {"user_email": "x@example.com"}, "user_email"),
        ("team", "u1", {}, "team_id"),
        ("team", "t2", {"team_alias": "x@example.com"}, "team_alias"),
        ("key", "key-2", {"key_alias": "x@example.com"}, "key_alias"),
    ):
        with pytest.raises(Conflict) as caught:
            create(connection, kind, id_, given, BY)
        assert field == caught.value.field
    with pytest.raises(Conflict):
        key(connection, "key-2", "sk-one")
    # Keeping one's own name is no conflict.
    change(connection, need(connection, "user", "u1", "user_id"), {"user_email": "x@example.com"}, BY)


def test_who_did_what_when(connection: sqlite3.Connection) -> None:
    """A change keeps who made something, and notes who changed it."""
    create(connection, "user", "u1", {"max_budget": 5, "models": ["a"]}, BY)

    later = change(
        connection,
        need(connection, "user", "u1", ""),
        {"max_budget": None, "rpm_limit": 1},
        Writing(now_ms=9, by="key-1"),
    )

    assert (NOW, "master", 9, "key-1", {"models": ["a"], "rpm_limit": 1}) == (
        later.created_at,
        later.created_by,
        later.updated_at,
        later.updated_by,
        later.document,
    )
    assert later == subjects.get(connection, "user", "u1")


def test_a_key_is_found_by_all_its_names(connection: sqlite3.Connection) -> None:
    """By itself, its hash in either case, its id; and by its alias only where that is asked for."""
    key(connection, "key-1", "sk-one-abcd", key_alias="ci")
    sha256 = Digest.of("sk-one-abcd").sha256.hex()

    for told in ("sk-one-abcd", sha256, sha256.upper(), "key-1"):
        found = find_key(connection, told)
        assert found is not None
        assert "key-1" == found.subject.id
    assert [None] * 3 == [find_key(connection, told) for told in ("ci", "sk-two", "0" * 64)]
    assert "key-1" == need_key(connection, "", "key_alias", alias="ci").subject.id
    with pytest.raises(NotFound) as caught:
        need_key(connection, "sk-a-secret-in-a-message", "key")
    assert "key: key not found in database: sk-...sage" == caught.value.message


def test_rotation_keeps_one_current_secret(connection: sqlite3.Connection) -> None:
    """Grace is for the one before; without grace all older ones end and the epoch is raised."""
    key(connection, "key-1", "sk-one")
    first = need_key(connection, "key-1", "key")

    second = rotate_key(connection, first, Digest.of("sk-two"), {}, BY, until=NOW + 5)
    assert (0, 1) == (second.subject.document["epoch"], second.subject.document["rotation_count"])
    third = rotate_key(connection, second, Digest.of("sk-three"), {"rpm_limit": 3}, BY, until=NOW + 9)
    assert [("one", NOW + 5), ("three", None), ("two", NOW + 9)] == sorted(
        (told.removeprefix("sk-"), until)
        for told in ("sk-one", "sk-two", "sk-three")
        for (until,) in connection.execute("SELECT until FROM key_digests WHERE digest = ?", (Digest.of(told).sha256,))
    )
    with pytest.raises(Conflict):
        rotate_key(connection, third, Digest.of("sk-one"), {}, BY, until=None)
    # What is over is cleaned up by the next rotation.
    late = Writing(now_ms=NOW + 6, by="master")
    fourth = rotate_key(connection, third, Digest.of("sk-four"), {}, late, until=NOW + 99)
    assert [(3,)] == connection.execute("SELECT count(*) FROM key_digests").fetchall()
    fifth = rotate_key(connection, fourth, Digest.of("sk-five"), {}, late, until=None)
    assert [(1,)] == connection.execute("SELECT count(*) FROM key_digests").fetchall()
    assert (1, 4, 3) == tuple(fifth.subject.document[field] for field in ("epoch", "rotation_count", "rpm_limit"))
    assert fifth == with_digest(connection, fifth.subject)


def test_what_goes_with_what(connection: sqlite3.Connection) -> None:
    """Keys and memberships of a user or team go with it; a budget in use stays."""
    create(connection, "budget", "b1", {}, BY)
    create(connection, "team", "t1", {"budget_id": "b1"}, BY)
    key(connection, "key-1", "sk-one", user_id="u1", team_id="t1")
    key(connection, "key-2", "sk-two", user_id="u1")
    add_member(connection, "t1", "u1", {}, BY)
    with pytest.raises(Conflict, match="in use by team 't1'"):
        remove(connection, need(connection, "budget", "b1", "id"), BY)

    remove(connection, need(connection, "team", "t1", "team_id"), BY)
    remove(connection, need(connection, "budget", "b1", "id"), BY)

    assert ["key-2"] == [found.id for found in list_keys(connection, KeyFilter())[0]]
    assert [] == members_of(connection, "t1")
    remove(connection, need(connection, "user", "u1", "user_id"), BY)
    for table in ("subjects", "key_digests", "members"):
        assert [(0,)] == connection.execute(f"SELECT count(*) FROM {table}").fetchall()
    assert {("member", "t1/u1"), ("key", "key-1"), ("key", "key-2"), ("team", "t1"), ("user", "u1")} < set(
        changes(connection)
    )


def test_members(connection: sqlite3.Connection) -> None:
    """They come once, change, go, and are set for a user as a whole."""
    for team in ("t1", "t2", "t3"):
        create(connection, "team", team, {}, BY)
    add_member(connection, "t1", "org/u1", {"role": "admin", "max_budget_in_team": 5, "rpm_limit": None}, BY)

    (member,) = members_of(connection, "t1")
    assert ("org/u1", "admin", {"max_budget_in_team": 5}) == (member.user, member.role, member.document)
    with pytest.raises(Conflict):
        add_member(connection, "t1", "org/u1", {}, BY)
    changed = change_member(connection, "t1", "org/u1", {"max_budget_in_team": None, "tpm_limit": 3}, BY)
    assert ("admin", {"tpm_limit": 3}) == (changed.role, changed.document)
    set_teams(connection, "org/u1", ["t2", "t1"], BY)
    assert [("t1", {"tpm_limit": 3}), ("t2", {})] == [
        (member.team, member.document) for member in teams_of(connection, "org/u1")
    ]
    set_teams(connection, "org/u1", ["t3"], BY)
    assert ["t3"] == [member.team for member in teams_of(connection, "org/u1")]
    with pytest.raises(NotFound):
        remove_member(connection, "t1", "org/u1", BY)
    with pytest.raises(NotFound):
        add_member(connection, "t9", "u1", {}, BY)


def test_a_sliding_budget_needs_a_window(connection: sqlite3.Connection) -> None:
    """What has no meaning alone is refused."""
    with pytest.raises(InvalidField, match=r"^budget_sliding: needs a budget_duration"):
        create(connection, "user", "u1", {"budget_sliding": True, "max_budget": 5}, BY)


def test_changes_are_read_as_rows_are_now(connection: sqlite3.Connection) -> None:
    """What was written after a change is read once each, however often it was written, in the order it was."""
    key(connection, "key-1", "sk-one", rpm_limit=1)
    _, seen = subjects.read_all(connection)
    assert subjects.read_changes(connection, seen) is None
    create(connection, "team", "t1", {}, BY)
    for limit in (2, 3):
        change(connection, need(connection, "key", "key-1", ""), {"rpm_limit": limit}, BY)
    add_member(connection, "t1", "u1", {"role": "admin"}, BY)
    remove(connection, need(connection, "team", "t1", ""), BY)

    news = subjects.read_changes(connection, seen)

    assert news is not None
    told, number = news
    assert isinstance(told, list)
    assert ["team t1", "key key-1", "user u1", "member t1/u1"] == [f"{one.kind} {one.id}" for one in told]
    assert (None, '{"rpm_limit":3}', None) == (
        told[0].subject,
        told[1].subject[7] if told[1].subject else "",
        told[3].member,
    )
    assert [Digest.of("sk-one").sha256] == [digest[0] for digest in told[1].digests]
    assert subjects.read_changes(connection, number) is None


def test_whoever_is_far_behind_reads_everything(
    connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Changes are pruned; a reader who missed some is given all there is, and the numbers go on."""
    monkeypatch.setattr(subjects, "KEPT_CHANGES", 3)
    key(connection, "key-1", "sk-one")
    _, seen = subjects.read_all(connection)
    for number in range(5):
        create(connection, "user", f"u{number}", {}, BY)

    assert [("user", "u2"), ("user", "u3"), ("user", "u4")] == changes(connection)
    news = subjects.read_changes(connection, seen)
    assert news is not None
    assert isinstance(news[0], Contents)
    assert (["key-1"], seen + 5) == (list(news[0].keys), news[1])
    # Even with every row pruned the number is known.
    connection.execute("DELETE FROM changes")
    assert seen + 5 == subjects.read_all(connection)[1]


def test_a_directory_that_follows_is_one_that_was_loaded(connection: sqlite3.Connection) -> None:
    """Applying changes comes to the same as reading everything."""
    directory = Directory()
    _, seen = subjects.read_all(connection)
    create(connection, "team", "t1", {"models": ["a"]}, BY)
    key(connection, "key-1", "sk-one", team_id="t1", user_id="u1")
    key(connection, "key-2", "sk-two")
    add_member(connection, "t1", "u1", {"rpm_limit": 2}, BY)
    rotate_key(connection, need_key(connection, "key-1", ""), Digest.of("sk-three"), {}, BY, until=None)
    remove(connection, need(connection, "key", "key-2", ""), BY)
    news = subjects.read_changes(connection, seen)
    assert news is not None
    assert not isinstance(news[0], Contents)
    directory.apply(news[0])

    loaded = Directory()
    loaded.load(subjects.read_all(connection)[0])

    for secret in ("sk-one", "sk-two", "sk-three"):
        sha256 = Digest.of(secret).sha256
        assert loaded.find(sha256, NOW) == directory.find(sha256, NOW)
    assert (1, 1) == (loaded.key_count, directory.key_count)
    assert Change(kind="member", id="t1/u1", member=("t1", "u1", "user", '{"rpm_limit":2}')) in news[0]


def test_spends(connection: sqlite3.Connection) -> None:
    """Sums of an account from a quarter-hour on, and of a key's models; a key's name is no prefix of another's."""
    connection.executemany(
        "INSERT INTO accounts VALUES (?, ?, ?)",
        [
            ("key:key-1", 10, 1),
            ("key:key-1", 11, 2),
            ("key:key-10", 11, 100),
            ("model:key-1/a", 10, 5),
            ("model:key-1/a", 11, 6),
            ("model:key-1/b/c", 11, 7),
            ("model:key-10/a", 11, 100),
        ],
    )

    assert (3, 2, 0) == tuple(spend_since(connection, "key:key-1", quarter) for quarter in (0, 11, 12))
    assert {"a": 11, "b/c": 7} == model_spends(connection, "key-1")
