"""Conversations put as prompts, and answers to them, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import strategies as st

from bedrock_gateway.dialects.families.bodies import Body, body_of
from bedrock_gateway.errors import InvalidRequest

ARN = "arn:aws:bedrock:us-east-1:123456789012:imported-model/abc"
#: Models and body formats, by the files of their golden pairs.
MODELS = {
    "llama2": ("meta.llama2-70b-chat-v1", ""),
    "llama": ("us.meta.llama3-1-8b-instruct-v1:0", ""),
    "llama seeing": ("us.meta.llama3-2-90b-instruct-v1:0", ""),
    "llama4": ("us.meta.llama4-maverick-17b-instruct-v1:0", ""),
    "mistral": ("mistral.mixtral-8x7b-instruct-v0:1", ""),
    "deepseek": ("us.deepseek.r1-v1:0", ""),
    "titan": ("amazon.titan-text-express-v1", ""),
    "command": ("cohere.command-light-text-v14", ""),
    "imported llama": (ARN, "llama"),
    "imported deepseek": (ARN, "deepseek_r1"),
    "imported qwen2": (ARN, "qwen2"),
    "imported qwen3": (ARN, "qwen3"),
}
LLAMA_3 = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|python_tag|>", "<|image|>")
INST = ("<s>", "</s>", "[INST]", "[/INST]", "<unk>", "[TOOL_CALLS]")
DEEPSEEK = (
    "<｜begin▁of▁sentence｜>",
    "<｜User｜>",
    "<｜Assistant｜>",
    "<｜end▁of▁sentence｜>",
    "<｜tool▁calls▁begin｜>",
)
CHATML = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
#: What means something to each family's tokenizer or template.
MARKS = {
    "llama2": (*INST, "<<SYS>>", "<</SYS>>"),
    "llama": LLAMA_3,
    "llama seeing": LLAMA_3,
    "llama4": ("<|begin_of_text|>", "<|header_start|>", "<|header_end|>", "<|eot|>", "<|image|>", "<|image_start|>"),
    "mistral": INST,
    "deepseek": DEEPSEEK,
    "titan": ("User:", "Bot:"),
    "command": ("User:", "Chatbot:"),
    "imported llama": LLAMA_3,
    "imported deepseek": (*DEEPSEEK, *LLAMA_3),
    "imported qwen2": CHATML,
    "imported qwen3": CHATML,
}
SEEING = {"llama seeing", "llama4"}
THINKING = {"deepseek", "imported deepseek", "imported qwen2", "imported qwen3"}
OPENED = {"deepseek", "imported deepseek"}
NOT_STOPPING = {"llama2", "llama", "llama seeing", "llama4", "imported llama", "imported deepseek"}
WIDTHLESS = "\u200b"

families = st.sampled_from(sorted(MODELS))
pieces = st.sampled_from(
    [*{mark for marks in MARKS.values() for mark in marks}, *"<>|｜[]/:\n", "eot_id", "INST", "User"]
)
#: Text that would like to be a mark, or to become one with what stands beside it.
hostile = st.lists(pieces | st.text(max_size=2), min_size=1, max_size=8).map("".join)
calm = st.from_regex(r"[a-z]{1,8}( [a-z]{1,8})?", fullmatch=True)


def body(family: str) -> Body:
    """Return the words of a family."""
    model, form = MODELS[family]
    found = body_of(form, model)
    assert found is not None
    return found


def told(family: str, turns: Iterable[tuple[str, list[Any]]], **members: Any) -> Any:
    """Return the native body for turns, ``(role, blocks)``."""
    messages = [{"role": role, "content": blocks} for role, blocks in turns]
    return body(family).request({"messages": messages, **members})


def prompt(family: str, turns: Iterable[tuple[str, list[Any]]], **members: Any) -> str:
    """Return the prompt in that."""
    found = told(family, turns, **members)
    return str(found.get("prompt", found.get("inputText")))


def texts(*said: str) -> list[Any]:
    """Return blocks of text."""
    return [{"text": one} for one in said]


def refused(family: str, turns: list[tuple[str, list[Any]]], **members: Any) -> str:
    """Return which member of the caller's is refused."""
    with pytest.raises(InvalidRequest) as caught:
        told(family, turns, **members)
    assert caught.value.param is not None
    return caught.value.param


def answered(family: str, text: Any, reason: Any = "stop") -> Any:
    """Return the whole answer of a family."""
    if family == "mistral":
        return {"outputs": [{"text": text, "stop_reason": reason}]}
    if family == "deepseek":
        return {"choices": [{"text": text, "stop_reason": reason}]}
    if family == "titan":
        return {"results": [{"outputText": text, "completionReason": reason}]}
    if family == "command":
        return {"generations": [{"text": text, "finish_reason": reason}]}
    if family == "imported qwen2":
        return {"text": text, "finish_reason": reason}
    return {"generation": text, "stop_reason": reason}


def chunked(family: str, cut: list[str], reason: str = "stop") -> list[Any]:
    """Return chunks that say the pieces of a text."""
    flat = {
        "titan": lambda piece, why: {"outputText": piece, "completionReason": why},
        "command": lambda piece, why: (
            {"text": piece, "is_finished": bool(why)} | ({"finish_reason": why} if why else {})
        ),
    }
    shape = flat.get(family, lambda piece, why: answered(family, piece, why))
    return [*(shape(piece, None) for piece in cut), shape("", reason)]


def summed(family: str, chunks: list[Any]) -> tuple[str, str, list[Any]]:
    """Return what events come to: thought, text, reasons; in the order that Converse has them."""
    thought = text = ""
    order: list[Any] = []
    events = body(family).events()
    for chunk in chunks:
        for kind, said in events.read(chunk):
            order.append((kind, said.get("contentBlockIndex")))
            delta = said.get("delta", {})
            thought += delta.get("reasoningContent", {}).get("text", "")
            text += delta.get("text", "")
            if kind == "messageStop":
                order[-1] = (kind, said["stopReason"])
    blocks = bool(thought) + bool(text)
    assert [("messageStart", None)] == order[:1]
    assert [("contentBlockStop", at) for at in range(blocks)] == [one for one in order if one[0] == "contentBlockStop"]
    deltas = [at for kind, at in order if kind == "contentBlockDelta"]
    assert sorted(deltas) == deltas and set(range(blocks)) == set(deltas)
    return thought, text, [why for kind, why in order if kind == "messageStop"]


def whole(family: str, answer: Any) -> tuple[str, str, str]:
    """Return thought, text and reason of a whole answer."""
    found = body(family).answer(answer)
    thought = text = ""
    for block in found["output"]["message"]["content"]:
        thought += block.get("reasoningContent", {}).get("reasoningText", {}).get("text", "")
        text += block.get("text", "")
    return thought, text, found["stopReason"]


def cuts(data: st.DataObject, text: str) -> list[str]:
    """Return a text in pieces, cut anywhere."""
    at = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    return [text[a:b] for a, b in zip([0, *at], [*at, len(text)], strict=True)]
