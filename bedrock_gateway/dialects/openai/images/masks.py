"""Masks of OpenAI's, where what is transparent is to be changed, as masks in black and white, which is what models of
Bedrock take.

Knows PNG as far as the transparency of one goes; looks at no colour. A mask that hides nothing is in black and white
already, or in another format, and stays as it is.

Source: OpenAI API reference, "Create image edit" (``mask``); PNG specification (third edition), 9 (filters), 10
(compression), 11.2 and 11.3.1.1 (``IHDR``, ``PLTE``, ``IDAT``, ``tRNS``).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from itertools import accumulate
from typing import NoReturn

import attrs

from bedrock_gateway.dialects.fields import wrong

__all__ = ["in_black_and_white"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: As many as Nova Canvas takes; more are read by nobody, and take a second here.
MOST_PIXELS = 4_194_304
_GREY_ALPHA, _INDEXED, _RGBA = 4, 3, 6
#: Bytes of a pixel by colour type, at 8 bits a sample; its alpha (or its index) is the last one.
_PIXEL = {_INDEXED: 1, _GREY_ALPHA: 2, _RGBA: 4}


@attrs.frozen
class _Png:
    """What is needed of a PNG: its size, how it is written, which indices are transparent, its compressed rows."""

    width: int
    height: int
    depth: int
    colours: int
    interlaced: bool
    alphas: bytes
    data: bytes = attrs.field(repr=False)

    @property
    def may_hide(self) -> bool:
        """Whether anything of it may be transparent."""
        return self.colours in (_GREY_ALPHA, _RGBA) or bool(self.alphas)


def in_black_and_white(mask: bytes, *, changed: int) -> bytes:
    """Return a mask of which what is wholly transparent has one colour, and all else the opposite one.

    Args:
        changed: 0 where a model changes what is black, 255 where it changes what is white.

    Raises:
        InvalidRequest: it hides something, in a way that is not read here.
    """
    if not mask.startswith(_SIGNATURE):
        return mask
    png = _read(mask)
    if not png.may_hide:
        return mask
    if png.colours not in _PIXEL or png.depth != 8 or png.interlaced:
        _unread("its transparency must be 8 bits a pixel, without interlacing; or give it in black and white")
    if not 0 < png.width * png.height <= MOST_PIXELS:
        _unread(f"it must have {MOST_PIXELS:,} pixels or fewer")
    # By alpha, or by index: what a pixel becomes.
    transparent = {0} if png.colours != _INDEXED else {at for at, alpha in enumerate(png.alphas) if alpha == 0}
    table = bytes(changed if value in transparent else 255 - changed for value in range(256))
    rows = [row.translate(table) for row in _rows(png)]
    return _written(png.width, png.height, rows) if any(changed in row for row in rows) else mask


def _read(mask: bytes) -> _Png:
    head, alphas, data, at = b"", b"", bytearray(), len(_SIGNATURE)
    while at + 8 <= len(mask):
        length, kind = struct.unpack_from(">I4s", mask, at)
        content = mask[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            head = content
        elif kind == b"tRNS":
            alphas = content
        elif kind == b"IDAT":
            data += content
        at += 12 + length
    if len(head) != 13:
        _unread("it is cut off")
    width, height, depth, colours, _, _, interlaced = struct.unpack(">IIBBBBB", head)
    return _Png(width, height, depth, colours, bool(interlaced), alphas, bytes(data))


def _rows(png: _Png) -> Iterator[bytes]:
    """Yield the alpha (or the index) of each pixel, row by row."""
    size = _PIXEL[png.colours]
    length = 1 + png.width * size
    try:
        data = zlib.decompressobj().decompress(png.data, png.height * length)
    except zlib.error:
        _unread("its data are damaged")
    if len(data) != png.height * length:
        _unread("it is cut off")
    before = bytes(png.width)
    for start in range(0, len(data), length):
        # Filters work on each byte of a pixel by itself: those of the colours need not be undone.
        before = _unfiltered(data[start], data[start + size : start + length : size], before)
        yield before


def _unfiltered(kind: int, row: bytes, above: bytes) -> bytes:
    if kind == 0:
        return row
    if kind == 1:
        return bytes([total & 255 for total in accumulate(row)])
    if kind == 2:
        return bytes([(up + byte) & 255 for up, byte in zip(above, row, strict=True)]) if any(row) else above
    if kind > 4:
        _unread("its data are damaged")
    found = bytearray()
    left = corner = 0
    for up, byte in zip(above, row, strict=True):
        left = (byte + ((left + up) >> 1 if kind == 3 else _paeth(left, up, corner))) & 255
        corner = up
        found.append(left)
    return bytes(found)


def _paeth(left: int, up: int, corner: int) -> int:
    guess = left + up - corner
    off_left, off_up, off_corner = abs(guess - left), abs(guess - up), abs(guess - corner)
    if off_left <= off_up and off_left <= off_corner:
        return left
    return up if off_up <= off_corner else corner


def _written(width: int, height: int, rows: list[bytes]) -> bytes:
    """Return rows of grey as a PNG of 8 bits a channel."""
    packer = zlib.compressobj(1)
    data = bytearray()
    line = bytearray(1 + 3 * width)
    for row in rows:
        line[1::3] = line[2::3] = line[3::3] = row
        data += packer.compress(line)
    data += packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", bytes(data)), (b"IEND", b""))
    return _SIGNATURE + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def _unread(why: str) -> NoReturn:
    wrong("mask", f"cannot be read as a PNG: {why}")
