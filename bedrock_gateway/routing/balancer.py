"""Which deployment a call is sent to, and what is learnt from how it went.

The one mutable thing of this room, with the standings it holds. Knows no caller, no body and no clock: chance is handed
in once, time with each question. Nothing here waits, so between looking and taking nobody else takes.

A call gets a ``Plan``: candidates one after another, each once, tier by tier. Each choice is a ``Use``, which counts as
a call under way and against the deployment's own limits until it is ended.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence

import attrs

from bedrock_gateway.access.limits import Limiter, OverLimit, Taken
from bedrock_gateway.routing.affinities import Affinities
from bedrock_gateway.routing.deployments import Deployment
from bedrock_gateway.routing.health import Health
from bedrock_gateway.routing.resolutions import Resolution
from bedrock_gateway.routing.rules import RoutingRules, Strategy
from bedrock_gateway.routing.standings import Standing, Usage
from bedrock_gateway.routing.strategies import Pool
from bedrock_gateway.routing.verdicts import Cools, Verdict

__all__ = ["Balancer", "Plan", "Use"]

#: Standings and pools kept; raw ids and wildcards make new ones without end.
MOST_STANDINGS, MOST_POOLS = 8192, 4096
#: Calls a session's deployment may have under way beyond twice those of another one, before the session spreads.
SPREAD_AFTER = 4
#: Seconds between two looks at what has to be done now and then.
TIDY_EVERY = 60.0
#: Size of an answer beside its tokens, in tokens: what it takes before the first.
TOKENS_OF_NOTHING = 50


class Use:
    """One attempt's place on a deployment, until ``Balancer.end``."""

    __slots__ = ("at", "deployment", "ended", "estimate", "failed", "row", "standing", "stream", "taken", "told")

    def __init__(
        self, deployment: Deployment, standing: Standing, taken: Taken | None, stream: bool, estimate: float, at: float
    ) -> None:
        self.deployment = deployment
        self.standing = standing
        self.taken = taken
        self.stream = stream
        self.estimate = estimate  # tokens, in ``Standing.used`` since ``at``
        self.at = at
        self.told = False  # health knows how it went
        self.row = 0  # failures in a row that its answer ended
        self.failed = False
        self.ended = False


