"""Whole answers of upstream that are none: a success of AWS's with nothing in it is not told as a model's silence."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aws_shapes import anything
from hypothesis import given
from hypothesis import strategies as st

from bedrock_gateway.dialects.anthropic.dialect import MESSAGES
from bedrock_gateway.dialects.families.bodies import body_of
from bedrock_gateway.dialects.families.invoked import invoked
from bedrock_gateway.dialects.openai.dialect import CHAT, RESPONSES
from bedrock_gateway.dialects.speech import Asked, Dialect, Divided, Relay

NOVA, CLAUDE = "amazon.nova-pro-v1:0", "anthropic.claude-sonnet-4-20250514-v1:0"
GPT, LARGE, COMMAND_R = "openai.gpt-oss-120b-1:0", "mistral.mistral-large-2407-v1:0", "cohere.command-r-v1:0"
LLAMA, TITAN, COMMAND = "meta.llama3-3-70b-instruct-v1:0", "amazon.titan-text-express-v1", "cohere.command-text-v14"
#: What the chain takes for an answer of another shape.
FAULTS = (ValueError, LookupError, TypeError, AttributeError, RecursionError)
SAID_NOTHING: dict[str, Any] = {"output": {"message": {"role": "assistant", "content": []}}, "stopReason": "end_turn"}


def relay_of(dialect: Dialect, model: str, *, invokes: bool = False) -> Relay:
    """Return the relay of an answer that comes whole; ``invokes``: in the words of the model."""
    told: dict[str, Any] = {"input": "x"} if dialect is RESPONSES else {"messages": [{"role": "user", "content": "x"}]}
    told |= {"max_tokens": 5} if dialect is MESSAGES else {}
    body = json.dumps({"model": "m", **told}).encode()
    read = dialect.read(Asked(path="/", headers={}, body=body, drop_params=False, model_of=lambda name: model))
    assert not isinstance(read, Divided)
    relay = read.relay(model, call_id="c", now=0)
    if invokes:
        family = body_of("", model)
        assert family is not None
        relay = invoked(relay, family)
        relay.request(read.body)
    return relay


def answer_of(relay: Relay, answer: object) -> dict[str, Any]:
    """Return what is told for an answer of upstream."""
    relay.receive_data(json.dumps(answer).encode())
    told: dict[str, Any] = json.loads(relay.receive_eof())
    return told


@pytest.mark.parametrize("dialect", [CHAT, RESPONSES, MESSAGES])
@pytest.mark.parametrize(
    "answer",
    [
        *([], None, {}, "text", 5, {"output": None}, {"output": []}, {"output": {"message": None}}),
        {"message": "Something went wrong."},
        {"output": {}},
        {"output": {}, "stopReason": None},
        {"output": None, "stopReason": "end_turn"},
        {"output": {"message": None}, "stopReason": "end_turn"},
        {"output": {"message": []}, "stopReason": "end_turn"},
        {"output": {"message": {"role": "assistant", "content": None}}, "stopReason": "end_turn"},
        {"output": {"message": {"role": "assistant", "content": "hi"}}, "stopReason": "end_turn"},
        {"output": {"message": {"role": "assistant", "content": ["hi"]}}, "stopReason": "end_turn"},
        {"output": {"message": {"role": "assistant", "content": [{"text": None}]}}, "stopReason": "end_turn"},
        {"output": {"message": {"role": "assistant", "content": [{"toolUse": {}}]}}, "stopReason": "tool_use"},
        {"output": {"message": {"role": "assistant", "content": []}}},
        {"output": {"message": {"role": "assistant", "content": []}}, "stopReason": None},
    ],
    ids=repr,
)
def test_what_is_no_answer_of_converse(dialect: Dialect, answer: object) -> None:
    """JSON that holds no message, or does not say why it ended, is a fault to the chain in every dialect."""
    with pytest.raises(FAULTS):
        answer_of(relay_of(dialect, NOVA), answer)


@given(anything, st.sampled_from([CHAT, RESPONSES, MESSAGES]))
def test_json_of_any_kind_is_no_answer(answer: object, dialect: Dialect) -> None:
    """Whatever else is JSON is never told as an answer, and raises nothing that the chain does not know."""
    with pytest.raises(FAULTS):
        answer_of(relay_of(dialect, NOVA), answer)


@pytest.mark.parametrize("dialect", [CHAT, RESPONSES])
def test_what_is_no_json(dialect: Dialect) -> None:
    """An answer that is cut, or a page, is no success that holds an error."""
    relay = relay_of(dialect, NOVA)
    relay.receive_data(b'{"output": ')

    with pytest.raises(ValueError, match="Expecting value"):
        relay.receive_eof()


@pytest.mark.parametrize("output", [SAID_NOTHING["output"], {}, {"message": {}}, {"message": {"role": "assistant"}}])
def test_a_model_that_says_nothing(output: dict[str, Any]) -> None:
    """An answer of Converse without a block, which says why it ended, is an answer."""
    answer = {"output": output, "stopReason": "end_turn"}
    chat, response, message = (answer_of(relay_of(one, NOVA), answer) for one in (CHAT, RESPONSES, MESSAGES))

    assert (None, "stop") == (chat["choices"][0]["message"]["content"], chat["choices"][0]["finish_reason"])
    assert ([], "completed") == (response["output"], response["status"])
    assert ([], "end_turn") == (message["content"], message["stop_reason"])


@pytest.mark.parametrize("model", [CLAUDE, NOVA, GPT, LARGE, COMMAND_R, LLAMA, TITAN, COMMAND])
@pytest.mark.parametrize(
    "answer",
    [
        *([], None, {}, "text", {"message": "Something went wrong."}, {"content": []}, {"content": None}),
        *({"choices": []}, {"choices": [{}]}, {"choices": [{"message": {}}]}, {"choices": [{"message": None}]}),
        *({"output": {}, "stopReason": None}, {"output": None, "stopReason": None}),
        *({"text": None}, {"text": 5}, {"generation": None}, {"results": []}, {"generations": []}),
    ],
    ids=repr,
)
def test_what_is_no_answer_of_a_family(model: str, answer: object) -> None:
    """A body of InvokeModel that holds no answer of its model is a fault to the chain too."""
    with pytest.raises(FAULTS):
        answer_of(relay_of(CHAT, model, invokes=True), answer)


@pytest.mark.parametrize(
    ("model", "answer"),
    [
        (CLAUDE, {"content": [], "stop_reason": "end_turn"}),
        (NOVA, SAID_NOTHING),
        (GPT, {"choices": [{"message": {"content": None}, "finish_reason": "stop"}]}),
        (LARGE, {"choices": [{"message": {"content": ""}, "stop_reason": "stop"}]}),
        (COMMAND_R, {"text": "", "finish_reason": "COMPLETE"}),
        (LLAMA, {"generation": "", "stop_reason": "stop"}),
        (TITAN, {"results": [{"outputText": "", "completionReason": "FINISH"}]}),
        (COMMAND, {"generations": [{"text": "", "finish_reason": "COMPLETE"}]}),
    ],
)
def test_a_family_that_says_nothing(model: str, answer: dict[str, Any]) -> None:
    """A model's own empty answer, which says why it ended, is an answer."""
    (choice,) = answer_of(relay_of(CHAT, model, invokes=True), answer)["choices"]

    assert (None, "stop") == (choice["message"]["content"], choice["finish_reason"])


