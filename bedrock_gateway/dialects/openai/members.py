"""What every request in OpenAI's dialect says: its members, with those of ``extra_body``, the model its path names,
and whom it is for.

Source: OpenAI API reference, ``user``, ``safety_identifier``, ``metadata``; Azure OpenAI REST API reference
(``/openai/deployments/{model}/…``); LiteLLM 1.109 for ``tags``, ``extra_body``.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any
from urllib.parse import unquote

from bedrock_gateway.dialects.fields import Block, mapping, text

__all__ = ["DEPLOYED", "members_of", "take_labels"]

#: How paths begin that name the model themselves, as Azure's OpenAI has them.
DEPLOYED = "/openai/deployments/"


def take_labels(asked: MutableMapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """Take the labels out of the members of a request; return its end user, or "", and its tags."""
    identifier = text(asked.pop("safety_identifier", ""), "safety_identifier")
    user = text(asked.pop("user", ""), "user")
    more = asked.pop("tags", ())
    tags = mapping(asked.pop("metadata", {}), "metadata").get("tags", more)
    for name in ("litellm_metadata", "litellm_session_id", "litellm_trace_id", "litellm_call_id"):
        asked.pop(name, None)
    return user or identifier, tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else ()


def members_of(body: Block, path: str) -> Block:
    """Return what a request says, with what stands in ``extra_body`` beside the rest, and its path's model.

    What is null says nothing: neither here nor to a model.
    """
    asked = _given(body)
    extra = _given(mapping(asked.pop("extra_body", {}), "extra_body"))
    if path.startswith(DEPLOYED):
        asked["model"] = unquote(path[len(DEPLOYED) :].partition("/")[0])
    return {**extra, **asked} if extra else asked


def _given(members: Mapping[str, Any]) -> Block:
    return {name: value for name, value in members.items() if value is not None}
