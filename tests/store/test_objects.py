"""Objects of keys in the database: the first one has them, they last as long as they are used, and go no sooner."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_asyncio

from bedrock_gateway.access.directory import Directory
from bedrock_gateway.errors import Unavailable
from bedrock_gateway.store.migrations import MIGRATIONS
from bedrock_gateway.store.objects import NOTED_MS, PRUNE_EVERY, REMEMBERED_MS, MadeObject, Objects
from bedrock_gateway.store.registry import Registry
from bedrock_gateway.store.schema import connect, migrate

NOW = 1_795_000_000_000
DAY = 86_400_000


def made(id_: str, **fields: Any) -> MadeObject:
    """Return an object that was made at the beginning."""
    told: dict[str, Any] = {
        **{"kind": "session", "id": id_, "caller": "key-1", "deployment": "d1", "model": "", "region": "us-east-1"},
        **{"call": "c1", "attempt": "a1", "made_at": NOW},
    }
    return MadeObject(**(told | fields))


@attrs.define
class Shelf:
    """A database, what is kept in it, and a clock."""

    path: Path
    registry: Registry
    now: int = NOW

    def objects(self) -> Objects:
        """Return objects as a gateway that has just begun finds them."""
        return Objects(self.registry, lambda: self.now)

    def ids(self) -> list[str]:
        """Return what is in the database."""
        with contextlib.closing(sqlite3.connect(self.path)) as connection:
            return [id_ for (id_,) in connection.execute("SELECT id FROM objects ORDER BY id")]


@pytest_asyncio.fixture
async def shelf(tmp_path: Path) -> AsyncIterator[Shelf]:
    """Make an empty database."""
    path = tmp_path / "ledger.db"
    with contextlib.closing(connect(path)) as connection:
        migrate(connection, path, simulated=False, now_ms=NOW)
    async with await Registry.open(path, directory=Directory()) as registry:
        yield Shelf(path, registry)


async def test_the_first_has_it(shelf: Shelf) -> None:
    """Of many that add one object at once all are told of the same one, and so is who comes after a restart."""
    objects = shelf.objects()
    told = await asyncio.gather(*(objects.add(made("s", caller=f"key-{n}")) for n in range(20)))
    assert {told[0]} == set(told)
    assert told[0] == await objects.find("session", "s") == await shelf.objects().find("session", "s")
    assert (None, None) == (await objects.find("memory", "s"), await objects.find("session", "t"))
    assert {"s": told[0].caller} == await objects.owners("session", ["s", "t"])


async def test_an_object_is_settled_once(shelf: Shelf) -> None:
    """Where a claimed object is, is the first answer's word; its owner and its age stay."""
    objects = shelf.objects()
    await objects.add(made("s", attempt=""))
    await asyncio.gather(*(objects.settle(made("s", caller="key-2", attempt=f"a{n}", region=f"r{n}")) for n in (1, 2)))
    found = await objects.find("session", "s")
    assert found is not None
    assert ("key-1", True) == (
        found.caller,
        found in (made("s", attempt="a1", region="r1"), made("s", attempt="a2", region="r2")),
    )
    assert found == await shelf.objects().find("session", "s")


async def test_what_is_used_is_remembered(shelf: Shelf) -> None:
    """What nobody used for longer than AWS keeps anything is forgotten; what was used since is not."""
    objects = shelf.objects()
    for id_ in ("idle", "used"):
        await objects.add(made(id_))
    shelf.now += REMEMBERED_MS - DAY
    assert None is not await objects.find("session", "used")
    shelf.now += 2 * DAY
    for n in range(PRUNE_EVERY):
        await objects.add(made(f"new{n:04}", made_at=shelf.now))
    assert (["used"], PRUNE_EVERY) == ([id_ for id_ in shelf.ids() if "new" not in id_], len(shelf.ids()) - 1)
    found = await shelf.objects().find("session", "used")
    assert (NOW, NOW + REMEMBERED_MS - DAY) == ((found and found.made_at), (found and found.used_at))


async def test_a_use_is_noted_now_and_then(shelf: Shelf) -> None:
    """Only a use long after the last one that was noted is written; one that cannot be is one of the object all the
    same.
    """
    objects = shelf.objects()
    await objects.add(made("s"))
    shelf.now += NOTED_MS
    assert made("s") == await objects.find("session", "s")
    shelf.now += 1
    with contextlib.closing(sqlite3.connect(shelf.path)) as connection:
        connection.execute("CREATE TRIGGER full BEFORE UPDATE ON objects BEGIN SELECT RAISE(FAIL, 'full'); END")
        assert made("s", used_at=shelf.now) == await objects.find("session", "s")
        connection.execute("DROP TRIGGER full")
    assert made("s", used_at=shelf.now) == await shelf.objects().find("session", "s")


async def test_few_are_kept_at_hand(shelf: Shelf) -> None:
    """However many there are, so many are in memory, those that were used last; the others are read again."""
    objects = Objects(shelf.registry, lambda: NOW, most=4)
    for n in range(6):
        await objects.add(made(f"s{n}"))
        assert None is not await objects.find("session", "s0")
    with contextlib.closing(sqlite3.connect(shelf.path)) as connection, connection:
        connection.execute("DELETE FROM objects")
    found = [n for n in range(6) if await objects.find("session", f"s{n}") is not None]
    assert [0, 3, 4, 5] == found


async def test_a_table_that_is_not_there(shelf: Shelf) -> None:
    """A database that is damaged is one that cannot be read or written now, never a fault of the gateway's."""
    with contextlib.closing(sqlite3.connect(shelf.path)) as connection:
        connection.execute("DROP TABLE objects")
    objects = shelf.objects()
    for asked in (
        objects.find("a", "b"),
        objects.owners("a", ["b"]),
        objects.add(made("s")),
        objects.settle(made("s")),
    ):
        with pytest.raises(Unavailable, match="no such table"):
            await asked


async def test_objects_of_an_earlier_version(tmp_path: Path) -> None:
    """What was made before uses were noted is found after the migration."""
    path = tmp_path / "ledger.db"
    with contextlib.closing(connect(path)) as connection:
        migrate(connection, path, simulated=False, now_ms=NOW, migrations=MIGRATIONS[:4])
        values = attrs.astuple(made("s"))[:9]
        connection.execute(f"INSERT INTO objects VALUES ({', '.join('?' * 9)})", values)
        migrate(connection, path, simulated=False, now_ms=NOW)
    async with await Registry.open(path, directory=Directory()) as registry:
        assert made("s") == await Objects(registry, lambda: NOW).find("session", "s")
