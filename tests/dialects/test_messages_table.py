"""docs/dialects.md, messages, row by row: each names a check here, which is given endless inputs."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from chatting import USAGE, events_of
from dialect_tables import data_bytes, ids, names, points, rows, schemas, words
from hypothesis import given, settings
from hypothesis import strategies as st
from messaging import (
    CLAUDE,
    COHERE,
    GPT,
    HIDDEN,
    LLAMA,
    NOVA,
    NOVA_2,
    chunks_of,
    read,
    request,
    sent,
    streamed,
    summed,
    whole,
)

from bedrock_gateway.errors import InvalidRequest
from bedrock_gateway.wire.eventstream import encode_event, encode_exception

NATIVE, CONVERSE = "Messages ↔ InvokeModel (Claude)", "Messages ↔ Converse (other models)"
#: What only Claude has something for, with a value that asks for something.
CLAUDES: dict[str, Any] = {
    **{"container": "c", "context_management": {"edits": []}, "mcp_servers": [{"name": "a"}], "inference_geo": "us"},
    "speed": "fast",
}
FORMATS = {"application/pdf": "pdf", "text/csv": "csv", "text/html": "html", "text/plain": "txt"}
MEDIA_TYPES = {name: kind for kind, name in FORMATS.items()}

own_members = st.dictionaries(st.from_regex(r"own_[a-z]{1,5}", fullmatch=True), schemas, max_size=3)
texts = st.builds(lambda text: {"type": "text", "text": text}, words)
images = st.builds(
    lambda kind, data: {"type": "image", "source": {"type": "base64", "media_type": f"image/{kind}", "data": data}},
    st.sampled_from(["png", "jpeg", "gif", "webp"]),
    data_bytes,
)
documents = st.builds(
    lambda kind, data, title, more: {
        "type": "document",
        "source": {"type": "base64", "media_type": kind, "data": data},
        "title": title,
        **more,
    },
    st.sampled_from(sorted(FORMATS)),
    data_bytes,
    st.from_regex(r"[a-z]{1,8}", fullmatch=True),
    st.fixed_dictionaries({}, optional={"context": words, "citations": st.just({"enabled": True})}),
)
search_results = st.builds(
    lambda source, title, content, more: {
        **{"type": "search_result", "source": source, "title": title, "content": content},
        **more,
    },
    *(words, words, st.lists(texts, min_size=1, max_size=2)),
    st.fixed_dictionaries({}, optional={"citations": st.just({"enabled": True})}),
)
handed_in = texts | images | documents | search_results
#: Blocks of Converse's answers.
said_blocks = st.builds(lambda text: {"text": text}, words)
use_blocks = st.builds(
    lambda id_, name, told: {"toolUse": {"toolUseId": id_, "name": name, "input": told}}, ids, names, schemas
)
thought_blocks = st.one_of(
    st.builds(
        lambda text, more: {"reasoningContent": {"reasoningText": {"text": text, **more}}},
        words,
        st.fixed_dictionaries({}, optional={"signature": data_bytes}),
    ),
    st.builds(lambda data: {"reasoningContent": {"redactedContent": data}}, data_bytes),
)
whole_numbers = st.integers(0, 10**6)
spans = st.one_of(
    *(
        st.builds(
            lambda kind, at, start, end: {kind: {"documentIndex": at, "start": start, "end": end}},
            *(st.just(kind), whole_numbers, whole_numbers, whole_numbers),
        )
        for kind in ("documentChar", "documentPage", "documentChunk")
    ),
    st.builds(
        lambda at, start, end: {"searchResultLocation": {"searchResultIndex": at, "start": start, "end": end}},
        *(whole_numbers, whole_numbers, whole_numbers),
    ),
    st.builds(lambda url: {"web": {"url": url}}, words),
)
citations_ = st.builds(
    lambda location, more, source: {
        "location": location,
        **more,
        **({"source": source} if "searchResultLocation" in location else {}),
    },
    spans,
    st.fixed_dictionaries({}, optional={"title": words, "sourceContent": words.map(lambda text: [{"text": text}])}),
    words,
)
cited_blocks = st.builds(
    lambda text, told: {"citationsContent": {"content": [{"text": text}], "citations": told}},
    words,
    st.lists(citations_, min_size=1, max_size=3),
)


def answer(content: list[Any], **members: Any) -> dict[str, Any]:
    """Return an answer of Converse."""
    told = {"output": {"message": {"role": "assistant", "content": content}}, "stopReason": "end_turn"}
    return told | {"usage": USAGE, "metrics": {"latencyMs": 1}} | members


def told(content: list[Any], **members: Any) -> Any:
    """Return the message for an answer of Converse, which is the same streamed."""
    message = whole(answer(content, **members))
    assert message == summed(streamed(b"".join(events_of(answer(content, **members)))))
    return message


def again(content: list[Any]) -> list[Any]:
    """Return the blocks of Converse for what an answer was told as, in the next request."""
    asked = request(messages=[{"role": "user", "content": "a"}, {"role": "assistant", "content": content}])
    (_, turn) = sent(asked)["messages"]
    assert "assistant" == turn["role"]
    return turn["content"]


def answered(content: list[Any]) -> list[Any]:
    """Return what the blocks of an answer are told as; put into the next request it is those blocks again."""
    message = told(content)
    assert content == again(message["content"])
    return message["content"]


def back(blocks: list[Any]) -> list[Any]:
    """Return blocks of Converse's as those of Anthropic that a user hands in."""
    found: list[Any] = []
    for block in blocks:
        if "cachePoint" in block:
            found[-1]["cache_control"] = {**block["cachePoint"], "type": "ephemeral"}
            continue
        ((kind, inner),) = block.items()
        if kind == "text":
            found.append({"type": "text", "text": inner})
        elif kind == "image":
            source = {"type": "base64", "media_type": f"image/{inner['format']}", "data": inner["source"]["bytes"]}
            found.append({"type": "image", "source": source})
        elif kind == "document":
            media_type, data = MEDIA_TYPES[inner["format"]], inner["source"]["bytes"]
            more = {name: inner[name] for name in ("context", "citations") if name in inner}
            source = {"type": "base64", "media_type": media_type, "data": data}
            found.append({"type": "document", "source": source, "title": inner["name"], **more})
        elif kind == "searchResult":
            found.append({"type": "search_result", **inner, "content": back(inner["content"])})
        else:
            error = {"is_error": True} if inner.get("status") == "error" else {}
            content = back(inner["content"])
            found.append({"type": "tool_result", "tool_use_id": inner["toolUseId"], "content": content, **error})
    return found


