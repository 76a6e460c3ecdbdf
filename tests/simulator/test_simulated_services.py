"""Agents, knowledge bases, sessions and the control plane of the simulator, through stock boto3; all else it answers
from what botocore's models say.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
from botocore.exceptions import ClientError
from simulator_requests import (
    ACCESS_KEY_ID,
    CLAUDE,
    REGION,
    SECRET,
    exactly,
    signed_headers,
)

from bedrock_gateway.simulator import Simulator
from bedrock_gateway.simulator.plausible import answer_of
from bedrock_gateway.simulator.protocol import Whole
from bedrock_gateway.simulator.services import SERVICES, Modelled, modelled_operations, read_model

AGENT = "ABCDEFGHIJ"
RERANK = f"arn:aws:bedrock:{REGION}::foundation-model/amazon.rerank-v1:0"


@pytest.fixture
def agent_runtime(base_url: str, make_client: Callable[..., Any]) -> Any:
    """Give a boto3 client of bedrock-agent-runtime."""
    return make_client(base_url, "bedrock-agent-runtime")


async def test_retrieve(agent_runtime: Any, call: Any) -> None:
    """Retrieve finds as many passages as are asked for, the best first."""
    answer = await call(
        agent_runtime.retrieve,
        knowledgeBaseId="KB12345678",
        retrievalQuery={"text": "What is a budget?"},
        retrievalConfiguration={"vectorSearchConfiguration": {"numberOfResults": 3}},
    )

    scores = [found["score"] for found in answer["retrievalResults"]]
    assert 3 == len(scores)
    assert sorted(scores, reverse=True) == scores
    assert "budget" in answer["retrievalResults"][0]["content"]["text"]


def sources(*texts: str) -> list[dict[str, Any]]:
    """Give documents to be ranked, the last of them as JSON."""
    inline = [{"type": "TEXT", "textDocument": {"text": text}} for text in texts[:-1]]
    inline.append({"type": "JSON", "jsonDocument": {"title": texts[-1]}})
    return [{"type": "INLINE", "inlineDocumentSource": source} for source in inline]


@pytest.mark.parametrize(("wanted", "expected"), [(None, [2, 0, 1]), (2, [2, 0])])
async def test_rerank(agent_runtime: Any, call: Any, wanted: int | None, expected: list[int]) -> None:
    """Rerank sorts sources by the words they share with the query, and keeps as many as are asked for."""
    model = {"modelConfiguration": {"modelArn": RERANK}}
    most = {} if wanted is None else {"numberOfResults": wanted}

    answer = await call(
        agent_runtime.rerank,
        queries=[{"type": "TEXT", "textQuery": {"text": "red apple"}}],
        sources=sources("a red car", "blue sky", "red apple"),
        rerankingConfiguration={
            "type": "BEDROCK_RERANKING_MODEL",
            "bedrockRerankingConfiguration": {**model, **most},
        },
    )

    scores = [result["relevanceScore"] for result in answer["results"]]
    assert expected == [result["index"] for result in answer["results"]]
    assert sorted(scores, reverse=True) == scores


async def test_rerank_by_an_unknown_model(agent_runtime: Any, call: Any) -> None:
    """Rerank refuses a model that cannot exist."""
    configuration = {"modelConfiguration": {"modelArn": "no-model-of-anybody"}}
    with pytest.raises(agent_runtime.exceptions.ValidationException, match="model identifier is invalid"):
        await call(
            agent_runtime.rerank,
            queries=[{"type": "TEXT", "textQuery": {"text": "x"}}],
            sources=sources("x"),
            rerankingConfiguration={
                "type": "BEDROCK_RERANKING_MODEL",
                "bedrockRerankingConfiguration": configuration,
            },
        )


GENERATE: dict[str, Any] = {
    "input": {"text": "What is a guardrail?"},
    "retrieveAndGenerateConfiguration": {
        "type": "KNOWLEDGE_BASE",
        "knowledgeBaseConfiguration": {"knowledgeBaseId": "KB12345678", "modelArn": CLAUDE},
    },
}


async def test_retrieve_and_generate(simulator: Simulator, agent_runtime: Any, call: Any) -> None:
    """The answer cites what was found; streamed, it is the same text; the session goes on under its id."""
    whole = await call(agent_runtime.retrieve_and_generate, **GENERATE)
    streamed = await call(agent_runtime.retrieve_and_generate_stream, **GENERATE, sessionId=whole["sessionId"])
    events = await call(list, streamed["stream"])

    text = "".join(event["output"]["text"] for event in events if "output" in event)
    (citation,) = whole["citations"]
    assert whole["output"]["text"] == text
    assert whole["sessionId"] == streamed["sessionId"]
    assert "guardrail" in citation["retrievedReferences"][0]["content"]["text"]
    assert citation == events[-1]["citation"]["citation"]
    assert [CLAUDE, CLAUDE] == [record.model for record in simulator.received]


@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("trace", [False, True])
async def test_an_agent(agent_runtime: Any, call: Any, inline: bool, trace: bool) -> None:
    """An agent answers in chunks; with a trace it tells its model, and the tokens that took, before that."""
    if inline:
        invoke, given = agent_runtime.invoke_inline_agent, {"foundationModel": CLAUDE, "instruction": "x" * 40}
    else:
        invoke, given = agent_runtime.invoke_agent, {"agentId": AGENT, "agentAliasId": "TSTALIASID"}

    answer = await call(invoke, sessionId="session-1", inputText="What is a gateway?", enableTrace=trace, **given)
    events = await call(list, answer["completion"])

    steps = [event["trace"]["trace"]["orchestrationTrace"] for event in events if "trace" in event]
    usage = [step["modelInvocationOutput"]["metadata"]["usage"] for step in steps if "modelInvocationOutput" in step]
    assert ("application/json", "session-1") == (answer["contentType"], answer["sessionId"])
    assert b"gateway" in b"".join(event["chunk"]["bytes"] for event in events if "chunk" in event)
    assert trace == bool(steps)
    assert int(trace) == len(usage)
    assert all(one["inputTokens"] > 0 and one["outputTokens"] > 0 for one in usage)


async def test_an_agent_in_pieces(agent_runtime: Any, call: Any) -> None:
    """Asked to stream, an agent sends its answer word by word; its memory's id comes back."""
    given = {"agentId": AGENT, "agentAliasId": "TSTALIASID", "sessionId": "s1", "memoryId": "m1", "inputText": "Hello"}

    answer = await call(agent_runtime.invoke_agent, **given, streamingConfigurations={"streamFinalResponse": True})
    events = await call(list, answer["completion"])

    assert "m1" == answer["memoryId"]
    assert len(events) > 5


