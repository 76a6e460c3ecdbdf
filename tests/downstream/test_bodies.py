"""Reading bodies: how large, how long, how many at once, and that every byte taken from the budget is given back."""

from __future__ import annotations

import asyncio

import attrs
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st
from raw_connections import PATIENCE, both_loops, get, post, served

from bedrock_gateway.downstream.answers import CallerLeft, WholeAnswer, refusal_answer
from bedrock_gateway.downstream.bodies import BodyBudget, Ticket, read_body
from bedrock_gateway.downstream.limits import Limits
from bedrock_gateway.errors import Refusal, Unavailable


@attrs.define(eq=False)
class Reader:
    """A handler that reads bodies against one budget and keeps what came of it."""

    limits: Limits = attrs.field(factory=Limits)
    budget: BodyBudget = attrs.field(factory=BodyBudget)
    bodies: list[bytes] = attrs.field(factory=list)
    peaks: list[int] = attrs.field(factory=list)
    faults: list[BaseException] = attrs.field(factory=list)
    begun: asyncio.Event = attrs.field(factory=asyncio.Event)
    ended: asyncio.Event = attrs.field(factory=asyncio.Event)

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        self.begun.set()
        try:
            with self.budget.ticket() as ticket:
                body = await read_body(request, ticket, self.limits)
                self.peaks.append(self.budget.held)
            self.bodies.append(body)
            return WholeAnswer(200, [], str(len(body)).encode())
        except BaseException as fault:
            self.faults.append(fault)
            if isinstance(fault, Refusal):
                return refusal_answer(fault, close=False)
            raise
        finally:
            self.ended.set()


def chunked(*parts: bytes) -> bytes:
    """Return the bytes of a chunked request."""
    chunks = b"".join(f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in parts if part)
    return get("/", "Transfer-Encoding: chunked", method="POST") + chunks + b"0\r\n\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "body"),
    [
        (get(), b""),
        (post(b""), b""),
        (post(b"x"), b"x"),
        (post(b"x" * 100_000), b"x" * 100_000),
        (post(b"x" * 3_000_000), b"x" * 3_000_000),
        (chunked(), b""),
        (chunked(b"ab", b"c" * 70_000), b"ab" + b"c" * 70_000),
        (chunked(*[b"z"] * 20_000), b"z" * 20_000),
    ],
    ids=["none", "empty", "one byte", "100 KB", "3 MB", "no chunks", "two chunks", "20,000 chunks"],
)
@both_loops
async def test_bodies_are_read_to_their_end(request_bytes: bytes, body: bytes) -> None:
    """Bodies of every framing arrive as sent; the budget holds them while they are needed and nothing afterwards."""
    reader = Reader()
    async with served(reader) as server:
        client = await server.connect()
        for _ in range(2):
            client.send(request_bytes)
            assert str(len(body)).encode() == (await client.answer())[2]
    assert [body, body] == reader.bodies
    assert [len(body), len(body)] == reader.peaks
    assert 0 == reader.budget.held


