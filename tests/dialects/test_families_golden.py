"""Golden pairs of conversations through InvokeModel, one file a family: chat completion ↔ the model's own body."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from invoking import completion, native, streamed

PAIRS = sorted((Path(__file__).parent / "families").glob("*.json"))


@pytest.mark.parametrize("path", PAIRS, ids=lambda path: path.stem)
def test_a_golden_pair(path: Path) -> None:
    """A request becomes this body, its answer this completion; a stream of the same answer adds up to it."""
    pair: dict[str, Any] = json.loads(path.read_text())
    model, form = pair["model"], pair.get("format", "")

    told = completion(pair["request"], pair["answer"], model, form)
    summed = streamed(pair["request"], pair["chunks"], model, form)
    assert pair["body"] == native(pair["request"], model, form)
    assert pair["completion"] == told
    (choice,) = told["choices"]
    message, again = choice["message"], summed["message"]
    assert (message["content"], told["usage"]) == (again["content"], summed["usage"])
    assert (message.get("reasoning_content", ""), [choice["finish_reason"]]) == (
        again["reasoning_content"],
        summed["finish"],
    )
    calls = [{"id": call["id"], **call["function"]} for call in message.get("tool_calls", [])]
    assert calls == again["tool_calls"]


def test_the_families_are_there() -> None:
    """Each family that has words of its own has its pair."""
    wanted = {"claude", "command-r", "deepseek-v3", "gpt-oss", "jamba", "mistral", "nova", "qwen"}
    wanted |= {"command-text", "deepseek-r1", "llama", "llama2", "llama4", "mistral-prompt", "titan"}
    wanted |= {f"imported-{form}" for form in ("deepseek-r1", "llama", "qwen2", "qwen3")}
    assert wanted <= {path.stem for path in PAIRS}
