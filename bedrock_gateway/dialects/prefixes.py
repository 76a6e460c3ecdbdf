"""What the requests of one conversation have in common: the system prompt and the tools, which prompt caches begin
with.

Source: Bedrock user guide, "Prompt caching" (``tools``, ``system``, then ``messages``); Converse (``system``,
``toolConfig``), Anthropic's Messages (``system``, ``tools``), OpenAI's chat (a first message of role ``system``).
"""

from __future__ import annotations

import json
from typing import Any

__all__ = ["prefix_of"]

_MEMBERS = ("system", "toolConfig", "tools")
_OPENING_ROLES = ("system", "developer")


def prefix_of(document: dict[str, Any]) -> int | None:
    """Return a number that requests with the same system prompt and tools share; None for one that has neither, or in
    which they are nested too deep to tell.

    It holds within one process only: Python's hashes are keyed.
    """
    found = [document[name] for name in _MEMBERS if document.get(name)]
    messages = document.get("messages")
    if type(messages) is list and messages and type(messages[0]) is dict and messages[0].get("role") in _OPENING_ROLES:
        found.append(messages[0])
    try:
        return hash(json.dumps(found)) if found else None
    except RecursionError:
        return None
