"""Whom a call sticks with: what makes it one of a session, whose prompt cache is where the session's last call went."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable

from bedrock_gateway.chain.bodies import OFF_LOOP
from bedrock_gateway.chain.call import Call
from bedrock_gateway.dialects.prefixes import prefix_of
from bedrock_gateway.dialects.requests import read_body
from bedrock_gateway.errors import InvalidRequest
from bedrock_gateway.routing.resolutions import Resolution
from bedrock_gateway.routing.rules import Affinity
from bedrock_gateway.wire.operations import Kind

__all__ = ["SESSION_HEADERS", "read_prefix", "session_of", "wants_prefix"]

#: Headers that name a session: the gateway's own, LiteLLM's, Claude Code's.
SESSION_HEADERS = ("x-bedrock-gateway-session", "x-litellm-session-id", "x-claude-code-session-id")
#: Characters of one that count.
LONGEST_SESSION = 256


def session_of(call: Call, resolution: Resolution) -> Hashable | None:
    """Return what a call has in common with the others of its session, or None where nothing keeps it anywhere.

    A header that names the session, else system prompt and tools where the body is read anyway or the operator asked
    for it, else nothing but the caller, where the operator asked for that. Never another caller's.
    """
    caller, rules, group = call.caller, call.gateway.balancer.rules, resolution.model_group
    assert caller is not None
    wanted = rules.affinity_of(call.asked, group)
    if not wanted:
        return None
    if Affinity.SESSION in wanted:
        told = _told(call)
        if told:
            return caller.id, group, told
    if call.prefix is not None and (Affinity.PREFIX in wanted or wanted is rules.affinity):
        return caller.id, group, call.prefix
    return (caller.id, group) if Affinity.CALLER in wanted else None


def wants_prefix(call: Call, resolution: Resolution) -> bool:
    """Tell whether a body has to be read for its prefix, which nobody else needed to read."""
    if resolution.lone or (call.admission is not None and call.admission.read):
        return False
    wanted = call.gateway.balancer.rules.affinity_of(call.asked, resolution.model_group)
    return Affinity.PREFIX in wanted and not (Affinity.SESSION in wanted and _told(call))


async def read_prefix(call: Call) -> None:
    """Fill in ``call.prefix``; a body that cannot be read has none, which is for AWS to tell."""
    assert call.target is not None
    if call.prefix is not None or call.target.operation.kind not in (Kind.CONVERSE, Kind.INVOKE):
        return
    body = call.body
    call.prefix = await asyncio.to_thread(_prefix, body) if len(body) > OFF_LOOP else _prefix(body)


def _prefix(body: bytes | bytearray) -> int | None:
    try:
        return prefix_of(read_body(body))
    except InvalidRequest:
        return None


def _told(call: Call) -> str:
    headers = call.headers
    for name in SESSION_HEADERS:
        told = headers.get(name)
        if told:
            return told[:LONGEST_SESSION]
    return ""
