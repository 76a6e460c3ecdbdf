"""Keys, users and teams are found by what people call them, and shown so."""

from __future__ import annotations

import sqlite3

from bedrock_gateway.store.parties import (
    find_alias,
    find_caller,
    find_owner,
    key_digests,
    key_names,
    subject_names,
)


def test_a_key_by_any_of_its_names(filled: sqlite3.Connection) -> None:
    """The key itself, its SHA-256, its alias and its id lead to it; a caller that is no key goes by its id."""
    from filled import key_text

    id_ = "key-000000000004"
    sha256 = key_digests(filled, [id_])[id_]

    assert [id_] * 5 == [
        find_caller(filled, text) for text in (key_text(4, 7), sha256, sha256.upper(), "service 4", id_)
    ]
    assert (id_, None) == (find_alias(filled, "service 4"), find_alias(filled, id_))
    assert [None] * 4 == [find_caller(filled, text) for text in ("", "local", "sk-unknown", "f" * 64)]


def test_callers_outlive_their_keys(filled_path: object) -> None:
    """A key that was deleted, or was none, is found by its id as long as there are calls of it."""
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE subjects (kind, id, name, user, team)")
    connection.execute("CREATE TABLE key_digests (digest, key, tail, until)")
    connection.execute("CREATE TABLE rollups (caller, user, team)")
    connection.execute("INSERT INTO rollups VALUES ('master', 'u', '')")

    assert ["master", "u", None, None] == [
        find_caller(connection, "master"),
        find_owner(connection, "user", "u"),
        find_owner(connection, "team", ""),
        find_caller(connection, "u"),
    ]
    connection.close()


def test_owners(filled: sqlite3.Connection) -> None:
    """Users and teams are found by id and by name."""
    assert ["team-00000", "team-00000", "user-000001", None] == [
        find_owner(filled, "team", "team-00000"),
        find_owner(filled, "team", "Team 0"),
        find_owner(filled, "user", "user-000001"),
        find_owner(filled, "user", "Team 0"),
    ]


def test_names(filled: sqlite3.Connection) -> None:
    """Names come for those that have any, all at once; the current secret of a key is told by its digest and end."""
    ids = ["key-000000000003", "key-000000000004", "master"]
    keys = key_names(filled, ids)
    row = filled.execute("SELECT hex(digest), tail FROM key_digests WHERE key = 'key-000000000003'").fetchone()

    assert set(ids[:2]) == set(keys)
    assert (None, *row) == (keys[ids[0]].alias, keys[ids[0]].digest.upper(), keys[ids[0]].tail)
    assert (f"sk-…{row[1]}", "service 4") == (keys[ids[0]].shown, keys[ids[1]].shown)
    assert {ids[1]: "service 4"} == subject_names(filled, "key", ids)
    assert {id_: keys[id_].api_key for id_ in ids[:2]} == key_digests(filled, ids)
