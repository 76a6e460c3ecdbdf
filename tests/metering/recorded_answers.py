"""Answers in the shapes AWS gives them, with the usage and the spend worked out by hand.

The spend is written as AWS bills it: quantity times nano-USD per token (USD per million times 1,000), image or unit,
so that each line can be checked against a price list with a pencil. Shapes: botocore's bedrock-runtime model and the
user guide's pages of each family.
"""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import attrs

from bedrock_gateway.wire.eventstream import encode_event

__all__ = ["STREAMS", "WHOLE", "Recorded", "Streamed", "chunk"]

CENT = 10_000_000  # nano-USD


@attrs.frozen(kw_only=True)
class Recorded:
    """A whole answer. ``usage`` holds the fields that are not zero; ``spend`` is nano-USD, None where there is none."""

    name: str
    operation: str
    model: str
    body: Any
    usage: dict[str, Any]
    spend: int | None
    state: str = "metered"
    region: str = "us-east-1"
    headers: dict[str, str] = attrs.field(factory=dict)
    request: bytes = b"{}"


@attrs.frozen(kw_only=True)
class Streamed:
    """A streamed answer: its messages, and what they come to."""

    name: str
    operation: str
    model: str
    messages: tuple[bytes, ...]
    usage: dict[str, Any]
    spend: int
    region: str = "us-east-1"
    headers: dict[str, str] = attrs.field(factory=dict)

    @property
    def data(self) -> bytes:
        """The whole stream."""
        return b"".join(self.messages)


def counts(inputs: int, outputs: int) -> dict[str, str]:
    """The two headers of every InvokeModel answer that tells tokens."""
    return {"x-amzn-bedrock-input-token-count": str(inputs), "x-amzn-bedrock-output-token-count": str(outputs)}


def chunk(document: dict[str, Any], padding: str = "abcdefghij") -> bytes:
    """An InvokeModelWithResponseStream chunk: the model's JSON in base64 inside JSON."""
    inner = b64encode(json.dumps(document, separators=(",", ":")).encode()).decode()
    return encode_event("chunk", json.dumps({"bytes": inner, "p": padding}, separators=(",", ":")).encode())


def event(name: str, document: dict[str, Any], padding: str = "abcdefghijklmnop") -> bytes:
    """A ConverseStream event."""
    return encode_event(name, json.dumps({**document, "p": padding}, separators=(",", ":")).encode())


def metrics(inputs: int, outputs: int, **more: int) -> dict[str, Any]:
    """The member AWS adds to the last chunk of a stream."""
    return {
        "amazon-bedrock-invocationMetrics": {
            "inputTokenCount": inputs,
            "outputTokenCount": outputs,
            "invocationLatency": 1520,
            "firstByteLatency": 310,
            **more,
        }
    }


def said(text: str) -> dict[str, Any]:
    """A Converse answer's message."""
    return {"message": {"role": "assistant", "content": [{"text": text}]}}


UNITS = {
    "topicPolicyUnits": 1,
    "contentPolicyUnits": 2,
    "wordPolicyUnits": 1,
    "sensitiveInformationPolicyUnits": 0,
    "sensitiveInformationPolicyFreeUnits": 3,
    "contextualGroundingPolicyUnits": 0,
}

