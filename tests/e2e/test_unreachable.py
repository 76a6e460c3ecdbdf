"""Upstreams no connection can be made to: nothing was sent, so the next deployment is asked and nothing is booked."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from running import Running, running

from bedrock_gateway.chain.gateway import Gateway

#: A group whose first deployment is %s, and whose second one answers.
CONFIG = """
model_list:
  - model_name: claude
    litellm_params: {model: bedrock/%%(claude)s, aws_region_name: us-east-1, order: 1, %s
      aws_access_key_id: AKIDEPLOYMENTA, aws_secret_access_key: secret-A}
  - model_name: claude
    litellm_params: {model: bedrock/%%(claude)s, aws_region_name: us-west-2, order: 2,
      aws_access_key_id: AKIDEPLOYMENTB, aws_secret_access_key: secret-B, aws_bedrock_runtime_endpoint: "%%(url)s"}
"""


@contextlib.contextmanager
def black_hole() -> Iterator[str]:
    """Yield the base URL of a listener whose queue is full: connections to it are neither made nor refused."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


async def ask(here: Running, size: int) -> tuple[int, str | None]:
    """Call once with a text of ``size`` characters; return status and number of attempts."""
    body = {"messages": [{"role": "user", "content": [{"text": "a" * size}]}]}
    async with aiohttp.ClientSession() as http:
        async with http.post(f"{here.url}/bedrock/model/claude/converse", data=json.dumps(body)) as answer:
            await answer.read()
            return answer.status, answer.headers.get("x-bedrock-gateway-attempts")


def hasten(gateway: Gateway) -> None:
    """Give connections less time than a test has."""
    gateway.upstream._connect_timeout = aiohttp.ClientTimeout(total=None, connect=0.2, sock_connect=0.2)
    gateway.upstream._session._timeout = gateway.upstream._connect_timeout


@pytest.mark.parametrize("size", [10, 300_000])
@pytest.mark.parametrize("limit", ["", "timeout: 0.2,"])
async def test_an_upstream_that_takes_no_connection_is_passed_over(tmp_path: Path, size: int, limit: str) -> None:
    """A connection that is never made, by the connection's own limit or the deployment's, is free and repeatable."""
    with black_hole() as url:
        config = CONFIG % f'{limit} aws_bedrock_runtime_endpoint: "{url}",'
        async with running(tmp_path, config, change=None if limit else hasten) as here:
            assert (200, "2") == await ask(here, size)
            await here.settled()
            rows = here.rows("SELECT state, charged, spend, error_type FROM attempts ORDER BY number LIMIT 1")
    assert [{"state": "refused", "charged": 0, "spend": 0, "error_type": "never-reached"}] == rows


@pytest.mark.parametrize("size", [10, 300_000])
async def test_a_bundle_that_is_gone_costs_nothing(tmp_path: Path, size: int) -> None:
    """Where the CA bundle of a deployment cannot be read nothing is sent there, so nothing is booked."""
    bundle = f"ssl_verify: {tmp_path / 'gone.pem'}, aws_bedrock_runtime_endpoint: 'https://127.0.0.1:1',"
    async with running(tmp_path, CONFIG % bundle) as here:
        assert (200, "2") == await ask(here, size)
        await here.settled()
        rows = here.rows("SELECT state, charged, spend, error_type FROM attempts ORDER BY number LIMIT 1")
    assert [{"state": "refused", "charged": 0, "spend": 0, "error_type": "never-reached"}] == rows
