"""Broken configs: each file in ``broken/`` gives exactly the faults in the ``.expected`` file beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bedrock_gateway.config import load_config
from bedrock_gateway.config.document import LARGEST
from bedrock_gateway.config.reading import MOST_FAULTS
from bedrock_gateway.errors import ConfigError

BROKEN = sorted((Path(__file__).parent / "broken").glob("*.yaml"))

#: What the files find in the environment; the value is a secret that got into the wrong variable.
ENVIRON = {"SECRET": "sk-secret-in-the-wrong-place", "EMPTY": ""}


def faults_of(text: str | bytes, file: str = "config.yaml") -> list[str]:
    """Load a broken config and return its faults, a line each."""
    with pytest.raises(ConfigError) as caught:
        load_config(text, file=file, environ=ENVIRON)
    return str(caught.value).splitlines()


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_faults_are_exactly_those_expected(path: Path) -> None:
    """Every fault of a file is told at once, each with its place and what to do."""
    expected = path.with_suffix(".expected").read_text(encoding="utf-8").splitlines()

    assert expected == faults_of(path.read_bytes(), path.name)


def test_every_kind_has_its_file_and_its_messages() -> None:
    """There are at least twenty kinds, and no list of messages without its file."""
    expected = sorted(Path(__file__).parent.joinpath("broken").glob("*.expected"))

    assert [path.stem for path in BROKEN] == [path.stem for path in expected]
    assert len(BROKEN) >= 20


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_no_secret_is_quoted(path: Path) -> None:
    """Messages never hold a value that came out of the environment or stands where a secret belongs."""
    said = "\n".join(faults_of(path.read_bytes(), path.name))

    assert [] == [secret for secret in ("never-shown", "sk-secret", "wrong-place") if secret in said]


def test_a_file_that_is_too_large_is_not_read() -> None:
    """Five megabytes are refused at once, not parsed for a minute."""
    text = b"model_list:\n" + b"  - model_name: x\n" * (5 * 1024 * 1024 // 18)

    assert [
        f"config.yaml:1:1: the file is larger than {LARGEST // 1024} KiB; split off what is not needed"
    ] == faults_of(text)


def test_faults_are_bounded() -> None:
    """A file that is wrong throughout ends after a bounded number of faults."""
    text = "".join(f"key_{number}: {number}\n" for number in range(5000))

    assert MOST_FAULTS == len(faults_of(text))


def test_a_byte_order_mark_is_skipped() -> None:
    """A byte order mark, as some editors write one, does not shift lines or columns."""
    assert faults_of(b"model_lst: []\n") == faults_of(b"\xef\xbb\xbfmodel_lst: []\n")


def test_windows_line_ends_count_as_one_line() -> None:
    """CRLF does not double the line numbers."""
    assert ["config.yaml:3:1: colour is not a known key"] == [
        fault for fault in faults_of("model_list:\r\n  []\r\ncolour: red\r\n") if "colour" in fault
    ]


def test_a_key_with_a_line_break_stays_on_one_line() -> None:
    """What a fault quotes of the file cannot break the one-line-a-fault shape."""
    assert ["config.yaml:1:1: 'a\\nb' is not a known key"] == faults_of('"a\\nb": 1\nmodel_list: !x\n')[:1]
