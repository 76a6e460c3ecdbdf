"""Golden pairs of Responses, one file a family: request ↔ Converse's, Converse's answer ↔ response."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from openai.types.responses import Response
from responding import converse, streamed, whole

PAIRS = sorted((Path(__file__).parent / "responses").glob("*.json"))


@pytest.mark.parametrize("path", PAIRS, ids=lambda path: path.stem)
def test_a_golden_pair(path: Path) -> None:
    """A request becomes this of Converse, its answer this response, which the SDK knows and a stream ends with."""
    pair: dict[str, Any] = json.loads(path.read_text())
    told = whole(pair["answer"], pair["request"], model=pair["model"])

    assert pair["converse"] == converse(pair["request"], model=pair["model"])
    assert pair["response"] == told
    assert told == streamed(pair["answer"], pair["request"], model=pair["model"])[-1]["response"]
    assert pair["response"]["output"] == [item.to_dict() for item in Response.model_validate(told).output]


def test_the_families_are_there() -> None:
    """Claude, Nova and gpt-oss each have their pair."""
    assert {"claude", "gpt-oss", "nova"} <= {path.stem for path in PAIRS}
