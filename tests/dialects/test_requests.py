"""Reading a request that is reserved from: one meaning or a refusal, and no part of it overlooked."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bedrock_gateway.dialects.requests import Extent, extent, read_body, tells_its_extent
from bedrock_gateway.errors import InvalidRequest
from bedrock_gateway.upstream.models import load_operations

OPERATIONS = {operation.name: operation for operation in load_operations()}
CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
NOVA = "us.amazon.nova-pro-v1:0"
LLAMA = "us.meta.llama4-scout-17b-instruct-v1:0"
PIXTRAL = "us.mistral.pixtral-large-2502-v1:0"
GPT = "openai.gpt-oss-120b-1:0"
STRANGE = "arn:aws:bedrock:us-east-1:1:imported-model/abc"
DATA = "QUJD" * 100
PDF = {"document": {"format": "pdf", "name": "d", "source": {"bytes": DATA}}}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"{}", {}),
        (b' \r\n\t{"a": [1, {"b": null}]} ', {"a": [1, {"b": None}]}),
        ('{"a":"\u00e9\U0001f600"}'.encode(), {"a": "\u00e9\U0001f600"}),
        (b'{"a":"\\ud800"}', {"a": "\ud800"}),
        (b'{"a":"x\ny"}', {"a": "x\ny"}),
        (
            b'{"inferenceConfig":{"maxTokens":5},"a":{"maxTokens":5}}',
            {"inferenceConfig": {"maxTokens": 5}, "a": {"maxTokens": 5}},
        ),
    ],
)
def test_read_body(body: bytes, expected: dict[str, Any]) -> None:
    """An object in UTF-8 is read, whatever holds it."""
    assert expected == read_body(body)
    assert expected == read_body(bytearray(body))


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"", "Expecting value"),
        (b" ", "Expecting value"),
        (b"[]", "another kind of value"),
        (b'"a"', "another kind of value"),
        (b"null", "another kind of value"),
        (b'{"a":1,}', "line 1, column 8"),
        (b'{"a":1}{}', "Extra data"),
        (b"{'a':1}", "double quotes"),
        (b'{"a":NaN}', "NaN is no JSON"),
        (b'{"a":[-Infinity]}', "-Infinity is no JSON"),
        (b'{"a":' + b"9" * 5000 + b"}", "too long"),
        (b'{"a":' + b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"a":1,"a":' + b"[" * 100_000, "nested too deeply"),
        (b'{"a":"\xff"}', "byte 6 is no UTF-8"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        ('{"a":1}'.encode("utf-16"), "byte 0 is no UTF-8"),
        ('{"a":1}'.encode("utf-16-be"), "Expecting value"),
        ('{"a":1}'.encode("utf-32-le"), "Expecting property name"),
        (b'{"a":"\xed\xa0\x80"}', "byte 6 is no UTF-8"),
    ],
)
def test_what_is_no_request(body: bytes, what: str) -> None:
    """Anything but one JSON object in UTF-8 is refused with the reason, since nothing can be reserved from it."""
    with pytest.raises(InvalidRequest, match=r"^The body is no JSON object in UTF-8: ") as raised:
        read_body(body)

    assert what in raised.value.message
    assert (400, "ValidationException") == (raised.value.status, raised.value.error_type)


@pytest.mark.parametrize(
    ("body", "name", "place"),
    [
        ('{"inferenceConfig":{},"inferenceConfig":{"maxTokens":5}}', "inferenceConfig", ""),
        ('{"inferenceConfig":{"maxTokens":5,"maxTokens":6}}', "maxTokens", " in inferenceConfig"),
        ('{"inferenceConfig":{"maxTokens":5,"max\\u0054okens":5}}', "maxTokens", " in inferenceConfig"),
        (
            '{"inferenceConfig":{"\\u006daxTokens":5,"\\u006Daxtoken\\u0073":5,"maxTokens":1}}',
            "maxTokens",
            " in inference",
        ),
        ('{"inferenceConfig":{"max\\u005ftokens":5,"max_tokens":6}}', "max_tokens", " in inferenceConfig"),
        ('{"max_tokens":5,\n "max_tokens" : 5}', "max_tokens", ""),
        ('{"n":1,"n":5}', "n", ""),
        ('{"num_generations":1,"x":2,"num_generations":5}', "num_generations", ""),
        ('{"messages":[],"messages":[{"role":"user"}]}', "messages", ""),
        ('{"additionalModelRequestFields":{"max_tokens":1,"max_tokens":9}}', "max_tokens", " in additionalModel"),
        (
            '{"additionalModelRequestFields":{"thinking":{"budget_tokens":1,"budget_tokens":2}}}',
            "budget_tokens",
            " in additionalModelRequestFields.thinking",
        ),
        ('{"textGenerationConfig":{"maxTokenCount":1,"maxTokenCount":2}}', "maxTokenCount", " in textGenerationConfig"),
        ('{"imageGenerationConfig":{"numberOfImages":1,"numberOfImages":5}}', "numberOfImages", " in imageGeneration"),
        ('{"messages":[{"content":[{"text":"a"}],"content":[{"image":{}}]}]}', "content", " in messages"),
        (
            '{"messages":[{"content":[{"image":{"source":{"s3Location":{}},"source":{"bytes":""}}}]}]}',
            "source",
            " in messages.content.image",
        ),
        ('{"toolConfig":{"tools":[{"systemTool":{},"systemTool":{}}]}}', "systemTool", " in toolConfig.tools"),
        ('{"a":' * 6 + '{"b":1,"b":2}' + "}" * 6, "b", " in a.a.a.a"),
    ],
)
def test_a_member_that_is_there_twice(body: str, name: str, place: str) -> None:
    """Where one reader would take the first and another the last, the request is refused by the member's name."""
    with pytest.raises(InvalidRequest) as raised:
        read_body(body.encode())

    assert raised.value.message.startswith(f"The body has {name!r} twice{place}")


