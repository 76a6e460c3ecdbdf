"""Requests, read strictly enough to be reserved from: the JSON of a body, and how much it lets a model read and say.

Knows JSON and which of its members a bound is read from. Two readers of one body must not see two requests: where a
member is there twice, one reader takes the first and another the last, so a member that matters may be there once.
Must not know money, prices or windows.

Source: RFC 8259 sections 4 (duplicate names), 8.1 (UTF-8, no byte order mark) and 9; the paths: ``dialects.
output_limits`` and ``dialects.contents``; Bedrock user guide, Titan Image Generator and Nova Canvas
(``imageGenerationConfig.numberOfImages``), SDXL (``samples``).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, NoReturn

import attrs

from bedrock_gateway.dialects.contents import contents, only_text
from bedrock_gateway.dialects.fields import text, wrong
from bedrock_gateway.dialects.long_strings import check_text, cut, put_back
from bedrock_gateway.dialects.output_limits import answers, max_tokens_each
from bedrock_gateway.errors import InvalidRequest
from bedrock_gateway.wire.operations import Kind, Operation

__all__ = ["Extent", "extent", "model_named", "plain_extent", "read_body", "tells_its_extent"]

#: Top-level members nothing is reserved from: whatever stands in them twice is AWS's to judge.
_IDLE = frozenset(
    [
        *("requestMetadata", "guardrailConfig", "performanceConfig", "serviceTier", "outputConfig", "metadata"),
        *("amazon-bedrock-guardrailConfig", "tool_choice", "response_format", "stream_options"),
    ]
)
#: Members below these that hold JSON of the caller's own, which a model reads as text.
_CONVERSATION = frozenset(["messages", "system", "toolConfig", "tools"])
_OWN_JSON = frozenset(["input", "json", "inputSchema", "input_schema", "parameters"])
#: Longest name told back, in characters, and longest way to it, in names.
_MOST_TOLD = 64
#: Bytes of a body above which long strings are looked for.
_LARGE = 1_048_576
_LONGEST_WAY = 4


class _Twice(Exception):
    """Some object has a member twice."""


class _Doubled(dict[str, Any]):
    """An object that has a member twice; ``name`` is the first such one."""

    name: str = ""


# Nobody changes one; it is not frozen because a frozen one takes twice as long to make, once a call.
@attrs.define(kw_only=True)
class Extent:
    """How much a request hands in, and how much it may be answered.

    Attributes:
        body_bytes: length of the body.
        text_bytes: the same without the base64 of what are pictures for certain: no fewer than its text has.
        pictures: pictures handed in, those included that only may be some.
        documents: files whose text may be longer than they are.
        recordings: videos and sounds handed in.
        described_tools: tools whose description the model's side adds.
        max_output: tokens each answer may have at most, or None where the request does not say.
        answers: answers asked for at once, or None where that cannot be read.
        images: images to make, or None where that cannot be read.
        unbounded: why the request does not tell what it hands in, or "".
        plain: whether it was seen at a glance that it hands in text and nothing else, and asks for one answer.
    """

    body_bytes: int
    text_bytes: int
    pictures: int = 0
    documents: int = 0
    recordings: int = 0
    described_tools: int = 0
    max_output: int | None = None
    answers: int | None = 1
    images: int | None = 1
    unbounded: str = ""
    plain: bool = attrs.field(default=False, eq=False)


def tells_its_extent(operation: Operation) -> bool:
    """Tell whether the body of an operation is JSON that says how much is asked for."""
    return operation.kind in (Kind.CONVERSE, Kind.INVOKE, Kind.GUARDRAIL) and not operation.stream_in


def extent(operation: Operation, model_id: str, body: dict[str, Any], *, body_bytes: int) -> Extent:
    """Measure a request.

    Args:
        model_id: of the model or, where an ARN tells no family, of the model behind it.
        body: as ``read_body`` gives it.
        body_bytes: length it had.
    """
    found = contents(operation, model_id, body)
    return Extent(
        body_bytes=body_bytes,
        text_bytes=max(0, body_bytes - found.picture_characters),
        pictures=found.pictures,
        documents=found.documents,
        recordings=found.recordings,
        described_tools=found.described_tools,
        max_output=max_tokens_each(operation, model_id, body),
        answers=answers(operation, body),
        images=_images(body) if operation.kind is Kind.INVOKE else 1,
        unbounded=found.unbounded,
    )


def plain_extent(operation: Operation, body: dict[str, Any], *, body_bytes: int) -> Extent | None:
    """Measure a request that, as nearly all do, for certain hands in text and nothing else, whichever model it is for;
    None for any other, which ``extent`` is for.
    """
    if operation.kind is not Kind.CONVERSE or not only_text(body):
        return None
    config = body.get("inferenceConfig")
    most = config.get("maxTokens") if type(config) is dict else None
    if type(most) is not int or most < 1:
        most = None
    return Extent(body_bytes=body_bytes, text_bytes=body_bytes, max_output=most, plain=True)


def read_body(body: bytes | bytearray) -> dict[str, Any]:
    """Read a body that is to be reserved from: one JSON object in UTF-8.

    Raises:
        InvalidRequest: it is none, or a member that a bound is read from, or that stands on the way to one, is there
            twice; the message names it.
    """
    if len(body) > _LARGE and (large := _read_large(body)) is not None:
        return large
    try:
        text = str(body, "utf-8")
    except UnicodeDecodeError as error:
        raise _invalid(f"byte {error.start} is no UTF-8") from None
    try:
        try:
            # Nearly always an object and nothing around it: then white space is not looked for.
            document, end = _decoder.raw_decode(text) if text.startswith("{") else (None, -1)
            if end < len(text):
                document = _decoder.decode(text)
        except _Twice:
            document = _read_doubled(text)
    except json.JSONDecodeError as error:
        at = f"line {error.lineno}, column {error.colno}"
        raise _invalid("it begins with a byte order mark" if text[0:1] == "\ufeff" else f"{error.msg} ({at})") from None
    except RecursionError:
        raise _invalid("it is nested too deeply") from None
    except ValueError:
        # What is left of these: an integer of more digits than Python converts.
        raise _invalid("a number in it is too long") from None
    if type(document) is not dict:
        raise _invalid("it is another kind of value")
    return document


def model_named(asked: Mapping[str, Any]) -> str:
    """Return the name of the model that a request asks for in its body.

    Raises:
        InvalidRequest: it names none.
    """
    model = text(asked.get("model"), "model")
    if not model:
        wrong("model", "must name a model")
    return model


def _read_large(body: bytes | bytearray) -> dict[str, Any] | None:
    """Read a body with long strings; None where there are none, or where it is to be told what is wrong.

    Raises:
        InvalidRequest: it is no UTF-8.
    """
    try:
        check_text(body)
    except UnicodeDecodeError as error:
        raise _invalid(f"byte {error.start} is no UTF-8") from None
    short, long = cut(body)
    if not long:
        return None
    try:
        document = put_back(_decoder.decode(str(short, "utf-8")), long)
    except (_Twice, LookupError, ValueError, RecursionError, InvalidRequest):
        # Said with the places of the body as it is.
        return None
    return document if type(document) is dict else None


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) != len(members):
        raise _Twice
    return found


def _marked(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) == len(members):
        return found
    marked = _Doubled(found)
    marked.name = next(name for name, times in Counter(name for name, _ in members).items() if times > 1)
    return marked


def _constant(name: str) -> NoReturn:
    raise _invalid(f"{name} is no JSON")


# Not strict: whether a raw line break may stand in a string is AWS's to say.
_decoder = json.JSONDecoder(strict=False, parse_constant=_constant, object_pairs_hook=_object)
_decode_any = json.JSONDecoder(strict=False, parse_constant=_constant).decode
_decode_marked = json.JSONDecoder(strict=False, parse_constant=_constant, object_pairs_hook=_marked).decode


def _read_doubled(text: str) -> object:
    """Read a body in which some object has a member twice, and refuse it where that matters."""
    # With each value goes the way to it, as far as it is told.
    pending: list[tuple[object, tuple[str, ...]]] = [(_decode_marked(text), ())]
    while pending:
        value, path = pending.pop()
        if type(value) is _Doubled:
            place = f" in {'.'.join(path)[:_MOST_TOLD]}" if path else ""
            raise InvalidRequest(
                f"The body has {value.name[:_MOST_TOLD]!r} twice{place}. Nobody can tell which one AWS obeys, so this "
                "request's spend has no bound. Send it once."
            )
        if type(value) is dict:
            for name, child in value.items():
                own = bool(path) and path[0] in _CONVERSATION and name in _OWN_JSON
                if not own and (path or name not in _IDLE):
                    pending.append((child, (*path, name)[:_LONGEST_WAY]))
        elif type(value) is list:
            pending += [(child, path) for child in value]
    return _decode_any(text)


def _images(body: dict[str, Any]) -> int | None:
    """Return how many images an InvokeModel body asks for; None where it says so in a way that cannot be read."""
    config = body.get("imageGenerationConfig")
    asked = config.get("numberOfImages") if type(config) is dict else None
    most = 1
    for number in (asked, body.get("numberOfImages"), body.get("samples")):
        if number is None:
            continue
        if type(number) is not int or number < 1:
            return None
        most = max(most, number)
    return most


def _invalid(what: str) -> InvalidRequest:
    return InvalidRequest(f"The body is no JSON object in UTF-8: {what}.")
