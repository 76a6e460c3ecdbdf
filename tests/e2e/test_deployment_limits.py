"""Limits of deployments: exact however many calls come at once, spilled over to others, given back in the end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from gate import Gate, calling, gated
from groups import Told, ask, asked, body_of, config_of, deployment
from running import Running, running

from bedrock_gateway.routing.health import Health
from bedrock_gateway.wire.sigv4 import Signer

CALLS = 200
ACTIONS = ["converse", "converse-stream"]
BODY = body_of(inferenceConfig={"maxTokens": 100})


@contextlib.asynccontextmanager
async def behind_a_gate(folder: Path, *deployments: str, router: str = "", more: str = "") -> AsyncIterator[Any]:
    """Run a gateway whose every answer from upstream waits; at the end nobody may hold a place."""
    async with gated() as gate:
        config = config_of(*deployments, router=router, more=more).replace("%(url)s", gate.url)
        async with running(folder, config) as here:
            gate.port = int(here.upstream.rpartition(":")[2])
            gate.passing = 0
            yield here, gate
            gate.open.set()
            await here.settled()
            assert {0} == {taken for taken, _ in places(here).values()}


def places(here: Running) -> dict[str, tuple[int, int]]:
    """Return the places taken at each deployment that was asked for, and the calls under way there."""
    balancer, now = here.gateway.balancer, time.monotonic()
    return {
        one.deployment.name: (balancer.limiter.state(one.name, now).parallel, one.in_flight)
        for one in balancer.standings()
    }


def tokens(here: Running) -> dict[str, int]:
    """Return the tokens that count in the present minute of each deployment."""
    balancer, now = here.gateway.balancer, time.monotonic()
    return {one.deployment.name: balancer.limiter.state(one.name, now).tokens for one in balancer.standings()}


async def all_at_once(here: Running, gate: Gate, action: str = "converse") -> list[Told]:
    """Make many calls while no answer comes; return those that were refused, once the others wait for theirs."""
    calls = [asyncio.create_task(ask(here, action=action, body=BODY)) for _ in range(CALLS)]
    try:
        await here.until(lambda: CALLS == gate.held + sum(task.done() for task in calls))
        refused = [task.result() for task in calls if task.done()]
    finally:
        gate.open.set()
    answers = Counter(one.status for one in await asyncio.gather(*calls))
    assert Counter({200: CALLS - len(refused), 429: len(refused)}) == answers
    return refused


def hold_refusals(refused: list[Told], *, least: int, most: int) -> None:
    """Assert that all were told that every deployment is at a limit, and of a wait within these seconds."""
    assert {(429, "ThrottlingException")} == {(one.status, one.error_type) for one in refused}
    assert {True} == {least <= int(one.headers["retry-after"]) <= most for one in refused}
    assert {True} == {b"Every deployment of 'claude' is at a limit of its own" in one.body for one in refused}


@pytest.mark.parametrize("strategy", ["adaptive", "simple-shuffle", "least-busy", "usage-based-routing"])
@pytest.mark.parametrize("action", ACTIONS)
async def test_requests_a_minute_are_exact(tmp_path: Path, action: str, strategy: str) -> None:
    """Of 200 parallel calls each deployment gets as many as it may have, and the rest is told when there is room."""
    deployments = deployment("A", params="rpm: 30"), deployment("B", params="rpm: 50")
    async with behind_a_gate(tmp_path, *deployments, router=f"routing_strategy: {strategy}") as (here, gate):
        refused = await all_at_once(here, gate, action)
        again = await ask(here, body=BODY)

        assert Counter(A=30, B=50) == Counter(asked(here))
        assert CALLS - 80 == len(refused)
        hold_refusals([*refused, again], least=50, most=61)
        # What was refused is on record, and nothing was sent for it.
        await here.until(lambda: CALLS + 1 == len(here.rows("SELECT id FROM calls WHERE ended_at IS NOT NULL")))
        assert [{"state": "metered", "count": 80}, {"state": "refused", "count": CALLS - 79}] == here.rows(
            "SELECT state, count(*) AS count FROM calls GROUP BY state ORDER BY state"
        )
        assert [{"count": 80}] == here.rows("SELECT count(*) AS count FROM attempts")


async def test_tokens_a_minute_are_exact(tmp_path: Path) -> None:
    """While nothing is known but what calls ask for, that counts; once they are over, what they used."""
    deployments = deployment("A", params="tpm: 2000"), deployment("B", params="tpm: 3000")
    async with behind_a_gate(tmp_path, *deployments) as (here, gate):
        calls = [asyncio.create_task(ask(here, body=BODY)) for _ in range(CALLS)]
        await here.until(lambda: CALLS == gate.held + sum(task.done() for task in calls))
        refused = [task.result() for task in calls if task.done()]
        reserved = tokens(here)
        gate.open.set()
        await asyncio.gather(*calls)
        await here.settled()
        sent = Counter(asked(here))
        each = reserved["claude"] // sent["A"]
        used = here.rows("SELECT region, sum(input + output) AS tokens FROM attempts GROUP BY region ORDER BY region")

        assert 100 < each
        assert (2000 // each, 3000 // each, CALLS) == (sent["A"], sent["B"], sent.total() + len(refused))
        assert {"claude": each * sent["A"], "claude#2": each * sent["B"]} == reserved
        hold_refusals(refused, least=50, most=61)
        assert [row["tokens"] for row in used] == list(tokens(here).values())
        assert 200 == (await ask(here, body=BODY)).status


@pytest.mark.parametrize(
    ("params", "router"),
    [(("max_parallel_requests: 5", "max_parallel_requests: 7"), ""), (("", "max_parallel_requests: 7"), "5")],
    ids=["own", "default"],
)
@pytest.mark.parametrize("action", ACTIONS)
async def test_calls_at_once_are_exact(tmp_path: Path, action: str, params: tuple[str, str], router: str) -> None:
    """Each deployment has as many under way as it may have; places are free again with the answers."""
    first, second = params
    deployments = deployment("A", params=first), deployment("B", params=second)
    default = f"default_max_parallel_requests: {router}" if router else ""
    async with behind_a_gate(tmp_path, *deployments, router=default) as (here, gate):
        calls = [asyncio.create_task(ask(here, action=action)) for _ in range(CALLS)]
        await here.until(lambda: CALLS == gate.held + sum(task.done() for task in calls))
        refused = [task.result() for task in calls if task.done()]
        taken = places(here)
        gate.open.set()
        answers = Counter(one.status for one in await asyncio.gather(*calls))
        await here.settled()
        free = places(here)
        more = await asyncio.gather(*(ask(here, action=action) for _ in range(5)))

        assert {"claude": (5, 5), "claude#2": (7, 7)} == taken
        assert Counter({200: 12, 429: CALLS - 12}) == answers
        hold_refusals(refused, least=1, most=1)
        assert {"claude": (0, 0), "claude#2": (0, 0)} == free
        assert [200] * 5 == [one.status for one in more]


@pytest.mark.parametrize("limit", ["rpm: 10", "max_parallel_requests: 10"])
async def test_what_one_may_not_have_the_next_gets(tmp_path: Path, limit: str) -> None:
    """A deployment at its limit is passed over without an attempt and without a word of a failure."""
    deployments = deployment("A", params=f"order: 1, {limit}"), deployment("B", params="order: 2")
    async with behind_a_gate(tmp_path, *deployments) as (here, gate):
        refused = await all_at_once(here, gate)

        assert [] == refused
        assert Counter(A=10, B=CALLS - 10) == Counter(asked(here))
        assert [{"attempts": 1}] == here.rows("SELECT DISTINCT attempts FROM calls")


async def test_what_a_group_may_not_have_another_group_gets(tmp_path: Path) -> None:
    """Where every deployment of a group is at its limit, its fallback is asked, and told to the caller."""
    deployments = deployment("A", params="rpm: 1"), deployment("C", "other", params="rpm: 2")
    async with behind_a_gate(tmp_path, *deployments, router="fallbacks: [{claude: [other]}]") as (here, gate):
        gate.open.set()
        told = [await ask(here) for _ in range(4)]

        assert [200, 200, 200, 429] == [one.status for one in told]
        assert "ACC" == asked(here)
        assert [None, "1", "1", None] == [one.headers.get("x-bedrock-gateway-fallbacks") for one in told]
        assert not any("x-bedrock-gateway-failed" in one.headers for one in told)


async def test_who_rests_is_asked_where_others_are_full(tmp_path: Path) -> None:
    """A deployment that is left out is still better than a refusal; one at its limit is not asked over it."""
    deployments = deployment("A", params="order: 1"), deployment("B", params="order: 2, rpm: 3")
    async with running(tmp_path, config_of(*deployments)) as here:
        here.simulator.faults.add("throttle", times=3, access_key_id="AKIDEPLOYMENTA")
        told = [await ask(here) for _ in range(4)]

        assert [True] * 4 == [one.fine for one in told]
        assert "ABABAB" + "A" == asked(here)


async def test_places_are_given_back_when_a_calls_time_is_over(tmp_path: Path) -> None:
    """A call that is ended because all of its time has passed leaves its place to the next one."""
    only = deployment("A", params="max_parallel_requests: 1")
    async with behind_a_gate(tmp_path, only, more="general_settings: {total_timeout: 0.3}\n") as (here, gate):
        told = await ask(here)
        await here.settled()
        taken = places(here)
        gate.open.set()

        assert (424, {"claude": (0, 0)}) == (told.status, taken)
        assert (await ask(here)).fine


async def test_a_long_request_meets_the_limits_of_where_it_goes(tmp_path: Path) -> None:
    """A group that is asked because another one cannot read so much is not asked over its tokens a minute either."""
    text = "Input is too long for requested model."
    async with gated() as gate:
        deployments = deployment("A"), deployment("C", "other", url=gate.url, params="tpm: 300")
        config = config_of(*deployments, router="context_window_fallbacks: [{claude: [other]}]")
        async with running(tmp_path, config) as here:
            gate.port = int(here.upstream.rpartition(":")[2])
            gate.passing = 0
            here.simulator.faults.add("validation", times=None, access_key_id="AKIDEPLOYMENTA", message=text)
            calls = [asyncio.create_task(ask(here, body=BODY)) for _ in range(5)]
            await here.until(lambda: 5 == gate.held + sum(task.done() for task in calls))
            gate.open.set()
            told = await asyncio.gather(*calls)

            assert Counter({200: 2, 400: 3}) == Counter(one.status for one in told)
            assert Counter(A=5, C=2) == Counter(asked(here))


@pytest.mark.parametrize("limit", ["rpm: 3", "tpm: 450"])
async def test_a_wait_is_true(tmp_path: Path, limit: str) -> None:
    """After the seconds a caller is told there is room, and a little before there is none."""
    async with behind_a_gate(tmp_path, deployment("A", params=limit)) as (here, gate):
        calls = [asyncio.create_task(ask(here, body=BODY)) for _ in range(3)]
        await here.until(lambda: 3 == gate.held)
        asked_at = time.monotonic()
        refused = await ask(here, body=BODY)
        told_at, wait = time.monotonic(), int(refused.headers["retry-after"])
        balancer, resolution = here.gateway.balancer, here.gateway.snapshot.routing.resolve("claude")
        early, late = (
            balancer.plan(resolution, now=at, stream=False, tokens=150).next(at)
            for at in (asked_at + wait - 2, told_at + wait)
        )
        assert late is not None
        balancer.end(late, 0, told_at + wait, sent=False)
        gate.open.set()
        await asyncio.gather(*calls)

        assert (429, None) == (refused.status, early)


async def test_a_repeat_takes_the_place_of_what_failed(tmp_path: Path) -> None:
    """A call that is repeated on a deployment for one call at once does not stand in its own way."""
    config = config_of(deployment("A", params="max_parallel_requests: 1, rpm: 2"))
    async with running(tmp_path, config) as here:
        here.gateway.snapshot = attrs.evolve(here.gateway.snapshot, backoff=0.001)
        here.simulator.faults.add("throttle", times=2)
        told = await ask(here)

        # The second request of the minute was the last: AWS's own refusal is what is told.
        assert ("AA", 429, "2") == (asked(here), told.status, told.headers["x-bedrock-gateway-attempts"])
        assert b"limit of its own" not in told.body
        assert {"claude": (0, 0)} == places(here)


@pytest.mark.parametrize(
    "kind",
    [
        *("throttle", "internal", "access-denied", "expired-token", "validation", "quota", "model-timeout"),
        *("reset", "silent", "silent-after-head", "cut", "cut-reset", "cut-clean", "short-body", "broken-json"),
        *("exception-first", "exception", "error-message", "wrong-crc"),
    ],
)
async def test_places_are_given_back_after_every_fault(tmp_path: Path, kind: str) -> None:
    """Whatever becomes of a call, the place it had is free for the next one."""
    config = config_of(deployment("A", params="max_parallel_requests: 1"), router="num_retries: 0")
    waiting = 1 if kind.startswith("silent") else 60
    async with running(tmp_path, config + f"general_settings: {{idle_timeout: {waiting}}}\n") as here:
        for action in ACTIONS:
            here.simulator.faults.add(kind)
            await ask(here, action=action)
            await here.settled()
            here.simulator.faults.clear()
            taken, told = places(here), await ask(here, action=action)

            assert ({"claude": (0, 0)}, True) == (taken, told.fine)


@pytest.mark.parametrize("policy", ["drain", "abort"])
@pytest.mark.parametrize(
    ("action", "passing"),
    [("converse", 0), ("converse", 420), ("converse-stream", 0), ("converse-stream", 1_100)],
    ids=["whole-silent", "whole-middle", "stream-silent", "stream-middle"],
)
async def test_places_are_given_back_by_callers_that_leave(
    tmp_path: Path, action: str, passing: int, policy: str
) -> None:
    """While an answer is read on the deployment is at work for it; with its end, or when it is closed, it is free."""
    only = deployment("A", params="max_parallel_requests: 1")
    more = f"general_settings: {{on_disconnect: {policy}}}\n"
    async with behind_a_gate(tmp_path, only, more=more) as (here, gate):
        gate.passing = passing
        caller = await calling(here.port, action, model="claude")
        await here.until(lambda: gate.held)
        await caller.leave()
        if policy == "drain":
            await here.until(lambda: here.gateway.leaving.draining)
        else:
            await here.until(lambda: not here.gateway.calls)
        taken = places(here)["claude"]
        if policy == "abort":
            gate.open.set()
        following = await ask(here)
        gate.open.set()
        await here.settled()

        assert ((1, 1) if policy == "drain" else (0, 0)) == taken
        assert (429 if policy == "drain" else 200) == following.status
        assert (0, 0) == places(here)["claude"]
        assert (await ask(here, action=action)).fine


async def test_places_are_given_back_by_what_was_never_sent(tmp_path: Path) -> None:
    """Without credentials, and where nobody listens, no place is kept; what never began is no request of the minute."""
    deployments = (
        deployment("A", "dead", url="http://127.0.0.1:9", params="max_parallel_requests: 1, rpm: 10"),
        "  - model_name: nobody\n    litellm_params: {model: bedrock/%(claude)s, aws_region_name: us-east-1, rpm: 1,\n"
        '      max_parallel_requests: 1, aws_profile_name: nobody, aws_bedrock_runtime_endpoint: "%(url)s"}\n',
    )
    async with running(tmp_path, config_of(*deployments, router="num_retries: 0")) as here:
        told = [await ask(here, model) for model in ("dead", "dead", "nobody", "nobody", "nobody")]

        assert [503] * 5 == [one.status for one in told]
        assert {"dead": (0, 0), "nobody": (0, 0)} == places(here)


async def test_places_are_given_back_after_a_defect_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of the gateway, before anything was sent or after, costs no place."""

    def fail(*args: Any, **more: Any) -> Any:
        raise ZeroDivisionError("a defect")

    config = config_of(deployment("A", params="max_parallel_requests: 1"))
    async with running(tmp_path, config) as here:
        with monkeypatch.context() as broken:
            broken.setattr(Signer, "authorization", fail)
            before = await ask(here)
        with monkeypatch.context() as broken:
            broken.setattr(Health, "failed", fail)
            here.simulator.faults.add("throttle")
            after = await ask(here)
        await here.settled()

        assert [500, 424] == [before.status, after.status]
        assert {"claude": (0, 0)} == places(here)
        assert (await ask(here)).fine
