"""Signed requests for tests: the root secret and the credentials, requests as botocore signs them, and a verifier's
judgement.

Run alone it prints the access key id and the secret that the recorded requests were signed with.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import attrs
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from multidict import CIMultiDict, CIMultiDictProxy

from bedrock_gateway.access.issued_credentials import IssuedCredentials, issue
from bedrock_gateway.access.signatures import Claim, Verifier
from bedrock_gateway.errors import Unauthenticated

ROOT = b"the root secret of these tests, known to all"
KEY_ID = "key-7f3a9c21b0e4"
EPOCH = 3
CREDENTIALS = issue(ROOT, KEY_ID, EPOCH, expires_at_ms=None)
SERVICES = frozenset({"bedrock", "bedrock-agentcore"})
HOST = "127.0.0.1:4000"
AMZ_DATE = "20261120T123045Z"
TARGET = "/bedrock/model/us.anthropic.claude-sonnet-4-20250514-v1%3A0/converse"
BODY = b'{"messages":[{"role":"user","content":[{"text":"h\xc3\xa9"}]}]}'


def ms(amz_date: str) -> int:
    """Return ``YYYYMMDDTHHMMSSZ`` as UTC ms."""
    return int(datetime.strptime(amz_date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()) * 1000


NOW = ms(AMZ_DATE)


@attrs.frozen(kw_only=True)
class Request:
    """A request as it arrives."""

    method: str = "POST"
    target: str = TARGET
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = BODY

    def header(self, name: str) -> str:
        """Return the value of a header that came once."""
        (value,) = [value for known, value in self.headers if known.lower() == name]
        return value

    def with_header(self, name: str, value: str) -> Request:
        """Return the request with one header's value changed."""
        return attrs.evolve(
            self, headers=tuple((known, value if known.lower() == name else old) for known, old in self.headers)
        )

    def without_header(self, name: str) -> Request:
        """Return the request without a header."""
        return attrs.evolve(self, headers=tuple(item for item in self.headers if item[0].lower() != name))

    def and_header(self, name: str, value: str) -> Request:
        """Return the request with one more header."""
        return attrs.evolve(self, headers=(*self.headers, (name, value)))

    @property
    def signed_headers(self) -> list[str]:
        """The names that are signed."""
        return self.header("authorization").partition("SignedHeaders=")[2].partition(",")[0].split(";")


class _SigV4Auth(SigV4Auth):  # type: ignore[misc]  # botocore ships no types
    """botocore's signer at a time of its caller's choice."""

    def sign(self, request: AWSRequest, amz_date: str) -> None:
        request.context["timestamp"] = amz_date
        self._modify_request_before_signing(request)
        to_sign = self.string_to_sign(request, self.canonical_request(request))
        self._inject_signature_to_request(request, self.signature(to_sign, request))


def signed(
    request: Request,
    *,
    credentials: IssuedCredentials = CREDENTIALS,
    amz_date: str = AMZ_DATE,
    region: str = "us-east-1",
    service: str = "bedrock",
    token: str | None = None,
    host: str = HOST,
) -> Request:
    """Return a request as botocore signs it: all of its headers, and host and date."""
    aws = AWSRequest(method=request.method, url=f"http://{host}{request.target}", data=request.body)
    for name, value in request.headers:
        aws.headers.add_header(name, value)
    key = Credentials(credentials.access_key_id, credentials.secret_access_key, token)
    _SigV4Auth(key, service, region).sign(aws, amz_date)
    headers = [(name, value) for name, value in aws.headers.items() if name.lower() != "host"]
    return attrs.evolve(request, headers=(("Host", host), *headers))


def as_boto3(**changes: Any) -> Request:
    """Return a request as boto3 sends it: no hash of the body, and headers added after signing."""
    request = Request(headers=(("Content-Type", "application/json"), ("X-Amzn-Bedrock-Trace", "ENABLED")))
    sent = signed(request, **changes)
    return sent.and_header("amz-sdk-request", "attempt=1").and_header("User-Agent", "Boto3/1.43.117")


def as_javascript(**changes: Any) -> Request:
    """Return a request as the JavaScript SDK sends it: all but the user agent is signed, a hash of the body too."""
    request = Request(
        headers=(
            ("content-type", "application/json"),
            ("content-length", str(len(BODY))),
            ("x-amz-content-sha256", sha256(BODY).hexdigest()),
            ("x-amz-user-agent", "aws-sdk-js/3.1162.0"),
            ("amz-sdk-invocation-id", "00000000-0000-4000-8000-000000000000"),
            ("amz-sdk-request", "attempt=1; max=3"),
        )
    )
    return signed(request, **changes).and_header("user-agent", "aws-sdk-js/3.1162.0")


def judged(verifier: Verifier, request: Request, *, now_ms: int = NOW, epoch: int | None = EPOCH) -> Claim | None:
    """Return the claim of a request whose signature is right, None for a request without one.

    Raises:
        Unauthenticated: it is wrong.
    """
    headers = CIMultiDictProxy(CIMultiDict(request.headers))
    claim = verifier.present(headers, request.target, now_ms=now_ms)
    if claim is not None:
        body_sha256 = sha256(request.body).hexdigest()
        verifier.verify(claim, method=request.method, raw_target=request.target, body_sha256=body_sha256, epoch=epoch)
    return claim


def refusal(request: Request, *, verifier: Verifier | None = None, **more: Any) -> Unauthenticated | None:
    """Return how a request is refused, or None."""
    try:
        judged(Verifier(ROOT, services=SERVICES) if verifier is None else verifier, request, **more)
    except Unauthenticated as refused:
        return refused
    return None


def recorded(name: str) -> Iterable[tuple[str, Request]]:
    """Yield the requests of a file of recorded ones, each with who made it."""
    for item in json.loads(Path(__file__).with_name(name).read_text(encoding="utf-8")):
        headers = tuple((header, value) for header, value in item["headers"])
        yield (
            item["source"],
            Request(method=item["method"], target=item["target"], headers=headers, body=item["body"].encode()),
        )


if __name__ == "__main__":
    print(CREDENTIALS.access_key_id, CREDENTIALS.secret_access_key)
