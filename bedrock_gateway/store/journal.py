"""The journal beside the database: what must survive the process before the database has it.

Knows files, frames and room; knows nothing of what a payload means. Three files of fixed size, preallocated at start
so that a full disk cannot refuse a record: two *opening segments* that alternate, and one *closing segment* for
closings the database could not take in time. One ``pwrite`` a record: after it the bytes are the kernel's and outlive
``kill -9``.

A segment is a header and then frames. Little endian::

    header, 64 bytes                              frame
    0   magic "bgjrnl01"                          0   magic, u32
    8   generation, u64                           4   generation, low 32 bits, u32
    16  1 = simulated, u8                         8   length of the payload, u32
    17  id of the run, 36 ASCII bytes             12  CRC-32 of the payload, started with the generation, u32
    53  CRC-32 of bytes 0..52, u32                16  payload

Emptying a segment is writing a header of a higher generation: frames of older generations are no longer read. A frame
that is torn or damaged is skipped and reading goes on at the next frame's magic.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import attrs

from bedrock_gateway.errors import StoreError

__all__ = ["Journal", "Segment", "SegmentContents", "read_segment"]

_HEADER = struct.Struct("<8sQB36s")
_HEADER_SIZE = 64
_HEADER_MAGIC = b"bgjrnl01"
_FRAME = struct.Struct("<IIII")
_FRAME_SIZE = 16
_FRAME_MAGIC = 0xB6A1_F57E
_FRAME_MAGIC_BYTES = struct.pack("<I", _FRAME_MAGIC)
_LOW = 0xFFFF_FFFF


@attrs.frozen(kw_only=True)
class SegmentContents:
    """What a segment file holds.

    Attributes:
        run: id of the run that wrote it; None where the header is missing or damaged.
        simulated: whether a simulated run wrote it; None likewise.
        generation: of the frames below.
        payloads: of every sound frame, in the order written.
        damaged: places between sound frames where others should be; a torn last frame is not counted.
    """

    run: str | None
    simulated: bool | None
    generation: int
    payloads: tuple[bytes, ...]
    damaged: int


def read_segment(path: Path) -> SegmentContents:
    """Read a segment file, whatever state it is in; a missing or empty file holds nothing.

    Raises:
        OSError: the file is there and cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        data = b""
    run: str | None = None
    simulated: bool | None = None
    generation = 0
    if len(data) >= _HEADER_SIZE:
        magic, number, flag, run_id = _HEADER.unpack_from(data)
        (crc,) = struct.unpack_from("<I", data, _HEADER.size)
        if magic == _HEADER_MAGIC and crc == zlib.crc32(data[: _HEADER.size]):
            run, simulated, generation = run_id.decode("ascii", "replace"), bool(flag), number
    frames = _frames(data, None if run is None else generation & _LOW)
    if run is None:
        # The header is gone: the newest generation among the frames is the one it named. Older frames are long settled.
        generation = max((number for number, _, _ in frames), default=0)
    payloads: list[bytes] = []
    damaged = 0
    expected = _HEADER_SIZE
    for number, position, payload in frames:
        if number == generation & _LOW:
            damaged += position != expected
            expected = position + _FRAME_SIZE + len(payload)
            payloads.append(payload)
    return SegmentContents(
        run=run, simulated=simulated, generation=generation, payloads=tuple(payloads), damaged=damaged
    )


def _frames(data: bytes, wanted: int | None) -> list[tuple[int, int, bytes]]:
    """Return the sound frames of one generation (or of all) as (generation, position, payload)."""
    frames: list[tuple[int, int, bytes]] = []
    # Payloads are ASCII, so the magic never occurs inside one and the next one found is always a frame's.
    position = data.find(_FRAME_MAGIC_BYTES, _HEADER_SIZE)
    while 0 <= position <= len(data) - _FRAME_SIZE:
        _, number, length, crc = _FRAME.unpack_from(data, position)
        start = position + _FRAME_SIZE
        if wanted is None or number == wanted:
            payload = data[start : start + length]
            if len(payload) == length and zlib.crc32(payload, number) == crc:
                frames.append((number, position, payload))
                start += length
        position = data.find(_FRAME_MAGIC_BYTES, start)
    return frames


