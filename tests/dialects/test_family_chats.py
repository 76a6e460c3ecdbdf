"""docs/dialects.md, conversations through InvokeModel in chat bodies, row by row, given endless inputs; and streams
that no model should send, of these and of Command R.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from chatting import converse as converse_of
from chatting import request, summed
from dialect_tables import names, rows, schemas
from family_talk import (
    CHATS,
    COMMAND_R,
    GPT,
    JAMBA,
    LARGE,
    MISTRAL,
    QWEN,
    alike,
    body,
    conversation,
    cut,
    foreign,
    images,
    in_turn,
    lines,
    plain,
    reasons,
    refuses,
    results,
    texts,
    tools,
    unsent,
    uses,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from invoking import chunk_of, completion, native, relay_of, streamed

from bedrock_gateway.dialects.families.bodies import body_of
from bedrock_gateway.dialects.families.prompts import prompted

SECTION = "Converse ↔ InvokeModel: chat bodies"


def again(told: dict[str, Any]) -> Any:
    """Return what Converse is told when a chat body is read as a chat completion."""
    return converse_of({"model": "group", **told})


def system(data: st.DataObject) -> None:
    told = data.draw(st.lists(texts, min_size=1, max_size=3))
    first, _ = body(data.draw(st.sampled_from(CHATS)), [{"text": "a"}], system=told)["messages"]
    assert {"role": "system", "content": lines(told)} == first


def text(data: st.DataObject) -> None:
    turns = data.draw(st.lists(st.lists(texts, min_size=1, max_size=3), min_size=1, max_size=4))
    told = body(data.draw(st.sampled_from(CHATS)), *turns)
    assert [lines(blocks) for blocks in turns] == [message["content"] for message in told["messages"]]
    assert conversation(*([{"text": lines(blocks)}] for blocks in turns)) == again(told)


def image(data: st.DataObject) -> None:
    said = [*data.draw(st.lists(texts | images, max_size=3)), data.draw(images)]
    assert conversation(said) == again(body(data.draw(st.sampled_from([QWEN, MISTRAL])), said))
    refuses(data.draw(st.sampled_from([GPT, LARGE, JAMBA])), "messages", said)
    in_s3 = {"image": {"format": "png", "source": {"s3Location": {"uri": "s3://a/b"}}}}
    refuses(QWEN, "messages", [in_s3])


def refused(data: st.DataObject) -> None:
    model, block = data.draw(st.sampled_from(CHATS)), data.draw(foreign)
    refuses(model, "messages", [{"text": "a"}, block])
    for inner in (block, data.draw(images)):
        refuses(model, "messages", [{"toolResult": {"toolUseId": "1", "content": [inner]}}])
        refuses(model, "messages", [{"text": "a"}], [inner])


def calls(data: st.DataObject) -> None:
    said = [*data.draw(st.lists(texts, max_size=1)), *data.draw(st.lists(uses, min_size=1, max_size=3))]
    turns = [{"text": "a"}], said
    told = body(QWEN, *turns)
    assert conversation(*turns)["messages"] == again(told)["messages"]
    wanted = [block["toolUse"]["toolUseId"] for block in said if "toolUse" in block]
    _, answer, *after = body(
        MISTRAL, *turns, [{"toolResult": {"toolUseId": id_, "content": [{"text": "b"}]}} for id_ in wanted]
    )["messages"]
    nine = [call["id"] for call in answer["tool_calls"]]
    assert nine == [message["tool_call_id"] for message in after]
    assert all(9 == len(id_) and id_.isalnum() for id_ in nine)
    assert all(a == b for a, b in zip(wanted, nine, strict=True) if len(a) == 9 and a.isalnum())


def results_(data: st.DataObject) -> None:
    told, said, value = data.draw(results), data.draw(texts), data.draw(schemas)
    as_json = {"toolResult": {"toolUseId": "2", "status": "error", "content": [{"json": value}]}}
    one, two, last = body(QWEN, [told, said, as_json])["messages"]
    assert ("tool", lines(told["toolResult"]["content"])) == (one["role"], one["content"])
    assert (told["toolResult"]["toolUseId"], "2") == (one["tool_call_id"], two["tool_call_id"])
    assert (value, {"role": "user", "content": said["text"]}) == (json.loads(two["content"]), last)


def left_out(data: st.DataObject) -> None:
    model, said, other = data.draw(st.sampled_from(CHATS)), data.draw(texts), data.draw(unsent)
    assert body(model, [said], [said]) == body(model, [said, other], [other, said])
    (tool,) = data.draw(tools)[:1]
    point = {"cachePoint": {"type": "default"}}
    assert body(model, [said], toolConfig={"tools": [tool]}) == body(
        model, [said, point], toolConfig={"tools": [tool, point]}
    )


def tools_(data: st.DataObject) -> None:
    offered = data.draw(tools)
    named = {"tool": {"name": offered[0]["toolSpec"]["name"]}}
    choice = data.draw(st.sampled_from([None, {"any": {}}, named]))
    config = {"tools": offered} | ({"toolChoice": choice} if choice else {})
    told = body(QWEN, [{"text": "a"}], toolConfig=config)
    assert config == again(told)["toolConfig"]
    assert "auto" == body(QWEN, [], toolConfig={"tools": offered, "toolChoice": {"auto": {}}})["tool_choice"]
    mistral = body(MISTRAL, [{"text": "a"}], toolConfig=config).get("tool_choice")
    of_any = "any" if choice == {"any": {}} or (choice and len(offered) == 1) else told.get("tool_choice")
    assert of_any == mistral


def inference(data: st.DataObject) -> None:
    optional = {"temperature": st.floats(0, 1), "topP": st.floats(0, 1), "maxTokens": st.integers(1, 10**6)}
    stops = {"stopSequences": st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=3)}
    wanted = data.draw(st.fixed_dictionaries({}, optional=optional | stops))
    for model, bound in ((QWEN, "max_tokens"), (GPT, "max_completion_tokens")):
        told = body(model, [{"text": "a"}], inferenceConfig=wanted)
        assert wanted == again(told).get("inferenceConfig", {})
        assert wanted.get("maxTokens") == told.get(bound)


def schema(data: st.DataObject) -> None:
    wanted, name = data.draw(schemas), data.draw(names)
    form = {"type": "json_schema", "structure": {"jsonSchema": {"schema": json.dumps(wanted), "name": name}}}
    told = body(data.draw(st.sampled_from(CHATS)), [{"text": "a"}], outputConfig={"textFormat": form})
    assert {"type": "json_schema", "json_schema": {"name": name, "schema": wanted}} == told["response_format"]


def chunk(delta: dict[str, Any], finish: str | None = None, index: int = 0) -> dict[str, Any]:
    """Return a chunk of a chat completion."""
    return {"id": "a", "choices": [{"index": index, "delta": delta, "finish_reason": finish}]}


def called(use: dict[str, Any]) -> dict[str, Any]:
    """Return the call of OpenAI's for a block; one without arguments is given nothing."""
    given_ = use["toolUse"]["input"]
    function = {"name": use["toolUse"]["name"], "arguments": json.dumps(given_) if given_ else ""}
    return {"id": use["toolUse"]["toolUseId"], "type": "function", "function": function}