def there_and_back(*blocks: Any) -> None:
    """Hold that what a user hands in comes out again as it went in."""
    (turn,) = sent(request(messages=[{"role": "user", "content": list(blocks)}]))["messages"]
    assert list(blocks) == back(turn["content"])


def refused(body: dict[str, Any], param: str, *, model: str = NOVA) -> None:
    """Hold that a member is refused by its name."""
    with pytest.raises(InvalidRequest) as caught:
        read(body, model=model)
    assert param == caught.value.param
    assert param.partition(".")[0] in caught.value.message


def claude_model(data: st.DataObject) -> None:
    name = data.draw(words)
    assert name == read(request(model=name), model=CLAUDE).model
    assert "model" not in sent(request(model=name), model=CLAUDE)


def claude_stream(data: st.DataObject) -> None:
    asked = read(request(stream=data.draw(st.booleans())), model=CLAUDE)
    assert "stream" not in json.loads(asked.body)
    for stream, operation in ((True, "InvokeModelWithResponseStream"), (False, "InvokeModel"), (None, "InvokeModel")):
        assert operation == read(request(stream=stream), model=CLAUDE).operation


def claude_version(data: st.DataObject) -> None:
    version = data.draw(words)
    header = {"anthropic-version": version}
    assert "bedrock-2023-05-31" == json.loads(read(request(), model=CLAUDE, headers=header).body)["anthropic_version"]
    assert version == sent(request(anthropic_version=version), model=CLAUDE)["anthropic_version"]


def claude_betas(data: st.DataObject) -> None:
    one, other = data.draw(st.lists(names, max_size=3)), data.draw(st.lists(names, max_size=3))
    asked = read(request(anthropic_beta=one), model=CLAUDE, headers={"Anthropic-Beta": ", ".join(other)})
    assert list(dict.fromkeys([*one, *other])) == json.loads(asked.body).get("anthropic_beta", [])


def claude_members(data: st.DataObject) -> None:
    more = data.draw(own_members)
    indent = data.draw(st.sampled_from([None, 1]))
    asked = request(**more, system=data.draw(words))
    body = read(json.dumps(asked, indent=indent).encode(), model=CLAUDE).body
    del asked["model"]
    assert {"anthropic_version": "bedrock-2023-05-31", **asked} == json.loads(body)
    for value in more.values():
        assert json.dumps(value, indent=indent).replace("\n", "\n " if indent else "\n").encode() in body


def claude_user(data: st.DataObject) -> None:
    who = {"user_id": data.draw(words)}
    assert who["user_id"] == read(request(metadata=who), model=CLAUDE).end_user
    assert who == sent(request(metadata=who), model=CLAUDE)["metadata"]


