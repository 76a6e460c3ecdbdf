"""What agents and knowledge bases do for a call, as it is booked through the whole gateway."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from running import Running, running
from scripted_upstream import Asked, scripted

CONFIG = """
model_list:
  - model_name: nova
    litellm_params: {model: bedrock/amazon.nova-lite-v1:0, aws_region_name: us-east-1, input_cost_per_token: 0.001,
      output_cost_per_token: 0.002}
"""
SAFE = """
  - model_name: safe
    litellm_params: {model: bedrock/amazon.nova-pro-v1:0, aws_region_name: us-east-1,
      guardrailConfig: {guardrailIdentifier: gr1, guardrailVersion: "1"}}
"""
AGENT = {
    "foundationModel": "nova",
    "instruction": "Be of help to whoever asks.",
    "inputText": "Hi?",
    "enableTrace": True,
}


async def ask(here: Running, path: str, body: Any) -> bytes:
    """Make one call; return what it answers."""
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{here.url}/bedrock{path}", json=body) as answer:
            told = await answer.read()
            assert 200 == answer.status, told
            return told


@pytest.mark.parametrize(
    ("more", "state"),
    [
        ({}, "metered"),
        ({"guardrailConfiguration": {"guardrailIdentifier": "gr1", "guardrailVersion": "1"}}, "incomplete"),
    ],
)
async def test_an_inline_agent_of_a_model_with_prices_of_its_own(
    tmp_path: Path, more: dict[str, Any], state: str
) -> None:
    """The model that was asked for costs what its deployment says, though the trace tells of it by its id."""
    async with running(tmp_path, CONFIG, all_of_aws=True) as here:
        await ask(here, "/agents/session1", AGENT | more)
        await here.settled()
        (row,) = here.rows("SELECT * FROM attempts")
        assert (state, True) == (row["state"], row["input"] > 0)
        assert row["input"] * 1_000_000 + row["output"] * 2_000_000 == row["spend"]
        assert ("guardrail-unpriced" in json.loads(row["notes"])) == (state == "incomplete")


GUARDRAIL = {"guardrailConfiguration": {"guardrailId": "gr1", "guardrailVersion": "1"}}
KNOWLEDGE = {"knowledgeBaseId": "KB12345678", "modelArn": "nova"}


@pytest.mark.parametrize("guarded", [{}, GUARDRAIL])
@pytest.mark.parametrize("cited", [1_000, 2_000_000])
async def test_an_answer_out_of_a_knowledge_base(tmp_path: Path, cited: int, guarded: dict[str, Any]) -> None:
    """However large it is, its tokens are estimated from its text, and a guardrail that was asked for is named."""
    body = {"output": {"text": "x" * 4_000}, "citations": ["y" * cited], "sessionId": "s1"}

    async def script(asked: Asked) -> web.StreamResponse:
        return web.json_response(body)

    configuration = {"knowledgeBaseConfiguration": KNOWLEDGE | {"generationConfiguration": guarded}}
    request = {"input": {"text": "Hi?"}, "retrieveAndGenerateConfiguration": configuration}
    async with scripted(script) as upstream:
        environ = {"AWS_ENDPOINT_URL_BEDROCK_AGENT_RUNTIME": upstream.url}
        async with running(tmp_path, CONFIG, environ=environ) as here:
            assert body == json.loads(await ask(here, "/retrieveAndGenerate", request))
            await here.settled()
            (row,) = here.rows("SELECT * FROM attempts")
    assert ("estimated", 1_000, True) == (row["state"], row["output"], row["input"] > cited // 4)
    assert bool(guarded) == ("guardrail-unpriced" in json.loads(row["notes"]))


async def test_a_guardrail_of_a_search(tmp_path: Path) -> None:
    """It is named beside the reranker, which is the part of a search that has a price."""

    async def script(asked: Asked) -> web.StreamResponse:
        return web.json_response({"retrievalResults": []})

    model = {"modelArn": "arn:aws:bedrock:us-east-1::foundation-model/cohere.rerank-v3-5:0"}
    reranking = {
        "type": "BEDROCK_RERANKING_MODEL",
        "bedrockRerankingConfiguration": {"modelConfiguration": model},
    }
    search = {
        "retrievalQuery": {"text": "Hi?"},
        "retrievalConfiguration": {"vectorSearchConfiguration": {"rerankingConfiguration": reranking}},
    }
    async with scripted(script) as upstream:
        environ = {"AWS_ENDPOINT_URL_BEDROCK_AGENT_RUNTIME": upstream.url}
        async with running(tmp_path, CONFIG, environ=environ) as here:
            await ask(here, "/knowledgebases/KB12345678/retrieve", search | GUARDRAIL)
            await ask(here, "/knowledgebases/KB12345678/retrieve", search)
            await here.settled()
            rows = here.rows("SELECT * FROM attempts ORDER BY started_at, id")
    assert [("estimated", 2_000_000)] * 2 == [(row["state"], row["spend"]) for row in rows]
    assert [True, False] == ["guardrail-unpriced" in json.loads(row["notes"]) for row in rows]


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"foundationModel": "safe"}, 200),
        ({"foundationModel": "safe", "collaborators": [{"foundationModel": "nova"}]}, 200),
        ({"collaborators": [{"foundationModel": "safe"}]}, 403),
        ({"foundationModel": "safe", "collaborators": [{"foundationModel": "safe"}]}, 403),
        ({"promptOverrideConfiguration": {"promptConfigurations": [{"foundationModel": "safe"}]}}, 403),
    ],
)
async def test_a_guardrail_cannot_be_gone_round(tmp_path: Path, more: dict[str, Any], status: int) -> None:
    """A model with a forced guardrail works where that goes along, and not beside another model."""

    async def script(asked: Asked) -> web.StreamResponse:
        return web.json_response({})

    async with scripted(script) as upstream:
        environ = {"AWS_ENDPOINT_URL_BEDROCK_AGENT_RUNTIME": upstream.url}
        async with running(tmp_path, CONFIG + SAFE, environ=environ) as here:
            async with aiohttp.ClientSession() as session:
                async with session.post(f"{here.url}/bedrock/agents/session1", json=AGENT | more) as answer:
                    told = await answer.text()
    assert (status, status == 403) == (answer.status, "without the guardrail" in told), told
    assert [{"guardrailIdentifier": "gr1", "guardrailVersion": "1"}] * (status == 200) == [
        json.loads(asked.body)["guardrailConfiguration"] for asked in upstream.asked
    ]
