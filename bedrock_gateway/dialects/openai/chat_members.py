"""What a request of chat completions and one of Responses say alike, beside messages and tools: how long and how drawn
the answer is, how much is thought, the tier, and what is neither OpenAI's nor read here by name.

Knows Converse's members, and that what Bedrock has no place for is refused by name, or left out where ``drop_params``
says so; members that are nobody's go to the model as they are (``additionalModelRequestFields``). Must not know
deployments, nor what families of models call their own members (``families.wishes``).

Source: OpenAI API reference, "Create chat completion", "Create a model response"; bedrock-runtime service-2.json
(``ConverseRequest``); LiteLLM 1.109 for ``top_k`` and ``thinking``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from bedrock_gateway.dialects.families.invoked import members_beside
from bedrock_gateway.dialects.families.wishes import ANSWER, EFFORTS, Wishes, thinking
from bedrock_gateway.dialects.fields import (
    Block,
    boolean,
    fraction,
    given_in,
    integer,
    items,
    mapping,
    one_of,
    text,
    wrong,
)
from bedrock_gateway.dialects.speech import Asked
from bedrock_gateway.errors import InvalidRequest

__all__ = ["DROP", "READ_ALIKE", "add_others", "check_supported", "read_inference", "read_wishes", "tier"]

#: Members that LiteLLM's proxy takes for itself, none of a model's, and the values of them that ask for nothing.
_PROXYS: Mapping[str, tuple[object, ...]] = {
    **dict.fromkeys(("fallbacks", "guardrails", "additional_drop_params", "allowed_openai_params"), ([],)),
    **dict.fromkeys(("num_retries", "timeout", "request_timeout", "cache", "mock_response"), ()),
    **dict.fromkeys(("disable_fallbacks", "caching"), (False,)),
}
#: Members that are read by name on both routes, or say nothing about the answer.
READ_ALIKE = frozenset(
    {
        *("model", "stream", "stream_options", "temperature", "top_p", "top_k", "stop", "tools", "tool_choice"),
        *("parallel_tool_calls", "service_tier", "prompt_cache_key", "prompt_cache_retention"),
        *_PROXYS,
    }
)
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
#: What mends a request for something that there is not.
DROP = ": leave {} out, or let the gateway do so (drop_params: true, in the request or under litellm_settings)"


def check_supported(asked: Mapping[str, Any], unsupported: Mapping[str, tuple[object, ...]], drop_params: bool) -> None:
    """Refuse what Bedrock has no place for, and what is LiteLLM's alone. Guardrails are never left out.

    Args:
        unsupported: such members, and the values of them that ask for nothing.

    Raises:
        InvalidRequest: naming all of it.
    """
    found = [
        name
        for name, told in asked.items()
        if (idle := unsupported.get(name, _PROXYS.get(name))) is not None and told not in idle
    ]
    if "guardrails" in found:
        wrong("guardrails", "are LiteLLM's, and would not be kept here; guardrailConfig names one of Bedrock's")
    if found and not drop_params:
        raise InvalidRequest(
            f"Bedrock has no place for {', '.join(found)}{DROP.format('it' if len(found) == 1 else 'them')}.",
            param=found[0],
        )


def read_inference(asked: Mapping[str, Any], longest: str, drop_params: bool) -> Block:
    """Return ``inferenceConfig``; ``longest``: the member that says how long the answer may be."""
    found: Block = {}
    if longest in asked:
        found["maxTokens"] = integer(asked[longest], longest, 1)
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


def read_wishes(
    asked: Block, effort_told: object, path: str, inference: Block, request: Asked, drop_params: bool
) -> Wishes:
    """Return what every family is told in other words; where a request thinks in the model's own, see to the room.

    Args:
        effort_told: how much to think, and ``path``, where that is said.
    """
    effort = one_of("" if effort_told is None else effort_told, path, ("", "none", *EFFORTS))
    thinks = "thinking" in asked and _own_thinking(asked["thinking"], inference)
    if effort not in ("", "none") and not thinks and not _may_think(request.model_of(asked["model"]), effort):
        if not drop_params:
            wrong(path, f"is nothing that {asked['model']} knows{DROP.format('it')}")
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


def tier(asked: Mapping[str, Any]) -> Block:
    """Return the member of Converse that names the tier, where a request does."""
    if "service_tier" not in asked:
        return {}
    told = one_of(asked["service_tier"], "service_tier", ("auto", "default", "flex", "priority", "reserved"))
    return {"serviceTier": {"type": "default" if told == "auto" else told}}


def add_others(converse: Block, asked: Mapping[str, Any], known: Collection[str], headers: Mapping[str, str]) -> None:
    """Add what is not OpenAI's: members of Converse as they are, and those that Bedrock has headers for elsewhere; all
    others for the model.
    """
    others = {name: value for name, value in asked.items() if name not in known}
    for name, read in _CONVERSE.items():
        if name in others:
            told = read(others.pop(name), name)
            # What is null for the model is for the model to read.
            if (said := told if name == _ADDITIONAL else given_in(told)) is not None:
                converse[name] = said
    if others:
        converse[_ADDITIONAL] = {**converse.get(_ADDITIONAL, {}), **others}
    for name, beside in members_beside(headers).items():
        converse.setdefault(name, beside)
