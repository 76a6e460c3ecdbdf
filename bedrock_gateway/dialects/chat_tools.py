"""Tools of OpenAI's chat as Converse has them, and answers in JSON, which are asked for as a call of a tool.

Knows both forms of a tool and of the choice among them. Must not know families of models.

Source: OpenAI API reference, "Create chat completion" (``tools``, ``tool_choice``, ``response_format``);
bedrock-runtime service-2.json (``ToolConfiguration``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bedrock_gateway.dialects.chat_messages import Block, cache_point, tool_name, tools_used
from bedrock_gateway.dialects.fields import items, mapping, one_of, text, wrong

__all__ = ["JSON_TOOL", "add_tools", "spec"]

#: Tool by which a model is made to answer in JSON.
JSON_TOOL = "json_tool_call"


def add_tools(converse: Block, asked: Mapping[str, Any], *, thinks: bool, drop_params: bool) -> bool:
    """Add ``toolConfig``; tell whether the answer comes as a call of the tool for JSON.

    Args:
        thinks: the request asks for thought in the model's own words; then no call can be forced.
    """
    told = items(asked.get("tools", []), "tools")
    tools = [one for at, tool in enumerate(told) for one in _tool(tool, f"tools[{at}]")]
    used = tools_used(converse["messages"])
    choice = _choice(asked.get("tool_choice", "auto"))
    schema = _json_schema(asked.get("response_format"))
    if choice is None:
        if used and schema is None and not drop_params:
            wrong("tool_choice", "cannot be none after messages in which tools were used: Bedrock has no such choice")
        tools = tools if used else []
    known = {tool["toolSpec"]["name"] for tool in tools if "toolSpec" in tool}
    # Bedrock wants every tool that was used to be declared.
    tools += [spec(name, {"type": "object"}) for name in used if name not in known]
    if schema is not None:
        if JSON_TOOL in known:
            wrong("tools", f"must not hold {JSON_TOOL!r} beside response_format: the answer in JSON is a tool of it")
        tools.append(spec(JSON_TOOL, schema, "Give your answer by calling this tool, once and for all of it."))
        if choice is None or not told:
            choice = {"tool": {"name": JSON_TOOL}}
        elif "auto" in choice:
            choice = {"any": {}}
    elif choice is not None and "tool" in choice and choice["tool"]["name"] not in known:
        wrong("tool_choice.function.name", "must be one of tools")
    if tools:
        config: Block = {"tools": tools}
        if choice and "auto" not in choice and not thinks:
            config["toolChoice"] = choice
        converse["toolConfig"] = config
    elif choice and "auto" not in choice:
        wrong("tool_choice", "asks for a call of a tool, and tools holds none")
    return schema is not None


def spec(name: str, schema: Mapping[str, Any], description: str | None = None) -> Block:
    """Return a tool as Converse has it."""
    tool: Block = {"name": name, "inputSchema": {"json": schema}}
    if description:
        tool["description"] = description
    return {"toolSpec": tool}


def _tool(told: object, path: str) -> list[Block]:
    tool = mapping(told, path)
    one_of(tool.get("type", "function"), f"{path}.type", ("function",))
    function = mapping(tool.get("function"), f"{path}.function")
    name = tool_name(function.get("name"), f"{path}.function.name")
    description = function.get("description")
    schema = mapping(function.get("parameters") or {"type": "object"}, f"{path}.function.parameters")
    words = None if description is None else text(description, f"{path}.function.description")
    return [spec(name, schema, words), *(cache_point(tool, path) or cache_point(function, f"{path}.function"))]


def _choice(told: object) -> Block | None:
    """Return ``toolChoice``, or None where no tool may be called."""
    if isinstance(told, str):
        found: dict[str, Block | None] = {
            "auto": {"auto": {}},
            "required": {"any": {}},
            "any": {"any": {}},
            "none": None,
        }
        if told not in found:
            wrong("tool_choice", "must be auto, none, required, or an object that names a function")
        return found[told]
    choice = mapping(told, "tool_choice")
    one_of(choice.get("type", "function"), "tool_choice.type", ("function",))
    function = mapping(choice.get("function"), "tool_choice.function")
    return {"tool": {"name": text(function.get("name"), "tool_choice.function.name")}}


def _json_schema(told: object) -> Mapping[str, Any] | None:
    """Return the schema an answer has to follow, or None."""
    if told is None:
        return None
    wanted = mapping(told, "response_format")
    kind = one_of(wanted.get("type"), "response_format.type", ("text", "json_object", "json_schema"))
    if kind == "text":
        return None
    if kind == "json_object":
        return {"type": "object"}
    schema = mapping(wanted.get("json_schema"), "response_format.json_schema").get("schema")
    return {"type": "object"} if schema is None else mapping(schema, "response_format.json_schema.schema")
