"""``/key/info``, ``/key/list``, ``/key/aliases``: virtual keys read, with LiteLLM's paths, parameters and JSON."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

import attrs
from aiohttp import web

from bedrock_gateway.access.callers import Caller
from bedrock_gateway.access.values import Parser, choice, list_of, name, team_identifier, text
from bedrock_gateway.admin.answers import Page, answered, count_of, flag_of, page_of, query_of, small_body_of
from bedrock_gateway.admin.authority import ADMIN, Admin, authority, may_read_all, may_read_own, own_id, told
from bedrock_gateway.admin.figures import View
from bedrock_gateway.admin.granting import owns
from bedrock_gateway.admin.key_rows import key_row, key_rows, key_usage
from bedrock_gateway.errors import AccessDenied, NotFound
from bedrock_gateway.store.keys import VirtualKey, find_key, need_key, read_digests
from bedrock_gateway.store.listing import KEY_ORDERS, KEY_STATES, KeyFilter, list_aliases, list_keys
from bedrock_gateway.store.members import teams_of

__all__ = ["routes"]

_MOST_KEYS = 1000
_LIST: Mapping[str, Parser] = {
    "page": count_of,
    "size": count_of,
    "user_id": name,
    "team_id": team_identifier,
    "key_alias": name,
    "key_hash": text,
    "search": text,
    "status": choice(*KEY_STATES),
    "sort_by": choice(*KEY_ORDERS),
    "sort_order": choice("asc", "desc"),
    "return_full_object": flag_of,
    "include_team_keys": flag_of,
    "substring_matching": flag_of,
}
_ALIASES: Mapping[str, Parser] = {"page": count_of, "size": count_of, "search": text, "team_id": team_identifier}


async def info(request: web.Request) -> dict[str, Any]:
    """Return a key: the one that is named, else the caller's own."""
    admin, caller = request.app[ADMIN], authority(request)
    named = query_of(request, {"key": text}).get("key") or own_id(caller)
    (found,) = await admin.registry.read(_info, admin, caller, {"key": named})
    return found


async def infos(request: web.Request) -> dict[str, Any]:
    """Return several keys."""
    admin, caller = request.app[ADMIN], authority(request)
    named = (await small_body_of(request, {"keys": list_of(text)})).get("keys") or [own_id(caller)]
    found = await admin.registry.read(_info, admin, caller, {f"keys[{index}]": key for index, key in enumerate(named)})
    return {"key": [told["key"] for told in found], "info": [told["info"] for told in found]}


def _info(
    connection: sqlite3.Connection,
    admin: Admin,
    caller: Caller,
    named: Mapping[str, str],
) -> list[dict[str, Any]]:
    view = View.of(connection, admin)
    found = []
    for field, text_ in named.items():
        key = _readable(connection, caller, text_, field)
        row = key_row(key, view)
        token = row.pop("token")
        found.append({"key": token, "info": {**row, **key_usage(key, view)}})
    return found


def _readable(connection: sqlite3.Connection, caller: Caller, named: str, field: str) -> VirtualKey:
    """Return the key that a caller names, to read it. Who may not read every key is not told which there are."""
    try:
        key = need_key(connection, named, field)
        if may_read_all(caller) or key.subject.id == caller.id or (may_read_own(caller) and owns(caller, key.subject)):
            return key
    except NotFound:
        if may_read_all(caller):
            raise
    raise AccessDenied(
        f"Keys are read with the master key, or a key of a proxy_admin or proxy_admin_viewer; others read themselves "
        f"and their user's; {told(caller)}."
    )


async def list_(request: web.Request) -> dict[str, Any]:
    """Return a page of keys: hashes, or whole objects."""
    admin, caller = request.app[ADMIN], authority(request)
    given = query_of(request, _LIST)
    page = page_of(given, most=_MOST_KEYS)
    return await admin.registry.read(_list, admin, caller, given, page)


def _list(
    connection: sqlite3.Connection,
    admin: Admin,
    caller: Caller,
    given: Mapping[str, Any],
    page: Page,
) -> dict[str, Any]:
    view = View.of(connection, admin)
    wanted = _filter(connection, caller, given, view.now_ms)
    keys, total = list_keys(
        connection,
        wanted,
        order=given.get("sort_by", "created_at"),
        descending=given.get("sort_order", "desc") == "desc",
        offset=page.offset,
        limit=page.size,
    )
    if given.get("return_full_object"):
        shown: list[Any] = key_rows(keys, view)
    else:
        digests = read_digests(connection, [key.id for key in keys])
        shown = [digests[key.id].sha256.hex() for key in keys]
    return {
        "keys": shown,
        "total_count": total,
        "current_page": page.number,
        "total_pages": page.pages(total),
    }


def _filter(connection: sqlite3.Connection, caller: Caller, given: Mapping[str, Any], now_ms: int) -> KeyFilter:
    user = given.get("user_id")
    if not may_read_all(caller):
        if not may_read_own(caller):
            raise AccessDenied(f"Keys are listed with the master key, or a key of a user with a role; {told(caller)}.")
        if user not in (None, caller.user):
            raise AccessDenied(f"user_id: only your own keys are listed; {told(caller)}.")
        user = caller.user
    teams = []
    if user is not None and given.get("include_team_keys"):
        teams = [member.team for member in teams_of(connection, user) if member.role == "admin"]
    ids = None
    if "key_hash" in given:
        key = find_key(connection, given["key_hash"])
        ids = [] if key is None else [key.subject.id]
    return KeyFilter(
        ids=ids,
        user=user,
        user_teams=teams,
        team=given.get("team_id"),
        alias=given.get("key_alias"),
        part=given.get("substring_matching", False),
        search=given.get("search"),
        state=given.get("status"),
        now_ms=now_ms,
    )


async def aliases(request: web.Request) -> dict[str, Any]:
    """Return a page of aliases."""
    admin, caller = request.app[ADMIN], authority(request)
    given = query_of(request, _ALIASES)
    page = page_of(given, usual=50, most=_MOST_KEYS)
    return await admin.registry.read(_aliases, admin, caller, given, page)


def _aliases(
    connection: sqlite3.Connection,
    admin: Admin,
    caller: Caller,
    given: Mapping[str, Any],
    page: Page,
) -> dict[str, Any]:
    wanted = _filter(connection, caller, given, admin.now_ms())
    found, total = list_aliases(connection, attrs.evolve(wanted, state=None), offset=page.offset, limit=page.size)
    return {
        "aliases": found,
        "total_count": total,
        "current_page": page.number,
        "total_pages": page.pages(total),
        "size": page.size,
    }


def routes() -> list[web.RouteDef]:
    """Return the routes that read keys."""
    return [
        web.get("/key/info", answered(info)),
        web.post("/v2/key/info", answered(infos)),
        web.get("/key/list", answered(list_)),
        web.get("/key/aliases", answered(aliases)),
    ]
