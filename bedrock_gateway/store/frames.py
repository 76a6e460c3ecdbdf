"""What a journal frame says: an opening or a closing as one line of ASCII, and back. Knows no file and no room.

A payload is one letter and, mostly, a JSON array: ``O`` and the fields of ``Opening`` in their order, then those of its
``Party``; ``C`` and call id, the fields of ``Closing`` with ``usage`` as an array (or null), and what the call record
adds as an array (or null). ``P`` is an ``O`` without tags whose texts are plain: the same fields, joined by the unit
separator, which stands in none of them; an absent number is empty. Nearly every opening is one, and it is written at a
third of the cost. What an earlier version wrote has neither the time of admission nor a party.
"""

from __future__ import annotations

import json
from typing import Any

import attrs

from bedrock_gateway.metering.usage import Usage
from bedrock_gateway.store.records import NOBODY, CallRecord, Closing, Opening, Party, State

__all__ = ["CLOSING_ROOM", "ClosingFrame", "decode", "encode_closing", "encode_opening"]

CLOSING_ROOM = 1024
"""Bytes a closing gets in the journal, frame included; what is too long gives way: first raw usage, then remarks."""

_FRAME_OVERHEAD = 16
_TEXT_LIMIT = 60

_SEPARATOR = "\x1f"
#: All fields of an opening but its party, then user, team and end user.
_SEPARATORS = len(attrs.fields(Opening)) + 1

_encode = json.JSONEncoder(separators=(",", ":")).encode


@attrs.frozen(kw_only=True)
class ClosingFrame:
    """A closing out of the journal: the call it belongs to, the closing, and the call's record if it came with one."""

    call_id: str
    closing: Closing
    call: CallRecord | None


def encode_opening(opening: Opening) -> bytes:
    """Return the payload of an opening."""
    at_most, admitted_at, party = opening.spend_at_most, opening.admitted_at, opening.party
    try:
        plain = _SEPARATOR.join(
            (
                opening.attempt,
                opening.call,
                str(opening.number),
                str(opening.part),
                opening.caller,
                opening.dialect,
                opening.operation,
                opening.model_group,
                opening.deployment,
                opening.model,
                opening.region,
                str(opening.started_at),
                "" if at_most is None else str(at_most),
                "" if admitted_at is None else str(admitted_at),
                party.user,
                party.team,
                party.end_user,
            )
        )
    except (TypeError, ValueError):
        plain = ""  # a value of another type, which the encoder may know how to write
    if not party.tags and plain.isascii() and plain.count(_SEPARATOR) == _SEPARATORS:
        return b"P" + plain.encode()
    return b"O" + (
        _encode(
            (
                opening.attempt,
                opening.call,
                opening.number,
                opening.part,
                opening.caller,
                opening.dialect,
                opening.operation,
                opening.model_group,
                opening.deployment,
                opening.model,
                opening.region,
                opening.started_at,
                opening.spend_at_most,
                opening.admitted_at,
                party.user,
                party.team,
                party.end_user,
                party.tags,
            )
        ).encode("ascii")
    )


def encode_closing(call_id: str, closing: Closing, call: CallRecord | None) -> bytes:
    """Return the payload of a closing, at most ``CLOSING_ROOM`` with its frame: state, spend, quantities always fit."""
    payload = _closing_payload(call_id, closing, call)
    if len(payload) + _FRAME_OVERHEAD <= CLOSING_ROOM:
        return payload
    usage = closing.usage
    if usage is not None:
        closing = attrs.evolve(closing, usage=attrs.evolve(usage, raw=None))
        payload = _closing_payload(call_id, closing, call)
        if len(payload) + _FRAME_OVERHEAD <= CLOSING_ROOM:
            return payload
    # Quantities beside the columns and remarks are what is left to give; the price of them is in the spend already.
    closing = attrs.evolve(
        closing,
        usage=None if usage is None else attrs.evolve(usage, raw=None, meters=(), flags=()),
        notes=("shortened in the journal",),
        error_type=_short(closing.error_type),
        aws_request_id=_short(closing.aws_request_id),
    )
    if call is not None:
        call = attrs.evolve(call, error_type=_short(call.error_type))
    return _closing_payload(call_id, closing, call)


