"""Answers in JSON to which Converse holds a model itself (``outputConfig.textFormat``), instead of a call of a tool.

What comes is certain to follow the schema, and the model may think before. But few models can be held so, AWS takes a
part of JSON Schema only and refuses the rest, and it compiles a schema when it comes first, which takes its time. A
tool takes any. So a model is held only where a request asks for it (``strict``), its schema is in that part for
certain, and the model is known to take it.

Knows which models do, and that part of JSON Schema. Must not know deployments.

Source: Bedrock user guide, "Get validated JSON results from models"; bedrock-runtime service-2.json (``OutputFormat``);
LiteLLM 1.95 (``supports_native_structured_output``: models of AWS's list that it has seen do so); vercel/ai
``amazon-bedrock`` (no more than 16 unions; issues 17881, 19988, 14773: Sonnet 4.6 may write until its answer is as long
as it may be, Haiku 4.5 refuses it in some accounts, Opus from 4.7 on refuses it).
"""

from __future__ import annotations

import graphlib
import json
import re
from collections.abc import Mapping
from typing import Any

import attrs

from bedrock_gateway.dialects.fields import Block, written
from bedrock_gateway.dialects.speech import Fit
from bedrock_gateway.wire.model_ids import plain_model

__all__ = ["held", "text_format", "unheld"]

#: Models that can be held to a schema. Opus 4.6 can too, but not when it thinks: how much is said in the same member.
_MODELS = re.compile(
    r"anthropic\.claude-(?:sonnet|opus)-4-5-\d|deepseek\.v3-v1|minimax\.minimax-m2(?![.\w])|moonshot\.kimi-k2-thinking"
    r"|mistral\.(?:ministral-3-(?:3|8|14)b-|mistral-large-3-|voxtral-(?:mini-3b|small-24b)-)|nvidia\.nemotron-nano-3-30b"
    r"|qwen\.qwen3-(?:235b-a22b-2507|32b|coder-(?:30b|480b)-|next-80b-|vl-235b-)"
)
#: Characters of a schema, its unions, and how deep it goes: what is larger may be too large once it is compiled.
_MOST, _MOST_UNIONS, _DEEPEST = 8_192, 16, 16
_KEYWORDS = frozenset(
    {
        *("type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf", "format"),
        *("title", "description", "$ref", "$defs", "definitions"),
    }
)
#: Keywords that say nothing about what fits.
_NOTES = frozenset({"title", "description", "$defs", "definitions"})
_SCALARS = frozenset({"string", "integer", "number", "boolean", "null"})
_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"},
)
_REFERENCE = re.compile(r"#/(\$defs|definitions)/[\w.-]+")
_NAME = re.compile(r"[\w.-]{1,64}", re.ASCII)


def text_format(schema: Mapping[str, Any] | None, told: object) -> Block | None:
    """Return ``textFormat`` for a schema that a model may be held to, or None.

    Args:
        schema: of the answer; told: the member of the request it is of, which may say more.
    """
    if schema is None or not isinstance(told, dict) or told.get("strict") is not True or not _is_taken(schema):
        return None
    text = written(schema).decode()
    if len(text) > _MOST:
        return None
    form: Block = {"schema": text}
    form |= {name: said for name in ("name", "description") if isinstance(said := told.get(name), str) and said}
    return {"type": "json_schema", "structure": {"jsonSchema": form}}


def unheld(converse: Block) -> bool:
    """Tell whether a request in which the tool for JSON stands may do without: nothing else depends on tools, and
    nothing else says how the model is to answer.
    """
    additional = converse.get("additionalModelRequestFields", {})
    return (
        len(converse["toolConfig"]["tools"]) == 1
        and "outputConfig" not in converse
        and not (additional.keys() & {"output_config", "output_format"})
    )


