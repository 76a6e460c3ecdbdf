"""A gateway on real sockets in front of a simulator, for the tests of models added over the API."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import attrs

from bedrock_gateway.app import serving
from bedrock_gateway.chain.gateway import Gateway
from bedrock_gateway.config.loading import load_config
from bedrock_gateway.downstream.sockets import bind
from bedrock_gateway.simulator import INSTANT, Simulator
from bedrock_gateway.store.administration import Writing
from bedrock_gateway.store.keys import Digest, create_key
from bedrock_gateway.upstream.models import load_operations
from bedrock_gateway.upstream.published_prices import load_prices

MASTER = "sk-the-master-key-0123456789"
NOVA = "us.amazon.nova-pro-v1:0"
CLAUDE = "us.anthropic.claude-sonnet-4-20250514-v1:0"
#: Read once for all gateways of the tests.
OPERATIONS = load_operations()
PRICES = load_prices()
ROOT = b"a root secret of thirty-two byte"
#: What the simulator takes: the config's credentials, and those of models that are added.
CREDENTIALS = {"AKIDEPLOYMENTA": ("secret-A", None), "AKIADDED": ("hush-hush-hush", None)}

FILE = """
model_list:
  - model_name: claude
    litellm_params: {model: bedrock/%(claude)s, aws_region_name: us-east-1, weight: 2,
      aws_access_key_id: AKIDEPLOYMENTA, aws_secret_access_key: secret-A, aws_bedrock_runtime_endpoint: "%(url)s"}
    model_info: {id: of-the-file, note: kept}
  - model_name: bedrock/*
    litellm_params: {model: bedrock/*, aws_region_name: us-east-1, aws_access_key_id: AKIDEPLOYMENTA,
      aws_secret_access_key: secret-A, aws_bedrock_runtime_endpoint: "%(url)s"}
router_settings: {model_group_alias: {sonnet: claude, old: {model: claude, hidden: true}}}
"""


@attrs.define(eq=False, repr=False)
class Running:
    """A running gateway.

    Attributes:
        url: ``http://127.0.0.1:PORT``; upstream: base URL of the simulator.
    """

    url: str
    upstream: str
    gateway: Gateway
    simulator: Simulator
    database: Path
    session: aiohttp.ClientSession

    async def ask(self, method: str, path: str, body: Any = None, *, key: str | None = MASTER) -> tuple[int, Any]:
        """Return status and JSON of an answer.

        Args:
            body: sent as JSON; bytes as they are.
        """
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        sent: dict[str, Any] = {"data": body} if isinstance(body, bytes) else {"json": body} if body is not None else {}
        async with self.session.request(method, f"{self.url}{path}", headers=headers, **sent) as answer:
            return answer.status, await answer.json()

    async def add(self, name: str = "nova", info: Mapping[str, Any] | None = None, **params: Any) -> tuple[int, Any]:
        """Add a model whose calls reach the simulator with credentials of its own."""
        given = {
            "model": f"bedrock/{NOVA}",
            "aws_region_name": "us-east-1",
            "api_base": self.upstream,
            "aws_access_key_id": "AKIADDED",
            "aws_secret_access_key": "hush-hush-hush",
        } | params
        given = {param: value for param, value in given.items() if value is not None}
        return await self.ask(
            "POST", "/model/new", {"model_name": name, "litellm_params": given, "model_info": dict(info or {})}
        )

    async def call(self, model: str, *, key: str | None = MASTER) -> tuple[int, Any]:
        """Call a model."""
        return await self.ask(
            "POST",
            f"/bedrock/model/{model}/converse",
            {"messages": [{"role": "user", "content": [{"text": "hello"}]}]},
            key=key,
        )

    def sent(self, header: str) -> str:
        """Return a header (lower-case name) of the last request the simulator got."""
        return {name.lower(): value for name, value in self.simulator.received[-1].headers}[header]

    async def key(self, number: int = 1, **fields: Any) -> str:
        """Make a virtual key with some fields, and return it."""
        key = f"sk-virtual-key-{number:032}"
        await self.gateway.registry.write(
            create_key, f"key-{number}", Digest.of(key), fields, Writing(now_ms=1, by="test"), expires_at=None
        )
        return key

    async def until(self, condition: Callable[[], object]) -> None:
        """Let the loop turn until a condition holds."""
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110 (conditions are of any kind, and nobody tells of them)
                await asyncio.sleep(0)

    def written(self) -> bytes:
        """Return every byte of the database's files."""
        return b"".join(path.read_bytes() for path in self.database.parent.iterdir())

    async def names(self, *, key: str | None = MASTER) -> list[str]:
        """Return the names that ``/v1/models`` lists."""
        _, told = await self.ask("GET", "/v1/models", key=key)
        return [entry["id"] for entry in told["data"]]

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Return rows of the database, read by a connection of their own."""
        with contextlib.closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
            return connection.execute(sql, values).fetchall()


@contextlib.asynccontextmanager
async def aws() -> AsyncIterator[tuple[Simulator, str]]:
    """Run a simulator, for gateways that are started one after the other; give its base URL too."""
    simulator = Simulator(credentials=CREDENTIALS, pace=INSTANT, seed=7)
    async with simulator.serve(port=0) as url:
        yield simulator, url


@contextlib.asynccontextmanager
async def running(
    folder: Path,
    settings: str = "",
    *,
    before: tuple[Simulator, str] | None = None,
    config: str = FILE,
    locked: bool = True,
    root: bytes | None = ROOT,
) -> AsyncIterator[Running]:
    """Run a gateway.

    Args:
        settings: further lines of ``general_settings``.
        before: the simulator of a gateway that ran before; one of its own where there was none.
        config: YAML; ``%(url)s`` stands for the simulator.
        locked: with a master key.
        root: the root secret.
    """
    async with contextlib.AsyncExitStack() as stack:
        simulator, upstream = before if before is not None else await stack.enter_async_context(aws())
        text = config % {"url": upstream, "claude": CLAUDE}
        lines = [f"allowed_endpoints: ['{upstream}']", *settings.splitlines()]
        lines += [f"master_key: {MASTER}"] if locked else []
        text += "general_settings:\n" + "".join(f"  {line}\n" for line in lines)
        surroundings = {"AWS_ACCESS_KEY_ID": "AKIDEPLOYMENTA", "AWS_SECRET_ACCESS_KEY": "secret-A"}
        sockets = bind("127.0.0.1", 0)
        url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
        database = folder / "ledger.db"
        gateway = await stack.enter_async_context(
            serving(
                load_config(text, environ=surroundings),
                sockets,
                database=database,
                log=lambda _: None,
                instance="0123456789abcdef",
                pid=os.getpid(),
                root_secret=lambda _: root,
                operations=OPERATIONS,
                prices=PRICES,
            )
        )
        session = await stack.enter_async_context(aiohttp.ClientSession())
        yield Running(url, upstream, gateway, simulator, database, session)
