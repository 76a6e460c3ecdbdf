"""Every fault as boto3 sees it, or as the socket sees it where boto3 is blind; and how faults are asked for."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from botocore.eventstream import ChecksumMismatch, EventStreamBuffer
from botocore.exceptions import ClientError, ConnectionClosedError, EventStreamError, ReadTimeoutError
from simulator_requests import ACCESS_KEY_ID, CLAUDE, NOVA, converse_body, exactly, signed_headers, user
from urllib3.exceptions import ProtocolError

from bedrock_gateway.simulator import FaultKind, Simulator
from bedrock_gateway.simulator.faults import STREAM_ONLY, Faults, parse_directives
from bedrock_gateway.simulator.sending import STATUS_FAULTS
from bedrock_gateway.wire.eventstream import MessageDecoder

PATH = f"/model/{NOVA.replace(':', '%3A')}"


def read(runtime: Any, text: str) -> list[str]:
    """Read a ConverseStream to its end; give the names of its events."""
    stream = runtime.converse_stream(modelId=NOVA, messages=user(text))["stream"]
    try:
        return [next(iter(event)) for event in stream]
    finally:
        stream.close()


async def fetch(base_url: str, action: str = "converse", text: str = "hi") -> tuple[aiohttp.ClientResponse, bytes]:
    """Send one request without boto3; give the answer and whatever of its body arrives."""
    url, body = f"{base_url}{PATH}/{action}", converse_body(text)
    data = b""
    async with aiohttp.ClientSession(max_field_size=100_000) as http:
        async with http.post(exactly(url), data=body, headers=signed_headers(url, body)) as answer:
            async for piece in answer.content.iter_any():
                data += piece
    return answer, data


def messages_of(data: bytes) -> list[Any]:
    """Parse event-stream bytes with botocore."""
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    return list(buffer)


STATUSES = {
    "throttle": (429, "ThrottlingException"),
    "internal": (500, "InternalServerException"),
    "unavailable": (503, "ServiceUnavailableException"),
    "not-ready": (429, "ModelNotReadyException"),
    "access-denied": (403, "AccessDeniedException"),
    "validation": (400, "ValidationException"),
    "invalid-model": (400, "ValidationException"),
    "on-demand-unsupported": (400, "ValidationException"),
    "not-found": (404, "ResourceNotFoundException"),
    "quota": (400, "ServiceQuotaExceededException"),
    "model-timeout": (408, "ModelTimeoutException"),
    "model-error": (424, "ModelErrorException"),
    "expired-token": (403, "ExpiredTokenException"),
}


def test_every_status_is_in_the_table() -> None:
    """The table below covers every fault that is a status."""
    assert {kind.value for kind in STATUS_FAULTS} == set(STATUSES)


@pytest.mark.parametrize(("kind", "expected"), STATUSES.items(), ids=STATUSES)
@pytest.mark.parametrize("operation", ["converse", "converse_stream"])
async def test_status_faults(
    runtime: Any, call: Any, simulator: Simulator, kind: str, expected: tuple[int, str], operation: str
) -> None:
    """boto3 raises AWS's code with AWS's status, once; the next request is fine."""
    simulator.faults.add(kind)
    with pytest.raises(ClientError) as raised:
        await call(getattr(runtime, operation), modelId=NOVA, messages=user("hi"))
    response = raised.value.response
    assert expected == (response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"])
    assert response["Error"]["Message"]
    assert kind == simulator.received[-1].fault
    assert "end_turn" == (await call(runtime.converse, modelId=NOVA, messages=user("hi")))["stopReason"]


async def test_on_demand_names_the_model(runtime: Any, call: Any, simulator: Simulator) -> None:
    """The message of an unsupported on-demand call names the model and the phrase routers look for."""
    simulator.faults.add(FaultKind.ON_DEMAND_UNSUPPORTED)
    with pytest.raises(ClientError, match=f"{NOVA} with on-demand throughput isn't supported"):
        await call(runtime.converse, modelId=NOVA, messages=user("hi"))


async def test_prompt_faults_reach_a_stock_client(base_url: str, make_client: Callable[..., Any], call: Any) -> None:
    """A fault spelt in a prompt befalls as many tries of one request as it says; boto3's own retry then succeeds."""
    client = make_client(base_url, attempts=3)
    answer = await call(client.converse, modelId=NOVA, messages=user("hi [[simulate: throttle times=1]]"))
    assert 1 == answer["ResponseMetadata"]["RetryAttempts"]
    once = make_client(base_url)
    with pytest.raises(once.exceptions.ThrottlingException):
        await call(once.converse, modelId=NOVA, messages=user("hi [[simulate: throttle]]"))


