"""OpenAI's embeddings through the real SDK, on the whole chain: one call, or one for each part of a list."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
from administering import MASTER, new_key
from aiohttp import web
from behind_a_gate import behind_a_gate
from budgeted import assert_nothing_held
from running import Running, running
from scripted_upstream import Asked, scripted

sys.path.append(str(Path(__file__).parents[1] / "downstream"))

from http2_client import connected

MODELS = {
    "titan": "amazon.titan-embed-text-v2:0",
    "titan1": "amazon.titan-embed-text-v1",
    "multimodal": "amazon.titan-embed-image-v1",
    "cohere": "cohere.embed-english-v3",
    "cohere4": "us.cohere.embed-v4:0",
    "nova": "amazon.nova-2-multimodal-embeddings-v1:0",
    "chat": "%(claude)s",
}
DEPLOYMENT = """
  - model_name: {}
    litellm_params: {{model: "bedrock/{}", aws_region_name: us-east-1, max_retries: 0,
      aws_access_key_id: AKIDEPLOYMENTA, aws_secret_access_key: secret-A, aws_bedrock_runtime_endpoint: "%(url)s"}}
"""
CONFIG = "model_list:\n" + "".join(DEPLOYMENT.format(*names) for names in MODELS.items())
LOCKED = CONFIG + f"general_settings: {{master_key: {MASTER}}}\n"
DOT = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="
)
WORDS = ["What", "is a", "gateway", "good for?"]


def sdk(here: Running, key: str = "any-key") -> openai.AsyncOpenAI:
    """Return a client of the gateway that does not repeat calls."""
    return here.closing(openai.AsyncOpenAI(base_url=f"{here.url}/v1", api_key=key, max_retries=0))


@pytest.mark.parametrize(
    ("model", "size", "calls"),
    [
        ("titan", 1024, 4),
        ("titan1", 1536, 4),
        ("multimodal", 1024, 4),
        ("cohere", 1024, 1),
        ("cohere4", 1536, 1),
        ("nova", 3072, 4),
    ],
)
async def test_every_family(tmp_path: Path, model: str, size: int, calls: int) -> None:
    """A list gives a vector for each text, in its order; the SDK's own base64 and floats are the same numbers; usage
    is the sum of what was booked, for one text a call or for all.
    """
    async with running(tmp_path, CONFIG) as here, sdk(here) as client:
        packed = await client.embeddings.create(model=model, input=WORDS)
        await here.settled()
        rows = here.rows("SELECT dialect, operation, calls.state, input FROM attempts JOIN calls ON calls.id = call")
        floats = await client.embeddings.create(model=model, input=WORDS, encoding_format="float")
        alone = await client.embeddings.create(model=model, input=WORDS[2], encoding_format="float")

    assert [0, 1, 2, 3] == [one.index for one in packed.data]
    assert [size] * 4 == [len(one.embedding) for one in packed.data]
    for one, same in zip(packed.data, floats.data, strict=True):
        assert pytest.approx(same.embedding, abs=1e-6) == one.embedding
    assert floats.data[2].embedding == alone.data[0].embedding
    assert model == packed.model
    assert [("openai", "InvokeModel", "metered")] * calls == [
        (row["dialect"], row["operation"], row["state"]) for row in rows
    ]
    assert 0 < packed.usage.prompt_tokens == packed.usage.total_tokens == sum(row["input"] for row in rows)


@pytest.mark.parametrize(("model", "size"), [("titan", 256), ("multimodal", 384), ("cohere4", 512), ("nova", 1024)])
async def test_dimensions(tmp_path: Path, model: str, size: int) -> None:
    """Vectors are as long as asked for, by each family's own name of it."""
    async with running(tmp_path, CONFIG) as here, sdk(here) as client:
        told = await client.embeddings.create(model=model, input="gateway", dimensions=size)

    assert size == len(told.data[0].embedding)


@pytest.mark.parametrize("model", ["multimodal", "cohere", "cohere4", "nova"])
async def test_pictures(tmp_path: Path, model: str) -> None:
    """A data URL of a picture is embedded as a picture, also between texts."""
    async with running(tmp_path, CONFIG) as here, sdk(here) as client:
        told = await client.embeddings.create(model=model, input=["a dot", DOT, "dot"], encoding_format="float")
        text = await client.embeddings.create(model=model, input="dot", encoding_format="float")

    assert [0, 1, 2] == [one.index for one in told.data]
    assert text.data[0].embedding == told.data[2].embedding != told.data[1].embedding


