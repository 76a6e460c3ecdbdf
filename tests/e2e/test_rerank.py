"""Cohere's rerank on the whole chain."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from administering import LOCKED, new_key
from aiohttp import web
from running import Running, running
from scripted_upstream import Asked, scripted

DEPLOYMENT = """
  - model_name: {}
    litellm_params: {{model: "bedrock/{}", aws_region_name: us-west-2,
      aws_access_key_id: AKIDEPLOYMENTA, aws_secret_access_key: secret-A}}
"""
ARN = "arn:aws:bedrock:us-west-2::foundation-model/amazon.rerank-v1:0"
CONFIG = "model_list:\n" + DEPLOYMENT.format("ranker", "cohere.rerank-v3-5:0") + DEPLOYMENT.format("amazon", ARN)
QUERY = "What is a gateway good for?"
DOCUMENTS = ["A bird sings.", "A gateway is good for many a call.", "What is good?"]


async def rerank(here: Running, asked: Any, path: str = "/v1/rerank", key: str = "any-key") -> tuple[int, Any]:
    """Make a call; return status and answer."""
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {key}"}) as session:
        async with session.post(f"{here.url}{path}", json=asked) as answer:
            return answer.status, await answer.json()


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/rerank"])
async def test_documents_are_ranked(tmp_path: Path, path: str) -> None:
    """The best come first, by their places in the request, with the units that were booked."""
    async with running(tmp_path, CONFIG, all_of_aws=True) as here:
        status, told = await rerank(here, {"model": "ranker", "query": QUERY, "documents": DOCUMENTS, "top_n": 2}, path)
        await here.settled()
        rows = here.rows("SELECT id, dialect, operation, model_group, spend, state FROM calls")
        (attempt,) = here.rows("SELECT model, region FROM attempts")

    assert 200 == status
    assert [1, 2] == [one["index"] for one in told["results"]]
    assert all(one.keys() == {"index", "relevance_score"} for one in told["results"])
    assert {"billed_units": {"search_units": 1}} == told["meta"]
    assert [told["id"]] == [row.pop("id") for row in rows]
    assert [("openai", "Rerank", "ranker", 2_000_000)] == [
        (row["dialect"], row["operation"], row["model_group"], row["spend"]) for row in rows
    ]
    assert {"model": "cohere.rerank-v3-5:0", "region": "us-west-2"} == attempt


async def test_search_units_are_those_that_are_priced(tmp_path: Path) -> None:
    """A hundred documents are a unit, and a long document is several."""
    async with running(tmp_path, CONFIG, all_of_aws=True) as here:
        asked = {"model": "ranker", "query": QUERY, "documents": ["word"] * 199 + ["word " * 900]}
        _, told = await rerank(here, asked)
        await here.settled()
        (row,) = here.rows("SELECT spend FROM calls")

    assert 3 == told["meta"]["billed_units"]["search_units"]
    assert 6_000_000 == row["spend"]


async def test_documents_come_back(tmp_path: Path) -> None:
    """With ``return_documents`` each result has its document: a text as Cohere tells it, an object as it came."""
    documents = ["gateway", {"text": "What is it?"}, {"title": "What is a gateway good for", "pages": 3}]
    async with running(tmp_path, CONFIG, all_of_aws=True) as here:
        asked = {"model": "ranker", "query": QUERY, "documents": documents, "return_documents": True}
        _, told = await rerank(here, asked)

    found = {one["index"]: one["document"] for one in told["results"]}
    assert {0: {"text": "gateway"}, 1: documents[1], 2: documents[2]} == found


@pytest.mark.parametrize(
    ("model", "arn"),
    [
        ("ranker", "arn:aws:bedrock:us-west-2::foundation-model/cohere.rerank-v3-5:0"),
        ("amazon", ARN),
        (ARN, ARN),
        ("amazon.rerank-v1:0", "arn:aws:bedrock:us-east-1::foundation-model/amazon.rerank-v1:0"),
    ],
)
async def test_what_upstream_is_asked(tmp_path: Path, model: str, arn: str) -> None:
    """The model that a name leads to is named by its ARN, a raw id too; what is not Cohere's goes to the model."""

    async def answer(asked: Asked) -> web.StreamResponse:
        return web.json_response({"results": []})

    async with scripted(answer) as upstream:
        config = CONFIG if model != "amazon.rerank-v1:0" else CONFIG.replace(ARN, "cohere.rerank-v3-5:0")
        environ = {"AWS_ENDPOINT_URL_BEDROCK_AGENT_RUNTIME": upstream.url}
        async with running(tmp_path, config, environ=environ) as here:
            asked = {
                "model": model,
                "query": "q",
                "documents": ["d", {"a": 1, "b": 2}],
                "rank_fields": ["b"],
                "top_n": 9,
            }
            status, told = await rerank(here, asked | {"max_tokens_per_doc": 64, "user": "ada"})

    assert (200, []) == (status, told["results"])
    assert {
        "queries": [{"type": "TEXT", "textQuery": {"text": "q"}}],
        "sources": [
            {"type": "INLINE", "inlineDocumentSource": {"type": "TEXT", "textDocument": {"text": "d"}}},
            {"type": "INLINE", "inlineDocumentSource": {"type": "JSON", "jsonDocument": {"b": 2}}},
        ],
        "rerankingConfiguration": {
            "type": "BEDROCK_RERANKING_MODEL",
            "bedrockRerankingConfiguration": {
                "modelConfiguration": {
                    "modelArn": arn,
                    "additionalModelRequestFields": {"max_tokens_per_doc": 64},
                },
                "numberOfResults": 2,
            },
        },
    } == json.loads(upstream.asked[0].body)


