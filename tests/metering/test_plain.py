"""The short way of a plain Converse answer: whatever it reads, the long way reads the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_gateway.metering.families import TOP_LEVEL_KEYS
from bedrock_gateway.metering.meters import read_whole
from bedrock_gateway.metering.plain import read_plain
from bedrock_gateway.metering.tally import MAX_QUANTITY, Reading
from bedrock_gateway.metering.usage import Usage

HEADERS = {"content-type": "application/json", "x-amzn-requestid": "77c04b9e"}
PLAIN: dict[str, Any] = {
    "metrics": {"latencyMs": 1834},
    "output": {"message": {"content": [{"text": "The tide."}], "role": "assistant"}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 412, "outputTokens": 188, "totalTokens": 600},
}


def _summed(usage: dict[str, Any]) -> dict[str, Any]:
    """Return a usage whose total is right where it is 0: otherwise hardly one of those generated would be plain."""
    if usage.get("totalTokens") == 0 and type(usage["totalTokens"]) is int:
        parts = [usage.get(name) for name in ("inputTokens", "outputTokens", "cacheReadInputTokens")]
        usage["totalTokens"] = sum(part for part in parts if type(part) is int)
    return usage


NAMES = [
    "inputTokens", "outputTokens", "totalTokens", "cacheReadInputTokens", "cacheWriteInputTokens", "cacheDetails",
    "inputTokenCount", "contentPolicyUnits", 'a"b',
]  # fmt: skip
COUNTS = st.integers(0, 9) | st.sampled_from(
    [-1, MAX_QUANTITY, MAX_QUANTITY + 1, 10**30, True, False, None, 1.0, "1", [], {}]
)
USAGES = st.dictionaries(st.sampled_from(NAMES), COUNTS).map(_summed)
MEMBERS = {
    "output": st.just({"message": {}}),
    "metrics": st.just({"latencyMs": 1}),
    "additionalModelResponseFields": st.just({"usage": {"inputTokens": 5}}),
    "stopReason": st.sampled_from(["end_turn", "guardrail_intervened", None, 5]),
    "usage": USAGES | st.sampled_from([None, [], "usage", {}]),
    "serviceTier": st.just({"type": "flex"}),
    "performanceConfig": st.just({"latency": "optimized"}),
    "trace": st.just({"guardrail": {}}),
    "results": st.just([{"tokenCount": 5}]),
    "amazon-bedrock-guardrailAction": st.just("NONE"),
}
HEADER_SETS = st.dictionaries(
    st.sampled_from(
        [
            "content-type",
            "x-amzn-requestid",
            "x-amzn-bedrock-input-token-count",
            "x-amzn-bedrock-output-token-count",
            "x-amzn-bedrock-cache-read-input-token-count",
            "x-amzn-bedrock-cache-write-input-token-count",
            "x-amzn-bedrock-service-tier",
            "x-amzn-bedrock-performanceconfig-latency",
        ]
    ),
    st.sampled_from(["", "7", "flex", "optimized"]),
    max_size=2,
)


@settings(deadline=None, max_examples=200)
@given(HEADER_SETS, st.fixed_dictionaries({}, optional=MEMBERS) | st.sampled_from([None, [], 5, "usage"]))
def test_same_as_the_read_whole(headers: dict[str, str], document: object) -> None:
    """The short way yields what the long way does, or nothing."""
    short = read_plain(headers, document)
    assert short is None or read_whole(headers, document) == short


@settings(deadline=None, max_examples=200)
@given(
    inputs=st.integers(0, MAX_QUANTITY),
    outputs=st.integers(0, MAX_QUANTITY),
    read=st.none() | st.integers(0, MAX_QUANTITY),
    written=st.sampled_from([None, 0]),
    order=st.randoms(use_true_random=False),
)
def test_plain_answers_are_read(inputs: int, outputs: int, read: int | None, written: int | None, order: Any) -> None:
    """Every plain answer goes the short way, whatever its counts and their order, and comes to the same."""
    usage = {"inputTokens": inputs, "outputTokens": outputs, "totalTokens": inputs + outputs + (read or 0)}
    if read is not None:
        usage["cacheReadInputTokens"] = read
    if written is not None:
        usage["cacheWriteInputTokens"] = written
    items = list(usage.items())
    order.shuffle(items)
    document = PLAIN | {"usage": dict(items)}
    if usage["totalTokens"] > MAX_QUANTITY:
        assert read_plain(HEADERS, document) is None
        return
    short = read_plain(HEADERS, document)
    assert read_whole(HEADERS, document) == short
    assert (
        Reading(
            usage=Usage(
                input_tokens=inputs,
                output_tokens=outputs,
                cache_read_tokens=read or 0,
                raw=json.dumps(dict(items), separators=(",", ":")),
            ),
            terminal=True,
        )
        == short
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"usage": {"inputTokens": 412, "outputTokens": 188, "totalTokens": 601}},
        {"usage": {"inputTokens": 412, "outputTokens": 188}},
        {"usage": {"inputTokens": 412, "outputTokens": True, "totalTokens": 413}},
        {"usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 8, "cacheWriteInputTokens": 5}},
        {"stopReason": "guardrail_intervened"},
        {"trace": {}},
        {"serviceTier": {"type": "flex"}},
        {"anythingNew": 1},
    ],
    ids=["total", "no total", "bool", "written", "guardrail", "trace", "tier", "new member"],
)
def test_out_of_the_ordinary(changes: dict[str, Any]) -> None:
    """Whatever is out of the ordinary is left to the long way."""
    assert read_plain(HEADERS, PLAIN) is not None
    assert read_plain(HEADERS, PLAIN | changes) is None


def test_members_passed_over() -> None:
    """Of what the short way passes over unseen, the long way reads nothing either."""
    passed_over = {"output", "metrics", "additionalModelResponseFields"}
    assert set() == passed_over & TOP_LEVEL_KEYS
