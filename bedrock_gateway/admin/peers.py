"""Whose connection a request came over."""

from __future__ import annotations

from aiohttp import web

__all__ = ["from_this_machine", "passed_on"]

#: What a reverse proxy adds.
_FORWARDED = ("forwarded", "via", "x-forwarded-for")


def from_this_machine(request: web.BaseRequest) -> bool:
    """Tell whether the connection comes from loopback or over the unix socket."""
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    return not isinstance(peer, tuple) or peer[0].startswith("127.") or peer[0] in ("::1", "::ffff:127.0.0.1")


def passed_on(request: web.BaseRequest) -> bool:
    """Tell whether a reverse proxy passed the request on: the peer is the proxy then, and the caller anywhere."""
    return any(name in request.headers for name in _FORWARDED)