async def test_azures_path(tmp_path: Path) -> None:
    """Azure's SDK names the model in the path."""
    async with running(tmp_path, CONFIG) as here:
        client = openai.AsyncAzureOpenAI(azure_endpoint=here.url, api_key="k", api_version="1", max_retries=0)
        async with client:
            told = await client.embeddings.create(model="titan", input=["a", "b"])

    assert 2 == len(told.data)


async def test_many_texts_to_cohere(tmp_path: Path) -> None:
    """Cohere is given 96 texts a call, and what kind of texts they are."""
    async with running(tmp_path, CONFIG) as here, sdk(here) as client:
        texts = [f"text {number}" for number in range(200)]
        told = await client.embeddings.create(
            model="cohere", input=texts, encoding_format="float", extra_body={"input_type": "search_query"}
        )
        last = await client.embeddings.create(model="cohere", input=texts[199], encoding_format="float")
        await here.settled()

        assert [*range(200)] == [one.index for one in told.data]
        assert last.data[0].embedding == told.data[199].embedding
        assert 4 == len(here.rows("SELECT id FROM calls"))


@pytest.mark.parametrize(
    ("asked", "error", "param"),
    [
        ({"model": "nowhere"}, openai.NotFoundError, "model"),
        ({"model": "chat"}, openai.BadRequestError, "model"),
        ({"model": ""}, openai.BadRequestError, "model"),
        ({"input": []}, openai.BadRequestError, "input"),
        ({"input": [1, 2]}, openai.BadRequestError, "input"),
        ({"input": [[1, 2], [3]]}, openai.BadRequestError, "input"),
        ({"input": ["a", None]}, openai.BadRequestError, "input[1]"),
        ({"input": ["a", ""]}, openai.BadRequestError, "input[1]"),
        ({"input": ["a"] * 2049}, openai.BadRequestError, "input"),
        ({"input": DOT}, openai.BadRequestError, "input[0]"),
        ({"encoding_format": "hex"}, openai.BadRequestError, "encoding_format"),
        ({"dimensions": "many"}, openai.BadRequestError, "dimensions"),
        ({"model": "titan1", "dimensions": 256}, openai.BadRequestError, "dimensions"),
        ({"extra_body": {"input_type": "search_query"}}, openai.BadRequestError, "input_type"),
        ({"extra_body": {"embeddingTypes": ["binary"]}}, openai.BadRequestError, "embeddingTypes"),
        ({"input": ["a", "[[simulate: throttle]]"]}, openai.RateLimitError, None),
    ],
)
async def test_errors_are_the_sdks_own(
    tmp_path: Path, asked: dict[str, Any], error: type[openai.APIStatusError], param: str | None
) -> None:
    """What is wrong comes as the exception that the SDK has for it, and names the field."""
    async with running(tmp_path, CONFIG) as here, sdk(here) as client:
        with pytest.raises(error) as caught:
            await client.embeddings.create(**({"model": "titan", "input": "gateway"} | asked))

    assert param == caught.value.param


async def test_what_a_model_has_no_place_for_is_dropped(tmp_path: Path) -> None:
    """With ``drop_params`` a size that cannot be chosen is left out."""
    async with running(tmp_path, CONFIG) as here, sdk(here) as client:
        more = {"drop_params": True, "input_type": "search_query"}
        told = await client.embeddings.create(model="titan1", input="gateway", dimensions=9, extra_body=more)

    assert 1536 == len(told.data[0].embedding)


async def test_one_answer_tells_of_all_its_calls(tmp_path: Path) -> None:
    """The headers of a divided request have the id of a call that is in the ledger, and the spend of all of them."""
    async with running(tmp_path, CONFIG) as here, sdk(here) as client:
        told = await client.embeddings.with_raw_response.create(model="titan", input=WORDS, user="ada")
        await here.settled()
        rows = here.rows(
            "SELECT calls.id, end_user, calls.spend FROM attempts JOIN calls ON calls.id = call ORDER BY calls.id"
        )

    assert ("4", "4") == (told.headers["x-bedrock-gateway-parts"], told.headers["x-bedrock-gateway-attempts"])
    assert told.headers["x-bedrock-gateway-call-id"] in {row["id"] for row in rows}
    assert {"ada"} == {row["end_user"] for row in rows}
    assert sum(row["spend"] for row in rows) == round(float(told.headers["x-bedrock-gateway-spend-usd"]) * 1e9) > 0
    assert 4 == len(here.lines)


