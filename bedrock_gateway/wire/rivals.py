"""Operations of several services under one method and path, told apart by what else a request says.

In this order: the target header of a JSON service, the ARN of what is tagged or shared, the service a signature is
for, the SDK client that signs itself as one; else the first. Must not know what the operations do, nor verify anything:
a request that lies about its service is answered by another one of AWS's.

Source: botocore models (``GET /tags/{resourceArn}`` is an operation of three services); AWS JSON 1.1 protocol
(``X-Amz-Target``); SigV4 credential scope ``ID/DATE/REGION/SERVICE/aws4_request``; AWS SDK for JavaScript v3, user
agent ``api/bedrock-agent-runtime#3.1``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from bedrock_gateway.errors import InvalidRequest, UnknownOperation
from bedrock_gateway.wire.labels import shown
from bedrock_gateway.wire.operations import Operation
from bedrock_gateway.wire.targets import Target

__all__ = ["needs_body", "tell_apart"]

_SCOPE = re.compile(r"Credential=[^/,\s]+/[0-9]{8}/[^/,\s]*/([a-z-]{1,40})/aws4_request")
_SDK = re.compile(r"api/([a-z-]{1,40})#")
#: Name after a target's dot, of an operation that may be new.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]{0,79}")
#: By what an ARN says of its resource, whose it is; the first that fits.
_OWNERS = (
    (":bedrock-agentcore:", "bedrock-agentcore-control"),
    (":session/", "bedrock-agent-runtime"),
    (":blueprint/", "bedrock-data-automation"),
    (":data-automation-", "bedrock-data-automation"),
)
#: Members that name what is tagged, where the path does not.
_TAGGED = ("resourceARN", "resourceArn")


def needs_body(target: Target) -> bool:
    """Tell whether the body has to be read to tell a target's rivals apart: only there is what they work on."""
    return bool(target.rivals) and not target.labels and not target.operation.target


def tell_apart(target: Target, headers: Mapping[str, str], member: Callable[[str], object]) -> Target:
    """Return the target as one of the operation that is meant.

    Args:
        headers: of the request, whatever their case.
        member: gives a member of the JSON body; None where it has none. Asked only where ``needs_body`` says so.

    Raises:
        InvalidRequest: a JSON service's request does not name its operation.
        UnknownOperation: it names one of another service.
    """
    rivals = target.rivals
    if rivals[0].target:
        return target.chosen(_by_target(rivals, headers.get("x-amz-target")))
    values = target.labels.values() or [value for name in _TAGGED if isinstance(value := member(name), str)]
    for arn in values:
        if arn.startswith("arn:"):
            owner = next((service for sign, service in _OWNERS if sign in arn), None)
            found = [rival for rival in rivals if rival.service == owner]
            if found:
                return target.chosen(found[0])
            rivals = tuple(rival for rival in rivals if rival.service not in dict(_OWNERS).values()) or rivals
            break
    signed = _SCOPE.search(headers.get("authorization") or "")
    if signed is not None:
        rivals = tuple(rival for rival in rivals if rival.signing_name == signed[1]) or rivals
    for name in ("x-amz-user-agent", "user-agent"):
        client = _SDK.search(headers.get(name) or "")
        if client is not None:
            rivals = tuple(rival for rival in rivals if rival.service == client[1]) or rivals
    return target.chosen(rivals[0])


def _by_target(rivals: tuple[Operation, ...], value: str | None) -> Operation:
    if not value:
        raise InvalidRequest(
            "POST / is the path of every operation of a JSON service: name one in the header X-Amz-Target "
            f"({rivals[0].target})."
        )
    for rival in rivals:
        if rival.target == value:
            return rival
    service = rivals[0].target.rpartition(".")[0]
    prefix, _, name = value.rpartition(".")
    if prefix != service or not _NAME.fullmatch(name):
        raise UnknownOperation(f"X-Amz-Target {shown(value)} is not the name of an operation that is served here.")
    alike = rivals[0]
    return Operation(
        name=name,
        service=alike.service,
        signing_name=alike.signing_name,
        host_prefix=alike.host_prefix,
        method=alike.method,
        template=alike.template,
        target=value,
        bearer=alike.bearer,
        known=False,
    )
