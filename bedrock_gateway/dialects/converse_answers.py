"""Answers of Converse, as every dialect finds out that it has one: what AWS's model says each of them holds.

A 200 that holds none of it is no empty answer, and must not be told as one. Must not know dialects.

Source: bedrock-runtime service-2.json (``ConverseResponse``: ``output`` and ``stopReason`` are required;
``ConverseOutput``, a union of which no member is; ``Message.content``, which may be empty).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bedrock_gateway.dialects.fields import Block

__all__ = ["blocks_of", "checked", "list_", "number_", "object_", "text_"]


def blocks_of(answer: Any) -> list[Block]:
    """Return what a whole answer says, block by block; none where it has no message, and says why it ended.

    Raises:
        ValueError: it is no answer of Converse.
    """
    try:
        output, reason = answer["output"], answer["stopReason"]
        blocks = output.get("message", {}).get("content", [])
    except (LookupError, TypeError, AttributeError):
        raise ValueError("no answer of Converse") from None
    if not isinstance(reason, str) or not isinstance(blocks, list):
        raise ValueError("no answer of Converse")
    if not all(isinstance(block, dict) for block in blocks):
        raise ValueError("an answer of Converse with something else among its blocks")
    return blocks


def checked(words: object) -> str:
    """Return words of an answer.

    Raises:
        TypeError: they are none.
    """
    if not isinstance(words, str):
        raise TypeError("words that are none")
    return words


def object_(value: object) -> Mapping[str, Any]:
    """Return an object, an empty one for anything else: what stands beside an answer does not spoil it."""
    return value if isinstance(value, dict) else {}


def list_(value: object) -> list[Any]:
    """Return a list, an empty one for anything else."""
    return value if isinstance(value, list) else []


def text_(value: object) -> str:
    """Return a string, an empty one for anything else."""
    return value if isinstance(value, str) else ""


def number_(value: object) -> int:
    """Return a whole number, 0 for anything else."""
    return value if type(value) is int else 0
