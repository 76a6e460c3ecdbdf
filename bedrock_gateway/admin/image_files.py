"""``/v1/images/files/NAME``: images that were given as URLs. The name is the secret; no key is asked for."""

from __future__ import annotations

from aiohttp import web

from bedrock_gateway.chain.files import FILES_PATH
from bedrock_gateway.chain.gateway import GATEWAY
from bedrock_gateway.downstream.answers import refusal_answer
from bedrock_gateway.errors import UnknownObject

__all__ = ["routes"]


async def image_file(request: web.Request) -> web.StreamResponse:
    """Answer with the image, as long as it is kept."""
    kept = request.app[GATEWAY].files.get(request.match_info["name"])
    if kept is None:
        refusal = UnknownObject("There is no such image, or no more: they are kept for 10 minutes, 64 MiB of them.")
        return refusal_answer(refusal, close=False)
    return web.Response(
        body=kept.content,
        headers={
            "Content-Type": kept.content_type,
            "Cache-Control": "private",
            "X-Content-Type-Options": "nosniff",
            # The name is the secret: whoever is linked to from here is not told it.
            "Referrer-Policy": "no-referrer",
        },
    )


def routes() -> list[web.RouteDef]:
    """Return the route."""
    return [web.get(FILES_PATH + "{name:[A-Za-z0-9_-]{43}}", image_file)]
