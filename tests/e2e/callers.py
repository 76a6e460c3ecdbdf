"""Many callers at once, for tests in which the gateway dies, starves or is robbed: what each asked, and what of it
arrived whole.

Every call asks for a model of its own (the account in the ARN of a system inference profile is its marker, and the
price is that of the profile's model), so that the caller, the ledger and the simulator's log can be joined request by
request, also where no answer ever came.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import attrs
from botocore.eventstream import EventStreamBuffer
from process import assert_rollups_are_sums, rows
from yarl import URL

#: What callers do, in turn, by marker.
KINDS = ("stream", "small", "stream", "throttled", "stream", "leaves", "stream", "invoke", "stream", "cut")
_PROFILE = "arn:aws:bedrock:us-east-1:{:012d}:inference-profile/us.anthropic.claude-sonnet-4-20250514-v1:0"
_MARKER = re.compile(r":(\d{12}):inference-profile/")


def kind_of(marker: int) -> str:
    """Return what the caller with this marker does."""
    return KINDS[marker % len(KINDS)]


def target_of(marker: int, operation: str) -> str:
    """Return the path of a call."""
    return f"/bedrock/model/{quote(_PROFILE.format(marker), safe='')}/{operation}"


@attrs.frozen(kw_only=True)
class Whole:
    """An answer that arrived whole.

    Attributes:
        marker: of the call; call: its id, as the gateway told it; sent: whether anything went upstream.
        usage: tokens in and out, as AWS told them, or None.
    """

    marker: int
    status: int
    call: str
    sent: bool
    usage: tuple[int, int] | None


@attrs.define(eq=False)
class Callers:
    """Callers of one gateway after the other, without a pause between their calls.

    Attributes:
        whole: the answers that arrived whole, of all gateways.
        asked: calls begun; seen: how often anything of an answer arrived.
        on_seen: called each time.
        over: no further calls.
        only: ask for this kind of call only.
        keys: gives the key a call is made with, by its marker.
    """

    chance: random.Random
    only: str | None = None
    whole: list[Whole] = attrs.field(factory=list)
    asked: int = 0
    seen: int = 0
    on_seen: Callable[[], None] = lambda: None
    over: bool = False
    keys: Callable[[int], str] = lambda marker: "any-key"

    async def call_on(self, url: str, number: int) -> None:
        """Let so many callers call until it is over, or until the gateway is gone."""
        connector = aiohttp.TCPConnector(limit=0)
        timeout = aiohttp.ClientTimeout(total=30)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
            async with asyncio.TaskGroup() as callers:
                for _ in range(number):
                    callers.create_task(self._caller(session, url))

    async def _caller(self, session: aiohttp.ClientSession, url: str) -> None:
        while not self.over:
            try:
                await self.call(session, url)
            except aiohttp.ClientConnectorError:
                return
            except aiohttp.ClientError:
                continue

    def next(self) -> int:
        """Return the marker of a further call."""
        self.asked += 1
        return self.asked - 1

    async def call(self, session: aiohttp.ClientSession, url: str) -> int:
        """Make one call; return its status.

        Raises:
            aiohttp.ClientError: its answer did not arrive whole.
        """
        marker = self.next()
        kind = self.only or kind_of(marker)
        operation = {"small": "converse", "throttled": "converse", "invoke": "invoke"}.get(kind, "converse-stream")
        fault = {"throttled": "[[simulate: throttle times=1]]", "cut": "[[simulate: cut after=2]]"}.get(kind, "")
        prompt = f"[[simulate: tokens={self.chance.randrange(1, 20)}]]{fault} Call {marker}."
        body: dict[str, Any] = {
            "messages": [{"role": "user", "content": [{"text": prompt}]}],
            "inferenceConfig": {"maxTokens": 100},
        }
        if operation == "invoke":
            body = {
                "anthropic_version": "bedrock-2023-05-31",
                "max_tokens": 100,
                "messages": [{"role": "user", "content": prompt}],
            }
        target = target_of(marker, operation)
        headers = {"authorization": f"Bearer {self.keys(marker)}"}
        async with session.post(URL(url + target, encoded=True), json=body, headers=headers) as answer:
            self._saw()
            if kind == "leaves":
                await answer.content.readany()
                answer.close()
                return answer.status
            data = b""
            while piece := await answer.content.readany():
                data += piece
                self._saw()
            usage = _usage(data, operation) if answer.status == 200 else None
            call = answer.headers["x-bedrock-gateway-call-id"]
            sent = answer.headers["x-bedrock-gateway-attempts"] != "0"
            self.whole.append(Whole(marker=marker, status=answer.status, call=call, sent=sent, usage=usage))
            return answer.status

    def _saw(self) -> None:
        self.seen += 1
        self.on_seen()


def _usage(data: bytes, operation: str) -> tuple[int, int]:
    """Return the tokens a whole answer tells of."""
    if operation == "converse-stream":
        buffer = EventStreamBuffer()
        buffer.add_data(data)
        (told,) = [json.loads(event.payload) for event in buffer if event.headers[":event-type"] == "metadata"]
    else:
        told = json.loads(data)
    usage = told["usage"]
    if operation == "invoke":
        return usage["input_tokens"], usage["output_tokens"]
    return usage["inputTokens"], usage["outputTokens"]


def assert_booked(database: Path, callers: Callers) -> None:
    """Assert of a ledger nobody uses any more: everything is closed, every answer that arrived whole is booked as it
    was told, no call and no attempt is there twice, the rollups are the sums.
    """
    calls = {
        call: (state, status)
        for call, state, status in rows(database, "SELECT id, state, status FROM calls WHERE ended_at IS NOT NULL")
    }
    attempts = rows(database, "SELECT id FROM attempts WHERE ended_at IS NOT NULL AND state <> 'open'")
    assert [(len(calls),)] == rows(database, "SELECT count(*) FROM calls")
    assert [(len(attempts),)] == rows(database, "SELECT count(*) FROM attempts")
    assert len(attempts) == len(set(attempts))
    asked = Counter(rows(database, "SELECT model FROM calls WHERE attempts > 0"))
    assert {} == {model: times for model, times in asked.items() if times > 1}
    tokens = {
        call: (input, output)
        for call, input, output in rows(
            database, "SELECT call, input, output FROM attempts WHERE state = 'metered' AND status = 200"
        )
    }
    for whole in callers.whole:
        if whole.usage is not None:
            assert ("metered", 200) == calls[whole.call], whole
            assert whole.usage == tokens[whole.call], whole
        else:
            # Nothing was sent for some: their rows are written when there is time.
            refused = ("refused", whole.status)
            assert refused == (calls[whole.call] if whole.sent else calls.get(whole.call, refused)), whole
    assert_rollups_are_sums(database)


def assert_all_received_are_on_record(database: Path, log: Path) -> None:
    """Assert that every request in the simulator's log has an attempt row of its own, and that what has a row and was
    never received is marked as interrupted.
    """
    received: dict[int, set[str]] = {}
    for line in log.read_text().splitlines():
        record = json.loads(line)
        assert record["refused"] is None, record
        received.setdefault(_marker(record["model"]), set()).add(record["request_id"])
    recorded: dict[int, list[tuple[str, str | None]]] = {}
    for model, state, request_id in rows(database, "SELECT model, state, aws_request_id FROM attempts"):
        recorded.setdefault(_marker(model), []).append((state, request_id))
    for marker in received.keys() | recorded.keys():
        requests, attempts = received.get(marker, set()), recorded.get(marker, [])
        answered = {request_id for _, request_id in attempts if request_id is not None}
        unanswered = [state for state, request_id in attempts if request_id is None]
        # A row that names a request names one that was received, and no two name the same.
        assert answered <= requests, marker
        assert len(answered) + len(unanswered) == len(attempts), marker
        # Those no row names are behind the rows that name none; what is left of these was never received.
        surplus = len(unanswered) - len(requests - answered)
        assert surplus >= 0, (marker, requests, attempts)
        assert surplus <= unanswered.count("interrupted"), (marker, requests, attempts)


def _marker(model: str) -> int:
    found = _MARKER.search(model)
    assert found is not None, model
    return int(found[1])
