"""Stock clients as programs of their own, and what was on both sides of the gateway when they called."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import aiobotocore
import boto3
import pytest
from botocore.eventstream import EventStreamBuffer
from running import CLAUDE, Running
from wire_tap import Exchange

__all__ = [
    "ACTIONS",
    "ANY_KEY",
    "MODELS",
    "STREAMS",
    "Client",
    "Told",
    "check_bytes",
    "newest_boto3",
    "output_of",
    "payloads_of",
    "pinned_aiobotocore",
    "pinned_boto3",
]

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
#: Credentials an open gateway takes.
ANY_KEY = {"AWS_ACCESS_KEY_ID": "any-key", "AWS_SECRET_ACCESS_KEY": "unused"}

#: Every kind of name a caller may use, and the model id that goes upstream for it.
MODELS = {
    "config name": ("single", CLAUDE),
    "raw model id": ("anthropic.claude-3-haiku-20240307-v1:0",) * 2,
    "geo-prefixed id": ("eu.anthropic.claude-sonnet-4-20250514-v1:0",) * 2,
    "provisioned model": ("arn:aws:bedrock:us-east-1:111122223333:provisioned-model/abcdefghijkl",) * 2,
    "application profile": ("arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/abcdefghijkl",) * 2,
}
#: Last segment of the path of each operation that asks a model.
ACTIONS = {
    "Converse": "converse",
    "ConverseStream": "converse-stream",
    "InvokeModel": "invoke",
    "InvokeModelWithResponseStream": "invoke-with-response-stream",
}
STREAMS = {"ConverseStream", "InvokeModelWithResponseStream"}
#: What a client told: by model, the text of each operation's answer.
Told = dict[str, dict[str, str]]
#: Takes the gateway's URL, variables with credentials, and models.
Client = Callable[..., Awaitable[Told]]


async def output_of(*command: str, given: bytes | None = None, environ: dict[str, str] | None = None) -> bytes:
    """Run a program and return what it printed; its failure is the test's."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environ,
    )
    output, errors = await process.communicate(given)
    assert 0 == process.returncode, errors.decode()
    return output


async def told_by(python: str, program: str, url: str, environ: Mapping[str, str], models: tuple[str, ...]) -> Any:
    """Run a client in a process that knows nothing of this one's AWS settings; return what it printed."""
    clean = {"PATH": os.environ["PATH"], "HOME": os.devnull, "AWS_EC2_METADATA_DISABLED": "true"}
    return json.loads(
        await output_of(python, str(HERE / program), f"{url}/bedrock", *models, environ=clean | dict(environ))
    )


async def pinned_boto3(url: str, environ: Mapping[str, str], *models: str) -> Told:
    """Be the boto3 of the version aiobotocore pins."""
    told = await told_by(sys.executable, "stock_client.py", url, environ, models)
    assert boto3.__version__ == told["version"]
    return dict(told["told"])


async def newest_boto3(url: str, environ: Mapping[str, str], *models: str) -> Told:
    """Be the newest boto3, in an environment of its own."""
    told = await told_by(newest_python(), "stock_client.py", url, environ, models)
    assert numbers(boto3.__version__) <= numbers(told["version"])
    return dict(told["told"])


async def pinned_aiobotocore(url: str, environ: Mapping[str, str], *models: str) -> Told:
    """Be aiobotocore."""
    told = await told_by(sys.executable, "stock_aio_client.py", url, environ, models)
    assert aiobotocore.__version__ == told["version"]
    return dict(told["told"])


def newest_python() -> str:
    """Return the Python that has the newest boto3, which make names; only a run without make may have none."""
    python = os.environ.get("BOTO3_PYTHON") or str(ROOT / ".venv-boto3/bin/python")
    if not Path(python).exists():
        missing = "BOTO3_PYTHON names no Python with the newest boto3; make .venv-boto3/.stamp makes one"
        if "CI" in os.environ or "BOTO3_PYTHON" in os.environ:
            pytest.fail(missing)
        pytest.skip(missing)
    return python


def numbers(version: str) -> tuple[int, ...]:
    """Return a version in the order of versions."""
    return tuple(map(int, version.split(".")))


def payloads_of(stream: bytes) -> list[bytes]:
    """Return the payloads of an event stream as botocore reads it: all checksums hold, no byte is left over."""
    buffer = EventStreamBuffer()
    buffer.add_data(stream)
    messages = list(buffer)
    assert len(stream) == sum(message.prelude.total_length for message in messages)
    return [message.payload for message in messages]


def check_bytes(here: Running, exchange: Exchange) -> None:
    """Check that the two sides of the gateway carried the same bodies."""
    assert 200 == exchange.status
    request_id = exchange.answer_headers["x-amzn-requestid"]
    (received,) = (record for record in here.simulator.received if record.request_id == request_id)
    assert exchange.body == received.body
    assert (len(exchange.answer_body), hashlib.sha256(exchange.answer_body).hexdigest()) == (
        received.sent.size,
        received.sent.sha256,
    )
    if received.operation in STREAMS:
        assert payloads_of(exchange.answer_body)
