"""Booking: what an attempt came to, told to the ledger. The one place where an attempt is opened and closed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from bedrock_gateway.access.accounts import accounts_of
from bedrock_gateway.access.budgets import Reservation
from bedrock_gateway.chain.bounds import is_guarded, spend_at_most
from bedrock_gateway.chain.call import Attempt, Call
from bedrock_gateway.errors import NeverOnRecord, StoreError, Unavailable
from bedrock_gateway.metering.meters import Reading
from bedrock_gateway.metering.prices import Price
from bedrock_gateway.metering.spend import settle
from bedrock_gateway.metering.states import Outcome
from bedrock_gateway.routing.model_names import bedrock_id
from bedrock_gateway.store.records import CallRecord, Closing, Opening
from bedrock_gateway.wire.operations import Kind

__all__ = [
    "accounts_of_attempt",
    "book",
    "call_record",
    "free",
    "off_record",
    "on_record",
    "open_attempt",
    "release",
    "usd",
]

_LOG = logging.getLogger("bedrock_gateway.budgets")


async def open_attempt(call: Call, attempt: Attempt) -> None:
    """Put an attempt on record; nothing may be sent before this returns.

    Raises:
        Unavailable: the ledger takes no record, so nothing is sent.
    """
    assert call.caller is not None and call.target is not None and call.resolution is not None
    gateway = call.gateway
    deployment = attempt.deployment
    attempt.at_most, attempt.bound = spend_at_most(call, attempt)
    opening = Opening(
        attempt=attempt.id,
        call=call.id,
        number=attempt.number,
        part=0,
        caller=call.caller.id,
        dialect=call.dialect,
        operation=call.target.operation.name,
        model_group=call.resolution.model_group,
        deployment=deployment.id,
        model=deployment.model_id,
        region=deployment.region,
        started_at=gateway.clock.now_ms(),
        spend_at_most=attempt.at_most,
        admitted_at=call.started_at,
        party=call.party,
    )
    try:
        waiter = gateway.ledger.open_attempt(opening)
    except StoreError as error:
        raise off_record(str(error)) from error
    attempt.opened = True
    if attempt.at_most and gateway.budgets.counting:
        _cover(call, attempt, attempt.at_most)
    if waiter is not None:
        try:
            await waiter
        except StoreError as error:
            book(call, attempt, Outcome.UNREACHED, None, error_type="StoreError", final=False)
            raise off_record(str(error)) from error
    call.attempts = attempt.number


def _cover(call: Call, attempt: Attempt, at_most: int) -> None:
    """Have a call hold something in budgets that were given to somebody since it was admitted."""
    admitted = None if call.admission is None else call.admission.reservation
    accounts, holds = accounts_of_attempt(call, attempt), (admitted, attempt.reservation, *call.adopted)
    covered = call.gateway.budgets.cover(accounts, at_most, call.started_at, holds)
    if covered is not None:
        call.adopted += (covered,)


def off_record(cause: str) -> Unavailable:
    """Return the refusal of a call that cannot be put on record; the cause is for the log."""
    return Unavailable(
        "The gateway cannot put calls on record right now, so nothing was sent.", retry_after=5, at=cause
    )


def book(
    call: Call,
    attempt: Attempt,
    outcome: Outcome,
    reading: Reading | None,
    *,
    status: int | None = None,
    error_type: str | None = None,
    aws_request_id: str | None = None,
    final: bool = True,
) -> None:
    """Close an attempt, and with its last one the call; ``on_record`` waits until that lasts. Closing twice changes
    nothing.
    """
    assert call.target is not None
    if attempt.booked is not None:
        return
    settlement = settle(
        operation=attempt.operation,
        reading=reading,
        price=_price(call, attempt, reading),
        outcome=outcome,
        flat=attempt.deployment.flat,
        body_bytes=len(call.body),
        status=status,
        request_body=call.body,
        guarded=is_guarded(call, attempt.deployment),
        bound=attempt.bound,
        price_of=_prices_at(call, attempt) if call.target.operation.kind is Kind.AGENT else None,
    )
    attempt.closed = True
    call.gateway.attempts[settlement.state] += 1
    if settlement.charged:
        _count(call, attempt, attempt.at_most if settlement.spend is None else settlement.spend)
    attempt.state, attempt.spend = settlement.state, settlement.spend
    if settlement.usage is not None:
        usage = settlement.usage
        attempt.input_tokens, attempt.output_tokens, attempt.tokens = (
            usage.input_tokens,
            usage.output_tokens,
            usage.tokens,
        )
        if call.admission is not None:
            call.admission.tokens += usage.tokens
    if settlement.charged:
        call.spend = None if call.spend is None or settlement.spend is None else call.spend + settlement.spend
    closing = Closing(
        attempt=attempt.id,
        state=settlement.state,
        charged=settlement.charged,
        spend=settlement.spend,
        usage=settlement.usage,
        ended_at=call.gateway.clock.now_ms(),
        status=status,
        error_type=error_type,
        aws_request_id=aws_request_id,
        notes=(*call.notes, *attempt.notes, *settlement.notes),
    )
    record = None
    if final:
        call.recorded = True
        record = call_record(call, closing.ended_at)
        if call.deadline is not None:
            # It came in time; what is left is to pass it on.
            call.deadline.cancel()
    attempt.booked = call.booked = call.gateway.ledger.close_attempt(closing, record)
    # Nobody may be left to be told of a failure; the ledger has logged it.
    attempt.booked.add_done_callback(asyncio.Future.exception)
    if final:
        release(call)
    elif attempt.reservation is not None:
        free(attempt.reservation, attempt.booked)


async def on_record(attempt: Attempt) -> None:
    """Wait until the end of an attempt lasts, if it was booked; that whoever waits is cancelled changes nothing of it.

    Raises:
        StoreError: neither database nor journal took it.
    """
    if attempt.booked is not None:
        await asyncio.shield(attempt.booked)


def _prices_at(call: Call, attempt: Attempt) -> Callable[[str], Price | None]:
    """Return how the models that worked for an agent are priced: the one that was asked for as it is, the others by the
    public table, where the agent is.
    """
    prices, deployment = call.snapshot.prices, attempt.deployment
    asked = {bedrock_id(deployment.model_id), bedrock_id(deployment.price_model)} - {""}

    def price_of(model: str) -> Price | None:
        id_ = bedrock_id(model)
        return attempt.price if id_ in asked else prices.find(id_, deployment.region)

    return price_of


def _price(call: Call, attempt: Attempt, reading: Reading | None) -> Price | None:
    """Return what an attempt costs: of a router's models the one that answered, where it says which."""
    assert call.target is not None
    if call.target.operation.kind is Kind.RETRIEVE and call.models:
        # What ranks the results is the only model it is charged for by itself.
        name = bedrock_id(next(iter(call.models)))
        return call.snapshot.prices.find(name, attempt.deployment.region)
    if reading is None or reading.invoked_model is None or attempt.deployment.flat:
        return attempt.price
    return call.snapshot.prices.find(bedrock_id(reading.invoked_model), attempt.deployment.region) or attempt.price


