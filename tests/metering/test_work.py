"""Work that AWS counts in no answer, or in a trace only: what it is taken for, and in which state it is booked."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedrock_gateway.metering.meters import open_meter, read_body
from bedrock_gateway.metering.prices import Price, PriceTable
from bedrock_gateway.metering.rates import RateSet
from bedrock_gateway.metering.spend import Outcome, Settlement, State, settle, spend
from bedrock_gateway.metering.tally import Reading
from bedrock_gateway.metering.usage import Usage
from bedrock_gateway.metering.work import work_of
from bedrock_gateway.upstream.models import load_operations
from bedrock_gateway.wire.eventstream import encode_event, encode_exception
from bedrock_gateway.wire.operations import Operation

OPERATIONS = {operation.name: operation for operation in load_operations(["bedrock-runtime", "bedrock-agent-runtime"])}
HEADERS = {"content-type": "application/json"}
STREAM = "application/vnd.amazon.eventstream"
RERANK = "cohere.rerank-v3-5:0"
HAIKU, NOVA = "anthropic.claude-3-5-haiku-20241022-v1:0", "amazon.nova-lite-v1:0"


def booked(
    table: PriceTable, name: str, request: Any, model: str, reading: Reading | None, *, cut: bool = False
) -> Settlement:
    """Return how a call is booked whose request was this document."""
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    return settle(
        operation=OPERATIONS[name],
        reading=reading,
        price=table.find(model, "us-east-1") if model else None,
        outcome=Outcome.CUT if cut else Outcome.COMPLETE,
        flat=False,
        body_bytes=len(body),
        status=200,
        request_body=body,
        price_of=lambda one: table.find(one, "us-east-1"),
    )


def document(text: str) -> dict[str, Any]:
    """Return a document to be ranked."""
    return {"type": "INLINE", "inlineDocumentSource": {"type": "TEXT", "textDocument": {"text": text}}}


@pytest.mark.parametrize(
    ("request_", "queries"),
    [
        ({"queries": [{}], "sources": [document("short")] * 100}, 1),
        ({"queries": [{}], "sources": [document("short")] * 101}, 2),
        ({"queries": [{}], "sources": [document("x" * 2_000)] * 100}, 1),
        ({"queries": [{}], "sources": [document("x" * 2_001)] * 51}, 2),
        ({"queries": [{}, {}], "sources": [document("short")]}, 2),
        ({"queries": [], "sources": "nothing"}, 1),
        ({"sources": [{"inlineDocumentSource": {"jsonDocument": {"a": "x" * 3000}}}] * 100}, 2),
        ({}, 1),
    ],
)
def test_a_rerank_is_charged_by_queries(table: PriceTable, request_: dict[str, Any], queries: int) -> None:
    """Each query ranks a hundred chunks of 500 tokens; the answer counts none of them, so it is an estimate."""
    reading = read_body(OPERATIONS["Rerank"], HEADERS, b'{"results": []}')
    found = booked(table, "Rerank", request_, RERANK, reading)
    assert (State.ESTIMATED, queries * 2_000_000) == (found.state, found.spend)
    assert "units-from-request" in found.notes


@pytest.mark.parametrize("request_", [b"", b"nonsense", b"[]"])
def test_an_unreadable_request_is_unmetered(table: PriceTable, request_: bytes) -> None:
    """What nobody could read is never taken for nothing."""
    found = booked(table, "Rerank", request_, RERANK, Reading(terminal=True))
    assert (State.UNMETERED, None) == (found.state, found.spend)


@pytest.mark.parametrize(
    ("model", "model_input", "state", "usd"),
    [
        ("amazon.nova-reel-v1:1", {"taskType": "TEXT_VIDEO"}, State.ESTIMATED, 0.48),
        (
            "amazon.nova-reel-v1:1",
            {"taskType": "MULTI_SHOT_AUTOMATED", "videoGenerationConfig": {"durationSeconds": 30}},
            State.ESTIMATED,
            2.4,
        ),
        (
            "amazon.nova-reel-v1:1",
            {"taskType": "MULTI_SHOT_MANUAL", "multiShotManualParams": {"shots": [{}, {}, {}]}},
            State.ESTIMATED,
            1.44,
        ),
        ("luma.ray-v2:0", {"prompt": "x", "duration": "5s", "resolution": "540p"}, State.ESTIMATED, 3.75),
        ("luma.ray-v2:0", {"prompt": "x", "duration": "9s"}, State.ESTIMATED, 13.5),
        ("luma.ray-v2:0", {"prompt": "x", "duration": "foreversss"}, State.UNMETERED, None),
        (
            "amazon.nova-reel-v1:1",
            {"taskType": "TEXT_VIDEO", "videoGenerationConfig": {"durationSeconds": -1}},
            State.UNMETERED,
            None,
        ),
        ("twelvelabs.marengo-embed-2-7-v1:0", {"inputType": "video", "mediaSource": {}}, State.UNMETERED, None),
        ("some.model", {"taskType": "TEXT_VIDEO"}, State.UNPRICED, None),
    ],
)
def test_videos_are_charged_by_the_seconds_asked_for(
    table: PriceTable, model: str, model_input: dict[str, Any], state: State, usd: float | None
) -> None:
    """A job that begins now is priced by its request, where that tells, and is unmetered where it does not."""
    reading = read_body(OPERATIONS["StartAsyncInvoke"], HEADERS, b'{"invocationArn": "arn"}')
    found = booked(table, "StartAsyncInvoke", {"modelId": "m", "modelInput": model_input}, model, reading)
    assert (state, None if usd is None else round(usd * 10**9)) == (found.state, found.spend)


def test_retrieval(table: PriceTable) -> None:
    """What a search of a knowledge base costs nobody tells; a reranker in it is the part that is known."""
    plain = {"retrievalQuery": {"text": "x"}}
    ranked = plain | {"retrievalConfiguration": {"vectorSearchConfiguration": {"rerankingConfiguration": {}}}}
    found = booked(table, "Retrieve", plain, "", Reading(terminal=True))
    assert (State.UNMETERED, None, ("retrieval-untold",)) == (found.state, found.spend, found.notes)
    found = booked(table, "Retrieve", ranked, RERANK, Reading(terminal=True))
    assert (State.ESTIMATED, 2_000_000) == (found.state, found.spend)
    assert {"units-from-request", "retrieval-untold"} == set(found.notes)


def test_an_answer_out_of_a_knowledge_base(table: PriceTable) -> None:
    """Tokens of prompt, citations and answer are estimated from their text: AWS counts none of them."""
    answer = {
        "output": {"text": "x" * 400},
        "citations": [{"retrievedReferences": [{"content": {"text": "y" * 4000}}]}],
    }
    body = json.dumps(answer).encode()
    request = {"input": {"text": "z" * 100}}
    found = booked(
        table, "RetrieveAndGenerate", request, HAIKU, read_body(OPERATIONS["RetrieveAndGenerate"], HEADERS, body)
    )
    assert found.usage is not None
    assert (State.ESTIMATED, 100) == (found.state, found.usage.output_tokens)
    read = len(json.dumps(request)) + len(body) - 400
    assert -(-read // 4) == found.usage.input_tokens
    assert spend(found.usage, table.find(HAIKU, "us-east-1")) == found.spend  # type: ignore[arg-type]


@pytest.mark.parametrize("guarded", [{}, {"guardrailAction": "NONE"}])
@pytest.mark.parametrize("said", [0, 1, 256, 257, 5000, 100_000])
@pytest.mark.parametrize("cited", [10, 70_000])
def test_the_same_while_it_passes(said: int, cited: int, guarded: dict[str, str]) -> None:
    """An answer that is too large to be held is measured as one that is read whole, however it comes in pieces."""
    answer = {
        "citations": [{"retrievedReferences": [{"content": {"text": "y" * cited}, "output": "z" * 300}]}],
        "output": {"text": "x" * said},
        "sessionId": "s" * 300,
    }
    body = json.dumps(answer | guarded).encode()
    meter = open_meter(OPERATIONS["RetrieveAndGenerate"], "application/json", HEADERS)
    for at in range(0, len(body), 999):
        meter.receive_data(body[at : at + 999])
    meter.receive_eof()
    assert read_body(OPERATIONS["RetrieveAndGenerate"], HEADERS, body) == meter.reading()


def test_an_answer_that_breaks_off(table: PriceTable) -> None:
    """What came of it is taken for what was read: nothing is metered as nothing."""
    meter = open_meter(OPERATIONS["RetrieveAndGenerate"], "application/json", HEADERS)
    meter.receive_data(b'{"citations": ["' + b"y" * 100_000)
    meter.receive_eof()
    found = booked(table, "RetrieveAndGenerate", {}, HAIKU, meter.reading(), cut=True)
    assert found.usage is not None
    assert (State.ESTIMATED, "body-unreadable" in found.notes) == (found.state, True)
    assert (-(-100_018 // 4), 0) == (found.usage.input_tokens, found.usage.output_tokens)


def test_the_same_as_a_stream(table: PriceTable) -> None:
    """Output and citations of a stream are counted as they pass."""
    data = encode_event("output", json.dumps({"text": "x" * 388}).encode())
    data += encode_event("citation", b'{"citation":{}}') + encode_event("guardrail", b'{"action":"NONE"}')
    meter = open_meter(OPERATIONS["RetrieveAndGenerateStream"], STREAM, {})
    for byte in data:
        meter.receive_data(bytes([byte]))
    meter.receive_eof()
    found = booked(table, "RetrieveAndGenerateStream", {"input": {"text": "hi"}}, HAIKU, meter.reading())
    assert found.usage is not None
    assert (State.ESTIMATED, 100) == (found.state, found.usage.output_tokens)


def trace(part: str, **inner: Any) -> bytes:
    """Return a trace message of an agent's stream."""
    return encode_event("trace", json.dumps({"agentId": "A", "trace": {part: inner}}).encode())


