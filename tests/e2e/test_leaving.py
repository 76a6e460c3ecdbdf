"""Callers that leave before the end, readers that stop reading, and a gateway that stops in the middle of answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from pathlib import Path

import attrs
import pytest
from behind_a_gate import MIDDLE, MOMENTS, READING, SILENT, behind_a_gate, last_rows, undisturbed
from gate import Gate, RawCaller, calling
from running import Running

from bedrock_gateway.chain.gateway import Gateway
from bedrock_gateway.downstream.limits import Limits


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
@pytest.mark.parametrize(("action", "passing"), MOMENTS)
async def test_under_drain_the_answer_is_read_on_to_awss_own_numbers(
    tmp_path: Path, action: str, passing: int, reset: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A caller that leaves changes nothing of what is booked; upstream is read to its end, and the log says so."""
    async with behind_a_gate(tmp_path) as (here, gate):
        tokens = await undisturbed(here, action)
        gate.passing = passing
        caller = await calling(here.port, action)
        await here.until(lambda: gate.held)
        if passing == MIDDLE:
            assert b"200 OK" in await caller.reader.readuntil(b"messageStart")
        await caller.leave(reset=reset)
        await here.until(lambda: here.gateway.leaving.draining)

        assert 1 == len(here.gateway.calls)
        assert 0 == gate.ended
        gate.open.set()
        call, attempt = await last_rows(here)

        assert ("metered", 1, None) == (attempt["state"], attempt["charged"], attempt["error_type"])
        assert tokens == (attempt["input"], attempt["output"])
        assert (1, 200 if passing == MIDDLE else 0, attempt["spend"]) == (
            call["caller_left"],
            call["status"],
            call["spend"],
        )
        assert "caller_left=yes" in here.lines[-1]
        assert "state=metered" in here.lines[-1]
        assert [] == [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(("action", "passing"), MOMENTS)
async def test_under_abort_upstream_is_closed_and_an_estimate_is_booked(
    tmp_path: Path, action: str, passing: int
) -> None:
    """Where the policy says so, the upstream connection is closed at once; what AWS did so far is estimated."""
    async with behind_a_gate(tmp_path, "on_disconnect: abort", passing=passing) as (here, gate):
        caller = await calling(here.port, action)
        await here.until(lambda: gate.held)
        if passing == MIDDLE:
            await caller.reader.readuntil(b"messageStart")
        await caller.leave()
        call, attempt = await last_rows(here)
        await here.until(lambda: gate.ended)

        assert ("estimated", 1, "caller left") == (attempt["state"], attempt["charged"], attempt["error_type"])
        assert attempt["spend"] == attempt["input"] * 3_000 + attempt["output"] * 15_000
        assert 0 < attempt["spend"]
        # What of an answer was seen: its head has a status and AWS's id.
        (received,) = here.simulator.received
        seen = (200, received.request_id) if passing else (None, None)
        assert seen == (attempt["status"], attempt["aws_request_id"])
        assert (1, 200 if passing == MIDDLE else 0) == (call["caller_left"], call["status"])
        assert "ended='caller left'" in here.lines[-1]


async def test_a_reader_that_stops_reading_has_left(tmp_path: Path) -> None:
    """A caller that takes no byte for its time is cut off, and its answer is read on to the end."""
    async with behind_a_gate(tmp_path, limits=Limits(write_seconds=0.2)) as (here, _):
        tokens = await undisturbed(here, "converse-stream")
        here.simulator.faults.add("large-body", size=24_000_000)
        caller = await calling(here.port, "converse-stream", buffer=4_096)
        await here.until(lambda: "caller_left=yes" in here.lines[-1])
        call, attempt = await last_rows(here)

        assert ("metered", *tokens) == (attempt["state"], attempt["input"], attempt["output"])
        assert (1, 200) == (call["caller_left"], call["status"])
        assert 24_000_000 < here.simulator.received[-1].sent.size
        # What it still reads is not a whole answer.
        assert not (await caller.rest()).endswith(b"0\r\n\r\n")
        await caller.leave()


async def test_a_reader_that_stops_reading_a_large_answer_has_left(tmp_path: Path) -> None:
    """The same holds for a large answer of one piece, and under abort: then upstream is closed."""
    async with behind_a_gate(tmp_path, "on_disconnect: abort", limits=Limits(write_seconds=0.2)) as (here, gate):
        here.simulator.faults.add("large-body", size=24_000_000)
        caller = await calling(here.port, "converse", buffer=4_096)
        await here.until(lambda: here.lines)
        _, attempt = await last_rows(here)
        await here.until(lambda: gate.ended)

        assert ("estimated", "caller left") == (attempt["state"], attempt["error_type"])
        await caller.leave()


async def leave_one_after_another(here: Running, gate: Gate, count: int) -> list[str]:
    """Let so many callers leave in turn while upstream is silent; return the ids of their calls."""
    for number in range(1, count + 1):
        caller = await calling(here.port, "converse")
        await here.until(lambda number=number: number == len(here.simulator.received))
        await here.until(lambda: all(call.attempt and call.attempt.sent for call in here.gateway.calls))
        await caller.leave()
        await here.until(lambda: all(call.left for call in here.gateway.calls))
    return [row["call"] for row in here.rows("SELECT call FROM attempts ORDER BY call")]


@pytest.mark.parametrize("bound", ["one caller's", "all callers'"])
async def test_over_a_bound_the_oldest_answer_is_closed(tmp_path: Path, bound: str) -> None:
    """Of three answers read on where two may be, the oldest is booked as an estimate, the others are metered."""

    def change(gateway: Gateway) -> None:
        gateway.leaving.max_drains = 2

    own = bound == "one caller's"
    reason = "its limit" if own else "the limit"
    settings = {"change": None} if own else {"change": change}
    async with behind_a_gate(tmp_path, "max_drains: 2" if own else "", passing=SILENT, **settings) as (here, gate):
        await leave_one_after_another(here, gate, 3)
        await here.until(lambda: 2 == len(here.gateway.calls))
        await here.until(lambda: gate.ended)
        assert 2 == here.gateway.leaving.draining
        gate.open.set()
        await here.settled()

        rows = here.rows("SELECT state, error_type FROM attempts ORDER BY call")
        assert [
            ("estimated", f"caller left; {reason} of answers read on was reached"),
            ("metered", None),
            ("metered", None),
        ] == [(row["state"], row["error_type"]) for row in rows]


async def test_where_no_answer_may_be_read_on_each_is_closed(tmp_path: Path) -> None:
    """A bound of none closes the answer of the caller that leaves."""

    def change(gateway: Gateway) -> None:
        gateway.leaving.max_drains = 0

    async with behind_a_gate(tmp_path, passing=SILENT, change=change) as (here, gate):
        await leave_one_after_another(here, gate, 1)
        _, attempt = await last_rows(here)

        assert "estimated" == attempt["state"]
        assert 0 == here.gateway.leaving.draining


async def test_an_answer_is_read_on_for_so_long_only(tmp_path: Path) -> None:
    """After its time an answer that is read on is closed and booked as an estimate."""
    async with behind_a_gate(tmp_path, "drain_timeout: 0.1", passing=MIDDLE) as (here, gate):
        caller = await calling(here.port, "converse-stream")
        await here.until(lambda: gate.held)
        await caller.leave()
        _, attempt = await last_rows(here)
        await here.until(lambda: gate.ended)

        assert ("estimated", "caller left; read on for too long") == (attempt["state"], attempt["error_type"])


async def test_upstream_that_breaks_off_while_it_is_read_on_is_booked_as_cut(tmp_path: Path) -> None:
    """Nobody is left to be told, and the row says what happened."""
    async with behind_a_gate(tmp_path, passing=MIDDLE) as (here, gate):
        here.simulator.faults.add("cut", after=6)
        caller = await calling(here.port, "converse-stream")
        await here.until(lambda: gate.held)
        await caller.leave()
        await here.until(lambda: here.gateway.leaving.draining)
        gate.open.set()
        call, attempt = await last_rows(here)

        assert ("estimated", "cut") == (attempt["state"], attempt["error_type"])
        assert 1 == call["caller_left"]


@pytest.mark.parametrize("kind", ["throttle", "internal", "exception-first"])
async def test_nothing_more_is_sent_for_a_caller_that_has_left(tmp_path: Path, kind: str) -> None:
    """An attempt that fails after its caller has left is the last of the call, though others are free."""
    async with behind_a_gate(tmp_path, passing=SILENT) as (here, gate):
        here.simulator.faults.add(kind)
        caller = await calling(here.port, "converse-stream", model="claude")
        await here.until(lambda: here.simulator.received)
        await here.until(lambda: all(call.attempt and call.attempt.sent for call in here.gateway.calls))
        await caller.leave()
        await here.until(lambda: here.gateway.leaving.draining)
        gate.open.set()
        call, attempt = await last_rows(here)

        assert 1 == len(here.simulator.received)
        assert ("refused", 0) == (attempt["state"], attempt["spend"])
        assert (0, 1, None) == (call["status"], call["caller_left"], call["error_type"])


@pytest.mark.parametrize("policy", ["drain", "abort"])
async def test_a_caller_that_leaves_between_two_attempts_costs_nothing(tmp_path: Path, policy: str) -> None:
    """While the gateway waits to ask the only deployment again, nothing is under way: the call ends there."""

    def change(gateway: Gateway) -> None:
        gateway.snapshot = attrs.evolve(gateway.snapshot, backoff=50.0, max_wait=100.0)

    async with behind_a_gate(tmp_path, f"on_disconnect: {policy}", change=change) as (here, _):
        here.simulator.faults.add("throttle", times=None)
        caller = await calling(here.port, "converse")
        await here.until(lambda: any(call.attempt and call.attempt.closed for call in here.gateway.calls))
        await caller.leave()
        call, attempt = await last_rows(here)

        assert 1 == len(here.simulator.received)
        assert ("refused", 0) == (attempt["state"], attempt["spend"])
        assert ("refused", 0, 0, 1, 1) == tuple(
            call[name] for name in ("state", "spend", "status", "caller_left", "attempts")
        )


@pytest.mark.parametrize("policy", ["drain", "abort"])
async def test_a_caller_that_leaves_in_its_request_costs_nothing(tmp_path: Path, policy: str) -> None:
    """Half a body is no call: nothing is sent, and its memory is given back."""
    async with behind_a_gate(tmp_path, f"on_disconnect: {policy}") as (here, _):
        caller = await calling(here.port, "converse", length=1_000_000)
        await here.until(lambda: here.gateway.bodies.held)
        await caller.leave()
        call, _ = await last_rows(here)

        assert 0 == len(here.simulator.received)
        assert [] == here.rows("SELECT id FROM attempts")
        assert ("refused", 0, 0, 1) == tuple(call[name] for name in ("state", "spend", "status", "caller_left"))
        assert "caller_left=yes" in here.lines[-1]
        assert "status=0" in here.lines[-1]


async def test_a_caller_that_leaves_before_dispatch_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Credentials come too late for a caller that has gone: nothing is sent for it any more."""
    pipe, profile = tmp_path / "credentials", tmp_path / "aws-config"
    os.mkfifo(pipe)
    profile.write_text(f"[profile late]\ncredential_process = cat {pipe}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(profile))
    config = """
model_list:
  - model_name: single
    litellm_params: {model: bedrock/%(claude)s, aws_region_name: us-east-1, aws_profile_name: late,
      aws_bedrock_runtime_endpoint: "%(url)s"}
"""
    told = {"Version": 1, "AccessKeyId": "AKIDEPLOYMENTB", "SecretAccessKey": "secret-B"}
    async with behind_a_gate(tmp_path, config=config) as (here, _):
        caller = await calling(here.port, "converse")
        await here.until(lambda: any(call.attempt for call in here.gateway.calls))
        await caller.leave()
        call, _ = await last_rows(here)
        await asyncio.to_thread(pipe.write_text, json.dumps(told))
        await undisturbed(here, "converse")

        assert ["AKIDEPLOYMENTB"] == [one.access_key_id for one in here.simulator.received]
        assert ("refused", 0, 0, 1, 0) == tuple(
            call[name] for name in ("state", "spend", "status", "caller_left", "attempts")
        )


@pytest.mark.parametrize("policy", ["drain", "abort"])
async def test_a_caller_that_leaves_while_credentials_are_renewed_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str
) -> None:
    """An attempt refused for expired credentials stays refused, and with nobody to answer it is the last."""
    pipe, profile = tmp_path / "credentials", tmp_path / "aws-config"
    os.mkfifo(pipe)
    profile.write_text(f"[profile late]\ncredential_process = cat {pipe}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(profile))
    config = """
model_list:
  - model_name: single
    litellm_params: {model: bedrock/%(claude)s, aws_region_name: us-east-1, aws_profile_name: late,
      aws_bedrock_runtime_endpoint: "%(url)s"}
"""

    def told(letter: str) -> str:
        keys = {"AccessKeyId": f"AKIDEPLOYMENT{letter}", "SecretAccessKey": f"secret-{letter}"}
        return json.dumps({"Version": 1, **keys})

    async with behind_a_gate(tmp_path, f"on_disconnect: {policy}", config=config) as (here, _):
        here.simulator.faults.add("expired-token")
        await asyncio.to_thread(pipe.write_text, told("A"))
        caller = await calling(here.port, "converse")
        await here.until(lambda: here.gateway.calls and here.gateway.credentials.pending() and here.simulator.received)
        await caller.leave()
        await here.until(lambda: all(call.left for call in here.gateway.calls))
        await asyncio.to_thread(pipe.write_text, told("B"))
        call, attempt = await last_rows(here)

        assert 1 == len(here.simulator.received)
        assert ("refused", 0, "ExpiredTokenException") == (attempt["state"], attempt["spend"], attempt["error_type"])
        assert ("refused", 0, 0, 1) == tuple(call[name] for name in ("state", "spend", "status", "caller_left"))


async def test_a_caller_that_leaves_after_its_answer_was_booked_leaves_it_as_it_is(tmp_path: Path) -> None:
    """Closing a connection after the last byte, as every client does, changes no row."""
    async with behind_a_gate(tmp_path, "on_disconnect: abort") as (here, _):
        for action in ("converse", "converse-stream"):
            caller = await calling(here.port, action)
            answer = await caller.rest()
            await caller.leave()
            call, attempt = await last_rows(here)

            assert answer.startswith(b"HTTP/1.1 200 OK")
            assert ("metered", 200, 0) == (attempt["state"], call["status"], call["caller_left"])


async def test_many_callers_leave_at_all_moments(tmp_path: Path) -> None:
    """Whenever callers leave, every request that was sent has one closed row, and nothing is held afterwards."""
    async with behind_a_gate(tmp_path, "max_drains: 100") as (here, _):
        lengths = [None, 1, 20, 200, 500, 900, 1_500, 3_000] * 4

        async def come_and_go(number: int, length: int | None) -> None:
            caller = await calling(here.port, "converse-stream" if number % 3 else "converse", model="claude")
            with contextlib.suppress(asyncio.IncompleteReadError):
                if length is not None:
                    await caller.reader.readexactly(length)
            await caller.leave(reset=bool(number % 2))

        await asyncio.gather(*(come_and_go(number, length) for number, length in enumerate(lengths)))
        await here.settled()

        states = [row["state"] for row in here.rows("SELECT state FROM attempts")]
        # Who left while the connection was still being made has a row that says that nothing was sent.
        assert len(here.simulator.received) == states.count("metered")
        assert {"metered"} == {*states} - {"refused"}


def read_on(caller: RawCaller) -> asyncio.Task[bytes]:
    """Begin to read what comes until the connection ends."""
    return asyncio.create_task(caller.rest(), name=READING)


@pytest.mark.parametrize("left", [False, True], ids=["reading", "left"])
@pytest.mark.parametrize(("action", "passing"), MOMENTS)
async def test_a_stopping_gateway_lets_answers_finish(tmp_path: Path, action: str, passing: int, left: bool) -> None:
    """Within the bound answers under way come to their end, also those that are read on for callers that left."""
    async with behind_a_gate(tmp_path, passing=passing) as (here, gate):
        caller = await calling(here.port, action)
        await here.until(lambda: gate.held)
        if left:
            await caller.leave()
            await here.until(lambda: here.gateway.leaving.draining)
        reading = read_on(caller)

        async def open_once_it_stops() -> None:
            await here.until(lambda: here.gateway.stopping)
            gate.open.set()

        # The gateway stops at the end of this block.
        opening = asyncio.create_task(open_once_it_stops(), name=READING)
    await opening
    answer = await reading
    await caller.leave()

    (attempt,) = here.rows("SELECT * FROM attempts")
    assert "metered" == attempt["state"]
    if not left:
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert answer.endswith(b"0\r\n\r\n" if action == "converse-stream" else b"}")


@pytest.mark.parametrize("left", [False, True], ids=["reading", "left"])
@pytest.mark.parametrize(("action", "passing"), MOMENTS)
async def test_a_stopping_gateway_ends_what_is_over_the_bound(
    tmp_path: Path, action: str, passing: int, left: bool
) -> None:
    """Over the bound answers are ended, as errors their callers can see, and their rows are closed."""
    async with behind_a_gate(tmp_path, "shutdown_timeout: 0.1", passing=passing) as (here, gate):
        caller = await calling(here.port, action)
        await here.until(lambda: gate.held)
        if passing == MIDDLE:
            await here.until(lambda: any(call.first_byte for call in here.gateway.calls))
        if left:
            await caller.leave()
            await here.until(lambda: here.gateway.leaving.draining)
        reading = read_on(caller)
    answer = await reading
    await caller.leave()

    (attempt,) = here.rows("SELECT * FROM attempts")
    (call,) = here.rows("SELECT * FROM calls")
    assert ("estimated", 1, "the gateway stopped") == (attempt["state"], attempt["charged"], attempt["error_type"])
    if left:
        assert (1, 200 if passing == MIDDLE else 0) == (call["caller_left"], call["status"])
    elif passing == MIDDLE:
        assert (0, 200) == (call["caller_left"], call["status"])
        assert not answer.endswith(b"0\r\n\r\n")
    else:
        assert (0, 424) == (call["caller_left"], call["status"])
        assert answer.startswith(b"HTTP/1.1 424 ")
        assert b"x-should-retry: false" in answer


async def test_a_stopping_gateway_ends_a_stream_between_messages_with_an_exception(tmp_path: Path) -> None:
    """A caller whose stream is ended between two messages reads a valid exception and a proper end."""
    async with behind_a_gate(tmp_path, "shutdown_timeout: 0.1") as (here, _):
        here.simulator.faults.add("silent-after-head", after=3)
        caller = await calling(here.port, "converse-stream")
        await caller.reader.readuntil(b"contentBlockDelta")
        reading = read_on(caller)
    answer = await reading
    await caller.leave()

    assert answer.endswith(b"0\r\n\r\n")
    assert b"modelStreamErrorException" in answer
    (attempt,) = here.rows("SELECT * FROM attempts")
    assert ("estimated", "the gateway stopped") == (attempt["state"], attempt["error_type"])


async def test_a_stopping_gateway_refuses_a_request_under_way(tmp_path: Path) -> None:
    """A caller still sending its request is told that nothing was sent, so it may repeat it elsewhere."""
    async with behind_a_gate(tmp_path, "shutdown_timeout: 0.1") as (here, _):
        caller = await calling(here.port, "converse", length=1_000_000)
        await here.until(lambda: here.gateway.bodies.held)
        reading = read_on(caller)
    answer = await reading
    await caller.leave()

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"ServiceUnavailableException" in answer
    assert [{"status": 503, "attempts": 0}] == here.rows("SELECT status, attempts FROM calls")


async def test_a_stopping_gateway_ends_a_wait_between_two_attempts(tmp_path: Path) -> None:
    """A call that waits to be sent again has cost nothing, so its caller is told that it may repeat it."""

    def change(gateway: Gateway) -> None:
        gateway.snapshot = attrs.evolve(gateway.snapshot, backoff=50.0, max_wait=100.0)

    async with behind_a_gate(tmp_path, "shutdown_timeout: 0.1", change=change) as (here, _):
        here.simulator.faults.add("throttle", times=None)
        caller = await calling(here.port, "converse")
        await here.until(lambda: any(call.attempt and call.attempt.closed for call in here.gateway.calls))
        reading = read_on(caller)
    answer = await reading
    await caller.leave()

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"x-should-retry" not in answer
    assert [{"status": 503, "attempts": 1, "spend": 0}] == here.rows("SELECT status, attempts, spend FROM calls")
