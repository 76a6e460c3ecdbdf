"""Relaying a streamed answer: bytes first, meter second, booked before the end is passed on.

A caller that leaves changes nothing here but that writing stops: upstream is read on until its end (``chain.leaving``
says for how long). After the commit point nothing is raised: what goes wrong ends the answer with a modelled exception
message where upstream stopped between two messages, and with an abort where it stopped inside one, because a clean end
there looks like success to boto3.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time

from aiohttp import web

from bedrock_gateway.chain.attempt_failed import AttemptFailed, UpstreamAnswer
from bedrock_gateway.chain.booking import book, on_record
from bedrock_gateway.chain.call import Attempt, Call
from bedrock_gateway.chain.judging import answered, judge, outcome_of
from bedrock_gateway.chain.keeping import KeptAnswer
from bedrock_gateway.chain.litellm_headers import litellm_headers
from bedrock_gateway.chain.objects import note_made
from bedrock_gateway.dialects import bedrock
from bedrock_gateway.downstream.answers import CallerLeft, StreamedAnswer
from bedrock_gateway.errors import MaybeBilled, Refusal
from bedrock_gateway.metering.meters import Meter, open_meter
from bedrock_gateway.metering.states import Outcome, State
from bedrock_gateway.routing import verdicts
from bedrock_gateway.upstream.exchange import Answer
from bedrock_gateway.upstream.session import Happened, UpstreamFault
from bedrock_gateway.wire.eventstream import Message
from bedrock_gateway.wire.headers import downstream_headers, media_type

__all__ = ["failed_headers", "gateway_headers", "is_events", "passed_on", "relay", "request_id"]

_LOG = logging.getLogger("bedrock_gateway.chain")

#: Bytes read of a stream whose first message is an exception.
EXCEPTION_MESSAGE = 262_144
#: Seconds in which a stream should end after such a message.
END_SECONDS = 0.05
_NO_LIMIT = contextlib.nullcontext()


async def relay(
    request: web.Request,
    call: Call,
    attempt: Attempt,
    response: Answer,
    prefix: list[bytes],
    *,
    deadline: float | None = None,
) -> web.StreamResponse:
    """Stream an answer through.

    Args:
        prefix: what of the body was read already.
        deadline: loop time by which the first byte of a stream must be there.

    Raises:
        TimeoutError: it was not.
        AttemptFailed: the first message is an exception that another attempt may mend, or there is none at all; nothing
            went downstream yet.
        UpstreamFault: upstream broke off before anything went downstream.
    """
    assert call.target is not None
    operation = call.target.operation
    content_type = response.headers.get("content-type", "")
    meter = open_meter(attempt.operation, content_type, response.headers, call.gateway.heads)
    answer = StreamedAnswer(response.status, [*passed_on(call, response), *gateway_headers(call, attempt)])
    held = prefix
    try:
        if operation.stream_out:
            async with _NO_LIMIT if deadline is None else asyncio.timeout_at(deadline):
                held = await _beginning(call, attempt, response, meter, prefix)
        else:
            for data in prefix:
                meter.receive_data(data)
        if not operation.of_model:
            await note_made(call, attempt, response.headers, None)
        call.answered(response.status)
        call.first_byte = time.monotonic()
        if not operation.stream_out or (meter.first is not None and not is_exception(meter.first)):
            answered(call, attempt)
        fault = await _pump(request, call, response, meter, answer, held)
    finally:
        # Reached with the body unread when the first message failed or the call was ended: the connection cannot be
        # used again.
        call.gateway.upstream.give_up(response)
    return await _end(request, call, attempt, response, meter, answer, fault)


def is_events(response: Answer) -> bool:
    """Tell whether an answer is a stream of AWS's."""
    return media_type(response.headers.get("content-type", "")) == "application/vnd.amazon.eventstream"


async def _beginning(call: Call, attempt: Attempt, response: Answer, meter: Meter, prefix: list[bytes]) -> list[bytes]:
    """Return the first bytes of a stream; where another attempt can follow, with the head of its first message."""
    held = prefix
    if (attempt.last and call.speech is None) or not is_events(response):
        for data in prefix:
            meter.receive_data(data)
    else:
        held = await _hold_first(call, response, meter, prefix)
    return held or await _first_bytes(call, response, meter)


