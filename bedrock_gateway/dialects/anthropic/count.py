"""A count of tokens, as Anthropic tells it.

Source: bedrock-runtime service-2.json (``CountTokensResponse``); Anthropic API reference, "Count tokens in a Message".
"""

from __future__ import annotations

import json

from bedrock_gateway.dialects.speech import Whole

__all__ = ["CountRelay"]


class CountRelay(Whole):
    """Relay of one attempt at CountTokens; as ``speech.Relay``."""

    def receive_eof(self) -> bytes:
        """As ``speech.Relay``."""
        return json.dumps({"input_tokens": json.loads(self.answer)["inputTokens"]}).encode()