async def test_old_prompt_faults_are_over(runtime: Any, call: Any) -> None:
    """Only the last user message is read for faults."""
    messages = [
        *user("[[simulate: throttle]]"),
        {"role": "assistant", "content": [{"text": "ok"}]},
        *user("and now?"),
    ]
    assert "end_turn" == (await call(runtime.converse, modelId=NOVA, messages=messages))["stopReason"]


async def test_prompt_faults_in_other_families(runtime: Any, call: Any) -> None:
    """Prompts of embeddings and of Anthropic's messages are read for faults too."""
    text = "[[simulate: not-ready]]"
    anthropic = {"anthropic_version": "x", "max_tokens": 5, "messages": [{"role": "user", "content": text}]}
    for model, body in ((CLAUDE, anthropic), ("amazon.titan-embed-text-v2:0", {"inputText": text})):
        with pytest.raises(runtime.exceptions.ModelNotReadyException):
            await call(runtime.invoke_model, modelId=model, body=json.dumps(body))


async def test_exception_first(runtime: Any, call: Any, base_url: str) -> None:
    """The first message is the exception, in lower camel case, after a 200."""
    with pytest.raises(EventStreamError) as raised:
        await call(read, runtime, "[[simulate: exception-first]]")
    assert "throttlingException" == raised.value.response["Error"]["Code"]
    answer, data = await fetch(
        base_url, "converse-stream", "[[simulate: exception-first error_type=validationException]]"
    )
    assert 200 == answer.status
    assert ["validationException"] == [message.headers[":exception-type"] for message in messages_of(data)]


async def test_exception_in_mid_stream(runtime: Any, call: Any, base_url: str) -> None:
    """Two messages, then the exception, then a clean end."""
    with pytest.raises(EventStreamError) as raised:
        await call(read, runtime, "[[simulate: exception]]")
    assert "modelStreamErrorException" == raised.value.response["Error"]["Code"]
    _, data = await fetch(base_url, "converse-stream", "[[simulate: exception after=5]]")
    found = messages_of(data)
    assert ["event"] * 5 + ["exception"] == [message.headers[":message-type"] for message in found]
    assert {"message", "originalStatusCode", "originalMessage"} == set(json.loads(found[-1].payload))


async def test_error_message(runtime: Any, call: Any) -> None:
    """An unmodelled error is ``:message-type: error`` with code and message."""
    with pytest.raises(EventStreamError) as raised:
        await call(read, runtime, "[[simulate: error-message]]")
    assert {"Code": "InternalFailure", "Message": "An internal failure occurred."} == raised.value.response["Error"]


async def test_wrong_crc(runtime: Any, call: Any) -> None:
    """botocore finds the wrong checksum."""
    with pytest.raises(ChecksumMismatch):
        await call(read, runtime, "[[simulate: wrong-crc]]")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # urllib3 forgets the socket it lost
@pytest.mark.parametrize("kind", ["cut", "cut-reset"])
async def test_cut_streams(runtime: Any, call: Any, kind: str) -> None:
    """A stream cut in mid-message by FIN or RST is a ProtocolError."""
    with pytest.raises(ProtocolError):
        await call(read, runtime, f"[[simulate: {kind} after=3]]")


