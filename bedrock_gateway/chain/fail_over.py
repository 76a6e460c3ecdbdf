"""Fourth step: which deployment, and what follows when one fails. Calls the rest of the chain once an attempt.

Whether another attempt follows is decided by one table (``routing.verdicts``); which deployment is next by the group's
strategy. An SDK that repeats by itself (``amz-sdk-request: attempt=2``) is given one attempt only, so that its repeats
and ours never multiply.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Iterable
from itertools import chain

from aiohttp import web
from aiohttp.typedefs import Handler

from bedrock_gateway.access.budgets import Reservation
from bedrock_gateway.chain.attempt_failed import AttemptFailed, UpstreamAnswer
from bedrock_gateway.chain.booking import book
from bedrock_gateway.chain.call import CALL, Attempt, Call
from bedrock_gateway.chain.judging import judge, outcome_of
from bedrock_gateway.chain.relay import gateway_headers
from bedrock_gateway.chain.reserving import hold
from bedrock_gateway.dialects import bedrock
from bedrock_gateway.downstream.answers import CallerLeft, StreamedAnswer, WholeAnswer
from bedrock_gateway.errors import (
    CredentialsError,
    MaybeBilled,
    Refusal,
    Unavailable,
    UnknownOperation,
)
from bedrock_gateway.routing.deployments import Deployment
from bedrock_gateway.routing.strategies import order
from bedrock_gateway.routing.verdicts import EXPIRED, NO_CREDENTIALS, UNREACHED, Cools, Retry

__all__ = ["fail_over"]

_LOG = logging.getLogger("bedrock_gateway.deployments")
_SDK_ATTEMPT = re.compile(r"attempt=(\d+)")


@web.middleware
async def fail_over(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Try deployments in order until one answers, or none is left that may."""
    call = request[CALL]
    gateway, resolution = call.gateway, call.resolution
    assert resolution is not None
    candidates = order(resolution.candidates, gateway.random.random, gateway.health, time.monotonic())
    deployment, reservation = next(candidates), None
    if deployment.budget is not None:
        deployment, reservation = await _first_of(call, chain((deployment,), candidates))
    retries = _retries(call, deployment)
    internal_errors = 0
    renewed = False
    while True:
        attempt = call.attempt = Attempt(
            id=gateway.new_id(),
            number=call.attempts + 1,
            deployment=deployment,
            relay=bedrock.NativeRelay(),
            price=call.snapshot.price_of(deployment, call.target.operation if call.target else None),
            last=call.attempts >= retries,
            reservation=reservation,
        )
        try:
            return await handler(request)
        except AttemptFailed as failed:
            verdict = failed.verdict
            _log_failure(call, attempt, failed)
            internal_errors += verdict.retry is Retry.NEXT_ONCE
            goes_on = verdict.retry is Retry.NEXT or (verdict.retry is Retry.NEXT_ONCE and internal_errors == 1)
            # What never left the gateway is not one of the attempts that are counted.
            goes_on = goes_on and not call.left and not (attempt.last and attempt.opened)
            if reservation is not None and (goes_on or not attempt.opened):
                # Nothing is charged for what is tried again: what was held is free for the attempt that follows.
                reservation.release()
            if verdict is EXPIRED:
                _forget_credentials(call, attempt)
                if goes_on and not renewed:
                    renewed = True
                    others = await _has_other_credentials(call, attempt, failed)
                    goes_on = not call.left
                    if others and goes_on:
                        _book_failure(call, attempt, failed, final=False)
                        reservation = await hold(call, deployment)
                        continue
            judge(call, deployment, verdict, failed.retry_after)
            if not goes_on:
                return await _give_up(request, call, attempt, failed)
            # A candidate list may name the one that comes free first although it is not free: never the same one twice
            # in a row.
            others_left = (other for other in candidates if other is not deployment)
            following, reservation = await _next_of(call, attempt, failed, others_left)
            wait = 0.0
            if following is None and verdict.same_again:
                backoff = call.snapshot.backoff * 2 ** (attempt.number - 1)
                asked = backoff if failed.retry_after is None else failed.retry_after
                wait = max(asked, call.snapshot.least_wait)
                if wait <= call.snapshot.max_wait:
                    following, reservation = await _next_of(call, attempt, failed, (deployment,))
            if following is None:
                return await _give_up(request, call, attempt, failed)
            _book_failure(call, attempt, failed, final=False)
            if wait:
                # A little more, so that calls that failed together do not come back together; never less than was
                # asked.
                wait += gateway.random.random() * wait / 4
                call.waiting += wait
                try:
                    await asyncio.sleep(wait)
                except asyncio.CancelledError:
                    if reservation is not None:
                        reservation.release()
                    raise
            deployment = following