async def test_a_budget_that_ends_a_list_half_way(tmp_path: Path) -> None:
    """Each text counts against the budget: the first it has no room for ends the list, is the answer, and says that
    the list is not to be repeated; what was sent before is booked, and nothing stays held.
    """
    long = ["word " * 2000] * 40
    async with running(tmp_path, LOCKED) as here:
        client = sdk(here, await new_key(here, max_budget=0.0005, max_parallel_requests=1))
        with pytest.raises(openai.BadRequestError, match="budget of key") as caught:
            await client.embeddings.create(model="titan", input=long)
        await here.settled()
        await assert_nothing_held(here)
        await here.until(lambda: len(here.lines) == len(here.rows("SELECT id FROM calls WHERE ended_at IS NOT NULL")))
        rows = here.rows("SELECT status, spend FROM calls ORDER BY id")
        await client.close()

    sent = [row for row in rows if row["status"] == 200]
    assert "budget_exceeded" == caught.value.code
    assert "false" == caught.value.response.headers["x-should-retry"]
    assert 0 < len(sent) < 40
    assert sum(row["spend"] for row in sent) <= 500_000
    assert [200] * len(sent) + [400] == [row["status"] for row in rows]


async def test_a_list_of_more_texts_than_a_limit_ever_allows(tmp_path: Path) -> None:
    """A list that takes more calls than its key may make a minute is refused before one of them is billed."""
    async with running(tmp_path, LOCKED) as here, sdk(here, await new_key(here, rpm_limit=2)) as client:
        with pytest.raises(openai.BadRequestError, match="takes 4 calls") as caught:
            await client.embeddings.create(model="titan", input=WORDS)
        await here.settled()

        assert "input" == caught.value.param
        assert [] == here.rows("SELECT * FROM attempts")


async def test_a_list_for_a_model_that_is_not_the_keys(tmp_path: Path) -> None:
    """What a key may not use is refused once for the whole list, and is one row."""
    async with running(tmp_path, LOCKED) as here, sdk(here, await new_key(here, models=["cohere"])) as client:
        with pytest.raises(openai.PermissionDeniedError):
            await client.embeddings.create(model="titan", input=WORDS)
        await here.until(lambda: here.rows("SELECT id FROM calls WHERE ended_at IS NOT NULL"))
        await here.settled()

        assert [{"status": 403}] == here.rows("SELECT status FROM calls")


@pytest.mark.parametrize(("limits", "most"), [({}, 8), ({"max_parallel_requests": 3}, 3)])
async def test_how_many_are_under_way_at_once(tmp_path: Path, limits: dict[str, int], most: int) -> None:
    """Eight parts of a list at once, or as many calls as its key may make."""
    general = f"master_key: {MASTER}"
    async with behind_a_gate(tmp_path, general, passing=0, config=CONFIG) as (here, gate):
        key = await new_key(here, **limits)
        async with sdk(here, key) as client:
            asking = asyncio.create_task(client.embeddings.create(model="titan", input=WORDS * 5))
            await here.until(lambda: gate.held == most)
            assert most == len([call for call in here.gateway.calls if call.part])
            gate.open.set()
            told = await asking

    assert [*range(20)] == [one.index for one in told.data]


async def test_a_caller_that_leaves_a_list(tmp_path: Path) -> None:
    """Parts under way are read to their end and booked as AWS bills them; no other begins."""
    async with behind_a_gate(tmp_path, passing=0, config=CONFIG) as (here, gate):
        async with aiohttp.ClientSession() as session:
            body = {"model": "titan", "input": WORDS * 5}
            asking = asyncio.create_task(session.post(f"{here.url}/v1/embeddings", json=body))
            await here.until(lambda: gate.held == 8)
            asking.cancel()
        await here.until(lambda: here.gateway.leaving.draining == 8)
        gate.open.set()
        await here.settled()
        left = [{"caller_left": 1, "state": "metered"}] * 8
        await here.until(lambda: left == here.rows("SELECT caller_left, state FROM calls"))


