"""Everything that may go wrong upstream: what the caller sees, how often was sent, what is booked; by the two tables.

Every fault of the simulator is in ``FAULTS``; a fault that is new to the simulator fails a test here until it is, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import attrs
import pytest
import pytest_asyncio
from aiohttp import web
from botocore.eventstream import EventStreamBuffer
from botocore.exceptions import ClientError, EventStreamError
from running import GROUPS, Running, running

from bedrock_gateway.routing.health import Health
from bedrock_gateway.simulator.faults import STREAM_ONLY, FaultKind
from bedrock_gateway.simulator.sending import STATUS_FAULTS, error_headers

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Silence is over after half a second; the deployments have no time-outs of their own.
CONFIG = GROUPS + "general_settings: {idle_timeout: 0.5}\n"
MESSAGES = [{"role": "user", "content": [{"text": "What is a gateway good for?"}]}]
BODY = json.dumps({"messages": MESSAGES}).encode()


@attrs.frozen(kw_only=True)
class Expected:
    """What follows from one fault that befalls every attempt of a call.

    Attributes:
        status: HTTP status the caller sees; code: what boto3 raises (AWS code, else the name of the class), or None.
        single, group: attempts sent to a group of one deployment, and of three.
        state, error, notes: of each attempt's row; an estimated one is charged and has a spend, a refused one costs 0.
    """

    status: int
    code: str | None
    state: str
    error: str | None
    single: int = 1
    group: int = 1
    notes: tuple[str, ...] = ()


def relayed(status: int, code: str, *, single: int = 1, group: int = 1, notes: tuple[str, ...] = ()) -> Expected:
    """AWS's own refusal reaches the caller as it is and costs nothing."""
    return Expected(status=status, code=code, state="refused", error=code, single=single, group=group, notes=notes)


def lost(error: str, notes: tuple[str, ...] = ()) -> Expected:
    """Sent, and no whole answer: 424, never again, an estimate is charged."""
    return Expected(status=424, code="ModelErrorException", state="estimated", error=error, notes=notes)


def broken(code: str, error: str, notes: tuple[str, ...] = ()) -> Expected:
    """The stream had begun: what is left is its end, and an estimate."""
    return Expected(status=200, code=code, state="estimated", error=error, notes=notes)


FINE = Expected(status=200, code=None, state="metered", error=None)
OURS = "ServiceUnavailableException"
#: By kind: what a call to Converse meets, and what one to ConverseStream meets where that is another thing.
FAULTS: dict[FaultKind, tuple[Expected | None, Expected]] = {
    kind: both if isinstance(both, tuple) else (both, both)
    for kind, both in {
        # Throttled and not ready: the next deployment, and the same again where there is no other.
        FaultKind.THROTTLE: relayed(429, "ThrottlingException", single=3, group=3),
        FaultKind.NOT_READY: relayed(429, "ModelNotReadyException", single=3, group=3),
        FaultKind.UNAVAILABLE: relayed(503, "ServiceUnavailableException", single=3, group=3),
        # Internal error: the next deployment, once.
        FaultKind.INTERNAL: relayed(500, "InternalServerException", group=2, notes=("maybe-billed",)),
        # The gateway's own rights: the next deployment; the caller reads nothing of AWS's text.
        FaultKind.ACCESS_DENIED: Expected(
            status=503, code=OURS, state="refused", error="AccessDeniedException", group=3
        ),
        FaultKind.EXPIRED_TOKEN: Expected(
            status=503, code=OURS, state="refused", error="ExpiredTokenException", group=3
        ),
        # Not there: the next deployment.
        FaultKind.NOT_FOUND: relayed(404, "ResourceNotFoundException", group=3),
        FaultKind.INVALID_MODEL: relayed(400, "ValidationException", group=3),
        FaultKind.ON_DEMAND_UNSUPPORTED: relayed(400, "ValidationException", group=3),
        FaultKind.UNKNOWN_OPERATION: relayed(404, "UnknownOperationException", group=3),
        # The caller's business.
        FaultKind.VALIDATION: relayed(400, "ValidationException"),
        FaultKind.QUOTA: relayed(400, "ServiceQuotaExceededException"),
        FaultKind.MODEL_TIMEOUT: relayed(408, "ModelTimeoutException"),
        FaultKind.MODEL_ERROR: relayed(424, "ModelErrorException"),
        # Sent and lost, silent, cut, unreadable.
        FaultKind.BAD_GATEWAY: lost("lost"),
        FaultKind.RESET: lost("lost"),
        FaultKind.SILENT: lost("silent"),
        FaultKind.SILENT_AFTER_HEAD: (lost("silent"), broken("modelStreamErrorException", "silent")),
        FaultKind.CUT: (lost("cut"), broken("ProtocolError", "cut", ("event-stream:TruncatedMessage",))),
        FaultKind.CUT_RESET: (lost("cut"), broken("ProtocolError", "cut", ("event-stream:TruncatedMessage",))),
        FaultKind.SHORT_BODY: (lost("cut"), broken("ProtocolError", "cut", ("event-stream:TruncatedMessage",))),
        FaultKind.CUT_CLEAN: (lost("unreadable"), broken("ProtocolError", "cut", ("event-stream:TruncatedMessage",))),
        FaultKind.BROKEN_JSON: (lost("unreadable"), FINE),
        # Odd, and no fault.
        FaultKind.SLOW: FINE,
        FaultKind.LONG_HEADER: FINE,
        FaultKind.LARGE_BODY: FINE,
        FaultKind.LARGE_MESSAGE: (None, FINE),
        # Inside a stream.
        FaultKind.EXCEPTION_FIRST: (
            None,
            Expected(
                status=200,
                code="throttlingException",
                state="refused",
                error="throttlingException",
                single=3,
                group=3,
            ),
        ),
        FaultKind.EXCEPTION: (
            None,
            broken("modelStreamErrorException", "modelStreamErrorException", ("no-proper-end",)),
        ),
        FaultKind.ERROR_MESSAGE: (None, broken("InternalFailure", "InternalFailure", ("no-proper-end",))),
        FaultKind.WRONG_CRC: (None, broken("ChecksumMismatch", "cut", ("event-stream:ChecksumMismatch",))),
    }.items()
}
CASES = [
    pytest.param(
        kind, streamed, group, id=f"{kind}-{'stream' if streamed else 'whole'}-{'group' if group else 'single'}"
    )
    for kind, both in FAULTS.items()
    for streamed in (False, True)
    for group in (False, True)
    if both[streamed] is not None
]
#: Faults another deployment makes up for.
MENDED = [kind for kind, (whole, stream) in FAULTS.items() if (whole or stream).group > 1]


