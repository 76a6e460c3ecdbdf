"""Tables fit what they are printed on: widths, ellipses, styles, encodings."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_gateway.cli.terminal import Column, Terminal, encodable

ARN = "arn:aws:bedrock:us-west-2:123456789012:application-inference-profile/abcdefghijkl"


class Screen(io.TextIOWrapper):
    """A terminal of some encoding."""

    def __init__(self, encoding: str = "utf-8", tty: bool = True) -> None:
        super().__init__(io.BytesIO(), encoding=encoding, newline="\n")
        self.tty = tty

    def isatty(self) -> bool:
        """Tell whether it is a terminal at all."""
        return self.tty

    def text(self) -> str:
        """Return what was printed."""
        self.flush()
        self.seek(0)
        return self.read()


def terminal(width: int | None, encoding: str = "utf-8") -> Terminal:
    """Return a terminal without styles."""
    return Terminal(out=Screen(encoding), width=width, colour=False)


@pytest.mark.parametrize(
    ("environ", "tty", "colour"),
    [
        ({"TERM": "xterm"}, True, True),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"TERM": "dumb"}, True, False),
        ({}, False, False),
    ],
)
def test_colour(environ: dict[str, str], tty: bool, colour: bool) -> None:
    """Styles are for terminals that want them."""
    found = Terminal.of(Screen(tty=tty), environ)
    assert (colour, tty) == (found.colour, found.width is not None)
    assert ("\x1b[1mx\x1b[0m" if colour else "x") == found.style("\x1b[1m", "x")
    assert "" == found.style("\x1b[1m", "")


def test_the_middle_is_left_out() -> None:
    """A long name keeps its beginning and its end, which tell ARNs apart, and exactly its width."""
    assert "arn:aws:be…cdefghijkl" == terminal(80).shorten(ARN, 21)
    assert "arn:aws:b...cdefghijkl" == terminal(80, "ascii").shorten(ARN, 22)
    assert ARN == terminal(80).shorten(ARN, len(ARN))


@pytest.mark.parametrize(
    ("encoding", "text", "expected"),
    [
        ("utf-8", "größe\x1b[31m\r\n\u202e", "größe?[31m???"),
        ("ascii", "größe", "gr\\xf6\\xdfe"),
        ("latin-1", "größe 日", "größe \\u65e5"),
    ],
)
def test_names_cannot_harm(encoding: str, text: str, expected: str) -> None:
    """What callers sent neither steers a terminal nor breaks one that lacks the characters."""
    assert expected == terminal(80, encoding).word(text)


def test_what_no_encoding_is_known_of() -> None:
    """A stream without an encoding takes all of Unicode."""
    assert "größe" == encodable("größe", None)


def test_long_columns_give_way_first() -> None:
    """The longest columns are shortened, then spare ones left out, which is said; numbers are never cut."""
    columns = [
        Column(heading="name", cells=[ARN, "claude"], foot="total", left=True, least=10),
        Column(heading="id", cells=["0123456789abcdef"] * 2, left=True, spare=2),
        Column(heading="calls", cells=["1", "1,234,567"], foot="1,234,568"),
    ]
    wide, narrow = terminal(60), terminal(30)
    wide.table(columns)
    narrow.table(columns, ["#", ""])
    assert isinstance(wide.out, Screen)
    assert isinstance(narrow.out, Screen)
    assert (
        "name                             id                    calls\n"
        "arn:aws:bedrock…le/abcdefghijkl  0123456789abcdef          1\n"
        "claude                           0123456789abcdef  1,234,567\n"
        "total                                              1,234,568\n"
    ) == wide.out.text()
    assert (
        "name                     calls\n"
        "arn:aws:b…defghijkl          1  #\n"
        "claude               1,234,567\n"
        "total                1,234,568\n"
        "\n"
        "No room for: id. --json has everything.\n"
    ) == narrow.out.text()


def test_files_take_whole_columns() -> None:
    """What goes to a file or a pipe need not fit: every column is there, only names too long for any line are cut."""
    kept, widths = terminal(None).fit(
        [Column(heading="a", cells=["x" * 500], least=1, spare=1), Column(heading="b", cells=["y" * 200], spare=2)]
    )
    assert (["a", "b"], [60, 200]) == ([column.heading for column in kept], widths)


TEXTS = st.lists(st.text(st.characters(codec="utf-8", categories=["L", "N"]), max_size=90), min_size=2, max_size=2)


@settings(deadline=None)
@given(
    st.lists(st.tuples(TEXTS, st.none() | st.integers(4, 20), st.integers(1, 4)), max_size=6),
    TEXTS,
    st.integers(20, 200),
)
def test_no_line_is_too_long(more: list[tuple[list[str], int | None, int]], first: list[str], width: int) -> None:
    """Whatever is in it, a table fits where its first column does, with every row on a line of its own."""
    screen = terminal(width)
    columns = [Column(heading="first", cells=first, left=True, least=16)]
    for index, (cells, least, spare) in enumerate(more):
        columns.append(Column(heading=f"c{index}", cells=cells, least=least, spare=spare))
    screen.table(columns)
    assert isinstance(screen.out, Screen)
    lines = screen.out.text().split("\n")
    assert [] == [line for line in lines[:3] if len(line) > width]
    assert len(lines) >= 4
