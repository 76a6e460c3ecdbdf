"""Answers of embedding models as OpenAI's list of embeddings, and several such lists as one.

Knows where each family puts its vectors. Base64 is that of little-endian 32-bit floats.

Source: OpenAI API reference, "The embedding object"; openai-python ``resources/embeddings.py`` (reads ``base64`` as
float32); Bedrock user guide and Nova user guide, as ``openai.embeddings_request``.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Sequence
from typing import Any

from bedrock_gateway.dialects.speech import Counted
from bedrock_gateway.errors import MaybeBilled

__all__ = ["EmbeddingsRelay", "joined"]

_HEAD = b'{"object":"list","data":['
#: Between the vectors and the rest; no vector holds it, nor a string, in which quotes are escaped.
_REST = b'],"model":'
_dumps = json.JSONEncoder(separators=(",", ":")).encode


class EmbeddingsRelay(Counted):
    """Relay of one attempt; as ``speech.Relay``."""

    def __init__(self, model: str, first: int, count: int, packed: bool) -> None:
        super().__init__()
        self._model, self._first, self._count, self._packed = model, first, count, packed

    def receive_eof(self) -> bytes:
        """As ``speech.Relay``.

        Raises:
            MaybeBilled: the answer does not hold a vector for each input.
        """
        try:
            vectors = _vectors(json.loads(self.answer))
            if len(vectors) != self._count:
                raise ValueError(f"{len(vectors)} vectors for {self._count} inputs")
            told = [self._told(at, vector) for at, vector in enumerate(vectors, self._first)]
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, struct.error, OverflowError) as error:
            raise MaybeBilled(
                "Upstream answered, but not with an embedding for each input. It may have been billed, and a repeat "
                "may be billed again.",
                at=f"embeddings: {error!r}",
            ) from error
        return _list(",".join(told).encode(), self._model, self.counts.get("input_tokens", 0))

    def _told(self, index: int, vector: Any) -> str:
        if not isinstance(vector, list) or not vector:
            raise ValueError("no vector")
        # What cannot be packed is no vector either.
        packed = struct.pack(f"<{len(vector)}f", *vector)
        told = f'"{base64.b64encode(packed).decode()}"' if self._packed else _dumps(vector)
        return f'{{"object":"embedding","index":{index},"embedding":{told}}}'


def joined(answers: Sequence[bytes]) -> bytes:
    """Return lists that relays have written, of one request, as one list."""
    found, tokens, model = [], 0, ""
    for answer in answers:
        # Sought from the end, which is near.
        end = answer.rindex(_REST)
        told = json.loads(b'{"model":' + answer[end + len(_REST) :])
        found.append(answer[len(_HEAD) : end])
        model, tokens = told["model"], tokens + told["usage"]["prompt_tokens"]
    return _list(b",".join(found), model, tokens)


def _list(items: bytes, model: str, tokens: int) -> bytes:
    usage = _dumps({"prompt_tokens": tokens, "total_tokens": tokens})
    return b"".join((_HEAD, items, _REST, f'{_dumps(model)},"usage":{usage}}}'.encode()))


def _vectors(answer: Any) -> list[list[float]]:
    if "embedding" in answer:
        return [answer["embedding"]]
    if "embeddingsByType" in answer:
        return [answer["embeddingsByType"]["float"]]
    found = answer["embeddings"]
    if isinstance(found, dict):
        return list(found["float"])
    return [one["embedding"] if isinstance(one, dict) else one for one in found]
