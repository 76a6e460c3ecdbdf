"""Virtual keys on the way of a call: what they may, what they are refused, and what the ledger says of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sqlite3
from pathlib import Path
from typing import Any

import boto3
import pytest
from administering import BODY, LOCKED, MASTER, administer, administered, call, new_key
from botocore.exceptions import ClientError
from gate import gated
from running import CLAUDE, ROOT, Running, running

from bedrock_gateway.access.issued_credentials import issue
from bedrock_gateway.store.administration import Writing
from bedrock_gateway.store.keys import Digest, create_key
from bedrock_gateway.store.subjects import transaction


def refusal(answer: tuple[int, Any, dict[str, str]]) -> tuple[int, str, str]:
    """Return status, error type and message of a refusal."""
    status, body, headers = answer
    return status, headers["x-amzn-errortype"], body["message"]


async def caller_rows(here: Running) -> list[dict[str, Any]]:
    """Return whom calls were booked to."""
    await here.settled()
    # Who has no key makes no row.
    known = [line for line in here.lines if "caller=- " not in line]
    await here.until(lambda: len(known) <= len(here.rows("SELECT id FROM calls WHERE ended_at IS NOT NULL")))
    return here.rows("SELECT caller, user, team, end_user, tags, status FROM calls ORDER BY id")


async def test_calls_are_booked_to_whom_they_are_made_for(tmp_path: Path) -> None:
    """A call's row has the key's stable id, its user and team, its end user and all its tags, each once."""
    async with running(tmp_path, LOCKED) as here:
        await administer(here, "/team/new", {"team_id": "research", "tags": ["team-tag"]})
        await administer(here, "/user/new", {"user_id": "ada", "auto_create_key": False})
        made = await administer(
            here, "/key/generate", {"team_id": "research", "user_id": "ada", "tags": ["night", "team-tag"]}
        )
        headers = {"x_litellm_end_user_id": "customer-7", "x_litellm_tags": "night, batch ,"}
        await call(here, made["key"], **headers)
        anthropic = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "metadata": {"user_id": "u-9"}}
        body = {**anthropic, "messages": [{"role": "user", "content": "Hello"}]}
        status, _, _ = await call(here, made["key"], action="invoke", body=body)
        rows = await caller_rows(here)

    owner = {"caller": made["key_id"], "user": "ada", "team": "research", "status": 200}
    assert 200 == status
    assert [
        {**owner, "end_user": "customer-7", "tags": '["night","team-tag","batch"]'},
        {**owner, "end_user": "u-9", "tags": '["night","team-tag"]'},
    ] == rows


async def test_a_key_that_is_no_longer_good_is_refused_at_once(tmp_path: Path) -> None:
    """Blocked, expired, rotated and deleted keys are refused with the next call, each with its own type."""
    async with running(tmp_path, LOCKED) as here:
        keys = {name: await new_key(here, key_alias=name) for name in ("blocked", "rotated", "deleted")}
        for key in keys.values():
            assert 200 == (await call(here, key))[0]
        await administer(here, "/key/block", {"key": keys["blocked"]})
        fresh = await administer(here, "/key/regenerate", {"key": keys["rotated"]})
        await administer(here, "/key/delete", {"keys": [keys["deleted"]]})
        answers = {name: refusal(await call(here, key)) for name, key in keys.items()}
        assert 200 == (await call(here, fresh["key"]))[0]
        await administer(here, "/key/unblock", {"key": keys["blocked"]})
        assert 200 == (await call(here, keys["blocked"]))[0]

    assert {(403, "UnrecognizedClientException")} == {answer[:2] for answer in answers.values()}
    assert "blocked" in answers["blocked"][2]


@pytest.mark.parametrize(
    ("models", "asked", "expected"),
    [
        ([], "single", 200),
        ([], CLAUDE, 200),  # a deployment names it
        ([], "amazon.nova-pro-v1:0", 403),
        (["single"], "single", 200),
        (["sing*"], "single", 200),
        (["claude"], "single", 403),
        (["anthropic.*"], "single", 200),
        (["us.anthropic.*"], "claude", 200),
        (["amazon.*"], "single", 403),
        (["amazon.*"], "amazon.nova-pro-v1:0", 200),
        (["*"], "single", 200),
        (["no-default-models"], "single", 403),
        (["anthropic.*"], "arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/abc", 403),
        (["*"], "arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/abc", 403),
        (
            ["arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/abc"],
            "arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/abc",
            200,
        ),
        (["arn:*"], "arn:aws:bedrock:us-east-1:111122223333:provisioned-model/abc", 403),
    ],
)
async def test_models_a_key_may_use(tmp_path: Path, models: list[str], asked: str, expected: int) -> None:
    """A key's list is held against the group, or the foundation model behind the name; what cannot be resolved fits
    only by its own name.
    """
    async with running(tmp_path, LOCKED) as here:
        key = await new_key(here, models=models)
        answer = await call(here, key, model=asked.replace("/", "%2F"))
        if expected == 403:
            assert "AccessDeniedException" == refusal(answer)[1]
            assert asked in refusal(answer)[2]

    assert expected == answer[0]


async def test_aliases_of_a_key(tmp_path: Path) -> None:
    """A name only this key knows leads to a group; for others it is unknown, and suggestions name only what one may
    use.
    """
    async with running(tmp_path, LOCKED) as here:
        key = await new_key(here, aliases={"fast": "single"}, models=["single"])
        other = await new_key(here, models=["claude"])
        assert 200 == (await call(here, key, model="fast"))[0]
        unknown = refusal(await call(here, other, model="singel"))

    assert (404, "ResourceNotFoundException") == unknown[:2]
    assert "'single'" not in unknown[2]


async def test_operations_a_key_may_use(tmp_path: Path) -> None:
    """Beyond the default set an operation has to be named, by the key or by the config; the refusal names it as IAM
    would.
    """
    start = {"modelId": "amazon.nova-reel-v1:0", "modelInput": {}, "outputDataConfig": {"s3OutputDataConfig": {}}}
    more = "default_allowed_operations: [bedrock-runtime:ListAsyncInvokes]"
    async with running(tmp_path, LOCKED.replace(f"{{master_key: {MASTER}", f"{{master_key: {MASTER}, {more}")) as here:
        plain = await new_key(here)
        named = await new_key(here, allowed_operations=["*AsyncInvoke"], pass_through_all_models=True)
        told = await administered(here, "/bedrock/async-invoke", start, plain)
        listed, _ = await administered(here, "/bedrock/async-invoke", None, plain)
        allowed, _ = await administered(here, "/bedrock/async-invoke", start, named)
        not_named = refusal(await call(here, named))

    assert 403 == told[0]
    assert "is not authorized to perform bedrock:StartAsyncInvoke" in told[1]["message"]
    assert 403 != listed
    assert 403 != allowed
    assert (403, "AccessDeniedException") == not_named[:2]
    assert "bedrock:Converse" in not_named[2]


async def test_an_operation_that_has_no_name_yet(tmp_path: Path) -> None:
    """What AWS may have added since passes where a key's list names its method and path, and is AWS's to answer."""
    async with running(tmp_path, LOCKED) as here:
        named = await new_key(here, allowed_operations=["bedrock-agent-runtime:POST /flows/*/newthing"])
        plain = await new_key(here)
        refused, told = await administered(here, "/bedrock/flows/F1/newthing", {}, plain)
        passed, _ = await administered(here, "/bedrock/flows/F1/newthing", {}, named)

    assert (403, True) == (refused, "POST /flows/F1/newthing" in told["message"])
    assert 403 != passed


@pytest.mark.parametrize("key", ["sk-of-nobody-0123456789", None])
async def test_refusals_of_a_service_that_goes_by_targets(tmp_path: Path, key: str | None) -> None:
    """The SDK of a JSON service finds the type of a refusal in the body."""
    async with running(tmp_path, LOCKED) as here:
        given = await new_key(here) if key is None else key
        options = {"aws_access_key_id": given, "aws_secret_access_key": "unused", "region_name": "us-east-1"}
        endpoint = f"{here.url}/bedrock"
        client = boto3.client("bedrock-data-automation-runtime", endpoint_url=endpoint, **options)
        arn = "arn:aws:bedrock:us-east-1:111122223333:data-automation-invocation/x"
        with contextlib.closing(client), pytest.raises(ClientError) as caught:
            await asyncio.to_thread(client.get_data_automation_status, invocationArn=arn)

    expected = "AccessDeniedException" if key is None else "UnrecognizedClientException"
    assert expected == caught.value.response["Error"]["Code"]


async def test_what_a_budget_refusal_says(tmp_path: Path) -> None:
    """Which budget, what is spent, the limit, when it resets; 400, so that no SDK repeats it, and nothing was sent."""
    async with running(tmp_path, LOCKED) as here:
        key = await new_key(here, key_alias="ci", max_budget=0.000001, budget_duration="30d")
        answer = await call(here, key)
        status, error_type, message = refusal(answer)
        with contextlib.closing(here.client(aws_access_key_id=key)) as client, pytest.raises(ClientError) as caught:
            await asyncio.to_thread(client.converse, modelId="single", **BODY)
        await here.settled()

    assert (400, "ServiceQuotaExceededException", "false") == (status, error_type, answer[2]["x-should-retry"])
    assert 'The budget of key "ci" (sk-…' in message
    assert "0 of 0.000001 USD spent" in message
    assert "It resets at 20" in message
    assert "-01T00:00:00Z" in message
    assert "ServiceQuotaExceededException" == caught.value.response["Error"]["Code"]
    assert 0 == here.simulator.received.total


async def test_a_budget_refusal_says_which_answer_would_fit(tmp_path: Path) -> None:
    """Where a shorter answer fits, the refusal says how long it may be, and with a token more it is refused again;
    where none does, it says nothing of it.
    """

    def asking(tokens: int) -> dict[str, Any]:
        return {**BODY, "inferenceConfig": {"maxTokens": tokens}}

    async with running(tmp_path, LOCKED) as here:
        key = await new_key(here, max_budget=0.02)
        _, _, message = refusal(await call(here, key, body=asking(4000)))
        hint = re.search(r"It never resets\. A smaller max_tokens lowers what it can cost: (\d+) fits into", message)
        assert hint is not None
        more, fitting = [(await call(here, key, body=asking(int(hint[1]) + extra)))[0] for extra in (1, 0)]
        none = refusal(await call(here, await new_key(here, max_budget=0.0001), body=asking(4000)))

    assert (400, 200) == (more, fitting)
    assert none[2].endswith("It never resets.")


async def test_soft_budget_and_what_is_left_are_told_in_headers(tmp_path: Path) -> None:
    """Every answer says what the tightest budget has left; once the soft limit is reached, it says that too."""
    async with running(tmp_path, LOCKED) as here:
        key = await new_key(here, key_alias="ci", max_budget=5, soft_budget=0.0001)
        _, _, first = await call(here, key)
        await here.settled()
        _, _, second = await call(here, key)
        (spent,) = here.rows("SELECT spend FROM attempts ORDER BY started_at LIMIT 1")

    assert "x-bedrock-gateway-budget-warning" not in first
    assert second["x-bedrock-gateway-budget-warning"].startswith('key "ci" (sk-...')
    least = float(first["x-bedrock-gateway-budget-remaining-usd"])
    assert round(least - spent["spend"] / 1e9, 9) == float(second["x-bedrock-gateway-budget-remaining-usd"])


async def test_clamped_answer(tmp_path: Path) -> None:
    """A key that clamps gets a shorter answer where the whole would not fit, is told so, and the row says it."""
    async with running(tmp_path, LOCKED) as here:
        key = await new_key(here, max_budget=0.02, on_budget="clamp")
        body = {**BODY, "inferenceConfig": {"temperature": 0.5, "maxTokens": 4000}}
        status, _, headers = await call(here, key, body=body)
        sent = json.loads(list(here.simulator.received)[-1].body)
        tight = await new_key(here, max_budget=0.0001, on_budget="clamp")
        refused = refusal(await call(here, tight, body=body))
        await here.settled()
        (row,) = here.rows("SELECT notes, spend_at_most FROM attempts")

    limit = int(headers["x-bedrock-gateway-clamped-max-tokens"])
    assert (200, {**body, "inferenceConfig": {"temperature": 0.5, "maxTokens": limit}}) == (status, sent)
    assert 16 <= limit < 4000
    assert [f"clamp:maxTokens={limit}"] == json.loads(row["notes"])
    assert row["spend_at_most"] <= 20_000_000
    assert (400, "ServiceQuotaExceededException") == refused[:2]
    assert refused[2].endswith(" Not even an answer of 16 tokens fits into what is left.")


VIDEO = {"format": "mp4", "source": {"s3Location": {"uri": "s3://a/b"}}}


@pytest.mark.parametrize(
    ("config", "named", "asked"),
    [
        ("raw", "anthropic.claude-sonnet-4-20250514-v1:0", CLAUDE),
        ("raw", "*", "amazon.nova-pro-v1:0"),
        ("wildcard", "amazon.nova-pro-v1:0", "amazon.nova-pro-v1:0"),
        ("groups", "single", "single"),
        ("groups", "anthropic.claude-sonnet-4-20250514-v1:0", "single"),
        ("groups", "*", "claude"),
    ],
)
async def test_budget_and_limit_of_a_model_within_a_key(tmp_path: Path, config: str, named: str, asked: str) -> None:
    """They hold by the group's name and by the plain id of the model behind it, however it was asked for."""
    wildcard = """
model_list:
  - model_name: "bedrock/*"
    litellm_params: {model: "bedrock/*", aws_region_name: us-east-1, aws_access_key_id: AKIDEPLOYMENTA,
      aws_secret_access_key: secret-A, aws_bedrock_runtime_endpoint: "%(url)s"}
"""
    settings = f"general_settings: {{master_key: {MASTER}}}\n"
    text = {"raw": settings, "wildcard": wildcard + settings, "groups": LOCKED}[config]
    async with running(tmp_path, text) as here:
        poor = await new_key(here, model_max_budget={named: {"budget_limit": 0.000001}})
        slow = await new_key(here, model_rpm_limit={named: 1})
        spending = await new_key(here, model_max_budget={named: {"budget_limit": 0.03}})
        refused = refusal(await call(here, poor, model=asked))
        limited = [(await call(here, slow, model=asked))[0] for _ in range(2)]
        assert 200 == (await call(here, spending, model=asked))[0]
        await here.settled()
        spent = here.rows("SELECT spend FROM attempts ORDER BY id DESC LIMIT 1")
        left = {
            charge.account.partition("/")[2]: charge.budget.limit - spent_
            for charge, spent_, _ in here.gateway.budgets.figures(here.gateway.clock.now_ms())
            if charge.budget.limit == 30_000_000
        }

    assert (400, "ServiceQuotaExceededException") == refused[:2]
    assert [200, 429] == limited
    assert [30_000_000 - spent[0]["spend"]] == list(left.values())


