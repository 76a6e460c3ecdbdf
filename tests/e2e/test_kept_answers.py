"""Answers kept for repeats (``keep_answers``): an SDK that gave up and asks again is given what was paid already."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import pytest
from administering import BODY, LOCKED, MASTER, administer, new_key
from botocore.config import Config as BotoConfig
from gate import Gate, gated
from running import GROUPS, Running, running

from bedrock_gateway.chain.call import Call
from bedrock_gateway.chain.gateway import Gateway
from bedrock_gateway.chain.keeping import Keeping
from bedrock_gateway.cli import main

ACTIONS = ["converse", "converse-stream"]
#: Head and first messages of a stream.
MIDDLE = 1_100
ANSWERED_BY = "x-bedrock-gateway-answered-by"


@attrs.frozen
class Told:
    """What a caller got; ``whole``: the answer came to its proper end."""

    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool


@contextlib.asynccontextmanager
async def keeping(
    folder: Path,
    general: str = "keep_answers: true",
    *,
    config: str = LOCKED,
    change: Callable[[Gateway], None] | None = None,
) -> AsyncIterator[tuple[Running, Gate]]:
    """Run a gateway that keeps answers, whose upstream waits until the gate is opened; afterwards nothing is held."""
    async with gated() as gate:
        text = config.replace("%(url)s", gate.url)
        text = text.replace("general_settings: {", f"general_settings: {{{general}, ") if general else text
        async with running(folder, text, change=change) as here:
            gate.port = int(here.upstream.rpartition(":")[2])
            gate.passing = 0
            yield here, gate
    kept = here.gateway.keeping
    assert kept is None or (0, 0) == (len(kept), kept.held)
    assert set() == here.gateway.calls
    assert [] == here.rows("SELECT id FROM calls WHERE ended_at IS NULL")
    assert [] == here.rows("SELECT id FROM attempts WHERE state = 'open'")


def store(here: Running) -> Keeping:
    """Return the kept answers."""
    kept = here.gateway.keeping
    assert kept is not None
    return kept


async def ask(
    here: Running,
    action: str = "converse",
    *,
    key: str = MASTER,
    model: str = "single",
    body: Any = BODY,
    invocation: str | None = "e7d8f1b2-0000-4000-8000-000000000001",
    **more: str,
) -> Told:
    """Make a call as an SDK makes it; repeats have the same ``invocation``."""
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    headers |= {name.replace("_", "-"): value for name, value in more.items()}
    if invocation is not None:
        headers["amz-sdk-invocation-id"] = invocation
    url = f"{here.url}/bedrock/model/{model}/{action}"
    content = bytearray()
    whole = True
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=json.dumps(body).encode(), headers=headers) as answer,
    ):
        try:
            async for data in answer.content.iter_any():
                content += data
        except aiohttp.ClientError:
            whole = False
        return Told(answer.status, {name.lower(): text for name, text in answer.headers.items()}, bytes(content), whole)


def begin(here: Running, *args: Any, **more: Any) -> asyncio.Task[Told]:
    """Begin a call."""
    return asyncio.create_task(ask(here, *args, **more))


async def give_up(here: Running, gate: Gate, *args: Any, **more: Any) -> Call:
    """Make a call and leave while its answer is held; return it."""
    before, others = gate.held, set(here.gateway.calls)
    task = begin(here, *args, **more)
    await here.until(lambda: gate.held > before)
    (call,) = here.gateway.calls - others
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await here.until(lambda: call.left)
    return call


async def followed(here: Running, first: Call, number: int = 1) -> None:
    """Wait until so many repeats wait for the answer of a call."""
    await here.until(lambda: first.kept is not None and first.kept.followers == number)


async def call_rows(here: Running) -> list[dict[str, Any]]:
    """Return the rows of all calls, once they are written."""
    await here.settled()
    await here.until(lambda: len(here.lines) == len(here.rows("SELECT id FROM calls WHERE ended_at IS NOT NULL")))
    return here.rows("SELECT * FROM calls ORDER BY id")


def impatient(here: Running) -> Any:
    """Return a boto3 client that waits for one second and then asks once more."""
    config = BotoConfig(retries={"total_max_attempts": 2, "mode": "standard"}, read_timeout=1)
    return here.client(aws_access_key_id=MASTER, config=config)


@pytest.mark.parametrize("action", ACTIONS)
async def test_the_sdks_own_repeat_is_answered_by_the_first_call(tmp_path: Path, action: str) -> None:
    """A boto3 client runs into its timeout and repeats: upstream is asked once, and the client has its answer."""

    def made(client: Any) -> tuple[dict[str, str], int]:
        if action == "converse":
            answer = client.converse(modelId="single", **BODY)
            usage = answer["usage"]
        else:
            answer = client.converse_stream(modelId="single", **BODY)
            usage = list(answer["stream"])[-1]["metadata"]["usage"]
        return answer["ResponseMetadata"]["HTTPHeaders"], usage["outputTokens"]

    async with keeping(tmp_path) as (here, gate):
        client = impatient(here)
        making = asyncio.create_task(asyncio.to_thread(made, client))
        await here.until(lambda: here.gateway.leaving.draining)
        (first,) = here.gateway.calls
        await followed(here, first)
        gate.open.set()
        headers, tokens = await making
        client.close()
        one, other = await call_rows(here)
        (attempt,) = here.rows("SELECT * FROM attempts")

    assert 1 == len(here.simulator.received)
    assert (first.id, "0") == (headers[ANSWERED_BY], headers["x-bedrock-gateway-attempts"])
    assert (first.id, "metered", tokens) == (attempt["call"], attempt["state"], attempt["output"])
    assert (first.id, 0, 1, None) == tuple(one[name] for name in ("id", "status", "caller_left", "answered_by"))
    assert (200, 0, "free", 0, first.id) == tuple(
        other[name] for name in ("status", "attempts", "state", "spend", "answered_by")
    )


async def spoken(here: Running, path: str, **body: Any) -> tuple[dict[str, str], bytes]:
    """Make a call in OpenAI's dialect, with an id by which repeats are known; return headers and body."""
    headers = {"authorization": f"Bearer {MASTER}", "amz-sdk-invocation-id": "1"}
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{here.url}{path}", json=body, headers=headers) as answer:
            content = await answer.read()
            assert 200 == answer.status, content
            return {name.lower(): text for name, text in answer.headers.items()}, content


