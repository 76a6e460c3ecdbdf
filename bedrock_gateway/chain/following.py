"""A repeat of a call whose caller left is answered by the answer that was kept of it: AWS is paid once.

An SDK that waited in vain closes its connection and sends the call again, under the same ``amz-sdk-invocation-id``.
The first one is being read on for its usage (``leaving``): with ``general_settings.keep_answers`` what is read is kept
(``keeping``), and the repeat is given it, while it comes or afterwards. It sends nothing, holds nothing of budgets and
limits, and its row names the first call. Where the first was refused, or is not kept any more, the repeat is a call
like any other.

The same call is: the same caller, operation, path, query, headers that go upstream, and body as it was sent, in another
dialect both as the caller wrote it and in Bedrock's words. A gateway in open mode knows no callers, so it keeps
nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import time

from aiohttp import web

from bedrock_gateway.access.callers import OnLeave
from bedrock_gateway.chain.bodies import hash_of
from bedrock_gateway.chain.booking import usd
from bedrock_gateway.chain.call import Call
from bedrock_gateway.chain.keeping import End, KeptAnswer
from bedrock_gateway.downstream.answers import CallerLeft, StreamedAnswer, WholeAnswer
from bedrock_gateway.errors import MaybeBilled
from bedrock_gateway.metering.states import State
from bedrock_gateway.upstream.session import Happened

__all__ = ["follow", "keep", "stop_keeping"]

#: By this an SDK says that a request is a repeat of another.
_INVOCATION = "amz-sdk-invocation-id"
_UNBILLED = (State.REFUSED, State.FREE)


async def follow(request: web.Request, call: Call) -> web.StreamResponse | None:
    """Answer a call by the kept answer of an earlier one; None where it is to go on as any other.

    Raises:
        MaybeBilled: the earlier one was sent and came to no whole answer.
    """
    gateway = call.gateway
    invocation = call.headers.get(_INVOCATION)
    if gateway.keeping is None or not invocation or call.caller is gateway.callers.local:
        return None
    call.repeat_key = await _key(call, invocation)
    kept = gateway.keeping.find(call.repeat_key)
    if kept is None:
        return None
    kept.followers += 1
    try:
        return await _answer(request, call, kept)
    finally:
        kept.let_go()


def keep(call: Call) -> None:
    """Keep what comes of a call's answer from now on, now that its caller has left; not if some of it was sent
    already.
    """
    keeping, caller, attempt = call.gateway.keeping, call.caller, call.attempt
    if keeping is None or not call.repeat_key or call.first_byte or call.kept is not None:
        return
    if attempt is not None and attempt.sent and caller is not None and caller.policy.on_leave is OnLeave.DRAIN:
        call.kept = keeping.begin(call.repeat_key, call.id)


def stop_keeping(call: Call) -> None:
    """Say what the answer of a call that is over came to, where nobody has yet: lost, or worth no memory."""
    kept, attempt = call.kept, call.attempt
    if kept is None:
        return
    if attempt is not None and attempt.sent and attempt.state not in _UNBILLED and not call.abandoned:
        kept.lose()
    else:
        # What the gateway itself broke off, for its own bounds, says nothing against asking again.
        kept.forget()


async def _key(call: Call, invocation: str) -> bytes:
    """Return what all repeats of a call have in common, and no other call has."""
    target, caller = call.target, call.caller
    assert target is not None and caller is not None
    body = await hash_of(call, call.body)
    told = (
        *(caller.id, invocation, target.operation.service, target.operation.name, call.method),
        *(call.raw_target.partition("?")[0], call.query, body, sorted(call.forward_headers), call.spoken),
    )
    return hashlib.sha256(repr(told).encode()).digest()


async def _answer(request: web.Request, call: Call, kept: KeptAnswer) -> web.StreamResponse | None:
    begun = time.monotonic()
    try:
        while not kept.status and kept.end is None:
            await kept.change()
    except asyncio.CancelledError:
        if call.left or not call.was_ended():
            raise
        call.answered_by = kept.call
        raise MaybeBilled(
            f"The call was ended: {call.abandoned}. It waited for the answer of call {kept.call}, which may have been "
            "billed; a repeat may be billed again."
        ) from None
    finally:
        call.waiting += time.monotonic() - begun
    if kept.end is End.FORGOTTEN:
        return None
    call.answered_by = kept.call
    if kept.end is End.LOST:
        raise MaybeBilled(
            f"This call repeats call {kept.call}, which was sent and gave no whole answer. It may have been billed, "
            "and another call may be billed again.",
            at="repeat of a lost call",
        )
    call.answered(kept.status)
    headers = [
        *kept.headers,
        ("x-bedrock-gateway-call-id", call.id),
        ("x-bedrock-gateway-answered-by", kept.call),
        ("x-bedrock-gateway-deployment", kept.deployment),
        ("x-bedrock-gateway-attempts", "0"),
    ]
    if kept.streamed:
        return await _pass_on(request, call, kept, StreamedAnswer(kept.status, headers))
    # What the answer cost was charged to the first call.
    headers.append(("x-bedrock-gateway-spend-usd", usd(0)))
    return WholeAnswer(kept.status, headers, kept.body)


async def _pass_on(request: web.Request, call: Call, kept: KeptAnswer, answer: StreamedAnswer) -> web.StreamResponse:
    """Pass a stream on as it comes; end it properly only if it is whole."""
    call.first_byte = time.monotonic()
    sent = 0
    try:
        await answer.start(request)
        while True:
            if sent < len(kept.body):
                data = kept.body[sent:]
                sent += len(data)
                await answer.write(data)
            elif kept.end is None:
                await kept.change()
            else:
                break
        if kept.end is End.WHOLE:
            await answer.finish()
        else:
            call.answered(kept.status, Happened.CUT)
            answer.abort()
    except CallerLeft:
        call.left = True
        answer.abort()
    except asyncio.CancelledError:
        answer.abort()
        if not call.was_ended():
            raise
        call.answered(kept.status, call.abandoned)
    return answer
