"""Fourth step: which deployment, and what follows when one fails. Calls the rest of the chain once an attempt.

Whether another attempt follows is decided by one table (``routing.verdicts``); which deployment is next by the
``Candidates``. An SDK that repeats by itself (``amz-sdk-request: attempt=2``) is given one attempt only, so that its
repeats and ours never multiply.
"""

from __future__ import annotations

import asyncio
import logging
import time

import attrs
from aiohttp import web
from aiohttp.typedefs import Handler

from bedrock_gateway.access.budgets import Reservation
from bedrock_gateway.chain.attempt_failed import AttemptFailed
from bedrock_gateway.chain.booking import free, off_record, on_record
from bedrock_gateway.chain.call import CALL, Attempt, Call
from bedrock_gateway.chain.candidates import Candidates
from bedrock_gateway.chain.giving_up import book_failure, give_up
from bedrock_gateway.chain.judging import judge
from bedrock_gateway.chain.queueing import Queue
from bedrock_gateway.chain.translating import operation_named
from bedrock_gateway.dialects import bedrock
from bedrock_gateway.dialects.families.bodies import body_of, defaults_of
from bedrock_gateway.dialects.families.invoked import invoked
from bedrock_gateway.dialects.speech import Relay
from bedrock_gateway.errors import CredentialsError, StoreError, Throttled
from bedrock_gateway.routing.balancer import Use
from bedrock_gateway.routing.deployments import Deployment
from bedrock_gateway.routing.verdicts import EXPIRED, NO_PLACE, TOO_LONG, Cools, Retry, Verdict
from bedrock_gateway.wire.operations import Operation

__all__ = ["fail_over"]

_LOG = logging.getLogger("bedrock_gateway.deployments")
#: What a deployment may ask for in the model's own words instead.
_CONVERSED = ("Converse", "ConverseStream")