async def test_no_way_round_the_budget_of_a_model(tmp_path: Path) -> None:
    """An alias that leads to several groups does not get round the budget of one of them."""
    routed = "router_settings: {model_group_alias: {fast: [single, claude]}}\n"
    async with running(tmp_path, LOCKED + routed) as here:
        key = await new_key(here, model_max_budget={"single": {"budget_limit": 0.000001}})
        other = await new_key(here, max_budget=1)
        answers = [refusal(await call(here, key, model=model)) for model in ("single", "fast")]
        assert 200 == (await call(here, other, model="fast"))[0]

    assert [400, 403] == [answer[0] for answer in answers]
    assert "by its own name" in answers[1][2]


UNBOUNDED = {"messages": [{"role": "user", "content": [{"video": VIDEO}]}]}


async def test_what_nothing_bounds_is_refused_under_a_hard_budget(tmp_path: Path) -> None:
    """A call that names an object in S3 can cost anything: refused, unless the key allows it; without a budget it
    runs.
    """
    async with running(tmp_path, LOCKED) as here:
        answers = [
            await call(here, await new_key(here, **fields), body=UNBOUNDED)
            for fields in ({"max_budget": 100}, {"max_budget": 100, "allow_unbounded": True}, {"soft_budget": 1}, {})
        ]

    assert (403, "AccessDeniedException") == refusal(answers[0])[:2]
    assert "S3" in refusal(answers[0])[2]
    assert 403 not in [answer[0] for answer in answers[1:]]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"messages":[],"inferenceConfig":{"maxTokens":1,"maxTokens":9000}}', "'maxTokens' twice in inferenceConfig"),
        (b'{"messages":[],"inferenceConfig":{"maxTokens":1},"inferenceConfig":{}}', "'inferenceConfig' twice"),
        (b"not json", "no JSON object"),
        (b"", "no JSON object"),
        (b"[]", "no JSON object"),
    ],
)
async def test_bodies_that_cannot_be_reserved_from(tmp_path: Path, body: bytes, words: str) -> None:
    """Under a hard budget a body that two readers may read differently is 400; nothing is sent."""
    async with running(tmp_path, LOCKED) as here:
        key = await new_key(here, max_budget=100)
        status, error_type, message = refusal(await call(here, key, body=body))

    assert (400, "ValidationException") == (status, error_type)
    assert words in message
    assert 0 == here.simulator.received.total


