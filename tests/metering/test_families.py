"""Recorded answers of every family come to the usage and the spend worked out by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest
from recorded_answers import STREAMS, WHOLE, Recorded, Streamed

from bedrock_gateway.metering.families import read_document, read_headers
from bedrock_gateway.metering.meters import open_meter, read_body
from bedrock_gateway.metering.prices import PriceTable
from bedrock_gateway.metering.spend import Outcome, settle
from bedrock_gateway.metering.tally import Tally
from bedrock_gateway.metering.usage import Usage
from bedrock_gateway.wire.operations import Operation

Operations = dict[str, Operation]


def told(usage: Usage | None) -> dict[str, Any]:
    """Fields of a usage that say something, without AWS's own JSON."""
    if usage is None:
        return {}
    fields = {name: getattr(usage, name) for name in Usage.__slots__ if name not in ("raw", "__weakref__")}
    return {name: value for name, value in fields.items() if value}


@pytest.mark.parametrize("answer", WHOLE, ids=lambda answer: answer.name)
def test_whole_answers(answer: Recorded, operations: Operations, table: PriceTable) -> None:
    """A whole answer gives the usage AWS told, and the spend to the nano-dollar."""
    body = json.dumps(answer.body).encode()
    reading = read_body(operations[answer.operation], answer.headers, body)
    settlement = settle(
        operation=operations[answer.operation],
        reading=reading,
        price=table.find(answer.model, answer.region),
        outcome=Outcome.COMPLETE,
        flat=False,
        body_bytes=len(answer.request),
        status=200,
        request_body=answer.request,
    )
    assert (answer.usage, answer.spend, answer.state) == (told(settlement.usage), settlement.spend, settlement.state)
    assert reading.terminal and not reading.unreadable and reading.fault is None


@pytest.mark.parametrize("answer", WHOLE, ids=lambda answer: answer.name)
def test_whole_answers_that_stream_past(answer: Recorded, operations: Operations) -> None:
    """The meter of a body that streams past reads what a single parse reads."""
    operation = operations[answer.operation]
    body = json.dumps(answer.body).encode()
    meter = open_meter(operation, "application/json; charset=utf-8", answer.headers)
    for at in range(0, len(body), 17):
        meter.receive_data(body[at : at + 17])
    assert not meter.mid_message
    meter.receive_eof()
    assert read_body(operation, answer.headers, body) == meter.reading()


@pytest.mark.parametrize("answer", STREAMS, ids=lambda answer: answer.name)
def test_streams(answer: Streamed, operations: Operations, table: PriceTable) -> None:
    """A stream gives the usage its events told, and the spend to the nano-dollar."""
    operation = operations[answer.operation]
    meter = open_meter(operation, "application/vnd.amazon.eventstream", answer.headers)
    meter.receive_data(answer.data)
    meter.receive_eof()
    reading = meter.reading()
    settlement = settle(
        operation=operation,
        reading=reading,
        price=table.find(answer.model, answer.region),
        outcome=Outcome.COMPLETE,
        flat=False,
        body_bytes=2,
        status=200,
    )
    assert (answer.usage, answer.spend, "metered") == (told(settlement.usage), settlement.spend, settlement.state)
    assert reading.terminal and not meter.mid_message and reading.fault is None


@pytest.mark.parametrize("answer", STREAMS, ids=lambda answer: answer.name)
def test_the_same_without_the_last_message(answer: Streamed, operations: Operations, table: PriceTable) -> None:
    """A stream that ends cleanly before its last message is never booked as exact."""
    meter = open_meter(operations[answer.operation], "application/vnd.amazon.eventstream", answer.headers)
    meter.receive_data(b"".join(answer.messages[:-1]))
    meter.receive_eof()
    settlement = settle(
        operation=operations[answer.operation],
        reading=meter.reading(),
        price=table.find(answer.model, answer.region),
        outcome=Outcome.COMPLETE,
        flat=False,
        body_bytes=400,
        status=200,
    )
    assert settlement.state == "estimated"
    assert "no-proper-end" in settlement.notes
    assert settlement.spend is not None and settlement.spend > 0


@pytest.mark.parametrize(
    "usage, flags",
    [
        ({"inputTokens": 1, "outputTokens": 1, "totalTokens": 2, "cacheWriteInputTokens": 0}, ()),
        ({"inputTokens": 1, "outputTokens": 1, "totalTokens": 9}, ("usage-total-mismatch",)),
        ({"cacheWriteInputTokens": 9, "cacheDetails": []}, ("cache-ttl-assumed",)),
        ({"cacheWriteInputTokens": 9, "cacheDetails": [{"ttl": "5m", "inputTokens": 4}]}, ("cache-ttl-assumed",)),
        ({"cacheWriteInputTokens": 3, "cacheDetails": [{"ttl": "1h", "inputTokens": 4}]}, ("cache-detail-mismatch",)),
        ({"cacheWriteInputTokens": 4, "cacheDetails": [{"ttl": "9d", "inputTokens": 4}]}, ("cache-ttl-assumed",)),
        ({"inputTokens": 1, "more": ["x" * 5000]}, ("raw-usage-dropped",)),
    ],
)
def test_flags(usage: dict[str, Any], flags: tuple[str, ...]) -> None:
    """What had to be assumed, or does not add up, is kept as a flag of the usage."""
    tally = Tally()
    read_document({"usage": usage}, tally)
    read = tally.usage()
    assert read is not None
    assert flags == read.flags


