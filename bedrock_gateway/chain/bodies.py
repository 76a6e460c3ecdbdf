"""The body of a call: read once, in bounded memory, and hashed once."""

from __future__ import annotations

import asyncio
import hashlib

from aiohttp import web

from bedrock_gateway.chain.call import Call
from bedrock_gateway.downstream.bodies import read_body

__all__ = ["OFF_LOOP", "hash_of", "take_body"]

#: Bytes above which a body is hashed (0.56 ms a megabyte), parsed and edited off the loop.
OFF_LOOP = 262_144


async def take_body(request: web.Request, call: Call) -> None:
    """Read the body of the request, once."""
    if call.ticket is None:
        call.ticket = call.gateway.bodies.ticket()
        call.body = await read_body(request, call.ticket, call.gateway.limits)


async def hash_of(call: Call, body: bytes | bytearray) -> str:
    """Return the SHA-256 of a body in hex, off the loop where it is large; that of the call's own is kept."""
    own = body is call.body
    if own and call.body_hash:
        return call.body_hash
    found = await asyncio.to_thread(_hex, body) if len(body) > OFF_LOOP else _hex(body)
    if own:
        call.body_hash = found
    return found


def _hex(body: bytes | bytearray) -> str:
    return hashlib.sha256(body).hexdigest()
