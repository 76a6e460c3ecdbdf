"""Objects that calls make and later calls name, sessions, jobs, memories: where their ids stand.

An object belongs to who made it, and lives where it was made. Some ids are AWS's, told in the answer that makes the
object; some are the client's own, and the first call with one makes it. Must not know who owns what, nor what becomes
of a call.

Source: botocore ``service-2.json`` of the services, members of ``operations.<name>.{input,output}``. Identifiers that
may be an ARN or its last part: the API references of Bedrock and of Agents for Bedrock.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import attrs

from bedrock_gateway.wire.operations import Operation

__all__ = ["ListedObjects", "Made", "Used", "listed_by", "made_by", "plain_id", "used_by"]


class Where(StrEnum):
    """Part of a request or an answer."""

    LABEL = "label"
    QUERY = "query"
    HEADER = "header"
    BODY = "body"


@attrs.frozen
class Used:
    """An id in a request.

    Attributes:
        kind: what it names.
        where, name: part of the request and the name there; header names are lower case.
        scope: labels that the id is only good within: two agents may have sessions of the same id.
        claims: the id is the client's own, so that the first call with it makes the object.
        needed: without an id the call is about the objects of all.
        within: text of an ARN that names this kind, where the place holds ARNs of others too; "" where it does not.
    """

    kind: str
    where: Where
    name: str
    scope: tuple[str, ...] = ()
    claims: bool = False
    needed: bool = False
    within: str = ""


@attrs.frozen
class Made:
    """The id of a new object in an answer; ``where`` is ``HEADER`` or ``BODY``, ``scope`` as in ``Used``.

    ``name``: of a header, or names of members from the top of a body, joined by dots.
    """

    kind: str
    where: Where
    name: str
    scope: tuple[str, ...] = ()


@attrs.frozen
class ListedObjects:
    """The ids in the answer of a list: member of the body that is the list, and the name in each of its elements."""

    kind: str
    items: str
    name: str


_AGENT = ("agentId", "agentAliasId")
_ASYNC, _BATCH, _AUTOMATION = "async invocation", "batch job", "data automation job"
_SESSION, _FLOW, _RAG = "session", "flow execution", "knowledge base session"
_AGENT_SESSION, _MEMORY = "agent session", "agent memory"
_RUNTIME, _MCP, _HARNESS = "runtime session", "MCP session", "harness session"
_BROWSER, _CODE, _PAYMENT = "browser session", "code interpreter session", "payment session"
_OF_RUNTIME, _RUNTIME_HEADER = ("agentRuntimeArn",), "x-amzn-bedrock-agentcore-runtime-session-id"
_RUNTIME_SESSION = Used(_RUNTIME, Where.HEADER, _RUNTIME_HEADER, _OF_RUNTIME, claims=True)
_RUNTIME_MADE = Made(_RUNTIME, Where.HEADER, _RUNTIME_HEADER, _OF_RUNTIME)
_IN_SESSION = (Used(_SESSION, Where.LABEL, "sessionIdentifier"),)
_OF_FLOW = (Used(_FLOW, Where.LABEL, "executionIdentifier"),)
_MEMORY_ASKED = (Used(_MEMORY, Where.QUERY, "memoryId", _AGENT, claims=True, needed=True),)
_RAG_SESSION = (Used(_RAG, Where.BODY, "sessionId"),)
_IN_BROWSER = Used(_BROWSER, Where.QUERY, "sessionId")
_IN_CODE = Used(_CODE, Where.QUERY, "sessionId")
_TAGGING = ("ListTagsForResource", "TagResource", "UntagResource")
_SESSION_TAGGED = (Used(_SESSION, Where.LABEL, "resourceArn", within=":session/"),)
_JOB_TAGGED = (
    Used(_ASYNC, Where.BODY, "resourceARN", within=":async-invoke/"),
    Used(_BATCH, Where.BODY, "resourceARN", within=":model-invocation-job/"),
)
_AUTOMATION_TAGGED = (Used(_AUTOMATION, Where.BODY, "resourceARN", within=":data-automation-invocation/"),)

_USED: Mapping[str, tuple[Used, ...]] = {
    "bedrock-runtime:GetAsyncInvoke": (Used(_ASYNC, Where.LABEL, "invocationArn"),),
    "bedrock:GetModelInvocationJob": (Used(_BATCH, Where.LABEL, "jobIdentifier"),),
    "bedrock:StopModelInvocationJob": (Used(_BATCH, Where.LABEL, "jobIdentifier"),),
    "bedrock-data-automation-runtime:GetDataAutomationStatus": (Used(_AUTOMATION, Where.BODY, "invocationArn"),),
    **{
        f"bedrock-agent-runtime:{name}": _IN_SESSION
        for name in (
            *("GetSession", "UpdateSession", "EndSession", "DeleteSession", "CreateInvocation", "ListInvocations"),
            *("PutInvocationStep", "GetInvocationStep", "ListInvocationSteps"),
        )
    },
    "bedrock-agent-runtime:InvokeAgent": (
        Used(_AGENT_SESSION, Where.LABEL, "sessionId", _AGENT, claims=True),
        Used(_MEMORY, Where.BODY, "memoryId", _AGENT, claims=True),
    ),
    "bedrock-agent-runtime:InvokeInlineAgent": (Used(_AGENT_SESSION, Where.LABEL, "sessionId", claims=True),),
    "bedrock-agent-runtime:GetAgentMemory": _MEMORY_ASKED,
    "bedrock-agent-runtime:DeleteAgentMemory": _MEMORY_ASKED,
    "bedrock-agent-runtime:RetrieveAndGenerate": _RAG_SESSION,
    "bedrock-agent-runtime:RetrieveAndGenerateStream": _RAG_SESSION,
    "bedrock-agent-runtime:InvokeFlow": (Used(_FLOW, Where.BODY, "executionId"),),
    **{
        f"bedrock-agent-runtime:{name}": _OF_FLOW
        for name in ("GetFlowExecution", "StopFlowExecution", "GetExecutionFlowSnapshot", "ListFlowExecutionEvents")
    },
    **{f"bedrock-agent-runtime:{name}": _SESSION_TAGGED for name in _TAGGING},
    **{f"bedrock:{name}": _JOB_TAGGED for name in _TAGGING},
    **{f"bedrock-data-automation-runtime:{name}": _AUTOMATION_TAGGED for name in _TAGGING},
    "bedrock-agentcore:InvokeAgentRuntime": (
        _RUNTIME_SESSION,
        Used(_MCP, Where.HEADER, "mcp-session-id", _OF_RUNTIME),
    ),
    **{
        f"bedrock-agentcore:{name}": (_RUNTIME_SESSION,)
        for name in ("InvokeAgentRuntimeCommand", "StopRuntimeSession", "GetAgentCard")
    },
    "bedrock-agentcore:InvokeHarness": (Used(_HARNESS, Where.HEADER, _RUNTIME_HEADER, claims=True),),
    **{
        f"bedrock-agentcore:{name}": (Used(_PAYMENT, Where.BODY, "paymentSessionId"),)
        for name in ("GetPaymentSession", "DeletePaymentSession", "ProcessPayment")
    },
    "bedrock-agentcore:SaveBrowserSessionProfile": (Used(_BROWSER, Where.BODY, "sessionId"),),
    **{
        f"bedrock-agentcore:{name}": (_IN_BROWSER,)
        for name in ("GetBrowserSession", "StopBrowserSession", "UpdateBrowserStream")
    },
    "bedrock-agentcore:InvokeBrowser": (
        attrs.evolve(_IN_BROWSER, where=Where.HEADER, name="x-amzn-browser-session-id"),
    ),
    "bedrock-agentcore:GetCodeInterpreterSession": (_IN_CODE,),
    "bedrock-agentcore:StopCodeInterpreterSession": (_IN_CODE,),
    "bedrock-agentcore:InvokeCodeInterpreter": (
        attrs.evolve(_IN_CODE, where=Where.HEADER, name="x-amzn-code-interpreter-session-id"),
    ),
}

_MADE: Mapping[str, tuple[Made, ...]] = {
    "bedrock-runtime:StartAsyncInvoke": (Made(_ASYNC, Where.BODY, "invocationArn"),),
    "bedrock:CreateModelInvocationJob": (Made(_BATCH, Where.BODY, "jobArn"),),
    "bedrock-data-automation-runtime:InvokeDataAutomationAsync": (Made(_AUTOMATION, Where.BODY, "invocationArn"),),
    "bedrock-agent-runtime:CreateSession": (Made(_SESSION, Where.BODY, "sessionId"),),
    "bedrock-agent-runtime:StartFlowExecution": (Made(_FLOW, Where.BODY, "executionArn"),),
    "bedrock-agent-runtime:InvokeFlow": (Made(_FLOW, Where.HEADER, "x-amz-bedrock-flow-execution-id"),),
    "bedrock-agent-runtime:RetrieveAndGenerate": (Made(_RAG, Where.BODY, "sessionId"),),
    "bedrock-agent-runtime:RetrieveAndGenerateStream": (
        Made(_RAG, Where.HEADER, "x-amzn-bedrock-knowledge-base-session-id"),
    ),
    "bedrock-agentcore:StartBrowserSession": (Made(_BROWSER, Where.BODY, "sessionId"),),
    "bedrock-agentcore:StartCodeInterpreterSession": (Made(_CODE, Where.BODY, "sessionId"),),
    "bedrock-agentcore:CreatePaymentSession": (Made(_PAYMENT, Where.BODY, "paymentSession.paymentSessionId"),),
    "bedrock-agentcore:InvokeAgentRuntime": (_RUNTIME_MADE, Made(_MCP, Where.HEADER, "mcp-session-id", _OF_RUNTIME)),
    "bedrock-agentcore:InvokeAgentRuntimeCommand": (_RUNTIME_MADE,),
    "bedrock-agentcore:GetAgentCard": (_RUNTIME_MADE,),
}

_LISTED: Mapping[str, ListedObjects] = {
    "bedrock-runtime:ListAsyncInvokes": ListedObjects(_ASYNC, "asyncInvokeSummaries", "invocationArn"),
    "bedrock:ListModelInvocationJobs": ListedObjects(_BATCH, "invocationJobSummaries", "jobArn"),
    "bedrock-agent-runtime:ListSessions": ListedObjects(_SESSION, "sessionSummaries", "sessionId"),
    "bedrock-agent-runtime:ListFlowExecutions": ListedObjects(_FLOW, "flowExecutionSummaries", "executionArn"),
    "bedrock-agentcore:ListPaymentSessions": ListedObjects(_PAYMENT, "paymentSessions", "paymentSessionId"),
    "bedrock-agentcore:ListBrowserSessions": ListedObjects(_BROWSER, "items", "sessionId"),
    "bedrock-agentcore:ListCodeInterpreterSessions": ListedObjects(_CODE, "items", "sessionId"),
}


def used_by(operation: Operation) -> tuple[Used, ...]:
    """Return the ids of objects in an operation's requests."""
    return _USED.get(f"{operation.service}:{operation.name}", ())


def made_by(operation: Operation) -> tuple[Made, ...]:
    """Return the ids of new objects in an operation's answers."""
    return _MADE.get(f"{operation.service}:{operation.name}", ())


def listed_by(operation: Operation) -> ListedObjects | None:
    """Return the ids that an operation's answers list, or None."""
    return _LISTED.get(f"{operation.service}:{operation.name}")


def plain_id(text: str, labels: Mapping[str, str], scope: tuple[str, ...] = (), *, whole: bool = False) -> str:
    """Return what an object is kept under: the last part of an ARN, which AWS takes as well, behind what it is only
    good within.

    Args:
        scope: names of labels.
        whole: the id is the client's own, of which no part is left out.
    """
    within = (labels.get(name, "").rpartition("/")[2] for name in scope)
    return "/".join([*within, text if whole else text.rpartition("/")[2]])
