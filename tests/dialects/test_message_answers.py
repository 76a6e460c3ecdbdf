"""Answers of Converse not quite of its shape, as Anthropic's messages: what is refused, and what is made do with."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bedrock_gateway.dialects.anthropic.answer import MessageRelay, MessageStream
from bedrock_gateway.wire.eventstream import encode_event

#: What the chain takes for an answer of another shape.
FAULTS = (ValueError, LookupError, TypeError, AttributeError)
STOP: tuple[str, dict[str, Any]] = ("messageStop", {"stopReason": "end_turn"})
TOOL: tuple[str, dict[str, Any]] = (
    "contentBlockStart",
    {"contentBlockIndex": 0, "start": {"toolUse": {"toolUseId": "t", "name": "n"}}},
)


def whole(*blocks: object, usage: object = None) -> dict[str, Any]:
    """Return the message for a whole answer."""
    relay = MessageRelay("c", "m")
    answer = {"output": {"message": {"role": "assistant", "content": blocks}}, "stopReason": "end_turn"}
    relay.receive_data(json.dumps({**answer, "usage": usage}).encode())
    told: dict[str, Any] = json.loads(relay.receive_eof())
    return told


def streamed(*messages: tuple[str, object]) -> list[dict[str, Any]]:
    """Return the events for a stream."""
    relay = MessageStream("c", "m")
    told = b"".join(relay.receive_data(encode_event(kind, json.dumps(said).encode())) for kind, said in messages)
    told += relay.receive_eof()
    return [json.loads(line[6:]) for line in told.split(b"\n") if line.startswith(b"data: ")]


def delta(told: object) -> tuple[str, object]:
    """Return a message that goes on with the first block."""
    return "contentBlockDelta", {"contentBlockIndex": 0, "delta": told}


@pytest.mark.parametrize(
    "block",
    [
        *({"text": told} for told in (None, 5, ["a"])),
        {"toolUse": {"toolUseId": None, "name": "n", "input": {}}},
        {"toolUse": {"toolUseId": "t", "name": None, "input": {}}},
        *({"reasoningContent": {"reasoningText": told}} for told in (None, {"text": 5}, {"text": "a", "signature": 5})),
        {"reasoningContent": {"redactedContent": 5}},
    ],
    ids=repr,
)
def test_a_block_that_does_not_say_what_it_should(block: object) -> None:
    """Words that are none are never told as words."""
    with pytest.raises(FAULTS):
        whole(block)


@pytest.mark.parametrize(
    "message",
    [
        *(delta({"text": told}) for told in (None, 5, ["a"])),
        *(delta({"toolUse": {"input": told}}) for told in (None, 5, {})),
        *(delta({"reasoningContent": {name: 5}}) for name in ("text", "signature", "redactedContent")),
        ("contentBlockStart", {"contentBlockIndex": 1, "start": {"toolUse": {"toolUseId": None, "name": "n"}}}),
        ("contentBlockStart", {"contentBlockIndex": 1, "start": {"toolUse": {"toolUseId": "t", "name": 5}}}),
    ],
    ids=repr,
)
def test_a_message_of_a_stream_that_does_not_say_what_it_should(message: tuple[str, object]) -> None:
    """It ends the stream with an error, and nothing of it is told."""
    begun, block, error = streamed(("messageStart", {"role": "assistant"}), TOOL, message, STOP)

    assert ["message_start", "content_block_start"] == [begun["type"], block["type"]]
    assert "cannot be read" in error["error"]["message"]


@pytest.mark.parametrize("first", [delta({"text": "To"}), TOOL, STOP, ("newThing", {})], ids=lambda first: first[0])
def test_a_stream_that_does_not_begin(first: tuple[str, object]) -> None:
    """Whatever comes first begins the message, and that is begun once."""
    kinds = [event["type"] for event in streamed(first, ("messageStart", {"role": "assistant"}), STOP)]

    assert (0, 1) == (kinds.index("message_start"), kinds.count("message_start"))
    assert "message_stop" == kinds[-1]


@pytest.mark.parametrize("content", [[{}], [{"text": None}], [None], [{"text": 5}], {}, None], ids=repr)
def test_a_citation_without_its_words(content: object) -> None:
    """What was cited is optional in Converse: the place is told, whole and streamed."""
    citation = {"location": {"web": {"url": "u"}}, "sourceContent": content}
    (block,) = whole({"citationsContent": {"content": [{"text": "To"}], "citations": [citation]}})["content"]
    (told,) = [
        event["delta"]["citation"]
        for event in streamed(delta({"citation": citation}), STOP)
        if "delta" in event and "citation" in event["delta"]
    ]

    assert [told] == block["citations"]
    assert ("web_search_result_location", "u", "") == (told["type"], told["url"], told["cited_text"])


@pytest.mark.parametrize(
    "citation", [None, {}, {"location": None}, {"location": {"web": None}}, {"location": 5}], ids=repr
)
def test_a_citation_without_a_place(citation: object) -> None:
    """It is left out, and the words that cite are told."""
    (block,) = whole({"citationsContent": {"content": [{"text": "To"}], "citations": [citation]}})["content"]
    told = streamed(delta({"text": "To"}), delta({"citation": citation}), STOP)

    assert {"type": "text", "text": "To"} == block
    assert "error" not in [event["type"] for event in told]


@pytest.mark.parametrize(
    ("usage", "five", "hour"),
    [
        ({"cacheDetails": [{"ttl": "5m"}, {"ttl": "1h", "inputTokens": 3}]}, 0, 3),
        (
            {"cacheDetails": [{"inputTokens": 7}, {"ttl": "5m", "inputTokens": 2}, {"ttl": "5m", "inputTokens": 1}]},
            3,
            0,
        ),
        ({"cacheDetails": [None, {"ttl": ["5m"], "inputTokens": 1}, {"ttl": "1h", "inputTokens": "4"}]}, 0, 0),
        *(({"cacheDetails": told}, None, None) for told in (None, [], 5)),
        *((told, None, None) for told in (None, 5, [])),
    ],
    ids=repr,
)
def test_usage_that_is_told_in_part(usage: object, five: int | None, hour: int | None) -> None:
    """What stands beside an answer does not spoil it: what is there is told, whole and streamed."""
    of_whole = whole({"text": "To"}, usage=usage)["usage"]
    *_, end, _ = streamed(delta({"text": "To"}), STOP, ("metadata", {"usage": usage}))
    written = None if five is None else {"ephemeral_5m_input_tokens": five, "ephemeral_1h_input_tokens": hour}

    assert written == of_whole.get("cache_creation")
    assert of_whole == end["usage"]
