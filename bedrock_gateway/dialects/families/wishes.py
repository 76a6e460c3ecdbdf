"""What each family of models calls the wishes Converse has no member for: how much to think, ``top_k``, one tool at a
time; and what a deployment says where a request does not.

Knows families by their model ids. Must not know deployments. A request is changed only once an attempt has its model,
and never so that its answer may become longer than what the request itself allows.

Source: Bedrock user guide, "Extended thinking", "Adaptive thinking", "Anthropic Claude Messages API", "Cohere Command
R", "OpenAI models"; Amazon Nova user guide, complete request schema; user guide of Nova 2, "Extended thinking" (at high
effort neither ``maxTokens`` nor ``temperature`` nor ``topP`` may be set); Anthropic, "Effort" (``xhigh`` from Opus 4.7
on), "Tool use with thinking" (no forced choice), "Messages" (``usage``); LiteLLM 1.109 for tokens of thought by effort;
BerriAI/litellm, pull request 39210 (AWS answers cache points by a 403 where a model has no cache).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from bedrock_gateway.dialects.fields import Block, written
from bedrock_gateway.dialects.output_limits import family
from bedrock_gateway.dialects.speech import NO_DEFAULTS, Fit

__all__ = ["ANSWER", "EFFORTS", "THOUGHT", "Wishes", "fitting", "thinking"]

#: Tokens of thought by effort.
_BUDGETS = {"minimal": 1024, "low": 1024, "medium": 2048, "high": 4096, "xhigh": 8192, "max": 16384}
EFFORTS = tuple(_BUDGETS)
#: The three efforts every model knows that knows any.
_COMMON = {"minimal": "low", "xhigh": "high", "max": "high"}
#: Tokens for the answer where a request says nothing of its length, beside those of thought.
ANSWER = 4096
#: The least that Claude takes.
_LEAST_BUDGET = 1024

#: Claude before it could think, and while it was given a budget for it; all later ones decide themselves.
_NEVER_THINKS = re.compile(r"claude-(?:3-(?!7)|v\d|instant)")
_BY_BUDGET = re.compile(r"claude-(?:3-7-|(?:sonnet|opus)-4-(?:2\d{7}|[15]-)|haiku-4-5)")
_NO_XHIGH = re.compile(r"claude-(?:opus|sonnet)-4-6")

#: Models for which Converse has no choice of tools; for Mistral's it has any, and none by name.
_CHOOSES = re.compile(r"\b(?:meta\.llama|cohere\.|ai21\.|amazon\.titan|writer\.)")

#: Families with a cache that is told of by marks, and what is not known.
_CACHED = ("anthropic", "amazon.nova", "")

#: Where Claude tells how many tokens its thought took, as a request asks Converse for it; how many such it may ask for.
THOUGHT = "/usage/output_tokens_details"
_MOST_PATHS = 10
_ADDITIONAL = "additionalModelRequestFields"
_Think = Callable[[Block], None]


@attrs.frozen(kw_only=True)
class Wishes:
    """What of a request is said in other words to each family.

    Attributes:
        effort: how much to think, "none", or "" where nothing is said.
        thinks: the request itself asks for thought in the model's own words.
        top_k: of how many tokens one is drawn.
        one_tool: no more than one tool may be called at once.
        own_choice: which tool is to be called is not the caller's choice; it is left to models that are given none.
        open_ended: the request does not say how long its answer may be; what its body says then is a budget's word.
    """

    effort: str = ""
    thinks: bool = False
    top_k: int | None = None
    one_tool: bool = False
    open_ended: bool = False
    own_choice: bool = False


def fitting(model_id: str, wishes: Wishes, defaults: Mapping[str, object] = NO_DEFAULTS) -> Fit | None:
    """Return what writes wishes and defaults into a request of Converse for a model; None where there is nothing to
    write.
    """
    effort, top_k = wishes.effort, wishes.top_k
    if not effort and not wishes.thinks:
        told = defaults.get("reasoning_effort")
        effort = told if isinstance(told, str) else ""
    steps: list[_Think] = []
    think = thinking(model_id, effort) if effort not in ("", "none") and not wishes.thinks else None
    if defaults:
        thinks = think is not None or wishes.thinks
        if not thinks and wishes.effort != "none" and isinstance(told := defaults.get("thinking"), Mapping):
            think, thinks = _own_thinking(told), told.get("type") != "disabled"
        steps.append(lambda request: _add_defaults(request, defaults, wishes.open_ended, sampling=not thinks))
        if top_k is None and not thinks and isinstance(told := defaults.get("top_k"), int):
            top_k = told
    if think is not None:
        steps.append(think)
    if (think is not None or wishes.thinks) and "anthropic.claude" in model_id:
        steps.append(_count_thought)
    if top_k is not None and not (think is not None and "anthropic.claude" in model_id):
        # With thought Claude takes none.
        steps.append(_top_k(model_id, top_k))
    if wishes.one_tool and "anthropic.claude" in model_id:
        steps.append(_one_tool)
    if wishes.own_choice and (loosen := _loosened(model_id)) is not None:
        steps.append(loosen)
    uncached = family(model_id) not in _CACHED
    if not steps and not uncached:
        return None

    def fit(body: bytes | bytearray) -> bytes | bytearray:
        marked = uncached and b"cachePoint" in body
        if not steps and not marked:
            return body
        request = json.loads(body)
        if marked:
            _unmark(request)
        for step in steps:
            step(request)
        return written(request)

    return fit


def _unmark(request: Block) -> None:
    """Take out the cache points, which AWS refuses for a model that has no cache."""
    holders = [(request, "system"), (request.get("toolConfig", {}), "tools")]
    for holder, name in (*holders, *((turn, "content") for turn in request["messages"])):
        if name in holder:
            holder[name] = [block for block in holder[name] if "cachePoint" not in block]


def thinking(model_id: str, effort: str) -> _Think | None:
    """Return what writes an effort of reasoning into a request for a model; None where it has none."""
    if "anthropic.claude" in model_id:
        if _NEVER_THINKS.search(model_id):
            return None
        if _BY_BUDGET.search(model_id):
            return lambda request: _think_within(request, _BUDGETS[effort])
        if effort == "minimal":
            effort = "low"
        elif effort == "xhigh" and _NO_XHIGH.search(model_id):
            effort = "high"
        return lambda request: _think_by_itself(request, effort)
    level = _COMMON.get(effort, effort)
    if "amazon.nova-2" in model_id:
        return lambda request: _nova_thinks(request, level)
    if "openai.gpt-oss" in model_id:
        return lambda request: _add(request, "reasoning_effort", level)
    return None


def _think_within(request: Block, budget: int) -> None:
    """Let Claude think for so many tokens, fewer where the answer may not be as long."""
    inference = request.setdefault("inferenceConfig", {})
    most = inference.get("maxTokens")
    if most is None:
        inference["maxTokens"] = budget + ANSWER
    elif most <= _LEAST_BUDGET:
        # There is no room for thought.
        return
    else:
        budget = min(budget, most - 1)
    _free_choice(request)
    _add(request, "thinking", {"type": "enabled", "budget_tokens": budget})


def _think_by_itself(request: Block, level: str) -> None:
    """Let Claude think as it sees fit."""
    _free_choice(request)
    _add(request, "thinking", {"type": "adaptive", "display": "summarized"})
    _add(request, "output_config", {"effort": level})


def _own_thinking(told: Mapping[str, object]) -> _Think:
    """Return what lets a model think as its deployment says; the length that a request allows stays."""
    budget = told.get("budget_tokens")
    if isinstance(budget, int) and told.get("type") == "enabled":
        return lambda request: _think_within(request, budget)

    def think(request: Block) -> None:
        if told.get("type") != "disabled":
            _free_choice(request)
        _add(request, "thinking", dict(told))

    return think


def _free_choice(request: Block) -> None:
    """Take out what Claude does not take with thought: how it draws words, and that it has to call a tool."""
    inference = request.get("inferenceConfig", {})
    inference.pop("temperature", None)
    if inference.get("topP", 1) < 0.95:
        del inference["topP"]
    if not inference:
        request.pop("inferenceConfig", None)
    if "toolConfig" in request:
        request["toolConfig"].pop("toolChoice", None)


def _count_thought(request: Block) -> None:
    """Have Claude tell how many tokens its thought took; where it does not, Converse passes over it."""
    paths = request.setdefault("additionalModelResponseFieldPaths", [])
    if THOUGHT not in paths and len(paths) < _MOST_PATHS:
        paths.append(THOUGHT)


def _nova_thinks(request: Block, level: str) -> None:
    inference = request.get("inferenceConfig", {})
    if level == "high":
        if "maxTokens" in inference:
            # An answer whose length is bounded is thought about less.
            level = "medium"
        else:
            for name in ("temperature", "topP"):
                inference.pop(name, None)
            if not inference:
                request.pop("inferenceConfig", None)
    _add(request, "reasoningConfig", {"type": "enabled", "maxReasoningEffort": level})


def _add_defaults(request: Block, defaults: Mapping[str, Any], open_ended: bool, *, sampling: bool) -> None:
    """Write what a deployment says of the answer and the request does not."""
    inference: Block = request.setdefault("inferenceConfig", {})
    if "max_tokens" in defaults:
        most = inference.setdefault("maxTokens", defaults["max_tokens"])
        if open_ended:
            # Shortened for a budget it is still no longer than the deployment says.
            inference["maxTokens"] = min(most, defaults["max_tokens"])
    if sampling:
        if "temperature" in defaults:
            inference.setdefault("temperature", defaults["temperature"])
        if "top_p" in defaults:
            inference.setdefault("topP", defaults["top_p"])
    if "stop" in defaults:
        inference.setdefault("stopSequences", defaults["stop"])
    if not inference:
        del request["inferenceConfig"]


def _top_k(model_id: str, top_k: int) -> _Think:
    def write(request: Block) -> None:
        additional = request.setdefault(_ADDITIONAL, {})
        if "amazon.nova" not in model_id:
            additional.setdefault("k" if "cohere." in model_id else "top_k", top_k)
        elif isinstance(own := additional.setdefault("inferenceConfig", {}), dict):
            own.setdefault("topK", top_k)

    return write


def _one_tool(request: Block) -> None:
    """Let Claude call one tool at a time; its own choice has to say the same as Converse's."""
    config = request.get("toolConfig")
    if config is None:
        return
    ((kind, told),) = config.get("toolChoice", {"auto": {}}).items()
    choice: dict[str, Any] = {"type": kind, "disable_parallel_tool_use": True}
    if kind == "tool":
        choice["name"] = told["name"]
    _add(request, "tool_choice", choice)


def _loosened(model_id: str) -> _Think | None:
    """Return what leaves a model the choice of tools as far as Converse has none for it; None where it has all."""
    if _CHOOSES.search(model_id):
        return lambda request: request.get("toolConfig", {}).pop("toolChoice", None)
    return _any_tool if "mistral." in model_id else None


def _any_tool(request: Block) -> None:
    config = request.get("toolConfig", {})
    if "toolChoice" in config:
        config["toolChoice"] = {"any": {}}


def _add(request: Block, name: str, value: object) -> None:
    request.setdefault(_ADDITIONAL, {}).setdefault(name, value)
