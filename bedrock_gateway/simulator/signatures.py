"""Who is asking: SigV4 judged by botocore's own signer, or a Bedrock API key.

The signature is computed again over the request as received (raw path, query, signed headers, hash of the body) and
compared. Knows AWS's refusals; the clock is passed in.
Source: AWS general reference, Signature Version 4; Common Errors of AWS APIs; messages as AWS's front door words
them.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Any

import attrs
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.compat import HTTPHeaders
from botocore.credentials import Credentials

from bedrock_gateway.simulator.protocol import SimulatedError

__all__ = ["SERVICES", "Identity", "Incoming", "Judge", "claimed_service", "sha256_hex"]

ALGORITHM = "AWS4-HMAC-SHA256"
SERVICES = ("bedrock", "bedrock-agentcore")
MAX_SKEW = datetime.timedelta(minutes=5)
DEFAULT_REGION = "us-east-1"
_PART = re.compile(r"\s*(Credential|SignedHeaders|Signature)=([^,\s]+)\s*")
_REGION = re.compile(r"[a-z]{2,}(-[a-z]+)+-\d+")
_MUST_BE_SIGNED = ("host", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256", "x-amz-target")


@attrs.frozen(kw_only=True)
class Incoming:
    """A request as received: raw path with query, headers in order, body and its SHA-256 in hex."""

    method: str
    raw_path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    body_sha256: str

    def header(self, name: str) -> str | None:
        """Give the first value of a header, by lower-case name."""
        return next((value for key, value in self.headers if key.lower() == name), None)


@attrs.frozen(kw_only=True)
class Identity:
    """Who is asking: an access key id, "api-key", or "anonymous" where nothing is verified; and the scope's region."""

    account: str
    region: str = DEFAULT_REGION
    access_key_id: str | None = None


class _Recomputed(SigV4Auth):  # type: ignore[misc]  # botocore ships no types
    """botocore's signer, told which headers were signed and what the body hashes to."""

    def __init__(
        self, credentials: Credentials, service: str, region: str, signed: tuple[str, ...], body_sha256: str
    ) -> None:
        super().__init__(credentials, service, region)
        self._signed = signed
        self._body_sha256 = body_sha256

    def headers_to_sign(self, request: AWSRequest) -> Any:
        chosen = HTTPHeaders()
        for name in self._signed:
            for value in request.headers.get_all(name) or ():
                chosen[name] = value
        return chosen

    def payload(self, request: AWSRequest) -> str:
        return self._body_sha256