class Plan:
    """The way of one call through its candidates.

    Attributes:
        over: the limit with room first, of those of the deployments that were passed over, and over_on: whose it is;
            None where none was.
    """

    __slots__ = (
        "_balancer",
        "_given",
        "_more",
        "_pools",
        "_session",
        "_stream",
        "_tokens",
        "_tried",
        "over",
        "over_on",
    )

    def __init__(
        self,
        balancer: Balancer,
        pools: Sequence[Pool],
        stream: bool,
        tokens: int,
        session: Hashable | None,
        more: bool,
    ) -> None:
        self._balancer = balancer
        self._pools = pools
        self._stream = stream
        self._tokens = tokens
        self._session = session
        self._more = more
        self._tried: tuple[Standing, ...] = ()
        self._given = more
        self.over: OverLimit | None = None
        self.over_on: Deployment | None = None

    def next(self, now: float) -> Use | None:
        """Return the next candidate, with its place taken; None where none is left.

        Where none at all is free, and there is nobody else to ask, the one that comes free first is given all the same,
        once: refusing what AWS might answer helps nobody. One at a limit of its own is never given.
        """
        balancer = self._balancer
        troubled, tried = balancer.health.troubled, self._tried
        for pool in self._pools:
            members: Sequence[Standing] = pool.members
            if tried or troubled:
                available = balancer.health.available
                free = [one for one in members if one not in tried and (one not in troubled or available(one, now))]
                if not free:
                    continue
                if len(free) < len(members):
                    members = free
            use = self._choose(pool, members, now)
            if use is not None:
                return use
        if not self._given:
            return self._last_resort(now)
        return None

    def refused(self) -> None:
        """Take back that a candidate was given: its own budget has no room for the call, so it was none."""
        self._given = self._more

    def again(self, use: Use, now: float) -> Use | None:
        """Return another place on the deployment of an attempt that has ended; None where it is at a limit."""
        pool = next(pool for pool in self._pools if use.standing in pool.deployments)
        return self._take(pool, use.standing, now)

    def others(self, standing: Standing, now: float) -> bool:
        """Tell whether anybody else can be asked."""
        if self._more:
            return True
        health = self._balancer.health
        return any(one is not standing and health.available(one, now) for pool in self._pools for one in pool.members)

    def _choose(self, pool: Pool, free: Sequence[Standing], now: float) -> Use | None:
        balancer = self._balancer
        while free:
            if len(free) == 1:
                chosen = free[0]
            else:
                knows = None if self._session is None else self._where_it_was(pool, free, now)
                if knows is not None and knows.in_flight <= SPREAD_AFTER:
                    chosen = knows  # as busy as the others may be
                else:
                    chosen = pool.pick(pool, free, self._stream, now, balancer.random)
                    if knows is not None and knows.in_flight <= 2 * chosen.in_flight + SPREAD_AFTER:
                        chosen = knows
            use = self._take(pool, chosen, now)
            if use is not None:
                return use
            free = [one for one in free if one is not chosen]
        return None

    def _where_it_was(self, pool: Pool, free: Sequence[Standing], now: float) -> Standing | None:
        """Return the least busy free deployment that knows the session, None where none does."""
        seen = self._balancer.affinities.seen(self._session, now)
        among = pool.deployments if free is pool.members else free
        warm = [one for one in reversed(seen) if one in among]
        return min(warm, key=_in_flight) if warm else None

    def _take(self, pool: Pool, standing: Standing, now: float) -> Use | None:
        balancer = self._balancer
        taken = None
        if standing.limit is not None:
            try:
                taken = balancer.limiter.take(((standing.name, standing.limit),), self._tokens, now)
            except OverLimit as over:
                if self.over is None or over.retry_after < self.over.retry_after:
                    self.over, self.over_on = over, pool.deployments[standing]
                self._tried += (standing,)
                return None
        self._given = True
        self._tried += (standing,)
        estimate = 0.0
        if balancer.counts_usage:
            estimate = standing.mean_tokens
            standing.used += estimate * balancer.usage.weight(now)
        standing.in_flight += 1
        use = Use(pool.deployments[standing], standing, taken, self._stream, estimate, now)
        if standing.tripped and standing.until <= now and standing.probing is None:
            standing.probing = use
        if self._session is not None:
            balancer.affinities.note(self._session, standing, now)
        return use

    def _last_resort(self, now: float) -> Use | None:
        health = self._balancer.health
        left = [
            (health.wait(one, now), number, pool, one)
            for number, pool in enumerate(self._pools)
            for one in pool.members
            if one not in self._tried
        ]
        left.sort(key=lambda found: found[:2])
        for _, _, pool, standing in left:
            use = self._take(pool, standing, now)
            if use is not None:
                return use
        return None