async def test_limits_on_requests(tmp_path: Path) -> None:
    """The request over the limit is 429 with a Retry-After that is true, and limits of all owners are checked before
    any is taken.
    """
    async with running(tmp_path, LOCKED) as here:
        await administer(here, "/team/new", {"team_id": "t1", "rpm_limit": 3})
        first = await new_key(here, team_id="t1", rpm_limit=2)
        second = await new_key(here, team_id="t1")
        answers = [await call(here, key) for key in (first, first, first, second, second)]
        throttled = refusal(answers[2])

    assert [200, 200, 429, 200, 429] == [answer[0] for answer in answers]
    assert "ThrottlingException" == throttled[1]
    assert "2 requests a minute" in throttled[2]
    assert 59 <= int(answers[2][2]["retry-after"]) <= 60
    assert ("2", "1", "60s") == tuple(
        answers[0][2][f"x-ratelimit-{name}-requests"] for name in ("limit", "remaining", "reset")
    )
    assert "team" in refusal(answers[4])[2]


async def test_limits_on_tokens_are_settled_by_what_was_used(tmp_path: Path) -> None:
    """What a call is taken for gives way to what it used, so the next one fits."""
    async with running(tmp_path, LOCKED) as here:
        key = await new_key(here, tpm_limit=1000)
        body = {**BODY, "inferenceConfig": {"maxTokens": 600}}
        first = await call(here, key, body=body)
        await here.settled()
        second = await call(here, key, body=body)
        await here.settled()
        used = here.rows("SELECT input + output AS tokens FROM attempts ORDER BY started_at")
        third = await call(here, key, body={**BODY, "inferenceConfig": {"maxTokens": 990}})

    assert [200, 200, 429] == [first[0], second[0], third[0]]
    assert 1000 - used[0]["tokens"] >= int(second[2]["x-ratelimit-remaining-tokens"])


