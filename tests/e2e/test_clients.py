"""Stock clients through the gateway: what they send arrives, what is answered reaches them, byte for byte."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import boto3
import pytest
from running import CLAUDE, running
from stock_client import BODY, MESSAGES
from stock_clients import (
    ACTIONS,
    ANY_KEY,
    MODELS,
    Client,
    Told,
    check_bytes,
    newest_boto3,
    output_of,
    payloads_of,
    pinned_aiobotocore,
    pinned_boto3,
)
from wire_tap import tapped

CONVERSE_BODY = json.dumps({"messages": MESSAGES}, ensure_ascii=False, indent=1).encode()


async def curl(url: str, environ: Mapping[str, str], model: str) -> Told:
    """Be curl: the model as it is, slashes and colons too, and JSON that no library wrote."""
    told = {}
    for operation, action in ACTIONS.items():
        body = CONVERSE_BODY if operation.startswith("Converse") else BODY
        answer = await output_of(
            *("curl", "-sS", "--fail-with-body", "--noproxy", "*", "--data-binary", "@-"),
            *("-H", "Authorization: Bearer any-key", "-H", "Content-Type: application/json"),
            f"{url}/bedrock/model/{model}/{action}",
            given=body,
        )
        if operation == "Converse":
            told[operation] = json.loads(answer)["output"]["message"]["content"][0]["text"]
        elif operation == "InvokeModel":
            told[operation] = json.loads(answer)["content"][0]["text"]
        elif operation == "ConverseStream":
            deltas = [json.loads(payload).get("delta", {}) for payload in payloads_of(answer)]
            told[operation] = "".join(delta["text"] for delta in deltas if "text" in delta)
        else:
            told[operation] = text_of_chunks(
                [base64.b64decode(json.loads(payload)["bytes"]) for payload in payloads_of(answer)]
            )
    return {model: told}


def text_of_chunks(chunks: list[bytes]) -> str:
    """Return what a model said in the messages of its own shape."""
    messages = map(json.loads, chunks)
    return "".join(message["delta"]["text"] for message in messages if message["type"] == "content_block_delta")


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("client", [pinned_boto3, newest_boto3, pinned_aiobotocore, curl])
async def test_a_stock_client_calls_every_model_operation(tmp_path: Path, client: Client, kind: str) -> None:
    """Each client calls each operation by each kind of name: bodies pass unchanged both ways, the path is canonical."""
    asked, sent = MODELS[kind]
    async with running(tmp_path) as here, tapped(here.port) as tap:
        told = await client(tap.url, ANY_KEY, asked)

        exchanges = tap.exchanges()
        for exchange in exchanges:
            check_bytes(here, exchange)
        operations = [record.operation for record in here.simulator.received]
        paths = [record.raw_path for record in here.simulator.received]
        assert [*ACTIONS] == operations
        assert [f"/model/{quote(sent, safe='')}/{action}" for action in ACTIONS.values()] == paths
        assert len(ACTIONS) == len(exchanges)
        assert {asked: set(ACTIONS)} == {model: {*answers} for model, answers in told.items()}
        assert all(told[asked].values())


@pytest.mark.parametrize(
    "spelling",
    [
        "arn:aws:bedrock:us-east-1:111122223333:provisioned-model/abcdefghijkl",
        "arn:aws:bedrock:us-east-1:111122223333:provisioned-model%2Fabcdefghijkl",
        "arn%3Aaws%3Abedrock%3Aus-east-1%3A111122223333%3Aprovisioned-model%2Fabcdefghijkl",
        "arn%253Aaws%253Abedrock%253Aus-east-1%253A111122223333%253Aprovisioned-model%252Fabcdefghijkl",
    ],
    ids=["literal", "slash encoded", "encoded", "encoded twice"],
)
@pytest.mark.parametrize("prefix", ["/bedrock", ""], ids=["prefixed", "bare"])
async def test_every_spelling_of_an_arn_leaves_in_one_form(tmp_path: Path, prefix: str, spelling: str) -> None:
    """However a client spells an ARN in the path, with the prefix or without, one canonical path is signed and sent."""
    async with running(tmp_path) as here:
        url = f"{here.url}{prefix}/model/{spelling}/converse"
        await output_of("curl", "-sS", "--fail", "--noproxy", "*", "--data-binary", "@-", url, given=CONVERSE_BODY)

        (received,) = here.simulator.received
        arn = "arn%3Aaws%3Abedrock%3Aus-east-1%3A111122223333%3Aprovisioned-model%2Fabcdefghijkl"
        assert f"/model/{arn}/converse" == received.raw_path


@pytest.mark.parametrize("fault", ["large-message", "large-body"])
async def test_a_large_stream_arrives_byte_for_byte(tmp_path: Path, fault: str) -> None:
    """A stream with a message of megabytes, or of megabytes in messages no client knows, arrives as it left."""
    async with running(tmp_path) as here, tapped(here.port) as tap:
        here.simulator.faults.add(fault, size=3_000_000)
        url = f"{tap.url}/bedrock/model/single/converse-stream"
        await output_of("curl", "-sS", "--fail", "--noproxy", "*", "--data-binary", "@-", url, given=CONVERSE_BODY)

        (exchange,) = tap.exchanges()
        check_bytes(here, exchange)
        assert 3_000_000 < len(exchange.answer_body)


@pytest.mark.parametrize("framing", ["announced", "chunked", "announced with Expect"])
async def test_a_large_request_arrives_byte_for_byte(tmp_path: Path, framing: str) -> None:
    """A request of megabytes reaches the simulator as it left the client, however it is framed."""
    body = json.dumps({"messages": [{"role": "user", "content": [{"text": "é" * 1_500_000}]}]}).encode()
    headers = {
        "announced": ("-H", "Expect:"),
        "chunked": ("-H", "Expect:", "-H", "Transfer-Encoding: chunked"),
        "announced with Expect": ("-H", "Expect: 100-continue"),
    }[framing]
    async with running(tmp_path) as here, tapped(here.port) as tap:
        url = f"{tap.url}/bedrock/model/single/converse"
        answer = await output_of(
            "curl", "-sS", "--fail", "--noproxy", "*", *headers, "--data-binary", "@-", url, given=body
        )

        (exchange,) = tap.exchanges()
        check_bytes(here, exchange)
        assert body == exchange.body
        assert exchange.answer_body == answer


async def test_what_bedrock_reads_of_a_request_arrives(tmp_path: Path) -> None:
    """Guardrail, tier, latency, metadata, beta and accept headers of a stock client reach upstream as they are."""
    async with running(tmp_path) as here:
        client = here.client()
        client.meta.events.register(
            "before-sign.bedrock-runtime.*",
            lambda request, **_: request.headers.add_header("anthropic-beta", "context-1m-2025-08-07"),
        )
        options = {
            "accept": "application/json",
            "contentType": "application/json",
            "guardrailIdentifier": "abcdefghijkl",
            "guardrailVersion": "1",
            "performanceConfigLatency": "optimized",
            "requestMetadata": '{"team":"platform"}',
            "serviceTier": "flex",
            "trace": "ENABLED_FULL",
        }
        expected = {
            "anthropic-beta": "context-1m-2025-08-07",
            "content-type": "application/json",
            "x-amzn-bedrock-guardrailidentifier": "abcdefghijkl",
            "x-amzn-bedrock-guardrailversion": "1",
            "x-amzn-bedrock-performanceconfig-latency": "optimized",
            "x-amzn-bedrock-request-metadata": '{"team":"platform"}',
            "x-amzn-bedrock-service-tier": "flex",
            "x-amzn-bedrock-trace": "ENABLED_FULL",
        }

        await asyncio.to_thread(client.invoke_model, modelId="single", body=BODY, **options)
        answer = await asyncio.to_thread(
            client.invoke_model_with_response_stream, modelId="single", body=BODY, **options
        )
        await asyncio.to_thread(list, answer["body"])

        whole, streamed = here.simulator.received
        accepts = [{"accept": "application/json"}, {"x-amzn-bedrock-accept": "application/json"}]
        for accept, received in zip(accepts, (whole, streamed), strict=True):
            asked = expected | accept
            assert asked == {name: received.header(name) for name in asked}


async def test_what_is_between_caller_and_gateway_stays_there(tmp_path: Path) -> None:
    """Inbound credentials, the SDK's own headers and hop-by-hop headers stay behind: only allowed names go upstream."""
    own = {
        "Authorization": "AWS4-HMAC-SHA256 Credential=inbound-id/20250101/us-east-1/bedrock/aws4_request, "
        "SignedHeaders=host, Signature=inbound-signature",
        "X-Amz-Security-Token": "inbound-token",
        "X-Amz-Date": "20250101T000000Z",
        "X-Amz-Content-Sha256": "inbound-hash",
        "x-api-key": "inbound-api-key",
        "x-bedrock-gateway-key": "inbound-gateway-key",
        "x-litellm-api-key": "inbound-litellm-key",
        "Cookie": "inbound-cookie=1",
        "Proxy-Authorization": "Basic inbound-proxy",
        "amz-sdk-invocation-id": "inbound-invocation",
        "amz-sdk-request": "attempt=1; max=inbound",
        "Connection": "keep-alive, x-amzn-bedrock-trace",
        "x-amzn-bedrock-trace": "inbound-hop",
        "Keep-Alive": "timeout=5",
        "TE": "trailers",
        "Forwarded": "for=inbound-for",
        "X-Forwarded-For": "inbound-forwarded",
        "anthropic-version": "inbound-version",
        "User-Agent": "inbound-agent",
        "Accept-Encoding": "gzip, inbound-coding",
        "Content-Type": "application/json",
    }
    flags = [part for name, value in own.items() for part in ("-H", f"{name}: {value}")]
    query = "X-Amz-Signature=inbound-signed&x-amz-credential=inbound-credential&%58-amz-security-token=inbound-query"
    async with running(tmp_path) as here:
        url = f"{here.url}/bedrock/model/single/converse?{query}"
        await output_of(
            "curl", "-sS", "--fail", "--noproxy", "*", *flags, "--data-binary", "@-", url, given=CONVERSE_BODY
        )

        (received,) = here.simulator.received
        names = {name.lower() for name, _ in received.headers}
        everything = "\n".join([received.raw_path, *(f"{name}: {value}" for name, value in received.headers)])
        assert {
            *("accept", "accept-encoding", "authorization", "content-length", "content-type"),
            *("host", "user-agent", "x-amz-date"),
        } == names
        assert "inbound" not in everything
        assert "identity" == received.header("accept-encoding")
        assert "AKIDEPLOYMENTA" == received.access_key_id


