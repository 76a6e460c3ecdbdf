"""The deployments of one call, one after another: of its group, then of the groups that are named for when that fails.

Between ``routing``, which chooses, and ``fail_over``, which tries: here stands what choosing needs of a call (whom it
sticks with, what it holds of a deployment's own budget) and what the caller is told where nothing can be chosen.
"""

from __future__ import annotations

import re
import time
from collections.abc import Hashable

import attrs

from bedrock_gateway.access.budgets import Reservation
from bedrock_gateway.chain.bounds import estimated_tokens, measure
from bedrock_gateway.chain.call import Admission, Call
from bedrock_gateway.chain.reserving import hold
from bedrock_gateway.chain.sessions import read_prefix, session_of, wants_prefix
from bedrock_gateway.errors import Refusal, Throttled, UnknownModel
from bedrock_gateway.routing.balancer import Plan, Use
from bedrock_gateway.routing.resolutions import Resolution, kinds, of_kind
from bedrock_gateway.routing.rules import TagRules
from bedrock_gateway.routing.tags import tagged

__all__ = ["Candidates"]

_SDK_ATTEMPT = re.compile(r"attempt=([0-9]{1,9})")
_REPEATS = re.compile(r"0*[1-9][0-9]*")
_LIMITS = {"requests": "rpm", "tokens": "tpm", "parallel": "max_parallel_requests"}