def whole(message: dict[str, Any], finish: str = "stop") -> dict[str, Any]:
    """Return a chat completion of which only the first choice is told."""
    other = {"index": 1, "message": {"content": "other"}, "finish_reason": "length"}
    return {"id": "a", "choices": [{"index": 0, "message": message, "finish_reason": finish}, other]}


def content(data: st.DataObject) -> None:
    member = data.draw(st.sampled_from(["reasoning_content", "reasoning"]))
    thought, said = data.draw(plain), data.draw(plain)
    told = data.draw(st.lists(uses, max_size=2, unique_by=lambda use: use["toolUse"]["toolUseId"]))
    message: dict[str, Any] = {"content": said, member: thought}
    chunks = [
        {"choices": []},
        chunk({"role": "assistant", "content": None}),
        *(chunk({member: piece}) for piece in cut(data, thought)),
        *(chunk({"content": piece}) for piece in cut(data, said)),
        chunk({"content": "other"}, "length", index=1),
    ]
    if told:
        message["tool_calls"] = [called(use) for use in told]
        chunks.append(chunk({"tool_calls": [{"index": at, **called(use)} for at, use in enumerate(told)]}))
    found = alike(QWEN, whole(message), [*chunks, chunk({}, "stop"), {"choices": []}])
    assert (said or None, thought) == (found["content"], found.get("reasoning_content", ""))
    assert [use["toolUse"]["toolUseId"] for use in told] == [call["id"] for call in found.get("tool_calls", [])]


