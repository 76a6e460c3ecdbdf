"""Last step, once an attempt: put it on record, send it, and give back what came: a failure to ``fail_over``, a small
answer whole, anything else as a stream (``chain.relay``).

The commit point is the head that goes downstream. Before it a fault raises ``AttemptFailed``; after it nothing is
raised any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import NoReturn

from aiohttp import web
from aiohttp.typedefs import Handler

from bedrock_gateway.chain.attempt_failed import AttemptFailed, UpstreamAnswer
from bedrock_gateway.chain.bodies import OFF_LOOP
from bedrock_gateway.chain.booking import book, on_record, open_attempt, usd
from bedrock_gateway.chain.call import CALL, Attempt, Call
from bedrock_gateway.chain.judging import answered, judge
from bedrock_gateway.chain.leaving import ended
from bedrock_gateway.chain.litellm_headers import response_cost
from bedrock_gateway.chain.objects import note_made, only_own, sees_all
from bedrock_gateway.chain.relay import gateway_headers, is_events, passed_on, relay, request_id
from bedrock_gateway.dialects.speech import Counted
from bedrock_gateway.downstream.answers import WholeAnswer
from bedrock_gateway.errors import MaybeBilled, Refusal
from bedrock_gateway.metering.meters import Reading, read_body
from bedrock_gateway.metering.states import Outcome
from bedrock_gateway.metering.work import FROM_REQUEST, work_of
from bedrock_gateway.routing import verdicts
from bedrock_gateway.upstream.exchange import Answer
from bedrock_gateway.upstream.session import Happened, UpstreamFault
from bedrock_gateway.wire.headers import content_coding, media_type
from bedrock_gateway.wire.made_objects import listed_by, made_by
from bedrock_gateway.wire.operations import Operation

__all__ = ["forward"]

#: Bytes up to which a non-streaming answer is read whole before it leaves, so that a broken one becomes an error.
WHOLE = 1_048_576
#: The same of an answer that lists or makes objects of keys: of what streams nothing could be left out.
WHOLE_LIST = 16_777_216
#: The same of an answer that is written anew in another dialect; AWS's are no longer than 25 MB.
WHOLE_TRANSLATED = 33_554_432
#: Bytes read of an error's body.
ERROR_BODY = 1_048_576
#: Bytes up to which it is read what comes in the place of a stream: what AWS says there is short.
NO_STREAM = 65_536
_NO_LIMIT = contextlib.nullcontext()


@web.middleware
async def forward(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Send the attempt under way and return the answer. The chain ends here: ``handler`` is never called."""
    call = request[CALL]
    attempt = call.attempt
    assert attempt is not None and attempt.request is not None and call.target is not None
    response: Answer | None = None
    try:
        await open_attempt(call, attempt)
        limit, _ = _limit(call, attempt)
        deadline = None if limit is None else asyncio.get_running_loop().time() + limit
        prefix: list[bytes] = []
        async with _NO_LIMIT if deadline is None else asyncio.timeout_at(deadline):
            attempt.sent_at = time.monotonic()
            try:
                response = await call.gateway.upstream.send(attempt.request)
            finally:
                call.waiting += time.monotonic() - attempt.sent_at
            try:
                if content_coding(response.headers.get("content-encoding")) is not None:
                    raise AttemptFailed(
                        verdicts.UNREADABLE,
                        reason="a compressed answer although none was asked for",
                        status=response.status,
                        aws_request_id=request_id(response),
                    )
                if response.status >= 300:
                    await _refused(call, response)
                if call.translation is not None and call.target.operation.stream_out and not is_events(response):
                    await _refuse_no_stream(call, response)
                light = not call.target.operation.of_model
                written_anew = call.translation is not None and not call.target.operation.stream_out
                most = WHOLE_TRANSLATED if written_anew else _most_whole(call.target.operation) if light else WHOLE
                whole = _is_whole(response, most)
                if whole:
                    prefix = await _read(call, response, most)
                if light and not (whole and response.ended):
                    _refuse_long_list(call, response)
                if written_anew and not (whole and response.ended):
                    raise AttemptFailed(
                        verdicts.UNREADABLE,
                        reason="an answer too long to be written anew",
                        status=response.status,
                        aws_request_id=request_id(response),
                    )
            except BaseException:
                call.gateway.upstream.give_up(response)
                raise
        if whole and response.ended:
            # Outside the deployment's timeout: that the ledger is slow is not the deployment's fault.
            return await _answer_whole(call, attempt, response, b"".join(prefix))
        return await relay(request, call, attempt, response, prefix, deadline=deadline)
    except UpstreamFault as fault:
        raise AttemptFailed(
            verdicts.of_fault(fault.happened),
            reason=str(fault),
            status=None if response is None else response.status,
            aws_request_id=request_id(response),
        ) from fault
    except TimeoutError as error:
        sent = attempt.request.sent
        reason = f"the deployment's timeout passed{'' if sent else ' before there was a connection'}"
        raise AttemptFailed(
            verdicts.of_fault(Happened.SILENT if sent else Happened.NEVER_REACHED),
            reason=reason,
            refusal=_timed_out(call, attempt, reason) if sent else None,
            status=None if response is None else response.status,
            aws_request_id=request_id(response),
        ) from error
    except asyncio.CancelledError:
        if attempt.opened and not attempt.closed:
            # Ended on purpose (the caller left, or the gateway stops) before anything went downstream.
            if call.overdue and attempt.sent:
                judge(call, attempt, verdicts.SILENT)
            if call.abandoned:
                refusal = ended(call)
                call.answered(refusal.status, refusal.error_type)
            book(
                call,
                attempt,
                Outcome.LEFT if attempt.sent else Outcome.UNREACHED,
                None,
                status=None if response is None else response.status,
                error_type=call.abandoned or "cancelled",
                aws_request_id=request_id(response),
            )
        raise


