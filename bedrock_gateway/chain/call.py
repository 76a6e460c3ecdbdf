"""A call: one request of a caller on its way through the chain, with everything learnt about it.

Each step reads what the steps before it filled in and fills in its own part; nothing else is handed from step to step.
The call holds what came from downstream as plain values (method, target, headers, body), so that a step never needs the
transport.
"""

from __future__ import annotations

import asyncio
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import attrs
from aiohttp import web

from bedrock_gateway.access.budgets import Charge, Reservation
from bedrock_gateway.access.callers import Caller
from bedrock_gateway.access.limits import Taken
from bedrock_gateway.dialects.requests import Extent
from bedrock_gateway.dialects.speech import Dialect, Relay, Translation
from bedrock_gateway.metering.bounding import Bound
from bedrock_gateway.metering.prices import Price
from bedrock_gateway.metering.states import State
from bedrock_gateway.routing.balancer import Plan, Use
from bedrock_gateway.routing.deployments import Deployment
from bedrock_gateway.routing.resolutions import Resolution
from bedrock_gateway.store.objects import MadeObject
from bedrock_gateway.store.records import NOBODY, Party
from bedrock_gateway.upstream.session import UpstreamRequest
from bedrock_gateway.wire.operations import Kind, Operation
from bedrock_gateway.wire.sigv4 import Credentials
from bedrock_gateway.wire.targets import Target

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bedrock_gateway.chain.gateway import Gateway, Snapshot
    from bedrock_gateway.chain.keeping import KeptAnswer
    from bedrock_gateway.chain.queueing import Place
    from bedrock_gateway.downstream.bodies import Ticket

__all__ = ["CALL", "Admission", "Attempt", "Call"]

#: Failed attempts that are told of one call.
MOST_FAILURES = 8


@attrs.define(eq=False)
class Attempt:
    """One request sent (or about to be sent) upstream for a call.

    Attributes:
        id: its id in the ledger.
        number: 1 for the first attempt of the call.
        use: its place on a deployment, plan: the candidates it was chosen from, group: the model group they are of; it
            counts in the one that was asked for.
        deployment: where it goes.
        operation: what is asked for there: the call's own, or InvokeModel for a conversation in the model's own words.
        relay: between the dialect of the caller and that of the deployment: what is sent, and what is passed on.
        price: what it costs there, or None.
        last: whether no further attempt can follow it: then nothing of the answer is held back.
        request: signed, exactly as it will be sent; filled in by ``sign``.
        credentials: what ``request`` is signed with; None for an API key.
        notes: edits made to the request, kept with the row.
        reservation: what it holds of the deployment's own budget.
        at_most: nano-USD it can cost at most, as the ledger was told; None where nothing bounds it.
        bound: the same in parts, where the body was read for it.
        opened, closed: whether the ledger has its opening and its closing; booked: resolves when the closing lasts, to
            be awaited by ``booking.on_record`` alone.
        sent_at: monotonic seconds when it was sent.
        state, spend, input_tokens, output_tokens, tokens: how it was booked; tokens are all of them.
    """

    id: str
    number: int
    use: Use
    plan: Plan
    group: str
    deployment: Deployment
    operation: Operation
    relay: Relay
    price: Price | None
    last: bool
    request: UpstreamRequest | None = None
    credentials: Credentials | None = attrs.field(default=None, repr=False)
    notes: list[str] = attrs.field(factory=list)
    reservation: Reservation | None = None
    at_most: int | None = None
    bound: Bound | None = None
    opened: bool = False
    closed: bool = False
    booked: asyncio.Future[None] | None = None
    state: State | None = None
    spend: int | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    tokens: int = 0
    sent_at: float = 0.0

    @property
    def sent(self) -> bool:
        """Whether any of it may have gone upstream; not while its connection is still being made."""
        return self.request is not None and self.request.sent


@attrs.define(eq=False, kw_only=True)
class Admission:
    """What one call holds of budgets and limits.

    Attributes:
        charges: budgets it counts against.
        read: whether its body was read for what it asks for.
        plain: what it asks for, where that is text and nothing else, whichever model it is for; document: the body,
            where it is more and still needed; extents: what that asks for, by model family.
        bounds: by deployment, what it can cost at most.
        reservation: money held; None where no hard budget is concerned.
        taken: places under limits; None where there are none.
        tokens: consumed so far, cached ones included.
        released: all of it was given back.
        told: headers that every answer to the call has.
    """

    charges: tuple[Charge, ...]
    document: dict[str, Any] | None = attrs.field(default=None, repr=False)
    read: bool = False
    plain: Extent | None = None
    extents: dict[str, Extent] = attrs.field(factory=dict)
    bounds: dict[Deployment, Bound] = attrs.field(factory=dict)
    reservation: Reservation | None = None
    taken: Taken | None = None
    tokens: int = 0
    released: bool = False
    told: list[tuple[str, str]] = attrs.field(factory=list)

    def left(self) -> None:
        """Free the places of a caller that has gone; the money stays held until it is known what was spent."""
        if self.taken is not None:
            self.taken.leave()


