"""The few edits of a native request: made at a byte offset, all other bytes stay as the caller sent them.

An edit is made once per attempt, before the body is hashed, and is named in the attempt's row. Knows how JSON is
written and where a guardrail goes in each kind of operation. Must not know why an edit is made, nor deployments.

Which parts of a prompt a guardrail looks at remains the caller's to say (``guardContent`` blocks of Converse,
``tagSuffix`` of InvokeModel).

Source: Bedrock user guide, "Configure streaming response behavior" (``amazon-bedrock-guardrailConfig``);
bedrock-runtime service-2.json (``GuardrailConfiguration``, ``GuardrailStreamConfiguration``: trace in lower
case; InvokeModel's headers ``X-Amzn-Bedrock-{GuardrailIdentifier,GuardrailVersion,Trace}``: trace in upper case); RFC
8259 sections 2 and 4.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Protocol

from bedrock_gateway.errors import AccessDenied, InvalidRequest
from bedrock_gateway.wire.operations import Kind, Operation

__all__ = ["ForcedGuardrail", "add_guardrail", "members", "past_space", "set_at", "set_member"]

_OPENING = re.compile(rb"[ \t\n\r]*\{[ \t\n\r]*")
_SPACE = re.compile(r"[ \t\n\r]*")
_IDENTIFIER = "x-amzn-bedrock-guardrailidentifier"
_VERSION = "x-amzn-bedrock-guardrailversion"
_TRACE = "x-amzn-bedrock-trace"
_MODE = "streamProcessingMode"


class ForcedGuardrail(Protocol):
    """What is read of a guardrail. ``routing.deployments.Guardrail`` is one; that room is not imported from here."""

    @property
    def identifier(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def trace(self) -> str | None: ...
    @property
    def stream_processing_mode(self) -> str | None: ...


def add_guardrail(
    operation: Operation, body: bytes | bytearray, headers: list[tuple[str, str]], guardrail: ForcedGuardrail
) -> tuple[bytes | bytearray, list[tuple[str, str]], str | None]:
    """Force a guardrail on a request: ``(body, headers, note for the row)``; it wins over any the caller asked for.

    Converse: ``guardrailConfig`` in the body. InvokeModel: headers (names in ``headers`` are lower case), and how a
    stream is looked at in the body. Operations that call no model stay as they are, with no note.

    Raises:
        InvalidRequest: a Converse body is not a JSON object in UTF-8.
        AccessDenied: the operation calls a model and has no place for a guardrail, so it would go round it.
    """
    if operation.kind is Kind.CONVERSE:
        config = {"guardrailIdentifier": guardrail.identifier, "guardrailVersion": guardrail.version}
        if guardrail.trace is not None:
            config["trace"] = guardrail.trace.lower()
        # Only the streaming operation has this member; AWS refuses it in the other.
        if operation.stream_out and guardrail.stream_processing_mode is not None:
            config["streamProcessingMode"] = guardrail.stream_processing_mode.lower()
        body, replaced = set_member(body, "guardrailConfig", json.dumps(config, separators=(",", ":")).encode())
    elif operation.kind is Kind.INVOKE:
        ours = [(_IDENTIFIER, guardrail.identifier), (_VERSION, guardrail.version)]
        if guardrail.trace is not None:
            ours.append((_TRACE, guardrail.trace.upper()))
        names = {name for name, _ in ours}
        replaced = any(name in (_IDENTIFIER, _VERSION) for name, _ in headers)
        headers = [item for item in headers if item[0] not in names] + ours
        if operation.stream_out:
            body = _with_mode(body, guardrail.stream_processing_mode)
    elif operation.kind is Kind.GENERATE:
        body, replaced = _guard_generation(body, guardrail)
    elif operation.name == "InvokeInlineAgent":
        config = {"guardrailIdentifier": guardrail.identifier, "guardrailVersion": guardrail.version}
        body, replaced = set_member(body, "guardrailConfiguration", json.dumps(config, separators=(",", ":")).encode())
    elif operation.kind in (Kind.ASYNC, Kind.BATCH, Kind.GENERATE, Kind.AGENT, Kind.RETRIEVE, Kind.OTHER):
        raise AccessDenied(
            f"{operation.name} has no place for a guardrail, and this model group is configured with one. "
            "Use Converse or InvokeModel, or ask for a model group without a guardrail."
        )
    else:
        return body, headers, None
    return (
        body,
        headers,
        f"guardrail {'replaced by' if replaced else 'added:'} {guardrail.identifier} {guardrail.version}",
    )


def _with_mode(body: bytes | bytearray, mode: str | None) -> bytes | bytearray:
    """Have a forced guardrail look at a stream of InvokeModel as the deployment says, else before anything leaves: that
    is no more the caller's to say than which guardrail it is.
    """
    if mode is None and b"\\" not in body and _MODE.encode() not in body:
        return body
    value = f'"{mode.upper() if mode else "SYNC"}HRONOUS"'.encode()
    try:
        changed, had = set_at(body, ("amazon-bedrock-guardrailConfig", _MODE), value)
    except InvalidRequest:
        # Nothing that could say otherwise: AWS refuses it.
        return body
    return changed if had or mode is not None else body


def _guard_generation(body: bytes | bytearray, guardrail: ForcedGuardrail) -> tuple[bytes, bool]:
    """Force a guardrail on RetrieveAndGenerate, wherever its sources are: ``(body, whether it had one already)``.

    Source: bedrock-agent-runtime service-2.json, ``GenerationConfiguration.guardrailConfiguration``.
    """
    config = json.dumps({"guardrailId": guardrail.identifier, "guardrailVersion": guardrail.version}).encode()
    outer = "retrieveAndGenerateConfiguration"
    try:
        inner = json.loads(body)[outer]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _not_an_object() from None
    had = False
    for sources in ("knowledgeBaseConfiguration", "externalSourcesConfiguration"):
        if sources in inner:
            path = (outer, sources, "generationConfiguration", "guardrailConfiguration")
            body, there = set_at(body, path, config)
            had = had or there
    return bytes(body), had


def set_member(body: bytes | bytearray, name: str, value: bytes) -> tuple[bytes, bool]:
    """Set a member of the JSON object in a body to ``value`` (JSON): ``(body, whether it had one already)``.

    A member that is there has its value replaced where it stands, every time it is there; a new one goes first.

    Raises:
        InvalidRequest: the body is not a JSON object in UTF-8.
    """
    opening = _OPENING.match(body)
    if opening is None:
        raise _not_an_object()
    # A name can also be written with escapes. Without a backslash and without the name there is nothing to look for.
    if b"\\" in body or name.encode() in body:
        return set_at(body, (name,), value)
    after = opening.end()
    separator = b"" if body[after : after + 1] == b"}" else b","
    return b"".join((body[:after], json.dumps(name).encode(), b":", value, separator, body[after:])), False


def set_at(body: bytes | bytearray, path: tuple[str, ...], value: bytes) -> tuple[bytes, bool]:
    """Set what stands at a path of JSON objects to ``value`` (JSON): ``(body, whether anything stood there)``.

    As ``set_member`` otherwise; an object that is missing on the way, or is none, is made.

    Raises:
        InvalidRequest: the body is not a JSON object in UTF-8.
    """
    try:
        text = body.decode()
        edits = sorted(_edits(text, 0, path, value.decode()))
    except (ValueError, IndexError, RecursionError):
        raise _not_an_object() from None
    pieces, done = [], 0
    for start, end, new, _ in edits:
        pieces += [text[done:start], new]
        done = end
    return "".join((*pieces, text[done:])).encode(), any(there for *_, there in edits)


def _edits(text: str, start: int, path: tuple[str, ...], value: str) -> Iterator[tuple[int, int, str, bool]]:
    """Yield the edits that set a path below the JSON object that begins at ``start``: from where to where, what comes
    there instead, and whether the path was there.
    """
    name, rest = path[0], path[1:]
    inner = value
    for missing in reversed(rest):
        inner = f"{{{json.dumps(missing)}:{inner}}}"
    spans = [span for found, span in members(text, start) if found == name]
    for begin, end in spans:
        if rest and text[begin] == "{":
            yield from _edits(text, begin, rest, value)
        else:
            yield begin, end, inner, not rest
    if not spans:
        after = past_space(text, past_space(text, start) + 1)
        separator = "" if text[after] == "}" else ","
        yield after, after, f"{json.dumps(name)}:{inner}{separator}", False


def members(text: str, start: int) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield the members of the JSON object that begins at ``start``: name, and where its value begins and ends. At 0,
    the object is all of ``text``.

    Raises:
        ValueError, IndexError, RecursionError: it is not one.
    """
    # Not strict: whether a raw line break may stand in a string is AWS's to say.
    decode = json.JSONDecoder(strict=False).raw_decode
    index = past_space(text, past_space(text, start) + 1)
    while text[index] != "}":
        name, index = decode(text, index)
        index = past_space(text, index)
        if not isinstance(name, str) or text[index] != ":":
            raise ValueError("a member of an object is a string, a colon and a value")
        begin = past_space(text, index + 1)
        _, index = decode(text, begin)
        yield name, (begin, index)
        index = past_space(text, index)
        if text[index] == ",":
            index = past_space(text, index + 1)
            if text[index] == "}":
                raise ValueError("a comma at the end of an object")
        elif text[index] != "}":
            raise ValueError("no comma between members of an object")
    if start == 0 and past_space(text, index + 1) != len(text):
        raise ValueError("something after the object")


def past_space(text: str, index: int) -> int:
    """Return the first index from ``index`` on that is not JSON's white space."""
    found = _SPACE.match(text, index)
    return index if found is None else found.end()


def _not_an_object() -> InvalidRequest:
    """Return the error for a body that has to be a JSON object and is not."""
    return InvalidRequest("The body is not a JSON object in UTF-8.")