def _count(call: Call, attempt: Attempt, spend: int | None) -> None:
    """Count what an attempt has spent in every account it belongs to, at the moment the ledger is told of it."""
    budgets = call.gateway.budgets
    if not spend or not budgets.counting:
        return
    for warned in budgets.book(accounts_of_attempt(call, attempt), call.started_at, spend):
        call.gateway.alerts.tell(warned, call.caller)
    reservation = None if call.admission is None else call.admission.reservation
    held = 0 if reservation is None else reservation.amount
    for holding in (reservation, attempt.reservation, *call.adopted):
        if holding is not None:
            holding.spent(spend)
    if 0 < held < spend:
        # The bound was none: the spend is booked in full all the same, and the fault is told.
        budgets.overruns += 1
        _LOG.error(
            "call %s cost %s USD, more than the %s USD it had reserved (model %s)",
            call.id,
            usd(spend),
            usd(held),
            attempt.deployment.model_id,
        )


def accounts_of_attempt(call: Call, attempt: Attempt) -> tuple[str, ...]:
    """Return every account an attempt counts in."""
    assert call.caller is not None and call.resolution is not None
    party, deployment = call.party, attempt.deployment
    return accounts_of(
        call.caller.id,
        party.user,
        party.team,
        party.end_user,
        party.tags,
        # That was asked for, also where another one answers: its budget holds what the dearest of them can cost.
        call.resolution.model_group,
        deployment.model_id,
        deployment.id,
    )


def release(call: Call) -> None:
    """Give back what a call holds of limits, and of budgets once its end lasts; doing so twice is harmless."""
    if call.attempt is not None and call.attempt.reservation is not None:
        free(call.attempt.reservation, call.booked)
    for reservation in call.adopted:
        free(reservation, call.booked)
    admission = call.admission
    if admission is None or admission.released:
        return
    admission.released = True
    if admission.reservation is not None:
        free(admission.reservation, call.booked)
    if admission.taken is not None:
        if call.attempts:
            admission.taken.settle(admission.tokens, time.monotonic())
            admission.taken.release()
        else:
            admission.taken.cancel(time.monotonic())


def free(reservation: Reservation, booked: asyncio.Future[None] | None) -> None:
    """Give back what was held beyond the spend, as soon as the end of what it was held for is on record.

    A process killed before that leaves an attempt interrupted, and what it can have cost counts against the budget:
    what others took of its room by then would be too much. Where neither database nor journal takes the end, no call is
    admitted before one of them does; what never gets there is held for good, since that is how the next run counts it.

    Args:
        booked: resolves when that end lasts; None where nothing was sent.
    """

    def lasts(done: asyncio.Future[None] | None) -> None:
        if done is None or not isinstance(done.exception(), NeverOnRecord):
            reservation.release()

    if booked is None or booked.done():
        lasts(booked)
    else:
        booked.add_done_callback(lasts)


def call_record(call: Call, ended_at: int) -> CallRecord:
    """Return what the ledger is told of a whole call that ended at ``ended_at`` (UTC ms)."""
    assert call.caller is not None
    return CallRecord(
        call=call.id,
        caller=call.caller.id,
        dialect=call.dialect,
        operation=call.target.operation.name if call.target else "",
        model_group=call.resolution.model_group if call.resolution else "",
        started_at=call.started_at,
        ended_at=ended_at,
        status=call.status,
        error_type=call.error_type,
        attempts=call.attempts,
        caller_left=call.left,
        party=call.party,
        answered_by=call.answered_by,
    )


def usd(nano: int) -> str:
    """Return nano-USD as USD, exact, without an exponent."""
    return f"{nano // 1_000_000_000}.{nano % 1_000_000_000:09d}"
