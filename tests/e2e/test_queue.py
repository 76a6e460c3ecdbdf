"""Waiting in line for a deployment with room: who waits, in which order they go, and when waiting is over."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import pytest
from administering import MASTER, new_key
from gate import Gate, RawCaller, calling, gated
from running import GROUPS, Running, running

#: One deployment with room for one call at once, at the gate.
NARROW = """
model_list:
  - model_name: single
    litellm_params: {model: bedrock/%%(claude)s, aws_region_name: us-east-1, max_parallel_requests: 1,
      aws_access_key_id: AKIDEPLOYMENTA, aws_secret_access_key: secret-A, aws_bedrock_runtime_endpoint: "%s"}
general_settings: {master_key: "%s", queue: %s}
"""


def narrow(gate: Gate, queue: str = "true") -> str:
    """Return the config of one narrow deployment behind a gate."""
    return NARROW % (gate.url, MASTER, queue)


def body(text: str) -> bytes:
    """Return a request that says something."""
    return json.dumps({"messages": [{"role": "user", "content": [{"text": text}]}]}).encode()


def asked(here: Running) -> list[str]:
    """Return what upstream was asked, in order."""
    return [json.loads(one.body)["messages"][0]["content"][0]["text"] for one in here.simulator.received]


async def hold_one(here: Running, gate: Gate, key: str) -> RawCaller:
    """Let one call take the only place and keep it."""
    gate.passing = 0
    first = await calling(here.port, "converse", body=body("first"), key=key)
    await here.until(lambda: gate.held == 1)
    return first


async def line_up(here: Running, key: str, text: str) -> RawCaller:
    """Put one more call into the line."""
    assert here.gateway.queue is not None
    before = here.gateway.queue.waiting
    caller = await calling(here.port, "converse", body=body(text), key=key)
    await here.until(lambda: here.gateway.queue.waiting == before + 1)
    return caller


async def answer_to(caller: RawCaller) -> bytes:
    """Return what a caller is answered, and end its connection."""
    answer = await caller.rest()
    await caller.leave()
    return answer


def status_of(answer: bytes) -> int:
    """Return the status of a raw answer."""
    return int(answer.split(b" ", 2)[1])


def header_of(answer: bytes, name: str) -> str:
    """Return a header of a raw answer."""
    lines = answer.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    return {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in lines}[name]


async def test_keys_take_turns_and_their_calls_keep_their_order(tmp_path: Path) -> None:
    """A key with many calls in line does not keep another waiting, and no call of a key overtakes another."""
    async with gated() as gate, running(tmp_path, narrow(gate)) as here:
        gate.port = int(here.upstream.rpartition(":")[2])
        busy, other = await new_key(here), await new_key(here)
        first = await hold_one(here, gate, busy)
        waiting = [await line_up(here, busy, f"busy {number}") for number in range(4)]
        waiting += [await line_up(here, other, f"other {number}") for number in range(2)]
        gate.open.set()
        answers = [await answer_to(caller) for caller in (first, *waiting)]

        assert [200] * 7 == [status_of(answer) for answer in answers]
        assert ["first", "busy 0", "other 0", "busy 1", "other 1", "busy 2", "busy 3"] == asked(here)
        assert 0 < int(header_of(answers[1], "x-bedrock-gateway-queued-ms"))
        assert 0 == here.gateway.queue.waiting
        assert {} == here.gateway.queue._lines


async def test_who_comes_later_does_not_overtake_the_line(tmp_path: Path) -> None:
    """A call that comes in the moment a place is free goes behind those who wait for it."""
    async with gated() as gate, running(tmp_path, narrow(gate)) as here:
        gate.port = int(here.upstream.rpartition(":")[2])
        key, late = await new_key(here), await new_key(here)
        first = await hold_one(here, gate, key)
        second = await line_up(here, key, "second")
        gate.open.set()
        third = await calling(here.port, "converse", body=body("third"), key=late)
        answers = [await answer_to(caller) for caller in (first, second, third)]

        assert [200, 200, 200] == [status_of(answer) for answer in answers]
        assert ["first", "second", "third"] == asked(here)


@pytest.mark.parametrize("rules", ["{max_size: 2}", "{max_per_key: 2}"])
async def test_a_full_line_takes_nobody(tmp_path: Path, rules: str) -> None:
    """Where as many wait as may, the next one is throttled at once and told when to come again."""
    async with gated() as gate, running(tmp_path, narrow(gate, rules)) as here:
        gate.port = int(here.upstream.rpartition(":")[2])
        key = await new_key(here)
        first = await hold_one(here, gate, key)
        waiting = [await line_up(here, key, str(number)) for number in range(2)]
        refused = await answer_to(await calling(here.port, "converse", body=body("too many"), key=key))
        gate.open.set()
        answers = [await answer_to(caller) for caller in (first, *waiting)]

        assert 429 == status_of(refused)
        assert ("ThrottlingException", "1") == (
            header_of(refused, "x-amzn-errortype"),
            header_of(refused, "retry-after"),
        )
        assert [200, 200, 200] == [status_of(answer) for answer in answers]
        assert ["first", "0", "1"] == asked(here)


async def test_waiting_ends(tmp_path: Path) -> None:
    """Who has waited for as long as it may is throttled, and says so; its place is free."""
    async with gated() as gate, running(tmp_path, narrow(gate, "{timeout: 0.05}")) as here:
        gate.port = int(here.upstream.rpartition(":")[2])
        key = await new_key(here)
        first = await hold_one(here, gate, key)
        refused = await answer_to(await calling(here.port, "converse", body=body("second"), key=key))
        waiting = here.gateway.queue.waiting
        gate.open.set()
        answer = await answer_to(first)

        assert (429, 200, 0) == (status_of(refused), status_of(answer), waiting)
        assert ["first"] == asked(here)


async def test_who_leaves_the_line_is_not_sent(tmp_path: Path) -> None:
    """A caller that goes while it waits takes nobody's turn and costs nothing."""
    async with gated() as gate, running(tmp_path, narrow(gate)) as here:
        gate.port = int(here.upstream.rpartition(":")[2])
        key = await new_key(here)
        first = await hold_one(here, gate, key)
        gone, second = await line_up(here, key, "gone"), await line_up(here, key, "second")
        await gone.leave()
        await here.until(lambda: here.gateway.queue.waiting == 1)
        gate.open.set()
        answers = [await answer_to(caller) for caller in (first, second)]
        await here.settled()

        assert [200, 200] == [status_of(answer) for answer in answers]
        assert ["first", "second"] == asked(here)