@pytest.mark.parametrize(
    "body",
    [
        '{"requestMetadata":{"a":"1","a":"2"},"messages":[]}',
        '{"guardrailConfig":{"trace":"enabled","trace":"disabled"}}',
        '{"messages":[{"content":[{"toolUse":{"input":{"a":1,"a":{"maxTokens":1,"maxTokens":2}}}}]}]}',
        '{"messages":[{"content":[{"toolResult":{"content":[{"json":{"a":1,"a":2}}]}}]}]}',
        '{"toolConfig":{"tools":[{"toolSpec":{"inputSchema":{"json":{"a":1,"a":2}}}}]}}',
        '{"tools":[{"input_schema":{"properties":{"a":1,"a":2}}}],"max_tokens":5}',
    ],
)
def test_a_member_that_may_be_there_twice(body: str) -> None:
    """What nothing is reserved from is AWS's to judge: it is read as JSON is read elsewhere, the last one wins."""
    assert json.loads(body) == read_body(body.encode())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["maxTokens", "max_tokens", "n", "messages", "inferenceConfig", "\u00e9", ""])


def spelt(name: str, escaped: list[bool]) -> str:
    """A member's name as JSON may spell it: any character as an escape."""
    return "".join(
        f"\\u{ord(character):04x}" if escape else character for character, escape in zip(name, escaped, strict=True)
    )


@settings(deadline=None, max_examples=150)
@given(data=st.data(), document=st.dictionaries(NAMES, JSON, max_size=5))
def test_every_spelling_of_a_name(data: st.DataObject, document: dict[str, Any]) -> None:
    """However names are escaped, a body is read as it is, and a name that is there once more is found."""
    members = []
    for name, value in document.items():
        escaped = data.draw(st.lists(st.booleans(), min_size=len(name), max_size=len(name)))
        members.append(f'"{spelt(name, escaped)}" : {json.dumps(value)}')
    body = "{" + ",".join(members) + "}"

    assert document == read_body(body.encode())
    if document:
        name = data.draw(st.sampled_from(sorted(document)))
        escaped = data.draw(st.lists(st.booleans(), min_size=len(name), max_size=len(name)))
        members.insert(data.draw(st.integers(0, len(members))), f'"{spelt(name, escaped)}":1')
        with pytest.raises(InvalidRequest, match="twice"):
            read_body(("{" + ",".join(members) + "}").encode())


