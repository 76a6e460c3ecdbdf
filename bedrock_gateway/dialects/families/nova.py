"""Nova's words: nearly Converse's own.

Source: Amazon Nova user guide, "Complete request schema"; user guide of Nova 2, "Extended thinking"
(``reasoningConfig``).
"""

from __future__ import annotations

from collections.abc import Iterable

from bedrock_gateway.dialects.families.shared import added, no_place
from bedrock_gateway.dialects.fields import Block

__all__ = ["NOVA"]

_SAME = ("system", "messages", "inferenceConfig", "toolConfig")
_EVENTS = ("messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop")


class Nova:
    """As ``bodies.Body``."""

    def request(self, converse: Block) -> Block:
        """As ``bodies.Body``."""
        if "outputConfig" in converse:
            no_place("a schema of the answer", "Nova's own body", "outputConfig")
        told = {"schemaVersion": "messages-v1", **{name: converse[name] for name in _SAME if name in converse}}
        return added(told, converse.get("additionalModelRequestFields", {}))

    def answer(self, told: Block) -> Block:
        """As ``bodies.Body``."""
        return {"output": told["output"], "stopReason": told["stopReason"]}

    def events(self) -> _Events:
        """As ``bodies.Body``."""
        return _Events()


class _Events:
    """As ``bodies.Events``."""

    def read(self, chunk: Block) -> Iterable[tuple[str, Block]]:
        """As ``bodies.Events``: each chunk is an event under its name."""
        return [(kind, chunk[kind]) for kind in _EVENTS if kind in chunk]


NOVA = Nova()
