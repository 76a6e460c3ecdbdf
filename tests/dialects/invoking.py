"""A chat completion through the words of a family and back, without a gateway, for the tests of this folder."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any

from chatting import NOW, read, summed

from bedrock_gateway.dialects.families.bodies import body_of
from bedrock_gateway.dialects.families.invoked import InvokedRelay, InvokedStream, invoked
from bedrock_gateway.wire.eventstream import encode_event

#: What the last chunk of every stream tells.
METRICS = {"inputTokenCount": 11, "outputTokenCount": 7, "invocationLatency": 9, "firstByteLatency": 3}
#: The same as the meter tells it.
COUNTS = {"input_tokens": 11, "output_tokens": 7, "cache_read_tokens": 0, "cache_write_tokens": 0}


def relay_of(body: Mapping[str, Any], model: str, form: str = "") -> InvokedRelay | InvokedStream:
    """Return the relay of an attempt on a model that is asked in its own words."""
    family = body_of(form, model)
    assert family is not None
    translation = read(body, model=model)
    relay = translation.relay(model, call_id="1", now=NOW)
    return invoked(relay, family, drop_params=translation.drop_params)


def native(body: Mapping[str, Any], model: str, form: str = "") -> Any:
    """Return the body of InvokeModel for a request of chat completions."""
    translation = read(body, model=model)
    return json.loads(relay_of(body, model, form).request(translation.body))


def headers(body: Mapping[str, Any], model: str, form: str = "") -> dict[str, str]:
    """Return the headers beside that body."""
    relay = relay_of(body, model, form)
    relay.request(read(body, model=model).body)
    return dict(relay.headers)


def completion(
    body: Mapping[str, Any], answer: object, model: str, form: str = "", counts: Mapping[str, int] = COUNTS
) -> Any:
    """Return the chat completion for a model's own answer."""
    relay = relay_of(body, model, form)
    assert isinstance(relay, InvokedRelay)
    relay.request(read(body, model=model).body)
    relay.counts = counts
    assert b"" == relay.receive_data(json.dumps(answer).encode())
    return json.loads(relay.receive_eof())


def streamed(body: Mapping[str, Any], chunks: Iterable[object], model: str, form: str = "") -> dict[str, Any]:
    """Return what a client makes of a model's own chunks; the last is given the metrics."""
    asked = {**body, "stream": True, "stream_options": {"include_usage": True}}
    relay = relay_of(asked, model, form)
    relay.request(read(asked, model=model).body)
    *before, last = chunks
    assert isinstance(last, dict)
    told = [*before, {**last, "amazon-bedrock-invocationMetrics": METRICS}]
    data = b"".join(relay.receive_data(chunk_of(one)) for one in told)
    return summed(data + relay.receive_eof())


def chunk_of(document: object) -> bytes:
    """Return a chunk of InvokeModelWithResponseStream."""
    inner = base64.b64encode(json.dumps(document).encode()).decode()
    return encode_event("chunk", json.dumps({"bytes": inner, "p": "abc"}, separators=(",", ":")).encode())
