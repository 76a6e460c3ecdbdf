"""A gateway between keys and an AWS whose jobs, sessions and memories belong to them."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
from administering import MASTER
from aiohttp import web
from running import Running
from scripted_upstream import Asked, Script, Upstream
from yarl import URL

__all__ = ["ALL", "ARN", "REEL", "START", "ask", "aws", "config", "encoded"]

REEL = "amazon.nova-reel-v1:0"
ARN = "arn:aws:bedrock:{}:111122223333:async-invoke/{}"
ALL = ["*"]
#: Two places for one model, and the agents' own.
CONFIG = """
model_list:
  - model_name: reel
    litellm_params: {model: bedrock/amazon.nova-reel-v1:0, aws_region_name: us-west-2,
      aws_access_key_id: AKIDEPLOYMENTB, aws_secret_access_key: secret-B, aws_bedrock_runtime_endpoint: "%(aws)s"}
general_settings:
  master_key: %(master)s
  services:
    default: {aws_region_name: us-east-1, aws_access_key_id: AKIDEPLOYMENTA, aws_secret_access_key: secret-A}
    bedrock-runtime: {endpoint: "%(aws)s"}
    bedrock-agent-runtime: {endpoint: "%(aws)s"}
    bedrock: {endpoint: "%(aws)s"}
    bedrock-agentcore: {endpoint: "%(aws)s"}
"""


def config(upstream: Upstream) -> str:
    """Return the config in front of an upstream."""
    return CONFIG.replace("%(aws)s", upstream.url).replace("%(master)s", MASTER)


def aws(**answers: Any) -> Script:
    """Return the script of an AWS that makes jobs and sessions; what ``answers`` has by path (JSON, or one whole answer
    that is given once) it shows.
    """
    made = iter(range(100))

    async def script(told: Asked) -> web.StreamResponse:
        method, path = told.request.method, told.request.path
        if (method, path) == ("POST", "/async-invoke"):
            return web.json_response({"invocationArn": ARN.format("us-west-2", f"job{next(made)}")})
        if (method, path) == ("PUT", "/sessions/"):
            id_ = f"session{next(made)}"
            return web.json_response({"sessionId": id_, "sessionArn": f"arn:aws:bedrock:us-east-1:1:session/{id_}"})
        answer = answers.get(path, {"status": "Completed"})
        return answer if isinstance(answer, web.Response) else web.json_response(answer)

    return script


async def ask(
    here: Running, key: str, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, dict[str, Any]]:
    """Make one call, ``body`` as JSON or as the bytes it is; return status and answer."""
    data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    told = {"authorization": f"Bearer {key}", "content-type": "application/json"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    async with aiohttp.ClientSession(headers=told) as session:
        url = URL(f"{here.url}/bedrock{path}", encoded=True)
        async with session.request(method, url, data=data) as answer:
            return answer.status, await answer.json()


def encoded(arn: str) -> str:
    """Return an ARN as SDKs write it into a path."""
    return arn.replace(":", "%3A").replace("/", "%2F")


START = {"modelId": "reel", "modelInput": {}, "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://b"}}}