def tags(data: st.DataObject) -> None:
    tag, thought, said = data.draw(st.sampled_from(["reasoning", "think"])), data.draw(plain), data.draw(plain)
    between = data.draw(st.sampled_from(["", "\n", "\n\n"]))
    tagged = f"<{tag}>{thought}</{tag}>{between}{said}"
    found = alike(
        GPT, whole({"content": tagged}), [*(chunk({"content": one}) for one in cut(data, tagged)), chunk({}, "stop")]
    )
    assert (said or None, thought) == (found["content"], found.get("reasoning_content", ""))
    # What begins as a tag does and is none; one that is not where an answer begins.
    other = data.draw(st.sampled_from(["<", "<re", "<reasonings>", "< think>", "<thin", f"a<{tag}>b</{tag}>"])) + said
    if not other.startswith(("<reasoning>", "<think>")):
        pieces = [*(chunk({"content": one}) for one in cut(data, other)), chunk({}, "stop")]
        assert other == alike(GPT, whole({"content": other}), pieces)["content"]


def pieces(data: st.DataObject) -> None:
    told = data.draw(st.lists(uses, min_size=1, max_size=3, unique_by=lambda use: use["toolUse"]["toolUseId"]))
    waiting = []
    for at, use in enumerate(told):
        call = called(use)
        first = {"index": at, **call, "function": {**call["function"], "arguments": ""}}
        rest = [{"index": at, "function": {"arguments": one}} for one in cut(data, call["function"]["arguments"])]
        waiting.append([first, *rest])
    chunks = []
    while waiting := [one for one in waiting if one]:
        one = data.draw(st.sampled_from(waiting))
        chunks.append(chunk({"tool_calls": [one.pop(0)]}))
    order = list(dict.fromkeys(one["choices"][0]["delta"]["tool_calls"][0]["index"] for one in chunks))
    in_turn(QWEN, [*chunks, chunk({}, "tool_calls")])
    message = {"content": None, "tool_calls": [called(told[at]) for at in order]}
    alike(QWEN, whole(message, "tool_calls"), [*chunks, chunk({}, "tool_calls")])


def malformed(data: st.DataObject) -> None:
    given_ = data.draw(st.sampled_from(['{"city": "Ro', "[]", '"a"', "5", "nothing", "null", "{} {}"]))
    call = {"id": "1", "type": "function", "function": {"name": "a", "arguments": given_}}
    fine = {
        "id": "2",
        "type": "function",
        "function": {"name": "a", "arguments": data.draw(st.sampled_from(["", "{}"]))},
    }
    answer = whole({"content": "b", "tool_calls": [call, fine]}, "tool_calls")
    message = completion(request(), answer, QWEN)["choices"][0]["message"]
    assert (["2"], "malformed_tool_use") == ([one["id"] for one in message["tool_calls"]], reasons(QWEN, answer))
    out = streamed(request(), [chunk({"tool_calls": [{"index": 0, **call}]}), chunk({}, "tool_calls")], QWEN)
    assert ([given_], ["stop"]) == ([one["arguments"] for one in out["message"]["tool_calls"]], out["finish"])


