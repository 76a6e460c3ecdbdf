"""Several deployments of one group: who is asked first, who is left out and for how long, and what is booked."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import pytest
from aiohttp import web
from gate import gated
from running import GROUPS, Running, running

from bedrock_gateway.routing.health import FAILS_IN_A_ROW, LEAST_CALLS, Health

BODY = json.dumps({"messages": [{"role": "user", "content": [{"text": "What is a gateway good for?"}]}]}).encode()

#: Three deployments of one tier with weights 3, 1 and 0 (last resort).
WEIGHTED = """
model_list:
  - model_name: claude
    litellm_params: {model: bedrock/%(claude)s, aws_region_name: us-east-1, weight: 3,
      aws_access_key_id: AKIDEPLOYMENTA, aws_secret_access_key: secret-A, aws_bedrock_runtime_endpoint: "%(url)s"}
  - model_name: claude
    litellm_params: {model: bedrock/%(claude)s, aws_region_name: us-west-2, weight: 1,
      aws_access_key_id: AKIDEPLOYMENTB, aws_secret_access_key: secret-B, aws_bedrock_runtime_endpoint: "%(url)s"}
  - model_name: claude
    litellm_params: {model: bedrock/%(claude)s, aws_region_name: eu-west-1, weight: 0,
      aws_access_key_id: AKIDEPLOYMENTC, aws_secret_access_key: secret-C, aws_bedrock_runtime_endpoint: "%(url)s"}
"""
#: One deployment whose credentials come from a program that counts how often it is run.
PROGRAM = """
model_list:
  - model_name: claude
    litellm_params: {model: bedrock/%(claude)s, aws_region_name: us-east-1, aws_profile_name: renewing, order: 1,
      aws_bedrock_runtime_endpoint: "%(url)s"}
"""
SECOND = """
  - model_name: claude
    litellm_params: {model: bedrock/%(claude)s, aws_region_name: us-west-2, order: 2,
      aws_access_key_id: AKIDEPLOYMENTC, aws_secret_access_key: secret-C, aws_bedrock_runtime_endpoint: "%(url)s"}
"""


#: A group of one and one of two whose first deployment is at an upstream of its own.
ELSEWHERE = """
model_list:
  - model_name: throttled
    litellm_params: &first {model: bedrock/%%(claude)s, aws_region_name: us-east-1, order: 1,
      aws_access_key_id: AKIDEPLOYMENTA, aws_secret_access_key: secret-A, aws_bedrock_runtime_endpoint: "%s"}
  - model_name: claude
    litellm_params: *first
