"""A count of tokens, as Anthropic tells it.

Source: bedrock-runtime service-2.json (``CountTokensResponse``); Anthropic API reference, "Count tokens in a Message".
"""

from __future__ import annotations

import json

__all__ = ["CountRelay"]


class CountRelay:
    """Relay of one attempt at CountTokens; as ``speech.Relay``."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def request(self, body: bytes | bytearray) -> bytes | bytearray:
        """As ``speech.Relay``."""
        return body

    def receive_data(self, data: bytes) -> bytes:
        """As ``speech.Relay``."""
        self._parts.append(data)
        return b""

    def receive_eof(self) -> bytes:
        """As ``speech.Relay``."""
        answer = json.loads(b"".join(self._parts))
        return json.dumps({"input_tokens": answer["inputTokens"]}).encode()
