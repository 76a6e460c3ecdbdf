"""A stock client as a program of its own, so that any version of boto3 can be it: each model operation once, for each
of some models. Credentials are whatever boto3 finds by itself.

``python stock_client.py ENDPOINT_URL MODEL...`` prints one JSON object: the version of boto3, and by model what each
operation told. Imports nothing but boto3: the environment it runs in has nothing else.
"""

import json
import sys

import boto3

QUESTION = "What is a gateway good for? – Grüße"
MESSAGES = [{"role": "user", "content": [{"text": QUESTION}]}]
#: Spaces, escapes and a line end that no JSON library would write again in the same way.
BODY = (
    '{"anthropic_version": "bedrock-2023-05-31",  "max_tokens":64,\t"messages": [{"role":"user","content":"'
    + QUESTION
    + ' \\u00e9"}]}\n'
).encode()


def call(client, model: str) -> dict[str, str]:
    """Call each operation once, and read what it answers to the end."""
    told = {}
    answer = client.converse(modelId=model, messages=MESSAGES)
    told["Converse"] = answer["output"]["message"]["content"][0]["text"]
    stream = client.converse_stream(modelId=model, messages=MESSAGES)["stream"]
    told["ConverseStream"] = "".join(
        event["contentBlockDelta"]["delta"]["text"] for event in stream if "contentBlockDelta" in event
    )
    answer = client.invoke_model(modelId=model, body=BODY)
    told["InvokeModel"] = json.loads(answer["body"].read())["content"][0]["text"]
    body = client.invoke_model_with_response_stream(modelId=model, body=BODY)["body"]
    messages = [json.loads(event["chunk"]["bytes"]) for event in body]
    told["InvokeModelWithResponseStream"] = "".join(
        message["delta"]["text"] for message in messages if message["type"] == "content_block_delta"
    )
    return told


def main(endpoint_url: str, *models: str) -> None:
    """Call for each model."""
    client = boto3.client("bedrock-runtime", endpoint_url=endpoint_url, region_name="us-east-1")
    told = {model: call(client, model) for model in models}
    print(json.dumps({"version": boto3.__version__, "told": told}))


if __name__ == "__main__":
    main(*sys.argv[1:])