async def test_clean_cut_is_silent(runtime: Any, call: Any, base_url: str) -> None:
    """A clean HTTP end in mid-message passes for an end: what boto3 does not notice."""
    assert ["messageStart", "contentBlockDelta"] == await call(read, runtime, "[[simulate: cut-clean]]")
    _, data = await fetch(base_url, "converse-stream", "[[simulate: cut-clean]]")
    decoder = MessageDecoder()
    decoder.receive_data(data)
    assert 2 == len([*iter(decoder.next_message, None)])
    assert decoder.mid_message


async def test_a_cut_beyond_the_end_befalls_the_last_message(runtime: Any, call: Any) -> None:
    """A stream shorter than ``after`` is cut in its last message."""
    events = await call(read, runtime, "[[simulate: cut-clean after=999999]]")
    assert "messageStop" == events[-1]


async def test_reset_before_the_head(runtime: Any, call: Any, simulator: Simulator) -> None:
    """A reset before any answer closes the connection; the log has the request all the same."""
    with pytest.raises(ConnectionClosedError):
        await call(runtime.converse, modelId=NOVA, messages=user("[[simulate: reset]]"))
    assert "reset" == simulator.received[-1].fault


async def test_bad_gateway(runtime: Any, call: Any) -> None:
    """A 502 of HTML is code 502."""
    with pytest.raises(ClientError) as raised:
        await call(runtime.converse, modelId=NOVA, messages=user("[[simulate: bad-gateway]]"))
    assert "502" == raised.value.response["Error"]["Code"]


@pytest.mark.parametrize("action", ["converse", "converse-stream"])
async def test_unknown_operation(base_url: str, action: str) -> None:
    """A 200 may hold an UnknownOperationException and nothing else."""
    answer, data = await fetch(base_url, action, "[[simulate: unknown-operation]]")
    assert (200, "application/json") == (answer.status, answer.content_type)
    assert json.loads(data)["Output"]["__type"].endswith("#UnknownOperationException")


async def test_broken_json(runtime: Any, call: Any, base_url: str) -> None:
    """Half a JSON body in a whole HTTP answer is an empty success to boto3; in a stream the CRC is right."""
    answer = await call(runtime.converse, modelId=NOVA, messages=user("[[simulate: broken-json]]"))
    assert "output" not in answer
    _, data = await fetch(base_url, "converse-stream", "[[simulate: broken-json]]")
    found = messages_of(data)
    with pytest.raises(json.JSONDecodeError):
        json.loads(found[2].payload)
    assert "metadata" == found[-1].headers[":event-type"]


@pytest.mark.parametrize("kind", ["short-body", "cut", "cut-reset"])
@pytest.mark.parametrize("action", ["converse", "converse-stream"])
async def test_short_answers(base_url: str, kind: str, action: str) -> None:
    """An answer that ends before its length, or in mid-chunk, is an error to a careful client."""
    with pytest.raises(aiohttp.ClientError):
        await fetch(base_url, action, f"[[simulate: {kind}]]")


async def test_whole_answer_ended_cleanly(base_url: str) -> None:
    """A chunked whole answer may end cleanly in the middle of its JSON."""
    _, data = await fetch(base_url, "converse", "[[simulate: cut-clean]]")
    with pytest.raises(json.JSONDecodeError):
        json.loads(data)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # urllib3 forgets the socket it lost
@pytest.mark.parametrize("kind", ["silent", "silent-after-head"])
async def test_silence(base_url: str, make_client: Callable[..., Any], call: Any, kind: str) -> None:
    """Silence before or after the head is a read timeout; the simulator stops all the same."""
    client = make_client(base_url, read_timeout=0.1)
    with pytest.raises(ReadTimeoutError):
        await call(client.converse, modelId=NOVA, messages=user(f"[[simulate: {kind}]]"))