@attrs.frozen(kw_only=True)
class Seen:
    """What boto3 made of an answer."""

    status: int
    code: str | None
    message: str
    headers: dict[str, str]
    text: str


def converse(client: Any, model: str, *, streamed: bool) -> Seen:
    """Call once and read the answer to its end, whatever becomes of it."""
    text = ""
    metadata: dict[str, Any] = {}
    code, message = None, ""
    try:
        if streamed:
            answer = client.converse_stream(modelId=model, messages=MESSAGES)
            metadata = answer["ResponseMetadata"]
            with contextlib.closing(answer["stream"]):
                for event in answer["stream"]:
                    text += event.get("contentBlockDelta", {}).get("delta", {}).get("text", "")
        else:
            answer = client.converse(modelId=model, messages=MESSAGES)
            metadata = answer["ResponseMetadata"]
            text = answer["output"]["message"]["content"][0]["text"]
    except EventStreamError as error:
        code, message = error.response["Error"]["Code"], error.response["Error"]["Message"]
    except ClientError as error:
        metadata = error.response["ResponseMetadata"]
        code, message = error.response["Error"]["Code"], error.response["Error"]["Message"]
    except Exception as error:
        code, message = type(error).__name__, str(error)
    return Seen(
        status=metadata["HTTPStatusCode"], code=code, message=message, headers=metadata["HTTPHeaders"], text=text
    )


@attrs.frozen(kw_only=True)
class Raw:
    """An answer as it was on the wire; ``whole`` unless it was cut."""

    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool


async def fetch(here: Running, model: str, action: str, **headers: str) -> Raw:
    """Post ``BODY`` without an SDK."""
    body = b""
    whole = True
    sent = {"content-type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    async with aiohttp.ClientSession(auto_decompress=False, max_field_size=65_536) as http:
        async with http.post(f"{here.url}/bedrock/model/{model}/{action}", data=BODY, headers=sent) as answer:
            try:
                async for piece in answer.content.iter_any():
                    body += piece
            except aiohttp.ClientPayloadError:
                whole = False
            told = {name.lower(): value for name, value in answer.headers.items()}
            return Raw(status=answer.status, headers=told, body=body, whole=whole)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Running, Any]]:
    """Give one gateway and one boto3 client to all tests of this file."""
    async with running(tmp_path_factory.mktemp("faults"), CONFIG) as here:
        here.gateway.snapshot = attrs.evolve(here.gateway.snapshot, backoff=0.001)
        client = here.client()
        yield here, client
        client.close()


