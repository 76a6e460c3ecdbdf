"""What a chat completion says, whole or in a chunk of one, in whichever of its shapes.

Must not know how it came.

Source: OpenAI API reference, "The chat completion object", "The chat completion chunk object"; vLLM and DeepSeek
(``reasoning_content``, ``reasoning``); Mistral API reference (``content`` in parts, with ``thinking``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from bedrock_gateway.dialects.families.thought import TEXT, THOUGHT
from bedrock_gateway.dialects.fields import Block

__all__ = ["arguments_of", "chosen", "said"]


def chosen(told: Block) -> Iterable[Block]:
    """Return the first of the answers that were asked for at once, if any of it is told."""
    return (choice for choice in told.get("choices") or () if choice.get("index", 0) == 0)


def said(message: Block) -> Iterator[tuple[str, str]]:
    """Return what a message or delta says: ``(THOUGHT | TEXT, words)``, never empty words."""
    thought = message.get("reasoning_content") or message.get("reasoning")
    if isinstance(thought, str):
        yield THOUGHT, thought
    yield from _content(message.get("content"), TEXT)
    if isinstance(refusal := message.get("refusal"), str) and refusal:
        yield TEXT, refusal


def _content(content: Any, kind: str) -> Iterator[tuple[str, str]]:
    if isinstance(content, str):
        if content:
            yield kind, content
    elif isinstance(content, list):
        for part in content:
            if "thinking" in part:
                yield from _content(part["thinking"], THOUGHT)
            else:
                yield from _content(part.get("text"), kind)


def arguments_of(told: object) -> Block | None:
    """Return the arguments of a call; None where they are no object. A tool that takes none may be given nothing."""
    if isinstance(told, str) and told.strip():
        try:
            told = json.loads(told)
        except (ValueError, RecursionError):
            return None
    elif told is None or isinstance(told, str):
        return {}
    return told if isinstance(told, dict) else None
