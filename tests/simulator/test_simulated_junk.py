"""Whatever a request's JSON holds, the simulator answers it or refuses it in AWS's shape; it never fails."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from simulator_requests import CLAUDE, NOVA, user

from bedrock_gateway.simulator import INSTANT, Pace
from bedrock_gateway.simulator.asked import Asked
from bedrock_gateway.simulator.async_invokes import AsyncInvokes
from bedrock_gateway.simulator.guardrails import apply_guardrail, run_checks
from bedrock_gateway.simulator.inference import Inference, parse_json
from bedrock_gateway.simulator.operations import Operations, model_of
from bedrock_gateway.simulator.plausible import answer_of
from bedrock_gateway.simulator.protocol import SimulatedError, Streamed, Whole, compact
from bedrock_gateway.simulator.routes import Route
from bedrock_gateway.simulator.sending import encode
from bedrock_gateway.simulator.services import Modelled, modelled_operations, read_model
from bedrock_gateway.simulator.signatures import Identity, Incoming

CONVERSE = {
    "system": [{"text": "be"}, {"cachePoint": {"type": "default", "ttl": "1h"}}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"text": "use the tool on x [[simulate: throttle]]"},
                {"image": {"format": "png", "source": {"bytes": "AAAA"}}},
                {"document": {"format": "pdf", "name": "n", "source": {"bytes": "AAAA"}}},
                {"toolResult": {"toolUseId": "t", "content": [{"text": "r"}, {"json": {"a": 1}}]}},
                {"guardContent": {"text": {"text": "g"}}},
            ],
        }
    ],
    "toolConfig": {
        "tools": [
            {
                "toolSpec": {
                    "name": "f",
                    "inputSchema": {
                        "json": {
                            "type": "object",
                            "properties": {
                                "a": {"type": "array", "items": {"type": "number", "minimum": 2}},
                                "b": {"type": "object", "properties": {"c": {"enum": ["d"]}}},
                            },
                        }
                    },
                }
            },
            {"cachePoint": {"type": "default"}},
        ],
        "toolChoice": {"any": {}},
    },
    "inferenceConfig": {"maxTokens": 50, "temperature": 0.5, "topP": 0.5, "stopSequences": ["END"]},
    "additionalModelRequestFields": {"thinking": {"type": "enabled"}},
    "additionalModelResponseFieldPaths": ["/stop_sequence"],
    "guardrailConfig": {"guardrailIdentifier": "abc", "guardrailVersion": "1", "trace": "enabled"},
    "serviceTier": {"type": "flex"},
    "performanceConfig": {"latency": "standard"},
}
ANTHROPIC = {
    "anthropic_version": "x",
    "max_tokens": 50,
    "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral", "ttl": "5m"}}],
    "messages": [
        {"role": "user", "content": "plain"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "use f"},
                {"type": "image", "source": {"type": "base64", "data": "AAAA"}},
                {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "r"}]},
            ],
        },
    ],
    "tools": [{"name": "f", "input_schema": {"type": "object", "properties": {"a": {"type": "string"}}}}],
    "tool_choice": {"type": "tool", "name": "f"},
    "stop_sequences": ["END"],
    "thinking": {"type": "enabled"},
}
CHAT = {
    "messages": [
        {
            "role": "user",
            "content": [{"type": "text", "text": "use f"}, {"type": "image_url", "image_url": {"url": "x"}}],
        }
    ],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "stop": ["END"],
    "max_completion_tokens": 50,
}
INVOKE: list[tuple[str, dict[str, Any]]] = [
    (CLAUDE, ANTHROPIC),
    (NOVA, {name: CONVERSE[name] for name in ("system", "messages", "toolConfig", "inferenceConfig")}),
    ("openai.gpt-oss-20b-1:0", CHAT),
    ("meta.llama3-8b-instruct-v1:0", {"prompt": "p", "max_gen_len": 5}),
    (
        "amazon.titan-text-lite-v1",
        {"inputText": "p", "textGenerationConfig": {"maxTokenCount": 5, "stopSequences": ["E"]}},
    ),
    ("cohere.command-r-v1:0", {"message": "p", "chat_history": [{"role": "USER", "message": "m"}], "max_tokens": 5}),
    ("cohere.command-text-v14", {"prompt": "p", "max_tokens": 5, "stop_sequences": ["E"]}),
    ("cohere.embed-english-v3", {"texts": ["p"], "input_type": "x", "embedding_types": ["binary"], "images": ["x"]}),
    ("amazon.titan-embed-text-v2:0", {"inputText": "p", "dimensions": 256, "embeddingTypes": ["float"]}),
    (
        "amazon.titan-embed-image-v1",
        {"inputText": "p", "inputImage": "x", "embeddingConfig": {"outputEmbeddingLength": 256}},
    ),
    (
        "amazon.nova-2-multimodal-embeddings-v1:0",
        {"taskType": "SINGLE_EMBEDDING", "singleEmbeddingParams": {"text": {"value": "p"}, "embeddingDimension": 256}},
    ),
    ("cohere.rerank-v3-5:0", {"query": "q", "documents": ["d", {"text": "e"}], "top_n": 1}),
    (
        "amazon.nova-canvas-v1:0",
        {
            "taskType": "TEXT_IMAGE",
            "textToImageParams": {"text": "p"},
            "imageGenerationConfig": {"numberOfImages": 1, "width": 8, "height": 8, "seed": 1},
        },
    ),
    ("stability.sd3-5-large-v1:0", {"prompt": "p", "aspect_ratio": "1:1", "seed": 2}),
    ("stability.stable-diffusion-xl-v1", {"text_prompts": [{"text": "p"}], "width": 8, "height": 8}),
    ("arn:aws:bedrock:us-east-1:1:provisioned-model/x", {"messages": [{"role": "user", "content": [{"text": "p"}]}]}),
]
CHECKS = {
    "messages": [{"role": "user", "content": [{"text": "a@b.cd"}]}],
    "checks": {
        "contentFilter": {"categories": [{"category": "HATE"}]},
        "promptAttack": {"categories": [{"category": "JAILBREAK"}]},
        "sensitiveInformation": {"entities": [{"type": "EMAIL"}]},
    },
}
GUARDRAIL = {"source": "INPUT", "content": [{"text": {"text": "a forbidden word"}}, {"image": {"format": "png"}}]}
ASYNC = {
    "modelId": "amazon.nova-reel-v1:0",
    "modelInput": {"a": 1},
    "clientRequestToken": "t",
    "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://bucket/x"}},
}
# JSON as a client may write it, lone surrogates and huge numbers included.
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats()
    | st.sampled_from(["", " ", "x", "\ud800", "é" * 50, "[[simulate: cut after=1]]", "user", "tool", "1h", "s3://b/c"])
)
JUNK = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["text", "type", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """List the path of every value inside a JSON value."""
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += places(inner, (*path, key))
    return found


@st.composite
def mutated(draw: st.DrawFn, body: dict[str, Any]) -> bytes:
    """Replace or drop one or two values of a good body."""
    changed = copy.deepcopy(body)
    for _ in range(draw(st.integers(1, 2))):
        path = draw(st.sampled_from([*places(changed), ("extra",)]))
        holder: Any = changed
        for key in path[:-1]:
            holder = holder[key]
        if path != ("extra",) and draw(st.integers(0, 3)) == 0:
            del holder[path[-1]]
        else:
            holder[path[-1]] = draw(JUNK)
    return json.dumps(changed).encode()


def exhaust(answer: Whole | Streamed) -> None:
    """Read an answer to its end: what a client would parse is parsed."""
    if isinstance(answer, Streamed):
        assert 0 < len(b"".join([encode(event) for event in answer.events]))
    else:
        assert isinstance(json.loads(answer.body), dict)


def inference() -> Inference:
    """Give models of their own."""
    return Inference(seed=1, pace=INSTANT, clock=lambda: 1_000.0)


JUNK_SETTINGS = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])


@JUNK_SETTINGS
@given(body=mutated(CONVERSE), streamed=st.booleans())
def test_converse_survives_junk(body: bytes, streamed: bool) -> None:
    """Converse answers or refuses."""
    try:
        exhaust(inference().converse(CLAUDE, body, "a", streamed=streamed).finish())
    except SimulatedError as refused:
        assert 400 == refused.status
        assert json.loads(refused.body())["message"]


@JUNK_SETTINGS
@given(data=st.data(), case=st.sampled_from(INVOKE), streamed=st.booleans())
def test_invoke_survives_junk(data: st.DataObject, case: tuple[str, dict[str, Any]], streamed: bool) -> None:
    """InvokeModel answers or refuses, in every family."""
    model, good = case
    body = data.draw(mutated(good))
    headers = {
        "x-amzn-bedrock-guardrailidentifier": "abc",
        "x-amzn-bedrock-guardrailversion": "1",
        "x-amzn-bedrock-trace": "ENABLED",
    }
    try:
        exhaust(inference().invoke(model, body, headers, "a", streamed=streamed).finish())
    except SimulatedError as refused:
        assert 400 == refused.status
        assert json.loads(refused.body())["message"]


@JUNK_SETTINGS
@given(data=st.data(), which=st.sampled_from(["checks", "apply", "async", "count"]))
def test_other_operations_survive_junk(data: st.DataObject, which: str) -> None:
    """Guardrails, asynchronous invocations and CountTokens answer or refuse."""
    jobs = AsyncInvokes(pace=Pace(), clock=lambda: 1_000.0)
    try:
        if which == "checks":
            exhaust(run_checks(parse_json(data.draw(mutated(CHECKS)))))
        elif which == "apply":
            exhaust(apply_guardrail("abc", "1", parse_json(data.draw(mutated(GUARDRAIL)))))
        elif which == "async":
            exhaust(jobs.start("a", "us-east-1", parse_json(data.draw(mutated(ASYNC)))))
        else:
            body = data.draw(mutated({"input": {"converse": {"messages": user("x")}}}))
            exhaust(inference().count_tokens(CLAUDE, body).finish())
    except SimulatedError as refused:
        assert 400 == refused.status


GENERATE = {
    "input": {"text": "What is a budget?"},
    "sessionId": "s-1",
    "retrieveAndGenerateConfiguration": {
        "type": "KNOWLEDGE_BASE",
        "knowledgeBaseConfiguration": {
            "modelArn": CLAUDE,
            "retrievalConfiguration": {"vectorSearchConfiguration": {"numberOfResults": 2}},
        },
    },
}
RERANK = {
    "queries": [{"type": "TEXT", "textQuery": {"text": "q"}}],
    "sources": [
        {"type": "INLINE", "inlineDocumentSource": {"type": "TEXT", "textDocument": {"text": "d"}}},
        {"type": "INLINE", "inlineDocumentSource": {"type": "JSON", "jsonDocument": {"a": 1}}},
    ],
    "rerankingConfiguration": {
        "bedrockRerankingConfiguration": {
            "modelConfiguration": {"modelArn": "cohere.rerank-v3-5:0"},
            "numberOfResults": 1,
        }
    },
}
JOB = {
    "jobName": "j",
    "roleArn": "r",
    "modelId": CLAUDE,
    "inputDataConfig": {"s3InputDataConfig": {"s3Uri": "s3://bucket/in"}},
    "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://bucket/out/"}},
}
TURN = {
    "inputText": "Hello",
    "enableTrace": True,
    "memoryId": "m-1",
    "streamingConfigurations": {"streamFinalResponse": True},
    "foundationModel": CLAUDE,
    "instruction": "x" * 40,
}
RETRIEVE = {
    "retrievalQuery": {"text": "q"},
    "retrievalConfiguration": {"vectorSearchConfiguration": {"numberOfResults": 3}},
}
FLOW = {"inputs": [{"content": {"document": {"a": 1}}}], "executionId": "e-1"}
#: By operation, the labels of its path and a good body.
SERVED: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "Retrieve": (("KB12345678",), RETRIEVE),
    "RetrieveAndGenerate": ((), GENERATE),
    "RetrieveAndGenerateStream": ((), GENERATE),
    "Rerank": ((), RERANK),
    "InvokeAgent": (("ABCDEFGHIJ", "TSTALIASID", "session-1"), TURN),
    "InvokeInlineAgent": (("session-1",), TURN),
    "InvokeFlow": (("FLOW123456", "ALIAS12345"), FLOW),
    "CreateSession": ((), {"sessionMetadata": {"a": "b"}}),
    "CreateModelInvocationJob": ((), JOB),
}
#: Some that nothing special is known of, with every kind of answer.
MADE_UP = [
    operation
    for service in ("bedrock-agent-runtime", "bedrock-agentcore")
    for operation in modelled_operations(service, read_model(service))
]
#: Names of members that requests and answers share.
SHARED = ["name", "sessionId", "contentType", "runtimeSessionId", "mcpSessionId", "traceId", "status", "memoryId"]


def asked(name: str, labels: tuple[str, ...], body: bytes, modelled: Modelled | None = None) -> Asked:
    """Give a request."""
    incoming = Incoming(method="POST", raw_path="/", headers=(), body=body, body_sha256="")
    route = Route(operation=name, labels=labels, modelled=modelled)
    return Asked(route=route, incoming=incoming, identity=Identity(account="a"))


def served() -> Operations:
    """Give services of their own."""
    return Operations(seed=1, pace=INSTANT, clock=lambda: 1_000.0)


@JUNK_SETTINGS
@given(data=st.data(), name=st.sampled_from(sorted(SERVED)))
def test_agents_and_knowledge_bases_survive_junk(data: st.DataObject, name: str) -> None:
    """They answer or refuse; what goes into a header is fit for one; the model is found or not."""
    labels, good = SERVED[name]
    labels = tuple(data.draw(st.just(label) | st.text(min_size=1, max_size=12)) for label in labels)
    body = data.draw(mutated(good))
    model_of(Route(operation=name, labels=labels), body)
    try:
        answer = served().prepare(asked(name, labels, body)).finish()
        exhaust(answer)
    except SimulatedError as refused:
        assert refused.status in (400, 404)
        assert json.loads(refused.body())["message"]
    else:
        assert all(value.isascii() and value.isprintable() for _, value in answer.headers)


@JUNK_SETTINGS
@given(operation=st.sampled_from(MADE_UP), told=st.dictionaries(st.sampled_from(SHARED), st.text()))
def test_made_up_answers_survive_junk(operation: Modelled, told: dict[str, str]) -> None:
    """Whatever a request brings under the name of a member, the answer is one, and its headers are fit to be sent."""
    answer = answer_of(operation, told, "us-east-1")
    if isinstance(answer, Streamed) or answer.body:
        exhaust(answer)
    assert all(value.isascii() and value.isprintable() for _, value in answer.headers)


def test_the_good_bodies_are_good() -> None:
    """The bodies that junk is put into are answered as they stand."""
    for name, (labels, good) in SERVED.items():
        exhaust(served().prepare(asked(name, labels, compact(good))).finish())
    exhaust(inference().converse(CLAUDE, compact(CONVERSE), "a", streamed=False).finish())
    for model, body in INVOKE:
        exhaust(inference().invoke(model, compact(body), {}, "a", streamed=False).finish())
    exhaust(run_checks(CHECKS))
    exhaust(apply_guardrail("abc", "1", GUARDRAIL))
    exhaust(AsyncInvokes(pace=Pace(), clock=lambda: 1_000.0).start("a", "us-east-1", ASYNC))
