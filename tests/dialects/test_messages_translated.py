"""Anthropic's dialect without a chain: what Claude is sent, and what becomes of event streams however they arrive."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedrock_gateway.dialects.anthropic.answer import MessageStream
from bedrock_gateway.dialects.anthropic.claude import ClaudeRelay, ClaudeStream, with_defaults
from bedrock_gateway.dialects.anthropic.request import read_count, read_messages
from bedrock_gateway.dialects.speech import Asked, Relay
from bedrock_gateway.errors import InvalidRequest
from bedrock_gateway.wire.messages import encode_event, encode_exception, encode_message

CLAUDE = "us.anthropic.claude-sonnet-4-20250514-v1:0"
NOVA = "us.amazon.nova-pro-v1:0"


def asking(body: bytes, model_id: str = CLAUDE, **headers: str) -> Asked:
    """Return a request whose model is the given one."""
    return Asked(path="/v1/messages", headers=headers, body=body, drop_params=False, model_of=lambda name: model_id)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
own = {"model", "stream", "anthropic_version", "anthropic_beta", "litellm_metadata"}


@given(
    st.dictionaries(st.text(max_size=8).filter(lambda name: name not in own), values, max_size=5),
    st.booleans(),
    st.sampled_from([None, 1, "\t"]),
    st.booleans(),
)
def test_nothing_is_lost_on_the_way_to_claude(body: dict[str, Any], stream: bool, indent: Any, escaped: bool) -> None:
    """Whatever JSON a request holds, Claude is told all of it but what Bedrock has elsewhere, and what is null."""
    text = json.dumps({"model": "m", **body, "stream": stream}, indent=indent, ensure_ascii=escaped)

    told = read_messages(asking(text.encode("utf-8", "surrogatepass")))

    said = {name: value for name, value in body.items() if value is not None}
    assert {"anthropic_version": "bedrock-2023-05-31", **said} == json.loads(told.body)
    assert ("m", "InvokeModelWithResponseStream" if stream else "InvokeModel") == (told.model, told.operation)


@pytest.mark.parametrize(
    ("body", "headers", "told"),
    [
        ({}, {}, None),
        ({}, {"Anthropic-Beta": " a , b,,a"}, ["a", "b"]),
        ({"anthropic_beta": ["c", "a"]}, {"anthropic-beta": "a,d"}, ["c", "a", "d"]),
        ({"anthropic_beta": None}, {"anthropic-beta": ""}, None),
    ],
)
def test_betas(body: dict[str, Any], headers: dict[str, str], told: list[str] | None) -> None:
    """Betas of the header join those of the body, each once, in the order they were told."""
    read = read_messages(asking(json.dumps({"model": "m", **body}).encode(), **headers))

    assert told == json.loads(read.body).get("anthropic_beta")


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"model":"m","a":NaN}', b'{"model":"m","model":"n"}', b"\xff"])
@pytest.mark.parametrize("read", [read_messages, read_count])
def test_what_is_no_request(body: bytes, read: Callable[[Asked], Any]) -> None:
    """What cannot be read is refused before anything is made of it."""
    with pytest.raises(InvalidRequest):
        read(asking(body))


@pytest.mark.parametrize(
    ("body", "counted"),
    [
        ({"max_tokens": 7}, {"max_tokens": 7}),
        ({}, {"max_tokens": 1}),
        ({"thinking": {"budget_tokens": 1024}}, {"max_tokens": 1025, "thinking": {"budget_tokens": 1024}}),
    ],
)
def test_what_is_counted_is_a_body_for_claude(body: dict[str, Any], counted: dict[str, Any]) -> None:
    """Anthropic counts without ``max_tokens``, Bedrock wants it in every body."""
    told = read_count(asking(json.dumps({"model": "m", **body}).encode()))

    inner = base64.b64decode(json.loads(told.body)["input"]["invokeModel"]["body"])
    assert {"anthropic_version": "bedrock-2023-05-31", **counted} == json.loads(inner)
    relay = told.relay(CLAUDE, call_id="c", now=0)
    assert (b"", b'{"input_tokens": 5}') == (relay.receive_data(b'{"inputTokens":5}'), relay.receive_eof())


@pytest.mark.parametrize(
    ("asked", "defaults", "told"),
    [
        ({"max_tokens": 5}, {"max_tokens": 9}, {}),
        ({}, {"max_tokens": 9, "stop": ("x",)}, {"max_tokens": 9, "stop_sequences": ["x"]}),
        ({"thinking": {"type": "enabled"}}, {"temperature": 0.5, "top_p": 0.5, "top_k": 1}, {}),
        ({"thinking": {"type": "disabled"}}, {"temperature": 0.5}, {"temperature": 0.5}),
        (
            {"max_tokens": 2000},
            {"thinking": {"type": "enabled", "budget_tokens": 1024}, "temperature": 0.5},
            {"thinking": {"type": "enabled", "budget_tokens": 1024}},
        ),
        ({"max_tokens": 1000}, {"thinking": {"type": "enabled", "budget_tokens": 1024}}, {}),
        ({"max_tokens": 2000, "tool_choice": {"type": "any"}}, {"thinking": {"type": "adaptive"}}, {}),
    ],
)
def test_defaults_never_contradict_a_request(
    asked: dict[str, Any], defaults: dict[str, Any], told: dict[str, Any]
) -> None:
    """What a deployment says is left out where Claude would not take it beside what the request says."""
    body = json.dumps({"anthropic_version": "v", **asked}).encode()

    assert {"anthropic_version": "v", **asked, **told} == json.loads(with_defaults(body, defaults))


def chunk(document: bytes) -> bytes:
    """Return a message of InvokeModel's event stream."""
    payload = json.dumps({"bytes": base64.b64encode(document).decode(), "p": "abc"}, separators=(",", ":"))
    return encode_event("chunk", payload.encode())


