"""Whose connection a request came over."""

from __future__ import annotations

from aiohttp import web

__all__ = ["from_this_machine", "passed_on"]

#: What reverse proxies add; all that begin with the prefix count too.
_FORWARDED = frozenset({"cf-connecting-ip", "forwarded", "true-client-ip", "via", "x-client-ip", "x-real-ip"})
_PREFIX = "x-forwarded-"


def from_this_machine(request: web.BaseRequest) -> bool:
    """Tell whether the connection comes from loopback or over the unix socket."""
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    return not isinstance(peer, tuple) or peer[0].startswith("127.") or peer[0] in ("::1", "::ffff:127.0.0.1")


def passed_on(request: web.BaseRequest) -> bool:
    """Tell whether a reverse proxy passed the request on: the peer is the proxy then, and the caller anywhere."""
    names = {name.lower() for name in request.headers}
    return not names.isdisjoint(_FORWARDED) or any(name.startswith(_PREFIX) for name in names)
