"""Stock clients with a virtual key, in each of the three ways in which an AWS client can have one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import pytest
from administering import LOCKED, administer
from budgeted import assert_nothing_held
from running import ROOT, Running, running
from stock_clients import (
    ACTIONS,
    MODELS,
    Client,
    check_bytes,
    newest_boto3,
    pinned_aiobotocore,
    pinned_boto3,
)
from wire_tap import tapped

from bedrock_gateway.access.issued_credentials import issue


def environ_of(way: str, here: Running, key: str, key_id: str) -> Mapping[str, str]:
    """Return the variables that give a client a key."""
    if way == "plain":
        return {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": "unused"}
    if way == "container":
        return {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{here.url}/aws/container-credentials",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": key,
        }
    issued = issue(ROOT, key_id, 0, expires_at_ms=None)
    return {"AWS_ACCESS_KEY_ID": issued.access_key_id, "AWS_SECRET_ACCESS_KEY": issued.secret_access_key}


@pytest.mark.parametrize("way", ["plain", "signed", "container"])
@pytest.mark.parametrize("client", [pinned_boto3, newest_boto3, pinned_aiobotocore])
async def test_a_stock_client_calls_with_a_key(tmp_path: Path, client: Client, way: str) -> None:
    """Each client calls each operation by each kind of name, under a budget and limits: what is signed for the gateway
    is verified, bodies pass unchanged both ways, what goes upstream is signed anew, and each call is the key's.
    """
    asked = [name for name, _ in MODELS.values()]
    async with running(tmp_path, LOCKED) as here, tapped(here.port) as tap:
        fields = {"max_budget": 100, "rpm_limit": 100, "tpm_limit": 10**9, "max_parallel_requests": 2}
        rights = {"pass_through_all_models": True, "allow_unbounded": True}
        made = await administer(here, "/key/generate", {**fields, **rights})
        told = await client(tap.url, environ_of(way, here, made["key"], made["key_id"]), *asked)
        await assert_nothing_held(here, [f"key {made['key_id']}"])

        exchanges = tap.exchanges()
        for exchange in exchanges:
            check_bytes(here, exchange)
        received = [*here.simulator.received]
        paths = [
            f"/model/{quote(sent, safe='')}/{action}" for _, sent in MODELS.values() for action in ACTIONS.values()
        ]
        assert {name: set(ACTIONS) for name in asked} == {name: {*answers} for name, answers in told.items()}
        assert all(all(answers.values()) for answers in told.values())
        assert [*ACTIONS] * len(asked) == [record.operation for record in received]
        assert paths == [record.raw_path for record in received]
        assert {"AKIDEPLOYMENTA"} == {record.access_key_id for record in received}
        assert [{"caller": made["key_id"], "status": 200, "calls": len(exchanges)}] == here.rows(
            "SELECT caller, status, count(*) AS calls FROM calls GROUP BY caller, status"
        )
        signed_by = {exchange.headers["authorization"].partition("Credential=")[2][:4] for exchange in exchanges}
        assert {"plain": {made["key"][:4]}}.get(way, {"BGKI"}) == signed_by
