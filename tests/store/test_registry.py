"""The registry: one writer, one reader, and a directory that is never behind what it wrote itself."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from bedrock_gateway.access.directory import Directory
from bedrock_gateway.errors import Conflict, StartError, Unavailable
from bedrock_gateway.store import registry as module
from bedrock_gateway.store import subjects
from bedrock_gateway.store.administration import Writing, create, remove
from bedrock_gateway.store.keys import Digest, create_key, find_key, rotate_key
from bedrock_gateway.store.registry import Registry
from bedrock_gateway.store.schema import connect, migrate

NOW = 1_795_000_000_000
BY = Writing(now_ms=NOW, by="master")


def add_key(connection: sqlite3.Connection, number: int) -> str:
    """Write a key."""
    return create_key(connection, f"key-{number}", Digest.of(f"sk-{number}"), {}, BY).subject.id


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Make an empty database."""
    path = tmp_path / "ledger.db"
    connection = connect(path)
    migrate(connection, path, simulated=False, now_ms=NOW)
    connection.close()
    return path


@pytest.fixture
def elsewhere(database: Path) -> Iterator[sqlite3.Connection]:
    """Connect as another process would."""
    with contextlib.closing(connect(database)) as connection:
        yield connection


@pytest_asyncio.fixture
async def registry(database: Path) -> AsyncIterator[Registry]:
    """Open a registry."""
    async with await Registry.open(database, directory=Directory()) as opened:
        yield opened


def knows(registry: Registry, number: int) -> bool:
    """Tell whether the directory has a key."""
    return registry.directory.find(Digest.of(f"sk-{number}").sha256, NOW) is not None


async def test_it_begins_with_what_is_there(database: Path, elsewhere: sqlite3.Connection) -> None:
    """The directory is filled before ``open`` returns."""
    add_key(elsewhere, 1)

    async with await Registry.open(database, directory=Directory()) as registry:
        assert (True, 1) == (knows(registry, 1), registry.directory.key_count)


async def test_what_is_written_is_known_at_once(registry: Registry) -> None:
    """When ``write`` returns the directory has it, and listeners were told."""
    told: list[tuple[str, str]] = []
    registry.on_change.append(lambda kind, id_: told.append((kind, id_)))

    assert "key-1" == await registry.write(add_key, 1)

    assert (True, [("key", "key-1")]) == (knows(registry, 1), told)


async def test_a_refusal_writes_nothing(registry: Registry, elsewhere: sqlite3.Connection) -> None:
    """What the function raises comes out, and its transaction is rolled back."""

    def fail(connection: sqlite3.Connection) -> None:
        add_key(connection, 1)
        raise Conflict("key", "taken")

    with pytest.raises(Conflict, match="taken"):
        await registry.write(fail)

    assert (False, [(0,)]) == (
        knows(registry, 1),
        elsewhere.execute("SELECT count(*) FROM subjects").fetchall(),
    )
    await registry.write(add_key, 2)
    assert knows(registry, 2)


async def test_readers_see_one_state_and_write_nothing(registry: Registry, elsewhere: sqlite3.Connection) -> None:
    """Two statements of a read see the same rows, whatever is written in between; a read cannot write."""

    def count_twice(connection: sqlite3.Connection) -> list[int]:
        counts = []
        for number in (1, 2):
            counts.append(connection.execute("SELECT count(*) FROM subjects").fetchone()[0])
            add_key(elsewhere_in_thread, number)
        return counts

    path = elsewhere.execute("PRAGMA database_list").fetchone()[2]
    elsewhere_in_thread = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    assert [0, 0] == await registry.read(count_twice)
    elsewhere_in_thread.close()
    with pytest.raises(Unavailable, match="cannot be read now"):
        await registry.read(add_key, 3)


async def test_what_others_write_arrives(registry: Registry, elsewhere: sqlite3.Connection) -> None:
    """The registry looks by itself, twice a second."""
    add_key(elsewhere, 1)
    seen = asyncio.Event()
    registry.on_change.append(lambda kind, id_: seen.set())

    async with asyncio.timeout(10):
        await seen.wait()

    assert knows(registry, 1)


async def test_a_secret_passes_from_one_key_to_another(registry: Registry, elsewhere: sqlite3.Connection) -> None:
    """What a deleted key was known by belongs to the key that has it now, in whatever order both are told."""
    with subjects.transaction(elsewhere):
        add_key(elsewhere, 1)
    await registry.refresh()
    with subjects.transaction(elsewhere):
        add_key(elsewhere, 2)
        gone = find_key(elsewhere, "key-1")
        heir = find_key(elsewhere, "key-2")
        assert gone is not None
        assert heir is not None
        remove(elsewhere, gone.subject, BY)
        rotate_key(elsewhere, heir, gone.digest, {}, BY, until=None)

    await registry.refresh()

    assert [True, False] == [knows(registry, number) for number in (1, 2)]


