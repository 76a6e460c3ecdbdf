"""Sessions: their calls are kept on one deployment, whose prompt cache knows them, as long as it answers."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest
from administering import MASTER, new_key
from gate import gated
from groups import ask, asked, body_of, config_of, deployment, seed
from running import Running, running

GROUP = tuple(deployment(letter) for letter in "ABC")
SHUFFLE = "routing_strategy: simple-shuffle"
LOCKED = f"general_settings: {{master_key: {MASTER}}}\n"
OWN = "x-bedrock-gateway-session"
HEADERS = (OWN, "x-litellm-session-id", "x-claude-code-session-id")


async def where(here: Running, times: int = 6, *, body: bytes = body_of(), **headers: str) -> str:
    """Make calls one after the other; return the deployments they went to, in order."""
    before = len(here.simulator.received)
    async with aiohttp.ClientSession() as session:
        for _ in range(times):
            assert 200 == (await ask(here, body=body, session=session, **headers)).status
    return asked(here)[before:]


def system(number: int) -> bytes:
    """Return a body with a system prompt of its own, and an answer that is bounded."""
    return body_of(system=[{"text": f"You are number {number}."}], inferenceConfig={"maxTokens": 10})


@pytest.mark.parametrize("strategy", ["adaptive", "simple-shuffle", "least-busy", "usage-based-routing"])
@pytest.mark.parametrize("header", HEADERS)
async def test_a_header_keeps_a_session_on_one_deployment(tmp_path: Path, header: str, strategy: str) -> None:
    """Whichever header names it: the calls of a session go to one deployment, the sessions to all of them."""
    async with running(tmp_path, config_of(*GROUP, router=f"routing_strategy: {strategy}")) as here:
        seed(here)
        names = [f"session {number}" for number in range(12)]
        # In turns, so that no session is alone for long.
        rounds = [[await where(here, 1, **{header: name}) for name in names] for _ in range(4)]

        assert [rounds[0]] * 4 == rounds
        # One call after the other, adaptive takes whichever answers fastest.
        assert strategy == "adaptive" or set("ABC") == set(rounds[0])


async def test_without_a_session_nothing_is_kept(tmp_path: Path) -> None:
    """Calls that say of no session that they are one's, and whose bodies nobody reads, are shared out."""
    async with running(tmp_path, config_of(*GROUP, router=SHUFFLE)) as here:
        seed(here)

        assert set("ABC") == set(await where(here, 20, body=system(1)))


async def test_no_caller_shares_the_session_of_another(tmp_path: Path) -> None:
    """Two keys that name the same sessions: each has them kept, neither where the other one's are."""
    async with running(tmp_path, config_of(*GROUP, router=SHUFFLE, more=LOCKED)) as here:
        seed(here)
        first, second = [f"Bearer {await new_key(here)}" for _ in range(2)]
        kept = {
            key: [await where(here, 3, authorization=key, **{OWN: f"{number}"}) for number in range(12)]
            for key in (first, second)
        }

        assert {1} == {len(set(calls)) for each in kept.values() for calls in each}
        assert kept[first] != kept[second]


@pytest.mark.parametrize("kind", ["throttle", "unavailable", "internal", "access-denied"])
async def test_a_session_moves_when_its_deployment_fails(tmp_path: Path, kind: str) -> None:
    """The call goes on elsewhere, and there the session stays, also when the first one is well again."""
    async with running(tmp_path, config_of(*GROUP, router=SHUFFLE)) as here:
        seed(here)
        first, *_ = await where(here, 3, **{OWN: "one"})
        here.simulator.faults.add(kind, access_key_id=f"AKIDEPLOYMENT{first}")
        moved = await where(here, 1, **{OWN: "one"})
        stayed = await where(here, 6, **{OWN: "one"})

        assert (first, 2) == (moved[0], len(set(moved)))
        assert moved[1] * 6 == stayed


async def test_a_session_with_many_calls_at_once_spreads(tmp_path: Path) -> None:
    """One deployment is not drowned for a cache: where it is much busier than others, they help."""
    async with gated() as gate, running(tmp_path, config_of(*GROUP).replace("%(url)s", gate.url)) as here:
        gate.port = int(here.upstream.rpartition(":")[2])
        seed(here)
        gate.passing = 0
        calls = [asyncio.create_task(ask(here, **{OWN: "one"})) for _ in range(60)]
        await here.until(lambda: 60 == gate.held)
        gate.open.set()
        await asyncio.gather(*calls)
        counts = sorted(asked(here).count(letter) for letter in "ABC")

        assert 5 < counts[0]
        assert counts[2] < 60 * 2 / 3


