"""Alerts on their way to webhooks on real sockets: order, repeats, bounds, and the end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import socket
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
from raw_upstream import OK, RawUpstream, Script, Wire, black_hole, listening, until

from bedrock_gateway.access.budgets import Budget, Charge, Warned
from bedrock_gateway.access.callers import Caller, Policy
from bedrock_gateway.upstream.alerts import MOST_QUEUED, TRIES, Alerts

SOFT = Budget(limit=10_000_000_000, soft=8_000_000_000)
KEY = Caller(id="key-0123456789ab", name="sk-…abcd", policy=Policy())


def answer(status: str, *headers: str) -> bytes:
    """Return an empty answer."""
    return "\r\n".join((f"HTTP/1.1 {status}", "Content-Length: 0", *headers, "", "")).encode()


def saying(*answers: bytes, then: bytes = OK) -> Script:
    """Give these answers in turn, over all connections, and one for all requests after; keep the requests."""
    left = list(answers)

    async def script(wire: Wire) -> None:
        while True:
            wire.upstream.requests.append(await wire.request())
            await wire.say(left.pop(0) if left else then)

    return script


async def silent(wire: Wire) -> None:
    """Take requests and answer none."""
    while True:
        wire.upstream.requests.append(await wire.request())


def warned(number: int = 1, *, name: str = "", hard: bool = False) -> Warned:
    """Return what a key's budget tells after so many USD."""
    charge = Charge(account=f"key:{KEY.id}", name=name or f"key sk-…{number:04}", budget=SOFT)
    return Warned(charge=charge, spent=number * 1_000_000_000, hard=hard, resets_at=None)


@contextlib.asynccontextmanager
async def alerting(*urls: str, seconds: float = 5.0, close_seconds: float = 2.0) -> AsyncIterator[Alerts]:
    """Open what is tested, with short pauses; afterwards nothing of it may be left."""
    alerts = Alerts(urls, timeout=seconds, backoff=0.001, close_seconds=close_seconds)
    gc.freeze()  # what was there before need not be looked at
    try:
        yield alerts
    finally:
        await alerts.aclose()
    names = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    assert [] == [name for name in names if name != "raw upstream"]
    gc.collect()  # what was not closed warns now
    gc.unfreeze()


def url_of(here: RawUpstream) -> str:
    """Return a webhook's URL there, with a path and a query that nobody else may see."""
    return f"http://127.0.0.1:{here.port}/hooks/path-secret?code=query%2Bsecret"


def spends(requests: Iterable[tuple[bytes, bytes]]) -> list[float]:
    """Return what is told as spent, by request."""
    return [json.loads(body)["spend"] for _, body in requests]


def counts(alerts: Alerts) -> tuple[int, int, int, int]:
    """Return how many events were delivered, failed, were dropped, and wait."""
    return alerts.delivered, alerts.failed, alerts.dropped, alerts.queued


async def test_an_event_is_posted_as_json(caplog: pytest.LogCaptureFixture) -> None:
    """What is told is logged in one line and posted once, to exactly the URL of the config."""
    async with listening(saying()) as here, alerting(url_of(here)) as alerts:
        alerts.tell(warned(9), KEY)
        await until(lambda: alerts.delivered == 1)

        ((head, body),) = here.requests
    lines = head.decode().lower().split("\r\n")
    event: dict[str, Any] = json.loads(body)

    assert "post /hooks/path-secret?code=query%2bsecret http/1.1" == lines[0]
    assert "content-type: application/json" in lines
    assert ("soft_budget_crossed", "key", 9.0, None) == tuple(
        event[name] for name in ("event", "event_group", "spend", "token")
    )
    assert [("bedrock_gateway.alerts", logging.WARNING, event["event_message"])] == caplog.record_tuples
    assert ((1, 0, 0, 0), {"soft_budget_crossed": 1}) == (counts(alerts), dict(alerts.told))


async def test_events_arrive_in_order_at_every_webhook() -> None:
    """Each webhook gets every event once, in the order they were told."""
    async with listening(saying()) as here, listening(saying()) as there:
        async with alerting(url_of(here), url_of(there), url_of(here)) as alerts:
            for number in range(20):
                alerts.tell(warned(number))
            await until(lambda: alerts.delivered == 40)

    assert (list(range(20)), list(range(20))) == (spends(here.requests), spends(there.requests))