def claude_tags(data: st.DataObject) -> None:
    tags = data.draw(st.lists(words, max_size=3))
    asked = read(request(litellm_metadata={"tags": tags}), model=CLAUDE)
    assert tuple(tags) == asked.tags
    assert "litellm_metadata" not in json.loads(asked.body)


def claude_counted(data: st.DataObject) -> None:
    asked = request(**data.draw(own_members))
    if not data.draw(st.booleans()):
        del asked["max_tokens"]
    inner = json.loads(read(asked, model=CLAUDE, count=True).body)["input"]["invokeModel"]["body"]
    del asked["model"]
    assert {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 1, **asked} == json.loads(base64.b64decode(inner))


def native(content: list[Any], **members: Any) -> dict[str, Any]:
    """Return an answer of Claude's."""
    ends = {"stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 2}}
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": content,
        **ends,
    } | members


def claude_named(data: st.DataObject) -> None:
    name = data.draw(words)
    for stream in (False, True):
        relay = read(request(model=name, stream=stream), model=CLAUDE).relay(CLAUDE, call_id="1", now=0)
        message = native([])
        out = relay.receive_data(b"".join(chunks_of(message)) if stream else json.dumps(message).encode())
        out += relay.receive_eof()
        first = json.loads(out.split(b"\n\n")[0].partition(b"data: ")[2])["message"] if stream else json.loads(out)
        assert name == first["model"]


def claude_answer(data: st.DataObject) -> None:
    message = native([], **data.draw(own_members))
    text = json.dumps(message, indent=data.draw(st.sampled_from([None, 1])))
    relay = read(request(), model=CLAUDE).relay(CLAUDE, call_id="1", now=0)
    out = relay.receive_data(text.encode()) + relay.receive_eof()
    assert text.replace('"claude"', '"group"', 1).encode() == out


def claude_content(data: st.DataObject) -> None:
    kinds = st.one_of(
        texts,
        st.builds(lambda text, told: {**text, "citations": [told]}, texts, schemas),
        st.builds(lambda text, sign: {"type": "thinking", "thinking": text, "signature": sign}, words, data_bytes),
        st.builds(lambda told: {"type": "redacted_thinking", "data": told}, data_bytes),
        st.builds(
            lambda id_, name, told: {"type": "tool_use", "id": id_, "name": name, "input": told}, ids, names, schemas
        ),
        st.builds(lambda told: {"type": "own_block", "own": told}, schemas),
    )
    blocks = data.draw(st.lists(kinds, min_size=1, max_size=3))
    message = whole(native(blocks), model=CLAUDE)
    assert message == summed(streamed(b"".join(chunks_of(native(blocks))), model=CLAUDE))
    asked = request(messages=[{"role": "user", "content": "a"}, {"role": "assistant", "content": message["content"]}])
    assert blocks == sent(asked, model=CLAUDE)["messages"][1]["content"]


def claude_events(data: st.DataObject) -> None:
    events = data.draw(st.lists(st.builds(lambda kind, own: {"type": kind, **own}, names, own_members), max_size=3))
    written = [json.dumps(one).encode() for one in events if one["type"] not in ("message_start", "error")]
    payloads = [json.dumps({"bytes": base64.b64encode(one).decode()}).encode() for one in written]
    relay = read(request(stream=True), model=CLAUDE).relay(CLAUDE, call_id="1", now=0)
    for payload, one in zip(payloads, written, strict=True):
        kind = json.loads(one)["type"].encode()
        assert b"event: %b\ndata: %b\n\n" % (kind, one) == relay.receive_data(encode_event("chunk", payload))


def exceptions(data: st.DataObject, model: str, begun: list[bytes]) -> None:
    """Hold that a stream that fails, or ends too soon, says so at its end and once."""
    kinds = ["internalServerException", "modelStreamErrorException", "validationException", "throttlingException"]
    kind, said = data.draw(st.sampled_from(kinds)), data.draw(words)
    begun = begun[: data.draw(st.integers(0, len(begun)))]
    *_, last = streamed(b"".join([*begun, encode_exception(kind, said), *begun]), model=model)
    assert ("error", said) == (last["type"], last["error"]["message"])
    events = streamed(b"".join(begun), model=model)
    assert ["error"] == [one["type"] for one in events if one["type"] in ("error", "message_stop")]


def claude_exception(data: st.DataObject) -> None:
    exceptions(data, CLAUDE, chunks_of(native([{"type": "text", "text": "abc"}]))[:-1])


