"""Masks: what OpenAI's hide is what a model of Bedrock changes, whichever way the PNG was written."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_gateway.dialects.openai.images.masks import MOST_PIXELS, in_black_and_white
from bedrock_gateway.errors import InvalidRequest

SIGNATURE = b"\x89PNG\r\n\x1a\n"
SIZES = {3: 1, 4: 2, 6: 4, 2: 3, 0: 1}


def png(
    width: int, height: int, colours: int, data: bytes, *, depth: int = 8, interlaced: int = 0, alphas: bytes = b""
) -> bytes:
    """Write a PNG of rows that are filtered already; their compressed bytes come in two pieces."""
    head = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, interlaced)
    packed = zlib.compress(data)
    chunks = [(b"IHDR", head), *([(b"tRNS", alphas)] if alphas else []), (b"IDAT", packed[:5]), (b"IDAT", packed[5:])]
    return SIGNATURE + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in [*chunks, (b"IEND", b"")]
    )


def filtered(kind: int, row: bytes, above: bytes, size: int) -> bytes:
    """Write a row by one of PNG's filters, as its specification says it."""
    written = bytearray([kind])
    for at, byte in enumerate(row):
        left = row[at - size] if at >= size else 0
        up = above[at]
        corner = above[at - size] if at >= size else 0
        near = min((left, up, corner), key=lambda one: abs(left + up - corner - one))
        written.append((byte - (0, left, up, (left + up) // 2, near)[kind]) % 256)
    return bytes(written)


def pixels(mask: bytes) -> tuple[int, int, list[bytes]]:
    """Read a mask that was written here: size and rows."""
    width, height, depth, colours = struct.unpack(">IIBB", mask[16:26])
    assert (8, 2) == (depth, colours)
    (length,) = struct.unpack(">I", mask[33:37])
    data = zlib.decompress(mask[41 : 41 + length])
    rows = [data[at : at + 1 + 3 * width] for at in range(0, len(data), 1 + 3 * width)]
    assert {0} == {row[0] for row in rows} and all(row[1::3] == row[2::3] == row[3::3] for row in rows)
    return width, height, [row[1::3] for row in rows]


@settings(max_examples=60)
@given(st.data(), st.sampled_from([4, 6]), st.integers(1, 7), st.integers(1, 5), st.sampled_from([0, 255]))
def test_what_is_transparent_is_changed(
    data: st.DataObject, colours: int, width: int, height: int, changed: int
) -> None:
    """Whatever filters its rows are written by: alpha 0 is changed, all other alphas are not."""
    size = SIZES[colours]
    byte = st.sampled_from([0, 1, 128, 254, 255])
    rows = [bytes(data.draw(st.lists(byte, min_size=width * size, max_size=width * size))) for _ in range(height)]
    kinds = data.draw(st.lists(st.integers(0, 4), min_size=height, max_size=height))
    above = [bytes(width * size), *rows]
    mask = png(
        width,
        height,
        colours,
        b"".join(filtered(kind, row, up, size) for kind, row, up in zip(kinds, rows, above, strict=False)),
    )
    shown = [bytes(changed if alpha == 0 else 255 - changed for alpha in row[size - 1 :: size]) for row in rows]

    found = in_black_and_white(mask, changed=changed)
    if any(changed in row for row in shown):
        assert (width, height, shown) == pixels(found)
    else:
        assert mask == found


def test_a_palette_with_transparency() -> None:
    """An index whose colour is transparent is changed; those beyond the table are opaque."""
    mask = png(4, 1, 3, b"\0\0\1\2\3", alphas=b"\xff\x00\x01")

    assert (4, 1, [b"\xff\0\xff\xff"]) == pixels(in_black_and_white(mask, changed=0))


@pytest.mark.parametrize(
    "mask", [b"\xff\xd8\xff", png(1, 1, 2, bytes(4)), png(1, 1, 0, bytes(2)), png(1, 1, 6, bytes(4) + b"\1"), b""]
)
def test_what_hides_nothing_stays(mask: bytes) -> None:
    """A mask in the model's own words, in black and white, is not touched."""
    assert mask == in_black_and_white(mask, changed=0)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (SIGNATURE, "cut off"),
        (png(1, 2, 6, bytes(5)), "cut off"),
        (png(1, 1, 6, bytes(5))[:50], "cut off"),
        (png(1, 1, 6, b"\5" + bytes(4)), "damaged"),
        (png(1, 1, 6, bytes(9), depth=16), "8 bits a pixel"),
        (png(1, 1, 6, bytes(5), interlaced=1), "without interlacing"),
        (png(1, 1, 2, bytes(4), alphas=bytes(6)), "8 bits a pixel"),
        (png(MOST_PIXELS + 1, 1, 6, b""), "pixels or fewer"),
        (png(0, 1, 6, b"\0"), "pixels or fewer"),
    ],
)
def test_what_is_not_read(mask: bytes, words: str) -> None:
    """What may hide something and cannot be read is refused: nobody is billed for an edit of the wrong part."""
    with pytest.raises(InvalidRequest, match=words) as caught:
        in_black_and_white(mask, changed=0)

    assert "mask" == caught.value.param


@given(st.binary(max_size=80))
def test_garbage(garbage: bytes) -> None:
    """Whatever comes is a mask or refused."""
    try:
        in_black_and_white(SIGNATURE + garbage, changed=0)
    except InvalidRequest:
        pass
