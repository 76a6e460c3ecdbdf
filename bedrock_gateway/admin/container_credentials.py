"""``/aws/container-credentials``: every AWS SDK and the CLI fetch credentials here by themselves, short-lived ones, and
sign with them what they send to the gateway.

    AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:4000/aws/container-credentials
    AWS_CONTAINER_AUTHORIZATION_TOKEN=sk-...

For this machine only: over plain http SDKs fetch from nowhere else, and the answer is a secret.

Source: AWS SDKs and Tools Reference Guide, "Container credential provider"; botocore ``ContainerProvider`` (wants all
four members), ``@aws-sdk/credential-provider-http`` (wants them as strings; reads ``Code`` and ``Message`` of an error,
others ``code`` and ``message``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from aiohttp import web

from bedrock_gateway.access.issued_credentials import IssuedCredentials
from bedrock_gateway.admin.peers import from_this_machine, passed_on
from bedrock_gateway.errors import AccessDenied, Refusal, Unauthenticated

__all__ = ["PATH", "routes"]

PATH = "/aws/container-credentials"


def routes(issue_for: Callable[[str], IssuedCredentials]) -> list[web.RouteDef]:
    """Return the route.

    Args:
        issue_for: takes the text of a virtual key and returns credentials for it that expire; raises
            ``Unauthenticated`` where the key is not good.
    """

    async def container_credentials(request: web.Request) -> web.Response:
        try:
            if passed_on(request) or not from_this_machine(request):
                raise AccessDenied("Credentials are handed out to callers on the gateway's own machine only.")
            issued = issue_for(_key(request.headers.getall("Authorization", [])))
        except Refusal as refusal:
            told = {"code": refusal.error_type, "message": refusal.message}
            return _answer(refusal.status, {**told, "Code": told["code"], "Message": told["message"]})
        assert issued.expires_at is not None
        expiration = datetime.fromtimestamp(issued.expires_at // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return _answer(
            200,
            {
                "AccessKeyId": issued.access_key_id,
                "SecretAccessKey": issued.secret_access_key,
                # There is none: the access key id says all. SDKs send nothing for an empty one, but want the member.
                "Token": "",
                "Expiration": expiration,
            },
        )

    return [web.get(PATH, container_credentials, allow_head=False)]


def _key(authorizations: list[str]) -> str:
    """Return the virtual key of the request, which stands in Authorization as it is, or behind ``Bearer``."""
    key = authorizations[0].strip() if len(authorizations) == 1 else ""
    scheme, _, rest = key.partition(" ")
    if scheme.lower() == "bearer":
        key = rest.strip()
    if not key:
        raise Unauthenticated(
            "No key came with this request: set AWS_CONTAINER_AUTHORIZATION_TOKEN to a virtual key (it begins with "
            "sk-), or AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE to a file that holds one.",
            at="no key",
        )
    return key


def _answer(status: int, body: Mapping[str, str]) -> web.Response:
    return web.Response(
        status=status,
        body=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", "Cache-Control": "no-store"},
    )