@pytest_asyncio.fixture(loop_scope="module")
async def here(shared: tuple[Running, Any]) -> AsyncIterator[Running]:
    """Give the gateway as it was at its start; nothing may be left of a call at the end."""
    here, _ = shared
    here.simulator.faults.clear()
    here.simulator.received.clear()
    here.gateway.balancer.health = Health(cooldown_time=0)
    here.gateway.balancer._pools.clear()
    here.gateway.balancer._standings.clear()
    yield here
    await here.settled()
    assert 0 == here.gateway.bodies.held
    assert [] == here.rows("SELECT id FROM attempts WHERE state = 'open'")
    assert [] == here.rows("SELECT id FROM calls WHERE ended_at IS NULL")


@pytest_asyncio.fixture(loop_scope="module")
async def client(shared: tuple[Running, Any]) -> Any:
    """Give the boto3 client."""
    return shared[1]


def attempts_of(here: Running, headers: dict[str, str]) -> list[dict[str, Any]]:
    """Return the rows of a call's attempts."""
    return here.rows("SELECT * FROM attempts WHERE call = ? ORDER BY number", headers["x-bedrock-gateway-call-id"])


def call_of(here: Running, headers: dict[str, str]) -> dict[str, Any]:
    """Return the row of a call."""
    (row,) = here.rows("SELECT * FROM calls WHERE id = ?", headers["x-bedrock-gateway-call-id"])
    return row


async def test_every_fault_is_in_the_table() -> None:
    """No fault of the simulator goes without an expectation."""
    assert set(FaultKind) == set(FAULTS)
    assert STREAM_ONLY == {kind for kind, (whole, _) in FAULTS.items() if whole is None}


@pytest.mark.parametrize(("kind", "streamed", "group"), CASES)
async def test_a_fault_that_befalls_every_attempt(
    here: Running, client: Any, kind: FaultKind, streamed: bool, group: bool
) -> None:
    """What the caller sees, how often was sent and what is booked are as the tables say."""
    expected = FAULTS[kind][streamed]
    assert expected is not None
    here.simulator.faults.add(kind, times=None, seconds=0.01 if kind is FaultKind.SLOW else None)

    seen = await asyncio.to_thread(converse, client, "claude" if group else "single", streamed=streamed)
    await here.settled()

    count = expected.group if group else expected.single
    rows, call = attempts_of(here, seen.headers), call_of(here, seen.headers)
    assert (expected.status, expected.code) == (seen.status, seen.code)
    assert count == len(here.simulator.received)
    assert str(count) == seen.headers["x-bedrock-gateway-attempts"]
    assert (count, expected.status) == (call["attempts"], call["status"])
    # boto3 leaves at once when it meets a wrong checksum, mostly before the end.
    assert not call["caller_left"] or kind is FaultKind.WRONG_CRC
    assert [*range(1, count + 1)] == [row["number"] for row in rows]
    assert {expected.state} == {row["state"] for row in rows} | {call["state"]}
    assert {expected.error} == {row["error_type"] for row in rows}
    assert {json.dumps(expected.notes, separators=(",", ":")) if expected.notes else None} == {
        row["notes"] for row in rows
    }
    if expected.state == "refused":
        assert [(0, 0)] * count == [(row["charged"], row["spend"]) for row in rows]
    else:
        # Claude Sonnet 4: USD 3 a million tokens in, 15 out.
        assert [1] == [row["charged"] for row in rows]
        assert [row["input"] * 3_000 + row["output"] * 15_000 for row in rows] == [row["spend"] for row in rows]
        assert 0 < rows[0]["input"]
    assert sum(row["spend"] for row in rows if row["charged"]) == call["spend"]
    if seen.code is not None:
        assert seen.message


@pytest.mark.parametrize("kind", MENDED)
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
async def test_another_deployment_makes_up_for_a_fault(
    here: Running, client: Any, kind: FaultKind, streamed: bool
) -> None:
    """A fault of the first deployment is not seen by the caller; the attempt has its own row and costs nothing."""
    if kind in STREAM_ONLY and not streamed:
        here.simulator.faults.add("throttle", error_type="ServiceUnavailableException")
    else:
        here.simulator.faults.add(kind)

    seen = await asyncio.to_thread(converse, client, "claude", streamed=streamed)

    rows, call = attempts_of(here, seen.headers), call_of(here, seen.headers)
    assert (200, None) == (seen.status, seen.code)
    assert seen.text
    assert "2" == seen.headers["x-bedrock-gateway-attempts"]
    assert ["AKIDEPLOYMENTA", "AKIDEPLOYMENTB"] == [one.access_key_id for one in here.simulator.received]
    assert [("refused", 0, 0), ("metered", 1, call["spend"])] == [
        (row["state"], row["charged"], row["spend"]) for row in rows
    ]
    assert "metered" == call["state"]


