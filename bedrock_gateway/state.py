"""The state: everything that exists while the gateway runs, opened in order and closed in the opposite one. Reads
nothing of the surroundings by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import random
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import attrs

from bedrock_gateway._version import VERSION
from bedrock_gateway.access.accounts import GATEWAY
from bedrock_gateway.access.authentication import Callers
from bedrock_gateway.access.budgets import Budgets, Charge
from bedrock_gateway.access.directory import Defaults, Directory
from bedrock_gateway.access.labels import Labels
from bedrock_gateway.access.limits import Limiter
from bedrock_gateway.access.signatures import Verifier
from bedrock_gateway.admin.added_models import AddedModels
from bedrock_gateway.chain.asking import Asking
from bedrock_gateway.chain.batching import Batches
from bedrock_gateway.chain.call import Call
from bedrock_gateway.chain.files import Files
from bedrock_gateway.chain.gateway import Clock, Gateway, Snapshot
from bedrock_gateway.chain.keeping import Keeping
from bedrock_gateway.chain.leaving import Leaving
from bedrock_gateway.chain.queueing import Queue
from bedrock_gateway.config.settings import Config
from bedrock_gateway.downstream.bodies import BodyBudget
from bedrock_gateway.downstream.guard import EntryPolicy, HostPolicy, instance_mark
from bedrock_gateway.downstream.limits import Limits
from bedrock_gateway.metering.meters import MessageHeads
from bedrock_gateway.metering.prices import PriceTable
from bedrock_gateway.routing.balancer import Balancer
from bedrock_gateway.routing.deployments import Deployment
from bedrock_gateway.routing.health import Health
from bedrock_gateway.store.ledger import Ledger
from bedrock_gateway.store.limits import LedgerLimits
from bedrock_gateway.store.objects import Objects
from bedrock_gateway.store.registry import Registry
from bedrock_gateway.upstream.addresses import Addresses
from bedrock_gateway.upstream.alerts import Alerts
from bedrock_gateway.upstream.control_plane import ControlPlane
from bedrock_gateway.upstream.credentials import CredentialStore
from bedrock_gateway.upstream.endpoints import Endpoints
from bedrock_gateway.upstream.forms import Forms
from bedrock_gateway.upstream.models import load_operations
from bedrock_gateway.upstream.pictures import Pictures
from bedrock_gateway.upstream.published_prices import load_prices
from bedrock_gateway.upstream.session import Upstream
from bedrock_gateway.wire.operations import Operation
from bedrock_gateway.wire.sigv4 import Signer
from bedrock_gateway.wire.targets import RouteTable

__all__ = ["State", "open_state"]


@attrs.frozen(kw_only=True, eq=False, repr=False)
class State:
    """What exists.

    Attributes:
        gateway: what the chain uses.
        models: models added over the API.
        root: the root secret, or None.
    """

    gateway: Gateway
    models: AddedModels
    root: bytes | None


def _no_secret(database: Path) -> bytes | None:
    return None


@contextlib.asynccontextmanager
async def open_state(
    config: Config,
    *,
    database: Path,
    instance: str,
    pid: int,
    log: Callable[[str], None],
    simulator: str | None = None,
    root_secret: Callable[[Path], bytes | None] = _no_secret,
    limits: Limits | None = None,
    clock: Clock | None = None,
    ledger_limits: LedgerLimits | None = None,
    operations: Sequence[Operation] | None = None,
    prices: PriceTable | None = None,
) -> AsyncIterator[State]:
    """Open everything a running gateway needs, and close it in the opposite order.

    Args:
        instance: random text by which this process knows its own requests.
        log: takes one line a call.
        simulator: base URL of the simulator, which then is all of AWS; the ledger is a simulated one.
        root_secret: gives the root secret of a database (a resolved path), or None where there is none.
        limits: of one connection; the largest body is the config's.
        clock: the wall clock; the system's by default.
        ledger_limits: sizes and times of the ledger, where the usual ones are not right.
        operations: what is routed; read from botocore's models by default.
        prices: what models cost; the table that comes with the package by default.

    Raises:
        StartError: the ledger or the root secret cannot be used.
    """
    general = config.general
    clock = Clock() if clock is None else clock
    mark = instance_mark(VERSION, instance)
    endpoints = (
        Endpoints.load(fips=config.fips, dual_stack=config.dual_stack) if simulator is None else Endpoints.at(simulator)
    )
    async with contextlib.AsyncExitStack() as stack:
        ledger = await stack.enter_async_context(
            await Ledger.open(
                database,
                simulated=simulator is not None,
                durability="power" if general.ledger_durability == "power" else "process",
                now_ms=clock.now_ms,
                version=VERSION,
                pid=pid,
                limits=ledger_limits,
            )
        )
        clock.latest = ledger.latest
        ledger.name_deployments(
            (deployment.id, deployment.name, deployment.model_id, deployment.region)
            for deployment in (*config.deployments, *(ambient for _, ambient in config.ambient))
        )
        root = root_secret(ledger.path)
        callers = _callers(config, None if root is None else Verifier(root))
        registry = await stack.enter_async_context(await Registry.open(ledger.path, directory=callers.directory))
        snapshot = _snapshot(config, load_prices() if prices is None else prices)
        for deployment in config.deployments:
            # An entry of the price table is parsed when it is first used: not in the middle of a call.
            snapshot.price_of(deployment)
        upstream = Upstream.open(user_agent=mark, idle_timeout=general.limits.idle_timeout, proxies=config.proxies)
        stack.push_async_callback(upstream.close)
        credentials = CredentialStore()
        stack.push_async_callback(credentials.close)
        operations = load_operations() if operations is None else operations
        addresses, signer = Addresses(endpoints), Signer()
        control = ControlPlane.of(
            operations,
            upstream=upstream,
            addresses=addresses,
            credentials=credentials,
            signer=signer,
            amz_date=clock.amz_date,
        )
        forms, objects = Forms(control), Objects(registry, clock.now_ms)
        batches = Batches(control, objects, registry, clock.now_ms)
        stack.push_async_callback(forms.aclose)
        stack.push_async_callback(batches.aclose)
        alerts = Alerts(general.webhooks)
        stack.push_async_callback(alerts.aclose)
        budgets = Budgets()
        pictures = Pictures() if general.fetch_images else None
        if pictures is not None:
            stack.push_async_callback(pictures.close)
        calls: set[Call] = set()
        chance, loop = random.Random(), asyncio.get_running_loop()
        gateway = Gateway(
            instance=instance,
            snapshot=snapshot,
            callers=callers,
            budgets=budgets,
            asking=Asking(budgets, ledger, calls, clock.admitted_ms),
            limiter=Limiter(),
            labels=Labels(),
            alerts=alerts,
            registry=registry,
            objects=objects,
            routes=RouteTable(operations),
            ledger=ledger,
            upstream=upstream,
            addresses=addresses,
            credentials=credentials,
            forms=forms,
            batches=batches,
            signer=signer,
            bodies=BodyBudget(general.limits.bodies),
            files=Files(
                now_ms=clock.now_ms,
                random_bytes=os.urandom,
                later=lambda seconds, sweep: loop.call_soon_threadsafe(loop.call_later, seconds, sweep),
                base_url=general.base_url or "",
            ),
            limits=attrs.evolve(limits if limits is not None else Limits(), body=general.limits.body),
            entry=EntryPolicy(
                hosts=HostPolicy(open_mode=callers.open, allowed_hosts=frozenset(general.allowed_hosts)),
                allowed_origins=frozenset(general.allowed_origins),
                mark=mark,
            ),
            balancer=Balancer(
                rules=config.rules,
                health=Health(cooldown_time=config.router.cooldown_time, allowed_fails=config.router.allowed_fails),
                random=chance.random,
                rate=functools.partial(_rate, snapshot.prices),
            ),
            total_timeout=general.limits.total_timeout,
            queue=None if general.queue is None else Queue(general.queue),
            random=chance,
            leaving=Leaving(max_seconds=general.limits.drain_timeout),
            heads=MessageHeads(),
            log=log,
            clock=clock,
            calls=calls,
            keeping=Keeping() if general.keep_answers else None,
            pictures=pictures,
        )
        batches.price_of = lambda made: gateway.snapshot.price_where(made.deployment, made.model, made.region)
        if gateway.keeping is not None:
            stack.callback(gateway.keeping.close)
        registry.on_change.append(gateway.changed)
        if gateway.queue is not None:
            gateway.balancer.on_room = gateway.queue.freed
        models = await AddedModels.open(gateway, config=config, root=root)
        stack.push_async_callback(models.aclose)
        yield State(gateway=gateway, models=models, root=root)


def _snapshot(config: Config, prices: PriceTable) -> Snapshot:
    """Return what of a config can change while the gateway runs."""
    general, whole = config.general, config.budget
    return Snapshot(
        routing=config.routing_table(),
        prices=prices,
        budgets=() if whole is None else (Charge(account=GATEWAY, name="the whole gateway", budget=whole),),
        default_operations=general.default_allowed_operations,
        request_metadata=general.request_metadata,
        litellm_headers=general.litellm_headers,
        drop_params=general.drop_params,
        num_retries=config.router.num_retries,
        least_wait=config.router.retry_after,
    )


def _rate(prices: PriceTable, deployment: Deployment) -> int | None:
    """Return what tokens cost on a deployment, for cost-based routing (``Price.token_rate``)."""
    table = prices.find(deployment.price_model, deployment.region)
    price = table if deployment.prices is None else deployment.prices.over(table)
    return None if price is None else price.token_rate()


def _callers(config: Config, verifier: Verifier | None) -> Callers:
    """Return who may call, as far as a config says; the keys of its directory are still to be read."""
    general = config.general
    defaults = Defaults(
        raw_models=general.pass_through_all_models or not config.deployments,
        on_leave=general.on_disconnect,
        max_drains=general.limits.max_drains,
        timezone=config.timezone,
    )
    return Callers.of(
        master_key=general.master_key,
        directory=Directory(defaults),
        on_leave=general.on_disconnect,
        max_drains=general.limits.max_drains,
        as_access_key_id=general.accept_key_as_access_key_id,
        verifier=verifier,
    )