async def test_a_list_that_is_ended(tmp_path: Path) -> None:
    """A list that is ended ends with all its parts, and what they sent may be billed."""
    async with behind_a_gate(tmp_path, passing=0, config=CONFIG) as (here, gate):
        async with sdk(here) as client:
            asking = asyncio.create_task(client.embeddings.create(model="titan", input=WORDS * 5))
            await here.until(lambda: gate.held == 8)
            whole = next(call for call in here.gateway.calls if call.divided)
            here.gateway.leaving.abandon(whole, "its time is over")
            with pytest.raises(openai.APIStatusError, match="its time is over") as caught:
                await asking
        await here.settled()
        await here.until(lambda: [{"state": "estimated"}] * 8 == here.rows("SELECT state FROM attempts"))

    assert 424 == caught.value.status_code


async def test_parts_that_end_before_they_begin(tmp_path: Path) -> None:
    """Parts whose tasks are cancelled before their first step are settled and on record, and nothing was sent."""
    async with behind_a_gate(tmp_path, passing=0, config=CONFIG) as (here, _), sdk(here) as client:
        asking = asyncio.create_task(client.embeddings.create(model="titan", input=WORDS * 5))
        await here.until(lambda: any(call.part for call in here.gateway.calls))
        for call in [call for call in here.gateway.calls if call.part]:
            here.gateway.leaving.abandon(call, "it is late")
        with pytest.raises(openai.InternalServerError, match="it is late") as caught:
            await asking
        await here.settled()
        await here.until(lambda: 8 == len(here.rows("SELECT id FROM calls WHERE ended_at IS NOT NULL")))

        assert 503 == caught.value.status_code
        assert [] == here.rows("SELECT id FROM attempts")


async def test_a_list_over_http2(tmp_path: Path) -> None:
    """Over HTTP/2 a list is divided as well."""
    body = json.dumps({"model": "titan", "input": WORDS * 3}).encode()
    async with running(tmp_path, CONFIG) as here, connected(here.port) as client:
        headers = [("content-type", "application/json"), ("content-length", str(len(body)))]
        stream = client.open(*headers, end=False, method="POST", path="/v1/embeddings")
        client.data(stream, body, end=True)
        answer = await client.answer(stream)

    assert [*range(12)] == [one["index"] for one in json.loads(answer.body)["data"]]


async def test_a_stop_lets_a_list_end(tmp_path: Path) -> None:
    """A gateway that stops takes no new calls, but the parts of a list that has begun."""
    async with behind_a_gate(tmp_path, passing=0, config=CONFIG) as (here, gate), sdk(here) as client:
        asking = asyncio.create_task(client.embeddings.create(model="titan", input=WORDS * 5))
        await here.until(lambda: gate.held == 8)
        here.gateway.stopping = True
        gate.open.set()

        assert 20 == len((await asking).data)


async def test_an_answer_without_vectors(tmp_path: Path) -> None:
    """What upstream says instead of vectors is an error that is not to be repeated, and booked all the same."""

    async def nothing(asked: Asked) -> web.StreamResponse:
        return web.json_response({"inputTextTokenCount": 3})

    async with scripted(nothing) as upstream, running(tmp_path, CONFIG.replace("%(url)s", upstream.url)) as here:
        async with sdk(here) as client:
            with pytest.raises(openai.APIStatusError, match="not with an embedding") as caught:
                await client.embeddings.create(model="titan", input="gateway")
        await here.settled()
        rows = here.rows("SELECT state, input FROM attempts")

    assert 424 == caught.value.status_code
    assert "false" == caught.value.response.headers["x-should-retry"]
    assert [{"state": "metered", "input": 3}] == rows


async def test_a_model_that_a_key_may_not_use_is_not_told_about(tmp_path: Path) -> None:
    """Which family it is of, and what that can do, is nobody's business who may not use it."""
    async with running(tmp_path, LOCKED) as here, sdk(here, await new_key(here, models=["titan"])) as client:
        for model in ("titan1", "chat"):
            with pytest.raises(openai.PermissionDeniedError, match="its models do not name it"):
                await client.embeddings.create(model=model, input="a", dimensions=256)
        await client.embeddings.create(model="titan", input="a", dimensions=256)
