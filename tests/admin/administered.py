"""The admin API on a real socket, over a real registry, directory and database, for the tests of this folder."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import attrs
from aiohttp import web

from bedrock_gateway.access.authentication import Callers
from bedrock_gateway.access.callers import Caller
from bedrock_gateway.access.directory import Directory
from bedrock_gateway.access.keys import digest
from bedrock_gateway.access.operation_names import OperationNames
from bedrock_gateway.admin import activity, administered_routes, spend, spend_reports
from bedrock_gateway.admin.authority import ADMIN, Admin
from bedrock_gateway.store.registry import Registry
from bedrock_gateway.store.schema import connect, migrate
from bedrock_gateway.upstream.models import load_operations

MASTER = "sk-master-key-of-the-tests"
#: 2026-11-18 11:06:40 UTC.
NOW = 1_795_000_000_000
OPERATIONS = OperationNames(load_operations(["bedrock-runtime", "bedrock-agent-runtime", "bedrock"]))
TABLES = ("subjects", "key_digests", "members", "accounts")


@attrs.define(eq=False)
class Api:
    """A client of the admin API.

    Attributes:
        now: UTC ms, the only clock.
    """

    session: aiohttp.ClientSession
    url: str
    registry: Registry
    database: Path
    now: int = NOW
    made: int = 0

    async def call(self, method: str, path: str, *, key: str | None = MASTER, **options: Any) -> tuple[int, Any]:
        """Send a request; return status and JSON."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        async with self.session.request(method, self.url + path, headers=headers, **options) as answer:
            return answer.status, json.loads(await answer.read())

    async def post(self, path: str, body: Any = None, *, key: str | None = MASTER) -> Any:
        """Post JSON; return the JSON of an answer that has to be 200."""
        status, told = await self.call("POST", path, key=key, json={} if body is None else body)
        assert (200, told) == (status, told)
        return told

    async def get(self, path: str, *, key: str | None = MASTER, **params: str) -> Any:
        """Get JSON; the answer has to be 200."""
        status, told = await self.call("GET", path, key=key, params=params)
        assert (200, told) == (status, told)
        return told

    async def refused(self, path: str, body: Any, *, key: str | None = MASTER) -> tuple[int, str | None, str]:
        """Post JSON; return status, named field and message of a refusal, which has to leave everything as it was."""
        before = self.everything()
        status, told = await self.call("POST", path, key=key, json=body)
        assert before == self.everything()
        return refusal(status, told)

    def everything(self) -> dict[str, list[tuple[Any, ...]]]:
        """Return every row of what is administered."""
        with contextlib.closing(sqlite3.connect(self.database)) as connection:
            return {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES}

    def spend(self, account: str, nano: int, at_ms: int = NOW) -> None:
        """Book money."""
        with contextlib.closing(sqlite3.connect(self.database)) as connection, connection:
            connection.execute("INSERT INTO accounts VALUES (?, ?, ?)", (account, at_ms // 900_000, nano))

    def caller(self, key: str) -> Caller | None:
        """Return who has a key, as calls see it."""
        return self.registry.directory.find(digest(key), self.now)

    def random_bytes(self, count: int) -> bytes:
        """Return other bytes every time, the same ones in every test."""
        self.made += 1
        return self.made.to_bytes(count, "big")


def refusal(status: int, told: Any) -> tuple[int, str | None, str]:
    """Return status, named field and message of a refusal in LiteLLM's shape."""
    error = told["error"]
    assert {"message", "type", "param", "code"} == set(error)
    assert str(status) == error["code"]
    return status, error["param"], error["message"]


@contextlib.asynccontextmanager
async def administered(
    folder: Path, *, master_key: str | None = MASTER, body_seconds: float = 30.0
) -> AsyncIterator[Api]:
    """Serve the admin API of an empty database."""
    database = folder / "ledger.db"
    connection = connect(database)
    migrate(connection, database, simulated=False, now_ms=NOW)
    connection.close()
    directory = Directory()
    callers = Callers.of(master_key=master_key, directory=directory)
    async with (
        await Registry.open(database, directory=directory) as registry,
        aiohttp.ClientSession() as session,
    ):
        app = web.Application()
        api = Api(session, "", registry, database)
        app[ADMIN] = Admin(
            registry=registry,
            find=callers.find,
            now_ms=lambda: api.now,
            random_bytes=lambda n: api.random_bytes(n),
            operations=OPERATIONS,
            body_seconds=body_seconds,
        )
        for part in (administered_routes, spend, spend_reports, activity):
            app.add_routes(part.routes())
        runner = web.AppRunner(app, access_log=None, lingering_time=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        api.url = f"http://{host}:{port}"
        yield api
        await runner.cleanup()
