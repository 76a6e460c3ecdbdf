"""Responses of OpenAI's: a stream says what the whole answer says, and what is put out can be put in again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aws_shapes import answers
from aws_shapes import blocks as blocks_of_any_kind
from chatting import answered
from hypothesis import given, settings
from hypothesis import strategies as st
from responding import request
from responding import streamed as events_for
from responding import whole as response_for

from bedrock_gateway.dialects.openai.responses_answer import ResponseRelay, ResponseStream
from bedrock_gateway.dialects.openai.responses_request import ResponsesTranslation, read_responses
from bedrock_gateway.dialects.speech import Asked
from bedrock_gateway.errors import InvalidRequest
from bedrock_gateway.wire.eventstream import encode_event, encode_exception

MADE = {"id": "resp_1", "object": "response", "created_at": 5, "model": "m"}
USAGE = {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7, "cacheReadInputTokens": 2}
IN_JSON = {"text": {"format": {"type": "json_object"}}}

words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
said = st.builds(lambda text: {"text": text}, words)
called = st.builds(
    lambda id_, name, given: {"toolUse": {"toolUseId": id_, "name": name, "input": given}},
    st.from_regex(r"[A-Za-z0-9_.:-]{1,64}", fullmatch=True),
    st.sampled_from(["weather", "search"]),
    st.dictionaries(words, st.integers() | words, max_size=3),
)
thought = st.builds(
    lambda text, signature: {"reasoningContent": {"reasoningText": {"text": text, "signature": signature}}},
    words,
    words,
)
hidden = st.just({"reasoningContent": {"redactedContent": "c2VjcmV0"}})
blocks_of_an_answer = st.lists(said | called | thought | hidden, max_size=5)
reasons = st.sampled_from(["end_turn", "tool_use", "max_tokens", "stop_sequence", "guardrail_intervened"])


def streamed(blocks: list[dict[str, Any]], reason: str, cut: st.DataObject) -> bytes:
    """Return the event stream of an answer; texts come in pieces."""
    told = encode_event("messageStart", json.dumps({"role": "assistant"}).encode())
    for at, block in enumerate(blocks):
        for event, member in events_of(block, cut):
            told += encode_event(event, json.dumps({**member, "contentBlockIndex": at}).encode())
    told += encode_event("messageStop", json.dumps({"stopReason": reason}).encode())
    return told + encode_event("metadata", json.dumps({"usage": USAGE}).encode())


def events_of(block: dict[str, Any], cut: st.DataObject) -> list[tuple[str, dict[str, Any]]]:
    """Return the events of one block."""
    delta, stop = "contentBlockDelta", ("contentBlockStop", {})
    if "text" in block:
        return [*((delta, {"delta": {"text": piece}}) for piece in pieces(block["text"], cut)), stop]
    if "toolUse" in block:
        use = block["toolUse"]
        start = {"toolUse": {"toolUseId": use["toolUseId"], "name": use["name"]}}
        inputs = pieces(json.dumps(use["input"], separators=(",", ":")), cut)
        deltas = ((delta, {"delta": {"toolUse": {"input": piece}}}) for piece in inputs)
        return [("contentBlockStart", {"start": start}), *deltas, stop]
    told = block["reasoningContent"]
    if "redactedContent" in told:
        return [(delta, {"delta": {"reasoningContent": told}}), stop]
    text = told["reasoningText"]
    deltas = ((delta, {"delta": {"reasoningContent": {"text": piece}}}) for piece in pieces(text["text"], cut))
    return [*deltas, (delta, {"delta": {"reasoningContent": {"signature": text["signature"]}}}), stop]


def pieces(text: str, cut: st.DataObject) -> list[str]:
    """Return a text in two pieces, or in one."""
    at = cut.draw(st.integers(0, len(text)))
    return [piece for piece in (text[:at], text[at:]) if piece]


def answer_of(blocks: list[dict[str, Any]], reason: str) -> bytes:
    """Return a whole answer of Converse."""
    message = {"role": "assistant", "content": blocks}
    return json.dumps({"output": {"message": message}, "stopReason": reason, "usage": USAGE}).encode()


def whole(blocks: list[dict[str, Any]], reason: str) -> dict[str, Any]:
    """Return the response for a whole answer."""
    relay = ResponseRelay(None, MADE, "")
    assert b"" == relay.receive_data(answer_of(blocks, reason))
    told: dict[str, Any] = json.loads(relay.receive_eof())
    return told


def events(told: bytes) -> list[dict[str, Any]]:
    """Return the events of a stream of server-sent events."""
    return [json.loads(part.partition("data: ")[2]) for part in told.decode().split("\n\n") if part]


@settings(deadline=None, max_examples=150)
@given(blocks_of_an_answer, reasons, st.data())
def test_a_stream_says_what_the_whole_answer_says(
    blocks: list[dict[str, Any]], reason: str, cut: st.DataObject
) -> None:
    """However a stream is cut, its last event holds the whole answer, and its items are those told before."""
    data = streamed(blocks, reason, cut)
    at = sorted(cut.draw(st.lists(st.integers(0, len(data)), max_size=6)))
    relay = ResponseStream(None, MADE, "")
    told = b"".join(relay.receive_data(data[a:b]) for a, b in zip([0, *at], [*at, len(data)], strict=True))
    found = events(told + relay.receive_eof())

    expected = whole(blocks, reason)
    final = found[-1]["response"]
    assert expected == final
    assert list(range(len(found))) == [event["sequence_number"] for event in found]
    done = [event["item"] for event in found if event["type"] == "response.output_item.done"]
    assert [item["id"] for item in final["output"]] == [item["id"] for item in done]
    added = [event["item"]["id"] for event in found if event["type"] == "response.output_item.added"]
    assert added == [item["id"] for item in done]


@given(st.lists(blocks_of_any_kind, max_size=5), st.sampled_from([{}, IN_JSON]))
def test_blocks_of_any_kind_are_told_alike(blocks: list[dict[str, Any]], more: dict[str, Any]) -> None:
    """A stream of whatever a model says ends with the whole answer; text beside JSON that never came is told last."""
    told, last = (
        response_for(answered(blocks), request(**more)),
        events_for(answered(blocks), request(**more))[-1]["response"],
    )
    if not more or any(block.get("toolUse", {}).get("name") == "json_tool_call" for block in blocks):
        assert told == last
    assert words_and_calls(told) == words_and_calls(last)


def words_and_calls(response: dict[str, Any]) -> tuple[str, list[str]]:
    """Return what a response says, and the calls that it makes."""
    parts = [part for item in response["output"] if item["type"] == "message" for part in item["content"]]
    calls = [item["call_id"] for item in response["output"] if item["type"] == "function_call"]
    return "".join(part["text"] for part in parts), calls


@given(answers, st.sampled_from([{}, IN_JSON]))
def test_any_answer_is_told(answer: object, more: dict[str, Any]) -> None:
    """Whatever AWS's model allows an answer to be comes out as a response."""
    told = response_for(answer, request(**more))

    assert "response" == told["object"]
    assert told["usage"]["total_tokens"] == told["usage"]["input_tokens"] + told["usage"]["output_tokens"]


