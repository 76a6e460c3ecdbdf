"""What the ledger is told: one opening before a dispatch, one closing after it, one record of the call they belong to.

Times are UTC milliseconds since the epoch; money is integer nano-USD; ids are UUIDv7 text.

Nobody changes a record once it is made. They are not frozen because each is made once a call, and a frozen one takes
twice as long to make.
"""

from __future__ import annotations

import attrs

from bedrock_gateway.metering.states import State
from bedrock_gateway.metering.usage import Usage

__all__ = ["NOBODY", "CallRecord", "Closing", "Opening", "Party", "State"]


@attrs.frozen(kw_only=True)
class Party:
    """For whom a call is made, beside its caller. One is shared by all calls it is true of.

    Attributes:
        user, team: ids of those the caller's key belongs to; "" for none.
        end_user: whom the caller named; "" for nobody.
        tags: of the key, its team and the call, each once.
    """

    user: str = ""
    team: str = ""
    end_user: str = ""
    tags: tuple[str, ...] = ()


#: Who belongs to nobody.
NOBODY = Party()


@attrs.define(kw_only=True)
class Opening:
    """One attempt about to be sent.

    Attributes:
        attempt: id of the attempt.
        call: id of the call.
        number: 1 for the first attempt of the call, and so on.
        part: index of the part of a call that fans out; 0 elsewhere.
        caller: stable id of the caller.
        dialect, operation, model_group, deployment, model, region: as in the design's words; ``deployment`` is its
            stable id.
        started_at: UTC ms.
        admitted_at: UTC ms of the call's admission; None: the same.
        party: for whom.
        spend_at_most: nano-USD, or None where nothing bounds it (an unpriced model).
    """

    attempt: str
    call: str
    number: int
    part: int
    caller: str
    dialect: str
    operation: str
    model_group: str
    deployment: str
    model: str
    region: str
    started_at: int
    spend_at_most: int | None
    admitted_at: int | None = None
    party: Party = NOBODY


@attrs.define(kw_only=True)
class Closing:
    """How one attempt ended.

    Attributes:
        attempt: id of the attempt opened before.
        state: never ``open``.
        charged: whether this attempt counts in the call's spend.
        spend: nano-USD; None where the state says so.
        usage: None where AWS told none.
        ended_at: UTC ms.
        status: upstream's HTTP status, or None where none arrived.
        error_type: AWS error type, event-stream exception type, or our name of the fault; None for a plain success.
        aws_request_id: ``x-amzn-requestid`` of the answer.
        notes: remarks kept with the row (edits of the body, flags of usage, faults of the meter).
    """

    attempt: str
    state: State
    charged: bool
    spend: int | None
    usage: Usage | None
    ended_at: int
    status: int | None = None
    error_type: str | None = None
    aws_request_id: str | None = None
    notes: tuple[str, ...] = ()


@attrs.define(kw_only=True)
class CallRecord:
    """What only the whole call knows, told with its last closing, or alone when nothing was sent.

    Attributes:
        call: id of the call.
        caller, dialect, operation, model_group: as in ``Opening``.
        started_at, ended_at: UTC ms.
        status: HTTP status the caller was answered; 0 where it left before one was.
        error_type: error type the caller was answered, or None.
        attempts: attempts sent upstream.
        caller_left: whether the caller left before the end.
        party: as in ``Opening``.
        answered_by: id of the call whose answer it was given, or None; such a call has no attempts.
    """

    call: str
    caller: str
    dialect: str
    operation: str
    model_group: str
    started_at: int
    ended_at: int
    status: int
    error_type: str | None
    attempts: int
    caller_left: bool = False
    party: Party = NOBODY
    answered_by: str | None = None
