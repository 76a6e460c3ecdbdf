"""What exists: the state, the chain and the gateway's own routes, put together. Reads nothing of the surroundings by
itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import attrs
from aiohttp import web
from aiohttp.typedefs import Handler

from bedrock_gateway._version import VERSION
from bedrock_gateway.access.callers import Callers
from bedrock_gateway.admin import health
from bedrock_gateway.chain import CHAIN
from bedrock_gateway.chain.call import CALL, Call
from bedrock_gateway.chain.dialect import refuse, settle
from bedrock_gateway.chain.gateway import GATEWAY, Clock, Gateway, Snapshot
from bedrock_gateway.chain.leaving import Leaving
from bedrock_gateway.config.settings import Config
from bedrock_gateway.downstream.answers import refusal_answer
from bedrock_gateway.downstream.bodies import BodyBudget
from bedrock_gateway.downstream.connection import Connection
from bedrock_gateway.downstream.guard import EntryPolicy, HostPolicy, check_request, instance_mark
from bedrock_gateway.downstream.limits import Limits
from bedrock_gateway.downstream.listener import Listener
from bedrock_gateway.errors import Refusal, UnknownOperation
from bedrock_gateway.metering.meters import message_heads
from bedrock_gateway.metering.prices import PriceTable
from bedrock_gateway.routing.deployments import CredentialKind
from bedrock_gateway.routing.health import Health
from bedrock_gateway.store.ledger import Ledger
from bedrock_gateway.upstream.addresses import Addresses
from bedrock_gateway.upstream.credentials import CredentialStore
from bedrock_gateway.upstream.endpoints import Endpoints
from bedrock_gateway.upstream.models import load_operations
from bedrock_gateway.upstream.session import Upstream
from bedrock_gateway.wire.sigv4 import Signer
from bedrock_gateway.wire.targets import RouteTable, is_native

__all__ = ["build_app", "entry", "open_gateway", "serving", "snapshot_of"]

#: Seconds that connections get to end once every call has.
STOP_SECONDS = 1.0


def snapshot_of(config: Config) -> Snapshot:
    """Return what of a config can change while the gateway runs. Reads the price table that comes with the package."""
    text = files("bedrock_gateway.metering").joinpath("prices.yaml").read_text(encoding="utf-8")
    general = config.general
    return Snapshot(
        routing=config.routing_table(),
        prices=PriceTable.from_text(text),
        callers=Callers.of(
            master_key=general.master_key,
            on_leave=general.on_disconnect,
            max_drains=general.limits.max_drains,
            as_access_key_id=general.accept_key_as_access_key_id,
        ),
        num_retries=config.router.num_retries,
        least_wait=config.router.retry_after,
    )


@contextlib.asynccontextmanager
async def open_gateway(
    config: Config,
    *,
    database: Path,
    instance: str,
    pid: int,
    log: Callable[[str], None],
    simulator: str | None = None,
    limits: Limits | None = None,
) -> AsyncIterator[Gateway]:
    """Open everything a running gateway needs, and close it in the opposite order.

    Args:
        instance: random text by which this process knows its own requests.
        log: takes one line a call.
        simulator: base URL of the simulator, which then is all of AWS; the ledger is a simulated one.
        limits: of one connection; the largest body is the config's.

    Raises:
        StartError: the ledger cannot be used.
    """
    general = config.general
    clock = Clock()
    mark = instance_mark(VERSION, instance)
    endpoints = Endpoints.load() if simulator is None else Endpoints.at(simulator)
    async with contextlib.AsyncExitStack() as stack:
        ledger = await stack.enter_async_context(
            await Ledger.open(
                database,
                simulated=simulator is not None,
                durability="power" if general.ledger_durability == "power" else "process",
                now_ms=clock.now_ms,
                version=VERSION,
                pid=pid,
            )
        )
        ledger.name_deployments(
            (deployment.id, deployment.name, deployment.model_id, deployment.region)
            for deployment in (*config.deployments, *(ambient for _, ambient in config.ambient))
        )
        snapshot = snapshot_of(config)
        for deployment in config.deployments:
            # An entry of the price table is parsed when it is first used: not in the middle of a call.
            snapshot.price_of(deployment)
        upstream = Upstream.open(user_agent=mark, idle_timeout=general.limits.idle_timeout)
        stack.push_async_callback(upstream.close)
        credentials = CredentialStore()
        stack.push_async_callback(credentials.close)
        yield Gateway(
            instance=instance,
            snapshot=snapshot,
            routes=RouteTable(load_operations()),
            ledger=ledger,
            upstream=upstream,
            addresses=Addresses(endpoints),
            credentials=credentials,
            signer=Signer(),
            bodies=BodyBudget(general.limits.bodies),
            limits=attrs.evolve(limits if limits is not None else Limits(), body=general.limits.body),
            entry=EntryPolicy(
                hosts=HostPolicy(open_mode=not general.master_key, allowed_hosts=frozenset(general.allowed_hosts)),
                allowed_origins=frozenset(general.allowed_origins),
                mark=mark,
            ),
            health=Health(cooldown_time=config.router.cooldown_time, allowed_fails=config.router.allowed_fails),
            leaving=Leaving(max_seconds=general.limits.drain_timeout),
            heads=message_heads(),
            log=log,
            clock=clock,
        )


@contextlib.asynccontextmanager
async def serving(
    config: Config, sockets: Sequence[socket.socket], *, database: Path, log: Callable[[str], None], **more: Any
) -> AsyncIterator[Gateway]:
    """Serve on bound sockets while the context lasts; at its end calls under way get their time to finish, and every
    row is closed.

    Args:
        more: as ``open_gateway``.

    Raises:
        StartError: the gateway cannot start.
    """
    async with contextlib.AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(open_gateway(config, database=database, log=log, **more))
        runner = web.AppRunner(build_app(gateway), access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        server = runner.server
        assert server is not None
        server.request_handler = entry(gateway, server.request_handler)
        listener = Listener(server, limits=gateway.limits)
        await listener.start(sockets)
        fetching = asyncio.create_task(fetch_credentials(gateway, config))
        try:
            yield gateway
        finally:
            await stop(gateway, listener, config.general.limits.shutdown_timeout)
            fetching.cancel()
            await asyncio.gather(fetching, return_exceptions=True)


async def stop(gateway: Gateway, listener: Listener, seconds: float) -> None:
    """Take no new calls; let those under way finish, answers read on for callers that left included; then end what is
    left.
    """
    gateway.stopping = True
    await listener.stop_accepting()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while gateway.calls and not gateway.hurried:
                gateway.idle.clear()
                await gateway.idle.wait()
    for call in list(gateway.calls):
        gateway.leaving.abandon(call, "the gateway stopped")
    await listener.close(STOP_SECONDS)


async def fetch_credentials(gateway: Gateway, config: Config) -> None:
    """Fetch every set of credentials the config names, so that the first call need not wait and readiness knows; look
    after them until cancelled.
    """
    sources = {deployment.credentials for deployment in config.deployments}
    if not sources:
        sources = {deployment.credentials for _, deployment in config.ambient}
    sources = {source for source in sources if source.kind is not CredentialKind.BEARER}
    await gateway.credentials.keep(sources)


def build_app(gateway: Gateway) -> web.Application:
    """Return the application of the gateway's own routes; calls never get here (``entry``)."""
    app = web.Application()
    app[GATEWAY] = gateway
    app.add_routes(health.routes())
    app.router.add_route("*", "/{tail:.*}", nothing_here)
    return app


