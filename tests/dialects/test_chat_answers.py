"""Answers of Converse, of every shape AWS's model knows, as chat completions: whole, and as streams cut anywhere."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aws_shapes import answers, anything, blocks, model
from chatting import CLAUDE, NOW, USAGE, answered, events_of, read, request, summed, whole
from hypothesis import given
from hypothesis import strategies as st

from bedrock_gateway.wire.eventstream import encode_event, encode_exception

FINISHES = {"stop", "length", "tool_calls", "content_filter"}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
IN_JSON = {"response_format": {"type": "json_object"}}


@given(answers, st.sampled_from([{}, IN_JSON]))
def test_any_answer_is_told(answer: Any, more: dict[str, Any]) -> None:
    """Whatever AWS's model allows an answer to be comes out as a chat completion."""
    told = whole(answer, request(**more))

    (choice,) = told["choices"]
    assert choice["finish_reason"] in FINISHES
    assert choice["message"]["content"] is None or isinstance(choice["message"]["content"], str)
    assert told["usage"]["total_tokens"] == told["usage"]["prompt_tokens"] + told["usage"]["completion_tokens"]


@given(st.data())
def test_a_stream_says_what_the_whole_answer_says(data: st.DataObject) -> None:
    """However its bytes are cut, the chunks of a stream add up to the completion of the same answer."""
    reasons = model().shape_for("StopReason").enum
    answer = answered(data.draw(st.lists(blocks, max_size=4)), stopReason=data.draw(st.sampled_from(reasons)))
    more = data.draw(st.sampled_from([{}, IN_JSON, {"tools": [TOOL]}]))
    sent = b"".join(events_of(answer))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=6)))
    body = request(**more, stream=True, stream_options={"include_usage": True})

    relay = read(body).relay(CLAUDE, call_id="1", now=NOW)
    out = b"".join(
        relay.receive_data(sent[start:end]) for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True)
    )
    streamed, told = summed(out + relay.receive_eof()), whole(answer, request(**more))

    message = told["choices"][0]["message"]
    assert streamed["done"] and streamed["error"] is None
    assert [told["choices"][0]["finish_reason"]] == streamed["finish"]
    assert told["usage"] == streamed["usage"]
    assert (message["content"] or None) == streamed["message"]["content"]
    calls = [(call["id"], call["function"]["name"], call["function"]["arguments"]) for call in calls_of(message)]
    assert [(id_, name, json.loads(given)) for id_, name, given in calls] == [
        (call["id"], call["name"], json.loads(call["arguments"])) for call in streamed["message"]["tool_calls"]
    ]
    assert message.get("reasoning_content", "") == streamed["message"]["reasoning_content"]
    again = [*joined(message.get("thinking_blocks", []))], [*joined(streamed["message"]["thinking_blocks"])]
    assert again[0] == again[1]


def calls_of(message: dict[str, Any]) -> list[Any]:
    """Return the calls of tools of a message."""
    return list(message.get("tool_calls", []))


def joined(thinking: list[dict[str, Any]]) -> list[tuple[Any, Any]]:
    """Return thoughts with their signatures, as they go back to a model."""
    message = {"role": "assistant", "content": "a", "thinking_blocks": thinking}
    translation = read(request(messages=[{"role": "user", "content": "a"}, message]))
    turn = json.loads(translation.body)["messages"][1]["content"]
    thoughts = [block["reasoningContent"] for block in turn if "reasoningContent" in block]
    return [(json.dumps(one.get("reasoningText")), one.get("redactedContent")) for one in thoughts]