def _limit(call: Call, attempt: Attempt) -> tuple[float | None, str]:
    """Return the seconds an answer's head (a stream) or all of it (a whole one) may take, None for no limit; and the
    setting that says so.
    """
    assert call.target is not None
    deployment = attempt.deployment
    if call.target.operation.stream_out and deployment.stream_timeout is not None:
        return deployment.stream_timeout, "stream_timeout"
    return deployment.timeout, "timeout"


def _timed_out(call: Call, attempt: Attempt, reason: str) -> MaybeBilled | None:
    """Return what a caller is told of a deployment that was not done in its time, and where that time is set; None
    where it has no such time.
    """
    assert call.target is not None
    seconds, setting = _limit(call, attempt)
    if seconds is None:
        return None
    missed = "did not begin to answer" if call.target.operation.stream_out else "gave no whole answer"
    return MaybeBilled(
        f"Deployment {attempt.deployment.name!r} was sent this call and {missed} within its timeout of {seconds:g} s "
        f"(litellm_params.{setting}, else router_settings.{setting}). It may have been billed, and a repeat may be "
        "billed again.",
        at=reason,
    )


def _most_whole(operation: Operation) -> int:
    """Return the bytes up to which an answer is read whole that is not a model's."""
    tells_ids = not operation.stream_out and (listed_by(operation) is not None or made_by(operation))
    return WHOLE_LIST if tells_ids else WHOLE


def _refuse_long_list(call: Call, response: Answer) -> None:
    """Refuse a list that is not read whole to whom it may show objects of other keys."""
    assert call.target is not None
    if listed_by(call.target.operation) is not None and not sees_all(call):
        raise AttemptFailed(
            verdicts.UNREADABLE,
            reason="a list too long to leave out what is of other keys; ask for fewer at once (maxResults)",
            status=response.status,
            aws_request_id=request_id(response),
        )


def _is_whole(response: Answer, most: int) -> bool:
    """Tell whether an answer is to be read whole: not a stream, and not known to be large."""
    if is_events(response) or media_type(response.headers.get("content-type", "")) == "text/event-stream":
        return False
    length = response.content_length
    return length is None or length <= most


async def _refuse_no_stream(call: Call, response: Answer) -> NoReturn:
    """Refuse what is no stream of AWS's: written anew it would be one without an event, which an SDK takes for a whole
    answer.
    """
    if _is_whole(response, NO_STREAM):
        _refuse_unknown(call, response, b"".join(await _read(call, response, NO_STREAM)))
    raise AttemptFailed(
        verdicts.UNREADABLE,
        reason="a 200 that is no stream, although one was asked for",
        status=response.status,
        aws_request_id=request_id(response),
    )


def _refuse_unknown(call: Call, response: Answer, body: bytes) -> None:
    """Refuse an answer by which a service says that it does not know the operation, whatever its status."""
    if verdicts.unknown_operation(body):
        raise AttemptFailed(
            verdicts.classify(200, "UnknownOperationException", ""),
            reason="a 200 that says UnknownOperationException",
            error_type="UnknownOperationException",
            aws_request_id=request_id(response),
            answer=UpstreamAnswer(response.status, passed_on(call, response), body, ""),
        )


