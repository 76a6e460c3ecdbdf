"""A picture named by URL, on the whole chain."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import openai
import pytest
from aiohttp import web
from running import running

from bedrock_gateway.chain.gateway import Gateway
from bedrock_gateway.upstream.pictures import Pictures

PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)


async def show(request: web.BaseRequest) -> web.Response:
    """Answer with a picture."""
    return web.Response(body=PNG, content_type="image/png")


@pytest.mark.parametrize("allowed", [True, False])
async def test_a_picture_is_fetched_where_the_config_allows_it(tmp_path: Path, allowed: bool) -> None:
    """Bedrock gets what the URL shows; a gateway that may not fetch says so, and sends nothing."""

    def change(gateway: Gateway) -> None:
        gateway.pictures = Pictures(allowed=lambda address: True) if allowed else None

    server = await asyncio.get_running_loop().create_server(web.Server(show), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/cat"
    asked: Any = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]
    async with running(tmp_path, change=change) as here:
        async with openai.AsyncOpenAI(base_url=f"{here.url}/v1", api_key="k", max_retries=0) as client:
            if allowed:
                await client.chat.completions.create(model="single", messages=asked)
            else:
                with pytest.raises(openai.BadRequestError, match="fetch_images"):
                    await client.chat.completions.create(model="single", messages=asked)
        sent = [request.body for request in here.simulator.received]
        if here.gateway.pictures is not None:
            await here.gateway.pictures.close()
    server.close()

    assert [allowed] * len(sent) == [base64.b64encode(PNG) in body for body in sent]
    assert len(sent) == allowed


async def test_nothing_is_fetched_for_a_model_that_is_not_there(tmp_path: Path) -> None:
    """Whom a model is refused to has nobody asked for pictures."""
    asked: list[str] = []

    async def note(request: web.BaseRequest) -> web.Response:
        asked.append(request.path)
        return web.Response(body=PNG)

    def change(gateway: Gateway) -> None:
        gateway.pictures = Pictures(allowed=lambda address: True)

    server = await asyncio.get_running_loop().create_server(web.Server(note), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/cat"
    messages: Any = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]
    async with running(tmp_path, change=change) as here:
        async with openai.AsyncOpenAI(base_url=f"{here.url}/v1", api_key="k", max_retries=0) as client:
            with pytest.raises(openai.NotFoundError):
                await client.chat.completions.create(model="nowhere", messages=messages)
        assert here.gateway.pictures is not None
        await here.gateway.pictures.close()
    server.close()

    assert [] == asked


async def test_a_picture_takes_room_as_a_body_does(tmp_path: Path) -> None:
    """While it comes it counts with all bodies in memory; where they have no room left the call is to be repeated."""

    def change(gateway: Gateway) -> None:
        gateway.pictures = Pictures(allowed=lambda address: True)
        gateway.bodies.total = 10_000

    async def show_large(request: web.BaseRequest) -> web.Response:
        return web.Response(body=PNG + bytes(20_000))

    server = await asyncio.get_running_loop().create_server(web.Server(show_large), "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/cat"
    asked: Any = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]
    async with running(tmp_path, change=change) as here:
        async with openai.AsyncOpenAI(base_url=f"{here.url}/v1", api_key="k", max_retries=0) as client:
            with pytest.raises(openai.InternalServerError, match="as many request bodies as it may"):
                await client.chat.completions.create(model="single", messages=asked)
        await here.settled()
        assert here.gateway.pictures is not None
        await here.gateway.pictures.close()
    server.close()

    assert 0 == here.gateway.bodies.held
    assert 0 == len(here.simulator.received)
