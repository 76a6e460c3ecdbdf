"""What the documents of a key and of those it belongs to come to: a caller with its policy, an end user.

Knows how fields add up: which budgets a call counts against, which limits hold, whose word goes first. Documents are
checked before they are stored (``fields``) and trusted here. Pure.

**Whose word goes first.** Budgets and limits of key, user, team, member and tags all hold, each by itself. Lists of
models hold together: a name has to be in each that is not empty. A key's aliases go before its team's. A template named
by ``budget_id`` stands in for each budget or limit that is not set beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from bedrock_gateway.access.budgets import Budget, Charge
from bedrock_gateway.access.callers import Caller, OnBudget, OnLeave, Policy, Role
from bedrock_gateway.access.limits import Limit
from bedrock_gateway.access.values import nano
from bedrock_gateway.access.windows import Window, zone

__all__ = [
    "Defaults",
    "EndUser",
    "Entry",
    "Member",
    "budgets_of",
    "caller_of",
    "end_user_of",
    "member_budget",
    "model_budgets_of",
]

#: Stands in a list of models for "whatever the team allows", and for every model.
_TEAM_MODELS, _ALL_MODELS = "all-team-models", "all-proxy-models"
#: Fields that say which calendar budgets go by.
_CALENDAR = ("budget_timezone", "budget_sliding")
#: Kinds of keys that call no model, and the roles that a kind of key leaves of its user's.
_NO_MODELS = frozenset({"management", "read_only"})
_READ_ONLY = {
    Role.ADMIN: Role.VIEWER,
    Role.VIEWER: Role.VIEWER,
    Role.USER: Role.USER_VIEWER,
    Role.USER_VIEWER: Role.USER_VIEWER,
}


@attrs.frozen(kw_only=True)
class Defaults:
    """What holds for virtual keys that say nothing else.

    Attributes:
        raw_models: model ids that no config names may be called.
        on_leave: what happens upstream when a caller leaves early.
        max_drains: upstream answers read on at once for callers of one key that left.
        timezone: IANA name of the zone whose calendar budgets go by.
    """

    raw_models: bool = True
    on_leave: OnLeave = OnLeave.DRAIN
    max_drains: int = 8
    timezone: str = "UTC"


@attrs.frozen(kw_only=True)
class Entry:
    """One of what is administered, as calls need it.

    Attributes:
        name: alias, or "".
        created_at: UTC ms; from there windows are counted that no calendar aligns.
        document: what was set, under LiteLLM's field names.
    """

    id: str
    name: str = ""
    blocked: bool = False
    created_at: int = 0
    document: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Member:
    """A user within a team.

    Attributes:
        role: admin or user.
    """

    role: str
    document: Mapping[str, Any]


@attrs.frozen(kw_only=True)
class EndUser:
    """Whom a call is made for, as far as anything was set for it.

    Attributes:
        charges: budgets calls for it count against.
        limits: name and limit.
        models: models calls for it may use; empty for all.
    """

    id: str
    blocked: bool
    charges: tuple[Charge, ...]
    limits: tuple[tuple[str, Limit], ...]
    models: tuple[str, ...]


def caller_of(
    key: Entry,
    *,
    tail: str,
    user: Entry | None,
    team: Entry | None,
    member: Member | None,
    tags: Mapping[str, Entry],
    templates: Mapping[str, Mapping[str, Any]],
    defaults: Defaults,
) -> Caller:
    """Return the caller that a key stands for.

    Args:
        tail: last characters of the key.
        user, team: whom it belongs to.
        member: its user within its team.
        tags: those of the key's and the team's tags that anything was set for.
        templates: documents of budgets, by id.
        defaults: what the config says.
    """
    document = key.document
    team_document = {} if team is None else team.document
    names = tuple(dict.fromkeys((*document.get("tags", ()), *team_document.get("tags", ()))))
    filled = _filled(document, templates)
    charges = charges_of(f"key:{key.id}", key_title(key.name, tail), key, templates, defaults)
    limits = [*_limits(f"key {key.id}", filled)]
    for kind, owner in (("user", user), ("team", team)):
        if owner is not None:
            charges += charges_of(
                f"{kind}:{owner.id}", f'{kind} "{owner.name or owner.id}"', owner, templates, defaults
            )
            limits += _limits(f"{kind} {owner.id}", _filled(owner.document, templates))
    if team is not None and user is not None:
        charges += _member_charges(team, user, member, defaults)
        limits += _limits(f"member {team.id}/{user.id}", _member_limits(team_document, member))
    for name in names:
        entry = tags.get(name)
        if entry is not None:
            charges += charges_of(f"tag:{name}", f'tag "{name}"', entry, templates, defaults)
            limits += _limits(f"tag {name}", _filled(entry.document, templates))
    return Caller(
        id=key.id,
        name=key.name or f"sk-…{tail}",
        user="" if user is None else user.id,
        team="" if team is None else team.id,
        tags=names,
        role=_role(document, user),
        epoch=document.get("epoch", 0),
        policy=_policy(key, templates, user, team, tuple(charges), tuple(limits), defaults),
    )


def _policy(
    key: Entry,
    templates: Mapping[str, Mapping[str, Any]],
    user: Entry | None,
    team: Entry | None,
    charges: tuple[Charge, ...],
    limits: tuple[tuple[str, Limit], ...],
    defaults: Defaults,
) -> Policy:
    document, filled = key.document, _filled(key.document, templates)
    team_document = {} if team is None else team.document
    operations = document.get("allowed_operations")
    if document.get("key_type") in _NO_MODELS:
        operations = ()
    return Policy(
        raw_models=defaults.raw_models or document.get("pass_through_all_models", False),
        # The default set of operations has none of these: only who was given one by name can ask for it.
        on_leave=OnLeave(document.get("on_disconnect", defaults.on_leave)),
        max_drains=document.get("max_drains", filled.get("max_parallel_requests", defaults.max_drains)),
        operations=None if operations is None else tuple(operations),
        models=tuple(_model_lists(document, user, team)),
        aliases={**team_document.get("model_aliases", {}), **document.get("aliases", {})},
        budgets=charges,
        model_budgets=model_budgets_of(key, templates, defaults),
        limits=limits,
        model_limits=_model_limits(key, team),
        on_budget=OnBudget(document.get("on_budget", OnBudget.REFUSE)),
        allow_unbounded=document.get("allow_unbounded", False),
    )


def end_user_of(entry: Entry, *, templates: Mapping[str, Mapping[str, Any]], defaults: Defaults) -> EndUser:
    """Return what holds for calls made for an end user."""
    account, title = f"end_user:{entry.id}", f'end user "{entry.id}"'
    models = entry.document.get("models", ())
    return EndUser(
        id=entry.id,
        blocked=entry.blocked,
        charges=tuple(charges_of(account, title, entry, templates, defaults)),
        limits=tuple(_limits(f"end_user {entry.id}", _filled(entry.document, templates))),
        models=() if _ALL_MODELS in models else tuple(models),
    )


def key_title(name: str, tail: str) -> str:
    """Return what a key is called where people read it."""
    return f'key "{name}" (sk-…{tail})' if name else f"key sk-…{tail}"


def charges_of(
    account: str, title: str, entry: Entry, templates: Mapping[str, Mapping[str, Any]], defaults: Defaults
) -> list[Charge]:
    """Return the budgets that were set for something, each with whose money it is."""
    own, concurrent = budgets_of(entry, templates, defaults)
    return [
        Charge(account=account, name=title, budget=budget)
        for budget in ((own, *concurrent) if own is not None else concurrent)
    ]


def budgets_of(
    entry: Entry, templates: Mapping[str, Mapping[str, Any]], defaults: Defaults
) -> tuple[Budget | None, tuple[Budget, ...]]:
    """Return the budget of something, its own or its template's, and the concurrent ones (``budget_limits``)."""
    document = _filled(entry.document, templates)
    concurrent = (
        _budget({**document, "soft_budget": None, **limit}, entry.created_at, defaults)
        for limit in document.get("budget_limits", ())
    )
    return _budget(document, entry.created_at, defaults), tuple(budget for budget in concurrent if budget is not None)


