"""What is there to be copied: the examples, and the lines ``make run`` prints to paste, all run as they are."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import IO

import attrs
import pytest

from bedrock_gateway.store.call_lines import CallLine, calls
from bedrock_gateway.store.periods import Period
from bedrock_gateway.store.reading import open_ledger

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
#: As ``examples/config.yaml`` has it.
MASTER_KEY = "sk-0123456789-choose-your-own"
#: Seconds until a command counts as hung.
PATIENCE = 30


@attrs.frozen(kw_only=True)
class Server:
    """A server as ``make run`` starts one.

    Attributes:
        url: as its first line tells it, with ``/bedrock``.
        key: what its callers send.
        model: what the lines to paste ask for.
        lines: the three lines to paste.
        database: its ledger.
    """

    url: str
    key: str
    model: str
    lines: tuple[str, ...]
    database: Path

    def run(
        self, *command: str, succeeds: bool = True, environ: Mapping[str, str] = MappingProxyType({})
    ) -> subprocess.CompletedProcess[str]:
        """Run a command as a user of this server would; that it ends otherwise than it should is the test's failure.

        ``environ``: variables besides the server's address and key.
        """
        around = surroundings(self.database.parent)
        around |= {"GATEWAY_URL": self.url, "GATEWAY_KEY": self.key, "LITELLM_MASTER_KEY": self.key, **environ}
        done = subprocess.run(
            command, cwd=ROOT, env=around, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert succeeds == (done.returncode == 0), done.stderr
        return done

    def run_all(self, *commands: tuple[str, ...]) -> list[str]:
        """Run commands at once; return what each printed."""
        with ThreadPoolExecutor() as threads:
            return [done.stdout for done in threads.map(lambda command: self.run(*command), commands)]

    def key_for_agents(self) -> str:
        """Return a key that may call agents and knowledge bases. Behind a budget it has to be one whose calls need no
        bound: how much an agent will do, nobody knows before.
        """
        if self.key != MASTER_KEY:
            return self.key
        rights = {
            "allowed_operations": ["bedrock-agent-runtime:*"],
            "pass_through_all_models": True,
            "allow_unbounded": True,
        }
        asked = urllib.request.Request(
            f"{self.url.removesuffix('/bedrock')}/key/generate",
            json.dumps(rights).encode(),
            {"authorization": f"Bearer {self.key}", "content-type": "application/json"},
        )
        with urllib.request.urlopen(asked, timeout=PATIENCE) as answer:
            return str(json.load(answer)["key"])

    def calls(self) -> list[CallLine]:
        """Return every call that the ledger has, oldest first."""
        with open_ledger(self.database) as connection:
            return calls(connection, Period(), 1_000).lines[::-1]


def surroundings(folder: Path) -> dict[str, str]:
    """Return an environment that knows nothing of this machine's AWS settings, proxies and databases."""
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "AWS_EC2_METADATA_DISABLED": "true",
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "error",
    }


@contextlib.contextmanager
def server(folder: Path, *options: str, key: str) -> Iterator[Server]:
    """Run a server; at its end it must stop by itself and without a fault."""
    database = folder / "ledger.db"
    errors = folder / "errors.log"
    command = (sys.executable, "-m", "bedrock_gateway", "serve", "--simulate", "--port", "0")
    with errors.open("w") as log:
        process = subprocess.Popen(
            [*command, "--database", f"sqlite:///{database}", *options],
            cwd=ROOT,
            env=surroundings(folder),
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        try:
            assert process.stdout is not None
            greeting = greeting_of(process.stdout)
            told = re.search(r"listens at (http://127\.0\.0\.1:\d+/bedrock) ", greeting)
            assert told is not None, greeting + errors.read_text()
            lines = tuple(line for line in greeting.splitlines() if str(sys.executable) in line or "curl" in line)
            model = re.search(r"/model/([^/]+)/converse", lines[0])
            assert model is not None
            yield Server(url=told[1], key=key, model=model[1], lines=lines, database=database)
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=PATIENCE)
            assert 0 == process.returncode, errors.read_text()
            assert "Traceback" not in errors.read_text()
        finally:
            process.kill()
            process.communicate()


def greeting_of(output: IO[str]) -> str:
    """Read what a server prints once it takes calls: up to its last line to paste."""
    lines = []
    for line in output:
        lines.append(line)
        if " spend --database " in line:
            break
    return "".join(lines)


@pytest.fixture(scope="module")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server in front of the simulator without a config: any key and every model id passes."""
    with server(tmp_path_factory.mktemp("open"), key="any-key") as running:
        yield running


@pytest.fixture(scope="module")
def locked_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server in front of the simulator with the config among the examples."""
    with server(
        tmp_path_factory.mktemp("locked"), "--config", str(EXAMPLES / "config.yaml"), key=MASTER_KEY
    ) as running:
        yield running


