"""InvokeModel and its stream for every family, through stock boto3: shapes, token counts, refusals."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from simulator_requests import CLAUDE

PROMPT = "Tell me about the moon, 月."
PROMPT_BYTES = len(PROMPT.encode())
Reader = Callable[[dict[str, Any]], Any]
CHAT = {"messages": [{"role": "user", "content": PROMPT}], "max_tokens": 40}


@attrs.frozen(kw_only=True)
class Family:
    """One family under test: a request, where its text is, where its tokens are (None: in no body)."""

    model: str
    body: dict[str, Any]
    text: Reader
    piece: Reader
    input_tokens: Reader | None = None
    output_tokens: Reader | None = None
    input: int = -(-PROMPT_BYTES // 4)


def choice(field: str) -> Reader:
    """Read a field of the first choice, if there is one."""
    return lambda body: (body.get("choices") or [{field: ""}])[0].get(field) or ""


def delta(body: dict[str, Any]) -> str:
    """Read the text of a chat completion chunk."""
    return "".join(item["delta"].get("content", "") for item in body["choices"])


def chat(model: str) -> Family:
    """Describe an OpenAI-shaped model."""
    return Family(
        model=model,
        body=CHAT,
        text=lambda body: body["choices"][0]["message"]["content"],
        piece=delta,
        input_tokens=lambda body: body["usage"]["prompt_tokens"],
        output_tokens=lambda body: body["usage"]["completion_tokens"],
    )


FAMILIES = {
    "anthropic": Family(
        model=CLAUDE,
        body={"anthropic_version": "bedrock-2023-05-31", **CHAT},
        text=lambda body: body["content"][0]["text"],
        piece=lambda chunk: chunk.get("delta", {}).get("text", ""),
        input_tokens=lambda body: body["usage"]["input_tokens"],
        output_tokens=lambda body: body["usage"]["output_tokens"],
    ),
    "nova": Family(
        model="us.amazon.nova-pro-v1:0",
        body={"messages": [{"role": "user", "content": [{"text": PROMPT}]}], "inferenceConfig": {"max_new_tokens": 40}},
        text=lambda body: body["output"]["message"]["content"][0]["text"],
        piece=lambda chunk: chunk.get("contentBlockDelta", {}).get("delta", {}).get("text", ""),
        input_tokens=lambda body: body["usage"]["inputTokens"],
        output_tokens=lambda body: body["usage"]["outputTokens"],
    ),
    "llama": Family(
        model="meta.llama3-8b-instruct-v1:0",
        body={"prompt": PROMPT, "max_gen_len": 40},
        text=lambda body: body["generation"],
        piece=lambda chunk: chunk["generation"],
        input_tokens=lambda body: body["prompt_token_count"],
        output_tokens=lambda body: body["generation_token_count"],
    ),
    "mistral": Family(
        model="mistral.mistral-7b-instruct-v0:2",
        body={"prompt": PROMPT, "max_tokens": 40},
        text=lambda body: body["outputs"][0]["text"],
        piece=lambda chunk: chunk["outputs"][0]["text"],
    ),
    "mistral chat": chat("mistral.mistral-large-2407-v1:0"),
    "cohere prompt": Family(
        model="cohere.command-text-v14",
        body={"prompt": PROMPT, "max_tokens": 40},
        text=lambda body: body["generations"][0]["text"],
        piece=lambda chunk: chunk["text"],
    ),
    "cohere command r": Family(
        model="cohere.command-r-plus-v1:0",
        body={"message": PROMPT, "max_tokens": 40},
        text=lambda body: body["text"],
        piece=lambda chunk: chunk.get("text", ""),
    ),
    "jamba": chat("ai21.jamba-1-5-large-v1:0"),
    "deepseek r1": Family(
        model="us.deepseek.r1-v1:0",
        body={"prompt": PROMPT, "max_tokens": 40},
        text=choice("text"),
        piece=choice("text"),
    ),
    "deepseek v3": chat("deepseek.v3-v1:0"),
    "titan": Family(
        model="amazon.titan-text-express-v1",
        body={"inputText": PROMPT, "textGenerationConfig": {"maxTokenCount": 40}},
        text=lambda body: body["results"][0]["outputText"],
        piece=lambda chunk: chunk["outputText"],
        input_tokens=lambda body: body["inputTextTokenCount"],
        output_tokens=lambda body: body["results"][0]["tokenCount"],
    ),
    "openai": chat("openai.gpt-oss-120b-1:0"),
    "qwen": chat("qwen.qwen3-32b-v1:0"),
}
EACH_FAMILY = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES.keys())


def read_stream(answer: dict[str, Any]) -> list[dict[str, Any]]:
    """Read the JSON of every chunk of an invoke stream."""
    return [json.loads(event["chunk"]["bytes"]) for event in answer["body"]]


@EACH_FAMILY
async def test_family(runtime: Any, call: Any, family: Family) -> None:
    """Whole and streamed, a family says the same and counts the same, in body, headers and metrics."""
    body = json.dumps(family.body)
    whole = await call(runtime.invoke_model, modelId=family.model, body=body)
    told = json.loads(await call(whole["body"].read))
    headers = whole["ResponseMetadata"]["HTTPHeaders"]
    counted = {
        "input": int(headers["x-amzn-bedrock-input-token-count"]),
        "output": int(headers["x-amzn-bedrock-output-token-count"]),
    }
    text = family.text(told)
    assert {"input": family.input, "output": -(-len(text.encode()) // 4)} == counted
    assert counted["output"] <= 40
    if family.input_tokens is not None and family.output_tokens is not None:
        assert counted == {"input": family.input_tokens(told), "output": family.output_tokens(told)}
    assert "0" == headers["x-amzn-bedrock-invocation-latency"]
    streamed = await call(runtime.invoke_model_with_response_stream, modelId=family.model, body=body)
    assert "application/json" == streamed["contentType"]
    chunks = await call(read_stream, streamed)
    assert text == "".join(family.piece(chunk) for chunk in chunks)
    metrics = chunks[-1]["amazon-bedrock-invocationMetrics"]
    assert counted == {"input": metrics["inputTokenCount"], "output": metrics["outputTokenCount"]}
    assert not any("amazon-bedrock-invocationMetrics" in chunk for chunk in chunks[:-1])


@EACH_FAMILY
async def test_max_tokens_of_family(runtime: Any, call: Any, family: Family) -> None:
    """A bound of 3 tokens, wherever the family keeps it, is kept."""
    body = json.loads(json.dumps(family.body).replace(": 40", ": 3"))
    whole = await call(runtime.invoke_model, modelId=family.model, body=json.dumps(body))
    assert "3" == whole["ResponseMetadata"]["HTTPHeaders"]["x-amzn-bedrock-output-token-count"]
    told = (await call(whole["body"].read)).decode().lower()
    assert "max_tokens" in told or "length" in told


@EACH_FAMILY
async def test_body_decides_behind_an_opaque_arn(runtime: Any, call: Any, family: Family) -> None:
    """Behind a provisioned model's ARN the request's shape decides; an answer comes in any case."""
    arn = "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abc123def456"
    whole = await call(runtime.invoke_model, modelId=arn, body=json.dumps(family.body))
    headers = whole["ResponseMetadata"]["HTTPHeaders"]
    assert str(family.input) == headers["x-amzn-bedrock-input-token-count"]
    if family.model in (CLAUDE, "us.amazon.nova-pro-v1:0", "openai.gpt-oss-120b-1:0", "amazon.titan-text-express-v1"):
        told = json.loads(await call(whole["body"].read))
        assert "moon" in family.text(told)


@EACH_FAMILY
async def test_empty_body_of_family(runtime: Any, call: Any, family: Family) -> None:
    """A body without what the family needs is refused."""
    with pytest.raises(runtime.exceptions.ValidationException):
        await call(runtime.invoke_model, modelId=family.model, body="{}")


async def test_anthropic_stream_order_and_cumulative_usage(runtime: Any, call: Any) -> None:
    """Events come in Anthropic's order; message_start has the input, message_delta the output."""
    body = json.dumps({"anthropic_version": "x", "max_tokens": 12, "messages": [{"role": "user", "content": PROMPT}]})
    answer = await call(runtime.invoke_model_with_response_stream, modelId=CLAUDE, body=body)
    chunks = await call(read_stream, answer)
    kinds = [chunk["type"] for chunk in chunks if chunk["type"] != "content_block_delta"]
    expected = ["message_start", "content_block_start", "ping", "content_block_stop", "message_delta", "message_stop"]
    assert expected == kinds
    assert 1 == chunks[0]["message"]["usage"]["output_tokens"]
    assert {"output_tokens": 12} == chunks[-2]["usage"]
    assert "max_tokens" == chunks[-2]["delta"]["stop_reason"]


