"""First step: the caller's dialect. Turns whatever goes wrong further in into an answer of that dialect, and settles
the call.

Every call ends here, on every path: body budget, slots and timers are released, the call is on record, and one line is
logged.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time

from aiohttp import web
from aiohttp.typedefs import Handler

from bedrock_gateway.chain.booking import book, call_record, on_record, release, usd
from bedrock_gateway.chain.call import CALL, Call
from bedrock_gateway.chain.following import stop_keeping
from bedrock_gateway.chain.leaving import ended
from bedrock_gateway.chain.relay import failed_headers
from bedrock_gateway.dialects import bedrock
from bedrock_gateway.downstream.answers import CallerLeft, WholeAnswer
from bedrock_gateway.errors import InternalFault, MaybeBilled, Refusal, StoreError
from bedrock_gateway.metering.states import Outcome

__all__ = ["dialect", "line_of", "refuse"]

_LOG = logging.getLogger("bedrock_gateway.chain")
#: A value that needs no quotes in a line of the log.
_PLAIN = re.compile(r"[\w.:/#*-]+")


@web.middleware
async def dialect(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer refusals in the caller's dialect; release and record everything at the end."""
    call = request[CALL]
    seconds = call.gateway.total_timeout
    if seconds is not None:
        call.deadline = asyncio.get_running_loop().call_later(seconds, _overdue, call, seconds)
    try:
        answer = await handler(request)
    except Refusal as refusal:
        answer = refuse(call, refusal)
    except CallerLeft:
        call.left = True
        answer = WholeAnswer(499, (), close=True)  # nobody is there to see it
    except asyncio.CancelledError:
        if not call.was_ended():
            raise
        answer = refuse(call, ended(call))
        if not call.left:
            await _lasts(call)
    except Exception:
        # The one place that catches everything on the way of a call: the text stays in the log, the caller is given the
        # id.
        _LOG.exception("call %s failed in the gateway", call.id)
        told = f"The gateway failed; its log has the details under call {call.id}."
        sent = call.attempt is not None and call.attempt.sent
        answer = refuse(call, MaybeBilled(told + " The call may have been billed.") if sent else InternalFault(told))
        _break_off(call)
        await _lasts(call)
    finally:
        settle(call)
    return answer


async def _lasts(call: Call) -> None:
    """Wait until the end of a call's last attempt is on record, as before every answer."""
    if call.attempt is not None:
        # Where the ledger takes nothing, it has told why.
        with contextlib.suppress(StoreError):
            await on_record(call.attempt)


def _overdue(call: Call, seconds: float) -> None:
    """End a call that takes too long in all."""
    call.overdue = True
    call.gateway.leaving.abandon(call, f"its total_timeout of {seconds:g} s has passed")


def refuse(call: Call, refusal: Refusal) -> web.StreamResponse:
    """Return the answer for a refusal."""
    call.refused_at = refusal.at or (refusal.param or "" if call.speech is not None else "")
    call.gateway.refusals[refusal.error_type] += 1
    now = call.gateway.clock.now_ms() / 1000
    if call.speech is None:
        status, headers, body = bedrock.error_response(refusal, call.id, now, by_target="x-amz-target" in call.headers)
    else:
        status, headers, body = call.speech.error_response(refusal, call.id, now)
    call.answered(status, refusal.error_type)
    headers = [*headers, ("x-bedrock-gateway-attempts", str(call.attempts)), *failed_headers(call)]
    if call.admission is not None:
        headers += call.admission.told
    return WholeAnswer(status, headers, body)


def settle(call: Call) -> None:
    """Release what the call holds, put it on record if it is not yet, and log its line."""
    gateway = call.gateway
    _break_off(call)
    if call.ticket is not None:
        call.ticket.release()
    release(call)
    if call.deadline is not None:
        call.deadline.cancel()
    if call.place is not None:
        call.place.drop()
    gateway.leaving.done(call)
    if call.kept is not None:
        stop_keeping(call)
    gateway.calls.discard(call)
    if not gateway.calls:
        gateway.idle.set()
    if call.divided:
        return  # each of its parts is on record
    # A call without a caller is not recorded: who has no key cannot make the ledger grow.
    if not call.recorded and call.caller is not None:
        call.recorded = True
        gateway.ledger.record_call(call_record(call, gateway.clock.now_ms()))
    gateway.log(line_of(call))


def _break_off(call: Call) -> None:
    """Book an attempt that a fault of ours broke off: AWS may bill what was sent all the same."""
    attempt = call.attempt
    if attempt is None or not attempt.opened or attempt.closed:
        return
    outcome = Outcome.CUT if attempt.sent else Outcome.UNREACHED
    book(call, attempt, outcome, None, error_type="gateway-fault")


def line_of(call: Call) -> str:
    """Return the one line that is logged for a call: ``key=value`` pairs, empty ones left out, never a secret."""
    now, attempt, target, resolution = time.monotonic(), call.attempt, call.target, call.resolution
    line = (
        f"call={call.id} caller={call.caller.id if call.caller else '-'} "
        f"operation={target.operation.name if target else '-'} status={call.status} "
        f"attempts={call.attempts} ms={(now - call.arrived) * 1000:.1f}"
    )
    if call.first_byte:
        line += f" first_byte_ms={(call.first_byte - call.arrived) * 1000:.1f}"
    if resolution is not None and resolution.model_group:
        line += f" model_group={quoted(resolution.model_group)}"
    elif attempt is not None and attempt.deployment.model_id:
        line += f" model={quoted(attempt.deployment.model_id)}"
    elif call.asked and not call.attempts:
        line += f" asked={quoted(call.asked[:MOST_ASKED])}"
    if attempt is not None:
        line += f" deployment={quoted(attempt.deployment.name)}"
        if attempt.state is not None:
            spend = "-" if attempt.spend is None else usd(attempt.spend)
            line += (
                f" state={attempt.state.value} in={attempt.input_tokens} out={attempt.output_tokens} spend_usd={spend}"
            )
    if call.speech is not None:
        line += f" dialect={call.dialect}"
    if call.answered_by:
        line += f" answered_by={call.answered_by}"
    if call.failed:
        line += f" failed={quoted(call.failures())}"
    if call.hops:
        line += f" fallbacks={call.hops}"
    if call.queued:
        line += f" queued_ms={call.queued * 1000:.0f}"
    if call.left:
        line += " caller_left=yes"
    if call.abandoned:
        line += f" ended={quoted(call.abandoned)}"
    if call.error_type:
        line += f" error={quoted(call.error_type)}"
    if call.refused_at:
        line += f" at={quoted(call.refused_at)}"
    return line


#: Characters that are logged of a name that leads nowhere.
MOST_ASKED = 120


def quoted(text: str) -> str:
    """Return a value safe to stand in a line of ``key=value`` pairs."""
    return text if _PLAIN.fullmatch(text) else ascii(text)
