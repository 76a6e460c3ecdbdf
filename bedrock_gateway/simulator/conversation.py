"""The message shape of Converse, which Nova's InvokeModel shares: checked and turned into a question.

Knows request JSON only. Messages of errors are AWS's where they are known from public captures, else in its manner.
Source: botocore service model of bedrock-runtime (``ConverseRequest``); Nova user guide, complete request schema.
"""

from __future__ import annotations

import json
from typing import Any

from bedrock_gateway.simulator.counting import DOCUMENT_TOKENS, CachePoint, Part, json_part, media_part, text_part
from bedrock_gateway.simulator.dialogue import Question, Tool
from bedrock_gateway.simulator.protocol import invalid, require

__all__ = ["compiled", "parse_conversation", "positive", "strings"]

MAX_CACHE_POINTS = 4
ROLES = ("user", "assistant", "system")
_MEDIA = ("image", "video", "audio")


def positive(value: Any, name: str) -> int | None:
    """Check a bound of tokens: absent, or an integer of 1 or more."""
    if value is None:
        return None
    require(isinstance(value, int) and not isinstance(value, bool), f"Value at '{name}' must be an integer.")
    require(
        value >= 1,
        f"1 validation error detected: Value '{value}' at '{name}' failed to satisfy constraint: "
        "Member must have value greater than or equal to 1",
    )
    return int(value)


def ratio(value: Any, name: str, most: float = 1.0) -> None:
    """Check a sampling setting: absent, or a number from 0 to ``most``."""
    if value is not None:
        require(isinstance(value, int | float) and not isinstance(value, bool), f"Value at '{name}' must be a number.")
        require(
            0 <= value <= most,
            f"1 validation error detected: Value '{value}' at '{name}' failed to satisfy constraint: "
            f"Member must have value between 0 and {most:g}, inclusive",
        )


def strings(value: Any, name: str) -> tuple[str, ...]:
    """Check a list of strings: absent, or a list of nothing else."""
    if value is None:
        return ()
    require(isinstance(value, list) and all(isinstance(item, str) for item in value), f"{name}: must be strings.")
    return tuple(value)


def mapping(value: Any, name: str) -> dict[str, Any]:
    """Check a structure: absent, or an object."""
    if value is None:
        return {}
    require(isinstance(value, dict), f"{name}: expected an object.")
    return dict(value)


def parse_conversation(body: dict[str, Any], *, max_tokens_names: tuple[str, ...] = ("maxTokens",)) -> Question:
    """Turn system, messages, toolConfig and inferenceConfig into a question.

    Raises:
        SimulatedError: 400 ``ValidationException`` where AWS would answer it.
    """
    messages = body.get("messages")
    require(
        messages is not None,
        "1 validation error detected: Value null at 'messages' failed to satisfy constraint: Member must not be null",
    )
    require(isinstance(messages, list), "messages: expected a list.")
    assert isinstance(messages, list)
    require(
        bool(messages),
        "A conversation must start with a user message. Try again with a conversation that starts with a user message.",
    )
    parts: list[Part | CachePoint] = []
    tools, forced = _tools(body.get("toolConfig"), parts)
    system = body.get("system")
    require(system is None or isinstance(system, list), "system: expected a list.")
    for index, block in enumerate(system or ()):
        _block(block, f"system.{index}", parts)
    text = ""
    results: tuple[str, ...] = ()
    first = True
    for index, message in enumerate(messages):
        require(isinstance(message, dict), f"messages.{index}: expected an object.")
        role = message.get("role")
        require(
            role in ROLES,
            f"1 validation error detected: Value '{role}' at 'messages.{index + 1}.member.role' failed to satisfy "
            "constraint: Member must satisfy enum value set: [user, assistant, system]",
        )
        if first and role != "system":
            require(
                role == "user",
                "A conversation must start with a user message. Try again with a conversation that starts with a "
                "user message.",
            )
            first = False
        content = message.get("content")
        require(isinstance(content, list), f"messages.{index}.content: expected a list.")
        require(
            bool(content),
            f"The content field in the Message object at messages.{index} is empty. Add a ContentBlock object to the "
            "content field and try again.",
        )
        assert isinstance(content, list)
        said = [_block(block, f"messages.{index}.content.{place}", parts) for place, block in enumerate(content)]
        if role == "user":
            text = "\n".join(spoken for spoken, _ in said if spoken)
            results = tuple(result for _, result in said if result is not None)
    require(
        sum(isinstance(part, CachePoint) for part in parts) <= MAX_CACHE_POINTS,
        f"You can have at most {MAX_CACHE_POINTS} cache points in a request.",
    )
    config = mapping(body.get("inferenceConfig"), "inferenceConfig")
    bound = next((config[name] for name in max_tokens_names if config.get(name) is not None), None)
    ratio(config.get("temperature"), "inferenceConfig.temperature")
    ratio(config.get("topP"), "inferenceConfig.topP")
    schema = _text_format(body.get("outputConfig"), parts)
    return Question(
        text=text,
        schema=schema,
        parts=tuple(parts),
        max_tokens=positive(bound, "inferenceConfig.maxTokens"),
        stop_sequences=strings(config.get("stopSequences"), "inferenceConfig.stopSequences"),
        tools=tools,
        forced_tool=forced,
        tool_results=results,
        reasoning=asks_for_reasoning(body),
    )


