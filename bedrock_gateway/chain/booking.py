"""Booking: what an attempt came to, told to the ledger. The one place where an attempt is opened and closed."""

from __future__ import annotations

import asyncio

from bedrock_gateway.chain.call import Attempt, Call
from bedrock_gateway.errors import StoreError, Unavailable
from bedrock_gateway.metering.meters import Reading
from bedrock_gateway.metering.spend import at_most, settle
from bedrock_gateway.metering.states import Outcome
from bedrock_gateway.store.records import CallRecord, Closing, Opening
from bedrock_gateway.wire.operations import Kind

__all__ = ["book", "call_record", "open_attempt", "usd"]


async def open_attempt(call: Call, attempt: Attempt) -> None:
    """Put an attempt on record; nothing may be sent before this returns.

    Raises:
        Unavailable: the ledger takes no record, so nothing is sent.
    """
    assert call.caller is not None and call.target is not None and call.resolution is not None
    gateway = call.gateway
    deployment = attempt.deployment
    opening = Opening(
        attempt=attempt.id,
        call=call.id,
        number=attempt.number,
        part=0,
        caller=call.caller.id,
        dialect="bedrock",
        operation=call.target.operation.name,
        model_group=call.resolution.model_group,
        deployment=deployment.id,
        model=deployment.model_id,
        region=deployment.region,
        started_at=gateway.clock.now_ms(),
        spend_at_most=bound(call, attempt),
    )
    try:
        waiter = gateway.ledger.open_attempt(opening)
    except StoreError as error:
        raise off_record(str(error)) from error
    attempt.opened = True
    if waiter is not None:
        try:
            await waiter
        except StoreError as error:
            book(call, attempt, Outcome.UNREACHED, None, error_type="StoreError", final=False)
            raise off_record(str(error)) from error
    call.attempts = attempt.number


def off_record(cause: str) -> Unavailable:
    """Return the refusal of a call that cannot be put on record; the cause is for the log."""
    return Unavailable(
        "The gateway cannot put calls on record right now, so nothing was sent.", retry_after=5, at=cause
    )


def bound(call: Call, attempt: Attempt) -> int | None:
    """Return the most an attempt can cost in nano-USD, without parsing anything; None where nothing bounds it."""
    assert call.target is not None
    if call.target.operation.free or attempt.deployment.flat:
        return 0
    if attempt.price is None:
        return None
    return at_most(
        attempt.price,
        body_bytes=len(call.body),
        max_output=attempt.price.max_output_tokens,
        guarded=is_guarded(call, attempt),
    )


def is_guarded(call: Call, attempt: Attempt) -> bool:
    """Tell whether a guardrail is asked for, by the deployment or by the caller, without parsing the body."""
    if attempt.deployment.guardrail is not None:
        return True
    if call.guarded is None:
        assert call.target is not None
        if call.target.operation.kind is Kind.CONVERSE:
            # Searched without its quotes: a byte that is rare in JSON is found faster than one that is everywhere.
            call.guarded = b"guardrailConfig" in call.body
        else:
            call.guarded = any(name == "x-amzn-bedrock-guardrailidentifier" for name, _ in call.forward_headers)
    return call.guarded


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
) -> asyncio.Future[None]:
    """Close an attempt, and with its last one the call; the future resolves when that is durable. Closing twice
    changes nothing.
    """
    assert call.target is not None
    settlement = settle(
        operation=call.target.operation,
        reading=reading,
        price=attempt.price,
        outcome=outcome,
        flat=attempt.deployment.flat,
        body_bytes=len(call.body),
        status=status,
        request_body=call.body,
        guarded=is_guarded(call, attempt),
    )
    attempt.closed = True
    attempt.state, attempt.spend = settlement.state, settlement.spend
    if settlement.usage is not None:
        attempt.input_tokens, attempt.output_tokens = settlement.usage.input_tokens, settlement.usage.output_tokens
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
        notes=(*attempt.notes, *settlement.notes),
    )
    record = None
    if final:
        call.recorded = True
        record = call_record(call)
    return call.gateway.ledger.close_attempt(closing, record)


def call_record(call: Call) -> CallRecord:
    """Return what the ledger is told of a whole call."""
    assert call.caller is not None
    return CallRecord(
        call=call.id,
        caller=call.caller.id,
        dialect="bedrock",
        operation=call.target.operation.name if call.target else "",
        model_group=call.resolution.model_group if call.resolution else "",
        started_at=call.started_at,
        ended_at=call.gateway.clock.now_ms(),
        status=call.status,
        error_type=call.error_type,
        attempts=call.attempts,
        caller_left=call.left,
    )


def usd(nano: int) -> str:
    """Return nano-USD as USD, exact, without an exponent."""
    return f"{nano // 1_000_000_000}.{nano % 1_000_000_000:09d}"