async def test_silence_in_a_stream_ends_with_the_simulator(simulator: Simulator) -> None:
    """A silent stream has sent what came before; stopping the simulator cuts it at once."""
    async with simulator.serve() as base_url:
        url, body = f"{base_url}{PATH}/converse-stream", converse_body("[[simulate: silent-after-head after=1]]")
        async with aiohttp.ClientSession() as http:
            async with http.post(exactly(url), data=body, headers=signed_headers(url, body)) as answer:
                first = await answer.content.readany()
                assert ["messageStart"] == [message.headers[":event-type"] for message in messages_of(first)]
                stopping = asyncio.create_task(simulator.stop())
                with pytest.raises(aiohttp.ClientPayloadError):
                    await answer.content.read()
                await stopping


@pytest.mark.parametrize("kind", ["slow", "silent", "silent-after-head"])
async def test_delays_end(runtime: Any, call: Any, kind: str) -> None:
    """A delay of some length is followed by the whole answer."""
    began = time.monotonic()
    answer = await call(runtime.converse, modelId=NOVA, messages=user(f"[[simulate: {kind} seconds=0.05]]"))
    assert "end_turn" == answer["stopReason"]
    assert 0.05 <= time.monotonic() - began


async def test_large_answers(base_url: str) -> None:
    """A large body is large and still valid; a large message is one message; a long header is long."""
    answer, data = await fetch(base_url, "converse", "[[simulate: large-body size=2000000]]")
    assert 2_000_000 < len(data)
    assert "end_turn" == json.loads(data)["stopReason"]
    _, data = await fetch(base_url, "converse-stream", "[[simulate: large-body size=2000000]]")
    assert 2_000_000 < len(data)
    assert "metadata" == messages_of(data)[-1].headers[":event-type"]
    _, data = await fetch(base_url, "converse-stream", "[[simulate: large-message size=99000000]]")
    assert 24_000_000 < max(len(message.payload) for message in messages_of(data)) < 24 * 1024 * 1024
    _, data = await fetch(base_url, "converse-stream", "[[simulate: large-message size=3000000]]")
    assert 3_000_000 < max(len(message.payload) for message in messages_of(data))
    answer, _ = await fetch(base_url, "converse", "[[simulate: long-header]]")
    assert 9_000 == len(answer.headers["x-amzn-bedrock-long"])
    answer, data = await fetch(base_url, "converse-stream", "[[simulate: long-header]]")
    assert 9_000 == len(answer.headers["x-amzn-bedrock-long"])
    assert "metadata" == messages_of(data)[-1].headers[":event-type"]


async def test_padding_is_invisible_to_boto3(runtime: Any, call: Any) -> None:
    """Large bodies and messages change nothing of what boto3 reads."""
    plain = await call(read, runtime, "hello")
    for kind in ("large-body", "large-message"):
        assert plain == await call(read, runtime, f"hello [[simulate: {kind} size=600000]]")


async def test_faults_match(base_url: str, simulator: Simulator) -> None:
    """Faults befall by model, operation and credentials, and as often as asked."""
    simulator.faults.add("throttle", model="anthropic.*", times=None)
    simulator.faults.add("quota", operation="ConverseStream", access_key_id=ACCESS_KEY_ID, times=2)
    simulator.faults.add("internal", access_key_id="AKIAANOTHER", times=None)
    statuses = [(await fetch(base_url, action))[0].status for action in ("converse", *["converse-stream"] * 3)]
    assert [200, 400, 400, 200] == statuses
    assert [("throttle", None), ("internal", None)] == [(fault.kind.value, left) for _, fault, left in simulator.faults]


def test_chances_follow_the_seed() -> None:
    """A fault of probability 0.3 befalls about that share of requests, the same ones for the same seed."""

    def befallen(seed: int) -> list[bool]:
        faults = Faults(seed)
        faults.add("throttle", times=None, probability=0.3)
        asked = {"operation": "Converse", "model": NOVA, "access_key_id": None, "streamed": False}
        return [faults.take(**asked) is not None for _ in range(1_000)]

    assert befallen(1) == befallen(1) != befallen(2)
    assert 250 < sum(befallen(1)) < 350