async def test_faults_in_the_prompt_of_an_agent(agent_runtime: Any, call: Any) -> None:
    """What a prompt asks to go wrong does so for agents too."""
    given = {"agentId": AGENT, "agentAliasId": "TSTALIASID", "sessionId": "s1"}
    with pytest.raises(agent_runtime.exceptions.ThrottlingException):
        await call(agent_runtime.invoke_agent, **given, inputText="[[simulate: throttle]] Hello")


async def test_a_flow(agent_runtime: Any, call: Any) -> None:
    """A flow puts out what its model says, and completes."""
    content = {"content": {"document": "What is a flow?"}, "nodeName": "FlowInputNode", "nodeOutputName": "document"}

    answer = await call(
        agent_runtime.invoke_flow, flowIdentifier="FLOW123456", flowAliasIdentifier="ALIAS12345", inputs=[content]
    )
    output, completed = await call(list, answer["responseStream"])

    assert "flow" in output["flowOutputEvent"]["content"]["document"]
    assert "SUCCESS" == completed["flowCompletionEvent"]["completionReason"]
    assert answer["executionId"]


async def test_sessions(agent_runtime: Any, call: Any) -> None:
    """A session is made, read by id and ARN, changed, ended, and only then deleted."""
    made = await call(agent_runtime.create_session, sessionMetadata={"who": "tests"})
    for name in (made["sessionId"], made["sessionArn"]):
        found = await call(agent_runtime.get_session, sessionIdentifier=name)
        assert ("ACTIVE", {"who": "tests"}) == (found["sessionStatus"], found["sessionMetadata"])
    identifier = {"sessionIdentifier": made["sessionId"]}
    await call(agent_runtime.update_session, **identifier, sessionMetadata={"who": "others"})
    assert {"who": "others"} == (await call(agent_runtime.get_session, **identifier))["sessionMetadata"]
    with pytest.raises(agent_runtime.exceptions.ConflictException):
        await call(agent_runtime.delete_session, **identifier)
    assert "ENDED" == (await call(agent_runtime.end_session, **identifier))["sessionStatus"]
    assert 1 == len((await call(agent_runtime.list_sessions))["sessionSummaries"])
    await call(agent_runtime.delete_session, **identifier)
    with pytest.raises(agent_runtime.exceptions.ResourceNotFoundException):
        await call(agent_runtime.get_session, **identifier)


