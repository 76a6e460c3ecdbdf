"""A request of OpenAI's chat completions as a request of Converse.

Knows the members of both, and what each family of models calls the effort of its reasoning. Must not know deployments.

What Bedrock has no place for is refused by name, or left out where ``drop_params`` says so; members that are neither
OpenAI's nor Converse's go to the model as they are (``additionalModelRequestFields``).

Source: OpenAI API reference, "Create chat completion"; bedrock-runtime service-2.json (``ConverseRequest``); Bedrock
user guide, "Extended thinking", "Nova 2: reasoning", "OpenAI models"; LiteLLM 1.109 for members beyond OpenAI's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from bedrock_gateway.dialects.chat_answer import ChatRelay, ChatStream
from bedrock_gateway.dialects.chat_messages import Block, cache_point, converse_messages, tools_used
from bedrock_gateway.dialects.fields import boolean, integer, items, mapping, number, one_of, text, wrong
from bedrock_gateway.dialects.requests import read_body
from bedrock_gateway.dialects.speech import Asked, Relay
from bedrock_gateway.errors import InvalidRequest

__all__ = ["JSON_TOOL", "ChatTranslation", "read_chat", "spec", "thinking", "written"]

#: Tool by which a model is made to answer in JSON.
JSON_TOOL = "json_tool_call"
#: Tokens of thought by effort.
_BUDGETS = {"minimal": 1024, "low": 1024, "medium": 2048, "high": 4096, "xhigh": 8192, "max": 16384}
#: Tokens for the answer where a request says nothing of its length, beside those of thought.
_ANSWER = 4096
#: Members of Converse that may stand in a request as they are.
_CONVERSE = frozenset(
    {
        *("guardrailConfig", "performanceConfig", "requestMetadata", "promptVariables", "outputConfig", "serviceTier"),
        *("additionalModelRequestFields", "additionalModelResponseFieldPaths"),
    }
)
#: Members that say nothing about the answer.
_SAID_ELSEWHERE = frozenset(
    {
        *("model", "messages", "stream", "stream_options", "user", "metadata", "safety_identifier", "tags"),
        *("prompt_cache_key", "prompt_cache_retention", "verbosity", "litellm_metadata"),
    }
)
#: Members that Bedrock has no place for, and the values of them that ask for nothing.
_UNSUPPORTED: Mapping[str, tuple[object, ...]] = {
    "n": (1,),
    "seed": (),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "audio": (),
    "modalities": (["text"],),
    "prediction": (),
    "web_search_options": (),
    "store": (False,),
    "functions": ([],),
    "function_call": ("auto", "none"),
}


@attrs.frozen(kw_only=True)
class ChatTranslation:
    """A chat completion in Converse's words; as ``speech.Translation``.

    Attributes:
        stream: it is streamed; include_usage: its last chunk tells the usage.
        in_json: the answer is what the tool for JSON is called with.
        effort: how much a model is to think, or "".
    """

    model: str
    body: bytes
    end_user: str = ""
    tags: tuple[str, ...] = ()
    stream: bool = False
    include_usage: bool = False
    in_json: bool = False
    effort: str = ""

    @property
    def operation(self) -> str:
        """As ``speech.Translation``."""
        return "ConverseStream" if self.stream else "Converse"

    def relay(self, model_id: str, *, call_id: str, now: int) -> Relay:
        """As ``speech.Translation``."""
        think = thinking(model_id, self.effort) if self.effort else None
        json_tool = JSON_TOOL if self.in_json else ""
        if self.stream:
            return ChatStream(think, call_id, now, self.model, json_tool, self.include_usage)
        return ChatRelay(think, call_id, now, self.model, json_tool)


def read_chat(request: Asked) -> ChatTranslation:
    """Read a request.

    Raises:
        InvalidRequest: naming the member that is wrong, or all that Bedrock has no place for.
    """
    asked = {name: value for name, value in read_body(request.body).items() if value is not None}
    model = text(asked.get("model"), "model")
    if not model:
        wrong("model", "must name a model")
    drop_params = boolean(asked.pop("drop_params", request.drop_params), "drop_params")
    _check_supported(asked, drop_params)
    messages, system = converse_messages(asked.get("messages"))
    converse: Block = {"messages": messages}
    if system:
        converse["system"] = system
    if inference := _inference(asked):
        converse["inferenceConfig"] = inference
    in_json = _add_tools(converse, asked, drop_params)
    if "service_tier" in asked:
        tier = one_of(asked["service_tier"], "service_tier", ("auto", "default", "flex", "priority", "reserved"))
        converse["serviceTier"] = {"type": "default" if tier == "auto" else tier}
    _add_others(converse, asked)
    metadata = mapping(asked.get("metadata", {}), "metadata")
    tags = metadata.get("tags", asked.get("tags", ()))
    stream = boolean(asked.get("stream", False), "stream")
    options = mapping(asked.get("stream_options", {}), "stream_options")
    return ChatTranslation(
        model=model,
        body=written(converse),
        end_user=text(asked.get("user", asked.get("safety_identifier", "")), "user"),
        tags=tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else (),
        stream=stream,
        include_usage=boolean(options.get("include_usage", False), "stream_options.include_usage"),
        in_json=in_json,
        effort=_effort(asked),
    )


def written(document: Block) -> bytes:
    """Return a request of Converse as JSON.

    Raises:
        InvalidRequest: a number in it is none that JSON has.
    """
    try:
        try:
            return json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
        except UnicodeEncodeError:
            # Half of a surrogate pair can only be written escaped.
            return json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
    except ValueError:
        raise InvalidRequest("A number in the body is none of JSON's (NaN, Infinity).") from None


def _check_supported(asked: Mapping[str, Any], drop_params: bool) -> None:
    found = [name for name, idle in _UNSUPPORTED.items() if name in asked and asked[name] not in idle]
    if found and not drop_params:
        raise InvalidRequest(
            f"Bedrock has no place for {', '.join(found)}: leave {'it' if len(found) == 1 else 'them'} out, or let "
            "the gateway do so (drop_params: true, in the request or under litellm_settings).",
            param=found[0],
        )


def _inference(asked: Mapping[str, Any]) -> Block:
    found: Block = {}
    name = "max_completion_tokens" if "max_completion_tokens" in asked else "max_tokens"
    if name in asked:
        found["maxTokens"] = integer(asked[name], name, 1)
    if "temperature" in asked:
        found["temperature"] = number(asked["temperature"], "temperature")
    if "top_p" in asked:
        found["topP"] = number(asked["top_p"], "top_p")
    stop = asked.get("stop", [])
    stops = [stop] if isinstance(stop, str) else items(stop, "stop")
    sequences = [one for at, stop in enumerate(stops) if (one := text(stop, f"stop[{at}]"))]
    if sequences:
        found["stopSequences"] = sequences
    return found


def _add_tools(converse: Block, asked: Mapping[str, Any], drop_params: bool) -> bool:
    """Add ``toolConfig``; tell whether the answer comes as a call of the tool for JSON."""
    told = items(asked.get("tools", []), "tools")
    tools = [spec for at, one in enumerate(told) for spec in _tool(one, f"tools[{at}]")]
    used = tools_used(converse["messages"])
    choice = _choice(asked.get("tool_choice", "auto"))
    if choice is None:
        if used and not drop_params:
            wrong("tool_choice", "cannot be none after messages in which tools were used: Bedrock has no such choice")
        tools = tools if used else []
    known = {tool["toolSpec"]["name"] for tool in tools if "toolSpec" in tool}
    # Bedrock wants every tool that was used to be declared.
    tools += [spec(name, {"type": "object"}) for name in used if name not in known]
    schema = _json_schema(asked.get("response_format"))
    thinks = bool(_effort(asked)) or "thinking" in asked
    if schema is not None:
        tools.append(spec(JSON_TOOL, schema, "Give your answer by calling this tool, once and for all of it."))
        choice = {"any": {}} if told else {"tool": {"name": JSON_TOOL}}
    if tools:
        config: Block = {"tools": tools}
        # A model that thinks cannot be made to call a tool.
        if choice and choice != {"auto": {}} and not thinks:
            config["toolChoice"] = choice
        converse["toolConfig"] = config
    return schema is not None


def _tool(told: object, path: str) -> list[Block]:
    tool = mapping(told, path)
    one_of(tool.get("type", "function"), f"{path}.type", ("function",))
    function = mapping(tool.get("function"), f"{path}.function")
    name = text(function.get("name"), f"{path}.function.name")
    if not name:
        wrong(f"{path}.function.name", "must not be empty")
    description = function.get("description")
    schema = mapping(function.get("parameters") or {"type": "object"}, f"{path}.function.parameters")
    told = None if description is None else text(description, f"{path}.function.description")
    return [spec(name, schema, told), *cache_point(tool, path)]


def spec(name: str, schema: Mapping[str, Any], description: str | None = None) -> Block:
    """Return a tool as Converse has it."""
    tool: Block = {"name": name, "inputSchema": {"json": schema}}
    if description:
        tool["description"] = description
    return {"toolSpec": tool}


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
    function = mapping(mapping(told, "tool_choice").get("function"), "tool_choice.function")
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
    schema = mapping(wanted.get("json_schema"), "response_format.json_schema").get("schema", {"type": "object"})
    return mapping(schema, "response_format.json_schema.schema")


def _effort(asked: Mapping[str, Any]) -> str:
    effort = asked.get("reasoning_effort", "none")
    found = one_of(effort, "reasoning_effort", ("none", *_BUDGETS))
    return "" if found == "none" else found


def _add_others(converse: Block, asked: Mapping[str, Any]) -> None:
    """Add what is neither OpenAI's: members of Converse as they are, all others for the model."""
    known = _SAID_ELSEWHERE | _UNSUPPORTED.keys() | _UNDERSTOOD
    others = {name: value for name, value in asked.items() if name not in known}
    for name in _CONVERSE & others.keys():
        converse[name] = others.pop(name)
    if asked.get("parallel_tool_calls") is False and "toolConfig" in converse:
        others["tool_choice"] = {"type": "auto", "disable_parallel_tool_use": True}
    if others:
        given = mapping(converse.get("additionalModelRequestFields", {}), "additionalModelRequestFields")
        converse["additionalModelRequestFields"] = {**given, **others}