@pytest.mark.parametrize("reason", ["end_turn", "max_tokens"])
def test_json_comes_without_what_is_said_before(reason: str) -> None:
    """A model that announces its call of the tool for JSON spoils nothing: the content is JSON, whole and streamed."""
    content = [
        {"text": "I will call it."},
        {"toolUse": {"toolUseId": "1", "name": "json_tool_call", "input": {"a": 1}}},
        {"toolUse": {"toolUseId": "2", "name": "json_tool_call", "input": {"b": 1}}},
    ]
    answer = answered(content, stopReason="tool_use" if reason == "end_turn" else reason)

    told = whole(answer, request(**IN_JSON))["choices"][0]
    relay = read(request(**IN_JSON, stream=True)).relay(CLAUDE, call_id="1", now=NOW)
    streamed = summed(relay.receive_data(b"".join(events_of(answer))) + relay.receive_eof())

    finish = "stop" if reason == "end_turn" else "length"
    assert ({"a": 1}, finish) == (json.loads(told["message"]["content"]), told["finish_reason"])
    assert ({"a": 1}, [finish]) == (json.loads(streamed["message"]["content"]), streamed["finish"])
    assert "tool_calls" not in told["message"]


def test_usage_tells_caches_and_thought() -> None:
    """What was read from a cache and written to one is part of the prompt, and told beside it."""
    usage = USAGE | {"cacheReadInputTokens": 5, "cacheWriteInputTokens": 3}
    fields = {"usage": {"output_tokens_details": {"thinking_tokens": 4}}}

    told = whole(answered([{"text": "a"}], usage=usage, additionalModelResponseFields=fields))["usage"]

    assert (19, 7, 26) == (told["prompt_tokens"], told["completion_tokens"], told["total_tokens"])
    assert {"cached_tokens": 5, "cache_creation_tokens": 3, "audio_tokens": 0} == told["prompt_tokens_details"]
    assert 4 == told["completion_tokens_details"]["reasoning_tokens"]
    assert (5, 3) == (told["cache_read_input_tokens"], told["cache_creation_input_tokens"])


BEGUN = events_of(answered([{"text": "abcdef"}]))[:3]


@pytest.mark.parametrize(
    ("then", "words"),
    [
        ([encode_event("contentBlockDelta", b"{")], "cannot be read"),
        ([encode_event("contentBlockDelta", b'{"contentBlockIndex":0,"delta":{"text":5}}')], "cannot be read"),
        ([encode_event("contentBlockDelta", b'{"delta":{"toolUse":{"input":"a"}}}')], "cannot be read"),
        ([encode_event("contentBlockDelta", b"[]")], "cannot be read"),
        ([encode_event("contentBlockDelta", b"\xff")], "cannot be read"),
        ([encode_exception("throttlingException", "Slower.")], "Slower."),
        ([encode_exception("modelStreamErrorException", "")], "modelStreamErrorException"),
        ([], "ended before"),
    ],
)
def test_a_stream_that_fails_ends_with_an_error(then: list[bytes], words: str) -> None:
    """After a message that cannot be read, an exception, or an end in the middle comes an error, and no [DONE]."""
    relay = read(request(stream=True)).relay(CLAUDE, call_id="1", now=NOW)
    after = events_of(answered([{"text": "ghi"}]))
    told = b"".join(relay.receive_data(message) for message in (*BEGUN, *then, *(after if then else ())))

    streamed = summed(told + relay.receive_eof())

    assert "abcdef" == streamed["message"]["content"]
    assert words in streamed["error"]["message"]
    assert not streamed["done"] and [] == streamed["finish"]


@given(st.binary(max_size=200), st.integers(0, 3))
def test_a_stream_of_junk_is_no_fault_of_ours(junk: bytes, begun: int) -> None:
    """Bytes that are no event stream end a stream without [DONE], whatever came before."""
    relay = read(request(stream=True)).relay(CLAUDE, call_id="1", now=NOW)

    told = relay.receive_data(b"".join(BEGUN[:begun]) + junk) + relay.receive_eof()

    assert b"[DONE]" not in told


@given(
    st.sampled_from(["contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata", "x"]),
    anything,
)
def test_events_of_any_json_are_no_fault_of_ours(kind: str, payload: object) -> None:
    """An event that is JSON of another kind than AWS's is told as an error at most."""
    body = request(stream=True, stream_options={"include_usage": True})
    relay = read(body).relay(CLAUDE, call_id="1", now=NOW)

    summed(relay.receive_data(encode_event(kind, json.dumps(payload).encode())) + relay.receive_eof())