@pytest.mark.parametrize(
    "document, fault",
    [
        ({"usage": {"inputTokens": "12"}}, "no-count:inputTokens"),
        ({"usage": {"inputTokens": -1}}, "no-count:inputTokens"),
        ({"usage": {"inputTokens": 1.5}}, "no-count:inputTokens"),
        ({"usage": {"inputTokens": True}}, "no-count:inputTokens"),
        ({"usage": {"inputTokens": 10**13}}, "no-count:inputTokens"),
        ({"usage": {"outputTokens": []}}, "no-count:outputTokens"),
        ({"usage": 7}, "no-count:usage"),
        ({"usage": {"cacheDetails": {"ttl": "5m"}}}, "no-count:cacheDetails"),
        ({"usage": {"cacheDetails": [{"ttl": "5m"}]}}, "no-count:cacheDetails"),
        ({"usage": {"cacheDetails": [5]}}, "no-count:cacheDetails"),
        ({"usage": {"cache_creation": [1]}}, "no-count:cache_creation"),
        ({"usage": {"cache_creation": {"ephemeral_1h_input_tokens": "1"}}}, "no-count:ephemeral_1h_input_tokens"),
        ({"usage": {"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 6}}}, "no-count:cached_tokens"),
        ({"usage": {"prompt_tokens_details": {"cached_tokens": 6}}}, "no-count:cached_tokens"),
        ({"usage": {"prompt_tokens": 5, "prompt_tokens_details": "6"}}, "no-count:cached_tokens"),
        ({"usage": {"billed_units": 5}}, "no-count:billed_units"),
        ({"meta": {"billed_units": {"input_tokens": 1.5}}}, "no-count:input_tokens"),
        ({"usage": {"topicPolicyUnits": "1"}}, "no-count:guardrail.topicPolicyUnits"),
        ({"usage": {"\ud800Units": 1}}, "no-count:name"),
        ({"usage": {"x" * 100 + "Units": 1}}, "no-count:name"),
        ({"usage": {"contentFilter": {"textUnits": -1}}}, "no-count:guardrail_checks.contentFilter"),
        ({"usage": {f"a{n}Units": n for n in range(70)}}, "no-count:meters"),
        ({"results": [{"tokenCount": 1}, {"tokenCount": "2"}]}, "no-count:tokenCount"),
        ({"images": "iVBORw0KGgo="}, "no-count:images"),
        ({"prompt_token_count": "1"}, "no-count:prompt_token_count"),
        (
            {"trace": {"guardrail": {"inputAssessment": {"g": {"invocationMetrics": {"usage": {"aUnits": "1"}}}}}}},
            "no-count:invocationMetrics.usage",
        ),
        ({"amazon-bedrock-invocationMetrics": []}, "no-count:amazon-bedrock-invocationMetrics"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_values_of_a_wrong_type_are_faults(document: dict[str, Any], fault: str) -> None:
    """A value that is no count is a fault that names its field, and no count."""
    tally = Tally()
    read_document(document, tally)
    assert fault == tally.fault
    tally.reading()


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        "usage",
        {"usage": None},
        {"usage": {"inputTokens": None, "cacheDetails": None, "cache_creation": None, "totalTokens": None}},
        {"usage": {"prompt_tokens_details": None, "input_tokens_details": {"cached_tokens": None}}},
        {"message": "text", "metadata": [], "meta": "1", "trace": "no", "results": "no", "type": 7, "stopReason": {}},
        {"results": [1, {"index": 0, "relevance_score": 0.5}, {"tokenCount": None}]},
        {"serviceTier": "flex", "performanceConfig": {"latency": 5}, "trace": {"promptRouter": {"invokedModelId": 5}}},
    ],
    ids=str,
)
def test_what_tells_nothing(document: object) -> None:
    """Null, absent and unrelated members are neither usage nor a fault."""
    tally = Tally()
    read_document(document, tally)
    assert (tally.usage(), tally.fault) == (None, None)


def test_null_and_absent_never_overwrite() -> None:
    """A later object without a field, or with null in it, leaves the earlier value."""
    tally = Tally()
    read_document({"usage": {"inputTokens": 5, "outputTokens": 1, "cacheReadInputTokens": 7}}, tally)
    read_document({"usage": {"inputTokens": None, "outputTokens": 9}}, tally)
    read_document({"usage": {}}, tally)
    usage = tally.usage()
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens) == (5, 9, 7)


def test_headers_are_read_in_any_spelling_of_a_count() -> None:
    """Counts with spaces around are counts; signs, words, other digits and very long ones are faults."""
    for text, fault in (
        (" 12 ", None),
        ("-1", "no-count:x-amzn-bedrock-input-token-count"),
        ("1.0", "no-count:x-amzn-bedrock-input-token-count"),
        ("", "no-count:x-amzn-bedrock-input-token-count"),
        ("²", "no-count:x-amzn-bedrock-input-token-count"),
        ("9" * 5000, "no-count:x-amzn-bedrock-input-token-count"),
    ):
        tally = Tally()
        read_headers({"x-amzn-bedrock-input-token-count": text}, tally)
        assert fault == tally.fault
        usage = tally.usage()
        assert (12 if fault is None else None) == (None if usage is None else usage.input_tokens)


def test_tier_latency_and_router() -> None:
    """Service tier, latency mode and the model a prompt router chose are read as answered, body over header."""
    tally = Tally()
    read_headers(
        {"x-amzn-bedrock-service-tier": "Priority", "x-amzn-bedrock-performanceconfig-latency": "optimized"}, tally
    )
    assert (tally.service_tier, tally.latency_mode) == ("priority", "optimized")
    read_document(
        {
            "serviceTier": {"type": "flex"},
            "performanceConfig": {"latency": "standard"},
            "trace": {"promptRouter": {"invokedModelId": "arn:aws:bedrock:us-east-1::foundation-model/x\ud800"}},
        },
        tally,
    )
    assert (tally.service_tier, tally.latency_mode) == ("flex", "standard")
    assert tally.invoked_model == "arn:aws:bedrock:us-east-1::foundation-model/x?"
    read_document({"serviceTier": {"type": "a\nb"}}, tally)
    assert tally.service_tier == "other"


def test_guardrails_on_invoke() -> None:
    """A guardrail on InvokeModel is seen by its action; its units come with the trace."""
    tally = Tally()
    read_document({"amazon-bedrock-guardrailAction": "NONE", "usage": {"input_tokens": 1}}, tally)
    assert tally.reading().guardrail_unpriced
    read_document(
        {
            "amazon-bedrock-trace": {
                "guardrail": {"input": {"g": {"invocationMetrics": {"usage": {"topicPolicyUnits": 1}}}}}
            }
        },
        tally,
    )
    assert not tally.reading().guardrail_unpriced
    assert tally.meters == {"guardrail.topicPolicyUnits": 1}


def test_a_trace_of_any_depth_and_shape() -> None:
    """Units are found where AWS puts them; a trace deeper than AWS's, or with other things in it, tells none."""
    deep: Any = {"invocationMetrics": {"usage": {"topicPolicyUnits": 1}}}
    for _ in range(12):
        deep = {"x": [deep]}
    usage = {"topicPolicyUnits": 2, "contentPolicyUnits": None, "name": "x"}
    trace = {"deep": deep, "outputs": [[{"invocationMetrics": {"usage": usage}}], 5], "a": {"invocationMetrics": {}}}
    tally = Tally()
    read_document({"trace": {"guardrail": trace}}, tally)
    expected = {"guardrail.topicPolicyUnits": 2}
    assert expected == tally.meters
    assert tally.fault is None


def test_raw_usage_nobody_can_write_is_dropped() -> None:
    """A usage object of more levels, or more digits, than Python writes is flagged and not kept."""
    deep: Any = []
    for _ in range(900):
        deep = [deep]
    tally = Tally()
    tally.sources["usage"] = {"x": 10**5000, "y": deep}
    tally.put(0, 5, "inputTokens")
    usage = tally.usage()
    assert usage is not None
    expected = ("raw-usage-dropped",)
    assert expected == usage.flags
    assert expected == (tally.usage() or usage).flags
    assert usage.raw is None


def test_raw_usage_is_kept_as_told() -> None:
    """AWS's own usage JSON is kept compact; several of them under their names."""
    tally = Tally()
    read_document({"usage": {"inputTokens": 5, "x": {"y": [1, None]}}}, tally)
    usage = tally.usage()
    assert usage is not None
    assert usage.raw == '{"inputTokens":5,"x":{"y":[1,null]}}'
    read_document({"message": {"usage": {"input_tokens": 5}}}, tally)
    usage = tally.usage()
    assert usage is not None and usage.raw is not None
    assert json.loads(usage.raw) == {"usage": {"inputTokens": 5, "x": {"y": [1, None]}}, "message": {"input_tokens": 5}}