def test_stream_faults_wait_for_a_stream() -> None:
    """A fault of event streams is not spent on another operation."""
    for kind in STREAM_ONLY:
        faults = Faults(0)
        faults.add(kind)
        assert faults.take(operation="Converse", model=NOVA, access_key_id=None, streamed=False) is None
        found = faults.take(operation="ConverseStream", model=NOVA, access_key_id=None, streamed=True)
        assert found is not None and kind is found.kind


def test_wrong_faults_are_refused() -> None:
    """An unknown kind, chance or number is a ValueError that says so."""
    faults = Faults(0)
    for kind, options in (
        ("nonsense", {}),
        ("cut", {"probability": 2}),
        ("cut", {"times": -1}),
        ("slow", {"seconds": float("nan")}),
        ("slow", {"seconds": "1"}),
        ("cut", {"times": 1.5}),
        ("cut", {"after": True}),
        ("cut", {"size": 10**12}),
        ("cut", {"model": 5}),
        ("cut", {"probability": None}),
        ("exception", {"error_type": "two\nlines"}),
    ):
        with pytest.raises(ValueError):
            faults.add(kind, **options)
    with pytest.raises(TypeError):
        faults.add("cut", nonsense=1)
    assert 0 == len(faults)
    number = faults.add("cut")
    assert [True, False] == [faults.remove(number), faults.remove(number)]


@pytest.mark.parametrize(
    "text",
    [
        "[[simulate: nonsense]]",
        "[[simulate: cut after=x]]",
        "[[simulate: cut after=-1]]",
        "[[simulate: after=1]]",
        "[[simulate:]]",
        "[[simulate: tokens=many]]",
        "[[simulate: cut cut]]",
        "[[simulate: cut kind=slow]]",
        "[[simulate: cut",
        "[[other: cut]]",
        "[[simulate: exception error_type=a\0b]]",
    ],
)
def test_directives_not_understood_stay(text: str) -> None:
    """A directive that is not understood asks for nothing and stays in the text, so that it is seen."""
    found = parse_directives(f"before {text} after")
    assert (f"before {text} after", (), None, False) == (found.text, found.faults, found.tokens, found.reasoning)


def test_several_directives() -> None:
    """Several directives in one prompt are all read and all taken out."""
    found = parse_directives("a[[simulate: cut after=3]]b[[simulate:reasoning]]c[[ simulate: tokens=9 ]]d")
    assert "abcd" == found.text
    assert [("cut", 3)] == [(fault.kind.value, fault.after) for fault in found.faults]
    assert (9, True) == (found.tokens, found.reasoning)


async def test_control_path(base_url: str, simulator: Simulator) -> None:
    """Over HTTP faults are added, listed and cleared; what is wrong is a 400, a page's request a 403."""
    url = f"{base_url}/_simulator/faults"
    async with aiohttp.ClientSession() as http:
        async with http.post(url, json={"kind": "throttle", "model": "amazon.*", "times": 3}) as answer:
            assert (201, {"number": 1}) == (answer.status, await answer.json())
        async with http.get(url) as answer:
            listed = (await answer.json())["faults"]
        assert [(1, "throttle", 3)] == [(fault["number"], fault["kind"], fault["left"]) for fault in listed]
        assert 429 == (await fetch(base_url))[0].status
        for wrong in (
            b"{",
            b"[]",
            b"{}",
            b'{"kind": "x"}',
            b'{"kind": "cut", "x": 1}',
            b'{"kind": "cut", "times": "x"}',
        ):
            async with http.post(url, data=wrong) as answer:
                assert 400 == answer.status, wrong
        async with http.get(url, headers={"Origin": "http://example.org"}) as answer:
            assert 403 == answer.status
        async with http.delete(url) as answer:
            assert {"faults": []} == await answer.json()
    assert 0 == len(simulator.faults)


async def test_no_control_path_unless_asked_for() -> None:
    """Without ``control`` the control path is an unknown operation like any other."""
    async with Simulator(require_signature=False).serve() as base_url, aiohttp.ClientSession() as http:
        async with http.get(f"{base_url}/_simulator/faults") as answer:
            assert 404 == answer.status