@pytest.mark.parametrize("kind", [kind for kind, (whole, _) in FAULTS.items() if kind in STATUS_FAULTS and whole])
async def test_what_is_relayed_is_byte_for_byte_what_aws_said(here: Running, kind: FaultKind) -> None:
    """Status, body, error type and request id of AWS's error arrive as they are; of our own rights nothing."""
    here.simulator.faults.add(kind, times=None)

    answer = await fetch(here, "single", "converse")

    status, error_type, text = STATUS_FAULTS[kind]
    last = here.simulator.received[-1]
    if status in (401, 403):
        assert 503 == answer.status
        assert "ServiceUnavailableException" == answer.headers["x-amzn-errortype"]
        assert b"'single'" in answer.body
        assert text.encode() not in answer.body
        assert "retry-after" in answer.headers
    else:
        assert status == answer.status
        assert last.sent.sha256 == hashlib.sha256(answer.body).hexdigest()
        assert error_headers(error_type)["x-amzn-errortype"] == answer.headers["x-amzn-errortype"]
        assert last.request_id == answer.headers["x-amzn-requestid"]
    assert [one.request_id for one in here.simulator.received] == [
        row["aws_request_id"] for row in attempts_of(here, answer.headers)
    ]


@pytest.mark.parametrize(
    "kind", [kind for kind, (whole, _) in FAULTS.items() if whole and whole.code == "ModelErrorException"]
)
async def test_what_may_have_been_billed_is_not_repeated(here: Running, kind: FaultKind) -> None:
    """Every SDK is told that it must not send such a call again, whether by the status or by the header."""
    if kind is FaultKind.MODEL_ERROR:
        here.simulator.faults.add("cut", times=None)
    else:
        here.simulator.faults.add(kind, times=None)

    answer = await fetch(here, "claude", "converse")

    assert (424, "ModelErrorException") == (answer.status, answer.headers["x-amzn-errortype"])
    assert "false" == answer.headers["x-should-retry"]
    assert b"billed" in answer.body
    assert 1 == len(here.simulator.received)


@pytest.mark.parametrize("kind", ["cut", "cut-reset", "cut-clean", "short-body", "broken-json", "silent-after-head"])
async def test_a_broken_answer_keeps_awss_request_id(here: Running, kind: str) -> None:
    """An answer that broke off after its head is booked with its status and AWS's id, by which AWS can be asked."""
    here.simulator.faults.add(kind)

    answer = await fetch(here, "single", "converse")

    (row,) = attempts_of(here, answer.headers)
    (received,) = here.simulator.received
    assert (200, received.request_id) == (row["status"], row["aws_request_id"])


@pytest.mark.parametrize(
    "kind", ["exception", "error-message", "wrong-crc", "broken-json", "large-message", "large-body"]
)
async def test_a_stream_with_a_fault_in_it_is_relayed_unchanged(here: Running, kind: str) -> None:
    """Whatever stands in a stream that upstream ended itself, the caller gets the same bytes."""
    here.simulator.faults.add(kind)

    answer = await fetch(here, "single", "converse-stream")

    (received,) = here.simulator.received
    assert 200 == answer.status
    assert (received.sent.size, received.sent.sha256) == (len(answer.body), hashlib.sha256(answer.body).hexdigest())
    # A broken CRC leaves nobody knowing where a message ends: no clean end can be vouched for.
    assert (kind != "wrong-crc") is answer.whole


@pytest.mark.parametrize("after", [0, 1, 3])
async def test_a_stream_cut_inside_a_message_is_aborted(here: Running, after: int) -> None:
    """What arrived is passed on, then the connection is cut: a clean end would look like success to boto3."""
    here.simulator.faults.add("cut", after=after)

    answer = await fetch(here, "single", "converse-stream", amz_sdk_request="attempt=2")

    (received,) = here.simulator.received
    assert (200, False) == (answer.status, answer.whole)
    assert received.sent.sha256 == hashlib.sha256(answer.body).hexdigest()


async def test_a_stream_lost_before_its_first_message_is_an_error(here: Running) -> None:
    """Before the commit point a cut stream is answered with a status; it is not sent to another deployment."""
    here.simulator.faults.add("cut-reset", after=0)

    answer = await fetch(here, "claude", "converse-stream")

    (row,) = attempts_of(here, answer.headers)
    assert (424, True) == (answer.status, answer.whole)
    assert ("estimated", "cut") == (row["state"], row["error_type"])


async def test_a_stream_cut_between_messages_ends_with_an_exception(here: Running) -> None:
    """The stream gets a valid last message of a modelled type that says what happened."""
    here.simulator.faults.add("silent-after-head", after=3)

    answer = await fetch(here, "claude", "converse-stream")

    (received,) = here.simulator.received
    buffer = EventStreamBuffer()
    buffer.add_data(answer.body)
    *_, last = buffer
    own = answer.body[: received.sent.size]
    assert answer.whole
    assert received.sent.sha256 == hashlib.sha256(own).hexdigest()
    assert ("exception", "modelStreamErrorException") == (
        last.headers[":message-type"],
        last.headers[":exception-type"],
    )
    assert "billed" in json.loads(last.payload)["message"]


