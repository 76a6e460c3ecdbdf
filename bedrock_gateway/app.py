"""What is served: the chain and the gateway's own routes, over the state. Reads nothing of the surroundings."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from bedrock_gateway.access.callers import Caller
from bedrock_gateway.access.issued_credentials import LIFETIME_MS, IssuedCredentials, issue
from bedrock_gateway.access.operation_names import OperationNames
from bedrock_gateway.admin import API, container_credentials, health, image_files, metrics
from bedrock_gateway.admin.added_models import ADDED_MODELS
from bedrock_gateway.admin.authority import ADMIN, Admin
from bedrock_gateway.chain import CHAIN
from bedrock_gateway.chain.call import CALL, Call
from bedrock_gateway.chain.dialect import refuse, settle
from bedrock_gateway.chain.files import FILES_PATH
from bedrock_gateway.chain.gateway import GATEWAY, Gateway
from bedrock_gateway.chain.translating import speech_of
from bedrock_gateway.config.settings import Config
from bedrock_gateway.downstream.answers import refusal_answer
from bedrock_gateway.downstream.connection import CallerSide
from bedrock_gateway.downstream.guard import check_request
from bedrock_gateway.downstream.listener import Listener
from bedrock_gateway.errors import Refusal, Unauthenticated, UnknownOperation
from bedrock_gateway.routing.deployments import CredentialKind
from bedrock_gateway.state import State, open_state
from bedrock_gateway.wire.targets import is_native

__all__ = ["build_app", "entry", "serving"]

#: Seconds that connections get to end once every call has.
STOP_SECONDS = 1.0


@contextlib.asynccontextmanager
async def serving(
    config: Config,
    sockets: Sequence[socket.socket],
    *,
    database: Path,
    log: Callable[[str], None],
    tls: ssl.SSLContext | None = None,
    **more: Any,
) -> AsyncIterator[Gateway]:
    """Serve on bound sockets while the context lasts; at its end calls under way get their time to finish, and every
    row is closed.

    Args:
        tls: context of connections, where they take TLS.
        more: as ``open_state``.

    Raises:
        StartError: the gateway cannot start.
    """
    async with contextlib.AsyncExitStack() as stack:
        state = await stack.enter_async_context(open_state(config, database=database, log=log, **more))
        gateway = state.gateway
        runner = web.AppRunner(build_app(state), access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        server = runner.server
        assert server is not None
        server.request_handler = entry(gateway, server.request_handler)
        listener = Listener(server, limits=gateway.limits)
        await listener.start(sockets, tls)
        fetching = asyncio.create_task(make_ready(gateway, config))
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


async def make_ready(gateway: Gateway, config: Config) -> None:
    """Fetch every set of credentials the config names, and look up its model forms, so that the first call need not
    wait and readiness knows; look after the credentials until cancelled.
    """
    sources = {deployment.credentials for deployment in config.deployments}
    if not sources:
        sources = {deployment.credentials for _, deployment in config.ambient}
    sources = {source for source in sources if source.kind is not CredentialKind.BEARER}
    ours = (*config.deployments, *(deployment for _, deployment in config.ambient))
    with contextlib.suppress(OSError):  # a bundle that has gone since: its first call says so
        await gateway.upstream.prepare({one.ssl_verify for one in ours if gateway.addresses.is_tls(one)})
    await asyncio.gather(gateway.credentials.keep(sources), gateway.forms.look_up(gateway.snapshot.routing.deployments))


def build_app(state: State) -> web.Application:
    """Return the application of the gateway's own routes; calls never get here (``entry``)."""
    gateway = state.gateway
    app = web.Application()
    app[GATEWAY] = gateway
    app[ADDED_MODELS] = state.models
    app[ADMIN] = Admin(
        registry=gateway.registry,
        find=gateway.callers.find,
        now_ms=gateway.clock.now_ms,
        random_bytes=os.urandom,
        operations=OperationNames(gateway.routes.operations),
    )
    for part in API:
        app.add_routes(part.routes())
    app.add_routes(health.routes())
    app.add_routes(metrics.routes())
    app.add_routes(image_files.routes())
    app.add_routes(container_credentials.routes(functools.partial(credentials_of, state)))
    app.router.add_route("*", "/{tail:.*}", nothing_here)
    return app


def credentials_of(state: State, key: str) -> IssuedCredentials:
    """Return short-lived credentials of a virtual key.

    Raises:
        Unauthenticated: it is none, or there is no root secret to issue them under.
    """
    gateway = state.gateway
    if state.root is None:
        raise Unauthenticated("This gateway has no root secret to issue credentials under.", at="no root secret")
    now = gateway.clock.now_ms()
    caller: Caller = gateway.callers.find({"authorization": f"Bearer {key}"}, now)
    if caller in (gateway.callers.local, gateway.callers.master):
        raise Unauthenticated(
            "Credentials are issued for virtual keys: make one by bedrock-gateway key create, or /key/generate.",
            at="no virtual key",
        )
    return issue(state.root, caller.id, caller.epoch, expires_at_ms=now + LIFETIME_MS)


async def nothing_here(request: web.Request) -> web.StreamResponse:
    """Answer for every path that is neither Bedrock's nor the gateway's own, and for its own by another method."""
    methods = {method for resource in request.app.router.resources() for method in (await resource.resolve(request))[1]}
    if speech_of(hdrs.METH_POST, request.raw_path) is not None:
        methods.add(hdrs.METH_POST)
    served = ", ".join(sorted(methods - {hdrs.METH_ANY, hdrs.METH_HEAD}))
    if served:
        message = f"{request.method} is not served under this path, {served} is."
    else:
        message = (
            "Nothing is served under this path. Bedrock's API is under /bedrock (endpoint_url "
            "http://HOST:PORT/bedrock); of OpenAI's and Anthropic's there are /v1/chat/completions, /v1/responses, "
            "/v1/messages (and count_tokens), /v1/embeddings, /v1/images/generations (edits, variations), /v1/rerank "
            "and /v1/models; /health/liveliness and /health/readiness tell how the gateway is."
        )
    return refusal_answer(UnknownOperation(message), close=False)


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

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        target = request.raw_path
        native = is_native(target)
        speech = None if native else speech_of(request.method, target)
        if not native and speech is None:
            try:
                linked = target.startswith(FILES_PATH)
                check_request(request.method, target, request.headers, gateway.entry, linked=linked)
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
            started_at=gateway.clock.admitted_ms(),
            task=asyncio.current_task(),
            speech=speech,
        )
        try:
            check_request(request.method, target, request.headers, gateway.entry)
        except Refusal as refusal:
            answer = refuse(call, refusal)
            settle(call)
            return answer
        request[CALL] = call
        gateway.calls.add(call)
        side = request.protocol
        if isinstance(side, CallerSide):
            side.on_left = functools.partial(gateway.leaving.leave, call)
        try:
            return await chain(request)  # type: ignore[arg-type]
        finally:
            if isinstance(side, CallerSide):
                side.on_left = None
            # The task's result leads back to the call by its request: without this only the collector of cycles could
            # free all that a call was made of, which costs a tenth of the call.
            call.task = None

    return handle


async def _end(request: web.Request) -> web.StreamResponse:
    raise AssertionError("forward never calls what follows it")
