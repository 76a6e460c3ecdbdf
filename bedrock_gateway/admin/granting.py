"""What somebody with ``internal_user`` may give to a key it makes or changes: never more than it has itself.

Its user's budgets, limits and lists of models hold for every key of the user. What is set on the key it asks with does
not hold for another one, so a key that is bound itself neither makes keys nor gets the secret of another. Who may not
read or change a key is not told either whether there is one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from bedrock_gateway.access.callers import Caller, Role
from bedrock_gateway.admin.authority import told
from bedrock_gateway.errors import AccessDenied, NotFound
from bedrock_gateway.routing.model_names import is_raw_id
from bedrock_gateway.store.keys import VirtualKey, need_key
from bedrock_gateway.store.members import find_member
from bedrock_gateway.store.subjects import Subject, get

__all__ = ["changeable_key", "check_change", "check_grant", "check_rotation", "owns"]

#: Set on a key, these bind it and no other key of its user.
_BINDING = (
    *("max_budget", "soft_budget", "budget_id", "budget_limits", "model_max_budget", "tpm_limit", "rpm_limit"),
    *("max_parallel_requests", "model_rpm_limit", "model_tpm_limit", "models", "tags", "allowed_operations"),
)
#: Open what is closed to keys.
_OPENING = ("allowed_operations", "pass_through_all_models", "allow_unbounded", "max_drains")
#: What may be changed of one's own key: nothing of it gives a right.
_HARMLESS = frozenset({"key", "key_alias", "metadata", "aliases", "on_disconnect"})


def owns(caller: Caller, key: Subject) -> bool:
    """Tell whether a key is a caller's own user's."""
    return bool(caller.user) and key.user == caller.user


def changeable_key(
    connection: sqlite3.Connection, caller: Caller, named: str, field: str, *, alias: str | None = None
) -> VirtualKey:
    """Return the key that a caller names, or whose alias that is, to change it.

    Raises:
        AccessDenied: the caller is neither an administrator nor its owner with the right to, if there is one at all.
        NotFound: there is none, and the caller is an administrator.
    """
    try:
        key = need_key(connection, named, field, alias=alias)
        if caller.role is Role.ADMIN or (caller.role is Role.USER and owns(caller, key.subject)):
            return key
    except NotFound:
        if caller.role is Role.ADMIN:
            raise
    raise AccessDenied(
        f"Keys are changed with the master key, or a key of a proxy_admin; an internal_user changes its own; "
        f"{told(caller)}."
    )


def check_rotation(connection: sqlite3.Connection, caller: Caller, key: Subject) -> None:
    """Refuse a caller the new secret of another key of its user's that is less bound than the caller's own.

    Raises:
        AccessDenied: naming what binds the caller's.
    """
    if caller.role is Role.ADMIN or key.id == caller.id:
        return
    _refuse_bound(connection, caller, "which a key it rotates may not have")
    if caller.team and key.team != caller.team:
        raise AccessDenied(f"key {caller.name} belongs to team {caller.team!r}, and so do the other keys it rotates.")


def check_change(caller: Caller, given: Mapping[str, Any]) -> None:
    """Refuse what a caller wants to change of its own key, where that could give it a right.

    Raises:
        AccessDenied: naming the field.
    """
    if caller.role is not Role.ADMIN:
        for field in given:
            if field not in _HARMLESS:
                raise AccessDenied(f"{field}: only an administrator may change this of a key; {told(caller)}.")


def check_grant(connection: sqlite3.Connection, caller: Caller, given: dict[str, Any], *, raw_models: bool) -> None:
    """Refuse a new key that would have more rights than the caller; make the caller's user its owner.

    Args:
        raw_models: whether any key may call model ids that the config does not name.

    Raises:
        AccessDenied: naming the field.
    """
    if caller.role is Role.ADMIN:
        return
    if caller.role is not Role.USER or not caller.user:
        raise AccessDenied(
            f"Keys are made with the master key, or a key of a proxy_admin or internal_user; {told(caller)}."
        )
    if given.setdefault("user_id", caller.user) != caller.user:
        raise AccessDenied(f"user_id: an internal_user makes keys for itself only; {told(caller)}.")
    _refuse_bound(connection, caller, "which a key it makes would not have")
    for field in _OPENING:
        if given.get(field):
            raise AccessDenied(f"{field}: only an administrator may set this; {told(caller)}.")
    for named in () if raw_models else given.get("models") or ():
        # In a list of models these open what no deployment names.
        if "*" in named or is_raw_id(named.removeprefix("bedrock/")):
            raise AccessDenied(
                f"models: only an administrator may name models by pattern or id ({named!r}), name model groups; "
                f"{told(caller)}."
            )
    for tag in given.get("tags") or ():
        if get(connection, "tag", tag) is not None:
            raise AccessDenied(f"tags: {tag!r} has a budget or limits, only an administrator gives it; {told(caller)}.")
    if caller.team and given.setdefault("team_id", caller.team) != caller.team:
        raise AccessDenied(f"team_id: key {caller.name} belongs to team {caller.team!r}, and so do keys it makes.")
    team = given.get("team_id")
    if team is not None and find_member(connection, team, caller.user) is None:
        raise AccessDenied(f"team_id: user {caller.user!r} is no member of team {team!r}.")


def _refuse_bound(connection: sqlite3.Connection, caller: Caller, which: str) -> None:
    """Refuse a caller whose own key is bound by what no other key of its user is."""
    own = get(connection, "key", caller.id)
    if own is None:
        return
    # 0 binds most of all, and so does a list of operations without any.
    bound = [field for field in _BINDING if own.document.get(field) not in (None, [], {})]
    if own.document.get("allowed_operations") == []:
        bound.append("allowed_operations")
    if own.expires_at is not None:
        bound.append("an end")
    if bound:
        raise AccessDenied(f"key {caller.name} has {', '.join(bound)} of its own, {which}.")