def _text_format(config: Any, parts: list[Part | CachePoint]) -> dict[str, Any] | None:
    """Return the schema that the answer has to follow, or None."""
    form = mapping(mapping(config, "outputConfig").get("textFormat"), "outputConfig.textFormat")
    if not form:
        return None
    place = "outputConfig.textFormat.structure.jsonSchema"
    told = mapping(mapping(form.get("structure"), "outputConfig.textFormat.structure").get("jsonSchema"), place)
    require(form.get("type") == "json_schema", "outputConfig.textFormat.type: must be json_schema.")
    require(isinstance(told.get("schema"), str), f"{place}.schema: is required, as a string.")
    try:
        schema = json.loads(told["schema"])
    except (ValueError, RecursionError):
        raise invalid(f"{place}.schema: is no JSON.") from None
    parts.append(json_part(form))
    return compiled(schema)


def compiled(schema: Any) -> dict[str, Any]:
    """Give a schema that an answer has to follow; what AWS does not compile is refused."""
    _compile(schema, 0)
    return dict(schema)


def _compile(schema: Any, depth: int) -> None:
    """Refuse what cannot be compiled: open objects, and bounds."""
    require(isinstance(schema, dict) and depth <= 64, "output_config.format.schema: Input should be a valid schema")
    kind = schema.get("type")
    for keyword in ("maxItems", "minimum", "maximum", "multipleOf", "minLength", "maxLength", "pattern", "oneOf"):
        require(keyword not in schema, f"output_config.format.schema: For '{kind}' type, '{keyword}' is not supported")
    require(
        kind != "object" or schema.get("additionalProperties") is False,
        "output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to false",
    )
    for name in ("properties", "$defs", "definitions"):
        for part in mapping(schema.get(name), name).values():
            _compile(part, depth + 1)
    choices = schema.get("anyOf", [])
    require(isinstance(choices, list), "output_config.format.schema: anyOf should be a list")
    for part in (*choices, *([schema["items"]] if "items" in schema else ())):
        _compile(part, depth + 1)


def asks_for_reasoning(body: dict[str, Any]) -> bool:
    """Tell whether a request asks for reasoning, in Anthropic's, Nova's or DeepSeek's way."""
    fields = body.get("additionalModelRequestFields")
    for place in (body, fields if isinstance(fields, dict) else {}):
        for name in ("thinking", "reasoning_config", "reasoningConfig"):
            setting = place.get(name)
            if isinstance(setting, dict) and setting.get("type") in ("enabled", "adaptive"):
                return True
    return False