@attrs.define(eq=False)
class Call:
    """One request of a caller and what is known of it.

    Attributes:
        gateway: what exists; snapshot: routing, prices and callers as they were when the call began.
        id: UUIDv7 text, also told to the caller.
        method, raw_target, headers: as received.
        arrived: monotonic seconds; started_at: UTC ms of its admission, by a clock that does not go back.
        task: the task that serves the call, for ``leave``.
        caller: filled in by ``authenticate``.
        target, resolution: operation and where it may go; filled in by ``resolve``.
        fallbacks: groups that are asked when that gives no answer, longer: when the request is too long for it.
        deadline: ends it when it takes too long in all; overdue: it did.
        place: where it waits in line, or its turn; queued: seconds it has waited.
        prefix: what it has in common with others of its conversation (``dialects.prefixes``), where it was read for it.
        failed: deployments that failed it, with the reason; hops: groups it went on from.
        ticket, body, body_hash: filled in by ``admit`` (the hash: by ``sign``, once).
        query, forward_headers: what of query and headers goes upstream; by ``resolve``.
        claimed: ids of the client's own that it names, of which is not known yet where they are.
        models: models the body names, as it names them, and where each may go; leading: the one of them that does the
            work, or "".
        asked: the model that was asked for, a key's alias replaced; "" where the operation has none.
        party: for whom it is made; tags: of its key and as it told them, for choosing a deployment.
        admission: what it holds of budgets and limits; None where there are none for it; filled in by ``admit``.
        adopted: what it holds of budgets that were given to somebody while it was under way.
        notes: edits of its body, kept with each attempt.
        guarded: whether the caller asked for a guardrail; None until somebody wants to know.
        attempt: the attempt under way; attempts: how many were begun.
        booked: resolves when the last closing of its attempts lasts.
        spend: nano-USD of what was charged so far; None once a part of it is not known.
        repeat_key: what it has in common with its repeats alone, where answers are kept; else empty.
        kept: what is kept of its answer since its caller left; answered_by: id of the call whose kept answer it was
            given.
        left: the caller has gone; abandoned: why the call was ended before its time, or "".
        waiting: seconds spent waiting for upstream, for the overhead.
        first_byte: monotonic seconds of the first byte sent downstream, 0.0 before.
        status, error_type: what the caller was answered; 0 and None where it left before that.
        speech: dialect of the caller; None: Bedrock's own. translation: its request in Bedrock's words; spoken: what
            tells its request as it came from all others, where answers are kept.
        divided: its parts are calls by themselves, and it is none (``chain.dividing``); part: it is such a part.
        refused_at: the reason, for the log, where the answer is the gateway's own and has one; else empty. Never the
            refusal itself, whose traceback holds the call.
        recorded: the ledger has been told of the whole call.
    """

    gateway: Gateway
    snapshot: Snapshot
    id: str
    method: str
    raw_target: str
    headers: Mapping[str, str]
    arrived: float
    started_at: int
    task: asyncio.Task[Any] | None = None
    caller: Caller | None = None
    target: Target | None = None
    resolution: Resolution | None = None
    fallbacks: tuple[Resolution, ...] = ()
    longer: tuple[Resolution, ...] = ()
    prefix: int | None = None
    failed: tuple[tuple[str, str], ...] = ()
    hops: int = 0
    deadline: asyncio.TimerHandle | None = None
    overdue: bool = False
    place: Place | None = None
    queued: float = 0.0
    forward_headers: list[tuple[str, str]] = attrs.field(factory=list)
    query: str = ""
    claimed: tuple[MadeObject, ...] = ()
    models: Mapping[str, Resolution] = MappingProxyType({})
    leading: str = ""
    ticket: Ticket | None = None
    body: bytes | bytearray = b""
    body_hash: str = ""
    asked: str = ""
    party: Party = NOBODY
    tags: tuple[str, ...] = ()
    admission: Admission | None = None
    adopted: tuple[Reservation, ...] = ()
    notes: tuple[str, ...] = ()
    guarded: bool | None = None
    attempt: Attempt | None = None
    attempts: int = 0
    booked: asyncio.Future[None] | None = None
    spend: int | None = 0
    repeat_key: bytes = b""
    kept: KeptAnswer | None = None
    answered_by: str | None = None
    left: bool = False
    abandoned: str = ""
    waiting: float = 0.0
    first_byte: float = 0.0
    status: int = 0
    speech: Dialect | None = None
    translation: Translation | None = None
    spoken: str = ""
    divided: bool = False
    part: bool = False
    refused_at: str = ""
    error_type: str | None = None
    recorded: bool = False

    @property
    def dialect(self) -> str:
        """Name of the caller's dialect."""
        return "bedrock" if self.speech is None else self.speech.name

    @property
    def words_of_one(self) -> bool:
        """Whether its body is in the words of one family of models, and nobody tells it in those of others."""
        kind = None if self.target is None else self.target.operation.kind
        if self.translation is None:
            return kind is Kind.INVOKE
        return kind in (Kind.INVOKE, Kind.COUNT) and not self.translation.words

    def was_ended(self) -> bool:
        """Tell whether the cancellation just met is the end that was put to this call, and take it back then: there is
        still something to book or to answer.
        """
        task = asyncio.current_task()
        if not self.abandoned or task is None:
            return False
        task.uncancel()
        return True

    def failures(self) -> str:
        """Return the deployments that failed it, with the reasons, as people are told; of very many the last ones."""
        told = [f"{name}={reason}" for name, reason in self.failed[-MOST_FAILURES:]]
        more = len(self.failed) - len(told)
        return ", ".join([f"{more} more", *told] if more else told)

    def answered(self, status: int, error_type: str | None = None) -> None:
        """Note what the caller is answered; one that has left is answered nothing."""
        if not self.left:
            self.status, self.error_type = status, error_type


#: Where a request keeps its call.
CALL: web.RequestKey[Call] = web.RequestKey("call", Call)
