"""An upstream on real sockets that says what a test tells it, request by request, and a loop whose clock can be put
forward.

The simulator answers as AWS does; here is what AWS does only now and then: answers that wait for a word of the test,
streams that end in the middle, refusals with a text of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import attrs
from aiohttp import web

from bedrock_gateway.store.limits import LedgerLimits
from bedrock_gateway.wire.eventstream import encode_event, encode_exception

__all__ = [
    "BEGINNING",
    "END",
    "PATIENT",
    "THROTTLE",
    "Asked",
    "Script",
    "Upstream",
    "cut",
    "denied",
    "leap",
    "refusal",
    "scripted",
    "streaming",
    "throttled",
    "whole",
]

USAGE = {"inputTokens": 5, "outputTokens": 1, "totalTokens": 6}
WHOLE = {
    "output": {"message": {"role": "assistant", "content": [{"text": "hi"}]}},
    "stopReason": "end_turn",
    "usage": USAGE,
    "metrics": {"latencyMs": 1},
}
#: The first message of a stream, and the last ones.
BEGINNING = encode_event("messageStart", b'{"role":"assistant"}')
END = encode_event("messageStop", b'{"stopReason":"end_turn"}') + encode_event(
    "metadata", json.dumps({"usage": USAGE}).encode()
)

#: Limits of a ledger that takes neither a leap of the clock nor a lock on its database for trouble.
PATIENT = LedgerLimits(commit_within_s=3600, busy_s=60)
#: A throttle as a message of a stream.
THROTTLE = encode_exception("throttlingException", "Too many requests.")


@attrs.frozen(kw_only=True)
class Asked:
    """One request.

    Attributes:
        letter: of the deployment, the last of its access key id; number: how many there have been, with this one.
    """

    request: web.Request
    body: bytes
    letter: str
    number: int

    @property
    def text(self) -> str:
        """Return the last word of what was said, by which a test tells calls apart."""
        text: str = json.loads(self.body)["messages"][0]["content"][0]["text"]
        return text.split()[-1]


#: Says how a request is answered.
Script = Callable[[Asked], Awaitable[web.StreamResponse]]


@attrs.define(eq=False)
class Upstream:
    """What listens at ``url``, and what it was asked."""

    url: str = ""
    asked: list[Asked] = attrs.field(factory=list)

    @property
    def letters(self) -> str:
        """Return the deployments that were asked, in order."""
        return "".join(one.letter for one in self.asked)

    @property
    def texts(self) -> list[str]:
        """Return what was said, in order."""
        return [one.text for one in self.asked]


@contextlib.asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[Upstream]:
    """Listen, and answer by a script; whatever is not answered at the end is broken off."""
    upstream = Upstream()
    answering: set[asyncio.Future[web.StreamResponse]] = set()

    async def answer(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        told = request.headers["authorization"].partition("Credential=")[2]
        asked = Asked(request=request, body=body, letter=told.partition("/")[0][-1], number=len(upstream.asked) + 1)
        upstream.asked.append(asked)
        task = asyncio.ensure_future(script(asked))
        answering.add(task)
        try:
            return await task
        except asyncio.CancelledError:
            cut(asked)
            return web.Response()
        finally:
            answering.discard(task)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    upstream.url = f"http://{host}:{port}"
    try:
        yield upstream
    finally:
        for task in answering:
            task.cancel()
        await runner.cleanup()


def whole() -> web.Response:
    """Return an answer of a model in one piece."""
    return web.json_response(WHOLE)


def refusal(status: int, error_type: str, message: str = "No.", *, retry_after: str | None = None) -> web.Response:
    """Return an error as AWS tells it."""
    headers = {"x-amzn-errortype": error_type} | ({} if retry_after is None else {"retry-after": retry_after})
    return web.json_response({"message": message}, status=status, headers=headers)


def throttled(retry_after: str | None = None) -> web.Response:
    """Return a throttle."""
    return refusal(429, "ThrottlingException", "Too many requests.", retry_after=retry_after)


def denied(action: str, resource: str) -> web.Response:
    """Return the refusal of an action, in AWS's words."""
    message = f"User: arn:aws:sts::111122223333:assumed-role/gateway/i is not authorized to perform: {action} on "
    return refusal(403, "AccessDeniedException", f"{message}resource: {resource} because no policy allows it")


async def streaming(asked: Asked, *messages: bytes) -> web.StreamResponse:
    """Begin a stream with these messages; what is returned ends it properly."""
    response = web.StreamResponse(headers={"content-type": "application/vnd.amazon.eventstream"})
    await response.prepare(asked.request)
    for message in messages:
        await response.write(message)
    return response


def cut(asked: Asked) -> None:
    """Break the connection of a request off."""
    if asked.request.transport is not None:
        asked.request.transport.abort()


def leap(seconds: float) -> None:
    """Put the clock of the running loop forward: what is due by then is due now, however fast the machine is.

    The ledger's own times are by the same clock, so it has to be a patient one.
    """
    loop = asyncio.get_running_loop()
    time = loop.time
    loop.time = lambda: time() + seconds  # type: ignore[method-assign]
