"""AWS API operations as records: what a request of each looks like and what else has to be known of it.

Knows how botocore writes a service model down and, in one small table, what no service model says: which URI label is
a model id, where a body hides one, what kind of work the operation is, whether AWS charges for it. Must not know paths
as they arrive (``wire.targets``), files (``upstream.models`` reads the models), prices or policies.

Source: botocore ``data/bedrock-runtime/2023-09-30/service-2.json`` and ``data/bedrock/2023-04-20/service-2.json``:
``metadata.{endpointPrefix,signingName}``, ``operations.<name>.{http,input,output}``,
``shapes.<name>.{members,eventstream,exception}``. An event stream is a member whose shape says ``eventstream: true``;
of that shape's members those whose shape says ``exception: true`` are the exceptions the stream may carry, under the
member's name (``throttlingException``).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import attrs

__all__ = ["Kind", "Operation", "operations_from_model"]


class Kind(StrEnum):
    """What sort of work an operation is: where its usage, its maximum output and its guardrail live follows from it."""

    CONVERSE = "converse"  # body and answer in the Converse shape
    INVOKE = "invoke"  # body and answer in the model's own shape
    COUNT = "count"  # counts input tokens
    GUARDRAIL = "guardrail"  # applies a guardrail, answers its units
    GUARDRAIL_CHECKS = "guardrail_checks"  # runs checks without a guardrail, answers their units
    ASYNC = "async"  # begins work whose usage no answer ever tells
    READ = "read"  # reads what there is
    OTHER = "other"  # nothing is known of it


@attrs.frozen(kw_only=True)
class Operation:
    """One AWS API operation.

    Attributes:
        name: as AWS spells it (``ConverseStream``).
        service: service id as botocore's folders spell it (``bedrock-runtime``); IAM-like names are ``service:name``.
        signing_name: service in the SigV4 scope (``bedrock``).
        host_prefix: first label of the default host (``bedrock-runtime``).
        method: HTTP method.
        template: URI template (``/model/{modelId}/converse``).
        labels: names of the URI labels, in order of the template.
        status: HTTP status of a success.
        stream_in: the request body is an event stream.
        stream_out: the answer is an event stream.
        exceptions: exceptions modelled for the answer's stream, lower camel (``throttlingException``), in order of the
            model.
        model_label: URI label that is a model id (a profile id or an ARN too), or None.
        model_in_body: path of the model id in the JSON body, or None.
        kind: what sort of work it is.
        free: AWS does not charge for it.
    """

    name: str
    service: str
    signing_name: str
    host_prefix: str
    method: str
    template: str
    labels: tuple[str, ...]
    status: int
    stream_in: bool
    stream_out: bool
    exceptions: tuple[str, ...]
    model_label: str | None
    model_in_body: tuple[str, ...] | None
    kind: Kind
    free: bool


@attrs.frozen(kw_only=True)
class _Told:
    """What no service model says of an operation."""

    kind: Kind = Kind.OTHER
    free: bool = False
    model_label: str | None = None
    model_in_body: tuple[str, ...] | None = None


#: By operation name. An operation missing here is OTHER and not free: what nobody has looked at is never booked as
#: costing nothing. The labels of GetFoundationModel and GetInferenceProfile are model ids too: a profile is visible
#: only to the account that has it, so these reads have to find the deployment that names it.
_TOLD: Mapping[str, _Told] = {
    "Converse": _Told(kind=Kind.CONVERSE, model_label="modelId"),
    "ConverseStream": _Told(kind=Kind.CONVERSE, model_label="modelId"),
    "InvokeModel": _Told(kind=Kind.INVOKE, model_label="modelId"),
    "InvokeModelWithResponseStream": _Told(kind=Kind.INVOKE, model_label="modelId"),
    "InvokeModelWithBidirectionalStream": _Told(kind=Kind.INVOKE, model_label="modelId"),
    "CountTokens": _Told(kind=Kind.COUNT, model_label="modelId", free=True),
    "ApplyGuardrail": _Told(kind=Kind.GUARDRAIL),
    "InvokeGuardrailChecks": _Told(kind=Kind.GUARDRAIL_CHECKS),
    "StartAsyncInvoke": _Told(kind=Kind.ASYNC, model_in_body=("modelId",)),
    "GetAsyncInvoke": _Told(kind=Kind.READ, free=True),
    "ListAsyncInvokes": _Told(kind=Kind.READ, free=True),
    "ListFoundationModels": _Told(kind=Kind.READ, free=True),
    "GetFoundationModel": _Told(kind=Kind.READ, free=True, model_label="modelIdentifier"),
    "ListInferenceProfiles": _Told(kind=Kind.READ, free=True),
    "GetInferenceProfile": _Told(kind=Kind.READ, free=True, model_label="inferenceProfileIdentifier"),
}
_UNTOLD = _Told()


def operations_from_model(service_model: Mapping[str, Any], *, service: str | None = None) -> tuple[Operation, ...]:
    """Build the records of one service, in order of its model.

    ``service_model`` is the content of a botocore ``service-2.json``; ``service`` is the name of its folder where it
    differs from the endpoint prefix. Only rest-json services have paths of their own; of any other protocol there is
    nothing to route by path.

    Raises:
        ValueError: the model is of another protocol than rest-json.
        KeyError: the model lacks what every service model has.
    """
    metadata = service_model["metadata"]
    if metadata["protocol"] != "rest-json":
        raise ValueError(f"{metadata['endpointPrefix']} speaks {metadata['protocol']}, not rest-json")
    prefix: str = metadata["endpointPrefix"]
    shapes: Mapping[str, Any] = service_model["shapes"]
    records = []
    for name, operation in service_model["operations"].items():
        told = _TOLD.get(name, _UNTOLD)
        http = operation["http"]
        # A query string in a template is a constant parameter of the operation, not part of its path.
        template: str = http["requestUri"].partition("?")[0]
        answer_stream = _event_stream(operation.get("output"), shapes)
        records.append(
            Operation(
                name=name,
                service=service or prefix,
                signing_name=metadata.get("signingName", prefix),
                host_prefix=prefix,
                method=http["method"],
                template=template,
                labels=tuple(part[1:-1].rstrip("+") for part in template.split("/") if part.startswith("{")),
                status=http.get("responseCode", 200),
                stream_in=_event_stream(operation.get("input"), shapes) is not None,
                stream_out=answer_stream is not None,
                exceptions=() if answer_stream is None else _exceptions(answer_stream, shapes),
                model_label=told.model_label,
                model_in_body=told.model_in_body,
                kind=told.kind,
                free=told.free,
            )
        )
    return tuple(records)


def _event_stream(reference: Mapping[str, Any] | None, shapes: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the event-stream shape among the members of an operation's input or output, or None."""
    if reference is None:
        return None
    for member in shapes[reference["shape"]].get("members", {}).values():
        shape: Mapping[str, Any] = shapes[member["shape"]]
        if shape.get("eventstream"):
            return shape
    return None


def _exceptions(stream: Mapping[str, Any], shapes: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of an event-stream shape's members that are exceptions."""
    return tuple(name for name, member in stream["members"].items() if shapes[member["shape"]].get("exception"))
