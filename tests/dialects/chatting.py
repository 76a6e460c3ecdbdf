"""A chat completion through the dialect and back, without a gateway, for the tests of this folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from bedrock_gateway.dialects.openai.chat_request import ChatTranslation, read_chat
from bedrock_gateway.dialects.speech import NO_DEFAULTS, Asked, Divided
from bedrock_gateway.wire.eventstream import encode_event

CLAUDE = "us.anthropic.claude-sonnet-4-20250514-v1:0"
NOW = 1_700_000_000
USAGE = {"inputTokens": 11, "outputTokens": 7, "totalTokens": 18}


def read(body: object, *, drop_params: bool = False, model: str = CLAUDE, path: str = "/v1/x") -> ChatTranslation:
    """Read a request; ``body``: its bytes, or what is to be written as JSON."""
    told = _read(body, drop_params, model, path)
    assert isinstance(told, ChatTranslation)
    return told


def read_divided(body: object) -> Divided:
    """Read a request for several choices."""
    told = _read(body, False, CLAUDE, "/v1/x")
    assert isinstance(told, Divided)
    return told


def _read(body: object, drop_params: bool, model: str, path: str) -> ChatTranslation | Divided:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    asked = Asked(path=path, headers={}, body=data, drop_params=drop_params, model_of=lambda name: model)
    return read_chat(asked)


def converse_by(reading: Callable[..., Any]) -> Callable[..., Any]:
    """Return what gives the request of Converse that an attempt on a model sends for one that is read so."""

    def converse(
        body: Mapping[str, Any],
        *,
        model: str = CLAUDE,
        drop_params: bool = False,
        defaults: Mapping[str, object] = NO_DEFAULTS,
    ) -> Any:
        translation = reading(body, drop_params=drop_params, model=model)
        relay = translation.relay(model, call_id="1", now=NOW, defaults=defaults)
        return json.loads(relay.request(translation.body))

    return converse


converse = converse_by(read)


def request(**members: Any) -> dict[str, Any]:
    """Return a request with a question, and other members."""
    return {"model": "group", "messages": [{"role": "user", "content": "Why?"}]} | members


def whole(answer: object, body: Mapping[str, Any] | None = None) -> Any:
    """Return the chat completion for an answer of Converse."""
    relay = read(body or request()).relay(CLAUDE, call_id="1", now=NOW)
    assert b"" == relay.receive_data(json.dumps(answer).encode())
    return json.loads(relay.receive_eof())


def answered(content: list[Any], **members: Any) -> dict[str, Any]:
    """Return an answer of Converse."""
    told = {"output": {"message": {"role": "assistant", "content": content}}, "stopReason": "end_turn"}
    return told | {"usage": USAGE, "metrics": {"latencyMs": 1}} | members


def events_of(answer: Mapping[str, Any]) -> list[bytes]:
    """Return an answer of Converse as the messages of ConverseStream, text in pieces of three characters."""
    told = [encode_event("messageStart", b'{"role":"assistant"}')]
    for index, block in enumerate(answer["output"]["message"]["content"]):
        for kind, payload in _of_block(block):
            told.append(encode_event(kind, json.dumps({"contentBlockIndex": index, "p": "abcd"} | payload).encode()))
    stop = {name: answer[name] for name in ("stopReason", "additionalModelResponseFields") if name in answer}
    told.append(encode_event("messageStop", json.dumps(stop).encode()))
    rest = {name: answer[name] for name in ("usage", "metrics", "trace", "serviceTier") if name in answer}
    return [*told, encode_event("metadata", json.dumps(rest).encode())]


def _of_block(block: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    started: list[tuple[str, dict[str, Any]]] = []
    deltas: list[dict[str, Any]] = []
    if "text" in block:
        deltas = [{"text": piece} for piece in _pieces(block["text"])]
    elif "toolUse" in block:
        use = block["toolUse"]
        started = [("contentBlockStart", {"start": {"toolUse": {k: v for k, v in use.items() if k != "input"}}})]
        given = json.dumps(use["input"], separators=(",", ":"))
        deltas = [{"toolUse": {"input": piece}} for piece in _pieces(given)] if use["input"] else []
    elif "reasoningContent" in block:
        thought = block["reasoningContent"]
        if "reasoningText" in thought:
            said = thought["reasoningText"]
            deltas = [{"reasoningContent": {"text": piece}} for piece in _pieces(said["text"])]
            if "signature" in said:
                deltas.append({"reasoningContent": {"signature": said["signature"]}})
        else:
            deltas = [{"reasoningContent": thought}]
    elif "citationsContent" in block:
        cited = block["citationsContent"]
        deltas = [{"text": one["text"]} for one in cited.get("content", []) if "text" in one]
        deltas += [{"citation": one} for one in cited.get("citations", [])]
    return [*started, *(("contentBlockDelta", {"delta": delta}) for delta in deltas), ("contentBlockStop", {})]


def _pieces(words: str) -> list[str]:
    return [words[at : at + 3] for at in range(0, len(words), 3)]


def summed(data: bytes) -> dict[str, Any]:
    """Return what the chunks of a stream come to, as a client adds them up: ``message``, ``finish``, ``usage``, …"""
    message: dict[str, Any] = {"content": None, "tool_calls": [], "reasoning_content": "", "thinking_blocks": []}
    told: dict[str, Any] = {"message": message, "finish": [], "done": False, "error": None, "usage": None}
    for line in data.decode().split("\n\n"):
        if not line:
            continue
        assert line.startswith("data: ") and not told["done"]
        if line == "data: [DONE]":
            told["done"] = True
            continue
        chunk = json.loads(line[6:])
        told["error"] = chunk.get("error", told["error"])
        told["usage"] = chunk.get("usage", told["usage"])
        for choice in chunk.get("choices", []):
            _add(message, choice["delta"])
            told["finish"] += [choice["finish_reason"]] if choice["finish_reason"] else []
    message["content"] = message["content"] or None
    return told


def _add(message: dict[str, Any], delta: dict[str, Any]) -> None:
    message["content"] = (message["content"] or "") + delta.get("content", "")
    message["reasoning_content"] += delta.get("reasoning_content", "")
    for piece in delta.get("thinking_blocks", []):
        # As openai-python adds up what has an index.
        index = piece.pop("index")
        if index == len(message["thinking_blocks"]):
            message["thinking_blocks"].append({})
        thought = message["thinking_blocks"][index]
        for name, value in piece.items():
            thought[name] = value if name == "type" else thought.get(name, "") + value
    for call in delta.get("tool_calls", []):
        if call["index"] == len(message["tool_calls"]):
            message["tool_calls"].append({"id": call["id"], "name": call["function"]["name"], "arguments": ""})
        message["tool_calls"][call["index"]]["arguments"] += call["function"]["arguments"]