async def test_a_caller_that_leaves_frees_its_place_and_keeps_its_money_held(tmp_path: Path) -> None:
    """Of a key with one call at once: while an answer is read on for a caller that left, another may call; the money
    stays held until it is known what was spent.
    """
    async with gated() as gate:
        config = LOCKED.replace("%(url)s", gate.url)
        async with running(tmp_path, config) as here:
            gate.port = int(here.upstream.rpartition(":")[2])
            gate.passing = 0
            key = await new_key(here, max_budget=1, max_parallel_requests=1, max_drains=4)
            leaving = asyncio.create_task(call(here, key))
            await here.until(lambda: gate.held)
            busy = refusal(await call(here, key))
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
            await here.until(lambda: here.gateway.leaving.draining)
            (held,) = [reserved for _, _, reserved in here.gateway.budgets.figures(here.gateway.clock.now_ms())]
            another = asyncio.create_task(call(here, key))
            await here.until(lambda: gate.held == 2)
            gate.open.set()
            status, _, _ = await another
            await here.settled()
            figures = here.gateway.budgets.figures(here.gateway.clock.now_ms())
            (spent,) = here.rows("SELECT sum(spend) AS spend FROM attempts")

    assert (429, "ThrottlingException") == busy[:2]
    assert "1 calls at once" in busy[2]
    assert held > 0
    assert 200 == status
    assert [(spent["spend"], 0)] == [(spent_, reserved) for _, spent_, reserved in figures]


