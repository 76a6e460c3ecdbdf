"""Records requests as Python's clients sign them, for test_signatures_recorded.py: boto3 and Anthropic's.

Run it by an interpreter that has them (pip install boto3 "anthropic[bedrock]"), with the id and the secret that
``python signed_requests.py`` prints:

    python record_python_signatures.py ACCESS-KEY-ID SECRET-ACCESS-KEY > python_signed_requests.json
"""

from __future__ import annotations

import json
import sys
from typing import Any

import anthropic
import boto3
import httpx2
from botocore.config import Config

ENDPOINT = "http://127.0.0.1:4000/bedrock"
MODELS = (
    "us.anthropic.claude-sonnet-4-20250514-v1:0",
    "arn:aws:bedrock:us-west-2:123456789012:application-inference-profile/abc123",
)
RECORDED: list[dict[str, Any]] = []


class Recorded(Exception):
    """A request was recorded instead of sent."""


def record(source: str, method: str, url: str, headers: list[tuple[str, str]], body: bytes) -> None:
    """Keep a request."""
    target = "/" + url.split("/", 3)[3]
    RECORDED.append(
        {"source": source, "method": method, "target": target, "headers": headers, "body": body.decode("utf-8")}
    )


def boto(access_key_id: str, secret: str) -> None:
    """Record the newest boto3."""

    def before_send(request: Any, **_: Any) -> None:
        headers = [
            (name, value.decode() if isinstance(value, bytes) else value) for name, value in request.headers.items()
        ]
        body = request.body if isinstance(request.body, bytes) else (request.body or "").encode()
        record(f"boto3 {boto3.__version__}", request.method, request.url, [*headers, ("Host", "127.0.0.1:4000")], body)
        raise Recorded

    session = boto3.Session(aws_access_key_id=access_key_id, aws_secret_access_key=secret, region_name="us-east-1")
    session.events.register("before-send", before_send)
    config = Config(retries={"total_max_attempts": 1})
    clients = {
        name: session.client(name, endpoint_url=ENDPOINT, config=config)
        for name in ("bedrock", "bedrock-runtime", "bedrock-agent-runtime", "bedrock-agentcore")
    }
    runtime = clients["bedrock-runtime"]
    calls = [
        lambda: clients["bedrock"].list_foundation_models(byProvider="a b/c", byOutputModality="TEXT"),
        lambda: clients["bedrock-agent-runtime"].retrieve(knowledgeBaseId="ABCDEFGHIJ", retrievalQuery={"text": "x"}),
        lambda: clients["bedrock-agentcore"].list_events(memoryId="m-1234567890", sessionId="s", actorId="a/b"),
    ]
    messages = [{"role": "user", "content": [{"text": "hé"}]}]
    for model in MODELS:
        for operation in (runtime.converse, runtime.converse_stream):
            calls.append(lambda operation=operation, model=model: operation(modelId=model, messages=messages))
        for operation in (runtime.invoke_model, runtime.invoke_model_with_response_stream):
            calls.append(
                lambda operation=operation, model=model: operation(modelId=model, body=b'{"a":1}', trace="ENABLED")
            )
    for call in calls:
        try:
            call()
        except Recorded:
            continue


def anthropics(access_key_id: str, secret: str) -> None:
    """Record Anthropic's client."""

    def handle(request: httpx2.Request) -> httpx2.Response:
        headers = [(name.decode(), value.decode()) for name, value in request.headers.raw]
        record(f"anthropic {anthropic.__version__}", request.method, str(request.url), headers, request.content)
        return httpx2.Response(400, json={"message": "recorded"})

    client = anthropic.AnthropicBedrock(
        aws_access_key=access_key_id,
        aws_secret_key=secret,
        aws_region="us-east-1",
        base_url=ENDPOINT,
        max_retries=0,
        http_client=httpx2.Client(transport=httpx2.MockTransport(handle)),
    )
    for model in MODELS:
        for stream in (False, True):
            try:
                client.messages.create(
                    model=model, max_tokens=1, stream=stream, messages=[{"role": "user", "content": "hé"}]
                )
            except anthropic.BadRequestError:
                continue


if __name__ == "__main__":
    boto(*sys.argv[1:])
    anthropics(*sys.argv[1:])
    print("[\n" + ",\n".join(json.dumps(request, ensure_ascii=False) for request in RECORDED) + "\n]")
