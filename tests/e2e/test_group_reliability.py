"""A group of three deployments of which two fail often: nearly every call succeeds with few attempts where AWS took
none of it, and what AWS may have billed is sent once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import socket
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from gate import gated
from groups import ask, asked, config_of, deployment, flood, left_out, let_pass, seed
from running import Running, running
from test_faults import FAULTS, FINE

from bedrock_gateway.simulator.faults import FaultKind

CALLS = 600
#: How often the first two deployments fail, and the bars.
OFTEN, LEAST_SUCCEEDED, MOST_ATTEMPTS = 0.3, 0.999, 1.6
STRATEGIES = (
    "adaptive",
    "simple-shuffle",
    "least-busy",
    "latency-based-routing",
    "usage-based-routing",
    "cost-based-routing",
)
#: Those that send less to who fails or is slow.
LEARNING = ("adaptive", "latency-based-routing")


def group(router: str = "") -> str:
    """Return a group of three in one tier."""
    return config_of(*(deployment(letter) for letter in "ABC"), router=router)


@attrs.define(eq=False)
class Door:
    """A port in front of the simulator; while it is shut, nobody listens there and the kernel refuses connections.

    One connection carries one request, so that every attempt meets the door as it stands.
    """

    behind: int = 0
    refuses: bool = True
    _holder: socket.socket = attrs.field(factory=socket.socket)
    _listener: socket.socket | None = None
    _serving: set[asyncio.Task[None]] = attrs.field(factory=set)

    def __attrs_post_init__(self) -> None:
        """Take a port without listening to it."""
        self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._holder.bind(("127.0.0.1", 0))

    @property
    def url(self) -> str:
        """Return where the door is."""
        return f"http://127.0.0.1:{self._holder.getsockname()[1]}"

    def open(self) -> None:
        """Listen."""
        if self._listener is None:
            self._listener = socket.socket()
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            self._listener.bind(self._holder.getsockname())
            self._listener.listen(512)
            self._listener.setblocking(False)
            asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def shut(self) -> None:
        """Listen no more; who has been connected by now is served."""
        if self._listener is not None:
            self._accept()
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    async def close(self) -> None:
        """Shut it for good."""
        self.shut()
        self._holder.close()
        for task in list(self._serving):
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def _accept(self) -> None:
        assert self._listener is not None
        with contextlib.suppress(BlockingIOError):
            while True:
                peer, _ = self._listener.accept()
                task = asyncio.create_task(self._serve(peer))
                self._serving.add(task)
                task.add_done_callback(self._serving.discard)

    async def _serve(self, peer: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=peer)
        answers, requests = await asyncio.open_connection("127.0.0.1", self.behind)
        asking = asyncio.create_task(_hand_on(reader, requests))
        try:
            status = await answers.readline()
            writer.write(status + b"Connection: close\r\n")
            await _hand_on(answers, writer)
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            for one in (writer, requests):
                one.transport.abort()


async def _hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()


@contextlib.asynccontextmanager
async def doors(count: int) -> AsyncIterator[list[Door]]:
    """Set up doors, all shut."""
    found = [Door() for _ in range(count)]
    try:
        yield found
    finally:
        for door in found:
            await door.close()


def hold_the_bar(here: Running, told: list[Any], strategy: str, failure: str) -> None:
    """Assert that nearly all calls succeeded with few attempts, and that enough failed, with this error type."""
    states = here.rows("SELECT state, error_type, count(*) AS count FROM attempts GROUP BY state, error_type")
    count = {(row["state"], row["error_type"]): row["count"] for row in states}
    failed = sum(number for (state, _), number in count.items() if state == "refused")
    fine = sum(one.fine for one in told)

    assert LEAST_SUCCEEDED * len(told) <= fine
    assert sum(count.values()) <= MOST_ATTEMPTS * len(told)
    assert {("metered", None), ("refused", failure)} == set(count)
    # Many enough that the bar means something: two of three fail three times in ten, and who learns asks them less.
    assert (0 if strategy in LEARNING else 0.1 * len(told)) < failed
    assert [{"calls": fine}] == here.rows("SELECT count(*) AS calls FROM calls WHERE state = 'metered'")
    assert {0} == {row["spend"] for row in here.rows("SELECT spend FROM attempts WHERE state = 'refused'")}


@pytest.mark.parametrize(
    ("kind", "action", "strategy", "error"),
    [
        ("throttle", "converse", "adaptive", "ThrottlingException"),
        ("throttle", "converse-stream", "simple-shuffle", "ThrottlingException"),
        ("unavailable", "converse", "least-busy", "ServiceUnavailableException"),
        ("unavailable", "converse-stream", "adaptive", "ServiceUnavailableException"),
        ("not-ready", "converse", "latency-based-routing", "ModelNotReadyException"),
        ("not-ready", "converse-stream", "usage-based-routing", "ModelNotReadyException"),
        ("exception-first", "converse-stream", "cost-based-routing", "throttlingException"),
    ],
)
async def test_what_aws_did_not_take_is_made_up_for(
    tmp_path: Path, kind: str, action: str, strategy: str, error: str
) -> None:
    """Two of three deployments refuse three calls in ten, and nobody is left out: the others take them all."""
    async with running(tmp_path, group(f"routing_strategy: {strategy}, cooldown_time: 0")) as here:
        seed(here)
        for letter in "AB":
            here.simulator.faults.add(kind, times=None, probability=OFTEN, access_key_id=f"AKIDEPLOYMENT{letter}")

        told = await flood(here, CALLS, action)

        hold_the_bar(here, told, strategy, error)


@pytest.mark.parametrize("action", ["converse", "converse-stream"])
async def test_what_aws_did_not_take_is_made_up_for_as_configured_by_nobody(tmp_path: Path, action: str) -> None:
    """The same without a word of an operator about strategy, retries and cooldown."""
    async with running(tmp_path, group()) as here:
        seed(here)
        for letter in "AB":
            here.simulator.faults.add("throttle", times=None, probability=OFTEN, access_key_id=f"AKIDEPLOYMENT{letter}")

        told = await flood(here, CALLS, action)

        hold_the_bar(here, told, "adaptive", "ThrottlingException")


@pytest.mark.parametrize(
    ("action", "strategy"), [("converse", "simple-shuffle"), ("converse-stream", "adaptive")], ids=["whole", "stream"]
)
async def test_refused_connections_are_made_up_for(tmp_path: Path, action: str, strategy: str) -> None:
    """At two of three deployments nobody listens three times in ten: the others take those calls."""
    async with doors(2) as (first, second):
        text = config_of(
            deployment("A", url=first.url),
            deployment("B", url=second.url),
            deployment("C"),
            router=f"routing_strategy: {strategy}, cooldown_time: 0",
        )
        async with running(tmp_path, text) as here:
            seed(here)
            chance = random.Random(11)

            def turn() -> None:
                for door in (first, second):
                    door.shut() if chance.random() < OFTEN else door.open()

            for door in (first, second):
                door.behind = int(here.upstream.rpartition(":")[2])
            told = await flood(here, CALLS, action, before=turn)

            hold_the_bar(here, told, strategy, "never-reached")


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_leaving_out_spares_attempts(tmp_path: Path, strategy: str) -> None:
    """With the usual cooldown a deployment that is down is asked a few times, whatever the strategy."""
    async with running(tmp_path, group(f"routing_strategy: {strategy}, cooldown_time: 60")) as here:
        seed(here)
        for letter in "AB":
            here.simulator.faults.add("unavailable", times=None, access_key_id=f"AKIDEPLOYMENT{letter}")

        told = await flood(here, 300, "converse", parallel=1)

        shares = Counter(asked(here))
        assert [True] * 300 == [one.fine for one in told]
        assert 300 == shares["C"]
        assert max(shares["A"], shares["B"]) <= 3


#: Faults after which nothing is sent again, or once again.
SENT_ONCE = [
    kind
    for kind, (whole, stream) in FAULTS.items()
    if ((whole or stream).group == 1 and (whole or stream).state != "metered") or kind is FaultKind.INTERNAL
]
#: What takes as long as the gateway waits for it.
SILENT = (FaultKind.SILENT, FaultKind.SILENT_AFTER_HEAD)


def befallen(here: Running, count: int) -> list[list[FaultKind | None]]:
    """Return, by call, the fault that befell each attempt of it, in order."""
    found: list[list[FaultKind | None]] = [[] for _ in range(count)]
    for one in here.simulator.received:
        marker = re.search(rb"call (\d+)\.", one.body)
        assert marker is not None
        found[int(marker[1])].append(None if one.fault is None else FaultKind(one.fault))
    return found


def hold_the_table(here: Running, told: list[Any], *, streamed: bool) -> Counter[FaultKind]:
    """Assert that each call was sent as often and told and booked as the table says; return the faults that befell."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in here.rows("SELECT * FROM attempts ORDER BY call, number"):
        rows.setdefault(row["call"], []).append(row)
    calls = {row["id"]: row for row in here.rows("SELECT * FROM calls")}
    count: Counter[FaultKind] = Counter()
    for one, kinds in zip(told, befallen(here, len(told)), strict=True):
        count.update(kind for kind in kinds if kind is not None)
        last = kinds[-1]
        again = kinds[0] is FaultKind.INTERNAL
        assert (2 if again else 1) == len(kinds) == len(rows[one.call]), (one, kinds)
        for kind, row in zip(kinds, rows[one.call], strict=True):
            expected = FINE if kind is None else FAULTS[kind][streamed]
            notes = json.dumps(expected.notes, separators=(",", ":")) if expected.notes else None
            assert (expected.state, expected.error, notes) == (row["state"], row["error_type"], row["notes"]), kinds
            assert (0 if expected.state == "refused" else 1) == row["charged"], kinds
        expected = FINE if last is None else FAULTS[last][streamed]
        assert (expected.status, expected.state) == (one.status, calls[one.call]["state"]), (one, kinds)
        assert (expected.code is None) is one.fine, (one, kinds)
        if expected.status != 200:
            assert expected.code == one.error_type, (one, kinds)
    return count