@attrs.define(eq=False, kw_only=True)
class Balancer:
    """Standings of all deployments, and the rules they are chosen by.

    Attributes:
        rules: the operator's.
        health: who is left out.
        random: gives a number in [0, 1).
        rate: what a deployment's tokens cost, by any measure; None where not known.
    """

    rules: RoutingRules
    health: Health
    random: Callable[[], float]
    rate: Callable[[Deployment], float | None]
    limiter: Limiter = attrs.field(factory=Limiter)
    #: Called when a place with a limit has come free.
    on_room: Callable[[], None] | None = attrs.field(default=None, init=False)
    usage: Usage = attrs.field(factory=Usage, init=False)
    #: Whether tokens of late are kept; else nobody asks for them.
    counts_usage: bool = attrs.field(init=False)
    _samples: int = attrs.field(init=False)
    affinities: Affinities = attrs.field(init=False)
    _tidy_at: float = attrs.field(default=0.0, init=False)
    _standings: dict[tuple[str, str], Standing] = attrs.field(factory=dict, init=False)
    _pools: dict[Resolution, tuple[Pool, ...]] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        """Make what follows from the rules."""
        self.affinities = Affinities(self.rules.affinity_seconds)
        self.counts_usage = self.rules.strategy is Strategy.USAGE
        self._samples = self.rules.latency_samples if self.rules.strategy is Strategy.LATENCY else 0

    def plan(
        self,
        resolution: Resolution,
        *,
        now: float,
        stream: bool,
        tokens: int = 0,
        session: Hashable | None = None,
        more: bool = False,
    ) -> Plan:
        """Return the way of a call through the deployments of a resolution.

        Args:
            tokens: it is estimated at, for limits on tokens.
            session: calls with the same are kept on one deployment; None where nothing keeps them.
            more: other groups can be asked instead.
        """
        pools = self._pools.get(resolution)
        if pools is None:
            pools = self._lay_out(resolution, now)
        if now >= self._tidy_at:
            self._tidy(now)
        return Plan(self, pools, stream, tokens, session, more)

    def answered(self, use: Use, seconds: float, now: float, *, tokens: int = 0) -> None:
        """Learn from an answer: that it came, and after how many seconds (a stream's first byte, else the whole).

        Args:
            tokens: of a whole answer.
        """
        standing = use.standing
        standing.answered(use.stream, seconds if use.stream else seconds / (TOKENS_OF_NOTHING + tokens), now)
        self.well(use, now)

    def well(self, use: Use, now: float) -> None:
        """Learn that a deployment answers, be it with a refusal that is the caller's business."""
        if use.told:
            return
        use.told = True
        standing = use.standing
        standing.answers += 1
        use.row = self.health.well(standing, now)

    def failed(self, use: Use, verdict: Verdict, plan: Plan, now: float, *, retry_after: float | None = None) -> None:
        """Learn from a failure, as the retry table says."""
        standing = use.standing
        if verdict.cools is Cools.NO:
            self.well(use, now)
            return
        if use.failed:
            return
        row = use.row if use.told else None
        use.told = use.failed = True
        standing.failures += 1

        def others() -> bool:
            return plan.others(standing, now)

        if verdict.cools is Cools.MODEL:
            self.health.mark_model(standing, verdict.name, now, others=others)
            return
        if verdict.same_again:
            standing.throttles(now)
        certain = verdict.cools is Cools.AT_ONCE
        self.health.failed(
            standing, verdict.name, now, others=others, certain=certain, retry_after=retry_after, row=row
        )

    def end(self, use: Use, tokens: int, now: float, *, sent: bool = True) -> None:
        """End an attempt's place; the second time this does nothing.

        Args:
            tokens: it came to.
            sent: whether upstream may have got any of it.
        """
        if use.ended:
            return
        use.ended = True
        standing = use.standing
        standing.in_flight -= 1
        if self.counts_usage:
            standing.used += tokens * self.usage.weight(now) - use.estimate * self.usage.weight(use.at)
        if tokens:
            standing.mean_tokens += 0.1 * (tokens - standing.mean_tokens)
        if standing.probing is use:
            # It has not answered: the next call tries.
            standing.probing = None
        if use.taken is not None:
            if sent:
                use.taken.settle(tokens, now)
                use.taken.release()
            else:
                use.taken.cancel(now)
            if self.on_room is not None:
                self.on_room()

    def standing(self, deployment: Deployment) -> Standing:
        """Return what is known of a deployment."""
        key = deployment.id, deployment.model_id
        known = self._standings.get(key)
        if known is None:
            known = self._standings[key] = Standing(deployment, self.rules.max_parallel, self._samples)
        elif known.deployment is not deployment:
            known.of(deployment, self.rules.max_parallel)
        return known

    def standings(self) -> Iterator[Standing]:
        """Yield everything that is known of deployments that were asked for."""
        return iter(self._standings.values())

    def _lay_out(self, resolution: Resolution, now: float) -> tuple[Pool, ...]:
        if len(self._pools) >= MOST_POOLS:
            self._pools.clear()
        if len(self._standings) + len(resolution.deployments()) > MOST_STANDINGS:
            self._forget(now)
        pools = []
        for tier in resolution.candidates:
            # A weight of 0 means last resort, whichever way the others are chosen.
            for part in ([one for one in tier if one.weight != 0], [one for one in tier if one.weight == 0]):
                if part:
                    pools.append(Pool(part, [self.standing(one) for one in part], self.rules, self.rate))
        self._pools[resolution] = tuple(pools)
        return self._pools[resolution]

    def _forget(self, now: float) -> None:
        """Forget idle standings; pools may hold them and are laid out anew.

        Those left out are kept if they are not too many: each name that is nowhere found leaves one behind.
        """
        self._pools.clear()
        troubled = self.health.troubled
        for kept in (troubled, {one for one in troubled if one.cooling > now}, ()):
            left = {key: one for key, one in self._standings.items() if one.in_flight or one in kept}
            if len(left) <= MOST_STANDINGS // 2:
                break
        self._standings = left
        troubled.intersection_update(left.values())

    def _tidy(self, now: float) -> None:
        """Do what has to be done now and then."""
        self._tidy_at = now + TIDY_EVERY
        self.health.tidy(now)
        if now - self.usage.since > Usage.LONGEST:
            self._rescale(now)

    def _rescale(self, now: float) -> None:
        """Begin counting usage anew, so that weights stay numbers."""
        scale = 1.0 / self.usage.weight(now)
        for standing in self._standings.values():
            standing.used *= scale
        self.usage.since = now


def _in_flight(standing: Standing) -> int:
    return standing.in_flight