def test_a_long_name_is_not_told_whole() -> None:
    """A refusal tells a name of any length by its beginning."""
    name = "x" * 10_000
    with pytest.raises(InvalidRequest) as raised:
        read_body(f'{{"{name}":{{"{name}":1,"{name}":2}}}}'.encode())

    assert len(raised.value.message) < 400


def conversation(*blocks: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A conversation of one message."""
    return {"messages": [{"role": "user", "content": list(blocks)}], **more}


IMAGE = {"image": {"format": "png", "source": {"bytes": DATA}}}
CLAUDE_IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DATA}}
CLAUDE_PDF = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": DATA}}
URL = f"data:image/png;base64,{DATA}"
SIZE = len(DATA)
S3 = {"s3Location": {"uri": "s3://b/k"}}


@pytest.mark.parametrize(
    ("operation", "model_id", "body", "expected"),
    [
        ("Converse", CLAUDE, conversation({"text": "hi"}), {}),
        ("Converse", CLAUDE, {}, {}),
        ("Converse", CLAUDE, {"messages": "x", "system": 5, "toolConfig": []}, {}),
        ("Converse", CLAUDE, {"messages": ["x", {"content": "x"}, {"content": ["x"]}, {}]}, {}),
        ("Converse", CLAUDE, {"inferenceConfig": {"maxTokens": 7}}, {"max_output": 7}),
        ("ConverseStream", CLAUDE, {"additionalModelRequestFields": {"n": 4}}, {"answers": 4}),
        ("Converse", CLAUDE, {"additionalModelRequestFields": {"n": "4"}}, {"answers": None}),
        ("Converse", CLAUDE, conversation(IMAGE, IMAGE), {"pictures": 2, "cut": 2 * SIZE}),
        ("Converse", CLAUDE, conversation({"image": {"source": S3}}), {"unbounded": "S3"}),
        ("Converse", CLAUDE, conversation({"image": None}), {"pictures": 1}),
        ("Converse", CLAUDE, conversation({"image": {"source": "x"}}), {"pictures": 1}),
        ("Converse", CLAUDE, conversation(PDF), {"documents": 1}),
        ("Converse", CLAUDE, conversation({"document": {"format": "md", "source": {"bytes": DATA}}}), {}),
        ("Converse", CLAUDE, conversation({"document": {"source": {"bytes": DATA}}}), {"documents": 1}),
        ("Converse", CLAUDE, conversation({"document": {"format": "pdf", "source": {"text": "x"}}}), {}),
        ("Converse", CLAUDE, conversation({"document": {"source": {"content": [{"text": "x"}]}}}), {}),
        ("Converse", CLAUDE, conversation({"document": {"format": "txt", "source": S3}}), {"unbounded": "S3"}),
        ("Converse", NOVA, conversation({"video": {"format": "mp4", "source": {"bytes": DATA}}}), {"recordings": 1}),
        ("Converse", NOVA, conversation({"video": {"source": S3}}), {"recordings": 1, "unbounded": "S3"}),
        ("Converse", NOVA, conversation({"audio": {"source": {"bytes": DATA}}}), {"recordings": 1}),
        (
            "Converse",
            CLAUDE,
            conversation({"toolResult": {"toolUseId": "t", "content": [IMAGE, PDF, {"json": {"s3Location": {}}}]}}),
            {"pictures": 1, "documents": 1, "cut": SIZE},
        ),
        ("Converse", CLAUDE, conversation({"toolUse": {"input": {"image": IMAGE, "source": S3}}}), {}),
        ("Converse", CLAUDE, conversation({"guardContent": IMAGE}), {"pictures": 1, "cut": SIZE}),
        ("Converse", CLAUDE, conversation({"guardContent": {"text": {"text": "x"}}}), {}),
        ("Converse", CLAUDE, {"system": [{"guardContent": IMAGE}]}, {"pictures": 1, "cut": SIZE}),
        ("Converse", CLAUDE, conversation({"cachePoint": {"type": "default"}}), {}),
        ("Converse", CLAUDE, conversation({"hologram": {"source": S3}}), {"unbounded": "S3"}),
        ("Converse", CLAUDE, conversation({"hologram": {"bytes": DATA}}), {"documents": 1}),
        (
            "Converse",
            NOVA,
            {"toolConfig": {"tools": [{"systemTool": {"name": "nova_grounding"}}]}},
            {"unbounded": "tool"},
        ),
        ("Converse", CLAUDE, {"promptVariables": {}}, {"unbounded": "prompt"}),
        ("Converse", "arn:aws:bedrock:us-east-1:1:prompt/P:1", {}, {"unbounded": "prompt"}),
        (
            "Converse",
            CLAUDE,
            {"additionalModelRequestFields": {"tools": [{"type": "computer_20250124", "name": "computer"}]}},
            {"described_tools": 1},
        ),
        ("Converse", CLAUDE, {"additionalModelRequestFields": {"image": URL}}, {"pictures": 1}),
        ("InvokeModel", CLAUDE, conversation({"type": "text", "text": "x"}, max_tokens=5), {"max_output": 5}),
        ("InvokeModel", CLAUDE, {"messages": [{"role": "user", "content": "hi"}], "system": "s"}, {}),
        ("InvokeModel", CLAUDE, conversation(CLAUDE_IMAGE), {"pictures": 1, "cut": SIZE}),
        ("InvokeModel", CLAUDE, {"system": [CLAUDE_IMAGE]}, {"pictures": 1, "cut": SIZE}),
        (
            "InvokeModel",
            CLAUDE,
            conversation({"type": "image", "source": {"type": "url", "url": "u"}}),
            {"pictures": 1},
        ),
        ("InvokeModel", CLAUDE, conversation(CLAUDE_PDF), {"documents": 1}),
        ("InvokeModel", CLAUDE, conversation({"type": "document", "source": {"type": "text", "data": "x"}}), {}),
        (
            "InvokeModel",
            CLAUDE,
            conversation({"type": "document", "source": {"type": "content", "content": [CLAUDE_IMAGE]}}),
            {"pictures": 1, "cut": SIZE},
        ),
        (
            "InvokeModel",
            CLAUDE,
            conversation({"type": "tool_result", "tool_use_id": "t", "content": [CLAUDE_IMAGE, CLAUDE_PDF]}),
            {"pictures": 1, "documents": 1, "cut": SIZE},
        ),
        ("InvokeModel", CLAUDE, conversation({"type": "tool_result", "content": ["done"]}), {}),
        ("Converse", CLAUDE, {"messages": [{"content": {"image": DATA}}]}, {"pictures": 1}),
        ("InvokeModel", CLAUDE, conversation({"type": "tool_use", "input": {"x": DATA * 9}}), {}),
        ("InvokeModel", CLAUDE, conversation({"type": "container_upload", "data": DATA}), {"documents": 1}),
        ("InvokeModel", CLAUDE, conversation({"type": ["text"], "source": S3}), {"unbounded": "S3"}),
        ("InvokeModel", CLAUDE, {"tools": [{"name": "a", "input_schema": {}}, {"type": "custom", "name": "b"}]}, {}),
        (
            "InvokeModel",
            CLAUDE,
            {"tools": [{"type": "bash_20250124"}, {"type": "text_editor_20250728"}]},
            {"described_tools": 2},
        ),
        ("InvokeModel", CLAUDE, {"tools": [{"type": "web_search_20250305"}]}, {"unbounded": "tool"}),
        ("InvokeModel", CLAUDE, {"tools": [{"type": 5}]}, {"unbounded": "tool"}),
        ("InvokeModel", CLAUDE, {"mcp_servers": [{"url": "https://x"}]}, {"unbounded": "tool"}),
        (
            "InvokeModel",
            NOVA,
            conversation(IMAGE, PDF, inferenceConfig={"max_new_tokens": 9}),
            {"pictures": 1, "documents": 1, "cut": SIZE, "max_output": 9},
        ),
        ("InvokeModel", NOVA, conversation({"video": {"source": S3}}), {"recordings": 1, "unbounded": "S3"}),
        (
            "InvokeModel",
            "amazon.nova-2-multimodal-embeddings-v1:0",
            {"singleEmbeddingParams": {"image": {"format": "png", "source": {"bytes": DATA}}}},
            {"pictures": 1},
        ),
        (
            "InvokeModel",
            "amazon.nova-2-multimodal-embeddings-v1:0",
            {"singleEmbeddingParams": {"video": {"source": S3}}},
            {"recordings": 1, "unbounded": "S3"},
        ),
        ("InvokeModel", LLAMA, {"prompt": "x", "images": [DATA, DATA]}, {"pictures": 2, "cut": 2 * SIZE}),
        ("InvokeModel", LLAMA, {"prompt": DATA * 9, "max_gen_len": 3}, {"max_output": 3}),
        ("InvokeModel", LLAMA, {"prompt": "x", "video": DATA}, {"recordings": 1, "documents": 1}),
        (
            "InvokeModel",
            PIXTRAL,
            conversation({"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": URL}}),
            {"pictures": 1, "cut": len(URL)},
        ),
        (
            "InvokeModel",
            PIXTRAL,
            conversation({"type": "image_url", "image_url": URL}),
            {"pictures": 1, "cut": len(URL)},
        ),
        (
            "InvokeModel",
            PIXTRAL,
            conversation({"type": "image_url", "image_url": {"url": "https://x"}}),
            {"pictures": 1},
        ),
        ("InvokeModel", PIXTRAL, conversation({"type": "image_url"}), {"pictures": 1}),
        ("InvokeModel", PIXTRAL, conversation({"type": "image_url", "image_url": "s3://b/k"}), {"unbounded": "S3"}),
        ("InvokeModel", PIXTRAL, conversation({"type": "document_url", "document_url": "https://x"}), {"documents": 1}),
        ("InvokeModel", GPT, conversation({"type": "image_url", "image_url": {"url": URL}}), {"pictures": 1}),
        (
            "InvokeModel",
            GPT,
            conversation({"type": "input_audio", "input_audio": {"format": "wav"}}),
            {"recordings": 1},
        ),
        ("InvokeModel", GPT, {"messages": [], "n": 2, "max_tokens": 4}, {"answers": 2, "max_output": 4}),
        ("InvokeModel", GPT, {"tools": [{"type": "function", "function": {}}], "messages": []}, {}),
        ("InvokeModel", GPT, {"tools": [{"type": "browser"}], "messages": []}, {"unbounded": "tool"}),
        ("InvokeModel", "amazon.titan-embed-image-v1", {"inputText": "x", "inputImage": DATA}, {"pictures": 1}),
        ("InvokeModel", "twelvelabs.pegasus-1-2-v1:0", {"mediaSource": S3}, {"recordings": 1, "unbounded": "S3"}),
        ("InvokeModel", STRANGE, {"prompt": "plain text", "key": "ab12" * 16}, {}),
        ("InvokeModel", STRANGE, {"a": [{"b": URL}]}, {"pictures": 1}),
        ("InvokeModel", STRANGE, {"images": ["x" * 64]}, {"pictures": 1}),
        ("InvokeModel", STRANGE, {"mask_image": "https://x/y.png"}, {"pictures": 1}),
        ("InvokeModel", STRANGE, {"a": "data:application/pdf;base64,AAAA"}, {"documents": 1}),
        ("InvokeModel", STRANGE, {"a": {"b": DATA}}, {"documents": 1}),
        ("InvokeModel", STRANGE, {"a": "s3://b/k"}, {"unbounded": "S3"}),
        ("InvokeModel", "amazon.nova-canvas-v1:0", {"imageGenerationConfig": {"numberOfImages": 3}}, {"images": 3}),
        (
            "InvokeModel",
            "amazon.nova-canvas-v1:0",
            {"imageGenerationConfig": {"numberOfImages": "3"}},
            {"images": None},
        ),
        ("InvokeModel", "stability.stable-diffusion-xl-v1", {"samples": 4}, {"images": 4}),
        ("InvokeModel", "stability.stable-diffusion-xl-v1", {"samples": 0}, {"images": None}),
        ("ApplyGuardrail", "", {"content": [{"text": {"text": "x"}}, IMAGE]}, {"pictures": 1, "cut": SIZE}),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else str(value)[-16:],
)
def test_extent(operation: str, model_id: str, body: dict[str, Any], expected: dict[str, Any]) -> None:
    """Each family's pictures, documents, recordings and limits are found; the base64 of pictures is no text."""
    found = extent(OPERATIONS[operation], model_id, body, body_bytes=100_000)
    wanted = dict(expected)
    cut = wanted.pop("cut", 0)
    reason = wanted.pop("unbounded", "")

    assert Extent(body_bytes=100_000, text_bytes=100_000 - cut, unbounded=found.unbounded, **wanted) == found
    assert reason in found.unbounded and bool(reason) == bool(found.unbounded)


@settings(deadline=None, max_examples=150)
@given(
    operation=st.sampled_from(["Converse", "InvokeModel", "ApplyGuardrail"]),
    model_id=st.sampled_from([CLAUDE, NOVA, LLAMA, PIXTRAL, GPT, STRANGE, "cohere.command-r-v1:0"]),
    body=st.dictionaries(
        st.sampled_from(["messages", "system", "tools", "toolConfig", "images", "content", "mediaSource"]),
        st.recursive(
            st.none() | st.integers() | st.sampled_from([DATA, URL, "image", "base64", "x"]),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        [
                            "content",
                            "image",
                            "document",
                            "source",
                            "bytes",
                            "type",
                            "data",
                            "image_url",
                            "url",
                            "toolResult",
                        ]
                    ),
                    inner,
                    max_size=3,
                )
            ),
            max_leaves=20,
        ),
    ),
)
def test_no_body_of_any_shape_is_a_fault(operation: str, model_id: str, body: dict[str, Any]) -> None:
    """Whatever stands where, it is measured, and never to less text than there is beside pictures."""
    length = len(json.dumps(body))
    found = extent(OPERATIONS[operation], model_id, body, body_bytes=length)

    assert 0 <= found.text_bytes <= length
    assert (found.text_bytes < length) <= (found.pictures > 0)


def test_a_body_nested_as_deep_as_json_goes() -> None:
    """What can be read can be measured: no depth that is read is a fault."""
    depth = 900
    body = read_body(b'{"messages":[{"content":' + b'[{"toolResult":{"content":' * 200 + b"[]" + b"}}]" * 200 + b"}]}")
    strange = read_body(b'{"a":' * depth + b"1" + b"}" * depth)

    assert 0 == extent(OPERATIONS["Converse"], CLAUDE, body, body_bytes=9).pictures
    assert 0 == extent(OPERATIONS["InvokeModel"], STRANGE, strange, body_bytes=9).pictures


def test_which_operations_tell() -> None:
    """Bodies of model calls and guardrails are read; streams that go in, and work without an answer, are not."""
    told = {name for name, operation in OPERATIONS.items() if tells_its_extent(operation)}

    assert told == {
        *("Converse", "ConverseStream", "InvokeModel", "InvokeModelWithResponseStream"),
        "ApplyGuardrail",
    }
