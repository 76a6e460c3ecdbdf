"""What ``stock_client`` is for boto3, for aiobotocore."""

import asyncio
import json
import sys
from typing import Any

import aiobotocore
from aiobotocore.session import get_session
from stock_client import BODY, MESSAGES


async def call(client: Any, model: str) -> dict[str, str]:
    """Call each operation once, and read what it answers to the end."""
    told = {}
    answer = await client.converse(modelId=model, messages=MESSAGES)
    told["Converse"] = answer["output"]["message"]["content"][0]["text"]
    answer = await client.converse_stream(modelId=model, messages=MESSAGES)
    events = [event async for event in answer["stream"]]
    told["ConverseStream"] = "".join(
        event["contentBlockDelta"]["delta"]["text"] for event in events if "contentBlockDelta" in event
    )
    answer = await client.invoke_model(modelId=model, body=BODY)
    told["InvokeModel"] = json.loads(await answer["body"].read())["content"][0]["text"]
    answer = await client.invoke_model_with_response_stream(modelId=model, body=BODY)
    messages = [json.loads(event["chunk"]["bytes"]) async for event in answer["body"]]
    told["InvokeModelWithResponseStream"] = "".join(
        message["delta"]["text"] for message in messages if message["type"] == "content_block_delta"
    )
    return told


async def main(endpoint_url: str, *models: str) -> None:
    """Call for each model."""
    session = get_session()
    async with session.create_client("bedrock-runtime", endpoint_url=endpoint_url, region_name="us-east-1") as client:
        told = {model: await call(client, model) for model in models}
    print(json.dumps({"version": aiobotocore.__version__, "told": told}))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
