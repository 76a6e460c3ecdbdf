"""Sealed secrets: they open where they were sealed, with the secret they were sealed with, and nowhere else."""

from __future__ import annotations

import base64
import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bedrock_gateway.errors import StoreError
from bedrock_gateway.store.sealing import Sealer, is_sealed

ROOT = b"a root secret of thirty-two byte"
PLACE = ("model-1", "aws_secret_access_key")


@given(text=st.text(st.characters(exclude_categories=["Cs"])))
def test_what_is_sealed_opens_again(text: str) -> None:
    """Any text comes back as it was, also after the way through JSON."""
    sealed = json.loads(json.dumps(Sealer(ROOT).seal(text, PLACE)))

    assert is_sealed(sealed)
    assert text == Sealer(ROOT).open(sealed, PLACE)


def test_the_text_does_not_show() -> None:
    """Neither the sealed value nor its decoded bytes hold the text, and no two of one text are alike."""
    first, second = (Sealer(ROOT).seal("hush-hush-hush", PLACE) for _ in range(2))

    assert first != second
    assert b"hush" not in base64.b64decode(first["sealed"].partition(".")[2])
    assert "hush" not in json.dumps(first)


@pytest.mark.parametrize(
    ("root", "place"),
    [
        (b"another root secret of many byte", PLACE),
        (ROOT, ("model-2", "aws_secret_access_key")),
        (ROOT, ("model-1", "api_key")),
        (ROOT, ("model-1aws_secret_access_key",)),
    ],
)
def test_it_opens_nowhere_else(root: bytes, place: tuple[str, ...]) -> None:
    """Another root secret, another model or another parameter does not open it."""
    sealed = Sealer(ROOT).seal("hush", PLACE)

    with pytest.raises(StoreError, match="another root secret"):
        Sealer(root).open(sealed, place)


@given(data=st.data())
def test_no_changed_byte_is_taken(data: st.DataObject) -> None:
    """A changed, cut or lengthened value is refused."""
    version, _, text = Sealer(ROOT).seal("hush", PLACE)["sealed"].partition(".")
    sealed = bytearray(base64.b64decode(text))
    at = data.draw(st.integers(0, len(sealed) - 1))
    match data.draw(st.sampled_from(["change", "cut", "lengthen"])):
        case "change":
            sealed[at] ^= data.draw(st.integers(1, 255))
        case "cut":
            del sealed[at:]
        case _:
            sealed += b"x"

    with pytest.raises(StoreError):
        Sealer(ROOT).open({"sealed": f"{version}.{base64.b64encode(sealed).decode()}"}, PLACE)


@pytest.mark.parametrize(
    "value",
    [None, "text", {}, {"sealed": 1}, {"sealed": ""}, {"sealed": "1."}, {"sealed": "1.%%"}, {"sealed": "2.AAAA"}],
)
def test_what_is_no_sealed_value_is_refused(value: object) -> None:
    """Anything that this version did not write is an error, never a text."""
    with pytest.raises(StoreError):
        Sealer(ROOT).open(value, PLACE)


@pytest.mark.parametrize("value", ["text", {}, {"sealed": "x", "more": 1}, ["sealed"], None])
def test_other_values_are_not_taken_for_sealed_ones(value: object) -> None:
    """Only an object of that one member is a sealed value."""
    assert not is_sealed(value)


def test_the_root_secret_does_not_show() -> None:
    """A repr holds nothing of the root secret."""
    assert "Sealer()" == repr(Sealer(ROOT))


def test_cryptography_waits_until_it_is_needed() -> None:
    """Importing the module does not bring the library in."""
    code = "import sys, bedrock_gateway.store.sealing; print('cryptography' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)

    assert "False" == done.stdout.strip()
