"""docs/dialects.md, row by row of Responses: each names a check here, which is given endless inputs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from chatting import CLAUDE, NOW, answered
from dialect_tables import data_bytes, ids, names, points, rows, schemas, values, words
from hypothesis import given, settings
from hypothesis import strategies as st
from openai_checks import ADAPTIVE, COHERE, GPT, KINDS, LLAMA, NOVA, NOVA_2, PROXYS, Shared
from responding import converse, events, read, request, streamed, whole

from bedrock_gateway.errors import InvalidRequest
from bedrock_gateway.wire.eventstream import encode_exception

SECTION = "Responses ↔ Converse"
SHARED = Shared(read=read, converse=converse, request=request, tool=lambda function: {"type": "function", **function})
#: What Bedrock has no place for, with a value that asks for something.
UNSUPPORTED: dict[str, Any] = {
    **{"background": True, "background_options": {"prewarm": True}, "context_management": [{"type": "compaction"}]},
    **{"max_tool_calls": 2, "moderation": {"model": "a"}, "top_logprobs": 3, "truncation": "auto"},
    **PROXYS,
}
USER = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}]}

texts = st.builds(lambda text: {"type": "input_text", "text": text}, words)
images = st.builds(
    lambda kind, data: {"type": "input_image", "image_url": f"data:image/{kind};base64,{data}"},
    st.sampled_from(["png", "jpeg", "gif", "webp"]),
    data_bytes,
)
files = st.builds(
    lambda kind, data, name: {"type": "input_file", "file_data": f"data:{kind};base64,{data}", "filename": name},
    st.sampled_from(sorted(KINDS.values())),
    data_bytes,
    st.from_regex(r"[a-z]{1,8}", fullmatch=True),
)
thoughts = st.one_of(
    st.builds(lambda text, signature: {"reasoningText": {"text": text, "signature": signature}}, st.text(), data_bytes),
    st.builds(lambda data: {"redactedContent": data}, data_bytes),
)
calls = st.builds(
    lambda id_, name, given: {"type": "function_call", "call_id": id_, "name": name, "arguments": json.dumps(given)},
    ids,
    names,
    st.dictionaries(st.text(max_size=5), values, max_size=3),
)


def back(turns: list[Any]) -> list[Any]:
    """Return messages of Converse as items, every content as parts."""
    found: list[Any] = []
    for turn in turns:
        for block in turn["content"]:
            if "toolResult" in block:
                result = block["toolResult"]
                output = [part_back(one) for one in result["content"]]
                found.append({"type": "function_call_output", "call_id": result["toolUseId"], "output": output})
            elif "toolUse" in block:
                use = block["toolUse"]
                call = {"call_id": use["toolUseId"], "name": use["name"], "arguments": json.dumps(use["input"])}
                found.append({"type": "function_call", **call})
            elif "cachePoint" in block:
                ttl = {"ttl": block["cachePoint"]["ttl"]} if "ttl" in block["cachePoint"] else {}
                found[-1]["content"][-1]["cache_control"] = {"type": "ephemeral", **ttl}
            elif found and found[-1].get("role") == turn["role"]:
                found[-1]["content"].append(part_back(block))
            else:
                found.append({"type": "message", "role": turn["role"], "content": [part_back(block)]})
    return found


def part_back(block: Any) -> Any:
    """Return a part for a block."""
    if "text" in block:
        return {"type": "input_text", "text": block["text"]}
    if "guardContent" in block:
        return {"type": "guarded_text", "text": block["guardContent"]["text"]["text"]}
    (kind, told), *_ = block.items()
    if kind == "image":
        return {"type": "input_image", "image_url": f"data:image/{told['format']};base64,{told['source']['bytes']}"}
    url = f"data:{KINDS[told['format']]};base64,{told['source']['bytes']}"
    return {"type": "input_file", "file_data": url, "filename": told["name"]}


def there_and_back(*items: Any) -> None:
    """Hold that items come out again as they went in."""
    assert list(items) == back(converse(request(input=list(items)))["messages"])


def says(*parts: Any) -> dict[str, Any]:
    """Return a message of a user."""
    return {"type": "message", "role": "user", "content": list(parts)}


def told_both_ways(answer: dict[str, Any], **members: Any) -> Any:
    """Return the response for an answer, which the end of its stream says as well."""
    told, (*_, last) = whole(answer, request(**members)), streamed(answer, request(**members))
    assert (told, f"response.{told['status']}") == (last["response"], last["type"])
    return told


def model(data: st.DataObject) -> None:
    name = data.draw(words)
    assert name == read(request(model=name)).model
    assert name == whole(answered([]), request(model=name))["model"]
    assert "model" not in converse(request(model=name))


def instructions(data: st.DataObject) -> None:
    first, told = data.draw(words), data.draw(st.lists(st.tuples(st.sampled_from(["system", "developer"]), words)))
    items = [USER, *({"role": role, "content": text} for role, text in told)]
    sent = converse(request(instructions=first, input=items))
    assert [{"text": text} for text in (first, *(text for _, text in told))] == sent["system"]
    assert [{"role": "user", "content": [{"text": "a"}]}] == sent["messages"]
    with pytest.raises(InvalidRequest):
        read(request(input=[USER, {"role": "system", "content": [data.draw(images)]}]))


def text(data: st.DataObject) -> None:
    said = data.draw(st.lists(words, min_size=1, max_size=4))
    there_and_back(says(*({"type": "input_text", "text": one} for one in said)))
    blocks = [{"role": "user", "content": [{"text": one} for one in said]}]
    assert blocks == converse(request(input=[{"role": "user", "content": one} for one in (*said, " ")]))["messages"]
    assert [{"role": "user", "content": [{"text": said[0]}]}] == converse(request(input=said[0]))["messages"]
    parts = [{"type": "output_text", "text": said[0], "annotations": []}, {"type": "refusal", "refusal": said[-1]}]
    sent = converse(request(input=[USER, {"type": "message", "role": "assistant", "content": parts}]))["messages"][1]
    assert {"role": "assistant", "content": [{"text": said[0]}, {"text": said[-1]}]} == sent


def image(data: st.DataObject) -> None:
    there_and_back(says(*data.draw(st.lists(images, min_size=1, max_size=3))))
    with pytest.raises(InvalidRequest):
        read(request(input=[says({"type": "input_image", "file_id": data.draw(ids)})]))


def document(data: st.DataObject) -> None:
    there_and_back(says(data.draw(files), data.draw(texts)))
    one = data.draw(files)
    sent = converse(request(input=[says(one, one, one)]))["messages"][0]["content"]
    assert 3 == len({block["document"]["name"] for block in sent})


def guarded(data: st.DataObject) -> None:
    there_and_back(says({"type": "guarded_text", "text": data.draw(words)}))


def cache_point(data: st.DataObject) -> None:
    parts = st.one_of(texts, images, st.builds(lambda part, point: part | {"cache_control": point}, texts, points))
    there_and_back(says(*data.draw(st.lists(parts, min_size=1, max_size=3))))
    point = {"cache_control": data.draw(points)}
    sent = converse(request(input=[USER | point], tools=[{"type": "function", "name": "a"} | point]))
    assert "cachePoint" in sent["messages"][0]["content"][1]
    assert "cachePoint" in sent["toolConfig"]["tools"][1]


def thoughts_(data: st.DataObject) -> None:
    told = [{"reasoningContent": one} for one in data.draw(st.lists(thoughts, min_size=1, max_size=3))]
    output = told_both_ways(answered(told))["output"]
    assert told == converse(request(input=[USER, *output, USER]))["messages"][1]["content"]
    other = {"type": "reasoning", "summary": [], "encrypted_content": data.draw(words)}
    for item in (other, other | {"encrypted_content": None, "content": [{"type": "reasoning_text", "text": "a"}]}):
        assert 1 == len(converse(request(input=[USER, item]))["messages"])


def tool_calls(data: st.DataObject) -> None:
    there_and_back(USER, *data.draw(st.lists(calls, min_size=1, max_size=3)))


def tool_results(data: st.DataObject) -> None:
    content = st.lists(texts | images, min_size=1, max_size=3)
    told = data.draw(st.lists(st.tuples(calls, content), min_size=1, max_size=3))
    outputs = [{"type": "function_call_output", "call_id": call["call_id"], "output": out} for call, out in told]
    items = [USER, *(call for call, _ in told), *outputs]
    there_and_back(*items)
    assert ["user", "assistant", "user"] == [turn["role"] for turn in converse(request(input=items))["messages"]]
    plain = converse(request(input=[*items[:-1], outputs[-1] | {"output": (said := data.draw(words))}]))["messages"]
    assert [{"text": said}] == plain[2]["content"][-1]["toolResult"]["content"]


def other_items(data: st.DataObject) -> None:
    kinds = ["item_reference", "web_search_call", "computer_call", "custom_tool_call", "local_shell_call", "compaction"]
    with pytest.raises(InvalidRequest) as caught:
        read(request(input=[USER, {"type": data.draw(st.sampled_from(kinds)), "id": "a"}]), drop_params=True)
    assert "input[1].type" == caught.value.param


def tools(data: st.DataObject) -> None:
    SHARED.declared(data)
    used = data.draw(calls)
    (declared,) = converse(request(input=[USER, used]))["toolConfig"]["tools"]
    assert used["name"] == declared["toolSpec"]["name"]


def other_tools(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["web_search", "file_search", "mcp", "custom", "code_interpreter", "local_shell"]))
    asked = request(tools=[{"type": "function", "name": "a"}, {"type": kind}], tool_choice={"type": kind})
    with pytest.raises(InvalidRequest) as caught:
        read(asked)
    assert "tools[1].type" == caught.value.param
    config = converse(asked, drop_params=True)["toolConfig"]
    assert (["a"], {"tools"}) == ([tool["toolSpec"]["name"] for tool in config["tools"]], config.keys())


def tool_choice(data: st.DataObject) -> None:
    tool = SHARED.chosen(data)
    with pytest.raises(InvalidRequest):
        read(request(tools=[tool], tool_choice={"type": "function", "name": f"{tool['name']}-"[-64:] + "_"}))
    SHARED.none_chosen(request(input=[USER, data.draw(calls)], tools=[tool], tool_choice="none"))


def in_json(data: st.DataObject) -> None:
    wanted = SHARED.forced(
        data,
        "text",
        lambda schema: {"format": {"type": "json_schema", "name": "a", "schema": schema}},
        {"reasoning": {"effort": "low"}},
    )
    json_tool = {"tool": {"name": "json_tool_call"}}
    assert "toolConfig" not in converse(request(text={"format": {"type": "text"}, "verbosity": "low"}))
    assert json_tool == converse(request(text={"format": {"type": "json_object"}}))["toolConfig"]["toolChoice"]
    closed = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
    strict = {"format": {"type": "json_schema", "name": "a", "schema": closed, "strict": True}}
    held = converse(request(text=strict), model="anthropic.claude-sonnet-4-5-20250929-v1:0")
    assert closed == json.loads(held["outputConfig"]["textFormat"]["structure"]["jsonSchema"]["schema"])
    assert "toolConfig" not in held and "toolConfig" in converse(request(text=strict))
    use, given_ = {"toolUseId": "1", "name": "json_tool_call"}, data.draw(schemas)
    blocks = [{"text": "Here: "}, {"toolUse": use | {"input": given_}}, {"toolUse": use | {"input": {"second": 1}}}]
    (message,) = told_both_ways(answered(blocks, stopReason="tool_use"), text=wanted)["output"]
    assert ("message", given_) == (message["type"], json.loads(message["content"][0]["text"]))
    (message,) = told_both_ways(answered([{"text": (said := data.draw(words))}]), text=wanted)["output"]
    assert said == message["content"][0]["text"]


def max_tokens(data: st.DataObject) -> None:
    most = data.draw(st.integers(1, 10**6))
    assert {"maxTokens": most} == converse(request(max_output_tokens=most))["inferenceConfig"]


def sampling(data: st.DataObject) -> None:
    hot = SHARED.sampled(data)
    assert 1 == converse(hot | {"drop_params": True})["inferenceConfig"]["temperature"]


def beyond(data: st.DataObject) -> None:
    stops = data.draw(st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=4))
    assert stops == converse(request(stop=[*stops, ""]))["inferenceConfig"]["stopSequences"]
    asked = request(top_k=(most := data.draw(st.integers(0, 500))))
    for of, wanted in ((CLAUDE, {"top_k": most}), (NOVA, {"inferenceConfig": {"topK": most}}), (COHERE, {"k": most})):
        assert wanted == converse(asked, model=of)["additionalModelRequestFields"]
    budget, longest = data.draw(st.integers(1024, 30_000)), data.draw(st.integers(1, 40_000))
    told = {"type": "enabled", "budget_tokens": budget}
    sent = converse(request(thinking=told, max_output_tokens=longest))
    assert told == sent["additionalModelRequestFields"]["thinking"]
    assert budget < sent["inferenceConfig"]["maxTokens"]


def effort(data: st.DataObject) -> None:
    told = data.draw(st.sampled_from(["minimal", "low", "medium", "high", "xhigh", "max"]))
    most = data.draw(st.integers(1025, 20_000))
    asked = request(reasoning={"effort": told, "summary": "auto"}, temperature=0.3, max_output_tokens=most)
    sent = converse(asked)
    assert 1024 <= sent["additionalModelRequestFields"]["thinking"]["budget_tokens"] < most
    assert {"maxTokens": most} == sent["inferenceConfig"]
    fields = converse(asked, model=ADAPTIVE)["additionalModelRequestFields"]
    assert ("adaptive", "low" if told == "minimal" else told) == (
        fields["thinking"]["type"],
        fields["output_config"]["effort"],
    )
    common = {"minimal": "low", "xhigh": "high", "max": "high"}.get(told, told)
    nova = converse(asked, model=NOVA_2)["additionalModelRequestFields"]["reasoningConfig"]["maxReasoningEffort"]
    assert ("medium" if common == "high" else common) == nova
    assert common == converse(asked, model=GPT)["additionalModelRequestFields"]["reasoning_effort"]
    with pytest.raises(InvalidRequest) as caught:
        read(asked, model=LLAMA)
    assert "reasoning.effort" == caught.value.param
    assert "additionalModelRequestFields" not in converse(asked, model=LLAMA, drop_params=True)


def stream(data: st.DataObject) -> None:
    streamed_ = data.draw(st.booleans())
    asked = request(stream=streamed_, stream_options={"include_obfuscation": data.draw(st.booleans())})
    assert ("ConverseStream" if streamed_ else "Converse") == read(asked).operation
    assert {"messages"} == converse(asked).keys()


def labels(data: st.DataObject) -> None:
    who, tags = data.draw(words), data.draw(st.lists(words, max_size=3))
    for member in ("user", "safety_identifier"):
        asked = request(**{member: who}, metadata={"tags": tags, "other": "a"})
        assert (who, tuple(tags)) == (read(asked).end_user, read(asked).tags)
        assert {"messages"} == converse(asked).keys()


def nothing(data: st.DataObject) -> None:
    told = {
        **{"store": data.draw(st.booleans()), "include": ["reasoning.encrypted_content"], "prompt_cache_key": "a"},
        **{
            "prompt_cache_retention": "24h",
            "prompt_cache_options": {"mode": "implicit"},
            "client_metadata": {"a": "b"},
        },
    }
    assert {"messages"} == converse(request(**told)).keys()


def elsewhere(data: st.DataObject) -> None:
    member = data.draw(st.sampled_from(["previous_response_id", "conversation", "prompt"]))
    with pytest.raises(InvalidRequest) as caught:
        read(request(**{member: data.draw(words)}), drop_params=True)
    assert member == caught.value.param


def unsupported(data: st.DataObject) -> None:
    SHARED.refused(data, UNSUPPORTED, {"background": False, "truncation": "disabled", "top_logprobs": 0})


def defaults(data: st.DataObject) -> None:
    most, told = data.draw(st.integers(1, 10**5)), data.draw(st.integers(1, 10**5))
    own = {"max_tokens": most, "temperature": 0.5}
    assert {"maxTokens": most, "temperature": 0.5} == converse(request(), defaults=own)["inferenceConfig"]
    sent = converse(request(max_output_tokens=told, temperature=0), defaults=own)["inferenceConfig"]
    assert {"maxTokens": told, "temperature": 0} == sent


def message(data: st.DataObject) -> None:
    said = data.draw(st.lists(st.text(max_size=9), max_size=3))
    blocks: list[Any] = [{"text": one} for one in said]
    blocks = [
        {"citationsContent": {"content": [one], "citations": []}} if data.draw(st.booleans()) else one for one in blocks
    ]
    output = told_both_ways(answered(blocks))["output"]
    assert ["".join(said)] * any(said) == [one["text"] for item in output for one in item["content"]]


def calls_(data: st.DataObject) -> None:
    told = data.draw(st.lists(calls, min_size=1, max_size=3))
    uses = [{"toolUseId": one["call_id"], "name": one["name"], "input": json.loads(one["arguments"])} for one in told]
    server = {"toolUse": {"toolUseId": "1", "name": "a", "input": {"b": 1}, "type": "server_tool_use"}}
    blocks = [*({"toolUse": use} for use in uses), server]
    output = told_both_ways(answered(blocks, stopReason="tool_use"))["output"]
    found = [
        {"toolUseId": one["call_id"], "name": one["name"], "input": json.loads(one["arguments"])} for one in output
    ]
    assert uses == found


def reasoning(data: st.DataObject) -> None:
    told = data.draw(thoughts)
    (item,) = told_both_ways(answered([{"reasoningContent": told}]))["output"]
    said = told.get("reasoningText", {}).get("text", "")
    assert ("reasoning", [], said) == (item["type"], item["summary"], "".join(one["text"] for one in item["content"]))


def other_blocks(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["image", "audio", "video", "searchResult", "document", "toolResult", "new"]))
    (item,) = told_both_ways(answered([{kind: data.draw(schemas)}, {"text": "a"}]))["output"]
    assert "a" == item["content"][0]["text"]


def status(data: st.DataObject) -> None:
    wanted = {
        **dict.fromkeys(("end_turn", "stop_sequence", "tool_use", "malformed_model_output", "malformed_tool_use")),
        **dict.fromkeys(("max_tokens", "model_context_window_exceeded"), "max_output_tokens"),
        **dict.fromkeys(("guardrail_intervened", "content_filtered"), "content_filter"),
    }
    reason = data.draw(st.sampled_from(sorted(wanted)))
    told = told_both_ways(answered([{"text": "a"}], stopReason=reason))
    why = wanted[reason] and {"reason": wanted[reason]}
    state = "incomplete" if why else "completed"
    assert (state, why, state) == (told["status"], told["incomplete_details"], told["output"][0]["status"])


def usage(data: st.DataObject) -> None:
    given_, said, got, put = (data.draw(st.integers(0, 10**6)) for _ in "abcd")
    told = {"inputTokens": given_, "outputTokens": said, "cacheReadInputTokens": got, "cacheWriteInputTokens": put}
    fields = {"usage": {"output_tokens_details": {"thinking_tokens": said // 2}}}
    found = told_both_ways(answered([], usage=told, additionalModelResponseFields=fields))["usage"]
    assert (given_ + got + put, said) == (found["input_tokens"], found["output_tokens"])
    assert {"cached_tokens": got, "cache_write_tokens": put} == found["input_tokens_details"]
    assert ({"reasoning_tokens": said // 2}, given_ + got + put + said) == (
        found["output_tokens_details"],
        found["total_tokens"],
    )


def besides(data: st.DataObject) -> None:
    trace, fields = data.draw(schemas), data.draw(schemas)
    answer = answered([], trace=trace, additionalModelResponseFields=fields, serviceTier={"type": "flex"})
    told = told_both_ways(answer)
    assert (trace, fields, "flex") == (told["trace"], told["additionalModelResponseFields"], told["service_tier"])


def echo(data: st.DataObject) -> None:
    told = {"instructions": data.draw(words), "temperature": 0.5, "metadata": {"a": "b"}, "max_output_tokens": 9}
    again = told_both_ways(answered([]), **told)
    assert told == {member: again[member] for member in told}
    assert ("auto", [], True) == (again["tool_choice"], again["tools"], again["parallel_tool_calls"])


def events_(data: st.DataObject) -> None:
    use = {"toolUse": {"toolUseId": "1", "name": "a", "input": data.draw(schemas)}}
    one = st.one_of(
        st.builds(lambda text: {"text": text}, words),
        st.just(use),
        st.builds(lambda t: {"reasoningContent": t}, thoughts),
    )
    told = streamed(answered(data.draw(st.lists(one, max_size=4))))
    assert ["response.created", "response.in_progress"] == [event["type"] for event in told[:2]]
    assert list(range(len(told))) == [event["sequence_number"] for event in told]
    for at, item in enumerate(told[-1]["response"]["output"]):
        mine = [event for event in told if event.get("output_index") == at]
        assert ("response.output_item.added", "response.output_item.done") == (mine[0]["type"], mine[-1]["type"])
        said = "".join(event["delta"] for event in mine if event["type"].endswith(".delta"))
        whole_ = item["arguments"] if "arguments" in item else "".join(part["text"] for part in item["content"])
        assert said == whole_ or (said, whole_) == ("", "{}")
        assert item == mine[-1]["item"]


def exception(data: st.DataObject) -> None:
    kinds = ["internalServerException", "modelStreamErrorException", "validationException", "throttlingException"]
    kind, said = data.draw(st.sampled_from(kinds)), data.draw(words)
    relay = read(request(stream=True)).relay(CLAUDE, call_id="1", now=NOW)
    (event,) = events(relay.receive_data(encode_exception(kind, said)) + relay.receive_eof())
    assert ("error", said, said) == (event["type"], event["message"], event["error"]["message"])


CHECKS: dict[str, Callable[[st.DataObject], None]] = {
    check.__name__.rstrip("_"): check
    for check in (
        *(model, instructions, text, image, document, guarded, cache_point, thoughts_, tool_calls, tool_results),
        *(other_items, tools, other_tools, tool_choice, SHARED.one_tool, in_json, max_tokens, sampling, beyond),
        *(
            effort,
            stream,
            SHARED.service_tier,
            SHARED.as_they_are,
            SHARED.others,
            labels,
            nothing,
            elsewhere,
            unsupported,
        ),
        *(defaults, message, calls_, reasoning, other_blocks, status, usage, besides, echo, events_, exception),
    )
}


def test_every_row_has_its_check() -> None:
    """The tables name every check, and nothing else."""
    assert list(CHECKS) == rows(SECTION)


@pytest.mark.parametrize("row", rows(SECTION))
@settings(max_examples=25)
@given(data=st.data())
def test_row(row: str, data: st.DataObject) -> None:
    """What a row says of its field is so, whatever is in it."""
    CHECKS[row](data)
