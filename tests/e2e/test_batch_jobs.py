"""Batch jobs: unmetered while they run, metered by their manifest once somebody asks how they stand."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from administering import MASTER, administered, new_key
from aiohttp import web
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from running import Running, running
from scripted_upstream import Asked, Script, Upstream, denied, scripted

NOVA = "amazon.nova-2-lite-v1:0"
JOB = "arn:aws:bedrock:us-west-2:111122223333:model-invocation-job/job1234567"
MANIFEST = "/results.of.ours/out%20here/job1234567/manifest.json.out"
CONFIG = """
model_list:
  - model_name: nova
    litellm_params: {model: bedrock/amazon.nova-2-lite-v1:0, aws_region_name: us-west-2,
      aws_access_key_id: AKIDEPLOYMENTB, aws_secret_access_key: secret-B, aws_bedrock_endpoint: "%(aws)s"}
general_settings: {master_key: %(master)s, services: {default: {aws_region_name: us-east-1}}}
"""
START = {
    "jobName": "night",
    "roleArn": "arn:aws:iam::111122223333:role/batch",
    "modelId": "nova",
    "inputDataConfig": {"s3InputDataConfig": {"s3Uri": "s3://in/x"}},
    "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://results.of.ours/out here/"}},
}


def aws(manifest: Callable[[Asked], web.StreamResponse], status: str = "Completed") -> Script:
    """Return the script of an AWS with one job, and the manifest it leaves."""

    async def script(told: Asked) -> web.StreamResponse:
        if told.request.method == "POST":
            return web.json_response({"jobArn": JOB})
        if "manifest" in told.request.path:
            return manifest(told)
        return web.json_response({"jobArn": JOB, "status": status, "outputDataConfig": START["outputDataConfig"]})

    return script


async def ask(here: Running, key: str, method: str, path: str, body: Any = None) -> int:
    """Make one call; return its status."""
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {key}"}) as session:
        async with session.request(method, f"{here.url}/bedrock{path}", json=body) as answer:
            await answer.read()
            return answer.status


def served(upstream: Upstream, folder: Path, config: str = CONFIG) -> Any:
    """Run the gateway in front of this AWS."""
    text = config.replace("%(aws)s", upstream.url).replace("%(master)s", MASTER)
    return running(
        folder, text, environ={"AWS_ENDPOINT_URL_S3": upstream.url, "AWS_ENDPOINT_URL_BEDROCK": upstream.url}
    )


def row(here: Running) -> tuple[Any, ...]:
    """Return how the call that began the job is booked."""
    (found,) = here.rows("SELECT * FROM attempts WHERE model != '' AND state != 'free'")
    return found["state"], found["spend"], found["input"], found["output"]


def counted(told: Asked) -> web.StreamResponse:
    """Answer with a manifest."""
    return web.json_response({"totalRecordCount": 2, "inputTokenCount": 2_000_000, "outputTokenCount": 1_000_000})


GET = f"/model-invocation-job/{JOB.replace(':', '%3A').replace('/', '%2F')}"


async def test_a_finished_job_is_metered_by_its_manifest(tmp_path: Path) -> None:
    """The row of the call that began it gets tokens and spend at batch rates, and the key's spend follows."""
    async with scripted(aws(counted)) as upstream, served(upstream, tmp_path) as here:
        key = await new_key(here, allowed_operations=["*"])
        assert 200 == await ask(here, key, "POST", "/model-invocation-job", START)
        assert NOVA == json.loads(upstream.asked[0].body)["modelId"]
        await here.settled()
        assert ("unmetered", None, 0, 0) == row(here)
        assert 200 == await ask(here, key, "GET", GET)
        # 0.165 and 1.375 USD a million, half of what they are on demand.
        expected = 2 * 165_000_000 + 1_375_000_000
        await here.until(lambda: row(here)[0] == "metered")
        assert ("metered", expected, 2_000_000, 1_000_000) == row(here)
        _, info = await administered(here, "/key/info", key=key)
        assert expected == round(info["info"]["spend"] * 10**9)
        assert 200 == await ask(here, key, "GET", GET)
        await here.settled()
        assert 1 == sum("manifest" in one.request.path for one in upstream.asked), "it is read once"
        assert "BBBB" == upstream.letters