def _tools(config: Any, parts: list[Part | CachePoint]) -> tuple[tuple[Tool, ...], str | None]:
    settings = mapping(config, "toolConfig")
    if not settings:
        return (), None
    given = settings.get("tools")
    require(isinstance(given, list) and bool(given), "toolConfig.tools: at least one tool is required.")
    assert isinstance(given, list)
    tools: list[Tool] = []
    for index, item in enumerate(given):
        require(isinstance(item, dict) and bool(item), f"toolConfig.tools.{index}: expected an object.")
        if "cachePoint" in item:
            parts.append(_cache_point(item["cachePoint"]))
            continue
        parts.append(json_part(item))
        specification = item.get("toolSpec")
        if isinstance(specification, dict):
            schema = specification.get("inputSchema")
            name = specification.get("name")
            require(isinstance(name, str) and bool(name), f"toolConfig.tools.{index}.toolSpec.name: is required.")
            require(isinstance(schema, dict), f"toolConfig.tools.{index}.toolSpec.inputSchema: is required.")
            tools.append(Tool(str(name), mapping(mapping(schema, "inputSchema").get("json"), "inputSchema.json")))
    choice = mapping(settings.get("toolChoice"), "toolConfig.toolChoice")
    if "tool" in choice:
        name = mapping(choice["tool"], "toolChoice.tool").get("name")
        require(any(tool.name == name for tool in tools), f"toolConfig.toolChoice: no tool is named {name}.")
        return tuple(tools), str(name)
    return tuple(tools), "*" if "any" in choice and tools else None


def _cache_point(value: Any) -> CachePoint:
    point = mapping(value, "cachePoint")
    require(point.get("type", "default") == "default", "cachePoint.type: must be default.")
    ttl = point.get("ttl") or "5m"
    require(ttl in ("5m", "1h"), "cachePoint.ttl: must be 5m or 1h.")
    return CachePoint(str(ttl))


def _block(block: Any, place: str, parts: list[Part | CachePoint]) -> tuple[str, str | None]:
    """Append what one content block gives the model to read; return its own words and the text of a tool result."""
    require(isinstance(block, dict) and bool(block), f"{place}: expected a content block.")
    if "cachePoint" in block:
        parts.append(_cache_point(block["cachePoint"]))
        return "", None
    if "text" in block:
        text = block["text"]
        require(isinstance(text, str), f"{place}.text: expected a string.")
        require(
            bool(text.strip()),
            f"The text field in the ContentBlock object at {place} is blank. "
            "Add text to the text field, and try again.",
        )
        parts.append(text_part(text))
        return str(text), None
    for kind in _MEDIA:
        if kind in block:
            _source(block[kind], f"{place}.{kind}")
            parts.append(media_part(block[kind]))
            return "", None
    if "document" in block:
        _source(block["document"], f"{place}.document")
        parts.append(media_part(block["document"], most=DOCUMENT_TOKENS))
        return "", None
    if "toolResult" in block:
        result = mapping(block["toolResult"], f"{place}.toolResult")
        require(bool(result.get("toolUseId")), f"{place}.toolResult.toolUseId: is required.")
        content = result.get("content")
        require(isinstance(content, list), f"{place}.toolResult.content: expected a list.")
        said: list[str] = []
        for item in content or ():
            item = mapping(item, f"{place}.toolResult.content")
            if any(kind in item for kind in _MEDIA):
                parts.append(media_part(item))
            elif "document" in item:
                parts.append(media_part(item, most=DOCUMENT_TOKENS))
            elif isinstance(item.get("text"), str):
                parts.append(text_part(item["text"]))
                said.append(item["text"])
            else:
                part = json_part(item.get("json", item))
                parts.append(part)
                said.append(part.content.decode("utf-8", "replace"))
        return "", " ".join(said)
    if "guardContent" in block:
        text = mapping(mapping(block["guardContent"], place).get("text"), place).get("text")
        parts.append(json_part(block))
        return (text if isinstance(text, str) else ""), None
    parts.append(json_part(block))
    return "", None


def _source(value: Any, place: str) -> None:
    media = mapping(value, place)
    if not media.get("format"):
        raise invalid(f"{place}.format: is required.")
    source = mapping(media.get("source"), f"{place}.source")
    require(bool(source), f"{place}.source: is required.")
