"""Whom a call sticks with: what makes it one of a session, whose prompt cache is where the session's last call went."""

from __future__ import annotations

from collections.abc import Hashable

from bedrock_gateway.chain.call import Call
from bedrock_gateway.dialects.prefixes import prefix_of
from bedrock_gateway.dialects.requests import read_body
from bedrock_gateway.errors import InvalidRequest
from bedrock_gateway.routing.resolutions import Resolution
from bedrock_gateway.routing.rules import Affinity
from bedrock_gateway.wire.operations import Kind

__all__ = ["SESSION_HEADERS", "session_of"]

#: Headers that name a session: the gateway's own, LiteLLM's, Claude Code's.
SESSION_HEADERS = ("x-bedrock-gateway-session", "x-litellm-session-id", "x-claude-code-session-id")
#: Characters of one that count.
LONGEST_SESSION = 256


def session_of(call: Call, resolution: Resolution) -> Hashable | None:
    """Return what a call has in common with the others of its session, or None where nothing keeps it anywhere.

    A header that names the session, else system prompt and tools where the body is read anyway or the operator asked
    for it, else nothing but the caller, where the operator asked for that. Never another caller's.
    """
    caller = call.caller
    assert caller is not None and call.target is not None
    rules, group = call.gateway.balancer.rules, resolution.model_group
    wanted = rules.affinity_of(call.asked, group)
    if not wanted:
        return None
    headers = call.headers
    if Affinity.SESSION in wanted:
        for name in SESSION_HEADERS:
            told = headers.get(name)
            if told:
                return caller.id, group, told[:LONGEST_SESSION]
    kind = call.target.operation.kind
    if kind is Kind.CONVERSE or kind is Kind.INVOKE:
        admission = call.admission
        read = admission is not None and admission.read
        prefix = None
        if Affinity.PREFIX in wanted or (read and wanted is rules.affinity):
            prefix = admission.prefix if admission is not None and read else _read(call)
        if prefix is not None:
            return caller.id, group, prefix
    return (caller.id, group) if Affinity.CALLER in wanted else None


def _read(call: Call) -> int | None:
    """Return the prefix of a body nobody has read yet; None where it cannot be read, which is for AWS to tell."""
    try:
        return prefix_of(read_body(call.body))
    except InvalidRequest:
        return None
