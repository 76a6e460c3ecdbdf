"""Callers that leave before the end. AWS bills the whole answer in any case, so by default it is read on to AWS's own
usage.

How much is read on is bounded: so many answers for one caller, so many in all, and so long for one; over a bound the
oldest is closed and booked as an estimate. The way of telling a call that it is over is to cancel its task, with the
reason in ``call.abandoned``.
"""

from __future__ import annotations

import asyncio

import attrs

from bedrock_gateway.access.callers import OnLeave
from bedrock_gateway.chain.call import Call
from bedrock_gateway.chain.following import keep
from bedrock_gateway.errors import MaybeBilled, Refusal, Unavailable
from bedrock_gateway.metering.states import State

__all__ = ["Leaving", "ended"]

#: Answers read on at once for callers that left, over all callers.
MAX_DRAINS = 64
#: Seconds one answer is read on at most.
MAX_DRAIN_SECONDS = 900.0


@attrs.define(eq=False, kw_only=True)
class Leaving:
    """Answers that are read on, oldest first."""

    max_drains: int = MAX_DRAINS
    max_seconds: float = MAX_DRAIN_SECONDS
    _drains: dict[Call, asyncio.TimerHandle] = attrs.field(factory=dict, init=False)

    def leave(self, call: Call) -> None:
        """Note that the caller of ``call`` has gone, and decide what becomes of the upstream side."""
        if call.left:
            return
        call.left = True
        if call.admission is not None:
            call.admission.left()
        if call.recorded:
            # All is booked; what was still to be passed on goes nowhere, or to a repeat.
            keep(call)
            return
        attempt = call.attempt
        if call.caller is None or attempt is None or not attempt.sent:
            # Nothing is under way, so nothing will be billed: neither now nor for another attempt.
            self.abandon(call, "caller left before anything was sent")
        elif attempt.closed:
            self.abandon(call, "caller left between two attempts")
        elif call.caller.policy.on_leave is OnLeave.ABORT:
            self.abandon(call, "caller left")
        else:
            self._drain(call)

    def abandon(self, call: Call, reason: str) -> None:
        """End a call now; what it has seen so far is booked."""
        if not call.abandoned and call.task is not None:
            call.abandoned = reason
            call.task.cancel()

    def done(self, call: Call) -> None:
        """Forget a call that has ended."""
        timer = self._drains.pop(call, None)
        if timer is not None:
            timer.cancel()

    @property
    def draining(self) -> int:
        """Answers read on right now."""
        return len(self._drains)

    def _drain(self, call: Call) -> None:
        assert call.caller is not None
        mine = [other for other in self._drains if other.caller is not None and other.caller.id == call.caller.id]
        # Where none at all may be read on, the oldest is this one.
        if len(mine) >= call.caller.policy.max_drains:
            self._close(mine[0] if mine else call, "caller left; its limit of answers read on was reached")
        elif len(self._drains) >= self.max_drains:
            self._close(next(iter(self._drains), call), "caller left; the limit of answers read on was reached")
        if call.abandoned:
            return
        if call.deadline is not None:
            # Nobody waits for it any more: it has the time of an answer that is read on.
            call.deadline.cancel()
        if call.place is not None:
            call.place.decided(answered=True)
        loop = asyncio.get_running_loop()
        self._drains[call] = loop.call_later(self.max_seconds, self._close, call, "caller left; read on for too long")
        keep(call)

    def _close(self, call: Call, reason: str) -> None:
        self.done(call)
        self.abandon(call, reason)


def ended(call: Call) -> Refusal:
    """Return what a caller is answered whose call was ended before anything of an answer went downstream."""
    attempt = call.attempt
    if attempt is not None and attempt.sent and attempt.state is not State.REFUSED:
        return MaybeBilled(
            f"The call was ended: {call.abandoned}. It may have been billed, and a repeat may be billed again."
        )
    return Unavailable(f"The call was ended: {call.abandoned}. Nothing was billed.", retry_after=1)
