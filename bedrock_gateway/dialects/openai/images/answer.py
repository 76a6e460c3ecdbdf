"""Answers of models that make images as OpenAI's.

Knows what says that nothing was made. Where an image is to be given as a URL, whoever made the translation says where
it is kept.

Source: Nova user guide and Bedrock user guide as ``images.models`` (``images``, ``error``, ``finish_reasons``); OpenAI
API reference, "The image generation response"; the signatures of PNG, JPEG, GIF and WebP (WHATWG MIME Sniffing, 6.1).
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from typing import Any

from bedrock_gateway.dialects.speech import Whole
from bedrock_gateway.errors import InvalidRequest, MaybeBilled

__all__ = ["BLOCKED", "ImageRelay", "picture_type"]

#: Error type of a request of which a filter let no image through.
BLOCKED = "ContentPolicyViolation"
Keep = Callable[[bytes, str], str]


class ImageRelay(Whole):
    """Relay of one attempt."""

    def __init__(self, now: int, keep: Keep | None) -> None:
        """``now``: UTC seconds; ``keep``: takes bytes and their type and gives a URL, where URLs are asked for."""
        super().__init__()
        self._now, self._keep = now, keep

    def receive_eof(self) -> bytes:
        """As ``speech.Relay``.

        Raises:
            InvalidRequest: a filter let no image through.
            MaybeBilled: there is no image, or none that can be read.
        """
        answer = json.loads(self.answer)
        made, reasons = _told(answer)
        if not made:
            _refuse(reasons)
        told: dict[str, Any] = {"created": self._now, "data": [self._image(one) for one in made]}
        if reasons:
            # Some were made, and are paid for; the others a filter kept.
            told["blocked"] = "; ".join(reasons)
        return json.dumps(told, separators=(",", ":")).encode()

    def _image(self, encoded: str) -> dict[str, str]:
        if self._keep is None:
            return {"b64_json": encoded}
        try:
            content = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            raise MaybeBilled("An image of the model's answer is no base64; it may have been billed.") from None
        return {"url": self._keep(content, picture_type(content))}


def _told(answer: object) -> tuple[list[str], list[str]]:
    """Return the images of an answer, and why there are no more."""
    if not isinstance(answer, dict):
        return [], []
    images, reasons = answer.get("images"), answer.get("finish_reasons")
    made = [one for one in images if isinstance(one, str) and one] if isinstance(images, list) else []
    found = [answer.get("error"), *(reasons if isinstance(reasons, list) else ())]
    return made, [one for one in found if isinstance(one, str) and one]


def _refuse(reasons: list[str]) -> None:
    why = "; ".join(reasons)
    if not why or why == "Inference error":
        raise MaybeBilled(f"The model made no image ({why or 'it does not say why'}); the call may have been billed.")
    raise InvalidRequest(f"The model made no image: {why}", error_type=BLOCKED)


def picture_type(content: bytes) -> str:
    """Return the content type of an image, by how it begins."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if content.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    if content.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    return "application/octet-stream"
