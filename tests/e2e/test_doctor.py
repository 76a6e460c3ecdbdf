"""The doctor, against an AWS that is well and one that is not: what it finds, what mends it, and what it never asks."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from process import environment
from scripted_upstream import Asked, Upstream, denied, scripted

from bedrock_gateway.upstream.examining import Level, api_key, skew

NOVA = "amazon.nova-lite-v1:0"
PROFILE = "us.anthropic.claude-sonnet-4-20250514-v1:0"
WELL = {
    "agreementAvailability": {"status": "AVAILABLE"},
    "authorizationStatus": "AUTHORIZED",
    "entitlementAvailability": "AVAILABLE",
    "regionAvailability": "AVAILABLE",
}
CONFIG = """
model_list:
  - model_name: nova
    litellm_params: &here
      model: bedrock/amazon.nova-lite-v1:0
      aws_region_name: us-east-1
      aws_access_key_id: AKIDEPLOYMENTA
      aws_secret_access_key: very-secret-text
      aws_bedrock_endpoint: "%(aws)s"
  - model_name: claude
    litellm_params:
      <<: *here
      model: bedrock/us.anthropic.claude-sonnet-4-20250514-v1:0
      guardrailConfig: {guardrailIdentifier: g1, guardrailVersion: "2"}
  - model_name: mine
    litellm_params:
      <<: *here
      model: bedrock/arn:aws:bedrock:us-east-1:111122223333:imported-model/abcdefghijkl
