"""A request that Bedrock takes as several only: each part is a call by itself, on the rest of the way.

The call is resolved like its first part, so that what it may not do is refused once, and so is one of more parts than
its key may make calls a minute: some of it would be billed, and the rest refused, however often it is repeated. (That
an end user may make fewer is not known before the first part has been read.) A part has its own id, row, budgets,
limits, attempts and end: it goes through ``resolve`` and all that follows within a ``dialect`` step of its own. The
call it is of is none itself: it holds the body, waits, and answers with what the parts were answered, as one, in the
order of the request. The first part has its id, so that the id a caller is told leads into the ledger.

Eight parts are under way at once, fewer where the key may make fewer calls at once, or where they are large: each may
be a copy of the whole body. Of a part that has ended nothing is kept but its answer and what it cost. The first refusal
ends the request and is its answer: no part begins any more, one of which nothing was sent is ended, and what was sent
is read to its end, since it is billed. A caller that leaves leaves each part that is under way.
"""

from __future__ import annotations

import asyncio
import functools
import time

import attrs
from aiohttp import web
from aiohttp.typedefs import Handler

from bedrock_gateway.chain.bodies import OFF_LOOP
from bedrock_gateway.chain.booking import usd
from bedrock_gateway.chain.call import CALL, Call
from bedrock_gateway.chain.dialect import dialect, settle
from bedrock_gateway.chain.litellm_headers import response_cost
from bedrock_gateway.chain.reserving import restraints_of
from bedrock_gateway.dialects.speech import Divided, Translation
from bedrock_gateway.downstream.answers import CallerLeft, WholeAnswer
from bedrock_gateway.downstream.connection import CallerSide
from bedrock_gateway.errors import InvalidRequest, MaybeBilled, Unavailable

__all__ = ["divide"]

#: Parts of one request that are under way at once.
AT_ONCE = 8
#: Bytes that those have in all, where there are several.
AT_ONCE_BYTES = 33_554_432
#: Headers of a part's answer that tell of this part alone.
_OF_ONE = (
    *("x-bedrock-gateway-overhead-ms", "x-bedrock-gateway-queued-ms", "x-bedrock-gateway-failed"),
    *("x-litellm-overhead-duration-ms", "x-litellm-response-duration-ms"),
)


async def divide(request: web.Request, call: Call, divided: Divided, handler: Handler) -> web.StreamResponse:
    """Answer a call by calls for its parts.

    Args:
        handler: the way from here on.

    Raises:
        CallerLeft: nobody waits for the answer any more.
        InvalidRequest: it has more parts than a limit ever lets through.
        AccessDenied: as ``restraints_of``.
        MaybeBilled, Unavailable: the call was ended before all of its parts had been made.
    """
    for name, limit in restraints_of(call).limits:
        if limit.requests is not None and limit.requests < len(divided.parts):
            raise InvalidRequest(
                f"It takes {len(divided.parts)} calls, and {name} may make {limit.requests} a minute: send it in "
                "smaller requests. Nothing was sent.",
                at=f"{name}: requests",
                param=divided.param,
            )
    call.divided = True
    division = _Division(request, call, divided, handler)
    side = request.protocol
    if isinstance(side, CallerSide):
        side.on_left = division.leave
    return await division.answer()


