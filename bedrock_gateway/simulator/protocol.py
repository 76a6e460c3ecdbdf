"""What the parts of the simulator hand to each other: errors, whole answers, streamed answers.

Knows AWS's REST-JSON error shape and statuses; knows no sockets and no model.
Source: botocore service model of bedrock-runtime (statuses); error type header as seen in public captures.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from typing import Any

import attrs

__all__ = ["Event", "SimulatedError", "Streamed", "Whole", "compact", "invalid", "padded", "require"]

JSON = "application/json"
EVENT_STREAM = "application/vnd.amazon.eventstream"
_PADDING = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


class SimulatedError(Exception):
    """An error answer of AWS: status, error type as ``x-amzn-errortype`` carries it, message."""

    def __init__(self, status: int, error_type: str, message: str, *, capital: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.error_type = error_type
        self.message = message
        self.capital = capital

    def body(self, *, typed: bool = False) -> bytes:
        """Give the JSON body; the member is ``Message`` where AWS's front door answers, ``message`` elsewhere.

        ``typed``: with the error type, as JSON 1.1 services have it.
        """
        told = {"__type": self.error_type} if typed else {}
        return compact({**told, "Message" if self.capital else "message": self.message})


def invalid(message: str) -> SimulatedError:
    """Make the 400 ``ValidationException`` with this message."""
    return SimulatedError(400, "ValidationException", message)


def require(condition: bool, message: str) -> None:
    """Raise a ``ValidationException`` unless the condition holds."""
    if not condition:
        raise invalid(message)


def compact(value: Any) -> bytes:
    """Encode as compact JSON in UTF-8; a lone surrogate (legal in JSON escapes) stays an escape."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def padded(payload: dict[str, Any]) -> dict[str, Any]:
    """Add the member ``p``, with which AWS hides token lengths; its length here is a function of the payload."""
    length = zlib.crc32(compact(payload)) % len(_PADDING) + 1
    return {**payload, "p": _PADDING[:length]}


@attrs.frozen(kw_only=True)
class Event:
    """One event-stream message: its ``:event-type``, its JSON payload, and whether the pace counts it (a delta)."""

    type: str
    payload: dict[str, Any]
    paced: bool = False


@attrs.frozen(kw_only=True)
class Whole:
    """An answer in one piece.

    Attributes:
        body: the bytes.
        headers: besides those every answer carries.
        status: HTTP status.
        pieces: how many deltas the answer would have if streamed; the pace makes it take as long.
    """

    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    status: int = 200
    pieces: int = 0
    content_type: str = JSON


@attrs.frozen(kw_only=True)
class Streamed:
    """An answer as event-stream messages, made as they are sent."""

    events: Iterator[Event]
    headers: tuple[tuple[str, str], ...] = ()