@attrs.define(eq=False)
class Candidates:
    """The way of one call from deployment to deployment.

    Attributes:
        call: the call.
        every: the groups it may go to, in order; at: which of them is tried now.
        tokens: it is estimated at, for limits on tokens.
        hop: how many groups were left behind; first: number of the first attempt on the present one.
        alone: the SDK repeats by itself, so one attempt is all there is.
    """

    call: Call
    every: tuple[Resolution, ...]
    alone: bool
    at: int = 0
    tokens: int = 0
    hop: int = 0
    first: int = 1
    _plan: Plan | None = None
    _longer: bool = False

    @classmethod
    def of(cls, call: Call) -> Candidates:
        """Return the candidates of a call.

        Raises:
            UnknownModel: no deployment serves its tags.
        """
        resolution, tags = call.resolution, call.gateway.balancer.rules.tags
        assert resolution is not None
        every = (resolution, *call.fallbacks) if call.fallbacks else (resolution,)
        if tags is not None:
            every = (tagged(resolution, call.tags, tags), *_tagged(call.fallbacks, call.tags, tags))
            call.longer = _tagged(call.longer, call.tags, tags)
        if not resolution.lone and call.words_of_one:
            first = every[0]
            # What came in another dialect is in the words of the first model that its name leads to, with any tags.
            words = kinds(first if call.translation is None else resolution)[0]
            every = (of_kind(first, words) or first, *every[1:])
        return cls(call, every, _repeated(call))

    @property
    def whom(self) -> Hashable:
        """What calls have in common that wait for the same deployments, also after the table has changed."""
        return tuple((deployment.id, deployment.model_id) for group in self.every for deployment in group.deployments())

    @property
    def plain(self) -> bool:
        """Whether there is one group, and nothing has to be read or held before its first deployment is chosen."""
        if len(self.every) > 1 or self.call.longer:
            return False
        resolution = self.every[0]
        if resolution.budgeted or resolution.limits_tokens:
            return False
        return resolution.lone or not wants_prefix(self.call, resolution)

    async def read(self) -> None:
        """Read what of the body choosing needs.

        Raises:
            InvalidRequest: it cannot be read for what it asks for, and a limit on tokens needs it.
        """
        call = self.call
        for resolution in (*self.every, *call.longer):
            if resolution.limits_tokens and not self.tokens:
                if call.admission is None:
                    call.admission = Admission(charges=())
                await measure(call, call.admission)
                self.tokens = estimated_tokens(call, call.admission)
            if not resolution.lone and wants_prefix(call, resolution):
                await read_prefix(call)

    @property
    def plan(self) -> Plan:
        """The deployments of the present group, in their order."""
        if self._plan is None:
            call, resolution = self.call, self.resolution
            assert call.target is not None
            self._plan = call.gateway.balancer.plan(
                resolution,
                now=time.monotonic(),
                stream=call.target.operation.stream_out,
                tokens=self.tokens,
                session=None if resolution.lone else session_of(call, resolution),
                more=self.more,
            )
        return self._plan

    @property
    def resolution(self) -> Resolution:
        """The group that is tried now."""
        return self.every[self.at]

    @property
    def more(self) -> bool:
        """Whether another group is left."""
        return self.at + 1 < len(self.every)

    async def choose(self) -> tuple[Use, Reservation | None]:
        """Return the first place to try, with what is held of the deployment's own budget.

        Raises:
            Throttled: every deployment is at a limit of its own.
            BudgetExhausted, AccessDenied, InvalidRequest, Unavailable: none has room in its own budget, or in none it
                can be told; said of the last one.
        """
        refused: Refusal | None = None
        while True:
            use = self.plan.next(time.monotonic())
            if use is None:
                full = self._at_their_limits()
                if refused is None or (full and isinstance(refused, Throttled) and _sooner(full, refused)):
                    refused = full
                if not self.fall_back():
                    assert refused is not None, "of the last group one is given, or passed over for its limit"
                    raise refused
                continue
            if use.deployment.budget is None:
                return use, None
            try:
                return use, await self._hold(use)
            except Refusal as refusal:
                refused = refusal

    async def next(self) -> tuple[Use, Reservation | None] | tuple[None, None]:
        """Return the next place on the present group, as ``choose``; nothing where none is left."""
        while (use := self.plan.next(time.monotonic())) is not None:
            if use.deployment.budget is None:
                return use, None
            try:
                return use, await self._hold(use)
            except Refusal:
                continue
        return None, None

    async def again(self, use: Use, held: Reservation | None) -> tuple[Use, Reservation | None] | tuple[None, None]:
        """Return another place on the deployment of an attempt that failed; nothing where it has no room.

        Args:
            held: what the attempt holds of the deployment's own budget, enough for another one.
        """
        # Its own place is free by now: a limit of one call at once is not to keep it from itself.
        self.call.gateway.balancer.end(use, 0, time.monotonic())
        again = self.plan.again(use, time.monotonic())
        if again is None:
            return None, None
        if held is not None:
            return again, held
        try:
            return again, await self._hold(again)
        except Refusal:
            return None, None

    def fall_back(self) -> bool:
        """Go on to the next group; tell whether there is one."""
        if not self.more:
            return False
        self.at += 1
        self.hop += 1
        self.first = self.call.attempts + 1
        self._plan = None
        return True

    def fall_back_to(self, others: tuple[Resolution, ...]) -> bool:
        """Go on to other groups than those that are left, once; tell whether there are any."""
        if not self._longer:
            self._longer, self.every = True, (*self.every[: self.at + 1], *others)
        return self.fall_back()

    def restart(self) -> None:
        """Begin again with the first group: time has passed."""
        self.at = self.hop = 0
        self.first = self.call.attempts + 1
        self._plan = None

    async def _hold(self, use: Use) -> Reservation | None:
        """Hold what the call can cost in a deployment's own budget; its place is given back where that fails."""
        try:
            return await hold(self.call, use.deployment)
        except BaseException:
            self.call.gateway.balancer.end(use, 0, time.monotonic(), sent=False)
            self.plan.refused()
            raise

    def _at_their_limits(self) -> Throttled | None:
        """Return what to tell where deployments were passed over because of their limits."""
        over = self.plan.over
        if over is None:
            return None
        on = self.plan.over_on
        assert on is not None
        return Throttled(
            f"Every deployment of {self.call.asked!a} is at a limit of its own. {on.name} has room first: at its "
            f"{_LIMITS[over.kind]} of {over.limit} now, again in {over.retry_after} s.",
            retry_after=over.retry_after,
            at=f"{over.name}: {over.kind}",
        )


def _repeated(call: Call) -> bool:
    """Tell whether an SDK says that it asks again for what it has asked before: AWS's, or OpenAI's and Anthropic's."""
    headers = call.headers
    if (sdk := headers.get("amz-sdk-request")) is not None:
        attempt = _SDK_ATTEMPT.search(sdk)
        return attempt is not None and int(attempt[1]) > 1
    repeats = headers.get("x-stainless-retry-count")
    return repeats is not None and _REPEATS.fullmatch(repeats) is not None


def _sooner(one: Throttled, other: Throttled) -> bool:
    return (one.retry_after or 0) < (other.retry_after or 0)


def _tagged(hops: tuple[Resolution, ...], tags: tuple[str, ...], rules: TagRules) -> tuple[Resolution, ...]:
    """Return what of other groups serves a call with these tags."""
    found = []
    for hop in hops:
        try:
            found.append(tagged(hop, tags, rules))
        except UnknownModel:
            continue
    return tuple(found)
