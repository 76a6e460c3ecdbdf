"""What is written for the model of an attempt: a deployment's defaults, and wishes in the words of its family."""

from __future__ import annotations

import json
from typing import Any

import pytest
from chatting import CLAUDE, NOW, converse, read, request
from hypothesis import given
from hypothesis import strategies as st

from bedrock_gateway.config.loading import load_config
from bedrock_gateway.dialects.families.wishes import thinking
from bedrock_gateway.errors import ConfigError, InvalidRequest

NOVA, OPUS, LLAMA = "us.amazon.nova-2-lite-v1:0", "global.anthropic.claude-opus-4-7", "meta.llama3-8b-instruct-v1:0"
TOOL = {"type": "function", "function": {"name": "look"}}


@pytest.mark.parametrize(
    ("model", "way"),
    [
        ("anthropic.claude-instant-v1", None),
        ("anthropic.claude-v2:1", None),
        ("anthropic.claude-3-opus-20240229-v1:0", None),
        ("us.anthropic.claude-3-5-sonnet-20241022-v2:0", None),
        ("us.anthropic.claude-3-7-sonnet-20250219-v1:0", "enabled"),
        ("us.anthropic.claude-opus-4-20250514-v1:0", "enabled"),
        ("us.anthropic.claude-opus-4-1-20250805-v1:0", "enabled"),
        ("global.anthropic.claude-haiku-4-5-20251001-v1:0", "enabled"),
        ("anthropic.claude-sonnet-4-5-20250929-v1:0", "enabled"),
        ("anthropic.claude-opus-4-5-20251101-v1:0", "enabled"),
        ("us.anthropic.claude-opus-4-6-v1", "adaptive"),
        ("us.anthropic.claude-sonnet-4-6", "adaptive"),
        ("anthropic.claude-opus-4-7", "adaptive"),
        ("global.anthropic.claude-sonnet-5", "adaptive"),
        ("anthropic.claude-mythos-preview", "adaptive"),
        (LLAMA, None),
        ("amazon.nova-pro-v1:0", None),
    ],
)
def test_how_a_model_is_made_to_think(model: str, way: str | None) -> None:
    """Claude to 4.5 is given a budget, later ones think by themselves, others do not think when told."""
    think = thinking(model, "high")
    sent: dict[str, Any] = {}
    if think is not None:
        think(sent)

    assert way == sent.get("additionalModelRequestFields", {}).get("thinking", {}).get("type")


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ({"reasoning_effort": "huge"}, "reasoning_effort: must be one of none, minimal, low, medium, high, xhigh, max"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type: must be function"),
    ],
)
def test_another_than_those_there_are(member: dict[str, Any], message: str) -> None:
    """What is none of the values there are is refused with those."""
    with pytest.raises(InvalidRequest) as refusal:
        converse(request(**member))

    assert f"{message}." == refusal.value.message


def test_the_highest_effort_of_a_model() -> None:
    """An effort a model does not know becomes the next it knows."""
    asked = request(reasoning_effort="xhigh")

    assert (
        "high"
        == converse(asked, model="us.anthropic.claude-opus-4-6-v1")["additionalModelRequestFields"]["output_config"][
            "effort"
        ]
    )
    assert "xhigh" == converse(asked, model=OPUS)["additionalModelRequestFields"]["output_config"]["effort"]


@pytest.mark.parametrize("model", [CLAUDE, OPUS])
def test_what_claude_does_not_take_with_thought(model: str) -> None:
    """Where an effort is asked for, how words are drawn and what has to be called is left to Claude."""
    asked = request(
        reasoning_effort="low",
        temperature=0.1,
        top_p=0.5,
        top_k=5,
        tools=[TOOL],
        tool_choice="required",
        max_tokens=3000,
    )

    sent = converse(asked, model=model)

    assert {"maxTokens": 3000} == sent["inferenceConfig"]
    assert "toolChoice" not in sent["toolConfig"]
    assert "top_k" not in sent["additionalModelRequestFields"]
    assert 0.95 == converse(asked | {"top_p": 0.95}, model=model)["inferenceConfig"]["topP"]


DEFAULTS: dict[str, Any] = {"max_tokens": 99, "temperature": 0.1, "top_p": 0.2, "top_k": 3, "stop": ("A", "B")}


def test_a_deployments_defaults() -> None:
    """What a deployment says stands where the request says nothing; the request wins."""
    assert {
        "messages": [{"role": "user", "content": [{"text": "Why?"}]}],
        "inferenceConfig": {"maxTokens": 99, "temperature": 0.1, "topP": 0.2, "stopSequences": ["A", "B"]},
        "additionalModelRequestFields": {"top_k": 3},
    } == converse(request(), defaults=DEFAULTS)
    own = request(max_completion_tokens=5, temperature=0, top_p=1, top_k=7, stop="C")
    assert converse(own) == converse(own, defaults=DEFAULTS)


