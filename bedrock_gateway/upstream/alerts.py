"""Alerts: a budget whose soft or hard limit was reached is told to the log, and to the webhooks of the config.

Telling never waits and never fails: what is to be posted is queued, each webhook has its own short queue and task, and
a webhook that is down or slow holds up nothing else. Knows delivery; what an event says is ``access.alerting``'s.
URLs come from the config alone and often hold a secret, so that only their origin is ever logged.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter, deque
from collections.abc import Iterable

import aiohttp
import attrs
from yarl import URL

from bedrock_gateway._version import VERSION
from bedrock_gateway.access.alerting import webhook_event
from bedrock_gateway.access.budgets import Warned
from bedrock_gateway.access.callers import Caller

__all__ = ["Alerts"]

_LOG = logging.getLogger("bedrock_gateway.alerts")

#: Events that wait for one webhook; the oldest gives way.
MOST_QUEUED = 100
#: Times one event is posted at most.
TRIES = 3
#: Seconds for one try.
TIMEOUT = 10.0
#: Seconds before the second try; before the third four times as long.
BACKOFF = 1.0
#: Seconds that what is queued gets when the gateway stops.
CLOSE_SECONDS = 2.0


@attrs.define(eq=False)
class _Webhook:
    """Where events go, with those that wait; ``task`` is there while any do."""

    url: URL = attrs.field(repr=False)
    queue: deque[bytes] = attrs.field(factory=deque)
    task: asyncio.Task[None] | None = None


class Alerts:
    """Tells of budgets. Everything is called on the event loop.

    Attributes:
        told: by event, how often something was told.
        delivered: events a webhook took.
        failed: events a webhook did not take.
        dropped: events nobody tried to deliver to the end, because too many waited or the gateway stopped.
    """

    def __init__(
        self,
        urls: Iterable[str] = (),
        *,
        timeout: float = TIMEOUT,
        backoff: float = BACKOFF,
        close_seconds: float = CLOSE_SECONDS,
    ) -> None:
        """Make ready; nothing is opened before there is something to post.

        Args:
            urls: webhooks.
            timeout: seconds for one try.
            backoff: seconds before the second try.
            close_seconds: seconds that what is queued gets at the end.
        """
        self.told: Counter[str] = Counter()
        self.delivered = 0
        self.failed = 0
        self.dropped = 0
        self._webhooks = [_Webhook(URL(url)) for url in dict.fromkeys(urls)]
        self._timeout = timeout
        self._backoff = backoff
        self._close_seconds = close_seconds
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    @property
    def queued(self) -> int:
        """Events that wait, over all webhooks."""
        return sum(len(webhook.queue) for webhook in self._webhooks)

    def tell(self, warned: Warned, caller: Caller | None = None) -> None:
        """Log that a limit was reached, and queue it for every webhook; never waits, never raises.

        Args:
            caller: whose call reached it.
        """
        event = webhook_event(warned, caller)
        self.told[event["event"]] += 1
        _LOG.warning("%s", _one_line(event["event_message"]))
        if self._closed or not self._webhooks:
            return
        body = json.dumps(event).encode()
        for webhook in self._webhooks:
            if len(webhook.queue) >= MOST_QUEUED:
                webhook.queue.popleft()
                self.dropped += 1
            webhook.queue.append(body)
            if webhook.task is None:
                webhook.task = asyncio.create_task(self._deliver(webhook), name="alerts")

    async def aclose(self) -> None:
        """Deliver what is queued, for at most two seconds, and let go of everything; doing so twice is harmless."""
        self._closed = True
        tasks = [webhook.task for webhook in self._webhooks if webhook.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=self._close_seconds)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        left = self.queued
        if left:
            self.dropped += left
            _LOG.warning("%d alerts were not delivered: the gateway stopped", left)
        for webhook in self._webhooks:
            webhook.queue.clear()
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _deliver(self, webhook: _Webhook) -> None:
        """Post what waits for a webhook, in its order, until nothing does."""
        try:
            while webhook.queue:
                body = webhook.queue.popleft()
                try:
                    trouble = await self._post(webhook.url, body)
                except asyncio.CancelledError:
                    webhook.queue.appendleft(body)
                    raise
                if trouble:
                    self.failed += 1
                    _LOG.warning("an alert was not delivered to %s: %s", webhook.url.origin(), trouble)
                else:
                    self.delivered += 1
        finally:
            webhook.task = None

    async def _post(self, url: URL, body: bytes) -> str:
        """Post an event, more than once where that may help; return what went wrong in the end, or ""."""
        trouble = ""
        for tries in range(TRIES):
            if tries:
                await asyncio.sleep(self._backoff * 4.0 ** (tries - 1))
            trouble, repeat = await self._try(url, body)
            if not trouble or not repeat:
                break
        return trouble

    async def _try(self, url: URL, body: bytes) -> tuple[str, bool]:
        """Return what went wrong ("" for nothing), and whether it may go right another time."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=self._timeout),
                headers={"user-agent": f"bedrock-gateway/{VERSION}"},
            )
        headers = {"content-type": "application/json"}
        try:
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
                status = answer.status
        except TimeoutError:
            return f"no answer within {self._timeout:g} s", True
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # Their texts may hold the whole URL.
            return f"no answer ({type(error).__name__})", True
        if 200 <= status < 300:
            return "", False
        if 300 <= status < 400:
            return f"it answered {status}, and redirects are not followed", False
        return f"it answered {status}", status >= 500 or status == 429


def _one_line(text: str) -> str:
    """Write what would not stay on its line as escapes: names are chosen by many people."""
    return text if text.isprintable() else "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
