"""What ``bedrock-gateway key`` does: each action in one transaction on the database.

A new key goes to the output, alone; all words around it go to the error output, so that
``KEY=$(bedrock-gateway key create)`` is the key.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from bedrock_gateway.access.directory import Defaults
from bedrock_gateway.access.issued_credentials import issue
from bedrock_gateway.access.values import Parser, grace, lifetime, text
from bedrock_gateway.access.virtual_keys import ID_BYTES, KEY_BYTES, new_id, new_key
from bedrock_gateway.access.windows import after
from bedrock_gateway.admin.figures import View
from bedrock_gateway.admin.key_rows import key_row, key_rows, key_state, key_usage
from bedrock_gateway.cli.databases import database_of, editing
from bedrock_gateway.cli.key_options import fields_of, start_error
from bedrock_gateway.cli.key_table import print_key, print_keys
from bedrock_gateway.cli.terminal import Terminal
from bedrock_gateway.errors import InvalidField, Refusal, StartError
from bedrock_gateway.store.administration import Writing, change, remove
from bedrock_gateway.store.keys import Digest, VirtualKey, create_key, expiry, find_key, rotate_key, with_digest
from bedrock_gateway.store.listing import KeyFilter, list_keys
from bedrock_gateway.store.root_secret import read_root_secret
from bedrock_gateway.store.subjects import find, transaction

__all__ = ["block", "create", "credentials", "delete", "list_all", "rotate", "show", "unblock", "update"]

BY = "command-line"
_ALSO: Mapping[str, Parser] = {"duration": lifetime}
_ALL = -1  # SQLite's word for no limit


@contextlib.contextmanager
def _writing(args: argparse.Namespace, *, create: bool = False) -> Iterator[tuple[sqlite3.Connection, Writing]]:
    """Open the database for one transaction, and the words for what it refuses."""
    now_ms = time.time_ns() // 1_000_000
    with editing(args, now_ms, create=create) as connection:
        try:
            with transaction(connection):
                yield connection, Writing(now_ms=now_ms, by=BY)
        except Refusal as refusal:
            raise start_error(refusal) from None


@contextlib.contextmanager
def _reading(args: argparse.Namespace) -> Iterator[View]:
    """Open the database to look at one state of it, in nobody's way however long that takes."""
    now_ms = time.time_ns() // 1_000_000
    with editing(args, now_ms) as connection:
        connection.execute("BEGIN")
        try:
            yield View(connection, Defaults(), now_ms)
        finally:
            connection.execute("ROLLBACK")


def create(args: argparse.Namespace) -> int:
    """Make a key and print it.

    Raises:
        StartError: an option is wrong, or the database cannot be used; nothing is written then.
    """
    given = fields_of(args, _ALSO)
    secret = new_key(os.urandom(KEY_BYTES))
    with _writing(args, create=True) as (connection, writing):
        first = connection.execute("SELECT 1 FROM subjects WHERE kind = 'key' LIMIT 1").fetchone() is None
        id_ = new_id("key", os.urandom(ID_BYTES))
        key = create_key(connection, id_, Digest.of(secret), given, writing, **expiry(given, writing))
        row = key_row(key, _view(connection, writing))
    _print_secret(args, secret, row, f"{_called(key)} was made")
    if first:
        _say("From the first key on the gateway is locked: it answers nobody without one.")
    return 0


def _print_secret(args: argparse.Namespace, secret: str, row: Mapping[str, Any], what: str) -> None:
    if args.json:
        print(json.dumps({"key": secret, **row}, indent=2))
    else:
        print(secret)
    sys.stdout.flush()
    _say(f"{what}. It is shown this once: the gateway keeps its SHA-256 only.")


def list_all(args: argparse.Namespace) -> int:
    """List keys.

    Raises:
        StartError: the database cannot be used.
    """
    user, team, search = (
        None if told is None else _text(name, told)
        for name, told in (("--user", args.user), ("--team", args.team), ("--search", args.search))
    )
    with _reading(args) as view:
        wanted = KeyFilter(user=user, team=team, search=search, state=args.status, now_ms=view.now_ms)
        keys, _ = list_keys(view.connection, wanted, limit=_ALL)
        rows = key_rows(keys, view)
    if args.json:
        print(json.dumps(rows, indent=2))
    else:
        print_keys(Terminal.of(sys.stdout, os.environ), rows)
    sys.stdout.flush()
    return 0


def show(args: argparse.Namespace) -> int:
    """Show a key.

    Raises:
        StartError: there is no such key.
    """
    with _reading(args) as view:
        key = _named(view.connection, args.key)
        row = {**key_row(key, view), **key_usage(key, view)}
    if args.json:
        print(json.dumps(row, indent=2))
    else:
        print_key(Terminal.of(sys.stdout, os.environ), row)
    sys.stdout.flush()
    return 0


def update(args: argparse.Namespace) -> int:
    """Change what is given of a key.

    Raises:
        StartError: an option is wrong, or there is no such key; nothing is written then.
    """
    given = fields_of(args, _ALSO)
    if not given:
        raise StartError("nothing to change: give an option, bedrock-gateway key update --help lists them")
    with _writing(args) as (connection, writing):
        key = _named(connection, args.key)
        subject = change(connection, key.subject, given, writing, **expiry(given, writing))
        row = key_row(VirtualKey(subject=subject, digest=key.digest), _view(connection, writing))
    if args.json:
        print(json.dumps(row, indent=2))
        sys.stdout.flush()
    else:
        _say(f"{_called(key)} was changed: {', '.join(given)}.")
    return 0