def asked(part: str, trace_id: str, model: str) -> bytes:
    """Return the message that a model is asked."""
    return trace(part, modelInvocationInput={"traceId": trace_id, "foundationModel": model, "text": "prompt"})


def answered(part: str, trace_id: str, given: int, made: int) -> bytes:
    """Return the message that a model has answered."""
    metadata = {"usage": {"inputTokens": given, "outputTokens": made}}
    return trace(part, modelInvocationOutput={"traceId": trace_id, "metadata": metadata})


def read(data: bytes, sizes: list[int] | None = None, name: str = "InvokeAgent") -> Reading:
    """Return the reading of an agent's stream, cut into pieces."""
    meter = open_meter(OPERATIONS[name], STREAM, {})
    at = 0
    for size in itertools.cycle(sizes or [len(data)]):
        if at >= len(data):
            break
        meter.receive_data(data[at : at + size])
        at += size
    meter.receive_eof()
    return meter.reading()


#: An agent that thinks with one model, routes with another, and says the figures again in an observation.
CONVERSATION = (
    asked("routingClassifierTrace", "t1", NOVA)
    + answered("routingClassifierTrace", "t1", 1000, 10)
    + asked("orchestrationTrace", "t2", f"arn:aws:bedrock:us-east-1::foundation-model/{HAIKU}")
    + answered("orchestrationTrace", "t2", 2000, 300)
    + trace("orchestrationTrace", observation={"finalResponse": {"metadata": {"usage": {"inputTokens": 9**9}}}})
    + encode_event("chunk", b'{"bytes":"dXNhZ2UgaXMgbm90IEpTT04gaGVyZQ=="}')
    + asked("postProcessingTrace", "t3", f"arn:aws:bedrock:us-east-1::foundation-model/{HAIKU}")
    + answered("postProcessingTrace", "t3", 500, 50)
)