"""


def aws(**changes: Callable[[Asked], web.StreamResponse]) -> Callable[[Asked], Any]:
    """Return the script of an AWS: what is asked of ``sts``, ``availability``, ``profile``, ``guardrail``."""

    async def script(told: Asked) -> web.StreamResponse:
        path = told.request.path
        for sign, name, answer in (
            ("/foundation-model-availability/", "availability", WELL),
            (
                "/inference-profiles/",
                "profile",
                {
                    "models": [
                        {"modelArn": f"arn:aws:bedrock:{r}::foundation-model/x"} for r in ("us-west-2", "us-east-1")
                    ]
                },
            ),
            ("/guardrails/", "guardrail", {"status": "READY"}),
        ):
            if path.startswith(sign):
                return changes[name](told) if name in changes else web.json_response(answer)
        assert path == "/", path
        if "sts" in changes:
            return changes["sts"](told)
        arn = "arn:aws:sts::111122223333:assumed-role/gateway/i-1"
        return web.Response(text=f"<GetCallerIdentityResponse><Arn>{arn}</Arn></GetCallerIdentityResponse>")

    return script


async def doctor(
    folder: Path, upstream: Upstream, *arguments: str, text: str = CONFIG, **environ: str
) -> tuple[int, str]:
    """Run the command; return exit status and what it said."""
    (folder / "config.yaml").write_text(text.replace("%(aws)s", upstream.url))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bedrock_gateway", "doctor", "--config", "config.yaml", *arguments),
        cwd=folder,
        env=environment(folder, {"AWS_ENDPOINT_URL_STS": upstream.url, **environ}),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert b"Traceback" not in err
    assert b"very-secret-text" not in out + err
    assert process.returncode is not None
    return process.returncode, (out + err).decode()


async def test_all_is_well(tmp_path: Path) -> None:
    """Every deployment has its lines; what they have in common is asked once, and no model is ever called."""
    async with scripted(aws()) as upstream:
        status, said = await doctor(tmp_path, upstream)
        assert 0 == status
        lines = [line for line in said.splitlines() if line.strip()]
        assert [
            "nova  amazon.nova-lite-v1:0  us-east-1  static keys of the config",
            "  ✓ identity   arn:aws:sts::111122223333:assumed-role/gateway/i-1",
            "  ✓ model      amazon.nova-lite-v1:0",
            "claude  us.anthropic.claude-sonnet-4-20250514-v1:0  us-east-1  static keys of the config",
            "  ✓ identity   arn:aws:sts::111122223333:assumed-role/gateway/i-1",
            "  ✓ model      anthropic.claude-sonnet-4-20250514-v1:0, in us-east-1, us-west-2",
            "  ✓ guardrail  g1 2",
            "mine  arn:aws:bedrock:us-east-1:111122223333:imported-model/abcdefghijkl  us-east-1  "
            "static keys of the config",
            "  ✓ identity   arn:aws:sts::111122223333:assumed-role/gateway/i-1",
            "  ✓ model      of this account's own",
            "  ! price      none is known, its calls are booked as unpriced: give base_model or input_cost_per_token",
            "  ✓ clock      agrees with AWS's",
            "3 deployments: nothing is wrong, 1 to look at",
        ] == lines
        assert 1 == sum(one.request.path == "/" for one in upstream.asked)
        assert not any(one.request.path.startswith("/model/") for one in upstream.asked)


def answering(**changes: Any) -> Callable[[Asked], web.StreamResponse]:
    """Return the availability of a model that is not well."""
    return lambda told: web.json_response({**WELL, **changes})


@pytest.mark.parametrize(
    ("what", "answer", "status", "line"),
    [
        (
            "availability",
            answering(entitlementAvailability="NOT_AVAILABLE"),
            1,
            "✗ model      amazon.nova-lite-v1:0: this account has no access to it (AWS console: Bedrock, Model access)",
        ),
        (
            "availability",
            answering(regionAvailability="NOT_AVAILABLE"),
            1,
            "✗ model      amazon.nova-lite-v1:0: is not offered in this region",
        ),
        (
            "availability",
            answering(authorizationStatus="NOT_AUTHORIZED"),
            1,
            "these credentials may not call it; allow bedrock:InvokeModel",
        ),
        (
            "availability",
            answering(agreementAvailability={"status": "NOT_AVAILABLE"}),
            1,
            "its agreement has not been accepted",
        ),
        (
            "availability",
            answering(agreementAvailability={"status": "PENDING"}),
            0,
            "! model      amazon.nova-lite-v1:0: its agreement is pending",
        ),
        (
            "availability",
            lambda told: denied("bedrock:GetFoundationModelAvailability", "x"),
            0,
            "! model      IAM does not allow bedrock:GetFoundationModelAvailability",
        ),
        (
            "availability",
            lambda told: web.Response(status=500),
            1,
            "✗ model      bedrock:GetFoundationModelAvailability was refused (500)",
        ),
        (
            "availability",
            lambda told: web.Response(text="[]", content_type="application/json"),
            1,
            "answers no JSON object",
        ),
        ("profile", lambda told: web.Response(status=404), 1, "✗ model      bedrock:GetInferenceProfile finds nothing"),
        (
            "guardrail",
            lambda told: web.Response(status=404),
            1,
            "✗ guardrail  g1 2: bedrock:GetGuardrail finds nothing",
        ),
        (
            "guardrail",
            lambda told: web.json_response({"status": "FAILED"}),
            1,
            "✗ guardrail  g1 2: is FAILED, not READY",
        ),
        (
            "sts",
            lambda told: web.Response(
                status=403,
                text="<Error><Code>InvalidClientTokenId</Code>"
                "<Message>The security token is invalid.</Message></Error>",
            ),
            1,
            "✗ identity   sts:GetCallerIdentity was refused (InvalidClientTokenId: The security token is invalid.)",
        ),
        ("sts", lambda told: web.Response(text="<html>"), 1, "✗ identity   GetCallerIdentity names nobody"),
    ],
)
async def test_what_is_wrong_is_told_with_its_remedy(
    tmp_path: Path, what: str, answer: Callable[[Asked], web.StreamResponse], status: int, line: str
) -> None:
    """Each thing that can be wrong has its line, and decides about the exit status."""
    async with scripted(aws(**{what: answer})) as upstream:
        found, said = await doctor(tmp_path, upstream)
        assert (status, True) == (found, line in said), said


async def test_for_machines(tmp_path: Path) -> None:
    """The same as JSON."""
    async with scripted(aws(guardrail=lambda told: web.Response(status=404))) as upstream:
        status, said = await doctor(tmp_path, upstream, "--json")
        document = json.loads(said)
        assert 1 == status
        assert ["nova", "claude", "mine"] == [one["name"] for one in document["deployments"]]
        levels = {finding["what"]: finding["level"] for finding in document["deployments"][1]["findings"]}
        assert {"identity": "fine", "model": "fine", "guardrail": "wrong"} == levels


async def test_nobody_there(tmp_path: Path) -> None:
    """An AWS that cannot be reached is said to be out of reach, once for each deployment."""
    async with scripted(aws()) as upstream:
        gone = Upstream(url=upstream.url)
    status, said = await doctor(tmp_path, gone)
    assert 1 == status
    assert 3 == said.count("✗ identity   sts:GetCallerIdentity cannot be reached")


async def test_nobody_there_by_tls(tmp_path: Path) -> None:
    """What is said of a connection names host and port, and nothing that only Python understands."""
    async with scripted(aws()) as upstream:
        gone = Upstream(url=upstream.url.replace("http:", "https:"))
    status, said = await doctor(tmp_path, gone, "--json")
    told = json.loads(said)["deployments"][0]["findings"][0]["told"]
    assert 1 == status
    assert f"no connection to {gone.url.removeprefix('https://')}: " in told
    assert "object at 0x" not in said


async def test_a_bundle_that_is_not_there(tmp_path: Path) -> None:
    """A CA bundle that cannot be used is named, once for each deployment, also where nothing is asked with it."""
    async with scripted(aws()) as upstream:
        status, said = await doctor(tmp_path, upstream, AWS_CA_BUNDLE="/nope/ca.pem")
        assert (1, []) == (status, upstream.asked)
    assert 3 == said.count("✗ tls        the CA bundle /nope/ca.pem cannot be used: No such file or directory\n")


async def test_keys_of_the_environment(tmp_path: Path) -> None:
    """Keys that no config holds are called the environment's."""
    async with scripted(aws()) as upstream:
        text = "model_list: [{model_name: n, litellm_params: {model: bedrock/amazon.nova-lite-v1:0, "
        text += 'aws_region_name: us-east-1, aws_bedrock_endpoint: "%(aws)s"}}]'
        keys = {"AWS_ACCESS_KEY_ID": "AKIDEPLOYMENTA", "AWS_SECRET_ACCESS_KEY": "very-secret-text"}
        status, said = await doctor(tmp_path, upstream, text=text, **keys)
    assert (0, "n  amazon.nova-lite-v1:0  us-east-1  keys of the environment") == (status, said.splitlines()[0])


