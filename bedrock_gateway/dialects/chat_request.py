"""A request of OpenAI's chat completions as a request of Converse.

Knows the members of both. Must not know deployments, nor what families of models call their own members
(``chat_families``).

What Bedrock has no place for is refused by name, or left out where ``drop_params`` says so; members that are neither
OpenAI's nor Converse's go to the model as they are (``additionalModelRequestFields``).

Source: OpenAI API reference, "Create chat completion"; bedrock-runtime service-2.json (``ConverseRequest``);
LiteLLM 1.109 for members beyond OpenAI's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

import attrs

from bedrock_gateway.dialects.chat_answer import ChatRelay, ChatStream
from bedrock_gateway.dialects.chat_families import ANSWER, EFFORTS, Wishes, fitting, thinking
from bedrock_gateway.dialects.chat_messages import Block, converse_messages
from bedrock_gateway.dialects.chat_tools import JSON_TOOL, add_tools
from bedrock_gateway.dialects.fields import boolean, fraction, integer, items, mapping, one_of, text, written, wrong
from bedrock_gateway.dialects.requests import read_body
from bedrock_gateway.dialects.speech import NO_DEFAULTS, Asked, Relay
from bedrock_gateway.errors import InvalidRequest

__all__ = ["DEPLOYED", "ChatTranslation", "members_of", "read_chat"]

#: How paths begin that name the model themselves, as Azure's OpenAI has them.
DEPLOYED = "/openai/deployments/"
_ADDITIONAL = "additionalModelRequestFields"

#: Members of Converse that may stand in a request as they are, and what each has to be.
_CONVERSE: Mapping[str, Callable[[object, str], Any]] = {
    **dict.fromkeys(
        (
            *("guardrailConfig", "performanceConfig", "requestMetadata", "promptVariables", "outputConfig"),
            *("serviceTier", _ADDITIONAL),
        ),
        mapping,
    ),
    "additionalModelResponseFieldPaths": items,
}
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
#: Members that are read by name, or say nothing about the answer.
_KNOWN = _UNSUPPORTED.keys() | {
    *("model", "messages", "stream", "stream_options", "user", "metadata", "safety_identifier", "tags"),
    *("prompt_cache_key", "prompt_cache_retention", "verbosity", "litellm_metadata", "max_tokens"),
    *("max_completion_tokens", "temperature", "top_p", "top_k", "stop", "tools", "tool_choice"),
    *("response_format", "reasoning_effort", "parallel_tool_calls", "service_tier"),
}
_DROP = ": leave {} out, or let the gateway do so (drop_params: true, in the request or under litellm_settings)"


@attrs.frozen(kw_only=True)
class ChatTranslation:
    """A chat completion in Converse's words; as ``speech.Translation``.

    Attributes:
        stream: it is streamed; include_usage: its last chunk tells the usage.
        in_json: the answer is what the tool for JSON is called with.
        wishes: what is written in the words of the model of each attempt.
    """

    model: str
    body: bytes
    end_user: str = ""
    tags: tuple[str, ...] = ()
    stream: bool = False
    include_usage: bool = False
    in_json: bool = False
    wishes: Wishes = attrs.field(factory=Wishes)

    @property
    def operation(self) -> str:
        """As ``speech.Translation``."""
        return "ConverseStream" if self.stream else "Converse"

    def relay(self, model_id: str, *, call_id: str, now: int, defaults: Mapping[str, object] = NO_DEFAULTS) -> Relay:
        """As ``speech.Translation``."""
        think = fitting(model_id, self.wishes, defaults)
        json_tool = JSON_TOOL if self.in_json else ""
        if self.stream:
            return ChatStream(think, call_id, now, self.model, json_tool, self.include_usage)
        return ChatRelay(think, call_id, now, self.model, json_tool)


def read_chat(request: Asked) -> ChatTranslation:
    """Read a request.

    Raises:
        InvalidRequest: naming the member that is wrong, or all that Bedrock has no place for.
    """
    asked = members_of(read_body(request.body), request.path)
    model = text(asked.get("model"), "model")
    if not model:
        wrong("model", "must name a model")
    drop_params = boolean(asked.pop("drop_params", request.drop_params), "drop_params")
    _check_supported(asked, drop_params)
    messages, system = converse_messages(asked.get("messages"))
    converse: Block = {"messages": messages}
    if system:
        converse["system"] = system
    inference = _inference(asked, drop_params)
    wishes = _wishes(asked, inference, request, drop_params)
    if inference:
        converse["inferenceConfig"] = inference
    in_json = add_tools(converse, asked, thinks=wishes.thinks, drop_params=drop_params)
    if "service_tier" in asked:
        tier = one_of(asked["service_tier"], "service_tier", ("auto", "default", "flex", "priority", "reserved"))
        converse["serviceTier"] = {"type": "default" if tier == "auto" else tier}
    _add_others(converse, asked)
    tags = mapping(asked.get("metadata", {}), "metadata").get("tags", asked.get("tags", ()))
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
        wishes=wishes,
    )


def members_of(body: Block, path: str) -> Block:
    """Return what a request says, with what stands in ``extra_body`` beside the rest, and its path's model."""
    asked = {name: value for name, value in body.items() if value is not None}
    extra = mapping(asked.pop("extra_body", {}), "extra_body")
    if path.startswith(DEPLOYED):
        asked["model"] = unquote(path[len(DEPLOYED) :].partition("/")[0])
    return {**extra, **asked} if extra else asked