async def nothing_here(request: web.Request) -> web.StreamResponse:
    """Answer for every path that is neither Bedrock's nor the gateway's own."""
    return refusal_answer(
        UnknownOperation(
            "Nothing is served under this path. Bedrock's API is under /bedrock (endpoint_url "
            "http://HOST:PORT/bedrock); /health/liveliness and /health/readiness tell how the gateway is."
        ),
        close=False,
    )


def entry(gateway: Gateway, own: Handler) -> Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]:
    """Return the handler of every request: calls go down the chain, everything else to the gateway's own routes.

    The chain is composed once, in front of the application: its router and its per-request bookkeeping are not on the
    way of a call.

    Args:
        own: handler of the gateway's own routes.
    """
    chain: Handler = _end
    for step in reversed(CHAIN):
        chain = functools.partial(step, handler=chain)
    policy = gateway.entry

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        target = request.raw_path
        if not is_native(target):
            try:
                check_request(request.method, target, request.headers, policy)
            except Refusal as refusal:
                return refusal_answer(refusal)
            return await own(request)  # type: ignore[arg-type]
        call = Call(
            gateway=gateway,
            snapshot=gateway.snapshot,
            id=gateway.new_id(),
            method=request.method,
            raw_target=target,
            headers=request.headers,
            arrived=time.monotonic(),
            started_at=gateway.clock.now_ms(),
            task=asyncio.current_task(),
        )
        try:
            check_request(request.method, target, request.headers, policy)
        except Refusal as refusal:
            answer = refuse(call, refusal)
            settle(call)
            return answer
        request[CALL] = call
        gateway.calls.add(call)
        connection = request.protocol
        if isinstance(connection, Connection):
            connection.on_left = functools.partial(gateway.leaving.leave, call)
        try:
            return await chain(request)  # type: ignore[arg-type]
        finally:
            if isinstance(connection, Connection):
                connection.on_left = None
            # The task's result leads back to the call by its request: without this only the collector of cycles could
            # free all that a call was made of, which costs a tenth of the call.
            call.task = None

    return handle


async def _end(request: web.Request) -> web.StreamResponse:
    raise AssertionError("forward never calls what follows it")
