"""docs/dialects.md, conversations through InvokeModel with Command R, row by row, given endless inputs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from chatting import request
from dialect_tables import ids, names, rows, schemas, words
from family_talk import (
    COMMAND_R,
    alike,
    body,
    cut,
    foreign,
    images,
    in_turn,
    lines,
    plain,
    reasons,
    refuses,
    texts,
    tools,
    unsent,
    uses,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from invoking import completion, native

from bedrock_gateway.dialects.families.cohere import COMMAND_R as WORDS
from bedrock_gateway.errors import InvalidRequest

SECTION = "Converse ↔ InvokeModel: Command R"


def system(data: st.DataObject) -> None:
    told = data.draw(st.lists(texts, min_size=1, max_size=3))
    assert lines(told) == body(COMMAND_R, [{"text": "a"}], system=told)["preamble"]


def history(data: st.DataObject) -> None:
    turns = data.draw(st.lists(st.lists(texts, min_size=1, max_size=2), min_size=1, max_size=5))
    turns = turns if len(turns) % 2 else turns[1:]
    *before, last = turns if turns else [[{"text": "a"}]]
    told = body(COMMAND_R, *before, last)
    roles = [("CHATBOT" if at % 2 else "USER", lines(blocks)) for at, blocks in enumerate(before)]
    assert roles == [(one["role"], one["message"]) for one in told.get("chat_history", [])]
    assert lines(last) == told["message"]


def results(data: st.DataObject) -> None:
    used, said, value = data.draw(uses), data.draw(texts), data.draw(schemas)
    result = {"toolResult": {"toolUseId": used["toolUse"]["toolUseId"], "content": [said, {"json": value}]}}
    told = body(COMMAND_R, [{"text": "a"}], [{"text": "b"}, used], [result])
    assert {"message", "tool_results"} == told.keys()
    ((call, outputs),) = ((one["call"], one["outputs"]) for one in told["tool_results"])
    assert {"name": used["toolUse"]["name"], "parameters": used["toolUse"]["input"]} == call
    assert ("a", said, value) == (told["message"], outputs[0], json.loads(outputs[1]["text"]))
    twice = body(COMMAND_R, [{"text": "a"}], [used], [result], [used], [result])
    assert told["tool_results"] * 2 == twice["tool_results"]
    refuses(COMMAND_R, "messages", [{"text": "a"}, {"toolResult": {"toolUseId": "never made", "content": []}}])


def older_results(data: st.DataObject) -> None:
    used, said = data.draw(uses), data.draw(texts)
    result = {"toolResult": {"toolUseId": used["toolUse"]["toolUseId"], "content": [said]}}
    now = body(COMMAND_R, [{"text": "a"}], [used], [result])["tool_results"]
    told = body(COMMAND_R, [{"text": "a"}], [{"text": "b"}, used], [result], [{"text": "c"}], [{"text": "d"}])
    first, second, third, fourth = told["chat_history"]
    assert ["USER", "CHATBOT"] * 2 == [one["role"] for one in told["chat_history"]]
    assert ("a", "b", now, "c") == (
        *(first["message"], second["message"]),
        *(json.loads(third["message"]), fourth["message"]),
    )
    assert ("d", False) == (told["message"], "tool_results" in told)


def refused_(data: st.DataObject) -> None:
    used = data.draw(uses)
    for block in (data.draw(foreign), data.draw(images)):
        refuses(COMMAND_R, "messages", [{"text": "a"}, block])
        result = {"toolResult": {"toolUseId": used["toolUse"]["toolUseId"], "content": [block]}}
        refuses(COMMAND_R, "messages", [{"text": "a"}], [used], [result])
    refuses(COMMAND_R, "messages", [{"text": "a"}], [data.draw(texts)])


def left_out(data: st.DataObject) -> None:
    said, other = data.draw(texts), data.draw(unsent)
    assert body(COMMAND_R, [said], [said], [said]) == body(COMMAND_R, [said, other], [other, said], [other, said])


def tools_(data: st.DataObject) -> None:
    kinds = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "array": "list", "object": "dict"}
    name, kind, more = data.draw(names), data.draw(st.sampled_from(sorted(kinds))), data.draw(schemas)
    about, required = data.draw(words), data.draw(st.booleans())
    parameter = {**more, "type": kind, "description": about}
    schema = {"type": "object", "properties": {name: parameter}, **({"required": [name]} if required else {})}
    spec = {"name": "find", "inputSchema": {"json": schema}}
    ((tool,),) = (body(COMMAND_R, [{"text": "a"}], toolConfig={"tools": [{"toolSpec": spec}]})["tools"],)
    told = tool["parameter_definitions"][name]
    assert (kinds[kind], required, True) == (told["type"], told["required"], told["description"].startswith(about))
    rest = {key: value for key, value in more.items() if key not in ("type", "description")}
    assert rest == (json.loads(told["description"][len(about) :] or "{}"))


def forced(data: st.DataObject) -> None:
    config = {"tools": data.draw(tools)}
    choice = data.draw(st.sampled_from([{"any": {}}, {"tool": {"name": "a"}}]))
    refuses(COMMAND_R, "tool_choice", [{"text": "a"}], toolConfig={**config, "toolChoice": choice})
    refuses(COMMAND_R, "outputConfig", [{"text": "a"}], outputConfig={"textFormat": {}})
    auto = body(COMMAND_R, [{"text": "a"}], toolConfig={**config, "toolChoice": {"auto": {}}})
    assert body(COMMAND_R, [{"text": "a"}], toolConfig=config) == auto
    (tool,) = native(request(response_format={"type": "json_object"}), COMMAND_R)["tools"]
    assert "json_tool_call" == tool["name"]


def inference(data: st.DataObject) -> None:
    names_ = {"maxTokens": "max_tokens", "temperature": "temperature", "topP": "p", "stopSequences": "stop_sequences"}
    given_ = {"maxTokens": 5, "temperature": 0.5, "topP": 0.25, "stopSequences": ["END"]}
    chosen = data.draw(st.sets(st.sampled_from(sorted(names_))))
    told = body(COMMAND_R, [{"text": "a"}], inferenceConfig={name: given_[name] for name in chosen})
    assert {"message": "a"} | {names_[name]: given_[name] for name in chosen} == told
    assert 7 == native(request(top_k=7), COMMAND_R)["k"]


def content(data: st.DataObject) -> None:
    said = data.draw(plain)
    told = [
        {"name": use["toolUse"]["name"], "parameters": use["toolUse"]["input"]}
        for use in data.draw(st.lists(uses, max_size=3))
    ]
    told += told[:1]
    answer = {"generation_id": data.draw(ids), "text": said, "finish_reason": "COMPLETE", "tool_calls": told}
    own = data.draw(st.booleans())
    chunks = [
        {"event_type": "stream-start", "generation_id": answer["generation_id"]},
        *({"event_type": "text-generation", "text": piece} for piece in cut(data, said)),
        *([{"event_type": "tool-calls-generation", "tool_calls": told}] if told and own else []),
        {"event_type": "citation-generation", "citations": []},
        {"event_type": "stream-end", "finish_reason": "COMPLETE", "response": answer},
    ]
    in_turn(COMMAND_R, chunks)
    message = alike(COMMAND_R, answer, chunks)
    calls = message.get("tool_calls", [])
    assert [(one["name"], one["parameters"]) for one in told] == [
        (call["function"]["name"], call["function"]["arguments"]) for call in named(calls)
    ]
    assert len(told) == len({call["id"] for call in calls})
    other = completion(request(), {**answer, "generation_id": "another"}, COMMAND_R)["choices"][0]["message"]
    assert not {call["id"] for call in calls} & {call["id"] for call in other.get("tool_calls", [])}


def named(calls: list[Any]) -> Iterator[Any]:
    """Return calls with their arguments read."""
    for call in calls:
        yield {**call, "function": {**call["function"], "arguments": json.loads(call["function"]["arguments"])}}


def stop_reason(data: st.DataObject) -> None:
    wanted = {
        **{"COMPLETE": "end_turn", "MAX_TOKENS": "max_tokens", "ERROR_TOXIC": "content_filtered"},
        **{"ERROR_LIMIT": "model_context_window_exceeded", "ERROR": "malformed_model_output"},
        **{"STOP_SEQUENCE": "stop_sequence", "USER_CANCEL": "end_turn"},
    }
    told = data.draw(st.sampled_from(sorted(wanted)))
    for spelled in (told, told.lower()):
        assert wanted[told] == reasons(COMMAND_R, {"text": "a", "finish_reason": spelled})
    used = {"text": "", "finish_reason": "COMPLETE", "tool_calls": [{"name": "a"}]}
    assert "tool_use" == reasons(COMMAND_R, used)


CHECKS: dict[str, Callable[[st.DataObject], None]] = {
    check.__name__.rstrip("_"): check
    for check in (
        *(system, history, results, older_results, refused_, left_out, tools_, forced),
        *(inference, content, stop_reason),
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


def test_a_call_is_told_once_however_many_results_it_has() -> None:
    """What a model is told grows no faster than what was said: a budget has counted that."""
    use = {"toolUse": {"toolUseId": "a", "name": "weather", "input": {"city": "R" * 1000}}}
    result = {"toolResult": {"toolUseId": "a", "content": [{"text": "rain"}]}}
    asked: Any = {
        "messages": [
            {"role": "user", "content": [{"text": "How is it?"}]},
            {"role": "assistant", "content": [use]},
            {"role": "user", "content": [result] * 100},
        ]
    }

    told = WORDS.request(asked)

    assert [{"text": "rain"}] * 100 == told["tool_results"][0]["outputs"]
    assert len(json.dumps(told)) < len(json.dumps(asked))
    asked["messages"].append({"role": "user", "content": [{"text": "And now?"}, result]})
    with pytest.raises(InvalidRequest, match="has its result"):
        WORDS.request(asked)