WHOLE = (
    Recorded(
        name="Converse, no cache",
        operation="Converse",
        model="us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        body={
            "metrics": {"latencyMs": 551},
            "output": said("Hello."),
            "stopReason": "end_turn",
            "usage": {"inputTokens": 125, "outputTokens": 60, "totalTokens": 185},
        },
        usage={"input_tokens": 125, "output_tokens": 60},
        spend=125 * 3_300 + 60 * 16_500,
    ),
    Recorded(
        name="Converse, cache writes by time to live",
        operation="Converse",
        model="us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        body={
            "output": said("Cached."),
            "stopReason": "end_turn",
            "usage": {
                "inputTokens": 1200,
                "outputTokens": 350,
                "totalTokens": 7450,
                "cacheReadInputTokens": 5000,
                "cacheWriteInputTokens": 900,
                "cacheDetails": [{"ttl": "1h", "inputTokens": 400}, {"ttl": "5m", "inputTokens": 500}],
            },
        },
        usage={
            "input_tokens": 1200,
            "output_tokens": 350,
            "cache_read_tokens": 5000,
            "cache_write_5m_tokens": 500,
            "cache_write_1h_tokens": 400,
        },
        spend=1200 * 3_300 + 350 * 16_500 + 5000 * 330 + 500 * 4_125 + 400 * 6_600,
    ),
    Recorded(
        name="Converse, bare id in Frankfurt costs the eu profile",
        operation="Converse",
        model="amazon.nova-pro-v1:0",
        region="eu-central-1",
        body={"output": said("Hallo."), "usage": {"inputTokens": 1000, "outputTokens": 100, "totalTokens": 1100}},
        usage={"input_tokens": 1000, "output_tokens": 100},
        spend=1000 * 1_050 + 100 * 4_200,
    ),
    Recorded(
        name="Converse, flex tier as answered",
        operation="Converse",
        model="us.amazon.nova-pro-v1:0",
        body={
            "output": said("Later."),
            "usage": {"inputTokens": 1000, "outputTokens": 100, "totalTokens": 1100},
            "serviceTier": {"type": "flex"},
        },
        usage={"input_tokens": 1000, "output_tokens": 100},
        spend=1000 * 400 + 100 * 1_600,
    ),
    Recorded(
        name="Converse, guardrail with trace",
        operation="Converse",
        model="us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        body={
            "output": said("No."),
            "stopReason": "guardrail_intervened",
            "usage": {"inputTokens": 10, "outputTokens": 5, "totalTokens": 15},
            "trace": {
                "guardrail": {
                    "inputAssessment": {"gr1": {"invocationMetrics": {"usage": UNITS}}},
                    "outputAssessments": {"gr1": [{"invocationMetrics": {"usage": UNITS}}]},
                }
            },
        },
        usage={
            "input_tokens": 10,
            "output_tokens": 5,
            "meters": (
                ("guardrail.contentPolicyUnits", 4),
                ("guardrail.contextualGroundingPolicyUnits", 0),
                ("guardrail.sensitiveInformationPolicyFreeUnits", 6),
                ("guardrail.sensitiveInformationPolicyUnits", 0),
                ("guardrail.topicPolicyUnits", 2),
                ("guardrail.wordPolicyUnits", 2),
            ),
        },
        spend=10 * 3_300 + 5 * 16_500 + 4 * 150_000 + 2 * 150_000 + 6 * 0 + 2 * 0,
    ),
    Recorded(
        name="Converse, guardrail without trace",
        operation="Converse",
        model="us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        body={
            "output": said("No."),
            "stopReason": "guardrail_intervened",
            "usage": {"inputTokens": 10, "outputTokens": 5, "totalTokens": 15},
        },
        usage={"input_tokens": 10, "output_tokens": 5},
        spend=10 * 3_300 + 5 * 16_500,
        state="incomplete",
    ),
    Recorded(
        name="Anthropic, cache creation by time to live; headers say the same",
        operation="InvokeModel",
        model="us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        headers={**counts(20, 30), "x-amzn-bedrock-cache-write-input-token-count": "1000"},
        body={
            "id": "msg_bdrk_1",
            "type": "message",
            "role": "assistant",
            "content": [{"type": "text", "text": "Hi."}],
            "stop_reason": "end_turn",
            "usage": {
                "input_tokens": 20,
                "cache_creation_input_tokens": 1000,
                "cache_read_input_tokens": 300,
                "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 1000},
                "output_tokens": 30,
            },
        },
        usage={"input_tokens": 20, "output_tokens": 30, "cache_read_tokens": 300, "cache_write_1h_tokens": 1000},
        spend=20 * 3_300 + 30 * 16_500 + 300 * 330 + 1000 * 6_600,
    ),
    Recorded(
        name="Anthropic, cache without time to live is 5m and says so",
        operation="InvokeModel",
        model="anthropic.claude-3-5-haiku-20241022-v1:0",
        body={
            "type": "message",
            "usage": {"input_tokens": 11, "cache_creation_input_tokens": 2000, "output_tokens": 7},
        },
        usage={"input_tokens": 11, "output_tokens": 7, "cache_write_5m_tokens": 2000, "flags": ("cache-ttl-assumed",)},
        spend=11 * 800 + 7 * 4_000 + 2000 * 1_000,
    ),
    Recorded(
        name="Nova, fractions of a nano-USD are rounded once, half up",
        operation="InvokeModel",
        model="amazon.nova-micro-v1:0",
        body={
            "output": said("Hi"),
            "stopReason": "end_turn",
            "usage": {
                "inputTokens": 3,
                "outputTokens": 1,
                "totalTokens": 14,
                "cacheReadInputTokenCount": 10,
                "cacheReadInputTokens": 10,
                "cacheWriteInputTokenCount": 0,
            },
        },
        usage={"input_tokens": 3, "output_tokens": 1, "cache_read_tokens": 10},
        spend=3 * 35 + 1 * 140 + 88,  # 10 x 8.75 = 87.5
    ),
    Recorded(
        name="Llama in São Paulo has its own price",
        operation="InvokeModel",
        model="meta.llama3-8b-instruct-v1:0",
        region="sa-east-1",
        body={"generation": "Olá", "prompt_token_count": 13, "generation_token_count": 9, "stop_reason": "stop"},
        usage={"input_tokens": 13, "output_tokens": 9},
        spend=13 * 500 + 9 * 1_010,
    ),
    Recorded(
        name="Titan text",
        operation="InvokeModel",
        model="amazon.titan-text-express-v1",
        body={
            "inputTextTokenCount": 7,
            "results": [{"tokenCount": 31, "outputText": "Yes.", "completionReason": "FINISH"}],
        },
        usage={"input_tokens": 7, "output_tokens": 31},
        spend=7 * 200 + 31 * 600,
    ),
    Recorded(
        name="Titan embeddings",
        operation="InvokeModel",
        model="amazon.titan-embed-text-v2:0",
        body={"embedding": [0.1, -0.2, 3e-05], "inputTextTokenCount": 7},
        usage={"input_tokens": 7},
        spend=7 * 20,
    ),
    Recorded(
        name="Titan multimodal embeddings count the picture of the request",
        operation="InvokeModel",
        model="amazon.titan-embed-image-v1",
        body={"embedding": [0.1, -0.2], "inputTextTokenCount": 5, "message": None},
        request=b'{"inputText": "a cat", "inputImage": "iVBORw0KGgo="}',
        usage={"input_tokens": 5, "meters": (("input_images", 1),)},
        spend=5 * 800 + 60_000,
        state="estimated",
    ),
    Recorded(
        name="Cohere embeddings tell their tokens in a header only",
        operation="InvokeModel",
        model="cohere.embed-english-v3",
        headers={"x-amzn-bedrock-input-token-count": "12"},
        body={
            "id": "1",
            "texts": ["a", "b"],
            "embeddings": [[0.5, 0.25], [1, 2]],
            "response_type": "embeddings_floats",
        },
        usage={"input_tokens": 12},
        spend=12 * 100,
    ),
    Recorded(
        name="Cohere command, header only",
        operation="InvokeModel",
        model="cohere.command-text-v14",
        headers=counts(6, 40),
        body={"generations": [{"finish_reason": "COMPLETE", "id": "1", "text": "Sure"}], "id": "2", "prompt": "p"},
        usage={"input_tokens": 6, "output_tokens": 40},
        spend=6 * 1_000 + 40 * 2_000,
    ),
    Recorded(
        name="Cohere, billed units and not the tokens beside them",
        operation="InvokeModel",
        model="cohere.command-text-v14",
        body={
            "text": "Sure",
            "meta": {
                "billed_units": {"input_tokens": 6, "output_tokens": 40},
                "tokens": {"input_tokens": 72, "output_tokens": 41},
            },
        },
        usage={"input_tokens": 6, "output_tokens": 40},
        spend=6 * 1_000 + 40 * 2_000,
    ),
    Recorded(
        name="a rerank is billed by queries of a hundred documents, which only the request tells",
        operation="InvokeModel",
        model="cohere.rerank-v3-5:0",
        body={"results": [{"index": 2, "relevance_score": 0.98}]},
        request=json.dumps({"query": "q", "documents": ["d"] * 101}).encode(),
        usage={"meters": (("queries", 2),)},
        spend=2 * 2_000_000,
        state="estimated",
    ),
    Recorded(
        name="AI21 Jamba",
        operation="InvokeModel",
        model="ai21.jamba-1-5-large-v1:0",
        body={
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 24, "completion_tokens": 8, "total_tokens": 32},
        },
        usage={"input_tokens": 24, "output_tokens": 8},
        spend=24 * 2_000 + 8 * 8_000,
    ),
    Recorded(
        name="Mistral, header only",
        operation="InvokeModel",
        model="mistral.mistral-large-2402-v1:0",
        headers=counts(15, 22),
        body={"outputs": [{"text": "Bonjour", "stop_reason": "stop"}]},
        usage={"input_tokens": 15, "output_tokens": 22},
        spend=15 * 4_000 + 22 * 12_000,
    ),
    Recorded(
        name="DeepSeek R1, header only",
        operation="InvokeModel",
        model="us.deepseek.r1-v1:0",
        headers=counts(9, 100),
        body={"choices": [{"text": "<think>", "stop_reason": "length"}]},
        usage={"input_tokens": 9, "output_tokens": 100},
        spend=9 * 1_350 + 100 * 5_400,
    ),
    Recorded(
        name="OpenAI's shape: the prompt includes what was cached",
        operation="InvokeModel",
        model="us.openai.gpt-6-astra",
        body={
            "object": "chat.completion",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}],
            "usage": {
                "prompt_tokens": 100,
                "completion_tokens": 20,
                "total_tokens": 120,
                "prompt_tokens_details": {"cached_tokens": 40, "audio_tokens": 0},
            },
        },
        usage={"input_tokens": 60, "output_tokens": 20, "cache_read_tokens": 40},
        spend=60 * 11_000 + 20 * 55_000 + 40 * 1_100,
    ),
    Recorded(
        name="Qwen, priority tier in a header",
        operation="InvokeModel",
        model="qwen.qwen3-32b-v1:0",
        headers={"x-amzn-bedrock-service-tier": "priority"},
        body={"choices": [], "usage": {"prompt_tokens": 1001, "completion_tokens": 3, "prompt_tokens_details": None}},
        usage={"input_tokens": 1001, "output_tokens": 3},
        spend=262_763 + 3_150,  # 1001 x 262.5 = 262762.5; rounded with the rest, once
    ),
    Recorded(
        name="Nova Canvas, two premium images of 2048 pixels",
        operation="InvokeModel",
        model="amazon.nova-canvas-v1:0",
        body={"images": ["iVBORw0KGgo=", "iVBORw0KGgo="]},
        request=b'{"taskType":"TEXT_IMAGE","imageGenerationConfig":{"width":2048,"height":1024,"quality":"premium"}}',
        usage={"images": 2},
        spend=2 * 8 * CENT,
    ),
    Recorded(
        name="Nova Canvas, nothing asked for: 1024 pixels, standard",
        operation="InvokeModel",
        model="amazon.nova-canvas-v1:0",
        body={"images": ["iVBORw0KGgo="]},
        request=b'{"taskType":"TEXT_IMAGE","textToImageParams":{"text":"a cat"}}',
        usage={"images": 1},
        spend=4 * CENT,
    ),
    Recorded(
        name="Titan image, 512 pixels",
        operation="InvokeModel",
        model="amazon.titan-image-generator-v2:0",
        body={"images": ["iVBORw0KGgo="], "error": None},
        request=b'{"imageGenerationConfig":{"width":512,"height":512,"numberOfImages":1}}',
        usage={"images": 1},
        spend=8 * CENT // 10,
    ),
    Recorded(
        name="Stable Diffusion XL, many steps",
        operation="InvokeModel",
        model="stability.stable-diffusion-xl-v1",
        body={"result": "success", "artifacts": [{"seed": 1, "base64": "iVBORw0KGgo=", "finishReason": "SUCCESS"}]},
        request=b'{"text_prompts":[{"text":"a cat"}],"steps":150,"width":1024,"height":1024}',
        usage={"images": 1},
        spend=8 * CENT,
    ),
    Recorded(
        name="Stability, a filtered image is not counted",
        operation="InvokeModel",
        model="stability.sd3-5-large-v1:0",
        body={"seeds": [1, 2], "finish_reasons": [None, "Filter reason: output"], "images": ["iVBORw0KGgo=", ""]},
        usage={"images": 1},
        spend=8 * CENT,
    ),
    Recorded(
        name="ApplyGuardrail",
        operation="ApplyGuardrail",
        model="guardrails",
        body={"action": "NONE", "outputs": [], "assessments": [], "usage": UNITS},
        usage={"meters": tuple(sorted((f"guardrail.{name}", count) for name, count in UNITS.items()))},
        spend=1 * 150_000 + 2 * 150_000 + 3 * 0 + 1 * 0,
    ),
    Recorded(
        name="InvokeGuardrailChecks has no public price",
        operation="InvokeGuardrailChecks",
        model="guardrails",
        body={"usage": {"contentFilter": {"textUnits": 2}, "promptAttack": {"textUnits": 1}}},
        usage={"meters": (("guardrail_checks.contentFilter", 2), ("guardrail_checks.promptAttack", 1))},
        spend=None,
        state="unpriced",
    ),
    Recorded(
        name="CountTokens is free, and what it counts was not consumed",
        operation="CountTokens",
        model="anthropic.claude-3-5-haiku-20241022-v1:0",
        body={"inputTokens": 4711},
        usage={"meters": (("counted.input_tokens", 4711),)},
        spend=0,
        state="free",
    ),
    Recorded(
        name="a model nobody priced",
        operation="Converse",
        model="nobody.model-v1:0",
        body={"output": said("?"), "usage": {"inputTokens": 5, "outputTokens": 6, "totalTokens": 11}},
        usage={"input_tokens": 5, "output_tokens": 6},
        spend=None,
        state="unpriced",
    ),
    Recorded(
        name="no usage anywhere",
        operation="InvokeModel",
        model="mistral.mistral-large-2402-v1:0",
        body={"outputs": [{"text": "Bonjour"}]},
        usage={},
        spend=None,
        state="unmetered",
    ),
)

