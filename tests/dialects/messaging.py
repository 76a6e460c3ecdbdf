"""A message of Anthropic's through the dialect and back, without a gateway, for the tests of this folder."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any

from bedrock_gateway.dialects.anthropic.request import MessagesTranslation, read_count, read_messages
from bedrock_gateway.dialects.speech import NO_DEFAULTS, Asked
from bedrock_gateway.wire.eventstream import encode_event

CLAUDE = "us.anthropic.claude-sonnet-4-20250514-v1:0"
NOVA, NOVA_2 = "us.amazon.nova-pro-v1:0", "us.amazon.nova-2-lite-v1:0"
GPT, LLAMA, COHERE = "openai.gpt-oss-120b-1:0", "us.meta.llama3-3-70b-instruct-v1:0", "cohere.command-r-v1:0"
HIDDEN = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"


def request(**members: Any) -> dict[str, Any]:
    """Return a request with a question, and other members."""
    return {"model": "group", "max_tokens": 50, "messages": [{"role": "user", "content": "Why?"}]} | members


def read(
    body: object,
    *,
    model: str = NOVA,
    drop_params: bool = False,
    headers: Mapping[str, str] | None = None,
    count: bool = False,
) -> MessagesTranslation:
    """Read a request; ``body``: its bytes, or what is to be written as JSON; ``count``: of its tokens."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    asked = Asked(
        path="/v1/messages", headers=headers or {}, body=data, drop_params=drop_params, model_of=lambda name: model
    )
    return read_count(asked) if count else read_messages(asked)


def sent(
    body: Mapping[str, Any],
    *,
    model: str = NOVA,
    drop_params: bool = False,
    defaults: Mapping[str, object] = NO_DEFAULTS,
) -> Any:
    """Return what an attempt on a model sends."""
    translation = read(body, drop_params=drop_params, model=model)
    relay = translation.relay(model, call_id="1", now=0, defaults=defaults)
    return json.loads(relay.request(translation.body))


def whole(answer: object, *, model: str = NOVA) -> Any:
    """Return the message for an answer that comes whole."""
    relay = read(request(), model=model).relay(model, call_id="1", now=0)
    assert b"" == relay.receive_data(json.dumps(answer).encode())
    return json.loads(relay.receive_eof())


def streamed(data: bytes, *, model: str = NOVA) -> list[dict[str, Any]]:
    """Return the events for the bytes of a stream."""
    relay = read(request(stream=True), model=model).relay(model, call_id="1", now=0)
    told = relay.receive_data(data) + relay.receive_eof()
    events = []
    for one in told.decode().split("\n\n")[:-1]:
        name, _, document = one.partition("\ndata: ")
        events.append(json.loads(document))
        assert f"event: {events[-1]['type']}" == name
    return events


def summed(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the message that events add up to, as a client adds them up."""
    first, *middle, end, last = events
    assert ("message_start", "message_delta", "message_stop") == (first["type"], end["type"], last["type"])
    message: dict[str, Any] = first["message"]
    given: dict[int, str] = {}
    for event in middle:
        if event["type"] == "content_block_start":
            assert len(message["content"]) == event["index"]
            message["content"].append(event["content_block"])
        elif event["type"] == "content_block_delta":
            _add(message["content"][-1], event["delta"], given, event["index"])
    for at, words in given.items():
        message["content"][at]["input"] = json.loads(words)
    return message | end["delta"] | {"usage": message["usage"] | end["usage"]}


def _add(block: dict[str, Any], delta: dict[str, Any], given: dict[int, str], at: int) -> None:
    kind = delta["type"]
    if kind == "input_json_delta":
        given[at] = given.get(at, "") + delta["partial_json"]
    elif kind == "citations_delta":
        block.setdefault("citations", []).append(delta["citation"])
    elif kind == "signature_delta":
        block["signature"] = delta["signature"]
    else:
        name = {"text_delta": "text", "thinking_delta": "thinking"}[kind]
        block[name] += delta[name]


def chunks_of(message: Mapping[str, Any]) -> list[bytes]:
    """Return a message of Claude's as those of InvokeModelWithResponseStream, text in pieces of three characters."""
    return [
        encode_event("chunk", json.dumps({"bytes": base64.b64encode(json.dumps(event).encode()).decode()}).encode())
        for event in _events(message)
    ]


def _events(message: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    ends = {name: message[name] for name in ("stop_reason", "stop_sequence")}
    yield {"type": "message_start", "message": {**message, "content": [], **dict.fromkeys(ends)}}
    for index, block in enumerate(message["content"]):
        start, deltas = _in_pieces(block)
        yield {"type": "content_block_start", "index": index, "content_block": start}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    yield {"type": "message_delta", "delta": ends, "usage": message["usage"]}
    yield {"type": "message_stop", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 1}}


def _in_pieces(block: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    if block["type"] == "text":
        pieces = [block["text"][at : at + 3] for at in range(0, len(block["text"]), 3)]
        return {**block, "text": ""}, [{"type": "text_delta", "text": piece} for piece in pieces]
    if block["type"] == "tool_use":
        return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": json.dumps(block["input"])}]
    return dict(block), []
