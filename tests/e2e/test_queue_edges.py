"""Lines at their edges: what holds them up and what does not, who waits behind whom, and what is told afterwards."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import attrs
import pytest
from administering import MASTER, administer, new_key
from aiohttp import web
from groups import Told, ask, body_of, config_of, deployment
from running import Running, running
from scripted_upstream import PATIENT, Asked, leap, scripted, throttled, whole

#: A line in which the clock can be put forward by minutes.
QUEUE = "general_settings: {queue: {timeout: 1000}}\n"
LOCKED = f"general_settings: {{master_key: {MASTER}, queue: {{timeout: 1000}}}}\n"
FAILED, HOPS = "x-bedrock-gateway-failed", "x-bedrock-gateway-fallbacks"
HAIKU = {"model": "bedrock/anthropic.claude-3-haiku-20240307-v1:0", "aws_region_name": "us-east-1"}


def waiting(here: Running) -> int:
    """Return how many calls wait in line."""
    assert here.gateway.queue is not None
    return here.gateway.queue.waiting


async def line_up(here: Running, text: str, **headers: str) -> asyncio.Task[Told]:
    """Make a call; return once it waits in line, behind those who did before."""
    before = waiting(here)
    task = asyncio.create_task(ask(here, body=body_of(text), **headers))
    await here.until(lambda: waiting(here) == before + 1)
    return task


async def statuses(*calls: asyncio.Task[Told]) -> list[int]:
    """Return what calls come to."""
    return [told.status for told in await asyncio.gather(*calls)]


def nothing_left(here: Running) -> None:
    """Assert that no line is left, nobody in a turn, and no place taken."""
    assert here.gateway.queue is not None
    assert {} == here.gateway.queue._lines
    assert 0 == sum(one.in_flight for one in here.gateway.balancer.standings())


def quick(gateway: Any) -> None:
    """Let who is throttled wait for a moment at first."""
    gateway.snapshot = attrs.evolve(gateway.snapshot, backoff=0.01)


def soon(gateway: Any) -> None:
    """Let who is throttled wait for a moment only."""
    gateway.snapshot = attrs.evolve(gateway.snapshot, backoff=0.01, max_wait=0.01)


async def test_slow_answers_hold_no_line(tmp_path: Path) -> None:
    """One throttle opens a line, then every answer takes long: nobody in line waits for an answer to another."""
    gate = asyncio.Event()

    async def script(asked: Asked) -> web.StreamResponse:
        if asked.number == 1:
            return throttled()
        await gate.wait()
        return whole()

    async with scripted(script) as upstream:
        async with running(
            tmp_path, config_of(deployment("A", url=upstream.url), more=QUEUE), ledger_limits=PATIENT
        ) as here:
            calls = [await line_up(here, "first")]
            calls += [await line_up(here, str(number)) for number in range(5)]
            leap(5)
            await here.until(lambda: len(upstream.asked) == 7)
            under_way = [call.done() for call in calls]
            gate.set()

            assert [False] * 6 == under_way
            assert [200] * 6 == await statuses(*calls)
            await here.settled()
            nothing_left(here)


async def test_a_caller_that_left_in_its_turn_holds_no_line(tmp_path: Path) -> None:
    """Its answer is read on for its usage, for as long as that takes; who comes next is let go meanwhile."""
    gate = asyncio.Event()

    async def script(asked: Asked) -> web.StreamResponse:
        if asked.number == 1:
            return throttled()
        if asked.number == 2:
            await gate.wait()
        return whole()

    async with scripted(script) as upstream:
        async with running(
            tmp_path, config_of(deployment("A", url=upstream.url), more=QUEUE), ledger_limits=PATIENT
        ) as here:
            first = await line_up(here, "first")
            leap(5)
            await here.until(lambda: len(upstream.asked) == 2)
            first.cancel()
            await here.until(lambda: any(call.left for call in here.gateway.calls))
            lines = len(here.gateway.queue._lines)
            second = await ask(here)
            gate.set()
            await here.settled()

            assert (0, 200, "1") == (lines, second.status, second.headers["x-bedrock-gateway-attempts"])
            assert ["metered", "metered", "refused"] == sorted(
                row["state"] for row in here.rows("SELECT state FROM attempts")
            )
            nothing_left(here)


async def test_a_retry_after_of_nothing_is_no_leave_to_hammer(tmp_path: Path) -> None:
    """Who is told to come again at once, and is throttled each time, comes less and less often all the same."""

    async def script(asked: Asked) -> web.StreamResponse:
        return throttled("0")

    more = "general_settings: {queue: {timeout: 0.6}}\n"
    async with scripted(script) as upstream:
        config = config_of(deployment("A", url=upstream.url), more=more)
        async with running(tmp_path, config, change=quick) as here:
            told = await ask(here)
            await here.settled()

            # After 10, 20, 40, 80, 160 and 320 ms.
            assert 429 == told.status
            assert len(upstream.asked) <= 7
            nothing_left(here)


async def test_what_is_told_of_many_attempts_is_short(tmp_path: Path) -> None:
    """A header that grew with every attempt would be refused by proxies and SDKs in the end."""

    async def script(asked: Asked) -> web.StreamResponse:
        return throttled("0") if asked.number <= 20 else whole()

    async with scripted(script) as upstream:
        name = "claude-with-a-name-of-some-length"
        deployments = [deployment(letter, name, url=upstream.url) for letter in "ABC"]
        async with running(tmp_path, config_of(*deployments, more=QUEUE), change=soon) as here:
            told = await ask(here, name)

            assert (200, "21") == (told.status, told.headers["x-bedrock-gateway-attempts"])
            failed = told.headers[FAILED].split(", ")
            assert "12 more" == failed[0]
            assert [f"{name}=throttled"] * 8 == [one.replace("#2", "").replace("#3", "") for one in failed[1:]]


async def test_groups_left_behind_are_those_of_the_last_round(tmp_path: Path) -> None:
    """A call that begins anew after waiting has not gone on yet, however often it did before."""

    async def script(asked: Asked) -> web.StreamResponse:
        return throttled("0") if asked.letter == "A" or asked.number < 6 else whole()

    async with scripted(script) as upstream:
        groups = deployment("A", url=upstream.url), deployment("B", "other", url=upstream.url)
        config = config_of(*groups, router="fallbacks: [{claude: [other]}]", more=QUEUE)
        async with running(tmp_path, config, change=quick) as here:
            told = await ask(here)

            assert (200, "ABABAB") == (told.status, upstream.letters)
            assert "1" == told.headers[HOPS]


async def test_no_end_of_a_call_opens_what_aws_keeps_closed(tmp_path: Path) -> None:
    """Room under a limit of our own is nothing to whom AWS has told to wait: nobody is sent before."""
    gate = asyncio.Event()

    async def script(asked: Asked) -> web.StreamResponse:
        if asked.text == "slow":
            await gate.wait()
        return throttled("100") if asked.text == "told" and upstream.texts.count("told") == 1 else whole()

    async with scripted(script) as upstream:
        config = config_of(deployment("A", url=upstream.url, params="max_parallel_requests: 2"), more=QUEUE)
        async with running(tmp_path, config, ledger_limits=PATIENT) as here:
            slow = asyncio.create_task(ask(here, body=body_of("slow")))
            await here.until(lambda: upstream.texts == ["slow"])
            told = await line_up(here, "told")
            behind = await line_up(here, "behind")
            gate.set()
            done = (await slow).status
            await here.until(lambda: len(here.gateway.calls) == 2)
            still = (waiting(here), upstream.texts)
            leap(101)

            assert (200, (2, ["slow", "told"])) == (done, still)
            assert [200, 200] == await statuses(told, behind)
            assert ["slow", "told", "told", "behind"] == upstream.texts


async def test_other_tags_do_not_wait_behind(tmp_path: Path) -> None:
    """Calls of one tag wait for their deployment; those of another, whose deployment is idle, are answered."""
    recovered = False

    async def script(asked: Asked) -> web.StreamResponse:
        return throttled("100") if asked.letter == "A" and not recovered else whole()

    async with scripted(script) as upstream:
        tagged = [deployment(letter, url=upstream.url, params=f"tags: [{letter}]") for letter in "AB"]
        config = config_of(*tagged, router="enable_tag_filtering: true", more=QUEUE)
        async with running(tmp_path, config, ledger_limits=PATIENT) as here:
            one = await line_up(here, "one", x_litellm_tags="A")
            other = await ask(here, x_litellm_tags="B")
            still = waiting(here)
            recovered = True
            leap(101)

            assert (200, 1, [200]) == (other.status, still, await statuses(one))
            assert "ABA" == upstream.letters


async def test_who_may_fall_back_does_not_wait_behind_who_may_not(tmp_path: Path) -> None:
    """A key for one group only waits for it; a key that may use the fallback as well goes there."""
    recovered = False

    async def script(asked: Asked) -> web.StreamResponse:
        return throttled("100") if asked.letter == "A" and not recovered else whole()

    async with scripted(script) as upstream:
        groups = deployment("A", url=upstream.url), deployment("B", "other", url=upstream.url)
        config = config_of(*groups, router="fallbacks: [{claude: [other]}]", more=LOCKED)
        async with running(tmp_path, config, ledger_limits=PATIENT) as here:
            narrow = f"Bearer {await new_key(here, models=['claude'])}"
            wide = f"Bearer {await new_key(here)}"
            one = await line_up(here, "one", authorization=narrow)
            other = await ask(here, authorization=wide)
            still = waiting(here)
            recovered = True
            leap(101)

            assert (200, "1", 1) == (other.status, other.headers[HOPS], still)
            assert [200] == await statuses(one)


async def test_a_model_added_meanwhile_splits_no_line(tmp_path: Path) -> None:
    """Who comes after the table has changed stands behind those who came before: room of a limit is theirs first."""
    gate = asyncio.Event()

    async def script(asked: Asked) -> web.StreamResponse:
        if asked.number == 1:
            await gate.wait()
        return whole()

    async with scripted(script) as upstream:
        config = config_of(deployment("A", url=upstream.url, params="max_parallel_requests: 1"), more=LOCKED)
        async with running(tmp_path, config) as here:
            key = f"Bearer {await new_key(here)}"
            calls = [asyncio.create_task(ask(here, body=body_of("c0"), authorization=key))]
            await here.until(lambda: upstream.texts == ["c0"])
            calls += [await line_up(here, text, authorization=key) for text in ("c1", "c2")]
            await administer(here, "/model/new", {"model_name": "added", "litellm_params": HAIKU})
            calls += [await line_up(here, "c3", authorization=key)]
            lines = len(here.gateway.queue._lines)
            gate.set()
            await calls[0]
            # Whose place is free goes at once, not when it would have been told to come again.
            assert waiting(here) < 3

            assert ([200] * 4, 1) == (await statuses(*calls), lines)
            assert ["c0", "c1", "c2", "c3"] == upstream.texts
            await here.settled()
            nothing_left(here)


async def test_nobody_overtakes_the_throttled_when_a_model_is_added(tmp_path: Path) -> None:
    """Who was throttled has had its turn already and keeps it, whatever the table looks like by then."""

    async def script(asked: Asked) -> web.StreamResponse:
        return throttled("100") if asked.number == 1 else whole()

    async with scripted(script) as upstream:
        async with running(
            tmp_path, config_of(deployment("A", url=upstream.url), more=LOCKED), ledger_limits=PATIENT
        ) as here:
            key = f"Bearer {await new_key(here)}"
            calls = [await line_up(here, text, authorization=key) for text in ("c0", "c1")]
            await administer(here, "/model/new", {"model_name": "added", "litellm_params": HAIKU})
            calls += [await line_up(here, "c2", authorization=key)]
            leap(101)

            assert [200] * 3 == await statuses(*calls)
            assert ["c0", "c0", "c1", "c2"] == upstream.texts


@pytest.mark.parametrize("action", ["converse", "converse-stream"])
async def test_stopping_leaves_nobody_in_line(tmp_path: Path, action: str) -> None:
    """Who waits when the gateway stops is told so, and has cost nothing."""
    gate = asyncio.Event()

    async def script(asked: Asked) -> web.StreamResponse:
        await gate.wait()
        return whole()

    more = "general_settings: {queue: true, shutdown_timeout: 0.2}\n"
    async with scripted(script) as upstream:
        config = config_of(deployment("A", url=upstream.url, params="max_parallel_requests: 1"), more=more)
        async with running(tmp_path, config) as here:
            first = asyncio.create_task(ask(here, action=action))
            await here.until(lambda: len(upstream.asked) == 1)
            calls = [await line_up(here, str(number)) for number in range(3)]

        assert [424, 503, 503, 503] == await statuses(first, *calls)
        assert ["estimated"] == [row["state"] for row in here.rows("SELECT state FROM attempts")]
        nothing_left(here)