async def test_a_query_arrives_in_its_order_spelt_as_it_is_signed(tmp_path: Path) -> None:
    """A query goes upstream in its own order, spelt as SigV4 spells it, without a signature's parameters."""
    async with running(tmp_path) as here:
        url = f"{here.url}/bedrock/model/single/converse?b=2&a=%7e+%20x&X-Amz-Expires=60&a&&c=%c3%a9&d=/"
        await output_of("curl", "-sS", "--fail", "--noproxy", "*", "--data-binary", "@-", url, given=CONVERSE_BODY)

        (received,) = here.simulator.received
        assert "b=2&a=~%2B%20x&a=&c=%C3%A9&d=%2F" == received.raw_path.partition("?")[2]


async def test_the_other_operations_of_the_runtime_go_through(tmp_path: Path) -> None:
    """CountTokens, guardrails and asynchronous invocations pass unchanged; what AWS does not charge is free, a
    video is booked by what was asked for."""
    async with running(tmp_path) as here, tapped(here.port) as tap:
        client = here.client(endpoint_url=f"{tap.url}/bedrock")

        def call_all() -> dict[str, Any]:
            told = {
                "CountTokens": client.count_tokens(modelId="single", input={"converse": {"messages": MESSAGES}}),
                "ApplyGuardrail": client.apply_guardrail(
                    guardrailIdentifier="arn:aws:bedrock:us-east-1:111122223333:guardrail/abcdefghijkl",
                    guardrailVersion="DRAFT",
                    source="INPUT",
                    content=[{"text": {"text": "a forbidden thing"}}],
                ),
                "InvokeGuardrailChecks": client.invoke_guardrail_checks(
                    messages=[{"role": "user", "content": [{"text": "mail me@example.com"}]}],
                    checks={"sensitiveInformation": {"entities": [{"type": "EMAIL"}]}},
                ),
                "StartAsyncInvoke": client.start_async_invoke(
                    modelId="amazon.nova-reel-v1:0",
                    modelInput={"taskType": "TEXT_VIDEO"},
                    outputDataConfig={"s3OutputDataConfig": {"s3Uri": "s3://bucket/key"}},
                ),
            }
            arn = told["StartAsyncInvoke"]["invocationArn"]
            told["GetAsyncInvoke"] = client.get_async_invoke(invocationArn=arn)
            told["ListAsyncInvokes"] = client.list_async_invokes(maxResults=5, statusEquals="Completed")
            return told

        told = await asyncio.to_thread(call_all)

        for exchange in tap.exchanges():
            check_bytes(here, exchange)
        arn = told["StartAsyncInvoke"]["invocationArn"]
        spend = {row["operation"]: (row["state"], row["spend"]) for row in here.rows("SELECT * FROM calls")}
        assert [*told] == [record.operation for record in here.simulator.received]
        assert 0 < told["CountTokens"]["inputTokens"]
        assert "GUARDRAIL_INTERVENED" == told["ApplyGuardrail"]["action"]
        assert 1 == len(told["InvokeGuardrailChecks"]["results"]["sensitiveInformation"]["results"])
        assert (arn, "Completed") == (told["GetAsyncInvoke"]["invocationArn"], told["GetAsyncInvoke"]["status"])
        assert [arn] == [job["invocationArn"] for job in told["ListAsyncInvokes"]["asyncInvokeSummaries"]]
        assert {("free", 0)} == {spend[name] for name in ("CountTokens", "GetAsyncInvoke", "ListAsyncInvokes")}
        # Six seconds, as long as a video is where the request does not say.
        assert ("estimated", 480_000_000) == spend["StartAsyncInvoke"]


