"""The calls that Open WebUI makes of an OpenAI API, one after the other, as it makes them."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from running import running

CONFIG = """
model_list:
  - model_name: claude
    litellm_params: &deployment {model: bedrock/%(claude)s, aws_region_name: us-east-1,
      aws_access_key_id: AKIDEPLOYMENTA, aws_secret_access_key: secret-A, aws_bedrock_runtime_endpoint: "%(url)s"}
  - model_name: canvas
    litellm_params: {<<: *deployment, model: bedrock/amazon.nova-canvas-v1:0}
  - model_name: titan
    litellm_params: {<<: *deployment, model: "bedrock/amazon.titan-embed-text-v2:0"}
general_settings: {master_key: sk-the-master-key-0123456789}
"""
KEY = "sk-the-master-key-0123456789"
HEADERS = {
    "Authorization": f"Bearer {KEY}",
    "X-OpenWebUI-User-Name": "Ada",
    "X-OpenWebUI-User-Id": "7f3c",
    "X-OpenWebUI-User-Email": "ada@example.com",
    "X-OpenWebUI-User-Role": "user",
}


async def test_open_webui(tmp_path: Path) -> None:
    """Its list of models, a chat that is streamed, the title of it, an image, and embeddings of documents."""
    async with running(tmp_path, CONFIG) as here, aiohttp.ClientSession(f"{here.url}/v1/", headers=HEADERS) as session:

        async def post(path: str, body: dict[str, Any]) -> Any:
            async with session.post(path, json=body) as answer:
                text = await answer.text()
                assert 200 == answer.status, text
                return json.loads(text)

        async with session.get("models") as answer:
            models = [entry["id"] for entry in (await answer.json())["data"]]
        conversation = [
            {"role": "system", "content": "You help."},
            {"role": "user", "content": [{"type": "text", "text": "Hello"}]},
        ]
        chat = {"stream": True, "model": "claude", "messages": conversation, "stream_options": {"include_usage": True}}
        chat |= {"temperature": 0.8, "max_tokens": 20, "stop": ["###"]}
        async with session.post("chat/completions", json=chat) as answer:
            kind, lines = answer.headers["Content-Type"], (await answer.text()).split("\n\n")
        title = await post(
            "chat/completions",
            {"model": "claude", "messages": conversation[1:], "stream": False, "max_completion_tokens": 10},
        )
        image = await post(
            "images/generations",
            {"model": "canvas", "prompt": "a gate", "n": 1, "size": "512x512", "response_format": "b64_json"},
        )
        vectors = await post("embeddings", {"input": ["one", "two"], "model": "titan"})
        await here.settled()

        assert ["claude", "canvas", "titan"] == models
        assert kind.startswith("text/event-stream")
        assert ["data: [DONE]", ""] == lines[-2:]
        chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]
        assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])
        assert 20 == chunks[-1]["usage"]["completion_tokens"]
        assert title["choices"][0]["message"]["content"]
        assert base64.b64decode(image["data"][0]["b64_json"])
        assert [0, 1] == [entry["index"] for entry in vectors["data"]]
        assert {"metered"} == {row["state"] for row in here.rows("SELECT state FROM calls")}


@pytest.mark.parametrize("path", ["models", "chat/completions"])
async def test_open_webui_with_a_wrong_key(tmp_path: Path, path: str) -> None:
    """What it shows its administrator of a wrong key is a message."""
    async with running(tmp_path, CONFIG) as here, aiohttp.ClientSession() as session:
        method = "GET" if path == "models" else "POST"
        headers = {"Authorization": "Bearer sk-wrong-0123456789"}
        async with session.request(
            method, f"{here.url}/v1/{path}", json={"model": "claude"}, headers=headers
        ) as answer:
            assert 401 == answer.status
            assert (await answer.json())["error"]["message"]