@web.middleware
async def fail_over(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Try deployments in order until one answers, or none is left that may."""
    call = request[CALL]
    gateway = call.gateway
    candidates = Candidates.of(call)
    trying: _Trying | None = None
    reservation: Reservation | None = None
    told: tuple[Attempt, AttemptFailed] | None = None
    use = candidates.plan.next(time.monotonic()) if gateway.queue is None and candidates.plain else None
    if use is None:
        await candidates.read()
        use, reservation = await _in_turn(call, candidates)
    try:
        while True:
            try:
                attempt = _begin(call, candidates, use, reservation)
            except BaseException:
                _give_back(call, use, reservation)
                raise
            try:
                return await handler(request)
            except AttemptFailed as failed:
                _log_failure(call, attempt, failed)
                if told is None or failed.verdict is not NO_PLACE:
                    # That another model cannot be told of it says less than why it was not the first that answered.
                    told = attempt, failed
                trying = trying or _Trying(call, candidates)
                following = await trying.follow(attempt, failed)
                if following is None:
                    return await give_up(request, call, *told)
                use, reservation = following
            finally:
                gateway.balancer.end(attempt.use, attempt.tokens, time.monotonic(), sent=attempt.opened)
    finally:
        # Its traceback holds this frame, which would hold it.
        told = None


def _begin(call: Call, candidates: Candidates, use: Use, reservation: Reservation | None) -> Attempt:
    deployment, target = use.deployment, call.target
    assert target is not None
    call.hops = candidates.hop
    relay, operation = _relay(call, deployment, target.operation)
    attempt = call.attempt = Attempt(
        call.gateway.new_id(),
        call.attempts + 1,
        use,
        candidates.plan,
        candidates.resolution.model_group,
        deployment,
        operation,
        relay,
        call.snapshot.price_of(deployment, target.operation),
        # Only of a stream anything could be held back.
        not target.operation.stream_out or _is_last(call, candidates, use),
        reservation=reservation,
    )
    return attempt


def _relay(call: Call, deployment: Deployment, operation: Operation) -> tuple[Relay, Operation]:
    """Return what stands between the caller and an attempt, and what is asked for there."""
    if call.translation is None:
        return bedrock.NativeRelay(), operation
    model = deployment.foundation or call.asked
    now = call.gateway.clock.now_ms() // 1000
    body = None if deployment.body_format is None else body_of(deployment.body_format, model)
    defaults = defaults_of(body, deployment.defaults)
    relay = call.translation.relay(model, call_id=call.id, now=now, defaults=defaults)
    if body is not None and (relay.operation or operation.name) in _CONVERSED:
        relay = invoked(relay, body, drop_params=call.translation.drop_params)
    return relay, operation if relay.operation in ("", operation.name) else operation_named(call, relay.operation)


def _is_last(call: Call, candidates: Candidates, use: Use) -> bool:
    """Tell whether no further attempt can follow the one that begins: then nothing of an answer is held back."""
    if candidates.alone:
        return True
    if call.fallbacks or call.longer or call.gateway.queue is not None:
        return False
    return call.attempts - candidates.first + 1 >= _most(call, candidates, use, None)


def _most(call: Call, candidates: Candidates, use: Use, verdict: Verdict | None) -> int:
    """Return how many attempts may follow the first on a group after a failure, or after any."""
    asked = "" if candidates.at else call.asked
    policy = call.gateway.balancer.rules.retries_of(asked, candidates.resolution.model_group)
    usual = policy.default
    if usual is None:
        usual = use.deployment.max_retries
    if usual is None:
        usual = call.snapshot.num_retries
    if verdict is None:
        return usual if usual >= policy.most else policy.most
    own: int | None = getattr(policy, verdict.kind)
    return usual if own is None else own


async def _in_turn(call: Call, candidates: Candidates) -> tuple[Use, Reservation | None]:
    """Return the first place to try; where there is a line for the same deployments, behind all who wait in it.

    Raises:
        Refusal: as ``Candidates.choose``.
    """
    queue = call.gateway.queue
    if queue is None:
        return await candidates.choose()
    whom = candidates.whom
    if queue.busy(whom):
        place = queue.enter(call, whom)
        if place is None:
            raise queue.full(call, queue.line(whom))
        await queue.wait(call, place)
    return await _choose_in_turn(call, candidates, queue)


async def _choose_in_turn(call: Call, candidates: Candidates, queue: Queue) -> tuple[Use, Reservation | None]:
    """Return the first place to try, as soon as the limits of the deployments have room."""
    limited = False
    while True:
        try:
            chosen = await candidates.choose()
        except Throttled as full:
            limited = True
            place = queue.enter(call, candidates.whom, full.retry_after or 1)
            if place is None:
                raise queue.full(call, queue.line(candidates.whom)) from full
            await queue.wait(call, place)
            candidates.restart()
            continue
        if limited and call.place is not None:
            # What was waited for is had: whoever is next may try too.
            call.place.decided(answered=True)
        return chosen


@attrs.define(eq=False)
class _Trying:
    """What was tried for a call so far, as far as it decides what may follow.

    Attributes:
        internal_errors: answers with one, over all groups.
        renewed: expired credentials were read again.
        rounds: how often it was thrown back into the line.
    """

    call: Call
    candidates: Candidates
    internal_errors: int = 0
    renewed: bool = False
    rounds: int = 0

    async def follow(self, attempt: Attempt, failed: AttemptFailed) -> tuple[Use, Reservation | None] | None:
        """Return what is tried after an attempt that failed, its end on record by then; None where nothing may be."""
        call, candidates, verdict = self.call, self.candidates, failed.verdict
        use, reservation, queue = attempt.use, attempt.reservation, call.gateway.queue
        later = verdict.same_again and verdict.relay
        if call.place is not None and not later:
            call.place.decided(answered=verdict.cools is Cools.NO)
        self.internal_errors += verdict.retry is Retry.NEXT_ONCE
        goes_on = verdict.retry is Retry.NEXT or (verdict.retry is Retry.NEXT_ONCE and self.internal_errors == 1)
        goes_on = goes_on and not call.left and not (candidates.alone and attempt.opened)
        # What never left the gateway is not one of the attempts that are counted.
        counted = attempt.number - candidates.first
        here = goes_on and (not attempt.opened or counted < _most(call, candidates, use, verdict))
        longer = verdict is TOO_LONG and not call.left and not candidates.alone and call.longer
        following: tuple[Use | None, Reservation | None] = (None, None)
        wait = 0.0
        try:
            if verdict is EXPIRED:
                _forget_credentials(call, attempt)
                if here and not self.renewed:
                    self.renewed = True
                    if await self._has_other_credentials(attempt) and not call.left:
                        following = await candidates.again(use, reservation)
            if following[0] is None:
                judge(call, attempt, verdict, failed.retry_after)
                # Not under way any more, however long is waited for what follows.
                call.gateway.balancer.end(use, attempt.tokens, time.monotonic(), sent=attempt.opened)
            if here and following[0] is None and not call.left:
                following = await candidates.next()
                if following[0] is None and verdict.same_again and not candidates.more and not (queue and later):
                    wait = self._wait(attempt, failed)
                    if wait <= call.snapshot.max_wait:
                        following = await candidates.again(use, reservation)
            if (
                following[0] is None
                and not call.left
                and (candidates.fall_back_to(call.longer) if longer else goes_on and candidates.fall_back())
            ):
                following = await self._on_the_next_group()
        except asyncio.CancelledError:
            # The call ends here; AWS has refused the attempt all the same.
            book_failure(call, attempt, failed, final=False)
            raise
        following_use, held = following
        mine = held is not None and held is reservation
        if following_use is None and queue is not None and later and not call.left and not candidates.alone:
            return await self._queue_up(queue, attempt, failed)
        if following_use is None or call.left:
            _give_back(call, following_use, None if mine else held)
            return None
        try:
            await self._go_on(attempt, failed, mine=mine)
            if wait:
                await self._rest(wait)
        except BaseException:
            _give_back(call, following_use, held)
            raise
        return following_use, held

    async def _go_on(self, attempt: Attempt, failed: AttemptFailed, *, mine: bool = False) -> None:
        """Close a failed attempt that another one follows.

        Args:
            mine: the other one holds what this one held of the deployment's own budget.

        Raises:
            Unavailable: the ledger does not take its end, and money is held for the call.
        """
        call = self.call
        admitted = None if call.admission is None else call.admission.reservation
        holds = bool(attempt.reservation or admitted or call.adopted)
        if mine:
            attempt.reservation = None
        call.failed = (*call.failed, (attempt.deployment.name, failed.verdict.name))
        book_failure(call, attempt, failed, final=False)
        if not attempt.opened:
            if attempt.reservation is not None:
                attempt.reservation.release()
        elif holds:
            # What is held is enough for one attempt: were the gateway killed, both would count.
            try:
                await on_record(attempt)
            except StoreError as error:
                raise off_record(str(error)) from error

    async def _queue_up(
        self, queue: Queue, attempt: Attempt, failed: AttemptFailed
    ) -> tuple[Use, Reservation | None] | None:
        """Wait in line until AWS may have room again; return the place to try then, None where there is no waiting.

        Raises:
            Throttled: it waited for as long as it may.
        """
        call, snapshot = self.call, self.call.snapshot
        # Whatever AWS asks for: who is throttled again and again comes less and less often.
        least = min(snapshot.backoff * 2.0**self.rounds, snapshot.max_wait)
        self.rounds += 1
        seconds = max(self._wait(attempt, failed), least)
        place = queue.enter(call, self.candidates.whom, seconds, asked=True)
        if place is None:
            return None
        await self._go_on(attempt, failed)
        await queue.wait(call, place)
        self.candidates.restart()
        return await _choose_in_turn(call, self.candidates, queue)

    async def _on_the_next_group(self) -> tuple[Use | None, Reservation | None]:
        """Return a place on the group gone on to, or one after it."""
        while True:
            found = await self.candidates.next()
            if found[0] is not None or not self.candidates.fall_back():
                return found

    def _wait(self, attempt: Attempt, failed: AttemptFailed) -> float:
        """Return the seconds to wait before the only deployment left is asked again."""
        snapshot = self.call.snapshot
        backoff = snapshot.backoff * 2 ** (attempt.number - self.candidates.first)
        asked = backoff if failed.retry_after is None else failed.retry_after
        return max(asked, snapshot.least_wait)

    async def _rest(self, wait: float) -> None:
        """Wait a little more than that, so that calls that failed together do not come back together; never less."""
        wait += self.call.gateway.random.random() * wait / 4
        self.call.waiting += wait
        await asyncio.sleep(wait)

    async def _has_other_credentials(self, attempt: Attempt) -> bool:
        """Read the credentials of an attempt's deployment again; tell whether they are others now."""
        try:
            found = await self.call.gateway.credentials.get(attempt.deployment.credentials)
        except CredentialsError:
            return False
        return found != attempt.credentials


def _give_back(call: Call, use: Use | None, reservation: Reservation | None) -> None:
    """Give back the place of an attempt that was not begun, and what was held for it."""
    if use is not None:
        call.gateway.balancer.end(use, 0, time.monotonic(), sent=False)
    if reservation is not None:
        free(reservation, call.booked)


def _forget_credentials(call: Call, attempt: Attempt) -> None:
    """Drop credentials that AWS calls expired, unless they have been read again since the attempt was signed."""
    store, source = call.gateway.credentials, attempt.deployment.credentials
    if store.current(source) == attempt.credentials:
        store.forget(source)


def _log_failure(call: Call, attempt: Attempt, failed: AttemptFailed) -> None:
    """Log why an attempt failed, with AWS's own text: only here, since it names accounts and roles."""
    if failed.verdict.cools is not Cools.NO or (failed.answer is None and failed.refusal is None):
        _LOG.warning(
            "call=%s attempt=%d deployment=%s: %s",
            call.id,
            attempt.number,
            attempt.deployment.name,
            failed.reason[:500],
        )
