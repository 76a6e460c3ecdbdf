"""What the tests of the simulator send: credentials, models, messages, and requests signed by hand."""

from __future__ import annotations

import datetime
import json
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from yarl import URL

ACCESS_KEY_ID = "AKIASIMULATORTESTKEY"
SECRET = "secret-of-the-simulator-tests"
SESSION_KEY_ID = "ASIASIMULATORTESTKEY"
SESSION_TOKEN = "session/token+of=the-tests"
API_KEY = "bedrock-api-key-of-the-tests"
REGION = "eu-central-1"
CLAUDE = "eu.anthropic.claude-sonnet-4-20250514-v1:0"
NOVA = "amazon.nova-lite-v1:0"


def exactly(url: str) -> URL:
    """Keep a URL as it is spelt and signed."""
    return URL(url, encoded=True)


def user(text: str) -> list[dict[str, Any]]:
    """Give Converse messages that ask one thing."""
    return [{"role": "user", "content": [{"text": text}]}]


def converse_body(text: str, **members: Any) -> bytes:
    """Give the body of a Converse request."""
    return json.dumps({"messages": user(text), **members}).encode()


def signed_headers(
    url: str,
    body: bytes,
    *,
    method: str = "POST",
    access_key_id: str = ACCESS_KEY_ID,
    secret: str = SECRET,
    token: str | None = None,
    region: str = REGION,
    service: str = "bedrock",
    when: datetime.datetime | None = None,
    headers: dict[str, str] | None = None,
) -> dict[str, str]:
    """Sign a request with botocore's signer at any time, for any scope; give all its headers."""
    request = AWSRequest(
        method=method, url=url, data=body, headers={"content-type": "application/json", **(headers or {})}
    )
    moment = when or datetime.datetime.now(datetime.UTC)
    request.context["timestamp"] = moment.strftime("%Y%m%dT%H%M%SZ")
    signer = SigV4Auth(Credentials(access_key_id, secret, token), service, region)
    signer._modify_request_before_signing(request)
    to_sign = signer.string_to_sign(request, signer.canonical_request(request))
    signer._inject_signature_to_request(request, signer.signature(to_sign, request))
    return dict(request.headers.items())
