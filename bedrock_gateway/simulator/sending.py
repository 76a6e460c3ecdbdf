"""How an answer leaves: paced, whole or as event-stream messages, and every fault acted out on the socket.

A fault of a stream befalls message number ``after`` (0 is the first), or the last one where the stream is shorter.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Mapping
from types import MappingProxyType

import attrs
from aiohttp import HttpVersion11, web

from bedrock_gateway.simulator.faults import MEGABYTE, Fault, FaultKind
from bedrock_gateway.simulator.pace import Pace
from bedrock_gateway.simulator.protocol import EVENT_STREAM, JSON, Event, SimulatedError, Streamed, Whole, compact
from bedrock_gateway.wire.eventstream import encode_event, encode_exception, encode_message

__all__ = ["STATUS_FAULTS", "Sender", "error_headers", "status_fault"]

CORAL = ":http://internal.amazon.com/coral/com.amazon.bedrock/"
FRONT_DOOR = frozenset(
    {
        "ExpiredTokenException",
        "IncompleteSignatureException",
        "InvalidSignatureException",
        "MissingAuthenticationTokenException",
        "UnrecognizedClientException",
    }
)
DEFAULT_LARGE = 5 * MEGABYTE
DEFAULT_LONG_HEADER = 9_000
# An event-stream payload is at most 24 MiB.
MAX_MESSAGE = 24 * MEGABYTE
PADDING_MESSAGE = 256 * 1024
MESSAGES_PER_TURN = 32
# Content-Length promised by a stream that will not keep it.
BROKEN_PROMISE = 1_000_000_000

STATUS_FAULTS: Mapping[FaultKind, tuple[int, str, str]] = MappingProxyType(
    {
        FaultKind.THROTTLE: (429, "ThrottlingException", "Too many requests, please wait before trying again."),
        FaultKind.INTERNAL: (
            500,
            "InternalServerException",
            "The system encountered an unexpected error during processing. Try your request again.",
        ),
        FaultKind.UNAVAILABLE: (503, "ServiceUnavailableException", "Bedrock is unable to process your request."),
        FaultKind.NOT_READY: (429, "ModelNotReadyException", "Model is not ready for inference. Wait and try again."),
        FaultKind.ACCESS_DENIED: (
            403,
            "AccessDeniedException",
            "You don't have access to the model with the specified model ID.",
        ),
        FaultKind.VALIDATION: (
            400,
            "ValidationException",
            "Malformed input request, please reformat your input and try again.",
        ),
        FaultKind.INVALID_MODEL: (400, "ValidationException", "The provided model identifier is invalid."),
        FaultKind.ON_DEMAND_UNSUPPORTED: (
            400,
            "ValidationException",
            "Invocation of model ID {model} with on-demand throughput isn't supported. Retry your request with the ID "
            "or ARN of an inference profile that contains this model.",
        ),
        FaultKind.NOT_FOUND: (404, "ResourceNotFoundException", "Could not find the model or inference profile."),
        FaultKind.QUOTA: (400, "ServiceQuotaExceededException", "Your request exceeds a service quota."),
        FaultKind.MODEL_TIMEOUT: (
            408,
            "ModelTimeoutException",
            "Model has timed out in processing the request. Try your request again.",
        ),
        FaultKind.MODEL_ERROR: (
            424,
            "ModelErrorException",
            "The request failed due to an error while processing the model.",
        ),
        FaultKind.EXPIRED_TOKEN: (
            403,
            "ExpiredTokenException",
            "The security token included in the request is expired",
        ),
    }
)
_EXCEPTION_MESSAGES = {
    "throttlingException": "Too many requests, please wait before trying again.",
    "modelStreamErrorException": "The model ended the stream with an error.",
}


def error_headers(error_type: str) -> dict[str, str]:
    """Give the error type header: with the service's namespace, as AWS spells it, unless the front door answers."""
    return {"x-amzn-errortype": error_type if error_type in FRONT_DOOR else error_type + CORAL}


