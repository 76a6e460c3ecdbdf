"""``/v1/models`` as Anthropic's own SDK reads it."""

from __future__ import annotations

import json
from pathlib import Path

import anthropic
import pytest
from models_running import CLAUDE, MASTER, NOVA, Running, running


def sdk(gateway: Running, key: str = MASTER) -> anthropic.AsyncAnthropic:
    """Return a client of a gateway."""
    return anthropic.AsyncAnthropic(base_url=gateway.url, api_key=key, max_retries=0)


async def test_the_list_is_anthropics(tmp_path: Path) -> None:
    """Its SDK finds the names OpenAI's list has, all on one page, with each model's limits."""
    async with running(tmp_path) as gateway, sdk(gateway) as client:
        page = await client.models.list(limit=1)
        names = [entry.id async for entry in client.models.list()]
        raw = json.loads(await (await client.models.with_raw_response.list()).text())
        usual = await gateway.names()

    assert ["claude", "sonnet"] == usual == names == [entry.id for entry in page.data]
    assert (False, "claude", "sonnet", False) == (page.has_more, page.first_id, page.last_id, page.has_next_page())
    assert {"data", "has_more", "first_id", "last_id"} == set(raw)
    assert {
        "type": "model",
        "id": "claude",
        "display_name": "claude",
        "created_at": "1970-01-01T00:00:00Z",
        "lifecycle": "active",
        "max_input_tokens": 1000000,
        "max_tokens": 64000,
        "capabilities": None,
    } == raw["data"][0]


async def test_one_model_is_anthropics(tmp_path: Path) -> None:
    """Its SDK looks up names and model ids, hidden ones too."""
    async with running(tmp_path) as gateway, sdk(gateway) as client:
        found = [await client.models.retrieve(name) for name in ("claude", "old", NOVA, CLAUDE)]

    assert ["claude", "old", NOVA, CLAUDE] == [entry.id for entry in found]
    assert {("model", 1970)} == {(entry.type, entry.created_at.year) for entry in found}


async def test_a_key_that_may_use_nothing(tmp_path: Path) -> None:
    """Where a key may ask for nothing, the list is empty and names no first or last entry."""
    async with running(tmp_path) as gateway, sdk(gateway, await gateway.key(models=["nobody"])) as client:
        page = await client.models.list()

    assert ([], False, None, None) == (page.data, page.has_more, page.first_id, page.last_id)


async def test_refusals_are_anthropics(tmp_path: Path) -> None:
    """Its SDK raises what it raises for Anthropic's own errors, and finds their shape."""
    async with running(tmp_path) as gateway:
        async with sdk(gateway) as client:
            with pytest.raises(anthropic.NotFoundError) as unknown:
                await client.models.retrieve("nobody")
            with pytest.raises(anthropic.BadRequestError) as wrong:
                await client.models.list(extra_query={"return_wildcard_routes": "maybe"})
        async with sdk(gateway, "sk-somebody-elses-key-0123456789") as client:
            with pytest.raises(anthropic.AuthenticationError) as stranger:
                await client.models.list()

    told = [caught.value.body for caught in (unknown, wrong, stranger)]
    assert ["not_found_error", "invalid_request_error", "authentication_error"] == [
        body["error"]["type"] for body in told if isinstance(body, dict) and "error" == body["type"]
    ]
    assert "There is no model group 'nobody'" in str(unknown.value)
