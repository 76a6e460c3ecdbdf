"""Virtual keys as rows: made, found, rotated. Of the secret itself only the SHA-256 and the last 4 characters are kept.

Everything happens inside one transaction of the caller's. Times are UTC ms.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from bedrock_gateway.access.keys import digest
from bedrock_gateway.access.virtual_keys import tail
from bedrock_gateway.access.windows import after
from bedrock_gateway.errors import Conflict, NotFound
from bedrock_gateway.store.administration import Writing, change, create
from bedrock_gateway.store.subjects import Subject, find, get

__all__ = [
    "Digest",
    "VirtualKey",
    "create_key",
    "expiry",
    "find_key",
    "need_key",
    "read_digests",
    "rotate_key",
    "with_digest",
]

_HEX = re.compile(r"[0-9a-fA-F]{64}")


@attrs.frozen(kw_only=True)
class Digest:
    """What is kept of a secret.

    Attributes:
        sha256: of the whole key.
        tail: its last 4 characters.
    """

    sha256: bytes
    tail: str

    @classmethod
    def of(cls, key: str) -> Digest:
        """Return what is kept of a key."""
        return cls(sha256=digest(key), tail=tail(key))


@attrs.frozen(kw_only=True)
class VirtualKey:
    """A key as it is administered: its row, and what is kept of its current secret."""

    subject: Subject
    digest: Digest


def create_key(
    connection: sqlite3.Connection,
    id_: str,
    secret: Digest,
    given: Mapping[str, Any],
    writing: Writing,
    *,
    expires_at: int | None = None,
) -> VirtualKey:
    """Write a new key.

    Raises:
        Conflict: its alias, or the key itself, is taken.
        NotFound: the team or budget it names is not there.
    """
    _refuse_taken(connection, secret)
    subject = create(connection, "key", id_, given, writing, expires_at=expires_at)
    connection.execute(
        "INSERT INTO key_digests (digest, key, tail, until) VALUES (?, ?, ?, NULL)", (secret.sha256, id_, secret.tail)
    )
    return VirtualKey(subject=subject, digest=secret)


def expiry(given: Mapping[str, Any], writing: Writing) -> dict[str, int | None]:
    """Return when a key ends that is given a ``duration``, as the column to set; nothing where it is given none."""
    if "duration" not in given:
        return {}
    duration = given["duration"]
    return {"expires_at": None if duration is None else after(duration, writing.now_ms)}


def rotate_key(
    connection: sqlite3.Connection,
    key: VirtualKey,
    secret: Digest,
    given: Mapping[str, Any],
    writing: Writing,
    *,
    until: int | None,
    **columns: Any,
) -> VirtualKey:
    """Give a key a new secret; its id, alias, spend and rights stay.

    Without a time of grace the old secret ends now, and with it all credentials that were issued: the epoch is raised.

    Args:
        until: when the old secret ends; None for now.

    Raises:
        Conflict: the new secret is another key's, or its new alias is.
    """
    _refuse_taken(connection, secret)
    id_ = key.subject.id
    if until is None:
        connection.execute("DELETE FROM key_digests WHERE key = ?", (id_,))
    else:
        connection.execute("DELETE FROM key_digests WHERE key = ? AND until <= ?", (id_, writing.now_ms))
        connection.execute("UPDATE key_digests SET until = ? WHERE key = ? AND until IS NULL", (until, id_))
    connection.execute(
        "INSERT INTO key_digests (digest, key, tail, until) VALUES (?, ?, ?, NULL)", (secret.sha256, id_, secret.tail)
    )
    document = key.subject.document
    turned = {
        "epoch": document.get("epoch", 0) + (until is None),
        "rotation_count": document.get("rotation_count", 0) + 1,
        "last_rotation_at": writing.now_ms,
    }
    return VirtualKey(subject=change(connection, key.subject, {**given, **turned}, writing, **columns), digest=secret)


def find_key(connection: sqlite3.Connection, told: str) -> VirtualKey | None:
    """Return the key that somebody names: by itself, by its SHA-256 in hex, or by its stable id."""
    id_ = told
    if told.startswith("sk-") or _HEX.fullmatch(told):
        sha256 = digest(told) if told.startswith("sk-") else bytes.fromhex(told)
        row = connection.execute("SELECT key FROM key_digests WHERE digest = ?", (sha256,)).fetchone()
        if row is None:
            return None
        (id_,) = row
    subject = get(connection, "key", id_)
    return None if subject is None else with_digest(connection, subject)


def need_key(connection: sqlite3.Connection, told: str, field: str, *, alias: str | None = None) -> VirtualKey:
    """Return the key that somebody names, or whose alias that is.

    Raises:
        NotFound: there is none; the message repeats no secret.
    """
    if alias is not None:
        subject = find(connection, "key", alias)
        if subject is None:
            raise NotFound(field, f"{field}: there is no key with the alias {alias!r}")
        return with_digest(connection, subject)
    key = find_key(connection, told)
    if key is None:
        shown = f"sk-...{tail(told)}" if told.startswith("sk-") else repr(told[:64])
        raise NotFound(field, f"{field}: key not found in database: {shown}")
    return key


def with_digest(connection: sqlite3.Connection, subject: Subject) -> VirtualKey:
    """Return a row of a key with what is kept of its secret."""
    return VirtualKey(subject=subject, digest=read_digests(connection, [subject.id])[subject.id])


def read_digests(connection: sqlite3.Connection, ids: Iterable[str]) -> dict[str, Digest]:
    """Return what is kept of the current secrets of some keys."""
    found = {}
    for id_ in ids:
        row = connection.execute(
            "SELECT digest, tail FROM key_digests WHERE key = ? AND until IS NULL", (id_,)
        ).fetchone()
        if row is not None:
            found[id_] = Digest(sha256=row[0], tail=row[1])
    return found


def _refuse_taken(connection: sqlite3.Connection, secret: Digest) -> None:
    if connection.execute("SELECT 1 FROM key_digests WHERE digest = ?", (secret.sha256,)).fetchone() is not None:
        raise Conflict("key", "key: this key is there already; choose another")
