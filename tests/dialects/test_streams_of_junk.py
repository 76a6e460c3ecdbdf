"""Streams that no model should send, written in every dialect that streams."""

from __future__ import annotations

import base64
import json

import pytest

from bedrock_gateway.dialects.anthropic.dialect import MESSAGES
from bedrock_gateway.dialects.openai.dialect import CHAT, RESPONSES
from bedrock_gateway.dialects.speech import Asked, Dialect, Divided, Relay
from bedrock_gateway.wire.eventstream import encode_event

NOVA, CLAUDE = "amazon.nova-pro-v1:0", "anthropic.claude-sonnet-4-20250514-v1:0"
DEEP = b"[" * 100_000 + b"]" * 100_000
CHUNK = json.dumps({"bytes": base64.b64encode(DEEP).decode()}).encode()


def relay_of(dialect: Dialect, model: str) -> Relay:
    """Return the relay of a stream in a dialect."""
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
    return told.relay(model, call_id="c", now=0)


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
    relay = relay_of(dialect, model)

    assert b"cannot be read" in relay.receive_data(message)
    assert b"[DONE]" not in relay.receive_eof()


@pytest.mark.parametrize("model", [NOVA, CLAUDE])
@pytest.mark.parametrize("dialect", [CHAT, RESPONSES, MESSAGES])
@pytest.mark.parametrize("junk", [b"data: {}\n\n" * 9, b"{}" * 9], ids=["server-sent events", "JSON"])
def test_what_holds_no_messages_ends_with_an_error(dialect: Dialect, model: str, junk: bytes) -> None:
    """Bytes that are no messages of a stream are told as an error once at the end, never as an empty answer."""
    relay = relay_of(dialect, model)

    told = relay.receive_data(junk) + relay.receive_data(junk) + relay.receive_eof()

    assert b"cannot be read" in told
    assert b"" == relay.receive_eof()


@pytest.mark.parametrize("dialect", [CHAT, RESPONSES, MESSAGES])
def test_thought_of_a_kind_that_is_not_known_is_passed_over(dialect: Dialect) -> None:
    """What AWS may add to its thoughts one day breaks no answer, and makes no block that would be refused later."""
    relay = relay_of(dialect, NOVA)
    deltas: list[dict[str, object]] = [{"reasoningContent": {"newThing": {"x": 1}}}, {"text": "an answer"}]
    sent = [("messageStart", {"role": "assistant"})]
    for at, delta in enumerate(deltas):
        sent += [
            ("contentBlockDelta", {"contentBlockIndex": at, "delta": delta}),
            ("contentBlockStop", {"contentBlockIndex": at}),
        ]
    sent += [
        ("messageStop", {"stopReason": "end_turn"}),
        ("metadata", {"usage": {"inputTokens": 1, "outputTokens": 2}}),
    ]

    told = b"".join(relay.receive_data(encode_event(kind, json.dumps(said).encode())) for kind, said in sent)
    told += relay.receive_eof()

    assert b"an answer" in told and b"cannot be read" not in told
    assert b'"thinking' not in told and b'"type":"reasoning"' not in told