def event(kind: str, payload: dict[str, Any]) -> bytes:
    """Return a message of Converse's event stream."""
    return encode_event(kind, json.dumps(payload).encode())


def relayed(relay: Relay, data: bytes, size: int) -> bytes:
    """Return what a relay says to bytes that come in pieces of a size."""
    told = [relay.receive_data(data[at : at + size]) for at in range(0, len(data), size)]
    return b"".join([*told, relay.receive_eof()])


NATIVE = [
    b'{"type":"message_start","message":{"id":"i","model":"claude-x","usage":{"input_tokens":1}}}',
    b'{"type":"content_block_delta", "index":0,"future":[1.0, "\xc3\xa9"]}',
    b'{ "index":0, "type" : "new_event" }',
    b'{"type":"message_stop","amazon-bedrock-invocationMetrics":{"inputTokenCount":1}}',
]


@given(st.integers(1, 400))
def test_events_of_claude_however_they_arrive(size: int) -> None:
    """The bytes of events are Claude's own, in whatever pieces they come."""
    told = relayed(ClaudeStream("c", 'my "model"'), b"".join(map(chunk, NATIVE)), size)

    start = NATIVE[0].replace(b'"claude-x"', b'"my \\"model\\""')
    kinds = (b"message_start", b"content_block_delta", b"new_event", b"message_stop")
    assert b"".join(b"event: %b\ndata: %b\n\n" % pair for pair in zip(kinds, [start, *NATIVE[1:]], strict=True)) == told


def test_odd_events_of_claude() -> None:
    """Line breaks in an event stay within it, one without a type has no name, and other messages say nothing."""
    relay = ClaudeStream("c", "m")
    broken = b'{"type":"ping",\r\n"a":1}'

    assert b'event: ping\ndata: {"type":"ping",\ndata: "a":1}\n\n' == relay.receive_data(chunk(broken))
    assert b'data: {"a":1}\n\n' == relay.receive_data(chunk(b'{"a":1}'))
    assert b"" == relay.receive_data(encode_event("other", b"{}"))


