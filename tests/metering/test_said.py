"""How much of a cut answer was words."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedrock_gateway.metering.said import Said, words_in

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
    "cohere": {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "Hello"}}}},
}
#: Events that say nothing.
SILENT: dict[str, Any] = {
    "converse signature": {"contentBlockIndex": 0, "delta": {"reasoningContent": {"signature": "c2lnbmVk"}}},
    "claude start": {"type": "message_start", "message": {"id": "msg_1", "role": "assistant", "content": []}},
    "claude ping": {"type": "ping"},
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
    said, chance = Said(), Random(seed)
    all_of_them, looks = words * times, True
    chance.shuffle(all_of_them)
    for text in all_of_them:
        document = {"contentBlockIndex": 0, "delta": {"text": text}, "p": "x" * chance.randrange(60)}
        data = json.dumps(document).encode()
        looks = said.hear(len(data), data if looks else None)

    true = times * sum(map(len, words))
    assert true / 3 <= said.words() <= 3 * true


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
    said.whole += 7

    assert 5 + 1_000_000 + 7 == said.words()