@pytest.fixture(params=["open_server", "locked_server"])
def running_server(request: pytest.FixtureRequest) -> Server:
    """Each of the two in turn."""
    running: Server = request.getfixturevalue(request.param)
    return running


def test_the_lines_to_paste_work(running_server: Server) -> None:
    """The three printed lines run as they are: curl gets an answer, boto3 prints text, the report counts both calls."""
    curl, boto3, spend = running_server.lines
    before = len(running_server.calls())

    answered, printed = running_server.run_all(("sh", "-c", curl), ("sh", "-c", boto3))
    answer = json.loads(answered)
    report = running_server.run("sh", "-c", spend).stdout

    booked = running_server.calls()
    spent = sum(call.spend or 0 for call in booked)
    *_, total = (line.split() for line in report.splitlines() if line)
    assert answer["output"]["message"]["content"][0]["text"]
    assert printed.strip()
    assert {("Converse", "metered"), ("ConverseStream", "metered")} == {
        (call.operation, call.state) for call in booked[before:]
    }
    assert 0 < spent
    assert ["total", str(len(booked))] == total[:2]
    assert Decimal(spent) / 10**9 == Decimal(total[5])


@pytest.mark.parametrize("model", [(), ("amazon.nova-lite-v1:0",)], ids=["its model", "another model"])
def test_the_converse_example_works(running_server: Server, model: tuple[str, ...]) -> None:
    """``boto3_converse.py`` streams text, and tells the tokens and the call as the ledger has them."""
    question = ("[[simulate: tokens=4]]",) if model else ()

    told = running_server.run(sys.executable, str(EXAMPLES / "boto3_converse.py"), *question, *model).stdout

    call = running_server.calls()[-1]
    text, tokens, last = told.rstrip().rsplit("\n", 2)
    assert text.strip()
    assert f"{call.input} tokens in, {call.output} out" == tokens
    assert f"call {call.call}" == last
    assert ("ConverseStream", "metered") == (call.operation, call.state)
    assert (model or (call.model,))[0] == call.model


def test_the_invoke_example_works(running_server: Server) -> None:
    """``boto3_invoke_stream.py`` streams text in the model's own shape and tells the tokens as the ledger has them."""
    told = running_server.run(sys.executable, str(EXAMPLES / "boto3_invoke_stream.py")).stdout

    call = running_server.calls()[-1]
    text, tokens = told.rstrip().rsplit("\n", 1)
    assert text.strip()
    assert f"{call.input} tokens in, {call.output} out" == tokens
    assert ("InvokeModelWithResponseStream", "metered") == (call.operation, call.state)


def test_the_curl_example_works(running_server: Server) -> None:
    """``curl.sh`` shows the answer and what the gateway adds to it; its spend is the ledger's."""
    told = running_server.run("sh", str(EXAMPLES / "curl.sh")).stdout

    call = running_server.calls()[-1]
    status, *head = told.partition("\n\n")[0].splitlines()
    headers = dict(line.split(": ", 1) for line in head)
    answer = json.loads(told.partition("\n\n")[2])
    assert "HTTP/1.1 200 OK" == status
    assert call.call == headers["x-bedrock-gateway-call-id"]
    assert f"{Decimal(call.spend or 0) / 10**9:.9f}" == headers["x-bedrock-gateway-spend-usd"]
    assert "1" == headers["x-bedrock-gateway-attempts"]
    assert "true" == headers["x-bedrock-gateway-simulated"]
    assert float(headers["x-bedrock-gateway-overhead-ms"]) < 1_000
    assert headers["x-bedrock-gateway-deployment"]
    assert call.output == answer["usage"]["outputTokens"]


def test_the_shell_example_fails_where_the_call_does(running_server: Server) -> None:
    """``curl.sh`` ends with a failure and shows the gateway's words when the model is unknown."""
    done = running_server.run("sh", str(EXAMPLES / "curl.sh"), "no-such-model", succeeds=False)

    head, _, body = done.stdout.partition("\n\n")
    assert head.startswith("HTTP/1.1 404 ")
    assert "no-such-model" in json.loads(body)["message"]


