"""The AWS SDK for JavaScript v3 with its default handler, which speaks HTTP/2 to a plain http endpoint without asking,
and by ALPN over TLS.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from administering import LOCKED, MASTER, call, new_key
from behind_a_gate import MIDDLE, behind_a_gate, last_rows
from process import Command
from running import running

HERE = Path(__file__).parent / "js"
MODEL = "us.anthropic.claude-sonnet-4-20250514-v1:0"


def node() -> str:
    """Return the Node.js that came with the tests' requirements, else the machine's own."""
    own = Path(sys.executable).parent / "node"
    found = str(own) if own.exists() else shutil.which("node")
    if found is None or not (HERE / "node_modules" / "@aws-sdk").exists():
        missing = (
            "Node.js or the AWS SDK for JavaScript is not there; make tests/e2e/js/node_modules/.stamp installs both"
        )
        if "CI" in os.environ:
            pytest.fail(missing)
        pytest.skip(missing)
    return found


async def told_by(url: str, *what: str, environ: dict[str, str] | None = None, **asked: Any) -> dict[str, Any]:
    """Run the client in a process of its own; return what it saw."""
    process = await asyncio.create_subprocess_exec(
        *(node(), str(HERE / "stock_client.mjs"), f"{url}/bedrock"),
        env={"PATH": os.environ["PATH"], "HOME": os.devnull, **(environ or {})},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(json.dumps({"model": MODEL, "what": what, **asked}).encode())
    assert 0 == process.returncode, err.decode()
    told: dict[str, Any] = json.loads(out)
    assert "NodeHttp2Handler" == told["handler"]
    return told


def values(told: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return what came of each; an error is the test's."""
    assert not [told[name] for name in names if "error" in told[name]]
    return {name: told[name]["value"] for name in names}


OPERATIONS = ("converse", "converseStream", "invoke", "invokeStream")


@pytest.mark.parametrize("way", ["token", "variable", "key", "issued"])
async def test_every_operation(tmp_path: Path, way: str) -> None:
    """A stock client works with a bearer token, given or in AWS_BEARER_TOKEN_BEDROCK, with a virtual key as access key
    id, and with credentials issued for it, whose signature is verified; streams are whole.
    """
    async with running(tmp_path, LOCKED, all_of_aws=True) as here:
        key = await new_key(here)
        environ = {
            "variable": {"AWS_BEARER_TOKEN_BEDROCK": key},
            "issued": {
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{here.url}/aws/container-credentials",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN": key,
            },
        }
        given = {way: key} if way in ("token", "key") else {}
        found = values(
            await told_by(here.url, *OPERATIONS, model="single", environ=environ.get(way), **given), OPERATIONS
        )
        body = {"messages": [{"role": "user", "content": [{"text": "What is a gateway good for? – Grüße"}]}]}
        _, over_http1, _ = await call(here, key, body=body)
        assert "" != over_http1["output"]["message"]["content"][0]["text"] == found["converse"]
        assert found["converse"] == found["converseStream"]
        assert "" != found["invoke"] == found["invokeStream"]
        await here.settled()
        rows = here.rows("SELECT operation, state, count(*) AS times FROM calls GROUP BY 1, 2 ORDER BY 1")
        assert [
            ("Converse", "metered", 2),
            ("ConverseStream", "metered", 1),
            ("InvokeModel", "metered", 1),
            ("InvokeModelWithResponseStream", "metered", 1),
        ] == [(row["operation"], row["state"], row["times"]) for row in rows]


async def test_many_calls_and_a_large_one(tmp_path: Path) -> None:
    """50 calls at once, on a connection each and all on one, and a body of 20 MB come through whole."""
    async with running(tmp_path, LOCKED) as here:
        key = await new_key(here)
        found = values(
            await told_by(here.url, "converse", "many", "shared", "large", key=key, model="single"),
            ("converse", "many", "shared", "large"),
        )
        assert [found["converse"]] == found["many"] == found["shared"]
        await here.settled()
        *_, last = here.simulator.received
        assert 20_000_000 < len(last.body)
        assert 0 < found["large"]
        assert [{"state": "metered", "times": 102}] == here.rows(
            "SELECT state, count(*) AS times FROM calls GROUP BY 1"
        )


async def test_agents(tmp_path: Path) -> None:
    """The client of agents speaks HTTP/2 too."""
    async with running(tmp_path, LOCKED, all_of_aws=True) as here:
        found = values(await told_by(here.url, "agents", key=MASTER), ["agents"])["agents"]
        assert found["text"]
        assert 0 == found["first"]
        assert 0 < found["found"]


async def test_errors_are_the_sdks_own(tmp_path: Path) -> None:
    """A wrong key, an unknown model and the stream both ways raise the SDK's right classes, with our words."""
    async with running(tmp_path, LOCKED) as here:
        key = await new_key(here)
        told = await told_by(here.url, "converse", key="sk-wrong")
        assert ("UnrecognizedClientException", 403) == (told["converse"]["error"], told["converse"]["status"])
        told = await told_by(here.url, "converse", "converseStream", key=key, model="nobodys")
        for name in ("converse", "converseStream"):
            assert ("ResourceNotFoundException", 404) == (told[name]["error"], told[name]["status"])
            assert "'nobodys'" in told[name]["message"]
        told = await told_by(here.url, "bidirectional", key=MASTER, model="single")
        assert ("ValidationException", 400) == (told["bidirectional"]["error"], told["bidirectional"]["status"])
        assert "InvokeModelWithResponseStream" in told["bidirectional"]["message"]


async def test_a_limit(tmp_path: Path) -> None:
    """A limit is a ThrottlingException, as AWS's own."""
    async with running(tmp_path, LOCKED) as here:
        key = await new_key(here, rpm_limit=1)
        told = await told_by(here.url, "converse", "invoke", key=key, model="single")
        assert told["converse"]["value"]
        assert ("ThrottlingException", 429) == (told["invoke"]["error"], told["invoke"]["status"])


async def test_a_client_that_leaves_in_the_middle(tmp_path: Path) -> None:
    """An AbortController ends a stream at its first words; the answer is read on, and booked as AWS tells it."""
    node()  # where there is none, nobody would come to leave
    async with behind_a_gate(tmp_path) as (here, gate):
        gate.passing = MIDDLE
        telling = asyncio.create_task(told_by(here.url, "aborted", key="any-key", model="single"))
        await here.until(lambda: here.gateway.leaving.draining)
        assert "left" == (await telling)["aborted"]["value"]
        gate.open.set()
        row, attempt = await last_rows(here)

        assert ("metered", 1, None) == (attempt["state"], attempt["charged"], attempt["error_type"])
        assert (1, 200, attempt["spend"]) == (row["caller_left"], row["status"], row["spend"])
        assert 0 < attempt["output"] < attempt["spend"]


def test_over_tls(tmp_path: Path) -> None:
    """With the gateway's own authority in NODE_EXTRA_CA_CERTS the same client speaks HTTP/2 over TLS, found by ALPN."""
    environ = {"LITELLM_MASTER_KEY": MASTER}
    with Command.start(tmp_path, "serve", "--simulate", "--tls", "--port", "0", environ=environ) as command:
        url = command.until(r"listens at (https://\S+)/bedrock \(locked")[1]
        bundle = command.until(r"AWS_CA_BUNDLE=(\S+), Node")[1]
        told = asyncio.run(told_by(url, *OPERATIONS, token=MASTER, environ={"NODE_EXTRA_CA_CERTS": bundle}))
        assert all(values(told, OPERATIONS).values())