@pytest.mark.parametrize(
    ("error_type", "sent", "notes"),
    [
        ("throttlingException", 3, None),
        ("serviceUnavailableException", 3, None),
        ("internalServerException", 2, '["maybe-billed"]'),
        ("modelTimeoutException", 1, None),
        ("validationException", 1, None),
    ],
)
async def test_an_exception_that_comes_first_means_what_the_status_means(
    here: Running, error_type: str, sent: int, notes: str | None
) -> None:
    """As the first message of a stream an exception is retried and booked like the same error as a status."""
    here.simulator.faults.add("exception-first", times=None, error_type=error_type)

    answer = await fetch(here, "claude", "converse-stream")

    rows = attempts_of(here, answer.headers)
    last = here.simulator.received[-1]
    assert (200, True) == (answer.status, answer.whole)
    assert last.sent.sha256 == hashlib.sha256(answer.body).hexdigest()
    assert sent == len(here.simulator.received)
    assert [("refused", 0, 0, error_type, notes)] * sent == [
        (row["state"], row["charged"], row["spend"], row["error_type"], row["notes"]) for row in rows
    ]


@pytest.mark.parametrize(
    ("message", "sent"),
    [
        ("The provided model identifier is invalid.", 3),
        ("You said: The provided model identifier is invalid.", 1),
        ("Invocation of model ID x with on-demand throughput isn't supported. Retry.", 3),
    ],
)
async def test_only_awss_own_words_move_a_call_to_another_deployment(here: Running, message: str, sent: int) -> None:
    """A validation error fails over where it says that the model is not there, not where it quotes the caller."""
    here.simulator.faults.add("validation", times=None, message=message)

    answer = await fetch(here, "claude", "converse")

    assert 400 == answer.status
    assert sent == len(here.simulator.received)


@pytest.mark.parametrize("kind", ["throttle", "internal", "not-found", "exception-first"])
async def test_a_repeat_of_an_sdk_gets_one_attempt(here: Running, kind: str) -> None:
    """Repeats of an SDK and of the gateway do not multiply; the row says the same as for a first try."""
    here.simulator.faults.add(kind, times=None)

    answer = await fetch(here, "claude", "converse-stream", amz_sdk_request="ttl=20261121T000000Z; attempt=2; max=5")

    (row,) = attempts_of(here, answer.headers)
    assert 1 == len(here.simulator.received)
    assert ("refused", 0) == (row["state"], row["spend"])


async def test_a_first_try_of_an_sdk_gets_all_attempts(here: Running) -> None:
    """The header that every SDK sends with its first try changes nothing."""
    here.simulator.faults.add("throttle", times=None)

    await fetch(here, "claude", "converse", amz_sdk_request="attempt=1; max=5")

    assert 3 == len(here.simulator.received)


@pytest.mark.parametrize("retries", [0, 1, 5])
async def test_the_number_of_retries_is_a_bound(here: Running, retries: int) -> None:
    """No call is sent more often than the config allows, be it to one deployment."""
    before = here.gateway.snapshot
    here.gateway.snapshot = attrs.evolve(before, num_retries=retries)
    here.simulator.faults.add("unavailable", times=None)

    await fetch(here, "single", "converse")

    here.gateway.snapshot = before
    assert retries + 1 == len(here.simulator.received)


async def test_a_second_internal_error_ends_the_call(here: Running) -> None:
    """An internal error is tried once more in a call, also when a throttle came between."""
    here.simulator.faults.add("internal")
    here.simulator.faults.add("throttle")
    here.simulator.faults.add("internal")
    before = here.gateway.snapshot
    here.gateway.snapshot = attrs.evolve(before, num_retries=9)

    answer = await fetch(here, "claude", "converse")

    here.gateway.snapshot = before
    assert 500 == answer.status
    assert ["internal", "throttle", "internal"] == [one.fault for one in here.simulator.received]


async def test_a_long_wait_is_left_to_the_caller(here: Running) -> None:
    """Where the wait before the only deployment may be asked again does not fit, the caller is told at once."""
    before = here.gateway.snapshot
    here.gateway.snapshot = attrs.evolve(before, backoff=60.0)
    here.simulator.faults.add("throttle", times=None)

    answer = await fetch(here, "single", "converse")

    here.gateway.snapshot = before
    assert 429 == answer.status
    assert 1 == len(here.simulator.received)


