"""Who may watch the gateway: whoever is on this machine, and whoever may read everything in the admin API."""

from __future__ import annotations

from aiohttp import web

from bedrock_gateway.admin.authority import reader
from bedrock_gateway.admin.peers import from_this_machine, passed_on
from bedrock_gateway.chain.gateway import GATEWAY

__all__ = ["check_watcher"]


def check_watcher(request: web.Request) -> None:
    """Refuse who may not see the figures and names of a running gateway.

    Raises:
        Unauthenticated: no good key came, and the caller is not on this machine or calls it by a name that may be a web
            page's, which a browser here was told leads to this machine.
        AccessDenied: its key may not read everything.
    """
    names_us = request.app[GATEWAY].entry.hosts.allows(request.headers.get("Host", ""))
    if passed_on(request) or not (names_us and from_this_machine(request)):
        reader(request)