async def test_a_job_of_a_model_that_costs_more_for_long_requests(tmp_path: Path) -> None:
    """Records are taken for as long as each other, and the row says that nobody can tell."""
    sonnet = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"

    def manifest(told: Asked) -> web.StreamResponse:
        return web.json_response(
            {"successRecordCount": 100, "errorRecordCount": 1, "inputTokenCount": 1_000_000, "outputTokenCount": 0}
        )

    async with scripted(aws(manifest)) as upstream, served(upstream, tmp_path, CONFIG.replace(NOVA, sonnet)) as here:
        await ask(here, MASTER, "POST", "/model-invocation-job", START)
        await ask(here, MASTER, "GET", GET)
        await here.until(lambda: row(here)[0] != "unmetered")
        # Half of 3.3 USD a million.
        assert ("estimated", 1_650_000_000, 1_000_000, 0) == row(here)
        (notes,) = here.rows("SELECT notes FROM attempts WHERE state = 'estimated'")
        assert {"tier:batches", "requests:100", "band-untold"} <= set(json.loads(notes["notes"]))


async def test_the_manifest_is_asked_for_as_s3_wants_it(tmp_path: Path) -> None:
    """Path and signature are those that botocore's S3 signer makes, dots and spaces in names included."""
    async with scripted(aws(counted)) as upstream, served(upstream, tmp_path) as here:
        await ask(here, MASTER, "POST", "/model-invocation-job", START)
        await ask(here, MASTER, "GET", GET)
        await here.until(lambda: row(here)[0] == "metered")
        (asked,) = (one.request for one in upstream.asked if "manifest" in one.request.path)
        assert MANIFEST == asked.raw_path
        again = AWSRequest(
            "GET",
            f"{upstream.url}{MANIFEST}",
            headers={name: asked.headers[name] for name in ("host", "x-amz-content-sha256")},
        )
        again.context["timestamp"] = asked.headers["x-amz-date"]
        signer = S3SigV4Auth(Credentials("AKIDEPLOYMENTB", "secret-B"), "s3", "us-west-2")
        again.headers["X-Amz-Date"] = asked.headers["x-amz-date"]
        wanted = signer.signature(signer.string_to_sign(again, signer.canonical_request(again)), again)
        assert asked.headers["authorization"].endswith(f"Signature={wanted}")


@pytest.mark.parametrize(
    ("manifest", "told"),
    [
        (lambda told: denied("s3:GetObject", "x"), "s3:GetObject was refused (403)"),
        (
            lambda told: web.Response(
                status=403, text="<Error><Code>AccessDenied</Code><Message>No.</Message></Error>"
            ),
            "IAM does not allow s3:GetObject (AccessDenied: No.); allow this action",
        ),
        (lambda told: web.Response(status=404, text="<Error><Code>NoSuchKey</Code></Error>"), "finds nothing"),
        (lambda told: web.Response(text="nonsense"), "its manifest tells no tokens"),
        (lambda told: web.json_response({"inputTokenCount": "many"}), "its manifest tells no tokens"),
    ],
)
async def test_a_manifest_that_cannot_be_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, manifest: Callable[[Asked], web.StreamResponse], told: str
) -> None:
    """The job stays unmetered, never free, and the log says what is missing."""
    async with scripted(aws(manifest)) as upstream, served(upstream, tmp_path) as here:
        await ask(here, MASTER, "POST", "/model-invocation-job", START)
        await ask(here, MASTER, "GET", GET)
        await here.until(lambda: told in caplog.text)
        assert "stays unmetered" in caplog.text
        assert ("unmetered", None, 0, 0) == row(here)


