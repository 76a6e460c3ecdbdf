"""What the simulator received: records in memory, bounded, and an append-only file of JSON lines.

A line is written before the answer begins, by one ``os.write``, so that it is whole and survives the death of
whoever asked. It holds a hash of the body, never the body, and no secret.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import attrs

from bedrock_gateway.simulator.protocol import compact

__all__ = ["Received", "ReceivedLog", "Sent"]

MAX_RECORDS = 10_000
MAX_BODY_BYTES = 64 * 1024 * 1024
# Headers that say something about the call and nothing secret.
_TOLD = ("user-agent", "content-type", "amz-sdk-invocation-id", "amz-sdk-request", "x-amz-date")


class Sent:
    """What has been sent of the body of an answer so far: how many bytes, and their hash.

    Attributes:
        size: bytes, without any transfer encoding.
    """

    __slots__ = ("_hash", "size")

    def __init__(self) -> None:
        self.clear()

    @property
    def sha256(self) -> str:
        """Hash of the bytes so far, in hex."""
        return self._hash.hexdigest()

    def add(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Count bytes in."""
        self._hash.update(data)
        self.size += len(data)

    def clear(self) -> None:
        """Begin again: what was sent was not of the body."""
        self._hash = hashlib.sha256()
        self.size = 0


@attrs.frozen(kw_only=True)
class Received:
    """One request as it arrived.

    Attributes:
        sequence: 1 for the first since the start, and so on.
        time: seconds since the epoch.
        request_id: ``x-amzn-requestid`` of the answer.
        method, raw_path, headers, body: as received; the path with its query string.
        body_sha256: hex.
        service, operation: None for an unknown one; model: id as asked for, decoded, or None.
        access_key_id: whose signature it bears, once verified; None for API keys and refused requests.
        region: of the credential scope.
        refused: error type, where the request was refused before any fault or model.
        fault: kind of the fault that befell it.
        sent: the body of the answer, which grows until the answer ends.
    """

    sequence: int
    time: float
    request_id: str
    method: str
    raw_path: str
    headers: tuple[tuple[str, str], ...] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    body_sha256: str
    service: str | None
    operation: str | None
    model: str | None
    access_key_id: str | None
    region: str | None
    refused: str | None
    fault: str | None
    sent: Sent = attrs.field(factory=Sent, repr=False, eq=False)

    def header(self, name: str) -> str | None:
        """Give the first value of a header, by lower-case name."""
        return next((value for key, value in self.headers if key.lower() == name), None)

    def line(self) -> bytes:
        """Give the line of the file, new line included."""
        told = {name: value for name in _TOLD if (value := self.header(name)) is not None}
        told |= {key.lower(): value for key, value in self.headers if key.lower().startswith("x-amzn-bedrock-")}
        facts = attrs.asdict(self, filter=lambda attribute, _: attribute.name not in ("headers", "body", "sent"))
        return compact({**facts, "body_bytes": len(self.body), "headers": told}) + b"\n"


class ReceivedLog(Sequence[Received]):
    """The latest requests, oldest first: at most ``keep`` of them and 64 MiB of bodies."""

    def __init__(self, *, keep: int = MAX_RECORDS, path: Path | None = None) -> None:
        self._records: deque[Received] = deque()
        self._keep = keep
        self._bytes = 0
        self.total = 0
        self._path = path
        self._file: int | None = None
        self.open()

    def open(self) -> None:
        """Open the file, if there is to be one and it is not open.

        Raises:
            OSError: it cannot be written.
        """
        if self._path is not None and self._file is None:
            self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def add(self, record: Received) -> None:
        """Keep a record, written to the file first."""
        self.total = record.sequence
        if self._file is not None:
            os.write(self._file, record.line())
        self._records.append(record)
        self._bytes += len(record.body)
        while len(self._records) > self._keep or (self._bytes > MAX_BODY_BYTES and len(self._records) > 1):
            self._bytes -= len(self._records.popleft().body)

    def clear(self) -> None:
        """Forget the records; numbering goes on, the file stays."""
        self._records.clear()
        self._bytes = 0

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Received]:
        return iter(tuple(self._records))

    @overload
    def __getitem__(self, index: int) -> Received: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Received, ...]: ...
    def __getitem__(self, index: int | slice) -> Received | tuple[Received, ...]:
        return tuple(self._records)[index] if isinstance(index, slice) else self._records[index]
