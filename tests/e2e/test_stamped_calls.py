"""Calls that AWS's invocation logs can be joined with the ledger by."""

from __future__ import annotations

import json
from pathlib import Path

from administering import LOCKED, administer, call, new_key
from running import running

STAMPED = LOCKED.replace("general_settings: {", "general_settings: {request_metadata: true, ")


async def test_call_key_user_and_team_are_stamped(tmp_path: Path) -> None:
    """Both kinds of operations carry who called, under a signature that holds; the row names the edit."""
    async with running(tmp_path, STAMPED) as here:
        await administer(here, "/team/new", {"team_id": "red"})
        await administer(here, "/user/new", {"user_id": "ann", "auto_create_key": False})
        key = await new_key(here, team_id="red", user_id="ann")
        status, _, headers = await call(here, key)
        assert 200 == status
        told = json.loads(here.simulator.received[-1].body)["requestMetadata"]
        assert headers["x-bedrock-gateway-call-id"] == told["gateway_call"]
        assert {"gateway_call", "gateway_key", "gateway_user", "gateway_team"} == told.keys()
        assert ("ann", "red") == (told["gateway_user"], told["gateway_team"])
        assert key not in json.dumps(told)
        body = {
            "anthropic_version": "bedrock-2023-05-31",
            "max_tokens": 9,
            "messages": [{"role": "user", "content": "x"}],
        }
        status, _, headers = await call(here, key, action="invoke", body=body)
        assert 200 == status
        received = here.simulator.received[-1]
        sent = json.loads(dict(received.headers)["x-amzn-bedrock-request-metadata"])
        assert headers["x-bedrock-gateway-call-id"] == sent["gateway_call"]
        assert body == json.loads(received.body)
        await here.settled()
        rows = here.rows(
            "SELECT attempts.notes, calls.id, calls.caller FROM attempts JOIN calls ON calls.id = attempts.call"
        )
        assert all("edit:metadata" in row["notes"] for row in rows)
        assert {told["gateway_key"]} == {row["caller"] for row in rows}
        assert {told["gateway_call"], sent["gateway_call"]} == {row["id"] for row in rows}


async def test_nothing_is_stamped_unless_asked_for(tmp_path: Path) -> None:
    """By default bodies go up as they came."""
    async with running(tmp_path, LOCKED) as here:
        key = await new_key(here)
        assert 200 == (await call(here, key))[0]
        assert b"requestMetadata" not in here.simulator.received[-1].body