async def test_what_there_is(base_url: str, make_client: Callable[..., Any], call: Any) -> None:
    """What the lists of agents, knowledge bases and guardrails name can be looked at."""
    agents, control = make_client(base_url, "bedrock-agent"), make_client(base_url, "bedrock")
    (agent,) = (await call(agents.list_agents))["agentSummaries"]
    (base,) = (await call(agents.list_knowledge_bases))["knowledgeBaseSummaries"]
    (guardrail,) = (await call(control.list_guardrails))["guardrails"]

    shown = await call(agents.get_agent, agentId=agent["agentId"])
    stored = await call(agents.get_knowledge_base, knowledgeBaseId=base["knowledgeBaseId"])
    guarding = await call(control.get_guardrail, guardrailIdentifier=guardrail["arn"])

    assert agent["agentName"] == shown["agent"]["agentName"]
    assert base["name"] == stored["knowledgeBase"]["name"]
    assert (guardrail["id"], "forbidden") == (guarding["guardrailId"], guarding["wordPolicy"]["words"][0]["text"])


async def test_forms_of_models(base_url: str, make_client: Callable[..., Any], call: Any) -> None:
    """Application profiles, provisioned throughput and prompt routers tell the models they stand for."""
    control = make_client(base_url, "bedrock")
    arn = f"arn:aws:bedrock:{REGION}:000000000000:"
    profile = await call(
        control.get_inference_profile, inferenceProfileIdentifier=f"{arn}application-inference-profile/abcdefghijkl"
    )
    provisioned = await call(control.get_provisioned_model_throughput, provisionedModelId="my-throughput")
    again = await call(control.get_provisioned_model_throughput, provisionedModelId=provisioned["provisionedModelArn"])
    router = await call(control.get_prompt_router, promptRouterArn=f"{arn}default-prompt-router/anthropic.claude:1")

    models = [profile["models"][0], router["models"][0]]
    assert ("APPLICATION", "default") == (profile["type"], router["type"])
    assert all(":foundation-model/anthropic." in model["modelArn"] for model in models)
    assert ("my-throughput", "InService") == (provisioned["provisionedModelName"], provisioned["status"])
    assert provisioned["provisionedModelArn"] == again["provisionedModelArn"]


async def test_a_batch_job(base_url: str, make_client: Callable[..., Any], call: Any) -> None:
    """A batch job completes and says where its input and output are."""
    control = make_client(base_url, "bedrock")
    places = {
        "inputDataConfig": {"s3InputDataConfig": {"s3Uri": "s3://bucket/in.jsonl"}},
        "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://bucket/out/"}},
    }
    role = "arn:aws:iam::000000000000:role/batch"

    made = await call(control.create_model_invocation_job, jobName="job", roleArn=role, modelId=CLAUDE, **places)
    job = await call(control.get_model_invocation_job, jobIdentifier=made["jobArn"])

    assert ("Completed", CLAUDE) == (job["status"], job["modelId"])
    assert places == {name: job[name] for name in places}
    assert 1 == len((await call(control.list_model_invocation_jobs))["invocationJobSummaries"])
    with pytest.raises(control.exceptions.ConflictException):
        await call(control.stop_model_invocation_job, jobIdentifier=made["jobArn"])


async def test_two_services_at_one_path(
    simulator: Simulator, base_url: str, make_client: Callable[..., Any], call: Any
) -> None:
    """Where paths are the same, the slash at the end, the ARN and the signature tell whose operation it is."""
    agents, agent_runtime = make_client(base_url, "bedrock-agent"), make_client(base_url, "bedrock-agent-runtime")
    control = make_client(base_url, "bedrock-agentcore-control")
    automation, models = make_client(base_url, "bedrock-data-automation"), make_client(base_url, "bedrock")
    arn = f"arn:aws:bedrock:{REGION}:000000000000:"

    await call(agents.prepare_agent, agentId=AGENT)
    inline = {"foundationModel": CLAUDE, "instruction": "x" * 40, "inputText": "Hello"}
    answer = await call(agent_runtime.invoke_inline_agent, sessionId=AGENT, **inline)
    await call(list, answer["completion"])
    await call(agents.list_tags_for_resource, resourceArn=f"{arn}agent/{AGENT}")
    await call(agent_runtime.list_tags_for_resource, resourceArn=f"{arn}session/00000000-0000-4000-8000-000000000000")
    await call(control.list_tags_for_resource, resourceArn=arn.replace("bedrock", "bedrock-agentcore") + "runtime/x")
    await call(automation.list_tags_for_resource, resourceARN=f"{arn}blueprint/abcdefghij12")
    await call(models.list_tags_for_resource, resourceARN=f"{arn}guardrail/abcdefghij12")

    assert [
        ("bedrock-agent", "PrepareAgent"),
        ("bedrock-agent-runtime", "InvokeInlineAgent"),
        ("bedrock-agent", "ListTagsForResource"),
        ("bedrock-agent-runtime", "ListTagsForResource"),
        ("bedrock-agentcore-control", "ListTagsForResource"),
        ("bedrock-data-automation", "ListTagsForResource"),
        ("bedrock", "ListTagsForResource"),
    ] == [(record.service, record.operation) for record in simulator.received]


