"""Models whose id does not tell what they are: looked up once, off the way of later calls, and told apart when AWS says
nothing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from administering import MASTER, new_key
from aiohttp import web
from groups import ask
from running import running
from scripted_upstream import Asked, Script, Upstream, denied, scripted, throttled, whole

CLAUDE = "anthropic.claude-3-5-haiku-20241022-v1:0"
NOVA = "amazon.nova-lite-v1:0"
ACCOUNT = "arn:aws:bedrock:us-east-1:111122223333"
THROUGHPUT = f"{ACCOUNT}:provisioned-model/abcdefghijkl"
PROFILE = f"{ACCOUNT}:application-inference-profile/abcdefghijkl"
ROUTER = f"{ACCOUNT}:prompt-router/router1"
CUSTOM = f"{ACCOUNT}:custom-model/amazon.nova-lite-v1:0:300k/abcdefghijkl"
CUSTOM_DEPLOYMENT = f"{ACCOUNT}:custom-model-deployment/abcdefghijkl"
PROMPT = f"{ACCOUNT}:prompt/PROMPT1234:2"


def foundation(model: str, region: str = "us-east-1") -> str:
    """Return the ARN of a foundation model."""
    return f"arn:aws:bedrock:{region}::foundation-model/{model}"


#: What AWS's control planes answer, by the end of the path.
ANSWERS: Mapping[str, Mapping[str, Any]] = {
    "/provisioned-model-throughput/reserved": {
        "provisionedModelArn": THROUGHPUT,
        "foundationModelArn": foundation(CLAUDE),
        "modelArn": foundation(CLAUDE),
        "modelUnits": 3,
        "commitmentDuration": "OneMonth",
    },
    "/inference-profiles/" + PROFILE: {"models": [{"modelArn": foundation(CLAUDE)}]},
    "/prompt-routers/" + ROUTER: {
        "models": [{"modelArn": foundation(NOVA)}, {"modelArn": foundation(CLAUDE)}],
        "fallbackModel": {"modelArn": foundation(NOVA)},
    },
    "/custom-models/" + CUSTOM: {"modelArn": CUSTOM, "baseModelArn": foundation(NOVA)},
    "/model-customization/custom-model-deployments/" + CUSTOM_DEPLOYMENT: {"modelArn": CUSTOM},
    "/prompts/PROMPT1234/": {"variants": [{"name": "one", "modelId": NOVA}]},
}


def aws(control: Callable[[Asked], web.StreamResponse] | None = None) -> Script:
    """Return the script of an AWS whose control planes know ``ANSWERS``, or say what ``control`` does."""

    async def script(told: Asked) -> web.StreamResponse:
        path = told.request.path
        if path.startswith("/model/"):
            return whole()
        if control is not None:
            return control(told)
        return web.json_response(ANSWERS[path]) if path in ANSWERS else web.Response(status=404)

    return script


def config(model: str, *, info: str = "") -> str:
    """Return a config of one group with a model form, and one with a plain model."""
    entries = [("form", model), ("plain", f"bedrock/{NOVA}")]
    more = f"    model_info: {{{info}}}\n" if info else ""
    return (
        "model_list:\n"
        + "".join(
            f"  - model_name: {group}\n    litellm_params:\n      model: {name}\n      aws_region_name: us-east-1\n"
            "      aws_access_key_id: AKIDEPLOYMENTA\n      aws_secret_access_key: secret-A\n"
            '      aws_bedrock_runtime_endpoint: "%(aws)s"\n      aws_bedrock_endpoint: "%(aws)s"\n'
            f'      aws_bedrock_agent_endpoint: "%(aws)s"\n{more if group == "form" else ""}'
            for group, name in entries
        )
        + f"general_settings: {{master_key: {MASTER}}}\n"
    )


def looked_up(upstream: Upstream) -> list[str]:
    """Return what the control planes were asked."""
    return [one.request.path_qs for one in upstream.asked if not one.request.path.startswith("/model/")]


def called(upstream: Upstream) -> list[str]:
    """Return the models that were called."""
    paths = [one.request.path for one in upstream.asked if one.request.path.startswith("/model/")]
    return [path.removeprefix("/model/").rpartition("/")[0] for path in paths]


BEARER = {"authorization": f"Bearer {MASTER}"}


@pytest.mark.parametrize(
    ("model", "model_id", "asked_for", "state", "spent"),
    [
        ("bedrock/provisioned/reserved", THROUGHPUT, "/provisioned-model-throughput/reserved", "flat", 0),
        (f"bedrock/{PROFILE}", PROFILE, f"/inference-profiles/{PROFILE}", "metered", 8_000),
        (f"bedrock/{CUSTOM}", CUSTOM, f"/custom-models/{CUSTOM}", "unpriced", None),
        (f"bedrock/{PROMPT}", PROMPT, "/prompts/PROMPT1234/?promptVersion=2", "metered", 540),
    ],
)
async def test_looked_up_once(
    tmp_path: Path, model: str, model_id: str, asked_for: str, state: str, spent: int | None
) -> None:
    """What is behind an id is asked once, whatever the number of calls; then they are called and priced by it."""
    async with scripted(aws()) as upstream:
        text = config(model).replace("%(aws)s", upstream.url)
        async with running(tmp_path, text) as here:
            told = [await ask(here, "form", **BEARER) for _ in range(3)]
            assert [200, 200, 200] == [one.status for one in told]
            assert [asked_for] == [path.replace("%3A", ":").replace("%2F", "/") for path in looked_up(upstream)]
            assert {model_id} == set(called(upstream))
            await here.settled()
            rows = here.rows("SELECT state, spend, model FROM attempts")
            assert {(state, spent, model_id)} == {(row["state"], row["spend"], row["model"]) for row in rows}


async def test_a_deployment_of_a_custom_model_leads_to_its_base(tmp_path: Path) -> None:
    """One answer may lead to the next question."""
    async with scripted(aws()) as upstream:
        text = config(f"bedrock/{CUSTOM_DEPLOYMENT}").replace("%(aws)s", upstream.url)
        async with running(tmp_path, text) as here:
            allowed = await new_key(here, models=[NOVA])
            assert 200 == (await ask(here, "form", authorization=f"Bearer {allowed}")).status
            assert 2 == len(looked_up(upstream))
            assert {CUSTOM_DEPLOYMENT} == set(called(upstream))


@pytest.mark.parametrize("route", ["", "invoke/"])
async def test_a_custom_model_is_spoken_to_in_the_words_of_its_base(tmp_path: Path, route: str) -> None:
    """What each family has its own word for is said in that of the model behind, also through InvokeModel."""
    async with scripted(aws()) as upstream:
        text = config(f"bedrock/{route}{CUSTOM}").replace("%(aws)s", upstream.url)
        async with running(tmp_path, text) as here, aiohttp.ClientSession() as session:
            chat = {"model": "form", "messages": [{"role": "user", "content": "Why?"}], "top_k": 5}
            for _ in range(2):
                async with session.post(f"{here.url}/v1/chat/completions", json=chat, headers=BEARER) as answer:
                    assert 200 == answer.status, await answer.text()
        *_, last = (json.loads(one.body) for one in upstream.asked if one.request.path.startswith("/model/"))
        said = last if route else last["additionalModelRequestFields"]
        assert {"topK": 5} == said["inferenceConfig"]


async def test_rights_go_by_the_model_behind_it(tmp_path: Path) -> None:
    """A key with a list may call a profile whose model the list names, and no other; a router needs all of its own."""
    for model, models, expected in (
        (PROFILE, [CLAUDE], 200),
        (PROFILE, [NOVA], 403),
        (ROUTER, [CLAUDE, NOVA], 200),
        (ROUTER, [CLAUDE], 403),
    ):
        folder = tmp_path / f"{len(model)}-{expected}-{len(models)}"
        folder.mkdir()
        async with scripted(aws()) as upstream:
            text = config(f"bedrock/{model}").replace("%(aws)s", upstream.url)
            async with running(folder, text) as here:
                key = await new_key(here, models=models)
                assert expected == (await ask(here, "form", authorization=f"Bearer {key}")).status, (model, models)


async def test_calls_at_once_wait_for_one_answer(tmp_path: Path) -> None:
    """However many calls want to know the same at once, AWS is asked once."""
    release = asyncio.Event()

    async def script(told: Asked) -> web.StreamResponse:
        if told.request.path.startswith("/model/"):
            return whole()
        await release.wait()
        return web.json_response(ANSWERS["/provisioned-model-throughput/reserved"])

    async with scripted(script) as upstream:
        text = config("bedrock/provisioned/reserved").replace("%(aws)s", upstream.url)
        async with running(tmp_path, text) as here, aiohttp.ClientSession() as session:
            calls = [asyncio.ensure_future(ask(here, "form", session=session, **BEARER)) for _ in range(20)]
            await here.until(lambda: len(here.gateway.calls) == 20 and looked_up(upstream))
            assert 200 == (await ask(here, "plain", **BEARER)).status
            release.set()
            assert {200} == {one.status for one in await asyncio.gather(*calls)}
            assert 1 == len(looked_up(upstream))


@pytest.mark.parametrize(
    ("refused", "hint"),
    [
        (
            lambda _: denied("bedrock:GetProvisionedModelThroughput", "reserved"),
            "IAM does not allow bedrock:GetProvisionedModelThroughput",
        ),
        (lambda _: web.json_response({"message": "No."}, status=404), "finds nothing"),
        (lambda _: throttled(), "is throttled"),
        (lambda _: web.json_response({"modelUnits": 1}), "the answer has no provisionedModelArn"),
        (lambda _: web.Response(body=b"[", content_type="application/json"), "answers no JSON"),
    ],
)
async def test_a_name_that_stays_unknown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, refused: Callable[[Asked], web.Response], hint: str
) -> None:
    """A throughput that AWS does not tell of cannot be called: 503 for the caller, reason and remedy in the log."""
    async with scripted(aws(refused)) as upstream:
        text = config("bedrock/provisioned/reserved").replace("%(aws)s", upstream.url)
        async with running(tmp_path, text) as here:
            told = [await ask(here, "form", **BEARER) for _ in range(2)]
            assert [503, 503] == [one.status for one in told]
            assert b"111122223333" not in told[0].body
            assert 1 == len(looked_up(upstream)), "what was refused is not asked again at once"
            assert [] == called(upstream)
            assert hint in caplog.text
            assert "give base_model in model_info and model_id with its ARN" in caplog.text
            await here.settled()
            assert [] == here.rows("SELECT 1 FROM attempts WHERE state != 'refused'")


async def test_a_profile_that_stays_unknown_is_called_and_booked_without_a_price(tmp_path: Path) -> None:
    """Without its model a profile still works for who may use any: its calls are unpriced, never free."""
    async with scripted(aws(lambda _: denied("bedrock:GetInferenceProfile", PROFILE))) as upstream:
        text = config(f"bedrock/{PROFILE}").replace("%(aws)s", upstream.url)
        async with running(tmp_path, text) as here:
            key = await new_key(here, models=[CLAUDE])
            assert 200 == (await ask(here, "form", **BEARER)).status
            assert 403 == (await ask(here, "form", authorization=f"Bearer {key}")).status
            await here.settled()
            assert [("unpriced", None)] == [
                (row["state"], row["spend"]) for row in here.rows("SELECT state, spend FROM attempts")
            ]


async def test_base_model_needs_no_question(tmp_path: Path) -> None:
    """Where the config says which model it is, nobody is asked."""
    async with scripted(aws()) as upstream:
        text = config(f"bedrock/{PROFILE}", info=f"base_model: {NOVA}").replace("%(aws)s", upstream.url)
        async with running(tmp_path, text) as here:
            assert 200 == (await ask(here, "form", **BEARER)).status
            assert [] == looked_up(upstream)


async def test_a_router_is_priced_by_the_model_that_answered(tmp_path: Path) -> None:
    """The trace says which of a router's models it was; without it, the dearest is what it can have cost."""
    answer = {
        "output": {"message": {"role": "assistant", "content": [{"text": "hi"}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 1000, "outputTokens": 1000, "totalTokens": 2000},
        "metrics": {"latencyMs": 1},
        "trace": {"promptRouter": {"invokedModelId": foundation(NOVA)}},
    }

    async def script(told: Asked) -> web.StreamResponse:
        path = told.request.path
        return web.json_response(answer if path.startswith("/model/") else ANSWERS[path])

    async with scripted(script) as upstream:
        text = config(f"bedrock/{ROUTER}").replace("%(aws)s", upstream.url)
        async with running(tmp_path, text) as here:
            assert 200 == (await ask(here, "form", **BEARER)).status
            await here.settled()
            assert [60_000 + 240_000] == [row["spend"] for row in here.rows("SELECT spend FROM attempts")]


async def test_an_arn_that_no_config_names(tmp_path: Path) -> None:
    """A profile that a caller asks for by its ARN is looked up with the ambient deployment's credentials."""
    async with scripted(aws()) as upstream:
        environ = {
            "AWS_BEDROCK_RUNTIME_ENDPOINT": upstream.url,
            "AWS_ENDPOINT_URL_BEDROCK": upstream.url,
            "AWS_REGION": "us-east-1",
        }
        async with running(tmp_path, None, environ=environ) as here:
            name = PROFILE.replace(":", "%3A").replace("/", "%2F")
            assert 200 == (await ask(here, name)).status
            assert 200 == (await ask(here, name)).status
            assert 1 == len(looked_up(upstream))
            await here.settled()
            assert {"metered"} == {row["state"] for row in here.rows("SELECT state FROM attempts")}
