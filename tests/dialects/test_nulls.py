"""Members that are null, as front ends send what nobody has set: each says as little as if it were left out."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Mapping
from typing import Any, get_type_hints

import pytest
from anthropic.types import message_count_tokens_params, message_create_params
from anthropic.types.beta import message_create_params as beta_message_create_params
from openai.types import embedding_create_params, image_generate_params
from openai.types.chat import completion_create_params
from openai.types.responses import response_create_params

from bedrock_gateway.dialects.anthropic.dialect import COUNT_TOKENS, MESSAGES
from bedrock_gateway.dialects.families.bodies import body_of
from bedrock_gateway.dialects.families.invoked import invoked
from bedrock_gateway.dialects.openai.chat_answer import ChatStream
from bedrock_gateway.dialects.openai.dialect import CHAT, EMBEDDINGS, IMAGES, RERANK, RESPONSES
from bedrock_gateway.dialects.speech import Asked, Dialect, Divided
from bedrock_gateway.errors import InvalidRequest

NOVA, CLAUDE = "amazon.nova-pro-v1:0", "anthropic.claude-sonnet-4-20250514-v1:0"
PROFILE = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"
GPT = "openai.gpt-oss-120b-1:0"
TITAN, COHERE = "amazon.titan-embed-text-v2:0", "cohere.embed-v4:0"
CANVAS, STABLE, RERANKER = "amazon.nova-canvas-v1:0", "stability.sd3-5-large-v1:0", "cohere.rerank-v3-5:0"

SAID = [{"role": "user", "content": "Why?"}]
LOOK = {"name": "look", "description": "Looks.", "parameters": {"type": "object"}}
#: Members that are the gateway's own, LiteLLM's or Converse's, in every dialect of conversations.
OURS = (
    *("guardrailConfig", "performanceConfig", "requestMetadata", "promptVariables", "outputConfig", "serviceTier"),
    *("additionalModelRequestFields", "additionalModelResponseFieldPaths", "litellm_metadata", "top_k", "thinking"),
)
LITELLMS = (
    *("drop_params", "fallbacks", "guardrails", "additional_drop_params", "allowed_openai_params", "num_retries"),
    *("timeout", "request_timeout", "cache", "mock_response", "disable_fallbacks", "caching", "tags", "extra_body"),
    *("litellm_session_id", "litellm_trace_id", "litellm_call_id", "prompt_cache_options", "client_metadata"),
)
CHATS: dict[str, Any] = {"model": "m", "messages": SAID}
RESPONSE: dict[str, Any] = {"model": "m", "input": "Why?"}
MESSAGE: dict[str, Any] = {"model": "m", "messages": SAID, "max_tokens": 5}
IMAGE: dict[str, Any] = {"model": "m", "prompt": "A cat."}
RANKING: dict[str, Any] = {"model": "m", "query": "a", "documents": ["b", "c"]}
EMBEDDING: dict[str, Any] = {"model": "m", "input": "a"}


def names(params: object) -> list[str]:
    """Return the members that an SDK knows of a request."""
    return [*get_type_hints(params)]


#: Dialect, model, a request, and the members that are known of one.
ROUTES: list[tuple[Dialect, str, dict[str, Any], Iterable[str]]] = [
    *(
        (CHAT, model, CHATS, [*names(completion_create_params.CompletionCreateParamsBase), "stream", *OURS, *LITELLMS])
        for model in (NOVA, CLAUDE)
    ),
    (
        RESPONSES,
        NOVA,
        RESPONSE,
        [*names(response_create_params.ResponseCreateParamsBase), "stream", "stop", *OURS, *LITELLMS],
    ),
    *(
        (MESSAGES, model, MESSAGE, [*names(found), "stream", "anthropic_version", "anthropic_beta", *OURS])
        for model in (NOVA, CLAUDE, PROFILE)
        for found in (
            message_create_params.MessageCreateParamsBase,
            beta_message_create_params.MessageCreateParamsBase,
        )
    ),
    *(
        (COUNT_TOKENS, model, MESSAGE, [*names(message_count_tokens_params.MessageCountTokensParams), *OURS])
        for model in (NOVA, CLAUDE)
    ),
    *(
        (
            EMBEDDINGS,
            model,
            EMBEDDING,
            [
                *names(embedding_create_params.EmbeddingCreateParams),
                *("input_type", "embedding_types", "embeddingTypes", "embeddingPurpose", "singleEmbeddingParams"),
                *("safety_identifier", "metadata", "truncate", "normalize", *LITELLMS),
            ],
        )
        for model in (TITAN, COHERE)
    ),
    *(
        (
            IMAGES,
            model,
            IMAGE,
            [
                *names(image_generate_params.ImageGenerateParamsBase),
                *("stream", "negative_prompt", "seed", "taskType", "task_type", "imageGenerationConfig"),
                *("textToImageParams", "mode", "aspect_ratio", "safety_identifier", "metadata", *LITELLMS),
            ],
        )
        for model in (CANVAS, STABLE)
    ),
    (
        RERANK,
        RERANKER,
        RANKING,
        [
            *("top_n", "rank_fields", "return_documents", "max_tokens_per_doc", "max_chunks_per_doc", "priority"),
            *("user", "safety_identifier", "metadata", *LITELLMS),
        ],
    ),
]


def sent(dialect: Dialect, model: str, body: dict[str, Any]) -> tuple[Any, ...]:
    """Return what is asked of a model for a request, and whatever else is made of it."""
    read = dialect.read(
        Asked(
            path="/v1/x",
            headers={},
            body=json.dumps(body).encode(),
            drop_params=False,
            model_of=lambda name: model,
            keep=lambda content, kind: "",
        )
    )
    assert not isinstance(read, Divided)
    relay = read.relay(model, call_id="c", now=0, defaults={"temperature": 0.5})
    return json.loads(relay.request(read.body)), read


def differing(dialect: Dialect, model: str, body: dict[str, Any], bodies: Mapping[str, dict[str, Any]]) -> list[str]:
    """Return the names of requests that are refused, or mean anything else than one."""
    wanted, found = sent(dialect, model, body), []
    for name, other in bodies.items():
        try:
            if wanted != sent(dialect, model, other):
                found.append(name)
        except InvalidRequest:
            found.append(name)
    return found


@pytest.mark.parametrize(("dialect", "model", "body", "known"), ROUTES)
def test_null_is_as_if_it_were_left_out(
    dialect: Dialect, model: str, body: dict[str, Any], known: Iterable[str]
) -> None:
    """A known member that is null changes nothing: neither what is sent, nor what else is made of the request."""
    assert [] == differing(dialect, model, body, {name: body | {name: None} for name in known if name not in body})


@pytest.mark.parametrize(
    ("dialect", "model", "body", "known"), [route for route in ROUTES if route[0] not in (MESSAGES, COUNT_TOKENS)]
)
def test_null_in_extra_body(dialect: Dialect, model: str, body: dict[str, Any], known: Iterable[str]) -> None:
    """In extra_body it changes as little."""
    assert [] == differing(dialect, model, body, {name: body | {"extra_body": {name: None}} for name in known})


def test_null_of_the_longest_answer_is_counted() -> None:
    """A count of tokens for Claude has a longest answer where the request says none, or null."""
    without = {name: value for name, value in MESSAGE.items() if name != "max_tokens"}

    assert [] == differing(COUNT_TOKENS, CLAUDE, without, {"max_tokens": without | {"max_tokens": None}})


TOOL = {"type": "function", "function": LOOK}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
SCHEMA = {"name": "x", "schema": {"type": "object"}}
FULL_CHAT: dict[str, Any] = {
    "model": "m",
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "Why?"}]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ],
    "tools": [TOOL],
    "stream": True,
    "stream_options": {},
    "metadata": {},
    "response_format": {"type": "json_schema", "json_schema": SCHEMA},
}
FULL_RESPONSE: dict[str, Any] = {
    "model": "m",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "Why?"}]},
        {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "a"},
        {"type": "reasoning", "summary": []},
        {"role": "user", "content": "c"},
    ],
    "tools": [{"type": "function", **LOOK}],
    "stream": True,
    "stream_options": {},
    "metadata": {},
    "reasoning": {},
    "text": {},
}
FULL_MESSAGE: dict[str, Any] = {
    "model": "m",
    "max_tokens": 5,
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Why?"},
                {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a"}},
                {
                    "type": "search_result",
                    "source": "s",
                    "title": "t",
                    "content": [{"type": "text", "text": "r"}],
                    "citations": {},
                },
            ],
        },
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "look", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "a"}]},
    ],
    "system": [{"type": "text", "text": "Be brief."}],
    "tools": [{"name": "look", "input_schema": {"type": "object"}}],
    "tool_choice": {"type": "auto"},
    "metadata": {},
    "output_config": {},
}


@pytest.mark.parametrize(
    ("dialect", "body", "path"),
    [
        *(
            (CHAT, FULL_CHAT, path)
            for path in (
                *("messages.0.name", "messages.0.cache_control", "messages.0.content.0.cache_control"),
                *("messages.1.refusal", "messages.1.audio", "messages.1.function_call", "messages.1.annotations"),
                *("messages.1.thinking_blocks", "messages.1.reasoning_content", "messages.1.tool_calls.0.type"),
                *("messages.1.tool_calls.0.index", "messages.2.name", "messages.3.tool_calls"),
                *("tools.0.type", "tools.0.cache_control", "tools.0.function.strict", "metadata.tags"),
                *("stream_options.include_usage", "stream_options.include_obfuscation"),
                *("response_format.json_schema.strict", "response_format.json_schema.description"),
            )
        ),
        *(
            (RESPONSES, FULL_RESPONSE, path)
            for path in (
                *("input.0.type", "input.0.id", "input.0.status", "input.0.cache_control", "input.1.id"),
                *("input.1.status", "input.2.id", "input.2.status", "input.3.encrypted_content", "input.3.content"),
                *("tools.0.strict", "tools.0.cache_control", "metadata.tags", "stream_options.include_usage"),
                *("stream_options.include_obfuscation", "reasoning.summary", "text.verbosity"),
            )
        ),
        *(
            (MESSAGES, FULL_MESSAGE, path)
            for path in (
                *("messages.0.content.0.cache_control", "messages.0.content.0.citations"),
                *("messages.0.content.1.title", "messages.0.content.1.context", "messages.0.content.1.citations"),
                *("messages.0.content.2.citations.enabled", "messages.0.content.2.cache_control"),
                *("messages.1.content.0.cache_control", "messages.2.content.0.is_error", "system.0.cache_control"),
                *("system.0.citations", "tools.0.type", "tools.0.description", "tools.0.cache_control"),
                *("tools.0.strict", "tool_choice.disable_parallel_tool_use", "metadata.user_id"),
                *("output_config.effort", "output_config.format"),
            )
        ),
    ],
)
def test_null_inside(dialect: Dialect, body: dict[str, Any], path: str) -> None:
    """What stands inside of other members is not given either where it is null."""
    changed = copy.deepcopy(body)
    *way, name = path.split(".")
    holder: Any = changed
    for key in way:
        holder = holder[int(key) if key.isdigit() else key]
    without = {**holder}
    without.pop(name, None)
    holder[name] = None
    told = sent(dialect, NOVA, changed)
    holder.clear()
    holder.update(without)

    # A response says again what was asked, null or not.
    wanted = sent(dialect, NOVA, changed)
    assert (wanted[0], wanted[1].operation) == (told[0], told[1].operation)


#: Members of Converse that stand in requests as they are, and something to say in each.
CONVERSES: dict[str, dict[str, Any]] = {
    "guardrailConfig": {
        "guardrailIdentifier": "g",
        "guardrailVersion": "1",
        "trace": "enabled",
        "streamProcessingMode": "sync",
    },
    "performanceConfig": {"latency": "optimized"},
    "serviceTier": {"type": "flex"},
    "requestMetadata": {"a": "b"},
    "promptVariables": {"a": {"text": "b"}},
    "outputConfig": {"textFormat": {"type": "json_schema"}},
}
BODIES = [(CHAT, CHATS), (RESPONSES, RESPONSE), (MESSAGES, MESSAGE)]


@pytest.mark.parametrize(("dialect", "body"), BODIES)
@pytest.mark.parametrize(("member", "name"), [(member, name) for member, told in CONVERSES.items() for name in told])
def test_null_inside_of_converses_own(dialect: Dialect, body: dict[str, Any], member: str, name: str) -> None:
    """What is null in a member of Converse's is left out, and the member where nothing else is in it."""
    others = {one: told for one, told in CONVERSES[member].items() if one != name}
    without = body | {member: others} if others else body
    alone = dict.fromkeys(CONVERSES[member])

    assert [] == differing(dialect, NOVA, without, {name: body | {member: others | {name: None}}})
    assert [] == differing(dialect, NOVA, body, {member: body | {member: alone}})


@pytest.mark.parametrize(("dialect", "body"), BODIES)
def test_null_for_the_model(dialect: Dialect, body: dict[str, Any]) -> None:
    """What is null among the members that are the model's own is told to it."""
    told, _ = sent(dialect, NOVA, body | {"additionalModelRequestFields": {"a": None}})

    assert None is told["additionalModelRequestFields"]["a"]


@pytest.mark.parametrize("member", ["guardrailConfig", "performanceConfig", "serviceTier"])
def test_null_where_the_model_is_invoked(member: str) -> None:
    """What InvokeModel has headers for is no header where it is null, nor is it refused."""
    asked = {"messages": [{"role": "user", "content": [{"text": "Why?"}]}]}
    found = []
    for more in ({}, {member: None}, {member: dict.fromkeys(CONVERSES[member])}):
        family = body_of("", GPT)
        assert family is not None
        relay = invoked(ChatStream(None, "c", 0, "m", "", False), family)
        found.append((json.loads(relay.request(json.dumps(asked | more).encode())), relay.headers))

    assert [found[0]] * 3 == found
    assert [] == found[0][1]
