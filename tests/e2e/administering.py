"""A locked gateway whose keys, users and teams are made over its own API."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
from running import GROUPS, Running

__all__ = ["LOCKED", "MASTER", "administer", "call", "new_key"]

MASTER = "sk-master-0123456789abcdef"
LOCKED = GROUPS + f"general_settings: {{master_key: {MASTER}}}\n"
BODY = {
    "messages": [{"role": "user", "content": [{"text": "What is a gateway good for?"}]}],
    "inferenceConfig": {"maxTokens": 100},
}


async def administer(here: Running, path: str, body: dict[str, Any] | None = None, key: str = MASTER) -> dict[str, Any]:
    """Call the admin API, by POST where there is a body, and return what it answers with 200."""
    status, answer = await administered(here, path, body, key)
    assert 200 == status, answer
    return answer


async def administered(
    here: Running, path: str, body: dict[str, Any] | None = None, key: str = MASTER
) -> tuple[int, Any]:
    """Call the admin API, and return status and answer."""
    headers = {"authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        method = "GET" if body is None else "POST"
        async with session.request(method, f"{here.url}{path}", json=body) as answer:
            return answer.status, await answer.json()


async def new_key(here: Running, **fields: Any) -> str:
    """Make a virtual key and return it."""
    made = await administer(here, "/key/generate", fields)
    key: str = made["key"]
    return key


async def call(
    here: Running,
    key: str,
    *,
    model: str = "single",
    action: str = "converse",
    body: Any = BODY,
    session: aiohttp.ClientSession | None = None,
    **headers: str,
) -> tuple[int, Any, dict[str, str]]:
    """Make one call; return status, body and headers (lower-case names)."""
    told = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    told |= {name.replace("_", "-"): value for name, value in headers.items()}
    if session is None:
        async with aiohttp.ClientSession() as own:
            return await call(here, key, model=model, action=action, body=body, session=own, **headers)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with session.post(f"{here.url}/bedrock/model/{model}/{action}", data=data, headers=told) as answer:
        content = await answer.read()
        found = {name.lower(): value for name, value in answer.headers.items()}
        is_json = answer.headers.get("content-type", "").startswith("application/json")
        return answer.status, json.loads(content) if is_json else content, found