@pytest.mark.parametrize("kind", [ClaudeStream, MessageStream])
@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", "ended before the answer"),
        (event("contentBlockDelta", {}) + encode_event("chunk", b"[]"), "cannot be read"),
        (encode_exception("throttlingException", "slow down"), "slow down"),
        (
            encode_message({":exception-type": "throttlingException", ":message-type": "exception"}, b"-"),
            "throttlingExc",
        ),
    ],
)
def test_a_stream_that_fails_says_so_once(kind: Callable[[str, str], Relay], data: bytes, error: str) -> None:
    """An SDK takes a stream that just ends for a whole one, so that one without its end ends with an error."""
    told = relayed(kind("c", "m"), data, 4096)

    name, _, rest = told.partition(b"\n")
    assert (b"event: error", 1, "c") == (name, told.count(b"event: error"), json.loads(rest[6:])["request_id"])
    assert error in json.loads(rest[6:])["error"]["message"]


def test_a_whole_answer_that_is_no_object() -> None:
    """What cannot be edited is passed on as it is."""
    relay = ClaudeRelay("c", "m")
    assert (b"", b"[1") == (relay.receive_data(b"[1"), relay.receive_eof())


CONVERSED = [
    event("messageStart", {"role": "assistant"}),
    event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "hm"}}}),
    event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"reasoningContent": {"signature": "s"}}}),
    event("contentBlockStop", {"contentBlockIndex": 0}),
    event("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"reasoningContent": {"redactedContent": "eA=="}}}),
    event("contentBlockStop", {"contentBlockIndex": 1}),
    event("contentBlockStop", {"contentBlockIndex": 2}),
    event("contentBlockDelta", {"contentBlockIndex": 3, "delta": {"text": "caf\u00e9"}}),
    event("contentBlockStop", {"contentBlockIndex": 3}),
    event("contentBlockStart", {"contentBlockIndex": 4, "start": {"toolUse": {"toolUseId": "t", "name": "n"}}}),
    event("contentBlockDelta", {"contentBlockIndex": 4, "delta": {"toolUse": {"input": '{"a'}}}),
    event("contentBlockDelta", {"contentBlockIndex": 4, "delta": {"toolUse": {"input": '":1}'}}}),
    event("contentBlockStop", {"contentBlockIndex": 4}),
    event("messageStop", {"stopReason": "tool_use"}),
]
METADATA = event(
    "metadata",
    {
        "usage": {
            **{"inputTokens": 3, "outputTokens": 4, "cacheReadInputTokens": 5, "cacheWriteInputTokens": 6},
            "cacheDetails": [{"ttl": "1h", "inputTokens": 6}],
        }
    },
)


@given(st.integers(1, 400), st.booleans())
def test_events_of_converse_however_they_arrive(size: int, tells_usage: bool) -> None:
    """Blocks are begun, filled and ended in Anthropic's order; the end comes with what was used, if that is told."""
    data = b"".join([*CONVERSED, METADATA] if tells_usage else CONVERSED)
    told = relayed(MessageStream("c", "m"), data, size)

    pairs = [one.partition(b"\n")[::2] for one in told.split(b"\n\n")[:-1]]
    events = [json.loads(data[6:]) for _, data in pairs]
    assert [name.decode() for name, _ in pairs] == [f"event: {one['type']}" for one in events]
    start, *middle, delta, stop = events
    assert ("message_start", "m", [], "message_stop") == (
        *(start["type"], start["message"]["model"], start["message"]["content"]),
        stop["type"],
    )
    assert [
        (0, {"type": "thinking", "thinking": "", "signature": ""}),
        (0, {"type": "thinking_delta", "thinking": "hm"}),
        (0, {"type": "signature_delta", "signature": "s"}),
        (0, None),
        (1, {"type": "redacted_thinking", "data": "eA=="}),
        (1, None),
        (2, {"type": "text", "text": ""}),
        (2, {"type": "text_delta", "text": "caf\u00e9"}),
        (2, None),
        (3, {"type": "tool_use", "id": "t", "name": "n", "input": {}}),
        (3, {"type": "input_json_delta", "partial_json": '{"a'}),
        (3, {"type": "input_json_delta", "partial_json": '":1}'}),
        (3, None),
    ] == [(one["index"], one.get("delta", one.get("content_block"))) for one in middle]
    assert {"stop_reason": "tool_use", "stop_sequence": None} == delta["delta"]
    usage = {
        **{"input_tokens": 3, "output_tokens": 4, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 6},
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 6},
    }
    nothing = dict.fromkeys([name for name in usage if name != "cache_creation"], 0)
    assert (usage if tells_usage else nothing) == delta["usage"]


