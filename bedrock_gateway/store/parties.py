"""What keys, users and teams are called: reports have ids that outlive them. Knows where names stand; knows no sums."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterable

import attrs

from bedrock_gateway.access.keys import digest

__all__ = ["KeyName", "find_alias", "find_caller", "find_owner", "key_digests", "key_names", "subject_names"]

_KEYS = """
SELECT id, name, user, team, tail, hex(digest) FROM subjects
LEFT JOIN key_digests ON key_digests.key = subjects.id AND until IS NULL
WHERE kind = 'key' AND id IN (SELECT value FROM json_each(?))
"""


@attrs.frozen(kw_only=True)
class KeyName:
    """A virtual key without its secret.

    Attributes:
        id: stable id: the caller of its calls.
        alias: what it was named, or None.
        user, team: whose it is; None for nobody's.
        tail: the last 4 characters of the secret; "" where it has none.
        digest: SHA-256 of the secret, hexadecimal; "" where it has none.
    """

    id: str
    alias: str | None
    user: str | None
    team: str | None
    tail: str
    digest: str

    @property
    def api_key(self) -> str:
        """What LiteLLM calls it: its digest; the id of one without a secret."""
        return self.digest or self.id

    @property
    def shown(self) -> str:
        """What people call it."""
        return self.alias or (f"sk-…{self.tail}" if self.tail else self.id)


def key_names(connection: sqlite3.Connection, ids: Iterable[str]) -> dict[str, KeyName]:
    """Return what is known of callers that are virtual keys, by id; the others, and keys that were deleted, are left
    out.
    """
    return {
        row[0]: KeyName(
            id=row[0], alias=row[1], user=row[2], team=row[3], tail=row[4] or "", digest=(row[5] or "").lower()
        )
        for row in connection.execute(_KEYS, (json.dumps(list(ids)),))
    }


def key_digests(connection: sqlite3.Connection, ids: Iterable[str]) -> dict[str, str]:
    """Return the SHA-256 of virtual keys' current secrets, hexadecimal, by id; of what is no key, or was deleted,
    nothing.
    """
    rows = connection.execute(
        "SELECT key, digest FROM key_digests WHERE key IN (SELECT value FROM json_each(?)) AND until IS NULL",
        (json.dumps(list(ids)),),
    )
    return {key: digest.hex() for key, digest in rows}


def subject_names(connection: sqlite3.Connection, kind: str, ids: Iterable[str]) -> dict[str, str]:
    """Return the names there are of users, teams or whatever ``kind`` is of, by id."""
    rows = connection.execute(
        "SELECT id, name FROM subjects WHERE kind = ? AND name IS NOT NULL AND id IN (SELECT value FROM json_each(?))",
        (kind, json.dumps(list(ids))),
    )
    return dict(rows.fetchall())


def find_caller(connection: sqlite3.Connection, text: str) -> str | None:
    """Return the id of the caller that a text means: a virtual key, its SHA-256, its alias, or the id of a caller that
    there is or that made calls; None for none.
    """
    digests = [digest(text)]
    if re.fullmatch("[0-9a-fA-F]{64}", text):
        digests.append(bytes.fromhex(text))
    for found in digests:
        row = connection.execute("SELECT key FROM key_digests WHERE digest = ?", (found,)).fetchone()
        if row is not None:
            return str(row[0])
    row = connection.execute(
        "SELECT id FROM subjects WHERE kind = 'key' AND id = ?1 "
        "UNION ALL SELECT id FROM subjects WHERE kind = 'key' AND name = ?1 "
        "UNION ALL SELECT caller FROM (SELECT caller FROM rollups WHERE caller = ?1 LIMIT 1)",
        (text,),
    ).fetchone()
    return None if row is None else str(row[0])


def find_owner(connection: sqlite3.Connection, kind: str, text: str) -> str | None:
    """Return the id of the user or team (``kind``) that a text means: its name, or the id of one that there is or whose
    keys made calls; None for none.
    """
    row = connection.execute(
        "SELECT id FROM subjects WHERE kind = ?1 AND id = ?2 "
        "UNION ALL SELECT id FROM subjects WHERE kind = ?1 AND name = ?2 "
        f"UNION ALL SELECT {kind} FROM (SELECT {kind} FROM rollups WHERE {kind} = ?2 AND {kind} <> '' LIMIT 1)",
        (kind, text),
    ).fetchone()
    return None if row is None else str(row[0])


def find_alias(connection: sqlite3.Connection, alias: str) -> str | None:
    """Return the id of the key of an alias, or None."""
    row = connection.execute("SELECT id FROM subjects WHERE kind = 'key' AND name = ?", (alias,)).fetchone()
    return None if row is None else str(row[0])
