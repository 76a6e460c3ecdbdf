"""What the words of several families have in common."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NoReturn

from bedrock_gateway.dialects.fields import Block, mapping, text, wrong
from bedrock_gateway.errors import InvalidRequest

__all__ = ["added", "intervened", "made_id", "media_type", "no_place", "schema_of", "source_of", "stopped"]


#: Members of bodies that hold what is said or shown.
_SAID = frozenset({"messages", "images"})


def added(told: Block, more: Mapping[str, Any]) -> Block:
    """Return a body with the members that a request has for the model itself; of objects in both the members of both.

    They win: whoever names a member of the model's own knows it. But what is said, and shown, is Converse's to tell: a
    budget has counted the pictures there, and Converse itself takes no second word on it.

    Raises:
        InvalidRequest: they tell another conversation.
    """
    for name, value in more.items():
        if name in _SAID:
            wrong(name, "is told by the messages of the request, and cannot be told in the model's own words too")
        ours = told.get(name)
        told[name] = {**ours, **value} if isinstance(ours, dict) and isinstance(value, dict) else value
    return told


def no_place(what: str, whose: str, param: str = "messages") -> NoReturn:
    """Refuse what a family has no words for.

    Args:
        what: in words; param: the member of the caller's request, by the name that all dialects have for it.

    Raises:
        InvalidRequest: naming it.
    """
    raise InvalidRequest(
        f"{param}: {whose} has no place for {what}, and this deployment is asked by it. Without invoke/ or a body's "
        "format in its model it is asked by Converse.",
        param=param,
    )


def schema_of(converse: Block) -> tuple[Block, Mapping[str, Any]] | None:
    """Return what Converse is told of a schema of the answer, and the schema; None where it is told of none.

    Raises:
        InvalidRequest: it is none of Converse's.
    """
    told: Any = mapping(converse.get("outputConfig", {}), "outputConfig")
    if not told:
        return None
    path = "outputConfig"
    for name in ("textFormat", "structure", "jsonSchema"):
        path = f"{path}.{name}"
        told = mapping(told.get(name), path)
    path = f"{path}.schema"
    try:
        schema = json.loads(text(told.get("schema"), path))
    except (ValueError, RecursionError):
        wrong(path, "must be JSON")
    return told, mapping(schema, path)


def made_id(*of: object) -> str:
    """Return an id for a call of a tool that a model gave none: always the same for the same."""
    return f"tooluse_{hashlib.sha256(json.dumps(of).encode()).hexdigest()[:22]}"


def media_type(form: str) -> str:
    """Return the media type of an image by its format in Converse."""
    return f"image/{form}"


def source_of(holder: Block, whose: str) -> str:
    """Return the base64 of an image or document.

    Raises:
        InvalidRequest: it is somewhere else.
    """
    data = mapping(holder.get("source"), "source").get("bytes")
    if not isinstance(data, str):
        no_place("images and documents in S3", whose)
    return data


def intervened(told: Mapping[str, Any]) -> bool:
    """Tell whether an answer of InvokeModel, or a chunk of one, says that a guardrail ended it."""
    return told.get("amazon-bedrock-guardrailAction") == "INTERVENED"


def stopped(content: list[Block], reason: str, *, told: object) -> Block:
    """Return a whole answer of Converse, but for its usage.

    Args:
        told: why it ended as the model says it, or that a guardrail ended it; what says nothing at all is no answer.

    Raises:
        ValueError: it says neither that nor anything else.
    """
    if not content and not told:
        raise ValueError("neither an answer nor why there is none")
    return {"output": {"message": {"role": "assistant", "content": content}}, "stopReason": reason}
