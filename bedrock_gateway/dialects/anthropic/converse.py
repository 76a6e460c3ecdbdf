"""A request of Anthropic's messages as a request of Converse, for models that do not speak Anthropic's dialect.

Knows the members of both. What Bedrock has no place for is refused by name, or left out where ``drop_params`` says so;
members that are neither Anthropic's nor Converse's go to the model as they are (``additionalModelRequestFields``).
Behind an ARN that does not tell its model there may be a Claude, so that Anthropic's own members go to it too.

Source: Anthropic API reference, "Create a Message"; bedrock-runtime service-2.json (``ConverseRequest``,
``ConverseTokensRequest``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from bedrock_gateway.dialects.anthropic.blocks import conversation, system_blocks, tool_config
from bedrock_gateway.dialects.anthropic.citations import without_citations
from bedrock_gateway.dialects.anthropic.claude import betas
from bedrock_gateway.dialects.converse_blocks import cache_point
from bedrock_gateway.dialects.families import wishes as families
from bedrock_gateway.dialects.families.invoked import members_beside
from bedrock_gateway.dialects.families.wishes import Wishes
from bedrock_gateway.dialects.fields import (
    Block,
    boolean,
    fraction,
    given,
    given_in,
    integer,
    items,
    mapping,
    one_of,
    text,
)
from bedrock_gateway.dialects.speech import Asked
from bedrock_gateway.errors import InvalidRequest

__all__ = ["converse_request", "counted"]

_FIELDS = "additionalModelRequestFields"
_PATHS = "additionalModelResponseFieldPaths"
_STOP_SEQUENCE = "/stop_sequence"
#: Members of Converse that may stand in a request as they are.
_CONVERSE = frozenset(
    {
        *("guardrailConfig", "performanceConfig", "requestMetadata", "promptVariables", "serviceTier", "outputConfig"),
        *(_FIELDS, _PATHS),
    }
)
#: Members that are read here or say nothing about the answer.
_UNDERSTOOD = frozenset(
    {
        *("model", "messages", "stream", "system", "max_tokens", "temperature", "top_p", "top_k", "stop_sequences"),
        *("tools", "tool_choice", "thinking", "output_config", "service_tier", "cache_control", "metadata"),
        *("anthropic_version", "anthropic_beta", "litellm_metadata"),
    }
)
#: Members that only Claude has something for, and the values of them that ask for nothing.
_CLAUDES: Mapping[str, tuple[object, ...]] = {
    "container": (),
    "context_management": (),
    "mcp_servers": ([],),
    "inference_geo": (),
    "speed": ("standard",),
}
_THINKS = ("enabled", "adaptive")
_EFFORTS = ("low", "medium", "high", "xhigh", "max")


def converse_request(request: Asked, asked: Mapping[str, Any], model_id: str) -> tuple[Block, Wishes]:
    """Return the request of Converse, and what of it each model is told in its own words.

    Args:
        asked: the body, parsed; model_id: of the model that is asked.

    Raises:
        InvalidRequest: naming the member that is wrong, or all that Bedrock has no place for.
    """
    asked = {name: value for name, value in asked.items() if value is not None}
    converse, wishes = _conversation(request, asked, model_id)
    inference: Block = {"maxTokens": integer(asked.get("max_tokens"), "max_tokens", 1)}
    if "temperature" in asked:
        inference["temperature"] = fraction(asked["temperature"], "temperature")
    if "top_p" in asked:
        inference["topP"] = fraction(asked["top_p"], "top_p")
    told = items(asked.get("stop_sequences", []), "stop_sequences")
    # Bedrock refuses an empty one.
    stops = [one for at, stop in enumerate(told) if (one := text(stop, f"stop_sequences.{at}"))]
    if stops:
        inference["stopSequences"] = stops
    converse["inferenceConfig"] = inference
    if one_of(asked.get("service_tier", "auto"), "service_tier", ("auto", "standard_only")) == "standard_only":
        converse["serviceTier"] = {"type": "default"}
    beside = members_beside(request.headers)
    own = {name: given_in(asked[name]) for name in (_CONVERSE - {_FIELDS}) & asked.keys()}
    converse = {**beside, **converse, **{name: told for name, told in own.items() if told is not None}}
    paths = items(converse.get(_PATHS, []), _PATHS)
    if stops and _STOP_SEQUENCE not in paths:
        # Which of them was met is told on demand only.
        converse[_PATHS] = [*paths, _STOP_SEQUENCE]
    return converse, wishes


def counted(request: Asked, asked: Mapping[str, Any], model_id: str) -> Block:
    """Return what CountTokens is told of a conversation.

    Raises:
        InvalidRequest: as ``converse_request``.
    """
    converse, _ = _conversation(request, {name: value for name, value in asked.items() if value is not None}, model_id)
    return {name: converse[name] for name in ("messages", "system", "toolConfig", _FIELDS) if name in converse}


def _conversation(request: Asked, asked: Mapping[str, Any], model_id: str) -> tuple[Block, Wishes]:
    """Return what a model reads, and what it is told beside Converse's own settings."""
    # What an ARN hides may be a Claude.
    hidden = model_id.startswith("arn:")
    drop_params = request.drop_params
    messages, system = conversation(asked.get("messages"))
    system = system_blocks(asked.get("system", "")) + system
    if "cache_control" in asked:
        point = cache_point(asked, "request")
        messages[-1]["content"] += [] if "cachePoint" in messages[-1]["content"][-1] else point
    converse: Block = {"messages": messages}
    if system:
        converse["system"] = system
    choice = mapping(asked.get("tool_choice", {}), "tool_choice")
    thinking = mapping(asked.get("thinking", {}), "thinking")
    thinks = thinking.get("type") in _THINKS
    if not hidden:
        if thinking:
            one_of(thinking.get("type"), "thinking.type", (*_THINKS, "disabled"))
        if "amazon.nova" not in model_id:
            without_citations(messages)
    config = tool_config(asked.get("tools", []), choice, messages, drop_params, may_force=not thinks)
    if config is not None:
        converse["toolConfig"] = config
    others = {name: value for name, value in asked.items() if name not in _UNDERSTOOD | _CONVERSE | _CLAUDES.keys()}
    nowhere: list[str] = []
    alone = boolean(given(choice, "disable_parallel_tool_use", False), "tool_choice.disable_parallel_tool_use")
    effort, schema = _output(asked)
    level = _level(thinking, effort) if thinks else ""
    if hidden:
        others |= {name: asked[name] for name in ("thinking", "output_config", *_CLAUDES) if name in asked}
        if found := betas(request, asked):
            others["anthropic_beta"] = found
    else:
        nowhere += [name for name, idle in _CLAUDES.items() if name in asked and asked[name] not in idle]
        if thinks and families.thinking(model_id, level) is None:
            nowhere.append("thinking")
        if schema is not None:
            converse["outputConfig"] = {"textFormat": _text_format(schema)}
    if nowhere and not drop_params:
        raise InvalidRequest(
            f"{model_id} has no place for {', '.join(nowhere)}: leave {'it' if len(nowhere) == 1 else 'them'} out, or "
            "let the gateway do so (drop_params: true under litellm_settings).",
            param=nowhere[0],
        )
    own = mapping(asked.get(_FIELDS, {}), _FIELDS)
    if own or others:
        converse[_FIELDS] = {**others, **own}
    return converse, Wishes(
        effort="none" if thinking.get("type") == "disabled" else "" if hidden else level,
        thinks=hidden and thinks,
        top_k=integer(asked["top_k"], "top_k") if "top_k" in asked else None,
        one_tool=alone,
    )


def _output(asked: Mapping[str, Any]) -> tuple[str, Mapping[str, Any] | None]:
    """Return the effort of an answer, or "", and the schema it has to follow."""
    told = mapping(asked.get("output_config", {}), "output_config")
    effort = told.get("effort")
    if effort is not None:
        one_of(effort, "output_config.effort", _EFFORTS)
    form = told.get("format")
    if form is None:
        return effort or "", None
    wanted = mapping(form, "output_config.format")
    one_of(wanted.get("type"), "output_config.format.type", ("json_schema",))
    return effort or "", mapping(wanted.get("schema"), "output_config.format.schema")


def _text_format(schema: Mapping[str, Any]) -> Block:
    # Converse has the schema as text.
    return {"type": "json_schema", "structure": {"jsonSchema": {"schema": json.dumps(schema), "name": "answer"}}}


def _level(thinking: Mapping[str, Any], effort: str) -> str:
    """Return how much a model is to think, in words that each family has its own for."""
    if effort or thinking["type"] == "adaptive":
        return effort or "medium"
    budget = integer(thinking.get("budget_tokens"), "thinking.budget_tokens", 1)
    return "low" if budget < 2048 else "medium" if budget < 4096 else "high"
