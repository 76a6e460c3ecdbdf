"""Configs of several deployments, many calls at once, and what of a deployment's standing a test may look at."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections.abc import Callable
from typing import Any

import aiohttp
import attrs
from running import Running

__all__ = [
    "Told",
    "ask",
    "asked",
    "attempts_of",
    "body_of",
    "config_of",
    "deployment",
    "flood",
    "left_out",
    "let_pass",
    "seed",
]

REGIONS = {"A": "us-east-1", "B": "us-west-2", "C": "eu-west-1"}


def deployment(
    letter: str,
    group: str = "claude",
    *,
    model: str = "%(claude)s",
    url: str = "%(url)s",
    info: str = "",
    params: str = "",
) -> str:
    """Return one entry of ``model_list``: the deployment with these credentials, and what else its mappings say."""
    more = params and f"{params}, "
    return (
        f"  - model_name: {group}\n"
        f"    litellm_params: {{model: bedrock/{model}, aws_region_name: {REGIONS[letter]}, {more}\n"
        f"      aws_access_key_id: AKIDEPLOYMENT{letter}, aws_secret_access_key: secret-{letter},\n"
        f'      aws_bedrock_runtime_endpoint: "{url}"}}\n'
    )


def config_of(*deployments: str, router: str = "", more: str = "") -> str:
    """Return a config of these deployments."""
    return f"model_list:\n{''.join(deployments)}router_settings: {{{router}}}\n{more}"


@attrs.frozen(kw_only=True)
class Told:
    """What a caller got: the body as far as it came; ``whole`` unless it was cut."""

    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool

    @property
    def call(self) -> str:
        """Return the call's id."""
        return self.headers["x-bedrock-gateway-call-id"]

    @property
    def error_type(self) -> str | None:
        """Return AWS's name of the error, without what may follow it."""
        told = self.headers.get("x-amzn-errortype")
        return None if told is None else told.partition(":")[0]

    @property
    def fine(self) -> bool:
        """Tell whether it is a whole answer of a model, with its usage, and no error in it."""
        return (
            self.status == 200
            and self.whole
            and b"outputTokens" in self.body
            and b":exception-type" not in self.body
            and b":error-code" not in self.body
        )


def body_of(text: str = "What is a gateway good for?", **more: Any) -> bytes:
    """Return a body whose answer is one token long."""
    message = {"role": "user", "content": [{"text": f"[[simulate: tokens=1]] {text}"}]}
    return json.dumps({"messages": [message], **more}).encode()


async def ask(
    here: Running,
    model: str = "claude",
    action: str = "converse",
    *,
    body: bytes = body_of(),
    session: aiohttp.ClientSession | None = None,
    **headers: str,
) -> Told:
    """Make one call, without an SDK; underscores in names of headers are dashes."""
    if session is None:
        async with aiohttp.ClientSession() as own:
            return await ask(here, model, action, body=body, session=own, **headers)
    sent = {"content-type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    content, whole = b"", True
    async with session.post(f"{here.url}/bedrock/model/{model}/{action}", data=body, headers=sent) as answer:
        try:
            async for piece in answer.content.iter_any():
                content += piece
        except aiohttp.ClientPayloadError:
            whole = False
        found = {name.lower(): value for name, value in answer.headers.items()}
        return Told(status=answer.status, headers=found, body=content, whole=whole)


async def flood(
    here: Running,
    count: int,
    action: str,
    *,
    parallel: int = 50,
    before: Callable[[], None] = lambda: None,
    model: str = "claude",
) -> list[Told]:
    """Make many calls, so many at a time; return what was told, by the number that stands in each body.

    Args:
        before: called before each call.
    """
    told: dict[int, Told] = {}
    numbers = itertools.count()

    async def caller(session: aiohttp.ClientSession) -> None:
        while (number := next(numbers)) < count:
            before()
            told[number] = await ask(here, model, action, body=body_of(f"call {number}."), session=session)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        async with asyncio.TaskGroup() as callers:
            for _ in range(parallel):
                callers.create_task(caller(session))
    await here.settled()
    return [told[number] for number in range(count)]


def asked(here: Running) -> str:
    """Return the deployments that were asked, in order, by the last letter of their access key ids."""
    return "".join(str(one.access_key_id)[-1] for one in here.simulator.received)


def attempts_of(here: Running, told: Told) -> list[dict[str, Any]]:
    """Return the rows of a call's attempts."""
    return here.rows("SELECT * FROM attempts WHERE call = ? ORDER BY number", told.call)


def seed(here: Running, number: int = 5) -> None:
    """Have the gateway's choices follow from a number."""
    here.gateway.balancer.random = random.Random(number).random
    here.gateway.random = random.Random(number)


def let_pass(here: Running, seconds: float) -> None:
    """Let time pass for what is left out."""
    for standing in here.gateway.balancer.standings():
        standing.until -= seconds
        standing.cooling -= seconds


def left_out(here: Running) -> dict[str, float]:
    """Return the seconds for which deployments are left out yet, by name."""
    balancer, now = here.gateway.balancer, time.monotonic()
    waits = {one.deployment.name: balancer.health.wait(one, now) for one in balancer.standings()}
    return {name: wait for name, wait in waits.items() if wait}
