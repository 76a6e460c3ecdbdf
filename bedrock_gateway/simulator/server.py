"""The simulator itself: a listener on real sockets, and the way of a request through it.

Read the body, verify who asks, find the operation, look for a fault, write the log, answer. Everything it knows
beyond that lives in the other modules of this folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import attrs
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import StreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler

from bedrock_gateway.simulator.asked import Asked
from bedrock_gateway.simulator.faults import Fault, FaultKind, Faults
from bedrock_gateway.simulator.inference import Prepared, parse_json
from bedrock_gateway.simulator.operations import Operations, model_of
from bedrock_gateway.simulator.pace import INSTANT, Pace
from bedrock_gateway.simulator.protocol import JSON, SimulatedError, Streamed, compact
from bedrock_gateway.simulator.received import MAX_RECORDS, Received, ReceivedLog, Sent
from bedrock_gateway.simulator.routes import Route, find_route
from bedrock_gateway.simulator.sending import Sender, close, error_headers, status_fault
from bedrock_gateway.simulator.services import SERVICES, Services, read_model
from bedrock_gateway.simulator.signatures import SERVICES as SIGNING_NAMES
from bedrock_gateway.simulator.signatures import Identity, Incoming, Judge, sha256_hex

__all__ = ["SIMULATOR_CREDENTIALS", "Simulator"]

# What ``serve --simulate`` and ``bedrock-gateway simulate`` accept: known to everybody, good for nothing else.
SIMULATOR_CREDENTIALS: Final[Mapping[str, tuple[str, str | None]]] = MappingProxyType(
    {"AKIASIMULATEDBEDROCK": ("simulated-bedrock-secret-access-key-0000", None)}
)
CONTROL_PATH = "/_simulator/faults"
MAX_BODY = 64 * 1024 * 1024
MAX_FIELD = 64 * 1024
HASHED_ON_LOOP = 1024 * 1024
SHUTDOWN_SECONDS = 0.25
# Where a request keeps count of its answer.
_SENT: Final = web.RequestKey("sent", Sent)


class Simulator:
    """An embedded Bedrock.

    Args:
        credentials: access key id to (secret, session token or None); requests must be signed by one of them.
        api_keys: Bedrock API keys accepted as bearer tokens.
        pace: how fast the models speak.
        seed: of answers, vectors, pictures and the chances of faults.
        log_path: append-only file of JSON lines, one per request, written before it is answered.
        require_signature: False accepts any request.
        control: whether faults can be asked for over HTTP, from loopback.
        keep: how many requests ``received`` remembers.
        clock: seconds since the epoch.
        services: those it stands in for, by their names in botocore; one of them alone, as on a host of AWS's.
        models: reads a service's model; botocore's own by default.

    Attributes:
        faults: what goes wrong; ``faults.add("throttle", model="anthropic.*", times=2)``.
        received: the latest requests.
    """

    def __init__(
        self,
        *,
        credentials: Mapping[str, tuple[str, str | None]] = SIMULATOR_CREDENTIALS,
        api_keys: Sequence[str] = (),
        pace: Pace = INSTANT,
        seed: int = 0,
        log_path: Path | str | None = None,
        require_signature: bool = True,
        control: bool = False,
        keep: int = MAX_RECORDS,
        clock: Callable[[], float] = time.time,
        services: Sequence[str] = SERVICES,
        models: Callable[[str], Mapping[str, Any]] = read_model,
    ) -> None:
        self.faults = Faults(seed)
        self.received = ReceivedLog(keep=keep, path=None if log_path is None else Path(log_path))
        self.pace = pace
        self._judge = Judge(credentials=dict(credentials), api_keys=tuple(api_keys), required=require_signature)
        self._operations = Operations(seed=seed, pace=pace, clock=clock)
        self._services = Services(tuple(services), models)
        self._control = control
        self._clock = clock
        self._runner: web.ServerRunner | None = None
        self._sender = Sender(pace, asyncio.Event())

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen, on a free port if ``port`` is 0, and return the base URL.

        Raises:
            OSError: the address cannot be bound.
        """
        if self._runner is not None:
            raise RuntimeError("the simulator is running already")
        self._sender = Sender(self.pace, asyncio.Event())
        self.received.open()
        server = web.Server(
            self._handle,
            request_factory=_make_request,
            handler_cancellation=True,
            access_log=None,
            auto_decompress=False,
            max_line_size=MAX_FIELD,
            max_field_size=MAX_FIELD,
        )
        runner = web.ServerRunner(server, shutdown_timeout=SHUTDOWN_SECONDS)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port, backlog=1024).start()
        except BaseException:
            await runner.cleanup()
            raise
        self._runner = runner
        bound = runner.addresses[0]
        name = f"[{host}]" if ":" in host else host
        return f"http://{name}:{bound[1]}"

    async def stop(self) -> None:
        """Stop listening, end every answer under way and close the log; idempotent."""
        self._sender.stopping.set()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
        self.received.close()

    @contextlib.asynccontextmanager
    async def serve(self, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
        """Listen for the time of the block; gives the base URL."""
        base_url = await self.start(host, port)
        try:
            yield base_url
        finally:
            await self.stop()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        started = asyncio.get_running_loop().time()
        request_id = str(uuid.uuid4())
        if request.headers.get("expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0
            request[_SENT].clear()
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            response = _error(
                SimulatedError(413, "RequestTooLargeException", "The request is too large."), request_id, request
            )
            response.force_close()
            return response
        if self._control and request.raw_path.partition("?")[0] == CONTROL_PATH:
            return self._answer_control(request, body)
        digest = sha256_hex(body) if len(body) <= HASHED_ON_LOOP else await asyncio.to_thread(sha256_hex, body)
        incoming = Incoming(
            method=request.method,
            raw_path=request.raw_path,
            headers=tuple(request.headers.items()),
            body=body,
            body_sha256=digest,
        )
        return await self._answer(request, incoming, request_id, started)

    async def _answer(
        self, request: web.BaseRequest, incoming: Incoming, request_id: str, started: float
    ) -> web.StreamResponse:
        identity: Identity | None = None
        route: Route | None = None
        fault: Fault | None = None
        prepared: Prepared | None = None
        error: SimulatedError | None = None
        try:
            route = await find_route(incoming, self._services)
        except SimulatedError as unknown:
            error = unknown
        try:
            now = datetime.datetime.fromtimestamp(self._clock(), datetime.UTC)
            identity = self._judge.judge(incoming, now, SIGNING_NAMES if route is None else (route.signing_name,))
        except SimulatedError as refusal:
            error = refusal
        model = None if route is None else model_of(route, incoming.body)
        if error is None and route is not None and identity is not None:
            fault = self.faults.take(
                operation=route.operation,
                model=model,
                access_key_id=identity.access_key_id,
                streamed=route.streamed,
            )
            try:
                prepared = self._operations.prepare(Asked(route=route, incoming=incoming, identity=identity))
                if fault is None:
                    fault = self.faults.take_from_prompt(
                        prepared.directives, body_hash=incoming.body_sha256, streamed=route.streamed
                    )
            except SimulatedError as refusal:
                error = refusal
        self.received.add(
            Received(
                sequence=self.received.total + 1,
                time=self._clock(),
                request_id=request_id,
                method=incoming.method,
                raw_path=incoming.raw_path,
                headers=incoming.headers,
                body=incoming.body,
                body_sha256=incoming.body_sha256,
                service=None if route is None else route.service,
                operation=None if route is None else route.operation,
                model=model,
                access_key_id=None if identity is None else identity.access_key_id,
                region=None if identity is None else identity.region,
                refused=error.error_type if error is not None and fault is None else None,
                fault=None if fault is None else fault.kind.value,
                sent=request[_SENT],
            )
        )
        if fault is not None:
            before = await self._befall_before(request, fault, request_id, model)
            if before is not None:
                return before
        if error is not None or prepared is None:
            return _error(error or SimulatedError(500, "InternalServerException", "No answer."), request_id, request)
        return await self._send(request, prepared, fault, request_id, started)

    async def _send(
        self, request: web.BaseRequest, prepared: Prepared, fault: Fault | None, request_id: str, started: float
    ) -> web.StreamResponse:
        try:
            answer = prepared.finish()
        except SimulatedError as refusal:
            return _error(refusal, request_id, request)
        try:
            if isinstance(answer, Streamed):
                return await self._sender.stream(request, answer, _headers(request_id), fault, started)
            return await self._sender.whole(request, answer, _headers(request_id), fault, started)
        except ConnectionError:
            # The other side has left; aiohttp needs an answer, nobody reads it.
            close(request, reset=True)
            return web.Response()

    async def _befall_before(
        self, request: web.BaseRequest, fault: Fault, request_id: str, model: str | None
    ) -> web.StreamResponse | None:
        """Act out what happens before the head; None where the answer goes on."""
        error = status_fault(fault, model)
        if error is not None:
            return _error(error, request_id, request)
        match fault.kind:
            case FaultKind.SLOW:
                await self._sender.wait(1.0 if fault.seconds is None else fault.seconds)
            case FaultKind.SILENT:
                if not await self._sender.silence(request, fault.seconds):
                    return web.Response()
            case FaultKind.RESET:
                close(request, reset=True)
                return web.Response()
            case FaultKind.BAD_GATEWAY:
                html = b"<html><head><title>502 Bad Gateway</title></head><body>Bad Gateway</body></html>"
                return web.Response(status=502, body=html, headers={"content-type": "text/html", **_simulated()})
            case FaultKind.UNKNOWN_OPERATION:
                told = {"Output": {"__type": "com.amazon.coral.service#UnknownOperationException"}, "Version": "1.0"}
                return web.Response(body=compact(told), headers={"content-type": JSON, **_headers(request_id)})
        return None

    def _answer_control(self, request: web.BaseRequest, body: bytes) -> web.StreamResponse:
        """Answer the control path: GET lists the faults, POST adds one (a JSON object), DELETE clears them."""
        if not _from_loopback(request) or "origin" in request.headers:
            return web.Response(status=403, body=b'{"message":"The control path answers to loopback only."}')
        if request.method == "DELETE":
            self.faults.clear()
        elif request.method == "POST":
            try:
                options = parse_json(body)
                number = self.faults.add(options.pop("kind"), **options)
            except KeyError:
                return web.Response(status=400, body=compact({"message": "kind is required."}))
            except (SimulatedError, ValueError, TypeError) as wrong:
                return web.Response(status=400, body=compact({"message": str(wrong)}))
            return web.Response(status=201, body=compact({"number": number}), headers={"content-type": JSON})
        listed = [{"number": number, "left": left, **attrs.asdict(fault)} for number, fault, left in self.faults]
        return web.Response(body=compact({"faults": listed}), headers={"content-type": JSON})


def _make_request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: RequestHandler,
    writer: AbstractStreamWriter,
    task: asyncio.Task[None],
) -> web.BaseRequest:
    """Make requests whose bodies may be larger than aiohttp's 1 MiB, and whose answers are counted as they leave."""
    loop = asyncio.get_running_loop()
    sent = Sent()

    async def count(data: bytes | bytearray | memoryview[Any]) -> None:
        sent.add(data)

    counting = StreamWriter(protocol, loop, on_chunk_sent=count)
    request = web.BaseRequest(message, payload, protocol, counting, task, loop, client_max_size=MAX_BODY)
    request[_SENT] = sent
    return request


def _simulated() -> dict[str, str]:
    return {"x-bedrock-gateway-simulated": "true"}


def _headers(request_id: str) -> dict[str, str]:
    return {"x-amzn-requestid": request_id, **_simulated()}


def _error(error: SimulatedError, request_id: str, request: web.BaseRequest) -> web.Response:
    headers = {"content-type": JSON, **error_headers(error.error_type), **_headers(request_id)}
    return web.Response(status=error.status, body=error.body(typed="x-amz-target" in request.headers), headers=headers)


def _from_loopback(request: web.BaseRequest) -> bool:
    try:
        return request.remote is not None and ipaddress.ip_address(request.remote.partition("%")[0]).is_loopback
    except ValueError:
        return False
