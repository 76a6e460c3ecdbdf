"""docs/dialects.md, prompts of families, row by row: each names a check here, which is given endless inputs."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from chatting import read, request
from dialect_tables import data_bytes, names, rows, schemas, words
from hypothesis import given, settings
from hypothesis import strategies as st
from invoking import chunk_of, native, relay_of
from prompting import (
    MARKS,
    MODELS,
    NOT_STOPPING,
    OPENED,
    SEEING,
    THINKING,
    WIDTHLESS,
    answered,
    body,
    calm,
    chunked,
    cuts,
    families,
    hostile,
    prompt,
    refused,
    summed,
    texts,
    told,
    whole,
)

from bedrock_gateway.dialects.families.bodies import body_of
from bedrock_gateway.errors import InvalidRequest

SECTION = "Converse ↔ InvokeModel: prompts"


def system(data: st.DataObject) -> None:
    family, rule, question = data.draw(families), data.draw(calm), data.draw(calm)
    said = prompt(family, [("user", texts(f"Q{question}"))], system=[*texts(f"S{rule}"), {"cachePoint": {}}])
    assert 0 <= said.index(f"S{rule}") < said.index(f"Q{question}")
    ways = {"llama2": "<<SYS>>\nS", "titan": "S", "command": "S", "mistral": "<s>[INST] S"}
    heads = {"deepseek": "sentence｜>S", "llama4": "|>system<|header_end|>\n\nS", "qwen": "<|im_start|>system\nS"}
    way = ways.get(family) or next((way for name, way in heads.items() if name in family), None)
    assert (way or "<|start_header_id|>system<|end_header_id|>\n\nS") + rule in said


def turns(data: st.DataObject) -> None:
    family = data.draw(families)
    said = data.draw(
        st.lists(st.lists(calm, min_size=1, max_size=3), min_size=1, max_size=5).filter(lambda x: len(x) % 2)
    )
    conversation = [("assistant" if at % 2 else "user", texts(*parts)) for at, parts in enumerate(said)]
    written = prompt(family, conversation)
    at = 0
    for role, blocks in conversation:
        text = "\n".join(block["text"] for block in blocks)
        begin = {
            "llama2": ("[INST] ", "[/INST] "),
            "mistral": ("[INST] ", "[/INST] "),
            "deepseek": ("<｜User｜>", "<｜Assistant｜>"),
            "imported deepseek": ("<｜User｜>", "<｜Assistant｜>"),
            "titan": ("User: ", "Bot: "),
            "command": ("User: ", "Chatbot: "),
            "llama4": ("<|header_start|>user<|header_end|>\n\n", "<|header_start|>assistant<|header_end|>\n\n"),
            "imported qwen2": ("<|im_start|>user\n", "<|im_start|>assistant\n"),
            "imported qwen3": ("<|im_start|>user\n", "<|im_start|>assistant\n"),
        }.get(
            family,
            (
                "<|start_header_id|>user<|end_header_id|>\n\n",
                "<|start_header_id|>assistant<|end_header_id|>\n\n",
            ),
        )[role == "assistant"]
        at = written.index(begin + text, at) + len(begin + text)
    ends = (
        "[/INST]",
        "<|end_header_id|>\n\n",
        "<|header_end|>\n\n",
        "<think>\n",
        "\nBot:",
        "\nChatbot:",
        "assistant\n",
    )
    assert written[at:].endswith(ends)


def marks(data: st.DataObject) -> None:
    family = data.draw(families)
    worded = st.lists(hostile, min_size=1, max_size=3).filter(lambda parts: "".join(parts).strip())
    said = [data.draw(worded) for _ in range(4)]
    roles = ("system", "user", "assistant", "user")

    def of(parts: list[list[str]]) -> str:
        conversation = [(role, texts(*one)) for role, one in zip(roles, parts, strict=True)]
        return prompt(family, conversation[1:], system=conversation[0][1])

    written, calm_ = of(said), of([["x"]] * 4)
    for mark in MARKS[family]:
        assert calm_.count(mark) == written.count(mark)
    # What is read is the same: but for spaces, of no width where the family is told no other.
    spaces = f"{WIDTHLESS} " if family in ("llama2", "mistral") else WIDTHLESS
    nothing = str.maketrans("", "", spaces)
    for parts in said:
        joined = "\n".join(parts)
        assert (joined.strip() if "llama" in family else joined).translate(nothing) in written.translate(nothing)


def begun(data: st.DataObject) -> None:
    family, answer = data.draw(families), data.draw(calm)
    conversation = [("user", texts("q")), ("assistant", texts(answer))]
    if family in OPENED:
        assert "messages" == refused(family, conversation)
    else:
        assert prompt(family, conversation).endswith(answer)


def images(data: st.DataObject) -> None:
    family, said = data.draw(families), data.draw(st.lists(data_bytes, min_size=1, max_size=3))
    blocks = [{"image": {"format": "png", "source": {"bytes": one}}} for one in said]
    conversation = [("user", [*texts("look"), *blocks, *texts("well")])]
    if family in SEEING:
        found = told(family, conversation)
        assert said == found["images"]
        assert "look" + "<|image|>" * len(said) + "well" in found["prompt"]
        in_s3 = [("user", [{"image": {"format": "png", "source": {"s3Location": {"uri": "s3://a/b"}}}}])]
        assert "messages" == refused(family, in_s3)
    else:
        assert "messages" == refused(family, conversation)


def no_place(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["document", "toolUse", "toolResult", "video", "audio", "searchResult"]))
    assert "messages" == refused(data.draw(families), [("user", [*texts("a"), {kind: {}}])])


def unsaid(data: st.DataObject) -> None:
    family = data.draw(families)
    more = [{"cachePoint": {"type": "default"}}, {"reasoningContent": {"reasoningText": {"text": "hm"}}}]
    with_them = [("user", [*texts("a"), more[0]]), ("assistant", [more[1], *texts("b")]), ("user", texts("c"))]
    without = [("user", texts("a")), ("assistant", texts("b")), ("user", texts("c"))]
    assert told(family, without) == told(family, with_them)


def tools(data: st.DataObject) -> None:
    model, form = MODELS[data.draw(families)]
    tool = {"type": "function", "function": {"name": data.draw(names)}}
    schema = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
    for member, asked in (
        ("tools", {"tools": [tool]}),
        ("tools", {"tools": [tool], "response_format": schema}),
        ("response_format", {"response_format": schema}),
    ):
        with pytest.raises(InvalidRequest) as caught:
            native(request(**asked), model, form)
        assert member == caught.value.param


def schema(data: st.DataObject) -> None:
    assert "outputConfig" == refused(data.draw(families), [("user", texts("a"))], outputConfig=data.draw(schemas))


def inference(data: st.DataObject) -> None:
    family = data.draw(families)
    given_ = data.draw(
        st.fixed_dictionaries({}, optional={"maxTokens": st.integers(1), "temperature": st.floats(0, 1)})
    )
    given_ |= {"topP": data.draw(st.floats(0, 1))} if data.draw(st.booleans()) else {}
    found = told(family, [("user", texts("a"))], inferenceConfig=given_)
    length = "max_gen_len" if "llama" in family or "imported" in family else "max_tokens"
    own = {"titan": ("maxTokenCount", "topP"), "command": ("max_tokens", "p")}.get(family, (length, "top_p"))
    wanted = {{"maxTokens": own[0], "topP": own[1]}.get(name, name): value for name, value in given_.items()}
    parameters = {name: value for name, value in found.items() if name not in ("prompt", "inputText")}
    assert (({"textGenerationConfig": wanted} if wanted else {}) if family == "titan" else wanted) == parameters


def stop(data: st.DataObject) -> None:
    family, said = data.draw(families), data.draw(st.lists(words, min_size=1, max_size=3))
    if family in NOT_STOPPING:
        assert "stop" == refused(family, [("user", texts("a"))], inferenceConfig={"stopSequences": said})
        return
    found = told(family, [("user", texts("a"))], inferenceConfig={"stopSequences": said})
    name = {"command": "stop_sequences", "titan": "stopSequences"}.get(family, "stop")
    assert said == found.get("textGenerationConfig", found)[name]


def added(data: st.DataObject) -> None:
    family, more = data.draw(families), data.draw(st.dictionaries(names, schemas | words, max_size=3))
    found = told(family, [("user", texts("a"))], additionalModelRequestFields=more)
    assert more == {name: found[name] for name in more}


def stream(data: st.DataObject) -> None:
    family = data.draw(families)
    model, form = MODELS[family]
    asked = request(stream=data.draw(st.booleans()))
    found = json.loads(relay_of(asked, model, form).request(read(asked, model=model).body))
    assert (family == "command" and asked["stream"]) == found.get("stream", False)


def text(data: st.DataObject) -> None:
    family, said = data.draw(families), data.draw(st.text(max_size=20).filter(lambda text: "<" not in text))
    if family in OPENED:
        said = "</think>" + said.lstrip()
    wanted = said.removeprefix("</think>")
    assert ("", wanted, "end_turn") == whole(family, answered(family, said))
    assert ("", wanted, ["end_turn"]) == summed(family, chunked(family, cuts(data, said)))
    with pytest.raises(ValueError, match="without its text"):
        body(family).answer(answered(family, None, None))
    assert ("", "", "max_tokens") == whole(family, answered(family, None, "length"))


def thought(data: st.DataObject) -> None:
    family = data.draw(st.sampled_from(sorted(THINKING)))
    # What begins or ends as a tag is a thought or text of another answer.
    hm, said = (
        data.draw(hostile.filter(lambda text: text.strip() and text.lstrip() == text and text[0] != "<")) for _ in "ab"
    )
    again = family not in OPENED or data.draw(st.booleans())
    opening = data.draw(st.text(" \n\t", max_size=3)) + "<think>" if again else ""
    full = f"{opening}{hm}</think>{data.draw(st.text(chr(10), max_size=3))}{said}"
    assert (hm, said, "end_turn") == whole(family, answered(family, full))
    assert (hm, said, ["end_turn"]) == summed(family, chunked(family, cuts(data, full)))
    unclosed = opening + hm
    assert (hm, "", "max_tokens") == whole(family, answered(family, unclosed, "length"))
    assert (hm, "", ["max_tokens"]) == summed(family, chunked(family, cuts(data, unclosed), "length"))
    assert "" == whole("llama", answered("llama", full))[0]


def reason(data: st.DataObject) -> None:
    family = data.draw(families)
    wanted = {
        **dict.fromkeys(("length", "LENGTH", "MAX_TOKENS"), "max_tokens"),
        **dict.fromkeys(("CONTENT_FILTERED", "ERROR_TOXIC"), "content_filtered"),
        **dict.fromkeys(("stop", "FINISH", "COMPLETE", "something new"), "end_turn"),
        **{"STOP_CRITERIA_MET": "stop_sequence", "ERROR": "malformed_model_output"},
    }
    why = data.draw(st.sampled_from(sorted(wanted)))
    assert wanted[why] == whole(family, answered(family, "a", why))[2]
    assert [wanted[why]] == summed(family, chunked(family, ["a"], why))[2]
    assert "end_turn" == whole(family, answered(family, "a", None))[2]


def guardrail(data: st.DataObject) -> None:
    family, said = data.draw(families), data.draw(calm)
    blocked = answered(family, said) | {"amazon-bedrock-guardrailAction": "INTERVENED"}
    assert ("", said) == whole(family, blocked)[:2]
    assert ("", said) == summed(family, [blocked])[:2]
    if family in OPENED:
        masked = answered(family, f"hm</think>{said}") | {"amazon-bedrock-guardrailAction": "INTERVENED"}
        assert ("hm", said) == whole(family, masked)[:2]


CHECKS: dict[str, Callable[[st.DataObject], None]] = {
    check.__name__: check
    for check in (
        *(system, turns, marks, begun, images, no_place, unsaid, tools, schema, inference, stop, added, stream),
        *(text, thought, reason, guardrail),
    )
}


def test_every_row_has_its_check() -> None:
    """The table names every check, and nothing else."""
    assert list(CHECKS) == rows(SECTION)


@pytest.mark.parametrize("row", rows(SECTION))
@settings(max_examples=50)
@given(data=st.data())
def test_row(row: str, data: st.DataObject) -> None:
    """What a row says of its field is so, whatever is in it."""
    CHECKS[row](data)


@given(data=st.data())
def test_a_stream_of_anything_raises_nothing(data: st.DataObject) -> None:
    """Whatever a model sends, cut wherever it is, ends as a stream or as an error within it."""
    family = data.draw(families)
    model, form = MODELS[family]
    junk = st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=2)
            | st.dictionaries(
                st.sampled_from([*answered(family, ""), "text", "outputText", "stop_reason", "usage"]), inner
            )
        ),
        max_leaves=5,
    )
    good = st.sampled_from(chunked(family, ["a<thi", "nk>b", "</think>"]))
    sent = b"".join(chunk_of(one) for one in data.draw(st.lists(junk | good, max_size=5)))
    sent += data.draw(st.binary(max_size=8))
    relay = relay_of(request(stream=True), model, form)
    relay.request(read(request(stream=True), model=model).body)
    at = data.draw(st.integers(0, len(sent)))

    out = relay.receive_data(sent[:at]) + relay.receive_data(sent[at:]) + relay.receive_eof()

    assert isinstance(out, bytes)


@pytest.mark.parametrize(
    "model",
    ["mistral.mistral-large-2407-v1:0", "deepseek.v3-v1:0", "cohere.command-r-v1:0", "amazon.titan-embed-text-v2:0"],
)
def test_models_of_the_same_makers_that_take_no_prompt(model: str) -> None:
    """What takes messages, or makes vectors, is never sent a prompt."""
    found = body_of("", model)
    assert found is None or "prompt" not in found.request({"messages": [{"role": "user", "content": texts("a")}]})
