"""Requests as front ends send them that write null for whatever nobody has set, on the whole chain."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_type_hints

import aiohttp
import pytest
from anthropic.types import message_create_params
from openai.types import embedding_create_params, image_generate_params
from openai.types.chat import completion_create_params
from openai.types.responses import response_create_params
from running import running

GROUP = """
model_list:
  - model_name: "*"
    litellm_params: {model: "bedrock/*", aws_region_name: us-east-1, aws_access_key_id: AKIDEPLOYMENTA,
      aws_secret_access_key: secret-A, aws_bedrock_runtime_endpoint: "%(url)s",
      aws_bedrock_agent_runtime_endpoint: "%(url)s"}
"""
SAID = [{"role": "user", "content": "Why?"}]


@pytest.mark.parametrize(
    ("path", "params", "body"),
    [
        (
            "/v1/chat/completions",
            completion_create_params.CompletionCreateParamsNonStreaming,
            {"model": "us.amazon.nova-pro-v1:0", "messages": SAID},
        ),
        (
            "/v1/responses",
            response_create_params.ResponseCreateParamsNonStreaming,
            {"model": "us.amazon.nova-pro-v1:0", "input": "Why?"},
        ),
        (
            "/v1/messages",
            message_create_params.MessageCreateParamsNonStreaming,
            {"model": "us.amazon.nova-pro-v1:0", "messages": SAID, "max_tokens": 5},
        ),
        (
            "/v1/messages",
            message_create_params.MessageCreateParamsNonStreaming,
            {"model": "us.anthropic.claude-sonnet-4-20250514-v1:0", "messages": SAID, "max_tokens": 5},
        ),
        (
            "/v1/embeddings",
            embedding_create_params.EmbeddingCreateParams,
            {"model": "amazon.titan-embed-text-v2:0", "input": "a"},
        ),
        (
            "/v1/images/generations",
            image_generate_params.ImageGenerateParamsNonStreaming,
            {"model": "amazon.nova-canvas-v1:0", "prompt": "A cat."},
        ),
    ],
)
async def test_all_that_an_sdk_knows_may_be_null(
    tmp_path: Path, path: str, params: object, body: dict[str, Any]
) -> None:
    """A request in which every optional member is null is answered as one that has none of them."""
    nulls = dict.fromkeys(name for name in get_type_hints(params) if name not in body)
    async with running(tmp_path, GROUP) as here, aiohttp.ClientSession() as session:
        async with session.post(f"{here.url}{path}", json=body | nulls) as answer:
            told = await answer.json()

        assert 200 == answer.status, told
