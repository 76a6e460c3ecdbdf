"""Objects made through the gateway: whose they are and where they were made. Knows one table.

Ids are kept as they are: they are no secrets, and what is looked for is never more than one of them.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TypeVar

import attrs

from bedrock_gateway.errors import Unavailable
from bedrock_gateway.store.registry import Registry

__all__ = ["MadeObject", "Objects"]

#: Objects kept at hand.
MAX_KEPT = 16_384
#: Milliseconds an object is remembered after its last use: AWS keeps no session, job or memory for longer.
REMEMBERED_MS = 400 * 86_400_000
#: Milliseconds after which another use is noted.
NOTED_MS = 30 * 86_400_000
#: Objects added between two looks for old ones.
PRUNE_EVERY = 1000
#: Most ids that are asked for in one statement.
_MOST_VALUES = 500

_T = TypeVar("_T")


@attrs.frozen(kw_only=True)
class MadeObject:
    """One object.

    Attributes:
        kind, id: what it is, and what it is kept under (``wire.made_objects.plain_id``).
        caller: stable id of who made it.
        deployment, model, region: where: id of the deployment, model id that was called ("" for none), AWS region.
        call, attempt: ids of the call and the attempt that made it.
        made_at: UTC ms; used_at: the same of a use, where one long after that was noted.
    """

    kind: str
    id: str
    caller: str
    deployment: str
    model: str
    region: str
    call: str
    attempt: str
    made_at: int
    used_at: int | None = None


class Objects:
    """Remembers objects. Used on the event loop only; the database is read and written in the registry's threads.

    ``most``: objects kept at hand.
    """

    def __init__(self, registry: Registry, now_ms: Callable[[], int], *, most: int = MAX_KEPT) -> None:
        self._registry = registry
        self._now_ms = now_ms
        self._most = most

        self._kept: OrderedDict[tuple[str, str], MadeObject] = OrderedDict()
        self._added = 0

    async def find(self, kind: str, id_: str) -> MadeObject | None:
        """Return an object that is about to be used; None where it was not made through this gateway.

        Raises:
            Unavailable: the database cannot be read now.
        """
        key = (kind, id_)
        if key in self._kept:
            self._kept.move_to_end(key)
            found: MadeObject | None = self._kept[key]
        else:
            found = await self._read(_find, kind, id_)
            # What was written meanwhile is newer than what was read.
            found = self._kept.get(key, found)
        if found is None:
            # It may be made the next moment, so that is not kept.
            return None
        self._keep(found)
        now = self._now_ms()
        if now - max(found.made_at, found.used_at or 0) > NOTED_MS:
            found = attrs.evolve(found, used_at=now)
            self._keep(found)
            with contextlib.suppress(Unavailable):
                await self._write(_use, found)
        return found

    async def owners(self, kind: str, ids: Sequence[str]) -> dict[str, str]:
        """Return who made those of some objects that were made through this gateway, by id.

        Raises:
            Unavailable: the database cannot be read now.
        """
        return await self._read(_owners, kind, ids)

    async def add(self, made: MadeObject) -> MadeObject:
        """Remember an object, and return it: as it was, where somebody made it before. Durable when this returns.

        Raises:
            Unavailable: the database takes no records now.
        """
        self._added += 1
        prune_before = self._now_ms() - REMEMBERED_MS if self._added % PRUNE_EVERY == 1 else None
        kept = await self._write(_add, made, prune_before)
        self._keep(kept)
        return kept

    async def settle(self, made: MadeObject) -> None:
        """Note where an object is that was claimed before anything answered. Durable when this returns; the first word
        stands, and whose it is stays.

        Raises:
            Unavailable: the database takes no records now.
        """
        self._keep(await self._write(_settle, made))

    async def _read(self, function: Callable[..., _T], *args: object) -> _T:
        try:
            return await self._registry.read(function, *args)
        except sqlite3.Error as error:
            raise Unavailable(f"Whose an object is cannot be read now ({error}).", retry_after=1) from error

    async def _write(self, function: Callable[..., _T], *args: object) -> _T:
        try:
            return await self._registry.write(function, *args)
        except sqlite3.Error as error:
            raise Unavailable(f"Whose an object is cannot be written now ({error}).", retry_after=1) from error

    def _keep(self, made: MadeObject) -> None:
        self._kept[made.kind, made.id] = made
        self._kept.move_to_end((made.kind, made.id))
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)


_COLUMNS = "kind, id, caller, deployment, model, region, call, attempt, made_at, used_at"


def _find(connection: sqlite3.Connection, kind: str, id_: str) -> MadeObject | None:
    row = connection.execute(f"SELECT {_COLUMNS} FROM objects WHERE kind = ? AND id = ?", (kind, id_)).fetchone()
    return None if row is None else MadeObject(**dict(zip(_COLUMNS.split(", "), row, strict=True)))


def _owners(connection: sqlite3.Connection, kind: str, ids: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for start in range(0, len(ids), _MOST_VALUES):
        some = ids[start : start + _MOST_VALUES]
        among = ", ".join("?" * len(some))
        found.update(
            connection.execute(f"SELECT id, caller FROM objects WHERE kind = ? AND id IN ({among})", (kind, *some))
        )
    return found


def _add(connection: sqlite3.Connection, made: MadeObject, prune_before: int | None) -> MadeObject:
    if prune_before is not None:
        connection.execute("DELETE FROM objects WHERE made_at < ?1 AND coalesce(used_at, 0) < ?1", (prune_before,))
    connection.execute(
        f"INSERT INTO objects ({_COLUMNS}) VALUES ({', '.join('?' * 10)}) ON CONFLICT DO NOTHING", attrs.astuple(made)
    )
    kept = _find(connection, made.kind, made.id)
    assert kept is not None, "it is there now"
    return kept


def _use(connection: sqlite3.Connection, made: MadeObject) -> None:
    connection.execute("UPDATE objects SET used_at = ? WHERE kind = ? AND id = ?", (made.used_at, made.kind, made.id))


def _settle(connection: sqlite3.Connection, made: MadeObject) -> MadeObject:
    connection.execute(
        "UPDATE objects SET deployment = ?, model = ?, region = ?, call = ?, attempt = ? "
        "WHERE kind = ? AND id = ? AND attempt = ''",
        (made.deployment, made.model, made.region, made.call, made.attempt, made.kind, made.id),
    )
    return _find(connection, made.kind, made.id) or made
