"""What a deployment says of its model's answers where a request in a dialect does not: LiteLLM's model parameters.

Knows their names and which values AWS would take. They never reach a native body, so only those are read that bound or
shape an answer; what would make it dearer than the request tells is not among them.

Source: LiteLLM documentation, "Config settings" (``litellm_params``); bedrock-runtime service-2.json
(``InferenceConfiguration``).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from bedrock_gateway.config.reading import Section

__all__ = ["EFFORTS", "read_defaults"]

#: How much a model may be told to think.
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


def read_defaults(params: Section) -> Mapping[str, object]:
    """Return the model parameters of a deployment by their names, those that are not given left out."""
    tokens = params.integer("max_tokens", least=1)
    most = params.integer("max_completion_tokens", least=1)
    found: dict[str, object] = {
        "max_tokens": tokens if most is None else most,
        "temperature": params.number("temperature", least=0, most=1),
        "top_p": params.number("top_p", least=0, most=1),
        "top_k": params.integer("top_k", least=0),
        "stop": _stops(params),
        "reasoning_effort": params.choice("reasoning_effort", EFFORTS),
        "thinking": _thinking(params),
        "drop_betas": params.texts("drop_betas") or None,
    }
    return MappingProxyType({name: value for name, value in found.items() if value is not None})


def _stops(params: Section) -> tuple[str, ...] | None:
    node = params.find("stop")
    if node is None:
        return None
    if isinstance(node.value, list):
        return params.texts("stop")
    told = params.text("stop")
    return None if told is None else (told,)


def _thinking(params: Section) -> Mapping[str, object] | None:
    if params.find("thinking") is None:
        return None
    section = params.section("thinking")
    for key, entry in section:
        if key not in ("type", "budget_tokens", "display"):
            section.reader.fault(entry.line, entry.column, f"{section.name(key)} is not a known key")
    found: dict[str, object] = {
        "type": section.choice("type", ("enabled", "adaptive", "disabled")),
        "budget_tokens": section.integer("budget_tokens", least=1024),
        "display": section.text("display"),
    }
    return MappingProxyType({name: value for name, value in found.items() if value is not None})