def _closing_payload(call_id: str, closing: Closing, call: CallRecord | None) -> bytes:
    usage = closing.usage
    return b"C" + (
        _encode(
            (
                call_id,
                closing.attempt,
                closing.state,
                closing.charged,
                closing.spend,
                None if usage is None else attrs.astuple(usage, recurse=False),
                closing.ended_at,
                closing.status,
                closing.error_type,
                closing.aws_request_id,
                closing.notes,
                # Caller, party, dialect, operation and model group are those of the opening.
                None
                if call is None
                else (
                    call.started_at,
                    call.ended_at,
                    call.status,
                    call.error_type,
                    call.attempts,
                    call.caller_left,
                ),
            )
        ).encode("ascii")
    )


def _short(text: str | None) -> str | None:
    return None if text is None else text.encode("ascii", "replace").decode("ascii")[:_TEXT_LIMIT]


def decode(payload: bytes) -> Opening | ClosingFrame | None:
    """Return what a payload says, or None for one this version does not know."""
    try:
        kind = payload[:1]
        if kind == b"P":
            return _plain_opening(payload[1:].decode("ascii").split(_SEPARATOR))
        if kind == b"O":
            return _opening(json.loads(payload[1:]))
        if kind == b"C":
            return _closing(json.loads(payload[1:]))
    except (ValueError, TypeError, IndexError):
        # Bytes that passed the CRC and still do not fit: another version wrote them.
        return None
    return None


def _plain_opening(fields: list[str]) -> Opening:
    attempt, call, number, part, *texts = fields[:11]
    started_at, at_most, *later = fields[11:]
    admitted_at, *party = later or [""]
    numbers = [int(text) if text else None for text in (started_at, at_most, admitted_at)]
    return _opening([attempt, call, int(number), int(part), *texts, *numbers, *party])


def _opening(fields: list[Any]) -> Opening:
    attempt, call, number, part, caller, dialect, operation, group, deployment, model, region, started_at, at_most = (
        fields[:13]
    )
    admitted_at, *party = fields[13:] or [None]
    user, team, end_user, *tags = party or ["", "", ""]
    return Opening(
        attempt=attempt,
        call=call,
        number=number,
        part=part,
        caller=caller,
        dialect=dialect,
        operation=operation,
        model_group=group,
        deployment=deployment,
        model=model,
        region=region,
        started_at=started_at,
        spend_at_most=at_most,
        admitted_at=admitted_at,
        party=Party(user=user, team=team, end_user=end_user, tags=tuple(tags[0]) if tags else ()) if party else NOBODY,
    )


def _closing(fields: list[Any]) -> ClosingFrame:
    call_id, attempt, state, charged, spend, usage, ended_at, status, error_type, request_id, notes, record = fields
    closing = Closing(
        attempt=attempt,
        state=State(state),
        charged=charged,
        spend=spend,
        usage=None if usage is None else _usage(usage),
        ended_at=ended_at,
        status=status,
        error_type=error_type,
        aws_request_id=request_id,
        notes=tuple(notes),
    )
    if record is None:
        return ClosingFrame(call_id=call_id, closing=closing, call=None)
    started_at, call_ended_at, call_status, call_error_type, attempts, caller_left = record
    return ClosingFrame(
        call_id=call_id,
        closing=closing,
        call=CallRecord(
            call=call_id,
            caller="",
            dialect="",
            operation="",
            model_group="",
            started_at=started_at,
            ended_at=call_ended_at,
            status=call_status,
            error_type=call_error_type,
            attempts=attempts,
            caller_left=caller_left,
        ),
    )


def _usage(fields: list[Any]) -> Usage:
    names = [field.name for field in attrs.fields(Usage)]
    values = dict(zip(names, fields, strict=True))
    values["meters"] = tuple((str(meter), int(quantity)) for meter, quantity in values["meters"])
    values["flags"] = tuple(values["flags"])
    return Usage(**values)