async def test_waits_grow_and_are_kept(here: Running) -> None:
    """Between attempts on the only deployment the gateway waits, twice as long each time; no overhead."""
    before = here.gateway.snapshot
    here.gateway.snapshot = attrs.evolve(before, backoff=0.2)
    here.simulator.faults.add("throttle", times=2)

    answer = await fetch(here, "single", "converse")

    here.gateway.snapshot = before
    first, second, third = (one.time for one in here.simulator.received)
    assert 200 == answer.status
    assert 0.2 <= second - first
    assert 0.4 <= third - second
    assert float(answer.headers["x-bedrock-gateway-overhead-ms"]) < 1000 * (third - first) / 2


async def test_a_large_answer_streams_and_is_metered(here: Running) -> None:
    """More than 1 MiB is passed on as it comes, chunked, whole and with AWS's own token counts in its row."""
    here.simulator.faults.add("large-body", size=3_000_000)

    answer = await fetch(here, "single", "converse")

    (row,) = attempts_of(here, answer.headers)
    (received,) = here.simulator.received
    usage = json.loads(answer.body)["usage"]
    assert answer.whole
    assert "chunked" == answer.headers["transfer-encoding"]
    assert "x-bedrock-gateway-spend-usd" not in answer.headers
    assert received.sent.sha256 == hashlib.sha256(answer.body).hexdigest()
    assert ("metered", usage["inputTokens"], usage["outputTokens"]) == (row["state"], row["input"], row["output"])


async def test_a_long_header_arrives(here: Running) -> None:
    """A header of AWS longer than the 8 KiB of usual HTTP clients reaches the caller whole."""
    here.simulator.faults.add("long-header", size=40_000)

    answer = await fetch(here, "single", "converse")

    assert "h" * 40_000 == answer.headers["x-amzn-bedrock-long"]


async def test_a_spend_is_told_with_a_small_answer(here: Running) -> None:
    """The header holds what the row holds, exactly, also after an attempt that came to nothing."""
    here.simulator.faults.add("throttle")

    answer = await fetch(here, "claude", "converse")

    call = call_of(here, answer.headers)
    assert f"{call['spend'] / 1e9:.9f}" == answer.headers["x-bedrock-gateway-spend-usd"]


async def test_faults_after_the_commit_point_count(here: Running, client: Any) -> None:
    """A deployment whose streams keep breaking off is left out once it has failed more often than it may."""
    here.gateway.balancer.health = Health(cooldown_time=60.0, allowed_fails=2)
    here.simulator.faults.add("cut", times=None, access_key_id="AKIDEPLOYMENTA")
    here.simulator.faults.add("exception", times=None, access_key_id="AKIDEPLOYMENTB", after=3)

    told = [await asyncio.to_thread(converse, client, "claude", streamed=True) for _ in range(6)]
    last = await asyncio.to_thread(converse, client, "claude", streamed=True)

    assert ["A"] * 3 + ["B"] * 3 + ["C"] == [str(one.access_key_id)[-1] for one in here.simulator.received]
    assert {"ProtocolError", "modelStreamErrorException"} == {seen.code for seen in told}
    assert None is last.code


async def test_a_lost_call_counts_for_its_deployment(here: Running) -> None:
    """Answers lost before the commit point count too, and a caller's own errors do not."""
    here.gateway.balancer.health = Health(cooldown_time=60.0, allowed_fails=1)
    here.simulator.faults.add("validation", times=5)
    for _ in range(5):
        await fetch(here, "claude", "converse")
    here.simulator.faults.add("reset", times=2)
    for _ in range(3):
        await fetch(here, "claude", "converse")

    assert ["A"] * 7 + ["B"] == [str(one.access_key_id)[-1] for one in here.simulator.received]


class BrokenHealth(Health):
    """Health that fails whoever tells it of a failure."""

    def failed(self, *args: Any, **settings: Any) -> bool:
        """Fail as a defect would."""
        raise ZeroDivisionError("a defect")


async def test_a_defect_of_ours_after_dispatch_leaves_no_row_open(
    here: Running, caplog: pytest.LogCaptureFixture
) -> None:
    """A call that broke off by a defect of the gateway is a 424 that tells no details, and is booked as an estimate."""
    here.gateway.balancer.health = BrokenHealth()
    here.simulator.faults.add("throttle")

    answer = await fetch(here, "single", "converse")
    await here.until(lambda: call_of(here, answer.headers)["ended_at"])

    (row,) = attempts_of(here, answer.headers)
    assert (424, "false") == (answer.status, answer.headers["x-should-retry"])
    assert b"defect" not in answer.body
    assert "ZeroDivisionError: a defect" in caplog.text
    assert ("estimated", 1, "gateway-fault") == (row["state"], row["charged"], row["error_type"])
    assert 424 == call_of(here, answer.headers)["status"]


