"""Relays of streamed answers: AWS's event stream in, server-sent events of a dialect out.

Knows how the messages of a stream come, and what of them is an error; what is told for each is for the dialects to say.
A stream's events leave as they arrive; nothing of one is held but the message under way.

Source: bedrock-runtime service-2.json (``ConverseStreamOutput``, ``ResponseStream``); openai-python, anthropic-python
(a stream that just ends is taken for a whole one).
"""

from __future__ import annotations

import binascii
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from bedrock_gateway.dialects.speech import Fit, Fitted
from bedrock_gateway.errors import EventStreamError
from bedrock_gateway.wire.eventstream import Message, MessageDecoder

__all__ = ["Streamed", "chunk", "status_of"]

#: Status by AWS error type in lower case, for errors that have none of their own: those inside a stream.
_STATUS = {
    "throttlingexception": 429,
    "modelnotreadyexception": 429,
    "serviceunavailableexception": 503,
    "internalserverexception": 500,
    "validationexception": 400,
    "accessdeniedexception": 403,
    "resourcenotfoundexception": 404,
    "modeltimeoutexception": 408,
}
#: What a message may do to its reader that is not of the shape it should be.
_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
_UNREAD = "A message of upstream's stream cannot be read."
#: How the payload of a chunk of InvokeModel is written; anything else is parsed.
_BYTES = re.compile(rb'"bytes":"([A-Za-z0-9+/]+={0,2})"')
_loads = json.JSONDecoder().decode


def status_of(error_type: str) -> int:
    """Return the status of an AWS error type that came inside a stream."""
    return _STATUS.get(error_type.lower(), 424)


def chunk(payload: bytes) -> bytes:
    """Return the model's own JSON in the payload of a chunk of InvokeModel's stream."""
    found = _BYTES.search(payload)
    return binascii.a2b_base64(found[1] if found else json.loads(payload)["bytes"])


class Streamed(Fitted, ABC):
    """A relay whose answer is streamed; as ``speech.Relay``.

    Attributes:
        ended: nothing more of the answer is told: all of it was, or it has failed.
    """

    def __init__(self, fit: Fit | None = None) -> None:
        super().__init__(fit)
        self._decoder = MessageDecoder()
        self._malformed = False
        self.ended = False

    def receive_data(self, data: bytes) -> bytes:
        """As ``speech.Relay``: what is told for the messages that are whole now."""
        if self.ended:
            return b""
        decoder = self._decoder
        decoder.receive_data(data)
        told: list[bytes] = []
        try:
            while not self.ended and (message := decoder.next_message()) is not None:
                told.append(self.receive(message))
        except EventStreamError:
            # The meter of a stream of AWS's sees it too, and the chain ends the answer with an error; of anything else
            # only the end here can tell.
            self._malformed = self.ended = True
        except _UNREADABLE:
            told.append(self._end(424, _UNREAD))
        return b"".join(told)

    def receive_eof(self) -> bytes:
        """As ``speech.Relay``: the end, where there was no error."""
        if self._malformed:
            self._malformed = False
            return self._end(424, _UNREAD)
        if self.ended:
            return b""
        try:
            told = self.finish()
        except _UNREADABLE:
            return self._end(424, _UNREAD)
        return self._end(424, "Upstream's stream ended before the answer did.") if told is None else told.encode()

    def receive(self, message: Message) -> bytes:
        """Return what is told for a message."""
        kind = message.event_type
        if kind is None:
            return self.refused(message) if message.message_type in ("exception", "error") else b""
        return self.say(kind, _loads(str(message.payload, "utf-8")) if message.payload else {}).encode()

    def refused(self, message: Message) -> bytes:
        """Return what is told for an exception of upstream's; nothing comes after it."""
        kind = message.exception_type or message.error_code or "error"
        try:
            payload = json.loads(message.payload or b"{}")
        except (ValueError, RecursionError):
            payload = None
        told = payload.get("message") or payload.get("Message") if isinstance(payload, dict) else None
        return self._end(status_of(kind), str(told or message.headers.get(":error-message") or kind), kind)

    def _end(self, status: int, words: str, error_type: str = "") -> bytes:
        self.ended = True
        return self.fail(status, words, error_type).encode()

    @abstractmethod
    def say(self, kind: str, payload: Mapping[str, Any]) -> str:
        """Return what is told for an event, by its type and what it says."""

    @abstractmethod
    def finish(self) -> str | None:
        """Return what is told at the end of upstream's stream; None where the answer is not there."""

    @abstractmethod
    def fail(self, status: int, words: str, error_type: str) -> str:
        """Return the error that ends the stream; ``error_type``: AWS's, or ""."""
