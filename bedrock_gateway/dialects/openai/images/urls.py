"""Pictures that a request names by URL: which they are, and the request with what they show in their place.

Bedrock takes pictures as bytes alone, OpenAI's and Anthropic's clients name them by URL as well. Knows where the three
dialects do so. Must not know how a URL is fetched.

Source: OpenAI API reference (``image_url.url`` of chat, ``image_url`` of Responses' ``input_image``); Anthropic API
reference (``image.source`` of type ``url``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from bedrock_gateway.dialects.requests import read_body
from bedrock_gateway.errors import InvalidRequest

__all__ = ["MOST_CHARACTERS", "images_named", "with_images"]

#: Base64 of all pictures of one request: 20 MB.
MOST_CHARACTERS = 27_962_028
_FOREIGN = ("http://", "https://")


def images_named(body: bytes | bytearray) -> list[str]:
    """Return the URLs of pictures that a body names, each once.

    Raises:
        InvalidRequest: it is no JSON object.
    """
    return list(dict.fromkeys(holder[key] for holder, key in _places(read_body(body))))


def with_images(body: bytes | bytearray, shown: Mapping[str, tuple[str, str]]) -> bytes:
    """Return a body with pictures in place of URLs.

    Args:
        shown: by URL, media type and base64.

    Raises:
        InvalidRequest: together they are too long; what stands in several places counts in each.
    """
    document = read_body(body)
    places = [(holder, key) for holder, key in _places(document) if holder[key] in shown]
    if sum(len(shown[holder[key]][1]) for holder, key in places) > MOST_CHARACTERS:
        raise InvalidRequest(
            "The pictures that the request names by URL are too large: 20 MB in all, one that it names several times "
            "counted each time.",
            param="image_url",
        )
    for holder, key in places:
        kind, data = shown[holder[key]]
        if holder.get("type") == "url":
            holder.clear()
            holder.update(type="base64", media_type=kind, data=data)
        else:
            holder[key] = f"data:{kind};base64,{data}"
    return json.dumps(document, separators=(",", ":")).encode()


def _places(document: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield each object that holds a URL of a picture, and the member it stands in."""
    for part in _parts(document.get("messages")):
        yield from _in_part(part)
    for part in _parts(document.get("input")):
        yield from _in_part(part)


def _parts(turns: object) -> Iterator[dict[str, Any]]:
    for turn in turns if isinstance(turns, list) else ():
        contents = (turn.get("content"), turn.get("output")) if isinstance(turn, dict) else ()
        for content in contents:
            for part in content if isinstance(content, list) else ():
                if isinstance(part, dict):
                    yield part
                    # The result of a tool may show pictures too.
                    inner = part.get("content")
                    yield from (one for one in (inner if isinstance(inner, list) else ()) if isinstance(one, dict))


def _in_part(part: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    for holder, key in ((part, "image_url"), (part.get("image_url"), "url"), (part.get("source"), "url")):
        if isinstance(holder, dict):
            url = holder.get(key)
            if isinstance(url, str) and url.lower().startswith(_FOREIGN):
                yield holder, key