@settings(deadline=None, max_examples=40)
@given(st.lists(st.binary(max_size=2000), max_size=12), st.integers(1, 400))
def test_chunked_bodies_arrive_unchanged(parts: list[bytes], step: int) -> None:
    """However a body is chunked and its bytes arrive, it is the same body."""
    whole = chunked(*parts)

    async def scenario() -> list[bytes]:
        reader = Reader()
        async with served(reader) as server:
            client = await server.connect()
            for begin in range(0, len(whole), max(step, len(whole) // 40)):
                client.send(whole[begin : begin + max(step, len(whole) // 40)])
                await client.sent()
            await client.answer()
        return reader.bodies

    assert [b"".join(parts)] == asyncio.run(scenario())


async def test_small_body_makes_neither_timer_nor_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that has come with its head costs no timer and no task."""
    loop = asyncio.get_running_loop()
    made: list[str] = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        with monkeypatch.context() as patch, BodyBudget().ticket() as ticket:
            for name in ("call_at", "call_later", "create_task", "create_future"):
                patch.setattr(loop, name, lambda *_, name=name: made.append(name))
            body = await read_body(request, ticket, Limits())
        return WholeAnswer(200, [], body)

    async with served(handler) as server:
        client = await server.connect()
        client.send(post(b"small"))
        assert b"small" == (await client.answer())[2]
    assert [] == made


# Too large


@both_loops
async def test_announced_large_body_is_refused_unread() -> None:
    """A 100 MB body is refused on its announcement, before a byte of it has come."""
    reader = Reader()
    async with served(reader) as server:
        client = await server.connect()
        client.send(get("/", f"Content-Length: {100_000_000}", method="POST"))
        status, headers, body = await client.answer()
    assert (413, "ValidationException") == (status, headers["x-amzn-errortype"])
    assert b"26,000,000 bytes" in body
    assert 0 == reader.budget.held


@pytest.mark.parametrize("request_bytes", [chunked(*[b"x" * 900] * 3), post(b"x" * 2001), chunked(b"x" * 2001)])
async def test_body_over_the_limit_is_refused(request_bytes: bytes) -> None:
    """A body that passes the limit is refused however it is framed, and the connection goes on after its end."""
    reader = Reader(limits=Limits(body=2000))
    async with served(reader) as server:
        client = await server.connect()
        client.send(request_bytes)
        assert 413 == (await client.answer())[0]
        client.send(post(b"y" * 2000))
        assert b"2000" == (await client.answer())[2]
    assert 0 == reader.budget.held


async def test_endless_chunked_body_is_refused_in_the_middle() -> None:
    """A chunked body that never ends is refused once it is too large, and what it held is given back."""
    reader = Reader(limits=Limits(body=300_000))
    async with served(reader, Limits(drop_seconds=0.05)) as server:
        client = await server.connect()
        client.send(get("/", "Transfer-Encoding: chunked", method="POST"))
        for _ in range(4):
            client.send(b"186a0\r\n" + b"x" * 100_000 + b"\r\n")
        assert 413 == (await client.answer())[0]
        assert 0 == reader.budget.held
        assert b"" == await client.rest()


# Too slow, and gone


@both_loops
async def test_body_that_stops_coming_is_408() -> None:
    """A body without progress is given up in AWS's shape, and the connection ends at once."""
    reader = Reader(limits=Limits(body_seconds=0.05))
    async with served(reader) as server:
        client = await server.connect()
        client.send(post(b"half", length=1000))
        status, headers, _ = await client.answer()
        assert (408, "RequestTimeoutException", "close") == (status, headers["x-amzn-errortype"], headers["connection"])
        assert b"" == await client.rest()
    assert 0 == reader.budget.held


async def test_slow_body_with_progress_is_read() -> None:
    """Time counts from the last byte: a body may take much longer than the limit in all."""
    reader = Reader(limits=Limits(body_seconds=0.4))
    async with served(reader) as server:
        client = await server.connect()
        client.send(post(b"x", length=12))
        for _ in range(11):
            # A tenth of the limit, so that a machine that stands still between two bytes does not pass for the caller.
            await client.silent(0.04)
            client.send(b"x")
        assert b"12" == (await client.answer())[2]


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize("request_bytes", [post(b"half", length=1000), chunked(b"ha", b"lf")[:-9]])
@both_loops
async def test_half_a_body_then_gone_leaves_nothing(
    how: str, request_bytes: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """A caller that leaves in the middle of its body ends the read; budget, connection and log are clean."""
    caplog.clear()
    reader = Reader()
    async with served(reader) as server:
        client = await server.connect()
        client.send(request_bytes)
        async with asyncio.timeout(PATIENCE):
            await reader.begun.wait()
            client.reset() if how == "rst" else client.half_close()
            await reader.ended.wait()
    assert [asyncio.CancelledError] == [type(fault) for fault in reader.faults]
    assert 0 == reader.budget.held
    assert [] == [record for record in caplog.records if record.levelname != "DEBUG"]


async def test_body_of_a_caller_that_has_gone() -> None:
    """Whoever reads on after a cancellation is told that the caller has gone, not left waiting."""
    faults: list[BaseException] = []
    begun, ended = asyncio.Event(), asyncio.Event()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            assert task is not None
            task.uncancel()
        with BodyBudget().ticket() as ticket:
            try:
                await read_body(request, ticket, Limits())
            except CallerLeft as fault:
                faults.append(fault)
        ended.set()
        return WholeAnswer(200, [])

    async with served(handler) as server:
        client = await server.connect()
        client.send(post(b"half", length=1000))
        async with asyncio.timeout(PATIENCE):
            await begun.wait()
            client.writer.close()
            await ended.wait()
    assert 1 == len(faults)


async def test_expectation_is_answered_when_the_body_is_wanted() -> None:
    """A client that waits for 100 Continue gets it once somebody reads the body, and not before."""
    go = asyncio.Event()
    reader = Reader()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        await go.wait()
        return await reader(request)

    async with served(handler) as server:
        client = await server.connect()
        client.send(get("/", "Content-Length: 5", "Expect: 100-continue", method="POST"))
        await client.silent(0.05)
        go.set()
        assert b"HTTP/1.1 100 Continue\r\n\r\n" == await client.until(b"\r\n\r\n")
        client.send(b"hello")
        assert (200, b"5") == ((answer := await client.answer())[0], answer[2])


# All together


@both_loops
async def test_bodies_over_the_budget_are_503() -> None:
    """A body that does not fit beside the others is refused with a time to come back, and fits once they are gone."""
    budget = BodyBudget(total=1000)
    reader = Reader(budget=budget)
    async with served(reader) as server:
        other = budget.ticket()
        other.take(600)
        client = await server.connect()
        for request in (post(b"x" * 401), post(b"x", length=401), chunked(b"x" * 401)):
            fresh = await server.connect()
            fresh.send(request)
            status, headers, _ = await fresh.answer()
            assert (503, "ServiceUnavailableException") == (status, headers["x-amzn-errortype"])
            assert int(headers["retry-after"]) > 0
            assert 600 == budget.held
        client.send(post(b"x" * 400))
        assert b"400" == (await client.answer())[2]
        other.release()
        client.send(post(b"x" * 1000))
        assert b"1000" == (await client.answer())[2]
    assert 0 == budget.held


def test_ticket_gives_back_once() -> None:
    """Releasing twice, or after the with, gives back only what was taken."""
    budget = BodyBudget(total=10)
    with budget.ticket() as ticket:
        ticket.take(4)
        ticket.take(3)
        assert (7, 7) == (budget.held, ticket.held)
        with pytest.raises(Unavailable):
            ticket.take(4)
        assert 7 == budget.held
        ticket.release()
    ticket.release()
    assert (0, 0) == (budget.held, ticket.held)


def test_refused_taking_holds_nothing() -> None:
    """A ticket that was refused can still be released, and the budget is as before."""
    budget = BodyBudget(total=10)
    ticket = Ticket(budget)
    with pytest.raises(Unavailable):
        ticket.take(11)
    ticket.release()
    assert 0 == budget.held