async def _hold_first(call: Call, response: Answer, meter: Meter, prefix: list[bytes]) -> list[bytes]:
    """Read until the headers of the first message are there; another attempt can still take its place if it is an
    exception.
    """
    held = []
    pending = iter(prefix)
    while meter.first is None and meter.fault is None:
        data = next(pending, None) or await call.gateway.upstream.read(response)
        if not data:
            break
        meter.receive_data(data)
        held.append(data)
    for data in pending:
        meter.receive_data(data)
        held.append(data)
    first = meter.first
    if first is not None and is_exception(first):
        # It is kept whole, to be judged, and in case nothing else can be tried.
        while meter.mid_message and sum(map(len, held)) < EXCEPTION_MESSAGE:
            data = await call.gateway.upstream.read(response)
            if not data:
                break
            meter.receive_data(data)
            held.append(data)
        await _end_of(call, response)
        reading = meter.reading()
        error_type = first.exception_type or first.error_code or ""
        verdict = verdicts.classify_exception(error_type, reading.exception_message or "")
        retried = verdict.retry is not verdicts.Retry.NEVER or (verdict is verdicts.TOO_LONG and call.longer)
        # Only Bedrock's own dialect tells an error inside an answer where it can be told before.
        if retried or call.speech is not None:
            raise AttemptFailed(
                verdict,
                reason=f"first message of the stream: {error_type}",
                error_type=error_type,
                aws_request_id=request_id(response),
                answer=UpstreamAnswer(
                    response.status, passed_on(call, response), b"".join(held), reading.exception_message or ""
                ),
            )
    return held


async def _end_of(call: Call, response: Answer) -> None:
    """See whether an answer of which nothing more is expected ends: then its connection can be used again."""
    with contextlib.suppress(UpstreamFault, TimeoutError):
        async with asyncio.timeout(END_SECONDS):
            while not response.ended and await call.gateway.upstream.read(response):
                pass


async def _first_bytes(call: Call, response: Answer, meter: Meter) -> list[bytes]:
    """Wait for the first bytes of a stream. The head leaves together with them, so until then an error can be told."""
    data = await call.gateway.upstream.read(response)
    if not data:
        raise AttemptFailed(
            verdicts.UNREADABLE,
            reason="a stream without a message",
            status=response.status,
            aws_request_id=request_id(response),
        )
    meter.receive_data(data)
    return [data]


async def _pump(
    request: web.Request,
    call: Call,
    response: Answer,
    meter: Meter,
    answer: StreamedAnswer,
    held: list[bytes],
) -> UpstreamFault | None:
    """Pass on everything upstream says until it ends; return what broke it off, or None for a proper end."""
    assert call.attempt is not None
    leaving, kept = call.gateway.leaving, call.kept
    # Looked up once: what is between these two is done for every message of every stream.
    read, write, meter_data = call.gateway.upstream.read, answer.write, meter.receive_data
    passed_on, write_at_once = call.attempt.relay.receive_data, answer.write_at_once
    try:
        try:
            if not call.left:
                await answer.start(request)
                for data in held:
                    await answer.write(passed_on(data))
            elif kept is not None:
                _begin_keeping(kept, call, response)
                for data in held:
                    kept.write(passed_on(data))
        except CallerLeft:
            answer.abort()
            leaving.leave(call)
        while True:
            data = await read(response)
            if not data:
                return None
            if not call.left:
                data_on = passed_on(data)
                try:
                    if not write_at_once(data_on):
                        await write(data_on)
                except CallerLeft:
                    answer.abort()
                    leaving.leave(call)
            elif kept is not None:
                kept.write(passed_on(data))
            meter_data(data)
    except UpstreamFault as fault:
        return fault
    except asyncio.CancelledError:
        if not call.was_ended():
            raise
        return UpstreamFault(Happened.CUT, call.abandoned)


def _begin_keeping(kept: KeptAnswer, call: Call, response: Answer) -> None:
    """Keep an answer from its head on, now that it goes to nobody."""
    assert call.target is not None and call.attempt is not None
    if call.target.operation.stream_out:
        kept.begin(response.status, passed_on(call, response), call.attempt.deployment.name)
    else:
        # Of those only what is too large to be kept comes as a stream.
        kept.forget()