async def _first_of(call: Call, candidates: Iterable[Deployment]) -> tuple[Deployment, Reservation | None]:
    """Return the first deployment whose own budget has room for the call, with what is held there.

    Raises:
        BudgetExhausted, AccessDenied, InvalidRequest, Unavailable: none has, or in none it can be told; said of the
            last one.
    """
    refused: Refusal | None = None
    for deployment in candidates:
        if deployment.budget is None:
            return deployment, None
        try:
            return deployment, await hold(call, deployment)
        except Refusal as refusal:
            refused = refusal
    assert refused is not None, "a resolution has deployments"
    raise refused


async def _next_of(
    call: Call, attempt: Attempt, failed: AttemptFailed, candidates: Iterable[Deployment]
) -> tuple[Deployment, Reservation | None] | tuple[None, None]:
    """Return what may be tried after a failed attempt, as ``_first_of``; nothing where there is none, or the caller
    left meanwhile.
    """
    for deployment in candidates:
        try:
            reservation = await hold(call, deployment)
        except Refusal:
            continue
        except asyncio.CancelledError:
            # The call ends here; AWS has refused the attempt all the same.
            _book_failure(call, attempt, failed, final=False)
            raise
        if not call.left:
            return deployment, reservation
        if reservation is not None:
            reservation.release()
    return None, None


def _retries(call: Call, first: Deployment) -> int:
    """Return how many attempts may follow the first."""
    sdk = _SDK_ATTEMPT.search(call.headers.get("amz-sdk-request", ""))
    if sdk is not None and int(sdk[1]) > 1:
        return 0
    return call.snapshot.num_retries if first.max_retries is None else first.max_retries


def _forget_credentials(call: Call, attempt: Attempt) -> None:
    """Drop credentials that AWS calls expired, unless they have been read again since the attempt was signed."""
    store, source = call.gateway.credentials, attempt.deployment.credentials
    if store.current(source) == attempt.credentials:
        store.forget(source)


async def _has_other_credentials(call: Call, attempt: Attempt, failed: AttemptFailed) -> bool:
    """Read the credentials of an attempt's deployment again; tell whether they are others now."""
    try:
        return await call.gateway.credentials.get(attempt.deployment.credentials) != attempt.credentials
    except CredentialsError:
        return False
    except asyncio.CancelledError:
        # The call ends here; AWS has refused the attempt all the same.
        _book_failure(call, attempt, failed, final=False)
        raise


def _log_failure(call: Call, attempt: Attempt, failed: AttemptFailed) -> None:
    """Log why an attempt failed, with AWS's own text: only here, since it names accounts and roles."""
    if failed.verdict.cools is not Cools.NO or failed.answer is None:
        _LOG.warning(
            "call=%s attempt=%d deployment=%s: %s",
            call.id,
            attempt.number,
            attempt.deployment.name,
            failed.reason[:500],
        )


def _book_failure(call: Call, attempt: Attempt, failed: AttemptFailed, *, final: bool) -> asyncio.Future[None] | None:
    """Close the attempt as its verdict says."""
    if not attempt.opened:
        return None
    return book(
        call,
        attempt,
        outcome_of(failed.verdict),
        None,
        status=failed.status,
        error_type=failed.error_type or failed.verdict.name,
        aws_request_id=failed.aws_request_id,
        final=final,
    )


async def _give_up(request: web.Request, call: Call, attempt: Attempt, failed: AttemptFailed) -> web.StreamResponse:
    """Answer with the last failure: upstream's own words where they are fit for the caller, ours elsewhere."""
    verdict, answer = failed.verdict, failed.answer
    relayed = verdict.relay and answer is not None
    refusal = None if relayed else _refusal(attempt, failed)
    if refusal is not None:
        call.answered(refusal.status, refusal.error_type)
    elif answer is not None:
        call.answered(answer.status, failed.error_type)
    booked = _book_failure(call, attempt, failed, final=True)
    if booked is not None:
        await booked
    if refusal is not None:
        raise refusal from failed
    assert answer is not None
    return await _relayed(request, call, attempt, answer)


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
    name, verdict, at = attempt.deployment.name, failed.verdict, failed.reason[:500]
    retry_after = 1 if failed.retry_after is None else max(1, round(failed.retry_after))
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
    if verdict is NO_CREDENTIALS:
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