def block(args: argparse.Namespace) -> int:
    """Keep a key out.

    Raises:
        StartError: there is no such key.
    """
    return _set_blocked(args, True, "is blocked")


def unblock(args: argparse.Namespace) -> int:
    """Let a key in again.

    Raises:
        StartError: there is no such key.
    """
    return _set_blocked(args, False, "is not blocked any more")


def _set_blocked(args: argparse.Namespace, blocked: bool, told: str) -> int:
    with _writing(args) as (connection, writing):
        key = _named(connection, args.key)
        change(connection, key.subject, {"blocked": blocked}, writing)
    _say(f"{_called(key)} {told}.")
    return 0


def delete(args: argparse.Namespace) -> int:
    """Take keys away.

    Raises:
        StartError: one of them is not there; none is deleted then.
    """
    with _writing(args) as (connection, writing):
        keys = {key.subject.id: key for key in (_named(connection, named) for named in args.keys)}
        for key in keys.values():
            remove(connection, key.subject, writing)
        last = connection.execute("SELECT 1 FROM subjects WHERE kind = 'key' LIMIT 1").fetchone() is None
    for key in keys.values():
        _say(f"{_called(key)} was deleted.")
    if last:
        _say("No key is left: without a master key the gateway is open again, to any key from this machine.")
    return 0


def rotate(args: argparse.Namespace) -> int:
    """Give a key a new secret and print it.

    Raises:
        StartError: there is no such key, or the time of grace is none.
    """
    try:
        duration = None if args.grace is None else grace("--grace", args.grace)
    except InvalidField as error:
        raise StartError(error.message) from None
    secret = new_key(os.urandom(KEY_BYTES))
    with _writing(args) as (connection, writing):
        until = None if duration is None else after(duration, writing.now_ms)
        key = rotate_key(connection, _named(connection, args.key), Digest.of(secret), {}, writing, until=until)
        row = key_row(key, _view(connection, writing))
    old = "ended now" if duration is None else f"lives on for {duration}"
    _print_secret(args, secret, row, f"{_called(key)} has this new secret; the old one {old}")
    return 0


def credentials(args: argparse.Namespace) -> int:
    """Print credentials to sign with that stand for a key.

    Raises:
        StartError: there is no such key, it cannot be used now, or the root secret cannot be read or made.
    """
    try:
        duration = None if args.duration is None else lifetime("--duration", args.duration)
    except InvalidField as error:
        raise StartError(error.message) from None
    with _reading(args) as view:
        key = _named(view.connection, args.key)
    state = key_state(key.subject, view.now_ms)
    if state != "active":
        raise StartError(f"{_called(key)} is {state}: credentials for it would be, too")
    root = read_root_secret(os.environ, database_of(args).resolve(), create=True)
    assert root is not None
    expires_at = None if duration is None else after(duration, view.now_ms)
    issued = issue(root, key.subject.id, key.subject.document.get("epoch", 0), expires_at_ms=expires_at)
    if args.json:
        told = {"Version": 1, "AccessKeyId": issued.access_key_id, "SecretAccessKey": issued.secret_access_key}
        if issued.expires_at is not None:
            told["Expiration"] = datetime.fromtimestamp(issued.expires_at / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        print(json.dumps(told))
    else:
        print(f"AWS_ACCESS_KEY_ID={issued.access_key_id}\nAWS_SECRET_ACCESS_KEY={issued.secret_access_key}")
    sys.stdout.flush()
    life = "as long as the key keeps its secret" if duration is None else f"for {duration}"
    _say(f"They stand for {_called(key)} {life}. Point the SDK's endpoint at the gateway.")
    return 0


def _named(connection: sqlite3.Connection, told: str) -> VirtualKey:
    """Return the key that somebody names, by its alias too: what is the id or the hash of one key stays that, whatever
    another is called.
    """
    told = _text("KEY", told)
    key = find_key(connection, told)
    if key is None:
        by_alias = find(connection, "key", told)
        if by_alias is not None:
            return with_digest(connection, by_alias)
        shown = f"sk-...{told[-4:]}" if told.startswith("sk-") else repr(told[:80])
        raise StartError(f"there is no key {shown}; bedrock-gateway key list shows those there are")
    return key


def _text(name: str, told: str) -> str:
    """Return a text of the command line, which may hold bytes that are none.

    Raises:
        StartError: it does.
    """
    try:
        return text(name, told)
    except InvalidField as error:
        raise StartError(error.message) from None


def _called(key: VirtualKey) -> str:
    named = f"Key {key.subject.name!r}" if key.subject.name else "The key"
    return f"{named} ({key.subject.id}, sk-...{key.digest.tail})"


def _view(connection: sqlite3.Connection, writing: Writing) -> View:
    return View(connection, Defaults(), writing.now_ms)


def _say(text: str) -> None:
    print(text, file=sys.stderr)