"""


async def ask(here: Running, model: str = "claude", *, action: str = "converse") -> tuple[int, dict[str, str]]:
    """Call once; return status and headers."""
    async with aiohttp.ClientSession() as http:
        url = f"{here.url}/bedrock/model/{model}/{action}"
        async with http.post(url, data=BODY, headers={"content-type": "application/json"}) as answer:
            await answer.read()
            return answer.status, {name.lower(): value for name, value in answer.headers.items()}


def asked(here: Running) -> str:
    """Return the deployments that were asked, in order, by the last letter of their access key ids."""
    return "".join(str(one.access_key_id)[-1] for one in here.simulator.received)


def waits(here: Running) -> dict[str, float]:
    """Return the seconds each deployment of the group is still left out, by region."""
    now = time.monotonic()
    deployments = here.gateway.snapshot.routing.resolve("claude").deployments()
    balancer = here.gateway.balancer
    return {one.region: balancer.health.wait(balancer.standing(one), now) for one in deployments}


def let_pass(here: Running, seconds: float) -> None:
    """Let time pass for what is cooling."""
    for standing in here.gateway.balancer.standings():
        standing.until -= seconds
        standing.cooling -= seconds


async def test_weights_are_respected(tmp_path: Path) -> None:
    """Calls are shared out by weight, a deployment of weight 0 gets none while another is free."""
    async with running(tmp_path, WEIGHTED) as here:
        here.gateway.balancer.random = random.Random(5).random
        for _ in range(80):
            await ask(here)

        shares = collections.Counter(asked(here))
        assert {"A", "B"} == set(shares)
        # 60 of 80 are to be expected with a standard deviation of 3.9.
        assert 50 <= shares["A"] <= 70


async def test_a_last_resort_is_asked_when_all_others_fail(tmp_path: Path) -> None:
    """Weight 0 means after all others, not never."""
    async with running(tmp_path, WEIGHTED) as here:
        here.simulator.faults.add("unavailable", times=2)
        status, headers = await ask(here)

        assert (200, "3") == (status, headers["x-bedrock-gateway-attempts"])
        assert {"A", "B"} == set(asked(here)[:2])
        assert "C" == asked(here)[2]


async def test_tiers_are_asked_in_their_order(tmp_path: Path) -> None:
    """A later tier is asked only where no deployment of an earlier one is free."""
    async with running(tmp_path) as here:
        for _ in range(3):
            await ask(here)
        here.simulator.faults.add("throttle", times=FAILS_IN_A_ROW, access_key_id="AKIDEPLOYMENTA")
        here.simulator.faults.add("throttle", times=FAILS_IN_A_ROW, access_key_id="AKIDEPLOYMENTB")
        for _ in range(FAILS_IN_A_ROW + 1):
            await ask(here)

        assert "AAA" + "ABC" * FAILS_IN_A_ROW + "C" == asked(here)


@pytest.mark.parametrize(
    ("kind", "action"),
    [
        *((kind, "converse") for kind in ("throttle", "unavailable", "not-ready", "internal")),
        *((kind, "converse-stream") for kind in ("throttle", "exception-first")),
    ],
)
async def test_a_failing_deployment_is_left_out_and_let_back(tmp_path: Path, kind: str, action: str) -> None:
    """For the cooldown time nobody asks a deployment that failed often enough; after it, it has its place again."""
    async with running(tmp_path) as here:
        here.simulator.faults.add(kind, times=FAILS_IN_A_ROW, access_key_id="AKIDEPLOYMENTA")
        for _ in range(FAILS_IN_A_ROW + 1):
            await ask(here, action=action)
        left_out = waits(here)
        let_pass(here, left_out["us-east-1"])
        await ask(here, action=action)
        await ask(here, action=action)

        assert "AB" * FAILS_IN_A_ROW + "B" + "AA" == asked(here)
        assert 0.0 < left_out["us-east-1"] <= 5.0
        assert 0.0 == left_out["us-west-2"]


async def test_half_of_a_minutes_calls_leave_a_deployment_out(tmp_path: Path) -> None:
    """Failures that are never three in a row lead to it as soon as there are calls enough to tell by."""
    async with running(tmp_path) as here:
        left_out = []
        for outcome in ("FFS" * LEAST_CALLS)[:LEAST_CALLS]:
            if outcome == "F":
                here.simulator.faults.add("throttle", access_key_id="AKIDEPLOYMENTA")
            await ask(here)
            left_out.append(waits(here)["us-east-1"] > 0)

        assert [False] * (LEAST_CALLS - 1) + [True] == left_out


async def test_a_deployment_has_a_cooldown_time_of_its_own(tmp_path: Path) -> None:
    """``cooldown_time`` beside a model counts for that deployment, the router's for the others."""
    async with running(tmp_path, GROUPS.replace("order: 1}", "order: 1, cooldown_time: 60}")) as here:
        for letter in "AB":
            here.simulator.faults.add("throttle", times=FAILS_IN_A_ROW, access_key_id=f"AKIDEPLOYMENT{letter}")
        for _ in range(FAILS_IN_A_ROW):
            await ask(here)

        assert 55 < waits(here)["us-east-1"] <= 60
        assert 0 < waits(here)["us-west-2"] <= 5


@pytest.mark.parametrize(
    ("policy", "kind", "expected"),
    [
        ("RateLimitErrorRetries: 0", "throttle", "A"),
        ("RateLimitErrorRetries: 1", "throttle", "AB"),
        ("RateLimitErrorRetries: 0", "unavailable", "ABC"),
        ("ServiceUnavailableErrorRetries: 1", "unavailable", "AB"),
        ("AuthenticationErrorRetries: 0", "access-denied", "A"),
        ("NotFoundErrorRetries: 1", "not-found", "AB"),
        ("InternalServerErrorRetries: 0", "internal", "A"),
        ("InternalServerErrorRetries: 5", "internal", "AB"),
        ("TimeoutErrorRetries: 5", "reset", "A"),
        ("BadRequestErrorRetries: 5", "validation", "A"),
        ("DefaultRetries: 1", "throttle", "AB"),
    ],
)
@pytest.mark.parametrize("action", ["converse", "converse-stream"])
async def test_a_retry_policy_says_how_often_what_is_repeated(
    tmp_path: Path, action: str, policy: str, kind: str, expected: str
) -> None:
    """``retry_policy`` counts further attempts by what failed; what is never repeated stays so, whatever it says."""
    async with running(tmp_path, GROUPS + f"router_settings: {{retry_policy: {{{policy}}}}}\n") as here:
        here.gateway.snapshot = attrs.evolve(here.gateway.snapshot, backoff=0.001)
        here.simulator.faults.add(kind, times=None)
        await ask(here, action=action)

        assert expected == asked(here)


