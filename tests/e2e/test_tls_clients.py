"""The real command with TLS, and stock clients with a Bedrock API key: what boto3 from 1.44 on sends no other way."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from process import Command, run
from stock_clients import newest_boto3, pinned_boto3

MASTER = "sk-master-0123456789abcdef"
MODEL = "us.anthropic.claude-sonnet-4-20250514-v1:0"
OPERATIONS = {"Converse", "ConverseStream", "InvokeModel", "InvokeModelWithResponseStream"}
BODY = json.dumps({"messages": [{"role": "user", "content": [{"text": "Hello"}]}]}).encode()


@pytest.fixture(params=["asyncio", "uvloop"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Run the gateway with a certificate of its own; give its URL and the authority's file."""
    environ = {"BEDROCK_GATEWAY_LOOP": request.param, "LITELLM_MASTER_KEY": MASTER}
    with Command.start(tmp_path, "serve", "--simulate", "--tls", "--port", "0", environ=environ) as command:
        url = command.until(r"listens at (https://\S+)/bedrock \(locked")[1]
        bundle = command.until(r"AWS_CA_BUNDLE=(\S+), Node")[1]
        yield url, Path(bundle)
        command.process.terminate()
        assert 0 == command.process.wait(20)
        assert "Traceback" not in "\n".join((*command.out, *command.err))


def test_stock_clients_with_an_api_key(served: tuple[str, Path]) -> None:
    """Both boto3s trust the gateway by AWS_CA_BUNDLE and send their key as AWS_BEARER_TOKEN_BEDROCK, streams too."""
    url, bundle = served
    environ = {"AWS_CA_BUNDLE": str(bundle), "AWS_BEARER_TOKEN_BEDROCK": MASTER}
    for client in (newest_boto3, pinned_boto3):
        told = asyncio.run(client(url, environ, MODEL))
        assert OPERATIONS == set(told[MODEL])
        assert all(text for text in told[MODEL].values())


def ask(url: str, bundle: Path | None, key: str = MASTER, model: str = MODEL) -> tuple[int, str]:
    """Make one call; return status and error type."""
    context = ssl.create_default_context(cafile=bundle)
    request = urllib.request.Request(
        f"{url}/bedrock/model/{model}/converse", BODY, {"authorization": f"Bearer {key}"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, context=context, timeout=20) as answer:
            return answer.status, ""
    except urllib.error.HTTPError as error:
        return error.code, error.headers["x-amzn-errortype"]


def test_errors_and_untrusted_clients(served: tuple[str, Path]) -> None:
    """Errors come as without TLS; who does not know the authority gets nowhere; plain HTTP works beside it."""
    url, bundle = served
    assert (200, "") == ask(url, bundle)
    assert (403, "UnrecognizedClientException") == ask(url, bundle, key="sk-wrong")
    assert (404, "ResourceNotFoundException") == ask(url, bundle, model="nobodys-model")
    assert (200, "") == ask(url.replace("https", "http"), bundle)
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        ask(url, None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tls-cert", "c.pem"], "--tls-key is missing"),
        (["--tls-key", "k.pem"], "--tls-cert is missing"),
        (["--tls-cert", "c.pem", "--tls-key", "k.pem"], "c.pem: the TLS certificate cannot be read: No such file"),
        (["--tls", "--unix-socket", "s.sock"], "a unix socket takes no TLS"),
    ],
)
def test_what_cannot_be_started(tmp_path: Path, arguments: list[str], message: str) -> None:
    """Options that do not go together, and files that are not there, end the start with one line."""
    done = run(tmp_path, "serve", "--simulate", "--port", "0", *arguments)
    assert 2 == done.returncode
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_lines_to_paste_with_tls(tmp_path: Path) -> None:
    """Curl and boto3 are told of the authority, by its whole path wherever they are run; a folder may hold spaces."""
    options = ("--simulate", "--tls", "--port", "0", "--database", "a folder/ledger.db")
    with Command.start(tmp_path, "serve", *options) as command:
        command.until(r" spend --database ")
        (curl,) = (line for line in command.out if line.startswith("curl "))
        (boto3,) = (line for line in command.out if " -c " in line)
        for line in (curl, boto3):
            done = subprocess.run(["sh", "-c", line], cwd="/", capture_output=True, text=True, timeout=30, check=False)
            assert (0, True) == (done.returncode, bool(done.stdout)), done.stderr
            assert "https://127.0.0.1:" in line
    assert f"AWS_CA_BUNDLE={tmp_path}/a folder/tls/ca.pem, Node" in "\n".join(command.out)


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_listening_everywhere(tmp_path: Path, host: str) -> None:
    """Other machines may call it by its host name; an authority that was made for loopback alone stays, and it is said
    what it is not good for.
    """
    options = ("serve", "--simulate", "--tls", "--port", "0", "--database")
    environ = {"LITELLM_MASTER_KEY": MASTER}
    name = socket.gethostname().lower()
    with Command.start(tmp_path, *options, "new/ledger.db", "--host", host, environ=environ) as command:
        port = int(command.until(r"listens at https://\S+:(\d+)/bedrock \(locked")[1])
        bundle = command.until(r"AWS_CA_BUNDLE=(\S+), Node")[1]
        context = ssl.create_default_context(cafile=bundle)
        with socket.create_connection(("127.0.0.1" if host == "0.0.0.0" else "::1", port), 20) as plain:
            with context.wrap_socket(plain, server_hostname=name) as secure:
                assert ("DNS", name) in secure.getpeercert()["subjectAltName"]
    with Command.start(tmp_path, *options, "old/ledger.db") as command:
        bundle = command.until(r"AWS_CA_BUNDLE=(\S+), Node")[1]
    before = Path(bundle).read_bytes()
    with Command.start(tmp_path, *options, "old/ledger.db", "--host", host, environ=environ) as command:
        told = command.until(r"^warning: over TLS no client can call it (.*): its authority .*--host NAME")[1]
    assert name in told.split(" or ")
    assert before == Path(bundle).read_bytes()


def test_a_certificate_of_ones_own(tmp_path: Path) -> None:
    """Given files are served, here those that another start has made."""
    with Command.start(tmp_path, "serve", "--simulate", "--tls", "--port", "0") as command:
        bundle = Path(command.until(r"AWS_CA_BUNDLE=(\S+), Node")[1])
    folder = bundle.parent
    given = ["--tls-cert", str(folder / "server.pem"), "--tls-key", str(folder / "server.key")]
    with Command.start(tmp_path, "serve", "--simulate", "--port", "0", *given) as command:
        url = command.until(r"listens at (https://\S+)/bedrock")[1]
        assert (200, "") == ask(url, bundle)


def test_urls_of_images(served: tuple[str, Path]) -> None:
    """An image that was asked for over TLS is found there."""
    url, bundle = served
    context = ssl.create_default_context(cafile=bundle)
    body = json.dumps({"model": "amazon.nova-canvas-v1:0", "prompt": "a cat", "response_format": "url"}).encode()
    asked = urllib.request.Request(f"{url}/v1/images/generations", body, {"authorization": f"Bearer {MASTER}"})
    with urllib.request.urlopen(asked, context=context, timeout=20) as answer:
        found = json.load(answer)["data"][0]["url"]

    assert found.startswith(f"{url}/v1/images/files/")
    with urllib.request.urlopen(found, context=context, timeout=20) as answer:
        assert "image/png" == answer.headers["content-type"]