_UNDERSTOOD = frozenset(
    {
        *("max_tokens", "max_completion_tokens", "temperature", "top_p", "stop", "tools", "tool_choice"),
        *("response_format", "reasoning_effort", "parallel_tool_calls", "service_tier"),
    }
)


def thinking(model_id: str, effort: str) -> Callable[[Block], None] | None:
    """Return what writes an effort of reasoning into a request for a model; None where it has none."""
    if "anthropic.claude" in model_id:
        return lambda request: _claude_thinks(request, _BUDGETS[effort])
    if "amazon.nova-2" in model_id:
        level = {"minimal": "low", "xhigh": "high", "max": "high"}.get(effort, effort)
        return lambda request: _add_field(request, "reasoningConfig", {"type": "enabled", "maxReasoningEffort": level})
    if "openai.gpt-oss" in model_id:
        level = {"minimal": "low", "xhigh": "high", "max": "high"}.get(effort, effort)
        return lambda request: _add_field(request, "reasoning_effort", level)
    return None


def _claude_thinks(request: Block, budget: int) -> None:
    inference = request.setdefault("inferenceConfig", {})
    most = inference.get("maxTokens")
    if most is None:
        inference["maxTokens"] = budget + _ANSWER
    elif most <= 1024:
        # There is no room for thought, of which Claude wants 1,024 tokens at least.
        return
    else:
        budget = min(budget, most - 1)
    # With thought Claude takes no other temperature than 1.
    inference.pop("temperature", None)
    _add_field(request, "thinking", {"type": "enabled", "budget_tokens": budget})


def _add_field(request: Block, name: str, value: object) -> None:
    request.setdefault("additionalModelRequestFields", {}).setdefault(name, value)
