"""Golden pairs of embeddings, images and rerank, one file a family: request ↔ what is sent, answers ↔ what is told."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from bedrock_gateway.dialects.openai.embeddings_request import read_embeddings
from bedrock_gateway.dialects.openai.images.request import read_edit, read_generation, read_variation
from bedrock_gateway.dialects.openai.rerank import read_rerank
from bedrock_gateway.dialects.speech import Asked, Counted, Divided, Translation

PAIRS = sorted((Path(__file__).parent / "invoke").glob("*.json"))
READERS: dict[str, Any] = {
    "/v1/embeddings": read_embeddings,
    "/v1/images/generations": read_generation,
    "/v1/images/edits": read_edit,
    "/v1/images/variations": read_variation,
    "/v1/rerank": read_rerank,
}


def form(fields: list[list[str]]) -> bytes:
    """Write a form: fields of a name and a text, or of a name, a file's name and its bytes in base64."""
    body = b""
    for name, *file_name, content in fields:
        told = f'form-data; name="{name}"' + "".join(f'; filename="{one}"' for one in file_name)
        value = base64.b64decode(content) if file_name else content.encode()
        body += f"--b\r\nContent-Disposition: {told}\r\n\r\n".encode() + value + b"\r\n"
    return body + b"--b--\r\n"


def answered(translation: Translation, model: str, answer: Any, counts: dict[str, int]) -> bytes:
    """Return what is told for an answer, with what the meter counted of it."""
    relay = translation.relay(model, call_id="call-1", now=1_700_000_000)
    if isinstance(relay, Counted):
        relay.counts = counts
    return relay.receive_data(json.dumps(answer).encode()) + relay.receive_eof()


@pytest.mark.parametrize("path", PAIRS, ids=lambda path: path.stem)
def test_a_golden_pair(path: Path) -> None:
    """A request becomes these of Bedrock, their answers are told as this one."""
    pair: dict[str, Any] = json.loads(path.read_text())
    is_form = "form" in pair
    asked = Asked(
        path=pair["path"],
        headers={"Content-Type": "multipart/form-data; boundary=b" if is_form else "application/json"},
        body=form(pair["form"]) if is_form else json.dumps(pair["request"]).encode(),
        drop_params=False,
        model_of=lambda name: pair["model"],
    )
    read = READERS[pair["path"]](asked)
    parts = read.parts if isinstance(read, Divided) else (read,)

    assert pair["sent"] == [json.loads(part.body) for part in parts]
    answers = [
        answered(part, pair["model"], answer, counts)
        for part, answer, counts in zip(parts, pair["answers"], pair["counts"], strict=True)
    ]
    assert pair["told"] == json.loads(read.joined(answers) if isinstance(read, Divided) else answers[0])


def test_the_families_are_there() -> None:
    """Every family of embeddings, of images in each way that it can, and of rerank has its pair."""
    wanted = {
        *(f"embeddings-{name}" for name in ("titan-v1", "titan-v2", "titan-image", "cohere-v3", "cohere-v4", "nova")),
        *(f"{model}-{way}" for model in ("nova-canvas", "titan-image") for way in ("generation", "edit", "variation")),
        *("stability-generation", "stability-edit", "stability-inpaint", "rerank-amazon", "rerank-cohere"),
    }
    assert wanted == {path.stem for path in PAIRS}