@pytest.mark.parametrize(
    ("asked", "status", "param"),
    [
        ({"model": "nowhere"}, 404, "model"),
        ({"model": None}, 400, "model"),
        ({"query": ""}, 400, "query"),
        ({"query": 5}, 400, "query"),
        ({"documents": []}, 400, "documents"),
        ({"documents": "one"}, 400, "documents"),
        ({"documents": ["a", ""]}, 400, "documents[1]"),
        ({"documents": ["a", 5]}, 400, "documents[1]"),
        ({"documents": ["a", {"text": 5}]}, 400, "documents[1].text"),
        ({"documents": [{"b": 1}], "rank_fields": ["a"]}, 400, "documents[0]"),
        ({"top_n": 0}, 400, "top_n"),
        ({"return_documents": "yes"}, 400, "return_documents"),
    ],
)
async def test_what_is_wrong_is_named(tmp_path: Path, asked: dict[str, Any], status: int, param: str) -> None:
    """Nothing that cannot be read goes upstream; the error names the field."""
    async with running(tmp_path, CONFIG, all_of_aws=True) as here:
        got, told = await rerank(here, {"model": "ranker", "query": QUERY, "documents": DOCUMENTS} | asked)

        assert (status, param) == (got, told["error"]["param"])
        assert [] == here.rows("SELECT id FROM attempts")


async def test_a_key_reranks_only_with_its_models_and_its_money(tmp_path: Path) -> None:
    """A key is refused a model that is not its own, and a search its budget has no room for."""
    config = LOCKED.replace("model_list:", CONFIG.rstrip())
    async with running(tmp_path, config, all_of_aws=True) as here:
        asked = {"model": "ranker", "query": QUERY, "documents": DOCUMENTS}
        foreign = await rerank(here, asked, key=await new_key(here, models=["amazon"]))
        poor = await new_key(here, models=["ranker"], max_budget=0.003)
        first, second = await rerank(here, asked, key=poor), await rerank(here, asked, key=poor)

    assert (200, 403, 400) == (first[0], foreign[0], second[0])
    assert "budget_exceeded" == second[1]["error"]["code"]


async def test_an_answer_without_results(tmp_path: Path) -> None:
    """What upstream says instead of a ranking is an error that is not to be repeated."""

    async def nothing(asked: Asked) -> web.StreamResponse:
        return web.json_response({})

    async with scripted(nothing) as upstream:
        environ = {"AWS_ENDPOINT_URL_BEDROCK_AGENT_RUNTIME": upstream.url}
        async with running(tmp_path, CONFIG, environ=environ) as here:
            status, told = await rerank(here, {"model": "ranker", "query": QUERY, "documents": DOCUMENTS})

    assert 424 == status
    assert "no ranking" in told["error"]["message"]


async def test_a_model_that_ranks_nothing_is_refused(tmp_path: Path) -> None:
    """A model that is no reranker is refused by name, and nothing is sent."""
    async with running(tmp_path) as here, aiohttp.ClientSession() as session:
        asked = {"model": "single", "query": "q", "documents": ["d"]}
        async with session.post(f"{here.url}/v1/rerank", json=asked) as answer:
            told = (await answer.json())["error"]

        assert (400, "model", 0) == (answer.status, told["param"], here.simulator.received.total)
