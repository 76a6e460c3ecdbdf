"""Images kept for URLs: how many, for how long, and that nobody finds one without its name."""

from __future__ import annotations

import os
from collections.abc import Callable

import attrs

from bedrock_gateway.chain.files import LIFETIME_MS, MOST_BYTES, Files


@attrs.define
class Wall:
    """A clock that is put forward, and what is to be done later."""

    now: int = 1_000
    due: list[tuple[float, Callable[[], None]]] = attrs.field(factory=list)

    def files(self, base_url: str = "") -> Files:
        """Return a store that goes by it."""
        return Files(
            now_ms=lambda: self.now,
            random_bytes=os.urandom,
            later=lambda seconds, what: self.due.append((seconds, what)),
            base_url=base_url,
        )


def name_of(url: str) -> str:
    """Return the name at the end of a URL."""
    return url.rpartition("/")[2]


def test_the_oldest_go_first() -> None:
    """All of them together are never more than the bound; what came last is there."""
    files = Wall().files()
    names = [name_of(files.keep("http://h", bytes(MOST_BYTES // 4), "image/png")) for _ in range(6)]

    assert MOST_BYTES == files.size
    assert [False, False, True, True, True, True] == [files.get(name) is not None for name in names]
    name = name_of(files.keep("http://h", b"x", "image/png"))
    assert MOST_BYTES // 4 * 3 + 1 == files.size
    assert [None, b"x"] == [kept and kept.content for kept in (files.get(names[2]), files.get(name))]


def test_they_are_over_after_ten_minutes() -> None:
    """Each has its own ten minutes; what is over takes no memory once the clock of the loop says so."""
    wall = Wall()
    files = wall.files()
    first = name_of(files.keep("http://h", b"one", "image/png"))
    wall.now += LIFETIME_MS // 2
    second = name_of(files.keep("http://h", b"two", "image/png"))

    ((seconds, sweep),) = wall.due
    assert LIFETIME_MS / 1000 == seconds
    wall.now += LIFETIME_MS // 2
    sweep()
    assert 3 == files.size
    assert [None, True] == [files.get(first), files.get(second) is not None]
    seconds, sweep = wall.due[1]
    assert LIFETIME_MS / 2000 == seconds
    wall.now += LIFETIME_MS // 2
    sweep()
    assert (0, None, 2) == (files.size, files.get(second), len(wall.due))


def test_a_clock_that_is_set_back() -> None:
    """One that was kept while the clock was ahead keeps nobody else's image longer than it may be there."""
    wall = Wall()
    files = wall.files()
    files.keep("http://h", b"one", "image/png")
    wall.now -= 500
    second = name_of(files.keep("http://h", b"two", "image/png"))
    wall.now += LIFETIME_MS

    assert files.get(second) is None


def test_where_they_are() -> None:
    """A URL begins where the caller asked, or as the config says, and ends in 256 random bits."""
    drawn: list[int] = []

    def random_bytes(count: int) -> bytes:
        drawn.append(count)
        return bytes(count)

    wall = Wall()
    for base_url, begins in (("", "http://h:1"), ("https://g.example/x", "https://g.example/x")):
        files = wall.files(base_url)
        files.random_bytes = random_bytes

        assert f"{begins}/v1/images/files/{'A' * 43}" == files.keep("http://h:1", b"x", "image/png")
    assert [32, 32] == drawn
