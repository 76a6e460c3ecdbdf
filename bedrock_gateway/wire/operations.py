"""AWS API operations as records: what a request of each looks like and what else has to be known of it.

Knows how botocore writes a service model down and, in a few small tables, what no service model says: which URI label
is a model id, which model of a body decides where a call goes, what kind of work the operation is, whether AWS charges
for it. Must not know paths as they arrive (``wire.targets``), files (``upstream.models`` reads the models), prices or
policies.

Source: botocore ``data/SERVICE/VERSION/service-2.json``: ``metadata.{auth,endpointPrefix,protocol,signingName,
targetPrefix}``, ``operations.<name>.{http,input,output}``, ``shapes.<name>.{members,eventstream,exception}``. An event
stream is a member whose shape says ``eventstream: true``; of that shape's members those whose shape says ``exception:
true`` are the exceptions the stream may carry, under the member's name (``throttlingException``). What is charged for:
AWS, "Amazon Bedrock pricing" and "Amazon Bedrock AgentCore pricing".
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import attrs

from bedrock_gateway.wire.model_places import ModelPlace, model_places

__all__ = ["CONTROL_PLANES", "Kind", "Operation", "operations_from_model"]

_NO_HEADERS: frozenset[str] = frozenset()


class Kind(StrEnum):
    """What sort of work an operation is: where its usage, its maximum output and its guardrail live follows from it."""

    CONVERSE = "converse"  # body and answer in the Converse shape
    INVOKE = "invoke"  # body and answer in the model's own shape
    COUNT = "count"  # counts input tokens
    GUARDRAIL = "guardrail"  # applies a guardrail, answers its units
    GUARDRAIL_CHECKS = "guardrail_checks"  # runs checks without a guardrail, answers their units
    RERANK = "rerank"  # ranks documents by a model; charged by queries, which the request tells
    RETRIEVE = "retrieve"  # looks into a knowledge base, maybe through a model
    GENERATE = "generate"  # retrieves, and answers by a model
    AGENT = "agent"  # lets models and tools work; its trace tells their usage, where it is on
    ASYNC = "async"  # begins work whose usage no answer ever tells
    BATCH = "batch"  # begins a job over a file of requests, whose manifest tells their usage
    READ = "read"  # reads what there is
    CHANGE = "change"  # changes what there is, and sets nothing to work
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
        template: URI template (``/model/{modelId}/converse``); some end in a slash.
        labels: names of the URI labels, in order of the template.
        status: HTTP status of a success.
        stream_in: the request body is an event stream.
        stream_out: the answer is an event stream.
        exceptions: exceptions modelled for the answer's stream, lower camel (``throttlingException``), in order of the
            model.
        model_label: URI label that is a model id (a profile id or an ARN too), or None.
        models: where the JSON body names models.
        leading: path of the one among them that does the work and decides where the call goes, alternatives in order;
            none where an agent, a knowledge base or a job's place decides.
        kind: what sort of work it is.
        free: AWS does not charge for it.
        control: it belongs to a control plane, whose changes not everybody may make.
        target: value of ``X-Amz-Target``, by which operations of a JSON service are told apart; "" for all others.
        says_nothing: a success has no body, or an empty object: no member of its output is in the body.
        bearer: AWS takes a Bedrock API key for it.
        headers_in, headers_out: lower-case names of headers that are members of its input and output.
        of_model: it calls a model and does nothing else.
        known: AWS's models have it; of one that is not nothing more than service, method and path is known.
    """

    name: str
    service: str
    signing_name: str
    host_prefix: str
    method: str
    template: str
    labels: tuple[str, ...] = ()
    status: int = 200
    stream_in: bool = False
    stream_out: bool = False
    exceptions: tuple[str, ...] = ()
    model_label: str | None = None
    models: tuple[ModelPlace, ...] = ()
    leading: tuple[tuple[str, ...], ...] = ()
    kind: Kind = Kind.OTHER
    free: bool = False
    control: bool = False
    target: str = ""
    says_nothing: bool = False
    bearer: bool = False
    headers_in: frozenset[str] = _NO_HEADERS
    headers_out: frozenset[str] = _NO_HEADERS
    known: bool = True
    of_model: bool = attrs.field(init=False)

    @of_model.default
    def _of_model(self) -> bool:
        return self.kind in (Kind.CONVERSE, Kind.INVOKE)


@attrs.frozen(kw_only=True)
class _Told:
    """What no service model says of an operation."""

    kind: Kind = Kind.OTHER
    model_label: str | None = None
    leading: tuple[tuple[str, ...], ...] = ()


