"""``/key/…``: virtual keys made, changed and taken away, with LiteLLM's paths, fields and JSON.

Each handler asks who is there, checks everything, writes in one transaction, and answers with the row as it is then.
The key itself leaves once, where it is made. Reading them is for ``key_reading``.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from bedrock_gateway.access.authentication import MASTER
from bedrock_gateway.access.callers import Caller, Role
from bedrock_gateway.access.fields import parse
from bedrock_gateway.access.values import Parser, grace, lifetime, list_of, name, text
from bedrock_gateway.access.virtual_keys import ID_BYTES, KEY_BYTES, new_id, new_key, own_key
from bedrock_gateway.access.windows import after
from bedrock_gateway.admin.answers import answered, body_of, required, small_body_of
from bedrock_gateway.admin.authority import ADMIN, Admin, authority, own_id, told
from bedrock_gateway.admin.figures import View
from bedrock_gateway.admin.granting import changeable_key, check_change, check_grant, check_rotation
from bedrock_gateway.admin.key_rows import key_row
from bedrock_gateway.errors import AccessDenied, InvalidField, Unauthenticated
from bedrock_gateway.store.administration import Writing, change, remove
from bedrock_gateway.store.keys import Digest, VirtualKey, create_key, expiry, rotate_key

__all__ = ["GENERATE", "generate", "new_key_row", "routes"]

GENERATE: Mapping[str, Parser] = {"key": own_key, "duration": lifetime}
"""What a new key takes beside its fields."""

_UPDATE: Mapping[str, Parser] = {"key": text, "duration": lifetime}
_REGENERATE: Mapping[str, Parser] = {**_UPDATE, "new_key": own_key, "grace_period": grace}
_DELETE: Mapping[str, Parser] = {"keys": list_of(text), "key_aliases": list_of(name)}


def _also(admin: Admin, caller: Caller, also: Mapping[str, Parser]) -> Mapping[str, Parser]:
    """Return what a request takes beside a key's fields, and how a list of operations is read: with a look for each
    whether there is one, for those who may set the list.
    """
    if caller.role is not Role.ADMIN:
        return also
    return {**also, "allowed_operations": list_of(admin.operations.parse)}


async def generate(request: web.Request) -> dict[str, Any]:
    """Make a key."""
    admin, caller = request.app[ADMIN], authority(request)
    given = parse("key", await body_of(request), also=_also(admin, caller, GENERATE))
    _refuse_master(admin, given, "key")
    return await admin.registry.write(_generate, admin, caller, given)


def _generate(connection: sqlite3.Connection, admin: Admin, caller: Caller, given: dict[str, Any]) -> dict[str, Any]:
    check_grant(connection, caller, given, raw_models=admin.registry.directory.defaults.raw_models)
    return new_key_row(connection, admin, admin.writing(caller), given)


def new_key_row(
    connection: sqlite3.Connection, admin: Admin, writing: Writing, given: Mapping[str, Any]
) -> dict[str, Any]:
    """Write a new key and return its row, the key itself in it.

    Args:
        given: fields of a key and those of ``GENERATE``.
    """
    secret = given.get("key") or new_key(admin.random_bytes(KEY_BYTES))
    key = create_key(
        connection,
        new_id("key", admin.random_bytes(ID_BYTES)),
        Digest.of(secret),
        {field: value for field, value in given.items() if field != "key"},
        writing,
        **expiry(given, writing),
    )
    return {"key": secret, **key_row(key, View.of(connection, admin))}


def _refuse_master(admin: Admin, given: Mapping[str, Any], field: str) -> None:
    """Refuse the master key as a virtual key: it would outlive its own change.

    Raises:
        InvalidField: it is the master key.
    """
    secret = given.get(field)
    if secret is None:
        return
    with contextlib.suppress(Unauthenticated):
        if admin.find({"authorization": f"Bearer {secret}"}, admin.now_ms()).id == MASTER:
            raise InvalidField(field, "is the master key; a virtual key needs a secret of its own")


async def update(request: web.Request) -> dict[str, Any]:
    """Change what is given of a key."""
    admin, caller = request.app[ADMIN], authority(request)
    given = parse("key", await body_of(request), also=_also(admin, caller, _UPDATE))
    return await admin.registry.write(_update, admin, caller, given)


def _update(connection: sqlite3.Connection, admin: Admin, caller: Caller, given: dict[str, Any]) -> dict[str, Any]:
    key = _named(connection, caller, given)
    check_change(caller, given)
    writing = admin.writing(caller)
    changes = {field: value for field, value in given.items() if field != "key"}
    subject = change(connection, key.subject, changes, writing, **expiry(given, writing))
    row = key_row(VirtualKey(subject=subject, digest=key.digest), View.of(connection, admin))
    return {**row, "key": row["token"]}


def _named(connection: sqlite3.Connection, caller: Caller, given: dict[str, Any]) -> VirtualKey:
    """Return the key a body names: by ``key``, or where that is missing by its alias, which then is no change."""
    if given.get("key") is not None:
        return changeable_key(connection, caller, given["key"], "key")
    if given.get("key_alias") is None:
        raise InvalidField("key", "is missing: the key, its SHA-256 (token), its key_id, or key_alias instead")
    return changeable_key(connection, caller, "", "key_alias", alias=given.pop("key_alias"))


async def regenerate(request: web.Request) -> dict[str, Any]:
    """Give a key a new secret; the old one ends now, or after its time of grace."""
    admin, caller = request.app[ADMIN], authority(request)
    body = await body_of(request)
    if body.pop("new_master_key", None) is not None:
        raise InvalidField("new_master_key", "cannot be set here: the master key stands in the config")
    given = parse("key", body, also=_also(admin, caller, _REGENERATE))
    _refuse_master(admin, given, "new_key")
    if "key" in request.match_info:
        given["key"] = request.match_info["key"]
    elif given.get("key") is None:
        given["key"] = own_id(caller)
    return await admin.registry.write(_regenerate, admin, caller, given)


def _regenerate(connection: sqlite3.Connection, admin: Admin, caller: Caller, given: dict[str, Any]) -> dict[str, Any]:
    key = changeable_key(connection, caller, given.pop("key"), "key")
    check_rotation(connection, caller, key.subject)
    secret = given.pop("new_key", None) or new_key(admin.random_bytes(KEY_BYTES))
    duration = given.pop("grace_period", None)
    check_change(caller, given)
    writing = admin.writing(caller)
    until = None if duration is None else after(duration, writing.now_ms)
    key = rotate_key(connection, key, Digest.of(secret), given, writing, until=until, **expiry(given, writing))
    return {"key": secret, **key_row(key, View.of(connection, admin))}


async def delete(request: web.Request) -> dict[str, Any]:
    """Take keys away, all that are named or none."""
    admin, caller = request.app[ADMIN], authority(request)
    given = await small_body_of(request, _DELETE)
    keys, aliases = given.get("keys", []), given.get("key_aliases", [])
    if not aliases:
        required(given, "keys", "a list of keys, of their SHA-256 or key_ids, or key_aliases instead")
    await admin.registry.write(_delete, admin, caller, keys, aliases)
    return {"deleted_keys": [*keys, *aliases]}


def _delete(
    connection: sqlite3.Connection, admin: Admin, caller: Caller, keys: Sequence[str], aliases: Sequence[str]
) -> None:
    found = [
        *(changeable_key(connection, caller, key, f"keys[{index}]") for index, key in enumerate(keys)),
        *(
            changeable_key(connection, caller, "", f"key_aliases[{index}]", alias=alias)
            for index, alias in enumerate(aliases)
        ),
    ]
    for key in found:
        remove(connection, key.subject, admin.writing(caller))


async def block(request: web.Request) -> dict[str, Any]:
    """Keep a key out until it is unblocked."""
    return await _set_blocked(request, blocked=True)


async def unblock(request: web.Request) -> dict[str, Any]:
    """Let a blocked key in again."""
    return await _set_blocked(request, blocked=False)


async def _set_blocked(request: web.Request, *, blocked: bool) -> dict[str, Any]:
    admin, caller = request.app[ADMIN], authority(request)
    named = required(await small_body_of(request, {"key": text}), "key", "the key, its SHA-256 (token), or its key_id")
    return await admin.registry.write(_block, admin, caller, named, blocked=blocked)


def _block(
    connection: sqlite3.Connection, admin: Admin, caller: Caller, named: str, *, blocked: bool
) -> dict[str, Any]:
    key = changeable_key(connection, caller, named, "key")
    if not blocked and caller.role is not Role.ADMIN:
        raise AccessDenied(f"Keys are unblocked with the master key, or a key of a proxy_admin; {told(caller)}.")
    writing = admin.writing(caller)
    subject = change(connection, key.subject, {"blocked": blocked}, writing)
    return key_row(VirtualKey(subject=subject, digest=key.digest), View.of(connection, admin))


def routes() -> list[web.RouteDef]:
    """Return the routes that write keys."""
    return [
        web.post("/key/generate", answered(generate)),
        web.post("/key/update", answered(update)),
        web.post("/key/delete", answered(delete)),
        web.post("/key/block", answered(block)),
        web.post("/key/unblock", answered(unblock)),
        web.post("/key/regenerate", answered(regenerate)),
        web.post("/key/{key}/regenerate", answered(regenerate)),
    ]
