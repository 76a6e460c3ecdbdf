"""What becomes of an attempt that failed: how it is booked, and what the caller is answered when no other follows."""

from __future__ import annotations

from aiohttp import web

from bedrock_gateway.chain.attempt_failed import AttemptFailed, UpstreamAnswer
from bedrock_gateway.chain.booking import book, on_record
from bedrock_gateway.chain.call import Attempt, Call
from bedrock_gateway.chain.judging import outcome_of
from bedrock_gateway.chain.relay import gateway_headers
from bedrock_gateway.downstream.answers import CallerLeft, StreamedAnswer, WholeAnswer
from bedrock_gateway.errors import MaybeBilled, Refusal, Unavailable, UnknownOperation
from bedrock_gateway.routing.verdicts import NO_CREDENTIALS, NO_SIGNER, UNREACHED, Cools

__all__ = ["book_failure", "give_up"]


def book_failure(call: Call, attempt: Attempt, failed: AttemptFailed, *, final: bool) -> None:
    """Close the attempt as its verdict says, if it was opened."""
    if not attempt.opened:
        return
    book(
        call,
        attempt,
        outcome_of(failed.verdict),
        None,
        status=failed.status,
        error_type=failed.error_type or failed.verdict.name,
        aws_request_id=failed.aws_request_id,
        final=final,
    )


async def give_up(request: web.Request, call: Call, attempt: Attempt, failed: AttemptFailed) -> web.StreamResponse:
    """Answer with the last failure: upstream's own words where they are fit for the caller, ours elsewhere."""
    verdict, answer = failed.verdict, failed.answer
    relayed = verdict.relay and answer is not None
    refusal = None if relayed else _refusal(attempt, failed)
    if refusal is not None:
        call.answered(refusal.status, refusal.error_type)
    elif answer is not None:
        answer = _spoken(call, failed, answer)
        call.answered(answer.status, failed.error_type)
    book_failure(call, attempt, failed, final=True)
    await on_record(attempt)
    if refusal is not None:
        raise refusal from failed
    assert answer is not None
    return await _relayed(request, call, attempt, answer)


def _spoken(call: Call, failed: AttemptFailed, answer: UpstreamAnswer) -> UpstreamAnswer:
    """Return an error of upstream's in the caller's dialect."""
    if call.speech is None:
        return answer
    kind = failed.error_type or ""
    # What stands between the gateway and AWS, a proxy for one, answers in its own words, which are no JSON.
    told = answer.message or kind or f"Upstream answered {answer.status} and gave no reason."
    status, headers, body = call.speech.upstream_error(answer.status, kind, told, answer.headers)
    return UpstreamAnswer(status, headers, body, answer.message)


async def _relayed(request: web.Request, call: Call, attempt: Attempt, answer: UpstreamAnswer) -> web.StreamResponse:
    headers = [*answer.headers, *gateway_headers(call, attempt)]
    if answer.status != 200:
        return WholeAnswer(answer.status, headers, answer.body)
    # A stream whose first message is an exception stays what it is.
    streamed = StreamedAnswer(answer.status, headers)
    try:
        if not call.left:
            await streamed.start(request)
            await streamed.write(answer.body)
            await streamed.finish()
    except CallerLeft:
        streamed.abort()
    return streamed


def _refusal(attempt: Attempt, failed: AttemptFailed) -> Refusal:
    """Return our own answer for a failure that upstream said nothing fit for the caller about."""
    if failed.refusal is not None:
        return failed.refusal
    name, verdict, at = attempt.deployment.name, failed.verdict, failed.reason[:500]
    # What AWS denies is not granted a second later.
    usual = 30 if verdict.cools in (Cools.MODEL, Cools.AT_ONCE) else 1
    retry_after = usual if failed.retry_after is None else max(1, round(failed.retry_after))
    if verdict.charged or verdict.refusal is MaybeBilled:
        return MaybeBilled(
            f"Deployment {name!r} was sent this call and gave no whole answer ({verdict.name}). It may have been "
            "billed, and a repeat may be billed again.",
            at=at,
        )
    if verdict is UNREACHED:
        return Unavailable(
            f"Deployment {name!r} could not be reached. Nothing was sent.", retry_after=retry_after, at=at
        )
    if verdict in (NO_CREDENTIALS, NO_SIGNER):
        return Unavailable(
            f"The gateway has no AWS credentials for deployment {name!r}; its log has the reason. Nothing was sent.",
            retry_after=retry_after,
            at=at,
        )
    if verdict.refusal is UnknownOperation:
        return UnknownOperation(f"The endpoint of deployment {name!r} does not know this operation or model.", at=at)
    return Unavailable(
        f"Deployment {name!r} refused the gateway's own credentials or rights; the gateway's log has AWS's words.",
        retry_after=retry_after,
        at=at,
    )
