"""Kept answers by themselves: bounds of bytes and of time, and what their readers see."""

from __future__ import annotations

import asyncio
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_gateway.chain.keeping import WEIGHT, End, Keeping, KeptAnswer

HEADERS = [("content-type", "application/json")]


def begun(keeping: Keeping, key: bytes = b"key", call: str = "first") -> KeptAnswer:
    """Begin to keep an answer there is room for."""
    kept = keeping.begin(key, call)
    assert kept is not None
    return kept


def whole(keeping: Keeping, key: bytes, body: bytes = b"{}") -> KeptAnswer:
    """Keep a whole answer."""
    kept = begun(keeping, key, key.decode())
    kept.whole(200, HEADERS, "claude", body)
    return kept


async def test_a_whole_answer_is_there_at_once() -> None:
    """Whoever finds a whole answer finds head, body and end together."""
    keeping = Keeping()
    whole(keeping, b"key", b"body")
    kept = keeping.find(b"key")

    assert kept is not None
    assert (200, HEADERS, "claude", b"body", False) == (
        kept.status,
        kept.headers,
        kept.deployment,
        kept.body,
        kept.streamed,
    )
    assert End.WHOLE is kept.end
    keeping.close()


async def test_a_key_is_kept_once() -> None:
    """While an answer is kept, whether it grows or has ended, no other takes its place."""
    keeping = Keeping()
    kept = begun(keeping)
    assert None is keeping.begin(b"key", "second")
    kept.finish()
    assert None is keeping.begin(b"key", "third")
    assert kept is keeping.find(b"key")
    keeping.close()


async def test_readers_are_woken_by_every_change() -> None:
    """Each reader sees more bytes and the end as they come; one that was cancelled is in nobody's way."""
    keeping = Keeping()
    kept = begun(keeping)
    kept.begin(200, HEADERS, "claude")
    gone = asyncio.create_task(kept.change())
    reader = asyncio.create_task(kept.change())
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    kept.write(b"more")
    await reader
    reader = asyncio.create_task(kept.change())
    await asyncio.sleep(0)
    kept.finish()
    await reader

    assert (b"more", End.WHOLE) == (kept.body, kept.end)
    keeping.close()


@pytest.mark.parametrize("more", [0, 1])
async def test_an_answer_is_bounded(more: int) -> None:
    """Up to its bound an answer is kept; a byte over it, it is forgotten and holds nothing, and stays so."""
    keeping = Keeping()
    kept = begun(keeping)
    kept.begin(200, HEADERS, "claude")
    kept.write(bytes(1_048_576 - 1))
    kept.write(bytes(1 + more))
    kept.write(b"")
    kept.finish()

    if more:
        assert (End.FORGOTTEN, 0, b"", None) == (kept.end, keeping.held, kept.body, keeping.find(b"key"))
    else:
        assert (End.WHOLE, 1_048_576 + WEIGHT, kept) == (kept.end, keeping.held, keeping.find(b"key"))
    keeping.close()


async def test_all_answers_together_are_bounded() -> None:
    """For room the oldest ended answers go, never one that somebody reads nor one that still grows."""
    keeping = Keeping(most=4 * WEIGHT)
    growing = begun(keeping, b"growing")
    read, old = whole(keeping, b"read", b""), whole(keeping, b"old", b"")
    read.followers += 1
    new = whole(keeping, b"new", b"")
    assert 4 * WEIGHT == keeping.held
    growing.write(b"x")
    assert [growing, read, None, new] == [keeping.find(key) for key in (b"growing", b"read", b"old", b"new")]
    assert End.WHOLE is old.end
    growing.write(bytes(WEIGHT - 1))
    assert 4 * WEIGHT == keeping.held
    growing.write(bytes(2 * WEIGHT))
    assert (End.FORGOTTEN, None) == (growing.end, keeping.find(b"new"))
    assert (read, WEIGHT) == (keeping.find(b"read"), keeping.held)
    keeping.close()


async def test_where_there_is_no_room_at_all_nothing_is_kept() -> None:
    """An answer that does not even fit by itself is not begun."""
    keeping = Keeping(most=WEIGHT - 1)

    assert None is keeping.begin(b"key", "first")
    assert (0, 0) == (len(keeping), keeping.held)


async def test_an_answer_lives_for_its_time() -> None:
    """While it runs an answer is kept for ever; after its end for 120 s, and what reads it then reads on."""
    now = [0.0]
    keeping = Keeping(now=lambda: now[0])
    kept = begun(keeping)
    now[0] = 10_000.0
    assert kept is keeping.find(b"key")
    kept.whole(200, HEADERS, "claude", b"body")
    kept.followers += 1
    now[0] += 119.9
    assert kept is keeping.find(b"key")
    now[0] += 0.1
    assert None is keeping.find(b"key")
    assert (b"body", WEIGHT + 4) == (kept.body, keeping.held)
    kept.let_go()
    assert (b"", 0) == (kept.body, keeping.held)
    keeping.close()