def status_fault(fault: Fault, model: str | None) -> SimulatedError | None:
    """Give the error of a fault that is an HTTP status; None for other kinds."""
    known = STATUS_FAULTS.get(fault.kind)
    if known is None:
        return None
    status, error_type, message = known
    return SimulatedError(
        status, fault.error_type or error_type, fault.message or message.replace("{model}", model or "unknown")
    )


def exception_of(fault: Fault) -> bytes:
    """Encode the exception message of a stream fault."""
    first = fault.kind is FaultKind.EXCEPTION_FIRST
    name = fault.error_type or ("throttlingException" if first else "modelStreamErrorException")
    message = fault.message or _EXCEPTION_MESSAGES.get(name, "The stream ended with an error.")
    if name != "modelStreamErrorException":
        return encode_exception(name, message)
    headers = {":exception-type": name, ":content-type": JSON, ":message-type": "exception"}
    return encode_message(headers, compact({"message": message, "originalStatusCode": 500, "originalMessage": message}))


def encode(event: Event) -> bytes:
    """Encode one event."""
    return encode_event(event.type, compact(event.payload))


def half(data: bytes) -> bytes:
    """Give the first half of some bytes, at least one of them."""
    return data[: max(1, len(data) // 2)]


def close(request: web.BaseRequest, *, reset: bool) -> None:
    """End the connection: what was written is flushed and followed by a FIN, or a RST goes out."""
    transport = request.transport
    if transport is None:
        return
    if not reset:
        transport.close()
        return
    peer = transport.get_extra_info("socket")
    if peer is not None:
        with contextlib.suppress(OSError):
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


@attrs.define(eq=False)
class Sender:
    """Sends answers at a pace; ``stopping`` ends every wait."""

    pace: Pace
    stopping: asyncio.Event

    async def wait(self, seconds: float | None) -> None:
        """Wait, for ever if None, but no longer than the simulator lives."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.stopping.wait()

    async def silence(self, request: web.BaseRequest, seconds: float | None) -> bool:
        """Say nothing; True if the answer goes on afterwards, False if the connection has been closed."""
        await self.wait(seconds)
        if seconds is None or self.stopping.is_set():
            close(request, reset=False)
            return False
        return True

    async def whole(
        self, request: web.BaseRequest, answer: Whole, headers: Mapping[str, str], fault: Fault | None, started: float
    ) -> web.StreamResponse:
        """Send an answer in one piece, as late as its last delta would leave."""
        if answer.pieces:
            await _until(started + self.pace.due(answer.pieces - 1))
        body = answer.body
        head = {"content-type": answer.content_type, **headers, **dict(answer.headers)}
        kind = fault.kind if fault is not None else None
        if fault is not None:
            head |= _long_header(fault)
            if kind is FaultKind.BROKEN_JSON:
                body = half(body)
            elif kind is FaultKind.LARGE_BODY:
                size = DEFAULT_LARGE if fault.size is None else fault.size
                body = b'{"padding":"' + b"x" * size + b'",' + body[1:]
        if fault is None or kind not in _WHOLE_ON_SOCKET:
            return web.Response(status=answer.status, body=body, headers=head)
        response = web.StreamResponse(status=answer.status, headers=head)
        if kind in (FaultKind.SHORT_BODY, FaultKind.SILENT_AFTER_HEAD):
            response.content_length = len(body)
        else:
            _stream_until_close_or_chunked(request, response)
        await response.prepare(request)
        if kind is FaultKind.SILENT_AFTER_HEAD:
            if await self.silence(request, fault.seconds):
                await response.write(body)
            return response
        await response.write(half(body))
        if kind is not FaultKind.CUT_CLEAN:
            close(request, reset=kind is FaultKind.CUT_RESET)
        return response

    async def stream(
        self,
        request: web.BaseRequest,
        answer: Streamed,
        headers: Mapping[str, str],
        fault: Fault | None,
        started: float,
    ) -> web.StreamResponse:
        """Send an answer message by message."""
        head = {"content-type": EVENT_STREAM, **headers, **dict(answer.headers)}
        if fault is not None:
            head |= _long_header(fault)
        response = web.StreamResponse(status=200, headers=head)
        if fault is not None and fault.kind is FaultKind.SHORT_BODY:
            response.content_length = BROKEN_PROMISE
        else:
            _stream_until_close_or_chunked(request, response)
        await response.prepare(request)
        at = None if fault is None or fault.kind is FaultKind.LONG_HEADER else fault.after
        if fault is not None and fault.kind is FaultKind.EXCEPTION_FIRST:
            at = 0
        sent = deltas = 0
        upcoming = next(answer.events, None)
        while upcoming is not None:
            event, upcoming = upcoming, next(answer.events, None)
            if event.paced:
                await _until(started + self.pace.due(deltas))
                deltas += 1
            if fault is not None and at is not None and (sent == at or upcoming is None):
                at = None
                if not await self._befall(request, response, event, fault):
                    return response
            else:
                await response.write(encode(event))
            sent += 1
            if sent % MESSAGES_PER_TURN == 0:
                # An answer without a pace would keep the loop to itself.
                await asyncio.sleep(0)
        await response.write_eof()
        return response

    async def _befall(self, request: web.BaseRequest, response: web.StreamResponse, event: Event, fault: Fault) -> bool:
        """Send one event of a stream with a fault; False if the stream ends with it."""
        data = encode(event)
        match fault.kind:
            case FaultKind.EXCEPTION_FIRST | FaultKind.EXCEPTION:
                await response.write(exception_of(fault))
                return False
            case FaultKind.ERROR_MESSAGE:
                headers = {
                    ":message-type": "error",
                    ":error-code": fault.error_type or "InternalFailure",
                    ":error-message": fault.message or "An internal failure occurred.",
                }
                await response.write(encode_message(headers))
                return False
            case FaultKind.CUT | FaultKind.SHORT_BODY | FaultKind.CUT_RESET:
                await response.write(half(data))
                close(request, reset=fault.kind is FaultKind.CUT_RESET)
                return False
            case FaultKind.CUT_CLEAN:
                await response.write(half(data))
                return False
            case FaultKind.SILENT_AFTER_HEAD:
                if not await self.silence(request, fault.seconds):
                    return False
                await response.write(data)
            case FaultKind.WRONG_CRC:
                await response.write(data[:-1] + bytes([data[-1] ^ 0xFF]))
            case FaultKind.BROKEN_JSON:
                await response.write(encode_event(event.type, half(compact(event.payload))))
            case FaultKind.LARGE_MESSAGE:
                size = DEFAULT_LARGE if fault.size is None else min(fault.size, MAX_MESSAGE)
                await response.write(encode(attrs.evolve(event, payload={**event.payload, "p": "x" * size})))
            case FaultKind.LARGE_BODY:
                await self._padding(response, DEFAULT_LARGE if fault.size is None else fault.size)
                await response.write(data)
            case _:
                await response.write(data)
        return True

    @staticmethod
    async def _padding(response: web.StreamResponse, size: int) -> None:
        """Send events of a type no client knows, which all of them skip, until their padding adds up."""
        while size > 0:
            length = min(size, PADDING_MESSAGE)
            await response.write(encode(Event(type="padding", payload={"p": "x" * length})))
            size -= length


_WHOLE_ON_SOCKET = frozenset(
    {FaultKind.CUT, FaultKind.CUT_RESET, FaultKind.CUT_CLEAN, FaultKind.SHORT_BODY, FaultKind.SILENT_AFTER_HEAD}
)


def _long_header(fault: Fault) -> dict[str, str]:
    if fault.kind is not FaultKind.LONG_HEADER:
        return {}
    return {"x-amzn-bedrock-long": "h" * (DEFAULT_LONG_HEADER if fault.size is None else min(fault.size, MEGABYTE))}


def _stream_until_close_or_chunked(request: web.BaseRequest, response: web.StreamResponse) -> None:
    if request.version >= HttpVersion11:
        response.enable_chunked_encoding()
    else:
        response.force_close()


async def _until(moment: float) -> None:
    """Sleep until a moment of the loop's clock; return at once when it is past."""
    left = moment - asyncio.get_running_loop().time()
    if left > 0:
        await asyncio.sleep(left)