STREAMS = (
    Streamed(
        name="ConverseStream",
        operation="ConverseStream",
        model="us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        messages=(
            event("messageStart", {"role": "assistant"}),
            *(event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": t}}, "ab" * 5) for t in "Hello!"),
            event("contentBlockStop", {"contentBlockIndex": 0}),
            event("messageStop", {"stopReason": "end_turn"}),
            event(
                "metadata",
                {
                    "usage": {
                        "inputTokens": 125,
                        "outputTokens": 60,
                        "totalTokens": 1185,
                        "cacheReadInputTokens": 0,
                        "cacheWriteInputTokens": 1000,
                        "cacheDetails": [{"ttl": "5m", "inputTokens": 1000}],
                    },
                    "metrics": {"latencyMs": 900},
                },
            ),
        ),
        usage={"input_tokens": 125, "output_tokens": 60, "cache_write_5m_tokens": 1000},
        spend=125 * 3_300 + 60 * 16_500 + 1000 * 4_125,
    ),
    Streamed(
        name="Anthropic: the delta's output is cumulative, the metrics come on top and replace nothing",
        operation="InvokeModelWithResponseStream",
        model="us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        messages=(
            chunk(
                {
                    "type": "message_start",
                    "message": {
                        "id": "msg_1",
                        "usage": {
                            "input_tokens": 25,
                            "cache_creation_input_tokens": 600,
                            "cache_read_input_tokens": 4000,
                            "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 500},
                            "output_tokens": 4,
                        },
                    },
                }
            ),
            chunk({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
            chunk({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}}),
            chunk({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "usage: 9"}}),
            chunk({"type": "content_block_stop", "index": 0}),
            chunk({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 77}}),
            chunk({"type": "message_stop", **metrics(25, 77)}),
        ),
        usage={
            "input_tokens": 25,
            "output_tokens": 77,
            "cache_read_tokens": 4000,
            "cache_write_5m_tokens": 100,
            "cache_write_1h_tokens": 500,
        },
        spend=25 * 3_300 + 77 * 16_500 + 4000 * 330 + 100 * 4_125 + 500 * 6_600,
    ),
    Streamed(
        name="Nova",
        operation="InvokeModelWithResponseStream",
        model="amazon.nova-micro-v1:0",
        messages=(
            chunk({"messageStart": {"role": "assistant"}}),
            chunk({"contentBlockDelta": {"delta": {"text": "Hi"}, "contentBlockIndex": 0}}),
            chunk({"contentBlockStop": {"contentBlockIndex": 0}}),
            chunk({"messageStop": {"stopReason": "end_turn"}}),
            chunk(
                {
                    "metadata": {
                        "usage": {"inputTokens": 30, "outputTokens": 2, "cacheReadInputTokenCount": 8},
                        "metrics": {},
                    },
                    **metrics(30, 2, cacheReadInputTokenCount=8, cacheWriteInputTokenCount=0),
                }
            ),
        ),
        usage={"input_tokens": 30, "output_tokens": 2, "cache_read_tokens": 8},
        spend=30 * 35 + 2 * 140 + 70,  # 8 x 8.75 = 70
    ),
    Streamed(
        name="Llama: the prompt count is null after the first chunk",
        operation="InvokeModelWithResponseStream",
        model="meta.llama3-8b-instruct-v1:0",
        messages=(
            chunk({"generation": "O", "prompt_token_count": 13, "generation_token_count": 1, "stop_reason": None}),
            chunk({"generation": "k", "prompt_token_count": None, "generation_token_count": 2, "stop_reason": None}),
            chunk(
                {
                    "generation": "",
                    "prompt_token_count": None,
                    "generation_token_count": 3,
                    "stop_reason": "stop",
                    **metrics(13, 3),
                }
            ),
        ),
        usage={"input_tokens": 13, "output_tokens": 3},
        spend=13 * 300 + 3 * 600,
    ),
    Streamed(
        name="Titan text",
        operation="InvokeModelWithResponseStream",
        model="amazon.titan-text-express-v1",
        messages=(
            chunk({"outputText": "Y", "index": 0, "totalOutputTextTokenCount": None, "inputTextTokenCount": 5}),
            chunk(
                {
                    "outputText": "es",
                    "index": 0,
                    "totalOutputTextTokenCount": 12,
                    "completionReason": "FINISH",
                    "inputTextTokenCount": None,
                    **metrics(5, 12),
                }
            ),
        ),
        usage={"input_tokens": 5, "output_tokens": 12},
        spend=5 * 200 + 12 * 600,
    ),
    Streamed(
        name="Cohere: only the metrics tell",
        operation="InvokeModelWithResponseStream",
        model="cohere.command-text-v14",
        messages=(
            chunk({"index": 0, "is_finished": False, "text": "Su"}),
            chunk({"finish_reason": "COMPLETE", "index": 0, "is_finished": True, **metrics(6, 40)}),
        ),
        usage={"input_tokens": 6, "output_tokens": 40},
        spend=6 * 1_000 + 40 * 2_000,
    ),
    Streamed(
        name="OpenAI's shape in chunks",
        operation="InvokeModelWithResponseStream",
        model="openai.gpt-oss-120b-1:0",
        messages=(
            chunk({"object": "chat.completion.chunk", "choices": [{"delta": {"content": "Hi"}}], "usage": None}),
            chunk(
                {
                    "choices": [],
                    "usage": {"prompt_tokens": 80, "completion_tokens": 9, "total_tokens": 89},
                    **metrics(80, 9),
                }
            ),
        ),
        usage={"input_tokens": 80, "output_tokens": 9},
        spend=80 * 150 + 9 * 600,
    ),
)
