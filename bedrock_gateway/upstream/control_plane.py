"""Questions to AWS's control planes, asked by the gateway itself with a deployment's credentials: what is behind an
ARN, what may be called. Reads only, never on the way of a call that need not wait for them.

Source: botocore ``service-2.json`` of the service that is asked; AWS REST-JSON error answers.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote

import attrs
from yarl import URL

from bedrock_gateway.errors import ControlPlaneError, CredentialsError
from bedrock_gateway.routing.deployments import CredentialKind, Deployment
from bedrock_gateway.routing.verdicts import error_of
from bedrock_gateway.upstream.addresses import Address, Addresses
from bedrock_gateway.upstream.credentials import CredentialStore
from bedrock_gateway.upstream.session import Upstream, UpstreamFault, UpstreamRequest
from bedrock_gateway.wire.headers import IDENTITY, is_signed
from bedrock_gateway.wire.operations import Operation
from bedrock_gateway.wire.sigv4 import Signer

__all__ = ["ControlPlane"]

#: Seconds an answer may take in all.
TIMEOUT = 5.0
#: Bytes of the largest answer that is read.
MAX_ANSWER = 4_194_304
#: AWS STS API reference, GetCallerIdentity: a form, answered in XML; nobody needs a right for it.
_IDENTITY = Operation(
    name="GetCallerIdentity", service="sts", signing_name="sts", host_prefix="sts", method="POST", template="/"
)
#: Amazon S3 API reference, GetObject: the path is signed as it is sent, and the payload's hash is a header too.
_OBJECT = Operation(
    name="GetObject", service="s3", signing_name="s3", host_prefix="s3", method="GET", template="/{Bucket}/{Key}"
)
_WHO_AM_I = b"Action=GetCallerIdentity&Version=2011-06-15"
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedException"})


@attrs.frozen(eq=False)
class ControlPlane:
    """Asks read operations.

    Attributes:
        operations: by ``service:Operation``.
        amz_date: gives now as SigV4 writes it.
        dates: ``Date`` of the last answers, as they came.
    """

    upstream: Upstream
    addresses: Addresses
    credentials: CredentialStore
    signer: Signer
    amz_date: Callable[[], str]
    operations: Mapping[str, Operation]
    dates: deque[str] = attrs.field(factory=lambda: deque(maxlen=16), init=False)

    @classmethod
    def of(
        cls,
        operations: Iterable[Operation],
        *,
        upstream: Upstream,
        addresses: Addresses,
        credentials: CredentialStore,
        signer: Signer,
        amz_date: Callable[[], str],
    ) -> ControlPlane:
        """Return one that asks the reads among these operations."""
        reads = {f"{one.service}:{one.name}": one for one in operations if one.method == "GET"}
        return cls(upstream, addresses, credentials, signer, amz_date, reads)

    async def ask(
        self, deployment: Deployment, operation: str, labels: Mapping[str, str], query: str = ""
    ) -> dict[str, Any]:
        """Return what a read operation answers.

        Args:
            deployment: whose account, region and endpoints are asked.
            operation: ``service:Operation``.
            labels: of its path, decoded; a model id among them goes as it is.

        Raises:
            ControlPlaneError: there is no answer; the text says why and what mends it.
            KeyError: it is no read operation of these services.
        """
        found = self.operations[operation]
        # The label says which model is meant, not the deployment.
        address = self.addresses.of(attrs.evolve(deployment, model_id=""), found, labels, query)
        body = await self._answer(deployment, found, address)
        try:
            document = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise ControlPlaneError(f"{found.name} answers no JSON", kind="unreadable") from error
        if not isinstance(document, dict):
            raise ControlPlaneError(f"{found.name} answers no JSON object", kind="unreadable")
        return document

    async def identity(self, deployment: Deployment) -> str:
        """Return the ARN that a deployment's credentials are of.

        Raises:
            ControlPlaneError: STS does not say.
        """
        address = self.addresses.of(attrs.evolve(deployment, model_id=""), _IDENTITY, {}, "")
        body = await self._answer(deployment, _IDENTITY, address, _WHO_AM_I)
        arn = re.search(rb"<Arn>([^<]{1,2048})</Arn>", body)
        if arn is None:
            raise ControlPlaneError("GetCallerIdentity names nobody", kind="unreadable")
        return arn[1].decode(errors="replace")

    async def read_object(self, deployment: Deployment, bucket: str, key: str) -> bytes:
        """Return an object in S3.

        Raises:
            ControlPlaneError: it cannot be had; the text says why and what mends it.
        """
        own = deployment.endpoints.get("s3")
        base = URL(own or self.addresses.base_url("s3", deployment.region))
        # The path in the host's stead: bucket names with dots have no certificate as a host.
        path = f"{base.raw_path.rstrip('/')}/{bucket}/{quote(key, safe='/-_.~')}"
        netloc = f"{base.host_subcomponent}:{base.port}" if base.explicit_port else base.host_subcomponent or ""
        url = URL(f"{base.scheme}://{netloc}{path}", encoded=True)
        return await self._answer(deployment, _OBJECT, Address(url, path, netloc, path, ""))

    async def _answer(self, deployment: Deployment, operation: Operation, address: Address, body: bytes = b"") -> bytes:
        name = f"{operation.service}:{operation.name}"
        try:
            async with asyncio.timeout(TIMEOUT):
                return await self._ask(deployment, operation, address, body)
        except TimeoutError:
            raise ControlPlaneError(f"{name} did not answer within {TIMEOUT:g} s", kind="unreached") from None
        except UpstreamFault as fault:
            raise ControlPlaneError(f"{name} cannot be reached: {fault}", kind="unreached") from fault
        except CredentialsError as error:
            raise ControlPlaneError(f"no credentials: {error}", kind="credentials") from error

    async def _ask(self, deployment: Deployment, operation: Operation, address: Address, body: bytes) -> bytes:
        sent = {"host": address.host, "user-agent": self.upstream.user_agent, "accept": "*/*"}
        sent.update([IDENTITY])
        if body:
            sent["content-type"] = "application/x-www-form-urlencoded"
        source = deployment.credentials
        if source.kind is CredentialKind.BEARER:
            if not operation.bearer:
                raise ControlPlaneError(f"a Bedrock API key says nothing to {operation.service}", kind="credentials")
            sent["authorization"] = f"Bearer {source.bearer}"
        else:
            credentials = await self.credentials.get(source)
            amz_date = self.amz_date()
            digest = hashlib.sha256(body).hexdigest()
            sent["x-amz-date"] = amz_date
            if operation is _OBJECT:
                sent["x-amz-content-sha256"] = digest
            if credentials.session_token:
                sent["x-amz-security-token"] = credentials.session_token
            sent["authorization"] = self.signer.authorization(
                method=operation.method,
                canonical_path=address.path,
                canonical_query=address.query,
                headers=[(name, value) for name, value in sent.items() if is_signed(name)],
                payload_hash=digest,
                credentials=credentials,
                region=deployment.region,
                service=operation.signing_name,
                amz_date=amz_date,
            )
        answer = await self.upstream.send(
            UpstreamRequest(operation.method, address.url, address.target, sent, body, deployment.ssl_verify)
        )
        told = bytearray()
        try:
            while data := await self.upstream.read(answer):
                told += data
                if len(told) > MAX_ANSWER:
                    raise ControlPlaneError(f"{operation.name} answers more than can be read", kind="unreadable")
        finally:
            self.upstream.give_up(answer)
        if date := answer.headers.get("date"):
            self.dates.append(date)
        if answer.status >= 300:
            kind, message = error_of(answer.headers.get("x-amzn-errortype"), bytes(told))
            if operation in (_IDENTITY, _OBJECT):
                kind, message = _in_xml(told, b"Code"), _in_xml(told, b"Message")
            raise _refused(operation, answer.status, kind, message)
        return bytes(told)


def _in_xml(body: bytes | bytearray, name: bytes) -> str:
    found = re.search(b"<" + name + b">([^<]{1,500})</", body)
    return "" if found is None else found[1].decode(errors="replace")


def _refused(operation: Operation, status: int, error_type: str | None, message: str) -> ControlPlaneError:
    """Return what a refusal means; AWS's text names account and role, so it is for logs and operators only."""
    # Every service here is one to IAM but for AgentCore, as in signatures.
    action = f"{operation.signing_name}:{operation.name}"
    said = f"{error_type or status}: {message}".strip(": ")
    if error_type in _DENIED:
        return ControlPlaneError(f"IAM does not allow {action} ({said}); allow this action", kind="denied")
    if status == 404 or error_type == "ResourceNotFoundException":
        return ControlPlaneError(f"{action} finds nothing ({said})", kind="not-found")
    if status == 429 or error_type == "ThrottlingException":
        return ControlPlaneError(f"{action} is throttled ({said})", kind="throttled")
    return ControlPlaneError(f"{action} was refused ({said})", kind="refused")