def test_a_deployment_that_thinks() -> None:
    """Thought by default is asked for in the model's words, and no more of it than the request has room for."""
    effort = {"reasoning_effort": "high", "temperature": 0.1, "top_k": 3}
    own = {"thinking": {"type": "enabled", "budget_tokens": 5000}, "temperature": 0.1}

    for defaults, budget in ((effort, 4096), (own, 5000)):
        thought = converse(request(), defaults=defaults)
        assert {"thinking": {"type": "enabled", "budget_tokens": budget}} == thought["additionalModelRequestFields"]
        assert {"maxTokens": budget + 4096} == thought["inferenceConfig"]
        short = converse(request(max_tokens=2000), defaults=defaults)
        assert 1999 == short["additionalModelRequestFields"]["thinking"]["budget_tokens"]
        assert {"maxTokens": 2000} == short["inferenceConfig"]
        shorter = converse(request(max_tokens=100), defaults=defaults)
        assert 100 == shorter["inferenceConfig"]["maxTokens"]
        assert (
            "additionalModelRequestFields" not in shorter or "thinking" not in shorter["additionalModelRequestFields"]
        )
        silent = converse(request(reasoning_effort="none"), defaults=defaults)
        assert "thinking" not in silent.get("additionalModelRequestFields", {})
    adaptive = converse(request(), model=OPUS, defaults={"thinking": {"type": "adaptive"}, "temperature": 0.1})
    assert {"thinking": {"type": "adaptive"}} == adaptive["additionalModelRequestFields"]
    assert "inferenceConfig" not in adaptive
    assert ["/usage/output_tokens_details"] == adaptive["additionalModelResponseFieldPaths"]
    assert "additionalModelRequestFields" not in converse(request(), model=LLAMA, defaults={"reasoning_effort": "low"})


@given(
    st.integers(1, 10_000),
    st.sampled_from(["", "none", "minimal", "low", "medium", "high", "xhigh", "max"]),
    st.fixed_dictionaries(
        {},
        optional={
            "max_tokens": st.integers(1, 10**6),
            "reasoning_effort": st.sampled_from(["none", "low", "max"]),
            "thinking": st.just({"type": "enabled", "budget_tokens": 9000}),
            "temperature": st.just(0.5),
            "top_k": st.just(5),
        },
    ),
    st.sampled_from([CLAUDE, OPUS, NOVA, LLAMA, "openai.gpt-oss-20b-1:0"]),
)
def test_no_answer_grows(most: int, effort: str, defaults: dict[str, Any], model: str) -> None:
    """Whatever a deployment and a family make of a request, its answer may be no longer than the body that was
    reserved for says.
    """
    asked = request(max_tokens=most) | ({"reasoning_effort": effort} if effort else {})
    translation = read(asked, model=model, drop_params=True)
    sent = json.loads(translation.relay(model, call_id="1", now=NOW, defaults=defaults).request(translation.body))

    assert most == json.loads(translation.body)["inferenceConfig"]["maxTokens"] == sent["inferenceConfig"]["maxTokens"]
    budget = sent.get("additionalModelRequestFields", {}).get("thinking", {}).get("budget_tokens", 0)
    assert budget < most


def test_defaults_out_of_a_config() -> None:
    """LiteLLM's model parameters are read from litellm_params, and wrong ones are faults with their line."""
    entry = "model_list:\n- {model_name: a, litellm_params: {model: bedrock/a.b, aws_region_name: us-east-1, %s}}\n"
    params = "max_tokens: 5, max_completion_tokens: 6, temperature: 1, top_p: 0.5, top_k: 3, stop: x"
    more = "reasoning_effort: low, thinking: {type: enabled, budget_tokens: 2000}"

    (found,) = load_config(entry % f"{params}, {more}", environ={}).deployments
    with pytest.raises(ConfigError) as caught:
        load_config(entry % "max_tokens: 0, temperature: 3, reasoning_effort: lots, thinking: {kind: a}", environ={})

    assert {
        **{"max_tokens": 6, "temperature": 1, "top_p": 0.5, "top_k": 3, "stop": ("x",), "reasoning_effort": "low"},
        "thinking": {"type": "enabled", "budget_tokens": 2000},
    } == found.defaults
    told = " ".join(str(fault) for fault in caught.value.faults)
    assert all(key in told for key in ("max_tokens", "temperature", "reasoning_effort", "kind"))