async def test_a_signature_for_another_service(base_url: str) -> None:
    """An operation of AgentCore signed for Bedrock is refused, and so is the other way round."""
    async with aiohttp.ClientSession() as session:
        for path, wrong in (("/runtimes/", "bedrock"), ("/guardrails", "bedrock-agentcore")):
            url = base_url + path
            method = "POST" if path == "/runtimes/" else "GET"
            body = b"{}" if method == "POST" else b""
            headers = signed_headers(url, body, method=method, service=wrong)
            async with session.request(method, exactly(url), data=body, headers=headers) as answer:
                assert 403 == answer.status
                assert "scoped to correct service" in (await answer.json())["message"]


@pytest.fixture
async def one_service() -> AsyncIterator[tuple[Simulator, str]]:
    """Let a simulator of one service alone listen for the time of a test."""
    simulator = Simulator(credentials={ACCESS_KEY_ID: (SECRET, None)}, services=("bedrock-agent",))
    async with simulator.serve() as url:
        yield simulator, url


async def test_one_service_alone(
    one_service: tuple[Simulator, str], make_client: Callable[..., Any], call: Any
) -> None:
    """A simulator of one service knows no path of another's, as a host of AWS's does not."""
    _, url = one_service
    agents, runtime = make_client(url, "bedrock-agent"), make_client(url)

    assert await call(agents.list_agents)
    with pytest.raises(ClientError, match="UnknownOperationException"):
        await call(runtime.converse, modelId=CLAUDE, messages=[{"role": "user", "content": [{"text": "hi"}]}])


async def test_an_unknown_target(base_url: str) -> None:
    """A JSON service names the error's type in its body."""
    headers = {"x-amz-target": "AmazonBedrockKeystoneRuntimeService.NoSuchOperation"}
    url = f"{base_url}/"
    async with aiohttp.ClientSession() as session:
        signed = signed_headers(url, b"{}", headers=headers)
        async with session.post(exactly(url), data=b"{}", headers=signed) as answer:
            assert (404, "UnknownOperationException") == (answer.status, (await answer.json())["__type"])


OPERATIONS: list[Modelled] = [
    operation for service in SERVICES for operation in modelled_operations(service, read_model(service))
]


def test_every_operation_has_an_answer() -> None:
    """Answers are made for all operations of botocore's models, twice the same; none asks for another page."""
    assert len(OPERATIONS) > 500
    for operation in OPERATIONS:
        first, second = (answer_of(operation, {}, REGION) for _ in range(2))
        if isinstance(first, Whole):
            assert first == second
            assert not re.search(rb'"nextToken"', first.body)
            assert (operation.status == 204) == (first.body == b"")
        else:
            assert not isinstance(second, Whole)
            events = list(first.events)
            assert events == list(second.events)
            assert len({event.type for event in events}) == len(events) > 0


def test_answers_tell_what_was_asked_for() -> None:
    """Identifiers of a request come back, work under way has come to its end, ids fit their patterns."""
    (operation,) = (one for one in OPERATIONS if one.name == "GetFlowAlias")

    answer = answer_of(operation, {"flowIdentifier": "FLOW123456", "name": "mine"}, "eu-west-3")
    assert isinstance(answer, Whole)
    told = json.loads(answer.body)

    assert "mine" == told["name"]
    assert re.fullmatch(r"[0-9a-zA-Z]{10}", told["id"])
    assert "2025-01-01T00:00:00Z" == told["createdAt"]