async def test_without_a_webhook_it_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Without any webhook an alert is one line of the log, and nothing is opened for it."""
    async with alerting() as alerts:
        alerts.tell(warned(10, hard=True))

    assert (1, (0, 0, 0, 0), {"budget_crossed": 1}) == (len(caplog.records), counts(alerts), dict(alerts.told))


@pytest.mark.parametrize("status", ["500 Oh", "502 Bad Gateway", "503 Busy", "429 Slow down"])
async def test_a_webhook_that_is_busy_is_asked_again(status: str) -> None:
    """Statuses that pass are tried again, and events after it wait for their turn."""
    busy = answer(status)
    async with listening(saying(busy, busy)) as here, alerting(url_of(here)) as alerts:
        alerts.tell(warned(1))
        alerts.tell(warned(2))
        await until(lambda: alerts.delivered == 2)

    assert ([1, 1, 1, 2], (2, 0, 0, 0)) == (spends(here.requests), counts(alerts))


async def test_a_webhook_that_stays_busy_is_given_up() -> None:
    """After three tries an event is lost, counted, and the next one gets its chance."""
    busy = answer("503 Busy")
    async with listening(saying(*[busy] * TRIES)) as here, alerting(url_of(here)) as alerts:
        alerts.tell(warned(1))
        alerts.tell(warned(2))
        await until(lambda: alerts.delivered == 1)

    assert ([1, 1, 1, 2], (1, 1, 0, 0)) == (spends(here.requests), counts(alerts))


@pytest.mark.parametrize("status", ["400 No", "401 Who", "404 Where", "410 Gone", "413 Large"])
async def test_an_event_that_is_refused_is_not_repeated(status: str, caplog: pytest.LogCaptureFixture) -> None:
    """A status that will not pass ends it at once, and the log says what it was, but not the URL."""
    async with listening(saying(answer(status))) as here, alerting(url_of(here)) as alerts:
        alerts.tell(warned(1))
        await until(lambda: alerts.failed == 1)

    assert ([1], (0, 1, 0, 0)) == (spends(here.requests), counts(alerts))
    assert (
        f"an alert was not delivered to http://127.0.0.1:{here.port}: it answered {status[:3]}"
        == caplog.records[-1].getMessage()
    )


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Elsewhere", "308 Elsewhere"])
async def test_a_redirect_is_not_followed(status: str, caplog: pytest.LogCaptureFixture) -> None:
    """Only the config chooses who is told: a redirect is a failure, and nothing goes where it points."""
    async with listening(saying()) as there:
        moved = answer(status, f"Location: {url_of(there)}")
        async with listening(saying(moved)) as here, alerting(url_of(here)) as alerts:
            alerts.tell(warned(1))
            await until(lambda: alerts.failed == 1)

    assert ([1], []) == (spends(here.requests), there.wires)
    assert "redirects are not followed" in caplog.text


async def test_a_webhook_nobody_listens_at_fails(caplog: pytest.LogCaptureFixture) -> None:
    """A refused connection is tried again and then told, without the URL's path or query."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        async with alerting(url_of(RawUpstream(free.getsockname()[1]))) as alerts:
            alerts.tell(warned(1))
            await until(lambda: alerts.failed == 1)

    assert (0, 1, 0, 0) == counts(alerts)
    assert "no answer (ClientConnectorError)" in caplog.text
    assert [] == [secret for secret in ("path-secret", "code=", "query") if secret in caplog.text]


async def test_a_webhook_that_hangs_up_is_asked_again() -> None:
    """A connection that breaks off in the middle is as good as none."""

    async def reset_once(wire: Wire) -> None:
        wire.upstream.requests.append(await wire.request())
        if len(wire.upstream.requests) == 1:
            return wire.reset()
        await wire.say(OK)

    async with listening(reset_once) as here, alerting(url_of(here)) as alerts:
        alerts.tell(warned(1))
        await until(lambda: alerts.delivered == 1)

    assert [1, 1] == spends(here.requests)


