"""The spend report shows deployments by the names callers are shown."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from running import GROUPS, running

from bedrock_gateway.cli import main


async def test_names_out_of_the_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a call's header says of its deployment is what the report says, while the gateway runs."""
    shown: dict[str, str] = {}
    async with running(tmp_path, GROUPS) as gateway:
        client = gateway.client()
        for model in ("claude", "single", "amazon.nova-pro-v1:0"):
            answer = await asyncio.to_thread(
                client.converse, modelId=model, messages=[{"role": "user", "content": [{"text": "Hello"}]}]
            )
            headers = answer["ResponseMetadata"]["HTTPHeaders"]
            shown[headers["x-bedrock-gateway-call-id"]] = headers["x-bedrock-gateway-deployment"]
        await gateway.settled()
        await gateway.until(lambda: gateway.rows("SELECT 1 FROM deployments"))
        reports = []
        for by in ("deployment", "call"):
            arguments = ["spend", "--database", str(gateway.database), "--by", by, "--json"]
            assert 0 == await asyncio.to_thread(main, arguments)
            reports.append(json.loads(capsys.readouterr().out)["lines"])
        named = {row["name"] for row in gateway.rows("SELECT name FROM deployments")}
    deployments, calls = reports
    assert {"claude", "claude#2", "claude#3", "single", "ambient", "ambient-bedrock"} <= named
    assert {("claude", "us-east-1"), ("single", "us-east-1"), ("ambient: amazon.nova-pro-v1:0", "")} == {
        (line["deployment_name"], line["region"]) for line in deployments
    }
    assert shown == {line["call"]: line["deployment_name"].partition(":")[0] for line in calls}