@pytest.mark.parametrize(
    ("model", "answer"),
    [
        (CLAUDE, {"content": [], "stop_reason": None}),
        (NOVA, {"output": {}, "stopReason": None}),
        (GPT, {"choices": [{"message": {"content": ""}, "finish_reason": None}]}),
        (LARGE, {"choices": [{"message": {"content": None}}]}),
        (COMMAND_R, {"text": ""}),
        (LLAMA, {"generation": None, "stop_reason": None}),
        (TITAN, {"results": [{"tokenCount": 0}]}),
        (COMMAND, {"generations": []}),
    ],
)
def test_what_a_guardrail_left_nothing_of(model: str, answer: dict[str, Any]) -> None:
    """That a guardrail ended an answer is a reason, where the model gives none and says nothing."""
    answer = {**answer, "amazon-bedrock-guardrailAction": "INTERVENED"}
    (choice,) = answer_of(relay_of(CHAT, model, invokes=True), answer)["choices"]

    assert (None, "content_filter") == (choice["message"]["content"], choice["finish_reason"])


@pytest.mark.parametrize(
    ("model", "answer"),
    [
        (TITAN, {"results": [{"tokenCount": 0, "completionReason": "CONTENT_FILTERED"}]}),
        (COMMAND, {"generations": [{"finish_reason": "ERROR_TOXIC"}]}),
        (NOVA, {"output": {}, "stopReason": "content_filtered"}),
    ],
)
def test_what_a_filter_left_nothing_of(model: str, answer: dict[str, Any]) -> None:
    """An answer whose text is left out, and which says why, is an empty one."""
    (choice,) = answer_of(relay_of(CHAT, model, invokes=True), answer)["choices"]

    assert (None, "content_filter") == (choice["message"]["content"], choice["finish_reason"])
