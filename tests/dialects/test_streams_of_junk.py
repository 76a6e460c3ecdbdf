"""Streams that no model should send, written in every dialect that streams."""

from __future__ import annotations

import base64
import json

import pytest

from bedrock_gateway.dialects.anthropic.dialect import MESSAGES
from bedrock_gateway.dialects.openai.dialect import CHAT, RESPONSES
from bedrock_gateway.dialects.speech import Asked, Dialect, Divided
from bedrock_gateway.wire.eventstream import encode_event

NOVA, CLAUDE = "amazon.nova-pro-v1:0", "anthropic.claude-sonnet-4-20250514-v1:0"
DEEP = b"[" * 100_000 + b"]" * 100_000
CHUNK = json.dumps({"bytes": base64.b64encode(DEEP).decode()}).encode()


@pytest.mark.parametrize(
    ("dialect", "model", "message"),
    [
        (CHAT, NOVA, encode_event("contentBlockDelta", DEEP)),
        (CHAT, NOVA, encode_event("contentBlockDelta", b'{"contentBlockIndex":0,"delta":{"text":null}}')),
        (RESPONSES, NOVA, encode_event("contentBlockDelta", DEEP)),
        (MESSAGES, NOVA, encode_event("contentBlockDelta", DEEP)),
        (MESSAGES, CLAUDE, encode_event("chunk", CHUNK)),
    ],
    ids=["chat, deep", "chat, no text", "responses, deep", "messages, deep", "Claude, deep"],
)
def test_a_message_that_cannot_be_read_is_told_in_the_stream(dialect: Dialect, model: str, message: bytes) -> None:
    """The head has left by then, so an error is the end of the stream, and never an exception in the gateway."""
    asked = {"model": "m", "stream": True, "input": "x", "messages": [{"role": "user", "content": "x"}]}
    told = dialect.read(
        Asked(
            path="/",
            headers={},
            body=json.dumps({**asked, "max_tokens": 5}).encode(),
            drop_params=False,
            model_of=lambda name: model,
        )
    )
    assert not isinstance(told, Divided)
    relay = told.relay(model, call_id="c", now=0)

    assert b"cannot be read" in relay.receive_data(message)
    assert b"[DONE]" not in relay.receive_eof()