async def test_open_gateway_closes_with_its_first_key(tmp_path: Path) -> None:
    """Without a master key anybody may call until somebody makes a virtual key beside the running gateway; then only
    who has one may, whatever name the gateway is called by.
    """
    key = "sk-made-on-the-command-line"
    async with running(tmp_path) as here:
        assert 200 == (await call(here, "anything"))[0]
        assert 403 == (await administered(here, "/key/list"))[0]
        foreign = {"host": "gateway.example.com"}
        assert (403, "AccessDeniedException") == refusal(await call(here, key, **foreign))[:2]
        with contextlib.closing(sqlite3.connect(here.database, isolation_level=None)) as beside, transaction(beside):
            writing = Writing(now_ms=here.gateway.clock.now_ms(), by="command-line")
            create_key(beside, "key-0123456789ab", Digest.of(key), {}, writing, expires_at=None)
        await here.until(lambda: not here.gateway.callers.open)

        assert (403, "UnrecognizedClientException") == refusal(await call(here, "anything"))[:2]
        assert 200 == (await call(here, key, **foreign))[0]


@pytest.mark.parametrize("way", ["credentials", "container"])
async def test_signed_calls_of_stock_boto3(tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 with issued credentials, given or fetched by itself, makes all four model operations; a rotation of the
    key voids them.
    """
    async with running(tmp_path, LOCKED) as here:
        made = await administer(here, "/key/generate", {"key_alias": "sdk"})
        if way == "credentials":
            issued = issue(ROOT, made["key_id"], 0, expires_at_ms=None)
            options = {
                "aws_access_key_id": issued.access_key_id,
                "aws_secret_access_key": issued.secret_access_key,
            }
        else:
            # Environment keys would win over the endpoint.
            for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
                monkeypatch.delenv(name, raising=False)
            monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
            monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
            monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{here.url}/aws/container-credentials")
            monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", made["key"])
            options = {"aws_access_key_id": None, "aws_secret_access_key": None}
        client = await asyncio.to_thread(lambda: here.client(**options))
        with contextlib.closing(client):
            for operation in (converse, converse_stream, invoke, invoke_stream):
                assert await asyncio.to_thread(operation, client)
            await administer(here, "/key/regenerate", {"key": made["key"]})
            with pytest.raises(ClientError) as caught:
                await asyncio.to_thread(converse, client)
        rows = await caller_rows(here)

    assert {made["key_id"]} == {row["caller"] for row in rows}
    assert [200] * 4 == [row["status"] for row in rows]
    assert "UnrecognizedClientException" == caught.value.response["Error"]["Code"]


def converse(client: Any) -> object:
    """Make a Converse call."""
    return client.converse(modelId="single", **BODY)["usage"]["outputTokens"]


def converse_stream(client: Any) -> object:
    """Make a ConverseStream call and read its stream."""
    return [event for event in client.converse_stream(modelId="single", **BODY)["stream"] if "metadata" in event]


ANTHROPIC = {
    "anthropic_version": "bedrock-2023-05-31",
    "max_tokens": 20,
    "messages": [{"role": "user", "content": "Hello"}],
}


def invoke(client: Any) -> object:
    """Make an InvokeModel call, without a content type."""
    return json.loads(client.invoke_model(modelId="single", body=json.dumps(ANTHROPIC))["body"].read())["usage"]


def invoke_stream(client: Any) -> object:
    """Make an InvokeModelWithResponseStream call and read its stream."""
    answer = client.invoke_model_with_response_stream(modelId="single", body=json.dumps(ANTHROPIC))
    return list(answer["body"])


async def test_signature_of_another_secret(tmp_path: Path) -> None:
    """A wrong secret is InvalidSignatureException, and such a call is nobody's: it makes no row."""
    async with running(tmp_path, LOCKED) as here:
        made = await administer(here, "/key/generate", {})
        issued = issue(ROOT, made["key_id"], 0, expires_at_ms=None)
        client = here.client(aws_access_key_id=issued.access_key_id, aws_secret_access_key="wrong")
        with contextlib.closing(client), pytest.raises(ClientError) as caught:
            await asyncio.to_thread(converse, client)
        await here.settled()

        assert [] == here.rows("SELECT * FROM calls")
    assert "InvalidSignatureException" == caught.value.response["Error"]["Code"]
