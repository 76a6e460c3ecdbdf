"""What a request in OpenAI's dialect says of whom it is for: its end user and its tags, and the members that say it.

Source: OpenAI API reference, ``user``, ``safety_identifier``, ``metadata``; LiteLLM 1.109 for ``tags``.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from bedrock_gateway.dialects.fields import mapping, text

__all__ = ["take_labels"]


def take_labels(asked: MutableMapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Take the labels out of the members of a request; return its end user, or "", and its tags."""
    identifier = text(asked.pop("safety_identifier", ""), "safety_identifier")
    user = text(asked.pop("user", ""), "user")
    more = asked.pop("tags", ())
    tags = mapping(asked.pop("metadata", {}), "metadata").get("tags", more)
    for name in ("litellm_metadata", "litellm_session_id", "litellm_trace_id", "litellm_call_id"):
        asked.pop(name, None)
    return user or identifier, tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else ()
