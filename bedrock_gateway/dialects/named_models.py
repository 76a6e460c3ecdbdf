"""The models a JSON body names: found where AWS's models say that they stand, and replaced there, all other bytes as
the caller sent them.

Must not know which names there are, nor what a name stands for.

Source: ``wire.model_places``; RFC 8259 section 4 (what a repeated name means is nobody's to say, so it is refused).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator

from bedrock_gateway.dialects.edits import members, past_space
from bedrock_gateway.errors import InvalidRequest
from bedrock_gateway.wire.model_places import ModelPlace

__all__ = ["named_models", "replace_models"]


def named_models(body: bytes | bytearray, places: Iterable[ModelPlace]) -> list[tuple[ModelPlace, str]]:
    """Return what a body names: the place and the text there, in order of the places.

    What is there and is no text, or empty, is passed over: AWS refuses it.

    Raises:
        InvalidRequest: the body is not a JSON object in UTF-8, or has a member on the way to a place twice.
    """
    return [(place, value) for place, value, _, _ in _found(_text(body), places)]


def replace_models(
    body: bytes | bytearray, places: Iterable[ModelPlace], given: Callable[[ModelPlace, str], str]
) -> bytes | bytearray:
    """Return the body with each named model as ``given`` says; the same object where nothing changes.

    Raises:
        InvalidRequest: as ``named_models``.
    """
    text = _text(body)
    pieces, done = [], 0
    for place, value, start, end in sorted(_found(text, places), key=lambda found: found[2]):
        new = given(place, value)
        if new != value:
            pieces += [text[done:start], json.dumps(new)]
            done = end
    return "".join((*pieces, text[done:])).encode() if pieces else body


def _text(body: bytes | bytearray) -> str:
    try:
        text = body.decode()
        # AWS's SDKs send no body where an operation needs none.
        if text and (text[past_space(text, 0)] != "{" or not isinstance(json.loads(text, strict=False), dict)):
            raise ValueError("not an object")
    except (ValueError, IndexError) as error:
        raise InvalidRequest(
            f"The body is not a JSON object in UTF-8 ({error}); what it names has to be read."
        ) from error
    except RecursionError as error:
        raise InvalidRequest("The body is nested too deeply; what it names has to be read.") from error
    return text


def _found(text: str, places: Iterable[ModelPlace]) -> Iterator[tuple[ModelPlace, str, int, int]]:
    """Yield what is named: place, text, and where its JSON begins and ends."""
    if not text:
        return
    for place in places:
        # Most bodies have few of the places there are; a name can also be written with escapes.
        if place.path[-1] not in text and "\\" not in text:
            continue
        for start, end in _spans(text, 0, place.path):
            if text[start] == '"':
                value = json.loads(text[start:end], strict=False)
                if value:
                    yield place, value, start, end


def _spans(text: str, start: int, path: tuple[str, ...]) -> Iterator[tuple[int, int]]:
    """Yield where the values at a path begin and end, below the value that begins at ``start``."""
    name, rest = path[0], path[1:]
    if text[past_space(text, start)] == "[":
        found = list(_items(text, past_space(text, start))) if name == "*" else []
    elif text[past_space(text, start)] != "{":
        return
    else:
        found = [span for member, span in members(text, start) if name in ("*", member)]
        if len(found) > 1 and name != "*":
            raise InvalidRequest(f"The body has {name!r} twice. Nobody can tell which one AWS obeys: send it once.")
    for begin, end in found:
        if rest:
            yield from _spans(text, begin, rest)
        else:
            yield begin, end


def _items(text: str, start: int) -> Iterator[tuple[int, int]]:
    """Yield where the elements of the JSON list that begins at ``start`` begin and end; all of it is known to parse."""
    decode = json.JSONDecoder(strict=False).raw_decode
    index = past_space(text, start + 1)
    while text[index] != "]":
        _, end = decode(text, index)
        yield index, end
        index = past_space(text, end)
        if text[index] == ",":
            index = past_space(text, index + 1)
