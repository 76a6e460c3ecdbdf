"""Who may do what in the admin API.

======================== ============================================================================================
who                      may
======================== ============================================================================================
master key,              everything
``proxy_admin``
``proxy_admin_viewer``   read everything
``internal_user``        read itself, its keys and its teams; make keys for itself, rotate, block and delete its own
``internal_user_viewer`` read itself, its keys and its teams
any other key            read itself
``local`` (open mode)    nothing
======================== ============================================================================================

A key has the role of its user, as far as the kind of key goes (``access.policies``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs
from aiohttp import web

from bedrock_gateway.access.authentication import LOCAL, MASTER
from bedrock_gateway.access.callers import Caller, Role
from bedrock_gateway.access.operation_names import OperationNames
from bedrock_gateway.errors import AccessDenied, InvalidField
from bedrock_gateway.store.administration import Writing
from bedrock_gateway.store.registry import Registry

__all__ = ["ADMIN", "Admin", "administrator", "authority", "may_read_all", "may_read_own", "own_id", "reader", "told"]


@attrs.frozen(kw_only=True)
class Admin:
    """What the admin API works with.

    Attributes:
        registry: what is administered.
        find: returns whose key came with these headers, at a time (UTC ms); raises ``Unauthenticated``.
        now_ms: the wall clock, UTC ms.
        random_bytes: returns so many bytes nobody can guess.
        operations: what keys can be allowed.
        body_seconds: how long the body of a request may take.
    """

    registry: Registry
    find: Callable[[Mapping[str, str], int], Caller]
    now_ms: Callable[[], int]
    random_bytes: Callable[[int], bytes]
    operations: OperationNames
    body_seconds: float = 30.0

    def writing(self, caller: Caller) -> Writing:
        """Return what is noted of something that this caller writes now."""
        return Writing(now_ms=self.now_ms(), by=caller.id)


#: Where the application keeps it.
ADMIN: web.AppKey[Admin] = web.AppKey("admin", Admin)


def authority(request: web.Request) -> Caller:
    """Return who asks.

    Raises:
        Unauthenticated: no good key came.
        AccessDenied: there is neither a master key nor any virtual key: nobody can tell who asks.
    """
    admin = request.app[ADMIN]
    caller = admin.find(request.headers, admin.now_ms())
    if caller.id == LOCAL:
        raise AccessDenied(
            "The admin API is closed while the gateway is open to everybody: set a master key "
            "(general_settings.master_key or LITELLM_MASTER_KEY) and start it again, or make keys on the command line "
            "(bedrock-gateway key create)."
        )
    return caller


def administrator(request: web.Request) -> Caller:
    """Return who asks, who may do everything.

    Raises:
        AccessDenied: it may not.
    """
    caller = authority(request)
    if caller.role is not Role.ADMIN:
        raise AccessDenied(
            f"{request.path} takes the master key, or a key of a user whose user_role is proxy_admin; {told(caller)}."
        )
    return caller


def reader(request: web.Request) -> Caller:
    """Return who asks, who may read everything.

    Raises:
        AccessDenied: it may not.
    """
    caller = authority(request)
    if not may_read_all(caller):
        raise AccessDenied(
            f"{request.path} takes the master key, or a key of a user whose user_role is proxy_admin or "
            f"proxy_admin_viewer; {told(caller)}."
        )
    return caller


def own_id(caller: Caller) -> str:
    """Return the id of the virtual key somebody asks with.

    Raises:
        InvalidField: it is the master key.
    """
    if caller.id == MASTER:
        raise InvalidField("key", "is needed: the master key that asks is no virtual key")
    return caller.id


def may_read_all(caller: Caller) -> bool:
    """Tell whether a caller may read everything."""
    return caller.role in (Role.ADMIN, Role.VIEWER)


def may_read_own(caller: Caller) -> bool:
    """Tell whether a caller may read what is its user's."""
    return caller.role is not None and caller.user != ""


def told(caller: Caller) -> str:
    """Return what a refusal says of a caller."""
    return f"the role of key {caller.name} is {caller.role}" if caller.role else f"key {caller.name} has no role"
