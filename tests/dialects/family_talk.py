"""Conversations in the words of families, one of Converse's turns after the other, for the tests of this folder."""

from __future__ import annotations

import json
from typing import Any

import pytest
from chatting import request
from dialect_tables import data_bytes, ids, names, schemas, words
from hypothesis import strategies as st
from invoking import completion, streamed

from bedrock_gateway.dialects.families.bodies import body_of
from bedrock_gateway.errors import InvalidRequest

GPT, QWEN, MISTRAL, LARGE, JAMBA, COMMAND_R = (
    *("openai.gpt-oss-120b-1:0", "qwen.qwen3-vl-235b-a22b", "us.mistral.pixtral-large-2502-v1:0"),
    *("mistral.mistral-large-2407-v1:0", "ai21.jamba-1-5-large-v1:0", "cohere.command-r-v1:0"),
)
CHATS = (GPT, QWEN, MISTRAL, LARGE, JAMBA, "us.deepseek.v3.2", "moonshot.kimi-k2-thinking", "zai.glm-5")

texts = st.builds(lambda text: {"text": text}, words)
images = st.builds(
    lambda form, data: {"image": {"format": form, "source": {"bytes": data}}},
    *(st.sampled_from(["png", "jpeg", "gif", "webp"]), data_bytes),
)
uses = st.builds(
    lambda id_, name, told: {"toolUse": {"toolUseId": id_, "name": name, "input": told}}, ids, names, schemas
)
results = st.builds(
    lambda id_, content: {"toolResult": {"toolUseId": id_, "content": content}},
    *(ids, st.lists(texts, min_size=1, max_size=2)),
)
unsent = st.sampled_from([{"cachePoint": {"type": "default"}}, {"reasoningContent": {"reasoningText": {"text": "a"}}}])
foreign = st.sampled_from([{"document": {"name": "a"}}, {"video": {}}, {"audio": {}}, {"searchResult": {}}, {"new": 1}])
properties = st.dictionaries(names, st.fixed_dictionaries({"type": st.sampled_from(["string", "object"])}), max_size=3)
tools = st.lists(
    st.builds(
        lambda name, inner, more: {
            "toolSpec": {"name": name, "inputSchema": {"json": {"type": "object", "properties": inner}}, **more}
        },
        *(names, properties, st.fixed_dictionaries({}, optional={"description": words})),
    ),
    min_size=1,
    max_size=2,
)
#: Text that no family could take for the beginning of thought.
plain = st.text(st.characters(exclude_characters="<\r\n", exclude_categories=["Cs"]), max_size=12)


def conversation(*turns: list[Any], **members: Any) -> dict[str, Any]:
    """Return a request of Converse, its turns those of the user and the model by turns."""
    told = [
        {"role": "assistant" if at % 2 else "user", "content": json.loads(json.dumps(blocks))}
        for at, blocks in enumerate(turns)
    ]
    return {"messages": told, **members}


def body(model: str, *turns: list[Any], **members: Any) -> dict[str, Any]:
    """Return what a model is told for it."""
    family = body_of("", model)
    assert family is not None
    return family.request(conversation(*turns, **members))


def reasons(model: str, told: dict[str, Any]) -> Any:
    """Return why an answer ends, as Converse has it."""
    family = body_of("", model)
    assert family is not None
    return family.answer(told)["stopReason"]


def cut(data: st.DataObject, said: str) -> list[str]:
    """Return words in pieces of any length."""
    pieces = []
    while said:
        size = data.draw(st.integers(1, len(said)))
        pieces.append(said[:size])
        said = said[size:]
    return pieces


def lines(blocks: list[Any]) -> str:
    """Return texts as one."""
    return "\n".join(block["text"] for block in blocks)


def refuses(model: str, param: str, *turns: list[Any], **members: Any) -> None:
    """Hold that a model has no place for something."""
    with pytest.raises(InvalidRequest, match="no place for") as refused:
        body(model, *turns, **members)
    assert param == refused.value.param


def alike(model: str, whole: dict[str, Any], chunks: list[Any]) -> Any:
    """Return the message of a whole answer, held to be what a stream of it adds up to."""
    choice = completion(request(), whole, model)["choices"][0]
    out = streamed(request(), chunks, model)
    message, found = choice["message"], out["message"]
    told = [{"id": call["id"], **call["function"]} for call in message.get("tool_calls", [])]
    assert (message["content"] or None, message.get("reasoning_content", ""), [choice["finish_reason"]]) == (
        *(found["content"], found["reasoning_content"]),
        out["finish"],
    )
    for call in (*told, *found["tool_calls"]):
        call["arguments"] = json.loads(call["arguments"])
    assert told == found["tool_calls"]
    return message


def in_turn(model: str, chunks: list[Any]) -> None:
    """Hold that the blocks of a stream follow each other, none within another."""
    family = body_of("", model)
    assert family is not None
    reader = family.events()
    told = [event for one in chunks for event in reader.read(one)]
    blocks = [(kind, event["contentBlockIndex"]) for kind, event in told if "contentBlockIndex" in event]
    ends = [index for kind, index in blocks if kind == "contentBlockStop"]
    assert list(range(1 + max((index for _, index in blocks), default=-1))) == ends
    assert sorted(index for _, index in blocks) == [index for _, index in blocks]
    assert ("messageStart", "messageStop") == (told[0][0], told[-1][0])