async def test_a_manifest_that_can_be_read_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is read again without anybody asking, and what was wrong is said once, however often somebody asks."""
    open_ = False

    def manifest(told: Asked) -> web.StreamResponse:
        return counted(told) if open_ else web.Response(status=503, text="<Error><Code>SlowDown</Code></Error>")

    async with scripted(aws(manifest)) as upstream, served(upstream, tmp_path) as here:
        here.gateway.batches.first_wait = 0.01
        await ask(here, MASTER, "POST", "/model-invocation-job", START)
        for _ in range(3):
            await ask(here, MASTER, "GET", GET)
        await here.until(lambda: sum("manifest" in one.request.path for one in upstream.asked) > 1)
        open_ = True
        await here.until(lambda: row(here)[0] == "metered")
        assert 1 == caplog.text.count("stays unmetered")


async def test_a_manifest_that_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Asking for the job does not make the gateway ask for its manifest any sooner."""
    async with scripted(aws(lambda told: denied("s3:GetObject", "x"))) as upstream, served(upstream, tmp_path) as here:
        await ask(here, MASTER, "POST", "/model-invocation-job", START)
        await ask(here, MASTER, "GET", GET)
        await here.until(lambda: "stays unmetered" in caplog.text)
        for _ in range(3):
            await ask(here, MASTER, "GET", GET)
        await here.settled()
        assert 1 == sum("manifest" in one.request.path for one in upstream.asked)
        assert 1 == caplog.text.count("stays unmetered")


async def test_a_call_that_is_not_booked_yet(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A job that ends before the call that began it is booked is settled once it is."""

    def ended(at: int | None) -> None:
        with contextlib.closing(sqlite3.connect(here.database, isolation_level=None)) as connection:
            connection.execute("UPDATE calls SET ended_at = ?", (at,))

    async with scripted(aws(counted)) as upstream, served(upstream, tmp_path) as here:
        here.gateway.batches.first_wait = 0.01
        await ask(here, MASTER, "POST", "/model-invocation-job", START)
        await here.settled()
        ended(None)
        await ask(here, MASTER, "GET", GET)
        await here.until(lambda: "the call that began it is not booked" in caplog.text)
        assert "unmetered" == row(here)[0]
        ended(here.gateway.clock.now_ms())
        await here.until(lambda: row(here)[0] == "metered")


async def test_a_config_that_has_changed_since(tmp_path: Path) -> None:
    """The price is that of the model where the job was made, and not of what took the place of its deployment."""
    later = CONFIG.replace("AKIDEPLOYMENTB", "AKIDEPLOYMENTC").replace("secret-B,", "secret-C, model_id: %(model)s,")
    later = later.replace("%(model)s", NOVA).replace("bedrock/amazon.nova-2-lite-v1:0", "bedrock/amazon.nova-lite-v1:0")
    later = later.replace("secret-C,", "secret-C, input_cost_per_token_batches: 0.001,")
    async with scripted(aws(counted)) as upstream:
        async with served(upstream, tmp_path) as here:
            await ask(here, MASTER, "POST", "/model-invocation-job", START)
        async with served(upstream, tmp_path, later) as here:
            assert 200 == await ask(here, MASTER, "GET", GET)
            await here.until(lambda: row(here)[0] != "unmetered")
            assert ("metered", 2 * 165_000_000 + 1_375_000_000, 2_000_000, 1_000_000) == row(here)
            assert "BCC" == upstream.letters


async def test_a_job_under_way(tmp_path: Path) -> None:
    """Nothing is read while a job goes on."""
    async with scripted(aws(counted, "InProgress")) as upstream, served(upstream, tmp_path) as here:
        await ask(here, MASTER, "POST", "/model-invocation-job", START)
        await ask(here, MASTER, "GET", GET)
        await here.settled()
        assert not any("manifest" in one.request.path for one in upstream.asked)
