"""A response through the dialect and back, without a gateway, for the tests of this folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from chatting import CLAUDE, NOW, converse_by, events_of

from bedrock_gateway.dialects.openai.responses_request import ResponsesTranslation, read_responses
from bedrock_gateway.dialects.speech import Asked


def read(body: object, *, drop_params: bool = False, model: str = CLAUDE) -> ResponsesTranslation:
    """Read a request."""
    data = json.dumps(body).encode()
    asked = Asked(path="/v1/responses", headers={}, body=data, drop_params=drop_params, model_of=lambda name: model)
    return read_responses(asked)


converse = converse_by(read)


def request(**members: Any) -> dict[str, Any]:
    """Return a request with a question, and other members."""
    return {"model": "group", "input": "Why?"} | members


def whole(answer: object, body: Mapping[str, Any] | None = None, *, model: str = CLAUDE) -> Any:
    """Return the response for an answer of Converse."""
    relay = read(body or request(), model=model).relay(model, call_id="1", now=NOW)
    assert b"" == relay.receive_data(json.dumps(answer).encode())
    return json.loads(relay.receive_eof())


def events(data: bytes) -> list[dict[str, Any]]:
    """Return the events of a stream of server-sent events."""
    told = []
    for one in data.decode().split("\n\n"):
        if one:
            kind, _, event = one.partition("\ndata: ")
            told.append(json.loads(event))
            assert f"event: {told[-1]['type']}" == kind
    return told


def streamed(
    answer: Mapping[str, Any], body: Mapping[str, Any] | None = None, *, model: str = CLAUDE
) -> list[dict[str, Any]]:
    """Return the events for an answer of Converse that is streamed."""
    relay = read((body or request()) | {"stream": True}, model=model).relay(model, call_id="1", now=NOW)
    return events(relay.receive_data(b"".join(events_of(answer))) + relay.receive_eof())