def test_what_a_message_holds_in_words_of_converse() -> None:
    """Every block, tool and wish of a message has its place in Converse."""
    cached = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    point = {"cachePoint": {"type": "default", "ttl": "1h"}}
    body = {
        "model": "nova",
        "max_tokens": 50,
        "temperature": 0.5,
        "top_p": 0.9,
        "service_tier": "standard_only",
        "system": "Be short.",
        "cache_control": {"type": "ephemeral"},
        "output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
        "own_wish": 1,
        "guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1"},
        "tools": [{"name": "n", "description": "d", "input_schema": {"type": "object"}, "strict": True, **cached}],
        "tool_choice": {"type": "any"},
        "messages": [
            {"role": "user", "content": "one"},
            {"role": "user", "content": [{"type": "text", "text": " "}, {"type": "text", "text": "two", **cached}]},
            {"role": "system", "content": "Be quick."},
            {
                "role": "assistant",
                "content": [
                    {"type": "redacted_thinking", "data": "eA=="},
                    {"type": "thinking", "thinking": "hm", "signature": ""},
                    {"type": "tool_use", "id": "t", "name": "old", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "t",
                        "is_error": True,
                        "content": [{"type": "text", "text": "no", **cached}],
                    },
                    {
                        "type": "search_result",
                        "source": "s",
                        "title": "t",
                        "content": [{"type": "text", "text": "found"}],
                        "citations": {"enabled": True},
                    },
                    {
                        "type": "document",
                        "source": {"type": "content", "content": [{"type": "text", "text": "words"}]},
                        "context": "c",
                        "citations": {"enabled": True},
                    },
                ],
            },
        ],
    }

    told = read_messages(asking(json.dumps(body).encode(), NOVA))

    assert "Converse" == told.operation
    assert {
        "messages": [
            {"role": "user", "content": [{"text": "one"}, {"text": "two"}, point]},
            {
                "role": "assistant",
                "content": [
                    {"reasoningContent": {"redactedContent": "eA=="}},
                    {"reasoningContent": {"reasoningText": {"text": "hm"}}},
                    {"toolUse": {"toolUseId": "t", "name": "old", "input": {}}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"toolResult": {"toolUseId": "t", "content": [{"text": "no"}], "status": "error"}},
                    point,
                    {
                        "searchResult": {
                            **{"source": "s", "title": "t", "content": [{"text": "found"}]},
                            "citations": {"enabled": True},
                        }
                    },
                    {
                        "document": {
                            **{"format": "txt", "name": "document"},
                            "source": {"bytes": base64.b64encode(b"words").decode()},
                            **{"context": "c", "citations": {"enabled": True}},
                        }
                    },
                    {"cachePoint": {"type": "default"}},
                ],
            },
        ],
        "system": [{"text": "Be short."}, {"text": "Be quick."}],
        "toolConfig": {
            "tools": [
                {
                    "toolSpec": {
                        **{"name": "n", "inputSchema": {"json": {"type": "object"}}, "description": "d"},
                        "strict": True,
                    }
                },
                point,
                {"toolSpec": {"name": "old", "inputSchema": {"json": {"type": "object"}}}},
            ],
            "toolChoice": {"any": {}},
        },
        "outputConfig": {
            "textFormat": {
                "type": "json_schema",
                "structure": {"jsonSchema": {"schema": '{"type": "object"}', "name": "answer"}},
            }
        },
        "additionalModelRequestFields": {"own_wish": 1},
        "inferenceConfig": {"maxTokens": 50, "temperature": 0.5, "topP": 0.9},
        "serviceTier": {"type": "default"},
        "guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1"},
    } == json.loads(told.body)


@given(values, st.sampled_from(["messages", "system", "tools", "tool_choice", "thinking", "output_config", "top_k"]))
def test_nothing_odd_is_more_than_refused(value: Any, name: str) -> None:
    """Whatever stands in a member, a request for another model is read or refused with a reason."""
    body = {"model": "nova", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}], name: value}
    try:
        read_messages(asking(json.dumps(body).encode("utf-8", "surrogatepass"), NOVA))
    except InvalidRequest as refusal:
        assert refusal.message
