"""What exists while the gateway runs, as one record that every step of the chain can reach. Built by ``app``; holds no
settings dict.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Callable

import attrs
from aiohttp import web

from bedrock_gateway.access.authentication import Callers
from bedrock_gateway.access.budgets import Budgets, Charge
from bedrock_gateway.access.labels import Labels
from bedrock_gateway.access.limits import Limiter
from bedrock_gateway.chain.asking import Asking
from bedrock_gateway.chain.batching import Batches
from bedrock_gateway.chain.call import Call
from bedrock_gateway.chain.files import Files
from bedrock_gateway.chain.keeping import Keeping
from bedrock_gateway.chain.leaving import Leaving
from bedrock_gateway.chain.queueing import Queue
from bedrock_gateway.downstream.bodies import BodyBudget
from bedrock_gateway.downstream.guard import EntryPolicy
from bedrock_gateway.downstream.limits import Limits
from bedrock_gateway.metering.meters import MessageHeads
from bedrock_gateway.metering.prices import GUARDRAILS, Price, PriceTable
from bedrock_gateway.routing.balancer import Balancer
from bedrock_gateway.routing.deployments import Deployment
from bedrock_gateway.routing.model_names import bedrock_id
from bedrock_gateway.routing.table import RoutingTable
from bedrock_gateway.store.ids import ID_RANDOM_BYTES, new_id
from bedrock_gateway.store.ledger import Ledger
from bedrock_gateway.store.objects import Objects
from bedrock_gateway.store.registry import Registry
from bedrock_gateway.upstream.addresses import Addresses
from bedrock_gateway.upstream.alerts import Alerts
from bedrock_gateway.upstream.credentials import CredentialStore
from bedrock_gateway.upstream.forms import Forms
from bedrock_gateway.upstream.pictures import Pictures
from bedrock_gateway.upstream.session import Upstream
from bedrock_gateway.wire.operations import Kind, Operation
from bedrock_gateway.wire.sigv4 import Signer
from bedrock_gateway.wire.targets import RouteTable, Target

__all__ = ["GATEWAY", "Clock", "Gateway", "Snapshot"]

#: Deployments whose prices are kept at hand; raw ids make new ones without end.
MAX_PRICES = 4096
DAY_MS = 86_400_000
#: Request targets kept parsed, and the longest that is: at most 2 MiB together.
KEPT_TARGETS, KEPT_TARGET = 4096, 512


@attrs.define(eq=False)
class Clock:
    """The only reader of clocks on the way of a call; the SigV4 date is formatted once a second.

    Attributes:
        read: the system's clock, nanoseconds since the epoch.
        latest: UTC ms of the newest admission so far, those of earlier runs included.
    """

    read: Callable[[], int] = time.time_ns
    latest: int = 0
    _second: int = -1
    _amz_date: str = ""

    def now_ms(self) -> int:
        """Return UTC milliseconds since the epoch."""
        return self.read() // 1_000_000

    def admitted_ms(self) -> int:
        """Return the time of an admission: UTC ms, never before an earlier one.

        A clock that is set back must not put a call into a window of a budget that is over. Set back by more than a
        day it is believed: then it was wrong before, and calls would have stood still in time.
        """
        now = self.read() // 1_000_000
        if now < self.latest and self.latest - now < DAY_MS:
            return self.latest
        self.latest = now
        return now

    def amz_date(self) -> str:
        """Return now as SigV4 writes it, ``YYYYMMDDTHHMMSSZ``."""
        second = self.read() // 1_000_000_000
        if second != self._second:
            self._second, self._amz_date = second, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(second))
        return self._amz_date


@attrs.frozen(kw_only=True)
class Snapshot:
    """What can change while the gateway runs, as one immutable value; a call keeps the one it began with.

    Attributes:
        routing: names to deployments.
        prices: what a model costs.
        budgets: of the whole gateway.
        default_operations: globs of operations that a virtual key without a list may use beside the default set.
        request_metadata: names of what is stamped on requests (``chain.sign``).
        litellm_headers: answers carry LiteLLM's headers too.
        drop_params: what Bedrock has no place for is left out of requests in other dialects, not refused.
        num_retries: further attempts after the first one of a call.
        backoff: seconds before the first repeat on the only deployment left where upstream names no time, doubled for
            each further one.
        least_wait, max_wait: seconds such a call waits at least and at most.
    """

    routing: RoutingTable
    prices: PriceTable
    budgets: tuple[Charge, ...] = ()
    default_operations: tuple[str, ...] = ()
    request_metadata: tuple[str, ...] = ()
    litellm_headers: bool = False
    drop_params: bool = False
    num_retries: int = 2
    backoff: float = 0.5
    least_wait: float = 0.0
    max_wait: float = 5.0
    _prices_of: dict[Deployment, Price | None] = attrs.field(factory=dict, init=False, repr=False, eq=False)

    def price_of(self, deployment: Deployment, operation: Operation | None = None) -> Price | None:
        """Return what a deployment costs: its own prices field by field, else the table's; looked up once a
        deployment. A guardrail applied by itself has the price of guardrails, whoever's credentials it goes through.
        """
        if operation is not None and operation.kind is Kind.GUARDRAIL:
            return self.prices.find(GUARDRAILS, deployment.region)
        if deployment not in self._prices_of:
            if len(self._prices_of) >= MAX_PRICES:
                self._prices_of.clear()
            table = self.prices.find(deployment.price_model, deployment.region)
            if len(deployment.behind) > 1:
                # A router may choose the dearest of its models; the answer says which one it was.
                found = [self.prices.find(model, deployment.region) for model in deployment.behind]
                priced = [price for price in found if price is not None]
                table = max(priced, key=lambda price: price.dearest[1] or 0) if len(priced) == len(found) else None
            self._prices_of[deployment] = table if deployment.prices is None else deployment.prices.over(table)
        return self._prices_of[deployment]

    def price_where(self, deployment: str, model: str, region: str) -> Price | None:
        """Return what a model costs where something was made, by the id of its deployment: the public price where that
        is gone, or has become another model's or another region's since.
        """
        found = self.routing.by_id(deployment, model)
        if found is not None and (found.model_id, found.region) == (model, region):
            return self.price_of(found)
        return self.prices.find(bedrock_id(model), region)


@attrs.define(eq=False, kw_only=True, repr=False)
class Gateway:
    """Everything the chain uses. One per process; reached by ``call.gateway`` and, outside the chain, by
    ``app.GATEWAY``.
    """

    instance: str
    snapshot: Snapshot
    callers: Callers
    budgets: Budgets
    asking: Asking
    limiter: Limiter
    labels: Labels
    alerts: Alerts
    registry: Registry
    objects: Objects
    routes: RouteTable
    ledger: Ledger
    upstream: Upstream
    addresses: Addresses
    credentials: CredentialStore
    forms: Forms
    batches: Batches
    signer: Signer
    bodies: BodyBudget
    files: Files
    limits: Limits
    entry: EntryPolicy
    balancer: Balancer
    #: Seconds a call may take in all, or None.
    total_timeout: float | None
    #: None where calls do not wait for a deployment.
    queue: Queue | None
    leaving: Leaving
    heads: MessageHeads
    log: Callable[[str], None]
    clock: Clock = attrs.field(factory=Clock)
    random: random.Random = attrs.field(factory=random.Random)
    calls: set[Call] = attrs.field(factory=set)
    #: Attempts booked, by state.
    attempts: Counter[str] = attrs.field(factory=Counter)
    #: The gateway's own answers, by error type.
    refusals: Counter[str] = attrs.field(factory=Counter)
    #: Answers kept for repeats; None: none are.
    keeping: Keeping | None = None
    #: None where pictures are fetched from nowhere.
    pictures: Pictures | None = None
    stopping: bool = False
    #: Stop without waiting for calls under way.
    hurried: bool = False
    #: Set whenever the last call under way has ended.
    idle: asyncio.Event = attrs.field(factory=asyncio.Event)

    _entropy: bytes = b""
    _spent: int = 0
    _targets: dict[tuple[str, str], Target] = attrs.field(factory=dict)

    def changed(self, kind: str, id_: str) -> None:
        """Take note of what was administered: the first key closes an open gateway, what somebody else booked is read
        again, and who may have another budget now is looked at. ``kind`` and ``id_`` as the registry tells them.
        """
        if kind in ("key", ""):
            hosts = attrs.evolve(self.entry.hosts, open_mode=self.callers.open)
            self.entry = attrs.evolve(self.entry, hosts=hosts)
        if kind == "key" and not self.callers.directory.has_key(id_):
            self.budgets.drop(f"key:{id_}")
        if kind in ("account", ""):
            self.budgets.forget(id_)
        if kind != "account":
            # A template or a model may be anybody's.
            owner = "" if kind in ("budget", "model", "") else f"{kind}:{id_}"
            self.budgets.unguard(owner)

    def new_id(self) -> str:
        """Return a new UUIDv7."""
        start = self._spent
        if start >= len(self._entropy):
            # One system call for many ids: it costs as much as all the rest of an id.
            self._entropy = os.urandom(ID_RANDOM_BYTES * 256)
            start = 0
        self._spent = start + ID_RANDOM_BYTES
        return new_id(self.clock.read() // 1_000_000, self._entropy[start : self._spent])

    def target(self, method: str, raw_target: str) -> Target | None:
        """Return what a request asks for, as ``RouteTable.parse``; targets seen before are not parsed again."""
        key = (method, raw_target)
        known = self._targets.get(key)
        if known is not None:
            return known
        found = self.routes.parse(method, raw_target)
        if found is not None and len(raw_target) <= KEPT_TARGET:
            if len(self._targets) >= KEPT_TARGETS:
                self._targets.clear()
            self._targets[key] = found
        return found


#: Where the application keeps it.
GATEWAY: web.AppKey[Gateway] = web.AppKey("gateway", Gateway)