@settings(deadline=None, max_examples=150)
@given(blocks_of_an_answer)
def test_what_is_put_out_can_be_put_in(blocks: list[dict[str, Any]]) -> None:
    """Items of an answer are, in the next request, the blocks that upstream gave: thoughts with signatures too."""
    kept = [block for block in blocks if "text" not in block or block["text"].strip()]
    output = whole(kept, "end_turn")["output"]
    asked = {"model": "m", "input": [{"role": "user", "content": "go on"}, *output]}

    messages = json.loads(read(asked).body)["messages"]

    given_back = [block for message in messages if message["role"] == "assistant" for block in message["content"]]
    assert joined(kept) == given_back


def joined(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return blocks with neighbouring texts as one."""
    found: list[dict[str, Any]] = []
    for block in blocks:
        if found and "text" in block and "text" in found[-1]:
            found[-1] = {"text": found[-1]["text"] + block["text"]}
        else:
            found.append(block)
    return found


def read(asked: Any) -> ResponsesTranslation:
    """Read a request."""
    body = json.dumps(asked).encode()
    return read_responses(
        Asked(path="/v1/responses", headers={}, body=body, drop_params=False, model_of=lambda name: name)
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
members = st.sampled_from(
    [
        *("input", "instructions", "tools", "tool_choice", "text", "reasoning", "max_output_tokens", "temperature"),
        *("stream", "user", "service_tier", "parallel_tool_calls", "previous_response_id", "store"),
    ]
)


@settings(deadline=None, max_examples=150)
@given(st.dictionaries(members, json_values, max_size=5))
def test_no_request_is_a_fault(asked: dict[str, Any]) -> None:
    """Whatever is asked is either read or refused in words."""
    try:
        read({"model": "m", "input": "hello"} | asked)
    except InvalidRequest as refusal:
        assert refusal.param
        assert refusal.message


@pytest.mark.parametrize(
    "data",
    [
        encode_exception("throttlingException", "Too many requests"),
        encode_event("contentBlockDelta", b"[]"),
        encode_event("contentBlockDelta", b"no JSON"),
        encode_event("contentBlockStart", b"{}"),
        encode_event("messageStart", b'{"role": "assistant"}'),
        b"",
    ],
)
def test_a_stream_that_fails_ends_with_an_error(data: bytes) -> None:
    """What cannot be read, and what upstream says of itself, is an error and no end."""
    relay = ResponseStream(None, MADE, "")
    told = relay.receive_data(data) + relay.receive_eof()

    assert "error" == events(told)[-1]["type"]
    assert events(told)[-1]["error"]["message"]