async def test_a_prefix_keeps_calls_where_bodies_are_read(tmp_path: Path) -> None:
    """With a budget the body is read anyway: what begins alike goes alike, without one it is not."""
    async with running(tmp_path, config_of(*GROUP, router=SHUFFLE, more=LOCKED)) as here:
        seed(here)
        reading, blind = [f"Bearer {await new_key(here, **more)}" for more in ({"max_budget": 5}, {})]
        kept = [await where(here, 4, body=system(number), authorization=reading) for number in range(10)]
        tools = {"tools": [{"toolSpec": {"name": "t", "inputSchema": {"json": {"type": "object"}}}}]}
        bare = body_of(inferenceConfig={"maxTokens": 10})
        with_tools = body_of(inferenceConfig={"maxTokens": 10}, toolConfig=tools)

        assert {1} == {len(set(calls)) for calls in kept}
        assert set("ABC") == set("".join(kept))
        assert 1 == len(set(await where(here, 6, body=with_tools, authorization=reading)))
        assert 1 < len(set(await where(here, 12, body=bare, authorization=reading)))
        assert 1 < len(set(await where(here, 12, body=system(1), authorization=blind)))


async def test_a_named_session_comes_before_a_prefix(tmp_path: Path) -> None:
    """Two sessions of one agent begin alike and are still two."""
    async with running(tmp_path, config_of(*GROUP, router=SHUFFLE, more=LOCKED)) as here:
        seed(here)
        key = f"Bearer {await new_key(here, max_budget=5)}"
        kept = [await where(here, 3, body=system(1), authorization=key, **{OWN: f"{number}"}) for number in range(10)]

        assert {1} == {len(set(calls)) for calls in kept}
        assert set("ABC") == set("".join(kept))


@pytest.mark.parametrize(
    ("router", "bodies", "expected"),
    [
        ("optional_pre_call_checks: [prompt_caching]", 10, True),
        ("optional_pre_call_checks: [deployment_affinity]", 1, True),
        ("model_group_affinity_config: {claude: [prompt_caching]}", 10, True),
        ("model_group_affinity_config: {claude: [deployment_affinity]}", 1, True),
        ("optional_pre_call_checks: [session_affinity]", 10, False),
    ],
)
async def test_calls_stick_as_the_operator_rules(tmp_path: Path, router: str, bodies: int, expected: bool) -> None:
    """By what a conversation begins with, or by nothing but the caller, also where no body would be read."""
    async with running(tmp_path, config_of(*GROUP, router=f"{SHUFFLE}, {router}")) as here:
        seed(here)
        kept = [await where(here, 6, body=system(number)) for number in range(bodies)]

        assert expected is all(len(set(calls)) == 1 for calls in kept)
        assert bodies == 1 or set("ABC") == set("".join(kept))


async def test_one_group_sticks_as_is_ruled_for_it(tmp_path: Path) -> None:
    """A group for which nothing sticks has its calls shared out, whoever names a session; the others keep them."""
    groups = (*GROUP, *(deployment(letter, "other") for letter in "ABC"))
    router = f"{SHUFFLE}, model_group_affinity_config: {{claude: []}}"
    async with running(tmp_path, config_of(*groups, router=router)) as here:
        seed(here)
        shared = await where(here, 20, **{OWN: "one"})
        here.simulator.received.clear()
        for _ in range(8):
            await ask(here, "other", **{OWN: "one"})

        assert set("ABC") == set(shared)
        assert 1 == len(set(asked(here)))


async def test_a_session_is_forgotten_after_a_while(tmp_path: Path) -> None:
    """When the prompt cache has nothing left of it, the session begins anew wherever there is room."""
    router = f"{SHUFFLE}, deployment_affinity_ttl_seconds: 300"
    async with running(tmp_path, config_of(*GROUP, router=router)) as here:
        seed(here)
        found = set()
        for _ in range(20):
            found.update(await where(here, 2, **{OWN: "one"}))
            for places in here.gateway.balancer.affinities._seen.values():
                for standing in places:
                    places[standing] -= 301

        assert set("ABC") == found