@attrs.define(eq=False)
class _Division:
    """The parts of one call.

    Attributes:
        begun: how many parts have; answers: what they were answered, by place.
        attempts, spends: of those that have ended; a spend that is not known is None.
        refusal: the first one that is none of what was asked for; ended: why a part was ended before its first step.
        over: no part begins any more.
    """

    request: web.Request
    call: Call
    divided: Divided
    handler: Handler
    begun: int = 0
    answers: dict[int, WholeAnswer] = attrs.field(factory=dict)
    attempts: int = 0
    spends: list[int | None] = attrs.field(factory=list)
    refusal: WholeAnswer | None = None
    ended: str = ""
    over: bool = False
    _under_way: dict[asyncio.Task[web.StreamResponse], tuple[int, Call]] = attrs.field(factory=dict)

    async def answer(self) -> web.StreamResponse:
        """As ``divide``."""
        call, most = self.call, self._at_once()
        try:
            for part in self.divided.parts:
                while len(self._under_way) >= most:
                    await self._some()
                if self.over:
                    break
                self._begin(part)
            while self._under_way:
                await self._some()
        except BaseException:
            for task in self._under_way:
                task.cancel()
            raise
        if call.left:
            raise CallerLeft("the caller left before its answer")
        charged = any(spend != 0 for spend in self.spends)
        unanswered = len(self.answers) < len(self.divided.parts)
        if unanswered and (call.abandoned or self.refusal is None):
            told = f"The call was ended: {call.abandoned or self.ended}."
            if charged:
                raise MaybeBilled(f"{told} It may have been billed in part, and a repeat may be billed again.")
            raise Unavailable(f"{told} Nothing was billed.", retry_after=1)
        if self.refusal is not None:
            if charged:
                # A repeat would be billed for these once more.
                self.refusal.headers["x-should-retry"] = "false"
            return self._as_one(self.refusal, self.refusal.body)
        told_last = self.answers[len(self.answers) - 1]
        bodies = [bytes(self.answers[place].body) for place in range(len(self.answers))]
        if sum(map(len, bodies)) <= OFF_LOOP:
            return self._as_one(told_last, self.divided.joined(bodies))
        try:
            joined = await asyncio.to_thread(self.divided.joined, bodies)
        except asyncio.CancelledError:
            if not call.was_ended():
                raise
            raise MaybeBilled(f"The call was ended: {call.abandoned}. A repeat would be billed again.") from None
        return self._as_one(told_last, joined)

    def leave(self) -> None:
        """Note that the caller has gone."""
        call = self.call
        call.left = self.over = True
        if call.deadline is not None:
            # Nobody waits for it any more: its parts have the time of answers that are read on.
            call.deadline.cancel()
        for _, part in self._under_way.values():
            call.gateway.leaving.leave(part)

    def _at_once(self) -> int:
        """Return how many parts may be under way at once."""
        limits = [limit.parallel for _, limit in restraints_of(self.call).limits if limit.parallel is not None]
        largest = max(len(part.body) for part in self.divided.parts)
        return max(1, min([AT_ONCE, AT_ONCE_BYTES // max(1, largest), *limits]))

    def _begin(self, translation: Translation) -> None:
        whole, gateway = self.call, self.call.gateway
        part = Call(
            gateway=gateway,
            snapshot=whole.snapshot,
            id=gateway.new_id() if self.begun else whole.id,
            method=whole.method,
            raw_target=whole.raw_target,
            headers=whole.headers,
            arrived=time.monotonic(),
            started_at=gateway.clock.admitted_ms(),
            caller=whole.caller,
            # The body is held by the whole call for as long as it lasts.
            ticket=gateway.bodies.ticket(),
            speech=whole.speech,
            translation=translation,
            part=True,
        )
        request = self.request.clone()
        request[CALL] = part
        gateway.calls.add(part)
        part.task = task = asyncio.create_task(dialect(request, self.handler))
        task.add_done_callback(functools.partial(_settled, part))
        self._under_way[task] = self.begun, part
        self.begun += 1

    async def _some(self) -> None:
        """Wait until a part has ended."""
        call = self.call
        try:
            done, _ = await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if not call.was_ended():
                raise
            self.over = True
            for _, part in self._under_way.values():
                part.overdue = call.overdue
                call.gateway.leaving.abandon(part, call.abandoned)
            return
        for task in done:
            place, part = self._under_way.pop(task)
            part.task = None
            self.attempts += part.attempts
            self.spends.append(part.spend)
            if task.cancelled():
                self.over, self.ended = True, part.abandoned
                continue
            answer = task.result()
            assert isinstance(answer, WholeAnswer)
            if answer.status == 200:
                self.answers[place] = answer
            elif self.refusal is None:
                self.refusal = answer
                self._refused()

    def _refused(self) -> None:
        """End what was not sent yet; what was is billed, so it is read to its end."""
        self.over = True
        for _, part in self._under_way.values():
            if part.attempt is None or not part.attempt.sent:
                self.call.gateway.leaving.abandon(part, "another part of the request was refused")

    def _as_one(self, answer: WholeAnswer, body: bytes | bytearray) -> WholeAnswer:
        """Return an answer of a part as that of the whole call."""
        call = self.call
        headers = answer.headers
        for name in _OF_ONE:
            headers.popall(name, None)
        headers["x-bedrock-gateway-call-id"] = call.id
        headers["x-bedrock-gateway-parts"] = str(self.begun)
        headers["x-bedrock-gateway-attempts"] = str(self.attempts)
        headers.popall("x-bedrock-gateway-spend-usd", None)
        spends = [spend for spend in self.spends if spend is not None]
        known = len(spends) == self.begun
        if known:
            headers["x-bedrock-gateway-spend-usd"] = usd(sum(spends))
        if call.snapshot.litellm_headers:
            headers["x-litellm-call-id"] = call.id
            headers.popall("x-litellm-response-cost", None)
            if known:
                name, cost = response_cost(sum(spends))
                headers[name] = cost
        return WholeAnswer(answer.status, headers.items(), body)


def _settled(part: Call, task: asyncio.Task[web.StreamResponse]) -> None:
    """See that a part is settled also where its task was cancelled before its first step."""
    if part in part.gateway.calls:
        settle(part)
