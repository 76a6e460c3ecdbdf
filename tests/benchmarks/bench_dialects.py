"""What translation costs: a small chat completion there and back, and a streamed event.

``python tests/benchmarks/bench_dialects.py`` prints a table; ``measure()`` returns the rounds. Microseconds of this
machine: a bar is on them, but no test.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bedrock_gateway.dialects.openai.chat_request import read_chat
from bedrock_gateway.dialects.speech import Asked
from bedrock_gateway.wire.eventstream import encode_event

__all__ = ["CALL", "EVENT", "measure"]

CALL, EVENT = "a small chat call, there and back", "a streamed event"
ROUNDS = 15
CALLS = 400
EVENTS = 2_000
MODEL = "us.anthropic.claude-sonnet-4-20250514-v1:0"
REQUEST = {
    "model": "claude",
    "messages": [
        {"role": "system", "content": "You are brief."},
        {"role": "user", "content": "What is a gateway good for, in one sentence?"},
    ],
    "max_tokens": 200,
    "temperature": 0.2,
}
ANSWER = {
    "output": {"message": {"role": "assistant", "content": [{"text": "It is one door for many rooms. " * 8}]}},
    "stopReason": "end_turn",
    "usage": {"inputTokens": 25, "outputTokens": 60, "totalTokens": 85},
    "metrics": {"latencyMs": 900},
}


def measure() -> dict[str, list[float]]:
    """Return microseconds by what is measured, round by round, sorted."""
    body, answer = json.dumps(REQUEST).encode(), json.dumps(ANSWER).encode()
    streamed = json.dumps({**REQUEST, "stream": True}).encode()
    event = json.dumps({"contentBlockIndex": 0, "delta": {"text": " sentence"}, "p": "abcdefgh"}).encode()
    message = encode_event("contentBlockDelta", event)
    found: dict[str, list[float]] = {CALL: [], EVENT: []}
    for _ in range(ROUNDS):
        began = time.thread_time()
        for _ in range(CALLS):
            relay = read_chat(asked(body)).relay(MODEL, call_id="0", now=0)
            relay.request(body)
            relay.receive_data(answer)
            assert relay.receive_eof()
        found[CALL].append((time.thread_time() - began) / CALLS * 1e6)
        relay = read_chat(asked(streamed)).relay(MODEL, call_id="0", now=0)
        began = time.thread_time()
        for _ in range(EVENTS):
            assert relay.receive_data(message)
        found[EVENT].append((time.thread_time() - began) / EVENTS * 1e6)
    return {name: sorted(rounds) for name, rounds in found.items()}


def asked(body: bytes) -> Asked:
    """Return a request as the chain hands it over."""
    return Asked(path="/v1/chat/completions", headers={}, body=body, drop_params=False, model_of=lambda name: MODEL)


def main() -> None:
    """Print what translation costs."""
    print(f"microseconds of translation: median (lowest to highest) of {ROUNDS} rounds")
    for name, rounds in measure().items():
        print(f"{name:36} {rounds[len(rounds) // 2]:6.2f} ({rounds[0]:.2f} to {rounds[-1]:.2f})")


if __name__ == "__main__":
    main()
