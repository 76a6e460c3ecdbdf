"""A balancer against an oracle that remembers every use: any interleaving of plans, choices, outcomes and time."""

from __future__ import annotations

import random
from math import isfinite

import attrs
from deployment_makers import group, make
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from bedrock_gateway.routing.balancer import Balancer, Plan, Use
from bedrock_gateway.routing.deployments import Deployment
from bedrock_gateway.routing.health import Health
from bedrock_gateway.routing.resolutions import Resolution
from bedrock_gateway.routing.rules import RoutingRules, Strategy
from bedrock_gateway.routing.standings import LEAST_SHARE, Standing
from bedrock_gateway.routing.verdicts import CUT, DENIED, INTERNAL, LOST, NO_CREDENTIALS, REFUSED, THROTTLED

A = make("a", rpm=3, max_parallel=2)
B = make("b", max_parallel=4)
C = make("c", tpm=100, cooldown_time=20)
D = make("d", weight=0)
E = make("e", weight=2, rpm=5, tpm=300)
GROUPS = (group((A, B, C, D)), group((A, B), (D, C)), group((E, B)), group((A,)), group((D, E), (C,)))
#: Seconds, as floats add them up without rounding.
WAITS = (0.0, 0.25, 1.0, 4.75, 5.0, 10.0, 30.0, 60.0, 61.0, 300.0, 20_000.0)
#: Which of several, the newest first.
which = st.integers(0, 40)
#: What the limiter may be stricter by: it keeps stretches of a second.
STRICTER = 1.0
VERDICTS = {one.name: one for one in (THROTTLED, INTERNAL, LOST, CUT, DENIED, NO_CREDENTIALS, REFUSED)}


@attrs.define(eq=False)
class Event:
    """What counts under a deployment from a moment on."""

    at: float
    requests: int
    tokens: int


@attrs.define(eq=False)
class Asked:
    """One plan as the oracle sees it."""

    plan: Plan
    resolution: Resolution
    tokens: int
    more: bool
    passed: set[Standing] = attrs.field(factory=set)  # given, or at a limit when it was their turn
    given: bool = False


@attrs.define(eq=False)
class Used:
    """One use as the oracle sees it; until: the deadline after which it is the one that tries, if it is."""

    use: Use
    asked: Asked
    event: Event
    until: float | None
    ended: bool = False


