"""Decoder and signer beside botocore's, in turn in one process: how many times as fast.

``python tests/benchmarks/bench_wire.py`` prints a table; ``measure()`` returns the same figures. Only ratios are
figures worth keeping: both sides run in turn, and the spread over the rounds says how far to trust them.

The decoder reads a ConverseStream of small messages with padding of random length, as Bedrock sends it, and skips all
payloads but that of ``metadata``, with heads known from earlier streams, as in the gateway; the signer signs a
Converse request from body to Authorization header. Payload hash, path and query are in both sides' time.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from statistics import median

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials
from botocore.eventstream import EventStreamBuffer

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bedrock_gateway.wire.eventstream import Heads, Message, MessageDecoder, encode_event
from bedrock_gateway.wire.sigv4 import Credentials, Signer, canonical_path, canonical_query

MESSAGES = 1_000
SIGNATURES = 300
ROUNDS = 11
SEED = 20261120

HOST = "bedrock-runtime.us-west-2.amazonaws.com"
PATH = "/model/us.anthropic.claude-sonnet-4-20250514-v1%3A0/converse"
BODY = b'{"messages":[{"role":"user","content":[{"text":"' + b"Why is the sky blue? " * 40 + b'"}]}]}'
TOKEN = "IQoJb3JpZ2luX2VjE" + "A" * 700


def converse_stream(generator: random.Random) -> list[bytes]:
    """Messages of one ConverseStream answer, encoded."""

    def padding() -> bytes:
        return b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"[: generator.randint(1, 62)]

    def delta() -> bytes:
        text = b"x" * generator.randint(1, 12)
        return b'{"contentBlockIndex":0,"delta":{"text":" %s"},"p":"%s"}' % (text, padding())

    usage = b'{"metrics":{"latencyMs":812},"p":"%s","usage":{"inputTokens":11,"outputTokens":996,"totalTokens":1007}}'
    return [
        encode_event("messageStart", b'{"p":"%s","role":"assistant"}' % padding()),
        *[encode_event("contentBlockDelta", delta()) for _ in range(MESSAGES - 4)],
        encode_event("contentBlockStop", b'{"contentBlockIndex":0,"p":"%s"}' % padding()),
        encode_event("messageStop", b'{"p":"%s","stopReason":"end_turn"}' % padding()),
        encode_event("metadata", usage % padding()),
    ]


def join(messages: Sequence[bytes], size: int) -> list[bytes]:
    """Chunks of so many messages each."""
    return [b"".join(messages[start : start + size]) for start in range(0, len(messages), size)]


def wants(head: Message) -> bool:
    """What a meter wants of a ConverseStream."""
    return head.event_type == "metadata"


def decode_with_botocore(chunks: Sequence[bytes]) -> int:
    """Decode; return the number of messages."""
    buffer = EventStreamBuffer()
    count = 0
    for chunk in chunks:
        buffer.add_data(chunk)
        for _ in buffer:
            count += 1
    return count


def decode(chunks: Sequence[bytes], heads: Heads | None) -> int:
    """Decode, skipping payloads; return the number of messages."""
    decoder = MessageDecoder(wants=wants, heads=heads)
    count = 0
    for chunk in chunks:
        decoder.receive_data(chunk)
        while decoder.next_message() is not None:
            count += 1
    return count


def sign_with_botocore(signer: SigV4Auth, request: AWSRequest) -> str:
    """Sign with the current time, as botocore does."""
    signer.add_auth(request)
    return str(request.headers["Authorization"])


def sign(signer: Signer, credentials: Credentials) -> str:
    """Sign the same request."""
    return signer.authorization(
        method="POST",
        canonical_path=canonical_path(PATH),
        canonical_query=canonical_query(""),
        headers=(
            ("content-type", "application/json"),
            ("host", HOST),
            ("x-amz-date", "20261120T120000Z"),
            ("x-amz-security-token", TOKEN),
            ("x-amzn-bedrock-trace", "ENABLED"),
        ),
        payload_hash=sha256(BODY).hexdigest(),
        credentials=credentials,
        region="us-west-2",
        service="bedrock",
        amz_date="20261120T120000Z",
    )


def compare(theirs: Callable[[], object], ours: Callable[[], object], rounds: int = ROUNDS) -> list[float]:
    """Time theirs / time ours of each round, run in turn, sorted."""
    theirs(), ours()
    ratios = []
    for _ in range(rounds):
        start = time.thread_time()
        theirs()
        middle = time.thread_time()
        ours()
        ratios.append((middle - start) / (time.thread_time() - middle))
    return sorted(ratios)


def compare_all() -> dict[str, list[float]]:
    """All comparisons, each as the sorted ratios of its rounds."""
    generator = random.Random(SEED)
    messages = converse_stream(generator)
    # Another stream with the same kinds of messages teaches the heads: what is timed has not been seen before.
    known = Heads(wants=wants, remember=1_024)
    for _ in range(10):
        decode(converse_stream(generator), known)
    ratios: dict[str, list[float]] = {}
    for name, size, heads in (
        ("decoder", 16, known),
        ("decoder_message_a_chunk", 1, known),
        ("decoder_one_chunk", MESSAGES, known),
        ("decoder_first_stream", 16, None),
    ):
        chunks = join(messages, size)
        if not decode_with_botocore(chunks) == decode(chunks, heads) == MESSAGES:
            raise RuntimeError("the decoders disagree")
        ratios[name] = compare(lambda c=chunks: decode_with_botocore(c), lambda c=chunks, h=heads: decode(c, h))
    request = AWSRequest(
        method="POST",
        url=f"https://{HOST}{PATH}",
        data=BODY,
        headers={"Content-Type": "application/json", "X-Amzn-Bedrock-Trace": "ENABLED"},
    )
    theirs = SigV4Auth(BotocoreCredentials("AKIDEXAMPLE", "secret", TOKEN), "bedrock", "us-west-2")
    credentials = Credentials(access_key_id="AKIDEXAMPLE", secret_access_key="secret", session_token=TOKEN)
    ours = Signer()
    ratios["signing"] = compare(
        lambda: [sign_with_botocore(theirs, request) for _ in range(SIGNATURES)],
        lambda: [sign(ours, credentials) for _ in range(SIGNATURES)],
    )
    return ratios


def measure() -> dict[str, float]:
    """Measure medians by name (the bars: ``decoder``, ``signing``); ``NAME_low`` and ``NAME_high`` are the spread."""
    figures: dict[str, float] = {}
    for name, ratios in compare_all().items():
        figures[name] = median(ratios)
        figures[f"{name}_low"] = ratios[0]
        figures[f"{name}_high"] = ratios[-1]
    return figures


def main() -> None:
    """Print how many times as fast as botocore's each is."""
    figures = measure()
    rows = (
        ("decoder", "decoder, 16 messages a chunk", "bar 10"),
        ("decoder_message_a_chunk", "decoder, 1 message a chunk", "bar 10"),
        ("decoder_one_chunk", "decoder, whole stream in one chunk", "bar 10"),
        ("decoder_first_stream", "decoder, 16 a chunk, nothing known yet", "no bar"),
        ("signing", "signing a Converse request", "bar 4"),
    )
    print(f"times as fast as botocore: median (lowest to highest) of {ROUNDS} rounds")
    for name, title, bar in rows:
        print(f"{title:40} {figures[name]:6.1f} ({figures[name + '_low']:.1f} to {figures[name + '_high']:.1f})  {bar}")


if __name__ == "__main__":
    main()
