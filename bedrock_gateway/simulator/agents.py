"""Agents and flows: InvokeAgent, InvokeInlineAgent, InvokeFlow, and what lists the agents.

An agent here thinks once and answers. With a trace it tells what it asked its model and the tokens that took, as AWS's
does: tokens appear nowhere else.
Source: botocore service models of bedrock-agent-runtime and bedrock-agent (shapes, headers).
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from typing import Any

import attrs

from bedrock_gateway.simulator.asked import Asked, Handlers, Said, identifier, member, plain, say, text_member
from bedrock_gateway.simulator.catalog import ACCOUNT, CREATED
from bedrock_gateway.simulator.counting import encode
from bedrock_gateway.simulator.dialogue import pieces
from bedrock_gateway.simulator.inference import Prepared
from bedrock_gateway.simulator.models import parse_model
from bedrock_gateway.simulator.protocol import Event, SimulatedError, Streamed, Whole, compact, require

__all__ = ["AGENT", "ALIAS", "Agents"]

AGENT, ALIAS = "AGENTSIMUL", "TSTALIASID"
MODEL = "us.anthropic.claude-sonnet-4-20250514-v1:0"
INSTRUCTION = "You are a simulated agent. You answer questions about gateways, shortly and to the point."
_IDENTITY = re.compile(r"[0-9a-zA-Z]{10}")
_CONTENT_TYPE = ("x-amzn-bedrock-agent-content-type", "application/json")


@attrs.frozen(kw_only=True)
class _Turn:
    """One turn of an agent: who it is, what its model read and said, and how much is to be told of it."""

    agent: str
    alias: str
    session: str
    model: str
    instruction: str
    text: str
    trace: bool
    streamed: bool


@attrs.define(eq=False)
class Agents:
    """Answers for agents and flows; ``seed`` is that of the models."""

    seed: int

    def handlers(self) -> Handlers:
        """Give what answers each operation."""
        return {
            "InvokeAgent": self.invoke,
            "InvokeInlineAgent": self.invoke_inline,
            "InvokeFlow": self.invoke_flow,
            "ListAgents": self.list,
            "GetAgent": self.get,
        }

    def invoke(self, asked: Asked) -> Prepared:
        """Answer InvokeAgent."""
        agent, alias, session = asked.labels
        if not _IDENTITY.fullmatch(agent) or not _IDENTITY.fullmatch(alias):
            raise _no_agent(agent)
        return self._turn(asked, agent, alias, session, MODEL, INSTRUCTION)

    def invoke_inline(self, asked: Asked) -> Prepared:
        """Answer InvokeInlineAgent."""
        model = text_member(asked.body, "foundationModel")
        parse_model(model)
        instruction = text_member(asked.body, "instruction")
        return self._turn(asked, "INLINE_AGENT", "INLINE_AGENT", asked.labels[0], model, instruction)

    def _turn(self, asked: Asked, agent: str, alias: str, session: str, model: str, instruction: str) -> Prepared:
        body, session = asked.body, identifier(session, "")
        text = body.get("inputText")
        text = text if isinstance(text, str) else ""
        require(bool(text) or body.get("endSession") is True or "sessionState" in body, "inputText: is required.")
        turn = _Turn(
            agent=agent,
            alias=alias,
            session=session,
            model=model,
            instruction=instruction,
            text=text,
            trace=body.get("enableTrace") is True,
            streamed=member(body, "streamingConfigurations", "streamFinalResponse") is True,
        )
        headers = [_CONTENT_TYPE, ("x-amz-bedrock-agent-session-id", session)]
        memory = identifier(body.get("memoryId"), "")
        if memory and asked.route.operation == "InvokeAgent":
            headers.append(("x-amz-bedrock-agent-memory-id", memory))
        return say(
            text, (instruction,), self.seed, lambda said: Streamed(events=_events(turn, said), headers=tuple(headers))
        )

    def invoke_flow(self, asked: Asked) -> Prepared:
        """Answer InvokeFlow: the input goes through one model to the output."""
        inputs = asked.body.get("inputs")
        require(isinstance(inputs, list) and len(inputs) == 1, "inputs: exactly one input is required.")
        document = member((inputs or [None])[0], "content", "document")
        text = document if isinstance(document, str) else compact(document).decode()
        execution = identifier(asked.body.get("executionId"), _digest(asked.account, text)[:16])
        headers = (("x-amz-bedrock-flow-execution-id", execution),)
        return say(text, (), self.seed, lambda said: Streamed(events=_flow_events(said), headers=headers))

    def list(self, asked: Asked) -> Prepared:
        """Answer ListAgents: there is one."""
        summary = {
            "agentId": AGENT,
            "agentName": "simulated",
            "agentStatus": "PREPARED",
            "description": "Answers questions about gateways.",
            "updatedAt": CREATED,
            "latestAgentVersion": "1",
        }
        return plain(Whole(body=compact({"agentSummaries": [summary]})))

    def get(self, asked: Asked) -> Prepared:
        """Answer GetAgent; any id of the right form has one."""
        identity = asked.labels[0]
        if not _IDENTITY.fullmatch(identity):
            raise _no_agent(identity)
        told = {
            "agentId": identity,
            "agentName": "simulated",
            "agentArn": f"arn:aws:bedrock:{asked.region}:{ACCOUNT}:agent/{identity}",
            "agentVersion": "DRAFT",
            "agentStatus": "PREPARED",
            "agentResourceRoleArn": f"arn:aws:iam::{ACCOUNT}:role/simulated",
            "idleSessionTTLInSeconds": 1_800,
            "foundationModel": MODEL,
            "instruction": INSTRUCTION,
            "createdAt": CREATED,
            "updatedAt": CREATED,
            "preparedAt": CREATED,
            "orchestrationType": "DEFAULT",
        }
        return plain(Whole(body=compact({"agent": told})))


def _no_agent(identity: str) -> SimulatedError:
    return SimulatedError(404, "ResourceNotFoundException", f"Could not find agent {identity}.")


def _digest(*parts: str) -> str:
    return hashlib.sha256(b"\0".join(encode(part) for part in parts)).hexdigest()


def _events(turn: _Turn, said: Said) -> Iterator[Event]:
    """Give a turn as AWS streams it: its traces first, then the answer in one chunk, or in pieces where asked for."""
    if not turn.text:
        return
    if turn.trace:
        for number, step in enumerate(_steps(turn, said)):
            yield Event(type="trace", payload=_traced(turn, step), paced=number > 0)
    for piece in pieces(said.text) if turn.streamed else [said.text]:
        yield Event(type="chunk", payload={"bytes": base64.b64encode(encode(piece)).decode()}, paced=True)


def _steps(turn: _Turn, said: Said) -> Iterator[dict[str, Any]]:
    trace_id = f"{_digest(turn.session, turn.text)[:32]}-0"
    prompt = compact({"system": turn.instruction, "messages": [{"role": "user", "content": turn.text}]}).decode()
    yield {
        "modelInvocationInput": {
            "traceId": trace_id,
            "text": prompt,
            "type": "ORCHESTRATION",
            "foundationModel": turn.model,
        }
    }
    yield {
        "modelInvocationOutput": {
            "traceId": trace_id,
            "rawResponse": {"content": said.text},
            "metadata": {"usage": {"inputTokens": said.input, "outputTokens": said.output}},
        }
    }
    yield {"rationale": {"traceId": trace_id, "text": "The question can be answered at once."}}
    yield {"observation": {"traceId": trace_id, "type": "FINISH", "finalResponse": {"text": said.text}}}


def _traced(turn: _Turn, step: dict[str, Any]) -> dict[str, Any]:
    return {
        "agentId": turn.agent,
        "agentAliasId": turn.alias,
        "agentVersion": "1",
        "sessionId": turn.session,
        "eventTime": CREATED,
        "trace": {"orchestrationTrace": step},
    }


def _flow_events(said: Said) -> Iterator[Event]:
    output = {"nodeName": "FlowOutputNode", "nodeType": "FlowOutputNode", "content": {"document": said.text}}
    yield Event(type="flowOutputEvent", payload=output, paced=True)
    yield Event(type="flowCompletionEvent", payload={"completionReason": "SUCCESS"})
