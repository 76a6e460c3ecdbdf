"""Golden pairs of chat completions, one file a family: request ↔ Converse's, Converse's answer ↔ completion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from chatting import NOW, converse, events_of, read, summed

PAIRS = sorted((Path(__file__).parent / "chat").glob("*.json"))


@pytest.mark.parametrize("path", PAIRS, ids=lambda path: path.stem)
def test_a_golden_pair(path: Path) -> None:
    """A request becomes this of Converse, its answer this completion; a stream of the same answer adds up to it."""
    pair: dict[str, Any] = json.loads(path.read_text())
    relay = read(pair["request"], model=pair["model"]).relay(pair["model"], call_id="1", now=NOW)
    relay.receive_data(json.dumps(pair["answer"]).encode())
    streamed_request = pair["request"] | {"stream": True, "stream_options": {"include_usage": True}}
    stream = read(streamed_request, model=pair["model"]).relay(pair["model"], call_id="1", now=NOW)
    streamed = summed(stream.receive_data(b"".join(events_of(pair["answer"]))) + stream.receive_eof())

    completion = json.loads(relay.receive_eof())
    assert pair["converse"] == converse(pair["request"], model=pair["model"])
    assert pair["completion"] == completion
    message = completion["choices"][0]["message"]
    assert (message["content"], completion["usage"]) == (streamed["message"]["content"], streamed["usage"])
    assert [completion["choices"][0]["finish_reason"]] == streamed["finish"]
    assert len(message.get("tool_calls", [])) == len(streamed["message"]["tool_calls"])


def test_the_families_are_there() -> None:
    """Claude with a budget for thought and without, Nova, Llama and gpt-oss each have their pair."""
    assert {"claude", "claude-adaptive", "gpt-oss", "llama", "nova"} <= {path.stem for path in PAIRS}