def held(model_id: str, form: Block | None, fit: Fit | None) -> Fit | None:
    """Return what asks a model for an answer in JSON without a tool, and is followed by ``fit``; None where a tool is
    needed.
    """
    if form is None or not _MODELS.match(plain_model(model_id)):
        return None

    def hold(body: bytes | bytearray) -> bytes | bytearray:
        request = json.loads(body)
        del request["toolConfig"]
        told = written(request | {"outputConfig": {"textFormat": form}})
        return told if fit is None else fit(told)

    return hold


def _is_taken(schema: Mapping[str, Any]) -> bool:
    """Tell whether a schema is in the part of JSON Schema that AWS takes for certain."""
    if schema.get("type") != "object":
        return False
    reading = _Reading()
    references: dict[str, set[str]] = {"#": set()}
    if not reading.takes(schema, references["#"]):
        return False
    for kind in ("$defs", "definitions"):
        parts = schema.get(kind, {})
        if not isinstance(parts, dict):
            return False
        for name, part in parts.items():
            if not reading.takes(part, references.setdefault(f"#/{kind}/{name}", set())):
                return False
    if reading.unions > _MOST_UNIONS or not set[str]().union(*references.values()) <= references.keys():
        return False
    try:
        graphlib.TopologicalSorter(references).prepare()
    except graphlib.CycleError:
        return False
    return True


@attrs.define
class _Reading:
    """Reads the parts of one schema.

    Attributes:
        unions: how many there were so far.
    """

    unions: int = 0

    def takes(self, schema: object, references: set[str], depth: int = 0) -> bool:
        """Tell whether a part is one that AWS takes; note what it refers to."""
        if not isinstance(schema, dict) or depth > _DEEPEST or not schema.keys() <= _KEYWORDS:
            return False
        if depth and not schema.keys().isdisjoint({"$defs", "definitions"}):
            return False
        if not all(isinstance(schema.get(name, ""), str) for name in ("title", "description")):
            return False
        says = schema.keys() - _NOTES
        if "$ref" in schema:
            target = schema["$ref"]
            references.add(target if isinstance(target, str) and _REFERENCE.fullmatch(target) else "?")
            return schema.keys() == {"$ref"}
        if "anyOf" in schema:
            self.unions += 1
            choices = schema["anyOf"]
            some = isinstance(choices, list) and bool(choices)
            return some and says == {"anyOf"} and all(self.takes(one, references, depth + 1) for one in choices)
        kind = schema.get("type")
        if kind == "object":
            return self._object(schema, says, references, depth)
        if kind == "array":
            return says == {"type", "items"} and self.takes(schema["items"], references, depth + 1)
        return self._scalar(schema, says)

    def _object(self, schema: Block, says: set[str], references: set[str], depth: int) -> bool:
        properties, required = schema.get("properties"), schema.get("required")
        return (
            says == {"type", "properties", "required", "additionalProperties"}
            and schema["additionalProperties"] is False
            and isinstance(properties, dict)
            and isinstance(required, list)
            and all(isinstance(name, str) for name in required)
            and sorted(properties) == sorted(required)
            and all(
                _NAME.fullmatch(name) and self.takes(part, references, depth + 1) for name, part in properties.items()
            )
        )

    def _scalar(self, schema: Block, says: set[str]) -> bool:
        kind = schema.get("type")
        kinds = kind if isinstance(kind, list) else [kind] if "type" in schema else []
        if isinstance(kind, list):
            self.unions += 1
        values = [schema["const"]] if "const" in schema else schema.get("enum", [])
        return (
            says <= {"type", "enum", "const", "format"}
            and not {"enum", "const"} <= says
            and bool(kinds or values)
            and all(isinstance(one, str) and one in _SCALARS for one in kinds)
            and isinstance(values, list)
            and ("enum" not in says or bool(values))
            and all(one is None or isinstance(one, str | int | float) for one in values)
            and ("format" not in says or (kind == "string" and schema["format"] in _FORMATS))
        )
