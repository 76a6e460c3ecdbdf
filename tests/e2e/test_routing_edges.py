"""Which deployments are asked and which are left out, where upstream or a caller does what is rare."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import aiohttp
import pytest
from administering import MASTER, new_key
from aiohttp import web
from groups import ask, body_of, config_of, deployment, left_out, seed
from running import running
from scripted_upstream import (
    BEGINNING,
    END,
    PATIENT,
    THROTTLE,
    Asked,
    cut,
    denied,
    leap,
    refusal,
    scripted,
    streaming,
    throttled,
    whole,
)

LOCKED = f"general_settings: {{master_key: {MASTER}}}\n"
NOVA = "amazon.nova-lite-v1:0"
INVOKE = json.dumps(
    {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 10, "messages": [{"role": "user", "content": "x"}]}
).encode()
GUARDRAIL = "arn:aws:bedrock:us-east-1:999999999999:guardrail/abc"
PROMPT = "arn:aws:bedrock:us-east-1:999999999999:prompt/ABCDEFGHIJ"
MODEL = "arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-sonnet-4-20250514-v1:0"
HOPS = "x-bedrock-gateway-fallbacks"


@pytest.mark.parametrize("then", ["held open", "reset"])
async def test_a_throttle_in_a_stream_is_a_throttle_however_it_ends(tmp_path: Path, then: str) -> None:
    """After a whole refusal nothing else is waited for: the next deployment answers, and nothing is charged."""
    gate = asyncio.Event()

    async def script(asked: Asked) -> web.StreamResponse:
        if asked.letter == "B":
            return await streaming(asked, BEGINNING, END)
        response = await streaming(asked, THROTTLE)
        if then == "reset":
            cut(asked)
        else:
            await gate.wait()
        return response

    async with scripted(script) as upstream:
        both = [deployment(one, url=upstream.url, params=f"order: {order}") for order, one in enumerate("AB", 1)]
        async with running(tmp_path, config_of(*both)) as here:
            told = await ask(here, action="converse-stream")
            await here.settled()

            assert (True, "AB") == (told.fine, upstream.letters)
            assert [("refused", 0), ("metered", 1)] == [
                (row["state"], row["charged"]) for row in here.rows("SELECT * FROM attempts ORDER BY number")
            ]


async def test_a_throttle_that_nobody_mends_is_not_charged_either(tmp_path: Path) -> None:
    """The only deployment refuses in a stream and breaks off: the caller gets the refusal, and pays nothing."""

    async def script(asked: Asked) -> web.StreamResponse:
        response = await streaming(asked, THROTTLE)
        cut(asked)
        return response

    async with scripted(script) as upstream:
        config = config_of(deployment("A", url=upstream.url), router="num_retries: 0")
        async with running(tmp_path, config) as here:
            told = await ask(here, action="converse-stream")
            await here.settled()

            assert (200, True, THROTTLE) == (told.status, told.whole, told.body)
            assert [("refused", 0)] == [(row["state"], row["charged"]) for row in here.rows("SELECT * FROM attempts")]


@pytest.mark.parametrize(
    "refused",
    [
        lambda: denied("bedrock:ApplyGuardrail", GUARDRAIL),
        lambda: denied("bedrock:RenderPrompt", PROMPT),
        lambda: refusal(404, "ResourceNotFoundException", f"Could not find the prompt {PROMPT}."),
    ],
    ids=["guardrail denied", "prompt denied", "prompt not found"],
)
async def test_nobody_cools_a_group_by_what_it_names(tmp_path: Path, refused: object) -> None:
    """What AWS refuses because of something else in a request says nothing of the model: all stay well."""

    async def script(asked: Asked) -> web.StreamResponse:
        return refused() if b"named" in asked.body else whole()  # type: ignore[operator]

    async with scripted(script) as upstream:
        async with running(tmp_path, config_of(*(deployment(one, url=upstream.url) for one in "ABC"))) as here:
            told = [await ask(here, body=body_of("named")) for _ in range(4)]
            other = await ask(here, body=body_of("anything"))

            assert {True} == {one.status in (404, 503) for one in told}
            assert (200, "1", {}) == (other.status, other.headers["x-bedrock-gateway-attempts"], left_out(here))


async def test_a_model_that_may_not_be_called_is_left_out(tmp_path: Path) -> None:
    """Where what is denied is the call of the model, the next call need not try it again."""

    async def script(asked: Asked) -> web.StreamResponse:
        return denied("bedrock:InvokeModel", MODEL) if asked.letter == "A" else whole()

    async with scripted(script) as upstream:
        both = [deployment(one, url=upstream.url, params=f"order: {order}") for order, one in enumerate("AB", 1)]
        async with running(tmp_path, config_of(*both)) as here:
            statuses = [(await ask(here)).status for _ in range(2)]

            assert ([200, 200], "ABB") == (statuses, upstream.letters)
            assert ["claude"] == list(left_out(here))


async def test_a_used_up_budget_of_one_is_no_refusal_of_all(tmp_path: Path) -> None:
    """The one that could be asked rests for a moment: it is asked all the same, as if it were alone."""

    async def script(asked: Asked) -> web.StreamResponse:
        return throttled("20") if asked.number == 1 else whole()

    async with scripted(script) as upstream:
        spent = deployment("A", url=upstream.url, params="max_budget: 0.000001, budget_duration: 1d")
        async with running(tmp_path, config_of(spent, deployment("B", url=upstream.url), more=LOCKED)) as here:
            key = f"Bearer {await new_key(here)}"
            body = body_of(inferenceConfig={"maxTokens": 10})
            told = [await ask(here, authorization=key, body=body) for _ in range(3)]

            assert ([429, 200, 200], "BBB") == ([one.status for one in told], upstream.letters)


async def test_who_cuts_most_streams_is_left_out(tmp_path: Path) -> None:
    """That a stream began well is no answer if it is cut: nine of ten cut are nine failures."""

    async def script(asked: Asked) -> web.StreamResponse:
        if asked.letter == "A" and upstream.letters.count("A") % 10:
            response = await streaming(asked, BEGINNING)
            cut(asked)
            return response
        return await streaming(asked, BEGINNING, END)

    async with scripted(script) as upstream:
        both = [deployment(one, url=upstream.url) for one in "AB"]
        config = config_of(*both, router="routing_strategy: simple-shuffle")
        async with running(tmp_path, config) as here:
            seed(here)
            for _ in range(100):
                await ask(here, action="converse-stream")
                if left_out(here):
                    break

            assert ["claude"] == list(left_out(here))


async def test_a_head_is_not_the_first_byte(tmp_path: Path) -> None:
    """Whoever sends a head and then nothing is as silent as who sends nothing: stream_timeout ends it."""
    gate = asyncio.Event()

    async def script(asked: Asked) -> web.StreamResponse:
        response = await streaming(asked)
        await gate.wait()
        return response

    async with scripted(script) as upstream:
        config = config_of(deployment("A", url=upstream.url, params="stream_timeout: 0.3"))
        async with running(tmp_path, config) as here:
            told = await ask(here, action="converse-stream")

            assert (424, "ModelErrorException", "A") == (told.status, told.error_type, upstream.letters)


async def test_after_the_first_byte_a_stream_has_its_time(tmp_path: Path) -> None:
    """What begins in time may take longer: stream_timeout is not counted on."""
    gate = asyncio.Event()

    async def script(asked: Asked) -> web.StreamResponse:
        response = await streaming(asked, BEGINNING)
        await gate.wait()
        await response.write(END)
        return response

    async with scripted(script) as upstream:
        config = config_of(deployment("A", url=upstream.url, params="stream_timeout: 30"))
        async with running(tmp_path, config, ledger_limits=PATIENT) as here:
            calling = asyncio.create_task(ask(here, action="converse-stream"))
            await here.until(lambda: any(call.first_byte for call in here.gateway.calls))
            leap(31)
            gate.set()

            assert (await calling).fine


async def test_who_is_silent_for_longer_than_a_call_may_take_is_left_out(tmp_path: Path) -> None:
    """The total_timeout of a call ends before upstream counts as silent: it is a failure of who was waited for."""
    gate = asyncio.Event()

    async def script(asked: Asked) -> web.StreamResponse:
        if asked.letter == "A":
            await gate.wait()
        return whole()

    async with scripted(script) as upstream:
        both = [deployment(one, url=upstream.url, params=f"order: {order}") for order, one in enumerate("AB", 1)]
        async with running(
            tmp_path, config_of(*both, more="general_settings: {total_timeout: 30}\n"), ledger_limits=PATIENT
        ) as here:
            statuses = []
            for number in range(1, 4):
                calling = asyncio.create_task(ask(here))
                await here.until(lambda number=number: len(upstream.asked) == number)
                leap(31)
                statuses.append((await calling).status)
            after = await ask(here)

            assert ([424] * 3, 200, "AAAB") == (statuses, after.status, upstream.letters)
            assert ["claude"] == list(left_out(here))


@pytest.mark.parametrize("info", ["", "    model_info: {id: fixed}\n"], ids=["", "with an id"])
@pytest.mark.parametrize(
    ("limit", "status"),
    [("max_parallel_requests: 1", 429), ("rpm: 1", 429), ("max_budget: 0.02, budget_duration: 1d", 400)],
)
async def test_limits_of_a_wildcard_are_one(tmp_path: Path, limit: str, status: int, info: str) -> None:
    """By whichever model it is called, a wildcard is one deployment: nobody gets its limit again by another id."""
    gate = asyncio.Event()

    async def script(asked: Asked) -> web.StreamResponse:
        await gate.wait()
        return whole()

    async with scripted(script) as upstream:
        wild = deployment("A", "'*'", model="'bedrock/*'", url=upstream.url, params=limit).replace("bedrock/'b", "'b")
        async with running(tmp_path, config_of(wild + info)) as here:
            body = body_of(inferenceConfig={"maxTokens": 10})
            models = [f"{geo}anthropic.claude-sonnet-4-20250514-v1:0" for geo in ("", "us.", "eu.")]
            first = asyncio.create_task(ask(here, models[0], body=body))
            await here.until(lambda: len(upstream.asked) == 1)
            others = [(await ask(here, model, body=body)).status for model in models]
            gate.set()

            assert ([status] * 3, 200, "A") == (others, (await first).status, upstream.letters)


@pytest.mark.parametrize(("action", "expected"), [("invoke", "A"), ("converse", "AB")])
async def test_an_alias_of_several_models_speaks_the_words_of_the_first(
    tmp_path: Path, action: str, expected: str
) -> None:
    """The body of an InvokeModel is in the words of one family and goes to no other; a Converse goes to any."""

    async def script(asked: Asked) -> web.StreamResponse:
        return throttled() if asked.letter == "A" else whole()

    async with scripted(script) as upstream:
        models = deployment("A", url=upstream.url), deployment("B", "nova", url=upstream.url, model=NOVA)
        router = "num_retries: 1, retry_after: 6, model_group_alias: {both: [claude, nova]}"
        async with running(tmp_path, config_of(*models, router=router)) as here:
            body = INVOKE if action == "invoke" else body_of()
            told = await ask(here, "both", action, body=body)

            assert (expected, 429 if expected == "A" else 200) == (upstream.letters, told.status)


async def test_models_of_no_family_are_not_of_one(tmp_path: Path) -> None:
    """Of two models whose words nobody knows, neither reads what was written for the other."""

    async def script(asked: Asked) -> web.StreamResponse:
        return throttled() if asked.letter == "A" else whole()

    async with scripted(script) as upstream:
        models = (
            deployment("A", url=upstream.url, model="stability.sd3-5-large-v1:0"),
            deployment("B", "other", url=upstream.url, model="luma.ray-v2:0"),
        )
        router = "num_retries: 0, fallbacks: [{claude: [other]}]"
        async with running(tmp_path, config_of(*models, router=router)) as here:
            told = await ask(here, action="invoke", body=b'{"prompt":"x"}')

            assert (429, "A") == (told.status, upstream.letters)


async def test_tags_choose_as_they_were_told(tmp_path: Path) -> None:
    """A key that has used up its labels is booked under ``other``, but its calls go where their tags say."""

    async def script(asked: Asked) -> web.StreamResponse:
        return whole()

    async with scripted(script) as upstream:
        tagged = (
            deployment("A", url=upstream.url, params="tags: [a]"),
            deployment("B", url=upstream.url, params="tags: [b]"),
        )
        config = config_of(*tagged, router="enable_tag_filtering: true", more=LOCKED)
        async with running(tmp_path, config) as here, aiohttp.ClientSession() as session:
            key = f"Bearer {await new_key(here)}"
            for number in range(112):
                traces = ",".join(f"trace-{number}-{part}" for part in range(9))
                await ask(here, session=session, authorization=key, x_litellm_tags=f"a,{traces}")
            told = await ask(here, session=session, authorization=key, x_litellm_tags="b")
            await here.settled()

            assert (200, "A" * 112 + "B") == (told.status, upstream.letters)
            assert ['["other"]'] == [row["tags"] for row in here.rows("SELECT tags FROM calls WHERE id = ?", told.call)]


@pytest.mark.parametrize("told", ["attempt=" + "9" * 5000, "attempt=\u0663", "attempt=", "attempt=-1; max=x"])
async def test_a_strange_number_of_an_attempt_is_no_fault(tmp_path: Path, told: str) -> None:
    """Whatever an SDK's header says, a call is a call."""

    async def script(asked: Asked) -> web.StreamResponse:
        return whole()

    async with scripted(script) as upstream:
        async with running(tmp_path, config_of(deployment("A", url=upstream.url))) as here:
            assert 200 == (await ask(here, amz_sdk_request=told)).status


@pytest.mark.parametrize(
    ("name", "expected"),
    [(None, (200, "AB")), ("*", (429, "A")), ("nova", (429, "A")), (NOVA, (429, "A")), ("claude", (200, "AB"))],
)
async def test_no_fallback_leads_round_a_budget(tmp_path: Path, name: str | None, expected: tuple[int, str]) -> None:
    """A key with a budget for each model, or for the fallback's, asks for that model by its name or not at all."""

    async def script(asked: Asked) -> web.StreamResponse:
        return throttled() if asked.letter == "A" else whole()

    async with scripted(script) as upstream:
        models = deployment("A", url=upstream.url), deployment("B", "nova", url=upstream.url, model=NOVA)
        router = "num_retries: 0, fallbacks: [{claude: [nova]}]"
        async with running(tmp_path, config_of(*models, router=router, more=LOCKED)) as here:
            budgets = {name: {"budget_limit": 1, "time_period": "1d"}} if name else {}
            key = f"Bearer {await new_key(here, model_max_budget=budgets)}"
            told = await ask(here, authorization=key, body=body_of(inferenceConfig={"maxTokens": 10}))

            assert expected == (told.status, upstream.letters)