async def test_the_last_attempt_cools_its_deployment_too(tmp_path: Path) -> None:
    """A stream that nothing can replace is not held back; its first exception still says what it says."""
    async with running(tmp_path) as here:
        here.gateway.snapshot = attrs.evolve(here.gateway.snapshot, num_retries=0)
        here.simulator.faults.add("exception-first", times=FAILS_IN_A_ROW)
        for _ in range(FAILS_IN_A_ROW + 1):
            await ask(here, action="converse-stream")

        assert "A" * FAILS_IN_A_ROW + "B" == asked(here)


async def test_a_cooldown_time_of_none_leaves_nobody_out(tmp_path: Path) -> None:
    """``cooldown_time: 0`` switches it off: the call goes on elsewhere, the next one begins where it did before."""
    async with running(tmp_path, GROUPS + "router_settings: {cooldown_time: 0}\n") as here:
        here.simulator.faults.add("throttle", times=FAILS_IN_A_ROW, access_key_id="AKIDEPLOYMENTA")
        for _ in range(FAILS_IN_A_ROW + 1):
            await ask(here)

        assert "AB" * FAILS_IN_A_ROW + "A" == asked(here)


async def test_what_is_the_callers_business_leaves_nobody_out(tmp_path: Path) -> None:
    """Refusals of a request say nothing of the deployment that refused it."""
    async with running(tmp_path) as here:
        for kind in ("validation", "quota", "model-timeout", "model-error"):
            here.simulator.faults.add(kind)
            await ask(here)

        assert "AAAA" == asked(here)
        assert {0.0} == set(waits(here).values())


@contextlib.asynccontextmanager
async def throttled_upstream(retry_after: str) -> AsyncIterator[tuple[str, list[float]]]:
    """Serve an upstream that throttles every request and asks for a rest; give its URL and when it was asked."""
    moments: list[float] = []

    async def throttle(request: web.BaseRequest) -> web.StreamResponse:
        await request.read()
        moments.append(time.monotonic())
        headers = {"x-amzn-errortype": "ThrottlingException", "retry-after": retry_after}
        return web.json_response({"message": "Slow down."}, status=429, headers=headers)

    runner = web.ServerRunner(web.Server(throttle))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", moments
    finally:
        await runner.cleanup()


async def test_a_retry_after_that_fits_is_waited_for(tmp_path: Path) -> None:
    """Before the only deployment is asked again, the time it asked for has passed."""
    async with throttled_upstream("0.1") as (url, moments), running(tmp_path, ELSEWHERE % url) as here:
        status, headers = await ask(here, "throttled")

        first, second, third = moments
        assert (429, "0.1", "3") == (status, headers["retry-after"], headers["x-bedrock-gateway-attempts"])
        assert 0.1 <= second - first
        assert 0.1 <= third - second


async def test_a_retry_after_that_does_not_fit_goes_to_the_caller(tmp_path: Path) -> None:
    """A long one is told to the caller at once; in a group the deployment rests for that long."""
    async with throttled_upstream("30") as (url, moments), running(tmp_path, ELSEWHERE % url + SECOND) as here:
        status, headers = await ask(here, "throttled")
        other, _ = await ask(here)

        assert (429, "30", "1") == (status, headers["retry-after"], headers["x-bedrock-gateway-attempts"])
        assert 200 == other
        assert 2 == len(moments)
        assert 25.0 < waits(here)["us-east-1"] <= 30.0


@pytest.mark.parametrize(
    "kind", ["access-denied", "not-found", "invalid-model", "on-demand-unsupported", "unknown-operation"]
)
async def test_a_model_that_is_not_there_is_marked_for_five_minutes(tmp_path: Path, kind: str) -> None:
    """Only that model on that deployment is left out, for five minutes, whatever the cooldown time."""
    async with running(tmp_path, GROUPS + "router_settings: {cooldown_time: 1}\n") as here:
        here.simulator.faults.add(kind)
        status, _ = await ask(here)
        marked = waits(here)
        await ask(here)
        let_pass(here, marked["us-east-1"])
        await ask(here)

        assert 200 == status
        assert "AB" + "B" + "A" == asked(here)
        assert 290.0 < marked["us-east-1"] <= 300.0
        # The deployment itself is well: readiness does not count it as cooling.
        now = time.monotonic()
        assert [] == [one.name for one in here.gateway.balancer.standings() if one.cooling > now]