async def _read(call: Call, response: Answer, limit: int = WHOLE) -> list[bytes]:
    """Read a body to its end, or until it is larger than ``limit``."""
    parts: list[bytes] = []
    size = 0
    begun = time.monotonic()
    upstream = call.gateway.upstream
    try:
        while size <= limit:
            data = await upstream.read(response)
            if not data:
                break
            parts.append(data)
            size += len(data)
    finally:
        call.waiting += time.monotonic() - begun
    return parts


async def _answer_whole(call: Call, attempt: Attempt, response: Answer, body: bytes) -> web.StreamResponse:
    """Meter, book and return a small answer; its spend goes into a header."""
    assert call.target is not None
    status, aws_request_id = response.status, request_id(response)
    operation, heavy = attempt.operation, call.translation is not None and len(body) > OFF_LOOP
    if heavy:
        reading = await asyncio.to_thread(read_body, operation, response.headers, body)
    else:
        reading = read_body(operation, response.headers, body)
    if reading.unreadable:
        raise AttemptFailed(
            verdicts.UNREADABLE,
            reason="a 200 whose body is no JSON document",
            status=status,
            aws_request_id=aws_request_id,
        )
    _refuse_unknown(call, response, body)
    if not call.target.operation.of_model:
        # On record before the caller hears of it.
        await note_made(call, attempt, response.headers, body)
        body = await only_own(call, attempt, body)
        if call.target.operation.name == "GetModelInvocationJob":
            call.gateway.batches.seen(body, attempt.deployment)
    if isinstance(attempt.relay, Counted):
        attempt.relay.counts = _counts(call, attempt.operation, reading)
    # Written before it is booked: the record of the call tells what its caller was told.
    content, refusal = await asyncio.to_thread(_relayed, attempt, body) if heavy else _relayed(attempt, body)
    if refusal is None:
        call.answered(status)
    else:
        call.answered(refusal.status, refusal.error_type)
    book(call, attempt, Outcome.COMPLETE, reading, status=status, aws_request_id=aws_request_id)
    answered(call, attempt, tokens=attempt.output_tokens)
    await on_record(attempt)
    if refusal is not None:
        raise refusal
    headers = passed_on(call, response)
    if call.kept is not None:
        call.kept.whole(status, [*headers], attempt.deployment.name, content)
    headers += gateway_headers(call, attempt)
    if call.spend is not None and attempt.spend is not None:
        headers.append(("x-bedrock-gateway-spend-usd", usd(call.spend)))
        if call.snapshot.litellm_headers:
            headers.append(response_cost(call.spend))
    return WholeAnswer(status, headers, content)


def _counts(call: Call, operation: Operation, reading: Reading) -> dict[str, int]:
    """Return what the meter read, as ``speech.Counted`` has it."""
    usage = work_of(operation, call.body, reading).usage if operation.kind in FROM_REQUEST else reading.usage
    if usage is None:
        return {}
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cache_read_tokens,
        "cache_write_tokens": usage.cache_write_5m_tokens + usage.cache_write_1h_tokens,
        **dict(usage.meters),
    }


def _relayed(attempt: Attempt, body: bytes) -> tuple[bytes, Refusal | None]:
    """Return a whole answer in the caller's dialect, or why there is nothing in it for the caller."""
    try:
        return attempt.relay.receive_data(body) + attempt.relay.receive_eof(), None
    except Refusal as refusal:
        return b"", refusal
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        told = "Upstream's answer cannot be written in this dialect; it may have been billed."
        return b"", MaybeBilled(told, at="an answer of another shape")


async def _refused(call: Call, response: Answer) -> None:
    """Raise what an error answer of upstream means."""
    body = b"".join(await _read(call, response, ERROR_BODY))
    error_type, message = verdicts.error_of(response.headers.get("x-amzn-errortype"), body)
    raise AttemptFailed(
        verdicts.classify(response.status, error_type, message),
        reason=f"{response.status} {error_type or ''} {message}".strip(),
        error_type=error_type,
        retry_after=verdicts.retry_after(response.headers.get("retry-after")),
        aws_request_id=request_id(response),
        answer=UpstreamAnswer(response.status, passed_on(call, response), body, message),
    )
