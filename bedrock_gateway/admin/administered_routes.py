"""Every route of what is administered, in one list for the application."""

from __future__ import annotations

from aiohttp import web

from bedrock_gateway.admin import budgets, customers, key_reading, keys, tags, team_members, teams, users

__all__ = ["routes"]


def routes() -> list[web.RouteDef]:
    """Return the routes of keys, users, teams, end users, budgets and tags."""
    return [
        route
        for room in (keys, key_reading, users, teams, team_members, customers, budgets, tags)
        for route in room.routes()
    ]