def model(data: st.DataObject) -> None:
    name = data.draw(words)
    assert name == read(request(model=name)).model
    assert {"messages", "inferenceConfig"} == sent(request(model=name)).keys()
    refused(request(model=""), "model")


def system(data: st.DataObject) -> None:
    one, other = data.draw(words), data.draw(st.lists(texts, min_size=1, max_size=2))
    wanted = [{"text": one}, *({"text": block["text"]} for block in other)]
    user = {"role": "user", "content": "a"}
    inside = [{"role": "system", "content": other}, user]
    assert wanted == sent(request(system=one, messages=inside))["system"]
    assert wanted[1:] == sent(request(system=other))["system"]
    refused(request(system=[data.draw(images)]), "system.0.type")


def text(data: st.DataObject) -> None:
    blocks = data.draw(st.lists(texts, min_size=1, max_size=3))
    there_and_back(*blocks)
    each = [{"role": "user", "content": one["text"]} for one in blocks] + [{"role": "user", "content": " "}]
    blank = {"type": "text", "text": "\n"}
    wanted = [{"role": "user", "content": [{"text": one["text"]} for one in blocks]}]
    assert wanted == sent(request(messages=each))["messages"]
    assert wanted == sent(request(messages=[{"role": "user", "content": [*blocks, blank]}]))["messages"]


def citations(data: st.DataObject) -> None:
    block = data.draw(cited_blocks)
    content = told([block])["content"]
    assert [block] == again(content)
    asked = request(messages=[{"role": "user", "content": "a"}, {"role": "assistant", "content": content}])
    assert [block] == sent(asked, model=HIDDEN)["messages"][1]["content"]
    of = data.draw(st.sampled_from([LLAMA, GPT, COHERE]))
    assert block["citationsContent"]["content"] == sent(asked, model=of)["messages"][1]["content"]
    content[0]["citations"][0]["type"] = data.draw(names)
    refused(asked, "messages.1.content.0.citations.0.type")


def image(data: st.DataObject) -> None:
    there_and_back(*data.draw(st.lists(images, min_size=1, max_size=3)))
    one = data.draw(images)
    for source, param in (
        (one["source"] | {"data": "-"}, "source.data"),
        (one["source"] | {"media_type": "image/tiff"}, "source"),
        ({"type": "url", "url": "https://example.com/a.png"}, "source.url"),
        ({"type": "file", "file_id": "f"}, "source.type"),
    ):
        asked = request(messages=[{"role": "user", "content": [{"type": "image", "source": source}]}])
        refused(asked, f"messages.0.content.0.{param}")


def document(data: st.DataObject) -> None:
    one = data.draw(documents)
    there_and_back(one, data.draw(texts))
    (turn,) = sent(request(messages=[{"role": "user", "content": [one, one, one]}]))["messages"]
    assert 3 == len({block["document"]["name"] for block in turn["content"]})
    said = data.draw(words)
    written = {"format": "txt", "name": "document", "source": {"bytes": base64.b64encode(said.encode()).decode()}}
    for source in (
        {"type": "text", "media_type": "text/plain", "data": said},
        {"type": "content", "content": said},
        {"type": "content", "content": [{"type": "text", "text": said}]},
    ):
        asked = request(messages=[{"role": "user", "content": [{"type": "document", "source": source}]}])
        assert [{"document": written}] == sent(asked)["messages"][0]["content"]


def search_result(data: st.DataObject) -> None:
    there_and_back(*data.draw(st.lists(search_results, min_size=1, max_size=2)))


def thoughts(data: st.DataObject) -> None:
    kinds = st.one_of(
        st.builds(lambda text, sign: {"type": "thinking", "thinking": text, "signature": sign}, st.text(), data_bytes),
        st.builds(lambda told: {"type": "redacted_thinking", "data": told}, data_bytes),
    )
    blocks = data.draw(st.lists(kinds, min_size=1, max_size=3))
    assert blocks == whole(answer(again(blocks)))["content"]


def tool_use(data: st.DataObject) -> None:
    kinds = st.builds(
        lambda id_, name, told: {"type": "tool_use", "id": id_, "name": name, "input": told}, ids, names, schemas
    )
    blocks = data.draw(st.lists(kinds, min_size=1, max_size=3))
    assert blocks == whole(answer(again(blocks)))["content"]
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": blocks}]
    for member, value in (("id", "a b"), ("name", "a.b"), ("input", "{}")):
        blocks[0] = {**blocks[0], member: value}
        refused(request(messages=messages), f"messages.1.content.0.{member}")
        blocks[0] = {**blocks[0], "id": "a", "name": "a", "input": {}}


