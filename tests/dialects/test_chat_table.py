"""docs/dialects.md, row by row: each names a check here, which is given endless inputs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from chatting import CLAUDE, NOW, converse, events_of, read, read_divided, request, summed, whole
from chatting import answered as answer
from dialect_tables import data_bytes, ids, names, points, rows, schemas, values, words
from hypothesis import given, settings
from hypothesis import strategies as st
from openai_checks import ADAPTIVE, COHERE, GPT, KINDS, LLAMA, NOVA, NOVA_2, PROXYS, Shared

from bedrock_gateway.errors import InvalidRequest
from bedrock_gateway.wire.eventstream import encode_exception

SECTION = "Chat completions ↔ Converse"
SONNET = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
MISTRAL = "mistral.mistral-large-2407-v1:0"
SHARED = Shared(
    read=read, converse=converse, request=request, tool=lambda function: {"type": "function", "function": function}
)
#: What Bedrock has no place for, with a value that asks for something.
UNSUPPORTED: dict[str, Any] = {
    **{"seed": 1, "logprobs": True, "top_logprobs": 2, "logit_bias": {"1": 2}, "presence_penalty": 1},
    **{"frequency_penalty": 0.5, "audio": {"voice": "a"}, "modalities": ["audio"], "prediction": {"type": "content"}},
    **{
        "web_search_options": {},
        "store": True,
        "verbosity": "low",
        "functions": [{"name": "a"}],
        "function_call": {"name": "a"},
    },
    **PROXYS,
}

images = st.builds(
    lambda kind, data: {"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{data}"}},
    st.sampled_from(["png", "jpeg", "gif", "webp"]),
    data_bytes,
)
files = st.builds(
    lambda kind, data, name: {"type": "file", "file": {"file_data": f"data:{kind};base64,{data}", "filename": name}},
    st.sampled_from(sorted(KINDS.values())),
    data_bytes,
    st.from_regex(r"[a-z]{1,8}", fullmatch=True),
)
texts = st.builds(lambda text: {"type": "text", "text": text}, words)
parts = st.one_of(texts, images, st.builds(lambda part, point: part | {"cache_control": point}, texts | images, points))
thoughts = st.one_of(
    st.builds(
        lambda text, signature: {"type": "thinking", "thinking": text, "signature": signature}, st.text(), data_bytes
    ),
    st.builds(lambda data: {"type": "redacted_thinking", "data": data}, data_bytes),
)
calls = st.builds(
    lambda id_, name, given: {
        "id": id_,
        "type": "function",
        "function": {"name": name, "arguments": json.dumps(given)},
    },
    ids,
    names,
    st.dictionaries(st.text(max_size=5), values, max_size=3),
)


def back(turns: list[Any]) -> list[Any]:
    """Return messages of Converse as those of OpenAI, every content as parts."""
    messages: list[Any] = []
    for turn in turns:
        message: dict[str, Any] = {"role": turn["role"], "content": []}
        for block in turn["content"]:
            if "toolResult" in block:
                result = block["toolResult"]
                content = [part_back(one) for one in result["content"]]
                messages.append({"role": "tool", "tool_call_id": result["toolUseId"], "content": content})
            elif "toolUse" in block:
                use = block["toolUse"]
                function = {"name": use["name"], "arguments": json.dumps(use["input"])}
                call = {"id": use["toolUseId"], "type": "function", "function": function}
                message.setdefault("tool_calls", []).append(call)
            elif "reasoningContent" in block:
                message.setdefault("thinking_blocks", []).append(thought_back(block["reasoningContent"]))
            elif "cachePoint" in block:
                ttl = {"ttl": block["cachePoint"]["ttl"]} if "ttl" in block["cachePoint"] else {}
                message["content"][-1]["cache_control"] = {"type": "ephemeral", **ttl}
            else:
                message["content"].append(part_back(block))
        if len(message) > 2 or message["content"]:
            messages.append(message)
    return messages


def part_back(block: Any) -> Any:
    """Return a part for a block."""
    if "text" in block:
        return {"type": "text", "text": block["text"]}
    if "guardContent" in block:
        return {"type": "guarded_text", "text": block["guardContent"]["text"]["text"]}
    (kind, told), *_ = block.items()
    if kind == "image":
        return {
            "type": "image_url",
            "image_url": {"url": f"data:image/{told['format']};base64,{told['source']['bytes']}"},
        }
    url = f"data:{KINDS[told['format']]};base64,{told['source']['bytes']}"
    return {"type": "file", "file": {"file_data": url, "filename": told["name"]}}


def thought_back(block: Any) -> Any:
    """Return a thought for a block of reasoning."""
    if "redactedContent" in block:
        return {"type": "redacted_thinking", "data": block["redactedContent"]}
    said = block["reasoningText"]
    return {"type": "thinking", "thinking": said["text"], "signature": said["signature"]}


def there_and_back(*messages: Any) -> None:
    """Hold that messages come out again as they went in."""
    assert list(messages) == back(converse(request(messages=list(messages)))["messages"])


def model(data: st.DataObject) -> None:
    name, other = data.draw(words), data.draw(st.from_regex(r"[a-z.:]{1,9}", fullmatch=True))
    assert name == read(request(model=name)).model
    assert other == read(request(model=name), path=f"/openai/deployments/{other}/chat/completions").model
    assert "model" not in converse(request(model=name))


def system(data: st.DataObject) -> None:
    told = data.draw(st.lists(st.tuples(st.sampled_from(["system", "developer"]), words), min_size=1, max_size=3))
    asked = [{"role": role, "content": text} for role, text in told]
    user = {"role": "user", "content": "a"}
    sent = converse(request(messages=[asked[0], user, *asked[1:]]))
    assert [{"text": text} for _, text in told] == sent["system"]
    assert [{"role": "user", "content": [{"text": "a"}]}] == sent["messages"]


def text(data: st.DataObject) -> None:
    said = data.draw(st.lists(words, min_size=1, max_size=4))
    there_and_back({"role": "user", "content": [{"type": "text", "text": one} for one in said]})
    each = [{"role": "user", "content": one} for one in (*said, " ")]
    assert [{"role": "user", "content": [{"text": one} for one in said]}] == converse(request(messages=each))[
        "messages"
    ]


def image(data: st.DataObject) -> None:
    there_and_back({"role": "user", "content": data.draw(st.lists(images, min_size=1, max_size=3))})


def document(data: st.DataObject) -> None:
    there_and_back({"role": "user", "content": [data.draw(files), data.draw(texts)]})
    one = data.draw(files)
    sent = converse(request(messages=[{"role": "user", "content": [one, one, one]}]))["messages"][0]["content"]
    assert 3 == len({block["document"]["name"] for block in sent})


def guarded(data: st.DataObject) -> None:
    there_and_back({"role": "user", "content": [{"type": "guarded_text", "text": data.draw(words)}]})


def cache_point(data: st.DataObject) -> None:
    there_and_back({"role": "user", "content": data.draw(st.lists(parts, min_size=1, max_size=3))})
    tool = {"type": "function", "function": {"name": "a"}, "cache_control": data.draw(points)}
    assert "cachePoint" in converse(request(tools=[tool]))["toolConfig"]["tools"][1]


def thoughts_(data: st.DataObject) -> None:
    told = data.draw(st.lists(thoughts, min_size=1, max_size=3))
    user, text = {"role": "user", "content": [{"type": "text", "text": "a"}]}, [{"type": "text", "text": "b"}]
    there_and_back(user, {"role": "assistant", "content": text, "thinking_blocks": told})
    pieces = [{"type": "thinking", "thinking": piece} for one in told if "thinking" in one for piece in one["thinking"]]
    signed = {"type": "thinking", "thinking": "", "signature": "c2ln"}
    alone = converse(request(messages=[user, {"role": "assistant", "thinking_blocks": [*pieces, signed]}]))
    (block,) = alone["messages"][1]["content"]
    put_together = "".join(piece["thinking"] for piece in pieces)
    assert {"text": put_together, "signature": "c2ln"} == block["reasoningContent"]["reasoningText"]


def tool_calls(data: st.DataObject) -> None:
    told = data.draw(st.lists(calls, min_size=1, max_size=3))
    user = {"role": "user", "content": [{"type": "text", "text": "a"}]}
    there_and_back(user, {"role": "assistant", "content": [], "tool_calls": told})
    older = {"role": "assistant", "function_call": told[0]["function"] | {"name": "old"}}
    sent = converse(request(messages=[user, older, {"role": "function", "name": "old", "content": "b"}]))["messages"]
    assert ["old", "old"] == [
        sent[1]["content"][0]["toolUse"]["toolUseId"],
        sent[2]["content"][0]["toolResult"]["toolUseId"],
    ]


def tool_results(data: st.DataObject) -> None:
    content = st.lists(texts | images, min_size=1, max_size=3)
    told = data.draw(st.lists(st.tuples(calls, content), min_size=1, max_size=3))
    user = {"role": "user", "content": [{"type": "text", "text": "a"}]}
    asked = [
        *(user, {"role": "assistant", "content": [], "tool_calls": [call for call, _ in told]}),
        *({"role": "tool", "tool_call_id": call["id"], "content": parts} for call, parts in told),
    ]
    there_and_back(*asked)
    assert ["user", "assistant", "user"] == [turn["role"] for turn in converse(request(messages=asked))["messages"]]


def name(data: st.DataObject) -> None:
    message = {"role": "user", "content": "a"}
    named = message | {"name": data.draw(names)}
    assert converse(request(messages=[message])) == converse(request(messages=[named]))


def tools(data: st.DataObject) -> None:
    told, sent = SHARED.declared(data)
    for of in (NOVA, GPT, LLAMA, ADAPTIVE):
        asked = request(tools=[{"type": "function", "function": one} for one in told])
        assert sent == converse(asked, model=of)["toolConfig"]["tools"]
    used = {"role": "assistant", "tool_calls": [data.draw(calls)]}
    history = [{"role": "user", "content": "a"}, used]
    (declared,) = converse(request(messages=history))["toolConfig"]["tools"]
    assert used["tool_calls"][0]["function"]["name"] == declared["toolSpec"]["name"]


def tool_choice(data: st.DataObject) -> None:
    tool = SHARED.chosen(data)
    used = [{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": [data.draw(calls)]}]
    SHARED.none_chosen(request(messages=used, tools=[tool], tool_choice="none"))
    assert "toolChoice" not in converse(request(messages=used, tool_choice="none"), drop_params=True)["toolConfig"]


def response_format(data: st.DataObject) -> None:
    wanted = SHARED.forced(
        data,
        "response_format",
        lambda schema: {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}},
        {"reasoning_effort": "low"},
    )
    tool = {"type": "function", "function": {"name": "look"}}
    json_tool = {"tool": {"name": "json_tool_call"}}
    for model_id, choice in ((LLAMA, None), (COHERE, None), (MISTRAL, {"any": {}}), (NOVA, json_tool)):
        assert choice == converse(request(response_format=wanted), model=model_id)["toolConfig"].get("toolChoice")
        # Whom the caller has to be called is for AWS to refuse.
        named = request(tools=[tool], tool_choice=tool, response_format=wanted)
        assert {"tool": {"name": "look"}} == converse(named, model=model_id)["toolConfig"]["toolChoice"]
    assert "toolConfig" not in converse(request(response_format={"type": "text"}))
    assert json_tool == converse(request(response_format={"type": "json_object"}))["toolConfig"]["toolChoice"]
    given_ = data.draw(st.dictionaries(st.text(max_size=5), values, max_size=3))
    use = {"toolUse": {"toolUseId": "1", "name": "json_tool_call", "input": given_}}
    told = whole(answer([use], stopReason="tool_use"), request(response_format=wanted))["choices"][0]
    assert (given_, "stop") == (json.loads(told["message"]["content"]), told["finish_reason"])


def held(data: st.DataObject) -> None:
    told = data.draw(st.dictionaries(names, st.sampled_from(["string", "integer", "boolean", "null"]), max_size=5))
    properties = {member: {"type": kind} for member, kind in told.items()}
    schema = {"type": "object", "properties": properties, "required": [*told], "additionalProperties": False}
    form = {"name": data.draw(names), "strict": True, "schema": schema}
    asked = request(response_format={"type": "json_schema", "json_schema": form})
    sent = converse(asked, model=SONNET)
    native = sent["outputConfig"]["textFormat"]["structure"]["jsonSchema"]
    assert (schema, form["name"]) == (json.loads(native["schema"]), native["name"])
    assert "toolConfig" not in sent
    tool = {"type": "function", "function": {"name": "look"}}
    for other, of in ((asked, LLAMA), (asked | {"tools": [tool]}, SONNET)):
        tools = converse(other, model=of)["toolConfig"]["tools"]
        assert schema == tools[-1]["toolSpec"]["inputSchema"]["json"]
    open_ = form | {"schema": schema | {"additionalProperties": True}}
    asked = request(response_format={"type": "json_schema", "json_schema": open_})
    assert "toolConfig" in converse(asked, model=SONNET)


def max_tokens(data: st.DataObject) -> None:
    one, other = data.draw(st.integers(1, 10**6)), data.draw(st.integers(1, 10**6))
    assert one == converse(request(max_tokens=one))["inferenceConfig"]["maxTokens"]
    both = converse(request(max_tokens=one, max_completion_tokens=other))
    assert other == both["inferenceConfig"]["maxTokens"]


def sampling(data: st.DataObject) -> None:
    SHARED.sampled(data)


def stop(data: st.DataObject) -> None:
    told = data.draw(st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=4))
    assert told == converse(request(stop=[*told, ""]))["inferenceConfig"]["stopSequences"]
    assert [told[0]] == converse(request(stop=told[0]))["inferenceConfig"]["stopSequences"]


def top_k(data: st.DataObject) -> None:
    asked = request(top_k=(most := data.draw(st.integers(0, 500))))
    for of, wanted in ((CLAUDE, {"top_k": most}), (NOVA, {"inferenceConfig": {"topK": most}}), (COHERE, {"k": most})):
        assert wanted == converse(asked, model=of)["additionalModelRequestFields"]


def reasoning_effort(data: st.DataObject) -> None:
    effort = data.draw(st.sampled_from(["minimal", "low", "medium", "high", "xhigh", "max"]))
    most = data.draw(st.none() | st.integers(1, 20_000))
    asked = request(reasoning_effort=effort, temperature=0.3) | ({} if most is None else {"max_tokens": most})
    sent = converse(asked)
    if most is not None and most <= 1024:
        assert "additionalModelRequestFields" not in sent
    else:
        budget = sent["additionalModelRequestFields"]["thinking"]["budget_tokens"]
        assert 1024 <= budget < sent["inferenceConfig"]["maxTokens"]
        assert "temperature" not in sent["inferenceConfig"]
    assert most in (None, sent["inferenceConfig"].get("maxTokens"))
    adaptive = converse(asked, model=ADAPTIVE)
    level = "low" if effort == "minimal" else effort
    fields = {"thinking": {"type": "adaptive", "display": "summarized"}, "output_config": {"effort": level}}
    assert fields == adaptive["additionalModelRequestFields"]
    nova = converse(asked, model=NOVA_2)["additionalModelRequestFields"]["reasoningConfig"]["maxReasoningEffort"]
    common = {"minimal": "low", "xhigh": "high", "max": "high"}.get(effort, effort)
    assert (common if most is None or common != "high" else "medium") == nova
    assert common == converse(asked, model=GPT)["additionalModelRequestFields"]["reasoning_effort"]
    with pytest.raises(InvalidRequest):
        read(asked, model=LLAMA)
    assert "additionalModelRequestFields" not in converse(asked, model=LLAMA, drop_params=True)


def thinking(data: st.DataObject) -> None:
    budget, most = data.draw(st.integers(1024, 30_000)), data.draw(st.none() | st.integers(1, 40_000))
    told = {"type": "enabled", "budget_tokens": budget}
    sent = converse(request(thinking=told) | ({} if most is None else {"max_tokens": most}))
    assert told == sent["additionalModelRequestFields"]["thinking"]
    assert budget < sent["inferenceConfig"]["maxTokens"]
    assert most is None or most <= budget or most == sent["inferenceConfig"]["maxTokens"]


def stream(data: st.DataObject) -> None:
    streamed = data.draw(st.booleans())
    told = read(request(stream=streamed))
    assert ("ConverseStream" if streamed else "Converse") == told.operation
    usage = data.draw(st.booleans())
    relay = read(request(stream=True, stream_options={"include_usage": usage})).relay(CLAUDE, call_id="1", now=NOW)
    out = summed(relay.receive_data(b"".join(events_of(answer([{"text": "a"}])))) + relay.receive_eof())
    assert (True, usage) == (out["done"], out["usage"] is not None)


def n(data: st.DataObject) -> None:
    count = data.draw(st.integers(2, 128))
    divided = read_divided(asked := request(n=count, user="ann", metadata={"tags": ["a"]}))
    assert count == len(divided.parts)
    assert {read(asked | {"n": 1})} == {*divided.parts}
    wrong: list[Any] = [0, -1, 129, 1.5, "2", True, [2]]
    for told in (*wrong, *((count,) if (streamed := data.draw(st.booleans())) else ())):
        with pytest.raises(InvalidRequest) as caught:
            read(request(n=told, stream=streamed))
        assert "n" == caught.value.param
    assert "ConverseStream" == read(request(n=count, stream=True), drop_params=True).operation


def user(data: st.DataObject) -> None:
    who = data.draw(words)
    for member in ("user", "safety_identifier"):
        assert who == read(request(**{member: who})).end_user
        assert {"messages"} == converse(request(**{member: who})).keys()


def tags(data: st.DataObject) -> None:
    told = data.draw(st.lists(words, max_size=3))
    asked = request(metadata={"tags": told, "other": "a"}, litellm_session_id="a", litellm_trace_id="b")
    assert tuple(told) == read(asked).tags
    assert {"messages"} == converse(asked).keys()


def unsupported(data: st.DataObject) -> None:
    idle = {"logprobs": False, "presence_penalty": 0, "store": False, "modalities": ["text"], "seed": None}
    SHARED.refused(data, UNSUPPORTED, idle)


def content(data: st.DataObject) -> None:
    said = data.draw(st.lists(st.text(max_size=9), max_size=3))
    blocks = [{"text": one} for one in said]
    blocks = [{"citationsContent": {"content": [one]}} if data.draw(st.booleans()) else one for one in blocks]
    assert ("".join(said) if said else None) == whole(answer(blocks))["choices"][0]["message"]["content"]


def calls_(data: st.DataObject) -> None:
    told = data.draw(st.lists(calls, min_size=1, max_size=3))
    blocks = [
        {
            "toolUse": {
                "toolUseId": one["id"],
                "name": one["function"]["name"],
                "input": json.loads(one["function"]["arguments"]),
            }
        }
        for one in told
    ]
    server = {"toolUse": {"toolUseId": "1", "name": "a", "input": {}, "type": "server_tool_use"}}
    found = whole(answer([*blocks, server], stopReason="tool_use"))["choices"][0]["message"]["tool_calls"]
    for one in (*told, *found):
        one["function"]["arguments"] = json.loads(one["function"]["arguments"])
    assert told == found


def reasoning(data: st.DataObject) -> None:
    told = data.draw(st.lists(thoughts, min_size=1, max_size=3))
    asked = request(messages=[{"role": "user", "content": "a"}, {"role": "assistant", "thinking_blocks": told}])
    message = whole(answer(converse(asked)["messages"][1]["content"]))["choices"][0]["message"]
    assert told == message["thinking_blocks"]
    assert "".join(one.get("thinking", "") for one in told) == message["reasoning_content"]


def other_blocks(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["image", "audio", "video", "searchResult", "document", "toolResult", "new"]))
    told = whole(answer([{kind: data.draw(schemas)}, {"text": "a"}]))
    assert "a" == told["choices"][0]["message"]["content"]


def finish_reason(data: st.DataObject) -> None:
    wanted = {
        **dict.fromkeys(("end_turn", "stop_sequence", "malformed_model_output", "malformed_tool_use"), "stop"),
        **dict.fromkeys(("max_tokens", "model_context_window_exceeded"), "length"),
        **dict.fromkeys(("guardrail_intervened", "content_filtered"), "content_filter"),
    }
    reason = data.draw(st.sampled_from(sorted(wanted)))
    assert wanted[reason] == whole(answer([{"text": "a"}], stopReason=reason))["choices"][0]["finish_reason"]
    use = {"toolUse": {"toolUseId": "1", "name": "a", "input": {}}}
    assert "tool_calls" == whole(answer([use], stopReason="tool_use"))["choices"][0]["finish_reason"]


def usage(data: st.DataObject) -> None:
    given_, said, got, put = (data.draw(st.integers(0, 10**6)) for _ in "abcd")
    told = {"inputTokens": given_, "outputTokens": said, "cacheReadInputTokens": got, "cacheWriteInputTokens": put}
    found = whole(answer([], usage=told))["usage"]
    assert (given_ + got + put, said) == (found["prompt_tokens"], found["completion_tokens"])
    assert (got, put) == (
        found["prompt_tokens_details"]["cached_tokens"],
        found["prompt_tokens_details"].get("cache_creation_tokens", 0),
    )
    fields = {"usage": {"output_tokens_details": {"thinking_tokens": said}}}
    details = whole(answer([], additionalModelResponseFields=fields))["usage"]["completion_tokens_details"]
    assert said == details["reasoning_tokens"]


def besides(data: st.DataObject) -> None:
    trace, fields = data.draw(schemas), data.draw(schemas)
    told = whole(answer([], trace=trace, additionalModelResponseFields=fields, serviceTier={"type": "flex"}))
    assert (trace, fields, "flex") == (told["trace"], told["additionalModelResponseFields"], told["service_tier"])


def choices(data: st.DataObject) -> None:
    given_ = data.draw(st.lists(st.tuples(words, st.integers(0, 9), schemas), min_size=2, max_size=4))
    divided = read_divided(request(n=len(given_)))
    told = []
    for part, (said, tokens, trace) in zip(divided.parts, given_, strict=True):
        relay = part.relay(CLAUDE, call_id="1", now=NOW)
        of_part = {"inputTokens": 5, "outputTokens": tokens, "cacheWriteInputTokens": tokens}
        relay.receive_data(json.dumps(answer([{"text": said}], usage=of_part, trace=trace)).encode())
        told.append(relay.receive_eof())
    joined = json.loads(divided.joined(told))
    each = [(one["index"], one["message"]["content"], one["trace"]) for one in joined["choices"]]
    assert [(at, said, trace) for at, (said, _, trace) in enumerate(given_)] == each
    assert "trace" not in joined
    spoken, usage = sum(tokens for _, tokens, _ in given_), joined["usage"]
    assert (5 * len(given_) + spoken, spoken) == (usage["prompt_tokens"], usage["completion_tokens"])
    assert 5 * len(given_) + 2 * spoken == usage["total_tokens"]
    assert spoken == usage["prompt_tokens_details"].get("cache_creation_tokens", 0)


def exception(data: st.DataObject) -> None:
    kinds = ["internalServerException", "modelStreamErrorException", "validationException", "throttlingException"]
    kind, said = data.draw(st.sampled_from(kinds)), data.draw(words)
    relay = read(request(stream=True)).relay(CLAUDE, call_id="1", now=NOW)
    out = summed(relay.receive_data(encode_exception(kind, said)) + relay.receive_eof())
    assert (said, False) == (out["error"]["message"], out["done"])


CHECKS: dict[str, Callable[[st.DataObject], None]] = {
    check.__name__.rstrip("_"): check
    for check in (
        *(model, system, text, image, document, guarded, cache_point, thoughts_, tool_calls, tool_results, name, tools),
        *(
            tool_choice,
            SHARED.one_tool,
            response_format,
            held,
            max_tokens,
            sampling,
            stop,
            top_k,
            reasoning_effort,
            thinking,
            stream,
        ),
        *(
            n,
            SHARED.service_tier,
            SHARED.as_they_are,
            SHARED.others,
            user,
            tags,
            unsupported,
            SHARED.guardrails,
            content,
            calls_,
            reasoning,
        ),
        *(other_blocks, finish_reason, usage, besides, choices, exception),
    )
}


def test_every_row_has_its_check() -> None:
    """The table names every check, and nothing else."""
    assert list(CHECKS) == rows(SECTION)


@pytest.mark.parametrize("row", rows(SECTION))
@settings(max_examples=25)
@given(data=st.data())
def test_row(row: str, data: st.DataObject) -> None:
    """What a row says of its field is so, whatever is in it."""
    CHECKS[row](data)