@pytest.mark.parametrize("kind", ["throttle", "access-denied", "internal", "reset"])
async def test_the_last_deployment_is_never_cooled(tmp_path: Path, kind: str) -> None:
    """Where nothing else is left, the call still goes to AWS: refusing it would add an outage of our own."""
    async with running(tmp_path) as here:
        here.gateway.balancer.health = Health(cooldown_time=60.0, allowed_fails=0)
        here.gateway.snapshot = attrs.evolve(here.gateway.snapshot, num_retries=0)
        here.simulator.faults.add(kind, times=5)
        for _ in range(5):
            await ask(here)
        await ask(here)
        await ask(here, "single")
        here.simulator.faults.add(kind, times=1)
        await ask(here, "single")
        await ask(here, "single")

        # The group comes down to its last deployment and stays there; the group of one is asked in any case.
        assert "AB" + "CCC" + "C" + "AAA" == asked(here)


async def test_every_attempt_has_its_own_row(tmp_path: Path) -> None:
    """Deployment, number, status and AWS's id stand with each attempt; the call's spend is that of the charged."""
    async with running(tmp_path) as here:
        here.simulator.faults.add("internal")
        here.simulator.faults.add("throttle")
        status, headers = await ask(here)

        rows = here.rows("SELECT * FROM attempts ORDER BY number")
        (call,) = here.rows("SELECT * FROM calls")
        (rollup,) = here.rows("SELECT sum(calls) calls, sum(attempts) attempts, sum(spend) spend FROM rollups")
        assert (200, "3", call["id"]) == (
            status,
            headers["x-bedrock-gateway-attempts"],
            headers["x-bedrock-gateway-call-id"],
        )
        assert [1, 2, 3] == [row["number"] for row in rows]
        assert ["us-east-1", "us-west-2", "eu-west-1"] == [row["region"] for row in rows]
        assert 3 == len({row["deployment"] for row in rows})
        assert [500, 429, 200] == [row["status"] for row in rows]
        assert [one.request_id for one in here.simulator.received] == [row["aws_request_id"] for row in rows]
        assert ["refused", "refused", "metered"] == [row["state"] for row in rows]
        assert ['["maybe-billed"]', None, None] == [row["notes"] for row in rows]
        assert [0, 0, 1] == [row["charged"] for row in rows]
        assert rows[2]["spend"] == call["spend"] > 0
        assert (3, "metered", rows[2]["deployment"]) == (call["attempts"], call["state"], call["deployment"])
        assert {"calls": 1, "attempts": 3, "spend": call["spend"]} == rollup
        assert "attempts=3" in here.lines[0]


async def test_each_attempt_is_signed_afresh(tmp_path: Path) -> None:
    """Every deployment gets its own region, credentials and signature over the same body."""
    async with running(tmp_path) as here:
        here.simulator.faults.add("throttle", times=2)
        await ask(here)

        received = here.simulator.received
        assert ["us-east-1", "us-west-2", "eu-west-1"] == [one.region for one in received]
        assert 3 == len({one.header("authorization") for one in received})
        assert {BODY} == {one.body for one in received}


async def test_parallel_calls_find_out_together(tmp_path: Path) -> None:
    """When a deployment fails, every call under way moves on, none is lost and none is sent to it twice."""
    async with running(tmp_path) as here:
        here.simulator.faults.add("unavailable", times=None, access_key_id="AKIDEPLOYMENTA")
        answers = await asyncio.gather(*(ask(here) for _ in range(20)))

        assert {200} == {status for status, _ in answers}
        rows = here.rows("SELECT call, region, count(*) AS times FROM attempts GROUP BY call, region")
        assert {1} == {row["times"] for row in rows}
        assert 20 == len([row for row in rows if row["region"] == "us-west-2"])


async def test_a_call_keeps_the_table_it_began_with(tmp_path: Path) -> None:
    """A config that is exchanged while a call waits for its second attempt does not change where that goes."""
    async with running(tmp_path) as here:
        snapshot = here.gateway.snapshot
        here.gateway.snapshot = attrs.evolve(snapshot, backoff=0.1)
        here.simulator.faults.add("throttle")
        call = asyncio.create_task(ask(here, "single"))
        await here.until(lambda: here.simulator.received)
        here.gateway.snapshot = attrs.evolve(snapshot, num_retries=0)
        status, headers = await call

        assert (200, "2") == (status, headers["x-bedrock-gateway-attempts"])