def tool_result(data: st.DataObject) -> None:
    results = st.builds(
        lambda id_, content, more: {"type": "tool_result", "tool_use_id": id_, "content": content, **more},
        *(ids, st.lists(texts | images | search_results, min_size=1, max_size=3)),
        st.fixed_dictionaries({}, optional={"is_error": st.just(True), "cache_control": points}),
    )
    there_and_back(*data.draw(st.lists(results, min_size=1, max_size=3)))
    asked = {"type": "tool_result", "tool_use_id": "a", "content": data.draw(words)}
    (block,) = sent(request(messages=[{"role": "user", "content": [asked]}]))["messages"][0]["content"]
    assert [{"text": asked["content"]}] == block["toolResult"]["content"]


def foreign(data: st.DataObject) -> None:
    known = {"text", "image", "document", "search_result", "thinking", "redacted_thinking", "tool_use", "tool_result"}
    kind = data.draw(
        st.sampled_from(["server_tool_use", "container_upload"]) | names.filter(lambda name: name not in known)
    )
    refused(request(messages=[{"role": "user", "content": [{"type": kind}]}]), "messages.0.content.0.type")


def cache_point(data: st.DataObject) -> None:
    pointed = st.builds(lambda block, point: {**block, "cache_control": point}, handed_in, points)
    blocks = data.draw(st.lists(handed_in | pointed, min_size=1, max_size=3))
    there_and_back(
        *({**block, "title": f"t{at}"} if block["type"] == "document" else block for at, block in enumerate(blocks))
    )
    point = data.draw(points)
    tool = {"name": "a", "input_schema": {}, "cache_control": point}
    wanted = {"cachePoint": {**point, "type": "default"}}
    assert wanted == sent(request(tools=[tool]))["toolConfig"]["tools"][1]
    assert wanted == sent(request(system=[{"type": "text", "text": "a", "cache_control": point}]))["system"][1]
    content = [{"type": "text", "text": "a"}]
    twice = [{"type": "text", "text": "a", "cache_control": point}]
    inner = {"type": "tool_result", "tool_use_id": "a", "content": twice + twice, "cache_control": point}
    for asked in (content, twice, [inner]):
        (turn,) = sent(request(cache_control=point, messages=[{"role": "user", "content": asked}]))["messages"]
        assert [wanted] == turn["content"][1:]


def tools(data: st.DataObject) -> None:
    kinds = st.fixed_dictionaries(
        {"name": names, "input_schema": schemas},
        optional={"description": words, "strict": st.just(True), "type": st.just("custom")},
    )
    asked = data.draw(st.lists(kinds, min_size=1, max_size=3))
    specs = [one["toolSpec"] for one in sent(request(tools=asked))["toolConfig"]["tools"]]
    again_ = [{**spec, "input_schema": spec["inputSchema"]["json"]} for spec in specs]
    assert [{name: value for name, value in one.items() if name != "type"} for one in asked] == [
        {name: value for name, value in one.items() if name != "inputSchema"} for one in again_
    ]
    used = {"type": "tool_use", "id": "a", "name": data.draw(names), "input": {}}
    history = [{"role": "user", "content": "a"}, {"role": "assistant", "content": [used]}]
    (declared,) = sent(request(messages=history))["toolConfig"]["tools"]
    assert used["name"] == declared["toolSpec"]["name"]
    own = [{"type": "web_search_20250305", "name": "web_search"}]
    refused(request(tools=own), "tools.0.type")
    assert "toolConfig" not in sent(request(tools=own), drop_params=True)
    refused(request(tools=[{"name": "a b", "input_schema": {}}]), "tools.0.name")
    refused(request(tools=[{"name": "a", "input_schema": []}]), "tools.0.input_schema")


def tool_choice(data: st.DataObject) -> None:
    tool = {"name": data.draw(names), "input_schema": {}}
    one = {"type": "tool", "name": tool["name"]}
    for choice, wanted in (
        ({"type": "auto"}, None),
        ({"type": "any"}, {"any": {}}),
        (one, {"tool": {"name": tool["name"]}}),
    ):
        asked = request(tools=[tool], tool_choice=choice)
        assert wanted == sent(asked)["toolConfig"].get("toolChoice")
        thinks = asked | {"thinking": {"type": "adaptive"}}
        assert "toolChoice" not in sent(thinks, model=data.draw(st.sampled_from([NOVA_2, GPT])))["toolConfig"]
    none = request(tools=[tool], tool_choice={"type": "none"})
    assert "toolConfig" not in sent(none)
    used = {"type": "tool_use", "id": "a", "name": tool["name"], "input": {}}
    none["messages"] += [{"role": "assistant", "content": [used]}]
    refused(none, "tool_choice")
    assert "toolChoice" not in sent(none, drop_params=True)["toolConfig"]


