"""A simulator on a free port and stock boto3 clients for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import boto3
import pytest
import pytest_asyncio
from botocore.config import Config
from simulator_requests import ACCESS_KEY_ID, API_KEY, REGION, SECRET, SESSION_KEY_ID, SESSION_TOKEN

from bedrock_gateway.simulator import Simulator


@pytest.fixture(scope="session")
def session() -> boto3.Session:
    """Give one boto3 session, whose loader remembers the service models."""
    return boto3.Session(aws_access_key_id=ACCESS_KEY_ID, aws_secret_access_key=SECRET, region_name=REGION)


@pytest.fixture
def simulator() -> Simulator:
    """Give a simulator that is not listening yet."""
    return Simulator(
        credentials={ACCESS_KEY_ID: (SECRET, None), SESSION_KEY_ID: (SECRET, SESSION_TOKEN)},
        api_keys=(API_KEY,),
        seed=7,
        control=True,
    )


@pytest_asyncio.fixture
async def base_url(simulator: Simulator) -> AsyncIterator[str]:
    """Let the simulator listen for the time of a test."""
    async with simulator.serve() as url:
        yield url


@pytest.fixture
def make_client(session: boto3.Session) -> Iterator[Callable[..., Any]]:
    """Make boto3 clients that try once and are closed at the end."""
    made: list[Any] = []

    def make(base_url: str, service: str = "bedrock-runtime", *, attempts: int = 1, **options: Any) -> Any:
        config = Config(
            retries={"total_max_attempts": attempts, "mode": "standard"},
            read_timeout=options.pop("read_timeout", 20),
            max_pool_connections=options.pop("connections", 10),
        )
        client = session.client(service, endpoint_url=base_url, config=config, **options)
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


@pytest.fixture
def runtime(base_url: str, make_client: Callable[..., Any]) -> Any:
    """Give a boto3 client of bedrock-runtime."""
    return make_client(base_url)


@pytest.fixture
def call() -> Callable[..., Any]:
    """Run a blocking function in a thread, so that the simulator's loop runs on."""
    return asyncio.to_thread