def arn_of(table: PriceTable, model: str) -> Any:
    """Return the price of a model by its ARN or id."""
    return table.find(model.rpartition("/")[2], "us-east-1")


def settled(table: PriceTable, reading: Reading | None, *, cut: bool = False, guarded: bool = False) -> Settlement:
    """Return how an agent's call is booked."""
    return settle(
        operation=OPERATIONS["InvokeAgent"],
        reading=reading,
        price=None,
        outcome=Outcome.CUT if cut else Outcome.COMPLETE,
        flat=False,
        body_bytes=10,
        status=200,
        request_body=b"{}",
        guarded=guarded,
        price_of=lambda model: arn_of(table, model),
    )


def test_each_model_of_an_agent_at_its_own_price(table: PriceTable) -> None:
    """The invocations of a trace are summed up by model, and what observations say again is passed over."""
    found = settled(table, read(CONVERSATION))
    nova = spend(Usage(input_tokens=1000, output_tokens=10), arn_of(table, NOVA))
    haiku = spend(Usage(input_tokens=2500, output_tokens=350), arn_of(table, HAIKU))
    assert found.usage is not None
    assert (State.METERED, nova + haiku) == (found.state, found.spend)
    assert (3500, 360) == (found.usage.input_tokens, found.usage.output_tokens)
    assert NOVA in (found.usage.raw or "")


@given(st.lists(st.integers(1, 200), min_size=1, max_size=40))
def test_however_a_stream_is_cut_into_pieces(sizes: list[int]) -> None:
    """The reading hangs on the bytes alone."""
    assert read(CONVERSATION) == read(CONVERSATION, sizes)