@pytest.mark.parametrize("connects", [True, False], ids=["silent", "unreachable"])
async def test_a_webhook_that_never_answers_is_given_up(connects: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Each try has its time, whether the connection is made or not."""
    async with contextlib.AsyncExitStack() as stack:
        here = await stack.enter_async_context(listening(silent)) if connects else stack.enter_context(black_hole())
        alerts = await stack.enter_async_context(alerting(url_of(here), seconds=0.05))
        alerts.tell(warned(1))
        await until(lambda: alerts.failed == 1)

        assert (TRIES if connects else 0) == len(here.requests)
        assert "no answer within 0.05 s" in caplog.text


async def test_a_slow_webhook_holds_up_no_other() -> None:
    """While one webhook says nothing, another one gets everything."""
    async with listening(silent) as slow, listening(saying()) as here:
        async with alerting(url_of(slow), url_of(here), close_seconds=0.01) as alerts:
            for number in range(10):
                alerts.tell(warned(number))
            await until(lambda: alerts.delivered == 10)

    assert (list(range(10)), (10, 0, 10, 0)) == (spends(here.requests), counts(alerts))


async def test_the_oldest_give_way() -> None:
    """A webhook's queue is bounded: what is told last is kept, and what gave way is counted."""
    released = asyncio.Event()

    async def held(wire: Wire) -> None:
        while True:
            wire.upstream.requests.append(await wire.request())
            await released.wait()
            await wire.say(OK)

    async with listening(held) as here, alerting(url_of(here)) as alerts:
        alerts.tell(warned(0))
        await until(lambda: len(here.requests) == 1)
        for number in range(1, MOST_QUEUED + 6):
            alerts.tell(warned(number))

        assert (0, 0, 5, MOST_QUEUED) == counts(alerts)

        released.set()
        await until(lambda: alerts.queued == 0 and alerts.delivered == MOST_QUEUED + 1)

    assert [0, *range(6, MOST_QUEUED + 6)] == spends(here.requests)


async def test_what_is_queued_is_delivered_at_the_end() -> None:
    """Closing waits for what can be delivered at once."""
    async with listening(saying()) as here:
        async with alerting(url_of(here)) as alerts:
            for number in range(30):
                alerts.tell(warned(number))

        assert (list(range(30)), (30, 0, 0, 0)) == (spends(here.requests), counts(alerts))


async def test_closing_does_not_wait_for_long(caplog: pytest.LogCaptureFixture) -> None:
    """What a webhook does not take in time is let go of at the end, counted and told."""
    async with listening(silent) as here:
        async with alerting(url_of(here), close_seconds=0.01) as alerts:
            alerts.tell(warned(1))
            alerts.tell(warned(2))
            await until(lambda: len(here.requests) == 1)

    assert (0, 0, 2, 0) == counts(alerts)
    assert "2 alerts were not delivered: the gateway stopped" == caplog.records[-1].getMessage()


async def test_after_the_end_it_is_only_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Closing twice is harmless, and what is told afterwards goes to the log alone."""
    async with listening(saying()) as here, alerting(url_of(here)) as alerts:
        await alerts.aclose()
        alerts.tell(warned(1))

    assert ([], 1, (0, 0, 0, 0)) == (here.wires, len(caplog.records), counts(alerts))


async def test_an_alert_stays_on_its_line(caplog: pytest.LogCaptureFixture) -> None:
    """A name with line breaks cannot write lines of the log, and arrives as it is in the event."""
    name = 'key "a\n2026 ERROR nothing\x1b[2J"'
    async with listening(saying()) as here, alerting(url_of(here)) as alerts:
        alerts.tell(warned(1, name=name))
        await until(lambda: alerts.delivered == 1)

    assert [] == [char for char in caplog.records[0].getMessage() if not char.isprintable()]
    assert name in json.loads(here.requests[0][1])["event_message"]


async def test_no_secret_is_sent_or_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Neither the log nor an event holds a key, its hash, or what only the URL knows."""
    async with listening(saying(answer("400 No"))) as here, alerting(url_of(here)) as alerts:
        alerts.tell(warned(1), KEY)
        alerts.tell(warned(2), KEY)
        await until(lambda: alerts.delivered == 1)
        said = "".join((caplog.text, repr(alerts), *(body.decode() for _, body in here.requests)))

    assert [] == [secret for secret in ("path-secret", "query%2Bsecret", "query+secret") if secret in said]
    assert [None, None] == [json.loads(body)["token"] for _, body in here.requests]