@pytest.mark.parametrize("action", ["converse", "converse-stream"])
async def test_what_aws_may_have_billed_is_sent_once(tmp_path: Path, action: str) -> None:
    """With all other faults at once, each call that one befalls fails as the table says, and no other does."""
    streamed = action.endswith("stream")
    kinds = [kind for kind in SENT_ONCE if FAULTS[kind][streamed] is not None]
    config = group("routing_strategy: least-busy, cooldown_time: 0") + "general_settings: {idle_timeout: 3}\n"
    async with running(tmp_path, config) as here:
        seed(here)
        for kind in kinds:
            for letter in "AB":
                here.simulator.faults.add(
                    kind,
                    times=None,
                    probability=0.005 if kind in SILENT else 0.03,
                    access_key_id=f"AKIDEPLOYMENT{letter}",
                )

        told = await flood(here, 2 * CALLS, action)

        assert set(kinds) == set(hold_the_table(here, told, streamed=streamed))


@pytest.mark.soak
@pytest.mark.parametrize(
    ("kind", "action"),
    [
        (kind, action)
        for action in ("converse", "converse-stream")
        for kind in SENT_ONCE
        if FAULTS[kind][action.endswith("stream")] is not None
    ],
)
async def test_one_fault_three_times_in_ten(tmp_path: Path, kind: FaultKind, action: str) -> None:
    """Of a thousand calls those fail that the fault befalls, as the table says, and no other."""
    streamed = action.endswith("stream")
    config = group("routing_strategy: simple-shuffle, cooldown_time: 0") + "general_settings: {idle_timeout: 3}\n"
    async with running(tmp_path, config) as here:
        seed(here)
        for letter in "AB":
            here.simulator.faults.add(kind, times=None, probability=OFTEN, access_key_id=f"AKIDEPLOYMENT{letter}")

        told = await flood(here, CALLS, action)

        assert hold_the_table(here, told, streamed=streamed)[kind] > CALLS * 0.1