_GENERATION = "retrieveAndGenerateConfiguration"
_RERANKING = ("rerankingConfiguration", "bedrockRerankingConfiguration", "modelConfiguration", "modelArn")
_RETRIEVE_AND_GENERATE = _Told(
    kind=Kind.GENERATE,
    leading=(
        (_GENERATION, "externalSourcesConfiguration", "modelArn"),
        (_GENERATION, "knowledgeBaseConfiguration", "modelArn"),
    ),
)

#: By operation name. An operation that neither this nor ``_CONTROL_VERBS`` tells of is OTHER and not free: what nobody
#: has looked at is never booked as costing nothing. The labels of GetFoundationModel and GetInferenceProfile are model
#: ids too: a profile is visible only to the account that has it, so these reads have to find the deployment that names
#: it.
_TOLD: Mapping[str, _Told] = {
    "Converse": _Told(kind=Kind.CONVERSE, model_label="modelId"),
    "ConverseStream": _Told(kind=Kind.CONVERSE, model_label="modelId"),
    "InvokeModel": _Told(kind=Kind.INVOKE, model_label="modelId"),
    "InvokeModelWithResponseStream": _Told(kind=Kind.INVOKE, model_label="modelId"),
    "InvokeModelWithBidirectionalStream": _Told(kind=Kind.INVOKE, model_label="modelId"),
    "CountTokens": _Told(kind=Kind.COUNT, model_label="modelId"),
    "ApplyGuardrail": _Told(kind=Kind.GUARDRAIL),
    "InvokeGuardrailChecks": _Told(kind=Kind.GUARDRAIL_CHECKS),
    "StartAsyncInvoke": _Told(kind=Kind.ASYNC, leading=(("modelId",),)),
    "GetFoundationModel": _Told(kind=Kind.READ, model_label="modelIdentifier"),
    "GetInferenceProfile": _Told(kind=Kind.READ, model_label="inferenceProfileIdentifier"),
    "CreateModelInvocationJob": _Told(kind=Kind.BATCH, leading=(("modelId",),)),
    "Rerank": _Told(kind=Kind.RERANK, leading=(_RERANKING,)),
    "Retrieve": _Told(kind=Kind.RETRIEVE),
    "AgenticRetrieveStream": _Told(kind=Kind.RETRIEVE),
    "RetrieveAndGenerate": _RETRIEVE_AND_GENERATE,
    "RetrieveAndGenerateStream": _RETRIEVE_AND_GENERATE,
    "OptimizePrompt": _Told(leading=(("targetModelId",),)),
    "InvokeAgent": _Told(kind=Kind.AGENT),
    "InvokeInlineAgent": _Told(kind=Kind.AGENT, leading=(("foundationModel",),)),
    "InvokeFlow": _Told(kind=Kind.AGENT),
    "InvokeHarness": _Told(kind=Kind.AGENT),
}

#: Services that only keep and show what there is, apart from what ``_SETS_TO_WORK`` names.
CONTROL_PLANES = frozenset({"bedrock", "bedrock-agent", "bedrock-data-automation", "bedrock-agentcore-control"})
#: First words of operations of these services.
_READING = ("Get", "List")
_CHANGING = (
    *(
        "Add",
        "Associate",
        "BatchDelete",
        "BatchPut",
        "Cancel",
        "Copy",
        "Create",
        "Delete",
        "Deregister",
        "Disassociate",
    ),
    *("Export", "Prepare", "Put", "Register", "Reset", "Rotate", "Set", "Stop", "Submit", "Tag", "Untag", "Update"),
    "Validate",
)
#: Operations of these services after which something is charged: jobs, endpoints, throughput, ingestion, agreements.
_SETS_TO_WORK = frozenset(
    {
        *("CreateAdvancedPromptOptimizationJob", "CreateAutomatedReasoningPolicyTestCase", "CreateCustomModel"),
        *("CreateCustomModelDeployment", "CreateEvaluationJob", "CreateFoundationModelAgreement"),
        *("CreateMarketplaceModelEndpoint", "CreateModelCopyJob", "CreateModelCustomizationJob"),
        *("CreateModelImportJob", "CreateModelInvocationJob", "CreateProvisionedModelThroughput"),
        *("RegisterMarketplaceModelEndpoint", "UpdateMarketplaceModelEndpoint", "UpdateProvisionedModelThroughput"),
        *("UpdateCustomModelDeployment", "CreateOnlineEvaluationConfig", "UpdateOnlineEvaluationConfig"),
        *("CreateCapacityProvider", "UpdateCapacityProvider", "AddDatasetExamples", "SetTokenVaultCMK"),
        *("CreateAgentRuntime", "UpdateAgentRuntime"),
    }
)
#: Reads of the other services for which AWS prints no price.
_FREE_READS = frozenset(
    {
        *("GetAsyncInvoke", "ListAsyncInvokes", "GetAgentMemory", "GetSession", "ListSessions", "ListInvocations"),
        *("GetInvocationStep", "ListInvocationSteps", "ListTagsForResource", "GetFlowExecution", "ListFlowExecutions"),
        *("GetExecutionFlowSnapshot", "ListFlowExecutionEvents", "GetDataAutomationStatus"),
    }
)
#: Changes of the other services for which AWS prints no price.
_FREE_CHANGES = frozenset(
    {
        *("CreateSession", "UpdateSession", "EndSession", "DeleteSession", "CreateInvocation", "PutInvocationStep"),
        *("DeleteAgentMemory", "StopFlowExecution", "TagResource", "UntagResource"),
    }
)
#: Services of the above; AgentCore's data plane charges for much that only reads.
_WITH_FREE = frozenset({"bedrock-runtime", "bedrock-agent-runtime", "bedrock-data-automation-runtime"})
_FREE_KINDS = frozenset({Kind.COUNT, Kind.READ, Kind.CHANGE})
_UNTOLD = _Told()
_READ = _Told(kind=Kind.READ)
_CHANGE = _Told(kind=Kind.CHANGE)