@pytest.fixture
def renewing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set up an AWS profile whose program writes down each run and gives key A first, key B from then on."""
    runs, program, profiles = tmp_path / "runs", tmp_path / "credentials.sh", tmp_path / "aws-config"
    keys = {"Version": 1, "AccessKeyId": "AKIDEPLOYMENT$LETTER", "SecretAccessKey": "secret-$LETTER"}
    told = json.dumps(keys).replace('"', '\\"')
    program.write_text(
        f'#!/bin/sh\nLETTER=A; [ -e {runs} ] && LETTER=B\necho run >> {runs}\necho "{told}"\n', encoding="utf-8"
    )
    program.chmod(0o700)
    profiles.write_text(f"[profile renewing]\ncredential_process = {program}\n", encoding="utf-8")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(profiles))
    return runs


def count_of(runs: Path) -> int:
    """Return how often the program was run."""
    return len(runs.read_text(encoding="utf-8").splitlines())


def refuse_first_key(here: Running) -> None:
    """Let AWS call the first key expired, always."""
    here.simulator.faults.add("expired-token", times=None, access_key_id="AKIDEPLOYMENTA")


@pytest.mark.parametrize("config", [PROGRAM, PROGRAM + SECOND], ids=["alone", "in a group"])
async def test_expired_credentials_are_read_again_once(tmp_path: Path, renewing: Path, config: str) -> None:
    """The same call goes on with fresh credentials on the same deployment, which is not left out."""
    async with running(tmp_path, config) as here:
        refuse_first_key(here)
        status, headers = await ask(here)
        await ask(here)

        assert (200, "2") == (status, headers["x-bedrock-gateway-attempts"])
        assert "ABB" == asked(here)
        assert 2 == count_of(renewing)
        assert ["ExpiredTokenException", None, None] == [
            row["error_type"] for row in here.rows("SELECT error_type FROM attempts ORDER BY call, number")
        ]


async def test_parallel_calls_read_expired_credentials_once(tmp_path: Path, renewing: Path) -> None:
    """However many calls AWS refuses, the source is asked for new credentials once."""
    async with running(tmp_path, PROGRAM) as here:
        await here.until(lambda: not here.gateway.credentials.pending())
        refuse_first_key(here)
        answers = await asyncio.gather(*(ask(here) for _ in range(10)))

        assert {200} == {status for status, _ in answers}
        assert 2 == count_of(renewing)


async def test_a_late_refusal_does_not_drop_fresh_credentials(tmp_path: Path, renewing: Path) -> None:
    """What AWS refuses is what the attempt was signed with, which others may have renewed in the meantime."""
    async with gated() as gate, running(tmp_path, PROGRAM.replace("%(url)s", gate.url)) as here:
        gate.port = int(here.upstream.rpartition(":")[2])
        await here.until(lambda: not here.gateway.credentials.pending())
        refuse_first_key(here)
        gate.passing = 0
        late = asyncio.create_task(ask(here))
        await here.until(lambda: gate.held)
        gate.passing = None
        early, _ = await ask(here)
        gate.open.set()

        assert [200, 200] == [early, (await late)[0]]
        assert "AABB" == asked(here)
        assert 2 == count_of(renewing)


async def test_credentials_that_stay_expired_fail_over(tmp_path: Path) -> None:
    """Where reading again gives the same, the next deployment is asked, and nobody twice."""
    async with running(tmp_path) as here:
        here.simulator.faults.add("expired-token", times=None, access_key_id="AKIDEPLOYMENTA")
        status, _ = await ask(here)
        await ask(here)
        alone, headers = await ask(here, "single")

        assert (200, 503) == (status, alone)
        assert "1" == headers["x-bedrock-gateway-attempts"]
        assert "AB" + "B" + "A" == asked(here)


async def test_a_repeat_of_an_sdk_finds_fresh_credentials(tmp_path: Path, renewing: Path) -> None:
    """A call that may be sent only once leaves fresh credentials to the next one."""
    async with running(tmp_path, PROGRAM) as here:
        refuse_first_key(here)
        here.gateway.snapshot = attrs.evolve(here.gateway.snapshot, num_retries=0)
        told: list[Any] = [await ask(here), await ask(here)]

        assert [503, 200] == [status for status, _ in told]
        assert "AB" == asked(here)
        assert 2 == count_of(renewing)