async def test_a_refused_connection_costs_nothing(tmp_path: Path) -> None:
    """Where nobody listens, the next deployment is asked; with none left it is a 503 with a Retry-After."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        config = f"""
model_list:
  - model_name: dead
    litellm_params: {{model: bedrock/%(claude)s, aws_region_name: us-east-1, order: 1,
      aws_access_key_id: AKIDEPLOYMENTA, aws_secret_access_key: secret-A,
      aws_bedrock_runtime_endpoint: "http://127.0.0.1:{taken.getsockname()[1]}"}}
  - model_name: half
    litellm_params: {{model: bedrock/%(claude)s, aws_region_name: us-east-1, order: 1,
      aws_access_key_id: AKIDEPLOYMENTA, aws_secret_access_key: secret-A,
      aws_bedrock_runtime_endpoint: "http://127.0.0.1:{taken.getsockname()[1]}"}}
  - model_name: half
    litellm_params: {{model: bedrock/%(claude)s, aws_region_name: us-east-1, order: 2,
      aws_access_key_id: AKIDEPLOYMENTB, aws_secret_access_key: secret-B, aws_bedrock_runtime_endpoint: "%(url)s"}}
"""
        async with running(tmp_path, config) as here:
            here.gateway.snapshot = attrs.evolve(here.gateway.snapshot, backoff=0.001)

            dead = await fetch(here, "dead", "converse")
            half = await fetch(here, "half", "converse")

            assert (503, "ServiceUnavailableException") == (dead.status, dead.headers["x-amzn-errortype"])
            assert 1 <= int(dead.headers["retry-after"])
            assert "x-should-retry" not in dead.headers
            assert [("refused", 0, 0, "never-reached", None)] * 3 == [
                (row["state"], row["charged"], row["spend"], row["error_type"], row["status"])
                for row in attempts_of(here, dead.headers)
            ]
            assert 200 == half.status
            assert ["refused", "metered"] == [row["state"] for row in attempts_of(here, half.headers)]
            assert 1 == len(here.simulator.received)


async def test_a_deployments_timeouts_are_kept(tmp_path: Path) -> None:
    """An answer that is not there in its deployment's time is a 424 that says which time has passed and where it is
    set; a stream in time may go on for longer.
    """
    config = """
model_list:
  - model_name: slow
    litellm_params: {model: bedrock/%(claude)s, aws_region_name: us-east-1, timeout: 0.2, stream_timeout: 0.3,
      aws_access_key_id: AKIDEPLOYMENTA, aws_secret_access_key: secret-A, aws_bedrock_runtime_endpoint: "%(url)s"}
"""
    async with running(tmp_path, config) as here:
        here.simulator.faults.add("silent", times=2)
        here.simulator.faults.add("silent-after-head", seconds=0.5)
        begun = time.monotonic()
        whole = await fetch(here, "slow", "converse")
        stream = await fetch(here, "slow", "converse-stream")
        took = time.monotonic() - begun
        late = await fetch(here, "slow", "converse-stream")

        assert [424, 424, 200] == [whole.status, stream.status, late.status]
        assert b"gave no whole answer within its timeout of 0.2 s (litellm_params.timeout, else" in whole.body
        assert b"did not begin to answer within its timeout of 0.3 s (litellm_params.stream_timeout, " in stream.body
        assert 0.5 <= took
        assert late.whole
        assert ["silent", "silent", None] == [
            row["error_type"] for row in here.rows("SELECT * FROM attempts ORDER BY started_at, id")
        ]


async def test_a_deployment_without_credentials_is_passed_over(tmp_path: Path) -> None:
    """Nothing can be sent without credentials, so the next deployment is asked; alone it is a 503, and no attempt."""
    config = """
model_list:
  - model_name: claude
    litellm_params: {model: bedrock/%(claude)s, aws_region_name: us-east-1, aws_profile_name: nobody, order: 1,
      aws_bedrock_runtime_endpoint: "%(url)s"}
  - model_name: claude
    litellm_params: {model: bedrock/%(claude)s, aws_region_name: us-west-2, order: 2,
      aws_access_key_id: AKIDEPLOYMENTB, aws_secret_access_key: secret-B, aws_bedrock_runtime_endpoint: "%(url)s"}
  - model_name: alone
    litellm_params: {model: bedrock/%(claude)s, aws_region_name: us-east-1, aws_profile_name: nobody,
      aws_bedrock_runtime_endpoint: "%(url)s"}
