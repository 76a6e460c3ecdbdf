"""Tools of OpenAI's chat as Converse has them, and answers in JSON, which are asked for as a call of a tool.

Knows both forms of a tool and of the choice among them; those of Responses say the same with less nesting. Must not
know families of models.

Source: OpenAI API reference, "Create chat completion" (``tools``, ``tool_choice``, ``response_format``), "Create a
model response" (``text.format``); bedrock-runtime service-2.json (``ToolConfiguration``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from bedrock_gateway.dialects.converse_blocks import cache_point, tool_name, tools_used
from bedrock_gateway.dialects.fields import Block, given, items, mapping, one_of, text, wrong
from bedrock_gateway.dialects.openai.json_answers import text_format

__all__ = ["JSON_TOOL", "Offer", "add_tools", "choice_of", "function", "offered", "schema_of", "spec"]

#: Tool by which a model is made to answer in JSON.
JSON_TOOL = "json_tool_call"


@attrs.frozen(kw_only=True)
class Offer:
    """What a request says of tools, and of an answer in JSON.

    Attributes:
        tools: as Converse has them, cache points too.
        choice: ``toolChoice``, or None where no tool may be called; schema: of an answer in JSON.
        text_format: how a model is held to that schema without a tool, where it may be.
        chosen: where the request names the tool that it wants called; form: where it asks for JSON.
    """

    tools: list[Block]
    choice: Block | None
    schema: Mapping[str, Any] | None
    text_format: Block | None
    chosen: str
    form: str

    @property
    def forces_json(self) -> bool:
        """Whether a call of a tool is asked for only because the answer is to be in JSON."""
        return self.schema is not None and (self.choice is None or not self.tools or "auto" in self.choice)


def offered(asked: Mapping[str, Any]) -> Offer:
    """Return what a request of chat completions says of tools."""
    told = items(asked.get("tools", []), "tools")
    form = asked.get("response_format")
    schema = schema_of(form, "response_format", "json_schema", usual={"type": "object"})
    return Offer(
        tools=[one for at, tool in enumerate(told) for one in _tool(tool, f"tools[{at}]")],
        choice=choice_of(asked.get("tool_choice", "auto"), "function"),
        schema=schema,
        text_format=text_format(schema, form.get("json_schema") if isinstance(form, dict) else None),
        chosen="tool_choice.function.name",
        form="response_format",
    )


def add_tools(converse: Block, offer: Offer, *, thinks: bool, drop_params: bool) -> bool:
    """Add ``toolConfig``; tell whether the answer comes as a call of the tool for JSON.

    Args:
        thinks: the request asks for thought in the model's own words; then no call can be forced.
    """
    tools, choice, schema = list(offer.tools), offer.choice, offer.schema
    used = tools_used(converse["messages"])
    if choice is None:
        if used and schema is None and not drop_params:
            wrong("tool_choice", "cannot be none after messages in which tools were used: Bedrock has no such choice")
        tools = tools if used else []
    known = {tool["toolSpec"]["name"] for tool in tools if "toolSpec" in tool}
    # Bedrock wants every tool that was used to be declared.
    tools += [spec(name, {"type": "object"}) for name in used if name not in known]
    if schema is not None:
        if JSON_TOOL in known:
            wrong("tools", f"must not hold {JSON_TOOL!r} beside {offer.form}: the answer in JSON is a tool of it")
        tools.append(spec(JSON_TOOL, schema, "Give your answer by calling this tool, once and for all of it."))
        if choice is None or not offer.tools:
            choice = {"tool": {"name": JSON_TOOL}}
        elif "auto" in choice:
            choice = {"any": {}}
    elif choice is not None and "tool" in choice and choice["tool"]["name"] not in known:
        wrong(offer.chosen, "must be one of tools")
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


def function(told: Mapping[str, Any], path: str) -> Block:
    """Return a function that a model may call as Converse has it.

    ``strict`` is left out: what AWS takes of a strict tool differs from model to model and is less than what OpenAI
    takes, so that a call that works without it would be refused.
    """
    name = tool_name(told.get("name"), f"{path}.name")
    description = told.get("description")
    schema = mapping(told.get("parameters") or {"type": "object"}, f"{path}.parameters")
    return spec(name, schema, None if description is None else text(description, f"{path}.description"))


def _tool(told: object, path: str) -> list[Block]:
    tool = mapping(told, path)
    one_of(given(tool, "type", "function"), f"{path}.type", ("function",))
    inner = mapping(tool.get("function"), f"{path}.function")
    points = cache_point(tool, path) or cache_point(inner, f"{path}.function")
    return [function(inner, f"{path}.function"), *points]


def choice_of(told: object, *within: str) -> Block | None:
    """Return ``toolChoice``, or None where no tool may be called; ``within``: the member that names a tool, if any."""
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
    choice, path = mapping(told, "tool_choice"), "tool_choice"
    one_of(given(choice, "type", "function"), "tool_choice.type", ("function",))
    for member in within:
        path = f"{path}.{member}"
        choice = mapping(choice.get(member), path)
    return {"tool": {"name": text(choice.get("name"), f"{path}.name")}}


def schema_of(
    told: object, path: str, *within: str, usual: Mapping[str, Any] | None = None
) -> Mapping[str, Any] | None:
    """Return the schema an answer has to follow, or None.

    Args:
        within: the member that holds a schema; usual: the schema where a request for one does not tell it.
    """
    if told is None:
        return None
    wanted = mapping(told, path)
    kind = one_of(wanted.get("type"), f"{path}.type", ("text", "json_object", "json_schema"))
    if kind == "text":
        return None
    if kind == "json_object":
        return {"type": "object"}
    for member in within:
        path = f"{path}.{member}"
        wanted = mapping(wanted.get(member), path)
    schema = wanted.get("schema")
    return mapping(usual if schema is None else schema, f"{path}.schema")