def _check_supported(asked: Mapping[str, Any], drop_params: bool) -> None:
    found = [name for name, idle in _UNSUPPORTED.items() if name in asked and asked[name] not in idle]
    if found and not drop_params:
        raise InvalidRequest(
            f"Bedrock has no place for {', '.join(found)}{_DROP.format('it' if len(found) == 1 else 'them')}.",
            param=found[0],
        )


def _inference(asked: Mapping[str, Any], drop_params: bool) -> Block:
    found: Block = {}
    name = "max_completion_tokens" if "max_completion_tokens" in asked else "max_tokens"
    if name in asked:
        found["maxTokens"] = integer(asked[name], name, 1)
    if "temperature" in asked:
        found["temperature"] = fraction(asked["temperature"], "temperature", 1 if drop_params else None)
    if "top_p" in asked:
        found["topP"] = fraction(asked["top_p"], "top_p")
    stop = asked.get("stop", [])
    stops = [stop] if isinstance(stop, str) else items(stop, "stop")
    sequences = [one for at, stop in enumerate(stops) if (one := text(stop, f"stop[{at}]"))]
    if sequences:
        found["stopSequences"] = sequences
    return found


def _wishes(asked: Block, inference: Block, request: Asked, drop_params: bool) -> Wishes:
    """Return what every family is told in other words; where a request thinks in the model's own, see to the room."""
    effort = one_of(asked.get("reasoning_effort", ""), "reasoning_effort", ("", "none", *EFFORTS))
    thinks = "thinking" in asked and _own_thinking(asked["thinking"], inference)
    if effort not in ("", "none") and not thinks and not _may_think(request.model_of(asked["model"]), effort):
        if not drop_params:
            wrong("reasoning_effort", f"is nothing that {asked['model']} knows{_DROP.format('it')}")
        effort = "none"
    return Wishes(
        effort=effort,
        thinks=thinks,
        top_k=integer(asked["top_k"], "top_k") if "top_k" in asked else None,
        one_tool=not boolean(asked.get("parallel_tool_calls", True), "parallel_tool_calls"),
        open_ended="maxTokens" not in inference,
    )


def _may_think(model_id: str, effort: str) -> bool:
    """Tell whether a model can be made to think, as far as its id tells which it is."""
    return model_id.startswith("arn:") or thinking(model_id, effort) is not None


def _own_thinking(told: object, inference: Block) -> bool:
    """Tell whether a request asks for thought in Claude's words; its longest answer is made to hold the thought."""
    asked = mapping(told, "thinking")
    kind = one_of(asked.get("type"), "thinking.type", ("enabled", "adaptive", "disabled"))
    if kind == "enabled":
        budget, most = integer(asked.get("budget_tokens"), "thinking.budget_tokens", 1024), inference.get("maxTokens")
        if most is None or most <= budget:
            inference["maxTokens"] = budget + (ANSWER if most is None else most)
    return kind != "disabled"


def _add_others(converse: Block, asked: Mapping[str, Any]) -> None:
    """Add what is not OpenAI's: members of Converse as they are, all others for the model."""
    others = {name: value for name, value in asked.items() if name not in _KNOWN}
    for name, read in _CONVERSE.items():
        if name in others:
            converse[name] = read(others.pop(name), name)
    if others:
        converse[_ADDITIONAL] = {**converse.get(_ADDITIONAL, {}), **others}
