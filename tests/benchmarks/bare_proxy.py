"""A bare aiohttp pass-through proxy that does nothing but copy: what the gateway is measured against.

Default settings as anyone would write it, except two whose defaults would make it fail here instead of slow: more than
100 connections upstream at once, and bodies over 1 MiB. Usage: ``bare_proxy.py PORT UPSTREAM_URL``; asyncio's own loop.
"""

from __future__ import annotations

import sys

import aiohttp
from aiohttp import web

PORT, UPSTREAM = int(sys.argv[1]), sys.argv[2]
HOP_BY_HOP = {"connection", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
SESSION = web.AppKey("session", aiohttp.ClientSession)


async def copy(request: web.Request) -> web.StreamResponse:
    headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
    body = await request.read()
    async with request.app[SESSION].request(
        request.method, UPSTREAM + request.path_qs, headers=headers, data=body
    ) as answer:
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP}
        response = web.StreamResponse(status=answer.status, headers=kept)
        await response.prepare(request)
        async for data in answer.content.iter_any():
            await response.write(data)
        await response.write_eof()
        return response


async def session(app: web.Application):
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as app[SESSION]:
        yield


app = web.Application(client_max_size=0)
app.cleanup_ctx.append(session)
app.router.add_route("*", "/{path:.*}", copy)
web.run_app(app, host="127.0.0.1", port=PORT, access_log=None, print=None)
