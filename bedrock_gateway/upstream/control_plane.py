"""Questions to AWS's control planes, asked by the gateway itself with a deployment's credentials: what is behind an
ARN, what may be called. Reads only, never on the way of a call that need not wait for them.

Source: botocore ``service-2.json`` of the service that is asked; AWS REST-JSON error answers.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from bedrock_gateway.errors import ControlPlaneError, CredentialsError
from bedrock_gateway.routing.deployments import CredentialKind, Deployment
from bedrock_gateway.routing.verdicts import error_of
from bedrock_gateway.upstream.addresses import Addresses
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
_NO_BODY = hashlib.sha256(b"").hexdigest()
_DENIED = frozenset({"AccessDeniedException", "UnauthorizedException"})


@attrs.frozen(eq=False)
class ControlPlane:
    """Asks read operations.

    Attributes:
        operations: by ``service:Operation``.
        amz_date: gives now as SigV4 writes it.
    """

    upstream: Upstream
    addresses: Addresses
    credentials: CredentialStore
    signer: Signer
    amz_date: Callable[[], str]
    operations: Mapping[str, Operation]

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
        try:
            async with asyncio.timeout(TIMEOUT):
                return await self._ask(deployment, found, labels, query)
        except TimeoutError:
            raise ControlPlaneError(f"{operation} did not answer within {TIMEOUT:g} s", kind="unreached") from None
        except UpstreamFault as fault:
            raise ControlPlaneError(f"{operation} cannot be reached: {fault}", kind="unreached") from fault
        except CredentialsError as error:
            raise ControlPlaneError(f"no credentials: {error}", kind="credentials") from error

    async def _ask(
        self, deployment: Deployment, operation: Operation, labels: Mapping[str, str], query: str
    ) -> dict[str, Any]:
        # The label says which model is meant, not the deployment.
        address = self.addresses.of(attrs.evolve(deployment, model_id=""), operation, labels, query)
        sent = {"host": address.host, "user-agent": self.upstream.user_agent, "accept": "application/json"}
        sent.update([IDENTITY])
        source = deployment.credentials
        if source.kind is CredentialKind.BEARER:
            sent["authorization"] = f"Bearer {source.bearer}"
        else:
            credentials = await self.credentials.get(source)
            amz_date = self.amz_date()
            sent["x-amz-date"] = amz_date
            if credentials.session_token:
                sent["x-amz-security-token"] = credentials.session_token
            sent["authorization"] = self.signer.authorization(
                method=operation.method,
                canonical_path=address.path,
                canonical_query=address.query,
                headers=[(name, value) for name, value in sent.items() if is_signed(name)],
                payload_hash=_NO_BODY,
                credentials=credentials,
                region=deployment.region,
                service=operation.signing_name,
                amz_date=amz_date,
            )
        answer = await self.upstream.send(
            UpstreamRequest(operation.method, address.url, address.target, sent, b"", deployment.ssl_verify)
        )
        body = bytearray()
        try:
            while data := await self.upstream.read(answer):
                body += data
                if len(body) > MAX_ANSWER:
                    raise ControlPlaneError(f"{operation.name} answers more than can be read", kind="unreadable")
        finally:
            self.upstream.give_up(answer)
        if answer.status >= 300:
            raise _refused(operation, answer.status, *error_of(answer.headers.get("x-amzn-errortype"), bytes(body)))
        try:
            document = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise ControlPlaneError(f"{operation.name} answers no JSON", kind="unreadable") from error
        if not isinstance(document, dict):
            raise ControlPlaneError(f"{operation.name} answers no JSON object", kind="unreadable")
        return document


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