def max_tokens(data: st.DataObject) -> None:
    most = data.draw(st.integers(1, 10**6))
    assert {"maxTokens": most} == sent(request(max_tokens=most))["inferenceConfig"]
    refused(request(max_tokens=data.draw(st.sampled_from([None, 0, "5", 1.5]))), "max_tokens")


def sampling(data: st.DataObject) -> None:
    one, other = data.draw(st.floats(0, 1)), data.draw(st.floats(0, 1))
    inference = sent(request(temperature=one, top_p=other))["inferenceConfig"]
    assert (one, other) == (inference["temperature"], inference["topP"])
    refused(request(temperature=data.draw(st.floats(1, 9, exclude_min=True))), "temperature")
    refused(request(top_p=data.draw(st.floats(-9, 0, exclude_max=True))), "top_p")


def stop(data: st.DataObject) -> None:
    sequences = data.draw(st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=4))
    asked = sent(request(stop_sequences=[*sequences, ""]))
    assert (sequences, ["/stop_sequence"]) == (
        asked["inferenceConfig"]["stopSequences"],
        asked["additionalModelResponseFieldPaths"],
    )
    own = sent(request(stop_sequences=sequences, additionalModelResponseFieldPaths=["/a"]))
    assert ["/a", "/stop_sequence"] == own["additionalModelResponseFieldPaths"]
    assert {"messages", "inferenceConfig"} == sent(request(stop_sequences=[""])).keys()


def top_k(data: st.DataObject) -> None:
    asked = request(top_k=(most := data.draw(st.integers(0, 500))))
    for of, wanted in ((LLAMA, {"top_k": most}), (NOVA, {"inferenceConfig": {"topK": most}}), (COHERE, {"k": most})):
        assert wanted == sent(asked, model=of)["additionalModelRequestFields"]


def thinking(data: st.DataObject) -> None:
    budget = data.draw(st.integers(1, 30_000))
    level = "low" if budget < 2048 else "medium" if budget < 4096 else "high"
    asked = request(thinking={"type": "enabled", "budget_tokens": budget})
    effort = data.draw(st.sampled_from(["low", "medium", "high", "xhigh", "max"]))
    common = {"xhigh": "high", "max": "high"}.get(effort, effort)
    for one, wanted in (
        (asked, level),
        (asked | {"output_config": {"effort": effort}}, common),
        (request(thinking={"type": "adaptive"}), "medium"),
        (request(thinking={"type": "adaptive"}, output_config={"effort": effort}), common),
    ):
        assert {"reasoning_effort": wanted} == sent(one, model=GPT)["additionalModelRequestFields"]
        config = sent(one, model=NOVA_2)["additionalModelRequestFields"]["reasoningConfig"]
        # At high effort Nova takes no bound of its answer, which every message has.
        assert {"type": "enabled", "maxReasoningEffort": "medium" if wanted == "high" else wanted} == config
        refused(one, "thinking", model=LLAMA)
        assert "additionalModelRequestFields" not in sent(one, model=LLAMA, drop_params=True)
    for idle in ({"thinking": {"type": "disabled"}}, {"output_config": {"effort": effort}}):
        assert {"messages", "inferenceConfig"} == sent(request(**idle), model=GPT).keys()
    refused(request(thinking={"type": data.draw(words)}), "thinking.type")


def format_(data: st.DataObject) -> None:
    schema = data.draw(schemas)
    asked = sent(request(output_config={"format": {"type": "json_schema", "schema": schema}}))["outputConfig"]
    assert schema == json.loads(asked["textFormat"]["structure"]["jsonSchema"]["schema"])
    assert "json_schema" == asked["textFormat"]["type"]
    refused(request(output_config={"format": {"type": data.draw(words)}}), "output_config.format.type")


def service_tier(data: st.DataObject) -> None:
    assert {"type": "default"} == sent(request(service_tier="standard_only"))["serviceTier"]
    assert "serviceTier" not in sent(request(service_tier="auto"))
    refused(request(service_tier=data.draw(words)), "service_tier")


def stream(data: st.DataObject) -> None:
    streams = data.draw(st.sampled_from([True, False, None]))
    assert ("ConverseStream" if streams else "Converse") == read(request(stream=streams)).operation
    refused(request(stream=data.draw(words)), "stream")