async def _end(
    request: web.Request,
    call: Call,
    attempt: Attempt,
    response: Answer,
    meter: Meter,
    answer: StreamedAnswer,
    fault: UpstreamFault | None,
) -> web.StreamResponse:
    """Book the attempt, then pass the end on."""
    meter.receive_eof()
    reading = meter.reading()
    # What was refused with a whole message is refused, however the connection ended after it.
    refused = meter.first is not None and is_exception(meter.first) and not meter.mid_message
    broken = meter.mid_message or (fault is not None and not refused)
    outcome = Outcome.COMPLETE
    error_type = reading.exception_type
    if call.abandoned:
        outcome, error_type = Outcome.LEFT, call.abandoned
    elif broken:
        outcome, error_type = Outcome.CUT, fault.happened if fault is not None else Happened.CUT
        judge(call, attempt, verdicts.of_fault(error_type))
    elif error_type is not None:
        # As the first message an exception means what the same error means as a status; later, that the answer broke
        # off.
        verdict = verdicts.CUT
        if refused:
            verdict = verdicts.classify_exception(error_type, reading.exception_message or "")
            outcome = outcome_of(verdict)
        judge(call, attempt, verdict)
    else:
        call.gateway.balancer.well(attempt.use, time.monotonic())
    call.answered(response.status, error_type)
    book(
        call,
        attempt,
        outcome,
        reading,
        status=response.status,
        error_type=error_type,
        aws_request_id=request_id(response),
    )
    last = None if broken else _last(call, attempt)
    try:
        await on_record(attempt)
        if call.left:
            if call.kept is not None and last is not None:
                call.kept.write(last)
                call.kept.finish(keep=attempt.state is not State.REFUSED)
            return answer
        if last is not None:
            await answer.write(last)
            await answer.finish()
        elif not call.target or not call.target.operation.stream_out or (meter.mid_message and call.speech is None):
            answer.abort()
        else:
            told = MaybeBilled(
                f"The answer of upstream broke off ({error_type}); what was sent of it may have been billed."
            )
            shape = bedrock.exception_message if call.speech is None else call.speech.broken_off
            await answer.write(shape(call.target.operation, told))
            await answer.finish()
    except CallerLeft:
        answer.abort()
    except asyncio.CancelledError:
        answer.abort()
        if not call.was_ended():
            raise
    return answer


def _last(call: Call, attempt: Attempt) -> bytes | None:
    """Return what is still to go downstream; None where the dialect does not know the shape of upstream's answer, or
    finds nothing in it for the caller: its head has left.
    """
    try:
        return attempt.relay.receive_eof()
    except Refusal as refusal:
        _LOG.warning("call %s: its answer is broken off: %s", call.id, refusal.message)
        return None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        _LOG.exception("call %s: the answer of upstream is of a shape that is not known", call.id)
        return None


def is_exception(message: Message) -> bool:
    """Tell whether a message of a stream says that it has failed."""
    return message.message_type in ("exception", "error")


def passed_on(call: Call, response: Answer) -> list[tuple[str, str]]:
    """Return what of an answer's headers the caller gets."""
    assert call.target is not None
    operation = call.target.operation
    headers = downstream_headers(response.headers.items(), operation.headers_out)
    return headers if call.speech is None else call.speech.answer_headers(operation, headers)


def request_id(response: Answer | None) -> str | None:
    """Return AWS's id of an answer, None where no head of one came or it has none."""
    return None if response is None else response.headers.get("x-amzn-requestid")


def failed_headers(call: Call) -> list[tuple[str, str]]:
    """Return what a caller is told of the attempts that failed before: deployments and reasons, and the groups."""
    headers = []
    if call.failed:
        headers.append(("x-bedrock-gateway-failed", call.failures().encode("ascii", "replace").decode()))
    if call.hops:
        headers.append(("x-bedrock-gateway-fallbacks", str(call.hops)))
    return headers


def gateway_headers(call: Call, attempt: Attempt) -> list[tuple[str, str]]:
    """Return what a caller is told besides the answer; the spend is added where it is known before they leave."""
    overhead = (time.monotonic() - call.arrived - call.waiting) * 1000
    headers = [
        ("x-bedrock-gateway-call-id", call.id),
        ("x-bedrock-gateway-deployment", attempt.deployment.name),
        ("x-bedrock-gateway-attempts", str(attempt.number)),
        ("x-bedrock-gateway-overhead-ms", f"{overhead:.2f}"),
    ]
    headers += failed_headers(call)
    if call.queued:
        headers.append(("x-bedrock-gateway-queued-ms", f"{call.queued * 1000:.0f}"))
    if call.admission is not None:
        headers += call.admission.told
    if call.snapshot.litellm_headers:
        headers += litellm_headers(call, attempt, overhead)
    return headers