@attrs.frozen(kw_only=True)
class Judge:
    """Verifies requests.

    Attributes:
        credentials: access key id to (secret, session token or None).
        api_keys: Bedrock API keys that are known.
        required: False lets anything pass, known or not.
    """

    credentials: Mapping[str, tuple[str, str | None]] = attrs.field(repr=False)
    api_keys: tuple[str, ...] = attrs.field(repr=False)
    required: bool = True

    def judge(self, incoming: Incoming, now: datetime.datetime, services: tuple[str, ...] = SERVICES[:1]) -> Identity:
        """Tell who sent a request; ``services`` are names it may be signed for.

        Raises:
            SimulatedError: 403, in AWS's words.
        """
        authorization = incoming.header("authorization")
        if not self.required:
            return _claimed(authorization)
        if authorization is None:
            raise SimulatedError(403, "MissingAuthenticationTokenException", "Missing Authentication Token")
        scheme, _, rest = authorization.partition(" ")
        if scheme.lower() == "bearer":
            return self._bearer(rest.strip())
        if scheme != ALGORITHM:
            raise SimulatedError(403, "MissingAuthenticationTokenException", "Missing Authentication Token")
        return self._signed(incoming, rest, now, services)

    def _bearer(self, key: str) -> Identity:
        known = [hmac.compare_digest(key.encode("utf-8", "replace"), api_key.encode()) for api_key in self.api_keys]
        if not any(known):
            message = "Authentication failed: Please make sure your API Key is valid."
            raise SimulatedError(403, "AccessDeniedException", message, capital=True)
        return Identity(account="api-key")

    def _signed(self, incoming: Incoming, rest: str, now: datetime.datetime, services: tuple[str, ...]) -> Identity:
        fields = {found[1]: found[2] for part in rest.split(",") if (found := _PART.fullmatch(part))}
        for name in ("Credential", "Signature", "SignedHeaders"):
            if name not in fields:
                raise _incomplete(f"Authorization header requires '{name}' parameter.")
        scope = fields["Credential"].rsplit("/", 4)
        if len(scope) != 5 or scope[4] != "aws4_request":
            raise _incomplete("Credential must have 5 slash-separated elements.")
        access_key_id, day, region, service, _ = scope
        timestamp = incoming.header("x-amz-date")
        if timestamp is None:
            raise _incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
        try:
            moment = datetime.datetime.strptime(timestamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
        except ValueError:
            raise _incomplete("Date must be in ISO-8601 'basic format'.") from None
        known = self.credentials.get(access_key_id)
        if known is None:
            raise _unrecognized()
        secret, token = known
        sent = incoming.header("x-amz-security-token")
        if (sent or None) != (token or None):
            raise _unrecognized()
        _check_skew(moment, now)
        if day != timestamp[:8]:
            raise _mismatch(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
                f"'{day}' != '{timestamp[:8]}', from '{timestamp}'."
            )
        if not _REGION.fullmatch(region):
            raise _mismatch("Credential should be scoped to a valid region.")
        if service not in services:
            raise _mismatch(f"Credential should be scoped to correct service: '{services[0]}'.")
        signed = tuple(fields["SignedHeaders"].split(";"))
        present = {name.lower() for name, _ in incoming.headers}
        if not set(signed) <= present or any(name in present and name not in signed for name in _MUST_BE_SIGNED):
            raise _mismatch()
        if incoming.header("x-amz-content-sha256") not in (None, incoming.body_sha256):
            raise _mismatch("The value of x-amz-content-sha256 does not match the hash of the request's body.")
        signer = _Recomputed(Credentials(access_key_id, secret, token), service, region, signed, incoming.body_sha256)
        if not hmac.compare_digest(_signature(signer, incoming, timestamp), fields["Signature"].encode()):
            raise _mismatch()
        return Identity(account=access_key_id, region=region, access_key_id=access_key_id)


def _signature(signer: _Recomputed, incoming: Incoming, timestamp: str) -> bytes:
    headers = HTTPHeaders()
    for name, value in incoming.headers:
        headers[name] = value
    request = AWSRequest(method=incoming.method, url=f"http://simulator{incoming.raw_path}")
    request.headers = headers
    request.context["timestamp"] = timestamp
    try:
        canonical = signer.canonical_request(request)
        return str(signer.signature(signer.string_to_sign(request, canonical), request)).encode()
    except UnicodeError:
        # Bytes in the path or in a signed header that are no UTF-8: nothing a signer could have signed.
        raise _mismatch() from None


def claimed_service(incoming: Incoming) -> str:
    """Give the service in the scope of a request's signature, verified or not; "" where there is none."""
    found = re.search(r"Credential=([^,\s]+)", incoming.header("authorization") or "")
    scope = found[1].rsplit("/", 4) if found else []
    return scope[3] if len(scope) == 5 else ""


def _claimed(authorization: str | None) -> Identity:
    """Believe what a request says of itself."""
    found = re.search(r"Credential=([^,\s]+)", authorization or "")
    scope = found[1].rsplit("/", 4) if found else []
    if len(scope) != 5:
        return Identity(account="anonymous")
    region = scope[2] if _REGION.fullmatch(scope[2]) else DEFAULT_REGION
    return Identity(account=scope[0], region=region, access_key_id=scope[0])


def _check_skew(moment: datetime.datetime, now: datetime.datetime) -> None:
    form = "%Y%m%dT%H%M%SZ"
    if moment < now - MAX_SKEW:
        edge = (now - MAX_SKEW).strftime(form)
        raise _mismatch(
            f"Signature expired: {moment.strftime(form)} is now earlier than {edge} ({now.strftime(form)} - 5 min.)"
        )
    if moment > now + MAX_SKEW:
        edge = (now + MAX_SKEW).strftime(form)
        raise _mismatch(
            f"Signature not yet current: {moment.strftime(form)} is still later than {edge} "
            f"({now.strftime(form)} + 5 min.)"
        )


def _mismatch(
    message: str = "The request signature we calculated does not match the signature you provided. Check your AWS "
    "Secret Access Key and signing method. Consult the service documentation for details.",
) -> SimulatedError:
    return SimulatedError(403, "InvalidSignatureException", message)


def _incomplete(message: str) -> SimulatedError:
    return SimulatedError(403, "IncompleteSignatureException", message)


def _unrecognized() -> SimulatedError:
    return SimulatedError(403, "UnrecognizedClientException", "The security token included in the request is invalid.")


def sha256_hex(body: bytes) -> str:
    """Hash a body as SigV4 does."""
    return hashlib.sha256(body).hexdigest()