async def test_a_repeat_in_a_dialect_asks_for_the_same_answer(tmp_path: Path) -> None:
    """Bedrock is told neither the name of the model nor whether a stream ends with its usage; both are in the answer,
    so a request that asks otherwise is another one.
    """
    asked = {"model": "single", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    path = "/v1/chat/completions"
    async with keeping(tmp_path) as (here, gate):
        task = asyncio.create_task(spoken(here, path, **asked))
        await here.until(lambda: gate.held)
        task.cancel()
        await here.until(lambda: here.gateway.leaving.draining)
        gate.open.set()
        await here.settled()
        same, content = await spoken(here, path, **asked)
        other, counted = await spoken(here, path, **asked, stream_options={"include_usage": True})
        named, called = await spoken(here, path, **{**asked, "model": "claude"})
        await here.settled()

    assert ANSWERED_BY in same
    assert b"completion_tokens" not in content
    assert ANSWERED_BY not in other
    assert b"completion_tokens" in counted
    assert ANSWERED_BY not in named
    assert b'"model":"claude"' in called


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("late", [False, True], ids=["running", "ended"])
async def test_repeats_are_given_the_same_bytes(tmp_path: Path, action: str, late: bool) -> None:
    """Several repeats at once and one afterwards have upstream's answer byte for byte, with its own headers."""
    async with keeping(tmp_path) as (here, gate):
        first = await give_up(here, gate, action)
        repeats = [] if late else [begin(here, action, amz_sdk_request=f"attempt={number}; max=4") for number in (2, 3)]
        await followed(here, first, len(repeats))
        gate.open.set()
        await here.until(lambda: first.recorded)
        answers = [*await asyncio.gather(*repeats), await ask(here, action), await ask(here, action)]
        (received,) = here.simulator.received
        rows = await call_rows(here)

    for answer in answers:
        assert (200, True) == (answer.status, answer.whole)
        assert received.sent.sha256 == hashlib.sha256(answer.body).hexdigest()
        assert (received.request_id, first.id) == (answer.headers["x-amzn-requestid"], answer.headers[ANSWERED_BY])
        # The answer was charged to the first call; of a stream that is never told in a header.
        assert (None if action == "converse-stream" else "0.000000000") == answer.headers.get(
            "x-bedrock-gateway-spend-usd"
        )
    assert sorted(answer.headers["x-bedrock-gateway-call-id"] for answer in answers) == [row["id"] for row in rows[1:]]
    chunked = {None: "converse", "chunked": "converse-stream"}
    assert {action} == {chunked[answer.headers.get("transfer-encoding")] for answer in answers}


async def test_the_row_the_report_and_the_log_name_the_first_call(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever reads that a call cost nothing reads at once which call its answer was paid by."""
    async with keeping(tmp_path) as (here, gate):
        first = await give_up(here, gate)
        gate.open.set()
        await here.settled()
        await ask(here)
        _, row = await call_rows(here)
        line = here.lines[-1]
    capsys.readouterr()
    main(["spend", "--database", str(here.database), "--by", "call"])
    table = capsys.readouterr().out
    main(["spend", "--database", str(here.database), "--by", "call", "--json"])
    told = json.loads(capsys.readouterr().out)["lines"]

    assert first.id == row["answered_by"]
    assert " status=200 attempts=0 ms=" in line and f" answered_by={first.id}" in line
    assert f"as call {first.id}" in table
    assert [first.id, None] == [one["answered_by"] for one in told]


@pytest.mark.parametrize(
    ("changed", "general", "config"),
    [
        pytest.param({"invocation": "another"}, "keep_answers: true", LOCKED, id="another-invocation"),
        pytest.param({"invocation": None}, "keep_answers: true", LOCKED, id="no-invocation"),
        pytest.param({"body": BODY | {"system": []}}, "keep_answers: true", LOCKED, id="another-body"),
        pytest.param({"anthropic_beta": "x"}, "keep_answers: true", LOCKED, id="another-header"),
        pytest.param({"model": "claude"}, "keep_answers: true", LOCKED, id="another-path"),
        pytest.param({"action": "converse-stream"}, "keep_answers: true", LOCKED, id="another-operation"),
        pytest.param({"action": "converse?more=1"}, "keep_answers: true", LOCKED, id="another-query"),
        pytest.param({}, "keep_answers: true", GROUPS + "general_settings: {}\n", id="open-mode"),
        pytest.param({}, "", LOCKED, id="off"),
        pytest.param({}, "keep_answers: true, on_disconnect: abort", LOCKED, id="abort"),
    ],
)
async def test_what_is_not_the_same_call_is_sent(
    tmp_path: Path, changed: dict[str, Any], general: str, config: str
) -> None:
    """A call that differs in anything, or a gateway that keeps nothing: it goes upstream like any other."""
    async with keeping(tmp_path, general, config=config) as (here, gate):
        await give_up(here, gate)
        gate.open.set()
        await here.settled()
        answer = await ask(here, **changed)
        rows = await call_rows(here)

    assert 200 == answer.status and ANSWERED_BY not in answer.headers
    assert 2 == len(here.simulator.received)
    assert [None, None] == [row["answered_by"] for row in rows]


async def test_another_key_is_given_nothing(tmp_path: Path) -> None:
    """Who guesses everything about somebody else's call makes a call of its own; the same key, rotated, does not."""
    async with keeping(tmp_path) as (here, gate):
        mine, other = await new_key(here), await new_key(here)
        first = await give_up(here, gate, key=mine)
        gate.open.set()
        await here.settled()
        foreign = await ask(here, key=other)
        fresh = (await administer(here, "/key/regenerate", {"key": mine}))["key"]
        own = await ask(here, key=fresh)

    assert (200, None) == (foreign.status, foreign.headers.get(ANSWERED_BY))
    assert (200, first.id) == (own.status, own.headers[ANSWERED_BY])


async def test_a_key_that_was_blocked_meanwhile_is_given_nothing(tmp_path: Path) -> None:
    """Rights are looked at anew: what a key may not ask for any more it is not given, though it is paid for."""
    async with keeping(tmp_path) as (here, gate):
        key = await new_key(here)
        await give_up(here, gate, key=key)
        gate.open.set()
        await here.settled()
        await administer(here, "/key/block", {"key": key})
        answer = await ask(here, key=key)

    assert (403, None) == (answer.status, answer.headers.get(ANSWERED_BY))


async def test_a_repeat_reserves_nothing(tmp_path: Path) -> None:
    """A key whose budget and whose limits the first call used up is given its answer all the same."""
    async with keeping(tmp_path) as (here, gate):
        key = await new_key(here, max_budget=0.02, on_budget="clamp", rpm_limit=1)
        body = BODY | {"inferenceConfig": {"maxTokens": 60_000}}
        first = await give_up(here, gate, key=key, body=body)
        assert first.notes  # its body was clamped; the repeat's is as the first one's was
        gate.open.set()
        await here.settled()
        refused = await ask(here, key=key, body=body, invocation="another")
        answer = await ask(here, key=key, body=body)

    assert (429, "ThrottlingException") == (refused.status, refused.headers["x-amzn-errortype"])
    assert (200, first.id) == (answer.status, answer.headers[ANSWERED_BY])


async def test_an_answer_that_had_begun_to_leave_is_not_kept(tmp_path: Path) -> None:
    """Who has seen the head of an answer does not repeat the call by itself; whoever asks again is sent upstream."""
    async with keeping(tmp_path) as (here, gate):
        gate.passing = MIDDLE
        task = begin(here, "converse-stream")
        await here.until(lambda: any(call.first_byte for call in here.gateway.calls))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await here.until(lambda: here.gateway.leaving.draining)
        gate.open.set()
        await here.settled()
        answer = await ask(here, "converse-stream")

    assert (200, None, 2) == (answer.status, answer.headers.get(ANSWERED_BY), len(here.simulator.received))


async def test_an_answer_whose_caller_leaves_while_it_is_booked_is_kept(tmp_path: Path) -> None:
    """Between the last byte from upstream and the first one to the caller there is the ledger; it counts too."""
    async with keeping(tmp_path) as (here, gate):
        with contextlib.closing(sqlite3.connect(here.database, isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            gate.open.set()
            task = begin(here)
            await here.until(lambda: any(call.recorded for call in here.gateway.calls))
            (first,) = here.gateway.calls
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await here.until(lambda: first.left)
            connection.execute("ROLLBACK")
        await here.settled()
        answer = await ask(here)

    assert (200, first.id, 1) == (answer.status, answer.headers[ANSWERED_BY], len(here.simulator.received))


@pytest.mark.parametrize("kind", ["throttle", "exception-first", "internal"])
async def test_after_a_refusal_the_repeat_is_a_call_of_its_own(tmp_path: Path, kind: str) -> None:
    """Where AWS refused the first call nothing was paid, so a repeat that waited for it is sent; a late one too."""
    async with keeping(tmp_path) as (here, gate):
        here.simulator.faults.add(kind)
        first = await give_up(here, gate, "converse-stream")
        waiting = begin(here, "converse-stream")
        await followed(here, first)
        gate.open.set()
        answer = await waiting
        late = await ask(here, "converse-stream")
        rows = await call_rows(here)

    assert [(200, None)] * 2 == [(told.status, told.headers.get(ANSWERED_BY)) for told in (answer, late)]
    assert [None, None, None] == [row["answered_by"] for row in rows]
    assert 3 == len(here.simulator.received)


@pytest.mark.parametrize("kind", ["short-body", "broken-json"])
async def test_after_a_loss_the_repeat_is_told_that_it_may_be_billed_twice(tmp_path: Path, kind: str) -> None:
    """What was sent and lost may have been billed: its repeats, waiting or late, are told so instead of being sent."""
    async with keeping(tmp_path) as (here, gate):
        here.simulator.faults.add(kind)
        first = await give_up(here, gate)
        waiting = begin(here)
        await followed(here, first)
        gate.open.set()
        answers = [await waiting, await ask(here)]
        rows = await call_rows(here)

    for answer in answers:
        assert (424, "ModelErrorException") == (answer.status, answer.headers["x-amzn-errortype"])
        assert "false" == answer.headers["x-should-retry"]
        assert first.id in answer.body.decode()
    assert 1 == len(here.simulator.received)
    assert [None, first.id, first.id] == [row["answered_by"] for row in rows]


async def test_a_stream_that_breaks_off_is_never_ended_cleanly(tmp_path: Path) -> None:
    """A repeat that reads along is cut where upstream was cut; one that comes later is told that nothing is whole."""
    async with keeping(tmp_path) as (here, gate):
        here.simulator.faults.add("cut", after=4)
        first = await give_up(here, gate, "converse-stream")
        along = begin(here, "converse-stream")
        await followed(here, first)
        gate.open.set()
        cut = await along
        late = await ask(here, "converse-stream")
        rows = await call_rows(here)

    assert (200, False) == (cut.status, cut.whole)
    assert b"messageStart" in cut.body and b"metadata" not in cut.body
    assert (424, first.id) == (late.status, rows[2]["answered_by"])
    assert [(200, "cut", first.id), (424, "ModelErrorException", first.id)] == [
        (row["status"], row["error_type"], row["answered_by"]) for row in rows[1:]
    ]
    assert 1 == len(here.simulator.received)


async def test_a_stream_is_passed_on_while_it_comes(tmp_path: Path) -> None:
    """A repeat has the first messages of a stream before there are more; one that leaves then takes nothing along."""
    async with keeping(tmp_path) as (here, gate):
        here.simulator.faults.add("silent-after-head", after=3)
        first = await give_up(here, gate, "converse-stream")
        waiting = [begin(here, "converse-stream") for _ in range(2)]
        await followed(here, first, 2)
        gate.open.set()
        reading = [call for call in here.gateway.calls if call is not first]
        await here.until(lambda: all(call.first_byte for call in reading))
        waiting[0].cancel()
        await followed(here, first, 1)
        assert first.kept is not None and first.kept.end is None
        third = begin(here, "converse-stream")
        await followed(here, first, 2)
        waiting[1].cancel()
        third.cancel()
        await asyncio.gather(*waiting, third, return_exceptions=True)
        await followed(here, first, 0)
        here.gateway.leaving.abandon(first, "the test is over")
        rows = await call_rows(here)

    assert [(1, None)] + [(1, first.id)] * 3 == [(row["caller_left"], row["answered_by"]) for row in rows]
    assert 1 == len(here.simulator.received)


async def test_repeats_that_leave_change_nothing(tmp_path: Path) -> None:
    """A repeat that gives up too is a call that cost nothing; the next one is given the answer."""
    async with keeping(tmp_path) as (here, gate):
        first = await give_up(here, gate)
        second = begin(here)
        await followed(here, first)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        await followed(here, first, 0)
        third = begin(here)
        await followed(here, first)
        gate.open.set()
        answer = await third
        rows = await call_rows(here)

    assert (200, first.id) == (answer.status, answer.headers[ANSWERED_BY])
    # Ids of one millisecond are in no order.
    told = sorted((row["status"], row["caller_left"], row["attempts"]) for row in rows)
    assert [(0, 1, 0), (0, 1, 1), (200, 0, 0)] == told
    assert 1 == len(here.simulator.received)


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_what_is_too_large_is_not_kept(tmp_path: Path, moment: str) -> None:
    """An answer over a mebibyte is forgotten; a repeat that waited for it, or comes later, is sent."""
    async with keeping(tmp_path) as (here, gate):
        here.simulator.faults.add("large-body", size=1_100_000)
        first = await give_up(here, gate)
        if moment == "before":
            waiting = begin(here)
            await followed(here, first)
            gate.open.set()
            answer = await waiting
        else:
            gate.open.set()
            await here.settled()
            answer = await ask(here)

    assert (200, None, 2) == (answer.status, answer.headers.get(ANSWERED_BY), len(here.simulator.received))


async def test_a_stream_that_grows_too_large_cuts_its_readers(tmp_path: Path) -> None:
    """Who has part of a stream that is kept no longer is cut off, never given an end; the next repeat is sent."""
    async with keeping(tmp_path) as (here, gate):
        here.simulator.faults.add("silent-after-head", after=3)
        first = await give_up(here, gate, "converse-stream")
        along = begin(here, "converse-stream")
        await followed(here, first)
        gate.open.set()
        await here.until(lambda: all(call.first_byte for call in here.gateway.calls))
        assert first.kept is not None
        first.kept.write(bytes(store(here).most_of_one))
        cut = await along
        answer = await ask(here, "converse-stream")
        held = store(here).held
        here.gateway.leaving.abandon(first, "the test is over")

    assert (200, False) == (cut.status, cut.whole)
    assert (200, None, 0) == (answer.status, answer.headers.get(ANSWERED_BY), held)


async def test_after_its_time_an_answer_is_gone(tmp_path: Path) -> None:
    """Two minutes after its end an answer is given to nobody any more."""
    async with keeping(tmp_path) as (here, gate):
        first = await give_up(here, gate)
        gate.open.set()
        await here.settled()
        ended = time.monotonic()
        store(here).now = lambda: ended + 119
        early = await ask(here)
        store(here).now = lambda: ended + 121
        late = await ask(here)

    assert (first.id, None) == (early.headers[ANSWERED_BY], late.headers.get(ANSWERED_BY))
    assert 2 == len(here.simulator.received)


async def test_without_room_the_oldest_answer_goes(tmp_path: Path) -> None:
    """All answers together are bounded: a new one takes the place of the one that ended first."""

    def change(gateway: Gateway) -> None:
        assert gateway.keeping is not None
        gateway.keeping.most = 11_000

    async with keeping(tmp_path, change=change) as (here, gate):
        for number in range(3):
            gate.open.clear()
            await give_up(here, gate, invocation=f"number-{number}")
            gate.open.set()
            await here.settled()
        answers = [await ask(here, invocation=f"number-{number}") for number in (2, 1, 0)]

    assert [True, True, False] == [ANSWERED_BY in answer.headers for answer in answers]
    assert 4 == len(here.simulator.received)


async def test_an_answer_the_gateway_broke_off_itself_is_asked_for_again(tmp_path: Path) -> None:
    """Where the bound of answers read on closes the first call, a repeat that waits for it is sent as ever."""
    async with keeping(tmp_path, "keep_answers: true, max_drains: 1") as (here, gate):
        first = await give_up(here, gate)
        waiting = begin(here)
        await followed(here, first)
        await give_up(here, gate, invocation="another")
        gate.open.set()
        answer = await waiting

    assert (200, None, 3) == (answer.status, answer.headers.get(ANSWERED_BY), len(here.simulator.received))


async def test_two_calls_of_one_invocation_are_kept_once(tmp_path: Path) -> None:
    """Where a repeat came before the gateway knew that the first caller had left, the first answer is the one kept."""
    async with keeping(tmp_path) as (here, gate):
        both = [begin(here) for _ in range(2)]
        await here.until(lambda: 2 == gate.held)
        calls = sorted(here.gateway.calls, key=lambda call: call.id)
        for task in both:
            task.cancel()
        await asyncio.gather(*both, return_exceptions=True)
        await here.until(lambda: all(call.left for call in calls))
        kept = [call.id for call in calls if call.kept is not None]
        gate.open.set()
        await here.settled()
        answer = await ask(here)

    assert kept == [answer.headers[ANSWERED_BY]]
    assert 2 == len(here.simulator.received)


@pytest.mark.parametrize("action", ACTIONS)
async def test_a_stopping_gateway_tells_who_waits_that_it_may_be_billed(tmp_path: Path, action: str) -> None:
    """A repeat that still waits when the time is over is told what the first caller would have been told."""
    async with keeping(tmp_path, "keep_answers: true, shutdown_timeout: 0.1") as (here, gate):
        first = await give_up(here, gate, action)
        waiting = begin(here, action)
        await followed(here, first)
    answer = await waiting

    assert (424, "ModelErrorException") == (answer.status, answer.headers["x-amzn-errortype"])
    assert {first.id: 0, None: 0}.keys() == {row["answered_by"] for row in here.rows("SELECT answered_by FROM calls")}


async def test_a_stopping_gateway_cuts_who_reads_along(tmp_path: Path) -> None:
    """A repeat in the middle of a stream is cut off with it."""
    async with keeping(tmp_path, "keep_answers: true, shutdown_timeout: 0.1") as (here, gate):
        here.simulator.faults.add("silent-after-head", after=3)
        first = await give_up(here, gate, "converse-stream")
        along = begin(here, "converse-stream")
        await followed(here, first)
        gate.open.set()
        await here.until(lambda: all(call.first_byte for call in here.gateway.calls))
    answer = await along

    assert (200, False) == (answer.status, answer.whole)