def operations_from_model(service_model: Mapping[str, Any], *, service: str | None = None) -> tuple[Operation, ...]:
    """Build the records of one service, in order of its model.

    ``service_model`` is the content of a botocore ``service-2.json``; ``service`` is the name of its folder where it
    differs from the endpoint prefix.

    Raises:
        ValueError: the model is of a protocol that is neither rest-json nor json.
        KeyError: the model lacks what every service model has.
    """
    metadata = service_model["metadata"]
    prefix: str = metadata["endpointPrefix"]
    if metadata["protocol"] not in ("rest-json", "json"):
        raise ValueError(f"{prefix} speaks {metadata['protocol']}, neither rest-json nor json")
    by_target = metadata["protocol"] == "json"
    shapes: Mapping[str, Any] = service_model["shapes"]
    service = service or prefix
    control = service in CONTROL_PLANES
    records = []
    for name, operation in service_model["operations"].items():
        told = _told(name, service)
        http = operation["http"]
        # A query string in a template is a constant parameter of the operation, not part of its path.
        template: str = http["requestUri"].partition("?")[0]
        answer_stream = _event_stream(operation.get("output"), shapes)
        records.append(
            Operation(
                name=name,
                service=service,
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
                models=model_places(operation.get("input", {}).get("shape"), shapes),
                leading=told.leading,
                kind=told.kind,
                free=told.kind in _FREE_KINDS,
                control=control,
                target=f"{metadata['targetPrefix']}.{name}" if by_target else "",
                says_nothing=_says_nothing(operation.get("output"), shapes),
                bearer="smithy.api#httpBearerAuth" in metadata.get("auth", ()),
                headers_in=_headers(operation.get("input"), shapes),
                headers_out=_headers(operation.get("output"), shapes),
            )
        )
    return tuple(records)


def _told(name: str, service: str) -> _Told:
    """Return what is known of an operation beyond its model."""
    told = _TOLD.get(name)
    if told is not None:
        return told
    if service in CONTROL_PLANES and name not in _SETS_TO_WORK:
        if name.startswith(_READING):
            return _READ
        if name.startswith(_CHANGING):
            return _CHANGE
    elif service in _WITH_FREE:
        if name in _FREE_READS:
            return _READ
        if name in _FREE_CHANGES:
            return _CHANGE
    return _UNTOLD


def _headers(reference: Mapping[str, Any] | None, shapes: Mapping[str, Any]) -> frozenset[str]:
    """Return the lower-case names of the headers among the members of an operation's input or output."""
    if reference is None:
        return _NO_HEADERS
    members = shapes[reference["shape"]].get("members", {}).values()
    return (
        frozenset(told["locationName"].lower() for told in members if told.get("location") == "header") or _NO_HEADERS
    )


def _says_nothing(reference: Mapping[str, Any] | None, shapes: Mapping[str, Any]) -> bool:
    """Tell whether no member of an operation's output is in the body."""
    members = {} if reference is None else shapes[reference["shape"]].get("members", {})
    return all("location" in member for member in members.values())


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