async def test_one_timer_frees_them_all() -> None:
    """Nobody has to ask for an answer for it to go when its time is over."""
    keeping = Keeping(seconds=0.001)
    for number in range(50):
        whole(keeping, b"%d" % number)
    async with asyncio.timeout(20):
        while len(keeping):  # noqa: ASYNC110 (the timer is what is tested)
            await asyncio.sleep(0)

    assert 0 == keeping.held
    assert None is keeping._timer


async def test_a_lost_answer_holds_no_body() -> None:
    """What is left of an answer that broke off is that it did."""
    keeping = Keeping()
    kept = begun(keeping)
    kept.begin(200, HEADERS, "claude")
    kept.write(b"part")
    kept.lose()
    kept.forget()
    kept.finish()

    assert (End.LOST, b"", WEIGHT) == (kept.end, kept.body, keeping.held)
    assert kept is keeping.find(b"key")
    keeping.close()


async def test_an_answer_that_is_not_kept_on_is_there_for_its_readers() -> None:
    """Readers of an answer that is of no further use read it to its end; nobody finds it any more."""
    keeping = Keeping()
    kept = begun(keeping)
    kept.followers += 1
    kept.begin(200, HEADERS, "claude")
    kept.write(b"all")
    kept.finish(keep=False)

    assert (End.WHOLE, b"all", None) == (kept.end, kept.body, keeping.find(b"key"))
    kept.let_go()
    assert 0 == keeping.held


async def test_at_the_end_everything_is_given_up() -> None:
    """A reader that is still there finds its answer forgotten, not whole."""
    keeping = Keeping()
    growing, ended = begun(keeping, b"growing"), whole(keeping, b"ended")
    ended.followers += 1
    keeping.close()

    assert [End.FORGOTTEN] * 2 == [growing.end, ended.end]
    assert (0, 0, None) == (len(keeping), keeping.held, keeping._timer)
    ended.let_go()
    assert 0 == keeping.held


@attrs.define(eq=False)
class Model:
    """What the test knows of one answer."""

    kept: KeptAnswer
    key: bytes
    followers: int = 0


KEYS = [b"a", b"b", b"c", b"d", b"e"]
STEPS = st.one_of(
    st.tuples(st.just("begin"), st.sampled_from(KEYS)),
    st.tuples(st.just("write"), st.integers(0, 9), st.integers(0, 3 * WEIGHT)),
    st.tuples(st.sampled_from(["finish", "drop", "lose", "forget", "follow", "let_go"]), st.integers(0, 9)),
    st.tuples(st.just("wait"), st.integers(0, 150)),
)


@settings(deadline=None, max_examples=200)
@given(st.lists(STEPS, max_size=60))
def test_bounds_hold_whatever_happens(steps: list[tuple[Any, ...]]) -> None:
    """Never is more held than may be, nor anything that nobody can read; at the end there is nothing."""

    async def run() -> None:
        now = [0.0]
        keeping = Keeping(most_of_one=4 * WEIGHT, most=9 * WEIGHT, now=lambda: now[0])
        models: list[Model] = []
        for name, *values in steps:
            if name == "begin":
                there = keeping.find(values[0])
                kept = keeping.begin(values[0], "first")
                assert kept is None or there is None
                if kept is not None:
                    models.append(Model(kept, values[0]))
            elif name == "wait":
                now[0] += values[0]
            elif models:
                apply(models[values[0] % len(models)], keeping, name, values[1:])
            check(keeping, models)
        keeping.close()
        for model in models:
            for _ in range(model.followers):
                model.kept.let_go()
        assert (0, 0, None) == (len(keeping), keeping.held, keeping._timer)

    asyncio.run(run())


def apply(model: Model, keeping: Keeping, name: str, values: list[int]) -> None:
    """Do one step to an answer; only what can be found can be followed."""
    kept = model.kept
    if name == "write":
        kept.write(bytes(values[0]))
    elif name == "finish":
        kept.finish()
    elif name == "drop":
        kept.finish(keep=False)
    elif name == "lose":
        kept.lose()
    elif name == "forget":
        kept.forget()
    elif name == "follow" and keeping.find(model.key) is kept:
        kept.followers += 1
        model.followers += 1
    elif name == "let_go" and model.followers:
        model.followers -= 1
        kept.let_go()


def check(keeping: Keeping, models: list[Model]) -> None:
    """Hold what is held against what can be read."""
    listed = {model.kept for model in models if keeping._kept.get(model.key) is model.kept}
    read = {model.kept for model in models if model.kept.end is not End.FORGOTTEN and model.followers}
    assert len(keeping) == len(listed)
    assert keeping.held <= keeping.most
    assert keeping.held == sum(WEIGHT + len(kept.body) for kept in listed | read)
    assert not [kept for kept in listed if kept.end is End.FORGOTTEN]
    assert set(keeping._ended) == {kept for kept in listed if kept.end is not None}
    for model in models:
        assert model.kept in listed | read or not model.kept.body