async def call(here: Running, text: str, action: str = "converse") -> tuple[int, dict[str, str], bytes]:
    """Call once as anybody."""
    async with aiohttp.ClientSession() as http:
        url = f"{here.url}/bedrock/model/single/{action}"
        async with http.post(url, data=body(text), headers={"content-type": "application/json"}) as answer:
            return answer.status, {name.lower(): value for name, value in answer.headers.items()}, await answer.read()


def impatient(here: Any) -> None:
    """Let what is throttled wait for a moment only."""
    here.snapshot = attrs.evolve(here.snapshot, backoff=0.01, num_retries=0)


@pytest.mark.parametrize("action", ["converse", "converse-stream"])
async def test_a_throttled_call_waits_instead_of_failing(tmp_path: Path, action: str) -> None:
    """AWS throttles four times in a row and retries are off: the caller is answered all the same."""
    config = GROUPS + "general_settings: {queue: true}\n"
    async with running(tmp_path, config, change=impatient) as here:
        here.simulator.faults.add("throttle", times=4)
        status, headers, _ = await call(here, "hello", action)
        await here.settled()
        await here.until(lambda: len(here.rows("SELECT state FROM attempts WHERE state != 'open'")) == 5)

        states = [row["state"] for row in here.rows("SELECT state FROM attempts ORDER BY number")]
        assert (200, "5") == (status, headers["x-bedrock-gateway-attempts"])
        assert ["refused"] * 4 + ["metered"] == states
        assert "single=throttled, " * 3 + "single=throttled" == headers["x-bedrock-gateway-failed"]


async def test_many_throttled_calls_all_come_through(tmp_path: Path) -> None:
    """Forty calls at once, of which upstream throttles half: all are answered, none is lost in the line."""
    config = GROUPS + "general_settings: {queue: true}\n"
    async with running(tmp_path, config, change=impatient) as here:
        here.simulator.faults.add("throttle", times=20)
        answers = await asyncio.gather(*(call(here, str(number)) for number in range(40)))
        await here.settled()

        assert [200] * 40 == [status for status, _, _ in answers]
        assert {} == here.gateway.queue._lines
        assert 60 == len(here.simulator.received)


async def test_a_call_has_its_total_timeout(tmp_path: Path) -> None:
    """What takes longer in all is ended: it may have been billed, so no SDK is to repeat it."""
    config = GROUPS + "general_settings: {total_timeout: 0.5}\n"
    async with running(tmp_path, config) as here:
        here.simulator.faults.add("silent")
        status, headers, told = await call(here, "hello")
        await here.settled()

        assert (424, "ModelErrorException") == (status, headers["x-amzn-errortype"])
        assert "total_timeout of 0.5 s" in json.loads(told)["message"]
        assert ["estimated"] == [row["state"] for row in here.rows("SELECT state FROM attempts")]