def model_budgets_of(
    entry: Entry, templates: Mapping[str, Mapping[str, Any]], defaults: Defaults
) -> dict[str, tuple[Budget, ...]]:
    """Return the budgets of models within a key (``model_max_budget``), by model group; ``*`` for every other."""
    document = _filled(entry.document, templates)
    calendar = {field: document[field] for field in _CALENDAR if field in document}
    return {
        model: (budget,)
        for model, told in document.get("model_max_budget", {}).items()
        if (budget := _budget({**calendar, **told}, entry.created_at, defaults)) is not None
    }


def _filled(document: Mapping[str, Any], templates: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return a document with what its template says where it says nothing itself."""
    template = templates.get(document.get("budget_id", ""))
    return document if template is None else {**template, **document}


def _budget(document: Mapping[str, Any], anchor: int, defaults: Defaults) -> Budget | None:
    limit, soft, duration = (document.get(field) for field in ("max_budget", "soft_budget", "budget_duration"))
    if limit is None and soft is None:
        return None
    window = None
    if duration is not None:
        window = Window(
            duration=duration,
            zone=zone(document.get("budget_timezone", defaults.timezone)),
            anchor=anchor,
            sliding=document.get("budget_sliding", False),
        )
    return Budget(
        limit=None if limit is None else nano(limit), soft=None if soft is None else nano(soft), window=window
    )


def _limits(name: str, document: Mapping[str, Any]) -> Iterator[tuple[str, Limit]]:
    limit = Limit(
        requests=document.get("rpm_limit"),
        tokens=document.get("tpm_limit"),
        parallel=document.get("max_parallel_requests"),
    )
    if (limit.requests, limit.tokens, limit.parallel) != (None, None, None):
        yield name, limit


def member_budget(team: Entry, own: Mapping[str, Any], defaults: Defaults) -> Budget | None:
    """Return the budget of a user within a team: the user's own there, else what the team gives each member."""
    usual = {
        "max_budget_in_team": team.document.get("team_member_budget"),
        "budget_duration": team.document.get("team_member_budget_duration"),
    }
    calendar = {field: team.document[field] for field in _CALENDAR if field in team.document}
    told = {**calendar, **usual, **own}
    return _budget({**told, "max_budget": told["max_budget_in_team"]}, team.created_at, defaults)


def _member_charges(team: Entry, user: Entry, member: Member | None, defaults: Defaults) -> list[Charge]:
    budget = member_budget(team, {} if member is None else member.document, defaults)
    if budget is None:
        return []
    title = f'member "{user.name or user.id}" of team "{team.name or team.id}"'
    return [Charge(account=f"member:{team.id}/{user.id}", name=title, budget=budget)]


def _member_limits(team: Mapping[str, Any], member: Member | None) -> dict[str, Any]:
    usual = {"rpm_limit": team.get("team_member_rpm_limit"), "tpm_limit": team.get("team_member_tpm_limit")}
    return {**usual, **({} if member is None else member.document)}


def _model_lists(document: Mapping[str, Any], user: Entry | None, team: Entry | None) -> Iterator[tuple[str, ...]]:
    own = document.get("models", ())
    # Without a team there is nothing this word could stand for: the list then allows what else is in it, or nothing.
    if not (team is not None and _TEAM_MODELS in own) and _ALL_MODELS not in own and own:
        yield tuple(own)
    for owner in (user, team):
        models = () if owner is None else owner.document.get("models", ())
        if models and _ALL_MODELS not in models:
            yield tuple(models)


def _model_limits(key: Entry, team: Entry | None) -> dict[str, tuple[tuple[str, Limit], ...]]:
    owners = [(f"model {key.id}", _limits_by_model(key))]
    if team is not None:
        owners.append((f"model team {team.id}", _limits_by_model(team)))
    models = dict.fromkeys(model for _, limits in owners for model in limits)
    # What one of them names is among the unnamed ones of the other.
    return {
        model: tuple(
            (f"{prefix}/{model}", limit)
            for prefix, limits in owners
            if (limit := limits.get(model, limits.get("*"))) is not None
        )
        for model in models
    }


def _limits_by_model(owner: Entry) -> dict[str, Limit]:
    requests, tokens = (owner.document.get(field, {}) for field in ("model_rpm_limit", "model_tpm_limit"))
    return {
        model: Limit(requests=requests.get(model), tokens=tokens.get(model), parallel=None)
        for model in dict.fromkeys((*requests, *tokens))
    }


def _role(document: Mapping[str, Any], user: Entry | None) -> Role | None:
    """Return the role a key has in the admin API: its user's, as far as its kind goes."""
    word = None if user is None else user.document.get("user_role")
    kind = document.get("key_type", "default")
    if word is None or kind == "llm_api":
        return None
    role = Role(word)
    return _READ_ONLY[role] if kind == "read_only" else role