class Balancing(RuleBasedStateMachine):
    """A balancer, and every use there ever was."""

    @initialize(
        strategy=st.none() | st.sampled_from(Strategy),
        cooldown_time=st.sampled_from([0.0, 5.0, 400.0]),
        allowed_fails=st.none() | st.integers(0, 2),
        begin=st.sampled_from([0.0, 4711.25, 9_999_999.5]),
    )
    def begin(self, strategy: Strategy | None, cooldown_time: float, allowed_fails: int | None, begin: float) -> None:
        """Begin with nothing known, at any reading of a clock."""
        self.now = begin
        self.health = Health(cooldown_time=cooldown_time, allowed_fails=allowed_fails)
        self.balancer = Balancer(
            rules=RoutingRules(strategy=strategy, affinity_seconds=100),
            health=self.health,
            random=random.Random(3).random,
            rate=lambda deployment: {"a": 1.0, "b": 2.0, "c": 2.0}.get(deployment.name),
        )
        self.plans: list[Asked] = []
        self.uses: list[Used] = []
        self.events: dict[Standing, list[Event]] = {}

    def tiers(self, resolution: Resolution) -> list[list[Standing]]:
        """Return the standings of a group, what is last of a tier after it."""
        found = []
        for tier in resolution.candidates:
            for last in (False, True):
                found.append([self.balancer.standing(one) for one in tier if (one.weight == 0) is last])
        return found

    def has_room(self, standing: Standing, tokens: int, seconds: float = 60.0) -> bool:
        """Tell whether a call fits under the limits of a deployment, where what is taken counts for so long."""
        deployment = standing.deployment
        events = [event for event in self.events.get(standing, ()) if event.at + seconds > self.now]
        if deployment.rpm is not None and sum(event.requests for event in events) >= deployment.rpm:
            return False
        if deployment.max_parallel is not None and self.under_way(standing) >= deployment.max_parallel:
            return False
        if deployment.tpm is None or not tokens:
            return True
        return sum(event.tokens for event in events) + min(tokens, deployment.tpm) <= deployment.tpm

    def under_way(self, standing: Standing) -> int:
        """Return how many uses of a deployment have not ended."""
        return sum(used.use.standing is standing and not used.ended for used in self.uses)

    def took(self, use: Use, asked: Asked, until: float | None) -> None:
        """Remember a use, whose deployment's limits are not exceeded by it."""
        standing = use.standing
        assert use.deployment is standing.deployment
        assert self.has_room(standing, asked.tokens)
        tpm = use.deployment.tpm
        event = Event(self.now, 1, asked.tokens if tpm is None else min(asked.tokens, tpm))
        self.events.setdefault(standing, []).append(event)
        self.uses.append(Used(use, asked, event, until))
        asked.passed.add(standing)
        asked.given = True

    @rule(seconds=st.sampled_from(WAITS))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    @rule(
        number=st.integers(0, len(GROUPS) - 1),
        stream=st.booleans(),
        tokens=st.sampled_from([0, 0, 40, 100, 500]),
        session=st.none() | st.sampled_from("st"),
        more=st.booleans(),
    )
    def plan(self, number: int, stream: bool, tokens: int, session: str | None, more: bool) -> None:
        """Begin a call."""
        resolution = GROUPS[number]
        plan = self.balancer.plan(resolution, now=self.now, stream=stream, tokens=tokens, session=session, more=more)
        self.plans.append(Asked(plan, resolution, tokens, more))

    @precondition(lambda self: self.plans)
    @rule(which=which, times=st.integers(1, 3))
    def next(self, which: int, times: int) -> None:
        """Ask any plan for the next candidates."""
        asked = self.plans[-1 - which % len(self.plans)]
        for _ in range(times):
            self.ask(asked)

    def ask(self, asked: Asked) -> None:
        """Ask a plan once: what it gives comes before what else was free, and is neither at a limit nor left out."""
        left = [[one for one in tier if one not in asked.passed] for tier in self.tiers(asked.resolution)]
        free = [[one for one in tier if self.health.available(one, self.now)] for tier in left]
        surely = [[one for one in tier if self.has_room(one, asked.tokens, 60.0 + STRICTER)] for tier in free]
        perhaps = [[one for one in tier if self.has_room(one, asked.tokens)] for tier in free]
        turns = [one for tier in left for one in tier]
        use = asked.plan.next(self.now)
        # Whoever has no room is passed over for good.
        asked.passed.update(asked.plan._tried)
        if use is None:
            assert [] == [one for tier in surely for one in tier]
            if not (asked.given or asked.more):
                assert [] == [one for one in turns if self.has_room(one, asked.tokens, 60.0 + STRICTER)]
                assert asked.plan.over is not None
            return

        standing = use.standing
        assert standing in turns
        number = next((number for number, tier in enumerate(perhaps) if standing in tier), None)
        if number is None:
            assert not (asked.given or asked.more)
            assert [] == [one for tier in surely for one in tier]
            waits = [self.health.wait(one, self.now) for one in turns if self.has_room(one, asked.tokens, 61.0)]
            assert self.health.wait(standing, self.now) <= min(waits, default=standing.until)
        else:
            assert [] == [one for tier in surely[:number] for one in tier]
        tries = number is not None and standing.tripped
        if tries:
            assert [] == [
                used
                for used in self.uses
                if used.use.standing is standing and used.until == standing.until and not used.ended
            ]
        self.took(use, asked, standing.until if tries else None)

    @precondition(lambda self: self.uses)
    @rule(which=which)
    def again(self, which: int) -> None:
        """Ask for the same deployment again, the use before having ended."""
        used = self.uses[-1 - which % len(self.uses)]
        self.finish(used, 0, True)
        surely = self.has_room(used.use.standing, used.asked.tokens, 60.0 + STRICTER)
        use = used.asked.plan.again(used.use, self.now)
        if use is None:
            assert not surely
            return
        assert use.standing is used.use.standing
        self.took(use, used.asked, use.standing.until if use.standing.probing is use else None)

    @precondition(lambda self: any(not used.ended for used in self.uses))
    @rule(which=which, seconds=st.sampled_from([0.0, 0.5, 30.0]), tokens=st.integers(0, 200))
    def answered(self, which: int, seconds: float, tokens: int) -> None:
        """Have a use be answered."""
        under_way = [used for used in self.uses if not used.ended]
        used = under_way[-1 - which % len(under_way)]
        self.balancer.answered(used.use, seconds, self.now, tokens=tokens)

    @precondition(lambda self: any(not used.ended for used in self.uses))
    @rule(
        which=which,
        verdict=st.sampled_from(list(VERDICTS)),
        retry_after=st.sampled_from([None, None, 0.0, 2.0, 30.0, 86_400.0]),
        ends=st.booleans(),
    )
    def failed(self, which: int, verdict: str, retry_after: float | None, ends: bool) -> None:
        """Have a use fail, be it after it was answered; its place may be given back later."""
        under_way = [used for used in self.uses if not used.ended]
        used = under_way[-1 - which % len(under_way)]
        standing = used.use.standing
        before = {one: self.health.wait(one, self.now) for one in self.balancer.standings()}
        others = used.asked.plan.others(standing, self.now)
        self.balancer.failed(used.use, VERDICTS[verdict], used.asked.plan, self.now, retry_after=retry_after)
        after = {one: self.health.wait(one, self.now) for one in self.balancer.standings()}

        assert all(after[one] == before[one] if one is not standing else after[one] >= before[one] for one in before)
        if VERDICTS[verdict] is REFUSED or not others:
            assert before == after
        if ends:
            self.finish(used, 0, True)

    @precondition(lambda self: self.uses)
    @rule(which=which, tokens=st.sampled_from([0, 10, 90, 1000]), sent=st.booleans())
    def end(self, which: int, tokens: int, sent: bool) -> None:
        """End any use there ever was, again perhaps."""
        self.finish(self.uses[-1 - which % len(self.uses)], tokens if sent else 0, sent)

    def finish(self, used: Used, tokens: int, sent: bool) -> None:
        """End a use."""
        self.balancer.end(used.use, tokens, self.now, sent=sent)
        if used.ended:
            return
        used.ended = True
        event = used.event
        if event.at + 60.0 > self.now:
            event.tokens = tokens
            event.requests = int(sent)
        elif sent and tokens > event.tokens:
            self.events[used.use.standing].append(Event(self.now, 0, tokens - event.tokens))

    @invariant()
    def every_place_is_counted(self) -> None:
        """Calls under way are the uses that have not ended; figures stay numbers within their bounds."""
        if not hasattr(self, "balancer"):
            return
        for one in self.balancer.standings():
            assert self.under_way(one) == one.in_flight
            assert isfinite(one.used)
            assert LEAST_SHARE <= one.share <= 1.0
            assert 0 <= one.fails <= one.calls

    @invariant()
    def who_is_left_out_is_known(self) -> None:
        """Everyone before its deadline is among the troubled, and none that has answered since."""
        if not hasattr(self, "balancer"):
            return
        all_of_them = set(self.balancer.standings())
        assert {one for one in all_of_them if one.until > self.now} <= self.health.troubled
        assert {one for one in all_of_them if one.tripped} == self.health.troubled

    @invariant()
    def who_tries_is_under_way(self) -> None:
        """Nobody waits for a call that has ended."""
        if not hasattr(self, "balancer"):
            return
        trying = [one.probing for one in self.balancer.standings() if one.probing is not None]
        assert trying == [used.use for tried in trying for used in self.uses if used.use is tried and not used.ended]

    def teardown(self) -> None:
        """End every use: every deployment serves again a day later, and nothing is under way."""
        if not hasattr(self, "balancer"):
            return
        for used in self.uses:
            self.finish(used, 0, True)
        self.now += 90_000
        self.every_place_is_counted()
        deployments: dict[str, Deployment] = {one.id: one for each in GROUPS for one in each.deployments()}
        for deployment in deployments.values():
            use = self.balancer.plan(group((deployment,)), now=self.now, stream=False, more=True).next(self.now)
            assert use is not None and use.deployment is deployment
            self.balancer.answered(use, 1.0, self.now)
            self.balancer.end(use, 0, self.now)

        assert set() == self.health.troubled


TestBalancing = Balancing.TestCase
TestBalancing.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