@attrs.define(eq=False)
class Segment:
    """One preallocated file of frames.

    Attributes:
        path: the file.
        size: bytes it has, header included.
        descriptor: its open file.
        generation: of the frames now written.
        position: where the next frame goes.
        frames: frames since the segment was last emptied.
        pending: attempts whose only lasting record is a frame in here: while there are any, it must not be emptied.
    """

    path: Path
    size: int
    descriptor: int
    generation: int
    position: int = _HEADER_SIZE
    frames: int = 0
    pending: int = 0

    @classmethod
    def create(cls, path: Path, size: int, generation: int) -> Segment:
        """Open the file, make all its room real, and leave what is in it (of ``generation``) alone until ``empty``.

        Raises:
            OSError: no room, or no right to it.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            _allocate(descriptor, size)
        except OSError:
            os.close(descriptor)
            raise
        return cls(path, size, descriptor, generation)

    def empty(self, run: str, simulated: bool) -> None:
        """Forget every frame: the next ones belong to ``run``.

        Raises:
            OSError: the header could not be written; nothing has changed then.
        """
        head = _HEADER.pack(_HEADER_MAGIC, self.generation + 1, simulated, run.encode("ascii"))
        head += struct.pack("<I", zlib.crc32(head))
        _write(self.descriptor, head.ljust(_HEADER_SIZE, b"\0"), 0)
        self.generation += 1
        self.position = _HEADER_SIZE
        self.frames = 0

    def append(self, payload: bytes) -> bool:
        """Write one frame; False when there is no room for it.

        Raises:
            OSError: the file refused it; the room is still free then.
        """
        position = self.position
        end = position + _FRAME_SIZE + len(payload)
        if end > self.size:
            return False
        generation = self.generation & _LOW
        frame = _FRAME.pack(_FRAME_MAGIC, generation, len(payload), zlib.crc32(payload, generation)) + payload
        _write(self.descriptor, frame, position)
        self.position = end
        self.frames += 1
        return True

    def sync(self) -> None:
        """Bring what was written to the disk itself (blocks: for a thread)."""
        getattr(os, "fdatasync", os.fsync)(self.descriptor)

    def close(self) -> None:
        """Close the file."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def _write(descriptor: int, data: bytes, position: int) -> None:
    written = os.pwrite(descriptor, data, position)
    if written != len(data):
        raise OSError(f"only {written} of {len(data)} bytes were written")


def _allocate(descriptor: int, size: int) -> None:
    """Make ``size`` bytes of the file real without touching what is there."""
    have = os.fstat(descriptor).st_size
    if have > size:
        os.ftruncate(descriptor, size)
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
        return
    # Where the system cannot reserve (macOS), zeros do it.
    for position in range(have, size, 1 << 20):
        _write(descriptor, bytes(min(1 << 20, size - position)), position)


@attrs.define(eq=False)
class Journal:
    """The three segments of a run.

    Attributes:
        run: id of the run that writes.
        simulated: whether the run is simulated.
        current: the opening segment that takes openings.
        other: the opening segment that was full before it, or is empty.
        closings: the closing segment.
    """

    run: str
    simulated: bool
    current: Segment
    other: Segment
    closings: Segment

    @staticmethod
    def paths(database: Path) -> tuple[Path, Path, Path]:
        """Return the files of a database's journal: two opening segments, one closing segment."""
        name = database.name
        return (
            database.with_name(f"{name}.openings-0"),
            database.with_name(f"{name}.openings-1"),
            database.with_name(f"{name}.closings"),
        )

    @classmethod
    def create(
        cls,
        database: Path,
        *,
        run: str,
        simulated: bool,
        openings_size: int,
        closings_size: int,
        generations: Sequence[int],
    ) -> Journal:
        """Open and preallocate the segments and empty them all: what they held is in the database by now.

        ``generations`` are those of what the three files held.

        Raises:
            OSError: no room, or no right to it.
        """
        sizes = (openings_size, openings_size, closings_size)
        segments: list[Segment] = []
        try:
            for path, size, generation in zip(cls.paths(database), sizes, generations, strict=True):
                segments.append(Segment.create(path, size, generation))
            for segment in segments:
                segment.empty(run, simulated)
        except OSError:
            for segment in segments:
                segment.close()
            raise
        return cls(run, simulated, *segments)

    def append_opening(self, payload: bytes) -> Segment:
        """Write an opening and return the segment that holds it; that may be ``other`` of a moment ago.

        Raises:
            StoreError: both segments are full of openings the database does not have yet, or the file refused.
        """
        try:
            segment = self.current
            if not segment.append(payload):
                segment = self.other
                if segment.pending:
                    raise StoreError("the journal is full: the database is too slow to take what is in it")
                segment.empty(self.run, self.simulated)
                if not segment.append(payload):
                    raise StoreError(f"an opening of {len(payload)} bytes does not fit into the journal")
                self.current, self.other = segment, self.current
        except OSError as error:
            raise StoreError(f"{self.current.path}: {error.strerror or error}") from error
        segment.pending += 1
        return segment

    def append_closing(self, payload: bytes) -> bool:
        """Write a closing; False when it cannot be written."""
        try:
            return self.closings.append(payload)
        except OSError:
            return False

    def empty_closings(self) -> None:
        """Forget the closings: the database has them all.

        Raises:
            OSError: the header could not be written.
        """
        self.closings.empty(self.run, self.simulated)

    def empty(self) -> None:
        """Forget everything: the database has it all.

        Raises:
            OSError: a header could not be written.
        """
        for segment in (self.current, self.other, self.closings):
            segment.empty(self.run, self.simulated)

    def sync(self) -> None:
        """Bring what was written to the disk itself (blocks: for a thread)."""
        for segment in (self.current, self.other, self.closings):
            segment.sync()

    def close(self) -> None:
        """Close the files."""
        for segment in (self.current, self.other, self.closings):
            segment.close()
