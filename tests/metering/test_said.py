"""How much of a cut answer was words."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedrock_gateway.metering.said import LONG, Said, words_in

#: Events that say "Hello", as each family has them.
EVENTS: dict[str, Any] = {
    "converse": {"contentBlockIndex": 0, "delta": {"text": "Hello"}, "p": "abcdefghijkl"},
    "converse thought": {"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "Hello"}}},
    "converse tool": {"contentBlockIndex": 1, "delta": {"toolUse": {"input": "Hello"}}},
    "claude": {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
    "claude thought": {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "Hello"}},
    "claude tool": {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": "Hello"}},
    "nova": {"contentBlockDelta": {"delta": {"text": "Hello"}, "contentBlockIndex": 0}},
    "openai": {"id": "chatcmpl-1", "model": "m", "choices": [{"index": 0, "delta": {"content": "Hello"}}]},
    "openai tool": {"choices": [{"delta": {"tool_calls": [{"function": {"name": None, "arguments": "Hello"}}]}}]},
    "llama": {"generation": "Hello", "prompt_token_count": None, "generation_token_count": 1, "stop_reason": None},
    "mistral": {"outputs": [{"text": "Hello", "stop_reason": None}]},
    "titan": {"outputText": "Hello", "index": 0, "completionReason": None},
    "refusal": {"choices": [{"index": 0, "delta": {"refusal": "Hello"}}]},
    "responses": {"type": "response.output_text.delta", "output_index": 0, "delta": "Hello"},
    "thought twice": {"choices": [{"delta": {"reasoning": "Hello", "reasoning_content": "Hello"}}]},
    "command r": {"text": "Hello", "is_finished": False, "event_type": "text-generation"},
    "cohere": {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "Hello"}}}},
}
#: Events that say nothing.
SILENT: dict[str, Any] = {
    "converse signature": {"contentBlockIndex": 0, "delta": {"reasoningContent": {"signature": "c2lnbmVk"}}},
    "claude start": {"type": "message_start", "message": {"id": "msg_1", "role": "assistant", "content": []}},
    "claude ping": {"type": "ping"},
    "converse citation": {"delta": {"citation": {"title": "T", "sourceContent": [{"text": "Hello"}]}}},
    "claude citation": {"delta": {"type": "citations_delta", "citation": {"cited_text": "Hello", "text": "Hello"}}},
    "claude tool start": {"type": "content_block_start", "content_block": {"type": "tool_use", "input": {}}},
}


@pytest.mark.parametrize("family", EVENTS)
def test_words_of_every_family(family: str) -> None:
    """What a model says is found in the events of each, and nothing beside it."""
    assert len("Hello") == words_in(EVENTS[family])


@pytest.mark.parametrize("family", SILENT)
def test_events_without_words(family: str) -> None:
    """What begins, ends or signs an answer says nothing."""
    assert 0 == words_in(SILENT[family])


@given(
    words=st.lists(st.text(st.characters(codec="ascii", categories=["L", "Zs"]), min_size=2, max_size=12), min_size=1),
    times=st.integers(1, 30),
    seed=st.integers(0, 1_000_000),
)
def test_a_long_answer_is_taken_for_what_it_said(words: list[str], times: int, seed: int) -> None:
    """Of hundreds of events few are looked at, and the sum is never far off: the padding is chance."""
    chance = Random(seed)
    all_of_them = words * times
    chance.shuffle(all_of_them)

    true = times * sum(map(len, words))
    assert true / 3 <= heard([delta(text, chance.randrange(60)) for text in all_of_them]) <= 3 * true


def delta(text: str, padding: int = 0, kind: str = "text") -> bytes:
    """Return a delta of Converse."""
    inner = {"toolUse": {"input": text}} if kind == "tool" else {"text": text}
    return json.dumps({"contentBlockIndex": 0, "delta": inner, "p": "x" * padding}, separators=(",", ":")).encode()


@pytest.mark.parametrize("length", [200, 500, 2_000, 8_000, 20_000])
@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("padding", [0, 30, 60])
def test_a_few_words_and_then_the_arguments_of_a_tool_in_one_event(length: int, times: int, padding: int) -> None:
    """What begins with small events may go on with large ones: each is taken for what it holds."""
    events = [*[delta("word", padding)] * 12, *[delta("x" * length, padding, "tool")] * times]

    true = 48 + times * length
    assert 0.9 * true <= heard(events) <= 1.4 * true


@pytest.mark.parametrize("times", [20, 50, 100, 200, 400])
def test_small_events_that_become_larger(times: int) -> None:
    """A few words a time at first, whole sentences later: neither stands for the other for long."""
    events = [delta("word", 30)] * 8 + [delta("x" * (40 + number % 50), number % 60) for number in range(times)]

    true = 32 + sum(40 + number % 50 for number in range(times))
    assert 0.5 * true <= heard(events) <= 1.5 * true


def test_a_long_signature_is_not_said() -> None:
    """What is looked at and holds no words counts nothing, beside what does."""
    signature = json.dumps({"delta": {"reasoningContent": {"signature": "x" * 8_000}}}).encode()

    assert 48 == heard([*[delta("word")] * 12, signature])


def heard(events: list[bytes]) -> int:
    """Return the words of a stream, whose small events are at hand where that was asked for."""
    said, looks = Said(), True
    for data in events:
        looks = said.hear(len(data), data if looks or len(data) > LONG else None)
    return said.words()


def test_an_answer_cut_before_its_first_word() -> None:
    """What begins an answer says nothing: so little may have passed that none of it was words."""
    usage = {"input_tokens": 9, "output_tokens": 1, "cache_creation_input_tokens": 0}
    start = json.dumps({"type": "message_start", "message": {"id": "m" * 99, "content": [], "usage": usage}}).encode()
    block = b'{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}'

    assert [0, 0, 4] == [heard(events) for events in ([start], [start, block], [start, block, delta("word")])]


@pytest.mark.parametrize("document", [b"{", b"[" * 100_000, b"\xff", b"{}", b"[]", b"null", b'{"text": 1}', None])
def test_events_nobody_can_read(document: bytes | None) -> None:
    """Where nothing holds words, lengths stand: too much rather than too little."""
    said = Said()
    for _ in range(20):
        said.hear(100, document)

    assert 2000 == said.words()


def test_long_events_are_taken_as_they_are() -> None:
    """A picture in base64, or a tool's whole argument, is not looked at."""
    said = Said()
    data = json.dumps(EVENTS["converse"]).encode()
    said.hear(len(data), data)
    said.hear(1_000_000, None)
    said.pass_over(7)

    assert 5 + 1_000_000 + 7 == said.words()
