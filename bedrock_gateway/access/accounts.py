"""Accounts: whose money a call spends, as texts that stand in the ledger.

One call counts in several: its key's, its user's, its team's, the gateway's. An account exists whether or not it has a
budget, so that a budget given later knows what was spent before. Pure; knows no amounts.

=============================  =======================================================
account                        what is summed in it
=============================  =======================================================
``gateway``                    everything
``key:KEY``                    calls of one caller, by its stable id (``master``, ``local`` too)
``model:KEY/NAME``             calls of one caller for a model group, and for a foundation model by its plain id
``user:USER``, ``team:TEAM``   calls of all keys of a user, of a team
``member:TEAM/USER``           calls of a user's keys within a team
``end_user:ID``, ``tag:NAME``  calls made for somebody, calls with a tag
``deployment:DEPLOYMENT``      what one deployment was charged for
=============================  =======================================================
"""

from __future__ import annotations

from functools import lru_cache

from bedrock_gateway.wire.model_ids import plain_model

__all__ = ["GATEWAY", "accounts_of", "model_account", "owners_of"]

GATEWAY = "gateway"


@lru_cache(maxsize=4096)
def accounts_of(
    caller: str,
    user: str = "",
    team: str = "",
    end_user: str = "",
    tags: tuple[str, ...] = (),
    model_group: str = "",
    model: str = "",
    deployment: str = "",
) -> tuple[str, ...]:
    """Return every account an attempt counts in; "" stands for what it does not have. Calls are much alike: what was
    asked last is kept.

    Args:
        model_group: as it is booked; one with a star is that of a wildcard, whose models count by their ids alone.
        model: id or ARN that was called.
    """
    accounts = [GATEWAY, f"key:{caller}"]
    if model_group and "*" not in model_group:
        accounts.append(f"model:{caller}/{model_group}")
    if model:
        plain = plain_model(model)
        if plain != model_group:
            accounts.append(f"model:{caller}/{plain}")
    if user:
        accounts.append(f"user:{user}")
    if team:
        accounts.append(f"team:{team}")
        if user:
            accounts.append(f"member:{team}/{user}")
    if end_user:
        accounts.append(f"end_user:{end_user}")
    accounts += [f"tag:{tag}" for tag in tags]
    if deployment:
        accounts.append(f"deployment:{deployment}")
    return tuple(accounts)


def model_account(caller: str, name: str) -> str:
    """Return the account of one caller's calls for a model group, or for a foundation model by its plain id."""
    return f"model:{caller}/{name}"


def owners_of(account: str) -> tuple[str, ...]:
    """Return the accounts of everybody who may have been given the budget of an account: itself for most."""
    kind, _, name = account.partition(":")
    if kind == "model":
        return account, f"key:{name.partition('/')[0]}"
    if kind == "member":
        team, _, user = name.partition("/")
        return account, f"team:{team}", f"user:{user}"
    return (account,)