"""
    async with running(tmp_path, config) as here:
        answer = await fetch(here, "claude", "converse", amz_sdk_request="attempt=2")
        alone = await fetch(here, "alone", "converse")
        await here.until(lambda: 2 == len(here.rows("SELECT id FROM calls WHERE ended_at IS NOT NULL")))

        assert (200, "1") == (answer.status, answer.headers["x-bedrock-gateway-attempts"])
        assert (503, "0") == (alone.status, alone.headers["x-bedrock-gateway-attempts"])
        assert b"nobody" not in alone.body
        assert "retry-after" in alone.headers
        assert [] == attempts_of(here, alone.headers)
        assert ("refused", 0, 0) == tuple(call_of(here, alone.headers)[name] for name in ("state", "spend", "attempts"))
        assert 1 == len(here.simulator.received)


@attrs.frozen(kw_only=True)
class Odd:
    """An answer no simulator of Bedrock gives, but somebody on the way to AWS may; and what the caller is told."""

    status: int
    headers: dict[str, str]
    body: bytes
    told: tuple[int, str | None]
    sent: int
    row: tuple[str, str, int | None]


HTML = {"content-type": "text/html"}
JSON = {"content-type": "application/json"}
STREAM = {"content-type": "application/vnd.amazon.eventstream"}
PAGE = b"<html>arn:aws:iam::123456789012:role/gateway</html>"
OURSELVES = (503, "ServiceUnavailableException")
MAYBE_BILLED = (424, "ModelErrorException")
ODD = {
    "redirect": Odd(
        status=307,
        headers={"location": "http://169.254.169.254/"},
        body=b"",
        told=MAYBE_BILLED,
        sent=1,
        row=("estimated", "unreadable", 307),
    ),
    "untyped 401": Odd(
        status=401, headers=HTML, body=PAGE, told=OURSELVES, sent=1, row=("refused", "credentials-refused", 401)
    ),
    "untyped 403": Odd(
        status=403, headers=HTML, body=PAGE, told=OURSELVES, sent=1, row=("refused", "access-denied", 403)
    ),
    "untyped 404": Odd(
        status=404, headers=HTML, body=PAGE, told=(404, None), sent=1, row=("refused", "not-found", 404)
    ),
    "untyped 500": Odd(
        status=500, headers=HTML, body=PAGE, told=(500, None), sent=1, row=("refused", "internal-error", 500)
    ),
    "untyped 503": Odd(
        status=503, headers=HTML, body=PAGE, told=(503, None), sent=3, row=("refused", "unavailable", 503)
    ),
    "untyped 504": Odd(status=504, headers=HTML, body=PAGE, told=MAYBE_BILLED, sent=1, row=("estimated", "lost", 504)),
    "type in the body": Odd(
        status=400,
        headers=JSON,
        body=b'{"__type":"com.amazon.coral.service#ThrottlingException","Message":"slow"}',
        told=(400, None),
        sent=3,
        row=("refused", "ThrottlingException", 400),
    ),
    "compressed": Odd(
        status=200,
        headers={"content-encoding": "gzip", **JSON},
        body=b"\x1f\x8b",
        told=MAYBE_BILLED,
        sent=1,
        row=("estimated", "unreadable", 200),
    ),
    "empty": Odd(status=200, headers=JSON, body=b"", told=MAYBE_BILLED, sent=1, row=("estimated", "unreadable", 200)),
    "empty stream": Odd(
        status=200, headers=STREAM, body=b"", told=MAYBE_BILLED, sent=1, row=("estimated", "unreadable", 200)
    ),
}


@pytest.mark.parametrize("sdk_attempt", [1, 2])
@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
async def test_odd_answers_on_the_way_to_aws(tmp_path: Path, odd: Odd, sdk_attempt: int) -> None:
    """Nothing is followed, nothing of the gateway's rights is told, and no empty success reaches the caller."""
    asked = 0

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        await request.read()
        return web.Response(status=odd.status, headers=odd.headers, body=odd.body)

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    config = GROUPS.replace("%(url)s", f"http://127.0.0.1:{runner.addresses[0][1]}")
    try:
        async with running(tmp_path, config) as here:
            here.gateway.snapshot = attrs.evolve(here.gateway.snapshot, backoff=0.001)
            action = "converse-stream" if odd.headers is STREAM else "converse"
            told = await fetch(here, "single", action, amz_sdk_request=f"attempt={sdk_attempt}")

            rows = attempts_of(here, told.headers)
            assert odd.told == (told.status, told.headers.get("x-amzn-errortype"))
            assert (odd.sent if sdk_attempt == 1 else 1) == asked == len(rows)
            assert {odd.row} == {(row["state"], row["error_type"], row["status"]) for row in rows}
            assert told.whole
            if odd.told[0] != odd.status:
                assert b"123456789012" not in told.body
            else:
                assert odd.body == told.body
    finally:
        await runner.cleanup()