async def test_a_config_that_cannot_be_read(tmp_path: Path) -> None:
    """Faults of the file come first, and end it."""
    async with scripted(aws()) as upstream:
        status, said = await doctor(tmp_path, upstream, text="model_list: [{}]")
        assert 2 == status
        assert "config.yaml:1:" in said


NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("minutes", "level", "told"),
    [
        (0, Level.FINE, "agrees"),
        (2, Level.FINE, "agrees"),
        (3, Level.WARNING, "180 s behind AWS's"),
        (-4, Level.WARNING, "240 s ahead of AWS's"),
        (6, Level.WRONG, "360 s behind AWS's"),
    ],
)
def test_a_clock_that_is_off(minutes: int, level: Level, told: str) -> None:
    """A clock is told from AWS's own Date headers; what is no date says nothing."""
    aws_now = NOW.replace(minute=0).timestamp() + minutes * 60
    date = format_datetime(datetime.fromtimestamp(aws_now, UTC), usegmt=True)
    found = skew(["nonsense", date], NOW)
    assert found is not None
    assert (level, True) == (found.level, told in found.told)
    assert skew(["nonsense", ""], NOW) is None


def test_api_keys() -> None:
    """A short-term key says when it ends; nothing of a key is ever shown."""

    def key(date: str, seconds: str) -> str:
        text = f"bedrock.amazonaws.com/?Action=CallWithBearerToken&X-Amz-Date={date}&X-Amz-Expires={seconds}&Version=1"
        return "bedrock-api-key-" + base64.b64encode(text.encode()).decode()

    for text, level, told in (
        (key("20261126T110000Z", "43200"), Level.FINE, "ends 2026-11-26 23:00 UTC"),
        (key("20261126T003000Z", "43200"), Level.WARNING, "ends 2026-11-26 12:30 UTC"),
        (key("20261125T110000Z", "43200"), Level.WRONG, "ended 2026-11-25 23:00 UTC"),
        (key("soon", "x"), Level.WARNING, "cannot be read"),
        ("bedrock-api-key-###", Level.WARNING, "cannot be read"),
        ("ABSKQmVkcm9ja0FQSUtleQ", Level.FINE, "long-term"),
    ):
        found = api_key(text, NOW)
        assert (level, True) == (found.level, told in found.told), found
        assert text not in found.told
