"""A gateway on real sockets in front of a simulator on real sockets, in this process, for the tests of this folder."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import boto3
from botocore.config import Config as BotoConfig

from bedrock_gateway.app import serving
from bedrock_gateway.chain.gateway import Clock, Gateway
from bedrock_gateway.config.loading import load_config
from bedrock_gateway.downstream.limits import Limits
from bedrock_gateway.downstream.sockets import bind
from bedrock_gateway.simulator import INSTANT, Pace, Simulator
from bedrock_gateway.store.limits import LedgerLimits
from bedrock_gateway.upstream.models import load_operations
from bedrock_gateway.upstream.published_prices import load_prices

CLAUDE = "us.anthropic.claude-sonnet-4-20250514-v1:0"
#: One set of credentials a deployment, so that the simulator can tell (and be told) them apart.
CREDENTIALS = {f"AKIDEPLOYMENT{letter}": (f"secret-{letter}", None) for letter in "ABC"}

#: Read once for all gateways of the tests.
OPERATIONS = load_operations()
PRICES = load_prices()

#: A ledger that does not take a disk that stands still for trouble.
PATIENT = LedgerLimits(commit_within_s=20, busy_s=15)

#: What issued credentials follow from.
ROOT = b"root secret of the tests, long enough"

#: A config with one model group of three deployments, and one of one.
GROUPS = """
model_list:
  - model_name: claude
    litellm_params: {model: bedrock/%(claude)s, aws_region_name: us-east-1,
      aws_access_key_id: AKIDEPLOYMENTA, aws_secret_access_key: secret-A,
      aws_bedrock_runtime_endpoint: "%(url)s", order: 1}
  - model_name: claude
    litellm_params: {model: bedrock/%(claude)s, aws_region_name: us-west-2,
      aws_access_key_id: AKIDEPLOYMENTB, aws_secret_access_key: secret-B,
      aws_bedrock_runtime_endpoint: "%(url)s", order: 2}
  - model_name: claude
    litellm_params: {model: bedrock/%(claude)s, aws_region_name: eu-west-1,
      aws_access_key_id: AKIDEPLOYMENTC, aws_secret_access_key: secret-C,
      aws_bedrock_runtime_endpoint: "%(url)s", order: 3}
  - model_name: single
    litellm_params: {model: bedrock/%(claude)s, aws_region_name: us-east-1,
      aws_access_key_id: AKIDEPLOYMENTA, aws_secret_access_key: secret-A, aws_bedrock_runtime_endpoint: "%(url)s"}
"""


@attrs.define(eq=False, repr=False)
class Running:
    """A running gateway.

    Attributes:
        url: ``http://127.0.0.1:PORT``; simulator: what stands in for AWS, at ``upstream``; lines: what was logged of
            calls; clients: what is closed before the gateway stops.
    """

    url: str
    port: int
    gateway: Gateway
    simulator: Simulator
    database: Path
    lines: list[str]
    upstream: str
    clients: contextlib.AsyncExitStack

    def rows(self, sql: str, *values: object) -> list[dict[str, Any]]:
        """Return rows of the ledger, read by a connection of their own."""
        with contextlib.closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(sql, values)]

    async def settled(self) -> None:
        """Wait until no call is under way."""
        async with asyncio.timeout(20):
            while self.gateway.calls:
                self.gateway.idle.clear()
                await self.gateway.idle.wait()

    async def until(self, condition: Callable[[], object]) -> None:
        """Let the loop turn until a condition holds."""
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110 (conditions are of any kind, and nobody tells of them)
                await asyncio.sleep(0)

    def closing(self, client: Any) -> Any:
        """Have a client closed before the gateway stops.

        One that is left to the collector of garbage warns of its open sockets in whichever test runs by then.
        """
        if inspect.iscoroutinefunction(client.close):
            self.clients.push_async_callback(client.close)
        else:
            self.clients.callback(client.close)
        return client

    def client(self, **options: Any) -> Any:
        """Return a boto3 client of the gateway that does not repeat calls."""
        options = {"aws_access_key_id": "any-key", "aws_secret_access_key": "unused"} | options
        config = BotoConfig(retries={"total_max_attempts": 1, "mode": "standard"}, read_timeout=20)
        return self.closing(
            boto3.client(
                "bedrock-runtime",
                endpoint_url=options.pop("endpoint_url", f"{self.url}/bedrock"),
                region_name="us-east-1",
                config=options.pop("config", config),
                **options,
            )
        )


@contextlib.asynccontextmanager
async def running(
    folder: Path,
    config: str | None = GROUPS,
    *,
    environ: Mapping[str, str] | None = None,
    pace: Pace = INSTANT,
    change: Callable[[Gateway], None] | None = None,
    all_of_aws: bool = False,
    limits: Limits | None = None,
    root: bytes | None = ROOT,
    clock: Clock | None = None,
    ledger_limits: LedgerLimits | None = None,
) -> AsyncIterator[Running]:
    """Run a gateway in front of a simulator.

    Args:
        config: YAML; ``%(url)s`` stands for the simulator, ``%(claude)s`` for a model id. None: no config at all,
            everything passes through with ambient credentials.
        all_of_aws: the simulator stands in for every service in every region, as with ``serve --simulate``; else only
            where the config or the environment names it.
        limits: of one connection, where the usual ones would take too long to reach.
        root: the root secret.
        clock: the wall clock of the gateway and of the simulator; the system's by default.
        ledger_limits: sizes and times of the ledger; by default it waits for a disk that stands still.
    """
    seconds = time.time if clock is None else lambda: clock.read() / 1_000_000_000
    simulator = Simulator(credentials=CREDENTIALS, pace=pace, seed=7, clock=seconds)
    async with simulator.serve(port=0) as base_url:
        surroundings = {
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "AKIDEPLOYMENTA",
            "AWS_SECRET_ACCESS_KEY": "secret-A",
            "AWS_BEDROCK_RUNTIME_ENDPOINT": base_url,
        } | dict(environ or {})
        text = None if config is None else config % {"url": base_url, "claude": CLAUDE}
        lines: list[str] = []
        sockets = bind("127.0.0.1", 0)
        port = sockets[0].getsockname()[1]
        database = folder / "ledger.db"
        async with serving(
            load_config(text, environ=surroundings),
            sockets,
            database=database,
            log=lines.append,
            instance="0123456789abcdef",
            pid=os.getpid(),
            simulator=base_url if all_of_aws else None,
            limits=limits,
            root_secret=lambda database: root,
            clock=clock,
            ledger_limits=PATIENT if ledger_limits is None else ledger_limits,
            operations=OPERATIONS,
            prices=PRICES,
        ) as gateway:
            # The choice among deployments is drawn; what a test asks for is to be drawn in every run, or in none.
            gateway.random.seed(7)
            if change is not None:
                change(gateway)
            async with contextlib.AsyncExitStack() as clients:
                yield Running(f"http://127.0.0.1:{port}", port, gateway, simulator, database, lines, base_url, clients)
            # A call that cost more than it had reserved is a fault of a bound, whatever a test looks for.
            assert 0 == gateway.budgets.overruns