@pytest.mark.parametrize(
    ("data", "state", "note"),
    [
        (encode_event("chunk", b'{"bytes":"aGk="}'), State.UNMETERED, "no-trace"),
        (b"", State.UNMETERED, "no-trace"),
        (CONVERSATION + encode_event("x", b"{}")[:-2], State.ESTIMATED, "event-stream:TruncatedMessage"),
        (CONVERSATION + encode_exception("throttlingException", "x"), State.ESTIMATED, "by-model"),
        (
            asked("orchestrationTrace", "t", "no.such-model") + answered("orchestrationTrace", "t", 1, 1),
            State.UNPRICED,
            "no-price:no.such-model",
        ),
        (
            CONVERSATION
            + asked("orchestrationTrace", "t", "no.such-model")
            + answered("orchestrationTrace", "t", 1, 1),
            State.INCOMPLETE,
            "no-price:no.such-model",
        ),
        (CONVERSATION + trace("guardrailTrace", action="INTERVENED"), State.INCOMPLETE, "guardrail-unpriced"),
        (CONVERSATION + encode_event("trace", b'{"trace": {"modelInvocation'), State.ESTIMATED, "event-unreadable"),
        (CONVERSATION + encode_event("trace", b'["modelInvocation"]'), State.METERED, "by-model"),
        (
            CONVERSATION
            + trace("orchestrationTrace", modelInvocationOutput={"metadata": {"usage": {"inputTokens": "7"}}}),
            State.ESTIMATED,
            "no-count:inputTokens",
        ),
    ],
)
def test_states_of_an_agents_call(table: PriceTable, data: bytes, state: State, note: str) -> None:
    """Without a trace nothing is known; cut, unpriced or guarded parts leave the state that says so."""
    found = settled(table, read(data))
    assert (state, True) == (found.state, note in found.notes)
    assert (found.spend is None) == (state in (State.UNMETERED, State.UNPRICED))


def flow(**trace: Any) -> bytes:
    """Return a trace message of a flow's stream."""
    return encode_event("flowTraceEvent", json.dumps({"trace": trace}).encode())


def action(operation: str, service: str = "bedrock", **more: Any) -> bytes:
    """Return the message that a node of a flow has called something."""
    return flow(nodeActionTrace={"nodeName": "N", "serviceName": service, "operationName": operation, **more})


#: A node that runs a prompt, and one that lets an agent work.
PROMPT = action(
    "Converse",
    operationRequest={"modelId": NOVA, "messages": []},
    operationResponse={
        "stopReason": "end_turn",
        "usage": {"inputTokens": 144, "outputTokens": 6, "totalTokens": 150, "cacheDetails": []},
    },
)
WORKER = flow(
    nodeDependencyTrace={
        "nodeName": "A",
        "traceElements": {
            "agentTraces": [
                {"trace": {"orchestrationTrace": {"modelInvocationInput": {"traceId": "t", "foundationModel": HAIKU}}}},
                {
                    "trace": {
                        "orchestrationTrace": {
                            "modelInvocationOutput": {
                                "traceId": "t",
                                "metadata": {"usage": {"inputTokens": 2000, "outputTokens": 300}},
                            }
                        }
                    }
                },
                {"trace": {"nodeDependencyTrace": {}}},
                "nothing",
            ]
        },
    }
)
ENDED = encode_event("flowCompletionEvent", b'{"completionReason":"SUCCESS"}')


@pytest.mark.parametrize(
    ("data", "state", "models"),
    [
        (ENDED, State.UNMETERED, ""),
        (PROMPT + ENDED, State.METERED, "n"),
        (PROMPT + action("Invoke", "lambda") + flow(nodeInputTrace={"nodeActionTrace": 1}), State.METERED, "n"),
        (PROMPT + action("InvokeAgent") + WORKER + ENDED, State.METERED, "nh"),
        (WORKER + action("InvokeAgent", "bedrock-agent-runtime") + ENDED, State.METERED, "h"),
        (PROMPT + action("InvokeAgent", "bedrock-agent-runtime") + ENDED, State.INCOMPLETE, "n"),
        (PROMPT + action("InvokeModel") + ENDED, State.INCOMPLETE, "n"),
        (action("InvokeModel") + ENDED, State.UNMETERED, ""),
        (PROMPT[:-1], State.UNMETERED, ""),
    ],
)
def test_what_the_trace_of_a_flow_tells(table: PriceTable, data: bytes, state: State, models: str) -> None:
    """Prompts and agents of a flow cost what their models do; what called a model and told nothing is named."""
    found = settled(table, read(data, name="InvokeFlow"))
    each = {
        "n": spend(Usage(input_tokens=144, output_tokens=6), arn_of(table, NOVA)),
        "h": spend(Usage(input_tokens=2000, output_tokens=300), arn_of(table, HAIKU)),
    }
    assert (state, sum(each[model] for model in models) if models else None) == (found.state, found.spend)
    assert (state is State.INCOMPLETE) == ("models-untold" in found.notes)


