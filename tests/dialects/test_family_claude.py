"""docs/dialects.md, conversations through InvokeModel with Claude and Nova, row by row, given endless inputs."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from chatting import answered, events_of, request, summed
from dialect_tables import data_bytes, ids, names, rows, schemas, words
from hypothesis import given, settings
from hypothesis import strategies as st
from invoking import METRICS, chunk_of, completion, headers, native, relay_of, streamed
from messaging import chunks_of, sent

from bedrock_gateway.dialects.families.claude import CLAUDE as CLAUDES_WORDS
from bedrock_gateway.dialects.families.nova import NOVA as NOVAS_WORDS
from bedrock_gateway.errors import InvalidRequest
from bedrock_gateway.wire.eventstream import MessageDecoder, encode_exception

ALL, OF_CLAUDE, OF_NOVA = (f"Converse ↔ InvokeModel{more}" for more in ("", ": Claude", ": Nova"))
CLAUDE, NOVA, LLAMA, COMMAND_R = (
    *("us.anthropic.claude-sonnet-4-20250514-v1:0", "us.amazon.nova-pro-v1:0"),
    *("us.meta.llama3-3-70b-instruct-v1:0", "cohere.command-r-v1:0"),
)
GUARDRAIL = {"guardrailIdentifier": "gr", "guardrailVersion": "1"}

texts = st.builds(lambda text: {"text": text}, words)
images = st.builds(
    lambda form, data: {"image": {"format": form, "source": {"bytes": data}}},
    st.sampled_from(["png", "jpeg", "gif", "webp"]),
    data_bytes,
)
pictures = st.builds(
    lambda data: {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}, data_bytes
)
uses = st.builds(
    lambda id_, name, told: {"toolUse": {"toolUseId": id_, "name": name, "input": told}}, ids, names, schemas
)
thoughts = st.one_of(
    st.builds(
        lambda text, signature: {"reasoningContent": {"reasoningText": {"text": text, "signature": signature}}},
        words,
        data_bytes,
    ),
    st.builds(lambda data: {"reasoningContent": {"redactedContent": data}}, data_bytes),
)
results = st.builds(
    lambda id_, content, more: {"toolResult": {"toolUseId": id_, "content": content, **more}},
    *(ids, st.lists(texts | images, min_size=1, max_size=2)),
    st.fixed_dictionaries({}, optional={"status": st.just("error")}),
)
points = st.sampled_from([{"type": "default"}, {"type": "default", "ttl": "5m"}, {"type": "default", "ttl": "1h"}])
tools = st.lists(
    st.builds(
        lambda name, schema, more: {"toolSpec": {"name": name, "inputSchema": {"json": schema}, **more}},
        *(names, schemas, st.fixed_dictionaries({}, optional={"description": words})),
    ),
    min_size=1,
    max_size=2,
)
contents = st.lists(texts | uses | thoughts, max_size=4)


def conversation(*turns: list[Any], **members: Any) -> dict[str, Any]:
    """Return a request of Converse."""
    roles = ("user", "assistant", "user")
    return {
        "messages": [{"role": role, "content": blocks} for role, blocks in zip(roles, turns, strict=False)]
    } | members


def again(converse: dict[str, Any]) -> Any:
    """Return what Converse is told when Claude's body is read as a request of Anthropic's."""
    told = CLAUDES_WORDS.request(json.loads(json.dumps(converse)))
    return sent({"model": "group", **told}, model=NOVA)


def system(data: st.DataObject) -> None:
    told = data.draw(st.lists(texts, min_size=1, max_size=3))
    assert told == again(conversation([{"text": "a"}], system=told))["system"]


def blocks(data: st.DataObject) -> None:
    turns = [
        data.draw(st.lists(texts | images, min_size=1, max_size=3)),
        data.draw(st.lists(texts | uses | thoughts, min_size=1, max_size=3)),
    ]
    assert conversation(*turns)["messages"] == again(conversation(*turns))["messages"]
    in_s3 = {"image": {"format": "png", "source": {"s3Location": {"uri": "s3://a/b"}}}}
    with pytest.raises(InvalidRequest, match="S3"):
        CLAUDES_WORDS.request(conversation([in_s3]))


def documents(data: st.DataObject) -> None:
    form, said = data.draw(st.sampled_from(["pdf", "txt", "md", "csv", "html"])), data.draw(words)
    held = base64.b64encode(said.encode()).decode()
    told = {"document": {"format": form, "name": "name", "source": {"bytes": held}}}
    ((back, _),) = (turn["content"] for turn in again(conversation([told, {"text": "a"}]))["messages"])
    source = back["document"]["source"]
    assert said == (base64.b64decode(source["bytes"]).decode() if "bytes" in source else source["text"])
    other = {"document": {"format": data.draw(st.sampled_from(["doc", "docx", "xls", "xlsx"])), "name": "a"}}
    other["document"]["source"] = {"bytes": held}
    with pytest.raises(InvalidRequest, match="documents of"):
        CLAUDES_WORDS.request(conversation([other]))


def results_(data: st.DataObject) -> None:
    told = data.draw(st.lists(results, min_size=1, max_size=2))
    used = [{"toolUse": {"toolUseId": one["toolResult"]["toolUseId"], "name": "a", "input": {}}} for one in told]
    turns = conversation([{"text": "a"}], used, told)
    assert turns["messages"] == again(turns)["messages"]
    value = data.draw(schemas)
    body = CLAUDES_WORDS.request(conversation([{"toolResult": {"toolUseId": "1", "content": [{"json": value}]}}]))
    assert value == json.loads(body["messages"][0]["content"][0]["content"][0]["text"])


def cache_points(data: st.DataObject) -> None:
    point = {"cachePoint": data.draw(points)}
    said = data.draw(st.lists(texts | images, min_size=1, max_size=2))
    (tool,) = data.draw(tools)[:1]
    turns = conversation([*said, point], system=[{"text": "a"}, point], toolConfig={"tools": [tool, point]})
    told = again(turns)
    assert turns == {name: told[name] for name in turns}
    # Before anything there is nothing that could be marked.
    assert said == again(conversation([point, *said]))["messages"][0]["content"]


def tools_(data: st.DataObject) -> None:
    config: dict[str, Any] = {"tools": data.draw(tools)}
    named = {"tool": {"name": config["tools"][0]["toolSpec"]["name"]}}
    choice = data.draw(st.sampled_from([None, {"any": {}}, named]))
    turns = conversation([{"text": "a"}], toolConfig=config | ({"toolChoice": choice} if choice else {}))
    assert turns["toolConfig"] == again(turns)["toolConfig"]


def inference(data: st.DataObject) -> None:
    optional = {"temperature": st.floats(0, 1), "topP": st.floats(0, 1), "maxTokens": st.integers(1, 10**6)}
    stops = {"stopSequences": st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=3)}
    told = data.draw(st.fixed_dictionaries({}, optional=optional | stops))
    assert {"maxTokens": 4096} | told == again(conversation([{"text": "a"}], inferenceConfig=told))["inferenceConfig"]


def schema(data: st.DataObject) -> None:
    wanted = data.draw(schemas)
    form = {"type": "json_schema", "structure": {"jsonSchema": {"schema": json.dumps(wanted), "name": "answer"}}}
    turns = conversation([{"text": "a"}], outputConfig={"textFormat": form})
    assert turns["outputConfig"] == again(turns)["outputConfig"]


def content(data: st.DataObject) -> None:
    told = data.draw(contents)
    (turn,) = CLAUDES_WORDS.request({"messages": [{"role": "assistant", "content": told}]})["messages"]
    answer = {"content": [*turn["content"], {"type": "container_upload"}], "stop_reason": "end_turn"}
    assert told == CLAUDES_WORDS.answer(answer)["output"]["message"]["content"]
    message = {"role": "assistant", **answer, "content": turn["content"], "stop_sequence": None, "usage": {}}
    data_ = b"".join(chunks_of(message))
    relay = relay_of({**request(), "stream": True}, CLAUDE)
    out = summed(relay.receive_data(data_) + relay.receive_eof())["message"]
    alone = completion(request(), answer, CLAUDE)["choices"][0]["message"]
    assert (alone["content"] or None, alone.get("thinking_blocks", [])) == (out["content"], out["thinking_blocks"])
    assert [call["id"] for call in alone.get("tool_calls", [])] == [call["id"] for call in out["tool_calls"]]


def stop_reason(data: st.DataObject) -> None:
    same = {
        name: name for name in ("end_turn", "max_tokens", "stop_sequence", "tool_use", "model_context_window_exceeded")
    }
    wanted = {**same, "refusal": "content_filtered", "pause_turn": "end_turn"}
    reason = data.draw(st.sampled_from(sorted(wanted)))
    assert wanted[reason] == CLAUDES_WORDS.answer({"content": [], "stop_reason": reason})["stopReason"]
    ((kind, told),) = CLAUDES_WORDS.events().read({"type": "message_delta", "delta": {"stop_reason": reason}})
    assert ("messageStop", wanted[reason]) == (kind, told["stopReason"])


def same(data: st.DataObject) -> None:
    said = data.draw(st.lists(texts | images, min_size=1, max_size=3))
    told = conversation(said, system=data.draw(st.lists(texts, min_size=1, max_size=2)), inferenceConfig={"topP": 0.5})
    told["toolConfig"] = {"tools": data.draw(tools)}
    assert {"schemaVersion": "messages-v1", **told} == NOVAS_WORDS.request(told)


def novas_schema(data: st.DataObject) -> None:
    with pytest.raises(InvalidRequest) as refused:
        NOVAS_WORDS.request(conversation([{"text": "a"}], outputConfig=data.draw(schemas)))
    assert "outputConfig" == refused.value.param


def answer(data: st.DataObject) -> None:
    told = answered(data.draw(contents))
    assert {name: told[name] for name in ("output", "stopReason")} == NOVAS_WORDS.answer(told)
    decoder = MessageDecoder()
    decoder.receive_data(b"".join(events_of(told)))
    chunks = []
    while (message := decoder.next_message()) is not None:
        chunks.append({str(message.event_type): json.loads(message.payload or b"")})
    alone = completion(request(), told, NOVA)["choices"][0]["message"]
    assert alone["content"] == streamed(request(), chunks, NOVA)["message"]["content"]


def guardrail(data: st.DataObject) -> None:
    trace = data.draw(st.sampled_from(["enabled", "disabled", "enabled_full"]))
    config = {**GUARDRAIL, "trace": trace, "streamProcessingMode": "async"}
    told = {f"x-amzn-bedrock-{name}": value for name, value in headers(request(guardrailConfig=config), CLAUDE).items()}
    assert {"gr", "1", trace.upper()} == set(told.values())
    body = native(request(guardrailConfig=config), CLAUDE)
    assert {"streamProcessingMode": "ASYNCHRONOUS"} == body["amazon-bedrock-guardrailConfig"]
    assert "guardrailConfig" not in body


def guarded(data: st.DataObject) -> None:
    said = data.draw(words)
    asked = request(messages=[{"role": "user", "content": [{"type": "guarded_text", "text": said}]}])
    assert [{"type": "text", "text": said}] == native(asked, CLAUDE)["messages"][0]["content"]
    body = native({**asked, "guardrailConfig": GUARDRAIL}, CLAUDE)
    suffix = body["amazon-bedrock-guardrailConfig"]["tagSuffix"]
    tag = f"amazon-bedrock-guardrails-guardContent_{suffix}"
    assert suffix.isalnum() and 1 <= len(suffix) <= 20
    assert f"<{tag}>{said}</{tag}>" == body["messages"][0]["content"][0]["text"]


def tiers(data: st.DataObject) -> None:
    tier, latency = (
        data.draw(st.sampled_from(["flex", "priority"])),
        data.draw(st.sampled_from(["standard", "optimized"])),
    )
    asked = request(service_tier=tier, performanceConfig={"latency": latency})
    wanted = {"x-amzn-bedrock-service-tier": tier, "x-amzn-bedrock-performanceconfig-latency": latency}
    assert wanted == headers(asked, NOVA)
    assert not {"serviceTier", "performanceConfig"} & native(asked, NOVA).keys()


def metadata(data: st.DataObject) -> None:
    told = data.draw(st.dictionaries(names, words, min_size=1, max_size=3))
    ((header, value),) = headers(request(requestMetadata=told), NOVA).items()
    assert ("x-amzn-bedrock-request-metadata", told) == (header, json.loads(value))


def prompt_variables(data: st.DataObject) -> None:
    with pytest.raises(InvalidRequest) as refused:
        native(request(promptVariables={data.draw(names): {"text": "a"}}), NOVA)
    assert "promptVariables" == refused.value.param


def dropped(data: st.DataObject) -> None:
    tool = {"type": "function", "function": {"name": data.draw(names)}}
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": data.draw(schemas)}}
    schema = {"outputConfig": {"textFormat": {"type": "json_schema"}}}
    for model, param, more in (
        (LLAMA, "tools", {"tools": [tool]}),
        (LLAMA, "response_format", {"response_format": wanted}),
        (LLAMA, "stop", {"stop": [data.draw(words)]}),
        (LLAMA, "outputConfig", schema),
        (COMMAND_R, "tool_choice", {"tools": [tool], "tool_choice": "required"}),
        (NOVA, "outputConfig", schema),
        (NOVA, "promptVariables", {"promptVariables": {"a": {"text": "b"}}}),
    ):
        with pytest.raises(InvalidRequest) as refused:
            native(request(**more), model)
        assert param == refused.value.param
        left = {name: value for name, value in more.items() if name == "tools" and model == COMMAND_R}
        assert native(request(**left), model) == native(request(drop_params=True, **more), model)
    # What is said is never left out.
    asked = request(messages=[{"role": "user", "content": [data.draw(pictures)]}], drop_params=True)
    with pytest.raises(InvalidRequest):
        native(asked, COMMAND_R)


def others(data: st.DataObject) -> None:
    most = data.draw(st.integers(1, 100))
    own = data.draw(st.dictionaries(st.from_regex(r"own_[a-z]{1,5}", fullmatch=True), schemas, max_size=3))
    body = native(request(max_tokens=5, additionalModelRequestFields={"max_tokens": most, **own}), CLAUDE)
    assert {"max_tokens": most, **own} == {name: body[name] for name in ("max_tokens", *own)}
    both = native(request(max_tokens=5, additionalModelRequestFields={"inferenceConfig": {"topK": most}}), NOVA)
    assert {"maxTokens": 5, "topK": most} == both["inferenceConfig"]


def paths(data: st.DataObject) -> None:
    value = data.draw(schemas)
    asked = request(additionalModelResponseFieldPaths=["/own/inner", "/nowhere"])
    told = {"content": [], "stop_reason": "end_turn", "own": {"inner": value, "outer": 1}}
    assert {"own": {"inner": value}} == completion(asked, told, CLAUDE)["additionalModelResponseFields"]


def usage(data: st.DataObject) -> None:
    given_, said, read, put = (data.draw(st.integers(0, 10**6)) for _ in "abcd")
    counts = {"input_tokens": given_, "output_tokens": said, "cache_read_tokens": read, "cache_write_tokens": put}
    told = completion(request(), {"content": [], "stop_reason": "end_turn"}, CLAUDE, counts=counts)["usage"]
    assert (given_ + read + put, said) == (told["prompt_tokens"], told["completion_tokens"])
    stop = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
    found = streamed(request(), [{"type": "message_start"}, stop], CLAUDE)["usage"]
    assert (METRICS["inputTokenCount"], METRICS["outputTokenCount"]) == (
        found["prompt_tokens"],
        found["completion_tokens"],
    )


def intervened(data: st.DataObject) -> None:
    trace = data.draw(schemas)
    more = {"amazon-bedrock-guardrailAction": "INTERVENED", "amazon-bedrock-trace": trace}
    told = completion(request(), {"content": [], "stop_reason": "end_turn", **more}, CLAUDE)
    assert (trace, "content_filter") == (told["trace"], told["choices"][0]["finish_reason"])
    stop = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
    assert ["content_filter"] == streamed(request(), [stop, more], CLAUDE)["finish"]


def exception(data: st.DataObject) -> None:
    said = data.draw(words)
    relay = relay_of({**request(), "stream": True}, CLAUDE)
    out = summed(relay.receive_data(encode_exception("throttlingException", said)) + relay.receive_eof())
    assert (said, False) == (out["error"]["message"], out["done"])


CHECKS: dict[tuple[str, str], Callable[[st.DataObject], None]] = {
    (section, check.__name__.removeprefix("novas_").rstrip("_")): check
    for section, checks in (
        (
            ALL,
            (
                guardrail,
                guarded,
                tiers,
                metadata,
                prompt_variables,
                dropped,
                others,
                paths,
                usage,
                intervened,
                exception,
            ),
        ),
        (
            OF_CLAUDE,
            (system, blocks, documents, results_, cache_points, tools_, inference, schema, content, stop_reason),
        ),
        (OF_NOVA, (same, novas_schema, answer)),
    )
    for check in checks
}


def test_every_row_has_its_check() -> None:
    """The tables name every check, and nothing else."""
    assert list(CHECKS) == [(section, row) for section in (ALL, OF_CLAUDE, OF_NOVA) for row in rows(section)]


@pytest.mark.parametrize(("section", "row"), list(CHECKS), ids=[": ".join(one) for one in CHECKS])
@settings(max_examples=25)
@given(data=st.data())
def test_row(section: str, row: str, data: st.DataObject) -> None:
    """What a row says of its field is so, whatever is in it."""
    CHECKS[section, row](data)


@settings(max_examples=100)
@given(
    told=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "type",
                        "delta",
                        "index",
                        "content_block",
                        "messageStop",
                        "contentBlockDelta",
                        "stop_reason",
                        "text",
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=8,
    ),
    model=st.sampled_from([CLAUDE, NOVA]),
)
def test_a_stream_of_junk_ends_in_an_error(told: object, model: str) -> None:
    """Whatever a model says in its chunks, a stream ends, by its answer or by an error, and raises nothing."""
    relay = relay_of({**request(), "stream": True}, model)
    out = summed(relay.receive_data(chunk_of(told)) + relay.receive_eof())
    assert out["done"] != (out["error"] is not None)