def as_they_are(data: st.DataObject) -> None:
    members = ("guardrailConfig", "performanceConfig", "requestMetadata", "promptVariables", "outputConfig")
    asked: dict[str, Any] = {member: data.draw(schemas) for member in (*members, "serviceTier")}
    said_ = {name: {key: one for key, one in own.items() if one is not None} for name, own in asked.items()}
    wanted: dict[str, Any] = {name: own for name, own in said_.items() if own or not asked[name]}
    paths = "additionalModelResponseFieldPaths"
    wanted[paths] = asked[paths] = data.draw(st.lists(words, max_size=2))
    found = sent(request(**asked))
    assert wanted == {member: found[member] for member in asked if member in found}


def others(data: st.DataObject) -> None:
    one, other = data.draw(own_members), data.draw(own_members)
    found = sent(request(**one, additionalModelRequestFields=other))
    assert {**one, **other} == found.get("additionalModelRequestFields", {})


def claudes(data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.sampled_from(sorted(CLAUDES)), min_size=1, unique=True))
    asked = request(**{member: CLAUDES[member] for member in chosen})
    with pytest.raises(InvalidRequest) as caught:
        read(asked)
    assert all(member in caught.value.message for member in chosen)
    assert caught.value.param in chosen
    assert {"messages", "inferenceConfig"} == sent(asked, drop_params=True).keys()
    assert {"messages", "inferenceConfig"} == sent(request(mcp_servers=[], speed="standard", container=None)).keys()


def hidden(data: st.DataObject) -> None:
    told_ = {**CLAUDES, "thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}
    chosen = data.draw(st.sets(st.sampled_from(sorted(told_))))
    found = data.draw(st.lists(names, min_size=1, max_size=2, unique=True))
    asked = request(**{member: told_[member] for member in chosen}, anthropic_beta=found)
    wanted = {"anthropic_beta": found, **{member: told_[member] for member in chosen}}
    assert wanted == sent(asked, model=HIDDEN)["additionalModelRequestFields"]


def labels(data: st.DataObject) -> None:
    who, tags = data.draw(words), data.draw(st.lists(words, max_size=3))
    asked = request(metadata={"user_id": who}, litellm_metadata={"tags": tags})
    assert (who, tuple(tags)) == (read(asked).end_user, read(asked).tags)
    assert {"messages", "inferenceConfig"} == sent(asked).keys()


def counted(data: st.DataObject) -> None:
    tool = {"name": data.draw(names), "input_schema": data.draw(schemas)}
    asked = request(system=data.draw(words), tools=[tool], **data.draw(own_members))
    inner = {name: value for name, value in sent(asked).items() if name != "inferenceConfig"}
    del asked["max_tokens"]
    assert {"input": {"converse": inner}} == json.loads(read(asked, count=True).body)


def said(data: st.DataObject) -> None:
    blocks = data.draw(st.lists(said_blocks, min_size=1, max_size=3))
    assert [{"type": "text", **block} for block in blocks] == answered(blocks)


def cited(data: st.DataObject) -> None:
    block = data.draw(cited_blocks)
    inner = block["citationsContent"]
    (found,) = answered([block])
    assert (inner["content"][0]["text"], len(inner["citations"])) == (found["text"], len(found["citations"]))
    nowhere = {"citationsContent": {**inner, "citations": [{"title": "a"}, {"title": "b", "location": {"new": {}}}]}}
    assert [{"type": "text", "text": found["text"]}] == told([nowhere])["content"]


def calls(data: st.DataObject) -> None:
    blocks = data.draw(st.lists(use_blocks, min_size=1, max_size=3))
    assert [
        {"type": "tool_use", "id": use["toolUseId"], "name": use["name"], "input": use["input"]}
        for use in (block["toolUse"] for block in blocks)
    ] == answered(blocks)
    server = {"toolUse": {"toolUseId": "1", "name": "a", "input": data.draw(schemas), "type": "server_tool_use"}}
    assert told(blocks)["content"] == told([server, *blocks])["content"]


def reasoning(data: st.DataObject) -> None:
    blocks = data.draw(st.lists(thought_blocks, min_size=1, max_size=3))
    for block, found in zip(blocks, answered(blocks), strict=True):
        thought = block["reasoningContent"]
        if "redactedContent" in thought:
            assert {"type": "redacted_thinking", "data": thought["redactedContent"]} == found
        else:
            words_ = thought["reasoningText"]
            assert (words_["text"], words_.get("signature", "")) == (found["thinking"], found["signature"])


def other_blocks(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["image", "audio", "video", "searchResult", "document", "toolResult", "new"]))
    assert [{"type": "text", "text": "a"}] == told([{kind: data.draw(schemas)}, {"text": "a"}])["content"]


