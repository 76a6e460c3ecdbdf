"""Credentials that end while calls are under way: one look at their source, and nobody fails."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import attrs
import pytest
from aiohttp import web
from groups import ask
from running import running
from scripted_upstream import Asked, refusal, scripted, whole

NOVA = "amazon.nova-lite-v1:0"
CALLS = 100


@attrs.define
class Source:
    """A container's endpoint that hands out a new key each time it is asked."""

    url: str = ""
    asked: int = 0


@contextlib.asynccontextmanager
async def source() -> AsyncIterator[Source]:
    """Listen, and hand out keys."""
    source = Source()

    async def answer(request: web.Request) -> web.StreamResponse:
        source.asked += 1
        until = datetime.now(UTC) + timedelta(hours=6)
        return web.json_response(
            {
                "AccessKeyId": f"ASIAKEY{source.asked}",
                "SecretAccessKey": "secret",
                "Token": "token",
                "Expiration": until.strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
        )

    app = web.Application()
    app.router.add_get("/credentials", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    source.url = f"http://{host}:{port}/credentials"
    try:
        yield source
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("at_once", [CALLS, 10])
async def test_one_look_for_a_hundred_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    """A hundred calls are told that their credentials have expired, all at once or some after the others have long been
    answered: the source is asked once more, every call is sent again, and all of them succeed.
    """
    old: list[Asked] = []
    everybody, rest = asyncio.Event(), asyncio.Event()

    async def script(told: Asked) -> web.StreamResponse:
        if "ASIAKEY1/" not in told.request.headers["authorization"]:
            return whole()
        old.append(told)
        place = len(old)
        if place == CALLS:
            everybody.set()
        await everybody.wait()
        if place > at_once:
            await rest.wait()
        return refusal(403, "ExpiredTokenException", "The security token included in the request is expired")

    async with source() as given, scripted(script) as upstream:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", given.url)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        environ = {
            "AWS_ACCESS_KEY_ID": "",
            "AWS_SECRET_ACCESS_KEY": "",
            "AWS_BEDROCK_RUNTIME_ENDPOINT": upstream.url,
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": given.url,
        }
        async with running(tmp_path, None, environ=environ) as here, aiohttp.ClientSession() as session:
            calls = [asyncio.ensure_future(ask(here, NOVA, session=session)) for _ in range(CALLS)]
            await here.until(lambda: sum(call.done() for call in calls) >= at_once)
            rest.set()
            told = await asyncio.gather(*calls)
            assert {200} == {one.status for one in told}
            assert {"2"} == {one.headers["x-bedrock-gateway-attempts"] for one in told}
            assert 2 == given.asked
            await here.settled()
            states = here.rows("SELECT state, count(*) AS times FROM attempts GROUP BY state ORDER BY state")
            assert [("metered", CALLS), ("refused", CALLS)] == [(row["state"], row["times"]) for row in states]