async def test_anthropic_tools_thinking_and_cache(runtime: Any, call: Any) -> None:
    """Thinking, tool use and cache tokens are alike in whole and stream; a second request reads the cache."""
    tool = {"name": "lookup", "input_schema": {"type": "object", "properties": {"word": {"type": "string"}}}}
    request = {
        "anthropic_version": "x",
        "max_tokens": 2_000,
        "thinking": {"type": "enabled", "budget_tokens": 1_024},
        "system": [{"type": "text", "text": "s" * 4_000, "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        "tools": [tool],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Use lookup for owl"}]}],
    }
    body = json.dumps(request)
    whole = await call(runtime.invoke_model, modelId=CLAUDE, body=body)
    told = json.loads(await call(whole["body"].read))
    written = told["usage"]["cache_creation"]["ephemeral_1h_input_tokens"]
    tool_tokens = len(json.dumps(tool, separators=(",", ":")))
    assert -(-(4_000 + tool_tokens) // 4) == written == told["usage"]["cache_creation_input_tokens"]
    assert ["thinking", "text", "tool_use"] == [block["type"] for block in told["content"]]
    assert {"word": "owl"} == told["content"][2]["input"]
    assert "tool_use" == told["stop_reason"]
    answer = await call(runtime.invoke_model_with_response_stream, modelId=CLAUDE, body=body)
    chunks = await call(read_stream, answer)
    usage = chunks[0]["message"]["usage"]
    assert (written, 0) == (usage["cache_read_input_tokens"], usage["cache_creation_input_tokens"])
    assert written == chunks[-1]["amazon-bedrock-invocationMetrics"]["cacheReadInputTokenCount"]
    partial = "".join(
        chunk["delta"].get("partial_json", "") for chunk in chunks if "content_block_delta" == chunk["type"]
    )
    assert {"word": "owl"} == json.loads(partial)
    third = await call(runtime.invoke_model, modelId=CLAUDE, body=body)
    headers = third["ResponseMetadata"]["HTTPHeaders"]
    assert str(written) == headers["x-amzn-bedrock-cache-read-input-token-count"]
    assert "0" == headers["x-amzn-bedrock-cache-write-input-token-count"]


async def test_chat_tools(runtime: Any, call: Any) -> None:
    """OpenAI-shaped tool calls are alike in whole and stream."""
    request = {
        "messages": [{"role": "user", "content": "use the tool on Rome"}],
        "tools": [
            {
                "type": "function",
                "function": {"name": "find", "parameters": {"type": "object", "properties": {"q": {"type": "string"}}}},
            }
        ],
    }
    model = "openai.gpt-oss-20b-1:0"
    whole = await call(runtime.invoke_model, modelId=model, body=json.dumps(request))
    message = json.loads(await call(whole["body"].read))["choices"][0]["message"]
    assert {"q": "Rome"} == json.loads(message["tool_calls"][0]["function"]["arguments"])
    answer = await call(runtime.invoke_model_with_response_stream, modelId=model, body=json.dumps(request))
    calls = [
        part["function"].get("arguments", "")
        for chunk in await call(read_stream, answer)
        for item in chunk["choices"]
        for part in item["delta"].get("tool_calls", [])
    ]
    assert message["tool_calls"][0]["function"]["arguments"] == "".join(calls)


async def test_chat_reasoning_and_tool_results(runtime: Any, call: Any) -> None:
    """Reasoning is a member of its own, alike in whole and stream; a tool's result is answered in words."""
    model = "qwen.qwen3-32b-v1:0"
    parts = [{"type": "text", "text": "Why is it dark?"}, {"type": "image_url", "image_url": {"url": "A" * 40}}]
    request = {"messages": [{"role": "user", "content": parts}], "reasoning_effort": "low", "stop": " dark"}
    whole = await call(runtime.invoke_model, modelId=model, body=json.dumps(request))
    told = json.loads(await call(whole["body"].read))
    message = told["choices"][0]["message"]
    assert 4 + 10 == told["usage"]["prompt_tokens"]
    assert message["content"] and " dark" not in message["content"]
    answer = await call(runtime.invoke_model_with_response_stream, modelId=model, body=json.dumps(request))
    deltas = [item["delta"] for chunk in await call(read_stream, answer) for item in chunk["choices"]]
    for member in ("reasoning_content", "content"):
        assert message[member] == "".join(delta.get(member, "") for delta in deltas)
    calls = [{"id": "c", "type": "function", "function": {"name": "find", "arguments": "{}"}}]
    request = {
        "messages": [
            {"role": "user", "content": "use the tool"},
            {"role": "assistant", "content": None, "tool_calls": calls},
            {"role": "tool", "tool_call_id": "c", "content": "42 owls"},
        ],
        "tools": [{"type": "function", "function": {"name": "find"}}],
    }
    whole = await call(runtime.invoke_model, modelId=model, body=json.dumps(request))
    choice = json.loads(await call(whole["body"].read))["choices"][0]
    assert "stop" == choice["finish_reason"]
    assert "42 owls" in choice["message"]["content"]


async def test_reasoning_of_gpt_oss(runtime: Any, call: Any) -> None:
    """The reasoning of gpt-oss stands in tags before its text, alike in whole and stream."""
    asked = {"messages": CHAT["messages"], "reasoning_effort": "low"}
    request: dict[str, Any] = {"modelId": "openai.gpt-oss-20b-1:0", "body": json.dumps(asked)}
    whole = await call(runtime.invoke_model, **request)
    message = json.loads(await call(whole["body"].read))["choices"][0]["message"]
    answer = await call(runtime.invoke_model_with_response_stream, **request)
    assert message["content"].startswith("<reasoning>The question")
    assert message["content"] == "".join(delta(chunk) for chunk in await call(read_stream, answer))


async def test_tools_of_command_r(runtime: Any, call: Any) -> None:
    """Command R calls tools without text or ids, alike in whole and stream, and answers their results in words."""
    model = "cohere.command-r-v1:0"
    tool = {"name": "find", "description": "", "parameter_definitions": {"q": {"type": "str"}, "n": {"type": "int"}}}
    request: dict[str, Any] = {"message": "use the tool on Rome", "tools": [tool]}
    whole = await call(runtime.invoke_model, modelId=model, body=json.dumps(request))
    told = json.loads(await call(whole["body"].read))
    answer = await call(runtime.invoke_model_with_response_stream, modelId=model, body=json.dumps(request))
    (event,) = [one for one in await call(read_stream, answer) if one["event_type"] == "tool-calls-generation"]
    assert ("", "COMPLETE") == (told["text"], told["finish_reason"])
    assert [{"name": "find", "parameters": {"q": "Rome", "n": 1}}] == told["tool_calls"] == event["tool_calls"]
    request["tool_results"] = [{"call": told["tool_calls"][0], "outputs": [{"text": "42 owls"}]}]
    whole = await call(runtime.invoke_model, modelId=model, body=json.dumps(request))
    assert "42 owls" in json.loads(await call(whole["body"].read))["text"]


async def test_guardrail_headers(runtime: Any, call: Any) -> None:
    """A guardrail named in headers adds its action and, asked to, its trace to the model's JSON."""
    body = {"anthropic_version": "x", "max_tokens": 50, "messages": [{"role": "user", "content": "a forbidden word"}]}
    asked = {"modelId": CLAUDE, "guardrailIdentifier": "abc123", "guardrailVersion": "DRAFT", "trace": "ENABLED"}
    whole = await call(runtime.invoke_model, body=json.dumps(body), **asked)
    told = json.loads(await call(whole["body"].read))
    assert "INTERVENED" == told["amazon-bedrock-guardrailAction"]
    usage = told["amazon-bedrock-trace"]["guardrail"]["input"]["abc123"]["invocationMetrics"]["usage"]
    assert 1 == usage["wordPolicyUnits"]
    body["messages"][0]["content"] = "a kind word"
    answer = await call(runtime.invoke_model_with_response_stream, body=json.dumps(body), **asked)
    assert "NONE" == (await call(read_stream, answer))[-1]["amazon-bedrock-guardrailAction"]


async def test_headers_are_echoed(runtime: Any, call: Any) -> None:
    """Performance configuration and service tier come back, as boto3's own members."""
    body = json.dumps({"prompt": PROMPT})
    asked = {"modelId": "meta.llama3-8b-instruct-v1:0", "performanceConfigLatency": "optimized", "serviceTier": "flex"}
    for invoke in (runtime.invoke_model, runtime.invoke_model_with_response_stream):
        answer = await call(invoke, body=body, **asked)
        assert ("optimized", "flex") == (answer["performanceConfigLatency"], answer["serviceTier"])
        await call(lambda answer=answer: [*answer["body"]])


@pytest.mark.parametrize(
    ("model", "body", "vectors", "tokens"),
    [
        ("amazon.titan-embed-text-v1", {"inputText": "12345"}, lambda body: [body["embedding"]], 2),
        (
            "amazon.titan-embed-text-v2:0",
            {"inputText": "12345", "dimensions": 256},
            lambda body: [body["embedding"]],
            2,
        ),
        (
            "amazon.titan-embed-image-v1",
            {"inputText": "1234", "inputImage": "A" * 40},
            lambda body: [body["embedding"]],
            11,
        ),
        (
            "amazon.titan-embed-text-v2:0",
            {"inputText": "12345", "embeddingTypes": ["float", "binary"]},
            lambda body: [body["embeddingsByType"]["float"]],
            2,
        ),
        (
            "cohere.embed-english-v3",
            {"texts": ["1234", "5678"], "input_type": "search_query"},
            lambda body: body["embeddings"],
            2,
        ),
        (
            "us.cohere.embed-v4:0",
            {"texts": ["1234"], "input_type": "search_query", "embedding_types": ["float", "int8", "ubinary"]},
            lambda body: body["embeddings"]["float"],
            1,
        ),
        (
            "amazon.nova-2-multimodal-embeddings-v1:0",
            {
                "taskType": "SINGLE_EMBEDDING",
                "singleEmbeddingParams": {"text": {"value": "1234"}, "embeddingDimension": 384},
            },
            lambda body: [item["embedding"] for item in body["embeddings"]],
            1,
        ),
    ],
)
async def test_embeddings(
    runtime: Any, call: Any, model: str, body: dict[str, Any], vectors: Reader, tokens: int
) -> None:
    """Embeddings are unit vectors that depend on the text alone; the header counts the input."""
    answers = []
    for _ in range(2):
        whole = await call(runtime.invoke_model, modelId=model, body=json.dumps(body))
        assert str(tokens) == whole["ResponseMetadata"]["HTTPHeaders"]["x-amzn-bedrock-input-token-count"]
        answers.append(json.loads(await call(whole["body"].read)))
    assert answers[0] == answers[1]
    found = vectors(answers[0])
    assert all(abs(sum(value * value for value in vector) - 1) < 1e-3 for vector in found)
    assert len(found) == len({tuple(vector) for vector in found})
    sizes = {"amazon.titan-embed-text-v1": 1_536, "us.cohere.embed-v4:0": 1_536}
    default = body.get("dimensions") or body.get("singleEmbeddingParams", {}).get("embeddingDimension") or 1_024
    assert {sizes.get(model, default)} == {len(vector) for vector in found}
    with pytest.raises(runtime.exceptions.ValidationException):
        await call(runtime.invoke_model_with_response_stream, modelId=model, body=json.dumps(body))


@pytest.mark.parametrize("model", ["cohere.rerank-v3-5:0", "amazon.rerank-v1:0"])
async def test_rerank(runtime: Any, call: Any, model: str) -> None:
    """Documents that share words with the query come first, ``top_n`` of them."""
    documents = ["a cat sat", "the capital of Chad", "capital letters"]
    body = {"query": "what is the capital of Chad", "documents": documents, "top_n": 2, "api_version": 2}
    whole = await call(runtime.invoke_model, modelId=model, body=json.dumps(body))
    results = json.loads(await call(whole["body"].read))["results"]
    assert [1, 2] == [result["index"] for result in results]
    assert 1 >= results[0]["relevance_score"] > results[1]["relevance_score"] >= 0


def dimensions(picture: str) -> tuple[int, int]:
    """Check a PNG, every chunk's CRC and the number of its bytes, and give its width and height."""
    data = base64.b64decode(picture)
    assert b"\x89PNG\r\n\x1a\n" == data[:8]
    position, chunks = 8, {}
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        kind, content = data[position + 4 : position + 8], data[position + 8 : position + 8 + length]
        assert zlib.crc32(kind + content) == struct.unpack_from(">I", data, position + 8 + length)[0]
        chunks[kind] = content
        position += 12 + length
    width, height = struct.unpack_from(">II", chunks[b"IHDR"])
    assert (1 + -(-width // 8)) * height == len(zlib.decompress(chunks[b"IDAT"]))
    assert {b"IHDR", b"PLTE", b"IDAT", b"IEND"} == set(chunks)
    assert len(data) < 10_000
    return width, height


async def test_canvas(runtime: Any, call: Any) -> None:
    """Nova Canvas and Titan Image give as many PNGs as asked for, of the size asked for, all different."""
    body = {
        "taskType": "TEXT_IMAGE",
        "textToImageParams": {"text": "a lighthouse"},
        "imageGenerationConfig": {"numberOfImages": 3, "width": 512, "height": 320},
    }
    for model in ("amazon.nova-canvas-v1:0", "amazon.titan-image-generator-v2:0"):
        whole = await call(runtime.invoke_model, modelId=model, body=json.dumps(body))
        images = json.loads(await call(whole["body"].read))["images"]
        assert [(512, 320)] * 3 == [dimensions(picture) for picture in images]
        assert 3 == len(set(images))


async def test_stability(runtime: Any, call: Any) -> None:
    """Stability's models answer in the shape of now and of SDXL."""
    whole = await call(
        runtime.invoke_model,
        modelId="stability.sd3-5-large-v1:0",
        body=json.dumps({"prompt": "a lighthouse", "aspect_ratio": "16:9", "seed": 5}),
    )
    told = json.loads(await call(whole["body"].read))
    assert ([5], [None], (1_344, 768)) == (told["seeds"], told["finish_reasons"], dimensions(told["images"][0]))
    whole = await call(
        runtime.invoke_model,
        modelId="stability.stable-diffusion-xl-v1",
        body=json.dumps({"text_prompts": [{"text": "a lighthouse"}], "width": 512, "height": 512}),
    )
    artifact = json.loads(await call(whole["body"].read))["artifacts"][0]
    assert ("SUCCESS", (512, 512)) == (artifact["finishReason"], dimensions(artifact["base64"]))
    whole = await call(
        runtime.invoke_model,
        modelId="us.stability.stable-image-remove-background-v1:0",
        body=json.dumps({"image": "AAAA"}),
    )
    assert 1 == len(json.loads(await call(whole["body"].read))["images"])


@pytest.mark.parametrize(
    ("model", "body"),
    [
        (CLAUDE, {"anthropic_version": "x", "messages": CHAT["messages"]}),
        (CLAUDE, {"max_tokens": 5, "messages": CHAT["messages"]}),
        (CLAUDE, {"anthropic_version": "x", "max_tokens": 5, "messages": []}),
        (CLAUDE, {"anthropic_version": "x", "max_tokens": "5", "messages": CHAT["messages"]}),
        (CLAUDE, {"anthropic_version": "x", "max_tokens": 5, "messages": [{"role": "user", "content": [5]}]}),
        (
            CLAUDE,
            {"anthropic_version": "x", "max_tokens": 5, "messages": [{"role": "user", "content": [{"type": "image"}]}]},
        ),
        ("openai.gpt-oss-120b-1:0", {"messages": [{"role": "nobody", "content": "x"}]}),
        ("openai.gpt-oss-120b-1:0", {"messages": CHAT["messages"], "stop": [5]}),
        ("openai.gpt-oss-120b-1:0", {"messages": CHAT["messages"], "stop": 5}),
        ("openai.gpt-oss-120b-1:0", {"messages": CHAT["messages"], "tools": 5}),
        ("meta.llama3-8b-instruct-v1:0", {"prompt": ""}),
        ("meta.llama3-8b-instruct-v1:0", {"prompt": 5}),
        ("meta.llama3-8b-instruct-v1:0", {"prompt": "x", "max_gen_len": 0}),
        ("amazon.titan-embed-text-v2:0", {"inputText": "x", "dimensions": 7}),
        ("amazon.titan-embed-text-v2:0", {"inputText": "x", "embeddingTypes": [{}]}),
        ("cohere.command-r-v1:0", {"message": "x", "force_single_step": True}),
        ("cohere.command-r-v1:0", {"message": "x", "chat_history": [{"role": "TOOL", "message": "x"}]}),
        ("cohere.command-r-v1:0", {"message": "x", "tool_results": [{"outputs": []}]}),
        ("cohere.command-r-v1:0", {"message": "x", "tools": 5}),
        ("cohere.command-r-v1:0", {"message": "x", "tools": [{}]}),
        ("cohere.embed-english-v3", {"texts": ["x"]}),
        ("cohere.embed-english-v3", {"texts": [], "input_type": "search_query"}),
        ("cohere.embed-english-v3", {"texts": ["x"] * 97, "input_type": "search_query"}),
        ("cohere.embed-english-v3", {"texts": ["x"], "input_type": "search_query", "embedding_types": [[]]}),
        ("cohere.rerank-v3-5:0", {"query": "x", "documents": []}),
        ("amazon.nova-canvas-v1:0", {"taskType": "TEXT_IMAGE", "textToImageParams": {}}),
        ("amazon.nova-canvas-v1:0", {"taskType": ["TEXT_IMAGE"]}),
        (
            "amazon.nova-canvas-v1:0",
            {"taskType": "TEXT_IMAGE", "textToImageParams": {"text": "x"}, "imageGenerationConfig": {"width": 10**9}},
        ),
        ("stability.sd3-5-large-v1:0", {"prompt": ["x"]}),
        ("amazon.nova-reel-v1:0", {"prompt": "x"}),
    ],
)
async def test_wrong_bodies(runtime: Any, call: Any, model: str, body: dict[str, Any]) -> None:
    """What a family cannot read is a ValidationException with a message."""
    with pytest.raises(runtime.exceptions.ValidationException) as raised:
        await call(runtime.invoke_model, modelId=model, body=json.dumps(body))
    assert raised.value.response["Error"]["Message"]