def stop_reason(data: st.DataObject) -> None:
    same = ("end_turn", "stop_sequence", "max_tokens", "tool_use", "model_context_window_exceeded")
    wanted = {
        **{reason: reason for reason in same},
        **dict.fromkeys(("guardrail_intervened", "content_filtered"), "refusal"),
        **dict.fromkeys(("malformed_model_output", "malformed_tool_use"), "end_turn"),
    }
    reason = data.draw(st.sampled_from(sorted(wanted)))
    assert wanted[reason] == told([{"text": "a"}], stopReason=reason)["stop_reason"]


def stop_sequence(data: st.DataObject) -> None:
    fields = {"stop_sequence": data.draw(words), "own": data.draw(schemas)}
    message = told([], stopReason="stop_sequence", additionalModelResponseFields=fields)
    assert ("stop_sequence", fields["stop_sequence"]) == (message["stop_reason"], message["stop_sequence"])
    assert told([])["stop_sequence"] is None


def usage(data: st.DataObject) -> None:
    came, went, got, short, long = (data.draw(whole_numbers) for _ in "abcde")
    counts = {"inputTokens": came, "outputTokens": went, "cacheReadInputTokens": got}
    wanted = {"input_tokens": came, "output_tokens": went, "cache_read_input_tokens": got}
    put = {"cacheWriteInputTokens": short + long}
    assert wanted | {"cache_creation_input_tokens": short + long} == told([], usage=counts | put)["usage"]
    details = [{"ttl": "5m", "inputTokens": short}, {"ttl": "1h", "inputTokens": long}]
    found = told([], usage=counts | put | {"cacheDetails": details})["usage"]["cache_creation"]
    assert {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long} == found


def besides(data: st.DataObject) -> None:
    members = {name: data.draw(schemas) for name in ("trace", "performanceConfig", "serviceTier")}
    assert told([]) == told([], **members, additionalModelResponseFields=data.draw(own_members))


def exception(data: st.DataObject) -> None:
    exceptions(data, NOVA, events_of(answer([{"text": "abc"}]))[:-2])


CHECKS: dict[str, dict[str, Callable[[st.DataObject], None]]] = {
    NATIVE: {
        check.__name__.removeprefix("claude_"): check
        for check in (
            *(claude_model, claude_stream, claude_version, claude_betas, claude_members, claude_user, claude_tags),
            *(claude_counted, claude_named, claude_answer, claude_content, claude_events, claude_exception),
        )
    },
    CONVERSE: {
        check.__name__.rstrip("_"): check
        for check in (
            *(model, system, text, citations, image, document, search_result, thoughts, tool_use, tool_result, foreign),
            *(cache_point, tools, tool_choice, max_tokens, sampling, stop, top_k, thinking, format_, service_tier),
            *(stream, as_they_are, others, claudes, hidden, labels, counted, said, cited, calls, reasoning),
            *(other_blocks, stop_reason, stop_sequence, usage, besides, exception),
        )
    },
}


@pytest.mark.parametrize("section", CHECKS)
def test_every_row_has_its_check(section: str) -> None:
    """The tables name every check, and nothing else."""
    assert list(CHECKS[section]) == rows(section)


@pytest.mark.parametrize(("section", "row"), [(section, row) for section in CHECKS for row in rows(section)])
@settings(max_examples=25)
@given(data=st.data())
def test_row(section: str, row: str, data: st.DataObject) -> None:
    """What a row says of its field is so, whatever is in it."""
    CHECKS[section][row](data)


@pytest.mark.parametrize(
    ("model", "wanted"),
    [
        (CLAUDE, {"temperature": 0.5, "top_p": 0.5, "top_k": 5, "stop_sequences": ["x"]}),
        (
            *(LLAMA,),
            {
                "inferenceConfig": {"maxTokens": 50, "temperature": 0.5, "topP": 0.5, "stopSequences": ["x"]},
                "additionalModelRequestFields": {"top_k": 5},
            },
        ),
    ],
)
def test_what_a_deployment_says_stands_in(model: str, wanted: dict[str, Any]) -> None:
    """Parameters of a deployment are sent where a request says nothing, and never instead of what it says."""
    defaults = {"max_tokens": 90, "temperature": 0.5, "top_p": 0.5, "top_k": 5, "stop": ["x"]}

    assert sent(request(), model=model) | wanted == sent(request(), model=model, defaults=defaults)
    full = request(temperature=1, top_p=1, top_k=1, stop_sequences=["y"])
    assert sent(full, model=model) == sent(full, model=model, defaults=defaults)