def stop_reason(data: st.DataObject) -> None:
    wanted = {
        **{"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "content_filtered"},
        **{"eos": "end_turn", "model_length": "max_tokens", "function_call": "tool_use"},
    }
    told = data.draw(st.sampled_from(sorted(wanted)))
    for choice in ({"finish_reason": told, "stop_reason": 200_007}, {"finish_reason": None, "stop_reason": told}):
        assert wanted[told] == reasons(QWEN, {"choices": [{"message": {"content": "a"}, **choice}]})
        reader = body_of("", QWEN)
        assert reader is not None
        *_, (kind, stop) = reader.events().read({"choices": [{"delta": {"content": "a"}, **choice}]})
        assert ("messageStop", wanted[told]) == (kind, stop["stopReason"])
    forced = {"content": "", "tool_calls": [called({"toolUse": {"toolUseId": "1", "name": "a", "input": {}}})]}
    assert "tool_use" == reasons(QWEN, whole(forced, "stop"))


CHECKS: dict[str, Callable[[st.DataObject], None]] = {
    check.__name__.rstrip("_"): check
    for check in (
        *(system, text, image, refused, calls, results_, left_out, tools_, inference, schema, content, tags),
        *(pieces, malformed, stop_reason),
    )
}


def test_every_row_has_its_check() -> None:
    """The table names every check, and nothing else."""
    assert list(CHECKS) == rows(SECTION)


@pytest.mark.parametrize("row", list(CHECKS))
@settings(max_examples=25)
@given(data=st.data())
def test_row(row: str, data: st.DataObject) -> None:
    """What a row says of its field is so, whatever is in it."""
    CHECKS[row](data)


@pytest.mark.parametrize(
    ("model", "prompt"),
    [
        *((model, False) for model in (*CHATS, MISTRAL, COMMAND_R, "deepseek.v3-v1:0", "mistral.mistral-small-2503")),
        *((model, False) for model in ("mistral.mistral-large-3-675b-instruct", "mistral.ministral-3-8b-instruct")),
        *((f"mistral.{name}", True) for name in ("mistral-7b-instruct-v0:2", "mixtral-8x7b-instruct-v0:1")),
        *((f"mistral.{name}", True) for name in ("mistral-large-2402-v1:0", "mistral-small-2402-v1:0")),
        *((model, True) for model in ("us.deepseek.r1-v1:0", "cohere.command-text-v14")),
        *(
            (f"arn:aws:bedrock:us-east-1::foundation-model/{model}", True)
            for model in ("cohere.command-light-text-v14",)
        ),
    ],
)
def test_which_model_is_told_a_prompt(model: str, prompt: bool) -> None:
    """Makers whose older models take a prompt have newer ones that take messages; the id tells them apart."""
    assert prompt == (prompted(model) is not None)
    assert body_of("", model) is not None


def test_imported_models_speak_by_their_format() -> None:
    """A body format of LiteLLM's before an imported model's ARN tells that it takes chat completions."""
    arn = "arn:aws:bedrock:us-east-1:123456789012:imported-model/abcdefghijkl"

    for form in ("openai", "moonshot"):
        told = native(request(max_tokens=5), arn, form)
        assert {"messages": [{"role": "user", "content": "Why?"}], "max_tokens": 5} == told
    assert body_of("", arn) is None


KEYS = (
    *("choices", "index", "delta", "content", "reasoning_content", "tool_calls", "id", "function", "name", "arguments"),
    *("finish_reason", "stop_reason", "event_type", "text", "parameters", "response", "generation_id", "thinking"),
)
junk = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(["<think>", "</think>", "<reas", "stop", "{}", "text-generation", "tool-calls-generation"])
    | st.sampled_from(["stream-end", "\ud800", ""])
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)
deltas = st.fixed_dictionaries(
    {}, optional={"content": junk, "reasoning": junk, "tool_calls": st.lists(junk, max_size=2) | junk, "refusal": junk}
)
nearly = st.builds(
    lambda index, delta, finish: {"choices": [{"index": index, "delta": delta, "finish_reason": finish}]},
    *(st.sampled_from([0, 0, 0, 1]) | junk, deltas | junk, st.sampled_from([None, None, "stop", "tool_calls"]) | junk),
)
events = st.builds(
    lambda kind, more: {"event_type": kind, **more},
    st.sampled_from(["stream-start", "text-generation", "tool-calls-generation", "stream-end"]),
    st.dictionaries(st.sampled_from(["text", "tool_calls", "finish_reason", "response", "generation_id"]), junk),
)


@settings(max_examples=75)
@given(
    told=st.lists(nearly | events | junk, max_size=5),
    model=st.sampled_from([*CHATS, MISTRAL, COMMAND_R]),
    data=st.data(),
)
def test_a_stream_of_junk_ends_in_an_error(told: list[object], model: str, data: st.DataObject) -> None:
    """Whatever a model says in its chunks, however they are cut, a stream ends, by its answer or by an error, and
    raises nothing.
    """
    relay = relay_of({**request(), "stream": True}, model)
    left, out = b"".join(map(chunk_of, told)), b""
    while left:
        size = data.draw(st.integers(1, len(left)))
        out += relay.receive_data(left[:size])
        left = left[size:]
    found = summed(out + relay.receive_eof())
    assert found["done"] != (found["error"] is not None)