def test_each_invocation_in_its_own_band(table: PriceTable) -> None:
    """Two long requests to a model are none above a band that neither is in, and money is rounded once."""
    sonnet = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"

    for tokens in (150_001, 250_001):
        once = asked("orchestrationTrace", "t", sonnet) + answered("orchestrationTrace", "t", tokens, 1)
        rate, made, *_ = arn_of(table, sonnet).rates("default", "standard", tokens).rates
        found = settled(table, read(2 * once))
        assert (State.METERED, (2 * (tokens * rate + made) + 500_000) // 1_000_000) == (found.state, found.spend)


def test_more_invocations_than_are_kept(table: PriceTable) -> None:
    """Those beyond are summed up by model: nothing is lost, and where that hides the band of a price it is said."""
    for model, state in ((NOVA, State.METERED), ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", State.ESTIMATED)):
        reading = read(
            b"".join(
                asked("orchestrationTrace", f"t{n}", model) + answered("orchestrationTrace", f"t{n}", 1000, 1)
                for n in range(1000)
            )
        )
        found = settled(table, reading)
        assert found.usage is not None
        assert (513, 488) == (len(reading.invocations), reading.invocations[-1].times)
        assert (1_000_000, 1000, state) == (found.usage.input_tokens, found.usage.output_tokens, found.state)
        assert (state is State.ESTIMATED) == ("band-untold" in found.notes)
        assert spend(Usage(input_tokens=1000, output_tokens=1), arn_of(table, model)) * 1000 == found.spend


def test_a_guardrail_that_an_agents_caller_asked_for(table: PriceTable) -> None:
    """Its units are told in no trace, so what is told is part of the bill."""
    found = settled(table, read(CONVERSATION), guarded=True)
    assert (State.INCOMPLETE, True) == (found.state, "guardrail-unpriced" in found.notes)


def test_a_rate_that_is_missing_for_one_of_several() -> None:
    """Tokens without a rate are never taken for nothing."""
    price = Price(sets=(RateSet(input=10**9),))
    found = settle(
        operation=OPERATIONS["InvokeAgent"],
        reading=read(CONVERSATION),
        price=None,
        outcome=Outcome.COMPLETE,
        flat=False,
        body_bytes=2,
        price_of=lambda model: price,
    )
    assert (State.INCOMPLETE, 3500 * 1000, True) == (found.state, found.spend, "no-rate:output" in found.notes)


def test_a_stream_of_many_models_is_bounded() -> None:
    """However many models a stream names, what is kept of it has an end."""
    data = b"".join(
        asked("orchestrationTrace", f"t{n}", f"m.{n}") + answered("orchestrationTrace", f"t{n}", 1, 1)
        for n in range(400)
    )
    reading = read(data)
    assert (32, "too-many-models") == (len(reading.invocations), reading.fault)
    pending = read(b"".join(asked("orchestrationTrace", f"t{n}", "m.x") for n in range(2000)))
    assert (None, None) == (pending.usage, pending.fault)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("trace", "orchestrationTrace", "modelInvocationOutput", "metadata", "usage", "inputTokens", "x"),
                    *("nodeActionTrace", "operationResponse", "nodeDependencyTrace", "traceElements", "agentTraces"),
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@given(JSON)
def test_no_trace_breaks_the_meter(value: Any) -> None:
    """Whatever stands in a trace, the meter never fails by itself."""
    reading = read(encode_event("trace", b'{"modelInvocation":1,"trace":' + json.dumps(value).encode() + b"}"))
    assert reading.fault is None or not reading.fault.startswith("meter:")


@given(st.sampled_from(sorted(OPERATIONS)), JSON)
def test_no_request_breaks_the_estimate(name: str, value: Any) -> None:
    """Whatever stands in a request, an estimate or nothing comes of it."""
    operation: Operation = OPERATIONS[name]
    work_of(operation, json.dumps(value).encode(), None)