async def test_reads_of_the_control_plane_go_through(tmp_path: Path) -> None:
    """What SDKs and tools read of the control plane (models, profiles, one of each) passes unchanged."""
    async with running(tmp_path, None, all_of_aws=True) as here, tapped(here.port) as tap:
        client = boto3.client(
            "bedrock",
            endpoint_url=f"{tap.url}/bedrock",
            region_name="us-east-1",
            aws_access_key_id="any-key",
            aws_secret_access_key="unused",
        )

        def call_all() -> list[Any]:
            return [
                client.list_foundation_models(byProvider="Anthropic", byInferenceType="ON_DEMAND"),
                client.get_foundation_model(modelIdentifier="amazon.nova-lite-v1:0"),
                client.list_inference_profiles(maxResults=2, typeEquals="SYSTEM_DEFINED"),
                client.get_inference_profile(inferenceProfileIdentifier=CLAUDE),
            ]

        models, model, profiles, profile = await asyncio.to_thread(call_all)

        for exchange in tap.exchanges():
            check_bytes(here, exchange)
        assert {"Anthropic"} == {summary["providerName"] for summary in models["modelSummaries"]}
        assert "amazon.nova-lite-v1:0" == model["modelDetails"]["modelId"]
        assert 2 == len(profiles["inferenceProfileSummaries"])
        assert CLAUDE == profile["inferenceProfileId"]
        assert [
            "/foundation-models?byProvider=Anthropic&byInferenceType=ON_DEMAND",
            "/foundation-models/amazon.nova-lite-v1%3A0",
            "/inference-profiles?maxResults=2&type=SYSTEM_DEFINED",
            f"/inference-profiles/{quote(CLAUDE)}",
        ] == [record.raw_path for record in here.simulator.received]
