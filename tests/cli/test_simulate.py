"""``bedrock-gateway simulate`` as a process of its own."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

from bedrock_gateway.cli import simulate
from bedrock_gateway.errors import StartError

# The command alone, so that this test needs no other command to work.
PROGRAM = """
import argparse, sys
from bedrock_gateway.cli import simulate
from bedrock_gateway.errors import StartError
parser = argparse.ArgumentParser()
simulate.add_parser(parser.add_subparsers())
args = parser.parse_args()
sys.exit(args.run(args))
"""
ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str, dict[str, str]]]:
    """Run the command on a free port; give the process, its URL and the variables it prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}
    command = [sys.executable, "-c", PROGRAM, "simulate", "--port", "0", *arguments]
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    try:
        exported: dict[str, str] = {}
        base_url = ""
        for line in process.stdout:
            if found := re.search(r"on (http://\S+)", line):
                base_url = found[1]
            if found := re.search(r"export (\w+)=(\S+)", line):
                exported[found[1]] = found[2]
            if "AWS_REGION" in line:
                break
        assert base_url, process.stderr.read() if process.stderr is not None else ""
        yield process, base_url, exported
    finally:
        process.kill()
        process.communicate()


def test_printed_credentials_work(tmp_path: Path) -> None:
    """What it prints is enough for a stock boto3; its log has the request, its control path takes faults."""
    log = tmp_path / "log.jsonl"
    with running("--tokens-per-second", "0", "--first-token-ms", "0", "--log", str(log)) as (_, base_url, exported):
        assert {base_url} == {url for name, url in exported.items() if name.startswith("AWS_ENDPOINT_URL_")}
        assert {"AWS_ENDPOINT_URL_BEDROCK_RUNTIME", "AWS_ENDPOINT_URL_BEDROCK_AGENT_RUNTIME"} <= set(exported)
        client = boto3.client(
            "bedrock-runtime",
            endpoint_url=base_url,
            aws_access_key_id=exported["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=exported["AWS_SECRET_ACCESS_KEY"],
            region_name=exported["AWS_REGION"],
            config=Config(retries={"total_max_attempts": 1, "mode": "standard"}),
        )
        asked = {"modelId": "amazon.nova-lite-v1:0", "messages": [{"role": "user", "content": [{"text": "hi"}]}]}
        try:
            assert "end_turn" == client.converse(**asked)["stopReason"]
            fault = json.dumps({"kind": "throttle"}).encode()
            with urllib.request.urlopen(f"{base_url}/_simulator/faults", data=fault, timeout=10) as answer:
                assert 201 == answer.status
            with pytest.raises(client.exceptions.ThrottlingException):
                client.converse(**asked)
        finally:
            client.close()
    assert [None, "throttle"] == [json.loads(line)["fault"] for line in log.read_bytes().splitlines()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_well(number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM end it with status 0 and nothing on stderr, also with a stream open."""
    with running("--first-token-ms", "60000") as (process, base_url, _):
        port = int(base_url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port)) as caller:
            caller.sendall(b"GET /foundation-models HTTP/1.1\r\nHost: x\r\n\r\n")
            assert caller.recv(12).startswith(b"HTTP/1.1 403")
            process.send_signal(number)
            _, errors = process.communicate(timeout=20)
    assert (0, "") == (process.returncode, errors)


def parsed(*arguments: str) -> argparse.Namespace:
    """Parse a command line of the command."""
    parser = argparse.ArgumentParser()
    simulate.add_parser(parser.add_subparsers())
    return parser.parse_args(["simulate", *arguments])


def test_taken_port_is_one_clear_line() -> None:
    """A taken port is a StartError of one line that says what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        args = parsed("--port", str(port))
        with pytest.raises(StartError) as raised:
            args.run(args)
    assert f"cannot listen on 127.0.0.1:{port}: " in str(raised.value)
    assert str(raised.value).endswith("choose another with --port")
    assert 1 == len(str(raised.value).splitlines())


def test_unwritable_log_is_one_clear_line(tmp_path: Path) -> None:
    """A log that cannot be written is a StartError."""
    args = parsed("--port", "0", "--log", str(tmp_path / "nowhere" / "log"))
    with pytest.raises(StartError, match="cannot write the log"):
        args.run(args)


@pytest.mark.parametrize(
    "arguments",
    [("--port", "x"), ("--port", "70000"), ("--tokens-per-second", "-1"), ("--first-token-ms", "nan"), ("--seed", "x")],
)
def test_wrong_usage(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """Wrong arguments end with status 2 and a usage line."""
    with pytest.raises(SystemExit) as raised:
        parsed(*arguments)
    assert 2 == raised.value.code
    assert "usage:" in capsys.readouterr().err
