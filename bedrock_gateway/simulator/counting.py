"""Tokens as a pure function of the request and the answer, and the prompt cache.

The rule, the same for every model, streamed or not:

- text: UTF-8 bytes of everything the model reads (system, messages, tool definitions and results as compact JSON),
  summed, divided by four, rounded up;
- an image or a video counts as its base64 text would, at most 1,600 tokens; a document likewise, at most 8,000; one
  given by location counts the most;
- output: UTF-8 bytes of everything the model says (reasoning, text, tool names and inputs as compact JSON), divided
  by four, rounded up.

So input tokens never exceed the bytes of the request's body, as with real tokenizers. With cache points, the input
is split into read, written and uncached tokens, whose sum is what it would be without; the longest prefix known for
the same account and model is read, the rest up to the last point is written. Any length is cached (AWS asks for
1,024 tokens). Time is passed in.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from bedrock_gateway.simulator.protocol import compact

__all__ = [
    "CachePoint",
    "Counts",
    "Part",
    "PromptCache",
    "count",
    "encode",
    "json_part",
    "media_part",
    "text_part",
    "tokens_of",
]

BYTES_PER_TOKEN = 4
MEDIA_TOKENS = 1_600
DOCUMENT_TOKENS = 8_000
LIFETIMES = {"5m": 300.0, "1h": 3_600.0}
MAX_PREFIXES = 10_000


@attrs.frozen
class Part:
    """One piece of a request in the order the model reads it: its content, bytes of text, tokens of anything else."""

    content: bytes
    text_bytes: int
    other_tokens: int = 0


@attrs.frozen
class CachePoint:
    """The end of a prefix to be cached, with its time to live (``5m`` or ``1h``)."""

    ttl: str = "5m"


@attrs.frozen(kw_only=True)
class Counts:
    """Tokens of one exchange; ``input`` is the uncached part, ``cache_writes`` holds (TTL, tokens), 1h first."""

    input: int
    output: int = 0
    cache_read: int = 0
    cache_writes: tuple[tuple[str, int], ...] = ()

    @property
    def cache_write(self) -> int:
        return sum(tokens for _, tokens in self.cache_writes)

    @property
    def total(self) -> int:
        return self.input + self.output + self.cache_read + self.cache_write


def tokens_of(byte_count: int) -> int:
    """Turn UTF-8 bytes into tokens: a quarter, rounded up."""
    return -(-byte_count // BYTES_PER_TOKEN)


def encode(text: str) -> bytes:
    """Encode text as UTF-8; lone surrogates, which JSON can carry, count three bytes as they would in WTF-8."""
    return text.encode("utf-8", "surrogatepass")


def text_part(text: str) -> Part:
    """Make a part of text."""
    content = encode(text)
    return Part(content, len(content))


def json_part(value: Any) -> Part:
    """Make a part of a JSON value, counted as its compact text."""
    content = compact(value)
    return Part(content, len(content))


def media_part(value: Any, *, most: int = MEDIA_TOKENS) -> Part:
    """Make a part of an image, video, audio or document: the longest string in it is its base64 data."""
    content = compact(value)
    data = _longest_string(value)
    location = b'"s3Location"' in content
    return Part(content, 0, most if location else min(most, max(1, tokens_of(len(data)))))


def _longest_string(value: Any) -> str:
    if isinstance(value, str):
        return value
    children: Iterable[Any] = ()
    if isinstance(value, dict):
        children = value.values()
    elif isinstance(value, list):
        children = value
    return max((_longest_string(child) for child in children), key=len, default="")


def count(parts: Iterable[Part | CachePoint]) -> int:
    """Count the input tokens of a request, cached or not."""
    text_bytes = other = 0
    for part in parts:
        if isinstance(part, Part):
            text_bytes += part.text_bytes
            other += part.other_tokens
    return tokens_of(text_bytes) + other


class PromptCache:
    """The prefixes seen lately, by account and model; the least recently used go first."""

    def __init__(self) -> None:
        self._deadlines: OrderedDict[bytes, tuple[float, float]] = OrderedDict()

    def account(self, scope: str, parts: Sequence[Part | CachePoint], now: float) -> Counts:
        """Split the input of one request into uncached, read and written tokens, and remember its prefixes.

        ``scope`` names account and model; ``now`` is in seconds. A read renews the prefix it reads.
        """
        total = count(parts)
        if not any(isinstance(part, CachePoint) for part in parts):
            return Counts(input=total)
        digest = hashlib.sha256(scope.encode("utf-8", "surrogatepass"))
        points: list[tuple[bytes, str, int]] = []
        text_bytes = other = 0
        for part in parts:
            if isinstance(part, CachePoint):
                points.append((digest.digest(), part.ttl, tokens_of(text_bytes) + other))
            else:
                text_bytes += part.text_bytes
                other += part.other_tokens
                digest.update(b"%d:" % len(part.content))
                digest.update(part.content)
        read = 0
        for key, _, tokens in points:
            deadline, _ = self._deadlines.get(key, (0.0, 0.0))
            if deadline > now:
                read = max(read, tokens)
        written: dict[str, int] = {}
        reached = read
        for key, ttl, tokens in points:
            lifetime = LIFETIMES[ttl]
            if tokens > reached:
                written[ttl] = written.get(ttl, 0) + tokens - reached
                reached = tokens
            else:
                lifetime = self._deadlines.get(key, (0.0, lifetime))[1]
            self._deadlines[key] = (now + lifetime, lifetime)
            self._deadlines.move_to_end(key)
        while len(self._deadlines) > MAX_PREFIXES:
            self._deadlines.popitem(last=False)
        return Counts(input=total - reached, cache_read=read, cache_writes=tuple(sorted(written.items())))