@pytest.mark.parametrize("action", ["converse", "converse-stream"])
@pytest.mark.parametrize("well", [True, False], ids=["well", "ill"])
async def test_one_call_tries_a_deployment_after_its_cooldown(tmp_path: Path, action: str, well: bool) -> None:
    """Of 50 parallel calls one is sent to it while the others pass it by; its answer decides for all that follow."""
    async with gated() as gate:
        text = config_of(deployment("A", url=gate.url, params="order: 1"), deployment("B", params="order: 2"))
        async with running(tmp_path, text) as here:
            gate.port = int(here.upstream.rpartition(":")[2])
            here.simulator.faults.add("throttle", times=3 if well else 4, access_key_id="AKIDEPLOYMENTA")
            for _ in range(3):
                await ask(here, action=action)
            first = left_out(here)
            let_pass(here, first["claude"])
            here.simulator.received.clear()
            gate.passing = 0
            calls = [asyncio.create_task(ask(here, action=action)) for _ in range(50)]
            await here.until(lambda: 49 == sum(task.done() for task in calls) and gate.held)
            while_trying = Counter(asked(here))
            gate.passing = None
            gate.open.set()
            told = await asyncio.gather(*calls)
            again = left_out(here)
            here.simulator.received.clear()
            await ask(here, action=action)

            assert Counter(A=1, B=49) == while_trying
            assert [True] * 50 == [one.fine for one in told]
            assert ("A" if well else "B") == asked(here)
            assert ([] if well else ["claude"]) == list(again)
            if not well:
                # Left out for longer each time: 5 s, then 10.
                assert 4 < first["claude"] <= 5 < 9 < again["claude"] <= 10


async def test_a_try_whose_caller_leaves_is_made_by_the_next(tmp_path: Path) -> None:
    """A call that is cut off while it tries a deployment says nothing of it; the next one tries."""
    async with gated() as gate:
        text = config_of(deployment("A", url=gate.url, params="order: 1"), deployment("B", params="order: 2"))
        async with running(tmp_path, text + "general_settings: {max_drains: 0}\n") as here:
            gate.port = int(here.upstream.rpartition(":")[2])
            here.simulator.faults.add("throttle", times=3, access_key_id="AKIDEPLOYMENTA")
            for _ in range(3):
                await ask(here)
            let_pass(here, 60)
            gate.passing = 0
            leaving = asyncio.create_task(ask(here))
            await here.until(lambda: gate.held)
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
            await here.settled()
            gate.passing = None
            here.simulator.received.clear()
            await ask(here)
            await ask(here)

            assert "AA" == asked(here)
