"""Anthropic's messages to Claude on Bedrock, which speaks them itself: InvokeModel and its stream.

Knows where Bedrock's form of a request differs from Anthropic's own, and how an event stream is told as server-sent
events. All else, known here or not, stays as the caller and the model wrote it, byte for byte; what the caller wrote
as null is not given.

A request names its model in the path and whether it streams by the operation, so ``model`` and ``stream`` are taken
out; ``anthropic_version`` and ``anthropic_beta`` stand in it, which Anthropic has as headers. The version of the header
means nothing to Bedrock, which has one of its own.

Source: Bedrock user guide, "Anthropic Claude Messages API" (``anthropic_version``, ``anthropic_beta``);
bedrock-runtime service-2.json (``ResponseStream``, ``PayloadPart``); Anthropic API reference, "Streaming Messages";
HTML Standard section 9.2 (server-sent events).
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, cast

from bedrock_gateway.dialects.anthropic.errors import error_event
from bedrock_gateway.dialects.edits import members, set_at
from bedrock_gateway.dialects.fields import items, text, written
from bedrock_gateway.dialects.speech import Asked, Fit, Whole
from bedrock_gateway.dialects.streams import Streamed, chunk
from bedrock_gateway.errors import InvalidRequest
from bedrock_gateway.wire.eventstream import Message

__all__ = [
    "ClaudeRelay",
    "ClaudeStream",
    "betas",
    "claude_body",
    "claude_counted",
    "counted_with_defaults",
    "with_defaults",
]

_VERSION = "bedrock-2023-05-31"
#: Header that names betas, any number of them with commas between.
_BETA = "anthropic-beta"
#: Members of a request that are not for the model, or are written anew.
_NOT_PASSED = frozenset({"model", "stream", "anthropic_version", "anthropic_beta", "litellm_metadata"})
#: What a deployment may say, by LiteLLM's names, and where Claude has it.
_DEFAULTS = {
    **{name: name for name in ("max_tokens", "temperature", "top_p", "top_k", "thinking")},
    "stop": "stop_sequences",
}
#: What a deployment says of betas: globs of those that are not sent.
DROPPED = "drop_betas"
_SAMPLING = ("temperature", "top_p", "top_k")
#: How the JSON of an event is written; anything else is parsed.
_TYPE = re.compile(rb'\{"type":"([a-z_]+)"')


def claude_body(request: Asked, asked: Mapping[str, Any], more: Mapping[str, object] | None = None) -> bytes:
    """Return the body that Bedrock wants for a request; what is null in it is not given, as in every other dialect.

    Args:
        asked: its body, parsed.
        more: members it gets besides.

    Raises:
        InvalidRequest: ``anthropic_version`` or ``anthropic_beta`` in it is of a wrong type.
    """
    version = text(asked.get("anthropic_version") or _VERSION, "anthropic_version")
    written = [f'"anthropic_version":{json.dumps(version)}']
    if told := betas(request, asked):
        written.append(f'"anthropic_beta":{json.dumps(told)}')
    written += [f"{json.dumps(name)}:{json.dumps(value)}" for name, value in (more or {}).items()]
    document = str(request.body, "utf-8")
    written += [
        f"{json.dumps(name)}:{document[begin:end]}"
        for name, (begin, end) in members(document, 0)
        if name not in _NOT_PASSED and document[begin:end] != "null"
    ]
    return f"{{{','.join(written)}}}".encode()


def claude_counted(request: Asked, asked: Mapping[str, Any]) -> bytes:
    """Return the body whose tokens are to be counted.

    Raises:
        InvalidRequest: as ``claude_body``.
    """
    if asked.get("max_tokens") is not None:
        return claude_body(request, asked)
    # Bedrock wants it in every body for Claude, more than there may be of thought; the input has no more tokens by it.
    thinking = asked.get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
    return claude_body(request, asked, {"max_tokens": budget + 1 if type(budget) is int and budget > 0 else 1})


def betas(request: Asked, asked: Mapping[str, Any]) -> list[str]:
    """Return the betas that a request asks for, in its body and its headers, each once.

    Raises:
        InvalidRequest: those of the body are no list of strings.
    """
    own = asked.get("anthropic_beta")
    told = [] if own is None else items(own, "anthropic_beta")
    found = [text(one, f"anthropic_beta.{at}") for at, one in enumerate(told)]
    for name, value in request.headers.items():
        if name.lower() == _BETA:
            found += [one.strip() for one in value.split(",")]
    return list(dict.fromkeys(filter(None, found)))


def with_defaults(body: bytes | bytearray, defaults: Mapping[str, object]) -> bytes | bytearray:
    """Return a body of ``claude_body`` with what a deployment says and the request does not.

    With thought Claude takes neither a temperature nor a forced call of a tool, and no less answer than thought. Betas
    that the deployment drops are taken out.
    """
    asked = json.loads(body)
    if dropped := defaults.get(DROPPED):
        body = _without_betas(body, asked.get("anthropic_beta", ()), cast("Sequence[str]", dropped))
    told = {name: defaults[ours] for ours, name in _DEFAULTS.items() if ours in defaults and name not in asked}
    thinking, most = told.get("thinking"), asked.get("max_tokens", told.get("max_tokens"))
    choice = asked.get("tool_choice")
    forced = isinstance(choice, dict) and choice.get("type") in ("any", "tool")
    if isinstance(thinking, Mapping):
        budget = thinking.get("budget_tokens", 0)
        if forced or not isinstance(most, int) or not isinstance(budget, int) or budget >= most:
            del told["thinking"]
        else:
            told["thinking"] = dict(thinking)
    thinks = told.get("thinking", asked.get("thinking"))
    if isinstance(thinks, dict) and thinks.get("type") != "disabled":
        told = {name: value for name, value in told.items() if name not in _SAMPLING}
    if not told:
        return body
    return json.dumps(told, separators=(",", ":")).encode()[:-1] + b"," + body[1:]


def counted_with_defaults(body: bytes | bytearray, defaults: Mapping[str, object]) -> bytes | bytearray:
    """Return a request of CountTokens without the betas that a deployment drops."""
    told = json.loads(body)["input"].get("invokeModel")
    dropped = defaults.get(DROPPED)
    if not dropped or told is None:
        return body
    inner = base64.b64decode(told["body"])
    kept = _without_betas(inner, json.loads(inner).get("anthropic_beta", ()), cast("Sequence[str]", dropped))
    return written({"input": {"invokeModel": {"body": base64.b64encode(kept).decode()}}})


def _without_betas(body: bytes | bytearray, betas: Sequence[str], dropped: Sequence[str]) -> bytes | bytearray:
    """Return a body of ``claude_body`` without betas that globs name; every other member keeps its bytes."""
    kept = [beta for beta in betas if not any(fnmatchcase(beta, glob) for glob in dropped)]
    if len(kept) == len(betas):
        return body
    document = str(body, "utf-8")
    told = [
        f"{json.dumps(name)}:{json.dumps(kept) if name == 'anthropic_beta' else document[begin:end]}"
        for name, (begin, end) in members(document, 0)
        if kept or name != "anthropic_beta"
    ]
    return f"{{{','.join(told)}}}".encode()


class ClaudeRelay(Whole):
    """Relay of one attempt whose answer comes whole; as ``speech.Relay``."""

    def __init__(self, call_id: str, model: str, fit: Fit | None = None) -> None:
        super().__init__(fit)
        self._model = json.dumps(model).encode()

    def receive_eof(self) -> bytes:
        """As ``speech.Relay``: the answer under the name of the model that was asked for."""
        answer = self.answer
        try:
            return set_at(answer, ("model",), self._model)[0]
        except InvalidRequest:
            # The answer is the model's all the same.
            return answer


class ClaudeStream(Streamed):
    """Relay of one attempt whose answer is streamed; as ``speech.Relay``."""

    def __init__(self, call_id: str, model: str, fit: Fit | None = None) -> None:
        super().__init__(fit)
        self._call_id = call_id
        self._model = json.dumps(model).encode()

    def receive(self, message: Message) -> bytes:
        """As ``Streamed``: Claude's own event, as it wrote it."""
        if message.event_type == "chunk":
            return self._event(chunk(message.payload or b"{}"))
        return super().receive(message)

    def say(self, kind: str, payload: Mapping[str, Any]) -> str:
        """As ``Streamed``: there is nothing else than chunks."""
        return ""

    def finish(self) -> str | None:
        """As ``Streamed``: Claude's last event says that it is the last."""
        return None

    def fail(self, status: int, words: str, error_type: str) -> str:
        """As ``Streamed``."""
        return error_event(status, words, self._call_id).decode()

    def _event(self, data: bytes) -> bytes:
        found = _TYPE.match(data)
        kind = found[1] if found else _type_of(data)
        if kind == b"message_start":
            data, _ = set_at(data, ("message", "model"), self._model)
        elif kind in (b"message_stop", b"error"):
            self.ended = True
        if b"\n" in data or b"\r" in data:
            # A line of its own for each: together they are the same JSON.
            data = b"\ndata: ".join(data.splitlines())
        return b"event: %b\ndata: %b\n\n" % (kind, data) if kind else b"data: %b\n\n" % data


def _type_of(data: bytes) -> bytes:
    """Return the type of an event, or b"" where it has none that can stand in a line."""
    kind = json.loads(data).get("type")
    return kind.encode() if isinstance(kind, str) and kind.isascii() and kind.isprintable() else b""