def test_the_agents_example_works(running_server: Server) -> None:
    """``boto3_agents.py`` prints what an agent says, with its tokens, and what a knowledge base knows, with sources; it
    needs no more than a virtual key in the place of the access key id.
    """
    key = running_server.key_for_agents()
    credentials = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": "unused"}

    told = running_server.run(sys.executable, str(EXAMPLES / "boto3_agents.py"), environ=credentials).stdout

    agent, generation = running_server.calls()[-2:]
    tokens = re.search(r"(?m)^(\d+) tokens in, (\d+) out$", told)
    assert tokens is not None and int(tokens[1]) > 0 and int(tokens[2]) > 0
    assert "source s3://simulated-knowledge/gateway.md" in told.splitlines()
    assert ("InvokeAgent", "RetrieveAndGenerate") == (agent.operation, generation.operation)


def test_the_guardrail_example_works(running_server: Server) -> None:
    """``guardrail.sh`` shows what a guardrail did to a text, and the units of it."""
    told = running_server.run("sh", str(EXAMPLES / "guardrail.sh")).stdout

    head, _, body = told.partition("\n\n")
    answer = json.loads(body)
    assert head.startswith("HTTP/1.1 200 OK")
    assert [{"text": "Write to {EMAIL} about it."}] == answer["outputs"]
    assert answer["usage"]["contentPolicyUnits"] == 1
    assert "ApplyGuardrail" == running_server.calls()[-1].operation


def test_the_knowledge_base_example_works(running_server: Server) -> None:
    """``knowledge_base.sh`` shows the passages that answer a question, the best first."""
    key = {"GATEWAY_KEY": running_server.key_for_agents()}

    told = running_server.run("sh", str(EXAMPLES / "knowledge_base.sh"), environ=key).stdout

    head, _, body = told.partition("\n\n")
    best, second = json.loads(body)["retrievalResults"]
    assert head.startswith("HTTP/1.1 200 OK")
    assert best["content"]["text"].startswith("A budget is")
    assert best["score"] > second["score"]
    assert "Retrieve" == running_server.calls()[-1].operation


def test_every_kind_of_name_in_the_example_config_can_be_called(locked_server: Server) -> None:
    """Groups, aliases and ARNs of ``config.yaml`` answer a call; only a reserved one costs nothing by the call."""
    states = dict.fromkeys(("claude", "nova", "sonnet", "fast", "any", "claude-for-billing"), "metered")
    states |= {"claude-reserved": "flat"}

    told = locked_server.run_all(*(("sh", str(EXAMPLES / "curl.sh"), name) for name in states))

    ids = [re.findall(r"(?m)^x-bedrock-gateway-call-id: (.*)$", output)[0] for output in told]
    booked = {call.call: call for call in locked_server.calls()}
    assert states == {name: booked[call].state for name, call in zip(states, ids, strict=True)}
    assert {"claude-reserved"} == {name for name, call in zip(states, ids, strict=True) if booked[call].spend == 0}


def test_the_example_config_passes_the_check(tmp_path: Path) -> None:
    """``check`` takes ``config.yaml`` and shows none of the secrets in it."""
    command = [sys.executable, "-m", "bedrock_gateway", "check", "--config", str(EXAMPLES / "config.yaml")]

    done = subprocess.run(
        command, cwd=ROOT, env=surroundings(tmp_path), capture_output=True, text=True, timeout=PATIENCE, check=False
    )

    assert 0 == done.returncode, done.stderr
    assert "claude-for-billing" in done.stdout
    for secret in (MASTER_KEY, "wJalrXUtnFEMI", "only-with-temporary-keys", "ABSK-an-api-key-of-bedrock", "a-token"):
        assert secret in (EXAMPLES / "config.yaml").read_text()
        assert secret not in done.stdout + done.stderr


def test_the_service_file_starts_the_gateway(tmp_path: Path) -> None:
    """The command of the systemd unit starts a server, with its paths and its port changed for this machine."""
    unit = (EXAMPLES / "systemd" / "bedrock-gateway.service").read_text()
    told = re.search(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    assert told is not None
    program, command, *options = shlex.split(told[1])
    places = {"/etc/bedrock-gateway/config.yaml": str(EXAMPLES / "config.yaml"), "4000": "0"}

    assert ("bedrock-gateway", "serve") == (Path(program).name, command)
    assert set(places) <= set(options)
    with server(tmp_path, *(places.get(option, option) for option in options), key=MASTER_KEY) as running:
        running.run("sh", str(EXAMPLES / "curl.sh"), "claude")
        assert 1 == len(running.calls())


def test_every_example_is_tested() -> None:
    """Nothing lies among the examples that no test here runs."""
    names = {path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.rglob("*") if path.is_file()}
    assert {
        "boto3_agents.py",
        "boto3_converse.py",
        "boto3_invoke_stream.py",
        "config.yaml",
        "curl.sh",
        "guardrail.sh",
        "knowledge_base.sh",
        "systemd/bedrock-gateway.service",
    } == {name for name in names if "__pycache__" not in name}