async def test_a_long_list_of_changes_is_read_as_a_whole(registry: Registry, elsewhere: sqlite3.Connection) -> None:
    """Of more than a thousand changes at once everything is read anew; listeners are told so."""
    told: list[tuple[str, str]] = []
    registry.on_change.append(lambda kind, id_: told.append((kind, id_)))
    with subjects.transaction(elsewhere):
        for number in range(1001):
            add_key(elsewhere, number)

    await registry.refresh()

    assert (1001, [("", "")]) == (registry.directory.key_count, told)


async def test_old_news_does_not_undo_new_ones(registry: Registry, elsewhere: sqlite3.Connection) -> None:
    """What was read before something was written is not applied after it."""
    add_key(elsewhere, 1)
    looks = [asyncio.create_task(registry.refresh()) for _ in range(3)]
    await asyncio.gather(*(registry.write(add_key, number) for number in range(2, 12)), *looks)
    await registry.refresh()

    assert all(knows(registry, number) for number in range(1, 12))


async def test_a_locked_database_is_waited_for_and_told(
    database: Path, elsewhere: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that gets no lock is 503 with the reason; reads and calls go on; afterwards all is well."""
    monkeypatch.setattr(module, "_BUSY_S", 0.05)
    async with await Registry.open(database, directory=Directory()) as registry:
        await registry.write(add_key, 1)
        elsewhere.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match=r"Nothing was written: .* \(database is locked\)") as caught:
            await registry.write(add_key, 2)
        assert 1 == caught.value.retry_after
        assert knows(registry, 1)
        elsewhere.execute("ROLLBACK")
        await registry.write(add_key, 2)
        assert knows(registry, 2)


async def test_writes_do_not_queue_for_ever(database: Path) -> None:
    """Where one write takes long, those behind it are told so instead of waiting for each other; it is itself done."""
    go = threading.Event()
    async with await Registry.open(database, directory=Directory(), queued_s=0.5) as registry:
        first = asyncio.create_task(registry.write(lambda connection: go.wait()))
        waiting = [asyncio.create_task(registry.write(lambda connection: None)) for _ in range(3)]
        asyncio.get_running_loop().call_later(0.7, go.set)

        told = await asyncio.gather(first, *waiting, return_exceptions=True)
        again = await registry.write(lambda connection: "written")

    assert [True, Unavailable, Unavailable, Unavailable] == [told[0], *map(type, told[1:])]
    assert "written" == again


async def test_a_broken_database_leaves_the_directory_as_it_is(
    database: Path, elsewhere: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be read is logged once, keys go on working, and when it can be read again that is logged, too."""
    monkeypatch.setattr(module, "POLL_S", 0.001)
    caplog.set_level(logging.WARNING, "bedrock_gateway.store")
    async with await Registry.open(database, directory=Directory()) as registry:
        await registry.write(add_key, 1)
        elsewhere.execute("ALTER TABLE changes RENAME TO gone")
        async with asyncio.timeout(10):
            while not caplog.messages:  # noqa: ASYNC110 (the log tells nobody)
                await asyncio.sleep(0)
        with pytest.raises(sqlite3.Error):
            await registry.refresh()
        assert knows(registry, 1)
        elsewhere.execute("ALTER TABLE gone RENAME TO changes")
        async with asyncio.timeout(10):
            while len(caplog.messages) < 2:  # noqa: ASYNC110 (the log tells nobody)
                await asyncio.sleep(0)

    lost, again = caplog.messages
    assert lost.startswith(f"keys, users and teams stay as they are, {database} cannot be read: no such table: changes")
    assert f"keys, users and teams are read again from {database}" == again


async def test_a_listener_that_fails_stops_nothing(
    database: Path, elsewhere: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault of whoever listens is logged, and the directory goes on following."""
    monkeypatch.setattr(module, "POLL_S", 0.001)

    def fail(kind: str, id_: str) -> None:
        raise KeyError(id_)

    async with await Registry.open(database, directory=Directory()) as registry:
        registry.on_change.append(fail)
        for number in (1, 2):
            add_key(elsewhere, number)
            async with asyncio.timeout(10):
                while not knows(registry, number):  # noqa: ASYNC110 (listeners fail here)
                    await asyncio.sleep(0)

    assert {"a change of keys, users or teams could not be taken over"} == set(caplog.messages)


async def test_it_lets_go(database: Path) -> None:
    """Closed twice is closed; what is asked afterwards is refused."""
    registry = await Registry.open(database, directory=Directory())
    await registry.aclose()
    await registry.aclose()

    with pytest.raises(StartError, match="the registry is closed"):
        await registry.read(subjects.get, "key", "key-1")


async def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    """It is a fault of the start, in one line."""
    path = tmp_path / "ledger.db"
    path.write_text("hello" * 1000)

    with pytest.raises(StartError, match="is not a SQLite database"):
        await Registry.open(path, directory=Directory())


async def test_writes_are_one_after_the_other(registry: Registry) -> None:
    """Of many that want one alias at once exactly one gets it."""

    def add(connection: sqlite3.Connection, number: int) -> None:
        create(connection, "team", f"t{number}", {"team_alias": "research"}, BY)

    done = await asyncio.gather(*(registry.write(add, number) for number in range(20)), return_exceptions=True)

    assert ([None], 19) == (
        [one for one in done if one is None],
        sum(isinstance(one, Conflict) for one in done),
    )
